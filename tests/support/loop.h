/* Turning an event loop in a test, until something has happened or for a while. */
#ifndef PERMTAB_TESTS_SUPPORT_LOOP_H
#define PERMTAB_TESTS_SUPPORT_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct event_base;

/* CLOCK_MONOTONIC. */
uint64_t clock_ms(void);

/* Waits for something to do, for a millisecond at most, and does it. */
void loop_turn(struct event_base *base);
/* Turns the loop until `*value` has reached `wanted`; false when it never does: `ms` is how long it may take on a
 * machine that does nothing else, and one that has much to do is given LOOP_PATIENCE times as long. */
#define LOOP_PATIENCE 12u
bool loop_until(struct event_base *base, const unsigned *value, unsigned wanted, unsigned ms);
void loop_for(struct event_base *base, unsigned ms);

#endif
