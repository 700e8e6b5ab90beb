/* The tables that are all key: requirements, inheritance, grants, overwrites. The lists of a named object are
 * replaced whole, which for rows without other columns is a difference of two sets: rows stored and not wanted are
 * deleted, rows wanted and not stored are inserted, and no other row is touched. One description a table drives
 * reading and writing.
 *
 * Rows about a deleted permission grant nothing, and a document cannot name them. They are left alone in the lists
 * of objects that stay, so that a document made by export changes nothing. */
#include "proxy/document/apply.h"
#include "proxy/store/store.h"

#include <stdio.h>
#include <string.h>

enum column_kind { COLUMN_ID, COLUMN_PERMISSION, COLUMN_EFFECT, COLUMN_SUBJECT };

struct link_shape {
    const char *table;
    const char *columns[ROW_WIDTH];
    enum column_kind kinds[ROW_WIDTH];
    unsigned width;
    unsigned owner_width; /* leading columns that say whose list the row is in */
};

static const struct link_shape link_shapes[LINK_COUNT] = {
    [LINK_REQUIREMENT] = {.table = "permtab_requirement",
                          .columns = {"permission", "requires"},
                          .kinds = {COLUMN_PERMISSION, COLUMN_PERMISSION},
                          .width = 2,
                          .owner_width = 1},
    [LINK_ROLE_PARENT] = {.table = "permtab_role_parent",
                          .columns = {"role_id", "parent_id"},
                          .kinds = {COLUMN_ID, COLUMN_ID},
                          .width = 2,
                          .owner_width = 1},
    [LINK_ROLE_PERMISSION] = {.table = "permtab_role_permission",
                              .columns = {"role_id", "permission", "effect"},
                              .kinds = {COLUMN_ID, COLUMN_PERMISSION, COLUMN_EFFECT},
                              .width = 3,
                              .owner_width = 1},
    [LINK_OVERWRITE] = {.table = "permtab_overwrite",
                        .columns = {"scope_type", "scope_id", "subject", "subject_id", "permission",
                                    "effect"},
                        .kinds = {COLUMN_ID, COLUMN_ID, COLUMN_SUBJECT, COLUMN_ID, COLUMN_PERMISSION,
                                  COLUMN_EFFECT},
                        .width = 6,
                        .owner_width = 2},
};

static const char *const subject_names[] = {[OVERWRITE_ROLE] = "role", [OVERWRITE_USER] = "user"};

static const char *value_text(const struct apply *apply, enum column_kind kind, uint64_t value)
{
    switch (kind) {
    case COLUMN_ID:
        return NULL;
    case COLUMN_PERMISSION:
        return apply->permissions[value].name;
    case COLUMN_EFFECT:
        return grant_effect_names[value];
    case COLUMN_SUBJECT:
        return subject_names[value];
    }
    return NULL;
}

/* The number of a text; false for a text that is none of ours. */
static bool text_value(const struct apply *apply, enum column_kind kind, const char *text, uint64_t *value)
{
    const char *const *names = kind == COLUMN_EFFECT ? grant_effect_names : subject_names;
    size_t count = kind == COLUMN_EFFECT ? GRANT_EFFECTS : 2;
    if (kind == COLUMN_PERMISSION) {
        const struct apply_permission *permission = apply_permission_find(apply, text);
        if (permission != NULL)
            *value = (uint64_t)(permission - apply->permissions);
        return permission != NULL;
    }
    for (size_t i = 0; i < count; i++) {
        if (strcmp(names[i], text) == 0) {
            *value = i;
            return true;
        }
    }
    return false;
}

/* One run over one table. */
struct link_run {
    struct apply *apply;
    const struct link_shape *shape;
    const struct row_list *rows; /* to bind */
    struct row_list *out;        /* to take into */
    unsigned bound;              /* leading columns that are bound */
};

static void link_bind(void *context, size_t index, struct sql_statement *statement, unsigned first)
{
    const struct link_run *run = context;
    const struct row *row = &run->rows->items[index];
    for (unsigned i = 0; i < run->bound; i++) {
        if (run->shape->kinds[i] == COLUMN_ID)
            sql_bind_u64(statement, first + i, row->v[i]);
        else
            sql_bind_text(statement, first + i, value_text(run->apply, run->shape->kinds[i], row->v[i]));
    }
}

static int link_take(void *context, struct sql_statement *statement)
{
    struct link_run *run = context;
    struct row row = {0};
    for (unsigned i = 0; i < run->shape->width; i++) {
        if (run->shape->kinds[i] == COLUMN_ID)
            row.v[i] = sql_column_u64(statement, i);
        else if (!text_value(run->apply, run->shape->kinds[i], sql_column_text(statement, i), &row.v[i]))
            return failure_set(run->apply->failure, PERMTAB_E_SCHEMA,
                               "%s has a row with \"%.100s\" in column %s", run->shape->table,
                               sql_column_text(statement, i), run->shape->columns[i]);
    }
    return rows_add(run->out, row);
}

