/* Messages in and out. Everything in a message may be wrong, late, twice, out of order or invented, so a message
 * can only cost time: entries are filled again, fills wait for one poll, the store is asked once more. The poll
 * makes up for lost messages, and nothing here replaces it: whenever the sequence breaks, the connection was away,
 * or a message does not parse, the store is asked at once instead of in its turn.
 *
 * Polls on request are spaced, so that a flood of messages is not a flood of queries. */
#include "proxy/invalidate/fleet.h"

#include "proxy/base/clock.h"
#include "proxy/base/log.h"
#include "proxy/base/timer.h"
#include "proxy/redis/subscriber.h"
#include "proxy/table/retire.h"

#include <event2/event.h>
#include <stdlib.h>

#define WAKE_SPACING_NS 1000000ull

struct fleet {
    struct fleet_options options; /* without what is copied */
    struct redis_subscriber *subscriber;
    char channel[MESSAGE_CHANNEL_SIZE];
    /* revision up to which the sequence of changes has been heard; 0: from the next message on */
    uint64_t heard;
    uint64_t woken_ns;
    struct event *wake;
    struct event *retire; /* pending: targets of messages are being retired, or were in this turn */
};

/* ---- waking the poll --------------------------------------------------------------------------------------------- */

static void on_wake(evutil_socket_t descriptor, short what, void *context)
{
    struct fleet *fleet = context;
    (void)descriptor, (void)what;
    fleet->woken_ns = clock_ns();
    fleet->options.counters->message_wakes++;
    feed_wake(fleet->options.feed);
}

static void wake(struct fleet *fleet)
{
    uint64_t since = clock_ns() - fleet->woken_ns;
    if (evtimer_pending(fleet->wake, NULL))
        return;
    if (since >= WAKE_SPACING_NS) {
        on_wake(-1, 0, fleet);
        return;
    }
    (void)timer_in_ns(fleet->wake, WAKE_SPACING_NS - since);
}

/* Messages were not heard, or not understood. The poll makes up for what the log tells; what it does not, an
 * invalidation, may be about whatever is kept beside the table. */
static void outdate_and_wake(struct fleet *fleet)
{
    publisher_outdate_kept(fleet->options.publisher);
    wake(fleet);
}

/* ---- retiring ---------------------------------------------------------------------------------------------------- */

static void on_retire(evutil_socket_t descriptor, short what, void *context)
{
    struct fleet *fleet = context;
    (void)descriptor, (void)what;
    if (publisher_hear_slice(fleet->options.publisher, clock_ns(), PUBLISHER_SLICE))
        (void)timer_at_once(fleet->retire);
}

/* Retires a slice at once for the first message of a turn of the loop, and then one a turn, however many messages
 * there are. */
static void retire_some(struct fleet *fleet)
{
    if (evtimer_pending(fleet->retire, NULL))
        return;
    (void)publisher_hear_slice(fleet->options.publisher, clock_ns(), PUBLISHER_SLICE);
    (void)timer_at_once(fleet->retire);
}

/* ---- hearing ----------------------------------------------------------------------------------------------------- */

static void hear_targets(struct fleet *fleet, const struct message *message)
{
    uint64_t now = clock_ns();
    for (size_t i = 0; i < message->count; i++)
        (void)publisher_hear(fleet->options.publisher, &message->targets[i], message->to, now);
}

/* Hears MESSAGE_CHANGED, a change of the store's log, or MESSAGE_WRITTEN, a write of another host's client. */
static void hear_change(struct fleet *fleet, const struct message *message)
{
    struct log_position at = publisher_position(fleet->options.publisher);
    bool sequenced = message->kind == MESSAGE_CHANGED;
    if (message->store_id != at.store_id) {
        fleet->options.counters->messages_foreign++;
        return;
    }
    if (sequenced && fleet->heard != 0 && message->from > fleet->heard && message->from > at.revision) {
        fleet->options.counters->message_gaps++;
        outdate_and_wake(fleet);
    }
    if (sequenced) {
        fleet->heard = message->to;
        if (fleet->options.l2 != NULL)
            l2_heard(fleet->options.l2, message->to);
    }
    if (message->to > at.revision) {
        hear_targets(fleet, message);
        retire_some(fleet);
        wake(fleet);
    }
}

