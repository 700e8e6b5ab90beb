/* The lock, the connection, and keeping the table current.
 *
 * A connection is made in steps: connect, hello, the catalogue, attach. A step that is not answered in time stays
 * under way, and the next caller goes on with it; so a child can begin without waiting (count.c), and a slow
 * sidecar is reached at last.
 *
 * Each step runs in a caller that needs it: the library has no thread of its own. So each step here has a deadline
 * from above, and a pause after failure (HANDLE_ATTEMPT_NS) during which callers fail at once instead of knocking
 * at a sidecar that is away.
 *
 * ask.c decides what a failure means for a check. */
#include "client/handle.h"

#include "client/process.h"
#include "shm/order.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
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

int handle_lock(struct handle *handle, uint64_t deadline_ns)
{
    struct own_page *own = handle->own;
    process_enter(handle);
    int code = pthread_mutex_trylock(&own->lock);
    if (code == EBUSY && deadline_ns == HANDLE_NO_WAIT)
        return PERMTAB_E_TIMEOUT;
    if (code == EBUSY)
        code = lock_until(&own->lock, deadline_ns);
    if (code != 0)
        return code == ETIMEDOUT ? PERMTAB_E_TIMEOUT : PERMTAB_E_SYSTEM;
    if (own->process == 0) { /* opened just now, or a child: the parent's connection is not ours to use */
        descriptor_close(&handle->inherited);
        permtab_shm_store64(&own->process, (uint64_t)getpid());
    }
    return 0;
}

void handle_unlock(struct handle *handle)
{
    struct mapping *leaving = handle->own->leaving;
    handle->own->leaving = NULL;
    pthread_mutex_unlock(&handle->own->lock);
    if (leaving != NULL)
        mapping_void(leaving);
}

void handle_disconnect(struct handle *handle)
{
    struct own_page *own = handle->own;
    own->ended += own->channel.open;
    descriptor_forget(&handle->inherited); /* first: what a child inherits from now on is not to be closed */
    channel_close(&own->channel);
    own->greeting = own->greeted = own->attaching = own->attached = false;
}

/* ---- calls ----------------------------------------------------------------------------------------------------- */

#define NOT_WAITED UINT64_MAX

/* Whether a wait was long enough for silence to mean something. A probe's always is. Another caller's is when most
 * of its time was left when it began: it has not spent that time waiting for other threads, which the sidecar
 * answered. */
static bool long_enough(const struct handle *handle, uint64_t begin_ns)
{
    uint64_t enough_ns = (uint64_t)handle->check_ms * 500000u; /* half */
    return handle->own->circuit.pause_ns > 0 || channel_clock_ns() - begin_ns >= enough_ns;
}

/* Tells the circuit what the result of a call says of the sidecar. An end of the connection is a sign, too: the
 * next connection may find another sidecar. `begin_ns`: since when it was waited for; NOT_WAITED: it was not. */
static void judge_silence(struct handle *handle, int code, uint64_t begin_ns,
                          const struct wire_message *reply)
{
    struct own_page *own = handle->own;
    bool silent = code == PERMTAB_E_TIMEOUT && reply->error_code == 0;
    if (own->channel.heard || code == PERMTAB_E_UNREACHABLE)
        circuit_heard(&own->circuit);
    own->channel.heard = false;
    if (silent && begin_ns != NOT_WAITED && long_enough(handle, begin_ns))
        circuit_timed_out(&own->circuit, channel_clock_ns());
    if (own->channel.broken) {
        outage_begin(&own->outage, channel_clock_ns());
        handle_disconnect(handle);
    }
}

static uint64_t patience(const struct handle *handle, uint64_t deadline_ns)
{
    return circuit_deadline(&handle->own->circuit, channel_clock_ns(), deadline_ns);
}

