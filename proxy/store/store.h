/* The store: permtab's reads and writes of SQL, in its own words. Every function blocks and is called from helper
 * threads, one connection a thread; the event loop never calls any of them.
 *
 * Revisions: triggers in the writer's own transaction give every change a commit-ordered, gap-free revision,
 * whoever writes. docs/SCHEMA.md. */
#ifndef PERMTAB_STORE_STORE_H
#define PERMTAB_STORE_STORE_H

#include "proxy/base/failure.h"
#include "proxy/rights/catalogue.h"
#include "proxy/rights/change.h"
#include "proxy/rights/facts.h"
#include "proxy/rights/facts_slice.h"
#include "proxy/store/sql.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The result of a look at the schema, by which the next look finds changes that were made and taken back in
 * between. It belongs to the store and not to a connection: a new connection gets it from the old one. */
struct schema_seen {
    uint64_t mark;     /* of the definitions; 0: there was no look yet */
    uint64_t revision; /* the log's end */
    uint32_t filled;   /* which policy tables had rows */
};

/* A connection to the store and what it knows of it. */
struct store {
    struct sql *sql;
    uint64_t store_id;
    uint64_t file_device, file_inode; /* SQLite: of the file this connection has open */
    uint64_t wal_inode, shm_inode;    /* SQLite: of the two files beside it; 0 when there were none */
    char *path;                       /* SQLite: its path; else NULL */
    struct schema_seen looked;        /* the last one */
    struct log_position snapshot;     /* of the snapshot that is open */
    bool in_snapshot;                 /* one is open */
    int64_t snapshot_now;             /* the store's clock as the open snapshot gave it */
    struct log_position known;        /* found by the last snapshot; the next one begins to look there */
};

/* Connects; reads the store id; refuses a schema that is missing, older, newer or half applied with PERMTAB_E_SCHEMA
 * and a sentence that says what to do. */
int store_open(struct store *out, const struct sql_options *options,
               struct failure *failure) PERMTAB_MUST_CHECK;
void store_close(struct store *store);

/* The connection below it, borrowed: for documents, which write their own SQL. */
static inline struct sql *store_sql(const struct store *store)
{
    return store->sql;
}

/* False when this connection reads a file that is no longer the one at its path (SQLite: replaced, removed, or its
 * -wal or -shm file gone): close the store and open it anew. A few stat calls, so a connection that rests between
 * jobs asks before each. */
bool store_current(const struct store *store);

/* ---- reading, in a snapshot --------------------------------------------------------------------------------- */

/* Begins a snapshot and says where in the log it is, and the store's clock (microseconds UTC). */
int store_snapshot(struct store *store, struct log_position *at, int64_t *now,
                   struct failure *failure) PERMTAB_MUST_CHECK;
void store_snapshot_end(struct store *store);
/* The store's clock alone; in a snapshot or not. */
int store_now(struct store *store, int64_t *now, struct failure *failure) PERMTAB_MUST_CHECK;

/* The nonce of a change row; in a snapshot or not. 1 found, 0 there is none. */
int store_nonce(struct store *store, uint64_t revision, uint64_t *nonce,
                struct failure *failure) PERMTAB_MUST_CHECK;

/* What somebody believes of a place: its chain from global down, and where the log stands. */
struct store_place {
    struct log_position at;
    struct scope_key chain[SCOPE_CHAIN_MAX];
    uint32_t levels;
    bool spares_users; /* and that no user has an overwrite on it; for store_read_facts_user */
};

/* Outside of a snapshot: facts of up to STORE_KNOWN_MANY users at that place in one statement, without definitions of
 * roles. 1: they are there. 0: place or log are not as believed, and there are no facts; read them in a snapshot.
 * Failures as of store_read_facts_many. */
#define STORE_KNOWN_MANY 192u
int store_read_facts_known(struct store *store, const struct store_place *place, const struct facts_key *keys,
                           size_t count, struct facts *out, struct failure *failure) PERMTAB_MUST_CHECK;

/* Outside of a snapshot: the rows of one user alone, at a place of which all else is known. 1: *out has the user's
 * assignments there, the chain's keys, revision, nonce and clock, and nothing of the place. 0: it has nothing, and is
 * to be read as above: the log is not as believed, there are many rows, or the user has an overwrite. */
int store_read_facts_user(struct store *store, const struct store_place *place, uint64_t user, struct facts *out,
                          struct failure *failure) PERMTAB_MUST_CHECK;

/* The following functions, up to store_read_catalogue, are called inside a snapshot. */

/* PERMTAB_E_LIMIT when the user or the chain exceeds what one fill may read (10,000 assignments, 100,000 overwrite
 * rows, 100,000 roles). `revision`, `nonce` and `now` of the facts are those of the open snapshot: rows and the
 * clock that judges them come from one snapshot, and no caller can forget that. Asserts that one is open. */
int store_read_facts(struct store *store, uint64_t user, struct scope_key scope, struct facts *out,
                     struct failure *failure) PERMTAB_MUST_CHECK;
/* The same for many users and places at once, in hardly more statements than for one of each place. The keys differ,
 * and there are 1 to STORE_FACTS_MANY of them. *out: as many facts. PERMTAB_E_LIMIT also where together it would take
 * too much memory: then each may be read by itself. On failure there are no facts. */
