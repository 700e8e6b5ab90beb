/* Threads for blocking work. One queue, a mutex and a condition: a job costs a query of at least tens of
 * microseconds, so nothing cleverer would be noticed. Results come back through a list and one eventfd, so
 * the loop is woken once for many.
 *
 * A thread connects when it has its first job and again after its connection broke. While the store is away all
 * threads share one moment before which nobody tries again: jobs fail at once instead of queueing behind time-outs.
 * Jobs belong to their submitters; a job says itself (`once`) when it must not be repeated. */
#include "proxy/store/threads.h"

#include "proxy/base/clock.h"
#include "proxy/base/thread.h"
#include "proxy/base/trouble.h"
#include "proxy/base/turn.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define RETRY_NS 1000000000ull
#define TRY_NS   1000000000ull  /* a connection that rested for so long is tried before it is used */
#define REST_NS  30000000000ull /* and while it rests, because a firewall or proxy drops silent connections */

struct job_list {
    struct store_job *head;
    struct store_job **tail;
};

struct store_threads {
    const char *name;
    struct sql_options options;
    char *url, *password;
    int wake; /* eventfd: something is in `finished` */
    struct event *event;
    pthread_t *threads;
    unsigned thread_count;
    size_t queue_max;

    pthread_mutex_t mutex; /* guards all below */
    pthread_cond_t more;
    struct job_list queue, finished;
    size_t queued;
    bool stopping;
    uint64_t retry_at;      /* CLOCK_MONOTONIC ns: no attempt to connect before; 0 while the store is there */
    struct failure trouble; /* why the last attempt failed */
    struct trouble away;    /* the store is away */
};

static void list_init(struct job_list *list)
{
    list->head = NULL;
    list->tail = &list->head;
}

static void list_put(struct job_list *list, struct store_job *job)
{
    job->next = NULL;
    *list->tail = job;
    list->tail = &job->next;
}

static struct store_job *list_take(struct job_list *list)
{
    struct store_job *job = list->head;
    if (!job)
        return NULL;
    list->head = job->next;
    if (!list->head)
        list->tail = &list->head;
    job->next = NULL;
    return job;
}

/* ---- a thread -------------------------------------------------------------------------------------------- */

/* A thread's connection. */
struct link {
    struct store store;
    bool connected;
    uint64_t used_ns; /* when it was last found to be good */
};

static void disconnect(struct link *link)
{
    if (link->connected)
        store_close(&link->store);
    link->connected = false;
}

/* Notes the result of an attempt to connect. Called under the mutex. */
static void note_attempt(struct store_threads *pool, int code, const struct failure *failure)
{
    char text[64];
    uint64_t now = clock_ns();
    pool->retry_at = code < 0 ? now + RETRY_NS : 0;
    if (code < 0) {
        pool->trouble = *failure;
        (void)trouble_happens(&pool->away, LOG_LEVEL_WARNING, now, "%s: the store cannot be reached: %s",
                              pool->name, failure->text);
    } else {
        (void)snprintf(text, sizeof text, "%s: the store is back", pool->name);
        trouble_ends(&pool->away, now, text);
    }
}

/* The connected store, if that is possible now; else NULL. */
static struct store *connect_store(struct store_threads *pool, struct link *link, struct failure *failure)
{
    if (link->connected)
        return &link->store;
    pthread_mutex_lock(&pool->mutex);
    bool wait = pool->retry_at != 0 && clock_ns() < pool->retry_at;
    if (wait)
        *failure = pool->trouble;
    else if (pool->retry_at != 0)
        pool->retry_at = clock_ns() + RETRY_NS; /* this thread tries; the others go on failing at once */
    pthread_mutex_unlock(&pool->mutex);
    if (wait)
        return NULL;
    int code = store_open(&link->store, &pool->options, failure);
    pthread_mutex_lock(&pool->mutex);
    note_attempt(pool, code, failure);
    pthread_mutex_unlock(&pool->mutex);
    link->connected = code == 0;
    return link->connected ? &link->store : NULL;
}

