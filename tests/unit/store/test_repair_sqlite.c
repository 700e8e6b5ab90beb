/* Other people's tools on an SQLite store. Django and sqlite-utils change a table by making another one, copying the
 * rows, dropping the old one and giving its name to the new one: names come quoted, white space is theirs, triggers
 * are gone. */
#include "proxy/store/private.h"
#include "tests/unit/store/store_cases_repair.h"

#include <sqlite3.h>

#define READY(test) cmocka_unit_test_setup_teardown(test, ready, fixture_free)

static int ready(void **state)
{
    return fixture_ready(state, NULL);
}

/* The text of `table`, with `from` replaced by `to`; malloc'ed. */
static char *altered(struct fixture *f, const char *table, const char *from, const char *to)
{
    struct sql_statement *st =
        sql_prepare_built(f->writer, "SELECT replace(sql, ?, ?) FROM sqlite_master WHERE name = ?", &failure);
    assert_non_null(st);
    sql_bind_text(st, 1, from);
    sql_bind_text(st, 2, to);
    sql_bind_text(st, 3, table);
    assert_int_equal(sql_step(st, &failure), 1);
    char *text = strdup(sql_column_text(st, 0));
    sql_reset(st);
    assert_non_null(text);
    assert_non_null(strstr(text, to));
    return text;
}

/* Rebuilds a table as those tools do; its triggers and indexes come back afterwards, when the tool knows of them. */
static void remake(struct fixture *f, const char *table, const char *from, const char *to, bool with_triggers)
{
    static const char others[] =
        "SELECT group_concat(sql, ';') FROM sqlite_master WHERE tbl_name = ? AND type <> 'table'"
        " AND sql IS NOT NULL ORDER BY rowid";
    char *text = altered(f, table, from, to), *more = NULL, *script = NULL;
    struct sql_statement *st = sql_prepare_built(f->writer, others, &failure);
    assert_non_null(st);
    sql_bind_text(st, 1, table);
    assert_int_equal(sql_step(st, &failure), 1);
    more = strdup(sql_column_text(st, 0));
    sql_reset(st);
    assert_true(asprintf(&script,
                         "PRAGMA foreign_keys = OFF; PRAGMA legacy_alter_table = ON; BEGIN;"
                         "CREATE TABLE \"new__%s\" %s;"
                         "INSERT INTO \"new__%s\" SELECT * FROM \"%s\"; DROP TABLE \"%s\";"
                         "ALTER TABLE \"new__%s\" RENAME TO \"%s\"; %s; COMMIT;"
                         "PRAGMA legacy_alter_table = OFF; PRAGMA foreign_keys = ON",
                         table, strchr(text, '('), table, table, table, table, table,
                         with_triggers ? more : "") > 0);
    OK(run(f->writer, script));
    free(script);
    free(more);
    free(text);
}

/* The table as Django writes it: names quoted, types in its case, everything in one line. */
static const char by_an_orm[] = "PRAGMA foreign_keys = OFF; PRAGMA legacy_alter_table = ON; BEGIN;"
                                "CREATE TABLE \"new__permtab_role_parent\" (\"role_id\" integer NOT NULL "
                                "REFERENCES \"permtab_role\" (\"id\") ON DELETE RESTRICT,"
                                " \"parent_id\" integer NOT NULL REFERENCES \"permtab_role\" (\"id\"), "
                                "PRIMARY KEY (\"role_id\", \"parent_id\"))"
                                " STRICT, WITHOUT ROWID;"
                                "INSERT INTO \"new__permtab_role_parent\" SELECT * FROM "
                                "\"permtab_role_parent\"; DROP TABLE \"permtab_role_parent\";"
                                "ALTER TABLE \"new__permtab_role_parent\" RENAME TO \"permtab_role_parent\"; "
                                "COMMIT; PRAGMA legacy_alter_table = OFF";

static void test_a_rebuilt_table_is_the_same(void **state)
{
    struct fixture *f = *state;
    some_policy(f);
    OK(run(f->writer, by_an_orm));
    FAILS(opens(f), PERMTAB_E_SCHEMA, "trigger permtab_role_parent_");
    OK(migrate(f));
    OK(opens(f));
    assert_change_is_seen(f, "DELETE FROM permtab_role_parent");
    remake(f, "permtab_role", "is_default INTEGER NOT NULL DEFAULT 0 CHECK (is_default IN (0, 1))",
           "is_default integer not null default 0 check (\"is_default\" IN(0,1))", true);
    OK(opens(f));
}

