/* Random changes, each with the rows that triggers would write. */
#include "tests/support/changing_private.h"

#include <stdlib.h>

static const struct scope_key global = {0, 0};

/* Takes item `at` out of a list of the policy. */
#define TAKE(changing, list, at)                                                                             \
    ((changing)->policy.list.items[at] = (changing)->policy.list.items[--(changing)->policy.list.count],     \
     memory_policy_touch(&(changing)->policy))

static void log_overwrite(struct changing_policy *changing, const struct memory_overwrite *row)
{
    struct change change = {.kind = CHANGE_OVERWRITE, .scope = row->scope};
    if (row->subject == OVERWRITE_USER)
        change.user = row->subject_id;
    else
        change.role = row->subject_id;
    change_log(changing, change);
}

void change_unassign(struct changing_policy *changing, size_t at)
{
    struct memory_assignment gone = changing->policy.assignments.items[at];
    TAKE(changing, assignments, at);
    change_log(changing,
               (struct change){
                   .kind = CHANGE_ASSIGNMENT, .user = gone.user, .role = gone.role, .scope = gone.scope});
}

void change_unoverwrite(struct changing_policy *changing, size_t at)
{
    struct memory_overwrite gone = changing->policy.overwrites.items[at];
    TAKE(changing, overwrites, at);
    log_overwrite(changing, &gone);
}

void change_revoke(struct changing_policy *changing, size_t at)
{
    uint64_t role = changing->policy.grants.items[at].role;
    TAKE(changing, grants, at);
    change_log(changing, (struct change){.kind = CHANGE_ROLE_GRANT, .role = role});
}

void change_disinherit(struct changing_policy *changing, size_t at)
{
    uint64_t role = changing->policy.parents.items[at].role;
    TAKE(changing, parents, at);
    change_log(changing, (struct change){.kind = CHANGE_ROLE_PARENT, .role = role});
}

void change_assign(struct changing_policy *changing)
{
    struct memory_policy *policy = &changing->policy;
    uint64_t user = changing_user(changing), role = changing_role(changing);
    const struct memory_role *definition = memory_role_find(policy, role);
    struct scope_key scope = changing_scope(changing);
    if (definition != NULL && changing_draw(changing, 2) == 0)
        scope = definition->scope; /* most other places are out of place */
    int64_t expires =
        changing_draw(changing, 3) == 0 ? changing->now + (int64_t)changing_draw(changing, 40) : FACTS_NEVER;
    for (size_t i = 0; i < policy->assignments.count; i++)
        if (policy->assignments.items[i].user == user && policy->assignments.items[i].role == role &&
            scope_equal(policy->assignments.items[i].scope, scope))
            return;
    if (definition == NULL || memory_scope_find(policy, scope) == NULL)
        return;
    memory_assign(policy, user, role, scope, expires);
    change_log(changing,
               (struct change){.kind = CHANGE_ASSIGNMENT, .user = user, .role = role, .scope = scope});
}

void change_overwrite(struct changing_policy *changing)
{
    bool user = changing_draw(changing, 3) == 0;
    struct memory_overwrite row = {changing_scope(changing), user ? OVERWRITE_USER : OVERWRITE_ROLE,
                                   user ? changing_user(changing) : changing_role(changing),
                                   changing_bit(changing), changing_draw(changing, 2) == 0};
    /* else everybody would soon see some, and most of what is of interest is where only some do */
    if (row.scope.type == 0 && changing_draw(changing, 8) > 0)
        return;
    if (memory_scope_find(&changing->policy, row.scope) == NULL ||
        (!user && memory_role_find(&changing->policy, row.subject_id) == NULL))
        return;
    memory_overwrite(&changing->policy, row.scope, row.subject, row.subject_id, row.bit, row.allow);
    log_overwrite(changing, &row);
}

void change_grant(struct changing_policy *changing)
{
    uint64_t role = changing_role(changing);
    if (memory_role_find(&changing->policy, role) == NULL)
        return;
    memory_grant(&changing->policy, role, (enum grant_effect)changing_draw(changing, 3),
                 changing_bit(changing));
    change_log(changing, (struct change){.kind = CHANGE_ROLE_GRANT, .role = role});
}

void change_inherit(struct changing_policy *changing)
{
    uint64_t role = changing_role(changing), parent = changing_draw(changing, changing->roles);
    if (memory_role_find(&changing->policy, role) == NULL ||
        memory_role_find(&changing->policy, parent) == NULL)
        return;
    memory_inherit(&changing->policy, role, parent); /* cycles too */
    change_log(changing, (struct change){.kind = CHANGE_ROLE_PARENT, .role = role});
}

