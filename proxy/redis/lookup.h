/* The addresses of a host name, asked of the name servers of /etc/resolv.conf (and /etc/hosts) without blocking the
 * loop. Private to redis/. */
#ifndef PERMTAB_REDIS_LOOKUP_H
#define PERMTAB_REDIS_LOOKUP_H

#include <stdint.h>

struct addrinfo;
struct event_base;
struct redis_lookup;

/* Called once, perhaps from inside redis_lookup_start. `addresses` is borrowed for the call, and NULL when there are
 * none; then `text` says why. */
typedef void (*redis_lookup_fn)(void *context, const struct addrinfo *addresses, const char *text);

/* NULL when memory is short. */
struct redis_lookup *redis_lookup_new(struct event_base *base);
/* To be called at most once for each lookup. */
void redis_lookup_start(struct redis_lookup *lookup, const char *host, uint16_t port, redis_lookup_fn done,
                        void *context);
/* After it no callback runs. May be called from inside `done`. */
void redis_lookup_free(struct redis_lookup *lookup);

#endif
