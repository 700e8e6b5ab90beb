/* check_many: up to 10,000 checks in one request, each true by itself.
 *
 * The list is worked through in slices of a turn of the loop, and only a few of its misses wait at a time: a batch
 * takes its turns among other clients like single checks do. A query that cannot be answered is unknown (-1) and
 * does not spoil the others; the first reason comes with the reply. A query that makes no sense fails the whole
 * request before any query is looked up. */
#include "proxy/base/timer.h"
#include "proxy/rights/resolve.h"
#include "proxy/serve/methods/methods.h"
#include "proxy/serve/parked.h"

#include <event2/event.h>
#include <stdlib.h>

#define QUERIES_MAX  10000
#define LOOKS_A_TURN 256
#define WAITING_MAX  128
#define UNKNOWN      (-1)

struct query {
    uint64_t user;
    struct scope_key scope;
    uint32_t bit;
    bool own;
};

struct many;

struct many_slot {
    struct ask ask; /* its context is the slot */
    struct many *many;
    size_t index; /* of the query that it asks */
    bool used;
};

struct many {
    struct request *request;
    struct event *turn;
    struct query *queries;
    int8_t *decisions;
    size_t count;
    size_t next; /* the first query not asked yet */
    unsigned waiting;
    bool turning;     /* inside on_turn */
    uint64_t meaning; /* of the queries' numbers */
    struct many_slot slots[WAITING_MAX];
    uint64_t revision;    /* the lowest of all answers */
    uint64_t deadline_ns; /* the earliest */
    bool troubled;
    struct failure trouble; /* the first */
};

static void many_free(struct many *many)
{
    if (many->turn)
        event_free(many->turn);
    free(many->queries);
    free(many->decisions);
    free(many);
}

/* To be called before the request ends, because that checks whether its session may be read from again. */
static void uncount(struct many *many)
{
    many->request->session->query_count -= many->count;
}

static void many_cancel(struct request *request)
{
    struct many *many = request->state;
    uncount(many);
    for (unsigned i = 0; i < WAITING_MAX; i++) {
        if (many->slots[i].used)
            ask_cancel(&many->slots[i].ask);
    }
    request_drop(request);
    many_free(many);
}

/* ---- reading the queries ----------------------------------------------------------------------------------------- */

/* Reads [user, scope, permission, owner or nil]. NULL, or the sentence of what is wrong; *code is the error, *hint
 * says how to send it. */
static const char *read_query(const struct catalogue *catalogue, const struct wire_value *item,
                              struct query *out, int *code, const char **hint)
{
    char scope[SCOPE_TEXT_SIZE], permission[PERMISSION_TEXT_SIZE];
    size_t count;
    uint64_t owner;
    const struct permission *found;
    *code = PERMTAB_E_INVALID;
    *hint = "";
    if (!wire_as_array(item, &count) || count < 3 || count > 4)
        return "expected [user, scope, permission, owner]";
    if (!wire_as_id(wire_item(item, 0), &out->user)) {
        *hint = wire_number_hint(wire_item(item, 0));
        return "the user is no id";
    }
    if (!wire_as_text(wire_item(item, 1), scope, sizeof scope))
        return "the scope is no text";
    *code = scope_parse(&catalogue->types, scope, &out->scope);
    if (*code < 0)
        return *code == PERMTAB_E_NO_SCOPE_TYPE ? "there is no such scope type"
                                                : "the scope is neither global nor type:id";
    *code = PERMTAB_E_INVALID;
    if (!wire_as_text(wire_item(item, 2), permission, sizeof permission))
        return "the permission is no text";
    *code = PERMTAB_E_NO_PERMISSION;
    if (!(found = catalogue_find(catalogue, permission)) || found->deleted)
        return "there is no such permission";
    out->bit = found->bit;
    *code = PERMTAB_E_INVALID;
    if (count == 4 && !wire_is_nil(wire_item(item, 3))) {
        if (!wire_as_id(wire_item(item, 3), &owner)) {
            *hint = wire_number_hint(wire_item(item, 3));
            return "the owner is no id";
        }
        out->own = owner == out->user;
    }
    *code = 0;
    return NULL;
}

static bool read_queries(struct many *many, const struct wire_value *list)
{
    struct request *request = many->request;
    const struct catalogue *catalogue = request_catalogue(request);
    for (size_t i = 0; i < many->count; i++) {
        int code;
        const char *hint;
        const char *wrong = read_query(catalogue, wire_item(list, i), &many->queries[i], &code, &hint);
        if (wrong) {
            bool unknown = code == PERMTAB_E_NO_PERMISSION || code == PERMTAB_E_NO_SCOPE_TYPE;
            if (unknown && parked_wait(request))
                return false;
            return request_fail(request, code, "queries[%zu]: %s%s", i, wrong, hint);
        }
    }
    return true;
}

/* ---- working ----------------------------------------------------------------------------------------------------- */

