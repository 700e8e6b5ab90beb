/* The steps are numbered as in the design. Everything is looked for again whenever it is needed: slow is the point,
 * there is nothing here to get wrong twice in the same way. Limits are asserted; random policies are small. */
#include "tests/support/slow_resolver.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define SLOW_MOST 512

struct ids {
    uint64_t items[SLOW_MOST];
    size_t count;
};

struct slow {
    const struct memory_policy *policy;
    uint64_t user;
    int64_t now;
    struct scope_key chain[SLOW_MOST]; /* from the scope up to global */
    size_t chain_count;
    struct ids defaults; /* default roles in force and their ancestors */
    struct ids others;   /* the other roles held and their ancestors, without those */
};

static bool same(struct scope_key a, struct scope_key b)
{
    return a.type == b.type && a.id == b.id;
}

static bool has(const struct ids *ids, uint64_t id)
{
    for (size_t i = 0; i < ids->count; i++)
        if (ids->items[i] == id)
            return true;
    return false;
}

static bool add(struct ids *ids, uint64_t id)
{
    if (has(ids, id))
        return false;
    assert(ids->count < SLOW_MOST);
    ids->items[ids->count++] = id;
    return true;
}

/* ---- step 1: the scope and those above it ---------------------------------------------------------------------- */

static const struct memory_scope *scope_row(const struct slow *slow, struct scope_key key)
{
    for (size_t i = 0; i < slow->policy->scopes.count; i++)
        if (same(slow->policy->scopes.items[i].key, key))
            return &slow->policy->scopes.items[i];
    return NULL;
}

/* False when there is a hole in the chain. A parent must be of a lower type; a row that says otherwise is a hole. */
static bool find_chain(struct slow *slow, struct scope_key key)
{
    for (;;) {
        const struct memory_scope *row = scope_row(slow, key);
        if (row == NULL)
            return false;
        slow->chain[slow->chain_count++] = key;
        if (key.type == 0)
            return true;
        if (row->parent.type >= key.type)
            return false;
        key = row->parent;
    }
}

/* 0 is the scope itself; the count when it is not on the chain. */
static size_t steps_up(const struct slow *slow, struct scope_key key)
{
    size_t steps = 0;
    while (steps < slow->chain_count && !same(slow->chain[steps], key))
        steps++;
    return steps;
}

/* ---- step 2: roles --------------------------------------------------------------------------------------------- */

static const struct memory_role *role_row(const struct slow *slow, uint64_t id)
{
    for (size_t i = 0; i < slow->policy->roles.count; i++)
        if (slow->policy->roles.items[i].id == id)
            return &slow->policy->roles.items[i];
    return NULL;
}

static bool in_force(const struct slow *slow, uint64_t id)
{
    const struct memory_role *row = role_row(slow, id);
    return row != NULL && row->active;
}

/* Adds every parent of every role in the list until there is nothing to add. */
static void add_ancestors(const struct slow *slow, struct ids *ids, const struct ids *but_not)
{
    for (bool grown = true; grown;) {
        grown = false;
        for (size_t i = 0; i < slow->policy->parents.count; i++) {
            const struct memory_parent *row = &slow->policy->parents.items[i];
            if (has(ids, row->role) && in_force(slow, row->parent) &&
                !(but_not != NULL && has(but_not, row->parent)))
                grown = add(ids, row->parent) || grown;
        }
    }
}

static void find_roles(struct slow *slow)
{
    for (size_t i = 0; i < slow->policy->roles.count; i++) {
        const struct memory_role *role = &slow->policy->roles.items[i];
        if (role->is_default && role->active && steps_up(slow, role->scope) < slow->chain_count)
            add(&slow->defaults, role->id);
    }
    add_ancestors(slow, &slow->defaults, NULL);
    for (size_t i = 0; i < slow->policy->assignments.count; i++) {
        const struct memory_assignment *row = &slow->policy->assignments.items[i];
        if (row->user != slow->user || row->expires_at <= slow->now || !in_force(slow, row->role))
            continue;
        size_t at = steps_up(slow, row->scope), home = steps_up(slow, role_row(slow, row->role)->scope);
        if (at < slow->chain_count && home < slow->chain_count && home >= at &&
            !has(&slow->defaults, row->role))
            add(&slow->others, row->role);
    }
    /* An ancestor that is default as well is in the other list, and so are its own ancestors. */
    add_ancestors(slow, &slow->others, &slow->defaults);
}

/* ---- step 4: grants -------------------------------------------------------------------------------------------- */

