/* permtabctl jobs: what the sidecar does in the background, how far it is, and an end to it. */
#include "client/ctl/permtabctl.h"

#include "client/wire/time_text.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#define BAR_WIDTH 20u

static int usage(const struct control *control)
{
    return control_fail(control, CONTROL_USAGE, "nothing, or cancel [ID]");
}

static int cancel(struct control *control)
{
    uint64_t id = 0;
    struct wire_message reply;
    bool named = control->count == 2;
    if (named && !control_id(control, "ID", control->arguments[1], &id))
        return CONTROL_USAGE;
    int code = control_connect(control, CONTROL_CALL_MS);
    if (code != 0)
        return code;
    struct wire_buffer *out = channel_request(&control->channel, "jobs_cancel", named ? 1 : 0);
    if (named)
        wire_put_u64(out, "id", id);
    code = control_call(control, -1, CONTROL_CALL_MS, &reply);
    if (code == 0)
        wire_message_fini(&reply);
    return code;
}

/* "[######              ]" */
static const char *bar(uint64_t done, uint64_t total, char out[BAR_WIDTH + 3])
{
    uint64_t full = total > 0 ? (done < total ? done : total) * BAR_WIDTH / total : 0;
    out[0] = '[';
    memset(out + 1, '#', full);
    memset(out + 1 + full, ' ', BAR_WIDTH - full);
    out[BAR_WIDTH + 1] = ']';
    out[BAR_WIDTH + 2] = '\0';
    return out;
}

static void print_job(const struct wire_value *job, bool terminal)
{
    char kind[16], state[16], what[200], text[200], since[TIME_TEXT_SIZE], bars[BAR_WIDTH + 3];
    int64_t since_us = (int64_t)control_u64(job, "since");
    uint64_t done = control_u64(job, "done"), total = control_u64(job, "total"), ms = control_u64(job, "took_ms");
    (void)control_text(job, "kind", kind, sizeof kind);
    (void)control_text(job, "state", state, sizeof state);
    (void)control_text(job, "what", what, sizeof what);
    (void)control_text(job, "text", text, sizeof text);
    control_say("%" PRIu64 " %s %s %s%s%" PRIu64 "/%" PRIu64 " %" PRIu64 "/s since %s for %" PRIu64 ".%03" PRIu64
                " s: %s%s%s\n",
                control_u64(job, "id"), kind, state, terminal ? bar(done, total, bars) : "", terminal ? " " : "",
                done, total, control_u64(job, "rate"), time_format(since_us - since_us % 1000000, since),
                ms / 1000, ms % 1000, what, text[0] ? "; " : "", text);
}

static int print_jobs(const struct control *control, const struct wire_value *jobs)
{
    json_t *list = control->json ? json_array() : NULL;
    bool terminal = control_output_is_terminal();
    size_t count = 0;
    (void)wire_as_array(jobs, &count);
    for (size_t i = 0; i < count; i++) {
        if (control->json)
            (void)json_array_append_new(list, control_json(wire_item(jobs, i)));
        else
            print_job(wire_item(jobs, i), terminal);
    }
    return control->json ? control_print_json(control, list, JSON_INDENT(2)) : 0;
}

int control_jobs(struct control *control)
{
    struct wire_message reply;
    if (control->count > 0)
        return strcmp(control->arguments[0], "cancel") == 0 ? cancel(control) : usage(control);
    int code = control_ask(control, "jobs", CONTROL_CALL_MS, &reply);
    if (code != 0)
        return code;
    code = print_jobs(control, wire_get(reply.result, "jobs"));
    wire_message_fini(&reply);
    return code;
}
