/* The SQLite driver: the only file that knows sqlite3.h. WAL mode, so that readers and the one writer do not wait for
 * each other; transactions that write begin IMMEDIATE, so that waiting happens at the beginning and not in the middle.
 * A connection must be opened in the process that uses it: one opened before a fork misses commits.
 *
 * synchronous is FULL: under NORMAL a power failure may take back commits that tokens were already given out for. It
 * costs one sync a transaction, whatever its size.
 *
 * SQLite takes no notice of an unlock that fails. In this process the lock is held from then on, for all connections to
 * the file and until the last of them is closed: others get "locked" and "locking protocol" for ever. So its unlocks go
 * through sqlite_fcntl, which tries again.
 *
 * foreign_keys and recursive_triggers are settings of a connection, off by default. Ours are on; triggers catch the
 * writes of programs that have theirs off (conf/schema/sqlite). */
#include "proxy/base/container_of.h"
#include "proxy/store/sql_driver.h"

#include "proxy/base/clock.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define UNLOCK_TRIES 100u /* a millisecond apart: a kernel without memory may have some by then */

struct sqlite {
    struct sql sql;
    sqlite3 *db;
    char path[512];
    uint64_t timeout_ns;    /* how long a lock is waited for */
    uint64_t busy_since_ns; /* the wait under way */
};

struct sqlite_statement {
    struct sql_statement statement;
    sqlite3_stmt *handle;
};

static struct sqlite *of(struct sql *sql)
{
    return container_of(sql, struct sqlite, sql);
}

static sqlite3_stmt *handle_of(struct sql_statement *statement)
{
    return container_of(statement, struct sqlite_statement, statement)->handle;
}

/* Fills the failure, and returns the code that SQLite's result code means for the caller. */
static int fail(struct sqlite *sqlite, int code, struct failure *failure)
{
    const char *text = sqlite->db ? sqlite3_errmsg(sqlite->db) : sqlite3_errstr(code);
    switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return failure_set(failure, PERMTAB_E_STORE_AGAIN, "store %s: %s", sqlite->path, text);
    case SQLITE_CONSTRAINT:
        return failure_set(failure, PERMTAB_E_CONFLICT, "%s", text);
    case SQLITE_NOMEM:
        return failure_set(failure, PERMTAB_E_MEMORY, "out of memory");
    case SQLITE_NOTADB:
        sqlite->sql.broken = true;
        return failure_set(failure, PERMTAB_E_STORE, "store %s: the file is not an SQLite database",
                           sqlite->path);
    case SQLITE_CORRUPT:
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
        sqlite->sql.broken = true;
        return failure_set(failure, PERMTAB_E_STORE, "store %s: %s", sqlite->path, text);
    case SQLITE_READONLY:
        /* It may be the connection alone: SQLite opens for reading what it cannot open for writing just now. */
        sqlite->sql.broken = true;
        return failure_set(failure, PERMTAB_E_STORE, "store %s: no permission to write (%s)", sqlite->path,
                           text);
    default:
        return failure_set(failure, PERMTAB_E_STORE, "store %s: %s", sqlite->path, text);
    }
}

static int sqlite_execute(struct sql *sql, const char *text, struct failure *failure)
{
    int code = sqlite3_exec(of(sql)->db, text, NULL, NULL, NULL);
    if (code != SQLITE_OK)
        return fail(of(sql), sqlite3_extended_errcode(of(sql)->db), failure);
    return 0;
}

static void sqlite_close(struct sql *sql)
{
    sqlite3_close_v2(of(sql)->db);
    free(of(sql));
}

/* SQLite says "unable to open database file" for every cause; the file system knows more. */
static int cannot_open(const char *path, struct failure *failure)
{
    struct stat status;
    if (stat(path, &status) != 0)
        return failure_set(failure, PERMTAB_E_STORE, "store %s: %s%s", path, strerror(errno),
                           errno == ENOENT ? " (permtabd --migrate makes it)" : "");
    if (!S_ISREG(status.st_mode))
        return failure_set(failure, PERMTAB_E_STORE, "store %s: not a regular file", path);
    if (access(path, R_OK) != 0)
        return failure_set(failure, PERMTAB_E_STORE, "store %s: %s", path, strerror(errno));
    return failure_set(failure, PERMTAB_E_STORE, "store %s: cannot be opened", path);
}

