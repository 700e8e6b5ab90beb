/* Entries that make room in a full table, where it also happens that a window is full and nothing in it can be moved
 * on. That is rare, and chance does not bring it about here: the ids are chosen so that it happens. */
#include "proxy/table/table.h"
#include "tests/support/memory_policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ENTRIES 1000u
#define PART    (ENTRIES / 8 + 1) /* of the table that is the strangers' */
#define WINDOW  (PERMTAB_SHM_WINDOW * PERMTAB_SHM_SLOTS)

static const struct scope_key server = {1, 1};

struct fixture {
    struct table *table;
    struct scope_node *node;
    uint32_t set;
    uint64_t next_user[2]; /* by whether they live in the last window */
    struct made_room made_room;
};

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    struct publisher_options options = {.permissions_max = 64,
                                        .entries = ENTRIES * 9 / 7 + 1,
                                        .sets = 10,
                                        .folds = 1,
                                        .max_staleness_ns = 1000000000};
    struct memory_policy policy;
    struct catalogue catalogue;
    struct inputs inputs = {0};
    struct role_list none = {0};
    memory_policy_init(&policy);
    memory_catalogue(&policy, 1, &catalogue);
    assert_int_equal(table_new(&fixture->table, &options, 7), 0);
    fixture->table->entries_max = ENTRIES; /* at a load of 0.70, where windows are full only on purpose */
    fixture->table->negatives_max = PART;
    struct role_sources sources = {&fixture->table->sets, &none, NULL};
    fixture->node = scope_tree_put(&fixture->table->scopes, server, NULL);
    fixture->node->pins++;
    fixture->set = set_table_add(&sources, &catalogue, &inputs, 1);
    assert_int_not_equal(fixture->set, 0);
    set_table_hold(&fixture->table->sets, fixture->set);
    fixture->next_user[0] = fixture->next_user[1] = 1;
    catalogue_fini(&catalogue);
    memory_policy_fini(&policy);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    table_free(fixture->table);
    free(fixture);
    return 0;
}

/* The window behind which there is nothing: no hole can be brought there. Others stay clear of it. */
static uint64_t another_user(struct fixture *fixture, bool last)
{
    uint32_t first, end, count = map_slot_count(&fixture->table->map);
    for (;;) {
        uint64_t user = fixture->next_user[last]++;
        map_window(&fixture->table->map, (struct map_key){user, server.id, server.type}, &first, &end);
        if (last ? end == count : end <= count - WINDOW)
            return user;
    }
}

static bool put(struct fixture *fixture, enum entry_kind kind, bool last)
{
    return table_put(fixture->table, another_user(fixture, last), fixture->node, fixture->set, kind, 1,
                     &fixture->made_room);
}

static void put_many(struct fixture *fixture, unsigned count, enum entry_kind kind, bool last)
{
    while (count-- > 0)
        assert_true(put(fixture, kind, last));
}

static uint64_t count(const struct fixture *fixture, enum entry_kind kind)
{
    return fixture->table->entries.queue[kind].count;
}

static void assert_counts(const struct fixture *fixture, uint64_t known, uint64_t strangers)
{
    if (count(fixture, ENTRY_POSITIVE) != known || count(fixture, ENTRY_NEGATIVE) != strangers)
        fail_msg("%u known and %u strangers", (unsigned)count(fixture, ENTRY_POSITIVE),
                 (unsigned)count(fixture, ENTRY_NEGATIVE));
}

/* Full of known ones: the whole last window, too. */
static void fill_with_known(struct fixture *fixture)
{
    put_many(fixture, ENTRIES - WINDOW, ENTRY_POSITIVE, false);
    put_many(fixture, WINDOW, ENTRY_POSITIVE, true);
    assert_counts(fixture, ENTRIES, 0);
}

/* A known one makes room while strangers have less than their part, and where that is of no use, because the window
 * is full, another known one in the window: so one place stays free, which the next stranger may take. That makes
 * one more than their part; from then on strangers make room everywhere, and no known one goes any more. */
static void strangers_have_one_more_than_their_part(void **state)
{
    struct fixture *fixture = *state;
    fill_with_known(fixture);
    put_many(fixture, PART - WINDOW, ENTRY_NEGATIVE, false);
    assert_counts(fixture, ENTRIES - (PART - WINDOW), PART - WINDOW);
    put_many(fixture, WINDOW, ENTRY_NEGATIVE, true);
    assert_counts(fixture, ENTRIES - PART - 1, PART);
    for (int i = 0; i < 1000; i++) {
        put_many(fixture, 1, ENTRY_NEGATIVE, i % 3 == 2);
        assert_int_equal(count(fixture, ENTRY_POSITIVE), ENTRIES - PART - 1);
        assert_in_range(count(fixture, ENTRY_NEGATIVE), PART, PART + 1);
    }
}

