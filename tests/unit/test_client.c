/* The client library against a fake sidecar (tests/support/fake_sidecar.h): every way a check can be answered, and
 * every way it can fail to be. Forks are test_client_fork.c's, rules test_rule.c's. */
#include "client/channel.h"
#include "client/permtab.h"
#include "tests/support/fake_sidecar.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define MS 1000000u

struct bench {
    struct fake fake;
    struct permtab *table;
    permtab_perm read, write, c; /* bits 0, 1, 4 */
    permtab_type channel;
};

static const struct permtab_options quick = {
    .size = sizeof(struct permtab_options), .open_ms = 1000, .check_ms = 300, .server_uid = -1};

static void pause_ms(unsigned ms)
{
    struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&pause, NULL);
}

static int setup(void **state)
{
    struct bench *bench = calloc(1, sizeof(*bench));
    assert_non_null(bench);
    fake_start(&bench->fake);
    assert_int_equal(permtab_open(&bench->table, bench->fake.path, &quick), 0);
    assert_int_equal(permtab_permission(bench->table, "a.read", &bench->read), 0);
    assert_int_equal(permtab_permission(bench->table, "a.write", &bench->write), 0);
    assert_int_equal(permtab_permission(bench->table, "c", &bench->c), 0);
    assert_int_equal(permtab_scope_type(bench->table, "channel", &bench->channel), 0);
    *state = bench;
    return 0;
}

static int teardown(void **state)
{
    struct bench *bench = *state;
    permtab_close(bench->table);
    fake_stop(&bench->fake);
    free(bench);
    return 0;
}

static void set(struct bench *bench, bool *field, bool value)
{
    fake_lock(&bench->fake);
    *field = value;
    fake_unlock(&bench->fake);
}

static permtab_scope at(const struct bench *bench, uint64_t id)
{
    return permtab_at(bench->channel, id);
}

/* ---- hit, miss, fill ------------------------------------------------------------------------------------------- */

static void test_hit(void **state)
{
    struct bench *bench = *state;
    const uint64_t ids[] = {0, 1, 7, (uint64_t)1 << 63, UINT64_MAX};
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        fake_put(&bench->fake, ids[i], 10);
        assert_int_equal(permtab_peek(bench->table, ids[i], at(bench, 10), bench->read),
                         fake_allows(ids[i], 10, 0, false));
        assert_int_equal(permtab_check(bench->table, ids[i], at(bench, 10), bench->write),
                         fake_allows(ids[i], 10, 1, false));
        assert_int_equal(permtab_allowed(bench->table, ids[i], at(bench, 10), bench->c),
                         fake_allows(ids[i], 10, 4, false));
    }
    assert_int_equal(fake_counts(&bench->fake).checks, 0);
}

static void test_miss_asks_once(void **state)
{
    struct bench *bench = *state;
    assert_int_equal(permtab_peek(bench->table, 5, at(bench, 11), bench->read), PERMTAB_UNKNOWN);
    assert_int_equal(permtab_why(bench->table), PERMTAB_E_MISS);
    assert_int_equal(permtab_check(bench->table, 5, at(bench, 11), bench->read), PERMTAB_ALLOW);
    assert_int_equal(fake_counts(&bench->fake).checks, 1);
    assert_int_equal(permtab_check(bench->table, 5, at(bench, 11), bench->read), PERMTAB_ALLOW);
    assert_int_equal(permtab_peek(bench->table, 5, at(bench, 11), bench->write), PERMTAB_DENY);
    assert_int_equal(fake_counts(&bench->fake).checks, 1);
    /* The same id in another type of scope is another place. */
    permtab_type server;
    assert_int_equal(permtab_scope_type(bench->table, "server", &server), 0);
    assert_int_equal(permtab_peek(bench->table, 5, permtab_at(server, 11), bench->read), PERMTAB_UNKNOWN);
    fake_remove(&bench->fake, 5, 11);
    assert_int_equal(permtab_peek(bench->table, 5, at(bench, 11), bench->read), PERMTAB_UNKNOWN);
}

static void test_owned(void **state)
{
    struct bench *bench = *state;
    set(bench, &bench->fake.fill, false);
    /* user 1, scope 10: a.read (bit 0) is denied, and allowed on what is one's own. First over the socket, then not. */
    for (int round = 0; round < 2; round++) {
        assert_int_equal(permtab_check(bench->table, 1, at(bench, 10), bench->read), PERMTAB_DENY);
        assert_int_equal(permtab_check_owned(bench->table, 1, at(bench, 10), bench->read, 1), PERMTAB_ALLOW);
        assert_int_equal(permtab_check_owned(bench->table, 1, at(bench, 10), bench->read, 2), PERMTAB_DENY);
        assert_int_equal(permtab_check_owned(bench->table, 1, at(bench, 10), bench->read, 0), PERMTAB_DENY);
        assert_int_equal(fake_counts(&bench->fake).checks, 4);
        fake_put(&bench->fake, 1, 10);
    }
}

