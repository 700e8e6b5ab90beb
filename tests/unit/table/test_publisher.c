/* The publisher, one promise at a time: what is retired, what stays, what a role edit costs, what the lease does.
 * Random histories are in test_publisher_property.c. */
#include "proxy/table/batch.h"
#include "proxy/table/fill.h"
#include "proxy/table/private.h"
#include "proxy/table/retire.h"
#include "tests/support/memory_publisher.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SECOND 1000000000ull

enum { SEND, EDIT, PIN };

static const struct scope_key global = {0, 0}, server = {1, 1}, category = {10, 2}, channel = {100, 3};

struct fixture {
    struct memory_policy policy;
    struct publisher *publisher;
    struct counters counters;
    uint64_t revision;
};

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    memory_policy_init(&fixture->policy);
    memory_permission(&fixture->policy, "message.send");
    memory_permission(&fixture->policy, "message.edit");
    memory_permission(&fixture->policy, "message.pin");
    memory_scope(&fixture->policy, server, global, NULL);
    memory_scope(&fixture->policy, category, server, NULL);
    memory_scope(&fixture->policy, channel, category, NULL);
    memory_role(&fixture->policy, 100, "member", server, false, true);
    memory_grant(&fixture->policy, 100, GRANT_ALLOW, SEND);
    for (uint64_t user = 1; user <= 5; user++)
        memory_assign(&fixture->policy, user, 100, server, FACTS_NEVER);
    fixture->revision = 1;
    fixture->publisher = memory_publisher(&fixture->policy, 1000, 10, &fixture->counters);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    publisher_free(fixture->publisher);
    memory_policy_fini(&fixture->policy);
    free(fixture);
    return 0;
}

static void read_facts(struct fixture *fixture, uint64_t user, struct scope_key scope, struct facts *facts)
{
    memory_read(fixture->publisher, &fixture->policy, fixture->revision, user, scope, facts);
}

static enum publisher_outcome fill(struct fixture *fixture, uint64_t user, struct scope_key scope,
                                   struct answer *answer)
{
    struct facts facts;
    read_facts(fixture, user, scope, &facts);
    enum publisher_outcome outcome = publisher_fill(fixture->publisher, &facts, SECOND, answer);
    facts_fini(&facts);
    return outcome;
}

static void fill_well(struct fixture *fixture, uint64_t user, struct scope_key scope)
{
    memory_fill(fixture->publisher, &fixture->policy, fixture->revision, user, scope);
}

static void apply(struct fixture *fixture, struct change change)
{
    struct batch batch = {.at = {7, ++fixture->revision, 1}, .now = 1000};
    struct role role;
    change.revision = fixture->revision;
    change.nonce = 1;
    batch.changes.items = malloc(sizeof change);
    batch.changes.items[0] = change;
    batch.changes.count = 1;
    if (memory_definition(&fixture->policy, change.role, &role))
        *role_list_add(&batch.roles) = role;
    assert_int_equal(publisher_batch(fixture->publisher, &batch, SECOND, NULL), 0);
    batch_fini(&batch);
}

/* 1 allowed, 0 denied, -1 not resident. */
static int resident(struct fixture *fixture, uint64_t user, struct scope_key scope, uint32_t bit)
{
    struct answer answer;
    if (!publisher_lookup(fixture->publisher, user, scope, &answer))
        return -1;
    int allowed = bitmap_test(answer.any, bit);
    answer_fini(&answer);
    return allowed;
}

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

static void lease_follows_the_poll(void **state)
{
    struct fixture *fixture = *state;
    assert_false(publisher_leased(fixture->publisher, SECOND));
    publisher_renew(fixture->publisher, 10 * SECOND);
    /* The deadline is never later than max_staleness after the poll began; a little shorter for the coarse clock. */
    assert_true(publisher_deadline(fixture->publisher) <= 12 * SECOND - 20000000ull);
    assert_true(publisher_deadline(fixture->publisher) >= 12 * SECOND - 200000000ull);
    publisher_renew(fixture->publisher, 9 * SECOND); /* never back */
    assert_true(publisher_deadline(fixture->publisher) >= 12 * SECOND - 200000000ull);
    publisher_end_lease(fixture->publisher, STORE_NOT_BELIEVED);
    assert_int_equal(publisher_deadline(fixture->publisher), 0);
    publisher_renew(fixture->publisher, 20 * SECOND);
    assert_int_equal(publisher_deadline(fixture->publisher), 0);
}

