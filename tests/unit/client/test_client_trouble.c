/* The client library against a fake sidecar: every way a check can fail to be answered. Time runs out, replies are
 * late, the sidecar goes away. */
#include "client/handle.h"
#include "tests/support/client_bench.h"
#include "tests/support/stopwatch.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

/* ---- time ---- */

static void test_stale(void **state)
{
    struct client_bench *bench = *state;
    fake_put(&bench->fake, 1, 1);
    fake_lock(&bench->fake);
    bench->fake.renew = false;
    bench->fake.reply_ns = 0; /* replies cannot vouch either */
    segment_disbelieve_writer(&bench->fake.segments[0]);
    fake_unlock(&bench->fake);
    assert_int_equal(permtab_peek(bench->table, 1, bench_at(bench, 1), bench->read), PERMTAB_UNKNOWN);
    assert_int_equal(permtab_why(bench->table), PERMTAB_E_STALE);
    assert_int_equal(permtab_check(bench->table, 1, bench_at(bench, 1), bench->read), PERMTAB_UNKNOWN);
    assert_int_equal(permtab_why(bench->table), PERMTAB_E_STALE);
    struct permtab_query query = {.user = 1, .scope = bench_at(bench, 1), .perm = bench->read};
    enum permtab_decision decision = PERMTAB_ALLOW;
    assert_int_equal(permtab_check_many(bench->table, &query, 1, &decision), 0);
    assert_int_equal(decision, PERMTAB_UNKNOWN);
    assert_int_equal(permtab_why(bench->table), PERMTAB_E_STALE);
    struct permtab_view view;
    assert_int_equal(permtab_view_get(bench->table, 1, bench_at(bench, 1), &view), PERMTAB_E_STALE);
    assert_int_equal(permtab_view_has(&view, bench->read, false), PERMTAB_UNKNOWN);
    fake_lock(&bench->fake); /* replies can vouch again: the socket answers although the table is stale */
    bench->fake.reply_ns = 60000ull * MS;
    fake_unlock(&bench->fake);
    assert_int_equal(permtab_check(bench->table, 1, bench_at(bench, 1), bench->read), PERMTAB_ALLOW);
    assert_int_equal(permtab_check_many(bench->table, &query, 1, &decision), 1);
    assert_int_equal(decision, PERMTAB_ALLOW);
}

/* The lease alone ends belief: nobody has to tell the reader. */
static void test_lease_runs_out(void **state)
{
    struct client_bench *bench = *state;
    fake_lock(&bench->fake);
    bench->fake.lease_ns = 60 * MS;
    fake_unlock(&bench->fake);
    fake_retire(&bench->fake, false); /* a segment with short leases */
    assert_int_equal(permtab_refresh(bench->table), 0);
    fake_put(&bench->fake, 1, 1);
    while (permtab_peek(bench->table, 1, bench_at(bench, 1), bench->write) != PERMTAB_DENY)
        pause_ms(1);
    bench_set(bench, &bench->fake.renew, false);
    struct stopwatch watch;
    stopwatch_begin(&watch, 0);
    while (permtab_peek(bench->table, 1, bench_at(bench, 1), bench->write) != PERMTAB_UNKNOWN)
        assert_true(stopwatch_ms(&watch) < 1000);
    assert_true(stopwatch_ms(&watch) < 60 + 30);
    bench_set(bench, &bench->fake.renew, true);
    while (permtab_peek(bench->table, 1, bench_at(bench, 1), bench->write) != PERMTAB_DENY)
        pause_ms(1);
}

static void test_timeout(void **state)
{
    struct client_bench *bench = *state;
    bench_set(bench, &bench->fake.mute, true);
    uint64_t begin = channel_clock_ns();
    assert_int_equal(permtab_check(bench->table, 1, bench_at(bench, 1), bench->read), PERMTAB_UNKNOWN);
    uint64_t took = channel_clock_ns() - begin;
    assert_int_equal(permtab_why(bench->table), PERMTAB_E_TIMEOUT);
    assert_true(took >= 295 * MS);
    bench_set(bench, &bench->fake.mute, false);
    while (permtab_check(bench->table, 2, bench_at(bench, 2), bench->read) != PERMTAB_ALLOW)
        pause_ms(5);
    assert_int_equal(fake_counts(&bench->fake).connects, 1); /* a time-out costs no connection */
}

