/* The store on MariaDB: the common cases, and what only a server does. Needs PERMTAB_TEST_MYSQL, the URL of a
 * database on a server where the account may create databases without a password. */
#include "proxy/store/private.h"

#include "tests/unit/store/store_cases.h"

static int ready(void **state)
{
    return fixture_ready(state, getenv("PERMTAB_TEST_MYSQL"));
}

static int empty(void **state)
{
    return fixture_empty(state, getenv("PERMTAB_TEST_MYSQL"));
}

static const char *const guarded[] = {"store",           "counter",     "change",     "scope_type",
                                      "permission",      "scope",       "role",       "requirement",
                                      "role_permission", "role_parent", "assignment", "overwrite"};

static void test_truncate_and_drop_are_refused(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof(guarded) / sizeof(*guarded); i++) {
        char text[128];
        snprintf(text, sizeof(text), "TRUNCATE TABLE permtab_%s", guarded[i]);
        FAILS(run(f->writer, text), PERMTAB_E_CONFLICT, "1701");
        snprintf(text, sizeof(text), "DROP TABLE permtab_%s", guarded[i]);
        FAILS(run(f->writer, text), PERMTAB_E_CONFLICT, "1451");
    }
    FAILS(run(f->writer, "INSERT INTO permtab_guard (one) VALUES (1)"), PERMTAB_E_CONFLICT, "");
}

/* Nothing refuses it with foreign keys off, and no trigger fires. Emptying by DELETE is no reason to doubt. */
static void test_truncate_forced_through_is_noticed(void **state)
{
    struct fixture *f = *state;
    some_policy(f);
    OK(store_check_schema(&f->store, &failure));
    OK(run(f->writer, "DELETE FROM permtab_overwrite"));
    OK(store_check_schema(&f->store, &failure));
    OK(run(f->writer, "SET foreign_key_checks = 0"));
    OK(run(f->writer, "TRUNCATE TABLE permtab_assignment"));
    FAILS(store_check_schema(&f->store, &failure), PERMTAB_E_SCHEMA, "since the last look");
    OK(store_check_schema(&f->store, &failure)); /* said once */
    /* An account without PROCESS sees no table numbers: then the rows tell. */
    OK(run(f->writer, "INSERT INTO permtab_assignment VALUES (70, 1, 1, 5, NULL)"));
    OK(store_emptied_check(&f->store, &failure));
    OK(run(f->writer, "TRUNCATE TABLE permtab_assignment"));
    FAILS(store_emptied_check(&f->store, &failure), PERMTAB_E_SCHEMA, "permtab_assignment was emptied");
}

static void test_every_way_of_writing_is_seen(void **state)
{
    static const struct log_case cases[] = {
        {"INSERT IGNORE INTO permtab_assignment VALUES (7, 1, 1, 5, 1), (90, 1, 1, 5, 1)", "7/90/1/1:5 ",
         NULL},
        {"INSERT INTO permtab_assignment VALUES (90, 1, 1, 5, 1) ON DUPLICATE KEY UPDATE expires_at = 1", "",
         NULL},
        {"INSERT INTO permtab_assignment VALUES (90, 1, 1, 5, 1) ON DUPLICATE KEY UPDATE expires_at = 2",
         "7/90/1/1:5 ", NULL},
        {"DELETE a, o FROM permtab_assignment a JOIN permtab_overwrite o ON o.subject_id = a.user_id"
         " WHERE a.user_id = 8 AND o.subject = 'user'",
         "7/8/1/1:5 8/8/0/2:50 ", NULL},
        {"UPDATE permtab_assignment a JOIN permtab_role r ON r.id = a.role_id SET a.expires_at = 9, r.name = "
         "'q'"
         " WHERE a.user_id = 90",
         "7/90/1/1:5 4/0/1/1:5 ", NULL},
    };
    struct fixture *f = *state;
    some_policy(f);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        char text[256];
        struct log_position before = position(f);
        OK(run(f->writer, cases[i].text));
        changes_text(f, before.revision, text, sizeof(text));
        if (strcmp(text, cases[i].rows) != 0)
            fail_msg("%s\n  logged \"%s\", not \"%s\"", cases[i].text, text, cases[i].rows);
    }
}

static void test_last_insert_id_is_the_writers(void **state)
{
    struct fixture *f = *state;
    OK(run(f->writer, "CREATE TABLE theirs (id INTEGER PRIMARY KEY AUTO_INCREMENT) AUTO_INCREMENT = 777"));
    OK(run(f->writer, "INSERT INTO theirs VALUES (NULL)"));
    OK(run(f->writer, "INSERT INTO permtab_scope VALUES (1, 1, 0, 0, NULL)"));
    assert_int_equal(number(f->writer, "SELECT LAST_INSERT_ID()"), 777);
}

