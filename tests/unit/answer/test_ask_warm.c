/* Asks of the warm-up come after those of all clients, and leave no trace in what is noted; asks of clients are noted.
 * Fills are played by this file (--wrap, CMakeLists.txt): they end when a test says so. */
#include "proxy/answer/ask.h"

#include "proxy/answer/private.h"
#include "proxy/base/clock.h"
#include "proxy/keys/keys.h"
#include "proxy/l2/l2.h"
#include "tests/support/keys_hottest.h"
#include "tests/support/memory_publisher.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/event.h>

#define ASKS    8192u
#define NOTED   64u
#define CLIENTS 700u
#define LISTS   24u
#define USERS   40u /* with rows */
#define MS      1000000ull

static const struct scope_key global = {0, 0}, server = {1, 1}, channel = {100, 3};

/* Fills under way and done, in the order in which they were begun. */
static struct {
    struct started {
        fill_done_fn done;
        void *context;
        uint64_t user;
        struct scope_key scope;
        enum read_lane lane;
    } started[ASKS];
    unsigned begun, ended;
    l2_done_fn looked; /* of the lookup in L2 that is under way */
    void *look_context;
} fake;

struct fill_wait *__wrap_fill_request(struct fills *fills, uint64_t user, struct scope_key scope,
                                      uint64_t revision, enum read_lane lane, fill_done_fn done,
                                      void *context);
bool __wrap_fill_was_read(const struct fill_wait *wait);
const char *__wrap_feed_trouble(const struct feed *feed);
void __wrap_feed_wake(struct feed *feed);
struct l2_wait *__wrap_l2_lookup_start(struct l2 *l2, uint64_t user, struct scope_key scope,
                                       uint64_t revision, bool warms, l2_done_fn done, void *context);

struct fill_wait *__wrap_fill_request(struct fills *fills, uint64_t user, struct scope_key scope,
                                      uint64_t revision, enum read_lane lane, fill_done_fn done,
                                      void *context)
{
    (void)fills, (void)revision;
    assert_true(fake.begun < ASKS);
    struct started *started = &fake.started[fake.begun++];
    *started = (struct started){done, context, user, scope, lane};
    return (struct fill_wait *)(void *)started;
}

bool __wrap_fill_was_read(const struct fill_wait *wait)
{
    (void)wait;
    return true;
}

const char *__wrap_feed_trouble(const struct feed *feed)
{
    (void)feed;
    return "";
}

void __wrap_feed_wake(struct feed *feed)
{
    (void)feed;
}

/* It has the first one to ask at a time, and no room for others. */
struct l2_wait *__wrap_l2_lookup_start(struct l2 *l2, uint64_t user, struct scope_key scope,
                                       uint64_t revision, bool warms, l2_done_fn done, void *context)
{
    (void)l2, (void)user, (void)scope, (void)revision, (void)warms;
    if (fake.looked != NULL)
        return NULL;
    fake.looked = done;
    fake.look_context = context;
    return (struct l2_wait *)(void *)&fake;
}

