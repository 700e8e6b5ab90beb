/* The store of the world, its stand-ins, its Redis and its loop.
 *
 * feed_wake, store_threads_submit and the store's functions that l2/log.c calls are replaced at link time (--wrap,
 * CMakeLists.txt). */
#include "tests/support/l2_world.h"

#include "proxy/base/clock.h"
#include "tests/support/l2_hosts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct world *the_world; /* for the functions that stand in for others */
static struct redis_server the_server;

uint64_t world_draw(struct world *world, uint64_t below)
{
    return changing_draw(&world->past, below);
}

/* ---- the store --------------------------------------------------------------------------------------------------- */

uint64_t world_nonce_at(const struct world *world, uint64_t revision)
{
    return revision == world->first ? world->first : world->log.items[revision - world->first - 1].nonce;
}

struct log_position world_committed(const struct world *world)
{
    uint64_t revision = world->past.revision;
    return (struct log_position){WORLD_STORE_ID, revision, world_nonce_at(world, revision)};
}

bool world_in_log(const struct world *world, const struct log_position *at)
{
    return at->store_id == WORLD_STORE_ID && at->revision >= world->first && at->revision > world->purged &&
           at->revision <= world->past.revision && world_nonce_at(world, at->revision) == at->nonce;
}

void world_append_rows(struct change_list *list, const struct change *items, size_t count)
{
    if (count == 0)
        return;
    list->items = realloc(list->items, (list->count + count) * sizeof *items);
    assert_non_null(list->items);
    memcpy(list->items + list->count, items, count * sizeof *items);
    list->count += count;
}

void world_commit(struct world *world)
{
    changing_step(&world->past);
    world_append_rows(&world->log, world->past.log.items, world->past.log.count);
    change_list_fini(&world->past.log);
}

void world_backup_store(struct world *world)
{
    if (world->backup_held)
        memory_policy_fini(&world->backup);
    memory_policy_copy(&world->backup, &world->past.policy);
    world->backup_count = world->log.count;
    world->backup_held = true;
}

void world_restore_store(struct world *world)
{
    if (!world->backup_held)
        return;
    memory_policy_fini(&world->past.policy);
    memory_policy_copy(&world->past.policy, &world->backup);
    world->log.count = world->backup_count;
    world->past.revision = world->first + world->backup_count;
    if (world->purged > world->past.revision - 1)
        world->purged = world->past.revision - 1;
    world->past.history++;
}

/* ---- in place of others ------------------------------------------------------------------------------------------ */

void __wrap_feed_wake(struct feed *feed);
int __wrap_store_threads_submit(struct store_threads *pool, struct store_job *job);
int __wrap_store_snapshot(struct store *store, struct log_position *at, int64_t *now,
                          struct failure *failure);
void __wrap_store_snapshot_end(struct store *store);
int __wrap_store_poll(struct store *store, const struct log_position *at, bool *newer, int64_t *now,
                      struct failure *failure);
int __wrap_store_read_changes(struct store *store, uint64_t after, size_t limit, struct change_list *out,
                              struct failure *failure);

void __wrap_feed_wake(struct feed *feed)
{
    ((struct host *)(void *)feed)->woken = true;
}

int __wrap_store_threads_submit(struct store_threads *pool, struct store_job *job)
{
    struct world *world = the_world;
    (void)pool;
    for (size_t i = 0; i < WORLD_JOBS; i++) {
        if (world->jobs[i].job == NULL && !world->stopping && world_draw(world, 8) > 0) {
            world->jobs[i] = (struct job){job, false};
            return 0;
        }
    }
    return PERMTAB_E_FULL;
}

int __wrap_store_snapshot(struct store *store, struct log_position *at, int64_t *now, struct failure *failure)
{
    (void)store;
    *at = world_committed(the_world);
    *now = the_world->past.now;
    return world_draw(the_world, 10) > 0 ? 0 : failure_set(failure, PERMTAB_E_STORE, "the store is away");
}

void __wrap_store_snapshot_end(struct store *store)
{
    (void)store;
}

int __wrap_store_poll(struct store *store, const struct log_position *at, bool *newer, int64_t *now,
                      struct failure *failure)
{
    (void)store;
    *newer = at->revision < the_world->past.revision;
    *now = the_world->past.now;
    return world_in_log(the_world, at) ? 0 : failure_set(failure, PERMTAB_E_SCHEMA, "not in the log");
}

