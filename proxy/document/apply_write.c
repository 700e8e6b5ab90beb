/* Writes new and different permissions, scopes, roles and assignments, many rows a statement. Permissions, scopes
 * and roles are compared here with the rows that apply_load.c has read; assignments, of which there may be
 * millions, are sent as they are, and the store writes those that differ: the triggers count exactly these. */
#include "proxy/document/apply.h"
#include "proxy/document/transaction.h"
#include "proxy/store/store.h"

#include <stdlib.h>
#include <string.h>

/* The end of "insert, or make it so": SQLite and MySQL say it differently. */
static const char *tail_for(const struct apply *apply, const char *sqlite, const char *mysql)
{
    switch (sql_dialect(store_sql(apply->store))) {
    case SQL_SQLITE:
        return sqlite;
    case SQL_MYSQL:
        return mysql;
    }
    return NULL;
}

/* The rows to be written, as indices into one of apply's lists. */
struct selection {
    struct apply *apply;
    size_t *items;
    size_t count;
};

static int selection_init(struct selection *selection, struct apply *apply, size_t capacity)
{
    *selection = (struct selection){.apply = apply, .items = calloc(capacity + 1, sizeof *selection->items)};
    return selection->items != NULL ? 0 : PERMTAB_E_MEMORY;
}

static int run_selection(struct selection *selection, struct batch_shape shape,
                         void (*bind)(void *context, size_t index, struct sql_statement *statement,
                                      unsigned first))
{
    struct batch batch = {.shape = shape, .count = selection->count, .bind = bind, .context = selection};
    return batch_run(store_sql(selection->apply->store), &batch, selection->apply->failure);
}

/* ---- permissions ---- */

static void bind_permission(void *context, size_t index, struct sql_statement *statement, unsigned first)
{
    const struct selection *selection = context;
    const struct apply_permission *permission = &selection->apply->permissions[selection->items[index]];
    sql_bind_text(statement, first, permission->name);
    sql_bind_u64(statement, first + 1, permission->bit);
    sql_bind_text(statement, first + 2, permission->wanted->description);
    sql_bind_u64(statement, first + 3, permission->wanted->grants_all);
    sql_bind_u64(statement, first + 4, permission->wanted->deprecated);
}

static bool permission_differs(const struct apply_permission *permission)
{
    const struct policy_permission *wanted = permission->wanted;
    return wanted != NULL &&
           (!permission->stored || strcmp(permission->description, wanted->description) != 0 ||
            permission->grants_all != wanted->grants_all || permission->deprecated != wanted->deprecated);
}

int apply_write_permissions(struct apply *apply)
{
    struct selection selection;
    int code = selection_init(&selection, apply, apply->permission_count);
    for (size_t i = 0; code >= 0 && i < apply->permission_count; i++) {
        if (!permission_differs(&apply->permissions[i]))
            continue;
        selection.items[selection.count++] = i;
        code = rows_add(&apply->changed_permissions, (struct row){.v = {i}});
    }
    apply->rows += selection.count;
    struct batch_shape shape = {
        .head = "INSERT INTO permtab_permission (name, bit, description, grants_all, deprecated) VALUES ",
        .row = "(?, ?, ?, ?, ?)",
        .glue = ", ",
        .tail = tail_for(apply,
                         " ON CONFLICT (name) DO UPDATE SET description = excluded.description,"
                         " grants_all = excluded.grants_all, deprecated = excluded.deprecated",
                         " ON DUPLICATE KEY UPDATE description = VALUES(description),"
                         " grants_all = VALUES(grants_all), deprecated = VALUES(deprecated)"),
        .parameters = 5,
    };
    if (code >= 0)
        code = run_selection(&selection, shape, bind_permission);
    free(selection.items);
    return code;
}

/* ---- scopes ---- */

static void bind_scope(void *context, size_t index, struct sql_statement *statement, unsigned first)
{
    const struct selection *selection = context;
    const struct policy_scope *wanted = selection->apply->scopes[selection->items[index]].wanted;
    sql_bind_u64(statement, first, wanted->key.type);
    sql_bind_u64(statement, first + 1, wanted->key.id);
    sql_bind_u64(statement, first + 2, wanted->parent.type);
    sql_bind_u64(statement, first + 3, wanted->parent.id);
    if (wanted->has_owner)
        sql_bind_u64(statement, first + 4, wanted->owner);
    else
        sql_bind_null(statement, first + 4);
}

static bool scope_differs(const struct apply_scope *scope)
{
    const struct policy_scope *wanted = scope->wanted;
    return wanted != NULL &&
           (!scope->stored || !scope_equal(scope->parent, wanted->parent) ||
            scope->has_owner != wanted->has_owner || (scope->has_owner && scope->owner != wanted->owner));
}

