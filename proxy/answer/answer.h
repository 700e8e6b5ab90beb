/* Answering: the way of a question from a client to its answer, from the table or by a fill. Fills are started in fair
 * order: one client with a thousand questions does not make another with one wait for them. On the loop's thread. */
#ifndef PERMTAB_ANSWER_ANSWER_H
#define PERMTAB_ANSWER_ANSWER_H

#include "proxy/answer/decide.h"
#include "proxy/base/failure.h"
#include "proxy/table/fill.h"

struct answering;
struct ask;
struct ask_queue;
struct counters;
struct event_base;
struct feed;
struct fill_wait;
struct l2;
struct l2_wait;
struct store_threads;

/* All of it is borrowed. */
struct answering_options {
    struct event_base *base;
    struct publisher *publisher;
    struct feed *feed;
    struct l2 *l2;                 /* looked into before the store is asked; NULL: there is none */
    struct store_threads *primary; /* of the store */
    struct store_threads *replica; /* of its replica; NULL: there is none */
    struct counters *counters;
    unsigned threads;       /* of each of them */
    uint64_t timeout_ms;    /* a question that has waited so long fails */
    uint64_t strangers_max; /* users with rows of their own; 0: nobody is a stranger */
};

int answering_new(struct answering **out, const struct answering_options *options,
                  struct failure *failure) PERMTAB_MUST_CHECK;
/* Reads that are under way are for nobody from now on. No ask may be under way. */
void answering_end(struct answering *answering);
/* After answering_end, and after store_threads_free of both. */
void answering_free(struct answering *answering);

/* ---- asking ------------------------------------------------------------------------------------------------------ */

/* The questions of one client that wait. Embedded in its session; zeroed is empty. */
struct ask_flow {
    struct ask *asks;       /* that wait, the oldest first */
    unsigned waiting;       /* in this list */
    unsigned running;       /* being filled */
    unsigned catching_up;   /* wait for the feed to reach a token */
    struct ask_flow **list; /* of the ask_queue: the one that it is in; NULL when nothing waits */
    struct ask_flow *prev, *next;
};

/* code 0: `answer` is good and borrowed for the call. PERMTAB_E_STALE: unknown, `text` says why. Else a
 * failure. Called once, perhaps before ask_start returns. The ask may be freed or started again inside. */
typedef void (*ask_done_fn)(struct ask *ask, int code, const char *text, const struct answer *answer);

/* ask.c has the drawing. */
enum ask_state { ASK_IDLE, ASK_LOOKING, ASK_WAITING, ASK_RUNNING, ASK_CATCHING_UP };

/* Owned by the caller, who fills in the first part. */
struct ask {
    struct question question;
    ask_done_fn done;
    void *context;

    /* private */
    enum ask_state state;
    bool looked; /* into L2 */
    uint64_t begun_ns;
    struct ask_queue *asks;
    struct ask_flow *flow;
    struct l2_wait *l2_wait; /* ASK_LOOKING */
    struct fill_wait *wait;  /* ASK_RUNNING, ASK_CATCHING_UP */
    struct ask *prev, *next; /* ASK_WAITING */
};

void ask_start(struct answering *answering, struct ask_flow *flow, struct ask *ask);
/* Forgets it; done is not called. Nothing happens when it is not under way. */
void ask_cancel(struct ask *ask);

/* ---- what happens elsewhere -------------------------------------------------------------------------------------- */

/* A poll was applied; after l2_applied, for what fills put comes after the marker. NULL does nothing. */
void answering_applied(struct answering *answering, uint64_t revision);
/* L2 is about to forget what is being asked for: it is read again, and nobody waits. */
void answering_refresh(struct answering *answering, uint64_t user, struct scope_key scope);
/* The store was found to have changed in ways that its log does not tell: nothing counts that is kept of strangers. */
void answering_forget_strangers(struct answering *answering);

#endif
