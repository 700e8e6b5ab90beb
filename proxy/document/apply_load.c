/* Loads the stored rows that an apply needs: every permission (there are at most 16384), and those scopes, roles
 * and lists that the document names or refers to; all of them when the rest is to be pruned. Looked up by lists of
 * keys, never row by row. Assignments are not read: apply_write.c lets the store compare them. */
#include "proxy/base/array.h"
#include "proxy/document/apply.h"
#include "proxy/store/store.h"

#include <stdlib.h>
#include <string.h>

/* Steps through a statement without parameters. */
static int each_row(struct apply *apply, const char *text, sql_take_fn take)
{
    return sql_each(sql_prepare(store_sql(apply->store), text, apply->failure), take, apply, apply->failure);
}

static int take_type(void *context, struct sql_statement *statement)
{
    struct apply *apply = context;
    uint64_t number = sql_column_u64(statement, 0);
    const char *name = sql_column_text(statement, 1);
    if (number >= PERMTAB_SHM_SCOPE_TYPES || strlen(name) >= PERMTAB_SHM_TYPE_NAME_SIZE)
        return failure_set(apply->failure, PERMTAB_E_SCHEMA, "scope type \"%.60s\" does not fit", name);
    strcpy(apply->types.names[number], name);
    if (number >= apply->types.count)
        apply->types.count = (uint32_t)number + 1;
    return 0;
}

/* ---- permissions ---- */

static int compare_permissions(const void *a, const void *b)
{
    const struct apply_permission *x = a, *y = b;
    return strcmp(x->name, y->name);
}

struct apply_permission *apply_permission_find(const struct apply *apply, const char *name)
{
    struct apply_permission wanted = {.name = name};
    return bsearch(&wanted, apply->permissions, apply->permission_count, sizeof wanted, compare_permissions);
}

/* apply->permissions has room for every stored one and every one of the document: load_permissions counts first. */
static int take_permission(void *context, struct sql_statement *statement)
{
    struct apply *apply = context;
    if (apply->permission_count == PERMTAB_SHM_PERMISSIONS_MAX)
        return failure_set(apply->failure, PERMTAB_E_LIMIT, "the store has more than %u permissions",
                           PERMTAB_SHM_PERMISSIONS_MAX);
    struct apply_permission permission = {
        .stored = true,
        .stored_name = strdup(sql_column_text(statement, 0)),
        .bit = (uint32_t)sql_column_u64(statement, 1),
        .description = strdup(sql_column_text(statement, 2)),
        .grants_all = sql_column_u64(statement, 3) != 0,
        .deprecated = sql_column_u64(statement, 4) != 0,
        .deleted = sql_column_u64(statement, 5) != 0,
    };
    permission.name = permission.stored_name;
    apply->permissions[apply->permission_count++] = permission;
    return permission.stored_name != NULL && permission.description != NULL ? 0 : PERMTAB_E_MEMORY;
}

static int load_permissions(struct apply *apply)
{
    static const char text[] =
        "SELECT name, bit, description, grants_all, deprecated, deleted FROM permtab_permission";
    const struct policy *policy = apply->policy;
    apply->permissions =
        calloc(PERMTAB_SHM_PERMISSIONS_MAX + policy->permission_count, sizeof *apply->permissions);
    if (apply->permissions == NULL)
        return PERMTAB_E_MEMORY;
    int code = each_row(apply, text, take_permission);
    if (code < 0)
        return code;
    qsort(apply->permissions, apply->permission_count, sizeof *apply->permissions, compare_permissions);
    size_t stored = apply->permission_count, total = stored;
    for (size_t i = 0; i < policy->permission_count; i++) {
        const struct policy_permission *wanted = &policy->permissions[i];
        struct apply_permission *found = apply_permission_find(apply, wanted->name);
        if (found == NULL) {
            found = &apply->permissions[total++];
            found->name = wanted->name;
        }
        found->wanted = wanted;
    }
    apply->permission_count = total;
    qsort(apply->permissions, apply->permission_count, sizeof *apply->permissions, compare_permissions);
    return 0;
}

/* ---- scopes ---- */

static int compare_scopes(const void *a, const void *b)
{
    const struct apply_scope *x = a, *y = b;
    return scope_compare(x->key, y->key);
}

struct apply_scope *apply_scope_find(const struct apply *apply, struct scope_key key)
{
    struct apply_scope wanted = {.key = key};
    if (apply->scope_count == 0)
        return NULL;
    return bsearch(&wanted, apply->scopes, apply->scope_count, sizeof wanted, compare_scopes);
}

