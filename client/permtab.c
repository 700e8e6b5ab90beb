/* Handles: opening, refreshing, closing, and names to slots. */
#include "client/permtab.h"

#include "client/handle.h"
#include "client/process.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What programs know of. When one of these fails: raise PERMTAB_HEADER_ and write the new size here. */
_Static_assert(sizeof(struct permtab_shm_table) == 96 && sizeof(struct permtab_shm_kind) == 24 &&
                   sizeof(struct permtab_geometry_) == 528 && sizeof(struct permtab) == 16 &&
                   sizeof(struct permtab_own_) == 8 && sizeof(struct permtab_thread_) == 268 &&
                   sizeof(struct permtab_shm_feedback_line) == 64 && sizeof(struct permtab_query) == 40 &&
                   sizeof(struct permtab_view) == 64,
               "PERMTAB_HEADER_ is the number of these structs");
_Static_assert(PERMTAB_SHM_LAYOUT <= UINT16_MAX, "the layout lies below PERMTAB_HEADER_");

__thread struct permtab_thread_ permtab_thread_;

void permtab_thread_enter_(struct permtab *table)
{
    (void)table; /* one line serves all handles */
    permtab_thread_.line = process_ticket() % PERMTAB_SHM_FEEDBACK_LINES + 1;
}

int permtab_why(const struct permtab *table)
{
    (void)table; /* one slot a thread serves all handles */
    return permtab_thread_.why;
}

const char *permtab_why_text(const struct permtab *table)
{
    (void)table;
    if (permtab_thread_.why == 0)
        return "";
    bool told = permtab_thread_.told == permtab_thread_.why && permtab_thread_.trouble[0] != '\0';
    return told ? permtab_thread_.trouble : permtab_strerror(permtab_thread_.why);
}

/* Whether waiting cannot help. */
static bool hopeless(int code)
{
    return code == PERMTAB_E_PEER || code == PERMTAB_E_CLOCK || code == PERMTAB_E_INVALID ||
           code == PERMTAB_E_PROTOCOL || code == PERMTAB_E_MEMORY || code == PERMTAB_E_REFUSED;
}

/* 0 when the handle has a table that is being kept, or knows that there will be none; else the code that says why
 * not. */
static int standing(const struct handle *handle)
{
    const struct geometry *now = geometry_now(handle);
    if (now->visible.trouble == PERMTAB_E_LAYOUT)
        return 0;
    if (now->mapping == NULL)
        return handle->own->attach_code < 0 ? handle->own->attach_code : PERMTAB_E_STALE;
    struct permtab_shm_moment moment = permtab_shm_beat_read(&now->visible.table);
    if (moment.catalogue != now->visible.catalogue)
        return PERMTAB_E_CATALOGUE;
    if (moment.state != PERMTAB_SHM_LIVE)
        return geometry_stale(&now->visible, moment.state);
    return permtab_shm_fresh(&moment) ? 0 : PERMTAB_E_STALE;
}

/* Tries, with pauses, until the handle stands or the deadline has come. When that cuts a try short, the result of
 * the try before it says more and is returned. */
static int stand(struct handle *handle, uint64_t deadline_ns)
{
    for (int before = 0;;) {
        int code = handle_lock(handle, deadline_ns);
        if (code < 0)
            return code;
        handle->own->eager = true;
        code = handle_ready(handle, deadline_ns);
        handle->own->eager = false;
        if (code == 0)
            code = standing(handle);
        handle_unlock(handle);
        if (code == 0 || hopeless(code))
            return code;
        if (code == PERMTAB_E_TIMEOUT && before < 0)
            code = before;
        uint64_t now = channel_clock_ns();
        if (now + HANDLE_ATTEMPT_NS >= deadline_ns)
            return code;
        before = code;
        channel_pause(now + HANDLE_ATTEMPT_NS + 1000000u);
    }
}

static int options_take(struct handle *handle, const struct permtab_options *options)
{
    handle->open_ms = HANDLE_OPEN_MS;
    handle->check_ms = HANDLE_CHECK_MS;
    handle->server_uid = -1;
    if (options == NULL)
        return 0;
    if (options->size != sizeof(*options) || options->server_uid < -1 || options->server_uid > UINT32_MAX)
        return PERMTAB_E_INVALID;
    if (options->open_ms != 0)
        handle->open_ms = options->open_ms;
    if (options->check_ms != 0)
        handle->check_ms = options->check_ms;
    handle->server_uid = options->server_uid;
    return 0;
}

