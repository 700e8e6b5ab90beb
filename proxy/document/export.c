/* export: the whole store, in one snapshot, as a policy document. Deleted permissions and rows that still refer to
 * them are left out: a document cannot name them. Applying an export changes nothing.
 *
 * Objects are read first and sorted; then the rows of their lists are added to their objects. */
#include "client/wire/text.h"
#include "proxy/base/array.h"
#include "proxy/document/policy.h"
#include "proxy/document/transaction.h"
#include "proxy/store/store.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PERMISSION_KEY_SIZE 160
#define ROLE_KEY_SIZE       32

struct export
{
    struct store *store;
    struct policy *policy;
    struct failure *failure;
};

typedef int (*take_fn)(struct export *export, struct sql_statement *statement);

static int each_row(struct export *export, const char *text, take_fn take)
{
    struct sql_statement *statement = sql_prepare(store_sql(export->store), text, export->failure);
    int code;
    while ((code = sql_step(statement, export->failure)) > 0) {
        code = take(export, statement);
        if (code == PERMTAB_E_MEMORY)
            failure_set(export->failure, code, "out of memory");
        if (code < 0)
            break;
    }
    sql_reset(statement);
    return code;
}

static int names_add(struct policy_names *names, const char *name)
{
    char **item = array_add(&names->items, &names->count, sizeof *item);
    return item != NULL && (*item = strdup(name)) != NULL ? 0 : PERMTAB_E_MEMORY;
}

/* ---- objects ---- */

/* SQLite takes any bytes as text, and both stores take a NUL; a document holds UTF-8 alone. `key` is the row's;
 * `digits` is how many hexadecimal digits the whole text has, which shows whether it goes on behind its first zero. */
static int check_text(const struct export *export, const char *text, uint64_t digits, const char *table,
                      const char *key, const char *column)
{
    const char *trouble = digits != 2 * (uint64_t)strlen(text) ? "has a NUL in it"
                          : !text_is_utf8(text, strlen(text))  ? "is not UTF-8"
                                                               : NULL;
    if (trouble == NULL)
        return 0;
    return failure_set(export->failure, PERMTAB_E_INVALID,
                       "%s, %s: %s %s; give it another one by apply or by UPDATE, then export", table, key,
                       column, trouble);
}

static int take_permission(struct export *export, struct sql_statement *statement)
{
    struct policy *policy = export->policy;
    struct policy_permission *permission =
        array_add(&policy->permissions, &policy->permission_count, sizeof *permission);
    if (permission == NULL)
        return PERMTAB_E_MEMORY;
    permission->name = strdup(sql_column_text(statement, 0));
    permission->description = strdup(sql_column_text(statement, 1));
    permission->grants_all = sql_column_u64(statement, 2) != 0;
    permission->deprecated = sql_column_u64(statement, 3) != 0;
    if (permission->name == NULL || permission->description == NULL)
        return PERMTAB_E_MEMORY;
    char key[PERMISSION_KEY_SIZE];
    (void)snprintf(key, sizeof key, "name %s", permission->name); /* ASCII: a check of the table */
    return check_text(export, permission->description, sql_column_u64(statement, 4), "permtab_permission",
                      key, "description");
}

static int take_scope(struct export *export, struct sql_statement *statement)
{
    struct policy *policy = export->policy;
    struct policy_scope *scope = array_add(&policy->scopes, &policy->scope_count, sizeof *scope);
    if (scope == NULL)
        return PERMTAB_E_MEMORY;
    scope->key = (struct scope_key){.type = (uint32_t)sql_column_u64(statement, 0),
                                    .id = sql_column_u64(statement, 1)};
    scope->parent = (struct scope_key){.type = (uint32_t)sql_column_u64(statement, 2),
                                       .id = sql_column_u64(statement, 3)};
    scope->has_owner = !sql_column_is_null(statement, 4);
    if (scope->has_owner)
        scope->owner = sql_column_u64(statement, 4);
    return 0;
}

