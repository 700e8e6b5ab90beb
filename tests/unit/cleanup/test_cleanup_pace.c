/* The budget of clean-ups: whatever slices cost and however late timers are, Redis' time stays within the share. */
#include "proxy/cleanup/pace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define MS     1000000ull
#define SECOND 1000000000ull

/* Sends slices as soon as allowed, or `late_ns` later, for a simulated while. Returns Redis' time in it, and how
 * many there were. */
static uint64_t simulate(struct cleanup_pace *pace, uint64_t lasting_ns, uint64_t slice_us, uint64_t late_ns,
                         uint64_t *slices)
{
    uint64_t now = 10 * SECOND, end = now + lasting_ns, busy = 0;
    *slices = 0;
    while (now < end) {
        if (now < pace->free_ns)
            now = pace->free_ns + late_ns;
        uint64_t answered = now + slice_us * 1000 + 40000;
        busy += cleanup_pace_slice(pace, now, answered, slice_us);
        now = answered;
        ++*slices;
    }
    return busy;
}

static void test_share(void **state)
{
    static const uint32_t budgets[] = {1, 10, 33, 50};
    static const uint64_t costs[] = {1, 20, 60, 500, 20000};
    (void)state;
    for (size_t b = 0; b < sizeof budgets / sizeof *budgets; b++) {
        for (size_t c = 0; c < sizeof costs / sizeof *costs; c++) {
            struct cleanup_pace pace;
            uint64_t slices;
            cleanup_pace_init(&pace, budgets[b]);
            uint64_t busy = simulate(&pace, 4 * SECOND, costs[c], 0, &slices);
            /* One slice may reach beyond the end, and one credit. */
            uint64_t most = 4 * SECOND / 100 * budgets[b] + costs[c] * 1000 + 10000 + 5 * MS;
            assert_true(busy <= most);
            if (costs[c] >= 500) /* shorter ones are limited by their round trips */
                assert_true(busy >= most * 8 / 10);
        }
    }
}

/* A timer that comes a millisecond late does not halve the rate, and a pause is not made good beyond the credit. */
static void test_credit(void **state)
{
    struct cleanup_pace pace;
    uint64_t slices, late_slices;
    (void)state;
    cleanup_pace_init(&pace, 10);
    (void)simulate(&pace, SECOND, 60, 0, &slices);
    cleanup_pace_init(&pace, 10);
    uint64_t busy = simulate(&pace, SECOND, 60, MS, &late_slices);
    assert_true(late_slices > slices * 9 / 10);
    assert_true(busy <= SECOND / 10 + MS);

    cleanup_pace_init(&pace, 10);
    (void)cleanup_pace_slice(&pace, SECOND, SECOND + MS, 60);
    uint64_t later = 100 * SECOND;
    for (unsigned i = 0; i < 8; i++)
        (void)cleanup_pace_slice(&pace, later, later + MS, 60);
    assert_true(pace.free_ns > later); /* 8 slices of 70 us are worth 5.6 ms: more than 5 */
}

/* Redis' clock is believed as far as it can be true. */
static void test_clock(void **state)
{
    struct cleanup_pace pace;
    (void)state;
    cleanup_pace_init(&pace, 10);
    assert_int_equal(cleanup_pace_slice(&pace, SECOND, SECOND + 100000, 60), 70000);
    assert_int_equal(cleanup_pace_slice(&pace, SECOND, SECOND + 100000, UINT64_MAX), 110000);
    assert_false(cleanup_pace_wants_idle(&pace));
    /* It stands still: the round trip less that of a PING. */
    assert_int_equal(cleanup_pace_slice(&pace, SECOND, SECOND + 100000, 0), 110000);
    assert_true(cleanup_pace_wants_idle(&pace));
    static const uint64_t pings[] = {30000, 900000, 20000, 40000, 25000};
    for (size_t i = 0; i < sizeof pings / sizeof *pings; i++)
        cleanup_pace_idle(&pace, pings[i]);
    assert_false(cleanup_pace_wants_idle(&pace));
    assert_int_equal(cleanup_pace_slice(&pace, SECOND, SECOND + 100000, 0), 80000);
    assert_int_equal(cleanup_pace_slice(&pace, SECOND, SECOND + 10000, 0), 10000);
    for (unsigned i = 0; i < 64; i++)
        (void)cleanup_pace_slice(&pace, SECOND, SECOND + 10000, 0);
    assert_true(cleanup_pace_wants_idle(&pace));
    for (unsigned i = 0; i < 1000; i++)
        cleanup_pace_idle(&pace, 50000);
    assert_int_equal(cleanup_pace_slice(&pace, SECOND, SECOND + 100000, 0), 60000);
}

/* Dear keys make small slices, cheap ones large ones, within the bounds. */
static void test_count(void **state)
{
    struct cleanup_pace pace;
    (void)state;
    cleanup_pace_init(&pace, 10);
    assert_int_equal(pace.count, CLEANUP_COUNT_MOST);
    for (unsigned i = 0; i < 200; i++)
        (void)cleanup_pace_slice(&pace, SECOND, SECOND + MS, 2ull * pace.count); /* 2 us a key */
    assert_true(pace.count >= 15 && pace.count <= 25);
    for (unsigned i = 0; i < 200; i++)
        (void)cleanup_pace_slice(&pace, SECOND, SECOND + MS, 900);
    assert_int_equal(pace.count, CLEANUP_COUNT_LEAST);
    for (unsigned i = 0; i < 200; i++)
        (void)cleanup_pace_slice(&pace, SECOND, SECOND + MS, 5);
    assert_int_equal(pace.count, CLEANUP_COUNT_MOST);
}

static void test_trouble(void **state)
{
    struct cleanup_pace pace;
    (void)state;
    cleanup_pace_init(&pace, 50);
    cleanup_pace_trouble(&pace, SECOND);
    assert_true(pace.free_ns >= SECOND + 100 * MS);
    assert_int_equal(pace.count, CLEANUP_COUNT_LEAST);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_share), cmocka_unit_test(test_credit),  cmocka_unit_test(test_clock),
        cmocka_unit_test(test_count), cmocka_unit_test(test_trouble),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
