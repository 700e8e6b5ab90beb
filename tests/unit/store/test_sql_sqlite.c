/* The SQL layer on SQLite: URLs, files that are no database, statements that are kept, values that come back. */
#include "tests/unit/store/store_fixture.h"

#include <sys/stat.h>

static int empty(void **state)
{
    fixture_empty(state, NULL);
    struct fixture *f = *state;
    OK(sql_create(&f->options, &failure));
    OK(sql_connect(&f->writer, &f->options, &failure));
    OK(run(f->writer, "CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)"));
    return 0;
}

static const struct {
    const char *url;
    const char *says;
} bad_urls[] = {
    {NULL, "empty"},
    {"", "empty"},
    {"postgres://u@h/d", "neither"},
    {"sqlite:", "needs a path"},
    {"sqlite::memory:", "cannot be shared"},
    {"mysql://host/db", "no user"},
    {"mysql://@host/db", "no user"},
    {"mysql://user@host", "no database"},
    {"mysql://user@host/", "no database"},
    {"mysql://user:secret@host/db", "store_password_file"},
    {"mysql://user@host:0/db", "port"},
    {"mysql://user@host:65536/db", "port"},
    {"mysql://user@host:12x/db", "port"},
    {"mysql://user@host:/db", "port"},
    {"mysql://user@[::1/db", "unfinished"},
    {"mysql://user@/db", "neither a host nor a socket"},
    {"mysql://user@/db?socket=relative", "absolute"},
    {"mysql://user@host/db?socket=/s", "not both"},
    {"mysql://user@host/db?ssl=1", "only socket"},
    {"mysql://us%zer@host/db", "escape"},
    {"mysql://us%0", "no database"},
    {"mysql://u%00@host/db", "escape"},
    {"mysql://u%4@host/db", "escape"},
};

static void test_bad_urls(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(bad_urls) / sizeof(*bad_urls); i++) {
        struct sql_address address;
        memset(&failure, 0, sizeof(failure));
        int rc = sql_address_parse(&address, bad_urls[i].url, &failure);
        if (rc != PERMTAB_E_SYNTAX || !strstr(failure.text, bad_urls[i].says) ||
            strstr(failure.text, "secret"))
            fail_msg("%s gave %d \"%s\"", bad_urls[i].url, rc, failure.text);
    }
}

static void test_good_urls(void **state)
{
    struct sql_address a;
    (void)state;
    OK(sql_address_parse(&a, "mysql://us%40er@host:3307/d%2fb", &failure));
    assert_string_equal(a.user, "us@er");
    assert_string_equal(a.host, "host");
    assert_int_equal(a.port, 3307);
    assert_string_equal(a.database, "d/b");
    OK(sql_address_parse(&a, "mysql://u@[::1]:3308/db", &failure));
    assert_string_equal(a.host, "::1");
    assert_int_equal(a.port, 3308);
    OK(sql_address_parse(&a, "mysql://u@/db?socket=/run/my%20sql.sock", &failure));
    assert_string_equal(a.socket, "/run/my sql.sock");
    OK(sql_address_parse(&a, "sqlite:/a/b?c", &failure));
    assert_string_equal(a.path, "/a/b?c");
}

