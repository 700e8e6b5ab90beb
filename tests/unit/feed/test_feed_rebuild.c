/* The feed throws the table away and reads everything again: when, and what it does not believe meanwhile. */
#include "tests/unit/feed/feed_fixture.h"

#include <stdatomic.h>

/* So many orders are refused, and then so many tables cannot be made. */
static atomic_uint orders_refused, tables_refused;

int __real_table_new(struct table **out, const struct publisher_options *options, uint64_t store_id);
int __wrap_table_new(struct table **out, const struct publisher_options *options, uint64_t store_id);
int __wrap_table_new(struct table **out, const struct publisher_options *options, uint64_t store_id)
{
    if (tables_refused == 0)
        return __real_table_new(out, options, store_id);
    tables_refused--;
    return PERMTAB_E_SYSTEM;
}

uint64_t __real_workshop_order(struct workshop *workshop, const struct workshop_order *order);
uint64_t __wrap_workshop_order(struct workshop *workshop, const struct workshop_order *order);
uint64_t __wrap_workshop_order(struct workshop *workshop, const struct workshop_order *order)
{
    if (orders_refused == 0)
        return __real_workshop_order(workshop, order);
    orders_refused--;
    return 0;
}

/* Growth may have the memory meanwhile; the fixture looks at each poll. */
static void without_memory_for_its_table_it_is_tried_again(void **state)
{
    struct fixture *fixture = *state;
    serve_polls(fixture, 2);
    orders_refused = tables_refused = 2;
    feed_rebuild(fixture->feed);
    while (fixture->counters.rebuilds == 0)
        serve_polls(fixture, 1);
    assert_int_equal(orders_refused + tables_refused, 0);
    serve_polls(fixture, 2);
    assert_string_equal(feed_trouble(fixture->feed), "");
}

static void a_rebuild_stays_wanted_while_the_store_is_away(void **state)
{
    struct fixture *fixture = *state;
    uint64_t generation = publisher_generation(fixture->publisher);
    serve_polls(fixture, 2);
    lock();
    fake.schema_failures = 3;
    unlock();
    /* The lease ends as after a batch that could not be applied. */
    publisher_end_lease(fixture->publisher, STORE_NOT_BELIEVED);
    feed_rebuild(fixture->feed);
    serve_polls(fixture, 10);
    assert_int_not_equal(publisher_generation(fixture->publisher), generation);
    assert_int_not_equal(publisher_deadline(fixture->publisher), 0);
    assert_string_equal(feed_trouble(fixture->feed), "");
}

/* A change row of kind 9: nothing of before is kept, whatever the other rows of the batch say. */
static void a_row_that_says_read_everything_leads_to_a_rebuild(void **state)
{
    struct fixture *fixture = *state;
    serve_polls(fixture, 2);
    uint64_t rebuilds = fixture->counters.rebuilds, generation = publisher_generation(fixture->publisher);
    lock();
    fake.kind = CHANGE_STORE;
    fake.revision++;
    unlock();
    serve_polls(fixture, 3);
    assert_int_equal(publisher_position(fixture->publisher).revision, FIRST + 1);
    assert_int_equal(fixture->counters.rebuilds, rebuilds + 1);
    assert_int_not_equal(publisher_generation(fixture->publisher), generation);
}

/* A server that was taken out of service goes on answering, and its past looks whole: what is disbelieved must not
 * be believed again for having been read anew. */
static void a_server_that_is_not_believed_grants_no_lease_by_a_rebuild(void **state)
{
    struct fixture *fixture = *state;
    serve_polls(fixture, 3);
    assert_int_not_equal(publisher_deadline(fixture->publisher), 0);
    lock();
    fake.read_only = true;
    unlock();
    serve_polls(fixture, 4);
    uint64_t renewals = fixture->counters.lease_renewals, rebuilds = fixture->counters.rebuilds;
    serve_polls(fixture, 10);
    assert_int_equal(fixture->counters.lease_renewals, renewals);
    assert_int_equal(fixture->counters.rebuilds, rebuilds);
    assert_string_equal(feed_trouble(fixture->feed), "the server is read only");
    lock();
    fake.read_only = false;
    unlock();
    serve_polls(fixture, 4);
    assert_int_not_equal(publisher_deadline(fixture->publisher), 0);
    assert_string_equal(feed_trouble(fixture->feed), "");
}

/* A table may have been restored between two connections, with rows that no change row names; the log is the same
 * as before. */
