/* The sieve against a slow one: an array of who is in the queue, from old to new, and the rules in plain words. Entries
 * come, are used, leave for other reasons than the hand's, and change their slots, in every order. */
#include "proxy/table/entries.h"
#include "tests/support/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define SLOTS 200u

/* ---- the slow one ------------------------------------------------------------------------------------------------ */

struct slow_entry {
    uint32_t slot;
    unsigned laps;
};

struct slow {
    struct slow_entry entries[SLOTS]; /* from old to new */
    uint32_t count;
    uint32_t hand; /* a place in the array */
    bool at_end;   /* past the newest */
    uint32_t lap;  /* entries that made room in this one */
    unsigned used_max;
};

static unsigned slow_used(const struct slow *slow)
{
    unsigned used = 0;
    for (uint32_t i = 0; i < slow->count; i++)
        used += slow->entries[i].laps > 0;
    return used;
}

static uint32_t slow_place(const struct slow *slow, uint32_t slot)
{
    for (uint32_t i = 0; i < slow->count; i++)
        if (slow->entries[i].slot == slot)
            return i;
    return SLOTS;
}

static void slow_append(struct slow *slow, uint32_t slot)
{
    slow->entries[slow->count++] = (struct slow_entry){slot, 0};
}

static void slow_remove(struct slow *slow, uint32_t slot)
{
    uint32_t place = slow_place(slow, slot);
    memmove(&slow->entries[place], &slow->entries[place + 1],
            (slow->count - place - 1) * sizeof *slow->entries);
    slow->count--;
    if (slow->hand > place)
        slow->hand--;
    if (slow->hand >= slow->count)
        slow->at_end = true;
}

/* A lap ends with the newest, or when as many have made room in it as there are. */
static void slow_begin_lap(struct slow *slow)
{
    slow->hand = 0;
    slow->lap = 0;
    slow->at_end = false;
}

static bool slow_use(struct slow *slow, uint32_t slot)
{
    struct slow_entry *entry = &slow->entries[slow_place(slow, slot)];
    if (entry->laps == SIEVE_LAPS || (entry->laps == 0 && slow_used(slow) >= slow->used_max))
        return false;
    entry->laps = SIEVE_LAPS;
    return true;
}

static uint32_t slow_victim(struct slow *slow)
{
    if (slow->at_end || slow->lap >= slow->count)
        slow_begin_lap(slow);
    for (unsigned step = 0; step < SIEVE_STEPS && slow->entries[slow->hand].laps > 0; step++) {
        slow->entries[slow->hand].laps--;
        if (++slow->hand == slow->count)
            slow_begin_lap(slow);
    }
    slow->lap++;
    return slow->entries[slow->hand].slot;
}

/* ---- both -------------------------------------------------------------------------------------------------------- */

struct both {
    struct entry_links links[SLOTS];
    uint8_t laps[SLOTS];
    struct sieve sieve;
    struct sieve_queue queue;
    struct slow slow;
    struct random random;
    unsigned victims, moves, bounded; /* how often it happened */
};

static void both_init(struct both *both, uint64_t seed, unsigned used_max)
{
    memset(both, 0, sizeof *both);
    both->sieve = (struct sieve){
        .links = both->links, .laps = both->laps, .used_max = used_max, .laps_of_a_use = SIEVE_LAPS};
    sieve_queue_init(&both->queue);
    both->slow.used_max = used_max;
    both->slow.at_end = true;
    both->random.state = seed;
}

static uint32_t free_slot(struct both *both)
{
    for (;;) {
        uint32_t slot = (uint32_t)random_below(&both->random, SLOTS);
        if (slow_place(&both->slow, slot) == SLOTS)
            return slot;
    }
}

static uint32_t some_slot(struct both *both)
{
    return both->slow.entries[random_below(&both->random, both->slow.count)].slot;
}

static void move(struct both *both)
{
    uint32_t from = some_slot(both), to = free_slot(both);
    both->links[to] = both->links[from];
    memset(&both->links[from], 0xee, sizeof both->links[from]);
    sieve_move(&both->sieve, &both->queue, from, to);
    both->slow.entries[slow_place(&both->slow, from)].slot = to;
    both->moves++;
}

static void come(struct both *both, uint32_t slot)
{
    sieve_append(&both->sieve, &both->queue, slot);
    slow_append(&both->slow, slot);
}

static void leave(struct both *both, uint32_t slot)
{
    sieve_remove(&both->sieve, &both->queue, slot);
    slow_remove(&both->slow, slot);
}

