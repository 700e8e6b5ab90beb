/* See outage.h. A sidecar that is started again is there within milliseconds, so the first pauses are short; one that
 * stays away is not knocked at by every caller, and not by all processes in step. */
#include "client/outage.h"

void outage_begin(struct outage *outage, uint64_t now_ns)
{
    if (outage->since_ns == 0)
        outage->since_ns = now_ns;
}

void outage_attempt(struct outage *outage, uint64_t now_ns)
{
    uint64_t pause_ns = outage->pause_ns * 2;
    if (pause_ns < OUTAGE_PAUSE_MIN_NS)
        pause_ns = OUTAGE_PAUSE_MIN_NS;
    outage->pause_ns = pause_ns < OUTAGE_PAUSE_MAX_NS ? pause_ns : OUTAGE_PAUSE_MAX_NS;
    /* The clock's last digits are as good as random here. */
    outage->next_attempt_ns = now_ns + outage->pause_ns + now_ns % (outage->pause_ns / 2);
}

bool outage_allows(const struct outage *outage, uint64_t now_ns)
{
    return now_ns >= outage->next_attempt_ns;
}

bool outage_is_young(const struct outage *outage, uint64_t now_ns, uint64_t age_ns)
{
    return outage->since_ns == 0 || now_ns < outage->since_ns + age_ns;
}

void outage_end(struct outage *outage)
{
    *outage = (struct outage){0};
}
