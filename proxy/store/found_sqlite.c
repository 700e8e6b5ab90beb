/* The schema that is in SQLite: read from its pragmas, and from texts only where there is no pragma (checks,
 * triggers, views). So it does not matter how a tool that rebuilt a table wrote it. */
#include "proxy/store/schema.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The first column of every statement here is the table. */
#define OURS " m.name LIKE 'permtab\\_%' ESCAPE '\\'"

static const char tables_text[] = "SELECT m.name, m.type, m.strict FROM pragma_table_list m"
                                  " WHERE m.schema = 'main' AND m.type = 'table' AND" OURS;

static const char columns_text[] =
    "SELECT m.name, c.name, lower(c.type), c.\"notnull\", c.pk, c.hidden > 1, c.dflt_value LIKE '%random%'"
    " FROM sqlite_master m JOIN pragma_table_xinfo(m.name) c WHERE m.type = 'table' AND" OURS;

static const char indexes_text[] =
    "SELECT m.name, i.name, i.origin FROM sqlite_master m JOIN pragma_index_list(m.name) i"
    " WHERE m.type = 'table' AND i.\"unique\" AND i.origin <> 'pk' AND" OURS;

/* A table that keeps its rows under its primary key has an index of that origin too, but says "without rowid". */
static const char rowids_text[] =
    "SELECT m.name FROM pragma_table_list m JOIN pragma_index_list(m.name) i"
    " WHERE m.schema = 'main' AND m.type = 'table' AND NOT m.wr AND i.origin = 'pk' AND" OURS;

static const char collations_text[] =
    "SELECT m.name, x.name, lower(x.coll) FROM sqlite_master m JOIN pragma_index_list(m.name) i"
    " JOIN pragma_index_xinfo(i.name) x WHERE m.type = 'table' AND i.origin = 'pk' AND x.key"
    " AND x.coll <> 'BINARY' AND" OURS;

/* A reference that names no columns means the other table's key. */
static const char references_text[] =
    "SELECT m.name, f.seq, lower(f.\"table\"), lower(f.\"from\"),"
    " lower(coalesce(f.\"to\", (SELECT name FROM pragma_table_xinfo(f.\"table\") WHERE pk = f.seq + 1)))"
    " FROM sqlite_master m JOIN pragma_foreign_key_list(m.name) f WHERE m.type = 'table' AND" OURS
    " ORDER BY m.name, f.id, f.seq";

static const char texts_text[] =
    "SELECT m.tbl_name, m.type, m.name, m.sql FROM sqlite_master m WHERE m.sql IS NOT NULL"
    " AND (m.tbl_name LIKE 'permtab\\_%' ESCAPE '\\' OR" OURS ")";

static void add_table(struct objects *out, struct sql_statement *row)
{
    const char *name = sql_column_text(row, 0);
    (void)objects_add(out, OBJECT_TABLE, name, name, NULL, sql_column_u64(row, 2) ? "strict" : "");
}

static void add_column(struct objects *out, struct sql_statement *row)
{
    char what[200], *end = what;
    const char *name = sql_column_text(row, 1);
    snprintf(what, sizeof(what), "%s", name);
    for (; *end; end++)
        *end = (char)(*end >= 'A' && *end <= 'Z' ? *end + 32 : *end);
    struct object *object =
        objects_add(out, OBJECT_COLUMN, sql_column_text(row, 0), name, what, sql_column_text(row, 2));
    if (!object)
        return;
    object->flags =
        (sql_column_u64(row, 3) ? OBJECT_NOT_NULL : 0u) | (sql_column_u64(row, 4) ? OBJECT_KEY : 0u) |
        (sql_column_u64(row, 5) ? OBJECT_GENERATED : 0u) | (sql_column_u64(row, 6) ? OBJECT_RANDOM : 0u);
}

static void add_index(struct objects *out, struct sql_statement *row)
{
    const char *name = sql_column_text(row, 1);
    struct object *object = objects_add(out, OBJECT_INDEX, sql_column_text(row, 0), name, name, NULL);
    if (object)
        object->flags = OBJECT_UNIQUE | (strcmp(sql_column_text(row, 2), "u") == 0 ? OBJECT_CONSTRAINT : 0u);
}

static void add_rowid(struct objects *out, struct sql_statement *row)
{
    struct object *table =
        objects_called(out, OBJECT_TABLE, sql_column_text(row, 0), sql_column_text(row, 0));
    if (table)
        table->flags |= OBJECT_ROWID;
}

/* Adds the collation behind the type, which so becomes another type. */
static void add_collation(struct objects *out, struct sql_statement *row)
{
    struct object *column =
        objects_called(out, OBJECT_COLUMN, sql_column_text(row, 0), sql_column_text(row, 1));
    char *detail = NULL;
    if (!column || asprintf(&detail, "%s %s", column->detail, sql_column_text(row, 2)) < 0)
        return;
    free(column->detail);
    column->detail = detail;
}

/* "a > table(x)" becomes "a,b > table(x,y)". */
static void widen(struct objects *out, struct sql_statement *row)
{
    struct object *last = &out->items[out->count - 1];
    char *what = NULL, *arrow = strstr(last->what, " > ");
    if (!arrow ||
        asprintf(&what, "%.*s,%s%.*s,%s)", (int)(arrow - last->what), last->what, sql_column_text(row, 3),
                 (int)strlen(arrow) - 1, arrow, sql_column_text(row, 4)) < 0) {
        out->failed = true;
        return;
    }
    free(last->what);
    last->what = what;
}

static void add_reference(struct objects *out, struct sql_statement *row)
{
    char what[400];
    if (sql_column_u64(row, 1) > 0 && out->count > 0) {
        widen(out, row);
        return;
    }
    snprintf(what, sizeof(what), "%s > %s(", sql_column_text(row, 3), sql_column_text(row, 2));
    size_t length = strlen(what);
    snprintf(what + length, sizeof(what) - length, "%s)", sql_column_text(row, 4));
    (void)objects_add(out, OBJECT_REFERENCE, sql_column_text(row, 0), NULL, what, NULL);
}

static void add_text(struct objects *out, struct sql_statement *row)
{
    char table[200], type[20], name[200];
    struct tokens tokens;
    snprintf(table, sizeof(table), "%s", sql_column_text(row, 0));
    snprintf(type, sizeof(type), "%s", sql_column_text(row, 1));
    snprintf(name, sizeof(name), "%s", sql_column_text(row, 2));
    if (tokens_read(&tokens, sql_column_text(row, 3), SQL_SQLITE) < 0) {
        out->failed = true;
        return;
    }
    if (strcmp(type, "table") == 0)
        objects_add_checks(out, table, &tokens);
    else if (strcmp(type, "trigger") == 0)
        objects_add_made(out, OBJECT_TRIGGER, table, name, &tokens);
    else if (strcmp(type, "view") == 0)
        objects_add_made(out, OBJECT_VIEW, table, name, &tokens);
    else if (strcmp(type, "index") == 0)
        objects_add_made(out, OBJECT_INDEX, table, name, &tokens);
    tokens_fini(&tokens);
}

int objects_find_sqlite(struct objects *out, struct sql *sql, struct failure *failure)
{
    static const struct objects_query queries[] = {
        {tables_text, add_table}, {columns_text, add_column},       {indexes_text, add_index},
        {rowids_text, add_rowid}, {collations_text, add_collation}, {references_text, add_reference},
        {texts_text, add_text},
    };
    return objects_read(out, sql, queries, sizeof(queries) / sizeof(*queries), failure);
}
