/* Feedback of one attached client: a small memfd that the client counts in, and leaves samples in, and that the sidecar
 * reads with pread. Nothing in it is believed: only growth is counted, and no faster than a processor can check. */
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
    uint32_t marks[PERMTAB_SHM_FEEDBACK_SAMPLES]; /* of the samples that were there before */
    uint32_t first;                               /* sample to look at */
};

/* Creates the memfd: full size, sealed against resizing. PERMTAB_E_SYSTEM, PERMTAB_E_MEMORY. */
int feedback_new(struct feedback **out, uint64_t now_ns) PERMTAB_MUST_CHECK;
void feedback_free(struct feedback *feedback);
/* Adds the growth since the last call to the counters. */
void feedback_collect(struct feedback *feedback, uint64_t now_ns, struct counters *counters);
/* Takes samples that are new since the last call, at most `most`; others that are new are passed over. They say what
 * the client likes. `out` has room for PERMTAB_SHM_FEEDBACK_SAMPLES. Returns how many. */
size_t feedback_samples(struct feedback *feedback, struct permtab_shm_sample *out, size_t most);

#endif
