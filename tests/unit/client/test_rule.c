/* Rules: a table of texts with what they come to, a table of bad texts with where they go wrong, and what happens when
 * the catalogue changes under them. */
#include "client/permtab.h"
#include "tests/support/fake_sidecar.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The fake's policy at user 2, channel 2: a.read and b.read and c allowed, a.write and b.write denied; own adds
 * b.write. */
#define A PERMTAB_ALLOW
#define D PERMTAB_DENY

struct bench {
    struct fake fake;
    struct permtab *table;
    permtab_scope place;
};

static int setup(void **state)
{
    struct bench *bench = calloc(1, sizeof(*bench));
    permtab_type channel;
    assert_non_null(bench);
    fake_start(&bench->fake);
    assert_int_equal(permtab_open(&bench->table, bench->fake.path, NULL), 0);
    assert_int_equal(permtab_scope_type(bench->table, "channel", &channel), 0);
    bench->place = permtab_at(channel, 2);
    fake_put(&bench->fake, 2, 2);
    *state = bench;
    return 0;
}

static int teardown(void **state)
{
    struct bench *bench = *state;
    permtab_close(bench->table);
    fake_stop(&bench->fake);
    free(bench);
    return 0;
}

static const struct {
    const char *text;
    enum permtab_decision any, own;
} good[] = {
    {"a.read", A, A},
    {"a.write", D, D},
    {"b.write", D, A},
    {"c", A, A},
    {" \t( ( a.read ) )\n", A, A},
    {"NOT a.read", D, D},
    {"not not a.read", A, A},
    {"NOT b.write", A, D},
    {"a.read AND c", A, A},
    {"a.read AND a.write", D, D},
    {"a.write OR c", A, A},
    {"a.write or b.write", D, A},
    /* NOT binds tighter than AND, AND tighter than OR. */
    {"c OR a.read AND a.write", A, A},
    {"(c OR a.read) AND a.write", D, D},
    {"a.write AND a.write OR c", A, A},
    {"NOT a.write AND c", A, A},
    {"NOT (a.write AND c)", A, A},
    {"NOT a.read OR c", A, A},
    {"NOT (a.read OR c)", D, D},
    {"a.read AND (b.write OR NOT a.write)", A, A},
    {"a.read and b.read and c and not a.write", A, A},
    {"ALL(a.read, b.read, c)", A, A},
    {"ALL(a.read, b.write)", D, A},
    {"any(a.write, b.write)", D, A},
    {"Any(a.write, c)", A, A},
    {"ALL(a.read)", A, A},
    {"ALL(a.read OR a.write, NOT a.write)", A, A},
    {"NOT ALL(a.read, a.write)", A, A},
    {"a.*", A, A},
    {"ALL(a.*)", D, D},
    {"ANY(a.*)", A, A},
    {"NOT a.*", D, D},
    {"ALL(b.*)", D, A},
    {"ALL(a.* , c)", D, D},
    {"ALL(NOT a.*, c)", D, D}, /* ANY over a.*, negated */
    {"ALL((a.*), c)", D, D},
    {"ALL(a.* AND c)", A, A}, /* not a direct argument: ANY */
};

static void test_good(void **state)
{
    struct bench *bench = *state;
    struct permtab_view view;
    assert_int_equal(permtab_view_get(bench->table, 2, bench->place, &view), 0);
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct permtab_rule *rule;
        size_t at = 99;
        int code = permtab_rule_compile(bench->table, good[i].text, &rule, &at);
        if (code != 0)
            fail_msg("%s: %s at %zu", good[i].text, permtab_strerror(code), at);
        if (permtab_rule_eval(&view, rule, false) != good[i].any)
            fail_msg("%s: any", good[i].text);
        if (permtab_rule_eval(&view, rule, true) != good[i].own)
            fail_msg("%s: own", good[i].text);
        permtab_rule_free(rule);
    }
}

