/* When the table grows. Pure: counters and the time in, a reason out; growth.c carries it out, and room.h says how far.
 *
 * What happens is looked at in windows. A table that was full throughout one, and in it
 *
 *   - had fewer hits than `hit_rate_target` of all lookups that it could have answered, or
 *   - filled entries again that had made room for others not long before,
 *
 * is too small. Misses are the fills of entries for users with rows, at places that are there: strangers and places
 * that do not exist buy nothing, and neither do the warm-up and what a client claims to have missed. Hits are what
 * clients report, which nobody can check; a client that claims too many hides the first sign, and the second one, which
 * is made of the sidecar's own figures alone, is still seen. So a lie neither buys growth nor prevents it. What is left
 * to a hostile client is to ask for real users at real places, all of them. No sidecar can tell that from use, and what
 * it costs ends at table_memory_max.
 *
 * A window in which the figures mean something else counts for nothing: the worker began, a table was made or handed
 * over, or the lease ended. */
#ifndef PERMTAB_GROWTH_POLICY_H
#define PERMTAB_GROWTH_POLICY_H

#include <stdbool.h>
#include <stdint.h>

struct growth_figures {
    /* since the worker began */
    uint64_t hits;
    uint64_t filled;   /* entries that clients missed, for users with rows at places that are there */
    uint64_t returned; /* of these, those that had been evicted; an estimate */
    uint64_t breaks;   /* how often something happened that voids a window */
    /* now */
    uint64_t capacity;
    uint64_t known; /* entries of users with rows, at places that are there */
    uint64_t strangers;
};

enum growth_reason {
    GROWTH_NOT_NEEDED,
    GROWTH_START,    /* the first table is smaller than it is to be */
    GROWTH_HIT_RATE, /* too few hits */
    GROWTH_RETURNED, /* evicted entries are asked for again */
};

/* What was seen in the last window that has ended. */
struct growth_window {
    uint64_t hits, filled, returned, ns;
};

#define GROWTH_WINDOW_NS     2000000000ull  /* no window is shorter */
#define GROWTH_WINDOW_MAX_NS 60000000000ull /* what takes longer to show is not worth a larger table */
#define GROWTH_FILLED_MIN    64u            /* fewer say nothing */
#define GROWTH_FILLED_MAX    65536u         /* so many are enough for any table */

struct growth_policy {
    double hit_rate_target;
    uint64_t entries_min; /* what the first table is to have room for */
    bool counts;          /* the present window does */
    uint64_t begun_ns;
    struct growth_figures first; /* when it began */
    struct growth_window last;
};

/* Begins with a window that does not count. */
void growth_policy_init(struct growth_policy *policy, double hit_rate_target, uint64_t entries_min,
                        const struct growth_figures *now, uint64_t now_ns);
/* Looks at the present window; ends it and begins another one when it has seen enough. To be called about once a
 * second while there is one table. */
enum growth_reason growth_policy_look(struct growth_policy *policy, const struct growth_figures *now,
                                      uint64_t now_ns);
/* Begins again, after a time in which nobody looked. */
void growth_policy_void(struct growth_policy *policy, const struct growth_figures *now, uint64_t now_ns);

#endif
