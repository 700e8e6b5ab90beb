/* Growth of a table: what next may show and when, what the hand-over keeps, how long the retired one lives, and what
 * happens when memory or sets run out on the way. test_publisher_both.c has what happens to both meanwhile. */
#include "proxy/table/workshop.h"
#include "shm/segment_options.h"
#include "tests/unit/table/grow_fixture.h"

/* ---- failures ---------------------------------------------------------------------------------------------------- */

static unsigned copies_left = UINT32_MAX, resolves_left = UINT32_MAX; /* until there is no memory */

int __real_inputs_copy(struct inputs *out, const struct inputs *from);
int __wrap_inputs_copy(struct inputs *out, const struct inputs *from);
int __wrap_inputs_copy(struct inputs *out, const struct inputs *from)
{
    return copies_left > 0 ? copies_left--, __real_inputs_copy(out, from) : PERMTAB_E_MEMORY;
}

int __real_resolve(const struct catalogue *catalogue, const struct inputs *inputs, role_find_fn find,
                   void *context, uint64_t *any, uint64_t *own);
int __wrap_resolve(const struct catalogue *catalogue, const struct inputs *inputs, role_find_fn find,
                   void *context, uint64_t *any, uint64_t *own);
int __wrap_resolve(const struct catalogue *catalogue, const struct inputs *inputs, role_find_fn find,
                   void *context, uint64_t *any, uint64_t *own)
{
    return resolves_left > 0                                          ? resolves_left--,
           __real_resolve(catalogue, inputs, find, context, any, own) : PERMTAB_E_MEMORY;
}

static int setup_whole(void **state)
{
    copies_left = resolves_left = UINT32_MAX;
    return setup_growing(state);
}

static const struct permtab_shm_beat *beat(const struct table *table)
{
    return &table->segment.header->beat;
}

static uint64_t id_of(const struct table *table)
{
    return table->segment.header->identity.segment_id;
}

/* ---- the hand-over ----------------------------------------------------------------------------------------------- */

static void nobody_is_handed_next_before_it_is_whole(void **state)
{
    struct fixture *fixture = *state;
    const struct table *table = fixture->publisher->table;
    fill_members(fixture);
    publisher_renew(fixture->publisher, SECOND);
    assert_int_equal(fixture->publisher->other_is, OTHER_NONE);
    struct table *next = begin(fixture);
    assert_int_equal(fixture->publisher->other_is, OTHER_NEXT);
    while (publisher_grow_slice(fixture->publisher, SECOND, 100) == GROW_MORE) {
        publisher_renew(fixture->publisher, 2 * SECOND);
        assert_ptr_equal(publisher_segment(fixture->publisher), &table->segment);
        assert_int_equal(beat(next)->state, PERMTAB_SHM_VOID);
        assert_int_equal(beat(next)->lease_deadline, 0);
        assert_int_equal(publisher_retired_segment(fixture->publisher), 0);
    }
    assert_ptr_equal(publisher_segment(fixture->publisher), &next->segment);
}

static void the_hand_over_keeps_everything(void **state)
{
    struct fixture *fixture = *state;
    struct publisher *publisher = fixture->publisher;
    const struct table *old = publisher->table;
    uint64_t generation = publisher_generation(publisher), kept = publisher_kept_version(publisher);
    fill_members(fixture);
    fill_well(fixture, 77, server);                      /* has no rows */
    fill_well(fixture, 1, (struct scope_key){12345, 3}); /* is not there */
    publisher_renew(publisher, SECOND);
    uint64_t deadline = publisher_deadline(publisher), entries = publisher_entries(publisher);
    uint64_t negatives = fixture->counters.entries_negative, folds = fixture->counters.folds;
    assert_true(negatives > 0 && folds > 0);
    struct table *next = begin(fixture);
    finish(fixture);
    assert_int_equal(publisher_entries(publisher), entries);
    assert_int_equal(fixture->counters.entries_negative, negatives);
    assert_int_equal(fixture->counters.folds, folds);
    assert_int_equal(publisher_deadline(publisher), deadline);
    assert_int_equal(beat(next)->state, PERMTAB_SHM_LIVE);
    assert_int_equal(beat(next)->applied_revision, beat(old)->applied_revision);
    assert_int_equal(beat(next)->expiry_applied, beat(old)->expiry_applied);
    assert_int_equal(beat(next)->catalogue, beat(old)->catalogue);
    assert_string_equal(next->segment.names[PIN].text, "message.pin");
    assert_int_equal(next->segment.header->geometry.type_count, old->segment.header->geometry.type_count);
    for (uint64_t user = 1; user <= 5; user++) {
        assert_int_equal(resident(fixture, user, channel, SEND), 1);
        assert_int_equal(resident(fixture, user, channel, PIN), 0);
    }
    assert_int_equal(publisher_capacity(publisher), 2000);
    assert_int_equal(publisher_generation(publisher), generation); /* what was read stays good */
    assert_int_equal(publisher_kept_version(publisher), kept);
    assert_int_equal(fixture->counters.segments, 2);
    assert_int_equal(fixture->counters.segment_bytes, next->segment.size);
}

