/* The parts of answering, each of which uses the ones before it: known users, strangers, fetches, fills, asks. */
#include "proxy/answer/answer.h"

#include "proxy/answer/ask.h"
#include "proxy/answer/fetch.h"
#include "proxy/answer/fill.h"
#include "proxy/answer/known_users_read.h"
#include "proxy/answer/private.h"
#include "proxy/answer/slices.h"
#include "proxy/base/random.h"
#include "proxy/keys/keys.h"

#include <inttypes.h>
#include <stdlib.h>

#define FILL_WAITING_MAX 65536u

static int make_filter(struct answering *answering, const struct answering_options *options)
{
    struct random_source chance;
    int code = random_source_init(&chance);
    if (code == 0)
        code = known_users_init(&answering->known_users, options->strangers_max, random_source_next(&chance));
    strangers_init(&answering->strangers, &answering->known_users, options->publisher);
    return code;
}

/* Fills of the warm-up under way: enough to read many together while as many are published. */
#define WARM_RUNNING_MAX 192u

/* Makes fills and asks. As many fills of clients run at once as all connections read in one go: more would only wait in
 * a queue that is not fair. */
static int make_parts(struct answering *answering, const struct answering_options *options)
{
    struct strangers *strangers = options->strangers_max > 0 ? &answering->strangers : NULL;
    struct fetch_options fetches = {.base = options->base,
                                    .primary = options->primary,
                                    .replica = options->replica,
                                    .threads = options->threads,
                                    .strangers = strangers,
                                    .places = &answering->places,
                                    .publisher = options->publisher,
                                    .counters = options->counters};
    int code = fetches_new(&answering->fetches, &fetches);
    struct fills_options fills = {.base = options->base,
                                  .fetches = answering->fetches,
                                  .publisher = options->publisher,
                                  .feed = options->feed,
                                  .l2 = options->l2,
                                  .counters = options->counters,
                                  .timeout_ms = options->timeout_ms,
                                  .waiting_max = FILL_WAITING_MAX};
    if (code == 0)
        code = fills_new(&answering->fills, &fills);
    struct ask_queue_options asks = {.base = options->base,
                                     .publisher = options->publisher,
                                     .feed = options->feed,
                                     .fills = answering->fills,
                                     .strangers = strangers,
                                     .l2 = options->l2,
                                     .keys = options->keys,
                                     .counters = options->counters,
                                     .running_max = options->threads * READ_TOGETHER_MAX,
                                     .warm_max = WARM_RUNNING_MAX,
                                     .timeout_ms = options->timeout_ms};
    if (code == 0)
        code = ask_queue_new(&answering->asks, &asks);
    struct slices_options slices = {.base = options->base,
                                    .fetches = answering->fetches,
                                    .publisher = options->publisher,
                                    .feed = options->feed,
                                    .l2 = options->l2,
                                    .counters = options->counters};
    if (code == 0)
        code = slices_new(&answering->slices, &slices);
    return code;
}

/* Starts the counting in the background; until all users are counted, every user counts as known. */
static int start_counting(struct answering *answering, const struct answering_options *options)
{
    struct known_users_read_options count = {.base = options->base,
                                             .pool = options->primary,
                                             .publisher = options->publisher,
                                             .feed = options->feed,
                                             .known_users = &answering->known_users,
                                             .counters = options->counters};
    return known_users_read_new(&answering->known_users_read, &count);
}

int answering_new(struct answering **out, const struct answering_options *options, struct failure *failure)
{
    struct answering *answering = calloc(1, sizeof *answering);
    if (answering == NULL)
        return failure_set(failure, PERMTAB_E_MEMORY, "out of memory");
    bool strangers = options->strangers_max > 0;
    places_init(&answering->places, options->publisher);
    answering->places.idle = options->l2 != NULL; /* what is read goes there, and is to be whole */
    int code = strangers ? make_filter(answering, options) : 0;
    if (code < 0) {
        answering_free(answering);
        return failure_set(failure, code, "the filter of strangers_max = %" PRIu64 " users cannot be made",
                           options->strangers_max);
    }
    code = make_parts(answering, options);
    if (code == 0 && strangers) /* last: a job that a thread has cannot be taken back here */
        code = start_counting(answering, options);
    if (code < 0) {
        answering_end(answering);
        answering_free(answering);
        return failure_set(failure, code, "out of memory");
    }
    *out = answering;
    return 0;
}

void answering_end(struct answering *answering)
{
    if (answering == NULL)
        return;
    ask_queue_free(answering->asks);
    answering->asks = NULL;
    fills_free(answering->fills);
    answering->fills = NULL;
}

void answering_free(struct answering *answering)
{
    if (answering == NULL)
        return;
    slices_free(answering->slices);
    fetches_free(answering->fetches);
    strangers_fini(&answering->strangers);
    places_fini(&answering->places);
    known_users_read_free(answering->known_users_read);
    known_users_fini(&answering->known_users);
    free(answering);
}

void answering_applied(struct answering *answering, uint64_t revision)
{
    if (answering == NULL)
        return;
    if (answering->known_users_read != NULL) /* first: users judged next may have rows now */
        known_users_read_applied(answering->known_users_read);
    fills_applied(answering->fills, revision);
    slices_applied(answering->slices);
}

int answering_slice(struct slice **out, struct answering *answering, enum slice_source source,
                    struct scope_key scope, const uint64_t *users, size_t count, slice_done_fn done,
                    void *context)
{
    return slice_begin(out, answering->slices, source, scope, users, count, done, context);
}

size_t answering_slice_max(const struct answering *answering, enum slice_source source,
                           struct scope_key scope)
{
    return slice_max(answering->slices, source, scope);
}

void answering_slice_cancel(struct slice *slice)
{
    slice_cancel(slice);
}

void answering_refresh(struct answering *answering, uint64_t user, struct scope_key scope)
{
    fill_refresh(answering->fills, user, scope);
}

void answering_sampled(struct answering *answering, const struct ask_flow *flow, uint64_t user,
                       struct scope_key scope)
{
    ask_sampled(answering->asks, flow, user, scope);
}

void answering_guest_begin(struct answering *answering, struct read_guest *guest)
{
    fetches_guest_begin(answering->fetches, guest);
}

uint64_t answering_warm_ns(const struct answering *answering)
{
    return fetches_warm_ns(answering->fetches);
}

bool answering_knows_users(const struct answering *answering)
{
    return answering->known_users_read == NULL || strangers_can_tell(&answering->strangers);
}
