/* Timers of the loop by one number instead of two. Each function sets `timer` anew, or the period of an event that was
 * made with EV_PERSIST, and returns 0 or PERMTAB_E_MEMORY, if anything. */
#ifndef PERMTAB_BASE_TIMER_H
#define PERMTAB_BASE_TIMER_H

#include <stdint.h>

struct event;
struct event_base;

/* Makes room for so many timers: setting one needs no memory as long as fewer are set at the same time. What only a
 * timer would carry on would else stand still for ever. 0 or PERMTAB_E_MEMORY. */
int timer_reserve(struct event_base *base, unsigned count);
/* Fires in the next turn of the loop, after the events that are ready now. */
int timer_at_once(struct event *timer);
/* Likewise, but one that is set already stays as it is: who sets it in every turn would else put it off for ever.
 * Without memory it fires in this turn. What is made active in a callback runs in the same turn, so two that make each
 * other active keep the loop. */
void timer_next_turn(struct event *timer);
/* The time is rounded up to a microsecond: a timer never fires before its moment, and so is not set again for the
 * rest of it. */
int timer_in_ns(struct event *timer, uint64_t ns);
int timer_in_us(struct event *timer, uint64_t us);
int timer_in_ms(struct event *timer, uint64_t ms);

#endif