static void the_retired_one_goes_on_until_it_is_released(void **state)
{
    struct fixture *fixture = *state;
    struct publisher *publisher = fixture->publisher;
    const struct table *old = publisher->table;
    fill_members(fixture);
    publisher_renew(publisher, SECOND);
    (void)begin(fixture);
    publisher_retired_release(publisher); /* there is none */
    assert_int_equal(publisher->other_is, OTHER_NEXT);
    finish(fixture);
    assert_int_equal(beat(old)->state, PERMTAB_SHM_RETIRED);
    assert_int_equal(publisher_retired_segment(publisher), id_of(old));
    publisher_renew(publisher, 2 * SECOND);
    assert_int_equal(beat(old)->lease_deadline, publisher_deadline(publisher));
    publisher_tend(publisher, 1000 * SECOND); /* it is not released */
    memory_grant(&fixture->policy, 100, GRANT_ALLOW, EDIT);
    apply(fixture, (struct change){.kind = CHANGE_ROLE_GRANT, .role = 100});
    assert_int_equal(resident_in(old, 1, channel, EDIT), 1);
    assert_int_equal(beat(old)->applied_revision, fixture->revision);

    publisher_retired_release(publisher);
    uint64_t deadline = beat(old)->lease_deadline;
    publisher_renew(publisher, 3 * SECOND);
    assert_int_equal(beat(old)->lease_deadline, deadline);
    assert_true(publisher_deadline(publisher) > deadline);
    /* It may be believed until then, so it is kept true. */
    memory_grant(&fixture->policy, 100, GRANT_ALLOW, PIN);
    apply(fixture, (struct change){.kind = CHANGE_ROLE_GRANT, .role = 100});
    assert_int_equal(resident_in(old, 1, channel, PIN), 1);
    /* A reader's clock may be late. */
    publisher_tend(publisher, deadline);
    publisher_tend(publisher, deadline + publisher->lag_ns - 1);
    assert_int_equal(dropped.count, 0);
    publisher_tend(publisher, deadline + publisher->lag_ns);
    assert_int_equal(dropped.count, 1);
    assert_ptr_equal(dropped.table[0], old);
    assert_int_equal(publisher_retired_segment(publisher), 0);
    assert_null(publisher->other);
    fill_well(fixture, 2, server);
}

static void renewals_drop_it_as_well(void **state)
{
    struct fixture *fixture = *state;
    publisher_renew(fixture->publisher, SECOND);
    (void)begin(fixture);
    finish(fixture);
    publisher_retired_release(fixture->publisher);
    publisher_renew(fixture->publisher, 2 * SECOND);
    assert_int_equal(dropped.count, 0);
    publisher_renew(fixture->publisher, 4 * SECOND);
    assert_int_equal(dropped.count, 1);
    (void)begin(fixture); /* and the next growth may begin */
}

