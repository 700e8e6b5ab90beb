/* Roles with all their ancestors, level by level: one statement asks for a level's rows, parents and grants together.
 * The ids stand in IN lists of a few fixed lengths, filled up by repeating the last one, so few texts are prepared. */
#include "proxy/base/array.h"
#include "proxy/store/store.h"

#include "proxy/store/private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIST_MAX 512u

/* A set of ids in the order in which they were added; the part from `asked` on is yet to be asked for. */
struct id_set {
    uint64_t *ids;
    size_t count, capacity, asked;
    uint32_t *slots;   /* index + 1, 0 free */
    size_t slot_count; /* a power of two */
};

/* A parent or a grant, until it is given to its role. */
struct relation {
    uint64_t role;
    uint64_t parent;
    struct grant grant;
};

struct relations {
    struct relation *items;
    size_t count;
};

struct reading {
    struct store *store;
    struct id_set ids;
    struct role_list *roles;
    struct relations parents, grants;
    size_t most; /* roles */
    struct failure *failure;
};

static int no_memory(struct failure *failure)
{
    return failure_set(failure, PERMTAB_E_MEMORY, "out of memory");
}

static size_t slot_of(const struct id_set *set, uint64_t id)
{
    size_t at = (id * 0x9e3779b97f4a7c15ull >> 32) & (set->slot_count - 1);
    while (set->slots[at] != 0 && set->ids[set->slots[at] - 1] != id)
        at = (at + 1) & (set->slot_count - 1);
    return at;
}

static int id_set_grow(struct id_set *set)
{
    size_t capacity = set->capacity ? set->capacity * 2 : 64;
    uint64_t *ids = realloc(set->ids, capacity * sizeof(*ids));
    if (!ids)
        return PERMTAB_E_MEMORY;
    set->ids = ids;
    uint32_t *slots = calloc(capacity * 2, sizeof(*slots));
    if (!slots)
        return PERMTAB_E_MEMORY;
    free(set->slots);
    set->slots = slots;
    set->slot_count = capacity * 2;
    set->capacity = capacity;
    for (size_t i = 0; i < set->count; i++)
        set->slots[slot_of(set, set->ids[i])] = (uint32_t)i + 1;
    return 0;
}

static int id_add(struct reading *reading, uint64_t id)
{
    struct id_set *set = &reading->ids;
    if (set->count == set->capacity && id_set_grow(set) < 0)
        return no_memory(reading->failure);
    size_t slot = slot_of(set, id);
    if (set->slots[slot] != 0)
        return 0;
    if (set->count == reading->most)
        return failure_set(reading->failure, PERMTAB_E_LIMIT, "more than %zu roles for one answer", reading->most);
    set->ids[set->count++] = id;
    set->slots[slot] = (uint32_t)set->count;
    return 0;
}

/* Three selects with one IN list each: kind, role, then what the kind needs. */
static char *level_text(size_t length)
{
    static const char *const parts[] = {
        "SELECT 1, id, name, scope_type, scope_id, is_default, active FROM permtab_role WHERE id IN (",
        ") UNION ALL SELECT 2, role_id, '', 0, parent_id, 0, 0 FROM permtab_role_parent WHERE role_id IN (",
        ") UNION ALL SELECT 3, g.role_id, '', 0, 0, p.bit,"
        " CASE g.effect WHEN 'allow' THEN 0 WHEN 'allow_own' THEN 1 ELSE 2 END"
        " FROM permtab_role_permission g JOIN permtab_permission p ON p.name = g.permission"
        " WHERE g.role_id IN (",
    };
    char *text = malloc(1024 + 3 * 2 * length);
    if (!text)
        return NULL;
    char *end = text;
    for (unsigned part = 0; part < 3; part++) {
        end = stpcpy(end, parts[part]);
        for (size_t i = 0; i < length; i++)
            end = stpcpy(end, i ? ",?" : "?");
    }
    strcpy(end, ")");
    return text;
}

static int row_take(void *context, struct sql_statement *st)
{
    struct reading *reading = context;
    uint64_t kind = sql_column_u64(st, 0), role = sql_column_u64(st, 1);
    if (kind == 1) {
        struct role *item = role_list_add(reading->roles);
        if (!item)
            return no_memory(reading->failure);
        item->id = role;
        item->name = strdup(sql_column_text(st, 2));
        item->scope =
            (struct scope_key){.id = sql_column_u64(st, 4), .type = (uint32_t)sql_column_u64(st, 3)};
        item->is_default = sql_column_u64(st, 5) != 0;
        item->active = sql_column_u64(st, 6) != 0;
        return item->name ? 0 : no_memory(reading->failure);
    }
    struct relations *relations = kind == 2 ? &reading->parents : &reading->grants;
    struct relation *relation = array_add(&relations->items, &relations->count, sizeof(*relation));
    if (!relation)
        return no_memory(reading->failure);
    relation->role = role;
    relation->parent = sql_column_u64(st, 4);
    relation->grant.bit = (uint32_t)sql_column_u64(st, 5);
    relation->grant.effect = (enum grant_effect)sql_column_u64(st, 6);
    return kind == 2 ? id_add(reading, relation->parent) : 0;
}

