/* The schema that is in MariaDB and MySQL, by information_schema. Each statement reads one view of it and is
 * executed once: these views are temporary tables, and MariaDB 10.11 was seen to crash (in free_tmp_table) at one
 * of many thousand executions of a prepared UNION of them; and a join of two of them reads the definitions of every
 * database. */
#include "proxy/store/schema.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A table with system versioning is one like any other: each change of its present rows fires triggers. */
static const char tables_text[] =
    "SELECT TABLE_NAME, TABLE_TYPE = 'VIEW', LOWER(ENGINE), CREATE_OPTIONS LIKE '%partitioned%'"
    " FROM information_schema.TABLES"
    " WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME LIKE 'permtab\\_%'";

static const char columns_text[] =
    "SELECT TABLE_NAME, LOWER(COLUMN_NAME), LOWER(CONCAT_WS(' ', DATA_TYPE,"
    " IF(COLUMN_TYPE LIKE '%unsigned%', 'unsigned', NULL), COLLATION_NAME)), IS_NULLABLE = 'NO', COLUMN_KEY "
    "= 'PRI',"
    " COALESCE(GENERATION_EXPRESSION, '') <> '', COALESCE(COLUMN_DEFAULT LIKE '%rand(%', 0),"
    " CAST(IF(COLLATION_NAME IS NULL, 0, CHARACTER_MAXIMUM_LENGTH) AS UNSIGNED)"
    " FROM information_schema.COLUMNS"
    " WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME LIKE 'permtab\\_%'";

/* References in the order of their numbers, the rules' names after the columns. */
static const char references_text[] =
    "SELECT TABLE_NAME, CONSTRAINT_NAME, LOWER(GROUP_CONCAT(COLUMN_NAME ORDER BY ORDINAL_POSITION)),"
    " CONCAT(IF(REFERENCED_TABLE_SCHEMA = DATABASE(), '', CONCAT(REFERENCED_TABLE_SCHEMA, '.')),"
    " REFERENCED_TABLE_NAME), LOWER(GROUP_CONCAT(REFERENCED_COLUMN_NAME ORDER BY ORDINAL_POSITION))"
    " FROM information_schema.KEY_COLUMN_USAGE"
    " WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME LIKE 'permtab\\_%' AND REFERENCED_TABLE_NAME IS NOT NULL"
    " GROUP BY TABLE_NAME, CONSTRAINT_NAME, REFERENCED_TABLE_SCHEMA, REFERENCED_TABLE_NAME";

/* RESTRICT and NO ACTION are one and the same to InnoDB. */
static const char rules_text[] =
    "SELECT TABLE_NAME, CONSTRAINT_NAME FROM information_schema.REFERENTIAL_CONSTRAINTS"
    " WHERE CONSTRAINT_SCHEMA = DATABASE() AND TABLE_NAME LIKE 'permtab\\_%'"
    " AND NOT (UPDATE_RULE IN ('RESTRICT', 'NO ACTION') AND DELETE_RULE IN ('RESTRICT', 'NO ACTION'))";

static const char triggers_text[] =
    "SELECT EVENT_OBJECT_TABLE, TRIGGER_NAME, LOWER(CONCAT(ACTION_TIMING, ' ', EVENT_MANIPULATION)), "
    "ACTION_STATEMENT"
    " FROM information_schema.TRIGGERS"
    " WHERE TRIGGER_SCHEMA = DATABASE() AND EVENT_OBJECT_TABLE LIKE 'permtab\\_%'";

static void add_table(struct objects *out, struct sql_statement *row)
{
    const char *name = sql_column_text(row, 0);
    bool view = sql_column_u64(row, 1) != 0;
    struct object *object =
        objects_add(out, view ? OBJECT_VIEW : OBJECT_TABLE, name, name, NULL, sql_column_text(row, 2));
    if (object && sql_column_u64(row, 3))
        object->flags = OBJECT_PARTITIONED;
}

static void add_column(struct objects *out, struct sql_statement *row)
{
    const char *name = sql_column_text(row, 1);
    struct object *object =
        objects_add(out, OBJECT_COLUMN, sql_column_text(row, 0), name, name, sql_column_text(row, 2));
    if (!object)
        return;
    object->flags =
        (sql_column_u64(row, 3) ? OBJECT_NOT_NULL : 0u) | (sql_column_u64(row, 4) ? OBJECT_KEY : 0u) |
        (sql_column_u64(row, 5) ? OBJECT_GENERATED : 0u) | (sql_column_u64(row, 6) ? OBJECT_RANDOM : 0u);
    object->size = sql_column_u64(row, 7);
}

static void add_reference(struct objects *out, struct sql_statement *row)
{
    char *what = NULL;
    if (asprintf(&what, "%s > %s(%s)", sql_column_text(row, 2), sql_column_text(row, 3),
                 sql_column_text(row, 4)) < 0)
        what = NULL;
    objects_take(out, OBJECT_REFERENCE, sql_column_text(row, 0), sql_column_text(row, 1), what);
}

static void add_rule(struct objects *out, struct sql_statement *row)
{
    struct object *reference =
        objects_called(out, OBJECT_REFERENCE, sql_column_text(row, 0), sql_column_text(row, 1));
    if (reference)
        reference->flags |= OBJECT_CASCADES;
}

static void add_trigger(struct objects *out, struct sql_statement *row)
{
    struct tokens tokens;
    char *body = NULL, *what = NULL;
    if (tokens_read(&tokens, sql_column_text(row, 3), SQL_MYSQL) < 0) {
        out->failed = true;
        return;
    }
    body = tokens_join(&tokens, 0, tokens.count);
    if (body && asprintf(&what, "%s %s", sql_column_text(row, 2), body) < 0)
        what = NULL;
    objects_take(out, OBJECT_TRIGGER, sql_column_text(row, 0), sql_column_text(row, 1), what);
    free(body);
    tokens_fini(&tokens);
}

int objects_find_mysql(struct objects *out, struct sql *sql, struct failure *failure)
{
    static const struct objects_query queries[] = {
        {tables_text, add_table}, {columns_text, add_column},   {references_text, add_reference},
        {rules_text, add_rule},   {triggers_text, add_trigger},
    };
    return objects_read(out, sql, queries, sizeof(queries) / sizeof(*queries), failure);
}
