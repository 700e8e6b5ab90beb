/* Readers beside a publisher whose writer may die at any store, in one thread: they look while the writer stands
 * still in the hook of shm/order.h, so that what they see is what a writer that died there would leave for good.
 *
 * Two kinds. The *heirs* come after the death: they look at every key of every table that a client may still have
 * mapped, and believe what they find until the lease ends. The *sleepers* began before: each is a coroutine in the
 * middle of the real reader, stopped after any of its loads, and goes on after any number of the writer's stores, or
 * after the writer's death. */
#ifndef PERMTAB_TESTS_STRESS_PUBLISHER_WITNESS_H
#define PERMTAB_TESTS_STRESS_PUBLISHER_WITNESS_H

#include "shm/map.h"
#include "shm/segment.h"
#include "tests/stress/publisher_truth.h"

#define WITNESS_TABLES   64u
#define WITNESS_SLEEPERS 6u

struct witness_tally {
    uint64_t stores;
    uint64_t answers,
        older; /* of heirs; and those of them that the policy of that moment does not give any more */
    uint64_t misses, busy;
};

struct witness_table {
    struct permtab_shm_table view; /* of a read-only mapping, as a client has it */
    const void *mapping;
    size_t size;
    uint64_t history;
};

struct witness {
    struct truth truth;
    uint64_t clock_ns; /* CLOCK_MONOTONIC, by which leases and quarantines are reckoned */
    uint64_t staleness_ns, lag_ns;
    struct witness_table tables[WITNESS_TABLES]; /* newest last */
    uint32_t table_count;
    uint64_t random;
    struct sleeper *sleepers; /* WITNESS_SLEEPERS of them */
    uint64_t slept;           /* answers of sleepers that were compared */
    uint64_t wrong;
    char said[512]; /* of the first wrong answer */
};

void witness_init(struct witness *witness, uint64_t seed);
void witness_fini(struct witness *witness);
/* A client attaches. */
void witness_attach(struct witness *witness, const struct segment *segment, uint64_t history);
/* Heirs look at every key of every table. */
void witness_look(struct witness *witness, struct witness_tally *tally, const char *where);
/* The key is in the map, which is being changed: it must be found, or found changing. */
void witness_expect(struct witness *witness, const struct map *map, struct map_key key, const char *where);
/* One of the sleepers goes on, until it has loaded something more or has come to its end. */
void witness_wake(struct witness *witness, const char *where);

uint64_t witness_draw(struct witness *witness, uint64_t below);

#endif