static int take_role(struct export *export, struct sql_statement *statement)
{
    struct policy *policy = export->policy;
    struct policy_role *role = array_add(&policy->roles, &policy->role_count, sizeof *role);
    if (role == NULL)
        return PERMTAB_E_MEMORY;
    role->id = sql_column_u64(statement, 0);
    role->name = strdup(sql_column_text(statement, 1));
    role->scope = (struct scope_key){.type = (uint32_t)sql_column_u64(statement, 2),
                                     .id = sql_column_u64(statement, 3)};
    role->is_default = sql_column_u64(statement, 4) != 0;
    role->active = sql_column_u64(statement, 5) != 0;
    if (role->name == NULL)
        return PERMTAB_E_MEMORY;
    char key[ROLE_KEY_SIZE];
    (void)snprintf(key, sizeof key, "id %" PRIu64, role->id);
    return check_text(export, role->name, sql_column_u64(statement, 6), "permtab_role", key, "name");
}

static int take_assignment(struct export *export, struct sql_statement *statement)
{
    struct policy *policy = export->policy;
    struct policy_assignment *assignment =
        array_add(&policy->assignments, &policy->assignment_count, sizeof *assignment);
    if (assignment == NULL)
        return PERMTAB_E_MEMORY;
    assignment->user = sql_column_u64(statement, 0);
    assignment->role = sql_column_u64(statement, 1);
    assignment->has_scope = true;
    assignment->scope = (struct scope_key){.type = (uint32_t)sql_column_u64(statement, 2),
                                           .id = sql_column_u64(statement, 3)};
    assignment->expires_at = sql_column_is_null(statement, 4) ? FACTS_NEVER : sql_column_i64(statement, 4);
    return 0;
}

/* ---- finding them again ---- */

