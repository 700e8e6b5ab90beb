/* The private hash table: what a worker would have without sharing, at the same load as permtab's map, by huge pages
 * where the segment is. It is not kept true by anybody. Also the sets of all rivals. */
#include "tests/bench/measure.h"
#include "tests/bench/rivals.h"

#include <stdlib.h>

void rival_sets_init(struct rival_sets *sets, uint32_t count)
{
    sets->count = count;
    sets->bits = bench_huge_memory(((size_t)count + 1) * RIVAL_SET_WORDS * sizeof *sets->bits);
    for (uint32_t set = 1; set <= count; set++)
        sets->bits[(size_t)set * RIVAL_SET_WORDS] = question_bits(set);
}

void rival_sets_fini(struct rival_sets *sets)
{
    free(sets->bits);
}

static void put(struct rival_hash *hash, uint64_t user)
{
    uint64_t scope = question_scope(user);
    uint64_t at = rival_hash_home(hash, user, scope, QUESTION_TYPE);
    while (hash->slots[at].set != 0)
        at = at + 1 < hash->capacity ? at + 1 : 0;
    hash->slots[at] = (struct rival_slot){
        .user = user, .scope = scope, .type = QUESTION_TYPE, .set = question_set(user, hash->sets->count)};
}

void rival_hash_init(struct rival_hash *hash, uint64_t entries, const struct rival_sets *sets, bool huge)
{
    hash->sets = sets;
    hash->capacity = entries * 10 / 7 + 1;
    size_t size = hash->capacity * sizeof *hash->slots;
    hash->slots = huge ? bench_huge_memory(size) : bench_memory(size);
    for (uint64_t index = 0; index < entries; index++)
        put(hash, question_user(index));
}

void rival_hash_fini(struct rival_hash *hash)
{
    free(hash->slots);
}
