/* The publisher against the truth. A policy in memory is changed at random, each change with the change rows that the
 * store's triggers would write; batches of one or several changes are applied; fills are read at one revision and
 * published at a later one, too early, or after the store was replaced; entries are invalidated on demand, and the table is
 * rebuilt. After every step:
 *
 *   every entry, one that readers cannot find for a fold in front of it included, equals what is resolved afresh from the
 *   policy at the applied revision; an entry of a closed set is as good as none;
 *   what publish_facts answers is that too, and readers find it afterwards;
 *   the auditor, asked about any of them, has nothing to say against it nor against the publisher's books.
 *
 * Each history draws for itself how often each kind of thing happens in it, many of them never, and how many users, roles and
 * permissions there are: rare coincidences, of which most bugs here are made, are common in some of them (Groce and others,
 * "Swarm Testing", ISSTA 2012). Rows that point to nothing are among what happens: references are not enforced everywhere.
 *
 * A publisher that forgets to retire something, rewrites the wrong set, folds what is not plain, or lets an outdated fill
 * through fails here; each of these was done to it once. */
#include "proxy/publish_audit.h"
#include "proxy/publish_internal.h"
#include "tests/support/memory_policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define USERS_MAX   6 /* 0 is one of them, as it is of roles */
#define ROLES_MAX   8
#define PERMISSIONS 70
#define PENDING     12
#define SECOND      1000000000ull

enum happening {
    ASSIGN,
    UNASSIGN, /* each of the first four makes rows, and the next one takes them away again */
    OVERWRITE,
    UNOVERWRITE,
    GRANT,
    REVOKE,
    INHERIT,
    DISINHERIT,
    ROLE,         /* appears, is moved, made a default role, activated, or not any more */
    ROLE_REPLACE, /* moved by REPLACE, which names the new place alone */
    ROLE_DELETE,  /* with all that refers to it */
    ROLE_VANISH,  /* without */
    SCOPE,
    SCOPE_DELETE,
    SCOPE_VANISH,
    CATALOGUE,
    BURST, /* several changes of one role or one scope */
    HAPPENINGS
};

struct world {
    uint64_t random;
    uint64_t users, roles, bits; /* how many */
    unsigned weight[HAPPENINGS], weights;
    uint64_t focus_role; /* during a burst */
    struct scope_key focus_scope;
    bool focused;
    uint64_t history;             /* makes nonces */
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
    uint64_t agreed; /* audits */
};

static uint64_t draw(struct world *world, uint64_t below)
{
    world->random ^= world->random << 13;
    world->random ^= world->random >> 7;
    world->random ^= world->random << 17;
    return (world->random * 0x2545f4914f6cdd1dull >> 33) % below;
}

static const struct scope_key global = {0, 0};

static uint64_t nonce_of(const struct world *world, uint64_t revision)
{
    return world->history << 32 | revision;
}

static uint64_t any_user(struct world *world)
{
    return draw(world, world->users);
}

static uint64_t any_role(struct world *world)
{
    return world->focused && draw(world, 4) > 0 ? world->focus_role : draw(world, world->roles);
}

static uint32_t any_bit(struct world *world)
{
    return (uint32_t)draw(world, world->bits);
}

/* server 1-2, category 10-12, channel 100-104: type numbers 1, 2, 3 */
static struct scope_key any_scope(struct world *world)
{
    if (world->focused && draw(world, 4) > 0)
        return world->focus_scope;
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
    change.nonce = nonce_of(world, change.revision);
    struct change *items = realloc(world->log.items, (world->log.count + 1) * sizeof *items);
    assert_non_null(items);
    items[world->log.count++] = change;
    world->log.items = items;
}

/* ---- random changes, with the rows that triggers would write ------------------------------------------------------ */

/* Takes item `at` out of a list of the policy. */
#define TAKE(world, list, at)                                                                                \
    ((world)->policy.list.items[at] = (world)->policy.list.items[--(world)->policy.list.count],              \
     memory_policy_touch(&(world)->policy))

