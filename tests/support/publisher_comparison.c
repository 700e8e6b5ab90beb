/* Comparisons of a publisher with the truth. Each fails the test that calls it. */
#include "tests/support/publisher_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void truth(struct publisher_world *world, uint64_t user, struct scope_key scope, int64_t now,
                  uint64_t bits[4])
{
    struct facts facts;
    struct inputs inputs;
    struct catalogue catalogue;
    memory_facts(&world->applied, user, scope, now, &facts);
    memory_catalogue(&world->applied, 2, &catalogue);
    role_list_sort(&facts.roles);
    assert_int_equal(inputs_build(&inputs, &facts, now, role_list_find, &facts.roles, NULL), 0);
    assert_int_equal(resolve(&catalogue, &inputs, role_list_find, &facts.roles, bits, bits + 2), 0);
    inputs_fini(&inputs);
    facts_fini(&facts);
    catalogue_fini(&catalogue);
}

void publisher_world_compare(struct publisher_world *world, uint64_t user, struct scope_key scope,
                             const struct answer *answer, int64_t now)
{
    uint64_t bits[4];
    truth(world, user, scope, now, bits);
    for (int word = 0; word < 2; word++) {
        if (answer->any[word] != bits[word] || answer->own[word] != bits[2 + word])
            fail_msg(
                "user %d at %d:%d, revision %d: the table says %016llx/%016llx, the policy %016llx/%016llx",
                (int)user, (int)scope.type, (int)scope.id, (int)world->publisher->at.revision,
                (unsigned long long)answer->any[word], (unsigned long long)answer->own[word],
                (unsigned long long)bits[word], (unsigned long long)bits[2 + word]);
    }
}

/* What readers of a table find, leases aside. */
static bool look(struct publisher_world *world, const struct table *table, uint64_t user,
                 struct scope_key scope, struct answer *answer)
{
    struct permtab_shm_look look;
    if (permtab_shm_look_once(&table->segment.table, user, scope.id, scope.type, &look) != PERMTAB_SHM_FOUND)
        return false;
    uint32_t set = PERMTAB_SHM_WORD_INDEX(look.entry.word);
    assert_int_equal(publisher_answer_from_set(world->publisher, table, set, answer), 0);
    return true;
}

static void compare_table(struct publisher_world *world, const struct table *table)
{
    for (uint32_t slot = 0; slot < map_slot_count(&table->map); slot++) {
        struct map_key key = map_key_at(&table->map, slot);
        uint32_t set = PERMTAB_SHM_WORD_INDEX(map_word(&table->map, slot));
        struct answer answer;
        if (set == 0 || table->sets.records[set].abandoned)
            continue;
        assert_int_equal(publisher_answer_from_set(world->publisher, table, set, &answer), 0);
        publisher_world_compare(world, key.key0, (struct scope_key){key.key1, key.type}, &answer,
                                world->applied_now);
        answer_fini(&answer);
    }
    for (uint64_t user = 0; user < world->past.users; user++) {
        for (uint32_t type = 0; type <= 3; type++) {
            static const uint64_t first[] = {0, 1, 10, 100}, count[] = {1, 5, 6, 8};
            for (uint64_t id = first[type]; id < first[type] + count[type]; id++) {
                struct scope_key scope = {id, type};
                struct answer answer;
                if (!look(world, table, user, scope, &answer))
                    continue;
                publisher_world_compare(world, user, scope, &answer, world->applied_now);
                answer_fini(&answer);
                world->beside += table != world->publisher->table;
            }
        }
    }
}

/* What readers take from the header, and nobody else sets right. */
static void compare_header(struct publisher_world *world, const struct table *table)
{
    const struct permtab_shm_beat *beat = &table->segment.header->beat;
    const struct publisher *publisher = world->publisher;
    assert_int_equal(beat->applied_revision, publisher->at.revision);
    assert_int_equal(beat->expiry_applied, publisher->expiry);
    assert_int_equal(beat->catalogue, publisher->table->segment.header->beat.catalogue);
    assert_int_equal(beat->fold_count, table->folding.folds);
    for (size_t i = 0; i < publisher->catalogue.count; i++)
        if (!publisher->catalogue.permissions[i].deleted)
            assert_string_equal(table->segment.names[publisher->catalogue.permissions[i].bit].text,
                                publisher->catalogue.permissions[i].name);
    bool live = table == publisher->table;
    assert_int_equal(beat->state, live                                ? PERMTAB_SHM_LIVE
                                  : publisher->other_is == OTHER_NEXT ? PERMTAB_SHM_VOID
                                                                      : PERMTAB_SHM_RETIRED);
    if (publisher->other_is == OTHER_NEXT && !live)
        assert_int_equal(beat->lease_deadline, 0);
    if (publisher->other_is == OTHER_RETIRED)
        assert_int_equal(beat->lease_deadline, publisher_deadline(publisher));
}

void publisher_world_compare_all(struct publisher_world *world)
{
    EACH_TABLE(world->publisher, table)
    {
        compare_table(world, table);
        compare_header(world, table);
    }
}

