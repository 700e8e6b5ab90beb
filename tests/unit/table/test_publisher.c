/* The publisher, one promise at a time: what is retired, what stays, what a role edit costs.
 * Random histories are in test_publisher_property.c. */
#include "tests/unit/table/publisher_fixture.h"

static void one_user_is_retired_alone(void **state)
{
    struct fixture *fixture = *state;
    for (uint64_t user = 1; user <= 5; user++)
        fill_well(fixture, user, server);
    fixture->policy.assignments.items[2].role = 999; /* whichever row: the user is what the change names */
    apply(fixture, (struct change){.kind = CHANGE_ASSIGNMENT, .user = 3, .role = 100, .scope = server});
    for (uint64_t user = 1; user <= 5; user++)
        assert_int_equal(resident(fixture, user, server, SEND), user == 3 ? -1 : 1);
    assert_int_equal(fixture->counters.entries_retired, 1);
}

static void role_edit_touches_no_entry(void **state)
{
    struct fixture *fixture = *state;
    for (uint64_t user = 1; user <= 5; user++)
        fill_well(fixture, user, server);
    assert_int_equal(fixture->counters.sets, 1);
    memory_grant(&fixture->policy, 100, GRANT_ALLOW, PIN);
    apply(fixture, (struct change){.kind = CHANGE_ROLE_GRANT, .role = 100});
    for (uint64_t user = 1; user <= 5; user++)
        assert_int_equal(resident(fixture, user, server, PIN), 1);
    assert_int_equal(fixture->counters.entries_retired, 0);
    assert_int_equal(fixture->counters.sets_rewritten, 1);
}

static void plain_scopes_share_their_ancestors_entry(void **state)
{
    struct fixture *fixture = *state;
    fill_well(fixture, 1, channel);
    assert_int_equal(resident(fixture, 1, channel, SEND), 1);
    assert_int_equal(resident(fixture, 1, server, SEND), 1);
    fill_well(fixture, 2, server);
    assert_int_equal(resident(fixture, 2, channel, SEND), 1); /* never filled there */
    assert_int_equal(fixture->counters.folds, 1);
    assert_int_equal(fixture->counters.entries, 2);
}

static void overwrite_between_takes_the_fold_away(void **state)
{
    struct fixture *fixture = *state;
    fill_well(fixture, 1, channel);
    memory_overwrite(&fixture->policy, category, OVERWRITE_USER, 2, SEND, false);
    apply(fixture, (struct change){.kind = CHANGE_OVERWRITE, .scope = category, .user = 2});
    /* The category has no fold of its own, but the channel's relied on it. */
    assert_int_equal(fixture->counters.folds, 0);
    assert_int_equal(resident(fixture, 1, channel, SEND), -1);
    assert_int_equal(resident(fixture, 1, server, SEND), 1);
}

static void outdated_plainness_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct facts facts;
    struct answer answer = {0};
    read_facts(fixture, 1, channel, &facts); /* sees a plain channel */
    memory_assign(&fixture->policy, 2, 100, channel, FACTS_NEVER);
    apply(fixture, (struct change){.kind = CHANGE_ASSIGNMENT, .user = 2, .role = 100, .scope = channel});
    assert_int_equal(publisher_fill(fixture->publisher, &facts, SECOND, &answer), PUBLISHER_OUTDATED);
    facts_fini(&facts);
}

static void early_and_outdated_fills_are_refused(void **state)
{
    struct fixture *fixture = *state;
    struct facts facts;
    struct answer answer = {0};
    read_facts(fixture, 1, server, &facts);
    facts.revision = 2;
    assert_int_equal(publisher_fill(fixture->publisher, &facts, SECOND, &answer), PUBLISHER_EARLY);
    facts.revision = 1;
    apply(fixture, (struct change){.kind = CHANGE_ROLE_GRANT, .role = 100});
    assert_int_equal(publisher_fill(fixture->publisher, &facts, SECOND, &answer), PUBLISHER_OUTDATED);
    facts_fini(&facts);
}