static void write_file(struct fixture *f, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", f->folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static int connect_to(struct fixture *f, const char *name)
{
    char url[256];
    struct sql *sql = NULL;
    snprintf(url, sizeof(url), "sqlite:%s/%s", f->folder, name);
    struct sql_options options = {.url = url};
    int rc = sql_connect(&sql, &options, &failure);
    if (rc == 0)
        sql_close(sql);
    return rc;
}

static void test_files_that_are_no_database(void **state)
{
    struct fixture *f = *state;
    char path[256];
    write_file(f, "text",
               "This is not a database, but it is long enough to look for a header in it ............\n");
    FAILS(connect_to(f, "text"), PERMTAB_E_STORE, "not an SQLite database");
    FAILS(connect_to(f, "nothing"), PERMTAB_E_STORE, "--migrate");
    FAILS(connect_to(f, "no/folder"), PERMTAB_E_STORE, "No such file");
    FAILS(connect_to(f, "."), PERMTAB_E_STORE, "not a regular file");
    snprintf(path, sizeof(path), "%s/p.db", f->folder);
    if (geteuid() == 0) {
        print_message("permissions are not checked for root: that part was skipped\n");
        return;
    }
    assert_int_equal(chmod(path, 0), 0);
    FAILS(connect_to(f, "p.db"), PERMTAB_E_STORE, "Permission denied");
}

static void test_values_come_back(void **state)
{
    struct fixture *f = *state;
    struct sql_statement *st = sql_prepare(f->writer, "SELECT ?, ?, ?, ?", &failure);
    assert_non_null(st);
    sql_bind_u64(st, 1, UINT64_MAX);
    sql_bind_i64(st, 2, INT64_MIN);
    sql_bind_text(st, 3, "text");
    sql_bind_null(st, 4);
    assert_int_equal(sql_step(st, &failure), 1);
    assert_true(sql_column_u64(st, 0) == UINT64_MAX);
    assert_true(sql_column_i64(st, 1) == INT64_MIN);
    assert_string_equal(sql_column_text(st, 2), "text");
    assert_true(sql_column_is_null(st, 3));
    assert_string_equal(sql_column_text(st, 3), "");
    assert_int_equal(sql_step(st, &failure), 0);
    assert_int_equal(sql_step(st, &failure), 0); /* and does not begin again */
    sql_reset(st);
}

static void test_statements_are_kept(void **state)
{
    struct fixture *f = *state;
    static const char text[] = "SELECT a FROM t";
    struct sql_statement *st = sql_prepare(f->writer, text, &failure);
    assert_ptr_equal(sql_prepare(f->writer, text, &failure), st);
    struct sql_statement *built = sql_prepare_built(f->writer, text, &failure);
    assert_ptr_not_equal(built, st);
    for (unsigned i = 0; i < SQL_BUILT_MAX * 2; i++) {
        char other[64];
        snprintf(other, sizeof(other), "SELECT %u FROM t", i);
        assert_non_null(sql_prepare_built(f->writer, other, &failure));
        assert_ptr_equal(sql_prepare_built(f->writer, text, &failure), built); /* used, so it stays */
    }
    assert_int_equal(f->writer->built_count, SQL_BUILT_MAX);
    assert_null(sql_prepare_built(f->writer, "SELECT nothing FROM nowhere", &failure));
    assert_int_equal(failure.code, PERMTAB_E_STORE);
}

/* An eviction must not take a statement that somebody is stepping through. */
static void test_running_statements_stay(void **state)
{
    struct fixture *f = *state;
    OK(run(f->writer, "INSERT INTO t VALUES (1, 'x'), (2, 'y')"));
    struct sql_statement *running = sql_prepare_built(f->writer, "SELECT b FROM t ORDER BY a", &failure);
    assert_int_equal(sql_step(running, &failure), 1);
    for (unsigned i = 0; i < SQL_BUILT_MAX * 2; i++) {
        char other[64];
        snprintf(other, sizeof(other), "SELECT %u FROM t", i);
        assert_non_null(sql_prepare_built(f->writer, other, &failure));
    }
    assert_int_equal(sql_step(running, &failure), 1);
    assert_string_equal(sql_column_text(running, 0), "y");
    sql_reset(running);
}

static void test_reading_connections_do_not_write(void **state)
{
    struct fixture *f = *state;
    struct sql *reader = NULL;
    struct sql_options options = {.url = f->url, .read_only = true};
    OK(sql_connect(&reader, &options, &failure));
    FAILS(sql_begin(reader, SQL_WRITE, &failure), PERMTAB_E_INVALID, "reading only");
    FAILS(run(reader, "INSERT INTO t VALUES (1, '')"), PERMTAB_E_STORE, "no permission to write");
    sql_close(reader);
}

static void test_transactions(void **state)
{
    struct fixture *f = *state;
    struct sql *other = NULL;
    struct sql_options options = {.url = f->url, .timeout_s = 1};
    OK(sql_connect(&other, &options, &failure));
    OK(sql_begin(f->writer, SQL_WRITE, &failure));
    OK(run(f->writer, "INSERT INTO t VALUES (1, 'x')"));
    FAILS(sql_begin(other, SQL_WRITE, &failure), PERMTAB_E_STORE_AGAIN, "locked");
    sql_rollback(f->writer);
    assert_int_equal(number(other, "SELECT COUNT(*) FROM t"), 0);
    OK(sql_begin(other, SQL_WRITE, &failure));
    struct sql_statement *st =
        sql_prepare(other, "INSERT INTO t SELECT 1, 'a' UNION ALL SELECT 2, 'b'", &failure);
    OK(sql_step(st, &failure));
    assert_int_equal(sql_changes(other), 2);
    OK(sql_commit(other, &failure));
    FAILS(run(f->writer, "INSERT INTO t VALUES (1, 'again')"), PERMTAB_E_CONFLICT, "UNIQUE");
    sql_close(other);
}

#define READY(test) cmocka_unit_test_setup_teardown(test, empty, fixture_free)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_urls),
        cmocka_unit_test(test_good_urls),
        READY(test_files_that_are_no_database),
        READY(test_values_come_back),
        READY(test_statements_are_kept),
        READY(test_running_statements_stay),
        READY(test_reading_connections_do_not_write),
        READY(test_transactions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
