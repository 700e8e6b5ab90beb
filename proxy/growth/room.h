/* How far the table may grow. Pure. Two limits, each for what it is about:
 *
 *   - table_memory_max for shared memory. Both segments count while there are two, and so do retired segments that
 *     clients still hold.
 *   - the memory that the cgroup and the machine have left, for all that another table takes, its private indexes
 *     included. What is in use there already includes everything else.
 *
 * A step that does not fit is made smaller until it does; one that would be hardly worth it is not made at all. */
#ifndef PERMTAB_GROWTH_ROOM_H
#define PERMTAB_GROWTH_ROOM_H

#include <stdint.h>

struct growth_room {
    uint64_t memory_max, shared; /* table_memory_max, and what tables and retired segments take of it */
    uint64_t cgroup, machine;    /* bytes left there; UINT64_MAX: no limit */
};

/* What stops the table from growing. */
enum growth_bound {
    GROWTH_FREE,
    GROWTH_BOUND_MEMORY_MAX,
    GROWTH_BOUND_CGROUP,
    GROWTH_BOUND_MACHINE,
    GROWTH_BOUND_LAYOUT, /* a segment has room for no more */
};
const char *growth_bound_text(enum growth_bound bound);

/* Bytes that a table of so many entries would take. shared = 0: no table of this size can be laid out. */
struct growth_cost {
    uint64_t shared, private;
};
typedef struct growth_cost (*growth_cost_fn)(const void *context, uint64_t entries);

/* The capacity of the next table: `wanted`, or as much of it as fits; 0 when that is less than a quarter more than
 * `capacity`. *bound: what made it less than wanted. */
uint64_t growth_fit(const struct growth_room *room, uint64_t capacity, uint64_t wanted, growth_cost_fn cost,
                    const void *context, enum growth_bound *bound);

#endif
