/* The schema: which version is there, and does it still look as the migration left it. What a table, a trigger or a
 * reference looked like is recorded as a hash (permtab_object), because databases print definitions in their own
 * ways; the look compares and names what is missing or different. */
#include "proxy/store_private.h"

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
    if (!st)
        return store_code(failure);
    int rc = sql_step(st, failure);
    bool exists = rc > 0 && sql_column_u64(st, 0) > 0;
    sql_reset(st);
    if (rc < 0 || !exists)
        return rc < 0 ? rc : 0;
    st = sql_prepare(
        sql, "SELECT store_id, schema_version, schema_state, fingerprint FROM permtab_store WHERE one = 1",
        failure);
    if (!st)
        return store_code(failure);
    out->exists = true;
    rc = sql_step(st, failure);
    if (rc > 0) {
        out->store_id = sql_column_u64(st, 0);
        out->version = (unsigned)sql_column_u64(st, 1);
        snprintf(out->state, sizeof(out->state), "%s", sql_column_text(st, 2));
        out->ready = strcmp(out->state, "ready") == 0;
        out->recorded = !sql_column_is_null(st, 3);
    } else if (rc == 0) {
        snprintf(out->state, sizeof(out->state), "created, but empty");
    }
    sql_reset(st);
    return rc < 0 ? rc : 0;
}

