/* How transactions end when the store refuses their COMMIT, ROLLBACK or BEGIN, or does it and says otherwise: the
 * connection is in no transaction afterwards, or is broken and asked nothing more. The calls of the two databases' own
 * functions come by here. */
#include "proxy/document/transaction.h"
#include "tests/unit/store/store_fixture.h"

#include <mysql.h>
#include <mysqld_error.h>
#include <sqlite3.h>
#include <strings.h>

/* The next statement that begins with `text` fails with `code`, after it was done or instead. -1: is not done, and
 * nobody says so. */
static struct fault {
    const char *text;
    int code;
    bool done_first;
} faults[2];
static int pretended; /* what the database is to say about the last statement; 0: what it says */
static char settings[2048];

static void fails(const char *text, int code)
{
    struct fault *free_one = faults[0].text ? &faults[1] : &faults[0];
    *free_one = (struct fault){text, code, false};
}

static void is_done_and_fails(const char *text, int code)
{
    faults[0] = (struct fault){text, code, true};
}

static int due(const char *text, bool *done_first)
{
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        if (!faults[i].text || strncmp(text, faults[i].text, strlen(faults[i].text)) != 0)
            continue;
        faults[i].text = NULL;
        *done_first = faults[i].done_first;
        return faults[i].code;
    }
    return 0;
}

int __real_sqlite3_exec(sqlite3 *db, const char *text, int (*row)(void *, int, char **, char **),
                        void *context, char **error);
int __wrap_sqlite3_exec(sqlite3 *db, const char *text, int (*row)(void *, int, char **, char **),
                        void *context, char **error);
int __wrap_sqlite3_exec(sqlite3 *db, const char *text, int (*row)(void *, int, char **, char **),
                        void *context, char **error)
{
    bool done_first = true;
    pretended = due(text, &done_first);
    int code = done_first ? __real_sqlite3_exec(db, text, row, context, error) : 0;
    pretended = pretended == -1 ? 0 : pretended;
    return pretended ? pretended : code;
}

int __real_sqlite3_extended_errcode(sqlite3 *db);
int __wrap_sqlite3_extended_errcode(sqlite3 *db);
int __wrap_sqlite3_extended_errcode(sqlite3 *db)
{
    return pretended ? pretended : __real_sqlite3_extended_errcode(db);
}

int __real_mysql_real_query(MYSQL *handle, const char *text, unsigned long size);
int __wrap_mysql_real_query(MYSQL *handle, const char *text, unsigned long size);
int __wrap_mysql_real_query(MYSQL *handle, const char *text, unsigned long size)
{
    bool done_first = true;
    size_t used = strlen(settings);
    if (strncmp(text, "SET SESSION", 11) == 0)
        snprintf(settings + used, sizeof settings - used, "%s;", text);
    pretended = due(text, &done_first);
    int code = done_first ? __real_mysql_real_query(handle, text, size) : 0;
    return pretended ? 1 : code;
}

unsigned __real_mysql_errno(MYSQL *handle);
unsigned __wrap_mysql_errno(MYSQL *handle);
unsigned __wrap_mysql_errno(MYSQL *handle)
{
    return pretended ? (unsigned)pretended : __real_mysql_errno(handle);
}

static int ready(void **state, const char *mysql)
{
    memset(faults, 0, sizeof faults);
    pretended = 0;
    memset(settings, 0, sizeof settings);
    return fixture_ready(state, mysql);
}

static int ready_sqlite(void **state)
{
    return ready(state, NULL);
}

static int ready_mysql(void **state)
{
    return ready(state, getenv("PERMTAB_TEST_MYSQL"));
}

#define INSERT "INSERT INTO permtab_scope VALUES (1, 1, 0, 0, NULL)"

static uint64_t scopes(struct sql *sql)
{
    return number(sql, "SELECT COUNT(*) FROM permtab_scope WHERE type = 1");
}

