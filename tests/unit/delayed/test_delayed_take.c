/* The queue of delayed invalidations: what is due is taken by exactly one host and carried out, or put back:
 * because it failed, because its condition does not hold yet, because its host is gone. */
#include "tests/support/delayed_fleet.h"
#include "tests/support/stopwatch.h"

#include <stdio.h>
#include <string.h>

static void test_when_due(void **state)
{
    (void)state;
    fleet_start(1);
    struct stopwatch watch;
    uint64_t begun = clock_ms();
    stopwatch_begin(&watch, fleet.server.pid);
    fleet_add("user:42", "it ended", 400);
    assert_int_equal(strlen(fleet.id), 32);
    fleet_list();
    assert_int_equal(fleet.rows, 1);
    assert_string_equal(fleet.row_targets, "user:42");
    assert_false(fleet.row_taken);
    assert_true(fleet_until(&fleet.carried_out, 1, 3000));
    assert_true(clock_ms() - begun >= 395);
    assert_true(stopwatch_ms(&watch) <= 600);
    assert_string_equal(fleet.last_reason, "it ended");
    fleet_assert_empty();
    const struct counters *counters = &fleet.hosts[0].counters;
    assert_int_equal(counters->delayed_added, 1);
    assert_int_equal(counters->delayed_taken, 1);
    assert_int_equal(counters->delayed_done, 1);
    assert_int_equal(counters->delayed_late, 0);
    assert_int_equal(delayed_minute(fleet.hosts[0].delayed, DELAYED_done), 1);
}

/* Each by exactly one host, and all hosts take part. */
static void test_exactly_one_host(void **state)
{
    (void)state;
    fleet.options.lease_ms = 30000;
    fleet_start(FLEET_HOSTS);
    fleet_add_many(2000, 1500, 10, 3);
    assert_true(fleet_until(&fleet.carried_out, 2000, 20000));
    fleet_run(300);
    assert_int_equal(fleet.carried_out, 2000);
    for (unsigned i = 0; i < 2000; i++)
        assert_int_equal(fleet.users[i], 1);
    unsigned busy = 0;
    for (unsigned i = 0; i < FLEET_HOSTS; i++)
        busy += fleet.hosts[i].carried_out > 0;
    assert_true(busy > 1);
    fleet_assert_empty();
}

/* A host that takes tasks and dies, and one that is only slow. */
static void test_dead_host(void **state)
{
    (void)state;
    fleet.options.lease_ms = 2500;
    fleet_start(1);
    fleet.outcome = NEVER;
    fleet_add("user:1", "", 0);
    fleet_add("user:2", "", 0);
    assert_true(fleet_until(&fleet.carried_out, 2, 3000));
    fleet_list();
    assert_int_equal(fleet.rows, 2);
    assert_true(fleet.row_taken);
    fleet_stop_host(&fleet.hosts[0]);
    fleet.outcome = SUCCEED;
    fleet_start_host(&fleet.hosts[1]);
    fleet_run(200);
    assert_int_equal(fleet.carried_out, 2); /* the lease holds */
    assert_true(fleet_until(&fleet.carried_out, 4, 3000));
    assert_int_equal(fleet.users[1], 2);
    assert_int_equal(fleet.users[2], 2);
    assert_int_equal(fleet.hosts[1].counters.delayed_returned, 2);
    fleet_assert_empty();
}

static void test_slow_host_keeps_its_lease(void **state)
{
    (void)state;
    fleet.options.lease_ms = 1500;
    fleet_start(2);
    fleet.outcome = SLOWLY;
    fleet.slow_ms = 4000;
    fleet_add("user:1", "", 0);
    assert_true(fleet_until(&fleet.carried_out, 1, 3000));
    fleet_run(4300);
    assert_int_equal(fleet.carried_out, 1);
    fleet_assert_empty();
}

/* A host is not heard about a task whose lease it has lost. */
static void test_lost_lease(void **state)
{
    char text[64];
    (void)state;
    fleet.options.lease_ms = 2500;
    fleet_start(1);
    fleet.outcome = SLOWLY;
    fleet.slow_ms = 300;
    fleet_add("user:1", "", 0);
    assert_true(fleet_until(&fleet.carried_out, 1, 3000));
    char command[128];
    (void)snprintf(command, sizeof command, "HSET t:delayed:task:%s owner another:1", fleet.id);
    assert_int_equal(fleet_ask(command), 0);
    fleet_run(400);
    assert_int_equal(fleet_ask("ZCARD t:delayed:taken"), 1); /* the other's still */
    assert_int_equal(fleet.hosts[0].counters.delayed_done, 0);
    assert_true(redis_server_ask(&fleet.server, "SCARD t:delayed:by:user:1", text, sizeof text));
    assert_string_equal(text, "1");
    assert_true(fleet_until(&fleet.carried_out, 2, 3000)); /* the other does not renew it */
    fleet.outcome = FAIL;
    (void)snprintf(command, sizeof command, "HSET t:delayed:task:%s owner another:2", fleet.id);
    assert_int_equal(fleet_ask(command), 0);
    fleet_run(400);
    assert_int_equal(fleet_ask("ZCARD t:delayed:taken"), 1); /* nor is it put back under the other */
    assert_int_equal(fleet.hosts[0].counters.delayed_failed, 0);
    fleet.outcome = SUCCEED;
    assert_true(fleet_until(&fleet.carried_out, 3, 3000));
    fleet_assert_empty();
}