static int keep_text(void *to, int count, char **texts, char **names)
{
    (void)names;
    if (count > 0 && texts[0])
        snprintf(to, 16, "%s", texts[0]);
    return 0;
}

/* The journal mode is kept in the file: one that was copied, restored or rebuilt has SQLite's own, in which readers
 * and the writer wait for each other. Changing it takes the file exclusively for a moment; while others are at work
 * the mode stays as it is, which costs waiting and no truth, and the next look tries again. A database that is not
 * ours is not touched. */
static bool sqlite_settle(struct sql *sql)
{
    char mode[16] = "", ours[16] = "0";
    sqlite3 *db = of(sql)->db;
    (void)sqlite3_exec(db, "PRAGMA journal_mode", keep_text, mode, NULL);
    if (strcmp(mode, "wal") == 0)
        return false;
    (void)sqlite3_exec(db, "SELECT count(*) FROM sqlite_master WHERE name = 'permtab_store'", keep_text, ours,
                       NULL);
    if (strcmp(ours, "0") == 0)
        return false;
    uint64_t timeout_ns = of(sql)->timeout_ns;
    of(sql)->timeout_ns = 0;
    (void)sqlite3_exec(db, "PRAGMA journal_mode = WAL; SELECT 'wal' FROM sqlite_master WHERE false",
                       keep_text, mode, NULL);
    of(sql)->timeout_ns = timeout_ns;
    return strcmp(mode, "wal") == 0;
}

static void pause_ms(long ms)
{
    (void)nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

/* SQLite passes a pointer or an int, and either way this hands on what is in that place, as the C library does. */
static int sqlite_fcntl(int file, int command, ...)
{
    va_list more;
    va_start(more, command);
    void *argument = va_arg(more, void *);
    va_end(more);
    int code = fcntl(file, command, argument);
    if ((command != F_SETLK && command != F_SETLKW) || ((const struct flock *)argument)->l_type != F_UNLCK)
        return code;
    for (unsigned tries = 0; code < 0 && errno != EBADF && tries < UNLOCK_TRIES; tries++) {
        pause_ms(1);
        code = fcntl(file, command, argument);
    }
    return code;
}

static void replace_fcntl(void)
{
    sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);
    if (vfs && vfs->iVersion >= 3 && vfs->xSetSystemCall)
        (void)vfs->xSetSystemCall(vfs, "fcntl", (sqlite3_syscall_ptr)sqlite_fcntl);
}

static int library_begin(struct failure *failure)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (sqlite3_initialize() != SQLITE_OK)
        return failure_set(failure, PERMTAB_E_MEMORY, "SQLite cannot begin: out of memory");
    pthread_once(&once, replace_fcntl);
    return 0;
}

static int open_file(struct sqlite *sqlite, const char *path, int flags, struct failure *failure)
{
    snprintf(sqlite->path, sizeof(sqlite->path), "%s", path);
    int code = library_begin(failure);
    if (code < 0)
        return code;
    code = sqlite3_open_v2(path, &sqlite->db, flags | SQLITE_OPEN_NOMUTEX, NULL);
    if (code == SQLITE_OK)
        return 0;
    if ((code & 0xff) == SQLITE_CANTOPEN)
        return cannot_open(path, failure);
    return fail(sqlite, code, failure);
}

/* Replaces SQLite's own handler, which would wait for as long as it was told at first: a write that nobody waits
 * for any more must not wait. */
static int on_busy(void *context, int tried)
{
    struct sqlite *sqlite = context;
    uint64_t now = clock_ns();
    if (tried == 0)
        sqlite->busy_since_ns = now;
    if (now - sqlite->busy_since_ns >= sqlite->timeout_ns || !gate_wanted(sqlite->sql.gate))
        return 0;
    pause_ms(tried < 5 ? 1 + tried * 2 : 20);
    return 1;
}