int __wrap_store_read_changes(struct store *store, uint64_t after, size_t limit, struct change_list *out,
                              struct failure *failure)
{
    (void)store;
    (void)failure;
    size_t known = after - the_world->first;
    assert_true(the_world->log.count - known <= limit);
    world_append_rows(out, the_world->log.items + known, the_world->log.count - known);
    return 0;
}

void world_step_job(struct world *world)
{
    struct store store = {.store_id = WORLD_STORE_ID};
    struct failure failure = {.code = PERMTAB_E_STORE};
    struct job *job = &world->jobs[world_draw(world, WORLD_JOBS)];
    if (job->job == NULL)
        return;
    if (!job->ran) {
        job->job->run(job->job, world_draw(world, 10) > 0 ? &store : NULL, &failure);
        job->ran = true;
        return;
    }
    struct store_job *done = job->job;
    job->job = NULL;
    world->totals.logs++;
    done->done(done);
}

/* ---- Redis and the loop ------------------------------------------------------------------------------------------ */

void world_ask_redis(struct world *world, const char *command)
{
    char reply[256];
    assert_true(redis_server_ask(world->server, command, reply, sizeof reply));
    if (reply[0] == '-' && strncmp(reply, "-WRONGTYPE", 10) != 0) /* what was spoilt before */
        fail_msg("%s: %s", command, reply);
}

void world_forget_values(struct world *world)
{
    world_ask_redis(world,
                    "EVAL \"for _, k in ipairs(redis.call('KEYS', 'p:*{*')) do redis.call('DEL', k) end\" 0");
}

void world_until_quiet(struct world *world)
{
    size_t pending = 1;
    for (int i = 0; i < 200 && pending > 0; i++) {
        (void)event_base_loop(world->base, EVLOOP_NONBLOCK);
        pending = 0;
        for (unsigned host = 0; host < WORLD_HOSTS; host++)
            pending += redis_pending(world->hosts[host].redis);
        if (pending > 0)
            (void)usleep(20);
    }
}

void world_until_answered(struct world *world)
{
    uint64_t begun = clock_ns();
    size_t pending = 1;
    while (pending > 0) {
        assert_true(clock_ns() - begun < WORLD_HANG_NS);
        world_until_quiet(world);
        pending = 0;
        for (unsigned host = 0; host < WORLD_HOSTS; host++)
            pending += redis_pending(world->hosts[host].redis);
    }
}

/* Lost connections come back after a while, which would be most of a history. */
void world_reconnect(struct world *world)
{
    uint64_t begun = clock_ns();
    while (clock_ns() - begun < WORLD_HANG_NS) {
        unsigned connected = 0;
        for (unsigned host = 0; host < WORLD_HOSTS; host++)
            connected += redis_connected(world->hosts[host].redis);
        if (connected == WORLD_HOSTS)
            return;
        (void)event_base_loop(world->base, EVLOOP_NONBLOCK);
        (void)usleep(500);
    }
    fail_msg("no connection");
}

/* ---- the whole --------------------------------------------------------------------------------------------------- */

struct world *world_begin(uint64_t seed, struct redis_server *server)
{
    struct world *world = calloc(1, sizeof *world);
    assert_non_null(world);
    changing_begin(&world->past, seed);
    world->first = world->past.revision;
    world->server = server;
    world->base = event_base_new();
    world->one_token = world_draw(world, 8) > 0;
    world->redis_trouble = world_draw(world, 2) == 0 ? world_draw(world, 9) : 0;
    world->store_trouble = world_draw(world, 2) == 0 ? world_draw(world, 9) : 0;
    the_world = world;
    world_ask_redis(world, "FLUSHALL");
    for (unsigned i = 0; i < WORLD_HOSTS; i++)
        host_begin(world, i);
    return world;
}

void world_end(struct world *world, struct totals *totals)
{
    for (unsigned i = 0; i < WORLD_HOSTS; i++)
        host_end(&world->hosts[i]);
    if (totals != NULL)
        *totals = world->totals;
    if (world->backup_held)
        memory_policy_fini(&world->backup);
    change_list_fini(&world->log);
    changing_fini(&world->past);
    event_base_free(world->base);
    free(world);
}

int world_start_redis(void **state)
{
    redis_server_start(&the_server, false, NULL);
    *state = &the_server;
    return 0;
}

int world_stop_redis(void **state)
{
    char path[96];
    (void)state;
    (void)snprintf(path, sizeof path, "%s/dump.rdb", the_server.folder);
    (void)unlink(path);
    redis_server_stop(&the_server);
    return 0;
}
