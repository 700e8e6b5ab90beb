/* permtab_shm_look_home, the straight line of a hit: what it finds, what it leaves to permtab_shm_check_apart, and that
 * what it has found is looked at again, whatever the writer does after any of its loads. */
#define PERMTAB_LOAD_HOOK
#include "shm/reader.h"

#include "shm/map.h"
#include "shm/segment.h"
#include "shm/set.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define SCOPE 7u
#define TYPE  1u

/* The hook has no argument. After so many loads the writer has its turn, and after so many more its second one; 0:
 * never. */
static struct {
    uint32_t loads, more;
    void (*turn)(void *context);
    void (*second)(void *context);
    void *context;
} writer;

void permtab_load_hook(void);

void permtab_load_hook(void)
{
    if (writer.loads == 0 || --writer.loads > 0)
        return;
    void (*turn)(void *context) = writer.turn;
    writer.turn = writer.second;
    writer.loads = writer.more;
    writer.more = 0;
    turn(writer.context);
}

struct bench {
    struct segment segment;
    struct map map;
    uint32_t home; /* the bucket in which all entries of these tests begin */
    uint64_t users[PERMTAB_SHM_SLOTS + 1];
    uint32_t at; /* the slot that the never_tells tests are about, counted from the home bucket's first */
    struct map_key other; /* who gets the first user's slot, with a set of this index */
    uint32_t other_index;
};

static uint32_t home_of(const struct bench *bench, uint64_t user, uint64_t scope, uint32_t type)
{
    uint32_t first, end;
    map_window(&bench->map, (struct map_key){user, scope, type}, &first, &end);
    return first / PERMTAB_SHM_SLOTS;
}

/* Set n allows nothing but permission n. */
static void write_set(struct segment *segment, uint32_t index)
{
    uint64_t bits[2] = {1ull << index, 0};
    set_close_writer(segment, index);
    set_write_writer(segment, index, bits, bits);
    set_open_writer(segment, index);
}

static int set_up(void **state)
{
    static const struct segment_options small = {
        .permissions_max = 128, .entries = 100, .sets = 4, .folds = 10, .targets = 4, .store_id = 1};
    static struct bench bench;
    assert_int_equal(segment_new(&bench.segment, &small), 0);
    bench.map =
        (struct map){bench.segment.map, bench.segment.table.map_buckets, bench.segment.table.hash_seed};
    bench.at = 1;
    bench.home = home_of(&bench, 1, SCOPE, TYPE);
    bench.users[0] = 1;
    for (uint32_t n = 1; n <= PERMTAB_SHM_SLOTS; n++) {
        bench.users[n] = bench.users[n - 1] + 1;
        while (home_of(&bench, bench.users[n], SCOPE, TYPE) != bench.home)
            bench.users[n]++;
    }
    for (uint32_t index = 1; index <= small.sets; index++)
        write_set(&bench.segment, index);
    *state = &bench;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *bench = *state;
    segment_free(&bench->segment);
    return 0;
}

/* Puts an entry into the slot of the home bucket, or of those behind it. */
static void put(struct bench *bench, uint32_t slot, uint64_t user, uint64_t scope, uint32_t type, uint32_t index)
{
    map_insert_writer(&bench->map, bench->home * PERMTAB_SHM_SLOTS + slot,
                      (struct map_key){user, scope, type}, index);
}

static bool look_home(struct bench *bench, uint64_t user, uint32_t type, struct permtab_shm_look *look)
{
    const struct permtab_shm_table *table = &bench->segment.table;
    const struct permtab_shm_bucket *home = &bench->segment.map[home_of(bench, user, SCOPE, type)];
    const struct permtab_shm_kind kind = permtab_shm_kind_of(table->hash_seed, type);
    return permtab_shm_look_home(table, home, user, SCOPE, &kind, look);
}

/* What a whole check says: the permission that is allowed, 0 for a miss, -1 for busy. */
static int checked(struct bench *bench, uint64_t user, uint32_t type)
{
    int answer = 0;
    for (uint32_t permission = 1; permission <= 4; permission++) {
        bool allowed = false;
        enum permtab_shm_found found =
            permtab_shm_check(&bench->segment.table, user, SCOPE, type, permission, false, &allowed);
        if (found == PERMTAB_SHM_BUSY)
            return -1;
        if (found == PERMTAB_SHM_FOUND && allowed)
            answer = (int)permission;
    }
    return answer;
}

