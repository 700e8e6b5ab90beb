/* The reason why there is no lease. A lease ends by itself when nobody renews it; this file notices that moment,
 * and says what the feed is doing and since when: in the log, in `health` and with every check that is answered
 * unknown. A poll that fails has told its reason before; one that hangs has none to tell yet. */
#include "proxy/base/timer.h"
#include "proxy/feed/private.h"

#include "proxy/base/clock.h"
#include "proxy/base/log.h"

#include <event2/event.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define SECOND_NS 1000000000ull
#define LATE_NS   250000000ull /* a loop that is so late was stopped */

static const char *step_text(enum feed_step step)
{
    switch (step) {
    case FEED_RESTS:
        return "no poll was due";
    case FEED_CONNECTS:
        return "the feed waits for a connection to the store";
    case FEED_LOOKS:
        return "the feed waits for the store to answer a look at its schema";
    case FEED_POLLS:
        return "the feed waits for the store to answer a poll";
    case FEED_READS:
        return "the feed waits for the store to answer a read of what was changed";
    case FEED_REBUILDS:
        return "the feed waits for the store to answer a read for a new table";
    case FEED_TRIMS:
        return "the feed waits for the store to remove old rows of its log";
    case FEED_POSTS:
        return "what a poll brought waits for the loop to take it";
    case FEED_ORDERS:
        return "memory for a new table is being allocated";
    case FEED_APPLIES:
        return "a change of very many entries is being applied";
    }
    return "";
}

/* The wall clock at a moment of the monotonic one. */
static void format_since(uint64_t then_ns, uint64_t now_ns, char out[32])
{
    struct tm parts;
    time_t then = time(NULL) - (time_t)((now_ns - then_ns) / SECOND_NS);
    if (gmtime_r(&then, &parts) == NULL || strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0)
        out[0] = 0;
}

static void describe(struct feed *feed, uint64_t ended_ns, uint64_t now_ns)
{
    char since[32];
    pthread_mutex_lock(&feed->mutex);
    enum feed_step step = feed->step;
    uint64_t step_ns = feed->step_ns;
    pthread_mutex_unlock(&feed->mutex);
    format_since(step_ns, now_ns, since);
    if (now_ns - ended_ns >= LATE_NS && step != FEED_APPLIES)
        (void)snprintf(feed->trouble, sizeof feed->trouble,
                       "the sidecar itself was stopped, or had no processor, for %.1f s",
                       (double)(now_ns - ended_ns) / (double)SECOND_NS);
    else
        (void)snprintf(feed->trouble, sizeof feed->trouble, "%s, since %s", step_text(step), since);
}

void feed_lease_look(struct feed *feed)
{
    uint64_t now_ns = clock_ns(), ended_ns = publisher_deadline(feed->publisher);
    if (feed->lapsed || publisher_leased(feed->publisher, now_ns))
        return;
    if (ended_ns == 0) /* disbelieved, or there was none yet */
        ended_ns = feed->started_ns + feed->staleness_ns;
    if (feed->trouble[0] == 0 && now_ns < ended_ns)
        return;
    feed->lapsed = true;
    feed->counters->leases_ended++;
    if (feed->trouble[0] == 0)
        describe(feed, ended_ns, now_ns);
    (void)trouble_happens(&feed->told, LOG_LEVEL_WARNING, now_ns, "feed: the lease has ended: %s",
                          feed->trouble);
}

/* The timer is set again when it fires, and not at each renewal: while all is well it fires once in max_staleness. */
static void on_lease(evutil_socket_t descriptor, short what, void *context)
{
    struct feed *feed = context;
    uint64_t now_ns = clock_ns(), ends_ns = publisher_deadline(feed->publisher);
    (void)descriptor, (void)what;
    feed_lease_look(feed);
    if (!publisher_leased(feed->publisher, now_ns))
        return; /* feed_lease_polled begins again */
    (void)timer_in_ns(feed->lease, ends_ns - now_ns + 1);
}

int feed_lease_start(struct feed *feed, struct event_base *base)
{
    feed->started_ns = clock_ns();
    feed->lease = evtimer_new(base, on_lease, feed);
    if (feed->lease == NULL || timer_in_ns(feed->lease, feed->staleness_ns + 1) < 0)
        return PERMTAB_E_MEMORY;
    return 0;
}

void feed_lease_polled(struct feed *feed, const char *text)
{
    uint64_t now_ns = clock_ns();
    (void)snprintf(feed->trouble, sizeof feed->trouble, "%s", text);
    if (text[0] == 0) {
        feed->lapsed = false;
        trouble_ends(&feed->told, now_ns, "feed: the lease is renewed again");
        if (!evtimer_pending(feed->lease, NULL))
            on_lease(-1, 0, feed);
        return;
    }
    bool lapsed = feed->lapsed;
    feed_lease_look(feed);
    if (lapsed || !feed->lapsed) /* else it was told just now */
        (void)trouble_happens(&feed->told, LOG_LEVEL_WARNING, now_ns, "feed: the lease %s: %s",
                              lapsed ? "has ended" : "is not renewed", text);
}
