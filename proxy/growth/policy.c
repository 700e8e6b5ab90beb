/* The windows, and what is seen in them. */
#include "proxy/growth/policy.h"

static void begin_window(struct growth_policy *policy, const struct growth_figures *now, uint64_t now_ns,
                         bool counts)
{
    policy->counts = counts;
    policy->begun_ns = now_ns;
    policy->first = *now;
}

void growth_policy_init(struct growth_policy *policy, double hit_rate_target, uint64_t entries_min,
                        const struct growth_figures *now, uint64_t now_ns)
{
    *policy = (struct growth_policy){.hit_rate_target = hit_rate_target, .entries_min = entries_min};
    begin_window(policy, now, now_ns, false);
}

void growth_policy_void(struct growth_policy *policy, const struct growth_figures *now, uint64_t now_ns)
{
    begin_window(policy, now, now_ns, false);
}

/* A table with room left gains nothing by growing. Strangers fill the room that is left, and give it back: they are
 * about an eighth of a table that is full of others. */
static bool is_full(const struct growth_figures *at)
{
    return at->known + at->strangers >= at->capacity - at->capacity / 16 &&
           at->known >= at->capacity - at->capacity / 4;
}

static uint64_t enough(uint64_t capacity)
{
    uint64_t fills = capacity / 64;
    return fills < GROWTH_FILLED_MIN   ? GROWTH_FILLED_MIN
           : fills > GROWTH_FILLED_MAX ? GROWTH_FILLED_MAX
                                       : fills;
}

static enum growth_reason judge(const struct growth_policy *policy, const struct growth_figures *now)
{
    const struct growth_window *seen = &policy->last;
    if (!policy->counts || !is_full(&policy->first) || !is_full(now) || seen->filled < enough(now->capacity))
        return GROWTH_NOT_NEEDED;
    if ((double)seen->hits < policy->hit_rate_target * (double)(seen->hits + seen->filled))
        return GROWTH_HIT_RATE;
    /* One fill in eight, at least, would have been saved by a larger table. */
    if (seen->returned >= GROWTH_FILLED_MIN && seen->returned >= seen->filled / 8)
        return GROWTH_RETURNED;
    return GROWTH_NOT_NEEDED;
}

enum growth_reason growth_policy_look(struct growth_policy *policy, const struct growth_figures *now,
                                      uint64_t now_ns)
{
    const struct growth_figures *first = &policy->first;
    if (now->breaks != first->breaks)
        begin_window(policy, now, now_ns, false);
    uint64_t ns = now_ns - policy->begun_ns;
    enum growth_reason reason =
        now->capacity < policy->entries_min ? GROWTH_START : GROWTH_NOT_NEEDED;
    if (ns < GROWTH_WINDOW_NS)
        return reason;
    uint64_t filled = now->filled - first->filled;
    if (policy->counts && filled < enough(now->capacity) && ns < GROWTH_WINDOW_MAX_NS)
        return reason;
    policy->last =
        (struct growth_window){now->hits - first->hits, filled, now->returned - first->returned, ns};
    enum growth_reason seen = judge(policy, now);
    begin_window(policy, now, now_ns, true);
    return seen != GROWTH_NOT_NEEDED ? seen : reason;
}
