/* Tarjan's strongly connected components ("Depth-first search and linear graph algorithms", 1972), with a stack of
 * its own instead of recursion: inheritance may be 100,000 deep in a document that means harm. An edge lies on a
 * cycle exactly when both its ends are in one component. */
#include "proxy/document/cycle.h"

#include "proxy/document/place.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define NO_TAG SIZE_MAX

/* An edge: child inherits from parent. One without a tag is not reported. */
struct cycle_edge {
    uint64_t child;
    uint64_t parent;
    size_t tag;
};

/* A role that inherits from something. Others cannot be on a cycle. */
struct node {
    uint64_t id;
    size_t first, end; /* its edges */
    size_t order;      /* of discovery, from 1; 0: not yet */
    size_t low;
    size_t component; /* 0: not yet */
};

struct walk {
    struct node *nodes;
    size_t node_count;
    const struct cycle_edge *edges;
    size_t *frames; /* nodes being visited, innermost last */
    size_t frame_count;
    size_t *next; /* by node: the edge to follow next */
    size_t *open; /* nodes of components not yet closed */
    size_t open_count;
    size_t order, components;
};

static int compare_edges(const void *a, const void *b)
{
    const struct cycle_edge *x = a, *y = b;
    if (x->child != y->child)
        return x->child < y->child ? -1 : 1;
    return x->parent < y->parent ? -1 : x->parent > y->parent;
}

static struct node *node_find(const struct walk *walk, uint64_t id)
{
    size_t low = 0, high = walk->node_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (walk->nodes[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < walk->node_count && walk->nodes[low].id == id ? &walk->nodes[low] : NULL;
}

static void node_enter(struct walk *walk, size_t index)
{
    struct node *node = &walk->nodes[index];
    node->order = node->low = ++walk->order;
    walk->next[index] = node->first;
    walk->open[walk->open_count++] = index;
    walk->frames[walk->frame_count++] = index;
}

static void node_leave(struct walk *walk, size_t index)
{
    struct node *node = &walk->nodes[index];
    walk->frame_count--;
    if (node->low == node->order) {
        size_t member;
        walk->components++;
        do {
            member = walk->open[--walk->open_count];
            walk->nodes[member].component = walk->components;
        } while (member != index);
    }
    if (walk->frame_count > 0) {
        struct node *under = &walk->nodes[walk->frames[walk->frame_count - 1]];
        if (node->low < under->low)
            under->low = node->low;
    }
}

static void walk_from(struct walk *walk, size_t start)
{
    node_enter(walk, start);
    while (walk->frame_count > 0) {
        size_t index = walk->frames[walk->frame_count - 1];
        struct node *node = &walk->nodes[index];
        if (walk->next[index] == node->end) {
            node_leave(walk, index);
            continue;
        }
        struct node *parent = node_find(walk, walk->edges[walk->next[index]++].parent);
        if (parent == NULL)
            continue;
        if (parent->order == 0)
            node_enter(walk, (size_t)(parent - walk->nodes));
        else if (parent->component == 0 && parent->order < node->low)
            node->low = parent->order;
    }
}

static void nodes_make(struct walk *walk, size_t edge_count)
{
    for (size_t i = 0; i < edge_count; i++) {
        if (i == 0 || walk->edges[i].child != walk->edges[i - 1].child) {
            walk->nodes[walk->node_count++] = (struct node){.id = walk->edges[i].child, .first = i};
        }
        walk->nodes[walk->node_count - 1].end = i + 1;
    }
}

/* 1 and *found (an index into `edges`) when an edge whose tag is not NO_TAG is part of a cycle: the one with the
 * lowest tag; 0 when there is none; PERMTAB_E_MEMORY. Sorts the edges. */
static int cycle_find(struct cycle_edge *edges, size_t count, size_t *found)
{
    struct walk walk = {.edges = edges};
    int code = PERMTAB_E_MEMORY;
    if (count == 0)
        return 0;
    qsort(edges, count, sizeof *edges, compare_edges);
    walk.nodes = calloc(count, sizeof *walk.nodes);
    walk.frames = calloc(count, sizeof *walk.frames);
    walk.next = calloc(count, sizeof *walk.next);
    walk.open = calloc(count, sizeof *walk.open);
    if (walk.nodes == NULL || walk.frames == NULL || walk.next == NULL || walk.open == NULL)
        goto out;
    nodes_make(&walk, count);
    for (size_t i = 0; i < walk.node_count; i++)
        if (walk.nodes[i].order == 0)
            walk_from(&walk, i);
    code = 0;
    for (size_t i = 0; i < count; i++) {
        const struct node *child = node_find(&walk, edges[i].child);
        const struct node *parent = node_find(&walk, edges[i].parent);
        if (edges[i].tag == NO_TAG || parent == NULL || child->component != parent->component)
            continue;
        if (code == 0 || edges[i].tag < edges[*found].tag)
            *found = i;
        code = 1;
    }
out:
    free(walk.open);
    free(walk.next);
    free(walk.frames);
    free(walk.nodes);
    return code;
}

/* At the role in the document, which bears the edge. */
static int fail(struct failure *failure, const struct policy *policy, const struct cycle_edge *edge)
{
    size_t index = 0;
    while (policy->roles[index].id != edge->child)
        index++;
    struct policy_place list = {.key = "roles"}, role = {.up = &list, .index = index};
    struct policy_place place = {.up = &role, .key = "inherits"};
    if (edge->child == edge->parent)
        return policy_place_fail(failure, PERMTAB_E_CONFLICT, &place, "role %" PRIu64 " inherits from itself",
                                 edge->child);
    return policy_place_fail(failure, PERMTAB_E_CONFLICT, &place,
                             "role %" PRIu64 " inherits from role %" PRIu64
                             ", which inherits from it: a cycle",
                             edge->child, edge->parent);
}

/* Tags number the edges of the document in its order. */
int cycle_check(const struct policy *policy, const struct row_list *stored, struct failure *failure)
{
    size_t count = stored != NULL ? stored->count : 0, used = 0, found = 0;
    for (size_t i = 0; i < policy->role_count; i++)
        count += policy->roles[i].inherits_count;
    struct cycle_edge *edges = calloc(count + 1, sizeof *edges);
    if (edges == NULL)
        return failure_set(failure, PERMTAB_E_MEMORY, "out of memory");
    for (size_t i = 0; i < policy->role_count; i++)
        for (size_t j = 0; j < policy->roles[i].inherits_count; j++, used++)
            edges[used] = (struct cycle_edge){policy->roles[i].id, policy->roles[i].inherits[j], used};
    for (size_t i = 0; used < count; i++, used++)
        edges[used] = (struct cycle_edge){stored->items[i].v[0], stored->items[i].v[1], NO_TAG};
    int code = cycle_find(edges, count, &found);
    if (code != 0)
        code = code < 0 ? failure_set(failure, code, "out of memory") : fail(failure, policy, &edges[found]);
    free(edges);
    return code;
}
