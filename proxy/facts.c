/* Facts: their memory, and the one question about them that both the resolver and its explanation ask.
 * Reading them is the store's business. */
#include "proxy/facts.h"

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

bool facts_well_placed(const struct facts *facts, const struct facts_assignment *assignment,
                       const struct role *definition)
{
    for (uint32_t level = 0; definition != NULL && level <= assignment->level; level++)
        if (scope_equal(facts->chain[level].key, definition->scope))
            return true;
    return false;
}
