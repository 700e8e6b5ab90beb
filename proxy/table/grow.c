/* Growth. Next is empty when it begins, and true: from then on each fill, batch and retirement does to it what it does
 * to the table, by next's own indexes and definitions. What is left is to bring over what the table has had before:
 *
 *   1  the definitions of watched roles: an entry may depend on one that no set holds;
 *   2  folds, by slot of the fold map;
 *   3  entries, by slot of the map, each with its set, and as used as it was; the set brings its roles.
 *
 * Slots are a safe order while everything changes between two slices: entries that are moved go to later slots
 * (table.c), folds do not move, watched roles are appended to a list, and what is new is in next already. What is
 * copied is in the table at that moment, and so true at its revision; nothing is copied while a batch is being
 * applied, when next may have lost something already that the table has not.
 *
 * What next has no room for is left out: a miss. Without memory growth ends, because next might lack a watched role.
 *
 * The hand-over is one turn. No reader has next's descriptor before it, so the order of stores matters to those
 * alone who are handed next afterwards, and they are given it after the last store. If the process dies within, next
 * dies with it, and the table is LIVE, or RETIRED inside a lease that nobody renews. */
#include "proxy/table/grow.h"

#include "proxy/table/private.h"
#include "proxy/table/workshop.h"
#include "shm/segment_options.h"

#include <assert.h>

/* What is copied takes as long as so many slots that are looked at. */
#define ENTRY_WORK 2u
#define SET_WORK   16u

/* ---- tables come and go ------------------------------------------------------------------------------------------ */

int publisher_takes(const struct publisher *publisher, const struct table *table, uint64_t store_id)
{
    return table->options.permissions_max == publisher->options.permissions_max &&
                   table->options.max_staleness_ns == publisher->options.max_staleness_ns &&
                   table->segment.table.header->identity.store_id == store_id && table_entries(table) == 0
               ? 0
               : PERMTAB_E_INVALID;
}

void publisher_drop(struct publisher *publisher, struct table *table)
{
    if (publisher->drop != NULL)
        publisher->drop(publisher->drop_context, table);
    else
        table_free(table);
}

void publisher_drop_to(struct publisher *publisher, publisher_drop_fn drop, void *context)
{
    publisher->drop = drop;
    publisher->drop_context = context;
}

void publisher_yield_to(struct publisher *publisher, publisher_yield_fn yield, void *context)
{
    publisher->yield = yield;
    publisher->yield_context = context;
}

void publisher_drop_other(struct publisher *publisher)
{
    struct table *other = publisher->other;
    if (other == NULL)
        return;
    segment_disbelieve_writer(&other->segment);
    segment_retire_writer(&other->segment);
    publisher->other = NULL;
    publisher->other_is = OTHER_NONE;
    publisher->tables++;
    publisher_drop(publisher, other);
}

/* ---- copying ----------------------------------------------------------------------------------------------------- */

int publisher_grow_begin(struct publisher *publisher, struct table *fresh)
{
    if (!publisher->believed || publisher->rebuild_ordered)
        return PERMTAB_E_INVALID;
    if (publisher->other != NULL)
        return PERMTAB_E_FULL;
    int code = publisher_takes(publisher, fresh, publisher->at.store_id);
    if (code < 0)
        return code;
    publisher_write_position(publisher, fresh);
    publisher->growing = (struct growing){.watched = NULL};
    publisher->other = fresh;
    publisher->other_is = OTHER_NEXT;
    publisher->tables++;
    return 0;
}

void publisher_grow_end(struct publisher *publisher)
{
    if (publisher->other_is == OTHER_NEXT)
        publisher_drop_other(publisher);
}

/* The node in next of a scope that the table knows. *node is NULL when next knows it elsewhere: its entries are then
 * left out. PERMTAB_E_MEMORY. */
