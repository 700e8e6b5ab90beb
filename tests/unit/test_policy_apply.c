/* apply, export and the small changes against a real store: SQLite in a temporary folder, and MariaDB or MySQL as well when
 * PERMTAB_TEST_MYSQL holds the URL of a database that may be dropped ("mysql://user@/db?socket=/path"). Every test has a
 * store of its own, so that none depends on another's order. */
#include "proxy/policy.h"
#include "proxy/sql_driver.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static const struct scope_types types = {.count = 3, .names = {"global", "server", "channel"}};

struct fixture {
    char folder[64];
    char path[128];
    char url[512];
    struct store store;
};

static int open_store(struct fixture *fixture)
{
    struct sql_options options = {.url = fixture->url};
    struct failure failure = {0};
    unsigned applied;
    int code = store_migrate(&options, &applied, &failure);
    if (code >= 0)
        code = store_open(&fixture->store, &options, &failure);
    if (code >= 0)
        code = store_sync_types(&fixture->store, &types, &failure);
    if (code < 0)
        print_error("%s\n", failure.text);
    return code;
}

static int setup_sqlite(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    strcpy(fixture->folder, "/tmp/permtab-policy-XXXXXX");
    assert_non_null(mkdtemp(fixture->folder));
    snprintf(fixture->path, sizeof fixture->path, "%s/test.db", fixture->folder);
    snprintf(fixture->url, sizeof fixture->url, "sqlite:%s", fixture->path);
    *state = fixture;
    return open_store(fixture);
}

static int teardown_sqlite(void **state)
{
    struct fixture *fixture = *state;
    char path[160];
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    store_close(&fixture->store);
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s%s", fixture->path, suffixes[i]);
        unlink(path);
    }
    rmdir(fixture->folder);
    free(fixture);
    return 0;
}

static void run(struct fixture *fixture, const char *text)
{
    struct failure failure = {0};
    if (sql_execute(fixture->store.sql, text, &failure) < 0) {
        print_error("%s: %s\n", text, failure.text);
        fail();
    }
}

/* The database is made anew: what earlier tests deleted has left tombstones. */
static int setup_mysql(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    struct failure failure = {0};
    char name[128], text[300];
    assert_non_null(fixture);
    snprintf(fixture->url, sizeof fixture->url, "%s", getenv("PERMTAB_TEST_MYSQL"));
    *state = fixture;
    struct sql_options options = {.url = fixture->url};
    if (sql_connect(&fixture->store.sql, &options, &failure) < 0) {
        print_error("%s\n", failure.text);
        return -1;
    }
    struct sql_statement *statement = sql_prepare(fixture->store.sql, "SELECT DATABASE()", &failure);
    assert_non_null(statement);
    assert_int_equal(sql_step(statement, &failure), 1);
    snprintf(name, sizeof name, "%s", sql_column_text(statement, 0));
    sql_reset(statement);
    snprintf(text, sizeof text, "DROP DATABASE `%s`", name);
    run(fixture, text);
    snprintf(text, sizeof text, "CREATE DATABASE `%s`", name);
    run(fixture, text);
    sql_close(fixture->store.sql);
    return open_store(fixture);
}

static int teardown_mysql(void **state)
{
    struct fixture *fixture = *state;
    store_close(&fixture->store);
    free(fixture);
    return 0;
}

/* ---- helpers ---- */

static uint64_t number(struct fixture *fixture, const char *text)
{
    struct failure failure = {0};
    struct sql_statement *statement = sql_prepare_built(fixture->store.sql, text, &failure);
    if (statement == NULL)
        print_error("%s\n", failure.text);
    assert_non_null(statement);
    assert_int_equal(sql_step(statement, &failure), 1);
    uint64_t value = sql_column_u64(statement, 0);
    sql_reset(statement);
    return value;
}

static uint64_t revision(struct fixture *fixture)
{
    return number(fixture, "SELECT revision FROM permtab_counter");
}

struct outcome {
    int code;
    struct policy_apply_result result;
    struct failure failure;
};

