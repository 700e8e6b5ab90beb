/* permtabd --migrate mends the schema where it can: triggers, the counter's view, the guard and references that are
 * missing are made again from the migrations' own text; in SQLite a table is rebuilt from its rows.
 *
 * While something was missing, changes may have been made that the log does not tell, so no reader may go on from
 * rows that it read before. A mended store therefore begins a new page of its history: a change of kind 9, "read
 * everything again". Each sidecar that reaches it builds a new segment and makes Redis begin a new epoch, and no
 * fill that was read before it is published any more. Revisions go on, so tokens stay good.
 *
 * SQLite has all of it in one transaction. MySQL commits each statement, so the state says "mending" from before the
 * first until that change is committed: no sidecar believes the store meanwhile, and a repair that was stopped is
 * taken up again. */
#include "proxy/store/schema.h"

#include "proxy/base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MENDS_MAX 300u /* more than there are objects */

struct repair {
    struct sql *sql;
    struct schema *schema;
    struct failure *failure;
};

__attribute__((format(printf, 2, 3))) static int run(struct repair *repair, const char *format, ...)
{
    char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    int length = vasprintf(&text, format, arguments);
    va_end(arguments);
    if (length < 0)
        return failure_set(repair->failure, PERMTAB_E_MEMORY, "out of memory");
    int code = sql_execute(repair->sql, text, repair->failure);
    free(text);
    return code;
}

/* ---- a table of SQLite, made anew from its rows ----------------------------------------------------------------- */

/* Closes a text that was made by open_memstream, and returns it; NULL, and frees it, when some of it is missing. */
static char *finished(FILE *stream, char **text)
{
    bool cut = ferror(stream) != 0;
    if (fclose(stream) == 0 && !cut)
        return *text;
    free(*text);
    return NULL;
}

/* The names of the columns that must be there, with commas between. */
static char *columns_of(const struct schema *schema, const char *table)
{
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    if (!stream)
        return NULL;
    const char *between = "";
    for (size_t i = 0; i < schema->expected.count; i++) {
        const struct object *object = &schema->expected.items[i];
        if (object->kind != OBJECT_COLUMN || strcmp(object->table, table) != 0)
            continue;
        fprintf(stream, "%s\"%s\"", between, object->name);
        between = ", ";
    }
    return finished(stream, &text);
}

/* The texts of a table's indexes and triggers, as they were written: dropping the table drops them all. */
static int others_of(struct repair *repair, const char *table, char **out)
{
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    if (!stream)
        return failure_set(repair->failure, PERMTAB_E_MEMORY, "out of memory");
    struct sql_statement *st =
        sql_prepare_once(repair->sql,
                         "SELECT sql FROM sqlite_master WHERE type IN ('index', 'trigger')"
                         " AND sql IS NOT NULL AND tbl_name = ? COLLATE NOCASE ORDER BY rowid",
                         repair->failure);
    int code;
    sql_bind_text(st, 1, table);
    while ((code = sql_step(st, repair->failure)) > 0)
        fprintf(stream, "%s;\n", sql_column_text(st, 0));
    sql_discard(st);
    *out = finished(stream, &text);
    if (code == 0 && !*out)
        code = failure_set(repair->failure, PERMTAB_E_MEMORY, "out of memory");
    return code;
}

static int rebuild(struct repair *repair, const char *table)
{
    const struct object *made = objects_find(&repair->schema->expected, OBJECT_TABLE, table, "");
    const char *items = made ? strchr(made->sql, '(') : NULL;
    char *columns = columns_of(repair->schema, table), *others = NULL;
    int code = items && columns ? 0 : failure_set(repair->failure, PERMTAB_E_MEMORY, "out of memory");
    if (code == 0)
        code = others_of(repair, table, &others);
    if (code == 0)
        code = run(repair, "CREATE TABLE permtab_mend %s", items);
    if (code == 0)
        code = run(repair, "INSERT INTO permtab_mend (%s) SELECT %s FROM \"%s\"", columns, columns, table);
    if (code < 0)
        failure_wrap(repair->failure, "table %s cannot be rebuilt from its rows", table);
    if (code == 0)
        code = run(repair, "DROP TABLE \"%s\"; ALTER TABLE permtab_mend RENAME TO \"%s\"; %s", table, table,
                   others);
    free(columns);
    free(others);
    return code;
}

