/* The publisher: the only writer of the table. It owns the segment, the private indexes over it (which entries a user or a
 * scope has, which sets a role is in), the resident role definitions and the catalogue. Runs on the loop's thread;
 * blocks on nothing.
 *
 * publisher_batch() is the heart: it makes the table true at a later revision, in an order in which no reader can
 * combine state from before and after into a grant that neither gives (docs/SHARED-MEMORY.md). */
#ifndef PERMTAB_TABLE_PUBLISHER_H
#define PERMTAB_TABLE_PUBLISHER_H

#include "proxy/base/counters.h"
#include "proxy/base/failure.h"
#include "proxy/names/target.h"
#include "proxy/rights/catalogue.h"
#include "proxy/rights/change.h"
#include "proxy/rights/facts.h"
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

/* Everything that a batch brings, read in one snapshot. Owned by the caller; publisher_batch takes the contents it keeps
 * and leaves the rest to be freed. */
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

/* Creates the first segment from a catalogue read at `at`, empty of entries and not leased yet. Takes the catalogue. */
int publisher_new(struct publisher **out, const struct publisher_options *options,
                  const struct log_position *at, int64_t now, struct catalogue *catalogue,
                  struct counters *counters, struct failure *failure) PERMTAB_MUST_CHECK;
void publisher_free(struct publisher *publisher);

/* A new segment, empty, true at `at`; the old one is disbelieved and retired. What was resident is forgotten. */
int publisher_rebuild(struct publisher *publisher, const struct log_position *at, int64_t now,
                      struct catalogue *catalogue, struct failure *failure) PERMTAB_MUST_CHECK;

/* Entries, scopes and changes that one turn of the loop retires: about a millisecond. */
#define PUBLISHER_SLICE 2048u

/* Applies a batch and advances applied_revision. On failure (PERMTAB_E_MEMORY; _SCHEMA when the
 * catalogue contradicts the one before) the table is closed where it may be
 * wrong, applied_revision has not moved and the caller must rebuild. `now_ns`: CLOCK_MONOTONIC. */
int publisher_batch(struct publisher *publisher, struct batch *batch, uint64_t now_ns,
                    struct failure *failure) PERMTAB_MUST_CHECK;

/* The same in slices, because a batch may name a scope that half of the table lies below. Begin borrows the batch until a slice
 * returns something else than 1 (more to do), or it is forgotten. In between the table is true at the revision it had, with holes; what
 * the batch touches is not filled; there is no renewal; and anything but another batch or a rebuild may happen. */
int publisher_batch_begin(struct publisher *publisher, struct batch *batch,
                          struct failure *failure) PERMTAB_MUST_CHECK;
int publisher_batch_slice(struct publisher *publisher, uint64_t now_ns, uint64_t work,
                          struct failure *failure) PERMTAB_MUST_CHECK;
/* Of a batch that is not to be ended the holes stay. */
void publisher_batch_forget(struct publisher *publisher);

/* The lease: from a poll begun at `begun_ns`, once all that it read is applied. */
void publisher_renew(struct publisher *publisher, uint64_t begun_ns);
uint64_t publisher_deadline(const struct publisher *publisher);
bool publisher_leased(const struct publisher *publisher, uint64_t now_ns);
/* Ends the lease now and until the next rebuild: what was read before may be other than the store's log says. */
void publisher_disbelieve(struct publisher *publisher);
/* The same for this table's own fault: what the log says, and what was kept elsewhere, is as good as before. */
void publisher_doubt(struct publisher *publisher);
/* Another number each time that publisher_disbelieve ends it: what was kept elsewhere of before is no better than the table was. */
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

/* ---- fills ---------------------------------------------------------------------------------------------------- */

enum publisher_outcome {
    PUBLISHER_FILLED, /* in the table (or nearly: no set or slot was free), and *answer is good */
    PUBLISHER_EARLY, /* the snapshot is ahead of applied_revision, or a message speaks of a change after it: try again after
                       * the next poll */
    PUBLISHER_OUTDATED, /* something it read has changed since: read again */
    PUBLISHER_FAILED,   /* out of memory */
};

