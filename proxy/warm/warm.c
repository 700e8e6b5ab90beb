/* The warm-up. It is an asker like a client, with one flow of its own that comes last (answer/ask.c).
 *
 *   WAITING ─► READING ─► FILLING ─► COUNTING ─► FILLING ─► ENDED       warm_again, from anywhere ─► WAITING
 *      │ the first lease                │ until it is known who has rows
 *
 * What is read first time of keys without rows of the user may be a stranger's, and strangers are not filled. Users are
 * counted in the background after a start; such keys are put off until that is done.
 *
 * What may happen meanwhile:
 *
 *   the store is slow           its threads wait, and clients' questions go first
 *   the store goes away         a failure begins a pause that grows, and keys are tried again after it
 *   the table fills up          the warm-up waits for growth a while, and then ends
 *   the table is made anew      the warm-up begins again, because what it filled has gone
 *   the process dies            the next one begins again by itself, with keys that say what was hot until then */
#include "proxy/warm/warm.h"

#include "proxy/answer/answer.h"
#include "proxy/base/clock.h"
#include "proxy/base/container_of.h"
#include "proxy/base/counters.h"
#include "proxy/base/log.h"
#include "proxy/base/pause.h"
#include "proxy/base/timer.h"
#include "proxy/keys/keys.h"
#include "proxy/table/publisher.h"

#include <assert.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#define KEYS_A_TURN 512u /* most of them are there already, or this would be more than a turn takes */
#define READ_A_TURN 16384u
#define TRIES       3u   /* of a key, while others are answered */
#define TRIES_ALONE 20u  /* while none is */

#define FIRST_PAUSE_NS 100000000ull
#define LAST_PAUSE_NS  5000000000ull
#define LOOK_MS        500u           /* whether there is room, or users are counted */
#define PATIENCE_NS    60000000000ull /* for either */

enum warm_state { WARM_WAITING, WARM_READING, WARM_FILLING, WARM_COUNTING, WARM_ENDED };

/* A key under way, or one that is to be tried again. */
struct hand {
    struct warm *warm;
    struct ask ask;
    struct hot_key key;
    enum { HAND_FREE, HAND_ASKS, HAND_AGAIN } is;
    unsigned tries, tries_alone;
    uint64_t begun_at; /* warm->answered when it was asked */
};

struct warm {
    struct warm_options options;
    struct ask_flow flow;
    struct event *turn;
    enum warm_state state;
    struct keys_reading *reading; /* WARM_READING: of the keys that are known from before */
    struct hot_key *hot; /* malloc'ed: those to fill, from `next` on; before it those that were put off */
    size_t count, next, put_off;
    struct hand hands[WARM_HANDS];
    unsigned busy;   /* hands that are not free */
    unsigned asking; /* and of these, those that ask */
    bool stepping;   /* ask_start may call back at once */
    struct pause pause;
    uint64_t begun_ns,
        stuck_ns;      /* since when there is no room, or users are counted; 0: nothing is waited for */
    uint64_t answered; /* keys, this way or that: the store is there */
    uint64_t filled, resident, strangers, failed, left_out;
};

/* ---- the end ----------------------------------------------------------------------------------------------------- */

static void forget_keys(struct warm *warm)
{
    for (unsigned i = 0; i < WARM_HANDS; i++) {
        if (warm->hands[i].is == HAND_ASKS)
            ask_cancel(&warm->hands[i].ask);
        warm->hands[i].is = HAND_FREE;
    }
    warm->busy = warm->asking = 0;
    keys_reading_free(warm->reading);
    warm->reading = NULL;
    free(warm->hot);
    warm->hot = NULL;
    warm->count = warm->next = warm->put_off = 0;
    warm->stuck_ns = 0;
    warm->options.counters->warm_left = 0;
    (void)event_del(warm->turn);
}

static void end(struct warm *warm)
{
    double seconds = (double)(clock_ns() - warm->begun_ns) / 1e9;
    forget_keys(warm);
    warm->state = WARM_ENDED;
    log_info("warm-up: %llu keys filled in %.1f s; %llu were there already, %llu of strangers were skipped, "
             "%llu could "
             "not be read, for %llu there was no room",
             (unsigned long long)warm->filled, seconds, (unsigned long long)warm->resident,
             (unsigned long long)warm->strangers, (unsigned long long)warm->failed,
             (unsigned long long)warm->left_out);
}

