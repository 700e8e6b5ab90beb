/* check and permissions: questions that one permission set answers. */
#include "proxy/request.h"
#include "proxy/resolve.h"

#include <stdlib.h>
#include <string.h>

struct check {
    struct ask ask;
    struct request *request;
    bool whole; /* permissions: the whole set */
    uint32_t bit;
    bool own; /* the user owns the resource */
};

static void check_cancel(struct request *request)
{
    struct check *check = request->state;
    ask_cancel(&check->ask);
    request_drop(request);
    free(check);
}

/* ---- replies --------------------------------------------------------------------------------------------------- */

static void pack_decision(struct wire_buffer *reply, uint32_t id, const struct check *check,
                          const struct answer *answer)
{
    const uint64_t *bits = check->own ? answer->own : answer->any;
    wire_reply(reply, id, 3);
    wire_str(reply, "decision");
    wire_i64(reply, check->bit / 64 < answer->words && bitmap_test(bits, check->bit) ? 1 : 0);
    wire_str(reply, "revision");
    wire_u64(reply, answer->revision);
    wire_str(reply, "deadline");
    wire_u64(reply, answer->deadline_ns);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void pack_names(struct wire_buffer *reply, const struct catalogue *catalogue, const uint64_t *bits,
                       uint32_t words, const char **names)
{
    uint32_t count = 0;
    for (size_t i = 0; i < catalogue->count; i++) {
        const struct permission *permission = &catalogue->permissions[i];
        if (!permission->deleted && permission->bit / 64 < words && bitmap_test(bits, permission->bit))
            names[count++] = permission->name;
    }
    qsort(names, count, sizeof *names, compare_names);
    wire_array(reply, count);
    for (uint32_t i = 0; i < count; i++)
        wire_str(reply, names[i]);
}

static void pack_permissions(struct wire_buffer *reply, struct request *request, const struct check *check,
                             const struct answer *answer)
{
    const struct catalogue *catalogue = publish_catalogue(request->server->publish);
    char scope[SCOPE_TEXT_SIZE];
    const char **names = calloc(catalogue->count + 1, sizeof *names);
    if (!names) {
        reply->failed = true;
        return;
    }
    wire_reply(reply, request->id, 6);
    wire_str(reply, "user");
    wire_u64(reply, check->ask.question.user);
    wire_str(reply, "scope");
    wire_str(reply, scope_format(&catalogue->types, check->ask.question.scope, scope));
    wire_str(reply, "revision");
    wire_u64(reply, answer->revision);
    wire_str(reply, "deadline");
    wire_u64(reply, answer->deadline_ns);
    wire_str(reply, "any");
    pack_names(reply, catalogue, answer->any, answer->words, names);
    wire_str(reply, "own");
    pack_names(reply, catalogue, answer->own, answer->words, names);
    free(names);
}

/* Nobody can vouch for the table: no decision, at once, and the reason. */
static void pack_unknown(struct wire_buffer *reply, struct request *request, const char *trouble)
{
    wire_reply(reply, request->id, 4);
    wire_str(reply, "decision");
    wire_i64(reply, -1);
    wire_str(reply, "revision");
    wire_u64(reply, publish_position(request->server->publish).revision);
    wire_str(reply, "deadline");
    wire_u64(reply, 0);
    wire_str(reply, "trouble");
    wire_str(reply, trouble);
}

static void check_done(struct ask *ask, int code, const char *text, const struct answer *answer)
{
    struct check *check = ask->context;
    struct request *request = check->request;
    struct wire_buffer reply;
    request->cancel = NULL;
    if (code < 0 && (code != PERMTAB_E_STALE || check->whole)) {
        request_fail(request, code, "%s: %s", request->method->name,
                     text && text[0] ? text : "the lease has ended");
    } else {
        wire_buffer_init(&reply);
        if (code < 0)
            pack_unknown(&reply, request, text);
        else if (check->whole)
            pack_permissions(&reply, request, check, answer);
        else
            pack_decision(&reply, request->id, check, answer);
        request_reply(request, &reply);
    }
    free(check);
}

/* ---- requests -------------------------------------------------------------------------------------------------- */

static bool read_token(struct request *request, const struct wire_value *params, struct question *question)
{
    const struct wire_value *token = wire_get(params, "token");
    if (wire_is_nil(token))
        return true;
    question->has_token = true;
    return param_id(request, token, "store_id", &question->token_store) &&
           param_id(request, token, "revision", &question->token_revision);
}

static void begin(struct request *request, const struct check *from)
{
    struct check *check = malloc(sizeof *check);
    if (!check) {
        request_fail(request, PERMTAB_E_MEMORY, "%s: out of memory", request->method->name);
        return;
    }
    *check = *from;
    check->request = request;
    check->ask.question.meaning = publish_meaning(request->server->publish);
    check->ask.done = check_done;
    check->ask.context = check;
    request->state = check;
    request->cancel = check_cancel;
    ask_start(request->server->asks, &request->session->flow, &check->ask);
}

void serve_check(struct request *request, const struct wire_value *params)
{
    struct check check = {.whole = false};
    struct question *question = &check.ask.question;
    uint64_t owner;
    bool owned;
    if (param_id(request, params, "user", &question->user) &&
        param_scope(request, params, "scope", &question->scope) &&
        param_permission(request, params, "permission", &check.bit) &&
        param_optional_id(request, params, "owner", &owned, &owner) &&
        read_token(request, params, question)) {
        check.own = owned && owner == question->user;
        begin(request, &check);
    }
}

void serve_permissions(struct request *request, const struct wire_value *params)
{
    struct check check = {.whole = true};
    struct question *question = &check.ask.question;
    if (param_id(request, params, "user", &question->user) &&
        param_scope(request, params, "scope", &question->scope) && read_token(request, params, question))
        begin(request, &check);
}
