/* Intrusive lists over map slots. Users are found through hash buckets whose lists mix the few users that share
 * a bucket; the key itself is compared in the map, so no key is stored twice. */
#include "proxy/table/entries.h"

#include "shm/pages.h"
#include "shm/reader.h"

#include <stdlib.h>
#include <string.h>

int entries_init(struct entries *entries, const struct map *map)
{
    uint32_t slots = map_slot_count(map);
    memset(entries, 0, sizeof *entries);
    entries->map = map;
    entries->user_head_count = slots / 2 + 1;
    entries->links = pages_new(slots, sizeof *entries->links);
    entries->user_heads = pages_new(entries->user_head_count, sizeof *entries->user_heads);
    entries->negative = pages_new(slots / 64 + 1, sizeof *entries->negative);
    entries->sieve = (struct sieve){.links = entries->links,
                                    .laps = pages_new(slots, sizeof *entries->sieve.laps),
                                    .laps_of_a_use = SIEVE_LAPS};
    if (entries->links == NULL || entries->user_heads == NULL || entries->negative == NULL ||
        entries->sieve.laps == NULL) {
        entries_fini(entries);
        return PERMTAB_E_MEMORY;
    }
    /* Entries go to random places: the first thousands would each allocate a page. */
    pages_touch(entries->links, slots, sizeof *entries->links);
    memset(entries->user_heads, 0xff, (size_t)entries->user_head_count * sizeof *entries->user_heads);
    for (int kind = 0; kind < 2; kind++)
        sieve_queue_init(&entries->queue[kind]);
    return 0;
}

void entries_fini(struct entries *entries)
{
    uint32_t slots = entries->map != NULL ? map_slot_count(entries->map) : 0;
    pages_free(entries->links, slots, sizeof *entries->links);
    pages_free(entries->user_heads, entries->user_head_count, sizeof *entries->user_heads);
    pages_free(entries->negative, slots / 64 + 1, sizeof *entries->negative);
    pages_free(entries->sieve.laps, slots, sizeof *entries->sieve.laps);
    entries->sieve.laps = NULL;
    entries->negative = NULL;
    entries->links = NULL;
    entries->user_heads = NULL;
}

uint64_t entries_memory(const struct entries *entries)
{
    uint64_t slots = map_slot_count(entries->map);
    return slots * (sizeof *entries->links + sizeof *entries->sieve.laps) +
           entries->user_head_count * sizeof *entries->user_heads + slots / 8;
}

enum entry_kind entries_kind(const struct entries *entries, uint32_t slot)
{
    return entries->negative[slot / 64] >> (slot % 64) & 1 ? ENTRY_NEGATIVE : ENTRY_POSITIVE;
}

static void set_kind(struct entries *entries, uint32_t slot, enum entry_kind kind)
{
    uint64_t bit = 1ull << (slot % 64);
    if (kind == ENTRY_NEGATIVE)
        entries->negative[slot / 64] |= bit;
    else
        entries->negative[slot / 64] &= ~bit;
}

static uint32_t *user_head(const struct entries *entries, uint64_t user)
{
    uint64_t hash = permtab_shm_hash(entries->map->hash_seed, user, user, 0);
    return &entries->user_heads[permtab_shm_home(hash, entries->user_head_count)];
}

void entries_link(struct entries *entries, uint32_t slot, struct scope_node *node, enum entry_kind kind)
{
    struct entry_links *links = &entries->links[slot];
    uint32_t *head = user_head(entries, map_key_at(entries->map, slot).key0);
    links->user_previous = NO_ENTRY;
    links->user_next = *head;
    if (*head != NO_ENTRY)
        entries->links[*head].user_previous = slot;
    *head = slot;
    links->scope_previous = NO_ENTRY;
    links->scope_next = node->entries;
    if (node->entries != NO_ENTRY)
        entries->links[node->entries].scope_previous = slot;
    node->entries = slot;
    set_kind(entries, slot, kind);
    sieve_append(&entries->sieve, &entries->queue[kind], slot);
}

void entries_unlink(struct entries *entries, uint32_t slot, struct scope_node *node)
{
    struct entry_links *links = &entries->links[slot];
    if (links->user_previous != NO_ENTRY)
        entries->links[links->user_previous].user_next = links->user_next;
    else
        *user_head(entries, map_key_at(entries->map, slot).key0) = links->user_next;
    if (links->user_next != NO_ENTRY)
        entries->links[links->user_next].user_previous = links->user_previous;
    if (links->scope_previous != NO_ENTRY)
        entries->links[links->scope_previous].scope_next = links->scope_next;
    else
        node->entries = links->scope_next;
    if (links->scope_next != NO_ENTRY)
        entries->links[links->scope_next].scope_previous = links->scope_previous;
    sieve_remove(&entries->sieve, &entries->queue[entries_kind(entries, slot)], slot);
}

