/* One slice after the other:
 *
 *   begin ─► read on a thread ─► known_users_take ─► pause ─► read … ─► complete ─► (lost) ─► begin
 *                                   │    ▲
 *                                   └────┘ after the next batch, when the snapshot was ahead of the table
 *
 * The assignments are read first, then the overwrites. A slice begins with the id after the last one of the slice
 * before, so a user with many rows is read once. What may change while a slice is away: the filter may be lost, or
 * begun anew; then the slice is dropped, and a new counting begins only after it has come back. */
#include "proxy/answer/known_users_read.h"

#include "proxy/base/clock.h"
#include "proxy/base/container_of.h"
#include "proxy/base/log.h"
#include "proxy/base/timer.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#define SLICE 10000u

#define FIRST_MS    200u    /* before the first one: the questions that wait for the start come first */
#define PAUSE_MS    5u      /* between slices, because others use the store, too */
#define AGAIN_MS    1000u   /* after a failure */
#define OVERFULL_MS 600000u /* until another try when there were too many users */

/* The data of a job, which the thread reads and writes. */
struct slice {
    struct store_job job;
    enum store_users which;
    bool from_first;
    uint64_t from, first; /* the id to begin with, and the first of all */
    uint64_t *users;      /* SLICE of them */
    size_t count;
    struct log_position at;
    struct failure failure;
};

struct known_users_read {
    struct slice slice;
    struct known_users_read_options options;
    struct event *timer;
    uint64_t begun;    /* how often the counting began */
    bool reading;      /* a thread has the slice */
    bool in_hand;      /* the slice was read and is to be taken */
    uint64_t early_ns; /* since when it is ahead of the table; 0: it is not */
    bool waiting;      /* the timer is awaited */
    bool told_overfull;
};

static void wait_ms(struct known_users_read *count, unsigned ms)
{
    count->waiting = true;
    (void)timer_in_ms(count->timer, ms);
}

/* Reads a slice, on a helper thread. */
static int slice_run(struct store_job *job, struct store *store, struct failure *failure)
{
    struct slice *slice = container_of(job, struct slice, job);
    int64_t now;
    if (store == NULL) {
        slice->failure = *failure;
        return failure->code;
    }
    int code = store_snapshot(store, &slice->at, &now, &slice->failure);
    if (code < 0)
        return code;
    slice->first = store_users_first(store);
    slice->from = slice->from_first ? slice->first : slice->from;
    code = store_read_users(store, slice->which, slice->from, slice->users, SLICE, &slice->count,
                            &slice->failure);
    store_snapshot_end(store);
    if (code == 0)
        slice->failure.code = 0;
    return code;
}

static void slice_read(struct known_users_read *count)
{
    struct slice *slice = &count->slice;
    /* The failure that counts until slice_run has succeeded. */
    slice->failure = (struct failure){.code = PERMTAB_E_STORE};
    count->reading = store_threads_submit(count->options.pool, &slice->job) == 0;
    if (!count->reading)
        wait_ms(count, AGAIN_MS);
}

static void begin(struct known_users_read *count)
{
    if (count->begun++ > 0)
        count->options.counters->filter_rebuilds++;
    known_users_begin(count->options.known_users, count->options.publisher);
    count->slice.which = STORE_USERS_ASSIGNED;
    count->slice.from_first = true;
    slice_read(count);
}

static void finished(struct known_users_read *count)
{
    known_users_complete(count->options.known_users);
    if (count->options.known_users->state == KNOWN_USERS_COMPLETE)
        log_info("known users: %llu users have rows of their own; others are strangers",
                 (unsigned long long)count->options.known_users->filter.users);
}

/* Goes on after a slice was taken: to the next one, or to the end. */
static void advance(struct known_users_read *count)
{
    struct slice *slice = &count->slice;
    uint64_t last = slice->count > 0 ? slice->users[slice->count - 1] : 0;
    if (slice->count == SLICE && last + 1 != slice->first) {
        slice->from_first = false;
        slice->from = last + 1;
    } else if (slice->which == STORE_USERS_ASSIGNED) {
        slice->which = STORE_USERS_OVERWRITTEN;
        slice->from_first = true;
    } else {
        finished(count);
        return;
    }
    wait_ms(count, PAUSE_MS);
}