static void an_end_of_the_lease_is_that_of_both(void **state)
{
    struct fixture *fixture = *state;
    const struct table *old = fixture->publisher->table;
    publisher_renew(fixture->publisher, SECOND);
    (void)begin(fixture);
    finish(fixture);
    publisher_end_lease(fixture->publisher, OWN_FAULT);
    assert_int_equal(beat(old)->lease_deadline, 0);
    assert_int_equal(publisher_deadline(fixture->publisher), 0);
    publisher_renew(fixture->publisher, 2 * SECOND);
    assert_int_equal(beat(old)->lease_deadline, 0);
}

/* ---- refusals, and ends ------------------------------------------------------------------------------------------ */

static void some_tables_are_not_taken(void **state)
{
    struct fixture *fixture = *state;
    struct publisher_options options = fixture->publisher->table->options;
    struct table *other;
    assert_int_equal(table_new(&other, &options, 8), 0); /* another store's */
    assert_int_equal(publisher_grow_begin(fixture->publisher, other), PERMTAB_E_INVALID);
    table_free(other);
    options.permissions_max = 128;
    assert_int_equal(table_new(&other, &options, 7), 0);
    assert_int_equal(publisher_grow_begin(fixture->publisher, other), PERMTAB_E_INVALID);
    table_free(other);
    (void)begin(fixture);
    other = make(fixture, 4000, 100);
    assert_int_equal(publisher_grow_begin(fixture->publisher, other), PERMTAB_E_FULL);
    finish(fixture);
    assert_int_equal(publisher_grow_begin(fixture->publisher, other), PERMTAB_E_FULL);
    publisher_end_lease(fixture->publisher, OWN_FAULT);
    assert_int_equal(publisher_grow_begin(fixture->publisher, other), PERMTAB_E_INVALID);
    table_free(other);
    assert_int_equal(publisher_grow_slice(fixture->publisher, SECOND, 100), GROW_ENDED);
}

static void rebuild_with(struct fixture *fixture, struct table *fresh, int code)
{
    struct log_position at = publisher_position(fixture->publisher);
    struct catalogue catalogue;
    memory_catalogue(&fixture->policy, 1, &catalogue);
    assert_int_equal(publisher_rebuild(fixture->publisher, &at, 1000, &catalogue, fresh, NULL), code);
    catalogue_fini(&catalogue);
}

static void a_rebuild_ends_growth(void **state)
{
    struct fixture *fixture = *state;
    struct table *table = fixture->publisher->table;
    fill_members(fixture);
    publisher_renew(fixture->publisher, SECOND);
    struct table *next = begin(fixture);
    assert_int_equal(publisher_grow_slice(fixture->publisher, SECOND, 10), GROW_MORE);
    struct table *fresh = make(fixture, 500, 50);
    rebuild_with(fixture, fresh, 0);
    assert_ptr_equal(fixture->publisher->table, fresh);
    assert_int_equal(publisher_grow_slice(fixture->publisher, SECOND, 10), GROW_ENDED);
    assert_int_equal(dropped.count, 2);
    assert_ptr_equal(dropped.table[0], next);
    assert_ptr_equal(dropped.table[1], table);
    assert_int_equal(beat(table)->lease_deadline, 0);
    assert_int_equal(beat(table)->state, PERMTAB_SHM_RETIRED);
    assert_int_equal(beat(next)->lease_deadline, 0);
    assert_int_equal(publisher_entries(fixture->publisher), 0);
    assert_int_equal(beat(fresh)->state, PERMTAB_SHM_LIVE);
    assert_int_equal(publisher_capacity(fixture->publisher), 500);
}

static void a_rebuild_ends_both_tables(void **state)
{
    struct fixture *fixture = *state;
    struct table *old = fixture->publisher->table;
    publisher_renew(fixture->publisher, SECOND);
    (void)begin(fixture);
    finish(fixture);
    rebuild_with(fixture, make(fixture, 1000, 100), 0);
    assert_int_equal(dropped.count, 2);
    assert_int_equal(beat(old)->lease_deadline, 0);
    assert_int_equal(publisher_retired_segment(fixture->publisher), 0);
}

