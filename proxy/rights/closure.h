/* The roles reached from the held ones by inheritance. Private to the pure core: inputs.c, resolve.c,
 * explain.c. */
#ifndef PERMTAB_RIGHTS_CLOSURE_H
#define PERMTAB_RIGHTS_CLOSURE_H

#include "proxy/rights/resolve.h"

#define CLOSURE_HELD UINT32_MAX

/* CLOSURE_ACTIVE: an inactive role is reached and passes nothing on; the roles that resolve now. CLOSURE_ALL:
 * inactive roles pass on as well; the roles that could resolve once `active` is edited. */
enum closure_through { CLOSURE_ACTIVE, CLOSURE_ALL };

struct reached {
    uint64_t role;
    const struct role *definition; /* borrowed from `find`; NULL when there is none */
    uint32_t from;                 /* the item that inherits it, on a shortest path; CLOSURE_HELD */
    bool by_default;               /* a default role, or an ancestor of one */
};

struct closure {
    struct reached *items; /* each role once, default ones and their ancestors first */
    size_t count;
    size_t capacity;
    /* open addressing: item number + 1, 0 is free; twice `capacity` of them, a power of two */
    uint32_t *slots;
};

/* PERMTAB_E_MEMORY. fini it in either case. */
int closure_build(struct closure *out, const struct held_role *held, size_t held_count,
                  enum closure_through through, role_find_fn find, void *context) PERMTAB_MUST_CHECK;
void closure_fini(struct closure *closure);
/* NULL when it was not reached. */
const struct reached *closure_find(const struct closure *closure, uint64_t role);

/* Whether the role grants anything: an inactive or missing one is as though it were not there. */
static inline bool reached_counts(const struct reached *reached)
{
    return reached->definition != NULL && reached->definition->active;
}

#endif