static const struct {
    const char *text;
    int code;
    size_t at;
} bad[] = {
    {"", PERMTAB_E_SYNTAX, 0},
    {"   ", PERMTAB_E_SYNTAX, 3},
    {"AND", PERMTAB_E_SYNTAX, 0},
    {"a.read AND", PERMTAB_E_SYNTAX, 10},
    {"a.read OR OR c", PERMTAB_E_SYNTAX, 10},
    {"a.read c", PERMTAB_E_SYNTAX, 7},
    {"(a.read", PERMTAB_E_SYNTAX, 7},
    {"a.read)", PERMTAB_E_SYNTAX, 6},
    {"()", PERMTAB_E_SYNTAX, 1},
    {"NOT", PERMTAB_E_SYNTAX, 3},
    {"ALL()", PERMTAB_E_SYNTAX, 4},
    {"ALL(a.read,)", PERMTAB_E_SYNTAX, 11},
    {"ALL(a.read c)", PERMTAB_E_SYNTAX, 11},
    {"a.read, c", PERMTAB_E_SYNTAX, 6},
    {"a.read && c", PERMTAB_E_SYNTAX, 7},
    {"a.read # c", PERMTAB_E_SYNTAX, 7},
    {"*", PERMTAB_E_SYNTAX, 0},
    {"a*", PERMTAB_E_SYNTAX, 1},
    {"a.*.b", PERMTAB_E_SYNTAX, 2},
    {"c OR .read", PERMTAB_E_SYNTAX, 5},
    {"a..read", PERMTAB_E_SYNTAX, 2},
    {"a.read.", PERMTAB_E_SYNTAX, 6},
    {"A.read", PERMTAB_E_SYNTAX, 0},
    {"a.reap", PERMTAB_E_NO_PERMISSION, 0},
    {"c AND (NOT a.reap OR nothing)", PERMTAB_E_NO_PERMISSION, 11},
    {"c OR z.*", PERMTAB_E_NO_PERMISSION, 5},
    {"c OR all", PERMTAB_E_NO_PERMISSION, 5}, /* without a parenthesis it is a name */
    {"d.late", PERMTAB_E_NO_PERMISSION, 0},
};

static void test_bad(void **state)
{
    struct bench *bench = *state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct permtab_rule *rule = NULL;
        size_t at = 99;
        int code = permtab_rule_compile(bench->table, bad[i].text, &rule, &at);
        if (code != bad[i].code || at != bad[i].at)
            fail_msg("%s: %s at %zu", bad[i].text, permtab_strerror(code), at);
        assert_null(rule);
        assert_int_equal(permtab_rule_compile(bench->table, bad[i].text, &rule, NULL), bad[i].code);
    }
}

static int compile(struct bench *bench, const char *text)
{
    struct permtab_rule *rule = NULL;
    int code = permtab_rule_compile(bench->table, text, &rule, NULL);
    permtab_rule_free(rule);
    return code;
}

static void test_limits(void **state)
{
    struct bench *bench = *state;
    static char text[20000];
    memset(text, '(', 4000); /* nothing of this may cost a stack */
    text[4000] = '\0';
    assert_int_equal(compile(bench, text), PERMTAB_E_LIMIT);
    for (unsigned i = 0; i < 1000; i++)
        memcpy(text + 4 * i, "NOT ", 4);
    assert_int_equal(compile(bench, text), PERMTAB_E_LIMIT);
    memset(text, ' ', 5000);
    text[5000] = '\0';
    assert_int_equal(compile(bench, text), PERMTAB_E_LIMIT);
    memset(text, 'c', 3000); /* one long name */
    text[3000] = '\0';
    assert_int_equal(compile(bench, text), PERMTAB_E_LIMIT);
    strcpy(text, "ANY(c");
    for (unsigned i = 0; i < 1022; i++)
        strcat(text, ",c");
    strcat(text, ")");
    assert_int_equal(compile(bench, text), PERMTAB_E_LIMIT); /* 1023 names, ANY and the root are 1025 */
    memset(text + strlen(text) - 3, '\0', 3);
    strcat(text, ")");
    assert_int_equal(compile(bench, text), 0);
    strcpy(text, "((((((((((((((((((((((((((((((c))))))))))))))))))))))))))))))");
    assert_int_equal(compile(bench, text), 0);
}