/* An answer apart from the table: two bitmaps of catalogue words, and when they were true. */
struct answer {
    uint64_t *any; /* malloc'ed, 2 * words; own follows any */
    uint64_t *own;
    uint32_t words;
    uint64_t revision;
    uint64_t deadline_ns;
};
void answer_fini(struct answer *answer);
/* A number that equal answers at the same catalogue have, and others, but for a chance of 2^-64, have not. */
uint64_t answer_mark(const struct publisher *publisher, const struct answer *answer);

/* Publishes facts, read at facts->revision and judged at facts->now, if they are still true. Takes what it keeps of
 * facts->roles. */
enum publisher_outcome publisher_fill(struct publisher *publisher, struct facts *facts, uint64_t now_ns,
                                      struct answer *answer);

/* Whether all roles that count for these facts, ancestors included, have a resident definition, and the default ones among
 * them are default where the facts say so. Facts that bring no definitions of their own (they came from L2) may be
 * published only then. */
bool publisher_knows_roles(const struct publisher *publisher, const struct facts *facts);

/* Looks into the table as a reader would, without the lease. False when not resident. */
bool publisher_lookup(const struct publisher *publisher, uint64_t user, struct scope_key scope,
                      struct answer *answer);

/* ---- what messages say ----------------------------------------------------------------------------------------------------- */

/* A message says that revision `revision` changed this user or scope. From now on fills that were read before that revision
 * wait until a poll begun after now has been applied. A user's entries are retired at once, those below a scope by the slices to
 * come. Other kinds of targets are left to the poll, and so are scopes when too much is being said. Returns how many entries
 * were retired. */
uint64_t publisher_hear(struct publisher *publisher, const struct target *target, uint64_t revision,
                        uint64_t now_ns);
/* Retires what lies below the scopes that were heard of, until `work` entries and scopes were seen to. True while there is more.
 * A scope is done with when nothing is left there, or when a poll was applied that began after it was heard of. */
bool publisher_hear_slice(struct publisher *publisher, uint64_t now_ns, uint64_t work);

/* ---- invalidation on demand ------------------------------------------------------------------------------------- */

/* Retires entries; the next check fills them again. Each returns the number of entries retired. A role's sets are closed
 * and their entries leave them at the next check. */
uint64_t publisher_retire_user(struct publisher *publisher, uint64_t user);
/* Before the first slice of a scope: see publisher_kept_version. */
void publisher_outdate_kept(struct publisher *publisher);
/* At and below the scope, in slices: takes one off *work for each entry and each scope, and stops at 0; adds to *retired. True
 * while something is left. When it says false nothing is, whatever was filled since the first slice. */
bool publisher_retire_scope(struct publisher *publisher, struct scope_key scope, uint64_t *work,
                            uint64_t *retired);
uint64_t publisher_retire_role(struct publisher *publisher, uint64_t role);
/* Another number after publisher_outdate_kept and publisher_retire_role: whoever remembers apart from the table what the store said reads it again. */
uint64_t publisher_kept_version(const struct publisher *publisher);
/* One entry, and the one that answers for the scope when it is folded. */
uint64_t publisher_retire_user_at(struct publisher *publisher, uint64_t user, struct scope_key scope);

/* ---- a pass over all that is resident, in slices (scan.c) ----------------------------------------------- */

/* Whom to retire: users, and scopes with all that lies below them. NULL: none of these. */
struct publisher_match {
    bool (*user)(void *context, uint64_t user);
    bool (*scope)(void *context, struct scope_key scope);
    void *context;
};

/* Where a pass has come to. Plain data: it may be thrown away at any time. */
struct publisher_scan {
    uint64_t generation; /* of the table that it looks at */
    uint32_t fold, slot; /* the next ones to look at */
};

void publisher_scan_begin(const struct publisher *publisher, struct publisher_scan *scan);
/* Looks on, and retires what matches, until `work` slots, entries and scopes were seen to; adds to *retired. True while there is more to look at. What was
 * resident at the beginning and is still there has been looked at when it says false, whatever was filled, retired or moved
 * between two slices; what was filled meanwhile may have been. Ends at once when the table was rebuilt. */
bool publisher_scan_slice(struct publisher *publisher, struct publisher_scan *scan, uint64_t work,
                          const struct publisher_match *match, uint64_t *retired);

#endif
