/* The lock, the connection, and keeping the table current.
 *
 * Everything is tried when somebody needs it and nobody else: the library has no thread of its own. So each step here has
 * a deadline from above, and a pause after failure (HANDLE_ATTEMPT_NS) during which callers fail at once instead
 * of knocking at a sidecar that is away.
 *
 * What a failure means for a check is left to ask.c. */
#include "client/handle.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* clang's thread sanitizer of this age does not follow pthread_mutex_clocklock. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HANDLE_REALTIME_LOCK 1
#endif
#endif
#if !defined(__GLIBC__)
#define HANDLE_REALTIME_LOCK 1
#endif

static int lock_until(pthread_mutex_t *lock, uint64_t deadline_ns)
{
#ifdef HANDLE_REALTIME_LOCK
    struct timespec end;
    uint64_t now = channel_clock_ns();
    (void)clock_gettime(CLOCK_REALTIME, &end);
    uint64_t total = (uint64_t)end.tv_nsec + (deadline_ns > now ? deadline_ns - now : 0);
    end.tv_sec += (time_t)(total / 1000000000ull);
    end.tv_nsec = (long)(total % 1000000000ull);
    return pthread_mutex_timedlock(lock, &end);
#else
    struct timespec end = {.tv_sec = (time_t)(deadline_ns / 1000000000ull),
                           .tv_nsec = (long)(deadline_ns % 1000000000ull)};
    return pthread_mutex_clocklock(lock, CLOCK_MONOTONIC, &end);
#endif
}

/* Is this still the connection that the parent had? The child may have closed all descriptors and opened others since. */
static bool is_connection(const struct handle *handle, int descriptor)
{
    struct sockaddr_un peer = {0};
    socklen_t size = sizeof(peer);
    return getpeername(descriptor, (struct sockaddr *)&peer, &size) == 0 && peer.sun_family == AF_UNIX &&
           strncmp(peer.sun_path, handle->path, sizeof(peer.sun_path)) == 0;
}

int handle_lock(struct handle *handle, uint64_t deadline_ns)
{
    struct own_page *own = handle->own;
    int result = pthread_mutex_trylock(&own->lock);
    if (result == EBUSY)
        result = lock_until(&own->lock, deadline_ns);
    if (result != 0)
        return result == ETIMEDOUT ? PERMTAB_E_TIMEOUT : PERMTAB_E_SYSTEM;
    if (!own->entered) { /* opened just now, or a child: the parent's connection is not ours to use */
        if (handle->inherited > 0 && is_connection(handle, handle->inherited - 1))
            close(handle->inherited - 1);
        handle->inherited = 0;
        own->entered = true;
    }
    return 0;
}

void handle_unlock(struct handle *handle)
{
    pthread_mutex_unlock(&handle->own->lock);
}

void handle_disconnect(struct handle *handle)
{
    handle->inherited =
        0; /* before it is closed: a child must never close a number that means something else */
    channel_close(&handle->own->channel);
}

int handle_call(struct handle *handle, bool vital, uint64_t deadline_ns, struct wire_message *reply)
{
    struct channel *channel = &handle->own->channel;
    int result = channel_call(channel, -1, deadline_ns, reply);
    if (channel->broken || (vital && result == PERMTAB_E_TIMEOUT && reply->error_code == 0))
        handle_disconnect(handle);
    return result;
}

bool handle_broken(const struct handle *handle, int code)
{
    return !handle->own->channel.open && (code == PERMTAB_E_UNREACHABLE || code == PERMTAB_E_PROTOCOL);
}

static int greet(struct handle *handle, uint64_t deadline_ns)
{
    struct wire_buffer *out = channel_request(&handle->own->channel, "hello", 3);
    struct wire_message reply;
    uint64_t protocol, layout;
    wire_str(out, "protocol");
    wire_u64(out, WIRE_PROTOCOL);
    wire_str(out, "layout");
    wire_u64(out, handle->layout);
    wire_str(out, "client");
    wire_str(out, "libpermtab " PERMTAB_VERSION);
    int result = handle_call(handle, true, deadline_ns, &reply);
    if (result == 0 &&
        (!wire_as_u64(wire_get(reply.result, "protocol"), &protocol) || protocol != WIRE_PROTOCOL ||
         !wire_as_u64(wire_get(reply.result, "layout"), &layout) || layout > UINT32_MAX ||
         !wire_as_id(wire_get(reply.result, "store_id"), &handle->own->store_id)))
        result = PERMTAB_E_PROTOCOL;
    if (result == 0)
        handle->own->server_layout = (uint32_t)layout;
    wire_message_fini(&reply);
    return result;
}

int handle_read_names(struct handle *handle, uint64_t deadline_ns)
{
    struct wire_message reply;
    struct names *names, *old = handle->names;
    (void)channel_request(&handle->own->channel, "catalogue", 0);
    int result = handle_call(handle, false, deadline_ns, &reply);
    if (result == 0)
        result = names_new(&names, reply.result);
    wire_message_fini(&reply);
    if (result < 0)
        return result;
    pthread_mutex_lock(&handle->own->names_lock);
    handle->names = names;
    pthread_mutex_unlock(&handle->own->names_lock);
    names_free(old);
    return geometry_renew(handle);
}

