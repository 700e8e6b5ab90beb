/* A second resolver: slow, obviously right, and sharing no code with proxy/. It reads the rows of a memory policy and
 * follows the numbered steps of the design literally, one permission at a time, with sets that are lists. It knows no
 * inputs, no interning, no bitmaps. */
#ifndef PERMTAB_TESTS_SUPPORT_SLOW_RESOLVER_H
#define PERMTAB_TESTS_SUPPORT_SLOW_RESOLVER_H

#include "tests/support/memory_policy.h"

/* any[i] and own[i] say whether the user may do permission i there; as many as the policy has permissions. */
void slow_resolve(const struct memory_policy *policy, uint64_t user, struct scope_key scope, int64_t now,
                  bool *any, bool *own);

#endif
