/* apply and export against a real store (tests/support/policy_trial.h): what is written, what is left, what goes.
 * What is refused is test_policy_check.c's. */
#include "tests/support/policy_trial.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void test_second_run_changes_nothing(void **state)
{
    struct policy_trial *trial = *state;
    char *text = trial_sample();
    struct policy_apply_result first = trial_applied(trial, text);
    assert_true(first.rows_written > 100);
    assert_int_equal(first.scopes, 8);
    assert_int_equal(first.roles, 10);
    assert_int_equal(first.assignments, 12);
    assert_int_equal(trial_number(trial, "SELECT count(*) FROM permtab_permission WHERE deleted = 0"), 23);
    struct policy_apply_result second = trial_applied(trial, text);
    assert_int_equal(second.rows_written, 0);
    assert_int_equal(second.permissions + second.scopes + second.roles + second.assignments, 0);
    assert_int_equal(second.revision, first.revision);
    free(text);
}

/* One change row for every row written: what the result counts is what the triggers saw. */
static void test_rows_are_changes(void **state)
{
    struct policy_trial *trial = *state;
    uint64_t before = trial_revision(trial);
    char *text = trial_sample();
    struct policy_apply_result result = trial_applied(trial, text);
    assert_int_equal(result.revision - before, result.rows_written);
    assert_int_equal(trial_number(trial, "SELECT count(*) FROM permtab_assignment"), 12);
    assert_int_equal(trial_number(trial, "SELECT count(*) FROM permtab_role_parent"), 5);
    assert_int_equal(trial_number(trial, "SELECT count(*) FROM permtab_overwrite"), 9);
    free(text);
}

static void test_dry_run_leaves_nothing(void **state)
{
    struct policy_trial *trial = *state;
    struct policy_apply_options options = {.permissions_max = 512, .dry_run = true};
    uint64_t before = trial_revision(trial);
    char *text = trial_sample();
    char *export_before = trial_exported(trial);
    struct trial_outcome outcome = trial_apply_with(trial, text, &options);
    assert_int_equal(outcome.code, 0);
    assert_true(outcome.result.rows_written > 50);
    assert_int_equal(outcome.result.roles, 10);
    assert_int_equal(outcome.result.revision, before);
    assert_int_equal(trial_revision(trial), before);
    char *export_after = trial_exported(trial);
    assert_string_equal(export_before, export_after);
    free(export_after);
    free(export_before);
    free(text);
}

static void test_export_round_trip(void **state)
{
    struct policy_trial *trial = *state;
    char *text = trial_sample();
    trial_applied(trial, text);
    char *one = trial_exported(trial);
    assert_int_equal(trial_applied(trial, one).rows_written, 0);
    char *two = trial_exported(trial);
    assert_string_equal(one, two);
    assert_non_null(
        strstr(one, "{\"user\": \"18446744073709551615\", \"role\": 101, \"scope\": \"server:1\"}"));
    assert_non_null(strstr(one, "\"expires_at\": \"2099-12-31T23:59:59Z\""));
    assert_non_null(strstr(one, "\"owner\": \"9223372036854775809\""));
    /* Everything is in it, so there is nothing to prune. */
    assert_int_equal(trial_pruned(trial, one).rows_written, 0);
    free(two);
    free(one);
    free(text);
}