static void *fill_later(void *context)
{
    struct client_bench *bench = context;
    pause_ms(50);
    fake_put(&bench->fake, 2, 2);
    fake_put(&bench->fake, 3, 4);
    return NULL;
}

/* The sidecar goes on with what nobody waits for any more. */
static void test_what_came_too_late_is_in_the_table(void **state)
{
    struct client_bench *bench = *state;
    struct permtab_query queries[] = {{.user = 2, .scope = bench_at(bench, 2), .perm = bench->read},
                                      {.user = 9, .scope = bench_at(bench, 9), .perm = bench->read},
                                      {.user = 3, .scope = bench_at(bench, 4), .perm = bench->read}};
    enum permtab_decision decisions[3];
    pthread_t thread;
    bench_set(bench, &bench->fake.mute, true);
    assert_int_equal(pthread_create(&thread, NULL, fill_later, bench), 0);
    assert_int_equal(permtab_check_many(bench->table, queries, 3, decisions), 2);
    pthread_join(thread, NULL);
    assert_int_equal(decisions[0], fake_allows(2, 2, 0, false));
    assert_int_equal(decisions[1], PERMTAB_UNKNOWN);
    assert_int_equal(decisions[2], fake_allows(3, 4, 0, false));
    assert_int_equal(permtab_why(bench->table), PERMTAB_E_TIMEOUT);
    fake_remove(&bench->fake, 2, 2);
    handle_of(bench->table)->own->circuit = (struct circuit){0}; /* it waits as if for the first time */
    assert_int_equal(pthread_create(&thread, NULL, fill_later, bench), 0);
    assert_int_equal(permtab_check(bench->table, 2, bench_at(bench, 2), bench->read), decisions[0]);
    pthread_join(thread, NULL);
}

static void *check_once(void *context)
{
    struct client_bench *bench = context;
    assert_int_equal(permtab_check(bench->table, 1, bench_at(bench, 1), bench->read), PERMTAB_UNKNOWN);
    return NULL;
}

/* A sidecar that did not answer is not waited for by everybody else again: 200 checks that took check_ms each would be
 * a minute. One tries now and then, shortly. */
static void test_silence_costs_one_wait(void **state)
{
    struct client_bench *bench = *state;
    pthread_t threads[4];
    bench_set(bench, &bench->fake.mute, true);
    uint64_t begin = channel_clock_ns();
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, check_once, bench), 0);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (unsigned i = 0; i < 200; i++) {
        assert_int_equal(permtab_check(bench->table, 1, bench_at(bench, 1), bench->read), PERMTAB_UNKNOWN);
        assert_int_equal(permtab_why(bench->table), PERMTAB_E_TIMEOUT);
    }
    assert_true(channel_clock_ns() - begin < 20000 * (uint64_t)MS);
    assert_int_equal(fake_counts(&bench->fake).connects, 1);
}

/* `hold` ends, and so many checks have been answered. (The last may not have been read when its caller gave up.) */
static void release_late_reply(struct client_bench *bench, unsigned checks)
{
    fake_release(&bench->fake);
    for (unsigned ms = 0; ms < 20000 && fake_counts(&bench->fake).checks < checks; ms++)
        pause_ms(1);
    assert_int_equal(fake_counts(&bench->fake).checks, checks);
}

