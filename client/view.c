/* Views: a look at an entry (struct permtab_shm_look), packed into eight words so that it can live on a caller's
 * stack and in no header of ours. Its addresses stay valid for as long as the handle: mappings and geometries are
 * never given back before. */
#include "client/view.h"

#include <stdio.h>
#include <string.h>

_Static_assert(PERMTAB_SHM_SLOTS <= 64, "a slot fits below a bucket's alignment");

static uint64_t pack_place(const struct permtab_shm_place *place)
{
    return (uint64_t)(uintptr_t)place->bucket | place->slot;
}

static uint64_t pack_words(const struct permtab_shm_place *place)
{
    return (uint64_t)place->sequence << 32 | place->word;
}

static struct permtab_shm_place unpack_place(uint64_t place, uint64_t words)
{
    return (struct permtab_shm_place){
        .bucket = (const struct permtab_shm_bucket *)(uintptr_t)(place & ~(uint64_t)63),
        .slot = (uint32_t)(place & 63),
        .sequence = (uint32_t)(words >> 32),
        .word = (uint32_t)words,
    };
}

static void view_pack(struct permtab_view *view, struct handle *handle,
                      const struct permtab_geometry_ *geometry, const struct permtab_shm_look *look)
{
    view->private_[0] = (uint64_t)(uintptr_t)handle;
    view->private_[1] = (uint64_t)(uintptr_t)geometry;
    view->private_[2] = pack_place(&look->entry);
    view->private_[3] = (uint64_t)(uintptr_t)look->set;
    view->private_[4] = look->set_sequence;
    view->private_[5] = pack_words(&look->entry);
    view->private_[6] = look->fold.bucket != NULL ? pack_place(&look->fold) : 0;
    view->private_[7] = look->fold.bucket != NULL ? pack_words(&look->fold) : 0;
}

/* One look; 0 with *out filled, or a code. */
static int view_look(struct handle *handle, uint64_t user, permtab_scope scope, struct permtab_view *out)
{
    const struct permtab_geometry_ *geometry = permtab_geometry_of_(&handle->visible);
    struct permtab_shm_moment moment = permtab_shm_beat_read(&geometry->table);
    uint32_t type = geometry->kinds[scope.type.slot % PERMTAB_TYPE_SLOTS_].type;
    struct permtab_shm_look look;
    if (moment.state != PERMTAB_SHM_LIVE && moment.state != PERMTAB_SHM_RETIRED)
        return geometry_stale(geometry, moment.state);
    if (moment.catalogue != geometry->catalogue)
        return PERMTAB_E_CATALOGUE;
    if (type >= PERMTAB_SHM_SCOPE_TYPES)
        return PERMTAB_E_NO_SCOPE_TYPE;
    enum permtab_shm_found found = permtab_shm_look(&geometry->table, user, scope.id, type, &look);
    if (found != PERMTAB_SHM_FOUND)
        return found == PERMTAB_SHM_MISS ? PERMTAB_E_MISS : PERMTAB_E_BUSY;
    if (!permtab_shm_fresh(&moment))
        return geometry_stale(geometry, moment.state);
    if (look.set_sequence == 0) /* as a zero page has; a set in use never */
        return PERMTAB_E_BUSY;
    view_pack(out, handle, geometry, &look);
    return 0;
}

/* Asks the sidecar a question about the user at the place, which brings the entry into the table. */
static int view_fill(struct handle *handle, uint64_t user, permtab_scope scope, uint64_t deadline_ns,
                     struct permtab_view *out)
{
    struct permtab_query query = {.user = user, .scope = scope};
    char permission[HANDLE_NAME_MAX + 1];
    int code = handle_ready_again(handle, deadline_ns);
    if (code < 0)
        return code;
    code = view_look(handle, user, scope, out);
    if (code == 0 || code == PERMTAB_E_NO_SCOPE_TYPE || code == PERMTAB_E_LAYOUT)
        return code;
    if (handle->names == NULL || handle->names->count == 0)
        return PERMTAB_E_MISS;
    /* A copy, because ask_locked may read another catalogue, and then these names are gone. */
    (void)snprintf(permission, sizeof(permission), "%s", handle->names->items[0].text);
    code = ask_locked(handle, &query, permission, NULL, deadline_ns);
    if (code < 0)
        return code;
    return view_look(handle, user, scope, out);
}

int permtab_view_get(struct permtab *table, uint64_t user, permtab_scope scope, struct permtab_view *out)
{
    struct handle *handle = handle_of(table);
    memset(out, 0, sizeof(*out));
    ahead_look(handle); /* before the view is made, because a view ends with its table */
    int code = view_look(handle, user, scope, out);
    if (code == 0) {
        permtab_count_hit_(table, user, scope, true);
        return 0;
    }
    uint64_t deadline_ns = ask_deadline(handle);
    code = handle_lock(handle, deadline_ns);
    if (code == 0) {
        code = view_fill(handle, user, scope, deadline_ns, out);
        handle_unlock(handle);
    }
    count_add(handle, 0, 1, 0);
    if (code < 0)
        (void)ask_unknown(handle, code);
    return code;
}

bool permtab_view_current(const struct permtab_view *view)
{
    const struct permtab_geometry_ *geometry = view_geometry(view);
    if (geometry == NULL || permtab_geometry_of_(&view_handle(view)->visible) != geometry)
        return false;
    struct permtab_shm_moment moment = permtab_shm_beat_read(&geometry->table);
    struct permtab_shm_look look = {
        .entry = unpack_place(view->private_[2], view->private_[5]),
        .fold = unpack_place(view->private_[6], view->private_[7]),
        .set = view_set(view),
        .set_sequence = view->private_[4],
    };
    return moment.state != PERMTAB_SHM_VOID && moment.catalogue == geometry->catalogue &&
           permtab_shm_look_holds(&look) && permtab_shm_fresh(&moment);
}
