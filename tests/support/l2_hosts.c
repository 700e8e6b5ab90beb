/* Each step of a host as the daemon takes it, without the threads. */
#include "tests/support/l2_hosts.h"

#include "proxy/base/clock.h"
#include "proxy/base/random.h"
#include "proxy/table/batch.h"
#include "tests/support/slow_resolver.h"

#include <stdlib.h>
#include <string.h>

#define BITS_WORDS 2

/* ---- the truth --------------------------------------------------------------------------------------------------- */

/* A host's answer is what was true at the revision its table is at, by a resolver that shares no code with it. */
static void compare(struct host *host, uint64_t user, struct scope_key scope, const struct answer *answer,
                    const char *what)
{
    bool any[CHANGING_PERMISSIONS], own[CHANGING_PERMISSIONS];
    slow_resolve(&host->applied, user, scope, publisher_expiry(host->publisher), any, own);
    assert_int_equal(answer->revision, publisher_position(host->publisher).revision);
    for (unsigned bit = 0; bit < CHANGING_PERMISSIONS; bit++) {
        bool any_bit = answer->any[bit / 64] >> bit % 64 & 1, own_bit = answer->own[bit / 64] >> bit % 64 & 1;
        if (any_bit != any[bit] || own_bit != own[bit])
            fail_msg("%s: host %u, user %d at %d:%d, revision %d, permission %u: %d/%d instead of %d/%d",
                     what, host->number, (int)user, (int)scope.type, (int)scope.id, (int)answer->revision,
                     bit, any_bit, own_bit, any[bit], own[bit]);
    }
}

/* Entries that L2 brought are in the table, and have to leave it when they are not true any more. */
static void compare_resident(struct host *host, int samples)
{
    for (; samples > 0; samples--) {
        uint64_t user = changing_user(&host->world->past);
        struct scope_key scope = changing_scope(&host->world->past);
        struct answer answer;
        if (!publisher_lookup(host->publisher, user, scope, &answer))
            continue;
        compare(host, user, scope, &answer, "resident");
        answer_fini(&answer);
    }
}

void host_remember_applied(struct host *host)
{
    memory_policy_fini(&host->applied);
    memory_policy_copy(&host->applied, &host->world->past.policy);
}

/* ---- polls ------------------------------------------------------------------------------------------------------- */

void host_rebuild(struct host *host)
{
    struct world *world = host->world;
    struct log_position at = world_committed(world);
    struct catalogue catalogue;
    struct failure failure;
    memory_catalogue(&world->past.policy, BITS_WORDS, &catalogue);
    assert_int_equal(publisher_rebuild(host->publisher, &at, world->past.now, &catalogue, NULL, &failure), 0);
}

void host_apply_batch(struct host *host)
{
    struct world *world = host->world;
    uint64_t from = publisher_position(host->publisher).revision;
    struct batch batch = {.at = world_committed(world), .now = world->past.now};
    struct failure failure;
    if (from < world->past.revision)
        world_append_rows(&batch.changes, world->log.items + (from - world->first),
                          world->past.revision - from);
    for (size_t i = 0; i < batch.changes.count; i++) {
        enum change_kind kind = batch.changes.items[i].kind;
        batch.has_catalogue |= kind == CHANGE_PERMISSION;
        if (kind == CHANGE_ROLE || kind == CHANGE_ROLE_GRANT || kind == CHANGE_ROLE_PARENT)
            changing_definitions(&world->past, &batch.roles, batch.changes.items[i].role);
    }
    changing_expired(&world->past, publisher_expiry(host->publisher), &batch.expired);
    if (batch.has_catalogue)
        memory_catalogue(&world->past.policy, BITS_WORDS, &batch.catalogue);
    assert_int_equal(publisher_batch(host->publisher, &batch, clock_ns(), &failure), 0);
    batch_fini(&batch);
}

