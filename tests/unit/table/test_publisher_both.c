/* Two tables at a time: fills, changes, retirements and passes are of both, the one that is copied to and the one that
 * is retired. test_publisher_property.c has the same at random. */
#include "tests/unit/table/grow_fixture.h"

/* ---- fills and changes ------------------------------------------------------------------------------------------- */

/* Facts out of L2 name roles and bring no definitions. */
static void facts_without_definitions_fill_both(void **state)
{
    struct fixture *fixture = *state;
    struct facts facts;
    struct answer answer = {0};
    fill_well(fixture, 1, server);
    struct table *next = begin(fixture);
    read_facts(fixture, 2, server, &facts);
    role_list_fini(&facts.roles);
    memset(&facts.roles, 0, sizeof facts.roles);
    assert_true(publisher_knows_roles(fixture->publisher, &facts));
    assert_int_equal(publisher_fill(fixture->publisher, &facts, SECOND, &answer), PUBLISHER_FILLED);
    assert_int_equal(resident(fixture, 2, server, SEND), 1);
    assert_int_equal(resident_in(next, 2, server, SEND), 1);
    assert_true(set_table_role(&next->sets, 100)->present);
    answer_fini(&answer);
    facts_fini(&facts);
}

/* Each of them has a lineage of its own: that there are many says nothing of a circle. */
static void a_user_with_many_roles_is_known(void **state)
{
    struct fixture *fixture = *state;
    struct facts facts;
    for (uint64_t role = 1000; role < 1300; role++) {
        memory_role(&fixture->policy, role, "one of many", server, false, true);
        memory_assign(&fixture->policy, 2, role, server, FACTS_NEVER);
    }
    fill_well(fixture, 2, server);
    read_facts(fixture, 2, server, &facts);
    assert_true(facts.assignment_count > 256);
    assert_true(publisher_knows_roles(fixture->publisher, &facts));
    facts_fini(&facts);
}

static void fill_stranger_at(struct fixture *fixture, uint64_t user, bool definitions)
{
    struct facts facts;
    struct answer answer = {0};
    read_facts(fixture, user, server, &facts);
    facts.stranger = true;
    if (!definitions) {
        role_list_fini(&facts.roles);
        memset(&facts.roles, 0, sizeof facts.roles);
        assert_true(publisher_knows_roles(fixture->publisher, &facts));
    }
    assert_int_equal(publisher_fill(fixture->publisher, &facts, SECOND, &answer), PUBLISHER_FILLED);
    answer_fini(&answer);
    facts_fini(&facts);
}

/* The first slot of a user's window at the server. */
static uint32_t window_of(const struct table *table, uint64_t user)
{
    uint32_t first, end;
    map_window(&table->map, (struct map_key){user, server.id, server.type}, &first, &end);
    return first;
}

/* Fills the map to its end, beyond what the table wants. */
static void leave_no_hole(struct fixture *fixture, struct table *table)
{
    uint32_t slot = 0;
    table->entries_max = UINT32_MAX;
    for (uint64_t user = 1000; slot < map_slot_count(&table->map); user++) {
        fill_well(fixture, user, global);
        while (slot < map_slot_count(&table->map) && map_word(&table->map, slot) != 0)
            slot++;
    }
}

/* The entry for which the table makes room is the last one that knows of the role, and the newcomer finds no slot. */
static void definitions_outlast_their_last_entry(void **state)
{
    struct fixture *fixture = *state;
    struct table *table = fixture->publisher->table;
    uint64_t first = 100, second = 100;
    fixture->policy.roles.items[0].is_default = true;
    while (window_of(table, first) > map_slot_count(&table->map) / 2)
        first++;
    fill_stranger_at(fixture, first, true);
    leave_no_hole(fixture, table);
    while (window_of(table, second) < map_slot_count(&table->map) * 3 / 4)
        second++;
    table->entries_max = (uint32_t)table_entries(table);
    table->negatives_max = 0;
    struct table *next = begin(fixture);
    fill_stranger_at(fixture, second, false);
    assert_int_equal(resident(fixture, second, server, SEND), -1);
    assert_null(set_table_role(&table->sets, 100));
    assert_int_equal(resident_in(next, second, server, SEND), 1);
    assert_true(set_table_role(&next->sets, 100)->present);
}

