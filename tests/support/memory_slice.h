/* A slice of facts from a memory policy, as the store reads one. */
#ifndef PERMTAB_TESTS_SUPPORT_MEMORY_SLICE_H
#define PERMTAB_TESTS_SUPPORT_MEMORY_SLICE_H

#include "proxy/rights/facts_slice.h"
#include "tests/support/memory_policy.h"

/* Of the users, ascending, at a place; NULL when it is not there, or its chain is broken. `stamp` has the revision, the
 * nonce, the generation and the time of the read. */
struct facts_slice *memory_slice(struct memory_policy *policy, struct scope_key scope, const uint64_t *users,
                                 size_t count, const struct facts *stamp);
/* Stamps each kind with a generation. */
void memory_slice_stamp(struct facts_slice *slice, uint64_t generation);

#endif
