/* A trouble of the schema as a sentence: what is there, why that is refused, and how it is mended. */
#include "proxy/store/schema.h"

#include <stdio.h>
#include <string.h>

static bool is_guard(const struct trouble *trouble)
{
    return strcmp(trouble->expected->name, "permtab_guard") == 0;
}

/* Whether the table has objects of its owner's that would be lost if it were made anew from its rows. */
static bool has_more(const struct schema *schema, const char *table)
{
    for (size_t i = 0; i < schema->found.count; i++) {
        const struct object *object = &schema->found.items[i];
        bool counts = object->kind == OBJECT_COLUMN || object->kind == OBJECT_REFERENCE;
        if (counts && strcmp(object->table, table) == 0 &&
            !objects_find(&schema->expected, object->kind, table, object->what))
            return true;
    }
    return false;
}

/* Whether every expected column is there, so that the rows can be copied. */
static bool has_all(const struct schema *schema, const char *table)
{
    for (size_t i = 0; i < schema->expected.count; i++) {
        const struct object *object = &schema->expected.items[i];
        if (object->kind == OBJECT_COLUMN && strcmp(object->table, table) == 0 &&
            !objects_find(&schema->found, OBJECT_COLUMN, table, object->what))
            return false;
    }
    return true;
}

bool trouble_mendable(const struct schema *schema, const struct trouble *trouble)
{
    const struct object *object = trouble->found ? trouble->found : trouble->expected;
    bool rebuilds =
        schema->dialect == SQL_SQLITE && !has_more(schema, object->table) && has_all(schema, object->table);
    switch (trouble->kind) {
    case TROUBLE_TABLE_MISSING: /* the guard has no rows to lose; the rows of other tables are gone */
        return is_guard(trouble) && !trouble->found;
    case TROUBLE_VIEW_MISSING:
        return !trouble->found || trouble->found->kind == OBJECT_VIEW;
    case TROUBLE_TRIGGER_MISSING:
    case TROUBLE_TRIGGER_DIFFERENT:
        return true;
    case TROUBLE_COMFORT:
        return !trouble->found || trouble->found->kind == trouble->expected->kind;
    case TROUBLE_REFERENCE_MISSING:
        return schema->dialect == SQL_MYSQL || rebuilds;
    case TROUBLE_STRICT:
    case TROUBLE_ROWID:
    case TROUBLE_COLUMN_DIFFERENT:
    case TROUBLE_COLUMN_GENERATED:
    case TROUBLE_KEY:
    case TROUBLE_CHECK_MISSING:
        return rebuilds;
    case TROUBLE_UNIQUE:
        return rebuilds && (object->flags & OBJECT_CONSTRAINT);
    case TROUBLE_COLUMN_MISSING:
    case TROUBLE_ENGINE:
    case TROUBLE_PARTITIONED:
    case TROUBLE_CASCADES:
        return false;
    }
    return false;
}

#define SAY(...)  failure_set(failure, PERMTAB_E_SCHEMA, "the schema of the store was changed: " __VA_ARGS__)
#define AGAIN     "permtabd --migrate makes it again"
#define OR_HIDDEN " (or this account may not see it: it needs TRIGGER on the database)"

/* How a table is mended: by the program, or by a person who knows the purpose of columns and references besides
 * ours. */
static const char *rebuild(const struct schema *schema, const struct trouble *trouble)
{
    if (trouble_mendable(schema, trouble))
        return "permtabd --migrate rebuilds the table";
    return schema->dialect == SQL_MYSQL ? "change it back with ALTER TABLE, as conf/schema/mysql has it"
                                        : "rebuild the table by hand, as conf/schema/sqlite has it, for it "
                                          "has columns or references of its own";
}

static int say_table(const struct schema *schema, const struct trouble *trouble, struct failure *failure)
{
    const char *name = trouble->expected->name;
    if (trouble->kind == TROUBLE_ENGINE)
        return SAY("table %s has the engine %s, whose rows change outside of transactions: ALTER TABLE %s "
                   "ENGINE = InnoDB",
                   name, trouble->found->detail, name);
    if (trouble->kind == TROUBLE_PARTITIONED)
        return SAY("table %s is partitioned, and who drops or exchanges a partition changes rows that no "
                   "trigger sees: "
                   "ALTER TABLE %s REMOVE PARTITIONING",
                   name, name);
    if (trouble->kind == TROUBLE_STRICT)
        return SAY("table %s is not STRICT any more, so that ids may be kept as texts or fractions: %s", name,
                   rebuild(schema, trouble));
    if (trouble->kind == TROUBLE_ROWID)
        return SAY("table %s has a hidden rowid beside its key, and REPLACE by that deletes rows that no "
                   "trigger sees: %s",
                   name, rebuild(schema, trouble));
    if (trouble->found)
        return SAY("%s is a view and must be a table: drop the view, and restore the table from a backup",
                   name);
    if (is_guard(trouble))
        return SAY("table %s is missing, without which TRUNCATE and DROP TABLE go through unseen: " AGAIN,
                   name);
    return SAY("table %s is missing, and its rows with it: restore a backup that has it", name);
}

