/* A circuit breaker: callers do not wait again and again for a sidecar that did not answer in time. A time-out
 * opens the circuit, and callers fail at once. When a pause is over, one of them tries, and waits a tenth of that
 * pause only; each such try that fails doubles the pause. Anything heard from the other side closes the circuit, a
 * late reply to a request that was given up included. One thread at a time. */
#ifndef PERMTAB_CLIENT_CIRCUIT_H
#define PERMTAB_CLIENT_CIRCUIT_H

#include <stdbool.h>
#include <stdint.h>

#define CIRCUIT_PAUSE_MIN_NS 200000000ull
#define CIRCUIT_PAUSE_MAX_NS 1000000000ull

/* All zero is a closed circuit. */
struct circuit {
    uint64_t pause_ns; /* 0: closed */
    uint64_t probe_ns; /* when somebody may try again */
};

/* Whether a request may be sent now. */
bool circuit_allows(const struct circuit *circuit, uint64_t now_ns);
/* Until when a request that is sent now may be waited for, at most. */
uint64_t circuit_deadline(const struct circuit *circuit, uint64_t now_ns, uint64_t deadline_ns);
void circuit_timed_out(struct circuit *circuit, uint64_t now_ns);
void circuit_heard(struct circuit *circuit);

#endif