/* ---- one trouble ------------------------------------------------------------------------------------------------ */

/* Drops first an object of another kind that bears the name. */
static int make_again(struct repair *repair, const char *sort, const struct object *object)
{
    int code = run(repair, "DROP %s IF EXISTS %s", sort, object->name);
    return code < 0 ? code : sql_execute(repair->sql, object->sql, repair->failure);
}

/* "a,b > table(x,y)"; the server finds it a name, for ours may be that of something else by now. */
static int add_reference(struct repair *repair, const struct object *object)
{
    const char *arrow = strstr(object->what, " > ");
    return run(repair,
               "ALTER TABLE %s ADD FOREIGN KEY (%.*s) REFERENCES %s ON DELETE RESTRICT ON UPDATE RESTRICT",
               object->table, (int)(arrow - object->what), object->what, arrow + 3);
}

static int mend(struct repair *repair, const struct trouble *trouble)
{
    const struct object *object = trouble->expected ? trouble->expected : trouble->found;
    switch (trouble->kind) {
    case TROUBLE_TABLE_MISSING:
        return sql_execute(repair->sql, object->sql, repair->failure);
    case TROUBLE_VIEW_MISSING:
        return make_again(repair, "VIEW", object);
    case TROUBLE_COMFORT:
        return make_again(repair, object->kind == OBJECT_VIEW ? "VIEW" : "INDEX", object);
    case TROUBLE_TRIGGER_MISSING:
    case TROUBLE_TRIGGER_DIFFERENT:
        return make_again(repair, "TRIGGER", object);
    case TROUBLE_REFERENCE_MISSING:
        if (repair->schema->dialect == SQL_MYSQL)
            return add_reference(repair, object);
        return rebuild(repair, object->table);
    case TROUBLE_STRICT:
    case TROUBLE_ROWID:
    case TROUBLE_COLUMN_DIFFERENT:
    case TROUBLE_COLUMN_GENERATED:
    case TROUBLE_KEY:
    case TROUBLE_CHECK_MISSING:
    case TROUBLE_UNIQUE:
        return rebuild(repair, object->table);
    case TROUBLE_COLUMN_MISSING:
    case TROUBLE_ENGINE:
    case TROUBLE_PARTITIONED:
    case TROUBLE_CASCADES:
        break;
    }
    return PERMTAB_E_SCHEMA;
}

/* The first trouble that can be mended; objects for people (TROUBLE_COMFORT) come last. */
static const struct trouble *first_mendable(const struct schema *schema)
{
    const struct trouble *comfort = NULL;
    for (size_t i = 0; i < schema->trouble_count; i++) {
        const struct trouble *trouble = &schema->troubles[i];
        if (!trouble_mendable(schema, trouble))
            continue;
        if (trouble->kind != TROUBLE_COMFORT)
            return trouble;
        comfort = trouble;
    }
    return comfort;
}

static const struct trouble *first_hopeless(const struct schema *schema)
{
    for (size_t i = 0; i < schema->trouble_count; i++)
        if (schema->troubles[i].kind != TROUBLE_COMFORT && !trouble_mendable(schema, &schema->troubles[i]))
            return &schema->troubles[i];
    return NULL;
}

/* Reads the schema and mends the first thing in it. 1 when it did, 0 when nothing mendable is left; *history:
 * changes may have gone unseen. `last` is the trouble that was mended before: one that is there again does not stay
 * mended. */
