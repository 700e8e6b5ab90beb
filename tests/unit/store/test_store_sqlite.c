/* The store on SQLite: the common cases, and what only a file can suffer. */
#include "proxy/store/private.h"
#include "tests/unit/store/store_cases.h"

#include <sqlite3.h>

static int ready(void **state)
{
    return fixture_ready(state, NULL);
}

static int empty(void **state)
{
    return fixture_empty(state, NULL);
}

static void in_folder(struct fixture *f, const char *format)
{
    char command[512];
    snprintf(command, sizeof(command), "cd '%s' && %s", f->folder, format);
    assert_int_equal(system(command), 0);
}

/* Another program, with SQLite's own settings: no foreign keys, no recursive triggers. */
static sqlite3 *stranger(struct fixture *f)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(f->store.path, &db), SQLITE_OK);
    return db;
}

static void test_replaced_file_is_not_believed(void **state)
{
    struct fixture *f = *state;
    int64_t now;
    bool newer;
    char text[256];
    snprintf(text, sizeof(text), "VACUUM INTO '%s/old.db'", f->folder);
    OK(run(f->writer, text));
    OK(run(f->writer, "INSERT INTO permtab_scope VALUES (1, 1, 0, 0, NULL)"));
    struct log_position at = position(f);
    OK(store_poll(&f->store, &at, &newer, &now, &failure));
    in_folder(f, "mv old.db p.db");
    FAILS(store_poll(&f->store, &at, &newer, &now, &failure), PERMTAB_E_SCHEMA, "replaced");
    in_folder(f, "rm p.db-wal p.db-shm");
    struct store fresh;
    OK(store_open(&fresh, &f->options, &failure));
    FAILS(store_poll(&fresh, &at, &newer, &now, &failure), PERMTAB_E_SCHEMA, "older backup");
    store_close(&fresh);
}

/* Removing the -wal file cuts us off from those who come after. */
static void test_removed_wal_is_not_believed(void **state)
{
    struct fixture *f = *state;
    int64_t now;
    bool newer;
    struct log_position at = position(f);
    in_folder(f, "rm p.db-wal");
    FAILS(store_poll(&f->store, &at, &newer, &now, &failure), PERMTAB_E_SCHEMA, "-wal");
}

/* The log numbers itself also for programs without recursive triggers, whose REPLACE deletes unseen. */
static void test_log_numbers_itself(void **state)
{
    static const char *const refused[] = {
        "INSERT INTO permtab_change (revision, kind) VALUES (1000000, 1)",
        "INSERT INTO permtab_change (revision, kind) VALUES (9223372036854775807, 1)",
        "INSERT INTO permtab_change (revision, kind) VALUES (0, 1)",
        "INSERT INTO permtab_change (revision, kind) VALUES (-1, 1)",
        "REPLACE INTO permtab_change (revision, kind) SELECT MAX(revision), 1 FROM permtab_change",
        ("INSERT INTO permtab_change (revision, kind) SELECT MAX(revision), 1 FROM permtab_change WHERE true"
         " ON CONFLICT DO UPDATE SET kind = 1"),
    };
    struct fixture *f = *state;
    struct log_position at = position(f);
    sqlite3 *db = stranger(f);
    for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++)
        if (sqlite3_exec(db, refused[i], NULL, NULL, NULL) != SQLITE_CONSTRAINT)
            fail_msg("%s: %s", refused[i], sqlite3_errmsg(db));
    assert_int_equal(position(f).nonce, at.nonce);
    assert_int_equal(sqlite3_exec(db, "INSERT INTO permtab_change (kind) VALUES (9)", NULL, NULL, NULL),
                     SQLITE_OK);
    assert_int_equal(position(f).revision, at.revision + 1);
    sqlite3_close(db);
}

/* The log is forged with the guards away for a moment: numbers left out, and the newest row gone and
 * its number given again. */
static void test_forged_log_is_noticed_by_the_poll(void **state)
{
    struct fixture *f = *state;
    int64_t now;
    bool newer;
    struct log_position at = position(f);
    drop_trigger(f, "change_insert");
    drop_trigger(f, "change_delete");
    OK(run(f->writer,
           "INSERT INTO permtab_change (revision, kind) SELECT MAX(revision) + 5, 1 FROM permtab_change"));
    FAILS(store_poll(&f->store, &at, &newer, &now, &failure), PERMTAB_E_SCHEMA, "counter");
    OK(run(f->writer, "DELETE FROM permtab_change WHERE revision = (SELECT revision FROM permtab_counter)"));
    OK(store_poll(&f->store, &at, &newer, &now, &failure));
    OK(run(f->writer, "DELETE FROM permtab_change WHERE revision = (SELECT revision FROM permtab_counter)"));
    FAILS(store_poll(&f->store, &at, &newer, &now, &failure), PERMTAB_E_SCHEMA, "no longer");
    OK(run(f->writer, "INSERT INTO permtab_scope VALUES (1, 1, 0, 0, NULL)"));
    FAILS(store_poll(&f->store, &at, &newer, &now, &failure), PERMTAB_E_SCHEMA, "another one");
    FAILS(store_check_schema(&f->store, &failure), PERMTAB_E_SCHEMA, "change_");
}

