/* The rivals that permtab is compared with. Each answers the questions of question.h: key → set → bit. The sets are a
 * private array for all of them, so that only the finding of the set differs. */
#ifndef PERMTAB_TESTS_BENCH_RIVALS_H
#define PERMTAB_TESTS_BENCH_RIVALS_H

#include "tests/bench/question.h"

#include <stddef.h>

#define RIVAL_SET_WORDS 16u /* 512 permissions, any and own */

struct rival_sets {
    uint64_t *bits; /* RIVAL_SET_WORDS each, set 0 is not used */
    uint32_t count;
};

void rival_sets_init(struct rival_sets *sets, uint32_t count);
void rival_sets_fini(struct rival_sets *sets);

static inline uint64_t rival_bit(const struct rival_sets *sets, uint32_t set, uint32_t permission)
{
    uint64_t word = sets->bits[(size_t)set * RIVAL_SET_WORDS + 2u * (permission / 64u)];
    return (word >> (permission % 64u)) & 1u;
}

/* ---- rival_hash.c: open addressing in private memory, nothing shared, nothing looked at twice -------------------- */

struct rival_slot {
    uint64_t user;
    uint64_t scope;
    uint32_t type;
    uint32_t set; /* 0: free */
};

struct rival_hash {
    struct rival_slot *slots;
    uint64_t capacity;
    const struct rival_sets *sets;
};

/* `huge` asks for huge pages: as the segment has them, so that it is the tables that are compared. */
void rival_hash_init(struct rival_hash *hash, uint64_t entries, const struct rival_sets *sets, bool huge);
void rival_hash_fini(struct rival_hash *hash);

static inline uint64_t rival_hash_home(const struct rival_hash *hash, uint64_t user, uint64_t scope,
                                       uint32_t type)
{
    uint64_t value =
        (user ^ 0xe7037ed1a0b428dbull) * 0xbf58476d1ce4e5b9ull ^ (scope + type) * 0x94d049bb133111ebull;
    value ^= value >> 32;
    value *= 0xd6e8feb86659fd93ull;
    return (uint64_t)(((unsigned __int128)value * hash->capacity) >> 64);
}

static inline uint64_t rival_hash_ask(const struct rival_hash *hash, const struct question *question)
{
    uint64_t at = rival_hash_home(hash, question->user, question->scope, QUESTION_TYPE);
    for (;;) {
        const struct rival_slot *slot = &hash->slots[at];
        if (slot->user == question->user && slot->scope == question->scope && slot->type == QUESTION_TYPE &&
            slot->set != 0)
            return rival_bit(hash->sets, slot->set, question->permission);
        if (slot->set == 0)
            return UINT64_MAX;
        at = at + 1 < hash->capacity ? at + 1 : 0;
    }
}

/* ---- rival_lmdb.c: LMDB, one read transaction kept open ---------------------------------------------------------- */

struct rival_lmdb;

/* Creates a database of `entries` in an empty folder. */
struct rival_lmdb *rival_lmdb_new(const char *folder, uint64_t entries, const struct rival_sets *sets);
void rival_lmdb_free(struct rival_lmdb *lmdb);
uint64_t rival_lmdb_ask(struct rival_lmdb *lmdb, const struct question *question);

/* ---- rival_redis.c: GET over a Unix socket, one at a time -------------------------------------------------------- */

struct rival_redis;

/* Connects and sets `entries` keys, each to the number of its set. */
struct rival_redis *rival_redis_new(const char *socket_path, uint64_t entries, const struct rival_sets *sets);
void rival_redis_free(struct rival_redis *redis);
uint64_t rival_redis_ask(struct rival_redis *redis, const struct question *question);

#endif
