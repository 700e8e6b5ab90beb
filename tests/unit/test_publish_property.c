/* The publisher against the truth. A policy in memory is changed at random, each change with the change rows that the
 * store's triggers would write; batches of one or several changes are applied; fills are read at one revision and
 * published at a later one, or too early. After every step:
 *
 *   every entry that a reader finds equals what is resolved afresh from the policy at the applied revision;
 *   what publish_facts answers is that too.
 *
 * A publisher that forgets to retire something, rewrites the wrong set, folds what is not plain, or lets an outdated fill
 * through fails here; each of these was done to it once. */
#include "proxy/publish_internal.h"
#include "tests/support/memory_policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define USERS       6
#define ROLES       8
#define PERMISSIONS 70
#define PENDING     12
#define SECOND      1000000000ull

struct world {
    uint64_t random;
    struct memory_policy policy;  /* as committed */
    struct memory_policy applied; /* as at the publisher's revision */
    uint64_t revision;
    int64_t now, applied_now;
    struct publish *publish;
    struct counters counters;
    struct change_list log; /* committed, not applied yet */
    bool catalogue_changed;
    struct facts pending[PENDING]; /* fills that are under way */
    bool is_pending[PENDING];
    uint64_t clock_ns;
};

static uint64_t draw(struct world *world, uint64_t below)
{
    world->random ^= world->random << 13;
    world->random ^= world->random >> 7;
    world->random ^= world->random << 17;
    return (world->random * 0x2545f4914f6cdd1dull >> 33) % below;
}

static const struct scope_key global = {0, 0};

/* server 1-2, category 10-12, channel 100-104: type numbers 1, 2, 3 */
static struct scope_key any_scope(struct world *world)
{
    switch (draw(world, 5)) {
    case 0:
        return global;
    case 1:
        return (struct scope_key){1 + draw(world, 2), 1};
    case 2:
        return (struct scope_key){10 + draw(world, 3), 2};
    default:
        return (struct scope_key){100 + draw(world, 5), 3};
    }
}

static void log_change(struct world *world, struct change change)
{
    change.revision = ++world->revision;
    struct change *items = realloc(world->log.items, (world->log.count + 1) * sizeof *items);
    assert_non_null(items);
    items[world->log.count++] = change;
    world->log.items = items;
}

/* ---- random changes, with the rows that triggers would write ------------------------------------------------------ */

static void change_assignment(struct world *world)
{
    struct memory_policy *policy = &world->policy;
    if (policy->assignments.count > 0 && draw(world, 2) == 0) {
        size_t at = draw(world, policy->assignments.count);
        struct memory_assignment gone = policy->assignments.items[at];
        policy->assignments.items[at] = policy->assignments.items[--policy->assignments.count];
        memory_policy_touch(policy);
        log_change(world, (struct change){.kind = CHANGE_ASSIGNMENT, .user = gone.user, .role = gone.role, .scope = gone.scope});
        return;
    }
    uint64_t user = 1 + draw(world, USERS), role = 1 + draw(world, ROLES);
    struct scope_key scope = any_scope(world);
    int64_t expires = draw(world, 3) == 0 ? world->now + (int64_t)draw(world, 40) : FACTS_NEVER;
    for (size_t i = 0; i < policy->assignments.count; i++)
        if (policy->assignments.items[i].user == user && policy->assignments.items[i].role == role &&
            scope_equal(policy->assignments.items[i].scope, scope))
            return;
    if (memory_role_find(policy, role) == NULL || memory_scope_find(policy, scope) == NULL)
        return;
    memory_assign(policy, user, role, scope, expires);
    log_change(world, (struct change){.kind = CHANGE_ASSIGNMENT, .user = user, .role = role, .scope = scope});
}

static void change_overwrite(struct world *world)
{
    struct memory_policy *policy = &world->policy;
    struct memory_overwrite row;
    if (policy->overwrites.count > 0 && draw(world, 2) == 0) {
        size_t at = draw(world, policy->overwrites.count);
        row = policy->overwrites.items[at];
        policy->overwrites.items[at] = policy->overwrites.items[--policy->overwrites.count];
        memory_policy_touch(policy);
    } else {
        bool user = draw(world, 3) == 0;
        row = (struct memory_overwrite){any_scope(world), user ? OVERWRITE_USER : OVERWRITE_ROLE,
                                        1 + draw(world, user ? USERS : ROLES), (uint32_t)draw(world, PERMISSIONS),
                                        draw(world, 2) == 0};
        if (memory_scope_find(policy, row.scope) == NULL ||
            (!user && memory_role_find(policy, row.subject_id) == NULL))
            return;
        memory_overwrite(policy, row.scope, row.subject, row.subject_id, row.bit, row.allow);
    }
    struct change change = {.kind = CHANGE_OVERWRITE, .scope = row.scope};
    if (row.subject == OVERWRITE_USER)
        change.user = row.subject_id;
    else
        change.role = row.subject_id;
    log_change(world, change);
}

