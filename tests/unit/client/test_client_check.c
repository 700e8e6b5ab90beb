/* The client library against a fake sidecar: every way a check can be answered, from the table and over the socket,
 * one by one, many at once and as a view. */
#include "tests/support/client_bench.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- hit, miss, fill ---- */

static void test_hit(void **state)
{
    struct client_bench *bench = *state;
    const uint64_t ids[] = {0, 1, 7, (uint64_t)1 << 63, UINT64_MAX};
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        fake_put(&bench->fake, ids[i], 10);
        assert_int_equal(permtab_peek(bench->table, ids[i], bench_at(bench, 10), bench->read),
                         fake_allows(ids[i], 10, 0, false));
        assert_int_equal(permtab_check(bench->table, ids[i], bench_at(bench, 10), bench->write),
                         fake_allows(ids[i], 10, 1, false));
        assert_int_equal(permtab_allowed(bench->table, ids[i], bench_at(bench, 10), bench->c),
                         fake_allows(ids[i], 10, 4, false));
    }
    assert_int_equal(fake_counts(&bench->fake).checks, 0);
}

static void test_miss_asks_once(void **state)
{
    struct client_bench *bench = *state;
    assert_int_equal(permtab_peek(bench->table, 5, bench_at(bench, 11), bench->read), PERMTAB_UNKNOWN);
    assert_int_equal(permtab_why(bench->table), PERMTAB_E_MISS);
    assert_int_equal(permtab_check(bench->table, 5, bench_at(bench, 11), bench->read), PERMTAB_ALLOW);
    assert_int_equal(fake_counts(&bench->fake).checks, 1);
    assert_int_equal(permtab_check(bench->table, 5, bench_at(bench, 11), bench->read), PERMTAB_ALLOW);
    assert_int_equal(permtab_peek(bench->table, 5, bench_at(bench, 11), bench->write), PERMTAB_DENY);
    assert_int_equal(fake_counts(&bench->fake).checks, 1);
    /* The same id in another type of scope is another place. */
    permtab_type server;
    assert_int_equal(permtab_scope_type(bench->table, "server", &server), 0);
    assert_int_equal(permtab_peek(bench->table, 5, permtab_at(server, 11), bench->read), PERMTAB_UNKNOWN);
    fake_remove(&bench->fake, 5, 11);
    assert_int_equal(permtab_peek(bench->table, 5, bench_at(bench, 11), bench->read), PERMTAB_UNKNOWN);
}

/* The sidecar ends the lease of what it does not believe by a deadline of 0: earlier than the quarter of a lease that a
 * hit takes off. */
static void test_a_lease_that_was_ended(void **state)
{
    struct client_bench *bench = *state;
    struct permtab_query query = {.user = 2, .scope = bench_at(bench, 2), .perm = bench->read};
    enum permtab_decision decision;
    fake_put(&bench->fake, 2, 2);
    assert_int_equal(permtab_peek(bench->table, 2, bench_at(bench, 2), bench->read), PERMTAB_ALLOW);
    bench_set(bench, &bench->fake.renew, false);
    permtab_shm_store64(&bench->fake.segments[0].header->beat.lease_deadline, 0);
    assert_true(permtab_geometry_of_(bench->table)->early_ns > 0);
    assert_int_equal(permtab_peek(bench->table, 2, bench_at(bench, 2), bench->read), PERMTAB_UNKNOWN);
    assert_int_equal(permtab_why(bench->table), PERMTAB_E_STALE);
    assert_int_equal(fake_counts(&bench->fake).checks, 0);
    (void)permtab_check(bench->table, 2, bench_at(bench, 2), bench->read);
    assert_int_equal(fake_counts(&bench->fake).checks, 1); /* it was asked for */
    assert_in_range(permtab_check_many(bench->table, &query, 1, &decision), 0, 1);
    assert_int_equal(fake_counts(&bench->fake).many, 1);
}

