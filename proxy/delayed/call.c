/* Commands of the delayed queue and their replies. A call outlives delayed_free when its reply has not come: the
 * last call frees the queue's struct, at the latest in redis_free. */
#include "proxy/base/clock.h"
#include "proxy/delayed/private.h"

#include <stdlib.h>
#include <string.h>

#define CLIENT_CALLS_MAX 1024u

const struct scope_types *delayed_types(const struct delayed *delayed)
{
    return &publisher_catalogue(delayed->options.publisher)->types;
}

void delayed_args(const struct delayed *delayed, struct redis_args *args)
{
    redis_args_init(args);
    redis_args_text(args, delayed->queue);
    redis_args_text(args, delayed->taken);
    redis_args_text(args, delayed->base);
}

void delayed_remove_args(struct redis_args *args, const char *owner)
{
    redis_args_text(args, ""); /* by id */
    redis_args_text(args, "0");
    redis_args_text(args, owner);
    redis_args_text(args, "");
    redis_args_text(args, "");
    redis_args_u64(args, 0); /* of work: for ids there is no bound */
}

void *delayed_call_new(const struct delayed *delayed, size_t size, int *code)
{
    bool room = delayed->client_calls < CLIENT_CALLS_MAX;
    void *new = room ? calloc(1, size) : NULL;
    *code = new ? 0 : room ? PERMTAB_E_MEMORY : PERMTAB_E_FULL;
    return new;
}

int delayed_call_begun(struct delayed *delayed, int code, void *new)
{
    if (code < 0)
        free(new);
    else
        delayed->client_calls++;
    return code;
}

int delayed_run_script(struct delayed *delayed, const char *script, struct redis_args *args,
                       struct delayed_call *call)
{
    call->delayed = delayed;
    int code = redis_run(delayed->options.redis, redis_script(script), 2, args, delayed_on_reply, call);
    redis_args_fini(args);
    if (code == 0)
        delayed->calls++;
    return code;
}

void delayed_on_reply(void *context, enum redis_status status, const struct redis_reply *reply)
{
    struct delayed_call *call = context;
    struct delayed *delayed = call->delayed;
    call->done(call, status, reply);
    if (--delayed->calls == 0 && delayed->closed)
        free(delayed);
}

int delayed_outcome(const struct delayed *delayed, enum redis_status status, const struct redis_reply *reply,
                    struct failure *failure)
{
    switch (status) {
    case REDIS_OK:
        return 0;
    case REDIS_ERROR:
        return failure_set(failure, PERMTAB_E_REFUSED, "Redis refused: %s",
                           redis_reply_text(reply, NULL) ? redis_reply_text(reply, NULL) : "");
    case REDIS_TIMEOUT:
        return failure_set(failure, PERMTAB_E_TIMEOUT, "Redis has not answered in time");
    case REDIS_LOST:
        break;
    }
    return failure_set(failure, PERMTAB_E_UNREACHABLE, "the connection to Redis was lost%s%s",
                       delayed->closed ? "" : ": ",
                       delayed->closed ? "" : redis_trouble(delayed->options.redis));
}

const char *delayed_text_at(const struct redis_reply *reply, size_t index)
{
    const char *text = redis_reply_text(redis_reply_at(reply, index), NULL);
    return text ? text : "";
}

uint64_t delayed_u64_at(const struct redis_reply *reply, size_t index)
{
    uint64_t value;
    return redis_reply_u64(redis_reply_at(reply, index), &value) ? value : 0;
}

void delayed_count(struct delayed *delayed, enum delayed_event event, uint64_t count)
{
    uint64_t *const totals[] = {
#define X(name) [DELAYED_##name] = &delayed->options.counters->delayed_##name,
        DELAYED_EVENTS(X)
#undef X
    };
    *totals[event] += count;
    rate_add(&delayed->rates[event], count, clock_ns() / 1000000000u);
}

uint64_t delayed_minute(struct delayed *delayed, enum delayed_event event)
{
    return rate_sum(&delayed->rates[event], clock_ns() / 1000000000u);
}

const char *delayed_event_name(enum delayed_event event)
{
    static const char *const names[] = {
#define X(name) #name,
        DELAYED_EVENTS(X)
#undef X
    };
    return names[event];
}
