/* A batch: the table becomes true at a later revision.
 *
 * The order is the whole argument. Entries hold inputs, sets hold what roles made of them; a batch may change both.
 * Were a set rewritten while an entry that the batch takes away still names it, a reader could see new grants through old
 * inputs: an ALLOW that neither the state before nor the one after gives. Therefore
 *
 *   1  entries and folds that the batch touches are cleared: their readers miss;
 *   2  role definitions are replaced, and the touched sets computed, aside, in private memory;
 *   3  the touched sets are closed, all of them, written, and opened again;
 *   4  applied_revision and the expiry advance.
 *
 * A reader looks at an entry's word again after it has read the bits, so one that has read bits of step 3 knows of step 1.
 * If the sidecar dies between any two stores, what is left in the table is each time either of before the batch, within the
 * lease, or closed or cleared. */
#include "proxy/publish_internal.h"

#include <string.h>

void batch_fini(struct batch *batch)
{
    change_list_fini(&batch->changes);
    change_list_fini(&batch->expired);
    role_list_fini(&batch->roles);
    catalogue_fini(&batch->catalogue);
    memset(batch, 0, sizeof *batch);
}

static void unfold_through(struct publish *publish, struct scope_key scope, uint64_t now_ns)
{
    struct scope_node *node = scope_tree_find(&publish->table->scopes, scope);
    if (node != NULL)
        folding_unfold_through(&publish->table->folding, node, now_ns);
}

/* A role's row changed. Everybody at a scope is concerned when the role is, or was, a default role there, or when it was
 * moved, because then assignments may begin or cease to be in place; coming into being is moving too, for
 * assignments may have waited for it. A default role that only changed its name or whether it is active stays in the same
 * sets. A role without a resident definition is in no set, and none was made without it. */
static bool role_row_concerns_scope(const struct resident_role *before, const struct role *after,
                                    struct scope_key scope)
{
    bool was_default = before != NULL && before->present && before->role.is_default &&
                       scope_equal(before->role.scope, scope);
    bool is_default = after != NULL && after->is_default && scope_equal(after->scope, scope);
    bool moved = (after != NULL && !scope_equal(after->scope, scope)) ||
                 (before != NULL && after != NULL &&
                  (!before->present || !scope_equal(before->role.scope, after->scope)));
    return was_default != is_default || moved;
}

/* SQLite's REPLACE deletes a row without a trigger: the place that the role had is then named by no change row. */
static uint64_t retire_former_place(struct publish *publish, const struct resident_role *before,
                                    const struct role *after, uint64_t now_ns)
{
    if (before == NULL || !before->present || after == NULL || scope_equal(before->role.scope, after->scope))
        return 0;
    return table_retire_scope(publish->table, before->role.scope, now_ns);
}

static uint64_t retire_role_row(struct publish *publish, struct batch *batch, const struct change *change,
                                uint64_t now_ns)
{
    const struct resident_role *before = set_table_role(&publish->table->sets, change->role);
    const struct role *after = role_list_find(&batch->roles, change->role);
    bool concerned = role_row_concerns_scope(before, after, change->scope);
    unfold_through(publish, change->scope, now_ns);
    /* From here on `before` may be freed: with the last set that holds it. */
    uint64_t retired = retire_former_place(publish, before, after, now_ns);
    if (concerned)
        retired += table_retire_scope(publish->table, change->scope, now_ns);
    return retired;
}

/* Step 1 for one change. */
static uint64_t retire(struct publish *publish, struct batch *batch, const struct change *change,
                       uint64_t now_ns)
{
    struct table *table = publish->table;
    switch (change->kind) {
    case CHANGE_SCOPE:
        unfold_through(publish, change->scope, now_ns);
        return table_retire_scope(table, change->scope, now_ns);
    case CHANGE_ROLE:
        return retire_role_row(publish, batch, change, now_ns);
    case CHANGE_ASSIGNMENT:
        unfold_through(publish, change->scope, now_ns);
        return table_retire_user(table, change->user, now_ns);
    case CHANGE_OVERWRITE:
        unfold_through(publish, change->scope, now_ns);
        /* Neither named: the subject has the id 0, and which of the two it is the row does not say. */
        return change->user != 0 ? table_retire_user(table, change->user, now_ns)
                                 : table_retire_scope(table, change->scope, now_ns);
    case CHANGE_PERMISSION:
    case CHANGE_SCOPE_TYPE:
    case CHANGE_ROLE_GRANT:
    case CHANGE_ROLE_PARENT:
    case CHANGE_STORE:
        return 0; /* sets alone, see touch_sets; CHANGE_STORE makes the feed rebuild */
    }
    return 0;
}

/* Inheritance decides which overwrite rows apply. Sets in whose chain there were any cannot be computed from their inputs
 * again: they are closed for good, and their entries filled afresh. */