static void finds_each_slot(void **state)
{
    struct bench *bench = *state;
    for (uint32_t slot = 0; slot < PERMTAB_SHM_SLOTS; slot++)
        put(bench, slot, bench->users[slot], SCOPE, TYPE, slot + 1);
    for (uint32_t slot = 0; slot < PERMTAB_SHM_SLOTS; slot++) {
        struct permtab_shm_look look;
        assert_true(look_home(bench, bench->users[slot], TYPE, &look));
        assert_ptr_equal(look.entry.bucket, &bench->segment.map[bench->home]);
        assert_int_equal(look.entry.slot, slot);
        assert_int_equal(look.entry.word, PERMTAB_SHM_WORD(TYPE, slot + 1));
        assert_ptr_equal(look.set, set_at(&bench->segment, slot + 1));
        assert_true(permtab_shm_look_holds(&look));
        assert_int_equal(checked(bench, bench->users[slot], TYPE), slot + 1);
    }
}

/* Whoever is in none of the slots is not taken for the last one's user. */
static void leaves_who_is_not_there(void **state)
{
    struct bench *bench = *state;
    struct permtab_shm_look look;
    for (uint32_t slot = 0; slot < PERMTAB_SHM_SLOTS; slot++)
        put(bench, slot, bench->users[slot], SCOPE, TYPE, slot + 1);
    assert_false(look_home(bench, bench->users[PERMTAB_SHM_SLOTS], TYPE, &look));
    assert_int_equal(checked(bench, bench->users[PERMTAB_SHM_SLOTS], TYPE), 0);
}

/* A client that has left a table has zero pages in its place, in which user 0 at global:0 has every key and an even
 * sequence. */
static void leaves_zero_pages(void **state)
{
    static const struct permtab_shm_bucket buckets[PERMTAB_SHM_WINDOW];
    static const uint64_t sets[16];
    const struct permtab_shm_table table = {
        .map = buckets, .sets = (const char *)sets, .map_buckets = 1, .set_count = 2, .set_stride = 64,
        .first_set = (const char *)(sets + 8), .named_sets = 1};
    const struct permtab_shm_kind kind = permtab_shm_kind_of(0, 0);
    struct permtab_shm_look look;
    (void)state;
    assert_false(permtab_shm_look_home(&table, buckets, 0, 0, &kind, &look));
}

/* What it leaves is found all the same. */
static void leaves_what_lies_elsewhere(void **state)
{
    struct bench *bench = *state;
    struct permtab_shm_look look;
    uint64_t user = bench->users[0], scope = SCOPE + 1;
    put(bench, PERMTAB_SHM_SLOTS, user, SCOPE, TYPE, 1); /* in the next bucket */
    assert_false(look_home(bench, user, TYPE, &look));
    assert_int_equal(checked(bench, user, TYPE), 1);
    map_clear_writer(&bench->map, (bench->home + 1) * PERMTAB_SHM_SLOTS);
    while (home_of(bench, user, scope, TYPE) != bench->home)
        scope++;
    put(bench, 0, user, scope, TYPE, 3); /* the same user somewhere else, before it */
    put(bench, 1, user, SCOPE, TYPE, 2);
    assert_false(look_home(bench, user, TYPE, &look));
    assert_int_equal(checked(bench, user, TYPE), 2);
}

/* A slot that an entry has left keeps its key. */
static void leaves_what_was_moved_within_the_bucket(void **state)
{
    struct bench *bench = *state;
    struct permtab_shm_look look;
    uint32_t first = bench->home * PERMTAB_SHM_SLOTS;
    put(bench, 0, bench->users[0], SCOPE, TYPE, 4);
    map_move_writer(&bench->map, first, first + 2);
    assert_false(look_home(bench, bench->users[0], TYPE, &look));
    assert_int_equal(checked(bench, bench->users[0], TYPE), 4);
}

/* Type 0 makes the word of a free slot one of its own, but for the index. */
static void leaves_other_types_and_free_slots(void **state)
{
    struct bench *bench = *state;
    struct permtab_shm_look look;
    uint64_t user = 1;
    while (home_of(bench, user, SCOPE, 0) != bench->home)
        user++;
    put(bench, 0, user, SCOPE, 0, 1);
    assert_true(look_home(bench, user, 0, &look));
    for (uint32_t type = 1; type < PERMTAB_SHM_SCOPE_TYPES; type++) {
        const struct permtab_shm_kind kind = permtab_shm_kind_of(bench->segment.table.hash_seed, type);
        assert_false(permtab_shm_look_home(&bench->segment.table, &bench->segment.map[bench->home], user,
                                           SCOPE, &kind, &look));
        assert_int_equal(checked(bench, user, type), 0);
    }
    map_clear_writer(&bench->map, bench->home * PERMTAB_SHM_SLOTS);
    assert_false(look_home(bench, user, 0, &look));
    assert_int_equal(checked(bench, user, 0), 0);
}

