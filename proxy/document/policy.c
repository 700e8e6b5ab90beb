/* A policy document in memory: only its release is here. read.c makes one from text, export.c from the store. */
#include "proxy/document/policy.h"

#include <stdlib.h>
#include <string.h>

static void names_fini(struct policy_names *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->items[i]);
    free(names->items);
}

static void permission_fini(struct policy_permission *permission)
{
    free(permission->name);
    free(permission->description);
    names_fini(&permission->requires);
}

static void scope_fini(struct policy_scope *scope)
{
    for (size_t i = 0; i < scope->overwrite_count; i++) {
        names_fini(&scope->overwrites[i].allow);
        names_fini(&scope->overwrites[i].deny);
    }
    free(scope->overwrites);
}

static void role_clear(struct policy_role *role)
{
    free(role->name);
    free(role->inherits);
    names_fini(&role->allow);
    names_fini(&role->allow_own);
    names_fini(&role->deny);
}

void policy_fini(struct policy *policy)
{
    for (size_t i = 0; i < policy->permission_count; i++)
        permission_fini(&policy->permissions[i]);
    for (size_t i = 0; i < policy->scope_count; i++)
        scope_fini(&policy->scopes[i]);
    for (size_t i = 0; i < policy->role_count; i++)
        role_clear(&policy->roles[i]);
    free(policy->permissions);
    free(policy->scopes);
    free(policy->roles);
    free(policy->assignments);
    memset(policy, 0, sizeof *policy);
}