static struct outcome apply_with(struct fixture *fixture, const char *text,
                                 const struct policy_apply_options *options)
{
    struct outcome outcome = {0};
    struct policy policy;
    outcome.code = policy_parse(&policy, POLICY_JSON, text, strlen(text), &types, &outcome.failure);
    if (outcome.code < 0) {
        print_error("%s\n", outcome.failure.text);
        fail();
    }
    outcome.code = policy_apply(&fixture->store, &policy, options, &outcome.result, &outcome.failure);
    policy_fini(&policy);
    return outcome;
}

static struct outcome apply_text(struct fixture *fixture, const char *text)
{
    struct policy_apply_options options = {.permissions_max = 512};
    return apply_with(fixture, text, &options);
}

/* Must succeed. */
static struct policy_apply_result applied(struct fixture *fixture, const char *text)
{
    struct outcome outcome = apply_text(fixture, text);
    if (outcome.code < 0)
        print_error("%s\n  %s\n", text, outcome.failure.text);
    assert_int_equal(outcome.code, 0);
    assert_int_equal(outcome.result.revision, revision(fixture));
    assert_int_equal(outcome.result.store_id, fixture->store.store_id);
    return outcome.result;
}

static struct policy_apply_result pruned(struct fixture *fixture, const char *text)
{
    struct policy_apply_options options = {.permissions_max = 512, .prune = true};
    struct outcome outcome = apply_with(fixture, text, &options);
    if (outcome.code < 0)
        print_error("%s\n  %s\n", text, outcome.failure.text);
    assert_int_equal(outcome.code, 0);
    return outcome.result;
}

static char *exported(struct fixture *fixture)
{
    struct policy policy;
    struct failure failure = {0};
    char *text = NULL;
    size_t size;
    int code = policy_export(&fixture->store, &policy, &failure);
    if (code < 0)
        print_error("%s\n", failure.text);
    assert_int_equal(code, 0);
    assert_int_equal(policy_print(&policy, &types, &text, &size), 0);
    policy_fini(&policy);
    return text;
}

/* Must be refused, and leave everything as it was. */
static void refused(struct fixture *fixture, const char *text, int code, const char *error)
{
    uint64_t before = revision(fixture);
    char *export_before = exported(fixture);
    struct outcome outcome = apply_text(fixture, text);
    assert_int_equal(outcome.code, code);
    assert_int_equal(outcome.failure.code, code);
    assert_string_equal(outcome.failure.text, error);
    assert_int_equal(outcome.result.rows_written, 0);
    assert_int_equal(revision(fixture), before);
    char *export_after = exported(fixture);
    assert_string_equal(export_before, export_after);
    free(export_before);
    free(export_after);
}

static char *sample(void)
{
    FILE *file = fopen(SOURCE_DIR "/conf/policies/community.json", "rb");
    char *text = calloc(1, 1 << 16);
    assert_non_null(file);
    assert_non_null(text);
    assert_true(fread(text, 1, (1 << 16) - 1, file) > 0);
    fclose(file);
    return text;
}

/* Two permissions, a server with a channel, two roles, an assignment. */
#define BASE                                                                                                 \
    "{\"permissions\": [{\"name\": \"x.one\"}, {\"name\": \"x.two\"}],"                                      \
    " \"scopes\": [{\"scope\": \"server:1\", \"parent\": \"global\"},"                                       \
    "              {\"scope\": \"channel:10\", \"parent\": \"server:1\"},"                                   \
    "              {\"scope\": \"server:2\", \"parent\": \"global\"}],"                                      \
    " \"roles\": [{\"id\": 100, \"scope\": \"server:1\", \"allow\": [\"x.one\"]},"                           \
    "             {\"id\": 101, \"scope\": \"server:1\", \"inherits\": [100]}],"                             \
    " \"assignments\": [{\"user\": 7, \"role\": 100}]}"

/* ---- tests ---- */

static void test_second_run_changes_nothing(void **state)
{
    struct fixture *fixture = *state;
    char *text = sample();
    struct policy_apply_result first = applied(fixture, text);
    assert_true(first.rows_written > 100);
    assert_int_equal(first.scopes, 8);
    assert_int_equal(first.roles, 10);
    assert_int_equal(first.assignments, 12);
    assert_int_equal(number(fixture, "SELECT count(*) FROM permtab_permission WHERE deleted = 0"), 23);
    struct policy_apply_result second = applied(fixture, text);
    assert_int_equal(second.rows_written, 0);
    assert_int_equal(second.permissions + second.scopes + second.roles + second.assignments, 0);
    assert_int_equal(second.revision, first.revision);
    free(text);
}

