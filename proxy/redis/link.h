/* A connection to Redis that keeps itself up: connects, authenticates, selects the database, names itself, notices
 * that it has gone dead, and comes back. Its owner, redis.c or subscriber.c, decides what is sent over it. Private
 * to these. On the loop's thread. */
#ifndef PERMTAB_REDIS_LINK_H
#define PERMTAB_REDIS_LINK_H

#include "proxy/redis/redis.h"

#define REDIS_UNSENT_MAX (16u * 1024 * 1024)

struct redis_link;

struct redis_link_events {
    /* open: the server has let us in. The owner sends its first commands, and calls redis_link_ready when they are
     * answered. */
    void (*open)(void *context);
    /* reply: borrowed. If it answers a command, the owner calls redis_link_settle before it sends anything else. */
    void (*reply)(void *context, const struct redis_reply *reply);
    /* ping: the connection has been silent; the owner sends a PING. */
    void (*ping)(void *context);
    /* closed: called after `open` alone. */
    void (*closed)(void *context);
    /* freed: called once, after redis_link_free, when no function of this file is on the stack: the owner frees
     * itself. */
    void (*freed)(void *context);
    void *context;
};

struct redis_link_options {
    /* Borrowed until the owner is told `freed`. */
    struct event_base *base;
    struct redis_link_events events;
    const char *name; /* begins its log lines */
    /* Copied. */
    const struct redis_access *access; /* timeout_ms is not used */
    size_t reply_max;                  /* bytes of a reply */
};

/* Begins to connect; no callback runs inside the call. */
int redis_link_new(struct redis_link **out, const struct redis_link_options *options,
                   struct failure *failure) PERMTAB_MUST_CHECK;
/* Closes the link now. After it `freed` alone is called, perhaps inside the call. */
void redis_link_free(struct redis_link *link);

/* The two enclose the owner's own callbacks of libevent, so that redis_link_free inside them is put off to the end. */
void redis_link_enter(struct redis_link *link);
void redis_link_leave(struct redis_link *link);

/* One command, with one reply owed. PERMTAB_E_UNREACHABLE, _FULL, _MEMORY, _INVALID (a command without arguments). */
int redis_link_send(struct redis_link *link, const struct redis_args *args) PERMTAB_MUST_CHECK;
/* Whether commands of so many bytes and arguments could be sent now. */
bool redis_link_room(const struct redis_link *link, size_t bytes, size_t arguments);
void redis_link_settle(struct redis_link *link);
/* The number of replies to sent commands that have not come. */
size_t redis_link_owed(const struct redis_link *link);
void redis_link_ready(struct redis_link *link);
/* Ends the connection for a reason; another one will be made. Only to be called inside the callbacks. */
void redis_link_break(struct redis_link *link, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Why it is not ready; "" when it is. */
const char *redis_link_trouble(const struct redis_link *link);

#endif
