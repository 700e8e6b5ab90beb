/* The small changes: grant, revoke, assign, unassign. Each is one transaction that first checks the objects it
 * refers to, so that a mistake gets a sentence of its own instead of a trigger's. It writes nothing when nothing
 * would change.
 *
 * A role has one effect for a permission after `grant`: granting allow takes a deny away, which would win otherwise. */
#include "proxy/document/policy.h"
#include "proxy/document/transaction.h"
#include "proxy/store/store.h"

#include <inttypes.h>
#include <string.h>

struct change_request {
    struct store *store;
    uint64_t role;
    const char *permission;
    enum grant_effect effect;
    const struct policy_assignment *assignment;
    struct policy_apply_result *result;
};

/* ---- what is there ---- */

static int role_scope(struct store *store, uint64_t role, struct scope_key *scope, struct failure *failure)
{
    static const char text[] = "SELECT scope_type, scope_id FROM permtab_role WHERE id = ?";
    struct sql_statement *statement = sql_prepare(store_sql(store), text, failure);
    sql_bind_u64(statement, 1, role);
    int code = sql_step(statement, failure);
    if (code > 0)
        *scope = (struct scope_key){.type = (uint32_t)sql_column_u64(statement, 0),
                                    .id = sql_column_u64(statement, 1)};
    sql_reset(statement);
    if (code == 0)
        return failure_set(failure, PERMTAB_E_NOT_FOUND, "there is no role %" PRIu64, role);
    return code < 0 ? code : 0;
}

/* A deleted permission can still be revoked, but no longer granted. */
static int permission_check(struct store *store, const char *name, bool granting, struct failure *failure)
{
    static const char text[] = "SELECT deleted FROM permtab_permission WHERE name = ?";
    uint64_t deleted = 0;
    struct sql_statement *statement = sql_prepare(store_sql(store), text, failure);
    sql_bind_text(statement, 1, name);
    int code = sql_number(statement, &deleted, failure);
    if (code == 0)
        return failure_set(failure, PERMTAB_E_NO_PERMISSION, "there is no permission \"%.100s\"", name);
    if (code > 0 && deleted != 0 && granting)
        return failure_set(failure, PERMTAB_E_NO_PERMISSION, "permission \"%.100s\" was deleted", name);
    return code < 0 ? code : 0;
}

/* 1 and the parent's key; 0: there is no such scope. */
static int scope_parent(struct store *store, struct scope_key scope, struct scope_key *parent,
                        struct failure *failure)
{
    static const char text[] = "SELECT parent_type, parent_id FROM permtab_scope WHERE type = ? AND id = ?";
    struct sql_statement *statement = sql_prepare(store_sql(store), text, failure);
    sql_bind_u64(statement, 1, scope.type);
    sql_bind_u64(statement, 2, scope.id);
    int code = sql_step(statement, failure);
    if (code > 0)
        *parent = (struct scope_key){.type = (uint32_t)sql_column_u64(statement, 0),
                                     .id = sql_column_u64(statement, 1)};
    sql_reset(statement);
    return code;
}

/* Reads the names of types for a message. */
static int type_names(struct store *store, struct scope_types *types, struct failure *failure)
{
    static const char text[] = "SELECT number, name FROM permtab_scope_type";
    struct sql_statement *statement = sql_prepare(store_sql(store), text, failure);
    int code;
    memset(types, 0, sizeof *types);
    while ((code = sql_step(statement, failure)) > 0) {
        uint64_t number = sql_column_u64(statement, 0);
        if (number >= PERMTAB_SHM_SCOPE_TYPES)
            continue;
        strncpy(types->names[number], sql_column_text(statement, 1), PERMTAB_SHM_TYPE_NAME_SIZE - 1);
        if (number >= types->count)
            types->count = (uint32_t)number + 1;
    }
    sql_reset(statement);
    return code;
}

