/* Strangers against the truth. A policy in memory is changed at random, with the change rows that the store's
 * triggers would write; users gain and lose their first rows; the census is counted in slices while that goes on,
 * lost and counted anew; batches are applied late; questions are answered from what is kept, or as the store would,
 * at once or after a while, or with rows of the user alone and what is kept of the place. At every revision:
 *
 *   who has rows is known to the census, or was given as known;
 *   every answer equals what the slow resolver says of the policy at the applied revision;
 *   so does every entry in the table.
 *
 * A census that forgets a change row, takes a slice of before its beginning or of another store, or is asked before
 * it has heard of a batch, and kept facts that pass for younger than they are, fail here; each of these was done to
 * it once. */
#include "proxy/answer/fetch.h"
#include "proxy/rights/resolve.h"
#include "proxy/table/batch.h"
#include "proxy/table/fill.h"
#include "tests/support/memory_user.h"
#include "tests/support/random.h"
#include "tests/support/slow_resolver.h"

#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define USERS       14u
#define ROLES       5u
#define PERMISSIONS 6u
#define PENDING     6u
#define NOW         1000
#define SLICE_IDS   4u /* ids of users to a slice */
#define SECOND      1000000000ull

static const struct scope_key scopes[] = {{0, 0}, {1, 1}, {2, 1}, {10, 2}, {100, 3}, {101, 3}, {102, 3}};
#define SCOPES (sizeof scopes / sizeof *scopes)

struct pending {
    bool used;
    bool partial; /* rows of the user alone, of a place that is kept */
    struct store_place place;
    struct facts facts;
    struct fetch_origin origin;
};

struct world {
    struct random random;
    struct memory_policy policy, applied; /* as committed; as at the table's revision */
    struct log_position at;               /* of the store */
    struct change_list log;               /* committed, not applied yet */
    struct publisher *publisher;
    struct counters counters;
    struct event_base *base;
    struct fetches *fetches;
    struct known_users known_users;
    struct strangers strangers;
    struct places places;
    unsigned kept; /* answers with what is kept of places */
    uint64_t next_slice, slice_first;
    bool in_hand; /* a slice that was read, and when */
    struct log_position slice_at;
    uint64_t slice_users[SLICE_IDS];
    size_t slice_count;
    struct pending pending[PENDING];
};

static uint64_t draw(struct world *world, uint64_t below)
{
    return random_below(&world->random, below);
}

static struct scope_key any_scope(struct world *world)
{
    return scopes[draw(world, SCOPES)];
}

static void log_change(struct world *world, struct change change)
{
    change.revision = ++world->at.revision;
    change.nonce = world->at.nonce = random_next(&world->random);
    struct change *items = realloc(world->log.items, (world->log.count + 1) * sizeof *items);
    assert_non_null(items);
    items[world->log.count++] = change;
    world->log.items = items;
}

/* ---- changes ----------------------------------------------------------------------------------------------------- */

#define TAKE(world, list, at)                                                                                \
    ((world)->policy.list.items[at] = (world)->policy.list.items[--(world)->policy.list.count],              \
     memory_policy_touch(&(world)->policy))

static void assign(struct world *world)
{
    uint64_t user = draw(world, USERS), role = 1 + draw(world, ROLES);
    struct scope_key scope = memory_role_find(&world->policy, role)->scope;
    for (size_t i = 0; i < world->policy.assignments.count; i++)
        if (world->policy.assignments.items[i].user == user &&
            world->policy.assignments.items[i].role == role)
            return;
    memory_assign(&world->policy, user, role, scope, draw(world, 5) == 0 ? NOW / 2 : FACTS_NEVER);
    log_change(world, (struct change){.kind = CHANGE_ASSIGNMENT, .user = user, .role = role, .scope = scope});
}

static void unassign(struct world *world)
{
    if (world->policy.assignments.count == 0)
        return;
    size_t at = draw(world, world->policy.assignments.count);
    struct memory_assignment gone = world->policy.assignments.items[at];
    TAKE(world, assignments, at);
    log_change(world,
               (struct change){
                   .kind = CHANGE_ASSIGNMENT, .user = gone.user, .role = gone.role, .scope = gone.scope});
}

static void log_overwrite(struct world *world, const struct memory_overwrite *row)
{
    bool user = row->subject == OVERWRITE_USER;
    log_change(world, (struct change){.kind = CHANGE_OVERWRITE,
                                      .scope = row->scope,
                                      .user = user ? row->subject_id : 0,
                                      .role = user ? 0 : row->subject_id});
}