static void log_overwrite(struct world *world, const struct memory_overwrite *row)
{
    struct change change = {.kind = CHANGE_OVERWRITE, .scope = row->scope};
    if (row->subject == OVERWRITE_USER)
        change.user = row->subject_id;
    else
        change.role = row->subject_id;
    log_change(world, change);
}

static void unassign(struct world *world, size_t at)
{
    struct memory_assignment gone = world->policy.assignments.items[at];
    TAKE(world, assignments, at);
    log_change(world,
               (struct change){
                   .kind = CHANGE_ASSIGNMENT, .user = gone.user, .role = gone.role, .scope = gone.scope});
}

static void unoverwrite(struct world *world, size_t at)
{
    struct memory_overwrite gone = world->policy.overwrites.items[at];
    TAKE(world, overwrites, at);
    log_overwrite(world, &gone);
}

static void revoke(struct world *world, size_t at)
{
    uint64_t role = world->policy.grants.items[at].role;
    TAKE(world, grants, at);
    log_change(world, (struct change){.kind = CHANGE_ROLE_GRANT, .role = role});
}

static void disinherit(struct world *world, size_t at)
{
    uint64_t role = world->policy.parents.items[at].role;
    TAKE(world, parents, at);
    log_change(world, (struct change){.kind = CHANGE_ROLE_PARENT, .role = role});
}

static void assign(struct world *world)
{
    struct memory_policy *policy = &world->policy;
    uint64_t user = any_user(world), role = any_role(world);
    const struct memory_role *definition = memory_role_find(policy, role);
    struct scope_key scope = any_scope(world);
    if (definition != NULL && draw(world, 2) == 0)
        scope = definition->scope; /* most other places are out of place */
    int64_t expires = draw(world, 3) == 0 ? world->now + (int64_t)draw(world, 40) : FACTS_NEVER;
    for (size_t i = 0; i < policy->assignments.count; i++)
        if (policy->assignments.items[i].user == user && policy->assignments.items[i].role == role &&
            scope_equal(policy->assignments.items[i].scope, scope))
            return;
    if (definition == NULL || memory_scope_find(policy, scope) == NULL)
        return;
    memory_assign(policy, user, role, scope, expires);
    log_change(world, (struct change){.kind = CHANGE_ASSIGNMENT, .user = user, .role = role, .scope = scope});
}

static void overwrite(struct world *world)
{
    bool user = draw(world, 3) == 0;
    struct memory_overwrite row = {any_scope(world), user ? OVERWRITE_USER : OVERWRITE_ROLE,
                                   user ? any_user(world) : any_role(world), any_bit(world),
                                   draw(world, 2) == 0};
    if (row.scope.type == 0 && draw(world, 8) > 0)
        return; /* else everybody would soon see some, and most of what is of interest is where only some do */
    if (memory_scope_find(&world->policy, row.scope) == NULL ||
        (!user && memory_role_find(&world->policy, row.subject_id) == NULL))
        return;
    memory_overwrite(&world->policy, row.scope, row.subject, row.subject_id, row.bit, row.allow);
    log_overwrite(world, &row);
}

static void grant(struct world *world)
{
    uint64_t role = any_role(world);
    if (memory_role_find(&world->policy, role) == NULL)
        return;
    memory_grant(&world->policy, role, (enum grant_effect)draw(world, 3), any_bit(world));
    log_change(world, (struct change){.kind = CHANGE_ROLE_GRANT, .role = role});
}

static void inherit(struct world *world)
{
    uint64_t role = any_role(world), parent = draw(world, world->roles);
    if (memory_role_find(&world->policy, role) == NULL || memory_role_find(&world->policy, parent) == NULL)
        return;
    memory_inherit(&world->policy, role, parent); /* cycles too */
    log_change(world, (struct change){.kind = CHANGE_ROLE_PARENT, .role = role});
}

