/* What was said and not confirmed yet: it holds back the fills that it concerns, and no longer than until the next poll. */
#include "proxy/table/rumours.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct scope_key global = {0, 0}, server = {1, 1}, channel = {9, 2}, elsewhere = {2, 1};

static struct facts facts_of(uint64_t user, uint64_t revision)
{
    struct facts facts = {.user = user, .scope = channel, .revision = revision, .chain_count = 3};
    facts.chain[0].key = global;
    facts.chain[1].key = server;
    facts.chain[2].key = channel;
    return facts;
}

static int start(void **state)
{
    *state = calloc(1, sizeof(struct rumours));
    return *state == NULL;
}

static int stop(void **state)
{
    free(*state);
    return 0;
}

static void add(struct rumours *rumours, uint64_t user, uint64_t revision, uint64_t heard_ns)
{
    struct rumour rumour = {.user = user, .revision = revision, .heard_ns = heard_ns};
    rumours_add(rumours, &rumour);
}

static void add_scope(struct rumours *rumours, struct scope_key scope, uint64_t revision)
{
    struct rumour rumour = {.of_scope = true, .scope = scope, .revision = revision, .heard_ns = 1};
    rumours_add(rumours, &rumour);
}

static void test_of_a_user(void **state)
{
    struct rumours *rumours = *state;
    struct facts before = facts_of(42, 9), at = facts_of(42, 10), other = facts_of(43, 9),
                 zero = facts_of(0, 9);
    assert_false(rumours_doubt(rumours, &before));
    add(rumours, 42, 10, 100);
    assert_true(rumours_doubt(rumours, &before));
    assert_false(rumours_doubt(rumours, &at)); /* read at the revision that is spoken of */
    assert_false(rumours_doubt(rumours, &other));
    assert_false(rumours_doubt(rumours, &zero));
}

static void test_of_a_scope(void **state)
{
    struct rumours *rumours = *state;
    struct facts facts = facts_of(42, 9), absent = facts_of(42, 9);
    absent.chain_count = 0;
    add_scope(rumours, elsewhere, 10);
    assert_false(rumours_doubt(rumours, &facts));
    assert_true(rumours_doubt(rumours, &absent)); /* it may be the one that was missing */
    add_scope(rumours, server, 9);
    assert_false(rumours_doubt(rumours, &facts));
    add_scope(rumours, server, 10);
    assert_true(rumours_doubt(rumours, &facts));
}

static void test_settled_by_a_poll_that_began_later(void **state)
{
    struct rumours *rumours = *state;
    struct facts facts = facts_of(42, 9), other = facts_of(43, 9);
    add(rumours, 42, UINT64_MAX, 100);
    add(rumours, 43, 10, 300);
    rumours_settle(rumours, 100); /* began in the same moment: perhaps before the change was committed */
    assert_true(rumours_doubt(rumours, &facts));
    rumours_settle(rumours, 101);
    assert_false(rumours_doubt(rumours, &facts));
    assert_true(rumours_doubt(rumours, &other));
    rumours_settle(rumours, 301);
    assert_false(rumours_doubt(rumours, &other));
    assert_int_equal(rumours->count, 0);
}

/* More than can be remembered: everybody waits, and not for ever. */
static void test_too_many(void **state)
{
    struct rumours *rumours = *state;
    struct facts stranger = facts_of(UINT64_MAX, 9);
    for (uint64_t user = 0; user < RUMOURS_MAX; user++)
        add(rumours, user, 10, 100);
    assert_false(rumours_doubt(rumours, &stranger));
    for (uint64_t user = 0; user < 100000; user++)
        add(rumours, user, 10, 200);
    assert_true(rumours_doubt(rumours, &stranger));
    rumours_settle(rumours, 200);
    assert_true(rumours_doubt(rumours, &stranger));
    assert_int_equal(rumours->count, 0);
    rumours_settle(rumours, 201);
    assert_false(rumours_doubt(rumours, &stranger));
    add(rumours, 42, 10, 300); /* and it remembers again */
    struct facts facts = facts_of(42, 9);
    assert_true(rumours_doubt(rumours, &facts));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_of_a_user, start, stop),
        cmocka_unit_test_setup_teardown(test_of_a_scope, start, stop),
        cmocka_unit_test_setup_teardown(test_settled_by_a_poll_that_began_later, start, stop),
        cmocka_unit_test_setup_teardown(test_too_many, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