int schema_state_check(const struct schema_state *state, unsigned newest, struct failure *failure)
{
    if (!state->exists)
        return 0;
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

/* ---- objects --------------------------------------------------------------------------------------------------- */

struct object {
    char *kind;
    char *name;
    uint64_t mark;
    bool strict; /* must be recorded: it changes what a statement does to other rows without a trigger */
};

struct objects {
    struct object *items;
    size_t count, capacity;
};

static void objects_fini(struct objects *objects)
{
    for (size_t i = 0; i < objects->count; i++) {
        free(objects->items[i].kind);
        free(objects->items[i].name);
    }
    free(objects->items);
}

static int object_add(struct objects *objects, const char *kind, const char *name, uint64_t mark, bool strict)
{
    if (objects->count == objects->capacity) {
        size_t capacity = objects->capacity ? objects->capacity * 2 : 128;
        struct object *items = realloc(objects->items, capacity * sizeof(*items));
        if (!items)
            return PERMTAB_E_MEMORY;
        objects->items = items;
        objects->capacity = capacity;
    }
    struct object *object = &objects->items[objects->count++];
    *object = (struct object){.kind = strdup(kind), .name = strdup(name), .mark = mark, .strict = strict};
    return object->kind && object->name ? 0 : PERMTAB_E_MEMORY;
}

static int object_order(const void *a, const void *b)
{
    const struct object *left = a, *right = b;
    int order = strcmp(left->kind, right->kind);
    return order ? order : strcmp(left->name, right->name);
}

/* FNV-1a. Against mistakes, not against malice: who can change a trigger can change the record too. */
static uint64_t hash(uint64_t value, const char *text)
{
    for (; *text; text++)
        value = (value ^ (unsigned char)*text) * 0x100000001b3ull;
    return value;
}

/* Columns: kind, name, definition, strict. */
static const char *const sqlite_objects[] = {
    "SELECT type, name, sql, type = 'index' AND sql LIKE 'CREATE UNIQUE%' FROM sqlite_master"
    " WHERE tbl_name LIKE 'permtab\\_%' ESCAPE '\\' AND sql IS NOT NULL",
    NULL,
};

/* One view of information_schema a statement, and each statement executed once: these views are temporary tables, and
 * MariaDB 10.11 was seen to crash (in free_tmp_table) at one of many thousand executions of a prepared UNION of them. */
static const char *const mysql_objects[] = {
    "SELECT 'table', TABLE_NAME, ENGINE, 0 FROM information_schema.TABLES"
    " WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME LIKE 'permtab\\_%' AND TABLE_TYPE = 'BASE TABLE'",
    "SELECT 'column', CONCAT(TABLE_NAME, '.', COLUMN_NAME), CONCAT_WS('|', DATA_TYPE,"
    " COLUMN_TYPE LIKE '%unsigned%', CHARACTER_MAXIMUM_LENGTH, COLLATION_NAME, IS_NULLABLE,"
    " COLUMN_KEY = 'PRI'), 0 FROM information_schema.COLUMNS"
    " WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME LIKE 'permtab\\_%'",
    "SELECT 'trigger', TRIGGER_NAME, CONCAT_WS('|', EVENT_OBJECT_TABLE, ACTION_TIMING,"
    " EVENT_MANIPULATION, ACTION_STATEMENT), 0 FROM information_schema.TRIGGERS"
    " WHERE TRIGGER_SCHEMA = DATABASE() AND EVENT_OBJECT_TABLE LIKE 'permtab\\_%'",
    "SELECT 'reference', CONCAT(TABLE_NAME, '.', CONSTRAINT_NAME), CONCAT_WS('|',"
    " REFERENCED_TABLE_NAME, UPDATE_RULE, DELETE_RULE), 1"
    " FROM information_schema.REFERENTIAL_CONSTRAINTS"
    " WHERE CONSTRAINT_SCHEMA = DATABASE() AND TABLE_NAME LIKE 'permtab\\_%'",
    NULL,
};

static const char *const *objects_texts(enum sql_dialect dialect)
{
    switch (dialect) {
    case SQL_SQLITE:
        return sqlite_objects;
    case SQL_MYSQL:
        return mysql_objects;
    }
    return NULL;
}

static int some_objects_read(struct sql *sql, const char *text, struct objects *out, struct failure *failure)
{
    struct sql_statement *st = sql_prepare_once(sql, text, failure);
    if (!st)
        return store_code(failure);
    int rc;
    while ((rc = sql_step(st, failure)) > 0) {
        char kind[64], name[256];
        snprintf(kind, sizeof(kind), "%s", sql_column_text(st, 0));
        snprintf(name, sizeof(name), "%s", sql_column_text(st, 1));
        uint64_t mark = hash(0xcbf29ce484222325ull, sql_column_text(st, 2));
        rc = object_add(out, kind, name, mark, sql_column_u64(st, 3) != 0);
        if (rc < 0) {
            failure_set(failure, rc, "out of memory");
            break;
        }
    }
    sql_discard(st);
    return rc;
}

static int objects_read(struct sql *sql, struct objects *out, struct failure *failure)
{
    int rc = 0;
    for (const char *const *text = objects_texts(sql_dialect(sql)); rc == 0 && *text; text++)
        rc = some_objects_read(sql, *text, out, failure);
    if (rc == 0 && out->count)
        qsort(out->items, out->count, sizeof(*out->items), object_order);
    return rc;
}

static int recorded_read(struct sql *sql, struct objects *out, struct failure *failure)
{
    struct sql_statement *st = sql_prepare(sql, "SELECT kind, name, mark FROM permtab_object", failure);
    if (!st)
        return store_code(failure);
    int rc;
    while ((rc = sql_step(st, failure)) > 0) {
        char kind[64], name[256];
        snprintf(kind, sizeof(kind), "%s", sql_column_text(st, 0));
        snprintf(name, sizeof(name), "%s", sql_column_text(st, 1));
        rc = object_add(out, kind, name, strtoull(sql_column_text(st, 2), NULL, 16), false);
        if (rc < 0) {
            failure_set(failure, rc, "out of memory");
            break;
        }
    }
    sql_reset(st);
    if (rc == 0 && out->count)
        qsort(out->items, out->count, sizeof(*out->items), object_order);
    return rc;
}

/* One value for the whole list. */
static void fingerprint_of(const struct objects *objects, char text[17])
{
    uint64_t value = 0xcbf29ce484222325ull;
    for (size_t i = 0; i < objects->count; i++) {
        char mark[17];
        snprintf(mark, sizeof(mark), "%016" PRIx64, objects->items[i].mark);
        value = hash(hash(hash(value, objects->items[i].kind), objects->items[i].name), mark);
    }
    snprintf(text, 17, "%016" PRIx64, value);
}

/* ---- recording ------------------------------------------------------------------------------------------------- */

static int object_record(struct sql *sql, const struct object *object, struct failure *failure)
{
    char mark[17];
    snprintf(mark, sizeof(mark), "%016" PRIx64, object->mark);
    struct sql_statement *st =
        sql_prepare(sql, "INSERT INTO permtab_object (kind, name, mark) VALUES (?, ?, ?)", failure);
    if (!st)
        return store_code(failure);
    sql_bind_text(st, 1, object->kind);
    sql_bind_text(st, 2, object->name);
    sql_bind_text(st, 3, mark);
    int rc = sql_step(st, failure);
    sql_reset(st);
    return rc;
}

static int fingerprint_record(struct sql *sql, const struct objects *objects, struct failure *failure)
{
    char text[17];
    fingerprint_of(objects, text);
    struct sql_statement *st =
        sql_prepare(sql, "UPDATE permtab_store SET fingerprint = ? WHERE one = 1", failure);
    if (!st)
        return store_code(failure);
    sql_bind_text(st, 1, text);
    int rc = sql_step(st, failure);
    sql_reset(st);
    return rc;
}

int schema_record(struct sql *sql, struct failure *failure)
{
    struct objects objects = {0};
    int rc = objects_read(sql, &objects, failure);
    if (rc == 0)
        rc = sql_execute(sql, "DELETE FROM permtab_object", failure);
    for (size_t i = 0; rc == 0 && i < objects.count; i++)
        rc = object_record(sql, &objects.items[i], failure);
    if (rc == 0)
        rc = fingerprint_record(sql, &objects, failure);
    objects_fini(&objects);
    return rc;
}

/* ---- the look -------------------------------------------------------------------------------------------------- */

static int missing(enum sql_dialect dialect, const struct object *object, struct failure *failure)
{
    bool hidden = dialect == SQL_MYSQL &&
                  (strcmp(object->kind, "trigger") == 0 || strcmp(object->kind, "reference") == 0);
    return failure_set(failure, PERMTAB_E_SCHEMA, "the schema of the store was changed: %s %s is missing%s",
                       object->kind, object->name,
                       hidden ? " (or this account may not see it: it needs TRIGGER on the database)" : "");
}

/* Both lists are sorted: one walk. */
static int objects_compare(enum sql_dialect dialect, const struct objects *recorded,
                           const struct objects *found, struct failure *failure)
{
    size_t r = 0, f = 0;
    while (r < recorded->count || f < found->count) {
        int order = r == recorded->count ? 1
                    : f == found->count  ? -1
                                         : object_order(&recorded->items[r], &found->items[f]);
        if (order < 0)
            return missing(dialect, &recorded->items[r], failure);
        const struct object *object = &found->items[f];
        if (order > 0 && object->strict)
            return failure_set(
                failure, PERMTAB_E_SCHEMA,
                "the schema of the store was changed: %s %s was added, and makes changes that no "
                "trigger sees",
                object->kind, object->name);
        if (order == 0 && recorded->items[r].mark != object->mark)
            return failure_set(failure, PERMTAB_E_SCHEMA,
                               "the schema of the store was changed: %s %s is different", object->kind,
                               object->name);
        r += order == 0;
        f++;
    }
    return 0;
}

/* Something that moves when definitions change, even when they are changed back: what was done in between, a table
 * dropped and made again say, or without its triggers for a while, no trigger saw. MySQL: the times at which the tables were
 * made, and below the triggers. */
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
    if (!st)
        return store_code(failure);
    int rc;
    while ((rc = sql_step(st, failure)) > 0)
        *value = hash(*value, sql_column_text(st, 0));
    sql_discard(st);
    return rc;
}

