/* The map: what the writer puts in, the writer and a reader find; identity, windows, sequences. The map here
 * lies in plain memory, which is all the same to it. */
#include "shm/map.h"

#include "shm/reader.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static void map_new(struct map *map, uint32_t homes)
{
    size_t bytes = ((size_t)homes + PERMTAB_SHM_WINDOW - 1u) * sizeof(struct permtab_shm_bucket);
    *map = (struct map){
        .buckets = aligned_alloc(64, bytes), .home_count = homes, .hash_seed = 0x1234567890abcdefull};
    assert_non_null(map->buckets);
    for (size_t at = 0; at < bytes / 8; at++)
        ((uint64_t *)map->buckets)[at] = 0;
}

static void map_drop(struct map *map)
{
    free(map->buckets);
}

static uint32_t put(struct map *map, struct map_key key, uint32_t index)
{
    uint32_t slot = map_writer_vacancy(map, key);
    if (slot != MAP_NO_SLOT)
        map_insert_writer(map, slot, key, index);
    return slot;
}

/* Returns what a reader sees: the index, or 0. */
static uint32_t seen(const struct map *map, struct map_key key)
{
    struct permtab_shm_place place;
    uint64_t hash = permtab_shm_hash(map->hash_seed, key.key0, key.key1, key.type);
    const struct permtab_shm_bucket *home = map->buckets + permtab_shm_home(hash, map->home_count);
    if (permtab_shm_find(home, key.key0, key.key1, key.type, &place) != PERMTAB_SHM_FOUND)
        return 0;
    assert_true(permtab_shm_place_holds(&place));
    return PERMTAB_SHM_WORD_INDEX(place.word);
}

static uint64_t sequence_sum(const struct map *map)
{
    uint64_t sum = 0;
    for (uint32_t bucket = 0; bucket < map->home_count + PERMTAB_SHM_WINDOW - 1u; bucket++) {
        assert_int_equal(map->buckets[bucket].sequence & 1u, 0);
        sum += map->buckets[bucket].sequence;
    }
    return sum;
}

static void any_bucket_count_works(void **state)
{
    (void)state;
    static const uint32_t counts[] = {1, 2, 3, 7, 8, 9, 100, 127, 1000, 4097};
    for (size_t at = 0; at < sizeof(counts) / sizeof(counts[0]); at++) {
        struct map map;
        map_new(&map, counts[at]);
        assert_int_equal(map_slot_count(&map), (counts[at] + 7u) * 3u);
        uint32_t put_in = counts[at]; /* a load of a third, and never more than a window at one home */
        if (put_in < 8)
            put_in = 8;
        for (uint32_t n = 0; n < put_in; n++)
            assert_int_not_equal(put(&map, (struct map_key){n, ~(uint64_t)n, n % 15u}, n + 1u), MAP_NO_SLOT);
        for (uint32_t n = 0; n < put_in; n++) {
            struct map_key key = {n, ~(uint64_t)n, n % 15u};
            uint32_t slot = map_writer_find(&map, key);
            assert_int_not_equal(slot, MAP_NO_SLOT);
            assert_int_equal(seen(&map, key), n + 1u);
            assert_int_equal(map_word(&map, slot), PERMTAB_SHM_WORD(n % 15u, n + 1u));
            struct map_key there = map_key_at(&map, slot);
            assert_true(there.key0 == key.key0 && there.key1 == key.key1 && there.type == key.type);
        }
        map_drop(&map);
    }
}

static void homes_reach_every_bucket(void **state)
{
    (void)state;
    for (uint32_t homes = 1; homes < 200; homes += 13) {
        uint32_t hit = 0;
        bool *reached = calloc(homes, sizeof(*reached));
        for (uint64_t id = 0; id < 20000; id++) {
            uint32_t home = permtab_shm_home(permtab_shm_hash(99, id, 5, 2), homes);
            assert_true(home < homes);
            hit += reached[home] ? 0 : 1;
            reached[home] = true;
        }
        assert_int_equal(hit, homes);
        free(reached);
    }
    assert_int_equal(permtab_shm_home(UINT64_MAX, UINT32_MAX), UINT32_MAX - 1u);
}

/* server:7 is not channel:7, user 1 at scope 2 is not user 2 at scope 1, and 64 bits count. */
static void identity_is_key_and_type_in_full(void **state)
{
    (void)state;
    struct map map;
    map_new(&map, 1); /* one window: they all collide */
    static const struct map_key keys[] = {
        {42, 7, 1},
        {42, 7, 2},
        {7, 42, 1},
        {42, 7 | 1ull << 63, 1},
        {42 | 1ull << 32, 7, 1},
        {0, 0, 0},
        {0, 0, 14},
        {UINT64_MAX, UINT64_MAX, 14},
    };
    const uint32_t count = sizeof(keys) / sizeof(keys[0]);
    for (uint32_t n = 0; n < count; n++) {
        assert_int_equal(map_writer_find(&map, keys[n]), MAP_NO_SLOT);
        assert_int_equal(seen(&map, keys[n]), 0);
        assert_int_not_equal(put(&map, keys[n], 100u + n), MAP_NO_SLOT);
    }
    for (uint32_t n = 0; n < count; n++)
        assert_int_equal(seen(&map, keys[n]), 100u + n);
    map_clear_writer(&map, map_writer_find(&map, keys[0]));
    assert_int_equal(seen(&map, keys[0]), 0);
    for (uint32_t n = 1; n < count; n++)
        assert_int_equal(seen(&map, keys[n]), 100u + n);
    map_drop(&map);
}

