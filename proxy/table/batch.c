/* A batch: the table becomes true at a later revision, in one turn of the loop or in many.
 *
 * The order is the whole argument. Entries hold inputs, sets hold what roles made of them; a batch may change both.
 * Were a set rewritten while an entry that the batch takes away still names it, a reader could see new grants
 * through old inputs: an ALLOW that neither the state before nor the one after gives. Therefore
 *
 *   1  entries and folds that the batch touches are cleared: their readers miss; this may take many turns;
 *   2  role definitions are replaced, and the touched sets computed, aside, in private memory;
 *   3  the touched sets are closed, all of them, written, and opened again;
 *   4  applied_revision and the expiry advance.
 *
 * A reader looks at an entry's word again after it has read the bits, so one that has read bits of step 3 knows of
 * step 1. Between two turns of step 1 the table is what it was, with holes: still true at the revision it had, for
 * as long as its lease lasts, which nobody renews. Fills that the batch does not touch are published meanwhile,
 * being true before and after; all others are read again (fill.c), so no cleared entry comes back. Steps 2 to 4 are
 * one turn.
 *
 * If the sidecar dies between any two stores, every part of the table is either as before the batch, within the
 * lease, or closed or cleared. */
#include "proxy/table/batch.h"

#include "proxy/table/private.h"

#include <assert.h>
#include <string.h>

void batch_fini(struct batch *batch)
{
    change_list_fini(&batch->changes);
    change_list_fini(&batch->expired);
    role_list_fini(&batch->roles);
    catalogue_fini(&batch->catalogue);
    memset(batch, 0, sizeof *batch);
}

static void unfold_through(struct publisher *publisher, struct scope_key scope, uint64_t now_ns)
{
    EACH_TABLE(publisher, table)
    {
        struct scope_node *node = scope_tree_find(&table->scopes, scope);
        if (node != NULL)
            folding_unfold_through(&table->folding, node, now_ns);
    }
}

/* A role's row changed. Every user at a scope is concerned when the role is, or was, a default role there, or when
 * it was moved, because then assignments may begin or cease to be in place. A new role counts as moved: assignments
 * may have waited for it. A default role that only changed its name or whether it is active stays in the same sets.
 * A role without a resident definition is in no set, and none was made without it. */
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

/* Notes a place, once. */
static void add_place(struct applying *applying, struct scope_key scope)
{
    for (uint32_t i = 0; i < applying->place_count; i++)
        if (scope_equal(applying->places[i], scope))
            return;
    applying->places[applying->place_count++] = scope;
}

/* Each table decides by the definition that it has: a role may be resident in one and not in the other. A place that
 * one of them names is retired in both, which costs the other one misses alone. */
static void begin_role_row(struct publisher *publisher, const struct change *change)
{
    struct applying *applying = &publisher->applying;
    const struct role *after = role_list_find(&applying->batch->roles, change->role);
    EACH_TABLE(publisher, table)
    {
        const struct resident_role *before = set_table_role(&table->sets, change->role);
        if (role_row_concerns_scope(before, after, change->scope))
            add_place(applying, change->scope);
        /* SQLite's REPLACE deletes a row without a trigger: no change row then names the place that the role had. */
        if (before != NULL && before->present && after != NULL &&
            !scope_equal(before->role.scope, after->scope))
            add_place(applying, before->role.scope);
    }
}

/* Does step 1 for one change, and notes the scopes whose subtrees retire_places clears. Returns how many entries it
 * cleared. */
static uint64_t begin_change(struct publisher *publisher, const struct change *change, uint64_t now_ns)
{
    switch (change->kind) {
    case CHANGE_SCOPE:
        unfold_through(publisher, change->scope, now_ns);
        add_place(&publisher->applying, change->scope);
        return 0;
    case CHANGE_ROLE:
        unfold_through(publisher, change->scope, now_ns);
        begin_role_row(publisher, change);
        return 0;
    case CHANGE_ASSIGNMENT:
        unfold_through(publisher, change->scope, now_ns);
        return publisher_retire_user_now(publisher, change->user, now_ns);
    case CHANGE_OVERWRITE:
        unfold_through(publisher, change->scope, now_ns);
        if (change->user != 0)
            return publisher_retire_user_now(publisher, change->user, now_ns);
        /* Neither is named: the subject has the id 0, and the row does not say whether it is a user or a role. */
        add_place(&publisher->applying, change->scope);
        return 0;
    case CHANGE_PERMISSION:
    case CHANGE_SCOPE_TYPE:
    case CHANGE_ROLE_GRANT:
    case CHANGE_ROLE_PARENT:
    case CHANGE_STORE:
        return 0; /* concerns sets alone, see touch_sets; CHANGE_STORE makes the feed rebuild */
    }
    return 0;
}

