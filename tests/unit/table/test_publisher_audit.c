/* The auditor's look into the table, for each thing that may be wrong there, put there on purpose through the
 * writer's own mapping. The auditor as a whole is test_audit.c's. */
#include "proxy/table/audit.h"

#include "proxy/table/batch.h"
#include "proxy/table/fill.h"
#include "proxy/table/private.h"
#include "proxy/table/retire.h"
#include "tests/support/memory_publisher.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SECOND 1000000000ull

enum { SEND, EDIT, PIN };

static const struct scope_key global = {0, 0}, server = {1, 1}, other = {2, 1}, channel = {100, 3};

struct bench {
    struct memory_policy policy;
    struct publisher *publisher;
    struct counters counters;
    uint64_t revision;
    struct audit_finding finding;
};

/* Role 100 of server 1 sends; role 200 edits and pins too. Users 1-3 have 100, 4-5 have 200. Channel 100 is plain. */
static int bench_new(void **state)
{
    struct bench *bench = calloc(1, sizeof *bench);
    memory_policy_init(&bench->policy);
    memory_permission(&bench->policy, "message.send");
    memory_permission(&bench->policy, "message.edit");
    memory_permission(&bench->policy, "message.pin");
    memory_scope(&bench->policy, server, global, NULL);
    memory_scope(&bench->policy, other, global, NULL);
    memory_scope(&bench->policy, channel, server, NULL);
    memory_role(&bench->policy, 100, "member", server, false, true);
    memory_role(&bench->policy, 200, "editor", server, false, true);
    memory_grant(&bench->policy, 100, GRANT_ALLOW, SEND);
    memory_grant(&bench->policy, 200, GRANT_ALLOW, SEND);
    memory_grant(&bench->policy, 200, GRANT_ALLOW, EDIT);
    memory_grant(&bench->policy, 200, GRANT_ALLOW, PIN);
    for (uint64_t user = 1; user <= 5; user++)
        memory_assign(&bench->policy, user, user <= 3 ? 100 : 200, server, FACTS_NEVER);
    bench->revision = 1;
    bench->publisher = memory_publisher(&bench->policy, 1000, 10, &bench->counters);
    *state = bench;
    return 0;
}

static int bench_free(void **state)
{
    struct bench *bench = *state;
    publisher_free(bench->publisher);
    memory_policy_fini(&bench->policy);
    free(bench);
    return 0;
}

static void read_facts(struct bench *bench, uint64_t user, struct scope_key scope, struct facts *facts)
{
    memory_read(bench->publisher, &bench->policy, bench->revision, user, scope, facts);
}

static void fill(struct bench *bench, uint64_t user, struct scope_key scope)
{
    memory_fill(bench->publisher, &bench->policy, bench->revision, user, scope);
}

static void fill_all(struct bench *bench)
{
    for (uint64_t user = 1; user <= 5; user++)
        fill(bench, user, channel); /* which is folded into the server */
}

static enum audit_outcome audit(struct bench *bench, uint64_t user, struct scope_key scope)
{
    struct facts facts;
    read_facts(bench, user, scope, &facts);
    enum audit_outcome outcome = publisher_audit(bench->publisher, &facts, &bench->finding);
    facts_fini(&facts);
    return outcome;
}

static void assert_finds(struct bench *bench, uint64_t user, struct scope_key scope, enum audit_fault fault,
                         bool overgrant, const char *what)
{
    assert_int_equal(audit(bench, user, scope), AUDIT_DIFFERS);
    if (strstr(bench->finding.what, what) == NULL)
        fail_msg("it says \"%s\", not \"%s\"", bench->finding.what, what);
    assert_int_equal(bench->finding.fault, fault);
    assert_int_equal(bench->finding.overgrant, overgrant);
}

static void assert_all_agree(struct bench *bench)
{
    for (uint64_t user = 1; user <= 5; user++) {
        assert_int_equal(audit(bench, user, server), AUDIT_AGREES);
        assert_int_equal(audit(bench, user, channel), AUDIT_AGREES);
    }
}