/* "a, b, c" */
static void column_list(const struct link_shape *shape, char *out, size_t size)
{
    size_t used = 0;
    for (unsigned i = 0; i < shape->width; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%s", i > 0 ? ", " : "", shape->columns[i]);
}

int apply_links_load(struct apply *apply, enum apply_link link, const struct row_list *keys,
                     struct row_list *out)
{
    struct sql *sql = store_sql(apply->store);
    const struct link_shape *shape = &link_shapes[link];
    struct link_run run = {
        .apply = apply, .shape = shape, .rows = keys, .out = out, .bound = shape->owner_width};
    char columns[128], verb[256];
    struct batch_text text;
    column_list(shape, columns, sizeof columns);
    snprintf(verb, sizeof verb, "SELECT %s FROM %s", columns, shape->table);
    if (keys == NULL)
        return sql_each(sql_prepare_built(sql, verb, apply->failure), link_take, &run, apply->failure);
    struct batch batch = {
        .shape = batch_select(sql_dialect(sql), &text, verb, shape->columns, shape->owner_width),
        .count = keys->count,
        .bind = link_bind,
        .take = link_take,
        .context = &run,
    };
    return batch_run(sql, &batch, apply->failure);
}

/* ---- what the document wants ---- */

static int want_names(const struct apply *apply, struct row_list *wanted, struct row row, unsigned column,
                      const struct policy_names *names, uint64_t effect)
{
    for (size_t i = 0; i < names->count; i++) {
        const struct apply_permission *permission = apply_permission_find(apply, names->items[i]);
        row.v[column] = (uint64_t)(permission - apply->permissions);
        if (column + 1 < ROW_WIDTH)
            row.v[column + 1] = effect;
        int code = rows_add(wanted, row);
        if (code < 0)
            return code;
    }
    return 0;
}

static int want_requirements(const struct apply *apply, struct row_list *wanted)
{
    int code = 0;
    for (size_t i = 0; code >= 0 && i < apply->permission_count; i++)
        if (apply->permissions[i].wanted != NULL)
            code = want_names(apply, wanted, (struct row){.v = {i}}, 1,
                              &apply->permissions[i].wanted->requires, 0);
    return code;
}

static int want_parents(const struct policy *policy, struct row_list *wanted)
{
    int code = 0;
    for (size_t i = 0; i < policy->role_count; i++)
        for (size_t j = 0; code >= 0 && j < policy->roles[i].inherits_count; j++)
            code = rows_add(wanted, (struct row){.v = {policy->roles[i].id, policy->roles[i].inherits[j]}});
    return code;
}

static int want_grants(const struct apply *apply, struct row_list *wanted)
{
    int code = 0;
    for (size_t i = 0; code >= 0 && i < apply->policy->role_count; i++) {
        const struct policy_role *role = &apply->policy->roles[i];
        struct row row = {.v = {role->id}};
        code = want_names(apply, wanted, row, 1, &role->allow, GRANT_ALLOW);
        if (code >= 0)
            code = want_names(apply, wanted, row, 1, &role->allow_own, GRANT_ALLOW_OWN);
        if (code >= 0)
            code = want_names(apply, wanted, row, 1, &role->deny, GRANT_DENY);
    }
    return code;
}

static int want_overwrites(const struct apply *apply, struct row_list *wanted)
{
    int code = 0;
    for (size_t i = 0; i < apply->policy->scope_count; i++) {
        const struct policy_scope *scope = &apply->policy->scopes[i];
        for (size_t j = 0; code >= 0 && j < scope->overwrite_count; j++) {
            const struct policy_overwrite *overwrite = &scope->overwrites[j];
            struct row row = {.v = {scope->key.type, scope->key.id, overwrite->subject, overwrite->id}};
            code = want_names(apply, wanted, row, 4, &overwrite->allow, GRANT_ALLOW);
            if (code >= 0)
                code = want_names(apply, wanted, row, 4, &overwrite->deny, GRANT_DENY);
        }
    }
    return code;
}

static int want(const struct apply *apply, enum apply_link link, struct row_list *wanted)
{
    switch (link) {
    case LINK_REQUIREMENT:
        return want_requirements(apply, wanted);
    case LINK_ROLE_PARENT:
        return want_parents(apply->policy, wanted);
    case LINK_ROLE_PERMISSION:
        return want_grants(apply, wanted);
    case LINK_OVERWRITE:
        return want_overwrites(apply, wanted);
    case LINK_COUNT:
        break;
    }
    return PERMTAB_E_INVALID;
}

/* ---- differences ---- */

/* Whether the object whose list this row is in stays. */
static bool owner_stays(const struct apply *apply, enum apply_link link, const struct row *row)
{
    switch (link) {
    case LINK_REQUIREMENT:
        return apply->permissions[row->v[0]].wanted != NULL || apply->permissions[row->v[0]].deleted;
    case LINK_ROLE_PARENT:
    case LINK_ROLE_PERMISSION: {
        const struct apply_role *role = apply_role_find(apply, row->v[0]);
        return role != NULL && role->wanted != NULL;
    }
    case LINK_OVERWRITE: {
        struct scope_key key = {.type = (uint32_t)row->v[0], .id = row->v[1]};
        const struct apply_scope *scope = apply_scope_find(apply, key);
        return scope != NULL && scope->wanted != NULL;
    }
    case LINK_COUNT:
        break;
    }
    return false;
}

static bool of_deleted(const struct apply *apply, const struct link_shape *shape, const struct row *row)
{
    for (unsigned i = 0; i < shape->width; i++)
        if (shape->kinds[i] == COLUMN_PERMISSION && apply->permissions[row->v[i]].deleted)
            return true;
    return false;
}

static void leave_deleted(const struct apply *apply, enum apply_link link, struct row_list *stored)
{
    size_t kept = 0;
    for (size_t i = 0; i < stored->count; i++)
        if (!of_deleted(apply, &link_shapes[link], &stored->items[i]) ||
            !owner_stays(apply, link, &stored->items[i]))
            stored->items[kept++] = stored->items[i];
    stored->count = kept;
}

static int delete_rows(struct apply *apply, enum apply_link link, const struct row_list *rows)
{
    const struct link_shape *shape = &link_shapes[link];
    struct link_run run = {.apply = apply, .shape = shape, .rows = rows, .bound = shape->width};
    struct batch_text text;
    struct batch batch = {
        .shape = batch_delete(sql_dialect(store_sql(apply->store)), &text, shape->table, shape->columns,
                              shape->width),
        .count = rows->count,
        .bind = link_bind,
        .context = &run,
    };
    return batch_run(store_sql(apply->store), &batch, apply->failure);
}

static int insert_rows(struct apply *apply, enum apply_link link, const struct row_list *rows)
{
    static const char *const marks[] = {
        "", "(?)", "(?, ?)", "(?, ?, ?)", "(?, ?, ?, ?)", "(?, ?, ?, ?, ?)", "(?, ?, ?, ?, ?, ?)"};
    const struct link_shape *shape = &link_shapes[link];
    struct link_run run = {.apply = apply, .shape = shape, .rows = rows, .bound = shape->width};
    char columns[128], head[256];
    column_list(shape, columns, sizeof columns);
    snprintf(head, sizeof head, "INSERT INTO %s (%s) VALUES ", shape->table, columns);
    struct batch batch = {
        .shape =
            {.head = head, .row = marks[shape->width], .glue = ", ", .tail = "", .parameters = shape->width},
        .count = rows->count,
        .bind = link_bind,
        .context = &run,
    };
    return batch_run(store_sql(apply->store), &batch, apply->failure);
}

/* Notes the objects whose lists change. */
static int note_owners(struct apply *apply, enum apply_link link, const struct row_list *rows)
{
    struct row_list *changed = link == LINK_REQUIREMENT ? &apply->changed_permissions
                               : link == LINK_OVERWRITE ? &apply->changed_scopes
                                                        : &apply->changed_roles;
    int code = 0;
    for (size_t i = 0; code >= 0 && i < rows->count; i++) {
        struct row owner = {0};
        memcpy(owner.v, rows->items[i].v, link_shapes[link].owner_width * sizeof owner.v[0]);
        code = rows_add(changed, owner);
    }
    apply->rows += rows->count;
    return code;
}

int apply_links_write(struct apply *apply, enum apply_link link)
{
    struct row_list wanted = {0}, added = {0}, removed = {0};
    struct row_list *stored = &apply->links[link];
    leave_deleted(apply, link, stored);
    int code = want(apply, link, &wanted);
    if (code >= 0)
        code = rows_subtract(&wanted, stored, &added);
    if (code >= 0)
        code = rows_subtract(stored, &wanted, &removed);
    if (code >= 0)
        code = note_owners(apply, link, &added);
    if (code >= 0)
        code = note_owners(apply, link, &removed);
    if (code >= 0)
        code = delete_rows(apply, link, &removed);
    if (code >= 0)
        code = insert_rows(apply, link, &added);
    rows_fini(&removed);
    rows_fini(&added);
    rows_fini(&wanted);
    return code;
}
