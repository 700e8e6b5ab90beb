/* Jobs that somebody asked for. What they are about is noted in the memory of keys until they have ended, so a worker
 * that follows another one begins them again: from the front, for what was filled has gone with the table. But not for
 * ever: it may be they who end it. Why the one before has ended is not known here. */
#include "proxy/warm/private.h"

#include "proxy/base/log.h"
#include "proxy/table/publisher.h"

#include <inttypes.h>
#include <stdio.h>

#define STARTS_MAX 3u

_Static_assert(WARM_REQUESTS_MAX <= KEYS_ORDERS_MAX, "each request can be noted");

/* What an order is about: a kind of target, or these keys. */
#define ORDER_HOT 255u

static const char hot_text[] = "what is asked for most";

static bool may_be_warmed(const struct target *target)
{
    return target->kind == TARGET_USER || target->kind == TARGET_USER_AT || target->kind == TARGET_ROLE ||
           target->kind == TARGET_SCOPE;
}

static const struct scope_types *types_of(const struct warm *warm)
{
    return &publisher_catalogue(warm->options.publisher)->types;
}

/* `target` is NULL, or may be warmed. */
static const char *name(const struct warm *warm, const struct target *target, char text[TARGET_TEXT_SIZE])
{
    return target != NULL ? target_format(types_of(warm), target, text) : hot_text;
}

static struct job *add(struct warm *warm, const struct target *target, unsigned priority)
{
    char text[TARGET_TEXT_SIZE];
    struct job *job = job_new(warm, WARM_REQUEST, priority, name(warm, target, text));
    if (job != NULL && target != NULL) {
        job->targeted = true;
        job->target = *target;
    }
    return job;
}

/* ---- what is noted ----------------------------------------------------------------------------------------------- */

static bool place_is_taken(const struct warm *warm, unsigned place)
{
    struct keys_order order;
    for (const struct job *job = warm->jobs; job != NULL; job = job->next)
        if (job->place == place)
            return true;
    return keys_order(warm->options.keys, place, &order);
}

static void note(struct job *job)
{
    struct keys_order order = {.kind = job->targeted ? (uint32_t)job->target.kind : ORDER_HOT,
                               .priority = job->status.priority,
                               .starts = job->starts,
                               .id = job->target.id,
                               .scope = job->target.scope};
    if (job->place < KEYS_ORDERS_MAX)
        keys_note_order(job->warm->options.keys, job->place, &order);
}

static void note_new(struct job *job)
{
    struct warm *warm = job->warm;
    job->starts = 1;
    for (unsigned place = 0; place < KEYS_ORDERS_MAX && warm->options.keys != NULL; place++)
        if (job->place == KEYS_ORDERS_MAX && !place_is_taken(warm, place))
            job->place = place;
    if (job->place == KEYS_ORDERS_MAX && warm->options.keys != NULL)
        log_warning("warm-up: job %" PRIu64 " (%s) ends with this worker, because there is no place to note it",
                    job->status.id, job->status.what);
    note(job);
}

void request_forget(struct job *job)
{
    if (job->place < KEYS_ORDERS_MAX)
        keys_note_order(job->warm->options.keys, job->place, NULL);
    job->place = KEYS_ORDERS_MAX;
}

static bool is_understood(const struct keys_order *order, const struct target *target)
{
    return order->priority < WARM_PRIORITIES &&
           (target == NULL || (order->kind <= TARGET_POKE && may_be_warmed(target)));
}

/* Whatever is noted may have been written by a worker that was about to die: it is looked at as a client's request. */
static void go_on(struct warm *warm, unsigned place, const struct keys_order *order)
{
    struct target named = {.kind = (enum target_kind)order->kind, .id = order->id, .scope = order->scope};
    const struct target *target = order->kind == ORDER_HOT ? NULL : &named;
    char text[TARGET_TEXT_SIZE];
    struct job *job = NULL;
    if (!is_understood(order, target))
        log_warning("warm-up: a request that was noted is dropped, because it is not understood (kind %" PRIu32
                    ", priority %" PRIu32 ")", order->kind, order->priority);
    else if (order->starts >= STARTS_MAX)
        log_warning("warm-up: %s is dropped, because %" PRIu32 " workers have begun it and none has ended it",
                    name(warm, target, text), order->starts);
    else if ((job = add(warm, target, order->priority)) == NULL)
        log_warning("warm-up: %s is dropped, because there is no place for it", name(warm, target, text));
    if (job == NULL) {
        keys_note_order(warm->options.keys, place, NULL);
        return;
    }
    job->place = place;
    job->starts = order->starts + 1;
    note(job);
    log_info("warm-up: job %" PRIu64 " (%s) begins again in this worker", job->status.id, job->status.what);
}

void requests_go_on(struct warm *warm)
{
    struct keys_order order;
    for (unsigned place = 0; place < KEYS_ORDERS_MAX && warm->options.keys != NULL; place++)
        if (keys_order(warm->options.keys, place, &order))
            go_on(warm, place, &order);
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

static bool equal(const struct job *job, const struct target *target)
{
    if (job->status.kind != WARM_REQUEST || job->targeted != (target != NULL))
        return false;
    return target == NULL || (job->target.kind == target->kind && job->target.id == target->id &&
                              scope_equal(job->target.scope, target->scope));
}

/* It was asked for before, and is under way. The id. */
static int64_t again(struct job *job, unsigned priority)
{
    if (priority > job->status.priority) {
        job_raise(job, priority);
        note(job);
        warm_schedule(job->warm);
    }
    return (int64_t)job->status.id;
}

int64_t warm_start(struct warm *warm, const struct target *target, unsigned priority)
{
    if ((target != NULL && !may_be_warmed(target)) || priority >= WARM_PRIORITIES)
        return PERMTAB_E_INVALID;
    struct job *job = warm->jobs;
    while (job != NULL && !equal(job, target))
        job = job->next;
    if (job != NULL)
        return again(job, priority);
    if (!job_has_place(warm, WARM_REQUEST))
        return PERMTAB_E_FULL;
    if ((job = add(warm, target, priority)) == NULL)
        return PERMTAB_E_MEMORY;
    int64_t id = (int64_t)job->status.id;
    note_new(job);
    warm_schedule(warm);
    return id;
}
