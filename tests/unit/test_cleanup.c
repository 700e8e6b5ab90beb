/* Clean-ups against a real Redis that is killed, emptied, paused and full, and a real store: what must go goes, what must stay
 * stays, one at a time in the fleet, and nothing is left behind. */
#include "proxy/cleanup_private.h"
#include "proxy/clock.h"

#include "tests/support/redis_server.h"

#include "tests/unit/store_fixture.h"

#include <event2/event.h>
#include <event2/thread.h>
#include <inttypes.h>
#include <time.h>

#define PREFIX  "te[s]t*:" /* has to be escaped in globs */
#define PRESENT "00000000000000aa"
#define OLD     "00000000000000bb"
#define MS      1000000ull

struct told {
    unsigned count;
    int code;
    struct cleanup_status status;
};

struct hall { /* a host, more or less */
    struct redis_server server;
    struct fixture *store;
    struct event_base *base;
    struct redis *redis;
    struct work *work;
    struct config config;
    struct counters counters;
    struct cleanup *cleanup;
    struct told told;
    unsigned ups;
};

static void on_state(void *context, bool connected)
{
    struct hall *hall = context;
    hall->ups += connected;
    if (hall->cleanup)
        cleanup_connected(hall->cleanup, connected);
}

static void on_done(void *context, int code, const struct cleanup_status *status)
{
    struct told *told = context;
    told->count++;
    told->code = code;
    told->status = *status;
}

static void on_tick(evutil_socket_t descriptor, short what, void *context)
{
    (void)descriptor, (void)what, (void)context;
}

typedef bool (*condition_fn)(struct hall *hall);

/* Only against hanging. A job that is made slow rests for a hundred times what its slices take, and on a busy machine they take
 * long: nothing here says how soon it ends. test_cleanup_pace.c is about rests. */
#define HANG_NS (60000 * MS)

/* Runs the loop until the condition holds; false when it does not come to that. */
static bool run_until(struct hall *hall, condition_fn holds)
{
    uint64_t end = clock_ns() + HANG_NS;
    struct timeval step = {.tv_usec = 1000};
    struct event *tick = event_new(hall->base, -1, EV_PERSIST, on_tick, NULL);
    (void)event_add(tick, &step);
    while (!holds(hall) && clock_ns() < end)
        (void)event_base_loop(hall->base, EVLOOP_ONCE);
    event_free(tick);
    return holds(hall);
}

static void run_for(struct hall *hall, unsigned ms)
{
    struct timeval delay = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    (void)event_base_loopexit(hall->base, &delay);
    (void)event_base_dispatch(hall->base);
}

static bool is_up(struct hall *hall)
{
    return redis_connected(hall->redis);
}

static bool is_idle(struct hall *hall)
{
    return redis_pending(hall->redis) == 0;
}

static bool is_told(struct hall *hall)
{
    return hall->told.count > 0;
}

/* ---- keys --------------------------------------------------------------------------------------------------------------- */

__attribute__((format(printf, 2, 3))) static void put(struct hall *hall, const char *format, ...)
{
    char key[256];
    struct redis_args args;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(key, sizeof key, format, arguments);
    va_end(arguments);
    redis_args_init(&args);
    redis_args_text(&args, "HSET");
    redis_args_text(&args, key);
    redis_args_text(&args, "f");
    redis_args_text(&args, "value");
    assert_int_equal(redis_send(hall->redis, &args, NULL, NULL), 0);
    redis_args_fini(&args);
}

static void put_users(struct hall *hall, const char *epoch, unsigned from, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        put(hall, PREFIX "l2:1:%s:{user:%u}", epoch, from + i);
    assert_true(run_until(hall, is_idle));
}

static long ask(struct hall *hall, const char *command)
{
    char text[64];
    assert_true(redis_server_ask(&hall->server, command, text, sizeof text));
    if (text[0] == '-')
        fail_msg("%s: %s", command, text);
    return strtol(text, NULL, 10);
}

