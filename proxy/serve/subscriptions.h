/* Subscribers: clients that are told of invalidations, for caches of their own. They are told once this host's
 * table has applied a change, so that a client that drops an answer and asks again gets the new one. On the loop's
 * thread.
 *
 * Bounded: the number of subscribers, the targets a notification, a batch and a second, and the unsent output. A
 * subscriber that falls behind a bound is told nothing more until it has read its output; then one notification
 * says how many targets it missed and to drop everything. */
#ifndef PERMTAB_SERVE_SUBSCRIPTIONS_H
#define PERMTAB_SERVE_SUBSCRIPTIONS_H

#include "client/wire/wire.h"
#include "proxy/base/counters.h"
#include "proxy/names/target.h"
#include "proxy/table/batch.h"
#include "proxy/table/publisher.h"

struct subscriptions;
struct subscriber;

#define SUBSCRIBERS_MAX              256u
#define SUBSCRIBER_UNSENT_MAX        (256u * 1024u)
#define SUBSCRIBER_TARGETS_A_SECOND  20000u
#define SUBSCRIPTION_TARGETS_A_BATCH 5000u /* different targets; when there are more, `all` alone is told */
#define NOTIFICATION_TARGETS_MAX     1000u
#define SUBSCRIPTION_PREFIX_SIZE     TARGET_WORD_SIZE
#define SUBSCRIPTION_REASON_SIZE     128u

/* The kinds of targets that a subscriber is told of; bits. `all` is told to every subscriber. */
enum subscription_kind {
    SUBSCRIPTION_USER = 1,
    SUBSCRIPTION_ROLE = 2,
    SUBSCRIPTION_SCOPE = 4,
    SUBSCRIPTION_CATALOGUE = 8,
    SUBSCRIPTION_EVERYTHING = 15,
};

struct subscription {
    unsigned kinds;
    char prefix[SUBSCRIPTION_PREFIX_SIZE]; /* of the targets' text; "" for every target */
};

/* The subscriber's connection. `send` empties the buffer, and may end the subscriber. */
struct subscriber_port {
    size_t (*unsent)(const void *context);
    void (*send)(void *context, struct wire_buffer *message);
    void *context;
};

int subscriptions_new(struct subscriptions **out, const struct publisher *publisher,
                      struct counters *counters) PERMTAB_MUST_CHECK;
/* Every subscriber must have ended. */
void subscriptions_free(struct subscriptions *subscriptions);

/* PERMTAB_E_FULL, _MEMORY. */
int subscriber_new(struct subscriber **out, struct subscriptions *subscriptions,
                   const struct subscription *what, const struct subscriber_port *port) PERMTAB_MUST_CHECK;
/* Replaces the subscription by `what` from now on. */
void subscriber_change(struct subscriber *subscriber, const struct subscription *what);
/* NULL does nothing. May be called from inside `send`. */
void subscriber_end(struct subscriber *subscriber);
/* To be called when the subscriber's output has been sent, or time has passed: tells what it missed, if it did and
 * may be told again. `now_ns`: CLOCK_MONOTONIC. */
void subscriber_drained(struct subscriber *subscriber, uint64_t now_ns);

/* Tells the targets of a batch that the table has applied. */
void subscriptions_applied(struct subscriptions *subscriptions, const struct batch *batch);
/* Tells that the table was made anew. */
void subscriptions_rebuilt(struct subscriptions *subscriptions);
/* Tells targets that were invalidated here on demand. A target that names no key (a pattern, a tag) is told as
 * `all`; a poke is not told. Does nothing for NULL subscriptions. */
void subscriptions_tell(struct subscriptions *subscriptions, const struct target *targets, size_t count,
                        const char *reason);

#endif
