/* The questions that every contender is asked, and their answers, both by arithmetic: a random entry of so many,
 * and one of 32 permissions. Keys are computed, not kept, so that making a question costs no memory access. */
#ifndef PERMTAB_TESTS_BENCH_QUESTION_H
#define PERMTAB_TESTS_BENCH_QUESTION_H

#include <stdbool.h>
#include <stdint.h>

#define QUESTION_PERMISSIONS 32u
#define QUESTION_SCOPES      1024u
#define QUESTION_TYPE        1u /* "server" */
#define QUESTION_FOLDED_TYPE 2u /* "channel", each one folded into the server of the same id */

struct question {
    uint64_t user;
    uint64_t scope;
    uint32_t permission; /* bit */
};

/* Entry number `index`: an odd factor, so users are all different. */
static inline uint64_t question_user(uint64_t index)
{
    return (index + 1) * 0x9e3779b97f4a7c15ull;
}

static inline uint64_t question_scope(uint64_t user)
{
    return 1u + (user >> 40) % QUESTION_SCOPES;
}

/* 1 … sets. */
static inline uint32_t question_set(uint64_t user, uint32_t sets)
{
    return 1u + (uint32_t)(((user * 0xd6e8feb86659fd93ull) >> 32) * sets >> 32);
}

/* The first word of a set's bitmap: what all contenders' sets are made of. */
static inline uint64_t question_bits(uint32_t set)
{
    uint64_t value = set * 0x9e3779b97f4a7c15ull;
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ull;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebull;
    return value ^ (value >> 31);
}

/* The question at a point of the walk, about one of the first `entries`. */
static inline struct question question_at(uint64_t walk, uint64_t entries)
{
    struct question question;
    question.user = question_user((uint64_t)(((walk >> 32) * entries) >> 32));
    question.scope = question_scope(question.user);
    question.permission = (uint32_t)(walk >> 27) % QUESTION_PERMISSIONS;
    return question;
}

/* The next point. When the answer takes part in it, the next question cannot begin before the answer is there. */
static inline uint64_t question_step(uint64_t walk, uint64_t answer)
{
    return walk * 6364136223846793005ull + 1442695040888963407ull + (answer << 40);
}

/* A walk over `count` questions, put by `ask`, which is inlined. Returns the sum of the answers. */
typedef uint64_t question_ask(void *context, const struct question *question);

__attribute__((always_inline)) static inline uint64_t question_walk(void *context, question_ask *ask,
                                                                    uint64_t entries, bool dependent,
                                                                    uint64_t seed, uint64_t count)
{
    uint64_t sum = 0, walk = question_step(seed * 0x9e3779b97f4a7c15ull, 0);
    for (uint64_t done = 0; done < count; done++) {
        struct question question = question_at(walk, entries);
        uint64_t answer = ask(context, &question);
        sum += answer;
        walk = question_step(walk, dependent ? answer : 0);
    }
    return sum;
}

#endif