static bool exists(struct hall *hall, const char *key)
{
    char command[256];
    (void)snprintf(command, sizeof command, "EXISTS %s", key);
    return ask(hall, command) == 1;
}

/* How many users there are under an epoch. No quotes: the server would take them off. */
static unsigned count_users(struct hall *hall, const char *epoch)
{
    char command[512];
    (void)snprintf(command, sizeof command,
                   "EVAL return(#redis.call([=[KEYS]=],[=[te\\[s\\]t\\*:l2:1:%s:{user:*]=])) 0", epoch);
    return (unsigned)ask(hall, command);
}

static long scripts_run(struct hall *hall)
{
    return ask(hall,
               "EVAL return(redis.call([=[INFO]=],[=[commandstats]=]):match([=[evalsha:calls=(%d+)]=])) 0");
}

static void set_marker(struct hall *hall, const char *epoch)
{
    char command[256];
    (void)snprintf(command, sizeof command, "HSET " PREFIX "l2:1:marker epoch %s", epoch);
    (void)ask(hall, command);
}

/* ---- the fixture -------------------------------------------------------------------------------------------------------- */

static int cleanup_start_again(struct hall *hall)
{
    return cleanup_new(&hall->cleanup, hall->base, hall->redis, hall->work, &hall->config, &hall->counters);
}

static int set_up(void **state)
{
    struct hall *hall = calloc(1, sizeof *hall);
    struct failure trouble = {0};
    static char prefix[] = PREFIX;
    assert_non_null(hall);
    (void)fixture_ready((void **)&hall->store, NULL);
    some_policy(hall->store);
    redis_server_start(&hall->server, false, NULL);
    hall->base = event_base_new();
    hall->config.redis_prefix = prefix;
    hall->config.cleanup_budget = 50;
    hall->config.scope_types = (struct scope_types){.count = 3, .names = {"global", "server", "channel"}};
    struct redis_options options = {.url = hall->server.url, .timeout_ms = 300, .ping_ms = 1000};
    assert_int_equal(redis_new(&hall->redis, hall->base, &options, on_state, hall, &trouble), 0);
    assert_int_equal(work_new(&hall->work, hall->base, &hall->store->options, 1, 100), 0);
    assert_int_equal(cleanup_start_again(hall), 0);
    assert_true(run_until(hall, is_up));
    set_marker(hall, PRESENT);
    *state = hall;
    return 0;
}

static int tear_down(void **state)
{
    struct hall *hall = *state;
    cleanup_free(hall->cleanup);
    redis_free(hall->redis);
    work_free(hall->work);
    event_base_free(hall->base);
    redis_server_stop(&hall->server);
    (void)fixture_free((void **)&hall->store);
    free(hall);
    return 0;
}

static uint64_t start(struct hall *hall, enum cleanup_kind kind, const char *pattern)
{
    int64_t id = cleanup_start(hall->cleanup, kind, pattern, on_done, &hall->told);
    assert_true(id > 0);
    assert_int_equal(hall->told.count, 0); /* never from inside */
    return (uint64_t)id;
}

static void run_to_end(struct hall *hall, int code)
{
    if (!run_until(hall, is_told))
        fail_msg("the clean-up does not end");
    if (hall->told.code != code)
        fail_msg("it ended with %d: %s", hall->told.code, hall->told.status.text);
    assert_int_equal(hall->told.count, 1);
    hall->told.count = 0;
    assert_true(run_until(hall, is_idle));
}

/* Slow enough to be met in the middle: a slice takes some 50 us, so a second of an idle machine has about 200 of them. */
static void slow(struct hall *hall)
{
    cleanup_pace_init(&hall->cleanup->pace, 1);
}

static bool removed_some(struct hall *hall)
{
    return hall->counters.cleanup_keys_removed >= 300;
}