/* Keeps the sidecar's reason for not answering, for permtab_why_text. */
static void keep_trouble(const struct wire_message *reply)
{
    struct permtab_thread_ *thread = &permtab_thread_;
    const char *text = reply->error_text != NULL ? reply->error_text : "";
    size_t size = strlen(text);
    int64_t code = reply->error_code;
    if (code == 0 && reply->result != NULL) {
        if (!wire_as_i64(wire_get(reply->result, "code"), &code) || code >= 0 || code < INT_MIN)
            code = PERMTAB_E_STALE;
        if (!wire_as_str(wire_get(reply->result, "trouble"), &text, &size))
            code = 0;
    }
    thread->told = (int)code;
    if (code != 0)
        (void)snprintf(thread->trouble, sizeof(thread->trouble), "%.*s", size < 256 ? (int)size : 255, text);
}

static uint64_t begin_of_wait(const struct handle *handle, uint64_t deadline_ns)
{
    return deadline_ns != HANDLE_NO_WAIT && !handle->own->looking ? channel_clock_ns() : NOT_WAITED;
}

int handle_call(struct handle *handle, uint64_t deadline_ns, struct wire_message *reply)
{
    uint64_t begin_ns = begin_of_wait(handle, deadline_ns);
    int code = channel_call(&handle->own->channel, -1, patience(handle, deadline_ns), reply);
    judge_silence(handle, code, begin_ns, reply);
    keep_trouble(reply);
    return code;
}

/* A call without which the connection is of no use. Sends what channel_request began, unless that is under way
 * already, and waits for the reply; without one in time it stays under way, and nothing else is sent meanwhile. */
static int call_vital(struct handle *handle, bool *under_way, uint64_t deadline_ns,
                      struct wire_message *reply)
{
    struct channel *channel = &handle->own->channel;
    uint64_t begin_ns = begin_of_wait(handle, deadline_ns), end_ns = patience(handle, deadline_ns);
    int code = 0;
    *reply = (struct wire_message){0};
    if (!*under_way)
        code = channel_send(channel, -1, end_ns);
    if (code == 0) {
        code = channel_wait(channel, end_ns, reply);
        *under_way = code == PERMTAB_E_TIMEOUT && reply->error_code == 0;
    }
    judge_silence(handle, code, begin_ns, reply);
    return code;
}

/* Takes messages that have come, without waiting: late replies end the silence. */
static void listen(struct handle *handle)
{
    struct wire_message reply;
    int code = channel_wait(&handle->own->channel, HANDLE_NO_WAIT, &reply);
    judge_silence(handle, code, NOT_WAITED, &reply);
    wire_message_fini(&reply);
}

bool handle_broken(const struct handle *handle, int code)
{
    return !handle->own->channel.open && (code == PERMTAB_E_UNREACHABLE || code == PERMTAB_E_PROTOCOL);
}

#define LEASE_MS_MAX 3600000u
#define LEASE_NS     2000000000u /* before a sidecar has said it */

static void request_hello(struct handle *handle)
{
    struct wire_buffer *out = channel_request(&handle->own->channel, "hello", 3);
    wire_put_u64(out, "protocol", WIRE_PROTOCOL);
    wire_put_u64(out, "layout", handle->layout);
    wire_put_str(out, "client", "libpermtab " PERMTAB_VERSION);
}

static int greet(struct handle *handle, uint64_t deadline_ns)
{
    struct own_page *own = handle->own;
    struct wire_message reply;
    uint64_t protocol, layout, lease_ms;
    if (own->greeted)
        return 0;
    if (!own->greeting)
        request_hello(handle);
    int result = call_vital(handle, &own->greeting, deadline_ns, &reply);
    if (result == 0 &&
        (!wire_as_u64(wire_get(reply.result, "protocol"), &protocol) || protocol != WIRE_PROTOCOL ||
         !wire_as_u64(wire_get(reply.result, "layout"), &layout) || layout > UINT32_MAX ||
         !wire_as_id(wire_get(reply.result, "store_id"), &own->store_id)))
        result = PERMTAB_E_PROTOCOL;
    if (result == 0) {
        own->server_layout = (uint32_t)layout;
        bool told = wire_as_u64(wire_get(reply.result, "max_staleness_ms"), &lease_ms);
        own->lease_ns = told && lease_ms <= LEASE_MS_MAX ? lease_ms * 1000000u : 0;
        own->greeted = true;
    }
    wire_message_fini(&reply);
    return result;
}

