/* The resolver: docs/SEMANTICS.md as a pure function. Takes the time as an argument, reads roles through a
 * function, owns nothing.
 *
 * Two steps, because they have different lives. inputs_build() turns facts into the *inputs* of a permission set:
 * which roles are held and whether by default, and the overwrite rows that apply. Equal inputs share a set.
 * resolve() turns inputs and the roles' present definitions into the two bitmaps. When a role is edited only the second
 * step is run again, once for each set that holds it, and no entry is touched. */
#ifndef PERMTAB_RIGHTS_RESOLVE_H
#define PERMTAB_RIGHTS_RESOLVE_H

#include "proxy/rights/facts.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct held_role {
    uint64_t role;
    bool by_default; /* held as a default role of the chain; assigned too or not */
};

struct input_overwrite {
    uint32_t level; /* 0, 1, 2 … renumbered: only levels that have rows count, so the inputs name no scope */
    enum overwrite_subject subject;
    uint64_t role;
    uint32_t bit;
    bool allow;
};

/* Inputs of one set, canonical: two inputs mean the same exactly when inputs_equal says so. Ordered: held by role,
 * overwrites by (level, subject, role, bit, allow), each once. */
struct inputs {
    bool exists; /* false: the scope is not in the store; nothing else is set */
    bool owner;  /* owns a scope of the chain; nothing else is set */
    /* Some scope of the chain has overwrite rows for a role, whether they apply or not. A change of inheritance may
     * make others apply, so such inputs must be built afresh then (not part of the identity). */
    bool overwrites_seen;
    struct held_role *held;
    size_t held_count;
    struct input_overwrite *overwrites;
    size_t overwrite_count;
    int64_t first_expiry; /* of an assignment that counted; FACTS_NEVER. Not part of the identity */
};

/* Finds a role's present definition; NULL when there is none (it then grants nothing). */
typedef const struct role *(*role_find_fn)(void *context, uint64_t role);

/* `now` in microseconds UTC decides what has expired (expires_at <= now has). An assignment of a role whose own scope
 * is not on the chain at or above the assignment, or is not there, is ignored; *misplaced (may be NULL) is set to how
 * many there were, 0 for an owner, whose roles are not looked at.
 * The roles are found through `find`. PERMTAB_E_MEMORY. */
int inputs_build(struct inputs *out, const struct facts *facts, int64_t now, role_find_fn find, void *context,
                 size_t *misplaced) PERMTAB_MUST_CHECK;
void inputs_fini(struct inputs *inputs);
/* PERMTAB_E_MEMORY. */
int inputs_copy(struct inputs *out, const struct inputs *from) PERMTAB_MUST_CHECK;
bool inputs_equal(const struct inputs *a, const struct inputs *b);
uint64_t inputs_hash(const struct inputs *inputs);

/* Bitmaps of catalogue->words words each. PERMTAB_E_MEMORY. */
int resolve(const struct catalogue *catalogue, const struct inputs *inputs, role_find_fn find, void *context,
            uint64_t *any, uint64_t *own) PERMTAB_MUST_CHECK;

/* All roles that inputs hold directly or by inheritance, each once: a role edit is matched against them. Inactive
 * roles, the roles behind them, and missing roles are visited, too: they grant nothing now, but an edit of any of
 * them may change what the inputs resolve to or, by inheritance, which overwrites apply once a role is made active.
 * PERMTAB_E_MEMORY. */
int inputs_roles(const struct inputs *inputs, role_find_fn find, void *find_context,
                 void (*visit)(void *context, uint64_t role), void *visit_context) PERMTAB_MUST_CHECK;

static inline bool bitmap_test(const uint64_t *bits, uint32_t bit)
{
    return ((bits[bit / 64] >> (bit % 64)) & 1u) != 0;
}

#endif
