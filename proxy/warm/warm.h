/* Warming up: after a start the table is filled with the keys that were asked for before, hottest first, through the
 * ordinary fills. A few are under way at a time, behind all questions of clients. It displaces nothing and ends. On the
 * loop's thread. */
#ifndef PERMTAB_WARM_WARM_H
#define PERMTAB_WARM_WARM_H

#include "shm/error.h"

struct answering;
struct counters;
struct event_base;
struct keys;
struct publisher;
struct warm;

/* How many keys are under way at a time at most; answer/ bounds how many of them are being read. */
#define WARM_HANDS 256u

/* Everything that the options point to is borrowed. */
struct warm_options {
    struct event_base *base;
    struct publisher *publisher;
    struct answering *answering;
    struct keys *keys;
    struct counters *counters;
};

/* Nothing is filled before the table has a lease. PERMTAB_E_MEMORY. */
int warm_new(struct warm **out, const struct warm_options *options) PERMTAB_MUST_CHECK;
/* To be called before answering_end: asks may be under way. */
void warm_free(struct warm *warm);
/* To be called when a poll was applied. NULL does nothing. */
void warm_applied(struct warm *warm);
/* To be called when the table was made anew, and is empty: begins again. NULL does nothing. */
void warm_again(struct warm *warm);

#endif
