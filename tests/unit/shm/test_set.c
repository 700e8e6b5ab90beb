/* Sets: lives, quarantine, sequences that only grow, and what a reader gets from each state. */
#include "shm/set.h"

#include "shm/map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const struct segment_options small = {
    .permissions_max = 128, .entries = 100, .sets = 4, .folds = 10, .targets = 4, .store_id = 1};

static void write_open(struct segment *segment, uint32_t index, uint64_t seed)
{
    uint64_t any[2] = {seed, seed + 1}, own[2] = {seed + 2, seed + 3};
    set_close_writer(segment, index);
    set_write_writer(segment, index, any, own);
    set_open_writer(segment, index);
}

static void pool_hands_out_each_once(void **state)
{
    (void)state;
    struct segment segment;
    struct set_pool pool;
    bool taken[5] = {false};
    assert_int_equal(segment_new(&segment, &small), 0);
    assert_int_equal(set_pool_init(&pool, &segment), 0);
    for (uint32_t n = 0; n < 4; n++) {
        uint32_t index = set_take_writer(&pool, 0);
        assert_in_range(index, 1, 4);
        assert_false(taken[index]);
        taken[index] = true;
        assert_int_equal(set_at(&segment, index)->sequence, 1); /* every set starts odd */
        assert_int_equal(pool.indices.used, n + 1u);
    }
    assert_int_equal(set_take_writer(&pool, UINT64_MAX), 0);
    set_pool_fini(&pool);
    segment_free(&segment);
}

static void released_sets_rest(void **state)
{
    (void)state;
    struct segment segment;
    struct set_pool pool;
    assert_int_equal(segment_new(&segment, &small), 0);
    assert_int_equal(set_pool_init(&pool, &segment), 0);
    uint32_t index[4];
    for (uint32_t n = 0; n < 4; n++) {
        index[n] = set_take_writer(&pool, 0);
        write_open(&segment, index[n], n);
    }
    set_release_writer(&pool, index[2], 1000);
    assert_int_equal(pool.indices.used, 3);
    assert_int_equal(set_at(&segment, index[2])->sequence & 1u, 1);
    assert_int_equal(set_take_writer(&pool, 999), 0);
    set_release_writer(&pool, index[0], 2000);
    assert_int_equal(set_take_writer(&pool, 1000), index[2]);
    assert_int_equal(set_take_writer(&pool, 1999), 0);
    assert_int_equal(set_take_writer(&pool, 2000), index[0]);
    set_pool_fini(&pool);
    segment_free(&segment);
}

/* The ring goes round many times, and never hands out one that rests. */
static void quarantine_goes_round(void **state)
{
    (void)state;
    struct segment segment;
    struct set_pool pool;
    uint64_t until[5] = {0};
    uint64_t last[5] = {0};
    assert_int_equal(segment_new(&segment, &small), 0);
    assert_int_equal(set_pool_init(&pool, &segment), 0);
    uint32_t taken = 0;
    for (uint64_t now = 0; now < 1000; now++) {
        uint32_t index = set_take_writer(&pool, now);
        if (index == 0)
            continue;
        taken++;
        assert_true(until[index] <= now);
        write_open(&segment, index, now);
        uint64_t sequence = set_at(&segment, index)->sequence;
        assert_true((sequence & 1u) == 0 && sequence > last[index]);
        set_release_writer(&pool, index, now + 7);
        until[index] = now + 7;
        last[index] = set_at(&segment, index)->sequence;
        assert_true((last[index] & 1u) == 1 && last[index] > sequence);
    }
    assert_in_range(taken, 500, 600); /* four sets, seven ticks of rest */
    set_pool_fini(&pool);
    segment_free(&segment);
}

static void bits_land_where_readers_look(void **state)
{
    (void)state;
    struct segment segment;
    uint64_t any[2] = {1ull << 5, 1ull << 63}, own[2] = {1ull << 5 | 1ull << 6, 1ull << 63 | 1};
    assert_int_equal(segment_new(&segment, &small), 0);
    assert_int_equal(segment.table.set_stride, 64);
    set_write_writer(&segment, 3, any, own);
    set_open_writer(&segment, 3);
    const struct permtab_shm_set *set = set_at(&segment, 3);
    for (uint32_t bit = 0; bit < 128; bit++) {
        assert_int_equal(permtab_shm_bit(set, bit, false), bit == 5 || bit == 127);
        assert_int_equal(permtab_shm_bit(set, bit, true), bit == 5 || bit == 6 || bit == 127 || bit == 64);
    }
    for (uint32_t other = 1; other <= 4; other++) {
        if (other != 3)
            assert_true(set_at(&segment, other)->bits[0] == 0 && set_at(&segment, other)->bits[3] == 0);
    }
    segment_free(&segment);
}

static void strides_hold_the_record(void **state)
{
    (void)state;
    for (uint32_t permissions = 64; permissions <= PERMTAB_SHM_PERMISSIONS_MAX; permissions += 64) {
        uint32_t stride = permtab_shm_set_stride(permissions);
        assert_int_equal(stride % 64, 0);
        assert_in_range(stride, 8 + permissions / 4, 8 + permissions / 4 + 63);
    }
    assert_int_equal(permtab_shm_set_stride(512), 192);
}

