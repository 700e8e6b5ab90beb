/* A slice of facts: many users at one place, of whom the store says the same few things. Who has the same roles there
 * is of the same *kind*, and a kind is facts of nobody in particular, to which a user is given when they are used.
 * Whoever has more than roles without an end (an end, an overwrite, the place itself) is of no kind, and is to be read
 * alone. Plain data. */
#ifndef PERMTAB_RIGHTS_FACTS_SLICE_H
#define PERMTAB_RIGHTS_FACTS_SLICE_H

#include "proxy/rights/facts.h"

#define FACTS_SLICE_USERS_MAX 4096u
/* Kinds, the first of which has no role. */
#define FACTS_SLICE_KINDS_MAX 256u
#define FACTS_SLICE_ALONE     UINT16_MAX

struct facts_slice {
    struct scope_key scope;
    size_t count;
    uint64_t *users;   /* ascending, each once */
    uint16_t *kind_of; /* of each: below kind_count, or FACTS_SLICE_ALONE */
    struct facts *kinds;
    size_t kind_count;
    size_t last; /* the user of the row before */
    struct facts_step *steps; /* from kind to kind, by a role more */
    size_t step_count;
};

/* Copies the users, who are 1 to FACTS_SLICE_USERS_MAX. PERMTAB_E_MEMORY. */
int facts_slice_new(struct facts_slice **out, struct scope_key scope, const uint64_t *users,
                    size_t count) PERMTAB_MUST_CHECK;
void facts_slice_free(struct facts_slice *slice);
/* As it was when it was new. */
void facts_slice_clear(struct facts_slice *slice);

/* The first kind, which is to have what everybody has in common before facts_slice_finish. */
static inline struct facts *facts_slice_common(struct facts_slice *slice)
{
    return &slice->kinds[0];
}
/* A row of a user: a role without an end. Users who are not in the slice have no part in it. PERMTAB_E_MEMORY. */
int facts_slice_assign(struct facts_slice *slice, uint64_t user, uint64_t role, uint32_t level) PERMTAB_MUST_CHECK;
/* A row of another sort. */
void facts_slice_set_alone(struct facts_slice *slice, uint64_t user);
/* All rows have been taken: makes every kind whole but for its roles. PERMTAB_E_MEMORY. */
int facts_slice_finish(struct facts_slice *slice) PERMTAB_MUST_CHECK;

#endif