static void a_rebuild_with_the_wrong_table_fails(void **state)
{
    struct fixture *fixture = *state;
    struct publisher_options options = fixture->publisher->table->options;
    struct table *wrong;
    options.max_staleness_ns++;
    assert_int_equal(table_new(&wrong, &options, 7), 0);
    rebuild_with(fixture, wrong, PERMTAB_E_INVALID);
    assert_int_equal(dropped.count, 1);
    assert_ptr_equal(dropped.table[0], wrong);
    assert_int_equal(publisher_deadline(fixture->publisher), 0);
}

static void growth_can_be_given_up(void **state)
{
    struct fixture *fixture = *state;
    fill_members(fixture);
    publisher_renew(fixture->publisher, SECOND);
    struct table *next = begin(fixture);
    publisher_grow_end(fixture->publisher);
    publisher_grow_end(fixture->publisher);
    assert_int_equal(dropped.count, 1);
    assert_ptr_equal(dropped.table[0], next);
    assert_int_equal(resident(fixture, 1, channel, SEND), 1);
    assert_true(publisher_leased(fixture->publisher, SECOND));
    (void)begin(fixture);
    finish(fixture);
    publisher_grow_end(fixture->publisher); /* the retired one is no growth */
    assert_int_not_equal(publisher_retired_segment(fixture->publisher), 0);
}

static void without_memory_growth_ends_and_the_table_is_whole(void **state)
{
    struct fixture *fixture = *state;
    const struct table *table = fixture->publisher->table;
    fill_members(fixture);
    publisher_renew(fixture->publisher, SECOND);
    (void)begin(fixture);
    copies_left = 0;
    enum grow_outcome outcome;
    while ((outcome = publisher_grow_slice(fixture->publisher, SECOND, 1000)) == GROW_MORE)
        ;
    assert_int_equal(outcome, GROW_ENDED);
    assert_int_equal(dropped.count, 1);
    assert_ptr_equal(fixture->publisher->table, table);
    assert_true(publisher_leased(fixture->publisher, SECOND));
    for (uint64_t user = 1; user <= 5; user++)
        assert_int_equal(resident(fixture, user, channel, SEND), 1);
}

/* The batch holds for the first table; the other one cannot follow, and goes. */
static void a_batch_that_fails_beside_ends_the_other_alone(void **state)
{
    struct fixture *fixture = *state;
    struct table *old = fixture->publisher->table;
    fill_members(fixture);
    publisher_renew(fixture->publisher, SECOND);
    (void)begin(fixture);
    finish(fixture);
    memory_grant(&fixture->policy, 100, GRANT_ALLOW, EDIT);
    resolves_left = 1;
    apply(fixture, (struct change){.kind = CHANGE_ROLE_GRANT, .role = 100});
    assert_int_equal(dropped.count, 1);
    assert_ptr_equal(dropped.table[0], old);
    assert_int_equal(beat(old)->lease_deadline, 0);
    assert_int_equal(resident_in(old, 1, channel, EDIT), 0); /* as it was, in no lease */
    assert_int_equal(resident(fixture, 1, channel, EDIT), 1);
    assert_true(publisher_leased(fixture->publisher, SECOND));
}

static void a_batch_that_fails_ends_the_lease_of_both(void **state)
{
    struct fixture *fixture = *state;
    const struct table *old = fixture->publisher->table;
    struct batch batch = {.at = {7, 2, 1}, .now = 1000};
    struct change change = {.kind = CHANGE_ROLE_GRANT, .role = 100, .revision = 2, .nonce = 1};
    fill_members(fixture);
    publisher_renew(fixture->publisher, SECOND);
    (void)begin(fixture);
    finish(fixture);
    batch.changes.items = &change;
    batch.changes.count = 1;
    assert_true(memory_definition(&fixture->policy, 100, role_list_add(&batch.roles)));
    resolves_left = 0;
    assert_int_equal(publisher_batch(fixture->publisher, &batch, SECOND, NULL), PERMTAB_E_MEMORY);
    assert_int_equal(beat(old)->lease_deadline, 0);
    assert_int_equal(publisher_deadline(fixture->publisher), 0);
    role_list_fini(&batch.roles);
}

