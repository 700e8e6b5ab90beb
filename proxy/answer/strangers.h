/* Strangers: users without rows of their own. The place alone decides what any of them may do there, so it is read
 * once for all: facts of scopes that were read for a stranger are kept, and another stranger's question is answered
 * from a copy of them. So a flood of made-up user ids costs the store nothing.
 *
 * Kept facts are true for another stranger because they hold no row of any user, and the known users show that this
 * user has none at the applied revision, nor had any since the counting began. publisher_fill judges the rest of
 * the facts as it does for any fill: by the history since their revision. Owners are in the chain, and are compared
 * with the user as always. On the loop's thread. */
#ifndef PERMTAB_ANSWER_STRANGERS_H
#define PERMTAB_ANSWER_STRANGERS_H

#include "proxy/answer/kept.h"
#include "proxy/answer/known_users.h"

struct strangers {
    const struct known_users *known_users;
    const struct publisher *publisher;
    struct kept kept; /* of the publisher_kept_version */
};

void strangers_init(struct strangers *strangers, const struct known_users *known_users,
                    const struct publisher *publisher);
void strangers_fini(struct strangers *strangers);

/* Whether the user is a stranger at the applied revision. NULL: no user is one. */
bool strangers_include(const struct strangers *strangers, uint64_t user);
/* Whether strangers_include knows the strangers: false while users are being counted, and everybody counts as known. */
bool strangers_can_tell(const struct strangers *strangers);
/* Copies the kept facts of the scope for that user; fini the copy after true. False, also for NULL strangers: ask
 * the store. */
bool strangers_facts(struct strangers *strangers, uint64_t user, struct scope_key scope, struct facts *out);

/* Learns facts of a stranger that publisher_fill has just published, which are true at the applied revision: keeps
 * a copy, or notes that the kept facts that they came from are still true. */
void strangers_learn(struct strangers *strangers, const struct facts *facts);
/* Drops the kept facts of the scope, which are outdated. */
void strangers_forget(struct strangers *strangers, struct scope_key scope);

#endif
