/* Commands over many tasks: cancel, run now, replace by one. A script does a short step; between steps Redis is
 * left to others for so long that the steps keep within the budget. A call ends after a quarter of a second with
 * the cursor to go on at, so no state of it stays here: a client that stops calling has stopped the command.
 *
 * Replacing adds the one task first and removes the others after it: a host that dies in between leaves a task too
 * many. */
#include "proxy/base/clock.h"
#include "proxy/base/container_of.h"
#include "proxy/base/timer.h"
#include "proxy/delayed/private.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define SLICE_NS 250000000u
/* The longest pause between two steps: a step takes Redis under a millisecond, so a longer trip was spent waiting. */
#define PAUSE_MAX_US 20000u
#define STEP_WORK    250u

struct delayed_sweeping {
    struct delayed_call call;
    struct delayed_sweeping *prev, *next;
    struct delayed_sweep sweep;
    char at[24];                /* of SSCAN */
    char keep[DELAYED_ID_SIZE]; /* the id of the task that replaces the others */
    uint64_t begun_ns, step_ns;
    uint64_t count;
    struct event *pause;
    delayed_swept_fn done;
    void *context;
};

static void sweeping_free(struct delayed_sweeping *sweeping)
{
    DL_DELETE(sweeping->call.delayed->sweeps, sweeping);
    event_free(sweeping->pause);
    free(sweeping);
}

static void finish(struct delayed_sweeping *sweeping, int code, const char *text, bool more)
{
    char cursor[DELAYED_CURSOR_SIZE] = "";
    if (more)
        (void)snprintf(cursor, sizeof cursor, "%s%s%s", sweeping->at, sweeping->keep[0] ? ":" : "",
                       sweeping->keep);
    sweeping->call.delayed->client_calls--;
    sweeping->done(sweeping->context, code, text, sweeping->count, cursor);
    sweeping_free(sweeping);
}

/* ---- steps ------------------------------------------------------------------------------------------------------- */

static const char *index_word(const struct delayed_what *what)
{
    switch (what->kind) {
    case DELAYED_ONE:
        return "";
    case DELAYED_ALL:
        return "*";
    case DELAYED_INDEX:
        break;
    }
    return what->text;
}

static const char *add_arguments(struct delayed_sweeping *sweeping, struct redis_args *args)
{
    const struct delayed_sweep *sweep = &sweeping->sweep;
    delayed_args(sweeping->call.delayed, args);
    redis_args_text(args, index_word(&sweep->what));
    redis_args_text(args, sweeping->at);
    if (sweep->action != DELAYED_RUN) {
        redis_args_text(args, "");
        redis_args_text(args, sweep->action == DELAYED_REPLACE ? sweep->what.text : "");
        redis_args_text(args, sweeping->keep);
        redis_args_u64(args, STEP_WORK);
    }
    redis_args_text(args, sweep->what.kind == DELAYED_ONE ? sweep->what.text : "");
    return sweep->action == DELAYED_RUN ? "delayed_hurry" : "delayed_remove";
}

static void on_step(struct delayed_call *call, enum redis_status status, const struct redis_reply *reply);

static int step(struct delayed_sweeping *sweeping)
{
    struct redis_args args;
    const char *script = add_arguments(sweeping, &args);
    sweeping->call.done = on_step;
    sweeping->step_ns = clock_ns();
    return delayed_run_script(sweeping->call.delayed, script, &args, &sweeping->call);
}

static void step_or_fail(struct delayed_sweeping *sweeping)
{
    int code = step(sweeping);
    if (code < 0)
        finish(sweeping, code, "Redis takes no more just now; go on at the cursor", true);
}

/* Whether the command only lifts the pace: overdue tasks are due already, and Redis needs no command. */
static bool is_pace_alone(const struct delayed_sweep *sweep)
{
    return sweep->action == DELAYED_RUN && !sweep->what.text[0];
}

static void on_pause_over(evutil_socket_t descriptor, short what, void *context)
{
    struct delayed_sweeping *sweeping = context;
    (void)descriptor, (void)what;
    if (!is_pace_alone(&sweeping->sweep)) {
        step_or_fail(sweeping);
        return;
    }
    sweeping->count = sweeping->sweep.most;
    delayed_hurry(sweeping->call.delayed, sweeping->count);
    finish(sweeping, 0, "", false);
}

static void pause_then_step(struct delayed_sweeping *sweeping, uint64_t took_ns)
{
    unsigned budget = sweeping->call.delayed->options.budget;
    uint64_t us = took_ns / 1000 * (100 - budget) / budget + 1;
    if (us > PAUSE_MAX_US)
        us = PAUSE_MAX_US;
    if (timer_in_us(sweeping->pause, us) < 0)
        finish(sweeping, PERMTAB_E_MEMORY, "out of memory", true);
}

