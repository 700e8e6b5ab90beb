/* Events and questions of one part that other parts must hear or answer, and what the master says. */
#include "proxy/daemon/daemon.h"

#include "proxy/base/clock.h"
#include "proxy/base/log.h"
#include "proxy/base/timer.h"
#include "proxy/master/channel.h"

#include <event2/event.h>
#include <event2/thread.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#define BEAT_MS 1000u
#define TIMERS  1024u /* more than the daemon's parts, operators and requests set at one time */

/* ---- the feed's news ------------------------------------------------------------------------------------------ */

/* Shows the store's clock against this host's wall clock, which an operator can compare. */
static void show_clock(struct daemon *daemon, uint64_t now_ns)
{
    int64_t offset;
    uint64_t error;
    if (!store_clock_read(&daemon->store_clock, now_ns, &offset, &error))
        return;
    int64_t own = wall_us() - (int64_t)(now_ns / 1000);
    daemon->counters.clock_offset_us = (uint64_t)(offset - own);
    daemon->counters.clock_error_us = error;
    daemon->counters.clock_steps = daemon->store_clock.steps;
}

/* Measures how long changes took. A change took effect when its batch was applied, microseconds before this call.
 * Changes inside a rebuild are not measured, because their rows are not read. */
static void measure(struct daemon *daemon, const struct change_list *changes, uint64_t now_ns)
{
    uint64_t us;
    for (size_t i = 0; i < changes->count; i++) {
        switch (propagation_measure(&daemon->store_clock, changes->items[i].at, now_ns, &us)) {
        case PROPAGATION_MEASURED:
            histogram_add(&daemon->histograms.propagation, us);
            break;
        case PROPAGATION_UNKNOWN:
        case PROPAGATION_ABSURD:
            daemon->counters.propagation_unmeasured++;
            break;
        }
    }
}

/* Tells the parts of the table's new revision: first those that keep facts beside the table, then those that answer
 * waiting clients. */
static void go_on_from(struct daemon *daemon, uint64_t revision)
{
    if (daemon->l2) /* the marker first: fills put values after it has moved */
        l2_applied(daemon->l2);
    answering_applied(daemon->parts.answering, revision);
    audit_applied(daemon->parts.audit);
    server_applied(&daemon->server);
}

/* Accepts clients. Before the first poll has been applied every check would be answered unknown, for want of a lease;
 * who has to wait for it does so in the backlog. */
static void open_doors(struct daemon *daemon)
{
    if (daemon->open)
        return;
    daemon->open = true;
    (void)event_del(daemon->doors);
    if (listener_begin(daemon->listener) < 0 ||
        (daemon->ops_listener && listener_begin(daemon->ops_listener) < 0)) {
        log_error("permtabd: clients cannot be accepted: out of memory");
        _exit(EXIT_TRANSIENT);
    }
    log_info("permtabd " PERMTAB_VERSION ": serving %s from revision %" PRIu64, daemon->config.socket,
             publisher_position(daemon->parts.publisher).revision);
    (void)channel_tell(daemon->start->channel, CHANNEL_READY, "");
}

/* The store lets the first poll wait: then clients are told that, instead of nothing. */
static void on_no_poll(evutil_socket_t descriptor, short what, void *context)
{
    (void)descriptor, (void)what;
    log_warning("permtabd: the store lets the first poll wait: clients are accepted, and answered unknown until then");
    open_doors(context);
}

void daemon_on_news(void *context, const struct feed_news *news)
{
    struct daemon *daemon = context;
    uint64_t now_ns = clock_ns();
    if (news->asked_ns != 0) {
        store_clock_add(&daemon->store_clock, news->asked_ns, news->answered_ns, news->store_now);
        show_clock(daemon, now_ns);
    }
    if (news->batch)
        measure(daemon, &news->batch->changes, now_ns);
    if (daemon->l2)
        l2_erase_if_distrusted(daemon->l2);
    if (daemon->parts.subscriptions && news->batch)
        subscriptions_applied(daemon->parts.subscriptions, news->batch);
    if (daemon->parts.subscriptions && news->rebuilt)
        subscriptions_rebuilt(daemon->parts.subscriptions);
    if (news->rebuilt)
        daemon_warm_again(daemon);
    if (news->applied)
        go_on_from(daemon, news->revision);
    open_doors(daemon);
    if (!daemon->answers && publisher_leased(daemon->parts.publisher, now_ns))
        daemon->answers = channel_tell(daemon->start->channel, CHANNEL_ANSWERS, "");
    if (news->applied) {
        growth_applied(daemon->parts.growth);
        warm_applied(daemon->parts.warm);
    }
}

