/* The world of test_l2*.c: a store in memory that changes at random, some hosts that follow it, each at its own pace,
 * and one real Redis between them. A host is what of the daemon has to do with L2: publisher, struct redis, struct l2; the
 * feed, the fills and the helper threads are played here, one step at a time, so that anything can come between.
 *
 * feed_wake, work_submit and the store's functions that l2_log.c calls are replaced at link time (--wrap, CMakeLists.txt). */
#ifndef PERMTAB_TESTS_UNIT_L2_WORLD_H
#define PERMTAB_TESTS_UNIT_L2_WORLD_H

#include "proxy/l2_internal.h"
#include "proxy/publish_internal.h"
#include "proxy/resolve.h"
#include "tests/support/changing_policy.h"
#include "tests/support/redis_server.h"
#include "tests/support/slow_resolver.h"

#include <event2/event.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define HOSTS      3
#define PENDING    6
#define JOBS_MAX   8
#define STORE_ID   7
#define BITS_WORDS 2

struct pending {
    bool used;
    uint64_t generation, epoch;
    struct facts facts;
};

struct host {
    struct world *world;
    unsigned number;
    struct publish *publish;
    struct counters counters;
    struct redis *redis;
    struct l2 *l2;
    struct memory_policy applied; /* the store as at the publisher's revision */
    bool woken;
    struct pending fills[PENDING];
};

/* A read of the store on a helper thread. */
struct job {
    struct work_job *job;
    bool ran;
};

struct totals {
    uint64_t fills, known, hits, misses, held, outdated, advances, epochs, refused, puts, waits, logs, lost;
};

struct world {
    struct changing_policy past;
    struct change_list log; /* rows of this history after revision `first` */
    uint64_t first;
    uint64_t purged; /* rows up to this revision have been trimmed */
    struct memory_policy backup;
    size_t backup_count; /* rows then; the backup is there when backup_held */
    bool backup_held;
    bool dump_held; /* Redis has written a file */
    struct redis_server *server;
    struct event_base *base;
    struct host hosts[HOSTS];
    struct job jobs[JOBS_MAX];
    bool stopping; /* the helper threads take no more */
    unsigned looks; /* under way */
    struct {
        uint64_t user;
        struct scope_key scope;
    } recent[4]; /* asked for again and again, by all */
    bool one_token;
    uint64_t redis_trouble, store_trouble; /* how often, of 1000 steps */
    struct totals totals;
};

static struct world *the_world; /* for the functions that stand in for others */

static inline uint64_t draw(struct world *world, uint64_t below)
{
    return changing_draw(&world->past, below);
}

/* ---- the store ------------------------------------------------------------------------------------------------------ */

static inline uint64_t nonce_at(const struct world *world, uint64_t revision)
{
    return revision == world->first ? world->first : world->log.items[revision - world->first - 1].nonce;
}

static inline struct store_position committed(const struct world *world)
{
    uint64_t revision = world->past.revision;
    return (struct store_position){STORE_ID, revision, nonce_at(world, revision)};
}

/* Whether a poll from there finds its row again. */
static inline bool in_log(const struct world *world, const struct store_position *at)
{
    return at->store_id == STORE_ID && at->revision >= world->first && at->revision > world->purged &&
           at->revision <= world->past.revision && nonce_at(world, at->revision) == at->nonce;
}

static void append_rows(struct change_list *list, const struct change *items, size_t count)
{
    if (count == 0)
        return;
    list->items = realloc(list->items, (list->count + count) * sizeof *items);
    assert_non_null(list->items);
    memcpy(list->items + list->count, items, count * sizeof *items);
    list->count += count;
}

static void commit_something(struct world *world)
{
    changing_step(&world->past);
    append_rows(&world->log, world->past.log.items, world->past.log.count);
    change_list_fini(&world->past.log);
}

static inline void backup_store(struct world *world)
{
    if (world->backup_held)
        memory_policy_fini(&world->backup);
    memory_policy_copy(&world->backup, &world->past.policy);
    world->backup_count = world->log.count;
    world->backup_held = true;
}

/* What was committed since has never been; what comes now has the same revisions and other nonces. */
static inline void restore_store(struct world *world)
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

/* ---- in place of others --------------------------------------------------------------------------------------------- */

void __wrap_feed_wake(struct feed *feed);
int __wrap_work_submit(struct work *work, struct work_job *job);
int __wrap_store_snapshot(struct store *store, struct store_position *at, int64_t *now,
                          struct failure *failure);
void __wrap_store_snapshot_end(struct store *store);
int __wrap_store_poll(struct store *store, const struct store_position *at, bool *newer, int64_t *now,
                      struct failure *failure);
int __wrap_store_read_changes(struct store *store, uint64_t after, size_t limit, struct change_list *out,
                              struct failure *failure);

void __wrap_feed_wake(struct feed *feed)
{
    ((struct host *)(void *)feed)->woken = true;
}

int __wrap_work_submit(struct work *work, struct work_job *job)
{
    struct world *world = the_world;
    (void)work;
    for (size_t i = 0; i < JOBS_MAX; i++) {
        if (world->jobs[i].job == NULL && !world->stopping && draw(world, 8) > 0) {
            world->jobs[i] = (struct job){job, false};
            return 0;
        }
    }
    return PERMTAB_E_FULL;
}

int __wrap_store_snapshot(struct store *store, struct store_position *at, int64_t *now,
                          struct failure *failure)
{
    (void)store;
    *at = committed(the_world);
    *now = the_world->past.now;
    return draw(the_world, 10) > 0 ? 0 : failure_set(failure, PERMTAB_E_STORE, "the store is away");
}

void __wrap_store_snapshot_end(struct store *store)
{
    (void)store;
}

int __wrap_store_poll(struct store *store, const struct store_position *at, bool *newer, int64_t *now,
                      struct failure *failure)
{
    (void)store;
    *newer = at->revision < the_world->past.revision;
    *now = the_world->past.now;
    return in_log(the_world, at) ? 0 : failure_set(failure, PERMTAB_E_SCHEMA, "not in the log");
}

int __wrap_store_read_changes(struct store *store, uint64_t after, size_t limit, struct change_list *out,
                              struct failure *failure)
{
    (void)store;
    (void)failure;
    size_t known = after - the_world->first;
    assert_true(the_world->log.count - known <= limit);
    append_rows(out, the_world->log.items + known, the_world->log.count - known);
    return 0;
}

static void step_job(struct world *world)
{
    struct store store = {.store_id = STORE_ID};
    struct failure failure = {.code = PERMTAB_E_STORE};
    struct job *job = &world->jobs[draw(world, JOBS_MAX)];
    if (job->job == NULL)
        return;
    if (!job->ran) {
        job->job->run(job->job, draw(world, 10) > 0 ? &store : NULL, &failure);
        job->ran = true;
        return;
    }
    struct work_job *done = job->job;
    job->job = NULL;
    world->totals.logs++;
    done->done(done);
}

#endif
