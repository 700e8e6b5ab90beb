/* Feedback of one attached client: a small memfd that the client counts in and the sidecar reads with pread.
 * Nothing in it is believed: only growth is counted, and no faster than a processor can check. */
#ifndef PERMTAB_SERVE_FEEDBACK_H
#define PERMTAB_SERVE_FEEDBACK_H

#include "proxy/base/counters.h"
#include "shm/error.h"
#include "shm/layout.h"

#include <stdint.h>

struct feedback {
    int descriptor;   /* -1: none */
    uint64_t read_at; /* CLOCK_MONOTONIC ns */
    struct permtab_shm_feedback_line last[PERMTAB_SHM_FEEDBACK_LINES];
};

/* Creates the memfd: full size, sealed against resizing. PERMTAB_E_SYSTEM, PERMTAB_E_MEMORY. */
int feedback_new(struct feedback **out, uint64_t now_ns) PERMTAB_MUST_CHECK;
void feedback_free(struct feedback *feedback);
/* Adds the growth since the last call to the counters. */
void feedback_collect(struct feedback *feedback, uint64_t now_ns, struct counters *counters);

#endif
