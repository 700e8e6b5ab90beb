/* Batches come in three fixed sizes, so that a connection keeps a few prepared statements for each table whatever
 * the number of rows. Smaller batches take the rows that large ones leave over. */
#include "proxy/document/batch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const size_t batch_sizes[] = {256, 16, 1};

static char *batch_statement(const struct batch_shape *shape, size_t rows)
{
    size_t row = strlen(shape->row), glue = strlen(shape->glue), head = strlen(shape->head);
    size_t size = head + rows * (row + glue) + strlen(shape->tail) + 1;
    char *text = malloc(size);
    if (text == NULL)
        return NULL;
    char *at = text;
    memcpy(at, shape->head, head);
    at += head;
    for (size_t i = 0; i < rows; i++) {
        if (i > 0) {
            memcpy(at, shape->glue, glue);
            at += glue;
        }
        memcpy(at, shape->row, row);
        at += row;
    }
    strcpy(at, shape->tail);
    return text;
}

/* Runs as many batches of one size as fit into the rows that are left. */
static int run_size(struct sql *sql, const struct batch *batch, size_t rows, size_t *done,
                    struct failure *failure)
{
    int code = 0;
    if (batch->count - *done < rows)
        return 0;
    char *text = batch_statement(&batch->shape, rows);
    if (text == NULL)
        return failure_set(failure, PERMTAB_E_MEMORY, "out of memory");
    while (code >= 0 && batch->count - *done >= rows) {
        struct sql_statement *statement = sql_prepare_built(sql, text, failure);
        for (size_t i = 0; i < rows; i++)
            batch->bind(batch->context, *done + i, statement, (unsigned)i * batch->shape.parameters + 1);
        code = batch->take != NULL ? sql_each(statement, batch->take, batch->context, failure)
                                   : sql_run(statement, failure);
        *done += rows;
    }
    free(text);
    return code;
}

int batch_run(struct sql *sql, const struct batch *batch, struct failure *failure)
{
    size_t done = 0;
    int code = 0;
    for (size_t i = 0; code >= 0 && i < sizeof batch_sizes / sizeof *batch_sizes; i++)
        if (!batch->shape.single || batch_sizes[i] == 1)
            code = run_size(sql, batch, batch_sizes[i], &done, failure);
    return code;
}

static void append(char text[BATCH_HEAD_SIZE], const char *more)
{
    size_t used = strlen(text);
    snprintf(text + used, BATCH_HEAD_SIZE - used, "%s", more);
}

struct batch_shape batch_where(enum sql_dialect dialect, struct batch_text *text, const char *verb,
                               const char *const *columns, unsigned column_count)
{
    snprintf(text->head, sizeof text->head, "%s WHERE ", verb);
    snprintf(text->row, sizeof text->row, "(");
    for (unsigned i = 0; i < column_count; i++) {
        append(text->row, i > 0 ? " AND " : "");
        append(text->row, columns[i]);
        append(text->row, " = ?");
    }
    append(text->row, ")");
    return (struct batch_shape){
        .head = text->head,
        .row = text->row,
        .glue = " OR ",
        .tail = "",
        .parameters = column_count,
        .single = dialect == SQL_SQLITE,
    };
}

/* The hint is for MariaDB: without it, it notices that all keys of a batch are of one scope, say, and reads the
 * whole scope. */
struct batch_shape batch_select(enum sql_dialect dialect, struct batch_text *text, const char *verb,
                                const char *const *columns, unsigned column_count)
{
    char hinted[BATCH_HEAD_SIZE];
    snprintf(hinted, sizeof hinted, "%s%s", verb, dialect == SQL_MYSQL ? " FORCE INDEX (PRIMARY)" : "");
    return batch_where(dialect, text, hinted, columns, column_count);
}

struct batch_shape batch_delete(enum sql_dialect dialect, struct batch_text *text, const char *table,
                                const char *const *columns, unsigned column_count)
{
    char verb[BATCH_HEAD_SIZE];
    if (dialect == SQL_MYSQL)
        snprintf(verb, sizeof verb, "DELETE %s FROM %s FORCE INDEX (PRIMARY)", table, table);
    else
        snprintf(verb, sizeof verb, "DELETE FROM %s", table);
    return batch_where(dialect, text, verb, columns, column_count);
}
