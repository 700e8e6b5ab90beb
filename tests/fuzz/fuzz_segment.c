/* libFuzzer's entry for a segment as a reader sees it: a real segment, made by the real writer, of which the input then
 * overwrites words anywhere, the header included, in memory that ends where the segment ends. What segment_table_init
 * takes is looked into in every way that clients do. Whatever it holds, readers stay inside it (AddressSanitizer), end
 * after a number of steps that does not depend on what it holds, and say something that is an answer.
 *
 * The words are overwritten before segment_table_init and again after it: a hostile sidecar may do that, too. */
#include "shm/map.h"
#include "shm/segment.h"
#include "shm/set.h"
#include "tests/fuzz/fuzz.h"

#include <stdio.h>

#define USERS   16u
#define SCOPES  4u
#define CHANNEL 2u

/* A segment with something of everything in it. */
static void make(struct segment *segment)
{
    struct segment_options options = {
        .permissions_max = 64, .entries = 64, .sets = 8, .folds = 16, .targets = 8, .store_id = 1};
    must(segment_new(segment, &options) == 0);
    segment_type_set_writer(segment, 0, "global");
    segment_type_set_writer(segment, 1, "server");
    segment_type_set_writer(segment, CHANNEL, "channel");
    segment_name_set_writer(segment, 0, "a.b");
    struct set_pool sets;
    must(set_pool_init(&sets, segment) == 0);
    for (uint64_t i = 0; i < 4; i++) {
        uint64_t any = 5 * i, own = 3 * i;
        uint32_t set = set_take_writer(&sets, 1);
        set_close_writer(segment, set);
        set_write_writer(segment, set, &any, &own);
        set_open_writer(segment, set);
    }
    set_pool_fini(&sets);
    struct map map = {segment->map, segment->table.map_buckets, segment->table.hash_seed};
    struct map folds = {segment->folds, segment->table.fold_buckets, segment->table.hash_seed};
    for (uint64_t user = 0; user < USERS; user++)
        for (uint64_t scope = 0; scope < SCOPES; scope += 2) {
            struct map_key key = {user, scope, CHANNEL};
            uint32_t slot = map_writer_vacancy(&map, key);
            if (slot != MAP_NO_SLOT)
                map_insert_writer(&map, slot, key, 1 + (uint32_t)((user + scope) % 4));
        }
    segment_target_set_writer(segment, 1, CHANNEL, 0);
    segment_fold_count_writer(segment, 1);
    map_insert_writer(&folds, map_writer_vacancy(&folds, (struct map_key){0, 1, CHANNEL}),
                      (struct map_key){0, 1, CHANNEL}, 1);
    segment_publish_writer(segment);
    segment_lease_writer(segment, UINT64_MAX);
}

/* The places that mean most, by their offsets: words of the header; else anywhere. */
static size_t place_of(struct choices *choices, size_t size)
{
    uint64_t where = choose(choices, 3);
    size_t words = (where & 3) != 0 ? sizeof(struct permtab_shm_header) / 8 : size / 8;
    if ((where & 3) == 1)
        words = offsetof(struct permtab_shm_header, type_names) / 8;
    return (where >> 2) % words * 8;
}

static void overwrite(struct choices *choices, char *bytes, size_t size)
{
    static const uint64_t words[] = {0,    1,          UINT64_MAX, (uint64_t)1 << 63, (uint64_t)1 << 32,
                                     4096, UINT32_MAX, 64};
    for (unsigned left = (unsigned)choose(choices, 1) % 64; left > 0 && choices_left(choices); left--) {
        size_t at = place_of(choices, size);
        uint64_t word, kind = choose(choices, 1);
        memcpy(&word, bytes + at, 8);
        switch (kind % 5) {
        case 0:
            word = choose(choices, 8);
            break;
        case 1:
            word = words[kind / 5 % 8];
            break;
        case 2:
            word += (uint64_t)(int64_t)(int8_t)choose(choices, 1);
            break;
        case 3: /* one half of it: most fields are that long */
            word = (word & ~(uint64_t)UINT32_MAX) | choose(choices, 4);
            break;
        default:
            word = (word & UINT32_MAX) | choose(choices, 4) << 32;
            break;
        }
        memcpy(bytes + at, &word, 8);
    }
}

/* Every way of looking, at one key. */
static void look(const struct permtab_shm_table *table, uint64_t user, uint64_t scope, uint32_t type)
{
    struct permtab_shm_look seen;
    for (uint32_t bit = 0; bit < table->permissions_max; bit += 63) {
        bool allowed = false;
        permtab_shm_fetch_entry(table, user, scope, type);
        permtab_shm_fetch_set(table, user, scope, type, bit);
        enum permtab_shm_found found =
            permtab_shm_check(table, user, scope, type, bit, bit % 2 != 0, &allowed);
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
    for (uint64_t user = 0; user < USERS; user += 3)
        for (uint64_t scope = 0; scope < SCOPES; scope++)
            look(table, user, scope, CHANNEL);
    look(table, UINT64_MAX, UINT64_MAX, 15);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct segment segment;
    static char *copy;
    if (copy == NULL) {
        make(&segment);
        copy = aligned_alloc(64, segment.size);
        must(copy != NULL);
    }
    /* 25 keys, 3 looks each, all of their rounds in vain. */
    static const struct cost_limit limit = {
        .steps_fixed = 25 * 3 * PERMTAB_SHM_RETRIES * 200, .steps_each = 100, .bytes_fixed = 1000};
    struct choices choices = choices_of(data, size);
    struct permtab_shm_table table;
    memcpy(copy, segment.header, segment.size);
    /* What another process may do to the length that it says, too: the mapping is as long as it is. */
    overwrite(&choices, copy, segment.size);
    cost_begin();
    int code = segment_table_init(&table, copy, segment.size);
    must(code == 0 || code == PERMTAB_E_PROTOCOL || code == PERMTAB_E_LAYOUT);
    if (code == 0) {
        look_everywhere(&table);
        overwrite(&choices, copy, segment.size);
        look_everywhere(&table);
    }
    cost_check(size, &limit);
    return 0;
}
