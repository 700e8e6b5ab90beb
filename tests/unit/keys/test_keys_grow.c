/* Keys of a memory that grows with them: few are lost, what there is no memory for is left, and no reading is long. */
#include "tests/unit/keys/keys_fixture.h"

#include <sys/stat.h>

static struct keys *opened_to_grow(int descriptor)
{
    struct keys *keys;
    assert_int_equal(keys_open(&keys, descriptor, STORE), 0);
    return keys;
}

static uint64_t bytes_of(int descriptor)
{
    struct stat status;
    assert_int_equal(fstat(descriptor, &status), 0);
    return (uint64_t)status.st_blocks * 512;
}

/* How many of the users from 0 to `count` are there, each once. */
static size_t present(struct keys *keys, size_t count)
{
    bool *seen = calloc(count, sizeof *seen);
    struct hot_key *all = calloc(2 * count, sizeof *all);
    size_t there = keys_hottest(keys, TYPES, all, 2 * count);
    for (size_t i = 0; i < there; i++) {
        assert_true(all[i].user < count && !seen[all[i].user]);
        seen[all[i].user] = true;
    }
    free(seen);
    free(all);
    return there;
}

/* Keys that come once each. Chance puts about 14 into a set, and up to 28 while those before it have been divided and
 * it has not; it has room for 32. By Poisson's formula 32 are too few for 0.02 %, 0.3 % and 1.9 % of 20, 24 and 28:
 * about 0.5 % on the way from one division to the next. What is lost stays lost until it comes again, so the sum of a
 * few doublings is seen here, each with half the weight of the next one: 1 % in all. */
static void test_few_keys_are_lost(void **state)
{
    (void)state;
    static const size_t counts[] = {1000, 100000, 250000, 1000000};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        int descriptor = new_memory();
        struct keys *keys = opened_to_grow(descriptor);
        size_t count = counts[i];
        keys_set_limit(keys, count);
        for (size_t user = 0; user < count; user++)
            note(keys, user, user % 100, KEYS_FILL);
        size_t there = present(keys, count);
        print_message("%zu keys: %zu are there, %.2f %% are lost, %.1f bytes a key\n", count, there,
                      100.0 * (double)(count - there) / (double)count, (double)bytes_of(descriptor) / (double)count);
        assert_in_range(there, count - count / 80, count);
        assert_in_range(keys_known(keys), there - there / 1000, there);
        assert_true(count < 10000 || bytes_of(descriptor) <= count * KEYS_BYTES_A_KEY + (1u << 18));
        assert_int_equal(bytes_of(descriptor), keys_bytes(keys));
        keys_free(keys);
        keys = opened_to_grow(descriptor);
        assert_int_equal(present(keys, count), there); /* for the next worker, too */
        assert_int_equal(keys_known(keys), there);
        keys_free(keys);
        (void)close(descriptor);
    }
}

/* Not all are counted when they are opened, and a set is divided once all are. */
static void test_many_are_counted_bit_by_bit(void **state)
{
    (void)state;
    const size_t count = 100000;
    int descriptor = new_memory();
    struct keys *keys = opened_to_grow(descriptor);
    for (size_t user = 0; user < count; user++)
        note(keys, user, 1, KEYS_FILL);
    size_t there = keys_known(keys);
    uint64_t before = bytes_of(descriptor);
    keys_free(keys);
    keys = opened_to_grow(descriptor);
    assert_in_range(keys_known(keys), 1, count / 2);
    for (size_t i = 0; i < count / 10; i++)
        note(keys, count, 1, KEYS_FILL);
    assert_int_equal(keys_known(keys), there + 1);
    for (size_t user = 0; user < 2 * count; user++)
        note(keys, user, 1, KEYS_FILL);
    assert_in_range(bytes_of(descriptor), before * 19 / 10, before * 21 / 10);
    keys_free(keys);
    (void)close(descriptor);
}

