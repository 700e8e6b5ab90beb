/* The parts of the daemon that sessions, methods and ops commands ask. The daemon makes, holds and frees them; the room
 * borrows them, and none of them changes from server_init until the last task has ended. */
#ifndef PERMTAB_SERVE_PARTS_H
#define PERMTAB_SERVE_PARTS_H

struct answering;
struct audit;
struct cleanup;
struct config;
struct counters;
struct delayed;
struct descriptors;
struct event_base;
struct feed;
struct fleet;
struct growth;
struct histograms;
struct invalidations;
struct publisher;
struct redis;
struct store_threads;
struct subscriptions;
struct warm;
struct workshop;
struct writes;

struct parts {
    struct event_base *base;
    const struct config *config;
    const struct descriptors *descriptors;
    struct counters *counters;
    struct histograms *histograms;
    const char *last_death; /* how the worker before this one ended, if nobody told it to; or "" */
    struct publisher *publisher;
    struct workshop *workshop;  /* makes and frees tables */
    struct store_threads *pool; /* connections for reads */
    struct writes *writes;      /* connections for writes */
    struct feed *feed;
    struct growth *growth;
    struct answering *answering;
    struct warm *warm; /* what fills the table before it is asked for */
    struct invalidations *invalidations;
    struct subscriptions *subscriptions;
    struct audit *audit; /* NULL when off */
    /* NULL without Redis. */
    struct redis *redis;
    struct fleet *fleet;
    struct cleanup *cleanup;
    struct delayed *delayed;
};

#endif
