/* The names of L2's keys: what stands where, that the longest fit, and that no two are the same. */
#include "proxy/names/l2_keys.h"

#include "proxy/config/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct scope_types types = {.count = 3, .names = {"global", "server", "channel"}};

static void test_names(void **state)
{
    char key[L2_KEY_SIZE];
    struct scope_key channel = {9, 2}, global = {0, 0};
    (void)state;
    assert_string_equal(l2_key_marker(key, "permtab:"), "permtab:l2:1:marker");
    assert_string_equal(l2_key_user(key, "permtab:", 255, 42), "permtab:l2:1:00000000000000ff:{user:42}");
    assert_string_equal(l2_key_scope(key, "permtab:", 255, &types, channel),
                        "permtab:l2:1:00000000000000ff:{scope:channel:9}");
    assert_string_equal(l2_key_scope(key, "permtab:", 255, &types, global),
                        "permtab:l2:1:00000000000000ff:{scope:global}");
    assert_string_equal(l2_key_marker(key, ""), "l2:1:marker");
}

/* The longest prefix that a configuration may have, the longest name of a type, the largest numbers. */
static void test_longest(void **state)
{
    char prefix[KEY_PREFIX_MAX + 1], key[L2_KEY_SIZE];
    struct scope_types longest = {.count = 2, .names = {"global"}};
    struct scope_key scope = {UINT64_MAX, 1};
    (void)state;
    memset(prefix, 'p', sizeof prefix - 1);
    prefix[sizeof prefix - 1] = 0;
    memset(longest.names[1], 't', sizeof longest.names[1] - 1);
    const char *ends[] = {"marker", "{user:18446744073709551615}", "18446744073709551615}"};
    for (int i = 0; i < 3; i++) {
        if (i == 0)
            l2_key_marker(key, prefix);
        else if (i == 1)
            l2_key_user(key, prefix, UINT64_MAX, UINT64_MAX);
        else
            l2_key_scope(key, prefix, UINT64_MAX, &longest, scope);
        size_t size = strlen(key), end = strlen(ends[i]);
        assert_true(size < L2_KEY_SIZE - 1); /* not cut off */
        assert_string_equal(key + size - end, ends[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_names), cmocka_unit_test(test_longest)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
