/* The command connection: what is asked is answered in order and byte by byte, a script that the server has forgotten
 * is sent again, and so much may be under way. */
#include "tests/support/redis_caller.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

/* ---- asking ---- */

static void test_asks_and_is_answered(void **state)
{
    struct redis_caller *caller = *state;
    assert_int_equal(caller_start(caller, caller->server.url, 1000, 1000), 0);
    assert_false(redis_connected(caller->redis));
    assert_string_equal(redis_trouble(caller->redis), "not connected yet");
    assert_int_equal(caller_ask(caller, "PING"), PERMTAB_E_UNREACHABLE);
    assert_true(loop_until(caller->base, &caller->ups, 1, 2000));
    assert_string_equal(redis_trouble(caller->redis), "");
    assert_int_equal(caller_ask(caller, "SET a 1"), 0);
    assert_int_equal(caller_ask(caller, "INCR a"), 0);
    assert_int_equal(redis_pending(caller->redis), 2);
    assert_int_equal(caller->told[REDIS_OK], 0);
    assert_true(loop_until(caller->base, &caller->told[REDIS_OK], 2, 2000));
    assert_string_equal(caller->last, "2");
    assert_int_equal(redis_pending(caller->redis), 0);
    assert_int_equal(caller_ask(caller, "LPUSH a 1"), 0);
    assert_true(loop_until(caller->base, &caller->told[REDIS_ERROR], 1, 2000));
    assert_non_null(strstr(caller->last, "WRONGTYPE"));
    assert_int_equal(redis_send(caller->redis, &caller->args, NULL, NULL), 0); /* nobody to tell */
    redis_server_says(&caller->server, "CLIENT LIST", "name=permtabd");
}

/* Each reply is one more than the one before. */
static void on_next(void *context, enum redis_status status, const struct redis_reply *reply)
{
    struct redis_caller *caller = context;
    uint64_t number = 0;
    assert_true(redis_reply_u64(reply, &number));
    assert_int_equal(number, caller->number + 1);
    caller->number = number;
    caller->told[status]++;
}

static void test_replies_come_in_order(void **state)
{
    struct redis_caller *caller = *state;
    CALLER_START(caller, caller->server.url, 5000, 1000);
    for (unsigned sent = 0; sent < 50000; sent++) {
        redis_args_clear(&caller->args);
        redis_args_text(&caller->args, "INCR");
        redis_args_text(&caller->args, "n");
        assert_int_equal(redis_send(caller->redis, &caller->args, on_next, caller), 0);
    }
    assert_true(loop_until(caller->base, &caller->told[REDIS_OK], 50000, 10000));
    assert_int_equal(redis_pending(caller->redis), 0);
}

static void test_bytes_come_back_as_they_went(void **state)
{
    struct redis_caller *caller = *state;
    static char big[3 * 1024 * 1024];
    CALLER_START(caller, caller->server.url, 5000, 1000);
    for (size_t i = 0; i < sizeof big; i++)
        big[i] = (char)(i * 7 + i / 251);
    redis_args_clear(&caller->args);
    redis_args_text(&caller->args, "SET");
    redis_args_bytes(&caller->args, "k\0\r\n", 4);
    redis_args_bytes(&caller->args, big, sizeof big);
    assert_int_equal(redis_send(caller->redis, &caller->args, caller_on_done, caller), 0);
    redis_args_clear(&caller->args);
    redis_args_text(&caller->args, "STRLEN");
    redis_args_bytes(&caller->args, "k\0\r\n", 4);
    assert_int_equal(redis_send(caller->redis, &caller->args, caller_on_done, caller), 0);
    assert_true(loop_until(caller->base, &caller->told[REDIS_OK], 2, 5000));
    assert_string_equal(caller->last, "3145728");
    redis_server_says(&caller->server, "DBSIZE", "1");
}

