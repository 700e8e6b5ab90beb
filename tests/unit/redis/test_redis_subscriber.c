/* A subscription against a real server that drops it in every way, and against a fake one that lies. */
#include "proxy/redis/subscriber.h"

#include "tests/support/fake_redis.h"
#include "tests/support/loop.h"
#include "tests/support/random.h"
#include "tests/support/redis_server.h"
#include "tests/support/stopwatch.h"

#include <event2/event.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CHANNEL "permtab:invalidate"

struct fixture {
    struct redis_server server;
    struct fake_redis fake;
    struct event_base *base;
    struct redis_subscriber *subscriber;
    unsigned ups, downs, messages;
    size_t size; /* of the last message */
    char last[64];
    bool free_in_message, free_in_up, free_in_down;
};

static void free_subscriber(struct fixture *fixture)
{
    redis_subscriber_free(fixture->subscriber);
    fixture->subscriber = NULL;
}

static void on_message(void *context, const char *bytes, size_t size)
{
    struct fixture *fixture = context;
    fixture->messages++;
    fixture->size = size;
    (void)snprintf(fixture->last, sizeof fixture->last, "%.*s", (int)(size < 60 ? size : 60), bytes);
    if (fixture->free_in_message)
        free_subscriber(fixture);
}

static void on_state(void *context, bool subscribed)
{
    struct fixture *fixture = context;
    if (subscribed)
        fixture->ups++;
    else
        fixture->downs++;
    assert_true(redis_subscriber_up(fixture->subscriber) == subscribed);
    if (subscribed ? fixture->free_in_up : fixture->free_in_down)
        free_subscriber(fixture);
}

static void start_as(struct fixture *fixture, const char *url, const char *password, uint64_t ping_ms)
{
    struct redis_access access = {url, password, 100, ping_ms};
    struct redis_subscriber_options options = {fixture->base, on_message, on_state,
                                               fixture,       &access,    CHANNEL};
    struct failure failure = {0};
    if (redis_subscriber_new(&fixture->subscriber, &options, &failure) < 0)
        fail_msg("%s", failure.text);
    assert_false(redis_subscriber_up(fixture->subscriber));
}

static void start(struct fixture *fixture, const char *url, uint64_t ping_ms)
{
    start_as(fixture, url, NULL, ping_ms);
    if (!loop_until(fixture->base, &fixture->ups, fixture->ups + 1, 3000))
        fail_msg("not subscribed: %s", redis_subscriber_trouble(fixture->subscriber));
    assert_string_equal(redis_subscriber_trouble(fixture->subscriber), "");
}

static int set_up_server(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    fixture->base = event_base_new();
    redis_server_start(&fixture->server, true, NULL);
    *state = fixture;
    return 0;
}

static int set_up_fake(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    fixture->base = event_base_new();
    fake_redis_start(&fixture->fake, fixture->base);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    redis_subscriber_free(fixture->subscriber);
    if (fixture->fake.listener)
        fake_redis_stop(&fixture->fake);
    event_base_free(fixture->base);
    if (fixture->server.folder[0])
        redis_server_stop(&fixture->server);
    free(fixture);
    return 0;
}

/* ---- a real server ----------------------------------------------------------------------------------------------- */

static void test_hears_its_channel(void **state)
{
    struct fixture *fixture = *state;
    start(fixture, fixture->server.url, 1000);
    redis_server_says(&fixture->server, "PUBLISH permtab:other 1", "0");
    redis_server_says(&fixture->server, "PUBLISH " CHANNEL " user:42", "1");
    assert_true(loop_until(fixture->base, &fixture->messages, 1, 1000));
    assert_string_equal(fixture->last, "user:42");
    redis_server_says(&fixture->server, "PUBLISH " CHANNEL " \"a\\x00b\\r\\nc\"", "1");
    redis_server_says(&fixture->server, "PUBLISH " CHANNEL " \"\"", "1");
    assert_true(loop_until(fixture->base, &fixture->messages, 3, 1000));
    assert_int_equal(fixture->size, 0);
    redis_server_says(&fixture->server, "CLIENT LIST TYPE pubsub", "name=permtabd");
}