/* Numbers that a rolled back transaction had given are given again. */
static void test_rolled_back_numbers_come_again(void **state)
{
    struct fixture *f = *state;
    struct log_position at = position(f);
    OK(sql_begin(f->writer, SQL_WRITE, &failure));
    OK(run(f->writer, "INSERT INTO permtab_scope VALUES (1, 1, 0, 0, NULL), (1, 2, 0, 0, NULL)"));
    sql_rollback(f->writer);
    OK(run(f->writer, "INSERT INTO permtab_scope VALUES (1, 3, 0, 0, NULL)"));
    assert_int_equal(position(f).revision, at.revision + 1);
}

/* REPLACE by a program without recursive triggers: no delete trigger runs, and still nothing goes unseen. */
static void test_replace_is_seen(void **state)
{
    struct fixture *f = *state;
    char text[256];
    some_policy(f);
    sqlite3 *db = stranger(f);
    struct log_position before = position(f);
    assert_int_equal(sqlite3_exec(db,
                                  "REPLACE INTO permtab_role VALUES (2, 'two', 0, 0, 1, 1);"
                                  "REPLACE INTO permtab_assignment VALUES (8, 1, 1, 5, NULL);"
                                  "REPLACE INTO permtab_scope VALUES (2, 50, 0, 0, NULL)",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    changes_text(f, before.revision, text, sizeof(text));
    assert_string_equal(text, "4/0/2/1:5 4/0/2/0:0 7/8/1/1:5 3/0/0/2:50 ");
    assert_int_equal(
        sqlite3_exec(db, "REPLACE INTO permtab_permission (name, bit) VALUES ('e', 1)", NULL, NULL, NULL),
        SQLITE_CONSTRAINT);
    assert_int_equal(
        sqlite3_exec(db, "UPDATE OR REPLACE permtab_role SET id = 2 WHERE id = 1", NULL, NULL, NULL),
        SQLITE_CONSTRAINT);
    sqlite3_close(db);
}

static void test_rules_hold_without_foreign_keys(void **state)
{
    struct fixture *f = *state;
    some_policy(f);
    sqlite3 *db = stranger(f);
    for (size_t i = 0; i < sizeof(refused_cases) / sizeof(*refused_cases); i++)
        if (sqlite3_exec(db, refused_cases[i].text, NULL, NULL, NULL) != SQLITE_CONSTRAINT)
            fail_msg("%s: %s", refused_cases[i].text, sqlite3_errmsg(db));
    sqlite3_close(db);
}

static void test_dropped_table_is_noticed(void **state)
{
    struct fixture *f = *state;
    sqlite3 *db = stranger(f);
    assert_int_equal(sqlite3_exec(db, "DROP TABLE permtab_overwrite", NULL, NULL, NULL), SQLITE_OK);
    FAILS(store_check_schema(&f->store, &failure), PERMTAB_E_SCHEMA, "permtab_overwrite");
    sqlite3_close(db);
}

/* A table dropped and made again between two looks: everything is as it was, but what was in it is gone unseen. */
static void test_changed_and_changed_back_is_noticed(void **state)
{
    struct fixture *f = *state;
    OK(run(f->writer, "CREATE TABLE other (a)"));
    FAILS(store_check_schema(&f->store, &failure), PERMTAB_E_SCHEMA, "changed back");
    OK(store_check_schema(&f->store, &failure));
    OK(run(f->writer, "CREATE UNIQUE INDEX more ON permtab_role (name)"));
    FAILS(store_check_schema(&f->store, &failure), PERMTAB_E_SCHEMA, "index more was added");
}

/* A look that breaks off, as one does when the connection ends, has said nothing: what it saw is for the next one
 * to say. */
static void test_emptied_is_said_after_a_look_that_failed(void **state)
{
    struct fixture *f = *state;
    some_policy(f);
    OK(store_emptied_check(&f->store, &failure));
    drop_trigger(f, "assignment_delete");
    OK(run(f->writer, "DELETE FROM permtab_assignment"));
    OK(run(f->writer, "ALTER TABLE permtab_change RENAME COLUMN kind TO sort"));
    FAILS(store_emptied_check(&f->store, &failure), PERMTAB_E_STORE, "kind");
    OK(run(f->writer, "ALTER TABLE permtab_change RENAME COLUMN sort TO kind"));
    FAILS(store_emptied_check(&f->store, &failure), PERMTAB_E_SCHEMA, "permtab_assignment was emptied");
    OK(store_emptied_check(&f->store, &failure)); /* said once */
}

static void test_views_print_unsigned(void **state)
{
    struct fixture *f = *state;
    bound(f, "INSERT INTO permtab_scope VALUES (1, ?, 0, 0, ?)", (uint64_t[]){HUGE_ID, HUGE_ID - 1}, 2);
    struct sql_statement *st =
        sql_prepare_built(f->writer, "SELECT id, owner FROM permtab_scope_view WHERE type = 1", &failure);
    assert_non_null(st);
    assert_int_equal(sql_step(st, &failure), 1);
    assert_string_equal(sql_column_text(st, 0), "18446744073709551615");
    assert_string_equal(sql_column_text(st, 1), "18446744073709551614");
    sql_reset(st);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_CASES,
        READY(test_replaced_file_is_not_believed),
        READY(test_removed_wal_is_not_believed),
        READY(test_log_numbers_itself),
        READY(test_forged_log_is_noticed_by_the_poll),
        READY(test_rolled_back_numbers_come_again),
        READY(test_replace_is_seen),
        READY(test_rules_hold_without_foreign_keys),
        READY(test_dropped_table_is_noticed),
        READY(test_changed_and_changed_back_is_noticed),
        READY(test_emptied_is_said_after_a_look_that_failed),
        READY(test_views_print_unsigned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
