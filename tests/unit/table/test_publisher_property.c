/* The publisher against the truth. A policy in memory is changed at random, each change with the change rows that the
 * store's triggers would write; batches of one or several changes are applied; fills are read at one revision and
 * published at a later one, too early, between two slices of a batch, or after the store was replaced; entries are
 * invalidated on demand, and the table is rebuilt. After every step:
 *
 *   every entry, one that readers cannot find for a fold in front of it included, equals what is resolved afresh from
 *   the policy at the applied revision; an entry of a closed set is as good as none;
 *   publisher_fill's answer equals that, too, and readers find it afterwards;
 *   the auditor, asked about any of them, finds no fault with it nor with the publisher's books.
 *
 * A publisher that forgets to retire something, rewrites the wrong set, folds what is not plain, or lets an
 * outdated fill through fails here; each of these was done to it once. */
#include "proxy/table/audit.h"
#include "proxy/table/batch.h"
#include "proxy/table/fill.h"
#include "proxy/table/private.h"
#include "proxy/table/retire.h"
#include "tests/support/changing_policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PENDING 12
#define SECOND  1000000000ull

struct world {
    struct changing_policy past;  /* as committed, and the change rows that are not applied yet */
    struct memory_policy applied; /* as at the publisher's revision */
    int64_t applied_now;
    int64_t applying_now; /* between two slices of a batch: its clock; else 0 */
    uint64_t slices;      /* that were not the last ones */
    struct publisher *publisher;
    struct counters counters;
    struct facts pending[PENDING]; /* fills that are under way */
    bool is_pending[PENDING];
    uint64_t clock_ns;
    uint64_t agreed; /* audits */
};

/* ---- the fills' part --------------------------------------------------------------------------------- */

static void truth(struct world *world, uint64_t user, struct scope_key scope, int64_t now, uint64_t bits[4])
{
    struct facts facts;
    struct inputs inputs;
    struct catalogue catalogue;
    memory_facts(&world->applied, user, scope, now, &facts);
    memory_catalogue(&world->applied, 2, &catalogue);
    role_list_sort(&facts.roles);
    assert_int_equal(inputs_build(&inputs, &facts, now, role_list_find, &facts.roles, NULL), 0);
    assert_int_equal(resolve(&catalogue, &inputs, role_list_find, &facts.roles, bits, bits + 2), 0);
    inputs_fini(&inputs);
    facts_fini(&facts);
    catalogue_fini(&catalogue);
}

static void compare(struct world *world, uint64_t user, struct scope_key scope, const struct answer *answer,
                    int64_t now)
{
    uint64_t bits[4];
    truth(world, user, scope, now, bits);
    for (int word = 0; word < 2; word++) {
        if (answer->any[word] != bits[word] || answer->own[word] != bits[2 + word])
            fail_msg(
                "user %d at %d:%d, revision %d: the table says %016llx/%016llx, the policy %016llx/%016llx",
                (int)user, (int)scope.type, (int)scope.id, (int)world->publisher->at.revision,
                (unsigned long long)answer->any[word], (unsigned long long)answer->own[word],
                (unsigned long long)bits[word], (unsigned long long)bits[2 + word]);
    }
}

static void compare_all_resident(struct world *world)
{
    const struct table *table = world->publisher->table;
    for (uint32_t slot = 0; slot < map_slot_count(&table->map); slot++) {
        struct map_key key = map_key_at(&table->map, slot);
        uint32_t set = PERMTAB_SHM_WORD_INDEX(map_word(&table->map, slot));
        struct answer answer;
        if (set == 0 || table->sets.records[set].abandoned)
            continue;
        assert_int_equal(publisher_answer_from_set(world->publisher, table, set, &answer), 0);
        compare(world, key.key0, (struct scope_key){key.key1, key.type}, &answer, world->applied_now);
        answer_fini(&answer);
    }
    for (uint64_t user = 0; user < world->past.users; user++) {
        for (uint32_t type = 0; type <= 3; type++) {
            static const uint64_t first[] = {0, 1, 10, 100}, count[] = {1, 5, 6, 8};
            for (uint64_t id = first[type]; id < first[type] + count[type]; id++) {
                struct scope_key scope = {id, type};
                struct answer answer;
                if (!publisher_lookup(world->publisher, user, scope, &answer))
                    continue;
                compare(world, user, scope, &answer, world->applied_now);
                answer_fini(&answer);
            }
        }
    }
}

