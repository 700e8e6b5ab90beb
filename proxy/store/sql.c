/* The part of SQL that does not depend on the database: which driver a URL means, and the statements that a
 * connection keeps. A statement is kept under the address of its constant text, so a look-up is a comparison of
 * pointers; texts built at run time are kept by content, a few of them. Left to others: the databases, to the
 * drivers; the statements' texts, to the other files of store/ and to document/. */
#include "proxy/store/sql.h"

#include "proxy/store/sql_driver.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static const struct sql_driver *driver_of(enum sql_dialect dialect)
{
    switch (dialect) {
    case SQL_SQLITE:
        return &store_sqlite_driver;
    case SQL_MYSQL:
        return &store_mysql_driver;
    }
    return NULL;
}

int sql_connect(struct sql **out, const struct sql_options *options, struct failure *failure)
{
    struct sql_address address;
    int code = sql_address_parse(&address, options->url, failure);
    if (code < 0)
        return code;
    const struct sql_driver *driver = driver_of(address.dialect);
    code = driver->connect(out, &address, options, failure);
    if (code < 0)
        return code;
    (*out)->driver = driver;
    (*out)->dialect = address.dialect;
    (*out)->read_only = options->read_only;
    (*out)->timeout_s = options->timeout_s;
    (*out)->url = strdup(options->url);
    (*out)->password = strdup(options->password ? options->password : "");
    if ((*out)->url && (*out)->password)
        return 0;
    sql_close(*out);
    *out = NULL;
    return failure_set(failure, PERMTAB_E_MEMORY, "out of memory");
}

int sql_reconnect(struct sql **sql, struct failure *failure)
{
    struct sql_options options = {.url = (*sql)->url,
                                  .password = (*sql)->password,
                                  .read_only = (*sql)->read_only,
                                  .timeout_s = (*sql)->timeout_s};
    struct sql *anew = NULL;
    int code = sql_connect(&anew, &options, failure);
    if (code < 0)
        return code;
    anew->gate = (*sql)->gate;
    sql_close(*sql);
    *sql = anew;
    return 0;
}

int sql_create(const struct sql_options *options, struct failure *failure)
{
    struct sql_address address;
    int code = sql_address_parse(&address, options->url, failure);
    if (code < 0)
        return code;
    const struct sql_driver *driver = driver_of(address.dialect);
    return driver->create ? driver->create(&address, failure) : 0;
}

void sql_close(struct sql *sql)
{
    if (!sql)
        return;
    for (unsigned i = 0; i < sql->constant_count; i++)
        sql->driver->free(sql->constant[i].statement);
    for (unsigned i = 0; i < sql->built_count; i++) {
        sql->driver->free(sql->built[i].statement);
        free((char *)sql->built[i].text);
    }
    free(sql->url);
    if (sql->password)
        explicit_bzero(sql->password, strlen(sql->password));
    free(sql->password);
    sql->driver->close(sql);
}

enum sql_dialect sql_dialect(const struct sql *sql)
{
    return sql->dialect;
}

bool sql_broken(const struct sql *sql)
{
    return sql->broken;
}

bool sql_alive(struct sql *sql)
{
    if (!sql->broken && sql->driver->alive != NULL && !sql->driver->alive(sql))
        sql->broken = true;
    return !sql->broken;
}

void sql_use_gate(struct sql *sql, struct gate *gate)
{
    sql->gate = gate;
}

struct gate *sql_gate(const struct sql *sql)
{
    return sql->gate;
}

bool sql_moved(struct sql *sql)
{
    return sql->driver->moved(sql);
}

bool sql_settle(struct sql *sql)
{
    return sql->driver->settle && sql->driver->settle(sql);
}

/* A broken connection may still be in a transaction that could not be ended: what it reads is of an old moment, and
 * what it writes is not committed, or together with what was to be taken back. */
static int refuse(struct failure *failure)
{
    return failure_set(failure, PERMTAB_E_STORE, "the connection to the store is of no further use");
}

