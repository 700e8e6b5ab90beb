/* The one place that makes a struct timeval of a time. */
#include "proxy/base/timer.h"

#include "shm/error.h"

#include <event2/event.h>

int timer_at_once(struct event *timer)
{
    return timer_in_us(timer, 0);
}

int timer_in_ns(struct event *timer, uint64_t ns)
{
    return timer_in_us(timer, ns / 1000 + (ns % 1000 != 0));
}

int timer_in_us(struct event *timer, uint64_t us)
{
    struct timeval delay = {.tv_sec = (time_t)(us / 1000000), .tv_usec = (suseconds_t)(us % 1000000)};
    return event_add(timer, &delay) < 0 ? PERMTAB_E_MEMORY : 0;
}

int timer_in_ms(struct event *timer, uint64_t ms)
{
    return timer_in_us(timer, ms <= UINT64_MAX / 1000 ? ms * 1000 : UINT64_MAX);
}
