/* Answering: the way of a question from a client to its answer, from the table or by a fill. Fills are started in
 * fair order: a client with one question does not wait for the thousand of another. On the loop's thread. */
#ifndef PERMTAB_ANSWER_ANSWER_H
#define PERMTAB_ANSWER_ANSWER_H

#include "proxy/answer/decide.h"
#include "proxy/answer/reads.h"
#include "proxy/base/failure.h"
#include "proxy/table/fill.h"

struct answering;
struct ask;
struct ask_queue;
struct counters;
struct event_base;
struct feed;
struct fill_wait;
struct keys;
struct l2;
struct l2_wait;
struct store_threads;

/* Everything that the options point to is borrowed. */
struct answering_options {
    struct event_base *base;
    struct publisher *publisher;
    struct feed *feed;
    struct l2 *l2;                 /* asked before the store; NULL: there is none */
    struct store_threads *primary; /* of the store */
    struct store_threads *replica; /* of its replica; NULL: there is none */
    struct keys *keys;             /* where it is noted what was asked for; NULL: nowhere */
    struct counters *counters;
    unsigned threads;       /* of each of them */
    uint64_t timeout_ms;    /* a question that has waited so long fails */
    uint64_t strangers_max; /* users with rows of their own; 0: no user counts as a stranger */
};

int answering_new(struct answering **out, const struct answering_options *options,
                  struct failure *failure) PERMTAB_MUST_CHECK;
/* Lets go of reads under way: their facts are for nobody from now on. No ask may be under way. */
void answering_end(struct answering *answering);
/* To be called after answering_end, and after store_threads_free of both. */
void answering_free(struct answering *answering);

/* ---- asking ------------------------------------------------------------------------------------------------------ */

/* The questions of one client that wait. Embedded in its session; zeroed is empty. */
struct ask_flow {
    /* Of the warm-up, set by its owner: their turn comes when nobody else waits, or after many of those who keep a
     * queue. They wait as long as it takes, are not noted, displace no entry (PERMTAB_E_FULL), and make none for
     * places that are not there and users without rows (PERMTAB_E_NOT_FOUND; _BUSY: it is not known yet whether the
     * user has any). */
    bool warms;
    struct use_share *share; /* the client's, whose hits keep entries in the table; NULL: they do not */
    struct ask *asks;       /* those that wait, the oldest first */
    unsigned waiting;       /* in this list */
    unsigned running;       /* being filled */
    unsigned catching_up;   /* waiting for the feed to reach a token */
    struct ask_flow **list; /* the list of the ask_queue that it is in; NULL when nothing waits */
    uint64_t queued_ns; /* since when it is in that list */
    uint64_t served_ns; /* when a fill of its last ended, or it came; 0: never */
    struct ask_flow *prev, *next;
};

/* code 0: `answer` is good and borrowed for the call. PERMTAB_E_STALE: unknown, `text` says why. Else a
 * failure. Called once, perhaps before ask_start returns. The ask may be freed or started again inside. */
typedef void (*ask_done_fn)(struct ask *ask, int code, const char *text, const struct answer *answer);

/* ask.c has the drawing. */
enum ask_state { ASK_IDLE, ASK_LOOKING, ASK_WAITING, ASK_RUNNING, ASK_CATCHING_UP };

/* An ask, owned by the caller, which fills in the first part. */
struct ask {
    struct question question;
    ask_done_fn done;
    void *context;
    bool more_follow; /* it is of a list, which goes on: a reader of one thing it is not, though it may be the first */

    /* When it is told: whether the store said so, just now. The table, L2 and what is kept of strangers do not know
     * whether the store is there. */
    bool was_read;

    /* private */
    enum ask_state state;
    bool looked; /* into L2 */
    enum read_lane lane; /* once it was about to wait, or to be filled */
    uint64_t waits_ns;   /* since when it waits for its turn */
    struct ask_queue *asks;
    struct ask_flow *flow;
    struct l2_wait *l2_wait;         /* ASK_LOOKING */
    struct fill_wait *wait;          /* ASK_RUNNING, ASK_CATCHING_UP */
    struct ask *prev, *next;         /* ASK_WAITING */
    struct ask *all_prev, *all_next; /* the same, but for the warm-up's */
};

void ask_start(struct answering *answering, struct ask_flow *flow, struct ask *ask);
/* Forgets the ask; done is not called. Does nothing when it is not under way. */
void ask_cancel(struct ask *ask);

/* Many users at one place together, for the warm-up. `results`: an enum slice_result of each of facts->users. A
 * failure: nothing was read, and there are no results. */
typedef void (*slice_done_fn)(void *context, int code, const char *text, const struct facts_slice *facts,
                              const uint8_t *results);
struct slice;

enum slice_source {
    SLICE_OF_STORE,
    SLICE_OF_L2, /* does not fail later: whoever is not there is SLICE_ALONE, and so are all when Redis fails */
};

/* `users` are ascending, each once, 1 to answering_slice_max. `done` is called later, never from inside, unless it is
 * cancelled. PERMTAB_E_MEMORY; of L2 also _UNREACHABLE, _FULL. */
int answering_slice(struct slice **out, struct answering *answering, enum slice_source source,
                    struct scope_key scope, const uint64_t *users, size_t count, slice_done_fn done,
                    void *context) PERMTAB_MUST_CHECK;
/* How many users a slice of that place may have. 0: none is begun just now, because Redis is away or slow. */
size_t answering_slice_max(const struct answering *answering, enum slice_source source,
                           struct scope_key scope);
void answering_slice_cancel(struct slice *slice);

/* Notes what a client says that it hits: a hint for the next start, and for what stays in the table (table/use.h). It
 * counts only if the table has it, because it may be made up. */
void answering_sampled(struct answering *answering, const struct ask_flow *flow, uint64_t user,
                       struct scope_key scope);

/* Somebody else's work for the warm-up on a thread of the store (read_guest_begin): it takes the place of its reads. */
void answering_guest_begin(struct answering *answering, struct read_guest *guest);
/* The time that reads and guests for the warm-up have taken at the store, all connections together. */
uint64_t answering_warm_ns(const struct answering *answering);

/* Whether users without rows are told from the others: they are counted in the background after a start. */
bool answering_knows_users(const struct answering *answering);

/* ---- what happens elsewhere -------------------------------------------------------------------------------------- */

/* To be called when a poll was applied, after l2_applied, because fills put values after the marker has moved. NULL
 * does nothing. */
void answering_applied(struct answering *answering, uint64_t revision);
/* Reads a value again that L2 is about to forget and that is being asked for; nobody waits for it. */
void answering_refresh(struct answering *answering, uint64_t user, struct scope_key scope);

#endif