static void nothing_is_copied_between_two_slices_of_a_batch(void **state)
{
    struct fixture *fixture = *state;
    struct change change = {.kind = CHANGE_SCOPE, .scope = server, .revision = 2, .nonce = 1};
    struct batch batch = {.at = {7, 2, 1}, .now = 1000};
    fill_members(fixture);
    struct table *next = begin(fixture);
    batch.changes.items = &change;
    batch.changes.count = 1;
    assert_int_equal(publisher_batch_begin(fixture->publisher, &batch, NULL), 0);
    assert_int_equal(publisher_batch_slice(fixture->publisher, SECOND, 3, NULL), 1);
    assert_true(publisher_entries(fixture->publisher) > 0);
    for (unsigned i = 0; i < 1000; i++)
        assert_int_equal(publisher_grow_slice(fixture->publisher, SECOND, 1000), GROW_MORE);
    assert_int_equal(table_entries(next), 0);
    while (publisher_batch_slice(fixture->publisher, SECOND, 3, NULL) == 1)
        ;
    finish(fixture);
    assert_int_equal(publisher_entries(fixture->publisher), 0);
}

static void what_next_evicts_is_not_counted(void **state)
{
    struct fixture *fixture = *state;
    struct table *small = make(fixture, 2, 100);
    assert_int_equal(publisher_grow_begin(fixture->publisher, small), 0);
    fill_members(fixture);
    for (uint64_t user = 1; user <= 5; user++)
        fill_well(fixture, user, global);
    assert_int_equal(table_entries(small), 2);
    assert_int_equal(fixture->counters.entries_evicted, 0);
    assert_int_equal(fixture->counters.fills, 10);
    assert_int_equal(fixture->counters.entries_returned, 0);
}

/* The warm-up's fill, when either table is full: who is in it stays. What a client asks for finds its place. */
static void what_nobody_asked_for_displaces_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct facts facts;
    struct answer answer = {0};
    struct table *old = fixture->publisher->table;
    for (uint64_t user = 1; user <= 3; user++)
        fill_well(fixture, user, server);
    struct table *next = begin(fixture);
    finish(fixture);
    old->entries_max = 3;
    read_facts(fixture, 4, server, &facts);
    facts.unasked = true;
    assert_int_equal(publisher_fill(fixture->publisher, &facts, SECOND, &answer), PUBLISHER_FILLED);
    answer_fini(&answer);
    facts_fini(&facts);
    assert_int_equal(resident_in(next, 4, server, SEND), 1);
    assert_int_equal(resident_in(old, 4, server, SEND), -1);
    for (uint64_t user = 1; user <= 3; user++)
        assert_int_equal(resident_in(old, user, server, SEND), 1);
    next->entries_max = 4;
    read_facts(fixture, 5, server, &facts);
    facts.unasked = true;
    assert_int_equal(publisher_fill(fixture->publisher, &facts, SECOND, &answer), PUBLISHER_FILLED);
    answer_fini(&answer);
    assert_int_equal(resident_in(next, 5, server, SEND), -1);
    assert_int_equal(fixture->counters.entries_evicted, 0);
    facts.unasked = false;
    assert_int_equal(publisher_fill(fixture->publisher, &facts, SECOND, &answer), PUBLISHER_FILLED);
    answer_fini(&answer);
    facts_fini(&facts);
    assert_int_equal(resident_in(next, 5, server, SEND), 1);
    assert_int_equal(resident_in(old, 5, server, SEND), 1);
    assert_int_equal(fixture->counters.entries_evicted, 1);
}

