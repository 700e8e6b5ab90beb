/* Batches: the table is made true at a later revision, in an order in which no reader can combine state from before
 * and after into a grant that neither gives (batch.c; docs/SHARED-MEMORY.md). */
#ifndef PERMTAB_TABLE_BATCH_H
#define PERMTAB_TABLE_BATCH_H

#include "proxy/base/failure.h"
#include "proxy/rights/catalogue.h"
#include "proxy/rights/change.h"

#include <stdbool.h>
#include <stdint.h>

struct publisher;

/* Everything that a batch brings, read in one snapshot. Owned by the caller; publisher_batch takes the contents it
 * keeps and leaves the rest to be freed. */
struct batch {
    struct log_position at;     /* of the snapshot */
    int64_t now;                /* the store's clock when it was taken */
    struct change_list changes; /* (applied, at], in order */
    struct change_list expired; /* assignments that ended since the last batch */
    struct role_list roles;     /* present definitions of all roles that changed, and their ancestors */
    bool has_catalogue;         /* a catalogue change is among the changes */
    struct catalogue catalogue;
};
void batch_fini(struct batch *batch);

/* Applies a batch and advances applied_revision. On failure (PERMTAB_E_MEMORY; _SCHEMA when the catalogue contradicts
 * the one before) the table is closed where it may be wrong, applied_revision has not moved and the caller must
 * rebuild. `now_ns`: CLOCK_MONOTONIC. */
int publisher_batch(struct publisher *publisher, struct batch *batch, uint64_t now_ns,
                    struct failure *failure) PERMTAB_MUST_CHECK;

/* publisher_batch in slices, because a batch may name a scope that half of the table lies below. Begin borrows the
 * batch until a slice returns something other than 1 (more to do), or the batch is forgotten. In between the table
 * is true at the revision it had, with holes; entries that the batch touches are not filled; the lease is not
 * renewed; and anything but another batch or a rebuild may happen. */
int publisher_batch_begin(struct publisher *publisher, struct batch *batch,
                          struct failure *failure) PERMTAB_MUST_CHECK;
int publisher_batch_slice(struct publisher *publisher, uint64_t now_ns, uint64_t work,
                          struct failure *failure) PERMTAB_MUST_CHECK;
/* Lets go of a batch that is not to be ended; the holes that it has made stay. */
void publisher_batch_forget(struct publisher *publisher);

#endif
