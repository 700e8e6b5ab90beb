/* A look at what takes milliseconds to read, on a thread of its own: the memory that is left, and which of the tables
 * that were let go are still mapped by clients. */
#ifndef PERMTAB_GROWTH_LOOK_H
#define PERMTAB_GROWTH_LOOK_H

#include "proxy/growth/cgroup.h"
#include "shm/error.h"

#include <stdbool.h>
#include <stddef.h>

struct event_base;
struct look;
struct table;

struct look_result {
    struct memory_left left;
    /* The tables that were asked about, in order; held[i]: somebody else has pages of it. */
    struct table *const *tables;
    const bool *held;
    size_t count;
};
/* On the loop. */
typedef void (*look_done_fn)(void *context, const struct look_result *result);

int look_new(struct look **out, struct event_base *base, look_done_fn done, void *context) PERMTAB_MUST_CHECK;
/* Waits for a look that is under way, whose result is not told any more. */
void look_free(struct look *look);
/* Begins a look at tables that nobody else uses before `done`. Their private indexes are freed on the way: what is
 * left of them is the mapping. False when one is under way already, or none can be begun. */
bool look_begin(struct look *look, struct table *const *tables, size_t count);

#endif
