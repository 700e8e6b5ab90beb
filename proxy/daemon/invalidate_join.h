/* Invalidation joined to the parts it asks. */
#ifndef PERMTAB_DAEMON_INVALIDATE_JOIN_H
#define PERMTAB_DAEMON_INVALIDATE_JOIN_H

#include "proxy/cleanup/cleanup.h"
#include "proxy/config/config.h"
#include "proxy/feed/feed.h"
#include "proxy/invalidate/invalidate.h"
#include "proxy/l2/l2.h"
#include "proxy/serve/subscriptions.h"

struct invalidation_parts {
    const struct config *config;
    struct publisher *publisher;
    struct feed *feed;
    struct redis *redis; /* NULL without Redis, and so are these */
    struct l2 *l2;
    struct cleanup *cleanup;
    struct counters *counters;
    struct subscriptions *subscriptions; /* may be set later */
};

/* As invalidations_new. `parts` is borrowed and outlives it. */
int invalidations_join(struct invalidations **out, struct event_base *base,
                       const struct invalidation_parts *parts) PERMTAB_MUST_CHECK;

#endif
