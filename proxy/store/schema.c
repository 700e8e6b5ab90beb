/* The schema: which version is there, and whether it is still as the migrations made it. expected.c reads what the
 * migrations make, found_sqlite.c and found_mysql.c what is there, and trouble.c compares the two. */
#include "proxy/store/schema.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- version and state ---------------------------------------------------------------------------------------- */

static const char *exists_text(enum sql_dialect dialect)
{
    switch (dialect) {
    case SQL_SQLITE:
        return "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'permtab_store'";
    case SQL_MYSQL:
        return "SELECT COUNT(*) FROM information_schema.TABLES"
               " WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'permtab_store'";
    }
    return NULL;
}

int schema_state_read(struct sql *sql, struct schema_state *out, struct failure *failure)
{
    memset(out, 0, sizeof(*out));
    struct sql_statement *st = sql_prepare(sql, exists_text(sql_dialect(sql)), failure);
    uint64_t tables = 0;
    int code = sql_number(st, &tables, failure);
    if (code < 0 || tables == 0)
        return code < 0 ? code : 0;
    st = sql_prepare(sql, "SELECT store_id, schema_version, schema_state FROM permtab_store WHERE one = 1",
                     failure);
    out->exists = true;
    code = sql_step(st, failure);
    if (code > 0) {
        out->store_id = sql_column_u64(st, 0);
        out->version = (unsigned)sql_column_u64(st, 1);
        snprintf(out->state, sizeof(out->state), "%s", sql_column_text(st, 2));
        out->ready = strcmp(out->state, "ready") == 0;
        out->mending = strcmp(out->state, "mending") == 0;
    } else if (code == 0) {
        snprintf(out->state, sizeof(out->state), "created, but empty");
    }
    sql_reset(st);
    return code < 0 ? code : 0;
}

int schema_state_check(const struct schema_state *state, unsigned newest, struct failure *failure)
{
    if (!state->exists)
        return 0;
    if (state->mending)
        return failure_set(
            failure, PERMTAB_E_SCHEMA,
            "the schema of the store is being mended (state \"mending\"): when no permtabd --migrate "
            "is at work, one was stopped; run it again");
    if (!state->ready)
        return failure_set(
            failure, PERMTAB_E_SCHEMA,
            "the schema of the store is half applied (state \"%s\"): a migration stopped in the middle. "
            "Restore the backup made before it, or drop every permtab_ table of an empty store, and "
            "run permtabd --migrate again",
            state->state);
    if (state->version > newest)
        return failure_set(
            failure, PERMTAB_E_SCHEMA,
            "the schema of the store has version %u, newer than %u, the newest this program knows: "
            "upgrade the program",
            state->version, newest);
    return 0;
}

/* ---- the look -------------------------------------------------------------------------------------------------- */

/* The hash is FNV-1a. */
static uint64_t hash(uint64_t value, const char *text)
{
    for (; *text; text++)
        value = (value ^ (unsigned char)*text) * 0x100000001b3ull;
    return value;
}

/* A mark that moves when definitions change, even when they are changed back: no trigger saw the changes in
 * between, when a table was dropped and made again, say, or had no triggers for a while. MySQL: the times at which
 * the tables were made, and below the triggers. */
static const char *mark_text(enum sql_dialect dialect)
{
    switch (dialect) {
    case SQL_SQLITE:
        return "SELECT schema_version FROM pragma_schema_version";
    case SQL_MYSQL:
        return "SELECT CONCAT_WS('|', TABLE_NAME, CREATE_TIME) FROM information_schema.TABLES"
               " WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME LIKE 'permtab\\_%' ORDER BY TABLE_NAME";
    }
    return NULL;
}

static const char triggers_text[] =
    "SELECT CONCAT_WS('|', TRIGGER_NAME, CREATED) FROM information_schema.TRIGGERS"
    " WHERE TRIGGER_SCHEMA = DATABASE() AND EVENT_OBJECT_TABLE LIKE 'permtab\\_%' ORDER BY TRIGGER_NAME";

/* MariaDB, where the account has PROCESS: InnoDB's numbers of the tables, which TRUNCATE changes too. */
static const char numbers_text[] =
    "SELECT CONCAT_WS('|', NAME, TABLE_ID) FROM information_schema.INNODB_SYS_TABLES"
    " WHERE NAME LIKE CONCAT(DATABASE(), '/permtab\\_%') ORDER BY NAME";

static int rows_hash(struct sql *sql, const char *text, uint64_t *value, struct failure *failure)
{
    struct sql_statement *st = sql_prepare_once(sql, text, failure);
    int code;
    while ((code = sql_step(st, failure)) > 0)
        *value = hash(*value, sql_column_text(st, 0));
    sql_discard(st);
    return code;
}

static int mark_read(struct sql *sql, uint64_t *mark, struct failure *failure)
{
    struct failure refused = {0};
    uint64_t value = 0xcbf29ce484222325ull, numbers = value;
    int code = rows_hash(sql, mark_text(sql_dialect(sql)), &value, failure);
    if (code == 0 && sql_dialect(sql) == SQL_MYSQL)
        code = rows_hash(sql, triggers_text, &value, failure);
    if (code < 0)
        return code;
    /* Without the privilege, or on a server that has no such view, the times alone are the mark. */
    if (sql_dialect(sql) == SQL_MYSQL && rows_hash(sql, numbers_text, &numbers, &refused) == 0)
        value ^= numbers * 31u;
    *mark = value ? value : 1;
    return 0;
}

int schema_compare(struct sql *sql, uint64_t *mark, struct failure *failure)
{
    struct schema schema = {0};
    uint64_t now = 0, before = *mark;
    int code = mark_read(sql, &now, failure);
    if (code == 0)
        code = schema_read(&schema, sql, failure);
    const struct trouble *trouble = code == 0 ? schema_refuses(&schema) : NULL;
    if (trouble)
        code = trouble_say(&schema, trouble, failure);
    schema_fini(&schema);
    if (code < 0)
        return code;
    /* Reported once: the caller then reads everything again, and the present schema is as it should be. */
    *mark = now;
    if (before != 0 && before != now)
        return failure_set(
            failure, PERMTAB_E_SCHEMA,
            "the tables of the store were rebuilt, or changed and changed back, since the last look");
    return 0;
}

int store_check_schema(struct store *store, struct failure *failure)
{
    struct schema_state state;
    int code = sql_settle(store->sql) ? store_files_remember(store, failure) : 0;
    if (code == 0)
        code = schema_state_read(store->sql, &state, failure);
    if (code == 0)
        code = schema_state_check(&state, schema_newest(sql_dialect(store->sql)), failure);
    if (code == 0 && !state.exists)
        code = failure_set(failure, PERMTAB_E_SCHEMA,
                           "the schema of the store was changed: permtab_store is missing");
    if (code == 0)
        code = schema_compare(store->sql, &store->looked.mark, failure);
    if (code == 0)
        code = store_emptied_check(store, failure);
    else if (code == PERMTAB_E_SCHEMA)
        store->looked.filled = 0; /* reported already; the present rows are the new beginning */
    if (code == 0 && sql_dialect(store->sql) == SQL_MYSQL)
        code = store_replica_check(store, failure);
    return code;
}