static void role_put(struct world *world, bool replaces)
{
    struct memory_policy *policy = &world->policy;
    uint64_t id = any_role(world);
    const struct memory_role *before = memory_role_find(policy, id);
    struct scope_key old_scope = before != NULL ? before->scope : global;
    struct memory_role after = before != NULL ? *before : (struct memory_role){.id = id, .active = true};
    bool existed = before != NULL;
    if (!existed || replaces || draw(world, 3) == 0)
        after.scope = any_scope(world);
    if (memory_scope_find(policy, after.scope) == NULL)
        return;
    if (draw(world, 2) == 0)
        after.is_default = !after.is_default;
    if (draw(world, 2) == 0)
        after.active = !after.active;
    for (size_t i = 0; i < policy->roles.count; i++) {
        struct memory_role *row = &policy->roles.items[i];
        if (row->id == id) {
            row->scope = after.scope;
            row->is_default = after.is_default;
            row->active = after.active;
        }
    }
    if (!existed)
        memory_role(policy, id, "role", after.scope, after.is_default, after.active);
    memory_policy_touch(policy);
    if (existed && !replaces && !scope_equal(old_scope, after.scope))
        log_change(world, (struct change){.kind = CHANGE_ROLE, .role = id, .scope = old_scope});
    log_change(world, (struct change){.kind = CHANGE_ROLE, .role = id, .scope = after.scope});
}

static void role_delete(struct world *world, bool vanishes)
{
    struct memory_policy *policy = &world->policy;
    uint64_t id = any_role(world);
    for (size_t i = policy->assignments.count; !vanishes && i-- > 0;)
        if (policy->assignments.items[i].role == id)
            unassign(world, i);
    for (size_t i = policy->overwrites.count; !vanishes && i-- > 0;)
        if (policy->overwrites.items[i].subject == OVERWRITE_ROLE &&
            policy->overwrites.items[i].subject_id == id)
            unoverwrite(world, i);
    for (size_t i = policy->grants.count; !vanishes && i-- > 0;)
        if (policy->grants.items[i].role == id)
            revoke(world, i);
    for (size_t i = policy->parents.count; !vanishes && i-- > 0;)
        if (policy->parents.items[i].role == id || policy->parents.items[i].parent == id)
            disinherit(world, i);
    for (size_t i = policy->roles.count; i-- > 0;) {
        if (policy->roles.items[i].id == id) {
            struct scope_key scope = policy->roles.items[i].scope;
            free(policy->roles.items[i].name);
            TAKE(world, roles, i);
            log_change(world, (struct change){.kind = CHANGE_ROLE, .role = id, .scope = scope});
        }
    }
}

static void scope_put(struct world *world)
{
    struct memory_policy *policy = &world->policy;
    struct scope_key key = any_scope(world);
    struct scope_key parent = global;
    uint64_t owner = any_user(world);
    if (key.type > 1 && draw(world, 3) > 0)
        parent = (struct scope_key){1 + draw(world, 2), 1};
    if (key.type == 3 && draw(world, 2) == 0)
        parent = (struct scope_key){10 + draw(world, 3), 2};
    if (key.type == 0 || memory_scope_find(policy, parent) == NULL)
        return;
    memory_scope(policy, key, parent, draw(world, 5) == 0 ? &owner : NULL);
    memory_policy_touch(policy);
    log_change(world, (struct change){.kind = CHANGE_SCOPE, .scope = key});
}

