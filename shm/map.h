/* The bucketed map, writer side: 128-bit key and 4-bit type → 28-bit index. One implementation for entries and for
 * folds. Readers use permtab_shm_find (reader.h). One writer thread. A function whose name ends in _writer stores
 * to the map; readers may run beside it. The map owns no memory. */
#ifndef PERMTAB_SHM_MAP_H
#define PERMTAB_SHM_MAP_H

#include "shm/layout.h"

#include <stdint.h>

#define MAP_NO_SLOT UINT32_MAX

struct map {
    struct permtab_shm_bucket *buckets; /* home_count + PERMTAB_SHM_WINDOW - 1 of them */
    uint32_t home_count;
    uint64_t hash_seed;
};

struct map_key {
    uint64_t key0;
    uint64_t key1;
    uint32_t type;
};

/* Slots are numbered bucket * PERMTAB_SHM_SLOTS + place in the bucket, so that private arrays can go beside
 * them. */
uint32_t map_slot_count(const struct map *map);

/* The slot of a key, or MAP_NO_SLOT. */
uint32_t map_writer_find(const struct map *map, struct map_key key);
/* A free slot of the key's window, or MAP_NO_SLOT when the window is full. Does not look for the key. */
uint32_t map_writer_vacancy(const struct map *map, struct map_key key);
/* The slots of the key's window, first and past the last, for choosing whom to evict. */
void map_window(const struct map *map, struct map_key key, uint32_t *first, uint32_t *end);

/* Puts key → index into a slot that is free and in the key's window. The key must not be in the map. Index is
 * 1 … PERMTAB_SHM_INDEX_MASK. */
void map_insert_writer(struct map *map, uint32_t slot, struct map_key key, uint32_t index);
/* Another index for the key in `slot`: one store. */
void map_replace_writer(struct map *map, uint32_t slot, uint32_t index);
/* Frees a slot: one store. The key stays until the slot is used again, and means nothing. */
void map_clear_writer(struct map *map, uint32_t slot);

/* Moves the key and word of slot `from` to slot `to`. `to` is free, in the key's window, and behind `from`, so that
 * a reader, which looks from the window's beginning to its end, does not miss the key. A writer that dies in here
 * may leave the key in both slots, with one index. */
void map_move_writer(struct map *map, uint32_t from, uint32_t to);

/* The word and the key of a slot. The word is 0 when the slot is free. */
uint32_t map_word(const struct map *map, uint32_t slot);
struct map_key map_key_at(const struct map *map, uint32_t slot);

#endif
