/* This host's table: targets that are named exactly are retired a slice a turn of the loop, because half of the
 * table may lie below one scope, and the same loop renews the lease. A job is not done before its last slice.
 * Entries filled meanwhile below such a scope go, too, so no fill that was read before the invalidation survives
 * it.
 *
 * All jobs share the work of a turn; a job that is not done with it waits behind the others. */
#include "proxy/invalidate/private.h"

#include <string.h>

/* Retires a target that is no scope, at once; returns how many entries that were. */
static uint64_t retire(struct invalidations *all, const struct target *target)
{
    struct publisher *publisher = all->options.publisher;
    const struct invalidation_ports *ports = &all->options.ports;
    switch (target->kind) {
    case TARGET_USER:
        return publisher_retire_user(publisher, target->id);
    case TARGET_USER_AT:
        return publisher_retire_user_at(publisher, target->id, target->scope);
    case TARGET_ROLE:
        return publisher_retire_role(publisher, target->id);
    case TARGET_ALL:
        publisher_outdate_kept(publisher);
        ports->rebuild(ports->context);
        return publisher_entries(publisher);
    case TARGET_POKE:
        ports->wake(ports->context);
        return 0;
    case TARGET_SCOPE: /* in slices */
    case TARGET_TAG:
    case TARGET_PREFIX:
    case TARGET_PATTERN:
        return 0; /* not named exactly */
    }
    return 0;
}

/* Retires a slice of the scope at list->next. Returns whether some of it is left. */
static bool retire_below(struct invalidations *all, struct invalidation_retiring *list, uint64_t *retired)
{
    struct publisher *publisher = all->options.publisher;
    if (!list->begun)
        publisher_retire_scope_begin(publisher, &list->scope, list->targets[list->next].scope);
    list->begun = publisher_retire_scope_slice(publisher, &list->scope, &all->work, retired);
    return list->begun;
}

/* Retires targets of the list; adds the number of entries to *retired. */
static void retire_some(struct invalidations *all, struct invalidation_retiring *list, uint64_t *retired)
{
    for (; list->next < list->count && all->work > 0; list->next++) {
        const struct target *target = &list->targets[list->next];
        uint64_t before = *retired;
        if (target->kind == TARGET_SCOPE) {
            if (retire_below(all, list, retired))
                return;
            publisher_spend(&all->work, 1);
        } else {
            if (target->kind != TARGET_ALL || !list->everything)
                *retired += retire(all, target);
            list->everything |= target->kind == TARGET_ALL;
            publisher_spend(&all->work, 1 + *retired - before);
        }
    }
}

/* Tells subscribers after the last slice, so that a subscriber that asks again gets the new answer. */
static void tell_when_done(struct invalidation_job *job)
{
    struct invalidation_retiring *list = &job->retiring;
    if (list->next < list->count)
        return;
    invalidation_job_tell(job, list->targets, list->count);
    *list = (struct invalidation_retiring){.count = 0};
}

void invalidation_retire_start(struct invalidation_job *job, const struct target *targets, size_t count)
{
    job->retiring = (struct invalidation_retiring){.targets = targets, .count = count};
    retire_some(job->all, &job->retiring, &job->result.entries);
    tell_when_done(job);
    invalidations_turn_soon(job->all);
}

bool invalidation_retire_busy(const struct invalidation_job *job)
{
    return job->retiring.next < job->retiring.count;
}

void invalidation_retire_spill(struct invalidations *all, const struct target *targets, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (all->spill.count == SPILLED_MAX)
            all->options.counters->invalidations_refused++;
        else
            all->spilled[all->spill.count++] = targets[i];
    }
    all->spill.targets = all->spilled;
    invalidations_turn_soon(all);
}

static void spill_turn(struct invalidations *all)
{
    struct invalidation_job nobody = {.all = all};
    retire_some(all, &all->spill, &all->options.counters->invalidation_entries);
    if (!invalidation_retire_left(all)) {
        invalidation_job_tell(&nobody, all->spilled, all->spill.count);
        all->spill = (struct invalidation_retiring){.count = 0};
    }
}

bool invalidation_retire_left(const struct invalidations *all)
{
    return all->spill.next < all->spill.count;
}

static void go_on(struct invalidation_job *job)
{
    retire_some(job->all, &job->retiring, &job->result.entries);
    tell_when_done(job);
    if (invalidation_retire_busy(job))
        invalidation_job_requeue(job);
    else
        invalidation_job_check(job);
}

void invalidation_retire_turn(struct invalidations *all)
{
    struct invalidation_job *next;
    if (invalidation_retire_left(all)) {
        all->work = PUBLISHER_SLICE;
        spill_turn(all);
    }
    all->work = PUBLISHER_SLICE;
    for (struct invalidation_job *job = all->jobs; job != NULL && all->work > 0; job = next) {
        next = job->next;
        if (invalidation_retire_busy(job))
            go_on(job);
    }
}
