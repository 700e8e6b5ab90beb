/* The host's side of the queue: when it looks, and how much it takes. Every host looks every second, and when it
 * knows that a task is due; the script gives each task to one of them.
 *
 * A million tasks may be due in the same moment. Each makes some host read the store again, so each host carries
 * out `a_second` tasks a second and no more, until an operator says that it should hurry (DELAYED_RUN). */
#include "proxy/delayed/delayed.h"

#include "proxy/base/clock.h"
#include "proxy/base/container_of.h"
#include "proxy/base/timer.h"
#include "proxy/delayed/private.h"

#include <event2/event.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LEASE_MS   30000u
#define TICK_MS    1000u
#define A_SECOND   500u
#define BUDGET     10u
#define TAKE_MAX   64u
#define TAKE_BYTES (256u * 1024)
#define BURST      64u
#define NS_IN_A_MS 1000000u
#define NS_IN_A_S  1000000000u
#define HURRY_MAX  100000u

/* ---- when to look ------------------------------------------------------------------------------------------------ */

void delayed_wake_in(struct delayed *delayed, uint64_t ms)
{
    uint64_t at = clock_ns() + ms * NS_IN_A_MS;
    if (delayed->wake_ns != 0 && delayed->wake_ns <= at)
        return;
    delayed->wake_ns = at;
    (void)timer_in_ms(delayed->timer, ms);
}

/* Adds to the credit by the pace, `a_second` tasks a second, up to BURST. delayed_hurry may have raised it higher. */
static void reckon_credit(struct delayed *delayed)
{
    uint64_t now = clock_ns(), step = NS_IN_A_S / delayed->options.a_second;
    uint64_t earned = (now - delayed->credit_ns) / step;
    delayed->credit_ns += earned * step;
    if (delayed->credit < BURST)
        delayed->credit = delayed->credit + earned < BURST ? delayed->credit + earned : BURST;
}

static unsigned room_for(struct delayed *delayed)
{
    uint64_t room = DELAYED_JOBS_MAX - delayed->job_count;
    reckon_credit(delayed);
    if (room > delayed->credit)
        room = delayed->credit;
    return room < TAKE_MAX ? (unsigned)room : TAKE_MAX;
}

/* ---- taking ------------------------------------------------------------------------------------------------------ */

struct take {
    struct delayed_call call;
    char owner[48];
};

/* Sets the timer: at once when more is due and may be taken, else when the next task is due or the pace allows
 * some. */
static void look_next(struct delayed *delayed, uint64_t now, const struct redis_reply *first_due)
{
    uint64_t first = 0, ms = delayed->options.tick_ms;
    if (!redis_reply_u64(first_due, &first))
        return; /* the queue is empty */
    if (first > now)
        ms = first - now + 1;
    else if (delayed->job_count < DELAYED_JOBS_MAX)
        ms = delayed->credit > 0 ? 0 : BURST * 1000 / 2 / delayed->options.a_second + 1;
    delayed_wake_in(delayed, ms);
}

static void on_taken(struct delayed_call *call, enum redis_status status, const struct redis_reply *reply)
{
    struct take *take = container_of(call, struct take, call);
    struct delayed *delayed = call->delayed;
    delayed->taking = false;
    const struct redis_reply *rows = redis_reply_at(reply, 3);
    size_t count = redis_reply_count(rows);
    if (!delayed->closed && status == REDIS_OK) {
        delayed->credit -= count < delayed->credit ? count : delayed->credit;
        delayed_count(delayed, DELAYED_returned, delayed_u64_at(reply, 2));
        delayed_count(delayed, DELAYED_taken, count);
        for (size_t i = 0; i < count; i++)
            delayed_job_start(delayed, redis_reply_at(rows, i), take->owner, delayed_u64_at(reply, 0));
        look_next(delayed, delayed_u64_at(reply, 0), redis_reply_at(reply, 1));
        trouble_ends(&delayed->refused, clock_ns(), "delayed: Redis hands out tasks again");
    } else if (!delayed->closed && status == REDIS_ERROR) { /* the take is tried again with the next tick */
        const char *text = redis_reply_text(reply, NULL);
        (void)trouble_happens(&delayed->refused, LOG_LEVEL_WARNING, clock_ns(),
                              "delayed: Redis refuses to hand out tasks: %s",
                              text ? text : "no reason given");
    }
    free(take);
}

