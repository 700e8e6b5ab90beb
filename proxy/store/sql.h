/* SQL: one interface over SQLite and MariaDB/MySQL, a struct of functions (struct sql_driver) with two
 * implementations, sql_sqlite.c and sql_mysql.c. The other files of store/ know the statements.
 *
 * A connection is used by one thread at a time. Every call may block, up to the connection's time-outs. Prepared
 * statements only, kept by the connection under the address of their text (so pass string constants). */
#ifndef PERMTAB_STORE_SQL_H
#define PERMTAB_STORE_SQL_H

#include "proxy/base/failure.h"
#include "proxy/store/gate.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sql_dialect { SQL_SQLITE, SQL_MYSQL };

struct sql;           /* a connection */
struct sql_statement; /* a prepared statement, being bound, stepped or at rest */

struct sql_options {
    /* "sqlite:/path" or "mysql://user@host:3306/database" or "mysql://user@/db?socket=/path" */
    const char *url;
    const char *password; /* NULL or "" for none */
    bool read_only;       /* a polling or filling connection */
    uint32_t timeout_s;   /* connect, read and write; 0 = 5 */
};

enum sql_begin { SQL_READ_SNAPSHOT, SQL_WRITE };

int sql_connect(struct sql **out, const struct sql_options *options,
                struct failure *failure) PERMTAB_MUST_CHECK;
void sql_close(struct sql *sql);
/* A new connection with the options of this one, which is closed; on failure *sql stays as it is. For finding out
 * the outcome of a commit that is unknown. */
int sql_reconnect(struct sql **sql, struct failure *failure) PERMTAB_MUST_CHECK;
enum sql_dialect sql_dialect(const struct sql *sql);
/* True when the connection is of no further use (lost, timed out, or its transaction could not be ended): close it and
 * connect anew. Until then every call that would ask the store something fails. */
bool sql_broken(const struct sql *sql);
/* Asks the server whether it is still there, for a connection that has rested: the server may have ended it
 * meanwhile. False: as sql_broken. */
bool sql_alive(struct sql *sql);
/* Sets the gate of the write that the connection carries out from now on; NULL when it carries out none. A wait for
 * a lock ends with PERMTAB_E_STORE_AGAIN once the gate is closed. */
void sql_use_gate(struct sql *sql, struct gate *gate);
struct gate *sql_gate(const struct sql *sql);

/* SQL_READ_SNAPSHOT: everything read until sql_commit or sql_rollback is of one moment. SQL_WRITE: takes the
 * revision counter's row first, so writers queue instead of deadlocking. */
int sql_begin(struct sql *sql, enum sql_begin how, struct failure *failure) PERMTAB_MUST_CHECK;
/* PERMTAB_E_STORE_AGAIN: nothing was written, repeat the whole transaction. _STORE_UNSURE: find out by the revision,
 * over another connection. However it ends, the connection is in no transaction afterwards, or broken. */
int sql_commit(struct sql *sql, struct failure *failure) PERMTAB_MUST_CHECK;
void sql_rollback(struct sql *sql);

/* Use: st = sql_prepare(…); sql_bind_*(st, 1, …); while ((row = sql_step(st, failure)) > 0) sql_column_*(st, 0);
 * sql_reset(st). sql_prepare returns NULL and fills failure when the text does not compile; sql_step of NULL then
 * returns its code, and sql_bind, sql_reset and sql_discard of NULL do nothing, so that nobody has to look before.
 * Parameters count from 1, columns from 0. A bound text must live until sql_reset. */
struct sql_statement *sql_prepare(struct sql *sql, const char *text, struct failure *failure);
void sql_bind_u64(struct sql_statement *statement, unsigned index, uint64_t value);
void sql_bind_i64(struct sql_statement *statement, unsigned index, int64_t value);
void sql_bind_text(struct sql_statement *statement, unsigned index, const char *value); /* NULL binds NULL */
void sql_bind_null(struct sql_statement *statement, unsigned index);
/* 1 a row, 0 done, negative a failure (PERMTAB_E_STORE, _STORE_AGAIN, _CONFLICT when a trigger or key refused). */
int sql_step(struct sql_statement *statement, struct failure *failure) PERMTAB_MUST_CHECK;
void sql_reset(struct sql_statement *statement);
/* Steps a statement that gives at most one row, and resets it. Returns what sql_step did. */
int sql_run(struct sql_statement *statement, struct failure *failure) PERMTAB_MUST_CHECK;
/* The same; with a row, *out is its first column. */
int sql_number(struct sql_statement *statement, uint64_t *out, struct failure *failure) PERMTAB_MUST_CHECK;
typedef int (*sql_take_fn)(void *context, struct sql_statement *row);
/* Gives each row to `take` until that returns a code, and resets the statement. 0 or the code; PERMTAB_E_MEMORY of
 * `take` gets its sentence here. */
int sql_each(struct sql_statement *statement, sql_take_fn take, void *context,
             struct failure *failure) PERMTAB_MUST_CHECK;
bool sql_column_is_null(struct sql_statement *statement, unsigned index);
uint64_t sql_column_u64(struct sql_statement *statement,
                        unsigned index); /* SQLite's negative ids come back above 2^63 */
int64_t sql_column_i64(struct sql_statement *statement, unsigned index);
const char *sql_column_text(struct sql_statement *statement,
                            unsigned index); /* valid until the next step; "" for NULL */

/* For statements built at run time (multi-row inserts, IN lists): prepared, kept under `key` and the text's own copy;
 * at most a few dozen are kept. */
struct sql_statement *sql_prepare_built(struct sql *sql, const char *text, struct failure *failure);
/* For a statement that must not be executed a second time: end it with sql_discard instead of sql_reset. */
struct sql_statement *sql_prepare_once(struct sql *sql, const char *text, struct failure *failure);
void sql_discard(struct sql_statement *statement);
/* Text without parameters and results: DDL, migrations. */
int sql_execute(struct sql *sql, const char *text, struct failure *failure) PERMTAB_MUST_CHECK;
/* Rows changed by the last finished statement, as the server counts them. */
uint64_t sql_changes(const struct sql *sql);

#endif
