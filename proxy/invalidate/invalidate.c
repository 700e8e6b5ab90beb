/* Invalidations from beginning to end: limits, the parts that take time, history, and the done functions. The
 * parts: the table of this host (retire.c), messages and keys (l2.c), resident users and scopes that match
 * (match.c), keys that match (sweep.c), tags (tag.c), messages of others (heard.c).
 *
 * A job ends, and its done is called, in a turn of the loop of its own: so no done is called from inside, and one
 * that waits for a session that has gone finds that out by itself. */
#include "proxy/invalidate/invalidate.h"

#include "proxy/base/clock.h"
#include "proxy/base/printable.h"
#include "proxy/base/timer.h"
#include "proxy/invalidate/private.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

void invalidations_turn_soon(struct invalidations *all)
{
    (void)timer_at_once(all->turn);
}

void invalidation_job_trouble(struct invalidation_job *job, int code, const char *format, ...)
{
    if (job->code != 0)
        return;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(job->text, sizeof job->text, format, arguments);
    va_end(arguments);
    job->code = code;
}

void invalidation_job_tell(const struct invalidation_job *job, const struct target *targets, size_t count)
{
    const struct invalidation_ports *ports = &job->all->options.ports;
    if (ports->tell != NULL && count > 0)
        ports->tell(ports->context, targets, count, job->reason);
}

/* ---- beginning --------------------------------------------------------------------------------------------------- */

static unsigned rank(enum target_kind kind)
{
    return kind == TARGET_TAG ? 2 : kind == TARGET_PREFIX || kind == TARGET_PATTERN ? 1 : 0;
}

static void copy_targets(struct invalidation_job *job, const struct target *targets, size_t count)
{
    for (unsigned wanted = 0; wanted < 3; wanted++) {
        for (size_t i = 0; i < count; i++)
            if (rank(targets[i].kind) == wanted)
                job->targets[job->count++] = targets[i];
        if (wanted == 0)
            job->glob_first = job->count;
        if (wanted == 1)
            job->tag_first = job->count;
    }
}

/* Makes the record's text: as many of the first targets as fit, and how many more there are. */
static void describe(struct invalidation_job *job)
{
    const struct scope_types *types = &publisher_catalogue(job->all->options.publisher)->types;
    size_t used = 0, i = 0;
    char text[TARGET_TEXT_SIZE];
    for (; i < job->count; i++) {
        size_t size = strlen(target_format(types, &job->targets[i], text));
        if (used + size + 32 > sizeof job->what)
            break;
        used += (size_t)snprintf(job->what + used, sizeof job->what - used, "%s%s", i > 0 ? "," : "", text);
    }
    if (i < job->count)
        (void)snprintf(job->what + used, sizeof job->what - used, ",and %zu more", job->count - i);
}

static void count_targets(const struct invalidation_job *job)
{
    for (size_t i = 0; i < job->count; i++)
        invalidation_history_count(job->all->history, job->source, job->targets[i].kind,
                                   job->begun_ns / 1000000000);
}

static void link_job(struct invalidation_job *job)
{
    struct invalidations *all = job->all;
    DL_APPEND(all->jobs, job);
    *(job->source == INVALIDATION_MESSAGE ? &all->heard : &all->asked) += 1;
    all->options.counters->invalidations_running = all->asked + all->heard;
}

static void unlink_job(struct invalidation_job *job)
{
    struct invalidations *all = job->all;
    DL_DELETE(all->jobs, job);
    *(job->source == INVALIDATION_MESSAGE ? &all->heard : &all->asked) -= 1;
    all->options.counters->invalidations_running = all->asked + all->heard;
}

void invalidation_job_requeue(struct invalidation_job *job)
{
    unlink_job(job);
    link_job(job);
}

