/* L2: rows read from the store, kept in Redis for the other hosts and for this one after a restart. It is a replica
 * that applies the store's log. docs/COHERENCE.md has the argument; in short:
 *
 *   The marker says (store, revision, nonce, epoch). Invariant: every value under its epoch is true at its revision.
 *   - A value is put only by a script that finds the marker exactly where the host's table stands, in the epoch in
 *     which the host began to read it.
 *   - The marker moves only by a script that finds it exactly where the list of changes begins, and removes in the
 *     same step every value that the list touches. The first host that sees a new revision does it, for the fleet.
 *   - A value is read together with the marker. Behind the table: a miss. At the table: good. Ahead of it: good once
 *     the table is there and no change has touched the value since (the same fence as for any fill).
 *   - A marker that is missing, foreign, of another history or too far behind is replaced by one with a new epoch.
 *     Unless somebody else replaces it in turn: then L2 is left to the other.
 *
 * So a lost UNLINK, a late put, an emptied or a restored Redis cost time. All calls on the loop's thread; nothing
 * blocks. */
#ifndef PERMTAB_L2_L2_H
#define PERMTAB_L2_L2_H

#include "proxy/base/counters.h"
#include "proxy/feed/feed.h"
#include "proxy/redis/redis.h"
#include "proxy/rights/facts_slice.h"
#include "proxy/store/threads.h"
#include "proxy/table/fill.h"
#include "proxy/table/publisher.h"

struct l2;
struct l2_wait; /* a wait for an answer of L2 */

struct l2_options {
    /* Borrowed until l2_free. */
    struct event_base *base;
    struct redis *redis; /* may be disconnected; is freed before L2 is */
    struct publisher *publisher;
    struct feed *feed;
    struct store_threads *pool; /* for the store's log */
    struct counters *counters;
    /* refresh: a value is about to end and is being asked for; reads it from the store again. May be NULL. */
    void (*refresh)(void *context, uint64_t user, struct scope_key scope);
    /* epoch: a new epoch has begun; starts a sweep of the old epochs' keys. May be NULL. */
    void (*epoch)(void *context);
    void *context;
    /* Copied. */
    uint64_t host_id;    /* the token of our locks */
    const char *prefix;  /* of all keys and of the channel */
    uint64_t timeout_ms; /* of a command to Redis; the breaker judges slowness by it */
    uint64_t ttl_ms;
    bool values; /* false: the marker is kept and messages are sent for the fleet, nothing is read or put */
    /* For tests; 0: the defaults. How often another's marker may be replaced (contest.c), and for how long L2 is
     * left to the other at first. */
    uint64_t contests_max, yield_ms;
};

int l2_new(struct l2 **out, const struct l2_options *options) PERMTAB_MUST_CHECK;
void l2_free(struct l2 *l2);

/* To be called from the redis_state_fn. */
void l2_connected(struct l2 *l2, bool connected);
/* To be called when a poll was applied: brings the marker to the table's revision, unless another host has. */
void l2_applied(struct l2 *l2);

/* To be called with each news of the feed, good or bad. When the store is not believed any more, it erases the
 * marker, so that no host, this one after a restart included, believes it before a new epoch has begun. It tries
 * again until that is done. */
void l2_erase_if_distrusted(struct l2 *l2);

/* The present epoch of values. False, and 0, while it is not known. */
bool l2_epoch(const struct l2 *l2, uint64_t *epoch);
/* To be called when a message says that the marker stands at this revision. */
void l2_heard(struct l2 *l2, uint64_t revision);
/* Begins a new epoch at once: everything in L2 is forgotten. The old keys stay for a clean-up. */
void l2_flush(struct l2 *l2);
/* l2_flush, but at most once a minute: for a host that has found its own answers wrong, cannot tell whether L2 or
 * its memory is to blame, and so may call it again and again. Until the flush this host does not look into L2. */
void l2_flush_sparingly(struct l2 *l2);

/* ---- reading ----------------------------------------------------------------------------------------------------- */

enum l2_outcome {
    L2_ANSWERED, /* `answer` is good, and in the table; borrowed for the call */
    L2_MISSED,   /* ask the store, and put its facts */
};
typedef void (*l2_done_fn)(void *context, enum l2_outcome outcome, const struct answer *answer);

/* Looks for the values needed to answer for (user, scope) not older than `revision`. `warms`: for the warm-up, which is
 * no miss. NULL when L2 is of no use just now (away, slow, too much under way): ask the store. done is called later,
 * never from inside. All looks of one turn of the loop go to Redis together. */
struct l2_wait *l2_lookup_start(struct l2 *l2, uint64_t user, struct scope_key scope, uint64_t revision,
                                bool warms, l2_done_fn done, void *context);
void l2_lookup_cancel(struct l2_wait *wait);

/* ---- many at a place, for the warm-up ---------------------------------------------------------------------------- */

struct l2_place; /* a read of one */

/* Users of one read, where they have no more than eight scopes each. Redis is busy with it for a quarter of a
 * millisecond, and so is the loop at most: nobody waits for longer behind it. It is up to twice that at a deeper place
 * of which the table has nobody yet, so that its levels are not known. */
#define L2_PLACE_USERS_MAX 64u

/* epoch: under which the values were found; 0: nothing is known of anybody in the slice. */
typedef void (*l2_place_fn)(void *context, uint64_t epoch);

/* How many users of a place one read may be of: fewer at a deep one. 0: none is begun just now, because Redis is away
 * or slow, or L2 is to be forgotten. */
size_t l2_place_max(const struct l2 *l2, struct scope_key scope);
/* Makes kinds, without definitions of roles, of what L2 has of the slice's users, as of the marker's revision. The
 * others are FACTS_SLICE_ALONE: l2_lookup_start looks for each. `slice` is borrowed until done is called, or the read
 * is left. done is called later, never from inside. PERMTAB_E_UNREACHABLE, _FULL, _MEMORY. */
int l2_place_read(struct l2_place **out, struct l2 *l2, struct facts_slice *slice, l2_place_fn done,
                  void *context) PERMTAB_MUST_CHECK;
/* done is not called. */
void l2_place_leave(struct l2_place *place);
/* Whether values of that epoch may be published still: it has not ended, and L2 is not to be forgotten. To be asked
 * right before. */
bool l2_place_counts(const struct l2 *l2, uint64_t epoch);

/* ---- putting ----------------------------------------------------------------------------------------------------- */

/* Puts facts that publisher_fill has just published. `cost_us`: the time that reading them took. Takes over the
 * contents of `facts`. `epoch`: that of l2_epoch when the reading began, 0 when it was not known. `refresh`: it
 * replaces a value that is about to end. */
void l2_put(struct l2 *l2, struct facts *facts, uint64_t epoch, uint64_t cost_us, bool refresh);

#endif
