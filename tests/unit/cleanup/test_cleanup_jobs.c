/* Clean-ups as jobs: they wait for one another, are cancelled and forgotten, and may be freed at any moment. */
#include "tests/support/cleanup_hall.h"

#include <event2/thread.h>
#include <stdio.h>

static bool slice_is_away(struct hall *hall)
{
    return hall_removed_some(hall) && hall->cleanup->flight != NULL;
}

/* The cancel comes with a slice under way, which removes what it removes: the figures have it. */
static void test_cancel(void **state)
{
    struct hall *hall = *state;
    hall_slow_down(hall);
    hall_put_users(hall, HALL_OLD, 0, 1500);
    uint64_t id = hall_start(hall, CLEANUP_EPOCHS, NULL);
    assert_int_equal(cleanup_cancel(hall->cleanup, id + 1), PERMTAB_E_NOT_FOUND);
    assert_true(hall_until(hall, slice_is_away));
    assert_int_equal(cleanup_cancel(hall->cleanup, id), 0);
    assert_int_equal(hall->told.count, 0);
    assert_int_equal(cleanup_cancel(hall->cleanup, id), PERMTAB_E_NOT_FOUND);
    hall_run_to_end(hall, PERMTAB_E_REFUSED);
    assert_true(hall_latest(hall).state == CLEANUP_CANCELLED);
    unsigned left = hall_count_users(hall, HALL_OLD);
    assert_true(left > 0);
    assert_int_equal(hall_latest(hall).keys_removed, 1500 - left);
    hall_run(hall, 100);
    assert_int_equal(hall_count_users(hall, HALL_OLD), left);
    assert_false(hall_exists(hall, HALL_PREFIX "cleanup:lock:epochs"));
}

static bool lock_is_away(struct hall *hall)
{
    return hall->cleanup->jobs->phase == PHASE_LOCK && hall->cleanup->flight != NULL;
}

/* It looks as if it had not begun yet, and will do nothing. */
static void test_nobody_joins_a_cancelled_one(void **state)
{
    struct hall *hall = *state;
    hall_put_users(hall, HALL_OLD, 0, 100);
    uint64_t id = hall_start(hall, CLEANUP_EPOCHS, NULL);
    assert_true(hall_until(hall, lock_is_away));
    assert_int_equal(cleanup_cancel(hall->cleanup, id), 0);
    assert_true(cleanup_start(hall->cleanup, CLEANUP_EPOCHS, NULL, NULL, NULL) > (int64_t)id);
    hall_run_to_end(hall, PERMTAB_E_REFUSED);
}

/* The slice that a cancelled one waits for went with the connection. */
static void test_cancelled_over_a_new_connection(void **state)
{
    struct hall *hall = *state;
    hall_slow_down(hall);
    hall_put_users(hall, HALL_OLD, 0, 1500);
    uint64_t id = hall_start(hall, CLEANUP_EPOCHS, NULL);
    assert_true(hall_until(hall, slice_is_away));
    assert_int_equal(cleanup_cancel(hall->cleanup, id), 0);
    cleanup_connected(hall->cleanup, true);
    hall_run_to_end(hall, PERMTAB_E_REFUSED);
    assert_int_equal(hall_latest(hall).restarts, 0);
}

static void test_waiting(void **state)
{
    struct hall *hall = *state;
    hall_slow_down(hall);
    hall_put_users(hall, HALL_OLD, 0, 1000);
    for (unsigned i = 0; i < 1 + CLEANUP_WAITING_MAX; i++)
        (void)hall_start(hall, CLEANUP_EPOCHS, NULL);
    assert_int_equal(cleanup_start(hall->cleanup, CLEANUP_EPOCHS, NULL, hall_on_done, NULL), PERMTAB_E_FULL);
    int64_t pattern = cleanup_start(hall->cleanup, CLEANUP_PATTERN, "x", NULL, NULL);
    assert_true(pattern > 0); /* alone of its kind, it does not wait */
    assert_int_equal(cleanup_start(hall->cleanup, CLEANUP_PATTERN, "x", NULL, NULL), pattern);
    assert_int_equal(cleanup_start(hall->cleanup, CLEANUP_PATTERN, "y", NULL, NULL), PERMTAB_E_FULL);
    struct cleanup_status jobs[CLEANUP_JOBS_MAX];
    assert_int_equal(cleanup_list(hall->cleanup, jobs, CLEANUP_JOBS_MAX), 10);
    assert_true(jobs[0].state == CLEANUP_LOCKING && jobs[1].state == CLEANUP_LOCKING);
    assert_true(jobs[2].state == CLEANUP_WAITING && jobs[9].state == CLEANUP_WAITING);
    assert_int_equal(cleanup_cancel(hall->cleanup, 0), 0);
    hall_run(hall, 50);
    assert_int_equal(hall->told.count, 9);
    assert_int_equal(cleanup_cancel(hall->cleanup, 0), PERMTAB_E_NOT_FOUND);
    assert_int_equal(cleanup_list(hall->cleanup, jobs, CLEANUP_JOBS_MAX), CLEANUP_PAST_MAX);
}