static void leaves_what_is_being_changed(void **state)
{
    struct bench *bench = *state;
    struct permtab_shm_look look;
    uint64_t user = bench->users[0];
    uint32_t *sequence = &bench->segment.map[bench->home].sequence;
    put(bench, 1, user, SCOPE, TYPE, 1);
    permtab_shm_store32(sequence, *sequence + 1);
    assert_false(look_home(bench, user, TYPE, &look));
    assert_int_equal(checked(bench, user, TYPE), -1);
    permtab_shm_store32(sequence, *sequence + 1);
    assert_true(look_home(bench, user, TYPE, &look));
    set_close_writer(&bench->segment, 1);
    assert_false(look_home(bench, user, TYPE, &look));
    assert_int_equal(checked(bench, user, TYPE), -1);
}

static void leaves_an_index_out_of_bounds(void **state)
{
    struct bench *bench = *state;
    struct permtab_shm_look look;
    put(bench, 0, bench->users[0], SCOPE, TYPE, bench->segment.table.set_count - 1);
    assert_true(look_home(bench, bench->users[0], TYPE, &look));
    put(bench, 1, bench->users[1], SCOPE, TYPE, bench->segment.table.set_count);
    put(bench, 2, bench->users[2], SCOPE, TYPE, PERMTAB_SHM_INDEX_MASK);
    for (uint32_t n = 1; n <= 2; n++) {
        assert_false(look_home(bench, bench->users[n], TYPE, &look));
        assert_int_equal(checked(bench, bench->users[n], TYPE), 0);
    }
}

/* Step 5 sees whatever moved since. */
static void holds_only_what_stayed(void **state)
{
    struct bench *bench = *state;
    struct permtab_shm_look look;
    uint64_t user = bench->users[0];
    uint32_t slot = bench->home * PERMTAB_SHM_SLOTS + 1;
    put(bench, 1, user, SCOPE, TYPE, 1);
    assert_true(look_home(bench, user, TYPE, &look));
    map_replace_writer(&bench->map, slot, 2);
    assert_false(permtab_shm_look_holds(&look));
    assert_true(look_home(bench, user, TYPE, &look));
    write_set(&bench->segment, 2);
    assert_false(permtab_shm_look_holds(&look));
    assert_true(look_home(bench, user, TYPE, &look));
    put(bench, 2, bench->users[1], SCOPE, TYPE, 3);
    assert_false(permtab_shm_look_holds(&look));
    assert_true(look_home(bench, user, TYPE, &look));
    map_clear_writer(&bench->map, slot);
    assert_false(permtab_shm_look_holds(&look));
    assert_false(look_home(bench, user, TYPE, &look));
}

/* ---- turns of the writer; the first user's entry is in slot 1, with set 1 ---- */

static void rewrite_to_all(struct bench *bench, uint32_t index)
{
    const uint64_t all[2] = {UINT64_MAX, UINT64_MAX};
    set_close_writer(&bench->segment, index);
    set_write_writer(&bench->segment, index, all, all);
    set_open_writer(&bench->segment, index);
}

/* The user loses the entry, and the set goes on to another life in which it allows everything. */
static void revoke_and_use_again(void *context)
{
    struct bench *bench = context;
    map_clear_writer(&bench->map, bench->home * PERMTAB_SHM_SLOTS + bench->at);
    rewrite_to_all(bench, 1);
}

/* The slot too: another key is in it now, and may do everything. With index 1 the slot's word is what it was. */
static void give_slot_away(void *context)
{
    struct bench *bench = context;
    map_clear_writer(&bench->map, bench->home * PERMTAB_SHM_SLOTS + bench->at);
    rewrite_to_all(bench, bench->other_index);
    put(bench, bench->at, bench->other.key0, bench->other.key1, bench->other.type, bench->other_index);
}

/* Slot, word and set are what they were before they were given away. */
static void give_slot_back(void *context)
{
    struct bench *bench = context;
    map_clear_writer(&bench->map, bench->home * PERMTAB_SHM_SLOTS + bench->at);
    write_set(&bench->segment, 1);
    put(bench, bench->at, bench->users[0], SCOPE, TYPE, 1);
}

