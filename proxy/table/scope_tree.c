/* The tree of known scopes. Links are made when an entry or a fold is published, from the chain that the store
 * gave; a scope whose place in the tree changes is first taken out with everything below it, so links are never
 * stale. */
#include "proxy/table/scope_tree.h"

#include <assert.h>
#include <stdlib.h>

struct scope_node *scope_tree_find(const struct scope_tree *tree, struct scope_key key)
{
    struct scope_node *node;
    uint64_t bytes[2] = {key.id, key.type};
    HASH_FIND(hh, tree->nodes, bytes, sizeof bytes, node);
    return node;
}

static void hang_under(struct scope_node *node, struct scope_node *parent)
{
    node->parent = parent;
    node->previous = NULL;
    node->next = parent->child;
    if (parent->child != NULL)
        parent->child->previous = node;
    parent->child = node;
}

static void unhang(struct scope_node *node)
{
    if (node->parent == NULL)
        return;
    if (node->previous != NULL)
        node->previous->next = node->next;
    else
        node->parent->child = node->next;
    if (node->next != NULL)
        node->next->previous = node->previous;
    node->parent = NULL;
}

struct scope_node *scope_tree_put(struct scope_tree *tree, struct scope_key key, struct scope_node *parent)
{
    struct scope_node *node = scope_tree_find(tree, key);
    if (node != NULL) {
        assert(node->parent == parent);
        return node;
    }
    node = calloc(1, sizeof *node);
    if (node == NULL)
        return NULL;
    node->key = key;
    node->hash_key[0] = key.id;
    node->hash_key[1] = key.type;
    node->entries = NO_ENTRY;
    node->fold_slot = NO_ENTRY;
    HASH_ADD(hh, tree->nodes, hash_key, sizeof node->hash_key, node);
    if (!HASH_ADDED(node)) {
        free(node);
        return NULL;
    }
    if (parent != NULL)
        hang_under(node, parent);
    return node;
}

static bool holds_nothing(const struct scope_node *node)
{
    return node->entries == NO_ENTRY && node->fold_slot == NO_ENTRY && node->child == NULL && node->pins == 0;
}

void scope_tree_forget(struct scope_tree *tree, struct scope_node *node)
{
    assert(holds_nothing(node));
    unhang(node);
    HASH_DEL(tree->nodes, node);
    free(node);
}

void scope_tree_prune(struct scope_tree *tree, struct scope_node *node)
{
    while (node != NULL && holds_nothing(node)) {
        struct scope_node *parent = node->parent;
        scope_tree_forget(tree, node);
        node = parent;
    }
}

void scope_tree_fini(struct scope_tree *tree)
{
    struct scope_node *node, *next;
    HASH_ITER(hh, tree->nodes, node, next)
    {
        HASH_DEL(tree->nodes, node);
        free(node);
    }
}

static struct scope_node *deepest_first(struct scope_node *node)
{
    while (node->child != NULL)
        node = node->child;
    return node;
}

struct scope_node *scope_walk_first(struct scope_node *top)
{
    return deepest_first(top);
}

struct scope_node *scope_walk_next(struct scope_node *top, struct scope_node *node)
{
    if (node == top)
        return NULL;
    if (node->next != NULL)
        return deepest_first(node->next);
    return node->parent;
}
