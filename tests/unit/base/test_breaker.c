/* The circuit breaker, by the clock of the test. */
#include "proxy/base/breaker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define SECOND 1000000000ull
#define MS     1000000ull
#define START  (1000 * SECOND)

static struct breaker made(uint64_t slow_ns, unsigned slow_max)
{
    struct breaker breaker;
    struct breaker_options options = BREAKER_DEFAULTS;
    options.slow_ns = slow_ns;
    options.slow_max = slow_max;
    breaker_init(&breaker, &options);
    return breaker;
}

static void fails(struct breaker *breaker, unsigned times, uint64_t now_ns)
{
    for (unsigned i = 0; i < times; i++)
        breaker_failed(breaker, now_ns);
}

static void test_failures_in_a_row_open_it(void **state)
{
    (void)state;
    struct breaker breaker = made(0, 1);
    fails(&breaker, 4, START);
    breaker_succeeded(&breaker, START, 100 * SECOND); /* nothing is too slow here */
    fails(&breaker, 4, START);
    assert_int_equal(breaker_state(&breaker), BREAKER_CLOSED);
    assert_true(breaker_allows(&breaker, START));
    assert_int_equal(breaker.openings, 0);
    breaker_failed(&breaker, START);
    assert_int_equal(breaker_state(&breaker), BREAKER_OPEN);
    assert_int_equal(breaker.openings, 1);
    assert_false(breaker_allows(&breaker, START));
    assert_false(breaker_allows(&breaker, START + SECOND - 1));
}

static void test_one_trial_closes_it(void **state)
{
    (void)state;
    struct breaker breaker = made(0, 1);
    fails(&breaker, 5, START);
    uint64_t now = START + SECOND;
    assert_true(breaker_allows(&breaker, now));
    assert_int_equal(breaker_state(&breaker), BREAKER_TRYING);
    assert_false(breaker_allows(&breaker, now));
    assert_false(breaker_allows(&breaker, now + SECOND / 2));
    breaker_succeeded(&breaker, now + SECOND / 2, SECOND / 2);
    assert_int_equal(breaker_state(&breaker), BREAKER_CLOSED);
    assert_true(breaker_allows(&breaker, now + SECOND / 2));
    /* It has forgotten the failures of before, and how long it was open. */
    fails(&breaker, 4, now + SECOND);
    assert_int_equal(breaker_state(&breaker), BREAKER_CLOSED);
    fails(&breaker, 1, now + SECOND);
    assert_false(breaker_allows(&breaker, now + 2 * SECOND - 1));
    assert_true(breaker_allows(&breaker, now + 2 * SECOND));
}

static void test_openings_double(void **state)
{
    static const uint64_t expected[] = {1, 2, 4, 8, 15, 15, 15};
    (void)state;
    struct breaker breaker = made(0, 1);
    uint64_t now = START;
    fails(&breaker, 5, now);
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        assert_false(breaker_allows(&breaker, now + expected[i] * SECOND - 1));
        now += expected[i] * SECOND;
        assert_true(breaker_allows(&breaker, now));
        breaker_failed(&breaker, now);
        assert_int_equal(breaker_state(&breaker), BREAKER_OPEN);
        assert_int_equal(breaker.openings, i + 2);
    }
}

static void test_a_lost_trial_lapses(void **state)
{
    (void)state;
    struct breaker breaker = made(0, 1);
    fails(&breaker, 5, START);
    assert_true(breaker_allows(&breaker, START + 3 * SECOND));
    assert_false(breaker_allows(&breaker, START + 4 * SECOND - 1));
    assert_true(breaker_allows(&breaker, START + 4 * SECOND));
    assert_false(breaker_allows(&breaker, START + 4 * SECOND));
    /* The first trial's answer comes after all: it was sent before the one that counts now. */
    breaker_succeeded(&breaker, START + 4 * SECOND + MS, SECOND + MS);
    assert_int_equal(breaker_state(&breaker), BREAKER_TRYING);
    breaker_succeeded(&breaker, START + 4 * SECOND + MS, MS);
    assert_int_equal(breaker_state(&breaker), BREAKER_CLOSED);
}

static void test_late_reports_change_nothing(void **state)
{
    (void)state;
    struct breaker breaker = made(0, 1);
    fails(&breaker, 5, START);
    breaker_succeeded(&breaker, START + MS, 2 * MS);
    assert_int_equal(breaker_state(&breaker), BREAKER_OPEN);
    fails(&breaker, 10, START + SECOND / 2);
    assert_int_equal(breaker.openings, 1);
    assert_true(breaker_allows(&breaker, START + SECOND));
    breaker_succeeded(&breaker, START + SECOND + MS, SECOND + 2 * MS);
    assert_int_equal(breaker_state(&breaker), BREAKER_TRYING);
}

static void test_slow_replies_are_bad_ones(void **state)
{
    (void)state;
    struct breaker breaker = made(10 * MS, 8);
    for (unsigned i = 0; i < 7; i++)
        breaker_succeeded(&breaker, START, 10 * MS + 1);
    breaker_succeeded(&breaker, START, 10 * MS); /* just in time */
    for (unsigned i = 0; i < 7; i++)
        breaker_succeeded(&breaker, START, 11 * MS);
    assert_int_equal(breaker_state(&breaker), BREAKER_CLOSED);
    breaker_succeeded(&breaker, START, 11 * MS);
    assert_int_equal(breaker_state(&breaker), BREAKER_OPEN);
    /* A trial that is slow opens it again, at once and for longer. */
    assert_true(breaker_allows(&breaker, START + SECOND));
    breaker_succeeded(&breaker, START + SECOND + 11 * MS, 11 * MS);
    assert_int_equal(breaker_state(&breaker), BREAKER_OPEN);
    assert_false(breaker_allows(&breaker, START + 3 * SECOND + 11 * MS - 1));
    assert_true(breaker_allows(&breaker, START + 3 * SECOND + 11 * MS));
    breaker_succeeded(&breaker, START + 4 * SECOND, 10 * MS);
    assert_int_equal(breaker_state(&breaker), BREAKER_CLOSED);
}

static void test_failures_and_slow_replies_add_up(void **state)
{
    (void)state;
    struct breaker breaker = made(10 * MS, 10);
    fails(&breaker, 3, START); /* three fifths */
    for (unsigned i = 0; i < 3; i++)
        breaker_succeeded(&breaker, START, 11 * MS); /* and three tenths */
    assert_int_equal(breaker_state(&breaker), BREAKER_CLOSED);
    breaker_succeeded(&breaker, START, 11 * MS);
    assert_int_equal(breaker_state(&breaker), BREAKER_OPEN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_failures_in_a_row_open_it),
        cmocka_unit_test(test_one_trial_closes_it),
        cmocka_unit_test(test_openings_double),
        cmocka_unit_test(test_a_lost_trial_lapses),
        cmocka_unit_test(test_late_reports_change_nothing),
        cmocka_unit_test(test_slow_replies_are_bad_ones),
        cmocka_unit_test(test_failures_and_slow_replies_add_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
