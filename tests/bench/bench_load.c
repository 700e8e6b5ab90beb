/* A check at several loads of the map, side by side: what bytes an entry cost in time. Each table has the same number
 * of slots and is filled by the publisher's own table_put; it says how many entries were moved aside for others, and
 * how many had to be evicted because nothing in a full window could be moved. docs/PERFORMANCE.md has the figures that
 * table_next_entries and the geometry were chosen by. */
#include "proxy/table/table.h"
#include "shm/reader.h"
#include "tests/bench/measure.h"
#include "tests/bench/question.h"
#include "tests/support/memory_policy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOADS 5

static const unsigned percents[LOADS] = {70, 84, 90, 93, 95};

struct loaded {
    struct table *table;
    uint64_t entries;
    struct made_room made_room;
    char name[32];
};

static void must(int code, const char *what)
{
    if (code < 0)
        bench_die("%s: %d", what, code);
}

static uint32_t add_set(struct table *table)
{
    struct memory_policy policy;
    struct catalogue catalogue;
    struct inputs inputs = {0};
    struct role_sources sources = {&table->sets, NULL, NULL};
    memory_policy_init(&policy);
    memory_catalogue(&policy, 8, &catalogue);
    uint32_t set = set_table_add(&sources, &catalogue, &inputs, 1);
    if (set == 0)
        bench_die("no set");
    set_table_hold(&table->sets, set);
    catalogue_fini(&catalogue);
    memory_policy_fini(&policy);
    return set;
}

static uint64_t home_count(const struct table *table, uint64_t entries)
{
    uint64_t home = 0;
    for (uint64_t index = 0; index < entries; index++) {
        struct map_key key = {question_user(index), 1, QUESTION_TYPE};
        uint32_t first, end, slot = map_writer_find(&table->map, key);
        map_window(&table->map, key, &first, &end);
        home += slot != MAP_NO_SLOT && slot < first + PERMTAB_SHM_SLOTS;
    }
    return home;
}

static void load(struct loaded *loaded, uint64_t slots, unsigned percent)
{
    struct publisher_options options = {
        .permissions_max = 512, .entries = slots / 10 * 7, .sets = 16, .folds = 16, .max_staleness_ns = 1};
    must(table_new(&loaded->table, &options, 1), "table");
    struct table *table = loaded->table;
    struct scope_node *node = scope_tree_put(&table->scopes, (struct scope_key){1, QUESTION_TYPE}, NULL);
    uint32_t set = add_set(table);
    table->entries_max = UINT64_MAX;
    loaded->entries = (uint64_t)map_slot_count(&table->map) * percent / 100;
    (void)snprintf(loaded->name, sizeof loaded->name, "load 0.%02u", percent);
    uint64_t begun = measure_now_ns(), late = 0;
    for (uint64_t index = 0; index < loaded->entries; index++) {
        if (index == loaded->entries - loaded->entries / 100)
            late = measure_now_ns();
        if (!table_put(table, question_user(index), node, set, ENTRY_POSITIVE, 1, &loaded->made_room))
            bench_die("no room");
    }
    uint64_t now = measure_now_ns();
    uint64_t home = home_count(table, loaded->entries);
    measure_figure("a put", loaded->name, "of all", (double)(now - begun) / (double)loaded->entries, "ns");
    measure_figure("a put", loaded->name, "of the last hundredth",
                   (double)(now - late) / (double)(loaded->entries / 100), "ns");
    measure_figure("evicted for want of a movable one", loaded->name, "of a million",
                   1e6 * (double)loaded->made_room.evicted / (double)loaded->entries, "entries");
    measure_figure("in the home bucket", loaded->name, "", 100.0 * (double)home / (double)loaded->entries,
                   "percent");
    measure_figure("bytes an entry", loaded->name, "", 64.0 / 3 * 100 / percent, "bytes");
}

/* Counts those that are found. An evicted one is asked for, too: a few in a million. */
static uint64_t check(void *context, uint64_t seed, uint64_t count)
{
    const struct loaded *loaded = context;
    uint64_t walk = seed, found = 0;
    for (uint64_t i = 0; i < count; i++) {
        struct permtab_shm_look look;
        walk = walk * 6364136223846793005ull + 1442695040888963407ull + found; /* one waits for the other */
        uint64_t user = question_user((uint64_t)(((walk >> 32) * loaded->entries) >> 32));
        found += permtab_shm_look_once(&loaded->table->segment.table, user, 1, QUESTION_TYPE, &look) ==
                 PERMTAB_SHM_FOUND;
    }
    return found;
}

static uint64_t miss(void *context, uint64_t seed, uint64_t count)
{
    const struct loaded *loaded = context;
    uint64_t walk = seed, missed = 0;
    for (uint64_t i = 0; i < count; i++) {
        struct permtab_shm_look look;
        walk = walk * 6364136223846793005ull + 1442695040888963407ull + missed;
        missed += permtab_shm_look_once(&loaded->table->segment.table, walk, 2, QUESTION_TYPE, &look) ==
                  PERMTAB_SHM_MISS;
    }
    return missed;
}

int main(int count, char **arguments)
{
    struct measure measure = {.rounds = 15, .slice_ns = 20000000};
    uint64_t slots = 14300000;
    static struct loaded loaded[LOADS];
    struct contender checks[LOADS], misses[LOADS];
    char world[64];
    for (int i = 1; i < count; i++) {
        if (measure_option(&measure, count, arguments, &i))
            continue;
        if (strcmp(arguments[i], "--slots") != 0 || i + 1 == count)
            bench_die("usage: bench_load [--slots N] [--rounds N] [--slice-ms N] [--check-only]");
        slots = measure_number(arguments[++i]);
    }
    (void)snprintf(world, sizeof world, "%llu slots", (unsigned long long)slots);
    for (size_t i = 0; i < LOADS; i++) {
        load(&loaded[i], slots, percents[i]);
        checks[i] = (struct contender){.name = loaded[i].name, .run = check, .context = &loaded[i]};
        misses[i] = (struct contender){.name = loaded[i].name, .run = miss, .context = &loaded[i]};
    }
    struct contest hit_contest = {"a random check, by load", world, false, checks, LOADS, 0};
    struct contest miss_contest = {"a random miss, by load", world, false, misses, LOADS, 0};
    measure_contest(&measure, &hit_contest);
    measure_contest(&measure, &miss_contest);
    for (size_t i = 0; i < LOADS; i++)
        table_free(loaded[i].table);
    return 0;
}
