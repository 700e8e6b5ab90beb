/* All that may happen to a publisher, at random. Between any two steps the tables are what the policy says. */
#include "tests/support/publisher_world.h"

#include "proxy/table/batch.h"
#include "proxy/table/private.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void rebuild(struct publisher_world *world, bool replaced)
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
    assert_int_equal(publisher_rebuild(world->publisher, &at, world->past.now, &catalogue, NULL, &failure),
                     0);
    change_list_fini(&world->past.log);
    memory_policy_fini(&world->applied);
    memory_policy_copy(&world->applied, &world->past.policy);
    world->applied_now = world->past.now;
    /* Facts that were read before may be told by the nonce, too, when the store was replaced: some
     * lose their old stamp. */
    for (size_t i = 0; i < PENDING; i++)
        if (world->is_pending[i] && replaced && changing_draw(&world->past, 2) == 0)
            world->pending[i].generation = publisher_generation(world->publisher);
    if (replaced)
        publisher_world_slices_restamp(world);
}

static void retire_scope(struct publisher_world *world, struct scope_key scope)
{
    struct publisher_retiring retiring;
    uint64_t work = 1, retired = 0;
    publisher_retire_scope_begin(world->publisher, &retiring, scope);
    while (publisher_retire_scope_slice(world->publisher, &retiring, &work, &retired))
        work = 1 + changing_draw(&world->past, 3);
}

static void hear_something(struct publisher_world *world)
{
    struct target target = {.kind = TARGET_SCOPE, .scope = changing_scope(&world->past)};
    uint64_t revision = world->publisher->at.revision; /* no later one: it holds no fills back */
    if (changing_draw(&world->past, 2) == 0)
        target = (struct target){.kind = TARGET_USER, .id = changing_user(&world->past)};
    (void)publisher_hear(world->publisher, &target, revision, world->clock_ns);
    while (publisher_hear_slice(world->publisher, world->clock_ns, 1 + changing_draw(&world->past, 3)))
        ;
    publisher_world_gone(world, target.id, target.kind == TARGET_SCOPE, target.scope,
                         target.kind == TARGET_USER);
    heard_settle(&world->publisher->heard, UINT64_MAX);
}

static bool match_user(void *context, uint64_t user)
{
    return user == *(uint64_t *)context;
}

/* Takes the pass over one user's entries a few slots further. */
static void scan_on(struct publisher_world *world)
{
    static uint64_t victim = 1;
    static const struct publisher_match match = {.user = match_user, .context = &victim};
    uint64_t retired = 0;
    if (!world->scanning)
        publisher_scan_begin(world->publisher, &world->scan, &match);
    world->scanning = publisher_scan_slice(world->publisher, &world->scan, changing_draw(&world->past, 2000),
                                           &match, &retired);
}

static void retire_something(struct publisher_world *world)
{
    uint64_t user = changing_user(&world->past);
    struct scope_key nowhere = {0, 0};
    switch (changing_draw(&world->past, 6)) {
    case 0:
        publisher_retire_user(world->publisher, user);
        publisher_world_gone(world, user, false, nowhere, true);
        break;
    case 1:
        hear_something(world);
        break;
    case 2:
        (void)publisher_retire_user_at(world->publisher, user, changing_scope(&world->past));
        break;
    case 3:
        scan_on(world);
        break;
    case 4: {
        struct scope_key scope = changing_scope(&world->past);
        retire_scope(world, scope);
        publisher_world_gone(world, 0, true, scope, false);
        break;
    }
    default:
        publisher_retire_role(world->publisher, changing_role(&world->past));
    }
    if (world->applying_now == 0 && changing_draw(&world->past, 2) == 0)
        publisher_renew(world->publisher, world->clock_ns); /* sweeps */
}

/* ---- two tables -------------------------------------------------------------------------------------------------- */

/* To be called after all that fills next: a table that made room is full afterwards. */
void publisher_world_filled(struct publisher_world *world)
{
    const struct publisher *publisher = world->publisher;
    if (publisher->other_is == OTHER_NEXT)
        world->next_was_full |= table_entries(publisher->other) >= publisher->other->entries_max;
}

