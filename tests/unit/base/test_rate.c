/* Rates by the clock of the test. */
#include "proxy/base/rate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_slots_pass(void **state)
{
    (void)state;
    struct rate rate = {0};
    rate_add(&rate, 3, 1000);
    rate_add(&rate, 4, 1030);
    assert_int_equal(rate_sum(&rate, 1030), 7);
    assert_int_equal(rate_sum(&rate, 1059), 7);
    assert_int_equal(rate_sum(&rate, 1060), 4);
    assert_int_equal(rate_sum(&rate, 1089), 4);
    assert_int_equal(rate_sum(&rate, 1090), 0);
}

static void test_a_long_pause(void **state)
{
    (void)state;
    struct rate rate = {0};
    for (uint64_t at = 0; at < RATE_SLOTS; at++)
        rate_add(&rate, 1, at);
    assert_int_equal(rate_sum(&rate, RATE_SLOTS - 1), RATE_SLOTS);
    rate_add(&rate, 9, 1000000);
    assert_int_equal(rate_sum(&rate, 1000000), 9);
    assert_int_equal(rate_sum(&rate, 1000000 + RATE_SLOTS - 1), 9);
    assert_int_equal(rate_sum(&rate, UINT64_MAX - 1), 0);
}

static void test_a_clock_that_goes_back(void **state)
{
    (void)state;
    struct rate rate = {0};
    rate_add(&rate, 1, 500);
    rate_add(&rate, 1, 499);
    assert_int_equal(rate_sum(&rate, 400), 2);
    assert_int_equal(rate_sum(&rate, 559), 2);
    assert_int_equal(rate_sum(&rate, 560), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slots_pass),
        cmocka_unit_test(test_a_long_pause),
        cmocka_unit_test(test_a_clock_that_goes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
