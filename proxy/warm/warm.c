/* The warm-up. It is an asker like a client, with one flow of its own that comes last (answer/ask.c). This file has the
 * list of jobs and the turns; job.c a job and its keys; runs.c what is read thousands together; hands.c what is read
 * key by key.
 *
 * What may happen meanwhile:
 *
 *   the store is slow           its threads wait, clients' questions go first, and the budget has to be earned
 *   the store goes away         a failure begins a pause that grows, and keys are tried again after it
 *   the table fills up          the warm-up waits for growth a while, and then ends
 *   the table is made anew      every job begins again, because what it filled has gone
 *   the process dies            the next one begins again by itself, with keys that say what was hot until then */
#include "proxy/warm/warm.h"

#include "proxy/base/clock.h"
#include "proxy/base/counters.h"
#include "proxy/base/log.h"
#include "proxy/base/timer.h"
#include "proxy/table/publisher.h"
#include "proxy/warm/private.h"

#include <event2/event.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define LOOK_MS 20u          /* whether there is room, or users are counted */
#define HOT_NS  1000000000ull /* between two looks at all keys for the hottest */

#define PRIORITY_START    6u /* above requests, of which there may be enough to take all the room */
#define PRIORITY_INTERVAL 1u

/* ---- the end of a job -------------------------------------------------------------------------------------------- */

static void fill_status(const struct job *job, struct warm_status *out)
{
    *out = job->status;
    out->took_ms = (clock_ns() - job->begun_ns) / 1000000;
    job_text(job, out->text);
}

static void tell_end(const struct warm_status *status)
{
    bool good = status->state != WARM_FAILED && status->failed == 0;
    log_line(good ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING,
             "warm-up: job %" PRIu64 " (%s) %s: %" PRIu64 " keys filled in %.1f s; %" PRIu64
             " were there already, %" PRIu64 " of strangers were skipped, %" PRIu64
             " could not be read, for %" PRIu64 " there was no room%s%s",
             status->id, status->what, warm_state_name(status->state), status->filled,
             (double)status->took_ms / 1e3, status->resident, status->strangers, status->failed, status->left_out,
             status->text[0] != '\0' ? "; " : "", status->text);
}

void warm_end(struct job *job, enum warm_state state)
{
    struct warm *warm = job->warm;
    struct warm_status *past = &warm->past[warm->past_count++ % WARM_PAST_MAX];
    job->status.state = state;
    fill_status(job, past);
    if (past->total > 0 || state != WARM_DONE || past->kind == WARM_REQUEST)
        tell_end(past);
    request_forget(job);
    job_remove(job);
}

/* ---- turns ------------------------------------------------------------------------------------------------------- */

/* The job whose turn it is: one that waits until users are counted keeps nobody else waiting. */
static struct job *first(const struct warm *warm)
{
    for (struct job *job = warm->jobs; job != NULL; job = job->next)
        if (job->status.state != WARM_COUNTING)
            return job;
    return NULL;
}

struct job *warm_giver(const struct warm *warm)
{
    const struct job *first = runs_giver(warm); /* whoever comes later waits also while its keys are for runs */
    for (struct job *job = warm->jobs; job != NULL; job = job->next) {
        bool fills = job->status.state == WARM_FILLING;
        if (fills && job->next_alone < job->alone_count)
            return job;
        if (job == first)
            return NULL;
        if (fills && job->next_key < job->count)
            return job;
    }
    return NULL;
}

static void charge(struct warm *warm, uint64_t now_ns)
{
    uint64_t spent_ns = answering_warm_ns(warm->options.answering);
    budget_spend(&warm->budget, spent_ns - warm->charged_ns, now_ns);
    warm->charged_ns = spent_ns;
    warm->options.counters->warm_store_us = spent_ns / 1000;
}

/* While it is not known how many keys there are, one is left. */
static void count_left(struct warm *warm)
{
    uint64_t left = 0;
    for (const struct job *job = warm->jobs; job != NULL; job = job->next)
        left += job_left(job) + (job->status.state == WARM_READING);
    warm->options.counters->warm_left = left;
    warm->options.counters->warm_jobs = warm->job_count;
}

static bool somebody_is_over(const struct warm *warm)
{
    for (const struct job *job = warm->jobs; job != NULL; job = job->next)
        if (job->status.state == WARM_FILLING && !job_has_more(job))
            return true;
    return false;
}

static bool somebody_counts(const struct warm *warm)
{
    for (const struct job *job = warm->jobs; job != NULL; job = job->next)
        if (job->status.state == WARM_COUNTING)
            return true;
    return false;
}

