/* A publisher whose store is a policy in memory: its history has the store id 7, the nonce 1 throughout, and begins
 * with revision 1 at time 1000. */
#ifndef PERMTAB_TESTS_SUPPORT_MEMORY_PUBLISHER_H
#define PERMTAB_TESTS_SUPPORT_MEMORY_PUBLISHER_H

#include "proxy/table/publisher.h"
#include "tests/support/memory_policy.h"

/* A publisher with room for 100 sets, and a lease of 2 s. */
struct publisher *memory_publisher(struct memory_policy *policy, uint32_t entries, uint32_t folds,
                                   struct counters *counters);
/* Reads what the store would read at that revision, for this table; facts_fini. */
void memory_read(const struct publisher *publisher, struct memory_policy *policy, uint64_t revision,
                 uint64_t user, struct scope_key scope, struct facts *out);
/* Reads at that revision and fills an entry; must succeed. */
void memory_fill(struct publisher *publisher, struct memory_policy *policy, uint64_t revision, uint64_t user,
                 struct scope_key scope);
/* Whether the user has an entry that answers for the scope. */
bool memory_resident(struct publisher *publisher, uint64_t user, struct scope_key scope);

#endif
