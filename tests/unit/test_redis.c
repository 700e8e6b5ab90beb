/* The command connection against a real server that is paused, killed and emptied, and against a fake one that lies. */
#include "proxy/redis.h"

#include "tests/support/fake_redis.h"
#include "tests/support/random.h"
#include "tests/support/redis_server.h"

#include <event2/event.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    struct redis_server server;
    struct fake_redis fake;
    struct event_base *base;
    struct redis *redis;
    struct redis_args args;
    unsigned ups, downs;
    unsigned told[4]; /* by status */
    char last[256];   /* text of the last reply, or a word for it */
    char order[256];  /* a letter for each that was told, and for its status */
    bool free_in_done, free_in_up, free_in_down;
    bool again;      /* a command that timed out is sent again */
    uint64_t number; /* of the last reply, when each has to be one more */
};

static int ask(struct fixture *fixture, const char *words);

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

static void run_for(struct fixture *fixture, unsigned ms)
{
    static const unsigned never = 0;
    (void)run_until(fixture, &never, 1, ms);
}

static void free_redis(struct fixture *fixture)
{
    redis_free(fixture->redis);
    fixture->redis = NULL;
}

static void on_state(void *context, bool connected)
{
    struct fixture *fixture = context;
    if (connected)
        fixture->ups++;
    else
        fixture->downs++;
    assert_true(redis_connected(fixture->redis) == connected);
    if (connected ? fixture->free_in_up : fixture->free_in_down)
        free_redis(fixture);
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
    assert_true((reply == NULL) == (status == REDIS_TIMEOUT || status == REDIS_LOST));
    describe(reply, fixture->last, sizeof fixture->last);
    size_t used = strlen(fixture->order);
    if (used + 1 < sizeof fixture->order)
        fixture->order[used] = "oetl"[status];
    if (fixture->free_in_done && fixture->redis)
        free_redis(fixture);
    if (fixture->again && status == REDIS_TIMEOUT)
        assert_int_equal(ask(fixture, "PING"), 0);
}

/* Each reply is one more than the one before. */
static void on_next(void *context, enum redis_status status, const struct redis_reply *reply)
{
    struct fixture *fixture = context;
    uint64_t number = 0;
    assert_true(redis_reply_u64(reply, &number));
    assert_int_equal(number, fixture->number + 1);
    fixture->number = number;
    fixture->told[status]++;
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

static int set_up_locked_server(void **state)
{
    set_up(state);
    redis_server_start(&((struct fixture *)*state)->server, true, "open sesame");
    return 0;
}

static int set_up_fake(void **state)
{
    set_up(state);
    struct fixture *fixture = *state;
    fake_redis_start(&fixture->fake, fixture->base);
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    redis_free(fixture->redis);
    if (fixture->fake.listener)
        fake_redis_stop(&fixture->fake);
    event_base_free(fixture->base);
    redis_args_fini(&fixture->args);
    if (fixture->server.folder[0])
        redis_server_stop(&fixture->server);
    free(fixture);
    return 0;
}

#define START(fixture, url, timeout_ms, ping_ms)                                                             \
    do {                                                                                                     \
        assert_int_equal(start(fixture, url, timeout_ms, ping_ms), 0);                                       \
        if (!run_until(fixture, &(fixture)->ups, (fixture)->ups + 1, 3000))                                  \
            fail_msg("not connected: %s", redis_trouble((fixture)->redis));                                  \
    } while (0)

static void server_says(struct fixture *fixture, const char *command, const char *part)
{
    char reply[4096];
    assert_true(redis_server_ask(&fixture->server, command, reply, sizeof reply));
    if (!strstr(reply, part))
        fail_msg("%s: \"%s\" does not say \"%s\"", command, reply, part);
}

static int run_script(struct fixture *fixture, const char *key, const char *token)
{
    redis_args_clear(&fixture->args);
    redis_args_text(&fixture->args, key);
    redis_args_text(&fixture->args, token);
    return redis_run(fixture->redis, redis_script("lock_release"), 1, &fixture->args, on_done, fixture);
}

/* ---- asking ---------------------------------------------------------------------------------------------------------- */

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
    assert_int_equal(redis_send(fixture->redis, &fixture->args, NULL, NULL), 0); /* nobody to tell */
    server_says(fixture, "CLIENT LIST", "name=permtabd");
}

