/* The memory of facts. Reading them is the store's business, judging them the resolver's. */
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