static void test_owned(void **state)
{
    struct client_bench *bench = *state;
    bench_set(bench, &bench->fake.fill, false);
    /* user 1, scope 10: a.read (bit 0) is denied, and allowed on what is one's own. First over the socket, then not. */
    for (int round = 0; round < 2; round++) {
        assert_int_equal(permtab_check(bench->table, 1, bench_at(bench, 10), bench->read), PERMTAB_DENY);
        assert_int_equal(permtab_check_owned(bench->table, 1, bench_at(bench, 10), bench->read, 1),
                         PERMTAB_ALLOW);
        assert_int_equal(permtab_check_owned(bench->table, 1, bench_at(bench, 10), bench->read, 2),
                         PERMTAB_DENY);
        assert_int_equal(permtab_check_owned(bench->table, 1, bench_at(bench, 10), bench->read, 0),
                         PERMTAB_DENY);
        assert_int_equal(fake_counts(&bench->fake).checks, 4);
        fake_put(&bench->fake, 1, 10);
    }
}

static void test_names(void **state)
{
    struct client_bench *bench = *state;
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
    assert_int_equal(permtab_check(bench->table, 2, bench_at(bench, 2), none), PERMTAB_UNKNOWN);
    assert_int_equal(permtab_why(bench->table), PERMTAB_E_NO_PERMISSION);
    assert_int_equal(permtab_check(bench->table, 2, permtab_at(no_type, 2), bench->read), PERMTAB_UNKNOWN);
    assert_int_equal(permtab_why(bench->table), PERMTAB_E_NO_SCOPE_TYPE);
    again.slot = 4000000000u; /* of another handle, perhaps */
    assert_int_equal(permtab_peek(bench->table, 2, bench_at(bench, 2), again), PERMTAB_UNKNOWN);
    assert_int_equal(permtab_check(bench->table, 2, bench_at(bench, 2), again), PERMTAB_UNKNOWN);
}

static void test_counters(void **state)
{
    struct client_bench *bench = *state;
    fake_put(&bench->fake, 1, 1);
    for (int i = 0; i < 1000; i++)
        (void)permtab_peek(bench->table, 1, bench_at(bench, 1), bench->read);
    for (int i = 0; i < 10; i++)
        (void)permtab_peek(bench->table, 99, bench_at(bench, 1), bench->read);
    (void)permtab_check(bench->table, 3, bench_at(bench, 1), bench->read);
    struct permtab_shm_feedback_line sum = fake_feedback(&bench->fake);
    assert_int_equal(sum.hits, 1000);
    assert_int_equal(sum.misses, 11);
    assert_int_equal(sum.unknowns, 10);
}

/* ---- tokens, batches, views ---- */

static void test_tokens(void **state)
{
    struct client_bench *bench = *state;
    fake_put(&bench->fake, 2, 2);
    struct permtab_token token = {.store_id = FAKE_STORE_ID, .revision = 10};
    assert_int_equal(permtab_check_at(bench->table, 2, bench_at(bench, 2), bench->read, token),
                     PERMTAB_ALLOW);
    assert_int_equal(fake_counts(&bench->fake).checks, 0);
    token.revision = 11; /* the table is behind: the sidecar is asked, which catches up */
    assert_int_equal(permtab_check_at(bench->table, 2, bench_at(bench, 2), bench->read, token),
                     PERMTAB_ALLOW);
    assert_int_equal(fake_counts(&bench->fake).checks, 1);
    fake_set_revision(&bench->fake, 11);
    assert_int_equal(permtab_check_at(bench->table, 2, bench_at(bench, 2), bench->read, token),
                     PERMTAB_ALLOW);
    assert_int_equal(fake_counts(&bench->fake).checks, 1);
    token.store_id++;
    assert_int_equal(permtab_check_at(bench->table, 2, bench_at(bench, 2), bench->read, token),
                     PERMTAB_UNKNOWN);
    assert_int_equal(permtab_why(bench->table), PERMTAB_E_BEHIND);
}

