/* A pass over all resident entries, for patterns, which cannot name them. The pass goes by slot number, because
 * slots stay where they are while lists change: first the folds, then the entries. An entry that is moved between
 * two slices moves to a later slot (table.c, displace), so none is missed. The pass leaves a slot only when nothing
 * in it matches any more: a matching place may hold half the table, and then takes many slices.
 *
 * When there are two tables the pass goes over the one that clients are handed, and then over the other. What is
 * copied from the first into the second meanwhile has been looked at in the first, or will be in the second. When a
 * table comes, goes, or changes places with the other, the pass begins again. */
#include "proxy/base/clock.h"
#include "proxy/table/private.h"
#include "proxy/table/retire.h"

#include <assert.h>

void publisher_scan_begin(struct publisher *publisher, struct publisher_scan *scan,
                          const struct publisher_match *match)
{
    bool scopes = match->scope != NULL;
    *scan = (struct publisher_scan){
        .generation = publisher_generation(publisher), .tables = publisher->tables, .scopes = scopes};
    publisher->kept_version += scopes;
    publisher->places_version++;
}

/* Retires the lowest scope that matches, from this one up, and with it the slot's contents. Other entries below a
 * higher scope that matches, too, are met in slots of their own. True while some of the scope is left. */
static bool retire_place(struct table *table, struct scope_key scope, const struct publisher_match *match,
                         uint64_t *work, uint64_t *retired)
{
    if (match->scope == NULL)
        return false;
    const struct scope_node *node = scope_tree_find(&table->scopes, scope);
    while (node != NULL && !match->scope(match->context, node->key))
        node = node->parent;
    return node != NULL && table_retire_scope_slice(table, node->key, clock_ns(), work, retired);
}

/* look_at_fold and look_at_entry return whether to look at the slot again. */
static bool look_at_fold(struct table *table, uint32_t slot, const struct publisher_match *match,
                         uint64_t *work, uint64_t *retired)
{
    const struct map *folds = &table->folding.map;
    if (map_word(folds, slot) == 0)
        return false;
    struct map_key key = map_key_at(folds, slot);
    return retire_place(table, (struct scope_key){key.key1, key.type}, match, work, retired);
}

static bool look_at_entry(struct table *table, uint32_t slot, const struct publisher_match *match,
                          uint64_t *work, uint64_t *retired)
{
    const struct map *map = &table->map;
    if (map_word(map, slot) == 0)
        return false;
    struct map_key key = map_key_at(map, slot);
    if (match->user != NULL && match->user(match->context, key.key0)) {
        table_clear(table, slot, clock_ns(), true);
        (*retired)++;
        return false;
    }
    return retire_place(table, (struct scope_key){key.key1, key.type}, match, work, retired);
}

/* Goes on in one table. True while there is more to look at. */
static bool scan_table(struct table *table, struct publisher_scan *scan, uint64_t *work,
                       const struct publisher_match *match, uint64_t *retired)
{
    uint32_t folds = match->scope != NULL ? map_slot_count(&table->folding.map) : 0;
    uint32_t entries = map_slot_count(&table->map);
    while (*work > 0 && scan->fold < folds) {
        scan->fold += !look_at_fold(table, scan->fold, match, work, retired);
        publisher_spend(work, 1);
    }
    while (*work > 0 && scan->slot < entries) {
        scan->slot += !look_at_entry(table, scan->slot, match, work, retired);
        publisher_spend(work, 1);
    }
    return scan->fold < folds || scan->slot < entries;
}

bool publisher_scan_slice(struct publisher *publisher, struct publisher_scan *scan, uint64_t work,
                          const struct publisher_match *match, uint64_t *retired)
{
    uint64_t beside = 0;
    assert(scan->scopes || match->scope == NULL);
    if (scan->generation != publisher_generation(publisher))
        return false;
    if (scan->tables != publisher->tables) {
        scan->tables = publisher->tables;
        scan->other = false;
        scan->fold = scan->slot = 0;
    }
    if (!scan->other) {
        if (scan_table(publisher->table, scan, &work, match, retired))
            return true;
        scan->other = true;
        scan->fold = scan->slot = 0;
    }
    return publisher->other != NULL && scan_table(publisher->other, scan, &work, match, &beside);
}
