/* Facts: their memory, and the one question about them that both the resolver and its explanation ask. The store
 * reads them. */
#include "proxy/rights/facts.h"

#include <stdlib.h>
#include <string.h>

void facts_fini(struct facts *facts)
{
    role_list_fini(&facts->roles);
    free(facts->overwrites);
    free(facts->defaults);
    free(facts->assignments);
    memset(facts, 0, sizeof *facts);
}

static void *copy_rows(const void *rows, size_t size, bool *failed)
{
    void *copy = size > 0 ? malloc(size) : NULL;
    if (copy != NULL)
        memcpy(copy, rows, size);
    *failed = *failed || (size > 0 && copy == NULL);
    return copy;
}

int facts_copy(struct facts *out, const struct facts *from)
{
    bool failed = false;
    *out = *from;
    memset(&out->roles, 0, sizeof out->roles);
    out->assignments =
        copy_rows(from->assignments, from->assignment_count * sizeof *from->assignments, &failed);
    out->defaults = copy_rows(from->defaults, from->default_count * sizeof *from->defaults, &failed);
    out->overwrites = copy_rows(from->overwrites, from->overwrite_count * sizeof *from->overwrites, &failed);
    for (size_t i = 0; !failed && i < from->roles.count; i++) {
        struct role *role = role_list_add(&out->roles);
        failed = role == NULL;
        if (!failed && role_copy(role, &from->roles.items[i]) < 0) {
            out->roles.count--; /* role_copy has cleaned up after itself */
            failed = true;
        }
    }
    if (!failed)
        return 0;
    facts_fini(out);
    return PERMTAB_E_MEMORY;
}

bool facts_name_no_user(const struct facts *facts)
{
    for (size_t i = 0; i < facts->overwrite_count; i++)
        if (facts->overwrites[i].subject == OVERWRITE_USER)
            return false;
    return facts->assignment_count == 0;
}

size_t facts_size(const struct facts *facts)
{
    size_t size = sizeof *facts + facts->assignment_count * sizeof *facts->assignments +
                  facts->default_count * sizeof *facts->defaults +
                  facts->overwrite_count * sizeof *facts->overwrites +
                  facts->roles.count * sizeof *facts->roles.items;
    for (size_t i = 0; i < facts->roles.count; i++) {
        const struct role *role = &facts->roles.items[i];
        size += role->parent_count * sizeof *role->parents + role->grant_count * sizeof *role->grants +
                (role->name != NULL ? strlen(role->name) + 1 : 0);
    }
    return size;
}

bool facts_well_placed(const struct facts *facts, const struct facts_assignment *assignment,
                       const struct role *definition)
{
    for (uint32_t level = 0; definition != NULL && level <= assignment->level; level++)
        if (scope_equal(facts->chain[level].key, definition->scope))
            return true;
    return false;
}