static void audit_facts(struct world *world, struct facts *facts)
{
    struct audit_finding finding;
    enum audit_outcome outcome = publisher_audit(world->publisher, facts, &finding);
    if (outcome == AUDIT_DIFFERS)
        fail_msg("user %d at %d:%d: the auditor says: %s", (int)facts->user, (int)facts->scope.type,
                 (int)facts->scope.id, finding.what);
    world->agreed += outcome == AUDIT_AGREES;
}

static void audit(struct world *world, uint64_t user, struct scope_key scope)
{
    struct facts facts;
    memory_facts(&world->applied, user, scope, world->applied_now, &facts);
    facts.revision = world->publisher->at.revision;
    facts.nonce = world->publisher->at.nonce;
    facts.now = world->applied_now;
    facts.generation = publisher_generation(world->publisher);
    audit_facts(world, &facts);
    facts_fini(&facts);
}

/* Every entry, and every scope that is folded into where an entry is. */
static void audit_all_resident(struct world *world)
{
    const struct table *table = world->publisher->table;
    for (uint32_t slot = 0; slot < map_slot_count(&table->map); slot++) {
        struct map_key key = map_key_at(&table->map, slot);
        if (map_word(&table->map, slot) != 0)
            audit(world, key.key0, (struct scope_key){key.key1, key.type});
    }
    for (uint32_t slot = 0; slot < map_slot_count(&table->folding.map); slot++) {
        struct map_key key = map_key_at(&table->folding.map, slot);
        for (uint64_t user = 0; user < world->past.users && map_word(&table->folding.map, slot) != 0; user++)
            audit(world, user, (struct scope_key){key.key1, key.type});
    }
}

/* Users who were filled are found, unless there was no set for them. */
static void assert_found(struct world *world, const struct facts *facts, uint64_t exhausted)
{
    struct answer answer;
    if (facts->broken || world->counters.sets_exhausted != exhausted)
        return;
    if (!publisher_lookup(world->publisher, facts->user, facts->scope, &answer))
        fail_msg("user %d at %d:%d was filled and is not found", (int)facts->user, (int)facts->scope.type,
                 (int)facts->scope.id);
    answer_fini(&answer);
}

static void rebuild(struct world *world, bool replaced)
{
    struct catalogue catalogue;
    struct failure failure;
    if (replaced) { /* by a store that has come to where this one is on another way */
        world->past.history++;
        world->past.revision -=
            changing_draw(&world->past, 3) == 0 ? changing_draw(&world->past, world->past.revision) : 0;
    }
    struct log_position at = {7, world->past.revision, changing_nonce(&world->past, world->past.revision)};
    memory_catalogue(&world->past.policy, 2, &catalogue);
    assert_int_equal(publisher_rebuild(world->publisher, &at, world->past.now, &catalogue, NULL, &failure), 0);
    change_list_fini(&world->past.log);
    memory_policy_fini(&world->applied);
    memory_policy_copy(&world->applied, &world->past.policy);
    world->applied_now = world->past.now;
    /* Facts that were read before may be told by the nonce, too, when the store was replaced: some
     * lose their old stamp. */
    for (size_t i = 0; i < PENDING; i++)
        if (world->is_pending[i] && replaced && changing_draw(&world->past, 2) == 0)
            world->pending[i].generation = publisher_generation(world->publisher);
}

static void retire_scope(struct world *world, struct scope_key scope)
{
    struct publisher_retiring retiring;
    uint64_t work = UINT64_MAX, retired = 0;
    publisher_retire_scope_begin(world->publisher, &retiring, scope);
    assert_false(publisher_retire_scope_slice(world->publisher, &retiring, &work, &retired));
}

static void retire_something(struct world *world)
{
    switch (changing_draw(&world->past, 3)) {
    case 0:
        publisher_retire_user(world->publisher, changing_user(&world->past));
        break;
    case 1:
        retire_scope(world, changing_scope(&world->past));
        break;
    default:
        publisher_retire_role(world->publisher, changing_role(&world->past));
    }
    if (world->applying_now == 0 && changing_draw(&world->past, 2) == 0)
        publisher_renew(world->publisher, world->clock_ns); /* sweeps */
}

static void fill_begin(struct world *world)
{
    size_t at = changing_draw(&world->past, PENDING);
    if (world->is_pending[at])
        return;
    struct scope_key scope = changing_scope(&world->past);
    if (changing_draw(&world->past, 10) == 0)
        scope.id += 3; /* often one that does not exist */
    if (scope.type == 0)
        scope.id = 0;
    memory_facts(&world->past.policy, changing_user(&world->past), scope, world->past.now,
                 &world->pending[at]);
    world->pending[at].revision = world->past.revision;
    world->pending[at].nonce = changing_nonce(&world->past, world->past.revision);
    world->pending[at].now = world->past.now;
    world->pending[at].generation = publisher_generation(world->publisher);
    world->is_pending[at] = true;
}

