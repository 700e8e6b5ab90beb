/* Whatever else is in the memory of keys costs time and nothing more. */
#include "tests/unit/keys/keys_fixture.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_damaged_record_is_no_key),
        cmocka_unit_test(test_a_key_elsewhere_or_twice_is_no_key),
        cmocka_unit_test(test_types_of_another_time_are_forgotten),
        cmocka_unit_test(test_rubbish_is_forgotten),
        cmocka_unit_test(test_another_layout_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
