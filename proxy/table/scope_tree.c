/* The tree of known scopes. Links are made when an entry or a fold is published, from the chain that the store
 * gave; a scope whose place in the tree changes is first taken out with everything below it, so links are never
 * stale. */
#include "proxy/table/scope_tree.h"

#include "proxy/base/random.h"
#include "shm/pages.h"
#include "shm/reader.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS_MAX ((size_t)1 << 24)

int scope_tree_init(struct scope_tree *tree, uint64_t scopes)
{
    *tree = (struct scope_tree){.bucket_count = 64};
    while (tree->bucket_count < scopes && tree->bucket_count < BUCKETS_MAX)
        tree->bucket_count *= 2;
    if (random_bytes(&tree->seed, sizeof tree->seed) < 0)
        return PERMTAB_E_SYSTEM;
    tree->buckets = pages_new(tree->bucket_count, sizeof *tree->buckets);
    return tree->buckets != NULL ? 0 : PERMTAB_E_MEMORY;
}

static struct scope_node **bucket_of(const struct scope_tree *tree, struct scope_key key)
{
    return &tree->buckets[permtab_shm_hash(tree->seed, key.id, key.id, key.type) & (tree->bucket_count - 1)];
}

struct scope_node *scope_tree_find(const struct scope_tree *tree, struct scope_key key)
{
    struct scope_node *node = *bucket_of(tree, key);
    while (node != NULL && !scope_equal(node->key, key))
        node = node->next_of_bucket;
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
    node->entries = NO_ENTRY;
    node->fold_slot = NO_ENTRY;
    if (parent != NULL)
        hang_under(node, parent);
    struct scope_node **bucket = bucket_of(tree, key);
    node->next_of_bucket = *bucket;
    *bucket = node;
    tree->count++;
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
    struct scope_node **at = bucket_of(tree, node->key);
    while (*at != node)
        at = &(*at)->next_of_bucket;
    *at = node->next_of_bucket;
    tree->count--;
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
    for (size_t i = 0; tree->buckets != NULL && i < tree->bucket_count && tree->count > 0; i++) {
        for (struct scope_node *node = tree->buckets[i], *next; node != NULL; node = next) {
            next = node->next_of_bucket;
            free(node);
            tree->count--;
        }
    }
    pages_free(tree->buckets, tree->bucket_count, sizeof *tree->buckets);
    memset(tree, 0, sizeof *tree);
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