static void test_names_do_not_matter(void **state)
{
    struct fixture *f = *state;
    char *text = altered(f, "permtab_role_update", "permtab_role_update", "\"of another name\"");
    drop_trigger(f, "role_update");
    OK(run(f->writer, text));
    OK(run(f->writer, "DROP INDEX permtab_role_scope"));
    OK(run(f->writer, "CREATE INDEX other ON permtab_role (scope_type, scope_id, is_default)"));
    OK(opens(f));
    free(text);
}

/* Whose cascades fire triggers, in SQLite: nothing of that is unseen. */
static void test_references_of_the_application(void **state)
{
    struct fixture *f = *state;
    some_policy(f);
    OK(run(f->writer, "CREATE TABLE account (id INTEGER PRIMARY KEY); INSERT INTO account VALUES (7), (8)"));
    remake(f, "permtab_assignment", "user_id    INTEGER NOT NULL",
           "user_id INTEGER NOT NULL REFERENCES account (id) ON DELETE RESTRICT", true);
    OK(opens(f));
    remake(f, "permtab_assignment", "(id) ON DELETE RESTRICT,\n    role_id",
           "(id) ON DELETE CASCADE,\n    role_id", true);
    OK(opens(f));
    assert_change_is_seen(f, "DELETE FROM account WHERE id = 7");
}

static const struct damage {
    const char *table, *from, *to, *says;
} damages[] = {
    {"permtab_assignment", "STRICT, WITHOUT ROWID", "WITHOUT ROWID", "is not STRICT any more"},
    {"permtab_assignment", "STRICT, WITHOUT ROWID", "STRICT", "hidden rowid"},
    {"permtab_role", "CHECK (active IN (0, 1))", "CHECK (active IN (0, 1, 2))",
     "a check of permtab_role is missing"},
    {"permtab_role", "name       TEXT NOT NULL", "name TEXT", "permtab_role.name takes NULL"},
    {"permtab_change", "DEFAULT (random())", "DEFAULT 0", "random default"},
    {"permtab_permission", "name        TEXT NOT NULL PRIMARY KEY",
     "name TEXT NOT NULL COLLATE NOCASE PRIMARY KEY", "permtab_permission.name is text nocase"},
    {"permtab_scope",
     "FOREIGN KEY (parent_type, parent_id) REFERENCES permtab_scope (type, id) ON DELETE RESTRICT ON UPDATE "
     "RESTRICT",
     "CHECK (1)", "reference of permtab_scope (parent_type,parent_id > permtab_scope(type,id))"},
    {"permtab_role", "FOREIGN KEY (scope_type", "UNIQUE (name), FOREIGN KEY (scope_type",
     "another unique key"},
    {"permtab_assignment", "PRIMARY KEY (user_id, role_id, scope_type, scope_id)",
     "PRIMARY KEY (user_id, role_id)", "no longer part of the primary key"},
};

/* Each is named, and mended with all the rows. */
static void test_migrating_rebuilds_tables(void **state)
{
    struct fixture *f = *state;
    some_policy(f);
    for (size_t i = 0; i < sizeof(damages) / sizeof(*damages); i++) {
        const struct damage *damage = &damages[i];
        uint64_t rows = number(f->writer, "SELECT count(*) FROM permtab_assignment");
        remake(f, damage->table, damage->from, damage->to, true);
        FAILS(opens(f), PERMTAB_E_SCHEMA, damage->says);
        if (!strstr(failure.text, "permtabd --migrate rebuilds the table"))
            fail_msg("\"%s\" does not say what mends it", failure.text);
        uint64_t before = number(f->writer, "SELECT revision FROM permtab_counter");
        OK(migrate(f));
        OK(opens(f));
        assert_new_page(f, before);
        assert_int_equal(number(f->writer, "SELECT count(*) FROM permtab_assignment"), rows);
    }
    assert_change_is_seen(f, "INSERT INTO permtab_assignment VALUES (9, 1, 1, 5, NULL)");
}

