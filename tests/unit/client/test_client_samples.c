/* The samples of hits that a client leaves in its feedback, and sidecars whose feedback is another size. */
#include "client/handle.h"
#include "tests/support/client_bench.h"

#include <string.h>

#define KEYS    8u /* a divisor of PERMTAB_SHM_SAMPLE_HITS: such a rhythm is the worst */
#define CHANNEL 2u /* the fake's number of the type */

static void put_keys(struct client_bench *bench)
{
    for (uint64_t user = 0; user < KEYS; user++)
        fake_put(&bench->fake, user, 100 + user);
}

/* Checks that every sample is one of the keys, whole, and tells which there are. */
static unsigned keys_seen(struct client_bench *bench)
{
    struct permtab_shm_sample samples[PERMTAB_SHM_FEEDBACK_SAMPLES];
    unsigned seen = 0;
    fake_samples(&bench->fake, samples);
    for (unsigned i = 0; i < PERMTAB_SHM_FEEDBACK_SAMPLES; i++) {
        if (samples[i].mark == 0)
            continue;
        assert_true(samples[i].user < KEYS);
        assert_int_equal(samples[i].scope_id, 100 + samples[i].user);
        assert_int_equal(samples[i].type, CHANNEL);
        seen |= 1u << samples[i].user;
    }
    return seen;
}

/* Multiples of the golden ratio are even, and not exact. A batch counts eight at a time, which is less even. */
static void assert_share(struct client_bench *bench, uint64_t hits, uint64_t off)
{
    struct permtab_shm_feedback_line sum = fake_feedback(&bench->fake);
    assert_int_equal(sum.hits, hits);
    uint64_t even = hits / PERMTAB_SHM_SAMPLE_HITS;
    assert_in_range(sum.samples, even - off, even + off);
}

static void hit_in_turn(struct client_bench *bench, unsigned rounds, bool peek)
{
    for (unsigned i = 0; i < rounds * KEYS; i++) {
        uint64_t user = i % KEYS;
        permtab_scope scope = bench_at(bench, 100 + user);
        int decision = peek ? permtab_peek(bench->table, user, scope, bench->read)
                            : permtab_check(bench->table, user, scope, bench->read);
        assert_int_equal(decision, fake_allows(user, 100 + user, 0, false));
    }
}

static void test_every_key_of_a_rhythm(void **state)
{
    struct client_bench *bench = *state;
    put_keys(bench);
    assert_int_equal(keys_seen(bench), 0);
    hit_in_turn(bench, 1000, false);
    assert_int_equal(keys_seen(bench), (1u << KEYS) - 1);
    assert_share(bench, 1000 * KEYS, 3);
    hit_in_turn(bench, 1000, true);
    assert_share(bench, 2000 * KEYS, 3);
}

/* The sidecar tells a new sample from one that it has read by its mark. */
static void test_marks_move(void **state)
{
    struct client_bench *bench = *state;
    struct permtab_shm_sample before[PERMTAB_SHM_FEEDBACK_SAMPLES], after[PERMTAB_SHM_FEEDBACK_SAMPLES];
    put_keys(bench);
    hit_in_turn(bench, 2 * PERMTAB_SHM_FEEDBACK_SAMPLES * PERMTAB_SHM_SAMPLE_HITS / KEYS, false);
    fake_samples(&bench->fake, before);
    hit_in_turn(bench, 2 * PERMTAB_SHM_FEEDBACK_SAMPLES * PERMTAB_SHM_SAMPLE_HITS / KEYS, false);
    fake_samples(&bench->fake, after);
    for (unsigned i = 0; i < PERMTAB_SHM_FEEDBACK_SAMPLES; i++) {
        assert_int_not_equal(before[i].mark, 0);
        assert_int_not_equal(after[i].mark, before[i].mark);
        assert_int_not_equal(after[i].mark, 0);
    }
}

