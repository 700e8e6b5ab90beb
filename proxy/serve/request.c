/* Requests on their way from a message to a method and back. This file judges whether a peer may call a method
 * before the method sees a parameter, so no method can forget to. */
#include "proxy/serve/request.h"

#include "client/wire/time_text.h"
#include "proxy/serve/parked.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

static const struct method *find_method(const struct server *server, const char *name)
{
    for (size_t i = 0; i < server->method_count; i++) {
        if (strcmp(server->methods[i].name, name) == 0)
            return &server->methods[i];
    }
    return NULL;
}

static void send_error(struct session *session, uint64_t id, int code, const char *text)
{
    struct wire_buffer reply;
    wire_buffer_init(&reply);
    wire_reply_error(&reply, id, code, text);
    session->server->parts->counters->requests_failed++;
    if (reply.failed)
        session_close(session, "out of memory");
    else
        session_send(session, &reply, NULL, 0);
    wire_buffer_fini(&reply);
}

/* ---- life ------------------------------------------------------------------------------------------------------ */

static void request_new(struct session *session, const struct method *method,
                        const struct wire_message *message, const char *frame)
{
    struct request *request = calloc(1, sizeof *request);
    if (!request) {
        send_error(session, message->id, PERMTAB_E_MEMORY, "out of memory");
        return;
    }
    request->session = session;
    request->server = session->server;
    request->parts = session->server->parts;
    request->method = method;
    request->id = message->id;
    request->frame = frame;
    request->frame_size = message->size;
    DL_PREPEND(session->requests, request);
    session->request_count++;
    method->serve(request, message->params);
}

/* The text of a message's fault: its method cannot be looked up, or its parameters have another form. NULL: no
 * fault. */
static const char *fault_text(const struct wire_message *message)
{
    switch (message->fault) {
    case WIRE_FAULTLESS:
        return NULL;
    case WIRE_METHOD_NO_TEXT:
        return "the method is no name: expected text, as in [0, id, \"health\", []]";
    case WIRE_METHOD_TOO_LONG:
        return "there is no method with so long a name";
    case WIRE_PARAMS_SHAPE:
        return "the parameters are one map in an array, as in [0, id, \"check\", [{\"user\": 7}]]; without "
               "any, []";
    }
    abort();
}

void request_begin(struct session *session, const struct wire_message *message, const char *frame)
{
    const struct method *method = find_method(session->server, message->method);
    const char *fault = fault_text(message);
    char text[128];
    session->server->parts->counters->requests++;
    if (fault) {
        send_error(session, message->id,
                   message->fault == WIRE_METHOD_TOO_LONG ? PERMTAB_E_NOT_FOUND : PERMTAB_E_INVALID, fault);
    } else if (!method) {
        (void)snprintf(text, sizeof text, "there is no method \"%s\"", message->method);
        send_error(session, message->id, PERMTAB_E_NOT_FOUND, text);
    } else if (!session->greeted && !method->before_hello) {
        send_error(session, message->id, PERMTAB_E_PROTOCOL, "hello must be the first request");
    } else if (method->writing && !server_may_write(session->server, session->uid)) {
        (void)snprintf(text, sizeof text, "%s is for root or uid %u, not for uid %u", method->name,
                       (unsigned)session->server->uid, (unsigned)session->uid);
        send_error(session, message->id, PERMTAB_E_REFUSED, text);
    } else {
        request_new(session, method, message, frame);
    }
}

static void request_unlink(struct request *request)
{
    struct session *session = request->session;
    if (!session)
        return;
    DL_DELETE(session->requests, request);
    request->session = NULL;
    if (session->socket >= 0)
        session_request_ended(session);
}

void request_drop(struct request *request)
{
    request_unlink(request);
    free(request);
}

void request_reply_descriptors(struct request *request, struct wire_buffer *reply, const int *descriptors,
                               unsigned count)
{
    struct session *session = request->session;
    uint64_t id = request->id;
    request_drop(request);
    if (session && session->socket >= 0 && !reply->failed) {
        session_send(session, reply, descriptors, count);
    } else {
        for (unsigned i = 0; i < count; i++)
            (void)close(descriptors[i]);
        if (session && session->socket >= 0)
            send_error(session, id, PERMTAB_E_LIMIT, "the answer is larger than a message may be");
    }
    wire_buffer_fini(reply);
}