/* One page of the catalogue. 1: there are more. */
static int read_page(struct handle *handle, uint64_t deadline_ns, struct names **names, uint64_t *next)
{
    struct wire_message reply;
    if (channel_clock_ns() >= deadline_ns) /* a catalogue that changes for ever keeps nobody longer */
        return PERMTAB_E_TIMEOUT;
    struct wire_buffer *out = channel_request(&handle->own->channel, "catalogue", 1);
    wire_put_u64(out, "from", *next);
    int result = handle_call(handle, deadline_ns, &reply);
    if (result == 0)
        result = names_take(names, reply.result, next);
    wire_message_fini(&reply);
    return result;
}

int handle_read_names(struct handle *handle, uint64_t deadline_ns)
{
    struct names *names = NULL, *old = handle->names;
    uint64_t next = 0;
    int code;
    do
        code = read_page(handle, deadline_ns, &names, &next);
    while (code > 0);
    if (code < 0) {
        names_free(names);
        return code;
    }
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
    int code = attach_take(handle, attachment);
    descriptor_close(&attachment->segment);
    descriptor_close(&attachment->feedback);
    return code;
}

static int ask_attachment(struct handle *handle, uint64_t deadline_ns, struct attachment *attachment)
{
    struct own_page *own = handle->own;
    struct wire_message reply;
    bool begun = own->attaching;
    if (!begun) {
        (void)channel_request(&own->channel, "attach", 0);
        own->asked_ns = channel_clock_ns();
    }
    int result = call_vital(handle, &own->attaching, deadline_ns, &reply);
    attachment->asked_ns = own->asked_ns;
    attachment->answered_ns = channel_clock_ns();
    bool old = begun && attachment->answered_ns - attachment->asked_ns > HANDLE_TRIP_NS;
    if (result == 0)
        result = old ? PERMTAB_E_BUSY : read_attachment(handle, reply.result, attachment);
    wire_message_fini(&reply);
    return result;
}

static int attach_now(struct handle *handle, uint64_t deadline_ns)
{
    struct own_page *own = handle->own;
    struct attachment attachment;
    if (handle->layout != PERMTAB_SHM_LAYOUT || own->server_layout != handle->layout)
        return PERMTAB_E_LAYOUT;
    int code = ask_attachment(handle, deadline_ns, &attachment);
    /* PERMTAB_E_BUSY: the reply lay unread for long, and says little about the other side's clock. */
    if (code == PERMTAB_E_BUSY)
        code = ask_attachment(handle, deadline_ns, &attachment);
    return code;
}

/* The sidecar's tables have another layout. The present table is left when its lease has ended, and not before. */
static int leave_table(struct handle *handle)
{
    const struct geometry *now = geometry_now(handle);
    struct permtab_shm_moment moment = permtab_shm_beat_read(&now->visible.table);
    bool left = now->visible.trouble == PERMTAB_E_LAYOUT && now->visible.store_id == handle->own->store_id;
    if (left || permtab_shm_fresh(&moment))
        return 0;
    return attach_void(handle, handle->own->store_id, PERMTAB_E_LAYOUT);
}