static void take_due(struct delayed *delayed)
{
    unsigned most = room_for(delayed);
    struct redis_args args;
    if (delayed->taking || most == 0 || !redis_connected(delayed->options.redis))
        return;
    struct take *take = calloc(1, sizeof *take);
    if (!take)
        return;
    take->call.done = on_taken;
    (void)snprintf(take->owner, sizeof take->owner, "%016" PRIx64 ":%llu", delayed->options.host_id,
                   (unsigned long long)++delayed->takes);
    delayed_args(delayed, &args);
    redis_args_u64(&args, most);
    redis_args_u64(&args, delayed->options.lease_ms);
    redis_args_text(&args, take->owner);
    redis_args_u64(&args, TAKE_BYTES);
    redis_args_u64(&args, DELAYED_KEY_LIFE_MS);
    delayed->taking = delayed_run_script(delayed, "delayed_take", &args, &take->call) == 0;
    if (!delayed->taking)
        free(take);
}

static void on_timer(evutil_socket_t descriptor, short what, void *context)
{
    struct delayed *delayed = context;
    uint64_t now = clock_ns();
    (void)descriptor, (void)what;
    delayed->wake_ns = 0;
    if (redis_connected(delayed->options.redis)) {
        if (now - delayed->renewed_ns >= delayed->options.lease_ms / 3 * NS_IN_A_MS) {
            delayed->renewed_ns = now;
            delayed_jobs_renew(delayed);
        }
        take_due(delayed);
    }
    if (now - delayed->again_ns >= delayed->options.tick_ms * NS_IN_A_MS) {
        delayed->again_ns = now;
        delayed_add_again(delayed);
    }
    delayed_wake_in(delayed, delayed->options.tick_ms);
}

void delayed_connected(struct delayed *delayed, bool connected)
{
    if (connected)
        delayed_wake_in(delayed, 0);
}

void delayed_hurry(struct delayed *delayed, uint64_t tasks)
{
    delayed->credit = delayed->credit + tasks < HURRY_MAX ? delayed->credit + tasks : HURRY_MAX;
    delayed_wake_in(delayed, 0);
}

/* ---- beginning and end ------------------------------------------------------------------------------------------- */

static void set_defaults(struct delayed_options *options)
{
    options->prefix = NULL;
    if (options->budget == 0)
        options->budget = BUDGET;
    if (options->lease_ms == 0)
        options->lease_ms = LEASE_MS;
    if (options->tick_ms == 0)
        options->tick_ms = TICK_MS;
    if (options->a_second == 0)
        options->a_second = A_SECOND;
    if (options->queue_max == 0)
        options->queue_max = DELAYED_QUEUE_MAX;
}

int delayed_new(struct delayed **out, const struct delayed_options *options)
{
    *out = NULL;
    struct delayed *delayed = calloc(1, sizeof *delayed);
    if (!delayed)
        return PERMTAB_E_MEMORY;
    delayed->options = *options;
    (void)snprintf(delayed->base, sizeof delayed->base, "%sdelayed:", options->prefix);
    (void)snprintf(delayed->queue, sizeof delayed->queue, "%sdelayed:queue", options->prefix);
    (void)snprintf(delayed->taken, sizeof delayed->taken, "%sdelayed:taken", options->prefix);
    set_defaults(&delayed->options);
    delayed->credit = BURST;
    delayed->credit_ns = delayed->renewed_ns = clock_ns();
    delayed->advice_next = 1;
    delayed->timer = evtimer_new(options->base, on_timer, delayed);
    if (!delayed->timer) {
        free(delayed);
        return PERMTAB_E_MEMORY;
    }
    delayed_wake_in(delayed, delayed->options.tick_ms);
    *out = delayed;
    return 0;
}

void delayed_free(struct delayed *delayed)
{
    if (!delayed)
        return;
    delayed->closed = true;
    delayed->calls++; /* so that no call below frees the queue */
    delayed_jobs_end(delayed);
    delayed_adding_end(delayed);
    delayed_sweeps_end(delayed);
    event_free(delayed->timer);
    if (--delayed->calls == 0)
        free(delayed);
}