static void test_replies_come_in_order(void **state)
{
    struct fixture *fixture = *state;
    START(fixture, fixture->server.url, 5000, 1000);
    for (unsigned sent = 0; sent < 50000; sent++) {
        redis_args_clear(&fixture->args);
        redis_args_text(&fixture->args, "INCR");
        redis_args_text(&fixture->args, "n");
        assert_int_equal(redis_send(fixture->redis, &fixture->args, on_next, fixture), 0);
    }
    assert_true(run_until(fixture, &fixture->told[REDIS_OK], 50000, 10000));
    assert_int_equal(redis_pending(fixture->redis), 0);
}

static void test_bytes_come_back_as_they_went(void **state)
{
    struct fixture *fixture = *state;
    static char big[3 * 1024 * 1024];
    START(fixture, fixture->server.url, 5000, 1000);
    for (size_t i = 0; i < sizeof big; i++)
        big[i] = (char)(i * 7 + i / 251);
    redis_args_clear(&fixture->args);
    redis_args_text(&fixture->args, "SET");
    redis_args_bytes(&fixture->args, "k\0\r\n", 4);
    redis_args_bytes(&fixture->args, big, sizeof big);
    assert_int_equal(redis_send(fixture->redis, &fixture->args, on_done, fixture), 0);
    redis_args_clear(&fixture->args);
    redis_args_text(&fixture->args, "STRLEN");
    redis_args_bytes(&fixture->args, "k\0\r\n", 4);
    assert_int_equal(redis_send(fixture->redis, &fixture->args, on_done, fixture), 0);
    assert_true(run_until(fixture, &fixture->told[REDIS_OK], 2, 5000));
    assert_string_equal(fixture->last, "3145728");
    server_says(fixture, "DBSIZE", "1");
}

static void test_a_bad_command_is_not_sent(void **state)
{
    struct fixture *fixture = *state;
    START(fixture, fixture->server.url, 1000, 1000);
    redis_args_clear(&fixture->args);
    assert_int_equal(redis_send(fixture->redis, &fixture->args, on_done, fixture), PERMTAB_E_INVALID);
    redis_args_bytes(&fixture->args, "x", SIZE_MAX);
    assert_int_equal(redis_send(fixture->redis, &fixture->args, on_done, fixture), PERMTAB_E_MEMORY);
    assert_int_equal(
        redis_run(fixture->redis, redis_script("lock_release"), 0, &fixture->args, on_done, fixture),
        PERMTAB_E_MEMORY);
    assert_int_equal(redis_pending(fixture->redis), 0);
    assert_int_equal(ask(fixture, "PING"), 0);
    assert_true(run_until(fixture, &fixture->told[REDIS_OK], 1, 2000));
    assert_string_equal(fixture->last, "PONG");
}

/* ---- coming in --------------------------------------------------------------------------------------------------------- */

static void is_let_in(struct fixture *fixture, const char *url, const char *seen)
{
    START(fixture, url, 1000, 1000);
    server_says(fixture, "CLIENT LIST", seen);
    free_redis(fixture);
}

static void test_ways_in(void **state)
{
    struct fixture *fixture = *state;
    char url[160];
    server_says(fixture, "ACL SETUSER bob on >builder ~* &* +@all", "OK");
    (void)snprintf(url, sizeof url, "redis://127.0.0.1:%u/3", fixture->server.port);
    is_let_in(fixture, url, "db=3");
    (void)snprintf(url, sizeof url, "redis://localhost:%u", fixture->server.port);
    is_let_in(fixture, url, "name=permtabd");
    (void)snprintf(url, sizeof url, "%s?db=5", fixture->server.url);
    is_let_in(fixture, url, "db=5");
    server_says(fixture, "CLIENT LIST", "user=default");
    struct redis_options options = {url, "builder", 1000, 1000};
    (void)snprintf(url, sizeof url, "redis://bob@127.0.0.1:%u", fixture->server.port);
    assert_int_equal(redis_new(&fixture->redis, fixture->base, &options, on_state, fixture, NULL), 0);
    assert_true(run_until(fixture, &fixture->ups, 4, 3000));
    server_says(fixture, "CLIENT LIST", "user=bob");
}

static void stays_out(struct fixture *fixture, const char *url, const char *password, const char *why)
{
    struct redis_options options = {url, password, 200, 100};
    assert_int_equal(redis_new(&fixture->redis, fixture->base, &options, on_state, fixture, NULL), 0);
    run_for(fixture, 300);
    if (!strstr(redis_trouble(fixture->redis), why))
        fail_msg("%s: \"%s\" does not say \"%s\"", url, redis_trouble(fixture->redis), why);
    assert_int_equal(fixture->ups + fixture->downs, 0);
    assert_int_equal(ask(fixture, "PING"), PERMTAB_E_UNREACHABLE);
    free_redis(fixture);
}

