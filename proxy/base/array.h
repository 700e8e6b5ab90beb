/* Arrays that double: full at 0, 4, 8, 16 … items, so that they need no capacity beside their count. A count that
 * went down is fine; an array of another origin is not. */
#ifndef PERMTAB_BASE_ARRAY_H
#define PERMTAB_BASE_ARRAY_H

#include <stddef.h>

/* A zeroed new last item, or NULL: memory is short, and nothing has changed. `items` is the address of the pointer
 * to the first item; the caller frees that. */
void *array_add(void *items, size_t *count, size_t item_size);

#endif