/* Checks that `scope` is there, and at or below the role's own scope. */
static int placement_check(struct store *store, uint64_t role, struct scope_key scope, struct scope_key home,
                           struct failure *failure)
{
    struct scope_types types;
    struct scope_key at = scope, parent = {0};
    char scope_text[SCOPE_TEXT_SIZE], home_text[SCOPE_TEXT_SIZE];
    int code = type_names(store, &types, failure);
    if (code >= 0)
        code = scope_parent(store, at, &parent, failure);
    if (code == 0)
        return failure_set(failure, PERMTAB_E_NOT_FOUND, "there is no scope %s",
                           scope_format(&types, scope, scope_text));
    while (code > 0 && at.type > home.type && parent.type < at.type) {
        at = parent;
        if (at.type > home.type)
            code = scope_parent(store, at, &parent, failure);
    }
    if (code < 0)
        return code;
    if (!scope_equal(at, home))
        return failure_set(failure, PERMTAB_E_CONFLICT,
                           "role %" PRIu64 " is of %s and cannot be held at %s, which is not below it", role,
                           scope_format(&types, home, home_text), scope_format(&types, scope, scope_text));
    return 0;
}

/* ---- grant, revoke ---- */

/* Runs a statement about the role, the permission and its effect. 1 when it gave a row. */
static int run_on_grant(struct change_request *request, const char *text, struct failure *failure)
{
    struct sql_statement *statement = sql_prepare(store_sql(request->store), text, failure);
    sql_bind_u64(statement, 1, request->role);
    sql_bind_text(statement, 2, request->permission);
    sql_bind_text(statement, 3, grant_effect_names[request->effect]);
    return sql_run(statement, failure);
}

static int grant_body(void *context, struct failure *failure)
{
    static const char remove_others[] =
        "DELETE FROM permtab_role_permission WHERE role_id = ? AND permission = ? AND effect <> ?";
    static const char granted_already[] =
        "SELECT 1 FROM permtab_role_permission WHERE role_id = ? AND permission = ? AND effect = ?";
    static const char insert[] =
        "INSERT INTO permtab_role_permission (role_id, permission, effect) VALUES (?, ?, ?)";
    struct change_request *request = context;
    struct scope_key scope;
    int code = role_scope(request->store, request->role, &scope, failure);
    if (code >= 0)
        code = permission_check(request->store, request->permission, true, failure);
    if (code >= 0)
        code = run_on_grant(request, remove_others, failure);
    if (code >= 0) {
        request->result->rows_written += sql_changes(store_sql(request->store));
        code = run_on_grant(request, granted_already, failure);
    }
    if (code == 0) {
        code = run_on_grant(request, insert, failure);
        if (code >= 0)
            request->result->rows_written++;
    }
    request->result->roles = request->result->rows_written > 0 ? 1 : 0;
    return code;
}

static int revoke_body(void *context, struct failure *failure)
{
    static const char text[] = "DELETE FROM permtab_role_permission WHERE role_id = ? AND permission = ?";
    struct change_request *request = context;
    struct scope_key scope;
    int code = role_scope(request->store, request->role, &scope, failure);
    if (code >= 0)
        code = permission_check(request->store, request->permission, false, failure);
    if (code < 0)
        return code;
    struct sql_statement *statement = sql_prepare(store_sql(request->store), text, failure);
    sql_bind_u64(statement, 1, request->role);
    sql_bind_text(statement, 2, request->permission);
    code = sql_run(statement, failure);
    if (code >= 0)
        request->result->rows_written = sql_changes(store_sql(request->store));
    request->result->roles = request->result->rows_written > 0 ? 1 : 0;
    return code;
}

/* ---- assign, unassign ---- */

static void bind_key(struct sql_statement *statement, unsigned first,
                     const struct policy_assignment *assignment, struct scope_key scope)
{
    sql_bind_u64(statement, first, assignment->user);
    sql_bind_u64(statement, first + 1, assignment->role);
    sql_bind_u64(statement, first + 2, scope.type);
    sql_bind_u64(statement, first + 3, scope.id);
}

static void bind_expiry(struct sql_statement *statement, unsigned index, int64_t expires_at)
{
    if (expires_at == FACTS_NEVER)
        sql_bind_null(statement, index);
    else
        sql_bind_i64(statement, index, expires_at);
}

