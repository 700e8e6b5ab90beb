/* Facts and catalogue from a memory policy, as a store reads them in a snapshot: nothing is judged here,
 * expired and misplaced rows are read like the others. */
#include "tests/support/memory_policy.h"
#include "tests/support/memory_private.h"

#include "proxy/rights/resolve.h"

#include <stdlib.h>
#include <string.h>

/* ---- the catalogue --------------------------------------------------------------------------------------- */

static void add_requirement(struct permission *permission, uint32_t requires)
{
    permission->requires = realloc(permission->requires, (permission->requires_count + 1) * sizeof(uint32_t));
    if (permission->requires == NULL)
        memory_die("out of memory");
    permission->requires[permission->requires_count++] = requires;
}

void memory_catalogue(struct memory_policy *policy, uint32_t words, struct catalogue *out)
{
    size_t count = policy->permissions.count;
    memset(out, 0, sizeof *out);
    out->types = policy->types;
    out->words = (uint32_t)(count + 63) / 64;
    if (out->words < words)
        out->words = words;
    out->permissions = calloc(count + 1, sizeof *out->permissions);
    if (out->permissions == NULL)
        memory_die("out of memory");
    out->count = count;
    for (size_t i = 0; i < count; i++) {
        const struct memory_permission *from = &policy->permissions.items[i];
        out->permissions[i] = (struct permission){.bit = (uint32_t)i,
                                                  .name = memory_text(from->name),
                                                  .description = memory_text(""),
                                                  .grants_all = from->grants_all,
                                                  .deprecated = from->deprecated,
                                                  .deleted = from->deleted};
    }
    for (size_t i = 0; i < policy->requirements.count; i++)
        add_requirement(&out->permissions[policy->requirements.items[i].bit],
                        policy->requirements.items[i].requires);
    if (catalogue_index(out) < 0)
        memory_die("out of memory");
}

/* ---- facts ----------------------------------------------------------------------------------------------- */

/* Reads from the scope up, then turns the chain round. Leaves the chain empty when a scope is missing or types do not
 * descend. */
static void read_chain(struct memory_policy *policy, struct facts *out)
{
    struct memory_scope up[SCOPE_CHAIN_MAX];
    struct scope_key key = out->scope;
    uint32_t length = 0;
    for (;;) {
        const struct memory_scope *scope = memory_scope_find(policy, key);
        if (scope == NULL || length == SCOPE_CHAIN_MAX) {
            out->broken = length > 0;
            return;
        }
        up[length++] = *scope;
        if (key.type == 0)
            break;
        if (scope->parent.type >= key.type) {
            out->broken = true;
            return;
        }
        key = scope->parent;
    }
    out->chain_count = length;
    for (uint32_t level = 0; level < length; level++) {
        const struct memory_scope *scope = &up[length - 1 - level];
        out->chain[level] =
            (struct facts_scope){.key = scope->key, .has_owner = scope->has_owner, .owner = scope->owner};
    }
}

static bool is_plain(struct memory_policy *policy, const struct facts_scope *scope)
{
    size_t first = memory_first_overwrite(policy, scope->key);
    if (scope->key.type == 0 || scope->has_owner ||
        (first < policy->overwrites.count && scope_equal(policy->overwrites.items[first].scope, scope->key)))
        return false;
    for (size_t i = 0; i < policy->assignments.count; i++)
        if (scope_equal(policy->assignments.items[i].scope, scope->key))
            return false;
    for (size_t i = 0; i < policy->roles.count; i++)
        if (scope_equal(policy->roles.items[i].scope, scope->key))
            return false;
    return true;
}

static bool spares_users(struct memory_policy *policy, struct scope_key scope)
{
    for (size_t i = 0; i < policy->overwrites.count; i++)
        if (scope_equal(policy->overwrites.items[i].scope, scope) &&
            policy->overwrites.items[i].subject == OVERWRITE_USER)
            return false;
    return true;
}

/* -1 when the scope is not on the chain. */
static int level_of(const struct facts *facts, struct scope_key key)
{
    for (uint32_t level = 0; level < facts->chain_count; level++)
        if (scope_equal(facts->chain[level].key, key))
            return (int)level;
    return -1;
}

static void read_assignments(struct memory_policy *policy, struct facts *out)
{
    size_t capacity = 0;
    for (size_t i = memory_first_assignment(policy, out->user);
         i < policy->assignments.count && policy->assignments.items[i].user == out->user; i++) {
        const struct memory_assignment *row = &policy->assignments.items[i];
        int level = level_of(out, row->scope);
        if (level < 0)
            continue;
        out->assignments =
            memory_grown(out->assignments, out->assignment_count, &capacity, sizeof *out->assignments);
        out->assignments[out->assignment_count++] = (struct facts_assignment){
            .role = row->role, .level = (uint32_t)level, .expires_at = row->expires_at};
    }
}

