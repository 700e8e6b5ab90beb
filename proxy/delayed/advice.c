/* Advice about the queue. A threshold is a figure at which an operator should look, not a limit: nothing is done
 * unasked. */
#include "proxy/delayed/advice.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define OVERDUE_MANY 100u
#define OVERDUE_RUN  1000u
#define WAITING_MANY 100u
#define REASON_MANY  1000u
#define SAME_MANY    100u
#define QUEUE_MANY   (DELAYED_QUEUE_MAX / 10 * 8)
#define MS_IN_A_S    1000u

struct advice_list {
    struct delayed_advice *items;
    size_t count;
};

/* NULL when there is no room. */
static struct delayed_advice *add(struct advice_list *list, bool urgent, enum delayed_action action,
                                  const char *index)
{
    if (list->count == DELAYED_ADVICE_MAX)
        return NULL;
    struct delayed_advice *advice = &list->items[list->count++];
    *advice = (struct delayed_advice){.urgent = urgent, .action = action};
    advice->what.kind = DELAYED_INDEX;
    (void)snprintf(advice->what.text, sizeof advice->what.text, "%s", index);
    return advice;
}

__attribute__((format(printf, 2, 3))) static void say(struct delayed_advice *advice, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(advice->text, sizeof advice->text, format, arguments);
    va_end(arguments);
}

/* The index as one word of a shell. */
static void set_command(struct delayed_advice *advice, const char *verb)
{
    char quoted[DELAYED_INDEX_SIZE * 4 + 3];
    size_t at = 0;
    quoted[at++] = '\'';
    for (const char *byte = advice->what.text; *byte; byte++) {
        if (*byte == '\'')
            at += (size_t)snprintf(quoted + at, sizeof quoted - at, "'\\''");
        else
            quoted[at++] = *byte;
    }
    quoted[at++] = '\'';
    quoted[at] = '\0';
    bool plain =
        strspn(advice->what.text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:._-") ==
        strlen(advice->what.text);
    int length = snprintf(advice->command, sizeof advice->command, "delayed %s %s", verb,
                          plain ? advice->what.text : quoted);
    if (length < 0 ||
        (size_t)length >= sizeof advice->command) /* half a command is no use: `delayed do` has it whole */
        advice->command[0] = '\0';
}

static void advise_overdue(struct advice_list *list, const struct delayed_state *state)
{
    struct delayed_advice *advice;
    if (state->overdue < OVERDUE_MANY || !(advice = add(list, true, DELAYED_RUN, "")))
        return;
    advice->most = OVERDUE_RUN;
    say(advice,
        "%" PRIu64 " tasks are overdue, the first by %" PRIu64
        " s: carry out %u of them now, whatever the pace",
        state->overdue, (state->now_ms - state->first_ms) / MS_IN_A_S, OVERDUE_RUN);
    (void)snprintf(advice->command, sizeof advice->command, "delayed run --max %u", OVERDUE_RUN);
}

static void advise_failing(struct advice_list *list, const struct delayed_state *state)
{
    struct delayed_advice *advice;
    if (state->failing == 0 || !(advice = add(list, true, DELAYED_CANCEL, "failing")))
        return;
    say(advice, "%" PRIu64 " tasks fail again and again (`delayed` shows why): cancel them", state->failing);
    set_command(advice, "cancel");
}

static void advise_full(struct advice_list *list, const struct delayed_state *state)
{
    struct delayed_advice *advice;
    if (state->queued < QUEUE_MANY || state->largest_count == 0 ||
        !(advice = add(list, true, DELAYED_CANCEL, state->largest[0].index)))
        return;
    say(advice, "the queue has %" PRIu64 " tasks and takes %u: cancel the %" PRIu64 " of %s", state->queued,
        DELAYED_QUEUE_MAX, state->largest[0].tasks, state->largest[0].index);
    set_command(advice, "cancel");
}

static void advise_waiting(struct advice_list *list, const struct delayed_state *state)
{
    struct delayed_advice *advice;
    if (state->waiting < WAITING_MANY || !(advice = add(list, false, DELAYED_CANCEL, "waiting")))
        return;
    say(advice, "%" PRIu64 " tasks wait for conditions that have not held for long: cancel them",
        state->waiting);
    set_command(advice, "cancel");
}

static void advise_reason(struct advice_list *list, const char *index, uint64_t tasks)
{
    struct delayed_advice *advice;
    if (tasks < REASON_MANY)
        return;
    if ((advice = add(list, false, DELAYED_RUN, index))) {
        say(advice, "%" PRIu64 " tasks have the %s: carry all of them out now", tasks, index);
        set_command(advice, "run");
    }
    if ((advice = add(list, false, DELAYED_CANCEL, index))) {
        say(advice, "%" PRIu64 " tasks have the %s: cancel all of them", tasks, index);
        set_command(advice, "cancel");
    }
}

static void advise_largest(struct advice_list *list, const struct delayed_state *state)
{
    for (size_t i = 0; i < state->largest_count; i++) {
        const char *index = state->largest[i].index;
        uint64_t tasks = state->largest[i].tasks;
        struct delayed_advice *advice;
        if (strncmp(index, "reason:", 7) == 0)
            advise_reason(list, index, tasks);
        else if (strchr(index, ':') && tasks >= SAME_MANY &&
                 (advice = add(list, false, DELAYED_REPLACE, index))) {
            say(advice,
                "%" PRIu64 " tasks name %s: one invalidation now in place of those that name nothing else",
                tasks, index);
            set_command(advice, "replace");
        }
    }
}

size_t delayed_advise(const struct delayed_state *state, struct delayed_advice *out)
{
    struct advice_list list = {.items = out};
    advise_overdue(&list, state);
    advise_failing(&list, state);
    advise_full(&list, state);
    advise_waiting(&list, state);
    advise_largest(&list, state);
    return list.count;
}
