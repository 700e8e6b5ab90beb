/* The feed. Its thread reads, the loop applies; they take turns, so that there is at most one piece of news between them and the
 * thread always knows where the table stands:
 *
 *     thread  poll ─► read batch ─► post news ─► wait ················► next poll
 *     loop                             └─► publish_batch, renew ─► done ──┘
 *
 * A batch that takes long, because half of the table lies below a scope that it names, is applied in many turns of the loop. The
 * lease is renewed after the last: what the poll has found is not obeyed before.
 *
 * The lease runs from the moment before the poll began. What may have changed while the thread was waiting for
 * SQL does not matter: the lease never promises more than that nothing older than that moment is believed.
 *
 * What it leaves to others: what a change means (publish_batch.c), the SQL (store_*.c). */
#include "proxy/feed.h"

#include "proxy/clock.h"
#include "proxy/log.h"

#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* More changes than this are not applied one by one: the table is read anew. */
#define BATCH_MAX      1000000u
#define TRIM_SLICE     5000u
#define SCHEMA_LOOK_NS 1000000000ull
#define TRIM_NS        1000000000ull
#define SECOND_NS      1000000000ull
#define REBUILD_NS     500000000ull /* at least, between two: each makes everybody miss, and is another segment */

enum news_kind {
    NEWS_BATCH,       /* apply, then renew; most batches are empty and move the expiry alone */
    NEWS_REBUILD,     /* a whole new beginning */
    NEWS_FAILED,      /* no answer: no renewal */
    NEWS_DISBELIEVED, /* an answer that cannot be believed: the table goes */
};

struct news {
    enum news_kind kind;
    uint64_t begun_ns;
    uint64_t asked_ns, answered_ns; /* around the look at the store's clock */
    int64_t store_now;
    struct batch batch; /* NEWS_BATCH; of NEWS_REBUILD the position, the clock and the catalogue */
    struct failure failure;
};

struct feed {
    /* Constant while the thread runs. */
    struct publish *publish;
    struct counters *counters;
    feed_applied_fn applied;
    void *context;
    feed_watch_fn watch; /* or NULL */
    void *watch_context;
    char *url, *password;
    struct sql_options options;
    uint32_t permissions_max;
    uint64_t interval_ns;
    int64_t keep_us;
    uint64_t keep_rows;
    int event_descriptor;
    struct event *event;
    pthread_t thread;
    bool running;

    pthread_mutex_t mutex;
    pthread_cond_t condition;
    /* Under the mutex. */
    bool stop, wake;
    bool rebuild;       /* somebody asks for it: in its time, and followed until then */
    bool rebuild_first; /* the table is of no use: nothing else may be done with it */
    bool news_posted;
    struct news news; /* the thread's until posted, then the loop's */
    /* Where the table stands, written by the loop while the thread waits. */
    struct store_position at;
    int64_t expiry;

    /* The thread's own. */
    struct store store;
    bool connected;
    bool believed;     /* else nothing but a rebuild will do */
    uint64_t phase_ns; /* polls are due at this moment and every interval after it */
    uint64_t schema_looked_ns, trimmed_ns;
    uint64_t rebuilt_ns; /* the last one was handed over */
    bool rebuild_wanted;

    /* The loop's own. */
    struct event *turn; /* pending while a batch is being applied */
    char trouble[FAILURE_TEXT_SIZE];
};

/* ---- the thread: reading ------------------------------------------------------------------------------------------ */

static void disconnect(struct feed *feed)
{
    if (feed->connected)
        store_close(&feed->store);
    feed->connected = false;
}

static int connect_store(struct feed *feed, struct failure *failure)
{
    if (feed->connected)
        return 0;
    int code = store_open(&feed->store, &feed->options, failure);
    feed->connected = code == 0;
    return code;
}

static bool names_catalogue(const struct change_list *changes)
{
    for (size_t i = 0; i < changes->count; i++)
        if (changes->items[i].kind == CHANGE_PERMISSION || changes->items[i].kind == CHANGE_SCOPE_TYPE)
            return true;
    return false;
}

static bool names_store(const struct change_list *changes)
{
    for (size_t i = 0; i < changes->count; i++)
        if (changes->items[i].kind == CHANGE_STORE)
            return true;
    return false;
}