static void absent_scope_is_remembered_until_it_appears(void **state)
{
    struct fixture *fixture = *state;
    struct scope_key later = {2, 1};
    fill_well(fixture, 1, later);
    assert_int_equal(resident(fixture, 1, later, SEND), 0);
    assert_int_equal(fixture->counters.entries_negative, 1);
    memory_scope(&fixture->policy, later, global, NULL);
    apply(fixture, (struct change){.kind = CHANGE_SCOPE, .scope = later});
    assert_int_equal(resident(fixture, 1, later, SEND), -1);
    assert_int_equal(fixture->counters.entries_negative, 0);
}

/* Windows fill before the table does: entries move to make room, and the configured number fits exactly. */
static void configured_entries_fit(void **state)
{
    struct fixture *fixture = *state;
    memory_role(&fixture->policy, 101, "everyone", server, true, true);
    memory_grant(&fixture->policy, 101, GRANT_ALLOW, SEND);
    for (uint64_t user = 1; user <= 1000; user++)
        fill_well(fixture, user, server);
    for (uint64_t user = 1; user <= 1000; user++)
        assert_int_equal(resident(fixture, user, server, SEND), 1);
    assert_int_equal(fixture->counters.entries_evicted, 0);
    fill_well(fixture, 1001, server); /* the first one filled makes room */
    assert_int_equal(fixture->counters.entries_evicted, 1);
    assert_int_equal(resident(fixture, 1, server, SEND), -1);
    assert_int_equal(fixture->counters.entries, 1000);
}

/* Entries of what is not there may stay as long as nobody needs the room. */
static void negative_entries_give_way(void **state)
{
    struct fixture *fixture = *state;
    memory_role(&fixture->policy, 101, "everyone", server, true, true);
    for (uint64_t id = 0; id < 2000; id++)
        fill_well(fixture, 1, (struct scope_key){1000 + id, 1});
    assert_int_equal(fixture->counters.entries_negative, 1000);
    for (uint64_t user = 1; user <= 1000; user++)
        fill_well(fixture, user, server);
    /* An eighth of the table stays theirs. */
    assert_int_equal(fixture->counters.entries, 1000);
    assert_int_equal(fixture->counters.entries_negative, 1000 / 8 + 1);
}

static void fill_stranger(struct fixture *fixture, uint64_t user, struct scope_key scope)
{
    struct facts facts;
    struct answer answer = {0};
    read_facts(fixture, user, scope, &facts);
    facts.stranger = true;
    assert_int_equal(publisher_fill(fixture->publisher, &facts, SECOND, &answer), PUBLISHER_FILLED);
    answer_fini(&answer);
    facts_fini(&facts);
}

static unsigned residents(struct fixture *fixture, uint64_t first, uint64_t last)
{
    unsigned count = 0;
    for (uint64_t user = first; user <= last; user++)
        count += resident(fixture, user, server, SEND) >= 0;
    return count;
}

static void strangers_displace_nobody(void **state)
{
    struct fixture *fixture = *state;
    memory_role(&fixture->policy, 101, "everyone", server, true, true);
    for (uint64_t user = 1; user <= 800; user++)
        fill_well(fixture, user, server);
    for (uint64_t user = 1000; user < 101000; user++)
        fill_stranger(fixture, user, server);
    assert_int_equal(residents(fixture, 1, 800), 800);
    assert_in_range(fixture->counters.entries_negative, 1000 / 8 + 1, 200);
    assert_in_range(residents(fixture, 100000, 100999), 1, 200);
}

/* Strangers have their eighth and no more when known users fill the table; and known ones get the rest of it back.
 * Once it may happen that a window is full and a known one of it makes room beside the one that the table is full
 * for: then a place is free, and the next to come may take it, of either kind (test_table.c brings that about). */