int sql_begin(struct sql *sql, enum sql_begin how, struct failure *failure)
{
    if (how == SQL_WRITE && sql->read_only)
        return failure_set(failure, PERMTAB_E_INVALID, "this connection to the store is for reading only");
    if (sql->broken)
        return refuse(failure);
    if (sql->begun) { /* MySQL would commit what somebody has left open */
        sql->broken = true;
        return refuse(failure);
    }
    sql->again = false;
    int code = sql->driver->begin(sql, how, failure);
    sql->begun = code >= 0;
    return code;
}

int sql_commit(struct sql *sql, struct failure *failure)
{
    if (sql->again || sql->broken) {
        sql_rollback(sql);
        return failure_set(failure, PERMTAB_E_STORE_AGAIN, "the store has rolled the transaction back");
    }
    sql->begun = false;
    int code = sql->driver->commit(sql, failure);
    if (code == PERMTAB_E_STORE_UNSURE)
        sql->broken = true;
    return code;
}

int commit_unsure(struct failure *failure)
{
    (void)failure_wrap(failure, "the commit failed, and whether it was done is unknown");
    if (failure)
        failure->code = PERMTAB_E_STORE_UNSURE;
    return PERMTAB_E_STORE_UNSURE;
}

void sql_rollback(struct sql *sql)
{
    sql->again = sql->begun = false;
    sql->driver->rollback(sql);
}

int sql_execute(struct sql *sql, const char *text, struct failure *failure)
{
    return sql->broken ? refuse(failure) : sql->driver->execute(sql, text, failure);
}

uint64_t sql_changes(const struct sql *sql)
{
    return sql->changes;
}

struct sql_statement *sql_prepare(struct sql *sql, const char *text, struct failure *failure)
{
    for (unsigned i = 0; i < sql->constant_count; i++) {
        if (sql->constant[i].text == text) {
            sql_reset(sql->constant[i].statement);
            return sql->constant[i].statement;
        }
    }
    /* The number of constant texts is known at compile time. */
    assert(sql->constant_count < SQL_STATEMENTS_MAX);
    struct sql_statement *statement = sql->driver->prepare(sql, text, failure);
    if (!statement)
        return NULL;
    statement->sql = sql;
    sql->constant[sql->constant_count++] = (struct sql_kept){.text = text, .statement = statement};
    return statement;
}

struct sql_statement *sql_prepare_once(struct sql *sql, const char *text, struct failure *failure)
{
    struct sql_statement *statement = sql->driver->prepare(sql, text, failure);
    if (statement)
        statement->sql = sql;
    return statement;
}

void sql_discard(struct sql_statement *statement)
{
    if (!statement)
        return;
    sql_reset(statement);
    statement->sql->driver->free(statement);
}

/* A place for one more built statement: a new one, or that of the least recently used one that is at rest. A running
 * one is never taken from under its user. */
static struct sql_kept *built_place(struct sql *sql)
{
    if (sql->built_count < SQL_BUILT_MAX)
        return &sql->built[sql->built_count];
    struct sql_kept *oldest = NULL;
    for (unsigned i = 0; i < sql->built_count; i++) {
        struct sql_kept *kept = &sql->built[i];
        if (kept->statement->state == SQL_RUNNING)
            continue;
        if (!oldest || kept->used < oldest->used)
            oldest = kept;
    }
    return oldest;
}

struct sql_statement *sql_prepare_built(struct sql *sql, const char *text, struct failure *failure)
{
    for (unsigned i = 0; i < sql->built_count; i++) {
        if (strcmp(sql->built[i].text, text) == 0) {
            sql->built[i].used = ++sql->clock;
            sql_reset(sql->built[i].statement);
            return sql->built[i].statement;
        }
    }
    struct sql_kept *place = built_place(sql);
    assert(place);
    char *copy = strdup(text);
    if (!copy) {
        failure_set(failure, PERMTAB_E_MEMORY, "out of memory");
        return NULL;
    }
    struct sql_statement *statement = sql->driver->prepare(sql, copy, failure);
    if (!statement) {
        free(copy);
        return NULL;
    }
    statement->sql = sql;
    if (place == &sql->built[sql->built_count]) {
        sql->built_count++;
    } else {
        sql->driver->free(place->statement);
        free((char *)place->text);
    }
    *place = (struct sql_kept){.text = copy, .statement = statement, .used = ++sql->clock};
    return statement;
}