/* The late reply to what was given up says that the sidecar is back: no pause is waited out. */
static void test_late_reply_ends_the_silence(void **state)
{
    struct client_bench *bench = *state;
    bench_set(bench, &bench->fake.fill, false);
    for (unsigned i = 0; i < 3; i++) {
        bench_set(bench, &bench->fake.hold, true);
        assert_int_equal(permtab_check(bench->table, 1, bench_at(bench, 1), bench->read), PERMTAB_UNKNOWN);
        release_late_reply(bench, i + 1);
    }
    bench_check_ms(bench, PATIENT_CHECK_MS);
    assert_int_equal(permtab_check(bench->table, 1, bench_at(bench, 1), bench->read), PERMTAB_ALLOW);
}

/* Slower than a probe waits, and asked so seldom that each question is a probe: the late reply to the one before says
 * that somebody is there, and is waited for then. */
static void test_seldom_asked_and_slow(void **state)
{
    struct client_bench *bench = *state;
    enum permtab_decision decision = PERMTAB_UNKNOWN;
    fake_lock(&bench->fake);
    bench->fake.fill = false;
    bench->fake.hold = true;
    fake_unlock(&bench->fake);
    assert_int_equal(permtab_check(bench->table, 1, bench_at(bench, 1), bench->read), PERMTAB_UNKNOWN);
    release_late_reply(bench, 1);
    fake_lock(&bench->fake);
    bench->fake.delay_ms = 60;
    fake_unlock(&bench->fake);
    for (unsigned i = 0; i < 20 && decision == PERMTAB_UNKNOWN; i++) {
        pause_ms(300);
        decision = permtab_check(bench->table, 1, bench_at(bench, 1), bench->read);
    }
    assert_int_equal(decision, PERMTAB_ALLOW);
}

/* A check that had hardly any time left has not found out that nobody answers. */
static void test_short_waits_open_no_circuit(void **state)
{
    struct client_bench *bench = *state;
    struct handle *handle = handle_of(bench->table);
    struct permtab_query query = {.user = 1, .scope = bench_at(bench, 1), .perm = bench->read};
    bench_set(bench, &bench->fake.mute, true);
    assert_int_equal(handle_lock(handle, channel_clock_ns() + 1000 * MS), 0);
    handle->check_ms = 60000;
    assert_int_equal(ask_locked(handle, &query, NULL, NULL, channel_clock_ns() + 10 * MS), PERMTAB_E_TIMEOUT);
    assert_true(circuit_allows(&handle->own->circuit, channel_clock_ns()));
    handle->check_ms = 20;
    assert_int_equal(ask_locked(handle, &query, NULL, NULL, channel_clock_ns() + 20 * MS), PERMTAB_E_TIMEOUT);
    assert_int_not_equal(handle->own->circuit.pause_ns, 0);
    handle_unlock(handle);
}

/* A sidecar that cannot be greeted within what a probe waits is reached all the same: what was begun is gone on
 * with. */
static void test_slow_greeting_is_gone_on_with(void **state)
{
    struct client_bench *bench = *state;
    fake_suspend(&bench->fake);
    bench->fake.mute = true;
    fake_resume(&bench->fake);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(permtab_check(bench->table, 1, bench_at(bench, 1), bench->read), PERMTAB_UNKNOWN);
    assert_int_equal(permtab_why(bench->table), PERMTAB_E_TIMEOUT);
    assert_int_equal(fake_counts(&bench->fake).connects, 2); /* one new connection, not one a check */
}

/* A reply that its caller has given up is not taken for the answer to the next question. */
static void test_late_reply_is_dropped(void **state)
{
    struct client_bench *bench = *state;
    fake_lock(&bench->fake);
    bench->fake.hold = true;
    bench->fake.fill = false;
    fake_unlock(&bench->fake);
    assert_int_equal(permtab_check(bench->table, 1, bench_at(bench, 1), bench->write),
                     PERMTAB_UNKNOWN); /* a DENY */
    release_late_reply(bench, 1);
    bench_check_ms(bench, PATIENT_CHECK_MS);
    assert_int_equal(permtab_check(bench->table, 1, bench_at(bench, 1), bench->read), PERMTAB_ALLOW);
    assert_int_equal(fake_counts(&bench->fake).connects, 1);
}

