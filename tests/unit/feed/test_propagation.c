/* The store's clock as learnt from polls, and what it makes of a change's time. The world here has a store whose
 * clock is ahead, behind, drifting or set; the estimate must contain the truth within its own error. */
#include "proxy/feed/propagation.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MS      1000ull
#define SECONDS 1000000ull

/* CLOCK_MONOTONIC, microseconds, and the store's clock in terms of it. */
struct world {
    uint64_t now;
    int64_t offset;
    double drift; /* seconds a second */
    uint64_t random;
};

static uint64_t draw(struct world *world, uint64_t below)
{
    world->random = world->random * 6364136223846793005ull + 1442695040888963407ull;
    return (world->random >> 33) % below;
}

static int64_t store_clock_at(const struct world *world, uint64_t now)
{
    return (int64_t)now + world->offset + (int64_t)(world->drift * (double)now);
}

/* One poll with this much time on the way there and back. */
static void poll(struct world *world, struct store_clock *clock, uint64_t there, uint64_t back)
{
    uint64_t asked = world->now;
    int64_t said = store_clock_at(world, asked + there);
    world->now += there + back;
    store_clock_add(clock, asked * 1000, world->now * 1000, said);
}

static void check_estimate(const struct world *world, const struct store_clock *clock)
{
    int64_t offset;
    uint64_t error;
    assert_true(store_clock_read(clock, world->now * 1000, &offset, &error));
    int64_t truth = store_clock_at(world, world->now) - (int64_t)world->now;
    assert_true(llabs((long long)(truth - offset)) <= (long long)error);
}

static void nothing_is_known_at_first(void **state)
{
    struct store_clock clock = {0};
    int64_t offset;
    uint64_t error, us;
    (void)state;
    assert_false(store_clock_read(&clock, 5, &offset, &error));
    assert_int_equal(propagation_measure(&clock, 1000, 5000000, &us), PROPAGATION_UNKNOWN);
}

static void the_estimate_contains_the_truth(void **state)
{
    (void)state;
    for (int round = 0; round < 50; round++) {
        struct world world = {.now = 5 * SECONDS, .random = 77u + (unsigned)round};
        struct store_clock clock = {0};
        world.offset = (int64_t)(draw(&world, 1000) * SECONDS) - (int64_t)(500 * SECONDS);
        world.drift = ((double)draw(&world, 60) - 30.0) / 1e6; /* as much as the bound allows for */
        for (int i = 0; i < 400; i++) {
            world.now += draw(&world, 20) == 0 ? draw(&world, 30 * SECONDS) : 100 * MS;
            /* Lopsided ways are what the error bound is for. */
            poll(&world, &clock, 50 + draw(&world, 5 * MS),
                 50 + draw(&world, draw(&world, 10) ? 300 : 80 * MS));
            check_estimate(&world, &clock);
        }
        assert_int_equal(clock.steps, 0);
    }
}

static void the_fastest_answer_is_believed(void **state)
{
    struct world world = {.now = SECONDS, .offset = 3600ll * 1000000};
    struct store_clock clock = {0};
    int64_t offset;
    uint64_t error;
    (void)state;
    poll(&world, &clock, 20 * MS, 0);
    poll(&world, &clock, 50, 50);
    for (int i = 0; i < 6; i++)
        poll(&world, &clock, 0, 30 * MS);
    assert_true(store_clock_read(&clock, world.now * 1000, &offset, &error));
    assert_true(llabs((long long)(offset - world.offset)) <= 60);
    assert_true(error >= 50 && error < 80); /* half the way, and the drift of 180 ms */
    /* It does not count for ever: eight slower ones later it is gone. */
    for (int i = 0; i < 2; i++)
        poll(&world, &clock, 0, 30 * MS);
    assert_true(store_clock_read(&clock, world.now * 1000, &offset, &error));
    assert_true(error >= 15 * MS);
}

static void an_error_grows_with_age(void **state)
{
    struct world world = {.now = SECONDS};
    struct store_clock clock = {0};
    int64_t offset;
    uint64_t young, old;
    (void)state;
    poll(&world, &clock, 100, 100);
    assert_true(store_clock_read(&clock, world.now * 1000, &offset, &young));
    assert_true(store_clock_read(&clock, (world.now + 1000 * SECONDS) * 1000, &offset, &old));
    assert_in_range(old - young, 29000, 31000); /* 30 ppm of 1000 s */
}

static void a_clock_that_is_set_is_learnt_anew(void **state)
{
    struct world world = {.now = SECONDS};
    struct store_clock clock = {0};
    (void)state;
    for (int i = 0; i < 8; i++)
        poll(&world, &clock, 100, 100);
    world.offset -= 5 * (int64_t)SECONDS;
    poll(&world, &clock, 30 * MS, 100); /* slower than all before: it would lose against them */
    check_estimate(&world, &clock);
    assert_int_equal(clock.steps, 1);
    assert_int_equal(clock.count, 1);
    world.offset += 3600 * (int64_t)SECONDS;
    poll(&world, &clock, 100, 100);
    check_estimate(&world, &clock);
    assert_int_equal(clock.steps, 2);
}

static void a_change_is_measured_across_the_clocks(void **state)
{
    struct world world = {.now = 50 * SECONDS, .offset = -20 * (int64_t)SECONDS};
    struct store_clock clock = {0};
    uint64_t us;
    (void)state;
    for (int i = 0; i < 3; i++)
        poll(&world, &clock, 200, 200);
    int64_t at = store_clock_at(&world, world.now);
    world.now += 7 * MS;
    assert_int_equal(propagation_measure(&clock, at, world.now * 1000, &us), PROPAGATION_MEASURED);
    assert_in_range(us, 7 * MS - 210, 7 * MS + 210);
    /* A moment before the change was made, within the error, is no time at all. */
    assert_int_equal(propagation_measure(&clock, at + (int64_t)(7 * MS) + 150, world.now * 1000, &us),
                     PROPAGATION_MEASURED);
    assert_int_equal(us, 0);
    /* Far before it was made: some clock is wrong, and the figure would be too. */
    assert_int_equal(propagation_measure(&clock, at + 60 * (int64_t)SECONDS, world.now * 1000, &us),
                     PROPAGATION_ABSURD);
    assert_int_equal(propagation_measure(&clock, 0, world.now * 1000, &us), PROPAGATION_UNKNOWN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_known_at_first),
        cmocka_unit_test(the_estimate_contains_the_truth),
        cmocka_unit_test(the_fastest_answer_is_believed),
        cmocka_unit_test(an_error_grows_with_age),
        cmocka_unit_test(a_clock_that_is_set_is_learnt_anew),
        cmocka_unit_test(a_change_is_measured_across_the_clocks),
    };
    return cmocka_run_group_tests_name("propagation", tests, NULL, NULL);
}
