/* The command connection in time: replies that are late, servers that are silent or say too little. Time is that of
 * support/calm_clock.c. */
#include "tests/support/redis_caller.h"

#include <signal.h>
#include <string.h>

static void await_replies(struct redis_caller *caller)
{
    while (redis_pending(caller->redis) > 0)
        loop_turn(caller->base);
}

static void test_a_late_reply_is_thrown_away(void **state)
{
    struct redis_caller *caller = *state;
    CALLER_START(caller, caller->server.url, 60, 5000);
    redis_server_pause(&caller->server);
    uint64_t begun = clock_ms();
    assert_int_equal(caller_ask(caller, "ECHO late"), 0);
    assert_int_equal(caller_ask(caller, "ECHO later"), 0);
    assert_true(loop_until(caller->base, &caller->told[REDIS_TIMEOUT], 2, 2000));
    assert_in_range(clock_ms() - begun, 58, 200);
    assert_int_equal(redis_pending(caller->redis), 2);
    redis_server_resume(&caller->server);
    await_replies(caller);
    assert_string_equal(caller->order, "tt");
    while (caller->told[REDIS_OK] == 0) { /* the server may be late once more: it has a clock of its own */
        assert_int_equal(caller_ask(caller, "ECHO next"), 0);
        await_replies(caller);
    }
    assert_string_equal(caller->last, "next");
    assert_int_equal(caller->downs, 0);
}

static void test_each_has_its_own_time(void **state)
{
    struct redis_caller *caller = *state;
    CALLER_START(caller, caller->fake.url, 400, 5000);
    assert_int_equal(caller_ask(caller, "GET a"), 0);
    loop_for(caller->base, 200);
    assert_int_equal(caller_ask(caller, "GET b"), 0);
    loop_for(caller->base, 50);
    fake_redis_say(&caller->fake, "+A\r\n"); /* the first in time, the second never */
    loop_for(caller->base, 200);
    assert_string_equal(caller->order, "o");
    assert_string_equal(caller->last, "A");
    assert_true(loop_until(caller->base, &caller->told[REDIS_TIMEOUT], 1, 1000));
    assert_int_equal(redis_pending(caller->redis), 1);
}

static void test_asking_again_in_time_out_waits_its_time(void **state)
{
    struct redis_caller *caller = *state;
    caller->fake.deaf = true;
    caller->again = true;
    CALLER_START(caller, caller->fake.url, 50, 5000);
    assert_int_equal(caller_ask(caller, "PING"), 0);
    loop_for(caller->base, 275);
    assert_in_range(caller->told[REDIS_TIMEOUT], 3, 5);
    caller->again = false;
}

static void test_a_stopped_server_is_given_up(void **state)
{
    struct redis_caller *caller = *state;
    CALLER_START(caller, caller->server.url, 50, 100);
    redis_server_pause(&caller->server);
    uint64_t begun = clock_ms();
    assert_int_equal(caller_ask(caller, "PING"), 0);
    assert_true(loop_until(caller->base, &caller->downs, 1, 2000));
    assert_in_range(clock_ms() - begun, 195, 1500);
    assert_string_equal(caller->order, "t");
    assert_non_null(strstr(caller->why, "200 ms"));
    redis_server_resume(&caller->server);
    assert_true(loop_until(caller->base, &caller->ups, 2, 5000));
    assert_string_equal(redis_trouble(caller->redis), "");
}

static void test_silence_is_asked_about(void **state)
{
    struct redis_caller *caller = *state;
    CALLER_START(caller, caller->fake.url, 50, 100);
    loop_for(caller->base, 1050);
    assert_in_range(caller->fake.pings, 6, 11);
    assert_int_equal(redis_pending(caller->redis), 0);
    assert_int_equal(caller->downs, 0);
    caller->fake.deaf = true;
    uint64_t begun = clock_ms();
    assert_true(loop_until(caller->base, &caller->downs, 1, 2000));
    assert_in_range(clock_ms() - begun, 100, 1500);
}

/* Bytes are no sign of life: replies are. */
static void test_a_trickle_is_given_up(void **state)
{
    struct redis_caller *caller = *state;
    CALLER_START(caller, caller->fake.url, 50, 100);
    assert_int_equal(caller_ask(caller, "GET a"), 0);
    fake_redis_say(&caller->fake, "$1000\r\n");
    for (int i = 0; i < 60 && caller->downs == 0; i++) {
        fake_redis_say(&caller->fake, "x");
        loop_for(caller->base, 10);
    }
    assert_int_equal(caller->downs, 1);
    assert_non_null(strstr(caller->why, "no reply"));
}

static void test_a_long_queue_that_moves_is_not_given_up(void **state)
{
    struct redis_caller *caller = *state;
    CALLER_START(caller, caller->fake.url, 5000, 100);
    for (int i = 0; i < 50; i++)
        assert_int_equal(caller_ask(caller, "GET a"), 0);
    for (unsigned i = 0; i < 50; i++) {
        fake_redis_say(&caller->fake, "+x\r\n");
        loop_for(caller->base, 12);
    }
    assert_int_equal(caller->told[REDIS_OK], 50);
    assert_int_equal(caller->downs, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SERVER(test_a_late_reply_is_thrown_away),
        WITH_FAKE(test_each_has_its_own_time),
        WITH_FAKE(test_asking_again_in_time_out_waits_its_time),
        WITH_SERVER(test_a_stopped_server_is_given_up),
        WITH_FAKE(test_silence_is_asked_about),
        WITH_FAKE(test_a_trickle_is_given_up),
        WITH_FAKE(test_a_long_queue_that_moves_is_not_given_up),
    };
    if (!redis_server_installed())
        return 77;
    (void)signal(SIGPIPE, SIG_IGN); /* as the daemon does */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