/* The clock by which a fill is judged. */
static int64_t latest(const struct world *world, const struct facts *facts)
{
    int64_t now = facts->now > world->applied_now ? facts->now : world->applied_now;
    return world->applying_now > now ? world->applying_now : now;
}

/* False when the fill is to be kept for later. */
static bool fill_publish(struct world *world, struct facts *facts)
{
    struct answer answer = {0};
    uint64_t exhausted = world->counters.sets_exhausted;
    switch (publisher_fill(world->publisher, facts, world->clock_ns, &answer)) {
    case PUBLISHER_FILLED:
        assert_int_equal(facts->generation, publisher_generation(world->publisher));
        compare(world, facts->user, facts->scope, &answer, latest(world, facts));
        answer_fini(&answer);
        assert_found(world, facts, exhausted);
        break;
    case PUBLISHER_EARLY:
        assert_true(facts->revision > world->publisher->at.revision);
        return false;
    case PUBLISHER_OUTDATED:
        assert_true(facts->generation != publisher_generation(world->publisher) || world->applying_now != 0 ||
                    facts->revision < world->publisher->at.revision ||
                    facts->nonce >> 32 != world->past.history);
        break;
    case PUBLISHER_FAILED:
        fail();
    }
    facts_fini(facts);
    return true;
}

static void fill_end(struct world *world)
{
    size_t at = changing_draw(&world->past, PENDING);
    if (!world->is_pending[at])
        return;
    audit_facts(world, &world->pending[at]); /* facts of any age: outdated ones say nothing */
    world->is_pending[at] = !fill_publish(world, &world->pending[at]);
}

/* ---- the feed ---------------------------------------------------------------------------------------------------- */

static void read_batch(struct world *world, struct batch *batch)
{
    *batch =
        (struct batch){.at = {7, world->past.revision, changing_nonce(&world->past, world->past.revision)},
                       .now = world->past.now,
                       .changes = world->past.log};
    memset(&world->past.log, 0, sizeof world->past.log);
    for (size_t i = 0; i < batch->changes.count; i++) {
        enum change_kind kind = batch->changes.items[i].kind;
        batch->has_catalogue |= kind == CHANGE_PERMISSION;
        if (kind == CHANGE_ROLE || kind == CHANGE_ROLE_GRANT || kind == CHANGE_ROLE_PARENT)
            changing_definitions(&world->past, &batch->roles, batch->changes.items[i].role);
    }
    changing_expired(&world->past, publisher_expiry(world->publisher), &batch->expired);
    if (batch->has_catalogue)
        memory_catalogue(&world->past.policy, 2, &batch->catalogue);
}

/* Does what others do between two slices. */
static void between_slices(struct world *world)
{
    if (world->applying_now == world->applied_now)
        compare_all_resident(world); /* true as it was, with holes */
    for (uint64_t i = changing_draw(&world->past, 6); i > 0; i--)
        fill_end(world);
    if (changing_draw(&world->past, 4) == 0)
        retire_something(world);
}

static void apply(struct world *world)
{
    struct batch batch;
    struct failure failure;
    int code;
    read_batch(world, &batch);
    world->applying_now = batch.now;
    assert_int_equal(publisher_batch_begin(world->publisher, &batch, &failure), 0);
    uint64_t work = changing_draw(&world->past, 2) == 0 ? UINT64_MAX : 1 + changing_draw(&world->past, 6);
    while ((code = publisher_batch_slice(world->publisher, world->clock_ns, work, &failure)) == 1) {
        world->slices++;
        between_slices(world);
    }
    assert_int_equal(code, 0);
    world->applying_now = 0;
    batch_fini(&batch);
    memory_policy_fini(&world->applied);
    memory_policy_copy(&world->applied, &world->past.policy);
    world->applied_now = world->past.now;
}

/* Everybody everywhere: equal inputs then meet at different places. */
static void fill_all(struct world *world)
{
    for (size_t i = 0; i < world->past.policy.scopes.count; i++) {
        for (uint64_t user = 0; user < world->past.users; user++) {
            struct facts facts;
            memory_facts(&world->past.policy, user, world->past.policy.scopes.items[i].key, world->past.now,
                         &facts);
            facts.revision = world->past.revision;
            facts.nonce = changing_nonce(&world->past, world->past.revision);
            facts.now = world->past.now;
            facts.generation = publisher_generation(world->publisher);
            assert_true(fill_publish(world, &facts));
        }
    }
}

