/* A job of the warm-up:
 *
 *   WAITING ─► READING ─► FILLING ─► COUNTING ─► FILLING ─► ended       job_again, from anywhere ─► WAITING
 *      │ the lease, and its turn        │ until it is known who has rows
 *
 * What is read first time of keys without rows of the user may be a stranger's, and strangers are not filled. Users are
 * counted in the background after a start; such keys are put off until that is done. */
#include "proxy/warm/private.h"

#include "client/wire/text.h"
#include "proxy/base/clock.h"
#include "proxy/base/log.h"
#include "proxy/table/publisher.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define READ_A_TURN 16384u

static int order(const struct job *a, const struct job *b)
{
    if (a->status.priority != b->status.priority)
        return a->status.priority > b->status.priority ? -1 : 1;
    return a->status.id < b->status.id ? -1 : a->status.id > b->status.id;
}

bool job_has_place(const struct warm *warm, enum warm_kind kind)
{
    unsigned like_it = 0;
    for (const struct job *job = warm->jobs; job != NULL; job = job->next)
        like_it += job->status.kind == kind;
    return like_it < (kind == WARM_REQUEST ? WARM_REQUESTS_MAX : 1);
}

struct job *job_new(struct warm *warm, enum warm_kind kind, unsigned priority, const char *what)
{
    if (!job_has_place(warm, kind))
        return NULL;
    struct job *job = calloc(1, sizeof *job);
    if (job == NULL) {
        log_warning("warm-up: no memory for a job (%s %s)", warm_kind_name(kind), what);
        return NULL;
    }
    job->warm = warm;
    job->place = KEYS_ORDERS_MAX;
    job->status = (struct warm_status){.id = ++warm->last_id,
                                       .kind = kind,
                                       .state = WARM_WAITING,
                                       .priority = priority,
                                       .since_us = (uint64_t)wall_us()};
    job->begun_ns = clock_ns();
    (void)snprintf(job->status.what, sizeof job->status.what, "%s", what);
    DL_INSERT_INORDER(warm->jobs, job, order);
    warm->job_count++;
    return job;
}

void job_raise(struct job *job, unsigned priority)
{
    DL_DELETE(job->warm->jobs, job);
    job->status.priority = priority;
    DL_INSERT_INORDER(job->warm->jobs, job, order);
}

void job_forget_alone(struct job *job)
{
    free(job->alone);
    job->alone = NULL;
    job->alone_count = job->next_alone = 0;
}

static void forget_keys(struct job *job)
{
    hands_drop(job->warm, job);
    runs_drop(job->warm, job);
    job_forget_alone(job);
    keys_reading_free(job->reading);
    job->reading = NULL;
    page_leave(job->page);
    job->page = NULL;
    if (job->pulling)
        fleet_keys_leave(job->warm->fleet);
    job->pulling = false;
    job->paged = job->cut = false;
    job->tries = 0;
    free(job->keys);
    job->keys = NULL;
    job->count = job->next_key = job->put_off = 0;
    job->stuck_ns = 0;
    job->why[0] = '\0';
}

void job_again(struct job *job)
{
    struct warm_status *status = &job->status;
    forget_keys(job);
    status->state = WARM_WAITING;
    status->total = status->filled = status->resident = status->strangers = 0;
    status->failed = status->left_out = 0;
}

void job_remove(struct job *job)
{
    forget_keys(job);
    DL_DELETE(job->warm->jobs, job);
    job->warm->job_count--;
    free(job);
}

void job_has_keys(struct job *job)
{
    job->status.total = job->count;
    job->status.state = WARM_FILLING;
    if (job->count > 0)
        log_info("warm-up: job %" PRIu64 " (%s) has %zu keys to fill", job->status.id, job->status.what, job->count);
}

/* The one key of a target that names it. */
static void take_target(struct job *job)
{
    job->keys = malloc(sizeof *job->keys);
    if (job->keys == NULL) {
        warm_end(job, WARM_FAILED);
        return;
    }
    *job->keys = (struct hot_key){.user = job->target.id, .scope = job->target.scope, .frequency = 1};
    job->count = 1;
    job_has_keys(job);
}