static void test_foreign_settings_do_not_reach_us(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *text;
        const char *value;
    } settings[] = {
        {"SELECT @@autocommit", "1"},
        {"SELECT @@tx_isolation", "REPEATABLE-READ"},
        {"SELECT @@innodb_lock_wait_timeout", "5"},
        {"SELECT @@character_set_connection", "utf8mb4"},
        {"SELECT @@foreign_key_checks", "1"},
        {"SELECT @@time_zone", "+00:00"},
        {"SELECT @@max_statement_time", "6.500000"},
        {"SELECT @@idle_write_transaction_timeout", "5"},
        {"SELECT @@idle_readonly_transaction_timeout", "5"},
    };
    for (size_t i = 0; i < sizeof(settings) / sizeof(*settings); i++) {
        struct sql_statement *st = sql_prepare_built(f->writer, settings[i].text, &failure);
        assert_non_null(st);
        assert_int_equal(sql_step(st, &failure), 1);
        assert_string_equal(sql_column_text(st, 0), settings[i].value);
        sql_reset(st);
    }
}

static void kill_connection(struct fixture *f, struct sql *victim)
{
    char text[64];
    (void)f;
    struct sql *killer = NULL;
    snprintf(text, sizeof(text), "KILL %llu", (unsigned long long)number(victim, "SELECT CONNECTION_ID()"));
    OK(sql_connect(&killer, &f->options, &failure));
    OK(run(killer, text));
    sql_close(killer);
    usleep(100000);
}

static void test_lost_connections(void **state)
{
    struct fixture *f = *state;
    kill_connection(f, f->store.sql);
    struct log_position at;
    int64_t now;
    FAILS(store_snapshot(&f->store, &at, &now, &failure), PERMTAB_E_STORE, "");
    assert_true(sql_broken(f->store.sql));
    OK(sql_begin(f->writer, SQL_WRITE, &failure));
    OK(run(f->writer, "INSERT INTO permtab_scope VALUES (1, 1, 0, 0, NULL)"));
    kill_connection(f, f->writer);
    FAILS(sql_commit(f->writer, &failure), PERMTAB_E_STORE_UNSURE, "unknown");
    assert_true(sql_broken(f->writer));
}

/* Two transactions that take two rows in opposite order: one is told to repeat, and nothing of it stays. */
static void test_deadlock_is_repeated_whole(void **state)
{
    struct fixture *f = *state;
    struct sql *other = NULL;
    struct sql_options options = {.url = f->url};
    some_policy(f);
    OK(sql_connect(&other, &options, &failure));
    OK(run(f->writer, "CREATE TABLE theirs (id INTEGER PRIMARY KEY)"));
    OK(run(f->writer, "INSERT INTO theirs VALUES (1), (2)"));
    /* Else the server ends it for being idle just when the other one has waited for long enough. */
    OK(run(f->writer,
           "SET SESSION idle_write_transaction_timeout = 0, idle_readonly_transaction_timeout = 0"));
    OK(sql_begin(f->writer, SQL_WRITE, &failure)); /* holds the counter */
    OK(sql_execute(other, "START TRANSACTION", &failure));
    other->begun = true; /* as by sql_begin, which would wait for the counter */
    OK(run(other, "INSERT INTO theirs VALUES (3)"));
    OK(run(other, "UPDATE theirs SET id = 11 WHERE id = 1"));
    uint64_t before = number(f->store.sql, "SELECT COUNT(*) FROM permtab_assignment");
    /* The other one waits for the counter until its lock wait ends. */
    struct sql_statement *st =
        sql_prepare(other, "INSERT INTO permtab_assignment VALUES (99, 3, 0, 0, NULL)", &failure);
    assert_int_equal(sql_step(st, &failure), PERMTAB_E_STORE_AGAIN);
    sql_reset(st);
    assert_false(sql_broken(other));
    FAILS(sql_commit(other, &failure), PERMTAB_E_STORE_AGAIN, "");
    assert_int_equal(number(other, "SELECT COUNT(*) FROM theirs WHERE id IN (3, 11)"), 0);
    sql_rollback(f->writer);
    assert_int_equal(number(other, "SELECT COUNT(*) FROM permtab_assignment"), before);
    sql_close(other);
}

static void test_statements_end_before_we_give_up(void **state)
{
    struct fixture *f = *state;
    struct sql *sql = NULL;
    struct sql_options options = {.url = f->url, .read_only = true, .timeout_s = 1};
    OK(sql_connect(&sql, &options, &failure));
    struct sql_statement *st =
        sql_prepare(sql,
                    "SELECT COUNT(*) FROM information_schema.COLUMNS a, information_schema.COLUMNS b,"
                    " information_schema.COLUMNS c",
                    &failure);
    assert_non_null(st);
    FAILS(sql_step(st, &failure), PERMTAB_E_STORE, "1969");
    sql_reset(st);
    assert_false(sql_broken(sql));
    FAILS(run(sql, "INSERT INTO permtab_scope VALUES (1, 1, 0, 0, NULL)"), PERMTAB_E_STORE, "READ ONLY");
    sql_close(sql);
}