void request_reply(struct request *request, struct wire_buffer *reply)
{
    request_reply_descriptors(request, reply, NULL, 0);
}

bool request_fail(struct request *request, int code, const char *format, ...)
{
    struct session *session = request->session;
    uint64_t id = request->id;
    char text[FAILURE_TEXT_SIZE];
    va_list arguments;
    int named = snprintf(text, sizeof text, "%s: ", request->method->name);
    va_start(arguments, format);
    (void)vsnprintf(text + named, sizeof text - (size_t)named, format, arguments);
    va_end(arguments);
    request_drop(request);
    if (session && session->socket >= 0)
        send_error(session, id, code, text);
    return false;
}

/* ---- parameters ------------------------------------------------------------------------------------------------ */

bool param_id(struct request *request, const struct wire_value *params, const char *key, uint64_t *out)
{
    if (wire_as_id(wire_get(params, key), out))
        return true;
    return request_fail(request, PERMTAB_E_INVALID,
                        "%s: expected an id, a whole number or its decimal digits%s", key,
                        wire_number_hint(wire_get(params, key)));
}

bool param_text(struct request *request, const struct wire_value *params, const char *key, char *out,
                size_t size)
{
    if (wire_as_text(wire_get(params, key), out, size))
        return true;
    return request_fail(request, PERMTAB_E_INVALID, "%s: expected a text of at most %zu bytes", key,
                        size - 1);
}

bool param_scope(struct request *request, const struct wire_value *params, const char *key,
                 struct scope_key *out)
{
    char text[SCOPE_TEXT_SIZE], known[SCOPE_TYPES_TEXT_SIZE];
    if (!param_text(request, params, key, text, sizeof text))
        return false;
    int code = scope_parse(&request_catalogue(request)->types, text, out);
    if (code == 0)
        return true;
    if (code == PERMTAB_E_NO_SCOPE_TYPE && parked_wait(request))
        return false;
    if (code == PERMTAB_E_NO_SCOPE_TYPE)
        return request_fail(request, code, "%s: there is no scope type in \"%s\": there are %s", key, text,
                            scope_types_format(&request_catalogue(request)->types, known));
    return request_fail(request, code, "%s: \"%s\" is neither global nor type:id", key, text);
}

bool param_permission(struct request *request, const struct wire_value *params, const char *key,
                      uint32_t *out)
{
    char text[PERMISSION_TEXT_SIZE];
    if (!param_text(request, params, key, text, sizeof text))
        return false;
    const struct permission *permission = catalogue_find(request_catalogue(request), text);
    if (permission && !permission->deleted) {
        *out = permission->bit;
        return true;
    }
    if (parked_wait(request))
        return false;
    return request_fail(request, PERMTAB_E_NO_PERMISSION, "%s: there is no permission \"%s\"", key, text);
}

bool param_optional_bool(struct request *request, const struct wire_value *params, const char *key, bool *out)
{
    const struct wire_value *value = wire_get(params, key);
    if (wire_is_nil(value) || wire_as_bool(value, out))
        return true;
    return request_fail(request, PERMTAB_E_INVALID, "%s: expected true or false", key);
}

bool param_optional_id(struct request *request, const struct wire_value *params, const char *key,
                       bool *present, uint64_t *out)
{
    *present = !wire_is_nil(wire_get(params, key));
    return !*present || param_id(request, params, key, out);
}

bool param_optional_time(struct request *request, const struct wire_value *params, const char *key,
                         bool *present, int64_t *out)
{
    char text[TIME_TEXT_MAX], trouble[TIME_TROUBLE_SIZE];
    const struct wire_value *value = wire_get(params, key);
    *present = !wire_is_nil(value);
    if (!*present)
        return true;
    if (wire_as_text(value, text, sizeof text) ? !time_parse(text, out) : !wire_as_i64(value, out))
        return request_fail(request, PERMTAB_E_INVALID,
                            "%s: expected a time like " TIME_EXAMPLE ", or microseconds since 1970%s", key,
                            wire_number_hint(value));
    if (time_plausible(*out, trouble))
        return true;
    return request_fail(request, PERMTAB_E_INVALID, "%s: %s", key, trouble);
}