static void begin_and_insert(struct fixture *f)
{
    OK(sql_begin(f->writer, SQL_WRITE, &failure));
    OK(run(f->writer, INSERT));
}

/* Nothing of what was to be taken back is there, and the connection writes as before. */
static void writes_as_before(struct fixture *f)
{
    assert_false(sql_broken(f->writer));
    assert_int_equal(scopes(f->store.sql), 0);
    begin_and_insert(f);
    OK(sql_commit(f->writer, &failure));
    assert_int_equal(scopes(f->store.sql), 1);
}

static void asks_nothing_more(struct sql *sql)
{
    uint64_t value;
    struct sql_statement *st = sql_prepare(sql, "SELECT COUNT(*) FROM permtab_role", &failure);
    assert_true(sql_broken(sql));
    FAILS(sql_begin(sql, SQL_READ_SNAPSHOT, &failure), PERMTAB_E_STORE, "no further use");
    FAILS(sql_execute(sql, INSERT, &failure), PERMTAB_E_STORE, "no further use");
    FAILS(sql_number(st, &value, &failure), PERMTAB_E_STORE, "no further use");
    FAILS(sql_commit(sql, &failure), PERMTAB_E_STORE_AGAIN, "");
    assert_false(sql_alive(sql));
}

/* ---- what is the same for both databases ------------------------------------------------------------------------ */

static int busy(const struct fixture *f)
{
    return on_mysql(f) ? ER_LOCK_DEADLOCK : SQLITE_BUSY;
}

/* Of no sort that is known, and none that breaks a connection. */
static int refused(const struct fixture *f)
{
    return on_mysql(f) ? ER_QUERY_INTERRUPTED : SQLITE_FULL;
}

static void test_a_commit_that_fails_is_rolled_back(void **state)
{
    struct fixture *f = *state;
    begin_and_insert(f);
    fails("COMMIT", busy(f));
    FAILS(sql_commit(f->writer, &failure), PERMTAB_E_STORE_AGAIN, "");
    writes_as_before(f);
}

static void test_neither_commit_nor_rollback(void **state)
{
    struct fixture *f = *state;
    begin_and_insert(f);
    fails("COMMIT", busy(f));
    fails("ROLLBACK", refused(f));
    FAILS(sql_commit(f->writer, &failure), PERMTAB_E_STORE_AGAIN, "");
    asks_nothing_more(f->writer);
    OK(sql_reconnect(&f->writer, &failure));
    writes_as_before(f);
}

static void test_a_rollback_that_fails(void **state)
{
    struct fixture *f = *state;
    begin_and_insert(f);
    fails("ROLLBACK", refused(f));
    sql_rollback(f->writer);
    asks_nothing_more(f->writer);
    OK(sql_reconnect(&f->writer, &failure));
    writes_as_before(f);
}

/* Polls of such a connection would look into the old snapshot for ever, and find nothing new. */
static void test_a_snapshot_that_cannot_be_ended(void **state)
{
    struct fixture *f = *state;
    struct log_position at;
    int64_t now;
    bool newer;
    OK(store_snapshot(&f->store, &at, &now, &failure));
    fails("ROLLBACK", refused(f));
    store_snapshot_end(&f->store);
    OK(run(f->writer, INSERT));
    FAILS(store_poll(&f->store, &at, &newer, &now, &failure), PERMTAB_E_STORE, "no further use");
    FAILS(store_snapshot(&f->store, &at, &now, &failure), PERMTAB_E_STORE, "no further use");
}

/* SQLite, when memory is short at the end; a server whose snapshot fails after the transaction was begun. */
static void test_a_snapshot_that_was_begun_and_failed(void **state)
{
    struct fixture *f = *state;
    struct log_position at = position(f);
    int64_t now;
    bool newer;
    is_done_and_fails(on_mysql(f) ? "START TRANSACTION" : "BEGIN", refused(f));
    assert_true(store_snapshot(&f->store, &at, &now, &failure) < 0);
    OK(store_poll(&f->store, &f->store.known, &newer, &now, &failure));
    OK(run(f->writer, INSERT));
    OK(store_poll(&f->store, &f->store.known, &newer, &now, &failure));
    assert_true(newer);
}

