/* Sorted names, found by bisection; a prefix is a range. Made from bytes of the sidecar, so every length, bit and
 * count is looked at. They come in pages, because those of a large catalogue do not fit into a message. handle.c
 * fetches them, and geometry.c gives them slots. */
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

static struct names *names_of_page(const struct wire_value *page, uint64_t catalogue)
{
    struct names *names = calloc(1, sizeof(*names));
    if (names == NULL)
        return NULL;
    names->catalogue = catalogue;
    if (!take_types(names, wire_get(page, "scope_types")))
        names->type_count = 0; /* no catalogue is without one: it is refused with its permissions */
    return names;
}

/* Room for `count` more names and for their texts. */
static char *make_room(struct names *names, size_t count, size_t size)
{
    struct name *items = realloc(names->items, (names->count + count + 1) * sizeof(*items));
    if (items == NULL)
        return NULL;
    names->items = items;
    struct names_texts *texts = malloc(sizeof(*texts) + size);
    if (texts == NULL)
        return NULL;
    texts->next = names->texts;
    names->texts = texts;
    return texts->bytes;
}

static int take_permissions(struct names *names, const struct wire_value *list)
{
    size_t count;
    if (names->type_count == 0 || !wire_as_array(list, &count) ||
        count > PERMTAB_SHM_PERMISSIONS_MAX - names->count)
        return PERMTAB_E_PROTOCOL;
    size_t size = texts_size(list, count);
    char *texts = make_room(names, count, size);
    if (texts == NULL)
        return PERMTAB_E_MEMORY;
    const char *end = texts + size;
    for (size_t i = 0; i < count; i++)
        if (!take_permission(names, wire_item(list, i), &texts, end))
            return PERMTAB_E_PROTOCOL;
    return 0;
}

/* The beginning of the next page; 0 when it is nil, or missing, as with sidecars that know no pages. Pages go
 * forward. */
static int take_next(const struct wire_value *page, uint64_t *next)
{
    uint64_t after;
    if (wire_is_nil(wire_get(page, "next")))
        return 0;
    if (!wire_as_u64(wire_get(page, "next"), &after) || after <= *next || after > PERMTAB_SHM_PERMISSIONS_MAX)
        return PERMTAB_E_PROTOCOL;
    *next = after;
    return 1;
}

int names_take(struct names **names, const struct wire_value *page, uint64_t *next)
{
    uint64_t catalogue;
    if (!wire_as_u64(wire_get(page, "catalogue"), &catalogue))
        return PERMTAB_E_PROTOCOL;
    if (*names != NULL && (*names)->catalogue != catalogue) {
        names_free(*names);
        *names = NULL;
        *next = 0;
        return 1;
    }
    if (*names == NULL && (*names = names_of_page(page, catalogue)) == NULL)
        return PERMTAB_E_MEMORY;
    int code = take_permissions(*names, wire_get(page, "permissions"));
    if (code == 0)
        code = take_next(page, next);
    if (code == 0)
        qsort((*names)->items, (*names)->count, sizeof(*(*names)->items), compare_names);
    return code;
}

void names_free(struct names *names)
{
    if (names == NULL)
        return;
    for (struct names_texts *texts = names->texts, *next; texts != NULL; texts = next) {
        next = texts->next;
        free(texts);
    }
    free(names->items);
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
