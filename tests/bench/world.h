/* A table of a chosen size, filled by the real writer, kept leased and handed out by a thread that speaks just
 * enough of the protocol (hello, catalogue, attach) for the real permtab_open. What is then measured is what a
 * worker does. */
#ifndef PERMTAB_TESTS_BENCH_WORLD_H
#define PERMTAB_TESTS_BENCH_WORLD_H

#include "client/permtab.h"
#include "shm/segment.h"
#include "tests/bench/question.h"

#include <pthread.h>
#include <stdbool.h>

struct world_options {
    uint64_t entries;
    uint32_t sets;
    bool folded; /* channels that answer as their servers are in the fold map */
};

struct world {
    struct world_options options;
    char text[64]; /* what it is, for reports */
    struct segment segment;
    char folder[64];
    char path[96];
    int listener;
    int stop[2]; /* a pipe */
    pthread_t thread;
};

/* Builds, fills, and begins to serve on world->path. Ends the program when it cannot. */
void world_start(struct world *world, const struct world_options *options);
void world_stop(struct world *world);

/* Bytes of the entry map for each entry asked for. */
double world_entry_bytes(const struct world *world);
/* Kilobytes mapped by huge pages in the mapping that `address` begins, and the kilobytes present in all. */
void world_huge_pages(const void *address, unsigned long *huge, unsigned long *all);

#endif