/* One change row for every row written: what the result counts is what the triggers saw. */
static void test_rows_are_changes(void **state)
{
    struct fixture *fixture = *state;
    uint64_t before = revision(fixture);
    char *text = sample();
    struct policy_apply_result result = applied(fixture, text);
    assert_int_equal(result.revision - before, result.rows_written);
    assert_int_equal(number(fixture, "SELECT count(*) FROM permtab_assignment"), 12);
    assert_int_equal(number(fixture, "SELECT count(*) FROM permtab_role_parent"), 5);
    assert_int_equal(number(fixture, "SELECT count(*) FROM permtab_overwrite"), 9);
    free(text);
}

static void test_dry_run_leaves_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct policy_apply_options options = {.permissions_max = 512, .dry_run = true};
    uint64_t before = revision(fixture);
    char *text = sample();
    char *export_before = exported(fixture);
    struct outcome outcome = apply_with(fixture, text, &options);
    assert_int_equal(outcome.code, 0);
    assert_true(outcome.result.rows_written > 50);
    assert_int_equal(outcome.result.roles, 10);
    assert_int_equal(outcome.result.revision, before);
    assert_int_equal(revision(fixture), before);
    char *export_after = exported(fixture);
    assert_string_equal(export_before, export_after);
    free(export_after);
    free(export_before);
    free(text);
}

static void test_export_round_trip(void **state)
{
    struct fixture *fixture = *state;
    char *text = sample();
    applied(fixture, text);
    char *one = exported(fixture);
    assert_int_equal(applied(fixture, one).rows_written, 0);
    char *two = exported(fixture);
    assert_string_equal(one, two);
    assert_non_null(
        strstr(one, "{\"user\": \"18446744073709551615\", \"role\": 101, \"scope\": \"server:1\"}"));
    assert_non_null(strstr(one, "\"expires_at\": \"2099-12-31T23:59:59Z\""));
    assert_non_null(strstr(one, "\"owner\": \"9223372036854775809\""));
    /* Everything is in it, so there is nothing to prune. */
    assert_int_equal(pruned(fixture, one).rows_written, 0);
    free(two);
    free(one);
    free(text);
}

/* Lists of named objects are replaced, unnamed objects stay. */
static void test_lists_are_replaced(void **state)
{
    struct fixture *fixture = *state;
    applied(fixture, BASE);
    struct policy_apply_result result = applied(
        fixture, "{\"roles\": [{\"id\": 101, \"scope\": \"server:1\", \"name\": \"new\", \"inherits\": [],"
                 " \"allow\": [\"x.two\"], \"deny\": [\"x.two\"]}]}");
    /* the role's row, one parent less, two grants more */
    assert_int_equal(result.rows_written, 4);
    assert_int_equal(result.roles, 1);
    assert_int_equal(result.assignments, 0);
    assert_int_equal(number(fixture, "SELECT count(*) FROM permtab_role_parent"), 0);
    assert_int_equal(number(fixture, "SELECT count(*) FROM permtab_role_permission WHERE role_id = 101"), 2);
    assert_int_equal(number(fixture, "SELECT count(*) FROM permtab_role_permission WHERE role_id = 100"), 1);

    result =
        applied(fixture, "{\"scopes\": [{\"scope\": \"channel:10\", \"parent\": \"server:2\", \"owner\": 5,"
                         " \"overwrites\": [{\"role\": 100, \"deny\": [\"x.one\"]}, {\"user\": 7, \"allow\": "
                         "[\"x.one\"]}]}]}");
    assert_int_equal(result.rows_written, 3);
    assert_int_equal(result.scopes, 1);
    result =
        applied(fixture, "{\"scopes\": [{\"scope\": \"channel:10\", \"parent\": \"server:2\", \"owner\": 5,"
                         " \"overwrites\": [{\"user\": 7, \"allow\": [\"x.two\"]}]}]}");
    assert_int_equal(result.rows_written, 3); /* two go, one comes */
    result = applied(fixture, "{\"permissions\": [{\"name\": \"x.one\", \"requires\": [\"x.two\"]}]}");
    assert_int_equal(result.rows_written, 1);
    assert_int_equal(result.permissions, 1);
    result = applied(fixture, "{\"assignments\": [{\"user\": 7, \"role\": 100, \"expires_at\": "
                              "\"2030-01-01T00:00:00Z\"}, {\"user\": 8, \"role\": 100}]}");
    assert_int_equal(result.assignments, 2);
    assert_int_equal(result.rows_written, 2);
    assert_int_equal(number(fixture, "SELECT expires_at FROM permtab_assignment WHERE user_id = 7"),
                     UINT64_C(1893456000000000));
}

