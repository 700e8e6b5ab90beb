/* When the table grows: each reason by a window that is made up, and each by the same window without what it rests
 * on. */
#include "proxy/growth/policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define SECOND   1000000000ull
#define CAPACITY 1000u

struct fixture {
    struct growth_policy policy;
    struct growth_figures now;
    uint64_t now_ns;
};

/* A full table, in the first window that counts. */
static struct fixture counting(void)
{
    struct fixture fixture = {.now = {.capacity = CAPACITY, .known = CAPACITY}, .now_ns = 5 * SECOND};
    growth_policy_init(&fixture.policy, 0.5, CAPACITY, &fixture.now, fixture.now_ns);
    fixture.now_ns += GROWTH_WINDOW_NS;
    assert_int_equal(growth_policy_look(&fixture.policy, &fixture.now, fixture.now_ns), GROWTH_NOT_NEEDED);
    assert_true(fixture.policy.counts);
    return fixture;
}

static enum growth_reason after(struct fixture *fixture, uint64_t ns, uint64_t hits, uint64_t filled,
                                uint64_t returned)
{
    fixture->now.hits += hits;
    fixture->now.filled += filled;
    fixture->now.returned += returned;
    fixture->now_ns += ns;
    return growth_policy_look(&fixture->policy, &fixture->now, fixture->now_ns);
}

#define WINDOW GROWTH_WINDOW_NS

static void too_few_hits(void **state)
{
    (void)state;
    struct fixture fixture = counting();
    assert_int_equal(after(&fixture, WINDOW, 999, 1000, 0), GROWTH_HIT_RATE);
    assert_int_equal(fixture.policy.last.hits, 999);
    assert_int_equal(fixture.policy.last.filled, 1000);
    assert_int_equal(fixture.policy.last.ns, WINDOW);
    fixture = counting();
    assert_int_equal(after(&fixture, WINDOW, 1000, 1000, 0), GROWTH_NOT_NEEDED); /* half is the target */
    fixture = counting();
    fixture.policy.hit_rate_target = 0.9;
    assert_int_equal(after(&fixture, WINDOW, 8999, 1000, 0), GROWTH_HIT_RATE);
    fixture = counting();
    fixture.policy.hit_rate_target = 0;
    assert_int_equal(after(&fixture, WINDOW, 0, 1000, 0), GROWTH_NOT_NEEDED);
}

/* However high the hit rate is, or is said to be. */
static void evicted_ones_are_asked_for_again(void **state)
{
    (void)state;
    struct fixture fixture = counting();
    assert_int_equal(after(&fixture, WINDOW, 1000000000, 1000, 125), GROWTH_RETURNED);
    fixture = counting();
    assert_int_equal(after(&fixture, WINDOW, 1000000000, 1000, 124), GROWTH_NOT_NEEDED);
    fixture = counting();
    assert_int_equal(after(&fixture, WINDOW, 1000, 70, 63), GROWTH_NOT_NEEDED); /* too few to say */
    fixture = counting();
    assert_int_equal(after(&fixture, WINDOW, 1000, 70, 64), GROWTH_RETURNED);
}

/* Both signs are there, and room: for a table that was full all the time alone. */
static void a_table_with_room_left(void **state)
{
    (void)state;
    struct fixture fixture = counting();
    fixture.now.known = 937;
    assert_int_equal(after(&fixture, WINDOW, 0, 1000, 1000), GROWTH_NOT_NEEDED); /* emptied meanwhile */
    fixture.now.known = 1000;
    assert_int_equal(after(&fixture, WINDOW, 0, 1000, 1000), GROWTH_NOT_NEEDED); /* filled meanwhile */
    assert_int_equal(after(&fixture, WINDOW, 0, 1000, 1000), GROWTH_HIT_RATE);
    fixture = counting();
    fixture.now.known = 938;
    assert_int_equal(after(&fixture, WINDOW, 0, 1000, 1000), GROWTH_HIT_RATE);
}

/* Strangers fill what is left, and no more than an eighth of a table that others want. */
static void strangers_make_no_table_full(void **state)
{
    (void)state;
    struct fixture fixture = counting();
    fixture.now.known = 749;
    fixture.now.strangers = 251;
    assert_int_equal(after(&fixture, WINDOW, 0, 0, 0), GROWTH_NOT_NEEDED);
    assert_int_equal(after(&fixture, GROWTH_WINDOW_MAX_NS, 0, 0, 0), GROWTH_NOT_NEEDED);
    assert_int_equal(after(&fixture, WINDOW, 0, 1000, 1000), GROWTH_NOT_NEEDED);
    fixture.now.known = 874;
    fixture.now.strangers = 126;
    assert_int_equal(after(&fixture, WINDOW, 0, 1000, 1000), GROWTH_NOT_NEEDED); /* not full when it began */
    assert_int_equal(after(&fixture, WINDOW, 0, 1000, 1000), GROWTH_HIT_RATE);
}

