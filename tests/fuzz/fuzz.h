/* What the fuzzers share: an oracle that fails, a reader that turns an input into choices, and the cost of an input. */
#ifndef PERMTAB_TESTS_FUZZ_FUZZ_H
#define PERMTAB_TESTS_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void must(bool condition)
{
    if (!condition)
        abort();
}

/* ---- choices ----------------------------------------------------------------------------------------------------- */

/* What is left of an input. Behind its end every choice is 0. */
struct choices {
    const uint8_t *at, *end;
};

static inline struct choices choices_of(const uint8_t *data, size_t size)
{
    return (struct choices){.at = data, .end = data + size};
}

static inline bool choices_left(const struct choices *choices)
{
    return choices->at < choices->end;
}

/* `bytes` bytes, the first one lowest. */
static inline uint64_t choose(struct choices *choices, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++)
        if (choices_left(choices))
            value |= (uint64_t)*choices->at++ << (8 * i);
    return value;
}

static inline uint64_t choose_below(struct choices *choices, uint64_t limit)
{
    return choose(choices, limit <= 256 ? 1 : 8) % limit;
}

/* The bytes up to the next `end`, or all that are left, as text in memory of its own; zeros inside are its end, too. */
static inline char *choose_text(struct choices *choices, char end)
{
    size_t left = (size_t)(choices->end - choices->at);
    const uint8_t *found = left > 0 ? memchr(choices->at, end, left) : NULL;
    size_t size = found != NULL ? (size_t)(found - choices->at) : left;
    char *text = malloc(size + 1);
    must(text != NULL);
    if (size > 0)
        memcpy(text, choices->at, size);
    text[size] = '\0';
    choices->at += size + (found != NULL);
    return text;
}

/* ---- cost -------------------------------------------------------------------------------------------------------- */

/* What an input of n bytes may cost: `steps` are regions of code entered (a loop's body each time round), counted
 * exactly and in our own code alone; `bytes` is memory asked for, by libraries, too. Both may grow with n times the
 * logarithm of n. */
struct cost_limit {
    uint64_t steps_fixed, steps_each;
    uint64_t bytes_fixed, bytes_each;
};

void cost_begin(void);
/* Aborts when more was spent since cost_begin than an input of `size` bytes may cost, with one line that says what. */
void cost_check(size_t size, const struct cost_limit *limit);

/* ---- mutations --------------------------------------------------------------------------------------------------- */

/* A custom mutator for texts that are mostly JSON: changes the tree when the text is JSON, else its bytes. */
size_t json_mutate(uint8_t *data, size_t size, size_t max_size, unsigned int seed);

#endif