static void test_pace(void **state)
{
    (void)state;
    fleet.options.a_second = 100;
    fleet_start(1);
    fleet_add_many(300, 0, 1, 1);
    unsigned soon = fleet.carried_out; /* the first burst, and what the pace gave while adding */
    assert_true(soon < 200);
    fleet_run(500);
    assert_in_range(fleet.carried_out, soon + 20, soon + 130);
    fleet_look(false);
    assert_true(fleet.state.queued > 50);
    assert_int_equal(fleet_sweep(DELAYED_RUN, ""), 1000);
    assert_true(fleet_until(&fleet.carried_out, 300, 400));
    fleet_assert_empty();
}

/* However many are due, and however long they take: others who want something invalidated have room, too. */
static void test_leaves_room_for_others(void **state)
{
    (void)state;
    fleet_start(1);
    fleet.outcome = NEVER;
    fleet_add_many(200, 0, 10, 1);
    fleet_run(500);
    assert_true(fleet.carried_out < INVALIDATION_JOBS_MAX);
    assert_true(fleet.carried_out >= INVALIDATION_JOBS_MAX / 2);
    assert_int_equal(fleet_sweep(DELAYED_CANCEL, "all"), 200);
}

/* ---- failing, waiting, ending ---- */

static void test_failing(void **state)
{
    (void)state;
    fleet_start(1);
    fleet.outcome = FAIL;
    fleet_add("user:1 scope:server:3", "trouble", 0);
    for (unsigned i = 1; i <= 3; i++) {
        assert_true(fleet_until(&fleet.carried_out, i, 3000));
        fleet_run(100);
        fleet_list();
        assert_int_equal(fleet.rows, 1);
        assert_false(fleet.row_taken);
        assert_string_equal(fleet.row_error, "the test said so");
        fleet_look(false);
        assert_int_equal(fleet.state.failing, i >= 3);
        fleet_run(200);
        assert_int_equal(fleet.carried_out, i); /* it rests for a second at least */
        if (i < 3)
            assert_int_equal(fleet_sweep(DELAYED_RUN, "scope:server:3"), 1);
    }
    assert_int_equal(fleet.hosts[0].counters.delayed_failed, 3);
    fleet_look(true);
    const struct delayed_advice *advice;
    assert_int_equal(delayed_advice(fleet.hosts[0].delayed, &advice), 1);
    assert_string_equal(advice[0].command, "delayed cancel failing");
    assert_ptr_not_equal(delayed_advised(fleet.hosts[0].delayed, advice[0].number), NULL);
    assert_null(delayed_advised(fleet.hosts[0].delayed, advice[0].number + 1));
    assert_int_equal(fleet_sweep(DELAYED_CANCEL, "failing"), 1);
    fleet_assert_empty();
}

/* A tag that has no members by then, a pattern that L2 cannot be swept for: to try again changes nothing. */
static void test_failures_for_good(void **state)
{
    const int codes[] = {PERMTAB_E_NOT_FOUND, PERMTAB_E_INVALID, PERMTAB_E_LIMIT};
    (void)state;
    fleet_start(1);
    fleet.outcome = FAIL;
    for (unsigned i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        fleet.fail_code = codes[i];
        fleet_add("tag:raid", "", 0);
        assert_true(fleet_until(&fleet.carried_out, i + 1, 3000));
        fleet_assert_empty();
    }
    assert_int_equal(fleet.hosts[0].counters.delayed_done, 3);
    assert_int_equal(fleet.hosts[0].counters.delayed_failed, 0);
}

static void test_fails_then_succeeds(void **state)
{
    (void)state;
    fleet_start(1);
    fleet.outcome = FAIL;
    fleet_add("user:1", "", 0);
    assert_true(fleet_until(&fleet.carried_out, 1, 3000));
    fleet_run(100);
    fleet.outcome = SUCCEED;
    assert_true(fleet_until(&fleet.carried_out, 2, 3000)); /* by itself, after a second */
    fleet_assert_empty();
}

static void test_given_up(void **state)
{
    char command[128];
    (void)state;
    fleet_start(1);
    fleet.outcome = FAIL;
    fleet_add("user:1", "", 60000);
    (void)snprintf(command, sizeof command, "HSET t:delayed:task:%s attempts %u", fleet.id,
                   DELAYED_ATTEMPTS_MAX);
    assert_int_equal(fleet_ask(command), 1);
    assert_int_equal(fleet_sweep(DELAYED_RUN, fleet.id), 1);
    fleet_assert_empty();
    assert_int_equal(fleet.carried_out, 0);
    assert_int_equal(fleet.hosts[0].counters.delayed_expired, 1);
}

