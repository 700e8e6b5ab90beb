/* Folds: a scope with nothing of its own answers as its nearest ancestor that has something. Private to the
 * publisher; keeps the fold map, the fold targets and the scope tree's counts in step. */
#ifndef PERMTAB_TABLE_FOLDING_H
#define PERMTAB_TABLE_FOLDING_H

#include "proxy/table/scope_tree.h"
#include "shm/map.h"
#include "shm/pool.h"
#include "shm/segment.h"

struct folding {
    struct segment *segment;
    struct map map;
    struct index_pool indices;   /* of fold targets */
    struct fold_target *targets; /* by index */
    uint32_t folds;
    uint64_t rest_ns;
};

struct fold_target {
    struct scope_node *node;
    uint32_t folds; /* folds that name it */
};

int folding_init(struct folding *folding, struct segment *segment, uint64_t rest_ns) PERMTAB_MUST_CHECK;
void folding_fini(struct folding *folding);

/* Folds `node` into its ancestor `target`. Does nothing when `node` is folded already, or when there is no room: a
 * fold saves entries and is never needed. */
void folding_fold(struct folding *folding, struct scope_node *node, struct scope_node *target,
                  uint64_t now_ns);
/* Takes the fold of one scope away, if it has one. */
void folding_unfold(struct folding *folding, struct scope_node *node, uint64_t now_ns);
/* Takes away every fold that relies on `node` being plain: its own, and those of scopes below it that answer as
 * something above it. */
void folding_unfold_through(struct folding *folding, struct scope_node *node, uint64_t now_ns);

#endif