/* The entry names another set for a while, in which its own has another life. The bucket's sequence stays. */
static void name_another_set(void *context)
{
    struct bench *bench = context;
    map_replace_writer(&bench->map, bench->home * PERMTAB_SHM_SLOTS + bench->at, 3);
    rewrite_to_all(bench, 1);
}

static void name_own_set(void *context)
{
    struct bench *bench = context;
    write_set(&bench->segment, 1);
    map_replace_writer(&bench->map, bench->home * PERMTAB_SHM_SLOTS + bench->at, 1);
}

struct turns {
    void (*first)(void *context);
    void (*second)(void *context);
};

/* One check with the writer's turns in it, the second `more` loads after the first; 0: there is none. The user has
 * what set 1 allows, or nothing; permission 2 at no time. False when the check was over before all turns were had. */
static bool check_between(struct bench *bench, struct turns turns, uint32_t loads, uint32_t more)
{
    uint32_t slot = bench->home * PERMTAB_SHM_SLOTS + bench->at;
    bool allowed = false;
    write_set(&bench->segment, 1);
    put(bench, bench->at, bench->users[0], SCOPE, TYPE, 1);
    writer.context = bench;
    writer.turn = turns.first;
    writer.second = turns.second;
    writer.more = more;
    writer.loads = loads;
    enum permtab_shm_found found =
        permtab_shm_check(&bench->segment.table, bench->users[0], SCOPE, TYPE, 2, false, &allowed);
    bool all_had = writer.loads == 0;
    writer.loads = 0;
    assert_false(found == PERMTAB_SHM_FOUND && allowed);
    if (map_word(&bench->map, slot) != 0)
        map_clear_writer(&bench->map, slot);
    return all_had;
}

/* After any load. Returns how many there are. */
static uint32_t check_with_one_turn(struct bench *bench, struct turns turns)
{
    uint32_t loads = 0;
    while (check_between(bench, turns, loads + 1, 0))
        loads++;
    assert_in_range(loads, 10, 100); /* the straight line has so many, at least */
    return loads;
}

/* After any load and for good, and between any two loads alone. */
static void check_with_turns(struct bench *bench, struct turns turns)
{
    uint32_t all = check_with_one_turn(bench, turns);
    for (uint32_t loads = 1; loads <= all; loads++) {
        uint32_t more = 1;
        while (check_between(bench, turns, loads, more))
            more++;
    }
}

static void never_tells_of_a_later_life(void **state)
{
    (void)check_with_one_turn(*state, (struct turns){.first = revoke_and_use_again});
    check_with_turns(*state, (struct turns){name_another_set, name_own_set});
}

static void never_tells_of_another_key(struct bench *bench)
{
    for (bench->other_index = 1; bench->other_index <= 2; bench->other_index++)
        check_with_turns(bench, (struct turns){give_slot_away, give_slot_back});
}

static void never_tells_of_another_user(void **state)
{
    struct bench *bench = *state;
    bench->other = (struct map_key){bench->users[1], SCOPE, TYPE};
    never_tells_of_another_key(bench);
}

/* The same user's, so that half of the key stays. */
static void never_tells_of_another_scope(void **state)
{
    struct bench *bench = *state;
    bench->other = (struct map_key){bench->users[0], SCOPE + 1, TYPE};
    while (home_of(bench, bench->other.key0, bench->other.key1, TYPE) != bench->home)
        bench->other.key1++;
    never_tells_of_another_key(bench);
}

/* The next bucket has a straight line of its own. */
static int set_up_next(void **state)
{
    int code = set_up(state);
    ((struct bench *)*state)->at = PERMTAB_SHM_SLOTS + 1;
    return code;
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define NEXT_TEST(name) {#name " (next bucket)", name, set_up_next, tear_down, NULL}
    const struct CMUnitTest tests[] = {
        TEST(finds_each_slot),
        TEST(leaves_who_is_not_there),
        TEST(leaves_zero_pages),
        TEST(leaves_what_lies_elsewhere),
        TEST(leaves_what_was_moved_within_the_bucket),
        TEST(leaves_other_types_and_free_slots),
        TEST(leaves_what_is_being_changed),
        TEST(leaves_an_index_out_of_bounds),
        TEST(holds_only_what_stayed),
        TEST(never_tells_of_a_later_life),
        TEST(never_tells_of_another_user),
        TEST(never_tells_of_another_scope),
        NEXT_TEST(never_tells_of_a_later_life),
        NEXT_TEST(never_tells_of_another_user),
        NEXT_TEST(never_tells_of_another_scope),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
