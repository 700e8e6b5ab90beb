/* One array of fingerprints, addressed by the key's hash: a newer ghost takes the place of an older one. Three
 * stretches of the hash decide whether a key is remembered, where, and as what, so they say nothing of each other. A
 * fingerprint that two keys share counts one return too many, once in 2^31. */
#include "proxy/table/ghosts.h"

#include "shm/reader.h"

#include <stdlib.h>

#define WEIGHT_MAX 65536u

int ghosts_init(struct ghosts *ghosts, uint64_t entries, uint64_t seed)
{
    *ghosts = (struct ghosts){.count = 1024, .weight = 1, .seed = seed};
    while (ghosts->count < GHOSTS_MAX && ghosts->count < GHOSTS_REACH * entries)
        ghosts->count *= 2;
    while (ghosts->weight < WEIGHT_MAX && (uint64_t)ghosts->count * ghosts->weight < GHOSTS_REACH * entries)
        ghosts->weight *= 2;
    ghosts->marks = calloc(ghosts->count, sizeof *ghosts->marks);
    return ghosts->marks != NULL ? 0 : PERMTAB_E_MEMORY;
}

void ghosts_fini(struct ghosts *ghosts)
{
    free(ghosts->marks);
    ghosts->marks = NULL;
}

/* The place of the key's ghost; NULL when its like is not remembered. */
static uint32_t *place(const struct ghosts *ghosts, struct map_key key, uint32_t *mark)
{
    uint64_t hash = permtab_shm_hash(ghosts->seed, key.key0, key.key1, key.type);
    *mark = (uint32_t)(hash >> 32) | 1u;
    return (hash & (ghosts->weight - 1u)) == 0 ? &ghosts->marks[hash >> 16 & (ghosts->count - 1u)] : NULL;
}

void ghosts_note(struct ghosts *ghosts, struct map_key key)
{
    uint32_t mark, *at = place(ghosts, key, &mark);
    if (at != NULL)
        *at = mark;
}

uint32_t ghosts_take(struct ghosts *ghosts, struct map_key key)
{
    uint32_t mark, *at = place(ghosts, key, &mark);
    if (at == NULL || *at != mark)
        return 0;
    *at = 0;
    return ghosts->weight;
}
