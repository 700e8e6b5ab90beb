/* A document for which there is no memory is refused, whichever allocation fails, and never read as another one.
 * Allocations are replaced (--wrap, CMakeLists.txt). */
#include "proxy/document/document.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct scope_types types = {.count = 3, .names = {"global", "server", "channel"}};
static const char syllables[] = "lorem_ipsum_dolor_sit_amet_consectetur_adipiscing_elit_sed_do_eiusmod";

static unsigned allocations, failing; /* the number of the first that fails; 0: none does */
static bool for_good;

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
    allocations++;
    bool fails = failing != 0 && (for_good ? allocations >= failing : allocations == failing);
    return fails ? NULL : __real_malloc(size);
}

static int parse(struct policy *out, const char *text, unsigned nth, struct failure *failure)
{
    allocations = 0;
    failing = nth;
    int code = policy_parse(out, POLICY_AUTO, text, strlen(text), &types, failure);
    failing = 0;
    return code;
}

static char *print(const struct policy *policy)
{
    char *out = NULL;
    size_t size = 0;
    assert_int_equal(policy_print(policy, &types, &out, &size), 0);
    return out;
}

/* Tries each allocation of a document; returns how many there are. */
static unsigned fail_each(const char *text)
{
    struct failure failure = {0};
    struct policy policy;
    if (parse(&policy, text, 0, &failure) < 0)
        fail_msg("%s: %s", text, failure.text);
    unsigned count = allocations;
    char *wanted = print(&policy);
    policy_fini(&policy);
    for (unsigned nth = 1; nth <= count; nth++) {
        int code = parse(&policy, text, nth, &failure);
        if (code == PERMTAB_E_MEMORY)
            continue;
        if (code < 0)
            fail_msg("allocation %u of %u: %d %s", nth, count, code, failure.text);
        char *printed = print(&policy);
        assert_string_equal(printed, wanted);
        free(printed);
        policy_fini(&policy);
    }
    free(wanted);
    return count;
}

/* The buffer of a token grows at its 16th byte, its 32nd and so on: at the quotation mark, or within a text; at a
 * number's last digit, or at what ends it; in the middle of a letter of several bytes. */
static void try_all_lengths(void)
{
    char text[512];
    for (int length = 1; length < (int)sizeof syllables; length++) {
        (void)snprintf(text, sizeof text, "{\"permissions\": [{\"name\": \"%.*s\"}]}", length, syllables);
        assert_true(fail_each(text) > 8);
        (void)snprintf(text, sizeof text,
                       "{\"roles\": [{\"id\": 1, \"name\": \"%.*s\xc3\xa4\xe2\x82\xac\xf0\x9f\x94\x91\"}]}",
                       length, syllables);
        assert_true(fail_each(text) > 8);
    }
    for (int length = 1; length < 20; length++) {
        (void)snprintf(text, sizeof text,
                       "{\"roles\":[{\"id\":%.*s}],\"assignments\":[{\"user\":\"%.*s\",\"role\":1}]}",
                       length < 19 ? length : 18, "1234567890123456789", length, "1234567890123456789");
        assert_true(fail_each(text) > 8);
    }
}

static void test_an_allocation_fails_once(void **state)
{
    (void)state;
    for_good = false;
    try_all_lengths();
}

static void test_allocations_fail_for_good(void **state)
{
    (void)state;
    for_good = true;
    try_all_lengths();
}

static void test_a_policy(void **state)
{
    static const char policy[] =
        "{\"permissions\": [{\"name\": \"message.delete\"}, {\"name\": \"message.send\"}, {\"name\": \"a\"},"
        "                  {\"name\": \"announcement.publish.everywhere\", \"description\": \"\\u00e4 \\\"b\\\"\"}],"
        " \"scopes\": [{\"scope\": \"server:175928847299117063\", \"parent\": \"global\"}],"
        " \"roles\": [{\"id\": 175928847299117064, \"name\": \"moderators of everything\","
        "            \"scope\": \"server:175928847299117063\", \"allow\": [\"message.delete\", \"a\"]}],"
        " \"assignments\": [{\"user\": 1759288472991170631, \"role\": 175928847299117064}]}";
    (void)state;
    for_good = false;
    assert_true(fail_each(policy) > 50);
    for_good = true;
    assert_true(fail_each(policy) > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_allocation_fails_once),
        cmocka_unit_test(test_allocations_fail_for_good),
        cmocka_unit_test(test_a_policy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