static int copy_node(struct table *next, const struct scope_node *from, struct scope_node **node)
{
    const struct scope_node *way[SCOPE_CHAIN_MAX];
    uint32_t count = 0;
    *node = NULL;
    for (; from != NULL && count < SCOPE_CHAIN_MAX; from = from->parent)
        way[count++] = from;
    assert(from == NULL);
    struct scope_node *parent = NULL;
    while (count-- > 0) {
        struct scope_node *known = scope_tree_find(&next->scopes, way[count]->key);
        if (known != NULL && known->parent != parent) {
            scope_tree_prune(&next->scopes, parent);
            return 0;
        }
        if (known == NULL)
            known = scope_tree_put(&next->scopes, way[count]->key, parent);
        if (known == NULL) {
            scope_tree_prune(&next->scopes, parent);
            return PERMTAB_E_MEMORY;
        }
        parent = known;
    }
    *node = parent;
    return 0;
}

static int copy_fold(struct table *next, const struct table *table, uint32_t slot, uint64_t now_ns)
{
    if (map_word(&table->folding.map, slot) == 0)
        return 0;
    struct map_key key = map_key_at(&table->folding.map, slot);
    const struct scope_node *from = scope_tree_find(&table->scopes, (struct scope_key){key.key1, key.type});
    assert(from != NULL && from->fold_target != NULL);
    struct scope_node *node;
    int code = copy_node(next, from, &node);
    if (node == NULL)
        return code;
    struct scope_node *target = scope_tree_find(&next->scopes, from->fold_target->key);
    if (target != NULL && node->fold_slot == NO_ENTRY)
        folding_fold(&next->folding, node, target, now_ns);
    scope_tree_prune(&next->scopes, node);
    return 0;
}

/* The set in next for the inputs of one of the table's; 0 in *set when none is free. PERMTAB_E_MEMORY. */
static int copy_set(const struct publisher *publisher, const struct set_record *record, uint64_t now_ns,
                    uint32_t *set)
{
    struct set_table *sets = &publisher->other->sets;
    struct role_sources sources = {sets, NULL, &publisher->table->sets};
    struct inputs inputs;
    *set = set_table_find_hashed(sets, &record->inputs, record->hash);
    if (*set != 0)
        sets->records[*set].inputs.overwrites_seen |= record->inputs.overwrites_seen;
    if (*set != 0 || !set_table_has_room(sets, now_ns))
        return 0;
    if (inputs_copy(&inputs, &record->inputs) < 0)
        return PERMTAB_E_MEMORY;
    *set = set_table_add(&sources, &publisher->catalogue, &inputs, now_ns);
    inputs_fini(&inputs);
    return *set != 0 ? 0 : PERMTAB_E_MEMORY;
}

/* What was used stays so. Who came first is lost: entries are copied in no order. */
static void copy_use(const struct table *table, uint32_t slot, struct table *next, struct map_key key)
{
    uint8_t laps = table->entries.sieve.laps[slot];
    uint32_t copy = laps > 0 ? map_writer_find(&next->map, key) : MAP_NO_SLOT;
    if (copy != MAP_NO_SLOT)
        sieve_lend(&next->entries.sieve, copy, laps);
}

static int copy_entry(const struct publisher *publisher, uint32_t slot, uint64_t now_ns, uint64_t *work)
{
    const struct table *table = publisher->table;
    struct table *next = publisher->other;
    uint32_t index = PERMTAB_SHM_WORD_INDEX(map_word(&table->map, slot)), set;
    const struct set_record *record = &table->sets.records[index];
    struct map_key key = map_key_at(&table->map, slot);
    if (index == 0 || record->abandoned)
        return 0;
    if (map_writer_find(&next->map, key) != MAP_NO_SLOT) { /* filled since growth began */
        copy_use(table, slot, next, key);
        return 0;
    }
    struct scope_node *node;
    const struct scope_node *from = scope_tree_find(&table->scopes, (struct scope_key){key.key1, key.type});
    assert(from != NULL);
    int code = copy_node(next, from, &node);
    if (node == NULL)
        return code;
    uint32_t used = next->sets.pool.indices.used;
    code = copy_set(publisher, record, now_ns, &set);
    publisher_spend(work, next->sets.pool.indices.used != used ? SET_WORK : 0);
    if (set != 0) {
        set_table_hold(&next->sets, set);
        (void)table_put(next, key.key0, node, set, entries_kind(&table->entries, slot), now_ns, NULL);
        copy_use(table, slot, next, key);
        publisher_spend(work, ENTRY_WORK);
        set_table_drop(&next->sets, set, now_ns + next->rest_ns);
    }
    scope_tree_prune(&next->scopes, node);
    return code;
}

