/* The reader: a check against a segment, inline, without a system call, a lock or a store to shared memory.
 * Used by client/permtab.h in every worker, and by the sidecar to look into its own table.
 *
 * The order of a read, each step of which tests/model/ breaks on purpose:
 *
 *   1  lease deadline, state, applied revision   the deadline first: one read after the answer may already
 *                                                have been renewed for a table that has since moved on
 *   2  fold: bucket sequence, key, word, target  only when the scope may be folded
 *   3  entry: bucket sequence, key, word
 *   4  set: sequence, bits
 *   5  word, bucket sequence, set sequence again then the fold's word and bucket sequence
 *   6  the clock, last                           so that no time passes unseen between look and answer
 *
 * Steps 1 and 6 are the caller's (permtab_shm_beat_read, permtab_shm_fresh), so that a batch shares them.
 * Nothing here blocks or loops without a bound: after PERMTAB_SHM_RETRIES rounds the answer is
 * PERMTAB_SHM_BUSY. */
#ifndef PERMTAB_SHM_READER_H
#define PERMTAB_SHM_READER_H

#include "shm/layout.h"
#include "shm/order.h"

#include <stdbool.h>
#include <time.h>

#define PERMTAB_SHM_LIKELY_(condition) __builtin_expect(!!(condition), 1)
/* The straight line of a hit is inlined wherever it is written; what is left of a check is not, so that it takes no
 * registers there. */
#define PERMTAB_SHM_INLINE_ static inline __attribute__((always_inline))
#define PERMTAB_SHM_APART_  static __attribute__((noinline, unused))

/* The reader's own copy of the geometry: private memory, so that nobody else can move a bound under it. */
struct permtab_shm_table {
    const struct permtab_shm_header *header;
    const struct permtab_shm_bucket *map;
    const struct permtab_shm_bucket *folds;
    const struct permtab_shm_target *targets;
    const struct permtab_shm_name *names; /* permissions_max of them */
    const char *sets;
    const char *first_set; /* set 1, the first that an entry may name */
    uint64_t hash_seed;
    uint32_t map_buckets;
    uint32_t fold_buckets;
    uint32_t target_count;
    uint32_t set_count;
    uint32_t set_stride;
    uint32_t named_sets; /* set_count without set 0 */
    uint32_t permissions_max;
};

enum permtab_shm_found {
    PERMTAB_SHM_FOUND = 0,
    PERMTAB_SHM_MISS = 1, /* not there; it may be there a moment later, or have been a moment before */
    PERMTAB_SHM_BUSY = 2, /* kept changing, or its set is closed: being rewritten for longer than we wait */
};

/* The place where a key was found, and the sequence and word that must still be there when the answer is given. */
struct permtab_shm_place {
    const struct permtab_shm_bucket *bucket;
    uint32_t sequence;
    uint32_t slot;
    uint32_t word;
};

/* One look at an entry: enough to read bits from it and to ask whether they still hold. */
struct permtab_shm_look {
    struct permtab_shm_place entry;
    struct permtab_shm_place fold; /* bucket is NULL when no fold was followed */
    const struct permtab_shm_set *set;
    uint64_t set_sequence;
};

/* The part that a scope's type has in a look, ready made: it is the same for all looks into one table. */
struct permtab_shm_kind {
    uint64_t factor, addend; /* of the hash */
    uint32_t first_word;     /* of an entry of this type that names set 1 */
    uint32_t type;
};

/* For any number. One that is no scope type has a first_word that is above all words of entries. */
PERMTAB_SHM_INLINE_ struct permtab_shm_kind permtab_shm_kind_of(uint64_t seed, uint32_t type)
{
    struct permtab_shm_kind kind;
    kind.factor = 0x9e3779b97f4a7c15ull ^ ((uint64_t)type << 59);
    kind.addend = (seed | 1) + type;
    kind.first_word = PERMTAB_SHM_WORD(type < PERMTAB_SHM_SCOPE_TYPES ? type : PERMTAB_SHM_SCOPE_TYPES, 1);
    kind.type = type;
    return kind;
}

/* Hash of a key: two rounds of a 64x64→128 multiplication, folded (the "mum" of Wang Yi's wyhash). The seed
 * is the segment's own, so that nobody can choose ids that crowd one bucket. Never used as identity. */