static void test_says_why_it_is_kept_out(void **state)
{
    struct fixture *fixture = *state;
    char url[160], why[160];
    server_says(fixture, "ACL SETUSER mute on >builder ~* +@all -script", "OK");
    (void)snprintf(url, sizeof url, "%s?db=500", fixture->server.url);
    stays_out(fixture, fixture->server.url, NULL, "CLIENT SETNAME is refused: NOAUTH");
    stays_out(fixture, fixture->server.url, "wrong", "AUTH is refused: WRONGPASS");
    stays_out(fixture, url, fixture->server.password, "SELECT is refused: ERR DB index is out of range");
    (void)snprintf(url, sizeof url, "redis://mute@127.0.0.1:%u", fixture->server.port);
    (void)snprintf(why, sizeof why, "SCRIPT LOAD of %s is refused: NOPERM", redis_scripts[0].name);
    stays_out(fixture, url, "builder", why);
    stays_out(fixture, "unix:/nonexistent/redis.sock", NULL, "No such file");
    stays_out(fixture, "redis://127.0.0.1:1", NULL, "Connection refused");
    stays_out(fixture, "redis://[::1%x]:1", NULL, "::1%x");
}

/* Whether the name servers say no or nothing depends on where this runs; that the loop goes on does not. */
static void test_a_name_that_is_none(void **state)
{
    struct fixture *fixture = *state;
    stays_out(fixture, "redis://no-such-host.invalid:1", NULL, "no-such-host.invalid");
    for (int i = 0; i < 5; i++) { /* freed in the middle */
        struct redis_options options = {"redis://no-such-host.invalid:1", NULL, 100, 10000};
        assert_int_equal(redis_new(&fixture->redis, fixture->base, &options, on_state, fixture, NULL), 0);
        run_for(fixture, 3);
        free_redis(fixture);
    }
    run_for(fixture, 50);
}

static void test_a_bad_address_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct failure failure = {0};
    struct redis_options options = {"redis:nowhere", "secret", 100, 100};
    assert_int_equal(redis_new(&fixture->redis, fixture->base, &options, on_state, fixture, &failure),
                     PERMTAB_E_INVALID);
    assert_null(fixture->redis);
    assert_non_null(strstr(failure.text, "redis:nowhere"));
}

/* ---- scripts ---------------------------------------------------------------------------------------------------------- */

static void test_a_forgotten_script_is_sent_once(void **state)
{
    struct fixture *fixture = *state;
    START(fixture, fixture->server.url, 1000, 1000);
    server_says(fixture, "SET lock me", "OK");
    assert_int_equal(run_script(fixture, "lock", "you"), 0);
    assert_true(run_until(fixture, &fixture->told[REDIS_OK], 1, 2000));
    assert_string_equal(fixture->last, "0");
    server_says(fixture, "SCRIPT FLUSH", "OK");
    assert_int_equal(run_script(fixture, "lock", "me"), 0);
    assert_true(run_until(fixture, &fixture->told[REDIS_OK], 2, 2000));
    assert_string_equal(fixture->last, "1");
    server_says(fixture, "EXISTS lock", "0");
    assert_int_equal(run_script(fixture, "lock", "me"), 0);
    assert_true(run_until(fixture, &fixture->told[REDIS_OK], 3, 2000));
    assert_string_equal(fixture->order, "ooo");
    server_says(fixture, "INFO commandstats", "cmdstat_eval:calls=1,");
    server_says(fixture, "INFO commandstats", "cmdstat_evalsha:calls=3,");
    assert_int_equal(redis_pending(fixture->redis), 0);
}

static void test_a_forgotten_script_comes_after_what_was_sent_meanwhile(void **state)
{
    struct fixture *fixture = *state;
    START(fixture, fixture->server.url, 1000, 1000);
    server_says(fixture, "SCRIPT FLUSH", "OK");
    server_says(fixture, "SET lock me", "OK");
    assert_int_equal(run_script(fixture, "lock", "me"), 0);
    assert_int_equal(ask(fixture, "LPUSH lock 1"), 0); /* an error: it is still there, and a text */
    assert_true(run_until(fixture, &fixture->told[REDIS_OK], 1, 2000));
    assert_string_equal(fixture->order, "eo");
    assert_string_equal(fixture->last, "1");
}

