/* The worker: the order of starting, serving, stopping. Every part is a struct of this one; nothing is global.
 *
 * A failure while starting is told to the master, which prints or logs it. The exit code is 2 when the configuration
 * is to blame and 1 when the next start may succeed. */
#include "proxy/base/clock.h"
#include "proxy/base/log.h"
#include "proxy/base/timer.h"
#include "proxy/daemon/daemon.h"
#include "proxy/master/channel.h"

#include <event2/event.h>
#include <inttypes.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#define DOORS_MS     500u      /* longest wait for the first poll, see open_doors in events.c */
#define STOP_SECONDS 2         /* the master's patience is longer, see proxy/master/workers.c */
#define LEAVE_NS     500000000 /* for another worker: clients wait for it */

/* ---- starting and stopping --------------------------------------------------------------------------------------- */

static int start(struct daemon *daemon, struct failure *failure)
{
    int code;
    /* 1. Descriptors, before any is made: clients get what store, Redis and files leave. */
    if ((code = descriptors_init(&daemon->descriptors, &daemon->config, failure)) < 0)
        return code;
    /* 2. The loop, because sockets and threads report to it. It does not turn before everything is there. */
    if ((code = daemon_start_loop(daemon, failure)) < 0)
        return code;
    daemon->phase = DAEMON_STARTING;
    /* 3. The sockets, on which nobody is accepted yet: clients that connect now wait in the backlog. */
    if ((code = daemon_start_listening(daemon, failure)) < 0)
        return code;
    /* 4. The store and the table: the table needs the store's id, its revision and its catalogue; and the keys, which
     *    say how large the last one was. */
    if ((code = daemon_open_store(daemon, failure)) < 0)
        return code;
    /* 5. Threads and the feed, which writes into the table. Its first poll grants the first lease. */
    if ((code = daemon_start_helpers(daemon, failure)) < 0)
        return code;
    /*    Growth, which makes the next tables. */
    if ((code = daemon_start_growth(daemon, failure)) < 0)
        return code;
    /* 6. Redis, with the parts that work there and for the fleet. */
    if ((code = daemon_start_redis(daemon, failure)) < 0)
        return code;
    /* 7. Questions and fills, which use Redis when it is there, and note what is asked for; the warm-up and the queue
     *    in Redis, which ask questions. */
    if ((code = daemon_start_answering(daemon, failure)) < 0 ||
        (code = daemon_start_warming(daemon, failure)) < 0 ||
        (code = daemon_start_delayed(daemon, failure)) < 0)
        return code;
    /* 8. The watching parts, the auditor and the subscriptions. They know all parts above; the sessions know them. */
    if ((code = daemon_start_watching(daemon, failure)) < 0)
        return code;
    /* 9. The sessions, which ask all parts above. */
    return daemon_start_serving(daemon, failure);
}

/* Ends the process when the stop takes too long: it waits for threads that wait for the store, perhaps for
 * store_timeout and longer. By then everything that others see of the end has been done, and a statement under way
 * may end as it does when a process is killed: the store keeps what was committed and nothing else. Nothing is
 * shared with the threads that are left behind, so nothing is taken from under them. */
static void *leave_in_time(void *context)
{
    struct timespec left = *(const struct timespec *)context;
    while (nanosleep(&left, &left) < 0)
        continue;
    log_warning("permtabd: the store has not answered in time: what it was asked is left to it");
    _exit(EXIT_FINE);
}

static void leave_in_any_case(const struct daemon *daemon)
{
    /* The thread may begin when the daemon is no more. */
    static const struct timespec stopping = {.tv_sec = STOP_SECONDS}, leaving = {.tv_nsec = LEAVE_NS};
    pthread_t thread;
    const struct timespec *time = daemon->leaving ? &leaving : &stopping;
    if (pthread_create(&thread, NULL, leave_in_time, (void *)(uintptr_t)time) == 0)
        (void)pthread_detach(thread);
}

