/* The workshop: makes and frees tables on a thread of its own. What takes time with the size of a table is done
 * there, and in pieces: allocating its segment and private arrays, unmapping and releasing them. */
#ifndef PERMTAB_TABLE_WORKSHOP_H
#define PERMTAB_TABLE_WORKSHOP_H

#include "proxy/table/grow.h"

struct event_base;
struct table;
struct workshop;

/* The result of an order, on the loop: a table, which is the callee's now; or a code and NULL. PERMTAB_E_LIMIT: larger
 * than memory_max; _MEMORY; _SYSTEM; _INVALID. */
typedef void (*workshop_made_fn)(void *context, int code, struct table *table);

struct table_size {
    uint64_t entries;
    uint32_t sets, folds;
};

struct workshop_order {
    struct publisher_options options; /* `entries` is what is wanted */
    uint64_t store_id;
    /* When such a table cannot be had, one of half the size is tried, and so on, as long as one of these is not
     * reached; at last one of just these sizes is, whatever memory_max says. `entries` 0: no smaller one will do. */
    struct table_size least;
    workshop_made_fn made;
    void *context;
};

int workshop_new(struct workshop **out, struct event_base *base) PERMTAB_MUST_CHECK;
/* Orders that are under way are given up, and `made` is not called. Tables that were to be freed are freed. */
void workshop_free(struct workshop *workshop);

/* Orders a table. Any number of orders, by turns. Returns the order's number, which is not 0; 0: no memory. */
uint64_t workshop_order(struct workshop *workshop, const struct workshop_order *order);
/* Takes an order back: `made` will not be called. Nothing happens when it was called already, or for 0. */
void workshop_cancel(struct workshop *workshop, uint64_t number);
/* Frees a table that nobody writes any more, before anything else is made. */
void workshop_free_table(struct workshop *workshop, struct table *table);
/* The same as a publisher_drop_fn; the context is the workshop. */
void workshop_drop(void *workshop, struct table *table);

#endif
