/* Turning an event loop: a timer of its own sees to it that no turn lasts. */
#include "tests/support/loop.h"

#include "proxy/base/clock.h"

#include <event2/event.h>
#include <stddef.h>

uint64_t clock_ms(void)
{
    return clock_ns() / 1000000;
}

static void on_tick(evutil_socket_t descriptor, short what, void *context)
{
    (void)descriptor, (void)what, (void)context;
}

void loop_turn(struct event_base *base)
{
    struct timeval step = {.tv_usec = 1000};
    struct event *tick = evtimer_new(base, on_tick, NULL);
    (void)event_add(tick, &step);
    (void)event_base_loop(base, EVLOOP_ONCE);
    event_free(tick);
}

static bool turn_until(struct event_base *base, const unsigned *value, unsigned wanted, unsigned ms)
{
    uint64_t end = clock_ms() + ms;
    while (*value < wanted && clock_ms() < end)
        loop_turn(base);
    return *value >= wanted;
}

bool loop_until(struct event_base *base, const unsigned *value, unsigned wanted, unsigned ms)
{
    return turn_until(base, value, wanted, ms * LOOP_PATIENCE);
}

void loop_for(struct event_base *base, unsigned ms)
{
    static const unsigned never = 0;
    (void)turn_until(base, &never, 1, ms);
}
