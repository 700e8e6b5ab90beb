/* Shared by the store's own files. */
#ifndef PERMTAB_STORE_PRIVATE_H
#define PERMTAB_STORE_PRIVATE_H

#include "proxy/store/sql_driver.h"
#include "proxy/store/store.h"

/* ---- schema.c: versions and the look -------------------------------------------------------------------- */

struct schema_state {
    bool exists;  /* there is a table permtab_store, with its row */
    bool ready;   /* no migration is under way, or was left half applied */
    bool mending; /* a repair is under way, or was stopped */
    uint64_t store_id;
    unsigned version;
    char state[64];
};

int schema_state_read(struct sql *sql, struct schema_state *out, struct failure *failure) PERMTAB_MUST_CHECK;
/* Refuses a schema that is half applied or half mended, or newer than this program, with PERMTAB_E_SCHEMA. */
int schema_state_check(const struct schema_state *state, unsigned newest,
                       struct failure *failure) PERMTAB_MUST_CHECK;
/* The number of the newest migration that this program brings. */
unsigned schema_newest(enum sql_dialect dialect);
/* Compares the schema with what the migrations make; *mark as in struct store. PERMTAB_E_SCHEMA: what is there, why
 * that is refused, and what mends it. */
int schema_compare(struct sql *sql, uint64_t *mark, struct failure *failure) PERMTAB_MUST_CHECK;

/* ---- believe.c: may this store be believed? ------------------------------------------------------------- */

/* SQLite: remembers which files are open. */
int store_files_remember(struct store *store, struct failure *failure) PERMTAB_MUST_CHECK;
/* SQLite: PERMTAB_E_SCHEMA when other files are at the path now. */
int store_files_check(const struct store *store, struct failure *failure) PERMTAB_MUST_CHECK;
/* MySQL: PERMTAB_E_SCHEMA when the server is a replica. */
int store_replica_check(struct store *store, struct failure *failure) PERMTAB_MUST_CHECK;

/* ---- facts_roles.c --------------------------------------------------------------------------------------- */

/* As store_read_roles; PERMTAB_E_LIMIT when there are more than `most`. */
int store_read_roles_up_to(struct store *store, const uint64_t *ids, size_t count, size_t most,
                           struct role_list *out, struct failure *failure) PERMTAB_MUST_CHECK;
/* Reads the roles that are held or default in any of these facts, with their ancestors, and gives each its own. */
int store_give_roles(struct store *store, struct facts *facts, size_t count,
                     struct failure *failure) PERMTAB_MUST_CHECK;

#define STORE_ASSIGNMENTS_MAX 10000u
#define STORE_OVERWRITES_MAX  100000u
#define STORE_ROLES_MAX       100000u
/* What all facts of one read of many may have together, of rows and of roles: a few milliseconds. One user with more
 * is read by himself. */
#define STORE_TOGETHER_MAX 4096u

/* The MySQL server's clock as SQL: microseconds UTC, whatever the session's time zone. */
#define STORE_MYSQL_NOW "TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', UTC_TIMESTAMP(6))"

/* PERMTAB_E_SCHEMA when a policy table lost all its rows since the last look and no change row says so. */
int store_emptied_check(struct store *store, struct failure *failure) PERMTAB_MUST_CHECK;

#endif
