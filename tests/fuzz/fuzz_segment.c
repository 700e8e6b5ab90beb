/* libFuzzer's entry for a segment as a reader sees it: a real segment, made by the real writer, of which the input then
 * overwrites words anywhere, the header included, in memory that ends where the segment ends. What segment_table_init
 * takes is looked into in every way that clients do. Whatever it holds, readers stay inside it (AddressSanitizer), end
 * after a number of steps that does not depend on what it holds, and say something that is an answer.
 *
 * The words are overwritten before segment_table_init and again after it: a hostile sidecar may do that, too. */
#include "tests/fuzz/segment_world.h"

/* Every way of looking, at one key. */
static void look(const struct permtab_shm_table *table, uint64_t user, uint64_t scope, uint32_t type)
{
    struct permtab_shm_look seen;
    const struct permtab_shm_kind kind = permtab_shm_kind_of(table->hash_seed, type);
    for (uint32_t bit = 0; bit < table->permissions_max; bit += 63) {
        bool allowed = false;
        const struct permtab_shm_bucket *home = permtab_shm_fetch_entry(table, user, scope, &kind);
        permtab_shm_fetch_set(table, home, user, bit);
        enum permtab_shm_found found =
            permtab_shm_check(table, user, scope, type, bit, bit % 2 != 0, &allowed);
        must(found == PERMTAB_SHM_FOUND || found == PERMTAB_SHM_MISS || found == PERMTAB_SHM_BUSY);
        found = permtab_shm_check_from(table, home, user, scope, &kind, bit, bit % 2 != 0, &allowed);
        must(found == PERMTAB_SHM_FOUND || found == PERMTAB_SHM_MISS || found == PERMTAB_SHM_BUSY);
    }
    if (permtab_shm_look(table, user, scope, type, &seen) == PERMTAB_SHM_FOUND)
        must((const char *)seen.set >= table->sets &&
             (const char *)seen.set < table->sets + (size_t)table->set_count * table->set_stride &&
             (seen.set_sequence & 1) == 0 && permtab_shm_look_holds(&seen));
}

static void look_everywhere(const struct permtab_shm_table *table)
{
    struct permtab_shm_moment moment = permtab_shm_beat_read(table);
    (void)permtab_shm_fresh(&moment);
    for (uint64_t user = 0; user < SEGMENT_WORLD_USERS; user += 3)
        for (uint64_t scope = 0; scope < SEGMENT_WORLD_SCOPES; scope++)
            look(table, user, scope, SEGMENT_WORLD_CHANNEL);
    look(table, UINT64_MAX, UINT64_MAX, 15);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char *copy;
    const struct segment *segment = segment_world();
    if (copy == NULL)
        must((copy = aligned_alloc(64, segment->size)) != NULL);
    /* 25 keys, 4 looks each, all of their rounds in vain. */
    static const struct cost_limit limit = {
        .steps_fixed = 25 * 4 * PERMTAB_SHM_RETRIES * 200, .steps_each = 100, .bytes_fixed = 1000};
    struct choices choices = choices_of(data, size);
    struct permtab_shm_table table;
    memcpy(copy, segment->header, segment->size);
    /* What another process may do to the length that it says, too: the mapping is as long as it is. */
    segment_world_overwrite(&choices, copy, segment->size);
    cost_begin();
    int code = segment_table_init(&table, copy, segment->size);
    must(code == 0 || code == PERMTAB_E_PROTOCOL || code == PERMTAB_E_LAYOUT);
    if (code == 0) {
        look_everywhere(&table);
        segment_world_overwrite(&choices, copy, segment->size);
        look_everywhere(&table);
    }
    cost_check(size, &limit);
    return 0;
}
