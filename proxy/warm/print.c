/* The words for jobs of the warm-up, and their figures. */
#include "proxy/warm/warm.h"

#include <inttypes.h>

const char *warm_kind_name(enum warm_kind kind)
{
    switch (kind) {
    case WARM_START:
        return "start";
    case WARM_INTERVAL:
        return "interval";
    case WARM_FLEET:
        return "fleet";
    case WARM_REQUEST:
        return "request";
    }
    return "";
}

const char *warm_state_name(enum warm_state state)
{
    switch (state) {
    case WARM_WAITING:
        return "waiting";
    case WARM_READING:
        return "reading";
    case WARM_FILLING:
        return "filling";
    case WARM_COUNTING:
        return "counting";
    case WARM_DONE:
        return "done";
    case WARM_FAILED:
        return "failed";
    case WARM_CANCELLED:
        return "cancelled";
    }
    return "";
}

uint64_t warm_done(const struct warm_status *status)
{
    return status->filled + status->resident + status->strangers + status->failed + status->left_out;
}

uint64_t warm_rate(const struct warm_status *status)
{
    return warm_done(status) * 1000 / (status->took_ms > 0 ? status->took_ms : 1);
}

void warm_print(const struct warm *warm, FILE *out)
{
    struct warm_status jobs[WARM_LIST_MAX];
    size_t count = warm_list(warm, jobs, WARM_LIST_MAX);
    for (size_t i = 0; i < count; i++)
        (void)fprintf(out,
                      "%" PRIu64 " %s %s: %" PRIu64 " of %" PRIu64 " keys in %.1f s (%" PRIu64 " a second), %" PRIu64
                      " filled, %" PRIu64 " there already, %" PRIu64 " of strangers, %" PRIu64
                      " unreadable, %" PRIu64 " without room: %s%s%s\n",
                      jobs[i].id, warm_kind_name(jobs[i].kind), warm_state_name(jobs[i].state),
                      warm_done(&jobs[i]), jobs[i].total, (double)jobs[i].took_ms / 1e3, warm_rate(&jobs[i]),
                      jobs[i].filled, jobs[i].resident, jobs[i].strangers, jobs[i].failed, jobs[i].left_out,
                      jobs[i].what, jobs[i].text[0] ? "; " : "", jobs[i].text);
}
