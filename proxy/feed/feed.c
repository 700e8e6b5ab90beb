/* The feed. Its thread reads, the loop applies; they take turns, so that there is at most one piece of news between
 * them and the thread always knows where the table stands:
 *
 *     thread  poll ─► read batch ─► post news ─► wait ················► next poll
 *     loop                             └─► publisher_batch, renew ─► done ──┘
 *
 * The table of a rebuild is made by the workshop, however long that takes, while the loop goes on with what there is.
 *
 * A batch that takes long, because half of the table lies below a scope that it names, is applied in many turns of
 * the loop. The lease is renewed after the last turn: before it, the poll's changes are not in force.
 *
 * The lease runs from the moment before the poll began. Changes made while the thread was waiting for SQL do not
 * matter: the lease never promises more than that nothing older than that moment is believed.
 *
 * Left to others: what a poll reads (read.c), the reason why there is no lease (lease.c), the meaning of a change
 * (table/batch.c), the SQL (store/). */
#include "proxy/feed/feed.h"

#include "proxy/base/clock.h"
#include "proxy/base/log.h"
#include "proxy/base/thread.h"
#include "proxy/base/timer.h"
#include "proxy/feed/private.h"
#include "proxy/table/workshop.h"

#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define SECOND_NS     1000000000ull
#define WOKEN_NS      1000000ull  /* the shortest time between polls, however often the thread is woken */
#define WOKEN_WIDE_NS 10000000ull /* the same, when FOR_NOTHING wakings in a row found nothing */
#define FOR_NOTHING   64u         /* wakings in a row */
/* the shortest time between rebuilds: each makes every client miss, and makes another segment */
#define REBUILD_NS 500000000ull

void feed_step(struct feed *feed, enum feed_step step)
{
    pthread_mutex_lock(&feed->mutex);
    feed->step = step;
    feed->step_ns = clock_ns();
    pthread_mutex_unlock(&feed->mutex);
}

/* ---- the thread: turns ------------------------------------------------------------------------------------------- */

static void post_and_wait(struct feed *feed)
{
    uint64_t one = 1;
    feed_step(feed, FEED_POSTS);
    pthread_mutex_lock(&feed->mutex);
    feed->news_posted = true;
    if (write(feed->event_descriptor, &one, sizeof one) < 0)
        log_error("feed: eventfd: %s", strerror(errno));
    while (feed->news_posted && !feed->stop)
        pthread_cond_wait(&feed->condition, &feed->mutex);
    pthread_mutex_unlock(&feed->mutex);
}

/* The earliest time of the next poll. It has a bound, because anybody may wake the thread: a client with a token of
 * the future, a message that all hosts hear. */
static uint64_t earliest(const struct feed *feed)
{
    return feed->begun_ns + (feed->for_nothing < FOR_NOTHING ? WOKEN_NS : WOKEN_WIDE_NS);
}

/* Waits until the next poll is due, or somebody wakes the thread. Returns whether to go on. */
static bool pause_until(struct feed *feed, uint64_t due_ns)
{
    uint64_t earliest_ns = earliest(feed), now_ns = clock_ns();
    bool woken;
    pthread_mutex_lock(&feed->mutex);
    for (;;) {
        woken = feed->wake || feed->rebuild || feed->rebuild_first;
        uint64_t until_ns = woken && earliest_ns < due_ns ? earliest_ns : due_ns;
        if (feed->stop || now_ns >= until_ns)
            break;
        struct timespec until = {(time_t)(until_ns / SECOND_NS), (long)(until_ns % SECOND_NS)};
        (void)pthread_cond_timedwait(&feed->condition, &feed->mutex, &until);
        now_ns = clock_ns();
    }
    bool go_on = !feed->stop;
    feed->for_nothing += woken;
    feed->rebuild_wanted |= feed->rebuild;
    /* and it stays so until a rebuild has been read: the store may be away just now */
    if (feed->rebuild_first)
        feed->believed = false;
    feed->wake = feed->rebuild = feed->rebuild_first = false;
    pthread_mutex_unlock(&feed->mutex);
    return go_on;
}

