/* permtabctl tag add|remove|list|names: named sets of targets. Long lists go in parts, so a failure in the middle
 * leaves the earlier parts done; doing it all again does no harm. */
#include "client/ctl/permtabctl.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PART 1000u

/* ---- add, remove ------------------------------------------------------------------------------------------------- */

static int change_part(struct control *control, const char *method, const char *name,
                       const struct control_targets *targets, size_t first, size_t count, uint64_t *changed,
                       uint64_t *members)
{
    struct wire_message reply;
    struct wire_buffer *out = channel_request(&control->channel, method, count > 0 ? 2 : 1);
    wire_put_str(out, "tag", name);
    if (count > 0)
        control_targets_pack(out, targets, first, count);
    int code = control_call(control, -1, CONTROL_CALL_MS, &reply);
    if (code != 0)
        return code;
    *changed += control_u64(reply.result, "changed");
    *members = control_u64(reply.result, "members");
    wire_message_fini(&reply);
    return 0;
}

static int change(struct control *control, const char *method, const char *word)
{
    struct control_targets targets;
    const char *name = control->arguments[1];
    uint64_t changed = 0, members = 0;
    size_t first = 0;
    int code = control_targets_take(control, 2, &targets);
    if (code != 0)
        return code;
    if (targets.count == 0 && (control->count > 2 || strcmp(method, "tag_add") == 0))
        return control_fail(control, CONTROL_USAGE, "no targets");
    if ((code = control_connect(control, CONTROL_CALL_MS)) == 0) {
        do {
            size_t count = targets.count - first < PART ? targets.count - first : PART;
            code = change_part(control, method, name, &targets, first, count, &changed, &members);
            first += count;
        } while (code == 0 && first < targets.count);
    }
    control_targets_fini(&targets);
    if (code == 0)
        control_say("%" PRIu64 " %s, %" PRIu64 " in tag:%s\n", changed, word, members, name);
    return code;
}

/* ---- list, names ------------------------------------------------------------------------------------------------- */

struct lines {
    char **items;
    size_t count, capacity;
};

static bool keep(struct lines *lines, const char *text, size_t size)
{
    if (lines->count == lines->capacity) {
        size_t capacity = lines->capacity != 0 ? 2 * lines->capacity : 256;
        char **items = realloc(lines->items, capacity * sizeof(*items));
        if (items == NULL)
            return false;
        lines->items = items;
        lines->capacity = capacity;
    }
    lines->items[lines->count] = strndup(text, size);
    return lines->items[lines->count] != NULL && ++lines->count > 0;
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Prints the lines sorted and without duplicates. */
static void print(struct lines *lines)
{
    if (lines->count > 0)
        qsort(lines->items, lines->count, sizeof(*lines->items), compare);
    for (size_t i = 0; i < lines->count; i++)
        if (i == 0 || strcmp(lines->items[i], lines->items[i - 1]) != 0)
            control_say("%s\n", lines->items[i]);
}

static bool keep_all(struct lines *lines, const struct wire_value *array)
{
    size_t count = 0, size;
    const char *text;
    (void)wire_as_array(array, &count);
    for (size_t i = 0; i < count; i++)
        if (wire_as_str(wire_item(array, i), &text, &size) && !keep(lines, text, size))
            return false;
    return true;
}

/* Pages until the cursor is back at its beginning. `name` NULL: the names. */
static int read_pages(struct control *control, const char *name, struct lines *lines)
{
    char cursor[24] = "0";
    do {
        struct wire_message reply;
        struct wire_buffer *out =
            channel_request(&control->channel, name != NULL ? "tag_list" : "tag_names", name != NULL ? 2 : 1);
        if (name != NULL)
            wire_put_str(out, "tag", name);
        wire_put_str(out, "cursor", cursor);
        int code = control_call(control, -1, CONTROL_CALL_MS, &reply);
        if (code != 0)
            return code;
        bool well = keep_all(lines, wire_get(reply.result, "texts")) &&
                    wire_as_text(wire_get(reply.result, "cursor"), cursor, sizeof(cursor));
        wire_message_fini(&reply);
        if (!well)
            return control_fail(control, CONTROL_FAILED, "the answer cannot be kept or read");
    } while (strcmp(cursor, "0") != 0);
    return 0;
}

static int list(struct control *control, const char *name)
{
    struct lines lines = {0};
    int code = control_connect(control, CONTROL_CALL_MS);
    if (code == 0)
        code = read_pages(control, name, &lines);
    if (code == 0)
        print(&lines);
    for (size_t i = 0; i < lines.count; i++)
        free(lines.items[i]);
    free(lines.items);
    return code;
}

int control_tag(struct control *control)
{
    const char *verb = control->arguments[0];
    if (strcmp(verb, "names") == 0 && control->count == 1)
        return list(control, NULL);
    if (strcmp(verb, "list") == 0 && control->count == 2)
        return list(control, control->arguments[1]);
    if (strcmp(verb, "add") == 0 && control->count >= 3)
        return change(control, "tag_add", "added");
    if (strcmp(verb, "remove") == 0 && control->count >= 2)
        return change(control, "tag_remove", "removed");
    return control_fail(control, CONTROL_USAGE,
                        "expected add NAME TARGET…, remove NAME [TARGET…], list NAME or names");
}
