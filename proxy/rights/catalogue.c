/* Permissions and roles as plain data: finding, copying, freeing. Left to others: reading them from a store, and
 * judging them. */
#include "proxy/rights/catalogue.h"

#include "proxy/base/array.h"

#include <stdlib.h>
#include <string.h>

const char *const grant_effect_names[GRANT_EFFECTS] = {
    [GRANT_ALLOW] = "allow", [GRANT_ALLOW_OWN] = "allow_own", [GRANT_DENY] = "deny"};

void catalogue_fini(struct catalogue *catalogue)
{
    for (size_t i = 0; i < catalogue->count; i++) {
        free(catalogue->permissions[i].name);
        free(catalogue->permissions[i].description);
        free(catalogue->permissions[i].requires);
    }
    free(catalogue->permissions);
    free(catalogue->by_name);
    memset(catalogue, 0, sizeof *catalogue);
}

struct named {
    const char *name;
    uint32_t index;
};

static int named_compare(const void *a, const void *b)
{
    return strcmp(((const struct named *)a)->name, ((const struct named *)b)->name);
}

int catalogue_index(struct catalogue *catalogue)
{
    free(catalogue->by_name);
    catalogue->by_name = NULL;
    if (catalogue->count == 0)
        return 0;
    struct named *named = malloc(catalogue->count * sizeof *named);
    uint32_t *by_name = malloc(catalogue->count * sizeof *by_name);
    if (named == NULL || by_name == NULL) {
        free(by_name);
        free(named);
        return PERMTAB_E_MEMORY;
    }
    for (size_t i = 0; i < catalogue->count; i++)
        named[i] = (struct named){.name = catalogue->permissions[i].name, .index = (uint32_t)i};
    qsort(named, catalogue->count, sizeof *named, named_compare);
    for (size_t i = 0; i < catalogue->count; i++)
        by_name[i] = named[i].index;
    catalogue->by_name = by_name;
    free(named);
    return 0;
}

const struct permission *catalogue_find(const struct catalogue *catalogue, const char *name)
{
    if (catalogue->by_name == NULL) {
        for (size_t i = 0; i < catalogue->count; i++)
            if (strcmp(catalogue->permissions[i].name, name) == 0)
                return &catalogue->permissions[i];
        return NULL;
    }
    size_t low = 0, high = catalogue->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct permission *permission = &catalogue->permissions[catalogue->by_name[middle]];
        int order = strcmp(permission->name, name);
        if (order == 0)
            return permission;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

const struct permission *catalogue_at(const struct catalogue *catalogue, uint32_t bit)
{
    /* Bits are handed out in order and tombstones stay, so a permission is nearly always at its own bit. */
    if (bit < catalogue->count && catalogue->permissions[bit].bit == bit)
        return &catalogue->permissions[bit];
    size_t low = 0, high = catalogue->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        uint32_t found = catalogue->permissions[middle].bit;
        if (found == bit)
            return &catalogue->permissions[middle];
        if (found < bit)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

bool catalogue_continues(const struct catalogue *before, const struct catalogue *after)
{
    if (after->types.count < before->types.count)
        return false;
    for (uint32_t type = 0; type < before->types.count; type++)
        if (strcmp(before->types.names[type], after->types.names[type]) != 0)
            return false;
    for (size_t i = 0; i < before->count; i++) {
        const struct permission *permission = catalogue_at(after, before->permissions[i].bit);
        if (permission == NULL || strcmp(permission->name, before->permissions[i].name) != 0)
            return false;
    }
    return true;
}

void role_fini(struct role *role)
{
    free(role->grants);
    free(role->parents);
    free(role->name);
    memset(role, 0, sizeof *role);
}

/* A copy of `size` bytes, or NULL for none of them; sets *failed when memory is short. */
static void *copy_bytes(const void *from, size_t size, bool *failed)
{
    if (from == NULL || size == 0)
        return NULL;
    void *copy = malloc(size);
    if (copy == NULL)
        *failed = true;
    else
        memcpy(copy, from, size);
    return copy;
}

int role_copy(struct role *out, const struct role *from)
{
    bool failed = false;
    *out = *from;
    out->name = copy_bytes(from->name, from->name == NULL ? 0 : strlen(from->name) + 1, &failed);
    out->parents = copy_bytes(from->parents, from->parent_count * sizeof *from->parents, &failed);
    out->grants = copy_bytes(from->grants, from->grant_count * sizeof *from->grants, &failed);
    if (!failed)
        return 0;
    role_fini(out);
    return PERMTAB_E_MEMORY;
}

void role_list_fini(struct role_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        role_fini(&list->items[i]);
    free(list->items);
    memset(list, 0, sizeof *list);
}

struct role *role_list_add(struct role_list *list)
{
    return array_add(&list->items, &list->count, sizeof *list->items);
}

static int role_compare(const void *a, const void *b)
{
    uint64_t left = ((const struct role *)a)->id, right = ((const struct role *)b)->id;
    return left < right ? -1 : left > right;
}

void role_list_sort(struct role_list *list)
{
    if (list->count > 1)
        qsort(list->items, list->count, sizeof *list->items, role_compare);
}

const struct role *role_list_find(void *list, uint64_t role)
{
    const struct role_list *roles = list;
    struct role key = {.id = role};
    return roles->count == 0 ? NULL : bsearch(&key, roles->items, roles->count, sizeof key, role_compare);
}
