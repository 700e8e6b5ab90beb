/* Fills: one read of the store for all askers that miss the same key.
 *
 * A fill is fetched (fetch.c), as it was at some snapshot S, and published on the loop:
 *
 *   READING ─► HELD ─► publisher_fill ─┬─► FILLED    every waiter whose revision is reached is answered; a newer
 *    ▲  ▲          ▲                     │             token makes it BEHIND, and the feed is woken
 *    │  │          └─────────────────────┼── EARLY     S is ahead of the table: published after the next batch
 *    │  └────────────────────────────────┴── OUTDATED  something it read has changed since: read again
 *    └── BEHIND, when the table has got there, and not too many reads wait
 *
 * fill_move alone writes the state.
 *
 * What may change while it is away: the table may advance (the publisher's history catches it), be rebuilt from
 * another history (the stamp of the facts catches it), the waiters may leave or run out of time. A fill whose
 * waiters have all gone is published all the same if it has been read, and given up if no thread has it yet. One that
 * the warm-up alone has waited for stays the warm-up's when that is cancelled.
 *
 * Facts that are held take memory for as long as the feed stands still. Beyond HELD_MAX bytes they are dropped, and
 * read again after the next batch. */
#include "proxy/answer/fill.h"

#include "proxy/base/clock.h"
#include "proxy/base/hash.h"
#include "proxy/base/timer.h"
#include "proxy/base/turn.h"
#include "proxy/l2/l2.h"

#include <assert.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define HELD_MAX (64u << 20)

enum fill_state {
    FILL_EMPTY,   /* not begun, or its fetch brought nothing */
    FILL_READING, /* the fetch is under way */
    FILL_HELD,    /* read: facts are kept, to be published now or when the table is where they are */
    FILL_BEHIND,  /* to be read again after a batch: somebody wants a newer revision, or too much is held or waits */
};

struct fill {
    struct fills *fills;
    struct facts_key key;
    enum fill_state state;
    uint64_t epoch;             /* of L2, when the read began; 0: not known */
    struct fetch *fetch;        /* FILL_READING */
    bool fetched;               /* true after the first fetch: the next one goes to the primary */
    uint64_t cost_us;           /* the time that the read took */
    bool refresh;               /* L2 asked for it */
    enum read_lane lane;        /* the first of those who have asked for it, now or before */
    struct facts facts;         /* FILL_HELD */
    size_t held;                /* their bytes, once they are early */
    struct fetch_origin origin; /* of the facts that were read last */
    uint64_t early_ns;          /* when they were first found to be too early; 0: not yet */
    uint64_t looked_at;         /* FILL_HELD, FILL_BEHIND: the last batch after which it was */
    struct fill *prev, *next;   /* likewise, of `parked` */
    struct fill_wait *waits;
    UT_hash_handle hh;
};

struct fill_wait {
    struct fills *fills;
    struct fill *fill;
    uint64_t revision;
    bool warms;    /* is the warm-up's */
    bool was_read; /* what it is told */
    uint64_t deadline_ns;
    fill_done_fn done;
    void *context;
    struct fill_wait *prev, *next;         /* of the fill */
    struct fill_wait *all_prev, *all_next; /* of all, by deadline */
};

struct fills {
    struct fills_options options;
    struct fill *by_key;
    struct fill_wait *all; /* every wait has the same time, so the first is the first to end */
    size_t waiting;
    size_t reading;
    struct fill *parked;        /* until a batch is applied; those not looked at after the last one come first */
    uint64_t batches, revision; /* how many were applied, and up to where */
    size_t held;                /* bytes of facts that wait for a batch */
    struct event *timer, *sweep;
    bool closing;
};

/* ---- waits ------------------------------------------------------------------------------------------------------- */

static void wait_unlink(struct fill_wait *wait)
{
    struct fills *fills = wait->fills;
    DL_DELETE2(fills->all, wait, all_prev, all_next);
    fills->waiting--;
    DL_DELETE(wait->fill->waits, wait);
}

static void wait_tell(struct fill_wait *wait, int code, const char *text, const struct answer *answer)
{
    wait_unlink(wait);
    wait->was_read = wait->fill->origin.from != FETCH_KEPT;
    wait->done(wait->context, code, text, answer);
    free(wait);
}

/* Tells all waits. The callbacks may cancel other waits, so each round takes the list's head. */
static void tell_all(struct fill *fill, int code, const char *text)
{
    while (fill->waits != NULL)
        wait_tell(fill->waits, code, text, NULL);
}

static void arm_timer(struct fills *fills)
{
    if (fills->all == NULL || fills->timer == NULL)
        return;
    uint64_t now = clock_ns();
    (void)timer_in_ns(fills->timer, fills->all->deadline_ns > now ? fills->all->deadline_ns - now : 0);
}

