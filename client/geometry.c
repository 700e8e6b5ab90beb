/* The object that readers use: one table with bits and numbers for the slots. A new one is made whenever the
 * segment or the catalogue changes, or the slots outgrow it, and swapped in with one store; old ones stay until the
 * handle is closed, because a thread may be reading through one for as long as it likes. A new slot is filled in
 * place: nobody has been told its number yet.
 *
 * Cost of keeping: about 300 bytes and 4 a slot for each change of the catalogue. */
#include "client/handle.h"

#include <stdlib.h>
#include <string.h>

struct geometry *geometry_now(const struct handle *handle)
{
    return permtab_shm_load_pointer(&handle->visible.geometry);
}

int geometry_stale(const struct permtab_geometry_ *geometry, uint32_t state)
{
    if (geometry->trouble != 0)
        return geometry->trouble;
    return state == PERMTAB_SHM_RETIRED ? PERMTAB_E_RETIRED : PERMTAB_E_STALE;
}

static uint32_t slots_room(const struct slots *slots)
{
    uint32_t room = 64;
    while (room < slots->count + 1)
        room *= 2;
    return room;
}

static void set_type(struct permtab_geometry_ *geometry, uint32_t slot, uint32_t number)
{
    geometry->kinds[slot] = permtab_shm_kind_of(geometry->table.hash_seed, number);
}

static void resolve_slots(const struct handle *handle, struct geometry *geometry, uint32_t room)
{
    memset(geometry->permissions, 0xff, room * sizeof(geometry->permissions[0]));
    for (uint32_t slot = 0; slot < PERMTAB_TYPE_SLOTS_; slot++)
        set_type(&geometry->visible, slot, PERMTAB_NO_NUMBER_);
    if (handle->names == NULL)
        return;
    for (uint32_t slot = 1; slot < handle->permissions.count; slot++)
        geometry->permissions[slot] = names_permission(handle->names, handle->permissions.texts[slot]);
    for (uint32_t slot = 1; slot < handle->types.count; slot++)
        set_type(&geometry->visible, slot, names_type(handle->names, handle->types.texts[slot]));
}

int geometry_publish(struct handle *handle, struct mapping *mapping, const struct permtab_shm_table *table,
                     uint64_t store_id, int trouble)
{
    uint32_t room = slots_room(&handle->permissions);
    struct geometry *geometry = calloc(1, sizeof(*geometry) + room * sizeof(geometry->permissions[0]));
    if (geometry == NULL)
        return PERMTAB_E_MEMORY;
    if (table != NULL)
        geometry->visible.table = *table;
    else
        geometry->visible.table.header = handle->zero_header;
    geometry->visible.store_id = store_id;
    geometry->visible.trouble = trouble;
    geometry->visible.catalogue = handle->names != NULL ? handle->names->catalogue : 0;
    geometry->visible.permissions = geometry->permissions;
    geometry->visible.permission_slots = room;
    geometry->visible.early_ns = mapping != NULL ? mapping->early_ns : 0;
    geometry->mapping = mapping;
    resolve_slots(handle, geometry, room);
    geometry->next = handle->geometries;
    handle->geometries = geometry;
    permtab_shm_store_pointer(&handle->visible.geometry, geometry);
    return 0;
}

int geometry_renew(struct handle *handle)
{
    const struct geometry *now = geometry_now(handle);
    const struct permtab_shm_table *table = now->mapping != NULL ? &now->visible.table : NULL;
    return geometry_publish(handle, now->mapping, table, now->visible.store_id, now->visible.trouble);
}

/* The slot of a text that has one, or 0. */
static uint32_t slots_find(const struct slots *slots, const char *text)
{
    for (uint32_t slot = 1; slot < slots->count; slot++)
        if (strcmp(slots->texts[slot], text) == 0)
            return slot;
    return 0;
}

/* Appends; a fork in the middle leaves the child a whole list. */
static int slots_add(struct slots *slots, const char *text, uint32_t *slot)
{
    uint32_t count = slots->count > 0 ? slots->count : 1; /* slot 0 stands for nothing */
    char *copy = strdup(text);
    if (copy == NULL)
        return PERMTAB_E_MEMORY;
    if (count >= slots->capacity) {
        uint32_t capacity = slots->capacity > 0 ? slots->capacity * 2 : 16;
        char **texts = calloc(capacity, sizeof(*texts));
        if (texts == NULL) {
            free(copy);
            return PERMTAB_E_MEMORY;
        }
        if (slots->texts != NULL)
            memcpy(texts, slots->texts, count * sizeof(*texts));
        char **old = slots->texts;
        slots->texts = texts;
        slots->capacity = capacity;
        free(old);
    }
    slots->texts[count] = copy;
    slots->count = count + 1;
    *slot = count;
    return 0;
}

/* The slot of a name: the one that it has, or a new one while there are fewer than `most`. */
static int slots_get(struct slots *slots, uint32_t most, const char *name, uint32_t *slot)
{
    *slot = slots_find(slots, name);
    if (*slot != 0)
        return 0;
    return slots->count < most ? slots_add(slots, name, slot) : PERMTAB_E_LIMIT;
}

int geometry_permission_slot(struct handle *handle, const char *name, uint32_t *slot)
{
    uint32_t bit = names_permission(handle->names, name);
    if (bit == UINT32_MAX)
        return PERMTAB_E_NO_PERMISSION;
    int code = slots_get(&handle->permissions, HANDLE_SLOTS_MAX, name, slot);
    if (code < 0)
        return code;
    struct geometry *geometry = geometry_now(handle);
    if (*slot >= geometry->visible.permission_slots)
        return geometry_renew(handle);
    if (geometry->permissions[*slot] != bit)
        geometry->permissions[*slot] = bit;
    return 0;
}

int geometry_type_slot(struct handle *handle, const char *name, uint32_t *slot)
{
    uint32_t number = names_type(handle->names, name);
    if (number == UINT32_MAX)
        return PERMTAB_E_NO_SCOPE_TYPE;
    int code = slots_get(&handle->types, PERMTAB_TYPE_SLOTS_, name, slot);
    if (code < 0)
        return code;
    struct geometry *geometry = geometry_now(handle);
    if (geometry->visible.kinds[*slot].type != number)
        set_type(&geometry->visible, *slot, number);
    return 0;
}

static void slots_fini(struct slots *slots)
{
    for (uint32_t slot = 1; slot < slots->count; slot++)
        free(slots->texts[slot]);
    free(slots->texts);
}

void geometry_fini(struct handle *handle)
{
    while (handle->geometries != NULL) {
        struct geometry *next = handle->geometries->next;
        free(handle->geometries);
        handle->geometries = next;
    }
    slots_fini(&handle->permissions);
    slots_fini(&handle->types);
}