static void grow_begin(struct publisher_world *world)
{
    struct publisher_options options = world->publisher->table->options;
    struct table *fresh;
    if (world->publisher->other != NULL)
        return;
    options.entries *= 1 + changing_draw(&world->past, 2);
    options.sets *= 1 + changing_draw(&world->past, 2);
    options.folds *= 1 + changing_draw(&world->past, 2);
    if (options.entries > 3000) /* where rebuilds begin again */
        options.entries = 12;
    assert_int_equal(table_new(&fresh, &options, world->publisher->at.store_id), 0);
    assert_int_equal(publisher_grow_begin(world->publisher, fresh), 0);
    world->next_was_full = false;
}

static void grow_slice(struct publisher_world *world)
{
    uint64_t work = changing_draw(&world->past, 4) == 0 ? UINT64_MAX : 1 + changing_draw(&world->past, 60);
    const struct table *next = world->publisher->other;
    switch (publisher_grow_slice(world->publisher, world->clock_ns, work)) {
    case GROW_MORE:
        publisher_world_filled(world);
        break;
    case GROW_DONE:
        assert_ptr_equal(world->publisher->table, next);
        assert_int_equal(publisher_retired_segment(world->publisher),
                         world->publisher->other->segment.header->identity.segment_id);
        world->handed_over++;
        world->scanned += world->scanning;
        world->next_was_full |= table_entries(next) >= next->entries_max;
        publisher_world_copied(world);
        break;
    case GROW_ENDED:
        world->ended++;
        break;
    }
}

static void grow_on(struct publisher_world *world)
{
    if (!world->grows)
        return;
    switch (world->publisher->other_is) {
    case OTHER_NONE:
        grow_begin(world);
        break;
    case OTHER_NEXT:
        if (changing_draw(&world->past, 20) == 0)
            publisher_grow_end(world->publisher);
        else
            grow_slice(world);
        break;
    case OTHER_RETIRED:
        if (changing_draw(&world->past, 8) == 0)
            publisher_retired_release(world->publisher);
        break;
    case OTHER_RELEASED:
        publisher_tend(world->publisher, world->clock_ns);
        world->released += world->publisher->other == NULL;
        break;
    }
}

static void fill_begin(struct publisher_world *world)
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
int64_t publisher_world_latest(const struct publisher_world *world, const struct facts *facts)
{
    int64_t now = facts->now > world->applied_now ? facts->now : world->applied_now;
    return world->applying_now > now ? world->applying_now : now;
}

