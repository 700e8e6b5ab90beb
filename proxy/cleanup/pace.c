/* The budget. A slice that took t at Redis is followed by t * (100 / budget - 1) of rest, counted from the end of
 * the last rest rather than from now: timers come a millisecond late, which is longer than a rest, and that delay
 * may be made good, up to CREDIT_NS. Slices are never in flight together, so that others are served in between all
 * the same.
 *
 * t is measured by Redis' own clock inside the script. Newer Redises stop that clock while a script runs; then it
 * is the round trip less the median round trip of a PING, which counts queueing as work: too slow rather than too
 * fast. */
#include "proxy/cleanup/pace.h"

#include <string.h>

#define CREDIT_NS  5000000u /* of waiting that may be made good */
#define COMMAND_NS 10000u   /* reading the command and writing the reply, which no clock inside sees */
/* the time that a slice should take: other commands wait no longer than that behind one */
#define TARGET_NS   50000u
#define TROUBLE_NS  200000000u
#define SLICES_IDLE 64u /* between two PINGs */

void cleanup_pace_init(struct cleanup_pace *pace, uint32_t budget)
{
    *pace = (struct cleanup_pace){.budget = budget ? budget : 1, .count = CLEANUP_COUNT_MOST};
}

static uint64_t median_idle(const struct cleanup_pace *pace)
{
    uint64_t sorted[CLEANUP_PACE_IDLES];
    unsigned count = pace->idle_count < CLEANUP_PACE_IDLES ? pace->idle_count : CLEANUP_PACE_IDLES;
    if (count == 0)
        return 0;
    for (unsigned i = 0; i < count; i++) {
        unsigned at = i;
        for (; at > 0 && sorted[at - 1] > pace->idles[i]; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = pace->idles[i];
    }
    return sorted[count / 2];
}

static uint64_t cost_of(const struct cleanup_pace *pace, uint64_t round_trip_ns, uint64_t inside_us)
{
    if (inside_us > 0) {
        uint64_t inside_ns = inside_us < UINT64_MAX / 1000 ? inside_us * 1000 : UINT64_MAX;
        /* Redis' clock may be set while the script runs; a slice takes no longer than its round trip. */
        return (inside_ns < round_trip_ns ? inside_ns : round_trip_ns) + COMMAND_NS;
    }
    uint64_t idle = median_idle(pace);
    return (round_trip_ns > idle ? round_trip_ns - idle : 0) + COMMAND_NS;
}

/* Fits the size of the next slice to its cost: a key may be a hash of ten bytes or of ten thousand fields. */
static void resize(struct cleanup_pace *pace, uint64_t cost_ns)
{
    pace->mean_ns = pace->mean_ns ? (pace->mean_ns * 7 + cost_ns) / 8 : cost_ns;
    uint64_t count = pace->count;
    if (pace->mean_ns > TARGET_NS && count > CLEANUP_COUNT_LEAST)
        count--;
    else if (pace->mean_ns < TARGET_NS * 9 / 10 && count < CLEANUP_COUNT_MOST)
        count++;
    pace->count = (uint32_t)count;
}

uint64_t cleanup_pace_slice(struct cleanup_pace *pace, uint64_t sent_ns, uint64_t answered_ns,
                            uint64_t inside_us)
{
    uint64_t cost = cost_of(pace, answered_ns > sent_ns ? answered_ns - sent_ns : 0, inside_us);
    uint64_t oldest = sent_ns > CREDIT_NS ? sent_ns - CREDIT_NS : 0;
    uint64_t from = pace->free_ns > oldest ? pace->free_ns : oldest;
    pace->free_ns = from + cost * 100 / pace->budget;
    pace->clockless = inside_us == 0;
    pace->slices++;
    resize(pace, cost);
    return cost;
}

void cleanup_pace_trouble(struct cleanup_pace *pace, uint64_t now_ns)
{
    pace->free_ns = now_ns + TROUBLE_NS;
    pace->count = CLEANUP_COUNT_LEAST;
}

bool cleanup_pace_wants_idle(const struct cleanup_pace *pace)
{
    return pace->clockless && (pace->idle_count == 0 || pace->slices >= SLICES_IDLE);
}

void cleanup_pace_idle(struct cleanup_pace *pace, uint64_t round_trip_ns)
{
    pace->idles[pace->idle_count++ % CLEANUP_PACE_IDLES] = round_trip_ns;
    /* the same place in the ring, and never back to a small count */
    if (pace->idle_count == 2 * CLEANUP_PACE_IDLES)
        pace->idle_count = CLEANUP_PACE_IDLES;
    pace->slices = 0;
}