struct fixture {
    struct event_base *base;
    struct memory_policy policy;
    struct publisher *publisher;
    struct keys *keys;
    struct answering answering; /* asks alone */
    struct counters counters;
    struct ask_flow warm, client, other, many[CLIENTS];
    struct ask asks[ASKS];
    unsigned asked, told, late;
    uint64_t slow_ns;  /* that it takes to tell one */
    struct ask *again; /* asked anew from inside, when one is late */
};

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    int descriptor;
    memset(&fake, 0, sizeof fake);
    memory_policy_init(&fixture->policy);
    memory_scope(&fixture->policy, server, global, NULL);
    memory_scope(&fixture->policy, channel, server, NULL);
    memory_role(&fixture->policy, 100, "member", server, false, true);
    for (uint64_t user = 1; user <= USERS; user++)
        memory_assign(&fixture->policy, user, 100, server, FACTS_NEVER);
    fixture->publisher = memory_publisher(&fixture->policy, 1000, 10, &fixture->counters);
    publisher_renew(fixture->publisher, clock_ns());
    assert_int_equal(keys_memfd_new(&descriptor), 0);
    assert_int_equal(keys_open(&fixture->keys, descriptor, 7), 0);
    (void)close(descriptor);
    fixture->base = event_base_new();
    struct ask_queue_options asks = {.base = fixture->base,
                                     .publisher = fixture->publisher,
                                     .keys = fixture->keys,
                                     .counters = &fixture->counters,
                                     .running_max = 4,
                                     .warm_max = 3,
                                     .timeout_ms = 60000};
    assert_int_equal(ask_queue_new(&fixture->answering.asks, &asks), 0);
    fixture->warm.warms = true;
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    fixture->slow_ns = 0;
    for (unsigned i = 0; i < fixture->asked; i++)
        if (fixture->asks[i].state == ASK_WAITING)
            ask_cancel(&fixture->asks[i]);
    while (fake.ended < fake.begun) {
        struct started *started = &fake.started[fake.ended++];
        started->done(started->context, PERMTAB_E_STORE, "", NULL);
    }
    ask_queue_free(fixture->answering.asks);
    event_base_free(fixture->base);
    publisher_free(fixture->publisher);
    keys_free(fixture->keys);
    memory_policy_fini(&fixture->policy);
    free(fixture);
    return 0;
}

static void on_done(struct ask *ask, int code, const char *text, const struct answer *answer)
{
    struct fixture *fixture = ask->context;
    uint64_t begun_ns = clock_ns();
    (void)text, (void)answer;
    fixture->told++;
    fixture->late += code == PERMTAB_E_TIMEOUT;
    while (fixture->slow_ns > 0 && clock_ns() - begun_ns < fixture->slow_ns)
        ;
    if (fixture->again != NULL && code == PERMTAB_E_TIMEOUT) {
        struct ask *again = fixture->again;
        fixture->again = NULL;
        ask_start(&fixture->answering, ask->flow, again);
    }
}

static void start(struct fixture *fixture, struct ask_flow *flow, uint64_t user, struct scope_key scope)
{
    struct ask *ask = &fixture->asks[fixture->asked++];
    ask->question = (struct question){
        .user = user, .scope = scope, .meaning = publisher_names_version(fixture->publisher)};
    ask->done = on_done;
    ask->context = fixture;
    ask_start(&fixture->answering, flow, ask);
}

/* One of a list that goes on. */
static void start_listed(struct fixture *fixture, struct ask_flow *flow, uint64_t user)
{
    fixture->asks[fixture->asked].more_follow = true;
    start(fixture, flow, user, server);
}

static void turn(struct fixture *fixture)
{
    (void)event_base_loop(fixture->base, EVLOOP_NONBLOCK);
}

/* How many of those that have been begun are of that lane. */
static unsigned begun_of(enum read_lane lane)
{
    unsigned count = 0;
    for (unsigned i = 0; i < fake.begun; i++)
        count += fake.started[i].lane == lane;
    return count;
}

/* With a token that the table has not reached. */
static void start_later(struct fixture *fixture, struct ask_flow *flow, uint64_t user, uint64_t store,
                        uint64_t revision)
{
    struct ask *ask = &fixture->asks[fixture->asked++];
    ask->question = (struct question){.user = user,
                                      .scope = server,
                                      .meaning = publisher_names_version(fixture->publisher),
                                      .has_token = true,
                                      .token_store = store,
                                      .token_revision = revision};
    ask->done = on_done;
    ask->context = fixture;
    ask_start(&fixture->answering, flow, ask);
}

static void make_queue(struct fixture *fixture, unsigned running_max, uint64_t timeout_ms, struct l2 *l2)
{
    struct ask_queue_options asks = {.base = fixture->base,
                                     .publisher = fixture->publisher,
                                     .l2 = l2,
                                     .counters = &fixture->counters,
                                     .running_max = running_max,
                                     .warm_max = 1,
                                     .timeout_ms = timeout_ms};
    ask_queue_free(fixture->answering.asks);
    assert_int_equal(ask_queue_new(&fixture->answering.asks, &asks), 0);
}