PERMTAB_SHM_INLINE_ uint64_t permtab_shm_hash_of(uint64_t seed, uint64_t key0, uint64_t key1,
                                                 const struct permtab_shm_kind *kind)
{
    __extension__ typedef unsigned __int128 wide;
    wide product = (wide)(key0 ^ seed) * (key1 ^ kind->factor);
    uint64_t folded = (uint64_t)product ^ 0xe7037ed1a0b428dbull ^ (uint64_t)(product >> 64);
    product = (wide)folded * (key0 + kind->addend);
    return (uint64_t)product ^ (uint64_t)(product >> 64) ^ key1;
}

PERMTAB_SHM_INLINE_ uint64_t permtab_shm_hash(uint64_t seed, uint64_t key0, uint64_t key1, uint32_t type)
{
    const struct permtab_shm_kind kind = permtab_shm_kind_of(seed, type);
    return permtab_shm_hash_of(seed, key0, key1, &kind);
}

/* Multiply-shift: any bucket count below 2^32 (Lemire, "A fast alternative to the modulo reduction", 2016).
 */
PERMTAB_SHM_INLINE_ uint32_t permtab_shm_home(uint64_t hash, uint32_t buckets)
{
    return (uint32_t)(((hash >> 32) * (uint64_t)buckets) >> 32);
}

/* The bucket in which an entry's window begins. */
PERMTAB_SHM_INLINE_ const struct permtab_shm_bucket *
permtab_shm_entry_home(const struct permtab_shm_table *table, uint64_t user, uint64_t scope_id,
                       const struct permtab_shm_kind *kind)
{
    uint64_t hash = permtab_shm_hash_of(table->hash_seed, user, scope_id, kind);
    return table->map + permtab_shm_home(hash, table->map_buckets);
}

/* Looks for a key in the window of buckets that starts at its home. Does not stop at a free slot: the writer
 * may have freed one in front of it. */
static inline enum permtab_shm_found permtab_shm_find(const struct permtab_shm_bucket *home, uint64_t key0,
                                                      uint64_t key1, uint32_t type,
                                                      struct permtab_shm_place *place)
{
    for (uint32_t step = 0; step < PERMTAB_SHM_WINDOW; step++) {
        const struct permtab_shm_bucket *bucket = home + step;
        uint32_t sequence = permtab_shm_load32(&bucket->sequence);
        for (uint32_t slot = 0; slot < PERMTAB_SHM_SLOTS; slot++) {
            if (permtab_shm_load64(&bucket->key0[slot]) != key0 ||
                permtab_shm_load64(&bucket->key1[slot]) != key1)
                continue;
            uint32_t word = permtab_shm_load32(&bucket->word[slot]);
            if (word == 0 || PERMTAB_SHM_WORD_TYPE(word) != type)
                continue;
            if (sequence & 1u)
                return PERMTAB_SHM_BUSY;
            place->bucket = bucket;
            place->sequence = sequence;
            place->slot = slot;
            place->word = word;
            return PERMTAB_SHM_FOUND;
        }
    }
    return PERMTAB_SHM_MISS;
}

/* R3 for a map: is the key still in its slot, with the same word? */
PERMTAB_SHM_INLINE_ bool permtab_shm_place_holds(const struct permtab_shm_place *place)
{
    return PERMTAB_SHM_LIKELY_(permtab_shm_load32(&place->bucket->word[place->slot]) == place->word &&
                               permtab_shm_load32(&place->bucket->sequence) == place->sequence);
}

/* R3 for a whole look: step 5. */
PERMTAB_SHM_INLINE_ bool permtab_shm_look_holds(const struct permtab_shm_look *look)
{
    return permtab_shm_place_holds(&look->entry) &&
           permtab_shm_load64(&look->set->sequence) == look->set_sequence &&
           (look->fold.bucket == NULL || permtab_shm_place_holds(&look->fold));
}

/* The bits of one permission; `permission` must be below permissions_max. */
PERMTAB_SHM_INLINE_ bool permtab_shm_bit(const struct permtab_shm_set *set, uint32_t permission, bool own)
{
    uint64_t word = permtab_shm_load64(&set->bits[2 * (permission / 64u) + (own ? 1u : 0u)]);
    return ((word >> (permission % 64u)) & 1u) != 0;
}

/* `index` must be below set_count. */
PERMTAB_SHM_INLINE_ const struct permtab_shm_set *
permtab_shm_set_at(const struct permtab_shm_table *table, uint32_t index)
{
    return (const struct permtab_shm_set *)(const void *)(table->sets + (size_t)index * table->set_stride);
}