static void distrust_is_counted_once_a_table(void **state)
{
    struct fixture *fixture = *state;
    struct log_position at = {8, 1, 5};
    for (uint64_t tables = 1; tables <= 3; tables++) {
        struct catalogue catalogue;
        publisher_end_lease(fixture->publisher, OWN_FAULT);
        assert_int_equal(publisher_distrusted(fixture->publisher), tables - 1);
        publisher_end_lease(fixture->publisher, STORE_NOT_BELIEVED); /* another reason than the first */
        assert_int_equal(publisher_distrusted(fixture->publisher), tables);
        publisher_end_lease(fixture->publisher, OWN_FAULT);
        publisher_end_lease(fixture->publisher, STORE_NOT_BELIEVED);
        assert_int_equal(publisher_distrusted(fixture->publisher), tables);
        memory_catalogue(&fixture->policy, 1, &catalogue);
        assert_int_equal(publisher_rebuild(fixture->publisher, &at, 900, &catalogue, NULL), 0);
        assert_int_equal(publisher_distrusted(fixture->publisher), tables);
    }
}

static void rebuild_forgets_everything(void **state)
{
    struct fixture *fixture = *state;
    struct log_position at = {8, 1, 5};
    struct catalogue catalogue;
    struct facts facts;
    struct answer answer = {0};
    uint64_t generation = publisher_generation(fixture->publisher);
    uint64_t id = publisher_segment(fixture->publisher)->header->identity.segment_id;
    fill_well(fixture, 1, server);
    publisher_renew(fixture->publisher, SECOND);
    memory_catalogue(&fixture->policy, 1, &catalogue);
    assert_int_equal(publisher_rebuild(fixture->publisher, &at, 900, &catalogue, NULL), 0);
    assert_int_equal(resident(fixture, 1, server, SEND), -1);
    assert_int_not_equal(publisher_generation(fixture->publisher), generation);
    assert_int_not_equal(publisher_segment(fixture->publisher)->header->identity.segment_id, id);
    assert_int_equal(publisher_deadline(fixture->publisher), 0);
    assert_int_equal(publisher_expiry(fixture->publisher), 900);
    read_facts(fixture, 1, server, &facts);
    facts.nonce = 5;
    assert_int_equal(publisher_fill(fixture->publisher, &facts, SECOND, &answer), PUBLISHER_FILLED);
    answer_fini(&answer);
    facts_fini(&facts);
}

static void rebuild_here(struct fixture *fixture)
{
    struct log_position at = publisher_position(fixture->publisher);
    struct catalogue catalogue;
    memory_catalogue(&fixture->policy, 1, &catalogue);
    assert_int_equal(publisher_rebuild(fixture->publisher, &at, 1000, &catalogue, NULL), 0);
}

/* The reason of a rebuild may be one that neither revision nor nonce tells: rows that were changed behind the log. */
static void facts_read_before_a_rebuild_are_outdated(void **state)
{
    struct fixture *fixture = *state;
    struct facts facts;
    struct answer answer = {0};
    read_facts(fixture, 1, server, &facts);
    rebuild_here(fixture);
    assert_int_equal(publisher_fill(fixture->publisher, &facts, SECOND, &answer), PUBLISHER_OUTDATED);
    assert_false(publisher_still_true(fixture->publisher, &facts));
    facts.revision = 2; /* nor do they become true with the next batch */
    assert_int_equal(publisher_fill(fixture->publisher, &facts, SECOND, &answer), PUBLISHER_OUTDATED);
    facts.revision = 1;
    assert_int_equal(resident(fixture, 1, server, SEND), -1);
    facts.generation = publisher_generation(fixture->publisher);
    assert_true(publisher_still_true(fixture->publisher, &facts));
    assert_int_equal(publisher_fill(fixture->publisher, &facts, SECOND, &answer), PUBLISHER_FILLED);
    answer_fini(&answer);
    facts_fini(&facts);
}

