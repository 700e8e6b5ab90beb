/* The contents of the shared memory, and the writer and readers of each field. The only file that shows shared
 * fields.
 *
 * One segment is one sealed memfd:
 *
 *   0                 header             one page: identity, heartbeat, geometry, scope types
 *   names_offset      permission names   permissions_max records of PERMTAB_SHM_NAME_SIZE bytes
 *   sets_offset       permission sets    set_count records of set_stride bytes; set 0 is never used
 *   targets_offset    fold targets       target_count scopes that folded scopes answer as; 0 is never used
 *   folds_offset      fold map           fold_buckets + PERMTAB_SHM_WINDOW - 1 buckets
 *   map_offset        entry map          map_buckets + PERMTAB_SHM_WINDOW - 1 buckets
 *
 * "Writer" below is the publisher, one thread of the sidecar. Orders W1 to W3 and R1 to R3 are those of
 * order.h. docs/SHARED-MEMORY.md says for each field what happens when its writer dies there. */
#ifndef PERMTAB_SHM_LAYOUT_H
#define PERMTAB_SHM_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

#define PERMTAB_SHM_MAGIC  0x7065726d74616231ull /* "permtab1" */
#define PERMTAB_SHM_LAYOUT 1u

#define PERMTAB_SHM_PAGE            4096u
#define PERMTAB_SHM_SLOTS           3u /* a bucket, which is one cache line */
#define PERMTAB_SHM_WINDOW          8u /* buckets in which a key may live */
#define PERMTAB_SHM_RETRIES         64u
#define PERMTAB_SHM_SCOPE_TYPES     15u
#define PERMTAB_SHM_TYPE_NAME_SIZE  32u
#define PERMTAB_SHM_NAME_SIZE       128u
#define PERMTAB_SHM_PERMISSIONS_MAX 16384u
#define PERMTAB_SHM_INDEX_BITS      28u
#define PERMTAB_SHM_INDEX_MASK      ((1u << PERMTAB_SHM_INDEX_BITS) - 1u)
/* So that every slot of a map, the last window's included, has a number below UINT32_MAX. */
#define PERMTAB_SHM_BUCKETS_MAX ((UINT32_MAX - 1u) / PERMTAB_SHM_SLOTS - PERMTAB_SHM_WINDOW)

/* A word: scope type in the upper 4 bits, an index that is never 0 in the lower 28. 0 is a free slot. */
#define PERMTAB_SHM_WORD(type, index) (((uint32_t)(type) << PERMTAB_SHM_INDEX_BITS) | (uint32_t)(index))
#define PERMTAB_SHM_WORD_TYPE(word)   ((word) >> PERMTAB_SHM_INDEX_BITS)
#define PERMTAB_SHM_WORD_INDEX(word)  ((word)&PERMTAB_SHM_INDEX_MASK)

enum permtab_shm_state {
    PERMTAB_SHM_VOID = 0,    /* not published yet; also what a client reads from its zero pages */
    PERMTAB_SHM_LIVE = 1,    /* being kept true */
    PERMTAB_SHM_RETIRED = 2, /* another segment has taken its place: attach again */
};

/* A bucket of a map. Key and type together are the identity, compared in full. In the entry map key0 is the
 * user, key1 the scope's id, and the index names a set. In the fold map key0 is 0, key1 the folded scope's
 * id, and the index names a fold target.
 *
 * SEQ-1  sequence: odd while a slot goes from free to used or changes its key. Only grows (it would wrap
 * after 2^31 insertions into one bucket within one look, which no lease is long enough for). W1/W3, R1/R3.
 * SEQ-2  word: replacing one index by another, or clearing it, is one release store without the sequence. A reader
 * looks at the word again after the bits, so its answer was in force when it looked again. In the fold map a word
 * changes only to and from 0: a target has no sequence of its own.
 * SEQ-3  key0, key1: stored (W2) only while the sequence is odd and the word is 0. The word follows them (W2 too)
 * before the sequence is even again. */
struct permtab_shm_bucket {
    uint32_t sequence;
    uint32_t word[PERMTAB_SHM_SLOTS];
    uint64_t key0[PERMTAB_SHM_SLOTS];
    uint64_t key1[PERMTAB_SHM_SLOTS];
};

/* A permission set: for each 64 permissions two words, `any` then `own`, side by side so that a check and its
 * owner test touch the same line.
 *
 * SET-1  sequence: odd while the bits are not to be believed: being rewritten, or the set is free. Only
 * grows, over all lives of the set, so that a kept sequence never fits a later life.
 * SET-2  bits: stored (W2) only while the sequence is odd. */
struct permtab_shm_set {
    uint64_t sequence;
    uint64_t bits[];
};

/* Bytes from one set to the next: the record, rounded up to whole cache lines. */
static inline uint32_t permtab_shm_set_stride(uint32_t permissions_max)
{
    return (8u + 2u * (permissions_max / 64u) * 8u + 63u) / 64u * 64u;
}

/* A fold target: the scope that folded scopes answer as. It is written (W2) before the first fold word that names
 * it, and not again before it has rested in quarantine for longer than any lease. */
struct permtab_shm_target {
    uint64_t id;
    uint64_t type;
};

/* Permission names. A record is written once: text first, then `length` (W2), which is 0 until then. */
struct permtab_shm_name {
    uint32_t length;
    uint32_t reserved;
    char text[PERMTAB_SHM_NAME_SIZE - 8];
};

/* Identity and geometry: written before the descriptor is handed out, and never again. */
struct permtab_shm_identity {
    uint64_t magic;
    uint32_t layout;
    uint32_t permissions_max; /* a multiple of 64 */
    uint64_t segment_id;      /* random, never 0 */
    uint64_t store_id;
    uint64_t size; /* of the whole segment, bytes */
    uint64_t hash_seed;
    uint64_t reserved[2];
};

