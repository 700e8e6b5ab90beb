/* What the publisher is doing while it stores: told by the functions of shm/ and proxy/table/ that it is in, whose
 * calls the linker leads past here (--wrap; see CMakeLists.txt). */
#ifndef PERMTAB_TESTS_STRESS_PUBLISHER_OPERATIONS_H
#define PERMTAB_TESTS_STRESS_PUBLISHER_OPERATIONS_H

#include "shm/map.h"
#include "shm/segment.h"

#include <stdbool.h>

enum operation {
    OPERATION_OTHER,
    OPERATION_NEW_TABLE, /* nobody has it yet */
    OPERATION_INSERT,
    OPERATION_REKEY,   /* an insertion into a slot that another key was in */
    OPERATION_REPLACE, /* another set for an entry */
    OPERATION_MOVE,
    OPERATION_EVICT,
    OPERATION_REVOKE, /* entries and folds that a batch takes away */
    OPERATION_RETIRE, /* for a message, or on demand */
    OPERATION_SET_NEW,
    OPERATION_SET_REUSE,
    OPERATION_SET_REWRITE,
    OPERATION_SET_CLOSE, /* freed, or closed for good */
    OPERATION_FOLD,
    OPERATION_UNFOLD,
    OPERATION_BEAT, /* lease, applied revision, expiry, catalogue */
    OPERATION_REBUILD,
    OPERATION_GROW,      /* entries, folds and sets copied to the next table, slice by slice */
    OPERATION_HAND_OVER, /* next is published and leased, the one before retired, and later dropped */
    OPERATION_COUNT
};

const char *operation_name(enum operation operation);

/* The operation that the writer is in. The test says which part of the publisher it calls; what is inside is told by
 * the calls. */
enum operation operation_now(void);
void operation_begin(enum operation operation);
void operation_end(void);
/* What it is that clears entries from now on: eviction, revocation or retiring. */
void operation_clearing(enum operation operation);

/* The entry that is being moved, or NULL. */
const struct map_key *operation_moved(const struct map **map);

/* Forgets all, because the writer has died. */
void operation_reset(void);

/* The test has this one: a segment was made. */
void operation_segment_made(const struct segment *segment);

#endif
