/* Sorted names, found by bisection; a prefix is a range. Made from bytes of the sidecar, so every length, bit and count
 * is looked at. Who fetches them, and what slots stand for them, is left to handle.c and geometry.c. */
#include "client/names.h"

#include <stdlib.h>
#include <string.h>

#define FLAG_DELETED 2u

static int compare_names(const void *left, const void *right)
{
    const struct name *a = left, *b = right;
    return strcmp(a->text, b->text);
}

/* [name, bit, flags]. Appends unless it is a tombstone. */
static bool take_permission(struct names *names, const struct wire_value *row, char **texts,
                            const char *texts_end)
{
    uint64_t bit, flags;
    size_t fields;
    if (!wire_as_array(row, &fields) || fields < 3 || !wire_as_u64(wire_item(row, 1), &bit) ||
        bit >= PERMTAB_SHM_PERMISSIONS_MAX || !wire_as_u64(wire_item(row, 2), &flags))
        return false;
    size_t room = (size_t)(texts_end - *texts);
    if (room > NAMES_PERMISSION_MAX + 1)
        room = NAMES_PERMISSION_MAX + 1;
    if (!wire_as_text(wire_item(row, 0), *texts, room) || (*texts)[0] == '\0')
        return false;
    if ((flags & FLAG_DELETED) != 0)
        return true;
    names->items[names->count++] = (struct name){.text = *texts, .bit = (uint32_t)bit};
    *texts += strlen(*texts) + 1;
    return true;
}

static bool take_types(struct names *names, const struct wire_value *list)
{
    size_t count;
    if (!wire_as_array(list, &count) || count > PERMTAB_SHM_SCOPE_TYPES)
        return false;
    for (size_t i = 0; i < count; i++)
        if (!wire_as_text(wire_item(list, i), names->types[i], sizeof(names->types[i])) ||
            names->types[i][0] == '\0')
            return false;
    names->type_count = (uint32_t)count;
    return true;
}

static size_t texts_size(const struct wire_value *list, size_t count)
{
    size_t total = 1;
    for (size_t i = 0; i < count; i++) {
        const char *text;
        size_t size = 0;
        if (wire_as_str(wire_item(wire_item(list, i), 0), &text, &size))
            total += size + 1;
    }
    return total;
}

int names_new(struct names **out, const struct wire_value *result)
{
    const struct wire_value *list = wire_get(result, "permissions");
    size_t count;
    if (!wire_as_array(list, &count) || count > PERMTAB_SHM_PERMISSIONS_MAX)
        return PERMTAB_E_PROTOCOL;
    size_t size = texts_size(list, count);
    struct names *names = calloc(1, sizeof(*names));
    if (names == NULL)
        return PERMTAB_E_MEMORY;
    int code = PERMTAB_E_MEMORY;
    names->items = calloc(count + 1, sizeof(*names->items));
    names->texts = malloc(size);
    if (names->items == NULL || names->texts == NULL)
        goto out;
    code = PERMTAB_E_PROTOCOL;
    char *texts = names->texts;
    for (size_t i = 0; i < count; i++)
        if (!take_permission(names, wire_item(list, i), &texts, names->texts + size))
            goto out;
    if (!wire_as_u64(wire_get(result, "catalogue"), &names->catalogue) ||
        !take_types(names, wire_get(result, "scope_types")))
        goto out;
    qsort(names->items, names->count, sizeof(*names->items), compare_names);
    *out = names;
    return 0;
out:
    names_free(names);
    return code;
}

void names_free(struct names *names)
{
    if (names == NULL)
        return;
    free(names->items);
    free(names->texts);
    free(names);
}

/* The first name that is not less than `text` cut to `length` bytes. */
static size_t lower_bound(const struct names *names, const char *text, size_t length)
{
    size_t first = 0, end = names->count;
    while (first < end) {
        size_t middle = first + (end - first) / 2;
        if (strncmp(names->items[middle].text, text, length) < 0)
            first = middle + 1;
        else
            end = middle;
    }
    return first;
}

uint32_t names_permission(const struct names *names, const char *text)
{
    size_t place = lower_bound(names, text, strlen(text) + 1);
    if (place < names->count && strcmp(names->items[place].text, text) == 0)
        return names->items[place].bit;
    return UINT32_MAX;
}

uint32_t names_type(const struct names *names, const char *text)
{
    for (uint32_t i = 0; i < names->type_count; i++)
        if (strcmp(names->types[i], text) == 0)
            return i;
    return UINT32_MAX;
}

size_t names_with_prefix(const struct names *names, const char *prefix, size_t length, size_t *count)
{
    size_t first = lower_bound(names, prefix, length);
    size_t end = first;
    while (end < names->count && strncmp(names->items[end].text, prefix, length) == 0)
        end++;
    *count = end - first;
    return first;
}
