/* The segment is made by the writer's own functions; what is overwritten is chosen so that most inputs still have a
 * header that readers take. */
#include "tests/fuzz/segment_world.h"

#include "shm/map.h"
#include "shm/set.h"

static void make(struct segment *segment)
{
    struct segment_options options = {
        .permissions_max = 64, .entries = 64, .sets = 8, .folds = 16, .targets = 8, .store_id = 1};
    must(segment_new(segment, &options) == 0);
    segment_type_set_writer(segment, 0, "global");
    segment_type_set_writer(segment, 1, "server");
    segment_type_set_writer(segment, SEGMENT_WORLD_CHANNEL, "channel");
    segment_name_set_writer(segment, 0, "a.b");
    segment_name_set_writer(segment, 1, "c");
    segment_catalogue_set_writer(segment, SEGMENT_WORLD_CATALOGUE);
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
    for (uint64_t user = 0; user < SEGMENT_WORLD_USERS; user++)
        for (uint64_t scope = 0; scope < SEGMENT_WORLD_SCOPES; scope += 2) {
            struct map_key key = {user, scope, SEGMENT_WORLD_CHANNEL};
            uint32_t slot = map_writer_vacancy(&map, key);
            if (slot != MAP_NO_SLOT)
                map_insert_writer(&map, slot, key, 1 + (uint32_t)((user + scope) % 4));
        }
    segment_target_set_writer(segment, 1, SEGMENT_WORLD_CHANNEL, 0);
    segment_fold_count_writer(segment, 1);
    map_insert_writer(&folds, map_writer_vacancy(&folds, (struct map_key){0, 1, SEGMENT_WORLD_CHANNEL}),
                      (struct map_key){0, 1, SEGMENT_WORLD_CHANNEL}, 1);
    segment_publish_writer(segment);
    segment_lease_writer(segment, UINT64_MAX);
}

const struct segment *segment_world(void)
{
    static struct segment segment;
    if (segment.size == 0)
        make(&segment);
    return &segment;
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

void segment_world_overwrite(struct choices *choices, char *bytes, size_t size)
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
