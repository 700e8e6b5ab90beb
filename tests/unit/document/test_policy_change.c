/* The small changes against a real store (tests/support/policy_trial.h): grant, revoke, assign, unassign; and a
 * commit whose outcome is unknown. */
#include "proxy/store/store.h"
#include "tests/support/policy_trial.h"

static void test_grant_and_revoke(void **state)
{
    struct policy_trial *trial = *state;
    struct policy_apply_result result;
    struct failure failure = {0};
    static const char grants[] = "SELECT count(*) FROM permtab_role_permission WHERE role_id = 100";
    trial_applied(trial, TRIAL_BASE);
    uint64_t before = trial_revision(trial);
    assert_int_equal(policy_grant(trial->store, 100, "x.one", GRANT_ALLOW, &result, &failure), 0);
    assert_int_equal(result.rows_written, 0);
    assert_int_equal(result.revision, before);
    assert_int_equal(policy_grant(trial->store, 100, "x.two", GRANT_DENY, &result, &failure), 0);
    assert_int_equal(result.rows_written, 1);
    assert_int_equal(result.revision, before + 1);
    assert_int_equal(result.store_id, trial->store->store_id);
    /* The new effect replaces the old one. */
    assert_int_equal(policy_grant(trial->store, 100, "x.two", GRANT_ALLOW_OWN, &result, &failure), 0);
    assert_int_equal(result.rows_written, 2);
    assert_int_equal(trial_number(trial, grants), 2);
    assert_int_equal(trial_number(trial,
                                  "SELECT count(*) FROM permtab_role_permission WHERE role_id = 100 AND "
                                  "permission = 'x.two' AND effect = 'allow_own'"),
                     1);
    assert_int_equal(policy_revoke(trial->store, 100, "x.two", &result, &failure), 0);
    assert_int_equal(result.rows_written, 1);
    assert_int_equal(policy_revoke(trial->store, 100, "x.two", &result, &failure), 0);
    assert_int_equal(result.rows_written, 0);
    assert_int_equal(trial_number(trial, grants), 1);

    assert_int_equal(policy_grant(trial->store, 9, "x.one", GRANT_ALLOW, &result, &failure),
                     PERMTAB_E_NOT_FOUND);
    assert_string_equal(failure.text, "there is no role 9");
    assert_int_equal(policy_grant(trial->store, 100, "n.never", GRANT_ALLOW, &result, &failure),
                     PERMTAB_E_NO_PERMISSION);
    assert_string_equal(failure.text, "there is no permission \"n.never\"");
    assert_int_equal(policy_revoke(trial->store, 100, "n.never", &result, &failure), PERMTAB_E_NO_PERMISSION);
    assert_int_equal(policy_revoke(trial->store, 9, "x.one", &result, NULL), PERMTAB_E_NOT_FOUND);
}

static void test_assign_and_unassign(void **state)
{
    struct policy_trial *trial = *state;
    struct policy_apply_result result;
    struct failure failure = {0};
    struct policy_assignment assignment = {.user = UINT64_MAX, .role = 100, .expires_at = FACTS_NEVER};
    trial_applied(trial, TRIAL_BASE);
    assert_int_equal(policy_assign(trial->store, &assignment, &result, &failure), 0);
    assert_int_equal(result.rows_written, 1);
    assert_int_equal(policy_assign(trial->store, &assignment, &result, &failure), 0);
    assert_int_equal(result.rows_written, 0);
    assignment.expires_at = 5;
    assert_int_equal(policy_assign(trial->store, &assignment, &result, &failure), 0);
    assert_int_equal(result.rows_written, 1);
    assert_int_equal(trial_number(trial, "SELECT count(*) FROM permtab_assignment WHERE expires_at = 5"), 1);

    assignment.has_scope = true;
    assignment.scope = (struct scope_key){.type = 2, .id = 10};
    assert_int_equal(policy_assign(trial->store, &assignment, &result, &failure), 0);
    assert_int_equal(trial_number(trial, "SELECT count(*) FROM permtab_assignment"), 3);
    assignment.scope = (struct scope_key){.type = 1, .id = 2};
    assert_int_equal(policy_assign(trial->store, &assignment, &result, &failure), PERMTAB_E_CONFLICT);
    assert_string_equal(failure.text,
                        "role 100 is of server:1 and cannot be held at server:2, which is not below it");
    assignment.scope = (struct scope_key){0};
    assert_int_equal(policy_assign(trial->store, &assignment, &result, &failure), PERMTAB_E_CONFLICT);
    assignment.scope = (struct scope_key){.type = 2, .id = 11};
    assert_int_equal(policy_assign(trial->store, &assignment, &result, &failure), PERMTAB_E_NOT_FOUND);
    assert_string_equal(failure.text, "there is no scope channel:11");

    assert_int_equal(policy_unassign(trial->store, &assignment, &result, &failure), 0);
    assert_int_equal(result.rows_written, 0);
    assignment.has_scope = false;
    assert_int_equal(policy_unassign(trial->store, &assignment, &result, &failure), 0);
    assert_int_equal(result.rows_written, 1);
    assert_int_equal(trial_number(trial, "SELECT count(*) FROM permtab_assignment"), 2);
    assignment.role = 9;
    assert_int_equal(policy_unassign(trial->store, &assignment, &result, &failure), PERMTAB_E_NOT_FOUND);
}

/* A commit that loses its connection, after it was done and before. The driver is a copy of the real one, and the
 * connection made anew has the real one again. */
static const struct sql_driver *real_driver;

static int commit_then_lose(struct sql *sql, struct failure *failure)
{
    assert_int_equal(real_driver->commit(sql, failure), 0);
    sql->broken = true;
    return failure_set(failure, PERMTAB_E_STORE_UNSURE, "lost");
}

