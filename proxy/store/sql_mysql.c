/* The MariaDB/MySQL driver over MariaDB Connector/C: the only file that knows mysql.h. Prepared statements, results
 * buffered on our side, 64-bit ids bound as unsigned.
 *
 * Nothing of the session is left to the server's or the account's defaults: isolation, autocommit, character set and
 * time-outs are set at every connect. A connection that was lost is never mended: its owner closes it and connects
 * anew, because a reconnected one would have lost its transaction and its statements without saying so. */
#include "proxy/base/container_of.h"
#include "proxy/store/sql_driver.h"

#include <assert.h>
#include <errmsg.h>
#include <inttypes.h>
#include <mysql.h>
#include <mysqld_error.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOCK_WAIT_S 5u
#define TEXT_FIRST  256u /* bytes of a text column's buffer before a longer text makes it grow */

struct mysql {
    struct sql sql;
    MYSQL *handle;
    unsigned lock_wait_s; /* as the session was told last */
};

struct column {
    bool is_text;
    my_bool is_null, error;
    unsigned long length;
    uint64_t number;
    char *text;
    unsigned long size;
};

struct mysql_statement {
    struct sql_statement statement;
    MYSQL_STMT *handle;
    unsigned parameter_count, column_count;
    MYSQL_BIND *parameters;
    uint64_t *numbers;
    MYSQL_BIND *results;
    struct column *columns;
};

static struct mysql *of(struct sql *sql)
{
    return container_of(sql, struct mysql, sql);
}

static struct mysql_statement *statement_of(struct sql_statement *statement)
{
    return container_of(statement, struct mysql_statement, statement);
}

/* ---- errors ---------------------------------------------------------------------------------------------------- */

/* Errors of the client library, and those with which a server says goodbye. */
static bool is_lost(unsigned code)
{
    return (code >= CR_MIN_ERROR && code <= CR_MYSQL_LAST_ERROR) || code == ER_SERVER_SHUTDOWN ||
           code == ER_CONNECTION_KILLED || code == ER_NEW_ABORTING_CONNECTION || code == 4031 ||
           (code >= 5000 && code < 6000); /* Connector/C's own */
}

static int code_of(unsigned code)
{
    switch (code) {
    case ER_LOCK_DEADLOCK:     /* 1213 */
    case ER_LOCK_WAIT_TIMEOUT: /* 1205 */
    case ER_CHECKREAD:         /* 1020 */
        return PERMTAB_E_STORE_AGAIN;
    case ER_SIGNAL_EXCEPTION: /* a trigger */
    case ER_DUP_ENTRY:        /* keys and references */
    case ER_ROW_IS_REFERENCED:
    case ER_ROW_IS_REFERENCED_2:
    case ER_NO_REFERENCED_ROW:
    case ER_NO_REFERENCED_ROW_2:
    case ER_TRUNCATE_ILLEGAL_FK:
    case ER_BAD_NULL_ERROR:
    case ER_DATA_TOO_LONG:
    case ER_WARN_DATA_OUT_OF_RANGE:
    case ER_CONSTRAINT_FAILED: /* 4025, MariaDB's check */
    case 3819:                 /* MySQL's check */
        return PERMTAB_E_CONFLICT;
    case CR_OUT_OF_MEMORY:
        return PERMTAB_E_MEMORY;
    default:
        return PERMTAB_E_STORE;
    }
}

static int fail(struct mysql *mysql, unsigned code, const char *text, struct failure *failure)
{
    if (is_lost(code))
        mysql->sql.broken = true;
    const char *hint = "";
    if (code == 1419)
        hint = " -- the binary log is on: give the migrating account SUPER, or set "
               "log_bin_trust_function_creators=1 on the server, and run it again";
    if (code == ER_SIGNAL_EXCEPTION)
        return failure_set(failure, PERMTAB_E_CONFLICT, "%s", text);
    return failure_set(failure, code_of(code), "store: %s (%u)%s", text, code, hint);
}

static int fail_connection(struct mysql *mysql, struct failure *failure)
{
    return fail(mysql, mysql_errno(mysql->handle), mysql_error(mysql->handle), failure);
}

static int fail_statement(struct mysql_statement *statement, struct failure *failure)
{
    return fail(of(statement->statement.sql), mysql_stmt_errno(statement->handle),
                mysql_stmt_error(statement->handle), failure);
}

/* ---- connections ------------------------------------------------------------------------------------------------ */

