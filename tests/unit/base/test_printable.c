/* Every byte, by both rules. */
#include "proxy/base/printable.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void all_bytes(char text[256])
{
    for (unsigned i = 0; i < 255; i++)
        text[i] = (char)(i + 1);
    text[255] = '\0';
}

static void test_ascii(void **state)
{
    (void)state;
    char text[256];
    all_bytes(text);
    printable_ascii(text);
    for (unsigned byte = 1; byte < 256; byte++)
        assert_int_equal((unsigned char)text[byte - 1], byte >= 32 && byte <= 126 ? byte : '?');
    assert_int_equal(text[255], 0);
}

static void test_line(void **state)
{
    (void)state;
    char text[256];
    all_bytes(text);
    printable_line(text);
    for (unsigned byte = 1; byte < 256; byte++)
        assert_int_equal((unsigned char)text[byte - 1], byte >= 32 && byte != 127 ? byte : '?');
    assert_int_equal(text[255], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ascii),
        cmocka_unit_test(test_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