/* There is no pause after an attachment that helped: that table may be retired right after. */
static uint64_t pause_after_attachment(const struct handle *handle, int code)
{
    const struct permtab_geometry_ *geometry = &geometry_now(handle)->visible;
    struct permtab_shm_moment moment = permtab_shm_beat_read(&geometry->table);
    if (code < 0 || moment.state != PERMTAB_SHM_LIVE)
        return HANDLE_ATTEMPT_NS;
    if (!ahead_wanted(geometry, &moment, channel_clock_ns()))
        return 0;
    uint64_t pause_ns = geometry->early_ns / 4; /* nothing newer: the lease is just not renewed */
    return pause_ns > HANDLE_ATTEMPT_NS ? pause_ns : HANDLE_ATTEMPT_NS;
}

int handle_attach(struct handle *handle, uint64_t deadline_ns)
{
    struct own_page *own = handle->own;
    int code = attach_now(handle, deadline_ns);
    if (code == PERMTAB_E_LAYOUT)
        code = leave_table(handle);
    own->attached_ns = channel_clock_ns();
    own->next_attach_ns = own->attaching ? 0 : own->attached_ns + pause_after_attachment(handle, code);
    own->attached = own->attached || code == 0;
    own->attach_code = code;
    return code;
}

/* Whether the connection may be used although a step failed with `code`. A request that the sidecar cannot serve
 * now may pass; a reply that it should not have sent does not. While a reply with descriptors is to come, nothing
 * else is asked for. */
static bool bearable(const struct handle *handle, int code)
{
    const struct own_page *own = handle->own;
    return own->channel.open && own->greeted && !own->attaching && code != PERMTAB_E_CLOCK &&
           code != PERMTAB_E_PROTOCOL;
}

/* Whether the present table is to be replaced, or may be. */
static bool newer_is_wanted(struct handle *handle, uint64_t clock)
{
    const struct own_page *own = handle->own;
    const struct permtab_geometry_ *geometry = &geometry_now(handle)->visible;
    struct permtab_shm_moment moment = permtab_shm_beat_read(&geometry->table);
    if (moment.state == PERMTAB_SHM_VOID)
        return true;
    if (clock < moment.lease_deadline)
        return ahead_wanted(geometry, &moment, clock) &&
               (own->eager || clock >= ahead_from(handle, geometry, &moment, clock));
    return moment.state == PERMTAB_SHM_RETIRED || clock >= own->attached_ns + HANDLE_RECHECK_NS;
}

static bool attaching_is_due(struct handle *handle)
{
    const struct own_page *own = handle->own;
    uint64_t clock = channel_clock_ns();
    bool wanted = !own->attached || newer_is_wanted(handle, clock);
    return own->attaching || (wanted && clock >= own->next_attach_ns);
}

int handle_refresh(struct handle *handle, uint64_t deadline_ns)
{
    const struct geometry *now = geometry_now(handle);
    if (now->visible.trouble == PERMTAB_E_LAYOUT && handle->own->attached)
        return 0;
    int code = attaching_is_due(handle) ? handle_attach(handle, deadline_ns) : 0;
    if (code < 0 && !bearable(handle, code))
        return code;
    now = geometry_now(handle);
    struct permtab_shm_moment moment = permtab_shm_beat_read(&now->visible.table);
    if (moment.state == PERMTAB_SHM_VOID || moment.catalogue == now->visible.catalogue)
        return 0;
    code = handle_read_names(handle, deadline_ns);
    return code < 0 && !bearable(handle, code) ? code : 0;
}

/* How long an outage is waited for: a caller that was there when it began has all of its time, and nobody fails for an
 * outage that no answer of the table has suffered from. Later callers fail at once, else a server whose sidecar is
 * away for good would have all of its threads wait here, one after the other. */
static uint64_t outage_age(const struct handle *handle)
{
    uint64_t check_ns = (uint64_t)handle->check_ms * 1000000u;
    uint64_t lease_ns = handle->own->lease_ns > 0 ? handle->own->lease_ns : LEASE_NS;
    return check_ns > lease_ns ? check_ns : lease_ns;
}