static int sqlite_connect(struct sql **out, const struct sql_address *address,
                          const struct sql_options *options, struct failure *failure)
{
    struct sqlite *sqlite = calloc(1, sizeof(*sqlite));
    if (!sqlite)
        return failure_set(failure, PERMTAB_E_MEMORY, "out of memory");
    int code = open_file(sqlite, address->path, SQLITE_OPEN_READWRITE, failure);
    if (code < 0)
        goto out;
    sqlite->timeout_ns = (options->timeout_s ? options->timeout_s : 5) * 1000000000ull;
    (void)sqlite3_busy_handler(sqlite->db, on_busy, sqlite);
    /* Reading the header here makes a file that is not a database fail now, once. */
    code =
        sqlite_execute(&sqlite->sql,
                       "PRAGMA foreign_keys = ON; PRAGMA recursive_triggers = ON; PRAGMA synchronous = FULL;"
                       "SELECT count(*) FROM sqlite_master;",
                       failure);
    if (code == 0)
        (void)sqlite_settle(&sqlite->sql);
    if (code == 0 && options->read_only)
        code = sqlite_execute(&sqlite->sql, "PRAGMA query_only = ON;", failure);
out:
    if (code < 0)
        sqlite_close(&sqlite->sql);
    else
        *out = &sqlite->sql;
    return code;
}

static int sqlite_create(const struct sql_address *address, struct failure *failure)
{
    struct sqlite *sqlite = calloc(1, sizeof(*sqlite));
    if (!sqlite)
        return failure_set(failure, PERMTAB_E_MEMORY, "out of memory");
    int code = open_file(sqlite, address->path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, failure);
    if (code == 0) {
        sqlite3_busy_timeout(sqlite->db, 5000);
        code = sqlite_execute(&sqlite->sql, "PRAGMA journal_mode = WAL;", failure);
    }
    char mode[16] = "";
    if (code == 0 && sqlite3_exec(sqlite->db, "PRAGMA journal_mode", keep_text, mode, NULL) == SQLITE_OK &&
        strcmp(mode, "wal") != 0)
        code =
            failure_set(failure, PERMTAB_E_STORE,
                        "store %s: journal mode %s cannot be changed to WAL, which needs a local file system",
                        address->path, mode);
    sqlite_close(&sqlite->sql);
    return code;
}

static bool in_transaction(struct sql *sql)
{
    return !sqlite3_get_autocommit(of(sql)->db);
}

static void sqlite_rollback(struct sql *sql)
{
    /* Some errors have rolled the transaction back by themselves. */
    if (in_transaction(sql) && (sqlite_execute(sql, "ROLLBACK", NULL) < 0 || in_transaction(sql)))
        sql->broken = true;
}

/* What SQLite says of a statement is one thing and whether a transaction is open another; the second counts. It may
 * have begun when it says that it has no memory. */
static int sqlite_begin(struct sql *sql, enum sql_begin how, struct failure *failure)
{
    int code = sqlite_execute(sql, how == SQL_WRITE ? "BEGIN IMMEDIATE" : "BEGIN", failure);
    if (code == 0 && !in_transaction(sql))
        code = failure_set(failure, PERMTAB_E_STORE, "store %s: no transaction was begun", of(sql)->path);
    if (code < 0)
        sqlite_rollback(sql);
    return code;
}

static int sqlite_commit(struct sql *sql, struct failure *failure)
{
    if (!in_transaction(sql))
        return failure_set(failure, PERMTAB_E_STORE_AGAIN, "the store has rolled the transaction back");
    int code = sqlite_execute(sql, "COMMIT", failure);
    if (code == 0 && in_transaction(sql))
        code = failure_set(failure, PERMTAB_E_STORE, "store %s: the transaction was not ended", of(sql)->path);
    if (code == 0)
        return 0;
    /* It has ended all the same: rolled back; or done, and memory was short afterwards; or all of it is in the WAL and
     * could not be synced, where a recovery would find it. */
    bool unsure = !in_transaction(sql) && (code == PERMTAB_E_MEMORY || sql->broken);
    sqlite_rollback(sql);
    if (!unsure)
        return code;
    return commit_unsure(failure);
}

