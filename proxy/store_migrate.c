/* Migrations: numbered SQL files of conf/schema, compiled in. Each begins by setting the state to "applying N" and ends
 * with "ready": MySQL commits after every DDL statement, so a migration that stops in the middle shows by its state
 * and is refused from then on. SQLite runs each in one transaction. The same files work through the plain
 * command-line clients; DELIMITER lines are understood as the mariadb client does. */
#include "proxy/store_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct migration {
    const char *dialect;
    unsigned number;
    const char *name;
    const char *text;
};

static const struct migration migrations[] = {
#include "migrations.inc"
};

static const char *dialect_name(enum sql_dialect dialect)
{
    return dialect == SQL_SQLITE ? "sqlite" : "mysql";
}

static const struct migration *migration_find(enum sql_dialect dialect, unsigned number)
{
    for (size_t i = 0; i < sizeof(migrations) / sizeof(*migrations); i++)
        if (migrations[i].number == number && strcmp(migrations[i].dialect, dialect_name(dialect)) == 0)
            return &migrations[i];
    return NULL;
}

unsigned schema_newest(enum sql_dialect dialect)
{
    unsigned newest = 0;
    while (migration_find(dialect, newest + 1))
        newest++;
    return newest;
}

/* ---- splitting a file into statements ------------------------------------------------------------------------- */

struct splitter {
    const char *at;
    char delimiter[16];
};

/* Past a comment or a quoted text that begins here; NULL when neither does. */
static const char *skip_opaque(const char *at)
{
    if (strncmp(at, "-- ", 3) == 0 || strncmp(at, "--\n", 3) == 0 || *at == '#')
        return at + strcspn(at, "\n");
    if (*at != '\'' && *at != '"' && *at != '`')
        return NULL;
    char quote = *at++;
    while (*at && *at != quote)
        at += *at == '\\' && quote != '`' && at[1] ? 2 : 1;
    return *at ? at + 1 : at;
}

/* Past white space, comments and DELIMITER lines, which it obeys. */
static void skip_between(struct splitter *splitter)
{
    for (;;) {
        const char *at = splitter->at + strspn(splitter->at, " \t\r\n");
        if (strncmp(at, "--", 2) == 0) {
            at += strcspn(at, "\n");
        } else if (strncmp(at, "DELIMITER ", 10) == 0) {
            size_t length = strcspn(at + 10, " \t\r\n");
            snprintf(splitter->delimiter, sizeof(splitter->delimiter), "%.*s", (int)length, at + 10);
            at += 10 + length;
        } else {
            splitter->at = at;
            return;
        }
        splitter->at = at;
    }
}

/* The next statement, malloc'ed. 1, 0 at the end, or PERMTAB_E_MEMORY. */
static int split(struct splitter *splitter, char **out)
{
    skip_between(splitter);
    const char *start = splitter->at, *at = start;
    size_t length = strlen(splitter->delimiter);
    if (*start == '\0')
        return 0;
    while (*at && strncmp(at, splitter->delimiter, length) != 0) {
        const char *past = skip_opaque(at);
        at = past ? past : at + 1;
    }
    *out = strndup(start, (size_t)(at - start));
    splitter->at = *at ? at + length : at;
    return *out ? 1 : PERMTAB_E_MEMORY;
}

/* ---- applying -------------------------------------------------------------------------------------------------- */

/* `done` counts statements, also when it fails. */
static int statements_run(struct sql *sql, const struct migration *migration, unsigned *done,
                          struct failure *failure)
{
    struct splitter splitter = {.at = migration->text, .delimiter = ";"};
    char *text = NULL;
    int rc;
    *done = 0;
    while ((rc = split(&splitter, &text)) > 0) {
        rc = sql_execute(sql, text, failure);
        free(text);
        if (rc < 0)
            return failure_wrap(failure, "migration %s, statement %u", migration->name, *done + 1);
        ++*done;
    }
    return rc < 0 ? failure_set(failure, rc, "out of memory") : 0;
}

