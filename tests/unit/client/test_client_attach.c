/* The client library against a fake sidecar: attaching, waiting for it and being refused; and attaching again, when
 * the segment is retired or the catalogue changes. */
#include "tests/support/client_bench.h"

#include <pthread.h>
#include <string.h>

/* ---- attaching ---- */

/* Returns how often it was tried. */
static unsigned open_fails(struct client_bench *bench, int code, uint32_t open_ms)
{
    struct permtab *table = NULL;
    struct permtab_options options = bench_options;
    unsigned before = fake_counts(&bench->fake).attaches;
    options.open_ms = open_ms;
    assert_int_equal(permtab_open(&table, bench->fake.path, &options), code);
    assert_null(table);
    return fake_counts(&bench->fake).attaches - before;
}

/* Waiting would not help: it is not tried twice, and the time is not used up. */
static void open_fails_at_once(struct client_bench *bench, int code)
{
    const uint32_t long_enough_to_try_again = 5000;
    assert_int_equal(open_fails(bench, code, long_enough_to_try_again), 1);
}

static void test_bad_attachments(void **state)
{
    struct client_bench *bench = *state;
    bench_set(bench, &bench->fake.unsealed, true);
    open_fails_at_once(bench, PERMTAB_E_PROTOCOL);
    bench_set(bench, &bench->fake.unsealed, false);
    bench_set(bench, &bench->fake.truncated, true);
    open_fails_at_once(bench, PERMTAB_E_PROTOCOL);
    bench_set(bench, &bench->fake.truncated, false);
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
    struct client_bench *bench = *state;
    struct permtab *table = NULL;
    struct permtab_options options = bench_options;
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
    options = bench_options;
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
    struct client_bench *bench = *state;
    struct permtab *table = NULL;
    pthread_t thread;
    fake_suspend(&bench->fake);
    assert_int_equal(pthread_create(&thread, NULL, resume_later, &bench->fake), 0);
    assert_int_equal(permtab_open(&table, bench->fake.path, &bench_options), 0);
    pthread_join(thread, NULL);
    permtab_close(table);
}

/* A program from before there was a number, and one from after the library's. */
static void test_other_header(void **state)
{
    struct client_bench *bench = *state;
    const uint32_t versions[] = {PERMTAB_SHM_LAYOUT, (PERMTAB_HEADER_ + 1) << 16 | PERMTAB_SHM_LAYOUT};
    struct permtab *table = bench->table;
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(permtab_open_(&table, bench->fake.path, &bench_options, versions[i]),
                         PERMTAB_E_HEADER);
    assert_ptr_equal(table, bench->table);
    assert_string_equal(permtab_strerror(PERMTAB_E_HEADER),
                        "the program was compiled with another permtab.h than the library");
}

static void test_other_layout(void **state)
{
    struct client_bench *bench = *state;
    struct permtab *table;
    permtab_perm read;
    permtab_type channel;
    struct permtab_view view;
    fake_lock(&bench->fake);
    bench->fake.layout = PERMTAB_SHM_LAYOUT + 1;
    unsigned attaches = bench->fake.counts.attaches;
    fake_unlock(&bench->fake);
    assert_int_equal(permtab_open(&table, bench->fake.path, &bench_options), 0);
    assert_int_equal(permtab_permission(table, "a.read", &read), 0);
    assert_int_equal(permtab_scope_type(table, "channel", &channel), 0);
    assert_int_equal(permtab_peek(table, 2, permtab_at(channel, 2), read), PERMTAB_UNKNOWN);
    assert_int_equal(permtab_why(table), PERMTAB_E_LAYOUT);
    assert_int_equal(permtab_check(table, 2, permtab_at(channel, 2), read), PERMTAB_ALLOW);
    assert_int_equal(permtab_check(table, 2, permtab_at(channel, 2), read), PERMTAB_ALLOW);
    assert_int_equal(permtab_view_get(table, 2, permtab_at(channel, 2), &view), PERMTAB_E_LAYOUT);
    assert_int_equal(fake_counts(&bench->fake).checks, 2);
    const struct permtab_query queries[] = {{.user = 2, .scope = permtab_at(channel, 2), .perm = read},
                                            {.user = 1, .scope = permtab_at(channel, 2), .perm = read}};
    enum permtab_decision decisions[2] = {PERMTAB_UNKNOWN, PERMTAB_UNKNOWN};
    assert_int_equal(permtab_check_many(table, queries, 2, decisions), 2); /* there is no table to look at */
    assert_int_equal(decisions[0], PERMTAB_ALLOW);
    assert_int_equal(decisions[1], PERMTAB_DENY);
    assert_int_equal(fake_counts(&bench->fake).attaches, attaches);
    assert_int_equal(permtab_refresh(table), 0);
    permtab_close(table);
}

/* ---- retirement ---- */

