/* Retiring: entries are taken out of the table, and the next check fills them again. For messages, for
 * invalidations on demand, and for a pass over all resident entries. */
#ifndef PERMTAB_TABLE_RETIRE_H
#define PERMTAB_TABLE_RETIRE_H

#include "proxy/names/target.h"

#include <stdbool.h>
#include <stdint.h>

struct publisher;

/* ---- what messages say ------------------------------------------------------------------------------------------- */

/* A message says that revision `revision` changed this user or scope. From now on fills that were read before that
 * revision wait until a poll begun after now has been applied. A user's entries are retired at once, those below a
 * scope by the slices to come. Other kinds of targets are left to the poll, and so are scopes when too many were
 * heard. Returns how many entries were retired. */
uint64_t publisher_hear(struct publisher *publisher, const struct target *target, uint64_t revision,
                        uint64_t now_ns);
/* Retires the entries below scopes that were heard of, until `work` entries and scopes were looked at. True while
 * there is more. A scope is done when no entry is left there, or when a poll was applied that began after it was
 * heard of. */
bool publisher_hear_slice(struct publisher *publisher, uint64_t now_ns, uint64_t work);

/* ---- invalidation on demand -------------------------------------------------------------------------------------- */

/* What these return, or add to *retired, counts entries of the table that clients are handed. Beside it there may be
 * another one (grow.h), in which the same is retired. */

/* Retire the entries of a user: all, or the one at a scope and, when that is folded, the one that answers for it.
 * Return how many. */
uint64_t publisher_retire_user(struct publisher *publisher, uint64_t user);
uint64_t publisher_retire_user_at(struct publisher *publisher, uint64_t user, struct scope_key scope);
/* Closes the sets of a role; their entries leave them at the next check. Returns how many entries the sets have. */
uint64_t publisher_retire_role(struct publisher *publisher, uint64_t role);
/* Retires everything at and below a scope, in slices. publisher_retire_scope_begin outdates facts kept beside the
 * table (publisher_kept_version). A slice takes one off *work for each entry and each scope, and stops at 0; it
 * adds to *retired. True while something is left; false when nothing is, whatever was filled since
 * publisher_retire_scope_begin. */
struct publisher_retiring {
    struct scope_key scope;
};
void publisher_retire_scope_begin(struct publisher *publisher, struct publisher_retiring *retiring,
                                  struct scope_key scope);
bool publisher_retire_scope_slice(struct publisher *publisher, const struct publisher_retiring *retiring,
                                  uint64_t *work, uint64_t *retired);

/* A number that publisher_retire_role, publisher_retire_scope_begin, publisher_scan_begin and publisher_rebuild
 * change. Facts kept beside the table are to be read again when it differs from the number at which they were kept. */
uint64_t publisher_kept_version(const struct publisher *publisher);
/* The same for facts that say of all users what none of them was asked about, that a place is plain: whatever changes
 * publisher_kept_version changes it, and so do publisher_retire_user, publisher_retire_user_at and
 * publisher_scan_begin of users. */
uint64_t publisher_places_version(const struct publisher *publisher);
/* Outdates all facts kept beside the table: before it is made anew, or when something was not heard that could be about
 * them. */
void publisher_outdate_kept(struct publisher *publisher);
/* Outdates those of publisher_places_version alone. */
void publisher_outdate_places(struct publisher *publisher);

/* ---- a pass over all that is resident, in slices (scan.c) -------------------------------------------------------- */

/* The match of a pass: users, and scopes with everything below them. NULL: none of these. */
struct publisher_match {
    bool (*user)(void *context, uint64_t user);
    bool (*scope)(void *context, struct scope_key scope);
    void *context;
};

/* The state of a pass. Plain data: it may be thrown away at any time. */
struct publisher_scan {
    uint64_t generation; /* of the history in which it began */
    uint64_t tables;     /* the tables that were there: when others are, the pass begins again */
    bool other;          /* it is at the second table */
    uint32_t fold, slot; /* the next ones to look at */
    bool scopes;         /* may be retired */
};

/* Begins a pass for `match`; outdates facts kept beside the table when scopes may match. */
void publisher_scan_begin(struct publisher *publisher, struct publisher_scan *scan,
                          const struct publisher_match *match);
/* Goes on with a pass, and retires matches, until `work` slots, entries and scopes were looked at; adds to
 * *retired. True while there is more to look at. When it returns false, every entry that was resident at the
 * beginning and is still there has been looked at, whatever was filled, retired, moved or copied between two
 * slices; entries filled meanwhile may have been. Ends at once when the table was rebuilt. `match` is that of
 * publisher_scan_begin. */
bool publisher_scan_slice(struct publisher *publisher, struct publisher_scan *scan, uint64_t work,
                          const struct publisher_match *match, uint64_t *retired);

#endif