/* Sets that should be divided wait until a reading is over: else a key might be found where it was and where it is. */
static void test_no_set_is_divided_while_they_are_read(void **state)
{
    (void)state;
    const size_t count = 40000;
    bool *seen = calloc(count, sizeof *seen);
    int descriptor = new_memory();
    struct keys *keys = opened_to_grow(descriptor);
    struct keys_reading *reading;
    size_t user = 0, found_keys;
    while (user < SLOTS / 2)
        note(keys, user++, 7, KEYS_FILL);
    assert_int_equal(keys_reading_new(&reading, keys, TYPES), 0);
    while (keys_reading_slice(reading, 100))
        for (unsigned i = 0; i < 100 && user < count; i++)
            note(keys, user++, 7, KEYS_FILL);
    struct hot_key *hot = keys_reading_take(reading, &found_keys);
    for (size_t i = 0; i < found_keys; i++) {
        assert_true(hot[i].user < count && !seen[hot[i].user]);
        seen[hot[i].user] = true;
    }
    uint64_t before = bytes_of(descriptor);
    for (user = 0; user < count; user++)
        note(keys, user, 7, KEYS_FILL);
    assert_true(bytes_of(descriptor) > before); /* and then they are */
    free(hot);
    free(seen);
    keys_free(keys);
    (void)close(descriptor);
}

/* It takes memory for keys that are there, for no more than it may, and gives it back when it forgets them. */
static void test_memory_is_for_keys(void **state)
{
    (void)state;
    int descriptor = new_memory();
    struct keys *keys = opened_to_grow(descriptor);
    uint64_t first = bytes_of(descriptor);
    assert_in_range(first, SLOTS * 24, 256 << 10);
    for (uint64_t i = 0; i < 100000; i++)
        note(keys, i % 1000, 1, KEYS_FILL);
    assert_int_equal(bytes_of(descriptor), first);
    keys_set_limit(keys, 20000);
    for (uint64_t i = 0; i < 100000; i++)
        note(keys, i, 1, KEYS_FILL);
    assert_in_range(bytes_of(descriptor), 20000 * KEYS_BYTES_A_KEY, 20000 * KEYS_BYTES_A_KEY + (1u << 18));
    keys_free(keys);
    keys = opened_to_grow(descriptor);
    assert_in_range(hottest(keys), SLOTS, SLOTS);
    keys_belong_to(keys, STORE + 1);
    assert_int_equal(bytes_of(descriptor), first);
    assert_int_equal(hottest(keys), 0);
    keys_free(keys);
    (void)close(descriptor);
}

/* A size that the header claims is not believed when the memory has no pages for it: opening takes none. */
static void test_a_size_that_is_not_there(void **state)
{
    (void)state;
    int descriptor = new_memory();
    struct keys_header *header = mapped(descriptor);
    struct keys *keys = opened(descriptor);
    uint64_t first = bytes_of(descriptor);
    note(keys, 5, 6, 1);
    keys_free(keys);
    header->sets = KEYS_SETS_MAX;
    keys = opened(descriptor);
    assert_int_equal(bytes_of(descriptor), first);
    assert_int_equal(header->sets, KEYS_SETS_FIRST);
    (void)munmap(header, KEYS_SIZE);
    keys_free(keys);
    (void)close(descriptor);
}

int __real_keys_allocate(int descriptor, uint32_t from, uint32_t to);
int __wrap_keys_allocate(int descriptor, uint32_t from, uint32_t to);
static unsigned refusals;
static bool refuses;

int __wrap_keys_allocate(int descriptor, uint32_t from, uint32_t to)
{
    refusals += refuses;
    return refuses ? PERMTAB_E_MEMORY : __real_keys_allocate(descriptor, from, to);
}

/* Without memory it stays as large as it is, goes on, and seldom asks again. */
static void test_no_memory_to_grow(void **state)
{
    (void)state;
    int descriptor = new_memory();
    struct keys *keys = opened_to_grow(descriptor);
    uint64_t first = bytes_of(descriptor);
    refuses = true;
    for (uint64_t i = 0; i < 100000; i++)
        note(keys, i, 1, KEYS_FILL);
    assert_int_equal(bytes_of(descriptor), first);
    assert_int_equal(refusals, 2);
    assert_true(hottest(keys) > SLOTS / 2);
    refuses = false;
    for (uint64_t i = 0; i < 200000; i++)
        note(keys, i, 1, KEYS_FILL);
    assert_true(bytes_of(descriptor) > 4 * first);
    uint64_t grown = bytes_of(descriptor);
    keys_free(keys);
    refuses = true; /* nor to begin at all */
    assert_int_equal(keys_open(&keys, descriptor, STORE), PERMTAB_E_MEMORY);
    refuses = false;
    assert_int_equal(bytes_of(descriptor), grown);
    (void)close(descriptor);
}