static void test_an_error_of_a_script_is_told(void **state)
{
    static const struct redis_script ours = {"ours", "return redis.error_reply('NOSCRIPT it says')"};
    struct fixture *fixture = *state;
    START(fixture, fixture->server.url, 1000, 1000);
    server_says(fixture, "LPUSH list 1", "1");
    assert_int_equal(run_script(fixture, "list", "me"), 0);
    assert_true(run_until(fixture, &fixture->told[REDIS_ERROR], 1, 2000));
    assert_non_null(strstr(fixture->last, "WRONGTYPE"));
    redis_args_clear(&fixture->args); /* one that is not compiled in: by its text, and once */
    assert_int_equal(redis_run(fixture->redis, &ours, 0, &fixture->args, on_done, fixture), 0);
    assert_true(run_until(fixture, &fixture->told[REDIS_ERROR], 2, 2000));
    assert_non_null(strstr(fixture->last, "it says"));
    assert_int_equal(redis_pending(fixture->redis), 0);
}

static void test_an_empty_server_gets_the_scripts_again(void **state)
{
    struct fixture *fixture = *state;
    START(fixture, fixture->server.url, 1000, 1000);
    redis_server_restart(&fixture->server);
    assert_true(run_until(fixture, &fixture->ups, 2, 3000));
    assert_int_equal(fixture->downs, 1);
    assert_int_equal(run_script(fixture, "lock", "me"), 0);
    assert_true(run_until(fixture, &fixture->told[REDIS_OK], 1, 2000));
    server_says(fixture, "INFO commandstats", "cmdstat_evalsha:calls=1,");
}

/* ---- time --------------------------------------------------------------------------------------------------------------- */

static void test_a_late_reply_is_thrown_away(void **state)
{
    struct fixture *fixture = *state;
    START(fixture, fixture->server.url, 60, 5000);
    assert_int_equal(ask(fixture, "DEBUG SLEEP 0.4"), 0);
    assert_int_equal(ask(fixture, "ECHO late"), 0);
    uint64_t begun = clock_ms();
    assert_true(run_until(fixture, &fixture->told[REDIS_TIMEOUT], 2, 2000));
    assert_in_range(clock_ms() - begun, 58, 390);
    assert_int_equal(redis_pending(fixture->redis), 2);
    run_for(fixture, 500);
    assert_int_equal(redis_pending(fixture->redis), 0);
    assert_string_equal(fixture->order, "tt");
    assert_int_equal(ask(fixture, "ECHO next"), 0);
    assert_true(run_until(fixture, &fixture->told[REDIS_OK], 1, 2000));
    assert_string_equal(fixture->last, "next");
    assert_int_equal(fixture->downs, 0);
}

static void test_each_has_its_own_time(void **state)
{
    struct fixture *fixture = *state;
    START(fixture, fixture->fake.url, 400, 5000);
    assert_int_equal(ask(fixture, "GET a"), 0);
    run_for(fixture, 200);
    assert_int_equal(ask(fixture, "GET b"), 0);
    run_for(fixture, 50);
    fake_redis_say(&fixture->fake, "+A\r\n"); /* the first in time, the second never */
    run_for(fixture, 200);
    assert_string_equal(fixture->order, "o");
    assert_string_equal(fixture->last, "A");
    assert_true(run_until(fixture, &fixture->told[REDIS_TIMEOUT], 1, 1000));
    assert_int_equal(redis_pending(fixture->redis), 1);
}

static void test_asking_again_in_time_out_waits_its_time(void **state)
{
    struct fixture *fixture = *state;
    fixture->fake.deaf = true;
    fixture->again = true;
    START(fixture, fixture->fake.url, 50, 5000);
    assert_int_equal(ask(fixture, "PING"), 0);
    run_for(fixture, 275);
    assert_in_range(fixture->told[REDIS_TIMEOUT], 3, 5);
    fixture->again = false;
}

static void test_a_stopped_server_is_given_up(void **state)
{
    struct fixture *fixture = *state;
    START(fixture, fixture->server.url, 50, 100);
    redis_server_pause(&fixture->server);
    uint64_t begun = clock_ms();
    assert_int_equal(ask(fixture, "PING"), 0);
    assert_true(run_until(fixture, &fixture->downs, 1, 2000));
    assert_in_range(clock_ms() - begun, 195, 1500);
    assert_string_equal(fixture->order, "t");
    assert_non_null(strstr(redis_trouble(fixture->redis), "200 ms"));
    redis_server_resume(&fixture->server);
    assert_true(run_until(fixture, &fixture->ups, 2, 5000));
    assert_string_equal(redis_trouble(fixture->redis), "");
}

