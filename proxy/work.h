/* Blocking work off the loop: a fixed number of threads, each with its own store connection, and a queue. A job's `run` is
 * called on a thread, then its `done` on the loop's thread. Jobs are not cancelled: `done` is always called, also during
 * work_free (with the loop's thread calling it). */
#ifndef PERMTAB_PROXY_WORK_H
#define PERMTAB_PROXY_WORK_H

#include "proxy/store.h"

#include <stddef.h>

struct event_base;
struct work;

struct work_job {
    /* On a thread. `store` is connected, or NULL with `failure` saying why not. */
    void (*run)(struct work_job *job, struct store *store, struct failure *failure);
    /* On the loop. Owns the job again. */
    void (*done)(struct work_job *job);
    struct work_job *next; /* private */
};

/* `threads` connections; reconnects by itself, at most once a second while the store is away (jobs then fail at
 * once). `queue_max`: work_submit refuses beyond it with PERMTAB_E_FULL. Options are copied. */
int work_new(struct work **out, struct event_base *base, const struct sql_options *options, unsigned threads,
             size_t queue_max) PERMTAB_MUST_CHECK;
void work_free(struct work *work);
int work_submit(struct work *work, struct work_job *job) PERMTAB_MUST_CHECK;

#endif
