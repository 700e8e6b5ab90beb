/* The clocks of this machine. Parts that are pure take the time as an argument instead. */
#ifndef PERMTAB_BASE_CLOCK_H
#define PERMTAB_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

/* CLOCK_MONOTONIC in nanoseconds, for time limits and leases. The precise one: readers compare the lease with the
 * coarse one, which is behind it. */
static inline uint64_t clock_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

/* CLOCK_REALTIME in microseconds since 1970: for people and other machines, who compare it with theirs. It may jump. */
static inline int64_t wall_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

#endif
