/* Keys: what is noted comes back, hottest first, to whoever opens the memory next; and whatever else is in the memory
 * costs time and nothing more. */
#include "proxy/keys/private.h"

#include "tests/support/keys_hottest.h"
#include "tests/support/random.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define STORE 77u
#define TYPES 3u

static struct hot_key found[KEYS_SLOTS];

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
    return keys;
}

static void note(struct keys *keys, uint64_t user, uint64_t place, uint32_t weight)
{
    keys_note(keys, user, (struct scope_key){.id = place, .type = 2}, weight);
}

static size_t hottest(struct keys *keys)
{
    return keys_hottest(keys, TYPES, found, KEYS_SLOTS);
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

static struct keys_record *records_of(void *mapping)
{
    return (struct keys_record *)(void *)((char *)mapping + KEYS_PAGE);
}

static struct keys_record *first_record(struct keys_record *records)
{
    uint32_t slot = 0;
    while (slot < KEYS_SLOTS && records[slot].word == 0)
        slot++;
    assert_true(slot < KEYS_SLOTS);
    return &records[slot];
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
    assert_int_equal(found[1].user, 1);
    assert_int_equal(found[1].frequency, KEYS_SAMPLE - 1);
    assert_int_equal(found[2].scope.type, 1);
    assert_int_equal(found[3].scope.type, 2);
    assert_int_equal(found[3].scope.id, 30);
    assert_int_equal(keys_hottest(keys, TYPES, found, 2), 2);
    assert_int_equal(found[0].user, 2);
    assert_int_equal(found[1].user, 1);
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
    for (uint64_t i = 0; i < 10 * (uint64_t)KEYS_SLOTS; i++) {
        note(keys, 1000000 + i, i, KEYS_FILL);
        if (i % 10 == 0)
            note(keys, i / 10 % 1000, 5, KEYS_SAMPLE);
    }
    size_t count = hottest(keys), hot = 0;
    assert_true(count > KEYS_SLOTS / 2 && count <= KEYS_SLOTS);
    for (size_t i = 0; i < 1000; i++)
        hot += found[i].user < 1000;
    assert_true(hot >= 990);
    for (size_t i = 1; i < count; i++)
        assert_true(found[i - 1].frequency >= found[i].frequency);
    keys_free(keys);
    (void)close(descriptor);
}

/* Keys are noted between all slices, in the end as many as there is room for. What is found is a key each, whole, once,
 * and sorted; and no slice does more than it may. */
static void test_noting_goes_on_between_slices(void **state)
{
    (void)state;
    const uint32_t work = 1000;
    static bool seen[2 * KEYS_SLOTS];
    int descriptor = new_memory();
    struct keys *keys = opened(descriptor);
    struct keys_reading *reading;
    struct random random = {5};
    uint64_t user = 0;
    unsigned slices = 0;
    memset(seen, 0, sizeof seen);
    while (user < KEYS_SLOTS / 2)
        note(keys, user++, 7, 1 + (uint32_t)(random_next(&random) % 100));
    assert_int_equal(keys_reading_new(&reading, keys, TYPES), 0);
    do {
        slices++;
        for (unsigned i = 0; i < 1000 && user < 2 * KEYS_SLOTS; i++) {
            note(keys, user++, 7, 1 + (uint32_t)(random_next(&random) % 100));
            note(keys, random_next(&random) % user, 7, 1 + (uint32_t)(random_next(&random) % 4000));
        }
    } while (keys_reading_slice(reading, work));
    size_t count;
    struct hot_key *hot = keys_reading_take(reading, &count);
    assert_in_range(count, KEYS_SLOTS / 4, KEYS_SLOTS);
    assert_int_equal(slices, KEYS_SLOTS / work + 1 + count / work + (count % work != 0));
    for (size_t i = 0; i < count; i++) {
        assert_true(hot[i].user < user && !seen[hot[i].user]);
        assert_true(hot[i].scope.id == 7 && hot[i].scope.type == 2);
        assert_true(hot[i].frequency > 0 && (i == 0 || hot[i].frequency <= hot[i - 1].frequency));
        seen[hot[i].user] = true;
    }
    free(hot);
    keys_free(keys);
    (void)close(descriptor);
}

/* What was hot is worn away by time, measured in notes of others, even where nobody wants its room. */
static void test_old_keys_fade(void **state)
{
    (void)state;
    int descriptor = new_memory();
    struct keys *keys = opened(descriptor);
    note(keys, 1, 1, 800);
    for (uint64_t i = 0; i < 16 * (uint64_t)KEYS_SETS; i++)
        note(keys, 2, 2, KEYS_FILL);
    assert_int_equal(frequency_of(keys, 1, 1), 400);
    for (uint64_t i = 0; i < 11 * 16 * (uint64_t)KEYS_SETS; i++)
        note(keys, 2, 2, KEYS_FILL);
    assert_int_equal(frequency_of(keys, 1, 1), 0);
    assert_true(frequency_of(keys, 2, 2) > KEYS_FREQUENCY_MAX / 3);
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
    note(keys, 11, 22, 5);
    struct keys_record *record = first_record(records_of(mapping)), good = *record;
    for (size_t bit = 0; bit < 8 * sizeof good; bit++) {
        *record = good;
        ((unsigned char *)record)[bit / 8] ^= (unsigned char)(1u << bit % 8);
        size_t count = hottest(keys);
        bool only_frequency = record->user == good.user && record->scope_id == good.scope_id &&
                              record->check == good.check && KEYS_WORD_TYPE(record->word) == 2;
        if (count == 0)
            assert_int_equal(record->word, 0); /* and its room is free */
        else
            assert_true(only_frequency && found[0].user == 11 && found[0].frequency <= KEYS_FREQUENCY_MAX);
    }
    keys_free(keys);
    (void)munmap(mapping, KEYS_SIZE);
    (void)close(descriptor);
}

static void test_a_key_elsewhere_or_twice_is_no_key(void **state)
{
    (void)state;
    int descriptor = new_memory();
    void *mapping = mapped(descriptor);
    struct keys *keys = opened(descriptor);
    struct keys_record *records = records_of(mapping);
    note(keys, 11, 22, 5);
    struct keys_record *record = first_record(records);
    uint32_t set = (uint32_t)(record - records) / KEYS_WAYS;
    records[set * KEYS_WAYS + 3] = *record;
    records[(set + 1) % KEYS_SETS * KEYS_WAYS] = *record;
    assert_int_equal(hottest(keys), 1);
    assert_int_equal(records[set * KEYS_WAYS + 3].word, 0);
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
            fill_with_rubbish(mapping, KEYS_SIZE, seed);
        else
            fill_with_rubbish(records_of(mapping), KEYS_SIZE - KEYS_PAGE, seed);
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
    for (unsigned field = 0; field < 5; field++) {
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
            header->record_size += 8;
            break;
        case 3:
            header->sets *= 2;
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
    size_t count = keys_hottest(keys, TYPES, all, 3000);
    assert_int_equal(keys_known(keys), count);
    assert_int_equal(keys_top(keys, TYPES, few, 0), 0);
    assert_int_equal(keys_top(keys, TYPES, few, 40), 40);
    for (size_t i = 0; i < 40; i++) {
        assert_int_equal(few[i].frequency, all[i].frequency);
        assert_true(i == 0 || few[i].user != few[i - 1].user);
    }
    assert_int_equal(keys_top(keys, 1, few, 40), 0); /* no such types */
    struct keys_header *header = mapped(descriptor);
    struct keys_record *records = (struct keys_record *)(void *)((char *)header + KEYS_PAGE);
    for (size_t slot = 0; slot < KEYS_SLOTS; slot++) /* rubbish at the top of them all */
        if (records[slot].word == 0)
            records[slot] = (struct keys_record){slot, slot, 1, KEYS_WORD(2, KEYS_FREQUENCY_MAX)};
    assert_int_equal(keys_top(keys, TYPES, few, 40), 40);
    assert_int_equal(few[0].frequency, all[0].frequency);
    (void)munmap(header, KEYS_SIZE);
    keys_free(keys);
    keys = opened(descriptor);
    assert_int_equal(keys_known(keys), KEYS_SLOTS); /* about */
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
        cmocka_unit_test(test_hottest_first),
        cmocka_unit_test(test_they_outlive_the_worker),
        cmocka_unit_test(test_the_size_of_the_table_survives),
        cmocka_unit_test(test_a_frequency_has_a_bound),
        cmocka_unit_test(test_hot_keys_stay),
        cmocka_unit_test(test_noting_goes_on_between_slices),
        cmocka_unit_test(test_old_keys_fade),
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