static int mark_read(struct sql *sql, uint64_t *mark, struct failure *failure)
{
    struct failure refused = {0};
    uint64_t value = 0xcbf29ce484222325ull, numbers = value;
    int rc = rows_hash(sql, mark_text(sql_dialect(sql)), &value, failure);
    if (rc == 0 && sql_dialect(sql) == SQL_MYSQL)
        rc = rows_hash(sql, triggers_text, &value, failure);
    if (rc < 0)
        return rc;
    /* Without the privilege, or on a server that has no such view, the times have to do. */
    if (sql_dialect(sql) == SQL_MYSQL && rows_hash(sql, numbers_text, &numbers, &refused) == 0)
        value ^= numbers * 31u;
    *mark = value ? value : 1;
    return 0;
}

int schema_compare(struct sql *sql, uint64_t *mark, struct failure *failure)
{
    struct objects recorded = {0}, found = {0};
    uint64_t now = 0;
    int rc = mark_read(sql, &now, failure);
    if (rc == 0)
        rc = recorded_read(sql, &recorded, failure);
    if (rc == 0)
        rc = objects_read(sql, &found, failure);
    if (rc == 0 && recorded.count == 0)
        rc =
            failure_set(failure, PERMTAB_E_SCHEMA,
                        "the record of the store's schema (permtab_object) is empty: run permtabd --migrate");
    if (rc == 0)
        rc = objects_compare(sql_dialect(sql), &recorded, &found, failure);
    /* Said once: whoever is told reads everything again, and what is there now is as it should be. */
    uint64_t before = *mark;
    if (rc == 0) {
        *mark = now;
        if (before != 0 && before != now)
            rc = failure_set(
                failure, PERMTAB_E_SCHEMA,
                "the tables of the store were rebuilt, or changed and changed back, since the last look");
    }
    objects_fini(&recorded);
    objects_fini(&found);
    return rc;
}

int store_check_schema(struct store *store, struct failure *failure)
{
    struct schema_state state;
    int rc = schema_state_read(store->sql, &state, failure);
    if (rc == 0)
        rc = schema_state_check(&state, schema_newest(sql_dialect(store->sql)), failure);
    if (rc == 0 && !state.exists)
        rc = failure_set(failure, PERMTAB_E_SCHEMA,
                         "the schema of the store was changed: permtab_store is missing");
    if (rc == 0)
        rc = schema_compare(store->sql, &store->looked.mark, failure);
    if (rc == 0)
        rc = store_emptied_check(store, failure);
    else if (rc == PERMTAB_E_SCHEMA)
        store->looked.filled = 0; /* said already; what is there now is the new beginning */
    if (rc == 0 && sql_dialect(store->sql) == SQL_MYSQL)
        rc = store_replica_check(store, failure);
    return rc;
}