static void change_grant(struct world *world)
{
    struct memory_policy *policy = &world->policy;
    uint64_t role = 1 + draw(world, ROLES);
    if (policy->grants.count > 0 && draw(world, 2) == 0) {
        size_t at = draw(world, policy->grants.count);
        role = policy->grants.items[at].role;
        policy->grants.items[at] = policy->grants.items[--policy->grants.count];
        memory_policy_touch(policy);
    } else {
        if (memory_role_find(policy, role) == NULL)
            return;
        memory_grant(policy, role, (enum grant_effect)draw(world, 3), (uint32_t)draw(world, PERMISSIONS));
    }
    log_change(world, (struct change){.kind = CHANGE_ROLE_GRANT, .role = role});
}

static void change_parent(struct world *world)
{
    struct memory_policy *policy = &world->policy;
    uint64_t role = 1 + draw(world, ROLES), parent = 1 + draw(world, ROLES);
    if (policy->parents.count > 0 && draw(world, 2) == 0) {
        size_t at = draw(world, policy->parents.count);
        role = policy->parents.items[at].role;
        policy->parents.items[at] = policy->parents.items[--policy->parents.count];
        memory_policy_touch(policy);
    } else {
        if (memory_role_find(policy, role) == NULL || memory_role_find(policy, parent) == NULL)
            return;
        memory_inherit(policy, role, parent); /* cycles too */
    }
    log_change(world, (struct change){.kind = CHANGE_ROLE_PARENT, .role = role});
}

/* New roles, moved ones, default and active toggled. */
static void change_role(struct world *world)
{
    struct memory_policy *policy = &world->policy;
    uint64_t id = 1 + draw(world, ROLES);
    const struct memory_role *before = memory_role_find(policy, id);
    struct scope_key old_scope = before != NULL ? before->scope : global;
    struct memory_role after = before != NULL ? *before : (struct memory_role){.id = id, .active = true};
    bool existed = before != NULL;
    if (!existed || draw(world, 3) == 0)
        after.scope = any_scope(world);
    if (memory_scope_find(policy, after.scope) == NULL)
        return;
    if (draw(world, 2) == 0)
        after.is_default = !after.is_default;
    if (draw(world, 2) == 0)
        after.active = !after.active;
    if (existed)
        for (size_t i = 0; i < policy->roles.count; i++) {
            struct memory_role *row = &policy->roles.items[i];
            if (row->id == id) {
                row->scope = after.scope;
                row->is_default = after.is_default;
                row->active = after.active;
            }
        }
    else
        memory_role(policy, id, "role", after.scope, after.is_default, after.active);
    memory_policy_touch(policy);
    if (existed && !scope_equal(old_scope, after.scope))
        log_change(world, (struct change){.kind = CHANGE_ROLE, .role = id, .scope = old_scope});
    log_change(world, (struct change){.kind = CHANGE_ROLE, .role = id, .scope = after.scope});
}

static void change_scope(struct world *world)
{
    struct memory_policy *policy = &world->policy;
    struct scope_key key = any_scope(world);
    struct scope_key parent = global;
    uint64_t owner = 1 + draw(world, USERS);
    if (key.type > 1 && draw(world, 3) > 0)
        parent = (struct scope_key){1 + draw(world, 2), 1};
    if (key.type == 3 && draw(world, 2) == 0)
        parent = (struct scope_key){10 + draw(world, 3), 2};
    if (key.type == 0 || memory_scope_find(policy, parent) == NULL)
        return;
    memory_scope(policy, key, parent, draw(world, 5) == 0 ? &owner : NULL);
    log_change(world, (struct change){.kind = CHANGE_SCOPE, .scope = key});
}

static void change_catalogue(struct world *world)
{
    struct memory_permission *permission = &world->policy.permissions.items[draw(world, PERMISSIONS)];
    switch (draw(world, 3)) {
    case 0:
        permission->grants_all = !permission->grants_all;
        break;
    case 1:
        permission->deleted = true;
        break;
    default:
        memory_requires(&world->policy, (uint32_t)draw(world, PERMISSIONS), (uint32_t)draw(world, PERMISSIONS));
    }
    world->catalogue_changed = true;
    log_change(world, (struct change){.kind = CHANGE_PERMISSION});
}