/* A key stays behind in a slot that was cleared. It is found where it lives, in front of that slot or behind it, and
 * not where it was; and one of another type beside it is another one. */
static void a_key_that_stayed_behind_is_not_found(void **state)
{
    (void)state;
    struct map map;
    const struct map_key key = {42, 7, 1}, twin = {42, 7, 2}, other = {43, 7, 1};
    map_new(&map, 1);
    assert_int_equal(put(&map, other, 1), 0);
    assert_int_equal(put(&map, key, 2), 1);
    map_clear_writer(&map, 1);
    assert_true(map_key_at(&map, 1).key0 == key.key0 && map_key_at(&map, 1).key1 == key.key1);
    assert_int_equal(map_writer_find(&map, key), MAP_NO_SLOT);
    map_insert_writer(&map, 4, key, 3); /* behind */
    assert_int_equal(map_writer_find(&map, key), 4);
    assert_int_equal(seen(&map, key), 3);
    map_move_writer(&map, 4, 20);
    assert_int_equal(map_writer_find(&map, key), 20);
    assert_int_equal(seen(&map, key), 3);
    map_clear_writer(&map, 20);
    assert_int_equal(map_writer_find(&map, key), MAP_NO_SLOT);
    map_insert_writer(&map, 4, twin, 4); /* where the key stayed behind as well: with another type */
    assert_int_equal(map_writer_find(&map, key), MAP_NO_SLOT);
    assert_int_equal(map_writer_find(&map, twin), 4);
    map_clear_writer(&map, 0);
    map_insert_writer(&map, 0, key, 5); /* in front */
    assert_int_equal(map_writer_find(&map, key), 0);
    assert_int_equal(map_writer_find(&map, twin), 4);
    assert_int_equal(map_writer_find(&map, other), MAP_NO_SLOT);
    assert_true(seen(&map, key) == 5 && seen(&map, twin) == 4);
    map_drop(&map);
}

/* An empty slot has the key 0, 0 in it. */
static void zero_is_a_key(void **state)
{
    (void)state;
    struct map map;
    const struct map_key key = {0, 0, 0};
    map_new(&map, 1);
    assert_int_equal(map_writer_find(&map, key), MAP_NO_SLOT);
    map_insert_writer(&map, PERMTAB_SHM_WINDOW * PERMTAB_SHM_SLOTS - 1, key, 9); /* the window's last */
    assert_int_equal(map_writer_find(&map, key), PERMTAB_SHM_WINDOW * PERMTAB_SHM_SLOTS - 1);
    map_drop(&map);
}

static void full_window_has_no_vacancy_until_one_is_cleared(void **state)
{
    (void)state;
    struct map map;
    const uint32_t slots = PERMTAB_SHM_WINDOW * PERMTAB_SHM_SLOTS;
    map_new(&map, 1);
    for (uint32_t n = 0; n < slots; n++)
        assert_int_not_equal(put(&map, (struct map_key){n, 1, 1}, n + 1u), MAP_NO_SLOT);
    struct map_key late = {1000, 1, 1};
    uint32_t first, end;
    map_window(&map, late, &first, &end);
    assert_int_equal(end - first, slots);
    assert_int_equal(map_writer_vacancy(&map, late), MAP_NO_SLOT);
    assert_int_equal(map_writer_find(&map, late), MAP_NO_SLOT);
    for (uint32_t n = 0; n < slots; n++)
        assert_int_equal(seen(&map, (struct map_key){n, 1, 1}), n + 1u);
    /* One in the middle makes room; those behind it are still found, though a free slot is in front of them.
     */
    uint32_t victim = map_writer_find(&map, (struct map_key){5, 1, 1});
    map_clear_writer(&map, victim);
    assert_int_equal(seen(&map, (struct map_key){slots - 1u, 1, 1}), slots);
    assert_int_equal(map_writer_vacancy(&map, late), victim);
    assert_int_equal(put(&map, late, 77), victim);
    assert_int_equal(seen(&map, late), 77);
    assert_int_equal(seen(&map, (struct map_key){5, 1, 1}), 0);
    map_drop(&map);
}

