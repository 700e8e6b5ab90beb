/* The one growing array. array_add reads and writes the caller's pointer by memcpy, because a void ** to a pointer
 * of another type would break the aliasing rules. */
#include "proxy/base/array.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define FIRST 4 /* a power of two; most arrays are short */

static bool is_full(size_t count)
{
    return count == 0 || (count >= FIRST && (count & (count - 1)) == 0);
}

void *array_add(void *items, size_t *count, size_t item_size)
{
    char *first;
    memcpy(&first, items, sizeof first);
    if (is_full(*count)) {
        bool fits = *count <= SIZE_MAX / 2 / item_size;
        void *grown = fits ? realloc(first, (*count ? *count * 2 : FIRST) * item_size) : NULL;
        if (!grown)
            return NULL;
        first = grown;
        memcpy(items, &first, sizeof first);
    }
    return memset(first + (*count)++ * item_size, 0, item_size);
}
