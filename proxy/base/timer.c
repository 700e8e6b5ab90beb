/* The one place that makes a struct timeval of a time. */
#include "proxy/base/timer.h"

#include "shm/error.h"

#include <event2/event.h>
#include <stdlib.h>

static void nothing(evutil_socket_t descriptor, short what, void *context)
{
    (void)descriptor, (void)what, (void)context;
}

/* libevent's heap of timers grows when one is set and there is no room, and does not shrink. */
int timer_reserve(struct event_base *base, unsigned count)
{
    struct event **timers = calloc(count, sizeof(struct event *));
    int code = timers ? 0 : PERMTAB_E_MEMORY;
    for (unsigned i = 0; i < count && code == 0; i++) {
        timers[i] = evtimer_new(base, nothing, NULL);
        code = timers[i] ? timer_in_us(timers[i], UINT32_MAX) : PERMTAB_E_MEMORY;
    }
    for (unsigned i = 0; timers && i < count && timers[i]; i++)
        event_free(timers[i]);
    free(timers);
    return code;
}

int timer_at_once(struct event *timer)
{
    return timer_in_us(timer, 0);
}

void timer_next_turn(struct event *timer)
{
    if (!event_pending(timer, EV_TIMEOUT, NULL) && timer_at_once(timer) < 0)
        event_active(timer, EV_TIMEOUT, 0);
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
