/* permtabctl invalidate, invalidations: targets to be read again, and the history of them. */
#include "client/ctl/permtabctl.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TARGETS_MAX    10000u
#define LINE_BYTES_MAX 255u /* its end included */
#define PAGE           500u

/* ---- targets from the command line and from stdin ---------------------------------------------------------------- */

void control_targets_fini(struct control_targets *targets)
{
    for (size_t i = 0; i < targets->count; i++)
        free(targets->texts[i]);
    free(targets->texts);
    *targets = (struct control_targets){0};
}

/* The text behind `prefix`, or NULL. */
static const char *after(const char *text, const char *prefix)
{
    size_t length = strlen(prefix);
    return strncmp(text, prefix, length) == 0 ? text + length : NULL;
}

static bool is_user(const char *text)
{
    char id[24];
    uint64_t number;
    size_t length = strcspn(text, "@");
    if (length >= sizeof(id))
        return false;
    memcpy(id, text, length);
    id[length] = '\0';
    return control_is_id(id, &number) && (text[length] == '\0' || control_is_scope(text + length + 1));
}

/* Checks the shape alone: the sidecar knows the scope types, and what a pattern may be. */
static bool is_target(const char *text)
{
    const char *rest;
    uint64_t id;
    if ((rest = after(text, "user:")) != NULL)
        return is_user(rest);
    if ((rest = after(text, "role:")) != NULL)
        return control_is_id(rest, &id);
    if ((rest = after(text, "scope:")) != NULL)
        return control_is_scope(rest);
    if ((rest = after(text, "tag:")) != NULL || (rest = after(text, "prefix:")) != NULL ||
        (rest = after(text, "pattern:")) != NULL)
        return rest[0] != '\0';
    return strcmp(text, "all") == 0 || strcmp(text, "poke") == 0;
}

static int add(const struct control *control, struct control_targets *targets, const char *text)
{
    if (!is_target(text))
        return control_fail(control, CONTROL_USAGE,
                            "\"%s\" is not user:ID, user:ID@SCOPE, role:ID, scope:SCOPE, "
                            "tag:NAME, prefix:TEXT, pattern:GLOB or all",
                            text);
    if (targets->count == TARGETS_MAX)
        return control_fail(control, CONTROL_USAGE,
                            "more than %u targets; a tag, a prefix or a pattern names more", TARGETS_MAX);
    if (targets->texts == NULL)
        targets->texts = calloc(TARGETS_MAX, sizeof(*targets->texts));
    char *copy = targets->texts != NULL ? strdup(text) : NULL;
    if (copy == NULL)
        return control_fail(control, CONTROL_FAILED, "out of memory");
    targets->texts[targets->count++] = copy;
    return 0;
}

static int read_line(const struct control *control, struct control_targets *targets, char *line,
                     size_t length, unsigned long number)
{
    char *save;
    int code = 0;
    if (length > LINE_BYTES_MAX)
        return control_fail(control, CONTROL_USAGE, "line %lu: longer than %u bytes", number, LINE_BYTES_MAX);
    if (strlen(line) != length)
        return control_fail(control, CONTROL_USAGE, "line %lu: a zero byte", number);
    for (char *word = strtok_r(line, " \t\r\n", &save); word != NULL && code == 0;
         word = strtok_r(NULL, " \t\r\n", &save))
        code = add(control, targets, word);
    return code;
}

/* One or more targets a line. */
static int read_stdin(const struct control *control, struct control_targets *targets)
{
    char *line = NULL;
    size_t room = 0;
    unsigned long number = 0;
    ssize_t length;
    int code = 0;
    while (code == 0 && (length = getline(&line, &room, stdin)) >= 0)
        code = read_line(control, targets, line, (size_t)length, ++number);
    if (code == 0 && ferror(stdin))
        code = control_fail(control, CONTROL_FAILED, "cannot read stdin");
    free(line);
    return code;
}

int control_targets_take(const struct control *control, int first, struct control_targets *targets)
{
    int code = 0;
    *targets = (struct control_targets){0};
    for (int i = first; i < control->count && code == 0; i++)
        code = strcmp(control->arguments[i], "-") == 0 ? read_stdin(control, targets)
                                                       : add(control, targets, control->arguments[i]);
    if (code != 0)
        control_targets_fini(targets);
    return code;
}

void control_targets_pack(struct wire_buffer *out, const struct control_targets *targets, size_t first,
                          size_t count)
{
    wire_put_array(out, "targets", (uint32_t)count);
    for (size_t i = first; i < first + count; i++)
        wire_str(out, targets->texts[i]);
}

/* ---- invalidate -------------------------------------------------------------------------------------------------- */

static int print_result(const struct control *control, const struct wire_value *result)
{
    char trouble[512] = "";
    bool published = false;
    uint64_t entries = control_u64(result, "entries"), keys = control_u64(result, "keys");
    uint64_t failed = control_u64(result, "failed");
    (void)wire_as_bool(wire_get(result, "published"), &published);
    (void)wire_as_text(wire_get(result, "trouble"), trouble, sizeof(trouble));
    control_say("%" PRIu64 " %s", entries, entries == 1 ? "entry" : "entries");
    if (keys > 0 || published)
        control_say(", %" PRIu64 " %s of L2", keys, keys == 1 ? "key" : "keys");
    if (failed > 0)
        control_say(", %" PRIu64 " not removed", failed);
    control_say("%s\n", published ? ", other hosts told" : "");
    return trouble[0] == '\0' ? 0 : control_fail(control, CONTROL_FAILED, "%s", trouble);
}