/* A reply to a request that was never made on this connection was caused by somebody else: nothing more is believed of
 * it. */
static void test_stray_reply_ends_the_connection(void **state)
{
    struct client_bench *bench = *state;
    fake_lock(&bench->fake);
    bench->fake.strays = true;
    bench->fake.fill = false;
    fake_unlock(&bench->fake);
    assert_int_equal(permtab_check(bench->table, 1, bench_at(bench, 1), bench->write),
                     PERMTAB_UNKNOWN); /* a DENY */
    assert_int_equal(permtab_why(bench->table), PERMTAB_E_PROTOCOL);
    bench_set(bench, &bench->fake.strays, false);
    while (permtab_check(bench->table, 1, bench_at(bench, 1), bench->write) != PERMTAB_DENY)
        pause_ms(5);
}

/* Requests are numbered from where nobody can tell, on each connection. */
static void test_numbers_begin_anywhere(void **state)
{
    struct client_bench *bench = *state;
    uint32_t together = 0;
    for (unsigned i = 0; i < 4; i++) {
        struct channel channel = {0};
        assert_int_equal(channel_open(&channel, bench->fake.path, -1, channel_clock_ns() + 1000 * MS), 0);
        assert_true(channel.first_id != together);
        together |= channel.first_id;
        channel_close(&channel);
    }
    assert_true(together > 0xffff);
}

/* … which may be right before the numbers' end. */
static void test_numbers_go_round(void **state)
{
    struct client_bench *bench = *state;
    struct channel *channel = &handle_of(bench->table)->own->channel;
    bench_set(bench, &bench->fake.fill, false);
    channel->first_id = channel->last_id = UINT32_MAX - 2;
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(permtab_check(bench->table, 1, bench_at(bench, 1), bench->read), PERMTAB_ALLOW);
    assert_int_equal(channel->last_id, 3);
    assert_int_equal(fake_counts(&bench->fake).connects, 1);
}

/* A process that shares the socket (a child does, until it forks off) may set its flags. */
static void test_blocking_socket_is_not_waited_in(void **state)
{
    struct client_bench *bench = *state;
    unsigned found = 0;
    for (int descriptor = 3; descriptor < 64; descriptor++) {
        struct sockaddr_un peer = {0};
        socklen_t size = sizeof(peer);
        if (getpeername(descriptor, (struct sockaddr *)&peer, &size) < 0 ||
            strcmp(peer.sun_path, bench->fake.path) != 0)
            continue;
        found++;
        assert_int_equal(fcntl(descriptor, F_SETFL, 0), 0);
    }
    assert_int_equal(found, 1);
    bench_set(bench, &bench->fake.mute, true);
    assert_int_equal(permtab_check(bench->table, 1, bench_at(bench, 1), bench->read), PERMTAB_UNKNOWN);
    assert_int_equal(permtab_why(bench->table), PERMTAB_E_TIMEOUT);
}

/* The library subscribes to nothing; what is told to it all the same is no answer to anything. */
static void test_notifications_are_dropped(void **state)
{
    struct client_bench *bench = *state;
    fake_lock(&bench->fake);
    bench->fake.chatty = true;
    bench->fake.fill = false;
    fake_unlock(&bench->fake);
    for (int i = 0; i < 20; i++)
        assert_int_equal(permtab_check(bench->table, 1, bench_at(bench, 1), bench->read), PERMTAB_ALLOW);
    assert_int_equal(permtab_check(bench->table, 1, bench_at(bench, 1), bench->write), PERMTAB_DENY);
    assert_int_equal(permtab_refresh(bench->table), 0); /* with descriptors behind them */
    assert_int_equal(fake_counts(&bench->fake).connects, 1);
}

/* ---- the sidecar goes away ---- */

