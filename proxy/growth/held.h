/* Whether others still have a mapping of ours: what of it is in their page tables, too, makes our share of it (Pss in
 * /proc/self/smaps) less than what we have of it (Rss). The kernel tells nothing else of mappings of other processes,
 * so one that nobody has touched is not seen. */
#ifndef PERMTAB_GROWTH_HELD_H
#define PERMTAB_GROWTH_HELD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct held_mapping {
    uintptr_t begin, end;
    bool looked; /* it is there, so `held` says something */
    bool held;
};

/* Reads smaps, and fills in what it says of the mappings. Takes milliseconds for large ones. */
void held_look(FILE *smaps, struct held_mapping *mappings, size_t count);

#endif