static void test_prune(void **state)
{
    struct fixture *fixture = *state;
    char *text = sample();
    applied(fixture, text);
    applied(fixture, "{\"permissions\": [{\"name\": \"x.one\"}, {\"name\": \"x.two\"}],"
                     " \"scopes\": [{\"scope\": \"global\", \"owner\": 9}]}");
    struct policy_apply_result result = pruned(fixture, BASE);
    assert_int_equal(result.roles, 10);
    assert_int_equal(result.assignments, 11); /* one of twelve stays */
    assert_int_equal(number(fixture, "SELECT count(*) FROM permtab_role"), 2);
    assert_int_equal(number(fixture, "SELECT count(*) FROM permtab_scope"), 4);
    assert_int_equal(number(fixture, "SELECT count(*) FROM permtab_assignment"), 1);
    assert_int_equal(number(fixture, "SELECT count(*) FROM permtab_overwrite"), 0);
    assert_int_equal(number(fixture, "SELECT count(*) FROM permtab_requirement"), 0);
    assert_int_equal(number(fixture, "SELECT count(*) FROM permtab_permission WHERE deleted = 0"), 2);
    assert_int_equal(
        number(fixture, "SELECT count(*) FROM permtab_scope WHERE type = 0 AND owner IS NOT NULL"), 0);
    assert_int_equal(pruned(fixture, BASE).rows_written, 0);
    char *one = exported(fixture);
    assert_null(strstr(one, "message.send"));
    free(one);

    struct policy_apply_options options = {.permissions_max = 512, .prune = true};
    struct outcome outcome =
        apply_with(fixture, "{\"roles\": [{\"id\": 1, \"allow\": [\"x.one\"]}]}", &options);
    assert_int_equal(outcome.code, PERMTAB_E_NO_PERMISSION);
    assert_string_equal(outcome.failure.text,
                        "roles[0].allow[0]: permission \"x.one\" is not in the document, so "
                        "pruning would remove it");
    free(text);
}

static void test_tombstones(void **state)
{
    struct fixture *fixture = *state;
    applied(fixture, BASE);
    applied(fixture, "{\"permissions\": [{\"name\": \"t.gone\"}]}");
    uint64_t bit = number(fixture, "SELECT bit FROM permtab_permission WHERE name = 't.gone'");
    applied(fixture,
            "{\"roles\": [{\"id\": 100, \"scope\": \"server:1\", \"allow\": [\"x.one\", \"t.gone\"]}]}");
    run(fixture, "UPDATE permtab_permission SET deleted = 1 WHERE name = 't.gone'");
    refused(fixture, "{\"permissions\": [{\"name\": \"x.one\"}, {\"name\": \"t.gone\"}]}", PERMTAB_E_CONFLICT,
            "permissions[1]: \"t.gone\" was deleted, and a deleted permission's name is never used again");
    refused(fixture, "{\"roles\": [{\"id\": 5, \"allow\": [\"t.gone\"]}]}", PERMTAB_E_NO_PERMISSION,
            "roles[0].allow[0]: permission \"t.gone\" was deleted");
    applied(fixture, "{\"permissions\": [{\"name\": \"t.next\"}]}");
    assert_true(number(fixture, "SELECT bit FROM permtab_permission WHERE name = 't.next'") != bit);
    /* What still refers to it is left alone, so that an export changes nothing. */
    char *text = exported(fixture);
    assert_null(strstr(text, "t.gone"));
    assert_int_equal(applied(fixture, text).rows_written, 0);
    assert_int_equal(pruned(fixture, text).rows_written, 0);
    free(text);
    run(fixture, "DELETE FROM permtab_role_permission WHERE permission = 't.gone'");
    run(fixture, "UPDATE permtab_permission SET deleted = 1 WHERE name = 't.next'");
}

