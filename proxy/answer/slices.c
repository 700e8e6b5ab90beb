/* A slice:
 *
 *   READING ─► HELD ─► publisher_fill_many, some hundred users at a time ─► told
 *     a thread,   │ ▲
 *     or Redis    └─┘ after the next batch, while it is ahead of the table
 *
 * What may change while it is away: whoever wants it may have gone (it has no `done` then), the table may have
 * advanced, or be made anew (each user passes the fence), and L2 may have been forgotten (nobody of a slice from there
 * is published any more). */
#include "proxy/answer/slices.h"

#include "proxy/answer/fetch.h"
#include "proxy/base/clock.h"
#include "proxy/base/container_of.h"
#include "proxy/base/timer.h"
#include "proxy/base/turn.h"
#include "proxy/feed/feed.h"
#include "proxy/l2/l2.h"
#include "proxy/table/publisher.h"

#include <assert.h>
#include <event2/event.h>
#include <stdlib.h>
#include <utlist.h>

#define A_SHARE 256u /* users published between two looks at the clock */
/* A place that was read by lists is tried as a range again after so many slices. */
#define LISTED_FOR 4u

struct slice {
    struct slices *slices;
    struct read_guest guest; /* of a slice from the store */
    bool of_l2;
    struct l2_place *place; /* under way */
    uint64_t epoch;         /* of what L2 had; 0: nothing */
    struct facts_slice *facts;
    bool told_to_list; /* before it was read */
    bool listed;       /* it was read by lists */
    struct failure failure; /* its code is 0: there is none */
    uint64_t generation;
    size_t published;  /* users that have a result */
    uint64_t early_ns; /* since when it is ahead of the table; 0: it is not */
    uint8_t *results;
    slice_done_fn done; /* NULL: cancelled */
    void *context;
    struct slice *prev, *next; /* of `held` */
};

struct slices {
    struct slices_options options;
    struct slice *held; /* read, the first one first */
    struct event *turn;
    struct scope_key listed_at; /* the place that was last read by lists, */
    unsigned listed_left;       /* and for how many slices more it will be */
};

/* ---- on a thread ------------------------------------------------------------------------------------------------- */

static int read_slice(struct slice *slice, struct store *store, struct failure *failure)
{
    struct log_position at;
    int64_t now;
    int code = store_snapshot(store, &at, &now, failure);
    if (code < 0)
        return code;
    code = store_read_slice(store, slice->facts, &slice->listed, failure);
    store_snapshot_end(store);
    return code;
}

static int run(struct read_guest *guest, struct store *store, struct failure *failure)
{
    struct slice *slice = container_of(guest, struct slice, guest);
    int code = store == NULL ? failure->code : read_slice(slice, store, failure);
    slice->failure = code < 0 ? *failure : (struct failure){0};
    slice->failure.code = code < 0 ? code : 0;
    return code;
}

/* ---- publishing -------------------------------------------------------------------------------------------------- */

static void slice_free(struct slice *slice)
{
    facts_slice_free(slice->facts);
    free(slice->results);
    free(slice);
}

static void end(struct slice *slice)
{
    DL_DELETE(slice->slices->held, slice);
    if (slice->done != NULL)
        slice->done(slice->context, slice->failure.code, slice->failure.text, slice->facts, slice->results);
    slice_free(slice);
}

static void leave_alone(struct slice *slice)
{
    for (size_t i = slice->published; i < slice->facts->count; i++)
        slice->results[i] = SLICE_ALONE;
    slice->published = slice->facts->count;
}

/* Those without rows may be strangers. Whoever was found to be one before the slice waited for a batch is judged anew:
 * that batch may have made the user a known one. */
static void look_for_strangers(struct slice *slice, size_t count)
{
    struct facts_slice *facts = slice->facts;
    for (size_t i = slice->published; i < slice->published + count; i++) {
        if (facts->kind_of[i] == FACTS_SLICE_ALONE || !facts_name_no_user(&facts->kinds[facts->kind_of[i]]))
            continue;
        facts->kinds[facts->kind_of[i]].user = facts->users[i];
        int code = fetch_is_known(slice->slices->options.fetches, &facts->kinds[facts->kind_of[i]]);
        slice->results[i] = code == 0 ? SLICE_OPEN : code == PERMTAB_E_BUSY ? SLICE_LATER : SLICE_STRANGER;
    }
}

/* Whether the slice is ahead even of a poll that began after it was read: then the feed reads another server. */
static bool never_reached(struct slice *slice)
{
    const struct publisher *publisher = slice->slices->options.publisher;
    if (slice->early_ns == 0)
        slice->early_ns = clock_ns();
    return facts_slice_common(slice->facts)->revision > publisher_position(publisher).revision &&
           publisher_confirmed(publisher) > slice->early_ns;
}

/* A change that the log does not tell ends the epoch, so no fence would keep its values out. */
static bool is_forgotten(const struct slice *slice)
{
    return slice->of_l2 && (slice->epoch == 0 || !l2_place_counts(slice->slices->options.l2, slice->epoch));
}

static void count_hits(const struct slice *slice, size_t count)
{
    for (size_t i = slice->published; slice->of_l2 && i < slice->published + count; i++)
        slice->slices->options.counters->l2_hits += slice->results[i] == SLICE_FILLED;
}