static struct cleanup_status latest(struct hall *hall)
{
    struct cleanup_status jobs[CLEANUP_JOBS_MAX];
    assert_true(cleanup_list(hall->cleanup, jobs, CLEANUP_JOBS_MAX) > 0);
    return jobs[0];
}

/* ---- what goes and what stays ------------------------------------------------------------------------------------------- */

static void test_epochs(void **state)
{
    struct hall *hall = *state;
    put_users(hall, OLD, 0, 700);
    put_users(hall, PRESENT, 0, 300);
    put(hall, PREFIX "l2:1:lock:5:channel:9");
    put(hall, PREFIX "l2:1:" OLD ":plain");
    put(hall, "tesXXX:l2:1:" OLD ":{user:1}"); /* the prefix is no glob */
    put(hall, "somebody:elses");
    assert_true(run_until(hall, is_idle));
    (void)start(hall, CLEANUP_EPOCHS, NULL);
    run_to_end(hall, 0);
    assert_int_equal(count_users(hall, OLD), 0);
    assert_int_equal(count_users(hall, PRESENT), 300);
    assert_int_equal(ask(hall, "DBSIZE"), 305); /* the marker among them, and no lock */
    assert_int_equal(hall->told.status.keys_removed, 700);
    assert_int_equal(hall->told.status.state, CLEANUP_DONE);
    assert_int_equal(hall->told.status.keys_seen, hall->told.status.keys_total);
    assert_in_range(hall->told.status.keys_total, 1000, 1010);
    assert_true(hall->told.status.slices >= 1000 / 60);
    assert_true(hall->told.status.redis_us > 0);
    assert_int_equal(hall->counters.cleanup_keys_removed, 700);
    assert_int_equal(hall->counters.cleanup_slices, hall->told.status.slices);
    assert_int_equal(hall->counters.cleanup_keys_seen, hall->told.status.keys_seen);
    assert_true(latest(hall).state == CLEANUP_DONE);
}

static void test_pattern(void **state)
{
    struct hall *hall = *state;
    char glob[CLEANUP_PATTERN_SIZE];
    put_users(hall, PRESENT, 0, 500);
    put_users(hall, OLD, 40, 10);
    assert_int_equal(cleanup_glob_pattern(glob, PREFIX, "user:4?"), 0);
    (void)start(hall, CLEANUP_PATTERN, glob);
    run_to_end(hall, 0);
    assert_int_equal(hall->told.status.keys_removed, 20);
    assert_false(exists(hall, PREFIX "l2:1:" PRESENT ":{user:44}"));
    assert_true(exists(hall, PREFIX "l2:1:" PRESENT ":{user:444}"));
    assert_int_equal(cleanup_glob_prefix(glob, PREFIX, "user:4"), 0);
    (void)start(hall, CLEANUP_PATTERN, glob);
    run_to_end(hall, 0);
    assert_int_equal(hall->told.status.keys_removed, 101); /* 4, and 400 to 499 */
    /* Whatever the glob says, what is not a value of ours is not touched. */
    put(hall, "somebody:elses");
    put(hall, "as-long:l2:1:" OLD ":{user:1}");
    put(hall, PREFIX "l2:1:lock:5:channel:9");
    assert_true(run_until(hall, is_idle));
    (void)start(hall, CLEANUP_PATTERN, "*");
    run_to_end(hall, 0);
    assert_int_equal(hall->told.status.keys_removed, 389);
    assert_int_equal(ask(hall, "DBSIZE"), 4);
}

