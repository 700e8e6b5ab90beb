/* A fold word is only ever changed through 0, and a target's record rests before it is written again, so a reader that
 * found a fold, read its target and finds the same word afterwards has read the target of that fold.
 *
 * Each scope on the way from a folded scope up to its target, the folded one included, counts the fold in
 * folds_through. So a change at a scope that is nobody's way costs one look, also when a hundred thousand
 * scopes below it are folded into it. */
#include "proxy/folding.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int folding_init(struct folding *folding, struct segment *segment, uint64_t rest_ns)
{
    memset(folding, 0, sizeof *folding);
    folding->segment = segment;
    folding->rest_ns = rest_ns;
    folding->map = (struct map){segment->folds, segment->table.fold_buckets, segment->table.hash_seed};
    folding->target_count = segment->table.target_count;
    folding->unused = 1;
    folding->targets = calloc(folding->target_count, sizeof *folding->targets);
    return folding->targets != NULL ? 0 : PERMTAB_E_MEMORY;
}

void folding_fini(struct folding *folding)
{
    free(folding->targets);
    memset(folding, 0, sizeof *folding);
}

/* ---- targets ----------------------------------------------------------------------------------------------------- */

static uint32_t target_take(struct folding *folding, struct scope_node *node, uint64_t now_ns)
{
    uint32_t index = node->target_index;
    if (index != 0)
        return index;
    if (folding->rest_oldest != 0 && folding->targets[folding->rest_oldest].rest_until_ns < now_ns) {
        index = folding->rest_oldest;
        folding->rest_oldest = folding->targets[index].next_resting;
        if (folding->rest_oldest == 0)
            folding->rest_newest = 0;
    } else if (folding->unused < folding->target_count) {
        index = folding->unused++;
    } else {
        return 0;
    }
    folding->targets[index] = (struct fold_target){.node = node};
    node->target_index = index;
    permtab_shm_store64(&folding->segment->targets[index].id, node->key.id);
    permtab_shm_store64(&folding->segment->targets[index].type, node->key.type);
    return index;
}

static void target_drop(struct folding *folding, uint32_t index, uint64_t now_ns)
{
    struct fold_target *target = &folding->targets[index];
    if (--target->folds > 0)
        return;
    target->node->target_index = 0;
    target->node = NULL;
    target->next_resting = 0;
    target->rest_until_ns = now_ns + folding->rest_ns;
    if (folding->rest_newest != 0)
        folding->targets[folding->rest_newest].next_resting = index;
    else
        folding->rest_oldest = index;
    folding->rest_newest = index;
}

/* ---- folds ------------------------------------------------------------------------------------------------------- */

static void count_way(struct scope_node *node, const struct scope_node *target, bool add)
{
    for (; node != target; node = node->parent) {
        assert(node != NULL);
        node->folds_through = add ? node->folds_through + 1 : node->folds_through - 1;
    }
}

static void fold_count_publish(struct folding *folding)
{
    permtab_shm_store32(&folding->segment->header->beat.fold_count, folding->folds);
}

void folding_fold(struct folding *folding, struct scope_node *node, struct scope_node *target, uint64_t now_ns)
{
    if (node->fold_slot != NO_ENTRY)
        return;
    struct map_key key = {0, node->key.id, node->key.type};
    uint32_t slot = map_vacancy_writer(&folding->map, key);
    uint32_t index = slot != MAP_NO_SLOT ? target_take(folding, target, now_ns) : 0;
    if (index == 0)
        return;
    folding->targets[index].folds++;
    folding->folds++;
    fold_count_publish(folding); /* before the word: readers must look for it (BEAT-4) */
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
    fold_count_publish(folding); /* after the word */
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
    for (struct scope_node *below = scope_walk_first(node); below != NULL; below = scope_walk_next(node, below))
        if (below->fold_slot != NO_ENTRY && lies_above(below->fold_target, node))
            folding_unfold(folding, below, now_ns);
}
