/* The map's writer side. A key lives in one slot of the window of PERMTAB_SHM_WINDOW buckets that begins at
 * its home; the home is a multiply-shift of the hash, so any number of buckets will do and nothing wraps
 * round: the last homes are followed by WINDOW - 1 more buckets.
 *
 * Why a window and not a second hash: the buckets of a window are neighbours, so a probe that goes on past
 * the home finds the next line already on its way. When a window is full the caller moves entries on within
 * their own windows, evicts one, or does without.
 *
 * Left to others: which entry to move or to evict, what is in the map (private indexes of the publisher), the set or
 * fold target that an index names. */
#include "shm/map.h"

#include "shm/order.h"
#include "shm/reader.h"

#include <assert.h>
#include <stdbool.h>

static struct permtab_shm_bucket *bucket_of(const struct map *map, uint32_t slot)
{
    assert(slot < map_slot_count(map));
    return &map->buckets[slot / PERMTAB_SHM_SLOTS];
}

static uint32_t home_of(const struct map *map, struct map_key key)
{
    return permtab_shm_home(permtab_shm_hash(map->hash_seed, key.key0, key.key1, key.type), map->home_count);
}

uint32_t map_slot_count(const struct map *map)
{
    return (map->home_count + PERMTAB_SHM_WINDOW - 1u) * PERMTAB_SHM_SLOTS;
}

void map_window(const struct map *map, struct map_key key, uint32_t *first, uint32_t *end)
{
    *first = home_of(map, key) * PERMTAB_SHM_SLOTS;
    *end = *first + PERMTAB_SHM_WINDOW * PERMTAB_SHM_SLOTS;
}

uint32_t map_writer_find(const struct map *map, struct map_key key)
{
    uint32_t first = home_of(map, key);
    for (uint32_t number = first; number < first + PERMTAB_SHM_WINDOW; number++) {
        const struct permtab_shm_bucket *bucket = &map->buckets[number];
        for (uint32_t place = 0; place < PERMTAB_SHM_SLOTS; place++) {
            if (permtab_shm_load64_relaxed(&bucket->key0[place]) != key.key0 ||
                permtab_shm_load64_relaxed(&bucket->key1[place]) != key.key1)
                continue;
            uint32_t word = permtab_shm_load32_relaxed(&bucket->word[place]);
            if (word != 0 && PERMTAB_SHM_WORD_TYPE(word) == key.type)
                return number * PERMTAB_SHM_SLOTS + place;
        }
    }
    return MAP_NO_SLOT;
}

uint32_t map_writer_vacancy(const struct map *map, struct map_key key)
{
    uint32_t slot, end;
    for (map_window(map, key, &slot, &end); slot < end; slot++) {
        if (map_word(map, slot) == 0)
            return slot;
    }
    return MAP_NO_SLOT;
}

static bool in_window(const struct map *map, struct map_key key, uint32_t slot)
{
    uint32_t first, end;
    map_window(map, key, &first, &end);
    return slot >= first && slot < end;
}

/* SEQ-1 and SEQ-3. The word is W2 too: a reader that pairs a key it read early with this word has read the
 * word with acquire, so it finds the sequence moved. */
void map_insert_writer(struct map *map, uint32_t slot, struct map_key key, uint32_t index)
{
    struct permtab_shm_bucket *bucket = bucket_of(map, slot);
    uint32_t place = slot % PERMTAB_SHM_SLOTS;
    uint32_t sequence = permtab_shm_load32_relaxed(&bucket->sequence);
    assert(index != 0 && index <= PERMTAB_SHM_INDEX_MASK && key.type < PERMTAB_SHM_SCOPE_TYPES);
    assert(in_window(map, key, slot) && map_word(map, slot) == 0);
    assert((sequence & 1u) == 0);
    permtab_shm_store32_relaxed(&bucket->sequence, sequence + 1u);
    permtab_shm_store64(&bucket->key0[place], key.key0);
    permtab_shm_store64(&bucket->key1[place], key.key1);
    permtab_shm_store32(&bucket->word[place], PERMTAB_SHM_WORD(key.type, index));
    permtab_shm_store32(&bucket->sequence, sequence + 2u);
}

/* SEQ-2. */
void map_replace_writer(struct map *map, uint32_t slot, uint32_t index)
{
    struct permtab_shm_bucket *bucket = bucket_of(map, slot);
    uint32_t word = map_word(map, slot);
    assert(word != 0 && index != 0 && index <= PERMTAB_SHM_INDEX_MASK);
    permtab_shm_store32(&bucket->word[slot % PERMTAB_SHM_SLOTS],
                        PERMTAB_SHM_WORD(PERMTAB_SHM_WORD_TYPE(word), index));
}

void map_clear_writer(struct map *map, uint32_t slot)
{
    permtab_shm_store32(&bucket_of(map, slot)->word[slot % PERMTAB_SHM_SLOTS], 0);
}

/* The copy comes first. Clearing is a release, so a reader that finds the old slot cleared or used again also sees
 * the copy, which still lies ahead of it. With the two stores swapped, a reader would miss an entry that is there
 * and ask over the socket. */
void map_move_writer(struct map *map, uint32_t from, uint32_t to)
{
    assert(from < to);
    map_insert_writer(map, to, map_key_at(map, from), PERMTAB_SHM_WORD_INDEX(map_word(map, from)));
    map_clear_writer(map, from);
}

uint32_t map_word(const struct map *map, uint32_t slot)
{
    return permtab_shm_load32_relaxed(&bucket_of(map, slot)->word[slot % PERMTAB_SHM_SLOTS]);
}

struct map_key map_key_at(const struct map *map, uint32_t slot)
{
    const struct permtab_shm_bucket *bucket = bucket_of(map, slot);
    uint32_t place = slot % PERMTAB_SHM_SLOTS;
    return (struct map_key){
        .key0 = permtab_shm_load64_relaxed(&bucket->key0[place]),
        .key1 = permtab_shm_load64_relaxed(&bucket->key1[place]),
        .type = PERMTAB_SHM_WORD_TYPE(map_word(map, slot)),
    };
}
