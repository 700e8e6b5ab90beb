/* Failures: codes kept, places in front, never longer than their room. */
#include "proxy/base/failure.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_set_and_wrap(void **state)
{
    struct failure failure;
    (void)state;
    assert_int_equal(failure_set(&failure, PERMTAB_E_SYNTAX, "unexpected '%c'", '}'), PERMTAB_E_SYNTAX);
    assert_int_equal(failure_wrap(&failure, "line %d", 7), PERMTAB_E_SYNTAX);
    assert_int_equal(failure_wrap(&failure, "%s", "policy.json"), PERMTAB_E_SYNTAX);
    assert_int_equal(failure.code, PERMTAB_E_SYNTAX);
    assert_string_equal(failure.text, "policy.json: line 7: unexpected '}'");
    assert_int_equal(failure_set(NULL, PERMTAB_E_MEMORY, "%s", "x"), PERMTAB_E_MEMORY);
    assert_int_equal(failure_wrap(NULL, "%s", "x"), PERMTAB_E_INVALID);
}

static void test_long_texts_are_cut_at_the_end(void **state)
{
    struct failure failure;
    char text[2 * FAILURE_TEXT_SIZE];
    (void)state;
    memset(text, 'a', sizeof text);
    text[sizeof text - 1] = '\0';
    failure_set(&failure, PERMTAB_E_STORE, "%s", text);
    assert_int_equal(strlen(failure.text), FAILURE_TEXT_SIZE - 1);
    failure_wrap(&failure, "place");
    assert_int_equal(strlen(failure.text), FAILURE_TEXT_SIZE - 1);
    assert_memory_equal(failure.text, "place: aaa", 10);
    failure_wrap(&failure, "%s", text);
    assert_int_equal(strlen(failure.text), FAILURE_TEXT_SIZE - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_set_and_wrap),
                                       cmocka_unit_test(test_long_texts_are_cut_at_the_end)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
