/* What is in the table, for those who make hints of it or for it: keys that were asked for (keys/), and what the
 * warm-up may fill. No answer depends on it. */
#include "proxy/table/fill.h"
#include "proxy/table/private.h"

bool publisher_resident(const struct publisher *publisher, uint64_t user, struct scope_key scope,
                        struct scope_key *at)
{
    const struct table *table = publisher->table;
    struct permtab_shm_look look;
    /* The publisher is the only writer and this is its thread: one look is whole. */
    if (permtab_shm_look_once(&table->segment.table, user, scope.id, scope.type, &look) != PERMTAB_SHM_FOUND)
        return false;
    uint32_t slot =
        (uint32_t)(look.entry.bucket - table->segment.table.map) * PERMTAB_SHM_SLOTS + look.entry.slot;
    struct map_key key = map_key_at(&table->map, slot);
    *at = (struct scope_key){.id = key.key1, .type = key.type};
    return entries_kind(&table->entries, slot) == ENTRY_POSITIVE;
}

void publisher_fetch(const struct publisher *publisher, uint64_t user, struct scope_key scope)
{
    const struct permtab_shm_table *table = &publisher->table->segment.table;
    const struct permtab_shm_kind kind = permtab_shm_kind_of(table->hash_seed, scope.type);
    (void)permtab_shm_fetch_entry(table, user, scope.id, &kind);
}

uint64_t publisher_room(const struct publisher *publisher)
{
    uint64_t entries = publisher_entries(publisher), most = publisher->table->entries_max;
    return most > entries ? most - entries : 0;
}