static void test_a_bad_command_is_not_sent(void **state)
{
    struct redis_caller *caller = *state;
    CALLER_START(caller, caller->server.url, 1000, 1000);
    redis_args_clear(&caller->args);
    assert_int_equal(redis_send(caller->redis, &caller->args, caller_on_done, caller), PERMTAB_E_INVALID);
    redis_args_bytes(&caller->args, "x", SIZE_MAX);
    assert_int_equal(redis_send(caller->redis, &caller->args, caller_on_done, caller), PERMTAB_E_MEMORY);
    assert_int_equal(
        redis_run(caller->redis, redis_script("lock_release"), 0, &caller->args, caller_on_done, caller),
        PERMTAB_E_MEMORY);
    assert_int_equal(redis_pending(caller->redis), 0);
    assert_int_equal(caller_ask(caller, "PING"), 0);
    assert_true(loop_until(caller->base, &caller->told[REDIS_OK], 1, 2000));
    assert_string_equal(caller->last, "PONG");
}

/* ---- transactions ---- */

/* Two commands as one, whose words are divided by blanks, and what becomes of them. */
static void transact(struct redis_caller *caller, const char *first, const char *second, redis_done_fn done,
                     enum redis_status status)
{
    const char *const texts[] = {first, second};
    struct redis_args commands[2];
    unsigned before = caller->told[status];
    for (size_t i = 0; i < 2; i++) {
        char text[64], *rest = text;
        (void)snprintf(text, sizeof text, "%s", texts[i]);
        redis_args_init(&commands[i]);
        for (char *word; (word = strsep(&rest, " ")) != NULL;)
            redis_args_text(&commands[i], word);
    }
    assert_int_equal(redis_transaction(caller->redis, commands, 2, done, caller), 0);
    for (size_t i = 0; i < 2; i++)
        redis_args_fini(&commands[i]);
    assert_true(loop_until(caller->base, &caller->told[status], before + 1, 2000));
    assert_int_equal(redis_pending(caller->redis), 0);
}

static void test_a_transaction_says_why_it_was_refused(void **state)
{
    struct redis_caller *caller = *state;
    CALLER_START(caller, caller->server.url, 1000, 1000);
    transact(caller, "SET a 1", "INCR n", caller_on_done, REDIS_OK);
    redis_server_says(&caller->server, "GET n", "1");
    redis_server_says(&caller->server, "CONFIG SET maxmemory 1", "OK");
    transact(caller, "INCR n", "DEL a", caller_on_done, REDIS_ERROR);
    assert_memory_equal(caller->last, "OOM ", 4);
    redis_server_says(&caller->server, "CONFIG SET maxmemory 0", "OK");
    redis_server_says(&caller->server, "EXISTS a", "1");
    transact(caller, "INCR n", "NOSUCH a", caller_on_done, REDIS_ERROR);
    assert_non_null(strstr(caller->last, "unknown command 'NOSUCH'"));
    redis_server_says(&caller->server, "GET n", "1");
}

/* Keeps the words of the second reply of EXEC. */
static void on_executed(void *context, enum redis_status status, const struct redis_reply *reply)
{
    struct redis_caller *caller = context;
    const struct redis_reply *second = redis_reply_at(reply, 1);
    assert_int_equal(redis_reply_count(reply), 2);
    assert_int_equal(redis_reply_kind(second), REDIS_REFUSAL);
    (void)snprintf(caller->last, sizeof caller->last, "%s", redis_reply_text(second, NULL));
    caller->told[status]++;
}

static void test_a_command_that_fails_within_is_told(void **state)
{
    struct redis_caller *caller = *state;
    CALLER_START(caller, caller->server.url, 1000, 1000);
    redis_server_says(&caller->server, "SET a 1", "OK");
    transact(caller, "INCR n", "LPUSH a 1", on_executed, REDIS_OK);
    assert_memory_equal(caller->last, "WRONGTYPE", 9);
    redis_server_says(&caller->server, "GET n", "1");
}

static void test_a_transaction_that_is_lost_is_told_once(void **state)
{
    struct redis_caller *caller = *state;
    struct redis_args command;
    CALLER_START(caller, caller->server.url, 100, 1000);
    redis_args_init(&command);
    redis_args_text(&command, "PING");
    redis_server_pause(&caller->server);
    assert_int_equal(redis_transaction(caller->redis, &command, 1, caller_on_done, caller), 0);
    assert_true(loop_until(caller->base, &caller->told[REDIS_TIMEOUT], 1, 2000));
    redis_server_resume(&caller->server);
    assert_int_equal(caller_ask(caller, "PING"), 0);
    assert_true(loop_until(caller->base, &caller->told[REDIS_OK], 1, 2000));
    assert_int_equal(redis_transaction(caller->redis, &command, 1, caller_on_done, caller), 0);
    redis_server_kill(&caller->server);
    assert_true(loop_until(caller->base, &caller->told[REDIS_LOST], 1, 2000));
    redis_args_fini(&command);
    assert_string_equal(caller->order, "tol");
}

