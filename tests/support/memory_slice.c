/* Whoever has more than roles without an end is left to be read alone, here as there. */
#include "tests/support/memory_slice.h"

#include "tests/support/memory_private.h"

#include <string.h>

/* No user of a test has this id. */
#define NOBODY (UINT64_MAX - 1)

static bool has_more_than_roles(const struct facts *facts)
{
    for (size_t i = 0; i < facts->assignment_count; i++)
        if (facts->assignments[i].expires_at != FACTS_NEVER)
            return true;
    for (size_t i = 0; i < facts->overwrite_count; i++)
        if (facts->overwrites[i].subject == OVERWRITE_USER)
            return true;
    return false;
}

static void take(struct facts_slice *slice, const struct facts *facts)
{
    if (has_more_than_roles(facts))
        facts_slice_set_alone(slice, facts->user);
    for (size_t i = 0; i < facts->assignment_count; i++)
        if (facts_slice_assign(slice, facts->user, facts->assignments[i].role, facts->assignments[i].level) < 0)
            memory_die("out of memory");
}

/* The definitions of a kind are those of any user who is of it. */
static void give_roles(struct memory_policy *policy, struct facts_slice *slice, size_t index, int64_t now)
{
    struct facts *kind = &slice->kinds[slice->kind_of[index]], whole;
    if (kind->roles.count > 0)
        return;
    memory_facts(policy, slice->users[index], slice->scope, now, &whole);
    kind->roles = whole.roles;
    memset(&whole.roles, 0, sizeof whole.roles);
    facts_fini(&whole);
}

struct facts_slice *memory_slice(struct memory_policy *policy, struct scope_key scope, const uint64_t *users,
                                 size_t count, const struct facts *stamp)
{
    struct facts_slice *slice;
    struct facts facts;
    if (facts_slice_new(&slice, scope, users, count) < 0)
        memory_die("out of memory");
    struct facts *common = facts_slice_common(slice);
    memory_facts(policy, NOBODY, scope, stamp->now, common);
    if (common->chain_count == 0) {
        facts_slice_free(slice);
        return NULL;
    }
    role_list_fini(&common->roles);
    memset(&common->roles, 0, sizeof common->roles);
    common->revision = stamp->revision;
    common->nonce = stamp->nonce;
    for (size_t i = 0; i < count; i++) {
        memory_facts(policy, users[i], scope, stamp->now, &facts);
        take(slice, &facts);
        facts_fini(&facts);
    }
    if (facts_slice_finish(slice) < 0)
        memory_die("out of memory");
    for (size_t i = 0; i < count; i++)
        if (slice->kind_of[i] != FACTS_SLICE_ALONE)
            give_roles(policy, slice, i, stamp->now);
    memory_slice_stamp(slice, stamp->generation);
    return slice;
}

void memory_slice_stamp(struct facts_slice *slice, uint64_t generation)
{
    for (size_t i = 0; i < slice->kind_count; i++) {
        slice->kinds[i].generation = generation;
        slice->kinds[i].unasked = true;
    }
}
