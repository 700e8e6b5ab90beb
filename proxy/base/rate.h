/* How often something happened in the last RATE_SLOTS units of time: a ring of counts, a slot a unit. The caller
 * says what a unit is, a second or a minute, by the clock that it passes. Pure. */
#ifndef PERMTAB_BASE_RATE_H
#define PERMTAB_BASE_RATE_H

#include <stdint.h>

#define RATE_SLOTS 60u

struct rate {    /* zeroed to begin with */
    uint64_t at; /* the unit of the newest slot */
    uint64_t slots[RATE_SLOTS];
};

/* `now` never goes back; if it does, what happens counts as of the newest slot. */
void rate_add(struct rate *rate, uint64_t count, uint64_t now);
/* The unit that is not over yet included. */
uint64_t rate_sum(struct rate *rate, uint64_t now);

#endif
