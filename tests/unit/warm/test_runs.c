/* Runs: which keys are read together, and how many at a time. What becomes of them is for test_runs_ends.c. */
#include "tests/unit/warm/runs_fixture.h"

/* ---- which keys -------------------------------------------------------------------------------------------------- */

/* Of those that follow each other at one place, in the order of users, each once. Places with few are for the hands. */
static void keys_of_one_place_go_together(void **state)
{
    struct fixture *fixture = *state;
    for (uint64_t user = 100; user > 0; user--)
        list_add(user, 1);
    list_add(50, 1); /* twice */
    for (uint64_t user = 101; user < 101 + LEAST - 1; user++)
        list_add(user, 2);
    for (uint64_t user = 201; user < 201 + LEAST; user++)
        list_add(user, 3);
    for (uint64_t user = 301; user <= 400; user++)
        list_add(user, 4 + user % 2); /* by turns */
    begin_role(fixture);
    assert_int_equal(fake.slices->count, 100);
    assert_int_equal(fake.slices->scope.id, 1);
    assert_int_equal(fake.slices->next->count, LEAST);
    assert_int_equal(fake.slices->next->scope.id, 3);
    assert_int_equal(fake.asked, LEAST - 1 + 100);
    run(fixture, 5);
    assert_int_equal(fake.begun, 2);
    for (uint64_t user = 1; user <= 400; user++) {
        bool together = user <= 100 || (user >= 201 && user < 201 + LEAST);
        bool alone = (user >= 101 && user < 101 + LEAST - 1) || user >= 301;
        assert_int_equal(fake.read[user][0], together);
        assert_int_equal(fake.read[user][1], alone);
    }
    struct warm_status job = end_of_job(fixture);
    assert_int_equal(job.resident, 1);
    assert_int_equal(job.filled, job.total - 1);
    assert_string_equal(job.text, "");
}

static void thousands_at_a_time(void **state)
{
    struct fixture *fixture = *state;
    fake.users = USERS;
    begin_role(fixture);
    assert_int_equal(fake.slice_count, WARM_RUNS);
    assert_int_equal(fake.slice_keys, WARM_RUNS * FACTS_SLICE_USERS_MAX);
    struct warm_status job = job_at(fixture, 0);
    assert_string_equal(job.text, ""); /* it waits for nobody */
    while (job.state == WARM_FILLING) {
        assert_int_equal(fixture->counters.warm_left, job.total - warm_done(&job));
        assert_int_equal(warm_done(&job), job.filled + job.resident);
        if (fake.slice_count > 0)
            end_slice();
        turn(fixture);
        job = job_at(fixture, 0);
    }
    job = end_of_job(fixture);
    assert_int_equal(job.filled, USERS);
    assert_int_equal(fake.most_slices, WARM_RUNS);
    assert_int_equal(fake.asked, 0);
}

/* Those in the table are not read. When few are left, they are for the hands. */
static void what_is_there_is_not_read(void **state)
{
    struct fixture *fixture = *state;
    fake.users = 3 * FACTS_SLICE_USERS_MAX;
    for (uint64_t user = 1; user <= fake.users; user++)
        fake.resident[user] = user <= FACTS_SLICE_USERS_MAX ? user % 2 == 0
                              : user <= 2 * FACTS_SLICE_USERS_MAX || user % 1000 != 0;
    begin_role(fixture);
    assert_int_equal(fake.slice_keys, FACTS_SLICE_USERS_MAX / 2);
    run(fixture, 5);
    struct warm_status job = end_of_job(fixture);
    assert_int_equal(fake.begun, 1);
    assert_int_equal(fake.asked, 4); /* 9000 to 12000 */
    assert_int_equal(job.filled, FACTS_SLICE_USERS_MAX / 2 + 4);
}

/* Another job comes first now: while it has keys for runs the hands take none of the one before, which would take its
 * room. */