static int read_attachment(struct handle *handle, const struct wire_value *result,
                           struct attachment *attachment)
{
    if (!wire_as_id(wire_get(result, "segment_id"), &attachment->segment_id) ||
        !wire_as_u64(wire_get(result, "size"), &attachment->size) ||
        !wire_as_u64(wire_get(result, "feedback_size"), &attachment->feedback_size) ||
        !wire_as_u64(wire_get(result, "clock"), &attachment->clock_ns))
        return PERMTAB_E_PROTOCOL;
    attachment->segment = channel_take_descriptor(&handle->own->channel, 0);
    attachment->feedback = channel_take_descriptor(&handle->own->channel, 1);
    int code = PERMTAB_E_PROTOCOL;
    if (attachment->segment >= 0 && attachment->feedback >= 0)
        code = attach_take(handle, attachment);
    if (attachment->segment >= 0)
        close(attachment->segment);
    if (attachment->feedback >= 0)
        close(attachment->feedback);
    return code;
}

static int attach_now(struct handle *handle, uint64_t deadline_ns)
{
    struct own_page *own = handle->own;
    struct attachment attachment = {.asked_ns = channel_clock_ns()};
    struct wire_message reply;
    if (handle->layout != PERMTAB_SHM_LAYOUT || own->server_layout != handle->layout)
        return PERMTAB_E_LAYOUT;
    (void)channel_request(&own->channel, "attach", 0);
    int result = handle_call(handle, true, deadline_ns, &reply);
    attachment.answered_ns = channel_clock_ns();
    if (result == 0)
        result = read_attachment(handle, reply.result, &attachment);
    wire_message_fini(&reply);
    return result;
}

int handle_attach(struct handle *handle, uint64_t deadline_ns)
{
    struct own_page *own = handle->own;
    int result = attach_now(handle, deadline_ns);
    if (result == PERMTAB_E_LAYOUT) {
        const struct geometry *now = geometry_now(handle);
        bool known = now->visible.trouble == PERMTAB_E_LAYOUT && now->visible.store_id == own->store_id;
        result = known ? 0 : attach_void(handle, own->store_id, PERMTAB_E_LAYOUT);
    }
    /* The pause is for attachments that did not help; a table may be retired again right after. */
    bool helped =
        result == 0 && permtab_shm_beat_read(&geometry_now(handle)->visible.table).state == PERMTAB_SHM_LIVE;
    own->attached_ns = channel_clock_ns();
    own->next_attach_ns = helped ? 0 : own->attached_ns + HANDLE_ATTEMPT_NS;
    own->attach_code = result;
    return result;
}

/* May the connection be used although this went wrong? What the sidecar cannot do now may pass; what it should not have
 * sent does not. */
static bool bearable(const struct handle *handle, int code)
{
    return handle->own->channel.open && code != PERMTAB_E_CLOCK && code != PERMTAB_E_PROTOCOL;
}

int handle_refresh(struct handle *handle, uint64_t deadline_ns)
{
    struct own_page *own = handle->own;
    const struct geometry *now = geometry_now(handle);
    if (now->visible.trouble == PERMTAB_E_LAYOUT)
        return 0;
    struct permtab_shm_moment moment = permtab_shm_beat_read(&now->visible.table);
    uint64_t clock = channel_clock_ns();
    bool stale = clock >= moment.lease_deadline && clock >= own->attached_ns + HANDLE_RECHECK_NS;
    bool wanted = moment.state != PERMTAB_SHM_LIVE || own->visible.feedback == NULL || stale;
    int result = wanted && clock >= own->next_attach_ns ? handle_attach(handle, deadline_ns) : 0;
    if (result < 0 && !bearable(handle, result))
        return result;
    now = geometry_now(handle);
    moment = permtab_shm_beat_read(&now->visible.table);
    if (moment.state == PERMTAB_SHM_VOID || moment.catalogue == now->visible.catalogue)
        return 0;
    result = handle_read_names(handle, deadline_ns);
    return result < 0 && !bearable(handle, result) ? result : 0;
}

static int connect_now(struct handle *handle, uint64_t deadline_ns)
{
    int result = channel_open(&handle->own->channel, handle->path, handle->server_uid, deadline_ns);
    if (result < 0)
        return result;
    handle->inherited = handle->own->channel.descriptor + 1;
    result = greet(handle, deadline_ns);
    if (result == 0 && handle->names == NULL)
        result = handle_read_names(handle, deadline_ns);
    if (result == 0) {
        result = handle_attach(handle, deadline_ns);
        if (result < 0 && bearable(handle, result))
            result = 0;
    }
    if (result < 0)
        handle_disconnect(handle);
    return result;
}

int handle_ready(struct handle *handle, uint64_t deadline_ns)
{
    struct own_page *own = handle->own;
    int result = 0;
    if (!own->channel.open) {
        uint64_t clock = channel_clock_ns();
        if (clock < own->next_attempt_ns)
            return PERMTAB_E_UNREACHABLE;
        result = connect_now(handle, deadline_ns);
        own->next_attempt_ns = result < 0 ? clock + HANDLE_ATTEMPT_NS : 0;
    }
    if (result == 0)
        result = handle_refresh(handle, deadline_ns);
    if (result < 0 && own->channel.open && !bearable(handle, result))
        handle_disconnect(handle);
    return result;
}