/* Steps 2 to 4 up to the set's sequence. The caller reads bits, then asks permtab_shm_look_holds. */
static inline enum permtab_shm_found permtab_shm_look_once(const struct permtab_shm_table *table,
                                                           uint64_t user, uint64_t scope_id,
                                                           uint32_t scope_type, struct permtab_shm_look *look)
{
    enum permtab_shm_found found;
    look->fold.bucket = NULL;
    look->fold.sequence = look->fold.slot = look->fold.word =
        0; /* else gcc warns that uses of them may be uninitialised */
    if (permtab_shm_load32(&table->header->beat.fold_count) != 0) {
        uint64_t hash = permtab_shm_hash(table->hash_seed, 0, scope_id, scope_type);
        found = permtab_shm_find(table->folds + permtab_shm_home(hash, table->fold_buckets), 0, scope_id,
                                 scope_type, &look->fold);
        if (found == PERMTAB_SHM_BUSY)
            return found;
        if (found == PERMTAB_SHM_FOUND) {
            uint32_t index = PERMTAB_SHM_WORD_INDEX(look->fold.word);
            if (index >= table->target_count)
                return PERMTAB_SHM_MISS;
            scope_id = permtab_shm_load64(&table->targets[index].id);
            scope_type = (uint32_t)permtab_shm_load64(&table->targets[index].type);
        } else {
            look->fold.bucket = NULL;
        }
    }
    const struct permtab_shm_kind kind = permtab_shm_kind_of(table->hash_seed, scope_type);
    const struct permtab_shm_bucket *home = permtab_shm_entry_home(table, user, scope_id, &kind);
    /* One key in seven is not in its home bucket: the next one is on its way before that is known. */
    permtab_shm_fetch(home + 1);
    found = permtab_shm_find(home, user, scope_id, scope_type, &look->entry);
    if (found != PERMTAB_SHM_FOUND)
        return found;
    uint32_t index = PERMTAB_SHM_WORD_INDEX(look->entry.word);
    if (index >= table->set_count)
        return PERMTAB_SHM_MISS;
    look->set = permtab_shm_set_at(table, index);
    look->set_sequence = permtab_shm_load64(&look->set->sequence);
    return (look->set_sequence & 1u) ? PERMTAB_SHM_BUSY : PERMTAB_SHM_FOUND;
}

/* Steps 3 and 4 where all is as it mostly is: the entry in this bucket, no other slot with the same user before it
 * there, and nobody changing it. False says nothing, not even that the entry is missing: permtab_shm_look_once finds
 * out. The scope is not folded.
 *
 * The user alone chooses slot and word, without a branch. Which of three slots it is cannot be predicted, and a wrong
 * guess would end what the processor does ahead: the next check's misses, above all. The words are R2 as in
 * permtab_shm_find, whatever their order among the keys: all lie between R1 and R3, and a miss is never concluded. */
PERMTAB_SHM_INLINE_ bool permtab_shm_look_home(const struct permtab_shm_table *table,
                                               const struct permtab_shm_bucket *bucket, uint64_t user,
                                               uint64_t scope_id, const struct permtab_shm_kind *kind,
                                               struct permtab_shm_look *look)
{
    uint32_t sequence = permtab_shm_load32(&bucket->sequence);
    uint32_t word = permtab_shm_load32(&bucket->word[2]), word1 = permtab_shm_load32(&bucket->word[1]);
    bool not_second = permtab_shm_load64(&bucket->key0[1]) != user;
    word = not_second ? word : word1;
    uint32_t word0 = permtab_shm_load32(&bucket->word[0]), slot = 1u + (uint32_t)not_second;
    bool not_first = permtab_shm_load64(&bucket->key0[0]) != user;
    word = not_first ? word : word0;
    slot &= 0u - (uint32_t)not_first;
    /* Another type, or a free slot, makes a number that no set has. */
    uint32_t number = word - kind->first_word;
    /* The slot's keys are the first ones of a bucket that begins so much later: one address for both. */
    const struct permtab_shm_bucket *shifted =
        (const struct permtab_shm_bucket *)(const void *)((const char *)bucket + slot * sizeof(uint64_t));
    if (!PERMTAB_SHM_LIKELY_(permtab_shm_load64(&shifted->key0[0]) == user) ||
        !PERMTAB_SHM_LIKELY_(permtab_shm_load64(&shifted->key1[0]) == scope_id) ||
        !PERMTAB_SHM_LIKELY_(number < table->named_sets))
        return false;
    const struct permtab_shm_set *set =
        (const struct permtab_shm_set *)(const void *)(table->first_set + (size_t)number * table->set_stride);
    uint64_t set_sequence = permtab_shm_load64(&set->sequence);
    look->entry.bucket = bucket;
    look->entry.sequence = sequence;
    look->entry.slot = slot;
    look->entry.word = word;
    look->fold.bucket = NULL;
    look->fold.sequence = look->fold.slot = look->fold.word = 0; /* else gcc warns, as in permtab_shm_look_once */
    look->set = set;
    look->set_sequence = set_sequence;
    return PERMTAB_SHM_LIKELY_(((sequence | set_sequence) & 1u) == 0);
}

