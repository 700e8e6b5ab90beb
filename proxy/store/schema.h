/* The expected schema and the one that is there, as two lists of objects; the troubles that their comparison finds;
 * and the repair. Private to store/. */
#ifndef PERMTAB_STORE_SCHEMA_H
#define PERMTAB_STORE_SCHEMA_H

#include "proxy/store/private.h"

/* ---- tokens.c: SQL without white space, comments, quotes around names, and case -------------------------- */

struct tokens {
    char **items;
    size_t count;
    char *buffer;
};

/* Words and quoted names come in lower case, texts as they are written. 0 or PERMTAB_E_MEMORY. */
int tokens_read(struct tokens *out, const char *text, enum sql_dialect dialect) PERMTAB_MUST_CHECK;
void tokens_fini(struct tokens *tokens);
bool token_is(const struct tokens *tokens, size_t at, const char *word);
/* The index of the parenthesis that closes the one at `open`; tokens->count when none does. */
size_t tokens_close(const struct tokens *tokens, size_t open);
/* Tokens from..to-1 with a space between, malloc'ed; NULL when there is no memory. */
char *tokens_join(const struct tokens *tokens, size_t from, size_t to);

/* ---- statements.c: the migrations that this program brings ----------------------------------------------- */

struct migration {
    const char *dialect;
    unsigned number;
    const char *name;
    const char *text;
};

/* The migration of that number, or NULL. */
const struct migration *migration_find(enum sql_dialect dialect, unsigned number);

struct splitter {
    const char *at;
    char delimiter[16];
};

#define SPLITTER(text) ((struct splitter){.at = (text), .delimiter = ";"})

/* The next statement, malloc'ed. 1, 0 at the end, or PERMTAB_E_MEMORY. */
int splitter_next(struct splitter *splitter, char **out) PERMTAB_MUST_CHECK;

/* ---- objects ---------------------------------------------------------------------------------------------------- */

enum object_kind {
    OBJECT_TABLE,
    OBJECT_VIEW,
    OBJECT_COLUMN,
    OBJECT_REFERENCE,
    OBJECT_CHECK,
    OBJECT_TRIGGER,
    OBJECT_INDEX,
};

enum object_flag {
    OBJECT_KEY = 1,       /* column: of the primary key */
    OBJECT_NOT_NULL = 2,  /* column */
    OBJECT_GENERATED = 4, /* column: computed from others */
    OBJECT_RANDOM = 8,    /* column: its default is a random number */
    /* reference: changes rows when the row that it refers to is changed or deleted */
    OBJECT_CASCADES = 16,
    OBJECT_UNIQUE = 32,       /* index */
    OBJECT_CONSTRAINT = 64,   /* index: made by the table's own text */
    OBJECT_PARTITIONED = 128, /* table, MySQL */
    OBJECT_ROWID = 256,       /* table, SQLite: has a hidden rowid beside its primary key */
};

struct object {
    enum object_kind kind;
    unsigned flags;
    unsigned long size; /* column of texts: how many characters it takes at least, or takes */
    char *table;        /* that it belongs to */
    char *name;         /* its name, no part of its identity */
    char *what;         /* its identity: two objects of a table with the same kind and `what` are the same */
    char *detail;       /* what else must agree: a column's type, a table's engine */
    char *sql;          /* the statement that makes it, or "" */
};

struct objects {
    struct object *items;
    size_t count;
    bool failed; /* memory ended: the list is not complete */
};

void objects_fini(struct objects *objects);
/* Copies its arguments; NULL counts as "". Returns the object, or NULL with `failed` set. */
struct object *objects_add(struct objects *objects, enum object_kind kind, const char *table,
                           const char *name, const char *what, const char *detail);
/* The same for a `what` that it takes over; NULL sets `failed`. */
void objects_take(struct objects *objects, enum object_kind kind, const char *table, const char *name,
                  char *what);
/* The object of that name in the table, or NULL. */
struct object *objects_called(const struct objects *objects, enum object_kind kind, const char *table,
                              const char *name);