/* Workers that die while they read, as of the memory that it takes: after three of them less and less is read, until
 * one has read it. */
static void test_readings_that_do_not_end(void **state)
{
    (void)state;
    const uint32_t frequencies[] = {1, 2, 5, 4000};
    const size_t expected[] = {4, 4, 4, 3, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0};
    for (size_t deaths = 0; deaths < sizeof expected / sizeof expected[0]; deaths++) {
        int descriptor = new_memory();
        struct keys *keys = opened(descriptor);
        struct keys_header *header = mapped(descriptor);
        struct keys_reading *reading;
        for (size_t i = 0; i < 4; i++)
            note(keys, i, 7, frequencies[i]);
        keys_free(keys);
        for (size_t i = 0; i < deaths; i++) {
            keys = opened(descriptor);
            assert_int_equal(keys_reading_new(&reading, keys, TYPES), 0);
            while (keys_reading_slice(reading, UINT32_MAX))
                ;
            uint64_t noted = header->readings; /* and then it dies */
            keys_reading_free(reading);
            keys_free(keys);
            header->readings = noted;
        }
        keys = opened(descriptor);
        assert_int_equal(hottest(keys), expected[deaths]);
        assert_int_equal(hottest(keys), 4); /* none is forgotten */
        keys_free(keys);
        (void)munmap(header, KEYS_SIZE);
        (void)close(descriptor);
    }
}

/* Classes, then places, then users: that is how the store reads many at once. */
static void test_keys_come_as_they_are_read(void **state)
{
    (void)state;
    static struct hot_key all[100000];
    int descriptor = new_memory();
    struct keys *keys = opened_to_grow(descriptor);
    struct random random = {7};
    for (unsigned i = 0; i < 60000; i++) {
        uint64_t user = 5000000000ull + random_next(&random) % 100000;
        note(keys, user, random_next(&random) % 40, random_next(&random) % 3 + 1);
    }
    size_t count = keys_hottest(keys, TYPES, all, 100000), places = 0, classes = 0;
    assert_true(count > 50000);
    for (size_t i = 1; i < count; i++) {
        uint32_t class = keys_class(all[i].frequency), before = keys_class(all[i - 1].frequency);
        bool same_place = scope_equal(all[i].scope, all[i - 1].scope);
        assert_true(class >= before);
        classes += class != before;
        places += class != before || !same_place;
        assert_true(class != before || !same_place || all[i].user > all[i - 1].user);
    }
    assert_in_range(classes, 1, 3);
    assert_true(places < (classes + 1) * 40); /* each place comes once in a class */
    keys_belong_to(keys, STORE + 1);
    for (unsigned i = 0; i < 10000; i++) /* users of all 64 bits: those that are near are in any order */
        note(keys, random_next(&random), 1, KEYS_FILL);
    count = keys_hottest(keys, TYPES, all, 100000);
    assert_true(count > 9900);
    for (size_t i = 1; i < count; i++)
        assert_true(all[i].user + (1ull << 45) > all[i - 1].user || all[i].user > UINT64_MAX - (1ull << 45));
    keys_free(keys);
    (void)close(descriptor);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_few_keys_are_lost),
        cmocka_unit_test(test_many_are_counted_bit_by_bit),
        cmocka_unit_test(test_no_set_is_divided_while_they_are_read),
        cmocka_unit_test(test_memory_is_for_keys),
        cmocka_unit_test(test_a_size_that_is_not_there),
        cmocka_unit_test(test_no_memory_to_grow),
        cmocka_unit_test(test_readings_that_do_not_end),
        cmocka_unit_test(test_keys_come_as_they_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