/* Columns that are the application's own are not thrown away: then it takes somebody who knows what they are for. */
static void test_columns_of_the_application_are_kept(void **state)
{
    struct fixture *f = *state;
    OK(run(f->writer,
           "ALTER TABLE permtab_role ADD COLUMN note TEXT; CREATE INDEX theirs ON permtab_role (note)"));
    remake(f, "permtab_role", ") STRICT", ")", true);
    FAILS(migrate(f), PERMTAB_E_SCHEMA, "by hand");
    OK(run(f->writer, "SELECT note FROM permtab_role"));
}

static void test_own_indexes_and_triggers_are_kept(void **state)
{
    struct fixture *f = *state;
    OK(run(f->writer, "CREATE INDEX theirs ON permtab_role (name);"
                      "CREATE TRIGGER theirs_too AFTER INSERT ON permtab_role BEGIN SELECT 1; END"));
    remake(f, "permtab_role", ") STRICT", ")", true);
    OK(migrate(f));
    OK(opens(f));
    assert_int_equal(number(f->writer, "SELECT count(*) FROM sqlite_master WHERE name LIKE 'theirs%'"), 2);
}

static struct sql_statement *listing; /* of a table's indexes and triggers */
static unsigned steps, failing_step;  /* of it; 0: none fails */

struct sql_statement *__real_sql_prepare_once(struct sql *sql, const char *text, struct failure *out);
struct sql_statement *__wrap_sql_prepare_once(struct sql *sql, const char *text, struct failure *out);
struct sql_statement *__wrap_sql_prepare_once(struct sql *sql, const char *text, struct failure *out)
{
    struct sql_statement *statement = __real_sql_prepare_once(sql, text, out);
    if (strstr(text, "type IN ('index', 'trigger')"))
        listing = statement;
    return statement;
}

int __real_sql_step(struct sql_statement *statement, struct failure *out);
int __wrap_sql_step(struct sql_statement *statement, struct failure *out);
int __wrap_sql_step(struct sql_statement *statement, struct failure *out)
{
    if (statement == listing && ++steps == failing_step)
        return failure_set(out, PERMTAB_E_MEMORY, "out of memory");
    return __real_sql_step(statement, out);
}

/* A list of them that ends too early would not be made again. Whatever fails, the store is mended or as it was. */
static void test_own_indexes_and_triggers_outlive_failures(void **state)
{
    struct fixture *f = *state;
    unsigned refused = 0;
    OK(run(f->writer, "CREATE INDEX theirs ON permtab_role (name);"
                      "CREATE TRIGGER theirs_too AFTER INSERT ON permtab_role BEGIN SELECT 1; END"));
    for (unsigned nth = 1;; nth++) {
        if (opens(f) == 0)
            remake(f, "permtab_role", ") STRICT", ")", true);
        listing = NULL;
        steps = 0;
        failing_step = nth;
        int code = migrate(f);
        failing_step = 0;
        assert_int_equal(number(f->writer, "SELECT count(*) FROM sqlite_master WHERE name LIKE 'theirs%'"), 2);
        refused += code < 0;
        if (steps < nth) /* all of them have failed once */
            break;
    }
    OK(opens(f));
    assert_true(refused > 3);
}

/* A row that the table could not have held: nothing is done by halves. */
static void test_rows_that_do_not_fit_are_kept(void **state)
{
    struct fixture *f = *state;
    remake(f, "permtab_role", ") STRICT", ")", false);
    OK(run(f->writer, "PRAGMA foreign_keys = OFF; INSERT INTO permtab_role VALUES (9, 'x', 0, 0.5, 0, 1)"));
    FAILS(migrate(f), PERMTAB_E_CONFLICT, "cannot be rebuilt from its rows");
    assert_int_equal(number(f->writer, "SELECT count(*) FROM permtab_role"), 1);
    OK(run(f->writer, "DELETE FROM permtab_role"));
    OK(migrate(f));
    OK(opens(f));
}