/* A queue that two connections serve. */
static void make_large(struct fixture *fixture)
{
    make_queue(fixture, 2 * READ_TOGETHER_MAX, 60000, NULL);
}

/* All places are taken: three of queues, and four of single questions. */
static void take_all_places(struct fixture *fixture)
{
    for (unsigned i = 0; i < 3; i++)
        start_listed(fixture, &fixture->other, 100 + i);
    for (unsigned i = 0; i < 4; i++)
        start(fixture, &fixture->many[i], 1 + i, server);
    assert_int_equal(fake.begun, 7);
}

/* The oldest fill that is under way fills its entry and ends; then the loop turns. */
static void fill_ends(struct fixture *fixture)
{
    struct started *started = &fake.started[fake.ended++];
    struct answer answer = {.revision = 1, .deadline_ns = UINT64_MAX};
    memory_fill(fixture->publisher, &fixture->policy, 1, started->user, started->scope);
    started->done(started->context, 0, "", &answer);
    (void)event_base_loop(fixture->base, EVLOOP_NONBLOCK);
}

static size_t noted(struct fixture *fixture, struct hot_key out[NOTED])
{
    return keys_hottest(fixture->keys, 4, out, NOTED);
}

static void the_warm_up_comes_last(void **state)
{
    struct fixture *fixture = *state;
    for (uint64_t user = 1; user <= 10; user++)
        start(fixture, &fixture->warm, user, server);
    (void)event_base_loop(fixture->base, EVLOOP_NONBLOCK);
    assert_int_equal(fake.begun, 3);
    start(fixture, &fixture->client, 20, server);
    assert_int_equal(fake.begun, 4);
    for (uint64_t user = 21; user <= 24; user++)
        start(fixture, &fixture->client, user, server);
    start(fixture, &fixture->other, 30, server);
    assert_int_equal(fake.begun,
                     6); /* the warm-up takes no place of clients, nor a queue that of one question */
    while (fake.ended < fake.begun)
        fill_ends(fixture);
    assert_int_equal(fake.begun, 16);
    assert_int_equal(fixture->told, 16);
    assert_int_equal(fake.started[3].lane, READ_ONE);
    assert_int_equal(fake.started[4].lane, READ_LIST);
    assert_int_equal(fake.started[5].lane, READ_ONE);
    for (unsigned i = 6; i < 9; i++)
        assert_int_equal(fake.started[i].lane, READ_LIST);
    for (unsigned i = 9; i < 16; i++)
        assert_int_equal(fake.started[i].lane, READ_WARM);
    assert_int_equal(fixture->counters.socket_hits, 0);
}

/* A client keeps a queue that does not end: after sixteen of its questions comes one of the warm-up's, which waits
 * otherwise for as long as its places are taken. */
static void a_queue_without_end(void **state)
{
    struct fixture *fixture = *state;
    unsigned warm = 0, list = 0;
    start(fixture, &fixture->client, 1, server);
    for (uint64_t user = 2; user <= 6; user++)
        start(fixture, &fixture->client, user, server);
    for (uint64_t scope = 1000; scope < 1017; scope++) {
        start(fixture, &fixture->client, 7, (struct scope_key){scope, 3});
        fill_ends(fixture);
    }
    for (uint64_t user = 30; user <= 32; user++)
        start(fixture, &fixture->warm, user, server);
    assert_int_equal(fixture->client.waiting, 3);
    assert_int_equal(fixture->client.running, 3); /* all places but a quarter are taken */
    unsigned before = fake.begun;
    for (uint64_t user = 7; user < 7 + 34; user++) {
        start(fixture, &fixture->client, user % 30, (struct scope_key){user, 3});
        fill_ends(fixture);
    }
    for (unsigned i = before; i < fake.begun; i++) {
        bool is_warm = fake.started[i].lane == READ_WARM;
        if (is_warm)
            assert_int_equal(list, 16 * (warm + 1));
        warm += is_warm;
        list += !is_warm;
    }
    assert_int_equal(warm, 2);
    assert_true(fixture->client.waiting > 0);
    while (fake.ended < fake.begun)
        fill_ends(fixture);
}

