/* A budget: whatever is spent when it allows, and however late one looks, the share is kept. */
#include "proxy/warm/budget.h"

#include "tests/support/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define SECOND 1000000000ull

static void a_debt_is_waited_for(void **state)
{
    struct budget budget = {0};
    (void)state;
    budget_set(&budget, 10, SECOND);
    assert_int_equal(budget_wait_ns(&budget, SECOND), 0);
    budget_spend(&budget, 1000000, SECOND);
    assert_in_range(budget_wait_ns(&budget, SECOND), 10000000, 10000001);
    assert_in_range(budget_wait_ns(&budget, SECOND + 4000000), 6000000, 6000001);
    assert_int_equal(budget_wait_ns(&budget, SECOND + 10000001), 0);
}

/* What was not spent for an hour buys no more than a moment does. */
static void what_is_saved_is_not_spent_at_once(void **state)
{
    struct budget budget = {0};
    (void)state;
    budget_set(&budget, 10, SECOND);
    budget_spend(&budget, 10000000, 3600 * SECOND);
    assert_true(budget_wait_ns(&budget, 3600 * SECOND) > 90000000);
}

static void all_of_it_waits_for_nothing(void **state)
{
    struct budget budget = {0};
    (void)state;
    budget_set(&budget, BUDGET_ALL, SECOND);
    budget_spend(&budget, 100 * SECOND, SECOND);
    assert_int_equal(budget_wait_ns(&budget, SECOND), 0);
    budget_set(&budget, 50, SECOND); /* nor is it owed later */
    assert_int_equal(budget_wait_ns(&budget, SECOND), 0);
    budget_spend(&budget, SECOND, SECOND);
    assert_in_range(budget_wait_ns(&budget, SECOND), 2 * SECOND, 2 * SECOND + 1);
    budget_set(&budget, 10, SECOND);
    assert_in_range(budget_wait_ns(&budget, SECOND), 10 * SECOND, 10 * SECOND + 1);
    budget_set(&budget, BUDGET_ALL, SECOND);
    budget_set(&budget, 10, SECOND);
    assert_int_equal(budget_wait_ns(&budget, SECOND), 0);
}

static void sums_do_not_overflow(void **state)
{
    struct budget budget = {0};
    (void)state;
    budget_set(&budget, 1, SECOND);
    for (unsigned i = 0; i < 5000; i++)
        budget_spend(&budget, UINT64_MAX, SECOND);
    assert_true(budget_wait_ns(&budget, SECOND) > 0);
    assert_int_equal(budget_wait_ns(&budget, UINT64_MAX - 1), budget_wait_ns(&budget, UINT64_MAX - 1));
    budget_spend(&budget, 5, 3); /* a clock that goes back earns nothing */
}

/* Whoever begins whenever it allows has spent the share in the end, and never more than it and the last piece. */
static void the_share_is_kept(void **state)
{
    (void)state;
    for (uint32_t percent = 1; percent < 100; percent += 7) {
        struct budget budget = {0};
        struct random random = {.state = percent};
        uint64_t now = SECOND, spent = 0;
        budget_set(&budget, percent, now);
        while (now < 100 * SECOND) {
            uint64_t wait = budget_wait_ns(&budget, now);
            if (wait == 0) {
                uint64_t cost = random_below(&random, 20000000);
                spent += cost;
                budget_spend(&budget, cost, now);
                now += 50 + random_below(&random, 1000); /* another one at once */
            } else {
                now += wait + random_below(&random, 1000000); /* late */
            }
            assert_true(spent <= (now - SECOND) / 100 * percent + 26000000);
        }
        assert_true(spent >= (now - SECOND) / 100 * percent * 9 / 10);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_debt_is_waited_for),  cmocka_unit_test(what_is_saved_is_not_spent_at_once),
        cmocka_unit_test(all_of_it_waits_for_nothing), cmocka_unit_test(sums_do_not_overflow),
        cmocka_unit_test(the_share_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