static void test_batches_and_views(void **state)
{
    struct client_bench *bench = *state;
    struct permtab_query queries[KEYS + 1];
    enum permtab_decision decisions[KEYS + 1];
    struct permtab_view view;
    put_keys(bench);
    for (uint64_t user = 0; user < KEYS; user++)
        queries[user] =
            (struct permtab_query){.user = user, .scope = bench_at(bench, 100 + user), .perm = bench->read};
    for (unsigned i = 0; i < 1000; i++)
        assert_int_equal(permtab_check_many(bench->table, queries, KEYS, decisions), KEYS);
    assert_int_equal(keys_seen(bench), (1u << KEYS) - 1);
    assert_share(bench, 1000 * KEYS, 7);
    for (unsigned i = 0; i < 1000 * KEYS; i++)
        assert_int_equal(permtab_view_get(bench->table, i % KEYS, bench_at(bench, 100 + i % KEYS), &view), 0);
    assert_share(bench, 2000 * KEYS, 12);
    assert_int_equal(keys_seen(bench), (1u << KEYS) - 1);
}

/* Hits that a batch counted may have gone beyond the one that was to be sampled. */
static void test_singles_among_batches(void **state)
{
    struct client_bench *bench = *state;
    struct permtab_query queries[KEYS];
    enum permtab_decision decisions[KEYS];
    put_keys(bench);
    for (uint64_t user = 0; user < KEYS; user++)
        queries[user] =
            (struct permtab_query){.user = user, .scope = bench_at(bench, 100 + user), .perm = bench->read};
    for (unsigned i = 0; i < 1000; i++) {
        assert_int_equal(permtab_check_many(bench->table, queries, KEYS, decisions), KEYS);
        assert_int_not_equal(permtab_peek(bench->table, 0, bench_at(bench, 100), bench->read),
                             PERMTAB_UNKNOWN);
    }
    assert_share(bench, 1000 * (KEYS + 1), 12);
}

/* Two threads that share a line set its counts back; the chosen hit may be of another line. Either way the distance
 * between them is one that cannot be, and no reason to sample nothing until it has been gone. */
static void test_far_ahead(void **state)
{
    struct client_bench *bench = *state;
    put_keys(bench);
    hit_in_turn(bench, 1000, false);
    struct permtab_shm_feedback_line *line = permtab_line_(bench->table);
    permtab_shm_store64_relaxed(&line->next_sample, 1000000000u);
    hit_in_turn(bench, 1000, false);
    assert_share(bench, 2000 * KEYS, 4);
    permtab_shm_store64_relaxed(&line->hits, 0);
    permtab_shm_store64_relaxed(&line->samples, 0);
    hit_in_turn(bench, 1000, true);
    assert_share(bench, 1000 * KEYS, 4);
}

static void feedback_size(struct client_bench *bench, size_t size)
{
    fake_suspend(&bench->fake);
    bench->fake.feedback_size = size;
    fake_resume(&bench->fake);
    /* The connection has ended, and is made anew by what the table does not answer. */
    fake_remove(&bench->fake, 50, 150);
    assert_int_equal(permtab_check(bench->table, 50, bench_at(bench, 150), bench->read), PERMTAB_ALLOW);
}

/* An older sidecar has no ring, a newer one something behind it. Each place that a feedback is mapped at has had
 * another kind of feedback before. */
static void test_sidecars_of_other_versions(void **state)
{
    struct client_bench *bench = *state;
    const size_t ring = sizeof(struct permtab_shm_feedback),
                 none = offsetof(struct permtab_shm_feedback, sample);
    const size_t sizes[] = {none, ring + 8192, none, none, ring, ring, ring + 100, none};
    put_keys(bench);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        feedback_size(bench, sizes[i]);
        uint64_t hits = fake_feedback(&bench->fake).hits;
        hit_in_turn(bench, 1000, false);
        assert_int_equal(fake_feedback(&bench->fake).hits, hits + 1000 * KEYS);
        if (sizes[i] >= ring)
            assert_int_equal(keys_seen(bench), (1u << KEYS) - 1);
    }
}

static void test_feedback_without_lines_is_refused(void **state)
{
    struct client_bench *bench = *state;
    struct permtab *table = NULL;
    fake_lock(&bench->fake);
    bench->fake.feedback_size = offsetof(struct permtab_shm_feedback, sample) - 1;
    fake_unlock(&bench->fake);
    assert_int_equal(permtab_open(&table, bench->fake.path, &bench_options), PERMTAB_E_PROTOCOL);
    assert_null(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_every_key_of_a_rhythm),
        BENCH_TEST(test_marks_move),
        BENCH_TEST(test_batches_and_views),
        BENCH_TEST(test_singles_among_batches),
        BENCH_TEST(test_far_ahead),
        BENCH_TEST(test_sidecars_of_other_versions),
        BENCH_TEST(test_feedback_without_lines_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
