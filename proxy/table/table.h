/* The table with the publisher's private indexes over it. One a segment; a rebuild makes another. Used by the files
 * of this room alone. */
#ifndef PERMTAB_TABLE_TABLE_H
#define PERMTAB_TABLE_TABLE_H

#include "proxy/table/entries.h"
#include "proxy/table/folding.h"
#include "proxy/table/ghosts.h"
#include "proxy/table/grow.h"
#include "proxy/table/publisher.h"
#include "proxy/table/scope_tree.h"
#include "proxy/table/set_table.h"

struct table {
    struct publisher_options options;
    struct segment segment;
    struct map map;
    struct entries entries;
    struct scope_tree scopes;
    struct set_table sets;
    struct folding folding;
    struct ghosts ghosts; /* of positive entries */
    uint64_t entries_max;
    uint64_t negatives_max; /* how many may stay when others need the room */
    uint64_t rest_ns;       /* quarantine: longer than any lease */
    uint32_t sweep;         /* next slot to look at for entries of abandoned sets */
    bool handed_out;        /* clients may have it mapped */
};

int table_new(struct table **out, const struct publisher_options *options,
              uint64_t store_id) PERMTAB_MUST_CHECK;
void table_free(struct table *table);

/* Puts the entry, or gives it another set; makes room when it must. Holds the set. False when there is no room.
 * `made_room`: NULL, or to be added to. */
struct made_room {
    uint64_t evicted;  /* entries that have made room */
    uint64_t returned; /* about: whether this one had, not long before */
    bool added;        /* there was no entry of the key, and now there is */
};
bool table_put(struct table *table, uint64_t user, struct scope_node *node, uint32_t set,
               enum entry_kind kind, uint64_t now_ns, struct made_room *made_room);
/* Likewise, but no other entry goes for it: false when one would have to. */
bool table_put_beside(struct table *table, uint64_t user, struct scope_node *node, uint32_t set,
                      enum entry_kind kind, uint64_t now_ns, struct made_room *made_room);
/* table_put_beside for a key that is not in the table. */
bool table_add_beside(struct table *table, uint64_t user, struct scope_node *node, uint32_t set,
                      enum entry_kind kind, uint64_t now_ns, struct made_room *made_room);
/* Clears the entry in `slot`. `prune`: forgets its scope, too, when that was the last entry there. */
void table_clear(struct table *table, uint32_t slot, uint64_t now_ns, bool prune);

/* Each of the two returns how many entries it cleared. */
uint64_t table_retire_user(struct table *table, uint64_t user, uint64_t now_ns);
/* Retires everything at and below the scope, folds included; the scopes are forgotten. */
uint64_t table_retire_scope(struct table *table, struct scope_key scope, uint64_t now_ns);
/* table_retire_scope in slices: takes one off *work for each entry and each scope, and stops at 0; adds to
 * *retired. True while something is left. The tree itself is the state, because it has lost everything that was
 * retired: so anything may happen between two slices. When it returns false, nothing is left at or below the scope,
 * entries filled meanwhile included. */
bool table_retire_scope_slice(struct table *table, struct scope_key scope, uint64_t now_ns, uint64_t *work,
                              uint64_t *retired);
/* Clears entries of abandoned sets, looking at no more than `slots` slots from where it stopped. */
uint64_t table_sweep(struct table *table, uint32_t slots, uint64_t now_ns);
/* How many entries there are. */
uint64_t table_entries(const struct table *table);

#endif
