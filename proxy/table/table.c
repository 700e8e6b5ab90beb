/* Entries and the indexes over them. Every clearing of an entry goes through table_clear, every filling through
 * table_put, so that the map, the links, the sets' counts and the scope tree never disagree.
 *
 * The order towards readers is the map's: a word is cleared by one store, and only then is its set let go. */
#include "proxy/table/table.h"

#include "shm/segment_options.h"

#include <assert.h>
#include <stdlib.h>

int table_new(struct table **out, const struct publisher_options *options, uint64_t store_id)
{
    struct segment_options segment_options =
        segment_options_of(options->permissions_max, options->entries, options->sets, options->folds);
    segment_options.store_id = store_id;
    segment_options.memory_max = options->memory_max;
    struct table *table = calloc(1, sizeof *table);
    if (table == NULL)
        return PERMTAB_E_MEMORY;
    table->options = *options;
    table->segment.descriptor = -1;
    table->entries_max = options->entries;
    table->negatives_max = options->entries / 8 + 1;
    /* rest_ns: a reader that still believes a freed set has read its deadline before, which is at most
     * max_staleness ahead. */
    table->rest_ns = options->max_staleness_ns + 100000000ull;
    int code = segment_new(&table->segment, &segment_options);
    if (code < 0) {
        free(table);
        return code;
    }
    const struct permtab_shm_table *view = &table->segment.table;
    table->map = (struct map){table->segment.map, view->map_buckets, view->hash_seed};
    code = entries_init(&table->entries, &table->map);
    table->entries.sieve.used_max = options->entries / 2;
    if (code == 0)
        code = scope_tree_init(&table->scopes, options->entries / 8 + options->folds);
    if (code == 0)
        code = set_table_init(&table->sets, &table->segment);
    if (code == 0)
        code = folding_init(&table->folding, &table->segment, table->rest_ns);
    if (code == 0)
        code = ghosts_init(&table->ghosts, options->entries, ~view->hash_seed);
    if (code < 0) {
        table_free(table);
        return code;
    }
    *out = table;
    return 0;
}

void table_close_books(struct table *table)
{
    ghosts_fini(&table->ghosts);
    folding_fini(&table->folding);
    set_table_fini(&table->sets);
    entries_fini(&table->entries);
    scope_tree_fini(&table->scopes);
}

void table_free(struct table *table)
{
    if (table == NULL)
        return;
    table_close_books(table);
    segment_free(&table->segment);
    free(table);
}

/* What the definitions and inputs of sets take is left out: it goes by their number, which is small beside entries. */
uint64_t table_memory(const struct table *table)
{
    return table->segment.size + entries_memory(&table->entries) + set_table_memory(&table->sets) +
           (uint64_t)table->segment.table.target_count * sizeof(struct fold_target) +
           table->scopes.count * sizeof(struct scope_node) +
           table->scopes.bucket_count * sizeof *table->scopes.buckets;
}

const struct segment *table_segment(const struct table *table)
{
    return &table->segment;
}

bool table_was_handed_out(const struct table *table)
{
    return table->handed_out;
}

uint64_t table_entries(const struct table *table)
{
    const struct sieve_queue *queue = table->entries.queue;
    return queue[ENTRY_POSITIVE].count + queue[ENTRY_NEGATIVE].count;
}

static uint32_t slot_set(const struct table *table, uint32_t slot)
{
    return PERMTAB_SHM_WORD_INDEX(map_word(&table->map, slot));
}

static struct scope_node *slot_node(const struct table *table, uint32_t slot)
{
    struct map_key key = map_key_at(&table->map, slot);
    struct scope_node *node = scope_tree_find(&table->scopes, (struct scope_key){key.key1, key.type});
    assert(node != NULL);
    return node;
}

void table_clear(struct table *table, uint32_t slot, uint64_t now_ns, bool prune)
{
    uint32_t set = slot_set(table, slot);
    struct scope_node *node = slot_node(table, slot);
    entries_unlink(&table->entries, slot, node);
    map_clear_writer(&table->map, slot);
    set_table_drop(&table->sets, set, now_ns + table->rest_ns);
    if (prune)
        scope_tree_prune(&table->scopes, node);
}

/* ---- filling ----------------------------------------------------------------------------------------------------- */

static void evict(struct table *table, uint32_t slot, uint64_t now_ns, struct made_room *made_room)
{
    if (entries_kind(&table->entries, slot) == ENTRY_POSITIVE)
        ghosts_note(&table->ghosts, map_key_at(&table->map, slot));
    table_clear(table, slot, now_ns, true);
    if (made_room != NULL)
        made_room->evicted++;
}

/* The kind that makes room. Negative entries take free room, and no more than their part of a full table: entries
 * that anybody can make by asking for random ids must not displace those of real users. */
static enum entry_kind victim_kind(const struct table *table, enum entry_kind newcomer)
{
    const struct sieve_queue *queue = table->entries.queue;
    uint64_t negatives = queue[ENTRY_NEGATIVE].count + (newcomer == ENTRY_NEGATIVE);
    return negatives > table->negatives_max || queue[ENTRY_POSITIVE].count == 0 ? ENTRY_NEGATIVE
                                                                                : ENTRY_POSITIVE;
}