static void test_retired(void **state)
{
    struct client_bench *bench = *state;
    struct permtab_view view;
    fake_put(&bench->fake, 1, 1);
    assert_int_equal(permtab_view_get(bench->table, 1, bench_at(bench, 1), &view), 0);
    fake_retire(&bench->fake, false);
    /* Inside the lease a peek still answers, and says that there is something to do. */
    assert_int_equal(permtab_peek(bench->table, 1, bench_at(bench, 1), bench->write), PERMTAB_DENY);
    assert_int_equal(permtab_why(bench->table), PERMTAB_E_RETIRED);
    assert_int_equal(permtab_view_has(&view, bench->write, false), PERMTAB_DENY);
    /* Checks attach again without waiting for it, and from then on the old mapping is zeroes. */
    while (permtab_view_has(&view, bench->write, false) == PERMTAB_DENY) {
        assert_int_equal(permtab_check(bench->table, 1, bench_at(bench, 1), bench->write), PERMTAB_DENY);
        pause_ms(1);
    }
    assert_int_equal(permtab_view_has(&view, bench->write, false), PERMTAB_UNKNOWN);
    assert_int_equal(fake_counts(&bench->fake).attaches, 2);
    assert_int_equal(fake_counts(&bench->fake).checks, 0);
    fake_put(&bench->fake, 1, 1);
    assert_false(permtab_view_current(&view));
    assert_int_equal(permtab_peek(bench->table, 1, bench_at(bench, 1), bench->write), PERMTAB_DENY);
    /* A worker that only peeks. */
    fake_retire(&bench->fake, true);
    assert_int_equal(permtab_peek(bench->table, 1, bench_at(bench, 1), bench->write), PERMTAB_UNKNOWN);
    assert_int_equal(permtab_why(bench->table), PERMTAB_E_RETIRED);
    assert_int_equal(permtab_refresh(bench->table), 0);
    assert_int_equal(permtab_why(bench->table), 0);
    fake_put(&bench->fake, 1, 1);
    assert_int_equal(permtab_peek(bench->table, 1, bench_at(bench, 1), bench->write), PERMTAB_DENY);
}

struct racer {
    struct client_bench *bench;
    pthread_t thread;
    uint64_t user;
    unsigned wrong, unknown, rounds;
    bool stop;
};

