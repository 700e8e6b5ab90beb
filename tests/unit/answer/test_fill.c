/* Fills whose facts are ahead of the table. Reads, and what comes of publishing, are played by this file (--wrap,
 * CMakeLists.txt); the publisher is there for its position and for when it was confirmed. */
#include "proxy/answer/fill.h"

#include "proxy/base/clock.h"
#include "proxy/l2/l2.h"
#include "proxy/table/fill.h"
#include "tests/support/memory_policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <event2/event.h>

#define SECOND 1000000000ull
#define READS  64u

struct fetch {
    fetch_done_fn done;
    void *context;
};

static struct {
    struct fetch reads[READS]; /* under way */
    unsigned begun, told, cancelled, woken;
    enum publisher_outcome outcome;
    uint64_t revision; /* of what is read */
    uint64_t epoch, put_epoch;
    unsigned puts, published, hurried;
    enum read_lane lane; /* of the last fetch, or its hurry */
    bool refresh;        /* the last fetch */
    enum fetch_from from;
    bool waits;          /* no fetch has been begun by a thread */
    int known;
    bool full;    /* the table */
    bool unasked; /* what was published last */
    size_t rows;  /* of what is read */
    uint64_t slow_ns; /* that publishing takes */
    int begin_code;   /* what the next fetches say */
} fake;

int __wrap_fetch_begin(struct fetch **out, struct fetches *fetches, uint64_t user, struct scope_key scope,
                       struct fetch_how how, fetch_done_fn done, void *context);
void __wrap_fetch_cancel(struct fetch *fetch);
void __wrap_fetch_hurry(struct fetch *fetch, enum read_lane lane);
bool __wrap_fetch_waits(const struct fetch *fetch);
enum publisher_outcome __wrap_fetch_publish(struct fetches *fetches, struct facts *facts,
                                            struct fetch_origin *origin, uint64_t now_ns,
                                            struct answer *answer);
int __wrap_fetch_is_known(const struct fetches *fetches, const struct facts *facts);
uint64_t __wrap_publisher_room(const struct publisher *publisher);
void __wrap_feed_wake(struct feed *feed);
bool __wrap_l2_epoch(const struct l2 *l2, uint64_t *epoch);
void __wrap_l2_put(struct l2 *l2, struct facts *facts, uint64_t epoch, uint64_t cost_us, bool refresh);

int __wrap_fetch_begin(struct fetch **out, struct fetches *fetches, uint64_t user, struct scope_key scope,
                       struct fetch_how how, fetch_done_fn done, void *context)
{
    (void)fetches, (void)user, (void)scope;
    fake.lane = how.lane;
    fake.refresh = how.refresh;
    if (fake.begin_code < 0)
        return fake.begin_code;
    assert_in_range(fake.begun, 0, READS - 1);
    *out = &fake.reads[fake.begun++];
    **out = (struct fetch){done, context};
    return 0;
}

void __wrap_fetch_hurry(struct fetch *fetch, enum read_lane lane)
{
    (void)fetch;
    fake.hurried++;
    fake.lane = lane;
}

bool __wrap_fetch_waits(const struct fetch *fetch)
{
    (void)fetch;
    return fake.waits;
}

void __wrap_fetch_cancel(struct fetch *fetch)
{
    (void)fetch;
    fake.cancelled++;
}

enum publisher_outcome __wrap_fetch_publish(struct fetches *fetches, struct facts *facts,
                                            struct fetch_origin *origin, uint64_t now_ns,
                                            struct answer *answer)
{
    (void)fetches, (void)origin, (void)answer;
    fake.published++;
    while (fake.slow_ns > 0 && clock_ns() - now_ns < fake.slow_ns)
        ;
    fake.unasked = facts->unasked;
    return fake.outcome;
}

int __wrap_fetch_is_known(const struct fetches *fetches, const struct facts *facts)
{
    (void)fetches, (void)facts;
    return fake.known;
}

uint64_t __wrap_publisher_room(const struct publisher *publisher)
{
    (void)publisher;
    return fake.full ? 0 : 1;
}

void __wrap_feed_wake(struct feed *feed)
{
    (void)feed;
    fake.woken++;
}