static void test_bits_run_out(void **state)
{
    struct fixture *fixture = *state;
    struct policy_apply_options options = {0};
    applied(fixture, BASE);
    uint64_t used = number(fixture, "SELECT count(*) FROM permtab_permission");
    options.permissions_max = (uint32_t)used + 1;
    struct outcome outcome = apply_with(
        fixture, "{\"permissions\": [{\"name\": \"b.fits\"}, {\"name\": \"x.one\"}, {\"name\": \"b.not\"}]}",
        &options);
    char wanted[160];
    snprintf(wanted, sizeof wanted,
             "permissions[2]: no bit is left for \"b.not\": permissions_max is %" PRIu64
             ", deleted ones included",
             used + 1);
    assert_int_equal(outcome.code, PERMTAB_E_LIMIT);
    assert_string_equal(outcome.failure.text, wanted);
    assert_int_equal(number(fixture, "SELECT count(*) FROM permtab_permission"), used);
}

static void test_what_the_store_refuses(void **state)
{
    struct fixture *fixture = *state;
    applied(fixture, BASE);
    refused(fixture, "{\"roles\": [{\"id\": 5, \"allow\": [\"x.one\", \"n.never\"]}]}",
            PERMTAB_E_NO_PERMISSION,
            "roles[0].allow[1]: permission \"n.never\" is neither in the document nor in the store");
    refused(fixture, "{\"permissions\": [{\"name\": \"x.one\", \"requires\": [\"n.never\"]}]}",
            PERMTAB_E_NO_PERMISSION,
            "permissions[0].requires[0]: permission \"n.never\" is neither in the document nor in the store");
    refused(fixture, "{\"roles\": [{\"id\": 5}, {\"id\": 6, \"inherits\": [5, 9]}]}", PERMTAB_E_NOT_FOUND,
            "roles[1].inherits[1]: role 9 is neither in the document nor in the store");
    refused(fixture, "{\"roles\": [{\"id\": 5, \"scope\": \"server:9\"}]}", PERMTAB_E_NOT_FOUND,
            "roles[0].scope: scope server:9 is neither in the document nor in the store");
    refused(fixture, "{\"scopes\": [{\"scope\": \"channel:1\", \"parent\": \"server:9\"}]}",
            PERMTAB_E_NOT_FOUND,
            "scopes[0].parent: scope server:9 is neither in the document nor in the store");
    refused(fixture,
            "{\"scopes\": [{\"scope\": \"global\", \"overwrites\": [{\"role\": 9, \"deny\": [\"x.one\"]}]}]}",
            PERMTAB_E_NOT_FOUND,
            "scopes[0].overwrites[0].role: role 9 is neither in the document nor in the store");
    refused(fixture, "{\"assignments\": [{\"user\": 1, \"role\": 9}]}", PERMTAB_E_NOT_FOUND,
            "assignments[0].role: role 9 is neither in the document nor in the store");
    refused(fixture, "{\"assignments\": [{\"user\": 1, \"role\": 100, \"scope\": \"channel:99\"}]}",
            PERMTAB_E_NOT_FOUND,
            "assignments[0].scope: scope channel:99 is neither in the document nor in the store");
    refused(fixture,
            "{\"assignments\": [{\"user\": 1, \"role\": 100}, {\"user\": 1, \"role\": 100, \"scope\": "
            "\"server:1\"}]}",
            PERMTAB_E_INVALID, "assignments[1]: the same user, role and scope as assignments[0]");
}