/* Sorts the scopes, and makes one of the document's and the stored side of the same scope. */
static void scopes_merge(struct apply *apply)
{
    size_t kept = 0;
    if (apply->scope_count > 1)
        qsort(apply->scopes, apply->scope_count, sizeof *apply->scopes, compare_scopes);
    for (size_t i = 0; i < apply->scope_count; i++) {
        struct apply_scope *scope = &apply->scopes[i];
        if (kept == 0 || compare_scopes(&apply->scopes[kept - 1], scope) != 0) {
            apply->scopes[kept++] = *scope;
            continue;
        }
        struct apply_scope *same = &apply->scopes[kept - 1];
        const struct policy_scope *wanted = same->wanted != NULL ? same->wanted : scope->wanted;
        if (scope->stored)
            *same = *scope;
        same->wanted = wanted;
    }
    apply->scope_count = kept;
}

static int scope_add(struct apply *apply, const struct apply_scope *scope)
{
    struct apply_scope *added = array_add(&apply->scopes, &apply->scope_count, sizeof *added);
    if (added == NULL)
        return PERMTAB_E_MEMORY;
    *added = *scope;
    return 0;
}

static int take_scope(void *context, struct sql_statement *statement)
{
    struct apply_scope scope = {
        .key = {.type = (uint32_t)sql_column_u64(statement, 0), .id = sql_column_u64(statement, 1)},
        .stored = true,
        .parent = {.type = (uint32_t)sql_column_u64(statement, 2), .id = sql_column_u64(statement, 3)},
        .has_owner = !sql_column_is_null(statement, 4),
    };
    if (scope.has_owner)
        scope.owner = sql_column_u64(statement, 4);
    return scope_add(context, &scope);
}

struct keys {
    struct apply *apply;
    struct row_list rows;
};

static void bind_pair(void *context, size_t index, struct sql_statement *statement, unsigned first)
{
    const struct row *row = &((const struct keys *)context)->rows.items[index];
    sql_bind_u64(statement, first, row->v[0]);
    sql_bind_u64(statement, first + 1, row->v[1]);
}

static void bind_single(void *context, size_t index, struct sql_statement *statement, unsigned first)
{
    sql_bind_u64(statement, first, ((const struct keys *)context)->rows.items[index].v[0]);
}

static int take_scope_of_keys(void *context, struct sql_statement *statement)
{
    return take_scope(((struct keys *)context)->apply, statement);
}

/* Reads the scopes of these keys and merges them in. */
static int read_scopes(struct keys *keys)
{
    static const char *const columns[] = {"type", "id"};
    struct sql *sql = store_sql(keys->apply->store);
    struct batch_text text;
    rows_sort(&keys->rows);
    struct batch batch = {
        .shape =
            batch_select(sql_dialect(sql), &text,
                         "SELECT type, id, parent_type, parent_id, owner FROM permtab_scope", columns, 2),
        .count = keys->rows.count,
        .bind = bind_pair,
        .take = take_scope_of_keys,
        .context = keys,
    };
    int code = batch_run(sql, &batch, keys->apply->failure);
    if (code >= 0)
        scopes_merge(keys->apply);
    return code;
}

/* Skips a key that equals the one before: neighbours are often the same, and this half of making them unique is
 * cheap. */
static int key_add(struct keys *keys, struct scope_key key)
{
    struct row row = {.v = {key.type, key.id}};
    if (keys->rows.count > 0 && row_compare(&keys->rows.items[keys->rows.count - 1], &row) == 0)
        return 0;
    return rows_add(&keys->rows, row);
}

/* The keys of all scopes that the document names. */
static int scope_keys_of_document(struct keys *keys)
{
    const struct policy *policy = keys->apply->policy;
    int code = key_add(keys, (struct scope_key){0});
    for (size_t i = 0; code >= 0 && i < policy->scope_count; i++) {
        code = key_add(keys, policy->scopes[i].key);
        if (code >= 0)
            code = key_add(keys, policy->scopes[i].parent);
    }
    for (size_t i = 0; code >= 0 && i < policy->role_count; i++)
        code = key_add(keys, policy->roles[i].scope);
    for (size_t i = 0; code >= 0 && i < policy->assignment_count; i++)
        if (policy->assignments[i].has_scope)
            code = key_add(keys, policy->assignments[i].scope);
    return code;
}

/* The keys of parents that have not been looked for yet. A parent's type is lower, so the rounds end. */
static int scope_keys_of_parents(struct keys *keys)
{
    const struct apply *apply = keys->apply;
    int code = 0;
    keys->rows.count = 0;
    for (size_t i = 0; code >= 0 && i < apply->scope_count; i++) {
        const struct apply_scope *scope = &apply->scopes[i];
        struct scope_key parent = scope->wanted != NULL ? scope->wanted->parent : scope->parent;
        if (parent.type < scope->key.type && apply_scope_find(apply, parent) == NULL)
            code = key_add(keys, parent);
    }
    return code;
}