/* ---- scripts ---- */

static void test_a_forgotten_script_is_sent_once(void **state)
{
    struct redis_caller *caller = *state;
    CALLER_START(caller, caller->server.url, 1000, 1000);
    redis_server_says(&caller->server, "SET lock me", "OK");
    assert_int_equal(caller_run_script(caller, "lock", "you"), 0);
    assert_true(loop_until(caller->base, &caller->told[REDIS_OK], 1, 2000));
    assert_string_equal(caller->last, "0");
    redis_server_says(&caller->server, "SCRIPT FLUSH", "OK");
    assert_int_equal(caller_run_script(caller, "lock", "me"), 0);
    assert_true(loop_until(caller->base, &caller->told[REDIS_OK], 2, 2000));
    assert_string_equal(caller->last, "1");
    redis_server_says(&caller->server, "EXISTS lock", "0");
    assert_int_equal(caller_run_script(caller, "lock", "me"), 0);
    assert_true(loop_until(caller->base, &caller->told[REDIS_OK], 3, 2000));
    assert_string_equal(caller->order, "ooo");
    redis_server_says(&caller->server, "INFO commandstats", "cmdstat_eval:calls=1,");
    redis_server_says(&caller->server, "INFO commandstats", "cmdstat_evalsha:calls=3,");
    assert_int_equal(redis_pending(caller->redis), 0);
}

static void test_a_forgotten_script_comes_after_what_was_sent_meanwhile(void **state)
{
    struct redis_caller *caller = *state;
    CALLER_START(caller, caller->server.url, 1000, 1000);
    redis_server_says(&caller->server, "SCRIPT FLUSH", "OK");
    redis_server_says(&caller->server, "SET lock me", "OK");
    assert_int_equal(caller_run_script(caller, "lock", "me"), 0);
    assert_int_equal(caller_ask(caller, "LPUSH lock 1"), 0); /* an error: it is still there, and a text */
    assert_true(loop_until(caller->base, &caller->told[REDIS_OK], 1, 2000));
    assert_string_equal(caller->order, "eo");
    assert_string_equal(caller->last, "1");
}

static void test_an_error_of_a_script_is_told(void **state)
{
    static const struct redis_script ours = {"ours", "return redis.error_reply('NOSCRIPT it says')"};
    struct redis_caller *caller = *state;
    CALLER_START(caller, caller->server.url, 1000, 1000);
    redis_server_says(&caller->server, "LPUSH list 1", "1");
    assert_int_equal(caller_run_script(caller, "list", "me"), 0);
    assert_true(loop_until(caller->base, &caller->told[REDIS_ERROR], 1, 2000));
    assert_non_null(strstr(caller->last, "WRONGTYPE"));
    redis_args_clear(&caller->args); /* one that is not compiled in: by its text, and once */
    assert_int_equal(redis_run(caller->redis, &ours, 0, &caller->args, caller_on_done, caller), 0);
    assert_true(loop_until(caller->base, &caller->told[REDIS_ERROR], 2, 2000));
    assert_non_null(strstr(caller->last, "it says"));
    assert_int_equal(redis_pending(caller->redis), 0);
}

static void test_an_empty_server_gets_the_scripts_again(void **state)
{
    struct redis_caller *caller = *state;
    CALLER_START(caller, caller->server.url, 1000, 1000);
    redis_server_restart(&caller->server);
    assert_true(loop_until(caller->base, &caller->ups, 2, 3000));
    assert_int_equal(caller->downs, 1);
    assert_int_equal(caller_run_script(caller, "lock", "me"), 0);
    assert_true(loop_until(caller->base, &caller->told[REDIS_OK], 1, 2000));
    redis_server_says(&caller->server, "INFO commandstats", "cmdstat_evalsha:calls=1,");
}

