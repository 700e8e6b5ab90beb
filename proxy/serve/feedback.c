/* Reading the counts of clients. The memfd is written by a process that may be hostile, so: pread into our own copy
 * (never a mapping), growth only, and a bound on growth from the time that has passed. A lie can shift a statistic
 * within that bound and no further. */
#include "proxy/serve/feedback.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* The bound on growth: no client checks faster than once a nanosecond. The slack covers clocks and the pause before
 * the first read.
 */
#define SLACK_NS 1000000000ull

int feedback_new(struct feedback **out, uint64_t now_ns)
{
    int code = PERMTAB_E_SYSTEM;
    struct feedback *feedback = calloc(1, sizeof *feedback);
    if (!feedback)
        return PERMTAB_E_MEMORY;
    feedback->read_at = now_ns;
    feedback->descriptor = memfd_create("permtab-feedback", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (feedback->descriptor < 0)
        goto out;
    /* Allocates the pages now: a client that touches one on a full machine would die of SIGBUS. */
    if (posix_fallocate(feedback->descriptor, 0, sizeof(struct permtab_shm_feedback)) != 0)
        goto out;
    if (fcntl(feedback->descriptor, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        goto out;
    code = 0;
out:
    if (code < 0) {
        feedback_free(feedback);
        feedback = NULL;
    }
    *out = feedback;
    return code;
}

void feedback_free(struct feedback *feedback)
{
    if (!feedback)
        return;
    if (feedback->descriptor >= 0)
        (void)close(feedback->descriptor);
    free(feedback);
}

static uint64_t growth(uint64_t before, uint64_t now, uint64_t most)
{
    return now > before && now - before <= most ? now - before : 0;
}

void feedback_collect(struct feedback *feedback, uint64_t now_ns, struct counters *counters)
{
    struct permtab_shm_feedback_line now[PERMTAB_SHM_FEEDBACK_LINES];
    if (pread(feedback->descriptor, now, sizeof now, 0) != (ssize_t)sizeof now)
        return;
    uint64_t most = now_ns - feedback->read_at + SLACK_NS;
    for (unsigned i = 0; i < PERMTAB_SHM_FEEDBACK_LINES; i++) {
        const struct permtab_shm_feedback_line *before = &feedback->last[i];
        counters->table_hits += growth(before->hits, now[i].hits, most);
        counters->table_misses += growth(before->misses, now[i].misses, most);
        counters->table_unknowns += growth(before->unknowns, now[i].unknowns, most);
    }
    memcpy(feedback->last, now, sizeof now);
    feedback->read_at = now_ns;
}

/* Begins somewhere else each time, so that no place of the ring is always passed over. */
size_t feedback_samples(struct feedback *feedback, struct permtab_shm_sample *out, size_t most)
{
    struct permtab_shm_sample now[PERMTAB_SHM_FEEDBACK_SAMPLES];
    size_t count = 0;
    if (pread(feedback->descriptor, now, sizeof now, offsetof(struct permtab_shm_feedback, sample)) !=
        (ssize_t)sizeof now)
        return 0;
    for (uint32_t i = 0; i < PERMTAB_SHM_FEEDBACK_SAMPLES; i++) {
        uint32_t at = (feedback->first + i) % PERMTAB_SHM_FEEDBACK_SAMPLES;
        bool fresh = now[at].mark != 0 && now[at].mark != feedback->marks[at];
        feedback->marks[at] = now[at].mark;
        if (fresh && count < most)
            out[count++] = now[at];
    }
    feedback->first += 37; /* has no divisor in common with the ring's length */
    return count;
}