static void bind(struct sql_statement *statement, unsigned index, struct sql_value value)
{
    if (!statement)
        return;
    assert(statement->state == SQL_AT_REST);
    statement->sql->driver->bind(statement, index, value);
}

void sql_bind_u64(struct sql_statement *statement, unsigned index, uint64_t value)
{
    bind(statement, index, (struct sql_value){.type = SQL_VALUE_U64, .number = value});
}

void sql_bind_i64(struct sql_statement *statement, unsigned index, int64_t value)
{
    bind(statement, index, (struct sql_value){.type = SQL_VALUE_I64, .number = (uint64_t)value});
}

void sql_bind_text(struct sql_statement *statement, unsigned index, const char *value)
{
    bind(statement, index,
         (struct sql_value){.type = value ? SQL_VALUE_TEXT : SQL_VALUE_NULL, .text = value});
}

void sql_bind_null(struct sql_statement *statement, unsigned index)
{
    bind(statement, index, (struct sql_value){.type = SQL_VALUE_NULL});
}

int sql_step(struct sql_statement *statement, struct failure *failure)
{
    if (!statement)
        return failure && failure->code < 0 ? failure->code : PERMTAB_E_STORE;
    struct sql *sql = statement->sql;
    if (statement->state == SQL_DONE)
        return 0;
    if (sql->again)
        return failure_set(failure, PERMTAB_E_STORE_AGAIN, "the store has rolled the transaction back");
    if (sql->broken && statement->state == SQL_AT_REST)
        return refuse(failure);
    int rc = sql->driver->step(statement, failure);
    statement->state = rc > 0 ? SQL_RUNNING : SQL_DONE;
    if (rc == PERMTAB_E_STORE_AGAIN) {
        /* The whole transaction is repeated, so none of it may stay: a lock wait that timed out rolls back one
         * statement only. */
        sql->driver->rollback(sql);
        sql->again = sql->begun;
    }
    return rc;
}

void sql_reset(struct sql_statement *statement)
{
    if (!statement || statement->state == SQL_AT_REST)
        return;
    statement->sql->driver->reset(statement);
    statement->state = SQL_AT_REST;
}

int sql_run(struct sql_statement *statement, struct failure *failure)
{
    int code = sql_step(statement, failure);
    sql_reset(statement);
    return code;
}

int sql_number(struct sql_statement *statement, uint64_t *out, struct failure *failure)
{
    int code = sql_step(statement, failure);
    if (code > 0)
        *out = sql_column_u64(statement, 0);
    sql_reset(statement);
    return code;
}

int sql_each(struct sql_statement *statement, sql_take_fn take, void *context, struct failure *failure)
{
    int code;
    while ((code = sql_step(statement, failure)) > 0) {
        code = take(context, statement);
        if (code == PERMTAB_E_MEMORY)
            failure_set(failure, code, "out of memory");
        if (code < 0)
            break;
    }
    sql_reset(statement);
    return code;
}

bool sql_column_is_null(struct sql_statement *statement, unsigned index)
{
    assert(statement->state == SQL_RUNNING);
    return statement->sql->driver->column_is_null(statement, index);
}

uint64_t sql_column_u64(struct sql_statement *statement, unsigned index)
{
    assert(statement->state == SQL_RUNNING);
    return statement->sql->driver->column_number(statement, index);
}

int64_t sql_column_i64(struct sql_statement *statement, unsigned index)
{
    return (int64_t)sql_column_u64(statement, index);
}

const char *sql_column_text(struct sql_statement *statement, unsigned index)
{
    assert(statement->state == SQL_RUNNING);
    const char *text = statement->sql->driver->column_text(statement, index);
    return text ? text : "";
}
