/* Early refresh and jitter for values that are kept for a time. Pure; chance is an argument (base/random.h). */
#ifndef PERMTAB_L2_EARLY_REFRESH_H
#define PERMTAB_L2_EARLY_REFRESH_H

#include <stdbool.h>
#include <stdint.h>

/* Whether an asker should renew a value now that has left_us of its life to go and takes cost_us to make anew. The
 * more often a value is asked for, the surer one asker renews it before it ends, and the nearer to its end; two
 * seldom do at once. XFetch of Vattani, Chierichetti and Lowenstein, "Optimal Probabilistic Cache Stampede
 * Prevention", VLDB 2015. beta: 1 is what they prove best; larger is earlier. True when nothing is left.
 * `random64`: 64 random bits. */
bool early_refresh_due(uint64_t left_us, uint64_t cost_us, double beta, uint64_t random64);

/* ttl_ms less up to a tenth of it, evenly spread, so that values made together do not end together. */
uint64_t jitter_ms(uint64_t ttl_ms, uint64_t random64);

#endif
