/* Asks: questions of clients on their way to an answer, from the table or by a fill. Fills are started in
 * fair order: one client with a thousand questions does not make another with one wait for them. On the
 * loop's thread. */
#ifndef PERMTAB_ANSWER_ASK_H
#define PERMTAB_ANSWER_ASK_H

#include "proxy/answer/decide.h"
#include "proxy/answer/fill.h"
#include "proxy/answer/strangers.h"
#include "proxy/feed/feed.h"
#include "proxy/table/fill.h"
#include "proxy/table/publisher.h"

struct ask_queue;
struct l2;
struct l2_wait;
struct ask;
struct flow_list;

/* The questions of one client that wait. Embedded in its session; zeroed is empty. */
struct ask_flow {
    struct ask *head;
    struct ask *tail;
    unsigned waiting;       /* in this list */
    unsigned running;       /* being filled */
    unsigned catching_up;   /* wait for the feed to reach a token */
    struct flow_list *list; /* of ask.c; NULL when nothing waits */
    struct ask_flow *next;
    struct ask_flow *previous;
};

/* code 0: `answer` is good and borrowed for the call. PERMTAB_E_STALE: unknown, `text` says why. Else a
 * failure. Called once, perhaps before ask_start returns. The ask may be freed or started again inside. */
typedef void (*ask_done_fn)(struct ask *ask, int code, const char *text, const struct answer *answer);

/* Owned by the caller, who fills in the first part. */
struct ask {
    struct question question;
    ask_done_fn done;
    void *context;

    /* private */
    enum { ASK_IDLE, ASK_LOOKING, ASK_WAITING, ASK_RUNNING, ASK_CATCHING_UP } state;
    bool looked; /* into L2 */
    uint64_t begun_ns;
    struct ask_queue *asks;
    struct ask_flow *flow;
    struct fill_wait *wait;
    struct l2_wait *l2_wait;
    struct ask *next;
    struct ask *previous;
};

/* All of it is borrowed. */
struct ask_queue_options {
    struct event_base *base;
    struct publisher *publisher;
    struct feed *feed;
    struct fills *fills;
    const struct strangers *strangers; /* NULL: nobody is one */
    struct l2 *l2;                     /* looked into before the store is asked; NULL: there is none */
    unsigned running_max;              /* fills under way at once */
    uint64_t timeout_ms;               /* a question that has waited so long fails */
};

int ask_queue_new(struct ask_queue **out, const struct ask_queue_options *options) PERMTAB_MUST_CHECK;
/* No ask may be under way. */
void ask_queue_free(struct ask_queue *asks);

void ask_start(struct ask_queue *asks, struct ask_flow *flow, struct ask *ask);
/* Forgets it; done is not called. Nothing happens when it is not under way. */
void ask_cancel(struct ask *ask);

#endif