static void test_orphans(void **state)
{
    struct hall *hall = *state;
    static const char *const stay[] = {
        PREFIX "l2:1:" PRESENT ":{user:7}",         PREFIX "l2:1:" PRESENT ":{user:8}",
        PREFIX "l2:1:" PRESENT ":{scope:global}",   PREFIX "l2:1:" PRESENT ":{scope:channel:50}",
        PREFIX "l2:1:" PRESENT ":{scope:server:5}", PREFIX "l2:1:" PRESENT ":{scope:guild:5}",
        PREFIX "l2:2:" PRESENT ":{user:1}",         PREFIX "l2:2:marker",
        PREFIX "l2:1:lock:9999:channel:9",          "l2:0:x",
    };
    static const char *const go[] = {
        PREFIX "l2:1:" PRESENT ":{scope:channel:5}",
        PREFIX "l2:1:" PRESENT ":{scope:server:50}",
        PREFIX "l2:0:whatever",
        PREFIX "l2:0:marker",
    };
    for (size_t i = 0; i < sizeof stay / sizeof *stay; i++)
        put(hall, "%s", stay[i]);
    for (size_t i = 0; i < sizeof go / sizeof *go; i++)
        put(hall, "%s", go[i]);
    put_users(hall, PRESENT, 1000, 900);
    (void)start(hall, CLEANUP_ORPHANS, NULL);
    run_to_end(hall, 0);
    for (size_t i = 0; i < sizeof stay / sizeof *stay; i++)
        assert_true(exists(hall, stay[i]));
    for (size_t i = 0; i < sizeof go / sizeof *go; i++)
        assert_false(exists(hall, go[i]));
    assert_int_equal(hall->told.status.keys_removed, 904);
    assert_int_equal(ask(hall, "DBSIZE"), 1 + sizeof stay / sizeof *stay);
}

/* A store that cannot be asked answers for nobody: everything stays, and the job says why it failed. */
static void test_orphans_without_store(void **state)
{
    struct hall *hall = *state;
    put_users(hall, PRESENT, 1000, 300);
    OK(run(hall->store->writer, "DROP TABLE permtab_overwrite"));
    hall->cleanup->trouble_max_ns = 700 * MS;
    (void)start(hall, CLEANUP_ORPHANS, NULL);
    assert_true(run_until(hall, is_told));
    assert_true(hall->told.code < 0);
    assert_non_null(strstr(hall->told.status.text, "permtab_overwrite"));
    assert_int_equal(hall->told.status.state, CLEANUP_FAILED);
    assert_int_equal(count_users(hall, PRESENT), 300);
}

/* ---- what changes under way --------------------------------------------------------------------------------------------- */

/* The old epoch becomes the present one again in the middle: what is left of it stays, the other one goes. */
static void test_epoch_changes(void **state)
{
    struct hall *hall = *state;
    slow(hall);
    put_users(hall, OLD, 0, 2000);
    put_users(hall, PRESENT, 0, 2000);
    (void)start(hall, CLEANUP_EPOCHS, NULL);
    assert_true(run_until(hall, removed_some));
    set_marker(hall, OLD);
    unsigned left = count_users(hall, OLD);
    assert_true(left > 500 && left < 2000);
    hall->cleanup->pace.budget = 50;
    run_to_end(hall, 0);
    assert_int_equal(count_users(hall, OLD), left);
    assert_true(count_users(hall, PRESENT) < 2000);
}

static bool is_lost(struct hall *hall)
{
    return latest(hall).state == CLEANUP_LOST;
}

static void test_no_marker(void **state)
{
    struct hall *hall = *state;
    put_users(hall, OLD, 0, 200);
    (void)ask(hall, "DEL " PREFIX "l2:1:marker");
    (void)start(hall, CLEANUP_EPOCHS, NULL);
    assert_true(run_until(hall, is_lost));
    long calls = scripts_run(hall);
    run_for(hall, 700);
    assert_in_range(scripts_run(hall) - calls, 1, 3); /* it looks again now and then */
    assert_int_equal(count_users(hall, OLD), 200);
    set_marker(hall, PRESENT);
    run_to_end(hall, 0);
    assert_int_equal(count_users(hall, OLD), 0);
    (void)ask(hall, "DEL " PREFIX "l2:1:marker");
    hall->cleanup->trouble_max_ns = 200 * MS;
    (void)start(hall, CLEANUP_EPOCHS, NULL);
    run_to_end(hall, PERMTAB_E_NOT_FOUND);
}

