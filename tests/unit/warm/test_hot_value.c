/* Hot keys as bytes: there and back, and whatever stands in Redis instead: a clean refusal. */
#include "proxy/warm/hot_value.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define STORE 77u
#define TYPES 3u

static struct hot_key keys[HOT_VALUE_KEYS], back[HOT_VALUE_KEYS];

static int setup(void **state)
{
    (void)state;
    for (size_t i = 0; i < HOT_VALUE_KEYS; i++)
        keys[i] = (struct hot_key){UINT64_MAX - i, {UINT64_MAX / (i + 1), i % TYPES}, 1 + i % KEYS_FREQUENCY_MAX};
    return 0;
}

static struct wire_buffer packed(size_t count)
{
    struct wire_buffer value;
    wire_buffer_init(&value);
    hot_value_pack(&value, STORE, keys, count);
    assert_false(value.failed);
    return value;
}

static void there_and_back(void **state)
{
    static const size_t counts[] = {0, 1, 100, HOT_VALUE_KEYS};
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct wire_buffer value = packed(counts[i]);
        assert_true(value.size <= HOT_VALUE_MAX); /* however large the numbers are */
        assert_int_equal(hot_value_take(value.data, value.size, STORE, TYPES, back), counts[i]);
        for (size_t k = 0; k < counts[i]; k++)
            assert_true(back[k].user == keys[k].user && scope_equal(back[k].scope, keys[k].scope) &&
                        back[k].frequency == keys[k].frequency);
        wire_buffer_fini(&value);
    }
}

static void another_store_and_other_types(void **state)
{
    struct wire_buffer value = packed(3);
    (void)state;
    assert_int_equal(hot_value_take(value.data, value.size, STORE + 1, TYPES, back), PERMTAB_E_CONFLICT);
    assert_int_equal(hot_value_take(value.data, value.size, STORE, TYPES - 1, back), PERMTAB_E_PROTOCOL);
    wire_buffer_fini(&value);
}

/* `words` numbers as keys, in a value that is right otherwise. */
static int64_t taken(uint64_t version, const char *name, const uint64_t *words, size_t count)
{
    struct wire_buffer value;
    wire_buffer_init(&value);
    wire_notify(&value, name, 3);
    wire_put_u64(&value, "v", version);
    wire_put_u64(&value, "store", STORE);
    wire_put_array(&value, "keys", (uint32_t)count);
    for (size_t i = 0; i < count; i++)
        wire_u64(&value, words[i]);
    int64_t code = hot_value_take(value.data, value.size, STORE, TYPES, back);
    wire_buffer_fini(&value);
    return code;
}

static void what_is_no_key(void **state)
{
    static const uint64_t good[4] = {1, 2, 3, 4}, type[4] = {1, TYPES, 3, 4}, none[4] = {1, 2, 3, 0},
                          more[4] = {1, 2, 3, KEYS_FREQUENCY_MAX + 1};
    (void)state;
    assert_int_equal(taken(1, "hot.keys", good, 4), 1);
    assert_int_equal(taken(2, "hot.keys", good, 4), PERMTAB_E_LAYOUT);
    assert_int_equal(taken(1, "l2.rows", good, 4), PERMTAB_E_PROTOCOL);
    assert_int_equal(taken(1, "hot.keys", good, 3), PERMTAB_E_PROTOCOL);
    assert_int_equal(taken(1, "hot.keys", type, 4), PERMTAB_E_PROTOCOL);
    assert_int_equal(taken(1, "hot.keys", none, 4), PERMTAB_E_PROTOCOL);
    assert_int_equal(taken(1, "hot.keys", more, 4), PERMTAB_E_PROTOCOL);
    uint64_t *many = calloc(4 * (HOT_VALUE_KEYS + 1), sizeof *many);
    for (size_t i = 0; i < 4 * (HOT_VALUE_KEYS + 1); i++)
        many[i] = 1;
    assert_int_equal(taken(1, "hot.keys", many, 4 * HOT_VALUE_KEYS), HOT_VALUE_KEYS);
    assert_int_equal(taken(1, "hot.keys", many, 4 * (HOT_VALUE_KEYS + 1)), PERMTAB_E_PROTOCOL);
    free(many);
}

/* Cut off anywhere, longer than it is, or with any other byte: refused, or other numbers within their bounds. */
static void damaged(void **state)
{
    struct wire_buffer value = packed(5);
    (void)state;
    for (size_t size = 0; size < value.size; size++) {
        char *copy = malloc(size + 1); /* so that the sanitizer sees the end */
        memcpy(copy, value.data, size);
        assert_true(hot_value_take(copy, size, STORE, TYPES, back) < 0);
        free(copy);
    }
    for (size_t at = 0; at < value.size; at++)
        for (unsigned bit = 0; bit < 8; bit++) {
            value.data[at] = (char)(value.data[at] ^ 1 << bit);
            int64_t count = hot_value_take(value.data, value.size, STORE, TYPES, back);
            assert_true(count < 0 || count == 5);
            for (int64_t i = 0; i < count; i++)
                assert_true(back[i].scope.type < TYPES && back[i].frequency > 0 &&
                            back[i].frequency <= KEYS_FREQUENCY_MAX);
            value.data[at] = (char)(value.data[at] ^ 1 << bit);
        }
    wire_buffer_fini(&value);
    char *large = calloc(1, HOT_VALUE_MAX + 1);
    assert_int_equal(hot_value_take(large, HOT_VALUE_MAX + 1, STORE, TYPES, back), PERMTAB_E_PROTOCOL);
    free(large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_and_back),
        cmocka_unit_test(another_store_and_other_types),
        cmocka_unit_test(what_is_no_key),
        cmocka_unit_test(damaged),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