static void test_names(void **state)
{
    struct bench *bench = *state;
    permtab_perm again, none = {0};
    permtab_type no_type = {0}, type;
    char longest[200];
    assert_int_equal(permtab_permission(bench->table, "a.read", &again), 0);
    assert_int_equal(again.slot, bench->read.slot);
    assert_int_equal(permtab_permission(bench->table, "a.reap", &again), PERMTAB_E_NO_PERMISSION);
    assert_int_equal(permtab_permission(bench->table, "", &again), PERMTAB_E_NO_PERMISSION);
    assert_int_equal(permtab_permission(bench->table, NULL, &again), PERMTAB_E_INVALID);
    memset(longest, 'a', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    assert_int_equal(permtab_permission(bench->table, longest, &again), PERMTAB_E_LIMIT);
    assert_int_equal(permtab_scope_type(bench->table, "planet", &type), PERMTAB_E_NO_SCOPE_TYPE);
    fake_put(&bench->fake, 2, 2);
    assert_int_equal(permtab_check(bench->table, 2, at(bench, 2), none), PERMTAB_UNKNOWN);
    assert_int_equal(permtab_why(bench->table), PERMTAB_E_NO_PERMISSION);
    assert_int_equal(permtab_check(bench->table, 2, permtab_at(no_type, 2), bench->read), PERMTAB_UNKNOWN);
    assert_int_equal(permtab_why(bench->table), PERMTAB_E_NO_SCOPE_TYPE);
    again.slot = 4000000000u; /* of another handle, perhaps */
    assert_int_equal(permtab_peek(bench->table, 2, at(bench, 2), again), PERMTAB_UNKNOWN);
    assert_int_equal(permtab_check(bench->table, 2, at(bench, 2), again), PERMTAB_UNKNOWN);
}

static void test_counters(void **state)
{
    struct bench *bench = *state;
    fake_put(&bench->fake, 1, 1);
    for (int i = 0; i < 1000; i++)
        (void)permtab_peek(bench->table, 1, at(bench, 1), bench->read);
    for (int i = 0; i < 10; i++)
        (void)permtab_peek(bench->table, 99, at(bench, 1), bench->read);
    (void)permtab_check(bench->table, 3, at(bench, 1), bench->read);
    struct permtab_shm_feedback_line sum = fake_feedback(&bench->fake);
    assert_int_equal(sum.hits, 1000);
    assert_int_equal(sum.misses, 11);
    assert_int_equal(sum.unknowns, 10);
}

/* ---- time ------------------------------------------------------------------------------------------------------- */

static void test_stale(void **state)
{
    struct bench *bench = *state;
    fake_put(&bench->fake, 1, 1);
    fake_lock(&bench->fake);
    bench->fake.renew = false;
    bench->fake.reply_ns = 0; /* replies cannot vouch either */
    segment_disbelieve_writer(&bench->fake.segments[0]);
    fake_unlock(&bench->fake);
    assert_int_equal(permtab_peek(bench->table, 1, at(bench, 1), bench->read), PERMTAB_UNKNOWN);
    assert_int_equal(permtab_why(bench->table), PERMTAB_E_STALE);
    assert_int_equal(permtab_check(bench->table, 1, at(bench, 1), bench->read), PERMTAB_UNKNOWN);
    assert_int_equal(permtab_why(bench->table), PERMTAB_E_STALE);
    struct permtab_query query = {.user = 1, .scope = at(bench, 1), .perm = bench->read};
    enum permtab_decision decision = PERMTAB_ALLOW;
    assert_int_equal(permtab_check_many(bench->table, &query, 1, &decision), 0);
    assert_int_equal(decision, PERMTAB_UNKNOWN);
    assert_int_equal(permtab_why(bench->table), PERMTAB_E_STALE);
    struct permtab_view view;
    assert_int_equal(permtab_view_get(bench->table, 1, at(bench, 1), &view), PERMTAB_E_STALE);
    assert_int_equal(permtab_view_has(&view, bench->read, false), PERMTAB_UNKNOWN);
    fake_lock(&bench->fake); /* replies can vouch again: the socket answers although the table is stale */
    bench->fake.reply_ns = 1000000000;
    fake_unlock(&bench->fake);
    assert_int_equal(permtab_check(bench->table, 1, at(bench, 1), bench->read), PERMTAB_ALLOW);
    assert_int_equal(permtab_check_many(bench->table, &query, 1, &decision), 1);
    assert_int_equal(decision, PERMTAB_ALLOW);
}

/* The lease alone ends belief: nobody has to tell the reader. */
static void test_lease_runs_out(void **state)
{
    struct bench *bench = *state;
    fake_lock(&bench->fake);
    bench->fake.lease_ns = 60 * MS;
    fake_unlock(&bench->fake);
    fake_retire(&bench->fake, false); /* a segment with short leases */
    assert_int_equal(permtab_refresh(bench->table), 0);
    fake_put(&bench->fake, 1, 1);
    assert_int_equal(permtab_peek(bench->table, 1, at(bench, 1), bench->write), PERMTAB_DENY);
    set(bench, &bench->fake.renew, false);
    uint64_t begin = channel_clock_ns();
    while (permtab_peek(bench->table, 1, at(bench, 1), bench->write) != PERMTAB_UNKNOWN)
        assert_true(channel_clock_ns() < begin + 1000 * MS);
    assert_true(channel_clock_ns() < begin + 60 * MS + 30 * MS);
    set(bench, &bench->fake.renew, true);
    pause_ms(30);
    assert_int_equal(permtab_peek(bench->table, 1, at(bench, 1), bench->write), PERMTAB_DENY);
}

static void test_timeout(void **state)
{
    struct bench *bench = *state;
    set(bench, &bench->fake.mute, true);
    uint64_t begin = channel_clock_ns();
    assert_int_equal(permtab_check(bench->table, 1, at(bench, 1), bench->read), PERMTAB_UNKNOWN);
    uint64_t took = channel_clock_ns() - begin;
    assert_int_equal(permtab_why(bench->table), PERMTAB_E_TIMEOUT);
    assert_true(took >= 295 * MS && took < 450 * MS);
    set(bench, &bench->fake.mute, false);
    assert_int_equal(permtab_check(bench->table, 2, at(bench, 2), bench->read), PERMTAB_ALLOW);
    assert_int_equal(fake_counts(&bench->fake).connects, 1); /* a time-out costs no connection */
}

/* A reply that its caller has given up is not taken for the answer to the next question. */
static void test_late_reply_is_dropped(void **state)
{
    struct bench *bench = *state;
    fake_lock(&bench->fake);
    bench->fake.delay_ms = 400;
    bench->fake.fill = false;
    fake_unlock(&bench->fake);
    assert_int_equal(permtab_check(bench->table, 1, at(bench, 1), bench->write),
                     PERMTAB_UNKNOWN); /* a DENY */
    fake_lock(&bench->fake);           /* waits for the fake, which has sent the late reply by then */
    bench->fake.delay_ms = 0;
    fake_unlock(&bench->fake);
    assert_int_equal(permtab_check(bench->table, 1, at(bench, 1), bench->read), PERMTAB_ALLOW);
    assert_int_equal(fake_counts(&bench->fake).connects, 1);
}

/* The library subscribes to nothing; what is told to it all the same is no answer to anything. */
static void test_notifications_are_dropped(void **state)
{
    struct bench *bench = *state;
    fake_lock(&bench->fake);
    bench->fake.chatty = true;
    bench->fake.fill = false;
    fake_unlock(&bench->fake);
    for (int i = 0; i < 20; i++)
        assert_int_equal(permtab_check(bench->table, 1, at(bench, 1), bench->read), PERMTAB_ALLOW);
    assert_int_equal(permtab_check(bench->table, 1, at(bench, 1), bench->write), PERMTAB_DENY);
    assert_int_equal(permtab_refresh(bench->table), 0); /* with descriptors behind them */
    assert_int_equal(fake_counts(&bench->fake).connects, 1);
}

/* ---- the sidecar goes away -------------------------------------------------------------------------------------- */

static void test_unreachable_and_back(void **state)
{
    struct bench *bench = *state;
    fake_put(&bench->fake, 1, 1);
    fake_suspend(&bench->fake);
    assert_int_equal(permtab_check(bench->table, 1, at(bench, 1), bench->write),
                     PERMTAB_DENY); /* inside the lease */
    uint64_t begin = channel_clock_ns();
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(permtab_check(bench->table, 2, at(bench, 2), bench->read), PERMTAB_UNKNOWN);
        assert_int_equal(permtab_why(bench->table), PERMTAB_E_UNREACHABLE);
    }
    assert_true(channel_clock_ns() - begin < 1000 * MS); /* it does not wait for one who is not there */
    fake_resume(&bench->fake);
    pause_ms(60);
    assert_int_equal(permtab_check(bench->table, 2, at(bench, 2), bench->read), PERMTAB_ALLOW);
    assert_int_equal(fake_counts(&bench->fake).connects, 2);
}

