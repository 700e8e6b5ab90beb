/* Probabilities are chosen so that most policies decide something in every step: owners and grants_all are rare,
 * for they end the matter early. */
#include "tests/support/random_policy.h"

#include <stdio.h>

#define USERS 3u

/* Ids near both ends of the range: 1, 2, 3 … and 2^64 - 1, 2^64 - 2 …; equal ids at different types are wanted. */
static uint64_t spread(uint64_t number)
{
    return number % 3 == 2 ? UINT64_MAX - number : number + 1;
}

static uint64_t role_id(uint64_t number)
{
    return spread(number);
}

uint64_t random_user(struct random *random)
{
    return spread(random_below(random, USERS));
}

struct scope_key random_scope(struct random *random, const struct memory_policy *policy)
{
    if (random_chance(random, 4))
        return (struct scope_key){.id = 999, .type = 3};
    return policy->scopes.items[random_below(random, policy->scopes.count)].key;
}

static uint32_t random_bit(struct random *random, const struct memory_policy *policy)
{
    return (uint32_t)random_below(random, policy->permissions.count);
}

static enum grant_effect random_effect(struct random *random)
{
    uint64_t dice = random_below(random, 10);
    return dice < 6 ? GRANT_ALLOW : dice < 8 ? GRANT_ALLOW_OWN : GRANT_DENY;
}

static void add_permissions(struct random *random, struct memory_policy *policy)
{
    /* Sometimes more than one word of them. */
    uint64_t count = 1 + random_below(random, random_chance(random, 10) ? 80 : 12);
    for (uint64_t i = 0; i < count; i++) {
        char name[32];
        snprintf(name, sizeof name, "permission_%u", (unsigned)i);
        uint32_t bit = memory_permission(policy, name);
        struct memory_permission *permission = &policy->permissions.items[bit];
        permission->grants_all = random_chance(random, 3);
        permission->deprecated = random_chance(random, 10);
        permission->deleted = random_chance(random, 6);
    }
    if (random_chance(random, 60))
        for (uint64_t i = random_below(random, count + 1); i > 0; i--) {
            uint32_t bit = random_bit(random, policy);
            memory_requires(policy, bit, random_bit(random, policy));
        }
}

static void add_scopes(struct random *random, struct memory_policy *policy)
{
    for (uint64_t i = 0; i < 6; i++) {
        struct scope_key key = {.id = spread(random_below(random, 3)),
                                .type = 1 + (uint32_t)random_below(random, 3)};
        struct scope_key parent = random_scope(random, policy);
        uint64_t owner = random_user(random);
        /* A parent of the same or a higher type stays in at times: it must be as though the scope were absent. */
        if (parent.type >= key.type && !random_chance(random, 5))
            parent = (struct scope_key){0};
        memory_scope(policy, key, parent, random_chance(random, 6) ? &owner : NULL);
    }
}

static void add_parents(struct random *random, struct memory_policy *policy, uint64_t roles)
{
    for (uint64_t i = random_below(random, roles + roles / 2 + 1); i > 0; i--) {
        uint64_t child = role_id(random_below(random, roles));
        uint64_t parent = role_id(random_below(random, roles + 1));
        memory_inherit(policy, child, parent);
    }
}

static void add_grants(struct random *random, struct memory_policy *policy, uint64_t roles)
{
    for (uint64_t i = random_below(random, 6 * roles + 1); i > 0; i--) {
        uint64_t role = role_id(random_below(random, roles));
        enum grant_effect effect = random_effect(random);
        memory_grant(policy, role, effect, random_bit(random, policy));
    }
}

static void add_roles(struct random *random, struct memory_policy *policy)
{
    uint64_t roles = 1 + random_below(random, random_chance(random, 10) ? 40 : 9);
    for (uint64_t i = 0; i < roles; i++) {
        struct scope_key scope = {0};
        if (random_chance(random, 60))
            scope = random_scope(random, policy);
        bool is_default = random_chance(random, 20);
        memory_role(policy, role_id(i), "role", scope, is_default, random_chance(random, 88));
    }
    add_parents(random, policy, roles);
    add_grants(random, policy, roles);
}

/* Assigns at the role's own scope, at global or anywhere: then often misplaced. */
static void add_assignment(struct random *random, struct memory_policy *policy)
{
    static const int64_t ends[] = {RANDOM_NOW - 1, RANDOM_NOW,  RANDOM_NOW + 1, FACTS_NEVER,
                                   FACTS_NEVER,    FACTS_NEVER, FACTS_NEVER,    FACTS_NEVER};
    uint64_t user = random_user(random);
    uint64_t role = role_id(random_below(random, policy->roles.count + 1)); /* one of them is not there */
    const struct memory_role *row = memory_role_find(policy, role);
    struct scope_key scope = {0};
    if (row != NULL && random_chance(random, 50))
        scope = row->scope;
    else if (random_chance(random, 70))
        scope = random_scope(random, policy);
    memory_assign(policy, user, role, scope, ends[random_below(random, 8)]);
}

static void add_overwrite(struct random *random, struct memory_policy *policy)
{
    struct scope_key scope = random_scope(random, policy);
    bool of_user = random_chance(random, 20);
    uint64_t subject = of_user ? random_user(random) : role_id(random_below(random, policy->roles.count + 1));
    uint32_t bit = random_bit(random, policy);
    memory_overwrite(policy, scope, of_user ? OVERWRITE_USER : OVERWRITE_ROLE, subject, bit,
                     random_chance(random, 50));
}

static void add_rows(struct random *random, struct memory_policy *policy)
{
    for (uint64_t i = random_below(random, 20); i > 0; i--)
        add_assignment(random, policy);
    for (uint64_t i = random_chance(random, 25) ? 0 : random_below(random, 40); i > 0; i--)
        add_overwrite(random, policy);
}

void random_policy(struct random *random, struct memory_policy *out)
{
    memory_policy_init(out);
    add_permissions(random, out);
    add_scopes(random, out);
    add_roles(random, out);
    add_rows(random, out);
}

void random_role_edit(struct random *random, struct memory_policy *policy, bool inheritance)
{
    size_t roles = policy->roles.count;
    if (random_chance(random, 50)) {
        struct memory_role *role = &policy->roles.items[random_below(random, roles)];
        role->active = !role->active;
    }
    if (random_chance(random, 50))
        policy->grants.count = random_below(random, policy->grants.count + 1);
    add_grants(random, policy, roles);
    if (inheritance) {
        policy->parents.count = random_below(random, policy->parents.count + 1);
        add_parents(random, policy, roles);
    }
    memory_policy_touch(policy);
}
