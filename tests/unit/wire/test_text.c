/* Text from outside: UTF-8 and nothing else, and what of it may be shown. */
#include "client/wire/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct {
    const char *bytes;
    uint32_t character; /* of the first; TEXT_NOT_UTF8 */
} texts[] = {
    {"a", 'a'},
    {"\xc3\xa9", 0xe9},
    {"\xe2\x82\xac", 0x20ac},
    {"\xf0\x9f\x98\x80", 0x1f600},
    {"\xf4\x8f\xbf\xbf", 0x10ffff},
    {"\xed\x9f\xbf", 0xd7ff},
    {"\xc2\x9b", 0x9b},
    {"\x80", TEXT_NOT_UTF8},
    {"\xe9", TEXT_NOT_UTF8},
    {"\xc3", TEXT_NOT_UTF8},
    {"\xc3(", TEXT_NOT_UTF8},
    {"\xc0\xaf", TEXT_NOT_UTF8}, /* too long */
    {"\xe0\x80\xaf", TEXT_NOT_UTF8},
    {"\xf0\x80\x80\xaf", TEXT_NOT_UTF8},
    {"\xed\xa0\x80", TEXT_NOT_UTF8},     /* a surrogate */
    {"\xf4\x90\x80\x80", TEXT_NOT_UTF8}, /* above U+10FFFF */
    {"\xf5\x80\x80\x80", TEXT_NOT_UTF8},
    {"\xff", TEXT_NOT_UTF8},
};

static void test_characters(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        uint32_t character = 0;
        size_t size = strlen(texts[i].bytes), taken = text_next(texts[i].bytes, size, &character);
        if (character != texts[i].character || taken != (character == TEXT_NOT_UTF8 ? 1 : size))
            fail_msg("number %zu: %zu bytes, U+%04X", i, taken, (unsigned)character);
        assert_int_equal(text_is_utf8(texts[i].bytes, size), character != TEXT_NOT_UTF8);
    }
}

/* Every character there is goes there and back, and is cut nowhere. */
static void test_all_characters(void **state)
{
    (void)state;
    for (uint32_t wanted = 0; wanted <= 0x10ffff; wanted++) {
        char bytes[4];
        size_t size = wanted < 0x80 ? 1 : wanted < 0x800 ? 2 : wanted < 0x10000 ? 3 : 4;
        static const unsigned char heads[] = {0, 0, 0xc0, 0xe0, 0xf0};
        uint32_t rest = wanted, character;
        for (size_t i = size; i-- > 1; rest >>= 6)
            bytes[i] = (char)(0x80 | (rest & 0x3f));
        bytes[0] = (char)(heads[size] | rest);
        bool surrogate = wanted >= 0xd800 && wanted <= 0xdfff;
        size_t taken = text_next(bytes, size, &character);
        if (surrogate ? character != TEXT_NOT_UTF8 : character != wanted || taken != size)
            fail_msg("U+%04X: %zu bytes, U+%04X", (unsigned)wanted, taken, (unsigned)character);
        if (size > 1 && (text_next(bytes, size - 1, &character) != 1 || character != TEXT_NOT_UTF8))
            fail_msg("U+%04X without its end is a character", (unsigned)wanted);
    }
}

static void test_shown(void **state)
{
    static const uint32_t hidden[] = {0,      '\n',   0x1b,   0x7f,   0x80,         0x9b,
                                      0x9f,   0x61c,  0x200e, 0x200f, 0x2028,       0x2029,
                                      0x202a, 0x202e, 0x2066, 0x2069, TEXT_NOT_UTF8};
    static const uint32_t shown[] = {' ', '~', 0xa0, 0xe9, 0x200d, 0x2030, 0x2065, 0x206a, 0xfffd, 0x1f600};
    (void)state;
    for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++)
        assert_false(text_is_shown(hidden[i]));
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++)
        assert_true(text_is_shown(shown[i]));
}

static void test_clean(void **state)
{
    char out[64], trouble[TEXT_TROUBLE_SIZE];
    static const char bad[] = "a\xff\tb\nc\x1b[2J\xc2\x9b\xe2\x80\xae";
    (void)state;
    size_t length = text_clean_line(out, sizeof out, bad, sizeof bad - 1);
    assert_int_equal(length, strlen(out));
    assert_string_equal(out,
                        "a" TEXT_REPLACEMENT " b c" TEXT_REPLACEMENT "[2J" TEXT_REPLACEMENT TEXT_REPLACEMENT);
    (void)text_clean_lines(out, sizeof out, bad, sizeof bad - 1);
    assert_string_equal(out, "a" TEXT_REPLACEMENT "\tb\nc" TEXT_REPLACEMENT
                             "[2J" TEXT_REPLACEMENT TEXT_REPLACEMENT);
    assert_false(text_is_clean(bad, sizeof bad - 1, true, trouble));
    assert_string_equal(trouble, "is not UTF-8");
    assert_false(text_is_clean("x\xe2\x80\xae", 4, true, trouble));
    assert_string_equal(trouble, "has U+202E in it");
    assert_true(text_is_clean("x\n\ty\xc3\xa9", 6, true, trouble));
    assert_false(text_is_clean("x\n", 2, false, trouble));
    /* cut before what does not fit whole, and exactly as long as the room is */
    assert_int_equal(text_clean_line(out, 4, "ab\xc3\xa9", 4), 2);
    assert_int_equal(text_clean_line(out, 5, "ab\xc3\xa9", 4), 4);
    assert_int_equal(text_clean_line(out, 3, "\xff", 1), 0);
    assert_int_equal(text_clean_line(out, 1, "a", 1), 0);
    assert_string_equal(out, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_characters),
        cmocka_unit_test(test_all_characters),
        cmocka_unit_test(test_shown),
        cmocka_unit_test(test_clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
