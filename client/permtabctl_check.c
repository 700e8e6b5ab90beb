/* permtabctl check, permissions, explain: asking. */
#include "client/permtabctl.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

/* user, scope, permission, and owner when there is one, as arguments or as params. False with a usage line printed. */
static bool read_question(const struct control *control, uint64_t *user, uint64_t *owner)
{
    return control_id(control, "USER", control->arguments[0], user) &&
           control_scope(control, control->arguments[1]) &&
           (control->owner == NULL || control_id(control, "--owner", control->owner, owner));
}

static void pack_question(struct control *control, const char *method, uint64_t user, uint64_t owner)
{
    struct wire_buffer *out = channel_request(&control->channel, method, control->owner != NULL ? 4 : 3);
    wire_str(out, "user");
    wire_u64(out, user);
    wire_str(out, "scope");
    wire_str(out, control->arguments[1]);
    wire_str(out, "permission");
    wire_str(out, control->arguments[2]);
    if (control->owner != NULL) {
        wire_str(out, "owner");
        wire_u64(out, owner);
    }
}

/* Prints a decision; returns what check exits with. A deadline that has passed is no vouching. */
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
    if (!read_question(control, &user, &owner))
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

/* ---- permissions ------------------------------------------------------------------------------------------------- */

static json_t *names_to_json(const struct wire_value *list)
{
    json_t *array = json_array();
    size_t count = 0;
    (void)wire_as_array(list, &count);
    for (size_t i = 0; i < count; i++) {
        const char *text;
        size_t size;
        if (wire_as_str(wire_item(list, i), &text, &size))
            (void)json_array_append_new(array, json_stringn(text, size));
    }
    return array;
}

/* JSON's integers are signed 64-bit numbers to jansson: larger ids are written as decimal strings, which is what policy
 * documents allow too. */
static json_t *id_to_json(uint64_t id)
{
    char text[24];
    if (id <= INT64_MAX)
        return json_integer((json_int_t)id);
    (void)snprintf(text, sizeof(text), "%" PRIu64, id);
    return json_string(text);
}

static int print_permissions_json(const struct control *control, const struct wire_value *result,
                                  uint64_t user)
{
    json_t *object = json_object();
    (void)json_object_set_new(object, "user", id_to_json(user));
    (void)json_object_set_new(object, "scope", json_string(control->arguments[1]));
    (void)json_object_set_new(object, "revision", id_to_json(control_u64(result, "revision")));
    (void)json_object_set_new(object, "any", names_to_json(wire_get(result, "any")));
    (void)json_object_set_new(object, "own", names_to_json(wire_get(result, "own")));
    bool said = control_say_json(object, 0);
    json_decref(object);
    return !said ? control_fail(control, CONTROL_FAILED, "cannot print the answer") : 0;
}

static bool contains(const struct wire_value *list, const char *text, size_t size)
{
    const char *other;
    size_t count = 0, length;
    (void)wire_as_array(list, &count);
    for (size_t i = 0; i < count; i++)
        if (wire_as_str(wire_item(list, i), &other, &length) && length == size &&
            memcmp(other, text, size) == 0)
            return true;
    return false;
}

static void print_permissions(const struct wire_value *result)
{
    const struct wire_value *any = wire_get(result, "any"), *own = wire_get(result, "own");
    size_t count = 0, size;
    const char *text;
    (void)wire_as_array(any, &count);
    for (size_t i = 0; i < count; i++)
        if (wire_as_str(wire_item(any, i), &text, &size))
            control_say("%.*s\n", (int)size, text);
    (void)wire_as_array(own, &count);
    for (size_t i = 0; i < count; i++)
        if (wire_as_str(wire_item(own, i), &text, &size) && !contains(any, text, size))
            control_say("%.*s (own)\n", (int)size, text);
}

int control_permissions(struct control *control)
{
    uint64_t user, owner;
    struct wire_message reply;
    if (!read_question(control, &user, &owner))
        return CONTROL_USAGE;
    int code = control_connect(control, CONTROL_CALL_MS);
    if (code != 0)
        return code;
    struct wire_buffer *out = channel_request(&control->channel, "permissions", 2);
    wire_str(out, "user");
    wire_u64(out, user);
    wire_str(out, "scope");
    wire_str(out, control->arguments[1]);
    code = control_call(control, -1, CONTROL_CALL_MS, &reply);
    if (code != 0)
        return code;
    if (control->json)
        code = print_permissions_json(control, reply.result, user);
    else
        print_permissions(reply.result);
    wire_message_fini(&reply);
    return code;
}

/* ---- explain ------------------------------------------------------------------------------------------------------ */

int control_explain(struct control *control)
{
    uint64_t user, owner = 0;
    struct wire_message reply;
    int64_t decision = -1;
    bool deprecated = false;
    size_t count = 0;
    if (!read_question(control, &user, &owner))
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
