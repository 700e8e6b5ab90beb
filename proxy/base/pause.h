/* A pause between attempts that doubles with each failed attempt. All zeros: no pause. */
#ifndef PERMTAB_BASE_PAUSE_H
#define PERMTAB_BASE_PAUSE_H

#include <stdbool.h>
#include <stdint.h>

struct pause {
    uint64_t until_ns; /* no attempt before */
    uint64_t next_ns;  /* how long the next one is; 0: as the first */
};

/* An attempt has failed. `most_ns` is not less than `first_ns`. */
static inline void pause_begins(struct pause *pause, uint64_t now_ns, uint64_t first_ns, uint64_t most_ns)
{
    uint64_t length = pause->next_ns != 0 ? pause->next_ns : first_ns;
    pause->until_ns = now_ns + length;
    pause->next_ns = length < most_ns / 2 ? 2 * length : most_ns;
}

static inline bool pause_lasts(const struct pause *pause, uint64_t now_ns)
{
    return now_ns < pause->until_ns;
}

/* An attempt went well: the next failure costs a first pause again. */
static inline void pause_ends(struct pause *pause)
{
    pause->until_ns = pause->next_ns = 0;
}

#endif