static int connect_now(struct handle *handle, uint64_t deadline_ns)
{
    struct own_page *own = handle->own;
    uint64_t clock = channel_clock_ns();
    if (!outage_allows(&own->outage, clock)) {
        uint64_t next_ns = own->outage.next_attempt_ns;
        if (next_ns >= deadline_ns || !outage_is_young(&own->outage, clock, outage_age(handle)))
            return PERMTAB_E_UNREACHABLE;
        channel_pause(next_ns);
        clock = channel_clock_ns();
    }
    outage_attempt(&own->outage, clock);
    int code = channel_open(&own->channel, handle->path, handle->server_uid, patience(handle, deadline_ns));
    if (code == PERMTAB_E_TIMEOUT && deadline_ns != HANDLE_NO_WAIT && !own->looking)
        circuit_timed_out(&own->circuit, channel_clock_ns());
    if (code < 0) {
        outage_begin(&own->outage, clock);
        return code;
    }
    own->next_attach_ns = 0;
    descriptor_own(&handle->inherited, descriptor_number(&own->channel.descriptor));
    return 0;
}

static int get_ready(struct handle *handle, uint64_t deadline_ns)
{
    struct own_page *own = handle->own;
    int code = own->channel.open ? 0 : connect_now(handle, deadline_ns);
    if (code == 0)
        code = greet(handle, deadline_ns);
    if (code == 0 && handle->names == NULL)
        code = handle_read_names(handle, deadline_ns);
    if (code == 0)
        code = handle_refresh(handle, deadline_ns);
    if (code == 0)
        outage_end(&own->outage);
    bool under_way = own->greeting || own->attaching;
    if (code < 0 && own->channel.open && !under_way && !bearable(handle, code))
        handle_disconnect(handle);
    return code;
}

int handle_ready(struct handle *handle, uint64_t deadline_ns)
{
    struct own_page *own = handle->own;
    bool under_way = own->greeting || own->attaching;
    /* listen comes before a probe: a sidecar that is heard already is waited for longer than a probe waits. */
    if (own->circuit.pause_ns > 0 && own->channel.open && !under_way)
        listen(handle);
    if (!circuit_allows(&own->circuit, channel_clock_ns())) {
        if (!own->channel.open)
            return PERMTAB_E_TIMEOUT;
        if (under_way)
            (void)get_ready(handle, HANDLE_NO_WAIT);
        if (!circuit_allows(&own->circuit, channel_clock_ns()))
            return PERMTAB_E_TIMEOUT;
    }
    return get_ready(handle, deadline_ns);
}

/* So many connections may end under one call, and one of a sidecar that does not speak the protocol. Should it be the
 * request that ends them, it is not sent for ever. */
#define ENDED_MAX         4u
#define ENDED_STRANGE_MAX 1u

bool handle_again(struct handle *handle, int code, uint32_t ended, uint64_t deadline_ns)
{
    const struct own_page *own = handle->own;
    uint64_t clock = channel_clock_ns();
    uint32_t count = own->ended - ended;
    if (!handle_broken(handle, code) || clock >= deadline_ns ||
        !outage_is_young(&own->outage, clock, outage_age(handle)) ||
        count > (code == PERMTAB_E_PROTOCOL ? ENDED_STRANGE_MAX : ENDED_MAX))
        return false;
    uint64_t next_ns = own->outage.next_attempt_ns;
    if (count > 1 && next_ns < clock + (OUTAGE_PAUSE_MIN_NS << count))
        next_ns = clock + (OUTAGE_PAUSE_MIN_NS << count);
    if (next_ns >= deadline_ns)
        return false;
    channel_pause(next_ns);
    return true;
}

int handle_ready_again(struct handle *handle, uint64_t deadline_ns)
{
    uint32_t ended = handle->own->ended;
    int code;
    do
        code = handle_ready(handle, deadline_ns);
    while (handle_again(handle, code, ended, deadline_ns));
    return code;
}
