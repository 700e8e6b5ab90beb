/* permtabctl top --once: how the sidecar does, in a few lines, and what is asked for most. */
#include "client/ctl/permtabctl.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>

#define KEYS_DEFAULT 20u

static void print_figures(const struct wire_value *stats)
{
    uint64_t hits = control_u64(stats, "table_hits") + control_u64(stats, "socket_hits");
    uint64_t fills = control_u64(stats, "fills");
    double share = hits + fills > 0 ? (double)hits * 100 / (double)(hits + fills) : 0;
    control_say("clients %" PRIu64 ", entries %" PRIu64 " of %" PRIu64 ", sets %" PRIu64 ", folds %" PRIu64 "\n",
                control_u64(stats, "clients"), control_u64(stats, "entries"), control_u64(stats, "table_capacity"),
                control_u64(stats, "sets"), control_u64(stats, "folds"));
    control_say("hits %" PRIu64 ", fills %" PRIu64 ", %.2f %% hits since the worker began\n", hits, fills, share);
    control_say("warm-up: %" PRIu64 " jobs, %" PRIu64 " keys left; %" PRIu64 " keys are known, in %.1f MB\n",
                control_u64(stats, "warm_jobs"), control_u64(stats, "warm_left"), control_u64(stats, "keys_known"),
                (double)control_u64(stats, "keys_bytes") / 1e6);
}

static void print_keys(const struct wire_value *keys)
{
    size_t count = 0;
    (void)wire_as_array(keys, &count);
    if (count > 0)
        control_say("\n%9s  %-20s %s\n", "frequency", "user", "scope");
    for (size_t i = 0; i < count; i++) {
        char scope[64];
        bool resident = false;
        const struct wire_value *key = wire_item(keys, i);
        (void)wire_as_bool(wire_get(key, "resident"), &resident);
        control_say("%9" PRIu64 "  %-20" PRIu64 " %s%s\n", control_u64(key, "frequency"), control_u64(key, "user"),
                    control_text(key, "scope", scope, sizeof scope), resident ? "" : " (not in the table)");
    }
}

static int print_json(const struct control *control, const struct wire_value *stats, const struct wire_value *keys)
{
    json_t *list = json_array(), *object = json_object();
    size_t count = 0;
    (void)wire_as_array(keys, &count);
    for (size_t i = 0; i < count; i++)
        (void)json_array_append_new(list, control_json(wire_item(keys, i)));
    (void)json_object_set_new(object, "keys", list);
    (void)json_object_set_new(object, "stats", control_json(stats));
    return control_print_json(control, object, JSON_INDENT(2));
}

int control_top(struct control *control)
{
    struct wire_message stats, hot;
    uint64_t most = KEYS_DEFAULT;
    if (!control->once)
        return control_fail(control, CONTROL_USAGE, "top --once [N]: there is no screen that goes on yet");
    if (control->count > 0 && !control_id(control, "N", control->arguments[0], &most))
        return CONTROL_USAGE;
    int code = control_ask(control, "stats", CONTROL_CALL_MS, &stats);
    if (code != 0)
        return code;
    wire_put_u64(channel_request(&control->channel, "hot", 1), "most", most);
    code = control_call(control, -1, CONTROL_CALL_MS, &hot);
    if (code == 0 && control->json) {
        code = print_json(control, stats.result, wire_get(hot.result, "keys"));
        wire_message_fini(&hot);
    } else if (code == 0) {
        print_figures(stats.result);
        print_keys(wire_get(hot.result, "keys"));
        wire_message_fini(&hot);
    }
    wire_message_fini(&stats);
    return code;
}
