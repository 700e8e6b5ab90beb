/* The tables of memory_policy.h: growing arrays, sorted when something is looked up in them, so that a
 * benchmark with a million assignments can use them as well as a test with three. Making facts from them is
 * memory_facts.c. */
#include "tests/support/memory_policy.h"
#include "tests/support/memory_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void memory_die(const char *what)
{
    fprintf(stderr, "memory policy: %s\n", what);
    abort();
}

void *memory_grown(void *items, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity)
        return items;
    *capacity = *capacity == 0 ? 8 : *capacity * 2;
    items = realloc(items, *capacity * size);
    if (items == NULL)
        memory_die("out of memory");
    return items;
}

char *memory_text(const char *text)
{
    char *copy = strdup(text);
    if (copy == NULL)
        memory_die("out of memory");
    return copy;
}

void memory_policy_init(struct memory_policy *policy)
{
    memset(policy, 0, sizeof *policy);
    memory_type(policy, "global");
    memory_type(policy, "server");
    memory_type(policy, "category");
    memory_type(policy, "channel");
    memory_scope(policy, (struct scope_key){0}, (struct scope_key){0}, NULL);
}

void memory_policy_fini(struct memory_policy *policy)
{
    for (size_t i = 0; i < policy->permissions.count; i++)
        free(policy->permissions.items[i].name);
    for (size_t i = 0; i < policy->roles.count; i++)
        free(policy->roles.items[i].name);
    free(policy->permissions.items);
    free(policy->requirements.items);
    free(policy->scopes.items);
    free(policy->roles.items);
    free(policy->parents.items);
    free(policy->grants.items);
    free(policy->assignments.items);
    free(policy->overwrites.items);
    memset(policy, 0, sizeof *policy);
}

void memory_policy_touch(struct memory_policy *policy)
{
    policy->sorted = false;
}

#define COPY(list)                                                                                           \
    do {                                                                                                     \
        out->list.capacity = out->list.count;                                                                \
        out->list.items = malloc(from->list.count * sizeof *out->list.items + 1);                            \
        if (out->list.items == NULL)                                                                         \
            memory_die("out of memory");                                                                     \
        if (from->list.count > 0)                                                                            \
            memcpy(out->list.items, from->list.items, from->list.count * sizeof *out->list.items);           \
    } while (0)

void memory_policy_copy(struct memory_policy *out, const struct memory_policy *from)
{
    *out = *from;
    COPY(permissions);
    COPY(requirements);
    COPY(scopes);
    COPY(roles);
    COPY(parents);
    COPY(grants);
    COPY(assignments);
    COPY(overwrites);
    for (size_t i = 0; i < out->permissions.count; i++)
        out->permissions.items[i].name = memory_text(out->permissions.items[i].name);
    for (size_t i = 0; i < out->roles.count; i++)
        out->roles.items[i].name = memory_text(out->roles.items[i].name);
}

uint32_t memory_type(struct memory_policy *policy, const char *name)
{
    struct scope_types *types = &policy->types;
    for (uint32_t type = 0; type < types->count; type++)
        if (strcmp(types->names[type], name) == 0)
            return type;
    if (types->count == PERMTAB_SHM_SCOPE_TYPES || strlen(name) >= sizeof types->names[0])
        memory_die("too many scope types, or one with too long a name");
    memcpy(types->names[types->count], name, strlen(name) + 1);
    return types->count++;
}

#define ADD(list, ...)                                                                                       \
    do {                                                                                                     \
        policy->list.items = memory_grown(policy->list.items, policy->list.count, &policy->list.capacity,    \
                                          sizeof *policy->list.items);                                       \
        policy->list.items[policy->list.count++] = (__typeof__(*policy->list.items)){__VA_ARGS__};           \
        policy->sorted = false;                                                                              \
    } while (0)

uint32_t memory_permission(struct memory_policy *policy, const char *name)
{
    for (uint32_t bit = 0; bit < policy->permissions.count; bit++)
        if (strcmp(policy->permissions.items[bit].name, name) == 0)
            return bit;
    ADD(permissions, .name = memory_text(name));
    return (uint32_t)policy->permissions.count - 1;
}

void memory_requires(struct memory_policy *policy, uint32_t bit, uint32_t requires)
{
    ADD(requirements, bit, requires);
}

void memory_scope(struct memory_policy *policy, struct scope_key key, struct scope_key parent,
                  const uint64_t *owner)
{
    struct memory_scope scope = {
        .key = key, .parent = parent, .has_owner = owner != NULL, .owner = owner == NULL ? 0 : *owner};
    struct memory_scope *found = (struct memory_scope *)memory_scope_find(policy, key);
    if (found != NULL)
        *found = scope;
    else
        ADD(scopes, scope.key, scope.parent, scope.has_owner, scope.owner);
}