/* MySQL: no transaction holds DDL together. When only the first statement, the one that sets the state, was done, nothing
 * has happened and the state goes back: so missing privileges cost no more than another run. */
static int mysql_apply(struct sql *sql, const struct migration *migration, struct failure *failure)
{
    unsigned done;
    int rc = statements_run(sql, migration, &done, failure);
    if (rc < 0 && done == 1 && migration->number > 1 &&
        sql_execute(sql, "UPDATE permtab_store SET schema_state = 'ready'", NULL) < 0)
        return rc; /* then it stays half applied, and says so */
    return rc;
}

/* Brings the schema one version further, or, when it is the newest already, sees to its record. *done: nothing is left. */
static int step(struct sql *sql, unsigned *applied, bool *done, struct failure *failure)
{
    enum sql_dialect dialect = sql_dialect(sql);
    unsigned newest = schema_newest(dialect);
    struct schema_state state;
    int rc = schema_state_read(sql, &state, failure);
    if (rc == 0)
        rc = schema_state_check(&state, newest, failure);
    if (rc < 0)
        return rc;
    if (state.version == newest) {
        uint64_t mark = 0;
        *done = true;
        return state.recorded ? schema_compare(sql, &mark, failure) : schema_record(sql, failure);
    }
    const struct migration *migration = migration_find(dialect, state.version + 1);
    if (dialect == SQL_MYSQL) {
        rc = mysql_apply(sql, migration, failure);
    } else {
        rc = sql_execute(sql, migration->text, failure);
        if (rc < 0)
            failure_wrap(failure, "migration %s", migration->name);
    }
    *applied += rc == 0;
    return rc;
}

static int sqlite_migrate(struct sql *sql, unsigned *applied, struct failure *failure)
{
    bool done = false;
    int rc = sql_begin(sql, SQL_WRITE, failure);
    if (rc < 0)
        return rc;
    while (rc == 0 && !done)
        rc = step(sql, applied, &done, failure);
    if (rc == 0)
        return sql_commit(sql, failure);
    sql_rollback(sql);
    *applied = 0;
    return rc;
}

/* One migrator at a time, by a lock of the connection: it goes when the connection does. */
static int mysql_lock(struct sql *sql, struct failure *failure)
{
    struct sql_statement *st =
        sql_prepare(sql, "SELECT GET_LOCK(CONCAT('permtab.migrate.', SHA1(DATABASE())), 30)", failure);
    if (!st)
        return store_code(failure);
    int rc = sql_step(st, failure);
    bool locked = rc > 0 && sql_column_u64(st, 0) == 1;
    sql_reset(st);
    if (rc >= 0 && !locked)
        return failure_set(failure, PERMTAB_E_STORE,
                           "another migration of this store has been running for 30 seconds");
    return rc < 0 ? rc : 0;
}

static int mysql_migrate(struct sql *sql, unsigned *applied, struct failure *failure)
{
    bool done = false;
    int rc = mysql_lock(sql, failure);
    while (rc == 0 && !done)
        rc = step(sql, applied, &done, failure);
    return rc;
}

int store_migrate(const struct sql_options *options, unsigned *applied, struct failure *failure)
{
    struct sql_options own = *options;
    own.read_only = false;
    own.timeout_s =
        options->timeout_s > 60 ? options->timeout_s : 60; /* DDL on large tables takes its time */
    *applied = 0;
    int rc = sql_create(&own, failure);
    if (rc < 0)
        return rc;
    struct sql *sql = NULL;
    rc = sql_connect(&sql, &own, failure);
    if (rc < 0)
        return rc;
    rc = sql_dialect(sql) == SQL_SQLITE ? sqlite_migrate(sql, applied, failure)
                                        : mysql_migrate(sql, applied, failure);
    sql_close(sql);
    return rc;
}