static void test_check_many(void **state)
{
    struct client_bench *bench = *state;
    enum { COUNT = 25000 };
    struct permtab_query *queries = calloc(COUNT, sizeof(*queries));
    enum permtab_decision *decisions = calloc(COUNT, sizeof(*decisions));
    assert_non_null(queries);
    assert_non_null(decisions);
    bench_set(bench, &bench->fake.fill, false);
    for (unsigned i = 0; i < COUNT; i++) {
        queries[i] = (struct permtab_query){.user = i,
                                            .owner = i % 2 == 0 ? i : 0,
                                            .scope = bench_at(bench, 3),
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
    bench_check_ms(bench, 100);
    assert_int_equal(permtab_check_many(bench->table, queries, 2000, decisions), 999);
    assert_int_equal(permtab_why(bench->table), PERMTAB_E_UNREACHABLE);
    fake_resume(&bench->fake);
    free(queries);
    free(decisions);
}

#define SHORT_LEASE_MS 100u

static void answer_both(struct client_bench *bench, const struct permtab_query queries[2])
{
    enum permtab_decision decisions[2];
    fake_lock(&bench->fake);
    bench->fake.renew = true;
    bench->fake.mute = false;
    fake_unlock(&bench->fake);
    while (permtab_check_many(bench->table, queries, 2, decisions) != 2)
        pause_ms(5);
    assert_int_equal(decisions[0], PERMTAB_ALLOW);
    assert_int_equal(decisions[1], PERMTAB_ALLOW);
}

/* Returns how many are known when the second has to be waited for, in vain and for longer than a lease lasts. */
static int answer_first(struct client_bench *bench, const struct permtab_query queries[2], bool renew,
                        enum permtab_decision decisions[2])
{
    struct timespec begun, ended;
    int known;
    do {
        answer_both(bench, queries);
        fake_lock(&bench->fake);
        bench->fake.mute = true;
        bench->fake.renew = renew;
        fake_unlock(&bench->fake);
        pause_ms(1);
        fake_lock(&bench->fake); /* this moment on, as the fake has it */
        fake_unlock(&bench->fake);
        (void)clock_gettime(CLOCK_MONOTONIC, &begun);
        known = permtab_check_many(bench->table, queries, 2, decisions);
        (void)clock_gettime(CLOCK_MONOTONIC, &ended);
    } while ((ended.tv_sec - begun.tv_sec) * 1000 + (ended.tv_nsec - begun.tv_nsec) / 1000000 <=
             (long)SHORT_LEASE_MS);
    return known;
}

/* An answer that was there at once is not given after its lease has ended, because another one had to be waited for. */
static void test_check_many_waits_too_long(void **state)
{
    struct client_bench *bench = *state;
    struct permtab_query queries[2];
    enum permtab_decision decisions[2];
    fake_lock(&bench->fake);
    bench->fake.lease_ns = SHORT_LEASE_MS * MS;
    bench->fake.fill = false;
    fake_unlock(&bench->fake);
    fake_retire(&bench->fake, false); /* a segment with short leases */
    assert_int_equal(permtab_refresh(bench->table), 0);
    fake_put(&bench->fake, 2, 2);
    for (unsigned i = 0; i < 2; i++)
        queries[i] =
            (struct permtab_query){.user = 2 + 2 * i, .scope = bench_at(bench, 2), .perm = bench->read};
    while (answer_first(bench, queries, true, decisions) == 0) { /* who renews it has had no processor */
        assert_int_equal(decisions[0], PERMTAB_UNKNOWN);
    }
    assert_int_equal(decisions[0], PERMTAB_ALLOW);
    assert_int_equal(decisions[1], PERMTAB_UNKNOWN);
    do {
        assert_int_equal(answer_first(bench, queries, false, decisions), 0);
        assert_int_equal(decisions[0], PERMTAB_UNKNOWN);
    } while (permtab_why(bench->table) != PERMTAB_E_STALE); /* else it had ended at the first look */
}

/* An answer of one frame is not given after its deadline has passed, because the next frame had to be waited for. */
static void test_check_many_waits_for_the_next_frame(void **state)
{
    struct client_bench *bench = *state;
    enum { COUNT = 10001 }; /* one more than a frame takes */
    struct permtab_query *queries = calloc(COUNT, sizeof(*queries));
    enum permtab_decision *decisions = calloc(COUNT, sizeof(*decisions));
    assert_non_null(queries);
    assert_non_null(decisions);
    fake_lock(&bench->fake);
    bench->fake.fill = false;
    bench->fake.reply_ns = 40 * MS;
    bench->fake.delay_ms = 80;
    fake_unlock(&bench->fake);
    for (unsigned i = 0; i < COUNT; i++)
        queries[i] = (struct permtab_query){.user = 2, .scope = bench_at(bench, 2), .perm = bench->read};
    assert_int_equal(permtab_check_many(bench->table, queries, COUNT, decisions), 0);
    assert_int_equal(permtab_why(bench->table), PERMTAB_E_STALE);
    for (unsigned i = 0; i < COUNT; i++)
        assert_int_equal(decisions[i], PERMTAB_UNKNOWN);
    assert_int_equal(fake_counts(&bench->fake).many, 2);
    free(queries);
    free(decisions);
}

static void test_views(void **state)
{
    struct client_bench *bench = *state;
    struct permtab_view view;
    assert_int_equal(permtab_view_get(bench->table, 1, bench_at(bench, 1), &view), 0); /* fills */
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
    assert_int_equal(permtab_view_get(bench->table, 1, bench_at(bench, 1), &view), 0);
    assert_int_equal(fake_counts(&bench->fake).checks, 1);
    fake_remove(&bench->fake, 1, 1);
    assert_false(permtab_view_current(&view));
    /* There is no view without an entry, and what is left in *out says nothing. */
    bench_set(bench, &bench->fake.fill, false);
    assert_int_equal(permtab_view_get(bench->table, 9, bench_at(bench, 1), &view), PERMTAB_E_MISS);
    assert_int_equal(permtab_view_has(&view, bench->read, false), PERMTAB_UNKNOWN);
    assert_false(permtab_view_current(&view));
}

/* A scope without anything of its own answers as its ancestor does. */
/* The question that fills an entry for a view is asked again on another connection, and meanwhile the names are others:
 * the name that it is asked with must not have gone with them. */
static void test_view_over_another_catalogue(void **state)
{
    struct client_bench *bench = *state;
    struct permtab_view view;
    bench_set(bench, &bench->fake.fickle, true);
    assert_int_equal(permtab_view_get(bench->table, 1, bench_at(bench, 1), &view), 0);
    assert_int_equal(fake_counts(&bench->fake).connects, 2);
    assert_int_equal(fake_counts(&bench->fake).checks, 1);
    assert_int_equal(permtab_view_has(&view, bench->read, false), fake_allows(1, 1, 0, false));
}

static void test_fold(void **state)
{
    struct client_bench *bench = *state;
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
    map_insert_writer(&folds, map_writer_vacancy(&folds, key), key, 1);
    fake_unlock(&bench->fake);
    struct permtab_query query = {.user = 2, .scope = bench_at(bench, 200), .perm = bench->read};
    enum permtab_decision decision;
    assert_int_equal(permtab_peek(bench->table, 2, bench_at(bench, 200), bench->read), PERMTAB_ALLOW);
    assert_int_equal(permtab_check_many(bench->table, &query, 1, &decision), 1);
    assert_int_equal(decision, PERMTAB_ALLOW);
    assert_int_equal(permtab_view_get(bench->table, 2, bench_at(bench, 200), &view), 0);
    assert_true(permtab_view_current(&view));
    assert_int_equal(fake_counts(&bench->fake).checks, 0);
    fake_lock(&bench->fake);
    map_clear_writer(&folds, map_writer_find(&folds, key));
    fake_unlock(&bench->fake);
    assert_false(permtab_view_current(&view));
    assert_int_equal(permtab_peek(bench->table, 2, bench_at(bench, 200), bench->read), PERMTAB_UNKNOWN);
}

static void test_strerror(void **state)
{
    (void)state;
    assert_string_equal(permtab_strerror(0), "no error");
    assert_string_equal(permtab_strerror(PERMTAB_E_STALE), "the lease has ended");
    assert_string_equal(permtab_strerror(-9999), "unknown error");
    assert_string_equal(permtab_strerror(7), "unknown error");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_hit),
        BENCH_TEST(test_miss_asks_once),
        BENCH_TEST(test_a_lease_that_was_ended),
        BENCH_TEST(test_owned),
        BENCH_TEST(test_names),
        BENCH_TEST(test_counters),
        BENCH_TEST(test_tokens),
        BENCH_TEST(test_check_many),
        HASTY_BENCH_TEST(test_check_many_waits_too_long),
        BENCH_TEST(test_check_many_waits_for_the_next_frame),
        BENCH_TEST(test_views),
        BENCH_TEST(test_view_over_another_catalogue),
        BENCH_TEST(test_fold),
        cmocka_unit_test(test_strerror),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