bool __wrap_l2_epoch(const struct l2 *l2, uint64_t *epoch)
{
    (void)l2;
    *epoch = fake.epoch;
    return fake.epoch != 0;
}

void __wrap_l2_put(struct l2 *l2, struct facts *facts, uint64_t epoch, uint64_t cost_us, bool refresh)
{
    (void)l2, (void)cost_us, (void)refresh;
    facts_fini(facts);
    fake.put_epoch = epoch;
    fake.puts++;
}

struct fixture {
    struct event_base *base;
    struct publisher *publisher;
    struct fills *fills;
    struct counters counters;
    unsigned answered, failed;
    int code; /* of the last one */
    struct fill_wait *wait; /* what it says of itself is noted */
    bool was_read;
};

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    struct publisher_options options = {
        .permissions_max = 64, .entries = 100, .sets = 10, .folds = 1, .max_staleness_ns = 2 * SECOND};
    struct log_position at = {7, 5, 5};
    struct memory_policy policy;
    struct catalogue catalogue;
    memset(&fake, 0, sizeof fake);
    fake.from = FETCH_PRIMARY;
    memory_policy_init(&policy);
    memory_catalogue(&policy, 1, &catalogue);
    memory_policy_fini(&policy);
    assert_int_equal(
        publisher_new(&fixture->publisher, &options, &at, 1000, &catalogue, &fixture->counters, NULL), 0);
    fixture->base = event_base_new();
    struct fills_options fills = {.base = fixture->base,
                                  .publisher = fixture->publisher,
                                  .l2 = (struct l2 *)(void *)&fake,
                                  .counters = &fixture->counters,
                                  .timeout_ms = 5000,
                                  .waiting_max = 100};
    assert_int_equal(fills_new(&fixture->fills, &fills), 0);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    fills_free(fixture->fills);
    publisher_free(fixture->publisher);
    event_base_free(fixture->base);
    free(fixture);
    return 0;
}

static void on_filled(void *context, int code, const char *text, const struct answer *answer)
{
    struct fixture *fixture = context;
    (void)text, (void)answer;
    fixture->answered += code == 0;
    fixture->failed += code < 0;
    fixture->code = code;
    fixture->was_read = fixture->wait != NULL && fill_was_read(fixture->wait);
}

/* The oldest read that is under way comes back. */
static void read_ends(void)
{
    struct facts facts = {.revision = fake.revision,
                          .nonce = fake.revision,
                          .overwrite_count = fake.rows,
                          .overwrites = fake.rows > 0 ? calloc(fake.rows, sizeof *facts.overwrites) : NULL};
    struct fetch_origin origin = {.from = fake.from, .cost_ns = 1000};
    struct fetch *fetch = &fake.reads[fake.told++];
    fetch->done(fetch->context, 0, "", &facts, &origin);
}

/* One that begins now and brings nothing. */
static void poll_is_applied(struct fixture *fixture)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    publisher_renew(fixture->publisher, (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec);
    fills_applied(fixture->fills, publisher_position(fixture->publisher).revision);
}

static struct fill_wait *ask_at(struct fixture *fixture, uint64_t user, enum read_lane lane)
{
    return fill_request(fixture->fills, user, (struct scope_key){0, 0}, 0, lane, on_filled, fixture);
}

static struct fill_wait *ask_full(struct fixture *fixture)
{
    fake.begin_code = PERMTAB_E_FULL;
    return ask_at(fixture, 99, READ_ONE);
}

static struct fill_wait *ask(struct fixture *fixture)
{
    return fill_request(fixture->fills, 1, (struct scope_key){0, 0}, 0, READ_ONE, on_filled, fixture);
}

/* A poll that began after the read must bring the table to where it was read, or it was read elsewhere. */
static void ahead_for_ever_is_read_again(void **state)
{
    struct fixture *fixture = *state;
    fake.outcome = PUBLISHER_EARLY;
    fake.revision = 9;
    assert_non_null(ask(fixture));
    read_ends();
    assert_int_equal(fake.begun, 1);
    assert_int_equal(fake.woken, 1);
    poll_is_applied(fixture);
    assert_int_equal(fake.begun, 2);
    fake.outcome = PUBLISHER_FILLED;
    read_ends();
    assert_int_equal(fixture->answered, 1);
}

