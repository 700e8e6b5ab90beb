/* Invalidations heard on the channel: this host's part of an invalidation of another host, and messages published
 * by hand. Each host counts its messages, so a missing one shows with the next: the poll is woken, because the lost
 * message may have been about a change. A message is never answered with another. */
#include "proxy/invalidate/private.h"

#include "proxy/invalidate/tags.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* The record of an origin; a new origin takes the place of the one that has been silent longest. */
static struct heard_host *origin_of(struct invalidations *all, uint64_t id)
{
    struct heard_host *oldest = &all->origins[0];
    for (size_t i = 0; i < ORIGINS_MAX; i++) {
        struct heard_host *origin = &all->origins[i];
        if (origin->id == id)
            return origin;
        if (origin->heard < oldest->heard)
            oldest = origin;
    }
    *oldest = (struct heard_host){.id = id};
    return oldest;
}

/* Something was not heard: it may be about whatever is kept. */
static void outdate_and_wake(struct invalidations *all)
{
    publisher_outdate_kept(all->options.publisher);
    all->options.ports.wake(all->options.ports.context);
}

static void check_number(struct invalidations *all, const struct message *message)
{
    struct heard_host *origin = origin_of(all, message->origin);
    bool known = origin->heard != 0;
    origin->heard = ++all->ticks;
    if (known && message->number > origin->number && message->number - origin->number > 1) {
        all->options.counters->invalidation_gaps += message->number - origin->number - 1;
        outdate_and_wake(all);
    }
    if (message->number > origin->number)
        origin->number = message->number;
}

/* Copies the targets that are to be invalidated here; returns how many. A host that invalidates a tag names its
 * members. */
static size_t choose(struct invalidations *all, const struct message *message, struct target *out)
{
    size_t count = 0, globs = 0, tags = 0;
    for (size_t i = 0; i < message->count; i++) {
        const struct target *target = &message->targets[i];
        bool tag = target->kind == TARGET_TAG;
        bool glob = target->kind == TARGET_PREFIX || target->kind == TARGET_PATTERN;
        if (target->kind == TARGET_POKE || (tag && message->kind != MESSAGE_PLAIN))
            continue;
        globs += glob;
        tags += tag;
        if (globs > INVALIDATION_GLOBS_MAX || tags > INVALIDATION_TAGS_MAX)
            all->options.counters->invalidations_refused++;
        else
            out[count++] = *target;
    }
    return count;
}

/* A digest of the targets, the same on every host that hears the message, and never 0. */
static uint64_t digest_of(const struct invalidations *all, const struct target *targets, size_t count)
{
    const struct scope_types *types = &publisher_catalogue(all->options.publisher)->types;
    uint64_t digest = 0;
    char text[TARGET_TEXT_SIZE];
    for (size_t i = 0; i < count; i++) {
        target_format(types, &targets[i], text);
        digest = XXH3_64bits_withSeed(text, strlen(text), digest);
    }
    return digest != 0 ? digest : 1;
}

static void begin(struct invalidations *all, const struct message *message, const struct target *targets,
                  size_t count)
{
    bool plain = message->kind == MESSAGE_PLAIN;
    struct invalidation_job model = {
        .batch = INVALIDATION_BATCH_DEFAULT,
        .source = INVALIDATION_MESSAGE,
        .in_l2 = plain,
        .digest = plain ? digest_of(all, targets, count) : 0,
    };
    if (all->heard >= HEARD_JOBS_MAX || invalidation_job_start(all, targets, count, &model) == NULL) {
        publisher_outdate_kept(all->options.publisher);
        invalidation_retire_spill(all, targets, count); /* this host's table is retired all the same */
        all->options.counters->invalidations_refused++;
    }
}

static void count_heard(struct invalidations *all, const struct message *message)
{
    all->options.counters->invalidations_heard++;
    if (message->kind == MESSAGE_PLAIN)
        return;
    check_number(all, message);
    if (message_pokes(message)) /* fleet.c has obeyed a poke in plain text */
        outdate_and_wake(all);
}

void invalidations_heard(struct invalidations *all, const struct message *message)
{
    if (message->kind == MESSAGE_CHANGED || message->kind == MESSAGE_WRITTEN)
        return; /* changes of the store are followed, not invalidated */
    if (message->kind == MESSAGE_INVALIDATE && message->origin == all->options.host_id)
        return;
    struct target *targets = calloc(message->count + 1, sizeof *targets);
    if (targets == NULL) {
        publisher_outdate_kept(all->options.publisher);
        all->options.counters->invalidations_refused++;
        return;
    }
    size_t count = choose(all, message, targets);
    if (count > 0 || message->kind == MESSAGE_INVALIDATE)
        count_heard(all, message);
    if (count > 0)
        begin(all, message, targets, count);
    free(targets);
}