static bool is_asking(struct hall *hall)
{
    return hall->cleanup->jobs && hall->cleanup->jobs->phase == PHASE_ASKING;
}

static bool in_flight(struct hall *hall)
{
    return hall->cleanup->flight != NULL;
}

/* Answers of Redis and of the store come back after the clean-up has gone. */
static void test_free_under_way(void **state)
{
    struct hall *hall = *state;
    hall_put_users(hall, HALL_PRESENT, 1000, 1000);
    (void)hall_start(hall, CLEANUP_ORPHANS, NULL);
    assert_true(hall_until(hall, is_asking));
    cleanup_free(hall->cleanup);
    hall->cleanup = NULL;
    assert_int_equal(hall->told.count, 1);
    assert_int_equal(hall->told.code, PERMTAB_E_REFUSED);
    hall_run(hall, 100);
    hall->told.count = 0;
    assert_int_equal(hall_start_cleanup(hall), 0);
    (void)hall_start(hall, CLEANUP_ORPHANS, NULL);
    assert_true(hall_until(hall, in_flight));
    cleanup_free(hall->cleanup);
    hall->cleanup = NULL;
    hall_run(hall, 100);
    assert_int_equal(hall->told.count, 1);
}

/* The end comes while a cancelled one waits for its last slice. */
static void test_free_after_cancel(void **state)
{
    struct hall *hall = *state;
    hall_slow_down(hall);
    hall_put_users(hall, HALL_OLD, 0, 1500);
    uint64_t id = hall_start(hall, CLEANUP_EPOCHS, NULL);
    assert_true(hall_until(hall, slice_is_away));
    assert_int_equal(cleanup_cancel(hall->cleanup, id), 0);
    cleanup_free(hall->cleanup);
    hall->cleanup = NULL;
    assert_int_equal(hall->told.count, 1);
    assert_int_equal(hall->told.code, PERMTAB_E_REFUSED);
    hall_run(hall, 50);
    assert_false(hall_exists(hall, HALL_PREFIX "cleanup:lock:epochs"));
}

static void test_cancel_while_asking(void **state)
{
    struct hall *hall = *state;
    hall_put_users(hall, HALL_PRESENT, 1000, 400);
    uint64_t id = hall_start(hall, CLEANUP_ORPHANS, NULL);
    assert_true(hall_until(hall, is_asking));
    assert_int_equal(cleanup_cancel(hall->cleanup, id), 0);
    hall_run_to_end(hall, PERMTAB_E_REFUSED);
    hall_run(hall, 50);
    (void)hall_start(hall, CLEANUP_ORPHANS, NULL);
    hall_run_to_end(hall, 0);
    assert_int_equal(hall_count_users(hall, HALL_PRESENT), 0);
}

static bool none_runs(struct hall *hall)
{
    return hall->cleanup->jobs == NULL;
}

static void test_forget(void **state)
{
    struct hall *hall = *state;
    hall_put_users(hall, HALL_OLD, 0, 300);
    cleanup_forget(hall->cleanup, hall_start(hall, CLEANUP_EPOCHS, NULL));
    assert_true(hall_until(hall, none_runs));
    assert_int_equal(hall->told.count, 0);
    assert_int_equal(hall_count_users(hall, HALL_OLD), 0);
}

static void start_another(void *context, int code, const struct cleanup_status *status)
{
    struct hall *hall = context;
    assert_int_equal(code, 0);
    assert_int_equal(status->keys_removed, 300);
    assert_true(cleanup_start(hall->cleanup, CLEANUP_EPOCHS, NULL, hall_on_done, &hall->told) > 0);
}

static void test_start_from_done(void **state)
{
    struct hall *hall = *state;
    hall_put_users(hall, HALL_OLD, 0, 300);
    assert_true(cleanup_start(hall->cleanup, CLEANUP_EPOCHS, NULL, start_another, hall) > 0);
    hall_run_to_end(hall, 0);
    assert_int_equal(hall->told.status.keys_removed, 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        HALL_TEST(test_cancel),
        HALL_TEST(test_nobody_joins_a_cancelled_one),
        HALL_TEST(test_cancelled_over_a_new_connection),
        HALL_TEST(test_waiting),
        HALL_TEST(test_free_under_way),
        HALL_TEST(test_free_after_cancel),
        HALL_TEST(test_cancel_while_asking),
        HALL_TEST(test_forget),
        HALL_TEST(test_start_from_done),
    };
    if (!redis_server_installed()) {
        (void)puts("skipped: redis-server is not installed");
        return 77;
    }
    (void)evthread_use_pthreads();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