static void ahead_for_ever_and_nobody_waits(void **state)
{
    struct fixture *fixture = *state;
    fake.outcome = PUBLISHER_EARLY;
    fake.revision = 9;
    fill_cancel(ask(fixture));
    read_ends();
    poll_is_applied(fixture);
    unsigned woken = fake.woken;
    for (int i = 0; i < 5; i++)
        poll_is_applied(fixture);
    assert_int_equal(fake.woken, woken); /* polls beget no polls */
    assert_int_equal(fake.begun, 1);
}

/* A fill that is read twice is put with the epoch of the second reading. */
static void what_is_put_is_of_the_epoch_in_which_its_reading_began(void **state)
{
    struct fixture *fixture = *state;
    fake.epoch = 1;
    (void)ask(fixture);
    fake.epoch = 2;
    fake.outcome = PUBLISHER_OUTDATED;
    read_ends();
    fake.epoch = 3;
    fake.outcome = PUBLISHER_EARLY;
    read_ends();
    fake.epoch = 4;
    fake.outcome = PUBLISHER_FILLED;
    fills_applied(fixture->fills, publisher_position(fixture->publisher).revision);
    assert_int_equal(fake.puts, 1);
    assert_int_equal(fake.put_epoch, 2);
    fake.epoch = 0;
    (void)ask(fixture);
    fake.epoch = 5;
    read_ends();
    assert_int_equal(fake.puts, 2);
    assert_int_equal(fake.put_epoch, 0); /* which is none */
}

/* It was read before the epoch that the fill began in. Its user was a stranger then, and is known when it is published,
 * or nobody could tell. */
static void what_is_kept_is_not_put(void **state)
{
    struct fixture *fixture = *state;
    fake.outcome = PUBLISHER_FILLED;
    fake.revision = 5;
    for (fake.from = FETCH_KEPT; fake.from <= FETCH_PRIMARY; fake.from++) {
        fake.puts = 0;
        assert_non_null(ask(fixture));
        read_ends();
        assert_int_equal(fake.puts, fake.from != FETCH_KEPT);
    }
    assert_int_equal(fixture->answered, 3);
    fake.from = FETCH_KEPT; /* something has changed since: what is read then is put */
    fake.puts = 0;
    fake.outcome = PUBLISHER_OUTDATED;
    assert_non_null(ask(fixture));
    read_ends();
    fake.from = FETCH_PRIMARY;
    fake.outcome = PUBLISHER_FILLED;
    read_ends();
    assert_int_equal(fake.puts, 1);
}

/* Facts that messages delay are of a revision that the table has: they are not read again for that. */
static void doubted_facts_are_held(void **state)
{
    struct fixture *fixture = *state;
    fake.outcome = PUBLISHER_EARLY;
    fake.revision = 5;
    assert_non_null(ask(fixture));
    read_ends();
    for (int i = 0; i < 5; i++)
        poll_is_applied(fixture);
    assert_int_equal(fake.begun, 1);
    fake.outcome = PUBLISHER_FILLED;
    poll_is_applied(fixture);
    assert_int_equal(fixture->answered, 1);
}

/* ---- the warm-up's ----------------------------------------------------------------------------------------------- */

static struct fill_wait *warm(struct fixture *fixture)
{
    return fill_request(fixture->fills, 1, (struct scope_key){0, 0}, 0, READ_WARM, on_filled, fixture);
}

/* Nobody waits for the warm-up, so its reads wait for company; until a client does. */
static void a_client_joins_the_warm_up(void **state)
{
    struct fixture *fixture = *state;
    assert_non_null(warm(fixture));
    assert_int_equal(fake.lane, READ_WARM);
    assert_non_null(warm(fixture));
    assert_int_equal(fake.hurried, 0);
    assert_non_null(ask(fixture));
    assert_non_null(ask(fixture));
    assert_int_equal(fake.begun, 1);
    assert_int_equal(fake.hurried, 1);
    fake.outcome = PUBLISHER_FILLED;
    fake.revision = 5;
    read_ends();
    assert_int_equal(fixture->answered, 4);
}