static void test_silence_is_asked_about(void **state)
{
    struct fixture *fixture = *state;
    START(fixture, fixture->fake.url, 50, 100);
    run_for(fixture, 1050);
    assert_in_range(fixture->fake.pings, 6, 11);
    assert_int_equal(redis_pending(fixture->redis), 0);
    assert_int_equal(fixture->downs, 0);
    fixture->fake.deaf = true;
    uint64_t begun = clock_ms();
    assert_true(run_until(fixture, &fixture->downs, 1, 2000));
    assert_in_range(clock_ms() - begun, 100, 1500);
}

/* Bytes are no sign of life: replies are. */
static void test_a_trickle_is_given_up(void **state)
{
    struct fixture *fixture = *state;
    START(fixture, fixture->fake.url, 50, 100);
    assert_int_equal(ask(fixture, "GET a"), 0);
    fake_redis_say(&fixture->fake, "$1000\r\n");
    for (int i = 0; i < 60 && fixture->downs == 0; i++) {
        fake_redis_say(&fixture->fake, "x");
        run_for(fixture, 10);
    }
    assert_int_equal(fixture->downs, 1);
    assert_non_null(strstr(redis_trouble(fixture->redis), "no reply"));
}

static void test_a_long_queue_that_moves_is_not_given_up(void **state)
{
    struct fixture *fixture = *state;
    START(fixture, fixture->fake.url, 5000, 100);
    for (int i = 0; i < 50; i++)
        assert_int_equal(ask(fixture, "GET a"), 0);
    for (unsigned i = 0; i < 50; i++) {
        fake_redis_say(&fixture->fake, "+x\r\n");
        run_for(fixture, 12);
    }
    assert_int_equal(fixture->told[REDIS_OK], 50);
    assert_int_equal(fixture->downs, 0);
}

/* ---- ends ------------------------------------------------------------------------------------------------------------------ */

static void test_a_killed_server_is_told_and_found_again(void **state)
{
    struct fixture *fixture = *state;
    START(fixture, fixture->server.url, 1000, 1000);
    assert_int_equal(ask(fixture, "DEBUG SLEEP 5"), 0);
    assert_int_equal(ask(fixture, "PING"), 0);
    assert_int_equal(run_script(fixture, "a", "b"), 0);
    run_for(fixture, 20);
    redis_server_kill(&fixture->server);
    assert_true(run_until(fixture, &fixture->downs, 1, 1000));
    assert_string_equal(fixture->order, "lll");
    assert_int_equal(redis_pending(fixture->redis), 0);
    assert_false(redis_connected(fixture->redis));
    assert_int_equal(ask(fixture, "PING"), PERMTAB_E_UNREACHABLE);
    run_for(fixture, 200);
    assert_non_null(strstr(redis_trouble(fixture->redis), "Connection refused"));
    redis_server_restart(&fixture->server);
    assert_true(run_until(fixture, &fixture->ups, 2, 5000));
    assert_int_equal(fixture->downs, 1);
}

static void test_a_killed_client_is_back_at_once(void **state)
{
    struct fixture *fixture = *state;
    START(fixture, fixture->server.url, 1000, 1000);
    server_says(fixture, "CLIENT KILL TYPE normal", "1");
    assert_true(run_until(fixture, &fixture->downs, 1, 1000));
    uint64_t begun = clock_ms();
    assert_true(run_until(fixture, &fixture->ups, 2, 1000));
    assert_in_range(clock_ms() - begun, 0, 500);
}

static void test_freed_in_a_reply(void **state)
{
    struct fixture *fixture = *state;
    START(fixture, fixture->server.url, 1000, 1000);
    fixture->free_in_done = true;
    for (int i = 0; i < 5; i++)
        assert_int_equal(ask(fixture, "PING"), 0);
    assert_int_equal(run_script(fixture, "a", "b"), 0);
    assert_true(run_until(fixture, &fixture->told[REDIS_OK], 1, 1000));
    run_for(fixture, 20);
    assert_string_equal(fixture->order, "olllll");
    assert_int_equal(fixture->downs, 0);
}

static void test_freed_in_a_time_out(void **state)
{
    struct fixture *fixture = *state;
    START(fixture, fixture->fake.url, 30, 1000);
    fixture->free_in_done = true;
    assert_int_equal(ask(fixture, "GET a"), 0);
    assert_int_equal(ask(fixture, "GET a"), 0);
    assert_true(run_until(fixture, &fixture->told[REDIS_TIMEOUT], 1, 1000));
    run_for(fixture, 50);
    assert_string_equal(fixture->order, "tl");
}

