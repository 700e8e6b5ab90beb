/* What invalidation asks of the feed, of L2 and of the clean-up, in their words. */
#include "proxy/daemon/invalidate_join.h"

static void wake(void *context)
{
    const struct invalidation_parts *parts = context;
    feed_wake(parts->feed);
}

static void rebuild(void *context)
{
    const struct invalidation_parts *parts = context;
    feed_rebuild(parts->feed);
}

static void tell(void *context, const struct target *targets, size_t count, const char *reason)
{
    const struct invalidation_parts *parts = context;
    subscriptions_tell(parts->subscriptions, targets, count, reason);
}

static bool epoch(void *context, uint64_t *out)
{
    const struct invalidation_parts *parts = context;
    return l2_epoch(parts->l2, out);
}

static void flush(void *context)
{
    const struct invalidation_parts *parts = context;
    l2_flush(parts->l2);
}

static int64_t sweep(void *context, const struct target *target, cleanup_done_fn done, void *job)
{
    const struct invalidation_parts *parts = context;
    const char *prefix = parts->config->redis_prefix;
    char glob[CLEANUP_PATTERN_SIZE];
    int code = target->kind == TARGET_PREFIX ? cleanup_glob_prefix(glob, prefix, target->word)
                                             : cleanup_glob_pattern(glob, prefix, target->word);
    return code < 0 ? code : cleanup_start(parts->cleanup, CLEANUP_PATTERN, glob, done, job);
}

static void sweep_forget(void *context, int64_t number)
{
    const struct invalidation_parts *parts = context;
    cleanup_forget(parts->cleanup, (uint64_t)number);
}

int invalidations_join(struct invalidations **out, struct event_base *base,
                       const struct invalidation_parts *parts)
{
    struct invalidation_options options = {
        .base = base,
        .publisher = parts->publisher,
        .redis = parts->redis,
        .prefix = parts->config->redis_prefix,
        .history_max = (size_t)parts->config->invalidation_history,
        .counters = parts->counters,
        .ports = {.context = (void *)(uintptr_t)parts, .wake = wake, .rebuild = rebuild, .tell = tell},
    };
    if (parts->redis != NULL && parts->config->l2) {
        options.ports.epoch = epoch;
        options.ports.flush = flush;
        options.ports.sweep = sweep;
        options.ports.sweep_forget = sweep_forget;
    }
    return invalidations_new(out, &options);
}