static void test_clear_errors_at_connect(void **state)
{
    struct fixture *f = *state;
    struct sql *sql = NULL;
    struct sql_options options = f->options;
    OK(run(f->writer, "CREATE OR REPLACE USER permtab_nobody IDENTIFIED BY 'right'"));
    char url[600];
    const char *at = strchr(f->url, '@');
    snprintf(url, sizeof(url), "mysql://permtab_nobody%s", at);
    options.url = url;
    options.password = "wrong-and-secret";
    FAILS(sql_connect(&sql, &options, &failure), PERMTAB_E_STORE, "Access denied");
    assert_null(strstr(failure.text, "secret"));
    OK(run(f->writer, "DROP USER permtab_nobody"));
    options.url = "mysql://u@/d?socket=/nonexistent/socket";
    FAILS(sql_connect(&sql, &options, &failure), PERMTAB_E_STORE, "/nonexistent/socket");
    options.url = "mysql://u@127.0.0.1:1/d";
    FAILS(sql_connect(&sql, &options, &failure), PERMTAB_E_STORE, "127.0.0.1");
}

static void test_read_only_server_is_not_believed(void **state)
{
    struct fixture *f = *state;
    struct log_position at = position(f);
    int64_t now;
    bool newer;
    OK(run(f->writer, "SET GLOBAL read_only = 1"));
    int rc = store_poll(&f->store, &at, &newer, &now, &failure);
    OK(run(f->writer, "SET GLOBAL read_only = 0"));
    assert_int_equal(rc, PERMTAB_E_SCHEMA);
    assert_non_null(strstr(failure.text, "read only"));
    OK(store_poll(&f->store, &at, &newer, &now, &failure));
}

/* A replica that is set up but not running, so no thread of its shows. */
static void test_replica_is_not_believed(void **state)
{
    struct fixture *f = *state;
    OK(store_check_schema(&f->store, &failure));
    OK(run(f->writer, "CHANGE MASTER 'permtab_test' TO MASTER_HOST = '127.0.0.1'"));
    memset(&failure, 0, sizeof(failure));
    int rc = store_check_schema(&f->store, &failure);
    OK(sql_execute(f->writer, "RESET SLAVE 'permtab_test' ALL", NULL));
    assert_int_equal(rc, PERMTAB_E_SCHEMA);
    assert_non_null(strstr(failure.text, "replica"));
    OK(store_check_schema(&f->store, &failure));
}

static void test_long_texts_and_decimals(void **state)
{
    struct fixture *f = *state;
    static char text[70000];
    memset(text, 'x', sizeof(text) - 1);
    for (unsigned round = 0; round < 2; round++) { /* the second time with the grown buffer */
        struct sql_statement *st = sql_prepare(f->writer,
                                               "SELECT REPEAT('x', 69999), SUM(18446744073709551615), "
                                               "'short', -5 UNION ALL SELECT 'y', 1, '', 6",
                                               &failure);
        assert_non_null(st);
        assert_int_equal(sql_step(st, &failure), 1);
        assert_string_equal(sql_column_text(st, 0), text);
        assert_true(sql_column_u64(st, 1) == UINT64_MAX);
        assert_int_equal(sql_column_i64(st, 3), -5);
        assert_int_equal(sql_step(st, &failure), 1);
        assert_string_equal(sql_column_text(st, 0), "y");
        assert_int_equal(sql_column_u64(st, 3), 6);
        assert_int_equal(sql_step(st, &failure), 0);
        sql_reset(st);
    }
}

/* The snapshot's position is found by key behind a long transaction; several commits later too. */
static void test_position_behind_many_commits(void **state)
{
    struct fixture *f = *state;
    position(f);
    struct sql *other = NULL;
    for (uint64_t i = 1; i <= 300; i++) {
        bound(f, "INSERT INTO permtab_scope VALUES (1, ?, 0, 0, NULL)", &i, 1);
        if (i % 37 == 0)
            assert_int_equal(position(f).revision, number(f->writer, "SELECT revision FROM permtab_counter"));
    }
    uint64_t committed = number(f->writer, "SELECT revision FROM permtab_counter");
    OK(sql_connect(&other, &f->options, &failure));
    OK(sql_begin(other, SQL_WRITE, &failure));
    OK(run(other, "UPDATE permtab_scope SET owner = 1 WHERE type = 1"));
    assert_int_equal(position(f).revision, committed);
    OK(sql_commit(other, &failure));
    assert_int_equal(position(f).revision, committed + 300);
    sql_close(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_CASES,
        READY(test_truncate_and_drop_are_refused),
        READY(test_truncate_forced_through_is_noticed),
        READY(test_every_way_of_writing_is_seen),
        READY(test_last_insert_id_is_the_writers),
        READY(test_foreign_settings_do_not_reach_us),
        READY(test_lost_connections),
        READY(test_deadlock_is_repeated_whole),
        READY(test_statements_end_before_we_give_up),
        READY(test_clear_errors_at_connect),
        READY(test_read_only_server_is_not_believed),
        READY(test_replica_is_not_believed),
        READY(test_long_texts_and_decimals),
        READY(test_position_behind_many_commits),
    };
    if (!getenv("PERMTAB_TEST_MYSQL")) {
        printf("skipped: PERMTAB_TEST_MYSQL is not set (mysql://user@/database?socket=/path of a server to "
               "test on)\n");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
