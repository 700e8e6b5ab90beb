/* A short list, walked whole: messages of one poll interval, not of a day. A said concerns the same facts as a
 * change of the same user or scope would in the history. */
#include "proxy/table/heard.h"

void heard_add(struct heard *heard, const struct heard_change *said)
{
    if (heard->count == HEARD_MAX) {
        heard->overflowed = true;
        heard->overflowed_ns = said->heard_ns;
        return;
    }
    heard->items[heard->count++] = *said;
}

void heard_settle(struct heard *heard, uint64_t begun_ns)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < heard->count; i++)
        if (heard->items[i].heard_ns >= begun_ns)
            heard->items[kept++] = heard->items[i];
    heard->count = kept;
    if (heard->overflowed && heard->overflowed_ns < begun_ns)
        heard->overflowed = false;
}

static bool concerns(const struct heard_change *said, const struct facts *facts)
{
    if (!said->of_scope)
        return said->user == facts->user;
    for (uint32_t level = 0; level < facts->chain_count; level++)
        if (scope_equal(facts->chain[level].key, said->scope))
            return true;
    return facts->chain_count == 0; /* some scope was missing, perhaps this one */
}

bool heard_outdates(const struct heard *heard, const struct facts *facts)
{
    if (heard->overflowed)
        return true;
    for (uint32_t i = 0; i < heard->count; i++)
        if (heard->items[i].revision > facts->revision && concerns(&heard->items[i], facts))
            return true;
    return false;
}
