/* The pass over all that is resident: nothing is passed over, whatever happens between two slices; what does not match
 * stays. */
#include "proxy/table/private.h"
#include "proxy/table/retire.h"
#include "tests/support/memory_publisher.h"
#include "tests/support/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define USERS   600u
#define SERVERS 3u

static const struct scope_key global = {0, 0};

struct fixture {
    struct memory_policy policy;
    struct publisher *publisher;
    struct counters counters;
    uint64_t even;          /* users that match: those divisible by it; 0: none */
    struct scope_key place; /* the scope that matches; type 9: none */
    unsigned looks;
};

static struct scope_key server_of(uint64_t id)
{
    return (struct scope_key){id, 1};
}

static struct scope_key channel_of(uint64_t id)
{
    return (struct scope_key){id, 3};
}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    memory_policy_init(&fixture->policy);
    memory_permission(&fixture->policy, "message.send");
    for (uint64_t id = 1; id <= SERVERS; id++) {
        memory_scope(&fixture->policy, server_of(id), global, NULL);
        memory_scope(&fixture->policy, channel_of(id), server_of(id), NULL);
        memory_scope(&fixture->policy, channel_of(10 + id), server_of(id), NULL);
        memory_role(&fixture->policy, id, "member", server_of(id), true, true);
        memory_grant(&fixture->policy, id, GRANT_ALLOW, 0);
        /* Overwrites, so that 11, 12, 13 have entries of their own; 1, 2, 3 are folded. */
        memory_overwrite(&fixture->policy, channel_of(10 + id), OVERWRITE_ROLE, id, 0, false);
    }
    fixture->publisher = memory_publisher(&fixture->policy, 5000, 100, &fixture->counters);
    fixture->place.type = 9;
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    publisher_free(fixture->publisher);
    memory_policy_fini(&fixture->policy);
    free(fixture);
    return 0;
}

static void fill(struct fixture *fixture, uint64_t user, struct scope_key scope)
{
    memory_fill(fixture->publisher, &fixture->policy, 1, user, scope);
}

static bool resident(struct fixture *fixture, uint64_t user, struct scope_key scope)
{
    return memory_resident(fixture->publisher, user, scope);
}

static bool match_user(void *context, uint64_t user)
{
    struct fixture *fixture = context;
    fixture->looks++;
    return fixture->even != 0 && user % fixture->even == 0;
}

static bool match_scope(void *context, struct scope_key scope)
{
    struct fixture *fixture = context;
    return scope_equal(scope, fixture->place);
}

static struct publisher_match match_of(struct fixture *fixture)
{
    return (struct publisher_match){match_user, match_scope, fixture};
}

static uint64_t whole_pass(struct fixture *fixture, uint32_t slots, unsigned *slices)
{
    struct publisher_scan scan;
    struct publisher_match match = match_of(fixture);
    uint64_t retired = 0;
    *slices = 1;
    publisher_scan_begin(fixture->publisher, &scan, &match);
    while (publisher_scan_slice(fixture->publisher, &scan, slots, &match, &retired))
        ++*slices;
    return retired;
}

static void users_that_match_go(void **state)
{
    struct fixture *fixture = *state;
    unsigned slices;
    for (uint64_t user = 1; user <= USERS; user++)
        fill(fixture, user, server_of(1 + user % SERVERS));
    fixture->even = 3;
    assert_int_equal(whole_pass(fixture, 50, &slices), USERS / 3);
    assert_true(slices > 5000 / 50);
    for (uint64_t user = 1; user <= USERS; user++)
        assert_int_equal(resident(fixture, user, server_of(1 + user % SERVERS)), user % 3 != 0);
    publisher_count(fixture->publisher);
    assert_int_equal(fixture->counters.entries, USERS - USERS / 3);
}

static void a_place_goes_with_what_lies_below(void **state)
{
    struct fixture *fixture = *state;
    unsigned slices;
    for (uint64_t user = 1; user <= USERS; user++) {
        fill(fixture, user, server_of(2));
        fill(fixture, user, channel_of(12));
        fill(fixture, user, channel_of(13));
    }
    fixture->place = server_of(2);
    assert_int_equal(whole_pass(fixture, 100, &slices), 2 * USERS);
    for (uint64_t user = 1; user <= USERS; user++) {
        assert_false(resident(fixture, user, server_of(2)));
        assert_false(resident(fixture, user, channel_of(12)));
        assert_true(resident(fixture, user, channel_of(13)));
    }
}

static void a_place_without_entries_of_its_own(void **state)
{
    struct fixture *fixture = *state;
    unsigned slices;
    fill(fixture, 1, channel_of(12));
    fill(fixture, 1, channel_of(13));
    fixture->place = server_of(2);
    assert_int_equal(whole_pass(fixture, 100, &slices), 1);
    assert_false(resident(fixture, 1, channel_of(12)));
    assert_true(resident(fixture, 1, channel_of(13)));
}

