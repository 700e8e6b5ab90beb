/* The warm-up of the keys that are known: who is asked for a key answers when a test says so, or at once; the store may
 * be away, the table full, users not counted yet. */
#include "tests/unit/warm/warm_world.h"

#define KEYS  1000u
#define ASKED 100000u

static struct {
    bool away;
    unsigned most_running;
    uint64_t asked[ASKED]; /* users, in order */
    unsigned asked_count;
    unsigned filled[KEYS + 1]; /* how often, by user */
    bool resident[KEYS + 1];
    bool stranger[KEYS + 1], unsure[KEYS + 1], fails[KEYS + 1];
    bool last_first;     /* who is answered */
    bool kept[KEYS + 1]; /* in L2, or what is known of strangers: the store is not asked */
    uint64_t cost_ns;    /* of each read */
} fake;

void __wrap_ask_start(struct answering *answering, struct ask_flow *flow, struct ask *ask);

void __wrap_ask_start(struct answering *answering, struct ask_flow *flow, struct ask *ask)
{
    (void)answering;
    assert_true(flow->warms);
    assert_true(fake.asked_count < ASKED);
    fake.asked[fake.asked_count++] = ask->question.user;
    if (fake.resident[ask->question.user]) {
        struct answer answer = {0};
        ask->done(ask, 0, NULL, &answer);
        return;
    }
    ask->was_read = false;
    if (fake.away) {
        ask->done(ask, PERMTAB_E_STALE, "", NULL);
        return;
    }
    add_ask(ask);
    if (world.running > fake.most_running)
        fake.most_running = world.running;
}

/* Of each class about as many. */
static uint32_t frequency_of(uint64_t user)
{
    return 4000u >> (user * KEYS_CLASSES / (KEYS + 1));
}

/* KEYS keys: user 1 is the hottest. */
static int setup(void **state)
{
    struct fixture *fixture = world_begin(true);
    memset(&fake, 0, sizeof fake);
    for (uint64_t user = 1; user <= KEYS; user++)
        keys_note(fixture->keys, user, (struct scope_key){user, 2}, frequency_of(user));
    struct warm_options options = {.base = fixture->base,
                                   .keys = fixture->keys,
                                   .counters = &fixture->counters,
                                   .settings = {.at_start = true, .budget = 100}};
    assert_int_equal(warm_new(&fixture->warm, &options), 0);
    *state = fixture;
    return 0;
}

/* The answer to the oldest ask, or the latest one, as answer/ would have it. */
static void answer_one(void)
{
    struct answer answer = {0};
    struct ask *ask = take_ask(fake.last_first ? world.running - 1 : 0);
    uint64_t user = ask->question.user;
    int code = fake.away || fake.fails[user]        ? PERMTAB_E_STORE
               : fake.stranger[user]                ? PERMTAB_E_NOT_FOUND
               : fake.unsure[user] && !world.counted ? PERMTAB_E_BUSY
               : world.room == 0                     ? PERMTAB_E_FULL
                                                    : 0;
    world.spent_ns += fake.cost_ns;
    ask->was_read = !fake.kept[user];
    if (code == 0) {
        fake.filled[user]++;
        world.room--;
    }
    ask->done(ask, code, "", code == 0 ? &answer : NULL);
}

/* Lets the loop turn, and answers, until nothing happens for that many turns of a millisecond. */
static void run(struct fixture *fixture, unsigned turns)
{
    for (unsigned quiet = 0; quiet < turns; quiet++) {
        unsigned asked = fake.asked_count;
        (void)event_base_loop(fixture->base, EVLOOP_NONBLOCK);
        while (world.running > 0) {
            answer_one();
            quiet = 0;
        }
        if (fake.asked_count != asked)
            quiet = 0;
        (void)usleep(1000);
    }
}

