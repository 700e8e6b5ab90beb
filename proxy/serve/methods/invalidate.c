/* invalidate and invalidations. The reply is given when all parts are done; the invalidation of a client that has
 * gone by then is carried out all the same. */
#include "proxy/base/clock.h"
#include "proxy/invalidate/history.h"
#include "proxy/serve/methods/methods.h"
#include "proxy/serve/parked.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_DEFAULT 100u
#define PAGE_MAX     500u /* well below a message */

/* An invalidation whose client waits; it outlives its request when the session goes. */
struct waiting {
    struct request *request; /* NULL then */
};

static void cancel(struct request *request)
{
    struct waiting *waiting = request->state;
    waiting->request = NULL;
    request_drop(request);
}

#define RESULT_FIELDS 7

static void pack_result(struct wire_buffer *out, const struct invalidation_result *result)
{
    wire_put_u64(out, "entries", result->entries);
    wire_put_u64(out, "keys", result->keys);
    wire_put_u64(out, "retries", result->retries);
    wire_put_u64(out, "singles", result->singles);
    wire_put_u64(out, "failed", result->failed);
    wire_put_bool(out, "published", result->published);
    wire_put_u64(out, "took_us", result->took_us);
}

static void on_done(void *context, int code, const char *text, const struct invalidation_result *result)
{
    struct waiting *waiting = context;
    struct request *request = waiting->request;
    free(waiting);
    if (request == NULL)
        return;
    struct wire_buffer reply = reply_begin(request, RESULT_FIELDS + (code != 0 ? 2 : 0));
    pack_result(&reply, result);
    if (code != 0) {
        wire_put_i64(&reply, "code", code);
        wire_put_str(&reply, "trouble", text);
    }
    request_reply(request, &reply);
}

/* ---- parameters -------------------------------------------------------------------------------------------------- */

/* The targets of `what` (an array of one) or `targets`; NULL with the request failed. */
static struct target *read_targets(struct request *request, const struct wire_value *params, size_t *count)
{
    const struct wire_value *what = wire_get(params, "what"), *array = wire_get(params, "targets");
    bool one = !wire_is_nil(what);
    *count = 1;
    if (one != wire_is_nil(array) || (!one && !wire_as_array(array, count)) || *count == 0) {
        request_fail(request, PERMTAB_E_INVALID, "expected what, a text, or targets, a list of texts");
        return NULL;
    }
    if (*count > INVALIDATION_TARGETS_MAX) {
        request_fail(request, PERMTAB_E_LIMIT, "%zu targets; at most %u at once", *count,
                     INVALIDATION_TARGETS_MAX);
        return NULL;
    }
    struct target *targets = calloc(*count, sizeof *targets);
    if (targets == NULL) {
        request_fail(request, PERMTAB_E_MEMORY, "out of memory");
        return NULL;
    }
    if (one ? param_target(request, what, targets) : param_targets(request, array, targets, *count))
        return targets;
    free(targets);
    return NULL;
}

static bool read_rest(struct request *request, const struct wire_value *params, uint64_t *batch, char *reason)
{
    bool present = false;
    *batch = INVALIDATION_BATCH_DEFAULT;
    if (!param_optional_id(request, params, "batch", &present, batch))
        return false;
    if (*batch == 0 || *batch > INVALIDATION_BATCH_MAX)
        return request_fail(request, PERMTAB_E_LIMIT, "batch: expected 1 to %u keys", INVALIDATION_BATCH_MAX);
    reason[0] = '\0';
    return wire_is_nil(wire_get(params, "reason")) ||
           param_text(request, params, "reason", reason, INVALIDATION_REASON_SIZE);
}

/* ---- invalidate -------------------------------------------------------------------------------------------------- */

static void fail_start(struct request *request, int code)
{
    switch (code) {
    case PERMTAB_E_LIMIT:
        request_fail(request, code, "at most %u prefixes and patterns and %u tags at once",
                     INVALIDATION_GLOBS_MAX, INVALIDATION_TAGS_MAX);
        return;
    case PERMTAB_E_UNREACHABLE:
        request_fail(request, code, "tags are kept in Redis, and none is configured");
        return;
    case PERMTAB_E_FULL:
        request_fail(request, code, "too many are under way");
        return;
    default:
        request_fail(request, code, "it cannot be begun");
        return;
    }
}

