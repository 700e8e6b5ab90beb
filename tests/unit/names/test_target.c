/* Targets as text, and the glob against a slow second one. */
#include "proxy/names/target.h"

#include "tests/support/random.h"
#include "tests/support/target_equal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct scope_types TYPES = {.count = 3, .names = {"global", "server", "channel"}};

static int parse(const char *text, struct target *out)
{
    return target_parse(&TYPES, text, strlen(text), out);
}

static void test_round_trip(void **state)
{
    static const struct {
        const char *text;
        struct target target;
    } cases[] = {
        {"user:42", {.kind = TARGET_USER, .id = 42}},
        {"user:0", {.kind = TARGET_USER}},
        {"user:18446744073709551615", {.kind = TARGET_USER, .id = UINT64_MAX}},
        {"user:42@channel:9", {.kind = TARGET_USER_AT, .id = 42, .scope = {9, 2}}},
        {"user:42@global", {.kind = TARGET_USER_AT, .id = 42}},
        {"role:7", {.kind = TARGET_ROLE, .id = 7}},
        {"scope:channel:9", {.kind = TARGET_SCOPE, .scope = {9, 2}}},
        {"scope:global", {.kind = TARGET_SCOPE}},
        {"tag:winter-raid_2.A", {.kind = TARGET_TAG, .word = "winter-raid_2.A"}},
        {"prefix:user:42", {.kind = TARGET_PREFIX, .word = "user:42"}},
        {"pattern:user:4?", {.kind = TARGET_PATTERN, .word = "user:4?"}},
        {"pattern:[^a-c]\\[*", {.kind = TARGET_PATTERN, .word = "[^a-c]\\[*"}},
        {"all", {.kind = TARGET_ALL}},
        {"poke", {.kind = TARGET_POKE}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct target target;
        char text[TARGET_TEXT_SIZE];
        assert_return_code(parse(cases[i].text, &target), 0);
        assert_string_equal(target_format(&TYPES, &target, text), cases[i].text);
        for (size_t k = 0; k < sizeof cases / sizeof *cases; k++)
            assert_int_equal(target_equal(&target, &cases[k].target), i == k);
    }
}

static void test_wrong_texts(void **state)
{
    static const char *const wrong[] = {"",
                                        " ",
                                        "user",
                                        "user:",
                                        "user:x",
                                        "user:-1",
                                        "user: 1",
                                        "user:1 ",
                                        "user:1@",
                                        "user:@global",
                                        "user:1@server",
                                        "user:1@global@global",
                                        "user:1@:1",
                                        "role:",
                                        "role:7@global",
                                        "scope:",
                                        "scope:server",
                                        "scope:server:",
                                        "scope:global:1",
                                        "tag:",
                                        "tag:a b",
                                        "tag:a*",
                                        "tag:a:b",
                                        "tag:é",
                                        "prefix:",
                                        "prefix:a b",
                                        "prefix:\x7f",
                                        "pattern:",
                                        "pattern:\t",
                                        "pattern:[a",
                                        "pattern:[a-]",
                                        "pattern:[\\]",
                                        "pattern:a\\",
                                        "pattern:[^",
                                        "all:",
                                        "all ",
                                        "allx",
                                        "All",
                                        "poke:1",
                                        "pokes",
                                        "everything",
                                        "user:18446744073709551616"};
    struct target target = {.kind = TARGET_ROLE, .id = 5}, before = target;
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (parse(wrong[i], &target) != PERMTAB_E_INVALID)
            fail_msg("\"%s\" was taken", wrong[i]);
    assert_int_equal(parse("scope:guild:1", &target), PERMTAB_E_NO_SCOPE_TYPE);
    assert_int_equal(parse("user:1@guild:1", &target), PERMTAB_E_NO_SCOPE_TYPE);
    assert_int_equal(target_parse(&TYPES, "user:1\0", 7, &target), PERMTAB_E_INVALID);
    assert_int_equal(target_parse(&TYPES, "user:1", 5, &target), PERMTAB_E_INVALID);
    assert_true(target_equal(&target, &before));
}

/* Every byte, so that no end of a range is off by one. */
static void test_bytes(void **state)
{
    static const char tags[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    (void)state;
    for (int byte = 1; byte < 256; byte++) {
        char tag[] = {'t', 'a', 'g', ':', (char)byte, '\0'},
             prefix[] = {'p', 'r', 'e', 'f', 'i', 'x', ':', (char)byte, '\0'};
        struct target target;
        if ((parse(tag, &target) == 0) != (strchr(tags, byte) != NULL))
            fail_msg("byte %d of a tag", byte);
        if ((parse(prefix, &target) == 0) != (byte > ' ' && byte <= '~'))
            fail_msg("byte %d of a prefix", byte);
    }
}

static void test_lengths(void **state)
{
    char text[TARGET_TEXT_SIZE + 8] = "prefix:", again[TARGET_TEXT_SIZE];
    struct target target;
    struct scope_types longest = TYPES;
    (void)state;
    memset(text + 7, 'x', TARGET_WORD_SIZE);
    assert_int_equal(parse(text, &target), PERMTAB_E_INVALID);
    text[7 + TARGET_WORD_SIZE - 1] = '\0';
    assert_return_code(parse(text, &target), 0);
    assert_string_equal(target_format(&TYPES, &target, again), text);
    memset(text, 'u', sizeof text);
    assert_int_equal(target_parse(&TYPES, text, sizeof text, &target), PERMTAB_E_INVALID);
    memset(longest.names[2], 'x', sizeof longest.names[2] - 1);
    target = (struct target){.kind = TARGET_USER_AT, .id = UINT64_MAX, .scope = {UINT64_MAX, 2}};
    target_format(&longest, &target, again);
    struct target back;
    assert_return_code(target_parse(&longest, again, strlen(again), &back), 0);
    assert_true(target_equal(&target, &back));
}

static void test_differences(void **state)
{
    (void)state;
    struct target a = {.kind = TARGET_USER_AT, .id = 1, .scope = {9, 2}}, b = a;
    b.scope.type = 1;
    assert_false(target_equal(&a, &b));
    b = a;
    b.id = 2;
    assert_false(target_equal(&a, &b));
    a = (struct target){.kind = TARGET_TAG, .word = "x"};
    b = (struct target){.kind = TARGET_TAG, .word = "y"};
    assert_false(target_equal(&a, &b));
}

/* ---- the glob ---------------------------------------------------------------------------------------------------- */

static void test_glob(void **state)
{
    static const struct {
        const char *pattern, *text;
        bool matches;
    } cases[] = {
        {"", "", true},
        {"", "a", false},
        {"*", "", true},
        {"*", "user:42", true},
        {"?", "", false},
        {"user:4?", "user:42", true},
        {"user:4?", "user:4", false},
        {"user:4?", "user:421", false},
        {"user:42*", "user:42", true},
        {"user:42*", "user:421", true},
        {"*:9", "scope:channel:9", true},
        {"*:9", "scope:channel:91", false},
        {"*a*b*", "xxaxxbxx", true},
        {"*a*b*", "xxbxxaxx", false},
        {"*aab", "aaaaaaab", true},
        {"user:[0-4]", "user:3", true},
        {"user:[0-4]", "user:5", false},
        {"user:[4-0]", "user:3", true},
        {"user:[^0-4]", "user:5", true},
        {"user:[^0-4]", "user:3", false},
        {"[^a]", "^", true},
        {"[a^]", "^", true},
        {"user:[135]", "user:3", true},
        {"[]", "a", false},
        {"[\\]]", "]", true},
        {"[a\\-c]", "b", false},
        {"[a\\-c]", "-", true},
        {"\\*", "*", true},
        {"\\*", "x", false},
        {"\\", "\\", true},
        {"[ab", "b", true},
        {"{user}", "{user}", true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (target_glob(cases[i].pattern, cases[i].text) != cases[i].matches)
            fail_msg("\"%s\" and \"%s\"", cases[i].pattern, cases[i].text);
}

/* The same meaning, said by recursion; brackets and backslashes have their end. */
static bool slow_class(const char **at, char byte)
{
    const char *p = *at + 1;
    bool inverted = *p == '^', found = false;
    for (p += inverted; *p != ']'; p++) {
        if (*p == '\\') {
            found |= *++p == byte;
        } else if (p[1] == '-') {
            found |= (byte >= p[0] && byte <= p[2]) || (byte >= p[2] && byte <= p[0]);
            p += 2;
        } else {
            found |= *p == byte;
        }
    }
    *at = p + 1;
    return found != inverted;
}

static bool slow_glob(const char *pattern, const char *text)
{
    if (*pattern == '\0')
        return *text == '\0';
    if (*pattern == '*')
        return slow_glob(pattern + 1, text) || (*text != '\0' && slow_glob(pattern, text + 1));
    if (*text == '\0')
        return false;
    if (*pattern == '[')
        return slow_class(&pattern, *text) && slow_glob(pattern, text + 1);
    if (*pattern == '?')
        return slow_glob(pattern + 1, text + 1);
    pattern += *pattern == '\\';
    return *pattern == *text && slow_glob(pattern + 1, text + 1);
}

static void test_glob_property(void **state)
{
    static const char *const pieces[] = {"a",    "b",     "*",     "*",   "?",      "[ab]",
                                         "[^a]", "[a-c]", "[c-b]", "\\*", "[\\]a]", ":"};
    static const char letters[] = "abc*]:";
    struct random random = {20240611};
    uint64_t matched = 0;
    (void)state;
    for (int round = 0; round < 200000; round++) {
        char word[64] = "", text[12] = "";
        struct target target;
        for (uint64_t n = random_next(&random) % 7; n > 0; n--)
            strcat(word, pieces[random_next(&random) % (sizeof pieces / sizeof *pieces)]);
        for (uint64_t n = random_next(&random) % 9, i = 0; i < n; i++)
            text[i] = letters[random_next(&random) % (sizeof letters - 1)];
        bool expected = slow_glob(word, text);
        if (target_glob(word, text) != expected)
            fail_msg("\"%s\" and \"%s\": expected %d", word, text, expected);
        matched += expected;
        char whole[80];
        snprintf(whole, sizeof whole, "pattern:%s", word);
        assert_int_equal(parse(whole, &target), word[0] != '\0' ? 0 : PERMTAB_E_INVALID);
    }
    assert_true(matched > 10000);
}

/* A matcher that recurses at every star would not come back from this one. */
static void test_glob_is_bounded(void **state)
{
    char pattern[TARGET_WORD_SIZE], text[4096];
    (void)state;
    for (size_t i = 0; i + 2 < sizeof pattern; i += 2)
        memcpy(pattern + i, "a*", 2);
    pattern[sizeof pattern - 2] = 'b';
    pattern[sizeof pattern - 1] = '\0';
    memset(text, 'a', sizeof text);
    text[sizeof text - 1] = '\0';
    assert_false(target_glob(pattern, text));
}

static void test_matches(void **state)
{
    (void)state;
    struct target prefix = {.kind = TARGET_PREFIX, .word = "user:42"};
    assert_true(target_matches(&prefix, "user:42"));
    assert_true(target_matches(&prefix, "user:421"));
    assert_false(target_matches(&prefix, "user:4"));
    assert_false(target_matches(&prefix, "xuser:42"));
    prefix = (struct target){.kind = TARGET_PREFIX, .word = "user:*"}; /* no star to a prefix */
    assert_false(target_matches(&prefix, "user:42"));
    struct target pattern = {.kind = TARGET_PATTERN, .word = "scope:*:9"};
    assert_true(target_matches(&pattern, "scope:channel:9"));
    assert_false(target_matches(&pattern, "user:9"));
    struct target user = {.kind = TARGET_USER, .id = 42};
    assert_false(target_matches(&user, "user:42"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),    cmocka_unit_test(test_wrong_texts),
        cmocka_unit_test(test_bytes),         cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_differences),   cmocka_unit_test(test_glob),
        cmocka_unit_test(test_glob_property), cmocka_unit_test(test_glob_is_bounded),
        cmocka_unit_test(test_matches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
