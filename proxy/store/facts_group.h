/* A place and the users who are asked about there. Private to the store's own files: read.c and read_known.c. */
#ifndef PERMTAB_STORE_FACTS_GROUP_H
#define PERMTAB_STORE_FACTS_GROUP_H

#include "proxy/store/private.h"

#include "proxy/rights/facts.h"

/* What its users have in common is kept by the first of them until it is given to all. */
struct group {
    struct facts **members; /* sorted by user, all at one scope */
    size_t count;
    size_t *rows_left; /* of all groups of the read */
};

/* Rows that one user may have at one place. */
#define GROUP_ROWS_MAX (STORE_ASSIGNMENTS_MAX + STORE_ROLES_MAX + STORE_OVERWRITES_MAX)

/* Reads the chain of out->scope with its marks (read.c). Without one chain_count is 0. */
int chain_read(struct store *store, struct facts *out, struct failure *failure) PERMTAB_MUST_CHECK;

/* The selects of what hangs on the chain, which the first member has; appended to a text. The size is enough for them.
 * Columns: what (below 4), user, role, scope type, scope id, expires_at, bit, flags. */
size_t group_text_size(const struct group *group);
char *group_text(const struct group *group, char *end);
/* Returns the index of the next parameter. */
unsigned group_bind(const struct group *group, struct sql_statement *st, unsigned index);
/* Takes a row of them. PERMTAB_E_LIMIT when there are too many, for one user or for all. */
int group_take(const struct group *group, struct sql_statement *st, struct failure *failure) PERMTAB_MUST_CHECK;
/* Gives to all what all have in common, once all rows have been taken. PERMTAB_E_LIMIT when the copies would be
 * many. */
int group_share(const struct group *group, struct failure *failure) PERMTAB_MUST_CHECK;

#endif
