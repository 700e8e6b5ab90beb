/* Clean-up jobs: those that wait, run, or have ended; one event looks at all of them. One job of each kind runs at
 * a time, and running jobs share one budget and one command under way, so that a host never has two slices in
 * Redis.
 *
 * A job, and not a loop over keys, because each answer that it waits for (of Redis, the store, its share of time,
 * the lock) may come when the job has been cancelled or Redis is another one. Each of them then finds the job's
 * phase, or no job. */
#include "proxy/cleanup/cleanup.h"

#include "proxy/base/clock.h"
#include "proxy/base/timer.h"
#include "proxy/cleanup/private.h"

#include <event2/event.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define SECOND        1000000000ull
#define TROUBLE_MAX   (60 * SECOND)  /* Redis, the marker or the store being away */
#define LOCK_MAX      (600 * SECOND) /* another host being at it */
#define TROUBLE_AGAIN (SECOND / 2)
#define RESTARTS_MAX  16u
/* older Redises match a glob in time that grows with a power of the number of stars */
#define STARS_MAX 4u

static const char *const kind_names[CLEANUP_KINDS] = {"pattern", "epochs", "orphans"};

const char *cleanup_kind_name(enum cleanup_kind kind)
{
    return kind_names[kind];
}

bool cleanup_kind_parse(const char *text, enum cleanup_kind *out)
{
    for (unsigned i = 0; i < CLEANUP_KINDS; i++) {
        *out = (enum cleanup_kind)i;
        if (strcmp(text, kind_names[i]) == 0)
            return true;
    }
    return false;
}

const char *cleanup_state_name(enum cleanup_state state)
{
    switch (state) {
    case CLEANUP_WAITING:
        return "waiting";
    case CLEANUP_LOCKING:
        return "locking";
    case CLEANUP_SCANNING:
        return "scanning";
    case CLEANUP_LOST:
        return "lost";
    case CLEANUP_DONE:
        return "done";
    case CLEANUP_FAILED:
        return "failed";
    case CLEANUP_CANCELLED:
        return "cancelled";
    }
    return "";
}

/* ---- one job ----------------------------------------------------------------------------------------------------- */

static enum cleanup_state state_of(const struct cleanup_job *job)
{
    switch (job->phase) {
    case PHASE_WAIT:
        return CLEANUP_WAITING;
    case PHASE_LOCK:
        return job->trouble_since_ns ? CLEANUP_LOST : CLEANUP_LOCKING;
    case PHASE_SCAN:
    case PHASE_ASK:
    case PHASE_ASKING:
    case PHASE_UNLINK:
        return job->trouble_since_ns ? CLEANUP_LOST : CLEANUP_SCANNING;
    case PHASE_END:
        break;
    }
    if (job->code == 0)
        return CLEANUP_DONE;
    return job->code == PERMTAB_E_REFUSED ? CLEANUP_CANCELLED : CLEANUP_FAILED;
}

static void status_take(const struct cleanup_job *job, struct cleanup_status *out)
{
    *out = job->status;
    out->state = state_of(job);
    out->took_ms = (clock_ns() - job->begun_ns) / 1000000;
    out->rate = out->keys_removed * 1000 / (out->took_ms ? out->took_ms : 1);
}

void cleanup_job_end(struct cleanup_job *job, int code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(job->status.text, sizeof job->status.text, format, arguments);
    va_end(arguments);
    job->phase = PHASE_END;
    job->code = code;
    cleanup_flight_forget(job->cleanup, job);
    cleanup_ask_forget(job);
    cleanup_unlock(job);
    cleanup_wake(job->cleanup);
}

void cleanup_job_cancel(struct cleanup_job *job)
{
    job->cancelled = true;
    if (!cleanup_in_flight(job))
        cleanup_job_end(job, PERMTAB_E_REFUSED, "cancelled");
}

void cleanup_job_trouble(struct cleanup_job *job, int code, const char *format, ...)
{
    uint64_t now = clock_ns();
    char text[CLEANUP_TEXT_SIZE];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (job->trouble_since_ns == 0)
        job->trouble_since_ns = now;
    if (now - job->trouble_since_ns > job->cleanup->trouble_max_ns) {
        cleanup_job_end(job, code, "%s", text);
        return;
    }
    (void)memcpy(job->status.text, text, sizeof text);
    job->look_ns = now + TROUBLE_AGAIN;
    cleanup_wake(job->cleanup);
}

