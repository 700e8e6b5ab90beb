/* The interface that sql.c needs of a database: a struct of functions, one for SQLite (sql_sqlite.c) and one for
 * MariaDB/MySQL (sql_mysql.c). Private to those three files and to the store's own. */
#ifndef PERMTAB_STORE_SQL_DRIVER_H
#define PERMTAB_STORE_SQL_DRIVER_H

#include "proxy/store/sql.h"

#define SQL_STATEMENTS_MAX 128u /* constant texts; there are fewer in the code */
#define SQL_BUILT_MAX      128u /* built texts, the least recently used one goes: some have one for each depth */

/* A URL, taken apart and percent-decoded. Strings that the URL does not give are empty. */
struct sql_address {
    enum sql_dialect dialect;
    char path[512]; /* SQLite */
    char user[128];
    char host[256];
    char database[128];
    char socket[128];
    unsigned port;
};

/* PERMTAB_E_SYNTAX with a sentence that never repeats a password. */
int sql_address_parse(struct sql_address *out, const char *url, struct failure *failure) PERMTAB_MUST_CHECK;

enum sql_value_type { SQL_VALUE_NULL, SQL_VALUE_I64, SQL_VALUE_U64, SQL_VALUE_TEXT };

struct sql_value {
    enum sql_value_type type;
    uint64_t number;
    const char *text;
};

enum sql_statement_state {
    SQL_AT_REST, /* prepared or reset */
    SQL_RUNNING, /* on a row */
    SQL_DONE,    /* finished or failed; sql_reset brings it back to rest */
};

/* The head of a driver's statement. */
struct sql_statement {
    struct sql *sql;
    enum sql_statement_state state;
};

struct sql_kept {
    const char *text; /* the key of a constant text; of a built one our own copy */
    struct sql_statement *statement;
    uint64_t used;
};

/* The head of a driver's connection. */
struct sql {
    const struct sql_driver *driver;
    enum sql_dialect dialect;
    bool read_only;
    uint32_t timeout_s;
    char *url, *password; /* our own copies, for sql_reconnect */
    bool broken;       /* of no further use, and perhaps still in a transaction: it is asked nothing more */
    struct gate *gate; /* of the write under way, or NULL */
    bool begun;        /* in a transaction of sql_begin */
    bool again;        /* the server has rolled that transaction back: it can only be repeated */
    uint64_t changes;
    uint64_t clock; /* counts uses, for the choice of the built statement that goes */
    unsigned constant_count, built_count;
    struct sql_kept constant[SQL_STATEMENTS_MAX];
    struct sql_kept built[SQL_BUILT_MAX];
};

struct sql_driver {
    int (*connect)(struct sql **out, const struct sql_address *address, const struct sql_options *options,
                   struct failure *failure);
    void (*close)(struct sql *sql); /* after every statement was freed */
    /* After a begin that failed, a commit and a rollback the connection is in no transaction, or it is broken. */
    int (*begin)(struct sql *sql, enum sql_begin how, struct failure *failure);
    int (*commit)(struct sql *sql, struct failure *failure);
    void (*rollback)(struct sql *sql);
    int (*execute)(struct sql *sql, const char *text, struct failure *failure);
    struct sql_statement *(*prepare)(struct sql *sql, const char *text, struct failure *failure);
    void (*free)(struct sql_statement *statement);
    void (*bind)(struct sql_statement *statement, unsigned index, struct sql_value value);
    int (*step)(struct sql_statement *statement,
                struct failure *failure); /* 1, 0 or a code; sets sql->changes */
    void (*reset)(struct sql_statement *statement);
    bool (*column_is_null)(struct sql_statement *statement, unsigned index);
    uint64_t (*column_number)(struct sql_statement *statement, unsigned index);
    const char *(*column_text)(struct sql_statement *statement, unsigned index);
    /* moved: the open file is no longer the one at its path. Always false for a server. */
    bool (*moved)(struct sql *sql);
    /* alive: whether the server at the other end still answers; NULL where there is none. */
    bool (*alive)(struct sql *sql);
    /* settle: brings the open database back to the settings that it must have (SQLite's WAL mode), where that can
     * be done at once. True: something was changed. NULL for a server. */
    bool (*settle)(struct sql *sql);
    /* create: may create the database's file; NULL where there is nothing to create. */
    int (*create)(const struct sql_address *address, struct failure *failure);
};

extern const struct sql_driver store_sqlite_driver;
extern const struct sql_driver store_mysql_driver;

/* For a COMMIT that failed, and nobody knows how far it had come: failure says why. Returns PERMTAB_E_STORE_UNSURE. */
int commit_unsure(struct failure *failure);
/* Makes SQLite's file, in WAL mode, so that a first migration can connect. Does nothing for a server. */
int sql_create(const struct sql_options *options, struct failure *failure) PERMTAB_MUST_CHECK;
bool sql_moved(struct sql *sql);
bool sql_settle(struct sql *sql);

#endif
