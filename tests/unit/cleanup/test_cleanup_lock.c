/* Clean-ups of a fleet: one at a time, whoever dies. */
#include "tests/support/cleanup_hall.h"

#include <event2/thread.h>
#include <stdio.h>

static void test_one_at_a_time(void **state)
{
    struct hall *hall = *state;
    struct cleanup *second = NULL;
    struct counters counters = {0};
    struct hall_told other = {0};
    hall_slow_down(hall);
    hall_put_users(hall, HALL_OLD, 0, 1000);
    assert_int_equal(hall_new_cleanup(hall, &second, &counters), 0);
    (void)hall_start(hall, CLEANUP_EPOCHS, NULL);
    assert_true(hall_until(hall, hall_removed_some));
    assert_true(cleanup_start(second, CLEANUP_EPOCHS, NULL, hall_on_done, &other) > 0);
    hall_run(hall, 200);
    assert_int_equal(counters.cleanup_slices, 0);
    hall->cleanup->pace.budget = 50;
    hall_run_to_end(hall, 0);
    hall_put_users(hall, HALL_OLD, 0, 10);
    hall_run(hall, 1000);
    assert_int_equal(other.count, 1);
    assert_int_equal(other.code, 0);
    assert_int_equal(other.status.keys_removed, 10);
    cleanup_free(second);
}

/* A host died and left its lock: it ends, and another host begins. One that never ends is not waited for without
 * end. */
static void test_a_dead_hosts_lock(void **state)
{
    struct hall *hall = *state;
    hall_put_users(hall, HALL_OLD, 0, 100);
    (void)hall_ask(hall, "SET " HALL_PREFIX "cleanup:lock:epochs somebody PX 700");
    (void)hall_start(hall, CLEANUP_EPOCHS, NULL);
    hall_run(hall, 300);
    assert_true(hall_latest(hall).state == CLEANUP_LOCKING);
    assert_int_equal(hall_count_users(hall, HALL_OLD), 100);
    hall_run_to_end(hall, 0);
    assert_int_equal(hall_count_users(hall, HALL_OLD), 0);
    (void)hall_ask(hall, "SET " HALL_PREFIX "cleanup:lock:epochs somebody");
    hall->cleanup->lock_max_ns = 300 * HALL_MS;
    (void)hall_start(hall, CLEANUP_EPOCHS, NULL);
    hall_run_to_end(hall, PERMTAB_E_TIMEOUT);
    assert_true(hall_exists(hall, HALL_PREFIX "cleanup:lock:epochs")); /* somebody else's */
}

/* Somebody took our lock, because we were away for too long: we stop, wait and begin anew. */
static void test_lock_lost(void **state)
{
    struct hall *hall = *state;
    hall_slow_down(hall);
    hall_put_users(hall, HALL_OLD, 0, 1500);
    (void)hall_start(hall, CLEANUP_EPOCHS, NULL);
    assert_true(hall_until(hall, hall_removed_some));
    (void)hall_ask(hall, "SET " HALL_PREFIX "cleanup:lock:epochs somebody PX 600");
    hall_run(hall, 200);
    unsigned left = hall_count_users(hall, HALL_OLD);
    assert_true(left > 0);
    hall_run(hall, 200);
    assert_int_equal(hall_count_users(hall, HALL_OLD), left);
    hall->cleanup->pace.budget = 50;
    hall_run_to_end(hall, 0);
    assert_int_equal(hall->told.status.restarts, 1);
    assert_int_equal(hall_count_users(hall, HALL_OLD), 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        HALL_TEST(test_one_at_a_time),
        HALL_TEST(test_a_dead_hosts_lock),
        HALL_TEST(test_lock_lost),
    };
    if (!redis_server_installed()) {
        (void)puts("skipped: redis-server is not installed");
        return 77;
    }
    (void)evthread_use_pthreads();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