static void strangers_have_an_eighth_of_a_full_table(void **state)
{
    struct fixture *fixture = *state;
    const uint64_t part = 1000 / 8 + 1;
    memory_role(&fixture->policy, 101, "everyone", server, true, true);
    for (uint64_t user = 1; user <= 1000; user++)
        fill_well(fixture, user, server);
    for (uint64_t user = 2000; user < 22000; user++)
        fill_stranger(fixture, user, server);
    assert_in_range(fixture->counters.entries_negative, part - 1, part + 1);
    assert_in_range(residents(fixture, 1, 1000), 1000 - part - 1, 1000 - part);
    for (uint64_t user = 1; user <= 1000; user++)
        fill_well(fixture, user, server);
    assert_in_range(fixture->counters.entries_negative, part - 1, part);
    assert_in_range(residents(fixture, 1, 1000), 1000 - part - 1, 1000 - part + 1);
}

/* A user who was a stranger and is filled as known is one of those who stay, and the other way round. */
static void kinds_change_with_the_fill(void **state)
{
    struct fixture *fixture = *state;
    fill_stranger(fixture, 1, server);
    fill_stranger(fixture, 2, server);
    assert_int_equal(fixture->counters.entries_negative, 2);
    fill_well(fixture, 1, server);
    assert_int_equal(fixture->counters.entries_negative, 1);
    fill_stranger(fixture, 1, server);
    assert_int_equal(fixture->counters.entries_negative, 2);
    publisher_retire_user(fixture->publisher, 1);
    publisher_retire_user(fixture->publisher, 2);
    fill_well(fixture, 3, server);
    assert_int_equal(fixture->counters.entries_negative, 0);
    assert_int_equal(fixture->counters.entries, 1);
}

/* What is counted as missed is what a larger table might have had: users with rows, once while they are there. */
static void who_is_there_is_missed_once(void **state)
{
    struct fixture *fixture = *state;
    const struct counters *counters = &fixture->counters;
    fill_well(fixture, 1, server);
    fill_well(fixture, 1, server);
    fill_well(fixture, 1, channel); /* which answers as the server */
    assert_int_equal(counters->fills, 3);
    assert_int_equal(counters->fills_known, 1);
    fill_well(fixture, 1, (struct scope_key){77, 3}); /* which is not there */
    fill_stranger(fixture, 99, server);
    assert_int_equal(counters->fills, 5);
    assert_int_equal(counters->fills_known, 1);
    publisher_retire_user(fixture->publisher, 1);
    fill_well(fixture, 1, server);
    assert_int_equal(counters->fills_known, 2);
}

/* Facts that nobody has asked for find no room: then nothing was filled. */
static void what_is_not_put_is_no_fill(void **state)
{
    struct fixture *fixture = *state;
    struct facts facts;
    struct answer answer = {0};
    fill_well(fixture, 1, server);
    fixture->publisher->table->entries_max = 1;
    read_facts(fixture, 2, server, &facts);
    facts.unasked = true;
    assert_int_equal(publisher_fill(fixture->publisher, &facts, SECOND, &answer), PUBLISHER_FILLED);
    answer_fini(&answer);
    facts_fini(&facts);
    assert_int_equal(resident(fixture, 2, server, SEND), -1);
    assert_int_equal(fixture->counters.fills, 1);
}

/* A role that nobody holds in its place is in no set, and yet somebody's assignment may wait for it to move there. */
static void assignment_falls_into_place(void **state)
{
    struct fixture *fixture = *state;
    struct scope_key other = {2, 1};
    memory_scope(&fixture->policy, other, global, NULL);
    memory_role(&fixture->policy, 300, "muted", other, false, true);
    memory_grant(&fixture->policy, 300, GRANT_DENY, SEND);
    memory_assign(&fixture->policy, 1, 300, server,
                  FACTS_NEVER); /* means nothing: the role is of the other server */
    fill_well(fixture, 1, server);
    assert_int_equal(resident(fixture, 1, server, SEND), 1);
    fixture->policy.roles.items[1].scope = server;
    apply(fixture, (struct change){.kind = CHANGE_ROLE, .role = 300, .scope = server});
    assert_true(resident(fixture, 1, server, SEND) < 1);
}

