/* The ops socket: one text command a line, for socat and people. On the loop's thread. */
#ifndef PERMTAB_SERVE_OPS_H
#define PERMTAB_SERVE_OPS_H

#include "proxy/serve/server.h"

struct ops;

#define OPS_SESSIONS_MAX 32
#define OPS_LINE_MAX     256

/* PERMTAB_E_MEMORY. */
int ops_new(struct ops **out, struct server *server) PERMTAB_MUST_CHECK;
/* Closes every session. */
void ops_free(struct ops *ops);
/* The listener_accept_fn; context is the ops. */
void ops_accept(void *context, int descriptor);

#endif