static void change_something(struct world *world)
{
    static void (*const changes[])(struct world *) = {
        change_assignment, change_assignment, change_overwrite, change_grant, change_grant,
        change_parent,     change_role,       change_scope,
    };
    if (draw(world, 60) == 0)
        change_catalogue(world);
    else
        changes[draw(world, sizeof changes / sizeof changes[0])](world);
}

/* ---- the feed's and the fills' part --------------------------------------------------------------------------------- */

static void add_ancestors(struct world *world, struct role_list *roles, uint64_t id)
{
    struct role role;
    if (role_list_find(roles, id) != NULL)
        return;
    for (size_t i = 0; i < roles->count; i++)
        if (roles->items[i].id == id)
            return;
    if (!memory_definition(&world->policy, id, &role))
        return;
    struct role *added = role_list_add(roles);
    assert_non_null(added);
    *added = role;
    for (size_t i = 0; i < added->parent_count; i++) {
        uint64_t parent = role.parents[i];
        add_ancestors(world, roles, parent);
    }
}

static void apply(struct world *world)
{
    struct batch batch = {.at = {7, world->revision, world->revision}, .now = world->now};
    struct failure failure;
    batch.changes = world->log;
    memset(&world->log, 0, sizeof world->log);
    for (size_t i = 0; i < batch.changes.count; i++) {
        enum change_kind kind = batch.changes.items[i].kind;
        if (kind == CHANGE_ROLE || kind == CHANGE_ROLE_GRANT || kind == CHANGE_ROLE_PARENT)
            add_ancestors(world, &batch.roles, batch.changes.items[i].role);
    }
    int64_t from = publish_expiry(world->publish);
    for (size_t i = 0; i < world->policy.assignments.count; i++) {
        const struct memory_assignment *row = &world->policy.assignments.items[i];
        if (row->expires_at > from && row->expires_at <= world->now) {
            batch.expired.items = realloc(batch.expired.items, (batch.expired.count + 1) * sizeof(struct change));
            assert_non_null(batch.expired.items);
            batch.expired.items[batch.expired.count++] =
                (struct change){.kind = CHANGE_ASSIGNMENT, .user = row->user, .role = row->role, .scope = row->scope};
        }
    }
    if (world->catalogue_changed) {
        memory_catalogue(&world->policy, 2, &batch.catalogue);
        batch.has_catalogue = true;
        world->catalogue_changed = false;
    }
    assert_int_equal(publish_batch(world->publish, &batch, world->clock_ns, &failure), 0);
    batch_fini(&batch);
    memory_policy_fini(&world->applied);
    memory_policy_copy(&world->applied, &world->policy);
    world->applied_now = world->now;
}

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
            fail_msg("user %d at %d:%d, revision %d: the table says %016llx/%016llx, the policy %016llx/%016llx", (int)user,
                     (int)scope.type, (int)scope.id, (int)world->publish->at.revision,
                     (unsigned long long)answer->any[word], (unsigned long long)answer->own[word],
                     (unsigned long long)bits[word], (unsigned long long)bits[2 + word]);
    }
}

static void compare_all_resident(struct world *world)
{
    for (uint64_t user = 1; user <= USERS; user++) {
        for (uint32_t type = 0; type <= 3; type++) {
            static const uint64_t first[] = {0, 1, 10, 100}, count[] = {1, 3, 4, 6};
            for (uint64_t id = first[type]; id < first[type] + count[type]; id++) {
                struct scope_key scope = {id, type};
                struct answer answer;
                if (!publish_lookup(world->publish, user, scope, &answer))
                    continue;
                compare(world, user, scope, &answer, world->applied_now);
                answer_fini(&answer);
            }
        }
    }
}

static void fill_begin(struct world *world)
{
    size_t at = draw(world, PENDING);
    if (world->is_pending[at])
        return;
    struct scope_key scope = any_scope(world);
    if (draw(world, 10) == 0)
        scope.id += 3; /* often one that does not exist */
    if (scope.type == 0)
        scope.id = 0;
    memory_facts(&world->policy, 1 + draw(world, USERS), scope, world->now, &world->pending[at]);
    world->pending[at].revision = world->revision;
    world->pending[at].now = world->now;
    world->is_pending[at] = true;
}

static void fill_end(struct world *world)
{
    size_t at = draw(world, PENDING);
    struct facts *facts = &world->pending[at];
    struct answer answer = {0};
    if (!world->is_pending[at])
        return;
    switch (publish_facts(world->publish, facts, world->clock_ns, &answer)) {
    case PUBLISH_FILLED:
        compare(world, facts->user, facts->scope, &answer,
                facts->now > world->applied_now ? facts->now : world->applied_now);
        answer_fini(&answer);
        break;
    case PUBLISH_EARLY:
        assert_true(facts->revision > world->publish->at.revision);
        return;
    case PUBLISH_OUTDATED:
        assert_true(facts->revision < world->publish->at.revision);
        break;
    case PUBLISH_FAILED:
        fail();
    }
    facts_fini(facts);
    world->is_pending[at] = false;
}

