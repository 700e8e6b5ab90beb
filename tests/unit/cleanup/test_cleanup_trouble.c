/* Clean-ups under way while the epoch changes and while Redis is killed, emptied, paused and full: nothing is left
 * behind. */
#include "tests/support/cleanup_hall.h"

#include <event2/thread.h>
#include <stdio.h>

/* The old epoch becomes the present one again in the middle: what is left of it stays, the other one goes. */
static void test_epoch_changes(void **state)
{
    struct hall *hall = *state;
    hall_slow_down(hall);
    hall_put_users(hall, HALL_OLD, 0, 2000);
    hall_put_users(hall, HALL_PRESENT, 0, 2000);
    (void)hall_start(hall, CLEANUP_EPOCHS, NULL);
    assert_true(hall_until(hall, hall_removed_some));
    hall_set_marker(hall, HALL_OLD);
    unsigned left = hall_count_users(hall, HALL_OLD);
    assert_true(left > 500 && left < 2000);
    hall->cleanup->pace.budget = 50;
    hall_run_to_end(hall, 0);
    assert_int_equal(hall_count_users(hall, HALL_OLD), left);
    assert_true(hall_count_users(hall, HALL_PRESENT) < 2000);
}

static bool is_lost(struct hall *hall)
{
    return hall_latest(hall).state == CLEANUP_LOST;
}

static void test_no_marker(void **state)
{
    struct hall *hall = *state;
    hall_put_users(hall, HALL_OLD, 0, 200);
    (void)hall_ask(hall, "DEL " HALL_PREFIX "l2:1:marker");
    (void)hall_start(hall, CLEANUP_EPOCHS, NULL);
    assert_true(hall_until(hall, is_lost));
    long calls = hall_scripts_run(hall);
    hall_run(hall, 700);
    assert_in_range(hall_scripts_run(hall) - calls, 1, 3); /* it looks again now and then */
    assert_int_equal(hall_count_users(hall, HALL_OLD), 200);
    hall_set_marker(hall, HALL_PRESENT);
    hall_run_to_end(hall, 0);
    assert_int_equal(hall_count_users(hall, HALL_OLD), 0);
    (void)hall_ask(hall, "DEL " HALL_PREFIX "l2:1:marker");
    hall->cleanup->trouble_max_ns = 200 * HALL_MS;
    (void)hall_start(hall, CLEANUP_EPOCHS, NULL);
    hall_run_to_end(hall, PERMTAB_E_NOT_FOUND);
}

static void test_redis_killed(void **state)
{
    struct hall *hall = *state;
    hall_slow_down(hall);
    hall_put_users(hall, HALL_OLD, 0, 2000);
    (void)hall_start(hall, CLEANUP_EPOCHS, NULL);
    assert_true(hall_until(hall, hall_removed_some));
    uint64_t before = hall->counters.cleanup_keys_removed;
    redis_server_kill(&hall->server);
    assert_true(hall_until(hall, is_lost));
    redis_server_restart(&hall->server);
    hall_set_marker(hall, HALL_PRESENT);
    assert_true(hall_until(hall, hall_is_up));
    hall_put_users(hall, HALL_OLD, 5000, 1000); /* so many that the cursor of before would have missed some */
    hall->cleanup->pace.budget = 50;
    hall_run_to_end(hall, 0);
    assert_int_equal(hall_count_users(hall, HALL_OLD), 0);
    assert_int_equal(hall->told.status.restarts, 1);
    assert_true(hall->told.status.keys_removed >= before + 1000);
}

static void test_redis_stays_away(void **state)
{
    struct hall *hall = *state;
    hall->cleanup->trouble_max_ns = 300 * HALL_MS;
    redis_server_kill(&hall->server);
    hall_run(hall, 50);
    (void)hall_start(hall, CLEANUP_EPOCHS, NULL);
    hall_run_to_end(hall, PERMTAB_E_UNREACHABLE);
    assert_true(hall->told.status.text[0] != 0);
    redis_server_restart(&hall->server);
}

static void test_redis_paused(void **state)
{
    struct hall *hall = *state;
    hall_slow_down(hall);
    hall_put_users(hall, HALL_OLD, 0, 1500);
    (void)hall_start(hall, CLEANUP_EPOCHS, NULL);
    assert_true(hall_until(hall, hall_removed_some));
    redis_server_pause(&hall->server);
    assert_true(hall_until(hall, is_lost));
    redis_server_resume(&hall->server);
    hall->cleanup->pace.budget = 50;
    hall_run_to_end(hall, 0);
    assert_int_equal(hall_count_users(hall, HALL_OLD), 0);
}

/* A full Redis refuses the lock; cleaning up is just what it needs. */
static void test_redis_full(void **state)
{
    struct hall *hall = *state;
    hall_put_users(hall, HALL_OLD, 0, 500);
    (void)hall_ask(hall, "CONFIG SET maxmemory 100kb");
    (void)hall_start(hall, CLEANUP_EPOCHS, NULL);
    hall_run_to_end(hall, 0);
    assert_int_equal(hall->told.status.keys_removed, 500);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        HALL_TEST(test_epoch_changes),    HALL_TEST(test_no_marker),    HALL_TEST(test_redis_killed),
        HALL_TEST(test_redis_stays_away), HALL_TEST(test_redis_paused), HALL_TEST(test_redis_full),
    };
    if (!redis_server_installed()) {
        (void)puts("skipped: redis-server is not installed");
        return 77;
    }
    (void)evthread_use_pthreads();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