static void begin(struct world *world, uint64_t seed, uint64_t entries, uint32_t sets, uint32_t folds)
{
    struct publisher_options options = {.permissions_max = 128,
                                        .entries = entries,
                                        .sets = sets,
                                        .folds = folds,
                                        .max_staleness_ns = 2 * SECOND};
    struct log_position at;
    struct catalogue catalogue;
    struct failure failure = {0};
    memset(world, 0, sizeof *world);
    changing_begin(&world->past, seed);
    world->applied_now = world->past.now;
    world->clock_ns = SECOND;
    at = (struct log_position){7, world->past.revision, changing_nonce(&world->past, world->past.revision)};
    memory_policy_copy(&world->applied, &world->past.policy);
    memory_catalogue(&world->past.policy, 2, &catalogue);
    assert_int_equal(publisher_new(&world->publisher, &options, &at, world->past.now, &catalogue,
                                   &world->counters, &failure),
                     0);
}

static void end(struct world *world)
{
    for (size_t i = 0; i < PENDING; i++)
        if (world->is_pending[i])
            facts_fini(&world->pending[i]);
    changing_fini(&world->past);
    publisher_free(world->publisher);
    memory_policy_fini(&world->applied);
}

static void step(struct world *world)
{
    uint64_t drawn = changing_draw(&world->past, 1000);
    if (drawn < 300) {
        changing_step(&world->past);
    } else if (drawn < 500) {
        apply(world);
        compare_all_resident(world);
        if (changing_draw(&world->past, 3) == 0)
            audit_all_resident(world);
        if (changing_draw(&world->past, 2) == 0)
            fill_all(world);
    } else if (drawn < 600) {
        world->past.now += (int64_t)changing_draw(&world->past, 6);
        world->clock_ns += changing_draw(&world->past, 2 * SECOND);
    } else if (drawn < 620) {
        retire_something(world);
    } else if (drawn < 625) {
        rebuild(world, changing_draw(&world->past, 2) == 0);
    } else if (drawn < 800) {
        fill_begin(world);
    } else {
        fill_end(world);
        if (changing_draw(&world->past, 4) ==
            0) /* and before the next batch: fills have a later clock than the table */
            audit_all_resident(world);
    }
}

static void run(uint64_t seed, int steps, uint64_t entries, uint32_t sets, uint32_t folds,
                struct counters *total, uint64_t *slices)
{
    struct world world;
    begin(&world, seed, entries, sets, folds);
    for (int i = 0; i < steps; i++)
        step(&world);
    apply(&world);
    compare_all_resident(&world);
    audit_all_resident(&world);
    total->audit_checks += world.agreed;
    total->fills += world.counters.fills;
    total->entries_evicted += world.counters.entries_evicted;
    total->entries_retired += world.counters.entries_retired;
    total->sets_rewritten += world.counters.sets_rewritten;
    total->sets_exhausted += world.counters.sets_exhausted;
    total->rebuilds += world.counters.rebuilds;
    total->folds += world.counters.folds;
    *slices += world.slices;
    end(&world);
}

/* PERMTAB_PROPERTY_SEEDS in the environment: how many histories of each kind. */
static uint64_t seeds(void)
{
    const char *wanted = getenv("PERMTAB_PROPERTY_SEEDS");
    return wanted != NULL ? strtoull(wanted, NULL, 10) : 60;
}

static void roomy(void **state)
{
    struct counters total = {0};
    uint64_t slices = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= seeds(); seed++)
        run(seed * 7919, 400, 1000, 500, 64, &total, &slices);
    /* The test is worth something only if all of this has happened. */
    print_message("fills %llu, retired %llu, rewritten %llu, folds %llu, slices %llu\n",
                  (unsigned long long)total.fills, (unsigned long long)total.entries_retired,
                  (unsigned long long)total.sets_rewritten, (unsigned long long)total.folds,
                  (unsigned long long)slices);
    assert_true(total.fills > 10000);
    assert_true(total.entries_retired > 5000);
    assert_true(total.sets_rewritten > 250);
    assert_true(total.folds > 20);
    assert_true(slices > 1000);
    print_message("audited %llu\n", (unsigned long long)total.audit_checks);
    assert_true(total.audit_checks > 10000);
}

static void cramped(void **state)
{
    struct counters total = {0};
    uint64_t slices = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= seeds(); seed++)
        run(seed * 104729, 400, 12, 6, 2, &total, &slices);
    print_message("evicted %llu, exhausted %llu\n", (unsigned long long)total.entries_evicted,
                  (unsigned long long)total.sets_exhausted);
    assert_true(total.entries_evicted > 1000);
    assert_true(total.sets_exhausted > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(roomy),
        cmocka_unit_test(cramped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
