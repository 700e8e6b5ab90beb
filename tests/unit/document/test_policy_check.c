/* apply against a real store (tests/support/policy_trial.h): documents that the store gives reason to refuse, and
 * that whatever is refused leaves everything as it was. */
#include "proxy/store/store.h"
#include "tests/support/policy_trial.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void test_tombstones(void **state)
{
    struct policy_trial *trial = *state;
    trial_applied(trial, TRIAL_BASE);
    trial_applied(trial, "{\"permissions\": [{\"name\": \"t.gone\"}]}");
    uint64_t bit = trial_number(trial, "SELECT bit FROM permtab_permission WHERE name = 't.gone'");
    trial_applied(
        trial, "{\"roles\": [{\"id\": 100, \"scope\": \"server:1\", \"allow\": [\"x.one\", \"t.gone\"]}]}");
    trial_run(trial, "UPDATE permtab_permission SET deleted = 1 WHERE name = 't.gone'");
    trial_refused(
        trial, "{\"permissions\": [{\"name\": \"x.one\"}, {\"name\": \"t.gone\"}]}", PERMTAB_E_CONFLICT,
        "permissions[1]: \"t.gone\" was deleted, and a deleted permission's name is never used again");
    trial_refused(trial, "{\"roles\": [{\"id\": 5, \"allow\": [\"t.gone\"]}]}", PERMTAB_E_NO_PERMISSION,
                  "roles[0].allow[0]: permission \"t.gone\" was deleted");
    trial_applied(trial, "{\"permissions\": [{\"name\": \"t.next\"}]}");
    assert_true(trial_number(trial, "SELECT bit FROM permtab_permission WHERE name = 't.next'") != bit);
    /* Rows that still refer to it are left alone, so that an export changes nothing. */
    char *text = trial_exported(trial);
    assert_null(strstr(text, "t.gone"));
    assert_int_equal(trial_applied(trial, text).rows_written, 0);
    assert_int_equal(trial_pruned(trial, text).rows_written, 0);
    free(text);
    trial_run(trial, "DELETE FROM permtab_role_permission WHERE permission = 't.gone'");
    trial_run(trial, "UPDATE permtab_permission SET deleted = 1 WHERE name = 't.next'");
}

static void test_bits_run_out(void **state)
{
    struct policy_trial *trial = *state;
    struct policy_apply_options options = {0};
    trial_applied(trial, TRIAL_BASE);
    uint64_t used = trial_number(trial, "SELECT count(*) FROM permtab_permission");
    options.permissions_max = (uint32_t)used + 1;
    struct trial_outcome outcome = trial_apply_with(
        trial, "{\"permissions\": [{\"name\": \"b.fits\"}, {\"name\": \"x.one\"}, {\"name\": \"b.not\"}]}",
        &options);
    char wanted[160];
    snprintf(wanted, sizeof wanted,
             "permissions[2]: no bit is left for \"b.not\": permissions_max is %" PRIu64
             ", deleted ones included",
             used + 1);
    assert_int_equal(outcome.code, PERMTAB_E_LIMIT);
    assert_string_equal(outcome.failure.text, wanted);
    assert_int_equal(trial_number(trial, "SELECT count(*) FROM permtab_permission"), used);
}

static void test_what_the_store_refuses(void **state)
{
    struct policy_trial *trial = *state;
    trial_applied(trial, TRIAL_BASE);
    trial_refused(trial, "{\"roles\": [{\"id\": 5, \"allow\": [\"x.one\", \"n.never\"]}]}",
                  PERMTAB_E_NO_PERMISSION,
                  "roles[0].allow[1]: permission \"n.never\" is neither in the document nor in the store");
    trial_refused(
        trial, "{\"permissions\": [{\"name\": \"x.one\", \"requires\": [\"n.never\"]}]}",
        PERMTAB_E_NO_PERMISSION,
        "permissions[0].requires[0]: permission \"n.never\" is neither in the document nor in the store");
    trial_refused(trial, "{\"roles\": [{\"id\": 5}, {\"id\": 6, \"inherits\": [5, 9]}]}", PERMTAB_E_NOT_FOUND,
                  "roles[1].inherits[1]: role 9 is neither in the document nor in the store");
    trial_refused(trial, "{\"roles\": [{\"id\": 5, \"scope\": \"server:9\"}]}", PERMTAB_E_NOT_FOUND,
                  "roles[0].scope: scope server:9 is neither in the document nor in the store");
    trial_refused(trial, "{\"scopes\": [{\"scope\": \"channel:1\", \"parent\": \"server:9\"}]}",
                  PERMTAB_E_NOT_FOUND,
                  "scopes[0].parent: scope server:9 is neither in the document nor in the store");
    trial_refused(
        trial,
        "{\"scopes\": [{\"scope\": \"global\", \"overwrites\": [{\"role\": 9, \"deny\": [\"x.one\"]}]}]}",
        PERMTAB_E_NOT_FOUND,
        "scopes[0].overwrites[0].role: role 9 is neither in the document nor in the store");
    trial_refused(trial, "{\"assignments\": [{\"user\": 1, \"role\": 9}]}", PERMTAB_E_NOT_FOUND,
                  "assignments[0].role: role 9 is neither in the document nor in the store");
    trial_refused(trial, "{\"assignments\": [{\"user\": 1, \"role\": 100, \"scope\": \"channel:99\"}]}",
                  PERMTAB_E_NOT_FOUND,
                  "assignments[0].scope: scope channel:99 is neither in the document nor in the store");
    trial_refused(trial,
                  "{\"assignments\": [{\"user\": 1, \"role\": 100}, {\"user\": 1, \"role\": 100, \"scope\": "
                  "\"server:1\"}]}",
                  PERMTAB_E_INVALID, "assignments[1]: the same user, role and scope as assignments[0]");
}

