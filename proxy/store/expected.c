/* The expected schema, read from the migrations' own text, so that nothing has to be recorded in the store, and
 * each missing object comes with the statement that makes it again. It understands the SQL of conf/schema and no
 * other: CREATE of tables, triggers, views and indexes, and nothing that alters or drops them later. */
#include "proxy/store/schema.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct reader {
    struct objects *objects;
    enum sql_dialect dialect;
    const struct tokens *tokens;
    const char *table;
    const char *collation; /* of the table, MySQL */
    size_t at;
};

static bool is(const struct reader *reader, const char *word)
{
    return token_is(reader->tokens, reader->at, word);
}

static bool take(struct reader *reader, const char *word)
{
    bool found = is(reader, word);
    reader->at += found;
    return found;
}

/* Takes "(a, b)" as "a,b", malloc'ed, and goes on behind it. */
static char *take_names(struct reader *reader)
{
    size_t close = tokens_close(reader->tokens, reader->at);
    char *text = tokens_join(reader->tokens, reader->at + 1, close);
    reader->at = close + 1;
    if (!text)
        return NULL;
    char *to = text;
    for (const char *from = text; *from; from++)
        if (*from != ' ')
            *to++ = *from;
    *to = '\0';
    return text;
}

static void join_reference(char *out, size_t size, const char *columns, const char *table, const char *names)
{
    snprintf(out, size, "%s > %s(%s)", columns, table, names);
}

/* Reads on behind REFERENCES; all rules are RESTRICT. */
static void read_reference(struct reader *reader, const char *name, const char *columns)
{
    const char *table = reader->tokens->items[reader->at++];
    char *names = take_names(reader), what[400];
    if (!names) {
        reader->objects->failed = true;
        return;
    }
    join_reference(what, sizeof(what), columns, table, names);
    (void)objects_add(reader->objects, OBJECT_REFERENCE, reader->table, name, what, NULL);
    free(names);
    while (take(reader, "on"))
        reader->at += 2; /* DELETE RESTRICT, UPDATE RESTRICT */
}

/* Skips a value: a word, or a text in parentheses. */
static void skip_value(struct reader *reader)
{
    reader->at = is(reader, "(") ? tokens_close(reader->tokens, reader->at) + 1 : reader->at + 1;
}

static bool mentions_random(const struct tokens *tokens, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        if (token_is(tokens, i, "rand") || token_is(tokens, i, "random"))
            return true;
    return false;
}

struct column {
    const char *name, *type, *collation;
    bool is_unsigned;
    unsigned flags;
    unsigned long size;
};

static bool is_text(const struct column *column)
{
    return strcmp(column->type, "varchar") == 0 || strcmp(column->type, "text") == 0;
}

static void add_column(struct reader *reader, const struct column *column)
{
    char detail[120];
    bool collated = reader->dialect == SQL_MYSQL && is_text(column);
    snprintf(detail, sizeof(detail), "%s%s%s%s", column->type, column->is_unsigned ? " unsigned" : "",
             collated ? " " : "", collated ? column->collation : "");
    struct object *object =
        objects_add(reader->objects, OBJECT_COLUMN, reader->table, column->name, column->name, detail);
    if (!object)
        return;
    object->flags = column->flags;
    object->size = collated ? column->size : 0;
}

/* Reads a column: name type [(n)] and the rest, up to `end`. */
static void read_column(struct reader *reader, size_t end)
{
    const struct tokens *tokens = reader->tokens;
    struct column column = {.name = tokens->items[reader->at],
                            .type = tokens->items[reader->at + 1],
                            .collation = reader->collation};
    reader->at += 2;
    if (is(reader, "(")) {
        column.size = strtoul(tokens->items[reader->at + 1], NULL, 10);
        skip_value(reader);
    }
    while (reader->at < end) {
        size_t before = reader->at;
        if (take(reader, "unsigned")) {
            column.is_unsigned = true;
        } else if (take(reader, "collate")) {
            column.collation = tokens->items[reader->at++];
        } else if (take(reader, "not")) {
            column.flags |= OBJECT_NOT_NULL;
        } else if (take(reader, "primary")) {
            column.flags |= OBJECT_KEY;
        } else if (take(reader, "default")) {
            skip_value(reader);
            column.flags |= mentions_random(tokens, before, reader->at) ? OBJECT_RANDOM : 0;
        } else if (take(reader, "references")) {
            read_reference(reader, "", column.name);
        } else {
            skip_value(reader);
        }
    }
    add_column(reader, &column);
}

/* Reads PRIMARY KEY (…), whose columns have been read. */
static void read_primary_key(struct reader *reader)
{
    size_t close = tokens_close(reader->tokens, reader->at + 2);
    for (size_t i = reader->at + 3; i < close; i++)
        for (size_t k = 0; k < reader->objects->count; k++) {
            struct object *object = &reader->objects->items[k];
            if (object->kind == OBJECT_COLUMN && strcmp(object->table, reader->table) == 0 &&
                token_is(reader->tokens, i, object->name))
                object->flags |= OBJECT_KEY;
        }
}

static void read_item(struct reader *reader, size_t end)
{
    const char *name = "";
    if (take(reader, "constraint"))
        name = reader->tokens->items[reader->at++];
    if (is(reader, "primary")) {
        read_primary_key(reader);
    } else if (take(reader, "foreign")) {
        reader->at++; /* KEY */
        char *columns = take_names(reader);
        reader->at++; /* REFERENCES */
        if (columns)
            read_reference(reader, name, columns);
        else
            reader->objects->failed = true;
        free(columns);
    } else if (!is(reader, "check") && !is(reader, "key")) {
        read_column(reader, end);
    }
}