static void test_redis_killed(void **state)
{
    struct hall *hall = *state;
    slow(hall);
    put_users(hall, OLD, 0, 2000);
    (void)start(hall, CLEANUP_EPOCHS, NULL);
    assert_true(run_until(hall, removed_some));
    uint64_t before = hall->counters.cleanup_keys_removed;
    redis_server_kill(&hall->server);
    assert_true(run_until(hall, is_lost));
    redis_server_restart(&hall->server);
    set_marker(hall, PRESENT);
    assert_true(run_until(hall, is_up));
    put_users(hall, OLD, 5000, 1000); /* so many that the cursor of before would have missed some */
    hall->cleanup->pace.budget = 50;
    run_to_end(hall, 0);
    assert_int_equal(count_users(hall, OLD), 0);
    assert_int_equal(hall->told.status.restarts, 1);
    assert_true(hall->told.status.keys_removed >= before + 1000);
}

static void test_redis_stays_away(void **state)
{
    struct hall *hall = *state;
    hall->cleanup->trouble_max_ns = 300 * MS;
    redis_server_kill(&hall->server);
    run_for(hall, 50);
    (void)start(hall, CLEANUP_EPOCHS, NULL);
    run_to_end(hall, PERMTAB_E_UNREACHABLE);
    assert_true(hall->told.status.text[0] != 0);
    redis_server_restart(&hall->server);
}

static void test_redis_paused(void **state)
{
    struct hall *hall = *state;
    slow(hall);
    put_users(hall, OLD, 0, 1500);
    (void)start(hall, CLEANUP_EPOCHS, NULL);
    assert_true(run_until(hall, removed_some));
    redis_server_pause(&hall->server);
    assert_true(run_until(hall, is_lost));
    redis_server_resume(&hall->server);
    hall->cleanup->pace.budget = 50;
    run_to_end(hall, 0);
    assert_int_equal(count_users(hall, OLD), 0);
}

/* A full Redis refuses the lock; cleaning up is just what it needs. */
static void test_redis_full(void **state)
{
    struct hall *hall = *state;
    put_users(hall, OLD, 0, 500);
    (void)ask(hall, "CONFIG SET maxmemory 100kb");
    (void)start(hall, CLEANUP_EPOCHS, NULL);
    run_to_end(hall, 0);
    assert_int_equal(hall->told.status.keys_removed, 500);
}

/* ---- jobs --------------------------------------------------------------------------------------------------------------- */

static bool slice_is_away(struct hall *hall)
{
    return removed_some(hall) && hall->cleanup->flight != NULL;
}

/* With a slice under way, which removes what it removes: the figures have it. */
static void test_cancel(void **state)
{
    struct hall *hall = *state;
    slow(hall);
    put_users(hall, OLD, 0, 1500);
    uint64_t id = start(hall, CLEANUP_EPOCHS, NULL);
    assert_int_equal(cleanup_cancel(hall->cleanup, id + 1), PERMTAB_E_NOT_FOUND);
    assert_true(run_until(hall, slice_is_away));
    assert_int_equal(cleanup_cancel(hall->cleanup, id), 0);
    assert_int_equal(hall->told.count, 0);
    assert_int_equal(cleanup_cancel(hall->cleanup, id), PERMTAB_E_NOT_FOUND);
    run_to_end(hall, PERMTAB_E_REFUSED);
    assert_true(latest(hall).state == CLEANUP_CANCELLED);
    unsigned left = count_users(hall, OLD);
    assert_true(left > 0);
    assert_int_equal(latest(hall).keys_removed, 1500 - left);
    run_for(hall, 100);
    assert_int_equal(count_users(hall, OLD), left);
    assert_false(exists(hall, PREFIX "cleanup:lock:epochs"));
}