static int compare_permissions(const void *a, const void *b)
{
    const struct policy_permission *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static int compare_scopes(const void *a, const void *b)
{
    const struct policy_scope *x = a, *y = b;
    return scope_compare(x->key, y->key);
}

static int compare_roles(const void *a, const void *b)
{
    const struct policy_role *x = a, *y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

static void sort_objects(struct policy *policy)
{
    if (policy->permission_count > 1)
        qsort(policy->permissions, policy->permission_count, sizeof *policy->permissions,
              compare_permissions);
    if (policy->scope_count > 1)
        qsort(policy->scopes, policy->scope_count, sizeof *policy->scopes, compare_scopes);
    if (policy->role_count > 1)
        qsort(policy->roles, policy->role_count, sizeof *policy->roles, compare_roles);
}

static struct policy_permission *permission_find(const struct policy *policy, const char *name)
{
    struct policy_permission wanted = {.name = (char *)(uintptr_t)name};
    return policy->permission_count == 0 ? NULL
                                         : bsearch(&wanted, policy->permissions, policy->permission_count,
                                                   sizeof wanted, compare_permissions);
}

static struct policy_role *role_find(const struct policy *policy, uint64_t id)
{
    struct policy_role wanted = {.id = id};
    return policy->role_count == 0
               ? NULL
               : bsearch(&wanted, policy->roles, policy->role_count, sizeof wanted, compare_roles);
}

static struct policy_scope *scope_find(const struct policy *policy, struct scope_key key)
{
    struct policy_scope wanted = {.key = key};
    return policy->scope_count == 0
               ? NULL
               : bsearch(&wanted, policy->scopes, policy->scope_count, sizeof wanted, compare_scopes);
}

/* ---- rows of their lists. What plain SQL left without its object is passed over, as the resolver does ---- */

static int take_requirement(struct export *export, struct sql_statement *statement)
{
    struct policy_permission *permission = permission_find(export->policy, sql_column_text(statement, 0));
    const char *requires = sql_column_text(statement, 1);
    if (permission == NULL || permission_find(export->policy, requires) == NULL)
        return 0;
    return names_add(&permission->requires, requires);
}

static int take_parent(struct export *export, struct sql_statement *statement)
{
    struct policy_role *role = role_find(export->policy, sql_column_u64(statement, 0));
    if (role == NULL)
        return 0;
    uint64_t *parent = array_add(&role->inherits, &role->inherits_count, sizeof *parent);
    if (parent == NULL)
        return PERMTAB_E_MEMORY;
    *parent = sql_column_u64(statement, 1);
    return 0;
}

static int take_grant(struct export *export, struct sql_statement *statement)
{
    struct policy_role *role = role_find(export->policy, sql_column_u64(statement, 0));
    const char *name = sql_column_text(statement, 1);
    if (role == NULL || permission_find(export->policy, name) == NULL)
        return 0;
    const char *effect = sql_column_text(statement, 2);
    if (strcmp(effect, "allow") == 0)
        return names_add(&role->allow, name);
    if (strcmp(effect, "allow_own") == 0)
        return names_add(&role->allow_own, name);
    return names_add(&role->deny, name);
}

/* Rows come in the order of scope and subject, so a new subject begins a new overwrite. */
static int take_overwrite(struct export *export, struct sql_statement *statement)
{
    struct scope_key key = {.type = (uint32_t)sql_column_u64(statement, 0),
                            .id = sql_column_u64(statement, 1)};
    struct policy_scope *scope = scope_find(export->policy, key);
    enum overwrite_subject subject =
        strcmp(sql_column_text(statement, 2), "role") == 0 ? OVERWRITE_ROLE : OVERWRITE_USER;
    uint64_t id = sql_column_u64(statement, 3);
    bool allow = strcmp(sql_column_text(statement, 5), "allow") == 0;
    if (scope == NULL)
        return 0;
    struct policy_overwrite *last =
        scope->overwrite_count > 0 ? &scope->overwrites[scope->overwrite_count - 1] : NULL;
    const char *name = sql_column_text(statement, 4);
    if (permission_find(export->policy, name) == NULL)
        return 0;
    if (last == NULL || last->subject != subject || last->id != id) {
        last = array_add(&scope->overwrites, &scope->overwrite_count, sizeof *last);
        if (last == NULL)
            return PERMTAB_E_MEMORY;
        *last = (struct policy_overwrite){.subject = subject, .id = id};
    }
    return names_add(allow ? &last->allow : &last->deny, name);
}

/* Drops global when it is plain: it is always there, and a document names it only when it has an owner or
 * overwrites. */
static void drop_plain_global(struct policy *policy)
{
    if (policy->scope_count == 0 || policy->scopes[0].key.type != 0 || policy->scopes[0].has_owner ||
        policy->scopes[0].overwrite_count > 0)
        return;
    memmove(policy->scopes, policy->scopes + 1, (policy->scope_count - 1) * sizeof *policy->scopes);
    policy->scope_count--;
}

static int export_read(struct export *export)
{
    static const char permissions[] =
        "SELECT name, description, grants_all, deprecated, LENGTH(HEX(description)) FROM permtab_permission"
        " WHERE deleted = 0";
    static const char scopes[] = "SELECT type, id, parent_type, parent_id, owner FROM permtab_scope";
    static const char roles[] =
        "SELECT id, name, scope_type, scope_id, is_default, active, LENGTH(HEX(name)) FROM permtab_role";
    static const char requirements[] = "SELECT permission, requires FROM permtab_requirement";
    static const char parents[] = "SELECT role_id, parent_id FROM permtab_role_parent";
    static const char grants[] = "SELECT role_id, permission, effect FROM permtab_role_permission";
    static const char overwrites[] =
        "SELECT scope_type, scope_id, subject, subject_id, permission, effect FROM permtab_overwrite"
        " ORDER BY scope_type, scope_id, subject, subject_id";
    static const char assignments[] =
        "SELECT user_id, role_id, scope_type, scope_id, expires_at FROM permtab_assignment";
    int code = each_row(export, permissions, take_permission);
    if (code >= 0)
        code = each_row(export, scopes, take_scope);
    if (code >= 0)
        code = each_row(export, roles, take_role);
    sort_objects(export->policy);
    if (code >= 0)
        code = each_row(export, requirements, take_requirement);
    if (code >= 0)
        code = each_row(export, parents, take_parent);
    if (code >= 0)
        code = each_row(export, grants, take_grant);
    if (code >= 0)
        code = each_row(export, overwrites, take_overwrite);
    if (code >= 0)
        code = each_row(export, assignments, take_assignment);
    if (code >= 0)
        drop_plain_global(export->policy);
    return code;
}

int policy_export(struct store *store, struct policy *out, struct failure *failure)
{
    struct failure own = {0};
    struct export export = {.store = store, .policy = out, .failure = failure != NULL ? failure : &own};
    memset(out, 0, sizeof *out);
    int code = sql_begin(store_sql(store), SQL_READ_SNAPSHOT, export.failure);
    if (code < 0)
        return code;
    code = export_read(&export);
    sql_rollback(store_sql(store));
    if (code < 0)
        policy_fini(out);
    return code;
}