/* How long until the hands may do something. */
static uint64_t wait_ns(struct warm *warm, uint64_t now_ns)
{
    uint64_t pause_ns = pause_lasts(&warm->pause, now_ns) ? warm->pause.until_ns - now_ns : 0;
    uint64_t budget_ns = budget_wait_ns(&warm->budget, now_ns);
    return pause_ns > budget_ns ? pause_ns : budget_ns;
}

/* Whether the job is to read keys: those that are known in any turn, those of the store when it has been paid. */
static bool reads_on(const struct job *job)
{
    return job != NULL && job->status.state == WARM_READING && job->page == NULL && !job->pulling;
}

/* Has the next turn come when there is something to do in it. While all hands ask, their answers are waited for. */
void warm_schedule(struct warm *warm)
{
    uint64_t now_ns = clock_ns();
    const struct job *job = first(warm);
    bool leased = publisher_leased(warm->options.publisher, now_ns);
    charge(warm, now_ns);
    count_left(warm);
    if (somebody_is_over(warm) || (reads_on(job) && job->reading != NULL) ||
        (job != NULL && job->status.state == WARM_WAITING && leased))
        (void)timer_at_once(warm->turn);
    else if (reads_on(job))
        (void)timer_in_ns(warm->turn, wait_ns(warm, now_ns));
    else if ((hands_have_work(warm) || runs_have_work(warm)) && hands_have_room(warm))
        (void)timer_in_ns(warm->turn, wait_ns(warm, now_ns));
    else if (hands_have_work(warm) || runs_have_work(warm) || somebody_counts(warm))
        (void)timer_in_ms(warm->turn, LOOK_MS);
}

/* There is no room, and none of what is under way will make any: the job that would come next ends in the end. */
static void wait_for_room(struct warm *warm)
{
    struct job *job = warm_giver(warm);
    job = job != NULL ? job : runs_giver(warm);
    for (unsigned i = 0; i < WARM_HANDS && job == NULL; i++)
        if (warm->hands[i].is == HAND_AGAIN)
            job = warm->hands[i].job;
    if (job == NULL || !job_is_stuck(job))
        return;
    job->status.left_out = job_left(job);
    warm_end(job, WARM_DONE);
}

static void fill(struct warm *warm)
{
    if (!hands_have_room(warm)) {
        if (warm->asking == 0 && warm->run_count == 0)
            wait_for_room(warm);
        return;
    }
    for (struct job *job = warm->jobs; job != NULL; job = job->next)
        if (job->status.state == WARM_FILLING || job->status.state == WARM_READING)
            job->stuck_ns = 0;
    if (wait_ns(warm, clock_ns()) > 0)
        return;
    if (runs_have_work(warm))
        runs_begin(warm);
    hands_fill(warm);
}

static void end_those_that_are_over(struct warm *warm)
{
    struct job *job, *next;
    DL_FOREACH_SAFE(warm->jobs, job, next)
    {
        if (job_is_over(job))
            warm_end(job, WARM_DONE);
    }
}

static void step(struct warm *warm)
{
    charge(warm, clock_ns());
    end_those_that_are_over(warm);
    struct job *job = first(warm);
    if (job != NULL && job->status.state == WARM_WAITING && publisher_leased(warm->options.publisher, clock_ns())) {
        job_begin(job);
    } else if (reads_on(job)) {
        if (job->reading != NULL || wait_ns(warm, clock_ns()) == 0)
            job_read_on(job);
    } else {
        fill(warm);
    }
    end_those_that_are_over(warm);
}

static void on_turn(evutil_socket_t descriptor, short what, void *context)
{
    struct warm *warm = context;
    (void)descriptor, (void)what;
    step(warm);
    warm_schedule(warm);
}

/* ---- what others tell -------------------------------------------------------------------------------------------- */

void warm_applied(struct warm *warm)
{
    const struct job *job = warm != NULL ? first(warm) : NULL;
    if (job == NULL || job->status.state != WARM_WAITING)
        return;
    step(warm);
    warm_schedule(warm);
}

static bool is_there(const struct warm *warm, enum warm_kind kind)
{
    for (const struct job *job = warm->jobs; job != NULL; job = job->next)
        if (job->status.kind == kind)
            return true;
    return false;
}

static void add_start(struct warm *warm)
{
    if (warm->options.settings.at_start && warm->options.keys != NULL && !is_there(warm, WARM_START))
        (void)job_new(warm, WARM_START, PRIORITY_START, "what was asked for before");
}

