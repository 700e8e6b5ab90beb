/* Requests on helper threads. Those that take the store's write lock have threads and deadlines of their own
 * (writes.c). */
#include "proxy/serve/task.h"

#include "proxy/base/clock.h"
#include "proxy/base/container_of.h"
#include "proxy/base/log.h"
#include "proxy/invalidate/fleet.h"
#include "proxy/serve/session.h"
#include "proxy/serve/writes.h"

#include <inttypes.h>

static int task_run(struct store_job *job, struct store *store, struct failure *failure)
{
    struct task *task = container_of(job, struct task, job);
    struct gate *gate = task->locks ? &task->gate : NULL;
    if (!store) {
        task->failure = *failure;
        task->code = failure->code < 0 ? failure->code : PERMTAB_E_STORE;
        return task->code;
    }
    task->failure = (struct failure){0};
    sql_use_gate(store->sql, gate);
    task->code = task->run(task, store);
    sql_use_gate(store->sql, NULL);
    /* when untouched, nothing was committed, even if the connection was lost */
    job->once = !gate_untouched(gate);
    return task->code;
}

void task_forget(struct task *task)
{
    if (task->locks)
        gate_fini(&task->gate);
    task->free(task);
}

static void task_end(struct task *task)
{
    if (task->code < 0)
        request_fail(task->request, task->code, "%s", task->failure.text);
    else
        task->reply(task);
    task_forget(task);
}

/* Ends a task whose asker has been answered, or has gone. */
static void task_unheard(struct task *task)
{
    if (task->unsure)
        log_info("%s: the commit whose outcome was unknown to its asker %s; revision %" PRIu64, task->name,
                 task->code < 0 ? "was not confirmed" : "was done", task->revision);
    task_forget(task);
}

/* Holds the answer to a write until the table of this host has the write, so that every later check on this host
 * sees it. The hold is bounded: no poll that began before the write gives a lease for longer than max_staleness, and a
 * store that cannot be followed is no reason to keep the writer waiting. Without a lease it is held as well: a poll
 * that began before may be under way, and renew it. */
static bool hold(struct task *task)
{
    struct server *server = task->server;
    const struct parts *parts = server->parts;
    if (task->code < 0 || !task->writes || server->stopping ||
        task->revision <= publisher_position(parts->publisher).revision)
        return false;
    task->held_until_ns = clock_ns() + parts->config->max_staleness_ms * 1000000ull;
    if (task->held_until_ns > task->answer_by_ns)
        task->held_until_ns = task->answer_by_ns;
    task->next_held = server->held;
    server->held = task;
    return true;
}

/* Announces the write to the other hosts and to our own table, before any poll has seen it. */
static void announce(struct task *task)
{
    const struct parts *parts = task->server->parts;
    struct log_position at = publisher_position(parts->publisher);
    parts->counters->writes++;
    if (parts->fleet && task->revision > at.revision)
        fleet_announce(parts->fleet, at.store_id, task->revision, task->changed);
}

static void task_done(struct store_job *job)
{
    struct task *task = container_of(job, struct task, job);
    /* The feed is woken after a failure, too: a commit whose outcome is unknown may have happened. */
    if (task->writes)
        feed_wake(task->server->parts->feed);
    if (task->writes && task->code >= 0)
        announce(task);
    if (task->locks)
        writes_ended(task->server->parts->writes, task);
    if (task->locks && task->request == NULL)
        task_unheard(task);
    else if (!hold(task))
        task_end(task);
}

/* Ending a task may close its session, which holds no task: tasks outlive sessions. So the list changes only here. */
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
    task->job.run = task_run;
    task->job.done = task_done;
    task->request = request;
    task->server = request->server;
    /* its end may have been in the socket for a while */
    if (task->locks && session_peer_left(request->session)) {
        request_fail(request, PERMTAB_E_UNREACHABLE, "its asker has gone");
        task->free(task);
        return;
    }
    int code = task->locks ? writes_start(task->server->parts->writes, task)
                           : store_threads_submit(task->server->parts->pool, &task->job);
    if (code == 0)
        return;
    request_fail(request, code, "too many requests wait for the store");
    task->free(task);
}