static void a_client_begins(void **state)
{
    struct fixture *fixture = *state;
    assert_non_null(ask(fixture));
    assert_non_null(warm(fixture));
    assert_int_equal(fake.begun, 1);
    assert_int_equal(fake.lane, READ_ONE);
    assert_int_equal(fake.hurried, 0);
}

static void the_warm_up_fills_no_stranger(void **state)
{
    struct fixture *fixture = *state;
    fake.outcome = PUBLISHER_FILLED;
    fake.revision = 5;
    static const int codes[] = {PERMTAB_E_NOT_FOUND, PERMTAB_E_BUSY, 0};
    for (unsigned i = 0; i < 3; i++) {
        fake.known = codes[i];
        assert_non_null(warm(fixture));
        read_ends();
        assert_int_equal(fixture->code, codes[i]);
    }
    assert_int_equal(fake.published, 1);
}

/* What is kept of strangers says nothing of the store, whoever is told, and what. */
static void what_has_been_read_is_told_so(void **state)
{
    struct fixture *fixture = *state;
    fake.outcome = PUBLISHER_FILLED;
    fake.revision = 5;
    static const int codes[] = {PERMTAB_E_NOT_FOUND, 0};
    for (unsigned i = 0; i < 2; i++) {
        fake.known = codes[i];
        for (fake.from = FETCH_KEPT; fake.from <= FETCH_PRIMARY; fake.from++) {
            fixture->wait = warm(fixture);
            read_ends();
            assert_int_equal(fixture->code, codes[i]);
            assert_int_equal(fixture->was_read, fake.from != FETCH_KEPT);
        }
    }
}

/* A job is cancelled while its keys are read: that makes them no client's. What L2 is to have is another matter. */
static void what_the_warm_up_has_left_is_still_its(void **state)
{
    struct fixture *fixture = *state;
    fake.outcome = PUBLISHER_FILLED;
    fake.revision = 5;
    fake.known = PERMTAB_E_NOT_FOUND;
    fill_cancel(warm(fixture));
    read_ends();
    fake.known = 0;
    fake.full = true;
    fill_cancel(warm(fixture));
    read_ends();
    assert_int_equal(fake.published, 0);
    fill_cancel(ask(fixture));
    read_ends();
    assert_int_equal(fake.published, 1);
    fill_refresh(fixture->fills, 7, (struct scope_key){0, 0});
    read_ends();
    assert_int_equal(fake.published, 2);
    fake.full = false;
    fill_cancel(warm(fixture));
    read_ends();
    assert_int_equal(fake.published, 3);
}

/* There is room when it begins, and none when the facts are there. */
static void the_warm_up_displaces_nothing(void **state)
{
    struct fixture *fixture = *state;
    fake.outcome = PUBLISHER_FILLED;
    fake.revision = 5;
    assert_non_null(warm(fixture));
    fake.full = true;
    read_ends();
    assert_int_equal(fixture->code, PERMTAB_E_FULL);
    assert_int_equal(fake.published, 0);
}

static void what_a_client_asks_for_is_filled(void **state)
{
    struct fixture *fixture = *state;
    fake.outcome = PUBLISHER_FILLED;
    fake.revision = 5;
    fake.known = PERMTAB_E_NOT_FOUND;
    assert_non_null(warm(fixture));
    assert_non_null(ask(fixture));
    fake.full = true;
    read_ends();
    assert_int_equal(fixture->answered, 2);
    assert_int_equal(fake.published, 1);
}

/* A client makes a miss of it, also one that has given up, and one that asks for the same as the warm-up. */
static void what_a_client_asks_for_is_a_miss(void **state)
{
    struct fixture *fixture = *state;
    fake.outcome = PUBLISHER_FILLED;
    fake.revision = 5;
    assert_non_null(warm(fixture));
    read_ends();
    assert_true(fake.unasked);
    assert_non_null(ask(fixture));
    read_ends();
    assert_false(fake.unasked);
    assert_non_null(warm(fixture));
    assert_non_null(ask(fixture));
    read_ends();
    assert_false(fake.unasked);
    fill_cancel(ask(fixture));
    assert_non_null(warm(fixture));
    read_ends();
    assert_false(fake.unasked);
    fill_refresh(fixture->fills, 1, (struct scope_key){0, 0});
    read_ends();
    assert_true(fake.unasked);
    assert_int_equal(fake.published, 5);
}

