/* Messages in and out. Everything in a message may be wrong, late, twice, out of order or invented; so all that it can do is to
 * cost time: entries are filled again, fills wait for one poll, the store is asked once more. Lost ones are made up for by the
 * poll, which nothing here replaces: whenever the sequence breaks, the connection was away, or a message does not parse,
 * the store is asked at once instead of in its turn.
 *
 * Polls on request are spaced, so that a flood of messages is not a flood of queries. */
#include "proxy/invalidate/lane.h"

#include "proxy/base/clock.h"
#include "proxy/base/log.h"
#include "proxy/redis/subscriber.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>

#define WAKE_SPACING_NS 1000000ull
#define CHANNEL_SIZE    128

struct lane {
    struct lane_parts parts;
    struct redis_subscriber *subscriber;
    char channel[CHANNEL_SIZE];
    uint64_t
        heard; /* revision up to which the sequence of changes has been heard; 0: from the next message on */
    uint64_t woken_ns;
    struct event *wake;
    struct event *retire; /* pending: what messages named is being retired, or was in this turn */
};

/* ---- waking the poll ---------------------------------------------------------------------------------------------- */

static void on_wake(evutil_socket_t descriptor, short what, void *context)
{
    struct lane *lane = context;
    (void)descriptor, (void)what;
    lane->woken_ns = clock_ns();
    lane->parts.counters->message_wakes++;
    feed_wake(lane->parts.feed);
}

static void wake(struct lane *lane)
{
    uint64_t since = clock_ns() - lane->woken_ns;
    struct timeval wait = {0, 0};
    if (evtimer_pending(lane->wake, NULL))
        return;
    if (since >= WAKE_SPACING_NS) {
        on_wake(-1, 0, lane);
        return;
    }
    wait.tv_usec = (suseconds_t)((WAKE_SPACING_NS - since) / 1000);
    (void)event_add(lane->wake, &wait);
}

/* ---- retiring ---------------------------------------------------------------------------------------------------- */

static const struct timeval at_once = {0};

static void on_retire(evutil_socket_t descriptor, short what, void *context)
{
    struct lane *lane = context;
    (void)descriptor, (void)what;
    if (publisher_hear_slice(lane->parts.publisher, clock_ns(), PUBLISHER_SLICE))
        (void)evtimer_add(lane->retire, &at_once);
}

/* A slice at once for the first message of a turn of the loop, and then one a turn, however many messages there are. */
static void retire_some(struct lane *lane)
{
    if (evtimer_pending(lane->retire, NULL))
        return;
    (void)publisher_hear_slice(lane->parts.publisher, clock_ns(), PUBLISHER_SLICE);
    (void)evtimer_add(lane->retire, &at_once);
}

/* ---- hearing ------------------------------------------------------------------------------------------------------ */

static void hear_targets(struct lane *lane, const struct message *message)
{
    uint64_t now = clock_ns();
    for (size_t i = 0; i < message->count; i++)
        (void)publisher_hear(lane->parts.publisher, &message->targets[i], message->to, now);
}

/* A change of the store's log, or what a host says of its own client's write. */
static void hear_change(struct lane *lane, const struct message *message)
{
    struct log_position at = publisher_position(lane->parts.publisher);
    bool sequenced = message->kind == MESSAGE_CHANGED;
    if (message->store_id != at.store_id) {
        lane->parts.counters->messages_foreign++;
        return;
    }
    if (sequenced && lane->heard != 0 && message->from > lane->heard && message->from > at.revision) {
        lane->parts.counters->message_gaps++;
        wake(lane);
    }
    if (sequenced) {
        lane->heard = message->to;
        if (lane->parts.l2 != NULL)
            l2_heard(lane->parts.l2, message->to);
    }
    if (message->to > at.revision) {
        hear_targets(lane, message);
        retire_some(lane);
        wake(lane);
    }
}

static bool asks_for_a_poll(const struct message *message)
{
    for (size_t i = 0; i < message->count; i++)
        if (message->targets[i].kind == TARGET_POKE)
            return true;
    return false;
}

static void on_message(void *context, const char *bytes, size_t size)
{
    struct lane *lane = context;
    struct message message;
    lane->parts.counters->messages++;
    if (message_parse(&publisher_catalogue(lane->parts.publisher)->types, bytes, size, &message) < 0) {
        lane->parts.counters->messages_bad++;
        wake(lane);
        return;
    }
    switch (message.kind) {
    case MESSAGE_CHANGED:
    case MESSAGE_WRITTEN:
        hear_change(lane, &message);
        break;
    case MESSAGE_PLAIN:
        if (asks_for_a_poll(&message))
            wake(lane);
        invalidations_heard(lane->parts.invalidations, &message);
        break;
    case MESSAGE_INVALIDATE:
        invalidations_heard(lane->parts.invalidations, &message);
        break;
    }
    message_fini(&message);
}

/* Whatever was published while nobody listened is lost. */
static void on_state(void *context, bool subscribed)
{
    struct lane *lane = context;
    lane->heard = 0;
    if (subscribed)
        wake(lane);
}

/* ---- sending ------------------------------------------------------------------------------------------------------ */

void lane_written(struct lane *lane, uint64_t store_id, uint64_t revision, const struct target *target)
{
    struct target poke = {.kind = TARGET_POKE}, named = target != NULL ? *target : poke;
    struct message message = {
        .kind = MESSAGE_WRITTEN, .store_id = store_id, .to = revision, .targets = &named, .count = 1};
    struct redis_args args;
    if (revision > publisher_position(lane->parts.publisher).revision) {
        (void)publisher_hear(lane->parts.publisher, &named, revision, clock_ns());
        retire_some(lane);
    }
    char *text = message_format(&publisher_catalogue(lane->parts.publisher)->types, &message);
    if (text == NULL)
        return;
    redis_args_init(&args);
    redis_args_text(&args, "PUBLISH");
    redis_args_text(&args, lane->channel);
    redis_args_text(&args, text);
    if (redis_send(lane->parts.redis, &args, NULL, NULL) < 0)
        log_debug("lane: revision %llu was not announced: Redis is away", (unsigned long long)revision);
    redis_args_fini(&args);
    free(text);
}

/* ---- life --------------------------------------------------------------------------------------------------------- */

int lane_new(struct lane **out, struct event_base *base, const struct redis_options *options,
             const char *prefix, const struct lane_parts *parts, struct failure *failure)
{
    struct lane *lane = calloc(1, sizeof *lane);
    struct redis_subscriber_events events = {on_message, on_state, lane};
    if (lane != NULL) {
        lane->wake = evtimer_new(base, on_wake, lane);
        lane->retire = evtimer_new(base, on_retire, lane);
    }
    if (lane == NULL || lane->wake == NULL || lane->retire == NULL) {
        lane_free(lane);
        return failure_set(failure, PERMTAB_E_MEMORY, "out of memory");
    }
    lane->parts = *parts;
    (void)snprintf(lane->channel, sizeof lane->channel, "%sinvalidate", prefix);
    int code = redis_subscriber_new(&lane->subscriber, base, options, lane->channel, &events, failure);
    if (code < 0) {
        lane_free(lane);
        return code;
    }
    *out = lane;
    return 0;
}

void lane_free(struct lane *lane)
{
    if (lane == NULL)
        return;
    redis_subscriber_free(lane->subscriber);
    if (lane->wake != NULL)
        event_free(lane->wake);
    if (lane->retire != NULL)
        event_free(lane->retire);
    free(lane);
}
