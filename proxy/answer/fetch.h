/* Fetches: the facts for a fill, from the nearest place that may be believed.
 *
 *   facts kept of strangers     no read at all
 *   a replica of the store      the first read of a fill, while it answers in time and mostly with what is still true
 *   the primary store           everything else, and each repeat; rows of the user alone where the place is kept
 *
 * Wherever they come from, facts are judged by publisher_fill: by their revision, its nonce and the history since. So
 * a replica that lags, or follows another history, costs a read. On the loop's thread. */
#ifndef PERMTAB_ANSWER_FETCH_H
#define PERMTAB_ANSWER_FETCH_H

#include "proxy/answer/reads.h"
#include "proxy/answer/strangers.h"
#include "proxy/base/counters.h"
#include "proxy/store/threads.h"
#include "proxy/table/fill.h"
#include "proxy/table/publisher.h"

struct event_base;
struct fetches;
struct fetch; /* a fetch under way */

enum fetch_from { FETCH_KEPT, FETCH_REPLICA, FETCH_PRIMARY };

/* The origin of facts, kept with them until they are published. */
struct fetch_origin {
    enum fetch_from from;
    uint64_t begun_ns;
    uint64_t cost_ns; /* the time that its reads took, those in vain included */
    bool early; /* the facts were found to be ahead of the table once */
    struct places_time time; /* when the read began */
};

/* code 0: `facts` are there, and the callee takes their contents. Else a failure, which has its `origin`, too. */
typedef void (*fetch_done_fn)(void *context, int code, const char *text, struct facts *facts,
                              const struct fetch_origin *origin);

/* Everything that the options point to is borrowed. */
struct fetch_options {
    struct event_base *base;
    struct store_threads *primary;
    struct store_threads *replica; /* NULL: none */
    unsigned threads;              /* of each of them */
    struct strangers *strangers;   /* NULL: no user counts as one */
    struct places *places;         /* NULL: nothing is kept of places */
    struct publisher *publisher;
    struct counters *counters;
};

int fetches_new(struct fetches **out, const struct fetch_options *options) PERMTAB_MUST_CHECK;
/* To be called after store_threads_free of both, and when no fetch is under way. */
void fetches_free(struct fetches *fetches);

struct fetch_how {
    bool again; /* not the first try, so it goes to the primary, and is read whole */
    bool refresh; /* read_how.refresh */
    enum read_lane lane;
};

/* Begins a fetch. `done` is called later, never from inside, unless it is cancelled. PERMTAB_E_FULL when too many wait
 * for the store; PERMTAB_E_MEMORY. */
int fetch_begin(struct fetch **out, struct fetches *fetches, uint64_t user, struct scope_key scope,
                struct fetch_how how, fetch_done_fn done, void *context) PERMTAB_MUST_CHECK;
void fetch_cancel(struct fetch *fetch);
/* Somebody of that lane waits for it now (read_hurry). */
void fetch_hurry(struct fetch *fetch, enum read_lane lane);
/* Whether nothing has been read for it yet. */
bool fetch_waits(const struct fetch *fetch);

/* read_guest_begin, of the primary store's threads. */
void fetches_guest_begin(struct fetches *fetches, struct read_guest *guest);
/* reads_warm_ns, of both stores. */
uint64_t fetches_warm_ns(const struct fetches *fetches);

/* 0: the facts are of a place that is there and a user with rows. PERMTAB_E_NOT_FOUND: they are not. PERMTAB_E_BUSY:
 * that is not known before all users have been counted. */
int fetch_is_known(const struct fetches *fetches, const struct facts *facts) PERMTAB_MUST_CHECK;
/* Calls publisher_fill, and counts its outcome for the breaker and the strangers. PUBLISHER_OUTDATED: fetch again. */
enum publisher_outcome fetch_publish(struct fetches *fetches, struct facts *facts,
                                     struct fetch_origin *origin, uint64_t now_ns, struct answer *answer);

#endif