static void test_a_write_that_was_begun_and_failed(void **state)
{
    struct fixture *f = *state;
    is_done_and_fails(on_mysql(f) ? "START TRANSACTION" : "BEGIN", refused(f));
    assert_true(sql_begin(f->writer, SQL_WRITE, &failure) < 0);
    writes_as_before(f);
}

/* MySQL would commit the first with the second's beginning. */
static void test_one_transaction_at_a_time(void **state)
{
    struct fixture *f = *state;
    begin_and_insert(f);
    FAILS(sql_begin(f->writer, SQL_WRITE, &failure), PERMTAB_E_STORE, "no further use");
    assert_int_equal(scopes(f->store.sql), 0);
    asks_nothing_more(f->writer);
}

static int insert(void *context, struct failure *trouble)
{
    struct fixture *f = context;
    return sql_execute(store_sql(&f->store), INSERT, trouble);
}

/* It was committed, and the store says that it failed: it is done once, and said to be. */
static void test_a_commit_that_was_done_and_failed(void **state)
{
    struct fixture *f = *state;
    struct policy_apply_result result;
    is_done_and_fails("COMMIT", on_mysql(f) ? ER_QUERY_INTERRUPTED : SQLITE_NOMEM);
    OK(policy_transaction(&f->store, false, insert, f, &result, &failure));
    assert_int_equal(scopes(f->writer), 1);
    assert_int_equal(result.revision, number(f->writer, "SELECT revision FROM permtab_counter"));
}

/* It was not, and is repeated. */
static void test_a_commit_that_failed_is_repeated(void **state)
{
    struct fixture *f = *state;
    struct policy_apply_result result;
    fails("COMMIT", busy(f));
    OK(policy_transaction(&f->store, false, insert, f, &result, &failure));
    assert_int_equal(scopes(f->writer), 1);
}

/* ---- SQLite ----------------------------------------------------------------------------------------------------- */

static void test_sqlite_says_why(void **state)
{
    struct fixture *f = *state;
    begin_and_insert(f);
    fails("COMMIT", SQLITE_FULL);
    FAILS(sql_commit(f->writer, &failure), PERMTAB_E_STORE, "");
    begin_and_insert(f);
    fails("COMMIT", SQLITE_NOMEM);
    FAILS(sql_commit(f->writer, &failure), PERMTAB_E_MEMORY, "out of memory");
    writes_as_before(f);
}

/* SQLite's exec says nothing of a step that failed without doing anything. */
static void test_sqlite_says_that_it_was_done(void **state)
{
    struct fixture *f = *state;
    begin_and_insert(f);
    fails("COMMIT", -1);
    FAILS(sql_commit(f->writer, &failure), PERMTAB_E_STORE, "not ended");
    fails("BEGIN", -1);
    FAILS(sql_begin(f->writer, SQL_WRITE, &failure), PERMTAB_E_STORE, "no transaction");
    begin_and_insert(f);
    fails("ROLLBACK", -1);
    sql_rollback(f->writer);
    asks_nothing_more(f->writer);
    OK(sql_reconnect(&f->writer, &failure));
    writes_as_before(f);
}

/* A file of another store in the same place knows nothing of the commit, and is not written to. */
static void test_outcome_is_not_asked_of_another_file(void **state)
{
    struct fixture *f = *state;
    struct policy_apply_result result;
    char command[512];
    snprintf(command, sizeof command, "cp '%s/p.db' '%s/other.db' && mv '%s/other.db' '%s/p.db'", f->folder,
             f->folder, f->folder, f->folder);
    assert_int_equal(system(command), 0);
    is_done_and_fails("COMMIT", SQLITE_NOMEM);
    FAILS(policy_transaction(&f->store, false, insert, f, &result, &failure), PERMTAB_E_STORE_UNSURE,
          "another one now");
}

