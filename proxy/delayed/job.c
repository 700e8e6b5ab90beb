/* A task that this host has taken, until it is carried out, put back or removed.
 *
 *     start ─► over, or tried too often ─► removed
 *           ─► revision not reached, condition does not hold ─► put back, with a longer rest each time
 *           ─► invalidation_start ─► done ─► removed
 *                                └─ failed ─► put back
 *
 * A job ends here before Redis is told. Should Redis not hear of it, the lease ends and some host carries the task
 * out once more: an invalidation too many, which costs a read of the store and no more. */
#include "proxy/base/clock.h"
#include "proxy/base/container_of.h"
#include "proxy/delayed/private.h"
#include "proxy/feed/feed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define TIMES_FAILING 3u  /* from then on a task is in the index `failing` */
#define TIMES_WAITING 10u /* … `waiting` */

struct delayed_job {
    struct delayed *delayed; /* NULL: it has been freed, and only on_invalidated is waited for */
    struct delayed_job *prev, *next;
    char owner[48];
    struct delayed_task task;
    struct condition condition; /* while its user's permissions are asked for */
    bool asking, invalidating;
    struct ask ask;
};

/* ---- the end of a job -------------------------------------------------------------------------------------------- */

struct ending {
    struct delayed_call call;
    enum delayed_event event;
};

/* Counts the end of a task when Redis says that it was ours to end. */
static void on_ended(struct delayed_call *call, enum redis_status status, const struct redis_reply *reply)
{
    struct ending *ending = container_of(call, struct ending, call);
    uint64_t removed = redis_reply_kind(reply) == REDIS_ARRAY ? delayed_u64_at(reply, 0) : 0;
    if (!call->delayed->closed && status == REDIS_OK && removed > 0)
        delayed_count(call->delayed, ending->event, removed);
    free(ending);
}

static void on_put_back(struct delayed_call *call, enum redis_status status, const struct redis_reply *reply)
{
    struct ending *ending = container_of(call, struct ending, call);
    uint64_t due;
    if (!call->delayed->closed && status == REDIS_OK && redis_reply_u64(reply, &due))
        delayed_count(call->delayed, ending->event, 1);
    free(ending);
}

static void job_unlink(struct delayed_job *job)
{
    DL_DELETE(job->delayed->jobs, job);
    job->delayed->job_count--;
    job->delayed = NULL;
}

/* Ends the job and tells Redis with a script, whose reply goes to `done`. */
static void job_tell(struct delayed_job *job, const char *script, struct redis_args *args,
                     enum delayed_event event, delayed_reply_fn done)
{
    struct delayed *delayed = job->delayed;
    struct ending *ending = calloc(1, sizeof *ending);
    if (delayed->job_count == DELAYED_JOBS_MAX)
        delayed_wake_in(delayed, 0); /* there is room again */
    job_unlink(job);
    free(job);
    if (!ending) {
        redis_args_fini(args);
        return;
    }
    ending->event = event;
    ending->call.done = done;
    if (delayed_run_script(delayed, script, args, &ending->call) < 0)
        free(ending);
}

static void job_remove(struct delayed_job *job, enum delayed_event event)
{
    struct redis_args args;
    delayed_args(job->delayed, &args);
    delayed_remove_args(&args, job->owner);
    redis_args_text(&args, job->task.id);
    job_tell(job, "delayed_remove", &args, event, on_ended);
}

static void job_put_back(struct delayed_job *job, enum delayed_event event, const char *why)
{
    bool waited = event == DELAYED_waited;
    struct redis_args args;
    delayed_args(job->delayed, &args);
    redis_args_text(&args, job->task.id);
    redis_args_text(&args, job->owner);
    redis_args_u64(&args,
                   waited ? delayed_waiting_ms(job->task.waits + 1) : delayed_failed_ms(job->task.attempts));
    redis_args_text(&args, waited ? "waiting" : "failing");
    redis_args_print(&args, "%.200s", why);
    redis_args_u64(&args, waited ? TIMES_WAITING : TIMES_FAILING);
    redis_args_u64(&args, DELAYED_KEY_LIFE_MS);
    job_tell(job, "delayed_return", &args, event, on_put_back);
}

/* ---- carrying it out --------------------------------------------------------------------------------------------- */

/* Whether the failure will be the same the next time: a tag that names nothing, a pattern that L2 cannot be swept
 * for. All that can be done has been done. */
static bool is_final(int code)
{
    return code == 0 || code == PERMTAB_E_NOT_FOUND || code == PERMTAB_E_INVALID || code == PERMTAB_E_LIMIT;
}

static void on_invalidated(void *context, int code, const char *text,
                           const struct invalidation_result *result)
{
    struct delayed_job *job = context;
    (void)result;
    if (!job->delayed)
        free(job);
    else if (is_final(code))
        job_remove(job, DELAYED_done);
    else
        job_put_back(job, DELAYED_failed, text && text[0] ? text : "it was not carried out whole");
}

static void job_invalidate(struct delayed_job *job)
{
    struct invalidation invalidation = {
        .targets = job->task.targets,
        .count = job->task.count,
        .reason = job->task.reason,
        .source = INVALIDATION_DELAYED,
    };
    job->invalidating = true;
    int code = invalidation_start(job->delayed->options.invalidations, &invalidation, on_invalidated, job);
    if (code < 0)
        job_put_back(job, DELAYED_failed,
                     code == PERMTAB_E_FULL ? "too many invalidations are under way"
                                            : "it could not be started");
}

/* ---- what it waits for ------------------------------------------------------------------------------------------- */

