/* Requests on helper threads. A thread's work is not taken back when the client goes: a write is a write, and its
 * revision wakes the feed whether anybody waits for the reply or not. */
#include "proxy/task.h"

#include "proxy/clock.h"
#include "proxy/lane.h"

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

static void task_end(struct task *task)
{
    if (task->code < 0)
        request_fail(task->request, task->code, "%s: %s", task->request->method->name, task->failure.text);
    else
        task->reply(task);
    task->free(task);
}

/* A write is answered when the table of this host has it, so that the next check on it, by whomever, does. Not for ever: the token
 * says as much, and a store that cannot be followed is no reason to keep the writer. */
static bool hold(struct task *task)
{
    struct server *server = task->server;
    uint64_t now = clock_ns();
    if (task->code < 0 || !task->writes || server->stopping || !publish_leased(server->publish, now) ||
        task->revision <= publish_position(server->publish).revision)
        return false;
    task->held_until_ns = now + server->config->max_staleness_ms * 1000000ull;
    task->next_held = server->held;
    server->held = task;
    return true;
}

/* The other hosts, and our own table, hear of it now, before any poll has seen it. */
static void announce(struct task *task)
{
    struct server *server = task->server;
    struct store_position at = publish_position(server->publish);
    server->counters->writes++;
    if (server->lane && task->revision > at.revision)
        lane_written(server->lane, at.store_id, task->revision, task->changed);
}

static void task_done(struct work_job *job)
{
    struct task *task = (struct task *)(void *)job;
    /* Also after a failure: a commit of which the outcome is unknown may have been one. */
    if (task->writes)
        feed_wake(task->server->feed);
    if (task->writes && task->code >= 0)
        announce(task);
    if (!hold(task))
        task_end(task);
}

/* Ending one may close its session, which holds no task: tasks outlive sessions. So the list changes only here. */
void task_release(struct server *server, uint64_t revision, uint64_t now_ns)
{
    struct task **at = &server->held;
    while (*at != NULL) {
        struct task *task = *at;
        if (task->revision > revision && now_ns < task->held_until_ns && !server->stopping) {
            at = &task->next_held;
            continue;
        }
        *at = task->next_held;
        task_end(task);
    }
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
