/* A store of its own for each test, over a URL, so that the same cases run on SQLite and on MariaDB. */
#ifndef PERMTAB_TESTS_UNIT_STORE_STORE_FIXTURE_H
#define PERMTAB_TESTS_UNIT_STORE_STORE_FIXTURE_H

#include "proxy/store/sql_driver.h"
#include "proxy/store/store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct fixture {
    char folder[64]; /* SQLite */
    char url[512];
    char admin[512]; /* MySQL: of the database that the environment names */
    char database[64];
    struct sql_options options;
    struct store store;
    struct sql *writer;
};

static struct failure failure;

#define OK(call)                                                                                             \
    do {                                                                                                     \
        int ok_rc = (call);                                                                                  \
        if (ok_rc < 0)                                                                                       \
            fail_msg("%s: %d %s", #call, ok_rc, failure.text);                                               \
    } while (0)

#define FAILS(call, code_wanted, part)                                                                       \
    do {                                                                                                     \
        memset(&failure, 0, sizeof(failure));                                                                \
        assert_int_equal((call), (code_wanted));                                                             \
        if (!strstr(failure.text, (part)))                                                                   \
            fail_msg("%s: \"%s\" does not say \"%s\"", #call, failure.text, (part));                         \
    } while (0)

/* One or more statements; several only on SQLite. */
static int run(struct sql *sql, const char *text)
{
    return sql_execute(sql, text, &failure);
}

static bool on_mysql(const struct fixture *f)
{
    return f->admin[0] != '\0';
}

static void run_admin(const struct fixture *f, const char *format)
{
    char text[256];
    struct sql *sql = NULL;
    struct sql_options options = {.url = f->admin};
    snprintf(text, sizeof(text), format, f->database);
    OK(sql_connect(&sql, &options, &failure));
    OK(run(sql, text));
    sql_close(sql);
}

/* The environment's URL with another database in it. */
static void mysql_url(struct fixture *f, const char *from)
{
    static unsigned count; /* of this process; the name must not be used twice */
    snprintf(f->admin, sizeof(f->admin), "%s", from);
    snprintf(f->database, sizeof(f->database), "permtab_test_%d_%u", (int)getpid(), ++count);
    const char *slash = strchr(from + strlen("mysql://"), '/');
    const char *query = slash ? strchr(slash, '?') : NULL;
    assert_non_null(slash);
    snprintf(f->url, sizeof(f->url), "%.*s/%s%s", (int)(slash - from), from, f->database, query ? query : "");
    run_admin(f, "CREATE DATABASE %s");
}

__attribute__((unused)) static int fixture_empty(void **state, const char *mysql)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    if (mysql) {
        mysql_url(f, mysql);
    } else {
        strcpy(f->folder, "/tmp/permtab-test-XXXXXX");
        assert_non_null(mkdtemp(f->folder));
        snprintf(f->url, sizeof(f->url), "sqlite:%s/p.db", f->folder);
    }
    f->options.url = f->url;
    *state = f;
    return 0;
}

/* Migrated, opened, with a second connection for writing and the scope types server and channel. */
__attribute__((unused)) static int fixture_ready(void **state, const char *mysql)
{
    fixture_empty(state, mysql);
    struct fixture *f = *state;
    struct scope_types types = {.count = 3, .names = {"global", "server", "channel"}};
    unsigned applied;
    OK(store_migrate(&f->options, &applied, &failure));
    assert_true(applied > 0);
    OK(store_open(&f->store, &f->options, &failure));
    OK(store_sync_types(&f->store, &types, &failure));
    OK(sql_connect(&f->writer, &f->options, &failure));
    return 0;
}

static int fixture_free(void **state)
{
    struct fixture *f = *state;
    char command[128];
    if (f->store.sql)
        store_close(&f->store);
    sql_close(f->writer);
    if (on_mysql(f)) {
        run_admin(f, "DROP DATABASE %s");
    } else {
        snprintf(command, sizeof(command), "rm -rf '%s'", f->folder);
        assert_int_equal(system(command), 0);
    }
    free(f);
    return 0;
}

__attribute__((unused)) static struct log_position position(struct fixture *f)
{
    struct log_position at;
    int64_t now;
    OK(store_snapshot(&f->store, &at, &now, &failure));
    store_snapshot_end(&f->store);
    return at;
}

__attribute__((unused)) static uint64_t number(struct sql *sql, const char *text)
{
    struct sql_statement *st = sql_prepare_built(sql, text, &failure);
    assert_non_null(st);
    assert_int_equal(sql_step(st, &failure), 1);
    uint64_t value = sql_column_u64(st, 0);
    sql_reset(st);
    return value;
}

__attribute__((unused)) static void drop_trigger(struct fixture *f, const char *name)
{
    char text[128];
    snprintf(text, sizeof(text), "DROP TRIGGER permtab_%s", name);
    OK(run(f->writer, text));
}

/* A server, a channel below it, roles 1 (server), 2 (server, default), 3 (global), permissions a.b, c.d, e. */
__attribute__((unused)) static void some_policy(struct fixture *f)
{
    static const char *const texts[] = {
        "INSERT INTO permtab_permission (name, bit) VALUES ('a.b', 0), ('c.d', 1), ('e', 64)",
        "INSERT INTO permtab_requirement VALUES ('c.d', 'a.b'), ('c.d', 'e')",
        "INSERT INTO permtab_scope VALUES (1, 5, 0, 0, NULL), (2, 50, 1, 5, 42), (2, 51, 1, 5, NULL)",
        "INSERT INTO permtab_role VALUES (1, 'one', 1, 5, 0, 1), (2, 'two', 1, 5, 1, 1), (3, 'three', 0, 0, "
        "0, 1)",
        "INSERT INTO permtab_role_parent VALUES (1, 3)",
        "INSERT INTO permtab_role_permission VALUES (1, 'a.b', 'allow'), (3, 'c.d', 'allow_own'), (3, 'e', "
        "'deny')",
        "INSERT INTO permtab_assignment VALUES (7, 1, 1, 5, NULL), (8, 1, 1, 5, 1000)",
        "INSERT INTO permtab_overwrite VALUES (2, 50, 'role', 1, 'a.b', 'deny'), (2, 50, 'user', 7, 'c.d', "
        "'allow'),"
        " (2, 50, 'user', 8, 'c.d', 'deny')",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
        OK(run(f->writer, texts[i]));
}

#endif