static uint32_t negative_between(const struct table *table, uint32_t first, uint32_t end)
{
    for (uint32_t slot = first; slot < end; slot++)
        if (map_word(&table->map, slot) != 0 && entries_kind(&table->entries, slot) == ENTRY_NEGATIVE)
            return slot;
    return MAP_NO_SLOT;
}

/* One that is not in use, if there is one: from a place on that differs from key to key. */
static uint32_t unused_between(const struct table *table, uint32_t first, uint32_t end, uint64_t from)
{
    uint32_t count = end - first, start = (uint32_t)(from % count);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t slot = first + (start + i) % count;
        if (table->entries.sieve.laps[slot] == 0)
            return slot;
    }
    return first + start;
}

/* The entry that leaves a full window: a negative one when there are too many of them. Else the first that the hand
 * would take, as far as a bounded look ahead of it can tell: entries carry no age of their own. The hand stays where
 * it is. */
static uint32_t window_victim(const struct table *table, struct map_key key, enum entry_kind newcomer)
{
    uint32_t first, end;
    map_window(&table->map, key, &first, &end);
    if (victim_kind(table, newcomer) == ENTRY_NEGATIVE) {
        uint32_t victim = negative_between(table, first, end);
        if (victim != MAP_NO_SLOT || newcomer == ENTRY_NEGATIVE)
            return victim;
    }
    const struct sieve_queue *queue = &table->entries.queue[ENTRY_POSITIVE];
    uint32_t slot = queue->hand != NO_ENTRY ? queue->hand : queue->oldest;
    for (uint32_t step = 0; step < 1024 && slot != NO_ENTRY; step++) {
        if (slot >= first && slot < end && table->entries.sieve.laps[slot] == 0)
            return slot;
        slot = table->entries.links[slot].newer;
    }
    return unused_between(table, first, end, key.key0);
}

/* Moves an entry. Its set keeps its count. */
static void move_entry(struct table *table, uint32_t from, uint32_t to)
{
    entries_move(&table->entries, from, to, slot_node(table, from));
    map_move_writer(&table->map, from, to);
}

/* The first entry from `slot` on that may live in `hole`, too; `hole` itself when there is none. */
static uint32_t movable_to(const struct table *table, uint32_t slot, uint32_t hole)
{
    for (; slot < hole; slot++) {
        uint32_t first, end;
        map_window(&table->map, map_key_at(&table->map, slot), &first, &end);
        if (hole >= first && hole < end)
            break;
    }
    return slot;
}

#define HOLE_SEARCH 1536u /* slots */

/* Frees a slot of a full window: looks for a hole behind it and brings the hole nearer, moving entry by entry
 * within their own windows (Herlihy, Shavit and Tzafrir, "Hopscotch Hashing", 2008). MAP_NO_SLOT when that cannot
 * be done. */
static uint32_t displace(struct table *table, struct map_key key)
{
    uint32_t first, end;
    uint32_t count = map_slot_count(&table->map);
    map_window(&table->map, key, &first, &end);
    uint32_t limit = count - end < HOLE_SEARCH ? count : end + HOLE_SEARCH;
    uint32_t hole = end;
    while (hole < limit && map_word(&table->map, hole) != 0)
        hole++;
    if (hole == limit)
        return MAP_NO_SLOT;
    while (hole >= end) {
        uint32_t reach = PERMTAB_SHM_WINDOW * PERMTAB_SHM_SLOTS;
        uint32_t slot = movable_to(table, hole - first > reach ? hole - reach : first, hole);
        if (slot == hole)
            return MAP_NO_SLOT;
        move_entry(table, slot, hole);
        hole = slot;
    }
    return hole;
}

static uint32_t find_slot(struct table *table, struct map_key key)
{
    uint32_t slot = map_writer_vacancy(&table->map, key);
    return slot != MAP_NO_SLOT ? slot : displace(table, key);
}

/* For whom no entry goes. */
static uint32_t find_room(struct table *table, struct map_key key)
{
    return table_entries(table) < table->entries_max ? find_slot(table, key) : MAP_NO_SLOT;
}

static uint32_t make_room(struct table *table, struct map_key key, enum entry_kind kind, uint64_t now_ns,
                          struct made_room *made_room)
{
    if (table_entries(table) >= table->entries_max)
        evict(table, entries_victim(&table->entries, victim_kind(table, kind)), now_ns, made_room);
    uint32_t slot = find_slot(table, key);
    if (slot != MAP_NO_SLOT)
        return slot;
    uint32_t victim = window_victim(table, key, kind);
    if (victim == MAP_NO_SLOT)
        return MAP_NO_SLOT;
    evict(table, victim, now_ns, made_room);
    return map_writer_vacancy(&table->map, key);
}