static void arm_interval(struct warm *warm)
{
    (void)event_del(warm->interval);
    if (warm->options.settings.interval_ms > 0)
        (void)timer_in_ms(warm->interval, warm->options.settings.interval_ms);
}

/* One that is still under way does for this time, too. */
static void on_interval(evutil_socket_t descriptor, short what, void *context)
{
    struct warm *warm = context;
    (void)descriptor, (void)what;
    arm_interval(warm);
    if (warm->options.keys == NULL || is_there(warm, WARM_START) || is_there(warm, WARM_INTERVAL))
        return;
    (void)job_new(warm, WARM_INTERVAL, PRIORITY_INTERVAL, "what is asked for most");
    warm_schedule(warm);
}

void warm_again(struct warm *warm)
{
    if (warm == NULL)
        return;
    for (struct job *job = warm->jobs; job != NULL; job = job->next)
        job_again(job);
    add_start(warm);
    warm->asked_fleet = is_there(warm, WARM_FLEET);
    warm->fleet_tries = 0;
    join_begin(warm);
    (void)event_del(warm->turn);
    count_left(warm);
}

void warm_connected(struct warm *warm)
{
    if (warm == NULL)
        return;
    join_begin(warm);
    warm_schedule(warm);
}

void warm_set(struct warm *warm, const struct warm_settings *settings)
{
    if (warm == NULL)
        return;
    bool other = warm->options.settings.interval_ms != settings->interval_ms;
    warm->options.settings = *settings;
    if (other)
        arm_interval(warm);
    charge(warm, clock_ns()); /* at the old rate */
    budget_set(&warm->budget, settings->budget, clock_ns());
    warm_schedule(warm);
}

/* ---- the list ---------------------------------------------------------------------------------------------------- */

int warm_cancel(struct warm *warm, uint64_t id)
{
    struct job *job, *next;
    int code = PERMTAB_E_NOT_FOUND;
    DL_FOREACH_SAFE(warm->jobs, job, next)
    {
        if (id != 0 && job->status.id != id)
            continue;
        warm_end(job, WARM_CANCELLED);
        code = 0;
    }
    warm_schedule(warm);
    return code;
}

size_t warm_list(const struct warm *warm, struct warm_status *out, size_t max)
{
    size_t count = 0;
    for (const struct job *job = warm->jobs; job != NULL && count < max; job = job->next)
        fill_status(job, &out[count++]);
    for (uint64_t i = 0; i < WARM_PAST_MAX && i < warm->past_count && count < max; i++)
        out[count++] = warm->past[(warm->past_count - 1 - i) % WARM_PAST_MAX];
    return count;
}

size_t warm_hot(struct warm *warm, struct hot_key *out, size_t max)
{
    uint64_t now_ns = clock_ns();
    if (warm->options.keys != NULL && (warm->hot_ns == 0 || now_ns - warm->hot_ns >= HOT_NS)) {
        uint32_t types = publisher_catalogue(warm->options.publisher)->types.count;
        warm->hot_count = keys_top(warm->options.keys, types, warm->hot, WARM_HOT_MAX);
        warm->hot_ns = now_ns;
    }
    size_t count = warm->hot_count < max ? warm->hot_count : max;
    memcpy(out, warm->hot, count * sizeof *out);
    return count;
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

int warm_new(struct warm **out, const struct warm_options *options)
{
    struct warm *warm = calloc(1, sizeof *warm);
    if (warm == NULL)
        return PERMTAB_E_MEMORY;
    warm->options = *options;
    warm->flow.warms = true;
    for (unsigned i = 0; i < WARM_HANDS; i++)
        warm->hands[i].warm = warm;
    budget_set(&warm->budget, options->settings.budget, clock_ns());
    warm->turn = evtimer_new(options->base, on_turn, warm);
    warm->interval = evtimer_new(options->base, on_interval, warm);
    if (warm->turn == NULL || warm->interval == NULL || join_fleet(warm) < 0) {
        warm_free(warm);
        return PERMTAB_E_MEMORY;
    }
    add_start(warm);
    requests_go_on(warm);
    count_left(warm);
    arm_interval(warm);
    *out = warm;
    return 0;
}

void warm_free(struct warm *warm)
{
    struct job *job, *next;
    if (warm == NULL)
        return;
    DL_FOREACH_SAFE(warm->jobs, job, next)
    {
        job_remove(job);
    }
    fleet_keys_free(warm->fleet);
    if (warm->turn != NULL)
        event_free(warm->turn);
    if (warm->interval != NULL)
        event_free(warm->interval);
    if (warm->rejoin != NULL)
        event_free(warm->rejoin);
    free(warm);
}
