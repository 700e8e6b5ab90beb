/* The command connection against a real server that is paused, killed and emptied, and against a fake one that lies. */
#include "proxy/redis.h"

#include "tests/support/redis_server.h"

#include <event2/event.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

struct fixture {
    struct redis_server server;
    struct event_base *base;
    struct redis *redis;
    struct redis_args args;
    unsigned ups, downs;
    unsigned told[4]; /* by status */
    char last[256];   /* text of the last reply, or a word for it */
    char order[256];  /* a letter for each reply: the context */
    struct redis *free_in_done, *free_in_state;
};

struct question {
    struct fixture *fixture;
    char letter;
};

static uint64_t clock_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void on_tick(evutil_socket_t descriptor, short what, void *context)
{
    (void)descriptor, (void)what, (void)context;
}

/* Runs the loop until `*value` reaches `wanted`, for at most `ms`. */
static bool run_until(struct fixture *fixture, const unsigned *value, unsigned wanted, unsigned ms)
{
    uint64_t end = clock_ms() + ms;
    struct timeval step = {.tv_usec = 1000};
    struct event *tick = event_new(fixture->base, -1, EV_PERSIST, on_tick, NULL);
    (void)event_add(tick, &step);
    while (*value < wanted && clock_ms() < end)
        (void)event_base_loop(fixture->base, EVLOOP_ONCE);
    event_free(tick);
    return *value >= wanted;
}

static void __attribute__((unused)) run_for(struct fixture *fixture, unsigned ms)
{
    static const unsigned never = 0;
    (void)run_until(fixture, &never, 1, ms);
}

static void on_state(void *context, bool connected)
{
    struct fixture *fixture = context;
    if (connected)
        fixture->ups++;
    else
        fixture->downs++;
}

static void describe(const struct redis_reply *reply, char *out, size_t size)
{
    int64_t number;
    if (redis_reply_text(reply, NULL))
        (void)snprintf(out, size, "%s", redis_reply_text(reply, NULL));
    else if (redis_reply_i64(reply, &number))
        (void)snprintf(out, size, "%" PRId64, number);
    else
        (void)snprintf(out, size, "%s", redis_reply_kind(reply) == REDIS_ARRAY ? "array" : "nil");
}

static void on_done(void *context, enum redis_status status, const struct redis_reply *reply)
{
    struct fixture *fixture = context;
    fixture->told[status]++;
    describe(reply, fixture->last, sizeof fixture->last);
}

static int start(struct fixture *fixture, const char *url, uint64_t timeout_ms, uint64_t ping_ms)
{
    struct failure failure = {0};
    struct redis_options options = {url, fixture->server.password[0] ? fixture->server.password : NULL,
                                    timeout_ms, ping_ms};
    return redis_new(&fixture->redis, fixture->base, &options, on_state, fixture, &failure);
}

/* Sends a command whose words are divided by blanks. */
static int ask(struct fixture *fixture, const char *words)
{
    char copy[256], *rest = copy, *word;
    (void)snprintf(copy, sizeof copy, "%s", words);
    redis_args_clear(&fixture->args);
    while ((word = strsep(&rest, " ")) != NULL)
        redis_args_text(&fixture->args, word);
    return redis_send(fixture->redis, &fixture->args, on_done, fixture);
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    fixture->base = event_base_new();
    redis_args_init(&fixture->args);
    *state = fixture;
    return 0;
}

static int set_up_server(void **state)
{
    set_up(state);
    redis_server_start(&((struct fixture *)*state)->server, false, NULL);
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    redis_free(fixture->redis);
    event_base_free(fixture->base);
    redis_args_fini(&fixture->args);
    if (fixture->server.folder[0])
        redis_server_stop(&fixture->server);
    free(fixture);
    return 0;
}

static void test_asks_and_is_answered(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(start(fixture, fixture->server.url, 1000, 1000), 0);
    assert_false(redis_connected(fixture->redis));
    assert_string_equal(redis_trouble(fixture->redis), "not connected yet");
    assert_int_equal(ask(fixture, "PING"), PERMTAB_E_UNREACHABLE);
    assert_true(run_until(fixture, &fixture->ups, 1, 2000));
    assert_string_equal(redis_trouble(fixture->redis), "");
    assert_int_equal(ask(fixture, "SET a 1"), 0);
    assert_int_equal(ask(fixture, "INCR a"), 0);
    assert_int_equal(redis_pending(fixture->redis), 2);
    assert_int_equal(fixture->told[REDIS_OK], 0);
    assert_true(run_until(fixture, &fixture->told[REDIS_OK], 2, 2000));
    assert_string_equal(fixture->last, "2");
    assert_int_equal(redis_pending(fixture->redis), 0);
    assert_int_equal(ask(fixture, "LPUSH a 1"), 0);
    assert_true(run_until(fixture, &fixture->told[REDIS_ERROR], 1, 2000));
    assert_non_null(strstr(fixture->last, "WRONGTYPE"));
}

int main(void)
{
    if (!redis_server_installed())
        return 77;
#define SERVER(name) cmocka_unit_test_setup_teardown(name, set_up_server, tear_down)
    const struct CMUnitTest tests[] = {
        SERVER(test_asks_and_is_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
