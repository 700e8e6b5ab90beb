/* A connection to Redis that keeps itself up: connects, authenticates, selects the database, names itself, notices that it
 * has gone dead, and comes back. What is said over it is up to its owner, redis.c or subscriber.c. Private to
 * these. On the loop's thread. */
#ifndef PERMTAB_REDIS_LINK_H
#define PERMTAB_REDIS_LINK_H

#include "proxy/redis/redis.h"

#define REDIS_UNSENT_MAX (16u * 1024 * 1024)

struct redis_link;

struct redis_link_events {
    /* The server has let us in. The owner sends what it has to, and says redis_link_ready when that is answered. */
    void (*open)(void *context);
    /* Borrowed. If it answers something that was sent: redis_link_settle, before anything else is sent. */
    void (*reply)(void *context, const struct redis_reply *reply);
    /* It has been silent: the owner sends a PING. */
    void (*ping)(void *context);
    /* After `open`. */
    void (*closed)(void *context);
    /* Once, after redis_link_free, when nothing of this file is on the stack: the owner frees itself. */
    void (*freed)(void *context);
    void *context;
};

/* `name` begins its log lines; a constant. `reply_max`: bytes of a reply. Begins to connect; nothing is called from inside. */
int redis_link_new(struct redis_link **out, struct event_base *base, const struct redis_options *options,
                   const char *name, size_t reply_max, const struct redis_link_events *events,
                   struct failure *failure) PERMTAB_MUST_CHECK;
/* Closes it now. After it `freed` alone is called, perhaps from inside. */
void redis_link_free(struct redis_link *link);

/* Around the owner's own callbacks of libevent, so that redis_link_free inside them is put off to the end. */
void redis_link_enter(struct redis_link *link);
void redis_link_leave(struct redis_link *link);

/* One command, with one reply owed. PERMTAB_E_UNREACHABLE, _FULL, _MEMORY, _INVALID (a command without arguments). */
int redis_link_send(struct redis_link *link, const struct redis_args *args) PERMTAB_MUST_CHECK;
/* Whether so many bytes and arguments of commands could be sent now. */
bool redis_link_room(const struct redis_link *link, size_t bytes, size_t arguments);
void redis_link_settle(struct redis_link *link);
/* Replies to what was sent. */
size_t redis_link_owed(const struct redis_link *link);
void redis_link_ready(struct redis_link *link);
/* Ends the connection for a reason; another one will be made. Only from inside the callbacks. */
void redis_link_break(struct redis_link *link, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Why it is not ready; "" when it is. */
const char *redis_link_trouble(const struct redis_link *link);

#endif
