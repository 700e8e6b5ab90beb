/* Migrations: numbered SQL files of conf/schema, compiled in. Each begins by setting the state to "applying N" and
 * ends with "ready": MySQL commits after every DDL statement, so a migration that stops in the middle shows by its
 * state and is refused from then on. SQLite runs each in one transaction. When nothing is left to apply, repair.c
 * mends later damage.
 *
 * All of that is done under a lock, which for SQLite is that of all writers. A start would wait there for whoever
 * writes, perhaps for minutes, so it looks first without one whether anything is left to do. */
#include "proxy/store/schema.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- applying -------------------------------------------------------------------------------------------------- */

/* `done` counts statements, also when it fails. */
static int statements_run(struct sql *sql, const struct migration *migration, unsigned *done,
                          struct failure *failure)
{
    struct splitter splitter = SPLITTER(migration->text);
    char *text = NULL;
    int code;
    *done = 0;
    while ((code = splitter_next(&splitter, &text)) > 0) {
        code = sql_execute(sql, text, failure);
        free(text);
        if (code < 0)
            return failure_wrap(failure, "migration %s, statement %u", migration->name, *done + 1);
        ++*done;
    }
    return code < 0 ? failure_set(failure, code, "out of memory") : 0;
}

/* MySQL: no transaction holds DDL together. When only the first two statements were done, which set the session's mode
 * and the state, nothing has happened and the state goes back: so missing privileges cost no more than another run. */
static int mysql_apply(struct sql *sql, const struct migration *migration, struct failure *failure)
{
    unsigned done;
    int code = statements_run(sql, migration, &done, failure);
    if (code < 0 && done == 2 && migration->number > 1 &&
        sql_execute(sql, "UPDATE permtab_store SET schema_state = 'ready'", NULL) < 0)
        return code; /* the migration stays half applied, and the state says so */
    return code;
}

/* Brings the schema one version further, or, when it is the newest already, mends it. *done: nothing is left. */
static int step(struct sql *sql, unsigned *applied, bool *done, struct failure *failure)
{
    enum sql_dialect dialect = sql_dialect(sql);
    unsigned newest = schema_newest(dialect);
    struct schema_state state;
    int code = schema_state_read(sql, &state, failure);
    if (code == 0 && !state.mending)
        code = schema_state_check(&state, newest, failure);
    if (code < 0)
        return code;
    if (state.version == newest) {
        *done = true;
        return schema_repair(sql, state.mending, failure);
    }
    const struct migration *migration = migration_find(dialect, state.version + 1);
    if (dialect == SQL_MYSQL) {
        code = mysql_apply(sql, migration, failure);
    } else {
        code = sql_execute(sql, migration->text, failure);
        if (code < 0)
            failure_wrap(failure, "migration %s", migration->name);
    }
    *applied += code == 0;
    return code;
}

static int sqlite_migrate(struct sql *sql, unsigned *applied, struct failure *failure)
{
    bool done = false;
    /* Both pragmas are for a table that has to be rebuilt: it is dropped although others refer to it, and the new
     * one takes its name without a change of their references. Neither can be set in a transaction. */
    int code = sql_execute(sql, "PRAGMA foreign_keys = OFF; PRAGMA legacy_alter_table = ON", failure);
    if (code == 0)
        code = sql_begin(sql, SQL_WRITE, failure);
    if (code < 0)
        return code;
    while (code == 0 && !done)
        code = step(sql, applied, &done, failure);
    if (code == 0)
        return sql_commit(sql, failure);
    sql_rollback(sql);
    *applied = 0;
    return code;
}

/* Whether there is nothing to do, as far as can be seen beside others. In doubt there is: with the lock it is looked
 * at again. */
static bool is_done(struct sql *sql)
{
    unsigned newest = schema_newest(sql_dialect(sql));
    struct failure unused = {0};
    struct schema_state state;
    return schema_state_read(sql, &state, &unused) == 0 && state.exists && !state.mending &&
           schema_state_check(&state, newest, &unused) == 0 && state.version == newest &&
           !schema_is_damaged(sql);
}

/* One migrator at a time, by a lock of the connection: it goes when the connection does. */
static int mysql_lock(struct sql *sql, struct failure *failure)
{
    struct sql_statement *st =
        sql_prepare(sql, "SELECT GET_LOCK(CONCAT('permtab.migrate.', SHA1(DATABASE())), 30)", failure);
    uint64_t locked = 0;
    int code = sql_number(st, &locked, failure);
    if (code >= 0 && locked != 1)
        return failure_set(failure, PERMTAB_E_STORE,
                           "another migration of this store has been running for 30 seconds");
    return code < 0 ? code : 0;
}

static int mysql_migrate(struct sql *sql, unsigned *applied, struct failure *failure)
{
    bool done = false;
    int code = mysql_lock(sql, failure);
    while (code == 0 && !done)
        code = step(sql, applied, &done, failure);
    return code;
}

int store_migrate(const struct sql_options *options, unsigned *applied, struct failure *failure)
{
    struct sql_options own = *options;
    own.read_only = false;
    own.timeout_s =
        options->timeout_s > 60 ? options->timeout_s : 60; /* DDL on large tables takes its time */
    *applied = 0;
    int code = sql_create(&own, failure);
    if (code < 0)
        return code;
    struct sql *sql = NULL;
    code = sql_connect(&sql, &own, failure);
    if (code < 0)
        return code;
    if (!is_done(sql))
        code = sql_dialect(sql) == SQL_SQLITE ? sqlite_migrate(sql, applied, failure)
                                              : mysql_migrate(sql, applied, failure);
    sql_close(sql);
    return code;
}

bool store_migrated(const struct sql_options *options)
{
    struct failure failure;
    struct sql *sql = NULL;
    if (sql_connect(&sql, options, &failure) < 0)
        return false;
    bool done = is_done(sql);
    sql_close(sql);
    return done;
}
