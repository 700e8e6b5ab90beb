/* libFuzzer's entry for what clients write into their feedback: snapshots of the memfd, one after the other, with time
 * passing between them. The sums never go back, and grow no faster than the bound says: a nanosecond a count, the slack
 * and a line. */
#include "proxy/serve/feedback.h"
#include "tests/fuzz/fuzz.h"

#include <unistd.h>

#define SLACK_NS 1000000000ull /* as in proxy/serve/feedback.c */

static uint64_t sum(const struct counters *counters)
{
    return counters->table_hits + counters->table_misses + counters->table_unknowns;
}

/* Bytes of one snapshot: some words of it change. */
static void scribble(struct choices *choices, struct permtab_shm_feedback *feedback)
{
    char *bytes = (char *)feedback;
    for (unsigned left = (unsigned)choose(choices, 1) % 32; left > 0 && choices_left(choices); left--) {
        size_t at = choose(choices, 2) % (sizeof *feedback / 8) * 8;
        uint64_t word, kind = choose(choices, 1);
        memcpy(&word, bytes + at, 8);
        word = kind % 4 == 0   ? choose(choices, 8)
               : kind % 4 == 1 ? word + choose(choices, 4)
               : kind % 4 == 2 ? word - choose(choices, 1)
                               : 0 - choose(choices, 4);
        memcpy(bytes + at, &word, 8);
    }
}

/* Samples are what is written somewhere in the ring, each once, and no more than are wanted. */
static void take_samples(struct choices *choices, struct feedback *feedback,
                         const struct permtab_shm_feedback *written)
{
    static struct permtab_shm_sample taken[PERMTAB_SHM_FEEDBACK_SAMPLES];
    size_t most = (size_t)choose(choices, 1) % (PERMTAB_SHM_FEEDBACK_SAMPLES + 2);
    size_t count = feedback_samples(feedback, taken, most);
    must(count <= most && count <= PERMTAB_SHM_FEEDBACK_SAMPLES);
    for (size_t i = 0; i < count; i++) {
        bool there = false;
        for (size_t at = 0; at < PERMTAB_SHM_FEEDBACK_SAMPLES; at++)
            there |= memcmp(&written->sample[at], &taken[i], sizeof taken[i]) == 0;
        must(there && taken[i].mark != 0);
    }
    must(feedback_samples(feedback, taken, PERMTAB_SHM_FEEDBACK_SAMPLES) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct cost_limit limit = {
        .steps_fixed = 5000, .steps_each = 400, .bytes_fixed = 50000, .bytes_each = 20};
    struct choices choices = choices_of(data, size);
    struct permtab_shm_feedback written = {0};
    struct counters counters = {0};
    struct feedback *feedback;
    uint64_t now = 1;
    cost_begin();
    must(feedback_new(&feedback, now) == 0);
    while (choices_left(&choices)) {
        uint64_t before = sum(&counters), passed = choose(&choices, 5);
        scribble(&choices, &written);
        must(pwrite(feedback->descriptor, &written, sizeof written, 0) == (ssize_t)sizeof written);
        must(ftruncate(feedback->descriptor, 0) < 0 && ftruncate(feedback->descriptor, 1 << 20) < 0);
        now += passed;
        feedback_collect(feedback, now, &counters);
        take_samples(&choices, feedback, &written);
        must(sum(&counters) >= before &&
             sum(&counters) - before <= 3 * PERMTAB_SHM_FEEDBACK_LINES * (passed + SLACK_NS));
    }
    feedback_free(feedback);
    cost_check(size, &limit);
    return 0;
}