static void wake_loop(const struct store_threads *pool)
{
    uint64_t one = 1;
    ssize_t written = write(pool->wake, &one, sizeof one);
    assert(written == sizeof one); /* an eventfd far from its maximum takes it */
    (void)written;
}

static void finish(struct store_threads *pool, struct store_job *job)
{
    pthread_mutex_lock(&pool->mutex);
    list_put(&pool->finished, job);
    pthread_mutex_unlock(&pool->mutex);
    wake_loop(pool);
}

/* False when the thread is to end. *out is NULL when there was nothing to do for REST_NS. */
static bool next_job(struct store_threads *pool, struct store_job **out)
{
    uint64_t until_ns = clock_ns() + REST_NS;
    struct timespec until = {(time_t)(until_ns / 1000000000), (long)(until_ns % 1000000000)};
    int waited = 0;
    pthread_mutex_lock(&pool->mutex);
    while (!pool->queue.head && !pool->stopping && waited != ETIMEDOUT)
        waited = pthread_cond_timedwait(&pool->more, &pool->mutex, &until);
    bool go_on = !pool->stopping;
    *out = go_on ? list_take(&pool->queue) : NULL;
    if (*out)
        pool->queued--;
    pthread_mutex_unlock(&pool->mutex);
    return go_on;
}

/* Tests a connection that has rested: an SQLite file that was replaced meanwhile answers every query, and none of
 * them truly; a server that has ended the connection answers none. */
static void try_rested(struct link *link)
{
    if (!link->connected)
        return;
    bool good =
        store_current(&link->store) && (clock_ns() - link->used_ns < TRY_NS || sql_alive(link->store.sql));
    if (!good)
        disconnect(link);
}

/* True when the connection was lost in the job. */
static bool run_once(struct store_threads *pool, struct link *link, struct store_job *job, int *code)
{
    struct failure failure = {0};
    struct store *usable = connect_store(pool, link, &failure);
    *code = job->run(job, usable, &failure);
    link->used_ns = clock_ns();
    bool lost = link->connected && sql_broken(link->store.sql);
    if (lost)
        disconnect(link);
    return lost;
}

/* A job that finds out at once that its connection is lost has done nothing yet, and is run once more. A job that
 * waited for long had a server that does not answer, and would wait again. */
static void carry_out(struct store_threads *pool, struct link *link, struct store_job *job)
{
    int code;
    bool rested = link->connected;
    uint64_t begun_ns = clock_ns();
    bool lost = run_once(pool, link, job, &code);
    if (lost && rested && code < 0 && !job->once && clock_ns() - begun_ns < RETRY_NS)
        (void)run_once(pool, link, job, &code);
}

static void *thread_main(void *context)
{
    struct store_threads *pool = context;
    struct store_job *job;
    struct link link = {.connected = false};
    while (next_job(pool, &job)) {
        try_rested(&link);
        if (!job)
            continue;
        carry_out(pool, &link, job);
        finish(pool, job);
    }
    disconnect(&link);
    return NULL;
}

/* ---- the loop's side ------------------------------------------------------------------------------------- */

static struct store_job *take_finished(struct store_threads *pool)
{
    pthread_mutex_lock(&pool->mutex);
    struct store_job *job = list_take(&pool->finished);
    pthread_mutex_unlock(&pool->mutex);
    return job;
}

/* What a job has brought may take a while to be dealt with, and many may end at once: those that are too many for this
 * turn of the loop wait for the next one. */
static void on_wake(evutil_socket_t descriptor, short what, void *context)
{
    struct store_threads *pool = context;
    uint64_t count, begun_ns = clock_ns();
    struct store_job *job;
    (void)what;
    ssize_t got = read(descriptor, &count, sizeof count);
    (void)got; /* nothing to read means that an earlier call took the list */
    while ((job = take_finished(pool)) != NULL) {
        job->done(job);
        if (turn_is_over(begun_ns)) {
            wake_loop(pool);
            return;
        }
    }
}

static int start_threads(struct store_threads *pool, unsigned threads)
{
    int code = 0;
    while (pool->thread_count < threads && code == 0) {
        code = thread_start(&pool->threads[pool->thread_count], thread_main, pool);
        pool->thread_count += code == 0;
    }
    return code;
}