/* ---- a fill ------------------------------------------------------------------------------------------------------ */

static bool is_parked(enum fill_state state)
{
    return state == FILL_HELD || state == FILL_BEHIND;
}

/* Moves the fill to a state, and keeps the count of fills that read, the list of those that wait for a batch, and the
 * facts. */
static void fill_move(struct fill *fill, enum fill_state state)
{
    struct fills *fills = fill->fills;
    fills->reading += state == FILL_READING;
    fills->reading -= fill->state == FILL_READING;
    if (is_parked(fill->state))
        DL_DELETE(fills->parked, fill);
    if (is_parked(state)) {
        fill->looked_at = fills->batches;
        DL_APPEND(fills->parked, fill);
    }
    if (fill->state == FILL_READING)
        fill->fetch = NULL;
    if (state != FILL_HELD) {
        facts_fini(&fill->facts);
        fills->held -= fill->held;
        fill->held = 0;
    }
    fill->state = state;
}

static void fill_free(struct fill *fill)
{
    assert(fill->state != FILL_READING && fill->waits == NULL);
    fill_move(fill, FILL_EMPTY);
    HASH_DEL(fill->fills->by_key, fill);
    free(fill);
}

/* Gives up a read that nobody waits for any more, if no thread has it yet. */
static void give_up(struct fill *fill)
{
    if (fill->waits != NULL || fill->state != FILL_READING || fill->refresh || fill->fills->closing ||
        !fetch_waits(fill->fetch))
        return;
    fetch_cancel(fill->fetch);
    fill_move(fill, FILL_EMPTY);
    fill_free(fill);
}

static void on_timer(evutil_socket_t descriptor, short what, void *context)
{
    struct fills *fills = context;
    uint64_t now = clock_ns();
    (void)descriptor;
    (void)what;
    while (fills->all != NULL && fills->all->deadline_ns <= now) {
        struct fill_wait *wait = fills->all;
        fills->options.counters->fills_failed++;
        wait_unlink(wait);
        give_up(wait->fill);
        wait->done(wait->context, PERMTAB_E_TIMEOUT, "the store did not answer in time", NULL);
        free(wait);
    }
    arm_timer(fills);
}

static void fill_finish(struct fill *fill);
static void on_fetched(void *context, int code, const char *text, struct facts *facts,
                       const struct fetch_origin *origin);

static int fill_submit(struct fill *fill)
{
    struct fills *fills = fill->fills;
    struct scope_key scope = facts_key_scope(&fill->key);
    fill->epoch = 0;
    if (fills->options.l2 != NULL)
        (void)l2_epoch(fills->options.l2, &fill->epoch);
    fill->early_ns = 0;
    struct fetch_how how = {.again = fill->fetched, .refresh = fill->refresh, .lane = fill->lane};
    int code = fetch_begin(&fill->fetch, fills->options.fetches, fill->key.user, scope, how, on_fetched, fill);
    if (code < 0)
        return code;
    fill->fetched = true;
    fill_move(fill, FILL_READING);
    return 0;
}

/* After a batch many may be read again at once: those that find too many waiting have the next one. */
static void fill_read(struct fill *fill)
{
    int code = fill_submit(fill);
    if (code == 0)
        return;
    if (code == PERMTAB_E_FULL) {
        fill_move(fill, FILL_BEHIND);
        feed_wake(fill->fills->options.feed);
        return;
    }
    fill->fills->options.counters->fills_failed++;
    tell_all(fill, code, "out of memory");
    fill_free(fill);
}

static void on_fetched(void *context, int code, const char *text, struct facts *facts,
                       const struct fetch_origin *origin)
{
    struct fill *fill = context;
    struct fills *fills = fill->fills;
    fill_move(fill, code < 0 ? FILL_EMPTY : FILL_HELD);
    if (code < 0) {
        fills->options.counters->fills_failed++;
        tell_all(fill, code, text);
        fill_free(fill);
        return;
    }
    fill->facts = *facts;
    fill->origin = *origin;
    fill->cost_us = origin->cost_ns / 1000;
    fill_finish(fill);
}

/* Answers the waits whose revision is reached; the others need a newer read. */
static void answer_waits(struct fill *fill, const struct answer *answer)
{
    struct fill_wait *wait = fill->waits;
    while (wait != NULL) {
        if (wait->revision <= answer->revision) {
            wait_tell(wait, 0, "", answer);
            wait = fill->waits; /* the callback may have changed the list */
        } else {
            wait = wait->next;
        }
    }
}

/* Puts facts that were found true into L2, for the other hosts. Facts of random ids are not put, which anybody can ask
 * for, nor what was kept of strangers: it was read before the epoch of this fill, and its user may have become known
 * meanwhile. */
