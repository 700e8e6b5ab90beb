/* Sockets are made here and not by libevent, which would let them pass through exec. The caller limits the time.
 * After `done` nothing here touches the dial, so that the caller may free it. */
#include "proxy/redis/dial.h"

#include "proxy/redis/lookup.h"

#include <errno.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/util.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct redis_dial {
    struct event_base *base;
    const struct redis_url *url;
    unsigned turn;
    redis_dial_fn done;
    void *context;
    struct redis_lookup *lookup;
    struct bufferevent *stream; /* connecting */
};

struct redis_dial *redis_dial_new(struct event_base *base, const struct redis_url *url, unsigned turn,
                                  redis_dial_fn done, void *context)
{
    struct redis_dial *dial = calloc(1, sizeof *dial);
    if (!dial)
        return NULL;
    dial->base = base;
    dial->url = url;
    dial->turn = turn;
    dial->done = done;
    dial->context = context;
    return dial;
}

void redis_dial_free(struct redis_dial *dial)
{
    if (!dial)
        return;
    if (dial->stream)
        bufferevent_free(dial->stream);
    redis_lookup_free(dial->lookup);
    free(dial);
}

void redis_dial_doing(const struct redis_dial *dial, char *out, size_t size)
{
    if (dial->lookup && !dial->stream)
        (void)snprintf(out, size, "looking up %s", dial->url->host);
    else
        (void)snprintf(out, size, "connecting");
}

static void on_event(struct bufferevent *stream, short what, void *context)
{
    struct redis_dial *dial = context;
    int error = EVUTIL_SOCKET_ERROR();
    if (what & BEV_EVENT_CONNECTED) {
        dial->stream = NULL;
        dial->done(dial->context, stream, NULL);
    } else {
        dial->done(dial->context, NULL, strerror(error));
    }
}

static void connect_to(struct redis_dial *dial, const struct sockaddr *address, socklen_t size)
{
    int one = 1;
    int descriptor = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (descriptor < 0) {
        dial->done(dial->context, NULL, strerror(errno));
        return;
    }
    if (address->sa_family != AF_UNIX)
        (void)setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(descriptor, address, size) < 0 && errno != EINPROGRESS) {
        int error = errno;
        (void)close(descriptor);
        dial->done(dial->context, NULL, strerror(error));
        return;
    }
    dial->stream = bufferevent_socket_new(dial->base, descriptor, BEV_OPT_CLOSE_ON_FREE);
    if (!dial->stream)
        (void)close(descriptor);
    else
        bufferevent_setcb(dial->stream, NULL, NULL, on_event, dial);
    if (!dial->stream || bufferevent_socket_connect(dial->stream, NULL, 0) < 0)
        dial->done(dial->context, NULL, "out of memory");
}

static void on_addresses(void *context, const struct addrinfo *addresses, const char *text)
{
    struct redis_dial *dial = context;
    unsigned count = 0;
    const struct addrinfo *address;
    if (!addresses) {
        char why[384];
        (void)snprintf(why, sizeof why, "%s: %s", dial->url->host, text);
        dial->done(dial->context, NULL, why);
        return;
    }
    for (address = addresses; address; address = address->ai_next)
        count++;
    address = addresses;
    for (unsigned turn = dial->turn % count; turn > 0; turn--)
        address = address->ai_next;
    connect_to(dial, address->ai_addr, address->ai_addrlen);
}

static void dial_path(struct redis_dial *dial)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    _Static_assert(sizeof address.sun_path > REDIS_PATH_MAX, "the path fits");
    memcpy(address.sun_path, dial->url->path, sizeof dial->url->path);
    connect_to(dial, (const struct sockaddr *)&address, sizeof address);
}

static void dial_host(struct redis_dial *dial)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found;
    char service[8];
    (void)snprintf(service, sizeof service, "%u", dial->url->port);
    if (getaddrinfo(dial->url->host, service, &hints, &found) == 0) { /* numbers: asks nobody */
        connect_to(dial, found->ai_addr, found->ai_addrlen);
        freeaddrinfo(found);
        return;
    }
    dial->lookup = redis_lookup_new(dial->base);
    if (dial->lookup)
        redis_lookup_start(dial->lookup, dial->url->host, dial->url->port, on_addresses, dial);
    else
        dial->done(dial->context, NULL, "out of memory");
}

void redis_dial_start(struct redis_dial *dial)
{
    if (dial->url->path[0])
        dial_path(dial);
    else
        dial_host(dial);
}