/* Makes the next checks read the store again. Never needed for truth, which the feed keeps. */
void serve_invalidate(struct request *request, const struct wire_value *params)
{
    char reason[INVALIDATION_REASON_SIZE];
    uint64_t batch;
    struct invalidation what = {.reason = reason, .source = INVALIDATION_CLIENT};
    if (!read_rest(request, params, &batch, reason))
        return;
    struct target *targets = read_targets(request, params, &what.count);
    if (targets == NULL)
        return;
    what.targets = targets;
    what.batch = (size_t)batch;
    struct waiting *waiting = malloc(sizeof *waiting);
    int code = PERMTAB_E_MEMORY;
    if (waiting != NULL) {
        waiting->request = request;
        request->state = waiting;
        request->cancel = cancel;
        code = invalidation_start(request->parts->invalidations, &what, on_done, waiting);
    }
    free(targets);
    if (code < 0) {
        free(waiting);
        fail_start(request, code);
    }
}

/* ---- invalidations ----------------------------------------------------------------------------------------------- */

static void pack_record(struct wire_buffer *out, const struct invalidation_record *record)
{
    wire_map(out, RESULT_FIELDS + 7);
    wire_put_u64(out, "number", record->number);
    wire_put_i64(out, "at", record->at_us);
    wire_put_str(out, "source", invalidation_source_name(record->source));
    wire_put_u64(out, "targets", record->targets);
    wire_put_str(out, "what", record->what);
    wire_put_str(out, "reason", record->reason);
    wire_put_i64(out, "code", record->code);
    pack_result(out, &record->result);
}

static uint32_t count_records(const struct invalidation_history *history, uint64_t before, uint64_t most)
{
    const struct invalidation_record *record;
    uint32_t count = 0;
    while (count < most && (record = invalidation_history_before(history, before)) != NULL) {
        before = record->number;
        count++;
    }
    return count;
}

static void pack_records(struct wire_buffer *out, const struct invalidation_history *history, uint64_t before,
                         uint32_t count)
{
    wire_array(out, count);
    for (uint32_t i = 0; i < count; i++) {
        const struct invalidation_record *record = invalidation_history_before(history, before);
        pack_record(out, record);
        before = record->number;
    }
}

static void pack_rates(struct wire_buffer *out, struct invalidation_history *history)
{
    uint64_t now_s = clock_ns() / 1000000000;
    wire_array(out, INVALIDATION_SOURCES * (TARGET_POKE + 1));
    for (unsigned source = 0; source < INVALIDATION_SOURCES; source++)
        for (unsigned kind = 0; kind <= TARGET_POKE; kind++) {
            uint64_t minute, hour;
            invalidation_history_rate(history, source, kind, now_s, &minute, &hour);
            wire_map(out, 4);
            wire_put_str(out, "source", invalidation_source_name(source));
            wire_put_str(out, "kind", target_kind_name(kind));
            wire_put_u64(out, "minute", minute);
            wire_put_u64(out, "hour", hour);
        }
}

void serve_invalidations(struct request *request, const struct wire_value *params)
{
    struct invalidation_history *history = invalidations_history(request->parts->invalidations);
    uint64_t last = PAGE_DEFAULT, before = UINT64_MAX;
    bool present = false;
    if (!param_optional_id(request, params, "last", &present, &last) ||
        !param_optional_id(request, params, "before", &present, &before))
        return;
    uint32_t count = count_records(history, before, last < PAGE_MAX ? last : PAGE_MAX);
    struct wire_buffer reply = reply_begin(request, 2);
    wire_str(&reply, "invalidations");
    pack_records(&reply, history, before, count);
    wire_str(&reply, "rates");
    pack_rates(&reply, history);
    request_reply(request, &reply);
}
