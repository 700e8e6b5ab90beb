/* delay, delayed, delayed_cancel, delayed_run, delayed_replace, delayed_do, delayed_stats, delayed_advice: the
 * queue of delayed invalidations, for operators and their tools. A reply waits for Redis; when the session has
 * ended first, the reply finds its request gone. */
#include "proxy/delayed/delayed.h"
#include "proxy/serve/methods/methods.h"
#include "proxy/serve/server.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define LIST_DEFAULT 20u
#define RUN_DEFAULT  1000u
#define RUN_MAX      100000u

/* ---- what they share --------------------------------------------------------------------------------------------- */

/* The queue; NULL without Redis, and the request has been failed. */
static struct delayed *queue_of(struct request *request)
{
    struct delayed *delayed = request->parts->delayed;
    if (!delayed)
        request_fail(request, PERMTAB_E_UNREACHABLE,
                     "delayed invalidations are kept in Redis, and none is configured");
    return delayed;
}

/* Fails the request when its call could not begin. */
static void begun(struct request *request, int code)
{
    if (code >= 0)
        return;
    const char *why = code == PERMTAB_E_UNREACHABLE ? redis_trouble(request->parts->redis)
                      : code == PERMTAB_E_FULL      ? "too much is under way"
                      : code == PERMTAB_E_MEMORY    ? "out of memory"
                      : code == PERMTAB_E_INVALID
                          ? "this cannot be done with that, or the cursor is of no call"
                          : "it could not be begun";
    request_fail(request, code, "%s%s", code == PERMTAB_E_UNREACHABLE ? "Redis is away: " : "", why);
}

static bool param_optional_text(struct request *request, const struct wire_value *params, const char *key,
                                char *out, size_t size)
{
    out[0] = '\0';
    return wire_is_nil(wire_get(params, key)) || param_text(request, params, key, out, size);
}

/* ---- delay ------------------------------------------------------------------------------------------------------- */

static bool read_targets(struct request *request, const struct wire_value *params, struct delayed_task *task)
{
    const struct wire_value *list = wire_get(params, "targets");
    const struct scope_types *types = &request_catalogue(request)->types;
    size_t count = 0;
    if (!wire_as_array(list, &count) || count == 0 || count > DELAYED_TARGETS_MAX)
        return request_fail(request, PERMTAB_E_INVALID, "targets: expected a list of 1 to %u texts",
                            DELAYED_TARGETS_MAX);
    for (; task->count < count; task->count++) {
        size_t size = 0;
        const char *text = "";
        if (wire_as_str(wire_item(list, task->count), &text, &size) &&
            target_parse(types, text, size, &task->targets[task->count]) == 0)
            continue;
        return request_fail(request, PERMTAB_E_INVALID, "targets: \"%.*s\" is no target",
                            (int)(size < TARGET_TEXT_SIZE ? size : TARGET_TEXT_SIZE), text);
    }
    return true;
}

/* A condition that cannot be read, or names a permission that does not exist, is refused now and not in a week. */
static bool read_condition(struct request *request, const struct wire_value *params,
                           struct delayed_task *task)
{
    const struct catalogue *catalogue = request_catalogue(request);
    struct condition condition;
    struct failure failure;
    if (!param_optional_text(request, params, "if", task->condition, sizeof task->condition))
        return false;
    if (!task->condition[0])
        return true;
    int code = condition_parse(&catalogue->types, task->condition, &condition, &failure);
    if (code == 0) {
        code = condition_check(&condition, catalogue, &failure);
        condition_fini(&condition);
    }
    if (code < 0)
        request_fail(request, code, "if: %s", failure.text);
    return code == 0;
}

static bool read_times(struct request *request, const struct wire_value *params, struct delayed_when *when)
{
    uint64_t in_ms = 0;
    int64_t at_us = 0;
    bool has_in;
    if (!param_optional_id(request, params, "in_ms", &has_in, &in_ms) ||
        !param_optional_time(request, params, "at", &when->at, &at_us))
        return false;
    if (has_in == when->at)
        return request_fail(request, PERMTAB_E_INVALID, "expected in_ms or at, and one of them");
    when->due = when->at ? (uint64_t)at_us / 1000 : in_ms;
    bool has_alive;
    if (!param_optional_id(request, params, "expires_in_ms", &has_alive, &when->alive))
        return false;
    if (has_alive && when->alive == 0) { /* inside, 0 means the usual time */
        return request_fail(request, PERMTAB_E_INVALID, "expires_in_ms: expected at least 1");
    }
    return true;
}

