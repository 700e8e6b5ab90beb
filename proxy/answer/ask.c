/* Carrying out decide(), and the fair order of fills.
 *
 *   ask_start ─► judge ─┬─► told: it is in the table, or there is no answer
 *                  ▲    │
 *                  │    ├─► LOOKING      into L2, once ─► hit: told
 *                  │    │      │ missed
 *                  ├────│──────┘
 *                  │    ├─► WAITING      for the turn of its client
 *                  │    │      │ the turn has come; others may have asked the same meanwhile
 *                  └────│──────┘
 *                       ├─► RUNNING      a fill ─► told
 *                       └─► CATCHING_UP  a fill that is not older than its token ─► told
 *
 * ask_move alone writes the state. An ask is IDLE before ask_start, while it is judged or told, and after
 * ask_cancel. An ask that is told after a while goes through decide() once more.
 *
 * A fill costs a query, so a client that asks for what is not in the table could keep every store connection busy.
 * The order is that of FQ-CoDel (RFC 8290) without the CoDel: clients take turns, and a client that had nothing
 * waiting goes before those that keep a queue. So a client that asks now and then waits for no queue, and is read for
 * in a lane of its own (reads.c). A client that asks again as soon as it is told never has anything waiting, either.
 * Among a thousand of those, one that was served before all who wait now began to wait goes first. As many fills of
 * those are under way as the threads can read at a time, each many of them. Queues have places of their own beside
 * these (queued_max), so neither takes the other's, and the lanes say who is read for first. The warm-up comes after
 * all clients that wait, but one of its own comes after LISTS_A_WARM turns of queues, however many wait.
 *
 * A client that waits for its turn for timeout_ms is told so, whether the turn comes or not. A fill has as long again.
 *
 * L2 is asked first, out of turn: many of its answers take one round trip, and no connection to the store. */
#include "proxy/answer/ask.h"

#include "proxy/answer/private.h"
#include "proxy/base/clock.h"
#include "proxy/base/timer.h"
#include "proxy/base/turn.h"
#include "proxy/keys/keys.h"
#include "proxy/l2/l2.h"
#include "proxy/table/use.h"

#include <assert.h>
#include <event2/event.h>
#include <stdlib.h>
#include <utlist.h>

#define LOOKS_A_TURN    64
#define CATCHING_UP_MAX 64
#define FRESH_NS        200000000ull
#define CROWD           64u /* each of so many clients that keep a queue may have one under way */
/* Turns of queues while the warm-up waits, or so many of the others for each. reads.c has the same for jobs. */
#define LISTS_A_WARM 16u
#define ONES_A_LIST  16u

struct ask_queue {
    struct ask_queue_options options;
    struct event *next_turn;
    struct ask_flow *rare;   /* clients that ask for the first time since all who waited then have been served */
    struct ask_flow *fresh;  /* clients that had nothing waiting before */
    struct ask_flow *steady; /* clients that keep a queue */
    struct ask_flow *warm;   /* the warm-up */
    unsigned steady_count;   /* clients that keep a queue, and have something waiting now */
    unsigned running[READ_LANES]; /* fills, by whose they are */
    unsigned passed_warm;         /* turns while the warm-up waited, since its last one; a queue's are ONES_A_LIST */
    struct ask *waiting;          /* of clients, the first to wait first */
    struct event *too_late;
    uint64_t fresh_seen_ns; /* when a client last asked one thing while others were being served */
    unsigned hits;          /* questions that the table had the answer to */
};

/* ---- states ---------------------------------------------------------------------------------------------------- */

/* The list for clients that keep a queue, and that of the warm-up, which keeps one, too. */
static struct ask_flow **list_of(struct ask_queue *asks, const struct ask_flow *flow)
{
    return flow->warms ? &asks->warm : &asks->steady;
}

/* Whose it is: READ_ONE if it is all that its client asks. The first of a list is not, nor what is asked beside others
 * that wait for the feed, though these take no turn. */
