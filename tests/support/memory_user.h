/* What store_read_facts_user reads, from a policy in memory. */
#ifndef PERMTAB_TESTS_SUPPORT_MEMORY_USER_H
#define PERMTAB_TESTS_SUPPORT_MEMORY_USER_H

#include "proxy/base/array.h"
#include "proxy/store/store.h"
#include "tests/support/memory_policy.h"

#include <stdlib.h>

static inline bool memory_on_place(const struct store_place *place, struct scope_key scope, uint32_t *level)
{
    for (*level = 0; *level < place->levels; ++*level)
        if (scope_equal(place->chain[*level], scope))
            return true;
    return false;
}

/* 0: the user has an overwrite. The revision is for the caller to say. */
static inline int memory_read_user(const struct memory_policy *policy, const struct store_place *place,
                                   uint64_t user, int64_t now, struct facts *out)
{
    uint32_t level;
    *out = (struct facts){.user = user,
                          .scope = place->chain[place->levels - 1],
                          .now = now,
                          .without_roles = true,
                          .chain_count = place->levels};
    for (level = 0; level < place->levels; level++)
        out->chain[level].key = place->chain[level];
    for (size_t i = 0; i < policy->overwrites.count && !place->spares_users; i++) {
        const struct memory_overwrite *row = &policy->overwrites.items[i];
        if (row->subject == OVERWRITE_USER && row->subject_id == user &&
            memory_on_place(place, row->scope, &level))
            return 0;
    }
    for (size_t i = 0; i < policy->assignments.count; i++) {
        const struct memory_assignment *row = &policy->assignments.items[i];
        if (row->user != user || !memory_on_place(place, row->scope, &level))
            continue;
        struct facts_assignment *item = array_add(&out->assignments, &out->assignment_count, sizeof *item);
        if (item == NULL)
            abort();
        *item = (struct facts_assignment){.role = row->role, .level = level, .expires_at = row->expires_at};
    }
    return 1;
}

#endif
