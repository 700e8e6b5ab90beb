/* The publisher: the only writer of the table. It owns the segment, the private indexes over it (which entries a user
 * or a scope has, which sets a role is in), the resident role definitions and the catalogue. Runs on the loop's
 * thread; blocks on nothing.
 *
 * This header is about its life, its lease, and where it stands. What is done to the table is in three others: facts
 * become entries in fill.h, changes of the store are applied in batch.h, entries are retired in retire.h. The
 * auditor's look is in audit.h. */
#ifndef PERMTAB_TABLE_PUBLISHER_H
#define PERMTAB_TABLE_PUBLISHER_H

#include "proxy/base/counters.h"
#include "proxy/base/failure.h"
#include "proxy/rights/catalogue.h"
#include "proxy/rights/change.h"
#include "proxy/table/history.h"
#include "shm/segment.h"

#include <stdbool.h>
#include <stdint.h>

struct publisher;

struct publisher_options {
    uint32_t permissions_max;
    uint64_t entries;
    uint32_t sets;
    uint32_t folds;
    uint64_t memory_max;
    uint64_t max_staleness_ns;
};

/* Entries, scopes and changes that one turn of the loop retires: about a millisecond. */
#define PUBLISHER_SLICE 2048u

/* Creates the first segment from a catalogue read at `at`, empty of entries and not leased yet. Takes the catalogue. */
int publisher_new(struct publisher **out, const struct publisher_options *options,
                  const struct log_position *at, int64_t now, struct catalogue *catalogue,
                  struct counters *counters, struct failure *failure) PERMTAB_MUST_CHECK;
void publisher_free(struct publisher *publisher);

/* A new segment, empty, true at `at`; the old one's lease is ended, and it is retired. What was resident is
 * forgotten. */
int publisher_rebuild(struct publisher *publisher, const struct log_position *at, int64_t now,
                      struct catalogue *catalogue, struct failure *failure) PERMTAB_MUST_CHECK;

/* The lease: from a poll begun at `begun_ns`, once all that it read is applied. */
void publisher_renew(struct publisher *publisher, uint64_t begun_ns);
uint64_t publisher_deadline(const struct publisher *publisher);
bool publisher_leased(const struct publisher *publisher, uint64_t now_ns);
/* Why a lease is ended before its time. */
enum lease_end {
    STORE_NOT_BELIEVED, /* the store may be other than its log says: so may what was kept of it elsewhere, as in L2 */
    OWN_FAULT, /* the table alone is at fault, or at its end: the log, and what was kept elsewhere, are good */
};
/* Ends the lease now: the table answers nobody until publisher_rebuild. */
void publisher_end_lease(struct publisher *publisher, enum lease_end why);
/* How many leases have ended as STORE_NOT_BELIEVED; a table whose lease had been ended already is not counted again.
 * What was kept elsewhere under another number is no better than that table was. */
uint64_t publisher_distrusted(const struct publisher *publisher);

/* Another number for every history, never 0: what was read before a rebuild says nothing about the table after it. */
uint64_t publisher_generation(const struct publisher *publisher);
/* Another number when bits and scope-type numbers that were looked up before mean something else now: the store was
 * replaced by another. */
uint64_t publisher_names_version(const struct publisher *publisher);
/* When the last poll began (CLOCK_MONOTONIC) of which everything is applied. 0: none yet. */
uint64_t publisher_confirmed(const struct publisher *publisher);
const struct history *publisher_history(const struct publisher *publisher);
struct log_position publisher_position(const struct publisher *publisher);
int64_t publisher_expiry(const struct publisher *publisher);
const struct catalogue *publisher_catalogue(const struct publisher *publisher);
const struct segment *publisher_segment(const struct publisher *publisher);
/* How many entries are resident. */
uint64_t publisher_entries(const struct publisher *publisher);

#endif