static void on_message(void *context, const char *bytes, size_t size)
{
    struct fleet *fleet = context;
    struct message message;
    fleet->options.counters->messages++;
    if (message_parse(&publisher_catalogue(fleet->options.publisher)->types, bytes, size, &message) < 0) {
        fleet->options.counters->messages_bad++;
        outdate_and_wake(fleet);
        return;
    }
    switch (message.kind) {
    case MESSAGE_CHANGED:
    case MESSAGE_WRITTEN:
        hear_change(fleet, &message);
        break;
    case MESSAGE_PLAIN:
        if (message_pokes(&message))
            outdate_and_wake(fleet);
        invalidations_heard(fleet->options.invalidations, &message);
        break;
    case MESSAGE_INVALIDATE:
        invalidations_heard(fleet->options.invalidations, &message);
        break;
    }
    message_fini(&message);
}

/* Polls the store, because messages that were published while nobody listened are lost. */
static void on_state(void *context, bool subscribed)
{
    struct fleet *fleet = context;
    fleet->heard = 0;
    if (subscribed)
        outdate_and_wake(fleet);
    else
        publisher_outdate_kept(fleet->options.publisher);
}

/* ---- sending ----------------------------------------------------------------------------------------------------- */

void fleet_announce(struct fleet *fleet, uint64_t store_id, uint64_t revision, const struct target *target)
{
    struct target poke = {.kind = TARGET_POKE}, named = target != NULL ? *target : poke;
    struct message message = {
        .kind = MESSAGE_WRITTEN, .store_id = store_id, .to = revision, .targets = &named, .count = 1};
    struct redis_args args;
    if (revision > publisher_position(fleet->options.publisher).revision) {
        (void)publisher_hear(fleet->options.publisher, &named, revision, clock_ns());
        retire_some(fleet);
    }
    char *text = message_format(&publisher_catalogue(fleet->options.publisher)->types, &message);
    if (text == NULL)
        return;
    redis_args_init(&args);
    redis_args_text(&args, "PUBLISH");
    redis_args_text(&args, fleet->channel);
    redis_args_text(&args, text);
    if (redis_send(fleet->options.redis, &args, NULL, NULL) < 0)
        log_debug("fleet: revision %llu was not announced: Redis is away", (unsigned long long)revision);
    redis_args_fini(&args);
    free(text);
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

int fleet_new(struct fleet **out, const struct fleet_options *options, struct failure *failure)
{
    struct fleet *fleet = calloc(1, sizeof *fleet);
    if (fleet != NULL) {
        fleet->wake = evtimer_new(options->base, on_wake, fleet);
        fleet->retire = evtimer_new(options->base, on_retire, fleet);
    }
    if (fleet == NULL || fleet->wake == NULL || fleet->retire == NULL) {
        fleet_free(fleet);
        return failure_set(failure, PERMTAB_E_MEMORY, "out of memory");
    }
    fleet->options = *options;
    fleet->options.access = NULL; /* these two were lent for this call */
    fleet->options.prefix = NULL;
    (void)message_channel(fleet->channel, options->prefix);
    struct redis_subscriber_options subscriber = {
        .base = options->base,
        .message = on_message,
        .state = on_state,
        .context = fleet,
        .access = options->access,
        .channel = fleet->channel,
    };
    int code = redis_subscriber_new(&fleet->subscriber, &subscriber, failure);
    if (code < 0) {
        fleet_free(fleet);
        return code;
    }
    *out = fleet;
    return 0;
}

void fleet_free(struct fleet *fleet)
{
    if (fleet == NULL)
        return;
    redis_subscriber_free(fleet->subscriber);
    if (fleet->wake != NULL)
        event_free(fleet->wake);
    if (fleet->retire != NULL)
        event_free(fleet->retire);
    free(fleet);
}
