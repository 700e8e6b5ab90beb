/* permtabctl warm: has the table filled before it is asked. */
#include "client/ctl/permtabctl.h"

#include <inttypes.h>
#include <string.h>

#define PRIORITY_MAX 9u

static int start(struct control *control, const char *what, bool given, uint64_t priority)
{
    struct wire_message reply;
    struct wire_buffer *out = channel_request(&control->channel, "warm", given ? 2 : 1);
    wire_put_str(out, "what", what);
    if (given)
        wire_put_u64(out, "priority", priority);
    int code = control_call(control, -1, CONTROL_CALL_MS, &reply);
    if (code != 0)
        return code;
    control_say("job %" PRIu64 " %s\n", control_u64(reply.result, "id"), what);
    wire_message_fini(&reply);
    return 0;
}

/* "42" or "42@channel:9" */
static bool is_user(const char *text)
{
    char id[24] = "";
    uint64_t number;
    size_t length = strcspn(text, "@");
    if (length >= sizeof id)
        return false;
    memcpy(id, text, length);
    return control_is_id(id, &number) && (text[length] == '\0' || control_is_scope(text + length + 1));
}

/* Which types of scopes there are the sidecar knows. */
static bool may_be_warmed(const char *text)
{
    uint64_t id;
    if (strncmp(text, "user:", 5) == 0)
        return is_user(text + 5);
    if (strncmp(text, "role:", 5) == 0)
        return control_is_id(text + 5, &id);
    if (strncmp(text, "scope:", 6) == 0)
        return control_is_scope(text + 6);
    return strcmp(text, "hot") == 0;
}

/* Nothing is begun when one of them is wrong. */
static int look(struct control *control, bool given, uint64_t *priority)
{
    if (given && !control_id(control, "--priority", control->priority, priority))
        return CONTROL_USAGE;
    if (*priority > PRIORITY_MAX)
        return control_fail(control, CONTROL_USAGE, "--priority: expected 0 to %u", PRIORITY_MAX);
    for (int i = 0; i < control->count; i++)
        if (!may_be_warmed(control->arguments[i]))
            return control_fail(control, CONTROL_USAGE,
                                "\"%s\" is none of hot, user:ID, user:ID@SCOPE, role:ID, scope:SCOPE",
                                control->arguments[i]);
    return 0;
}

int control_warm(struct control *control)
{
    uint64_t priority = 0;
    bool given = control->priority != NULL;
    int code = look(control, given, &priority);
    if (code == 0)
        code = control_connect(control, CONTROL_CALL_MS);
    for (int i = 0; code == 0 && i < control->count; i++)
        code = start(control, control->arguments[i], given, priority);
    return code;
}
