/* What is resident: positive entries alone, by the scope that has the entry; and how much room is left. */
#include "tests/unit/table/publisher_fixture.h"

static void test_resident(void **state)
{
    struct fixture *fixture = *state;
    struct scope_key at = {0, 0};
    struct answer answer = {0};
    assert_false(publisher_resident(fixture->publisher, 1, channel, &at));
    uint64_t room = publisher_room(fixture->publisher);
    assert_int_equal(room, 1000);
    fill_well(fixture, 1, channel); /* which is plain, and so is the category: the entry is the server's */
    assert_true(publisher_resident(fixture->publisher, 1, channel, &at));
    assert_true(scope_equal(at, server));
    assert_true(publisher_resident(fixture->publisher, 1, server, &at));
    assert_true(scope_equal(at, server));
    assert_int_equal(publisher_room(fixture->publisher), room - 1);
    assert_false(publisher_resident(fixture->publisher, 2, channel, &at));
    /* a place that is not there */
    assert_int_equal(fill(fixture, 1, (struct scope_key){77, 3}, &answer), PUBLISHER_FILLED);
    answer_fini(&answer);
    assert_false(publisher_resident(fixture->publisher, 1, (struct scope_key){77, 3}, &at));
    assert_int_equal(publisher_room(fixture->publisher), room - 2);
}

static void test_a_stranger_is_not(void **state)
{
    struct fixture *fixture = *state;
    struct scope_key at;
    struct facts facts;
    struct answer answer = {0};
    read_facts(fixture, 99, server, &facts);
    facts.stranger = true;
    assert_int_equal(publisher_fill(fixture->publisher, &facts, SECOND, &answer), PUBLISHER_FILLED);
    answer_fini(&answer);
    facts_fini(&facts);
    assert_int_equal(resident(fixture, 99, server, SEND), 0);
    assert_false(publisher_resident(fixture->publisher, 99, server, &at));
}

static void test_no_room(void **state)
{
    struct fixture *fixture = *state;
    for (uint64_t user = 1; user <= 1100; user++)
        fill_well(fixture, user, server);
    assert_int_equal(publisher_room(fixture->publisher), 0);
    fixture->publisher->table->entries_max--; /* one too many is there */
    assert_int_equal(publisher_room(fixture->publisher), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_resident, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_stranger_is_not, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_room, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