/* A look that holds, or why there is none. On PERMTAB_SHM_FOUND the look was whole at one moment; bits read
 * from look->set afterwards count only if permtab_shm_look_holds says so after them. */
static inline enum permtab_shm_found permtab_shm_look(const struct permtab_shm_table *table, uint64_t user,
                                                      uint64_t scope_id, uint32_t scope_type,
                                                      struct permtab_shm_look *look)
{
    enum permtab_shm_found found = PERMTAB_SHM_BUSY;
    for (uint32_t round = 0; round < PERMTAB_SHM_RETRIES; round++) {
        found = permtab_shm_look_once(table, user, scope_id, scope_type, look);
        if (found == PERMTAB_SHM_MISS || (found == PERMTAB_SHM_FOUND && permtab_shm_look_holds(look)))
            return found;
        permtab_shm_pause();
    }
    return PERMTAB_SHM_BUSY;
}

/* Steps 2 to 5 for one permission, in general: folds, the whole window, other tries. *allowed is written on
 * PERMTAB_SHM_FOUND only. */
PERMTAB_SHM_INLINE_ enum permtab_shm_found
permtab_shm_check_rounds(const struct permtab_shm_table *table, uint64_t user, uint64_t scope_id,
                         uint32_t scope_type, uint32_t permission, bool own, bool *allowed)
{
    struct permtab_shm_look look;
    for (uint32_t round = 0; round < PERMTAB_SHM_RETRIES; round++) {
        enum permtab_shm_found found = permtab_shm_look_once(table, user, scope_id, scope_type, &look);
        if (found == PERMTAB_SHM_MISS)
            return found;
        if (found == PERMTAB_SHM_FOUND) {
            bool bit = permtab_shm_bit(look.set, permission, own);
            if (permtab_shm_look_holds(&look)) {
                *allowed = bit;
                return PERMTAB_SHM_FOUND;
            }
        }
        permtab_shm_pause();
    }
    return PERMTAB_SHM_BUSY;
}

PERMTAB_SHM_APART_ enum permtab_shm_found
permtab_shm_check_apart(const struct permtab_shm_table *table, uint64_t user, uint64_t scope_id,
                        uint32_t scope_type, uint32_t permission, bool own, bool *allowed)
{
    return permtab_shm_check_rounds(table, user, scope_id, scope_type, permission, own, allowed);
}

/* Steps 3 to 5 in one bucket, by the straight line. False says nothing. */
PERMTAB_SHM_INLINE_ bool permtab_shm_check_bucket(const struct permtab_shm_table *table,
                                                  const struct permtab_shm_bucket *bucket, uint64_t user,
                                                  uint64_t scope_id, const struct permtab_shm_kind *kind,
                                                  uint32_t permission, bool own, bool *allowed)
{
    struct permtab_shm_look look;
    if (!PERMTAB_SHM_LIKELY_(permtab_shm_look_home(table, bucket, user, scope_id, kind, &look)))
        return false;
    *allowed = permtab_shm_bit(look.set, permission, own);
    return PERMTAB_SHM_LIKELY_(permtab_shm_look_holds(&look));
}

/* Steps 3 to 5 where the home bucket did not have it: the next one, where most of the others are, and then in
 * general. */
PERMTAB_SHM_APART_ enum permtab_shm_found
permtab_shm_check_next(const struct permtab_shm_table *table, const struct permtab_shm_bucket *home,
                       uint64_t user, uint64_t scope_id, uint32_t scope_type, uint32_t permission, bool own,
                       bool *allowed)
{
    const struct permtab_shm_kind kind = permtab_shm_kind_of(table->hash_seed, scope_type);
    if (permtab_shm_check_bucket(table, home + 1, user, scope_id, &kind, permission, own, allowed))
        return PERMTAB_SHM_FOUND;
    return permtab_shm_check_apart(table, user, scope_id, scope_type, permission, own, allowed);
}

/* permtab_shm_check after step 2, for a scope that is not folded: fold_count was 0, and was read after the moment. The
 * key's window begins at `home`; with another bucket it is only slower, for keys are compared in full. */