/* Clients with one question each have all their places without end, and others wait for these: a list goes on. */
static void single_questions_without_end(void **state)
{
    struct fixture *fixture = *state;
    for (unsigned i = 0; i < 6; i++)
        start(fixture, &fixture->many[i], 1 + i, server); /* two wait */
    for (uint64_t user = 50; user < 53; user++)
        start_listed(fixture, &fixture->client, user);
    for (unsigned i = 6; i < 46; i++) {
        fill_ends(fixture);
        start(fixture, &fixture->many[i % LISTS], 7, (struct scope_key){1000 + i, 3});
        assert_non_null(*fixture->many[i % LISTS].list); /* it waits */
    }
    assert_int_equal(begun_of(READ_LIST), 3);
    while (fake.ended < fake.begun)
        fill_ends(fixture);
}

/* They have some of their places without end, more than a queue may have under way, and none of them ever waits. */
static void single_questions_that_never_wait(void **state)
{
    struct fixture *fixture = *state;
    make_large(fixture);
    for (unsigned i = 0; i < 40; i++)
        start(fixture, &fixture->many[i], 1 + i, server);
    for (uint64_t user = 50; user < 60; user++)
        start_listed(fixture, &fixture->client, user);
    start(fixture, &fixture->warm, 60, server);
    turn(fixture);
    for (unsigned i = 40; i < 340; i++) {
        fill_ends(fixture);
        start(fixture, &fixture->many[i], 1000 + i, server);
    }
    assert_int_equal(begun_of(READ_ONE), 340);
    assert_int_equal(begun_of(READ_LIST), 10);
    assert_int_equal(begun_of(READ_WARM), 1);
    while (fake.ended < fake.begun)
        fill_ends(fixture);
}

/* A thousand lists have a thousand first ones: they go the way of lists, and take no place of single questions. */
static void the_first_of_a_list_is_of_a_list(void **state)
{
    struct fixture *fixture = *state;
    for (unsigned i = 0; i < LISTS; i++)
        start_listed(fixture, &fixture->many[i], 1 + i);
    assert_int_equal(fake.begun, 3); /* all places but a quarter */
    for (unsigned i = LISTS; i < LISTS + 4; i++) {
        start(fixture, &fixture->many[i], 50 + i, server);
        assert_int_equal(fake.begun, 3 + i - LISTS + 1);
        assert_int_equal(fake.started[fake.begun - 1].lane, READ_ONE);
    }
}

/* The first that a client asks may leave while it waits: the others are a queue from then on, whose turn may have come
 * by that. */
static void what_is_left_is_a_queue(void **state)
{
    struct fixture *fixture = *state;
    struct ask *firsts[6];
    take_all_places(fixture);
    for (unsigned i = 0; i < 6; i++) {
        firsts[i] = &fixture->asks[fixture->asked];
        for (unsigned j = 0; j < 3; j++)
            start(fixture, &fixture->many[4 + i], 10 + 10 * j + i, server);
    }
    while (fake.ended < 3) /* those of queues */
        fill_ends(fixture);
    assert_int_equal(fake.begun, 7);
    for (unsigned i = 0; i < 6; i++)
        ask_cancel(firsts[i]);
    turn(fixture);
    assert_int_equal(begun_of(READ_ONE), 4);
    assert_int_equal(begun_of(READ_LIST), 3 + 3); /* one for every two clients */
    fill_ends(fixture);
    assert_int_equal(begun_of(READ_LIST), 3 + 3);
}

/* Nothing ends, so nobody's turn comes; who waits is told why when its time is over. The warm-up waits as long as it
 * takes, and has its turn when the others are gone. */