/* The object, or NULL. */
const struct object *objects_find(const struct objects *objects, enum object_kind kind, const char *table,
                                  const char *what);
const struct object *objects_named(const struct objects *objects, enum object_kind kind, const char *name);

/* The objects that the migrations make; expected.c. */
int objects_expect(struct objects *out, enum sql_dialect dialect, struct failure *failure) PERMTAB_MUST_CHECK;
/* Adds the checks in the text of a table. For both lists. */
void objects_add_checks(struct objects *objects, const char *table, const struct tokens *tokens);
/* Adds the trigger, view or index that a CREATE statement of SQLite makes. For both lists. */
void objects_add_made(struct objects *objects, enum object_kind kind, const char *table, const char *name,
                      const struct tokens *tokens);
/* A statement about the schema that is there, and what becomes of a row of it. */
struct objects_query {
    const char *text;
    void (*add)(struct objects *out, struct sql_statement *row);
};

/* Reads the rows of all these statements. */
int objects_read(struct objects *out, struct sql *sql, const struct objects_query *queries, size_t count,
                 struct failure *failure) PERMTAB_MUST_CHECK;
/* The objects that are there; found_sqlite.c, found_mysql.c. */
int objects_find_sqlite(struct objects *out, struct sql *sql, struct failure *failure) PERMTAB_MUST_CHECK;
int objects_find_mysql(struct objects *out, struct sql *sql, struct failure *failure) PERMTAB_MUST_CHECK;

/* ---- trouble.c -------------------------------------------------------------------------------------------- */

enum trouble_kind {
    TROUBLE_TABLE_MISSING,
    TROUBLE_VIEW_MISSING,
    TROUBLE_ENGINE,
    TROUBLE_PARTITIONED,
    TROUBLE_STRICT,
    TROUBLE_ROWID,
    TROUBLE_COLUMN_MISSING,
    TROUBLE_COLUMN_DIFFERENT,
    TROUBLE_COLUMN_GENERATED,
    TROUBLE_KEY,
    TROUBLE_REFERENCE_MISSING,
    TROUBLE_CASCADES,
    TROUBLE_CHECK_MISSING,
    TROUBLE_UNIQUE,
    TROUBLE_TRIGGER_MISSING,
    TROUBLE_TRIGGER_DIFFERENT,
    /* an index, or a view for people: no reason to refuse anything, but --migrate makes it again */
    TROUBLE_COMFORT,
};

struct trouble {
    enum trouble_kind kind;
    const struct object *expected, *found; /* the one that matters, or both; borrowed */
};

struct schema {
    enum sql_dialect dialect;
    struct objects expected, found;
    struct trouble *troubles;
    size_t trouble_count;
};

/* Reads and compares. Release with schema_fini, also after a failure. */
int schema_read(struct schema *out, struct sql *sql, struct failure *failure) PERMTAB_MUST_CHECK;
void schema_fini(struct schema *schema);
/* The first trouble that is a reason to refuse the store; NULL when there is none. */
const struct trouble *schema_refuses(const struct schema *schema);
/* Whether permtabd --migrate can mend it. */
bool trouble_mendable(const struct schema *schema, const struct trouble *trouble);
/* Says what is there, why that is refused, and how it is mended. Returns PERMTAB_E_SCHEMA. */
int trouble_say(const struct schema *schema, const struct trouble *trouble, struct failure *failure);

/* ---- repair.c --------------------------------------------------------------------------------------------- */

/* Whether schema_repair would do anything, or fail. True in doubt. Locks nothing. */
bool schema_is_damaged(struct sql *sql);
/* Mends the troubles that can be mended, in SQLite inside of the open transaction, with foreign keys off. Writes
 * nothing when nothing is wrong. PERMTAB_E_SCHEMA with the first trouble that is left. */
int schema_repair(struct sql *sql, bool unfinished, struct failure *failure) PERMTAB_MUST_CHECK;

#endif