static int say_column(const struct schema *schema, const struct trouble *trouble, struct failure *failure)
{
    const struct object *object = trouble->found ? trouble->found : trouble->expected;
    const char *table = object->table, *name = object->name;
    if (trouble->kind == TROUBLE_COLUMN_MISSING)
        return SAY("column %s.%s is missing: if it was renamed, ALTER TABLE %s RENAME COLUMN … TO %s; if it "
                   "was dropped, "
                   "restore a backup that has it",
                   table, name, table, name);
    if (trouble->kind == TROUBLE_COLUMN_GENERATED)
        return SAY("column %s.%s is computed, and what it is computed from may change without a trigger: %s",
                   table, name, rebuild(schema, trouble));
    if (trouble->kind == TROUBLE_KEY)
        return SAY("column %s.%s is %s the primary key, whose rows so mean something else: %s", table, name,
                   object->flags & OBJECT_KEY ? "now part of" : "no longer part of",
                   rebuild(schema, trouble));
    unsigned lost = trouble->expected->flags & ~trouble->found->flags;
    if (lost & OBJECT_RANDOM)
        return SAY("column %s.%s has lost its random default, by which one history is told from another: %s",
                   table, name, rebuild(schema, trouble));
    if (lost & OBJECT_NOT_NULL)
        return SAY("column %s.%s takes NULL, which means nothing there: %s", table, name,
                   rebuild(schema, trouble));
    if (trouble->found->size < trouble->expected->size)
        return SAY("column %s.%s takes %lu characters and must take %lu: %s", table, name,
                   trouble->found->size, trouble->expected->size, rebuild(schema, trouble));
    return SAY("column %s.%s is %s and must be %s: %s", table, name, trouble->found->detail,
               trouble->expected->detail, rebuild(schema, trouble));
}

static int say_reference(const struct schema *schema, const struct trouble *trouble, struct failure *failure)
{
    const struct object *object = trouble->found ? trouble->found : trouble->expected;
    if (trouble->kind == TROUBLE_CASCADES)
        return SAY("reference %s of %s (%s) has ON DELETE or ON UPDATE with CASCADE or SET NULL, which makes "
                   "changes that no "
                   "trigger sees: ALTER TABLE %s DROP FOREIGN KEY %s, then add it with RESTRICT%s",
                   object->name, object->table, object->what, object->table, object->name,
                   trouble->expected ? " (permtabd --migrate does)" : "");
    return SAY("reference of %s (%s) is missing%s: %s", object->table, object->what,
               schema->dialect == SQL_MYSQL ? OR_HIDDEN : "",
               schema->dialect == SQL_MYSQL ? AGAIN : rebuild(schema, trouble));
}

static int say_trigger(const struct schema *schema, const struct trouble *trouble, struct failure *failure)
{
    const char *name = trouble->expected->name;
    if (trouble->kind == TROUBLE_TRIGGER_DIFFERENT)
        return SAY("trigger %s is different, and may leave changes unseen: " AGAIN, name);
    return SAY("trigger %s is missing%s, and without it changes go unseen or rules unkept: " AGAIN, name,
               schema->dialect == SQL_MYSQL ? OR_HIDDEN : "");
}

static int say_unique(const struct schema *schema, const struct trouble *trouble, struct failure *failure)
{
    const struct object *index = trouble->found;
    if (index->flags & OBJECT_CONSTRAINT)
        return SAY(
            "table %s has another unique key, and REPLACE by that deletes rows that no trigger sees: %s",
            index->table, rebuild(schema, trouble));
    return SAY(
        "unique index %s was added to %s, and REPLACE by it deletes rows that no trigger sees: DROP INDEX %s",
        index->name, index->table, index->name);
}

int trouble_say(const struct schema *schema, const struct trouble *trouble, struct failure *failure)
{
    switch (trouble->kind) {
    case TROUBLE_TABLE_MISSING:
    case TROUBLE_ENGINE:
    case TROUBLE_PARTITIONED:
    case TROUBLE_STRICT:
    case TROUBLE_ROWID:
        return say_table(schema, trouble, failure);
    case TROUBLE_VIEW_MISSING:
    case TROUBLE_COMFORT:
        return SAY("%s %s: %s", trouble->expected->name,
                   !trouble->found                        ? "is missing"
                   : trouble->found->kind == OBJECT_TABLE ? "is a table and must be a view"
                                                          : "is different",
                   trouble_mendable(schema, trouble) ? AGAIN : "drop it, then permtabd --migrate makes it");
    case TROUBLE_COLUMN_MISSING:
    case TROUBLE_COLUMN_DIFFERENT:
    case TROUBLE_COLUMN_GENERATED:
    case TROUBLE_KEY:
        return say_column(schema, trouble, failure);
    case TROUBLE_REFERENCE_MISSING:
    case TROUBLE_CASCADES:
        return say_reference(schema, trouble, failure);
    case TROUBLE_CHECK_MISSING:
        return SAY("a check of %s is missing (%s): %s", trouble->expected->table, trouble->expected->what,
                   rebuild(schema, trouble));
    case TROUBLE_UNIQUE:
        return say_unique(schema, trouble, failure);
    case TROUBLE_TRIGGER_MISSING:
    case TROUBLE_TRIGGER_DIFFERENT:
        return say_trigger(schema, trouble, failure);
    }
    return PERMTAB_E_SCHEMA;
}