/* ---- a key ------------------------------------------------------------------------------------------------------- */

static void release(struct hand *hand)
{
    hand->is = HAND_FREE;
    hand->warm->busy--;
}

static void rest(struct warm *warm)
{
    uint64_t now_ns = clock_ns();
    if (!pause_lasts(&warm->pause, now_ns))
        pause_begins(&warm->pause, now_ns, FIRST_PAUSE_NS, LAST_PAUSE_NS);
}

/* Tries the key again after a pause; not often when it alone fails. */
static void try_again(struct hand *hand)
{
    struct warm *warm = hand->warm;
    rest(warm);
    if (warm->answered != hand->begun_at)
        hand->tries++;
    else
        hand->tries_alone++;
    hand->is = HAND_AGAIN;
    if (hand->tries < TRIES && hand->tries_alone < TRIES_ALONE)
        return;
    warm->failed++;
    warm->options.counters->warm_failed++;
    release(hand);
}

/* Takes room that the keys before it have left. */
static void put_off(struct hand *hand)
{
    struct warm *warm = hand->warm;
    assert(warm->put_off < warm->next);
    warm->hot[warm->put_off++] = hand->key;
    release(hand);
}

static void schedule(struct warm *warm);

static void answered(struct hand *hand)
{
    hand->warm->answered++;
    pause_ends(&hand->warm->pause);
    release(hand);
}

static void on_done(struct ask *ask, int code, const char *text, const struct answer *answer)
{
    struct hand *hand = container_of(ask, struct hand, ask);
    struct warm *warm = hand->warm;
    struct counters *counters = warm->options.counters;
    (void)text, (void)answer;
    warm->asking--;
    switch (code) {
    case 0:
        warm->filled += !warm->stepping;
        counters->warm_filled += !warm->stepping;
        warm->resident += warm->stepping; /* the table had it: nothing else is answered at once */
        answered(hand);
        break;
    case PERMTAB_E_NOT_FOUND:
        warm->strangers++;
        counters->warm_strangers++;
        answered(hand);
        break;
    case PERMTAB_E_BUSY:
        put_off(hand);
        break;
    case PERMTAB_E_FULL: /* the table is, or the queue */
        rest(warm);
        hand->is = HAND_AGAIN;
        break;
    default:
        try_again(hand);
        break;
    }
    if (!warm->stepping)
        schedule(warm);
}

static void begin_key(struct hand *hand)
{
    struct warm *warm = hand->warm;
    hand->is = HAND_ASKS;
    warm->asking++;
    hand->begun_at = warm->answered;
    hand->ask = (struct ask){.question = {.user = hand->key.user,
                                          .scope = hand->key.scope,
                                          .meaning = publisher_names_version(warm->options.publisher)},
                             .done = on_done,
                             .context = hand};
    ask_start(warm->options.answering, &warm->flow, &hand->ask);
}

/* Gives the hand a key, if there is one. */
static bool take_key(struct hand *hand)
{
    struct warm *warm = hand->warm;
    if (hand->is == HAND_AGAIN)
        return true;
    if (hand->is == HAND_ASKS || warm->next == warm->count)
        return false;
    hand->key = warm->hot[warm->next++];
    hand->tries = hand->tries_alone = 0;
    warm->busy++;
    return true;
}

/* ---- turns ------------------------------------------------------------------------------------------------------- */

/* Whether what is waited for has not come for so long that it will not. */
static bool stuck(struct warm *warm)
{
    uint64_t now_ns = clock_ns();
    if (warm->stuck_ns == 0)
        warm->stuck_ns = now_ns;
    return now_ns - warm->stuck_ns >= PATIENCE_NS;
}

/* Whether there is room for one more than are under way. */
static bool has_room(const struct warm *warm)
{
    return publisher_room(warm->options.publisher) > warm->asking;
}

static bool has_work(const struct warm *warm)
{
    return warm->busy == 0 || warm->busy > warm->asking || (warm->busy < WARM_HANDS && warm->next < warm->count);
}

/* Calls step when there is something to do for it. While all hands ask, their answers are waited for. While it is not
 * known how many keys there are, one is left. */