static void test_views(void **state)
{
    struct fixture *f = *state;
    OK(run(f->writer, "DROP VIEW permtab_role_view; DROP INDEX permtab_assignment_role"));
    OK(opens(f));
    OK(migrate(f));
    OK(run(f->writer, "SELECT * FROM permtab_role_view"));
    assert_int_equal(
        number(f->writer, "SELECT count(*) FROM sqlite_master WHERE name = 'permtab_assignment_role'"), 1);
    OK(run(f->writer, "DROP VIEW permtab_counter"));
    FAILS(opens(f), PERMTAB_E_SCHEMA, "permtab_counter is missing");
    OK(migrate(f));
    OK(opens(f));
    OK(run(f->writer, "DROP TABLE permtab_requirement; CREATE VIEW permtab_requirement AS SELECT 'a' AS "
                      "permission, 'b' AS requires"));
    FAILS(opens(f), PERMTAB_E_SCHEMA, "permtab_requirement is a view and must be a table");
    FAILS(migrate(f), PERMTAB_E_SCHEMA, "restore the table from a backup");
}

static void test_unique_indexes(void **state)
{
    struct fixture *f = *state;
    OK(run(f->writer, "CREATE UNIQUE INDEX theirs ON permtab_role (name)"));
    FAILS(opens(f), PERMTAB_E_SCHEMA, "DROP INDEX theirs");
    FAILS(migrate(f), PERMTAB_E_SCHEMA, "unique index theirs was added to permtab_role");
}

/* ---- the journal ------------------------------------------------------------------------------------------------- */

static void assert_wal(struct fixture *f, bool wanted)
{
    sqlite3 *db;
    sqlite3_stmt *st;
    assert_int_equal(sqlite3_open(f->store.path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA journal_mode", -1, &st, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(st), SQLITE_ROW);
    assert_string_equal((const char *)sqlite3_column_text(st, 0), wanted ? "wal" : "delete");
    sqlite3_finalize(st);
    sqlite3_close(db);
}

/* A copy that VACUUM INTO or .backup made, moved to the path: it has SQLite's own journal mode. */
static void swap_in_a_copy(struct fixture *f)
{
    char text[256];
    snprintf(text, sizeof(text), "VACUUM INTO '%s/copy.db'", f->folder);
    OK(run(f->writer, text));
    snprintf(text, sizeof(text), "cd '%s' && rm p.db-wal p.db-shm && mv copy.db p.db", f->folder);
    assert_int_equal(system(text), 0);
    assert_wal(f, false);
}

static void test_a_file_swapped_in_gets_wal(void **state)
{
    struct fixture *f = *state;
    swap_in_a_copy(f);
    OK(opens(f));
    assert_wal(f, true);
}

/* The mode stays while somebody reads: the look sees to it when he has gone, and from then on guards the files beside
 * it. */
static void test_wal_comes_when_it_can(void **state)
{
    struct fixture *f = *state;
    struct store late;
    sqlite3 *db;
    swap_in_a_copy(f);
    assert_int_equal(sqlite3_open(f->store.path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "BEGIN; SELECT * FROM permtab_store", NULL, NULL, NULL), SQLITE_OK);
    OK(store_open(&late, &f->options, &failure));
    OK(store_check_schema(&late, &failure));
    assert_wal(f, false);
    assert_int_equal(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    OK(store_check_schema(&late, &failure));
    assert_wal(f, true);
    assert_true(late.wal_inode != 0);
    store_close(&late);
}

static void test_other_databases_are_left_alone(void **state)
{
    struct fixture *f = *state;
    char text[256];
    snprintf(text, sizeof(text), "cd '%s' && rm p.db* && sqlite3 p.db 'CREATE TABLE theirs (a)'", f->folder);
    if (system(text) != 0)
        skip(); /* no command line of SQLite here */
    FAILS(opens(f), PERMTAB_E_SCHEMA, "run permtabd --migrate");
    assert_wal(f, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_REPAIR_CASES,
        READY(test_a_rebuilt_table_is_the_same),
        READY(test_names_do_not_matter),
        READY(test_references_of_the_application),
        READY(test_migrating_rebuilds_tables),
        READY(test_columns_of_the_application_are_kept),
        READY(test_own_indexes_and_triggers_are_kept),
        READY(test_own_indexes_and_triggers_outlive_failures),
        READY(test_rows_that_do_not_fit_are_kept),
        READY(test_views),
        READY(test_unique_indexes),
        READY(test_a_file_swapped_in_gets_wal),
        READY(test_wal_comes_when_it_can),
        READY(test_other_databases_are_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
