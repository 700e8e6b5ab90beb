/* permtabctl delay, delayed: invalidations at a later time. Commands over many tasks are answered in pieces, with a
 * cursor: stopping this program stops them. */
#include "client/ctl/permtabctl.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_SIZE 16384

/* "30s", "5m", "12h", "7d", "250ms": milliseconds. */
bool control_duration(const char *text, uint64_t *out)
{
    static const struct {
        const char *unit;
        uint64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    char digits[16];
    size_t length = strspn(text, "0123456789");
    if (length == 0 || length >= sizeof(digits))
        return false;
    memcpy(digits, text, length);
    digits[length] = '\0';
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
        if (strcmp(text + length, units[i].unit) == 0)
            return control_is_id(digits, out) && !__builtin_mul_overflow(*out, units[i].ms, out);
    return false;
}

/* ---- delay ------------------------------------------------------------------------------------------------------- */

struct times {
    uint64_t in_ms, alive_ms, revision;
    int64_t at_us;
};

/* 0, or CONTROL_USAGE with a line. */
static int take_times(const struct control *control, struct times *times)
{
    const struct control_delay *delay = &control->delay;
    if ((delay->in == NULL) == (delay->at == NULL))
        return control_fail(control, CONTROL_USAGE, "expected --in or --at, and one of them");
    if (delay->in != NULL && !control_duration(delay->in, &times->in_ms))
        return control_fail(control, CONTROL_USAGE, "--in: \"%s\" is no duration such as 30s, 5m, 12h or 7d",
                            delay->in);
    if (delay->at != NULL && control_time(control, "--at", delay->at, &times->at_us) != 0)
        return CONTROL_USAGE;
    if (delay->alive != NULL && !control_duration(delay->alive, &times->alive_ms))
        return control_fail(control, CONTROL_USAGE,
                            "--expires-in: \"%s\" is no duration such as 30s, 5m, 12h or 7d", delay->alive);
    if (delay->revision != NULL && !control_is_id(delay->revision, &times->revision))
        return control_fail(control, CONTROL_USAGE, "--if-revision: \"%s\" is no number", delay->revision);
    return 0;
}

static void put_text(struct wire_buffer *out, const char *key, const char *text)
{
    if (text != NULL)
        wire_put_str(out, key, text);
}

static void put_number(struct wire_buffer *out, const char *key, bool given, uint64_t number)
{
    if (given)
        wire_put_u64(out, key, number);
}

static void put_delay(struct control *control, const struct times *times)
{
    const struct control_delay *delay = &control->delay;
    const char *const given[] = {delay->in,        delay->at, delay->alive,    control->reason,
                                 delay->condition, delay->id, delay->revision, "targets"};
    uint32_t fields = 0;
    for (size_t i = 0; i < sizeof(given) / sizeof(given[0]); i++)
        fields += given[i] != NULL ? 1u : 0u;
    struct wire_buffer *out = channel_request(&control->channel, "delay", fields);
    put_number(out, "in_ms", delay->in != NULL, times->in_ms);
    put_number(out, "at", delay->at != NULL, (uint64_t)times->at_us);
    put_number(out, "expires_in_ms", delay->alive != NULL, times->alive_ms);
    put_number(out, "if_revision", delay->revision != NULL, times->revision);
    put_text(out, "reason", control->reason);
    put_text(out, "if", delay->condition);
    put_text(out, "id", delay->id);
    wire_put_array(out, "targets", (uint32_t)control->count);
    for (int i = 0; i < control->count; i++)
        wire_str(out, control->arguments[i]);
}

int control_delay(struct control *control)
{
    struct times times = {0};
    struct wire_message reply;
    char id[64];
    int code = take_times(control, &times);
    if (code == 0)
        code = control_connect(control, CONTROL_CALL_MS);
    if (code != 0)
        return code;
    put_delay(control, &times);
    code = control_call(control, -1, CONTROL_CALL_MS, &reply);
    if (code != 0)
        return code;
    control_say("%s\n", control_text(reply.result, "id", id, sizeof(id)));
    wire_message_fini(&reply);
    return 0;
}

/* ---- the list ---------------------------------------------------------------------------------------------------- */

static void print_named(const struct wire_value *task, const char *key, const char *name)
{
    char text[2048];
    if (control_text(task, key, text, sizeof(text))[0] != '\0')
        control_say("  %s \"%s\"", name, text);
}

static void print_task(const struct wire_value *task, uint64_t now_ms)
{
    char text[TEXT_SIZE], state[16];
    uint64_t time_ms = control_u64(task, "time_ms"), attempts = control_u64(task, "attempts");
    bool taken = strcmp(control_text(task, "state", state, sizeof(state)), "taken") == 0;
    control_say("%s  ", control_text(task, "id", text, sizeof(text)));
    if (taken)
        control_say("being carried out");
    else if (time_ms > now_ms)
        control_say("due in %.1f s", (double)(time_ms - now_ms) / 1000);
    else
        control_say("due %.1f s ago", (double)(now_ms - time_ms) / 1000);
    control_say("  %s", control_text(task, "targets", text, sizeof(text)));
    print_named(task, "reason", "reason");
    print_named(task, "if", "if");
    print_named(task, "if_revision", "if-revision");
    if (control_u64(task, "waits") > 0)
        control_say("  waited %" PRIu64 " times", control_u64(task, "waits"));
    if (!taken && attempts > 0)
        control_say("  failed %" PRIu64 " times", attempts);
    print_named(task, "error", "because");
    control_say("\n");
}

static int list(struct control *control)
{
    struct wire_message reply;
    uint64_t most = 20;
    size_t count = 0;
    if (control->count > 1 && !control_id(control, "N", control->arguments[1], &most))
        return CONTROL_USAGE;
    int code = control_connect(control, CONTROL_CALL_MS);
    if (code != 0)
        return code;
    struct wire_buffer *out = channel_request(&control->channel, "delayed", 1);
    put_number(out, "most", true, most);
    code = control_call(control, -1, CONTROL_CALL_MS, &reply);
    if (code != 0)
        return code;
    const struct wire_value *tasks = wire_get(reply.result, "tasks");
    (void)wire_as_array(tasks, &count);
    for (size_t i = 0; i < count; i++)
        print_task(wire_item(tasks, i), control_u64(reply.result, "now_ms"));
    wire_message_fini(&reply);
    return 0;
}

/* ---- commands over many ------------------------------------------------------------------------------------------ */

/* One call; its tasks are added up, and `cursor` is where to go on. */
static int sweep_once(struct control *control, const char *method, const char *what, const uint64_t *number,
                      const char *number_key, char *cursor, size_t size, uint64_t *tasks)
{
    struct wire_message reply;
    uint32_t fields = (what != NULL ? 1u : 0u) + (number != NULL ? 1u : 0u) + (cursor[0] != '\0' ? 1u : 0u);
    struct wire_buffer *out = channel_request(&control->channel, method, fields);
    put_text(out, "what", what);
    put_number(out, number_key, number != NULL, number != NULL ? *number : 0);
    put_text(out, "cursor", cursor[0] != '\0' ? cursor : NULL);
    int code = control_call(control, -1, CONTROL_CALL_MS, &reply);
    if (code != 0)
        return code;
    *tasks += control_u64(reply.result, "tasks");
    (void)control_text(reply.result, "cursor", cursor, size);
    wire_message_fini(&reply);
    return 0;
}

static int sweep(struct control *control, const char *method, const char *what, const uint64_t *number,
                 const char *number_key)
{
    char cursor[128] = "";
    uint64_t tasks = 0;
    int code = control_connect(control, CONTROL_CALL_MS);
    if (code != 0)
        return code;
    do
        code = sweep_once(control, method, what, number, number_key, cursor, sizeof(cursor), &tasks);
    while (code == 0 && cursor[0] != '\0');
    if (code == 0 || tasks > 0)
        control_say("%" PRIu64 " %s\n", tasks, tasks == 1 ? "task" : "tasks");
    return code;
}

static int cancel(struct control *control)
{
    return sweep(control, "delayed_cancel", control->arguments[1], NULL, "");
}

static int replace(struct control *control)
{
    return sweep(control, "delayed_replace", control->arguments[1], NULL, "");
}

static int run(struct control *control)
{
    uint64_t most = 1000;
    if (control->count == 2 && control->delay.most != NULL)
        return control_fail(control, CONTROL_USAGE, "--max is for overdue tasks: without WHAT");
    if (control->count == 2)
        return sweep(control, "delayed_run", control->arguments[1], NULL, "");
    if (control->delay.most != NULL && !control_id(control, "--max", control->delay.most, &most))
        return CONTROL_USAGE;
    return sweep(control, "delayed_run", NULL, &most, "most");
}

static int carry_out(struct control *control)
{
    uint64_t number;
    if (!control_id(control, "N", control->arguments[1], &number))
        return CONTROL_USAGE;
    return sweep(control, "delayed_do", NULL, &number, "number");
}

/* ---- how it stands ----------------------------------------------------------------------------------------------- */

static int stats(struct control *control)
{
    static const char *const keys[] = {"queued", "taken", "overdue", "failing", "waiting"};
    struct wire_message reply;
    size_t count = 0;
    int code = control_ask(control, "delayed_stats", CONTROL_CALL_MS, &reply);
    if (code != 0)
        return code;
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        control_say("%s %" PRIu64 "\n", keys[i], control_u64(reply.result, keys[i]));
    uint64_t first_ms, now_ms = control_u64(reply.result, "now_ms");
    if (wire_as_u64(wire_get(reply.result, "first_due_ms"), &first_ms))
        control_say("first_due_in_ms %" PRId64 "\n", (int64_t)(first_ms - now_ms));
    const struct wire_value *minute = wire_get(reply.result, "minute");
    (void)wire_as_map(minute, &count);
    for (size_t i = 0; i < count; i++) {
        char name[64];
        uint64_t number = 0;
        if (wire_as_text(wire_key_at(minute, i), name, sizeof(name)) &&
            wire_as_u64(wire_value_at(minute, i), &number))
            control_say("%s_last_minute %" PRIu64 "\n", name, number);
    }
    wire_message_fini(&reply);
    return 0;
}

static int advice(struct control *control)
{
    struct wire_message reply;
    size_t count = 0;
    int code = control_ask(control, "delayed_advice", CONTROL_CALL_MS, &reply);
    if (code != 0)
        return code;
    const struct wire_value *items = wire_get(reply.result, "advice");
    (void)wire_as_array(items, &count);
    for (size_t i = 0; i < count; i++) {
        const struct wire_value *item = wire_item(items, i);
        char text[512], command[512];
        bool urgent = false;
        uint64_t number = control_u64(item, "number");
        (void)wire_as_bool(wire_get(item, "urgent"), &urgent);
        control_say("%" PRIu64 "  %s  %s\n", number, urgent ? "urgent" : "recommended",
                    control_text(item, "text", text, sizeof(text)));
        if (control_text(item, "command", command, sizeof(command))[0] != '\0')
            control_say("      permtabctl %s\n", command);
        control_say("      permtabctl delayed do %" PRIu64 "\n", number);
    }
    wire_message_fini(&reply);
    return 0;
}

/* ---- delayed ----------------------------------------------------------------------------------------------------- */

int control_delayed(struct control *control)
{
    static const struct {
        const char *name;
        int least, most; /* words, its own name included */
        int (*run)(struct control *control);
    } verbs[] = {{"list", 0, 2, list},       {"cancel", 2, 2, cancel}, {"run", 1, 2, run},
                 {"replace", 2, 2, replace}, {"do", 2, 2, carry_out},  {"stats", 1, 1, stats},
                 {"advice", 1, 1, advice}};
    const char *verb = control->count > 0 ? control->arguments[0] : "list";
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
        if (strcmp(verbs[i].name, verb) == 0 && control->count >= verbs[i].least &&
            control->count <= verbs[i].most && (control->delay.most == NULL || verbs[i].run == run))
            return verbs[i].run(control);
    return control_fail(
        control, CONTROL_USAGE,
        "[list [N]], cancel WHAT, run [WHAT | --max N], replace TARGET, do N, stats or advice");
}
