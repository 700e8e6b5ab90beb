/* The queue of delayed invalidations while Redis has no memory, is emptied, or is gone in the middle of something. */
#include "tests/support/delayed_fleet.h"

/* A Redis without memory refuses what adds, and nothing that it has begun: a task may not be lost between two sets. */
static void test_no_memory(void **state)
{
    (void)state;
    fleet.options.lease_ms = 300;
    fleet_start(1);
    fleet_add("user:1 scope:server:1", "x", 200);
    (void)fleet_ask("CONFIG SET maxmemory 1");
    assert_true(fleet_until(&fleet.carried_out, 1, 3000));
    assert_true(fleet_until_empty(3000));
    (void)fleet_ask("CONFIG SET maxmemory 0");
    fleet.outcome = FAIL;
    fleet_add("user:2 scope:server:1", "x", 200);
    (void)fleet_ask("CONFIG SET maxmemory 1");
    assert_true(
        fleet_until(&fleet.carried_out, 4, 5000)); /* it cannot be put back: its lease ends, each time */
    assert_int_equal(fleet_ask("ZCARD t:delayed:queue") + fleet_ask("ZCARD t:delayed:taken"), 1);
    fleet.outcome = SUCCEED;
    assert_true(fleet_until_empty(3000));
    (void)fleet_ask("CONFIG SET maxmemory 0");
}

static void test_emptied(void **state)
{
    struct delayed_task task;
    struct delayed_when when = {0};
    (void)state;
    fleet.timeout_ms = 300;
    fleet.ping_ms = 500;
    fleet_start(2);
    fleet_add("user:1", "", 300);
    redis_server_kill(&fleet.server);
    fleet_run(100);
    fleet_fill_task(&task, "user:3", "");
    assert_int_equal(delayed_add(fleet.hosts[0].delayed, &task, &when, fleet_on_added, NULL),
                     PERMTAB_E_UNREACHABLE);
    redis_server_restart(&fleet.server);
    uint64_t end = clock_ms() + 8000 * LOOP_PATIENCE;
    while (!(redis_connected(fleet.hosts[0].redis) && redis_connected(fleet.hosts[1].redis)) &&
           clock_ms() < end)
        fleet_run(20);
    assert_int_equal(fleet.carried_out, 0); /* what Redis forgot is forgotten */
    fleet_add("user:2", "", 0);
    assert_true(fleet_until(&fleet.carried_out, 1, 3000));
    assert_int_equal(fleet.users[2], 1);
    fleet_assert_empty();
}

/* Redis is gone while a host carries something out: another does it again later. */
static void test_lost_while_busy(void **state)
{
    (void)state;
    fleet.timeout_ms = 300;
    fleet.ping_ms = 500;
    fleet_start(1);
    fleet.outcome = SLOWLY;
    fleet.slow_ms = 500;
    fleet_add("user:1", "", 0);
    assert_true(fleet_until(&fleet.carried_out, 1, 3000));
    redis_server_pause(&fleet.server);
    fleet_run(1500);
    redis_server_resume(&fleet.server);
    fleet.outcome = SUCCEED;
    assert_true(fleet_until_empty(6000));
    assert_true(fleet.users[1] >= 1);
}

/* Freed with everything under way: who waits is told. */
static void test_freed(void **state)
{
    struct delayed_task task;
    struct delayed_when when = {.due = 60000};
    struct delayed_sweep sweep = {.action = DELAYED_CANCEL, .what = {DELAYED_ALL, "all"}};
    (void)state;
    fleet_start(1);
    fleet.outcome = SLOWLY;
    fleet.slow_ms = 100;
    fleet_add("user:1", "", 0);
    fleet_add_many(1000, 60000, 3, 3);
    assert_true(fleet_until(&fleet.carried_out, 1, 3000));
    redis_server_pause(&fleet.server);
    unsigned before = fleet.replies;
    fleet_fill_task(&task, "user:3", "");
    assert_int_equal(delayed_add(fleet.hosts[0].delayed, &task, &when, fleet_on_added, NULL), 0);
    assert_int_equal(delayed_list(fleet.hosts[0].delayed, 50, fleet_on_listed, NULL), 0);
    assert_int_equal(delayed_look(fleet.hosts[0].delayed, true, fleet_on_looked, NULL), 0);
    assert_int_equal(delayed_sweep(fleet.hosts[0].delayed, &sweep, fleet_on_swept, NULL), 0);
    fleet_stop_host(&fleet.hosts[0]);
    assert_int_equal(fleet.replies, before + 4);
    assert_int_equal(fleet.code, PERMTAB_E_UNREACHABLE);
    redis_server_resume(&fleet.server);
    fleet_run(300); /* the invalidation ends after all */
    fleet_start_host(&fleet.hosts[0]);
    fleet.options.budget = 1;
    assert_int_equal(delayed_sweep(fleet.hosts[0].delayed, &sweep, fleet_on_swept, NULL), 0);
    fleet_run(20); /* pausing between two steps */
    fleet_stop_host(&fleet.hosts[0]);
    assert_int_equal(fleet.replies, before + 5);
    fleet_start_host(&fleet.hosts[0]);
    fleet.code = 0;
    sweep = (struct delayed_sweep){0};
    (void)fleet_ask("FLUSHALL");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FLEET_TEST(test_no_memory),
        FLEET_TEST(test_emptied),
        FLEET_TEST(test_lost_while_busy),
        FLEET_TEST(test_freed),
    };
    if (!redis_server_installed())
        return 77;
    return cmocka_run_group_tests(tests, fleet_start_redis, fleet_stop_redis);
}
