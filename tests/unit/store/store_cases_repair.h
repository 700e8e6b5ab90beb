/* Cases about other people's tools: what they may do to the schema, what is refused and in which words, and what
 * --migrate mends. */
#ifndef PERMTAB_TESTS_UNIT_STORE_STORE_CASES_REPAIR_H
#define PERMTAB_TESTS_UNIT_STORE_STORE_CASES_REPAIR_H

#include "tests/unit/store/store_fixture.h"

/* Returns what a sidecar that starts now says of the store. */
__attribute__((unused)) static int opens(struct fixture *f)
{
    struct store other;
    int rc = store_open(&other, &f->options, &failure);
    if (rc == 0)
        store_close(&other);
    return rc;
}

__attribute__((unused)) static int migrate(struct fixture *f)
{
    unsigned applied = 0;
    int rc = store_migrate(&f->options, &applied, &failure);
    assert_int_equal(applied, 0);
    return rc;
}

/* The log goes on, and its newest row says that everything has to be read again. */
__attribute__((unused)) static void assert_new_page(struct fixture *f, uint64_t before)
{
    assert_true(number(f->writer, "SELECT revision FROM permtab_counter") > before);
    assert_int_equal(number(f->writer, "SELECT kind FROM permtab_change ORDER BY revision DESC LIMIT 1"), 9);
}

__attribute__((unused)) static void assert_change_is_seen(struct fixture *f, const char *text)
{
    uint64_t before = number(f->writer, "SELECT revision FROM permtab_counter");
    OK(run(f->writer, text));
    assert_int_equal(number(f->writer, "SELECT revision FROM permtab_counter"), before + 1);
}

/* A trigger that was missing may have left changes unseen: so the log gets a row that says "read everything again". */
static void test_migrating_makes_triggers_again(void **state)
{
    struct fixture *f = *state;
    some_policy(f);
    drop_trigger(f, "assignment_delete");
    drop_trigger(f, "role_used");
    OK(run(f->writer, "DELETE FROM permtab_assignment WHERE user_id = 7"));
    uint64_t before = number(f->writer, "SELECT revision FROM permtab_counter");
    FAILS(opens(f), PERMTAB_E_SCHEMA, "permtabd --migrate makes it again");
    OK(migrate(f));
    OK(opens(f));
    assert_new_page(f, before);
    assert_change_is_seen(f, "DELETE FROM permtab_assignment WHERE user_id = 8");
    FAILS(run(f->writer, "DELETE FROM permtab_role WHERE id = 1"), PERMTAB_E_CONFLICT, "refer to this role");
    before = number(f->writer, "SELECT revision FROM permtab_counter");
    OK(migrate(f));
    assert_int_equal(number(f->writer, "SELECT revision FROM permtab_counter"), before);
}

static void test_migrating_replaces_other_triggers(void **state)
{
    struct fixture *f = *state;
    some_policy(f);
    drop_trigger(f, "assignment_insert");
    OK(run(f->writer, on_mysql(f)
                          ? "CREATE TRIGGER permtab_assignment_insert AFTER INSERT ON permtab_assignment"
                            " FOR EACH ROW SET @nothing = 1"
                          : "CREATE TRIGGER permtab_assignment_insert AFTER INSERT ON permtab_assignment"
                            " BEGIN SELECT 1; END"));
    FAILS(opens(f), PERMTAB_E_SCHEMA, "permtab_assignment_insert is different");
    uint64_t before = number(f->writer, "SELECT revision FROM permtab_counter");
    OK(migrate(f));
    OK(opens(f));
    assert_new_page(f, before);
    assert_change_is_seen(f, "INSERT INTO permtab_assignment VALUES (9, 1, 1, 5, NULL)");
}

/* A repair that was stopped may have left anything; nobody believes the store before it is taken up again. */
static void test_a_stopped_repair_is_taken_up(void **state)
{
    struct fixture *f = *state;
    OK(run(f->writer, "UPDATE permtab_store SET schema_state = 'mending'"));
    FAILS(opens(f), PERMTAB_E_SCHEMA, "mending");
    FAILS(store_check_schema(&f->store, &failure), PERMTAB_E_SCHEMA, "run it again");
    uint64_t before = number(f->writer, "SELECT revision FROM permtab_counter");
    OK(migrate(f));
    OK(opens(f));
    assert_new_page(f, before);
}

static void test_what_cannot_be_mended_is_named(void **state)
{
    struct fixture *f = *state;
    some_policy(f);
    uint64_t before = number(f->writer, "SELECT revision FROM permtab_counter");
    OK(run(f->writer, "ALTER TABLE permtab_assignment RENAME COLUMN expires_at TO ends_at"));
    FAILS(opens(f), PERMTAB_E_SCHEMA, "RENAME COLUMN");
    FAILS(migrate(f), PERMTAB_E_SCHEMA, "column permtab_assignment.expires_at is missing");
    assert_int_equal(number(f->writer, "SELECT revision FROM permtab_counter"), before);
    OK(run(f->writer, "ALTER TABLE permtab_assignment RENAME COLUMN ends_at TO expires_at"));
    OK(opens(f));
}

/* An application may add what makes no change that goes unseen. */
static void test_an_application_adds_columns(void **state)
{
    struct fixture *f = *state;
    some_policy(f);
    OK(run(f->writer, "ALTER TABLE permtab_assignment ADD COLUMN note INTEGER"));
    OK(run(f->writer, "ALTER TABLE permtab_role ADD COLUMN color INTEGER"));
    OK(run(f->writer, "CREATE INDEX of_the_application ON permtab_assignment (note)"));
    OK(opens(f));
    OK(migrate(f));
    assert_change_is_seen(f, "INSERT INTO permtab_assignment (user_id, role_id, scope_type, scope_id, note)"
                             " VALUES (9, 1, 1, 5, 3)");
}

#define STORE_REPAIR_CASES                                                                                   \
    READY(test_migrating_makes_triggers_again), READY(test_migrating_replaces_other_triggers),               \
        READY(test_a_stopped_repair_is_taken_up), READY(test_what_cannot_be_mended_is_named),                \
        READY(test_an_application_adds_columns)

#endif