static void test_freed_in_a_loss(void **state)
{
    struct fixture *fixture = *state;
    START(fixture, fixture->fake.url, 1000, 1000);
    fixture->free_in_done = true;
    for (int i = 0; i < 3; i++)
        assert_int_equal(ask(fixture, "GET a"), 0);
    run_for(fixture, 5);
    fake_redis_drop(&fixture->fake);
    assert_true(run_until(fixture, &fixture->told[REDIS_LOST], 3, 1000));
    run_for(fixture, 100);
    assert_int_equal(fixture->downs, 0);
    assert_int_equal(fixture->fake.accepted, 1);
}

static void test_freed_when_up_and_when_down(void **state)
{
    struct fixture *fixture = *state;
    fixture->free_in_up = true;
    assert_int_equal(start(fixture, fixture->fake.url, 1000, 1000), 0);
    assert_true(run_until(fixture, &fixture->ups, 1, 1000));
    run_for(fixture, 20);
    assert_null(fixture->redis);
    fixture->free_in_up = false;
    fixture->free_in_down = true;
    START(fixture, fixture->fake.url, 1000, 1000);
    fake_redis_drop(&fixture->fake);
    assert_true(run_until(fixture, &fixture->downs, 1, 1000));
    run_for(fixture, 100);
    assert_null(fixture->redis);
    assert_int_equal(fixture->fake.accepted, 2);
}

static void test_freed_from_outside_tells_what_is_pending(void **state)
{
    struct fixture *fixture = *state;
    START(fixture, fixture->fake.url, 1000, 1000);
    assert_int_equal(ask(fixture, "GET a"), 0);
    assert_int_equal(ask(fixture, "GET a"), 0);
    free_redis(fixture);
    assert_string_equal(fixture->order, "ll");
    assert_int_equal(fixture->downs, 0);
}

/* ---- limits ---------------------------------------------------------------------------------------------------------------- */

static void test_so_many_may_be_pending(void **state)
{
    struct fixture *fixture = *state;
    unsigned accepted = 0;
    int code;
    START(fixture, fixture->fake.url, 60000, 60000);
    redis_args_clear(&fixture->args);
    redis_args_text(&fixture->args, "GET");
    while ((code = redis_send(fixture->redis, &fixture->args, on_done, fixture)) == 0)
        accepted++;
    assert_int_equal(code, PERMTAB_E_FULL);
    assert_int_equal(accepted, 65536);
    assert_int_equal(run_script(fixture, "a", "b"), PERMTAB_E_FULL);
    assert_true(run_until(fixture, &fixture->fake.commands, 65536, 20000));
    fake_redis_say(&fixture->fake, "+x\r\n");
    assert_true(run_until(fixture, &fixture->told[REDIS_OK], 1, 1000));
    assert_int_equal(redis_send(fixture->redis, &fixture->args, on_done, fixture), 0);
}

static void test_so_much_may_be_unsent(void **state)
{
    struct fixture *fixture = *state;
    static char big[1024 * 1024];
    unsigned accepted = 0;
    int code;
    START(fixture, fixture->server.url, 60000, 60000);
    redis_server_pause(&fixture->server);
    redis_args_clear(&fixture->args);
    redis_args_text(&fixture->args, "ECHO");
    redis_args_bytes(&fixture->args, big, sizeof big);
    while ((code = redis_send(fixture->redis, &fixture->args, on_done, fixture)) == 0) {
        run_for(fixture, 2);
        assert_true(++accepted < 30);
    }
    assert_int_equal(code, PERMTAB_E_FULL);
    assert_in_range(accepted, 15, 20);
    assert_int_equal(fixture->downs, 0);
    redis_server_resume(&fixture->server);
    assert_true(run_until(fixture, &fixture->told[REDIS_OK], accepted, 5000));
}

/* What is kept of scripts that were sent, in case the server has forgotten them. */
static void test_so_much_of_scripts_may_be_kept(void **state)
{
    struct fixture *fixture = *state;
    static char big[1024 * 1024];
    unsigned accepted = 0;
    int code;
    START(fixture, fixture->fake.url, 60000, 60000);
    redis_args_clear(&fixture->args);
    redis_args_bytes(&fixture->args, big, sizeof big);
    while ((code = redis_run(fixture->redis, redis_script("lock_release"), 1, &fixture->args, on_done,
                             fixture)) == 0) {
        assert_true(run_until(fixture, &fixture->fake.commands, ++accepted, 2000)); /* sent, and read */
        assert_true(accepted < 30);
    }
    assert_int_equal(code, PERMTAB_E_FULL);
    assert_in_range(accepted, 14, 16);
    fake_redis_say(&fixture->fake, ":1\r\n:1\r\n");
    assert_true(run_until(fixture, &fixture->told[REDIS_OK], 2, 2000));
    assert_int_equal(
        redis_run(fixture->redis, redis_script("lock_release"), 1, &fixture->args, on_done, fixture), 0);
}

