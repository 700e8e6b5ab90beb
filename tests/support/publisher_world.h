/* A publisher and the truth beside it, for test_publisher_property.c: a policy in memory that changes at random, a
 * copy of it as at the publisher's revision, and all that may happen to a publisher. publisher_comparison.c compares;
 * publisher_world.c lets things happen. */
#ifndef PERMTAB_TESTS_SUPPORT_PUBLISHER_WORLD_H
#define PERMTAB_TESTS_SUPPORT_PUBLISHER_WORLD_H

#include "proxy/table/private.h"
#include "proxy/table/retire.h"
#include "tests/support/changing_policy.h"

#define PENDING 12
#define SECOND  1000000000ull

/* A slice that was read, and how far it is published. */
#define WORLD_SLICES      3
#define WORLD_SLICE_USERS 8
struct world_slice {
    struct facts_slice *facts; /* NULL: there is none */
    uint8_t results[WORLD_SLICE_USERS];
    size_t published;
};

struct publisher_world {
    struct changing_policy past;  /* as committed, and the change rows that are not applied yet */
    struct memory_policy applied; /* as at the publisher's revision */
    int64_t applied_now;
    int64_t applying_now; /* between two slices of a batch: its clock; else 0 */
    uint64_t slices;      /* that were not the last ones */
    struct publisher *publisher;
    struct counters counters;
    struct facts pending[PENDING]; /* fills that are under way */
    bool is_pending[PENDING];
    uint64_t clock_ns;
    uint64_t agreed;                               /* audits */
    bool grows;                                    /* has two tables at times */
    uint64_t handed_over, ended, released, beside; /* beside: entries compared in a second table */
    bool next_was_full;                            /* the table that is copied to: it may have made room */
    uint64_t copied;                               /* entries that had to be copied and were */
    struct publisher_scan scan;
    bool scanning;
    uint64_t scanned; /* passes that went on over a table that came or went */
    struct use_share shares[2]; /* of clients that say what they use */
    uint64_t used;
    struct world_slice slices_read[WORLD_SLICES];
    uint64_t slice_late; /* of those that were filled: something had changed since */
    uint64_t slice_filled, slice_resident, slice_alone, slice_no_room;
    uint64_t slice_short;  /* alone although nothing had changed: there was no set */
    uint64_t slice_beside; /* looked for in a second table */
    uint64_t slice_held;   /* calls in which a message was heard */
};

/* ---- what happens ------------------------------------------------------------------------------------------------ */

struct publisher_totals {
    struct counters counters;
    uint64_t slices, audits, handed_over, ended, released, beside, scanned, used, copied;
    uint64_t slice_filled, slice_late, slice_resident, slice_alone, slice_no_room;
    uint64_t slice_short, slice_beside, slice_held;
};

/* A history of so many steps; adds to *totals. `grows`: there are two tables at times. Of the options, entries, sets
 * and folds count. */
void publisher_world_run(uint64_t seed, int steps, bool grows, const struct publisher_options *options,
                         struct publisher_totals *totals);

/* Of publisher_world.c: the clock by which facts are judged; to be called after all that fills next. */
int64_t publisher_world_latest(const struct publisher_world *world, const struct facts *facts);
void publisher_world_filled(struct publisher_world *world);

/* publisher_world_slices.c. */
void publisher_world_slice_begin(struct publisher_world *world);
void publisher_world_slice_on(struct publisher_world *world);
/* The store was replaced: some lose their old stamp, and may be told by the nonce. */
void publisher_world_slices_restamp(struct publisher_world *world);
void publisher_world_slices_end(struct publisher_world *world);

/* ---- comparisons, which fail the test ---------------------------------------------------------------------------- */

/* The answer is what the policy says at the publisher's revision, and at that time. */
void publisher_world_compare(struct publisher_world *world, uint64_t user, struct scope_key scope,
                             const struct answer *answer, int64_t now);
/* All tables: each entry, what readers find, and the header. */
void publisher_world_compare_all(struct publisher_world *world);
/* The auditor finds no fault in any table with the entry that these facts are of; with any entry. */
void publisher_world_audit(struct publisher_world *world, struct facts *facts);
void publisher_world_audit_all(struct publisher_world *world);
/* Who was filled is found in each table, unless there was no set: `exhausted` is that counter before. */
void publisher_world_found(struct publisher_world *world, const struct facts *facts, uint64_t exhausted);
/* Nobody finds the user, or anything at or below the scope, in any table. */
void publisher_world_gone(struct publisher_world *world, uint64_t user, bool all_users,
                          struct scope_key scope, bool all_scopes);
/* What the retired table has, and the new one had room for, is in the new one. What makes room in one of them may stay
 * in the other: each has a queue and a hand of its own. */
void publisher_world_copied(struct publisher_world *world);

#endif