static void test_stays_in_silence(void **state)
{
    struct fixture *fixture = *state;
    start(fixture, fixture->server.url, 30);
    loop_for(fixture->base, 600);
    assert_int_equal(fixture->ups, 1);
    assert_int_equal(fixture->downs, 0);
    redis_server_says(&fixture->server, "INFO commandstats", "cmdstat_ping");
    redis_server_says(&fixture->server, "PUBLISH " CHANNEL " poke", "1");
    assert_true(loop_until(fixture->base, &fixture->messages, 1, 1000));
}

static void test_comes_back_after_each_end(void **state)
{
    struct fixture *fixture = *state;
    start(fixture, fixture->server.url, 1000);
    redis_server_says(&fixture->server, "CLIENT KILL TYPE pubsub", "1");
    assert_true(loop_until(fixture->base, &fixture->ups, 2, 1000));
    assert_int_equal(fixture->downs, 1);
    redis_server_kill(&fixture->server);
    assert_true(loop_until(fixture->base, &fixture->downs, 2, 1000));
    assert_false(redis_subscriber_up(fixture->subscriber));
    for (int i = 0; i < 100 && !strstr(redis_subscriber_trouble(fixture->subscriber), "refused"); i++)
        loop_for(fixture->base, 10);
    assert_non_null(strstr(redis_subscriber_trouble(fixture->subscriber), "Connection refused"));
    redis_server_restart(&fixture->server);
    assert_true(loop_until(fixture->base, &fixture->ups, 3, 5000));
    redis_server_says(&fixture->server, "PUBLISH " CHANNEL " poke", "1");
    assert_true(loop_until(fixture->base, &fixture->messages, 1, 1000));
}

static void test_a_stopped_server_is_given_up(void **state)
{
    struct fixture *fixture = *state;
    start(fixture, fixture->server.url, 100);
    redis_server_pause(&fixture->server);
    struct stopwatch watch;
    uint64_t begun = clock_ms();
    stopwatch_begin(&watch, 0);
    assert_true(loop_until(fixture->base, &fixture->downs, 1, 3000));
    assert_true(clock_ms() - begun >= 190);
    assert_true(stopwatch_ms(&watch) <= 2000);
    redis_server_resume(&fixture->server);
    assert_true(loop_until(fixture->base, &fixture->ups, 2, 5000));
}

/* Published while nobody reads: the server drops us, hands over what it had buffered, and closes. */
static void test_being_too_slow_is_noticed(void **state)
{
    struct fixture *fixture = *state;
    static char command[60100];
    char reply[64];
    start(fixture, fixture->server.url, 5000);
    redis_server_says(&fixture->server, "CONFIG SET client-output-buffer-limit \"pubsub 1mb 0 0\"", "OK");
    memset(command, 'x', sizeof command - 1);
    memcpy(command, "PUBLISH " CHANNEL " ", strlen("PUBLISH " CHANNEL " "));
    for (int i = 0; i < 100; i++)
        assert_true(redis_server_ask(&fixture->server, command, reply, sizeof reply));
    assert_string_equal(reply, "0");
    assert_true(loop_until(fixture->base, &fixture->downs, 1, 3000));
    assert_in_range(fixture->messages, 0, 99);
    assert_true(loop_until(fixture->base, &fixture->ups, 2, 3000));
}

static void test_says_why_it_is_kept_out(void **state)
{
    struct fixture *fixture = *state;
    char url[64];
    redis_server_says(&fixture->server, "ACL SETUSER deaf on >builder ~* resetchannels +@all", "OK");
    (void)snprintf(url, sizeof url, "redis://deaf@127.0.0.1:%u", fixture->server.port);
    start_as(fixture, url, "builder", 100);
    loop_for(fixture->base, 200);
    assert_non_null(strstr(redis_subscriber_trouble(fixture->subscriber), "SUBSCRIBE is refused: NOPERM"));
    assert_int_equal(fixture->ups + fixture->downs, 0);
}

/* ---- lies -------------------------------------------------------------------------------------------------------- */

static void ends_it(struct fixture *fixture, const char *said, const char *why)
{
    unsigned downs = fixture->downs;
    start(fixture, fixture->fake.url, 5000);
    fake_redis_say(&fixture->fake, said);
    assert_true(loop_until(fixture->base, &fixture->downs, downs + 1, 1000));
    if (!strstr(redis_subscriber_trouble(fixture->subscriber), why))
        fail_msg("%.20s: \"%s\" does not say \"%s\"", said, redis_subscriber_trouble(fixture->subscriber),
                 why);
    free_subscriber(fixture);
}

