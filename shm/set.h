/* Permission sets, writer side: interned bitmaps with a sequence each. One writer thread.
 *
 * A set is free (sequence odd), in use, or resting: freed, but not to be reused before every lease that could have
 * believed it has ended. The publisher knows which inputs a set stands for. */
#ifndef PERMTAB_SHM_SET_H
#define PERMTAB_SHM_SET_H

#include "shm/error.h"
#include "shm/pool.h"
#include "shm/segment.h"

#include <stdint.h>

struct set_pool {
    struct segment *segment;
    struct index_pool indices; /* indices.used sets are in use */
};

/* PERMTAB_E_MEMORY. The pool borrows the segment. */
int set_pool_init(struct set_pool *pool, struct segment *segment) PERMTAB_MUST_CHECK;
void set_pool_fini(struct set_pool *pool);

/* An index whose set is odd, or 0 when none is free at `now_ns`. */
uint32_t set_take_writer(struct set_pool *pool, uint64_t now_ns);
/* Makes the set odd and lets it rest until `until_ns`. No entry may name it any more. */
void set_release_writer(struct set_pool *pool, uint32_t index, uint64_t until_ns);

/* Rewriting: close (odd), write while closed, open (even). Bitmaps have permissions_max / 64 words. Closing a
 * closed set changes nothing. A reader gets no answer (PERMTAB_SHM_BUSY) from a set for as long as it is
 * closed. */
void set_close_writer(struct segment *segment, uint32_t index);
void set_write_writer(struct segment *segment, uint32_t index, const uint64_t *any, const uint64_t *own);
void set_open_writer(struct segment *segment, uint32_t index);

/* The record, for reading. */
const struct permtab_shm_set *set_at(const struct segment *segment, uint32_t index);

#endif
