/* Tells which of many users and scopes the store still has, for cleaning up after those that are gone. To be called
 * on a thread. */
#ifndef PERMTAB_STORE_ORPHANS_H
#define PERMTAB_STORE_ORPHANS_H

#include "proxy/store/store.h"

#define STORE_ORPHANS_MAX 200u

/* present[i]: there is an assignment of users[i], or an overwrite for them. At most STORE_ORPHANS_MAX. */
int store_users_present(struct store *store, const uint64_t *users, size_t count, bool *present,
                        struct failure *failure) PERMTAB_MUST_CHECK;
/* present[i]: there is a scope scopes[i]. At most STORE_ORPHANS_MAX. */
int store_scopes_present(struct store *store, const struct scope_key *scopes, size_t count, bool *present,
                         struct failure *failure) PERMTAB_MUST_CHECK;

#endif
