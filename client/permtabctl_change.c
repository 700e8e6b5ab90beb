/* permtabctl grant, revoke, assign, unassign: small changes. Each prints the revision that a token is made of. */
#include "client/permtabctl.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static int send_change(struct control *control)
{
    struct wire_message reply;
    int code = control_call(control, -1, CONTROL_CALL_MS, &reply);
    if (code != 0)
        return code;
    uint64_t rows = control_u64(reply.result, "rows_written");
    uint64_t revision = control_u64(reply.result, "revision");
    if (rows == 0)
        printf("nothing to change, revision %" PRIu64 "\n", revision);
    else
        printf("%" PRIu64 " row%s written, revision %" PRIu64 "\n", rows, rows == 1 ? "" : "s", revision);
    wire_message_fini(&reply);
    return 0;
}

static int change_role(struct control *control, const char *effect)
{
    uint64_t role;
    if (!control_id(control, "ROLE", control->arguments[0], &role))
        return CONTROL_USAGE;
    int code = control_connect(control, CONTROL_CALL_MS);
    if (code != 0)
        return code;
    struct wire_buffer *out = channel_request(&control->channel, control->command, effect != NULL ? 3 : 2);
    wire_str(out, "role");
    wire_u64(out, role);
    wire_str(out, "permission");
    wire_str(out, control->arguments[1]);
    if (effect != NULL) {
        wire_str(out, "effect");
        wire_str(out, effect);
    }
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

/* ---- times --------------------------------------------------------------------------------------------------------- */

/* `digits` decimal digits, and `after` behind them (0: whatever). */
static bool take_number(const char **text, int digits, char after, int *out)
{
    *out = 0;
    for (int i = 0; i < digits; i++, (*text)++) {
        if (**text < '0' || **text > '9')
            return false;
        *out = *out * 10 + (**text - '0');
    }
    if (after != '\0' && *(*text)++ != after)
        return false;
    return true;
}

static bool take_fraction(const char **text, int64_t *micros)
{
    int64_t unit = 100000;
    *micros = 0;
    if (**text != '.')
        return true;
    if ((*text)[1] < '0' || (*text)[1] > '9')
        return false;
    for ((*text)++; **text >= '0' && **text <= '9'; (*text)++, unit /= 10)
        *micros += unit * (**text - '0');
    return true;
}

/* Z, or +hh:mm or -hh:mm, and then the end. */
static bool take_offset(const char **text, int64_t *seconds)
{
    int hours, minutes;
    char sign = *(*text)++;
    *seconds = 0;
    if (sign == 'Z' || sign == 'z')
        return **text == '\0';
    if ((sign != '+' && sign != '-') || !take_number(text, 2, ':', &hours) ||
        !take_number(text, 2, '\0', &minutes) || hours > 23 || minutes > 59)
        return false;
    *seconds = (sign == '+' ? 1 : -1) * (hours * 3600 + minutes * 60);
    return **text == '\0';
}

/* RFC 3339, the profile with a zone: microseconds UTC. */
bool control_time(const char *text, int64_t *out)
{
    struct tm parts = {0};
    int64_t micros, offset;
    if (!take_number(&text, 4, '-', &parts.tm_year) || !take_number(&text, 2, '-', &parts.tm_mon) ||
        !take_number(&text, 2, '\0', &parts.tm_mday))
        return false;
    if (*text != 'T' && *text != 't' && *text != ' ')
        return false;
    text++;
    if (!take_number(&text, 2, ':', &parts.tm_hour) || !take_number(&text, 2, ':', &parts.tm_min) ||
        !take_number(&text, 2, '\0', &parts.tm_sec) || !take_fraction(&text, &micros) ||
        !take_offset(&text, &offset))
        return false;
    struct tm wanted = parts;
    parts.tm_year -= 1900;
    parts.tm_mon -= 1;
    time_t seconds = timegm(&parts);
    /* timegm moves a 30th of February on: what comes out must be what went in. */
    if (parts.tm_year + 1900 != wanted.tm_year || parts.tm_mon + 1 != wanted.tm_mon ||
        parts.tm_mday != wanted.tm_mday || parts.tm_hour != wanted.tm_hour || parts.tm_min != wanted.tm_min ||
        parts.tm_sec != wanted.tm_sec)
        return false;
    *out = ((int64_t)seconds - offset) * 1000000 + micros;
    return true;
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
    if (control->expires != NULL && !control_time(control->expires, &expires))
        return control_fail(control, CONTROL_USAGE,
                            "--expires: \"%s\" is no time such as 2027-01-01T00:00:00Z", control->expires);
    int code = control_connect(control, CONTROL_CALL_MS);
    if (code != 0)
        return code;
    uint32_t fields = 2u + (scope != NULL ? 1u : 0u) + (control->expires != NULL ? 1u : 0u);
    struct wire_buffer *out = channel_request(&control->channel, control->command, fields);
    wire_str(out, "user");
    wire_u64(out, user);
    wire_str(out, "role");
    wire_u64(out, role);
    if (scope != NULL) {
        wire_str(out, "scope");
        wire_str(out, scope);
    }
    if (control->expires != NULL) {
        wire_str(out, "expires_at");
        wire_i64(out, expires);
    }
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
