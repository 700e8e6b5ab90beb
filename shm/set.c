/* Permission sets, writer side. The sequence is odd while the bits are not to be believed: being rewritten,
 * or the set is free. It only grows, over every life of the set, so a reader that kept a sequence (a view
 * does, for a whole request) cannot take a later life for the one it knew.
 *
 * Left to others: what the bits mean, which entries name a set, when to rewrite. */
#include "shm/set.h"

#include "shm/order.h"

#include <assert.h>

static struct permtab_shm_set *record(const struct segment *segment, uint32_t index)
{
    assert(index != 0 && index < segment->table.set_count);
    return (struct permtab_shm_set *)(void *)(segment->sets + (size_t)index * segment->table.set_stride);
}

int set_pool_init(struct set_pool *pool, struct segment *segment)
{
    pool->segment = segment;
    return index_pool_init(&pool->indices, segment->table.set_count - 1u);
}

void set_pool_fini(struct set_pool *pool)
{
    index_pool_fini(&pool->indices);
    pool->segment = NULL;
}

uint32_t set_take_writer(struct set_pool *pool, uint64_t now_ns)
{
    uint32_t index = index_take(&pool->indices, now_ns);
    if (index != 0)
        assert(permtab_shm_load64_relaxed(&record(pool->segment, index)->sequence) & 1u);
    return index;
}

void set_release_writer(struct set_pool *pool, uint32_t index, uint64_t until_ns)
{
    set_close_writer(pool->segment, index);
    index_release(&pool->indices, index, until_ns);
}

/* W1. It may be relaxed: a reader that sees anything stored with release after it (new bits, or an entry's new
 * word) sees the sequence odd. */
void set_close_writer(struct segment *segment, uint32_t index)
{
    struct permtab_shm_set *set = record(segment, index);
    uint64_t sequence = permtab_shm_load64_relaxed(&set->sequence);
    if ((sequence & 1u) == 0)
        permtab_shm_store64_relaxed(&set->sequence, sequence + 1u);
}

/* SET-2. */
void set_write_writer(struct segment *segment, uint32_t index, const uint64_t *any, const uint64_t *own)
{
    struct permtab_shm_set *set = record(segment, index);
    assert(permtab_shm_load64_relaxed(&set->sequence) & 1u);
    for (uint32_t word = 0; word < segment->table.permissions_max / 64u; word++) {
        permtab_shm_store64(&set->bits[2u * word], any[word]);
        permtab_shm_store64(&set->bits[2u * word + 1u], own[word]);
    }
}

void set_open_writer(struct segment *segment, uint32_t index)
{
    struct permtab_shm_set *set = record(segment, index);
    uint64_t sequence = permtab_shm_load64_relaxed(&set->sequence);
    assert(sequence & 1u);
    permtab_shm_store64(&set->sequence, sequence + 1u);
}

const struct permtab_shm_set *set_at(const struct segment *segment, uint32_t index)
{
    return record(segment, index);
}