static uint32_t slot_of(const struct bench *bench, uint64_t user)
{
    uint32_t slot =
        map_writer_find(&bench->publisher->table->map, (struct map_key){user, server.id, server.type});
    assert_int_not_equal(slot, MAP_NO_SLOT);
    return slot;
}

static uint32_t set_of(const struct bench *bench, uint64_t user)
{
    return PERMTAB_SHM_WORD_INDEX(map_word(&bench->publisher->table->map, slot_of(bench, user)));
}

/* 1 allowed, 0 denied, -1 not resident. */
static int sees(const struct bench *bench, uint64_t user, struct scope_key scope, uint32_t bit)
{
    struct answer answer;
    struct permtab_shm_look look;
    if (permtab_shm_look_once(&bench->publisher->table->segment.table, user, scope.id, scope.type, &look) !=
            PERMTAB_SHM_FOUND ||
        !publisher_lookup(bench->publisher, user, scope, &answer))
        return -1;
    int allowed = bitmap_test(answer.any, bit);
    answer_fini(&answer);
    return allowed;
}

/* ---- what may be wrong ------------------------------------------------------------------------------------------- */

static void what_is_right_agrees(void **state)
{
    struct bench *bench = *state;
    fill_all(bench);
    assert_int_equal(bench->counters.folds, 1);
    assert_all_agree(bench);
    assert_int_equal(audit(bench, 6, server), AUDIT_UNSURE); /* not resident */
    fill(bench, 6, (struct scope_key){55, 3});               /* nowhere */
    assert_int_equal(audit(bench, 6, (struct scope_key){55, 3}), AUDIT_AGREES);
}

static void a_word_that_was_changed(void **state)
{
    struct bench *bench = *state;
    fill_all(bench);
    uint32_t members = set_of(bench, 1), editors = set_of(bench, 5);
    map_replace_writer(&bench->publisher->table->map, slot_of(bench, 2), editors);
    assert_int_equal(sees(bench, 2, channel, PIN), 1);
    assert_finds(bench, 2, channel, AUDIT_FAULT_ENTRY, true, "another set");
    assert_int_equal(bench->finding.set, editors);
    publisher_audit_retire(bench->publisher, &(struct audit_question){2, channel}, SECOND);
    assert_int_equal(sees(bench, 2, channel, PIN), -1);
    assert_int_equal(sees(bench, 2, server, SEND), -1);
    /* And the set that it did not belong to has not lost the hold of one that does. */
    assert_int_equal(bench->publisher->table->sets.records[editors].entries, 2);
    publisher_retire_user(bench->publisher, 4);
    assert_int_equal(sees(bench, 5, server, PIN), 1);
    fill_all(bench);
    assert_all_agree(bench);
    /* The other way round: allowed too little. */
    map_replace_writer(&bench->publisher->table->map, slot_of(bench, 5), members);
    assert_finds(bench, 5, server, AUDIT_FAULT_ENTRY, false, "another set");
}

static void write_set(struct bench *bench, uint32_t set, uint64_t any, uint64_t own)
{
    struct segment *segment = &bench->publisher->table->segment;
    set_close_writer(segment, set);
    set_write_writer(segment, set, &any, &own);
    set_open_writer(segment, set);
}

