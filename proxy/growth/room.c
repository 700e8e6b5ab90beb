/* The largest table that fits, by bisection: what a table takes is known by a function of its entries alone. */
#include "proxy/growth/room.h"

#include <stdbool.h>

const char *growth_bound_text(enum growth_bound bound)
{
    switch (bound) {
    case GROWTH_FREE:
        return "";
    case GROWTH_BOUND_MEMORY_MAX:
        return "table_memory_max";
    case GROWTH_BOUND_CGROUP:
        return "the memory limit of its cgroup";
    case GROWTH_BOUND_MACHINE:
        return "the memory that is left on this machine";
    case GROWTH_BOUND_LAYOUT:
        return "the most that a segment has room for";
    }
    return "";
}

static enum growth_bound bound_of(const struct growth_room *room, struct growth_cost cost)
{
    if (cost.shared == 0)
        return GROWTH_BOUND_LAYOUT;
    if (room->shared >= room->memory_max || cost.shared > room->memory_max - room->shared)
        return GROWTH_BOUND_MEMORY_MAX;
    if (cost.shared + cost.private > room->cgroup)
        return GROWTH_BOUND_CGROUP;
    if (cost.shared + cost.private > room->machine)
        return GROWTH_BOUND_MACHINE;
    return GROWTH_FREE;
}

uint64_t growth_fit(const struct growth_room *room, uint64_t capacity, uint64_t wanted, growth_cost_fn cost,
                    const void *context, enum growth_bound *bound)
{
    *bound = bound_of(room, cost(context, wanted));
    if (*bound == GROWTH_FREE)
        return wanted;
    uint64_t fits = capacity, too_many = wanted;
    while (too_many > fits + 1) {
        uint64_t middle = fits + (too_many - fits) / 2;
        if (bound_of(room, cost(context, middle)) == GROWTH_FREE)
            fits = middle;
        else
            too_many = middle;
    }
    return fits > capacity && fits - capacity >= capacity / 4 ? fits : 0;
}
