/* The scopes that have entries or folds, and those above them, as a tree. Private to the publisher. A scope that
 * holds nothing any more has no node. */
#ifndef PERMTAB_TABLE_SCOPE_TREE_H
#define PERMTAB_TABLE_SCOPE_TREE_H

#include "proxy/names/scope.h"

#include "shm/error.h"

#include <stddef.h>

#define NO_ENTRY UINT32_MAX

struct scope_node {
    struct scope_key key;
    struct scope_node *parent;          /* NULL for global, and for a scope that is not in the store */
    struct scope_node *child;           /* first */
    struct scope_node *next, *previous; /* siblings */
    uint32_t entries;                   /* slot of the first entry at exactly this scope, or NO_ENTRY */
    uint32_t fold_slot;                 /* in the fold map, or NO_ENTRY */
    struct scope_node *fold_target;     /* the ancestor this scope answers as, when folded */
    uint32_t folds_through;             /* folds, its own included, that rely on this scope being plain */
    uint32_t pins;                      /* > 0: not to be forgotten now, though the node may hold nothing */
    uint32_t target_index;              /* as a target of folds, or 0 */
    struct scope_node *next_of_bucket;
};

struct scope_tree {
    struct scope_node **buckets; /* by key */
    size_t
        bucket_count; /* a power of two; never changes, so that no turn of the loop has to move all nodes */
    size_t count;     /* of nodes */
    uint64_t seed;    /* private: anybody may ask for scopes that are not there, and so choose keys */
};

/* For about so many scopes; more merely take longer to find. PERMTAB_E_MEMORY, _SYSTEM. */
int scope_tree_init(struct scope_tree *tree, uint64_t scopes) PERMTAB_MUST_CHECK;

struct scope_node *scope_tree_find(const struct scope_tree *tree, struct scope_key key);
/* Finds or makes the node, and hangs it under `parent` (NULL: under nothing). NULL when memory is short. */
struct scope_node *scope_tree_put(struct scope_tree *tree, struct scope_key key, struct scope_node *parent);
/* Frees the node, then its ancestors, as long as each holds nothing: no entries, no fold, no children. */
void scope_tree_prune(struct scope_tree *tree, struct scope_node *node);
/* Frees this node alone, which must hold nothing. */
void scope_tree_forget(struct scope_tree *tree, struct scope_node *node);
void scope_tree_fini(struct scope_tree *tree);

/* Walk the subtree of `top`, `top` included, children before their parents. Start with scope_walk_first; ask for
 * the next node before the present one is freed. */
struct scope_node *scope_walk_first(struct scope_node *top);
struct scope_node *scope_walk_next(struct scope_node *top, struct scope_node *node);

#endif
