/* struct policy → JSON, one object a line, everything sorted: two exports can be compared with diff. Members with
 * their default value are left out. Ids above 2^53 are printed as strings, because many readers of JSON keep
 * numbers as doubles.
 *
 * The policy is const, so pointers to its objects are sorted, not the objects. */
#include "client/wire/text.h"
#include "client/wire/time_text.h"
#include "proxy/document/policy.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXACT_MAX (UINT64_C(1) << 53)

/* Text that grows. After the first failure every put_ function does nothing. */
struct printer {
    char *text;
    size_t size, capacity;
    int code;
    const struct scope_types *types;
};

static void put_bytes(struct printer *printer, const char *bytes, size_t size)
{
    if (printer->code < 0)
        return;
    if (size >= printer->capacity - printer->size) {
        size_t capacity = (printer->capacity + size) * 2;
        char *text = realloc(printer->text, capacity);
        if (text == NULL) {
            printer->code = PERMTAB_E_MEMORY;
            return;
        }
        printer->text = text;
        printer->capacity = capacity;
    }
    memcpy(printer->text + printer->size, bytes, size);
    printer->size += size;
    printer->text[printer->size] = '\0';
}

static void put(struct printer *printer, const char *text)
{
    put_bytes(printer, text, strlen(text));
}

/* Escapes characters that a terminal would obey: Jansson leaves those above U+007F as they are. All of them are
 * below U+10000. */
static void put_escaped(struct printer *printer, const char *quoted)
{
    size_t size = strlen(quoted), from = 0;
    for (size_t at = 0; at < size;) {
        char escape[8];
        uint32_t character;
        size_t taken = text_next(quoted + at, size - at, &character);
        if (!text_is_shown(character)) {
            put_bytes(printer, quoted + from, at - from);
            (void)snprintf(escape, sizeof escape, "\\u%04x", (unsigned)character & 0xffffu);
            put(printer, escape);
            from = at + taken;
        }
        at += taken;
    }
    put_bytes(printer, quoted + from, size - from);
}

/* Quotes by Jansson, which fails for text that is not UTF-8; export.c has refused such text. */
static void put_string(struct printer *printer, const char *text)
{
    json_t *string = json_string(text);
    char *quoted = string != NULL ? json_dumps(string, JSON_ENCODE_ANY) : NULL;
    if (quoted != NULL)
        put_escaped(printer, quoted);
    else if (printer->code >= 0)
        printer->code = PERMTAB_E_INVALID;
    free(quoted);
    json_decref(string);
}

static void put_id(struct printer *printer, uint64_t id)
{
    char text[32];
    snprintf(text, sizeof text, id > EXACT_MAX ? "\"%" PRIu64 "\"" : "%" PRIu64, id);
    put(printer, text);
}

static void put_scope(struct printer *printer, struct scope_key key)
{
    char text[SCOPE_TEXT_SIZE];
    put(printer, "\"");
    put(printer, scope_format(printer->types, key, text));
    put(printer, "\"");
}

/* ---- sorting ---- */

