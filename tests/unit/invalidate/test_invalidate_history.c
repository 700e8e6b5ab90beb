/* The last so many invalidations, and rates that forget. */
#include "proxy/invalidate/history.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct invalidation_history *with(size_t max)
{
    struct invalidation_history *history;
    assert_return_code(invalidation_history_new(&history, max), 0);
    return history;
}

static void add(struct invalidation_history *history, const char *what)
{
    char passing[64];
    struct invalidation_record record = {
        .source = INVALIDATION_DELAYED, .targets = 3, .what = passing, .reason = "why"};
    strcpy(passing, what);
    record.result.entries = 7;
    invalidation_history_add(history, &record);
    memset(passing, 'x', sizeof passing - 1);
}

static void test_ring(void **state)
{
    struct invalidation_history *history = with(3);
    char what[8];
    (void)state;
    assert_null(invalidation_history_before(history, UINT64_MAX));
    for (int i = 1; i <= 5; i++) {
        snprintf(what, sizeof what, "w%d", i);
        add(history, what);
    }
    const struct invalidation_record *record = invalidation_history_before(history, UINT64_MAX);
    assert_int_equal(record->number, 5);
    assert_string_equal(record->what, "w5");
    assert_string_equal(record->reason, "why");
    assert_int_equal(record->result.entries, 7);
    record = invalidation_history_before(history, 5);
    assert_string_equal(record->what, "w4");
    record = invalidation_history_before(history, 4);
    assert_string_equal(record->what, "w3");
    assert_null(invalidation_history_before(history, 3)); /* forgotten */
    assert_null(invalidation_history_before(history, 1));
    assert_null(invalidation_history_before(history, 0));
    invalidation_history_free(history);
}

static void test_few(void **state)
{
    struct invalidation_history *history = with(100);
    (void)state;
    add(history, "one");
    add(history, "two");
    assert_int_equal(invalidation_history_before(history, UINT64_MAX)->number, 2);
    assert_int_equal(invalidation_history_before(history, 2)->number, 1);
    assert_null(invalidation_history_before(history, 1));
    invalidation_history_free(history);
}

static void test_none(void **state)
{
    struct invalidation_history *history = with(0);
    (void)state;
    add(history, "one");
    assert_null(invalidation_history_before(history, UINT64_MAX));
    invalidation_history_free(history);
}

static uint64_t minute, hour;

static void rate(struct invalidation_history *history, enum invalidation_source source, enum target_kind kind,
                 uint64_t now)
{
    invalidation_history_rate(history, source, kind, now, &minute, &hour);
}

static void test_rates(void **state)
{
    struct invalidation_history *history = with(1);
    (void)state;
    for (uint64_t s = 0; s < 120; s++) {
        invalidation_history_count(history, INVALIDATION_CLIENT, TARGET_USER, 100000 + s);
        invalidation_history_count(history, INVALIDATION_CLIENT, TARGET_USER, 100000 + s);
    }
    rate(history, INVALIDATION_CLIENT, TARGET_USER, 100119);
    assert_int_equal(minute, 120);
    assert_int_equal(hour, 240);
    rate(history, INVALIDATION_MESSAGE, TARGET_USER, 100119);
    assert_int_equal(minute + hour, 0);
    rate(history, INVALIDATION_CLIENT, TARGET_ROLE, 100119);
    assert_int_equal(minute + hour, 0);
    rate(history, INVALIDATION_CLIENT, TARGET_USER, 100149);
    assert_int_equal(minute, 60);
    rate(history, INVALIDATION_CLIENT, TARGET_USER, 100180);
    assert_int_equal(minute, 0);
    assert_int_equal(hour, 240);
    rate(history, INVALIDATION_CLIENT, TARGET_USER, 100119 + 3600);
    assert_true(hour < 240);
    rate(history, INVALIDATION_CLIENT, TARGET_USER, 100180 + 3600);
    assert_int_equal(hour, 0);
    /* Nothing of what the rings held before counts after a long silence. */
    invalidation_history_count(history, INVALIDATION_CLIENT, TARGET_USER, 900000);
    rate(history, INVALIDATION_CLIENT, TARGET_USER, 900000);
    assert_int_equal(minute, 1);
    assert_int_equal(hour, 1);
    rate(history, INVALIDATION_CLIENT, TARGET_USER, 10);
    assert_int_equal(minute, 1); /* a clock that goes back changes nothing */
    invalidation_history_free(history);
}

static void test_print(void **state)
{
    struct invalidation_history *history = with(10);
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    (void)state;
    add(history, "user:1,user:2");
    add(history, "user:3");
    invalidation_history_count(history, INVALIDATION_MESSAGE, TARGET_USER_AT, 5);
    invalidation_history_print(history, 1, 5, out);
    assert_int_equal(fclose(out), 0);
    assert_non_null(strstr(text, "2 1970-01-01T00:00:00Z delayed what=user:3 reason=\"why\" entries=7 "));
    assert_null(strstr(text, "user:1"));
    assert_non_null(strstr(text, "rate message user@scope minute=1 hour=1\n"));
    assert_null(strstr(text, "rate client"));
    free(text);
    invalidation_history_free(history);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_ring), cmocka_unit_test(test_few),
                                       cmocka_unit_test(test_none), cmocka_unit_test(test_rates),
                                       cmocka_unit_test(test_print)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
