/* See circuit.h. Callers that wait lose a tenth of their time at most, and the return of the other side is noticed
 * after CIRCUIT_PAUSE_MAX_NS at the latest. */
#include "client/circuit.h"

#define SHARE 10u /* of the pause, which a probe may wait */

bool circuit_allows(const struct circuit *circuit, uint64_t now_ns)
{
    return circuit->pause_ns == 0 || now_ns >= circuit->probe_ns;
}

uint64_t circuit_deadline(const struct circuit *circuit, uint64_t now_ns, uint64_t deadline_ns)
{
    uint64_t end_ns = now_ns + circuit->pause_ns / SHARE;
    return circuit->pause_ns > 0 && end_ns < deadline_ns ? end_ns : deadline_ns;
}

void circuit_timed_out(struct circuit *circuit, uint64_t now_ns)
{
    uint64_t pause_ns = circuit->pause_ns * 2;
    if (pause_ns < CIRCUIT_PAUSE_MIN_NS)
        pause_ns = CIRCUIT_PAUSE_MIN_NS;
    circuit->pause_ns = pause_ns < CIRCUIT_PAUSE_MAX_NS ? pause_ns : CIRCUIT_PAUSE_MAX_NS;
    circuit->probe_ns = now_ns + circuit->pause_ns;
}

void circuit_heard(struct circuit *circuit)
{
    *circuit = (struct circuit){0};
}
