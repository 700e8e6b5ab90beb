/* Deadlines of writes, and the line in the log when writes wait.
 *
 * A thread that waits for a lock cannot be called back, but the loop can decide without it that nothing will be
 * committed: it closes the gate (store/gate.h). So the loop answers at the time that was promised, whatever the
 * thread does and even when none was free. The last tenth of a write's time, a second at most, is kept for its
 * commit: one that was sent in time mostly is confirmed in time.
 *
 * Trouble is logged once when it begins and once when it ends, not for each write that meets it. */
#include "proxy/serve/writes.h"

#include "proxy/base/clock.h"
#include "proxy/base/log.h"
#include "proxy/base/timer.h"
#include "proxy/serve/task.h"

#include <event2/event.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

#define SECOND_NS  1000000000ull
#define MS_NS      1000000ull
#define NOTICED_NS SECOND_NS       /* a wait of so long is worth a line in the log */
#define AT_WORK_NS (3 * SECOND_NS) /* for the store's own pool, which a large document takes */
/* when no write has waited for so long, the trouble is over, though nothing was written */
#define QUIET_NS  (10 * SECOND_NS)
#define TEXT_SIZE 256

#define GIVEN_UP_TEXT "given up after %.1f s, nothing was changed and nothing will be: it waited for %s"

struct writes {
    struct store_threads *pool;
    struct counters *counters;
    struct event *timer;
    struct task *tasks; /* somebody waits for their answers; the oldest first */
    unsigned count;
    bool noticed;              /* the log says that they wait */
    uint64_t waited_ns;        /* when a write last waited */
    uint64_t given_up, unsure; /* writes given up, and those with an unknown outcome, since then */
    char text[TEXT_SIZE];
};

static double seconds(uint64_t ns)
{
    return (double)ns / (double)SECOND_NS;
}

/* ---- what they wait for ------------------------------------------------------------------------------------------ */

static bool is_long(const struct task *task, enum gate_wait wait, uint64_t now_ns)
{
    return now_ns - task->begun_ns >= (wait == GATE_FOR_STORE ? AT_WORK_NS : NOTICED_NS);
}

/* The oldest write that has waited for long, and what it waits for; or NULL. */
static struct task *waiting(const struct writes *writes, uint64_t now_ns, enum gate_wait *wait)
{
    struct gate_trace ignored;
    struct task *task;
    DL_FOREACH(writes->tasks, task)
    {
        (void)gate_look(&task->gate, wait, &ignored);
        if (is_long(task, *wait, now_ns))
            return task;
    }
    return NULL;
}

const char *writes_trouble(struct writes *writes)
{
    enum gate_wait wait;
    uint64_t now_ns = clock_ns();
    const struct task *task = waiting(writes, now_ns, &wait);
    writes->text[0] = 0;
    if (task != NULL)
        (void)snprintf(writes->text, sizeof writes->text,
                       "%u write%s wait%s, the oldest (%s) for %.1f s: for %s", writes->count,
                       writes->count == 1 ? "" : "s", writes->count == 1 ? "s" : "",
                       task->request->method->name, seconds(now_ns - task->begun_ns), gate_wait_text(wait));
    return writes->text;
}

static void trouble_over(struct writes *writes)
{
    if (writes->noticed)
        log_info("writes: none waits for long any more; meanwhile %" PRIu64 " were given up, and of %" PRIu64
                 " the outcome is unknown",
                 writes->given_up, writes->unsure);
    writes->noticed = false;
    writes->given_up = writes->unsure = 0;
}

static void notice(struct writes *writes, uint64_t now_ns)
{
    const char *text = writes_trouble(writes);
    if (text[0] != 0) {
        if (!writes->noticed)
            log_warning("writes: %s", text);
        writes->noticed = true;
        writes->waited_ns = now_ns;
    } else if (writes->noticed && now_ns - writes->waited_ns >= QUIET_NS) {
        trouble_over(writes);
    }
}

/* ---- answers ----------------------------------------------------------------------------------------------------- */

/* Takes the request from a task, which nobody waits for any more. The caller ends the request. */
static struct request *take_request(struct writes *writes, struct task *task)
{
    struct request *request = task->request;
    DL_DELETE(writes->tasks, task);
    writes->counters->writes_waiting = --writes->count;
    request->cancel = NULL;
    task->request = NULL;
    return request;
}

