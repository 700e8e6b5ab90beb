/* Runs: what becomes of each of their keys, of those that end in the middle, and where Redis has them. */
#include "tests/unit/warm/runs_fixture.h"

/* ---- what becomes of them ---------------------------------------------------------------------------------------- */

static void every_result(void **state)
{
    struct fixture *fixture = *state;
    const enum slice_result results[] = {SLICE_FILLED,  SLICE_RESIDENT, SLICE_ALONE,
                                         SLICE_NO_ROOM, SLICE_STRANGER, SLICE_LATER};
    world.counted = false;
    fake.users = 600;
    for (uint64_t user = 1; user <= fake.users; user++)
        fake.results[user] = results[user % 6];
    begin_role(fixture);
    end_slice();
    struct warm_status job = job_at(fixture, 0);
    assert_int_equal(job.filled, 100);
    assert_int_equal(job.resident, 100);
    assert_int_equal(job.strangers, 100);
    assert_int_equal(fixture->counters.warm_left, 300);
    run(fixture, 5);
    job = job_at(fixture, 0);
    assert_int_equal(fake.asked, 200);
    assert_int_equal(job.filled, 300);
    assert_int_equal(job.state, WARM_COUNTING);
    assert_null(fixture->warm->jobs->alone); /* their memory is free, though the job goes on */
    assert_int_equal(fixture->counters.warm_left, 100);
    world.counted = true;
    run(fixture, 100); /* it looks now and then */
    assert_int_equal(fake.begun, 2);
    assert_int_equal(fake.asked, 200);
    job = end_of_job(fixture);
    assert_int_equal(job.filled, 400);
    assert_int_equal(fixture->counters.warm_strangers, 100);
}

/* A pause, and then the hands try each of them. What comes after it is read together again. */
static void the_store_fails(void **state)
{
    struct fixture *fixture = *state;
    fake.users = USERS;
    begin_role(fixture);
    fake.fails = PERMTAB_E_STORE;
    end_slice();
    turn_some(fixture);
    assert_int_equal(fake.asked, 0);
    assert_int_equal(fake.begun, WARM_RUNS);
    assert_string_equal(job_at(fixture, 0).text, "the store does not answer: its disk is full");
    assert_int_equal(fixture->counters.warm_left, USERS);
    fake.fails = 0;
    run(fixture, 200);
    struct warm_status job = end_of_job(fixture);
    assert_int_equal(job.filled, USERS);
    assert_int_equal(fake.asked, FACTS_SLICE_USERS_MAX);
    assert_int_equal(fake.begun, (USERS + FACTS_SLICE_USERS_MAX - 1) / FACTS_SLICE_USERS_MAX);
}

/* What comes of another run says that the store is there; so does that there is no such place. */
static void an_answer_ends_the_pause(void **state)
{
    struct fixture *fixture = *state;
    const int answers[] = {0, PERMTAB_E_NOT_FOUND};
    fake.users = USERS;
    for (unsigned i = 0; i < 2; i++) {
        begin_role(fixture);
        fake.fails = PERMTAB_E_UNREACHABLE;
        end_slice();
        uint64_t answered = fixture->warm->answered;
        assert_string_equal(job_at(fixture, 0).text, "the store does not answer: its disk is full");
        fake.fails = answers[i];
        end_slice();
        assert_string_equal(job_at(fixture, 0).text, "");
        assert_int_equal(fixture->warm->answered, answered + 1); /* so a key that fails fails alone */
        turn_some(fixture);
        assert_int_equal(world.running, WARM_HANDS);
        assert_int_equal(warm_cancel(fixture->warm, 0), 0);
    }
}

/* Together they are too much: it is not the store's fault, and nobody waits. */
static void too_much_together(void **state)
{
    struct fixture *fixture = *state;
    fake.users = 1000;
    fake.fails = PERMTAB_E_LIMIT;
    begin_role(fixture);
    end_slice();
    assert_string_equal(job_at(fixture, 0).text, "");
    run(fixture, 5);
    assert_int_equal(end_of_job(fixture).filled, 1000);
    assert_int_equal(fake.asked, 1000);
}

/* Nobody has to ask for each of those who were at a place that is gone. */
static void a_place_that_is_gone(void **state)
{
    struct fixture *fixture = *state;
    fake.users = 1000;
    fake.fails = PERMTAB_E_NOT_FOUND;
    begin_role(fixture);
    run(fixture, 5);
    assert_int_equal(end_of_job(fixture).strangers, 1000);
    assert_int_equal(fixture->counters.warm_strangers, 1000);
    assert_int_equal(fake.asked, 0);
}

