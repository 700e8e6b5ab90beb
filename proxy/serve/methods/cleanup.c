/* cleanup: starts clean-ups of Redis, tells their state, cancels them. A clean-up belongs to the sidecar: it goes
 * on when the session that started it has gone. */
#include "proxy/cleanup/cleanup.h"
#include "proxy/serve/methods/methods.h"

#include <string.h>

static bool may_write(struct request *request, const char *action)
{
    const struct session *session = request->session;
    if (server_may_write(request->server, session->uid))
        return true;
    return request_fail(request, PERMTAB_E_REFUSED, "%s is for root or uid %u, not for uid %u", action,
                        (unsigned)request->server->uid, (unsigned)session->uid);
}

static const char *start_trouble(int code)
{
    if (code == PERMTAB_E_FULL)
        return "too many wait already";
    return code == PERMTAB_E_INVALID ? "pattern: a glob of at most 511 bytes and four stars"
                                     : "out of memory";
}

static void serve_start(struct request *request, const struct wire_value *params)
{
    char word[16], pattern[CLEANUP_PATTERN_SIZE];
    enum cleanup_kind kind;
    if (!param_text(request, params, "kind", word, sizeof word))
        return;
    if (!cleanup_kind_parse(word, &kind)) {
        request_fail(request, PERMTAB_E_INVALID, "kind: \"%s\" is not pattern, epochs or orphans", word);
        return;
    }
    if (kind == CLEANUP_PATTERN && !param_text(request, params, "pattern", pattern, sizeof pattern))
        return;
    int64_t id =
        cleanup_start(request->parts->cleanup, kind, kind == CLEANUP_PATTERN ? pattern : NULL, NULL, NULL);
    if (id < 0) {
        request_fail(request, (int)id, "%s", start_trouble((int)id));
        return;
    }
    struct wire_buffer reply = reply_begin(request, 1);
    wire_put_u64(&reply, "id", (uint64_t)id);
    request_reply(request, &reply);
}

static void pack_job(struct wire_buffer *reply, const struct cleanup_status *job)
{
    wire_map(reply, 13);
    wire_put_u64(reply, "id", job->id);
    wire_put_str(reply, "kind", cleanup_kind_name(job->kind));
    wire_put_str(reply, "state", cleanup_state_name(job->state));
    wire_put_str(reply, "pattern", job->pattern);
    wire_put_u64(reply, "keys_seen", job->keys_seen);
    wire_put_u64(reply, "keys_total", job->keys_total);
    wire_put_u64(reply, "keys_removed", job->keys_removed);
    wire_put_u64(reply, "slices", job->slices);
    wire_put_u64(reply, "restarts", job->restarts);
    wire_put_u64(reply, "took_ms", job->took_ms);
    wire_put_u64(reply, "redis_us", job->redis_us);
    wire_put_u64(reply, "rate", job->rate);
    wire_put_str(reply, "text", job->text);
}

static void serve_status(struct request *request)
{
    struct cleanup_status jobs[CLEANUP_JOBS_MAX];
    size_t count = cleanup_list(request->parts->cleanup, jobs, CLEANUP_JOBS_MAX);
    struct wire_buffer reply = reply_begin(request, 1);
    wire_put_array(&reply, "jobs", (uint32_t)count);
    for (size_t i = 0; i < count; i++)
        pack_job(&reply, &jobs[i]);
    request_reply(request, &reply);
}

static void serve_cancel(struct request *request, const struct wire_value *params)
{
    bool named = false;
    uint64_t id = 0;
    if (!param_optional_id(request, params, "id", &named, &id))
        return;
    if ((named && id == 0) || cleanup_cancel(request->parts->cleanup, id) < 0) {
        request_fail(request, PERMTAB_E_NOT_FOUND, "no such clean-up waits or runs here");
        return;
    }
    struct wire_buffer reply = reply_begin(request, 0);
    request_reply(request, &reply);
}

void serve_cleanup(struct request *request, const struct wire_value *params)
{
    char action[16];
    if (!param_text(request, params, "action", action, sizeof action))
        return;
    bool start = strcmp(action, "start") == 0, cancel = strcmp(action, "cancel") == 0;
    if (!start && !cancel && strcmp(action, "status") != 0)
        request_fail(request, PERMTAB_E_INVALID, "action: \"%s\" is not start, status or cancel", action);
    else if ((start || cancel) && !may_write(request, action))
        return;
    else if (!request->parts->cleanup)
        request_fail(request, PERMTAB_E_NOT_FOUND, "no Redis is configured: option `redis`");
    else if (start)
        serve_start(request, params);
    else if (cancel)
        serve_cancel(request, params);
    else
        serve_status(request);
}