static void take(struct known_users_read *count)
{
    struct slice *slice = &count->slice;
    count->in_hand = false;
    switch (known_users_take(count->options.known_users, count->options.publisher, &slice->at, slice->users,
                             slice->count)) {
    case KNOWN_USERS_TAKEN:
        advance(count);
        return;
    case KNOWN_USERS_EARLY:
        if (count->early_ns == 0)
            count->early_ns = clock_ns();
        /* A slice that is ahead even after a poll that began later is of a server that the feed does not read. */
        if (publisher_confirmed(count->options.publisher) <= count->early_ns) {
            count->in_hand = true;
            feed_wake(count->options.feed);
            return;
        }
        count->options.known_users->state = KNOWN_USERS_NONE;
        wait_ms(count, AGAIN_MS);
        return;
    case KNOWN_USERS_FOREIGN:
        count->options.known_users->state = KNOWN_USERS_NONE;
        wait_ms(count, AGAIN_MS);
        return;
    }
}

static void overfull(struct known_users_read *count)
{
    if (!count->told_overfull)
        log_warning(
            "known users: more than strangers_max = %llu users have rows of their own: nobody is a stranger",
            (unsigned long long)count->options.known_users->filter.users_max);
    count->told_overfull = true;
    count->options.known_users->state = KNOWN_USERS_NONE; /* after the pause */
    user_filter_clear(&count->options.known_users->filter);
    wait_ms(count, OVERFULL_MS);
}

/* Does the next step of counting, whatever happened before. */
static void step(struct known_users_read *count)
{
    switch (count->options.known_users->state) {
    case KNOWN_USERS_NONE:
        count->in_hand = false;
        if (!count->reading && !count->waiting)
            begin(count);
        break;
    case KNOWN_USERS_COUNTING:
        if (count->in_hand)
            take(count);
        else if (!count->reading && !count->waiting)
            slice_read(count);
        break;
    case KNOWN_USERS_COMPLETE:
        count->told_overfull = false;
        break;
    case KNOWN_USERS_OVERFULL:
        break;
    }
    if (count->options.known_users->state == KNOWN_USERS_OVERFULL)
        overfull(count);
    count->options.counters->filter_users = count->options.known_users->filter.users;
}

static void on_slice(struct store_job *job)
{
    struct known_users_read *count =
        container_of(container_of(job, struct slice, job), struct known_users_read, slice);
    count->reading = false;
    count->early_ns = 0;
    bool ours = count->options.known_users->state == KNOWN_USERS_COUNTING;
    if (ours && count->slice.failure.code < 0)
        wait_ms(count, AGAIN_MS);
    else
        count->in_hand = ours;
    step(count);
}

static void on_timer(evutil_socket_t descriptor, short what, void *context)
{
    struct known_users_read *count = context;
    (void)descriptor, (void)what;
    count->waiting = false;
    step(count);
}

void known_users_read_applied(struct known_users_read *count)
{
    known_users_applied(count->options.known_users, count->options.publisher);
    step(count);
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

int known_users_read_new(struct known_users_read **out, const struct known_users_read_options *options)
{
    struct known_users_read *count = calloc(1, sizeof *count);
    if (count == NULL)
        return PERMTAB_E_MEMORY;
    count->slice.job.run = slice_run;
    count->slice.job.done = on_slice;
    count->slice.users = malloc(SLICE * sizeof *count->slice.users);
    count->options = *options;
    count->timer = evtimer_new(options->base, on_timer, count);
    if (count->slice.users == NULL || count->timer == NULL) {
        known_users_read_free(count);
        return PERMTAB_E_MEMORY;
    }
    wait_ms(count, FIRST_MS);
    *out = count;
    return 0;
}

void known_users_read_free(struct known_users_read *count)
{
    if (count == NULL)
        return;
    if (count->timer != NULL)
        event_free(count->timer);
    free(count->slice.users);
    free(count);
}
