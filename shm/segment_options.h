/* How the configured figures become the geometry of a segment. In one place because two need it: the
 * publisher builds the segment, and the check of the configuration says beforehand whether it fits into
 * table_memory_max. */
#ifndef PERMTAB_SHM_SEGMENT_OPTIONS_H
#define PERMTAB_SHM_SEGMENT_OPTIONS_H

#include "shm/segment.h"

/* Tables of more entries than this are made densely, and grow by small steps. */
#define SEGMENT_SMALL_ENTRIES 100000u

/* A fold target is a scope that plain scopes answer as: mostly many share one. */
static inline struct segment_options segment_options_of(uint32_t permissions_max, uint64_t entries,
                                                        uint32_t sets, uint32_t folds)
{
    return (struct segment_options){
        .permissions_max = permissions_max,
        .entries = entries,
        .sets = sets,
        .folds = folds,
        .targets = folds / 4 + 16,
    };
}

#endif
