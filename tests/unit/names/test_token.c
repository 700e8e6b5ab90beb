/* proxy/names/token.c: what was written is read, and nothing else. */
#include "proxy/names/token.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void test_round_trip(void **state)
{
    static const uint64_t numbers[] = {0, 1, 42, 1ull << 32, (1ull << 53) + 1, 1ull << 63, UINT64_MAX};
    const size_t count = sizeof numbers / sizeof numbers[0];
    (void)state;
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < count; k++) {
            char text[TOKEN_TEXT_SIZE];
            uint64_t store_id = 7, revision = 7;
            assert_true(token_parse(token_format(numbers[i], numbers[k], text), &store_id, &revision));
            assert_true(store_id == numbers[i] && revision == numbers[k]);
        }
    char text[TOKEN_TEXT_SIZE];
    assert_string_equal(token_format(1234, 12, text), "00000000000004d2-12");
    assert_int_equal(strlen(token_format(UINT64_MAX, UINT64_MAX, text)), 37);
}

static void test_anything_else_is_none(void **state)
{
    static const char *const texts[] = {"",
                                        "-",
                                        "12",
                                        "00000000000004d2",
                                        "00000000000004d2-",
                                        "00000000000004d2-012",
                                        "00000000000004d2-12 ",
                                        " 0000000000004d2-12",
                                        "00000000000004D2-12",
                                        "0x000000000004d2-12",
                                        "00000000000004d2--2",
                                        "00000000000004d2-+2",
                                        "0000000000004d2-12",
                                        "000000000000004d2-12",
                                        "00000000000004d2-18446744073709551616",
                                        "00000000000004d2-12x",
                                        "+0000000000004d2-12",
                                        "00000000000004g2-12",
                                        "00000000000004d2:12",
                                        "1234-12"};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        uint64_t store_id, revision;
        if (token_parse(texts[i], &store_id, &revision))
            fail_msg("\"%s\" was taken for a token", texts[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_anything_else_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