void change_role_put(struct changing_policy *changing, bool replaces)
{
    struct memory_policy *policy = &changing->policy;
    uint64_t id = changing_role(changing);
    const struct memory_role *before = memory_role_find(policy, id);
    struct scope_key old_scope = before != NULL ? before->scope : global;
    struct memory_role after = before != NULL ? *before : (struct memory_role){.id = id, .active = true};
    bool existed = before != NULL;
    if (!existed || replaces || changing_draw(changing, 3) == 0)
        after.scope = changing_scope(changing);
    if (memory_scope_find(policy, after.scope) == NULL)
        return;
    if (changing_draw(changing, 2) == 0)
        after.is_default = !after.is_default;
    if (changing_draw(changing, 2) == 0)
        after.active = !after.active;
    for (size_t i = 0; i < policy->roles.count; i++) {
        struct memory_role *row = &policy->roles.items[i];
        if (row->id == id) {
            row->scope = after.scope;
            row->is_default = after.is_default;
            row->active = after.active;
        }
    }
    if (!existed)
        memory_role(policy, id, "role", after.scope, after.is_default, after.active);
    memory_policy_touch(policy);
    if (existed && !replaces && !scope_equal(old_scope, after.scope))
        change_log(changing, (struct change){.kind = CHANGE_ROLE, .role = id, .scope = old_scope});
    change_log(changing, (struct change){.kind = CHANGE_ROLE, .role = id, .scope = after.scope});
}

void change_role_delete(struct changing_policy *changing, bool vanishes)
{
    struct memory_policy *policy = &changing->policy;
    uint64_t id = changing_role(changing);
    for (size_t i = policy->assignments.count; !vanishes && i-- > 0;)
        if (policy->assignments.items[i].role == id)
            change_unassign(changing, i);
    for (size_t i = policy->overwrites.count; !vanishes && i-- > 0;)
        if (policy->overwrites.items[i].subject == OVERWRITE_ROLE &&
            policy->overwrites.items[i].subject_id == id)
            change_unoverwrite(changing, i);
    for (size_t i = policy->grants.count; !vanishes && i-- > 0;)
        if (policy->grants.items[i].role == id)
            change_revoke(changing, i);
    for (size_t i = policy->parents.count; !vanishes && i-- > 0;)
        if (policy->parents.items[i].role == id || policy->parents.items[i].parent == id)
            change_disinherit(changing, i);
    for (size_t i = policy->roles.count; i-- > 0;) {
        if (policy->roles.items[i].id == id) {
            struct scope_key scope = policy->roles.items[i].scope;
            free(policy->roles.items[i].name);
            TAKE(changing, roles, i);
            change_log(changing, (struct change){.kind = CHANGE_ROLE, .role = id, .scope = scope});
        }
    }
}

void change_scope_put(struct changing_policy *changing)
{
    struct memory_policy *policy = &changing->policy;
    struct scope_key key = changing_scope(changing);
    struct scope_key parent = global;
    uint64_t owner = changing_user(changing);
    if (key.type > 1 && changing_draw(changing, 3) > 0)
        parent = (struct scope_key){1 + changing_draw(changing, 2), 1};
    if (key.type == 3 && changing_draw(changing, 2) == 0)
        parent = (struct scope_key){10 + changing_draw(changing, 3), 2};
    if (key.type == 0 || memory_scope_find(policy, parent) == NULL)
        return;
    memory_scope(policy, key, parent, changing_draw(changing, 5) == 0 ? &owner : NULL);
    memory_policy_touch(policy);
    change_log(changing, (struct change){.kind = CHANGE_SCOPE, .scope = key});
}

/* Rows that refer to the scope go first, or, as where references are not enforced, stay and point to nothing. */
void change_scope_delete(struct changing_policy *changing, bool vanishes)
{
    struct memory_policy *policy = &changing->policy;
    struct scope_key key = changing_scope(changing);
    for (size_t i = policy->assignments.count; !vanishes && i-- > 0;)
        if (scope_equal(policy->assignments.items[i].scope, key))
            change_unassign(changing, i);
    for (size_t i = policy->overwrites.count; !vanishes && i-- > 0;)
        if (scope_equal(policy->overwrites.items[i].scope, key))
            change_unoverwrite(changing, i);
    if (key.type == 0)
        return;
    for (size_t i = 0; !vanishes && i < policy->scopes.count; i++)
        if (scope_equal(policy->scopes.items[i].parent, key))
            return;
    for (size_t i = 0; !vanishes && i < policy->roles.count; i++)
        if (scope_equal(policy->roles.items[i].scope, key))
            return;
    for (size_t i = policy->scopes.count; i-- > 0;) {
        if (scope_equal(policy->scopes.items[i].key, key)) {
            TAKE(changing, scopes, i);
            change_log(changing, (struct change){.kind = CHANGE_SCOPE, .scope = key});
        }
    }
}

void change_catalogue(struct changing_policy *changing)
{
    struct memory_permission *permission = &changing->policy.permissions.items[changing_bit(changing)];
    switch (changing_draw(changing, 3)) {
    case 0:
        permission->grants_all = !permission->grants_all;
        break;
    case 1:
        permission->deleted = changing_draw(changing, 4) == 0 || permission->deleted;
        break;
    default:
        memory_requires(&changing->policy, changing_bit(changing), changing_bit(changing));
    }
    change_log(changing, (struct change){.kind = CHANGE_PERMISSION});
}