/* SQLite's REPLACE of a role leaves one change row, for the new place. */
static void replaced_role_leaves_its_former_place(void **state)
{
    struct fixture *fixture = *state;
    struct scope_key other = {2, 1};
    memory_scope(&fixture->policy, other, global, NULL);
    fill_well(fixture, 1, server);
    assert_int_equal(resident(fixture, 1, server, SEND), 1);
    fixture->policy.roles.items[0].scope = other;
    apply(fixture, (struct change){.kind = CHANGE_ROLE, .role = 100, .scope = other});
    assert_true(resident(fixture, 1, server, SEND) < 1);
}

/* A role goes and its assignments stay, as where references are not enforced. When it comes back elsewhere they mean
 * nothing, and the change row of its coming names that other place alone. */
static void role_that_comes_back_elsewhere_is_held_by_nobody(void **state)
{
    struct fixture *fixture = *state;
    struct scope_key other = {2, 1};
    struct memory_role *role = &fixture->policy.roles.items[0];
    struct memory_role gone = *role;
    memory_scope(&fixture->policy, other, global, NULL);
    for (uint64_t user = 1; user <= 2; user++)
        fill_well(fixture, user, server);
    fixture->policy.roles.count = 0;
    apply(fixture, (struct change){.kind = CHANGE_ROLE, .role = 100, .scope = server});
    assert_true(resident(fixture, 1, server, SEND) < 1);
    fill_well(fixture, 2, server); /* afresh, the other one not */
    assert_int_equal(resident(fixture, 2, server, SEND), 0);
    *role = gone;
    role->scope = other;
    fixture->policy.roles.count = 1;
    apply(fixture, (struct change){.kind = CHANGE_ROLE, .role = 100, .scope = other});
    for (uint64_t user = 1; user <= 2; user++)
        assert_true(resident(fixture, user, server, SEND) < 1);
}

/* A default role is moved unseen, and deleted before the next poll: no row names the place that it had. */
static void default_role_that_comes_back_elsewhere_is_held_by_nobody(void **state)
{
    struct fixture *fixture = *state;
    struct scope_key other = {2, 1}, third = {3, 1};
    struct memory_role *role = &fixture->policy.roles.items[0];
    memory_scope(&fixture->policy, other, global, NULL);
    memory_scope(&fixture->policy, third, global, NULL);
    role->is_default = true;
    struct memory_role gone = *role;
    fill_well(fixture, 9, server);
    assert_int_equal(resident(fixture, 9, server, SEND), 1);
    fixture->policy.roles.count = 0;
    apply(fixture, (struct change){.kind = CHANGE_ROLE, .role = 100, .scope = other});
    assert_true(resident(fixture, 9, server, SEND) < 1);
    *role = gone;
    role->scope = third;
    fixture->policy.roles.count = 1;
    apply(fixture, (struct change){.kind = CHANGE_ROLE, .role = 100, .scope = third});
    assert_true(resident(fixture, 9, server, SEND) < 1);
}

/* Back where it was it is held again, and who was filled meanwhile is filled afresh. */
static void role_that_comes_back_is_held_as_before(void **state)
{
    struct fixture *fixture = *state;
    fill_well(fixture, 1, channel);
    fixture->policy.roles.count = 0;
    apply(fixture, (struct change){.kind = CHANGE_ROLE, .role = 100, .scope = server});
    fill_well(fixture, 1, channel);
    assert_int_equal(resident(fixture, 1, channel, SEND), 0);
    fixture->policy.roles.count = 1;
    memory_policy_touch(&fixture->policy);
    apply(fixture, (struct change){.kind = CHANGE_ROLE, .role = 100, .scope = server});
    assert_int_equal(resident(fixture, 1, channel, SEND), -1);
    fill_well(fixture, 1, channel);
    assert_int_equal(resident(fixture, 1, channel, SEND), 1);
}