static int mysql_driver_execute(struct sql *sql, const char *text, struct failure *failure)
{
    MYSQL *handle = of(sql)->handle;
    if (mysql_real_query(handle, text, strlen(text)) != 0)
        return fail_connection(of(sql), failure);
    MYSQL_RES *result = mysql_store_result(handle); /* not expected, but it must not stay in the way */
    if (result)
        mysql_free_result(result);
    else if (mysql_errno(handle) != 0)
        return fail_connection(of(sql), failure);
    sql->changes = mysql_affected_rows(handle) == (my_ulonglong)-1 ? 0 : mysql_affected_rows(handle);
    return 0;
}

static void mysql_driver_close(struct sql *sql)
{
    if (of(sql)->handle)
        mysql_close(of(sql)->handle);
    free(of(sql));
}

/* Statements must give up before we stop waiting for them: else they go on behind our back, and may commit.
 * MariaDB's limit is in seconds and for every statement, MySQL's in milliseconds and for SELECT. A transaction of
 * ours whose host is stopped or cut off must not hold the counter's row, for which every writer waits, nor a table
 * that somebody wants to alter, nor keep old rows from being purged: MariaDB ends it, MySQL cannot. */
static int limits_set(struct mysql *mysql, unsigned read_s, bool read_only, struct failure *failure)
{
    unsigned long version = mysql_get_server_version(mysql->handle);
    bool mariadb = version >= 100000 || strstr(mysql_get_server_info(mysql->handle), "MariaDB") != NULL;
    unsigned limit_ms = read_s * 1000 - 500;
    char text[768];
    snprintf(text, sizeof(text),
             "SET SESSION autocommit = 1, completion_type = 0, innodb_lock_wait_timeout = %u, foreign_key_checks = 1, "
             "unique_checks = 1,"
             " sql_safe_updates = 0, sql_select_limit = DEFAULT, time_zone = '+00:00',"
             " sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO,"
             "NO_ENGINE_SUBSTITUTION', ",
             LOCK_WAIT_S);
    size_t used = strlen(text);
    if (mariadb)
        snprintf(
            text + used, sizeof(text) - used,
            "check_constraint_checks = 1, max_statement_time = %u.%03u, idle_write_transaction_timeout = %u, "
            "idle_readonly_transaction_timeout = %u%s",
            limit_ms / 1000, limit_ms % 1000, LOCK_WAIT_S, LOCK_WAIT_S,
            /* A table with system versioning shows its present rows, whatever past the server shows by default. */
            version >= 100300 ? ", system_versioning_asof = DEFAULT" : "");
    else
        snprintf(text + used, sizeof(text) - used, "max_execution_time = %u", limit_ms);
    int code = mysql_driver_execute(&mysql->sql, text, failure);
    if (code == 0)
        code = mysql_driver_execute(
            &mysql->sql,
            read_only ? "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
                      : "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ WRITE",
            failure);
    return code;
}

static void library_begin(void)
{
    mysql_library_init(0, NULL, NULL);
}

/* mysql_init would call mysql_library_init at its first call, which several threads must not make at once. */
static void library_begin_once(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, library_begin);
}

static int options_set(MYSQL *handle, unsigned connect_s, unsigned read_s)
{
    my_bool off = 0, on = 1;
    return mysql_options(handle, MYSQL_OPT_CONNECT_TIMEOUT, &connect_s) ||
           mysql_options(handle, MYSQL_OPT_READ_TIMEOUT, &read_s) ||
           mysql_options(handle, MYSQL_OPT_WRITE_TIMEOUT, &read_s) ||
           mysql_options(handle, MYSQL_OPT_RECONNECT, &off) ||
           mysql_options(handle, MYSQL_OPT_LOCAL_INFILE, &(unsigned){0}) ||
           mysql_options(handle, MYSQL_REPORT_DATA_TRUNCATION, &on) ||
           mysql_options(handle, MYSQL_SET_CHARSET_NAME, "utf8mb4");
}