/* ---- what other parts tell ------------------------------------------------------------------------------------- */

void daemon_on_redis(void *context, bool connected)
{
    struct daemon *daemon = context;
    if (daemon->l2)
        l2_connected(daemon->l2, connected);
    if (daemon->parts.cleanup)
        cleanup_connected(daemon->parts.cleanup, connected);
    if (daemon->parts.delayed)
        delayed_connected(daemon->parts.delayed, connected);
    if (connected)
        warm_connected(daemon->parts.warm);
}

void daemon_on_refresh(void *context, uint64_t user, struct scope_key scope)
{
    struct daemon *daemon = context;
    answering_refresh(daemon->parts.answering, user, scope);
}

/* Nobody reads keys of the old epoch any more, so a clean-up starts. */
void daemon_on_epoch(void *context)
{
    struct daemon *daemon = context;
    if (daemon->parts.cleanup && cleanup_start(daemon->parts.cleanup, CLEANUP_EPOCHS, NULL, NULL, NULL) < 0)
        log_info("l2: the keys of the last epoch are left to end with their time to live");
}

/* The auditor found this host's table wrong, so values in L2 and answers to other hosts that came from it may be
 * wrong, too. One user is invalidated for the whole fleet. Everything is invalidated on this host and in L2 alone:
 * the wrong memory may be this host's, and the others have auditors of their own. */
void daemon_on_difference(void *context, uint64_t user, bool everything)
{
    struct daemon *daemon = context;
    struct target target = {.kind = everything ? TARGET_ALL : TARGET_USER, .id = user};
    struct invalidation what = {
        .targets = &target, .count = 1, .reason = "audit", .source = INVALIDATION_AUDIT};
    if (!everything && invalidation_start(daemon->parts.invalidations, &what, NULL, NULL) == 0)
        return; /* its end tells the subscribers, too */
    if (daemon->l2)
        l2_flush_sparingly(daemon->l2);
    subscriptions_tell(daemon->parts.subscriptions, &target, 1, "audit");
}

/* Whether anybody uses the segment; asked by growth, which knows no clients. */
bool daemon_attached(void *context, uint64_t segment_id)
{
    const struct daemon *daemon = context;
    return server_attached(&daemon->server, segment_id);
}

/* ---- what invalidation asks of other parts --------------------------------------------------------------------- */

static void wake_feed(void *context)
{
    struct daemon *daemon = context;
    feed_wake(daemon->parts.feed);
}

static void rebuild_table(void *context)
{
    struct daemon *daemon = context;
    feed_rebuild(daemon->parts.feed);
}

static void tell_subscribers(void *context, const struct target *targets, size_t count, const char *reason)
{
    struct daemon *daemon = context;
    subscriptions_tell(daemon->parts.subscriptions, targets, count, reason);
}

static bool read_epoch(void *context, uint64_t *out)
{
    struct daemon *daemon = context;
    return l2_epoch(daemon->l2, out);
}

static void flush_l2(void *context)
{
    struct daemon *daemon = context;
    l2_flush(daemon->l2);
}

static int64_t sweep_l2(void *context, const struct target *target, cleanup_done_fn done, void *job)
{
    struct daemon *daemon = context;
    const char *prefix = daemon->config.redis_prefix;
    char glob[CLEANUP_PATTERN_SIZE];
    int code = target->kind == TARGET_PREFIX ? cleanup_glob_prefix(glob, prefix, target->word)
                                             : cleanup_glob_pattern(glob, prefix, target->word);
    return code < 0 ? code : cleanup_start(daemon->parts.cleanup, CLEANUP_PATTERN, glob, done, job);
}

static void forget_sweep(void *context, int64_t number)
{
    struct daemon *daemon = context;
    cleanup_forget(daemon->parts.cleanup, (uint64_t)number);
}

struct invalidation_ports daemon_invalidation_ports(struct daemon *daemon)
{
    struct invalidation_ports ports = {
        .context = daemon, .wake = wake_feed, .rebuild = rebuild_table, .tell = tell_subscribers};
    if (daemon->parts.redis != NULL && daemon->config.l2) {
        ports.epoch = read_epoch;
        ports.flush = flush_l2;
        ports.sweep = sweep_l2;
        ports.sweep_forget = forget_sweep;
    }
    return ports;
}

/* ---- the master ------------------------------------------------------------------------------------------------ */

/* Begins the grace, in which nothing else changes: clients that still ask are answered, and workers that still have
 * to be forked may connect. */
