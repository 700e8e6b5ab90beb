/* The worker: every part of it, and how each is started. worker.c has the order, and stops the parts in reverse.
 *
 * Each start takes what it needs from the parts that are there already. On failure the parts that were made stay
 * for worker.c to stop. */
#ifndef PERMTAB_DAEMON_DAEMON_H
#define PERMTAB_DAEMON_DAEMON_H

#include "proxy/answer/answer.h"
#include "proxy/base/counters.h"
#include "proxy/base/histogram.h"
#include "proxy/cleanup/cleanup.h"
#include "proxy/config/config.h"
#include "proxy/daemon/demo.h"
#include "proxy/delayed/delayed.h"
#include "proxy/feed/audit.h"
#include "proxy/feed/feed.h"
#include "proxy/feed/propagation.h"
#include "proxy/growth/growth.h"
#include "proxy/invalidate/fleet.h"
#include "proxy/invalidate/invalidate.h"
#include "proxy/keys/keys.h"
#include "proxy/l2/l2.h"
#include "proxy/master/master.h"
#include "proxy/redis/redis.h"
#include "proxy/serve/descriptors.h"
#include "proxy/serve/listener.h"
#include "proxy/serve/ops.h"
#include "proxy/serve/server.h"
#include "proxy/serve/subscriptions.h"
#include "proxy/serve/writes.h"
#include "proxy/store/store.h"
#include "proxy/store/threads.h"
#include "proxy/table/publisher.h"
#include "proxy/table/workshop.h"
#include "proxy/warm/warm.h"

/* How far worker.c has come: the same code of a failure means something else before and after. */
enum daemon_phase {
    DAEMON_PREPARING, /* the process and its limits */
    DAEMON_STARTING,  /* the store, and everything after it */
};

struct daemon {
    enum daemon_phase phase;
    const struct worker_start *start; /* what the master gave */
    uint64_t begun_ns;
    struct config config; /* a copy of the process' own: options may change in it */
    struct counters counters;
    uint64_t host_id; /* of this host and this life of it: marks its locks, tokens and messages in Redis */
    struct descriptors descriptors;
    const struct demo *demo; /* NULL: none */
    struct event *master;    /* reads what it says */
    struct event *doors;     /* opens them, if no poll has done so */
    bool open;               /* clients are accepted */
    bool answers;            /* the table has had a lease, and the master knows */
    struct event *beat;      /* tells it that the loop turns */
    bool leaving;            /* for another worker: the lease stays as it is */
    struct event *grace;     /* pending while the daemon goes on after SIGTERM */
    struct listener *listener, *ops_listener;
    struct parts parts; /* the server uses them, too */
    struct keys_room room; /* what the table is to have, which it may have to grow to */
    bool use_replica;
    struct store_threads *replica; /* connections for fills alone; NULL without store_replica */
    struct keys *keys;             /* what is asked for; NULL when there is no memory for it */
    struct l2 *l2;                 /* NULL without Redis */
    struct histograms histograms;
    struct store_clock store_clock; /* as this host sees it */
    struct server server;
    struct ops *ops;
};

/* Serves for a master until it says stop, and returns the exit code: the worker's whole life. */
int daemon_work(const struct worker_start *start, const struct demo *demo);

/* The store's address and times. Borrowed from the configuration. */
struct sql_options daemon_store_options(const struct config *config);
int daemon_migrate(const struct config *config, struct failure *failure) PERMTAB_MUST_CHECK;
/* Opens the store, brings it up to date, and makes the first table from it. */
int daemon_open_store(struct daemon *daemon, struct failure *failure) PERMTAB_MUST_CHECK;

int daemon_start_loop(struct daemon *daemon, struct failure *failure) PERMTAB_MUST_CHECK;
int daemon_start_listening(struct daemon *daemon, struct failure *failure) PERMTAB_MUST_CHECK;
int daemon_start_helpers(struct daemon *daemon, struct failure *failure) PERMTAB_MUST_CHECK;
int daemon_start_growth(struct daemon *daemon, struct failure *failure) PERMTAB_MUST_CHECK;
int daemon_start_redis(struct daemon *daemon, struct failure *failure) PERMTAB_MUST_CHECK;
int daemon_start_answering(struct daemon *daemon, struct failure *failure) PERMTAB_MUST_CHECK;
/* Opens the memory of keys of a store. Nothing depends on it: its failure is a warning. */
void daemon_open_keys(struct daemon *daemon, uint64_t store_id);
int daemon_start_warming(struct daemon *daemon, struct failure *failure) PERMTAB_MUST_CHECK;
/* Brings the counters of keys up to date. */
void daemon_count_keys(struct daemon *daemon);
/* To be called when one of its options has changed. */
void daemon_set_warming(struct daemon *daemon);
/* To be called when the table was made anew. */
void daemon_warm_again(struct daemon *daemon);
int daemon_start_delayed(struct daemon *daemon, struct failure *failure) PERMTAB_MUST_CHECK;
int daemon_start_watching(struct daemon *daemon, struct failure *failure) PERMTAB_MUST_CHECK;
int daemon_start_serving(struct daemon *daemon, struct failure *failure) PERMTAB_MUST_CHECK;

/* ---- what happens on the loop: events.c ---------------------------------------------------------------------- */

/* Callbacks of the parts that they are named for (daemon_on_news is a feed_news_fn); the context is the daemon. */
void daemon_on_news(void *context, const struct feed_news *news);
void daemon_on_redis(void *context, bool connected);
void daemon_on_refresh(void *context, uint64_t user, struct scope_key scope);
void daemon_on_epoch(void *context);
bool daemon_attached(void *context, uint64_t segment_id);
void daemon_on_difference(void *context, uint64_t user, bool everything);
/* The functions of the feed, the subscribers, L2 and the clean-up that invalidation calls. */
struct invalidation_ports daemon_invalidation_ports(struct daemon *daemon);

#endif
