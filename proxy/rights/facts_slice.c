/* The kinds are the states of an automaton that reads a user's rows: from each of them a role more leads to another. So
 * a row costs one step, however many users there are, and two who have the same rows in the same order are of one kind.
 * In another order they may be of two, which costs a little and is not wrong. */
#include "proxy/rights/facts_slice.h"

#include "proxy/base/array.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct facts_step {
    uint64_t role;
    uint32_t level;
    uint16_t from, to;
};

/* Roles of one user; who has more is read alone. */
#define ROLES_MAX 32u

int facts_slice_new(struct facts_slice **out, struct scope_key scope, const uint64_t *users, size_t count)
{
    assert(count > 0 && count <= FACTS_SLICE_USERS_MAX);
    struct facts_slice *slice = calloc(1, sizeof *slice);
    if (slice == NULL)
        return PERMTAB_E_MEMORY;
    slice->scope = scope;
    slice->count = count;
    slice->users = malloc(count * sizeof *slice->users);
    slice->kind_of = calloc(count, sizeof *slice->kind_of);
    slice->kinds = calloc(FACTS_SLICE_KINDS_MAX, sizeof *slice->kinds);
    if (slice->users == NULL || slice->kind_of == NULL || slice->kinds == NULL) {
        facts_slice_free(slice);
        return PERMTAB_E_MEMORY;
    }
    memcpy(slice->users, users, count * sizeof *users);
    slice->kind_count = 1;
    *out = slice;
    return 0;
}

void facts_slice_clear(struct facts_slice *slice)
{
    for (size_t i = 0; i < slice->kind_count; i++)
        facts_fini(&slice->kinds[i]);
    free(slice->steps);
    slice->steps = NULL;
    slice->step_count = slice->last = 0;
    slice->kind_count = 1;
    memset(slice->kind_of, 0, slice->count * sizeof *slice->kind_of);
}

void facts_slice_free(struct facts_slice *slice)
{
    if (slice == NULL)
        return;
    for (size_t i = 0; i < slice->kind_count; i++)
        facts_fini(&slice->kinds[i]);
    free(slice->steps);
    free(slice->kinds);
    free(slice->kind_of);
    free(slice->users);
    free(slice);
}

static int user_order(const void *a, const void *b)
{
    const uint64_t *left = a, *right = b;
    return *left < *right ? -1 : *left > *right;
}

/* Where the user is; slice->count: nowhere. Rows come in the order of users, mostly. */
static size_t index_of(struct facts_slice *slice, uint64_t user)
{
    for (size_t i = slice->last; i < slice->last + 2 && i < slice->count; i++)
        if (slice->users[i] == user)
            return slice->last = i;
    const uint64_t *found = bsearch(&user, slice->users, slice->count, sizeof user, user_order);
    return found != NULL ? slice->last = (size_t)(found - slice->users) : slice->count;
}

/* The kind of those who have a role more; FACTS_SLICE_ALONE: there are too many kinds, or roles. */
static int step(struct facts_slice *slice, uint16_t from, uint64_t role, uint32_t level, uint16_t *to)
{
    for (size_t i = 0; i < slice->step_count; i++) {
        const struct facts_step *known = &slice->steps[i];
        if (known->from == from && known->role == role && known->level == level) {
            *to = known->to;
            return 0;
        }
    }
    *to = FACTS_SLICE_ALONE;
    const struct facts *before = &slice->kinds[from];
    if (slice->kind_count == FACTS_SLICE_KINDS_MAX || before->assignment_count == ROLES_MAX)
        return 0;
    struct facts *kind = &slice->kinds[slice->kind_count];
    struct facts_step *way = array_add(&slice->steps, &slice->step_count, sizeof *way);
    if (way == NULL)
        return PERMTAB_E_MEMORY;
    memset(kind, 0, sizeof *kind);
    for (size_t i = 0; i <= before->assignment_count; i++) {
        struct facts_assignment *item = array_add(&kind->assignments, &kind->assignment_count, sizeof *item);
        if (item == NULL) {
            slice->step_count--;
            facts_fini(kind);
            return PERMTAB_E_MEMORY;
        }
        *item = i < before->assignment_count
                    ? before->assignments[i]
                    : (struct facts_assignment){.role = role, .level = level, .expires_at = FACTS_NEVER};
    }
    *to = (uint16_t)slice->kind_count++;
    *way = (struct facts_step){.role = role, .level = level, .from = from, .to = *to};
    return 0;
}

int facts_slice_assign(struct facts_slice *slice, uint64_t user, uint64_t role, uint32_t level)
{
    size_t index = index_of(slice, user);
    if (index == slice->count || slice->kind_of[index] == FACTS_SLICE_ALONE)
        return 0;
    return step(slice, slice->kind_of[index], role, level, &slice->kind_of[index]);
}

void facts_slice_set_alone(struct facts_slice *slice, uint64_t user)
{
    size_t index = index_of(slice, user);
    if (index < slice->count)
        slice->kind_of[index] = FACTS_SLICE_ALONE;
}

/* What all have in common goes to a kind, which has its assignments already. */
static int give(const struct facts *common, struct facts *kind)
{
    struct facts whole;
    struct facts_assignment *assignments = kind->assignments;
    size_t count = kind->assignment_count;
    if (facts_copy(&whole, common) < 0)
        return PERMTAB_E_MEMORY;
    *kind = whole;
    kind->assignments = assignments;
    kind->assignment_count = count;
    return 0;
}

int facts_slice_finish(struct facts_slice *slice)
{
    struct facts *common = facts_slice_common(slice);
    assert(common->assignment_count == 0);
    for (uint32_t level = 0; level < common->chain_count; level++)
        if (common->chain[level].has_owner)
            facts_slice_set_alone(slice, common->chain[level].owner);
    for (size_t i = 1; i < slice->kind_count; i++)
        if (give(common, &slice->kinds[i]) < 0)
            return PERMTAB_E_MEMORY;
    return 0;
}
