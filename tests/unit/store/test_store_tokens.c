/* SQL that says the same in other words, and SQL that does not. */
#include "proxy/store/schema.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

static char *normal(const char *text, enum sql_dialect dialect)
{
    struct tokens tokens;
    assert_int_equal(tokens_read(&tokens, text, dialect), 0);
    char *joined = tokens_join(&tokens, 0, tokens.count);
    assert_non_null(joined);
    tokens_fini(&tokens);
    return joined;
}

static void same_or_not(const char *left, const char *right, enum sql_dialect dialect, bool same)
{
    char *a = normal(left, dialect), *b = normal(right, dialect);
    if ((strcmp(a, b) == 0) != same)
        fail_msg("\"%s\" and \"%s\": \"%s\", \"%s\"", left, right, a, b);
    free(a);
    free(b);
}

static void test_the_same(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"CHECK (a IN (0, 1))", "check(\"a\" in(0,1))"},
        {"a -- because\n+ b", "a/* because */+\t[B]"},
        {"SELECT `x` FROM \"y\"", "select x\nfrom y"},
        {"a<>b", "a < > b"},
        {"'it''s'", "'it''s'"},
        {"\"a\"\"b\"", "`a\"b`"},
        {"", "  -- nothing"},
    };
    for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs); i++)
        same_or_not(pairs[i][0], pairs[i][1], SQL_SQLITE, true);
    same_or_not("a # because\nb", "a b", SQL_MYSQL, true);
}

static void test_not_the_same(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"effect = 'allow'", "effect = 'Allow'"},
        {"'a b'", "'a  b'"},
        {"a b", "ab"},
        {"x = 'y'", "x = y"},
        {"'a--b'", "'a'"},
        {"a > 1", "a >= 1"},
        {"'it''s'", "'its'"},
        {"'open", "open"},
        {"'\\z'", "'z'"},
    };
    for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs); i++) {
        same_or_not(pairs[i][0], pairs[i][1], SQL_SQLITE, false);
        same_or_not(pairs[i][0], pairs[i][1], SQL_MYSQL, false);
    }
}

static void test_parentheses(void **state)
{
    (void)state;
    struct tokens tokens;
    assert_int_equal(tokens_read(&tokens, "f(a, (b), ')') + (", SQL_SQLITE), 0);
    assert_int_equal(tokens_close(&tokens, 1), 9);
    assert_int_equal(tokens_close(&tokens, 11), tokens.count);
    assert_true(token_is(&tokens, 2, "a"));
    assert_false(token_is(&tokens, 99, "a"));
    tokens_fini(&tokens);
}

/* Each statement of each migration comes out whole: none of a trigger's own statements is taken for one. */
static void test_migrations_are_understood(void **state)
{
    (void)state;
    for (enum sql_dialect dialect = SQL_SQLITE; dialect <= SQL_MYSQL; dialect++) {
        struct objects objects = {0};
        struct failure failure = {0};
        assert_int_equal(objects_expect(&objects, dialect, &failure), 0);
        size_t triggers = 0, made = 0;
        for (size_t i = 0; i < objects.count; i++)
            triggers += objects.items[i].kind == OBJECT_TRIGGER;
        for (unsigned number = 1; migration_find(dialect, number); number++)
            for (const char *at = migration_find(dialect, number)->text; (at = strstr(at, "CREATE TRIGGER"));
                 at++)
                made++;
        assert_int_equal(triggers, made);
        assert_non_null(
            objects_find(&objects, OBJECT_REFERENCE, "permtab_assignment", "role_id > permtab_role(id)"));
        assert_true(objects_find(&objects, OBJECT_COLUMN, "permtab_assignment", "user_id")->flags &
                    OBJECT_KEY);
        assert_false(objects_find(&objects, OBJECT_COLUMN, "permtab_assignment", "expires_at")->flags &
                     OBJECT_NOT_NULL);
        assert_true(objects_find(&objects, OBJECT_COLUMN, "permtab_change", "nonce")->flags & OBJECT_RANDOM);
        objects_fini(&objects);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_same),
        cmocka_unit_test(test_not_the_same),
        cmocka_unit_test(test_parentheses),
        cmocka_unit_test(test_migrations_are_understood),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
