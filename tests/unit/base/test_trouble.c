/* Repeated trouble in the log, by the clock of the test: which lines are written, and how few. */
#include "proxy/base/trouble.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define SECOND 1000000000ull
#define START  (1000 * SECOND)

/* Holds what was written to standard error since begin_log. */
static FILE *kept;
static int before = -1;

static void begin_log(void)
{
    kept = tmpfile();
    assert_non_null(kept);
    before = dup(STDERR_FILENO);
    assert_true(before >= 0 && dup2(fileno(kept), STDERR_FILENO) >= 0);
}

/* Returns how many lines there are; all of them without their times in `text`, each after a blank. */
static unsigned end_log(char *text, size_t size)
{
    char line[1024];
    unsigned lines = 0;
    assert_true(dup2(before, STDERR_FILENO) >= 0);
    (void)close(before);
    rewind(kept);
    text[0] = '\0';
    while (fgets(line, sizeof line, kept) != NULL) {
        const char *after_time = strchr(line, ' ');
        size_t used = strlen(text);
        assert_non_null(after_time);
        (void)snprintf(text + used, size - used, "%s", after_time);
        lines++;
    }
    (void)fclose(kept);
    return lines;
}

static void refuse(struct trouble *trouble, uint64_t now_ns)
{
    (void)trouble_happens(trouble, LOG_LEVEL_WARNING, now_ns, "l2: refused: %s", "OOM");
}

static void test_one_line_when_it_begins_and_one_when_it_ends(void **state)
{
    struct trouble trouble = {0};
    char text[1024];
    (void)state;
    begin_log();
    trouble_ends(&trouble, START, "l2: well");
    for (unsigned i = 0; i < 240; i++)
        refuse(&trouble, START + i * SECOND / 10);
    assert_true(trouble_lasts(&trouble));
    trouble_ends(&trouble, START + 24 * SECOND, "l2: well");
    trouble_ends(&trouble, START + 25 * SECOND, "l2: well");
    assert_false(trouble_lasts(&trouble));
    assert_int_equal(end_log(text, sizeof text), 2);
    assert_string_equal(text, " warning l2: refused: OOM\n info l2: well (after 24.000 s, 240 times)\n");
}

static void test_while_it_lasts_a_line_now_and_then_with_a_count(void **state)
{
    struct trouble trouble = {0};
    char text[65536];
    (void)state;
    begin_log();
    for (unsigned i = 0; i < 36000; i++) /* an hour */
        refuse(&trouble, START + i * SECOND / 10);
    assert_int_equal(end_log(text, sizeof text), 6);
    assert_non_null(strstr(text, " warning l2: refused: OOM (6000 times in 600 s)\n"));
}

static void test_a_new_reason_is_told(void **state)
{
    struct trouble trouble = {0};
    char text[1024];
    (void)state;
    begin_log();
    refuse(&trouble, START);
    refuse(&trouble, START + SECOND);
    assert_true(
        trouble_happens(&trouble, LOG_LEVEL_WARNING, START + 2 * SECOND, "l2: refused: %s", "NOPERM"));
    assert_false(
        trouble_happens(&trouble, LOG_LEVEL_WARNING, START + 3 * SECOND, "l2: refused: %s", "NOPERM"));
    assert_int_equal(end_log(text, sizeof text), 2);
    assert_string_equal(text, " warning l2: refused: OOM\n warning l2: refused: NOPERM (2 times in 2 s)\n");
}