void cleanup_job_went_well(struct cleanup_job *job)
{
    job->trouble_since_ns = 0;
    job->status.text[0] = 0;
    cleanup_wake(job->cleanup);
}

void cleanup_job_restart(struct cleanup_job *job)
{
    if (job->phase == PHASE_WAIT || job->phase == PHASE_END)
        return;
    cleanup_flight_forget(job->cleanup, job);
    cleanup_ask_forget(job);
    cleanup_batch_clear(&job->batch);
    job->locked = false;
    job->look_ns = 0;
    cleanup_wake(job->cleanup);
    if (job->cancelled) { /* and its answer will not come */
        cleanup_job_end(job, PERMTAB_E_REFUSED, "cancelled");
        return;
    }
    if (job->phase == PHASE_LOCK)
        return;
    if (job->status.restarts++ == RESTARTS_MAX) {
        cleanup_job_end(job, PERMTAB_E_UNREACHABLE, "it had to begin anew too often");
        return;
    }
    job->phase = PHASE_LOCK;
    job->lock_since_ns = clock_ns();
    job->cursor = 0;
    job->whole = false;
    job->status.keys_seen = 0;
    job->status.keys_total = 0;
}

static struct cleanup_job *job_new(struct cleanup *cleanup, enum cleanup_kind kind, const char *pattern)
{
    struct cleanup_job *job = calloc(1, sizeof *job);
    if (!job)
        return NULL;
    job->cleanup = cleanup;
    job->begun_ns = clock_ns();
    job->status.id = ++cleanup->last_id;
    job->status.kind = kind;
    if (kind == CLEANUP_PATTERN)
        (void)strcpy(job->status.pattern, pattern);
    (void)snprintf(job->token, sizeof job->token, "%016" PRIx64, (cleanup->seed += 0x9e3779b97f4a7c15ull));
    return job;
}

static void job_free(struct cleanup_job *job)
{
    cleanup_batch_fini(&job->batch);
    free(job);
}

/* ---- the list ---------------------------------------------------------------------------------------------------- */

static void past_add(struct cleanup *cleanup, const struct cleanup_status *status)
{
    if (cleanup->past_count == CLEANUP_PAST_MAX)
        memmove(&cleanup->past[0], &cleanup->past[1], --cleanup->past_count * sizeof cleanup->past[0]);
    cleanup->past[cleanup->past_count++] = *status;
}

/* Logs the end of a job. Jobs of CLEANUP_EPOCHS begin by themselves, with each new epoch, so a flood of them is
 * held back. */
static void log_end(struct cleanup *cleanup, const struct cleanup_status *status)
{
    struct trouble once = {0};
    (void)trouble_happens(status->kind == CLEANUP_EPOCHS ? &cleanup->epochs_ended : &once, LOG_LEVEL_INFO,
                          clock_ns(),
                          "clean-up %" PRIu64 " (%s): %s, removed %" PRIu64 " keys in %" PRIu64 " ms%s%s",
                          status->id, cleanup_kind_name(status->kind), cleanup_state_name(status->state),
                          status->keys_removed, status->took_ms, status->text[0] ? ": " : "", status->text);
}

/* Takes the job out, and calls its done at the very end, because done may start and cancel jobs. */
static void bury(struct cleanup_job *job)
{
    struct cleanup *cleanup = job->cleanup;
    struct cleanup_job **at = &cleanup->jobs;
    struct cleanup_status status;
    cleanup_done_fn done = job->done;
    void *context = job->context;
    int code = job->code;
    while (*at != job)
        at = &(*at)->next;
    *at = job->next;
    status_take(job, &status);
    past_add(cleanup, &status);
    log_end(cleanup, &status);
    job_free(job);
    if (done)
        done(context, code, &status);
}

static void bury_ended(struct cleanup *cleanup)
{
    struct cleanup_job *job = cleanup->jobs;
    while (job) {
        if (job->phase != PHASE_END) {
            job = job->next;
            continue;
        }
        bury(job);
        job = cleanup->jobs; /* anything may have changed */
    }
}