/* The heartbeat: one cache line, written by the writer about ten times a second, read by every check.
 *
 * BEAT-1 lease_deadline (CLOCK_MONOTONIC ns): until when the table may be believed. Read first and compared
 * with a clock read last. Stored after everything that its poll read is in the table, so a reader that saw it
 * sees that table or a later one. Never decreases, except to 0 for good when the table is disbelieved.
 * BEAT-2 applied_revision: everything up to it is in the table. Stored after the table was changed; read before the
 * entry, so the entry is never older than the revision the reader saw.
 * BEAT-3 catalogue: changes when a permission or a scope type is added or dropped. Stored after the names.
 * BEAT-4 fold_count: 0 lets readers skip the fold map. Raised before the first fold word, lowered after the last.
 * It is a hint: a reader that saw an old 0 looks for the scope's own entry, which is true or not there. */
struct permtab_shm_beat {
    uint32_t state; /* enum permtab_shm_state; only forward */
    uint32_t fold_count;
    uint64_t lease_deadline;
    uint64_t applied_revision;
    uint64_t catalogue;
    int64_t expiry_applied; /* store's clock, microseconds UTC: assignments that ended by then are gone */
    uint64_t reserved[3];
};

struct permtab_shm_geometry {
    uint64_t names_offset;
    uint64_t sets_offset;
    uint64_t targets_offset;
    uint64_t folds_offset;
    uint64_t map_offset;
    uint32_t set_count;
    uint32_t set_stride;
    uint32_t target_count;
    uint32_t fold_buckets;
    uint32_t map_buckets;
    uint32_t type_count; /* written again when a scope type is appended, after its name */
};

struct permtab_shm_header {
    struct permtab_shm_identity identity;
    struct permtab_shm_beat beat;
    struct permtab_shm_geometry geometry;
    char type_names[PERMTAB_SHM_SCOPE_TYPES]
                   [PERMTAB_SHM_TYPE_NAME_SIZE]; /* written once each, zero-terminated */
};

/* Feedback: one small memfd a client, written by the client, read by the sidecar with pread and believed in
 * nothing. A thread owns one line; threads beyond the last share it and may lose counts.
 *
 * Behind the lines lies a ring of samples: which keys are hit. Feedback grows at its end alone, so any two versions
 * get on: each side uses as much of the file as it knows and as is there. The lines always are. */
#define PERMTAB_SHM_FEEDBACK_LINES   64u
#define PERMTAB_SHM_FEEDBACK_SAMPLES 128u
#define PERMTAB_SHM_SAMPLE_BITS      5u
#define PERMTAB_SHM_SAMPLE_HITS      32u /* about so many hits of a line for each sample: 2 to the bits */

struct permtab_shm_feedback_line {
    uint64_t hits;
    uint64_t misses;
    uint64_t unknowns;
    uint64_t samples;     /* stored into the ring from this line */
    uint64_t next_sample; /* the hit that is looked at next; the client's own, nobody else reads it */
    uint64_t reserved[3];
};

/* A key that was hit. Threads store into the ring without regard for each other (relaxed), so a sample may be lost,
 * or be put together of two. */
struct permtab_shm_sample {
    uint64_t user;
    uint64_t scope_id;
    uint32_t type; /* the table's number of the scope's type */
    uint32_t
        mark; /* never 0 in a sample, and another number in the next sample of the same place; stored last */
    uint64_t reserved;
};

struct permtab_shm_feedback {
    struct permtab_shm_feedback_line line[PERMTAB_SHM_FEEDBACK_LINES];
    struct permtab_shm_sample sample[PERMTAB_SHM_FEEDBACK_SAMPLES];
};

#ifdef __cplusplus
#define PERMTAB_SHM_ASSERT(condition, text) static_assert(condition, text)
#else
#define PERMTAB_SHM_ASSERT(condition, text) _Static_assert(condition, text)
#endif

PERMTAB_SHM_ASSERT(sizeof(struct permtab_shm_bucket) == 64, "a bucket is one cache line");
PERMTAB_SHM_ASSERT(offsetof(struct permtab_shm_bucket, key0) == 16, "layout 1");
PERMTAB_SHM_ASSERT(offsetof(struct permtab_shm_bucket, key1) == 40, "layout 1");
PERMTAB_SHM_ASSERT(sizeof(struct permtab_shm_target) == 16, "layout 1");
PERMTAB_SHM_ASSERT(sizeof(struct permtab_shm_name) == PERMTAB_SHM_NAME_SIZE, "layout 1");
PERMTAB_SHM_ASSERT(sizeof(struct permtab_shm_identity) == 64, "one cache line");
PERMTAB_SHM_ASSERT(sizeof(struct permtab_shm_beat) == 64, "one cache line");
PERMTAB_SHM_ASSERT(offsetof(struct permtab_shm_header, beat) == 64, "layout 1");
PERMTAB_SHM_ASSERT(offsetof(struct permtab_shm_header, geometry) == 128, "layout 1");
PERMTAB_SHM_ASSERT(sizeof(struct permtab_shm_header) <= PERMTAB_SHM_PAGE, "the header is one page");
PERMTAB_SHM_ASSERT(sizeof(struct permtab_shm_feedback_line) == 64, "one cache line a thread");
PERMTAB_SHM_ASSERT(sizeof(struct permtab_shm_sample) == 32, "two samples a cache line");
PERMTAB_SHM_ASSERT(offsetof(struct permtab_shm_feedback, sample) == 4096,
                   "the lines are what there always was");

#endif