static void who_comes_later_waits(void **state)
{
    struct fixture *fixture = *state;
    for (uint64_t user = 1; user <= 2 * WARM_HANDS; user++)
        list_add(user, user);
    begin_role(fixture);
    assert_int_equal(fake.asked, WARM_HANDS);
    fake.list_count = 0;
    fake.users = USERS;
    assert_int_equal(warm_start(fixture->warm, &other_role, 9), 2);
    while (fake.slice_count < WARM_RUNS)
        turn(fixture);
    while (world.running > 0)
        end_ask();
    turn_some(fixture);
    assert_int_equal(fake.asked, WARM_HANDS);
    assert_int_equal(job_at(fixture, 0).id, 2);
    assert_string_equal(job_at(fixture, 1).text, "others come first");
    run(fixture, 5);
    assert_int_equal(job_at(fixture, 0).filled, 2 * WARM_HANDS); /* the latest to end */
    assert_int_equal(job_at(fixture, 1).filled, USERS);
}

static void turn_but_for_pages(struct fixture *fixture)
{
    for (unsigned i = 0; i < 8; i++)
        (void)event_base_loop(fixture->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
}

static void await_page(struct fixture *fixture)
{
    while (world.page == NULL)
        (void)event_base_loop(fixture->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    turn_but_for_pages(fixture);
}

/* Page by page: what the first one names is read while the store tells the next one. Other jobs wait for that, too. */
static void what_a_page_names_is_read_at_once(void **state)
{
    struct fixture *fixture = *state;
    for (uint64_t user = 1; user <= 2 * WARM_HANDS; user++)
        list_add(user, user);
    begin_role(fixture);
    fake.list_count = 0;
    fake.users = USERS;
    assert_int_equal(warm_start(fixture->warm, &other_role, 9), 2);
    await_page(fixture);
    page_ends();
    await_page(fixture);
    assert_int_equal(fake.slice_count, 1);
    assert_int_equal(job_at(fixture, 0).state, WARM_READING);
    for (unsigned i = 0; i < WARM_RUNS; i++) {
        page_ends();
        await_page(fixture);
    }
    assert_int_equal(fake.slice_count, WARM_RUNS);
    while (world.running > 0)
        end_ask();
    turn_but_for_pages(fixture);
    assert_int_equal(job_at(fixture, 0).state, WARM_READING);
    assert_int_equal(fake.asked, WARM_HANDS);
    run(fixture, 5);
    for (unsigned i = 0; i < 2; i++) {
        struct warm_status job = job_at(fixture, i);
        assert_int_equal(job.total, job.id == 1 ? 2 * WARM_HANDS : USERS);
        assert_int_equal(job.filled, job.total);
    }
}

/* Whoever has waited for room, and has had some since, waits as long again. */
static void room_that_comes_while_pages_are_read(void **state)
{
    struct fixture *fixture = *state;
    fake.users = USERS;
    world.room = FACTS_SLICE_USERS_MAX;
    assert_int_equal(warm_start(fixture->warm, &role, 5), 1);
    for (unsigned i = 0; i < 2; i++) {
        await_page(fixture);
        page_ends();
    }
    await_page(fixture);
    end_slice();
    wait_for_a_look(fixture);
    assert_int_equal(fake.slice_count, 0);
    world.room = 1000;
    while (fake.slice_count == 0)
        wait_for_a_look(fixture);
    end_slice();
    world.clock_offset_ns += 2 * A_MINUTE;
    wait_for_a_look(fixture);
    assert_int_equal(job_at(fixture, 0).state, WARM_READING);
    world.clock_offset_ns += 2 * A_MINUTE;
    wait_for_a_look(fixture);
    struct warm_status job = job_at(fixture, 0);
    assert_int_equal(job.state, WARM_DONE);
    assert_int_equal(job.filled + job.left_out, job.total);
}

/* ---- bounds ------------------------------------------------------------------------------------------------------ */

/* One after the other, each when the one before has been paid. Both clocks are the warm-up's own. */
static void runs_are_paid_for(void **state)
{
    struct fixture *fixture = *state;
    struct warm_settings settings = {.budget = 10};
    begin_worker(fixture, 10, false);
    fake.users = 4 * PACED;
    fake.cost_ns = SECOND / 10;
    begin_role(fixture);
    for (unsigned i = 1; i <= 4; i++) {
        assert_int_equal(fake.begun, i);
        assert_int_equal(fake.slice_keys, PACED);
        run(fixture, 5);
        assert_int_equal(fake.begun, i);
        if (i == 4)
            break;
        world.clock_offset_ns += SECOND / 2;
        warm_set(fixture->warm, &settings); /* timers know nothing of this clock */
        run(fixture, 5);
        assert_int_equal(fake.begun, i);
        world.clock_offset_ns += SECOND / 2;
        warm_set(fixture->warm, &settings);
        begin(fixture);
    }
    assert_int_equal(fake.most_slices, 1);
    assert_int_equal(end_of_job(fixture).filled, 4 * PACED);
}

/* Runs and hands together never have more under way than there is room for (assert_room). */
static void no_more_than_there_is_room_for(void **state)
{
    struct fixture *fixture = *state;
    fake.users = USERS;
    world.room = 8000;
    for (uint64_t user = 1; user <= USERS; user += 3)
        fake.results[user] = SLICE_ALONE;
    begin_role(fixture);
    assert_int_equal(fake.slice_keys, 8000);
    wait_for_a_look(fixture);
    world.clock_offset_ns += 2 * A_MINUTE;
    wait_for_a_look(fixture); /* what is under way may leave some of it */
    assert_int_equal(job_at(fixture, 0).state, WARM_FILLING);
    end_slice();
    turn_some(fixture);
    assert_true(world.running > 0 && fake.slice_count > 0);
    run(fixture, 60);
    assert_int_equal(world.room, 0);
    struct warm_status job = job_at(fixture, 0);
    assert_string_equal(job.text, "the table has no room");
    assert_int_equal(job.filled, 8000);
    world.room = 5000; /* it has grown */
    run(fixture, 60);
    assert_int_equal(job_at(fixture, 0).filled, 13000);
    world.clock_offset_ns += 2 * A_MINUTE;
    run(fixture, 60);
    job = end_of_job(fixture);
    assert_int_equal(job.left_out, USERS - 13000);
}

/* Somebody else has taken the room meanwhile: the hands wait for it. */
static void room_that_is_gone(void **state)
{
    struct fixture *fixture = *state;
    fake.users = 1000;
    begin_role(fixture);
    world.room = 300;
    end_slice();
    run(fixture, 30);
    assert_int_equal(job_at(fixture, 0).filled, 300);
    assert_int_equal(fixture->counters.warm_left, 700);
    world.room = 1000;
    run(fixture, 30);
    assert_int_equal(end_of_job(fixture).filled, 1000);
    assert_int_equal(fake.asked, 700);
}

/* Keys that have found none wait in the hands: when there is room again, they have it before the next run. */
static void who_has_waited_for_room_has_it_first(void **state)
{
    struct fixture *fixture = *state;
    for (uint64_t user = 1; user <= 40; user++)
        list_add(user, 100 + user);
    for (uint64_t user = 41; user <= 1040; user++)
        list_add(user, 1);
    world.room = 100;
    begin_role(fixture);
    assert_int_equal(world.running, 40);
    assert_int_equal(fake.slice_keys, 60);
    end_slice();
    world.room = 0;
    while (world.running > 0)
        end_ask();
    world.room = 80;
    world.clock_offset_ns += 10 * SECOND; /* a pause is over */
    warm_set(fixture->warm, &(struct warm_settings){.budget = 100});
    turn_some(fixture);
    assert_int_equal(world.running, 40);
    assert_int_equal(fake.slice_keys, 40);
    world.room = USERS;
    run(fixture, 5);
    assert_int_equal(end_of_job(fixture).filled, 1040);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, end)
        T(keys_of_one_place_go_together),
        T(thousands_at_a_time),
        T(what_is_there_is_not_read),
        T(who_comes_later_waits),
        T(what_a_page_names_is_read_at_once),
        T(room_that_comes_while_pages_are_read),
        T(runs_are_paid_for),
        T(no_more_than_there_is_room_for),
        T(room_that_is_gone),
        T(who_has_waited_for_room_has_it_first),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