static void test_condition(void **state)
{
    struct delayed_task task;
    (void)state;
    fleet_start(1);
    fleet_fill_task(&task, "user:1", "");
    (void)snprintf(task.condition, sizeof task.condition, "42 channel:9 message.send AND NOT member.muted");
    fleet.bits = 3; /* muted */
    fleet_add_task(&task, 0, 0);
    assert_true(fleet_until(&fleet.asked, 2, 3000));
    assert_int_equal(fleet.carried_out, 0);
    fleet_run(30);
    fleet_list();
    assert_string_equal(fleet.row_error, "the condition does not hold");
    fleet.answer = PERMTAB_E_STALE; /* nobody can say */
    assert_true(fleet_until(&fleet.asked, 3, 3000));
    fleet_run(30);
    fleet_list();
    assert_string_equal(fleet.row_error, "the test does not say");
    assert_int_equal(fleet.row_attempts, 0); /* to look is no attempt */
    assert_int_equal(fleet.carried_out, 0);
    fleet.answer = 0;
    fleet.bits = 1;
    assert_true(fleet_until(&fleet.carried_out, 1, 5000));
    fleet_assert_empty();
    assert_int_equal(fleet.hosts[0].counters.delayed_waited, 3);
    assert_int_equal(fleet.hosts[0].counters.delayed_failed, 0);
}

static void test_revision(void **state)
{
    struct delayed_task task;
    (void)state;
    fleet_start(1);
    fleet_fill_task(&task, "user:1", "");
    task.has_revision = true;
    task.store_id = 5;
    task.revision = 101;
    fleet_add_task(&task, 0, 0);
    assert_true(fleet_until(&fleet.wakes, 2, 3000));
    assert_int_equal(fleet.carried_out, 0);
    fleet.position.revision = 101;
    assert_true(fleet_until(&fleet.carried_out, 1, 3000));
    task.store_id = 6; /* of another store: it will never be reached, nor is it needed */
    task.revision = 1000;
    fleet_add_task(&task, 0, 0);
    assert_true(fleet_until(&fleet.carried_out, 2, 3000));
    fleet_assert_empty();
}

static void test_expiry(void **state)
{
    struct delayed_task task;
    (void)state;
    fleet_start(1);
    fleet_fill_task(&task, "user:1 role:7 pattern:user:4? user:3@channel:9", "why");
    (void)snprintf(task.condition, sizeof task.condition, "42 global member.muted");
    uint64_t begun = clock_ms();
    fleet_add_task(&task, 0, 2000);
    fleet_run(400);
    assert_true(fleet_until(&fleet.asked, 1, 3000));
    long keys = fleet_ask("DBSIZE");
    assert_true(keys >= 7 || clock_ms() - begun >= 2000);
    fleet_assert_empty();
    assert_int_equal(fleet.carried_out, 0);
    assert_int_equal(fleet.hosts[0].counters.delayed_expired, 1);
}

/* Waited for so often that somebody should look. */
static void test_waiting_index(void **state)
{
    struct delayed_task task;
    (void)state;
    fleet_start(1);
    fleet_fill_task(&task, "user:1", "");
    (void)snprintf(task.condition, sizeof task.condition, "42 global member.muted");
    fleet_add_task(&task, 0, 0);
    for (unsigned i = 1; i <= 10; i++) {
        assert_true(fleet_until(&fleet.asked, i, 3000));
        fleet_run(30);
        fleet_look(false);
        assert_int_equal(fleet.state.waiting, i >= 10);
        (void)fleet_sweep(DELAYED_RUN, "all");
    }
    assert_int_equal(fleet_sweep(DELAYED_CANCEL, "waiting"), 1);
    fleet_assert_empty();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FLEET_TEST(test_when_due),
        FLEET_TEST(test_exactly_one_host),
        FLEET_TEST(test_dead_host),
        FLEET_TEST(test_slow_host_keeps_its_lease),
        FLEET_TEST(test_lost_lease),
        FLEET_TEST(test_pace),
        FLEET_TEST(test_leaves_room_for_others),
        FLEET_TEST(test_failing),
        FLEET_TEST(test_failures_for_good),
        FLEET_TEST(test_fails_then_succeeds),
        FLEET_TEST(test_given_up),
        FLEET_TEST(test_condition),
        FLEET_TEST(test_revision),
        FLEET_TEST(test_expiry),
        FLEET_TEST(test_waiting_index),
    };
    if (!redis_server_installed())
        return 77;
    return cmocka_run_group_tests(tests, fleet_start_redis, fleet_stop_redis);
}
