/* A dial makes a connected stream of Redis' address, without blocking. The address is a Unix socket, a number, or a
 * name that is looked up. Private to redis/. */
#ifndef PERMTAB_REDIS_DIAL_H
#define PERMTAB_REDIS_DIAL_H

#include "proxy/redis/url.h"

#include <stddef.h>

struct bufferevent;
struct event_base;
struct redis_dial;

/* Called once, perhaps from inside redis_dial_start. The stream is the caller's then; NULL: `text` says why. */
typedef void (*redis_dial_fn)(void *context, struct bufferevent *stream, const char *text);

/* `turn`: which of a name's addresses is tried. Some may lead nowhere, so each attempt takes the next one. `url` is
 * borrowed until the end. NULL when memory is short. */
struct redis_dial *redis_dial_new(struct event_base *base, const struct redis_url *url, unsigned turn,
                                  redis_dial_fn done, void *context);
/* To be called once. */
void redis_dial_start(struct redis_dial *dial);
/* After it no callback runs. May be called from inside `done`. */
void redis_dial_free(struct redis_dial *dial);
/* The step under way: "looking up HOST" or "connecting". */
void redis_dial_doing(const struct redis_dial *dial, char *out, size_t size);

#endif
