/* Ghosts: a bounded memory of the entries that made room for others, by a fingerprint each. An entry that is filled
 * while its ghost is there would have been a hit in a larger table. It is the growth's one sign of pressure that no
 * client can lie about.
 *
 * A large table evicts more than the ghosts have room for, so only keys of one hash in `weight` are remembered, and
 * each of them counts for all of its like (Waldspurger and others, "Efficient MRC Construction with SHARDS", 2015).
 * So the ghosts reach back over GHOSTS_REACH fillings of the whole table whatever its size. */
#ifndef PERMTAB_TABLE_GHOSTS_H
#define PERMTAB_TABLE_GHOSTS_H

#include "shm/error.h"
#include "shm/map.h"

#include <stdint.h>

#define GHOSTS_REACH 16u
#define GHOSTS_MAX   65536u

struct ghosts {
    uint32_t *marks; /* 0: free */
    uint32_t count;  /* a power of two */
    uint32_t weight; /* a power of two: how many keys each remembered one stands for */
    uint64_t seed;
};

/* For a table of so many entries. Takes at most 256 KiB. */
int ghosts_init(struct ghosts *ghosts, uint64_t entries, uint64_t seed) PERMTAB_MUST_CHECK;
void ghosts_fini(struct ghosts *ghosts);
/* Remembers an entry that was evicted; forgets another when there is no room. */
void ghosts_note(struct ghosts *ghosts, struct map_key key);
/* Forgets the ghost of an entry that is filled; returns how many entries it stands for, 0 when there is none. */
uint32_t ghosts_take(struct ghosts *ghosts, struct map_key key);

#endif
