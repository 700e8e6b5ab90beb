/* permtabctl cleanup: removing keys from Redis that nobody will read any more. */
#include "client/ctl/permtabctl.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

static int call(struct control *control, struct wire_message *reply)
{
    return control_call(control, -1, CONTROL_CALL_MS, reply);
}

static int usage(const struct control *control)
{
    return control_fail(control, CONTROL_USAGE,
                        "start orphans, start epochs, start pattern GLOB, status, or cancel [ID]");
}

static int start(struct control *control)
{
    const char *kind = control->count > 1 ? control->arguments[1] : "";
    bool pattern = strcmp(kind, "pattern") == 0;
    struct wire_message reply;
    if (control->count != (pattern ? 3 : 2))
        return usage(control);
    int code = control_connect(control, CONTROL_CALL_MS);
    if (code != 0)
        return code;
    struct wire_buffer *out = channel_request(&control->channel, "cleanup", pattern ? 3 : 2);
    wire_put_str(out, "action", "start");
    wire_put_str(out, "kind", kind);
    if (pattern)
        wire_put_str(out, "pattern", control->arguments[2]);
    code = call(control, &reply);
    if (code != 0)
        return code;
    control_say("clean-up %" PRIu64 "\n", control_u64(reply.result, "id"));
    wire_message_fini(&reply);
    return 0;
}

static int cancel(struct control *control)
{
    uint64_t id = 0;
    struct wire_message reply;
    if (control->count > 2)
        return usage(control);
    if (control->count == 2 && !control_id(control, "ID", control->arguments[1], &id))
        return CONTROL_USAGE;
    int code = control_connect(control, CONTROL_CALL_MS);
    if (code != 0)
        return code;
    struct wire_buffer *out = channel_request(&control->channel, "cleanup", control->count == 2 ? 2 : 1);
    wire_put_str(out, "action", "cancel");
    if (control->count == 2)
        wire_put_u64(out, "id", id);
    code = call(control, &reply);
    if (code == 0)
        wire_message_fini(&reply);
    return code;
}

/* ---- status ------------------------------------------------------------------------------------------------------ */

static void print_job(const struct wire_value *job)
{
    char kind[16], state[16], pattern[600], text[200];
    (void)control_text(job, "kind", kind, sizeof kind);
    (void)control_text(job, "state", state, sizeof state);
    (void)control_text(job, "pattern", pattern, sizeof pattern);
    (void)control_text(job, "text", text, sizeof text);
    uint64_t ms = control_u64(job, "took_ms");
    control_say("%" PRIu64 " %s%s%s %s: %" PRIu64 " of about %" PRIu64 " keys seen, %" PRIu64
                " removed in %" PRIu64 ".%03" PRIu64 " s (%" PRIu64 " a second), %" PRIu64
                " slices of %" PRIu64 " us together%s%s\n",
                control_u64(job, "id"), kind, pattern[0] ? " " : "", pattern, state,
                control_u64(job, "keys_seen"), control_u64(job, "keys_total"),
                control_u64(job, "keys_removed"), ms / 1000, ms % 1000, control_u64(job, "rate"),
                control_u64(job, "slices"), control_u64(job, "redis_us"), text[0] ? "; " : "", text);
}

static int print_jobs(const struct control *control, const struct wire_value *jobs)
{
    json_t *list = control->json ? json_array() : NULL;
    size_t count = 0;
    (void)wire_as_array(jobs, &count);
    for (size_t i = 0; i < count; i++) {
        if (control->json)
            (void)json_array_append_new(list, control_json(wire_item(jobs, i)));
        else
            print_job(wire_item(jobs, i));
    }
    return control->json ? control_print_json(control, list, JSON_INDENT(2)) : 0;
}

static int status(struct control *control)
{
    struct wire_message reply;
    if (control->count != 1)
        return usage(control);
    int code = control_connect(control, CONTROL_CALL_MS);
    if (code != 0)
        return code;
    struct wire_buffer *out = channel_request(&control->channel, "cleanup", 1);
    wire_put_str(out, "action", "status");
    code = call(control, &reply);
    if (code != 0)
        return code;
    code = print_jobs(control, wire_get(reply.result, "jobs"));
    wire_message_fini(&reply);
    return code;
}

int control_cleanup(struct control *control)
{
    const char *action = control->arguments[0];
    if (strcmp(action, "start") == 0)
        return start(control);
    if (strcmp(action, "status") == 0)
        return status(control);
    return strcmp(action, "cancel") == 0 ? cancel(control) : usage(control);
}