static void test_what_is_not_understood_ends_it(void **state)
{
    struct fixture *fixture = *state;
    ends_it(fixture, "*3\r\n$7\r\nmessage\r\n$5\r\nother\r\n$1\r\nx\r\n", "not asked for");
    ends_it(fixture, "*4\r\n$8\r\npmessage\r\n$1\r\n*\r\n$18\r\n" CHANNEL "\r\n$1\r\nx\r\n", "not asked for");
    ends_it(fixture, "*3\r\n$7\r\nmessage\r\n$18\r\n" CHANNEL "\r\n:1\r\n", "without a text");
    ends_it(fixture, "*3\r\n$11\r\nunsubscribe\r\n$18\r\n" CHANNEL "\r\n:0\r\n", "not asked for");
    ends_it(fixture, "*3\r\n$9\r\nsubscribe\r\n$18\r\n" CHANNEL "\r\n:1\r\n", "not asked for");
    ends_it(fixture, "*2\r\n$7\r\nmessage\r\n$18\r\n" CHANNEL "\r\n", "not asked for");
    ends_it(fixture, "*2\r\n$4\r\npong\r\n$0\r\n\r\n", "not asked for");
    ends_it(fixture, "+PONG\r\n", "not asked for");
    ends_it(fixture, "*0\r\n", "not asked for");
    ends_it(fixture, "$-1\r\n", "not asked for");
    ends_it(fixture, "-ERR go away\r\n", "go away");
    ends_it(fixture, "hello\r\n", "Protocol error");
    assert_int_equal(fixture->messages, 0);
}

static void test_a_message_has_a_size(void **state)
{
    struct fixture *fixture = *state;
    static char big[1024 * 1024 + 1];
    memset(big, 'x', sizeof big);
    start(fixture, fixture->fake.url, 5000);
    fake_redis_say(&fixture->fake, "*3\r\n$7\r\nmessage\r\n$18\r\n" CHANNEL "\r\n$1048576\r\n");
    fake_redis_send(&fixture->fake, big, 1024 * 1024);
    fake_redis_say(&fixture->fake, "\r\n");
    assert_true(loop_until(fixture->base, &fixture->messages, 1, 2000));
    assert_int_equal(fixture->size, 1024 * 1024);
    fake_redis_say(&fixture->fake, "*3\r\n$7\r\nmessage\r\n$18\r\n" CHANNEL "\r\n$1048577\r\n");
    fake_redis_send(&fixture->fake, big, 1024 * 1024 + 1);
    fake_redis_say(&fixture->fake, "\r\n");
    assert_true(loop_until(fixture->base, &fixture->downs, 1, 2000));
    assert_non_null(strstr(redis_subscriber_trouble(fixture->subscriber), "larger than 1048576"));
    assert_int_equal(fixture->messages, 1);
}

static void test_an_answer_to_ping_is_waited_for(void **state)
{
    struct fixture *fixture = *state;
    fixture->fake.deaf = true;
    start(fixture, fixture->fake.url, 150);
    for (unsigned i = 1; i <= 4; i++) {
        assert_true(loop_until(fixture->base, &fixture->fake.pings, i, 1000));
        fake_redis_say(&fixture->fake, "*2\r\n$4\r\npong\r\n$0\r\n\r\n");
    }
    assert_int_equal(fixture->downs, 0);
    assert_true(loop_until(fixture->base, &fixture->fake.pings, 5, 1000));
    uint64_t last = 0, begun = clock_ms(); /* messages are a sign of life, too */
    while (clock_ms() - begun < 700) {
        last = clock_ms();
        fake_redis_say(&fixture->fake, "*3\r\n$7\r\nmessage\r\n$18\r\n" CHANNEL "\r\n$1\r\nx\r\n");
        loop_for(fixture->base, 20);
    }
    assert_int_equal(fixture->downs, 0);
    assert_true(loop_until(fixture->base, &fixture->downs, 1, 2000));
    assert_in_range(clock_ms() - last, 295, 1500);
}

