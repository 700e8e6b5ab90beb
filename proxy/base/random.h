/* A source of random numbers for jitter and early refresh: fast, good enough for chance, not for secrets.
 * xoshiro256** of David Blackman and Sebastiano Vigna, "Scrambled Linear Pseudorandom Number Generators", ACM TOMS
 * 47 (2021). The state is the caller's; one thread. */
#ifndef PERMTAB_BASE_RANDOM_H
#define PERMTAB_BASE_RANDOM_H

#include "shm/error.h"

#include <stddef.h>
#include <stdint.h>

struct random_source {
    uint64_t state[4];
};

/* Fills `out` from the kernel: `size` is at most 256 bytes. PERMTAB_E_SYSTEM when that gives nothing. */
int random_bytes(void *out, size_t size) PERMTAB_MUST_CHECK;
/* A number that nobody else has, and never 0: of a host and this life of it. PERMTAB_E_SYSTEM. */
int random_id(uint64_t *out) PERMTAB_MUST_CHECK;
/* Seeded by the kernel. PERMTAB_E_SYSTEM when that gives nothing. */
int random_source_init(struct random_source *source) PERMTAB_MUST_CHECK;
/* The same seed gives the same numbers. */
void random_source_seed(struct random_source *source, uint64_t seed);
uint64_t random_source_next(struct random_source *source);

#endif
