/* Names of keys as a clean-up sees them: globs that mean what they should, owners, and how far a cursor is. */
#include "proxy/cleanup/keys.h"

#include "proxy/names/l2_keys.h"

#include <fnmatch.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct scope_types types = {.count = 3, .names = {"global", "server", "channel"}};

/* fnmatch has the same rules for what is used here. */
static bool matches(const char *glob, const char *key)
{
    return fnmatch(glob, key, 0) == 0;
}

static void test_globs(void **state)
{
    static const char odd[] = "a*b?[c]\\d:";
    char glob[CLEANUP_PATTERN_SIZE], key[L2_KEY_SIZE];
    (void)state;
    assert_int_equal(cleanup_glob_prefix(glob, odd, "user:42"), 0);
    assert_true(matches(glob, l2_key_user(key, odd, 7, 42)));
    assert_true(matches(glob, l2_key_user(key, odd, UINT64_MAX, 421)));
    assert_false(matches(glob, l2_key_user(key, odd, 7, 4)));
    assert_false(matches(glob, l2_key_user(key, "aXbXc\\d:", 7, 42)));
    assert_false(matches(glob, l2_key_user(key, "axxbxcd:", 7, 42)));
    assert_int_equal(cleanup_glob_prefix(glob, odd, "user:4*"), 0); /* a star of a prefix is a star */
    assert_false(matches(glob, l2_key_user(key, odd, 7, 42)));
    assert_int_equal(cleanup_glob_pattern(glob, odd, "user:4?"), 0);
    assert_true(matches(glob, l2_key_user(key, odd, 7, 42)));
    assert_false(matches(glob, l2_key_user(key, odd, 7, 421)));
    assert_false(matches(glob, l2_key_marker(key, odd)));
    cleanup_glob_of(glob, CLEANUP_EPOCHS, odd);
    assert_true(matches(glob, l2_key_user(key, odd, 7, 42)));
    assert_false(matches(glob, l2_key_marker(key, odd)));
    cleanup_glob_of(glob, CLEANUP_ORPHANS, odd);
    assert_true(matches(glob, l2_key_marker(key, odd)));
    assert_false(matches(glob, "axxbxcd:l2:1:marker"));
}

static void test_too_long(void **state)
{
    char glob[CLEANUP_PATTERN_SIZE], word[CLEANUP_PATTERN_SIZE + 1];
    (void)state;
    memset(word, '*', sizeof word);
    word[240] = 0;
    assert_int_equal(cleanup_glob_prefix(glob, "p:", word), 0);
    assert_true(strlen(glob) > 480 && strlen(glob) < CLEANUP_PATTERN_SIZE);
    word[240] = '*';
    word[260] = 0;
    assert_int_equal(cleanup_glob_prefix(glob, "p:", word), PERMTAB_E_LIMIT);
    word[260] = '*';
    word[CLEANUP_PATTERN_SIZE] = 0;
    assert_int_equal(cleanup_glob_pattern(glob, "", word), PERMTAB_E_LIMIT);
}

static bool owner(const char *key, struct cleanup_owner *out)
{
    return cleanup_owner_parse(&types, key, strlen(key), out);
}

static void test_owner(void **state)
{
    struct cleanup_owner out;
    char key[L2_KEY_SIZE];
    (void)state;
    assert_true(owner(l2_key_user(key, "p:", 1, UINT64_MAX), &out));
    assert_false(out.is_scope);
    assert_true(out.user == UINT64_MAX);
    assert_true(owner(l2_key_scope(key, "p:", 1, &types, (struct scope_key){.id = 9, .type = 2}), &out));
    assert_true(out.is_scope && out.scope.id == 9 && out.scope.type == 2);
    assert_true(owner("p:l2:1:0000000000000001:{scope:global}", &out));
    assert_true(out.is_scope && out.scope.type == 0);
    static const char *const others[] = {
        "",
        "{}",
        "{user:}",
        "{user:x}",
        "{user:18446744073709551616}",
        "{user:1",
        "{scope:}",
        "{scope:guild:1}",
        "{scope:server}",
        "{scope:server:-1}",
        "user:1}",
        "{userr:1}",
        "{scope:server:9}x",
        "}{",
        "{user:000000000000000000000000000000000000000000000000000000000000000000000000000000000000000001}",
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_false(owner(others[i], &out));
    assert_false(cleanup_owner_parse(&types, "{user:1\0}", 9, &out));
}

static void test_passed(void **state)
{
    (void)state;
    /* A table of 8 buckets: cursors come as 0 4 2 6 1 5 3 7. */
    static const uint64_t cursors[] = {4, 2, 6, 1, 5, 3, 7};
    for (uint64_t i = 0; i < 7; i++)
        assert_int_equal(cleanup_keys_passed(cursors[i], 800), (i + 1) * 100);
    assert_true(cleanup_keys_passed(UINT64_MAX, 1000) <= 1000);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_globs),
        cmocka_unit_test(test_too_long),
        cmocka_unit_test(test_owner),
        cmocka_unit_test(test_passed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