static void many_reply(struct many *many)
{
    struct request *request = many->request;
    bool answered = many->deadline_ns != UINT64_MAX;
    struct wire_buffer reply = reply_begin(request, many->troubled ? 5 : 3);
    wire_put_array(&reply, "decisions", (uint32_t)many->count);
    for (size_t i = 0; i < many->count; i++)
        wire_i64(&reply, many->decisions[i]);
    wire_put_u64(&reply, "revision",
                 answered ? many->revision : publisher_position(request->parts->publisher).revision);
    wire_put_u64(&reply, "deadline", answered ? many->deadline_ns : 0);
    if (many->troubled) {
        wire_put_i64(&reply, "code", many->trouble.code);
        wire_put_str(&reply, "trouble", many->trouble.text);
    }
    request->cancel = NULL;
    uncount(many);
    request_reply(request, &reply);
    many_free(many);
}

static void note_answer(struct many *many, size_t index, const struct answer *answer)
{
    const struct query *query = &many->queries[index];
    const uint64_t *bits = query->own ? answer->own : answer->any;
    many->decisions[index] = query->bit / 64 < answer->words && bitmap_test(bits, query->bit);
    if (answer->revision < many->revision)
        many->revision = answer->revision;
    if (answer->deadline_ns < many->deadline_ns)
        many->deadline_ns = answer->deadline_ns;
}

static void slot_done(struct ask *ask, int code, const char *text, const struct answer *answer)
{
    struct many_slot *slot = ask->context;
    struct many *many = slot->many;
    slot->used = false;
    many->waiting--;
    if (code == 0) {
        note_answer(many, slot->index, answer);
    } else {
        many->decisions[slot->index] = UNKNOWN;
        if (!many->troubled)
            (void)failure_set(&many->trouble, code, "%s", text && text[0] ? text : "the lease has ended");
        many->troubled = true;
    }
    /* The next slice is in another turn of the loop: an event that makes itself active would keep the loop from
     * every other session. */
    if (!many->turning)
        (void)timer_at_once(many->turn);
}

static struct many_slot *free_slot(struct many *many)
{
    for (unsigned i = 0; i < WAITING_MAX; i++) {
        if (!many->slots[i].used)
            return &many->slots[i];
    }
    return NULL;
}

static void ask_next(struct many *many, struct many_slot *slot)
{
    const struct query *query = &many->queries[many->next];
    slot->index = many->next++;
    slot->used = true;
    many->waiting++;
    slot->ask.question.user = query->user;
    slot->ask.question.scope = query->scope;
    slot->ask.question.meaning = many->meaning;
    slot->ask.more_follow = many->next < many->count;
    ask_start(many->request->parts->answering, &many->request->session->flow, &slot->ask);
}

static void on_turn(evutil_socket_t descriptor, short what, void *context)
{
    struct many *many = context;
    struct many_slot *slot;
    (void)descriptor, (void)what;
    many->turning = true;
    for (unsigned i = 0; i < LOOKS_A_TURN && many->next < many->count && (slot = free_slot(many)); i++)
        ask_next(many, slot);
    many->turning = false;
    if (many->next == many->count && many->waiting == 0) {
        many_reply(many);
    } else if (many->next < many->count && free_slot(many)) {
        (void)timer_at_once(many->turn);
    }
}

static struct many *many_new(struct request *request, size_t count)
{
    struct many *many = calloc(1, sizeof *many);
    if (!many)
        return NULL;
    many->request = request;
    many->meaning = publisher_names_version(request->parts->publisher);
    many->count = count;
    many->revision = many->deadline_ns = UINT64_MAX;
    many->queries = calloc(count + 1, sizeof *many->queries);
    many->decisions = calloc(count + 1, sizeof *many->decisions);
    many->turn = evtimer_new(request->parts->base, on_turn, many);
    if (!many->queries || !many->decisions || !many->turn) {
        many_free(many);
        return NULL;
    }
    for (unsigned i = 0; i < WAITING_MAX; i++) {
        many->slots[i].many = many;
        many->slots[i].ask.done = slot_done;
        many->slots[i].ask.context = &many->slots[i];
    }
    return many;
}

void serve_check_many(struct request *request, const struct wire_value *params)
{
    const struct wire_value *list = wire_get(params, "queries");
    size_t count;
    if (!wire_as_array(list, &count)) {
        request_fail(request, PERMTAB_E_INVALID, "queries: expected an array");
        return;
    }
    if (count > QUERIES_MAX) {
        request_fail(request, PERMTAB_E_LIMIT, "queries: %zu are more than %d", count, QUERIES_MAX);
        return;
    }
    struct many *many = many_new(request, count);
    if (!many) {
        request_fail(request, PERMTAB_E_MEMORY, "out of memory");
        return;
    }
    if (!read_queries(many, list)) {
        many_free(many);
        return;
    }
    request->session->query_count += count;
    request->state = many;
    request->cancel = many_cancel;
    on_turn(-1, EV_TIMEOUT, many);
}