/* Wildcards follow the catalogue; a name that has gone is neither allowed nor denied. */
static void test_catalogue(void **state)
{
    struct bench *bench = *state;
    struct permtab_view view, old;
    struct permtab_rule *read, *either, *both, *wildcard, *not_read;
    assert_int_equal(permtab_rule_compile(bench->table, "a.read", &read, NULL), 0);
    assert_int_equal(permtab_rule_compile(bench->table, "a.read OR c", &either, NULL), 0);
    assert_int_equal(permtab_rule_compile(bench->table, "a.read AND a.write", &both, NULL), 0);
    assert_int_equal(permtab_rule_compile(bench->table, "NOT a.read", &not_read, NULL), 0);
    assert_int_equal(permtab_rule_compile(bench->table, "a.*", &wildcard, NULL), 0);
    assert_int_equal(permtab_view_get(bench->table, 2, bench->place, &old), 0);
    assert_int_equal(permtab_rule_eval(&old, wildcard, false), PERMTAB_ALLOW);

    fake_set_catalogue(&bench->fake, true, true); /* a.read goes, d.late comes */
    assert_int_equal(permtab_view_get(bench->table, 2, bench->place, &view), 0);
    assert_int_equal(permtab_rule_eval(&view, read, false), PERMTAB_UNKNOWN);
    assert_int_equal(permtab_why(bench->table), PERMTAB_E_NO_PERMISSION);
    assert_int_equal(permtab_rule_eval(&view, not_read, false), PERMTAB_UNKNOWN);
    assert_int_equal(permtab_rule_eval(&view, either, false), PERMTAB_ALLOW);  /* ALLOW OR UNKNOWN */
    assert_int_equal(permtab_rule_eval(&view, both, false), PERMTAB_DENY);     /* UNKNOWN AND DENY */
    assert_int_equal(permtab_rule_eval(&view, wildcard, false), PERMTAB_DENY); /* a.write alone now */
    struct permtab_rule *late;
    assert_int_equal(permtab_rule_compile(bench->table, "NOT d.*", &late, NULL), 0);
    assert_int_equal(permtab_rule_eval(&view, late, false), PERMTAB_ALLOW);
    /* A view of the old catalogue and a rule that never knew it. */
    assert_int_equal(permtab_rule_eval(&old, late, false), PERMTAB_UNKNOWN);
    assert_int_equal(permtab_why(bench->table), PERMTAB_E_CATALOGUE);

    fake_set_catalogue(&bench->fake, true, false);
    assert_int_equal(permtab_view_get(bench->table, 2, bench->place, &view), 0);
    assert_int_equal(permtab_rule_eval(&view, read, false), PERMTAB_ALLOW);
    assert_int_equal(permtab_rule_eval(&view, wildcard, false), PERMTAB_ALLOW);
    permtab_rule_free(read);
    permtab_rule_free(either);
    permtab_rule_free(both);
    permtab_rule_free(not_read);
    permtab_rule_free(wildcard);
    permtab_rule_free(late);
    permtab_rule_free(NULL);
}

/* A set that was rewritten answers no rule, not even one that would come out the same. */
static void test_set_rewritten(void **state)
{
    struct bench *bench = *state;
    struct permtab_view view, none = {{0}};
    struct permtab_rule *rule;
    assert_int_equal(permtab_rule_compile(bench->table, "a.read AND NOT a.write", &rule, NULL), 0);
    assert_int_equal(permtab_view_get(bench->table, 2, bench->place, &view), 0);
    assert_int_equal(permtab_rule_eval(&view, rule, false), PERMTAB_ALLOW);
    fake_rewrite(&bench->fake);
    assert_int_equal(permtab_rule_eval(&view, rule, false), PERMTAB_UNKNOWN);
    assert_int_equal(permtab_why(bench->table), PERMTAB_E_BUSY);
    assert_int_equal(permtab_rule_eval(&none, rule, false), PERMTAB_UNKNOWN);
    permtab_rule_free(rule);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_good), TEST(test_bad), TEST(test_limits), TEST(test_catalogue), TEST(test_set_rewritten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
