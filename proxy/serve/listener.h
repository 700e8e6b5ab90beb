/* Connections from a listening socket, on the loop. */
#ifndef PERMTAB_SERVE_LISTENER_H
#define PERMTAB_SERVE_LISTENER_H

#include "proxy/base/failure.h"

struct event_base;
struct listener;

/* Called on the loop for a new connection: non-blocking, close-on-exec, owned by the function. */
typedef void (*listener_accept_fn)(void *context, int descriptor);

struct listener_options {
    struct event_base *base; /* borrowed until listener_free, as is the context */
    listener_accept_fn accept;
    void *context;
    int socket;       /* listening; closed by listener_free */
    const char *path; /* for the log; borrowed */
};

/* Accepts nobody yet. On failure the socket is closed. PERMTAB_E_MEMORY. */
int listener_new(struct listener **out, const struct listener_options *options,
                 struct failure *failure) PERMTAB_MUST_CHECK;
/* Accepts from now on, first of all those who wait. PERMTAB_E_MEMORY. */
int listener_begin(struct listener *listener) PERMTAB_MUST_CHECK;
/* Accepts nobody any more. */
void listener_free(struct listener *listener);

#endif