/* Copies watched roles that are not copied yet: new ones are appended. */
static int copy_watched(struct publisher *publisher, uint64_t *work)
{
    struct growing *growing = &publisher->growing;
    struct role_sources sources = {&publisher->other->sets, NULL, &publisher->table->sets};
    struct resident_role *role =
        growing->watched != NULL ? growing->watched->next_watched : publisher->table->sets.watched;
    for (; role != NULL && *work > 0; role = role->next_watched) {
        if (set_table_watch(&sources, role->id) < 0)
            return PERMTAB_E_MEMORY;
        growing->watched = role;
        publisher_spend(work, 1);
    }
    return 0;
}

static int copy(struct publisher *publisher, uint64_t now_ns, uint64_t *work)
{
    struct growing *growing = &publisher->growing;
    const struct table *table = publisher->table;
    int code = copy_watched(publisher, work);
    for (; code == 0 && *work > 0 && growing->fold < map_slot_count(&table->folding.map); growing->fold++) {
        code = copy_fold(publisher->other, table, growing->fold, now_ns);
        publisher_spend(work, 1);
    }
    for (; code == 0 && *work > 0 && growing->slot < map_slot_count(&table->map); growing->slot++) {
        code = copy_entry(publisher, growing->slot, now_ns, work);
        publisher_spend(work, 1);
    }
    return code;
}

/* ---- the hand-over ----------------------------------------------------------------------------------------------- */

static void hand_over(struct publisher *publisher)
{
    struct table *next = publisher->other, *old = publisher->table;
    uint64_t deadline_ns = publisher_deadline(publisher);
    publisher->other = old;
    publisher->other_is = OTHER_RETIRED;
    publisher_hand_out(publisher, next);
    segment_lease_writer(&next->segment, deadline_ns);
    segment_retire_writer(&old->segment);
    publisher_count(publisher);
}

enum grow_outcome publisher_grow_slice(struct publisher *publisher, uint64_t now_ns, uint64_t work)
{
    if (publisher->other_is != OTHER_NEXT)
        return GROW_ENDED;
    if (publisher->applying.batch != NULL)
        return GROW_MORE;
    if (!publisher->believed || copy(publisher, now_ns, &work) < 0) {
        publisher_grow_end(publisher);
        return GROW_ENDED;
    }
    if (publisher->growing.slot < map_slot_count(&publisher->table->map) || work == 0)
        return GROW_MORE;
    hand_over(publisher);
    return GROW_DONE;
}

/* ---- the retired table ------------------------------------------------------------------------------------------- */

uint64_t publisher_retired_segment(const struct publisher *publisher)
{
    bool retired = publisher->other_is == OTHER_RETIRED || publisher->other_is == OTHER_RELEASED;
    return retired ? publisher->other->segment.header->identity.segment_id : 0;
}

void publisher_retired_release(struct publisher *publisher)
{
    if (publisher->other_is == OTHER_RETIRED)
        publisher->other_is = OTHER_RELEASED;
}

/* A reader's clock may be lag_ns behind ours. */
void publisher_tend(struct publisher *publisher, uint64_t now_ns)
{
    if (publisher->other_is != OTHER_RELEASED || publisher->applying.batch != NULL)
        return;
    const uint64_t *deadline = &publisher->other->segment.header->beat.lease_deadline;
    if (now_ns >= permtab_shm_load64_relaxed(deadline) + publisher->lag_ns)
        publisher_drop_other(publisher);
}

/* ---- sizes ------------------------------------------------------------------------------------------------------- */

