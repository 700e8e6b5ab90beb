/* The command connection: how it comes in, why it is kept out, how it ends and comes back; and that it may be freed
 * in each of its callbacks. */
#include "tests/support/redis_caller.h"
#include "tests/support/stopwatch.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- coming in ---- */

static void is_let_in(struct redis_caller *caller, const char *url, const char *seen)
{
    CALLER_START(caller, url, 1000, 1000);
    redis_server_says(&caller->server, "CLIENT LIST", seen);
    caller_free_redis(caller);
}

static void test_ways_in(void **state)
{
    struct redis_caller *caller = *state;
    char url[160];
    redis_server_says(&caller->server, "ACL SETUSER bob on >builder ~* &* +@all", "OK");
    (void)snprintf(url, sizeof url, "redis://127.0.0.1:%u/3", caller->server.port);
    is_let_in(caller, url, "db=3");
    (void)snprintf(url, sizeof url, "redis://localhost:%u", caller->server.port);
    is_let_in(caller, url, "name=permtabd");
    (void)snprintf(url, sizeof url, "%s?db=5", caller->server.url);
    is_let_in(caller, url, "db=5");
    redis_server_says(&caller->server, "CLIENT LIST", "user=default");
    struct redis_access access = {url, "builder", 1000, 1000};
    struct redis_options options = {caller->base, caller_on_state, caller, &access};
    (void)snprintf(url, sizeof url, "redis://bob@127.0.0.1:%u", caller->server.port);
    assert_int_equal(redis_new(&caller->redis, &options, NULL), 0);
    assert_true(loop_until(caller->base, &caller->ups, 4, 3000));
    redis_server_says(&caller->server, "CLIENT LIST", "user=bob");
}

static void stays_out(struct redis_caller *caller, const char *url, const char *password, const char *why)
{
    struct redis_access access = {url, password, 200, 100};
    struct redis_options options = {caller->base, caller_on_state, caller, &access};
    assert_int_equal(redis_new(&caller->redis, &options, NULL), 0);
    loop_for(caller->base, 300);
    caller_await_trouble(caller, why);
    assert_int_equal(caller->ups + caller->downs, 0);
    assert_int_equal(caller_ask(caller, "PING"), PERMTAB_E_UNREACHABLE);
    caller_free_redis(caller);
}

static void test_says_why_it_is_kept_out(void **state)
{
    struct redis_caller *caller = *state;
    char url[160], why[160];
    redis_server_says(&caller->server, "ACL SETUSER mute on >builder ~* +@all -script", "OK");
    (void)snprintf(url, sizeof url, "%s?db=500", caller->server.url);
    stays_out(caller, caller->server.url, NULL, "CLIENT SETNAME is refused: NOAUTH");
    stays_out(caller, caller->server.url, "wrong", "AUTH is refused: WRONGPASS");
    stays_out(caller, url, caller->server.password, "SELECT is refused: ERR DB index is out of range");
    (void)snprintf(url, sizeof url, "redis://mute@127.0.0.1:%u", caller->server.port);
    (void)snprintf(why, sizeof why, "SCRIPT LOAD of %s is refused: NOPERM", redis_scripts[0].name);
    stays_out(caller, url, "builder", why);
    stays_out(caller, "unix:/nonexistent/redis.sock", NULL, "No such file");
    stays_out(caller, "redis://127.0.0.1:1", NULL, "Connection refused");
    stays_out(caller, "redis://[::1%x]:1", NULL, "::1%x");
}

/* Whether the name servers say no or nothing depends on where this runs; that the loop goes on does not. */
static void test_a_name_that_is_none(void **state)
{
    struct redis_caller *caller = *state;
    stays_out(caller, "redis://no-such-host.invalid:1", NULL, "no-such-host.invalid");
    for (int i = 0; i < 5; i++) { /* freed in the middle */
        struct redis_access access = {"redis://no-such-host.invalid:1", NULL, 100, 10000};
        struct redis_options options = {caller->base, caller_on_state, caller, &access};
        assert_int_equal(redis_new(&caller->redis, &options, NULL), 0);
        loop_for(caller->base, 3);
        caller_free_redis(caller);
    }
    loop_for(caller->base, 50);
}