/* Starts the other parts. */
static void start_parts(struct invalidation_job *job)
{
    struct invalidations *all = job->all;
    bool redis = all->options.redis != NULL;
    if (job->glob_first < job->tag_first)
        invalidation_match_start(job);
    if (redis && job->tag_first > 0 && (job->tell_hosts || job->in_l2))
        invalidation_wave_start(job, job->targets, job->tag_first);
    if (redis && job->in_l2)
        invalidation_sweep_start(job);
    invalidation_job_check(job);
    invalidations_turn_soon(all);
}

struct invalidation_job *invalidation_job_start(struct invalidations *all, const struct target *targets,
                                                size_t count, const struct invalidation_job *model)
{
    struct invalidation_job *job = malloc(sizeof *job);
    if (job == NULL)
        return NULL;
    *job = *model;
    job->targets = calloc(count, sizeof *job->targets);
    if (job->targets == NULL) {
        free(job);
        return NULL;
    }
    job->all = all;
    job->begun_ns = clock_ns();
    job->at_us = wall_us();
    copy_targets(job, targets, count);
    job->next_glob = job->glob_first;
    job->next_tag = job->tag_first;
    describe(job);
    count_targets(job);
    link_job(job);
    publisher_outdate_places(all->options.publisher); /* before others hear of it, and before L2 does */
    invalidation_retire_start(job, job->targets, job->glob_first);
    start_parts(job);
    return job;
}

/* Checks the limits: 0, or a code that says why not. */
static int judge(const struct invalidations *all, const struct invalidation *what)
{
    size_t globs = 0, tags = 0;
    if (all->stopping)
        return PERMTAB_E_REFUSED;
    for (size_t i = 0; i < what->count && i < INVALIDATION_TARGETS_MAX; i++) {
        globs += rank(what->targets[i].kind) == 1;
        tags += rank(what->targets[i].kind) == 2;
    }
    if (what->count == 0)
        return PERMTAB_E_INVALID;
    if (what->count > INVALIDATION_TARGETS_MAX || what->batch > INVALIDATION_BATCH_MAX ||
        globs > INVALIDATION_GLOBS_MAX || tags > INVALIDATION_TAGS_MAX)
        return PERMTAB_E_LIMIT;
    if (tags > 0 && all->options.redis == NULL)
        return PERMTAB_E_UNREACHABLE;
    return all->asked < INVALIDATION_JOBS_MAX ? 0 : PERMTAB_E_FULL;
}

static void copy_reason(char *out, size_t size, const char *text)
{
    (void)snprintf(out, size, "%s", text);
    printable_ascii(out);
    while ((out = strchr(out, '"')) != NULL)
        *out = '?';
}

int invalidation_start(struct invalidations *all, const struct invalidation *what, invalidation_done_fn done,
                       void *context)
{
    struct invalidation_job model = {
        .batch = what->batch != 0 ? what->batch : INVALIDATION_BATCH_DEFAULT,
        .source = what->source,
        .tell_hosts = true,
        .in_l2 = true,
        .done = done,
        .context = context,
    };
    int code = judge(all, what);
    if (code < 0) {
        all->options.counters->invalidations_refused++;
        return code;
    }
    copy_reason(model.reason, sizeof model.reason, what->reason != NULL ? what->reason : "");
    return invalidation_job_start(all, what->targets, what->count, &model) != NULL ? 0 : PERMTAB_E_MEMORY;
}

/* ---- ending ------------------------------------------------------------------------------------------------------ */

void invalidation_job_check(struct invalidation_job *job)
{
    if (invalidation_retire_busy(job) || job->wave != NULL || job->look != NULL)
        return;
    if (job->all->options.redis != NULL && job->next_tag < job->count)
        invalidation_tag_go_on(job);
    if (job->matching || job->wave != NULL || job->look != NULL || invalidation_sweep_busy(job))
        return;
    job->ended = true;
    invalidations_turn_soon(job->all);
}