static void stop_on(struct daemon *daemon, const char *number)
{
    uint64_t grace_ms = daemon->config.stop_grace_ms;
    bool again = event_pending(daemon->grace, EV_TIMEOUT, NULL);
    if (grace_ms > 0 && !again && timer_in_ms(daemon->grace, grace_ms) == 0) {
        log_info("permtabd: signal %s: everything goes on for stop_grace, %" PRIu64
                 " ms; a second signal ends it at once",
                 number, grace_ms);
        daemon->server.stop_at_ns = clock_ns() + grace_ms * 1000000;
        return;
    }
    log_info("permtabd: stopping on signal %s", number);
    (void)event_base_loopbreak(daemon->parts.base);
}

static void on_grace_over(evutil_socket_t descriptor, short what, void *context)
{
    struct daemon *daemon = context;
    (void)descriptor, (void)what;
    log_info("permtabd: stopping: stop_grace is over");
    (void)event_base_loopbreak(daemon->parts.base);
}

/* Often enough for the master, which gives a loop up that does not turn for worker_timeout, and for its supervisor. */
static uint64_t beat_ms(const struct daemon *daemon)
{
    uint64_t timeout_ms = daemon->config.worker_timeout_ms, watchdog_ms = daemon->start->watchdog_ms;
    uint64_t ms = BEAT_MS;
    if (timeout_ms != 0 && timeout_ms / 8 < ms)
        ms = timeout_ms / 8;
    if (watchdog_ms != 0 && watchdog_ms / 8 < ms)
        ms = watchdog_ms / 8;
    return ms > 0 ? ms : 1;
}

static void on_beat(evutil_socket_t descriptor, short what, void *context)
{
    struct daemon *daemon = context;
    (void)descriptor, (void)what;
    daemon->counters.worker_age_us = (clock_ns() - daemon->begun_ns) / 1000;
    daemon_count_keys(daemon);
    (void)channel_tell(daemon->start->channel, CHANNEL_BEAT, "");
}

/* Takes over an option that may change while the worker runs. A grace that runs stays as long as it was. */
static void change_option(struct daemon *daemon, char *text)
{
    struct failure failure;
    enum log_level level;
    char *value = strchr(text, '=');
    if (!value)
        return;
    *value++ = 0;
    if (config_set(&daemon->config, text, value, &failure) < 0) {
        log_error("permtabd: %s: %s", text, failure.text);
        return;
    }
    if (log_level_parse(daemon->config.log_level, &level) == 0)
        log_level_set(level);
    daemon_set_warming(daemon);
    (void)channel_tell(daemon->start->channel, CHANNEL_BEAT, ""); /* the master's patience may be shorter now */
    (void)timer_in_ms(daemon->beat, beat_ms(daemon));
}

static void obey(struct daemon *daemon, struct channel_message *message)
{
    switch (message->kind) {
    case CHANNEL_STOP:
        stop_on(daemon, message->text);
        break;
    case CHANNEL_LEAVE:
        log_info("permtabd: this worker makes room for another one");
        daemon->leaving = true;
        (void)event_base_loopbreak(daemon->parts.base);
        break;
    case CHANNEL_OPTION:
        change_option(daemon, message->text);
        break;
    default: /* what a worker tells */
        break;
    }
}

/* The end of the channel is that of the master. Nobody would begin another worker, nor hold the lock: this one ends
 * with it, as the kernel is asked to see to. */
static void on_master(evutil_socket_t channel, short what, void *context)
{
    struct daemon *daemon = context;
    struct channel_message message;
    int code;
    (void)what;
    while ((code = channel_hear(channel, &message)) > 0)
        obey(daemon, &message);
    if (code < 0)
        _exit(EXIT_TRANSIENT);
}

int daemon_start_loop(struct daemon *daemon, struct failure *failure)
{
    struct event_base *base = evthread_use_pthreads() == 0 ? event_base_new() : NULL;
    daemon->parts.base = base;
    if (base) {
        daemon->grace = evtimer_new(base, on_grace_over, daemon);
        daemon->doors = evtimer_new(base, on_no_poll, daemon);
        daemon->beat = event_new(base, -1, EV_PERSIST, on_beat, daemon);
        daemon->master = event_new(base, daemon->start->channel, EV_READ | EV_PERSIST, on_master, daemon);
    }
    if (!daemon->grace || !daemon->doors || !daemon->beat || !daemon->master ||
        timer_reserve(base, TIMERS) < 0 || event_add(daemon->master, NULL) < 0 ||
        timer_in_ms(daemon->beat, beat_ms(daemon)) < 0)
        return failure_set(failure, PERMTAB_E_SYSTEM, "the event loop cannot be set up");
    return 0;
}