static void role_zero_has_overwrites_too(void **state)
{
    struct fixture *fixture = *state;
    struct facts facts;
    struct answer answer = {0};
    memory_role(&fixture->policy, 0, "zero", server, true, true);
    fill_well(fixture, 1, server);
    assert_int_equal(resident(fixture, 1, server, SEND), 1);
    read_facts(fixture, 1, server, &facts);
    memory_overwrite(&fixture->policy, server, OVERWRITE_ROLE, 0, SEND, false);
    apply(fixture, (struct change){.kind = CHANGE_OVERWRITE, .scope = server});
    assert_int_equal(resident(fixture, 1, server, SEND), -1);
    assert_int_equal(publisher_fill(fixture->publisher, &facts, SECOND, &answer), PUBLISHER_OUTDATED);
    facts_fini(&facts);
}

/* A category stops being what its channels answer as. Who is filled afterwards must be found through them. */
static void folds_follow_their_target(void **state)
{
    struct fixture *fixture = *state;
    memory_overwrite(&fixture->policy, category, OVERWRITE_USER, 1, SEND, false);
    fill_well(fixture, 1, channel);
    fill_well(fixture, 2, channel);
    assert_int_equal(resident(fixture, 1, channel, SEND), 0);
    fixture->policy.overwrites.count = 0;
    apply(fixture, (struct change){.kind = CHANGE_OVERWRITE, .scope = category, .user = 1});
    fill_well(fixture, 1, channel);
    assert_int_equal(resident(fixture, 1, channel, SEND), 1);
}

/* The scope that would mend the chain is none of which an entry below knows. */
static void broken_chains_are_not_remembered(void **state)
{
    struct fixture *fixture = *state;
    struct scope_key lost = {200, 3}, missing = {77, 1};
    struct answer answer = {0};
    memory_scope(&fixture->policy, lost, missing, NULL);
    assert_int_equal(fill(fixture, 1, lost, &answer), PUBLISHER_FILLED);
    assert_false(bitmap_test(answer.any, SEND));
    answer_fini(&answer);
    assert_int_equal(resident(fixture, 1, lost, SEND), -1);
}

static void inherited_overwrites_are_filled_afresh(void **state)
{
    struct fixture *fixture = *state;
    memory_role(&fixture->policy, 50, "base", server, false, true);
    memory_overwrite(&fixture->policy, category, OVERWRITE_ROLE, 50, SEND, false);
    fill_well(fixture, 1, channel);
    assert_int_equal(resident(fixture, 1, channel, SEND), 1);
    memory_inherit(&fixture->policy, 100, 50); /* now the category's overwrite applies to members */
    apply(fixture, (struct change){.kind = CHANGE_ROLE_PARENT, .role = 100});
    assert_int_equal(resident(fixture, 1, channel, SEND), -1);
    fill_well(fixture, 1, channel);
    assert_int_equal(resident(fixture, 1, channel, SEND), 0);
}

/* Two places with equal inputs share a set; only one of them has overwrite rows, which do not apply yet. */
static void shared_set_remembers_overwrites_of_all(void **state)
{
    struct fixture *fixture = *state;
    memory_role(&fixture->policy, 200, "quiet", server, false, true);
    memory_overwrite(&fixture->policy, channel, OVERWRITE_ROLE, 200, SEND, false);
    fill_well(fixture, 1, server);
    fill_well(fixture, 2, channel);
    assert_int_equal(fixture->counters.sets, 1);
    memory_inherit(&fixture->policy, 100, 200); /* now they do: user 2 must not go on with the old inputs */
    apply(fixture, (struct change){.kind = CHANGE_ROLE_PARENT, .role = 100});
    assert_true(resident(fixture, 2, channel, SEND) < 1);
}