/* Whether REBUILD_NS has passed since the last rebuild. Endless requests for rebuilds, or failures for want of
 * memory, so lead to one in each REBUILD_NS. */
static bool rested(const struct feed *feed)
{
    return feed->rebuilt_ns == 0 || clock_ns() - feed->rebuilt_ns >= REBUILD_NS;
}

/* The next poll is on this host's own grid (phase_ns). A message wakes all hosts at once, and if each then waited
 * one interval they would all poll in step, and a change that nobody announces would wait for that step. With a
 * grid each, one of many hosts polls soon. After a poll that took so long that its lease may end before the next one
 * is done, that one is due at once. */
uint64_t feed_due(const struct feed *feed, uint64_t now_ns)
{
    uint64_t since = now_ns - feed->phase_ns;
    uint64_t due_ns = feed->phase_ns + (since / feed->interval_ns + 1) * feed->interval_ns;
    return due_ns + feed->interval_ns / 2 > feed->begun_ns + feed->staleness_ns ? now_ns : due_ns;
}

static void *feed_main(void *argument)
{
    struct feed *feed = argument;
    uint64_t due_ns = clock_ns();
    feed->phase_ns = due_ns;
    while (pause_until(feed, due_ns)) {
        struct news *news = &feed->news;
        if (feed->rebuild_wanted && rested(feed)) {
            feed->rebuild_wanted = false;
            feed->believed = false;
        }
        if (!feed->believed && !rested(feed)) {
            due_ns = feed->rebuilt_ns + REBUILD_NS;
            continue;
        }
        memset(news, 0, sizeof *news);
        news->begun_ns = feed->begun_ns = clock_ns();
        news->kind = feed_read(feed, news);
        if (news->kind == NEWS_REBUILD || news->batch.changes.count > 0)
            feed->for_nothing = 0;
        enum news_kind kind = news->kind;
        bool lost = kind == NEWS_DISBELIEVED && feed->believed;
        if (lost)
            feed->believed = false;
        if (kind == NEWS_REBUILD) {
            feed->believed = true;
            feed->rebuild_wanted = false;
            feed->rebuilt_ns = clock_ns();
        }
        if (kind == NEWS_FAILED || kind == NEWS_DISBELIEVED)
            feed_disconnect(feed);
        post_and_wait(feed);
        feed_trim(feed, clock_ns());
        feed_step(feed, FEED_RESTS);
        due_ns = feed_due(feed, clock_ns());
        if (lost)
            due_ns = clock_ns(); /* for the rebuild, which waits for REBUILD_NS after the last one */
    }
    feed_disconnect(feed);
    return NULL;
}

/* ---- the loop ---------------------------------------------------------------------------------------------------- */

static double seconds(uint64_t ns)
{
    return (double)ns / (double)SECOND_NS;
}

static void on_fresh(void *context, int code, struct table *table);

/* Orders a table, or makes one here without a workshop. */
static int begin_rebuild(struct feed *feed, struct news *news)
{
    struct batch *batch = &news->batch;
    struct workshop_order order;
    (void)trouble_happens(&feed->rebuilds, LOG_LEVEL_INFO, clock_ns(),
                          "feed: the table is rebuilt at revision %llu",
                          (unsigned long long)batch->at.revision);
    if (feed->workshop == NULL)
        return publisher_rebuild(feed->publisher, &batch->at, batch->now, &batch->catalogue, NULL,
                                 &news->failure);
    publisher_rebuild_order(feed->publisher, batch->at.store_id, &order);
    order.made = on_fresh;
    order.context = feed;
    feed_step(feed, FEED_ORDERS);
    feed->order = workshop_order(feed->workshop, &order);
    if (feed->order != 0)
        return 1;
    publisher_rebuild_given_up(feed->publisher);
    return failure_set(&news->failure, PERMTAB_E_MEMORY, "no memory for a rebuild");
}