static int compare_ids(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

/* Definitions of the roles that changed, each once, with their ancestors. */
static int read_changed_roles(struct feed *feed, struct batch *batch, struct failure *failure)
{
    size_t count = 0, unique = 0;
    uint64_t *ids = malloc((batch->changes.count + 1) * sizeof *ids);
    if (ids == NULL)
        return failure_set(failure, PERMTAB_E_MEMORY, "no memory for a batch of changes");
    for (size_t i = 0; i < batch->changes.count; i++) {
        enum change_kind kind = batch->changes.items[i].kind;
        if (kind == CHANGE_ROLE || kind == CHANGE_ROLE_GRANT || kind == CHANGE_ROLE_PARENT)
            ids[count++] = batch->changes.items[i].role;
    }
    qsort(ids, count, sizeof *ids, compare_ids);
    for (size_t i = 0; i < count; i++)
        if (unique == 0 || ids[unique - 1] != ids[i])
            ids[unique++] = ids[i];
    int code = unique > 0 ? store_read_roles(&feed->store, ids, unique, &batch->roles, failure) : 0;
    free(ids);
    return code;
}

/* Everything since the table's position, in one snapshot. That position is looked for again inside of it: a backup may have
 * been restored since the poll. */
static int read_batch(struct feed *feed, struct batch *batch, struct failure *failure)
{
    bool newer;
    int64_t ignored;
    int code = store_snapshot(&feed->store, &batch->at, &batch->now, failure);
    if (code < 0)
        return code;
    code = store_poll(&feed->store, &feed->at, &newer, &ignored, failure);
    if (code == 0)
        code = store_read_changes(&feed->store, feed->at.revision, BATCH_MAX, &batch->changes, failure);
    if (code == 0)
        code = read_changed_roles(feed, batch, failure);
    batch->has_catalogue = code == 0 && names_catalogue(&batch->changes);
    if (batch->has_catalogue)
        code = store_read_catalogue(&feed->store, feed->permissions_max, &batch->catalogue, failure);
    if (code == 0)
        code =
            store_read_expired(&feed->store, feed->expiry, batch->now, BATCH_MAX, &batch->expired, failure);
    store_snapshot_end(&feed->store);
    return code;
}

/* What has ended while nothing changed. Without a snapshot an assignment might be removed after the poll and before it is looked
 * for among those that ended: it would be in neither, and the lease renewed with its entry still there. So the
 * store is asked again afterwards. */
static int read_expired(struct feed *feed, struct batch *batch, bool *newer, struct failure *failure)
{
    int64_t ignored;
    batch->at = feed->at;
    feed->news.asked_ns = clock_ns();
    int code = store_poll(&feed->store, &feed->at, newer, &batch->now, failure);
    feed->news.answered_ns = code < 0 ? 0 : clock_ns();
    feed->news.store_now = batch->now;
    if (code < 0 || *newer)
        return code;
    code = store_read_expired(&feed->store, feed->expiry, batch->now, BATCH_MAX, &batch->expired, failure);
    if (code == 0)
        code = store_poll(&feed->store, &feed->at, newer, &ignored, failure);
    if (code < 0 || *newer)
        change_list_fini(&batch->expired);
    return code;
}

static enum news_kind read_rebuild(struct feed *feed, struct news *news)
{
    struct batch *batch = &news->batch;
    bool newer;
    int64_t ignored;
    int code = store_check_schema(&feed->store, &news->failure);
    if (code == 0)
        code = store_snapshot(&feed->store, &batch->at, &batch->now, &news->failure);
    if (code < 0)
        return NEWS_FAILED;
    feed->schema_looked_ns = news->begun_ns;
    /* The lease that a rebuild grants is one like any other: a server that polls would not believe is not believed here. */
    code = store_poll(&feed->store, &batch->at, &newer, &ignored, &news->failure);
    if (code == 0)
        code = store_read_catalogue(&feed->store, feed->permissions_max, &batch->catalogue, &news->failure);
    store_snapshot_end(&feed->store);
    return code < 0 ? NEWS_FAILED : NEWS_REBUILD;
}

static enum news_kind kind_of_failure(int code)
{
    return code == PERMTAB_E_SCHEMA ? NEWS_DISBELIEVED : NEWS_FAILED;
}

/* One poll. */
static enum news_kind read_news(struct feed *feed, struct news *news)
{
    struct batch *batch = &news->batch;
    bool newer;
    int code = connect_store(feed, &news->failure);
    if (code < 0)
        return NEWS_FAILED;
    if (!feed->believed)
        return read_rebuild(feed, news);
    if (news->begun_ns - feed->schema_looked_ns >= SCHEMA_LOOK_NS) {
        code = store_check_schema(&feed->store, &news->failure);
        if (code < 0)
            return kind_of_failure(code);
        feed->schema_looked_ns = news->begun_ns;
    }
    code = read_expired(feed, batch, &newer, &news->failure);
    if (code == 0 && newer)
        code = read_batch(feed, batch, &news->failure);
    if (code == PERMTAB_E_LIMIT && batch->has_catalogue)
        return NEWS_FAILED; /* more permissions than the table has room for: reading anew would find the same */
    if (code == PERMTAB_E_LIMIT || (code == 0 && names_store(&batch->changes))) {
        log_info("feed: too much has changed after revision %llu to apply it piecemeal",
                 (unsigned long long)feed->at.revision);
        batch_fini(batch);
        return read_rebuild(feed, news);
    }
    if (code < 0)
        return kind_of_failure(code);
    return NEWS_BATCH;
}

static void trim(struct feed *feed, uint64_t now_ns)
{
    struct failure failure;
    if (!feed->connected || now_ns - feed->trimmed_ns < TRIM_NS)
        return;
    feed->trimmed_ns = now_ns;
    if (store_trim_changes(&feed->store, feed->keep_us, feed->keep_rows, TRIM_SLICE, &failure) < 0)
        log_debug("feed: the log was not trimmed: %s", failure.text);
}

/* ---- the thread: turns --------------------------------------------------------------------------------------------- */

static void post_and_wait(struct feed *feed)
{
    uint64_t one = 1;
    pthread_mutex_lock(&feed->mutex);
    feed->news_posted = true;
    if (write(feed->event_descriptor, &one, sizeof one) < 0)
        log_error("feed: eventfd: %s", strerror(errno));
    while (feed->news_posted && !feed->stop)
        pthread_cond_wait(&feed->condition, &feed->mutex);
    pthread_mutex_unlock(&feed->mutex);
}

/* Until the next poll is due, or somebody wakes it. Returns whether to go on. */
static bool pause_until(struct feed *feed, uint64_t due_ns)
{
    struct timespec due = {(time_t)(due_ns / SECOND_NS), (long)(due_ns % SECOND_NS)};
    pthread_mutex_lock(&feed->mutex);
    while (!feed->stop && !feed->wake && !feed->rebuild && !feed->rebuild_first)
        if (pthread_cond_timedwait(&feed->condition, &feed->mutex, &due) == ETIMEDOUT)
            break;
    bool go_on = !feed->stop;
    feed->rebuild_wanted |= feed->rebuild;
    if (feed->rebuild_first) /* and it stays so until a rebuild has been read: the store may be away just now */
        feed->believed = false;
    feed->wake = feed->rebuild = feed->rebuild_first = false;
    pthread_mutex_unlock(&feed->mutex);
    return go_on;
}

/* Whether there may be another rebuild. Who asks for them without end, or has no memory for one, gets them in their time. */
static bool rested(const struct feed *feed)
{
    return feed->rebuilt_ns == 0 || clock_ns() - feed->rebuilt_ns >= REBUILD_NS;
}

/* On a grid of its own: a message wakes all hosts at once, and if each then waited one interval they would all poll in step, and
 * a change that nobody announces would wait for all of them. As it is, of many hosts one polls soon. */
static uint64_t next_due(const struct feed *feed)
{
    uint64_t since = clock_ns() - feed->phase_ns;
    return feed->phase_ns + (since / feed->interval_ns + 1) * feed->interval_ns;
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
        news->begun_ns = clock_ns();
        news->kind = read_news(feed, news);
        enum news_kind kind = news->kind;
        if (kind == NEWS_DISBELIEVED)
            feed->believed = false;
        if (kind == NEWS_REBUILD) {
            feed->believed = true;
            feed->rebuild_wanted = false;
            feed->rebuilt_ns = clock_ns();
        }
        if (kind == NEWS_FAILED || kind == NEWS_DISBELIEVED)
            disconnect(feed);
        post_and_wait(feed);
        trim(feed, clock_ns());
        due_ns = next_due(feed);
        if (kind == NEWS_DISBELIEVED)
            due_ns = clock_ns();
    }
    disconnect(feed);
    return NULL;
}

