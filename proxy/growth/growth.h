/* Growth: makes the table larger when the policy says so. Orders the next table at the workshop, has it filled in
 * slices beside everything else, and lets go of the old one when its clients have left it.
 *
 *     IDLE ─► LOOKING ─► ORDERED ─► COPYING ─► LEAVING ─► IDLE
 *
 * policy.h says when, room.h how far. On the loop's thread; no turn takes longer than about 1 ms. */
#ifndef PERMTAB_GROWTH_GROWTH_H
#define PERMTAB_GROWTH_GROWTH_H

#include "proxy/base/counters.h"
#include "shm/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct event_base;
struct growth;
struct keys;
struct publisher;
struct workshop;

struct growth_options {
    /* Borrowed until growth_free. */
    struct event_base *base;
    struct publisher *publisher;
    struct workshop *workshop;
    struct counters *counters;
    struct keys *keys; /* what the next worker is to know; NULL: nothing */
    /* Whether a client that is connected was handed this segment last. */
    bool (*attached)(void *context, uint64_t segment_id);
    void *context;
    /* Copied. */
    uint64_t entries_min;         /* a smaller first table is made that large at once */
    uint32_t sets_min, folds_min; /* no table that growth makes has fewer */
    uint64_t memory_max;  /* table_memory_max */
    double hit_rate_target;
};

/* Also takes all tables that the publisher drops (publisher_drop_to), until growth_free. */
int growth_new(struct growth **out, const struct growth_options *options) PERMTAB_MUST_CHECK;
/* Gives up growth that is under way. To be called before publisher_free and workshop_free. */
void growth_free(struct growth *growth);
/* To be called when a poll was applied: a first table that is to be larger grows as soon as there is a lease. NULL does
 * nothing. */
void growth_applied(struct growth *growth);
/* Prints, for people, how large the table is, why it grew last, and why it does not grow. */
void growth_print(const struct growth *growth, FILE *out);

#endif
