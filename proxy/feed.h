/* The feed: follows the store's log on its own thread and connection, and keeps the lease. Polls every poll_interval, at once
 * when woken; hands each batch to the loop, where publish_batch applies it; renews the lease only for a poll whose every row is
 * applied. Looks at the schema every second, trims the log. When the store cannot be believed: no renewal, and a
 * rebuild from what is there. */
#ifndef PERMTAB_PROXY_FEED_H
#define PERMTAB_PROXY_FEED_H

#include "proxy/config.h"
#include "proxy/counters.h"
#include "proxy/publish.h"

struct sql_options;
struct event_base;
struct feed;

/* Called on the loop after every poll that was applied, with the revision that the table now has. */
typedef void (*feed_applied_fn)(void *context, uint64_t revision);

/* What the loop has just done for one poll. Borrowed for the call. */
struct feed_news {
    const struct batch *batch; /* applied; NULL after a rebuild and after a poll that failed */
    bool rebuilt;              /* the table was made anew */
    uint64_t asked_ns;         /* CLOCK_MONOTONIC: when the poll asked the store for its clock; 0: it did not */
    uint64_t answered_ns;
    int64_t store_now; /* what it said, microseconds UTC */
};
/* On the loop, when the table has been brought forward and nobody has been told of it yet. */
typedef void (*feed_watch_fn)(void *context, const struct feed_news *news);

int feed_new(struct feed **out, struct event_base *base, const struct config *config,
             const struct sql_options *options, struct publish *publish, struct counters *counters,
             feed_applied_fn applied, void *context, struct failure *failure) PERMTAB_MUST_CHECK;
/* Stops the thread and waits for it. */
void feed_free(struct feed *feed);
/* One watcher; before the loop turns. */
void feed_watch(struct feed *feed, feed_watch_fn watch, void *context);
/* Polls at once, or 1 ms after the last poll began; 10 ms, when many that were asked for in a row have found nothing. Any number
 * of calls while a poll is under way lead to one more poll after it. */
void feed_wake(struct feed *feed);
/* Throws the table away and reads again: `invalidate all`. */
void feed_rebuild(struct feed *feed);
/* Why the lease is not being renewed, or why it has ended, in one sentence; "" while all is well. */
const char *feed_trouble(struct feed *feed);

#endif
