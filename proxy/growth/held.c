/* smaps: a line "begin-end perms offset device inode path" for each mapping, then lines "Rss: 4 kB". One mapping of
 * ours may be several of the kernel's. */
#include "proxy/growth/held.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static struct held_mapping *mapping_at(struct held_mapping *mappings, size_t count, uintptr_t address)
{
    for (size_t i = 0; i < count; i++)
        if (address >= mappings[i].begin && address < mappings[i].end)
            return &mappings[i];
    return NULL;
}

void held_look(FILE *smaps, struct held_mapping *mappings, size_t count)
{
    struct held_mapping *mapping = NULL;
    char *line = NULL;
    size_t size = 0;
    uint64_t rss = 0, number;
    uintptr_t begin, end;
    while (getline(&line, &size, smaps) > 0) {
        if (sscanf(line, "Rss: %" SCNu64, &number) == 1) {
            rss = number;
        } else if (mapping != NULL && sscanf(line, "Pss: %" SCNu64, &number) == 1) {
            mapping->looked = true;
            mapping->held = mapping->held || number < rss;
        } else if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &begin, &end) == 2) {
            mapping = mapping_at(mappings, count, begin);
        }
    }
    free(line);
}
