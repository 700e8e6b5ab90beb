/* Lists of changes. */
#include "proxy/rights/change.h"

#include "proxy/base/array.h"

#include <stdlib.h>
#include <string.h>

void change_list_fini(struct change_list *list)
{
    free(list->items);
    memset(list, 0, sizeof(*list));
}

struct change *change_list_add(struct change_list *list)
{
    return array_add(&list->items, &list->count, sizeof *list->items);
}