static void who_waits_is_told_in_time(void **state)
{
    struct fixture *fixture = *state;
    make_queue(fixture, 4, 50, NULL);
    take_all_places(fixture);
    for (uint64_t user = 10; user < 13; user++)
        start(fixture, &fixture->client, user, server);
    start(fixture, &fixture->warm, 20, server);
    start(fixture, &fixture->warm, 21, server);
    unsigned begun = fake.begun;
    uint64_t begun_ns = clock_ns();
    memory_fill(fixture->publisher, &fixture->policy, 1, 11, server); /* one of them has come meanwhile */
    while (fixture->told < 3 && clock_ns() - begun_ns < 20000 * MS)
        assert_int_equal(event_base_loop(fixture->base, EVLOOP_ONCE), 0);
    assert_int_equal(fixture->told, 3);
    assert_int_equal(fixture->late, 2);
    assert_true(clock_ns() - begun_ns >= 40 * MS);
    assert_int_equal(fixture->client.waiting, 0);
    turn(fixture);
    assert_int_equal(fixture->warm.waiting, 1);
    assert_int_equal(fake.begun, begun + 1);
    assert_int_equal(fake.started[begun].lane, READ_WARM);
    while (fake.ended < fake.begun)
        fill_ends(fixture);
}

/* Who is told that its time is over asks again at once: that waits anew, and is begun by nobody. */
static void who_is_late_asks_again(void **state)
{
    struct fixture *fixture = *state;
    make_queue(fixture, 4, 20, NULL);
    take_all_places(fixture);
    fixture->again = &fixture->asks[fixture->asked];
    start(fixture, &fixture->client, 10, server);
    uint64_t begun_ns = clock_ns();
    while (fixture->told == 0 && clock_ns() - begun_ns < 20000 * MS)
        assert_int_equal(event_base_loop(fixture->base, EVLOOP_ONCE), 0);
    assert_int_equal(fixture->told, 1);
    assert_int_equal(fixture->client.waiting, 1);
    assert_int_equal(fake.begun, 7);
    begun_ns = clock_ns();
    while (fixture->told == 1 && clock_ns() - begun_ns < 20000 * MS)
        assert_int_equal(event_base_loop(fixture->base, EVLOOP_ONCE), 0);
    assert_int_equal(fixture->late, 2);
}

/* Thousands may be late at the same time: each turn of the loop tells some. */
static void the_late_are_told_in_turns(void **state)
{
    struct fixture *fixture = *state;
    make_queue(fixture, 4, 20, NULL);
    take_all_places(fixture);
    for (uint64_t user = 10; user < 40; user++)
        start(fixture, &fixture->client, user, server);
    uint64_t begun_ns = clock_ns();
    while (clock_ns() - begun_ns < 30 * MS) /* all are due */
        ;
    fixture->slow_ns = MS / 5;
    assert_int_equal(event_base_loop(fixture->base, EVLOOP_ONCE), 0);
    if (fixture->told == 0)
        assert_int_equal(event_base_loop(fixture->base, EVLOOP_ONCE), 0);
    assert_in_range(fixture->told, 1, 6);
    fixture->slow_ns = 0;
    while (fixture->told < 30 && clock_ns() - begun_ns < 20000 * MS)
        assert_int_equal(event_base_loop(fixture->base, EVLOOP_ONCE), 0);
    assert_int_equal(fixture->late, 30);
}

/* A question may have waited for L2 before it waits for its turn, so that another one is before it that was asked after
 * it. Each has its time from when it began to wait. */
static void what_waited_for_l2_has_its_time(void **state)
{
    struct fixture *fixture = *state;
    make_queue(fixture, 4, 60, (struct l2 *)(void *)&fake);
    fake.looked = NULL;
    start(fixture, &fixture->client, 10, server); /* looks into L2 */
    assert_non_null(fake.looked);
    for (unsigned i = 0; i < 4; i++)
        start(fixture, &fixture->many[i], 1 + i, server);
    uint64_t begun_ns = clock_ns();
    start(fixture, &fixture->other, 11, server); /* waits at once */
    while (clock_ns() - begun_ns < 40 * MS)
        ;
    begun_ns = clock_ns();
    fake.looked(fake.look_context, L2_MISSED, NULL);
    assert_int_equal(fixture->client.waiting, 1);
    while (fixture->told < 2 && clock_ns() - begun_ns < 20000 * MS)
        assert_int_equal(event_base_loop(fixture->base, EVLOOP_ONCE), 0);
    assert_int_equal(fixture->late, 2);
    assert_true(clock_ns() - begun_ns >= 60 * MS);
}

