/* Clean-ups against a real Redis and a real store: what must go goes, what must stay stays, by each kind of
 * clean-up. */
#include "tests/support/cleanup_hall.h"

#include <event2/thread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void test_epochs(void **state)
{
    struct hall *hall = *state;
    hall_put_users(hall, HALL_OLD, 0, 700);
    hall_put_users(hall, HALL_PRESENT, 0, 300);
    hall_put(hall, HALL_PREFIX "l2:1:lock:5:channel:9");
    hall_put(hall, HALL_PREFIX "l2:1:" HALL_OLD ":plain");
    hall_put(hall, "tesXXX:l2:1:" HALL_OLD ":{user:1}"); /* the prefix is no glob */
    hall_put(hall, "somebody:elses");
    assert_true(hall_until(hall, hall_is_idle));
    (void)hall_start(hall, CLEANUP_EPOCHS, NULL);
    hall_run_to_end(hall, 0);
    assert_int_equal(hall_count_users(hall, HALL_OLD), 0);
    assert_int_equal(hall_count_users(hall, HALL_PRESENT), 300);
    assert_int_equal(hall_ask(hall, "DBSIZE"), 305); /* the marker among them, and no lock */
    assert_int_equal(hall->told.status.keys_removed, 700);
    assert_int_equal(hall->told.status.state, CLEANUP_DONE);
    assert_int_equal(hall->told.status.keys_seen, hall->told.status.keys_total);
    assert_in_range(hall->told.status.keys_total, 1000, 1010);
    assert_true(hall->told.status.slices >= 1000 / 60);
    assert_true(hall->told.status.redis_us > 0);
    assert_int_equal(hall->counters.cleanup_keys_removed, 700);
    assert_int_equal(hall->counters.cleanup_slices, hall->told.status.slices);
    assert_int_equal(hall->counters.cleanup_keys_seen, hall->told.status.keys_seen);
    assert_true(hall_latest(hall).state == CLEANUP_DONE);
}

static void test_pattern(void **state)
{
    struct hall *hall = *state;
    char glob[CLEANUP_PATTERN_SIZE];
    hall_put_users(hall, HALL_PRESENT, 0, 500);
    hall_put_users(hall, HALL_OLD, 40, 10);
    assert_int_equal(cleanup_glob_pattern(glob, HALL_PREFIX, "user:4?"), 0);
    (void)hall_start(hall, CLEANUP_PATTERN, glob);
    hall_run_to_end(hall, 0);
    assert_int_equal(hall->told.status.keys_removed, 20);
    assert_false(hall_exists(hall, HALL_PREFIX "l2:1:" HALL_PRESENT ":{user:44}"));
    assert_true(hall_exists(hall, HALL_PREFIX "l2:1:" HALL_PRESENT ":{user:444}"));
    assert_int_equal(cleanup_glob_prefix(glob, HALL_PREFIX, "user:4"), 0);
    (void)hall_start(hall, CLEANUP_PATTERN, glob);
    hall_run_to_end(hall, 0);
    assert_int_equal(hall->told.status.keys_removed, 101); /* 4, and 400 to 499 */
    /* Keys that are no values of ours are not touched, whatever the glob says. */
    hall_put(hall, "somebody:elses");
    hall_put(hall, "as-long:l2:1:" HALL_OLD ":{user:1}");
    hall_put(hall, HALL_PREFIX "l2:1:lock:5:channel:9");
    assert_true(hall_until(hall, hall_is_idle));
    (void)hall_start(hall, CLEANUP_PATTERN, "*");
    hall_run_to_end(hall, 0);
    assert_int_equal(hall->told.status.keys_removed, 389);
    assert_int_equal(hall_ask(hall, "DBSIZE"), 4);
}

static void test_orphans(void **state)
{
    struct hall *hall = *state;
    static const char *const stay[] = {
        HALL_PREFIX "l2:1:" HALL_PRESENT ":{user:7}",
        HALL_PREFIX "l2:1:" HALL_PRESENT ":{user:8}",
        HALL_PREFIX "l2:1:" HALL_PRESENT ":{scope:global}",
        HALL_PREFIX "l2:1:" HALL_PRESENT ":{scope:channel:50}",
        HALL_PREFIX "l2:1:" HALL_PRESENT ":{scope:server:5}",
        HALL_PREFIX "l2:1:" HALL_PRESENT ":{scope:guild:5}",
        HALL_PREFIX "l2:2:" HALL_PRESENT ":{user:1}",
        HALL_PREFIX "l2:2:marker",
        HALL_PREFIX "l2:1:lock:9999:channel:9",
        "l2:0:x",
    };
    static const char *const go[] = {
        HALL_PREFIX "l2:1:" HALL_PRESENT ":{scope:channel:5}",
        HALL_PREFIX "l2:1:" HALL_PRESENT ":{scope:server:50}",
        HALL_PREFIX "l2:0:whatever",
        HALL_PREFIX "l2:0:marker",
    };
    for (size_t i = 0; i < sizeof stay / sizeof *stay; i++)
        hall_put(hall, "%s", stay[i]);
    for (size_t i = 0; i < sizeof go / sizeof *go; i++)
        hall_put(hall, "%s", go[i]);
    hall_put_users(hall, HALL_PRESENT, 1000, 900);
    (void)hall_start(hall, CLEANUP_ORPHANS, NULL);
    hall_run_to_end(hall, 0);
    for (size_t i = 0; i < sizeof stay / sizeof *stay; i++)
        assert_true(hall_exists(hall, stay[i]));
    for (size_t i = 0; i < sizeof go / sizeof *go; i++)
        assert_false(hall_exists(hall, go[i]));
    assert_int_equal(hall->told.status.keys_removed, 904);
    assert_int_equal(hall_ask(hall, "DBSIZE"), 1 + sizeof stay / sizeof *stay);
}

