/* The filter of known users: nobody is forgotten, few strangers are mistaken. */
#include "proxy/answer/user_filter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define USERS 100000u

/* The share of strangers that are taken for known, in millionths. */
static uint64_t mistaken(const struct user_filter *filter, uint64_t first, uint64_t step)
{
    uint64_t found = 0;
    for (uint64_t i = 0; i < 1000000; i++)
        found += user_filter_has(filter, first + i * step);
    return found;
}

static void test_nobody_is_forgotten(void **state)
{
    static const uint64_t ends[] = {0, 1, 1ull << 63, UINT64_MAX};
    struct user_filter filter;
    (void)state;
    assert_return_code(user_filter_init(&filter, USERS, 1), 0);
    for (size_t i = 0; i < 4; i++)
        assert_false(user_filter_has(&filter, ends[i]));
    for (uint64_t i = 4; i < USERS; i++)
        user_filter_add(&filter, i * i);
    for (size_t i = 0; i < 4; i++)
        user_filter_add(&filter, ends[i]);
    for (uint64_t i = 4; i < USERS; i++)
        assert_true(user_filter_has(&filter, i * i));
    for (size_t i = 0; i < 4; i++)
        assert_true(user_filter_has(&filter, ends[i]));
    user_filter_fini(&filter);
}

/* One in 2,000 is the promise, (1 - e^(-11/16))^11 = 0.00046 the theory: for dense ids, and for sparse ones. */
static void test_few_strangers_are_mistaken(void **state)
{
    struct user_filter filter;
    (void)state;
    assert_return_code(user_filter_init(&filter, USERS, 99), 0);
    for (uint64_t user = 0; user < USERS; user++)
        user_filter_add(&filter, user);
    assert_in_range(mistaken(&filter, USERS, 1), 300, 600);
    assert_in_range(mistaken(&filter, 1ull << 40, 1ull << 22), 300, 600);
    user_filter_clear(&filter);
    assert_int_equal(mistaken(&filter, 0, 1), 0);
    for (uint64_t user = 0; user < USERS / 2; user++)
        user_filter_add(&filter, user << 22); /* as ids made of times are */
    assert_in_range(mistaken(&filter, 1, 1ull << 22), 0, 20);
    user_filter_fini(&filter);
}

static void test_users_are_counted_once(void **state)
{
    struct user_filter filter;
    (void)state;
    assert_return_code(user_filter_init(&filter, 1000, 7), 0);
    for (unsigned round = 0; round < 3; round++)
        for (uint64_t user = 0; user < 1000; user++)
            user_filter_add(&filter, user);
    assert_in_range(filter.users, 995, 1000);
    assert_false(user_filter_overfull(&filter));
    for (uint64_t user = 1000; user < 1010; user++)
        user_filter_add(&filter, user);
    assert_true(user_filter_overfull(&filter));
    user_filter_clear(&filter);
    assert_false(user_filter_overfull(&filter));
    assert_int_equal(filter.users, 0);
    user_filter_fini(&filter);
}

/* Which strangers are mistaken depends on the seed: an attacker cannot collect them elsewhere. */
static void test_seeds_differ(void **state)
{
    struct user_filter one, other;
    uint64_t both = 0;
    (void)state;
    assert_return_code(user_filter_init(&one, 1000, 1), 0);
    assert_return_code(user_filter_init(&other, 1000, 2), 0);
    for (uint64_t user = 0; user < 1000; user++) {
        user_filter_add(&one, user);
        user_filter_add(&other, user);
    }
    for (uint64_t user = 1000; user < 1001000; user++)
        both += user_filter_has(&one, user) && user_filter_has(&other, user);
    assert_in_range(both, 0, 10);
    user_filter_fini(&one);
    user_filter_fini(&other);
}

static void test_one_user(void **state)
{
    struct user_filter filter;
    (void)state;
    assert_return_code(user_filter_init(&filter, 1, 5), 0);
    user_filter_add(&filter, 42);
    assert_true(user_filter_has(&filter, 42));
    assert_false(user_filter_overfull(&filter));
    assert_in_range(mistaken(&filter, 1000, 1), 0, 20000);
    user_filter_fini(&filter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nobody_is_forgotten),
        cmocka_unit_test(test_few_strangers_are_mistaken),
        cmocka_unit_test(test_users_are_counted_once),
        cmocka_unit_test(test_seeds_differ),
        cmocka_unit_test(test_one_user),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
