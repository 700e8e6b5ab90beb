/* Requests that name a permission or a scope type that the table does not have. The name may have been written a moment
 * ago, so they are served again once the store has been asked; only then is the name an error. */
#ifndef PERMTAB_SERVE_PARKED_H
#define PERMTAB_SERVE_PARKED_H

#include "proxy/serve/request.h"

/* Keeps a copy of the request's message, wakes the feed, and returns true: the request is served again later. False
 * when the request has waited already, when the table is not kept true anyway, or when too many wait: the caller
 * fails it now. */
bool parked_wait(struct request *request);
/* To be called when a poll of the feed has been applied. */
void parked_applied(struct server *server);
/* Serves requests that have waited longer than a request may, so that they fail. */
void parked_sweep(struct server *server, uint64_t now_ns);

#endif
