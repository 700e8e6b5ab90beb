/* Timers of the loop by one number instead of two. Each function sets `timer` anew, or the period of an event that was
 * made with EV_PERSIST, and returns 0 or PERMTAB_E_MEMORY. */
#ifndef PERMTAB_BASE_TIMER_H
#define PERMTAB_BASE_TIMER_H

#include <stdint.h>

struct event;

/* Fires in the next turn of the loop, after the events that are ready now. */
int timer_at_once(struct event *timer);
/* The time is rounded up to a microsecond: a timer never fires before its moment, and so is not set again for the
 * rest of it. */
int timer_in_ns(struct event *timer, uint64_t ns);
int timer_in_us(struct event *timer, uint64_t us);
int timer_in_ms(struct event *timer, uint64_t ms);

#endif
