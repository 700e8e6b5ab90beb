/* Pruning: removes the objects that the document does not name, in an order that the references allow: assignments,
 * then roles, whose lists apply_links.c has removed, then scopes from the leaves up; permissions become tombstones. */
#include "proxy/document/apply.h"
#include "proxy/store/store.h"

#include <stdlib.h>
#include <string.h>

/* Keys of rows to be deleted, `width` numbers each. */
struct doomed {
    struct apply *apply;
    struct row_list rows;
    unsigned width;
};

static void bind_row(void *context, size_t index, struct sql_statement *statement, unsigned first)
{
    const struct doomed *doomed = context;
    for (unsigned i = 0; i < doomed->width; i++)
        sql_bind_u64(statement, first + i, doomed->rows.items[index].v[i]);
}

static int doomed_delete(struct doomed *doomed, const char *table, const char *const *columns)
{
    struct sql *sql = store_sql(doomed->apply->store);
    struct batch_text text;
    struct batch batch = {
        .shape = batch_delete(sql_dialect(sql), &text, table, columns, doomed->width),
        .count = doomed->rows.count,
        .bind = bind_row,
        .context = doomed,
    };
    doomed->apply->rows += doomed->rows.count;
    return batch_run(sql, &batch, doomed->apply->failure);
}

/* ---- assignments ---- */

static bool assignment_wanted(const struct apply *apply, const struct row *row)
{
    size_t low = 0, high = apply->policy->assignment_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct apply_assignment *item = &apply->assignments[middle];
        struct row key = {.v = {item->user, item->role, item->scope.type, item->scope.id}};
        int order = row_compare(&key, row);
        if (order == 0)
            return true;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

static int take_assignment(void *context, struct sql_statement *statement)
{
    struct doomed *doomed = context;
    struct row row = {.v = {sql_column_u64(statement, 0), sql_column_u64(statement, 1),
                            sql_column_u64(statement, 2), sql_column_u64(statement, 3)}};
    return assignment_wanted(doomed->apply, &row) ? 0 : rows_add(&doomed->rows, row);
}

int apply_prune_assignments(struct apply *apply)
{
    static const char *const columns[] = {"user_id", "role_id", "scope_type", "scope_id"};
    static const char text[] = "SELECT user_id, role_id, scope_type, scope_id FROM permtab_assignment";
    struct doomed doomed = {.apply = apply, .width = 4};
    struct sql_statement *statement = sql_prepare(store_sql(apply->store), text, apply->failure);
    int code = sql_each(statement, take_assignment, &doomed, apply->failure);
    if (code >= 0)
        code = doomed_delete(&doomed, "permtab_assignment", columns);
    apply->changed_assignments += doomed.rows.count;
    rows_fini(&doomed.rows);
    return code;
}

/* ---- roles, scopes, permissions ---- */

static int note(struct row_list *changed, const struct row_list *rows)
{
    int code = 0;
    for (size_t i = 0; code >= 0 && i < rows->count; i++)
        code = rows_add(changed, rows->items[i]);
    return code;
}

static int prune_roles(struct apply *apply)
{
    static const char *const columns[] = {"id"};
    struct doomed doomed = {.apply = apply, .width = 1};
    int code = 0;
    for (size_t i = 0; code >= 0 && i < apply->role_count; i++)
        if (apply->roles[i].wanted == NULL)
            code = rows_add(&doomed.rows, (struct row){.v = {apply->roles[i].id}});
    code = code < 0 ? code : note(&apply->changed_roles, &doomed.rows);
    if (code >= 0)
        code = doomed_delete(&doomed, "permtab_role", columns);
    rows_fini(&doomed.rows);
    return code;
}

/* Deletes one type after the other, the highest first, because a parent's type is lower. Rows of one statement are
 * deleted in no particular order. */
static int prune_scopes(struct apply *apply)
{
    static const char *const columns[] = {"type", "id"};
    struct doomed doomed = {.apply = apply, .width = 2};
    int code = 0;
    for (uint32_t type = apply->types.count; code >= 0 && type-- > 1;) {
        doomed.rows.count = 0;
        for (size_t i = 0; code >= 0 && i < apply->scope_count; i++)
            if (apply->scopes[i].wanted == NULL && apply->scopes[i].key.type == type)
                code = rows_add(&doomed.rows, (struct row){.v = {type, apply->scopes[i].key.id}});
        code = code < 0 ? code : note(&apply->changed_scopes, &doomed.rows);
        if (code >= 0)
            code = doomed_delete(&doomed, "permtab_scope", columns);
    }
    rows_fini(&doomed.rows);
    return code;
}

static void bind_name(void *context, size_t index, struct sql_statement *statement, unsigned first)
{
    const struct doomed *doomed = context;
    sql_bind_text(statement, first, doomed->apply->permissions[doomed->rows.items[index].v[0]].name);
}

static int prune_permissions(struct apply *apply)
{
    static const char *const columns[] = {"name"};
    struct doomed doomed = {.apply = apply, .width = 1};
    struct batch_text text;
    int code = 0;
    for (size_t i = 0; code >= 0 && i < apply->permission_count; i++)
        if (apply->permissions[i].wanted == NULL && !apply->permissions[i].deleted)
            code = rows_add(&doomed.rows, (struct row){.v = {i}});
    code = code < 0 ? code : note(&apply->changed_permissions, &doomed.rows);
    struct batch batch = {
        .shape = batch_where(sql_dialect(store_sql(apply->store)), &text,
                             "UPDATE permtab_permission SET deleted = 1", columns, 1),
        .count = doomed.rows.count,
        .bind = bind_name,
        .context = &doomed,
    };
    apply->rows += doomed.rows.count;
    if (code >= 0)
        code = batch_run(store_sql(apply->store), &batch, apply->failure);
    rows_fini(&doomed.rows);
    return code;
}

int apply_prune_objects(struct apply *apply)
{
    int code = prune_roles(apply);
    if (code >= 0)
        code = prune_scopes(apply);
    if (code >= 0)
        code = prune_permissions(apply);
    return code;
}
