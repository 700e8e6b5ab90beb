/* An outage: no connection to the sidecar, or none that was of use. It begins when a connection ends or cannot be made,
 * and ends when the sidecar has answered what makes one of use. One thread at a time. */
#ifndef PERMTAB_CLIENT_OUTAGE_H
#define PERMTAB_CLIENT_OUTAGE_H

#include <stdbool.h>
#include <stdint.h>

#define OUTAGE_PAUSE_MIN_NS 1000000ull
#define OUTAGE_PAUSE_MAX_NS 50000000ull

/* All zero is none. */
struct outage {
    uint64_t since_ns;        /* 0: none */
    uint64_t next_attempt_ns; /* no connection is tried before it */
    uint64_t pause_ns;        /* after the last attempt */
};

/* Begins one if none is going on. */
void outage_begin(struct outage *outage, uint64_t now_ns);
/* A connection is being tried: the first at once, the next ones after pauses that double. */
void outage_attempt(struct outage *outage, uint64_t now_ns);
bool outage_allows(const struct outage *outage, uint64_t now_ns);
/* Whether there is none that is older than this. */
bool outage_is_young(const struct outage *outage, uint64_t now_ns, uint64_t age_ns);
void outage_end(struct outage *outage);

#endif
