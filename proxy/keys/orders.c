/* What is in the header beside the keys: how large the table was, and what somebody has asked to be read. Each is
 * checked by a seeded hash of it, which is stored last: what a dying worker has half written, or a stray store has hit,
 * is not there. */
#include "proxy/keys/private.h"

#include <xxhash.h>

/* ---- the table's room -------------------------------------------------------------------------------------------- */

static uint64_t room_check(const struct keys *keys, uint64_t entries, uint64_t counts)
{
    uint64_t words[3] = {entries, counts, keys->header->store_id};
    return XXH3_64bits_withSeed(words, sizeof words, keys->seed);
}

struct keys_room keys_room(const struct keys *keys)
{
    const struct keys_header *header = keys->header;
    uint64_t entries = permtab_shm_load64_relaxed(&header->room_entries);
    uint64_t counts = permtab_shm_load64_relaxed(&header->room_counts);
    if (entries > KEYS_ENTRIES_MAX ||
        permtab_shm_load64_relaxed(&header->room_check) != room_check(keys, entries, counts))
        return (struct keys_room){0};
    return (struct keys_room){entries, (uint32_t)counts, (uint32_t)(counts >> 32)};
}

void keys_note_room(struct keys *keys, const struct keys_room *room)
{
    struct keys_header *header = keys->header;
    uint64_t counts = room->sets | (uint64_t)room->folds << 32;
    permtab_shm_store64(&header->room_entries, room->entries);
    permtab_shm_store64(&header->room_counts, counts);
    permtab_shm_store64(&header->room_check, room_check(keys, room->entries, counts));
}

/* ---- orders ------------------------------------------------------------------------------------------------------ */

static uint64_t order_check(const struct keys *keys, unsigned place, uint64_t id, uint64_t scope_id, uint64_t words)
{
    uint64_t all[5] = {id, scope_id, words, place, keys->header->store_id};
    uint64_t hash = XXH3_64bits_withSeed(all, sizeof all, keys->seed);
    return hash != 0 ? hash : 1;
}

bool keys_order(const struct keys *keys, unsigned place, struct keys_order *out)
{
    const struct keys_order_record *record = &keys->header->orders[place];
    uint64_t check = permtab_shm_load64_relaxed(&record->check);
    uint64_t id = permtab_shm_load64_relaxed(&record->id), words = permtab_shm_load64_relaxed(&record->words);
    uint64_t scope_id = permtab_shm_load64_relaxed(&record->scope_id);
    *out = (struct keys_order){.kind = (uint8_t)words,
                               .priority = (uint8_t)(words >> 8),
                               .starts = (uint8_t)(words >> 16),
                               .id = id,
                               .scope = {scope_id, (uint8_t)(words >> 24)}};
    return check != 0 && check == order_check(keys, place, id, scope_id, words) &&
           out->scope.type < PERMTAB_SHM_SCOPE_TYPES;
}

void keys_note_order(struct keys *keys, unsigned place, const struct keys_order *order)
{
    struct keys_order_record *record = &keys->header->orders[place];
    permtab_shm_store64(&record->check, 0);
    if (order == NULL)
        return;
    uint64_t words = (uint8_t)order->kind | (uint64_t)(uint8_t)order->priority << 8 |
                     (uint64_t)(uint8_t)order->starts << 16 | (uint64_t)(uint8_t)order->scope.type << 24;
    permtab_shm_store64(&record->id, order->id);
    permtab_shm_store64(&record->scope_id, order->scope.id);
    permtab_shm_store64(&record->words, words);
    permtab_shm_store64(&record->check, order_check(keys, place, order->id, order->scope.id, words));
}