uint64_t publisher_capacity(const struct publisher *publisher)
{
    return publisher->table->entries_max;
}

uint64_t publisher_memory(const struct publisher *publisher)
{
    uint64_t bytes = 0;
    EACH_TABLE(publisher, table)
    bytes += table_memory(table);
    return bytes;
}

uint64_t publisher_segment_bytes(const struct publisher *publisher)
{
    uint64_t bytes = 0;
    EACH_TABLE(publisher, table)
    bytes += table->segment.size;
    return bytes;
}

#define LEAST_ENTRIES 1000u

static uint64_t lesser(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Both the table and the fresh one count towards memory_max while there are two. */
void publisher_rebuild_order(struct publisher *publisher, uint64_t store_id, struct workshop_order *order)
{
    const struct publisher_options *first = &publisher->options;
    publisher->rebuild_ordered = true;
    publisher_grow_end(publisher);
    uint64_t held = publisher->yield != NULL ? publisher->yield(publisher->yield_context) : 0;
    uint64_t taken = publisher_segment_bytes(publisher) + held;
    *order = (struct workshop_order){.options = publisher->table->options, .store_id = store_id};
    order->options.memory_max = first->memory_max;
    if (first->memory_max != 0)
        order->options.memory_max = first->memory_max > taken ? first->memory_max - taken : 1;
    order->least =
        (struct table_size){.entries = lesser(LEAST_ENTRIES, lesser(first->entries, order->options.entries)),
                            .sets = (uint32_t)lesser(first->sets, order->options.sets),
                            .folds = (uint32_t)lesser(first->folds, order->options.folds)};
}

void publisher_rebuild_given_up(struct publisher *publisher)
{
    publisher->rebuild_ordered = false;
}

bool publisher_rebuild_ordered(const struct publisher *publisher)
{
    return publisher->rebuild_ordered;
}

struct table_bytes publisher_bytes_of(const struct publisher *publisher,
                                      const struct publisher_options *options)
{
    const struct table *table = publisher->table;
    struct segment_options segment =
        segment_options_of(options->permissions_max, options->entries, options->sets, options->folds);
    double more = (double)options->entries / (double)table->options.entries;
    uint64_t entries = entries_memory(&table->entries), all = table_memory(table) - table->segment.size;
    return (struct table_bytes){segment_size(&segment), (uint64_t)((double)entries * more) + all - entries};
}

/* A large table that is full has a load of 0.90 (segment.c); a step of 1.3 leaves 0.69: 30.8 bytes an entry, and up to
 * a thirty-second more where the segment is rounded up to a huge page. */
uint64_t table_next_entries(uint64_t entries)
{
    if (entries < SEGMENT_SMALL_ENTRIES)
        return 4 * entries < SEGMENT_SMALL_ENTRIES ? 4 * entries : SEGMENT_SMALL_ENTRIES;
    return entries + entries / 10 * 3;
}

/* Most of them in use: three quarters. */
static uint32_t next_count(uint32_t count, uint64_t used, const struct publisher_options *present,
                           const struct publisher_options *next)
{
    if (used < (uint64_t)count / 4 * 3)
        return count;
    uint64_t more = (uint64_t)((double)count * (double)next->entries / (double)present->entries);
    return more < PERMTAB_SHM_INDEX_MASK ? (uint32_t)more : PERMTAB_SHM_INDEX_MASK;
}

struct publisher_options publisher_present_options(const struct publisher *publisher)
{
    return publisher->table->options;
}

struct publisher_options publisher_next_options(const struct publisher *publisher)
{
    const struct table *table = publisher->table;
    struct publisher_options next = table->options;
    /* a table that a rebuild made had what was left at that moment */
    next.memory_max = publisher->options.memory_max;
    next.entries = table_next_entries(table->options.entries);
    next.sets = next_count(next.sets, table->sets.pool.indices.used, &table->options, &next);
    next.folds = next_count(next.folds, table->folding.folds, &table->options, &next);
    return next;
}