/* The collation of the table's texts, which stands at its end: "… COLLATE = ascii_bin". */
static const char *collation_of(const struct tokens *tokens, size_t from)
{
    for (size_t i = from; i + 2 < tokens->count; i++)
        if (token_is(tokens, i, "collate"))
            return tokens->items[i + 2];
    return "";
}

/* Reads CREATE TABLE name (item, item, …) … */
static void read_table(struct objects *objects, enum sql_dialect dialect, const struct tokens *tokens,
                       const char *text)
{
    size_t close = tokens_close(tokens, 3);
    struct reader reader = {.objects = objects,
                            .dialect = dialect,
                            .tokens = tokens,
                            .table = tokens->items[2],
                            .collation = collation_of(tokens, close),
                            .at = 4};
    struct object *table = objects_add(objects, OBJECT_TABLE, reader.table, reader.table, NULL,
                                       dialect == SQL_MYSQL ? "innodb" : "strict");
    if (table) {
        free(table->sql);
        table->sql = strdup(text);
        objects->failed = objects->failed || !table->sql;
    }
    for (size_t from = reader.at, i = from; i <= close; i++) {
        if (token_is(tokens, i, "(")) {
            i = tokens_close(tokens, i);
        } else if (token_is(tokens, i, ",") || i == close) {
            reader.at = from;
            read_item(&reader, i);
            from = i + 1;
        }
    }
    if (dialect == SQL_SQLITE)
        objects_add_checks(objects, reader.table, tokens);
}

void objects_add_checks(struct objects *objects, const char *table, const struct tokens *tokens)
{
    for (size_t i = 0; i + 1 < tokens->count; i++) {
        if (!token_is(tokens, i, "check") || !token_is(tokens, i + 1, "("))
            continue;
        char *what = tokens_join(tokens, i + 2, tokens_close(tokens, i + 1));
        objects_take(objects, OBJECT_CHECK, table, NULL, what);
    }
}

/* The index of the name in CREATE [UNIQUE] kind [IF NOT EXISTS] name. */
static size_t name_at(const struct tokens *tokens)
{
    size_t at = token_is(tokens, 1, "unique") ? 3 : 2;
    return token_is(tokens, at, "if") && token_is(tokens, at + 1, "not") ? at + 3 : at;
}

void objects_add_made(struct objects *objects, enum object_kind kind, const char *table, const char *name,
                      const struct tokens *tokens)
{
    size_t at = name_at(tokens) + 1;
    char *what = at <= tokens->count ? tokens_join(tokens, at, tokens->count) : NULL;
    objects_take(objects, kind, table, name, what);
}

/* Reads CREATE TRIGGER name time event ON table FOR EACH ROW body into the columns that MySQL shows. */
static void read_mysql_trigger(struct objects *objects, const struct tokens *tokens)
{
    char *body = tokens_join(tokens, 10, tokens->count), *what = NULL;
    if (body && asprintf(&what, "%s %s %s", tokens->items[3], tokens->items[4], body) < 0)
        what = NULL;
    objects_take(objects, OBJECT_TRIGGER, tokens->items[6], tokens->items[2], what);
    free(body);
}

/* SQLite: the table of "… ON table …"; a view belongs to itself. */
static const char *table_of(const struct tokens *tokens, const char *name)
{
    for (size_t i = 0; i + 1 < tokens->count; i++)
        if (token_is(tokens, i, "on"))
            return tokens->items[i + 1];
    return name;
}

static void read_made(struct objects *objects, enum sql_dialect dialect, const struct tokens *tokens,
                      const char *text)
{
    size_t before = objects->count;
    const char *name = tokens->items[2];
    if (token_is(tokens, 1, "trigger") && dialect == SQL_MYSQL)
        read_mysql_trigger(objects, tokens);
    else if (token_is(tokens, 1, "trigger"))
        objects_add_made(objects, OBJECT_TRIGGER, table_of(tokens, name), name, tokens);
    else if (token_is(tokens, 1, "view"))
        objects_add_made(objects, OBJECT_VIEW, name, name, tokens);
    else if (token_is(tokens, 1, "index"))
        objects_add_made(objects, OBJECT_INDEX, table_of(tokens, name), name, tokens);
    if (objects->count == before)
        return;
    struct object *object = &objects->items[before];
    free(object->sql);
    object->sql = strdup(text);
    objects->failed = objects->failed || !object->sql;
}

static int read_statement(struct objects *out, enum sql_dialect dialect, const char *text)
{
    struct tokens tokens;
    int code = tokens_read(&tokens, text, dialect);
    if (code < 0)
        return code;
    if (token_is(&tokens, 0, "create") && token_is(&tokens, 1, "table"))
        read_table(out, dialect, &tokens, text);
    else if (token_is(&tokens, 0, "create"))
        read_made(out, dialect, &tokens, text);
    tokens_fini(&tokens);
    return out->failed ? PERMTAB_E_MEMORY : 0;
}

int objects_expect(struct objects *out, enum sql_dialect dialect, struct failure *failure)
{
    int code = 0;
    const struct migration *migration;
    for (unsigned number = 1; code == 0 && (migration = migration_find(dialect, number)) != NULL; number++) {
        struct splitter splitter = SPLITTER(migration->text);
        char *text = NULL;
        while (code == 0 && (code = splitter_next(&splitter, &text)) > 0) {
            code = read_statement(out, dialect, text);
            free(text);
        }
    }
    return code < 0 ? failure_set(failure, code, "out of memory") : 0;
}
