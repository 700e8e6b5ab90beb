/* SQL statements and connections, as the two drivers make them. A statement that fails is not sent. What the library
 * says about it afterwards, to the thread that was told, is what it would say had the server or the disk failed. */
#include "tests/fault/state.h"

#include <errmsg.h>
#include <mysql.h>
#include <mysqld_error.h>
#include <sqlite3.h>
#include <stddef.h>

#define DUE(name, ...) FAULT_DUE(FAULT_SQL, #name, __VA_ARGS__)

/* The last failure of this thread that was made up, and who is to be asked about it. */
static __thread const void *about;
static __thread int code;

static int pretend(const void *handle, int due)
{
    about = handle;
    return code = due;
}

static void forget(const void *handle)
{
    if (about == handle)
        about = NULL;
}

/* ---- SQLite ------------------------------------------------------------------------------------------------------ */

FAULT_PUBLIC int sqlite3_open_v2(const char *path, sqlite3 **out, int flags, const char *vfs)
{
    int due = DUE(sqlite3_open_v2, SQLITE_CANTOPEN, SQLITE_IOERR);
    int opened = FAULT_NEXT(sqlite3_open_v2)(path, out, flags, vfs);
    return due && opened == SQLITE_OK ? pretend(*out, due) : opened;
}

FAULT_PUBLIC int sqlite3_prepare_v3(sqlite3 *db, const char *text, int size, unsigned flags,
                                    sqlite3_stmt **out, const char **tail)
{
    int due = DUE(sqlite3_prepare_v3, SQLITE_IOERR, SQLITE_BUSY, SQLITE_NOMEM);
    *out = NULL;
    if (due)
        return pretend(db, due);
    forget(db);
    return FAULT_NEXT(sqlite3_prepare_v3)(db, text, size, flags, out, tail);
}

FAULT_PUBLIC int sqlite3_step(sqlite3_stmt *statement)
{
    sqlite3 *db = sqlite3_db_handle(statement);
    int due = DUE(sqlite3_step, SQLITE_IOERR, SQLITE_BUSY, SQLITE_FULL, SQLITE_CORRUPT);
    if (due)
        return pretend(db, due);
    forget(db);
    return FAULT_NEXT(sqlite3_step)(statement);
}

FAULT_PUBLIC int sqlite3_exec(sqlite3 *db, const char *text, int (*row)(void *, int, char **, char **),
                              void *context, char **error)
{
    int due = DUE(sqlite3_exec, SQLITE_IOERR, SQLITE_BUSY, SQLITE_FULL);
    if (due)
        return pretend(db, due);
    forget(db);
    return FAULT_NEXT(sqlite3_exec)(db, text, row, context, error);
}

FAULT_PUBLIC const char *sqlite3_errmsg(sqlite3 *db)
{
    return about && about == db ? sqlite3_errstr(code) : FAULT_NEXT(sqlite3_errmsg)(db);
}

FAULT_PUBLIC int sqlite3_extended_errcode(sqlite3 *db)
{
    return about && about == db ? code : FAULT_NEXT(sqlite3_extended_errcode)(db);
}

/* ---- MariaDB ----------------------------------------------------------------------------------------------------- */

/* A deadlock has ended the transaction; a lock wait, and a statement that was cut short, have not. */
static int fail_on_server(const void *handle, MYSQL *connection, int due)
{
    if (due == ER_LOCK_DEADLOCK)
        (void)FAULT_NEXT(mysql_real_query)(connection, "ROLLBACK", 8);
    return pretend(handle, due);
}

FAULT_PUBLIC MYSQL *STDCALL mysql_real_connect(MYSQL *handle, const char *host, const char *user,
                                               const char *password, const char *database, unsigned port,
                                               const char *socket, unsigned long flags)
{
    int due = DUE(mysql_real_connect, CR_CONNECTION_ERROR, CR_SERVER_LOST, ER_CON_COUNT_ERROR);
    if (due) {
        (void)pretend(handle, due);
        return NULL;
    }
    forget(handle);
    return FAULT_NEXT(mysql_real_connect)(handle, host, user, password, database, port, socket, flags);
}

