/* permtabctl stats, health: operating. */
#include "client/ctl/permtabctl.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

/* name value, or a JSON object in the sidecar's order. */
static int print_stats(const struct control *control, const struct wire_value *stats)
{
    json_t *object = control->json ? json_object() : NULL;
    size_t count = 0;
    (void)wire_as_map(stats, &count);
    for (size_t i = 0; i < count; i++) {
        char name[128];
        uint64_t value = 0;
        int64_t below = 0; /* a gauge may be below zero */
        bool negative = !wire_as_u64(wire_value_at(stats, i), &value);
        if (!wire_as_text(wire_key_at(stats, i), name, sizeof(name)) ||
            (negative && !wire_as_i64(wire_value_at(stats, i), &below)))
            continue;
        if (control->json)
            (void)json_object_set_new(object, name, json_integer(negative ? below : (json_int_t)value));
        else if (negative)
            control_say("%s %" PRId64 "\n", name, below);
        else
            control_say("%s %" PRIu64 "\n", name, value);
    }
    return control->json ? control_print_json(control, object, JSON_INDENT(2)) : 0;
}

int control_stats(struct control *control)
{
    struct wire_message reply;
    int code = control_ask(control, "stats", CONTROL_CALL_MS, &reply);
    if (code != 0)
        return code;
    code = print_stats(control, reply.result);
    wire_message_fini(&reply);
    return code;
}

int control_health(struct control *control)
{
    struct wire_message reply;
    char trouble[512], alarm[512], writes[512], death[512];
    bool ok = false;
    int64_t lease_ms = 0;
    int code = control_ask(control, "health", CONTROL_HEALTH_MS, &reply);
    if (code != 0)
        return code;
    (void)wire_as_bool(wire_get(reply.result, "ok"), &ok);
    (void)wire_as_i64(wire_get(reply.result, "lease_ms"), &lease_ms);
    (void)control_text(reply.result, "trouble", trouble, sizeof(trouble));
    control_say("%s, revision %" PRIu64 ", lease %" PRId64 " ms%s%s\n", ok ? "ok" : "not ok",
                control_u64(reply.result, "revision"), lease_ms, trouble[0] != '\0' ? ": " : "", trouble);
    if (!wire_is_nil(wire_get(reply.result, "stopping_ms")))
        control_say("stopping in %" PRIu64 " ms\n", control_u64(reply.result, "stopping_ms"));
    if (control_text(reply.result, "alarm", alarm, sizeof(alarm))[0] != '\0')
        control_say("alarm: %s\n", alarm);
    if (control_text(reply.result, "writes", writes, sizeof(writes))[0] != '\0')
        control_say("writes: %s\n", writes);
    if (control_text(reply.result, "last_death", death, sizeof(death))[0] != '\0')
        control_say("the worker before ended by %s\n", death);
    wire_message_fini(&reply);
    return ok ? 0 : CONTROL_FAILED;
}
