/* permtabctl watch: subscribes, and prints each notification until it is interrupted. Each line is flushed, because
 * a reader at the other end of a pipe wants it now. */
#include "client/ctl/permtabctl.h"

#include "client/permtab.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#define WAIT_MS   1000u
#define TEXT_SIZE 256u

/* REVISION TARGET REASON, a line a target. */
static void print_lines(const struct wire_value *params)
{
    char reason[TEXT_SIZE], target[TEXT_SIZE];
    uint64_t revision = control_u64(params, "revision"), missed = control_u64(params, "missed");
    const struct wire_value *targets = wire_get(params, "targets");
    size_t count = 0;
    (void)control_text(params, "reason", reason, sizeof(reason));
    (void)wire_as_array(targets, &count);
    for (size_t i = 0; i < count; i++)
        if (wire_as_text(wire_item(targets, i), target, sizeof(target)))
            control_say("%" PRIu64 " %s %s\n", revision, target, reason);
    if (missed > 0)
        control_say("%" PRIu64 " missed %" PRIu64 "\n", revision, missed);
}

static int print_json(const struct wire_value *params)
{
    char text[TEXT_SIZE];
    bool more = false;
    const struct wire_value *targets = wire_get(params, "targets");
    size_t count = 0;
    json_t *list = json_array();
    (void)wire_as_array(targets, &count);
    for (size_t i = 0; i < count; i++)
        if (wire_as_text(wire_item(targets, i), text, sizeof(text)))
            (void)json_array_append_new(list, json_string(text));
    (void)control_text(params, "reason", text, sizeof(text));
    json_t *object = json_pack("{s:I, s:s, s:o}", "revision", (json_int_t)control_u64(params, "revision"),
                               "reason", text, "targets", list);
    if (wire_as_bool(wire_get(params, "more"), &more) && more)
        (void)json_object_set_new(object, "more", json_true());
    if (control_u64(params, "missed") > 0)
        (void)json_object_set_new(object, "missed", json_integer((json_int_t)control_u64(params, "missed")));
    bool said = control_say_json(object, JSON_COMPACT);
    json_decref(object);
    return said ? 0 : -1;
}

/* 0: go on; else the exit code. */
static int print_one(const struct control *control, const struct wire_message *message)
{
    int failed = 0;
    if (strcmp(message->method, "goodbye") == 0)
        return control_fail(control, CONTROL_FAILED, "the sidecar is stopping");
    if (strcmp(message->method, "invalidated") != 0)
        return 0;
    if (control->json)
        failed = print_json(message->params);
    else
        print_lines(message->params);
    return failed || fflush(stdout) != 0 || ferror(stdout)
               ? control_fail(control, CONTROL_FAILED, "cannot write the output")
               : 0;
}

int control_watch(struct control *control)
{
    struct wire_message message;
    int code = control_ask(control, "subscribe", CONTROL_CALL_MS, &message);
    if (code != 0)
        return code;
    wire_message_fini(&message);
    while (code == 0) {
        int result =
            channel_notification(&control->channel, channel_clock_ns() + WAIT_MS * 1000000ull, &message);
        if (result == PERMTAB_E_TIMEOUT && control_output_gone()) /* before there is anything to tell them */
            return control_fail(control, CONTROL_FAILED, "cannot write the output: who read it is gone");
        if (result == PERMTAB_E_TIMEOUT)
            continue;
        if (result < 0)
            return control_fail(control, CONTROL_FAILED, "%s", permtab_strerror(result));
        code = print_one(control, &message);
        wire_message_fini(&message);
    }
    return code;
}
