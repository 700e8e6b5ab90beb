/* Hands: each asks for one key at a time, as a client would. A key that could not be read is tried again after a pause
 * that grows, and given up when it alone fails. */
#include "proxy/warm/private.h"

#include "proxy/base/clock.h"
#include "proxy/base/container_of.h"
#include "proxy/base/counters.h"
#include "proxy/table/publisher.h"

#include <assert.h>

#define KEYS_A_TURN 512u /* most of them are there already, or this would be more than a turn takes */
#define TRIES       3u   /* of a key, while others are answered */
#define TRIES_ALONE 20u  /* while none is */

#define FIRST_PAUSE_NS 100000000ull
#define LAST_PAUSE_NS  5000000000ull

static void release(struct hand *hand)
{
    hand->is = HAND_FREE;
    hand->warm->busy--;
    hand->job->busy--;
    hand->job = NULL;
}

void hands_rest(struct warm *warm)
{
    uint64_t now_ns = clock_ns();
    if (!pause_lasts(&warm->pause, now_ns))
        pause_begins(&warm->pause, now_ns, FIRST_PAUSE_NS, LAST_PAUSE_NS);
}

/* Tries the key again after a pause; not often when it alone fails. */
static void try_again(struct hand *hand)
{
    struct warm *warm = hand->warm;
    hands_rest(warm);
    if (warm->answered != hand->begun_at)
        hand->tries++;
    else
        hand->tries_alone++;
    hand->is = HAND_AGAIN;
    if (hand->tries < TRIES && hand->tries_alone < TRIES_ALONE)
        return;
    hand->job->status.failed++;
    warm->options.counters->warm_failed++;
    release(hand);
}

/* Takes room that the keys before it have left. */
static void put_off(struct hand *hand)
{
    struct job *job = hand->job;
    assert(job->put_off < job->next_key);
    job->keys[job->put_off++] = hand->key;
    release(hand);
}

/* Only what the store has answered says that it is there. */
static void answered(struct hand *hand)
{
    if (hand->ask.was_read) {
        hand->warm->answered++;
        pause_ends(&hand->warm->pause);
    }
    release(hand);
}

static void count_filled(struct hand *hand)
{
    struct warm *warm = hand->warm;
    if (warm->stepping) { /* the table had it: nothing else is answered at once */
        hand->job->status.resident++;
        return;
    }
    hand->job->status.filled++;
    warm->options.counters->warm_filled++;
}

static void on_done(struct ask *ask, int code, const char *text, const struct answer *answer)
{
    struct hand *hand = container_of(ask, struct hand, ask);
    struct warm *warm = hand->warm;
    (void)answer;
    warm->asking--;
    switch (code) {
    case 0:
        count_filled(hand);
        answered(hand);
        break;
    case PERMTAB_E_NOT_FOUND:
        hand->job->status.strangers++;
        warm->options.counters->warm_strangers++;
        answered(hand);
        break;
    case PERMTAB_E_BUSY:
        put_off(hand);
        break;
    case PERMTAB_E_FULL: /* the table is, or the queue */
        hands_rest(warm);
        hand->is = HAND_AGAIN;
        break;
    default:
        job_keep_why(hand->job, text);
        try_again(hand);
        break;
    }
    if (!warm->stepping)
        warm_schedule(warm);
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

/* The next key of a job that has one: what runs have left comes first. */
static struct hot_key next_key(struct job *job)
{
    if (job->next_alone == job->alone_count)
        return job->keys[job->next_key++];
    struct hot_key key = job->alone[job->next_alone++];
    if (job->next_alone == job->alone_count)
        job_forget_alone(job);
    return key;
}

/* Gives the hand a key, if there is one. */
static bool take_key(struct hand *hand)
{
    struct job *job;
    if (hand->is == HAND_AGAIN)
        return true;
    if (hand->is == HAND_ASKS || (job = warm_giver(hand->warm)) == NULL)
        return false;
    hand->job = job;
    hand->key = next_key(job);
    hand->tries = hand->tries_alone = 0;
    hand->warm->busy++;
    job->busy++;
    return true;
}

static unsigned hands_max(const struct warm *warm)
{
    return warm->budget.percent < BUDGET_ALL ? WARM_HANDS_PACED : WARM_HANDS;
}

bool hands_have_room(const struct warm *warm)
{
    return publisher_room(warm->options.publisher) > warm->asking + warm->run_keys;
}

bool hands_have_work(const struct warm *warm)
{
    return warm->asking < hands_max(warm) &&
           (warm->busy > warm->asking || (warm->busy < WARM_HANDS && warm_giver(warm) != NULL));
}

void hands_fill(struct warm *warm)
{
    unsigned begun = 0, most = hands_max(warm);
    warm->stepping = true;
    for (unsigned i = 0; i < WARM_HANDS; i++)
        while (begun < KEYS_A_TURN && warm->asking < most && hands_have_room(warm) && take_key(&warm->hands[i])) {
            begun++;
            begin_key(&warm->hands[i]);
            if (warm->hands[i].is != HAND_FREE)
                break; /* it is being read, or has failed */
        }
    warm->stepping = false;
}

void hands_drop(struct warm *warm, const struct job *job)
{
    for (unsigned i = 0; i < WARM_HANDS; i++) {
        struct hand *hand = &warm->hands[i];
        if (hand->is == HAND_FREE || hand->job != job)
            continue;
        if (hand->is == HAND_ASKS) {
            ask_cancel(&hand->ask);
            warm->asking--;
        }
        release(hand);
    }
}
