/* Lists of rows as sets: sorted arrays. All six numbers are compared whatever the table, because unused ones are 0. */
#include "proxy/document/rows.h"

#include "proxy/base/array.h"

#include <stdlib.h>

void rows_fini(struct row_list *list)
{
    free(list->items);
    *list = (struct row_list){0};
}

int rows_add(struct row_list *list, struct row row)
{
    struct row *added = array_add(&list->items, &list->count, sizeof *added);
    if (added == NULL)
        return PERMTAB_E_MEMORY;
    *added = row;
    return 0;
}

int row_compare(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    for (size_t i = 0; i < ROW_WIDTH; i++)
        if (x->v[i] != y->v[i])
            return x->v[i] < y->v[i] ? -1 : 1;
    return 0;
}

void rows_sort(struct row_list *list)
{
    size_t kept = 0;
    if (list->count < 2)
        return;
    qsort(list->items, list->count, sizeof *list->items, row_compare);
    for (size_t i = 1; i < list->count; i++)
        if (row_compare(&list->items[kept], &list->items[i]) != 0)
            list->items[++kept] = list->items[i];
    list->count = kept + 1;
}

int rows_subtract(struct row_list *list, struct row_list *other, struct row_list *out)
{
    size_t j = 0;
    rows_sort(list);
    rows_sort(other);
    for (size_t i = 0; i < list->count; i++) {
        while (j < other->count && row_compare(&other->items[j], &list->items[i]) < 0)
            j++;
        if (j < other->count && row_compare(&other->items[j], &list->items[i]) == 0)
            continue;
        int code = rows_add(out, list->items[i]);
        if (code < 0)
            return code;
    }
    return 0;
}