static void what_there_is_no_set_for_is_left_out(void **state)
{
    struct fixture *fixture = *state;
    memory_role(&fixture->policy, 200, "editor", server, false, true);
    memory_grant(&fixture->policy, 200, GRANT_ALLOW, EDIT);
    memory_assign(&fixture->policy, 6, 200, server, FACTS_NEVER);
    fill_members(fixture);
    fill_well(fixture, 6, server);
    struct table *next = make(fixture, 2000, 1);
    assert_int_equal(publisher_grow_begin(fixture->publisher, next), 0);
    finish(fixture);
    bool members = resident(fixture, 1, server, SEND) == 1;
    for (uint64_t user = 1; user <= 5; user++)
        assert_int_equal(resident(fixture, user, server, SEND), members ? 1 : -1);
    assert_int_equal(resident(fixture, 6, server, EDIT), members ? -1 : 1);
    assert_int_equal(next->sets.pool.indices.used, 1);
    assert_int_equal(fixture->counters.sets_exhausted, 0); /* of next, before it was the table */
}

/* ---- sizes ------------------------------------------------------------------------------------------------------- */

static void a_rebuild_orders_what_there_is_room_for(void **state)
{
    struct fixture *fixture = *state;
    struct workshop_order order;
    uint64_t size = publisher_segment(fixture->publisher)->size;
    publisher_rebuild_order(fixture->publisher, 9, &order);
    assert_int_equal(order.store_id, 9);
    assert_int_equal(order.options.entries, 1000);
    assert_int_equal(order.options.memory_max, 0);
    fixture->publisher->options.memory_max = 3 * size;
    publisher_rebuild_order(fixture->publisher, 9, &order);
    assert_int_equal(order.options.memory_max, 2 * size);
    fixture->publisher->options.memory_max = size / 2;
    publisher_rebuild_order(fixture->publisher, 9, &order);
    assert_int_equal(order.options.memory_max, 1); /* none; and yet there will be a table */
    assert_int_equal(order.least.entries, 1000);
    publisher_rebuild_given_up(fixture->publisher);
    fixture->publisher->options.memory_max = 0;
}

static uint64_t on_yield(void *context)
{
    return *(const uint64_t *)context;
}

/* What was dropped, and clients still have mapped, is no room. */
static void a_rebuild_leaves_the_room_of_held_ones(void **state)
{
    struct fixture *fixture = *state;
    struct workshop_order order;
    uint64_t size = publisher_segment(fixture->publisher)->size, held = size + 4096;
    publisher_yield_to(fixture->publisher, on_yield, &held);
    fixture->publisher->options.memory_max = 5 * size;
    publisher_rebuild_order(fixture->publisher, 9, &order);
    assert_int_equal(order.options.memory_max, 5 * size - size - held);
    held = 4 * size;
    publisher_rebuild_order(fixture->publisher, 9, &order);
    assert_int_equal(order.options.memory_max, 1);
    publisher_rebuild_given_up(fixture->publisher);
    fixture->publisher->options.memory_max = 0;
}

/* One table at a time is being made. */
static void a_rebuild_that_is_ordered_keeps_growth_away(void **state)
{
    struct fixture *fixture = *state;
    struct workshop_order order;
    struct table *next = begin(fixture);
    assert_false(table_was_handed_out(next));
    assert_true(table_was_handed_out(fixture->publisher->table));
    fixture->publisher->options.memory_max = 1u << 30;
    publisher_rebuild_order(fixture->publisher, 7, &order);
    uint64_t size = fixture->publisher->table->segment.size;
    assert_int_equal(order.options.memory_max, (1u << 30) - size); /* without next, which is gone */
    assert_int_equal(dropped.count, 1);
    assert_ptr_equal(dropped.table[0], next);
    assert_true(publisher_rebuild_ordered(fixture->publisher));
    struct table *fresh = make(fixture, 2000, 100);
    assert_int_equal(publisher_grow_begin(fixture->publisher, fresh), PERMTAB_E_INVALID);
    publisher_rebuild_given_up(fixture->publisher);
    assert_int_equal(publisher_grow_begin(fixture->publisher, fresh), 0);
    finish(fixture);
    assert_true(table_was_handed_out(fresh));
    fixture->publisher->options.memory_max = 0;
}

