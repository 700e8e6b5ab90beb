/* A fold word is only ever changed through 0, and a target's record rests before it is written again, so a reader that
 * found a fold, read its target and finds the same word afterwards has read the target of that fold.
 *
 * Each scope on the way from a folded scope up to its target, the folded one included, counts the fold in
 * folds_through. So a change at a scope on no such way costs one look, even when a hundred thousand scopes below it
 * are folded into it. */
#include "proxy/table/folding.h"

#include "shm/pages.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int folding_init(struct folding *folding, struct segment *segment, uint64_t rest_ns)
{
    uint32_t count = segment->table.target_count;
    memset(folding, 0, sizeof *folding);
    folding->segment = segment;
    folding->rest_ns = rest_ns;
    folding->map = (struct map){segment->folds, segment->table.fold_buckets, segment->table.hash_seed};
    folding->targets = pages_new(count, sizeof *folding->targets);
    if (folding->targets == NULL || index_pool_init(&folding->indices, count - 1) < 0) {
        pages_free(folding->targets, count, sizeof *folding->targets);
        memset(folding, 0, sizeof *folding);
        return PERMTAB_E_MEMORY;
    }
    return 0;
}

void folding_fini(struct folding *folding)
{
    if (folding->targets == NULL)
        return;
    index_pool_fini(&folding->indices);
    pages_free(folding->targets, folding->segment->table.target_count, sizeof *folding->targets);
    memset(folding, 0, sizeof *folding);
}

/* ---- targets ----------------------------------------------------------------------------------------------------- */

static uint32_t target_take(struct folding *folding, struct scope_node *node, uint64_t now_ns)
{
    if (node->target_index != 0)
        return node->target_index;
    uint32_t index = index_take(&folding->indices, now_ns);
    if (index == 0)
        return 0;
    folding->targets[index] = (struct fold_target){.node = node};
    node->target_index = index;
    segment_target_set_writer(folding->segment, index, node->key.type, node->key.id);
    return index;
}

static void target_drop(struct folding *folding, uint32_t index, uint64_t now_ns)
{
    struct fold_target *target = &folding->targets[index];
    if (--target->folds > 0)
        return;
    target->node->target_index = 0;
    target->node = NULL;
    index_release(&folding->indices, index, now_ns + folding->rest_ns);
}

/* ---- folds ------------------------------------------------------------------------------------------------------- */

static void count_way(struct scope_node *node, const struct scope_node *target, bool add)
{
    for (; node != target; node = node->parent) {
        assert(node != NULL);
        node->folds_through = add ? node->folds_through + 1 : node->folds_through - 1;
    }
}

void folding_fold(struct folding *folding, struct scope_node *node, struct scope_node *target,
                  uint64_t now_ns)
{
    if (node->fold_slot != NO_ENTRY)
        return;
    struct map_key key = {0, node->key.id, node->key.type};
    uint32_t slot = map_writer_vacancy(&folding->map, key);
    uint32_t index = slot != MAP_NO_SLOT ? target_take(folding, target, now_ns) : 0;
    if (index == 0)
        return;
    folding->targets[index].folds++;
    folding->folds++;
    segment_fold_count_writer(folding->segment,
                              folding->folds); /* before the word: readers must look for it (BEAT-4) */
    map_insert_writer(&folding->map, slot, key, index);
    node->fold_slot = slot;
    node->fold_target = target;
    count_way(node, target, true);
}

void folding_unfold(struct folding *folding, struct scope_node *node, uint64_t now_ns)
{
    if (node->fold_slot == NO_ENTRY)
        return;
    uint32_t index = PERMTAB_SHM_WORD_INDEX(map_word(&folding->map, node->fold_slot));
    map_clear_writer(&folding->map, node->fold_slot);
    folding->folds--;
    segment_fold_count_writer(folding->segment, folding->folds); /* after the word */
    count_way(node, node->fold_target, false);
    node->fold_slot = NO_ENTRY;
    node->fold_target = NULL;
    target_drop(folding, index, now_ns);
}

static bool lies_above(const struct scope_node *target, const struct scope_node *node)
{
    for (node = node->parent; node != NULL; node = node->parent)
        if (node == target)
            return true;
    return false;
}

void folding_unfold_through(struct folding *folding, struct scope_node *node, uint64_t now_ns)
{
    if (node->folds_through == 0)
        return;
    for (struct scope_node *below = scope_walk_first(node); below != NULL;
         below = scope_walk_next(node, below))
        if (below->fold_slot != NO_ENTRY && lies_above(below->fold_target, node))
            folding_unfold(folding, below, now_ns);
}
