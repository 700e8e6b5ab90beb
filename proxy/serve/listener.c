/* Accepting on a listening socket that the master has opened: proxy/master/sockets.c. The listener_accept_fn decides
 * what is done with a connection. */
#include "proxy/serve/listener.h"

#include "proxy/base/clock.h"
#include "proxy/base/log.h"
#include "proxy/base/timer.h"
#include "proxy/base/trouble.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ACCEPT_A_TURN 64
#define PAUSE_MS      200

struct listener {
    struct event *event;
    struct event *pause; /* accepting goes on when it fires */
    listener_accept_fn accept;
    void *context;
    struct trouble trouble; /* with accepting */
    const char *path;
    int socket;
};

static void on_resume(evutil_socket_t descriptor, short what, void *context)
{
    struct listener *listener = context;
    (void)descriptor, (void)what;
    /* Without memory nobody else would try again. */
    if (event_add(listener->event, NULL) < 0)
        (void)timer_in_ms(listener->pause, PAUSE_MS);
}

/* Out of descriptors or memory: the connection stays in the backlog, and asking again at once would spin. */
static void pause_accepting(struct listener *listener)
{
    (void)trouble_happens(&listener->trouble, LOG_LEVEL_WARNING, clock_ns(),
                          "listener %s: cannot accept: %s; pausing", listener->path, strerror(errno));
    if (timer_in_ms(listener->pause, PAUSE_MS) == 0)
        (void)event_del(listener->event);
}

static void on_connection(evutil_socket_t descriptor, short what, void *context)
{
    struct listener *listener = context;
    (void)what;
    for (int i = 0; i < ACCEPT_A_TURN; i++) {
        int connection = accept4(descriptor, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (connection >= 0) {
            if (trouble_lasts(&listener->trouble))
                trouble_ends(&listener->trouble, clock_ns(), "listener: accepts again");
            listener->accept(listener->context, connection);
            continue;
        }
        if (errno == EINTR || errno == ECONNABORTED)
            continue;
        if (errno != EAGAIN && errno != EWOULDBLOCK)
            pause_accepting(listener);
        return;
    }
}

int listener_new(struct listener **out, const struct listener_options *options, struct failure *failure)
{
    struct listener *listener = calloc(1, sizeof *listener);
    *out = listener;
    if (!listener)
        return failure_set(failure, PERMTAB_E_MEMORY, "%s: out of memory", options->path);
    listener->accept = options->accept;
    listener->context = options->context;
    listener->socket = options->socket;
    listener->path = options->path;
    listener->event =
        event_new(options->base, listener->socket, EV_READ | EV_PERSIST, on_connection, listener);
    listener->pause = evtimer_new(options->base, on_resume, listener);
    if (listener->event && listener->pause)
        return 0;
    listener_free(listener);
    *out = NULL;
    return failure_set(failure, PERMTAB_E_MEMORY, "%s: out of memory", options->path);
}

int listener_begin(struct listener *listener)
{
    return event_add(listener->event, NULL) < 0 ? PERMTAB_E_MEMORY : 0;
}

void listener_free(struct listener *listener)
{
    if (!listener)
        return;
    if (listener->pause)
        event_free(listener->pause);
    if (listener->event)
        event_free(listener->event);
    (void)close(listener->socket);
    free(listener);
}