/* ---- lies ------------------------------------------------------------------------------------------------------------------- */

static void ends_it(struct fixture *fixture, const char *said, bool asked, const char *why)
{
    unsigned downs = fixture->downs;
    START(fixture, fixture->fake.url, 1000, 5000);
    if (asked)
        assert_int_equal(ask(fixture, "GET a"), 0);
    run_for(fixture, 5);
    fake_redis_say(&fixture->fake, said);
    assert_true(run_until(fixture, &fixture->downs, downs + 1, 2000));
    if (!strstr(redis_trouble(fixture->redis), why))
        fail_msg("%.20s: \"%s\" does not say \"%s\"", said, redis_trouble(fixture->redis), why);
    free_redis(fixture);
}

static void test_what_is_not_understood_ends_it(void **state)
{
    struct fixture *fixture = *state;
    ends_it(fixture, "+x\r\n", false, "a reply to nothing");
    ends_it(fixture, "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n", false, "a reply to nothing");
    ends_it(fixture, "GET / HTTP/1.1\r\n", false, "Protocol error");
    assert_string_equal(fixture->order, "");
    ends_it(fixture, "+x\r\n+y\r\n", true, "a reply to nothing");
    assert_string_equal(fixture->order, "o");
    ends_it(fixture, "<html>\r\n", true, "Protocol error");
    ends_it(fixture, "*1000001\r\n", true, "elements");
    ends_it(fixture, "$-7\r\n", true, "length");
    assert_string_equal(fixture->order, "olll");
}

static void test_a_reply_without_end_ends_it(void **state)
{
    struct fixture *fixture = *state;
    static char much[1024 * 1024];
    memset(much, 'x', sizeof much);
    START(fixture, fixture->fake.url, 60000, 60000);
    assert_int_equal(ask(fixture, "GET a"), 0);
    fake_redis_say(&fixture->fake, "$9223372036854775807\r\n");
    for (int i = 0; i < 17; i++)
        fake_redis_send(&fixture->fake, much, sizeof much);
    assert_true(run_until(fixture, &fixture->downs, 1, 10000));
    assert_non_null(strstr(redis_trouble(fixture->redis), "larger than 16777216 bytes"));
    assert_string_equal(fixture->order, "l");
}

static void test_a_pong_that_is_none_ends_it(void **state)
{
    struct fixture *fixture = *state;
    fixture->fake.deaf = true;
    START(fixture, fixture->fake.url, 1000, 200);
    assert_true(run_until(fixture, &fixture->fake.pings, 1, 1000));
    fake_redis_say(&fixture->fake, ":7\r\n");
    assert_true(run_until(fixture, &fixture->downs, 1, 1000));
    assert_non_null(strstr(redis_trouble(fixture->redis), "PING was answered"));
}

static unsigned count(const char *text, const char *part)
{
    unsigned found = 0;
    for (; (text = strstr(text, part)) != NULL; text++)
        found++;
    return found;
}

/* Runs the loop with the log in `out`. */
static void run_logged(struct fixture *fixture, unsigned ms, char *out, size_t size)
{
    char path[] = "/tmp/permtab-log-XXXXXX";
    int file = mkstemp(path), before = dup(STDERR_FILENO);
    assert_true(file >= 0 && before >= 0 && dup2(file, STDERR_FILENO) >= 0);
    run_for(fixture, ms);
    (void)dup2(before, STDERR_FILENO);
    ssize_t got = pread(file, out, size - 1, 0);
    out[got < 0 ? 0 : got] = 0;
    (void)close(before);
    (void)close(file);
    (void)unlink(path);
}

/* Pauses of 50, 100, 200, 400 ms, half to one and a half of each: at 1 s it has been tried 4 to 6 times. */
static void test_comes_back_ever_more_slowly_and_says_so_once(void **state)
{
    struct fixture *fixture = *state;
    char text[4096];
    fixture->fake.hang_up = true;
    assert_int_equal(start(fixture, fixture->fake.url, 100, 1000), 0);
    run_logged(fixture, 1000, text, sizeof text);
    assert_in_range(fixture->fake.accepted, 4, 6);
    assert_int_equal(count(text, "cannot connect"), 1);
    assert_int_equal(count(text, "\n"), 1);
    fixture->fake.hang_up = false;
    run_logged(fixture, 1500, text, sizeof text);
    assert_int_equal(fixture->ups, 1);
    assert_int_equal(count(text, "info redis: connected to unix:"), 1);
    fake_redis_drop(&fixture->fake);
    fixture->fake.hang_up = true;
    run_logged(fixture, 100, text, sizeof text);
    assert_int_equal(fixture->downs, 1);
    assert_int_equal(count(text, "warning redis: the connection to unix:"), 1);
}

