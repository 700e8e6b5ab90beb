/* The writes under way, on threads and connections of their own: a write waits for the holder of the store's lock,
 * and no read may wait for it. Each has a time by which its asker is answered, even when no thread is free: the
 * write is done; or it is given up and never done later; or, when COMMIT had been sent by then, its outcome is
 * unknown. On the loop's thread. */
#ifndef PERMTAB_SERVE_WRITES_H
#define PERMTAB_SERVE_WRITES_H

#include "proxy/base/counters.h"
#include "proxy/serve/request.h"
#include "proxy/store/sql.h"

struct event_base;
struct task;
struct writes;

#define WRITES_TIMEOUT_MS_MAX 3600000u

struct writes_options {
    /* Borrowed until writes_free. */
    struct event_base *base;
    struct counters *counters;
    /* Copied. */
    const struct sql_options *store;
    unsigned threads;
    size_t queue_max; /* writes that wait for a thread */
};

int writes_new(struct writes **out, const struct writes_options *options) PERMTAB_MUST_CHECK;
/* Frees the writes; waits for the threads. */
void writes_free(struct writes *writes);

/* Reads the time by which the asker wants an answer, CLOCK_MONOTONIC nanoseconds: `deadline` of the params, which
 * is that time; or `timeout_ms` from now; or `default_ms` from now. False when the request was failed. */
bool writes_deadline(struct request *request, const struct wire_value *params, uint64_t default_ms,
                     uint64_t *out);

/* Begins a task with `locks` and `answer_by_ns`; a code when it cannot. */
int writes_start(struct writes *writes, struct task *task) PERMTAB_MUST_CHECK;
/* To be called when the thread is done with a task. */
void writes_ended(struct writes *writes, struct task *task);

/* "3 writes wait, the oldest (assign) for 12.0 s: for the store's write lock, which another writer has"; "" when
 * none has waited for long. Valid until the next call. */
const char *writes_trouble(struct writes *writes);

#endif
