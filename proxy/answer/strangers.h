/* Strangers: users without rows of their own. What one of them may do at a place is what the place says, so it is read once
 * for all: facts of scopes as read for a stranger are kept, and another stranger's question is answered from a copy of them.
 * So a flood of made-up user ids costs the store nothing.
 *
 * Why that is true: kept facts hold no row of any user, and the known users say that this user has none at the applied
 * revision, or ever had since it began. What else they say is judged by publisher_fill like that of any fill: by the history
 * since their revision. Owners stand in the chain, and are compared with the user as always. On the loop's thread. */
#ifndef PERMTAB_ANSWER_STRANGERS_H
#define PERMTAB_ANSWER_STRANGERS_H

#include "proxy/answer/known_users.h"

struct kept_facts;

struct strangers {
    const struct known_users *known_users;
    const struct publisher *publisher;
    struct kept_facts *kept; /* uthash by scope, the least recently used first */
    size_t count, bytes;
    uint64_t kept_version; /* publisher_kept_version when they were last looked at: none is older */
};

void strangers_init(struct strangers *strangers, const struct known_users *known_users,
                    const struct publisher *publisher);
void strangers_fini(struct strangers *strangers);

/* Whether the user is one, at the applied revision. NULL: nobody is one. */
bool strangers_include(const struct strangers *strangers, uint64_t user);
/* A copy of what is kept of the scope, for that user; fini it after true. False, as it is of NULL: ask the store. */
bool strangers_facts(struct strangers *strangers, uint64_t user, struct scope_key scope, struct facts *out);

/* Facts of a stranger that publisher_fill has just published: they are true at the applied revision. Keeps a copy, or
 * notes that the kept ones, from which they came, are still true. */
void strangers_learn(struct strangers *strangers, const struct facts *facts);
/* Nothing is kept from before: the store was found to have changed in ways that its log does not tell. */
void strangers_forget_all(struct strangers *strangers);
/* What is kept of the scope is outdated. */
void strangers_forget(struct strangers *strangers, struct scope_key scope);

#endif