/* The keys are read in turns, in which nothing is asked for. */
static void begin_warming(struct fixture *fixture)
{
    unsigned turns = 0, asked = fake.asked_count;
    warm_applied(fixture->warm);
    for (; fixture->counters.warm_left == 1; turns++) {
        assert_true(turns < 1000);
        (void)event_base_loop(fixture->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    }
    /* read; then numbered, sorted, given */
    assert_true(turns == 0 || turns >= (keys_known(fixture->keys) > 0 ? 4 : 1));
    assert_int_equal(fake.asked_count, asked);
}

static unsigned count_filled(void)
{
    unsigned count = 0;
    for (uint64_t user = 1; user <= KEYS; user++)
        count += fake.filled[user] == 1;
    return count;
}

static void hottest_first_and_a_few_at_a_time(void **state)
{
    struct fixture *fixture = *state;
    world.leased = false;
    begin_warming(fixture);
    run(fixture, 5);
    assert_int_equal(fake.asked_count, 0); /* no lease yet */
    world.leased = true;
    begin_warming(fixture);
    run(fixture, 5);
    assert_int_equal(count_filled(), KEYS);
    assert_int_equal(fake.asked_count, KEYS);
    assert_in_range(fake.most_running, 2, WARM_HANDS);
    unsigned later = 0; /* the hand of keys may have halved some */
    for (unsigned i = 0; i < KEYS; i++)
        later += keys_class(frequency_of(fake.asked[i])) != keys_class(frequency_of(i + 1));
    assert_true(later < KEYS / 20);
    assert_int_equal(fixture->counters.warm_filled, KEYS);
    assert_int_equal(fixture->counters.warm_left, 0);
    warm_applied(fixture->warm); /* it has ended */
    run(fixture, 5);
    assert_int_equal(fake.asked_count, KEYS);
}

static void what_is_there_is_passed_over(void **state)
{
    struct fixture *fixture = *state;
    for (uint64_t user = 1; user <= KEYS; user += 2)
        fake.resident[user] = true;
    begin_warming(fixture);
    run(fixture, 5);
    assert_int_equal(count_filled(), KEYS / 2);
    assert_int_equal(fixture->counters.warm_filled, KEYS / 2);
}

static void strangers_are_skipped(void **state)
{
    struct fixture *fixture = *state;
    for (uint64_t user = 1; user <= 100; user++)
        fake.stranger[user] = true;
    begin_warming(fixture);
    run(fixture, 5);
    assert_int_equal(count_filled(), KEYS - 100);
    assert_int_equal(fixture->counters.warm_strangers, 100);
    assert_int_equal(fake.asked_count, KEYS);
}

/* Those of whom it is not known are asked for again when it is, and then some of them are strangers. */
static void the_unsure_are_put_off(void **state)
{
    struct fixture *fixture = *state;
    world.counted = false;
    for (uint64_t user = 1; user <= 300; user++)
        fake.unsure[user] = true;
    begin_warming(fixture);
    run(fixture, 5);
    assert_int_equal(count_filled(), KEYS - 300);
    assert_int_equal(fixture->counters.warm_left, 300);
    for (uint64_t user = 1; user <= 100; user++)
        fake.stranger[user] = true;
    world.counted = true;
    run(fixture, 700); /* it looks every half a second */
    assert_int_equal(count_filled(), KEYS - 100);
    assert_int_equal(fixture->counters.warm_strangers, 100);
    assert_int_equal(fake.asked_count, KEYS + 300);
    assert_int_equal(fixture->counters.warm_left, 0);
}

static void it_does_not_wait_for_ever_for_the_count(void **state)
{
    struct fixture *fixture = *state;
    world.counted = false;
    fake.unsure[7] = true;
    begin_warming(fixture);
    run(fixture, 5);
    assert_int_equal(fixture->counters.warm_left, 1);
    world.clock_offset_ns += 2 * A_MINUTE;
    run(fixture, 700);
    assert_int_equal(fixture->counters.warm_left, 0);
    assert_int_equal(fake.asked_count, KEYS);
}

/* In the middle, for some seconds by its own clock: all of them are filled in the end, and it does not ask all the
 * time. */
static void the_store_goes_away_and_comes_back(void **state)
{
    struct fixture *fixture = *state;
    begin_warming(fixture);
    for (unsigned i = 0; i < 300; i++) {
        (void)event_base_loop(fixture->base, EVLOOP_NONBLOCK);
        if (world.running > 0)
            answer_one();
    }
    unsigned before = count_filled();
    assert_in_range(before, 100, 300);
    fake.away = true;
    unsigned asked = fake.asked_count;
    run(fixture, 150);
    assert_in_range(fake.asked_count, asked, asked + WARM_HANDS * 6);
    assert_int_equal(count_filled(), before);
    fake.away = false;
    world.clock_offset_ns += 10000000000ull;
    run(fixture, 900); /* the timer knows nothing of this clock */
    assert_int_equal(count_filled(), KEYS);
    assert_int_equal(fixture->counters.warm_failed, 0);
}

/* What the table has already says nothing of the store: the pause lasts. */
static void residents_do_not_end_the_pause(void **state)
{
    struct fixture *fixture = *state;
    struct warm_status job;
    fake.away = true;
    for (uint64_t user = 11; user <= KEYS; user++)
        fake.resident[user] = true;
    begin_warming(fixture);
    do
        (void)event_base_loop(fixture->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    while ((job = job_at(fixture, 0)).resident == 0);
    assert_in_range(job.resident, 1, KEYS - 11); /* the last one that it came to was one of them */
    assert_string_equal(job.text, "the store does not answer");
    fake.away = false;
    run(fixture, 200);
    assert_int_equal(count_filled(), 10);
}

static void half_a_minute_passes(struct fixture *fixture)
{
    world.clock_offset_ns += 30000000000ull;
    warm_set(fixture->warm, &(struct warm_settings){.at_start = true, .budget = 100}); /* timers know nothing of it */
    run(fixture, 5);
}

/* Nor does what L2 has, or what is kept of strangers; and it does not make the others look as if they alone failed. */
static void what_is_kept_does_not_end_the_pause(void **state)
{
    struct fixture *fixture = *state;
    for (uint64_t user = 1; user <= KEYS; user++) {
        fake.fails[user] = user <= 10;
        fake.kept[user] = user > 10;
        fake.stranger[user] = user > 10 && user % 2 == 0;
    }
    begin_warming(fixture);
    run(fixture, 5);
    assert_int_equal(fake.asked_count, WARM_HANDS);
    assert_string_equal(job_at(fixture, 0).text, "the store does not answer");
    fake.last_first = true; /* the store takes longer */
    for (unsigned i = 0; i < 10; i++)
        half_a_minute_passes(fixture);
    struct warm_status job = job_at(fixture, 0);
    assert_int_equal(job.filled, KEYS / 2 - 5);
    assert_int_equal(job.strangers, KEYS / 2 - 5);
    assert_int_equal(job.failed, 0);
    memset(fake.fails, 0, sizeof fake.fails);
    half_a_minute_passes(fixture);
    assert_int_equal(count_filled(), KEYS / 2 + 5);
    assert_int_equal(fixture->counters.warm_left, 0);
}

static void a_key_that_always_fails_is_left(void **state)
{
    struct fixture *fixture = *state;
    fake.fails[3] = fake.fails[500] = true;
    begin_warming(fixture);
    for (unsigned i = 0; i < 60 && fixture->counters.warm_left > 0; i++)
        half_a_minute_passes(fixture);
    assert_int_equal(fixture->counters.warm_left, 0);
    assert_int_equal(count_filled(), KEYS - 2);
    assert_int_equal(fixture->counters.warm_failed, 2);
}

static void a_full_table_grows_or_ends_it(void **state)
{
    struct fixture *fixture = *state;
    world.room = 250;
    begin_warming(fixture);
    run(fixture, 5);
    assert_int_equal(count_filled(), 250);
    unsigned asked = fake.asked_count;
    assert_in_range(asked, 250, 250 + WARM_HANDS);
    world.room = 100;
    run(fixture, 700);
    assert_int_equal(count_filled(), 350);
    run(fixture, 700);
    assert_true(fixture->counters.warm_left > 0);
    world.clock_offset_ns += 2 * A_MINUTE;
    run(fixture, 700);
    assert_int_equal(count_filled(), 350);
    assert_int_equal(fixture->counters.warm_left, 0);
}

static void a_table_made_anew_is_warmed_again(void **state)
{
    struct fixture *fixture = *state;
    begin_warming(fixture);
    (void)event_base_loop(fixture->base, EVLOOP_NONBLOCK);
    assert_true(world.running > 0);
    warm_again(fixture->warm);
    assert_int_equal(world.running, 0);
    run(fixture, 5);
    assert_int_equal(count_filled(), 0);
    begin_warming(fixture);
    run(fixture, 5);
    assert_int_equal(count_filled(), KEYS);
    warm_again(fixture->warm);
    begin_warming(fixture);
    run(fixture, 5);
    assert_int_equal(count_filled(), 0); /* each was filled twice */
    assert_int_equal(fake.filled[1], 2);
}

static void without_keys_there_is_nothing_to_do(void **state)
{
    struct fixture *fixture = *state;
    keys_belong_to(fixture->keys, 8);
    begin_warming(fixture);
    run(fixture, 5);
    assert_int_equal(fake.asked_count, 0);
    warm_applied(NULL);
    warm_again(NULL);
}

/* ---- jobs and their budget --------------------------------------------------------------------------------------- */

static void a_job_tells_how_far_it_is(void **state)
{
    struct fixture *fixture = *state;
    world.leased = false;
    warm_applied(fixture->warm);
    struct warm_status job = job_at(fixture, 0);
    assert_int_equal(job.state, WARM_WAITING);
    assert_string_equal(job.text, "there is no lease");
    world.leased = true;
    fake.stranger[1] = fake.resident[2] = true;
    begin_warming(fixture);
    (void)event_base_loop(fixture->base, EVLOOP_NONBLOCK);
    for (unsigned i = 0; i < 100; i++)
        answer_one();
    job = job_at(fixture, 0);
    assert_int_equal(job.state, WARM_FILLING);
    assert_int_equal(job.id, 1);
    assert_int_equal(job.total, KEYS);
    assert_int_equal(warm_done(&job), 101);
    assert_int_equal(fixture->counters.warm_jobs, 1);
    run(fixture, 5);
    job = job_at(fixture, 0);
    assert_int_equal(job.state, WARM_DONE);
    assert_int_equal(warm_done(&job), KEYS);
    assert_int_equal(job.filled, KEYS - 2);
    assert_int_equal(job.strangers, 1);
    assert_int_equal(job.resident, 1);
    assert_int_equal(fixture->counters.warm_jobs, 0);
}

static void a_job_is_cancelled(void **state)
{
    struct fixture *fixture = *state;
    begin_warming(fixture);
    (void)event_base_loop(fixture->base, EVLOOP_NONBLOCK);
    for (unsigned i = 0; i < 100; i++)
        answer_one();
    assert_int_equal(warm_cancel(fixture->warm, 2), PERMTAB_E_NOT_FOUND);
    assert_int_equal(warm_cancel(fixture->warm, 1), 0);
    assert_int_equal(world.running, 0);
    assert_int_equal(fixture->counters.warm_left, 0);
    unsigned asked = fake.asked_count;
    run(fixture, 5);
    assert_int_equal(fake.asked_count, asked);
    struct warm_status job = job_at(fixture, 0);
    assert_int_equal(job.state, WARM_CANCELLED);
    assert_int_equal(job.filled, 100);
    assert_int_equal(warm_cancel(fixture->warm, 1), PERMTAB_E_NOT_FOUND);
    assert_int_equal(warm_cancel(fixture->warm, 0), PERMTAB_E_NOT_FOUND);
    warm_again(fixture->warm); /* another table is another matter */
    begin_warming(fixture);
    run(fixture, 5);
    assert_int_equal(fixture->counters.warm_filled, KEYS + 100);
}

/* Reads take a tenth of a second each by the warm-up's own clock, which passes as the test says. */
static void reads_keep_to_the_budget(void **state)
{
    struct fixture *fixture = *state;
    struct warm_settings settings = {.at_start = true, .budget = 10};
    warm_set(fixture->warm, &settings);
    fake.cost_ns = 100000000;
    begin_warming(fixture);
    run(fixture, 5);
    assert_int_equal(fake.asked_count, WARM_HANDS_PACED); /* what it costs is not known before */
    world.clock_offset_ns += (WARM_HANDS_PACED - 3) * 1000000000ull;
    warm_set(fixture->warm, &settings);
    run(fixture, 5);
    assert_int_equal(fake.asked_count, WARM_HANDS_PACED);
    for (unsigned i = 1; i < 5; i++) {
        world.clock_offset_ns += WARM_HANDS_PACED * 1000000000ull;
        warm_set(fixture->warm, &settings); /* the timer knows nothing of this clock */
        run(fixture, 5);
        assert_int_equal(fake.asked_count, (i + 1) * WARM_HANDS_PACED);
    }
    assert_int_equal(fixture->counters.warm_store_us, world.spent_ns / 1000);
    settings.budget = 100;
    warm_set(fixture->warm, &settings);
    run(fixture, 5);
    assert_int_equal(count_filled(), KEYS);
}

static void what_is_asked_for_most_comes_again(void **state)
{
    struct fixture *fixture = *state;
    struct warm_settings settings = {.at_start = true, .budget = 100, .interval_ms = 50};
    begin_warming(fixture);
    run(fixture, 5);
    for (uint64_t user = 1; user <= KEYS; user++)
        fake.resident[user] = user > 10;
    warm_set(fixture->warm, &settings);
    for (unsigned i = 0; i < 1000 && fixture->counters.warm_filled < KEYS + 10; i++)
        run(fixture, 1);
    assert_int_equal(fixture->counters.warm_filled, KEYS + 10);
    struct warm_status job = job_at(fixture, 0);
    assert_int_equal(job.kind, WARM_INTERVAL);
    settings.interval_ms = 0;
    warm_set(fixture->warm, &settings);
    run(fixture, 5);
    unsigned asked = fake.asked_count;
    run(fixture, 120);
    assert_int_equal(fake.asked_count, asked);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(hottest_first_and_a_few_at_a_time),
        T(what_is_there_is_passed_over),
        T(strangers_are_skipped),
        T(the_unsure_are_put_off),
        T(it_does_not_wait_for_ever_for_the_count),
        T(the_store_goes_away_and_comes_back),
        T(residents_do_not_end_the_pause),
        T(what_is_kept_does_not_end_the_pause),
        T(a_key_that_always_fails_is_left),
        T(a_full_table_grows_or_ends_it),
        T(a_table_made_anew_is_warmed_again),
        T(without_keys_there_is_nothing_to_do),
        T(a_job_tells_how_far_it_is),
        T(a_job_is_cancelled),
        T(reads_keep_to_the_budget),
        T(what_is_asked_for_most_comes_again),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
