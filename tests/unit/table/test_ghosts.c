/* Ghosts: none is made up, none is counted twice, and tables of every size are remembered equally well. */
#include "proxy/table/ghosts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define SEED 0x8f1bbcdc9d2c5680ull /* as random as a segment's */

static struct map_key key_of(uint64_t user)
{
    return (struct map_key){user, 10, 2};
}

static uint64_t take_all(struct ghosts *ghosts, uint64_t from, uint64_t until)
{
    uint64_t taken = 0;
    for (uint64_t user = from; user < until; user++)
        taken += ghosts_take(ghosts, key_of(user));
    return taken;
}

static void each_is_taken_once(void **state)
{
    struct ghosts ghosts;
    (void)state;
    assert_int_equal(ghosts_init(&ghosts, 1000, SEED), 0);
    assert_int_equal(ghosts.weight, 1);
    assert_int_equal(ghosts_take(&ghosts, key_of(1)), 0);
    ghosts_note(&ghosts, key_of(1));
    assert_int_equal(ghosts_take(&ghosts, (struct map_key){1, 10, 1}), 0);
    assert_int_equal(ghosts_take(&ghosts, (struct map_key){1, 11, 2}), 0);
    assert_int_equal(ghosts_take(&ghosts, key_of(2)), 0);
    assert_int_equal(ghosts_take(&ghosts, key_of(1)), 1);
    assert_int_equal(ghosts_take(&ghosts, key_of(1)), 0);
    ghosts_fini(&ghosts);
}

/* A working set of five times the table: four fifths of it are ghosts at any time, and most are recognised. Others,
 * who were never there, are not. */
static void returns_are_recognised_in_tables_of_every_size(void **state)
{
    static const uint64_t sizes[] = {1000, 20000, 300000, 2000000};
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct ghosts ghosts;
        uint64_t count = 4 * sizes[i];
        assert_int_equal(ghosts_init(&ghosts, sizes[i], SEED + i), 0);
        assert_true(ghosts.count <= GHOSTS_MAX);
        for (uint64_t user = 0; user < count; user++)
            ghosts_note(&ghosts, key_of(user));
        assert_int_equal(take_all(&ghosts, count, 2 * count), 0);
        uint64_t taken = take_all(&ghosts, 0, count);
        /* 16 places an entry, 4 of them taken: about one in eight was overwritten. A sample strays by a few in a
         * hundred. */
        assert_in_range(taken, count * 3 / 4, count * 11 / 10);
        ghosts_fini(&ghosts);
    }
}

static void the_largest_table_needs_no_more(void **state)
{
    struct ghosts ghosts;
    (void)state;
    assert_int_equal(ghosts_init(&ghosts, UINT32_MAX, SEED), 0);
    assert_int_equal(ghosts.count, GHOSTS_MAX);
    ghosts_fini(&ghosts);
    assert_int_equal(ghosts_init(&ghosts, 1, SEED), 0);
    assert_int_equal(ghosts.weight, 1);
    ghosts_note(&ghosts, key_of(1));
    assert_int_equal(ghosts_take(&ghosts, key_of(1)), 1);
    ghosts_fini(&ghosts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_is_taken_once),
        cmocka_unit_test(returns_are_recognised_in_tables_of_every_size),
        cmocka_unit_test(the_largest_table_needs_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
