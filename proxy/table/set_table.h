/* Permission sets by their inputs, and roles by the sets that hold them. Private to the publisher.
 *
 * Equal inputs share a set. Each set knows the closure of its roles, each resident role knows its sets: a role edit
 * touches its sets and nothing else. A set lives as long as entries name it; a role definition as long as
 * sets hold it, or for good once it is watched. */
#ifndef PERMTAB_TABLE_SET_TABLE_H
#define PERMTAB_TABLE_SET_TABLE_H

#include "proxy/base/hash.h"
#include "proxy/rights/resolve.h"
#include "shm/set.h"

struct resident_role;

struct set_record {
    struct inputs inputs;
    uint64_t hash;
    struct resident_role **roles; /* the closure of the inputs' roles */
    size_t role_count;
    uint32_t next;       /* in the hash bucket; 0 ends it */
    uint32_t entries;    /* entries that name the set */
    uint32_t generation; /* of this index, by which a stale link of a role is told */
    bool used;
    /* closed for good: no longer found by its inputs; its entries leave it one by one */
    bool abandoned;
    uint64_t batch; /* number of the last batch that touched it */
};

struct set_link {
    uint32_t set;
    uint32_t generation;
};

struct resident_role {
    uint64_t id;
    bool present; /* false: sets name the role, the store does not have it */
    struct role role;
    struct set_link *links;
    size_t link_count, link_stale;
    /* watched: an assignment of the role was ignored, because the role belongs elsewhere or is not there. No set
     * holds the role for that, and yet an entry must go when it moves, so its definition stays. */
    bool watched;
    struct resident_role *next_watched; /* in set_table.watched; later ones come after earlier ones */
    UT_hash_handle hh;
};

struct set_table {
    struct segment *segment;
    struct set_pool pool;
    struct set_record *records; /* by set index */
    uint32_t *buckets;
    uint32_t bucket_mask;
    struct resident_role *roles; /* uthash by id */
    struct resident_role *watched, *last_watched;
    uint32_t abandoned; /* sets that are closed for good and still named by entries */
};

int set_table_init(struct set_table *table, struct segment *segment) PERMTAB_MUST_CHECK;
void set_table_fini(struct set_table *table);
/* Bytes, without what sets and roles have of their own. */
uint64_t set_table_memory(const struct set_table *table);

/* The sources of role definitions: the resident ones first, then `fresh`, then those resident `beside`, in another
 * table that is true at the same revision (either may be NULL); and a role_find_fn over them. */
struct role_sources {
    struct set_table *table;
    struct role_list *fresh; /* sorted */
    const struct set_table *beside;
};
const struct role *role_sources_find(void *sources, uint64_t role);

/* Keeps the role's definition from now on, whether sets hold it or not. PERMTAB_E_MEMORY. */
int set_table_watch(const struct role_sources *sources, uint64_t role) PERMTAB_MUST_CHECK;
struct resident_role *set_table_role(const struct set_table *table, uint64_t role);

/* The set of these inputs, or 0. */
uint32_t set_table_find(const struct set_table *table, const struct inputs *inputs);
/* The same, with the inputs' hash. */
uint32_t set_table_find_hashed(const struct set_table *table, const struct inputs *inputs, uint64_t hash);
/* Computes, writes and opens a new set, which no entry names yet. Takes the inputs when it succeeds. 0 when no set
 * is free or memory is short. */
uint32_t set_table_add(const struct role_sources *sources, const struct catalogue *catalogue,
                       struct inputs *inputs, uint64_t now_ns);
/* Whether a set is free now. */
bool set_table_has_room(const struct set_table *table, uint64_t now_ns);
/* One more, or one fewer, entry names the set. The last one frees it; it rests until `rest_until_ns`. */
void set_table_hold(struct set_table *table, uint32_t set);
void set_table_drop(struct set_table *table, uint32_t set, uint64_t rest_until_ns);
/* Closes the set for good; fills will make another for the same inputs. */
void set_table_abandon(struct set_table *table, uint32_t set);

/* Whether the set is found by its inputs, and by each of its roles that is in few sets. For the auditor. */
bool set_table_agrees(const struct set_table *table, uint32_t set);

/* Sets whose bits are to be computed again together. */
struct rewrite {
    uint32_t *sets;
    size_t count;
    uint64_t *bits; /* any and own of each, in order */
};
/* Adds the set once. `batch` numbers the batch. PERMTAB_E_MEMORY. */
int rewrite_add(struct rewrite *rewrite, struct set_table *table, uint32_t set,
                uint64_t batch) PERMTAB_MUST_CHECK;
/* Leaves out the sets that were abandoned since they were added. */
void rewrite_forget_abandoned(struct rewrite *rewrite, const struct set_table *table);
/* Computes the bits of all sets aside, with the present definitions. Touches nothing shared. PERMTAB_E_MEMORY. */
int rewrite_compute(struct rewrite *rewrite, struct set_table *table, const struct catalogue *catalogue,
                    struct role_list *fresh) PERMTAB_MUST_CHECK;
/* Makes all sets odd, writes all, makes all even. Returns how many differed. */
size_t rewrite_publish(struct rewrite *rewrite, struct set_table *table);
void rewrite_fini(struct rewrite *rewrite);

#endif
