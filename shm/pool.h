/* A pool of index numbers with quarantine: 1 … count are free, in use, or resting. A released index is not handed
 * out again before its rest has ended. Private memory of the writer; one thread. Used for sets and for fold
 * targets; set.h adds the set's sequence to it. */
#ifndef PERMTAB_SHM_POOL_H
#define PERMTAB_SHM_POOL_H

#include "shm/error.h"

#include <stdint.h>

struct index_pool {
    uint32_t *free_list; /* stack of indices */
    uint32_t free_count;
    uint32_t *resting;       /* ring of indices, oldest first */
    uint64_t *resting_until; /* beside it: CLOCK_MONOTONIC ns */
    uint32_t resting_head;
    uint32_t resting_count;
    uint32_t used;
    uint32_t count;
    uint8_t *state; /* by index: enum in pool.c; an index in the wrong state is our own bug */
};

/* All of 1 … count are free. PERMTAB_E_MEMORY. */
int index_pool_init(struct index_pool *pool, uint32_t count) PERMTAB_MUST_CHECK;
void index_pool_fini(struct index_pool *pool);

/* An index, now in use; 0 when none is free at `now_ns`. */
uint32_t index_take(struct index_pool *pool, uint64_t now_ns);
/* `index` must be in use. It rests until `until_ns`; the ring is in order of release, so one that rests
 * longer keeps those behind it waiting. */
void index_release(struct index_pool *pool, uint32_t index, uint64_t until_ns);

#endif
