/* A source of random numbers for jitter and early refresh: fast, good enough for chance, not for secrets. xoshiro256** of
 * David Blackman and Sebastiano Vigna, "Scrambled Linear Pseudorandom Number Generators", ACM TOMS 47 (2021). The state is
 * the caller's; one thread. */
#ifndef PERMTAB_PROXY_RANDOM_H
#define PERMTAB_PROXY_RANDOM_H

#include "shm/error.h"

#include <stdint.h>

struct random {
    uint64_t state[4];
};

/* Seeded by the kernel. PERMTAB_E_SYSTEM when that gives nothing. */
int random_init(struct random *random) PERMTAB_MUST_CHECK;
/* The same seed gives the same numbers. */
void random_seed(struct random *random, uint64_t seed);
uint64_t random_next(struct random *random);

#endif
