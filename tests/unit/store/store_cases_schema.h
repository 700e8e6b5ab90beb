/* Cases about the schema: what is refused, whoever writes; migrations; the look. */
#ifndef PERMTAB_TESTS_UNIT_STORE_STORE_CASES_SCHEMA_H
#define PERMTAB_TESTS_UNIT_STORE_STORE_CASES_SCHEMA_H

#include "tests/unit/store/store_fixture.h"

struct refused_case {
    const char *text;
    const char *says;
};

static const struct refused_case refused_cases[] = {
    {"DELETE FROM permtab_permission WHERE name = 'e'", "set deleted = 1"},
    {"UPDATE permtab_permission SET bit = 9 WHERE name = 'e'", "keeps its name and its bit"},
    {"UPDATE permtab_permission SET name = 'f' WHERE name = 'e'", "keeps its name and its bit"},
    {"INSERT INTO permtab_permission (name, bit) VALUES ('f', 64)", "bits are never used again"},
    {"INSERT INTO permtab_permission (name, bit) VALUES ('f', 9), ('g', 9)", "bits are never used again"},
    {"INSERT INTO permtab_permission (name, bit) VALUES ('F', 9)", ""},
    {"INSERT INTO permtab_permission (name, bit) VALUES ('f ', 9)", ""},
    {"INSERT INTO permtab_permission (name, bit) VALUES ('.f', 9)", ""},
    {"INSERT INTO permtab_permission (name, bit) VALUES ('f..g', 9)", ""},
    {"INSERT INTO permtab_permission (name, bit) VALUES ('', 9)", ""},
    {"INSERT INTO permtab_permission (name, bit) VALUES ('f', 16384)", ""},
    {"INSERT INTO permtab_requirement VALUES ('e', 'nothing')", ""},
    {"INSERT INTO permtab_scope_type VALUES (4, 'gap')", "the next number"},
    {"INSERT INTO permtab_scope_type VALUES (3, 'server')", "a new name"},
    {"UPDATE permtab_scope_type SET name = 'guild' WHERE number = 1", "neither renamed"},
    {"DELETE FROM permtab_scope_type WHERE number = 2", "never used again"},
    {"DELETE FROM permtab_scope WHERE type = 0", "global cannot be deleted"},
    {"DELETE FROM permtab_scope WHERE type = 1", "refer to this scope"},
    {"DELETE FROM permtab_scope WHERE type = 2 AND id = 50", "refer to this scope"},
    {"UPDATE permtab_scope SET id = 6 WHERE type = 1", "refer to this scope"},
    {"INSERT INTO permtab_scope VALUES (1, 8, 1, 5, NULL)", "lower type"},
    {"INSERT INTO permtab_scope VALUES (1, 8, 2, 50, NULL)", "lower type"},
    {"UPDATE permtab_scope SET parent_type = 2, parent_id = 51 WHERE id = 50", "lower type"},
    {"INSERT INTO permtab_scope VALUES (0, 1, 0, 0, NULL)", "global is 0:0"},
    {"INSERT INTO permtab_scope VALUES (1, 8, 0, 1, NULL)", ""},
    {"INSERT INTO permtab_scope VALUES (9, 8, 0, 0, NULL)", ""},
    {"INSERT INTO permtab_role VALUES (9, '', 1, 77, 0, 1)", ""},
    {"INSERT INTO permtab_role VALUES (9, '', 1, 5, 2, 1)", ""},
    {"DELETE FROM permtab_role WHERE id = 1", "refer to this role"},
    {"UPDATE permtab_role SET id = 11 WHERE id = 1", "refer to this role"},
    {"INSERT INTO permtab_role_parent VALUES (1, 99)", ""},
    {"INSERT INTO permtab_role_permission VALUES (99, 'e', 'allow')", ""},
    {"INSERT INTO permtab_role_permission VALUES (1, 'nothing', 'allow')", ""},
    {"INSERT INTO permtab_role_permission VALUES (1, 'e', 'Allow')", ""},
    {"INSERT INTO permtab_role_permission VALUES (1, 'e', 'allow ')", ""},
    {"INSERT INTO permtab_role_permission VALUES (1, 'E', 'allow')", ""},
    {"INSERT INTO permtab_role_permission VALUES (1, 'e ', 'allow')", ""},
    {"INSERT INTO permtab_assignment VALUES (7, 99, 0, 0, NULL)", ""},
    {"INSERT INTO permtab_assignment VALUES (7, 1, 1, 99, NULL)", ""},
    {"INSERT INTO permtab_assignment VALUES (NULL, 1, 1, 5, NULL)", ""},
    {"INSERT INTO permtab_overwrite VALUES (2, 50, 'role', 99, 'e', 'deny')", "no such"},
    {"INSERT INTO permtab_overwrite VALUES (2, 50, 'group', 1, 'e', 'deny')", ""},
    {"INSERT INTO permtab_overwrite VALUES (2, 50, 'user', 1, 'e', 'allow_own')", ""},
    {"INSERT INTO permtab_overwrite VALUES (2, 99, 'user', 1, 'e', 'deny')", ""},
};