static void entries_of_closed_sets_are_swept(void **state)
{
    struct fixture *fixture = *state;
    memory_overwrite(&fixture->policy, category, OVERWRITE_USER, 9, SEND, false);
    for (uint64_t user = 1; user <= 5; user++)
        fill_well(fixture, user, category);
    assert_int_equal(publisher_retire_role(fixture->publisher, 100), 5);
    assert_int_equal(fixture->publisher->table->sets.abandoned, 1);
    publisher_renew(fixture->publisher, SECOND);
    assert_int_equal(fixture->publisher->table->sets.abandoned, 0);
    assert_int_equal(fixture->counters.entries, 0);
    assert_int_equal(fixture->counters.sets, 0);
    assert_int_equal(fixture->counters.roles, 0);
}

/* Facts that were read before what a message tells of wait for a poll; facts of others do not. */
static void a_message_costs_one_poll(void **state)
{
    struct fixture *fixture = *state;
    struct target target = {.kind = TARGET_USER, .id = 3};
    struct answer answer = {0};
    fill_well(fixture, 3, server);
    assert_int_equal(publisher_hear(fixture->publisher, &target, 2, SECOND), 1);
    assert_int_equal(resident(fixture, 3, server, SEND), -1);
    fill_well(fixture, 4, server);
    assert_int_equal(fill(fixture, 3, server, &answer), PUBLISHER_EARLY);
    publisher_renew(fixture->publisher, SECOND); /* it began no later than the message came */
    assert_int_equal(fill(fixture, 3, server, &answer), PUBLISHER_EARLY);
    publisher_renew(fixture->publisher, SECOND + 1);
    fill_well(fixture, 3, server);
}

/* Messages without end, about one user or about so many that nobody keeps count, delay the others
 * and do not stop them. */
static void messages_without_end_do_not_keep_facts_for_ever(void **state)
{
    struct fixture *fixture = *state;
    struct answer answer = {0};
    struct facts facts;
    for (unsigned targets = 1; targets <= HEARD_MAX + 1; targets += HEARD_MAX) {
        uint64_t now = SECOND, begun = now;
        read_facts(fixture, 3, server, &facts);
        enum publisher_outcome outcome = PUBLISHER_EARLY;
        for (; outcome == PUBLISHER_EARLY && now < 2 * SECOND; now += 1000000) {
            for (unsigned i = 0; i < targets; i++) {
                struct target target = {.kind = TARGET_USER, .id = 3 + i};
                (void)publisher_hear(fixture->publisher, &target, 100, now);
            }
            outcome = publisher_fill(fixture->publisher, &facts, now, &answer);
            publisher_renew(fixture->publisher,
                            now); /* a poll that began when the last message was there already */
        }
        assert_int_equal(outcome, PUBLISHER_FILLED);
        assert_in_range(now - begun, 50000000, 200000000);
        answer_fini(&answer);
        facts_fini(&facts);
        publisher_renew(fixture->publisher, now + SECOND);
    }
}
int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(one_user_is_retired_alone),
        T(role_edit_touches_no_entry),
        T(plain_scopes_share_their_ancestors_entry),
        T(overwrite_between_takes_the_fold_away),
        T(outdated_plainness_is_refused),
        T(early_and_outdated_fills_are_refused),
        T(absent_scope_is_remembered_until_it_appears),
        T(configured_entries_fit),
        T(negative_entries_give_way),
        T(strangers_displace_nobody),
        T(strangers_have_an_eighth_of_a_full_table),
        T(kinds_change_with_the_fill),
        T(who_is_there_is_missed_once),
        T(what_is_not_put_is_no_fill),
        T(assignment_falls_into_place),
        T(replaced_role_leaves_its_former_place),
        T(role_that_comes_back_elsewhere_is_held_by_nobody),
        T(default_role_that_comes_back_elsewhere_is_held_by_nobody),
        T(role_that_comes_back_is_held_as_before),
        T(role_zero_has_overwrites_too),
        T(folds_follow_their_target),
        T(broken_chains_are_not_remembered),
        T(inherited_overwrites_are_filled_afresh),
        T(shared_set_remembers_overwrites_of_all),
        T(entries_of_closed_sets_are_swept),
        T(a_message_costs_one_poll),
        T(messages_without_end_do_not_keep_facts_for_ever),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
