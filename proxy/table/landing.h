/* Landing: where the entries of a place are put in one table: at its own scope, or, when it is folded, at the one that
 * it answers as. What fill.c and fill_many.c share, too. Private to the publisher. */
#ifndef PERMTAB_TABLE_LANDING_H
#define PERMTAB_TABLE_LANDING_H

#include "proxy/table/private.h"

struct landing {
    struct table *table;
    struct scope_node *node;   /* of the place; pinned */
    struct scope_node *target; /* of the entries */
};

/* Finds or makes the nodes of the facts' chain, and folds or unfolds the place. Until landing_end nothing else may
 * touch the table. PERMTAB_E_MEMORY: nothing was begun. */
int landing_begin(struct landing *landing, struct table *table, const struct facts *facts,
                  uint64_t now_ns) PERMTAB_MUST_CHECK;
/* Whether the user has an entry there. */
bool landing_has(const struct landing *landing, uint64_t user);
/* Puts an entry of facts->user, and counts it when it is in the table that clients are handed. Facts that nobody has
 * asked for displace none. Whether there was room. */
bool landing_put(const struct landing *landing, struct publisher *publisher, const struct facts *facts, uint32_t set,
                 uint64_t now_ns);
/* The same for a user who has no entry there, and for whom nobody has asked. */
bool landing_add(const struct landing *landing, struct publisher *publisher, const struct facts *facts, uint32_t set,
                 uint64_t now_ns);
/* Forgets the nodes that hold nothing. */
void landing_end(struct landing *landing);

/* ---- parts of a fill (fill.c) ------------------------------------------------------------------------------------ */

/* Whether the facts may be published now: PUBLISHER_FILLED. */
enum publisher_outcome fill_fence(struct publisher *publisher, struct facts *facts, uint64_t now_ns);
/* The time at which ends of assignments are judged. */
int64_t fill_judged_at(const struct publisher *publisher, const struct facts *facts);
/* Builds the inputs with the definitions of one table, and watches there what they leave out. */
int fill_build(struct facts *facts, int64_t now, struct role_sources *sources, struct inputs *inputs,
               size_t *misplaced) PERMTAB_MUST_CHECK;
/* The set of the inputs; 0: none is free, or there is no memory. */
uint32_t fill_intern(struct publisher *publisher, struct inputs *inputs, struct role_sources *sources,
                     uint64_t now_ns);

#endif