static void test_misplaced(void **state)
{
    struct policy_trial *trial = *state;
    trial_applied(trial, TRIAL_BASE);
    trial_refused(
        trial, "{\"assignments\": [{\"user\": 1, \"role\": 100, \"scope\": \"server:2\"}]}",
        PERMTAB_E_CONFLICT,
        "assignments[0]: role 100 is of server:1 and cannot be held at server:2, which is not below it");
    trial_refused(
        trial, "{\"assignments\": [{\"user\": 1, \"role\": 100, \"scope\": \"global\"}]}", PERMTAB_E_CONFLICT,
        "assignments[0]: role 100 is of server:1 and cannot be held at global, which is not below it");
    /* The channel moves away in the same document. */
    trial_refused(
        trial,
        "{\"scopes\": [{\"scope\": \"channel:10\", \"parent\": \"server:2\"}],"
        " \"assignments\": [{\"user\": 1, \"role\": 100, \"scope\": \"channel:10\"}]}",
        PERMTAB_E_CONFLICT,
        "assignments[0]: role 100 is of server:1 and cannot be held at channel:10, which is not below it");
    trial_applied(trial, "{\"assignments\": [{\"user\": 1, \"role\": 100, \"scope\": \"channel:10\"}]}");
}

static void test_cycles(void **state)
{
    struct policy_trial *trial = *state;
    trial_applied(trial, TRIAL_BASE);
    trial_refused(trial,
                  "{\"roles\": [{\"id\": 5}, {\"id\": 100, \"scope\": \"server:1\", \"inherits\": [101]}]}",
                  PERMTAB_E_CONFLICT,
                  "roles[1].inherits: role 100 inherits from role 101, which inherits from it: a cycle");
    trial_applied(trial,
                  "{\"roles\": [{\"id\": 102, \"inherits\": [101]}, {\"id\": 103, \"inherits\": [102]}]}");
    trial_refused(trial, "{\"roles\": [{\"id\": 100, \"scope\": \"server:1\", \"inherits\": [103]}]}",
                  PERMTAB_E_CONFLICT,
                  "roles[0].inherits: role 100 inherits from role 103, which inherits from it: a cycle");
    /* The document cuts the cycle elsewhere. */
    trial_applied(trial, "{\"roles\": [{\"id\": 100, \"scope\": \"server:1\", \"inherits\": [103]},"
                         " {\"id\": 102, \"inherits\": []}]}");
    /* A cycle that plain SQL made is no reason to refuse what does not touch it. */
    trial_run(trial, "INSERT INTO permtab_role_parent (role_id, parent_id) VALUES (102, 103)");
    trial_applied(trial, "{\"roles\": [{\"id\": 110, \"inherits\": [103]}]}");
}

/* A trigger of the test's own makes a late statement fail: everything before it is undone. */
static void test_failure_in_the_middle(void **state)
{
    struct policy_trial *trial = *state;
    bool sqlite = sql_dialect(trial->store->sql) == SQL_SQLITE;
    trial_applied(trial, TRIAL_BASE);
    trial_run(trial,
              sqlite
                  ? "CREATE TRIGGER test_boom BEFORE INSERT ON permtab_assignment WHEN NEW.user_id = 666"
                    " BEGIN SELECT RAISE(ABORT, 'boom'); END"
                  : "CREATE TRIGGER test_boom BEFORE INSERT ON permtab_assignment FOR EACH ROW"
                    " IF NEW.user_id = 666 THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'boom'; END IF");
    trial_refused(
        trial,
        "{\"permissions\": [{\"name\": \"m.new\"}], \"scopes\": [{\"scope\": \"server:77\", \"parent\": "
        "\"global\"}], \"roles\": [{\"id\": 77, \"allow\": [\"m.new\"]}], \"assignments\": [{\"user\": 1, "
        "\"role\": 77}, {\"user\": 666, \"role\": 77}]}",
        PERMTAB_E_CONFLICT, "boom");
    trial_run(trial, "DROP TRIGGER test_boom");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tombstones),
        cmocka_unit_test(test_bits_run_out),
        cmocka_unit_test(test_what_the_store_refuses),
        cmocka_unit_test(test_misplaced),
        cmocka_unit_test(test_cycles),
        cmocka_unit_test(test_failure_in_the_middle),
    };
    return trial_run_all(tests, sizeof tests / sizeof *tests);
}
