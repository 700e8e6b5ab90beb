/* Reads of a store for fetches, each in the lane of those who wait for it. What waits in a lane when a thread may be
 * used for it is read together: many users in one snapshot and a few statements. On the loop's thread. */
#ifndef PERMTAB_ANSWER_READS_H
#define PERMTAB_ANSWER_READS_H

#include "proxy/answer/places.h"
#include "proxy/base/counters.h"
#include "proxy/rights/facts.h"
#include "proxy/store/threads.h"

struct event_base;
struct publisher;
struct reads;
struct read; /* one that waits, or is under way */

/* Who waits for a read: the first come first. */
enum read_lane {
    READ_ONE,  /* a client that asks for nothing else */
    READ_LIST, /* a client that keeps a queue */
    READ_WARM, /* nobody: the warm-up, or what L2 is about to forget */
    READ_LANES
};

/* At most so many go together; of lists, at one place that is known, so many. */
#define READ_TOGETHER_MAX STORE_FACTS_MANY
#define READ_LIST_MAX     STORE_KNOWN_MANY
/* So many of clients that keep a queue may be under way (ask.c). */
#define READ_QUEUED_MAX 4096u

struct read_source {
    uint64_t store_id; /* of the store that was read */
    uint64_t cost_ns;  /* the time that it took, also in vain; of a read of many each one's share */
};

/* code 0: `facts` are there, and the callee takes their contents. Else a failure, which has its `source`, too. */
typedef void (*read_done_fn)(void *context, int code, const char *text, struct facts *facts,
                             const struct read_source *source);

/* Everything that the options point to is borrowed. */
struct reads_options {
    struct event_base *base;
    struct store_threads *pool;
    unsigned threads; /* of the pool */
    struct publisher *publisher;
    struct places *places; /* NULL: nothing is kept of places */
    struct counters *counters;
};

int reads_new(struct reads **out, const struct reads_options *options) PERMTAB_MUST_CHECK;
/* To be called after store_threads_free, and when no read is there any more. */
void reads_free(struct reads *reads);

struct read_how {
    enum read_lane lane;
    bool whole; /* with the definitions of roles. Else they may be missing (facts.without_roles) */
    bool refresh; /* for what L2 is about to forget: the warm-up does not pay for it, though it goes with its reads */
    struct places_time time; /* when it began */
};

/* `done` is called later, never from inside, unless it is cancelled. PERMTAB_E_FULL when too many wait;
 * PERMTAB_E_MEMORY. */
int read_begin(struct read **out, struct reads *reads, const struct facts_key *key, struct read_how how,
               read_done_fn done, void *context) PERMTAB_MUST_CHECK;
void read_cancel(struct read *read);
/* Somebody waits for it now who is of that lane; it never goes back to a later one. */
void read_hurry(struct read *read, enum read_lane lane);
/* Whether no thread has it yet. */
bool read_waits(const struct read *read);
/* Somebody else's work that takes a thread as a job of the warm-up's lane does, which may begin no other meanwhile.
 * Embedded by its owner, zeroed but for `run` and `done`. */
struct read_guest {
    /* On a thread, as that of a store_job. */
    int (*run)(struct read_guest *guest, struct store *store, struct failure *failure);
    /* On the loop, after it; owns the guest again. Nothing is called from inside of read_guest_begin. */
    void (*done)(struct read_guest *guest);

    /* private */
    struct store_job job;
    struct reads *reads;
    bool waits;       /* no thread has it yet */
    uint64_t took_ns; /* of the thread's time */
    struct read_guest *prev, *next;
};

void read_guest_begin(struct reads *reads, struct read_guest *guest);
/* True when no thread has it yet: it is the caller's again, and will not be `done`. */
bool read_guest_withdraw(struct read_guest *guest);
/* The time that reads for the warm-up and guests have taken, those included that were cancelled meanwhile. A read that
 * a client waited for, too, in the end is not the warm-up's. */
uint64_t reads_warm_ns(const struct reads *reads);
/* Whether a read that comes now finds a thread at once, perhaps together with others. */
bool reads_would_begin(const struct reads *reads, enum read_lane lane);

#endif
