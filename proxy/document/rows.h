/* Rows of the tables that are all key (a role's permissions and parents, overwrites, requirements), as a few
 * numbers each, so that wanted and stored rows can be compared for every table in one way. Pure. */
#ifndef PERMTAB_DOCUMENT_ROWS_H
#define PERMTAB_DOCUMENT_ROWS_H

#include "shm/error.h"

#include <stddef.h>
#include <stdint.h>

#define ROW_WIDTH 6

struct row {
    uint64_t v[ROW_WIDTH]; /* unused ones are 0 */
};

struct row_list {
    struct row *items;
    size_t count;
};

void rows_fini(struct row_list *list);
int rows_add(struct row_list *list, struct row row) PERMTAB_MUST_CHECK;
int row_compare(const void *a, const void *b);
/* Sorts, and drops duplicates. */
void rows_sort(struct row_list *list);
/* Sorts both; appends to `out` the rows that are in `list` and not in `other`. */
int rows_subtract(struct row_list *list, struct row_list *other, struct row_list *out) PERMTAB_MUST_CHECK;

#endif