static void expect_rebuild_after_an_absence(struct fixture *fixture, unsigned open_schema, uint64_t mark)
{
    serve_polls(fixture, 3);
    uint64_t rebuilds = fixture->counters.rebuilds, disbelieved = fixture->counters.polls_disbelieved;
    lock();
    fake.away = true;
    unlock();
    serve_polls(fixture, 3);
    assert_int_equal(fixture->counters.polls_disbelieved, disbelieved);
    lock();
    fake.open_schema = open_schema;
    fake.mark = mark;
    fake.away = false;
    unlock();
    serve_polls(fixture, 4 + open_schema);
    assert_true(fixture->counters.polls_disbelieved > disbelieved);
    assert_int_equal(publisher_distrusted(fixture->publisher), 1);
    assert_int_equal(fixture->counters.rebuilds, rebuilds + 1);
    assert_string_equal(feed_trouble(fixture->feed), "");
}

static void a_schema_refused_while_connecting_is_disbelieved(void **state)
{
    expect_rebuild_after_an_absence(*state, 3, 1);
}

static void tables_made_anew_between_two_connections_are_disbelieved(void **state)
{
    expect_rebuild_after_an_absence(*state, 0, 2);
}

/* Somebody asked for a rebuild, and it is the rebuild that finds the store to be another. It may not pass for one
 * like any other: what is kept elsewhere is not to be trusted either. */
static void a_rebuild_that_finds_the_schema_changed_is_distrust(void **state)
{
    struct fixture *fixture = *state;
    serve_polls(fixture, 3);
    lock();
    fake.mark = 2;
    unlock();
    feed_rebuild(fixture->feed);
    serve_polls(fixture, 6);
    assert_int_equal(publisher_distrusted(fixture->publisher), 1);
    assert_int_equal(fixture->counters.rebuilds, 1);
    assert_string_equal(feed_trouble(fixture->feed), "");
    /* And while nothing helps, polls go on at their pace. */
    lock();
    fake.read_only = true;
    unlock();
    serve_polls(fixture, 2);
    uint64_t begun = clock_ns();
    serve_polls(fixture, 10);
    assert_true(clock_ns() - begun > 30000000);
}

/* The auditor ended the lease as this table's own fault, and it is the rebuild that finds why it differed. */
static void a_rebuild_after_an_own_fault_may_be_distrust(void **state)
{
    struct fixture *fixture = *state;
    serve_polls(fixture, 3);
    lock();
    fake.mark = 2;
    unlock();
    publisher_end_lease(fixture->publisher, OWN_FAULT);
    feed_rebuild(fixture->feed);
    serve_polls(fixture, 6);
    assert_int_equal(fixture->counters.rebuilds, 1);
    assert_int_equal(publisher_distrusted(fixture->publisher), 1);
}

static void the_same_tables_after_an_absence_are_believed(void **state)
{
    struct fixture *fixture = *state;
    serve_polls(fixture, 3);
    lock();
    fake.away = true;
    unlock();
    serve_polls(fixture, 3);
    lock();
    fake.away = false;
    unlock();
    serve_polls(fixture, 4);
    assert_int_equal(fixture->counters.polls_disbelieved, 0);
    assert_int_equal(fixture->counters.rebuilds, 0);
    assert_string_equal(feed_trouble(fixture->feed), "");
}

/* Polls go on in between when somebody asks for everything to be thrown away, again and again. */
static void rebuilds_have_their_time(void **state)
{
    struct fixture *fixture = *state;
    serve_polls(fixture, 2);
    uint64_t before = fixture->counters.rebuilds, generation = publisher_generation(fixture->publisher);
    for (int i = 0; i < 30; i++) {
        feed_rebuild(fixture->feed);
        serve_polls(fixture, 1);
    }
    assert_in_range(fixture->counters.rebuilds, before + 1, before + 2);
    lock();
    fake.revision++;
    unlock();
    feed_rebuild(fixture->feed);
    serve_polls(fixture, 3);
    assert_int_equal(publisher_position(fixture->publisher).revision, FIRST + 1);
    assert_string_equal(feed_trouble(fixture->feed), "");
    /* And what was asked for last is not forgotten. */
    before = fixture->counters.rebuilds;
    for (int i = 0; i < 1000 && fixture->counters.rebuilds == before; i++)
        serve_polls(fixture, 1);
    assert_int_equal(fixture->counters.rebuilds, before + 1);
    assert_int_not_equal(publisher_generation(fixture->publisher), generation);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FEED_TEST(a_rebuild_stays_wanted_while_the_store_is_away),
        FEED_TEST(without_memory_for_its_table_it_is_tried_again),
        FEED_TEST(a_row_that_says_read_everything_leads_to_a_rebuild),
        FEED_TEST(a_server_that_is_not_believed_grants_no_lease_by_a_rebuild),
        FEED_TEST(a_schema_refused_while_connecting_is_disbelieved),
        FEED_TEST(tables_made_anew_between_two_connections_are_disbelieved),
        FEED_TEST(a_rebuild_that_finds_the_schema_changed_is_distrust),
        FEED_TEST(a_rebuild_after_an_own_fault_may_be_distrust),
        FEED_TEST(the_same_tables_after_an_absence_are_believed),
        FEED_TEST(rebuilds_have_their_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