int control_invalidate(struct control *control)
{
    struct control_targets targets;
    struct wire_message reply;
    uint64_t batch = 0;
    if (control->batch_size != NULL && !control_id(control, "--batch", control->batch_size, &batch))
        return CONTROL_USAGE;
    int code = control_targets_take(control, 0, &targets);
    if (code != 0)
        return code;
    if (targets.count == 0)
        return control_fail(control, CONTROL_USAGE, "no targets");
    if ((code = control_connect(control, CONTROL_CALL_MS)) == 0) {
        uint32_t fields = 1 + (control->batch_size != NULL) + (control->reason != NULL);
        struct wire_buffer *out = channel_request(&control->channel, "invalidate", fields);
        control_targets_pack(out, &targets, 0, targets.count);
        if (control->batch_size != NULL)
            wire_put_u64(out, "batch", batch);
        if (control->reason != NULL)
            wire_put_str(out, "reason", control->reason);
        /* A pattern may take its time. */
        code = control_call(control, -1, CONTROL_LONG_MS, &reply);
    }
    control_targets_fini(&targets);
    if (code != 0)
        return code;
    code = print_result(control, reply.result);
    wire_message_fini(&reply);
    return code;
}

/* ---- invalidations ----------------------------------------------------------------------------------------------- */

static void print_record(const json_t *record)
{
    time_t seconds = (time_t)(json_integer_value(json_object_get(record, "at")) / 1000000);
    const char *reason = json_string_value(json_object_get(record, "reason"));
    struct tm at;
    char when[32] = "";
    if (gmtime_r(&seconds, &at) != NULL)
        (void)strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &at);
    control_say("%s %s %s: %lld entries, %lld keys, %lld us", when,
                json_string_value(json_object_get(record, "source")),
                json_string_value(json_object_get(record, "what")),
                (long long)json_integer_value(json_object_get(record, "entries")),
                (long long)json_integer_value(json_object_get(record, "keys")),
                (long long)json_integer_value(json_object_get(record, "took_us")));
    if (json_integer_value(json_object_get(record, "failed")) > 0)
        control_say(", %lld failed", (long long)json_integer_value(json_object_get(record, "failed")));
    if (json_integer_value(json_object_get(record, "code")) != 0)
        control_say(", code %lld", (long long)json_integer_value(json_object_get(record, "code")));
    if (reason != NULL && reason[0] != '\0')
        control_say(" (%s)", reason);
    control_say("\n");
}

static void print_rate(const json_t *rate)
{
    if (json_integer_value(json_object_get(rate, "hour")) > 0)
        control_say("%s %s: %lld in the last minute, %lld in the last hour\n",
                    json_string_value(json_object_get(rate, "source")),
                    json_string_value(json_object_get(rate, "kind")),
                    (long long)json_integer_value(json_object_get(rate, "minute")),
                    (long long)json_integer_value(json_object_get(rate, "hour")));
}

static void append(json_t *list, const struct wire_value *array)
{
    size_t count = 0;
    (void)wire_as_array(array, &count);
    for (size_t i = 0; i < count; i++)
        (void)json_array_append_new(list, control_json(wire_item(array, i)));
}

/* Pages until there are `last` of them, or no more. */
static int read_pages(struct control *control, uint64_t last, json_t *records, json_t *rates)
{
    uint64_t before = UINT64_MAX;
    while (json_array_size(records) < last) {
        struct wire_message reply;
        size_t had = json_array_size(records);
        uint64_t wanted = last - had < PAGE ? last - had : PAGE;
        struct wire_buffer *out = channel_request(&control->channel, "invalidations", 2);
        wire_put_u64(out, "last", wanted);
        wire_put_u64(out, "before", before);
        int code = control_call(control, -1, CONTROL_CALL_MS, &reply);
        if (code != 0)
            return code;
        append(records, wire_get(reply.result, "invalidations"));
        if (had == 0)
            append(rates, wire_get(reply.result, "rates"));
        wire_message_fini(&reply);
        if (json_array_size(records) < had + wanted)
            break;
        before = (uint64_t)json_integer_value(
            json_object_get(json_array_get(records, json_array_size(records) - 1), "number"));
    }
    return 0;
}

static int print_all(const struct control *control, json_t *records, json_t *rates)
{
    if (control->json) {
        return control_print_json(control, json_pack("{sOsO}", "invalidations", records, "rates", rates),
                                  JSON_INDENT(2));
    }
    size_t i;
    json_t *item;
    json_array_foreach(records, i, item) print_record(item);
    json_array_foreach(rates, i, item) print_rate(item);
    return 0;
}

int control_invalidations(struct control *control)
{
    uint64_t last = 20;
    if (control->last != NULL && !control_id(control, "--last", control->last, &last))
        return CONTROL_USAGE;
    int code = control_connect(control, CONTROL_CALL_MS);
    if (code != 0)
        return code;
    json_t *records = json_array(), *rates = json_array();
    code = read_pages(control, last, records, rates);
    if (code == 0)
        code = print_all(control, records, rates);
    json_decref(records);
    json_decref(rates);
    return code;
}
