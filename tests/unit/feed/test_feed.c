/* The feed's polls: what they bring, in which order it is done, and when the next one is due. */
#include "tests/support/stopwatch.h"
#include "tests/unit/feed/feed_crowd.h"

#define DUES_MAX 1000u
#define REST_NS  1000000u /* who is woken sooner after the last poll waits for that long */

/* The times that the feed waited for, one after the other, but for rests. Under lock(). */
static struct {
    uint64_t ns[DUES_MAX];
    size_t count;
} dues;

int __real_pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex,
                                  const struct timespec *due);
int __wrap_pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex,
                                  const struct timespec *due);

int __wrap_pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex,
                                  const struct timespec *due)
{
    uint64_t due_ns = (uint64_t)due->tv_sec * 1000000000 + (uint64_t)due->tv_nsec;
    lock();
    /* One that was woken for nothing waits again. */
    if (due_ns > clock_ns() + REST_NS && dues.count < DUES_MAX &&
        (dues.count == 0 || dues.ns[dues.count - 1] != due_ns))
        dues.ns[dues.count++] = due_ns;
    unlock();
    return __real_pthread_cond_timedwait(condition, mutex, due);
}

static void a_change_while_expiry_is_read_is_applied_first(void **state)
{
    struct fixture *fixture = *state;
    serve_polls(fixture, 2);
    lock();
    fake.changes_unseen = true;
    fixture->expected = fake.revision + 1;
    unlock();
    serve_polls(fixture, 5);
    assert_int_equal(publisher_position(fixture->publisher).revision, FIRST + 1);
    assert_false(fixture->renewed_without);
}

static void too_many_permissions_are_read_once_a_poll(void **state)
{
    struct fixture *fixture = *state;
    serve_polls(fixture, 2);
    uint64_t failed = fixture->counters.polls_failed;
    lock();
    fake.kind = CHANGE_PERMISSION;
    fake.too_many_permissions = true;
    fake.revision++;
    unlock();
    serve_polls(fixture, 6);
    assert_string_equal(feed_trouble(fixture->feed), "permissions_max is too small");
    lock();
    unsigned read = fake.catalogues_read;
    unlock();
    /* One more may be under way. */
    assert_true(fixture->counters.polls_failed > failed);
    assert_true(read <= fixture->counters.polls_failed - failed + 1);
    assert_int_equal(publisher_position(fixture->publisher).revision, FIRST);
}

static void a_watcher_sees_what_was_done_before_others_are_told(void **state)
{
    struct fixture *fixture = *state;
    serve_polls(fixture, 3);
    assert_true(fixture->polls_watched >= 3);
    assert_int_equal(fixture->batches_watched, 0);
    lock();
    fake.revision++;
    unlock();
    serve_polls(fixture, 3);
    assert_int_equal(fixture->batches_watched, 1);
    assert_false(fixture->watched_late);
    unsigned before = fixture->polls_watched;
    lock();
    fake.too_many_permissions = true; /* the poll is answered, and nothing applied */
    fake.kind = CHANGE_PERMISSION;
    fake.revision++;
    unlock();
    serve_polls(fixture, 4);
    assert_true(fixture->polls_watched > before);
    assert_int_equal(fixture->batches_watched, 1);
    assert_int_equal(fixture->rebuilds_watched, 0);
    lock();
    fake.too_many_permissions = false;
    unlock();
    feed_rebuild(fixture->feed);
    serve_polls(fixture, 4);
    assert_int_equal(fixture->rebuilds_watched, 1);
}

/* Messages and tokens of the future wake it: as fast as it can is too fast for the store. A poll that has
 * news is not kept waiting. */
static void who_is_woken_for_nothing_takes_his_time(void **state)
{
    struct fixture *fixture = *state;
    for (int i = 0; i < 80; i++) {
        feed_wake(fixture->feed);
        serve_polls(fixture, 1);
    }
    uint64_t begun = clock_ns();
    for (int i = 0; i < 20; i++) {
        feed_wake(fixture->feed);
        serve_polls(fixture, 1);
    }
    assert_true(clock_ns() - begun >= 19 * 4000000ull); /* this feed polls each 5 ms by itself */
    lock();
    fake.revision++;
    unlock();
    serve_polls(fixture, 2);
    struct stopwatch watch;
    stopwatch_begin(&watch, 0);
    begun = clock_ns();
    for (int i = 0; i < 20; i++) {
        feed_wake(fixture->feed);
        serve_polls(fixture, 1);
    }
    assert_true(clock_ns() - begun >= 18 * 1000000ull);
    assert_true(stopwatch_ms(&watch) < 19 * 4);
}

