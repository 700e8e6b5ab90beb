/* Knows the few commands that a client of ours begins with, and PING. */
#include "tests/support/fake_redis.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/un.h>
#include <unistd.h>

#define WORDS_MAX 4

struct command {
    char words[WORDS_MAX][64]; /* the beginning of each */
};

/* Bytes of the line at `at`, its end included; 0: not all there. */
static size_t line_size(const char *bytes, size_t size, size_t at)
{
    const char *end = at < size ? memchr(bytes + at, '\n', size - at) : NULL;
    return end ? (size_t)(end - (bytes + at)) + 1 : 0;
}

/* One whole command off the front; 0: not all there. */
static size_t parse(const char *bytes, size_t size, struct command *out)
{
    size_t at = line_size(bytes, size, 0);
    memset(out, 0, sizeof *out);
    if (at == 0 || bytes[0] != '*')
        return 0;
    unsigned long count = strtoul(bytes + 1, NULL, 10);
    for (unsigned long i = 0; i < count; i++) {
        size_t head = line_size(bytes, size, at);
        if (head == 0 || bytes[at] != '$')
            return 0;
        size_t length = strtoul(bytes + at + 1, NULL, 10);
        if (size - at < head + length + 2)
            return 0;
        if (i < WORDS_MAX)
            (void)snprintf(out->words[i], sizeof out->words[i], "%.*s", (int)(length < 63 ? length : 63),
                           bytes + at + head);
        at += head + length + 2;
    }
    return at;
}

static void answer(struct fake_redis *fake, const struct command *command)
{
    const char *word = command->words[0];
    char text[192];
    if (strcmp(word, "PING") == 0)
        fake->pings++;
    if (fake->mute || (fake->deaf && strcmp(word, "PING") == 0))
        return;
    if (strcmp(word, "AUTH") == 0 || strcmp(word, "SELECT") == 0 || strcmp(word, "CLIENT") == 0) {
        fake_redis_say(fake, "+OK\r\n");
    } else if (strcmp(word, "SCRIPT") == 0) {
        fake_redis_say(fake, "$40\r\n0123456789012345678901234567890123456789\r\n");
    } else if (strcmp(word, "PING") == 0) {
        fake_redis_say(fake, "+PONG\r\n");
    } else if (strcmp(word, "SUBSCRIBE") == 0) {
        (void)snprintf(text, sizeof text, "*3\r\n$9\r\nsubscribe\r\n$%zu\r\n%s\r\n:1\r\n",
                       strlen(command->words[1]), command->words[1]);
        fake_redis_say(fake, text);
    } else {
        fake->commands++;
    }
}

static void on_readable(struct bufferevent *stream, void *context)
{
    struct fake_redis *fake = context;
    struct evbuffer *input = bufferevent_get_input(stream);
    struct command command;
    while (fake->stream == stream) {
        size_t size = evbuffer_get_length(input), used;
        const char *bytes = (const char *)evbuffer_pullup(input, -1);
        if (size == 0 || (used = parse(bytes, size, &command)) == 0)
            return;
        (void)evbuffer_drain(input, used);
        answer(fake, &command);
    }
}

static void on_event(struct bufferevent *stream, short what, void *context)
{
    struct fake_redis *fake = context;
    if (!(what & (BEV_EVENT_EOF | BEV_EVENT_ERROR)))
        return;
    if (fake->stream == stream)
        fake->stream = NULL;
    bufferevent_free(stream);
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t descriptor, struct sockaddr *address,
                      int size, void *context)
{
    struct fake_redis *fake = context;
    (void)listener, (void)address, (void)size;
    fake->accepted++;
    fake_redis_drop(fake);
    if (fake->hang_up) {
        (void)close(descriptor);
        return;
    }
    fake->stream = bufferevent_socket_new(fake->base, descriptor, BEV_OPT_CLOSE_ON_FREE);
    bufferevent_setcb(fake->stream, on_readable, NULL, on_event, fake);
    (void)bufferevent_enable(fake->stream, EV_READ | EV_WRITE);
}

void fake_redis_start(struct fake_redis *fake, struct event_base *base)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memset(fake, 0, sizeof *fake);
    fake->base = base;
    (void)snprintf(fake->folder, sizeof fake->folder, "/tmp/permtab-fake-XXXXXX");
    if (!mkdtemp(fake->folder))
        abort();
    (void)snprintf(fake->path, sizeof fake->path, "%s/redis.sock", fake->folder);
    (void)snprintf(fake->url, sizeof fake->url, "unix:%s", fake->path);
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", fake->path);
    fake->listener =
        evconnlistener_new_bind(base, on_accept, fake, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, -1,
                                (struct sockaddr *)&address, sizeof address);
    if (!fake->listener)
        abort();
}

void fake_redis_stop(struct fake_redis *fake)
{
    fake_redis_drop(fake);
    evconnlistener_free(fake->listener);
    (void)unlink(fake->path);
    (void)rmdir(fake->folder);
}

void fake_redis_say(struct fake_redis *fake, const char *text)
{
    fake_redis_send(fake, text, strlen(text));
}

void fake_redis_send(struct fake_redis *fake, const void *bytes, size_t size)
{
    if (fake->stream && bufferevent_write(fake->stream, bytes, size) < 0)
        abort();
}

void fake_redis_drop(struct fake_redis *fake)
{
    if (fake->stream)
        bufferevent_free(fake->stream);
    fake->stream = NULL;
}