/* ---- the loop ------------------------------------------------------------------------------------------------------ */

static void set_trouble(struct feed *feed, const char *text)
{
    if (strcmp(feed->trouble, text) == 0)
        return;
    if (text[0] != '\0')
        log_warning("feed: the lease is not renewed: %s", text);
    else
        log_info("feed: the lease is renewed again");
    snprintf(feed->trouble, sizeof feed->trouble, "%s", text);
}

/* 0, a code, or 1: a batch, of which there is more to do. */
static int apply(struct feed *feed, struct news *news)
{
    struct batch *batch = &news->batch;
    int code;
    switch (news->kind) {
    case NEWS_BATCH:
        code = publish_batch_begin(feed->publish, batch, &news->failure);
        return code < 0 ? code
                        : publish_batch_slice(feed->publish, clock_ns(), PUBLISH_SLICE, &news->failure);
    case NEWS_REBUILD:
        log_info("feed: the table is rebuilt at revision %llu", (unsigned long long)batch->at.revision);
        return publish_rebuild(feed->publish, &batch->at, batch->now, &batch->catalogue, &news->failure);
    case NEWS_FAILED:
        feed->counters->polls_failed++;
        return news->failure.code;
    case NEWS_DISBELIEVED:
        feed->counters->polls_disbelieved++;
        publish_disbelieve(feed->publish);
        return news->failure.code;
    }
    return 0;
}