static void make_room(struct both *both)
{
    uint32_t victim = sieve_victim(&both->sieve, &both->queue);
    assert_int_equal(victim, slow_victim(&both->slow));
    both->bounded += both->laps[victim] > 0;
    both->victims++;
    leave(both, victim);
}

static void use(struct both *both)
{
    uint32_t slot = some_slot(both);
    bool usable = sieve_usable(&both->sieve, slot);
    assert_int_equal(sieve_use(&both->sieve, slot), usable);
    assert_int_equal(slow_use(&both->slow, slot), usable);
}

static void assert_same(const struct both *both)
{
    uint32_t slot = both->queue.oldest, before = NO_ENTRY;
    assert_int_equal(both->queue.count, both->slow.count);
    for (uint32_t i = 0; i < both->slow.count; i++) {
        assert_int_equal(slot, both->slow.entries[i].slot);
        assert_int_equal(both->laps[slot], both->slow.entries[i].laps);
        assert_int_equal(both->links[slot].older, before);
        before = slot;
        slot = both->links[slot].newer;
    }
    assert_int_equal(slot, NO_ENTRY);
    assert_int_equal(both->queue.newest, before);
    assert_int_equal(both->sieve.used, slow_used(&both->slow));
    assert_true(both->sieve.used <= both->sieve.used_max);
}

static void step(struct both *both, unsigned uses)
{
    uint32_t count = both->slow.count, kind = (uint32_t)random_below(&both->random, 100);
    if (count > 0 && kind < uses)
        use(both);
    else if (count > 0 && kind < uses + 3)
        leave(both, some_slot(both));
    else if (count > 0 && count < SLOTS - 1 && kind < uses + 6)
        move(both);
    else if (count >= SLOTS / 2)
        make_room(both);
    else
        come(both, free_slot(both));
}

static void it_does_as_the_slow_one(void **state)
{
    static struct both both;
    static const struct {
        unsigned uses, used_max; /* of a hundred */
    } kinds[] = {{0, 50}, {10, 50}, {50, 50}, {80, 50}, {80, 100}, {80, 1}, {80, 0}};
    (void)state;
    for (size_t kind = 0; kind < sizeof kinds / sizeof kinds[0]; kind++) {
        both_init(&both, 7 + kind, kinds[kind].used_max);
        for (unsigned i = 0; i < 20000; i++) {
            step(&both, kinds[kind].uses);
            assert_same(&both);
        }
        assert_true(both.victims > 500 && both.moves > 100);
        if (kinds[kind].used_max == 100)
            assert_true(both.bounded > 10);
        if (kinds[kind].used_max <= 50)
            assert_int_equal(both.bounded, 0);
    }
}

/* Without uses it is a queue: who came first goes first. */
static void who_came_first_goes_first(void **state)
{
    static struct both both;
    (void)state;
    both_init(&both, 1, SLOTS);
    for (uint32_t slot = 0; slot < SLOTS; slot++)
        sieve_append(&both.sieve, &both.queue, slot);
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        assert_int_equal(sieve_victim(&both.sieve, &both.queue), slot);
        sieve_remove(&both.sieve, &both.queue, slot);
    }
    assert_int_equal(sieve_victim(&both.sieve, &both.queue), NO_ENTRY);
}

/* One that was used once stays for SIEVE_LAPS laps and leaves in the next one, while all others come and go. */
static void one_use_is_good_for_so_many_laps(void **state)
{
    static struct both both;
    (void)state;
    both_init(&both, 1, SLOTS);
    for (uint32_t slot = 0; slot < SLOTS; slot++)
        sieve_append(&both.sieve, &both.queue, slot);
    assert_true(sieve_use(&both.sieve, 17));
    assert_false(sieve_use(&both.sieve, 17));
    unsigned evictions = 0;
    for (; evictions < 10 * SIEVE_LAPS * SLOTS; evictions++) {
        uint32_t slot = sieve_victim(&both.sieve, &both.queue);
        sieve_remove(&both.sieve, &both.queue, slot);
        if (slot == 17)
            break;
        sieve_append(&both.sieve, &both.queue, slot);
    }
    assert_int_equal(both.sieve.used, 0);
    assert_in_range(evictions, (SLOTS - 1) * (SIEVE_LAPS - 1), (SLOTS - 1) * (SIEVE_LAPS + 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_does_as_the_slow_one),
        cmocka_unit_test(who_came_first_goes_first),
        cmocka_unit_test(one_use_is_good_for_so_many_laps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
