/* Facts of places that are kept in memory, by place: a few thousand, and a bounded number of bytes; the least recently
 * used go first. What they mean, and whether they are still true, is their owner's. On the loop's thread. */
#ifndef PERMTAB_ANSWER_KEPT_H
#define PERMTAB_ANSWER_KEPT_H

#include "proxy/rights/facts.h"

struct kept_facts;

/* Zeroed is empty. */
struct kept {
    struct kept_facts *facts; /* uthash by scope, the least recently used first */
    size_t count, bytes;
    uint64_t version; /* the caller's when something was last looked for: all is of that one */
};

/* The facts of a scope; NULL: there are none. Another version than before: all go first. */
struct facts *kept_find(struct kept *kept, struct scope_key scope, uint64_t version);
/* They are the last used now. Without memory they go. */
void kept_use(struct kept *kept, struct scope_key scope);
/* Takes over the contents of `facts`, in the place of those of the same scope. Without memory they are freed, and the
 * result is NULL. */
struct facts *kept_put(struct kept *kept, struct facts *facts);
void kept_drop(struct kept *kept, struct scope_key scope);
void kept_drop_all(struct kept *kept);
/* Whether facts are small enough to be put: larger ones would displace hundreds of others. */
bool kept_takes(const struct facts *facts);

#endif