static void overwrite(struct world *world)
{
    bool user = draw(world, 2) == 0;
    struct memory_overwrite row = {any_scope(world), user ? OVERWRITE_USER : OVERWRITE_ROLE,
                                   user ? draw(world, USERS) : 1 + draw(world, ROLES),
                                   (uint32_t)draw(world, PERMISSIONS), draw(world, 2) == 0};
    if (memory_scope_find(&world->policy, row.scope) == NULL)
        return;
    memory_overwrite(&world->policy, row.scope, row.subject, row.subject_id, row.bit, row.allow);
    log_overwrite(world, &row);
}

static void unoverwrite(struct world *world)
{
    if (world->policy.overwrites.count == 0)
        return;
    size_t at = draw(world, world->policy.overwrites.count);
    struct memory_overwrite gone = world->policy.overwrites.items[at];
    TAKE(world, overwrites, at);
    log_overwrite(world, &gone);
}

static void edit_role(struct world *world)
{
    uint64_t role = 1 + draw(world, ROLES);
    if (draw(world, 2) == 0 || world->policy.grants.count == 0) {
        memory_grant(&world->policy, role, (enum grant_effect)draw(world, 3),
                     (uint32_t)draw(world, PERMISSIONS));
    } else {
        size_t at = draw(world, world->policy.grants.count);
        role = world->policy.grants.items[at].role;
        TAKE(world, grants, at);
    }
    log_change(world, (struct change){.kind = CHANGE_ROLE_GRANT, .role = role});
}

static void turn_default(struct world *world)
{
    uint64_t id = 1 + draw(world, ROLES);
    for (size_t i = 0; i < world->policy.roles.count; i++) {
        struct memory_role *role = &world->policy.roles.items[i];
        if (role->id == id) {
            role->is_default = !role->is_default;
            log_change(world, (struct change){.kind = CHANGE_ROLE, .role = id, .scope = role->scope});
        }
    }
    memory_policy_touch(&world->policy);
}

static struct scope_key parent_of(struct scope_key scope)
{
    return scope.type == 1 ? scopes[0] : scope.id == 100 || scope.type == 2 ? scopes[1] : scopes[3];
}

/* The owner changes; a channel comes or goes with what hangs on it. */
static void change_scope(struct world *world)
{
    struct scope_key scope = any_scope(world);
    uint64_t owner = draw(world, USERS);
    if (scope.type == 0)
        return;
    if (scope.type == 3 && draw(world, 3) == 0 && memory_scope_find(&world->policy, scope) != NULL) {
        for (size_t i = world->policy.overwrites.count; i-- > 0;) {
            struct memory_overwrite row = world->policy.overwrites.items[i];
            if (scope_equal(row.scope, scope)) {
                TAKE(world, overwrites, i);
                log_overwrite(world, &row);
            }
        }
        for (size_t i = world->policy.scopes.count; i-- > 0;)
            if (scope_equal(world->policy.scopes.items[i].key, scope))
                TAKE(world, scopes, i);
    } else {
        memory_scope(&world->policy, scope, parent_of(scope), draw(world, 3) == 0 ? &owner : NULL);
    }
    memory_policy_touch(&world->policy);
    log_change(world, (struct change){.kind = CHANGE_SCOPE, .scope = scope});
}

static void change_something(struct world *world)
{
    static void (*const changes[])(struct world *) = {assign,    unassign,     unassign,
                                                      overwrite, unoverwrite,  unoverwrite,
                                                      edit_role, turn_default, change_scope};
    changes[draw(world, sizeof changes / sizeof *changes)](world);
}

/* ---- what is so -------------------------------------------------------------------------------------------------- */

static bool has_rows(const struct memory_policy *policy, uint64_t user)
{
    for (size_t i = 0; i < policy->assignments.count; i++)
        if (policy->assignments.items[i].user == user)
            return true;
    for (size_t i = 0; i < policy->overwrites.count; i++)
        if (policy->overwrites.items[i].subject == OVERWRITE_USER &&
            policy->overwrites.items[i].subject_id == user)
            return true;
    return false;
}

static void compare(struct world *world, uint64_t user, struct scope_key scope, const struct answer *answer)
{
    bool any[PERMISSIONS], own[PERMISSIONS];
    slow_resolve(&world->applied, user, scope, NOW, any, own);
    for (uint32_t bit = 0; bit < PERMISSIONS; bit++)
        if (bitmap_test(answer->any, bit) != any[bit] || bitmap_test(answer->own, bit) != own[bit])
            fail_msg("user %d at %d:%d, revision %d, permission %d: the answer is not that of the policy",
                     (int)user, (int)scope.type, (int)scope.id,
                     (int)publisher_position(world->publisher).revision, (int)bit);
}

static void compare_all(struct world *world)
{
    for (uint64_t user = 0; user < USERS; user++) {
        assert_true(!has_rows(&world->applied, user) ||
                    known_users_include(&world->known_users, world->publisher, user));
        for (size_t i = 0; i < SCOPES; i++) {
            struct answer answer;
            if (!publisher_lookup(world->publisher, user, scopes[i], &answer))
                continue;
            compare(world, user, scopes[i], &answer);
            answer_fini(&answer);
        }
    }
}