static void test_does_not_hammer(void **state)
{
    struct bench *bench = *state;
    set(bench, &bench->fake.unsealed, true); /* every attempt to attach ends badly */
    fake_retire(&bench->fake, true);
    uint64_t begin = channel_clock_ns(), end = begin + 400 * MS;
    while (channel_clock_ns() < end)
        assert_int_equal(permtab_check(bench->table, 2, at(bench, 2), bench->read), PERMTAB_UNKNOWN);
    assert_true(fake_counts(&bench->fake).connects <= 2 + 400 / 50);
    assert_true(fake_counts(&bench->fake).attaches >= 3);
}

static void test_broken_connection_is_made_anew(void **state)
{
    struct bench *bench = *state;
    fake_suspend(&bench->fake);
    fake_resume(&bench->fake); /* the old connection is closed, the new listener is there */
    assert_int_equal(permtab_check(bench->table, 2, at(bench, 2), bench->read), PERMTAB_ALLOW);
    assert_int_equal(fake_counts(&bench->fake).connects, 2);
    set(bench, &bench->fake.hang_up, true); /* once more, and not for ever */
    assert_int_equal(permtab_check(bench->table, 3, at(bench, 2), bench->read), PERMTAB_UNKNOWN);
    assert_int_equal(permtab_why(bench->table), PERMTAB_E_UNREACHABLE);
    assert_true(fake_counts(&bench->fake).connects <= 4);
}

