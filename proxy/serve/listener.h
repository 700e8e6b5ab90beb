/* A listening Unix socket: one instance only, a stale file replaced, removed at the end. */
#ifndef PERMTAB_SERVE_LISTENER_H
#define PERMTAB_SERVE_LISTENER_H

#include "proxy/base/failure.h"

#include <stdint.h>
#include <sys/types.h>

struct event_base;
struct listener;

/* Called on the loop for a new connection: non-blocking, close-on-exec, owned by the function. */
typedef void (*listener_accept_fn)(void *context, int descriptor);

struct listener_options {
    /* Borrowed until listener_free. */
    struct event_base *base;
    listener_accept_fn accept;
    void *context;
    /* Copied. */
    const char *path;
    uint32_t mode; /* of the socket's file */
};

/* Binds and listens. PERMTAB_E_CONFLICT: another instance serves this path, or something that is no socket
 * lies there; PERMTAB_E_SYSTEM, PERMTAB_E_MEMORY. */
int listener_new(struct listener **out, const struct listener_options *options,
                 struct failure *failure) PERMTAB_MUST_CHECK;
/* Stops listening and removes the files. */
void listener_free(struct listener *listener);

#endif