static void test_unreachable_and_back(void **state)
{
    struct client_bench *bench = *state;
    fake_put(&bench->fake, 1, 1);
    fake_suspend(&bench->fake);
    assert_int_equal(permtab_check(bench->table, 1, bench_at(bench, 1), bench->write),
                     PERMTAB_DENY); /* inside the lease */
    bench_check_ms(bench, 20);      /* for as long the outage is waited for */
    assert_int_equal(permtab_check(bench->table, 2, bench_at(bench, 2), bench->read), PERMTAB_UNKNOWN);
    struct outage *outage = &handle_of(bench->table)->own->outage;
    assert_int_not_equal(outage->since_ns, 0);
    outage->since_ns = 1; /* long ago */
    bench_check_ms(bench, PATIENT_CHECK_MS);
    struct stopwatch watch;
    stopwatch_begin(&watch, 0);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(permtab_check(bench->table, 2, bench_at(bench, 2), bench->read), PERMTAB_UNKNOWN);
        assert_int_equal(permtab_why(bench->table), PERMTAB_E_UNREACHABLE);
    }
    assert_true(stopwatch_ms(&watch) < 1000); /* it does not wait for one who is not there */
    fake_resume(&bench->fake);
    while (permtab_check(bench->table, 2, bench_at(bench, 2), bench->read) != PERMTAB_ALLOW)
        pause_ms(5);
    assert_int_equal(fake_counts(&bench->fake).connects, 2);
}

static void test_does_not_hammer(void **state)
{
    struct client_bench *bench = *state;
    bench_set(bench, &bench->fake.unsealed, true); /* every attempt to attach ends badly */
    fake_retire(&bench->fake, true);
    uint64_t begin = channel_clock_ns();
    while (channel_clock_ns() < begin + 400 * MS || fake_counts(&bench->fake).attaches < 3)
        assert_int_equal(permtab_check(bench->table, 2, bench_at(bench, 2), bench->read), PERMTAB_UNKNOWN);
    unsigned connects = fake_counts(&bench->fake).connects;
    assert_true(connects <=
                2 + 7 + (channel_clock_ns() - begin) / (50 * MS)); /* the first pauses are shorter */
}

static void test_broken_connection_is_made_anew(void **state)
{
    struct client_bench *bench = *state;
    fake_suspend(&bench->fake);
    fake_resume(&bench->fake); /* the old connection is closed, the new listener is there */
    assert_int_equal(permtab_check(bench->table, 2, bench_at(bench, 2), bench->read), PERMTAB_ALLOW);
    assert_int_equal(fake_counts(&bench->fake).connects, 2);
    bench_set(bench, &bench->fake.hang_up, true); /* again, and not for ever */
    assert_int_equal(permtab_check(bench->table, 3, bench_at(bench, 2), bench->read), PERMTAB_UNKNOWN);
    assert_int_equal(permtab_why(bench->table), PERMTAB_E_UNREACHABLE);
    assert_int_equal(fake_counts(&bench->fake).connects, 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_stale),
        BENCH_TEST(test_lease_runs_out),
        HASTY_BENCH_TEST(test_timeout),
        HASTY_BENCH_TEST(test_what_came_too_late_is_in_the_table),
        HASTY_BENCH_TEST(test_silence_costs_one_wait),
        HASTY_BENCH_TEST(test_late_reply_ends_the_silence),
        HASTY_BENCH_TEST(test_seldom_asked_and_slow),
        HASTY_BENCH_TEST(test_short_waits_open_no_circuit),
        HASTY_BENCH_TEST(test_slow_greeting_is_gone_on_with),
        HASTY_BENCH_TEST(test_late_reply_is_dropped),
        BENCH_TEST(test_stray_reply_ends_the_connection),
        BENCH_TEST(test_numbers_begin_anywhere),
        BENCH_TEST(test_numbers_go_round),
        HASTY_BENCH_TEST(test_blocking_socket_is_not_waited_in),
        BENCH_TEST(test_notifications_are_dropped),
        BENCH_TEST(test_unreachable_and_back),
        BENCH_TEST(test_does_not_hammer),
        BENCH_TEST(test_broken_connection_is_made_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
