/* The table: sets, entries and folds through the writer's own functions, at a load of 0.70, which is that of a table
 * that has just grown. (A full one has 0.90, and then not every key can be resident.) */
#include "tests/bench/world.h"

#include "shm/map.h"
#include "shm/set.h"
#include "tests/bench/measure.h"
#include "tests/bench/world_server.h"
#include "tests/support/random.h"

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

/* Writes sets in the order of their numbers: the pool hands them out from 1 up, and the questions rely on it. */
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

/* The entry of a full window that can go furthest: the one whose own window begins last. */
static uint32_t furthest(const struct map *map, uint32_t first, uint32_t end)
{
    uint32_t best = first, best_home = 0;
    for (uint32_t slot = first; slot < end; slot++) {
        uint32_t home, past;
        map_window(map, map_key_at(map, slot), &home, &past);
        if (home > best_home) {
            best = slot;
            best_home = home;
        }
    }
    return best;
}

/* Puts the key into its window. When that is full, which three in a thousand are at the planned load, an entry of
 * it makes room and is put into its own window in turn, as in cuckoo hashing; now and then a random one, so that it
 * cannot go round in circles. The sidecar evicts then; here every key must be resident, because every contender is
 * asked for all of them. */
static bool put_entry(struct map *map, struct random *random, struct map_key key, uint32_t index)
{
    for (uint32_t step = 0; step < 10000; step++) {
        uint32_t first, end, slot = map_writer_vacancy(map, key);
        if (slot != MAP_NO_SLOT) {
            map_insert_writer(map, slot, key, index);
            return true;
        }
        map_window(map, key, &first, &end);
        slot = random_chance(random, 25) ? first + (uint32_t)random_below(random, end - first)
                                         : furthest(map, first, end);
        struct map_key other = map_key_at(map, slot);
        uint32_t other_index = PERMTAB_SHM_WORD_INDEX(map_word(map, slot));
        map_clear_writer(map, slot);
        map_insert_writer(map, slot, key, index);
        key = other;
        index = other_index;
    }
    return false;
}

static bool write_entries(struct segment *segment, const struct world_options *options)
{
    struct map map = {.buckets = segment->map,
                      .home_count = segment->table.map_buckets,
                      .hash_seed = segment->table.hash_seed};
    struct random random = {.state = 1};
    for (uint64_t index = 0; index < options->entries; index++) {
        uint64_t user = question_user(index);
        struct map_key key = {.key0 = user, .key1 = question_scope(user), .type = QUESTION_TYPE};
        if (!put_entry(&map, &random, key, question_set(user, options->sets)))
            return false;
    }
    return true;
}

static void write_folds(struct segment *segment)
{
    struct map map = {.buckets = segment->folds,
                      .home_count = segment->table.fold_buckets,
                      .hash_seed = segment->table.hash_seed};
    segment_fold_count_writer(segment, QUESTION_SCOPES);
    for (uint32_t scope = 1; scope <= QUESTION_SCOPES; scope++) {
        struct map_key key = {.key1 = scope, .type = QUESTION_FOLDED_TYPE};
        uint32_t slot = map_writer_vacancy(&map, key);
        if (slot == MAP_NO_SLOT)
            bench_die("no room for the folds");
        segment_target_set_writer(segment, scope, QUESTION_TYPE, scope);
        map_insert_writer(&map, slot, key, scope);
    }
}

void world_start(struct world *world, const struct world_options *options)
{
    const struct segment_options geometry = {.permissions_max = PERMISSIONS_MAX,
                                             .entries = options->entries * 9 / 7 + 1,
                                             .sets = options->sets,
                                             .folds = 2 * QUESTION_SCOPES,
                                             .targets = QUESTION_SCOPES,
                                             .store_id = 1};
    *world = (struct world){.options = *options};
    (void)snprintf(world->text, sizeof world->text, "%llu entries, %u sets%s",
                   (unsigned long long)options->entries, options->sets, options->folded ? ", folded" : "");
    /* One window among millions may be such that no rearrangement helps: about every third map of ten million has
     * one. Another map has another seed. */
    for (unsigned attempt = 0;; attempt++) {
        must(segment_new(&world->segment, &geometry), "segment");
        if (write_entries(&world->segment, options))
            break;
        segment_free(&world->segment);
        if (attempt == 20)
            bench_die("the entries do not fit");
    }
    write_names(&world->segment);
    write_sets(&world->segment, options->sets);
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