static void the_auditor_heals_both(void **state)
{
    struct fixture *fixture = *state;
    const struct table *old = fixture->publisher->table;
    fill_members(fixture);
    struct table *next = begin(fixture);
    finish(fixture);
    struct audit_question question = {1, channel};
    publisher_audit_retire(fixture->publisher, &question, SECOND);
    assert_int_equal(resident(fixture, 1, server, SEND), -1);
    assert_int_equal(resident_in(old, 1, server, SEND), -1);
    assert_int_equal(fixture->counters.entries_retired, 1);
    uint32_t slot = map_writer_find(&next->map, (struct map_key){2, server.id, server.type});
    assert_int_not_equal(slot, MAP_NO_SLOT);
    uint32_t set = PERMTAB_SHM_WORD_INDEX(map_word(&next->map, slot));
    publisher_audit_abandon(fixture->publisher, set, next->sets.records[set].generation);
    assert_int_equal(resident(fixture, 2, server, SEND), -1);
    assert_int_equal(resident_in(old, 2, server, SEND), -1);
    assert_int_equal(old->sets.abandoned, 1);
    assert_true(table_entries(old) > 0);
    publisher_renew(fixture->publisher, SECOND); /* sweeps both */
    assert_int_equal(table_entries(old), 0);
    assert_int_equal(table_entries(next), 0);
}

static void a_role_is_retired_in_both(void **state)
{
    struct fixture *fixture = *state;
    const struct table *table = fixture->publisher->table;
    fill_members(fixture);
    struct table *next = begin(fixture);
    fill_well(fixture, 1, server);
    assert_int_equal(publisher_retire_role(fixture->publisher, 100), 5);
    assert_int_equal(resident_in(table, 1, server, SEND), -1);
    assert_int_equal(resident_in(next, 1, server, SEND), -1);
    finish(fixture);
    assert_int_equal(publisher_entries(fixture->publisher), 1); /* the swept-out word of a closed set */
}

static void a_user_at_a_scope_is_retired_in_both(void **state)
{
    struct fixture *fixture = *state;
    const struct table *table = fixture->publisher->table;
    fill_members(fixture);
    struct table *next = begin(fixture);
    finish(fixture);
    assert_int_equal(publisher_retire_user_at(fixture->publisher, 3, channel), 1);
    assert_int_equal(resident_in(table, 3, channel, SEND), -1);
    assert_int_equal(resident_in(next, 3, channel, SEND), -1);
    assert_int_equal(resident_in(table, 4, channel, SEND), 1);
}

/* The channel is plain no more, and the table where nobody has asked for it since must know, too. */
static void a_fold_goes_from_both(void **state)
{
    struct fixture *fixture = *state;
    const struct table *old = fixture->publisher->table;
    fill_members(fixture);
    struct table *next = begin(fixture);
    finish(fixture);
    assert_int_equal(old->folding.folds, next->folding.folds);
    assert_int_equal(resident_in(old, 2, channel, SEND), 1);
    memory_role(&fixture->policy, 200, "editor", server, false, true);
    memory_grant(&fixture->policy, 200, GRANT_ALLOW, EDIT);
    memory_assign(&fixture->policy, 1, 200, channel, FACTS_NEVER);
    apply(fixture, (struct change){.kind = CHANGE_ASSIGNMENT, .user = 1, .role = 200, .scope = channel});
    fill_well(fixture, 1, server);
    assert_int_equal(resident_in(old, 1, server, EDIT), 0);
    assert_int_equal(resident_in(old, 1, channel, EDIT), -1);
    assert_int_equal(resident_in(next, 1, channel, EDIT), -1);
    assert_int_equal(old->folding.folds, next->folding.folds);
}

/* Two users share a set, one of whom has seen overwrites that did not apply: a change of inheritance must know it,
 * whoever of them came first. */
static void a_set_that_is_shared_remembers_what_one_has_seen(void **state)
{
    struct fixture *fixture = *state;
    const struct scope_key overwritten = {101, 3};
    memory_scope(&fixture->policy, overwritten, category, NULL);
    memory_role(&fixture->policy, 500, "nobody", server, false, true);
    memory_overwrite(&fixture->policy, overwritten, OVERWRITE_ROLE, 500, PIN, true);
    fill_well(fixture, 2, overwritten);
    struct table *next = begin(fixture);
    fill_well(fixture, 1, server);
    uint32_t slot = map_writer_find(&next->map, (struct map_key){1, server.id, server.type});
    uint32_t set = PERMTAB_SHM_WORD_INDEX(map_word(&next->map, slot));
    assert_false(next->sets.records[set].inputs.overwrites_seen);
    finish(fixture);
    assert_int_equal(next->sets.records[set].entries, 2);
    assert_true(next->sets.records[set].inputs.overwrites_seen);
}