/* ---- limits ---- */

static void test_so_many_may_be_pending(void **state)
{
    struct redis_caller *caller = *state;
    unsigned accepted = 0;
    int code;
    CALLER_START(caller, caller->fake.url, 60000, 60000);
    redis_args_clear(&caller->args);
    redis_args_text(&caller->args, "GET");
    while ((code = redis_send(caller->redis, &caller->args, caller_on_done, caller)) == 0)
        accepted++;
    assert_int_equal(code, PERMTAB_E_FULL);
    assert_int_equal(accepted, 65536);
    assert_int_equal(caller_run_script(caller, "a", "b"), PERMTAB_E_FULL);
    assert_true(loop_until(caller->base, &caller->fake.commands, 65536, 20000));
    fake_redis_say(&caller->fake, "+x\r\n");
    assert_true(loop_until(caller->base, &caller->told[REDIS_OK], 1, 1000));
    assert_int_equal(redis_send(caller->redis, &caller->args, caller_on_done, caller), 0);
}

static void test_so_much_may_be_unsent(void **state)
{
    struct redis_caller *caller = *state;
    static char big[1024 * 1024];
    unsigned accepted = 0;
    int code;
    CALLER_START(caller, caller->server.url, 60000, 60000);
    redis_server_pause(&caller->server);
    redis_args_clear(&caller->args);
    redis_args_text(&caller->args, "ECHO");
    redis_args_bytes(&caller->args, big, sizeof big);
    while ((code = redis_send(caller->redis, &caller->args, caller_on_done, caller)) == 0) {
        loop_for(caller->base, 2);
        assert_true(++accepted < 30);
    }
    assert_int_equal(code, PERMTAB_E_FULL);
    assert_in_range(accepted, 15, 20);
    assert_int_equal(caller->downs, 0);
    redis_server_resume(&caller->server);
    assert_true(loop_until(caller->base, &caller->told[REDIS_OK], accepted, 5000));
}

/* Only so much is kept of scripts that were sent, in case the server has forgotten them. */
static void test_so_much_of_scripts_may_be_kept(void **state)
{
    struct redis_caller *caller = *state;
    static char big[1024 * 1024];
    unsigned accepted = 0;
    int code;
    CALLER_START(caller, caller->fake.url, 60000, 60000);
    redis_args_clear(&caller->args);
    redis_args_bytes(&caller->args, big, sizeof big);
    while ((code = redis_run(caller->redis, redis_script("lock_release"), 1, &caller->args, caller_on_done,
                             caller)) == 0) {
        assert_true(loop_until(caller->base, &caller->fake.commands, ++accepted, 2000)); /* sent, and read */
        assert_true(accepted < 30);
    }
    assert_int_equal(code, PERMTAB_E_FULL);
    assert_in_range(accepted, 14, 16);
    fake_redis_say(&caller->fake, ":1\r\n:1\r\n");
    assert_true(loop_until(caller->base, &caller->told[REDIS_OK], 2, 2000));
    assert_int_equal(
        redis_run(caller->redis, redis_script("lock_release"), 1, &caller->args, caller_on_done, caller), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SERVER(test_asks_and_is_answered),
        WITH_SERVER(test_replies_come_in_order),
        WITH_SERVER(test_bytes_come_back_as_they_went),
        WITH_SERVER(test_a_bad_command_is_not_sent),
        WITH_SERVER(test_a_transaction_says_why_it_was_refused),
        WITH_SERVER(test_a_command_that_fails_within_is_told),
        WITH_SERVER(test_a_transaction_that_is_lost_is_told_once),
        WITH_SERVER(test_a_forgotten_script_is_sent_once),
        WITH_SERVER(test_a_forgotten_script_comes_after_what_was_sent_meanwhile),
        WITH_SERVER(test_an_error_of_a_script_is_told),
        WITH_SERVER(test_an_empty_server_gets_the_scripts_again),
        WITH_FAKE(test_so_many_may_be_pending),
        WITH_SERVER(test_so_much_may_be_unsent),
        WITH_FAKE(test_so_much_of_scripts_may_be_kept),
    };
    if (!redis_server_installed())
        return 77;
    (void)signal(SIGPIPE, SIG_IGN); /* as the daemon does */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