static enum read_lane lane_of(const struct ask *ask)
{
    const struct ask_flow *flow = ask->flow;
    bool asks_more = flow->waiting > 0 || flow->running > 0 || flow->catching_up > 0 || ask->more_follow;
    return flow->warms ? READ_WARM : asks_more ? READ_LIST : READ_ONE;
}

static void flow_put(struct ask_queue *asks, struct ask_flow **list, struct ask_flow *flow)
{
    DL_APPEND(*list, flow);
    flow->list = list;
    flow->queued_ns = clock_ns();
    asks->steady_count += list == &asks->steady;
}

static void flow_remove(struct ask_queue *asks, struct ask_flow *flow)
{
    DL_DELETE(*flow->list, flow);
    asks->steady_count -= flow->list == &asks->steady;
    flow->list = NULL;
}

/* Whether the flow asks less often than its turn would come: whoever waits of those with one question has begun to wait
 * after it was served. */
static bool is_rare(const struct ask_queue *asks, const struct ask_flow *flow)
{
    const struct ask_flow *oldest = asks->fresh != NULL ? asks->fresh : asks->rare;
    return oldest == NULL || flow->served_ns < oldest->queued_ns;
}

/* The list in which a flow begins to wait with this. */
static struct ask_flow **first_list_of(struct ask_queue *asks, const struct ask *ask)
{
    if (ask->lane != READ_ONE)
        return list_of(asks, ask->flow);
    return is_rare(asks, ask->flow) ? &asks->rare : &asks->fresh;
}

static uint64_t too_late_ns(const struct ask *ask)
{
    return ask->waits_ns + ask->asks->options.timeout_ms * 1000000;
}

static void arm_too_late(struct ask_queue *asks)
{
    if (asks->waiting == NULL)
        return;
    uint64_t due_ns = too_late_ns(asks->waiting), now_ns = clock_ns();
    (void)timer_in_ns(asks->too_late, due_ns > now_ns ? due_ns - now_ns : 0);
}

/* The warm-up waits as long as it takes. */
static void waiting_add(struct ask *ask)
{
    if (ask->flow->warms)
        return;
    DL_APPEND2(ask->asks->waiting, ask, all_prev, all_next);
    if (ask->asks->waiting == ask)
        arm_too_late(ask->asks);
}

static void waiting_remove(struct ask *ask)
{
    if (!ask->flow->warms)
        DL_DELETE2(ask->asks->waiting, ask, all_prev, all_next);
}

static void leave(struct ask *ask)
{
    struct ask_flow *flow = ask->flow;
    switch (ask->state) {
    case ASK_IDLE:
        break;
    case ASK_LOOKING:
        ask->l2_wait = NULL;
        break;
    case ASK_WAITING:
        waiting_remove(ask);
        DL_DELETE(flow->asks, ask);
        if (--flow->waiting == 0 || ask->lane == READ_ONE)
            flow_remove(ask->asks, flow);
        if (flow->waiting > 0 && flow->list == NULL) /* the client's others are a queue */
            flow_put(ask->asks, list_of(ask->asks, flow), flow);
        break;
    case ASK_RUNNING:
        flow->running--;
        flow->served_ns = clock_ns();
        ask->asks->running[ask->lane]--;
        ask->wait = NULL;
        break;
    case ASK_CATCHING_UP:
        flow->catching_up--;
        ask->wait = NULL;
        break;
    }
}

static void enter(struct ask *ask)
{
    struct ask_flow *flow = ask->flow;
    struct ask_queue *asks = ask->asks;
    switch (ask->state) {
    case ASK_IDLE:
    case ASK_LOOKING:
        break;
    case ASK_WAITING:
        ask->waits_ns = clock_ns();
        waiting_add(ask);
        DL_APPEND(flow->asks, ask);
        if (flow->waiting++ == 0)
            flow_put(asks, first_list_of(asks, ask), flow);
        break;
    case ASK_RUNNING:
        flow->running++;
        asks->running[ask->lane]++;
        break;
    case ASK_CATCHING_UP:
        flow->catching_up++;
        break;
    }
}

