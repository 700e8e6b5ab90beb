/* Retiring, for what messages say and for invalidations on demand. Slices, because half of the table may lie below a
 * scope. */
#include "proxy/table/retire.h"

#include "proxy/base/clock.h"
#include "proxy/table/private.h"

/* ---- in each table ----------------------------------------------------------------------------------------------- */

uint64_t publisher_retire_user_now(struct publisher *publisher, uint64_t user, uint64_t now_ns)
{
    uint64_t retired = table_retire_user(publisher->table, user, now_ns);
    if (publisher->other != NULL)
        (void)table_retire_user(publisher->other, user, now_ns);
    return retired;
}

/* The other table's turn comes when nothing is left in the first. What is then filled into the first goes into the
 * other as well, and what is copied from it was filled after that. */
bool publisher_retire_scope_now(struct publisher *publisher, struct scope_key scope, uint64_t now_ns,
                                uint64_t *work, uint64_t *retired)
{
    uint64_t beside = 0;
    return table_retire_scope_slice(publisher->table, scope, now_ns, work, retired) ||
           (publisher->other != NULL &&
            table_retire_scope_slice(publisher->other, scope, now_ns, work, &beside));
}

/* ---- what messages say ------------------------------------------------------------------------------------------- */

uint64_t publisher_hear(struct publisher *publisher, const struct target *target, uint64_t revision,
                        uint64_t now_ns)
{
    struct heard_change said = {
        .user = target->id, .scope = target->scope, .revision = revision, .heard_ns = now_ns};
    uint64_t retired = 0;
    if (target->kind == TARGET_USER || target->kind == TARGET_USER_AT) {
        retired = publisher_retire_user_now(publisher, target->id, now_ns);
    } else if (target->kind == TARGET_SCOPE) {
        said.of_scope = said.resident = true;
    } else {
        return 0;
    }
    heard_add(&publisher->heard, &said);
    publisher->counters->entries_retired += retired;
    publisher_count(publisher);
    return retired;
}

bool publisher_hear_slice(struct publisher *publisher, uint64_t now_ns, uint64_t work)
{
    struct heard *heard = &publisher->heard;
    bool more = false;
    for (uint32_t i = 0; i < heard->count && !more; i++) {
        struct heard_change *said = &heard->items[i];
        if (said->resident)
            said->resident = publisher_retire_scope_now(publisher, said->scope, now_ns, &work,
                                                        &publisher->counters->entries_retired);
        more = said->resident;
    }
    publisher_count(publisher);
    return more;
}

/* ---- invalidation on demand -------------------------------------------------------------------------------------- */

uint64_t publisher_retire_user(struct publisher *publisher, uint64_t user)
{
    publisher->places_version++;
    return publisher_retire_user_now(publisher, user, clock_ns());
}

void publisher_retire_scope_begin(struct publisher *publisher, struct publisher_retiring *retiring,
                                  struct scope_key scope)
{
    publisher_outdate_kept(publisher);
    *retiring = (struct publisher_retiring){scope};
}

bool publisher_retire_scope_slice(struct publisher *publisher, const struct publisher_retiring *retiring,
                                  uint64_t *work, uint64_t *retired)
{
    return publisher_retire_scope_now(publisher, retiring->scope, clock_ns(), work, retired);
}

static uint64_t retire_entry(struct table *table, uint64_t user, struct scope_key scope)
{
    uint32_t slot = map_writer_find(&table->map, (struct map_key){user, scope.id, scope.type});
    if (slot == MAP_NO_SLOT)
        return 0;
    table_clear(table, slot, clock_ns(), true);
    return 1;
}

static uint64_t retire_user_at(struct table *table, uint64_t user, struct scope_key scope)
{
    const struct scope_node *node = scope_tree_find(&table->scopes, scope);
    if (node == NULL)
        return 0;
    bool folded = node->fold_target != NULL;
    struct scope_key answers = folded ? node->fold_target->key : scope;
    uint64_t retired = retire_entry(table, user, scope); /* retire_entry may forget the node */
    return folded ? retired + retire_entry(table, user, answers) : retired;
}

uint64_t publisher_retire_user_at(struct publisher *publisher, uint64_t user, struct scope_key scope)
{
    publisher->places_version++;
    uint64_t retired = retire_user_at(publisher->table, user, scope);
    if (publisher->other != NULL)
        (void)retire_user_at(publisher->other, user, scope);
    return retired;
}

static uint64_t retire_role(struct table *table, uint64_t role)
{
    const struct resident_role *resident = set_table_role(&table->sets, role);
    uint64_t entries = 0;
    if (resident == NULL)
        return 0;
    for (size_t i = 0; i < resident->link_count; i++) {
        uint32_t set = resident->links[i].set;
        struct set_record *record = &table->sets.records[set];
        if (!record->used || record->abandoned || record->generation != resident->links[i].generation)
            continue;
        entries += record->entries;
        set_table_abandon(&table->sets, set);
    }
    return entries;
}

uint64_t publisher_retire_role(struct publisher *publisher, uint64_t role)
{
    publisher_outdate_kept(publisher);
    uint64_t entries = retire_role(publisher->table, role);
    if (publisher->other != NULL)
        (void)retire_role(publisher->other, role);
    return entries;
}

uint64_t publisher_kept_version(const struct publisher *publisher)
{
    return publisher->kept_version;
}

uint64_t publisher_places_version(const struct publisher *publisher)
{
    return publisher->places_version;
}

void publisher_outdate_kept(struct publisher *publisher)
{
    publisher->kept_version++;
    publisher_outdate_places(publisher);
}

void publisher_outdate_places(struct publisher *publisher)
{
    publisher->places_version++;
}