static void tell_watcher(struct feed *feed, const struct news *news, int code)
{
    struct feed_news told = {
        .batch = code == 0 && news->kind == NEWS_BATCH ? &news->batch : NULL,
        .rebuilt = code == 0 && news->kind == NEWS_REBUILD,
        .asked_ns = news->answered_ns != 0 ? news->asked_ns : 0,
        .answered_ns = news->answered_ns,
        .store_now = news->store_now,
    };
    if (feed->watch != NULL)
        feed->watch(feed->watch_context, &told);
}

static void conclude(struct feed *feed, int code)
{
    struct news *news = &feed->news;
    if (code == 0)
        publish_renew(feed->publish, news->begun_ns);
    set_trouble(feed, code == 0 ? "" : news->failure.text);
    tell_watcher(feed, news, code);
    batch_fini(&news->batch);
    pthread_mutex_lock(&feed->mutex);
    /* A table that could not be brought forward is thrown away with the next poll. */
    if (code < 0 && (news->kind == NEWS_BATCH || news->kind == NEWS_REBUILD))
        feed->rebuild_first = true;
    feed->at = publish_position(feed->publish);
    feed->expiry = publish_expiry(feed->publish);
    feed->news_posted = false;
    pthread_cond_signal(&feed->condition);
    pthread_mutex_unlock(&feed->mutex);
    if (code == 0)
        feed->applied(feed->context, publish_position(feed->publish).revision);
}

static void go_on(struct feed *feed, int code)
{
    static const struct timeval at_once = {0};
    if (code <= 0)
        conclude(feed, code);
    else
        (void)evtimer_add(feed->turn, &at_once);
}

static void on_turn(evutil_socket_t descriptor, short what, void *context)
{
    struct feed *feed = context;
    (void)descriptor, (void)what;
    go_on(feed, publish_batch_slice(feed->publish, clock_ns(), PUBLISH_SLICE, &feed->news.failure));
}

static void on_news(evutil_socket_t descriptor, short what, void *context)
{
    struct feed *feed = context;
    uint64_t count;
    (void)what;
    if (read(descriptor, &count, sizeof count) < 0)
        return;
    feed->counters->polls++;
    go_on(feed, apply(feed, &feed->news));
}

void feed_wake(struct feed *feed)
{
    pthread_mutex_lock(&feed->mutex);
    feed->wake = true;
    pthread_cond_signal(&feed->condition);
    pthread_mutex_unlock(&feed->mutex);
}

void feed_watch(struct feed *feed, feed_watch_fn watch, void *context)
{
    feed->watch = watch;
    feed->watch_context = context;
}

void feed_rebuild(struct feed *feed)
{
    pthread_mutex_lock(&feed->mutex);
    feed->rebuild = true;
    pthread_cond_signal(&feed->condition);
    pthread_mutex_unlock(&feed->mutex);
}

const char *feed_trouble(const struct feed *feed)
{
    return feed->trouble;
}

/* ---- life ---------------------------------------------------------------------------------------------------------- */

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
    feed->running = pthread_create(&feed->thread, NULL, feed_main, feed) == 0;
    return feed->running ? 0 : PERMTAB_E_SYSTEM;
}

int feed_new(struct feed **out, struct event_base *base, const struct config *config,
             const struct sql_options *options, struct publish *publish, struct counters *counters,
             feed_applied_fn applied, void *context, struct failure *failure)
{
    struct feed *feed = calloc(1, sizeof *feed);
    if (feed == NULL)
        return failure_set(failure, PERMTAB_E_MEMORY, "no memory for the feed");
    feed->publish = publish;
    feed->counters = counters;
    feed->applied = applied;
    feed->context = context;
    feed->options = *options;
    feed->url = strdup(options->url);
    feed->password = options->password != NULL ? strdup(options->password) : NULL;
    feed->options.url = feed->url;
    feed->options.password = feed->password;
    feed->permissions_max = config->permissions_max;
    feed->interval_ns = config->poll_interval_ms * 1000000ull;
    feed->keep_us = (int64_t)config->change_retention_ms * 1000;
    feed->keep_rows = config->change_retention_rows;
    feed->at = publish_position(publish);
    feed->expiry = publish_expiry(publish);
    feed->believed = true;
    feed->event_descriptor = -1;
    int code = feed->url == NULL ? PERMTAB_E_MEMORY : start(feed, base);
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
    publish_batch_forget(feed->publish);
    if (feed->event_descriptor >= 0)
        close(feed->event_descriptor);
    batch_fini(&feed->news.batch);
    pthread_cond_destroy(&feed->condition);
    pthread_mutex_destroy(&feed->mutex);
    free(feed->url);
    free(feed->password);
    free(feed);
}