/* A server that lets everybody in and drops them is no reason to come back at once each time. */
static void test_a_short_connection_does_not_shorten_the_pause(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(start(fixture, fixture->fake.url, 100, 1000), 0);
    uint64_t end = clock_ms() + 1500;
    while (clock_ms() < end) {
        if (fixture->ups > fixture->downs)
            fake_redis_drop(&fixture->fake);
        run_for(fixture, 1);
    }
    assert_in_range(fixture->ups, 3, 8);
}

static void test_survives_anything(void **state)
{
    struct fixture *fixture = *state;
    struct random random = {3};
    unsigned sent = 0, told;
    for (int round = 0; round < 400; round++) {
        char bytes[64];
        START(fixture, fixture->fake.url, 1000, 1000);
        for (unsigned i = 0; i < 3; i++, sent++)
            assert_int_equal(i == 1 ? run_script(fixture, "a", "b") : ask(fixture, "GET a"), 0);
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = random_chance(&random, 80) ? "*$:+-\r\n\r\n012"[random_below(&random, 12)]
                                                  : (char)random_below(&random, 256);
        fake_redis_send(&fixture->fake, "+OK\r\n-NOSCRIPT\r\n", random_below(&random, 17));
        fake_redis_send(&fixture->fake, bytes, random_below(&random, sizeof bytes));
        run_for(fixture, 1 + (unsigned)random_below(&random, 3));
        free_redis(fixture);
        told = fixture->told[REDIS_OK] + fixture->told[REDIS_ERROR] + fixture->told[REDIS_LOST];
        assert_int_equal(told, sent);
    }
}

int main(void)
{
    if (!redis_server_installed())
        return 77;
    (void)signal(SIGPIPE, SIG_IGN); /* as the daemon does */
#define SERVER(name) cmocka_unit_test_setup_teardown(name, set_up_server, tear_down)
#define LOCKED(name) cmocka_unit_test_setup_teardown(name, set_up_locked_server, tear_down)
#define FAKE(name)   cmocka_unit_test_setup_teardown(name, set_up_fake, tear_down)
    const struct CMUnitTest tests[] = {
        SERVER(test_asks_and_is_answered),
        SERVER(test_replies_come_in_order),
        SERVER(test_bytes_come_back_as_they_went),
        SERVER(test_a_bad_command_is_not_sent),
        LOCKED(test_ways_in),
        LOCKED(test_says_why_it_is_kept_out),
        FAKE(test_a_name_that_is_none),
        FAKE(test_a_bad_address_is_refused),
        SERVER(test_a_forgotten_script_is_sent_once),
        SERVER(test_a_forgotten_script_comes_after_what_was_sent_meanwhile),
        SERVER(test_an_error_of_a_script_is_told),
        SERVER(test_an_empty_server_gets_the_scripts_again),
        SERVER(test_a_late_reply_is_thrown_away),
        FAKE(test_each_has_its_own_time),
        FAKE(test_asking_again_in_time_out_waits_its_time),
        SERVER(test_a_stopped_server_is_given_up),
        FAKE(test_silence_is_asked_about),
        FAKE(test_a_trickle_is_given_up),
        FAKE(test_a_long_queue_that_moves_is_not_given_up),
        SERVER(test_a_killed_server_is_told_and_found_again),
        SERVER(test_a_killed_client_is_back_at_once),
        SERVER(test_freed_in_a_reply),
        FAKE(test_freed_in_a_time_out),
        FAKE(test_freed_in_a_loss),
        FAKE(test_freed_when_up_and_when_down),
        FAKE(test_freed_from_outside_tells_what_is_pending),
        FAKE(test_so_many_may_be_pending),
        SERVER(test_so_much_may_be_unsent),
        FAKE(test_so_much_of_scripts_may_be_kept),
        FAKE(test_what_is_not_understood_ends_it),
        FAKE(test_a_reply_without_end_ends_it),
        FAKE(test_a_pong_that_is_none_ends_it),
        FAKE(test_comes_back_ever_more_slowly_and_says_so_once),
        FAKE(test_a_short_connection_does_not_shorten_the_pause),
        FAKE(test_survives_anything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