static void test_misplaced(void **state)
{
    struct fixture *fixture = *state;
    applied(fixture, BASE);
    refused(fixture, "{\"assignments\": [{\"user\": 1, \"role\": 100, \"scope\": \"server:2\"}]}",
            PERMTAB_E_CONFLICT,
            "assignments[0]: role 100 is of server:1 and cannot be held at server:2, which is not below it");
    refused(fixture, "{\"assignments\": [{\"user\": 1, \"role\": 100, \"scope\": \"global\"}]}",
            PERMTAB_E_CONFLICT,
            "assignments[0]: role 100 is of server:1 and cannot be held at global, which is not below it");
    /* The channel moves away in the same document. */
    refused(
        fixture,
        "{\"scopes\": [{\"scope\": \"channel:10\", \"parent\": \"server:2\"}],"
        " \"assignments\": [{\"user\": 1, \"role\": 100, \"scope\": \"channel:10\"}]}",
        PERMTAB_E_CONFLICT,
        "assignments[0]: role 100 is of server:1 and cannot be held at channel:10, which is not below it");
    applied(fixture, "{\"assignments\": [{\"user\": 1, \"role\": 100, \"scope\": \"channel:10\"}]}");
}

static void test_cycles(void **state)
{
    struct fixture *fixture = *state;
    applied(fixture, BASE);
    refused(fixture,
            "{\"roles\": [{\"id\": 5}, {\"id\": 100, \"scope\": \"server:1\", \"inherits\": [101]}]}",
            PERMTAB_E_CONFLICT,
            "roles[1].inherits: role 100 inherits from role 101, which inherits from it: a cycle");
    applied(fixture, "{\"roles\": [{\"id\": 102, \"inherits\": [101]}, {\"id\": 103, \"inherits\": [102]}]}");
    refused(fixture, "{\"roles\": [{\"id\": 100, \"scope\": \"server:1\", \"inherits\": [103]}]}",
            PERMTAB_E_CONFLICT,
            "roles[0].inherits: role 100 inherits from role 103, which inherits from it: a cycle");
    /* The document cuts the cycle elsewhere. */
    applied(fixture, "{\"roles\": [{\"id\": 100, \"scope\": \"server:1\", \"inherits\": [103]},"
                     " {\"id\": 102, \"inherits\": []}]}");
    /* A cycle that plain SQL made is no reason to refuse what does not touch it. */
    run(fixture, "INSERT INTO permtab_role_parent (role_id, parent_id) VALUES (102, 103)");
    applied(fixture, "{\"roles\": [{\"id\": 110, \"inherits\": [103]}]}");
}

/* A trigger of the test's own makes a late statement fail: everything before it is undone. */
static void test_failure_in_the_middle(void **state)
{
    struct fixture *fixture = *state;
    bool sqlite = sql_dialect(fixture->store.sql) == SQL_SQLITE;
    applied(fixture, BASE);
    run(fixture,
        sqlite ? "CREATE TRIGGER test_boom BEFORE INSERT ON permtab_assignment WHEN NEW.user_id = 666"
                 " BEGIN SELECT RAISE(ABORT, 'boom'); END"
               : "CREATE TRIGGER test_boom BEFORE INSERT ON permtab_assignment FOR EACH ROW"
                 " IF NEW.user_id = 666 THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'boom'; END IF");
    refused(
        fixture,
        "{\"permissions\": [{\"name\": \"m.new\"}], \"scopes\": [{\"scope\": \"server:77\", \"parent\": "
        "\"global\"}], \"roles\": [{\"id\": 77, \"allow\": [\"m.new\"]}], \"assignments\": [{\"user\": 1, "
        "\"role\": 77}, {\"user\": 666, \"role\": 77}]}",
        PERMTAB_E_CONFLICT, "boom");
    run(fixture, "DROP TRIGGER test_boom");
}

static void test_large_ids(void **state)
{
    struct fixture *fixture = *state;
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
    applied(fixture, text);
    assert_int_equal(applied(fixture, text).rows_written, 0);
    char *one = exported(fixture);
    assert_non_null(strstr(one, "{\"user\": \"18446744073709551611\", \"role\": \"18446744073709551613\", "
                                "\"scope\": \"channel:18446744073709551614\"}"));
    assert_int_equal(applied(fixture, one).rows_written, 0);
    free(one);
}

/* Enough of everything that each batch size is used, and pruned again. */
static void test_many(void **state)
{
    struct fixture *fixture = *state;
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
    struct policy_apply_result result = applied(fixture, text);
    assert_int_equal(result.scopes, 2 * count);
    assert_int_equal(result.roles, count);
    assert_int_equal(result.assignments, count);
    assert_int_equal(applied(fixture, text).rows_written, 0);
    assert_int_equal(number(fixture, "SELECT count(*) FROM permtab_role_permission"), 2 * (count - 1));
    result = pruned(fixture, BASE);
    assert_int_equal(result.assignments, count + 1);
    assert_int_equal(number(fixture, "SELECT count(*) FROM permtab_role"), 2);
    assert_int_equal(number(fixture, "SELECT count(*) FROM permtab_scope"), 4);
    free(text);
}