static void keep(struct fill *fill)
{
    if (fill->fills->options.l2 != NULL && !fill->facts.stranger && fill->origin.from != FETCH_KEPT) {
        l2_put(fill->fills->options.l2, &fill->facts, fill->epoch, fill->cost_us, fill->refresh);
        fill->facts = (struct facts){0}; /* taken over */
    }
    fill->refresh = false;
}

/* Reads again for the waits; without any, ends the fill. */
static void fill_repeat(struct fill *fill)
{
    fill->fills->options.counters->fills_repeated++;
    if (fill->waits != NULL)
        fill_read(fill);
    else
        fill_free(fill);
}

/* Whether the facts are still ahead of the table after a poll that began when they had been read: then the feed
 * reads another server than this fill did, and holding them and polling would go on for ever. */
static bool never_reached(struct fill *fill)
{
    const struct publisher *publisher = fill->fills->options.publisher;
    if (fill->early_ns == 0)
        fill->early_ns = clock_ns();
    return fill->facts.revision > publisher_position(publisher).revision &&
           publisher_confirmed(publisher) > fill->early_ns;
}

/* Whether the warm-up alone waits, or has waited. */
static bool warms_only(const struct fill *fill)
{
    if (fill->waits == NULL)
        return fill->lane == READ_WARM && !fill->refresh;
    for (const struct fill_wait *wait = fill->waits; wait != NULL; wait = wait->next)
        if (!wait->warms)
            return false;
    return true;
}

/* What the warm-up may not publish: 0, or the code that says why. Judged at the moment of publishing, because room and
 * rows may have gone since it began. */
static int unwelcome(const struct fill *fill)
{
    if (!warms_only(fill))
        return 0;
    int code = fetch_is_known(fill->fills->options.fetches, &fill->facts);
    return code == 0 && publisher_room(fill->fills->options.publisher) == 0 ? PERMTAB_E_FULL : code;
}

/* Holds the facts until the table is where they are; too much of them is read again then. */
static void hold(struct fill *fill)
{
    struct fills *fills = fill->fills;
    if (fill->held == 0) {
        fill->held = facts_size(&fill->facts);
        fills->held += fill->held;
    }
    if (fills->held > HELD_MAX)
        fill_move(fill, FILL_BEHIND);
    feed_wake(fills->options.feed);
}

/* Publishes the facts, holds them, or reads again. */
static void fill_finish(struct fill *fill)
{
    struct fills *fills = fill->fills;
    struct answer answer = {0};
    int code = unwelcome(fill);
    if (code < 0) {
        tell_all(fill, code, "");
        fill_free(fill);
        return;
    }
    fill->facts.unasked = fill->lane == READ_WARM;
    switch (fetch_publish(fills->options.fetches, &fill->facts, &fill->origin, clock_ns(), &answer)) {
    case PUBLISHER_FILLED:
        answer_waits(fill, &answer);
        answer_fini(&answer);
        keep(fill);
        if (fill->waits == NULL) {
            fill_free(fill);
        } else {
            fill_move(fill, FILL_BEHIND);
            feed_wake(fills->options.feed);
        }
        return;
    case PUBLISHER_EARLY:
        if (never_reached(fill)) {
            fill_repeat(fill);
            return;
        }
        hold(fill);
        return;
    case PUBLISHER_OUTDATED:
        fill_repeat(fill);
        return;
    case PUBLISHER_FAILED:
        fills->options.counters->fills_failed++;
        tell_all(fill, PERMTAB_E_MEMORY, "out of memory");
        fill_free(fill);
        return;
    }
}

static bool somebody_is_served_at(const struct fill *fill, uint64_t revision)
{
    for (const struct fill_wait *wait = fill->waits; wait != NULL; wait = wait->next)
        if (wait->revision <= revision)
            return true;
    return false;
}

/* One that waited for a batch, after it. */
static void look_again(struct fill *fill)
{
    struct fills *fills = fill->fills;
    DL_DELETE(fills->parked, fill);
    DL_APPEND(fills->parked, fill);
    fill->looked_at = fills->batches;
    if (fill->state == FILL_HELD)
        fill_finish(fill);
    else if (fill->waits == NULL)
        fill_free(fill);
    else if (somebody_is_served_at(fill, fills->revision))
        fill_read(fill);
}

/* Many may wait: those that are too many for this turn of the loop go on in the next one. */
static void on_sweep(evutil_socket_t descriptor, short what, void *context)
{
    struct fills *fills = context;
    uint64_t begun_ns = clock_ns();
    (void)descriptor, (void)what;
    while (fills->parked != NULL && fills->parked->looked_at != fills->batches) {
        look_again(fills->parked);
        if (turn_is_over(begun_ns)) {
            (void)timer_at_once(fills->sweep);
            return;
        }
    }
}