static void a_set_whose_bits_were_flipped(void **state)
{
    struct bench *bench = *state;
    uint64_t right = 1u << SEND, more = 1u << SEND | 1u << PIN;
    fill_all(bench);
    uint32_t members = set_of(bench, 1);
    write_set(bench, members, more, more);
    assert_finds(bench, 3, server, AUDIT_FAULT_SET, true, "other bits");
    write_set(bench, members, 0, 0);
    assert_finds(bench, 3, server, AUDIT_FAULT_SET, false, "other bits");
    write_set(bench, members, right, more); /* own alone */
    assert_finds(bench, 3, server, AUDIT_FAULT_SET, true, "other bits");
    set_close_writer(&bench->publisher->table->segment, members); /* and never opened again */
    assert_finds(bench, 3, server, AUDIT_FAULT_BOOKS, false, "do not find");
    set_open_writer(&bench->publisher->table->segment, members);
    publisher_audit_abandon(bench->publisher, members, bench->finding.generation + 2);
    assert_int_equal(sees(bench, 1, server, SEND), 1); /* another set of that number: left alone */
    publisher_audit_abandon(bench->publisher, members, bench->finding.generation);
    for (uint64_t user = 1; user <= 3; user++)
        assert_int_equal(sees(bench, user, channel, SEND), -1);
    assert_int_equal(sees(bench, 4, channel, PIN), 1);
    fill_all(bench);
    assert_all_agree(bench);
}

static void a_word_that_names_no_set(void **state)
{
    struct bench *bench = *state;
    fill_all(bench);
    uint32_t members = set_of(bench, 1);
    map_replace_writer(&bench->publisher->table->map, slot_of(bench, 1), 77); /* free */
    assert_finds(bench, 1, server, AUDIT_FAULT_BOOKS, false, "not in use");
    map_replace_writer(&bench->publisher->table->map, slot_of(bench, 1), 5000000); /* beyond the last */
    assert_finds(bench, 1, server, AUDIT_FAULT_BOOKS, false, "not in use");
    map_replace_writer(&bench->publisher->table->map, slot_of(bench, 1), members);
    assert_all_agree(bench);
}

/* A slot without an entry, which no list may name: its own links lead nowhere. */
static uint32_t empty_slot(const struct bench *bench)
{
    struct entries *entries = &bench->publisher->table->entries;
    uint32_t slot = 0;
    while (map_word(&bench->publisher->table->map, slot) != 0)
        slot++;
    memset(&entries->links[slot], 0xff, sizeof entries->links[slot]);
    return slot;
}

static void lists_out_of_step(void **state)
{
    struct bench *bench = *state;
    fill_all(bench);
    struct entries *entries = &bench->publisher->table->entries;
    uint32_t slot = slot_of(bench, 1), *links = (uint32_t *)&entries->links[slot];
    const uint32_t wrong[] = {empty_slot(bench), UINT32_MAX - 5, NO_ENTRY};
    for (size_t i = 0; i < sizeof(struct entry_links) / sizeof *links; i++) {
        uint32_t before = links[i];
        for (size_t k = 0; k < 3; k++) {
            links[i] = wrong[k];
            if (wrong[k] != NO_ENTRY) /* that may be right for what this list knows of it */
                assert_finds(bench, 1, server, AUDIT_FAULT_BOOKS, false, "lists");
        }
        links[i] = before;
    }
    /* Retiring a user would no longer find the entry. User 5 was filled last, so his entry is the first of its
     * list, which he may share with another user. */
    for (uint32_t i = 0; i < entries->user_head_count; i++)
        entries->user_heads[i] = NO_ENTRY;
    assert_int_equal(publisher_retire_user(bench->publisher, 5), 0);
    assert_finds(bench, 5, server, AUDIT_FAULT_BOOKS, false, "lists");
}

static void a_role_that_has_forgotten_a_set(void **state)
{
    struct bench *bench = *state;
    fill_all(bench);
    struct resident_role *role = set_table_role(&bench->publisher->table->sets, 100);
    assert_int_equal(role->link_count, 1);
    role->link_count = 0;
    assert_finds(bench, 1, server, AUDIT_FAULT_BOOKS, false, "its set is not where");
    role->link_count = 1;
    role->links[0].generation--;
    assert_finds(bench, 1, server, AUDIT_FAULT_BOOKS, false, "its set is not where");
    role->links[0].generation++;
    assert_all_agree(bench);
    struct set_record *record = &bench->publisher->table->sets.records[set_of(bench, 1)];
    record->inputs.held[0].role = 200; /* the bits are still right */
    assert_finds(bench, 1, server, AUDIT_FAULT_BOOKS, false, "role definitions");
    record->inputs.held[0].role = 100;
}

