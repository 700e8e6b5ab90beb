/* Shared by all sessions: the parts they use, the list of sessions, the sweep over them. On the loop's thread. */
#ifndef PERMTAB_SERVE_SERVER_H
#define PERMTAB_SERVE_SERVER_H

#include "proxy/answer/answer.h"
#include "proxy/base/counters.h"
#include "proxy/base/trouble.h"
#include "proxy/config/config.h"
#include "proxy/feed/feed.h"
#include "proxy/serve/descriptors.h"
#include "proxy/serve/parts.h"
#include "proxy/store/threads.h"
#include "proxy/table/publisher.h"

#include <stdio.h>
#include <sys/types.h>

struct event;
struct method;
struct parked;
struct session;
struct task;

struct server {
    /* Borrowed. */
    const struct parts *parts;
    const struct method *methods;
    size_t method_count;

    uid_t uid;                /* our own: it may write, and so may root */
    struct session *sessions; /* every open one */
    struct session *closed;   /* closed in a callback: freed when the loop comes round */
    unsigned session_count;
    struct parked *parked; /* requests that wait for a name; parked.c */
    unsigned parked_count;
    size_t parked_bytes;
    struct task *held; /* writes that wait for the table to reach them; task.c */
    bool stopping;
    /* clients are refused, for want of descriptors or because of clients_max */
    struct trouble refusing;
    struct trouble protocol_trouble; /* bytes that are not the protocol, from whatever client */
    uint64_t stop_at_ns;             /* when the grace after SIGTERM ends; 0: there was none */
    uint64_t next_session;           /* number of the next one */
    struct session *turns;           /* sessions that have sent more than a turn takes, in order */
    struct event *turn;              /* serves the first of them */
    struct event *sweep;             /* time limits and feedback */
    struct event *sample;            /* takes samples of clients' hits */
    struct session *sampled;         /* the next one to take samples from; NULL: the first */
    struct event *bury;              /* frees `closed` */
};

/* Starts the sweep; `parts` and `methods` are borrowed, and every part is there. PERMTAB_E_MEMORY. */
int server_init(struct server *server, const struct parts *parts, const struct method *methods,
                size_t method_count) PERMTAB_MUST_CHECK;
/* Sends `goodbye` to every session, and closes it. Does nothing for a server that is all zeros. */
void server_fini(struct server *server);
/* The listener_accept_fn of clients; context is the server. */
void server_accept(void *context, int descriptor);
/* Whether a connected client was handed this segment last. */
bool server_attached(const struct server *server, uint64_t segment_id);
/* Prints one line a client. */
void server_print_clients(const struct server *server, FILE *out);

/* Whether a peer may change anything. */
static inline bool server_may_write(const struct server *server, uid_t uid)
{
    return uid == 0 || uid == server->uid;
}

/* The contents of a reply to `health`. */
struct server_health {
    bool ok;                /* the lease holds */
    const char *trouble;    /* why the lease is not being renewed, or "" */
    const char *alarm;      /* what the auditor found, or "" */
    const char *last_death; /* how the worker before this one ended, or "" */
    const char *writes;     /* which writes wait, for what and since when, or "" */
    uint64_t revision;
    int64_t lease_ms;     /* left; negative when it has ended */
    bool stopping;        /* it was told to stop */
    uint64_t stopping_ms; /* how long it goes on */
};
struct server_health server_health(const struct server *server);

/* To be called when a poll has been applied. */
void server_applied(struct server *server);

#endif