/* Retires entries below the scopes that begin_change noted. Returns whether some are left. */
static bool retire_places(struct publisher *publisher, uint64_t now_ns, uint64_t *work, uint64_t *retired)
{
    struct applying *applying = &publisher->applying;
    while (applying->place_count > 0) {
        if (publisher_retire_scope_now(publisher, applying->places[applying->place_count - 1], now_ns, work,
                                       retired))
            return true;
        applying->place_count--;
    }
    return false;
}

/* Does step 1, as far as `work` goes. Returns whether something is left. */
static bool retire(struct publisher *publisher, uint64_t now_ns, uint64_t work, uint64_t *retired)
{
    struct applying *applying = &publisher->applying;
    const struct change_list *expired = &applying->batch->expired, *changes = &applying->batch->changes;
    for (; work > 0 && applying->expired < expired->count; applying->expired++) {
        uint64_t cleared =
            publisher_retire_user_now(publisher, expired->items[applying->expired].user, now_ns);
        *retired += cleared;
        publisher_spend(&work, 1 + cleared);
    }
    while (!retire_places(publisher, now_ns, &work, retired)) {
        if (applying->expired == expired->count && applying->changes == changes->count)
            return false;
        if (work == 0)
            return true;
        uint64_t cleared = begin_change(publisher, &changes->items[applying->changes++], now_ns);
        *retired += cleared;
        publisher_spend(&work, 1 + cleared);
    }
    return true;
}

static bool holds(const struct inputs *inputs, uint64_t role)
{
    for (size_t i = 0; i < inputs->held_count; i++)
        if (inputs->held[i].role == role)
            return true;
    return false;
}

/* Some sets cannot be computed from their inputs again. They are closed for good, and their entries filled afresh:
 *
 * Those in whose chain there were overwrite rows, when inheritance changes, which decides what rows apply.
 *
 * Those that hold a role which is gone, for inputs do not say where they hold it. Made again it may belong elsewhere,
 * and no change row will name the place where it was held. There are none as long as the triggers refuse to delete a
 * role that other rows refer to: users whose assignments went have been retired, and so has the place of a default
 * role. Nobody's answer may depend on that. */
static int touch_sets_of(struct publisher *publisher, struct set_table *sets, struct batch *batch,
                         const struct change *change, struct rewrite *rewrite)
{
    struct resident_role *role = set_table_role(sets, change->role);
    if (role == NULL)
        return 0;
    /* A store without enforced references gives a role its old parents back when it is made again. */
    bool here = role_list_find(&batch->roles, change->role) != NULL;
    bool inheritance = change->kind == CHANGE_ROLE_PARENT || role->present != here;
    for (size_t i = 0; i < role->link_count; i++) {
        uint32_t set = role->links[i].set;
        struct set_record *record = &sets->records[set];
        if (!record->used || record->generation != role->links[i].generation)
            continue;
        if ((inheritance && record->inputs.overwrites_seen) ||
            (!here && holds(&record->inputs, change->role)))
            set_table_abandon(sets, set);
        else if (rewrite_add(rewrite, sets, set, publisher->batch) < 0)
            return PERMTAB_E_MEMORY;
    }
    return 0;
}

static int touch_all_sets(struct publisher *publisher, struct set_table *sets, struct rewrite *rewrite)
{
    for (uint32_t set = 1; set < sets->segment->table.set_count; set++)
        if (sets->records[set].used && rewrite_add(rewrite, sets, set, publisher->batch) < 0)
            return PERMTAB_E_MEMORY;
    return 0;
}

static bool is_role_change(const struct change *change)
{
    return change->kind == CHANGE_ROLE || change->kind == CHANGE_ROLE_GRANT ||
           change->kind == CHANGE_ROLE_PARENT;
}

/* Replaces the resident definition of a role by the batch's. Called for roles that changed alone: an ancestor that
 * came along is the same. */
