/* The pace of a clean-up: when the next slice may be sent, so that slices take no more than a budget of Redis'
 * time; and how many keys a slice may look at, so that no command waits long behind one. Pure: times are arguments. */
#ifndef PERMTAB_CLEANUP_PACE_H
#define PERMTAB_CLEANUP_PACE_H

#include <stdbool.h>
#include <stdint.h>

#define CLEANUP_COUNT_LEAST 10u
#define CLEANUP_COUNT_MOST  50u
#define CLEANUP_PACE_IDLES  9u

struct cleanup_pace {
    uint32_t budget;                    /* per cent */
    uint32_t count;                     /* COUNT of the next slice */
    uint64_t free_ns;                   /* when the next one may be sent */
    uint64_t mean_ns;                   /* of a slice at Redis, lately */
    bool clockless;                     /* Redis' clock stands still inside a script */
    uint64_t idles[CLEANUP_PACE_IDLES]; /* the latest round trips of a PING */
    unsigned idle_count;                /* of all times; the place in the ring is its remainder */
    unsigned slices;                    /* since the last PING */
};

void cleanup_pace_init(struct cleanup_pace *pace, uint32_t budget);
/* A slice was sent and answered. inside_us: its time by Redis' own clock; 0 when that clock stood still. Returns
 * the time that it counts as, in nanoseconds. */
uint64_t cleanup_pace_slice(struct cleanup_pace *pace, uint64_t sent_ns, uint64_t answered_ns,
                            uint64_t inside_us);
/* A slice got no answer, or a refusal: no slice may be sent for a while. */
void cleanup_pace_trouble(struct cleanup_pace *pace, uint64_t now_ns);
/* Whether a PING should be sent and its round trip reported: Redis' clock is of no use, and the last PING is long
 * ago. */
bool cleanup_pace_wants_idle(const struct cleanup_pace *pace);
void cleanup_pace_idle(struct cleanup_pace *pace, uint64_t round_trip_ns);

#endif
