/* What this host does with the feed's news besides applying them: learns the store's clock, measures how long changes took,
 * warns L2 and tells subscribers. The feed_watch_fn of the daemon. On the loop's thread. */
#ifndef PERMTAB_PROXY_WATCH_H
#define PERMTAB_PROXY_WATCH_H

#include "proxy/feed.h"
#include "proxy/histogram.h"
#include "proxy/propagation.h"

struct l2;
struct subscriptions;

struct watch {
    /* Borrowed. */
    struct counters *counters;
    struct histograms *histograms;
    struct l2 *l2; /* or NULL */
    struct subscriptions *subscriptions;

    struct store_clock clock;
};

/* A feed_watch_fn; context is the watch. */
void watch_news(void *context, const struct feed_news *news);

#endif
