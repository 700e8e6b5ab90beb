/* Checks of a policy without the store: no object is named twice, references inside the document lead somewhere,
 * parents come before their children. apply.c asks the store for objects that a document refers to but does not
 * contain. */
#include "proxy/document/cycle.h"
#include "proxy/document/document.h"
#include "proxy/document/place.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* The key of an object, numbers or a name, and where it is. */
struct ref {
    uint64_t key[4];
    const char *name; /* or NULL */
    size_t index;
};

struct checker {
    const struct policy *policy;
    const struct scope_types *types;
    struct failure *failure;
    struct ref *scopes; /* sorted by key */
    struct ref *roles;
};

bool policy_name_valid(const char *name)
{
    size_t length = 0;
    bool inside = false; /* a part has begun */
    for (; name[length] != '\0'; length++) {
        char byte = name[length];
        if (byte == '.' && !inside)
            return false;
        if (byte != '.' && byte != '_' && !(byte >= 'a' && byte <= 'z') && !(byte >= '0' && byte <= '9'))
            return false;
        inside = byte != '.';
    }
    return inside && length <= POLICY_NAME_MAX;
}

static int compare_keys(const struct ref *x, const struct ref *y)
{
    for (size_t i = 0; i < 4; i++)
        if (x->key[i] != y->key[i])
            return x->key[i] < y->key[i] ? -1 : 1;
    return x->name != NULL ? strcmp(x->name, y->name) : 0;
}

/* Orders refs by key; equal keys stay in the order of the document. */
static int compare_refs(const void *a, const void *b)
{
    const struct ref *x = a, *y = b;
    int order = compare_keys(x, y);
    return order != 0 ? order : (x->index < y->index ? -1 : x->index > y->index);
}

static int compare_ref_keys(const void *a, const void *b)
{
    return compare_keys(a, b);
}

/* Sorts, and finds the first item of the document that repeats an earlier one. */
static bool refs_repeat(struct ref *refs, size_t count, size_t *again, size_t *first)
{
    bool repeat = false;
    *again = *first = 0;
    qsort(refs, count, sizeof *refs, compare_refs);
    for (size_t i = 1; i < count; i++) {
        if (compare_keys(&refs[i - 1], &refs[i]) != 0 || (repeat && refs[i].index > *again))
            continue;
        repeat = true;
        *again = refs[i].index;
        *first = refs[i - 1].index;
    }
    return repeat;
}

/* ---- lists of names ---- */

/* The names under `key` of an object. */
static int check_names(const struct checker *checker, const struct policy_place *object, const char *key,
                       const struct policy_names *names)
{
    struct policy_place place = {.up = object, .key = key};
    struct ref few[64];
    struct ref *refs = few;
    size_t again, first;
    int code = 0;
    if (names->count < 2)
        return 0;
    if (names->count > sizeof few / sizeof *few) {
        refs = calloc(names->count, sizeof *refs);
        if (refs == NULL)
            return PERMTAB_E_MEMORY;
    }
    for (size_t i = 0; i < names->count; i++)
        refs[i] = (struct ref){.name = names->items[i], .index = i};
    if (refs_repeat(refs, names->count, &again, &first)) {
        struct policy_place here = {.up = &place, .index = again};
        code = policy_place_fail(checker->failure, PERMTAB_E_INVALID, &here, "\"%s\" is in the list already",
                                 names->items[again]);
    }
    if (refs != few)
        free(refs);
    return code;
}

/* ---- permissions ---- */

static int check_permission_names(const struct checker *checker)
{
    const struct policy *policy = checker->policy;
    struct ref *refs = calloc(policy->permission_count + 1, sizeof *refs);
    size_t again, first;
    int code = 0;
    if (refs == NULL)
        return PERMTAB_E_MEMORY;
    for (size_t i = 0; i < policy->permission_count; i++)
        refs[i] = (struct ref){.name = policy->permissions[i].name, .index = i};
    if (refs_repeat(refs, policy->permission_count, &again, &first)) {
        struct policy_place list = {.key = "permissions"}, here = {.up = &list, .index = again};
        code = policy_place_fail(checker->failure, PERMTAB_E_INVALID, &here,
                                 "\"%s\" was already declared by permissions[%zu]",
                                 policy->permissions[again].name, first);
    }
    free(refs);
    return code;
}

static int check_permission(const struct checker *checker, size_t index)
{
    const struct policy_permission *permission = &checker->policy->permissions[index];
    struct policy_place list = {.key = "permissions"}, here = {.up = &list, .index = index};
    struct policy_place requires = {.up = &here, .key = "requires"};
    for (size_t i = 0; i < permission->requires.count; i++) {
        struct policy_place item = {.up = &requires, .index = i};
        if (strcmp(permission->requires.items[i], permission->name) == 0)
            return policy_place_fail(checker->failure, PERMTAB_E_INVALID, &item,
                                     "\"%s\" cannot require itself", permission->name);
    }
    return check_names(checker, &here, "requires", &permission->requires);
}

static int check_permissions(const struct checker *checker)
{
    int code = check_permission_names(checker);
    for (size_t i = 0; code >= 0 && i < checker->policy->permission_count; i++)
        code = check_permission(checker, i);
    return code;
}