/* Two reasons in turn, and a trouble that comes and goes. */
static void test_no_flood_whatever_happens(void **state)
{
    struct trouble turning = {0}, flapping = {0};
    char text[65536];
    (void)state;
    begin_log();
    for (unsigned i = 0; i < 36000; i++)
        (void)trouble_happens(&turning, LOG_LEVEL_WARNING, START + i * SECOND / 10, "l2: reason %u", i);
    unsigned lines = end_log(text, sizeof text);
    if (lines < TROUBLE_LINES || lines > TROUBLE_LINES + 12)
        fail_msg("%u lines:\n%s", lines, text);
    assert_non_null(strstr(text, " times in 300 s)\n"));
    begin_log();
    for (unsigned i = 0; i < 36000; i++) {
        refuse(&flapping, START + i * SECOND / 10);
        trouble_ends(&flapping, START + i * SECOND / 10 + 1, "l2: well");
    }
    lines = end_log(text, sizeof text);
    if (lines < 2 * TROUBLE_LINES || lines > 2 * (TROUBLE_LINES + 12))
        fail_msg("%u lines:\n%s", lines, text);
    assert_non_null(strstr(text, " warning l2: refused: OOM (30"));
}

/* Trouble that begins while nothing may be said is said when it may, if it is still there; nothing is said of an end
 * that nobody has heard the beginning of. */
static void test_what_was_not_told_is_told_later(void **state)
{
    struct trouble trouble = {0};
    char text[4096];
    (void)state;
    begin_log();
    for (unsigned i = 0; i < TROUBLE_LINES; i++) {
        refuse(&trouble, START);
        trouble_ends(&trouble, START, "l2: well");
    }
    (void)end_log(text, sizeof text);
    begin_log();
    refuse(&trouble, START + SECOND);
    trouble_ends(&trouble, START + SECOND, "l2: well");
    refuse(&trouble, START + 2 * SECOND);
    assert_int_equal(end_log(text, sizeof text), 0);
    begin_log();
    refuse(&trouble, START + 300 * SECOND);
    trouble_ends(&trouble, START + 301 * SECOND, "l2: well");
    assert_int_equal(end_log(text, sizeof text), 2);
    assert_string_equal(text, " warning l2: refused: OOM (3 times in 299 s)\n"
                              " info l2: well (after 299.000 s, 2 times)\n");
}

/* Trouble that lasts is no flood: it is told, and its end, however many lines were spent on others before. */
static void test_what_lasts_is_told_soon(void **state)
{
    struct trouble trouble = {0};
    char text[4096];
    (void)state;
    begin_log();
    for (unsigned i = 0; i < TROUBLE_LINES; i++) {
        refuse(&trouble, START);
        trouble_ends(&trouble, START, "l2: well");
    }
    (void)end_log(text, sizeof text);
    for (unsigned episode = 0; episode < 2; episode++) {
        begin_log();
        for (unsigned i = 0; i <= 200; i++)
            refuse(&trouble, START + (1 + 30 * episode) * SECOND + i * SECOND / 10);
        trouble_ends(&trouble, START + (22 + 30 * episode) * SECOND, "l2: well");
        assert_int_equal(end_log(text, sizeof text), 2);
        assert_string_equal(text, " warning l2: refused: OOM (101 times in 10 s)\n"
                                  " info l2: well (after 21.000 s, 201 times)\n");
    }
}

static void test_long_texts_are_cut(void **state)
{
    struct trouble trouble = {0};
    char text[2048], reason[1000];
    (void)state;
    memset(reason, 'x', sizeof reason);
    reason[sizeof reason - 1] = '\0';
    begin_log();
    assert_true(trouble_happens(&trouble, LOG_LEVEL_WARNING, START, "l2: %s", reason));
    assert_false(trouble_happens(&trouble, LOG_LEVEL_WARNING, START, "l2: %s", reason));
    assert_int_equal(end_log(text, sizeof text), 1);
    assert_int_equal(strlen(text), sizeof " warning " - 1 + TROUBLE_TEXT_SIZE - 1 + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_line_when_it_begins_and_one_when_it_ends),
        cmocka_unit_test(test_while_it_lasts_a_line_now_and_then_with_a_count),
        cmocka_unit_test(test_a_new_reason_is_told),
        cmocka_unit_test(test_no_flood_whatever_happens),
        cmocka_unit_test(test_what_was_not_told_is_told_later),
        cmocka_unit_test(test_what_lasts_is_told_soon),
        cmocka_unit_test(test_long_texts_are_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
