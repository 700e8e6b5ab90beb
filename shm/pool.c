/* Index numbers with quarantine: a stack of free ones and a ring of resting ones. index_take takes the most
 * recently rested index first, because its memory may still be in a cache. */
#include "shm/pool.h"

#include "shm/pages.h"

#include <assert.h>
#include <stdlib.h>

enum { INDEX_FREE = 0, INDEX_USED = 1, INDEX_RESTING = 2 };

int index_pool_init(struct index_pool *pool, uint32_t count)
{
    size_t room = (size_t)count + 1u;
    *pool = (struct index_pool){
        .free_list = pages_new(room, sizeof(*pool->free_list)),
        .resting = pages_new(room, sizeof(*pool->resting)),
        .resting_until = pages_new(room, sizeof(*pool->resting_until)),
        .state = pages_new(room, sizeof(*pool->state)),
        .count = count,
    };
    if (!pool->free_list || !pool->resting || !pool->resting_until || !pool->state) {
        index_pool_fini(pool);
        return PERMTAB_E_MEMORY;
    }
    for (uint32_t index = count; index > 0; index--)
        pool->free_list[pool->free_count++] = index;
    return 0;
}

void index_pool_fini(struct index_pool *pool)
{
    size_t room = (size_t)pool->count + 1u;
    pages_free(pool->free_list, room, sizeof(*pool->free_list));
    pages_free(pool->resting, room, sizeof(*pool->resting));
    pages_free(pool->resting_until, room, sizeof(*pool->resting_until));
    pages_free(pool->state, room, sizeof(*pool->state));
    *pool = (struct index_pool){0};
}

static void wake(struct index_pool *pool, uint64_t now_ns)
{
    while (pool->resting_count > 0 && pool->resting_until[pool->resting_head] <= now_ns) {
        uint32_t index = pool->resting[pool->resting_head];
        assert(pool->state[index] == INDEX_RESTING);
        pool->state[index] = INDEX_FREE;
        pool->free_list[pool->free_count++] = index;
        pool->resting_head = (pool->resting_head + 1u) % pool->count;
        pool->resting_count--;
    }
}

uint32_t index_take(struct index_pool *pool, uint64_t now_ns)
{
    wake(pool, now_ns);
    if (pool->free_count == 0)
        return 0;
    uint32_t index = pool->free_list[--pool->free_count];
    assert(pool->state[index] == INDEX_FREE);
    pool->state[index] = INDEX_USED;
    pool->used++;
    return index;
}

void index_release(struct index_pool *pool, uint32_t index, uint64_t until_ns)
{
    assert(index >= 1 && index <= pool->count && pool->state[index] == INDEX_USED);
    uint32_t tail = (uint32_t)(((uint64_t)pool->resting_head + pool->resting_count) % pool->count);
    pool->state[index] = INDEX_RESTING;
    pool->resting[tail] = index;
    pool->resting_until[tail] = until_ns;
    pool->resting_count++;
    pool->used--;
}