/* Stops the parts in reverse, with readers first: a part that ends after the lease cannot mislead anybody. */
static void stop(struct daemon *daemon, bool served)
{
    bool followed = daemon->leaving || daemon->start->passed_on;
    /* Somebody else is about to serve the same sockets: until then the table is true for as long as its lease says. */
    if (daemon->parts.publisher && !followed)
        publisher_end_lease(daemon->parts.publisher, OWN_FAULT);
    listener_free(daemon->ops_listener);
    listener_free(daemon->listener);
    (void)channel_tell(daemon->start->channel, CHANNEL_CLOSED, "");
    server_fini(&daemon->server);
    if (served) /* otherwise an exit code comes after it */
        leave_in_any_case(daemon);
    ops_free(daemon->ops);
    delayed_free(daemon->parts.delayed); /* before all that it asks and waits for */
    warm_free(daemon->parts.warm);       /* before all that it asks */
    answering_end(daemon->parts.answering);
    audit_free(daemon->parts.audit);
    invalidations_free(daemon->parts.invalidations);
    cleanup_free(daemon->parts.cleanup);
    writes_free(daemon->parts.writes);
    /* Calls back the last jobs, which know the feed, the fleet and the counters. */
    store_threads_free(daemon->parts.pool);
    store_threads_free(daemon->replica);
    fleet_free(daemon->parts.fleet); /* a write that has just ended was announced over it */
    answering_free(daemon->parts.answering);
    keys_free(daemon->keys);
    redis_free(daemon->parts.redis); /* tells the others that their commands are lost */
    l2_free(daemon->l2);
    feed_free(daemon->parts.feed);
    subscriptions_free(daemon->parts.subscriptions);
    growth_free(daemon->parts.growth);
    if (followed)
        publisher_leave(daemon->parts.publisher);
    else
        publisher_free(daemon->parts.publisher);
    workshop_free(daemon->parts.workshop); /* frees the tables that the publisher had dropped */
    struct event *events[] = {daemon->master, daemon->beat, daemon->doors, daemon->grace};
    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++) {
        if (events[i])
            event_free(events[i]);
    }
    if (daemon->parts.base)
        event_base_free(daemon->parts.base);
}

/* The exit code for a failure. One that the store or the table's size cause is mended in the configuration. */
static int exit_code_of(const struct daemon *daemon, int code)
{
    bool contradicted = code == PERMTAB_E_CONFLICT || code == PERMTAB_E_LIMIT || code == PERMTAB_E_INVALID;
    switch (daemon->phase) {
    case DAEMON_PREPARING: /* a limit is that of descriptors */
        return code == PERMTAB_E_LIMIT ? EXIT_CONFIGURATION : EXIT_TRANSIENT;
    case DAEMON_STARTING:
        return contradicted ? EXIT_CONFIGURATION : EXIT_TRANSIENT;
    }
    return EXIT_TRANSIENT;
}

static uint64_t processor_ns(void)
{
    struct timespec used;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * 1000000000 + (uint64_t)used.tv_nsec;
}

/* Turns the loop until it is told to end. A turn is what keeps everybody else waiting, so each is measured, in
 * processor time: what the machine does meanwhile is not ours to answer for. */
static int turn_until_told(struct daemon *daemon)
{
    struct event_base *base = daemon->parts.base;
    uint64_t before_ns = processor_ns();
    do {
        if (event_base_loop(base, EVLOOP_ONCE) < 0)
            return -1;
        uint64_t now_ns = processor_ns();
        histogram_add(&daemon->histograms.turns, (now_ns - before_ns) / 1000);
        before_ns = now_ns;
    } while (!event_base_got_break(base));
    return 0;
}

static int serve(struct daemon *daemon, struct failure *failure)
{
    int code = start(daemon, failure);
    if (code == 0) {
        (void)timer_in_ms(daemon->doors, DOORS_MS);
        if (turn_until_told(daemon) < 0)
            code = failure_set(failure, PERMTAB_E_SYSTEM, "the event loop broke off");
    }
    stop(daemon, code == 0);
    return code;
}

int daemon_work(const struct worker_start *start, const struct demo *demo)
{
    struct failure failure = {0};
    struct daemon daemon = {.start = start,
                            .begun_ns = clock_ns(),
                            .config = *start->config,
                            .demo = demo,
                            .counters = {.worker_starts = start->number}};
    int code = serve(&daemon, &failure);
    if (code < 0)
        (void)channel_tell(start->channel, CHANNEL_FAILED, failure.text);
    config_fini(&daemon.config);
    return code < 0 ? exit_code_of(&daemon, code) : EXIT_FINE;
}
