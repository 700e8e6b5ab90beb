/* A request that is carried out on a helper thread: explain, writes, export. */
#ifndef PERMTAB_SERVE_TASK_H
#define PERMTAB_SERVE_TASK_H

#include "proxy/names/target.h"
#include "proxy/serve/request.h"
#include "proxy/store/gate.h"
#include "proxy/store/threads.h"

/* A member of a method's own struct. */
struct task {
    struct store_job job;
    struct request *request; /* NULL: it was answered, or its session has ended, while a thread was at work */
    struct server *server;
    struct failure failure;
    int code;

    /* Set by the method. `run` on a thread: a code, and the failure when it is negative. `reply` on the loop after success: ends
     * the request. `free` on the loop, always: frees the struct. */
    int (*run)(struct task *task, struct store *store);
    void (*reply)(struct task *task);
    void (*free)(struct task *task);
    bool locks;                   /* it takes the store's write lock: `answer_by_ns` must be set, too */
    uint64_t answer_by_ns;        /* CLOCK_MONOTONIC */
    bool writes;                  /* it may have changed the store: wake the feed */
    uint64_t revision;            /* set by `run` of a write: what it returned */
    const struct target *changed; /* of a write that concerns one user alone: who; may be NULL */

    struct task *next_held; /* private: of the server */
    uint64_t held_until_ns;
    /* Private: of writes.c. */
    struct gate gate;
    uint64_t begun_ns;
    bool unsure;      /* the asker was told that the outcome is unknown */
    const char *name; /* of the method, once that is so */
    struct task *prev, *next;
};

/* Takes the task over; the request ends now or later. */
void task_start(struct task *task, struct request *request);
/* Frees a task that nobody waits for. */
void task_forget(struct task *task);
/* Answers the writes that the table has reached, those that have waited long enough, and, when the server is stopping, all. */
void task_release(struct server *server, uint64_t revision, uint64_t now_ns);

#endif