static void refuse_all(struct fixture *f)
{
    uint64_t before = position(f).revision;
    for (size_t i = 0; i < sizeof(refused_cases) / sizeof(*refused_cases); i++) {
        memset(&failure, 0, sizeof(failure));
        int rc = run(f->writer, refused_cases[i].text);
        if (rc != PERMTAB_E_CONFLICT || !strstr(failure.text, refused_cases[i].says))
            fail_msg("%s\n  gave %d \"%s\"", refused_cases[i].text, rc, failure.text);
    }
    assert_int_equal(position(f).revision, before);
}

static void test_rules_hold(void **state)
{
    struct fixture *f = *state;
    some_policy(f);
    refuse_all(f);
    /* A tombstone stays one, and so does its name. */
    OK(run(f->writer, "UPDATE permtab_permission SET deleted = 1 WHERE name = 'e'"));
    FAILS(run(f->writer, "UPDATE permtab_permission SET deleted = 0 WHERE name = 'e'"), PERMTAB_E_CONFLICT,
          "stays deleted");
    FAILS(run(f->writer, "REPLACE INTO permtab_permission (name, bit) VALUES ('e', 64)"), PERMTAB_E_CONFLICT,
          "delete");
}

static void test_migrating_twice_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct log_position before = position(f);
    unsigned applied = 9;
    OK(store_migrate(&f->options, &applied, &failure));
    assert_int_equal(applied, 0);
    assert_int_equal(position(f).revision, before.revision);
    OK(store_check_schema(&f->store, &failure));
}

static void test_too_new_is_refused(void **state)
{
    struct fixture *f = *state;
    struct store other;
    unsigned applied;
    OK(run(f->writer, "UPDATE permtab_store SET schema_version = 99"));
    FAILS(store_open(&other, &f->options, &failure), PERMTAB_E_SCHEMA, "newer than");
    FAILS(store_migrate(&f->options, &applied, &failure), PERMTAB_E_SCHEMA, "newer than");
    FAILS(store_check_schema(&f->store, &failure), PERMTAB_E_SCHEMA, "newer than");
}

static void test_half_applied_is_refused(void **state)
{
    struct fixture *f = *state;
    struct store other;
    unsigned applied;
    OK(run(f->writer, "UPDATE permtab_store SET schema_state = 'applying 3', schema_version = 2"));
    FAILS(store_open(&other, &f->options, &failure), PERMTAB_E_SCHEMA, "half applied");
    FAILS(store_migrate(&f->options, &applied, &failure), PERMTAB_E_SCHEMA, "half applied");
}

static void test_no_schema_is_refused(void **state)
{
    struct fixture *f = *state;
    struct store other;
    OK(sql_create(&f->options, &failure));
    FAILS(store_open(&other, &f->options, &failure), PERMTAB_E_SCHEMA, "permtabd --migrate");
}

static void test_older_is_refused_then_migrated(void **state)
{
    struct fixture *f = *state;
    struct store other;
    OK(run(f->writer, "UPDATE permtab_store SET schema_version = 2"));
    FAILS(store_open(&other, &f->options, &failure), PERMTAB_E_SCHEMA, "run permtabd --migrate");
}

static void test_look_notices_a_dropped_trigger(void **state)
{
    struct fixture *f = *state;
    struct store other;
    OK(store_check_schema(&f->store, &failure));
    OK(run(f->writer, "DROP TRIGGER permtab_assignment_insert"));
    FAILS(store_check_schema(&f->store, &failure), PERMTAB_E_SCHEMA,
          "trigger permtab_assignment_insert is missing");
    FAILS(store_open(&other, &f->options, &failure), PERMTAB_E_SCHEMA,
          "permtab_assignment_insert is missing");
    OK(run(f->writer, on_mysql(f)
                          ? "CREATE TRIGGER permtab_assignment_insert AFTER INSERT ON permtab_assignment"
                            " FOR EACH ROW SET @nothing = 1"
                          : "CREATE TRIGGER permtab_assignment_insert AFTER INSERT ON permtab_assignment"
                            " BEGIN SELECT 1; END"));
    FAILS(store_check_schema(&f->store, &failure), PERMTAB_E_SCHEMA,
          "permtab_assignment_insert is different");
}

static void test_look_notices_other_changes(void **state)
{
    struct fixture *f = *state;
    OK(run(f->writer, "CREATE TABLE permtab_of_somebody (a INTEGER)"));
    OK(run(f->writer, "ALTER TABLE permtab_assignment RENAME COLUMN expires_at TO ends_at"));
    FAILS(store_check_schema(&f->store, &failure), PERMTAB_E_SCHEMA, "permtab_assignment");
}

static void test_scope_types_are_appended(void **state)
{
    struct fixture *f = *state;
    struct catalogue catalogue;
    struct scope_types four = {.count = 4, .names = {"global", "server", "channel", "thread"}};
    struct scope_types less = {.count = 2, .names = {"global", "server"}};
    struct scope_types other = {.count = 3, .names = {"global", "guild", "channel"}};
    OK(store_sync_types(&f->store, &four, &failure));
    OK(store_sync_types(&f->store, &four, &failure));
    OK(store_read_catalogue(&f->store, 512, &catalogue, &failure));
    assert_int_equal(catalogue.types.count, 4);
    assert_string_equal(catalogue.types.names[3], "thread");
    catalogue_fini(&catalogue);
    FAILS(store_sync_types(&f->store, &less, &failure), PERMTAB_E_CONFLICT, "channel");
    FAILS(store_sync_types(&f->store, &other, &failure), PERMTAB_E_CONFLICT, "guild");
}

#endif