static void arm(struct cleanup *cleanup, uint64_t after_ns)
{
    (void)timer_in_ns(cleanup->pump, after_ns);
}

void cleanup_wake(struct cleanup *cleanup)
{
    arm(cleanup, 0);
}

/* The job of a kind that is not waiting. */
static struct cleanup_job *running(const struct cleanup *cleanup, enum cleanup_kind kind)
{
    struct cleanup_job *job = cleanup->jobs;
    while (job && (job->status.kind != kind || job->phase == PHASE_END))
        job = job->next;
    if (job && job->phase == PHASE_WAIT) {
        job->phase = PHASE_LOCK;
        job->lock_since_ns = clock_ns();
    }
    return job;
}

/* No callback is called from inside a step, so the list holds still meanwhile; jobs may end. */
static void on_pump(evutil_socket_t descriptor, short what, void *context)
{
    struct cleanup *cleanup = context;
    uint64_t wake = CLEANUP_NEVER;
    (void)descriptor, (void)what;
    bury_ended(cleanup);
    uint64_t now = clock_ns();
    enum cleanup_kind turn = cleanup->turn;
    for (unsigned i = 0; i < CLEANUP_KINDS; i++) {
        enum cleanup_kind kind = (enum cleanup_kind)((turn + i) % CLEANUP_KINDS);
        struct cleanup_job *job = running(cleanup, kind);
        if (!job)
            continue;
        uint64_t look = now < job->look_ns ? job->look_ns : cleanup_job_step(job, now);
        wake = look < wake ? look : wake;
        wake = job->phase == PHASE_END ? now : wake;
    }
    if (wake != CLEANUP_NEVER)
        arm(cleanup, wake > now ? wake - now : 0);
}

/* ---- from outside ------------------------------------------------------------------------------------------------ */

/* Whether one more job of this kind would wait where enough wait already. */
static bool full(const struct cleanup *cleanup, enum cleanup_kind kind)
{
    size_t count = 0;
    bool behind = false;
    for (const struct cleanup_job *job = cleanup->jobs; job; job = job->next) {
        count += job->phase == PHASE_WAIT;
        behind = behind || (job->status.kind == kind && job->phase != PHASE_END);
    }
    return behind && count >= CLEANUP_WAITING_MAX;
}

static bool pattern_good(const char *pattern)
{
    unsigned stars = 0;
    for (const char *at = pattern; *at; at++)
        stars += *at == '*';
    return pattern[0] && strlen(pattern) < CLEANUP_PATTERN_SIZE && stars <= STARS_MAX;
}

/* A job that has not looked at a key yet and wants the same. */
static const struct cleanup_job *same_job(const struct cleanup *cleanup, enum cleanup_kind kind,
                                          const char *pattern)
{
    const struct cleanup_job *job = cleanup->jobs;
    while (job && (job->status.kind != kind || job->phase > PHASE_LOCK || job->status.restarts ||
                   job->cancelled || (kind == CLEANUP_PATTERN && strcmp(job->status.pattern, pattern) != 0)))
        job = job->next;
    return job;
}

int64_t cleanup_start(struct cleanup *cleanup, enum cleanup_kind kind, const char *pattern,
                      cleanup_done_fn done, void *context)
{
    if ((kind == CLEANUP_PATTERN) != (pattern != NULL) || (pattern && !pattern_good(pattern)))
        return PERMTAB_E_INVALID;
    const struct cleanup_job *same = done ? NULL : same_job(cleanup, kind, pattern);
    if (same)
        return (int64_t)same->status.id;
    if (cleanup->ending || full(cleanup, kind))
        return PERMTAB_E_FULL;
    struct cleanup_job *job = job_new(cleanup, kind, pattern);
    if (!job)
        return PERMTAB_E_MEMORY;
    job->done = done;
    job->context = context;
    struct cleanup_job **end = &cleanup->jobs;
    while (*end)
        end = &(*end)->next;
    *end = job;
    (void)running(cleanup, kind); /* a job alone of its kind does not count as waiting */
    cleanup_wake(cleanup);
    return (int64_t)job->status.id;
}