static bool add(struct table *table, struct map_key key, struct scope_node *node, uint32_t set, enum entry_kind kind,
                bool makes_room, uint64_t now_ns, struct made_room *made_room)
{
    set_table_hold(&table->sets, set);
    /* make_room may forget scopes that hold nothing: the pin keeps this one. */
    node->pins++;
    uint32_t slot = makes_room ? make_room(table, key, kind, now_ns, made_room) : find_room(table, key);
    node->pins--;
    if (slot == MAP_NO_SLOT) {
        set_table_drop(&table->sets, set, now_ns + table->rest_ns);
        return false;
    }
    map_insert_writer(&table->map, slot, key, set);
    entries_link(&table->entries, slot, node, kind);
    if (made_room != NULL) {
        made_room->added = true;
        made_room->returned += kind == ENTRY_POSITIVE && ghosts_take(&table->ghosts, key);
    }
    return true;
}

static bool put(struct table *table, uint64_t user, struct scope_node *node, uint32_t set, enum entry_kind kind,
                bool makes_room, uint64_t now_ns, struct made_room *made_room)
{
    struct map_key key = {user, node->key.id, node->key.type};
    uint32_t slot = map_writer_find(&table->map, key);
    if (slot != MAP_NO_SLOT) {
        set_table_hold(&table->sets, set); /* before the old set is dropped, which may be the same one */
        uint32_t before = slot_set(table, slot);
        map_replace_writer(&table->map, slot, set);
        if (entries_kind(&table->entries, slot) != kind) { /* else it keeps its place */
            entries_unlink(&table->entries, slot, node);
            entries_link(&table->entries, slot, node, kind);
        }
        set_table_drop(&table->sets, before, now_ns + table->rest_ns);
        return true;
    }
    return add(table, key, node, set, kind, makes_room, now_ns, made_room);
}

bool table_put(struct table *table, uint64_t user, struct scope_node *node, uint32_t set,
               enum entry_kind kind, uint64_t now_ns, struct made_room *made_room)
{
    return put(table, user, node, set, kind, true, now_ns, made_room);
}

bool table_put_beside(struct table *table, uint64_t user, struct scope_node *node, uint32_t set,
                      enum entry_kind kind, uint64_t now_ns, struct made_room *made_room)
{
    return put(table, user, node, set, kind, false, now_ns, made_room);
}

bool table_add_beside(struct table *table, uint64_t user, struct scope_node *node, uint32_t set,
                      enum entry_kind kind, uint64_t now_ns, struct made_room *made_room)
{
    struct map_key key = {user, node->key.id, node->key.type};
    return add(table, key, node, set, kind, false, now_ns, made_room);
}

/* ---- retiring ---------------------------------------------------------------------------------------------------- */

uint64_t table_retire_user(struct table *table, uint64_t user, uint64_t now_ns)
{
    uint64_t retired = 0;
    uint32_t slot = entries_of_user(&table->entries, user);
    while (slot != NO_ENTRY) {
        uint32_t next = entries_of_user_after(&table->entries, user, slot);
        table_clear(table, slot, now_ns, true);
        retired++;
        slot = next;
    }
    return retired;
}

/* Clears the entries at exactly this scope. Returns whether some are left. */
static bool empty_node(struct table *table, struct scope_node *node, uint64_t now_ns, uint64_t *work,
                       uint64_t *retired)
{
    for (uint32_t step = 0; node->entries != NO_ENTRY && *work > 0; step++, --*work, ++*retired) {
        if (step % ENTRIES_AHEAD == 0)
            entries_fetch(&table->entries, node->entries);
        table_clear(table, node->entries, now_ns, false);
    }
    return node->entries != NO_ENTRY;
}

/* Children come before their parents, so a fold goes before the scope it answers as is forgotten. */
bool table_retire_scope_slice(struct table *table, struct scope_key scope, uint64_t now_ns, uint64_t *work,
                              uint64_t *retired)
{
    struct scope_node *top = scope_tree_find(&table->scopes, scope);
    struct scope_node *node = top != NULL ? scope_walk_first(top) : NULL;
    while (node != NULL && *work > 0) {
        --*work;
        folding_unfold(&table->folding, node, now_ns);
        if (empty_node(table, node, now_ns, work, retired))
            break;
        struct scope_node *next = scope_walk_next(top, node);
        /* A child is forgotten alone; pruning the top forgets the ancestors that held only it, too. */
        if (node != top)
            scope_tree_forget(&table->scopes, node);
        else
            scope_tree_prune(&table->scopes, node);
        node = next;
    }
    return node != NULL;
}

uint64_t table_retire_scope(struct table *table, struct scope_key scope, uint64_t now_ns)
{
    uint64_t work = UINT64_MAX, retired = 0;
    (void)table_retire_scope_slice(table, scope, now_ns, &work, &retired);
    return retired;
}

uint64_t table_sweep(struct table *table, uint32_t slots, uint64_t now_ns)
{
    uint64_t cleared = 0;
    uint32_t count = map_slot_count(&table->map);
    for (uint32_t looked = 0; looked < slots && looked < count && table->sets.abandoned > 0; looked++) {
        uint32_t slot = table->sweep < count ? table->sweep : 0;
        table->sweep = slot + 1;
        uint32_t set = slot_set(table, slot);
        if (set != 0 && table->sets.records[set].abandoned) {
            table_clear(table, slot, now_ns, true);
            cleared++;
        }
    }
    return cleared;
}