static bool read_task(struct request *request, const struct wire_value *params, struct delayed_task *task)
{
    char reason[INVALIDATION_REASON_SIZE * 2];
    if (!param_optional_text(request, params, "id", task->id, sizeof task->id) ||
        !param_optional_text(request, params, "reason", reason, sizeof reason) ||
        !param_optional_id(request, params, "if_revision", &task->has_revision, &task->revision))
        return false;
    if (task->id[0] && !delayed_id_good(task->id))
        return request_fail(request, PERMTAB_E_INVALID,
                            "id: expected 32 hexadecimal digits, in small letters");
    if (strlen(reason) >= sizeof task->reason)
        return request_fail(request, PERMTAB_E_LIMIT, "reason: at most %zu bytes", sizeof task->reason - 1);
    delayed_reason(task->reason, reason);
    task->store_id = publisher_position(request->parts->publisher).store_id;
    return true;
}

static void on_added(void *context, int code, const char *text, const struct delayed_task *task)
{
    struct request *request = context;
    if (code < 0) {
        request_fail(request, code, "%s (id %s)", text, task->id);
        return;
    }
    struct wire_buffer reply = reply_begin(request, 3);
    wire_put_str(&reply, "id", task->id);
    wire_put_u64(&reply, "due_ms", task->due_ms);
    wire_put_u64(&reply, "expires_ms", task->expires_ms);
    request_reply(request, &reply);
}

void serve_delay(struct request *request, const struct wire_value *params)
{
    struct delayed_when when = {0};
    struct delayed *delayed = queue_of(request);
    if (!delayed)
        return;
    struct delayed_task *task = calloc(1, sizeof *task);
    if (!task) {
        begun(request, PERMTAB_E_MEMORY);
        return;
    }
    if (read_targets(request, params, task) && read_task(request, params, task) &&
        read_condition(request, params, task) && read_times(request, params, &when))
        begun(request, delayed_add(delayed, task, &when, on_added, request));
    free(task);
}

/* ---- delayed: the list ------------------------------------------------------------------------------------------- */

static void pack_row(struct wire_buffer *reply, const struct delayed_row *row)
{
    wire_map(reply, 11);
    wire_put_str(reply, "id", row->id);
    wire_put_str(reply, "state", row->taken ? "taken" : "queued");
    wire_put_str(reply, "targets", row->targets);
    wire_put_str(reply, "reason", row->reason);
    wire_put_str(reply, "if", row->condition);
    wire_put_str(reply, "if_revision", row->revision);
    wire_put_str(reply, "error", row->error);
    wire_put_u64(reply, "time_ms", row->time_ms);
    wire_put_u64(reply, "expires_ms", row->expires_ms);
    wire_put_u64(reply, "attempts", row->attempts);
    wire_put_u64(reply, "waits", row->waits);
}

static void on_listed(void *context, int code, const char *text, uint64_t now_ms,
                      const struct delayed_row *rows, size_t count)
{
    struct request *request = context;
    if (code < 0) {
        request_fail(request, code, "%s", text);
        return;
    }
    struct wire_buffer reply = reply_begin(request, 2);
    wire_put_u64(&reply, "now_ms", now_ms);
    wire_put_array(&reply, "tasks", (uint32_t)count);
    for (size_t i = 0; i < count; i++)
        pack_row(&reply, &rows[i]);
    request_reply(request, &reply);
}

void serve_delayed(struct request *request, const struct wire_value *params)
{
    uint64_t most = LIST_DEFAULT;
    bool given;
    struct delayed *delayed = queue_of(request);
    if (!delayed || !param_optional_id(request, params, "most", &given, &most))
        return;
    begun(request, delayed_list(delayed, most < DELAYED_ROWS_MAX ? (unsigned)most : DELAYED_ROWS_MAX,
                                on_listed, request));
}

/* ---- commands over many ------------------------------------------------------------------------------------------ */

static void on_swept(void *context, int code, const char *text, uint64_t count, const char *cursor)
{
    struct request *request = context;
    if (code < 0) {
        request_fail(request, code, "%s (%" PRIu64 " done)", text, count);
        return;
    }
    struct wire_buffer reply = reply_begin(request, 2);
    wire_put_u64(&reply, "tasks", count);
    wire_put_str(&reply, "cursor", cursor);
    request_reply(request, &reply);
}

static bool read_what(struct request *request, const struct wire_value *params, struct delayed_what *what)
{
    char text[DELAYED_INDEX_SIZE];
    if (!param_text(request, params, "what", text, sizeof text))
        return false;
    int code = delayed_what_parse(&request_catalogue(request)->types, text, what);
    if (code < 0)
        request_fail(request, code, "what: \"%s\" is no id, target, reason:TEXT, failing, waiting or all",
                     text);
    return code == 0;
}