static int replace_role(struct set_table *sets, struct batch *batch, uint64_t id)
{
    struct resident_role *resident = set_table_role(sets, id);
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

/* Does the part of step 2 that replaces definitions, and finds the sets that they touch. */
static int touch(struct publisher *publisher, struct set_table *sets, struct batch *batch,
                 struct rewrite *rewrite)
{
    int code = 0;
    for (size_t i = 0; code == 0 && i < batch->changes.count; i++)
        if (is_role_change(&batch->changes.items[i]))
            code = touch_sets_of(publisher, sets, batch, &batch->changes.items[i], rewrite);
    for (size_t i = 0; code == 0 && i < batch->changes.count; i++)
        if (is_role_change(&batch->changes.items[i]))
            code = replace_role(sets, batch, batch->changes.items[i].role);
    if (code == 0 && batch->has_catalogue)
        code = touch_all_sets(publisher, sets, rewrite);
    return code;
}

/* Does the part of step 2 that computes. The catalogue is the new one already. */
static int compute(struct publisher *publisher, struct set_table *sets, struct batch *batch,
                   struct rewrite *rewrite)
{
    /* A set that a later change of the batch has closed for good is not opened again. */
    rewrite_forget_abandoned(rewrite, sets);
    return rewrite_compute(rewrite, sets, &publisher->catalogue, &batch->roles);
}

/* Does steps 2 and 3 in all tables. A failure in the other table is the end of that one alone. */
static int rewrite_sets(struct publisher *publisher, struct batch *batch)
{
    struct rewrite rewrite = {0}, beside = {0};
    struct table *first = publisher->table, *other = publisher->other;
    int code = touch(publisher, &first->sets, batch, &rewrite);
    int code_beside = other != NULL ? touch(publisher, &other->sets, batch, &beside) : 0;
    if (code == 0 && batch->has_catalogue)
        publisher_catalogue_replace(publisher, &batch->catalogue, &batch->at);
    if (code == 0)
        code = compute(publisher, &first->sets, batch, &rewrite);
    if (code == 0 && code_beside == 0 && other != NULL)
        code_beside = compute(publisher, &other->sets, batch, &beside);
    if (code == 0) {
        publisher->counters->sets_rewritten += rewrite_publish(&rewrite, &first->sets);
        if (code_beside < 0)
            publisher_drop_other(publisher);
        else if (other != NULL)
            (void)rewrite_publish(&beside, &other->sets);
    }
    rewrite_fini(&rewrite);
    rewrite_fini(&beside);
    return code;
}

/* Ends a batch that failed: the table is neither as before nor as after it. */
static int fail_batch(struct publisher *publisher, const struct batch *batch, int code,
                      struct failure *failure)
{
    unsigned long long revision = batch->at.revision;
    publisher_end_lease(publisher, STORE_NOT_BELIEVED);
    if (code == PERMTAB_E_SCHEMA)
        return failure_set(failure, code,
                           "at revision %llu a permission or a scope type means something else than before",
                           revision);
    return failure_set(failure, code, "no memory to apply the changes up to revision %llu", revision);
}

int publisher_batch_begin(struct publisher *publisher, struct batch *batch, struct failure *failure)
{
    assert(publisher->applying.batch == NULL);
    publisher->batch++;
    /* The triggers refuse a catalogue that contradicts the one before; a writer that gets round them must not end
     * the process. */
    if (batch->has_catalogue && !catalogue_continues(&publisher->catalogue, &batch->catalogue))
        return fail_batch(publisher, batch, PERMTAB_E_SCHEMA, failure);
    role_list_sort(&batch->roles);
    publisher->applying = (struct applying){.batch = batch};
    return 0;
}

void publisher_batch_forget(struct publisher *publisher)
{
    publisher->applying = (struct applying){.batch = NULL};
}

/* Does steps 2 to 4. */
static int finish(struct publisher *publisher, struct batch *batch, struct failure *failure)
{
    struct counters *counters = publisher->counters;
    for (size_t i = 0; i < batch->changes.count; i++)
        history_add(&publisher->history, &batch->changes.items[i]);
    int code = rewrite_sets(publisher, batch);
    if (code < 0)
        return fail_batch(publisher, batch, code, failure);
    publisher->at = batch->at;
    if (batch->now > publisher->expiry)
        publisher->expiry = batch->now;
    EACH_TABLE(publisher, table)
    {
        segment_expiry_writer(&table->segment, publisher->expiry);
        segment_applied_writer(&table->segment, batch->at.revision);
    }
    counters->batches += batch->changes.count > 0;
    counters->changes += batch->changes.count;
    counters->expiries += batch->expired.count;
    publisher_count(publisher);
    return 0;
}

int publisher_batch_slice(struct publisher *publisher, uint64_t now_ns, uint64_t work,
                          struct failure *failure)
{
    struct batch *batch = publisher->applying.batch;
    if (retire(publisher, now_ns, work, &publisher->counters->entries_retired))
        return 1;
    publisher_batch_forget(publisher);
    return finish(publisher, batch, failure);
}

int publisher_batch(struct publisher *publisher, struct batch *batch, uint64_t now_ns,
                    struct failure *failure)
{
    int code = publisher_batch_begin(publisher, batch, failure);
    return code < 0 ? code : publisher_batch_slice(publisher, now_ns, UINT64_MAX, failure);
}
