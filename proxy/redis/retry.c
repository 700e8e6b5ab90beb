/* One command and its timer. While a try is under way the struct belongs to the reply as well: a cancelled one
 * stays until the connection has called back, which it always does. */
#include "proxy/redis/retry.h"

#include "proxy/base/timer.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

struct redis_retry {
    struct redis *redis;
    struct redis_args args;
    redis_retry_fn done; /* NULL once cancelled */
    void *context;
    struct event *timer;
    unsigned tries;
    bool sent; /* a reply is owed */
};

static void free_retry(struct redis_retry *retry)
{
    redis_args_fini(&retry->args);
    event_free(retry->timer);
    free(retry);
}

/* Pauses 20 ms after the first try, and each time twice as long. */
static bool pause_before_next(struct redis_retry *retry)
{
    return timer_in_ms(retry->timer, (uint64_t)REDIS_RETRY_PAUSE_MS << (retry->tries - 1)) == 0;
}

static void end_try(struct redis_retry *retry, enum redis_status status, const struct redis_reply *reply)
{
    if (retry->done == NULL) {
        free_retry(retry);
        return;
    }
    if (status != REDIS_OK && retry->tries < REDIS_RETRY_TRIES && pause_before_next(retry))
        return;
    retry->done(retry->context, status, reply, retry->tries);
    free_retry(retry);
}

static void on_reply(void *context, enum redis_status status, const struct redis_reply *reply)
{
    struct redis_retry *retry = context;
    retry->sent = false;
    end_try(retry, status, reply);
}

static void on_timer(evutil_socket_t descriptor, short what, void *context)
{
    struct redis_retry *retry = context;
    (void)descriptor, (void)what;
    retry->tries++;
    retry->sent = redis_send(retry->redis, &retry->args, on_reply, retry) == 0;
    if (!retry->sent)
        end_try(retry, REDIS_LOST, NULL);
}

int redis_retry_start(struct redis_retry **out, struct event_base *base, struct redis *redis,
                      struct redis_args *args, redis_retry_fn done, void *context)
{
    struct redis_retry *retry = calloc(1, sizeof *retry);
    *out = NULL;
    if (retry != NULL)
        retry->timer = evtimer_new(base, on_timer, retry);
    if (retry == NULL || retry->timer == NULL) {
        free(retry);
        redis_args_fini(args);
        return PERMTAB_E_MEMORY;
    }
    retry->redis = redis;
    retry->args = *args;
    redis_args_init(args);
    retry->done = done;
    retry->context = context;
    *out = retry;
    /* The first try is sent at once, so that commands of one turn of the loop keep their order. */
    retry->tries = 1;
    retry->sent = redis_send(redis, &retry->args, on_reply, retry) == 0;
    if (retry->sent || pause_before_next(retry))
        return 0;
    free_retry(retry);
    *out = NULL;
    return PERMTAB_E_MEMORY;
}

void redis_retry_cancel(struct redis_retry *retry)
{
    retry->done = NULL;
    if (!retry->sent)
        free_retry(retry);
}
