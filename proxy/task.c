/* Requests on helper threads. A thread's work is not taken back when the client goes: a write is a write, and its
 * revision wakes the feed whether anybody waits for the reply or not. */
#include "proxy/task.h"

static void task_run(struct work_job *job, struct store *store, struct failure *failure)
{
    struct task *task = (struct task *)(void *)job;
    if (store) {
        task->code = task->run(task, store);
        return;
    }
    task->failure = *failure;
    task->code = failure->code < 0 ? failure->code : PERMTAB_E_STORE;
}

static void task_done(struct work_job *job)
{
    struct task *task = (struct task *)(void *)job;
    /* Also after a failure: a commit of which the outcome is unknown may have been one. */
    if (task->writes)
        feed_wake(task->server->feed);
    if (task->code < 0) {
        request_fail(task->request, task->code, "%s: %s", task->request->method->name, task->failure.text);
    } else {
        if (task->writes)
            task->server->counters->writes++;
        task->reply(task);
    }
    task->free(task);
}

void task_start(struct task *task, struct request *request)
{
    _Static_assert(offsetof(struct task, job) == 0, "the job is the task");
    task->job.run = task_run;
    task->job.done = task_done;
    task->request = request;
    task->server = request->server;
    int code = work_submit(task->server->work, &task->job);
    if (code == 0)
        return;
    request_fail(request, code, "%s: too many requests wait for the store", request->method->name);
    task->free(task);
}
