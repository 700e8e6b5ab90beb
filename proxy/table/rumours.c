/* A short list, walked whole: messages of one poll interval, not of a day. What a rumour is about is judged as widely as the
 * history would judge a change of it. */
#include "proxy/table/rumours.h"

void rumours_add(struct rumours *rumours, const struct rumour *rumour)
{
    if (rumours->count == RUMOURS_MAX) {
        rumours->overflowed = true;
        rumours->overflowed_ns = rumour->heard_ns;
        return;
    }
    rumours->items[rumours->count++] = *rumour;
}

void rumours_settle(struct rumours *rumours, uint64_t begun_ns)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < rumours->count; i++)
        if (rumours->items[i].heard_ns >= begun_ns)
            rumours->items[kept++] = rumours->items[i];
    rumours->count = kept;
    if (rumours->overflowed && rumours->overflowed_ns < begun_ns)
        rumours->overflowed = false;
}

static bool concerns(const struct rumour *rumour, const struct facts *facts)
{
    if (!rumour->of_scope)
        return rumour->user == facts->user;
    for (uint32_t level = 0; level < facts->chain_count; level++)
        if (scope_equal(facts->chain[level].key, rumour->scope))
            return true;
    return facts->chain_count == 0; /* some scope was missing: this may be it */
}

bool rumours_doubt(const struct rumours *rumours, const struct facts *facts)
{
    if (rumours->overflowed)
        return true;
    for (uint32_t i = 0; i < rumours->count; i++)
        if (rumours->items[i].revision > facts->revision && concerns(&rumours->items[i], facts))
            return true;
    return false;
}
