/* The feed's words when the lease has ended. */
#include "proxy/feed/private.h"
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

/* Were it due with the others, the lease that a slow poll has left would end before, with nobody to blame. */
static void the_poll_after_a_slow_one_is_due_at_once(void **state)
{
    const uint64_t ms = 1000000, begun = 10000 * ms;
    static struct feed feed;
    (void)state;
    feed.phase_ns = 70 * ms;
    feed.interval_ns = 100 * ms;
    feed.staleness_ns = 2000 * ms;
    feed.begun_ns = begun;
    assert_int_equal(feed_due(&feed, begun + 1 * ms), begun + 70 * ms);
    assert_int_equal(feed_due(&feed, begun + 70 * ms), begun + 170 * ms);
    assert_int_equal(feed_due(&feed, begun + 1800 * ms), begun + 1870 * ms);
    assert_int_equal(feed_due(&feed, begun + 1880 * ms), begun + 1880 * ms);
    assert_int_equal(feed_due(&feed, begun + 1999 * ms), begun + 1999 * ms);
    assert_int_equal(feed_due(&feed, begun + 5000 * ms), begun + 5000 * ms);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FEED_TEST(a_batch_that_outlives_the_lease_says_so),
        FEED_TEST(a_poll_that_hangs_is_named_when_the_lease_ends),
        cmocka_unit_test(the_poll_after_a_slow_one_is_due_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