/* A whole check against each state of the set that the entry names. */
static void reader_sees_closed_sets_as_busy(void **state)
{
    (void)state;
    struct segment segment;
    bool allowed = false;
    assert_int_equal(segment_new(&segment, &small), 0);
    struct map map = {segment.map, segment.table.map_buckets, segment.table.hash_seed};
    struct map_key key = {42, 7, 1};
    const struct permtab_shm_table *table = &segment.table;
    map_insert_writer(&map, map_writer_vacancy(&map, key), key, 2);
    assert_int_equal(permtab_shm_check(table, 42, 7, 1, 0, false, &allowed), PERMTAB_SHM_BUSY);
    write_open(&segment, 2, 1); /* any[0] = 1, own[0] = 3 */
    assert_int_equal(permtab_shm_check(table, 42, 7, 1, 0, false, &allowed), PERMTAB_SHM_FOUND);
    assert_true(allowed);
    assert_int_equal(permtab_shm_check(table, 42, 7, 1, 1, false, &allowed), PERMTAB_SHM_FOUND);
    assert_false(allowed);
    assert_int_equal(permtab_shm_check(table, 42, 7, 1, 1, true, &allowed), PERMTAB_SHM_FOUND);
    assert_true(allowed);
    assert_int_equal(permtab_shm_check(table, 42, 7, 2, 0, false, &allowed), PERMTAB_SHM_MISS);
    uint64_t open = set_at(&segment, 2)->sequence;
    set_close_writer(&segment, 2);
    set_close_writer(&segment, 2); /* closing a closed set changes nothing */
    assert_int_equal(set_at(&segment, 2)->sequence, open + 1);
    assert_int_equal(permtab_shm_check(table, 42, 7, 1, 0, false, &allowed), PERMTAB_SHM_BUSY);
    segment_free(&segment);
}

/* An index that no set bears (a damaged word) is a miss, not a read out of bounds. */
static void index_out_of_bounds_is_a_miss(void **state)
{
    (void)state;
    struct segment segment;
    bool allowed;
    assert_int_equal(segment_new(&segment, &small), 0);
    struct map map = {segment.map, segment.table.map_buckets, segment.table.hash_seed};
    struct map folds = {segment.folds, segment.table.fold_buckets, segment.table.hash_seed};
    struct map_key key = {42, 7, 1}, fold = {0, 8, 2};
    map_insert_writer(&map, map_writer_vacancy(&map, key), key, PERMTAB_SHM_INDEX_MASK);
    assert_int_equal(permtab_shm_check(&segment.table, 42, 7, 1, 0, false, &allowed), PERMTAB_SHM_MISS);
    segment_fold_count_writer(&segment, 1);
    map_insert_writer(&folds, map_writer_vacancy(&folds, fold), fold, PERMTAB_SHM_INDEX_MASK);
    assert_int_equal(permtab_shm_check(&segment.table, 42, 8, 2, 0, false, &allowed), PERMTAB_SHM_MISS);
    segment_free(&segment);
}

static void folds_lead_to_their_target(void **state)
{
    (void)state;
    struct segment segment;
    bool allowed = false;
    assert_int_equal(segment_new(&segment, &small), 0);
    struct map map = {segment.map, segment.table.map_buckets, segment.table.hash_seed};
    struct map folds = {segment.folds, segment.table.fold_buckets, segment.table.hash_seed};
    struct map_key entry = {42, 7, 1}, fold = {0, 700, 2};
    struct permtab_shm_look look = {0};
    write_open(&segment, 1, 1);
    map_insert_writer(&map, map_writer_vacancy(&map, entry), entry, 1);
    segment_target_set_writer(&segment, 4, 1, 7);
    segment_fold_count_writer(&segment, 1);
    uint32_t slot = map_writer_vacancy(&folds, fold);
    map_insert_writer(&folds, slot, fold, 4);
    assert_int_equal(permtab_shm_check(&segment.table, 42, 700, 2, 0, false, &allowed), PERMTAB_SHM_FOUND);
    assert_true(allowed);
    assert_int_equal(permtab_shm_look(&segment.table, 42, 700, 2, &look), PERMTAB_SHM_FOUND);
    map_clear_writer(&folds, slot);
    assert_false(permtab_shm_look_holds(&look));
    assert_int_equal(permtab_shm_check(&segment.table, 42, 700, 2, 0, false, &allowed), PERMTAB_SHM_MISS);
    /* The flag alone makes readers look there. */
    map_insert_writer(&folds, slot, fold, 4);
    segment_fold_count_writer(&segment, 0);
    assert_int_equal(permtab_shm_check(&segment.table, 42, 700, 2, 0, false, &allowed), PERMTAB_SHM_MISS);
    segment_free(&segment);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pool_hands_out_each_once),      cmocka_unit_test(released_sets_rest),
        cmocka_unit_test(quarantine_goes_round),         cmocka_unit_test(bits_land_where_readers_look),
        cmocka_unit_test(strides_hold_the_record),       cmocka_unit_test(reader_sees_closed_sets_as_busy),
        cmocka_unit_test(index_out_of_bounds_is_a_miss), cmocka_unit_test(folds_lead_to_their_target),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