/* The first of a list, and what is asked beside others that wait for the feed, are not all that the client asks. */
static void who_asks_for_more_is_a_list(void **state)
{
    struct fixture *fixture = *state;
    struct ask *ask = &fixture->asks[fixture->asked];
    ask->more_follow = true;
    start(fixture, &fixture->client, 1, server);
    assert_int_equal(fake.started[0].lane, READ_LIST);
    fill_ends(fixture);
    start(fixture, &fixture->client, 2, server); /* the last */
    assert_int_equal(fake.started[1].lane, READ_ONE);
    fill_ends(fixture);
    struct log_position at = publisher_position(fixture->publisher);
    for (unsigned i = 0; i < 2; i++)
        start_later(fixture, &fixture->client, 3 + i, at.store_id, at.revision + 5);
    start(fixture, &fixture->client, 5, server);
    start(fixture, &fixture->other, 6, server);
    assert_int_equal(fake.begun, 6);
    assert_int_equal(fake.started[2].lane, READ_ONE);
    assert_int_equal(fake.started[3].lane, READ_LIST);
    assert_int_equal(fake.started[4].lane, READ_LIST);
    assert_int_equal(fake.started[5].lane, READ_ONE);
}

/* All places of a large queue but a quarter are a flood's; beside somebody who asks now and then it has as many fills
 * as there are connections, two here. */
static void a_flood_has_few_fills_beside_others(void **state)
{
    struct fixture *fixture = *state;
    make_large(fixture);
    for (uint64_t user = 1; user <= 6; user++)
        start(fixture, &fixture->client, user, server);
    assert_int_equal(fake.begun, 6);
    start(fixture, &fixture->other, 7, server);
    assert_int_equal(fake.begun, 7);
    assert_int_equal(fake.started[6].lane, READ_ONE);
    for (uint64_t user = 8; user <= 12; user++)
        start(fixture, &fixture->client, user, server);
    assert_int_equal(fake.begun, 7);
    while (fake.ended < 6)
        fill_ends(fixture);
    assert_int_equal(fake.begun, 9); /* beside that of the other, which is still under way */
}

/* So many clients want a list of so many each, beside one that asks now and then. */
static void many_lists(struct fixture *fixture, unsigned clients, unsigned each)
{
    make_large(fixture);
    for (unsigned i = 0; i < 2; i++)
        start(fixture, i == 0 ? &fixture->client : &fixture->other, 60 + i, server);
    for (unsigned i = 0; i < clients * each; i++)
        start_listed(fixture, &fixture->many[i % clients], 100 + i);
    for (unsigned i = 0; i < 200; i++) /* each has a millisecond */
        turn(fixture);
}

/* Every two of them have one fill beside somebody who asks now and then. */
static void many_lists_have_a_share_each(void **state)
{
    struct fixture *fixture = *state;
    many_lists(fixture, LISTS, 4);
    assert_int_equal(begun_of(READ_LIST), LISTS / 2);
}

/* Of a crowd each has a share that grows with their number, more than the threads read at a time. */
static void a_crowd_has_many_fills(void **state)
{
    struct fixture *fixture = *state;
    many_lists(fixture, 160, 6);
    assert_int_equal(begun_of(READ_LIST), 160 * 160 / 64);
    start(fixture, &fixture->other, 62, server); /* and takes no place of others */
    assert_int_equal(begun_of(READ_LIST), 160 * 160 / 64);
    assert_int_equal(begun_of(READ_ONE), 2);
}

static void a_crowd_has_a_bound(void **state)
{
    struct fixture *fixture = *state;
    many_lists(fixture, CLIENTS, 8);
    assert_int_equal(begun_of(READ_LIST), READ_QUEUED_MAX);
}

