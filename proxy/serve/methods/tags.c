/* tag_add, tag_remove, tag_list, tag_names: tags over the socket. Tags live in Redis, so without Redis there are
 * none. A client that has gone before Redis answers gets no reply. */
#include "proxy/invalidate/tags.h"
#include "proxy/serve/methods/methods.h"

#include <stdlib.h>
#include <string.h>

struct tag_request {
    struct request *request;
    struct tags_call *call;
};

static void cancel(struct request *request)
{
    struct tag_request *state = request->state;
    tags_cancel(state->call);
    free(state);
    request_drop(request);
}

static void reply_changed(struct request *request, const struct tags_result *result)
{
    struct wire_buffer reply = reply_begin(request, 2);
    wire_put_u64(&reply, "changed", result->changed);
    wire_put_u64(&reply, "members", result->members);
    request_reply(request, &reply);
}

static void reply_list(struct request *request, const struct tags_result *result)
{
    size_t count = redis_reply_count(result->texts);
    struct wire_buffer reply = reply_begin(request, 2);
    wire_put_array(&reply, "texts", (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        size_t size = 0;
        const char *text = redis_reply_text(redis_reply_at(result->texts, i), &size);
        wire_strn(&reply, text != NULL ? text : "", size);
    }
    wire_put_str(&reply, "cursor", result->cursor);
    request_reply(request, &reply);
}

static void on_done(void *context, const struct tags_result *result)
{
    struct tag_request *state = context;
    struct request *request = state->request;
    free(state);
    if (result->code < 0)
        request_fail(request, result->code, "%s", result->text);
    else if (result->texts != NULL)
        reply_list(request, result);
    else
        reply_changed(request, result);
}

/* ---- parameters -------------------------------------------------------------------------------------------------- */

/* Begins a tag request; NULL with the request failed. */
static struct tag_request *begin(struct request *request)
{
    struct tag_request *state;
    if (request->parts->redis == NULL) {
        request_fail(request, PERMTAB_E_UNREACHABLE, "tags are kept in Redis, and none is configured");
        return NULL;
    }
    state = calloc(1, sizeof *state);
    if (state == NULL) {
        request_fail(request, PERMTAB_E_MEMORY, "out of memory");
        return NULL;
    }
    state->request = request;
    return state;
}

static struct tags_place place_of(const struct request *request)
{
    return (struct tags_place){.redis = request->parts->redis,
                               .prefix = request->parts->config->redis_prefix,
                               .types = &request_catalogue(request)->types};
}

/* Gives the state to the request, or frees both when the call could not begin. */
static void begun(struct request *request, struct tag_request *state, int code)
{
    if (code == 0) {
        request->state = state;
        request->cancel = cancel;
        return;
    }
    free(state);
    if (code == PERMTAB_E_UNREACHABLE)
        request_fail(request, code, "Redis is away: %s", redis_trouble(request->parts->redis));
    else
        request_fail(request, code, "Redis has too much to do, or memory is short");
}

static bool param_tag(struct request *request, const struct wire_value *params, struct target *out)
{
    char name[TARGET_WORD_SIZE], text[TARGET_TEXT_SIZE];
    if (!param_text(request, params, "tag", name, sizeof name))
        return false;
    int length = snprintf(text, sizeof text, "tag:%s", name);
    if (target_parse(&request_catalogue(request)->types, text, (size_t)length, out) == 0)
        return true;
    return request_fail(request, PERMTAB_E_INVALID, "tag: expected letters, digits, . _ and -");
}

static bool judge_members(struct request *request, const struct target *targets, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!tags_may_hold(targets[i].kind))
            return request_fail(request, PERMTAB_E_INVALID,
                                "a tag holds users, users at a scope, roles and scopes");
    return true;
}

/* `targets`: an array; missing means none. NULL with the request failed. */
static struct target *read_members(struct request *request, const struct wire_value *params, size_t *count)
{
    const struct wire_value *array = wire_get(params, "targets");
    *count = 0;
    if (!wire_is_nil(array) && !wire_as_array(array, count)) {
        request_fail(request, PERMTAB_E_INVALID, "targets: expected a list of texts");
        return NULL;
    }
    if (*count > TAG_CHANGE_MAX) {
        request_fail(request, PERMTAB_E_LIMIT, "%zu targets; at most %u at once", *count, TAG_CHANGE_MAX);
        return NULL;
    }
    struct target *targets = calloc(*count + 1, sizeof *targets);
    if (targets == NULL) {
        request_fail(request, PERMTAB_E_MEMORY, "out of memory");
        return NULL;
    }
    if (param_targets(request, array, targets, *count) && judge_members(request, targets, *count))
        return targets;
    free(targets);
    return NULL;
}

/* ---- the methods ------------------------------------------------------------------------------------------------- */

static void change(struct request *request, const struct wire_value *params, bool adds)
{
    struct target tag, *targets;
    size_t count;
    if (!param_tag(request, params, &tag) || (targets = read_members(request, params, &count)) == NULL)
        return;
    /* An empty list of targets does not remove the whole tag: a program may have made it by mistake. */
    if (count == 0 && (adds || !wire_is_nil(wire_get(params, "targets")))) {
        free(targets);
        request_fail(request, PERMTAB_E_INVALID, "targets: expected at least one");
        return;
    }
    struct tag_request *state = begin(request);
    if (state != NULL) {
        struct tags_place place = place_of(request);
        begun(
            request, state,
            (adds ? tags_add : tags_remove)(&state->call, &place, tag.word, targets, count, on_done, state));
    }
    free(targets);
}

void serve_tag_add(struct request *request, const struct wire_value *params)
{
    change(request, params, true);
}

void serve_tag_remove(struct request *request, const struct wire_value *params)
{
    change(request, params, false);
}

static void list(struct request *request, const struct wire_value *params, const char *name)
{
    char cursor[TAG_CURSOR_SIZE] = "0";
    uint64_t number;
    if (!wire_is_nil(wire_get(params, "cursor")) &&
        !param_text(request, params, "cursor", cursor, sizeof cursor))
        return;
    if (!id_parse(cursor, &number)) {
        request_fail(request, PERMTAB_E_INVALID, "cursor: expected one that was returned before");
        return;
    }
    struct tag_request *state = begin(request);
    if (state != NULL) {
        struct tags_place place = place_of(request);
        begun(request, state, tags_list(&state->call, &place, name, cursor, on_done, state));
    }
}

void serve_tag_list(struct request *request, const struct wire_value *params)
{
    struct target tag;
    if (param_tag(request, params, &tag))
        list(request, params, tag.word);
}

void serve_tag_names(struct request *request, const struct wire_value *params)
{
    list(request, params, NULL);
}