/* 1 and *expires_at when the assignment is there. */
static int assignment_find(struct store *store, const struct policy_assignment *assignment,
                           struct scope_key scope, int64_t *expires_at, struct failure *failure)
{
    static const char text[] = "SELECT expires_at FROM permtab_assignment"
                               " WHERE user_id = ? AND role_id = ? AND scope_type = ? AND scope_id = ?";
    struct sql_statement *statement = sql_prepare(store_sql(store), text, failure);
    bind_key(statement, 1, assignment, scope);
    int code = sql_step(statement, failure);
    if (code > 0)
        *expires_at = sql_column_is_null(statement, 0) ? FACTS_NEVER : sql_column_i64(statement, 0);
    sql_reset(statement);
    return code;
}

static int assignment_write(struct store *store, const struct policy_assignment *assignment,
                            struct scope_key scope, bool exists, struct failure *failure)
{
    static const char insert[] =
        "INSERT INTO permtab_assignment"
        " (expires_at, user_id, role_id, scope_type, scope_id) VALUES (?, ?, ?, ?, ?)";
    static const char update[] = "UPDATE permtab_assignment SET expires_at = ?"
                                 " WHERE user_id = ? AND role_id = ? AND scope_type = ? AND scope_id = ?";
    struct sql_statement *statement = sql_prepare(store_sql(store), exists ? update : insert, failure);
    bind_expiry(statement, 1, assignment->expires_at);
    bind_key(statement, 2, assignment, scope);
    return sql_run(statement, failure);
}

static int assign_body(void *context, struct failure *failure)
{
    struct change_request *request = context;
    const struct policy_assignment *assignment = request->assignment;
    struct scope_key home, scope;
    int64_t expires_at = 0;
    int code = role_scope(request->store, assignment->role, &home, failure);
    if (code < 0)
        return code;
    scope = assignment->has_scope ? assignment->scope : home;
    code = placement_check(request->store, assignment->role, scope, home, failure);
    if (code >= 0)
        code = assignment_find(request->store, assignment, scope, &expires_at, failure);
    if (code < 0 || (code > 0 && expires_at == assignment->expires_at))
        return code;
    code = assignment_write(request->store, assignment, scope, code > 0, failure);
    if (code >= 0)
        request->result->rows_written = request->result->assignments = 1;
    return code;
}

static int unassign_body(void *context, struct failure *failure)
{
    static const char text[] = "DELETE FROM permtab_assignment"
                               " WHERE user_id = ? AND role_id = ? AND scope_type = ? AND scope_id = ?";
    struct change_request *request = context;
    const struct policy_assignment *assignment = request->assignment;
    struct scope_key scope = {0, 0}; /* else gcc for arm64 warns that it may be uninitialised */
    int code = role_scope(request->store, assignment->role, &scope, failure);
    if (code < 0)
        return code;
    if (assignment->has_scope)
        scope = assignment->scope;
    struct sql_statement *statement = sql_prepare(store_sql(request->store), text, failure);
    bind_key(statement, 1, assignment, scope);
    code = sql_run(statement, failure);
    if (code >= 0)
        request->result->rows_written = request->result->assignments = sql_changes(store_sql(request->store));
    return code;
}

/* ---- the four ---- */

int policy_grant(struct store *store, uint64_t role, const char *permission, enum grant_effect effect,
                 struct policy_apply_result *result, struct failure *failure)
{
    struct change_request request = {
        .store = store, .role = role, .permission = permission, .effect = effect, .result = result};
    return policy_transaction(store, false, grant_body, &request, result, failure);
}

int policy_revoke(struct store *store, uint64_t role, const char *permission,
                  struct policy_apply_result *result, struct failure *failure)
{
    struct change_request request = {
        .store = store, .role = role, .permission = permission, .result = result};
    return policy_transaction(store, false, revoke_body, &request, result, failure);
}

int policy_assign(struct store *store, const struct policy_assignment *assignment,
                  struct policy_apply_result *result, struct failure *failure)
{
    struct change_request request = {.store = store, .assignment = assignment, .result = result};
    return policy_transaction(store, false, assign_body, &request, result, failure);
}

int policy_unassign(struct store *store, const struct policy_assignment *assignment,
                    struct policy_apply_result *result, struct failure *failure)
{
    struct change_request request = {.store = store, .assignment = assignment, .result = result};
    return policy_transaction(store, false, unassign_body, &request, result, failure);
}