/* Asks for `count` ids from `asked` on, at most LIST_MAX. */
static int slice_read(struct reading *reading, size_t count)
{
    size_t length = count == 1 ? 1 : count <= 8 ? 8 : count <= 64 ? 64 : LIST_MAX;
    char *text = level_text(length);
    if (!text)
        return no_memory(reading->failure);
    struct sql_statement *st = sql_prepare_built(reading->store->sql, text, reading->failure);
    free(text);
    for (unsigned part = 0; part < 3; part++) {
        for (size_t i = 0; i < length; i++) {
            size_t which = reading->ids.asked + (i < count ? i : count - 1);
            sql_bind_u64(st, (unsigned)(part * length + i + 1), reading->ids.ids[which]);
        }
    }
    reading->ids.asked += count;
    return sql_each(st, row_take, reading, reading->failure);
}

static int compare(uint64_t a, uint64_t b)
{
    return a < b ? -1 : a > b;
}

static int parent_order(const void *a, const void *b)
{
    const struct relation *left = a, *right = b;
    int order = compare(left->role, right->role);
    return order ? order : compare(left->parent, right->parent);
}

static int grant_order(const void *a, const void *b)
{
    const struct relation *left = a, *right = b;
    int order = compare(left->role, right->role);
    if (order == 0)
        order = compare(left->grant.bit, right->grant.bit);
    return order ? order : compare(left->grant.effect, right->grant.effect);
}

static size_t run_end(const struct relations *relations, size_t at, uint64_t role)
{
    while (at < relations->count && relations->items[at].role == role)
        at++;
    return at;
}

static int parents_give(struct role *role, const struct relation *from, size_t count)
{
    if (count == 0)
        return 0;
    role->parents = calloc(count, sizeof(*role->parents));
    if (!role->parents)
        return PERMTAB_E_MEMORY;
    for (size_t i = 0; i < count; i++)
        role->parents[i] = from[i].parent;
    role->parent_count = count;
    return 0;
}

static int grants_give(struct role *role, const struct relation *from, size_t count)
{
    if (count == 0)
        return 0;
    role->grants = calloc(count, sizeof(*role->grants));
    if (!role->grants)
        return PERMTAB_E_MEMORY;
    for (size_t i = 0; i < count; i++)
        role->grants[i] = from[i].grant;
    role->grant_count = count;
    return 0;
}

/* Relations are sorted by role, so one walk gives each role its own. */
static int relations_give(struct reading *reading)
{
    struct relations *parents = &reading->parents, *grants = &reading->grants;
    size_t parent = 0, grant = 0;
    role_list_sort(reading->roles);
    if (parents->count)
        qsort(parents->items, parents->count, sizeof(*parents->items), parent_order);
    if (grants->count)
        qsort(grants->items, grants->count, sizeof(*grants->items), grant_order);
    for (size_t i = 0; i < reading->roles->count; i++) {
        struct role *role = &reading->roles->items[i];
        while (parent < parents->count && parents->items[parent].role < role->id)
            parent++;
        while (grant < grants->count && grants->items[grant].role < role->id)
            grant++;
        size_t parent_end = run_end(parents, parent, role->id), grant_end = run_end(grants, grant, role->id);
        /* A list without rows has no memory: not even 0 may be added to its NULL pointer. */
        int code = parent < parent_end ? parents_give(role, parents->items + parent, parent_end - parent) : 0;
        if (code == 0 && grant < grant_end)
            code = grants_give(role, grants->items + grant, grant_end - grant);
        if (code < 0)
            return no_memory(reading->failure);
        parent = parent_end;
        grant = grant_end;
    }
    return 0;
}

int store_read_roles_up_to(struct store *store, const uint64_t *ids, size_t count, size_t most,
                           struct role_list *out, struct failure *failure)
{
    struct reading reading = {.store = store, .roles = out, .most = most, .failure = failure};
    int code = 0;
    memset(out, 0, sizeof(*out));
    for (size_t i = 0; i < count && code == 0; i++)
        code = id_add(&reading, ids[i]);
    while (code == 0 && reading.ids.asked < reading.ids.count) {
        size_t left = reading.ids.count - reading.ids.asked;
        code = slice_read(&reading, left < LIST_MAX ? left : LIST_MAX);
    }
    if (code == 0)
        code = relations_give(&reading);
    if (code < 0)
        role_list_fini(out);
    free(reading.ids.ids);
    free(reading.ids.slots);
    free(reading.parents.items);
    free(reading.grants.items);
    return code;
}

int store_read_roles(struct store *store, const uint64_t *ids, size_t count, struct role_list *out,
                     struct failure *failure)
{
    return store_read_roles_up_to(store, ids, count, STORE_ROLES_MAX, out, failure);
}