static void test_grant_and_revoke(void **state)
{
    struct fixture *fixture = *state;
    struct policy_apply_result result;
    struct failure failure = {0};
    static const char grants[] = "SELECT count(*) FROM permtab_role_permission WHERE role_id = 100";
    applied(fixture, BASE);
    uint64_t before = revision(fixture);
    assert_int_equal(policy_grant(&fixture->store, 100, "x.one", GRANT_ALLOW, &result, &failure), 0);
    assert_int_equal(result.rows_written, 0);
    assert_int_equal(result.revision, before);
    assert_int_equal(policy_grant(&fixture->store, 100, "x.two", GRANT_DENY, &result, &failure), 0);
    assert_int_equal(result.rows_written, 1);
    assert_int_equal(result.revision, before + 1);
    assert_int_equal(result.store_id, fixture->store.store_id);
    /* The new effect replaces the old one. */
    assert_int_equal(policy_grant(&fixture->store, 100, "x.two", GRANT_ALLOW_OWN, &result, &failure), 0);
    assert_int_equal(result.rows_written, 2);
    assert_int_equal(number(fixture, grants), 2);
    assert_int_equal(number(fixture, "SELECT count(*) FROM permtab_role_permission WHERE role_id = 100 AND "
                                     "permission = 'x.two' AND effect = 'allow_own'"),
                     1);
    assert_int_equal(policy_revoke(&fixture->store, 100, "x.two", &result, &failure), 0);
    assert_int_equal(result.rows_written, 1);
    assert_int_equal(policy_revoke(&fixture->store, 100, "x.two", &result, &failure), 0);
    assert_int_equal(result.rows_written, 0);
    assert_int_equal(number(fixture, grants), 1);

    assert_int_equal(policy_grant(&fixture->store, 9, "x.one", GRANT_ALLOW, &result, &failure),
                     PERMTAB_E_NOT_FOUND);
    assert_string_equal(failure.text, "there is no role 9");
    assert_int_equal(policy_grant(&fixture->store, 100, "n.never", GRANT_ALLOW, &result, &failure),
                     PERMTAB_E_NO_PERMISSION);
    assert_string_equal(failure.text, "there is no permission \"n.never\"");
    assert_int_equal(policy_revoke(&fixture->store, 100, "n.never", &result, &failure),
                     PERMTAB_E_NO_PERMISSION);
    assert_int_equal(policy_revoke(&fixture->store, 9, "x.one", &result, NULL), PERMTAB_E_NOT_FOUND);
}

