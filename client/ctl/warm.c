/* permtabctl warm: has the table filled before it is asked. */
#include "client/ctl/permtabctl.h"

#include <inttypes.h>

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

int control_warm(struct control *control)
{
    uint64_t priority = 0;
    bool given = control->priority != NULL;
    if (given && !control_id(control, "--priority", control->priority, &priority))
        return CONTROL_USAGE;
    int code = control_connect(control, CONTROL_CALL_MS);
    for (int i = 0; code == 0 && i < control->count; i++)
        code = start(control, control->arguments[i], given, priority);
    return code;
}