static struct sql_statement *sqlite_prepare(struct sql *sql, const char *text, struct failure *failure)
{
    struct sqlite_statement *statement = calloc(1, sizeof(*statement));
    if (!statement) {
        failure_set(failure, PERMTAB_E_MEMORY, "out of memory");
        return NULL;
    }
    int code = sqlite3_prepare_v3(of(sql)->db, text, -1, SQLITE_PREPARE_PERSISTENT, &statement->handle, NULL);
    if (code != SQLITE_OK) {
        fail(of(sql), code, failure);
        free(statement);
        return NULL;
    }
    return &statement->statement;
}

static void sqlite_free(struct sql_statement *base)
{
    sqlite3_finalize(handle_of(base));
    free(container_of(base, struct sqlite_statement, statement));
}

static void sqlite_bind(struct sql_statement *statement, unsigned index, struct sql_value value)
{
    sqlite3_stmt *handle = handle_of(statement);
    int code = SQLITE_MISUSE;
    switch (value.type) {
    case SQL_VALUE_NULL:
        code = sqlite3_bind_null(handle, (int)index);
        break;
    case SQL_VALUE_I64:
    case SQL_VALUE_U64:
        code = sqlite3_bind_int64(handle, (int)index, (sqlite3_int64)value.number);
        break;
    case SQL_VALUE_TEXT:
        code = sqlite3_bind_text(handle, (int)index, value.text, -1, SQLITE_STATIC);
        break;
    }
    /* Nothing is copied, so only a wrong index or a text beyond SQLite's gigabyte can fail. */
    assert(code == SQLITE_OK);
}

static int sqlite_step(struct sql_statement *statement, struct failure *failure)
{
    struct sqlite *sqlite = of(statement->sql);
    sqlite3_stmt *handle = handle_of(statement);
    int code = sqlite3_step(handle);
    if (code == SQLITE_ROW)
        return 1;
    int rc = 0;
    if (code == SQLITE_DONE)
        sqlite->sql.changes = sqlite3_stmt_readonly(handle) ? 0 : (uint64_t)sqlite3_changes64(sqlite->db);
    else
        rc = fail(sqlite, sqlite3_extended_errcode(sqlite->db), failure);
    sqlite3_reset(handle); /* else its read transaction would stay open until the caller's reset */
    return rc;
}

static void sqlite_reset(struct sql_statement *statement)
{
    sqlite3_reset(handle_of(statement));
}

static bool sqlite_column_is_null(struct sql_statement *statement, unsigned index)
{
    return sqlite3_column_type(handle_of(statement), (int)index) == SQLITE_NULL;
}

static uint64_t sqlite_column_number(struct sql_statement *statement, unsigned index)
{
    return (uint64_t)sqlite3_column_int64(handle_of(statement), (int)index);
}

static const char *sqlite_column_text(struct sql_statement *statement, unsigned index)
{
    return (const char *)sqlite3_column_text(handle_of(statement), (int)index);
}

static bool sqlite_moved(struct sql *sql)
{
    int moved = 0;
    int code = sqlite3_file_control(of(sql)->db, "main", SQLITE_FCNTL_HAS_MOVED, &moved);
    return code == SQLITE_OK && moved;
}

const struct sql_driver store_sqlite_driver = {
    .connect = sqlite_connect,
    .close = sqlite_close,
    .begin = sqlite_begin,
    .commit = sqlite_commit,
    .rollback = sqlite_rollback,
    .execute = sqlite_execute,
    .prepare = sqlite_prepare,
    .free = sqlite_free,
    .bind = sqlite_bind,
    .step = sqlite_step,
    .reset = sqlite_reset,
    .column_is_null = sqlite_column_is_null,
    .column_number = sqlite_column_number,
    .column_text = sqlite_column_text,
    .moved = sqlite_moved,
    .alive = NULL,
    .settle = sqlite_settle,
    .create = sqlite_create,
};