/* False when the fill is to be kept for later. */
static bool fill_publish(struct publisher_world *world, struct facts *facts)
{
    struct answer answer = {0};
    uint64_t exhausted = world->counters.sets_exhausted;
    switch (publisher_fill(world->publisher, facts, world->clock_ns, &answer)) {
    case PUBLISHER_FILLED:
        assert_int_equal(facts->generation, publisher_generation(world->publisher));
        publisher_world_compare(world, facts->user, facts->scope, &answer, publisher_world_latest(world, facts));
        answer_fini(&answer);
        publisher_world_found(world, facts, exhausted);
        publisher_world_filled(world);
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

static void fill_end(struct publisher_world *world)
{
    size_t at = changing_draw(&world->past, PENDING);
    if (!world->is_pending[at])
        return;
    publisher_world_audit(world, &world->pending[at]); /* facts of any age: outdated ones say nothing */
    world->is_pending[at] = !fill_publish(world, &world->pending[at]);
}

/* ---- the feed ---------------------------------------------------------------------------------------------------- */

static void read_batch(struct publisher_world *world, struct batch *batch)
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
static void between_slices(struct publisher_world *world)
{
    if (world->applying_now == world->applied_now)
        publisher_world_compare_all(world); /* true as it was, with holes */
    for (uint64_t i = changing_draw(&world->past, 6); i > 0; i--)
        fill_end(world);
    for (uint64_t i = changing_draw(&world->past, 3); i > 0; i--)
        publisher_world_slice_on(world);
    if (changing_draw(&world->past, 4) == 0)
        retire_something(world);
    grow_on(world);
}

static void apply(struct publisher_world *world)
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
static void fill_all(struct publisher_world *world)
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

static void begin(struct publisher_world *world, uint64_t seed, bool grows,
                  const struct publisher_options *options)
{
    struct log_position at;
    struct catalogue catalogue;
    struct failure failure = {0};
    struct publisher_options sizes = *options;
    sizes.permissions_max = 128;
    sizes.max_staleness_ns = 2 * SECOND;
    memset(world, 0, sizeof *world);
    world->grows = grows;
    changing_begin(&world->past, seed);
    world->applied_now = world->past.now;
    world->clock_ns = SECOND;
    at = (struct log_position){7, world->past.revision, changing_nonce(&world->past, world->past.revision)};
    memory_policy_copy(&world->applied, &world->past.policy);
    memory_catalogue(&world->past.policy, 2, &catalogue);
    assert_int_equal(publisher_new(&world->publisher, &sizes, &at, world->past.now, &catalogue,
                                   &world->counters, &failure),
                     0);
}

static void end(struct publisher_world *world)
{
    for (size_t i = 0; i < PENDING; i++)
        if (world->is_pending[i])
            facts_fini(&world->pending[i]);
    publisher_world_slices_end(world);
    changing_fini(&world->past);
    publisher_free(world->publisher);
    memory_policy_fini(&world->applied);
}

/* Clients use this and that, come and go. It decides what stays, and must change nothing else. */
static void use_something(struct publisher_world *world)
{
    struct use_share *share = &world->shares[changing_draw(&world->past, 2)];
    uint64_t uses = changing_draw(&world->past, 4);
    publisher_use_grant(world->publisher);
    while (uses-- > 0) {
        struct scope_key scope = changing_scope(&world->past);
        world->used += publisher_use(world->publisher, share, changing_user(&world->past), scope);
    }
    if (changing_draw(&world->past, 50) == 0)
        publisher_use_leave(world->publisher, share);
}

static void step(struct publisher_world *world)
{
    uint64_t drawn = changing_draw(&world->past, 1000);
    use_something(world);
    if (changing_draw(&world->past, 2) == 0)
        grow_on(world);
    if (changing_draw(&world->past, 3) == 0)
        publisher_world_slice_begin(world);
    if (changing_draw(&world->past, 2) == 0)
        publisher_world_slice_on(world);
    if (drawn < 300) {
        changing_step(&world->past);
    } else if (drawn < 500) {
        apply(world);
        publisher_world_compare_all(world);
        if (changing_draw(&world->past, 3) == 0)
            publisher_world_audit_all(world);
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
            publisher_world_audit_all(world);
    }
}

void publisher_world_run(uint64_t seed, int steps, bool grows, const struct publisher_options *options,
                         struct publisher_totals *totals)
{
    struct publisher_world world;
    struct counters *total = &totals->counters;
    begin(&world, seed, grows, options);
    for (int i = 0; i < steps; i++)
        step(&world);
    apply(&world);
    publisher_world_compare_all(&world);
    publisher_world_audit_all(&world);
    totals->audits += world.agreed;
    totals->handed_over += world.handed_over;
    totals->ended += world.ended;
    totals->released += world.released;
    totals->beside += world.beside;
    totals->scanned += world.scanned;
    totals->used += world.used;
    totals->copied += world.copied;
    totals->slice_filled += world.slice_filled;
    totals->slice_late += world.slice_late;
    totals->slice_resident += world.slice_resident;
    totals->slice_alone += world.slice_alone;
    totals->slice_no_room += world.slice_no_room;
    totals->slice_short += world.slice_short;
    totals->slice_beside += world.slice_beside;
    totals->slice_held += world.slice_held;
    total->fills += world.counters.fills;
    total->entries_evicted += world.counters.entries_evicted;
    total->entries_retired += world.counters.entries_retired;
    total->sets_rewritten += world.counters.sets_rewritten;
    total->sets_exhausted += world.counters.sets_exhausted;
    total->rebuilds += world.counters.rebuilds;
    total->folds += world.counters.folds;
    totals->slices += world.slices;
    end(&world);
}