/* ---- the feed's, the census' and the fills' part ----------------------------------------------------------------- */

static void follow(struct world *world)
{
    memory_policy_fini(&world->applied);
    memory_policy_copy(&world->applied, &world->policy);
    known_users_applied(&world->known_users, world->publisher);
}

static void apply(struct world *world)
{
    struct batch batch = {.at = world->at, .now = NOW, .changes = world->log};
    memset(&world->log, 0, sizeof world->log);
    for (uint64_t id = 1; id <= ROLES; id++) {
        struct role role;
        bool changed = false;
        for (size_t i = 0; i < batch.changes.count; i++)
            changed = changed || batch.changes.items[i].role == id;
        if (changed && memory_definition(&world->policy, id, &role))
            *role_list_add(&batch.roles) = role;
    }
    assert_int_equal(publisher_batch(world->publisher, &batch, SECOND, NULL), 0);
    batch_fini(&batch);
    follow(world);
}

/* The store was replaced by one with other rows, and perhaps the same revision. */
static void rebuild(struct world *world)
{
    struct catalogue catalogue;
    uint64_t revision = world->at.revision;
    for (unsigned i = 0; i < 20; i++)
        change_something(world);
    world->at.revision = revision;
    world->at.revision -= draw(world, 3) == 0 ? draw(world, world->at.revision) : 0;
    world->at.nonce = random_next(&world->random);
    memory_catalogue(&world->policy, 1, &catalogue);
    assert_int_equal(publisher_rebuild(world->publisher, &world->at, NOW, &catalogue, NULL, NULL), 0);
    change_list_fini(&world->log);
    follow(world);
}

static void slice_read(struct world *world)
{
    world->in_hand = true;
    world->slice_at = world->at;
    world->slice_first = world->next_slice;
    world->slice_count = 0;
    for (uint64_t user = world->next_slice; user < world->next_slice + SLICE_IDS; user++)
        if (has_rows(&world->policy, user))
            world->slice_users[world->slice_count++] = user;
}

static void slice_take(struct world *world)
{
    switch (known_users_take(&world->known_users, world->publisher, &world->slice_at, world->slice_users,
                             world->slice_count)) {
    case KNOWN_USERS_EARLY:
        return;
    case KNOWN_USERS_FOREIGN:
        world->known_users.state = KNOWN_USERS_NONE;
        break;
    case KNOWN_USERS_TAKEN:
        world->next_slice += SLICE_IDS;
        if (world->next_slice >= USERS)
            known_users_complete(&world->known_users);
        break;
    }
    world->in_hand = false;
}

/* A first slice that was read before a new beginning, or a rebuild, is brought all the same. */
static void count(struct world *world)
{
    bool old = world->in_hand && world->slice_first == 0;
    if (world->known_users.state == KNOWN_USERS_NONE || draw(world, old ? 4 : 25) == 0) {
        known_users_begin(&world->known_users, world->publisher);
        world->next_slice = 0;
        world->in_hand = old;
    }
    if (world->known_users.state != KNOWN_USERS_COUNTING)
        return;
    if (world->in_hand)
        slice_take(world);
    else
        slice_read(world);
}

static void stamp(struct world *world, struct pending *fill)
{
    fill->facts.revision = world->at.revision;
    fill->facts.nonce = world->at.nonce;
    fill->facts.generation = publisher_generation(world->publisher);
    fill->origin = (struct fetch_origin){.from = FETCH_PRIMARY, .time = places_now(&world->places)};
    fill->origin.time.began_ns -= draw(world, 7) * SECOND; /* some are too old to be kept, or than what is */
}

static void read_store(struct world *world, uint64_t user, struct scope_key scope, struct pending *fill)
{
    memory_facts(&world->policy, user, scope, NOW, &fill->facts);
    stamp(world, fill);
}

/* The user's rows alone, when the place is kept; what the place brings comes later. */
static bool read_user(struct world *world, uint64_t user, struct scope_key scope, struct pending *fill)
{
    if (!places_find(&world->places, scope, &fill->place))
        return false;
    if (draw(world, 3) == 0)
        change_something(world);
    fill->partial = memory_read_user(&world->policy, &fill->place, user, NOW, &fill->facts) > 0;
    stamp(world, fill);
    return fill->partial;
}

static void ask(struct world *world)
{
    struct pending *fill = &world->pending[draw(world, PENDING)];
    uint64_t user = draw(world, USERS);
    struct scope_key scope = any_scope(world);
    if (fill->used)
        return;
    fill->used = true;
    fill->partial = false;
    if (strangers_facts(&world->strangers, user, scope, &fill->facts))
        fill->origin = (struct fetch_origin){.from = FETCH_KEPT, .time = places_now(&world->places)};
    else if (draw(world, 3) == 0 || !read_user(world, user, scope, fill))
        read_store(world, user, scope, fill);
}

