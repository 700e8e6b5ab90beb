/* Growth: two tables at a time. The table that clients are handed is joined by a larger one, *next*, into which its
 * contents are copied in slices, while everything that happens to the one happens to the other. When all is copied
 * the two change places: clients are handed the new table, and the old one is *retired*: written through and leased
 * like the new one, until its clients have left it.
 *
 *     publisher_grow_begin ─► publisher_grow_slice … GROW_DONE ─► publisher_retired_release ─► dropped
 *                                     └─► GROW_ENDED: next is gone, and nothing has happened
 *
 * The policy (when, how large, for how long) is proxy/growth; tables are made and freed by workshop.h. On the loop's
 * thread; nothing here blocks. */
#ifndef PERMTAB_TABLE_GROW_H
#define PERMTAB_TABLE_GROW_H

#include "proxy/table/publisher.h"

struct table;

/* Takes `fresh`, an empty table of this publisher's permissions_max and store, as next. PERMTAB_E_FULL: there are two
 * tables already; _INVALID: the table is not believed, a rebuild is ordered, or `fresh` is of another kind. `fresh` is
 * then the caller's. */
int publisher_grow_begin(struct publisher *publisher, struct table *fresh) PERMTAB_MUST_CHECK;

enum grow_outcome {
    GROW_MORE, /* to be called again; also while a batch is being applied, when nothing is copied */
    GROW_DONE, /* handed over: next is the table now, and the one before is retired */
    /* There is no next: memory ran out, or the publisher was rebuilt, or grew no further (publisher_grow_end). */
    GROW_ENDED,
};
/* Copies until `work` entries, folds and slots were looked at (PUBLISHER_SLICE is about a millisecond), and hands over
 * when nothing is left. */
enum grow_outcome publisher_grow_slice(struct publisher *publisher, uint64_t now_ns, uint64_t work);
/* Gives growth up: next is dropped. Does nothing without one. */
void publisher_grow_end(struct publisher *publisher);

/* The segment that is written through and leased beside the table: its id, 0: there is none. */
uint64_t publisher_retired_segment(const struct publisher *publisher);
/* The retired table's lease is not renewed any more. It is written through until the lease has lapsed, and then
 * dropped: by publisher_renew or publisher_tend. */
void publisher_retired_release(struct publisher *publisher);
/* Drops a released table whose lease has lapsed. To be called now and then: while the store is away nobody renews. */
void publisher_tend(struct publisher *publisher, uint64_t now_ns);

/* ---- sizes ------------------------------------------------------------------------------------------------------- */

/* How many entries the table has room for. */
uint64_t publisher_capacity(const struct publisher *publisher);
/* Bytes of the tables that are there, segments and private indexes. Dropped tables are not among them. */
uint64_t publisher_memory(const struct publisher *publisher);
/* Bytes of the segments alone. */
uint64_t publisher_segment_bytes(const struct publisher *publisher);
/* The options of the table that clients are handed. */
struct publisher_options publisher_present_options(const struct publisher *publisher);
/* The options of the table that growth would make next: table_next_entries, and more sets and folds when most of
 * those that are there are in use. */
struct publisher_options publisher_next_options(const struct publisher *publisher);
/* Bytes that a table of these options would take, about: as many scopes as now, and the indexes of its slots. No table
 * of these options can be laid out: segment = 0. */
struct table_bytes {
    uint64_t segment, indexes;
};
struct table_bytes publisher_bytes_of(const struct publisher *publisher,
                                      const struct publisher_options *options);
/* How many entries follow `entries`: four times as many while the table is small, because each step makes every
 * client attach again; then so few more that the new table is two thirds full at once (docs/PERFORMANCE.md). */
uint64_t table_next_entries(uint64_t entries);

/* What a rebuild is to order at the workshop: a table like the present one, in the room that all tables which are
 * there leave, dropped ones that clients hold among them; if need be down to the size of the first one, and to a
 * thousand entries. Growth ends, which would be thrown away with the rest, and there is no other before
 * publisher_rebuild or publisher_rebuild_given_up: so no more than one table is being made. */
struct workshop_order;
void publisher_rebuild_order(struct publisher *publisher, uint64_t store_id, struct workshop_order *order);
void publisher_rebuild_given_up(struct publisher *publisher);
bool publisher_rebuild_ordered(const struct publisher *publisher);

/* ---- what others do with tables ---------------------------------------------------------------------------------- */

/* The segment of a table, for whoever was given a dropped one (see publisher_drop_to). */
const struct segment *table_segment(const struct table *table);
/* Bytes of its segment and of its private indexes, about. */
uint64_t table_memory(const struct table *table);

/* Whether clients were handed the table at any time: else nobody else can have it mapped. */
bool table_was_handed_out(const struct table *table);

/* Frees the private indexes of a dropped table; its segment stays mapped, and table_segment and freeing it are all that
 * may follow. On any thread, when no other has the table. */
void table_close_books(struct table *table);

/* Takes a table that the publisher has no more use for; it may still be mapped by clients, who do not believe it any
 * more. Called on the loop; table_free or workshop_free_table ends it. */
typedef void (*publisher_drop_fn)(void *context, struct table *table);
/* Without it tables are freed at once, which takes as long as they are large. */
void publisher_drop_to(struct publisher *publisher, publisher_drop_fn drop, void *context);

/* A rebuild is about to be ordered: takes orders back that are under way, and returns the bytes of dropped segments
 * that are still held. NULL: there is nobody who has any. */
typedef uint64_t (*publisher_yield_fn)(void *context);
void publisher_yield_to(struct publisher *publisher, publisher_yield_fn yield, void *context);

#endif