/* A stranger who would be more than their part does without, where the window is full of known ones. */
static void a_window_of_known_ones_stays_theirs(void **state)
{
    struct fixture *fixture = *state;
    put_many(fixture, 800 - WINDOW, ENTRY_POSITIVE, false);
    put_many(fixture, WINDOW, ENTRY_POSITIVE, true);
    put_many(fixture, ENTRIES - 800, ENTRY_NEGATIVE, false);
    assert_false(put(fixture, ENTRY_NEGATIVE, true));
    assert_counts(fixture, 800, ENTRIES - 800 - 1);
}

/* A known one takes the place of a stranger, as long as there are more of these than their part, and then of the
 * oldest known one; in a full window, too. */
static void known_ones_take_their_place_back(void **state)
{
    struct fixture *fixture = *state;
    put_many(fixture, 700, ENTRY_POSITIVE, false);
    put_many(fixture, ENTRIES - 700 - WINDOW, ENTRY_NEGATIVE, false);
    put_many(fixture, WINDOW, ENTRY_NEGATIVE, true);
    for (unsigned i = 1; i <= WINDOW; i++) {
        put_many(fixture, 1, ENTRY_POSITIVE, true);
        assert_int_equal(count(fixture, ENTRY_POSITIVE), 700 + i);
    }
    put_many(fixture, 1000, ENTRY_POSITIVE, false);
    assert_counts(fixture, ENTRIES - PART, PART);
}

static bool put_user(struct fixture *fixture, uint64_t user, enum entry_kind kind)
{
    return table_put(fixture->table, user, fixture->node, fixture->set, kind, 1, &fixture->made_room);
}

/* What made room and is asked for again is counted, once each time; what was never there, or is there still, is not,
 * and no stranger is. */
static void those_who_come_back_are_counted(void **state)
{
    struct fixture *fixture = *state;
    for (uint64_t user = 1; user <= ENTRIES; user++)
        assert_true(put_user(fixture, user, ENTRY_POSITIVE));
    assert_true(put_user(fixture, ENTRIES, ENTRY_POSITIVE));
    assert_int_equal(fixture->made_room.evicted, 0);
    assert_true(put_user(fixture, ENTRIES + 1, ENTRY_POSITIVE)); /* in the place of user 1 */
    assert_int_equal(fixture->made_room.evicted, 1);
    assert_int_equal(fixture->made_room.returned, 0);
    assert_true(put_user(fixture, 1, ENTRY_POSITIVE)); /* in that of user 2 */
    assert_int_equal(fixture->made_room.returned, 1);
    assert_true(put_user(fixture, 1, ENTRY_POSITIVE));
    assert_int_equal(fixture->made_room.returned, 1);
    assert_true(put_user(fixture, 2, ENTRY_NEGATIVE)); /* in that of user 3 */
    assert_int_equal(fixture->made_room.returned, 1);
    assert_true(put_user(fixture, 3, ENTRY_POSITIVE));
    assert_int_equal(fixture->made_room.returned, 2);
}

static void strangers_leave_no_ghosts(void **state)
{
    struct fixture *fixture = *state;
    for (uint64_t user = 1; user <= 3 * ENTRIES; user++)
        assert_true(put_user(fixture, user, ENTRY_NEGATIVE));
    assert_true(fixture->made_room.evicted > ENTRIES);
    for (uint64_t user = 1; user <= 3 * ENTRIES; user++)
        assert_true(put_user(fixture, user, ENTRY_POSITIVE));
    /* The known ones make room for each other, but none of them comes back. */
    assert_int_equal(fixture->made_room.returned, 0);
}

/* In a full window, too, who is in use stays, and another leaves. */
static void a_full_window_keeps_who_is_in_use(void **state)
{
    struct fixture *fixture = *state;
    struct sieve *sieve = &fixture->table->entries.sieve;
    uint32_t count = map_slot_count(&fixture->table->map);
    fill_with_known(fixture);
    for (uint32_t slot = count - WINDOW; slot < count; slot++)
        if (slot != count - 5)
            assert_true(sieve_use(sieve, slot));
    uint64_t leaves = map_key_at(&fixture->table->map, count - 5).key0;
    put_many(fixture, 1, ENTRY_POSITIVE, true);
    assert_int_not_equal(map_key_at(&fixture->table->map, count - 5).key0, leaves);
    assert_int_equal(sieve->used, WINDOW - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(strangers_have_one_more_than_their_part),
        T(a_window_of_known_ones_stays_theirs),
        T(known_ones_take_their_place_back),
        T(those_who_come_back_are_counted),
        T(strangers_leave_no_ghosts),
        T(a_full_window_keeps_who_is_in_use),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