/* A store that cannot be asked answers for nobody: everything stays, and the job says why it failed. */
static void test_orphans_without_store(void **state)
{
    struct hall *hall = *state;
    hall_put_users(hall, HALL_PRESENT, 1000, 300);
    hall_run_sql(hall, "DROP TABLE permtab_overwrite");
    hall->cleanup->trouble_max_ns = 700 * HALL_MS;
    (void)hall_start(hall, CLEANUP_ORPHANS, NULL);
    assert_true(hall_until(hall, hall_is_told));
    assert_true(hall->told.code < 0);
    assert_non_null(strstr(hall->told.status.text, "permtab_overwrite"));
    assert_int_equal(hall->told.status.state, CLEANUP_FAILED);
    assert_int_equal(hall_count_users(hall, HALL_PRESENT), 300);
}

static void test_bad_patterns(void **state)
{
    struct hall *hall = *state;
    char long_one[CLEANUP_PATTERN_SIZE + 1];
    memset(long_one, 'x', sizeof long_one);
    long_one[CLEANUP_PATTERN_SIZE] = 0;
    assert_int_equal(cleanup_start(hall->cleanup, CLEANUP_PATTERN, NULL, NULL, NULL), PERMTAB_E_INVALID);
    assert_int_equal(cleanup_start(hall->cleanup, CLEANUP_PATTERN, "", NULL, NULL), PERMTAB_E_INVALID);
    assert_int_equal(cleanup_start(hall->cleanup, CLEANUP_PATTERN, long_one, NULL, NULL), PERMTAB_E_INVALID);
    assert_int_equal(cleanup_start(hall->cleanup, CLEANUP_PATTERN, "*a*a*a*a*", NULL, NULL),
                     PERMTAB_E_INVALID);
    assert_int_equal(cleanup_start(hall->cleanup, CLEANUP_EPOCHS, "x", NULL, NULL), PERMTAB_E_INVALID);
}

/* Kinds take turns within one budget. */
static void test_two_kinds(void **state)
{
    struct hall *hall = *state;
    struct hall_told other = {0};
    hall_put_users(hall, HALL_OLD, 0, 1000);
    (void)hall_start(hall, CLEANUP_EPOCHS, NULL);
    assert_true(cleanup_start(hall->cleanup, CLEANUP_PATTERN, "*{user:99?}", hall_on_done, &other) > 0);
    hall_run(hall, 20);
    hall_run_to_end(hall, 0);
    hall_run(hall, 100);
    assert_int_equal(other.count, 1);
    assert_int_equal(other.code, 0);
    assert_int_equal(other.status.keys_removed + hall->told.status.keys_removed, 1000);
}

static void test_print(void **state)
{
    struct hall *hall = *state;
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    cleanup_print(hall->cleanup, out);
    hall_put_users(hall, HALL_OLD, 0, 10);
    (void)hall_start(hall, CLEANUP_PATTERN, "te*" HALL_OLD ":*");
    hall_run_to_end(hall, 0);
    cleanup_print(hall->cleanup, out);
    (void)fclose(out);
    assert_true(strncmp(text, "none\n1 pattern done seen ", 25) == 0);
    assert_non_null(strstr(text, " removed 10 "));
    assert_non_null(strstr(text, " pattern te*" HALL_OLD ":*\n"));
    free(text);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        HALL_TEST(test_epochs),       HALL_TEST(test_pattern),
        HALL_TEST(test_orphans),      HALL_TEST(test_orphans_without_store),
        HALL_TEST(test_bad_patterns), HALL_TEST(test_two_kinds),
        HALL_TEST(test_print),
    };
    if (!redis_server_installed()) {
        (void)puts("skipped: redis-server is not installed");
        return 77;
    }
    (void)evthread_use_pthreads();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
