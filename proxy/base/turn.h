/* A turn of the loop: what has much to do at once does some of it, and goes on in the next turn, so that nobody else
 * waits for long. */
#ifndef PERMTAB_BASE_TURN_H
#define PERMTAB_BASE_TURN_H

#include "proxy/base/clock.h"

#include <stdbool.h>

#define TURN_NS 1000000ull
/* The share of what nobody waits for, such as the warm-up's reads: every change waits for a turn, or for several. */
#define TURN_WARM_NS (TURN_NS / 4)

/* Whether work that was begun then has had its share of this turn. */
static inline bool turn_is_over(uint64_t begun_ns)
{
    return clock_ns() - begun_ns >= TURN_NS;
}

#endif