/* apply->scopes is sorted by type, so parents are written before their children. */
int apply_write_scopes(struct apply *apply)
{
    struct selection selection;
    int code = selection_init(&selection, apply, apply->scope_count);
    for (size_t i = 0; code >= 0 && i < apply->scope_count; i++) {
        const struct apply_scope *scope = &apply->scopes[i];
        if (!scope_differs(scope))
            continue;
        selection.items[selection.count++] = i;
        code = rows_add(&apply->changed_scopes, (struct row){.v = {scope->key.type, scope->key.id}});
    }
    apply->rows += selection.count;
    struct batch_shape shape = {
        .head = "INSERT INTO permtab_scope (type, id, parent_type, parent_id, owner) VALUES ",
        .row = "(?, ?, ?, ?, ?)",
        .glue = ", ",
        .tail = tail_for(apply,
                         " ON CONFLICT (type, id) DO UPDATE SET parent_type = excluded.parent_type,"
                         " parent_id = excluded.parent_id, owner = excluded.owner",
                         " ON DUPLICATE KEY UPDATE parent_type = VALUES(parent_type),"
                         " parent_id = VALUES(parent_id), owner = VALUES(owner)"),
        .parameters = 5,
    };
    if (code >= 0)
        code = run_selection(&selection, shape, bind_scope);
    free(selection.items);
    return code;
}

/* ---- roles ---- */

static void bind_role(void *context, size_t index, struct sql_statement *statement, unsigned first)
{
    const struct selection *selection = context;
    const struct policy_role *wanted = selection->apply->roles[selection->items[index]].wanted;
    sql_bind_u64(statement, first, wanted->id);
    sql_bind_text(statement, first + 1, wanted->name);
    sql_bind_u64(statement, first + 2, wanted->scope.type);
    sql_bind_u64(statement, first + 3, wanted->scope.id);
    sql_bind_u64(statement, first + 4, wanted->is_default);
    sql_bind_u64(statement, first + 5, wanted->active);
}

static bool role_differs(const struct apply_role *role)
{
    const struct policy_role *wanted = role->wanted;
    return wanted != NULL && (!role->stored || strcmp(role->name, wanted->name) != 0 ||
                              !scope_equal(role->scope, wanted->scope) ||
                              role->is_default != wanted->is_default || role->active != wanted->active);
}

int apply_write_roles(struct apply *apply)
{
    struct selection selection;
    int code = selection_init(&selection, apply, apply->role_count);
    for (size_t i = 0; code >= 0 && i < apply->role_count; i++) {
        if (!role_differs(&apply->roles[i]))
            continue;
        selection.items[selection.count++] = i;
        code = rows_add(&apply->changed_roles, (struct row){.v = {apply->roles[i].id}});
    }
    apply->rows += selection.count;
    struct batch_shape shape = {
        .head = "INSERT INTO permtab_role (id, name, scope_type, scope_id, is_default, active) VALUES ",
        .row = "(?, ?, ?, ?, ?, ?)",
        .glue = ", ",
        .tail = tail_for(
            apply,
            " ON CONFLICT (id) DO UPDATE SET name = excluded.name, scope_type = excluded.scope_type,"
            " scope_id = excluded.scope_id, is_default = excluded.is_default, active = excluded.active",
            " ON DUPLICATE KEY UPDATE name = VALUES(name), scope_type = VALUES(scope_type),"
            " scope_id = VALUES(scope_id), is_default = VALUES(is_default), active = VALUES(active)"),
        .parameters = 6,
    };
    if (code >= 0)
        code = run_selection(&selection, shape, bind_role);
    free(selection.items);
    return code;
}

/* ---- assignments ---- */

static void bind_assignment(void *context, size_t index, struct sql_statement *statement, unsigned first)
{
    const struct apply_assignment *assignment = &((const struct apply *)context)->assignments[index];
    sql_bind_u64(statement, first, assignment->user);
    sql_bind_u64(statement, first + 1, assignment->role);
    sql_bind_u64(statement, first + 2, assignment->scope.type);
    sql_bind_u64(statement, first + 3, assignment->scope.id);
    if (assignment->expires_at == FACTS_NEVER)
        sql_bind_null(statement, first + 4);
    else
        sql_bind_i64(statement, first + 4, assignment->expires_at);
}

int apply_write_assignments(struct apply *apply)
{
    struct batch batch = {
        .shape = {.head = "INSERT INTO permtab_assignment (user_id, role_id, scope_type, scope_id, "
                          "expires_at) VALUES ",
                  .row = "(?, ?, ?, ?, ?)",
                  .glue = ", ",
                  .tail = tail_for(apply,
                                   " ON CONFLICT (user_id, role_id, scope_type, scope_id) DO UPDATE"
                                   " SET expires_at = excluded.expires_at"
                                   " WHERE expires_at IS NOT excluded.expires_at",
                                   " ON DUPLICATE KEY UPDATE expires_at = VALUES(expires_at)"),
                  .parameters = 5},
        .count = apply->policy->assignment_count,
        .bind = bind_assignment,
        .context = apply,
    };
    uint64_t before, after;
    int code = policy_revision(apply->store, &before, apply->failure);
    if (code >= 0)
        code = batch_run(store_sql(apply->store), &batch, apply->failure);
    if (code >= 0)
        code = policy_revision(apply->store, &after, apply->failure);
    if (code < 0)
        return code;
    apply->changed_assignments += after - before;
    apply->rows += after - before;
    return 0;
}
