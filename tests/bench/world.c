/* The table: sets, entries and folds through the writer's own functions, at the load that segment_new plans for. */
#include "tests/bench/world.h"

#include "shm/map.h"
#include "shm/set.h"
#include "tests/bench/measure.h"
#include "tests/bench/world_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PERMISSIONS_MAX 512u

static void must(int code, const char *what)
{
    if (code < 0)
        bench_die("%s: %s", what, permtab_strerror(code));
}

static void write_names(struct segment *segment)
{
    static const char *const types[] = {"global", "server", "channel"};
    for (uint32_t bit = 0; bit < QUESTION_PERMISSIONS; bit++) {
        char name[WORLD_NAME_SIZE];
        world_permission_name(bit, name);
        segment_name_set_writer(segment, bit, name);
    }
    for (uint32_t type = 0; type < sizeof types / sizeof types[0]; type++)
        segment_type_set_writer(segment, type, types[type]);
    segment_catalogue_set_writer(segment, WORLD_CATALOGUE);
}

/* In the order of their numbers: the pool hands them out from 1 up, and the questions rely on it. */
static void write_sets(struct segment *segment, uint32_t count)
{
    struct set_pool pool;
    must(set_pool_init(&pool, segment), "sets");
    for (uint32_t i = 0; i < count; i++) {
        uint64_t bits[2][PERMISSIONS_MAX / 64] = {{0}, {0}};
        uint32_t set = set_take_writer(&pool, 1);
        if (set == 0 || set > count)
            bench_die("the pool of sets gave %u", set);
        bits[0][0] = question_bits(set);
        bits[1][0] = question_bits(set);
        set_close_writer(segment, set);
        set_write_writer(segment, set, bits[0], bits[1]);
        set_open_writer(segment, set);
    }
    set_pool_fini(&pool);
}

/* A slot in the key's window, made free by moving one of the window's entries along its own window; `depth` entries
 * are moved at most. At the planned load three windows in a thousand are full. The sidecar evicts then; here every key must be
 * resident, because every contender is asked for all of them. */
static uint32_t make_room(struct map *map, struct map_key key, unsigned depth)
{
    uint32_t slot, end, vacancy = map_vacancy_writer(map, key);
    if (vacancy != MAP_NO_SLOT || depth == 0)
        return vacancy;
    for (map_window(map, key, &slot, &end); slot < end; slot++) {
        struct map_key there = map_key_at(map, slot);
        uint32_t first, past;
        map_window(map, there, &first, &past);
        if (past <= end)
            continue;
        uint32_t other = make_room(map, there, depth - 1);
        if (other == MAP_NO_SLOT)
            continue;
        map_insert_writer(map, other, there, PERMTAB_SHM_WORD_INDEX(map_word(map, slot)));
        map_clear_writer(map, slot);
        return slot;
    }
    return MAP_NO_SLOT;
}

static uint64_t write_entries(struct segment *segment, const struct world_options *options)
{
    struct map map = {.buckets = segment->map,
                      .home_count = segment->table.map_buckets,
                      .hash_seed = segment->table.hash_seed};
    uint64_t left_out = 0;
    for (uint64_t index = 0; index < options->entries; index++) {
        uint64_t user = question_user(index);
        struct map_key key = {.key0 = user, .key1 = question_scope(user), .type = QUESTION_TYPE};
        uint32_t slot = make_room(&map, key, 6);
        if (slot == MAP_NO_SLOT)
            left_out++;
        else
            map_insert_writer(&map, slot, key, question_set(user, options->sets));
    }
    return left_out;
}

static void write_folds(struct segment *segment)
{
    struct map map = {.buckets = segment->folds,
                      .home_count = segment->table.fold_buckets,
                      .hash_seed = segment->table.hash_seed};
    segment_fold_count_writer(segment, QUESTION_SCOPES);
    for (uint32_t scope = 1; scope <= QUESTION_SCOPES; scope++) {
        struct map_key key = {.key1 = scope, .type = QUESTION_FOLDED_TYPE};
        uint32_t slot = map_vacancy_writer(&map, key);
        if (slot == MAP_NO_SLOT)
            bench_die("no room for the folds");
        segment_target_set_writer(segment, scope, QUESTION_TYPE, scope);
        map_insert_writer(&map, slot, key, scope);
    }
}

void world_start(struct world *world, const struct world_options *options)
{
    const struct segment_options geometry = {.permissions_max = PERMISSIONS_MAX,
                                             .entries = options->entries,
                                             .sets = options->sets,
                                             .folds = 2 * QUESTION_SCOPES,
                                             .targets = QUESTION_SCOPES,
                                             .store_id = 1};
    *world = (struct world){.options = *options};
    (void)snprintf(world->text, sizeof world->text, "%llu entries, %u sets%s",
                   (unsigned long long)options->entries, options->sets, options->folded ? ", folded" : "");
    must(segment_new(&world->segment, &geometry), "segment");
    write_names(&world->segment);
    write_sets(&world->segment, options->sets);
    world->left_out = write_entries(&world->segment, options);
    if (options->folded)
        write_folds(&world->segment);
    segment_applied_writer(&world->segment, 1);
    segment_publish_writer(&world->segment);
    world_server_start(world);
}

void world_stop(struct world *world)
{
    world_server_stop(world);
    segment_free(&world->segment);
}

double world_entry_bytes(const struct world *world)
{
    double buckets = (double)world->segment.table.map_buckets + PERMTAB_SHM_WINDOW - 1;
    return buckets * sizeof(struct permtab_shm_bucket) / (double)world->options.entries;
}

void world_huge_pages(const void *address, unsigned long *huge, unsigned long *all)
{
    FILE *maps = fopen("/proc/self/smaps", "re");
    char line[512], start[32];
    bool ours = false;
    *huge = *all = 0;
    if (maps == NULL)
        return;
    (void)snprintf(start, sizeof start, "%lx-", (unsigned long)(uintptr_t)address);
    while (fgets(line, sizeof line, maps) != NULL) {
        if (!ours)
            ours = strncmp(line, start, strlen(start)) == 0;
        else if (sscanf(line, "Rss: %lu kB", all) != 1 && sscanf(line, "ShmemPmdMapped: %lu kB", huge) == 1)
            break;
    }
    (void)fclose(maps);
}
