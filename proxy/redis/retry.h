/* A command that is sent again until Redis has answered it, a few times: for commands that may be carried out twice
 * without harm. 20 ms after the first failure, then twice as long each time. On the loop's thread. */
#ifndef PERMTAB_REDIS_RETRY_H
#define PERMTAB_REDIS_RETRY_H

#include "proxy/redis/redis.h"

#define REDIS_RETRY_TRIES    5u
#define REDIS_RETRY_PAUSE_MS 20u

struct event_base;
struct redis_retry;

/* Called once, later, never from inside redis_retry_start. `status` and `reply` are those of the last try, `tries`
 * is how many there were. Without a connection a try ends with REDIS_LOST. */
typedef void (*redis_retry_fn)(void *context, enum redis_status status, const struct redis_reply *reply,
                               unsigned tries);

/* Takes over the contents of `args`, also when it fails. PERMTAB_E_MEMORY alone. */
int redis_retry_start(struct redis_retry **out, struct event_base *base, struct redis *redis,
                      struct redis_args *args, redis_retry_fn done, void *context) PERMTAB_MUST_CHECK;
/* After it done is not called. Not to be called from inside done. To be called for each retry that is under way
 * before the Redis connection is freed. */
void redis_retry_cancel(struct redis_retry *retry);

#endif