/* Lists of named objects are replaced, unnamed objects stay. */
static void test_lists_are_replaced(void **state)
{
    struct policy_trial *trial = *state;
    trial_applied(trial, TRIAL_BASE);
    struct policy_apply_result result = trial_applied(
        trial, "{\"roles\": [{\"id\": 101, \"scope\": \"server:1\", \"name\": \"new\", \"inherits\": [],"
               " \"allow\": [\"x.two\"], \"deny\": [\"x.two\"]}]}");
    /* the role's row, one parent less, two grants more */
    assert_int_equal(result.rows_written, 4);
    assert_int_equal(result.roles, 1);
    assert_int_equal(result.assignments, 0);
    assert_int_equal(trial_number(trial, "SELECT count(*) FROM permtab_role_parent"), 0);
    assert_int_equal(trial_number(trial, "SELECT count(*) FROM permtab_role_permission WHERE role_id = 101"),
                     2);
    assert_int_equal(trial_number(trial, "SELECT count(*) FROM permtab_role_permission WHERE role_id = 100"),
                     1);

    result = trial_applied(
        trial, "{\"scopes\": [{\"scope\": \"channel:10\", \"parent\": \"server:2\", \"owner\": 5,"
               " \"overwrites\": [{\"role\": 100, \"deny\": [\"x.one\"]}, {\"user\": 7, \"allow\": "
               "[\"x.one\"]}]}]}");
    assert_int_equal(result.rows_written, 3);
    assert_int_equal(result.scopes, 1);
    result = trial_applied(trial,
                           "{\"scopes\": [{\"scope\": \"channel:10\", \"parent\": \"server:2\", \"owner\": 5,"
                           " \"overwrites\": [{\"user\": 7, \"allow\": [\"x.two\"]}]}]}");
    assert_int_equal(result.rows_written, 3); /* two go, one comes */
    result = trial_applied(trial, "{\"permissions\": [{\"name\": \"x.one\", \"requires\": [\"x.two\"]}]}");
    assert_int_equal(result.rows_written, 1);
    assert_int_equal(result.permissions, 1);
    result = trial_applied(trial, "{\"assignments\": [{\"user\": 7, \"role\": 100, \"expires_at\": "
                                  "\"2030-01-01T00:00:00Z\"}, {\"user\": 8, \"role\": 100}]}");
    assert_int_equal(result.assignments, 2);
    assert_int_equal(result.rows_written, 2);
    assert_int_equal(trial_number(trial, "SELECT expires_at FROM permtab_assignment WHERE user_id = 7"),
                     UINT64_C(1893456000000000));
}

static void test_prune(void **state)
{
    struct policy_trial *trial = *state;
    char *text = trial_sample();
    trial_applied(trial, text);
    trial_applied(trial, "{\"permissions\": [{\"name\": \"x.one\"}, {\"name\": \"x.two\"}],"
                         " \"scopes\": [{\"scope\": \"global\", \"owner\": 9}]}");
    struct policy_apply_result result = trial_pruned(trial, TRIAL_BASE);
    assert_int_equal(result.roles, 10);
    assert_int_equal(result.assignments, 11); /* one of twelve stays */
    assert_int_equal(trial_number(trial, "SELECT count(*) FROM permtab_role"), 2);
    assert_int_equal(trial_number(trial, "SELECT count(*) FROM permtab_scope"), 4);
    assert_int_equal(trial_number(trial, "SELECT count(*) FROM permtab_assignment"), 1);
    assert_int_equal(trial_number(trial, "SELECT count(*) FROM permtab_overwrite"), 0);
    assert_int_equal(trial_number(trial, "SELECT count(*) FROM permtab_requirement"), 0);
    assert_int_equal(trial_number(trial, "SELECT count(*) FROM permtab_permission WHERE deleted = 0"), 2);
    assert_int_equal(
        trial_number(trial, "SELECT count(*) FROM permtab_scope WHERE type = 0 AND owner IS NOT NULL"), 0);
    assert_int_equal(trial_pruned(trial, TRIAL_BASE).rows_written, 0);
    char *one = trial_exported(trial);
    assert_null(strstr(one, "message.send"));
    free(one);

    struct policy_apply_options options = {.permissions_max = 512, .prune = true};
    struct trial_outcome outcome =
        trial_apply_with(trial, "{\"roles\": [{\"id\": 1, \"allow\": [\"x.one\"]}]}", &options);
    assert_int_equal(outcome.code, PERMTAB_E_NO_PERMISSION);
    assert_string_equal(outcome.failure.text,
                        "roles[0].allow[0]: permission \"x.one\" is not in the document, so "
                        "pruning would remove it");
    free(text);
}