static void a_definition_that_is_not_the_stores(void **state)
{
    struct bench *bench = *state;
    fill_all(bench);
    memory_grant(&bench->policy, 100, GRANT_DENY, SEND); /* no change row */
    assert_finds(bench, 1, server, AUDIT_FAULT_BOOKS, true, "role definitions");
    assert_int_equal(audit(bench, 4, server), AUDIT_AGREES);
}

static void rows_that_went_unseen(void **state)
{
    struct bench *bench = *state;
    fill_all(bench);
    bench->policy.assignments.count = 0; /* TRUNCATE */
    for (uint64_t user = 1; user <= 5; user++) {
        /* The first is seen through the fold, which goes with it. */
        struct audit_question question = {user, user == 1 ? channel : server};
        assert_finds(bench, user, question.scope, AUDIT_FAULT_ENTRY, true, "another set");
        publisher_audit_retire(bench->publisher, &question, SECOND);
        assert_int_equal(sees(bench, user, channel, SEND), -1);
        assert_int_equal(sees(bench, user, server, SEND), -1);
    }
    assert_int_equal(bench->counters.folds, 0);
    assert_int_equal(bench->counters.entries, 0);
}

static void a_scope_that_moved_unseen(void **state)
{
    struct bench *bench = *state;
    memory_overwrite(&bench->policy, channel, OVERWRITE_USER, 1, PIN, true); /* so that it is not folded */
    fill(bench, 1, channel);
    assert_int_equal(audit(bench, 1, channel), AUDIT_AGREES);
    memory_assign(&bench->policy, 1, 300, other, FACTS_NEVER);
    memory_role(&bench->policy, 300, "same", other, false, true);
    memory_grant(&bench->policy, 300, GRANT_ALLOW, SEND);
    memory_scope(&bench->policy, channel, other, NULL); /* the same bits from elsewhere */
    assert_finds(bench, 1, channel, AUDIT_FAULT_BOOKS, false, "hangs elsewhere");
}

static void a_fold_that_leads_elsewhere(void **state)
{
    struct bench *bench = *state;
    fill_all(bench);
    memory_overwrite(&bench->policy, other, OVERWRITE_USER, 2, PIN,
                     true); /* so that it is not folded itself */
    fill(bench, 1, other);
    const struct scope_node *node = scope_tree_find(&bench->publisher->table->scopes, server);
    segment_target_set_writer(&bench->publisher->table->segment, node->target_index, other.type, other.id);
    assert_finds(bench, 1, channel, AUDIT_FAULT_BOOKS, false, "do not find");
    segment_target_set_writer(&bench->publisher->table->segment, node->target_index, server.type, server.id);
    assert_all_agree(bench);
}

static void a_scope_that_came_unseen(void **state)
{
    struct bench *bench = *state;
    struct scope_key late = {300, 3};
    fill(bench, 1, late);
    assert_int_equal(audit(bench, 1, late), AUDIT_AGREES);
    memory_scope(&bench->policy, late, server, NULL);
    assert_finds(bench, 1, late, AUDIT_FAULT_BOOKS, false, "in the store here and not there");
}

/* ---- the fence --------------------------------------------------------------------------------------------------- */

static void apply(struct bench *bench, struct change change)
{
    struct batch batch = {.at = {7, ++bench->revision, 1}, .now = 1000};
    change.revision = bench->revision;
    change.nonce = 1;
    batch.changes.items = malloc(sizeof change);
    batch.changes.items[0] = change;
    batch.changes.count = 1;
    assert_int_equal(publisher_batch(bench->publisher, &batch, SECOND, NULL), 0);
    batch_fini(&batch);
}