void host_poll(struct host *host)
{
    uint64_t begun = clock_ns();
    struct log_position at = publisher_position(host->publisher);
    host->woken = false;
    if (world_in_log(host->world, &at) && world_draw(host->world, 50) > 0)
        host_apply_batch(host);
    else
        host_rebuild(host);
    host_remember_applied(host);
    publisher_renew(host->publisher, begun);
    host->l2->marker.begun_ns = 0; /* else the pace of new epochs would be that of the test */
    l2_applied(host->l2);
    compare_resident(host, 20);
}

/* ---- fills ------------------------------------------------------------------------------------------------------- */

/* NULL when none is so. */
static struct pending *any_fill(struct host *host, bool used)
{
    size_t first = world_draw(host->world, HOST_FILLS);
    for (size_t i = 0; i < HOST_FILLS; i++)
        if (host->fills[(first + i) % HOST_FILLS].used == used)
            return &host->fills[(first + i) % HOST_FILLS];
    return NULL;
}

static void fill_begin(struct host *host, uint64_t user, struct scope_key scope)
{
    struct world *world = host->world;
    struct pending *pending = any_fill(host, false);
    if (pending == NULL)
        return;
    memory_facts(&world->past.policy, user, scope, world->past.now, &pending->facts);
    pending->facts.revision = world->past.revision;
    pending->facts.nonce = world_nonce_at(world, world->past.revision);
    pending->facts.now = world->past.now;
    pending->facts.generation = publisher_generation(host->publisher);
    (void)l2_epoch(host->l2, &pending->epoch);
    pending->used = true;
}

void host_fill_end(struct host *host)
{
    struct world *world = host->world;
    struct pending *pending = any_fill(host, true);
    struct answer answer = {0};
    if (pending == NULL)
        return;
    /* Those that were read before a rebuild may be told by the nonce, too: half of them lose their old stamp. */
    if (world_draw(world, 2) == 0)
        pending->facts.generation = publisher_generation(host->publisher);
    switch (publisher_fill(host->publisher, &pending->facts, clock_ns(), &answer)) {
    case PUBLISHER_FILLED:
        answer_fini(&answer);
        world->totals.fills++;
        world->totals.known += host->l2->marker.known;
        l2_put(host->l2, &pending->facts, pending->epoch, 1 + world_draw(world, 1000),
               world_draw(world, 10) == 0);
        break;
    case PUBLISHER_EARLY:
        return;
    case PUBLISHER_OUTDATED:
        facts_fini(&pending->facts);
        break;
    case PUBLISHER_FAILED:
        fail();
    }
    pending->used = false;
}

/* ---- looks ------------------------------------------------------------------------------------------------------- */

struct asked {
    struct host *host;
    uint64_t user, revision;
    struct scope_key scope;
};

static void on_look(void *context, enum l2_outcome outcome, const struct answer *answer)
{
    struct asked *asked = context;
    struct host *host = asked->host;
    host->world->looks--;
    if (outcome == L2_ANSWERED) {
        assert_true(answer->revision >= asked->revision);
        compare(host, asked->user, asked->scope, answer, "L2");
    } else if (world_draw(host->world, 3) > 0) {
        fill_begin(host, asked->user, asked->scope);
    }
    free(asked);
}

void host_look(struct host *host)
{
    struct world *world = host->world;
    struct asked *asked = calloc(1, sizeof *asked);
    assert_non_null(asked);
    unsigned which = (unsigned)world_draw(world, 4);
    if (world_draw(world, 12) == 0) {
        world->recent[which].user = changing_user(&world->past);
        world->recent[which].scope = changing_scope(&world->past);
        if (world_draw(world, 10) == 0 && world->recent[which].scope.type > 0)
            world->recent[which].scope.id += 3; /* often one that does not exist */
    }
    *asked =
        (struct asked){.host = host, .user = world->recent[which].user, .scope = world->recent[which].scope};
    if (world_draw(world, 10) == 0)
        asked->revision = publisher_position(host->publisher).revision;
    if (l2_lookup_start(host->l2, asked->user, asked->scope, asked->revision, false, on_look, asked) != NULL) {
        world->looks++;
        return;
    }
    fill_begin(host, asked->user, asked->scope);
    free(asked);
}

/* ---- looks at many of a place ------------------------------------------------------------------------------------ */

