/* The inside of the delayed queue. Private to delayed/. */
#ifndef PERMTAB_DELAYED_PRIVATE_H
#define PERMTAB_DELAYED_PRIVATE_H

#include "proxy/base/rate.h"
#include "proxy/delayed/delayed.h"

#include "proxy/base/trouble.h"
#include "proxy/names/l2_keys.h"

#define DELAYED_KEY_SIZE (KEY_PREFIX_MAX + 32)
/* The life of a key that nobody touches any more: longer than any task can live. */
#define DELAYED_KEY_LIFE_MS (DELAYED_LIFE_MAX_MS + 24ull * 3600 * 1000)
#define DELAYED_ADVICE_RING 64u
/* Leaves the rest of a host's invalidation jobs to clients that ask now. */
#define DELAYED_JOBS_MAX (INVALIDATION_JOBS_MAX / 4 * 3)

struct delayed_job;
struct delayed_adding;
struct delayed_sweeping;

struct delayed {
    struct delayed_options options; /* prefix: not to be used, `base` is made of it */
    char base[DELAYED_KEY_SIZE];    /* PREFIXdelayed: */
    char queue[DELAYED_KEY_SIZE], taken[DELAYED_KEY_SIZE];
    uint64_t takes;
    struct event *timer;
    uint64_t wake_ns; /* when the timer goes off; 0: it is not armed */
    bool taking;      /* a take is under way */
    bool closed;      /* delayed_free was called: only replies of Redis are waited for */
    unsigned calls;   /* commands whose reply is to come */
    /* when `credit` was computed; tasks that the pace allows to be taken now */
    uint64_t credit_ns, credit;
    uint64_t renewed_ns, again_ns; /* when leases were last renewed; when `unsure` was last sent */
    struct ask_flow flow;
    struct delayed_job *jobs; /* being carried out, at most DELAYED_JOBS_MAX */
    unsigned job_count;
    struct delayed_adding *unsure;   /* to be added again at the next tick */
    struct delayed_sweeping *sweeps; /* that pause between two steps */
    unsigned client_calls;           /* of delayed_add, _list, _look and _sweep */
    /* by second; in each host's own memory: in Redis they could be left behind */
    struct rate rates[DELAYED_EVENT_COUNT];
    struct trouble given_up;                           /* tasks */
    struct trouble refused;                            /* by Redis, to hand out any */
    uint64_t advice_next;                              /* number */
    size_t advice_count;                               /* of the last look */
    struct delayed_advice advice[DELAYED_ADVICE_RING]; /* by number modulo the size */
    struct delayed_advice last[DELAYED_ADVICE_MAX];
};

/* ---- call.c: a command, and who waits for its reply ------------------------------------------------------------ */

/* A member of a struct on the heap, which `done` frees. */
struct delayed_call;
typedef void (*delayed_reply_fn)(struct delayed_call *call, enum redis_status status,
                                 const struct redis_reply *reply);
struct delayed_call {
    struct delayed *delayed;
    delayed_reply_fn done;
};

/* A zeroed struct of `size` around a call of a client; NULL with *code when there is no room for another, or memory. */
void *delayed_call_new(const struct delayed *delayed, size_t size, int *code);
/* Returns `code`, with which the call of `new` has begun: it counts, or is freed when it is negative. */
int delayed_call_begun(struct delayed *delayed, int code, void *new);
/* Runs a script with the keys `queue` and `taken` and, as first argument, the base; `args` has them already, from
 * delayed_args. On failure the call is the caller's still. Clears `args`. */
int delayed_run_script(struct delayed *delayed, const char *script, struct redis_args *args,
                       struct delayed_call *call) PERMTAB_MUST_CHECK;
/* Begins the arguments of delayed_remove.lua: tasks of this owner alone, or "" for anybody's. Ids follow. */
void delayed_remove_args(struct redis_args *args, const char *owner);
/* Begins the arguments of a script: the keys and the base. */
void delayed_args(const struct delayed *delayed, struct redis_args *args);
/* The redis_done_fn of calls. */
void delayed_on_reply(void *context, enum redis_status status, const struct redis_reply *reply);
/* 0 for REDIS_OK, else a code, and a sentence in `text`. */
int delayed_outcome(const struct delayed *delayed, enum redis_status status, const struct redis_reply *reply,
                    struct failure *failure) PERMTAB_MUST_CHECK;
/* An element as text, "" when it is no text; or as a number, 0 when it is no number. */
const char *delayed_text_at(const struct redis_reply *reply, size_t index);
uint64_t delayed_u64_at(const struct redis_reply *reply, size_t index);

/* Counts for the rates and for stats. */
void delayed_count(struct delayed *delayed, enum delayed_event event, uint64_t count);
/* Lets `tasks` due tasks be carried out beyond the pace. */
void delayed_hurry(struct delayed *delayed, uint64_t tasks);
/* Makes the timer go off after `ms`, or sooner if it is set so. */
void delayed_wake_in(struct delayed *delayed, uint64_t ms);
const struct scope_types *delayed_types(const struct delayed *delayed);

/* ---- job.c ------------------------------------------------------------------------------------------------------ */

/* Makes a job of a row of delayed_take.lua's reply. */
void delayed_job_start(struct delayed *delayed, const struct redis_reply *row, const char *owner,
                       uint64_t now_ms);
void delayed_jobs_renew(struct delayed *delayed);
void delayed_jobs_end(struct delayed *delayed);

/* ---- add.c, sweep.c ------------------------------------------------------------------------------------- */

void delayed_add_again(struct delayed *delayed);
void delayed_adding_end(struct delayed *delayed);
void delayed_sweeps_end(struct delayed *delayed);

#endif
