/* Arguments: what goes in is what stands there, whatever its bytes, and a failure is not forgotten. */
#include "proxy/redis/args.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void is(const struct redis_args *args, size_t index, const void *bytes, size_t size)
{
    assert_true(index < args->count);
    assert_int_equal(args->items[index].size, size);
    assert_memory_equal(args->bytes + args->items[index].at, bytes, size);
}

static void is_text(const struct redis_args *args, size_t index, const char *text)
{
    is(args, index, text, strlen(text));
}

static void test_every_kind(void **state)
{
    struct redis_args args;
    (void)state;
    redis_args_init(&args);
    redis_args_text(&args, "SET");
    redis_args_bytes(&args, "a\0b\r\n", 5);
    redis_args_bytes(&args, NULL, 0);
    redis_args_text(&args, "");
    redis_args_u64(&args, 0);
    redis_args_u64(&args, UINT64_MAX);
    redis_args_revision(&args, 42);
    redis_args_revision(&args, UINT64_MAX);
    redis_args_print(&args, "%s{%d}", "key", -7);
    assert_int_equal(args.count, 9);
    assert_false(args.failed);
    is_text(&args, 0, "SET");
    is(&args, 1, "a\0b\r\n", 5);
    is_text(&args, 2, "");
    is_text(&args, 3, "");
    is_text(&args, 4, "0");
    is_text(&args, 5, "18446744073709551615");
    is_text(&args, 6, "00000000000000000042");
    is_text(&args, 7, "18446744073709551615");
    is_text(&args, 8, "key{-7}");
    redis_args_fini(&args);
}

static void test_revisions_sort_as_texts(void **state)
{
    static const uint64_t values[] = {0, 9, 10, 99, 1ull << 53, (1ull << 53) + 1, 1ull << 63, UINT64_MAX};
    struct redis_args args;
    (void)state;
    redis_args_init(&args);
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        redis_args_revision(&args, values[i]);
        assert_int_equal(args.items[i].size, 20);
        if (i > 0)
            assert_true(memcmp(args.bytes + args.items[i - 1].at, args.bytes + args.items[i].at, 20) < 0);
    }
    redis_args_fini(&args);
}

static void test_grows(void **state)
{
    struct redis_args args;
    char big[3000];
    (void)state;
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = 0;
    redis_args_init(&args);
    for (uint64_t i = 0; i < 5000; i++)
        redis_args_u64(&args, i * i);
    redis_args_print(&args, "<%s>", big);
    redis_args_bytes(&args, big, sizeof big);
    assert_int_equal(args.count, 5002);
    is_text(&args, 0, "0");
    is_text(&args, 4999, "24990001");
    assert_int_equal(args.items[5000].size, sizeof big + 1);
    assert_int_equal(args.bytes[args.items[5000].at + sizeof big], '>');
    is(&args, 5001, big, sizeof big);
    redis_args_fini(&args);
    assert_null(args.bytes);
    assert_int_equal(args.count, 0);
}

static void test_clear_keeps_the_memory(void **state)
{
    struct redis_args args;
    (void)state;
    redis_args_init(&args);
    redis_args_text(&args, "GET");
    const char *bytes = args.bytes;
    redis_args_clear(&args);
    assert_int_equal(args.count, 0);
    redis_args_text(&args, "DEL");
    assert_ptr_equal(args.bytes, bytes);
    assert_int_equal(args.count, 1);
    is_text(&args, 0, "DEL");
    redis_args_fini(&args);
}

static void test_a_failure_sticks(void **state)
{
    struct redis_args args;
    (void)state;
    redis_args_init(&args);
    redis_args_text(&args, "GET");
    redis_args_bytes(&args, "x", SIZE_MAX / 2); /* more than there is */
    assert_true(args.failed);
    assert_int_equal(args.count, 1);
    redis_args_text(&args, "y");
    assert_true(args.failed);
    assert_int_equal(args.count, 1);
    redis_args_clear(&args);
    assert_false(args.failed);
    redis_args_bytes(&args, "x", SIZE_MAX);
    assert_true(args.failed);
    redis_args_fini(&args);
}

static void test_goes_over_the_wire(void **state)
{
    static const char wanted[] = "*3\r\n$3\r\nSET\r\n$3\r\na\0b\r\n$0\r\n\r\n";
    struct redis_args args;
    char out[256], big[1234] = {0};
    (void)state;
    redis_args_init(&args);
    redis_args_text(&args, "SET");
    redis_args_bytes(&args, "a\0b", 3);
    redis_args_text(&args, "");
    assert_true(redis_args_wire_max(&args) <= sizeof out);
    assert_int_equal(redis_args_write(&args, out), sizeof wanted - 1);
    assert_memory_equal(out, wanted, sizeof wanted - 1);
    redis_args_clear(&args);
    for (int i = 0; i < 100; i++)
        redis_args_bytes(&args, big, sizeof big);
    size_t most = redis_args_wire_max(&args);
    char *wire = malloc(most);
    size_t size = redis_args_write(&args, wire);
    assert_true(size <= most);
    assert_int_equal(size, 6 + 100 * (7 + sizeof big + 2));
    assert_memory_equal(wire, "*100\r\n$1234\r\n", 13);
    free(wire);
    redis_args_fini(&args);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_kind),
        cmocka_unit_test(test_revisions_sort_as_texts),
        cmocka_unit_test(test_grows),
        cmocka_unit_test(test_clear_keeps_the_memory),
        cmocka_unit_test(test_a_failure_sticks),
        cmocka_unit_test(test_goes_over_the_wire),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