/* Millions of misses of strangers are no fills of known ones. */
static void misses_that_are_claimed_buy_nothing(void **state)
{
    (void)state;
    struct fixture fixture = counting();
    for (int i = 0; i < 100; i++)
        assert_int_equal(after(&fixture, WINDOW, 0, i % 2, 0), GROWTH_NOT_NEEDED);
}

static void no_window_in_which_something_began(void **state)
{
    struct fixture fixture = {.now = {.capacity = CAPACITY, .known = CAPACITY}, .now_ns = 1};
    (void)state;
    growth_policy_init(&fixture.policy, 0.5, CAPACITY, &fixture.now, fixture.now_ns);
    assert_int_equal(after(&fixture, WINDOW, 0, 1000, 1000), GROWTH_NOT_NEEDED); /* the worker began */
    assert_int_equal(after(&fixture, WINDOW, 0, 1000, 1000), GROWTH_HIT_RATE);
    fixture.now.breaks++;
    assert_int_equal(after(&fixture, WINDOW, 0, 1000, 1000), GROWTH_NOT_NEEDED);
    assert_int_equal(after(&fixture, WINDOW, 0, 1000, 1000), GROWTH_NOT_NEEDED); /* the rest of that window */
    assert_int_equal(after(&fixture, WINDOW, 0, 1000, 1000), GROWTH_HIT_RATE);
    growth_policy_void(&fixture.policy, &fixture.now, fixture.now_ns);
    assert_int_equal(after(&fixture, WINDOW, 0, 1000, 1000), GROWTH_NOT_NEEDED);
    assert_int_equal(after(&fixture, WINDOW, 0, 1000, 1000), GROWTH_HIT_RATE);
}

static void windows_end_when_they_have_seen_enough(void **state)
{
    (void)state;
    struct fixture fixture = counting();
    assert_int_equal(after(&fixture, WINDOW - 1, 0, 1000, 0), GROWTH_NOT_NEEDED);
    assert_int_equal(after(&fixture, 1, 0, 0, 0), GROWTH_HIT_RATE);
    fixture = counting();
    for (int i = 0; i < 29; i++) /* 58 s with 58 fills */
        assert_int_equal(after(&fixture, WINDOW, 0, 2, 0), GROWTH_NOT_NEEDED);
    assert_int_equal(after(&fixture, WINDOW, 0, 5, 0), GROWTH_NOT_NEEDED); /* a minute with 63: too few */
    assert_int_equal(fixture.policy.last.filled, 63);
    for (int i = 0; i < 29; i++)
        assert_int_equal(after(&fixture, WINDOW, 0, 2, 0), GROWTH_NOT_NEEDED);
    assert_int_equal(after(&fixture, WINDOW, 0, 6, 0), GROWTH_HIT_RATE);
}

/* A larger table takes more fills before it is said to be too small, up to a number. */
static void large_tables_take_more_fills(void **state)
{
    static const struct {
        uint64_t capacity, enough;
    } cases[] = {{1, 64}, {4096, 64}, {64000, 1000}, {100000000, 65536}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fixture fixture = counting();
        fixture.policy.entries_min = 1;
        fixture.policy.first.capacity = fixture.now.capacity = cases[i].capacity;
        fixture.policy.first.known = fixture.now.known = cases[i].capacity;
        assert_int_equal(after(&fixture, WINDOW, 0, cases[i].enough - 1, 0), GROWTH_NOT_NEEDED);
        assert_int_equal(after(&fixture, WINDOW, 0, 1, 0), GROWTH_HIT_RATE);
    }
}

/* Without a look at any window. */
static void a_small_first_table(void **state)
{
    struct fixture fixture = {.now = {.capacity = 999}, .now_ns = 1};
    (void)state;
    growth_policy_init(&fixture.policy, 0.5, CAPACITY, &fixture.now, fixture.now_ns);
    assert_int_equal(after(&fixture, 0, 0, 0, 0), GROWTH_START);
    fixture.now.capacity = 1000;
    assert_int_equal(after(&fixture, 0, 0, 0, 0), GROWTH_NOT_NEEDED);
}

/* There may be no room for what the first table is to be; a step may fit all the same. */
static void a_small_first_table_that_is_too_small(void **state)
{
    struct fixture fixture = counting();
    (void)state;
    fixture.policy.entries_min = fixture.now.capacity + 1;
    assert_int_equal(after(&fixture, WINDOW / 2, 0, 0, 0), GROWTH_START);
    assert_int_equal(after(&fixture, WINDOW / 2, 100, 1000, 0), GROWTH_HIT_RATE);
    assert_int_equal(after(&fixture, 0, 0, 0, 0), GROWTH_START);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(too_few_hits),
        cmocka_unit_test(evicted_ones_are_asked_for_again),
        cmocka_unit_test(a_small_first_table_that_is_too_small),
        cmocka_unit_test(a_table_with_room_left),
        cmocka_unit_test(strangers_make_no_table_full),
        cmocka_unit_test(misses_that_are_claimed_buy_nothing),
        cmocka_unit_test(no_window_in_which_something_began),
        cmocka_unit_test(windows_end_when_they_have_seen_enough),
        cmocka_unit_test(large_tables_take_more_fills),
        cmocka_unit_test(a_small_first_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
