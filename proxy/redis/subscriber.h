/* A connection of its own that is subscribed to one channel. Keeps itself up: jittered reconnect, resubscription,
 * and a PING watch, because a subscription that has gone dead is silent like one to which nothing is said. On the
 * loop's thread. */
#ifndef PERMTAB_REDIS_SUBSCRIBER_H
#define PERMTAB_REDIS_SUBSCRIBER_H

#include "proxy/redis/redis.h"

struct redis_subscriber;

struct redis_subscriber_options {
    /* Borrowed until redis_subscriber_free. */
    struct event_base *base;
    /* message: at most 1 MiB; borrowed, not zero-terminated. */
    void (*message)(void *context, const char *bytes, size_t size);
    /* state: true when subscribed (again), with the messages published before lost; false when the connection is
     * gone. */
    void (*state)(void *context, bool subscribed);
    void *context;
    /* Copied. */
    const struct redis_access *access; /* timeout_ms is not used: the only commands are SUBSCRIBE and PING */
    const char *channel;
};

/* PERMTAB_E_INVALID, _MEMORY. */
int redis_subscriber_new(struct redis_subscriber **out, const struct redis_subscriber_options *options,
                         struct failure *failure) PERMTAB_MUST_CHECK;
/* May be called from inside any of its callbacks; no callback follows. */
void redis_subscriber_free(struct redis_subscriber *subscriber);
bool redis_subscriber_up(const struct redis_subscriber *subscriber);
/* Why it is not up, in one sentence; "" when it is. */
const char *redis_subscriber_trouble(const struct redis_subscriber *subscriber);

#endif
