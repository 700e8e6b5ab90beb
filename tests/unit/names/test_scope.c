/* Scopes and ids as text. */
#include "proxy/names/scope.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const struct scope_types TYPES = {.count = 3, .names = {"global", "server", "channel"}};

static void test_ids(void **state)
{
    static const char *const wrong[] = {
        "", " 1", "1 ", "+1", "-1", "0x10", "1e3", "18446744073709551616", "99999999999999999999999", "１"};
    uint64_t id = 77;
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_false(id_parse(wrong[i], &id));
    assert_int_equal(id, 77);
    assert_true(id_parse("0", &id) && id == 0);
    assert_true(id_parse("9223372036854775808", &id) && id == 9223372036854775808ull);
    assert_true(id_parse("18446744073709551615", &id) && id == UINT64_MAX);
}

static void test_scopes(void **state)
{
    static const char *const wrong[] = {"",           ":",         "server",   "server:", ":1",
                                        "server:1:2", "server: 1", "global:0", "global:"};
    struct scope_key key = {.id = 5, .type = 2};
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(scope_parse(&TYPES, wrong[i], &key), PERMTAB_E_SYNTAX);
    assert_int_equal(scope_parse(&TYPES, "guild:1", &key), PERMTAB_E_NO_SCOPE_TYPE);
    assert_int_equal(scope_parse(&TYPES, "serve:1", &key), PERMTAB_E_NO_SCOPE_TYPE);
    assert_int_equal(scope_parse(&TYPES, "servers:1", &key), PERMTAB_E_NO_SCOPE_TYPE);
    assert_true(key.id == 5 && key.type == 2);
    assert_return_code(scope_parse(&TYPES, "global", &key), 0);
    assert_true(key.id == 0 && key.type == 0);
    assert_return_code(scope_parse(&TYPES, "channel:18446744073709551615", &key), 0);
    assert_true(key.id == UINT64_MAX && key.type == 2);
}

static void test_format(void **state)
{
    char text[SCOPE_TEXT_SIZE];
    struct scope_types longest = TYPES;
    (void)state;
    assert_string_equal(scope_format(&TYPES, (struct scope_key){0}, text), "global");
    assert_string_equal(scope_format(&TYPES, (struct scope_key){.id = UINT64_MAX, .type = 1}, text),
                        "server:18446744073709551615");
    assert_string_equal(scope_format(&TYPES, (struct scope_key){.id = 9, .type = 14}, text), "14:9");
    memset(longest.names[2], 'x', sizeof longest.names[2] - 1);
    scope_format(&longest, (struct scope_key){.id = UINT64_MAX, .type = 2}, text);
    assert_int_equal(strlen(text), sizeof longest.names[2] - 1 + 1 + 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_ids), cmocka_unit_test(test_scopes),
                                       cmocka_unit_test(test_format)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