void job_begin(struct job *job)
{
    struct warm *warm = job->warm;
    uint32_t types = publisher_catalogue(warm->options.publisher)->types.count;
    job->status.state = WARM_READING;
    if (job->targeted && job->target.kind == TARGET_USER_AT)
        take_target(job);
    else if (job->targeted)
        return; /* pages are read in turns */
    else if (job->status.kind == WARM_FLEET)
        join_pull(job);
    else if (warm->options.keys == NULL || keys_reading_new(&job->reading, warm->options.keys, types) < 0)
        warm_end(job, WARM_DONE); /* it is a hint, and there will be other times */
}

void job_read_on(struct job *job)
{
    if (job->reading == NULL) {
        page_begin(job);
        return;
    }
    if (keys_reading_slice(job->reading, READ_A_TURN))
        return;
    job->keys = keys_reading_take(job->reading, &job->count);
    job->reading = NULL;
    job_has_keys(job);
}

bool job_is_stuck(struct job *job)
{
    uint64_t now_ns = clock_ns();
    if (job->stuck_ns == 0)
        job->stuck_ns = now_ns;
    return now_ns - job->stuck_ns >= WARM_PATIENCE_NS;
}

/* All keys were tried once: now those that were put off. False when it is not known who has rows, and will not be. */
static bool turn_to_put_off(struct job *job)
{
    if (!answering_knows_users(job->warm->options.answering)) {
        job->status.state = WARM_COUNTING;
        if (!job_is_stuck(job))
            return true;
        job->status.strangers += job->put_off;
        job->put_off = 0;
        return false;
    }
    job->stuck_ns = 0;
    job->count = job->put_off;
    job->next_key = job->put_off = 0;
    job->status.state = WARM_FILLING;
    return true;
}

bool job_has_more(const struct job *job)
{
    return job->next_key < job->count || job->next_alone < job->alone_count || job->busy > 0 || job->run_keys > 0;
}

bool job_is_over(struct job *job)
{
    if (job->status.state != WARM_FILLING && job->status.state != WARM_COUNTING)
        return false;
    if (job_has_more(job))
        return false;
    return job->put_off == 0 || !turn_to_put_off(job);
}

uint64_t job_left(const struct job *job)
{
    return job->count - job->next_key + job->put_off + job->busy + job->run_keys + job->alone_count - job->next_alone;
}

void job_keep_why(struct job *job, const char *why)
{
    if (why != NULL && why[0] != '\0')
        (void)text_clean_line(job->why, sizeof job->why, why, strlen(why));
}

static const char *why_it_rests(struct warm *warm, bool *why)
{
    uint64_t now_ns = clock_ns();
    *why = pause_lasts(&warm->pause, now_ns);
    if (*why)
        return "the store does not answer";
    return budget_wait_ns(&warm->budget, now_ns) > 0 ? "waits for its budget" : "";
}

static const char *while_filling(const struct job *job, bool *why)
{
    struct warm *warm = job->warm;
    bool waits = job_has_more(job) && job->busy == 0 && job->run_keys == 0;
    if (waits && warm_giver(warm) != job && runs_giver(warm) != job)
        return "others come first";
    if (!hands_have_room(warm))
        return "the table has no room";
    return why_it_rests(warm, why);
}

/* `why`: there is a reason of the store for it. */
static const char *state_text(const struct job *job, bool *why)
{
    struct warm *warm = job->warm;
    switch (job->status.state) {
    case WARM_WAITING:
        return publisher_leased(warm->options.publisher, clock_ns()) ? "others come first" : "there is no lease";
    case WARM_COUNTING:
        return "it is not known yet who has rows";
    case WARM_FILLING:
        return while_filling(job, why);
    case WARM_READING:
        return why_it_rests(warm, why);
    case WARM_DONE:
        *why = !job->cut && job->status.failed > 0;
        return job->cut ? "there are more than the table has room for" : *why ? "some could not be read" : "";
    case WARM_FAILED:
        *why = true;
        return job->status.kind == WARM_FLEET ? "Redis could not be read" : "the store could not be read";
    case WARM_CANCELLED:
        return "";
    }
    return "";
}

void job_text(const struct job *job, char out[WARM_TEXT_SIZE])
{
    bool why = false;
    char line[2 * WARM_TEXT_SIZE];
    const char *text = state_text(job, &why);
    bool both = why && job->why[0] != '\0';
    (void)snprintf(line, sizeof line, "%s%s%s", text, both ? ": " : "", both ? job->why : "");
    (void)text_clean_line(out, WARM_TEXT_SIZE, line, strlen(line)); /* cut at a whole character */
}
