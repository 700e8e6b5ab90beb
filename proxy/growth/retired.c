/* A short list: a table comes into it for each growth and rebuild, and leaves it with its last client. */
#include "proxy/growth/retired.h"

#include "proxy/growth/look.h"
#include "proxy/table/grow.h"
#include "proxy/table/workshop.h"

#include <stdlib.h>
#include <string.h>

void retired_add(struct retired *retired, struct table *table)
{
    struct table **tables = realloc(retired->tables, (retired->count + 1) * sizeof(struct table *));
    if (tables == NULL) {
        workshop_free_table(retired->workshop, table);
        return;
    }
    retired->tables = tables;
    retired->tables[retired->count++] = table;
}

static void drop(struct retired *retired, const struct table *table)
{
    for (size_t i = 0; i < retired->count; i++) {
        if (retired->tables[i] == table) {
            workshop_free_table(retired->workshop, retired->tables[i]);
            retired->count--;
            memmove(&retired->tables[i], &retired->tables[i + 1],
                    (retired->count - i) * sizeof(struct table *));
            return;
        }
    }
}

void retired_heed(struct retired *retired, const struct look_result *result)
{
    for (size_t i = 0; i < result->count; i++)
        if (!result->held[i])
            drop(retired, result->tables[i]);
}

uint64_t retired_bytes(const struct retired *retired)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < retired->count; i++)
        bytes += table_segment(retired->tables[i])->size;
    return bytes;
}

void retired_fini(struct retired *retired)
{
    for (size_t i = 0; i < retired->count; i++)
        workshop_free_table(retired->workshop, retired->tables[i]);
    free(retired->tables);
    *retired = (struct retired){0};
}
