/* A change of the policy as one transaction, repeated when the store asks for it. */
#ifndef PERMTAB_DOCUMENT_TRANSACTION_H
#define PERMTAB_DOCUMENT_TRANSACTION_H

#include "proxy/document/policy.h"

/* The statements of a transaction. May be called several times: it starts from nothing each time. */
typedef int (*policy_body_fn)(void *context, struct failure *failure);

/* On success the result's store id and revision are set. `dry_run`: everything is done, then rolled back, and the
 * revision is the one that stays. The connection is usable afterwards unless sql_broken says otherwise. */
int policy_transaction(struct store *store, bool dry_run, policy_body_fn body, void *context,
                       struct policy_apply_result *result, struct failure *failure) PERMTAB_MUST_CHECK;

/* Called inside: the counter as this transaction sees it. */
int policy_revision(struct store *store, uint64_t *revision, struct failure *failure) PERMTAB_MUST_CHECK;
#endif