/* Frees a task that no thread has begun; else the thread ends it. */
static void leave(struct writes *writes, struct task *task)
{
    if (store_threads_withdraw(writes->pool, &task->job))
        task_forget(task);
}

static void give_up(struct writes *writes, struct task *task, enum gate_wait wait, uint64_t now_ns)
{
    struct request *request = take_request(writes, task);
    double waited = seconds(now_ns - task->begun_ns);
    writes->counters->writes_timed_out++;
    writes->given_up++;
    leave(writes, task);
    request_fail(request, PERMTAB_E_TIMEOUT, GIVEN_UP_TEXT, waited, gate_wait_text(wait));
}

static void say_unsure(struct writes *writes, struct task *task, const struct gate_trace *trace,
                       uint64_t now_ns)
{
    struct request *request = take_request(writes, task);
    double waited = seconds(now_ns - task->begun_ns);
    writes->counters->writes_unsure++;
    writes->unsure++;
    task->unsure = true;
    task->name = request->method->name;
    leave(writes, task);
    request_fail(
        request, PERMTAB_E_STORE_UNSURE,
        "the store did not confirm the commit within %.1f s, so whether it was done is unknown: it was "
        "if the log has revision %" PRIu64 " with nonce %" PRIu64
        "; sent again, it changes nothing that is done already",
        waited, trace->revision, trace->nonce);
}

/* Answers a task whose time is over; true when it was answered. */
static bool judge(struct writes *writes, struct task *task, uint64_t now_ns)
{
    enum gate_wait wait;
    struct gate_trace trace;
    enum gate_state state = gate_look(&task->gate, &wait, &trace);
    if (now_ns >= task->answer_by_ns) {
        if (gate_close(&task->gate) == GATE_COMMITTING) {
            (void)gate_look(&task->gate, &wait, &trace);
            say_unsure(writes, task, &trace, now_ns);
        } else {
            give_up(writes, task, wait, now_ns);
        }
    } else if (state == GATE_OPEN && now_ns >= task->gate.closes_ns && gate_close_open(&task->gate)) {
        give_up(writes, task, wait, now_ns);
    } else {
        return false;
    }
    return true;
}

/* ---- time
 * ------------------------------------------------------------------------------------------------------------ */

/* The next moment at which judge would decide otherwise by time alone. */
static uint64_t next_moment(const struct task *task, uint64_t now_ns)
{
    uint64_t moments[] = {task->begun_ns + NOTICED_NS, task->begun_ns + AT_WORK_NS, task->gate.closes_ns,
                          task->answer_by_ns};
    uint64_t next = UINT64_MAX;
    for (size_t i = 0; i < sizeof moments / sizeof moments[0]; i++)
        if (moments[i] > now_ns && moments[i] < next)
            next = moments[i];
    return next;
}

static void arm(struct writes *writes, uint64_t now_ns)
{
    struct task *task;
    uint64_t next = writes->noticed ? writes->waited_ns + QUIET_NS : UINT64_MAX;
    DL_FOREACH(writes->tasks, task)
    {
        uint64_t moment = next_moment(task, now_ns);
        next = moment < next ? moment : next;
    }
    if (next == UINT64_MAX) {
        (void)event_del(writes->timer);
        return;
    }
    (void)timer_in_ns(writes->timer, next > now_ns ? next - now_ns + 1 : 1000000);
}

/* Answers at most one task: an answer may end its session, and with it other writes, so the list is looked at anew. */
static bool answer_one(struct writes *writes, uint64_t now_ns)
{
    struct task *task;
    DL_FOREACH(writes->tasks, task)
    {
        if (judge(writes, task, now_ns))
            return true;
    }
    return false;
}

static void on_time(evutil_socket_t descriptor, short what, void *context)
{
    struct writes *writes = context;
    uint64_t now_ns = clock_ns();
    (void)descriptor, (void)what;
    notice(writes, now_ns); /* first: a write that is given up now has waited until now */
    while (answer_one(writes, now_ns))
        continue;
    arm(writes, now_ns);
}

/* ---- one write
 * ------------------------------------------------------------------------------------------------------- */

