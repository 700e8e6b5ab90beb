/* Tables that were let go. After the seal nobody can give their pages back while a client has the segment mapped, and
 * whoever does so stays unknown: a child of a worker keeps a mapping without a connection. So a segment stays mapped
 * here, without its private indexes, until Pss tells that nobody else has pages of it; what it takes meanwhile counts
 * towards table_memory_max. Unmapping it sooner would free nothing, and hide what is taken. */
#ifndef PERMTAB_GROWTH_RETIRED_H
#define PERMTAB_GROWTH_RETIRED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct look_result;
struct table;
struct workshop;

struct retired {
    struct workshop *workshop; /* frees them */
    struct table **tables;
    size_t count;
};

/* Takes a table that nobody writes any more. Without memory for the list it is freed. */
void retired_add(struct retired *retired, struct table *table);
/* Frees those that a look has found not held. */
void retired_heed(struct retired *retired, const struct look_result *result);
/* Bytes of all of them. */
uint64_t retired_bytes(const struct retired *retired);
/* Hands all of them to the workshop. */
void retired_fini(struct retired *retired);

#endif
