/* Keys: what is noted comes back, hottest first, to whoever opens the memory next. Growing is for test_keys_grow.c, and
 * what else may be in the memory for test_keys_rubbish.c. */
#include "tests/unit/keys/keys_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>

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
        cmocka_unit_test(test_the_hottest_few),
        cmocka_unit_test(test_orders_survive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
