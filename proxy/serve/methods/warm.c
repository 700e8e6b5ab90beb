/* jobs, jobs_cancel: what the sidecar does in the background. A job belongs to the sidecar: it goes on when the session
 * that began it has gone. */
#include "proxy/serve/methods/methods.h"
#include "proxy/warm/warm.h"

static void pack_job(struct wire_buffer *reply, const struct warm_status *job)
{
    wire_map(reply, 16);
    wire_put_u64(reply, "id", job->id);
    wire_put_str(reply, "kind", warm_kind_name(job->kind));
    wire_put_str(reply, "state", warm_state_name(job->state));
    wire_put_u64(reply, "priority", job->priority);
    wire_put_str(reply, "what", job->what);
    wire_put_u64(reply, "done", warm_done(job));
    wire_put_u64(reply, "total", job->total);
    wire_put_u64(reply, "filled", job->filled);
    wire_put_u64(reply, "resident", job->resident);
    wire_put_u64(reply, "strangers", job->strangers);
    wire_put_u64(reply, "failed", job->failed);
    wire_put_u64(reply, "left_out", job->left_out);
    wire_put_u64(reply, "rate", warm_rate(job));
    wire_put_u64(reply, "since", job->since_us);
    wire_put_u64(reply, "took_ms", job->took_ms);
    wire_put_str(reply, "text", job->text);
}

void serve_jobs(struct request *request, const struct wire_value *params)
{
    struct warm_status jobs[WARM_LIST_MAX];
    (void)params;
    size_t count = warm_list(request->parts->warm, jobs, WARM_LIST_MAX);
    struct wire_buffer reply = reply_begin(request, 1);
    wire_put_array(&reply, "jobs", (uint32_t)count);
    for (size_t i = 0; i < count; i++)
        pack_job(&reply, &jobs[i]);
    request_reply(request, &reply);
}

void serve_jobs_cancel(struct request *request, const struct wire_value *params)
{
    bool named = false;
    uint64_t id = 0;
    if (!param_optional_id(request, params, "id", &named, &id))
        return;
    if ((named && id == 0) || warm_cancel(request->parts->warm, id) < 0) {
        request_fail(request, PERMTAB_E_NOT_FOUND, "no such job is under way here");
        return;
    }
    struct wire_buffer reply = reply_begin(request, 0);
    request_reply(request, &reply);
}