/* ---- scopes ---- */

static const struct policy_scope *scope_find(const struct checker *checker, struct scope_key key)
{
    struct ref wanted = {.key = {key.type, key.id}};
    const struct ref *ref =
        bsearch(&wanted, checker->scopes, checker->policy->scope_count, sizeof wanted, compare_ref_keys);
    return ref != NULL ? &checker->policy->scopes[ref->index] : NULL;
}

static int check_scope_keys(const struct checker *checker)
{
    const struct policy *policy = checker->policy;
    size_t again, first;
    for (size_t i = 0; i < policy->scope_count; i++)
        checker->scopes[i] =
            (struct ref){.key = {policy->scopes[i].key.type, policy->scopes[i].key.id}, .index = i};
    if (!refs_repeat(checker->scopes, policy->scope_count, &again, &first))
        return 0;
    char text[SCOPE_TEXT_SIZE];
    struct policy_place list = {.key = "scopes"}, here = {.up = &list, .index = again};
    return policy_place_fail(checker->failure, PERMTAB_E_INVALID, &here,
                             "%s was already declared by scopes[%zu]",
                             scope_format(checker->types, policy->scopes[again].key, text), first);
}

static int check_overwrites(const struct checker *checker, const struct policy_place *place,
                            const struct policy_scope *scope)
{
    struct policy_place list = {.up = place, .key = "overwrites"};
    struct ref *refs = calloc(scope->overwrite_count + 1, sizeof *refs);
    size_t again, first;
    int code = 0;
    if (refs == NULL)
        return PERMTAB_E_MEMORY;
    for (size_t i = 0; code >= 0 && i < scope->overwrite_count; i++) {
        const struct policy_overwrite *overwrite = &scope->overwrites[i];
        struct policy_place here = {.up = &list, .index = i};
        refs[i] = (struct ref){.key = {overwrite->subject, overwrite->id}, .index = i};
        code = check_names(checker, &here, "allow", &overwrite->allow);
        if (code >= 0)
            code = check_names(checker, &here, "deny", &overwrite->deny);
    }
    if (code >= 0 && refs_repeat(refs, scope->overwrite_count, &again, &first)) {
        struct policy_place here = {.up = &list, .index = again};
        code = policy_place_fail(checker->failure, PERMTAB_E_INVALID, &here,
                                 "%s %" PRIu64 " was already overwritten by overwrites[%zu]",
                                 scope->overwrites[again].subject == OVERWRITE_ROLE ? "role" : "user",
                                 scope->overwrites[again].id, first);
    }
    free(refs);
    return code;
}

static int check_scope(const struct checker *checker, size_t index)
{
    const struct policy_scope *scope = &checker->policy->scopes[index];
    struct policy_place list = {.key = "scopes"}, here = {.up = &list, .index = index};
    struct policy_place parent = {.up = &here, .key = "parent"};
    char child_text[SCOPE_TEXT_SIZE], parent_text[SCOPE_TEXT_SIZE];
    if (scope->key.type == 0 && scope->parent.type != 0)
        return policy_place_fail(checker->failure, PERMTAB_E_INVALID, &parent, "global has no parent");
    if (scope->key.type != 0 && scope->parent.type >= scope->key.type)
        return policy_place_fail(checker->failure, PERMTAB_E_INVALID, &parent,
                                 "%s cannot be above %s: a parent's type comes before its child's",
                                 scope_format(checker->types, scope->parent, parent_text),
                                 scope_format(checker->types, scope->key, child_text));
    return scope->overwrite_count > 0 ? check_overwrites(checker, &here, scope) : 0;
}

static int check_scopes(const struct checker *checker)
{
    int code = check_scope_keys(checker);
    for (size_t i = 0; code >= 0 && i < checker->policy->scope_count; i++)
        code = check_scope(checker, i);
    return code;
}

/* ---- roles ---- */

static const struct policy_role *role_find(const struct checker *checker, uint64_t id)
{
    struct ref wanted = {.key = {id}};
    const struct ref *ref =
        bsearch(&wanted, checker->roles, checker->policy->role_count, sizeof wanted, compare_ref_keys);
    return ref != NULL ? &checker->policy->roles[ref->index] : NULL;
}

static int check_role_ids(const struct checker *checker)
{
    const struct policy *policy = checker->policy;
    size_t again, first;
    for (size_t i = 0; i < policy->role_count; i++)
        checker->roles[i] = (struct ref){.key = {policy->roles[i].id}, .index = i};
    if (!refs_repeat(checker->roles, policy->role_count, &again, &first))
        return 0;
    struct policy_place list = {.key = "roles"}, here = {.up = &list, .index = again};
    return policy_place_fail(checker->failure, PERMTAB_E_INVALID, &here,
                             "role %" PRIu64 " was already declared by roles[%zu]", policy->roles[again].id,
                             first);
}

