/* Time is what the test says it is. A client believes a table while its coarse clock is before the deadline; that clock
 * may lag by as much as the publisher takes off the deadline, so an answer may leave until `lag_ns` after it. What it
 * says must have been in force `staleness_ns` before that, or later. Heirs are asked once, at the death, for all the
 * time that is left: nothing changes in the table any more, and what the store does meanwhile can only make the answer
 * older, which the bound is about. */
#include "tests/stress/publisher_witness.h"

#include "shm/reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#define SLEEPER_STACK 65536u

struct sleeper {
    ucontext_t itself, waker;
    char *stack;
    struct witness *witness;
    const char *where; /* the writer was when this sleeper was woken last */
    uint64_t wakeful;  /* loads from one nap to the next, on average */
};

/* The hook has no argument. NULL: the load is the writer's, or an heir's. */
static struct sleeper *awake;

uint64_t witness_draw(struct witness *witness, uint64_t below)
{
    witness->random ^= witness->random << 13;
    witness->random ^= witness->random >> 7;
    witness->random ^= witness->random << 17;
    return (witness->random * 0x2545f4914f6cdd1dull >> 33) % below;
}

void witness_attach(struct witness *witness, const struct segment *segment, uint64_t history)
{
    if (witness->table_count == WITNESS_TABLES)
        abort();
    struct witness_table *table = &witness->tables[witness->table_count];
    void *mapping = mmap(NULL, segment->size, PROT_READ, MAP_SHARED, segment->descriptor, 0);
    if (mapping == MAP_FAILED || segment_table_init(&table->view, mapping, segment->size) < 0)
        abort();
    table->mapping = mapping;
    table->size = segment->size;
    table->history = history;
    witness->table_count++;
}

/* ---- what an answer may say -------------------------------------------------------------------------------------- */

static bool believed(const struct witness *witness, const struct permtab_shm_moment *moment)
{
    return witness->clock_ns < moment->lease_deadline + witness->lag_ns && moment->lease_deadline != 0;
}

static struct truth_window window_of(const struct witness *witness, const struct witness_table *table,
                                     const struct permtab_shm_moment *moment)
{
    uint64_t end = moment->lease_deadline + witness->lag_ns;
    return (struct truth_window){.history = table->history,
                                 .revision = moment->applied_revision,
                                 .from_ns = end > witness->staleness_ns ? end - witness->staleness_ns : 0};
}

static void complain(struct witness *witness, const char *reader, const char *where, uint32_t key,
                     const uint64_t bits[TRUTH_WORDS])
{
    uint64_t user;
    struct scope_key scope;
    truth_key(key, &user, &scope);
    if (witness->wrong++ == 0)
        (void)snprintf(
            witness->said, sizeof witness->said,
            "%s was told of user %llu at %u:%llu what no revision that it may see gives, while the "
            "writer was at: %s (%016llx %016llx, own %016llx %016llx)",
            reader, (unsigned long long)user, scope.type, (unsigned long long)scope.id, where,
            (unsigned long long)bits[0], (unsigned long long)bits[1], (unsigned long long)bits[2],
            (unsigned long long)bits[3]);
}

/* As permtab_shm_check does: the straight line first, where it may be taken. */
static enum permtab_shm_found look(const struct permtab_shm_table *table, uint64_t user,
                                   struct scope_key scope, struct permtab_shm_look *seen)
{
    if (permtab_shm_load32(&table->header->beat.fold_count) == 0) {
        const struct permtab_shm_kind kind = permtab_shm_kind_of(table->hash_seed, scope.type);
        const struct permtab_shm_bucket *home = permtab_shm_entry_home(table, user, scope.id, &kind);
        if (permtab_shm_look_home(table, home, user, scope.id, &kind, seen) ||
            permtab_shm_look_home(table, home + 1, user, scope.id, &kind, seen))
            return PERMTAB_SHM_FOUND;
    }
    return permtab_shm_look_once(table, user, scope.id, scope.type, seen);
}

/* Reads both bitmaps as the client's views do. */
static enum permtab_shm_found read_key(const struct permtab_shm_table *table, uint32_t key,
                                       uint64_t bits[TRUTH_WORDS])
{
    struct permtab_shm_look seen;
    struct scope_key scope;
    uint64_t user;
    truth_key(key, &user, &scope);
    for (uint32_t round = 0; round < PERMTAB_SHM_RETRIES; round++) {
        enum permtab_shm_found found = look(table, user, scope, &seen);
        if (found == PERMTAB_SHM_MISS)
            return found;
        if (found == PERMTAB_SHM_BUSY)
            continue;
        for (uint32_t word = 0; word < TRUTH_WORDS; word++)
            bits[word % 2 * 2 + word / 2] = permtab_shm_load64(&seen.set->bits[word]);
        if (permtab_shm_look_holds(&seen))
            return PERMTAB_SHM_FOUND;
    }
    return PERMTAB_SHM_BUSY;
}

/* ---- heirs ------------------------------------------------------------------------------------------------------- */