static void read_defaults(struct memory_policy *policy, struct facts *out)
{
    size_t capacity = 0;
    for (size_t i = 0; i < policy->roles.count; i++) {
        int level = policy->roles.items[i].is_default ? level_of(out, policy->roles.items[i].scope) : -1;
        if (level < 0)
            continue;
        out->defaults = memory_grown(out->defaults, out->default_count, &capacity, sizeof *out->defaults);
        out->defaults[out->default_count++] =
            (struct facts_default){.role = policy->roles.items[i].id, .level = (uint32_t)level};
    }
}

static void read_overwrites(struct memory_policy *policy, struct facts *out)
{
    size_t capacity = 0;
    for (uint32_t level = 0; level < out->chain_count; level++) {
        struct scope_key key = out->chain[level].key;
        for (size_t i = memory_first_overwrite(policy, key);
             i < policy->overwrites.count && scope_equal(policy->overwrites.items[i].scope, key); i++) {
            const struct memory_overwrite *row = &policy->overwrites.items[i];
            bool of_user = row->subject == OVERWRITE_USER;
            if (of_user && row->subject_id != out->user)
                continue;
            out->overwrites =
                memory_grown(out->overwrites, out->overwrite_count, &capacity, sizeof *out->overwrites);
            out->overwrites[out->overwrite_count++] =
                (struct facts_overwrite){.level = level,
                                         .subject = row->subject,
                                         .role = of_user ? 0 : row->subject_id,
                                         .bit = row->bit,
                                         .allow = row->allow};
        }
    }
}

bool memory_definition(struct memory_policy *policy, uint64_t id, struct role *out)
{
    const struct memory_role *from = memory_role_find(policy, id);
    size_t capacity = 0;
    memset(out, 0, sizeof *out);
    if (from == NULL)
        return false;
    *out = (struct role){.id = id,
                         .name = memory_text(from->name),
                         .scope = from->scope,
                         .is_default = from->is_default,
                         .active = from->active};
    for (size_t i = memory_first_parent(policy, id);
         i < policy->parents.count && policy->parents.items[i].role == id; i++) {
        out->parents = memory_grown(out->parents, out->parent_count, &capacity, sizeof *out->parents);
        out->parents[out->parent_count++] = policy->parents.items[i].parent;
    }
    capacity = 0;
    for (size_t i = memory_first_grant(policy, id);
         i < policy->grants.count && policy->grants.items[i].role == id; i++) {
        out->grants = memory_grown(out->grants, out->grant_count, &capacity, sizeof *out->grants);
        out->grants[out->grant_count++] =
            (struct grant){.bit = policy->grants.items[i].bit, .effect = policy->grants.items[i].effect};
    }
    return true;
}

/* The ids found so far, each once: a byte for each role of the policy says whether it was. */
struct wanted {
    uint64_t *ids;
    size_t count, capacity;
    bool *seen;
};

static void want(struct memory_policy *policy, struct wanted *wanted, uint64_t id)
{
    const struct memory_role *role = memory_role_find(policy, id);
    if (role == NULL || wanted->seen[role - policy->roles.items])
        return;
    wanted->seen[role - policy->roles.items] = true;
    wanted->ids = memory_grown(wanted->ids, wanted->count, &wanted->capacity, sizeof *wanted->ids);
    wanted->ids[wanted->count++] = id;
}

static void read_roles(struct memory_policy *policy, struct facts *out)
{
    struct wanted wanted = {.seen = calloc(policy->roles.count + 1, sizeof(bool))};
    if (wanted.seen == NULL)
        memory_die("out of memory");
    for (size_t i = 0; i < out->assignment_count; i++)
        want(policy, &wanted, out->assignments[i].role);
    for (size_t i = 0; i < out->default_count; i++)
        want(policy, &wanted, out->defaults[i].role);
    for (size_t i = 0; i < out->overwrite_count; i++)
        if (out->overwrites[i].subject == OVERWRITE_ROLE)
            want(policy, &wanted, out->overwrites[i].role);
    for (size_t next = 0; next < wanted.count; next++) {
        struct role *role = role_list_add(&out->roles);
        if (role == NULL || !memory_definition(policy, wanted.ids[next], role))
            memory_die("out of memory");
        for (size_t i = 0; i < role->parent_count; i++)
            want(policy, &wanted, role->parents[i]);
    }
    role_list_sort(&out->roles);
    free(wanted.ids);
    free(wanted.seen);
}

void memory_facts(struct memory_policy *policy, uint64_t user, struct scope_key scope, int64_t now,
                  struct facts *out)
{
    memset(out, 0, sizeof *out);
    memory_sort(policy);
    out->user = user;
    out->scope = scope;
    out->now = now;
    read_chain(policy, out);
    for (uint32_t level = 0; level < out->chain_count; level++) {
        out->chain[level].plain = is_plain(policy, &out->chain[level]);
        out->chain[level].spares_users = spares_users(policy, out->chain[level].key);
    }
    if (out->chain_count == 0)
        return;
    read_assignments(policy, out);
    read_defaults(policy, out);
    read_overwrites(policy, out);
    read_roles(policy, out);
}