void memory_role(struct memory_policy *policy, uint64_t id, const char *name, struct scope_key scope,
                 bool is_default, bool active)
{
    ADD(roles, id, memory_text(name), scope, is_default, active);
}

void memory_inherit(struct memory_policy *policy, uint64_t role, uint64_t parent)
{
    ADD(parents, role, parent);
}

void memory_grant(struct memory_policy *policy, uint64_t role, enum grant_effect effect, uint32_t bit)
{
    ADD(grants, role, bit, effect);
}

void memory_assign(struct memory_policy *policy, uint64_t user, uint64_t role, struct scope_key scope,
                   int64_t expires_at)
{
    ADD(assignments, user, role, scope, expires_at);
}

void memory_overwrite(struct memory_policy *policy, struct scope_key scope, enum overwrite_subject subject,
                      uint64_t subject_id, uint32_t bit, bool allow)
{
    ADD(overwrites, scope, subject, subject_id, bit, allow);
}

/* ---- order ----------------------------------------------------------------------------------------------- */

static int compare_u64(uint64_t a, uint64_t b)
{
    return a < b ? -1 : a > b;
}

static int compare_key(struct scope_key a, struct scope_key b)
{
    return a.type != b.type ? compare_u64(a.type, b.type) : compare_u64(a.id, b.id);
}

static int by_key(const void *a, const void *b)
{
    return compare_key(((const struct memory_scope *)a)->key, ((const struct memory_scope *)b)->key);
}

static int by_id(const void *a, const void *b)
{
    return compare_u64(((const struct memory_role *)a)->id, ((const struct memory_role *)b)->id);
}

static int by_parent_role(const void *a, const void *b)
{
    return compare_u64(((const struct memory_parent *)a)->role, ((const struct memory_parent *)b)->role);
}

static int by_grant_role(const void *a, const void *b)
{
    return compare_u64(((const struct memory_grant *)a)->role, ((const struct memory_grant *)b)->role);
}

static int by_user(const void *a, const void *b)
{
    return compare_u64(((const struct memory_assignment *)a)->user,
                       ((const struct memory_assignment *)b)->user);
}

static int by_place(const void *a, const void *b)
{
    return compare_key(((const struct memory_overwrite *)a)->scope,
                       ((const struct memory_overwrite *)b)->scope);
}

#define SORT(list, compare)                                                                                  \
    do {                                                                                                     \
        if (policy->list.count > 1)                                                                          \
            qsort(policy->list.items, policy->list.count, sizeof *policy->list.items, compare);              \
    } while (0)

void memory_sort(struct memory_policy *policy)
{
    if (policy->sorted)
        return;
    SORT(scopes, by_key);
    SORT(roles, by_id);
    SORT(parents, by_parent_role);
    SORT(grants, by_grant_role);
    SORT(assignments, by_user);
    SORT(overwrites, by_place);
    policy->sorted = true;
}

/* The first item that is not before `key`. */
static size_t lower_bound(const void *items, size_t count, size_t size, const void *key,
                          int (*compare)(const void *, const void *))
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare((const char *)items + middle * size, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

#define FIRST(list, key, compare)                                                                            \
    (memory_sort(policy),                                                                                    \
     lower_bound(policy->list.items, policy->list.count, sizeof *policy->list.items, key, compare))

const struct memory_scope *memory_scope_find(struct memory_policy *policy, struct scope_key key)
{
    struct memory_scope wanted = {.key = key};
    size_t at = FIRST(scopes, &wanted, by_key);
    bool found = at < policy->scopes.count && by_key(&policy->scopes.items[at], &wanted) == 0;
    return found ? &policy->scopes.items[at] : NULL;
}

const struct memory_role *memory_role_find(struct memory_policy *policy, uint64_t id)
{
    struct memory_role wanted = {.id = id};
    size_t at = FIRST(roles, &wanted, by_id);
    bool found = at < policy->roles.count && policy->roles.items[at].id == id;
    return found ? &policy->roles.items[at] : NULL;
}

size_t memory_first_parent(struct memory_policy *policy, uint64_t role)
{
    struct memory_parent wanted = {.role = role};
    return FIRST(parents, &wanted, by_parent_role);
}

size_t memory_first_grant(struct memory_policy *policy, uint64_t role)
{
    struct memory_grant wanted = {.role = role};
    return FIRST(grants, &wanted, by_grant_role);
}

size_t memory_first_assignment(struct memory_policy *policy, uint64_t user)
{
    struct memory_assignment wanted = {.user = user};
    return FIRST(assignments, &wanted, by_user);
}

size_t memory_first_overwrite(struct memory_policy *policy, struct scope_key scope)
{
    struct memory_overwrite wanted = {.scope = scope};
    return FIRST(overwrites, &wanted, by_place);
}
