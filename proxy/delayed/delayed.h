/* The queue of delayed invalidations: in Redis for the whole fleet; the first host that asks takes a due task.
 * docs/INVALIDATION.md has the keys, and the reason why nothing leaks. On the loop's thread; nothing blocks.
 *
 *     delayed_add ─► MULTI: task, queue, indexes
 *     every second, or when the next is due
 *         ─► delayed_take.lua ─► condition ─► invalidation_start ─► delayed_remove.lua
 *                                └ not yet, or failed ─► delayed_return.lua */
#ifndef PERMTAB_DELAYED_DELAYED_H
#define PERMTAB_DELAYED_DELAYED_H

#include "proxy/answer/answer.h"
#include "proxy/base/counters.h"
#include "proxy/delayed/advice.h"
#include "proxy/delayed/task.h"
#include "proxy/invalidate/invalidate.h"
#include "proxy/redis/redis.h"

/* X(name): an event that is counted; the help of the counter delayed_NAME says what it means. */
#define DELAYED_EVENTS(X)                                                                                    \
    X(added) X(taken) X(done) X(failed) X(late) X(waited) X(expired) X(returned) X(cancelled)

enum delayed_event {
#define X(name) DELAYED_##name,
    DELAYED_EVENTS(X)
#undef X
        DELAYED_EVENT_COUNT
};

struct delayed;

struct delayed_options {
    /* Borrowed until delayed_free. */
    struct event_base *base;
    struct redis *redis;
    struct publisher *publisher;
    struct feed *feed;
    struct answering *answering;
    struct invalidations *invalidations;
    struct counters *counters;
    /* Copied. */
    uint64_t host_id; /* our owner's tokens begin with it */
    const char *prefix;
    /* Zeros take the defaults. */
    unsigned budget;    /* per cent of Redis' time that a command over many tasks may take */
    uint64_t lease_ms;  /* 30 s: after so long a dead host's tasks are taken by others */
    uint64_t tick_ms;   /* 1 s: how often the queue is looked at when nothing is known to be due */
    uint32_t a_second;  /* 500: tasks that this host carries out a second, unless told to hurry */
    uint64_t queue_max; /* DELAYED_QUEUE_MAX */
};

/* PERMTAB_E_MEMORY. */
int delayed_new(struct delayed **out, const struct delayed_options *options) PERMTAB_MUST_CHECK;
/* To be called before answering_end and redis_free. Each done of a waiting client gets PERMTAB_E_UNREACHABLE, at
 * the latest in redis_free. Other hosts take the tasks that this host has taken when their leases end. */
void delayed_free(struct delayed *delayed);
/* To be called from the redis_state_fn. */
void delayed_connected(struct delayed *delayed, bool connected);

/* ---- for clients ------------------------------------------------------------------------------------------------- */

/* Every `done` below is called exactly once, later, never from inside, when the function has returned 0. `code` is
 * 0 or a failure with a sentence: PERMTAB_E_UNREACHABLE (Redis is away), _TIMEOUT, _FULL, _LIMIT, _MEMORY,
 * _PROTOCOL. The functions themselves return _UNREACHABLE, _FULL (too much under way) or _MEMORY. */

typedef void (*delayed_added_fn)(void *context, int code, const char *text, const struct delayed_task *task);
/* Adds a copy of the task; a task without an id gets one. The same id added again is one task. Adding is repeated
 * for a few seconds while its outcome is unknown. */
int delayed_add(struct delayed *delayed, const struct delayed_task *task, const struct delayed_when *when,
                delayed_added_fn done, void *context) PERMTAB_MUST_CHECK;

/* A task as it stands in Redis; texts are borrowed for the call. */
struct delayed_row {
    const char *id, *targets, *reason, *condition, *revision, *error;
    bool taken; /* being carried out; `time_ms` is the end of the lease, else when it is due */
    uint64_t time_ms, expires_ms;
    uint64_t attempts, waits;
};
#define DELAYED_ROWS_MAX 200u
typedef void (*delayed_listed_fn)(void *context, int code, const char *text, uint64_t now_ms,
                                  const struct delayed_row *rows, size_t count);
/* Lists the tasks being carried out, then those that are due next; `most` up to DELAYED_ROWS_MAX. */
int delayed_list(struct delayed *delayed, unsigned most, delayed_listed_fn done,
                 void *context) PERMTAB_MUST_CHECK;

typedef void (*delayed_looked_fn)(void *context, int code, const char *text,
                                  const struct delayed_state *state);
/* Reads the state of the queue. With `advise` it names the largest indexes, and delayed_advice gives the advice
 * made of it. */
int delayed_look(struct delayed *delayed, bool advise, delayed_looked_fn done,
                 void *context) PERMTAB_MUST_CHECK;

/* A command over many tasks, in steps that cost Redis little. A call does as much as fits a quarter of a second and
 * gives the cursor to go on with, "" at the end. */
#define DELAYED_CURSOR_SIZE 64
struct delayed_sweep {
    enum delayed_action action;
    struct delayed_what what;
    char cursor[DELAYED_CURSOR_SIZE]; /* "" to begin; else as the call before gave it */
    uint64_t most; /* DELAYED_RUN without an index: so many overdue ones, whatever the pace */
};
typedef void (*delayed_swept_fn)(void *context, int code, const char *text, uint64_t count,
                                 const char *cursor);
/* Also PERMTAB_E_INVALID: a cursor that no call gave, or tasks that cannot be replaced. */
int delayed_sweep(struct delayed *delayed, const struct delayed_sweep *sweep, delayed_swept_fn done,
                  void *context) PERMTAB_MUST_CHECK;

/* The advice that this host gave under a number; NULL when that is long ago. */
const struct delayed_advice *delayed_advised(const struct delayed *delayed, uint64_t number);
/* The advice that the last delayed_look with `advise` gave. */
size_t delayed_advice(const struct delayed *delayed, const struct delayed_advice **out);
/* How often the event happened on this host in the last minute. */
uint64_t delayed_minute(struct delayed *delayed, enum delayed_event event);
const char *delayed_event_name(enum delayed_event event);

#endif