static int check_inherits(const struct checker *checker, const struct policy_place *place,
                          const struct policy_role *role)
{
    struct policy_place list = {.up = place, .key = "inherits"};
    struct ref *refs = calloc(role->inherits_count + 1, sizeof *refs);
    size_t again, first;
    int code = 0;
    if (refs == NULL)
        return PERMTAB_E_MEMORY;
    for (size_t i = 0; i < role->inherits_count; i++)
        refs[i] = (struct ref){.key = {role->inherits[i]}, .index = i};
    if (refs_repeat(refs, role->inherits_count, &again, &first)) {
        struct policy_place here = {.up = &list, .index = again};
        code = policy_place_fail(checker->failure, PERMTAB_E_INVALID, &here,
                                 "role %" PRIu64 " is in the list already", role->inherits[again]);
    }
    free(refs);
    return code;
}

static int check_role(const struct checker *checker, size_t index)
{
    const struct policy_role *role = &checker->policy->roles[index];
    struct policy_place list = {.key = "roles"}, here = {.up = &list, .index = index};
    int code = role->inherits_count > 1 ? check_inherits(checker, &here, role) : 0;
    if (code >= 0)
        code = check_names(checker, &here, "allow", &role->allow);
    if (code >= 0)
        code = check_names(checker, &here, "allow_own", &role->allow_own);
    if (code >= 0)
        code = check_names(checker, &here, "deny", &role->deny);
    return code;
}

static int check_roles(const struct checker *checker)
{
    int code = check_role_ids(checker);
    for (size_t i = 0; code >= 0 && i < checker->policy->role_count; i++)
        code = check_role(checker, i);
    return code < 0 ? code : cycle_check(checker->policy, NULL, checker->failure);
}

/* ---- assignments ---- */

static int check_assignment_keys(const struct checker *checker)
{
    const struct policy *policy = checker->policy;
    struct ref *refs = calloc(policy->assignment_count + 1, sizeof *refs);
    size_t again, first;
    int code = 0;
    if (refs == NULL)
        return PERMTAB_E_MEMORY;
    for (size_t i = 0; i < policy->assignment_count; i++) {
        const struct policy_assignment *assignment = &policy->assignments[i];
        /* An assignment without a scope is at the role's own scope, which is known here when the role is in the
         * document. Else its type is one that no scope has, and apply.c looks again. */
        struct scope_key scope = {.type = UINT32_MAX};
        const struct policy_role *role;
        if (assignment->has_scope)
            scope = assignment->scope;
        else if ((role = role_find(checker, assignment->role)) != NULL)
            scope = role->scope;
        refs[i] = (struct ref){.key = {assignment->user, assignment->role, scope.type, scope.id}, .index = i};
    }
    if (refs_repeat(refs, policy->assignment_count, &again, &first)) {
        struct policy_place list = {.key = "assignments"}, here = {.up = &list, .index = again};
        code = policy_place_fail(checker->failure, PERMTAB_E_INVALID, &here,
                                 "the same user, role and scope as assignments[%zu]", first);
    }
    free(refs);
    return code;
}

/* False only when the document alone shows that `scope` is neither `above` nor below it. */
static bool may_be_below(const struct checker *checker, struct scope_key scope, struct scope_key above)
{
    while (scope.type > above.type) {
        const struct policy_scope *known = scope_find(checker, scope);
        if (known == NULL)
            return true;
        scope = known->parent; /* of a lower type: check_scope has checked that */
    }
    return scope_equal(scope, above);
}

static int check_assignments(const struct checker *checker)
{
    const struct policy *policy = checker->policy;
    char role_text[SCOPE_TEXT_SIZE], scope_text[SCOPE_TEXT_SIZE];
    int code = check_assignment_keys(checker);
    for (size_t i = 0; code >= 0 && i < policy->assignment_count; i++) {
        const struct policy_assignment *assignment = &policy->assignments[i];
        const struct policy_role *role = assignment->has_scope ? role_find(checker, assignment->role) : NULL;
        struct policy_place list = {.key = "assignments"}, here = {.up = &list, .index = i};
        if (role != NULL && !may_be_below(checker, assignment->scope, role->scope))
            code =
                policy_place_fail(checker->failure, PERMTAB_E_CONFLICT, &here,
                                  "role %" PRIu64 " is of %s and cannot be held at %s, which is not below it",
                                  assignment->role, scope_format(checker->types, role->scope, role_text),
                                  scope_format(checker->types, assignment->scope, scope_text));
    }
    return code;
}

int policy_check(const struct policy *policy, const struct scope_types *types, struct failure *failure)
{
    struct checker checker = {.policy = policy, .types = types, .failure = failure};
    int code;
    checker.scopes = calloc(policy->scope_count + 1, sizeof *checker.scopes);
    checker.roles = calloc(policy->role_count + 1, sizeof *checker.roles);
    if (checker.scopes == NULL || checker.roles == NULL) {
        code = PERMTAB_E_MEMORY;
        goto out;
    }
    code = check_permissions(&checker);
    if (code >= 0)
        code = check_scopes(&checker);
    if (code >= 0)
        code = check_roles(&checker);
    if (code >= 0)
        code = check_assignments(&checker);
out:
    free(checker.roles);
    free(checker.scopes);
    return code == PERMTAB_E_MEMORY ? failure_set(failure, code, "out of memory") : code;
}