static void begin(struct world *world, uint64_t seed, uint64_t entries, uint32_t sets, uint32_t folds)
{
    struct publish_options options = {.permissions_max = 128,
                                      .entries = entries,
                                      .sets = sets,
                                      .folds = folds,
                                      .max_staleness_ns = 2 * SECOND};
    struct store_position at = {7, 1, 1};
    struct catalogue catalogue;
    struct failure failure = {0};
    memset(world, 0, sizeof *world);
    world->random = seed;
    world->revision = 1;
    world->now = world->applied_now = 1000;
    world->clock_ns = SECOND;
    memory_policy_init(&world->policy);
    for (int i = 0; i < PERMISSIONS; i++) {
        char name[16];
        snprintf(name, sizeof name, "p.n%d", i);
        memory_permission(&world->policy, name);
    }
    for (uint64_t id = 1; id <= 2; id++)
        memory_scope(&world->policy, (struct scope_key){id, 1}, global, NULL);
    for (uint64_t id = 10; id <= 12; id++)
        memory_scope(&world->policy, (struct scope_key){id, 2}, (struct scope_key){1 + id % 2, 1}, NULL);
    for (uint64_t id = 100; id <= 104; id++)
        memory_scope(&world->policy, (struct scope_key){id, 3}, (struct scope_key){10 + id % 3, 2}, NULL);
    for (uint64_t id = 1; id <= ROLES; id++) {
        memory_role(&world->policy, id, "role", any_scope(world), id == 1, true);
        memory_grant(&world->policy, id, GRANT_ALLOW, (uint32_t)draw(world, PERMISSIONS));
    }
    memory_policy_copy(&world->applied, &world->policy);
    memory_catalogue(&world->policy, 2, &catalogue);
    assert_int_equal(publish_new(&world->publish, &options, &at, world->now, &catalogue, &world->counters, &failure), 0);
}

static void end(struct world *world)
{
    for (size_t i = 0; i < PENDING; i++)
        if (world->is_pending[i])
            facts_fini(&world->pending[i]);
    change_list_fini(&world->log);
    publish_free(world->publish);
    memory_policy_fini(&world->policy);
    memory_policy_fini(&world->applied);
}

static void run(uint64_t seed, int steps, uint64_t entries, uint32_t sets, uint32_t folds, struct counters *total)
{
    struct world world;
    begin(&world, seed, entries, sets, folds);
    for (int step = 0; step < steps; step++) {
        switch (draw(&world, 24)) {
        case 0:
        case 1:
            change_something(&world);
            break;
        case 2:
            apply(&world);
            compare_all_resident(&world);
            break;
        case 3:
            world.now += (int64_t)draw(&world, 6);
            world.clock_ns += draw(&world, 2 * SECOND);
            break;
        case 4:
        case 5:
        case 6:
        case 7:
        case 8:
        case 9:
        case 10:
        case 11:
        case 12:
            fill_begin(&world);
            break;
        default:
            fill_end(&world);
            break;
        }
    }
    apply(&world);
    compare_all_resident(&world);
    total->fills += world.counters.fills;
    total->entries_evicted += world.counters.entries_evicted;
    total->entries_retired += world.counters.entries_retired;
    total->sets_rewritten += world.counters.sets_rewritten;
    total->sets_exhausted += world.counters.sets_exhausted;
    total->folds += world.counters.folds;
    end(&world);
}

static void roomy(void **state)
{
    struct counters total = {0};
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++)
        run(seed * 7919, 3000, 1000, 500, 64, &total);
    /* The test is worth something only if all of this has happened. */
    print_message("fills %llu, retired %llu, rewritten %llu, folds %llu\n", (unsigned long long)total.fills, (unsigned long long)total.entries_retired, (unsigned long long)total.sets_rewritten, (unsigned long long)total.folds);
    assert_true(total.fills > 10000);
    assert_true(total.entries_retired > 5000);
    assert_true(total.sets_rewritten > 250);
    assert_true(total.folds > 20);
}

static void cramped(void **state)
{
    struct counters total = {0};
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++)
        run(seed * 104729, 3000, 12, 6, 2, &total);
    print_message("evicted %llu, exhausted %llu\n", (unsigned long long)total.entries_evicted, (unsigned long long)total.sets_exhausted);
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
