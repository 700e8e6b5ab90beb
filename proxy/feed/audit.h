/* The auditor: re-reads a few live entries a second from the store and compares them with what readers see, at the
 * same revision. A difference is healed, counted, logged and alarmed; there should never be one. On the loop's
 * thread; the reading is done on a helper thread. */
#ifndef PERMTAB_FEED_AUDIT_H
#define PERMTAB_FEED_AUDIT_H

#include "proxy/base/counters.h"
#include "proxy/feed/feed.h"
#include "proxy/store/threads.h"
#include "proxy/table/publisher.h"

#include <time.h>

struct audit;
struct event_base;

#define AUDIT_ALARM_SECONDS 3600 /* a difference is shown for so long */

/* A difference was healed here. Other caches' values about `user`, or about every user when `everything`, cannot be
 * relied on either. */
typedef void (*audit_found_fn)(void *context, uint64_t user, bool everything);

struct audit_options {
    /* Borrowed until audit_free. */
    struct event_base *base;
    struct store_threads *pool;
    struct publisher *publisher;
    struct feed *feed;
    struct counters *counters;
    audit_found_fn found;
    void *context;
    uint32_t entries_a_second;
};

int audit_new(struct audit **out, const struct audit_options *options) PERMTAB_MUST_CHECK;
/* Before store_threads_free. */
void audit_free(struct audit *audit);
/* To be called when a poll of the feed has been applied. NULL does nothing. */
void audit_applied(struct audit *audit);
/* A sentence about the differences of the last hour; "" for none, and for NULL. `now`: seconds UTC. Valid until the
 * next call. */
const char *audit_alarm(struct audit *audit, time_t now);

#endif