static void test_a_bad_address_is_refused(void **state)
{
    struct redis_caller *caller = *state;
    struct failure failure = {0};
    struct redis_access access = {"redis:nowhere", "secret", 100, 100};
    struct redis_options options = {caller->base, caller_on_state, caller, &access};
    assert_int_equal(redis_new(&caller->redis, &options, &failure), PERMTAB_E_INVALID);
    assert_null(caller->redis);
    assert_non_null(strstr(failure.text, "redis:nowhere"));
}

/* ---- ends ---- */

static void test_a_killed_server_is_told_and_found_again(void **state)
{
    struct redis_caller *caller = *state;
    CALLER_START(caller, caller->server.url, 1000, 1000);
    assert_int_equal(caller_ask(caller, "DEBUG SLEEP 5"), 0);
    assert_int_equal(caller_ask(caller, "PING"), 0);
    assert_int_equal(caller_run_script(caller, "a", "b"), 0);
    loop_for(caller->base, 20);
    redis_server_kill(&caller->server);
    assert_true(loop_until(caller->base, &caller->downs, 1, 1000));
    assert_string_equal(caller->order, "lll");
    assert_int_equal(redis_pending(caller->redis), 0);
    assert_false(redis_connected(caller->redis));
    assert_int_equal(caller_ask(caller, "PING"), PERMTAB_E_UNREACHABLE);
    loop_for(caller->base, 200);
    caller_await_trouble(caller, "Connection refused");
    redis_server_restart(&caller->server);
    assert_true(loop_until(caller->base, &caller->ups, 2, 5000));
    assert_int_equal(caller->downs, 1);
}

static void test_a_killed_client_is_back_at_once(void **state)
{
    struct redis_caller *caller = *state;
    CALLER_START(caller, caller->server.url, 1000, 1000);
    redis_server_says(&caller->server, "CLIENT KILL TYPE normal", "1");
    assert_true(loop_until(caller->base, &caller->downs, 1, 1000));
    struct stopwatch watch;
    stopwatch_begin(&watch, caller->server.pid);
    assert_true(loop_until(caller->base, &caller->ups, 2, 1000));
    assert_true(stopwatch_ms(&watch) <= 500);
}

static void test_freed_in_a_reply(void **state)
{
    struct redis_caller *caller = *state;
    CALLER_START(caller, caller->server.url, 1000, 1000);
    caller->free_in_done = true;
    for (int i = 0; i < 5; i++)
        assert_int_equal(caller_ask(caller, "PING"), 0);
    assert_int_equal(caller_run_script(caller, "a", "b"), 0);
    assert_true(loop_until(caller->base, &caller->told[REDIS_OK], 1, 1000));
    loop_for(caller->base, 20);
    assert_string_equal(caller->order, "olllll");
    assert_int_equal(caller->downs, 0);
}

static void test_freed_in_a_time_out(void **state)
{
    struct redis_caller *caller = *state;
    CALLER_START(caller, caller->fake.url, 30, 1000);
    caller->free_in_done = true;
    assert_int_equal(caller_ask(caller, "GET a"), 0);
    assert_int_equal(caller_ask(caller, "GET a"), 0);
    assert_true(loop_until(caller->base, &caller->told[REDIS_TIMEOUT], 1, 1000));
    loop_for(caller->base, 50);
    assert_string_equal(caller->order, "tl");
}

static void test_freed_in_a_loss(void **state)
{
    struct redis_caller *caller = *state;
    CALLER_START(caller, caller->fake.url, 1000, 1000);
    caller->free_in_done = true;
    for (int i = 0; i < 3; i++)
        assert_int_equal(caller_ask(caller, "GET a"), 0);
    loop_for(caller->base, 5);
    fake_redis_drop(&caller->fake);
    assert_true(loop_until(caller->base, &caller->told[REDIS_LOST], 3, 1000));
    loop_for(caller->base, 100);
    assert_int_equal(caller->downs, 0);
    assert_int_equal(caller->fake.accepted, 1);
}