void publisher_world_audit(struct publisher_world *world, struct facts *facts)
{
    struct audit_finding finding;
    EACH_TABLE(world->publisher, table)
    {
        enum audit_outcome outcome = publisher_audit_table(world->publisher, table, facts, &finding);
        if (outcome == AUDIT_DIFFERS)
            fail_msg("user %d at %d:%d: the auditor says of table %d: %s", (int)facts->user,
                     (int)facts->scope.type, (int)facts->scope.id, table != world->publisher->table,
                     finding.what);
        world->agreed += outcome == AUDIT_AGREES;
    }
}

static void audit(struct publisher_world *world, uint64_t user, struct scope_key scope)
{
    struct facts facts;
    memory_facts(&world->applied, user, scope, world->applied_now, &facts);
    facts.revision = world->publisher->at.revision;
    facts.nonce = world->publisher->at.nonce;
    facts.now = world->applied_now;
    facts.generation = publisher_generation(world->publisher);
    publisher_world_audit(world, &facts);
    facts_fini(&facts);
}

/* Every entry, and every scope that is folded into where an entry is. */
static void audit_table(struct publisher_world *world, const struct table *table)
{
    for (uint32_t slot = 0; slot < map_slot_count(&table->map); slot++) {
        struct map_key key = map_key_at(&table->map, slot);
        if (map_word(&table->map, slot) != 0)
            audit(world, key.key0, (struct scope_key){key.key1, key.type});
    }
    for (uint32_t slot = 0; slot < map_slot_count(&table->folding.map); slot++) {
        struct map_key key = map_key_at(&table->folding.map, slot);
        for (uint64_t user = 0; user < world->past.users && map_word(&table->folding.map, slot) != 0; user++)
            audit(world, user, (struct scope_key){key.key1, key.type});
    }
}

void publisher_world_audit_all(struct publisher_world *world)
{
    EACH_TABLE(world->publisher, table)
    audit_table(world, table);
}

static bool found_in(struct publisher_world *world, const struct table *table, const struct facts *facts)
{
    struct answer answer;
    if (!look(world, table, facts->user, facts->scope, &answer))
        return false;
    answer_fini(&answer);
    return true;
}

void publisher_world_found(struct publisher_world *world, const struct facts *facts, uint64_t exhausted)
{
    const struct table *other = world->publisher->other;
    if (facts->broken)
        return;
    if (world->counters.sets_exhausted == exhausted && !found_in(world, world->publisher->table, facts))
        fail_msg("user %d at %d:%d was filled and is not found", (int)facts->user, (int)facts->scope.type,
                 (int)facts->scope.id);
    if (other != NULL && set_table_has_room(&other->sets, world->clock_ns) && !found_in(world, other, facts))
        fail_msg("user %d at %d:%d was filled and is not found beside", (int)facts->user,
                 (int)facts->scope.type, (int)facts->scope.id);
}

/* Nobody finds the user, or anything at or below the scope, in any table. */
void publisher_world_gone(struct publisher_world *world, uint64_t user, bool all_users,
                          struct scope_key scope, bool all_scopes)
{
    EACH_TABLE(world->publisher, table)
    {
        for (uint32_t slot = 0; slot < map_slot_count(&table->map); slot++) {
            struct map_key key = map_key_at(&table->map, slot);
            if (map_word(&table->map, slot) == 0 || (!all_users && key.key0 != user))
                continue;
            const struct scope_node *node =
                scope_tree_find(&table->scopes, (struct scope_key){key.key1, key.type});
            while (!all_scopes && node != NULL && !scope_equal(node->key, scope))
                node = node->parent;
            if (all_scopes || node != NULL)
                fail_msg("user %d at %d:%d was retired and is in table %d", (int)key.key0, (int)key.type,
                         (int)key.key1, table != world->publisher->table);
        }
    }
}

/* Whatever the table has and next has room for is in next: its entries and its folds. */
void publisher_world_copied(struct publisher_world *world)
{
    const struct table *table = world->publisher->table, *before = world->publisher->other;
    if (before->options.sets >= table->options.sets || before->options.entries >= table->options.entries ||
        world->next_was_full)
        return;
    for (uint32_t slot = 0; slot < map_slot_count(&before->map); slot++) {
        struct map_key key = map_key_at(&before->map, slot);
        uint32_t set = PERMTAB_SHM_WORD_INDEX(map_word(&before->map, slot));
        if (set == 0 || before->sets.records[set].abandoned)
            continue;
        uint32_t copy = map_writer_find(&table->map, key);
        if (copy == MAP_NO_SLOT)
            fail_msg("user %d at %d:%d was not copied", (int)key.key0, (int)key.type, (int)key.key1);
        assert_int_equal(entries_kind(&table->entries, copy), entries_kind(&before->entries, slot));
        world->copied++;
    }
    for (const struct resident_role *role = before->sets.watched; role != NULL; role = role->next_watched)
        assert_true(set_table_role(&table->sets, role->id)->watched);
}
