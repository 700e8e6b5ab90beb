/* The queue of delayed invalidations: a task is added once, whole and within limits, or its caller is told. */
#include "tests/support/delayed_fleet.h"

#include <stdio.h>
#include <string.h>

static void test_limits(void **state)
{
    struct delayed_task task;
    (void)state;
    fleet.options.queue_max = 2;
    fleet_start(1);
    fleet_add("user:1", "", 60000);
    fleet_add("user:2", "", 60000);
    fleet_fill_task(&task, "user:3", "");
    fleet_add_task(&task, 0, 0);
    assert_int_equal(fleet.code, PERMTAB_E_FULL);
    fleet_add_task(&task, 91ull * 86400000, 0);
    assert_int_equal(fleet.code, PERMTAB_E_FULL);
    assert_int_equal(fleet_sweep(DELAYED_CANCEL, "user:1"), 1);
    fleet_add_task(&task, 91ull * 86400000, 0);
    assert_int_equal(fleet.code, PERMTAB_E_LIMIT);
    assert_int_equal(fleet_sweep(DELAYED_CANCEL, "all"), 1);
    fleet_assert_empty();
}

/* All of it or nothing: with no memory Redis refuses what would write, and the transaction with it. */
static void test_transaction(void **state)
{
    struct delayed_task task;
    (void)state;
    fleet_start(1);
    fleet_fill_task(&task, "user:3 scope:server:4", "x");
    (void)fleet_ask("CONFIG SET maxmemory 1");
    fleet_add_task(&task, 0, 0);
    (void)fleet_ask("CONFIG SET maxmemory 0");
    assert_int_equal(fleet.code, PERMTAB_E_REFUSED);
    assert_non_null(strstr(fleet.text, "OOM")); /* the reason, and not that EXEC was discarded */
    assert_null(strstr(fleet.text, "EXECABORT"));
    assert_int_equal(fleet_ask("DBSIZE"), 0);
    fleet_add("user:3", "", 0);
    assert_true(fleet_until(&fleet.carried_out, 1, 3000));
    fleet_assert_empty();
}

/* A task of which the queue has the id alone was not added. */
static void test_transaction_failing_halfway(void **state)
{
    struct delayed_task task;
    (void)state;
    fleet_start(1);
    fleet_fill_task(&task, "user:3", "");
    (void)snprintf(task.id, sizeof task.id, "%s", "0123456789abcdef0123456789abcdef");
    (void)fleet_ask("SET t:delayed:task:0123456789abcdef0123456789abcdef x");
    fleet_add_task(&task, 60000, 0);
    assert_int_equal(fleet.code, PERMTAB_E_REFUSED);
    assert_non_null(strstr(fleet.text, "WRONGTYPE"));
    (void)fleet_ask("FLUSHALL");
}

/* Added once, though Redis does not answer for longer than a command may take. */
static void test_paused(void **state)
{
    struct delayed_task task;
    struct delayed_when when = {.due = 60000};
    unsigned before = fleet.replies;
    (void)state;
    fleet.timeout_ms = 300;
    fleet.ping_ms = 500;
    fleet_start(1);
    fleet_fill_task(&task, "user:3", "");
    redis_server_pause(&fleet.server);
    assert_int_equal(delayed_add(fleet.hosts[0].delayed, &task, &when, fleet_on_added, NULL), 0);
    fleet_run(700);
    assert_int_equal(fleet.replies, before);
    redis_server_resume(&fleet.server);
    assert_true(fleet_until(&fleet.replies, before + 1, 5000));
    assert_int_equal(fleet.code, 0);
    fleet_run(300);
    assert_int_equal(fleet_ask("ZCARD t:delayed:queue"), 1);
    assert_int_equal(fleet_sweep(DELAYED_CANCEL, "all"), 1);
    fleet_assert_empty();
}

/* Redis does not come back: the caller is told, with what it needs to repeat it. */
static void test_unsure(void **state)
{
    struct delayed_task task;
    struct delayed_when when = {0};
    unsigned before = fleet.replies;
    (void)state;
    fleet.timeout_ms = 300;
    fleet.ping_ms = 500;
    fleet_start(1);
    fleet_fill_task(&task, "user:3", "");
    redis_server_pause(&fleet.server);
    assert_int_equal(delayed_add(fleet.hosts[0].delayed, &task, &when, fleet_on_added, NULL), 0);
    fleet_run(20);
    redis_server_kill(&fleet.server);
    assert_true(fleet_until(&fleet.replies, before + 1, 3000));
    assert_int_equal(fleet.code, PERMTAB_E_UNREACHABLE);
    assert_int_equal(strlen(fleet.id), 32);
    redis_server_restart(&fleet.server);
}

/* The same id again is one task. */
static void test_repeated(void **state)
{
    struct delayed_task task;
    (void)state;
    fleet_start(1);
    fleet_fill_task(&task, "user:3", "");
    (void)snprintf(task.id, sizeof task.id, "0123456789abcdef0123456789abcdef");
    for (unsigned i = 0; i < 3; i++)
        fleet_add_task(&task, 300, 0);
    assert_int_equal(fleet_ask("ZCARD t:delayed:queue"), 1);
    assert_true(fleet_until(&fleet.carried_out, 1, 3000));
    fleet_run(200);
    assert_int_equal(fleet.carried_out, 1);
    fleet_assert_empty();
}

/* … also with other targets, and after it has failed: nothing of what it was before is left. */
static void test_repeated_otherwise(void **state)
{
    struct delayed_task task;
    (void)state;
    fleet_start(1);
    fleet_fill_task(&task, "user:3 scope:server:1", "first");
    (void)snprintf(task.id, sizeof task.id, "0123456789abcdef0123456789abcdef");
    (void)snprintf(task.condition, sizeof task.condition, "42 server:1 message.send");
    fleet_add_task(&task, 60000, 0);
    fleet_fill_task(&task, "user:4", "");
    (void)snprintf(task.id, sizeof task.id, "0123456789abcdef0123456789abcdef");
    fleet.outcome = FAIL;
    fleet_add_task(&task, 0, 0);
    assert_int_equal(fleet_ask("EXISTS t:delayed:by:user:3 t:delayed:by:scope:server:1"), 0);
    assert_int_equal(fleet_ask("EXISTS t:delayed:by:reason:first"), 0);
    for (unsigned i = 1; i <= 3; i++) {
        assert_true(fleet_until(&fleet.carried_out, i, 3000));
        fleet_run(100);
        if (i < 3)
            assert_int_equal(fleet_sweep(DELAYED_RUN, "user:4"), 1);
    }
    assert_int_equal(fleet.asked, 0); /* the condition is gone */
    assert_int_equal(fleet_ask("SCARD t:delayed:by:failing"), 1);
    fleet.outcome = SUCCEED;
    fleet_add_task(&task, 0, 0);
    assert_true(fleet_until(&fleet.carried_out, 4, 3000));
    fleet_assert_empty();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FLEET_TEST(test_limits),
        FLEET_TEST(test_transaction),
        FLEET_TEST(test_transaction_failing_halfway),
        FLEET_TEST(test_paused),
        FLEET_TEST(test_unsure),
        FLEET_TEST(test_repeated),
        FLEET_TEST(test_repeated_otherwise),
    };
    if (!redis_server_installed())
        return 77;
    return cmocka_run_group_tests(tests, fleet_start_redis, fleet_stop_redis);
}
