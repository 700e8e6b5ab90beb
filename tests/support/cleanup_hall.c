/* A host, more or less, for tests of clean-ups. */
#include "tests/support/cleanup_hall.h"

#include "proxy/base/clock.h"
#include "proxy/base/random.h"
#include "tests/support/loop.h"
#include "tests/unit/store/store_fixture.h"

#include <event2/event.h>

static void on_state(void *context, bool connected)
{
    struct hall *hall = context;
    hall->ups += connected;
    if (hall->cleanup)
        cleanup_connected(hall->cleanup, connected);
}

void hall_on_done(void *context, int code, const struct cleanup_status *status)
{
    struct hall_told *told = context;
    told->count++;
    told->code = code;
    told->status = *status;
}

/* The limit is only against hanging. A job that is made slow rests for a hundred times what its slices take, and on a
 * busy machine they take long: nothing here says how soon it ends. test_cleanup_pace.c is about rests. */
#define HANG_NS (60000 * HALL_MS)

bool hall_until(struct hall *hall, hall_condition_fn holds)
{
    uint64_t end = clock_ns() + HANG_NS;
    while (!holds(hall) && clock_ns() < end)
        loop_turn(hall->base);
    return holds(hall);
}

void hall_run(struct hall *hall, unsigned ms)
{
    loop_for(hall->base, ms);
}

bool hall_is_up(struct hall *hall)
{
    return redis_connected(hall->redis);
}

bool hall_is_idle(struct hall *hall)
{
    return redis_pending(hall->redis) == 0;
}

bool hall_is_told(struct hall *hall)
{
    return hall->told.count > 0;
}

void hall_put(struct hall *hall, const char *format, ...)
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

void hall_put_users(struct hall *hall, const char *epoch, unsigned from, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        hall_put(hall, HALL_PREFIX "l2:1:%s:{user:%u}", epoch, from + i);
    assert_true(hall_until(hall, hall_is_idle));
}

long hall_ask(struct hall *hall, const char *command)
{
    char text[64];
    assert_true(redis_server_ask(&hall->server, command, text, sizeof text));
    if (text[0] == '-')
        fail_msg("%s: %s", command, text);
    return strtol(text, NULL, 10);
}

bool hall_exists(struct hall *hall, const char *key)
{
    char command[256];
    (void)snprintf(command, sizeof command, "EXISTS %s", key);
    return hall_ask(hall, command) == 1;
}

/* The script has no quotes: the server would take them off. */
unsigned hall_count_users(struct hall *hall, const char *epoch)
{
    char command[512];
    (void)snprintf(command, sizeof command,
                   "EVAL return(#redis.call([=[KEYS]=],[=[te\\[s\\]t\\*:l2:1:%s:{user:*]=])) 0", epoch);
    return (unsigned)hall_ask(hall, command);
}

long hall_scripts_run(struct hall *hall)
{
    return hall_ask(
        hall, "EVAL return(redis.call([=[INFO]=],[=[commandstats]=]):match([=[evalsha:calls=(%d+)]=])) 0");
}

void hall_set_marker(struct hall *hall, const char *epoch)
{
    char command[256];
    (void)snprintf(command, sizeof command, "HSET " HALL_PREFIX "l2:1:marker epoch %s", epoch);
    (void)hall_ask(hall, command);
}

int hall_new_cleanup(struct hall *hall, struct cleanup **out, struct counters *counters)
{
    struct cleanup_options options = {.base = hall->base,
                                      .redis = hall->redis,
                                      .pool = hall->pool,
                                      .counters = counters,
                                      .prefix = HALL_PREFIX,
                                      .types = &hall->types,
                                      .budget = 50};
    assert_int_equal(random_id(&options.host_id), 0);
    return cleanup_new(out, &options);
}

int hall_start_cleanup(struct hall *hall)
{
    return hall_new_cleanup(hall, &hall->cleanup, &hall->counters);
}

int hall_set_up(void **state)
{
    struct hall *hall = calloc(1, sizeof *hall);
    struct failure trouble = {0};
    assert_non_null(hall);
    (void)fixture_ready((void **)&hall->store, NULL);
    some_policy(hall->store);
    redis_server_start(&hall->server, false, NULL);
    hall->base = event_base_new();
    hall->types = (struct scope_types){.count = 3, .names = {"global", "server", "channel"}};
    struct redis_access access = {.url = hall->server.url, .timeout_ms = 300, .ping_ms = 1000};
    struct redis_options redis = {hall->base, on_state, hall, &access};
    assert_int_equal(redis_new(&hall->redis, &redis, &trouble), 0);
    struct store_threads_options pool = {hall->base, "reads", &hall->store->options, 1, 100};
    assert_int_equal(store_threads_new(&hall->pool, &pool), 0);
    assert_int_equal(hall_start_cleanup(hall), 0);
    assert_true(hall_until(hall, hall_is_up));
    hall_set_marker(hall, HALL_PRESENT);
    *state = hall;
    return 0;
}

int hall_tear_down(void **state)
{
    struct hall *hall = *state;
    cleanup_free(hall->cleanup);
    redis_free(hall->redis);
    store_threads_free(hall->pool);
    event_base_free(hall->base);
    redis_server_stop(&hall->server);
    (void)fixture_free((void **)&hall->store);
    free(hall);
    return 0;
}

void hall_run_sql(struct hall *hall, const char *text)
{
    OK(run(hall->store->writer, text));
}

uint64_t hall_start(struct hall *hall, enum cleanup_kind kind, const char *pattern)
{
    int64_t id = cleanup_start(hall->cleanup, kind, pattern, hall_on_done, &hall->told);
    assert_true(id > 0);
    assert_int_equal(hall->told.count, 0); /* never from inside */
    return (uint64_t)id;
}

void hall_run_to_end(struct hall *hall, int code)
{
    if (!hall_until(hall, hall_is_told))
        fail_msg("the clean-up does not end");
    if (hall->told.code != code)
        fail_msg("it ended with %d: %s", hall->told.code, hall->told.status.text);
    assert_int_equal(hall->told.count, 1);
    hall->told.count = 0;
    assert_true(hall_until(hall, hall_is_idle));
}

void hall_slow_down(struct hall *hall)
{
    cleanup_pace_init(&hall->cleanup->pace, 1);
}

bool hall_removed_some(struct hall *hall)
{
    return hall->counters.cleanup_keys_removed >= 300;
}

struct cleanup_status hall_latest(struct hall *hall)
{
    struct cleanup_status jobs[CLEANUP_JOBS_MAX];
    assert_true(cleanup_list(hall->cleanup, jobs, CLEANUP_JOBS_MAX) > 0);
    return jobs[0];
}