static int load_scopes(struct apply *apply)
{
    static const char all[] = "SELECT type, id, parent_type, parent_id, owner FROM permtab_scope";
    struct keys keys = {.apply = apply};
    int code = 0;
    for (size_t i = 0; code >= 0 && i < apply->policy->scope_count; i++)
        code = scope_add(apply, &(struct apply_scope){.key = apply->policy->scopes[i].key,
                                                      .wanted = &apply->policy->scopes[i]});
    if (code < 0)
        return code;
    if (apply->options->prune) {
        code = each_row(apply, all, take_scope);
        scopes_merge(apply);
        return code;
    }
    code = scope_keys_of_document(&keys);
    for (unsigned round = 0; code >= 0 && keys.rows.count > 0 && round <= SCOPE_CHAIN_MAX; round++) {
        code = read_scopes(&keys);
        if (code >= 0)
            code = scope_keys_of_parents(&keys);
    }
    rows_fini(&keys.rows);
    return code;
}

/* ---- roles ---- */

static int compare_roles(const void *a, const void *b)
{
    const struct apply_role *x = a, *y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

struct apply_role *apply_role_find(const struct apply *apply, uint64_t id)
{
    struct apply_role wanted = {.id = id};
    if (apply->role_count == 0)
        return NULL;
    return bsearch(&wanted, apply->roles, apply->role_count, sizeof wanted, compare_roles);
}

/* Takes over the name, also when it fails. */
static int role_add(struct apply *apply, const struct apply_role *role)
{
    struct apply_role *added = array_add(&apply->roles, &apply->role_count, sizeof *added);
    if (added == NULL) {
        free(role->name);
        return PERMTAB_E_MEMORY;
    }
    *added = *role;
    return 0;
}

static int take_role(void *context, struct sql_statement *statement)
{
    struct apply_role role = {
        .id = sql_column_u64(statement, 0),
        .stored = true,
        .name = strdup(sql_column_text(statement, 1)),
        .scope = {.type = (uint32_t)sql_column_u64(statement, 2), .id = sql_column_u64(statement, 3)},
        .is_default = sql_column_u64(statement, 4) != 0,
        .active = sql_column_u64(statement, 5) != 0,
    };
    return role.name != NULL ? role_add(context, &role) : PERMTAB_E_MEMORY;
}

static int take_role_of_keys(void *context, struct sql_statement *statement)
{
    return take_role(((struct keys *)context)->apply, statement);
}

static void roles_merge(struct apply *apply)
{
    size_t kept = 0;
    if (apply->role_count > 1)
        qsort(apply->roles, apply->role_count, sizeof *apply->roles, compare_roles);
    for (size_t i = 0; i < apply->role_count; i++) {
        struct apply_role *role = &apply->roles[i];
        if (kept == 0 || apply->roles[kept - 1].id != role->id) {
            apply->roles[kept++] = *role;
            continue;
        }
        struct apply_role *same = &apply->roles[kept - 1];
        const struct policy_role *wanted = same->wanted != NULL ? same->wanted : role->wanted;
        if (role->stored)
            *same = *role;
        same->wanted = wanted;
    }
    apply->role_count = kept;
}

static int id_add(struct keys *keys, uint64_t id)
{
    return key_add(keys, (struct scope_key){.id = id});
}

/* The ids of all roles that the document names. */
static int role_ids_of_document(struct keys *keys)
{
    const struct policy *policy = keys->apply->policy;
    int code = 0;
    for (size_t i = 0; code >= 0 && i < policy->role_count; i++) {
        code = id_add(keys, policy->roles[i].id);
        for (size_t j = 0; code >= 0 && j < policy->roles[i].inherits_count; j++)
            code = id_add(keys, policy->roles[i].inherits[j]);
    }
    for (size_t i = 0; code >= 0 && i < policy->scope_count; i++)
        for (size_t j = 0; code >= 0 && j < policy->scopes[i].overwrite_count; j++)
            if (policy->scopes[i].overwrites[j].subject == OVERWRITE_ROLE)
                code = id_add(keys, policy->scopes[i].overwrites[j].id);
    for (size_t i = 0; code >= 0 && i < policy->assignment_count; i++)
        code = id_add(keys, policy->assignments[i].role);
    return code;
}

static int read_roles(struct keys *keys)
{
    static const char *const columns[] = {"id"};
    struct sql *sql = store_sql(keys->apply->store);
    struct batch_text text;
    for (size_t i = 0; i < keys->rows.count; i++) /* id_add puts ids second */
        keys->rows.items[i] = (struct row){.v = {keys->rows.items[i].v[1]}};
    rows_sort(&keys->rows);
    struct batch batch = {
        .shape = batch_select(sql_dialect(sql), &text,
                              "SELECT id, name, scope_type, scope_id, is_default, active FROM permtab_role",
                              columns, 1),
        .count = keys->rows.count,
        .bind = bind_single,
        .take = take_role_of_keys,
        .context = keys,
    };
    return batch_run(sql, &batch, keys->apply->failure);
}

static int load_roles(struct apply *apply)
{
    static const char all[] = "SELECT id, name, scope_type, scope_id, is_default, active FROM permtab_role";
    struct keys keys = {.apply = apply};
    int code = 0;
    for (size_t i = 0; code >= 0 && i < apply->policy->role_count; i++)
        code = role_add(apply, &(struct apply_role){.id = apply->policy->roles[i].id,
                                                    .wanted = &apply->policy->roles[i]});
    if (code >= 0 && !apply->options->prune)
        code = role_ids_of_document(&keys);
    if (code >= 0)
        code = apply->options->prune ? each_row(apply, all, take_role) : read_roles(&keys);
    rows_fini(&keys.rows);
    roles_merge(apply);
    return code;
}

/* ---- lists ---- */

/* Loads the inheritance of stored roles above those of the document, for cycles that run through both. */
static int load_ancestry(struct apply *apply)
{
    struct row_list frontier = {0}, seen = {0}, next = {0};
    const struct policy *policy = apply->policy;
    int code = 0;
    for (size_t i = 0; i < policy->role_count; i++)
        for (size_t j = 0; code >= 0 && j < policy->roles[i].inherits_count; j++)
            code = rows_add(&next, (struct row){.v = {policy->roles[i].inherits[j]}});
    for (size_t i = 0; code >= 0 && i < policy->role_count; i++)
        code = rows_add(&seen, (struct row){.v = {policy->roles[i].id}});
    while (code >= 0) {
        frontier.count = 0;
        code = rows_subtract(&next, &seen, &frontier);
        if (code < 0 || frontier.count == 0)
            break;
        for (size_t i = 0; code >= 0 && i < frontier.count; i++)
            code = rows_add(&seen, frontier.items[i]);
        size_t before = apply->ancestry.count;
        if (code >= 0)
            code = apply_links_load(apply, LINK_ROLE_PARENT, &frontier, &apply->ancestry);
        next.count = 0;
        for (size_t i = before; code >= 0 && i < apply->ancestry.count; i++)
            code = rows_add(&next, (struct row){.v = {apply->ancestry.items[i].v[1]}});
    }
    rows_fini(&next);
    rows_fini(&seen);
    rows_fini(&frontier);
    return code;
}

/* Loads the lists of the objects that the document names and the store has. */
static int load_named_links(struct apply *apply)
{
    struct row_list keys[LINK_COUNT] = {0};
    int code = 0;
    for (size_t i = 0; code >= 0 && i < apply->permission_count; i++)
        if (apply->permissions[i].wanted != NULL && apply->permissions[i].stored)
            code = rows_add(&keys[LINK_REQUIREMENT], (struct row){.v = {i}});
    for (size_t i = 0; code >= 0 && i < apply->role_count; i++)
        if (apply->roles[i].wanted != NULL && apply->roles[i].stored)
            code = rows_add(&keys[LINK_ROLE_PERMISSION], (struct row){.v = {apply->roles[i].id}});
    for (size_t i = 0; code >= 0 && i < apply->scope_count; i++)
        if (apply->scopes[i].wanted != NULL && apply->scopes[i].stored)
            code = rows_add(&keys[LINK_OVERWRITE],
                            (struct row){.v = {apply->scopes[i].key.type, apply->scopes[i].key.id}});
    for (enum apply_link link = 0; code >= 0 && link < LINK_COUNT; link++)
        code = apply_links_load(apply, link, &keys[link == LINK_ROLE_PARENT ? LINK_ROLE_PERMISSION : link],
                                &apply->links[link]);
    for (enum apply_link link = 0; link < LINK_COUNT; link++)
        rows_fini(&keys[link]);
    return code < 0 ? code : load_ancestry(apply);
}

/* When pruning, a document that does not name global wants it as it is in an empty store. */
static void want_global(struct apply *apply)
{
    struct apply_scope *global = apply_scope_find(apply, (struct scope_key){0});
    if (global != NULL && global->wanted == NULL)
        global->wanted = &apply->plain_global;
}

int apply_load(struct apply *apply)
{
    static const char types[] = "SELECT number, name FROM permtab_scope_type";
    int code = each_row(apply, types, take_type);
    if (code >= 0)
        code = load_permissions(apply);
    if (code >= 0)
        code = load_scopes(apply);
    if (code >= 0)
        code = load_roles(apply);
    if (code < 0)
        return code;
    if (!apply->options->prune)
        return load_named_links(apply);
    want_global(apply);
    for (enum apply_link link = 0; code >= 0 && link < LINK_COUNT; link++)
        code = apply_links_load(apply, link, NULL, &apply->links[link]);
    return code;
}