static int compare_u64(uint64_t x, uint64_t y)
{
    return x < y ? -1 : x > y;
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int compare_permissions(const void *a, const void *b)
{
    const struct policy_permission *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static int compare_scopes(const void *a, const void *b)
{
    const struct policy_scope *const *x = a, *const *y = b;
    return scope_compare((*x)->key, (*y)->key);
}

static int compare_overwrites(const void *a, const void *b)
{
    const struct policy_overwrite *const *x = a, *const *y = b;
    if ((*x)->subject != (*y)->subject)
        return (*x)->subject < (*y)->subject ? -1 : 1;
    return compare_u64((*x)->id, (*y)->id);
}

static int compare_roles(const void *a, const void *b)
{
    const struct policy_role *const *x = a, *const *y = b;
    return compare_u64((*x)->id, (*y)->id);
}

static int compare_assignments(const void *a, const void *b)
{
    const struct policy_assignment *const *x = a, *const *y = b;
    int order = compare_u64((*x)->user, (*y)->user);
    if (order == 0)
        order = compare_u64((*x)->role, (*y)->role);
    if (order == 0 && (*x)->has_scope != (*y)->has_scope)
        order = (*x)->has_scope ? 1 : -1;
    return order != 0 ? order : scope_compare((*x)->scope, (*y)->scope);
}

static int compare_ids(const void *a, const void *b)
{
    return compare_u64(*(const uint64_t *)a, *(const uint64_t *)b);
}

/* Pointers to the items, in order. Released with free. NULL with the code set when memory is short. */
static const void **sorted(struct printer *printer, const void *items, size_t count, size_t size,
                           int (*compare)(const void *, const void *))
{
    const void **pointers = calloc(count + 1, sizeof *pointers);
    if (pointers == NULL) {
        if (printer->code >= 0)
            printer->code = PERMTAB_E_MEMORY;
        return NULL;
    }
    for (size_t i = 0; i < count; i++)
        pointers[i] = (const char *)items + i * size;
    qsort(pointers, count, sizeof *pointers, compare);
    return pointers;
}

/* ---- objects ---- */

static void put_names(struct printer *printer, const char *key, const struct policy_names *names)
{
    if (names->count == 0)
        return;
    char **items = calloc(names->count, sizeof *items);
    if (items == NULL) {
        printer->code = PERMTAB_E_MEMORY;
        return;
    }
    memcpy(items, names->items, names->count * sizeof *items);
    qsort(items, names->count, sizeof *items, compare_texts);
    put(printer, key);
    for (size_t i = 0; i < names->count; i++) {
        put(printer, i > 0 ? ", " : "[");
        put_string(printer, items[i]);
    }
    put(printer, "]");
    free(items);
}

static void put_ids(struct printer *printer, const char *key, const uint64_t *ids, size_t count)
{
    if (count == 0)
        return;
    uint64_t *items = calloc(count, sizeof *items);
    if (items == NULL) {
        printer->code = PERMTAB_E_MEMORY;
        return;
    }
    memcpy(items, ids, count * sizeof *items);
    qsort(items, count, sizeof *items, compare_ids);
    put(printer, key);
    for (size_t i = 0; i < count; i++) {
        put(printer, i > 0 ? ", " : "[");
        put_id(printer, items[i]);
    }
    put(printer, "]");
    free(items);
}

static void put_permission(struct printer *printer, const void *item)
{
    const struct policy_permission *permission = item;
    put(printer, "{\"name\": ");
    put_string(printer, permission->name);
    if (permission->description[0] != '\0') {
        put(printer, ", \"description\": ");
        put_string(printer, permission->description);
    }
    put_names(printer, ", \"requires\": ", &permission->requires);
    if (permission->grants_all)
        put(printer, ", \"grants_all\": true");
    if (permission->deprecated)
        put(printer, ", \"deprecated\": true");
    put(printer, "}");
}

static void put_overwrite(struct printer *printer, const struct policy_overwrite *overwrite)
{
    put(printer, overwrite->subject == OVERWRITE_ROLE ? "{\"role\": " : "{\"user\": ");
    put_id(printer, overwrite->id);
    put_names(printer, ", \"allow\": ", &overwrite->allow);
    put_names(printer, ", \"deny\": ", &overwrite->deny);
    put(printer, "}");
}

static void put_scope_object(struct printer *printer, const void *item)
{
    const struct policy_scope *scope = item;
    put(printer, "{\"scope\": ");
    put_scope(printer, scope->key);
    if (scope->key.type != 0) {
        put(printer, ", \"parent\": ");
        put_scope(printer, scope->parent);
    }
    if (scope->has_owner) {
        put(printer, ", \"owner\": ");
        put_id(printer, scope->owner);
    }
    if (scope->overwrite_count > 0) {
        const void **overwrites = sorted(printer, scope->overwrites, scope->overwrite_count,
                                         sizeof *scope->overwrites, compare_overwrites);
        put(printer, ", \"overwrites\": ");
        for (size_t i = 0; overwrites != NULL && i < scope->overwrite_count; i++) {
            put(printer, i > 0 ? ", " : "[");
            put_overwrite(printer, overwrites[i]);
        }
        put(printer, "]");
        free(overwrites);
    }
    put(printer, "}");
}

static void put_role(struct printer *printer, const void *item)
{
    const struct policy_role *role = item;
    put(printer, "{\"id\": ");
    put_id(printer, role->id);
    put(printer, ", \"name\": ");
    put_string(printer, role->name);
    put(printer, ", \"scope\": ");
    put_scope(printer, role->scope);
    if (role->is_default)
        put(printer, ", \"default\": true");
    if (!role->active)
        put(printer, ", \"active\": false");
    put_ids(printer, ", \"inherits\": ", role->inherits, role->inherits_count);
    put_names(printer, ", \"allow\": ", &role->allow);
    put_names(printer, ", \"allow_own\": ", &role->allow_own);
    put_names(printer, ", \"deny\": ", &role->deny);
    put(printer, "}");
}

static void put_assignment(struct printer *printer, const void *item)
{
    const struct policy_assignment *assignment = item;
    char time[TIME_TEXT_SIZE];
    put(printer, "{\"user\": ");
    put_id(printer, assignment->user);
    put(printer, ", \"role\": ");
    put_id(printer, assignment->role);
    if (assignment->has_scope) {
        put(printer, ", \"scope\": ");
        put_scope(printer, assignment->scope);
    }
    if (assignment->expires_at != FACTS_NEVER) {
        put(printer, ", \"expires_at\": \"");
        put(printer, time_format(assignment->expires_at, time));
        put(printer, "\"");
    }
    put(printer, "}");
}

static void put_list(struct printer *printer, const char *key, const void *items, size_t count, size_t size,
                     int (*compare)(const void *, const void *),
                     void (*put_item)(struct printer *printer, const void *item))
{
    const void **pointers = sorted(printer, items, count, size, compare);
    put(printer, key);
    put(printer, ": [");
    for (size_t i = 0; pointers != NULL && printer->code >= 0 && i < count; i++) {
        put(printer, i > 0 ? ",\n  " : "\n  ");
        put_item(printer, pointers[i]);
    }
    put(printer, count > 0 ? "\n ]" : "]");
    free(pointers);
}

int policy_print(const struct policy *policy, const struct scope_types *types, char **out, size_t *size)
{
    struct printer printer = {.types = types};
    put(&printer, "{");
    put_list(&printer, "\"permissions\"", policy->permissions, policy->permission_count,
             sizeof *policy->permissions, compare_permissions, put_permission);
    put_list(&printer, ",\n \"scopes\"", policy->scopes, policy->scope_count, sizeof *policy->scopes,
             compare_scopes, put_scope_object);
    put_list(&printer, ",\n \"roles\"", policy->roles, policy->role_count, sizeof *policy->roles,
             compare_roles, put_role);
    put_list(&printer, ",\n \"assignments\"", policy->assignments, policy->assignment_count,
             sizeof *policy->assignments, compare_assignments, put_assignment);
    put(&printer, "}\n");
    if (printer.code < 0) {
        free(printer.text);
        return printer.code;
    }
    *out = printer.text;
    *size = printer.size;
    return 0;
}
