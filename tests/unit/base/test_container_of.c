/* The struct around a member, wherever in it that is. */
#include "proxy/base/container_of.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

struct inner {
    int number;
};

struct outer {
    char before[5];
    struct inner first, second;
    const int *last;
};

static void test_any_member(void **state)
{
    (void)state;
    struct outer outer = {0};
    assert_ptr_equal(container_of(&outer.first, struct outer, first), &outer);
    assert_ptr_equal(container_of(&outer.second, struct outer, second), &outer);
    assert_ptr_equal(container_of(&outer.last, struct outer, last), &outer);
}

static void test_within_a_member(void **state)
{
    (void)state;
    struct outer outer = {.second.number = 7};
    struct inner *inner = &outer.second;
    container_of(inner, struct outer, second)->first.number = 8;
    assert_int_equal(outer.first.number, 8);
    assert_int_equal(container_of(&inner->number, struct inner, number)->number, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_member),
        cmocka_unit_test(test_within_a_member),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
