/* permtabctl check, explain: asking. */
#include "client/ctl/permtabctl.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

bool control_question(const struct control *control, uint64_t *user, uint64_t *owner)
{
    return control_id(control, "USER", control->arguments[0], user) &&
           control_scope(control, control->arguments[1]) &&
           (control->owner == NULL || control_id(control, "--owner", control->owner, owner));
}

static void pack_question(struct control *control, const char *method, uint64_t user, uint64_t owner)
{
    struct wire_buffer *out = channel_request(&control->channel, method, control->owner != NULL ? 4 : 3);
    wire_put_u64(out, "user", user);
    wire_put_str(out, "scope", control->arguments[1]);
    wire_put_str(out, "permission", control->arguments[2]);
    if (control->owner != NULL)
        wire_put_u64(out, "owner", owner);
}

/* Prints a decision; returns what check exits with. A decision whose deadline has passed is not vouched for. */
static int print_decision(const struct wire_value *result)
{
    int64_t decision = -1;
    if (!wire_as_i64(wire_get(result, "decision"), &decision) ||
        (decision >= 0 && channel_clock_ns() >= control_u64(result, "deadline")))
        decision = -1;
    control_say("%s\n", decision == 1 ? "allow" : decision == 0 ? "deny" : "unknown");
    return decision == 1 ? 0 : decision == 0 ? 1 : CONTROL_UNKNOWN;
}

int control_check(struct control *control)
{
    uint64_t user, owner = 0;
    struct wire_message reply;
    if (control->batch)
        return control_batch(control);
    if (!control_question(control, &user, &owner))
        return CONTROL_USAGE;
    int code = control_connect(control, CONTROL_CALL_MS);
    if (code == 0) {
        pack_question(control, "check", user, owner);
        code = control_call(control, -1, CONTROL_CALL_MS, &reply);
    }
    if (code != 0) { /* not 1: that would read as deny */
        control_say("unknown\n");
        return CONTROL_UNKNOWN;
    }
    code = print_decision(reply.result);
    char trouble[512];
    if (wire_as_text(wire_get(reply.result, "trouble"), trouble, sizeof(trouble)))
        (void)control_fail(control, 0, "%s", trouble);
    wire_message_fini(&reply);
    return code;
}

/* ---- explain ----------------------------------------------------------------------------------------------------- */

int control_explain(struct control *control)
{
    uint64_t user, owner = 0;
    struct wire_message reply;
    int64_t decision = -1;
    bool deprecated = false;
    size_t count = 0;
    if (!control_question(control, &user, &owner))
        return CONTROL_USAGE;
    int code = control_connect(control, CONTROL_CALL_MS);
    if (code != 0)
        return code;
    pack_question(control, "explain", user, owner);
    code = control_call(control, -1, CONTROL_CALL_MS, &reply);
    if (code != 0)
        return code;
    (void)wire_as_i64(wire_get(reply.result, "decision"), &decision);
    (void)wire_as_bool(wire_get(reply.result, "deprecated"), &deprecated);
    control_say("%s%s\n",
                decision == 1   ? "allow"
                : decision == 0 ? "deny"
                                : "unknown",
                deprecated ? " (the permission is deprecated)" : "");
    const struct wire_value *lines = wire_get(reply.result, "lines");
    (void)wire_as_array(lines, &count);
    for (size_t i = 0; i < count; i++) {
        const char *text;
        size_t size;
        if (wire_as_str(wire_item(lines, i), &text, &size))
            control_say("%s %.*s\n", i == control_u64(reply.result, "decisive") ? "*" : " ", (int)size, text);
    }
    wire_message_fini(&reply);
    return 0;
}
