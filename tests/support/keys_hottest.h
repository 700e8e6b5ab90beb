/* The hottest keys in one piece, as only tests may read them. */
#ifndef PERMTAB_TESTS_SUPPORT_KEYS_HOTTEST_H
#define PERMTAB_TESTS_SUPPORT_KEYS_HOTTEST_H

#include "proxy/keys/keys.h"

#include <stdlib.h>
#include <string.h>

/* At most `max` of them, the most frequent class first. */
static inline size_t keys_hottest(struct keys *keys, uint32_t types, struct hot_key *out, size_t max)
{
    struct keys_reading *reading;
    size_t count;
    if (keys_reading_new(&reading, keys, types) < 0)
        abort();
    while (keys_reading_slice(reading, UINT32_MAX))
        ;
    struct hot_key *hot = keys_reading_take(reading, &count);
    if (count > max)
        count = max;
    memcpy(out, hot, count * sizeof *hot);
    free(hot);
    return count;
}

#endif
