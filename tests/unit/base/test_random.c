/* Random bytes, ids and sources. */
#include "proxy/base/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void test_bytes_differ(void **state)
{
    (void)state;
    unsigned char first[256] = {0}, second[256] = {0}, zero[16] = {0};
    assert_int_equal(random_bytes(first, sizeof first), 0);
    assert_int_equal(random_bytes(second, sizeof second), 0);
    for (size_t at = 0; at < sizeof first; at += sizeof zero) {
        assert_memory_not_equal(first + at, second + at, sizeof zero);
        assert_memory_not_equal(first + at, zero, sizeof zero);
    }
}

static void test_ids_differ(void **state)
{
    (void)state;
    uint64_t first = 0, second = 0;
    assert_int_equal(random_id(&first), 0);
    assert_int_equal(random_id(&second), 0);
    assert_int_not_equal(first, 0);
    assert_int_not_equal(second, 0);
    assert_int_not_equal(first, second);
}

static void test_a_seed_repeats_itself(void **state)
{
    (void)state;
    struct random_source first, second, other;
    random_source_seed(&first, 7);
    random_source_seed(&second, 7);
    assert_int_equal(random_source_init(&other), 0);
    unsigned same = 0;
    for (unsigned i = 0; i < 100; i++) {
        uint64_t number = random_source_next(&first);
        assert_int_equal(number, random_source_next(&second));
        same += number == random_source_next(&other);
    }
    assert_int_equal(same, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_differ),
        cmocka_unit_test(test_ids_differ),
        cmocka_unit_test(test_a_seed_repeats_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