void fills_applied(struct fills *fills, uint64_t revision)
{
    fills->batches++;
    fills->revision = revision;
    on_sweep(-1, EV_TIMEOUT, fills);
}

/* ---- asking ------------------------------------------------------------------------------------------------------ */

/* A client joins what the warm-up, or a list, has begun: it waits no longer than its own lane makes it. */
static void join(struct fill *fill, enum read_lane lane)
{
    fill->fills->options.counters->fills_joined++;
    if (lane >= fill->lane)
        return;
    fill->lane = lane;
    if (fill->state == FILL_READING)
        fetch_hurry(fill->fetch, lane);
}

static struct fill *fill_find_or_start(struct fills *fills, uint64_t user, struct scope_key scope,
                                       enum read_lane lane, bool refresh)
{
    struct facts_key key = facts_key_of(user, scope);
    struct fill *fill;
    HASH_FIND(hh, fills->by_key, &key, sizeof key, fill);
    if (fill != NULL) {
        join(fill, lane);
        return fill->state == FILL_BEHIND && fill_submit(fill) < 0 ? NULL : fill;
    }
    fill = calloc(1, sizeof *fill);
    if (fill == NULL)
        return NULL;
    fill->fills = fills;
    fill->key = key;
    fill->lane = lane;
    fill->refresh = refresh;
    HASH_ADD(hh, fills->by_key, key, sizeof fill->key, fill);
    if (!HASH_ADDED(fill)) {
        free(fill);
        return NULL;
    }
    if (fill_submit(fill) < 0) {
        HASH_DEL(fills->by_key, fill);
        free(fill);
        return NULL;
    }
    return fill;
}

struct fill_wait *fill_request(struct fills *fills, uint64_t user, struct scope_key scope, uint64_t revision,
                               enum read_lane lane, fill_done_fn done, void *context)
{
    /* Fills outlive their waits: while the feed stands still, those that were read ahead of it are kept for it. */
    if (fills->waiting >= fills->options.waiting_max ||
        HASH_COUNT(fills->by_key) >= 2 * fills->options.waiting_max || fills->closing)
        return NULL;
    struct fill_wait *wait = calloc(1, sizeof *wait);
    struct fill *fill = wait != NULL ? fill_find_or_start(fills, user, scope, lane, false) : NULL;
    if (fill == NULL) {
        free(wait);
        return NULL;
    }
    wait->fills = fills;
    wait->fill = fill;
    wait->revision = revision;
    wait->warms = lane == READ_WARM;
    wait->deadline_ns = clock_ns() + fills->options.timeout_ms * 1000000ull;
    wait->done = done;
    wait->context = context;
    DL_APPEND(fill->waits, wait);
    DL_APPEND2(fills->all, wait, all_prev, all_next);
    fills->waiting++;
    if (fills->waiting == 1)
        arm_timer(fills);
    return wait;
}

void fill_cancel(struct fill_wait *wait)
{
    wait_unlink(wait);
    give_up(wait->fill);
    free(wait);
}

bool fill_was_read(const struct fill_wait *wait)
{
    return wait->was_read;
}

/* A refresh is for quiet times: fills with waiters come first. */
#define REFRESHES_MAX 2u

void fill_refresh(struct fills *fills, uint64_t user, struct scope_key scope)
{
    struct facts_key key = facts_key_of(user, scope);
    struct fill *fill;
    HASH_FIND(hh, fills->by_key, &key, sizeof key, fill);
    if (fill != NULL || fills->reading >= REFRESHES_MAX || fills->closing)
        return;
    (void)fill_find_or_start(fills, user, scope, READ_WARM, true);
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

int fills_new(struct fills **out, const struct fills_options *options)
{
    struct fills *fills = calloc(1, sizeof *fills);
    if (fills == NULL)
        return PERMTAB_E_MEMORY;
    fills->options = *options;
    fills->timer = evtimer_new(options->base, on_timer, fills);
    fills->sweep = evtimer_new(options->base, on_sweep, fills);
    if (fills->timer == NULL || fills->sweep == NULL) {
        fills_free(fills);
        return PERMTAB_E_MEMORY;
    }
    *out = fills;
    return 0;
}

void fills_free(struct fills *fills)
{
    struct fill *fill, *next;
    if (fills == NULL)
        return;
    fills->closing = true;
    HASH_ITER(hh, fills->by_key, fill, next)
    {
        tell_all(fill, PERMTAB_E_UNREACHABLE, "the sidecar is stopping");
        if (fill->state == FILL_READING)
            fetch_cancel(fill->fetch);
        fill_move(fill, FILL_EMPTY);
        fill_free(fill);
    }
    if (fills->timer != NULL)
        event_free(fills->timer);
    if (fills->sweep != NULL)
        event_free(fills->sweep);
    free(fills);
}