static bool granted(const struct slow *slow, uint32_t bit, enum grant_effect effect)
{
    for (size_t i = 0; i < slow->policy->grants.count; i++) {
        const struct memory_grant *row = &slow->policy->grants.items[i];
        if (row->bit == bit && row->effect == effect &&
            (has(&slow->defaults, row->role) || has(&slow->others, row->role)))
            return true;
    }
    return false;
}

static bool role_says(const struct slow *slow, uint32_t bit, bool own)
{
    if (slow->policy->permissions.items[bit].deleted || granted(slow, bit, GRANT_DENY))
        return false;
    return granted(slow, bit, GRANT_ALLOW) || (own && granted(slow, bit, GRANT_ALLOW_OWN));
}

/* ---- step 3: everything ---------------------------------------------------------------------------------------- */

static bool owner(const struct slow *slow)
{
    for (size_t i = 0; i < slow->chain_count; i++) {
        const struct memory_scope *row = scope_row(slow, slow->chain[i]);
        if (row->has_owner && row->owner == slow->user)
            return true;
    }
    return false;
}

static bool everything(const struct slow *slow, bool own)
{
    for (uint32_t bit = 0; bit < slow->policy->permissions.count; bit++)
        if (slow->policy->permissions.items[bit].grants_all && role_says(slow, bit, own))
            return true;
    return false;
}

/* ---- step 5: overwrites ---------------------------------------------------------------------------------------- */

enum subject_kind { DEFAULT_ROLES, OTHER_ROLES, THE_USER };

static bool overwritten(const struct slow *slow, struct scope_key scope, enum subject_kind kind, uint32_t bit,
                        bool allow)
{
    for (size_t i = 0; i < slow->policy->overwrites.count; i++) {
        const struct memory_overwrite *row = &slow->policy->overwrites.items[i];
        if (!same(row->scope, scope) || row->bit != bit || row->allow != allow)
            continue;
        if (kind == THE_USER && row->subject == OVERWRITE_USER && row->subject_id == slow->user)
            return true;
        if (kind == DEFAULT_ROLES && row->subject == OVERWRITE_ROLE && has(&slow->defaults, row->subject_id))
            return true;
        if (kind == OTHER_ROLES && row->subject == OVERWRITE_ROLE && has(&slow->others, row->subject_id))
            return true;
    }
    return false;
}

static bool after_overwrites(const struct slow *slow, uint32_t bit, bool allowed)
{
    static const enum subject_kind kinds[] = {DEFAULT_ROLES, OTHER_ROLES, THE_USER};
    for (size_t level = slow->chain_count; level-- > 0;) {
        for (size_t i = 0; i < 3; i++) {
            if (overwritten(slow, slow->chain[level], kinds[i], bit, false))
                allowed = false;
            if (overwritten(slow, slow->chain[level], kinds[i], bit, true))
                allowed = true;
        }
    }
    return allowed && !slow->policy->permissions.items[bit].deleted;
}

/* ---- step 6: requires ------------------------------------------------------------------------------------------ */

static void enforce_requires(const struct slow *slow, bool *bits)
{
    for (bool changed = true; changed;) {
        changed = false;
        for (size_t i = 0; i < slow->policy->requirements.count; i++) {
            const struct memory_requirement *row = &slow->policy->requirements.items[i];
            if (bits[row->bit] && !bits[row->requires]) {
                bits[row->bit] = false;
                changed = true;
            }
        }
    }
}

static void fill(const struct slow *slow, bool *bits)
{
    for (uint32_t bit = 0; bit < slow->policy->permissions.count; bit++)
        bits[bit] = !slow->policy->permissions.items[bit].deleted;
}

static void resolve_one(const struct slow *slow, bool own, bool *bits)
{
    if (owner(slow) || everything(slow, own)) {
        fill(slow, bits);
        return;
    }
    for (uint32_t bit = 0; bit < slow->policy->permissions.count; bit++)
        bits[bit] = after_overwrites(slow, bit, role_says(slow, bit, own));
    enforce_requires(slow, bits);
}

void slow_resolve(const struct memory_policy *policy, uint64_t user, struct scope_key scope, int64_t now,
                  bool *any, bool *own)
{
    struct slow *slow = calloc(1, sizeof *slow);
    assert(slow != NULL);
    slow->policy = policy;
    slow->user = user;
    slow->now = now;
    memset(any, 0, policy->permissions.count * sizeof *any);
    memset(own, 0, policy->permissions.count * sizeof *own);
    if (find_chain(slow, scope)) {
        find_roles(slow);
        resolve_one(slow, false, any);
        resolve_one(slow, true, own);
    }
    free(slow);
}