/* A role that is resident in the retired table alone, because the new one had no set for its holders. */
static void each_table_decides_by_its_own_definitions(void **state)
{
    struct fixture *fixture = *state;
    const struct table *old = fixture->publisher->table;
    const struct scope_key other = {2, 1};
    fill_members(fixture);
    memory_scope(&fixture->policy, other, global, NULL);
    memory_role(&fixture->policy, 300, "everyone", other, true, true);
    memory_grant(&fixture->policy, 300, GRANT_ALLOW, PIN);
    fill_well(fixture, 6, other);
    assert_int_equal(resident_in(old, 6, other, PIN), 1);
    struct table *next = make(fixture, 2000, 1);
    assert_int_equal(publisher_grow_begin(fixture->publisher, next), 0);
    finish(fixture);
    bool left_out = set_table_role(&next->sets, 300) == NULL;
    for (size_t i = 0; i < fixture->policy.roles.count; i++)
        if (fixture->policy.roles.items[i].id == 300)
            fixture->policy.roles.items[i].is_default = false;
    apply(fixture, (struct change){.kind = CHANGE_ROLE, .role = 300, .scope = other});
    assert_int_equal(resident_in(old, 6, other, PIN), -1);
    assert_int_equal(resident_in(next, 6, other, PIN), -1);
    if (!left_out) /* the other way round, in the order of slots: nothing was shown */
        print_message("role 300 was copied\n");
}

/* ---- a pass over both -------------------------------------------------------------------------------------------- */

static bool is_three(void *context, uint64_t user)
{
    (void)context;
    return user == 3;
}

static const struct publisher_match match_three = {.user = is_three};

static void scan_to_the_end(struct fixture *fixture, struct publisher_scan *scan)
{
    uint64_t retired = 0;
    while (publisher_scan_slice(fixture->publisher, scan, 50, &match_three, &retired))
        ;
}

/* Begun in one table, and over when the other has taken its place. */
static void a_pass_goes_over_what_was_handed_over(void **state)
{
    struct fixture *fixture = *state;
    const struct table *old = fixture->publisher->table;
    struct publisher_scan scan;
    uint64_t retired = 0;
    fill_members(fixture);
    struct table *next = begin(fixture);
    for (unsigned i = 0; table_entries(next) < 5; i++)
        assert_int_equal(publisher_grow_slice(fixture->publisher, SECOND, 20), GROW_MORE);
    publisher_scan_begin(fixture->publisher, &scan, &match_three);
    uint32_t slots = map_slot_count(&old->map);
    /* To the last slot of the first table. */
    assert_true(publisher_scan_slice(fixture->publisher, &scan, slots - 1, &match_three, &retired));
    finish(fixture);
    scan_to_the_end(fixture, &scan);
    assert_int_equal(resident_in(old, 3, server, SEND), -1);
    assert_int_equal(resident_in(next, 3, server, SEND), -1);
    assert_int_equal(resident_in(next, 4, server, SEND), 1);
}

static void a_pass_goes_over_both(void **state)
{
    struct fixture *fixture = *state;
    const struct table *old = fixture->publisher->table;
    struct publisher_scan scan;
    fill_members(fixture);
    struct table *next = begin(fixture);
    finish(fixture);
    publisher_scan_begin(fixture->publisher, &scan, &match_three);
    scan_to_the_end(fixture, &scan);
    assert_int_equal(resident_in(old, 3, server, SEND), -1);
    assert_int_equal(resident_in(next, 3, server, SEND), -1);
    assert_int_equal(resident_in(old, 4, server, SEND), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup_growing, teardown_growing)
        T(facts_without_definitions_fill_both),
        T(a_user_with_many_roles_is_known),
        T(definitions_outlast_their_last_entry),
        T(nothing_is_copied_between_two_slices_of_a_batch),
        T(what_next_evicts_is_not_counted),
        T(what_nobody_asked_for_displaces_nothing),
        T(the_auditor_heals_both),
        T(a_role_is_retired_in_both),
        T(a_fold_goes_from_both),
        T(a_set_that_is_shared_remembers_what_one_has_seen),
        T(each_table_decides_by_its_own_definitions),
        T(a_user_at_a_scope_is_retired_in_both),
        T(a_pass_goes_over_what_was_handed_over),
        T(a_pass_goes_over_both),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
