/* The feed's words when the lease has ended. */
#include "tests/unit/feed/feed_crowd.h"

/* Answers are UNKNOWN for a while then, and say why. */
static void a_batch_that_outlives_the_lease_says_so(void **state)
{
    struct fixture *fixture = *state;
    begin_to_disperse(fixture);
    assert_string_equal(feed_trouble(fixture->feed), "");
    while (publisher_leased(fixture->publisher, clock_ns()))
        (void)usleep(10000);
    assert_true(event_base_loop(fixture->base, EVLOOP_ONCE) >= 0);
    assert_int_equal(publisher_position(fixture->publisher).revision, FIRST);
    assert_non_null(strstr(feed_trouble(fixture->feed), "very many entries"));
    while (publisher_position(fixture->publisher).revision == FIRST)
        assert_true(event_base_loop(fixture->base, EVLOOP_ONCE) >= 0);
    serve_polls(fixture, 1); /* the batch's own poll is as old as the lease */
    assert_string_equal(feed_trouble(fixture->feed), "");
    assert_true(publisher_leased(fixture->publisher, clock_ns()));
}

/* The feed says, when the lease ends, what is waited for then, and not what comes later. */
static void a_poll_that_hangs_is_named_when_the_lease_ends(void **state)
{
    struct fixture *fixture = *state;
    serve_polls(fixture, 1);
    fill_crowd(fixture); /* the batch that comes at the end takes many turns */
    lock();
    fake.hangs = true;
    unlock();
    while (publisher_leased(fixture->publisher, clock_ns()))
        assert_true(event_base_loop(fixture->base, EVLOOP_ONCE) >= 0); /* the lease's own end wakes it */
    assert_int_equal(fixture->counters.leases_ended, 1);
    const char *trouble = feed_trouble(fixture->feed);
    assert_non_null(strstr(trouble, "waits for the store to answer a poll, since 20"));
    lock();
    while (clock_ns() < fake.hung_ns + STALENESS_NS) { /* the poll that hangs is too old for a lease, too */
        unlock();
        (void)usleep(1000);
        lock();
    }
    fixture->released_ns = clock_ns();
    fake.hangs = false;
    fake.kind = CHANGE_SCOPE;
    fake.scope = crowded;
    fake.revision++;
    unlock();
    uint64_t revision = publisher_position(fixture->publisher).revision;
    while (publisher_position(fixture->publisher).revision == revision) {
        assert_null(strstr(feed_trouble(fixture->feed), "very many entries"));
        assert_true(event_base_loop(fixture->base, EVLOOP_ONCE) >= 0);
    }
    assert_int_equal(fixture->counters.leases_ended, 1);
    while (fixture->ended_at_renewal == 0)
        serve_polls(fixture, 1);
    assert_int_equal(fixture->ended_at_renewal, 1);
    serve_polls(fixture, 2);
    assert_string_equal(feed_trouble(fixture->feed), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FEED_TEST(a_batch_that_outlives_the_lease_says_so),
        FEED_TEST(a_poll_that_hangs_is_named_when_the_lease_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
