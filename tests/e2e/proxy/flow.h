/* One direction of a connection: bytes that wait for their time, in the order of their times. */
#ifndef PERMTAB_E2E_FLOW_H
#define PERMTAB_E2E_FLOW_H

#include "tests/e2e/proxy/rules.h"

#include <stddef.h>

struct bufferevent;
struct event_base;
struct event;
struct chunk;

struct flow_counts {
    uint64_t bytes, messages, dropped, duplicated, reordered, held, garbled, corrupted;
};

struct flow {
    struct bufferevent *to; /* borrowed */
    struct event *timer;
    struct chunk *first;
    size_t queued;      /* bytes */
    uint64_t due_ns;    /* of the last chunk of the stream; what was held is not counted */
    struct chunk *swap; /* a message that lets the next one pass first */
};

#define FLOW_QUEUE_MAX (1024u * 1024)

int flow_init(struct flow *flow, struct event_base *base, struct bufferevent *to);
void flow_fini(struct flow *flow);

/* Copies the bytes; they are written when their time has come, which may be at once. */
void flow_pass(struct flow *flow, const struct rules *rules, enum direction direction, struct dice *dice,
               const char *bytes, size_t size);
/* One whole value of a subscription, to which the rules of messages apply. */
void flow_message(struct flow *flow, const struct rules *rules, struct dice *dice, struct flow_counts *counts,
                  const char *bytes, size_t size);
bool flow_empty(const struct flow *flow);

#endif