#define STORE_FACTS_MANY 64u
int store_read_facts_many(struct store *store, const struct facts_key *keys, size_t count, struct facts *out,
                          struct failure *failure) PERMTAB_MUST_CHECK;
/* The users of the slice at its place, in a few statements. *listed: they are to be named one by one, because with all
 * who are between them there would be too many rows; when that is found here it is set. PERMTAB_E_NOT_FOUND: there is
 * no such place, or its chain is broken. PERMTAB_E_LIMIT: it is too much to be read at once. After a failure the slice
 * is good for clear and free alone. */
int store_read_slice(struct store *store, struct facts_slice *slice, bool *listed,
                     struct failure *failure) PERMTAB_MUST_CHECK;
/* The roles named and all their ancestors, each once, sorted by id; missing ones are left out. */
int store_read_roles(struct store *store, const uint64_t *ids, size_t count, struct role_list *out,
                     struct failure *failure) PERMTAB_MUST_CHECK;
/* PERMTAB_E_LIMIT when a bit is not below permissions_max. */
int store_read_catalogue(struct store *store, uint32_t permissions_max, struct catalogue *out,
                         struct failure *failure) PERMTAB_MUST_CHECK;

/* 1 when other servers copy the rows that this one changes; 0 when they run its statements again (binlog_format =
 * STATEMENT), which may change other rows there, and the log's nonces are the same nevertheless: such a replica
 * cannot be told from the primary. To be called on the primary, outside of a snapshot. */
int store_replicates_rows(struct store *store, struct failure *failure) PERMTAB_MUST_CHECK;

/* Users with rows of their own, ids in the store's order from `from` on, at most `limit` rows: one user may come
 * several times. Fewer than `limit`: there are no more. */
enum store_users { STORE_USERS_ASSIGNED, STORE_USERS_OVERWRITTEN };
int store_read_users(struct store *store, enum store_users which, uint64_t from, uint64_t *users,
                     size_t limit, size_t *count, struct failure *failure) PERMTAB_MUST_CHECK;
/* The first id of the store's order. Each id is followed by id + 1, and the last one is the first one minus 1. */
uint64_t store_users_first(const struct store *store);

/* Who has a role, and where: of one user, of one role, or at one scope. (user, scope) in the order of users from `from`
 * on, at most `limit`: the same may come several times. Fewer than `limit`: there are no more. In a snapshot or not. */
struct store_holders {
    enum { STORE_HOLDERS_USER, STORE_HOLDERS_ROLE, STORE_HOLDERS_SCOPE } which;
    uint64_t id; /* of the user or the role */
    struct scope_key scope;
};
int store_read_holders(struct store *store, const struct store_holders *of, uint64_t from, struct facts_key *keys,
                       size_t limit, size_t *count, struct failure *failure) PERMTAB_MUST_CHECK;

/* ---- the log ------------------------------------------------------------------------------------------------- */

/* Cheap: by key, no snapshot kept. *newer: a change row after `at` is committed. PERMTAB_E_SCHEMA (a code that
 * means "do not believe this store") when `at` is not found again with its nonce, the store id differs, the SQLite
 * file was replaced, or the server is a replica. *now: the store's clock. */
int store_poll(struct store *store, const struct log_position *at, bool *newer, int64_t *now,
               struct failure *failure) PERMTAB_MUST_CHECK;
/* Inside a snapshot: every change after `after` up to the snapshot's own revision, in order. PERMTAB_E_LIMIT when
 * there are more than `limit` (the caller then reads everything again); PERMTAB_E_SCHEMA when there is a gap (rows
 * purged). */
int store_read_changes(struct store *store, uint64_t after, size_t limit, struct change_list *out,
                       struct failure *failure) PERMTAB_MUST_CHECK;
/* Inside a snapshot or not: assignments with from < expires_at <= to, as changes of kind CHANGE_ASSIGNMENT,
 * revision 0. */
int store_read_expired(struct store *store, int64_t from, int64_t to, size_t limit, struct change_list *out,
                       struct failure *failure) PERMTAB_MUST_CHECK;
/* Checks triggers, tables and references. PERMTAB_E_SCHEMA: what is there, why that is refused, and how it is
 * mended. In SQLite it also restores the journal mode. */
int store_check_schema(struct store *store, struct failure *failure) PERMTAB_MUST_CHECK;
/* Deletes change rows older than keep_us (store's clock) beyond the newest keep_rows, a slice of at most `slice` rows;
 * never the newest row. Returns the number deleted, or a code. */
int store_trim_changes(struct store *store, int64_t keep_us, uint64_t keep_rows, size_t slice,
                       struct failure *failure) PERMTAB_MUST_CHECK;

/* ---- migrations ---------------------------------------------------------------------------------------------- */

/* Applies missing migrations in the order of their numbers, and mends later damage (repair.c). A schema that is too
 * new or half applied, or damage that has to be mended by hand, is refused with PERMTAB_E_SCHEMA. *applied: how
 * many migrations. */
int store_migrate(const struct sql_options *options, unsigned *applied,
                  struct failure *failure) PERMTAB_MUST_CHECK;
/* Whether store_migrate would find nothing to do. False in doubt. */
bool store_migrated(const struct sql_options *options);
/* Appends the configured scope types to the stored ones; PERMTAB_E_CONFLICT when the configuration contradicts them. */
int store_sync_types(struct store *store, const struct scope_types *wanted,
                     struct failure *failure) PERMTAB_MUST_CHECK;

#endif