/* What refers to it goes first, or, as where references are not enforced, stays and points to nothing. */
static void scope_delete(struct world *world, bool vanishes)
{
    struct memory_policy *policy = &world->policy;
    struct scope_key key = any_scope(world);
    for (size_t i = policy->assignments.count; !vanishes && i-- > 0;)
        if (scope_equal(policy->assignments.items[i].scope, key))
            unassign(world, i);
    for (size_t i = policy->overwrites.count; !vanishes && i-- > 0;)
        if (scope_equal(policy->overwrites.items[i].scope, key))
            unoverwrite(world, i);
    if (key.type == 0)
        return;
    for (size_t i = 0; !vanishes && i < policy->scopes.count; i++)
        if (scope_equal(policy->scopes.items[i].parent, key))
            return;
    for (size_t i = 0; !vanishes && i < policy->roles.count; i++)
        if (scope_equal(policy->roles.items[i].scope, key))
            return;
    for (size_t i = policy->scopes.count; i-- > 0;) {
        if (scope_equal(policy->scopes.items[i].key, key)) {
            TAKE(world, scopes, i);
            log_change(world, (struct change){.kind = CHANGE_SCOPE, .scope = key});
        }
    }
}

static void change_catalogue(struct world *world)
{
    struct memory_permission *permission = &world->policy.permissions.items[any_bit(world)];
    switch (draw(world, 3)) {
    case 0:
        permission->grants_all = !permission->grants_all;
        break;
    case 1:
        permission->deleted = draw(world, 4) == 0 || permission->deleted;
        break;
    default:
        memory_requires(&world->policy, any_bit(world), any_bit(world));
    }
    world->catalogue_changed = true;
    log_change(world, (struct change){.kind = CHANGE_PERMISSION});
}

static void change_something(struct world *world);

static void burst(struct world *world)
{
    if (world->focused)
        return;
    world->focus_role = any_role(world);
    world->focus_scope = any_scope(world);
    world->focused = true;
    for (uint64_t left = 2 + draw(world, 10); left > 0; left--)
        change_something(world);
    world->focused = false;
}

static enum happening any_happening(struct world *world)
{
    uint64_t left = draw(world, world->weights);
    enum happening happening = ASSIGN;
    for (; left >= world->weight[happening]; happening++)
        left -= world->weight[happening];
    return happening;
}

/* Calls `change` with the place of any row of a list that has one. */
#define ANY(world, list, change)                                                                             \
    do {                                                                                                     \
        if ((world)->policy.list.count > 0)                                                                  \
            change(world, draw(world, (world)->policy.list.count));                                          \
    } while (0)

static void change_something(struct world *world)
{
    switch (any_happening(world)) {
    case ASSIGN:
        assign(world);
        break;
    case UNASSIGN:
        ANY(world, assignments, unassign);
        break;
    case OVERWRITE:
        overwrite(world);
        break;
    case UNOVERWRITE:
        ANY(world, overwrites, unoverwrite);
        break;
    case GRANT:
        grant(world);
        break;
    case REVOKE:
        ANY(world, grants, revoke);
        break;
    case INHERIT:
        inherit(world);
        break;
    case DISINHERIT:
        ANY(world, parents, disinherit);
        break;
    case ROLE:
        role_put(world, false);
        break;
    case ROLE_REPLACE:
        role_put(world, true);
        break;
    case ROLE_DELETE:
        role_delete(world, false);
        break;
    case ROLE_VANISH:
        role_delete(world, true);
        break;
    case SCOPE:
        scope_put(world);
        break;
    case SCOPE_DELETE:
        scope_delete(world, false);
        break;
    case SCOPE_VANISH:
        scope_delete(world, true);
        break;
    case CATALOGUE:
        change_catalogue(world);
        break;
    case BURST:
        burst(world);
        break;
    case HAPPENINGS:
        break;
    }
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
    struct batch batch = {.at = {7, world->revision, nonce_of(world, world->revision)}, .now = world->now};
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
            batch.expired.items =
                realloc(batch.expired.items, (batch.expired.count + 1) * sizeof(struct change));
            assert_non_null(batch.expired.items);
            batch.expired.items[batch.expired.count++] = (struct change){
                .kind = CHANGE_ASSIGNMENT, .user = row->user, .role = row->role, .scope = row->scope};
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
            fail_msg(
                "user %d at %d:%d, revision %d: the table says %016llx/%016llx, the policy %016llx/%016llx",
                (int)user, (int)scope.type, (int)scope.id, (int)world->publish->at.revision,
                (unsigned long long)answer->any[word], (unsigned long long)answer->own[word],
                (unsigned long long)bits[word], (unsigned long long)bits[2 + word]);
    }
}