static void on_place(void *context, uint64_t epoch)
{
    struct host *host = context;
    host->world->looks--;
    host->place = NULL;
    host->place_epoch = epoch;
    host->place_held = true;
}

static void place_begin(struct host *host)
{
    struct world *world = host->world;
    uint64_t users[CHANGING_USERS_MAX], count = 0;
    for (uint64_t user = 0; user < world->past.users; user++)
        if (world_draw(world, 4) > 0)
            users[count++] = user;
    struct scope_key place = world->recent[world_draw(world, 4)].scope;
    if (count == 0 || l2_place_max(host->l2, place) == 0)
        return;
    assert_int_equal(facts_slice_new(&host->slice, place, users, count), 0);
    host->slice_generation = publisher_generation(host->publisher);
    if (l2_place_read(&host->place, host->l2, host->slice, on_place, host) == 0) {
        world->looks++;
        return;
    }
    facts_slice_free(host->slice);
    host->slice = NULL;
}

/* As answer/slices.c publishes: what L2 has is asked for again and again by others, so it may lie here for long. */
static void place_end(struct host *host)
{
    uint8_t results[CHANGING_USERS_MAX] = {SLICE_OPEN};
    struct facts_slice *slice = host->slice;
    enum publisher_outcome outcome = PUBLISHER_OUTDATED;
    for (size_t i = 0; i < slice->kind_count; i++) {
        slice->kinds[i].generation = host->slice_generation;
        slice->kinds[i].unasked = true;
    }
    if (host->place_epoch != 0 && l2_place_counts(host->l2, host->place_epoch))
        outcome = publisher_fill_many(host->publisher, slice, 0, slice->count, clock_ns(), results);
    for (size_t i = 0; i < slice->count && outcome == PUBLISHER_FILLED; i++) {
        struct answer answer;
        if (results[i] != SLICE_FILLED ||
            !publisher_lookup(host->publisher, slice->users[i], slice->scope, &answer))
            continue;
        host->world->totals.places++;
        compare(host, slice->users[i], slice->scope, &answer, "a place of L2");
        answer_fini(&answer);
    }
    if (outcome != PUBLISHER_EARLY)
        host_leave_place(host);
}

void host_leave_place(struct host *host)
{
    if (host->place != NULL) {
        l2_place_leave(host->place);
        host->world->looks--;
    }
    facts_slice_free(host->slice);
    host->place = NULL;
    host->slice = NULL;
    host->place_held = false;
}

