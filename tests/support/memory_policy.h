/* A policy in memory, row by row as the store has it, and the facts and the catalogue made from it as the store would
 * make them. For tests and benchmarks of what is pure: no store, no document format. Anything that a store would
 * refuse (cycles, misplaced rows, references to nothing) can be put in, because the resolver must stand it.
 *
 * Being out of memory, or an argument that makes no sense, ends the test. */
#ifndef PERMTAB_TESTS_SUPPORT_MEMORY_POLICY_H
#define PERMTAB_TESTS_SUPPORT_MEMORY_POLICY_H

#include "proxy/rights/facts.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct memory_permission {
    char *name; /* its bit is its place in the list */
    bool grants_all, deprecated, deleted;
};

struct memory_requirement {
    uint32_t bit, requires;
};

struct memory_scope {
    struct scope_key key, parent; /* of global: itself */
    bool has_owner;
    uint64_t owner;
};

struct memory_role {
    uint64_t id;
    char *name;
    struct scope_key scope;
    bool is_default, active;
};

struct memory_parent {
    uint64_t role, parent;
};

struct memory_grant {
    uint64_t role;
    uint32_t bit;
    enum grant_effect effect;
};

struct memory_assignment {
    uint64_t user, role;
    struct scope_key scope;
    int64_t expires_at;
};

struct memory_overwrite {
    struct scope_key scope;
    enum overwrite_subject subject;
    uint64_t subject_id; /* of the role or the user */
    uint32_t bit;
    bool allow;
};

#define MEMORY_LIST(name, type)                                                                              \
    struct name {                                                                                            \
        type *items;                                                                                         \
        size_t count, capacity;                                                                              \
    }

MEMORY_LIST(memory_permissions, struct memory_permission);
MEMORY_LIST(memory_requirements, struct memory_requirement);
MEMORY_LIST(memory_scopes, struct memory_scope);
MEMORY_LIST(memory_roles, struct memory_role);
MEMORY_LIST(memory_parents, struct memory_parent);
MEMORY_LIST(memory_grants, struct memory_grant);
MEMORY_LIST(memory_assignments, struct memory_assignment);
MEMORY_LIST(memory_overwrites, struct memory_overwrite);

/* Rows may be read at any time, and changed in place until the next call of a function below; their order is not
 * kept, except that of permissions: memory_facts sorts the lists that it looks things up in. After changing a key
 * in place call memory_policy_touch. */
struct memory_policy {
    struct scope_types types;
    struct memory_permissions permissions;
    struct memory_requirements requirements;
    struct memory_scopes scopes;
    struct memory_roles roles;
    struct memory_parents parents;
    struct memory_grants grants;
    struct memory_assignments assignments;
    struct memory_overwrites overwrites;
    bool sorted;
};

/* The policy begins with the scope types global, server, category, channel, and the global scope. */
void memory_policy_init(struct memory_policy *policy);
void memory_policy_fini(struct memory_policy *policy);
void memory_policy_touch(struct memory_policy *policy);
/* A deep copy, to edit and compare. */
void memory_policy_copy(struct memory_policy *out, const struct memory_policy *from);

/* Each returns what identifies the row, or nothing. */
uint32_t memory_type(struct memory_policy *policy, const char *name);       /* finds or appends */
uint32_t memory_permission(struct memory_policy *policy, const char *name); /* finds or appends; its bit */
void memory_requires(struct memory_policy *policy, uint32_t bit, uint32_t requires);
/* NULL for no owner. An existing scope gets the new parent and owner. */
void memory_scope(struct memory_policy *policy, struct scope_key key, struct scope_key parent,
                  const uint64_t *owner);
void memory_role(struct memory_policy *policy, uint64_t id, const char *name, struct scope_key scope,
                 bool is_default, bool active);
void memory_inherit(struct memory_policy *policy, uint64_t role, uint64_t parent);
void memory_grant(struct memory_policy *policy, uint64_t role, enum grant_effect effect, uint32_t bit);
void memory_assign(struct memory_policy *policy, uint64_t user, uint64_t role, struct scope_key scope,
                   int64_t expires_at);
void memory_overwrite(struct memory_policy *policy, struct scope_key scope, enum overwrite_subject subject,
                      uint64_t subject_id, uint32_t bit, bool allow);

/* NULL when there is none; valid until the next change. */
const struct memory_scope *memory_scope_find(struct memory_policy *policy, struct scope_key key);
const struct memory_role *memory_role_find(struct memory_policy *policy, uint64_t id);

/* Makes what the store would read. fini them with catalogue_fini, facts_fini. The catalogue's words are as many as the
 * permissions need, at least `words`. facts->roles is sorted. */
void memory_catalogue(struct memory_policy *policy, uint32_t words, struct catalogue *out);
void memory_facts(struct memory_policy *policy, uint64_t user, struct scope_key scope, int64_t now,
                  struct facts *out);
/* One role's definition; fini it with role_fini. False when there is none. */
bool memory_definition(struct memory_policy *policy, uint64_t id, struct role *out);

#endif