static void others_have_their_turns_while_a_batch_is_applied(void **state)
{
    struct fixture *fixture = *state;
    unsigned turns = 0;
    begin_to_disperse(fixture);
    uint64_t deadline = publisher_deadline(fixture->publisher), polls = fixture->counters.polls;
    while (publisher_position(fixture->publisher).revision == FIRST) {
        assert_in_range(fixture->counters.entries_retired, 1, (turns + 1) * PUBLISHER_SLICE);
        assert_int_equal(publisher_deadline(fixture->publisher),
                         deadline); /* what was found is not obeyed yet */
        assert_int_not_equal(fixture->told, FIRST + 1);
        assert_int_equal(fixture->batches_watched, 0);
        feed_wake(fixture->feed); /* and there is no other poll meanwhile */
        assert_int_equal(fixture->counters.polls, polls);
        assert_true(event_base_loop(fixture->base, EVLOOP_ONCE) >= 0);
        turns++;
    }
    assert_true(turns >= CROWD / PUBLISHER_SLICE);
    assert_int_equal(fixture->counters.entries_retired, CROWD);
    assert_true(publisher_deadline(fixture->publisher) > deadline);
    assert_int_equal(fixture->told, FIRST + 1);
    assert_int_equal(fixture->batches_watched, 1);
    serve_polls(fixture, 2);
}

static void it_ends_in_the_middle_of_a_batch(void **state)
{
    struct fixture *fixture = *state;
    begin_to_disperse(fixture);
    feed_free(fixture->feed);
    fixture->feed = NULL;
    for (int turn = 0; turn < 3; turn++)
        (void)event_base_loop(fixture->base, EVLOOP_NONBLOCK);
    assert_int_equal(publisher_position(fixture->publisher).revision, FIRST);
    assert_true(fixture->counters.entries_retired < CROWD);
    fill_crowd(fixture); /* fills ask nothing of a batch that is gone */
}

static void a_connection_that_was_ended_while_it_rested_is_made_anew_at_once(void **state)
{
    struct fixture *fixture = *state;
    serve_polls(fixture, 2);
    for (int round = 0; round < 3; round++) {
        lock();
        fake.ended = true;
        unlock();
        serve_polls(fixture, 3);
    }
    assert_int_equal(fixture->counters.polls_failed, 0);
    assert_string_equal(feed_trouble(fixture->feed), "");
}

/* Polls stay due at the times that they would have been due at, whenever somebody wakes the thread, and
 * however late it comes. */
static void a_wake_does_not_move_the_polls_that_follow(void **state)
{
    struct fixture *fixture = *state;
    const uint64_t interval = POLL_MS * 1000000ull;
    lock();
    dues.count = 0;
    unlock();
    serve_polls(fixture, 1);
    for (int i = 0; i < 30; i++) {
        (void)usleep(POLL_MS * 1000 * (unsigned)(i % 3) / 2);
        feed_wake(fixture->feed);
        serve_polls(fixture, 1 + i % 3);
    }
    lock();
    assert_in_range(dues.count, 10, DUES_MAX - 1);
    for (size_t i = 1; i < dues.count; i++) {
        uint64_t since = dues.ns[i] - dues.ns[0], step = dues.ns[i] - dues.ns[i - 1];
        assert_int_equal(since % interval, 0);
        assert_true(step >= interval);
    }
    unlock();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FEED_TEST(a_change_while_expiry_is_read_is_applied_first),
        FEED_TEST(too_many_permissions_are_read_once_a_poll),
        FEED_TEST(a_watcher_sees_what_was_done_before_others_are_told),
        FEED_TEST(who_is_woken_for_nothing_takes_his_time),
        FEED_TEST(others_have_their_turns_while_a_batch_is_applied),
        FEED_TEST(it_ends_in_the_middle_of_a_batch),
        FEED_TEST(a_connection_that_was_ended_while_it_rested_is_made_anew_at_once),
        FEED_TEST(a_wake_does_not_move_the_polls_that_follow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