static int mend_one(struct sql *sql, bool *history, struct failure *last, struct failure *failure)
{
    struct schema schema;
    struct failure said = {0};
    int code = schema_read(&schema, sql, failure);
    const struct trouble *trouble = code == 0 ? first_mendable(&schema) : NULL;
    if (trouble) {
        struct repair repair = {.sql = sql, .schema = &schema, .failure = failure};
        (void)trouble_say(&schema, trouble, &said);
        *history = *history || trouble->kind != TROUBLE_COMFORT;
        code = strcmp(last->text, said.text) == 0 ? failure_set(failure, PERMTAB_E_SCHEMA, "it is so again")
                                                  : mend(&repair, trouble);
        if (code < 0)
            failure_wrap(failure, "%s; but that failed", said.text);
        else
            log_warning("store: %s: done", said.text);
        *last = said;
        code = code < 0 ? code : 1;
    }
    schema_fini(&schema);
    return code;
}

/* ---- all of them ------------------------------------------------------------------------------------------------ */

static int begin_page(struct sql *sql, struct failure *failure)
{
    if (sql_dialect(sql) == SQL_SQLITE)
        return sql_execute(sql,
                           "INSERT INTO permtab_change (kind) VALUES (9);"
                           "UPDATE permtab_store SET schema_state = 'ready' WHERE schema_state <> 'ready'",
                           failure);
    int code = sql_begin(sql, SQL_WRITE, failure);
    if (code < 0)
        return code;
    code = sql_execute(sql, "UPDATE permtab_counter SET revision = revision + 1", failure);
    if (code == 0)
        code = sql_execute(
            sql, "INSERT INTO permtab_change (revision, kind) SELECT revision, 9 FROM permtab_counter",
            failure);
    if (code == 0)
        code = sql_execute(sql, "UPDATE permtab_store SET schema_state = 'ready'", failure);
    if (code == 0)
        return sql_commit(sql, failure);
    sql_rollback(sql);
    return code;
}

/* PERMTAB_E_SCHEMA when something has to be mended by hand: that comes first, and no half repair is made. Else 0;
 * *mendable: there is something to mend, and `failure` says the first of it. */
static int what_is_left(struct sql *sql, bool *mendable, struct failure *failure)
{
    struct schema schema;
    int code = schema_read(&schema, sql, failure);
    const struct trouble *hopeless = code == 0 ? first_hopeless(&schema) : NULL;
    const struct trouble *trouble = code == 0 ? first_mendable(&schema) : NULL;
    *mendable = !hopeless && trouble;
    if (hopeless)
        code = trouble_say(&schema, hopeless, failure);
    else if (trouble)
        (void)trouble_say(&schema, trouble, failure);
    schema_fini(&schema);
    return code;
}

bool schema_is_damaged(struct sql *sql)
{
    struct failure unused = {0};
    bool mendable = true;
    return what_is_left(sql, &mendable, &unused) < 0 || mendable;
}

int schema_repair(struct sql *sql, bool unfinished, struct failure *failure)
{
    bool mendable = false, history = unfinished;
    struct failure own = {0};
    failure = failure ? failure : &own;
    int rc = what_is_left(sql, &mendable, failure);
    if (rc < 0 || (!mendable && !unfinished))
        return rc;
    if (sql_dialect(sql) == SQL_MYSQL) {
        struct failure said = *failure;
        rc = sql_execute(sql, "UPDATE permtab_store SET schema_state = 'mending'", failure);
        if (rc < 0)
            return failure_wrap(failure, "%s; but that failed", said.text);
        history = true;
    }
    struct failure last = {0};
    rc = 1;
    for (unsigned i = 0; rc > 0 && i < MENDS_MAX; i++)
        rc = mend_one(sql, &history, &last, failure);
    /* what_is_left reports a failure; mends before it still need the new page of history. SQLite rolls all of it
     * back. */
    if (history && (rc >= 0 || sql_dialect(sql) == SQL_MYSQL)) {
        struct failure later = {0};
        int code = begin_page(sql, rc < 0 ? &later : failure);
        rc = rc < 0 ? rc : code;
    }
    return rc < 0 ? rc : what_is_left(sql, &mendable, failure);
}
