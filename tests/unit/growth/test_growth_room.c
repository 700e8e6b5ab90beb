/* How far the table may grow: 100 bytes an entry of shared memory, and 50 of the sidecar's own. */
#include "proxy/growth/room.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct growth_cost cost(const void *context, uint64_t entries)
{
    const uint64_t *most = context;
    return (struct growth_cost){entries <= *most ? 100 * entries : 0, 50 * entries};
}

static const struct growth_room ample = {
    .memory_max = UINT64_MAX, .shared = 100000, .cgroup = UINT64_MAX, .machine = UINT64_MAX};

static uint64_t fit(const struct growth_room *room, uint64_t wanted, enum growth_bound expected)
{
    static const uint64_t most = 1000000;
    enum growth_bound bound;
    uint64_t fits = growth_fit(room, 1000, wanted, cost, &most, &bound);
    assert_int_equal(bound, expected);
    return fits;
}

static void a_step_that_fits(void **state)
{
    (void)state;
    assert_int_equal(fit(&ample, 4000, GROWTH_FREE), 4000);
    assert_int_equal(fit(&ample, 1001, GROWTH_FREE), 1001);
}

/* Both segments count. */
static void table_memory_max(void **state)
{
    struct growth_room room = ample;
    (void)state;
    room.memory_max = 100000 + 400000;
    assert_int_equal(fit(&room, 4000, GROWTH_FREE), 4000);
    room.memory_max--;
    assert_int_equal(fit(&room, 4000, GROWTH_BOUND_MEMORY_MAX), 3999);
    room.memory_max = 100000 + 125000;
    assert_int_equal(fit(&room, 4000, GROWTH_BOUND_MEMORY_MAX), 1250);
    room.memory_max--;
    assert_int_equal(fit(&room, 4000, GROWTH_BOUND_MEMORY_MAX), 0); /* 1249: hardly worth it */
    room.memory_max = 100000;
    assert_int_equal(fit(&room, 4000, GROWTH_BOUND_MEMORY_MAX), 0);
    room.memory_max = 50000; /* retired segments that are still held take it all */
    assert_int_equal(fit(&room, 4000, GROWTH_BOUND_MEMORY_MAX), 0);
}

/* Private indexes count, too. */
static void cgroup_and_machine(void **state)
{
    struct growth_room room = ample;
    (void)state;
    room.cgroup = 600000;
    assert_int_equal(fit(&room, 4000, GROWTH_FREE), 4000);
    room.cgroup--;
    assert_int_equal(fit(&room, 4000, GROWTH_BOUND_CGROUP), 3999);
    room.cgroup = 0;
    assert_int_equal(fit(&room, 4000, GROWTH_BOUND_CGROUP), 0);
    room = ample;
    room.machine = 300000;
    assert_int_equal(fit(&room, 4000, GROWTH_BOUND_MACHINE), 2000);
    room.cgroup = 299999;
    assert_int_equal(fit(&room, 4000, GROWTH_BOUND_CGROUP), 1999);
}

static void the_layout(void **state)
{
    static const uint64_t most = 1000;
    enum growth_bound bound;
    (void)state;
    assert_int_equal(fit(&ample, 1000001, GROWTH_BOUND_LAYOUT), 1000000);
    assert_int_equal(growth_fit(&ample, 1000, 4000, cost, &most, &bound), 0);
    assert_int_equal(bound, GROWTH_BOUND_LAYOUT);
}

static void each_has_a_text(void **state)
{
    (void)state;
    assert_string_equal(growth_bound_text(GROWTH_FREE), "");
    for (int bound = GROWTH_BOUND_MEMORY_MAX; bound <= GROWTH_BOUND_LAYOUT; bound++)
        assert_true(strlen(growth_bound_text((enum growth_bound)bound)) > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_step_that_fits),   cmocka_unit_test(table_memory_max),
        cmocka_unit_test(cgroup_and_machine), cmocka_unit_test(the_layout),
        cmocka_unit_test(each_has_a_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
