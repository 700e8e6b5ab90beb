/* The store's clock as this host sees it. The offset is taken against CLOCK_MONOTONIC and not against this host's wall
 * clock, so that a step of the latter changes nothing.
 *
 * The measure runs from the *statement* that made the change: a trigger knows when its statement began and not when
 * the transaction will be committed. A transaction that stays open for a second afterwards adds that second.
 * daemon/events.c collects the figures, and serve/stats.c prints them. */
#include "proxy/feed/propagation.h"

#include <stddef.h>

#define DRIFT_PPM 30u /* two clocks, 15 ppm each */

static uint64_t error_at(const struct store_clock_sample *sample, uint64_t now_us)
{
    uint64_t age = now_us > sample->at_us ? now_us - sample->at_us : 0;
    return sample->error_us + age / (1000000u / DRIFT_PPM);
}

static const struct store_clock_sample *best(const struct store_clock *clock, uint64_t now_us)
{
    const struct store_clock_sample *found = NULL;
    for (unsigned i = 0; i < clock->count; i++) {
        const struct store_clock_sample *sample = &clock->samples[i];
        if (found == NULL || error_at(sample, now_us) < error_at(found, now_us))
            found = sample;
    }
    return found;
}

static uint64_t distance(int64_t a, int64_t b)
{
    return a > b ? (uint64_t)a - (uint64_t)b : (uint64_t)b - (uint64_t)a;
}

void store_clock_add(struct store_clock *clock, uint64_t asked_ns, uint64_t answered_ns, int64_t store_now_us)
{
    uint64_t round_trip_us = (answered_ns - asked_ns) / 1000;
    uint64_t middle_us = asked_ns / 1000 + round_trip_us / 2;
    struct store_clock_sample sample = {
        .offset_us = (int64_t)((uint64_t)store_now_us - middle_us),
        .error_us = round_trip_us / 2 + 1, /* rounding */
        .at_us = middle_us,
    };
    const struct store_clock_sample *believed = best(clock, middle_us);
    if (believed != NULL && distance(believed->offset_us, sample.offset_us) >
                                error_at(believed, middle_us) + sample.error_us + STORE_CLOCK_GRAIN_US) {
        clock->count = clock->next = 0;
        clock->steps++;
    }
    clock->samples[clock->next] = sample;
    clock->next = (clock->next + 1) % STORE_CLOCK_SAMPLES;
    if (clock->count < STORE_CLOCK_SAMPLES)
        clock->count++;
}

bool store_clock_read(const struct store_clock *clock, uint64_t now_ns, int64_t *offset_us,
                      uint64_t *error_us)
{
    const struct store_clock_sample *found = best(clock, now_ns / 1000);
    if (found == NULL)
        return false;
    *offset_us = found->offset_us;
    *error_us = error_at(found, now_ns / 1000);
    return true;
}

enum propagation_outcome propagation_measure(const struct store_clock *clock, int64_t at_us, uint64_t now_ns,
                                             uint64_t *us)
{
    int64_t offset;
    uint64_t error;
    if (at_us <= 0 || !store_clock_read(clock, now_ns, &offset, &error))
        return PROPAGATION_UNKNOWN;
    int64_t took = (int64_t)(now_ns / 1000 + (uint64_t)offset - (uint64_t)at_us);
    if (took < 0 && distance(took, 0) > error + STORE_CLOCK_GRAIN_US)
        return PROPAGATION_ABSURD;
    *us = took > 0 ? (uint64_t)took : 0;
    return PROPAGATION_MEASURED;
}
