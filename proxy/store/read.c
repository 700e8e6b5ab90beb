/* Facts: what the store says about one user at one place. Three round trips and one for each level of inheritance:
 * the chain with its marks, everything that hangs on it, the roles. */
#include "proxy/base/array.h"
#include "proxy/store/store.h"

#include "proxy/store/private.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The chain from the scope upwards. A parent must have a lower type, which also ends the walk. */
static const char chain_text[] =
    "WITH RECURSIVE chain (type, id, parent_type, parent_id, owner) AS ("
    " SELECT type, id, parent_type, parent_id, owner FROM permtab_scope WHERE type = ? AND id = ?"
    " UNION ALL"
    " SELECT s.type, s.id, s.parent_type, s.parent_id, s.owner FROM chain c"
    " JOIN permtab_scope s ON s.type = c.parent_type AND s.id = c.parent_id WHERE s.type < c.type)"
    " SELECT type, id, parent_type, parent_id, owner,"
    " EXISTS (SELECT 1 FROM permtab_overwrite x WHERE x.scope_type = chain.type AND x.scope_id = chain.id),"
    " EXISTS (SELECT 1 FROM permtab_assignment x WHERE x.scope_type = chain.type AND x.scope_id = chain.id),"
    " EXISTS (SELECT 1 FROM permtab_role x WHERE x.scope_type = chain.type AND x.scope_id = chain.id)"
    " FROM chain ORDER BY type";

/* Whether a row continues the chain: the first is global, each next one's parent is the one before. */
static bool chain_fits(const struct facts *facts, struct scope_key key, struct scope_key parent)
{
    if (facts->chain_count == 0)
        return key.type == 0 && key.id == 0;
    return facts->chain_count < SCOPE_CHAIN_MAX &&
           scope_equal(parent, facts->chain[facts->chain_count - 1].key);
}

static int chain_read(struct store *store, struct facts *out, struct failure *failure)
{
    struct sql_statement *st = sql_prepare(store->sql, chain_text, failure);
    sql_bind_u64(st, 1, out->scope.type);
    sql_bind_u64(st, 2, out->scope.id);
    bool whole = true;
    int code;
    while ((code = sql_step(st, failure)) > 0) {
        struct facts_scope level = {
            .key = {.id = sql_column_u64(st, 1), .type = (uint32_t)sql_column_u64(st, 0)},
            .has_owner = !sql_column_is_null(st, 4),
            .owner = sql_column_u64(st, 4),
        };
        struct scope_key parent = {.id = sql_column_u64(st, 3), .type = (uint32_t)sql_column_u64(st, 2)};
        bool bare = !sql_column_u64(st, 5) && !sql_column_u64(st, 6) && !sql_column_u64(st, 7);
        level.plain = bare && !level.has_owner && level.key.type != 0;
        if (!whole || !chain_fits(out, level.key, parent)) {
            whole = false;
            continue;
        }
        out->chain[out->chain_count++] = level;
    }
    sql_reset(st);
    if (!whole || (out->chain_count && !scope_equal(out->chain[out->chain_count - 1].key, out->scope))) {
        out->chain_count = 0;
        out->broken = true;
    }
    return code;
}

/* ---- what hangs on the chain ---------------------------------------------------------------------------------- */

enum hanging { HANGING_ASSIGNMENT = 1, HANGING_DEFAULT = 2, HANGING_OVERWRITE = 3 };

/* Columns: what, id of role (0 for a user's overwrite), scope type, scope id, expires_at, bit, allow, subject. */
static const char *const hanging_parts[] = {
    "SELECT 1, role_id, scope_type, scope_id, expires_at, 0, 0, 0 FROM permtab_assignment WHERE user_id = ? "
    "AND (",
    ") UNION ALL SELECT 2, id, scope_type, scope_id, NULL, 0, 0, 0 FROM permtab_role WHERE is_default = 1 "
    "AND (",
    ") UNION ALL SELECT 3, o.subject_id, o.scope_type, o.scope_id, NULL, p.bit,"
    " CASE o.effect WHEN 'allow' THEN 1 ELSE 0 END, CASE o.subject WHEN 'role' THEN 0 ELSE 1 END"
    " FROM permtab_overwrite o JOIN permtab_permission p ON p.name = o.permission"
    " WHERE (o.subject = 'role' OR o.subject_id = ?) AND (",
};

/* The text for a chain of `levels` scopes; at most SCOPE_CHAIN_MAX different ones are ever prepared. */
static void hanging_text(char *text, size_t size, uint32_t levels)
{
    size_t used = 0;
    for (unsigned part = 0; part < 3; part++) {
        used += (size_t)snprintf(text + used, size - used, "%s", hanging_parts[part]);
        for (uint32_t i = 0; i < levels; i++)
            used += (size_t)snprintf(text + used, size - used, "%s(%sscope_type = ? AND %sscope_id = ?)",
                                     i ? " OR " : "", part == 2 ? "o." : "", part == 2 ? "o." : "");
    }
    snprintf(text + used, size - used, ") LIMIT %u",
             STORE_ASSIGNMENTS_MAX + STORE_ROLES_MAX + STORE_OVERWRITES_MAX + 1);
}

