/* The paper's rule is now - cost * beta * ln(u) >= expiry, for u even in (0, 1]: the lead of an early refresh is
 * exponentially distributed, with mean cost * beta. */
#include "proxy/l2/early_refresh.h"

#include <math.h>

bool early_refresh_due(uint64_t left_us, uint64_t cost_us, double beta, uint64_t random64)
{
    /* A double holds the upper 53 bits; adding 1 keeps u off 0, which has no logarithm. */
    double even = (double)((random64 >> 11) + 1) * 0x1p-53;
    return left_us == 0 || (double)cost_us * beta * -log(even) >= (double)left_us;
}

uint64_t jitter_ms(uint64_t ttl_ms, uint64_t random64)
{
    /* The part taken off is random64 / 2^64 of the tenth, both ends included (Lemire, "Fast Random Integer
     * Generation in an Interval", 2019, without the correction of a bias below ttl_ms / 2^64). */
    return ttl_ms - (uint64_t)(((unsigned __int128)random64 * (ttl_ms / 10 + 1)) >> 64);
}