static void on_asked(struct ask *ask, int code, const char *text, const struct answer *answer)
{
    struct delayed_job *job = ask->context;
    enum condition_verdict verdict = CONDITION_UNKNOWN;
    job->asking = false;
    if (code == 0)
        verdict = condition_judge(&job->condition, publisher_catalogue(job->delayed->options.publisher),
                                  answer->any, answer->words);
    condition_fini(&job->condition);
    switch (verdict) {
    case CONDITION_HOLDS:
        job_invalidate(job);
        return;
    case CONDITION_FAILS:
        job_put_back(job, DELAYED_waited, "the condition does not hold");
        return;
    case CONDITION_UNKNOWN:
        job_put_back(job, DELAYED_waited, text && text[0] ? text : "the condition cannot be judged");
        return;
    }
}

static void job_ask(struct delayed_job *job)
{
    struct delayed *delayed = job->delayed;
    struct failure failure;
    int code = condition_parse(delayed_types(delayed), job->task.condition, &job->condition, &failure);
    if (code < 0) {
        job_put_back(job, DELAYED_waited, failure.text);
        return;
    }
    job->asking = true;
    job->ask = (struct ask){.done = on_asked, .context = job};
    job->ask.question = (struct question){
        .user = job->condition.user,
        .scope = job->condition.scope,
        .meaning = publisher_names_version(delayed->options.publisher),
    };
    ask_start(delayed->options.answering, &delayed->flow, &job->ask);
}

/* Whether the revision is applied. A revision of another store will never come, so it counts as reached. */
static bool revision_reached(const struct delayed_job *job)
{
    struct log_position at = publisher_position(job->delayed->options.publisher);
    return !job->task.has_revision || job->task.store_id != at.store_id || at.revision >= job->task.revision;
}

static void job_judge(struct delayed_job *job)
{
    if (!revision_reached(job)) {
        feed_wake(job->delayed->options.feed);
        job_put_back(job, DELAYED_waited, "the revision has not been reached");
    } else if (job->task.condition[0]) {
        job_ask(job);
    } else {
        job_invalidate(job);
    }
}

/* ---- beginning --------------------------------------------------------------------------------------------------- */

/* Reads the fields of delayed_take.lua. */
static int read_task(const struct delayed *delayed, const struct redis_reply *row, struct delayed_task *task)
{
    size_t size = 0;
    const char *targets = redis_reply_text(redis_reply_at(row, 2), &size);
    (void)snprintf(task->id, sizeof task->id, "%s", delayed_text_at(row, 0));
    task->due_ms = delayed_u64_at(row, 1);
    delayed_reason(task->reason, delayed_text_at(row, 3));
    (void)snprintf(task->condition, sizeof task->condition, "%s", delayed_text_at(row, 4));
    task->has_revision = delayed_text_at(row, 5)[0] != '\0';
    task->revision = delayed_u64_at(row, 5);
    task->store_id = delayed_u64_at(row, 6);
    task->expires_ms = delayed_u64_at(row, 7);
    task->attempts = (uint32_t)delayed_u64_at(row, 8);
    task->waits = (uint32_t)delayed_u64_at(row, 9);
    return targets ? delayed_targets_parse(delayed_types(delayed), targets, size, task) : PERMTAB_E_INVALID;
}

void delayed_job_start(struct delayed *delayed, const struct redis_reply *row, const char *owner,
                       uint64_t now_ms)
{
    struct delayed_job *job = calloc(1, sizeof *job);
    if (!job)
        return; /* its lease ends */
    job->delayed = delayed;
    (void)snprintf(job->owner, sizeof job->owner, "%s", owner);
    DL_PREPEND(delayed->jobs, job);
    delayed->job_count++;
    int code = read_task(delayed, row, &job->task);
    if (now_ms > job->task.due_ms + DELAYED_OVERDUE_MS)
        delayed_count(delayed, DELAYED_late, 1);
    if (job->task.expires_ms <= now_ms) {
        job_remove(job, DELAYED_expired);
    } else if (job->task.attempts > DELAYED_ATTEMPTS_MAX) {
        (void)trouble_happens(&delayed->given_up, LOG_LEVEL_WARNING, clock_ns(),
                              "delayed: task %s was tried %u times and is given up", job->task.id,
                              DELAYED_ATTEMPTS_MAX);
        job_remove(job, DELAYED_expired);
    } else if (code < 0) {
        job_put_back(job, DELAYED_failed, "this host cannot read its targets");
    } else {
        job_judge(job);
    }
}

/* ---- leases ------------------------------------------------------------------------------------------------------ */

static void on_renewed(struct delayed_call *call, enum redis_status status, const struct redis_reply *reply)
{
    (void)status, (void)reply; /* a lost lease is noticed when the task is ended */
    free(call);
}

void delayed_jobs_renew(struct delayed *delayed)
{
    struct redis_args args;
    struct delayed_call *call = delayed->jobs ? calloc(1, sizeof *call) : NULL;
    if (!call)
        return;
    call->done = on_renewed;
    delayed_args(delayed, &args);
    redis_args_u64(&args, delayed->options.lease_ms);
    for (const struct delayed_job *job = delayed->jobs; job; job = job->next) {
        redis_args_text(&args, job->task.id);
        redis_args_text(&args, job->owner);
    }
    if (delayed_run_script(delayed, "delayed_renew", &args, call) < 0)
        free(call);
}

void delayed_jobs_end(struct delayed *delayed)
{
    while (delayed->jobs) {
        struct delayed_job *job = delayed->jobs;
        if (job->asking) {
            ask_cancel(&job->ask);
            condition_fini(&job->condition);
        }
        job_unlink(job);
        if (!job->invalidating)
            free(job);
    }
}