static void on_step(struct delayed_call *call, enum redis_status status, const struct redis_reply *reply)
{
    struct delayed_sweeping *sweeping = container_of(call, struct delayed_sweeping, call);
    struct delayed *delayed = call->delayed;
    struct failure failure = {0};
    uint64_t now = clock_ns();
    int code = delayed_outcome(delayed, status, reply, &failure);
    if (code < 0) {
        finish(sweeping, code, failure.text, true);
        return;
    }
    uint64_t count = delayed_u64_at(reply, 0);
    bool more = delayed_u64_at(reply, 2) > 0;
    sweeping->count += count;
    (void)snprintf(sweeping->at, sizeof sweeping->at, "%s", delayed_text_at(reply, 1));
    if (sweeping->sweep.action != DELAYED_RUN)
        delayed_count(delayed, DELAYED_cancelled, count);
    else if (!delayed->closed && count > 0)
        delayed_hurry(delayed, count);
    if (more && !delayed->closed && now - sweeping->begun_ns < SLICE_NS)
        pause_then_step(sweeping, now - sweeping->step_ns);
    else
        finish(sweeping, 0, "", more);
}

/* ---- beginning --------------------------------------------------------------------------------------------------- */

static void on_one_added(void *context, int code, const char *text, const struct delayed_task *task)
{
    struct delayed_sweeping *sweeping = context;
    if (code < 0) {
        finish(sweeping, code, text, false);
        return;
    }
    (void)snprintf(sweeping->keep, sizeof sweeping->keep, "%s", task->id);
    step_or_fail(sweeping);
}

/* Adds the task that replaces the others. */
static int add_one(struct delayed_sweeping *sweeping)
{
    struct delayed *delayed = sweeping->call.delayed;
    const char *target = sweeping->sweep.what.text;
    const struct delayed_when now = {.at = false};
    struct delayed_task *task = calloc(1, sizeof *task);
    if (!task)
        return PERMTAB_E_MEMORY;
    int code = delayed_targets_parse(delayed_types(delayed), target, strlen(target), task);
    delayed_reason(task->reason, "in place of many");
    if (code == 0)
        code = delayed_add(delayed, task, &now, on_one_added, sweeping);
    free(task);
    return code;
}

/* Reads a cursor: "123" or "123:ID". */
static bool read_cursor(struct delayed_sweeping *sweeping)
{
    const char *text = sweeping->sweep.cursor;
    uint64_t position;
    size_t digits = strspn(text, "0123456789");
    (void)snprintf(sweeping->at, sizeof sweeping->at, "0");
    if (!text[0])
        return true;
    if (digits == 0 || digits > 20)
        return false;
    memcpy(sweeping->at, text, digits);
    sweeping->at[digits] = '\0';
    if (!id_parse(sweeping->at, &position))
        return false;
    bool keeps = text[digits] == ':' && delayed_id_good(text + digits + 1);
    if (keeps)
        (void)snprintf(sweeping->keep, sizeof sweeping->keep, "%s", text + digits + 1);
    return sweeping->sweep.action == DELAYED_REPLACE ? keeps : text[digits] == '\0';
}

static bool is_good(const struct delayed_sweep *sweep)
{
    const char *text = sweep->what.text;
    if (sweep->action == DELAYED_REPLACE)
        return sweep->what.kind == DELAYED_INDEX && strchr(text, ':') && strncmp(text, "reason:", 7) != 0;
    return text[0] || sweep->action == DELAYED_RUN;
}

static int begin(struct delayed_sweeping *sweeping)
{
    if (!read_cursor(sweeping))
        return PERMTAB_E_INVALID;
    if (is_pace_alone(&sweeping->sweep))
        return timer_at_once(sweeping->pause);
    return sweeping->sweep.action == DELAYED_REPLACE && !sweeping->keep[0] ? add_one(sweeping)
                                                                           : step(sweeping);
}

int delayed_sweep(struct delayed *delayed, const struct delayed_sweep *sweep, delayed_swept_fn done,
                  void *context)
{
    if (!is_good(sweep))
        return PERMTAB_E_INVALID;
    int code;
    struct delayed_sweeping *sweeping = delayed_call_new(delayed, sizeof *sweeping, &code);
    if (!sweeping)
        return code;
    sweeping->call.delayed = delayed;
    sweeping->sweep = *sweep;
    sweeping->done = done;
    sweeping->context = context;
    sweeping->begun_ns = clock_ns();
    sweeping->pause = evtimer_new(delayed->options.base, on_pause_over, sweeping);
    if (!sweeping->pause) {
        free(sweeping);
        return PERMTAB_E_MEMORY;
    }
    DL_PREPEND(delayed->sweeps, sweeping);
    code = begin(sweeping);
    if (code < 0)
        sweeping_free(sweeping);
    else
        delayed->client_calls++;
    return code;
}

void delayed_sweeps_end(struct delayed *delayed)
{
    struct delayed_sweeping *sweeping, *next;
    DL_FOREACH_SAFE(delayed->sweeps, sweeping, next)
    {
        if (evtimer_pending(sweeping->pause, NULL)) /* the other sweeps are told with Redis' reply */
            finish(sweeping, PERMTAB_E_UNREACHABLE, "the sidecar is stopping", true);
    }
}