/* channel:1 has no entry of its own: it answers as server:1. */
static void folds_that_match_go(void **state)
{
    struct fixture *fixture = *state;
    unsigned slices;
    fill(fixture, 1, channel_of(1));
    fill(fixture, 1, channel_of(2));
    assert_int_equal(fixture->publisher->table->folding.folds, 2);
    fixture->place = channel_of(1);
    (void)whole_pass(fixture, 7, &slices);
    assert_int_equal(fixture->publisher->table->folding.folds, 1);
    assert_false(resident(fixture, 1, channel_of(1)));
    assert_true(resident(fixture, 1, channel_of(2)));
    assert_true(resident(fixture, 1, server_of(1)));
}

static void nothing_matches_nothing_goes(void **state)
{
    struct fixture *fixture = *state;
    struct publisher_match match = {NULL, NULL, NULL};
    struct publisher_scan scan;
    uint64_t retired = 0;
    unsigned slices;
    for (uint64_t user = 1; user <= USERS; user++)
        fill(fixture, user, channel_of(1));
    assert_int_equal(whole_pass(fixture, 100000, &slices), 0);
    assert_int_equal(slices, 1);
    assert_int_equal(fixture->looks, USERS);
    publisher_scan_begin(fixture->publisher, &scan, &match);
    assert_false(publisher_scan_slice(fixture->publisher, &scan, 100000, &match, &retired));
    assert_int_equal(retired, 0);
}

/* Entries are filled between slices, which moves others out of full windows, and retired. One that was there at the
 * beginning, and is still there unfilled since, must not be there when the pass ends. */
static void changes_in_between(void **state)
{
    struct fixture *fixture = *state;
    struct publisher_match match = match_of(fixture);
    struct random random = {42};
    fixture->even = 1;
    for (int round = 0; round < 20; round++) {
        struct publisher_scan scan;
        uint64_t retired = 0, next = 100000;
        /* Almost full, so that windows overflow. */
        for (uint64_t user = 1; user <= 4900; user++)
            fill(fixture, user, server_of(1));
        publisher_scan_begin(fixture->publisher, &scan, &match);
        while (publisher_scan_slice(fixture->publisher, &scan, 64, &match, &retired)) {
            for (int i = 0; i < 20; i++)
                fill(fixture, next++, server_of(1 + random_below(&random, SERVERS)));
            (void)publisher_retire_user(fixture->publisher, 1 + random_below(&random, 4900));
        }
        for (uint64_t user = 1; user <= 4900; user++)
            assert_false(resident(fixture, user, server_of(1)));
        for (uint64_t user = 100000; user < next; user++)
            (void)publisher_retire_user(fixture->publisher, user);
    }
}

static void rebuild_ends_the_pass(void **state)
{
    struct fixture *fixture = *state;
    struct publisher_match match = match_of(fixture);
    struct log_position at = {7, 1, 1};
    struct publisher_scan scan;
    struct catalogue catalogue;
    uint64_t retired = 0;
    fixture->even = 1;
    for (uint64_t user = 1; user <= USERS; user++)
        fill(fixture, user, server_of(1));
    publisher_scan_begin(fixture->publisher, &scan, &match);
    assert_true(publisher_scan_slice(fixture->publisher, &scan, 10, &match, &retired));
    memory_catalogue(&fixture->policy, 1, &catalogue);
    assert_int_equal(publisher_rebuild(fixture->publisher, &at, 1000, &catalogue, NULL, NULL), 0);
    fill(fixture, 1, server_of(1));
    retired = 0;
    assert_false(publisher_scan_slice(fixture->publisher, &scan, 100000, &match, &retired));
    assert_int_equal(retired, 0);
    assert_true(resident(fixture, 1, server_of(1)));
}

static void one_user_at_one_place(void **state)
{
    struct fixture *fixture = *state;
    fill(fixture, 1, channel_of(11));
    fill(fixture, 1, channel_of(1)); /* folded: in truth at server:1 */
    fill(fixture, 2, channel_of(1));
    assert_int_equal(publisher_retire_user_at(fixture->publisher, 1, channel_of(11)), 1);
    assert_int_equal(publisher_retire_user_at(fixture->publisher, 1, channel_of(11)), 0);
    assert_true(resident(fixture, 1, channel_of(1)));
    assert_int_equal(publisher_retire_user_at(fixture->publisher, 1, channel_of(1)), 1);
    assert_false(resident(fixture, 1, channel_of(1)));
    assert_true(resident(fixture, 2, channel_of(1)));
    assert_int_equal(publisher_retire_user_at(fixture->publisher, 2, channel_of(77)), 0);
    assert_int_equal(publisher_retire_user_at(fixture->publisher, 2, server_of(1)), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(users_that_match_go),
        T(a_place_goes_with_what_lies_below),
        T(a_place_without_entries_of_its_own),
        T(folds_that_match_go),
        T(nothing_matches_nothing_goes),
        T(changes_in_between),
        T(rebuild_ends_the_pass),
        T(one_user_at_one_place),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
