/* Jobs that somebody asked for. What they are about is noted in the memory of keys until they have ended, so a worker
 * that follows one that died begins them again: from the front, for what was filled has gone with the table. But not
 * for ever: it may be they who end it. */
#include "proxy/warm/private.h"

#include "proxy/base/log.h"
#include "proxy/table/publisher.h"

#include <stdio.h>

#define STARTS_MAX 3u

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

static struct job *add(struct warm *warm, const struct target *target, unsigned priority)
{
    char text[TARGET_TEXT_SIZE];
    const char *what = target != NULL ? target_format(types_of(warm), target, text) : hot_text;
    struct job *job = job_new(warm, WARM_REQUEST, priority, what);
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

static void note(struct job *job, unsigned place, unsigned starts)
{
    struct keys_order order = {.kind = job->targeted ? (uint32_t)job->target.kind : ORDER_HOT,
                               .priority = job->status.priority,
                               .starts = starts,
                               .id = job->target.id,
                               .scope = job->target.scope};
    job->place = place;
    keys_note_order(job->warm->options.keys, place, &order);
}

void request_forget(struct job *job)
{
    if (job->place < KEYS_ORDERS_MAX)
        keys_note_order(job->warm->options.keys, job->place, NULL);
    job->place = KEYS_ORDERS_MAX;
}

/* Whatever is noted may have been written by a worker that was about to die: it is looked at as a client's request. */
static void go_on(struct warm *warm, unsigned place, const struct keys_order *order)
{
    struct target target = {.kind = (enum target_kind)order->kind, .id = order->id, .scope = order->scope};
    bool hot = order->kind == ORDER_HOT, good = order->priority < WARM_PRIORITIES;
    struct job *job = NULL;
    if (good && (hot || (order->kind <= TARGET_POKE && may_be_warmed(&target))) && order->starts < STARTS_MAX)
        job = add(warm, hot ? NULL : &target, order->priority);
    if (job == NULL) {
        keys_note_order(warm->options.keys, place, NULL);
        return;
    }
    note(job, place, order->starts + 1);
    log_info("warm-up: %s begins again, because a worker has died", job->status.what);
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

int64_t warm_start(struct warm *warm, const struct target *target, unsigned priority)
{
    if ((target != NULL && !may_be_warmed(target)) || priority >= WARM_PRIORITIES)
        return PERMTAB_E_INVALID;
    for (const struct job *job = warm->jobs; job != NULL; job = job->next)
        if (equal(job, target))
            return (int64_t)job->status.id;
    if (warm->job_count >= WARM_JOBS_MAX)
        return PERMTAB_E_FULL;
    struct job *job = add(warm, target, priority);
    if (job == NULL)
        return PERMTAB_E_MEMORY;
    int64_t id = (int64_t)job->status.id;
    for (unsigned place = 0; place < KEYS_ORDERS_MAX && warm->options.keys != NULL; place++)
        if (job->place == KEYS_ORDERS_MAX && !place_is_taken(warm, place))
            note(job, place, 1);
    warm_schedule(warm);
    return id;
}
