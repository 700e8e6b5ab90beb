/* A circuit breaker: keeps requests away from a server that fails or is slow, and lets one through now and then to see
 * whether it is well again. Michael T. Nygard, "Release It!" (2007), the pattern of that name. Pure: the time is an
 * argument, CLOCK_MONOTONIC in nanoseconds. One owner, one thread. */
#ifndef PERMTAB_BASE_BREAKER_H
#define PERMTAB_BASE_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

struct breaker_options {
    unsigned failures_max; /* in a row; they open it. At least 1 */
    uint64_t slow_ns;      /* a reply that took longer is a bad one; 0: none is too slow */
    unsigned slow_max;     /* slow replies in a row that open it; at least 1 where slow_ns is not 0 */
    uint64_t open_ns;      /* how long it stays open at first; doubled by each trial that fails */
    uint64_t open_max_ns;  /* the longest opening */
};

/* The default: 5 failures in a row, open for 1 s, doubling to 15 s; slowness not looked at. */
#define BREAKER_DEFAULTS                                                                                     \
    {                                                                                                        \
        .failures_max = 5, .slow_max = 5, .open_ns = 1000000000ull, .open_max_ns = 15000000000ull            \
    }

enum breaker_state {
    BREAKER_CLOSED, /* everybody may ask */
    BREAKER_OPEN,   /* nobody may */
    BREAKER_TRYING, /* one was let through, and has not reported back */
};

struct breaker {
    struct breaker_options options;
    enum breaker_state state;
    unsigned failed, slow; /* since the last good reply */
    uint64_t period_ns;    /* of the present or the next opening */
    uint64_t until_ns;     /* OPEN: its end. TRYING: when the trial lapses */
    uint64_t tried_ns;     /* when the last trial began */
    uint64_t openings;     /* for counting; failed trials included */
};

void breaker_init(struct breaker *breaker, const struct breaker_options *options);

/* Whether a request may be sent now. A caller that sends one reports its end to breaker_succeeded or
 * breaker_failed. The one trial that an open breaker lets through lapses when nothing is heard of it for open_ns:
 * then the next caller is the trial. */
bool breaker_allows(struct breaker *breaker, uint64_t now_ns);

/* breaker_succeeded: a request was answered after took_ns; with slow_ns it may still be a bad answer. */
void breaker_succeeded(struct breaker *breaker, uint64_t now_ns, uint64_t took_ns);
void breaker_failed(struct breaker *breaker, uint64_t now_ns);

enum breaker_state breaker_state(const struct breaker *breaker);

#endif