static void a_rebuild_ends_its_order(void **state)
{
    struct fixture *fixture = *state;
    struct workshop_order order;
    publisher_rebuild_order(fixture->publisher, 7, &order);
    rebuild_with(fixture, NULL, 0);
    assert_false(publisher_rebuild_ordered(fixture->publisher));
}

static void both_tables_count(void **state)
{
    struct fixture *fixture = *state;
    uint64_t alone = publisher_memory(fixture->publisher),
             segment = publisher_segment_bytes(fixture->publisher);
    assert_true(alone > segment);
    const struct table *next = begin(fixture);
    assert_int_equal(publisher_segment_bytes(fixture->publisher), segment + next->segment.size);
    assert_int_equal(publisher_memory(fixture->publisher), alone + table_memory(next));
    assert_ptr_equal(table_segment(next), &next->segment);
}

/* Two thirds full right after a step, when a table was full before it: 21.3 bytes a slot are then 32 an entry. */
static void large_tables_are_never_less_than_two_thirds_full(void **state)
{
    (void)state;
    for (uint64_t entries = 1000; entries < 200000000;) {
        uint64_t next = table_next_entries(entries);
        struct segment_options options = segment_options_of(512, next, 4096, 16);
        struct segment_options small = segment_options_of(512, 1, 4096, 16);
        assert_true(next > entries);
        assert_true(next <= 4 * entries);
        if (entries >= 100000 && (segment_size(&options) - segment_size(&small)) / (double)entries > 32.0)
            fail_msg("%llu after %llu: %.1f bytes an entry", (unsigned long long)next,
                     (unsigned long long)entries,
                     (double)(segment_size(&options) - segment_size(&small)) / (double)entries);
        entries = next;
    }
}

static void more_sets_come_when_most_are_used(void **state)
{
    struct fixture *fixture = *state;
    struct publisher_options next = publisher_next_options(fixture->publisher);
    assert_int_equal(next.entries, table_next_entries(1000));
    assert_int_equal(next.sets, 100);
    assert_int_equal(next.folds, 10);
    fixture->publisher->table->sets.pool.indices.used += 75;
    fixture->publisher->table->folding.folds += 8;
    next = publisher_next_options(fixture->publisher);
    assert_int_equal(next.sets, 400);
    assert_int_equal(next.folds, 40);
    fixture->publisher->table->sets.pool.indices.used -= 75;
    fixture->publisher->table->folding.folds -= 8;
}

/* A rebuild gives its table what was left of memory_max at that moment; the next one may have all that is left then. */
static void a_table_that_a_rebuild_made_small_grows_again(void **state)
{
    struct fixture *fixture = *state;
    fixture->publisher->options.memory_max = 1000000;
    fixture->publisher->table->options.memory_max = 1;
    assert_int_equal(publisher_next_options(fixture->publisher).memory_max, 1000000);
    fixture->publisher->options.memory_max = fixture->publisher->table->options.memory_max = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup_whole, teardown_growing)
        T(nobody_is_handed_next_before_it_is_whole),
        T(the_hand_over_keeps_everything),
        T(the_retired_one_goes_on_until_it_is_released),
        T(renewals_drop_it_as_well),
        T(an_end_of_the_lease_is_that_of_both),
        T(some_tables_are_not_taken),
        T(a_rebuild_ends_growth),
        T(a_rebuild_ends_both_tables),
        T(a_rebuild_with_the_wrong_table_fails),
        T(growth_can_be_given_up),
        T(without_memory_growth_ends_and_the_table_is_whole),
        T(a_batch_that_fails_beside_ends_the_other_alone),
        T(a_batch_that_fails_ends_the_lease_of_both),
        T(what_there_is_no_set_for_is_left_out),
        T(a_rebuild_orders_what_there_is_room_for),
        T(a_rebuild_leaves_the_room_of_held_ones),
        T(a_rebuild_that_is_ordered_keeps_growth_away),
        T(a_rebuild_ends_its_order),
        T(both_tables_count),
        T(large_tables_are_never_less_than_two_thirds_full),
        T(more_sets_come_when_most_are_used),
        T(a_table_that_a_rebuild_made_small_grows_again),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