static int lose_the_commit(struct sql *sql, struct failure *failure)
{
    real_driver->rollback(sql);
    sql->broken = true;
    return failure_set(failure, PERMTAB_E_STORE_UNSURE, "lost");
}

static void commit_by(struct policy_trial *trial, int (*commit)(struct sql *sql, struct failure *failure))
{
    static struct sql_driver faulty;
    real_driver = trial->store->sql->driver;
    faulty = *real_driver;
    faulty.commit = commit;
    trial->store->sql->driver = &faulty;
}

static void test_unknown_outcome(void **state)
{
    struct policy_trial *trial = *state;
    struct policy_apply_result result;
    struct failure failure = {0};
    trial_applied(trial, TRIAL_BASE);
    uint64_t before = trial_revision(trial);
    commit_by(trial, commit_then_lose);
    assert_int_equal(policy_grant(trial->store, 100, "x.two", GRANT_ALLOW, &result, &failure), 0);
    assert_int_equal(result.rows_written, 1);
    assert_int_equal(result.revision, before + 1);
    assert_int_equal(trial_revision(trial), before + 1);
    assert_ptr_equal(trial->store->sql->driver, real_driver);

    commit_by(trial, lose_the_commit);
    assert_int_equal(policy_grant(trial->store, 101, "x.two", GRANT_ALLOW, &result, &failure), 0);
    assert_int_equal(result.rows_written, 1);
    assert_int_equal(result.revision, before + 2);
    assert_int_equal(trial_number(trial, "SELECT count(*) FROM permtab_role_permission WHERE role_id = 101"),
                     1);
}

/* ---- gates ---- */

/* The asker is told that the time is over while the transaction is under way. */
static struct gate *closing;

static struct sql_statement *prepare_and_close(struct sql *sql, const char *text, struct failure *failure)
{
    if (closing != NULL)
        assert_int_equal(gate_close(closing), GATE_OPEN);
    closing = NULL;
    return real_driver->prepare(sql, text, failure);
}

static void test_closed_before_the_commit(void **state)
{
    struct policy_trial *trial = *state;
    static struct sql_driver faulty;
    struct policy_apply_result result;
    struct failure failure = {0};
    struct gate gate;
    trial_applied(trial, TRIAL_BASE);
    uint64_t before = trial_revision(trial);
    real_driver = trial->store->sql->driver;
    faulty = *real_driver;
    faulty.prepare = prepare_and_close;
    trial->store->sql->driver = &faulty;
    gate_init(&gate, 0);
    closing = &gate;
    sql_use_gate(trial->store->sql, &gate);
    assert_int_equal(policy_grant(trial->store, 100, "x.two", GRANT_ALLOW_OWN, &result, &failure),
                     PERMTAB_E_TIMEOUT);
    assert_null(closing);
    sql_use_gate(trial->store->sql, NULL);
    trial->store->sql->driver = real_driver;
    assert_int_equal(trial_revision(trial), before);
    gate_fini(&gate);
}

/* The loop told the asker that the outcome is unknown: what is then found not to have happened is not done again. */
static int lose_and_close(struct sql *sql, struct failure *failure)
{
    enum gate_wait wait;
    struct gate_trace trace;
    assert_int_equal(gate_look(sql_gate(sql), &wait, &trace), GATE_COMMITTING);
    assert_true(trace.revision > 0 && wait == GATE_FOR_COMMIT);
    assert_int_equal(gate_close(sql_gate(sql)), GATE_COMMITTING);
    return lose_the_commit(sql, failure);
}

static void test_closed_during_the_commit(void **state)
{
    struct policy_trial *trial = *state;
    struct policy_apply_result result;
    struct failure failure = {0};
    struct gate gate;
    trial_applied(trial, TRIAL_BASE);
    uint64_t before = trial_revision(trial);
    gate_init(&gate, 0);
    sql_use_gate(trial->store->sql, &gate);
    commit_by(trial, lose_and_close);
    assert_true(policy_grant(trial->store, 100, "x.two", GRANT_ALLOW_OWN, &result, &failure) < 0);
    sql_use_gate(trial->store->sql, NULL);
    trial->store->sql->driver = real_driver;
    assert_false(sql_broken(trial->store->sql)); /* it was looked for once all the same, and written over */
    assert_int_equal(trial_revision(trial), before);
    gate_fini(&gate);
}

/* Nobody closed it: what is found not to have happened is done. */
static void test_lost_and_done_again(void **state)
{
    struct policy_trial *trial = *state;
    struct policy_apply_result result;
    struct failure failure = {0};
    struct gate gate;
    trial_applied(trial, TRIAL_BASE);
    uint64_t before = trial_revision(trial);
    gate_init(&gate, 0);
    sql_use_gate(trial->store->sql, &gate);
    commit_by(trial, lose_the_commit);
    assert_int_equal(policy_grant(trial->store, 100, "x.two", GRANT_ALLOW_OWN, &result, &failure), 0);
    assert_ptr_equal(sql_gate(trial->store->sql), &gate); /* the connection made anew has it, too */
    sql_use_gate(trial->store->sql, NULL);
    assert_int_equal(trial_revision(trial), before + 1);
    gate_fini(&gate);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grant_and_revoke),         cmocka_unit_test(test_assign_and_unassign),
        cmocka_unit_test(test_unknown_outcome),          cmocka_unit_test(test_closed_before_the_commit),
        cmocka_unit_test(test_closed_during_the_commit), cmocka_unit_test(test_lost_and_done_again),
    };
    return trial_run_all(tests, sizeof tests / sizeof *tests);
}
