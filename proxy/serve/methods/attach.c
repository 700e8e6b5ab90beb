/* hello, attach and catalogue: how a client begins. hello states versions; attach hands out the table and a page to
 * count in; catalogue turns names into bits. */
#include "proxy/base/clock.h"
#include "proxy/serve/methods/methods.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static void copy_name(struct session *session, const struct wire_value *value)
{
    char name[256];
    size_t used = 0;
    if (!wire_as_text(value, name, sizeof name))
        return;
    /* The name is shown to operators, so it is reduced to plain characters. */
    for (const char *at = name; *at && used < sizeof session->name - 1; at++)
        session->name[used++] = *at > ' ' && *at < 0x7f ? *at : '_';
    session->name[used] = 0;
}

void serve_hello(struct request *request, const struct wire_value *params)
{
    const struct config *config = request->parts->config;
    struct session *session = request->session;
    struct log_position at = publisher_position(request->parts->publisher);
    uint64_t protocol = 0, layout = 0;
    if (!wire_as_u64(wire_get(params, "protocol"), &protocol)) {
        request_fail(request, PERMTAB_E_INVALID, "protocol: expected a number");
        return;
    }
    if (protocol != WIRE_PROTOCOL) {
        request_fail(request, PERMTAB_E_PROTOCOL, "protocol %llu is not spoken here, only %u",
                     (unsigned long long)protocol, WIRE_PROTOCOL);
        return;
    }
    if (!wire_as_u64(wire_get(params, "layout"), &layout) || layout > UINT32_MAX)
        layout = 0;
    session->greeted = true;
    session->layout = (uint32_t)layout;
    copy_name(session, wire_get(params, "client"));
    struct wire_buffer reply = reply_begin(request, REPLY_TOKEN_FIELDS + 5);
    wire_put_u64(&reply, "protocol", WIRE_PROTOCOL);
    wire_put_u64(&reply, "layout", PERMTAB_SHM_LAYOUT);
    wire_put_str(&reply, "server", "permtabd " PERMTAB_VERSION);
    reply_token(&reply, at.store_id, at.revision);
    wire_put_u64(&reply, "permissions_max", config->permissions_max);
    wire_put_u64(&reply, "max_staleness_ms", config->max_staleness_ms);
    request_reply(request, &reply);
}

/* Makes the page of counters once a session; a client that attaches again gets the same one. */
static int prepare_feedback(struct session *session)
{
    int code = session->feedback ? 0 : feedback_new(&session->feedback, clock_ns());
    if (code == 0 && !descriptors_spare(session->server->parts->descriptors, session->feedback->descriptor)) {
        feedback_free(session->feedback);
        session->feedback = NULL;
        code = PERMTAB_E_FULL;
    }
    return code;
}

void serve_attach(struct request *request, const struct wire_value *params)
{
    struct session *session = request->session;
    const struct segment *segment = publisher_segment(request->parts->publisher);
    int descriptors[2];
    (void)params;
    if (session->layout != PERMTAB_SHM_LAYOUT) {
        request_fail(request, PERMTAB_E_LAYOUT, "the table has layout %u, the client was compiled for %u",
                     PERMTAB_SHM_LAYOUT, session->layout);
        return;
    }
    int code = prepare_feedback(session);
    if (code < 0) {
        request_fail(request, code, "no page for the client's counters");
        return;
    }
    /* The descriptors are copies, because the reply may wait in the queue while the segment is replaced. */
    descriptors[0] = fcntl(segment->descriptor, F_DUPFD_CLOEXEC, 3);
    descriptors[1] = fcntl(session->feedback->descriptor, F_DUPFD_CLOEXEC, 3);
    const struct descriptors *spare = request->parts->descriptors;
    if (!descriptors_spare(spare, descriptors[0]) || !descriptors_spare(spare, descriptors[1])) {
        if (descriptors[0] >= 0)
            (void)close(descriptors[0]);
        if (descriptors[1] >= 0)
            (void)close(descriptors[1]);
        request_fail(request, PERMTAB_E_SYSTEM, "out of descriptors");
        return;
    }
    struct wire_buffer reply = reply_begin(request, 4);
    session->segment_id = segment->header->identity.segment_id;
    wire_put_u64(&reply, "segment_id", session->segment_id);
    wire_put_u64(&reply, "size", segment->size);
    wire_put_u64(&reply, "feedback_size", sizeof(struct permtab_shm_feedback));
    wire_put_u64(&reply, "clock", clock_ns());
    request_reply_descriptors(request, &reply, descriptors, 2);
}

/* Bytes of a row beside its name: an array of three, the name's head, a bit of up to five bytes, flags of one. */
#define ROW_BYTES (1 + 3 + 5 + 1)

/* The first permission after `first` that does not go into so many bytes with those before it. One always does. */
static size_t page_end(const struct catalogue *catalogue, size_t first, size_t bytes)
{
    size_t used = 0, end = first;
    while (end < catalogue->count) {
        used += ROW_BYTES + strlen(catalogue->permissions[end].name);
        if (used > bytes && end > first)
            break;
        end++;
    }
    return end;
}

static void pack_permission(struct wire_buffer *reply, const struct permission *permission)
{
    wire_array(reply, 3);
    wire_str(reply, permission->name);
    wire_u64(reply, permission->bit);
    wire_u64(reply, (permission->deprecated ? 1u : 0u) | (permission->deleted ? 2u : 0u));
}

/* Pages bear the catalogue's number: those of one number are of one catalogue, however long it takes to fetch them. */
static void reply_catalogue(struct request *request, size_t first, size_t end, bool paged)
{
    const struct catalogue *catalogue = request_catalogue(request);
    struct wire_buffer reply = reply_begin(request, paged ? 4 : 3);
    wire_put_u64(&reply, "catalogue", publisher_segment(request->parts->publisher)->header->beat.catalogue);
    wire_put_array(&reply, "permissions", (uint32_t)(end - first));
    for (size_t i = first; i < end; i++)
        pack_permission(&reply, &catalogue->permissions[i]);
    wire_put_array(&reply, "scope_types", catalogue->types.count);
    for (uint32_t i = 0; i < catalogue->types.count; i++)
        wire_str(&reply, catalogue->types.names[i]);
    if (paged)
        reply_next(&reply, end, catalogue->count);
    request_reply(request, &reply);
}

void serve_catalogue(struct request *request, const struct wire_value *params)
{
    const struct catalogue *catalogue = request_catalogue(request);
    bool paged;
    uint64_t from = 0;
    if (!param_optional_id(request, params, "from", &paged, &from))
        return;
    size_t first = from < catalogue->count ? (size_t)from : catalogue->count;
    size_t end = page_end(catalogue, first, paged ? REPLY_PAGE_BYTES : REPLY_WHOLE_BYTES);
    if (!paged && end < catalogue->count) /* a client that knows no pages */
        request_fail(request, PERMTAB_E_LIMIT, REPLY_TOO_LARGE);
    else
        reply_catalogue(request, first, end, paged);
}
