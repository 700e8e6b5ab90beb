/* Permissions, what they require, and scope types: read whole, because they are few; and the scope types of the
 * configuration, appended to the stored ones. */
#include "proxy/base/array.h"
#include "proxy/store/store.h"

#include "proxy/store/private.h"

#include <stdlib.h>
#include <string.h>

static int no_memory(struct failure *failure)
{
    return failure_set(failure, PERMTAB_E_MEMORY, "out of memory");
}

static int types_read(struct store *store, struct scope_types *out, struct failure *failure)
{
    struct sql_statement *st =
        sql_prepare(store->sql, "SELECT number, name FROM permtab_scope_type ORDER BY number", failure);
    memset(out, 0, sizeof(*out));
    int code;
    while ((code = sql_step(st, failure)) > 0) {
        const char *name = sql_column_text(st, 1);
        if (sql_column_u64(st, 0) != out->count || out->count == PERMTAB_SHM_SCOPE_TYPES ||
            strlen(name) >= PERMTAB_SHM_TYPE_NAME_SIZE) {
            code = failure_set(failure, PERMTAB_E_SCHEMA, "scope type %u is missing or has no usable name",
                               out->count);
            break;
        }
        strcpy(out->names[out->count++], name);
    }
    sql_reset(st);
    if (code == 0 && out->count == 0)
        code = failure_set(failure, PERMTAB_E_SCHEMA, "the store has no scope types, not even global");
    return code;
}

static int permission_take(struct catalogue *out, struct sql_statement *st, uint32_t max,
                           struct failure *failure)
{
    uint64_t bit = sql_column_u64(st, 0);
    const char *name = sql_column_text(st, 1);
    if (bit >= max)
        return failure_set(failure, PERMTAB_E_LIMIT,
                           "permission %s has bit %llu: permissions_max = %u is too small", name,
                           (unsigned long long)bit, max);
    if (out->count && out->permissions[out->count - 1].bit == bit)
        return failure_set(failure, PERMTAB_E_SCHEMA, "permissions %s and %s share bit %llu",
                           out->permissions[out->count - 1].name, name, (unsigned long long)bit);
    struct permission *permission = array_add(&out->permissions, &out->count, sizeof(*permission));
    if (!permission)
        return no_memory(failure);
    *permission = (struct permission){
        .bit = (uint32_t)bit,
        .name = strdup(name),
        .description = strdup(sql_column_text(st, 2)),
        .grants_all = sql_column_u64(st, 3) != 0,
        .deprecated = sql_column_u64(st, 4) != 0,
        .deleted = sql_column_u64(st, 5) != 0,
    };
    return permission->name && permission->description ? 0 : no_memory(failure);
}

static int permissions_read(struct store *store, uint32_t max, struct catalogue *out, struct failure *failure)
{
    struct sql_statement *st =
        sql_prepare(store->sql,
                    "SELECT bit, name, description, grants_all, deprecated, deleted FROM permtab_permission"
                    " ORDER BY bit",
                    failure);
    int code;
    while ((code = sql_step(st, failure)) > 0) {
        code = permission_take(out, st, max, failure);
        if (code < 0)
            break;
    }
    sql_reset(st);
    return code;
}

/* Rows come in the order of the permissions, so one walk finds the one that each belongs to. */
static int requirements_read(struct store *store, struct catalogue *out, struct failure *failure)
{
    struct sql_statement *st =
        sql_prepare(store->sql,
                    "SELECT p.bit, q.bit FROM permtab_requirement r"
                    " JOIN permtab_permission p ON p.name = r.permission"
                    " JOIN permtab_permission q ON q.name = r.requires ORDER BY p.bit, q.bit",
                    failure);
    size_t at = 0;
    int code;
    while ((code = sql_step(st, failure)) > 0) {
        uint32_t bit = (uint32_t)sql_column_u64(st, 0);
        while (at < out->count && out->permissions[at].bit < bit)
            at++;
        if (at == out->count || out->permissions[at].bit != bit)
            continue;
        struct permission *permission = &out->permissions[at];
        uint32_t *grown =
            realloc(permission->requires, (permission->requires_count + 1) * sizeof(*permission->requires));
        if (!grown) {
            code = no_memory(failure);
            break;
        }
        permission->requires = grown;
        permission->requires[permission->requires_count++] = (uint32_t)sql_column_u64(st, 1);
    }
    sql_reset(st);
    return code;
}

int store_read_catalogue(struct store *store, uint32_t permissions_max, struct catalogue *out,
                         struct failure *failure)
{
    memset(out, 0, sizeof(*out));
    out->words = (permissions_max + 63) / 64;
    int code = types_read(store, &out->types, failure);
    if (code == 0)
        code = permissions_read(store, permissions_max, out, failure);
    if (code == 0)
        code = requirements_read(store, out, failure);
    if (code == 0 && catalogue_index(out) < 0)
        code = failure_set(failure, PERMTAB_E_MEMORY, "out of memory");
    if (code < 0)
        catalogue_fini(out);
    return code;
}

/* ---- the configured scope types ------------------------------------------------------------------------------ */

static int type_append(struct store *store, uint32_t number, const char *name, struct failure *failure)
{
    struct sql_statement *st =
        sql_prepare(store->sql, "INSERT INTO permtab_scope_type (number, name) VALUES (?, ?)", failure);
    sql_bind_u64(st, 1, number);
    sql_bind_text(st, 2, name);
    return sql_run(st, failure);
}

static int types_compare(const struct scope_types *stored, const struct scope_types *wanted,
                         struct failure *failure)
{
    for (uint32_t i = 0; i < stored->count; i++) {
        if (i >= wanted->count)
            return failure_set(
                failure, PERMTAB_E_CONFLICT,
                "scope_types: the store also has \"%s\" (number %u): scope types can only be appended",
                stored->names[i], i);
        if (strcmp(stored->names[i], wanted->names[i]) != 0)
            return failure_set(
                failure, PERMTAB_E_CONFLICT,
                "scope_types: number %u is \"%s\" in the store and \"%s\" in the configuration: scope "
                "types can only be appended",
                i, stored->names[i], wanted->names[i]);
    }
    return 0;
}

int store_sync_types(struct store *store, const struct scope_types *wanted, struct failure *failure)
{
    struct scope_types stored;
    int code = types_read(store, &stored, failure);
    if (code == 0)
        code = types_compare(&stored, wanted, failure);
    if (code < 0 || stored.count == wanted->count)
        return code;
    /* The types are read once more with the lock: another sidecar may be starting, too. */
    code = sql_begin(store->sql, SQL_WRITE, failure);
    if (code < 0)
        return code;
    code = types_read(store, &stored, failure);
    if (code == 0)
        code = types_compare(&stored, wanted, failure);
    for (uint32_t i = stored.count; code == 0 && i < wanted->count; i++)
        code = type_append(store, i, wanted->names[i], failure);
    if (code == 0)
        return sql_commit(store->sql, failure);
    sql_rollback(store->sql);
    return code;
}