PERMTAB_SHM_INLINE_ enum permtab_shm_found
permtab_shm_check_from(const struct permtab_shm_table *table, const struct permtab_shm_bucket *home,
                       uint64_t user, uint64_t scope_id, const struct permtab_shm_kind *kind,
                       uint32_t permission, bool own, bool *allowed)
{
    if (PERMTAB_SHM_LIKELY_(permtab_shm_check_bucket(table, home, user, scope_id, kind, permission, own, allowed)))
        return PERMTAB_SHM_FOUND;
    bool bit = false; /* goes by its address, so that *allowed of the caller can be a register */
    enum permtab_shm_found found =
        permtab_shm_check_next(table, home, user, scope_id, kind->type, permission, own, &bit);
    *allowed = bit;
    return found;
}

/* Steps 2 to 5 for one permission. *allowed counts on PERMTAB_SHM_FOUND only. `permission` must be below
 * table->permissions_max. A type that is none is a miss. */
static inline enum permtab_shm_found
permtab_shm_check(const struct permtab_shm_table *table, uint64_t user, uint64_t scope_id,
                  uint32_t scope_type, uint32_t permission, bool own, bool *allowed)
{
    if (permtab_shm_load32(&table->header->beat.fold_count) != 0)
        return permtab_shm_check_apart(table, user, scope_id, scope_type, permission, own, allowed);
    const struct permtab_shm_kind kind = permtab_shm_kind_of(table->hash_seed, scope_type);
    const struct permtab_shm_bucket *home = permtab_shm_entry_home(table, user, scope_id, &kind);
    /* One key in seven is not in its home bucket: the next one is on its way before that is known. */
    permtab_shm_fetch(home + 1);
    return permtab_shm_check_from(table, home, user, scope_id, &kind, permission, own, allowed);
}

/* permtab_shm_fetch_entry and permtab_shm_fetch_set bring near what a look at a key will read, for batches: first
 * the key's home bucket, which is returned, and the next one, in which one key in eleven lives; when those are there,
 * its set. Both are hints: no answer depends on what they read. */
static inline const struct permtab_shm_bucket *
permtab_shm_fetch_entry(const struct permtab_shm_table *table, uint64_t user, uint64_t scope_id,
                        const struct permtab_shm_kind *kind)
{
    const struct permtab_shm_bucket *home = permtab_shm_entry_home(table, user, scope_id, kind);
    permtab_shm_fetch(home);
    permtab_shm_fetch(home + 1);
    return home;
}

static inline void permtab_shm_fetch_set(const struct permtab_shm_table *table,
                                         const struct permtab_shm_bucket *home, uint64_t user,
                                         uint32_t permission)
{
    uint32_t slot = 0;
    while (slot < PERMTAB_SHM_SLOTS - 1u && permtab_shm_load64(&home->key0[slot]) != user)
        slot++;
    uint32_t index = PERMTAB_SHM_WORD_INDEX(permtab_shm_load32(&home->word[slot]));
    if (index >= table->set_count)
        return;
    const struct permtab_shm_set *set = permtab_shm_set_at(table, index);
    permtab_shm_fetch(set);
    permtab_shm_fetch(&set->bits[2u * (permission / 64u)]);
}

/* Step 1. The revision before the catalogue: a batch stores its catalogue, then its sets, then its revision, so whoever
 * has seen the revision sees this catalogue or a later one. */
struct permtab_shm_moment {
    uint64_t lease_deadline;
    uint64_t applied_revision;
    uint64_t catalogue;
    uint32_t state;
};

PERMTAB_SHM_INLINE_ struct permtab_shm_moment permtab_shm_beat_read(const struct permtab_shm_table *table)
{
    const struct permtab_shm_beat *beat = &table->header->beat;
    struct permtab_shm_moment moment;
    moment.lease_deadline = permtab_shm_load64(&beat->lease_deadline);
    moment.state = permtab_shm_load32(&beat->state);
    moment.applied_revision = permtab_shm_load64(&beat->applied_revision);
    moment.catalogue = permtab_shm_load64(&beat->catalogue);
    return moment;
}

/* Step 6. The coarse clock costs 5 ns instead of 22 and lags by up to a tick or a few: the sidecar has taken
 * that lag off the deadline, so a lease is never stretched by it. */
PERMTAB_SHM_INLINE_ uint64_t permtab_shm_clock_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

static inline bool permtab_shm_fresh(const struct permtab_shm_moment *moment)
{
    return permtab_shm_clock_ns() < moment->lease_deadline;
}

#endif