static int touch_sets_of(struct publish *publish, struct batch *batch, const struct change *change,
                         struct rewrite *rewrite)
{
    struct set_table *sets = &publish->table->sets;
    struct resident_role *role = set_table_role(sets, change->role);
    if (role == NULL)
        return 0;
    /* Where references are not enforced, a role brings its old parents back when it comes back. */
    bool inheritance = change->kind == CHANGE_ROLE_PARENT ||
                       role->present != (role_list_find(&batch->roles, change->role) != NULL);
    for (size_t i = 0; i < role->link_count; i++) {
        uint32_t set = role->links[i].set;
        struct set_record *record = &sets->records[set];
        if (!record->used || record->generation != role->links[i].generation)
            continue;
        if (inheritance && record->inputs.overwrites_seen)
            set_table_abandon(sets, set);
        else if (rewrite_add(rewrite, sets, set, publish->batch) < 0)
            return PERMTAB_E_MEMORY;
    }
    return 0;
}

static int touch_all_sets(struct publish *publish, struct rewrite *rewrite)
{
    struct set_table *sets = &publish->table->sets;
    for (uint32_t set = 1; set < publish->table->segment.table.set_count; set++)
        if (sets->records[set].used && rewrite_add(rewrite, sets, set, publish->batch) < 0)
            return PERMTAB_E_MEMORY;
    return 0;
}

static bool is_role_change(const struct change *change)
{
    return change->kind == CHANGE_ROLE || change->kind == CHANGE_ROLE_GRANT ||
           change->kind == CHANGE_ROLE_PARENT;
}

/* The resident definition becomes that of the batch. Only roles that changed: an ancestor that came along is the same. */
static int replace_role(struct publish *publish, struct batch *batch, uint64_t id)
{
    struct resident_role *resident = set_table_role(&publish->table->sets, id);
    const struct role *after = role_list_find(&batch->roles, id);
    struct role copy;
    if (resident == NULL)
        return 0;
    if (after != NULL && role_copy(&copy, after) < 0)
        return PERMTAB_E_MEMORY;
    role_fini(&resident->role);
    memset(&resident->role, 0, sizeof resident->role);
    resident->present = after != NULL;
    if (after != NULL)
        resident->role = copy;
    return 0;
}

/* Step 2. */
static int compute(struct publish *publish, struct batch *batch, struct rewrite *rewrite)
{
    int code = 0;
    for (size_t i = 0; code == 0 && i < batch->changes.count; i++)
        if (is_role_change(&batch->changes.items[i]))
            code = touch_sets_of(publish, batch, &batch->changes.items[i], rewrite);
    for (size_t i = 0; code == 0 && i < batch->changes.count; i++)
        if (is_role_change(&batch->changes.items[i]))
            code = replace_role(publish, batch, batch->changes.items[i].role);
    if (code == 0 && batch->has_catalogue)
        code = touch_all_sets(publish, rewrite);
    if (code == 0 && batch->has_catalogue)
        publish_catalogue_replace(publish, &batch->catalogue, &batch->at);
    /* A set that was closed for good by a later change of the batch is not opened again. */
    rewrite_forget_abandoned(rewrite, &publish->table->sets);
    if (code == 0)
        code = rewrite_compute(rewrite, &publish->table->sets, &publish->catalogue, &batch->roles);
    return code;
}

/* What went wrong leaves a table that is neither of before nor of after. */
static int fail_batch(struct publish *publish, const struct batch *batch, int code, struct failure *failure)
{
    unsigned long long revision = batch->at.revision;
    publish_disbelieve(publish);
    if (code == PERMTAB_E_SCHEMA)
        return failure_set(failure, code,
                           "at revision %llu a permission or a scope type means something else than before",
                           revision);
    return failure_set(failure, code, "no memory to apply the changes up to revision %llu", revision);
}

int publish_batch(struct publish *publish, struct batch *batch, uint64_t now_ns, struct failure *failure)
{
    struct rewrite rewrite = {0};
    struct counters *counters = publish->counters;
    publish->batch++;
    /* The triggers refuse it, and whoever gets round them shall not end us. */
    if (batch->has_catalogue && !catalogue_continues(&publish->catalogue, &batch->catalogue))
        return fail_batch(publish, batch, PERMTAB_E_SCHEMA, failure);
    role_list_sort(&batch->roles);
    for (size_t i = 0; i < batch->expired.count; i++)
        counters->entries_retired += table_retire_user(publish->table, batch->expired.items[i].user, now_ns);
    for (size_t i = 0; i < batch->changes.count; i++) {
        counters->entries_retired += retire(publish, batch, &batch->changes.items[i], now_ns);
        history_add(&publish->history, &batch->changes.items[i]);
    }
    int code = compute(publish, batch, &rewrite);
    if (code < 0) {
        rewrite_fini(&rewrite);
        return fail_batch(publish, batch, code, failure);
    }
    counters->sets_rewritten += rewrite_publish(&rewrite, &publish->table->sets);
    rewrite_fini(&rewrite);
    publish->at = batch->at;
    if (batch->now > publish->expiry)
        publish->expiry = batch->now;
    segment_expiry_writer(&publish->table->segment, publish->expiry);
    segment_applied_writer(&publish->table->segment, batch->at.revision);
    counters->batches += batch->changes.count > 0;
    counters->changes += batch->changes.count;
    counters->expiries += batch->expired.count;
    publish_count(publish);
    return 0;
}
