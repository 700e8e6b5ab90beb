/* The command connection and a server that lies: what is not understood ends the connection, and nothing worse. */
#include "tests/support/random.h"
#include "tests/support/redis_caller.h"

#include <signal.h>
#include <string.h>

static void ends_it(struct redis_caller *caller, const char *said, bool asked, const char *why)
{
    unsigned downs = caller->downs;
    CALLER_START(caller, caller->fake.url, 1000, 5000);
    if (asked)
        assert_int_equal(caller_ask(caller, "GET a"), 0);
    loop_for(caller->base, 5);
    fake_redis_say(&caller->fake, said);
    assert_true(loop_until(caller->base, &caller->downs, downs + 1, 2000));
    if (!strstr(caller->why, why))
        fail_msg("%.20s: \"%s\" does not say \"%s\"", said, caller->why, why);
    caller_free_redis(caller);
}

static void test_what_is_not_understood_ends_it(void **state)
{
    struct redis_caller *caller = *state;
    ends_it(caller, "+x\r\n", false, "a reply to nothing");
    ends_it(caller, "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n", false, "a reply to nothing");
    ends_it(caller, "GET / HTTP/1.1\r\n", false, "Protocol error");
    assert_string_equal(caller->order, "");
    ends_it(caller, "+x\r\n+y\r\n", true, "a reply to nothing");
    assert_string_equal(caller->order, "o");
    ends_it(caller, "<html>\r\n", true, "Protocol error");
    ends_it(caller, "*1000001\r\n", true, "elements");
    ends_it(caller, "$-7\r\n", true, "length");
    assert_string_equal(caller->order, "olll");
}

static void test_a_reply_without_end_ends_it(void **state)
{
    struct redis_caller *caller = *state;
    static char much[1024 * 1024];
    memset(much, 'x', sizeof much);
    CALLER_START(caller, caller->fake.url, 60000, 60000);
    assert_int_equal(caller_ask(caller, "GET a"), 0);
    fake_redis_say(&caller->fake, "$9223372036854775807\r\n");
    for (int i = 0; i < 17; i++)
        fake_redis_send(&caller->fake, much, sizeof much);
    assert_true(loop_until(caller->base, &caller->downs, 1, 10000));
    assert_non_null(strstr(caller->why, "larger than 16777216 bytes"));
    assert_string_equal(caller->order, "l");
}

static void test_a_pong_that_is_none_ends_it(void **state)
{
    struct redis_caller *caller = *state;
    caller->fake.deaf = true;
    CALLER_START(caller, caller->fake.url, 1000, 200);
    assert_true(loop_until(caller->base, &caller->fake.pings, 1, 1000));
    fake_redis_say(&caller->fake, ":7\r\n");
    assert_true(loop_until(caller->base, &caller->downs, 1, 1000));
    assert_non_null(strstr(caller->why, "PING was answered"));
}

static void test_survives_anything(void **state)
{
    struct redis_caller *caller = *state;
    struct random random = {3};
    unsigned sent = 0, told;
    for (int round = 0; round < 400; round++) {
        char bytes[64];
        CALLER_START(caller, caller->fake.url, 1000, 1000);
        for (unsigned i = 0; i < 3; i++, sent++)
            assert_int_equal(i == 1 ? caller_run_script(caller, "a", "b") : caller_ask(caller, "GET a"), 0);
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = random_chance(&random, 80) ? "*$:+-\r\n\r\n012"[random_below(&random, 12)]
                                                  : (char)random_below(&random, 256);
        fake_redis_send(&caller->fake, "+OK\r\n-NOSCRIPT\r\n", random_below(&random, 17));
        fake_redis_send(&caller->fake, bytes, random_below(&random, sizeof bytes));
        loop_for(caller->base, 1 + (unsigned)random_below(&random, 3));
        caller_free_redis(caller);
        told = caller->told[REDIS_OK] + caller->told[REDIS_ERROR] + caller->told[REDIS_LOST];
        assert_int_equal(told, sent);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FAKE(test_what_is_not_understood_ends_it),
        WITH_FAKE(test_a_reply_without_end_ends_it),
        WITH_FAKE(test_a_pong_that_is_none_ends_it),
        WITH_FAKE(test_survives_anything),
    };
    if (!redis_server_installed())
        return 77;
    (void)signal(SIGPIPE, SIG_IGN); /* as the daemon does */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
