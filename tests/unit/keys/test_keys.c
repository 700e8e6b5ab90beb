/* Keys: what is noted comes back, hottest first, to whoever opens the memory next; and whatever else is in the memory
 * costs time and nothing more. */
#include "proxy/keys/private.h"

#include "tests/support/keys_hottest.h"
#include "tests/support/random.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define STORE 77u
#define TYPES 3u

#define SLOTS (KEYS_SETS_FIRST * KEYS_WAYS) /* of a memory that does not grow */

static struct hot_key found[SLOTS];

static int new_memory(void)
{
    int descriptor = -1;
    assert_int_equal(keys_memfd_new(&descriptor), 0);
    return descriptor;
}

static struct keys *opened(int descriptor)
{
    struct keys *keys;
    assert_int_equal(keys_open(&keys, descriptor, STORE), 0);
    keys_set_limit(keys, 1);
    return keys;
}

static void note(struct keys *keys, uint64_t user, uint64_t place, uint32_t weight)
{
    keys_note(keys, user, (struct scope_key){.id = place, .type = 2}, weight);
}

static size_t hottest(struct keys *keys)
{
    return keys_hottest(keys, TYPES, found, SLOTS);
}

static uint32_t frequency_of(struct keys *keys, uint64_t user, uint64_t place)
{
    size_t count = hottest(keys);
    for (size_t i = 0; i < count; i++)
        if (found[i].user == user && found[i].scope.id == place)
            return found[i].frequency;
    return 0;
}

