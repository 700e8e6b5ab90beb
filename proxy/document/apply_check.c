/* Checks of a document against the store: everything it refers to will be there, nothing deleted comes back, roles
 * are held where they belong, inheritance has no cycle through stored roles, and there are bits for new
 * permissions. The checks run in the document's order, each failure has its place, and nothing has been written
 * yet. */
#include "proxy/document/apply.h"
#include "proxy/document/cycle.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* The reason why an object cannot be referred to. */
static const char *absence(bool stored)
{
    return stored ? "is not in the document, so pruning would remove it"
                  : "is neither in the document nor in the store";
}

/* The names under `key` of an object. */
static int check_names(const struct apply *apply, const struct policy_place *object, const char *key,
                       const struct policy_names *names)
{
    struct policy_place place = {.up = object, .key = key};
    for (size_t i = 0; i < names->count; i++) {
        struct policy_place here = {.up = &place, .index = i};
        const struct apply_permission *permission = apply_permission_find(apply, names->items[i]);
        if (permission != NULL && permission->wanted != NULL)
            continue;
        if (permission != NULL && permission->deleted)
            return policy_place_fail(apply->failure, PERMTAB_E_NO_PERMISSION, &here,
                                     "permission \"%s\" was deleted", names->items[i]);
        if (permission == NULL || apply->options->prune)
            return policy_place_fail(apply->failure, PERMTAB_E_NO_PERMISSION, &here, "permission \"%s\" %s",
                                     names->items[i], absence(permission != NULL));
    }
    return 0;
}

static int check_role(const struct apply *apply, const struct policy_place *place, uint64_t id)
{
    const struct apply_role *role = apply_role_find(apply, id);
    if (role != NULL && (role->wanted != NULL || !apply->options->prune))
        return 0;
    return policy_place_fail(apply->failure, PERMTAB_E_NOT_FOUND, place, "role %" PRIu64 " %s", id,
                             absence(role != NULL));
}

static int check_scope(const struct apply *apply, const struct policy_place *place, struct scope_key key)
{
    char text[SCOPE_TEXT_SIZE];
    const struct apply_scope *scope = apply_scope_find(apply, key);
    if (scope != NULL && (scope->wanted != NULL || !apply->options->prune))
        return 0;
    return policy_place_fail(apply->failure, PERMTAB_E_NOT_FOUND, place, "scope %s %s",
                             scope_format(&apply->types, key, text), absence(scope != NULL));
}

/* ---- permissions, and bits for new ones ---- */

static int check_permissions(const struct apply *apply)
{
    const struct policy *policy = apply->policy;
    int code = 0;
    for (size_t i = 0; code >= 0 && i < policy->permission_count; i++) {
        const struct policy_permission *wanted = &policy->permissions[i];
        struct policy_place list = {.key = "permissions"}, here = {.up = &list, .index = i};
        if (apply_permission_find(apply, wanted->name)->deleted)
            return policy_place_fail(
                apply->failure, PERMTAB_E_CONFLICT, &here,
                "\"%s\" was deleted, and a deleted permission's name is never used again", wanted->name);
        code = check_names(apply, &here, "requires", &wanted->requires);
    }
    return code;
}

/* Gives bits to new permissions. Bits of tombstones are not free. */
static int give_bits(const struct apply *apply)
{
    bool *taken = calloc(PERMTAB_SHM_PERMISSIONS_MAX, sizeof *taken);
    uint32_t next = 0;
    int code = 0;
    if (taken == NULL)
        return PERMTAB_E_MEMORY;
    for (size_t i = 0; i < apply->permission_count; i++)
        if (apply->permissions[i].stored && apply->permissions[i].bit < PERMTAB_SHM_PERMISSIONS_MAX)
            taken[apply->permissions[i].bit] = true;
    for (size_t i = 0; code >= 0 && i < apply->policy->permission_count; i++) {
        struct apply_permission *permission =
            apply_permission_find(apply, apply->policy->permissions[i].name);
        struct policy_place list = {.key = "permissions"}, here = {.up = &list, .index = i};
        if (permission->stored)
            continue;
        while (next < apply->options->permissions_max && next < PERMTAB_SHM_PERMISSIONS_MAX && taken[next])
            next++;
        if (next >= apply->options->permissions_max || next >= PERMTAB_SHM_PERMISSIONS_MAX)
            code =
                policy_place_fail(apply->failure, PERMTAB_E_LIMIT, &here,
                                  "no bit is left for \"%s\": permissions_max is %u, deleted ones included",
                                  permission->name, apply->options->permissions_max);
        else
            permission->bit = next++;
    }
    free(taken);
    return code;
}

/* ---- scopes and roles ---- */

static int check_overwrite(const struct apply *apply, const struct policy_place *place,
                           const struct policy_overwrite *overwrite)
{
    struct policy_place role = {.up = place, .key = "role"};
    int code = overwrite->subject == OVERWRITE_ROLE ? check_role(apply, &role, overwrite->id) : 0;
    if (code >= 0)
        code = check_names(apply, place, "allow", &overwrite->allow);
    if (code >= 0)
        code = check_names(apply, place, "deny", &overwrite->deny);
    return code;
}