static void only_insertions_move_the_sequence_and_only_upwards(void **state)
{
    (void)state;
    struct map map;
    map_new(&map, 3);
    struct map_key key = {1, 2, 3};
    uint32_t slot = put(&map, key, 9);
    const struct permtab_shm_bucket *bucket = &map.buckets[slot / PERMTAB_SHM_SLOTS];
    assert_int_equal(bucket->sequence, 2);
    map_replace_writer(&map, slot, 10);
    assert_int_equal(bucket->sequence, 2);
    assert_int_equal(seen(&map, key), 10);
    map_clear_writer(&map, slot);
    assert_int_equal(bucket->sequence, 2);
    assert_int_equal(seen(&map, key), 0);
    uint64_t before = sequence_sum(&map);
    for (uint32_t n = 0; n < 1000; n++) {
        struct map_key other = {n, n, n % 15u};
        slot = put(&map, other, 1);
        assert_true(sequence_sum(&map) == before + 2u);
        before += 2u;
        map_clear_writer(&map, slot);
        assert_true(sequence_sum(&map) == before);
    }
    map_drop(&map);
}

/* An entry moves to every place behind it in its window: it is found there once, by both sides, and only the bucket
 * it comes to has moved. */
static void entries_move_on_in_their_window(void **state)
{
    (void)state;
    struct map map;
    map_new(&map, 3);
    struct map_key key = {1, 2, 3};
    uint32_t first, end;
    map_window(&map, key, &first, &end);
    for (uint32_t to = first + 1; to < end; to++) {
        uint32_t from = put(&map, key, 9);
        assert_int_equal(from, first);
        struct permtab_shm_bucket *target = &map.buckets[to / PERMTAB_SHM_SLOTS];
        struct permtab_shm_place before = {&map.buckets[from / PERMTAB_SHM_SLOTS], 0,
                                           from % PERMTAB_SHM_SLOTS, map_word(&map, from)};
        before.sequence = before.bucket->sequence;
        uint32_t sequence = target->sequence;
        uint64_t sum = sequence_sum(&map);
        map_move_writer(&map, from, to);
        assert_false(permtab_shm_place_holds(&before));
        assert_int_equal(target->sequence, sequence + 2u);
        assert_true(sequence_sum(&map) == sum + 2u);
        assert_int_equal(map_writer_find(&map, key), to);
        assert_int_equal(seen(&map, key), 9);
        map_clear_writer(&map, to);
        assert_int_equal(seen(&map, key), 0);
        assert_int_equal(map_writer_find(&map, key), MAP_NO_SLOT);
    }
    map_drop(&map);
}

/* A place that a reader found earlier holds exactly until the word or the key changes. */
static void place_stops_holding(void **state)
{
    (void)state;
    struct map map;
    struct permtab_shm_place place = {0};
    map_new(&map, 1);
    struct map_key key = {1, 2, 3};
    uint32_t slot = put(&map, key, 9);
    assert_int_equal(permtab_shm_find(map.buckets, 1, 2, 3, &place), PERMTAB_SHM_FOUND);
    assert_true(permtab_shm_place_holds(&place));
    map_replace_writer(&map, slot, 10);
    assert_false(permtab_shm_place_holds(&place));
    map_replace_writer(&map, slot, 9); /* there and back is in force again */
    assert_true(permtab_shm_place_holds(&place));
    map_clear_writer(&map, slot);
    assert_false(permtab_shm_place_holds(&place));
    map_insert_writer(&map, slot, key, 9); /* same key, same index, but it was away */
    assert_false(permtab_shm_place_holds(&place));
    map_drop(&map);
}

/* A writer that died while a slot was moving leaves its bucket odd: no answer from it, and no loop. */
static void odd_bucket_gives_no_answer(void **state)
{
    (void)state;
    struct map map;
    struct permtab_shm_place place;
    map_new(&map, 1);
    uint32_t slot = put(&map, (struct map_key){1, 2, 3}, 9);
    map.buckets[slot / PERMTAB_SHM_SLOTS].sequence++;
    assert_int_equal(permtab_shm_find(map.buckets, 1, 2, 3, &place), PERMTAB_SHM_BUSY);
    assert_int_equal(permtab_shm_find(map.buckets, 1, 2, 4, &place), PERMTAB_SHM_MISS);
    map_drop(&map);
}

/* Filled to the promised load, hardly a window is full, also with ids that follow one another. */
static void load_of_seven_tenths_rarely_fills_a_window(void **state)
{
    (void)state;
    const uint32_t entries = 210000;
    struct map map;
    map_new(&map, entries * 10u / 21u);
    uint32_t full = 0;
    for (uint32_t n = 0; n < entries; n++)
        full += put(&map, (struct map_key){n / 7u, n % 7u, 2}, 1) == MAP_NO_SLOT ? 1 : 0;
    assert_in_range(full, 0, entries / 200u);
    map_drop(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_bucket_count_works),
        cmocka_unit_test(homes_reach_every_bucket),
        cmocka_unit_test(identity_is_key_and_type_in_full),
        cmocka_unit_test(a_key_that_stayed_behind_is_not_found),
        cmocka_unit_test(zero_is_a_key),
        cmocka_unit_test(full_window_has_no_vacancy_until_one_is_cleared),
        cmocka_unit_test(only_insertions_move_the_sequence_and_only_upwards),
        cmocka_unit_test(entries_move_on_in_their_window),
        cmocka_unit_test(place_stops_holding),
        cmocka_unit_test(odd_bucket_gives_no_answer),
        cmocka_unit_test(load_of_seven_tenths_rarely_fills_a_window),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