/* ---- retirement -------------------------------------------------------------------------------------------------- */

static void test_retired(void **state)
{
    struct bench *bench = *state;
    struct permtab_view view;
    fake_put(&bench->fake, 1, 1);
    assert_int_equal(permtab_view_get(bench->table, 1, at(bench, 1), &view), 0);
    fake_retire(&bench->fake, false);
    /* Inside the lease a peek still answers, and says that there is something to do. */
    assert_int_equal(permtab_peek(bench->table, 1, at(bench, 1), bench->write), PERMTAB_DENY);
    assert_int_equal(permtab_why(bench->table), PERMTAB_E_RETIRED);
    assert_int_equal(permtab_view_has(&view, bench->write, false), PERMTAB_DENY);
    /* A check attaches again, and from then on the old mapping is zeroes. */
    assert_int_equal(permtab_check(bench->table, 1, at(bench, 1), bench->write), PERMTAB_DENY);
    assert_int_equal(fake_counts(&bench->fake).attaches, 2);
    assert_int_equal(permtab_view_has(&view, bench->write, false), PERMTAB_UNKNOWN);
    assert_false(permtab_view_current(&view));
    assert_int_equal(permtab_peek(bench->table, 1, at(bench, 1), bench->write), PERMTAB_DENY);
    /* A worker that only peeks. */
    fake_retire(&bench->fake, true);
    assert_int_equal(permtab_peek(bench->table, 1, at(bench, 1), bench->write), PERMTAB_UNKNOWN);
    assert_int_equal(permtab_why(bench->table), PERMTAB_E_RETIRED);
    assert_int_equal(permtab_refresh(bench->table), 0);
    assert_int_equal(permtab_why(bench->table), 0);
    fake_put(&bench->fake, 1, 1);
    assert_int_equal(permtab_peek(bench->table, 1, at(bench, 1), bench->write), PERMTAB_DENY);
}

struct racer {
    struct bench *bench;
    pthread_t thread;
    uint64_t user;
    unsigned wrong, unknown, rounds;
    bool stop;
};

static void *race(void *context)
{
    struct racer *racer = context;
    const struct bench *bench = racer->bench;
    while (!__atomic_load_n(&racer->stop, __ATOMIC_RELAXED)) {
        struct permtab_view view;
        uint64_t scope = racer->rounds % 50;
        int want = fake_allows(racer->user, scope, 0, false);
        int got = permtab_check(bench->table, racer->user, at(bench, scope), bench->read);
        int peeked = permtab_peek(bench->table, racer->user, at(bench, scope), bench->read);
        int seen = PERMTAB_UNKNOWN;
        if (permtab_view_get(bench->table, racer->user, at(bench, scope), &view) == 0)
            seen = permtab_view_has(&view, bench->read, false);
        racer->wrong += (got != PERMTAB_UNKNOWN && got != want) ||
                        (peeked != PERMTAB_UNKNOWN && peeked != want) ||
                        (seen != PERMTAB_UNKNOWN && seen != want);
        racer->unknown += got == PERMTAB_UNKNOWN;
        racer->rounds++;
    }
    return NULL;
}