/* Applies the news: 0, a code, or 1 when there is more to do. */
static int apply(struct feed *feed, struct news *news)
{
    struct batch *batch = &news->batch;
    int code;
    switch (news->kind) {
    case NEWS_BATCH:
        code = publisher_batch_begin(feed->publisher, batch, &news->failure);
        return code < 0 ? code
                        : publisher_batch_slice(feed->publisher, clock_ns(), PUBLISHER_SLICE, &news->failure);
    case NEWS_REBUILD:
        return begin_rebuild(feed, news);
    case NEWS_FAILED:
        feed->counters->polls_failed++;
        return news->failure.code;
    case NEWS_DISBELIEVED:
        feed->counters->polls_disbelieved++;
        publisher_end_lease(feed->publisher, STORE_NOT_BELIEVED);
        return news->failure.code;
    }
    return 0;
}

static void tell(struct feed *feed, const struct news *news, int code)
{
    struct feed_news told = {
        .applied = code == 0,
        .revision = publisher_position(feed->publisher).revision,
        .batch = code == 0 && news->kind == NEWS_BATCH ? &news->batch : NULL,
        .rebuilt = code == 0 && news->kind == NEWS_REBUILD,
        .asked_ns = news->answered_ns != 0 ? news->asked_ns : 0,
        .answered_ns = news->answered_ns,
        .store_now = news->store_now,
    };
    feed->tell(feed->context, &told);
}

/* Renews the lease. A poll may be older than max_staleness when it has been applied, and then its lease is of no
 * use. */
static void renew(struct feed *feed)
{
    const struct news *news = &feed->news;
    uint64_t now_ns = clock_ns();
    char text[FAILURE_TEXT_SIZE] = "";
    publisher_renew(feed->publisher, news->begun_ns);
    if (!publisher_leased(feed->publisher, now_ns))
        (void)snprintf(text, sizeof text,
                       "the last poll is too old to go by: it took the store %.1f s, and applying what it "
                       "brought %.1f s",
                       seconds(feed->taken_ns - news->begun_ns), seconds(now_ns - feed->taken_ns));
    feed_lease_polled(feed, text);
}

static void conclude(struct feed *feed, int code)
{
    struct news *news = &feed->news;
    if (code == 0)
        renew(feed);
    else
        feed_lease_polled(feed, news->failure.text);
    tell(feed, news, code);
    batch_fini(&news->batch);
    pthread_mutex_lock(&feed->mutex);
    /* A table that could not be brought forward is thrown away with the next poll. */
    if (code < 0 && (news->kind == NEWS_BATCH || news->kind == NEWS_REBUILD))
        feed->rebuild_first = true;
    feed->at = publisher_position(feed->publisher);
    feed->expiry = publisher_expiry(feed->publisher);
    feed->news_posted = false;
    pthread_cond_signal(&feed->condition);
    pthread_mutex_unlock(&feed->mutex);
}

static void go_on(struct feed *feed, int code)
{
    if (code <= 0) {
        conclude(feed, code);
        return;
    }
    feed_lease_look(feed);
    if (feed->order == 0)
        (void)timer_at_once(feed->turn);
}

static void on_turn(evutil_socket_t descriptor, short what, void *context)
{
    struct feed *feed = context;
    (void)descriptor, (void)what;
    go_on(feed, publisher_batch_slice(feed->publisher, clock_ns(), PUBLISHER_SLICE, &feed->news.failure));
}

/* The workshop has made the table of a rebuild, or cannot. */
static void on_fresh(void *context, int code, struct table *table)
{
    struct feed *feed = context;
    struct news *news = &feed->news;
    struct batch *batch = &news->batch;
    uint64_t before = publisher_capacity(feed->publisher);
    feed->order = 0;
    if (code < 0) {
        publisher_rebuild_given_up(feed->publisher);
        (void)failure_set(&news->failure, code, "there is no memory for another table");
    } else {
        code = publisher_rebuild(feed->publisher, &batch->at, batch->now, &batch->catalogue, table,
                                 &news->failure);
    }
    if (code == 0 && publisher_capacity(feed->publisher) < before)
        log_warning("feed: the new table has room for %llu entries, and not for %llu as before: there was no "
                    "memory for more beside it",
                    (unsigned long long)publisher_capacity(feed->publisher), (unsigned long long)before);
    go_on(feed, code);
}