static void test_waiting(void **state)
{
    struct hall *hall = *state;
    slow(hall);
    put_users(hall, OLD, 0, 1000);
    for (unsigned i = 0; i < 1 + CLEANUP_WAITING_MAX; i++)
        (void)start(hall, CLEANUP_EPOCHS, NULL);
    assert_int_equal(cleanup_start(hall->cleanup, CLEANUP_EPOCHS, NULL, on_done, NULL), PERMTAB_E_FULL);
    int64_t pattern = cleanup_start(hall->cleanup, CLEANUP_PATTERN, "x", NULL, NULL);
    assert_true(pattern > 0); /* alone of its kind, it does not wait */
    assert_int_equal(cleanup_start(hall->cleanup, CLEANUP_PATTERN, "x", NULL, NULL), pattern);
    assert_int_equal(cleanup_start(hall->cleanup, CLEANUP_PATTERN, "y", NULL, NULL), PERMTAB_E_FULL);
    struct cleanup_status jobs[CLEANUP_JOBS_MAX];
    assert_int_equal(cleanup_list(hall->cleanup, jobs, CLEANUP_JOBS_MAX), 10);
    assert_true(jobs[0].state == CLEANUP_LOCKING && jobs[1].state == CLEANUP_LOCKING);
    assert_true(jobs[2].state == CLEANUP_WAITING && jobs[9].state == CLEANUP_WAITING);
    assert_int_equal(cleanup_cancel(hall->cleanup, 0), 0);
    run_for(hall, 50);
    assert_int_equal(hall->told.count, 9);
    assert_int_equal(cleanup_cancel(hall->cleanup, 0), PERMTAB_E_NOT_FOUND);
    assert_int_equal(cleanup_list(hall->cleanup, jobs, CLEANUP_JOBS_MAX), CLEANUP_PAST_MAX);
}

static void test_bad_patterns(void **state)
{
    struct hall *hall = *state;
    char long_one[CLEANUP_PATTERN_SIZE + 1];
    memset(long_one, 'x', sizeof long_one);
    long_one[CLEANUP_PATTERN_SIZE] = 0;
    assert_int_equal(cleanup_start(hall->cleanup, CLEANUP_PATTERN, NULL, NULL, NULL), PERMTAB_E_INVALID);
    assert_int_equal(cleanup_start(hall->cleanup, CLEANUP_PATTERN, "", NULL, NULL), PERMTAB_E_INVALID);
    assert_int_equal(cleanup_start(hall->cleanup, CLEANUP_PATTERN, long_one, NULL, NULL), PERMTAB_E_INVALID);
    assert_int_equal(cleanup_start(hall->cleanup, CLEANUP_PATTERN, "*a*a*a*a*", NULL, NULL),
                     PERMTAB_E_INVALID);
    assert_int_equal(cleanup_start(hall->cleanup, CLEANUP_EPOCHS, "x", NULL, NULL), PERMTAB_E_INVALID);
}

/* Kinds take turns within one budget. */
static void test_two_kinds(void **state)
{
    struct hall *hall = *state;
    struct told other = {0};
    put_users(hall, OLD, 0, 1000);
    (void)start(hall, CLEANUP_EPOCHS, NULL);
    assert_true(cleanup_start(hall->cleanup, CLEANUP_PATTERN, "*{user:99?}", on_done, &other) > 0);
    run_for(hall, 20);
    run_to_end(hall, 0);
    run_for(hall, 100);
    assert_int_equal(other.count, 1);
    assert_int_equal(other.code, 0);
    assert_int_equal(other.status.keys_removed + hall->told.status.keys_removed, 1000);
}

/* ---- the fleet ---------------------------------------------------------------------------------------------------------- */