void host_look_at_place(struct host *host)
{
    if (host->slice == NULL)
        place_begin(host);
    else if (host->place_held)
        place_end(host);
    else if (world_draw(host->world, 20) == 0)
        host_leave_place(host);
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static void on_redis(void *context, bool connected)
{
    struct host *host = context;
    if (!connected)
        host->world->totals.lost++;
    if (host->l2 != NULL)
        l2_connected(host->l2, connected);
}

static void on_refresh(void *context, uint64_t user, struct scope_key scope)
{
    fill_begin(context, user, scope);
}

void host_begin(struct world *world, unsigned number)
{
    struct host *host = &world->hosts[number];
    struct publisher_options options = {
        .permissions_max = 128, .entries = 40, .sets = 500, .folds = 32, .max_staleness_ns = 2000000000ull};
    struct redis_access access = {.url = world->server->url, .timeout_ms = 1000, .ping_ms = 10000};
    struct redis_options redis = {world->base, on_redis, host, &access};
    struct l2_options l2 = {.base = world->base,
                            .feed = (struct feed *)(void *)host,
                            .counters = &host->counters,
                            .prefix = "p:",
                            .timeout_ms = 1000,
                            .ttl_ms = 60000,
                            .values = true,
                            .contests_max = 1000000, /* stores are restored again and again here */
                            .refresh = on_refresh,
                            .context = host};
    struct log_position at = world_committed(world);
    struct catalogue catalogue;
    struct failure failure = {0};
    memset(host, 0, sizeof *host);
    host->world = world;
    host->number = number;
    memory_policy_copy(&host->applied, &world->past.policy);
    memory_catalogue(&world->past.policy, BITS_WORDS, &catalogue);
    assert_int_equal(publisher_new(&host->publisher, &options, &at, world->past.now, &catalogue,
                                   &host->counters, &failure),
                     0);
    publisher_renew(host->publisher, clock_ns());
    assert_int_equal(redis_new(&host->redis, &redis, &failure), 0);
    l2.redis = host->redis;
    l2.publisher = host->publisher;
    assert_int_equal(random_id(&l2.host_id), 0);
    assert_int_equal(l2_new(&host->l2, &l2), 0);
}

static void count(struct host *host)
{
    struct totals *totals = &host->world->totals;
    const struct counters *counters = &host->counters;
    totals->hits += counters->l2_hits;
    totals->misses += counters->l2_misses;
    totals->outdated += counters->l2_outdated;
    totals->advances += counters->l2_advances;
    totals->epochs += counters->l2_epochs;
    totals->refused += counters->l2_puts_refused;
    totals->puts += counters->l2_puts;
    totals->waits += counters->l2_lock_waits;
}

/* Stops as daemon/main.c does: the helper threads, Redis, L2. */
void host_end(struct host *host)
{
    struct world *world = host->world;
    world->stopping = true;
    /* The helpers of all hosts are one queue here. One that ends may begin another, in whichever place is free. */
    for (size_t i = 0; i < WORLD_JOBS; i++) {
        if (world->jobs[i].job == NULL)
            continue;
        world_step_job(world);
        i = (size_t)-1;
    }
    world->stopping = false;
    host_leave_place(host);
    count(host);
    redis_free(host->redis);
    l2_free(host->l2);
    for (size_t i = 0; i < HOST_FILLS; i++)
        if (host->fills[i].used)
            facts_fini(&host->fills[i].facts);
    publisher_free(host->publisher);
    memory_policy_fini(&host->applied);
}

void host_restart(struct host *host)
{
    unsigned number = host->number;
    struct world *world = host->world;
    host_end(host);
    host_begin(world, number);
}

/* ---- one step at a time ------------------------------------------------------------------------------------------ */

void host_follow(struct host *host)
{
    uint64_t begun = clock_ns(), revision = host->world->past.revision;
    do
        world_commit(host->world);
    while (host->world->past.revision == revision);
    host_apply_batch(host);
    host_remember_applied(host);
    publisher_renew(host->publisher, begun);
    host->l2->marker.begun_ns = 0;
    l2_applied(host->l2);
}

void host_read_rows(struct host *host, uint64_t user, struct scope_key scope, struct facts *facts,
                    uint64_t *epoch)
{
    struct world *world = host->world;
    assert_true(l2_epoch(host->l2, epoch));
    memory_facts(&world->past.policy, user, scope, world->past.now, facts);
    facts->revision = world->past.revision;
    facts->nonce = world_nonce_at(world, world->past.revision);
    facts->now = world->past.now;
    facts->generation = publisher_generation(host->publisher);
}

void host_publish_and_put(struct host *host, struct facts *facts, uint64_t epoch, uint64_t cost_us)
{
    struct answer answer = {0};
    assert_int_equal(publisher_fill(host->publisher, facts, clock_ns(), &answer), PUBLISHER_FILLED);
    answer_fini(&answer);
    l2_put(host->l2, facts, epoch, cost_us, false);
}

void host_put(struct host *host, uint64_t user, struct scope_key scope, uint64_t cost_us)
{
    struct facts facts;
    uint64_t epoch;
    host_read_rows(host, user, scope, &facts, &epoch);
    host_publish_and_put(host, &facts, epoch, cost_us);
}

void host_on_looked(void *context, enum l2_outcome outcome, const struct answer *answer)
{
    (void)answer;
    *(enum l2_outcome *)context = outcome;
}

struct l2_wait *host_look_for(struct host *host, enum l2_outcome *outcome)
{
    *outcome = (enum l2_outcome)99;
    return l2_lookup_start(host->l2, 1, nowhere, 0, false, host_on_looked, outcome);
}
