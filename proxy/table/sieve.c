/* Queue and hand. Whoever uses up the steps of one eviction takes the entry at hand, used or not: after a quiet time,
 * in which everything was used, one in SIEVE_STEPS is lost so, and nobody waits for a lap over millions. */
#include "proxy/table/sieve.h"

#include "proxy/table/entries.h"

void sieve_queue_init(struct sieve_queue *queue)
{
    *queue = (struct sieve_queue){.oldest = NO_ENTRY, .newest = NO_ENTRY, .hand = NO_ENTRY};
}

/* All changes of laps come through here. */
static void set_laps(struct sieve *sieve, uint32_t slot, uint8_t laps)
{
    sieve->used += (laps > 0) - (sieve->laps[slot] > 0);
    sieve->laps[slot] = laps;
}

void sieve_append(struct sieve *sieve, struct sieve_queue *queue, uint32_t slot)
{
    struct entry_links *links = &sieve->links[slot];
    links->newer = NO_ENTRY;
    links->older = queue->newest;
    if (queue->newest != NO_ENTRY)
        sieve->links[queue->newest].newer = slot;
    else
        queue->oldest = slot;
    queue->newest = slot;
    queue->count++;
    set_laps(sieve, slot, 0);
}

void sieve_remove(struct sieve *sieve, struct sieve_queue *queue, uint32_t slot)
{
    const struct entry_links *links = &sieve->links[slot];
    if (queue->hand == slot)
        queue->hand = links->newer;
    if (links->older != NO_ENTRY)
        sieve->links[links->older].newer = links->newer;
    else
        queue->oldest = links->newer;
    if (links->newer != NO_ENTRY)
        sieve->links[links->newer].older = links->older;
    else
        queue->newest = links->older;
    queue->count--;
    set_laps(sieve, slot, 0);
}

void sieve_move(struct sieve *sieve, struct sieve_queue *queue, uint32_t from, uint32_t to)
{
    const struct entry_links *links = &sieve->links[to];
    if (queue->hand == from)
        queue->hand = to;
    if (links->older != NO_ENTRY)
        sieve->links[links->older].newer = to;
    else
        queue->oldest = to;
    if (links->newer != NO_ENTRY)
        sieve->links[links->newer].older = to;
    else
        queue->newest = to;
    set_laps(sieve, to, sieve->laps[from]);
    set_laps(sieve, from, 0);
}

bool sieve_known(const struct sieve *sieve, uint32_t slot)
{
    return sieve->laps[slot] >= sieve->laps_of_a_use;
}

bool sieve_usable(const struct sieve *sieve, uint32_t slot)
{
    uint8_t laps = sieve->laps[slot];
    return laps < sieve->laps_of_a_use && (laps > 0 || sieve->used < sieve->used_max);
}

bool sieve_use(struct sieve *sieve, uint32_t slot)
{
    if (!sieve_usable(sieve, slot))
        return false;
    set_laps(sieve, slot, sieve->laps_of_a_use);
    return true;
}

void sieve_lend(struct sieve *sieve, uint32_t slot, uint8_t laps)
{
    uint8_t has = sieve->laps[slot];
    if (laps > has && (has > 0 || sieve->used < sieve->used_max))
        set_laps(sieve, slot, laps);
}

static void begin_lap(struct sieve_queue *queue)
{
    queue->hand = queue->oldest;
    queue->lap = 0;
}

uint32_t sieve_victim(struct sieve *sieve, struct sieve_queue *queue)
{
    if (queue->hand == NO_ENTRY || queue->lap >= queue->count)
        begin_lap(queue);
    uint32_t slot = queue->hand;
    for (uint32_t step = 0; step < SIEVE_STEPS && slot != NO_ENTRY && sieve->laps[slot] > 0; step++) {
        set_laps(sieve, slot, sieve->laps[slot] - 1);
        queue->hand = sieve->links[slot].newer;
        if (queue->hand == NO_ENTRY)
            begin_lap(queue);
        slot = queue->hand;
    }
    queue->lap++;
    return slot;
}
