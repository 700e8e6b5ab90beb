/* The publisher against the truth. A policy in memory is changed at random, each change with the change rows that the
 * store's triggers would write; batches of one or several changes are applied; fills are read at one revision and
 * published at a later one, too early, between two slices of a batch, or after the store was replaced; so are many
 * users of one place, who were read together and are published bit by bit; entries are invalidated on demand, clients
 * say what they use, and the table is rebuilt. After every step:
 *
 *   every entry, one that readers cannot find for a fold in front of it included, equals what is resolved afresh from
 *   the policy at the applied revision; an entry of a closed set is as good as none;
 *   publisher_fill's answer equals that, too, and readers find it afterwards;
 *   the auditor, asked about any of them, finds no fault with it nor with the publisher's books.
 *
 * All of this holds of both tables while there are two: growth begins, goes on in slices, is handed over, given up
 * and released between any two of these steps, and what is dropped is looked at no more. When all was copied, nothing
 * was lost that there was room for all the time.
 *
 * A publisher that forgets to retire something, rewrites the wrong set, folds what is not plain, or lets an
 * outdated fill through fails here; each of these was done to it once. */
#include "tests/support/publisher_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* PERMTAB_PROPERTY_SEEDS in the environment: how many histories of each kind. CTest says 12, and 60 for all of it. */
#define ALL 60u

static uint64_t seeds(void)
{
    const char *wanted = getenv("PERMTAB_PROPERTY_SEEDS");
    return wanted != NULL ? strtoull(wanted, NULL, 10) : ALL;
}

/* What is to happen in so many histories, when it is to happen that often in all of them. */
static uint64_t share(uint64_t of_all)
{
    return of_all * seeds() / ALL;
}

static void print(const struct publisher_totals *totals)
{
    const struct counters *total = &totals->counters;
    print_message("fills %llu, retired %llu, evicted %llu, rewritten %llu, exhausted %llu, folds %llu\n",
                  (unsigned long long)total->fills, (unsigned long long)total->entries_retired,
                  (unsigned long long)total->entries_evicted, (unsigned long long)total->sets_rewritten,
                  (unsigned long long)total->sets_exhausted, (unsigned long long)total->folds);
    print_message(
        "slices %llu, audits %llu, handed over %llu, ended %llu, released %llu, beside %llu, scanned %llu, "
        "copied %llu\n",
        (unsigned long long)totals->slices, (unsigned long long)totals->audits,
        (unsigned long long)totals->handed_over, (unsigned long long)totals->ended,
        (unsigned long long)totals->released, (unsigned long long)totals->beside,
        (unsigned long long)totals->scanned, (unsigned long long)totals->copied);
    print_message("of slices: filled %llu, late %llu, resident %llu, alone %llu, no room %llu, short %llu, "
                  "beside %llu, held %llu\n",
                  (unsigned long long)totals->slice_filled, (unsigned long long)totals->slice_late,
                  (unsigned long long)totals->slice_resident,
                  (unsigned long long)totals->slice_alone, (unsigned long long)totals->slice_no_room,
                  (unsigned long long)totals->slice_short, (unsigned long long)totals->slice_beside,
                  (unsigned long long)totals->slice_held);
}

/* The tests are worth something only if all of this has happened. */
static void assert_much_happened(const struct publisher_totals *totals)
{
    assert_true(totals->counters.fills > share(10000));
    assert_true(totals->counters.entries_retired > share(5000));
    assert_true(totals->counters.sets_rewritten > share(250));
    assert_true(totals->counters.folds > share(20));
    assert_true(totals->slices > share(1000));
    assert_true(totals->audits > share(10000));
    assert_true(totals->slice_filled > share(2500));
    assert_true(totals->slice_late > share(500));
    assert_true(totals->slice_resident > share(2000));
    assert_true(totals->slice_held > share(600));
    assert_int_equal(totals->slice_short, 0); /* nobody is left alone without a reason */
}

static void roomy(void **state)
{
    struct publisher_totals totals = {0};
    (void)state;
    for (uint64_t seed = 1; seed <= seeds(); seed++)
        publisher_world_run(seed * 7919, 400, false,
                            &(struct publisher_options){.entries = 1000, .sets = 500, .folds = 64}, &totals);
    print(&totals);
    assert_much_happened(&totals);
}

static void cramped(void **state)
{
    struct publisher_totals totals = {0};
    (void)state;
    for (uint64_t seed = 1; seed <= seeds(); seed++)
        publisher_world_run(seed * 104729, 400, false,
                            &(struct publisher_options){.entries = 12, .sets = 6, .folds = 2}, &totals);
    print(&totals);
    assert_true(totals.counters.entries_evicted > share(1000));
    assert_true(totals.used > share(1000));
    assert_true(totals.counters.sets_exhausted > share(100));
}

static void growing(void **state)
{
    struct publisher_totals totals = {0};
    (void)state;
    for (uint64_t seed = 1; seed <= seeds(); seed++)
        publisher_world_run(seed * 15485863, 400, true,
                            &(struct publisher_options){.entries = 600, .sets = 100, .folds = 64}, &totals);
    print(&totals);
    assert_much_happened(&totals);
    assert_true(totals.handed_over > share(100));
    assert_true(totals.released > share(100));
    assert_true(totals.beside > share(10000));
    assert_true(totals.slice_beside > share(1500));
    assert_true(totals.copied > share(1000));
}

static void growing_out_of_little(void **state)
{
    struct publisher_totals totals = {0};
    (void)state;
    for (uint64_t seed = 1; seed <= seeds(); seed++)
        publisher_world_run(seed * 32452843, 400, true,
                            &(struct publisher_options){.entries = 12, .sets = 6, .folds = 2}, &totals);
    print(&totals);
    assert_true(totals.counters.entries_evicted > share(500));
    assert_true(totals.used > share(1000));
    assert_true(totals.handed_over > share(100));
    assert_true(totals.beside > share(5000));
    assert_true(totals.copied > share(1000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(roomy),
        cmocka_unit_test(cramped),
        cmocka_unit_test(growing),
        cmocka_unit_test(growing_out_of_little),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
