/* Statements for many rows at a time, with parameters: multi-row inserts, deletes and look-ups by lists of keys. */
#ifndef PERMTAB_DOCUMENT_BATCH_H
#define PERMTAB_DOCUMENT_BATCH_H

#include "proxy/store/sql.h"

/* A statement's text: `head`, then `row` once for each row of the batch with `glue` between, then `tail`. */
struct batch_shape {
    const char *head;
    const char *row;
    const char *glue;
    const char *tail;
    unsigned parameters; /* in a row */
    bool single;         /* one row at a time */
};

struct batch {
    struct batch_shape shape;
    size_t count; /* rows in all */
    /* bind: binds row `index` to the parameters from `first` on. Texts must live until batch_run returns. */
    void (*bind)(void *context, size_t index, struct sql_statement *statement, unsigned first);
    /* take: gets a row of the result; NULL for statements without a result. A negative return stops. */
    int (*take)(void *context, struct sql_statement *statement);
    void *context;
};

/* PERMTAB_E_MEMORY, or a code of sql_step. */
int batch_run(struct sql *sql, const struct batch *batch, struct failure *failure) PERMTAB_MUST_CHECK;

#define BATCH_HEAD_SIZE 512
struct batch_text {
    char head[BATCH_HEAD_SIZE];
    char row[BATCH_HEAD_SIZE];
};
/* Shapes of "… WHERE these columns are one of these keys". The columns of batch_select and batch_delete are the
 * first of the table's primary key; `verb` is everything before WHERE. SQLite would scan the table for a list of
 * keys, so it gets one key at a time; that costs no round trip inside this process. */
struct batch_shape batch_where(enum sql_dialect dialect, struct batch_text *text, const char *verb,
                               const char *const *columns, unsigned column_count);
struct batch_shape batch_select(enum sql_dialect dialect, struct batch_text *text, const char *verb,
                                const char *const *columns, unsigned column_count);
struct batch_shape batch_delete(enum sql_dialect dialect, struct batch_text *text, const char *table,
                                const char *const *columns, unsigned column_count);

#endif