static void test_one_at_a_time(void **state)
{
    struct hall *hall = *state;
    struct cleanup *second = NULL;
    struct counters counters = {0};
    struct told other = {0};
    slow(hall);
    put_users(hall, OLD, 0, 1000);
    assert_int_equal(cleanup_new(&second, hall->base, hall->redis, hall->work, &hall->config, &counters), 0);
    (void)start(hall, CLEANUP_EPOCHS, NULL);
    assert_true(run_until(hall, removed_some));
    assert_true(cleanup_start(second, CLEANUP_EPOCHS, NULL, on_done, &other) > 0);
    run_for(hall, 200);
    assert_int_equal(counters.cleanup_slices, 0);
    hall->cleanup->pace.budget = 50;
    run_to_end(hall, 0);
    put_users(hall, OLD, 0, 10);
    run_for(hall, 1000);
    assert_int_equal(other.count, 1);
    assert_int_equal(other.code, 0);
    assert_int_equal(other.status.keys_removed, 10);
    cleanup_free(second);
}

/* A host died and left its lock: it ends, and another host begins. One that never ends is not waited for without end. */
static void test_a_dead_hosts_lock(void **state)
{
    struct hall *hall = *state;
    put_users(hall, OLD, 0, 100);
    (void)ask(hall, "SET " PREFIX "cleanup:lock:epochs somebody PX 700");
    (void)start(hall, CLEANUP_EPOCHS, NULL);
    run_for(hall, 300);
    assert_true(latest(hall).state == CLEANUP_LOCKING);
    assert_int_equal(count_users(hall, OLD), 100);
    run_to_end(hall, 0);
    assert_int_equal(count_users(hall, OLD), 0);
    (void)ask(hall, "SET " PREFIX "cleanup:lock:epochs somebody");
    hall->cleanup->lock_max_ns = 300 * MS;
    (void)start(hall, CLEANUP_EPOCHS, NULL);
    run_to_end(hall, PERMTAB_E_TIMEOUT);
    assert_true(exists(hall, PREFIX "cleanup:lock:epochs")); /* somebody else's */
}

/* Somebody took our lock, because we were away for too long: we stop, wait and begin anew. */
static void test_lock_lost(void **state)
{
    struct hall *hall = *state;
    slow(hall);
    put_users(hall, OLD, 0, 1500);
    (void)start(hall, CLEANUP_EPOCHS, NULL);
    assert_true(run_until(hall, removed_some));
    (void)ask(hall, "SET " PREFIX "cleanup:lock:epochs somebody PX 600");
    run_for(hall, 200);
    unsigned left = count_users(hall, OLD);
    assert_true(left > 0);
    run_for(hall, 200);
    assert_int_equal(count_users(hall, OLD), left);
    hall->cleanup->pace.budget = 50;
    run_to_end(hall, 0);
    assert_int_equal(hall->told.status.restarts, 1);
    assert_int_equal(count_users(hall, OLD), 0);
}

/* ---- going away --------------------------------------------------------------------------------------------------------- */

static bool is_asking(struct hall *hall)
{
    return hall->cleanup->jobs && hall->cleanup->jobs->phase == PHASE_ASKING;
}

static bool in_flight(struct hall *hall)
{
    return hall->cleanup->flight != NULL;
}

/* Answers of Redis and of the store come back after the clean-up has gone. */
static void test_free_under_way(void **state)
{
    struct hall *hall = *state;
    put_users(hall, PRESENT, 1000, 1000);
    (void)start(hall, CLEANUP_ORPHANS, NULL);
    assert_true(run_until(hall, is_asking));
    cleanup_free(hall->cleanup);
    hall->cleanup = NULL;
    assert_int_equal(hall->told.count, 1);
    assert_int_equal(hall->told.code, PERMTAB_E_REFUSED);
    run_for(hall, 100);
    hall->told.count = 0;
    assert_int_equal(cleanup_start_again(hall), 0);
    (void)start(hall, CLEANUP_ORPHANS, NULL);
    assert_true(run_until(hall, in_flight));
    cleanup_free(hall->cleanup);
    hall->cleanup = NULL;
    run_for(hall, 100);
    assert_int_equal(hall->told.count, 1);
}

