/* The chain becomes a path of the scope tree. */
#include "proxy/table/landing.h"

/* The level a scope answers as: its own, or that of the nearest ancestor that is not plain. global never is. */
static uint32_t answering_level(const struct facts *facts)
{
    uint32_t level = facts->chain_count - 1;
    while (level > 0 && facts->chain[level].plain)
        level--;
    return level;
}

/* The node of one scope under `parent`. A node that hangs elsewhere is from a time when the chain was broken by
 * rows that the store should have refused; everything that hangs on it is retired. */
static struct scope_node *place_one(struct table *table, struct scope_key key, struct scope_node *parent,
                                    uint64_t now_ns)
{
    const struct scope_node *known = scope_tree_find(&table->scopes, key);
    if (known != NULL && known->parent != parent) {
        if (parent != NULL)
            parent->pins++;
        (void)table_retire_scope(table, key, now_ns);
        if (parent != NULL)
            parent->pins--;
    }
    return scope_tree_put(&table->scopes, key, parent);
}

/* The nodes of the chain, linked from global down; returns that of `facts->scope`, and of the answering level. */
static struct scope_node *place(struct table *table, const struct facts *facts, struct scope_node **target,
                                uint64_t now_ns)
{
    struct scope_node *node = NULL;
    if (facts->chain_count == 0)
        return *target = place_one(table, facts->scope, NULL, now_ns);
    for (uint32_t level = 0; level < facts->chain_count; level++) {
        struct scope_node *next = place_one(table, facts->chain[level].key, node, now_ns);
        if (next == NULL) {
            scope_tree_prune(&table->scopes, node);
            return NULL;
        }
        node = next;
        if (level == answering_level(facts))
            *target = node;
    }
    return node;
}

int landing_begin(struct landing *landing, struct table *table, const struct facts *facts, uint64_t now_ns)
{
    struct scope_node *target = NULL;
    struct scope_node *node = place(table, facts, &target, now_ns);
    if (node == NULL)
        return PERMTAB_E_MEMORY;
    node->pins++;
    /* Unfolds a scope whose old target may have become plain since: readers would look there, and no fill goes
     * there. */
    if (node->fold_slot != NO_ENTRY && node->fold_target != target)
        folding_unfold(&table->folding, node, now_ns);
    if (node != target)
        folding_fold(&table->folding, node, target, now_ns);
    /* Without room for the fold the entry is put at the scope itself. */
    if (node->fold_slot == NO_ENTRY)
        target = node;
    *landing = (struct landing){.table = table, .node = node, .target = target};
    return 0;
}

bool landing_has(const struct landing *landing, uint64_t user)
{
    struct scope_key at = landing->target->key;
    return map_writer_find(&landing->table->map, (struct map_key){user, at.id, at.type}) != MAP_NO_SLOT;
}

typedef bool (*put_fn)(struct table *table, uint64_t user, struct scope_node *node, uint32_t set, enum entry_kind kind,
                       uint64_t now_ns, struct made_room *made_room);

static bool put_by(put_fn how, const struct landing *landing, struct publisher *publisher, const struct facts *facts,
                   uint32_t set, uint64_t now_ns)
{
    struct counters *counters = landing->table == publisher->table ? publisher->counters : NULL;
    enum entry_kind kind = facts->chain_count == 0 || facts->stranger ? ENTRY_NEGATIVE : ENTRY_POSITIVE;
    struct made_room made_room = {0};
    bool put = how(landing->table, facts->user, landing->target, set, kind, now_ns,
                   counters != NULL ? &made_room : NULL);
    if (counters != NULL) {
        counters->fills += put;
        counters->fills_known += made_room.added && kind == ENTRY_POSITIVE && !facts->unasked;
        counters->entries_evicted += made_room.evicted;
        counters->entries_returned += facts->unasked ? 0 : made_room.returned;
    }
    return put;
}

bool landing_put(const struct landing *landing, struct publisher *publisher, const struct facts *facts, uint32_t set,
                 uint64_t now_ns)
{
    return put_by(facts->unasked ? table_put_beside : table_put, landing, publisher, facts, set, now_ns);
}

bool landing_add(const struct landing *landing, struct publisher *publisher, const struct facts *facts, uint32_t set,
                 uint64_t now_ns)
{
    return put_by(table_add_beside, landing, publisher, facts, set, now_ns);
}

void landing_end(struct landing *landing)
{
    landing->node->pins--;
    scope_tree_prune(&landing->table->scopes, landing->node); /* and with it the target, if both hold nothing */
}