static int mysql_driver_connect(struct sql **out, const struct sql_address *address,
                                const struct sql_options *options, struct failure *failure)
{
    library_begin_once();
    struct mysql *mysql = calloc(1, sizeof(*mysql));
    if (!mysql)
        return failure_set(failure, PERMTAB_E_MEMORY, "out of memory");
    unsigned connect_s = options->timeout_s ? options->timeout_s : 5;
    /* A writer may wait for a lock, and must learn from the server that it waited too long. */
    unsigned read_s = !options->read_only && connect_s < LOCK_WAIT_S + 2 ? LOCK_WAIT_S + 2 : connect_s;
    int code = 0;
    mysql->handle = mysql_init(NULL);
    if (!mysql->handle || options_set(mysql->handle, connect_s, read_s)) {
        code = failure_set(failure, PERMTAB_E_MEMORY, "out of memory");
        goto out;
    }
    const char *host = address->host[0] ? address->host : NULL;
    const char *socket = address->socket[0] ? address->socket : NULL;
    const char *password = options->password && options->password[0] ? options->password : NULL;
    if (!mysql_real_connect(mysql->handle, host, address->user, password, address->database, address->port,
                            socket, 0)) {
        code = failure_set(failure, PERMTAB_E_STORE, "store %s%s%s: %s (%u)", host ? host : socket, "/",
                           address->database, mysql_error(mysql->handle), mysql_errno(mysql->handle));
        goto out;
    }
    code = limits_set(mysql, read_s, options->read_only, failure);
    mysql->lock_wait_s = LOCK_WAIT_S;
out:
    if (code < 0)
        mysql_driver_close(&mysql->sql);
    else
        *out = &mysql->sql;
    return code;
}

/* ---- transactions ----------------------------------------------------------------------------------------------- */

/* As the server said with its last answer that was no error. */
static bool in_transaction(struct sql *sql)
{
    return (of(sql)->handle->server_status & SERVER_STATUS_IN_TRANS) != 0;
}

static void mysql_driver_rollback(struct sql *sql)
{
    /* the transaction's state is unknown; the server rolls back when the connection goes */
    if (!sql->broken && (mysql_real_query(of(sql)->handle, "ROLLBACK", 8) != 0 || in_transaction(sql)))
        sql->broken = true;
}

/* The server gives up a lock wait no later than the asker does: a write that nobody waits for need not keep its
 * thread. The limit is in whole seconds, and 0 would not wait at all. */
static int lock_wait_set(struct mysql *mysql, struct failure *failure)
{
    char text[64];
    uint64_t left_s = gate_left_ns(mysql->sql.gate) / 1000000000;
    unsigned wait_s = left_s >= LOCK_WAIT_S ? LOCK_WAIT_S : left_s > 0 ? (unsigned)left_s : 1;
    if (wait_s == mysql->lock_wait_s)
        return 0;
    snprintf(text, sizeof(text), "SET SESSION innodb_lock_wait_timeout = %u", wait_s);
    int code = mysql_driver_execute(&mysql->sql, text, failure);
    if (code == 0)
        mysql->lock_wait_s = wait_s;
    return code;
}

