/* Fills: facts that were read become an entry of the table and an answer, if they are still true. */
#ifndef PERMTAB_TABLE_FILL_H
#define PERMTAB_TABLE_FILL_H

#include "proxy/rights/facts.h"
#include "proxy/rights/facts_slice.h"

#include <stdbool.h>
#include <stdint.h>

struct publisher;

enum publisher_outcome {
    PUBLISHER_FILLED, /* in the table (unless no set or slot was free), and *answer is good */
    /* The facts are ahead of applied_revision, or a message speaks of a change after them: to be published again
     * after the next poll. */
    PUBLISHER_EARLY,
    PUBLISHER_OUTDATED, /* something in the facts has changed since: read again */
    PUBLISHER_FAILED,   /* out of memory */
};

/* An answer beside the table: two bitmaps of catalogue words, and when they were true. */
struct answer {
    uint64_t *any; /* malloc'ed, 2 * words; own follows any */
    uint64_t *own;
    uint32_t words;
    uint64_t revision;
    uint64_t deadline_ns;
};
void answer_fini(struct answer *answer);
/* A number that equal answers at the same catalogue share, and that others have with a chance of 2^-64. */
uint64_t answer_mark(const struct publisher *publisher, const struct answer *answer);

/* Publishes facts, read at facts->revision and judged at facts->now, if they are still true: this is the one fence
 * of all reads, wherever they were made. Takes over the definitions that it keeps out of facts->roles. */
enum publisher_outcome publisher_fill(struct publisher *publisher, struct facts *facts, uint64_t now_ns,
                                      struct answer *answer);
/* What has become of a user of a slice. */
enum slice_result {
    SLICE_OPEN,     /* nothing yet */
    SLICE_FILLED,
    SLICE_RESIDENT, /* was there */
    SLICE_ALONE,    /* to be read alone: it is of no kind, or something has changed since, or memory is short, or its
                     * roles are not known (facts.without_roles) */
    SLICE_NO_ROOM,  /* the table is full: for the warm-up none is displaced */
    SLICE_STRANGER, /* for the caller to say */
    SLICE_LATER,    /* likewise */
};

/* publisher_fill for `count` users of a slice from `from` on, as far as their results are SLICE_OPEN, for the warm-up.
 * Its kinds are stamped with a generation. Nobody is published who would not pass the fence alone. PUBLISHER_FILLED:
 * every one has a result. PUBLISHER_EARLY: none has, but after another batch; PUBLISHER_OUTDATED: they are all
 * SLICE_ALONE. */
enum publisher_outcome publisher_fill_many(struct publisher *publisher, struct facts_slice *slice, size_t from,
                                           size_t count, uint64_t now_ns, uint8_t *results);
/* The fence for those who keep facts that were published: whether they say what the store said at the applied
 * revision. */
bool publisher_still_true(const struct publisher *publisher, const struct facts *facts);
/* The part of the fence that is about the history of the table: whether it was made anew since the read of the facts
 * began. They are outdated then, and that is nobody's fault. */
bool publisher_rebuilt_since(const struct publisher *publisher, const struct facts *facts);

/* Whether all roles that count for these facts, ancestors included, have a resident definition, and the default ones
 * among them are default where the facts say so. Facts that bring no definitions of their own (they came from L2) may
 * be published only then. */
bool publisher_knows_roles(const struct publisher *publisher, const struct facts *facts);

/* Looks into the table as a reader would, without the lease. False when not resident. */
bool publisher_lookup(const struct publisher *publisher, uint64_t user, struct scope_key scope,
                      struct answer *answer);
/* Whether the table has a positive entry for it, leased or not. *at: the scope of the entry, which is another one when
 * `scope` is folded. */
bool publisher_resident(const struct publisher *publisher, uint64_t user, struct scope_key scope,
                        struct scope_key *at);
/* Brings near what publisher_resident will look at: a hint for those who ask for many. */
void publisher_fetch(const struct publisher *publisher, uint64_t user, struct scope_key scope);
/* The chain of a scope from global down, as the table knows it: a hint where to look. Returns the number of levels;
 * 0 when it does not know the scope. `out` has room for SCOPE_CHAIN_MAX. */
uint32_t publisher_chain(const struct publisher *publisher, struct scope_key scope, struct scope_key *out);
/* How many entries can be filled before one has to make room. */
uint64_t publisher_room(const struct publisher *publisher);

#endif