static enum publisher_outcome publish_fill(struct world *world, struct pending *fill, struct answer *answer)
{
    if (fill->partial && !places_complete(&world->places, &fill->place, fill->origin.time, &fill->facts))
        return PUBLISHER_OUTDATED;
    fill->partial = false;
    return fetch_publish(world->fetches, &fill->facts, &fill->origin, SECOND, answer);
}

static void publish_one(struct world *world, struct pending *fill)
{
    struct answer answer = {0};
    if (!fill->used)
        return;
    switch (publish_fill(world, fill, &answer)) {
    case PUBLISHER_FILLED:
        assert_int_equal(fill->facts.generation, publisher_generation(world->publisher));
        compare(world, fill->facts.user, fill->facts.scope, &answer);
        world->kept += fill->facts.place_revision != 0;
        answer_fini(&answer);
        break;
    case PUBLISHER_EARLY:
        return;
    case PUBLISHER_OUTDATED:
        break;
    case PUBLISHER_FAILED:
        fail();
    }
    facts_fini(&fill->facts);
    fill->used = false;
}

/* ---- histories --------------------------------------------------------------------------------------------------- */

static void world_new(struct world *world, uint64_t seed)
{
    struct publisher_options options = {
        .permissions_max = 64, .entries = 100, .sets = 100, .folds = 10, .max_staleness_ns = 2 * SECOND};
    struct catalogue catalogue;
    memset(world, 0, sizeof *world);
    world->random.state = seed;
    world->at = (struct log_position){7, 1, 1};
    memory_policy_init(&world->policy);
    for (uint32_t bit = 0; bit < PERMISSIONS; bit++)
        memory_permission(&world->policy, (char[]){'p', (char)('a' + bit), 0});
    for (size_t i = 1; i < SCOPES; i++)
        memory_scope(&world->policy, scopes[i], parent_of(scopes[i]), NULL);
    for (uint64_t role = 1; role <= ROLES; role++)
        memory_role(&world->policy, role, "role", scopes[draw(world, 4)], draw(world, 2) == 0, true);
    memory_policy_copy(&world->applied, &world->policy);
    memory_catalogue(&world->policy, 1, &catalogue);
    assert_int_equal(
        publisher_new(&world->publisher, &options, &world->at, NOW, &catalogue, &world->counters, NULL), 0);
    assert_int_equal(known_users_init(&world->known_users, 100, seed), 0);
    strangers_init(&world->strangers, &world->known_users, world->publisher);
    places_init(&world->places, world->publisher);
    world->base = event_base_new();
    struct fetch_options fetch = {.base = world->base,
                                  .strangers = &world->strangers,
                                  .places = &world->places,
                                  .publisher = world->publisher,
                                  .counters = &world->counters};
    assert_int_equal(fetches_new(&world->fetches, &fetch), 0);
}

static void world_free(struct world *world)
{
    for (size_t i = 0; i < PENDING; i++)
        if (world->pending[i].used)
            facts_fini(&world->pending[i].facts);
    fetches_free(world->fetches);
    event_base_free(world->base);
    places_fini(&world->places);
    strangers_fini(&world->strangers);
    known_users_fini(&world->known_users);
    publisher_free(world->publisher);
    change_list_fini(&world->log);
    memory_policy_fini(&world->policy);
    memory_policy_fini(&world->applied);
}

static void run(uint64_t seed, struct counters *total, unsigned *kept)
{
    struct world world;
    world_new(&world, seed);
    for (unsigned step = 0; step < 600; step++) {
        uint64_t what = draw(&world, 100);
        if (what < 10)
            change_something(&world);
        else if (what < 20)
            apply(&world);
        else if (what < 21 && draw(&world, 3) == 0)
            rebuild(&world);
        else if (what < 45)
            count(&world);
        else if (what < 70)
            ask(&world);
        else
            publish_one(&world, &world.pending[draw(&world, PENDING)]);
        compare_all(&world);
    }
    total->strangers_answered += world.counters.strangers_answered;
    total->fills += world.counters.fills;
    *kept += world.kept;
    world_free(&world);
}

static void strangers_have_what_the_place_gives(void **state)
{
    struct counters total = {0};
    unsigned kept = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= 400; seed++)
        run(seed, &total, &kept);
    print_message("%d fills, %d for strangers without a read, %d with what is kept of a place\n",
                  (int)total.fills, (int)total.strangers_answered, (int)kept);
    /* Else nothing was shown. */
    assert_true(total.strangers_answered > total.fills / 20);
    assert_true(kept > total.fills / 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(strangers_have_what_the_place_gives)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
