/* When to renew what is kept for a time: early refresh and jitter. Pure; chance is an argument (base/random.h). */
#ifndef PERMTAB_L2_EARLY_REFRESH_H
#define PERMTAB_L2_EARLY_REFRESH_H

#include <stdbool.h>
#include <stdint.h>

/* Whether somebody who finds a value with left_us of its life to go, and cost_us to make it anew, should do so now. The more
 * often a value is asked for, the surer that one asker renews it before it ends, and the nearer its end; two seldom do at
 * once. XFetch of Vattani, Chierichetti and Lowenstein, "Optimal Probabilistic Cache Stampede Prevention", VLDB 2015. beta: 1
 * is what they prove best; larger is earlier. True when nothing is left. `random64`: 64 random bits. */
bool early_refresh_due(uint64_t left_us, uint64_t cost_us, double beta, uint64_t random64);

/* ttl_ms less up to a tenth of it, evenly, so that what was made together does not end together. */
uint64_t jitter_ms(uint64_t ttl_ms, uint64_t random64);

#endif