static uint64_t open_deadline(const struct handle *handle)
{
    return channel_clock_ns() + (uint64_t)handle->open_ms * 1000000u;
}

int permtab_open_(struct permtab **out, const char *socket_path, const struct permtab_options *options,
                  uint32_t versions)
{
    /* A wiped page must hold locks that are ready and free. */
    static const pthread_mutex_t zero, ready = PTHREAD_MUTEX_INITIALIZER;
    assert(memcmp(&zero, &ready, sizeof(zero)) == 0);
    if (out == NULL || socket_path == NULL || socket_path[0] == '\0')
        return PERMTAB_E_INVALID;
    if (versions >> 16 != PERMTAB_HEADER_)
        return PERMTAB_E_HEADER;
    struct handle *handle = calloc(1, sizeof(*handle));
    if (handle == NULL)
        return PERMTAB_E_MEMORY;
    handle->layout = versions & UINT16_MAX;
    int code = options_take(handle, options);
    if (code == 0)
        code = attach_init(handle);
    if (code == 0)
        code = process_join(handle);
    if (code == 0)
        code = geometry_publish(handle, NULL, NULL, 0, 0);
    if (code == 0 && (handle->path = strdup(socket_path)) == NULL)
        code = PERMTAB_E_MEMORY;
    if (code == 0)
        code = stand(handle, open_deadline(handle));
    if (code < 0) {
        permtab_close(&handle->visible);
        return code;
    }
    permtab_thread_.why = 0;
    *out = &handle->visible;
    return 0;
}

int permtab_refresh(struct permtab *table)
{
    struct handle *handle = handle_of(table);
    uint64_t deadline_ns = open_deadline(handle);
    int code = stand(handle, deadline_ns);
    if (code == 0)
        permtab_thread_.why = 0;
    return code;
}

void permtab_close(struct permtab *table)
{
    if (table == NULL)
        return;
    struct handle *handle = handle_of(table);
    process_leave(handle);
    if (handle->path != NULL && handle_lock(handle, channel_clock_ns()) == 0) {
        handle_disconnect(handle); /* in a child: its own, after the lock dropped the parent's */
        handle_unlock(handle);
    }
    attach_fini(handle);
    geometry_fini(handle);
    names_free(handle->names);
    free(handle->path);
    free(handle);
}

static int read_names_again(struct handle *handle, uint64_t deadline_ns)
{
    uint32_t ended = handle->own->ended;
    int code;
    do {
        code = handle_ready(handle, deadline_ns);
        if (code == 0)
            code = handle_read_names(handle, deadline_ns);
    } while (handle_again(handle, code, ended, deadline_ns));
    return code;
}

/* Calls `slot_of` with the names as they are, and when it finds nothing once more with the names as they are now. */
static int resolve(struct permtab *table, const char *name, uint32_t *slot,
                   int (*slot_of)(struct handle *handle, const char *name, uint32_t *slot), int missing)
{
    struct handle *handle = handle_of(table);
    uint64_t deadline_ns = open_deadline(handle);
    if (name == NULL)
        return PERMTAB_E_INVALID;
    if (strlen(name) > HANDLE_NAME_MAX)
        return PERMTAB_E_LIMIT;
    int code = handle_lock(handle, deadline_ns);
    if (code < 0)
        return code;
    code = handle->names != NULL ? slot_of(handle, name, slot) : missing;
    if (code == missing) {
        code = read_names_again(handle, deadline_ns);
        if (code == 0)
            code = slot_of(handle, name, slot);
    }
    handle_unlock(handle);
    return code;
}

int permtab_permission(struct permtab *table, const char *name, permtab_perm *out)
{
    return resolve(table, name, &out->slot, geometry_permission_slot, PERMTAB_E_NO_PERMISSION);
}

int permtab_scope_type(struct permtab *table, const char *name, permtab_type *out)
{
    return resolve(table, name, &out->slot, geometry_type_slot, PERMTAB_E_NO_SCOPE_TYPE);
}
