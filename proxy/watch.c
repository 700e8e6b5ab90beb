/* A change took effect when the batch it came with was applied: that moment is this call, microseconds later. Changes that
 * a rebuild swallowed are not measured, for their rows are not read. */
#include "proxy/watch.h"

#include "proxy/clock.h"
#include "proxy/l2.h"
#include "proxy/subscriptions.h"

/* Against this host's wall clock, which is what an operator can compare. */
static void show_clock(struct watch *watch, uint64_t now_ns)
{
    int64_t offset;
    uint64_t error;
    if (!store_clock_read(&watch->clock, now_ns, &offset, &error))
        return;
    int64_t own = wall_us() - (int64_t)(now_ns / 1000);
    watch->counters->clock_offset_us = (uint64_t)(offset - own);
    watch->counters->clock_error_us = error;
    watch->counters->clock_steps = watch->clock.steps;
}

static void measure(struct watch *watch, const struct change_list *changes, uint64_t now_ns)
{
    uint64_t us;
    for (size_t i = 0; i < changes->count; i++) {
        switch (propagation_measure(&watch->clock, changes->items[i].at, now_ns, &us)) {
        case PROPAGATION_MEASURED:
            histogram_add(&watch->histograms->propagation, us);
            break;
        case PROPAGATION_UNKNOWN:
        case PROPAGATION_ABSURD:
            watch->counters->propagation_unmeasured++;
            break;
        }
    }
}

void watch_news(void *context, const struct feed_news *news)
{
    struct watch *watch = context;
    uint64_t now_ns = clock_ns();
    if (news->asked_ns != 0) {
        store_clock_add(&watch->clock, news->asked_ns, news->answered_ns, news->store_now);
        show_clock(watch, now_ns);
    }
    if (news->batch != NULL)
        measure(watch, &news->batch->changes, now_ns);
    if (watch->l2 != NULL)
        l2_disbelieved(watch->l2);
    if (watch->subscriptions == NULL)
        return;
    if (news->batch != NULL)
        subscriptions_applied(watch->subscriptions, news->batch);
    if (news->rebuilt)
        subscriptions_rebuilt(watch->subscriptions);
}