static void facts_of_another_time_say_nothing(void **state)
{
    struct bench *bench = *state;
    struct facts facts;
    fill_all(bench);
    read_facts(bench, 1, server, &facts);
    facts.revision = 2;
    assert_int_equal(publisher_audit(bench->publisher, &facts, &bench->finding), AUDIT_EARLY);
    facts.revision = 1;
    facts.assignments[0].role = 200; /* what the fill of a moment ago would have made of it */
    apply(bench, (struct change){.kind = CHANGE_ASSIGNMENT, .user = 2, .role = 100, .scope = server});
    assert_int_equal(publisher_audit(bench->publisher, &facts, &bench->finding), AUDIT_DIFFERS);
    apply(bench, (struct change){.kind = CHANGE_ASSIGNMENT, .user = 1, .role = 100, .scope = server});
    fill(bench, 1, server);
    assert_int_equal(publisher_audit(bench->publisher, &facts, &bench->finding), AUDIT_UNSURE);
    facts.generation--; /* of a table before this one */
    facts.revision = 3;
    assert_int_equal(publisher_audit(bench->publisher, &facts, &bench->finding), AUDIT_UNSURE);
    facts.revision = 4; /* nor is that ever reached */
    assert_int_equal(publisher_audit(bench->publisher, &facts, &bench->finding), AUDIT_UNSURE);
    facts.generation++;
    facts.nonce = 2; /* of another history */
    facts.revision = 3;
    assert_int_equal(publisher_audit(bench->publisher, &facts, &bench->finding), AUDIT_UNSURE);
    facts_fini(&facts);
}

static void an_assignment_about_to_end_says_nothing(void **state)
{
    struct bench *bench = *state;
    bench->policy.assignments.items[0].expires_at = 1000 + 2000000; /* at the end of the lease */
    bench->policy.assignments.items[1].expires_at = 1000 + 2000001;
    fill_all(bench);
    assert_int_equal(audit(bench, 1, server), AUDIT_UNSURE);
    assert_int_equal(audit(bench, 2, server), AUDIT_AGREES);
    bench->policy.assignments.items[1].expires_at = 1000; /* has ended; nobody said so */
    assert_finds(bench, 2, server, AUDIT_FAULT_ENTRY, true, "another set");
}

/* ---- choosing ---------------------------------------------------------------------------------------------------- */

static void everybody_has_a_turn(void **state)
{
    struct bench *bench = *state;
    struct audit_dice dice = {.random = 42};
    struct audit_question question;
    unsigned direct[6] = {0}, folded = 0;
    assert_false(publisher_audit_pick(bench->publisher, &dice, &question));
    fill_all(bench);
    for (int i = 0; i < 4000; i++) {
        assert_true(publisher_audit_pick(bench->publisher, &dice, &question));
        assert_in_range(question.user, 1, 5);
        if (scope_equal(question.scope, server))
            direct[question.user]++;
        else if (scope_equal(question.scope, channel))
            folded++;
    }
    for (uint64_t user = 1; user <= 5; user++)
        assert_in_range(direct[user], 450, 750);
    assert_in_range(folded, 800, 1200);
    /* One alone in a large table is found, too. */
    publisher_retire_user(bench->publisher, 1);
    for (uint64_t user = 3; user <= 5; user++)
        publisher_retire_user(bench->publisher, user);
    for (int i = 0; i < 50; i++) {
        assert_true(publisher_audit_pick(bench->publisher, &dice, &question));
        assert_int_equal(question.user, 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, bench_new, bench_free)
        T(what_is_right_agrees),
        T(a_word_that_was_changed),
        T(a_set_whose_bits_were_flipped),
        T(a_word_that_names_no_set),
        T(lists_out_of_step),
        T(a_role_that_has_forgotten_a_set),
        T(a_definition_that_is_not_the_stores),
        T(rows_that_went_unseen),
        T(a_scope_that_moved_unseen),
        T(a_fold_that_leads_elsewhere),
        T(a_scope_that_came_unseen),
        T(facts_of_another_time_say_nothing),
        T(an_assignment_about_to_end_says_nothing),
        T(everybody_has_a_turn),
#undef T
    };
    return cmocka_run_group_tests_name("publisher_audit", tests, NULL, NULL);
}