static void compare_all_resident(struct world *world)
{
    const struct table *table = world->publish->table;
    for (uint32_t slot = 0; slot < map_slot_count(&table->map); slot++) {
        struct map_key key = map_key_at(&table->map, slot);
        uint32_t set = PERMTAB_SHM_WORD_INDEX(map_word(&table->map, slot));
        struct answer answer;
        if (set == 0 || table->sets.records[set].abandoned)
            continue;
        assert_int_equal(publish_answer_from_set(world->publish, set, &answer), 0);
        compare(world, key.key0, (struct scope_key){key.key1, key.type}, &answer, world->applied_now);
        answer_fini(&answer);
    }
    for (uint64_t user = 0; user < world->users; user++) {
        for (uint32_t type = 0; type <= 3; type++) {
            static const uint64_t first[] = {0, 1, 10, 100}, count[] = {1, 5, 6, 8};
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

static void audit_facts(struct world *world, struct facts *facts)
{
    struct audit_finding finding;
    enum audit_outcome outcome = publish_audit(world->publish, facts, &finding);
    if (outcome == AUDIT_DIFFERS)
        fail_msg("user %d at %d:%d: the auditor says: %s", (int)facts->user, (int)facts->scope.type,
                 (int)facts->scope.id, finding.what);
    world->agreed += outcome == AUDIT_AGREES;
}

static void audit(struct world *world, uint64_t user, struct scope_key scope)
{
    struct facts facts;
    memory_facts(&world->applied, user, scope, world->applied_now, &facts);
    facts.revision = world->publish->at.revision;
    facts.nonce = world->publish->at.nonce;
    facts.now = world->applied_now;
    audit_facts(world, &facts);
    facts_fini(&facts);
}

/* Every entry, and every scope that is folded into where an entry is. */
static void audit_all_resident(struct world *world)
{
    const struct table *table = world->publish->table;
    for (uint32_t slot = 0; slot < map_slot_count(&table->map); slot++) {
        struct map_key key = map_key_at(&table->map, slot);
        if (map_word(&table->map, slot) != 0)
            audit(world, key.key0, (struct scope_key){key.key1, key.type});
    }
    for (uint32_t slot = 0; slot < map_slot_count(&table->folding.map); slot++) {
        struct map_key key = map_key_at(&table->folding.map, slot);
        for (uint64_t user = 0; user < world->users && map_word(&table->folding.map, slot) != 0; user++)
            audit(world, user, (struct scope_key){key.key1, key.type});
    }
}

/* Whoever was filled is found, unless there was no set for them. */
static void assert_found(struct world *world, const struct facts *facts, uint64_t exhausted)
{
    struct answer answer;
    if (facts->broken || world->counters.sets_exhausted != exhausted)
        return;
    if (!publish_lookup(world->publish, facts->user, facts->scope, &answer))
        fail_msg("user %d at %d:%d was filled and is not found", (int)facts->user, (int)facts->scope.type,
                 (int)facts->scope.id);
    answer_fini(&answer);
}

static void rebuild(struct world *world, bool replaced)
{
    struct catalogue catalogue;
    struct failure failure;
    if (replaced) { /* by a store that has come to where this one is on another way */
        world->history++;
        world->revision -= draw(world, 3) == 0 ? draw(world, world->revision) : 0;
    }
    struct store_position at = {7, world->revision, nonce_of(world, world->revision)};
    memory_catalogue(&world->policy, 2, &catalogue);
    assert_int_equal(publish_rebuild(world->publish, &at, world->now, &catalogue, &failure), 0);
    change_list_fini(&world->log);
    world->catalogue_changed = false;
    memory_policy_fini(&world->applied);
    memory_policy_copy(&world->applied, &world->policy);
    world->applied_now = world->now;
    for (size_t i = 0; i < PENDING;
         i++) { /* as fill.c does with fills of another generation, but not all of them */
        if (world->is_pending[i] && (!replaced || draw(world, 2) == 0)) {
            facts_fini(&world->pending[i]);
            world->is_pending[i] = false;
        }
    }
}

static void retire_something(struct world *world)
{
    switch (draw(world, 3)) {
    case 0:
        publish_retire_user(world->publish, any_user(world));
        break;
    case 1:
        publish_retire_scope(world->publish, any_scope(world));
        break;
    default:
        publish_retire_role(world->publish, any_role(world));
    }
    if (draw(world, 2) == 0)
        publish_renew(world->publish, world->clock_ns); /* sweeps */
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
    memory_facts(&world->policy, any_user(world), scope, world->now, &world->pending[at]);
    world->pending[at].revision = world->revision;
    world->pending[at].nonce = nonce_of(world, world->revision);
    world->pending[at].now = world->now;
    world->is_pending[at] = true;
}

/* False when the fill is to be kept for later. */
static bool fill_publish(struct world *world, struct facts *facts)
{
    struct answer answer = {0};
    uint64_t exhausted = world->counters.sets_exhausted;
    switch (publish_facts(world->publish, facts, world->clock_ns, &answer)) {
    case PUBLISH_FILLED:
        compare(world, facts->user, facts->scope, &answer,
                facts->now > world->applied_now ? facts->now : world->applied_now);
        answer_fini(&answer);
        assert_found(world, facts, exhausted);
        break;
    case PUBLISH_EARLY:
        assert_true(facts->revision > world->publish->at.revision);
        return false;
    case PUBLISH_OUTDATED:
        assert_true(facts->revision < world->publish->at.revision || facts->nonce >> 32 != world->history);
        break;
    case PUBLISH_FAILED:
        fail();
    }
    facts_fini(facts);
    return true;
}

static void fill_end(struct world *world)
{
    size_t at = draw(world, PENDING);
    if (!world->is_pending[at])
        return;
    audit_facts(world, &world->pending[at]); /* facts of any age: outdated ones say nothing */
    world->is_pending[at] = !fill_publish(world, &world->pending[at]);
}

/* Everybody everywhere: equal inputs then meet at different places. */
static void fill_all(struct world *world)
{
    for (size_t i = 0; i < world->policy.scopes.count; i++) {
        for (uint64_t user = 0; user < world->users; user++) {
            struct facts facts;
            memory_facts(&world->policy, user, world->policy.scopes.items[i].key, world->now, &facts);
            facts.revision = world->revision;
            facts.nonce = nonce_of(world, world->revision);
            facts.now = world->now;
            assert_true(fill_publish(world, &facts));
        }
    }
}

/* A quarter to three quarters of what may happen do not; what makes rows comes with what takes them away. Rows that point to nothing are for
 * one history in four. */
static void draw_weights(struct world *world)
{
    bool dangling = draw(world, 4) == 0;
    uint64_t none = 1 + draw(world, 3);
    for (enum happening happening = ASSIGN; happening < HAPPENINGS; happening++)
        world->weight[happening] = (unsigned)(draw(world, 4) < none ? 0 : 1 + draw(world, 8));
    world->weight[ASSIGN]++;
    world->weight[ROLE]++;
    if (!dangling)
        world->weight[ROLE_VANISH] = world->weight[SCOPE_VANISH] = 0;
    /* What empties the policy or the table is rarer. */
    static const enum happening rare[] = {ROLE_REPLACE, ROLE_DELETE,  ROLE_VANISH, SCOPE,
                                          SCOPE_DELETE, SCOPE_VANISH, CATALOGUE};
    for (size_t i = 0; i < sizeof rare / sizeof rare[0]; i++)
        world->weight[rare[i]] = (world->weight[rare[i]] + 3) / 4;
    for (enum happening happening = ASSIGN; happening <= INHERIT;
         happening = (enum happening)(happening + 2)) {
        world->weight[happening] *= 4;
        world->weight[happening + 1] = world->weight[happening] - world->weight[happening] / 4;
    }
    world->weights = 0;
    for (enum happening happening = ASSIGN; happening < HAPPENINGS; happening++)
        world->weights += world->weight[happening];
}

static void begin(struct world *world, uint64_t seed, uint64_t entries, uint32_t sets, uint32_t folds)
{
    struct publish_options options = {.permissions_max = 128,
                                      .entries = entries,
                                      .sets = sets,
                                      .folds = folds,
                                      .max_staleness_ns = 2 * SECOND};
    struct store_position at;
    struct catalogue catalogue;
    struct failure failure = {0};
    memset(world, 0, sizeof *world);
    world->random = seed;
    world->revision = 1;
    world->users = 2 + draw(world, USERS_MAX - 1);
    world->roles = 2 + draw(world, ROLES_MAX - 1);
    world->bits = draw(world, 2) == 0 ? PERMISSIONS : 3;
    draw_weights(world);
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
    for (uint64_t id = 0; id < world->roles; id++) {
        struct scope_key scope = draw(world, 2) == 0 ? global : any_scope(world);
        memory_role(&world->policy, id, "role", scope, draw(world, 6) == 0, true);
        memory_grant(&world->policy, id, GRANT_ALLOW, any_bit(world));
    }
    for (int i = 0; i < 12; i++) {
        assign(world);
        if (world->weight[OVERWRITE] > 0 && draw(world, 3) == 0)
            overwrite(world);
    }
    change_list_fini(&world->log);
    at = (struct store_position){7, world->revision, nonce_of(world, world->revision)};
    memory_policy_copy(&world->applied, &world->policy);
    memory_catalogue(&world->policy, 2, &catalogue);
    assert_int_equal(
        publish_new(&world->publish, &options, &at, world->now, &catalogue, &world->counters, &failure), 0);
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

static void step(struct world *world)
{
    uint64_t drawn = draw(world, 1000);
    if (drawn < 300) {
        change_something(world);
    } else if (drawn < 500) {
        apply(world);
        compare_all_resident(world);
        if (draw(world, 3) == 0)
            audit_all_resident(world);
        if (draw(world, 2) == 0)
            fill_all(world);
    } else if (drawn < 600) {
        world->now += (int64_t)draw(world, 6);
        world->clock_ns += draw(world, 2 * SECOND);
    } else if (drawn < 620) {
        retire_something(world);
    } else if (drawn < 625) {
        rebuild(world, draw(world, 2) == 0);
    } else if (drawn < 800) {
        fill_begin(world);
    } else {
        fill_end(world);
        if (draw(world, 4) == 0) /* and before the next batch: fills have a later clock than the table */
            audit_all_resident(world);
    }
}

static void run(uint64_t seed, int steps, uint64_t entries, uint32_t sets, uint32_t folds,
                struct counters *total)
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
    (void)state;
    for (uint64_t seed = 1; seed <= seeds(); seed++)
        run(seed * 7919, 400, 1000, 500, 64, &total);
    /* The test is worth something only if all of this has happened. */
    print_message("fills %llu, retired %llu, rewritten %llu, folds %llu\n", (unsigned long long)total.fills,
                  (unsigned long long)total.entries_retired, (unsigned long long)total.sets_rewritten,
                  (unsigned long long)total.folds);
    assert_true(total.fills > 10000);
    assert_true(total.entries_retired > 5000);
    assert_true(total.sets_rewritten > 250);
    assert_true(total.folds > 20);
    print_message("audited %llu\n", (unsigned long long)total.audit_checks);
    assert_true(total.audit_checks > 10000);
}

static void cramped(void **state)
{
    struct counters total = {0};
    (void)state;
    for (uint64_t seed = 1; seed <= seeds(); seed++)
        run(seed * 104729, 400, 12, 6, 2, &total);
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