static void schedule(struct warm *warm)
{
    uint64_t now_ns = clock_ns();
    bool reads = warm->state == WARM_READING;
    warm->options.counters->warm_left = warm->count - warm->next + warm->put_off + warm->busy + reads;
    if (reads)
        (void)timer_at_once(warm->turn);
    else if (warm->state == WARM_COUNTING || (warm->state == WARM_FILLING && !has_room(warm)))
        (void)timer_in_ms(warm->turn, LOOK_MS);
    else if (warm->state == WARM_FILLING && has_work(warm))
        (void)timer_in_ns(warm->turn, pause_lasts(&warm->pause, now_ns) ? warm->pause.until_ns - now_ns : 0);
}

/* Begins as many keys as there are hands for, and room for. */
static void fill(struct warm *warm)
{
    unsigned begun = 0;
    warm->stepping = true;
    for (unsigned i = 0; i < WARM_HANDS; i++)
        while (begun < KEYS_A_TURN && has_room(warm) && take_key(&warm->hands[i])) {
            begun++;
            begin_key(&warm->hands[i]);
            if (warm->hands[i].is != HAND_FREE)
                break; /* it is being read, or has failed */
        }
    warm->stepping = false;
}

/* All keys were tried once: now those that were put off. */
static void turn_to_put_off(struct warm *warm)
{
    if (!answering_knows_users(warm->options.answering)) {
        warm->state = WARM_COUNTING;
        if (!stuck(warm))
            return;
        warm->strangers += warm->put_off;
        warm->put_off = 0;
        end(warm);
        return;
    }
    warm->stuck_ns = 0;
    warm->count = warm->put_off;
    warm->next = warm->put_off = 0;
    warm->state = WARM_FILLING;
}

static void read_on(struct warm *warm)
{
    if (keys_reading_slice(warm->reading, READ_A_TURN))
        return;
    warm->hot = keys_reading_take(warm->reading, &warm->count);
    warm->reading = NULL;
    warm->state = warm->count > 0 ? WARM_FILLING : WARM_ENDED;
    if (warm->count == 0)
        forget_keys(warm);
    else
        log_info("warm-up: %zu keys are known from before", warm->count);
}

static void step(struct warm *warm)
{
    if (warm->state == WARM_READING) {
        read_on(warm);
        return;
    }
    if (warm->next == warm->count && warm->busy == 0 && warm->put_off > 0)
        turn_to_put_off(warm);
    if (warm->state != WARM_FILLING)
        return;
    if (has_room(warm)) {
        warm->stuck_ns = 0;
        if (!pause_lasts(&warm->pause, clock_ns()))
            fill(warm);
    } else if (warm->asking == 0 && stuck(warm)) {
        warm->left_out = warm->count - warm->next + warm->put_off + warm->busy;
        end(warm);
        return;
    }
    if (warm->next == warm->count && warm->busy == 0 && warm->put_off == 0)
        end(warm);
}

static void on_turn(evutil_socket_t descriptor, short what, void *context)
{
    struct warm *warm = context;
    (void)descriptor, (void)what;
    step(warm);
    schedule(warm);
}

/* ---- the beginning ----------------------------------------------------------------------------------------------- */

static void begin(struct warm *warm)
{
    uint32_t types = publisher_catalogue(warm->options.publisher)->types.count;
    warm->begun_ns = clock_ns();
    warm->filled = warm->resident = warm->strangers = warm->failed = warm->left_out = 0;
    warm->state =
        keys_reading_new(&warm->reading, warm->options.keys, types) == 0 ? WARM_READING : WARM_ENDED;
}

void warm_applied(struct warm *warm)
{
    if (warm == NULL || warm->state != WARM_WAITING || !publisher_leased(warm->options.publisher, clock_ns()))
        return;
    begin(warm);
    schedule(warm);
}

void warm_again(struct warm *warm)
{
    if (warm == NULL)
        return;
    forget_keys(warm);
    warm->state = WARM_WAITING;
}

int warm_new(struct warm **out, const struct warm_options *options)
{
    struct warm *warm = calloc(1, sizeof *warm);
    if (warm == NULL)
        return PERMTAB_E_MEMORY;
    warm->options = *options;
    warm->flow.warms = true;
    for (unsigned i = 0; i < WARM_HANDS; i++)
        warm->hands[i].warm = warm;
    warm->turn = evtimer_new(options->base, on_turn, warm);
    if (warm->turn == NULL) {
        free(warm);
        return PERMTAB_E_MEMORY;
    }
    *out = warm;
    return 0;
}

void warm_free(struct warm *warm)
{
    if (warm == NULL)
        return;
    forget_keys(warm);
    event_free(warm->turn);
    free(warm);
}
