/* xoshiro256**, and splitmix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014)
 * to make a state of one number, as the authors of the former recommend: a state must not be all zero. */
#include "proxy/base/random.h"

#include <sys/random.h>

static uint64_t splitmix(uint64_t *seed)
{
    uint64_t mixed = *seed += 0x9e3779b97f4a7c15ull;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9ull;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebull;
    return mixed ^ (mixed >> 31);
}

void random_source_seed(struct random_source *source, uint64_t seed)
{
    for (unsigned i = 0; i < 4; i++)
        source->state[i] = splitmix(&seed);
}

int random_bytes(void *out, size_t size)
{
    /* getrandom(2) gives so few bytes whole and is not interrupted. */
    return getrandom(out, size, 0) == (ssize_t)size ? 0 : PERMTAB_E_SYSTEM;
}

int random_id(uint64_t *out)
{
    int code = random_bytes(out, sizeof *out);
    return code == 0 && *out == 0 ? PERMTAB_E_SYSTEM : code;
}

int random_source_init(struct random_source *source)
{
    uint64_t seed;
    int code = random_bytes(&seed, sizeof seed);
    if (code == 0)
        random_source_seed(source, seed);
    return code;
}

static uint64_t rotated(uint64_t word, unsigned by)
{
    return word << by | word >> (64 - by);
}

uint64_t random_source_next(struct random_source *source)
{
    uint64_t *state = source->state;
    uint64_t next = rotated(state[1] * 5, 7) * 9;
    uint64_t shifted = state[1] << 17;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= shifted;
    state[3] = rotated(state[3], 45);
    return next;
}
