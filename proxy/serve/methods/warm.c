/* warm, jobs, jobs_cancel, hot: what the sidecar does in the background, and what it goes by. A job belongs to the
 * sidecar: it goes on when the session that began it has gone. */
#include "proxy/keys/keys.h"
#include "proxy/names/target.h"
#include "proxy/serve/methods/methods.h"
#include "proxy/table/fill.h"
#include "proxy/warm/warm.h"

#include <string.h>

#define HOT_DEFAULT 20u

static const char *start_trouble(int code)
{
    return code == PERMTAB_E_FULL      ? "too many jobs are under way"
           : code == PERMTAB_E_INVALID ? "expected hot, user:ID, user:ID@SCOPE, role:ID or scope:SCOPE"
                                       : "out of memory";
}

/* `what` is "hot" or a target. */
static bool read_what(struct request *request, const struct wire_value *params, bool *hot, struct target *target)
{
    char word[8];
    const struct wire_value *what = wire_get(params, "what");
    *hot = wire_as_text(what, word, sizeof word) && strcmp(word, "hot") == 0;
    return *hot || param_target(request, what, target);
}

void serve_warm(struct request *request, const struct wire_value *params)
{
    struct target target;
    bool hot, given = false;
    uint64_t priority = WARM_PRIORITY_DEFAULT;
    if (!read_what(request, params, &hot, &target) ||
        !param_optional_id(request, params, "priority", &given, &priority))
        return;
    if (priority >= WARM_PRIORITIES) {
        request_fail(request, PERMTAB_E_INVALID, "priority: expected 0 to %u", WARM_PRIORITIES - 1);
        return;
    }
    int64_t id = warm_start(request->parts->warm, hot ? NULL : &target, (unsigned)priority);
    if (id < 0) {
        request_fail(request, (int)id, "%s", start_trouble((int)id));
        return;
    }
    struct wire_buffer reply = reply_begin(request, 1);
    wire_put_u64(&reply, "id", (uint64_t)id);
    request_reply(request, &reply);
}

void serve_hot(struct request *request, const struct wire_value *params)
{
    struct hot_key keys[WARM_HOT_MAX];
    bool given = false;
    uint64_t most = HOT_DEFAULT;
    if (!param_optional_id(request, params, "most", &given, &most))
        return;
    if (most > WARM_HOT_MAX) {
        request_fail(request, PERMTAB_E_LIMIT, "most: expected 0 to %u", WARM_HOT_MAX);
        return;
    }
    size_t count = warm_hot(request->parts->warm, keys, (size_t)most);
    struct wire_buffer reply = reply_begin(request, 1);
    wire_put_array(&reply, "keys", (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        char text[SCOPE_TEXT_SIZE];
        struct scope_key at;
        wire_map(&reply, 4);
        wire_put_u64(&reply, "user", keys[i].user);
        wire_put_str(&reply, "scope", scope_format(&request_catalogue(request)->types, keys[i].scope, text));
        wire_put_u64(&reply, "frequency", keys[i].frequency);
        wire_put_bool(&reply, "resident",
                      publisher_resident(request->parts->publisher, keys[i].user, keys[i].scope, &at));
    }
    request_reply(request, &reply);
}

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
