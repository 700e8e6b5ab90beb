/* permtabctl permissions: all that a user may do at a place. The answer comes in pages, because the names of a
 * large catalogue do not fit into a message. The pages of one answer go together; when the answer changes in
 * between, all pages are asked for again. */
#include "client/ctl/permtabctl.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#define ANSWER_SIZE 32
#define ROUNDS_MAX  100u /* how often an answer may change while it is read */

struct permissions {
    json_t *any, *own; /* names, sorted */
    char answer[ANSWER_SIZE];
    uint64_t revision, next;
    bool last;
};

static void append_names(json_t *array, const struct wire_value *list)
{
    size_t count = 0;
    (void)wire_as_array(list, &count);
    for (size_t i = 0; i < count; i++) {
        const char *text;
        size_t size;
        if (wire_as_str(wire_item(list, i), &text, &size))
            (void)json_array_append_new(array, json_stringn(text, size));
    }
}

/* An older sidecar sends all names in one page without page keys. */
static void take_page(struct permissions *permissions, const struct wire_value *page)
{
    char answer[ANSWER_SIZE] = "";
    (void)wire_as_text(wire_get(page, "answer"), answer, sizeof(answer));
    if (permissions->next > 0 && strcmp(answer, permissions->answer) != 0) {
        (void)json_array_clear(permissions->any);
        (void)json_array_clear(permissions->own);
        permissions->next = 0;
        return;
    }
    memcpy(permissions->answer, answer, sizeof(answer));
    append_names(permissions->any, wire_get(page, "any"));
    append_names(permissions->own, wire_get(page, "own"));
    permissions->revision = control_u64(page, "revision");
    uint64_t next = control_u64(page, "next");
    permissions->last = next <= permissions->next;
    permissions->next = next;
}

static int read_page(struct control *control, uint64_t user, struct permissions *permissions)
{
    struct wire_message reply;
    struct wire_buffer *out = channel_request(&control->channel, "permissions", 3);
    wire_put_u64(out, "user", user);
    wire_put_str(out, "scope", control->arguments[1]);
    wire_put_u64(out, "from", permissions->next);
    int code = control_call(control, -1, CONTROL_CALL_MS, &reply);
    if (code != 0)
        return code;
    take_page(permissions, reply.result);
    wire_message_fini(&reply);
    return 0;
}

static int read_pages(struct control *control, uint64_t user, struct permissions *permissions)
{
    int code = 0;
    for (unsigned rounds = 0; code == 0 && !permissions->last;) {
        code = read_page(control, user, permissions);
        rounds += code == 0 && permissions->next == 0 && !permissions->last;
        if (rounds > ROUNDS_MAX)
            return control_fail(control, CONTROL_FAILED, "the answer keeps changing while it is read");
    }
    return code;
}

/* JSON's integers are signed 64-bit numbers to jansson: larger ids are written as decimal strings, which is what policy
 * documents allow too. */
static json_t *id_to_json(uint64_t id)
{
    char text[24];
    if (id <= INT64_MAX)
        return json_integer((json_int_t)id);
    (void)snprintf(text, sizeof(text), "%" PRIu64, id);
    return json_string(text);
}

static int print_json(const struct control *control, const struct permissions *permissions, uint64_t user)
{
    json_t *object = json_object();
    (void)json_object_set_new(object, "user", id_to_json(user));
    (void)json_object_set_new(object, "scope", json_string(control->arguments[1]));
    (void)json_object_set_new(object, "revision", id_to_json(permissions->revision));
    (void)json_object_set(object, "any", permissions->any);
    (void)json_object_set(object, "own", permissions->own);
    return control_print_json(control, object, 0);
}

static const char *name_at(const json_t *names, size_t index)
{
    return json_string_value(json_array_get(names, index)); /* NULL behind the last one */
}

/* Both lists are sorted, so one walk over them finds the names that are in `own` alone. */
static void print_lines(const struct permissions *permissions)
{
    const char *any, *own;
    for (size_t i = 0; (any = name_at(permissions->any, i)) != NULL; i++)
        control_say("%s\n", any);
    for (size_t i = 0, at = 0; (own = name_at(permissions->own, i)) != NULL; i++) {
        while ((any = name_at(permissions->any, at)) != NULL && strcmp(any, own) < 0)
            at++;
        if (any == NULL || strcmp(any, own) != 0)
            control_say("%s (own)\n", own);
    }
}

int control_permissions(struct control *control)
{
    uint64_t user, owner;
    if (!control_question(control, &user, &owner))
        return CONTROL_USAGE;
    struct permissions permissions = {.any = json_array(), .own = json_array()};
    int code = control_connect(control, CONTROL_CALL_MS);
    if (code == 0)
        code = read_pages(control, user, &permissions);
    if (code == 0 && control->json)
        code = print_json(control, &permissions, user);
    else if (code == 0)
        print_lines(&permissions);
    json_decref(permissions.any);
    json_decref(permissions.own);
    return code;
}