/* Moves the ask to a state, and keeps the lists and counts of both states. */
static void ask_move(struct ask *ask, enum ask_state state)
{
    leave(ask);
    ask->state = state;
    enter(ask);
}

/* ---- one question ---------------------------------------------------------------------------------------- */

static struct table_state state_of(const struct ask_queue *asks, uint64_t now_ns)
{
    struct log_position at = publisher_position(asks->options.publisher);
    return (struct table_state){
        .leased = publisher_leased(asks->options.publisher, now_ns),
        .store_id = at.store_id,
        .revision = at.revision,
        .meaning = publisher_names_version(asks->options.publisher),
    };
}

/* Tells the asker; decides again first, because the ask took a while: the lease may have ended, or the store been
 * replaced by another, with other bits or other revisions. */
static void tell(struct ask *ask, int code, const char *text, const struct answer *answer)
{
    struct ask_queue *asks = ask->asks;
    struct table_state state = state_of(asks, clock_ns());
    state.resident = true;
    switch (code == 0 ? decide(&ask->question, &state) : DECIDE_REPLY) {
    case DECIDE_REPLY:
        ask->done(ask, code, text, answer);
        break;
    case DECIDE_UNKNOWN:
        ask->done(ask, PERMTAB_E_STALE, feed_trouble(asks->options.feed), NULL);
        break;
    case DECIDE_REFUSE:
    case DECIDE_CATCH_UP:
    case DECIDE_FILL:
        ask->done(ask, PERMTAB_E_BEHIND, "the store was replaced meanwhile", NULL);
        break;
    }
}

/* ---- what is asked for ----------------------------------------------------------------------------------- */

/* Hits over the socket that are noted once, as often as a fill. */
#define HITS_A_NOTE 8u
_Static_assert(KEYS_SAMPLE * HITS_A_NOTE == PERMTAB_SHM_SAMPLE_HITS, "a hit weighs the same, however it was told");

/* A folded scope is noted as the one that it answers as, too, and only lightly by itself: a thousand plain channels of
 * one server are one entry a member. */
void ask_note(const struct ask_queue *asks, uint64_t user, struct scope_key scope, uint32_t weight)
{
    struct scope_key at;
    if (asks->options.keys == NULL || !publisher_resident(asks->options.publisher, user, scope, &at))
        return;
    keys_note(asks->options.keys, user, at, weight);
    if (!scope_equal(at, scope))
        keys_note(asks->options.keys, user, scope, KEYS_FILL);
}

void ask_sampled(struct ask_queue *asks, const struct ask_flow *flow, uint64_t user,
                 struct scope_key scope)
{
    if (flow->share != NULL)
        (void)publisher_use(asks->options.publisher, flow->share, user, scope);
    ask_note(asks, user, scope, KEYS_SAMPLE);
}

/* A fill is no use: whoever is asked for once goes soon. */
static void note(struct ask_queue *asks, const struct ask *ask, bool hit)
{
    if (hit && ask->flow->share != NULL)
        (void)publisher_use(asks->options.publisher, ask->flow->share, ask->question.user,
                            ask->question.scope);
    if (!ask->flow->warms && (!hit || asks->hits++ % HITS_A_NOTE == 0))
        ask_note(asks, ask->question.user, ask->question.scope, KEYS_FILL);
}

/* ---- one question, once more ----------------------------------------------------------------------------- */

static bool turn_is_due(const struct ask_queue *asks);

static void on_filled(void *context, int code, const char *text, const struct answer *answer)
{
    struct ask *ask = context;
    struct ask_queue *asks = ask->asks;
    ask->was_read = fill_was_read(ask->wait);
    ask_move(ask, ASK_IDLE);
    if (code == 0)
        note(asks, ask, false);
    tell(ask, code, text, answer);
    if (turn_is_due(asks)) /* once for all that are told now; they may have been begun by the last turn */
        timer_next_turn(asks->next_turn);
}

static void judge(struct ask_queue *asks, struct ask *ask, bool queued);