static int copy_options(struct store_threads *pool, const struct sql_options *options)
{
    pool->options = *options;
    pool->url = strdup(options->url);
    pool->password = options->password ? strdup(options->password) : NULL;
    if (!pool->url || (options->password && !pool->password))
        return PERMTAB_E_MEMORY;
    pool->options.url = pool->url;
    pool->options.password = pool->password;
    return 0;
}

/* Conditions wait by CLOCK_MONOTONIC, as everything else does. */
static void condition_init(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
}

int store_threads_new(struct store_threads **out, const struct store_threads_options *options)
{
    int code = PERMTAB_E_MEMORY;
    struct store_threads *pool = calloc(1, sizeof *pool);
    if (!pool)
        return code;
    pthread_mutex_init(&pool->mutex, NULL);
    condition_init(&pool->more);
    list_init(&pool->queue);
    list_init(&pool->finished);
    pool->name = options->name;
    pool->queue_max = options->queue_max;
    pool->wake = -1;
    pool->threads = calloc(options->threads, sizeof *pool->threads);
    if (!pool->threads || (code = copy_options(pool, options->store)) < 0)
        goto out;
    code = PERMTAB_E_SYSTEM;
    pool->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (pool->wake < 0)
        goto out;
    pool->event = event_new(options->base, pool->wake, EV_READ | EV_PERSIST, on_wake, pool);
    if (!pool->event || event_add(pool->event, NULL) < 0)
        goto out;
    code = start_threads(pool, options->threads);
out:
    if (code < 0) {
        store_threads_free(pool);
        pool = NULL;
    }
    *out = pool;
    return code;
}

/* Jobs that no thread has begun end here, as though the store were away. */
static void fail_queued(struct store_threads *pool)
{
    struct store_job *job;
    while ((job = list_take(&pool->queue)) != NULL) {
        struct failure failure = {0};
        (void)failure_set(&failure, PERMTAB_E_UNREACHABLE, "the sidecar is stopping");
        (void)job->run(job, NULL, &failure);
        job->done(job);
    }
    pool->queued = 0;
}

void store_threads_free(struct store_threads *pool)
{
    struct store_job *job;
    if (!pool)
        return;
    pthread_mutex_lock(&pool->mutex);
    pool->stopping = true;
    pthread_cond_broadcast(&pool->more);
    pthread_mutex_unlock(&pool->mutex);
    for (unsigned i = 0; i < pool->thread_count; i++)
        (void)pthread_join(pool->threads[i], NULL);
    while ((job = take_finished(pool)) != NULL)
        job->done(job);
    fail_queued(pool);
    if (pool->event)
        event_free(pool->event);
    if (pool->wake >= 0)
        (void)close(pool->wake);
    if (pool->password)
        explicit_bzero(pool->password, strlen(pool->password));
    free(pool->password);
    free(pool->url);
    free(pool->threads);
    pthread_cond_destroy(&pool->more);
    pthread_mutex_destroy(&pool->mutex);
    free(pool);
}

int store_threads_submit(struct store_threads *pool, struct store_job *job)
{
    int code = 0;
    job->once = false;
    pthread_mutex_lock(&pool->mutex);
    if (pool->stopping || pool->queued >= pool->queue_max) {
        code = PERMTAB_E_FULL;
    } else {
        list_put(&pool->queue, job);
        pool->queued++;
        pthread_cond_signal(&pool->more);
    }
    pthread_mutex_unlock(&pool->mutex);
    return code;
}

bool store_threads_withdraw(struct store_threads *pool, struct store_job *job)
{
    bool found = false;
    pthread_mutex_lock(&pool->mutex);
    for (struct store_job **at = &pool->queue.head; *at; at = &(*at)->next) {
        if (*at != job)
            continue;
        found = true;
        *at = job->next;
        pool->queued--;
        if (pool->queue.tail == &job->next)
            pool->queue.tail = at;
        break;
    }
    pthread_mutex_unlock(&pool->mutex);
    return found;
}
