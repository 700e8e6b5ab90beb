/* Reachability over inheritance, breadth first, with a worklist instead of recursion: a chain of any depth is
 * fine, a cycle ends where it began, a diamond is counted once. The worklist is the result itself.
 *
 * Default roles go first. "A role held both ways, and the ancestors of a default role, count as default" then needs
 * no second look: roles reached in the first pass are default, and the second pass does not touch them. */
#include "proxy/rights/closure.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define CLOSURE_CAPACITY_FIRST 16u

static uint32_t *slot_of(const struct closure *closure, uint64_t role)
{
    size_t mask = 2 * closure->capacity - 1;
    size_t at = (size_t)XXH3_64bits(&role, sizeof role) & mask;
    while (closure->slots[at] != 0 && closure->items[closure->slots[at] - 1].role != role)
        at = (at + 1) & mask;
    return &closure->slots[at];
}

static int closure_grow(struct closure *closure)
{
    size_t capacity = closure->capacity == 0 ? CLOSURE_CAPACITY_FIRST : closure->capacity * 2;
    uint32_t *slots = calloc(2 * capacity, sizeof *slots);
    if (slots == NULL)
        return PERMTAB_E_MEMORY;
    struct reached *items = realloc(closure->items, capacity * sizeof *items);
    if (items == NULL) {
        free(slots);
        return PERMTAB_E_MEMORY;
    }
    free(closure->slots);
    closure->slots = slots;
    closure->items = items;
    closure->capacity = capacity;
    for (size_t i = 0; i < closure->count; i++)
        *slot_of(closure, closure->items[i].role) = (uint32_t)i + 1;
    return 0;
}

static int closure_add(struct closure *closure, struct reached reached, role_find_fn find, void *context)
{
    if (closure->count == closure->capacity) {
        int code = closure_grow(closure);
        if (code < 0)
            return code;
    }
    uint32_t *slot = slot_of(closure, reached.role);
    if (*slot != 0)
        return 0;
    reached.definition = find(context, reached.role);
    closure->items[closure->count] = reached;
    *slot = (uint32_t)++closure->count;
    return 0;
}

/* Adds the ancestors of everything from item `next` on. */
static int closure_follow(struct closure *closure, size_t next, enum closure_through through,
                          role_find_fn find, void *context)
{
    for (; next < closure->count; next++) {
        struct reached child = closure->items[next];
        if (child.definition == NULL || (through == CLOSURE_ACTIVE && !child.definition->active))
            continue;
        for (size_t i = 0; i < child.definition->parent_count; i++) {
            struct reached parent = {
                .role = child.definition->parents[i], .from = (uint32_t)next, .by_default = child.by_default};
            int code = closure_add(closure, parent, find, context);
            if (code < 0)
                return code;
        }
    }
    return 0;
}

static int closure_pass(struct closure *closure, const struct held_role *held, size_t held_count,
                        bool by_default, enum closure_through through, role_find_fn find, void *context)
{
    size_t next = closure->count;
    for (size_t i = 0; i < held_count; i++) {
        if (held[i].by_default != by_default)
            continue;
        struct reached reached = {.role = held[i].role, .from = CLOSURE_HELD, .by_default = by_default};
        int code = closure_add(closure, reached, find, context);
        if (code < 0)
            return code;
    }
    return closure_follow(closure, next, through, find, context);
}

int closure_build(struct closure *out, const struct held_role *held, size_t held_count,
                  enum closure_through through, role_find_fn find, void *context)
{
    memset(out, 0, sizeof *out);
    int code = closure_pass(out, held, held_count, true, through, find, context);
    if (code < 0)
        return code;
    return closure_pass(out, held, held_count, false, through, find, context);
}

void closure_fini(struct closure *closure)
{
    free(closure->slots);
    free(closure->items);
    memset(closure, 0, sizeof *closure);
}

const struct reached *closure_find(const struct closure *closure, uint64_t role)
{
    if (closure->count == 0)
        return NULL;
    uint32_t slot = *slot_of(closure, role);
    return slot == 0 ? NULL : &closure->items[slot - 1];
}
