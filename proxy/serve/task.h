/* A task: a request that is carried out on a helper thread (explain, writes, export). */
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

    /* Set by the method. run: called on a thread; returns a code, and fills the failure when it is negative. reply:
     * called on the loop after success; ends the request. free: always called on the loop; frees the struct. */
    int (*run)(struct task *task, struct store *store);
    void (*reply)(struct task *task);
    void (*free)(struct task *task);
    bool locks;                   /* it takes the store's write lock: `answer_by_ns` must be set, too */
    uint64_t answer_by_ns;        /* CLOCK_MONOTONIC */
    bool writes;                  /* it may have changed the store: wake the feed */
    uint64_t revision;            /* the revision of a write; set by `run` */
    const struct target *changed; /* the user, for a write that concerns one user alone; may be NULL */

    struct task *next_held; /* private: of the server */
    uint64_t held_until_ns;
    /* Private to writes.c. */
    struct gate gate;
    uint64_t begun_ns;
    bool unsure;      /* the asker was told that the outcome is unknown */
    const char *name; /* the method's name, once `unsure` */
    struct task *prev, *next;
};

/* Takes the task over; the request ends now or later. */
void task_start(struct task *task, struct request *request);
/* Frees a task that nobody waits for. */
void task_forget(struct task *task);
/* Answers held writes: those that the table has reached, those that have waited long enough, and, when the server
 * is stopping, all. */
void task_release(struct server *server, uint64_t revision, uint64_t now_ns);

#endif