/* A lock that was not to be had says nothing of the next statement, when there is no transaction to be repeated. */
static void test_a_statement_alone_is_not_remembered(void **state)
{
    struct fixture *f = *state;
    struct sql *other = NULL;
    struct sql_options options = {.url = f->url, .timeout_s = 1};
    OK(sql_connect(&other, &options, &failure));
    OK(sql_begin(f->writer, SQL_WRITE, &failure));
    struct sql_statement *st = sql_prepare(other, INSERT, &failure);
    FAILS(sql_run(st, &failure), PERMTAB_E_STORE_AGAIN, "locked");
    assert_int_equal(scopes(other), 0);
    sql_rollback(f->writer);
    OK(sql_run(st, &failure));
    sql_close(other);
}

/* ---- MariaDB ---------------------------------------------------------------------------------------------------- */

/* By the server's default each COMMIT and ROLLBACK may begin another transaction, or end the connection. */
static void test_completion_is_not_left_to_the_server(void **state)
{
    struct fixture *f = *state;
    assert_non_null(strstr(settings, "completion_type = 0"));
    OK(run(f->writer, "SET SESSION completion_type = 1"));
    begin_and_insert(f);
    OK(sql_commit(f->writer, &failure));
    asks_nothing_more(f->writer);
    OK(run(f->store.sql, "SET SESSION completion_type = 1"));
    (void)position(f);
    asks_nothing_more(f->store.sql);
}

static void test_mysql_does_not_know(void **state)
{
    static const int codes[] = {ER_QUERY_INTERRUPTED, ER_LOCK_WAIT_TIMEOUT, ER_ERROR_DURING_COMMIT};
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        begin_and_insert(f);
        fails("COMMIT", codes[i]);
        FAILS(sql_commit(f->writer, &failure), PERMTAB_E_STORE_UNSURE, "whether it was done is unknown");
        asks_nothing_more(f->writer);
        OK(sql_reconnect(&f->writer, &failure));
    }
    writes_as_before(f);
}

#define ON_SQLITE(test) cmocka_unit_test_setup_teardown(test, ready_sqlite, fixture_free)
#define ON_MYSQL(test)  cmocka_unit_test_setup_teardown(test, ready_mysql, fixture_free)
#define ON_BOTH(on)                                                                                          \
    on(test_a_commit_that_fails_is_rolled_back), on(test_neither_commit_nor_rollback),                       \
        on(test_a_rollback_that_fails), on(test_a_snapshot_that_cannot_be_ended),                            \
        on(test_a_snapshot_that_was_begun_and_failed), on(test_a_write_that_was_begun_and_failed),           \
        on(test_one_transaction_at_a_time), on(test_a_commit_that_was_done_and_failed),                      \
        on(test_a_commit_that_failed_is_repeated)

int main(void)
{
    const struct CMUnitTest sqlite[] = {
        ON_BOTH(ON_SQLITE),
        ON_SQLITE(test_sqlite_says_why),
        ON_SQLITE(test_sqlite_says_that_it_was_done),
        ON_SQLITE(test_outcome_is_not_asked_of_another_file),
        ON_SQLITE(test_a_statement_alone_is_not_remembered),
    };
    const struct CMUnitTest mysql[] = {
        ON_BOTH(ON_MYSQL),
        ON_MYSQL(test_completion_is_not_left_to_the_server),
        ON_MYSQL(test_mysql_does_not_know),
    };
    int failed = cmocka_run_group_tests(sqlite, NULL, NULL);
    if (getenv("PERMTAB_TEST_MYSQL"))
        return failed + cmocka_run_group_tests(mysql, NULL, NULL);
    printf("skipped in part: PERMTAB_TEST_MYSQL is not set\n");
    return failed;
}
