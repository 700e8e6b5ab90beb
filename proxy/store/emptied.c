/* Whether a table was emptied behind the triggers' back. TRUNCATE fires none; the guards refuse it, but it gets
 * through with foreign keys off, and MariaDB then keeps even the table's creation time. Rows that are deleted leave
 * change rows, so a table that had rows at the last look, has none now, and is named by no change in between was
 * not emptied by deleting.
 *
 * A table that is emptied and filled again between two looks goes unseen; the auditor finds that. */
#include "proxy/store/private.h"

static const struct policy_table {
    const char *name;
    enum change_kind kind;
} policy_tables[] = {
    {"permtab_permission", CHANGE_PERMISSION},
    {"permtab_requirement", CHANGE_PERMISSION},
    {"permtab_scope_type", CHANGE_SCOPE_TYPE},
    {"permtab_scope", CHANGE_SCOPE},
    {"permtab_role", CHANGE_ROLE},
    {"permtab_role_permission", CHANGE_ROLE_GRANT},
    {"permtab_role_parent", CHANGE_ROLE_PARENT},
    {"permtab_assignment", CHANGE_ASSIGNMENT},
    {"permtab_overwrite", CHANGE_OVERWRITE},
};

#define POLICY_TABLES (sizeof policy_tables / sizeof policy_tables[0])

/* The newest revision comes first: rows that are deleted after it was read have a newer one, whatever the bits then
 * say. The bits are in the order of policy_tables. */
static const char look_text[] =
    "SELECT (SELECT MAX(revision) FROM permtab_change), EXISTS(SELECT 1 FROM permtab_permission),"
    " EXISTS(SELECT 1 FROM permtab_requirement), EXISTS(SELECT 1 FROM permtab_scope_type),"
    " EXISTS(SELECT 1 FROM permtab_scope), EXISTS(SELECT 1 FROM permtab_role),"
    " EXISTS(SELECT 1 FROM permtab_role_permission), EXISTS(SELECT 1 FROM permtab_role_parent),"
    " EXISTS(SELECT 1 FROM permtab_assignment), EXISTS(SELECT 1 FROM permtab_overwrite)";

static int look(struct store *store, uint64_t *revision, uint32_t *filled, struct failure *failure)
{
    struct sql_statement *st = sql_prepare(store->sql, look_text, failure);
    int code = sql_step(st, failure);
    *filled = 0;
    if (code > 0) {
        *revision = sql_column_u64(st, 0);
        for (unsigned i = 0; i < POLICY_TABLES; i++)
            *filled |= (uint32_t)(sql_column_u64(st, i + 1) != 0) << i;
    }
    sql_reset(st);
    return code < 0 ? code : 0;
}

/* 1 when a change of this kind came after `revision`. */
static int changed_since(struct store *store, enum change_kind kind, uint64_t revision,
                         struct failure *failure)
{
    struct sql_statement *st = sql_prepare(
        store->sql, "SELECT 1 FROM permtab_change WHERE revision > ? AND kind = ? LIMIT 1", failure);
    sql_bind_u64(st, 1, revision);
    sql_bind_u64(st, 2, (uint64_t)kind);
    return sql_run(st, failure);
}

int store_emptied_check(struct store *store, struct failure *failure)
{
    uint64_t revision = 0;
    uint32_t filled = 0;
    int code = look(store, &revision, &filled, failure);
    if (code < 0)
        return code;
    uint32_t emptied = store->looked.filled & ~filled;
    for (unsigned i = 0; code >= 0 && i < POLICY_TABLES; i++) {
        if ((emptied >> i & 1u) == 0)
            continue;
        code = changed_since(store, policy_tables[i].kind, store->looked.revision, failure);
        if (code == 0)
            code = failure_set(failure, PERMTAB_E_SCHEMA, "%s was emptied without a change row: TRUNCATE?",
                               policy_tables[i].name);
    }
    /* no failure was reported: the next look, perhaps over another connection, begins where this one did */
    if (code < 0 && code != PERMTAB_E_SCHEMA)
        return code;
    /* Reported once: the caller then reads everything again, as it now is. */
    store->looked.filled = filled;
    store->looked.revision = revision;
    return code < 0 ? code : 0;
}