static struct sql_statement *hanging_prepare(struct store *store, const struct facts *facts,
                                             struct failure *failure)
{
    char text[4096];
    hanging_text(text, sizeof(text), facts->chain_count);
    struct sql_statement *st = sql_prepare_built(store->sql, text, failure);
    if (!st)
        return NULL;
    unsigned index = 1;
    for (unsigned part = 0; part < 3; part++) {
        if (part != 1)
            sql_bind_u64(st, index++, facts->user);
        for (uint32_t i = 0; i < facts->chain_count; i++) {
            sql_bind_u64(st, index++, facts->chain[i].key.type);
            sql_bind_u64(st, index++, facts->chain[i].key.id);
        }
    }
    return st;
}

static uint32_t level_of(const struct facts *facts, struct scope_key key)
{
    uint32_t level = 0;
    while (level < facts->chain_count && !scope_equal(facts->chain[level].key, key))
        level++;
    return level;
}

static int too_many(struct failure *failure, const char *what, unsigned limit)
{
    return failure_set(failure, PERMTAB_E_LIMIT, "more than %u %s for one answer", limit, what);
}

static int assignment_take(struct facts *out, struct sql_statement *st, uint32_t level,
                           struct failure *failure)
{
    if (out->assignment_count == STORE_ASSIGNMENTS_MAX)
        return too_many(failure, "assignments", STORE_ASSIGNMENTS_MAX);
    struct facts_assignment *item = array_add(&out->assignments, &out->assignment_count, sizeof(*item));
    if (!item)
        return failure_set(failure, PERMTAB_E_MEMORY, "out of memory");
    item->role = sql_column_u64(st, 1);
    item->level = level;
    item->expires_at = sql_column_is_null(st, 4) ? FACTS_NEVER : sql_column_i64(st, 4);
    return 0;
}

static int default_take(struct facts *out, struct sql_statement *st, uint32_t level, struct failure *failure)
{
    if (out->default_count == STORE_ROLES_MAX)
        return too_many(failure, "default roles", STORE_ROLES_MAX);
    struct facts_default *item = array_add(&out->defaults, &out->default_count, sizeof(*item));
    if (!item)
        return failure_set(failure, PERMTAB_E_MEMORY, "out of memory");
    item->role = sql_column_u64(st, 1);
    item->level = level;
    return 0;
}

static int overwrite_take(struct facts *out, struct sql_statement *st, uint32_t level,
                          struct failure *failure)
{
    if (out->overwrite_count == STORE_OVERWRITES_MAX)
        return too_many(failure, "overwrites", STORE_OVERWRITES_MAX);
    struct facts_overwrite *item = array_add(&out->overwrites, &out->overwrite_count, sizeof(*item));
    if (!item)
        return failure_set(failure, PERMTAB_E_MEMORY, "out of memory");
    item->level = level;
    item->subject = sql_column_u64(st, 7) ? OVERWRITE_USER : OVERWRITE_ROLE;
    item->role = item->subject == OVERWRITE_ROLE ? sql_column_u64(st, 1) : 0;
    item->bit = (uint32_t)sql_column_u64(st, 5);
    item->allow = sql_column_u64(st, 6) != 0;
    return 0;
}

static int hanging_read(struct store *store, struct facts *out, struct failure *failure)
{
    struct sql_statement *st = hanging_prepare(store, out, failure);
    int code;
    while ((code = sql_step(st, failure)) > 0) {
        struct scope_key key = {.id = sql_column_u64(st, 3), .type = (uint32_t)sql_column_u64(st, 2)};
        uint32_t level = level_of(out, key);
        switch ((enum hanging)sql_column_u64(st, 0)) {
        case HANGING_ASSIGNMENT:
            code = assignment_take(out, st, level, failure);
            break;
        case HANGING_DEFAULT:
            code = default_take(out, st, level, failure);
            break;
        case HANGING_OVERWRITE:
            code = overwrite_take(out, st, level, failure);
            break;
        }
        if (code < 0)
            break;
    }
    sql_reset(st);
    return code;
}

static int overwrite_order(const void *a, const void *b)
{
    const struct facts_overwrite *left = a, *right = b;
    if (left->level != right->level)
        return left->level < right->level ? -1 : 1;
    return 0;
}

/* Reads the roles that are held or default. A role that is only named by an overwrite, and not held, has no say. */
static int held_read(struct store *store, struct facts *out, struct failure *failure)
{
    size_t count = out->assignment_count + out->default_count;
    if (count == 0)
        return 0;
    uint64_t *ids = calloc(count, sizeof(*ids));
    if (!ids)
        return failure_set(failure, PERMTAB_E_MEMORY, "out of memory");
    for (size_t i = 0; i < out->assignment_count; i++)
        ids[i] = out->assignments[i].role;
    for (size_t i = 0; i < out->default_count; i++)
        ids[out->assignment_count + i] = out->defaults[i].role;
    int code = store_read_roles(store, ids, count, &out->roles, failure);
    free(ids);
    return code;
}

int store_read_facts(struct store *store, uint64_t user, struct scope_key scope, struct facts *out,
                     struct failure *failure)
{
    assert(store->in_snapshot);
    memset(out, 0, sizeof(*out));
    out->revision = store->snapshot.revision;
    out->nonce = store->snapshot.nonce;
    out->now = store->snapshot_now;
    out->user = user;
    out->scope = scope;
    int code = chain_read(store, out, failure);
    if (code == 0 && out->chain_count > 0)
        code = hanging_read(store, out, failure);
    if (code == 0 && out->overwrite_count > 1)
        qsort(out->overwrites, out->overwrite_count, sizeof(*out->overwrites), overwrite_order);
    if (code == 0)
        code = held_read(store, out, failure);
    if (code < 0)
        facts_fini(out);
    return code;
}