static void test_large_ids(void **state)
{
    struct policy_trial *trial = *state;
    static const char text[] =
        "{\"permissions\": [{\"name\": \"x.one\"}],"
        " \"scopes\": [{\"scope\": \"server:18446744073709551615\", \"parent\": \"global\", \"owner\": "
        "\"9223372036854775808\"}, {\"scope\": \"channel:18446744073709551614\", \"parent\": "
        "\"server:18446744073709551615\", \"overwrites\": [{\"role\": \"18446744073709551613\", \"deny\": "
        "[\"x.one\"]}, {\"user\": \"18446744073709551612\", \"allow\": [\"x.one\"]}]}],"
        " \"roles\": [{\"id\": \"18446744073709551613\", \"scope\": \"server:18446744073709551615\", "
        "\"allow\": "
        "[\"x.one\"]}, {\"id\": 0, \"inherits\": [\"18446744073709551613\"]}],"
        " \"assignments\": [{\"user\": \"18446744073709551611\", \"role\": \"18446744073709551613\", "
        "\"scope\": "
        "\"channel:18446744073709551614\"}, {\"user\": 0, \"role\": 0}]}";
    trial_applied(trial, text);
    assert_int_equal(trial_applied(trial, text).rows_written, 0);
    char *one = trial_exported(trial);
    assert_non_null(strstr(one, "{\"user\": \"18446744073709551611\", \"role\": \"18446744073709551613\", "
                                "\"scope\": \"channel:18446744073709551614\"}"));
    assert_int_equal(trial_applied(trial, one).rows_written, 0);
    free(one);
}

/* Enough of everything that each batch size is used, and pruned again. */
static void test_many(void **state)
{
    struct policy_trial *trial = *state;
    const unsigned count = 300;
    char *text = malloc(count * 512);
    size_t used = 0;
    assert_non_null(text);
    used += (size_t)sprintf(text + used, "{\"permissions\": [");
    for (unsigned i = 0; i < count; i++)
        used += (size_t)sprintf(text + used, "%s{\"name\": \"many.p%u\"}", i > 0 ? "," : "", i);
    used += (size_t)sprintf(text + used, "], \"scopes\": [");
    for (unsigned i = 0; i < count; i++)
        used += (size_t)sprintf(text + used,
                                "%s{\"scope\": \"channel:%u\", \"parent\": \"server:%u\", \"overwrites\": "
                                "[{\"user\": %u, \"deny\": [\"many.p%u\"]}]},"
                                "{\"scope\": \"server:%u\", \"parent\": \"global\"}",
                                i > 0 ? "," : "", i, i, i, i, i);
    used += (size_t)sprintf(text + used, "], \"roles\": [{\"id\": 0}");
    for (unsigned i = 1; i < count; i++)
        used += (size_t)sprintf(text + used,
                                ",{\"id\": %u, \"scope\": \"server:%u\", \"inherits\": [%u], \"allow\": "
                                "[\"many.p%u\", \"many.p0\"]}",
                                i, i, i - 1, i);
    used += (size_t)sprintf(text + used, "], \"assignments\": [{\"user\": 1, \"role\": 0}");
    for (unsigned i = 1; i < count; i++)
        used += (size_t)sprintf(text + used, ",{\"user\": %u, \"role\": %u, \"scope\": \"channel:%u\"}",
                                i * 7, i, i);
    sprintf(text + used, "]}");
    struct policy_apply_result result = trial_applied(trial, text);
    assert_int_equal(result.scopes, 2 * count);
    assert_int_equal(result.roles, count);
    assert_int_equal(result.assignments, count);
    assert_int_equal(trial_applied(trial, text).rows_written, 0);
    assert_int_equal(trial_number(trial, "SELECT count(*) FROM permtab_role_permission"), 2 * (count - 1));
    result = trial_pruned(trial, TRIAL_BASE);
    assert_int_equal(result.assignments, count + 1);
    assert_int_equal(trial_number(trial, "SELECT count(*) FROM permtab_role"), 2);
    assert_int_equal(trial_number(trial, "SELECT count(*) FROM permtab_scope"), 4);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_second_run_changes_nothing),
        cmocka_unit_test(test_rows_are_changes),
        cmocka_unit_test(test_dry_run_leaves_nothing),
        cmocka_unit_test(test_export_round_trip),
        cmocka_unit_test(test_lists_are_replaced),
        cmocka_unit_test(test_prune),
        cmocka_unit_test(test_large_ids),
        cmocka_unit_test(test_many),
    };
    return trial_run_all(tests, sizeof tests / sizeof *tests);
}
