/* The client library against a fake sidecar that dies and is started again: calls that have time left do not fail, and
 * nobody waits for a sidecar that stays away. */
#include "client/handle.h"
#include "tests/support/client_bench.h"

#include <pthread.h>
#include <unistd.h>

static void hang_up(struct client_bench *bench, unsigned times)
{
    fake_lock(&bench->fake);
    bench->fake.hang_ups = times;
    fake_unlock(&bench->fake);
}

static void test_deaths_under_one_call(void **state)
{
    struct client_bench *bench = *state;
    struct permtab_query query = {.user = 4, .scope = bench_at(bench, 4), .perm = bench->read};
    enum permtab_decision decision = PERMTAB_UNKNOWN;
    struct permtab_view view;
    hang_up(bench, 4);
    assert_int_equal(permtab_check(bench->table, 2, bench_at(bench, 2), bench->read), PERMTAB_ALLOW);
    assert_int_equal(fake_counts(&bench->fake).connects, 5);
    hang_up(bench, 3);
    assert_int_equal(permtab_check_many(bench->table, &query, 1, &decision), 1);
    assert_int_equal(decision, PERMTAB_ALLOW);
    hang_up(bench, 3);
    assert_int_equal(permtab_view_get(bench->table, 6, bench_at(bench, 6), &view), 0);
    assert_int_equal(fake_counts(&bench->fake).connects, 11);
    assert_int_equal(handle_of(bench->table)->own->circuit.pause_ns, 0);
    assert_int_equal(handle_of(bench->table)->own->outage.since_ns, 0);
}

static void *resume_later(void *context)
{
    struct client_bench *bench = context;
    pause_ms(200);
    bench->fake.late = true;
    fake_resume(&bench->fake);
    return NULL;
}

/* Nobody listens; or, `gone`, there is no socket. */
static pthread_t be_away(struct client_bench *bench, bool gone)
{
    pthread_t thread;
    fake_suspend(&bench->fake);
    if (gone)
        assert_int_equal(unlink(bench->fake.path), 0);
    assert_int_equal(pthread_create(&thread, NULL, resume_later, bench), 0);
    return thread;
}

static void test_restart_under_one_call(void **state)
{
    struct client_bench *bench = *state;
    struct permtab_query query = {.user = 4, .scope = bench_at(bench, 4), .perm = bench->read};
    enum permtab_decision decision = PERMTAB_UNKNOWN;
    struct permtab_view view;
    permtab_perm late;
    pthread_t thread = be_away(bench, false);
    assert_int_equal(permtab_check(bench->table, 2, bench_at(bench, 2), bench->read), PERMTAB_ALLOW);
    pthread_join(thread, NULL);
    thread = be_away(bench, true);
    assert_int_equal(permtab_check_many(bench->table, &query, 1, &decision), 1);
    assert_int_equal(decision, PERMTAB_ALLOW);
    pthread_join(thread, NULL);
    thread = be_away(bench, false);
    assert_int_equal(permtab_view_get(bench->table, 6, bench_at(bench, 6), &view), 0);
    pthread_join(thread, NULL);
    thread = be_away(bench, true);
    assert_int_equal(permtab_permission(bench->table, "d.late", &late), 0);
    pthread_join(thread, NULL);
    assert_int_equal(fake_counts(&bench->fake).connects, 5);
}

static void *ask_once(void *context)
{
    struct client_bench *bench = context;
    assert_int_equal(permtab_check(bench->table, 2, bench_at(bench, 2), bench->read), PERMTAB_UNKNOWN);
    return NULL;
}

/* Each of these calls may wait for a minute. */
static void test_nobody_waits_for_who_stays_away(void **state)
{
    struct client_bench *bench = *state;
    pthread_t threads[8];
    fake_suspend(&bench->fake);
    bench_check_ms(bench, 30);
    assert_int_equal(permtab_check(bench->table, 2, bench_at(bench, 2), bench->read), PERMTAB_UNKNOWN);
    assert_int_equal(permtab_why(bench->table), PERMTAB_E_UNREACHABLE);
    bench_check_ms(bench, PATIENT_CHECK_MS);
    handle_of(bench->table)->own->outage.since_ns = 1; /* long ago */
    uint64_t begin = channel_clock_ns();
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_once, bench), 0);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_true(channel_clock_ns() - begin < 20000ull * MS);
    fake_resume(&bench->fake);
    while (permtab_check(bench->table, 2, bench_at(bench, 2), bench->read) != PERMTAB_ALLOW)
        pause_ms(1);
    assert_int_equal(handle_of(bench->table)->own->outage.since_ns, 0);
}

static void test_pauses(void **state)
{
    struct outage outage = {0};
    uint64_t now = 5000 * MS, pause = OUTAGE_PAUSE_MIN_NS;
    (void)state;
    assert_true(outage_allows(&outage, now));
    assert_true(outage_is_young(&outage, now, 1));
    outage_begin(&outage, now);
    for (unsigned i = 0; i < 20; i++) {
        assert_true(outage_allows(&outage, now)); /* the first at once */
        outage_attempt(&outage, now);
        assert_false(outage_allows(&outage, now + pause - 1));
        assert_true(outage_allows(&outage, now + pause + pause / 2));
        now += pause + pause / 2 + i * 7;
        pause = pause * 2 < OUTAGE_PAUSE_MAX_NS ? pause * 2 : OUTAGE_PAUSE_MAX_NS;
        outage_begin(&outage, now); /* it is going on already */
    }
    assert_int_equal(outage.since_ns, 5000 * MS);
    assert_true(outage_is_young(&outage, 5999 * MS, 1000 * MS));
    assert_false(outage_is_young(&outage, 6000 * MS, 1000 * MS));
    outage_end(&outage);
    assert_true(outage_allows(&outage, 0));
    assert_true(outage_is_young(&outage, now, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_deaths_under_one_call),
        BENCH_TEST(test_restart_under_one_call),
        BENCH_TEST(test_nobody_waits_for_who_stays_away),
        cmocka_unit_test(test_pauses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