static void look_at_table(struct witness *witness, const struct witness_table *table,
                          struct witness_tally *tally, const char *where)
{
    struct permtab_shm_moment moment = permtab_shm_beat_read(&table->view);
    struct truth_window window = window_of(witness, table, &moment);
    if (!believed(witness, &moment))
        return;
    for (uint32_t key = 0; key < witness->truth.keys; key++) {
        uint64_t bits[TRUTH_WORDS];
        enum permtab_shm_found found = read_key(&table->view, key, bits);
        tally->misses += found == PERMTAB_SHM_MISS;
        tally->busy += found == PERMTAB_SHM_BUSY;
        if (found != PERMTAB_SHM_FOUND)
            continue;
        tally->answers++;
        tally->older += !truth_is_newest(&witness->truth, key, bits);
        if (!truth_allows(&witness->truth, &window, key, bits))
            complain(witness, "an heir", where, key, bits);
    }
}

void witness_look(struct witness *witness, struct witness_tally *tally, const char *where)
{
    for (uint32_t at = 0; at < witness->table_count; at++)
        look_at_table(witness, &witness->tables[at], tally, where);
}

void witness_expect(struct witness *witness, const struct map *map, struct map_key key, const char *where)
{
    struct permtab_shm_place place;
    uint64_t hash = permtab_shm_hash(map->hash_seed, key.key0, key.key1, key.type);
    const struct permtab_shm_bucket *home = map->buckets + permtab_shm_home(hash, map->home_count);
    if (permtab_shm_find(home, key.key0, key.key1, key.type, &place) == PERMTAB_SHM_MISS &&
        witness->wrong++ == 0)
        (void)snprintf(witness->said, sizeof witness->said, "an entry that is only moved was missed (%s)",
                       where);
}

/* ---- sleepers ---------------------------------------------------------------------------------------------------- */

void permtab_load_hook(void);

void permtab_load_hook(void)
{
    struct sleeper *sleeper = awake;
    if (sleeper == NULL || witness_draw(sleeper->witness, sleeper->wakeful) != 0)
        return;
    (void)swapcontext(&sleeper->itself, &sleeper->waker);
}

/* A key that is in the table, if one can be found: looking for one that is not there is no news. */
static uint32_t any_key(struct witness *witness, const struct permtab_shm_table *table)
{
    struct sleeper *sleeper = awake;
    uint32_t key = 0;
    uint64_t bits[TRUTH_WORDS];
    awake = NULL;
    for (uint32_t tries = 0; tries < 16; tries++) {
        key = (uint32_t)witness_draw(witness, witness->truth.keys);
        if (read_key(table, key, bits) == PERMTAB_SHM_FOUND)
            break;
    }
    awake = sleeper;
    return key;
}

static const struct witness_table *any_table(struct witness *witness)
{
    uint32_t newest = witness->table_count - 1;
    uint32_t back = (uint32_t)witness_draw(witness, 3);
    return &witness->tables[back < newest ? newest - back : newest];
}

static void look_once(struct witness *witness, struct sleeper *sleeper)
{
    const struct witness_table *table = any_table(witness);
    uint32_t key = any_key(witness, &table->view);
    uint64_t bits[TRUTH_WORDS];
    sleeper->wakeful = 1 + witness_draw(witness, 12);
    struct permtab_shm_moment moment = permtab_shm_beat_read(&table->view);
    if (read_key(&table->view, key, bits) != PERMTAB_SHM_FOUND || !believed(witness, &moment))
        return;
    struct truth_window window = window_of(witness, table, &moment);
    witness->slept++;
    if (!truth_allows(&witness->truth, &window, key, bits))
        complain(witness, "a sleeper", sleeper->where, key, bits);
}

/* makecontext passes int arguments alone: the sleeper is the one that is awake. */
static void sleep_and_look(void)
{
    struct sleeper *sleeper = awake;
    for (;;) {
        look_once(sleeper->witness, sleeper);
        (void)swapcontext(&sleeper->itself, &sleeper->waker);
    }
}

void witness_wake(struct witness *witness, const char *where)
{
    struct sleeper *sleeper = &witness->sleepers[witness_draw(witness, WITNESS_SLEEPERS)];
    if (witness->table_count == 0)
        return;
    sleeper->where = where;
    awake = sleeper;
    (void)swapcontext(&sleeper->waker, &sleeper->itself);
    awake = NULL;
}

/* ---- their life -------------------------------------------------------------------------------------------------- */

void witness_init(struct witness *witness, uint64_t seed)
{
    memset(witness, 0, sizeof *witness);
    witness->random = seed;
    witness->sleepers = calloc(WITNESS_SLEEPERS, sizeof *witness->sleepers);
    if (witness->sleepers == NULL)
        abort();
    for (uint32_t at = 0; at < WITNESS_SLEEPERS; at++) {
        struct sleeper *sleeper = &witness->sleepers[at];
        sleeper->witness = witness;
        sleeper->wakeful = 1;
        sleeper->stack = malloc(SLEEPER_STACK);
        if (sleeper->stack == NULL || getcontext(&sleeper->itself) < 0)
            abort();
        sleeper->itself.uc_stack.ss_sp = sleeper->stack;
        sleeper->itself.uc_stack.ss_size = SLEEPER_STACK;
        sleeper->itself.uc_link = NULL;
        makecontext(&sleeper->itself, sleep_and_look, 0);
    }
}

void witness_fini(struct witness *witness)
{
    for (uint32_t at = 0; at < witness->table_count; at++)
        (void)munmap((void *)(uintptr_t)witness->tables[at].mapping, witness->tables[at].size);
    for (uint32_t at = 0; at < WITNESS_SLEEPERS; at++)
        free(witness->sleepers[at].stack);
    free(witness->sleepers);
    truth_fini(&witness->truth);
}