static void on_looked(void *context, enum l2_outcome outcome, const struct answer *answer)
{
    struct ask *ask = context;
    ask_move(ask, ASK_IDLE);
    if (outcome == L2_ANSWERED) {
        note(ask->asks, ask, false);
        tell(ask, 0, NULL, answer);
    } else {
        judge(ask->asks, ask, false);
    }
}

/* What L2 has is published as it comes, so the warm-up looks there while there is room for all that may be under
 * way. */
#define WARM_ROOM 8192u

/* Asks L2; false when it has been asked already, or is of no use: it has nothing of strangers. */
static bool start_look(struct ask_queue *asks, struct ask *ask)
{
    const struct question *question = &ask->question;
    if (asks->options.l2 == NULL || ask->looked || strangers_include(asks->options.strangers, question->user))
        return false;
    if (ask->flow->warms && publisher_room(asks->options.publisher) < WARM_ROOM)
        return false;
    ask->looked = true;
    ask->l2_wait = l2_lookup_start(asks->options.l2, question->user, question->scope,
                                   question->has_token ? question->token_revision : 0, ask->flow->warms,
                                   on_looked, ask);
    if (ask->l2_wait == NULL)
        return false;
    ask_move(ask, ASK_LOOKING);
    return true;
}

static bool request_fill(struct ask_queue *asks, struct ask *ask)
{
    const struct question *question = &ask->question;
    uint64_t revision = question->has_token ? question->token_revision : 0;
    ask->wait =
        fill_request(asks->options.fills, question->user, question->scope, revision, ask->lane, on_filled, ask);
    if (!ask->wait) {
        ask->done(ask, PERMTAB_E_LIMIT, "too many requests wait for the store", NULL);
        return false;
    }
    return true;
}

static void start_fill(struct ask_queue *asks, struct ask *ask)
{
    if (request_fill(asks, ask))
        ask_move(ask, ASK_RUNNING);
}

/* Begins to wait for the feed. That keeps no connection busy, so it takes no place among the fills: else tokens
 * from the future would stop every client. Each client may have a few. */
static void start_catching_up(struct ask_queue *asks, struct ask *ask)
{
    if (ask->flow->catching_up >= CATCHING_UP_MAX) {
        ask->done(ask, PERMTAB_E_LIMIT, "too many requests wait for their tokens", NULL);
        return;
    }
    feed_wake(asks->options.feed);
    ask->lane = lane_of(ask);
    if (request_fill(asks, ask))
        ask_move(ask, ASK_CATCHING_UP);
}

/* How many fills the clients that keep a queue may have under way. All but a quarter of what the threads read at a time
 * when no other client is there. As long as others ask now and then, one for every two of them: read together these
 * take a quarter of the connections, and leave the others a processor, too. A few that flood have as many as there are
 * connections. The more clients wait, the more of them want users of the same place, and a statement of many costs
 * little more than one of few: so each of n has a share that grows with n, and a thousand that want a list each are not
 * kept waiting for one that asks now and then. */
static unsigned queued_max(const struct ask_queue *asks)
{
    unsigned most = asks->options.running_max - asks->options.running_max / 4, clients = asks->steady_count;
    unsigned crowd = clients < CROWD * CROWD ? clients * clients / CROWD : READ_QUEUED_MAX;
    if (clock_ns() - asks->fresh_seen_ns < FRESH_NS) {
        unsigned least = asks->options.running_max / READ_TOGETHER_MAX, share = clients / 2;
        share = share > least ? share : least;
        most = share < most ? share : most;
    }
    most = most > crowd ? most : crowd;
    return most == 0 ? 1 : most < READ_QUEUED_MAX ? most : READ_QUEUED_MAX;
}

/* How many the warm-up may have, whose fills are read together and take few connections. */
static unsigned warm_max(const struct ask_queue *asks)
{
    unsigned all = asks->options.warm_max;
    return clock_ns() - asks->fresh_seen_ns < FRESH_NS && all >= 4 ? all / 4 : all;
}