static void *mapped(int descriptor)
{
    void *mapping = mmap(NULL, KEYS_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    assert_ptr_not_equal(mapping, MAP_FAILED);
    return mapping;
}

static struct keys_set *sets_of(void *mapping)
{
    return (struct keys_set *)(void *)((char *)mapping + KEYS_PAGE);
}

/* The first record that is in use: its set; *way. */
static struct keys_set *first_record(struct keys_set *sets, uint32_t *way)
{
    for (struct keys_set *set = sets; set < sets + KEYS_SETS_FIRST; set++)
        for (*way = 0; *way < KEYS_WAYS; ++*way)
            if (set->words[*way] != 0)
                return set;
    fail();
    return NULL;
}

/* ---- the descriptor ---------------------------------------------------------------------------------------------- */

static void test_its_memory_is_known(void **state)
{
    (void)state;
    int ours = new_memory(), pipes[2];
    int other = memfd_create("other", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int file = open("/dev/null", O_RDWR | O_CLOEXEC);
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", ours);
    int readable = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    assert_true(keys_memfd_is_ours(ours));
    assert_false(keys_memfd_is_ours(readable));
    assert_false(keys_memfd_is_ours(-1));
    assert_false(keys_memfd_is_ours(file));
    assert_false(keys_memfd_is_ours(pipes[0]));
    assert_int_equal(ftruncate(other, (off_t)KEYS_SIZE), 0);
    assert_false(keys_memfd_is_ours(other)); /* somebody could shrink it */
    assert_int_equal(fcntl(other, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), 0);
    assert_true(keys_memfd_is_ours(other));
    int sealed = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(ftruncate(sealed, (off_t)KEYS_SIZE), 0);
    assert_int_equal(fcntl(sealed, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL), 0);
    assert_false(keys_memfd_is_ours(sealed)); /* no worker could write to it */
    int small = memfd_create("small", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(ftruncate(small, (off_t)KEYS_SIZE - 4096), 0);
    assert_int_equal(fcntl(small, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), 0);
    assert_false(keys_memfd_is_ours(small));
    struct keys *keys;
    assert_int_equal(keys_open(&keys, small, STORE), PERMTAB_E_INVALID);
    assert_null(keys);
    int all[] = {ours, readable, other, sealed, small, file, pipes[0], pipes[1]};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        (void)close(all[i]);
}

static void test_its_size_stays(void **state)
{
    (void)state;
    int descriptor = new_memory();
    assert_int_equal(ftruncate(descriptor, 0), -1);
    assert_int_equal(ftruncate(descriptor, (off_t)KEYS_SIZE * 2), -1);
    assert_int_equal(fcntl(descriptor, F_ADD_SEALS, F_SEAL_WRITE), -1);
    (void)close(descriptor);
}

/* One that may have no file of that size goes without, instead of dying of SIGXFSZ. */
static void test_a_limit_of_files(void **state)
{
    (void)state;
    struct rlimit before, small;
    int descriptor = -1;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = (struct rlimit){KEYS_SIZE - 1, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    assert_int_equal(keys_memfd_new(&descriptor), PERMTAB_E_SYSTEM);
    assert_int_equal(errno, EFBIG);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(descriptor, -1);
}

/* ---- noting ------------------------------------------------------------------------------------------------------ */

static void test_hottest_first(void **state)
{
    (void)state;
    int descriptor = new_memory();
    struct keys *keys = opened(descriptor);
    assert_int_equal(hottest(keys), 0);
    for (unsigned i = 0; i < KEYS_SAMPLE - 1; i++)
        note(keys, 1, 10, KEYS_FILL);
    note(keys, 2, 20, KEYS_SAMPLE);
    note(keys, 3, 30, KEYS_FILL);
    keys_note(keys, 3, (struct scope_key){.id = 30, .type = 1}, 2);  /* the type is part of the key */
    keys_note(keys, 4, (struct scope_key){.id = 40, .type = 15}, 9); /* no such type */
    note(keys, 5, 50, 0);
    assert_int_equal(hottest(keys), 4);
    assert_int_equal(found[0].user, 2);
    assert_int_equal(found[0].frequency, KEYS_SAMPLE);
    assert_int_equal(found[1].scope.type + found[2].scope.type, 1 + 2); /* of one class */
    assert_int_equal(found[3].scope.type, 2);
    assert_int_equal(found[3].scope.id, 30);
    assert_int_equal(keys_hottest(keys, TYPES, found, 1), 1);
    assert_int_equal(found[0].user, 2);
    keys_free(keys);
    (void)close(descriptor);
}

static void test_they_outlive_the_worker(void **state)
{
    (void)state;
    static struct hot_key before[1000];
    int descriptor = new_memory();
    struct keys *keys = opened(descriptor);
    for (uint64_t user = 1; user <= 1000; user++)
        note(keys, user, 7 * user, (uint32_t)user);
    assert_int_equal(keys_hottest(keys, TYPES, before, 1000), 1000);
    keys_free(keys);
    keys = opened(descriptor);
    assert_int_equal(hottest(keys), 1000);
    for (uint64_t i = 0; i < 1000; i++) {
        assert_int_equal(found[i].frequency, before[i].frequency);
        assert_int_equal(found[i].user, before[i].user);
        assert_int_equal(found[i].scope.id, 7 * before[i].user);
        assert_true(found[i].frequency <= found[i].user); /* less than it: the hand came by */
    }
    keys_free(keys);
    assert_int_equal(keys_open(&keys, descriptor, STORE + 1), 0);
    assert_int_equal(hottest(keys), 0); /* of another store */
    keys_free(keys);
    keys = opened(descriptor);
    assert_int_equal(hottest(keys), 0); /* and forgotten, not hidden */
    keys_free(keys);
    (void)close(descriptor);
}

static void test_the_size_of_the_table_survives(void **state)
{
    (void)state;
    int descriptor = new_memory();
    struct keys *keys = opened(descriptor);
    assert_int_equal(keys_room(keys).entries, 0);
    keys_note_room(keys, &(struct keys_room){64000, 5000, UINT32_MAX});
    keys_free(keys);
    keys = opened(descriptor);
    assert_int_equal(keys_room(keys).entries, 64000);
    assert_int_equal(keys_room(keys).sets, 5000);
    assert_int_equal(keys_room(keys).folds, UINT32_MAX);
    keys_belong_to(keys, STORE + 1); /* of another store */
    assert_int_equal(keys_room(keys).entries, 0);
    keys_note_room(keys, &(struct keys_room){KEYS_ENTRIES_MAX + 1ull, 1, 1});
    assert_int_equal(keys_room(keys).entries, 0);
    struct keys_header *header = mapped(descriptor);
    uint64_t *const words[] = {&header->room_entries, &header->room_counts, &header->room_check};
    for (size_t i = 0; i < 3; i++) { /* rubbish, or a worker that died in between */
        keys_note_room(keys, &(struct keys_room){64000, 5000, 7});
        assert_int_equal(keys_room(keys).entries, 64000);
        ++*words[i];
        assert_int_equal(keys_room(keys).entries, 0);
    }
    (void)munmap(header, KEYS_SIZE);
    keys_free(keys);
    (void)close(descriptor);
}

static void test_a_frequency_has_a_bound(void **state)
{
    (void)state;
    int descriptor = new_memory();
    struct keys *keys = opened(descriptor);
    note(keys, 1, 1, UINT32_MAX);
    note(keys, 2, 2, KEYS_FREQUENCY_MAX - 1);
    note(keys, 2, 2, KEYS_FREQUENCY_MAX);
    assert_int_equal(hottest(keys), 2);
    assert_int_equal(found[0].frequency, KEYS_FREQUENCY_MAX);
    assert_int_equal(found[1].frequency, KEYS_FREQUENCY_MAX);
    keys_free(keys);
    (void)close(descriptor);
}

/* Ten times as many keys as there is room for come once each, between notes of a thousand that come again. */
static void test_hot_keys_stay(void **state)
{
    (void)state;
    int descriptor = new_memory();
    struct keys *keys = opened(descriptor);
    for (uint64_t i = 0; i < 10 * (uint64_t)SLOTS; i++) {
        note(keys, 1000000 + i, i, KEYS_FILL);
        if (i % 10 == 0)
            note(keys, i / 10 % 1000, 5, KEYS_SAMPLE);
    }
    size_t count = hottest(keys), hot = 0;
    assert_true(count > SLOTS / 2 && count <= SLOTS);
    for (size_t i = 0; i < 1000; i++)
        hot += found[i].user < 1000;
    assert_true(hot >= 990);
    for (size_t i = 1; i < count; i++)
        assert_true(keys_class(found[i - 1].frequency) <= keys_class(found[i].frequency));
    keys_free(keys);
    (void)close(descriptor);
}

/* Keys are noted between all slices, in the end as many as there is room for. What is found is a key each, whole, once,
 * and sorted; and no slice does more than it may. */
static void test_noting_goes_on_between_slices(void **state)
{
    (void)state;
    const uint32_t work = 1000;
    static bool seen[2 * SLOTS];
    int descriptor = new_memory();
    struct keys *keys = opened(descriptor);
    struct keys_reading *reading;
    struct random random = {5};
    uint64_t user = 0;
    unsigned slices = 0;
    memset(seen, 0, sizeof seen);
    while (user < SLOTS / 2)
        note(keys, user++, 7, 1 + (uint32_t)(random_next(&random) % 100));
    assert_int_equal(keys_reading_new(&reading, keys, TYPES), 0);
    do {
        slices++;
        for (unsigned i = 0; i < 1000 && user < 2 * SLOTS; i++) {
            note(keys, user++, 7, 1 + (uint32_t)(random_next(&random) % 100));
            note(keys, random_next(&random) % user, 7, 1 + (uint32_t)(random_next(&random) % 4000));
        }
    } while (keys_reading_slice(reading, work));
    size_t count;
    struct hot_key *hot = keys_reading_take(reading, &count);
    assert_in_range(count, SLOTS / 4, SLOTS);
    /* Read, coded, at most four passes and their end, and given. */
    assert_in_range(slices, SLOTS / work + 3 * count / work, SLOTS / work + 6 * (count / work + 1) + 3);
    for (size_t i = 0; i < count; i++) {
        assert_true(hot[i].user < user && !seen[hot[i].user]);
        assert_true(hot[i].scope.id == 7 && hot[i].scope.type == 2);
        assert_true(hot[i].frequency > 0 &&
                    (i == 0 || keys_class(hot[i].frequency) >= keys_class(hot[i - 1].frequency)));
        seen[hot[i].user] = true;
    }
    free(hot);
    keys_free(keys);
    (void)close(descriptor);
}

/* What was hot is worn away by time, measured in notes of others, even where nobody wants its room. It stays known
 * until somebody does. */
static void test_old_keys_fade(void **state)
{
    (void)state;
    int descriptor = new_memory();
    struct keys *keys = opened(descriptor);
    const uint64_t round = 1u << 20; /* notes */
    note(keys, 1, 1, 800);
    for (uint64_t i = 1; i < round; i++)
        note(keys, 2, 2, KEYS_FILL);
    assert_int_equal(frequency_of(keys, 1, 1), 400);
    for (uint64_t i = 0; i < 11 * round; i++)
        note(keys, 2, 2, KEYS_FILL);
    assert_int_equal(frequency_of(keys, 1, 1), 1);
    assert_true(frequency_of(keys, 2, 2) > KEYS_FREQUENCY_MAX / 3);
    for (uint64_t user = 10; user < 10 + SLOTS / 4 * 3; user++)
        note(keys, user, 2, KEYS_SAMPLE); /* crowded, and most sets have a record left */
    for (uint64_t i = 0; i < round; i++)
        note(keys, 2, 2, KEYS_FILL);
    assert_int_equal(frequency_of(keys, 1, 1), 0);
    keys_free(keys);
    (void)close(descriptor);
}

/* ---- growing ----------------------------------------------------------------------------------------------------- */

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

/* ---- rubbish ----------------------------------------------------------------------------------------------------- */

/* Every bit of a record counts: with any of them turned it is no key, or it is the same key with another frequency. */
static void test_a_damaged_record_is_no_key(void **state)
{
    (void)state;
    int descriptor = new_memory();
    void *mapping = mapped(descriptor);
    struct keys *keys = opened(descriptor);
    uint32_t way;
    note(keys, 11, 22, 5);
    struct keys_set *set = first_record(sets_of(mapping), &way), good = *set;
    const struct {
        void *at;
        size_t size;
    } fields[] = {{&set->words[way], 4}, {&set->checks[way], 4}, {&set->names[way], 16}};
    for (size_t field = 0; field < 3; field++)
        for (size_t bit = 0; bit < 8 * fields[field].size; bit++) {
            *set = good;
            ((unsigned char *)fields[field].at)[bit / 8] ^= (unsigned char)(1u << bit % 8);
            bool only_frequency = field == 0 && KEYS_WORD_TYPE(set->words[way]) == 2;
            if (hottest(keys) == 0)
                assert_int_equal(set->words[way], 0); /* and its room is free */
            else
                assert_true(only_frequency && found[0].user == 11 && found[0].frequency <= KEYS_FREQUENCY_MAX);
        }
    keys_free(keys);
    (void)munmap(mapping, KEYS_SIZE);
    (void)close(descriptor);
}

static void copy_record(struct keys_set *to, uint32_t to_way, const struct keys_set *from, uint32_t way)
{
    to->words[to_way] = from->words[way];
    to->checks[to_way] = from->checks[way];
    to->names[to_way] = from->names[way];
}

static void test_a_key_elsewhere_or_twice_is_no_key(void **state)
{
    (void)state;
    int descriptor = new_memory();
    void *mapping = mapped(descriptor);
    struct keys *keys = opened(descriptor);
    struct keys_set *sets = sets_of(mapping);
    uint32_t way;
    note(keys, 11, 22, 5);
    struct keys_set *set = first_record(sets, &way);
    copy_record(set, KEYS_WAYS - 1, set, way);
    copy_record(set == sets ? set + 1 : set - 1, 0, set, way);
    assert_int_equal(hottest(keys), 1);
    assert_int_equal(set->words[KEYS_WAYS - 1], 0);
    keys_free(keys);
    (void)munmap(mapping, KEYS_SIZE);
    (void)close(descriptor);
}

static void test_types_of_another_time_are_forgotten(void **state)
{
    (void)state;
    int descriptor = new_memory();
    struct keys *keys = opened(descriptor);
    keys_note(keys, 1, (struct scope_key){.id = 1, .type = 14}, 5);
    note(keys, 2, 2, 1);
    assert_int_equal(keys_hottest(keys, 1000, found, 10), 2);
    assert_int_equal(hottest(keys), 1);
    assert_int_equal(found[0].user, 2);
    keys_free(keys);
    (void)close(descriptor);
}

static void fill_with_rubbish(void *memory, size_t size, uint64_t seed)
{
    struct random random = {seed};
    for (size_t at = 0; at < size; at += 8) {
        uint64_t word = random_next(&random);
        memcpy((char *)memory + at, &word, 8);
    }
}

static void test_rubbish_is_forgotten(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        int descriptor = new_memory();
        void *mapping = mapped(descriptor);
        struct keys *keys = opened(descriptor);
        bool whole = seed % 2 == 0; /* else the header is good */
        if (whole)
            fill_with_rubbish(mapping, KEYS_BYTES(KEYS_SETS_FIRST), seed);
        else
            fill_with_rubbish(sets_of(mapping), KEYS_BYTES(KEYS_SETS_FIRST) - KEYS_PAGE, seed);
        keys_free(keys);
        keys = opened(descriptor);
        if (seed % 4 < 2) /* rubbish is in the way of what is noted, and gives way */
            for (unsigned i = 0; i < 4 * KEYS_FREQUENCY_MAX + 4; i++)
                note(keys, 5, 6, 1);
        else
            assert_int_equal(hottest(keys), 0);
        note(keys, 5, 6, 1);
        assert_int_equal(hottest(keys), 1);
        assert_int_equal(found[0].user, 5);
        keys_free(keys);
        (void)munmap(mapping, KEYS_SIZE);
        (void)close(descriptor);
    }
}

static void test_another_layout_is_forgotten(void **state)
{
    (void)state;
    for (unsigned field = 0; field < 7; field++) {
        int descriptor = new_memory();
        struct keys_header *header = mapped(descriptor);
        struct keys *keys = opened(descriptor);
        note(keys, 5, 6, 1);
        keys_free(keys);
        switch (field) {
        case 0:
            header->magic = 0; /* as a worker leaves it that dies while it writes the header */
            break;
        case 1:
            header->layout++;
            break;
        case 2:
            header->set_size += 8;
            break;
        case 3:
            header->sets *= 2; /* more than the memory has */
            break;
        case 5:
            header->sets = UINT64_MAX;
            break;
        case 6:
            header->sets = KEYS_SETS_FIRST - 1;
            break;
        case 4:
            header->seed++; /* then no hash is right */
            break;
        }
        keys = opened(descriptor);
        assert_int_equal(hottest(keys), 0);
        note(keys, 5, 6, 1);
        assert_int_equal(hottest(keys), 1);
        keys_free(keys);
        (void)munmap(header, KEYS_SIZE);
        (void)close(descriptor);
    }
}

static void test_the_hottest_few(void **state)
{
    (void)state;
    static struct hot_key all[3000], few[40];
    int descriptor = new_memory();
    struct keys *keys = opened(descriptor);
    assert_int_equal(keys_top(keys, TYPES, few, 40), 0);
    for (uint64_t i = 0; i < 3000; i++)
        note(keys, i * 7919 % 3001, 10, (uint32_t)(1 + i * 7919 % 3001));
    assert_int_equal(keys_notes(keys), 3000);
    assert_int_equal(keys_top(keys, TYPES, few, 40), 40); /* nobody has read them yet */
    assert_true(few[39].frequency < few[0].frequency && few[39].frequency > 2900);
    size_t count = keys_hottest(keys, TYPES, all, 3000);
    assert_int_equal(keys_known(keys), count);
    assert_int_equal(keys_top(keys, TYPES, few, 0), 0);
    assert_int_equal(keys_top(keys, TYPES, few, 40), 40);
    for (size_t i = 0; i < 40; i++) {
        size_t hotter = 0;
        for (size_t k = 0; k < count; k++)
            hotter += all[k].frequency > few[i].frequency;
        assert_int_equal(hotter, i); /* no two are as frequent */
    }
    uint32_t highest = few[0].frequency;
    assert_int_equal(keys_top(keys, 1, few, 40), 0); /* no such types */
    struct keys_header *header = mapped(descriptor);
    for (struct keys_set *set = sets_of(header); set < sets_of(header) + KEYS_SETS_FIRST; set++)
        for (uint32_t way = 0; way < KEYS_WAYS; way++)
            if (set->words[way] == 0) { /* rubbish at the top of them all */
                set->words[way] = KEYS_WORD(2, KEYS_FREQUENCY_MAX);
                set->checks[way] = 1;
            }
    assert_int_equal(keys_top(keys, TYPES, few, 40), 40);
    assert_int_equal(few[0].frequency, highest);
    (void)munmap(header, KEYS_SIZE);
    keys_free(keys);
    keys = opened(descriptor);
    assert_int_equal(keys_known(keys), SLOTS); /* about */
    assert_int_equal(keys_hottest(keys, TYPES, all, 3000), count);
    assert_int_equal(keys_known(keys), count);
    keys_free(keys);
    (void)close(descriptor);
}

static void test_orders_survive(void **state)
{
    (void)state;
    int descriptor = new_memory();
    struct keys *keys = opened(descriptor);
    struct keys_order order = {.kind = 3, .priority = 9, .starts = 2, .id = UINT64_MAX, .scope = {7, 2}}, found_one;
    for (unsigned place = 0; place < KEYS_ORDERS_MAX; place++)
        assert_false(keys_order(keys, place, &found_one));
    keys_note_order(keys, 31, &order);
    keys_note_order(keys, 0, &order);
    keys_note_order(keys, 0, NULL);
    keys_free(keys);
    keys = opened(descriptor);
    assert_false(keys_order(keys, 0, &found_one));
    assert_true(keys_order(keys, 31, &found_one));
    assert_int_equal(found_one.kind, 3);
    assert_int_equal(found_one.priority, 9);
    assert_int_equal(found_one.starts, 2);
    assert_true(found_one.id == UINT64_MAX && scope_equal(found_one.scope, order.scope));
    struct keys_header *header = mapped(descriptor);
    header->orders[30] = header->orders[31]; /* it is of one place alone */
    assert_false(keys_order(keys, 30, &found_one));
    uint64_t *words = (uint64_t *)&header->orders[31];
    for (size_t i = 0; i < 4; i++) { /* rubbish, or a worker that died in between */
        words[i] ^= 1;
        assert_false(keys_order(keys, 31, &found_one));
        words[i] ^= 1;
        assert_true(keys_order(keys, 31, &found_one));
    }
    keys_belong_to(keys, STORE + 1);
    assert_false(keys_order(keys, 31, &found_one));
    (void)munmap(header, KEYS_SIZE);
    keys_free(keys);
    (void)close(descriptor);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_its_memory_is_known),
        cmocka_unit_test(test_its_size_stays),
        cmocka_unit_test(test_a_limit_of_files),
        cmocka_unit_test(test_hottest_first),
        cmocka_unit_test(test_they_outlive_the_worker),
        cmocka_unit_test(test_the_size_of_the_table_survives),
        cmocka_unit_test(test_a_frequency_has_a_bound),
        cmocka_unit_test(test_hot_keys_stay),
        cmocka_unit_test(test_noting_goes_on_between_slices),
        cmocka_unit_test(test_old_keys_fade),
        cmocka_unit_test(test_few_keys_are_lost),
        cmocka_unit_test(test_many_are_counted_bit_by_bit),
        cmocka_unit_test(test_no_set_is_divided_while_they_are_read),
        cmocka_unit_test(test_memory_is_for_keys),
        cmocka_unit_test(test_a_size_that_is_not_there),
        cmocka_unit_test(test_no_memory_to_grow),
        cmocka_unit_test(test_readings_that_do_not_end),
        cmocka_unit_test(test_keys_come_as_they_are_read),
        cmocka_unit_test(test_a_damaged_record_is_no_key),
        cmocka_unit_test(test_a_key_elsewhere_or_twice_is_no_key),
        cmocka_unit_test(test_types_of_another_time_are_forgotten),
        cmocka_unit_test(test_rubbish_is_forgotten),
        cmocka_unit_test(test_another_layout_is_forgotten),
        cmocka_unit_test(test_the_hottest_few),
        cmocka_unit_test(test_orders_survive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