static struct cleanup_job *find(const struct cleanup *cleanup, uint64_t id)
{
    struct cleanup_job *job = cleanup->jobs;
    while (job && (job->phase == PHASE_END || job->cancelled || (id != 0 && job->status.id != id)))
        job = job->next;
    return job;
}

int cleanup_cancel(struct cleanup *cleanup, uint64_t id)
{
    struct cleanup_job *job = find(cleanup, id);
    if (!job)
        return PERMTAB_E_NOT_FOUND;
    for (; job; job = id == 0 ? find(cleanup, 0) : NULL)
        cleanup_job_cancel(job);
    return 0;
}

void cleanup_forget(struct cleanup *cleanup, uint64_t id)
{
    for (struct cleanup_job *job = cleanup->jobs; job; job = job->next) {
        if (job->status.id == id)
            job->done = NULL;
    }
}

size_t cleanup_list(const struct cleanup *cleanup, struct cleanup_status *out, size_t max)
{
    size_t count = 0;
    for (unsigned wanted = 0; wanted < 2; wanted++) { /* those that run, then those that wait */
        for (const struct cleanup_job *job = cleanup->jobs; job && count < max; job = job->next) {
            if ((job->phase == PHASE_WAIT) == (wanted == 1))
                status_take(job, &out[count++]);
        }
    }
    for (size_t i = cleanup->past_count; i > 0 && count < max; i--)
        out[count++] = cleanup->past[i - 1];
    return count;
}

void cleanup_print(const struct cleanup *cleanup, FILE *out)
{
    struct cleanup_status jobs[CLEANUP_JOBS_MAX];
    size_t count = cleanup_list(cleanup, jobs, CLEANUP_JOBS_MAX);
    for (size_t i = 0; i < count; i++) {
        const struct cleanup_status *job = &jobs[i];
        (void)fprintf(out,
                      "%" PRIu64 " %s %s seen %" PRIu64 " of %" PRIu64 " removed %" PRIu64 " slices %" PRIu64
                      " restarts %" PRIu64 " ms %" PRIu64 " redis_us %" PRIu64 " rate %" PRIu64 "%s%s%s%s\n",
                      job->id, cleanup_kind_name(job->kind), cleanup_state_name(job->state), job->keys_seen,
                      job->keys_total, job->keys_removed, job->slices, job->restarts, job->took_ms,
                      job->redis_us, job->rate, job->pattern[0] ? " pattern " : "", job->pattern,
                      job->text[0] ? ": " : "", job->text);
    }
    if (count == 0)
        (void)fputs("none\n", out);
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

void cleanup_connected(struct cleanup *cleanup, bool connected)
{
    for (struct cleanup_job *job = cleanup->jobs; job && connected; job = job->next)
        cleanup_job_restart(job);
    cleanup_wake(cleanup);
}

int cleanup_new(struct cleanup **out, const struct cleanup_options *options)
{
    struct cleanup *cleanup = calloc(1, sizeof *cleanup);
    *out = cleanup;
    if (!cleanup)
        return PERMTAB_E_MEMORY;
    cleanup->base = options->base;
    cleanup->redis = options->redis;
    cleanup->pool = options->pool;
    cleanup->prefix = options->prefix;
    cleanup->types = options->types;
    cleanup->counters = options->counters;
    cleanup->seed = options->host_id;
    cleanup->trouble_max_ns = TROUBLE_MAX;
    cleanup->lock_max_ns = LOCK_MAX;
    cleanup_pace_init(&cleanup->pace, options->budget);
    cleanup->pump = evtimer_new(options->base, on_pump, cleanup);
    if (cleanup->pump)
        return 0;
    cleanup_free(cleanup);
    *out = NULL;
    return PERMTAB_E_MEMORY;
}

void cleanup_free(struct cleanup *cleanup)
{
    if (!cleanup)
        return;
    cleanup->ending = true;
    cleanup_flight_forget(cleanup, NULL);
    for (struct cleanup_job *job = cleanup->jobs; job; job = job->next) {
        if (job->phase != PHASE_END) /* a job, too, that was cancelled and waits for its last slice */
            cleanup_job_cancel(job);
    }
    bury_ended(cleanup);
    if (cleanup->pump)
        event_free(cleanup->pump);
    free(cleanup);
}