static int mysql_driver_begin(struct sql *sql, enum sql_begin how, struct failure *failure)
{
    int code = 0;
    switch (how) {
    case SQL_READ_SNAPSHOT:
        code = mysql_driver_execute(sql, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY", failure);
        break;
    case SQL_WRITE:
        code = lock_wait_set(of(sql), failure);
        if (code == 0)
            code = mysql_driver_execute(sql, "START TRANSACTION READ WRITE", failure);
        if (code == 0)
            code = mysql_driver_execute(sql, "SELECT revision FROM permtab_counter WHERE one = 1 FOR UPDATE",
                                        failure);
        break;
    }
    /* A server that says no may have begun all the same, and polls would then look into that snapshot. */
    if (code < 0)
        mysql_driver_rollback(sql);
    return code;
}

/* A deadlock, which is also how a cluster refuses, is the one answer that says for certain that nothing was done. */
static int mysql_driver_commit(struct sql *sql, struct failure *failure)
{
    int code = mysql_driver_execute(sql, "COMMIT", failure);
    if (code == 0) {
        sql->broken |= in_transaction(sql);
        return 0;
    }
    if (sql->broken)
        return failure_set(
            failure, PERMTAB_E_STORE_UNSURE,
            "the connection to the store was lost while committing: whether it was done is unknown");
    bool undone = mysql_errno(of(sql)->handle) == ER_LOCK_DEADLOCK;
    mysql_driver_rollback(sql);
    if (undone)
        return code;
    return commit_unsure(failure);
}

/* ---- statements ------------------------------------------------------------------------------------------------- */

static bool is_number(enum enum_field_types type)
{
    return type == MYSQL_TYPE_TINY || type == MYSQL_TYPE_SHORT || type == MYSQL_TYPE_INT24 ||
           type == MYSQL_TYPE_LONG || type == MYSQL_TYPE_LONGLONG || type == MYSQL_TYPE_YEAR;
}

static void column_bind(struct mysql_statement *statement, unsigned index)
{
    struct column *column = &statement->columns[index];
    MYSQL_BIND *bind = &statement->results[index];
    memset(bind, 0, sizeof(*bind));
    bind->buffer_type = column->is_text ? MYSQL_TYPE_STRING : MYSQL_TYPE_LONGLONG;
    bind->buffer = column->is_text ? (void *)column->text : &column->number;
    bind->buffer_length = column->is_text ? column->size : sizeof(column->number);
    bind->is_null = &column->is_null;
    bind->length = &column->length;
    bind->error = &column->error;
}

/* Makes room for the columns, by the types that the server announced. */
static int columns_make(struct mysql_statement *statement)
{
    MYSQL_RES *result = mysql_stmt_result_metadata(statement->handle);
    if (!result)
        return mysql_stmt_errno(statement->handle) ? PERMTAB_E_STORE : 0;
    int code = PERMTAB_E_MEMORY;
    unsigned count = mysql_num_fields(result);
    MYSQL_FIELD *fields = mysql_fetch_fields(result);
    statement->results = calloc(count, sizeof(*statement->results));
    statement->columns = calloc(count, sizeof(*statement->columns));
    if (!statement->results || !statement->columns)
        goto out;
    statement->column_count = count;
    for (unsigned i = 0; i < count; i++) {
        struct column *column = &statement->columns[i];
        column->is_text = !is_number(fields[i].type);
        if (column->is_text) {
            column->size = TEXT_FIRST;
            column->text = malloc(TEXT_FIRST);
            if (!column->text)
                goto out;
        } else {
            column->text = malloc(24); /* for a caller that reads a number as text */
            if (!column->text)
                goto out;
        }
        column_bind(statement, i);
        statement->results[i].is_unsigned = (fields[i].flags & UNSIGNED_FLAG) != 0;
    }
    code = 0;
out:
    mysql_free_result(result);
    return code;
}

static void mysql_driver_free(struct sql_statement *base)
{
    struct mysql_statement *statement = statement_of(base);
    if (statement->handle)
        mysql_stmt_close(statement->handle);
    for (unsigned i = 0; statement->columns && i < statement->column_count; i++)
        free(statement->columns[i].text);
    free(statement->columns);
    free(statement->results);
    free(statement->parameters);
    free(statement->numbers);
    free(statement);
}

static int parameters_make(struct mysql_statement *statement)
{
    unsigned count = (unsigned)mysql_stmt_param_count(statement->handle);
    statement->parameter_count = count;
    if (count == 0)
        return 0;
    statement->parameters = calloc(count, sizeof(*statement->parameters));
    statement->numbers = calloc(count, sizeof(*statement->numbers));
    return statement->parameters && statement->numbers ? 0 : PERMTAB_E_MEMORY;
}

static struct sql_statement *mysql_driver_prepare(struct sql *sql, const char *text, struct failure *failure)
{
    struct mysql_statement *statement = calloc(1, sizeof(*statement));
    if (!statement)
        goto memory;
    statement->statement.sql = sql;
    statement->handle = mysql_stmt_init(of(sql)->handle);
    if (!statement->handle)
        goto memory;
    if (mysql_stmt_prepare(statement->handle, text, strlen(text)) != 0) {
        fail_statement(statement, failure);
        mysql_driver_free(&statement->statement);
        return NULL;
    }
    if (parameters_make(statement) == 0 && columns_make(statement) == 0)
        return &statement->statement;
memory:
    failure_set(failure, PERMTAB_E_MEMORY, "out of memory");
    if (statement)
        mysql_driver_free(&statement->statement);
    return NULL;
}

static void mysql_driver_bind(struct sql_statement *base, unsigned index, struct sql_value value)
{
    struct mysql_statement *statement = statement_of(base);
    assert(index >= 1 && index <= statement->parameter_count);
    MYSQL_BIND *bind = &statement->parameters[index - 1];
    memset(bind, 0, sizeof(*bind));
    switch (value.type) {
    case SQL_VALUE_NULL:
        bind->buffer_type = MYSQL_TYPE_NULL;
        break;
    case SQL_VALUE_I64:
    case SQL_VALUE_U64:
        statement->numbers[index - 1] = value.number;
        bind->buffer_type = MYSQL_TYPE_LONGLONG;
        bind->buffer = &statement->numbers[index - 1];
        bind->is_unsigned = value.type == SQL_VALUE_U64;
        break;
    case SQL_VALUE_TEXT:
        bind->buffer_type = MYSQL_TYPE_STRING;
        bind->buffer = (char *)value.text;
        bind->buffer_length = strlen(value.text);
        break;
    }
}

static int statement_execute(struct mysql_statement *statement, struct failure *failure)
{
    if (statement->parameter_count && mysql_stmt_bind_param(statement->handle, statement->parameters) != 0)
        return fail_statement(statement, failure);
    if (mysql_stmt_execute(statement->handle) != 0)
        return fail_statement(statement, failure);
    if (statement->column_count == 0) {
        statement->statement.sql->changes = mysql_stmt_affected_rows(statement->handle);
        return 0;
    }
    statement->statement.sql->changes = 0;
    if (mysql_stmt_bind_result(statement->handle, statement->results) != 0 ||
        mysql_stmt_store_result(statement->handle) != 0)
        return fail_statement(statement, failure);
    return 0;
}

/* Fetches a text that was longer than its buffer once more, into a larger one. One byte is left for the zero. */
static int texts_complete(struct mysql_statement *statement, struct failure *failure)
{
    bool grown = false;
    for (unsigned i = 0; i < statement->column_count; i++) {
        struct column *column = &statement->columns[i];
        if (!column->is_text || column->is_null)
            continue;
        if (column->length >= column->size) {
            char *text = realloc(column->text, column->length + 1);
            if (!text)
                return failure_set(failure, PERMTAB_E_MEMORY, "out of memory");
            column->text = text;
            column->size = column->length + 1;
            column_bind(statement, i);
            if (mysql_stmt_fetch_column(statement->handle, &statement->results[i], i, 0) != 0)
                return fail_statement(statement, failure);
            grown = true;
        }
        column->text[column->length] = '\0';
    }
    if (grown && mysql_stmt_bind_result(statement->handle, statement->results) != 0)
        return fail_statement(statement, failure);
    return 0;
}

static int mysql_driver_step(struct sql_statement *base, struct failure *failure)
{
    struct mysql_statement *statement = statement_of(base);
    int code = base->state == SQL_AT_REST ? statement_execute(statement, failure) : 0;
    if (code < 0 || statement->column_count == 0)
        goto out;
    int fetched = mysql_stmt_fetch(statement->handle);
    if (fetched == 0 || fetched == MYSQL_DATA_TRUNCATED) {
        code = texts_complete(statement, failure);
        if (code == 0)
            return 1;
    } else if (fetched != MYSQL_NO_DATA) {
        code = fail_statement(statement, failure);
    }
out:
    mysql_stmt_free_result(statement->handle);
    return code;
}

static void mysql_driver_reset(struct sql_statement *base)
{
    mysql_stmt_free_result(statement_of(base)->handle);
}

static struct column *column_of(struct sql_statement *base, unsigned index)
{
    struct mysql_statement *statement = statement_of(base);
    assert(index < statement->column_count);
    return &statement->columns[index];
}

static bool mysql_driver_column_is_null(struct sql_statement *base, unsigned index)
{
    return column_of(base, index)->is_null;
}

/* Decimals come as text; sums, and unions of signed and unsigned, are decimals. */
static uint64_t mysql_driver_column_number(struct sql_statement *base, unsigned index)
{
    const struct column *column = column_of(base, index);
    if (column->is_null)
        return 0;
    if (!column->is_text)
        return column->number;
    return column->text[0] == '-' ? (uint64_t)strtoll(column->text, NULL, 10)
                                  : strtoull(column->text, NULL, 10);
}

static const char *mysql_driver_column_text(struct sql_statement *base, unsigned index)
{
    struct column *column = column_of(base, index);
    if (column->is_null)
        return NULL;
    if (!column->is_text) {
        bool is_unsigned = statement_of(base)->results[index].is_unsigned;
        snprintf(column->text, 24, is_unsigned ? "%" PRIu64 : "%" PRId64, column->number);
    }
    return column->text;
}

static bool mysql_driver_alive(struct sql *sql)
{
    return mysql_ping(of(sql)->handle) == 0;
}

static bool mysql_driver_moved(struct sql *sql)
{
    (void)sql;
    return false;
}

const struct sql_driver store_mysql_driver = {
    .connect = mysql_driver_connect,
    .close = mysql_driver_close,
    .begin = mysql_driver_begin,
    .commit = mysql_driver_commit,
    .rollback = mysql_driver_rollback,
    .execute = mysql_driver_execute,
    .prepare = mysql_driver_prepare,
    .free = mysql_driver_free,
    .bind = mysql_driver_bind,
    .step = mysql_driver_step,
    .reset = mysql_driver_reset,
    .column_is_null = mysql_driver_column_is_null,
    .column_number = mysql_driver_column_number,
    .column_text = mysql_driver_column_text,
    .moved = mysql_driver_moved,
    .alive = mysql_driver_alive,
    .create = NULL,
};
