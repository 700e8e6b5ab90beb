/* The queue of asks: which question is filled next. */
#ifndef PERMTAB_ANSWER_ASK_H
#define PERMTAB_ANSWER_ASK_H

#include "proxy/answer/answer.h"
#include "proxy/answer/fill.h"
#include "proxy/answer/strangers.h"
#include "proxy/feed/feed.h"

/* Everything that the options point to is borrowed. */
struct ask_queue_options {
    struct event_base *base;
    struct publisher *publisher;
    struct feed *feed;
    struct fills *fills;
    const struct strangers *strangers; /* NULL: no user counts as one */
    struct l2 *l2;                     /* asked before the store; NULL: there is none */
    struct keys *keys;                 /* NULL: none */
    struct counters *counters;
    unsigned running_max; /* fills of single questions under way: as many as all threads read at a time */
    unsigned warm_max;    /* and of the warm-up */
    uint64_t timeout_ms;  /* a question that has waited so long for its turn fails */
};

int ask_queue_new(struct ask_queue **out, const struct ask_queue_options *options) PERMTAB_MUST_CHECK;
/* To be called when no ask is under way. */
void ask_queue_free(struct ask_queue *asks);
/* Notes that it was asked for, if the table has it. `weight`: of enum keys_weight. */
void ask_note(const struct ask_queue *asks, uint64_t user, struct scope_key scope, uint32_t weight);
/* The client of the flow says that it hits this. */
void ask_sampled(struct ask_queue *asks, const struct ask_flow *flow, uint64_t user,
                 struct scope_key scope);

#endif
