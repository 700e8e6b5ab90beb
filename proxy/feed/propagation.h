/* How long a change takes from the store to this host's table. Pure arithmetic: times are arguments.
 *
 * A change row says when its trigger ran, by the store's clock; this host says when the change took effect, by its
 * own monotonic clock. The offset between the two clocks is learnt from the polls, each of which brings the store's
 * clock:
 *
 *     asked ──────► store reads its clock ──────► answered      offset = store − (asked + answered) / 2
 *                                                               error ≤ (answered − asked) / 2
 *
 * As in NTP's clock filter (RFC 5905, section 10) the last eight answers are kept and the one with the smallest
 * error is believed; an error grows with its age by what two clocks may drift apart (15 ppm each, the RFC's PHI).
 * An answer that contradicts the one believed, errors included, means that the store's clock was set: all earlier
 * answers are forgotten. */
#ifndef PERMTAB_FEED_PROPAGATION_H
#define PERMTAB_FEED_PROPAGATION_H

#include <stdbool.h>
#include <stdint.h>

#define STORE_CLOCK_SAMPLES  8u
#define STORE_CLOCK_GRAIN_US 1000u /* SQLite's triggers know the time to the millisecond */

struct store_clock_sample {
    int64_t offset_us; /* the store's clock minus CLOCK_MONOTONIC */
    uint64_t error_us; /* when it was taken */
    uint64_t at_us;    /* CLOCK_MONOTONIC */
};

/* All zero: nothing is known. */
struct store_clock {
    struct store_clock_sample samples[STORE_CLOCK_SAMPLES];
    unsigned next, count;
    uint64_t steps; /* how often the store's clock was set */
};

/* The store was asked and answered at these times (CLOCK_MONOTONIC, nanoseconds) and said `store_now` (microseconds
 * UTC). */
void store_clock_add(struct store_clock *clock, uint64_t asked_ns, uint64_t answered_ns,
                     int64_t store_now_us);
/* The best estimate at `now_ns`. False when nothing is known. */
bool store_clock_read(const struct store_clock *clock, uint64_t now_ns, int64_t *offset_us,
                      uint64_t *error_us);

enum propagation_outcome {
    PROPAGATION_MEASURED,
    PROPAGATION_UNKNOWN, /* the clock is not known yet, or the row has no time */
    /* the change took effect before it was made, by more than the error: a clock was set */
    PROPAGATION_ABSURD,
};
/* The time that a change took which was made at `at_us` (the store's clock) and is in the table at `now_ns`. A
 * difference below zero that the error explains is 0. */
enum propagation_outcome propagation_measure(const struct store_clock *clock, int64_t at_us, uint64_t now_ns,
                                             uint64_t *us);

#endif