/* False: it has to wait for a batch. */
static bool publish_some(struct slice *slice)
{
    const struct slices *slices = slice->slices;
    if (is_forgotten(slice)) {
        leave_alone(slice);
        return true;
    }
    size_t left = slice->facts->count - slice->published, count = left < A_SHARE ? left : A_SHARE;
    look_for_strangers(slice, count);
    enum publisher_outcome outcome = publisher_fill_many(slices->options.publisher, slice->facts, slice->published,
                                                         count, clock_ns(), slice->results);
    if (outcome == PUBLISHER_EARLY) {
        if (never_reached(slice))
            leave_alone(slice);
        else
            feed_wake(slices->options.feed);
        return slice->published == slice->facts->count;
    }
    count_hits(slice, count);
    slice->published += count;
    return true;
}

static void on_turn(evutil_socket_t descriptor, short what, void *context)
{
    struct slices *slices = context;
    uint64_t begun_ns = clock_ns();
    (void)descriptor, (void)what;
    while (slices->held != NULL) {
        struct slice *slice = slices->held;
        if (slice->done == NULL || slice->failure.code < 0 || slice->published == slice->facts->count)
            end(slice);
        else if (!publish_some(slice))
            return; /* slices_applied goes on */
        if (clock_ns() - begun_ns >= TURN_WARM_NS) {
            timer_next_turn(slices->turn);
            return;
        }
    }
}

void slices_applied(struct slices *slices)
{
    if (slices->held != NULL)
        timer_next_turn(slices->turn);
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

/* A slice that was to be a range, and was not. One that had to be read by lists says nothing new, nor one so small that
 * it always is. */
static void note_listed(struct slices *slices, const struct slice *slice)
{
    if (slice->failure.code < 0 || !slice->listed || slice->told_to_list || slice->facts->count <= STORE_FACTS_MANY)
        return;
    slices->listed_at = slice->facts->scope;
    slices->listed_left = LISTED_FOR;
}

static void hold(struct slice *slice)
{
    struct slices *slices = slice->slices;
    for (size_t i = 0; i < slice->facts->kind_count; i++) {
        slice->facts->kinds[i].generation = slice->generation;
        slice->facts->kinds[i].unasked = true;
    }
    DL_APPEND(slices->held, slice);
    timer_next_turn(slices->turn);
}

static void on_read(struct read_guest *guest)
{
    struct slice *slice = container_of(guest, struct slice, guest);
    note_listed(slice->slices, slice);
    hold(slice);
}

static void on_place(void *context, uint64_t epoch)
{
    struct slice *slice = context;
    slice->place = NULL;
    slice->epoch = epoch;
    hold(slice);
}

static int begin(struct slice *slice)
{
    struct slices *slices = slice->slices;
    struct scope_key scope = slice->facts->scope;
    if (slice->of_l2)
        return l2_place_read(&slice->place, slices->options.l2, slice->facts, on_place, slice);
    slice->listed = slice->told_to_list = slices->listed_left > 0 && scope_equal(scope, slices->listed_at);
    slices->listed_left -= slice->told_to_list;
    fetches_guest_begin(slices->options.fetches, &slice->guest);
    return 0;
}

int slice_begin(struct slice **out, struct slices *slices, enum slice_source source, struct scope_key scope,
                const uint64_t *users, size_t count, slice_done_fn done, void *context)
{
    struct slice *slice = calloc(1, sizeof *slice);
    if (slice == NULL)
        return PERMTAB_E_MEMORY;
    *slice = (struct slice){.slices = slices,
                            .guest = {.run = run, .done = on_read},
                            .of_l2 = source == SLICE_OF_L2,
                            .generation = publisher_generation(slices->options.publisher),
                            .done = done,
                            .context = context};
    slice->results = calloc(count, sizeof *slice->results);
    int code = slice->results == NULL ? PERMTAB_E_MEMORY : facts_slice_new(&slice->facts, scope, users, count);
    if (code == 0)
        code = begin(slice);
    if (code < 0)
        slice_free(slice);
    else
        *out = slice;
    return code;
}

size_t slice_max(const struct slices *slices, enum slice_source source, struct scope_key scope)
{
    const struct l2 *l2 = slices->options.l2;
    if (source == SLICE_OF_STORE)
        return FACTS_SLICE_USERS_MAX;
    return l2 != NULL ? l2_place_max(l2, scope) : 0;
}

void slice_cancel(struct slice *slice)
{
    slice->done = NULL;
    bool is_read = slice->of_l2 ? slice->place == NULL : !read_guest_withdraw(&slice->guest);
    if (slice->place != NULL)
        l2_place_leave(slice->place);
    if (!is_read)
        slice_free(slice);
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

int slices_new(struct slices **out, const struct slices_options *options)
{
    struct slices *slices = calloc(1, sizeof *slices);
    if (slices == NULL)
        return PERMTAB_E_MEMORY;
    slices->options = *options;
    slices->turn = evtimer_new(options->base, on_turn, slices);
    if (slices->turn == NULL) {
        free(slices);
        return PERMTAB_E_MEMORY;
    }
    *out = slices;
    return 0;
}

void slices_free(struct slices *slices)
{
    struct slice *slice, *next;
    if (slices == NULL)
        return;
    DL_FOREACH_SAFE(slices->held, slice, next)
    {
        assert(slice->done == NULL);
        DL_DELETE(slices->held, slice);
        slice_free(slice);
    }
    event_free(slices->turn);
    free(slices);
}
