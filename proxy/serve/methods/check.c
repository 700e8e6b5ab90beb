/* check and permissions: questions that one permission set answers. */
#include "proxy/rights/resolve.h"
#include "proxy/serve/methods/methods.h"
#include "proxy/table/fill.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct check {
    struct ask ask;
    struct request *request;
    bool whole; /* permissions: the whole set, or a page of it */
    bool paged;
    uint64_t from;
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

static void reply_decision(struct request *request, const struct check *check, const struct answer *answer)
{
    const uint64_t *bits = check->own ? answer->own : answer->any;
    struct wire_buffer reply = reply_begin(request, 3);
    wire_put_i64(&reply, "decision",
                 check->bit / 64 < answer->words && bitmap_test(bits, check->bit) ? 1 : 0);
    wire_put_u64(&reply, "revision", answer->revision);
    wire_put_u64(&reply, "deadline", answer->deadline_ns);
    request_reply(request, &reply);
}

static bool is_granted(const struct answer *answer, const uint64_t *bits, const struct permission *permission)
{
    return !permission->deleted && permission->bit / 64 < answer->words && bitmap_test(bits, permission->bit);
}

/* The permission at a place in the order of names; in the order of bits when memory was too short for the
 * catalogue's index. */
static const struct permission *permission_at(const struct catalogue *catalogue, size_t place)
{
    return &catalogue->permissions[catalogue->by_name ? catalogue->by_name[place] : place];
}

/* The first place whose names do not go into so many bytes with those from `first` on. */
static size_t page_end(const struct catalogue *catalogue, const struct answer *answer, size_t first,
                       size_t bytes)
{
    size_t used = 0, end = first;
    for (; end < catalogue->count; end++) {
        const struct permission *permission = permission_at(catalogue, end);
        size_t times =
            is_granted(answer, answer->any, permission) + is_granted(answer, answer->own, permission);
        used += times * (strlen(permission->name) + 2);
        if (used > bytes && end > first)
            break;
    }
    return end;
}

static void pack_names(struct wire_buffer *reply, const struct catalogue *catalogue,
                       const struct answer *answer, const uint64_t *bits, size_t first, size_t end)
{
    uint32_t count = 0;
    for (size_t i = first; i < end; i++)
        count += is_granted(answer, bits, permission_at(catalogue, i));
    wire_array(reply, count);
    for (size_t i = first; i < end; i++) {
        const struct permission *permission = permission_at(catalogue, i);
        if (is_granted(answer, bits, permission))
            wire_str(reply, permission->name);
    }
}

/* The pages of equal answers at one catalogue go together, whatever else changes meanwhile; so constant writes to
 * the store keep no client from reaching the last page. */
static void pack_place(struct wire_buffer *reply, struct request *request, const struct answer *answer,
                       size_t end)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%016" PRIx64, answer_mark(request->parts->publisher, answer));
    wire_put_str(reply, "answer", text);
    reply_next(reply, end, request_catalogue(request)->count);
}

static void reply_permissions(struct request *request, const struct check *check, const struct answer *answer)
{
    const struct catalogue *catalogue = request_catalogue(request);
    char scope[SCOPE_TEXT_SIZE];
    size_t first = check->from < catalogue->count ? (size_t)check->from : catalogue->count;
    size_t end = page_end(catalogue, answer, first, check->paged ? REPLY_PAGE_BYTES : REPLY_WHOLE_BYTES);
    if (!check->paged && end < catalogue->count) {
        request_fail(request, PERMTAB_E_LIMIT, REPLY_TOO_LARGE);
        return;
    }
    struct wire_buffer reply = reply_begin(request, check->paged ? 8 : 6);
    wire_put_u64(&reply, "user", check->ask.question.user);
    wire_put_str(&reply, "scope", scope_format(&catalogue->types, check->ask.question.scope, scope));
    wire_put_u64(&reply, "revision", answer->revision);
    wire_put_u64(&reply, "deadline", answer->deadline_ns);
    wire_str(&reply, "any");
    pack_names(&reply, catalogue, answer, answer->any, first, end);
    wire_str(&reply, "own");
    pack_names(&reply, catalogue, answer, answer->own, first, end);
    if (check->paged)
        pack_place(&reply, request, answer, end);
    request_reply(request, &reply);
}

/* The reply when nobody can vouch for the table: no decision, at once, and the reason. */
static void reply_unknown(struct request *request, const char *trouble)
{
    struct wire_buffer reply = reply_begin(request, 4);
    wire_put_i64(&reply, "decision", -1);
    wire_put_u64(&reply, "revision", publisher_position(request->parts->publisher).revision);
    wire_put_u64(&reply, "deadline", 0);
    wire_put_str(&reply, "trouble", trouble);
    request_reply(request, &reply);
}

static void check_done(struct ask *ask, int code, const char *text, const struct answer *answer)
{
    struct check *check = ask->context;
    struct request *request = check->request;
    request->cancel = NULL;
    if (code < 0 && (code != PERMTAB_E_STALE || check->whole))
        request_fail(request, code, "%s", text && text[0] ? text : "the lease has ended");
    else if (check->whole)
        reply_permissions(request, check, answer);
    else if (code < 0)
        reply_unknown(request, text);
    else
        reply_decision(request, check, answer);
    free(check);
}

/* ---- requests -------------------------------------------------------------------------------------------------- */

static void begin(struct request *request, const struct check *from)
{
    struct check *check = malloc(sizeof *check);
    if (!check) {
        request_fail(request, PERMTAB_E_MEMORY, "out of memory");
        return;
    }
    *check = *from;
    check->request = request;
    check->ask.question.meaning = publisher_names_version(request->parts->publisher);
    check->ask.done = check_done;
    check->ask.context = check;
    request->state = check;
    request->cancel = check_cancel;
    ask_start(request->parts->answering, &request->session->flow, &check->ask);
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
        param_optional_token(request, params, question)) {
        check.own = owned && owner == question->user;
        begin(request, &check);
    }
}

void serve_permissions(struct request *request, const struct wire_value *params)
{
    struct check check = {.whole = true};
    struct question *question = &check.ask.question;
    if (param_id(request, params, "user", &question->user) &&
        param_scope(request, params, "scope", &question->scope) &&
        param_optional_id(request, params, "from", &check.paged, &check.from) &&
        param_optional_token(request, params, question))
        begin(request, &check);
}