bool writes_deadline(struct request *request, const struct wire_value *params, uint64_t default_ms,
                     uint64_t *out)
{
    const struct wire_value *deadline = wire_get(params, "deadline"),
                            *timeout = wire_get(params, "timeout_ms");
    uint64_t ms = default_ms, now_ns = clock_ns(), latest_ns = now_ns + WRITES_TIMEOUT_MS_MAX * MS_NS;
    if (!wire_is_nil(deadline)) {
        if (!param_id(request, params, "deadline", out))
            return false;
        *out = *out < latest_ns ? *out : latest_ns;
        if (*out > now_ns)
            return true;
        return request_fail(request, PERMTAB_E_TIMEOUT,
                            "nothing was changed: its deadline was over when it was read");
    }
    if (!wire_is_nil(timeout) && (!wire_as_u64(timeout, &ms) || ms == 0 || ms > WRITES_TIMEOUT_MS_MAX))
        return request_fail(request, PERMTAB_E_INVALID, "timeout_ms: expected a whole number from 1 to %u",
                            WRITES_TIMEOUT_MS_MAX);
    *out = now_ns + ms * MS_NS;
    return true;
}

/* The session ends: closes the gate, so that nothing is changed after the client has gone. */
static void on_cancel(struct request *request)
{
    struct task *task = request->state;
    struct writes *writes = task->server->parts->writes;
    if (gate_close(&task->gate) == GATE_OPEN)
        writes->counters->writes_abandoned++;
    (void)take_request(writes, task);
    leave(writes, task);
    request_drop(request);
}

int writes_start(struct writes *writes, struct task *task)
{
    uint64_t now_ns = clock_ns();
    uint64_t kept_ns = (task->answer_by_ns - now_ns) / 10;
    task->begun_ns = now_ns;
    gate_init(&task->gate, task->answer_by_ns - (kept_ns < SECOND_NS ? kept_ns : SECOND_NS));
    int code = store_threads_submit(writes->pool, &task->job);
    if (code < 0) {
        gate_fini(&task->gate);
        return code;
    }
    task->request->state = task;
    task->request->cancel = on_cancel;
    DL_APPEND(writes->tasks, task);
    writes->counters->writes_waiting = ++writes->count;
    arm(writes, now_ns);
    return 0;
}

void writes_ended(struct writes *writes, struct task *task)
{
    if (task->request == NULL)
        return;
    DL_DELETE(writes->tasks, task);
    writes->counters->writes_waiting = --writes->count;
    task->request->cancel = NULL; /* only the reply is left */
    /* the thread noticed the end of the time a moment before the clock */
    if (task->code == PERMTAB_E_TIMEOUT) {
        enum gate_wait wait;
        struct gate_trace ignored;
        (void)gate_look(&task->gate, &wait, &ignored);
        writes->counters->writes_timed_out++;
        writes->given_up++;
        (void)failure_set(&task->failure, PERMTAB_E_TIMEOUT, GIVEN_UP_TEXT,
                          seconds(clock_ns() - task->begun_ns), gate_wait_text(wait));
    }
    if (task->code != PERMTAB_E_TIMEOUT && writes_trouble(writes)[0] == 0)
        trouble_over(writes);
    arm(writes, clock_ns());
}

/* ---- life
 * ------------------------------------------------------------------------------------------------------------- */

int writes_new(struct writes **out, const struct writes_options *options)
{
    struct store_threads_options pool = {.base = options->base,
                                         .name = "writes",
                                         .store = options->store,
                                         .threads = options->threads,
                                         .queue_max = options->queue_max};
    struct writes *writes = calloc(1, sizeof *writes);
    int code = PERMTAB_E_MEMORY;
    if (writes == NULL)
        return code;
    writes->counters = options->counters;
    writes->timer = evtimer_new(options->base, on_time, writes);
    if (writes->timer != NULL)
        code = store_threads_new(&writes->pool, &pool);
    if (code < 0) {
        writes_free(writes);
        writes = NULL;
    }
    *out = writes;
    return code;
}

void writes_free(struct writes *writes)
{
    if (writes == NULL)
        return;
    store_threads_free(writes->pool);
    if (writes->timer != NULL)
        event_free(writes->timer);
    free(writes);
}
