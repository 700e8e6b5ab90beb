/* The feed: follows the store's log on its own thread and connection, and keeps the lease. Polls every
 * poll_interval, at once when woken; hands each batch to the loop, where publisher_batch applies it; renews the
 * lease only for a poll whose every row is applied. Looks at the schema every second, trims the log. When the store
 * cannot be believed: no renewal, and a rebuild from what is there. */
#ifndef PERMTAB_FEED_FEED_H
#define PERMTAB_FEED_FEED_H

#include "proxy/base/counters.h"
#include "proxy/table/batch.h"
#include "proxy/table/publisher.h"

struct sql_options;
struct event_base;
struct feed;
struct workshop;

/* The result of one poll, as the loop has just applied it. Borrowed for the call. */
struct feed_news {
    bool applied; /* the table has what the poll found; else the poll failed, or could not be applied */
    /* the batch that was applied; NULL after a rebuild and after a poll that failed */
    const struct batch *batch;
    bool rebuilt;      /* the table was made anew */
    uint64_t revision; /* the table's revision now */
    uint64_t asked_ns; /* CLOCK_MONOTONIC: when the poll asked the store for its clock; 0: it did not */
    uint64_t answered_ns;
    int64_t store_now; /* the store's clock, microseconds UTC */
};
/* Called on the loop, once for each poll, after the lease has been renewed or not. The next poll waits until it
 * returns. */
typedef void (*feed_news_fn)(void *context, const struct feed_news *news);

struct feed_options {
    /* Borrowed until feed_free. */
    struct event_base *base;
    struct publisher *publisher;
    struct workshop *workshop; /* makes the tables of rebuilds; NULL: the loop waits for them */
    struct counters *counters;
    feed_news_fn news;
    void *context;
    /* Copied. */
    const struct sql_options *store;
    uint32_t permissions_max;
    uint64_t poll_interval_ms;
    uint64_t max_staleness_ms;
    uint64_t change_retention_ms;
    uint64_t change_retention_rows;
};

int feed_new(struct feed **out, const struct feed_options *options,
             struct failure *failure) PERMTAB_MUST_CHECK;
/* Stops the thread and waits for it. */
void feed_free(struct feed *feed);
/* Polls at once, or 1 ms after the last poll began; 10 ms when many polls in a row that were asked for have found
 * nothing. Any number of calls while a poll is under way lead to one more poll after it. */
void feed_wake(struct feed *feed);
/* Throws the table away and reads again: `invalidate all`. */
void feed_rebuild(struct feed *feed);
/* Why the lease is not being renewed, or why it has ended, in one sentence; "" while all is well. */
const char *feed_trouble(struct feed *feed);

#endif