/* The end comes while a cancelled one waits for its last slice. */
static void test_free_after_cancel(void **state)
{
    struct hall *hall = *state;
    slow(hall);
    put_users(hall, OLD, 0, 1500);
    uint64_t id = start(hall, CLEANUP_EPOCHS, NULL);
    assert_true(run_until(hall, slice_is_away));
    assert_int_equal(cleanup_cancel(hall->cleanup, id), 0);
    cleanup_free(hall->cleanup);
    hall->cleanup = NULL;
    assert_int_equal(hall->told.count, 1);
    assert_int_equal(hall->told.code, PERMTAB_E_REFUSED);
    run_for(hall, 50);
    assert_false(exists(hall, PREFIX "cleanup:lock:epochs"));
}

static void test_cancel_while_asking(void **state)
{
    struct hall *hall = *state;
    put_users(hall, PRESENT, 1000, 400);
    uint64_t id = start(hall, CLEANUP_ORPHANS, NULL);
    assert_true(run_until(hall, is_asking));
    assert_int_equal(cleanup_cancel(hall->cleanup, id), 0);
    run_to_end(hall, PERMTAB_E_REFUSED);
    run_for(hall, 50);
    (void)start(hall, CLEANUP_ORPHANS, NULL);
    run_to_end(hall, 0);
    assert_int_equal(count_users(hall, PRESENT), 0);
}

static bool none_runs(struct hall *hall)
{
    return hall->cleanup->jobs == NULL;
}

static void test_forget(void **state)
{
    struct hall *hall = *state;
    put_users(hall, OLD, 0, 300);
    cleanup_forget(hall->cleanup, start(hall, CLEANUP_EPOCHS, NULL));
    assert_true(run_until(hall, none_runs));
    assert_int_equal(hall->told.count, 0);
    assert_int_equal(count_users(hall, OLD), 0);
}

static void start_another(void *context, int code, const struct cleanup_status *status)
{
    struct hall *hall = context;
    assert_int_equal(code, 0);
    assert_int_equal(status->keys_removed, 300);
    assert_true(cleanup_start(hall->cleanup, CLEANUP_EPOCHS, NULL, on_done, &hall->told) > 0);
}

static void test_start_from_done(void **state)
{
    struct hall *hall = *state;
    put_users(hall, OLD, 0, 300);
    assert_true(cleanup_start(hall->cleanup, CLEANUP_EPOCHS, NULL, start_another, hall) > 0);
    run_to_end(hall, 0);
    assert_int_equal(hall->told.status.keys_removed, 0);
}

static void test_print(void **state)
{
    struct hall *hall = *state;
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    cleanup_print(hall->cleanup, out);
    put_users(hall, OLD, 0, 10);
    (void)start(hall, CLEANUP_PATTERN, "te*" OLD ":*");
    run_to_end(hall, 0);
    cleanup_print(hall->cleanup, out);
    (void)fclose(out);
    assert_true(strncmp(text, "none\n1 pattern done seen ", 25) == 0);
    assert_non_null(strstr(text, " removed 10 "));
    assert_non_null(strstr(text, " pattern te*" OLD ":*\n"));
    free(text);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        CASE(test_epochs),
        CASE(test_pattern),
        CASE(test_orphans),
        CASE(test_orphans_without_store),
        CASE(test_epoch_changes),
        CASE(test_no_marker),
        CASE(test_redis_killed),
        CASE(test_redis_stays_away),
        CASE(test_redis_paused),
        CASE(test_redis_full),
        CASE(test_cancel),
        CASE(test_waiting),
        CASE(test_bad_patterns),
        CASE(test_two_kinds),
        CASE(test_one_at_a_time),
        CASE(test_a_dead_hosts_lock),
        CASE(test_lock_lost),
        CASE(test_free_under_way),
        CASE(test_free_after_cancel),
        CASE(test_cancel_while_asking),
        CASE(test_forget),
        CASE(test_start_from_done),
        CASE(test_print),
    };
    if (!redis_server_installed()) {
        (void)puts("skipped: redis-server is not installed");
        return 77;
    }
    (void)evthread_use_pthreads();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