static void serve_sweep(struct request *request, const struct wire_value *params, enum delayed_action action)
{
    struct delayed_sweep sweep = {.action = action};
    struct delayed *delayed = queue_of(request);
    if (delayed && read_what(request, params, &sweep.what) &&
        param_optional_text(request, params, "cursor", sweep.cursor, sizeof sweep.cursor))
        begun(request, delayed_sweep(delayed, &sweep, on_swept, request));
}

void serve_delayed_cancel(struct request *request, const struct wire_value *params)
{
    serve_sweep(request, params, DELAYED_CANCEL);
}

void serve_delayed_replace(struct request *request, const struct wire_value *params)
{
    serve_sweep(request, params, DELAYED_REPLACE);
}

void serve_delayed_run(struct request *request, const struct wire_value *params)
{
    struct delayed_sweep sweep = {.action = DELAYED_RUN, .most = RUN_DEFAULT};
    struct delayed *delayed;
    bool given;
    if (!wire_is_nil(wire_get(params, "what"))) {
        serve_sweep(request, params, DELAYED_RUN);
        return;
    }
    if (!(delayed = queue_of(request)) || !param_optional_id(request, params, "most", &given, &sweep.most))
        return;
    if (sweep.most > RUN_MAX)
        sweep.most = RUN_MAX;
    begun(request, delayed_sweep(delayed, &sweep, on_swept, request));
}

/* Carries out the advice given under a number. */
void serve_delayed_do(struct request *request, const struct wire_value *params)
{
    struct delayed_sweep sweep = {0};
    uint64_t number;
    struct delayed *delayed = queue_of(request);
    if (!delayed || !param_id(request, params, "number", &number) ||
        !param_optional_text(request, params, "cursor", sweep.cursor, sizeof sweep.cursor))
        return;
    const struct delayed_advice *advice = delayed_advised(delayed, number);
    if (!advice) {
        request_fail(request, PERMTAB_E_NOT_FOUND,
                     "this sidecar has not given advice %" PRIu64 ", or long ago: ask for advice again",
                     number);
        return;
    }
    sweep.action = advice->action;
    sweep.what = advice->what;
    sweep.most = advice->most;
    begun(request, delayed_sweep(delayed, &sweep, on_swept, request));
}

/* ---- how it stands ----------------------------------------------------------------------------------------------- */

static void pack_minutes(struct wire_buffer *reply, struct delayed *delayed)
{
    wire_str(reply, "minute");
    wire_map(reply, DELAYED_EVENT_COUNT);
    for (int i = 0; i < DELAYED_EVENT_COUNT; i++) {
        wire_str(reply, delayed_event_name((enum delayed_event)i));
        wire_u64(reply, delayed_minute(delayed, (enum delayed_event)i));
    }
}

static void on_stats(void *context, int code, const char *text, const struct delayed_state *state)
{
    struct request *request = context;
    if (code < 0) {
        request_fail(request, code, "%s", text);
        return;
    }
    struct wire_buffer reply = reply_begin(request, 8);
    wire_put_u64(&reply, "now_ms", state->now_ms);
    wire_put_u64(&reply, "queued", state->queued);
    wire_put_u64(&reply, "taken", state->taken);
    wire_put_u64(&reply, "overdue", state->overdue);
    wire_put_u64(&reply, "failing", state->failing);
    wire_put_u64(&reply, "waiting", state->waiting);
    wire_str(&reply, "first_due_ms");
    if (state->has_first)
        wire_u64(&reply, state->first_ms);
    else
        wire_nil(&reply);
    pack_minutes(&reply, request->parts->delayed);
    request_reply(request, &reply);
}

static void on_advice(void *context, int code, const char *text, const struct delayed_state *state)
{
    struct request *request = context;
    const struct delayed_advice *advice;
    (void)state;
    if (code < 0) {
        request_fail(request, code, "%s", text);
        return;
    }
    size_t count = delayed_advice(request->parts->delayed, &advice);
    struct wire_buffer reply = reply_begin(request, 1);
    wire_put_array(&reply, "advice", (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        wire_map(&reply, 4);
        wire_put_u64(&reply, "number", advice[i].number);
        wire_put_bool(&reply, "urgent", advice[i].urgent);
        wire_put_str(&reply, "text", advice[i].text);
        wire_put_str(&reply, "command", advice[i].command);
    }
    request_reply(request, &reply);
}

void serve_delayed_stats(struct request *request, const struct wire_value *params)
{
    struct delayed *delayed = queue_of(request);
    (void)params;
    if (delayed)
        begun(request, delayed_look(delayed, false, on_stats, request));
}

void serve_delayed_advice(struct request *request, const struct wire_value *params)
{
    struct delayed *delayed = queue_of(request);
    (void)params;
    if (delayed)
        begun(request, delayed_look(delayed, true, on_advice, request));
}
