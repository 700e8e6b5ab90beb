/* Hearsay: what was said and not confirmed yet holds back the fills that it concerns, and no longer than until the next
 * poll. */
#include "proxy/table/heard.h"

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
    *state = calloc(1, sizeof(struct heard));
    return *state == NULL;
}

static int stop(void **state)
{
    free(*state);
    return 0;
}

static void add(struct heard *heard, uint64_t user, uint64_t revision, uint64_t heard_ns)
{
    struct heard_change said = {.user = user, .revision = revision, .heard_ns = heard_ns};
    heard_add(heard, &said);
}

static void add_scope(struct heard *heard, struct scope_key scope, uint64_t revision)
{
    struct heard_change said = {.of_scope = true, .scope = scope, .revision = revision, .heard_ns = 1};
    heard_add(heard, &said);
}

static void test_of_a_user(void **state)
{
    struct heard *heard = *state;
    struct facts before = facts_of(42, 9), at = facts_of(42, 10), other = facts_of(43, 9),
                 zero = facts_of(0, 9);
    assert_false(heard_outdates(heard, &before));
    add(heard, 42, 10, 100);
    assert_true(heard_outdates(heard, &before));
    assert_false(heard_outdates(heard, &at)); /* read at the revision that is spoken of */
    assert_false(heard_outdates(heard, &other));
    assert_false(heard_outdates(heard, &zero));
}

static void test_of_a_scope(void **state)
{
    struct heard *heard = *state;
    struct facts facts = facts_of(42, 9), absent = facts_of(42, 9);
    absent.chain_count = 0;
    add_scope(heard, elsewhere, 10);
    assert_false(heard_outdates(heard, &facts));
    assert_true(heard_outdates(heard, &absent)); /* it may be the one that was missing */
    add_scope(heard, server, 9);
    assert_false(heard_outdates(heard, &facts));
    add_scope(heard, server, 10);
    assert_true(heard_outdates(heard, &facts));
}

static void test_settled_by_a_poll_that_began_later(void **state)
{
    struct heard *heard = *state;
    struct facts facts = facts_of(42, 9), other = facts_of(43, 9);
    add(heard, 42, UINT64_MAX, 100);
    add(heard, 43, 10, 300);
    heard_settle(heard, 100); /* began in the same moment: perhaps before the change was committed */
    assert_true(heard_outdates(heard, &facts));
    heard_settle(heard, 101);
    assert_false(heard_outdates(heard, &facts));
    assert_true(heard_outdates(heard, &other));
    heard_settle(heard, 301);
    assert_false(heard_outdates(heard, &other));
    assert_int_equal(heard->count, 0);
}

/* More than can be remembered: everybody waits, and not for ever. */
static void test_too_many(void **state)
{
    struct heard *heard = *state;
    struct facts stranger = facts_of(UINT64_MAX, 9);
    for (uint64_t user = 0; user < HEARD_MAX; user++)
        add(heard, user, 10, 100);
    assert_false(heard_outdates(heard, &stranger));
    for (uint64_t user = 0; user < 100000; user++)
        add(heard, user, 10, 200);
    assert_true(heard_outdates(heard, &stranger));
    heard_settle(heard, 200);
    assert_true(heard_outdates(heard, &stranger));
    assert_int_equal(heard->count, 0);
    heard_settle(heard, 201);
    assert_false(heard_outdates(heard, &stranger));
    add(heard, 42, 10, 300); /* and it remembers again */
    struct facts facts = facts_of(42, 9);
    assert_true(heard_outdates(heard, &facts));
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