FAULT_PUBLIC int STDCALL mysql_real_query(MYSQL *handle, const char *text, unsigned long size)
{
    int due =
        DUE(mysql_real_query, CR_SERVER_LOST, ER_LOCK_DEADLOCK, ER_LOCK_WAIT_TIMEOUT, ER_QUERY_INTERRUPTED);
    if (due)
        return fail_on_server(handle, handle, due);
    forget(handle);
    return FAULT_NEXT(mysql_real_query)(handle, text, size);
}

FAULT_PUBLIC int STDCALL mysql_ping(MYSQL *handle)
{
    int due = DUE(mysql_ping, CR_SERVER_GONE_ERROR);
    if (due)
        return pretend(handle, due);
    forget(handle);
    return FAULT_NEXT(mysql_ping)(handle);
}

FAULT_PUBLIC MYSQL_STMT *STDCALL mysql_stmt_init(MYSQL *handle)
{
    int due = DUE(mysql_stmt_init, CR_OUT_OF_MEMORY);
    if (due) {
        (void)pretend(handle, due);
        return NULL;
    }
    forget(handle);
    return FAULT_NEXT(mysql_stmt_init)(handle);
}

FAULT_PUBLIC int STDCALL mysql_stmt_prepare(MYSQL_STMT *statement, const char *text, unsigned long size)
{
    int due =
        DUE(mysql_stmt_prepare, CR_SERVER_LOST, ER_LOCK_WAIT_TIMEOUT, ER_MAX_PREPARED_STMT_COUNT_REACHED);
    if (due)
        return fail_on_server(statement, statement->mysql, due);
    forget(statement);
    return FAULT_NEXT(mysql_stmt_prepare)(statement, text, size);
}

FAULT_PUBLIC int STDCALL mysql_stmt_execute(MYSQL_STMT *statement)
{
    int due =
        DUE(mysql_stmt_execute, CR_SERVER_LOST, ER_LOCK_DEADLOCK, ER_LOCK_WAIT_TIMEOUT, ER_QUERY_INTERRUPTED);
    if (due)
        return fail_on_server(statement, statement->mysql, due);
    forget(statement);
    return FAULT_NEXT(mysql_stmt_execute)(statement);
}

FAULT_PUBLIC int STDCALL mysql_stmt_store_result(MYSQL_STMT *statement)
{
    int due = DUE(mysql_stmt_store_result, CR_SERVER_LOST, CR_OUT_OF_MEMORY);
    if (due)
        return pretend(statement, due);
    forget(statement);
    return FAULT_NEXT(mysql_stmt_store_result)(statement);
}

FAULT_PUBLIC int STDCALL mysql_stmt_fetch(MYSQL_STMT *statement)
{
    int due = DUE(mysql_stmt_fetch, CR_OUT_OF_MEMORY, CR_SERVER_LOST);
    if (due)
        return pretend(statement, due) ? 1 : 1;
    forget(statement);
    return FAULT_NEXT(mysql_stmt_fetch)(statement);
}

FAULT_PUBLIC unsigned STDCALL mysql_errno(MYSQL *handle)
{
    return about && about == handle ? (unsigned)code : FAULT_NEXT(mysql_errno)(handle);
}

FAULT_PUBLIC const char *STDCALL mysql_error(MYSQL *handle)
{
    return about && about == handle ? "made to fail" : FAULT_NEXT(mysql_error)(handle);
}

FAULT_PUBLIC unsigned STDCALL mysql_stmt_errno(MYSQL_STMT *statement)
{
    return about && about == statement ? (unsigned)code : FAULT_NEXT(mysql_stmt_errno)(statement);
}

FAULT_PUBLIC const char *STDCALL mysql_stmt_error(MYSQL_STMT *statement)
{
    return about && about == statement ? "made to fail" : FAULT_NEXT(mysql_stmt_error)(statement);
}