static void memory_is_short(void **state)
{
    struct fixture *fixture = *state;
    fake.no_slices = true;
    fake.users = 100;
    begin_role(fixture);
    assert_int_equal(fake.asked, 100); /* they need less */
    run(fixture, 5);
    assert_int_equal(end_of_job(fixture).filled, 100);
    fake.no_slices = false;
    memset(fake.filled, 0, sizeof fake.filled);
    fixture->counters.warm_filled = 0;
    for (uint64_t user = 1; user <= 40; user++)
        fake.results[user] = SLICE_ALONE;
    begin_role(fixture);
    fake.no_memory = true;
    end_slice();
    fake.no_memory = false;
    run(fixture, 5);
    struct warm_status job = end_of_job(fixture);
    assert_int_equal(job.filled, 60);
    assert_int_equal(job.failed, 40);
    assert_int_equal(fixture->counters.warm_failed, 40);
    assert_string_equal(job.text, "some could not be read: out of memory");
}

/* ---- in the middle ----------------------------------------------------------------------------------------------- */

static void a_job_is_cancelled(void **state)
{
    struct fixture *fixture = *state;
    fake.users = USERS;
    fake.results[1] = SLICE_ALONE;
    begin_role(fixture);
    end_slice();
    assert_int_equal(fake.slice_count, WARM_RUNS - 1);
    assert_int_equal(warm_cancel(fixture->warm, 1), 0);
    assert_int_equal(fake.slice_count, 0);
    assert_int_equal(fixture->counters.warm_left, 0);
    run(fixture, 5);
    assert_int_equal(job_at(fixture, 0).filled, FACTS_SLICE_USERS_MAX - 1);
    assert_int_equal(fake.begun, WARM_RUNS);
    assert_int_equal(fake.asked, 0);
    memset(fake.filled, 0, sizeof fake.filled); /* the next one finds nothing of it */
    fixture->counters.warm_filled = 0;
    begin_role(fixture);
    run(fixture, 5);
    assert_int_equal(end_of_job(fixture).filled, USERS);
}

static void the_table_is_made_anew(void **state)
{
    struct fixture *fixture = *state;
    fake.users = USERS;
    for (uint64_t user = 1; user <= USERS; user += 2)
        fake.results[user] = SLICE_ALONE;
    begin_role(fixture);
    end_slice();
    warm_again(fixture->warm);
    assert_int_equal(fake.slice_count, 0);
    struct warm_status job = job_at(fixture, 0);
    assert_int_equal(job.state, WARM_WAITING);
    assert_int_equal(warm_done(&job), 0);
    memset(fake.filled, 0, sizeof fake.filled);
    fixture->counters.warm_filled = 0;
    warm_applied(fixture->warm);
    run(fixture, 5);
    assert_int_equal(end_of_job(fixture).filled, USERS);
    begin_role(fixture); /* and one that ends while a run is away: the fixture lets go of it */
    assert_true(fake.slice_count > 0);
}

/* ---- Redis ------------------------------------------------------------------------------------------------------- */

static void tell_fleet_keys(void)
{
    struct hot_key *keys = malloc(1000 * sizeof *keys);
    for (uint64_t user = 1; user <= 1000; user++)
        keys[user - 1] = (struct hot_key){.user = user, .scope = {1, 1}, .frequency = 1};
    fake.ports.read(fake.ports.context, keys, 1000, true);
}

/* What it has costs the store nothing. */
static void with_redis(void **state)
{
    struct fixture *fixture = *state;
    begin_worker(fixture, 100, true);
    fake.users = 1000;
    begin_role(fixture); /* all of the store's time */
    run(fixture, 5);
    assert_int_equal(end_of_job(fixture).filled, 1000);
    assert_true(fake.begun > 0 && fake.asked == 0);
    memset(fake.filled, 0, sizeof fake.filled);
    fixture->counters.warm_filled = fake.begun = 0;
    warm_connected(fixture->warm); /* the fleet's keys */
    warm_applied(fixture->warm);
    tell_fleet_keys();
    run(fixture, 5);
    assert_int_equal(end_of_job(fixture).kind, WARM_FLEET);
    assert_int_equal(fake.asked, 1000);
    memset(fake.filled, 0, sizeof fake.filled);
    fixture->counters.warm_filled = fake.asked = 0;
    begin_worker(fixture, 50, true);
    begin_role(fixture);
    run(fixture, 5);
    assert_int_equal(end_of_job(fixture).filled, 1000);
    assert_int_equal(fake.asked, 1000);
    assert_int_equal(fake.begun, 0);
}

