/* The looks are at h1, h1 + h2, h1 + 2 h2 …: two hashes are enough for any number of looks (A. Kirsch and M.
 * Mitzenmacher, "Less Hashing, Same Performance: Building a Better Bloom Filter", ESA 2006). Eleven is 16 ln 2, the
 * best number for 16 bits. */
#include "proxy/answer/user_filter.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define BITS_A_USER 16u
#define LOOKS       11u

static uint64_t word_count(const struct user_filter *filter)
{
    return filter->bits / 64;
}

int user_filter_init(struct user_filter *filter, uint64_t users_max, uint64_t seed)
{
    memset(filter, 0, sizeof *filter);
    filter->bits = (users_max * BITS_A_USER + 63) / 64 * 64;
    filter->seed = seed;
    filter->users_max = users_max;
    /* The memory of a large filter comes from the kernel as zero pages, which cost nothing until they are written. */
    filter->words = calloc(word_count(filter), sizeof *filter->words);
    return filter->words != NULL ? 0 : PERMTAB_E_MEMORY;
}

void user_filter_fini(struct user_filter *filter)
{
    free(filter->words);
    memset(filter, 0, sizeof *filter);
}

void user_filter_clear(struct user_filter *filter)
{
    memset(filter->words, 0, word_count(filter) * sizeof *filter->words);
    filter->users = 0;
}

/* The bit of the look at `step`, of 2^64. */
static uint64_t place_of(const struct user_filter *filter, uint64_t step)
{
    return (uint64_t)((unsigned __int128)step * filter->bits >> 64);
}

void user_filter_add(struct user_filter *filter, uint64_t user)
{
    XXH128_hash_t hash = XXH3_128bits_withSeed(&user, sizeof user, filter->seed);
    bool fresh = false;
    for (unsigned look = 0; look < LOOKS; look++) {
        uint64_t place = place_of(filter, hash.low64 + look * hash.high64);
        uint64_t bit = 1ull << (place % 64);
        fresh = fresh || (filter->words[place / 64] & bit) == 0;
        filter->words[place / 64] |= bit;
    }
    filter->users += fresh;
}

bool user_filter_has(const struct user_filter *filter, uint64_t user)
{
    XXH128_hash_t hash = XXH3_128bits_withSeed(&user, sizeof user, filter->seed);
    for (unsigned look = 0; look < LOOKS; look++) {
        uint64_t place = place_of(filter, hash.low64 + look * hash.high64);
        if ((filter->words[place / 64] >> (place % 64) & 1) == 0)
            return false;
    }
    return true;
}

bool user_filter_overfull(const struct user_filter *filter)
{
    return filter->users > filter->users_max;
}
