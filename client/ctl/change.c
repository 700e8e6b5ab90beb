/* permtabctl grant, revoke, assign, unassign: small changes. Each prints the revision that a token is made of. */
#include "client/ctl/permtabctl.h"

#include "client/wire/time_text.h"

#include <inttypes.h>

static int send_change(struct control *control)
{
    struct wire_message reply;
    int code = control_write(control, -1, &reply);
    if (code != 0)
        return code;
    uint64_t rows = control_u64(reply.result, "rows_written");
    uint64_t revision = control_u64(reply.result, "revision");
    if (rows == 0)
        control_say("nothing to change, revision %" PRIu64 "\n", revision);
    else
        control_say("%" PRIu64 " row%s written, revision %" PRIu64 "\n", rows, rows == 1 ? "" : "s",
                    revision);
    control_warnings(control, reply.result);
    wire_message_fini(&reply);
    return 0;
}

/* Connects and begins the request, with `fields` pairs and the time that it has. NULL: *code is the exit code. */
static struct wire_buffer *begin_change(struct control *control, uint32_t fields, int *code)
{
    *code = control_write_time(control, CONTROL_WRITE_MS);
    if (*code == 0)
        *code = control_connect(control, CONTROL_CALL_MS);
    if (*code != 0)
        return NULL;
    struct wire_buffer *out = channel_request(&control->channel, control->command, fields + 1);
    wire_put_u64(out, "timeout_ms", control->write_ms);
    return out;
}

static int change_role(struct control *control, const char *effect)
{
    uint64_t role;
    if (!control_id(control, "ROLE", control->arguments[0], &role))
        return CONTROL_USAGE;
    int code;
    struct wire_buffer *out = begin_change(control, effect != NULL ? 3 : 2, &code);
    if (out == NULL)
        return code;
    wire_put_u64(out, "role", role);
    wire_put_str(out, "permission", control->arguments[1]);
    if (effect != NULL)
        wire_put_str(out, "effect", effect);
    return send_change(control);
}

int control_grant(struct control *control)
{
    return change_role(control, control->own ? "allow_own" : control->deny ? "deny" : "allow");
}

int control_revoke(struct control *control)
{
    return change_role(control, NULL);
}

/* ---- assign, unassign
 * ------------------------------------------------------------------------------------------------ */

int control_time(const struct control *control, const char *what, const char *text, int64_t *out)
{
    char trouble[TIME_TROUBLE_SIZE];
    if (!time_parse(text, out))
        return control_fail(control, CONTROL_USAGE, "%s: \"%s\" is no time such as " TIME_EXAMPLE, what,
                            text);
    if (!time_plausible(*out, trouble))
        return control_fail(control, CONTROL_USAGE, "%s: %s", what, trouble);
    return 0;
}

static int change_assignment(struct control *control)
{
    uint64_t user, role;
    int64_t expires = 0;
    const char *scope = control->count > 2 ? control->arguments[2] : NULL;
    if (!control_id(control, "USER", control->arguments[0], &user) ||
        !control_id(control, "ROLE", control->arguments[1], &role) ||
        (scope != NULL && !control_scope(control, scope)))
        return CONTROL_USAGE;
    int code = control->expires != NULL ? control_time(control, "--expires", control->expires, &expires) : 0;
    if (code != 0)
        return code;
    uint32_t fields = 2u + (scope != NULL ? 1u : 0u) + (control->expires != NULL ? 1u : 0u);
    struct wire_buffer *out = begin_change(control, fields, &code);
    if (out == NULL)
        return code;
    wire_put_u64(out, "user", user);
    wire_put_u64(out, "role", role);
    if (scope != NULL)
        wire_put_str(out, "scope", scope);
    if (control->expires != NULL)
        wire_put_i64(out, "expires_at", expires);
    return send_change(control);
}

int control_assign(struct control *control)
{
    return change_assignment(control);
}

int control_unassign(struct control *control)
{
    return change_assignment(control);
}
