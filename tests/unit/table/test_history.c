/* The recent past: which row stands where, also after the ring has gone round, and which fills are still true. */
#include "proxy/table/history.h"

#include "tests/support/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FIRST 1000u

static const struct log_position begun = {7, FIRST, 77};

static uint64_t nonce_of(uint64_t revision)
{
    return revision == FIRST ? begun.nonce : revision * 3 + 1;
}

/* Users take turns: revision 1001 is of user 1001, and so on. */
static void add_until(struct history *history, uint64_t from, uint64_t last)
{
    for (uint64_t revision = from; revision <= last; revision++) {
        struct change change = {
            .revision = revision, .nonce = nonce_of(revision), .kind = CHANGE_ASSIGNMENT, .user = revision};
        history_add(history, &change);
    }
}

/* Everything in (oldest, last] and nothing else. */
static void assert_holds(const struct history *history, uint64_t oldest, uint64_t last)
{
    for (uint64_t revision = oldest + 1; revision <= last; revision++) {
        const struct change *change = history_at(history, revision);
        assert_non_null(change);
        assert_int_equal(change->revision, revision);
        assert_true(history_continues(history, revision, nonce_of(revision)));
        assert_false(history_continues(history, revision, nonce_of(revision) + 1));
    }
    assert_null(history_at(history, oldest));
    assert_null(history_at(history, last + 1));
    assert_null(history_at(history, 0));
    assert_null(history_at(history, UINT64_MAX));
    assert_int_equal(history->complete_from, oldest);
    assert_true(history_continues(history, oldest, nonce_of(oldest)));
    assert_false(history_continues(history, oldest, nonce_of(oldest) + 1));
    assert_false(history_continues(history, oldest - 1, nonce_of(oldest - 1)));
    assert_false(history_continues(history, last + 1, nonce_of(last + 1)));
}

static int start(void **state)
{
    struct history *history = calloc(1, sizeof *history);
    *state = history;
    return history == NULL || history_init(history, &begun) < 0;
}

static int stop(void **state)
{
    history_fini(*state);
    free(*state);
    return 0;
}

static void test_nothing_yet(void **state)
{
    assert_holds(*state, FIRST, FIRST);
}

static void test_round_and_round(void **state)
{
    struct history *history = *state;
    static const uint64_t stops[] = {1,
                                     2,
                                     HISTORY_SIZE - 1,
                                     HISTORY_SIZE,
                                     HISTORY_SIZE + 1,
                                     HISTORY_SIZE + 2,
                                     2 * HISTORY_SIZE - 1,
                                     2 * HISTORY_SIZE,
                                     2 * HISTORY_SIZE + 1,
                                     3 * HISTORY_SIZE + 17};
    uint64_t last = FIRST;
    for (size_t i = 0; i < sizeof stops / sizeof stops[0]; i++) {
        add_until(history, last + 1, FIRST + stops[i]);
        last = FIRST + stops[i];
        assert_holds(history, stops[i] > HISTORY_SIZE ? last - HISTORY_SIZE : FIRST, last);
    }
}

static void test_reset(void **state)
{
    struct history *history = *state;
    struct log_position other = {7, 50, nonce_of(50)};
    add_until(history, FIRST + 1, FIRST + HISTORY_SIZE + 5);
    history_reset(history, &other);
    assert_holds(history, 50, 50);
    add_until(history, 51, 60);
    assert_holds(history, 50, 60);
}

static bool still_true(const struct history *history, uint64_t user, uint64_t revision)
{
    struct facts facts = {.user = user, .revision = revision, .nonce = nonce_of(revision), .chain_count = 1};
    return history_still_true(history, &facts);
}

/* A fill of a user at any time, against the ring's edges: false when the user changed since, when it is too long
 * ago, or when it is of another history. */
static void test_fills_at_the_edges(void **state)
{
    struct history *history = *state;
    uint64_t last = FIRST + 2 * HISTORY_SIZE + 9;
    add_until(history, FIRST + 1, last);
    assert_true(still_true(history, last, last));
    assert_false(still_true(history, last, last - 1));
    assert_true(still_true(history, 5, last - HISTORY_SCAN));
    assert_false(still_true(history, 5, last - HISTORY_SCAN - 1));
    assert_false(still_true(history, 5, last - HISTORY_SIZE));
    assert_false(still_true(history, 5, last - HISTORY_SIZE - 1));
    struct facts foreign = {.user = 5, .revision = last, .nonce = 1, .chain_count = 1};
    assert_false(history_still_true(history, &foreign));
}

/* Compares the ring with a list that is searched from its beginning. */
static void test_random_fills(void **state)
{
    struct history *history = *state;
    struct random random = {.state = 3};
    uint64_t last = FIRST + 3000;
    add_until(history, FIRST + 1, last);
    for (int i = 0; i < 20000; i++) {
        uint64_t user = FIRST + random_below(&random, 3100), revision = FIRST + random_below(&random, 3001);
        bool changed = user > revision && user <= last;
        assert_int_equal(still_true(history, user, revision), !changed);
    }
}

/* Facts of L2 bring no definitions, and a role that was moved may be named by the place alone that it has now. */
static void test_default_roles_are_named(void **state)
{
    struct history *history = *state;
    struct change change = {
        .revision = FIRST + 1, .nonce = nonce_of(FIRST + 1), .kind = CHANGE_ROLE, .role = 5, .scope = {2, 1}};
    struct change_list changes = {.items = &change, .count = 1};
    struct facts_default item = {.role = 5};
    struct facts facts = {.user = 1,
                          .revision = FIRST,
                          .nonce = begun.nonce,
                          .chain_count = 1,
                          .defaults = &item,
                          .default_count = 1};
    history_add(history, &change);
    assert_true(changes_concern(&changes, &facts));
    assert_false(history_still_true(history, &facts));
    item.role = 6;
    assert_false(changes_concern(&changes, &facts));
    assert_true(history_still_true(history, &facts));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nothing_yet, start, stop),
        cmocka_unit_test_setup_teardown(test_round_and_round, start, stop),
        cmocka_unit_test_setup_teardown(test_reset, start, stop),
        cmocka_unit_test_setup_teardown(test_fills_at_the_edges, start, stop),
        cmocka_unit_test_setup_teardown(test_random_fills, start, stop),
        cmocka_unit_test_setup_teardown(test_default_roles_are_named, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
