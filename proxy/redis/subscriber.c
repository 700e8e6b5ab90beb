/* In RESP2 a subscribed connection speaks in arrays: ["message", channel, text], ["subscribe", channel, n], and
 * ["pong", ""] to a PING. A server that drops us because we read too slowly hands over what it had buffered and
 * closes: the end of the connection is the only sign that messages were lost, so `state` is told each time. */
#include "proxy/redis/subscriber.h"

#include "proxy/redis/link.h"

#include <stdlib.h>
#include <string.h>

#define MESSAGE_MAX (1024u * 1024)
#define REPLY_MAX   (MESSAGE_MAX + 4096) /* and what is around it */

struct redis_subscriber {
    struct redis_link *link;
    char *channel;
    size_t channel_size;
    void (*message)(void *context, const char *bytes, size_t size);
    void (*state)(void *context, bool subscribed);
    void *context;
    bool up;
};

static int send_words(struct redis_subscriber *subscriber, const char *first, const char *second)
{
    struct redis_args args;
    redis_args_init(&args);
    redis_args_text(&args, first);
    if (second)
        redis_args_text(&args, second);
    int code = redis_link_send(subscriber->link, &args);
    redis_args_fini(&args);
    return code;
}

static void on_open(void *context)
{
    struct redis_subscriber *subscriber = context;
    if (send_words(subscriber, "SUBSCRIBE", subscriber->channel) < 0)
        redis_link_break(subscriber->link, "out of memory");
}

static void on_ping(void *context)
{
    (void)!send_words(context, "PING", NULL); /* failed: the next look sends one */
}

static bool is_text(const struct redis_reply *reply, const char *text, size_t size)
{
    size_t found;
    const char *bytes = redis_reply_text(reply, &found);
    return redis_reply_kind(reply) == REDIS_TEXT && found == size && memcmp(bytes, text, size) == 0;
}

/* Whether the reply is an array of `count` that begins with this word. */
static bool is_push(const struct redis_reply *reply, const char *word, size_t count)
{
    return redis_reply_count(reply) == count && is_text(redis_reply_at(reply, 0), word, strlen(word));
}

static bool of_our_channel(const struct redis_subscriber *subscriber, const struct redis_reply *reply)
{
    return is_text(redis_reply_at(reply, 1), subscriber->channel, subscriber->channel_size);
}

static void on_message(struct redis_subscriber *subscriber, const struct redis_reply *reply)
{
    size_t size;
    const char *bytes = redis_reply_text(redis_reply_at(reply, 2), &size);
    if (!bytes)
        redis_link_break(subscriber->link, "a message without a text");
    else if (size > MESSAGE_MAX)
        redis_link_break(subscriber->link, "a message larger than %u bytes", MESSAGE_MAX);
    else
        subscriber->message(subscriber->context, bytes, size);
}

/* `owed`: SUBSCRIBE before, a PING since. */
static void on_reply(void *context, const struct redis_reply *reply)
{
    struct redis_subscriber *subscriber = context;
    bool owed = redis_link_owed(subscriber->link);
    if (subscriber->up && is_push(reply, "message", 3) && of_our_channel(subscriber, reply)) {
        on_message(subscriber, reply);
    } else if (subscriber->up && owed && is_push(reply, "pong", 2)) {
        redis_link_settle(subscriber->link);
    } else if (!subscriber->up && is_push(reply, "subscribe", 3) && of_our_channel(subscriber, reply)) {
        redis_link_settle(subscriber->link);
        subscriber->up = true;
        redis_link_ready(subscriber->link);
        subscriber->state(subscriber->context, true);
    } else if (redis_reply_kind(reply) == REDIS_REFUSAL) {
        redis_link_break(subscriber->link, "%s is refused: %.180s", subscriber->up ? "PING" : "SUBSCRIBE",
                         redis_reply_text(reply, NULL));
    } else {
        redis_link_break(subscriber->link, "a reply that was not asked for");
    }
}

static void on_closed(void *context)
{
    struct redis_subscriber *subscriber = context;
    bool was_up = subscriber->up;
    subscriber->up = false;
    if (was_up)
        subscriber->state(subscriber->context, false);
}

static void on_freed(void *context)
{
    struct redis_subscriber *subscriber = context;
    free(subscriber->channel);
    free(subscriber);
}

int redis_subscriber_new(struct redis_subscriber **out, const struct redis_subscriber_options *options,
                         struct failure *failure)
{
    *out = NULL;
    struct redis_subscriber *subscriber = calloc(1, sizeof *subscriber);
    char *copy = strdup(options->channel);
    if (!subscriber || !copy) {
        free(subscriber);
        free(copy);
        return failure_set(failure, PERMTAB_E_MEMORY, "out of memory");
    }
    subscriber->channel = copy;
    subscriber->channel_size = strlen(copy);
    subscriber->message = options->message;
    subscriber->state = options->state;
    subscriber->context = options->context;
    struct redis_link_options link = {
        .base = options->base,
        .events = {on_open, on_reply, on_ping, on_closed, on_freed, subscriber},
        .access = options->access,
        .name = "redis subscriber",
        .reply_max = REPLY_MAX,
    };
    int code = redis_link_new(&subscriber->link, &link, failure);
    if (code < 0)
        on_freed(subscriber);
    else
        *out = subscriber;
    return code;
}

void redis_subscriber_free(struct redis_subscriber *subscriber)
{
    if (!subscriber)
        return;
    subscriber->up = false;
    redis_link_free(subscriber->link);
}

bool redis_subscriber_up(const struct redis_subscriber *subscriber)
{
    return subscriber->up;
}

const char *redis_subscriber_trouble(const struct redis_subscriber *subscriber)
{
    return redis_link_trouble(subscriber->link);
}