static void test_threads_while_retiring(void **state)
{
    struct bench *bench = *state;
    struct racer racers[4];
    for (unsigned i = 0; i < 4; i++) {
        racers[i] = (struct racer){.bench = bench, .user = 100 + i};
        assert_int_equal(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
    }
    for (unsigned i = 0; i < 10; i++) {
        pause_ms(25);
        fake_retire(&bench->fake, i % 2 == 0);
        fake_rewrite(&bench->fake);
        if (i % 3 == 0)
            fake_set_catalogue(&bench->fake, i % 2 == 0, false);
    }
    pause_ms(60);
    for (unsigned i = 0; i < 4; i++) {
        __atomic_store_n(&racers[i].stop, true, __ATOMIC_RELAXED);
        pthread_join(racers[i].thread, NULL);
        assert_int_equal(racers[i].wrong, 0);
        assert_true(racers[i].rounds > 100);
        assert_true(racers[i].unknown < racers[i].rounds / 10 + 10);
    }
    assert_true(fake_counts(&bench->fake).attaches >= 8);
    assert_int_equal(fake_counts(&bench->fake).connects, 1);
}

/* ---- the catalogue ---------------------------------------------------------------------------------------------- */

static void test_catalogue_change(void **state)
{
    struct bench *bench = *state;
    permtab_perm late;
    fake_put(&bench->fake, 2, 2);
    assert_int_equal(permtab_permission(bench->table, "d.late", &late), PERMTAB_E_NO_PERMISSION);
    fake_set_catalogue(&bench->fake, true, false);
    /* Not answered before the names are resolved again: which only a call that may block can do. */
    assert_int_equal(permtab_peek(bench->table, 2, at(bench, 2), bench->read), PERMTAB_UNKNOWN);
    assert_int_equal(permtab_why(bench->table), PERMTAB_E_CATALOGUE);
    unsigned before = fake_counts(&bench->fake).catalogues;
    assert_int_equal(permtab_check(bench->table, 2, at(bench, 2), bench->read), PERMTAB_ALLOW);
    assert_int_equal(permtab_peek(bench->table, 2, at(bench, 2), bench->read), PERMTAB_ALLOW);
    assert_int_equal(fake_counts(&bench->fake).catalogues, before + 1);
    assert_int_equal(fake_counts(&bench->fake).checks, 0);
    assert_int_equal(permtab_permission(bench->table, "d.late", &late), 0);
    assert_int_equal(permtab_peek(bench->table, 2, at(bench, 2), late), fake_allows(2, 2, 5, false));
    /* A permission that has gone is UNKNOWN, not DENY; the others go on. */
    fake_set_catalogue(&bench->fake, true, true);
    assert_int_equal(permtab_check(bench->table, 2, at(bench, 2), bench->read), PERMTAB_UNKNOWN);
    assert_int_equal(permtab_why(bench->table), PERMTAB_E_NO_PERMISSION);
    assert_int_equal(permtab_check(bench->table, 2, at(bench, 2), bench->c), PERMTAB_ALLOW);
    fake_set_catalogue(&bench->fake, true, false);
    assert_int_equal(permtab_check(bench->table, 2, at(bench, 2), bench->read), PERMTAB_ALLOW);
}

/* More names than the first geometry has room for. */
static void test_many_slots(void **state)
{
    struct bench *bench = *state;
    static const char *const names[] = {"a.read", "a.write", "b.read", "b.write", "c"};
    fake_put(&bench->fake, 2, 2);
    for (uint32_t bit = 0; bit < 5; bit++) {
        permtab_perm perm;
        assert_int_equal(permtab_permission(bench->table, names[bit], &perm), 0);
        assert_int_equal(permtab_peek(bench->table, 2, at(bench, 2), perm), fake_allows(2, 2, bit, false));
    }
}

/* ---- attaching is refused --------------------------------------------------------------------------------------- */

/* Returns how often it was tried. */
static unsigned open_fails(struct bench *bench, int code, uint32_t open_ms)
{
    struct permtab *table = NULL;
    struct permtab_options options = quick;
    unsigned before = fake_counts(&bench->fake).attaches;
    options.open_ms = open_ms;
    assert_int_equal(permtab_open(&table, bench->fake.path, &options), code);
    assert_null(table);
    return fake_counts(&bench->fake).attaches - before;
}

/* Waiting would not help: it is not tried twice, and the time is not used up. */
static void open_fails_at_once(struct bench *bench, int code)
{
    const uint32_t long_enough_to_try_again = 5000;
    assert_int_equal(open_fails(bench, code, long_enough_to_try_again), 1);
}

static void test_bad_attachments(void **state)
{
    struct bench *bench = *state;
    set(bench, &bench->fake.unsealed, true);
    open_fails_at_once(bench, PERMTAB_E_PROTOCOL);
    set(bench, &bench->fake.unsealed, false);
    set(bench, &bench->fake.truncated, true);
    open_fails_at_once(bench, PERMTAB_E_PROTOCOL);
    set(bench, &bench->fake.truncated, false);
    fake_lock(&bench->fake);
    bench->fake.clock_off = 10000000000;
    fake_unlock(&bench->fake);
    open_fails_at_once(bench, PERMTAB_E_CLOCK);
    fake_lock(&bench->fake);
    bench->fake.clock_off = -10000000000;
    fake_unlock(&bench->fake);
    open_fails_at_once(bench, PERMTAB_E_CLOCK);
    fake_lock(&bench->fake);
    bench->fake.clock_off = 0;
    bench->fake.attach_code = PERMTAB_E_FULL;
    fake_unlock(&bench->fake);
    assert_true(open_fails(bench, PERMTAB_E_FULL, 1000) > 1); /* there may be room soon */
    fake_lock(&bench->fake);
    bench->fake.attach_code = 0;
    fake_unlock(&bench->fake);
}

static void test_open_arguments(void **state)
{
    struct bench *bench = *state;
    struct permtab *table = NULL;
    struct permtab_options options = quick;
    char path[300];
    options.open_ms = 100;
    memset(path, 'x', sizeof(path));
    path[sizeof(path) - 1] = '\0';
    assert_int_equal(permtab_open(&table, path, &options), PERMTAB_E_INVALID);
    assert_int_equal(permtab_open(&table, "", &options), PERMTAB_E_INVALID);
    assert_int_equal(permtab_open(&table, "/nonexistent/permtab.sock", &options), PERMTAB_E_UNREACHABLE);
    options.server_uid = 12345; /* it runs as somebody else */
    assert_int_equal(permtab_open(&table, bench->fake.path, &options), PERMTAB_E_PEER);
    options.server_uid = -2;
    assert_int_equal(permtab_open(&table, bench->fake.path, &options), PERMTAB_E_INVALID);
    options = quick;
    options.size = 4;
    assert_int_equal(permtab_open(&table, bench->fake.path, &options), PERMTAB_E_INVALID);
    assert_null(table);
    permtab_close(NULL);
}

static void *resume_later(void *context)
{
    pause_ms(200);
    fake_resume(context);
    return NULL;
}

static void test_open_waits(void **state)
{
    struct bench *bench = *state;
    struct permtab *table = NULL;
    pthread_t thread;
    fake_suspend(&bench->fake);
    assert_int_equal(pthread_create(&thread, NULL, resume_later, &bench->fake), 0);
    assert_int_equal(permtab_open(&table, bench->fake.path, &quick), 0);
    pthread_join(thread, NULL);
    permtab_close(table);
}

static void test_other_layout(void **state)
{
    struct bench *bench = *state;
    struct permtab *table;
    permtab_perm read;
    permtab_type channel;
    struct permtab_view view;
    fake_lock(&bench->fake);
    bench->fake.layout = PERMTAB_SHM_LAYOUT + 1;
    unsigned attaches = bench->fake.counts.attaches;
    fake_unlock(&bench->fake);
    assert_int_equal(permtab_open(&table, bench->fake.path, &quick), 0);
    assert_int_equal(permtab_permission(table, "a.read", &read), 0);
    assert_int_equal(permtab_scope_type(table, "channel", &channel), 0);
    assert_int_equal(permtab_peek(table, 2, permtab_at(channel, 2), read), PERMTAB_UNKNOWN);
    assert_int_equal(permtab_why(table), PERMTAB_E_LAYOUT);
    assert_int_equal(permtab_check(table, 2, permtab_at(channel, 2), read), PERMTAB_ALLOW);
    assert_int_equal(permtab_check(table, 2, permtab_at(channel, 2), read), PERMTAB_ALLOW);
    assert_int_equal(permtab_view_get(table, 2, permtab_at(channel, 2), &view), PERMTAB_E_LAYOUT);
    assert_int_equal(fake_counts(&bench->fake).checks, 2);
    assert_int_equal(fake_counts(&bench->fake).attaches, attaches);
    assert_int_equal(permtab_refresh(table), 0);
    permtab_close(table);
}

/* ---- tokens, batches, views --------------------------------------------------------------------------------------- */

static void test_tokens(void **state)
{
    struct bench *bench = *state;
    fake_put(&bench->fake, 2, 2);
    struct permtab_token token = {.store_id = FAKE_STORE_ID, .revision = 10};
    assert_int_equal(permtab_check_at(bench->table, 2, at(bench, 2), bench->read, token), PERMTAB_ALLOW);
    assert_int_equal(fake_counts(&bench->fake).checks, 0);
    token.revision = 11; /* the table is behind: the sidecar is asked, which catches up */
    assert_int_equal(permtab_check_at(bench->table, 2, at(bench, 2), bench->read, token), PERMTAB_ALLOW);
    assert_int_equal(fake_counts(&bench->fake).checks, 1);
    fake_set_revision(&bench->fake, 11);
    assert_int_equal(permtab_check_at(bench->table, 2, at(bench, 2), bench->read, token), PERMTAB_ALLOW);
    assert_int_equal(fake_counts(&bench->fake).checks, 1);
    token.store_id++;
    assert_int_equal(permtab_check_at(bench->table, 2, at(bench, 2), bench->read, token), PERMTAB_UNKNOWN);
    assert_int_equal(permtab_why(bench->table), PERMTAB_E_BEHIND);
}

static void test_check_many(void **state)
{
    struct bench *bench = *state;
    enum { COUNT = 25000 };
    struct permtab_query *queries = calloc(COUNT, sizeof(*queries));
    enum permtab_decision *decisions = calloc(COUNT, sizeof(*decisions));
    assert_non_null(queries);
    assert_non_null(decisions);
    set(bench, &bench->fake.fill, false);
    for (unsigned i = 0; i < COUNT; i++) {
        queries[i] = (struct permtab_query){.user = i,
                                            .owner = i % 2 == 0 ? i : 0,
                                            .scope = at(bench, 3),
                                            .perm = i % 3 == 0 ? bench->read : bench->c,
                                            .owned = i % 5 == 0};
        if (i < 1000)
            fake_put(&bench->fake, i, 3);
    }
    queries[7].perm.slot = 0;
    queries[2007].perm.slot = 0;
    assert_int_equal(permtab_check_many(bench->table, queries, 0, decisions), 0);
    assert_int_equal(permtab_check_many(bench->table, NULL, 5, decisions), PERMTAB_E_INVALID);
    assert_int_equal(permtab_check_many(bench->table, queries, 1000, decisions), 999);
    assert_int_equal(fake_counts(&bench->fake).many, 0);
    assert_int_equal(permtab_why(bench->table), PERMTAB_E_NO_PERMISSION);
    assert_int_equal(permtab_check_many(bench->table, queries, COUNT, decisions), COUNT - 2);
    assert_int_equal(fake_counts(&bench->fake).many, 3);
    assert_int_equal(fake_counts(&bench->fake).queries, COUNT - 1000 - 1);
    assert_int_equal(decisions[7], PERMTAB_UNKNOWN);
    assert_int_equal(decisions[2007], PERMTAB_UNKNOWN);
    for (unsigned i = 0; i < COUNT; i++) {
        bool own = i % 5 == 0 && queries[i].owner == i;
        if (i != 7 && i != 2007 && decisions[i] != (int)fake_allows(i, 3, i % 3 == 0 ? 0 : 4, own))
            fail_msg("query %u", i);
    }
    fake_suspend(&bench->fake);
    assert_int_equal(permtab_check_many(bench->table, queries, 2000, decisions), 999);
    assert_int_equal(permtab_why(bench->table), PERMTAB_E_UNREACHABLE);
    fake_resume(&bench->fake);
    free(queries);
    free(decisions);
}

/* An answer that was there at once is not given after its lease has ended, because another one had to be waited for. */
static void test_check_many_waits_too_long(void **state)
{
    struct bench *bench = *state;
    struct permtab_query queries[2];
    enum permtab_decision decisions[2];
    fake_lock(&bench->fake);
    bench->fake.lease_ns = 100 * MS;
    bench->fake.fill = false;
    fake_unlock(&bench->fake);
    fake_retire(&bench->fake, false); /* a segment with short leases */
    assert_int_equal(permtab_refresh(bench->table), 0);
    fake_put(&bench->fake, 2, 2);
    for (unsigned i = 0; i < 2; i++)
        queries[i] = (struct permtab_query){.user = 2 + 2 * i, .scope = at(bench, 2), .perm = bench->read};
    assert_int_equal(permtab_check_many(bench->table, queries, 2, decisions), 2);
    assert_int_equal(decisions[0], PERMTAB_ALLOW);
    assert_int_equal(decisions[1], PERMTAB_ALLOW);
    fake_lock(&bench->fake);
    bench->fake.mute = true;
    fake_unlock(&bench->fake);
    assert_int_equal(permtab_check_many(bench->table, queries, 2, decisions), 1); /* while it is renewed */
    assert_int_equal(decisions[0], PERMTAB_ALLOW);
    set(bench, &bench->fake.renew, false);
    pause_ms(1);
    fake_lock(&bench->fake); /* this moment on, as the fake has it */
    fake_unlock(&bench->fake);
    assert_int_equal(permtab_check_many(bench->table, queries, 2, decisions), 0);
    assert_int_equal(decisions[0], PERMTAB_UNKNOWN);
    assert_int_equal(permtab_why(bench->table), PERMTAB_E_STALE);
}

static void test_views(void **state)
{
    struct bench *bench = *state;
    struct permtab_view view;
    assert_int_equal(permtab_view_get(bench->table, 1, at(bench, 1), &view), 0); /* fills */
    assert_int_equal(fake_counts(&bench->fake).checks, 1);
    for (int own = 0; own < 2; own++) {
        assert_int_equal(permtab_view_has(&view, bench->read, own), fake_allows(1, 1, 0, own));
        assert_int_equal(permtab_view_has(&view, bench->write, own), fake_allows(1, 1, 1, own));
    }
    assert_true(permtab_view_current(&view));
    fake_put(&bench->fake, 50, 1);
    assert_true(permtab_view_current(&view)); /* others' entries are none of its business */
    fake_rewrite(&bench->fake);
    assert_int_equal(permtab_view_has(&view, bench->read, false), PERMTAB_UNKNOWN);
    assert_false(permtab_view_current(&view));
    assert_int_equal(permtab_view_get(bench->table, 1, at(bench, 1), &view), 0);
    assert_int_equal(fake_counts(&bench->fake).checks, 1);
    fake_remove(&bench->fake, 1, 1);
    assert_false(permtab_view_current(&view));
    /* Without an entry there is no view, and what is left in *out says nothing. */
    set(bench, &bench->fake.fill, false);
    assert_int_equal(permtab_view_get(bench->table, 9, at(bench, 1), &view), PERMTAB_E_MISS);
    assert_int_equal(permtab_view_has(&view, bench->read, false), PERMTAB_UNKNOWN);
    assert_false(permtab_view_current(&view));
}

/* A scope without anything of its own answers as its ancestor does. */
static void test_fold(void **state)
{
    struct bench *bench = *state;
    struct permtab_view view;
    fake_put(&bench->fake, 2, 100);
    fake_lock(&bench->fake);
    struct segment *segment = &bench->fake.segments[0];
    struct map folds = {.buckets = segment->folds,
                        .home_count = segment->table.fold_buckets,
                        .hash_seed = segment->table.hash_seed};
    struct map_key key = {.key0 = 0, .key1 = 200, .type = 2};
    segment_target_set_writer(segment, 1, 2, 100);
    segment_fold_count_writer(segment, 1);
    map_insert_writer(&folds, map_vacancy_writer(&folds, key), key, 1);
    fake_unlock(&bench->fake);
    struct permtab_query query = {.user = 2, .scope = at(bench, 200), .perm = bench->read};
    enum permtab_decision decision;
    assert_int_equal(permtab_peek(bench->table, 2, at(bench, 200), bench->read), PERMTAB_ALLOW);
    assert_int_equal(permtab_check_many(bench->table, &query, 1, &decision), 1);
    assert_int_equal(decision, PERMTAB_ALLOW);
    assert_int_equal(permtab_view_get(bench->table, 2, at(bench, 200), &view), 0);
    assert_true(permtab_view_current(&view));
    assert_int_equal(fake_counts(&bench->fake).checks, 0);
    fake_lock(&bench->fake);
    map_clear_writer(&folds, map_find_writer(&folds, key));
    fake_unlock(&bench->fake);
    assert_false(permtab_view_current(&view));
    assert_int_equal(permtab_peek(bench->table, 2, at(bench, 200), bench->read), PERMTAB_UNKNOWN);
}

static void test_strerror(void **state)
{
    (void)state;
    assert_string_equal(permtab_strerror(0), "no error");
    assert_string_equal(permtab_strerror(PERMTAB_E_STALE), "the lease has ended");
    assert_string_equal(permtab_strerror(-9999), "unknown error");
    assert_string_equal(permtab_strerror(7), "unknown error");
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_hit),
        TEST(test_miss_asks_once),
        TEST(test_owned),
        TEST(test_names),
        TEST(test_counters),
        TEST(test_stale),
        TEST(test_lease_runs_out),
        TEST(test_timeout),
        TEST(test_late_reply_is_dropped),
        TEST(test_notifications_are_dropped),
        TEST(test_unreachable_and_back),
        TEST(test_does_not_hammer),
        TEST(test_broken_connection_is_made_anew),
        TEST(test_retired),
        TEST(test_threads_while_retiring),
        TEST(test_catalogue_change),
        TEST(test_many_slots),
        TEST(test_bad_attachments),
        TEST(test_open_arguments),
        TEST(test_open_waits),
        TEST(test_other_layout),
        TEST(test_tokens),
        TEST(test_check_many),
        TEST(test_check_many_waits_too_long),
        TEST(test_views),
        TEST(test_fold),
        cmocka_unit_test(test_strerror),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
