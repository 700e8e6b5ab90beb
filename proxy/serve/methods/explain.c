/* explain: which role, path, overwrite or requirement decided. Read from the store in one snapshot, catalogue included,
 * so the explanation is true of one revision whatever the table holds. */
#include "proxy/rights/explain.h"
#include "proxy/base/container_of.h"
#include "proxy/serve/methods/methods.h"
#include "proxy/serve/task.h"

#include <stdlib.h>

struct explain_task {
    struct task task;
    uint64_t user;
    struct scope_key scope;
    char permission[PERMISSION_TEXT_SIZE];
    bool own;
    uint32_t permissions_max;
    int64_t expiry; /* how far expiry was applied when it was asked */
    uint64_t revision;
    struct explanation explanation;
};

static int explain_snapshot(struct explain_task *work, struct store *store, struct catalogue *catalogue,
                            struct facts *facts)
{
    struct failure *failure = &work->task.failure;
    int code = store_read_catalogue(store, work->permissions_max, catalogue, failure);
    if (code < 0)
        return code;
    const struct permission *permission = catalogue_find(catalogue, work->permission);
    if (!permission || permission->deleted)
        return failure_set(failure, PERMTAB_E_NO_PERMISSION, "there is no permission \"%s\"",
                           work->permission);
    code = store_read_facts(store, work->user, work->scope, facts, failure);
    if (code < 0)
        return code;
    work->revision = facts->revision;
    code = explain(&work->explanation, catalogue, facts, facts_judged_at(facts, work->expiry),
                   permission->bit, work->own);
    return code < 0 ? failure_set(failure, code, "it cannot be explained: error %d", code) : 0;
}

static int explain_run(struct task *task, struct store *store)
{
    struct explain_task *work = container_of(task, struct explain_task, task);
    struct catalogue catalogue = {0};
    struct log_position at;
    int64_t now;
    struct facts *facts = calloc(1, sizeof *facts);
    if (!facts)
        return failure_set(&task->failure, PERMTAB_E_MEMORY, "out of memory");
    int code = store_snapshot(store, &at, &now, &task->failure);
    if (code == 0) {
        code = explain_snapshot(work, store, &catalogue, facts);
        store_snapshot_end(store);
    }
    facts_fini(facts);
    free(facts);
    catalogue_fini(&catalogue);
    return code;
}

static void explain_reply(struct task *task)
{
    struct explain_task *work = container_of(task, struct explain_task, task);
    const struct explanation *explanation = &work->explanation;
    struct wire_buffer reply = reply_begin(task->request, 5);
    wire_put_i64(&reply, "decision", explanation->allowed ? 1 : 0);
    wire_put_bool(&reply, "deprecated", explanation->deprecated);
    wire_put_u64(&reply, "decisive", explanation->decisive);
    wire_put_array(&reply, "lines", (uint32_t)explanation->line_count);
    for (size_t i = 0; i < explanation->line_count; i++)
        wire_str(&reply, explanation->lines[i]);
    wire_put_u64(&reply, "revision", work->revision);
    request_reply(task->request, &reply);
}

static void explain_free(struct task *task)
{
    struct explain_task *work = container_of(task, struct explain_task, task);
    explanation_fini(&work->explanation);
    free(work);
}

void serve_explain(struct request *request, const struct wire_value *params)
{
    struct explain_task from = {.task = {.run = explain_run, .reply = explain_reply, .free = explain_free}};
    uint64_t owner;
    bool owned;
    if (!param_id(request, params, "user", &from.user) ||
        !param_scope(request, params, "scope", &from.scope) ||
        !param_text(request, params, "permission", from.permission, sizeof from.permission) ||
        !param_optional_id(request, params, "owner", &owned, &owner))
        return;
    from.own = owned && owner == from.user;
    from.permissions_max = request->parts->config->permissions_max;
    from.expiry = publisher_expiry(request->parts->publisher);
    struct explain_task *work = malloc(sizeof *work);
    if (!work) {
        request_fail(request, PERMTAB_E_MEMORY, "out of memory");
        return;
    }
    *work = from;
    task_start(&work->task, request);
}