static int check_scopes(const struct apply *apply)
{
    const struct policy *policy = apply->policy;
    int code = 0;
    for (size_t i = 0; code >= 0 && i < policy->scope_count; i++) {
        const struct policy_scope *scope = &policy->scopes[i];
        struct policy_place list = {.key = "scopes"}, here = {.up = &list, .index = i};
        struct policy_place parent = {.up = &here, .key = "parent"};
        struct policy_place overwrites = {.up = &here, .key = "overwrites"};
        if (scope->key.type >= apply->types.count)
            return policy_place_fail(apply->failure, PERMTAB_E_NO_SCOPE_TYPE, &here,
                                     "the store has no scope type %u", scope->key.type);
        code = check_scope(apply, &parent, scope->parent);
        for (size_t j = 0; code >= 0 && j < scope->overwrite_count; j++) {
            struct policy_place item = {.up = &overwrites, .index = j};
            code = check_overwrite(apply, &item, &scope->overwrites[j]);
        }
    }
    return code;
}

static int check_role_lists(const struct apply *apply, const struct policy_place *place,
                            const struct policy_role *role)
{
    struct policy_place scope = {.up = place, .key = "scope"}, inherits = {.up = place, .key = "inherits"};
    int code = check_scope(apply, &scope, role->scope);
    for (size_t i = 0; code >= 0 && i < role->inherits_count; i++) {
        struct policy_place item = {.up = &inherits, .index = i};
        code = check_role(apply, &item, role->inherits[i]);
    }
    if (code >= 0)
        code = check_names(apply, place, "allow", &role->allow);
    if (code >= 0)
        code = check_names(apply, place, "allow_own", &role->allow_own);
    if (code >= 0)
        code = check_names(apply, place, "deny", &role->deny);
    return code;
}

static int check_roles(const struct apply *apply)
{
    int code = 0;
    for (size_t i = 0; code >= 0 && i < apply->policy->role_count; i++) {
        struct policy_place list = {.key = "roles"}, here = {.up = &list, .index = i};
        code = check_role_lists(apply, &here, &apply->policy->roles[i]);
    }
    /* The parser has found cycles inside the document. */
    return code < 0 || apply->ancestry.count == 0
               ? code
               : cycle_check(apply->policy, &apply->ancestry, apply->failure);
}

/* ---- assignments ---- */

/* Walks the chain as it will be. The walk ends, because each step goes to a lower type, or stops. */
static bool at_or_below(const struct apply *apply, struct scope_key scope, struct scope_key above)
{
    while (scope.type > above.type) {
        const struct apply_scope *known = apply_scope_find(apply, scope);
        if (known == NULL)
            return false;
        struct scope_key parent = known->wanted != NULL ? known->wanted->parent : known->parent;
        if (parent.type >= scope.type)
            return false;
        scope = parent;
    }
    return scope_equal(scope, above);
}

static int place_assignment(struct apply *apply, size_t index, struct apply_assignment *out)
{
    const struct policy_assignment *wanted = &apply->policy->assignments[index];
    struct policy_place list = {.key = "assignments"}, here = {.up = &list, .index = index};
    struct policy_place role_place = {.up = &here, .key = "role"},
                        scope_place = {.up = &here, .key = "scope"};
    char role_text[SCOPE_TEXT_SIZE], scope_text[SCOPE_TEXT_SIZE];
    int code = check_role(apply, &role_place, wanted->role);
    if (code < 0)
        return code;
    const struct apply_role *role = apply_role_find(apply, wanted->role);
    struct scope_key home = role->wanted != NULL ? role->wanted->scope : role->scope;
    *out = (struct apply_assignment){.user = wanted->user,
                                     .role = wanted->role,
                                     .scope = wanted->has_scope ? wanted->scope : home,
                                     .expires_at = wanted->expires_at,
                                     .index = index};
    if (!wanted->has_scope)
        return 0;
    code = check_scope(apply, &scope_place, wanted->scope);
    if (code >= 0 && !at_or_below(apply, wanted->scope, home))
        code = policy_place_fail(apply->failure, PERMTAB_E_CONFLICT, &here,
                                 "role %" PRIu64 " is of %s and cannot be held at %s, which is not below it",
                                 wanted->role, scope_format(&apply->types, home, role_text),
                                 scope_format(&apply->types, wanted->scope, scope_text));
    return code;
}

static int compare_assignments(const void *a, const void *b)
{
    const struct apply_assignment *x = a, *y = b;
    if (x->user != y->user)
        return x->user < y->user ? -1 : 1;
    if (x->role != y->role)
        return x->role < y->role ? -1 : 1;
    return scope_compare(x->scope, y->scope);
}

/* Sorts assignments by key, so that inserts go through the store's index from left to right. */
static int check_assignments(struct apply *apply)
{
    size_t count = apply->policy->assignment_count;
    int code = 0;
    apply->assignments = calloc(count + 1, sizeof *apply->assignments);
    if (apply->assignments == NULL)
        return PERMTAB_E_MEMORY;
    for (size_t i = 0; code >= 0 && i < count; i++)
        code = place_assignment(apply, i, &apply->assignments[i]);
    if (code < 0)
        return code;
    qsort(apply->assignments, count, sizeof *apply->assignments, compare_assignments);
    for (size_t i = 1; i < count; i++) {
        size_t one = apply->assignments[i - 1].index, other = apply->assignments[i].index;
        struct policy_place list = {.key = "assignments"},
                            here = {.up = &list, .index = one > other ? one : other};
        if (compare_assignments(&apply->assignments[i - 1], &apply->assignments[i]) == 0)
            return policy_place_fail(apply->failure, PERMTAB_E_INVALID, &here,
                                     "the same user, role and scope as assignments[%zu]",
                                     one > other ? other : one);
    }
    return 0;
}

int apply_check(struct apply *apply)
{
    int code = check_permissions(apply);
    if (code >= 0)
        code = give_bits(apply);
    if (code >= 0)
        code = check_scopes(apply);
    if (code >= 0)
        code = check_roles(apply);
    if (code >= 0)
        code = check_assignments(apply);
    return code;
}