/* ---- who waits, and who does not any more ------------------------------------------------------------------------ */

static void who_joins_is_not_made_to_wait_longer(void **state)
{
    struct fixture *fixture = *state;
    assert_non_null(ask_at(fixture, 1, READ_WARM));
    assert_non_null(ask_at(fixture, 1, READ_LIST));
    assert_int_equal(fake.hurried, 1);
    assert_int_equal(fake.lane, READ_LIST);
    assert_non_null(ask_at(fixture, 1, READ_ONE));
    assert_int_equal(fake.hurried, 2);
    assert_int_equal(fake.lane, READ_ONE);
    assert_non_null(ask_at(fixture, 1, READ_LIST));
    assert_int_equal(fake.hurried, 2);
    fake.outcome = PUBLISHER_OUTDATED; /* it is read again for the first of them */
    read_ends();
    assert_int_equal(fake.lane, READ_ONE);
    assert_int_equal(fake.begun, 2);
}

static void what_nobody_waits_for_is_not_read(void **state)
{
    struct fixture *fixture = *state;
    struct fill_wait *first = ask(fixture), *second = ask(fixture);
    fake.waits = true;
    fill_cancel(first);
    assert_int_equal(fake.cancelled, 0);
    fill_cancel(second);
    assert_int_equal(fake.cancelled, 1);
    assert_non_null(ask(fixture)); /* anew */
    assert_int_equal(fake.begun, 2);
    fake.waits = false;
    fill_cancel(ask_at(fixture, 2, READ_LIST)); /* a thread has it: it is published */
    assert_int_equal(fake.cancelled, 1);
}

/* L2 waits for it, although nobody tells it; and it is no read of the warm-up's. */
static void a_refresh_is_not_given_up(void **state)
{
    struct fixture *fixture = *state;
    fill_refresh(fixture->fills, 7, (struct scope_key){0, 0});
    assert_true(fake.refresh);
    fake.waits = true;
    fill_cancel(ask_at(fixture, 7, READ_LIST));
    assert_int_equal(fake.cancelled, 0);
    fill_refresh(fixture->fills, 8, (struct scope_key){0, 0});
    assert_int_equal(fake.begun, 2);
    fake.outcome = PUBLISHER_OUTDATED;
    fake.refresh = false;
    assert_non_null(ask_at(fixture, 7, READ_LIST));
    read_ends();
    assert_true(fake.refresh); /* as it was */
    assert_int_equal(fake.begun, 3);
    assert_non_null(warm(fixture));
    assert_false(fake.refresh);
}

/* The time of a client that waited for a thread ends. */
static void what_nobody_waits_for_any_more_is_not_read(void **state)
{
    struct fixture *fixture = *state;
    struct fills_options options = {.base = fixture->base,
                                    .publisher = fixture->publisher,
                                    .counters = &fixture->counters,
                                    .timeout_ms = 1,
                                    .waiting_max = 100};
    struct fills *fills;
    assert_int_equal(fills_new(&fills, &options), 0);
    fake.waits = true;
    assert_non_null(fill_request(fills, 1, (struct scope_key){0, 0}, 0, READ_ONE, on_filled, fixture));
    while (fixture->failed == 0)
        assert_int_equal(event_base_loop(fixture->base, EVLOOP_ONCE), 0);
    assert_int_equal(fixture->code, PERMTAB_E_TIMEOUT);
    assert_int_equal(fake.cancelled, 1);
    fills_free(fills);
}

/* ---- what is held ------------------------------------------------------------------------------------------------ */

