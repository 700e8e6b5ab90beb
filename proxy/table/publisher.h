/* The publisher: the only writer of the table. It owns the segment, the private indexes over it (which entries a user
 * or a scope has, which sets a role is in), the resident role definitions and the catalogue. Runs on the loop's
 * thread; blocks on nothing.
 *
 * There may be two tables for a while, of which clients are handed one: grow.h.
 *
 * This header has its life, its lease, and its position. Three others change the table: fill.h makes entries of
 * facts, batch.h applies changes of the store, retire.h retires entries. audit.h has the auditor's look, use.h what
 * clients use. */
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
/* Takes what was retired from what may still be, which ends at 0: one step may take more than is left. */
static inline void publisher_spend(uint64_t *work, uint64_t spent)
{
    *work -= spent < *work ? spent : *work;
}

/* Creates the first segment from a catalogue read at `at`, empty of entries and not leased yet. Takes the catalogue. */
int publisher_new(struct publisher **out, const struct publisher_options *options,
                  const struct log_position *at, int64_t now, struct catalogue *catalogue,
                  struct counters *counters, struct failure *failure) PERMTAB_MUST_CHECK;
/* Ends the leases. */
void publisher_free(struct publisher *publisher);
/* Frees it and leaves the segments to their readers as a death would: each is true for as long as its lease says. */
void publisher_leave(struct publisher *publisher);

struct table;
/* Begins anew with an empty table, true at `at`; ends the lease of all others, retires and drops them. Forgets
 * everything that was resident. Takes `fresh`, whatever comes of it. Without it (NULL) one is made here, as large as
 * the present one, which takes as long as it is large. PERMTAB_E_INVALID: `fresh` is of another kind. */
int publisher_rebuild(struct publisher *publisher, const struct log_position *at, int64_t now,
                      struct catalogue *catalogue, struct table *fresh,
                      struct failure *failure) PERMTAB_MUST_CHECK;

/* Renews the lease from a poll begun at `begun_ns`, once all that it read is applied. */
void publisher_renew(struct publisher *publisher, uint64_t begun_ns);
uint64_t publisher_deadline(const struct publisher *publisher);
bool publisher_leased(const struct publisher *publisher, uint64_t now_ns);
/* The reason why a lease is ended before its time. */
enum lease_end {
    /* the store may be other than its log says, and so may copies of it elsewhere, as in L2 */
    STORE_NOT_BELIEVED,
    OWN_FAULT, /* the table alone is at fault, or at its end: the log, and copies elsewhere, are good */
};
/* Ends the lease now: the table answers nobody until publisher_rebuild. */
void publisher_end_lease(struct publisher *publisher, enum lease_end why);
/* How many tables have ended as STORE_NOT_BELIEVED, each counted once; also one whose lease had been ended as
 * OWN_FAULT before. A copy made elsewhere under another number is no better than that table was. */
uint64_t publisher_distrusted(const struct publisher *publisher);

/* The number of the history, never 0, and another one after each rebuild: facts read before a rebuild say nothing
 * about the table after it. */
uint64_t publisher_generation(const struct publisher *publisher);
/* The version of names: it changes when bits and scope-type numbers that were looked up before mean something else,
 * because the store was replaced by another. */
uint64_t publisher_names_version(const struct publisher *publisher);
/* When the last poll began (CLOCK_MONOTONIC) whose rows are all applied. 0: none yet. */
uint64_t publisher_confirmed(const struct publisher *publisher);
const struct history *publisher_history(const struct publisher *publisher);
struct log_position publisher_position(const struct publisher *publisher);
int64_t publisher_expiry(const struct publisher *publisher);
const struct catalogue *publisher_catalogue(const struct publisher *publisher);
const struct segment *publisher_segment(const struct publisher *publisher);
/* How many entries are resident. */
uint64_t publisher_entries(const struct publisher *publisher);

#endif
