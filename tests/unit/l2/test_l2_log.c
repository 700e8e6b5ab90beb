/* The log of a marker that is further back than the host remembers: it is believed only as far as it joins, row by
 * row and nonce by nonce, what the table itself has come through. */
#include "proxy/l2/private.h"
#include "tests/support/memory_policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define STORE 7
#define FROM  5  /* where the marker stands */
#define BEGUN 10 /* where the host's own history begins */

struct fixture {
    struct memory_policy policy;
    struct publisher *publisher;
    struct counters counters;
    struct l2 l2;
};

static uint64_t nonce_of(uint64_t revision)
{
    return revision * 1000;
}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    struct publisher_options options = {
        .permissions_max = 64, .entries = 100, .sets = 100, .folds = 10, .max_staleness_ns = 2000000000ull};
    struct log_position at = {STORE, BEGUN, nonce_of(BEGUN)};
    struct catalogue catalogue;
    memory_policy_init(&fixture->policy);
    memory_permission(&fixture->policy, "message.send");
    memory_catalogue(&fixture->policy, 1, &catalogue);
    assert_int_equal(
        publisher_new(&fixture->publisher, &options, &at, 1000, &catalogue, &fixture->counters, NULL), 0);
    fixture->l2.publisher = fixture->publisher;
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    publisher_free(fixture->publisher);
    memory_policy_fini(&fixture->policy);
    change_list_fini(&fixture->l2.log);
    free(fixture);
    return 0;
}

/* Leaves the log as l2_log_read would: the rows after FROM up to `last`. */
static void read_up_to(struct fixture *fixture, uint64_t last)
{
    struct change_list *log = &fixture->l2.log;
    fixture->l2.log_from = (struct log_position){STORE, FROM, nonce_of(FROM)};
    log->count = last - FROM;
    log->items = calloc(log->count + 1, sizeof *log->items);
    for (size_t i = 0; i < log->count; i++) {
        log->items[i].revision = FROM + 1 + i;
        log->items[i].nonce = nonce_of(FROM + 1 + i);
    }
}

static bool continues(struct fixture *fixture, uint64_t revision, uint64_t nonce)
{
    struct log_position from = {STORE, revision, nonce};
    return l2_log_continues(&fixture->l2, &from);
}

static void joins_where_they_meet(void **state)
{
    struct fixture *fixture = *state;
    read_up_to(fixture, BEGUN + 2); /* the store went on meanwhile */
    for (uint64_t revision = FROM; revision <= BEGUN; revision++) {
        assert_true(continues(fixture, revision, nonce_of(revision)));
        assert_false(continues(fixture, revision, nonce_of(revision) + 1));
    }
    assert_false(continues(fixture, FROM - 1, nonce_of(FROM - 1)));
    assert_null(l2_log_at(&fixture->l2, FROM));
    for (uint64_t revision = FROM + 1; revision <= BEGUN; revision++)
        assert_int_equal(l2_log_at(&fixture->l2, revision)->revision, revision);
}

/* The same numbers, another history: the store was restored and written again between the two. */
static void another_history_does_not_join(void **state)
{
    struct fixture *fixture = *state;
    read_up_to(fixture, BEGUN + 2);
    fixture->l2.log.items[BEGUN - FROM - 1].nonce++;
    for (uint64_t revision = FROM; revision < BEGUN; revision++)
        assert_false(continues(fixture, revision, nonce_of(revision)));
    assert_true(continues(fixture, BEGUN, nonce_of(BEGUN))); /* the history itself */
}

static void a_gap_does_not_join(void **state)
{
    struct fixture *fixture = *state;
    read_up_to(fixture, BEGUN - 1);
    assert_false(continues(fixture, FROM, nonce_of(FROM)));
}

static void nothing_was_read(void **state)
{
    struct fixture *fixture = *state;
    fixture->l2.log_from = (struct log_position){STORE, FROM, nonce_of(FROM)};
    assert_false(continues(fixture, FROM, nonce_of(FROM)));
    assert_true(continues(fixture, BEGUN, nonce_of(BEGUN)));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(joins_where_they_meet), TEST(another_history_does_not_join),
                                       TEST(a_gap_does_not_join), TEST(nothing_was_read)};
    return cmocka_run_group_tests_name("l2_log", tests, NULL, NULL);
}