/* Of clients with one question each, some of which ask again at once, those go first that have not for long. */
static void who_asks_seldom_goes_first(void **state)
{
    struct fixture *fixture = *state;
    for (unsigned i = 0; i < 8; i++)
        start(fixture, &fixture->many[i], 1 + i, server); /* four wait */
    assert_int_equal(fake.begun, 4);
    fill_ends(fixture);
    start(fixture, &fixture->many[0], 20, server);
    start(fixture, &fixture->other, 30, server);
    for (unsigned i = 0; i < 4; i++)
        fill_ends(fixture);
    assert_int_equal(fake.begun, 9);
    assert_int_equal(fake.started[8].user, 30); /* after those who have not been served at all */
    start(fixture, &fixture->many[1], 21, server);
    start(fixture, &fixture->other, 31, server);
    start(fixture, &fixture->client, 40, server);
    while (fake.ended < fake.begun)
        fill_ends(fixture);
    static const uint64_t order[] = {31, 40, 20, 21}; /* 31 has a place of a queue */
    assert_int_equal(fake.begun, 13);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(fake.started[9 + i].user, order[i]);
}

static void what_clients_ask_for_is_noted(void **state)
{
    struct fixture *fixture = *state;
    struct hot_key keys[NOTED];
    start(fixture, &fixture->warm, 1, server);
    start(fixture, &fixture->client, 2, server);
    while (fake.ended < fake.begun)
        fill_ends(fixture);
    assert_int_equal(noted(fixture, keys), 1);
    assert_int_equal(keys[0].user, 2);
    assert_int_equal(keys[0].frequency, KEYS_FILL);
    for (unsigned i = 0; i < 16; i++) {
        start(fixture, &fixture->warm, 1, server); /* hits now */
        start(fixture, &fixture->client, 2, server);
        fixture->asked -= 2;
    }
    assert_int_equal(noted(fixture, keys), 1);
    assert_int_equal(keys[0].frequency, KEYS_FILL + 2 * KEYS_FILL);
    assert_int_equal(fixture->counters.socket_hits, 16);
}

static void what_is_made_up_is_not_noted(void **state)
{
    struct fixture *fixture = *state;
    struct hot_key keys[NOTED];
    start(fixture, &fixture->client, 5, (struct scope_key){777, 3}); /* no such place */
    fill_ends(fixture);
    ask_note(fixture->answering.asks, 6, server, KEYS_SAMPLE); /* is not in the table */
    ask_note(fixture->answering.asks, 5, (struct scope_key){777, 3}, KEYS_SAMPLE);
    assert_int_equal(noted(fixture, keys), 0);
}

/* As the scope that has the entry, and lightly by itself. */
static void a_folded_place_is_noted_as_what_it_answers_as(void **state)
{
    struct fixture *fixture = *state;
    struct hot_key keys[NOTED];
    memory_fill(fixture->publisher, &fixture->policy, 1, 5, channel);
    ask_note(fixture->answering.asks, 5, channel, KEYS_SAMPLE);
    assert_int_equal(noted(fixture, keys), 2);
    assert_true(scope_equal(keys[0].scope, server));
    assert_int_equal(keys[0].frequency, KEYS_SAMPLE);
    assert_true(scope_equal(keys[1].scope, channel));
    assert_int_equal(keys[1].frequency, KEYS_FILL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(the_warm_up_comes_last),
        T(a_queue_without_end),
        T(single_questions_without_end),
        T(who_waits_is_told_in_time),
        T(single_questions_that_never_wait),
        T(the_first_of_a_list_is_of_a_list),
        T(what_is_left_is_a_queue),
        T(who_is_late_asks_again),
        T(the_late_are_told_in_turns),
        T(what_waited_for_l2_has_its_time),
        T(who_asks_for_more_is_a_list),
        T(a_flood_has_few_fills_beside_others),
        T(many_lists_have_a_share_each),
        T(a_crowd_has_many_fills),
        T(a_crowd_has_a_bound),
        T(who_asks_seldom_goes_first),
        T(what_clients_ask_for_is_noted),
        T(what_is_made_up_is_not_noted),
        T(a_folded_place_is_noted_as_what_it_answers_as),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
