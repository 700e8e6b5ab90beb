/* Growing arrays, item by item. */
#include "proxy/base/array.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct item {
    uint64_t number;
    char rest[33];
};

/* AddressSanitizer sees a place behind the end. */
static void test_items_stay(void **state)
{
    (void)state;
    struct item *items = NULL;
    size_t count = 0;
    for (uint64_t i = 0; i < 1000; i++) {
        struct item *item = array_add(&items, &count, sizeof *item);
        static const char zero[sizeof item->rest];
        assert_ptr_equal(item, &items[i]);
        assert_int_equal(count, i + 1);
        assert_int_equal(item->number, 0);
        assert_memory_equal(item->rest, zero, sizeof zero);
        *item = (struct item){.number = i};
        memset(item->rest, 'x', sizeof item->rest);
    }
    for (uint64_t i = 0; i < 1000; i++)
        assert_int_equal(items[i].number, i);
    free(items);
}

static void test_a_count_may_go_down(void **state)
{
    (void)state;
    uint64_t *items = NULL;
    size_t count = 0;
    for (size_t kept = 40; kept > 0; kept--) {
        while (count < 70) {
            uint64_t *item = array_add(&items, &count, sizeof *items);
            *item = count;
        }
        count = kept - 1;
        for (size_t i = 0; i < count; i++)
            assert_int_equal(items[i], i + 1);
    }
    free(items);
}

static void test_no_memory(void **state)
{
    (void)state;
    char byte = 'x', *items = &byte;
    size_t count = (size_t)1 << 62;
    assert_null(array_add(&items, &count, 16)); /* the product has no room in a size_t */
    count = SIZE_MAX / 2 + 1;
    assert_null(array_add(&items, &count, 1)); /* nor has twice the count */
    assert_int_equal(count, SIZE_MAX / 2 + 1);
    assert_ptr_equal(items, &byte);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_items_stay),
        cmocka_unit_test(test_a_count_may_go_down),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