/* A source of facts that forgets the stamp publishes nothing. */
static void facts_without_a_stamp_are_outdated(void **state)
{
    struct fixture *fixture = *state;
    struct facts facts;
    struct answer answer = {0};
    read_facts(fixture, 1, server, &facts);
    facts.generation = 0;
    assert_int_equal(publisher_fill(fixture->publisher, &facts, SECOND, &answer), PUBLISHER_OUTDATED);
    facts_fini(&facts);
}

/* A connection that fills may find a restored store before the feed does: the same revision, another history. */
static void facts_of_another_history_are_refused(void **state)
{
    struct fixture *fixture = *state;
    struct facts facts;
    struct answer answer = {0};
    read_facts(fixture, 1, server, &facts);
    facts.nonce = 9;
    assert_int_equal(publisher_fill(fixture->publisher, &facts, SECOND, &answer), PUBLISHER_OUTDATED);
    /* Nor when the revision is one of the past. */
    apply(fixture, (struct change){.kind = CHANGE_ASSIGNMENT, .user = 3, .role = 100, .scope = server});
    apply(fixture, (struct change){.kind = CHANGE_ASSIGNMENT, .user = 3, .role = 100, .scope = server});
    for (facts.revision = 1; facts.revision <= 3; facts.revision++)
        assert_int_equal(publisher_fill(fixture->publisher, &facts, SECOND, &answer), PUBLISHER_OUTDATED);
    facts.nonce = 1;
    for (facts.revision = 1; facts.revision <= 3; facts.revision++) {
        assert_int_equal(publisher_fill(fixture->publisher, &facts, SECOND, &answer), PUBLISHER_FILLED);
        answer_fini(&answer);
    }
    facts_fini(&facts);
}

static uint64_t catalogue_of(const struct fixture *fixture)
{
    return publisher_segment(fixture->publisher)->header->beat.catalogue;
}

/* A client keeps its names while the catalogue's number stays. The store that took the old one's place may stand at
 * the same revision and have other bits. */
static void another_history_has_another_catalogue(void **state)
{
    struct fixture *fixture = *state;
    struct log_position at = {7, 1, 5};
    struct catalogue catalogue;
    uint64_t number = catalogue_of(fixture), meaning = publisher_names_version(fixture->publisher);
    memory_catalogue(&fixture->policy, 1, &catalogue);
    assert_int_equal(publisher_rebuild(fixture->publisher, &at, 900, &catalogue, NULL), 0);
    assert_int_not_equal(catalogue_of(fixture), number);
    assert_int_equal(publisher_names_version(fixture->publisher), meaning); /* all bits are as they were */
    strcpy(fixture->policy.permissions.items[SEND].name, "message.edit");
    strcpy(fixture->policy.permissions.items[EDIT].name, "message.send");
    memory_catalogue(&fixture->policy, 1, &catalogue);
    assert_int_equal(publisher_rebuild(fixture->publisher, &at, 900, &catalogue, NULL), 0);
    assert_int_not_equal(publisher_names_version(fixture->publisher), meaning);
}

/* The triggers of the store refuse it; who gets round them must not stop the sidecar. */
static void renamed_bits_are_no_batch(void **state)
{
    struct fixture *fixture = *state;
    struct batch batch = {.at = {7, 2, 1}, .now = 1000, .has_catalogue = true};
    struct failure failure;
    strcpy(fixture->policy.permissions.items[SEND].name, "message.fake");
    memory_catalogue(&fixture->policy, 1, &batch.catalogue);
    publisher_renew(fixture->publisher, SECOND);
    assert_int_equal(publisher_batch(fixture->publisher, &batch, SECOND, &failure), PERMTAB_E_SCHEMA);
    assert_int_equal(publisher_deadline(fixture->publisher), 0);
    assert_int_equal(publisher_position(fixture->publisher).revision, 1);
    batch_fini(&batch);
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
        T(lease_follows_the_poll),
        T(distrust_is_counted_once_a_table),
        T(rebuild_forgets_everything),
        T(facts_of_another_history_are_refused),
        T(facts_read_before_a_rebuild_are_outdated),
        T(facts_without_a_stamp_are_outdated),
        T(another_history_has_another_catalogue),
        T(renamed_bits_are_no_batch),
        T(assignment_falls_into_place),
        T(replaced_role_leaves_its_former_place),
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