/* After a batch all of it is published, but not in one turn of the loop. */
static void what_is_held_is_published_in_turns(void **state)
{
    struct fixture *fixture = *state;
    fake.outcome = PUBLISHER_EARLY;
    fake.revision = 5;
    for (unsigned i = 0; i < 20; i++) {
        assert_non_null(ask_at(fixture, i, READ_LIST));
        read_ends();
    }
    fake.outcome = PUBLISHER_FILLED;
    fake.slow_ns = 300000;
    poll_is_applied(fixture);
    assert_in_range(fixture->answered, 1, 4);
    unsigned answered = fixture->answered;
    assert_int_equal(event_base_loop(fixture->base, EVLOOP_ONCE), 0);
    assert_in_range(fixture->answered, answered + 1, answered + 4);
    poll_is_applied(fixture); /* meanwhile */
    while (fixture->answered < 20)
        assert_int_equal(event_base_loop(fixture->base, EVLOOP_ONCE), 0);
    assert_int_equal(fake.published, 40);
}

/* 64 MB are kept for the next batch; what is more is read again after it. */
static void what_is_held_has_a_bound(void **state)
{
    struct fixture *fixture = *state;
    fake.outcome = PUBLISHER_EARLY;
    fake.revision = 5;
    fake.rows = (24u << 20) / sizeof(struct facts_overwrite);
    for (unsigned i = 0; i < 4; i++) {
        assert_non_null(ask_at(fixture, i, READ_LIST));
        read_ends();
    }
    assert_int_equal(fake.begun, 4);
    fake.rows = 0;
    fake.outcome = PUBLISHER_FILLED;
    poll_is_applied(fixture);
    while (fixture->answered < 2 || fake.begun < 6) /* giving back so much memory may take more than a turn */
        assert_int_equal(event_base_loop(fixture->base, EVLOOP_ONCE), 0);
    assert_int_equal(fixture->answered, 2);
    assert_int_equal(fake.begun, 6);
    read_ends();
    read_ends();
    assert_int_equal(fixture->answered, 4);
}

/* Others have filled the queue: those that wait for a batch wait for one more, and fail when their time is over. */
static void what_is_behind_waits_for_the_queue(void **state)
{
    struct fixture *fixture = *state;
    assert_non_null(ask_at(fixture, 0, READ_LIST));
    fake.outcome = PUBLISHER_EARLY;
    fake.revision = 5;
    fake.rows = (96u << 20) / sizeof(struct facts_overwrite); /* too much to be held */
    assert_non_null(ask_at(fixture, 1, READ_LIST));
    fake.outcome = PUBLISHER_OUTDATED;
    fake.begin_code = PERMTAB_E_FULL;
    read_ends(); /* to be read again at once */
    fake.outcome = PUBLISHER_EARLY;
    read_ends();
    unsigned woken = fake.woken;
    poll_is_applied(fixture);
    assert_int_equal(fake.begun, 2);
    assert_int_equal(fixture->failed, 0);
    assert_true(fake.woken > woken);
    fake.begin_code = 0;
    fake.rows = 0;
    fake.outcome = PUBLISHER_FILLED;
    poll_is_applied(fixture);
    assert_int_equal(fake.begun, 4);
    read_ends();
    read_ends();
    assert_int_equal(fixture->answered, 2);
    assert_null(ask_full(fixture)); /* who comes then is told so */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(a_client_joins_the_warm_up),       T(a_client_begins),
        T(ahead_for_ever_is_read_again),     T(ahead_for_ever_and_nobody_waits),
        T(doubted_facts_are_held),           T(what_is_put_is_of_the_epoch_in_which_its_reading_began),
        T(what_is_kept_is_not_put),
        T(the_warm_up_fills_no_stranger),    T(the_warm_up_displaces_nothing),
        T(what_has_been_read_is_told_so),
        T(what_the_warm_up_has_left_is_still_its),
        T(what_a_client_asks_for_is_filled), T(what_a_client_asks_for_is_a_miss),
        T(what_is_held_has_a_bound),         T(what_is_held_is_published_in_turns),
        T(what_nobody_waits_for_is_not_read),
        T(a_refresh_is_not_given_up), T(what_nobody_waits_for_any_more_is_not_read),
        T(who_joins_is_not_made_to_wait_longer),
        T(what_is_behind_waits_for_the_queue),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