static void begin_fleet(struct fixture *fixture)
{
    fake.l2_max = OF_L2;
    begin_worker(fixture, 100, true);
    fake.begun = fake.asked = 0;
    warm_connected(fixture->warm);
    warm_applied(fixture->warm);
    tell_fleet_keys();
    begin(fixture);
}

/* What the fleet has named is in Redis, and so may be all that there is only a part of the store's time for. */
static void runs_of_l2(void **state)
{
    struct fixture *fixture = *state;
    begin_fleet(fixture);
    assert_int_equal(fake.slice_count, WARM_RUNS);
    run(fixture, 5);
    assert_int_equal(end_of_job(fixture).filled, 1000);
    assert_int_equal(fake.begun, (1000 + OF_L2 - 1) / OF_L2);
    assert_int_equal(fake.largest, OF_L2);
    assert_int_equal(fake.asked, 0);
    memset(fake.filled, 0, sizeof fake.filled);
    fixture->counters.warm_filled = fake.begun = fake.begun_of_l2 = fake.most_slices = 0;
    fake.users = 1000;
    begin_worker(fixture, 50, true);
    begin_role(fixture);
    run(fixture, 5);
    assert_int_equal(end_of_job(fixture).filled, 1000);
    assert_int_equal(fake.begun_of_l2, fake.begun);
    assert_int_equal(fake.most_slices, 1);
    assert_int_equal(fake.asked, 0);
    memset(fake.filled, 0, sizeof fake.filled);
    fixture->counters.warm_filled = fake.begun = fake.begun_of_l2 = 0;
    begin_worker(fixture, 100, true);
    begin_role(fixture); /* the whole of it is faster */
    run(fixture, 5);
    assert_true(fake.begun > 0 && fake.begun_of_l2 == 0);
}

/* The hands go to the store for them, and until they have, nothing more is looked for. */
static void what_l2_has_not_goes_first(void **state)
{
    struct fixture *fixture = *state;
    for (uint64_t user = 1; user <= 1000; user++)
        fake.results[user] = SLICE_ALONE;
    begin_fleet(fixture);
    while (fake.slice_count > 0) {
        end_slice();
        turn_some(fixture);
        assert_in_range(world.running, 1, WARM_HANDS);
    }
    assert_int_equal(world.running, WARM_HANDS);
    assert_in_range(fake.begun, WARM_HANDS / OF_L2, WARM_HANDS / OF_L2 + WARM_RUNS);
    unsigned begun = fake.begun;
    end_ask();
    turn_some(fixture);
    assert_int_equal(fake.begun, begun);
    run(fixture, 5);
    assert_int_equal(end_of_job(fixture).filled, 1000);
    assert_int_equal(fake.asked, 1000);
}

/* That Redis answers says nothing of the store. */
static void l2_ends_no_pause(void **state)
{
    struct fixture *fixture = *state;
    begin_fleet(fixture);
    uint64_t answered = fixture->warm->answered;
    hands_rest(fixture->warm);
    end_slice();
    assert_int_equal(fixture->warm->answered, answered);
    assert_string_equal(job_at(fixture, 0).text, "the store does not answer");
}

/* In the middle of a job: all that is left is for the hands, until it is back. */
static void l2_goes_away(void **state)
{
    struct fixture *fixture = *state;
    begin_fleet(fixture);
    fake.l2_max = 0;
    end_slice();
    turn_some(fixture);
    assert_int_equal(fake.begun, WARM_RUNS);
    assert_int_equal(world.running, WARM_HANDS);
    fake.l2_max = OF_L2;
    while (world.running > 0)
        end_ask();
    run(fixture, 5);
    assert_int_equal(end_of_job(fixture).filled, 1000);
    assert_int_equal(fake.asked, WARM_HANDS);
    memset(fake.filled, 0, sizeof fake.filled);
    fixture->counters.warm_filled = 0;
    fake.no_slices = true; /* or it cannot even be asked */
    begin_fleet(fixture);
    run(fixture, 5);
    assert_int_equal(end_of_job(fixture).filled, 1000);
    assert_int_equal(fake.asked, 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, end)
        T(every_result),
        T(the_store_fails),
        T(an_answer_ends_the_pause),
        T(too_much_together),
        T(a_place_that_is_gone),
        T(memory_is_short),
        T(a_job_is_cancelled),
        T(the_table_is_made_anew),
        T(with_redis),
        T(runs_of_l2),
        T(what_l2_has_not_goes_first),
        T(l2_ends_no_pause),
        T(l2_goes_away),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
