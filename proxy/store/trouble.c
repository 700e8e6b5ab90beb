/* Compares the schema with the expected one, by the function of objects and not by their names. A difference is
 * refused only when it makes changes that no trigger sees, or makes rows mean something else: columns, references,
 * triggers, checks and indexes that an application adds are its own. */
#include "proxy/store/schema.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define TROUBLES_MAX 256u

static void add(struct schema *schema, enum trouble_kind kind, const struct object *expected,
                const struct object *found)
{
    if (schema->trouble_count < TROUBLES_MAX)
        schema->troubles[schema->trouble_count++] =
            (struct trouble){.kind = kind, .expected = expected, .found = found};
}

/* ---- what is there and must not be ------------------------------------------------------------------------------ */

static void judge_table(struct schema *schema, const struct object *table)
{
    bool sqlite = schema->dialect == SQL_SQLITE;
    const struct object *expected = objects_find(&schema->expected, OBJECT_TABLE, table->table, "");
    if (!expected)
        return;
    if (strcmp(table->detail, expected->detail) != 0)
        add(schema, sqlite ? TROUBLE_STRICT : TROUBLE_ENGINE, expected, table);
    if (table->flags & OBJECT_PARTITIONED)
        add(schema, TROUBLE_PARTITIONED, expected, table);
    if (table->flags & OBJECT_ROWID)
        add(schema, TROUBLE_ROWID, expected, table);
}

static void judge_column(struct schema *schema, const struct object *column)
{
    const struct object *expected =
        objects_find(&schema->expected, OBJECT_COLUMN, column->table, column->what);
    if (!expected && (column->flags & OBJECT_KEY))
        add(schema, TROUBLE_KEY, NULL, column);
    if (!expected)
        return;
    unsigned lost = expected->flags & ~column->flags;
    if (column->flags & OBJECT_GENERATED)
        add(schema, TROUBLE_COLUMN_GENERATED, expected, column);
    else if (strcmp(column->detail, expected->detail) != 0 || column->size < expected->size ||
             (lost & (OBJECT_NOT_NULL | OBJECT_RANDOM)))
        add(schema, TROUBLE_COLUMN_DIFFERENT, expected, column);
    if ((expected->flags ^ column->flags) & OBJECT_KEY)
        add(schema, TROUBLE_KEY, expected, column);
}

static void judge_found(struct schema *schema, const struct object *object)
{
    if (!objects_find(&schema->expected, OBJECT_TABLE, object->table, "") ||
        !objects_find(&schema->found, OBJECT_TABLE, object->table, ""))
        return; /* an object of another's table with a name like ours, or of a view in a table's place */
    switch (object->kind) {
    case OBJECT_TABLE:
        judge_table(schema, object);
        break;
    case OBJECT_COLUMN:
        judge_column(schema, object);
        break;
    case OBJECT_REFERENCE: /* SQLite's cascades fire triggers, and nothing is unseen */
        if (object->flags & OBJECT_CASCADES)
            add(schema, TROUBLE_CASCADES,
                objects_find(&schema->expected, OBJECT_REFERENCE, object->table, object->what), object);
        break;
    case OBJECT_INDEX:
        if (object->flags & OBJECT_UNIQUE)
            add(schema, TROUBLE_UNIQUE, NULL, object);
        break;
    case OBJECT_VIEW:
    case OBJECT_CHECK:
    case OBJECT_TRIGGER:
        break;
    }
}

/* ---- what must be there ----------------------------------------------------------------------------------------- */

/* Whether the object is for people alone: the sidecar reads one of the views. */
static bool is_comfort(const struct object *object)
{
    return object->kind == OBJECT_INDEX ||
           (object->kind == OBJECT_VIEW && strcmp(object->name, "permtab_counter") != 0);
}

static enum trouble_kind missing_kind(const struct schema *schema, const struct object *expected)
{
    if (is_comfort(expected))
        return TROUBLE_COMFORT;
    switch (expected->kind) {
    case OBJECT_TABLE:
        return TROUBLE_TABLE_MISSING;
    case OBJECT_VIEW:
    case OBJECT_INDEX:
        return TROUBLE_VIEW_MISSING;
    case OBJECT_COLUMN:
        return TROUBLE_COLUMN_MISSING;
    case OBJECT_REFERENCE:
        return TROUBLE_REFERENCE_MISSING;
    case OBJECT_CHECK:
        return TROUBLE_CHECK_MISSING;
    case OBJECT_TRIGGER:
        break;
    }
    return objects_named(&schema->found, OBJECT_TRIGGER, expected->name) ? TROUBLE_TRIGGER_DIFFERENT
                                                                         : TROUBLE_TRIGGER_MISSING;
}

/* An object that bears the name of a missing one: a trigger with another body, a view in the place of a table. */
static const struct object *namesake(const struct schema *schema, const struct object *expected)
{
    switch (expected->kind) {
    case OBJECT_TABLE:
        return objects_named(&schema->found, OBJECT_VIEW, expected->name);
    case OBJECT_VIEW: {
        const struct object *table = objects_named(&schema->found, OBJECT_TABLE, expected->name);
        return table ? table : objects_named(&schema->found, OBJECT_VIEW, expected->name);
    }
    case OBJECT_TRIGGER:
    case OBJECT_INDEX:
        return objects_named(&schema->found, expected->kind, expected->name);
    case OBJECT_COLUMN:
    case OBJECT_REFERENCE:
    case OBJECT_CHECK:
        break;
    }
    return NULL;
}

static void judge_expected(struct schema *schema, const struct object *expected)
{
    if (objects_find(&schema->found, expected->kind, expected->table, expected->what))
        return;
    /* A missing table is one trouble: its columns and triggers are not told. */
    if (expected->kind != OBJECT_TABLE && expected->kind != OBJECT_VIEW &&
        !objects_find(&schema->found, OBJECT_TABLE, expected->table, "") &&
        objects_find(&schema->expected, OBJECT_TABLE, expected->table, ""))
        return;
    add(schema, missing_kind(schema, expected), expected, namesake(schema, expected));
}

int schema_read(struct schema *out, struct sql *sql, struct failure *failure)
{
    memset(out, 0, sizeof(*out));
    out->dialect = sql_dialect(sql);
    out->troubles = calloc(TROUBLES_MAX, sizeof(*out->troubles));
    if (!out->troubles)
        return failure_set(failure, PERMTAB_E_MEMORY, "out of memory");
    int code = objects_expect(&out->expected, out->dialect, failure);
    if (code == 0)
        code = out->dialect == SQL_SQLITE ? objects_find_sqlite(&out->found, sql, failure)
                                          : objects_find_mysql(&out->found, sql, failure);
    for (size_t i = 0; code == 0 && i < out->found.count; i++)
        judge_found(out, &out->found.items[i]);
    for (size_t i = 0; code == 0 && i < out->expected.count; i++)
        judge_expected(out, &out->expected.items[i]);
    return code;
}

void schema_fini(struct schema *schema)
{
    objects_fini(&schema->expected);
    objects_fini(&schema->found);
    free(schema->troubles);
    memset(schema, 0, sizeof(*schema));
}

const struct trouble *schema_refuses(const struct schema *schema)
{
    for (size_t i = 0; i < schema->trouble_count; i++)
        if (schema->troubles[i].kind != TROUBLE_COMFORT)
            return &schema->troubles[i];
    return NULL;
}