static void on_news(evutil_socket_t descriptor, short what, void *context)
{
    struct feed *feed = context;
    uint64_t count;
    (void)what;
    if (read(descriptor, &count, sizeof count) < 0)
        return;
    /* before the renewal: a process that was stopped finds news and the lease's end together */
    feed_lease_look(feed);
    feed->counters->polls++;
    feed->taken_ns = clock_ns();
    feed_step(feed, FEED_APPLIES);
    go_on(feed, apply(feed, &feed->news));
}

void feed_wake(struct feed *feed)
{
    pthread_mutex_lock(&feed->mutex);
    feed->wake = true;
    pthread_cond_signal(&feed->condition);
    pthread_mutex_unlock(&feed->mutex);
}

void feed_rebuild(struct feed *feed)
{
    pthread_mutex_lock(&feed->mutex);
    feed->rebuild = true;
    pthread_cond_signal(&feed->condition);
    pthread_mutex_unlock(&feed->mutex);
}

const char *feed_trouble(struct feed *feed)
{
    feed_lease_look(feed);
    return feed->trouble;
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static int start(struct feed *feed, struct event_base *base)
{
    pthread_condattr_t attributes;
    pthread_mutex_init(&feed->mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&feed->condition, &attributes);
    pthread_condattr_destroy(&attributes);
    feed->event_descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (feed->event_descriptor < 0)
        return PERMTAB_E_SYSTEM;
    feed->event = event_new(base, feed->event_descriptor, EV_READ | EV_PERSIST, on_news, feed);
    feed->turn = evtimer_new(base, on_turn, feed);
    if (feed->event == NULL || feed->turn == NULL || event_add(feed->event, NULL) < 0)
        return PERMTAB_E_MEMORY;
    if (feed_lease_start(feed, base) < 0)
        return PERMTAB_E_MEMORY;
    int code = thread_start(&feed->thread, feed_main, feed);
    feed->running = code == 0;
    return code;
}

int feed_new(struct feed **out, const struct feed_options *options, struct failure *failure)
{
    struct feed *feed = calloc(1, sizeof *feed);
    if (feed == NULL)
        return failure_set(failure, PERMTAB_E_MEMORY, "no memory for the feed");
    feed->publisher = options->publisher;
    feed->workshop = options->workshop;
    feed->counters = options->counters;
    feed->tell = options->news;
    feed->context = options->context;
    feed->options = *options->store;
    feed->url = strdup(options->store->url);
    feed->password = options->store->password != NULL ? strdup(options->store->password) : NULL;
    feed->options.url = feed->url;
    feed->options.password = feed->password;
    feed->permissions_max = options->permissions_max;
    feed->interval_ns = options->poll_interval_ms * 1000000ull;
    feed->staleness_ns = options->max_staleness_ms * 1000000ull;
    feed->keep_us = (int64_t)options->change_retention_ms * 1000;
    feed->keep_rows = options->change_retention_rows;
    feed->at = publisher_position(options->publisher);
    feed->expiry = publisher_expiry(options->publisher);
    feed->believed = true;
    feed->event_descriptor = -1;
    int code = feed->url == NULL ? PERMTAB_E_MEMORY : start(feed, options->base);
    if (code < 0) {
        feed_free(feed);
        return failure_set(failure, code, "cannot start the feed");
    }
    *out = feed;
    return 0;
}

void feed_free(struct feed *feed)
{
    if (feed == NULL)
        return;
    if (feed->running) {
        pthread_mutex_lock(&feed->mutex);
        feed->stop = true;
        pthread_cond_signal(&feed->condition);
        pthread_mutex_unlock(&feed->mutex);
        pthread_join(feed->thread, NULL);
    }
    if (feed->event != NULL)
        event_free(feed->event);
    if (feed->turn != NULL)
        event_free(feed->turn);
    if (feed->lease != NULL)
        event_free(feed->lease);
    if (feed->workshop != NULL)
        workshop_cancel(feed->workshop, feed->order);
    publisher_batch_forget(feed->publisher);
    if (feed->event_descriptor >= 0)
        close(feed->event_descriptor);
    batch_fini(&feed->news.batch);
    pthread_cond_destroy(&feed->condition);
    pthread_mutex_destroy(&feed->mutex);
    free(feed->url);
    free(feed->password);
    free(feed);
}