/* Makes the two neighbours of a list, or its ends, point to `to`. */
static void point_to(uint32_t to, uint32_t *before, uint32_t *after)
{
    *before = to;
    *after = to;
}

void entries_move(struct entries *entries, uint32_t from, uint32_t to, struct scope_node *node)
{
    struct entry_links *all = entries->links;
    const struct entry_links *links = &all[from];
    enum entry_kind kind = entries_kind(entries, from);
    uint32_t no_end; /* for lists of users and scopes, which do not know their last entry */
    all[to] = *links;
    set_kind(entries, to, kind);
    point_to(to,
             links->user_previous != NO_ENTRY ? &all[links->user_previous].user_next
                                              : user_head(entries, map_key_at(entries->map, from).key0),
             links->user_next != NO_ENTRY ? &all[links->user_next].user_previous : &no_end);
    point_to(to, links->scope_previous != NO_ENTRY ? &all[links->scope_previous].scope_next : &node->entries,
             links->scope_next != NO_ENTRY ? &all[links->scope_next].scope_previous : &no_end);
    sieve_move(&entries->sieve, &entries->queue[kind], from, to);
}

static void fetch_links(const struct entries *entries, uint32_t slot)
{
    if (slot != NO_ENTRY)
        permtab_shm_fetch(&entries->links[slot]);
}

void entries_fetch_new(const struct entries *entries, struct map_key key)
{
    uint64_t hash = permtab_shm_hash(entries->map->hash_seed, key.key0, key.key1, key.type);
    uint32_t home = permtab_shm_home(hash, entries->map->home_count);
    permtab_shm_fetch(&entries->map->buckets[home]);
    permtab_shm_fetch(&entries->map->buckets[home + 1]);
    permtab_shm_fetch(&entries->links[(size_t)home * PERMTAB_SHM_SLOTS]);
    permtab_shm_fetch(user_head(entries, key.key0));
}

/* Neighbours in the lists lie anywhere in memory. Fetched together, their misses overlap; one after the other, an
 * entry would wait four or five times. */
void entries_fetch(const struct entries *entries, uint32_t first)
{
    uint32_t slots[ENTRIES_AHEAD], count = 0;
    for (; first != NO_ENTRY && count < ENTRIES_AHEAD; first = entries->links[first].scope_next) {
        permtab_shm_fetch(&entries->map->buckets[first / PERMTAB_SHM_SLOTS]);
        slots[count++] = first;
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct entry_links *links = &entries->links[slots[i]];
        fetch_links(entries, links->user_next);
        fetch_links(entries, links->user_previous);
        fetch_links(entries, links->newer);
        fetch_links(entries, links->older);
        if (links->user_previous == NO_ENTRY)
            permtab_shm_fetch(user_head(entries, map_key_at(entries->map, slots[i]).key0));
    }
}

uint32_t entries_victim(struct entries *entries, enum entry_kind kind)
{
    return sieve_victim(&entries->sieve, &entries->queue[kind]);
}

static uint32_t first_of_user(const struct entries *entries, uint64_t user, uint32_t slot)
{
    while (slot != NO_ENTRY && map_key_at(entries->map, slot).key0 != user)
        slot = entries->links[slot].user_next;
    return slot;
}

uint32_t entries_of_user(const struct entries *entries, uint64_t user)
{
    return first_of_user(entries, user, *user_head(entries, user));
}

uint32_t entries_of_user_after(const struct entries *entries, uint64_t user, uint32_t slot)
{
    return first_of_user(entries, user, entries->links[slot].user_next);
}

bool entries_agree(const struct entries *entries, uint32_t slot, const struct scope_node *node,
                   enum entry_kind kind)
{
    uint32_t slots = map_slot_count(entries->map);
    const struct entry_links *all = entries->links, *links = &all[slot];
    const struct sieve_queue *queue = &entries->queue[kind];
    const uint32_t neighbours[] = {links->user_next,      links->user_previous, links->scope_next,
                                   links->scope_previous, links->newer,         links->older};
    for (size_t i = 0; i < sizeof neighbours / sizeof *neighbours; i++)
        if (neighbours[i] != NO_ENTRY && neighbours[i] >= slots)
            return false;
    uint32_t head = *user_head(entries, map_key_at(entries->map, slot).key0);
    return entries_kind(entries, slot) == kind &&
           (links->user_previous == NO_ENTRY ? head : all[links->user_previous].user_next) == slot &&
           (links->user_next == NO_ENTRY || all[links->user_next].user_previous == slot) &&
           (links->scope_previous == NO_ENTRY ? node->entries : all[links->scope_previous].scope_next) ==
               slot &&
           (links->scope_next == NO_ENTRY || all[links->scope_next].scope_previous == slot) &&
           (links->older == NO_ENTRY ? queue->oldest : all[links->older].newer) == slot &&
           (links->newer == NO_ENTRY ? queue->newest : all[links->newer].older) == slot;
}