static void test_a_subscription_that_is_not_confirmed_is_none(void **state)
{
    struct fixture *fixture = *state;
    fixture->fake.mute = true;
    start_as(fixture, fixture->fake.url, NULL, 500);
    loop_for(fixture->base, 30);
    fake_redis_say(&fixture->fake, "+OK\r\n"); /* of CLIENT SETNAME */
    loop_for(fixture->base, 30);
    assert_false(redis_subscriber_up(fixture->subscriber));
    fake_redis_say(&fixture->fake, "*3\r\n$7\r\nmessage\r\n$18\r\n" CHANNEL "\r\n$1\r\nx\r\n");
    loop_for(fixture->base, 30);
    assert_int_equal(fixture->messages + fixture->ups + fixture->downs, 0);
    assert_non_null(strstr(redis_subscriber_trouble(fixture->subscriber), "not asked for"));
    assert_true(
        loop_until(fixture->base, &fixture->fake.accepted, 3, 5000)); /* one that never answers is given up */
}

static void test_freed_in_each_callback(void **state)
{
    struct fixture *fixture = *state;
    start(fixture, fixture->fake.url, 1000);
    fixture->free_in_message = true;
    for (int i = 0; i < 3; i++)
        fake_redis_say(&fixture->fake, "*3\r\n$7\r\nmessage\r\n$18\r\n" CHANNEL "\r\n$1\r\nx\r\n");
    assert_true(loop_until(fixture->base, &fixture->messages, 1, 1000));
    loop_for(fixture->base, 20);
    assert_int_equal(fixture->messages, 1);
    assert_int_equal(fixture->downs, 0);
    fixture->free_in_up = true;
    start_as(fixture, fixture->fake.url, NULL, 1000);
    assert_true(loop_until(fixture->base, &fixture->ups, 2, 1000));
    loop_for(fixture->base, 100);
    assert_null(fixture->subscriber);
    fixture->free_in_up = false;
    fixture->free_in_down = true;
    start(fixture, fixture->fake.url, 1000);
    fake_redis_drop(&fixture->fake);
    assert_true(loop_until(fixture->base, &fixture->downs, 1, 1000));
    loop_for(fixture->base, 100);
    assert_null(fixture->subscriber);
    assert_int_equal(fixture->fake.accepted, 3);
}

static void test_survives_anything(void **state)
{
    static const char *const words[] = {"*3\r\n",
                                        "*2\r\n",
                                        "$7\r\nmessage\r\n",
                                        "$18\r\n" CHANNEL "\r\n",
                                        "$4\r\npong\r\n",
                                        "$-1\r\n",
                                        ":1\r\n",
                                        "$1\r\nx\r\n",
                                        "*",
                                        "\r\n",
                                        "-ERR\r\n"};
    struct fixture *fixture = *state;
    struct random random = {5};
    for (int round = 0; round < 400; round++) {
        start(fixture, fixture->fake.url, 1000);
        for (uint64_t i = random_below(&random, 12); i > 0; i--)
            fake_redis_say(&fixture->fake, words[random_below(&random, sizeof words / sizeof *words)]);
        loop_for(fixture->base, 1 + (unsigned)random_below(&random, 3));
        free_subscriber(fixture);
    }
}

int main(void)
{
    if (!redis_server_installed())
        return 77;
    (void)signal(SIGPIPE, SIG_IGN); /* as the daemon does */
#define SERVER(name) cmocka_unit_test_setup_teardown(name, set_up_server, tear_down)
#define FAKE(name)   cmocka_unit_test_setup_teardown(name, set_up_fake, tear_down)
    const struct CMUnitTest tests[] = {
        SERVER(test_hears_its_channel),
        SERVER(test_stays_in_silence),
        SERVER(test_comes_back_after_each_end),
        SERVER(test_a_stopped_server_is_given_up),
        SERVER(test_being_too_slow_is_noticed),
        SERVER(test_says_why_it_is_kept_out),
        FAKE(test_what_is_not_understood_ends_it),
        FAKE(test_a_message_has_a_size),
        FAKE(test_an_answer_to_ping_is_waited_for),
        FAKE(test_a_subscription_that_is_not_confirmed_is_none),
        FAKE(test_freed_in_each_callback),
        FAKE(test_survives_anything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
