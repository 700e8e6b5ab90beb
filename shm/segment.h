/* The segment: its memory, its geometry, its life. Writer side; one thread.
 *
 * Life: segment_new allocates and seals (map writable first, then seal, then nobody can map it writable
 * again); names and types are written; segment_publish makes it live; heartbeats keep it believed;
 * segment_retire tells readers to attach again; segment_free unmaps it. Readers keep their own mapping. */
#ifndef PERMTAB_SHM_SEGMENT_H
#define PERMTAB_SHM_SEGMENT_H

#include "shm/error.h"
#include "shm/layout.h"
#include "shm/reader.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct segment_options {
    uint32_t permissions_max; /* 64 … 16384, a multiple of 64 */
    uint64_t entries; /* how many entries shall fit; the map is made larger so that windows rarely fill */
    uint32_t sets;    /* at least 1; set 0 comes on top */
    uint32_t folds;   /* may be 0, as may targets; target 0 comes on top */
    uint32_t targets;
    uint64_t store_id;
    uint64_t memory_max; /* bytes; 0 = no limit */
};

/* Writable view. `table` is the same memory as readers see it. */
struct segment {
    int descriptor; /* sealed; hand out with SCM_RIGHTS */
    size_t size;
    bool huge_pages; /* what the kernel gave, for some of it at least */
    bool disbelieved;
    struct permtab_shm_header *header;
    struct permtab_shm_bucket *map;
    struct permtab_shm_bucket *folds;
    struct permtab_shm_target *targets;
    struct permtab_shm_name *names;
    char *sets;
    struct permtab_shm_table table;
};

/* Bytes that a segment of these options would take; 0 when no segment can be made of them. */
uint64_t segment_size(const struct segment_options *options);

/* Creates, populates (so that a shortage of memory is an error here, not a SIGBUS later), maps and seals.
 * PERMTAB_E_INVALID: permissions_max, entries or sets; _LIMIT: larger than memory_max or the layout allows;
 * _MEMORY; _SYSTEM: errno tells. The process must have set PR_SET_DUMPABLE to 0 before, or the same uid could write
 * through /proc (segment_new does not check). */
int segment_new(struct segment *out, const struct segment_options *options) PERMTAB_MUST_CHECK;
void segment_free(struct segment *segment);

/* Whether the descriptor bears all the seals that a reader relies on. In segment_table.c; the client uses it, too. */
bool segment_sealed(int descriptor);

/* Fills a reader's table from a read-only mapping of `size` bytes, checking magic, layout and every bound.
 * PERMTAB_E_LAYOUT: another layout number; PERMTAB_E_PROTOCOL: anything else that is wrong. On failure *out is
 * untouched. In segment_table.c, which the client links too and calls on the descriptor that the sidecar sent. */
int segment_table_init(struct permtab_shm_table *out, const void *mapping, size_t size) PERMTAB_MUST_CHECK;

/* Names and scope types of the header. Names: bit < permissions_max, text of 1 to PERMTAB_SHM_NAME_SIZE - 9 bytes,
 * written once a bit. Types: number below PERMTAB_SHM_SCOPE_TYPES, text of 1 to PERMTAB_SHM_TYPE_NAME_SIZE - 1
 * bytes, written once, in ascending order. Writing the same text again changes nothing. */
void segment_name_set_writer(struct segment *segment, uint32_t bit, const char *text);
void segment_type_set_writer(struct segment *segment, uint32_t type, const char *text);
void segment_catalogue_set_writer(struct segment *segment, uint64_t catalogue);

/* Folds. The count goes up before the first fold word is inserted and down after the last is cleared. A
 * target is written before the first fold word that names it, and again only after it has rested like a set.
 */
void segment_fold_count_writer(struct segment *segment, uint32_t count);
void segment_target_set_writer(struct segment *segment, uint32_t index, uint32_t type, uint64_t id);

/* Makes the state LIVE: from now on readers may believe the segment, inside the lease. */
void segment_publish_writer(struct segment *segment);
/* These three never move backwards: an older value changes nothing. Deadline in CLOCK_MONOTONIC nanoseconds,
 * the coarse clock's lag already taken off; ignored once the segment is disbelieved. */
void segment_lease_writer(struct segment *segment, uint64_t deadline_ns);
void segment_applied_writer(struct segment *segment, uint64_t revision);
void segment_expiry_writer(struct segment *segment, int64_t applied_us);
void segment_retire_writer(struct segment *segment);
/* Ends the lease at once and for good: the one case in which the deadline goes back. For a table that may be wrong.
 * A reader that has already read the deadline may believe it until then, and no longer. */
void segment_disbelieve_writer(struct segment *segment);

#endif
