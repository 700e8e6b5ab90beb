/* Shared by permtabctl's commands: one connection, one call, one line when something fails. */
#include "client/ctl/permtabctl.h"

#include "client/peer.h"
#include "client/permtab.h"

#include <errno.h>
#include <string.h>

static uint64_t deadline_after(uint32_t timeout_ms)
{
    return channel_clock_ns() + (uint64_t)timeout_ms * 1000000u;
}

/* Any server uid is accepted: the operator who names the socket knows whose it is. */
static int open_any_uid(struct control *control, uint64_t deadline_ns)
{
    int code = channel_open(&control->channel, control->socket, PEER_ANY, deadline_ns);
    if (code == 0)
        return 0;
    if (code == PERMTAB_E_UNREACHABLE || code == PERMTAB_E_SYSTEM)
        return control_fail(control, CONTROL_FAILED, "cannot reach the sidecar at %s: %s", control->socket,
                            strerror(errno));
    return control_fail(control, CONTROL_FAILED, "%s: %s", control->socket, permtab_strerror(code));
}

int control_connect(struct control *control, uint32_t timeout_ms)
{
    struct wire_message reply;
    int code = open_any_uid(control, deadline_after(timeout_ms));
    if (code != 0)
        return code;
    struct wire_buffer *out = channel_request(&control->channel, "hello", 3);
    wire_put_u64(out, "protocol", WIRE_PROTOCOL);
    wire_put_u64(out, "layout", PERMTAB_SHM_LAYOUT);
    wire_put_str(out, "client", "permtabctl " PERMTAB_VERSION);
    code = control_call(control, -1, timeout_ms, &reply);
    if (code == 0)
        wire_message_fini(&reply);
    return code;
}

/* The sidecar begins its sentences with the method, which mostly is the command that we print ourselves. */
static const char *without_method(const struct control *control, const char *text)
{
    size_t length = strlen(control->command);
    bool same = strncmp(text, control->command, length) == 0 && strncmp(text + length, ": ", 2) == 0;
    return same ? text + length + 2 : text;
}

int control_call(struct control *control, int descriptor, uint32_t timeout_ms, struct wire_message *reply)
{
    int code = channel_call(&control->channel, descriptor, deadline_after(timeout_ms), reply);
    if (code == 0)
        return 0;
    if (reply->error_code != 0)
        (void)control_fail(control, 0, "%s", without_method(control, reply->error_text));
    else
        (void)control_fail(control, 0, "%s", permtab_strerror(code));
    wire_message_fini(reply);
    return CONTROL_FAILED;
}

int control_ask(struct control *control, const char *method, uint32_t timeout_ms, struct wire_message *reply)
{
    int code = control_connect(control, timeout_ms);
    if (code != 0)
        return code;
    (void)channel_request(&control->channel, method, 0);
    return control_call(control, -1, timeout_ms, reply);
}

int control_write_time(struct control *control, uint32_t default_ms)
{
    uint64_t ms = default_ms;
    if (control->timeout != NULL && (!control_duration(control->timeout, &ms) || ms == 0 || ms > 3600000))
        return control_fail(control, CONTROL_USAGE,
                            "--timeout: \"%s\" is no duration such as 500ms, 30s or 1h, the longest",
                            control->timeout);
    control->write_ms = (uint32_t)ms;
    return 0;
}

int control_write(struct control *control, int descriptor, struct wire_message *reply)
{
    uint64_t deadline_ns = deadline_after(control->write_ms + CONTROL_SLACK_MS);
    int result = channel_call(&control->channel, descriptor, deadline_ns, reply);
    if (result == 0)
        return 0;
    int code = CONTROL_FAILED;
    if (reply->error_code == PERMTAB_E_STORE_UNSURE)
        code = CONTROL_UNKNOWN;
    if (reply->error_code != 0)
        (void)control_fail(control, 0, "%s", without_method(control, reply->error_text));
    else
        code = control_fail(control, CONTROL_UNKNOWN,
                            "%s, so whether it was done is unknown; run it again: it changes nothing that is "
                            "done already",
                            permtab_strerror(result));
    wire_message_fini(reply);
    return code;
}

bool control_is_id(const char *text, uint64_t *out)
{
    uint64_t number = 0;
    size_t length = strlen(text);
    if (length == 0 || length > 20)
        return false;
    for (size_t i = 0; i < length; i++)
        if (text[i] < '0' || text[i] > '9' || __builtin_mul_overflow(number, 10u, &number) ||
            __builtin_add_overflow(number, (uint64_t)(text[i] - '0'), &number))
            return false;
    *out = number;
    return true;
}

bool control_is_scope(const char *text)
{
    uint64_t id;
    const char *colon = strchr(text, ':');
    if (colon == NULL)
        return strcmp(text, "global") == 0;
    return colon != text && control_is_id(colon + 1, &id);
}

bool control_id(const struct control *control, const char *what, const char *text, uint64_t *out)
{
    if (control_is_id(text, out))
        return true;
    (void)control_fail(control, 0, "%s: \"%s\" is no id: a decimal number up to 18446744073709551615", what,
                       text);
    return false;
}

bool control_scope(const struct control *control, const char *text)
{
    if (control_is_scope(text))
        return true;
    (void)control_fail(control, 0, "SCOPE: \"%s\" is neither `global` nor `type:id`", text);
    return false;
}

void control_warnings(const struct control *control, const struct wire_value *result)
{
    const struct wire_value *warnings = wire_get(result, "warnings");
    size_t count = 0, size;
    const char *text;
    (void)wire_as_array(warnings, &count);
    for (size_t i = 0; i < count; i++)
        if (wire_as_str(wire_item(warnings, i), &text, &size))
            (void)control_fail(control, 0, "warning: %.*s", (int)size, text);
}

uint64_t control_u64(const struct wire_value *map, const char *key)
{
    uint64_t value = 0;
    (void)wire_as_id(wire_get(map, key), &value);
    return value;
}

const char *control_text(const struct wire_value *map, const char *key, char *out, size_t size)
{
    if (!wire_as_text(wire_get(map, key), out, size))
        out[0] = '\0';
    return out;
}