static void test_freed_when_up_and_when_down(void **state)
{
    struct redis_caller *caller = *state;
    caller->free_in_up = true;
    assert_int_equal(caller_start(caller, caller->fake.url, 1000, 1000), 0);
    assert_true(loop_until(caller->base, &caller->ups, 1, 1000));
    loop_for(caller->base, 20);
    assert_null(caller->redis);
    caller->free_in_up = false;
    caller->free_in_down = true;
    CALLER_START(caller, caller->fake.url, 1000, 1000);
    fake_redis_drop(&caller->fake);
    assert_true(loop_until(caller->base, &caller->downs, 1, 1000));
    loop_for(caller->base, 100);
    assert_null(caller->redis);
    assert_int_equal(caller->fake.accepted, 2);
}

static void test_freed_from_outside_tells_what_is_pending(void **state)
{
    struct redis_caller *caller = *state;
    CALLER_START(caller, caller->fake.url, 1000, 1000);
    assert_int_equal(caller_ask(caller, "GET a"), 0);
    assert_int_equal(caller_ask(caller, "GET a"), 0);
    caller_free_redis(caller);
    assert_string_equal(caller->order, "ll");
    assert_int_equal(caller->downs, 0);
}

/* ---- coming back ---- */

static unsigned count(const char *text, const char *part)
{
    unsigned found = 0;
    for (; (text = strstr(text, part)) != NULL; text++)
        found++;
    return found;
}

/* Runs the loop with the log in `out`. */
static void run_logged(struct redis_caller *caller, unsigned ms, char *out, size_t size)
{
    char path[] = "/tmp/permtab-log-XXXXXX";
    int file = mkstemp(path), before = dup(STDERR_FILENO);
    assert_true(file >= 0 && before >= 0 && dup2(file, STDERR_FILENO) >= 0);
    loop_for(caller->base, ms);
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
    struct redis_caller *caller = *state;
    char text[4096];
    caller->fake.hang_up = true;
    assert_int_equal(caller_start(caller, caller->fake.url, 100, 1000), 0);
    run_logged(caller, 1000, text, sizeof text);
    assert_in_range(caller->fake.accepted, 4, 6);
    assert_int_equal(count(text, "cannot connect"), 1);
    assert_int_equal(count(text, "\n"), 1);
    caller->fake.hang_up = false;
    run_logged(caller, 1500, text, sizeof text);
    assert_int_equal(caller->ups, 1);
    assert_int_equal(count(text, "info redis: connected to unix:"), 1);
    fake_redis_drop(&caller->fake);
    caller->fake.hang_up = true;
    run_logged(caller, 100, text, sizeof text);
    assert_int_equal(caller->downs, 1);
    assert_int_equal(count(text, "warning redis: the connection to unix:"), 1);
}

/* A server that lets everybody in and drops them is no reason to come back at once each time. */
static void test_a_short_connection_does_not_shorten_the_pause(void **state)
{
    struct redis_caller *caller = *state;
    assert_int_equal(caller_start(caller, caller->fake.url, 100, 1000), 0);
    uint64_t end = clock_ms() + 1500;
    while (clock_ms() < end) {
        if (caller->ups > caller->downs)
            fake_redis_drop(&caller->fake);
        loop_for(caller->base, 1);
    }
    assert_in_range(caller->ups, 3, 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_LOCKED_SERVER(test_ways_in),
        WITH_LOCKED_SERVER(test_says_why_it_is_kept_out),
        WITH_FAKE(test_a_name_that_is_none),
        WITH_FAKE(test_a_bad_address_is_refused),
        WITH_SERVER(test_a_killed_server_is_told_and_found_again),
        WITH_SERVER(test_a_killed_client_is_back_at_once),
        WITH_SERVER(test_freed_in_a_reply),
        WITH_FAKE(test_freed_in_a_time_out),
        WITH_FAKE(test_freed_in_a_loss),
        WITH_FAKE(test_freed_when_up_and_when_down),
        WITH_FAKE(test_freed_from_outside_tells_what_is_pending),
        WITH_FAKE(test_comes_back_ever_more_slowly_and_says_so_once),
        WITH_FAKE(test_a_short_connection_does_not_shorten_the_pause),
    };
    if (!redis_server_installed())
        return 77;
    (void)signal(SIGPIPE, SIG_IGN); /* as the daemon does */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