/* Whether another fill may begin beside those that are under way for that lane. */
static bool has_place(const struct ask_queue *asks, enum read_lane lane)
{
    unsigned most = lane == READ_ONE    ? asks->options.running_max
                    : lane == READ_LIST ? queued_max(asks)
                                        : warm_max(asks);
    return asks->running[lane] < most;
}

/* The client whose turn it is, or the warm-up when none waits, or has been passed by for long enough. NULL: nobody may
 * be served now. */
static struct ask_flow *next_flow(const struct ask_queue *asks)
{
    bool warm = asks->warm != NULL && has_place(asks, READ_WARM);
    struct ask_flow *one = asks->rare != NULL ? asks->rare : asks->fresh;
    if (warm && asks->passed_warm >= LISTS_A_WARM * ONES_A_LIST)
        return asks->warm;
    if (one != NULL && has_place(asks, READ_ONE))
        return one;
    if (asks->steady != NULL && has_place(asks, READ_LIST))
        return asks->steady;
    return warm && one == NULL && asks->steady == NULL ? asks->warm : NULL;
}

static bool turn_is_due(const struct ask_queue *asks)
{
    return next_flow(asks) != NULL;
}

/* Whether a question need not wait: there is a place, and nobody waits who comes before it. */
static bool may_start(const struct ask_queue *asks, enum read_lane lane)
{
    bool one = asks->rare != NULL || asks->fresh != NULL, list = asks->steady != NULL, warm = asks->warm != NULL;
    bool waits = lane == READ_ONE ? one : lane == READ_LIST ? list : one || list || warm;
    return !waits && has_place(asks, lane);
}

static bool any_running(const struct ask_queue *asks)
{
    return asks->running[READ_ONE] + asks->running[READ_LIST] + asks->running[READ_WARM] > 0;
}

static void start_or_wait(struct ask_queue *asks, struct ask *ask)
{
    ask->lane = lane_of(ask);
    if (ask->lane == READ_ONE && any_running(asks))
        asks->fresh_seen_ns = clock_ns();
    if (may_start(asks, ask->lane)) {
        start_fill(asks, ask);
        return;
    }
    ask_move(ask, ASK_WAITING);
    /* A turn of the loop later, not now: a client that asks many things at once must not be called back in between. */
    if (turn_is_due(asks))
        event_active(asks->next_turn, EV_TIMEOUT, 0);
}

static void judge(struct ask_queue *asks, struct ask *ask, bool queued)
{
    uint64_t now = clock_ns();
    struct answer answer = {0};
    struct table_state state = state_of(asks, now);
    state.resident = state.leased && publisher_lookup(asks->options.publisher, ask->question.user,
                                                      ask->question.scope, &answer);
    switch (decide(&ask->question, &state)) {
    case DECIDE_REPLY:
        asks->options.counters->socket_hits += !queued && !ask->flow->warms;
        note(asks, ask, true);
        ask->done(ask, 0, NULL, &answer);
        break;
    case DECIDE_CATCH_UP:
        start_catching_up(asks, ask);
        break;
    case DECIDE_FILL:
        if (queued && !ask->flow->warms && too_late_ns(ask) <= now)
            ask->done(ask, PERMTAB_E_TIMEOUT, "waited too long for the store", NULL);
        else if (queued)
            start_fill(asks, ask);
        else if (!start_look(asks, ask))
            start_or_wait(asks, ask);
        break;
    case DECIDE_UNKNOWN:
        ask->done(ask, PERMTAB_E_STALE, feed_trouble(asks->options.feed), NULL);
        break;
    case DECIDE_REFUSE:
        ask->done(ask, PERMTAB_E_BEHIND, "the token is of another store", NULL);
        break;
    }
    answer_fini(&answer);
}

void ask_start(struct answering *answering, struct ask_flow *flow, struct ask *ask)
{
    struct ask_queue *asks = answering->asks;
    assert(ask->state == ASK_IDLE);
    ask->asks = asks;
    ask->flow = flow;
    ask->wait = NULL;
    ask->l2_wait = NULL;
    ask->looked = ask->was_read = false;
    judge(asks, ask, false);
}

