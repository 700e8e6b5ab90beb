/* Lists of changes. */
#include "proxy/rights/change.h"

#include <stdlib.h>
#include <string.h>

void change_list_fini(struct change_list *list)
{
    free(list->items);
    memset(list, 0, sizeof(*list));
}

struct change *change_list_add(struct change_list *list)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 64;
        struct change *items = realloc(list->items, capacity * sizeof(*items));
        if (!items)
            return NULL;
        list->items = items;
        list->capacity = capacity;
    }
    struct change *change = &list->items[list->count++];
    memset(change, 0, sizeof(*change));
    return change;
}
