/* Step 6 of the resolver: clearing permissions whose required permission is missing. Private to resolve.c. */
#ifndef PERMTAB_RIGHTS_REQUIRES_H
#define PERMTAB_RIGHTS_REQUIRES_H

#include "proxy/rights/catalogue.h"

/* The requirements of a catalogue turned round: for each bit, the bits that require it. */
struct requirements {
    const struct catalogue *catalogue;
    uint32_t *first; /* words * 64 + 1 of them: where a bit's dependents begin; NULL when nothing requires
                        anything */
    uint32_t *dependents;
    uint32_t *cleared; /* the worklist */
};

/* PERMTAB_E_MEMORY. */
int requirements_init(struct requirements *out, const struct catalogue *catalogue) PERMTAB_MUST_CHECK;
void requirements_fini(struct requirements *requirements);
/* Clears until nothing changes. `bits` has catalogue->words words. */
void requirements_enforce(struct requirements *requirements, uint64_t *bits);

#endif
