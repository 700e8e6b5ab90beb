/* Blocking work off the loop: a fixed number of threads, each with its own store connection, and a queue. A job's `run`
 * is called on a thread, then its `done` on the loop's thread. A job that was not withdrawn is always `done`, also
 * during store_threads_free (with the loop's thread calling it).
 *
 * A connection that rests may be ended by the server, a proxy or a restart, without anybody hearing of it. So one that
 * has rested is tried before it is used, and a job that failed because its connection had been lost before is run once
 * more, on a new one. */
#ifndef PERMTAB_STORE_THREADS_H
#define PERMTAB_STORE_THREADS_H

#include "proxy/store/store.h"

#include <stddef.h>

struct event_base;
struct store_threads;

struct store_job {
    /* run: called on a thread. `store` is connected, or NULL with `failure` saying why not. A negative code: the
     * job failed; it may then be run a second time, from its beginning. */
    int (*run)(struct store_job *job, struct store *store, struct failure *failure);
    /* done: called on the loop, and owns the job again. */
    void (*done)(struct store_job *job);
    bool once;              /* set by `run`: it may have done something, and must not be run a second time */
    struct store_job *next; /* private */
};

struct store_threads_options {
    /* Borrowed until store_threads_free. */
    struct event_base *base;
    const char *name; /* for the log */
    /* Copied. */
    const struct sql_options *store;
    unsigned threads; /* each with a connection */
    size_t queue_max; /* store_threads_submit refuses beyond it with PERMTAB_E_FULL */
};

/* Reconnects by itself, at most once a second while the store is away (jobs then fail at once). */
int store_threads_new(struct store_threads **out,
                      const struct store_threads_options *options) PERMTAB_MUST_CHECK;
void store_threads_free(struct store_threads *pool);
int store_threads_submit(struct store_threads *pool, struct store_job *job) PERMTAB_MUST_CHECK;
/* True when no thread had begun the job: then it is the caller's again, and neither `run` nor `done` is called. */
bool store_threads_withdraw(struct store_threads *pool, struct store_job *job);

#endif