static void remember(const struct invalidation_job *job)
{
    struct counters *counters = job->all->options.counters;
    struct invalidation_record record = {
        .at_us = job->at_us,
        .source = job->source,
        .targets = job->count,
        .what = job->what,
        .reason = job->reason,
        .code = job->code,
        .result = job->result,
    };
    if (job->source != INVALIDATION_MESSAGE)
        counters->invalidations++;
    counters->invalidation_entries += job->result.entries;
    counters->invalidation_keys += job->result.keys;
    counters->invalidation_retries += job->result.retries;
    counters->invalidation_singles += job->result.singles;
    counters->invalidation_failures += job->result.failed;
    invalidation_history_add(job->all->history, &record);
}

/* Ends a job that is in no list any more. */
static void end_job(struct invalidation_job *job)
{
    job->result.published = job->hosts_told && !job->hosts_untold;
    job->result.took_us = (clock_ns() - job->begun_ns) / 1000;
    remember(job);
    if (job->done != NULL)
        job->done(job->context, job->code, job->text, &job->result);
    free(job->targets);
    free(job);
}

/* Gives one slice to the first of the jobs that match resident users and scopes; it then waits behind the others. */
static void match_one(struct invalidations *all)
{
    struct invalidation_job *job = all->jobs;
    while (job != NULL && !job->matching)
        job = job->next;
    if (job == NULL)
        return;
    invalidation_match_slice(job);
    invalidation_job_requeue(job);
    if (job->matching)
        return;
    invalidation_job_tell(job, job->targets + job->glob_first, job->tag_first - job->glob_first);
    invalidation_job_check(job);
}

static struct invalidation_job *take_ended(struct invalidations *all)
{
    struct invalidation_job *job = all->jobs;
    while (job != NULL && !job->ended)
        job = job->next;
    if (job != NULL)
        unlink_job(job);
    return job;
}

static void on_turn(evutil_socket_t descriptor, short what, void *context)
{
    struct invalidations *all = context;
    struct invalidation_job *job;
    (void)descriptor, (void)what;
    invalidation_retire_turn(all);
    match_one(all);
    /* A done may begin another job, which ends in a later turn. */
    size_t most = all->asked + all->heard;
    while (most-- > 0 && (job = take_ended(all)) != NULL)
        end_job(job);
    for (job = all->jobs; job != NULL; job = job->next)
        if (job->matching || job->ended || invalidation_retire_busy(job))
            invalidations_turn_soon(all);
    if (invalidation_retire_left(all))
        invalidations_turn_soon(all);
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

int invalidations_new(struct invalidations **out, const struct invalidation_options *options)
{
    struct invalidations *all = calloc(1, sizeof *all);
    *out = NULL;
    if (all == NULL)
        return PERMTAB_E_MEMORY;
    assert(options->host_id != 0);
    all->options = *options;
    all->options.prefix = strdup(options->prefix);
    (void)message_channel(all->channel, options->prefix);
    all->work = PUBLISHER_SLICE;
    all->turn = evtimer_new(options->base, on_turn, all);
    bool whole = all->options.prefix != NULL && all->turn != NULL &&
                 invalidation_history_new(&all->history, options->history_max) == 0;
    if (!whole) {
        invalidations_free(all);
        return PERMTAB_E_MEMORY;
    }
    *out = all;
    return 0;
}

void invalidations_free(struct invalidations *all)
{
    struct invalidation_job *job;
    if (all == NULL)
        return;
    all->stopping = true; /* a done called now may not begin another job */
    while ((job = all->jobs) != NULL) {
        if (job->wave != NULL)
            invalidation_wave_cancel(job->wave);
        job->wave = NULL;
        invalidation_sweep_cancel(job);
        invalidation_tag_cancel(job);
        unlink_job(job);
        if (!job->ended)
            invalidation_job_trouble(job, PERMTAB_E_REFUSED, "the sidecar is stopping");
        end_job(job);
    }
    if (all->turn != NULL)
        event_free(all->turn);
    invalidation_history_free(all->history);
    free((char *)(uintptr_t)all->options.prefix);
    free(all);
}

struct invalidation_history *invalidations_history(struct invalidations *all)
{
    return all->history;
}