static void *race(void *context)
{
    struct racer *racer = context;
    const struct client_bench *bench = racer->bench;
    while (!__atomic_load_n(&racer->stop, __ATOMIC_RELAXED)) {
        struct permtab_view view;
        uint64_t scope = racer->rounds % 50;
        int want = fake_allows(racer->user, scope, 0, false);
        int got = permtab_check(bench->table, racer->user, bench_at(bench, scope), bench->read);
        int peeked = permtab_peek(bench->table, racer->user, bench_at(bench, scope), bench->read);
        int seen = PERMTAB_UNKNOWN;
        if (permtab_view_get(bench->table, racer->user, bench_at(bench, scope), &view) == 0)
            seen = permtab_view_has(&view, bench->read, false);
        racer->wrong += (got != PERMTAB_UNKNOWN && got != want) ||
                        (peeked != PERMTAB_UNKNOWN && peeked != want) ||
                        (seen != PERMTAB_UNKNOWN && seen != want);
        racer->unknown += got == PERMTAB_UNKNOWN;
        __atomic_fetch_add(&racer->rounds, 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

static void test_threads_while_retiring(void **state)
{
    struct client_bench *bench = *state;
    struct racer racers[4];
    for (unsigned i = 0; i < 4; i++) {
        racers[i] = (struct racer){.bench = bench, .user = 100 + i};
        assert_int_equal(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
    }
    for (unsigned i = 0; i < 10; i++) {
        pause_ms(25);
        unsigned attaches = fake_counts(&bench->fake).attaches;
        fake_retire(&bench->fake, i % 2 == 0);
        fake_rewrite(&bench->fake);
        if (i % 3 == 0)
            fake_set_catalogue(&bench->fake, i % 2 == 0, false);
        while (fake_counts(&bench->fake).attaches == attaches)
            pause_ms(1);
    }
    pause_ms(60);
    for (unsigned i = 0; i < 4; i++) {
        while (__atomic_load_n(&racers[i].rounds, __ATOMIC_RELAXED) <= 100)
            pause_ms(1);
        __atomic_store_n(&racers[i].stop, true, __ATOMIC_RELAXED);
        pthread_join(racers[i].thread, NULL);
    }
    for (unsigned i = 0; i < 4; i++) { /* when nobody uses the table any more */
        assert_int_equal(racers[i].wrong, 0);
        assert_true(racers[i].unknown < racers[i].rounds / 10 + 10);
    }
    assert_int_equal(fake_counts(&bench->fake).connects, 1);
}

/* ---- the catalogue ---- */

static void test_catalogue_change(void **state)
{
    struct client_bench *bench = *state;
    permtab_perm late;
    fake_put(&bench->fake, 2, 2);
    assert_int_equal(permtab_permission(bench->table, "d.late", &late), PERMTAB_E_NO_PERMISSION);
    fake_set_catalogue(&bench->fake, true, false);
    /* The peek is not answered before the names are resolved again: which only a call that may block can do. */
    assert_int_equal(permtab_peek(bench->table, 2, bench_at(bench, 2), bench->read), PERMTAB_UNKNOWN);
    assert_int_equal(permtab_why(bench->table), PERMTAB_E_CATALOGUE);
    unsigned before = fake_counts(&bench->fake).catalogues;
    assert_int_equal(permtab_check(bench->table, 2, bench_at(bench, 2), bench->read), PERMTAB_ALLOW);
    assert_int_equal(permtab_peek(bench->table, 2, bench_at(bench, 2), bench->read), PERMTAB_ALLOW);
    assert_int_equal(fake_counts(&bench->fake).catalogues, before + 1);
    assert_int_equal(fake_counts(&bench->fake).checks, 0);
    assert_int_equal(permtab_permission(bench->table, "d.late", &late), 0);
    assert_int_equal(permtab_peek(bench->table, 2, bench_at(bench, 2), late), fake_allows(2, 2, 5, false));
    /* A permission that has gone is UNKNOWN, not DENY; the others go on. */
    fake_set_catalogue(&bench->fake, true, true);
    assert_int_equal(permtab_check(bench->table, 2, bench_at(bench, 2), bench->read), PERMTAB_UNKNOWN);
    assert_int_equal(permtab_why(bench->table), PERMTAB_E_NO_PERMISSION);
    assert_int_equal(permtab_check(bench->table, 2, bench_at(bench, 2), bench->c), PERMTAB_ALLOW);
    fake_set_catalogue(&bench->fake, true, false);
    assert_int_equal(permtab_check(bench->table, 2, bench_at(bench, 2), bench->read), PERMTAB_ALLOW);
}

static void paged(struct client_bench *bench, unsigned page, unsigned restless)
{
    fake_lock(&bench->fake);
    bench->fake.page = page;
    bench->fake.restless = restless;
    fake_unlock(&bench->fake);
}

/* A catalogue of pages is read to its end, and begun again when it changes on the way. */
static void test_catalogue_in_pages(void **state)
{
    struct client_bench *bench = *state;
    permtab_perm late;
    fake_put(&bench->fake, 2, 2);
    paged(bench, 2, 0);
    fake_set_catalogue(&bench->fake, true, false);
    unsigned before = fake_counts(&bench->fake).catalogues;
    assert_int_equal(permtab_check(bench->table, 2, bench_at(bench, 2), bench->read), PERMTAB_ALLOW);
    assert_int_equal(fake_counts(&bench->fake).catalogues, before + 3);
    assert_int_equal(permtab_permission(bench->table, "d.late", &late), 0);
    assert_int_equal(permtab_peek(bench->table, 2, bench_at(bench, 2), late), fake_allows(2, 2, 5, false));
    assert_int_equal(permtab_peek(bench->table, 2, bench_at(bench, 2), bench->c), PERMTAB_ALLOW);
    paged(bench, 1, 4);
    fake_set_catalogue(&bench->fake, true, true);
    assert_int_equal(permtab_check(bench->table, 2, bench_at(bench, 2), bench->c), PERMTAB_ALLOW);
    assert_int_equal(permtab_peek(bench->table, 2, bench_at(bench, 2), bench->c), PERMTAB_ALLOW);
    assert_int_equal(permtab_peek(bench->table, 2, bench_at(bench, 2), late), fake_allows(2, 2, 5, false));
}

/* One that never stands still ends with the caller's time, and not at all with answers of mixed pages. */
static void test_catalogue_that_never_stands_still(void **state)
{
    struct client_bench *bench = *state;
    struct permtab *table = NULL;
    struct permtab_options options = bench_options;
    options.open_ms = 100;
    paged(bench, 1, UINT32_MAX);
    assert_int_equal(permtab_open(&table, bench->fake.path, &options), PERMTAB_E_TIMEOUT);
    paged(bench, 1, 0);
    assert_int_equal(permtab_open(&table, bench->fake.path, &bench_options), 0);
    permtab_close(table);
}

/* More names than the first geometry has room for. */
static void test_many_slots(void **state)
{
    struct client_bench *bench = *state;
    static const char *const names[] = {"a.read", "a.write", "b.read", "b.write", "c"};
    fake_put(&bench->fake, 2, 2);
    for (uint32_t bit = 0; bit < 5; bit++) {
        permtab_perm perm;
        assert_int_equal(permtab_permission(bench->table, names[bit], &perm), 0);
        assert_int_equal(permtab_peek(bench->table, 2, bench_at(bench, 2), perm),
                         fake_allows(2, 2, bit, false));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_bad_attachments),
        BENCH_TEST(test_open_arguments),
        BENCH_TEST(test_open_waits),
        BENCH_TEST(test_other_header),
        BENCH_TEST(test_other_layout),
        BENCH_TEST(test_retired),
        BENCH_TEST(test_threads_while_retiring),
        BENCH_TEST(test_catalogue_change),
        BENCH_TEST(test_catalogue_in_pages),
        BENCH_TEST(test_catalogue_that_never_stands_still),
        BENCH_TEST(test_many_slots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
