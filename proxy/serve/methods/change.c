/* grant, revoke, assign, unassign: one change, one transaction, and its revision as the token. */
#include "client/wire/time_text.h"
#include "proxy/base/container_of.h"
#include "proxy/document/policy.h"
#include "proxy/serve/methods/methods.h"
#include "proxy/serve/task.h"
#include "proxy/serve/writes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum change_verb { VERB_GRANT, VERB_REVOKE, VERB_ASSIGN, VERB_UNASSIGN };

struct change_task {
    struct task task;
    enum change_verb verb;
    uint64_t role;
    char permission[PERMISSION_TEXT_SIZE];
    enum grant_effect effect;
    struct policy_assignment assignment;
    struct policy_apply_result result;
    int64_t now;        /* the store's clock when an assignment with an end was written; else 0 */
    struct target user; /* the user whom an assignment concerns */
};

static int assign(struct change_task *work, struct store *store, struct failure *failure)
{
    int code = 0;
    if (work->assignment.expires_at != FACTS_NEVER)
        code = store_now(store, &work->now, failure);
    return code < 0 ? code : policy_assign(store, &work->assignment, &work->result, failure);
}

static int carry_out(struct change_task *work, struct store *store, struct failure *failure)
{
    switch (work->verb) {
    case VERB_GRANT:
        return policy_grant(store, work->role, work->permission, work->effect, &work->result, failure);
    case VERB_REVOKE:
        return policy_revoke(store, work->role, work->permission, &work->result, failure);
    case VERB_ASSIGN:
        return assign(work, store, failure);
    case VERB_UNASSIGN:
        return policy_unassign(store, &work->assignment, &work->result, failure);
    }
    abort();
}

static int change_run(struct task *task, struct store *store)
{
    struct change_task *work = container_of(task, struct change_task, task);
    int code = carry_out(work, store, &task->failure);
    task->revision = work->result.revision;
    return code;
}

static void change_reply(struct task *task)
{
    struct change_task *work = container_of(task, struct change_task, task);
    bool ended = work->verb == VERB_ASSIGN && work->assignment.expires_at <= work->now;
    struct wire_buffer reply = reply_begin(task->request, REPLY_TOKEN_FIELDS + (ended ? 2 : 1));
    reply_token(&reply, work->result.store_id, work->result.revision);
    wire_put_u64(&reply, "rows_written", work->result.rows_written);
    if (ended) {
        char time[TIME_TEXT_SIZE], warning[128];
        (void)snprintf(warning, sizeof warning, "expires_at: %s is past: the assignment counts for nothing",
                       time_format(work->assignment.expires_at, time));
        wire_put_array(&reply, "warnings", 1);
        wire_str(&reply, warning);
    }
    request_reply(task->request, &reply);
}

static void change_free(struct task *task)
{
    free(container_of(task, struct change_task, task));
}

static void begin(struct request *request, const struct wire_value *params, const struct change_task *from)
{
    uint64_t answer_by_ns;
    if (!writes_deadline(request, params, request->parts->config->write_timeout_ms, &answer_by_ns))
        return;
    struct change_task *work = malloc(sizeof *work);
    if (!work) {
        request_fail(request, PERMTAB_E_MEMORY, "out of memory");
        return;
    }
    *work = *from;
    work->task.answer_by_ns = answer_by_ns;
    work->task.run = change_run;
    work->task.reply = change_reply;
    work->task.free = change_free;
    work->task.locks = work->task.writes = true;
    work->user = (struct target){.kind = TARGET_USER, .id = from->assignment.user};
    if (from->verb == VERB_ASSIGN || from->verb == VERB_UNASSIGN)
        work->task.changed = &work->user;
    task_start(&work->task, request);
}

static bool read_effect(struct request *request, const struct wire_value *params, enum grant_effect *out)
{
    char text[16];
    if (wire_as_text(wire_get(params, "effect"), text, sizeof text)) {
        for (unsigned i = 0; i < GRANT_EFFECTS; i++) {
            if (strcmp(text, grant_effect_names[i]) == 0) {
                *out = (enum grant_effect)i;
                return true;
            }
        }
    }
    return request_fail(request, PERMTAB_E_INVALID, "effect: expected allow, allow_own or deny");
}

void serve_grant(struct request *request, const struct wire_value *params)
{
    struct change_task from = {.verb = VERB_GRANT};
    if (param_id(request, params, "role", &from.role) &&
        param_text(request, params, "permission", from.permission, sizeof from.permission) &&
        read_effect(request, params, &from.effect))
        begin(request, params, &from);
}

void serve_revoke(struct request *request, const struct wire_value *params)
{
    struct change_task from = {.verb = VERB_REVOKE};
    if (param_id(request, params, "role", &from.role) &&
        param_text(request, params, "permission", from.permission, sizeof from.permission))
        begin(request, params, &from);
}

static bool read_assignment(struct request *request, const struct wire_value *params,
                            struct policy_assignment *assignment)
{
    assignment->expires_at = FACTS_NEVER;
    assignment->has_scope = !wire_is_nil(wire_get(params, "scope"));
    return param_id(request, params, "user", &assignment->user) &&
           param_id(request, params, "role", &assignment->role) &&
           (!assignment->has_scope || param_scope(request, params, "scope", &assignment->scope));
}

void serve_assign(struct request *request, const struct wire_value *params)
{
    struct change_task from = {.verb = VERB_ASSIGN};
    bool ends;
    if (read_assignment(request, params, &from.assignment) &&
        param_optional_time(request, params, "expires_at", &ends, &from.assignment.expires_at))
        begin(request, params, &from);
}

void serve_unassign(struct request *request, const struct wire_value *params)
{
    struct change_task from = {.verb = VERB_UNASSIGN};
    if (read_assignment(request, params, &from.assignment))
        begin(request, params, &from);
}