void ask_cancel(struct ask *ask)
{
    switch (ask->state) {
    case ASK_IDLE:
        return;
    case ASK_LOOKING:
        l2_lookup_cancel(ask->l2_wait);
        break;
    case ASK_WAITING:
        break;
    case ASK_RUNNING:
    case ASK_CATCHING_UP:
        fill_cancel(ask->wait);
        break;
    }
    ask_move(ask, ASK_IDLE);
    if (turn_is_due(ask->asks))
        event_active(ask->asks->next_turn, EV_TIMEOUT, 0);
}

/* ---- the order ------------------------------------------------------------------------------------------- */

/* Notes that the warm-up is passed by. */
static void note_passed(struct ask_queue *asks, enum read_lane lane)
{
    if (lane == READ_WARM)
        asks->passed_warm = 0;
    else if (asks->warm != NULL)
        asks->passed_warm += lane == READ_LIST ? ONES_A_LIST : 1;
}

static struct ask *take_next(struct ask_queue *asks)
{
    struct ask_flow *flow = next_flow(asks);
    if (flow == NULL)
        return NULL;
    struct ask *ask = flow->asks;
    note_passed(asks, ask->lane);
    ask_move(ask, ASK_IDLE);
    if (flow->list) { /* the client's other asks come after those of all other clients */
        flow_remove(asks, flow);
        flow_put(asks, list_of(asks, flow), flow);
    }
    return ask;
}

/* A question that the table answers by now takes no place, so the time bounds the work of one turn. */
static void run_waiting(struct ask_queue *asks)
{
    struct ask *ask;
    uint64_t begun_ns = clock_ns();
    for (unsigned looked = 0; (ask = take_next(asks)) != NULL; looked++) {
        judge(asks, ask, true);
        if (looked % LOOKS_A_TURN == LOOKS_A_TURN - 1 && turn_is_over(begun_ns))
            break;
    }
    if (turn_is_due(asks))
        timer_next_turn(asks->next_turn);
}

static void on_next_turn(evutil_socket_t descriptor, short what, void *context)
{
    (void)descriptor, (void)what;
    run_waiting(context);
}

static void events_free(struct ask_queue *asks)
{
    if (asks->next_turn != NULL)
        event_free(asks->next_turn);
    if (asks->too_late != NULL)
        event_free(asks->too_late);
}

/* Whose time is over is told so, or the answer, should the table have come to have it: whoever is served meanwhile, and
 * if nobody is. Who is told may ask again, and waits anew. */
static void on_too_late(evutil_socket_t descriptor, short what, void *context)
{
    struct ask_queue *asks = context;
    uint64_t begun_ns = clock_ns();
    (void)descriptor, (void)what;
    while (asks->waiting != NULL && too_late_ns(asks->waiting) <= begun_ns) {
        struct ask *ask = asks->waiting;
        ask_move(ask, ASK_IDLE);
        judge(asks, ask, true);
        if (turn_is_over(begun_ns))
            break;
    }
    arm_too_late(asks);
    if (turn_is_due(asks)) /* those that they kept waiting */
        timer_next_turn(asks->next_turn);
}

int ask_queue_new(struct ask_queue **out, const struct ask_queue_options *options)
{
    struct ask_queue *asks = calloc(1, sizeof *asks);
    if (asks == NULL)
        return PERMTAB_E_MEMORY;
    asks->options = *options;
    asks->next_turn = evtimer_new(options->base, on_next_turn, asks);
    asks->too_late = evtimer_new(options->base, on_too_late, asks);
    if (asks->next_turn == NULL || asks->too_late == NULL) {
        events_free(asks);
        free(asks);
        return PERMTAB_E_MEMORY;
    }
    *out = asks;
    return 0;
}

void ask_queue_free(struct ask_queue *asks)
{
    if (!asks)
        return;
    assert(!any_running(asks));
    assert(!asks->rare && !asks->fresh && !asks->steady && !asks->warm);
    events_free(asks);
    free(asks);
}