static void test_assign_and_unassign(void **state)
{
    struct fixture *fixture = *state;
    struct policy_apply_result result;
    struct failure failure = {0};
    struct policy_assignment assignment = {.user = UINT64_MAX, .role = 100, .expires_at = FACTS_NEVER};
    applied(fixture, BASE);
    assert_int_equal(policy_assign(&fixture->store, &assignment, &result, &failure), 0);
    assert_int_equal(result.rows_written, 1);
    assert_int_equal(policy_assign(&fixture->store, &assignment, &result, &failure), 0);
    assert_int_equal(result.rows_written, 0);
    assignment.expires_at = 5;
    assert_int_equal(policy_assign(&fixture->store, &assignment, &result, &failure), 0);
    assert_int_equal(result.rows_written, 1);
    assert_int_equal(number(fixture, "SELECT count(*) FROM permtab_assignment WHERE expires_at = 5"), 1);

    assignment.has_scope = true;
    assignment.scope = (struct scope_key){.type = 2, .id = 10};
    assert_int_equal(policy_assign(&fixture->store, &assignment, &result, &failure), 0);
    assert_int_equal(number(fixture, "SELECT count(*) FROM permtab_assignment"), 3);
    assignment.scope = (struct scope_key){.type = 1, .id = 2};
    assert_int_equal(policy_assign(&fixture->store, &assignment, &result, &failure), PERMTAB_E_CONFLICT);
    assert_string_equal(failure.text,
                        "role 100 is of server:1 and cannot be held at server:2, which is not below it");
    assignment.scope = (struct scope_key){0};
    assert_int_equal(policy_assign(&fixture->store, &assignment, &result, &failure), PERMTAB_E_CONFLICT);
    assignment.scope = (struct scope_key){.type = 2, .id = 11};
    assert_int_equal(policy_assign(&fixture->store, &assignment, &result, &failure), PERMTAB_E_NOT_FOUND);
    assert_string_equal(failure.text, "there is no scope channel:11");

    assert_int_equal(policy_unassign(&fixture->store, &assignment, &result, &failure), 0);
    assert_int_equal(result.rows_written, 0);
    assignment.has_scope = false;
    assert_int_equal(policy_unassign(&fixture->store, &assignment, &result, &failure), 0);
    assert_int_equal(result.rows_written, 1);
    assert_int_equal(number(fixture, "SELECT count(*) FROM permtab_assignment"), 2);
    assignment.role = 9;
    assert_int_equal(policy_unassign(&fixture->store, &assignment, &result, &failure), PERMTAB_E_NOT_FOUND);
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

static void commit_by(struct fixture *fixture, int (*commit)(struct sql *sql, struct failure *failure))
{
    static struct sql_driver faulty;
    real_driver = fixture->store.sql->driver;
    faulty = *real_driver;
    faulty.commit = commit;
    fixture->store.sql->driver = &faulty;
}

static void test_unknown_outcome(void **state)
{
    struct fixture *fixture = *state;
    struct policy_apply_result result;
    struct failure failure = {0};
    applied(fixture, BASE);
    uint64_t before = revision(fixture);
    commit_by(fixture, commit_then_lose);
    assert_int_equal(policy_grant(&fixture->store, 100, "x.two", GRANT_ALLOW, &result, &failure), 0);
    assert_int_equal(result.rows_written, 1);
    assert_int_equal(result.revision, before + 1);
    assert_int_equal(revision(fixture), before + 1);
    assert_ptr_equal(fixture->store.sql->driver, real_driver);

    commit_by(fixture, lose_the_commit);
    assert_int_equal(policy_grant(&fixture->store, 101, "x.two", GRANT_ALLOW, &result, &failure), 0);
    assert_int_equal(result.rows_written, 1);
    assert_int_equal(result.revision, before + 2);
    assert_int_equal(number(fixture, "SELECT count(*) FROM permtab_role_permission WHERE role_id = 101"), 1);
}

#define TEST(name, setup, teardown) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TESTS(setup, teardown)                                                                               \
    TEST(test_second_run_changes_nothing, setup, teardown), TEST(test_rows_are_changes, setup, teardown),    \
        TEST(test_dry_run_leaves_nothing, setup, teardown), TEST(test_export_round_trip, setup, teardown),   \
        TEST(test_lists_are_replaced, setup, teardown), TEST(test_prune, setup, teardown),                   \
        TEST(test_tombstones, setup, teardown), TEST(test_bits_run_out, setup, teardown),                    \
        TEST(test_what_the_store_refuses, setup, teardown), TEST(test_misplaced, setup, teardown),           \
        TEST(test_cycles, setup, teardown), TEST(test_failure_in_the_middle, setup, teardown),               \
        TEST(test_large_ids, setup, teardown), TEST(test_many, setup, teardown),                             \
        TEST(test_grant_and_revoke, setup, teardown), TEST(test_assign_and_unassign, setup, teardown),       \
        TEST(test_unknown_outcome, setup, teardown)

int main(void)
{
    const struct CMUnitTest sqlite[] = {TESTS(setup_sqlite, teardown_sqlite)};
    const struct CMUnitTest mysql[] = {TESTS(setup_mysql, teardown_mysql)};
    int failed = cmocka_run_group_tests_name("sqlite", sqlite, NULL, NULL);
    if (getenv("PERMTAB_TEST_MYSQL") == NULL)
        print_message("PERMTAB_TEST_MYSQL is not set: the same tests over MariaDB were skipped\n");
    else
        failed += cmocka_run_group_tests_name("mysql", mysql, NULL, NULL);
    return failed;
}
