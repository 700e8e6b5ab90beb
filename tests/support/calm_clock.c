/* CLOCK_MONOTONIC for a test that turns one loop and cares how long things take, linked with replace_calls(TEST
 * clock_gettime). Between two looks at it no more than LOOK_NS pass: what a busy machine takes from the process is not
 * counted, so a time limit passes when the loop has had its turns, and neither earlier nor later. It never runs ahead
 * of the real one: a timer of the loop's own is not late by it. One thread. */
#include <stdint.h>
#include <time.h>

#define SECOND_NS 1000000000ull
#define LOOK_NS   2000000ull /* a turn of loop_for waits for half of it */

int __real_clock_gettime(clockid_t clock, struct timespec *out);
int __wrap_clock_gettime(clockid_t clock, struct timespec *out);

int __wrap_clock_gettime(clockid_t clock, struct timespec *out)
{
    static uint64_t real_ns, calm_ns;
    int code = __real_clock_gettime(clock, out);
    if (clock != CLOCK_MONOTONIC || code != 0)
        return code;
    uint64_t now_ns = (uint64_t)out->tv_sec * SECOND_NS + (uint64_t)out->tv_nsec,
             passed_ns = now_ns - real_ns;
    calm_ns = real_ns == 0 ? now_ns : calm_ns + (passed_ns < LOOK_NS ? passed_ns : LOOK_NS);
    real_ns = now_ns;
    *out = (struct timespec){(time_t)(calm_ns / SECOND_NS), (long)(calm_ns % SECOND_NS)};
    return 0;
}
