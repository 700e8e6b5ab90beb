/* The census and what is kept of strangers, one promise at a time. Random histories are in
 * test_strangers_property.c. */
#include "proxy/answer/fetch.h"
#include "proxy/rights/resolve.h"
#include "proxy/table/batch.h"
#include "proxy/table/fill.h"
#include "proxy/table/retire.h"
#include "tests/support/memory_policy.h"

#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define SECOND  1000000000ull
#define NOBODY  7777u /* has no rows */
#define NOBODY2 8888u

enum { SEND, EDIT };

static const struct scope_key global = {0, 0}, server = {1, 1}, channel = {100, 3};

struct fixture {
    struct memory_policy policy;
    struct publisher *publisher;
    struct counters counters;
    struct known_users known_users;
    struct strangers strangers;
    struct event_base *base;
    struct fetches *fetches;
    struct log_position at; /* the store's */
};

/* server:1 belongs to user 42; its role 100 is everybody's and sends; user 1 has role 101, which edits. */
static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    struct publisher_options options = {
        .permissions_max = 64, .entries = 1000, .sets = 100, .folds = 10, .max_staleness_ns = 2 * SECOND};
    uint64_t owner = 42;
    struct catalogue catalogue;
    memory_policy_init(&fixture->policy);
    memory_permission(&fixture->policy, "message.send");
    memory_permission(&fixture->policy, "message.edit");
    memory_scope(&fixture->policy, server, global, &owner);
    memory_scope(&fixture->policy, channel, server, NULL);
    memory_role(&fixture->policy, 100, "everyone", server, true, true);
    memory_grant(&fixture->policy, 100, GRANT_ALLOW, SEND);
    memory_role(&fixture->policy, 101, "editor", server, false, true);
    memory_grant(&fixture->policy, 101, GRANT_ALLOW, EDIT);
    memory_assign(&fixture->policy, 1, 101, server, FACTS_NEVER);
    memory_catalogue(&fixture->policy, 1, &catalogue);
    fixture->at = (struct log_position){7, 10, 10};
    assert_int_equal(publisher_new(&fixture->publisher, &options, &fixture->at, 1000, &catalogue,
                                   &fixture->counters, NULL),
                     0);
    assert_int_equal(known_users_init(&fixture->known_users, 1000, 5), 0);
    strangers_init(&fixture->strangers, &fixture->known_users, fixture->publisher);
    fixture->base = event_base_new();
    struct fetch_options fetch = {.base = fixture->base,
                                  .strangers = &fixture->strangers,
                                  .publisher = fixture->publisher,
                                  .counters = &fixture->counters};
    assert_int_equal(fetches_new(&fixture->fetches, &fetch), 0);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    fetches_free(fixture->fetches);
    event_base_free(fixture->base);
    strangers_fini(&fixture->strangers);
    known_users_fini(&fixture->known_users);
    publisher_free(fixture->publisher);
    memory_policy_fini(&fixture->policy);
    free(fixture);
    return 0;
}

/* A change is committed and applied. */
static void apply_untold(struct fixture *fixture, struct change change)
{
    struct batch batch = {.now = 1000};
    struct role role;
    fixture->at.revision++;
    fixture->at.nonce++;
    batch.at = fixture->at;
    change.revision = fixture->at.revision;
    change.nonce = fixture->at.nonce;
    batch.changes.items = malloc(sizeof change);
    batch.changes.items[0] = change;
    batch.changes.count = 1;
    if (memory_definition(&fixture->policy, change.role, &role))
        *role_list_add(&batch.roles) = role;
    assert_int_equal(publisher_batch(fixture->publisher, &batch, SECOND, NULL), 0);
    batch_fini(&batch);
}

static void apply(struct fixture *fixture, struct change change)
{
    apply_untold(fixture, change);
    known_users_applied(&fixture->known_users, fixture->publisher);
}

static enum known_users_slice take(struct fixture *fixture, uint64_t user)
{
    return known_users_take(&fixture->known_users, fixture->publisher, &fixture->at, &user, 1);
}

static void count_all(struct fixture *fixture)
{
    known_users_begin(&fixture->known_users, fixture->publisher);
    assert_int_equal(take(fixture, 1), KNOWN_USERS_TAKEN);
    known_users_complete(&fixture->known_users);
}

static bool knows(struct fixture *fixture, uint64_t user)
{
    return known_users_include(&fixture->known_users, fixture->publisher, user);
}

static void read_store(struct fixture *fixture, uint64_t user, struct scope_key scope, struct facts *facts)
{
    memory_facts(&fixture->policy, user, scope, 1000, facts);
    facts->revision = fixture->at.revision;
    facts->nonce = fixture->at.nonce;
    facts->now = 1000;
    facts->generation = publisher_generation(fixture->publisher);
}

static enum publisher_outcome publish_from(struct fixture *fixture, enum fetch_from from, struct facts *facts,
                                           struct answer *answer)
{
    struct fetch_origin origin = {.from = from, .begun_ns = SECOND};
    return fetch_publish(fixture->fetches, facts, &origin, SECOND, answer);
}

/* Read from the store and published; 1 when the user may do it there. */
static int ask_store(struct fixture *fixture, uint64_t user, struct scope_key scope, uint32_t bit)
{
    struct facts facts;
    struct answer answer = {0};
    read_store(fixture, user, scope, &facts);
    assert_int_equal(publish_from(fixture, FETCH_PRIMARY, &facts, &answer), PUBLISHER_FILLED);
    int allowed = bitmap_test(answer.any, bit);
    answer_fini(&answer);
    facts_fini(&facts);
    return allowed;
}

/* Answers from what is kept: 1 allowed, 0 denied, -1 nothing is kept for this user, -2 it is outdated. */
static int ask_kept(struct fixture *fixture, uint64_t user, struct scope_key scope, uint32_t bit)
{
    struct facts facts;
    struct answer answer = {0};
    assert_true(strangers_include(&fixture->strangers, user) == !knows(fixture, user));
    if (!strangers_facts(&fixture->strangers, user, scope, &facts))
        return -1;
    int allowed = -2;
    if (publish_from(fixture, FETCH_KEPT, &facts, &answer) == PUBLISHER_FILLED)
        allowed = bitmap_test(answer.any, bit);
    answer_fini(&answer);
    facts_fini(&facts);
    return allowed;
}

/* ---- the census -------------------------------------------------------------------------------------------------- */

static void everybody_is_known_until_all_are_counted(void **state)
{
    struct fixture *fixture = *state;
    assert_true(knows(fixture, NOBODY));
    known_users_begin(&fixture->known_users, fixture->publisher);
    assert_true(knows(fixture, NOBODY));
    assert_int_equal(take(fixture, 1), KNOWN_USERS_TAKEN);
    assert_true(knows(fixture, NOBODY));
    known_users_complete(&fixture->known_users);
    assert_false(knows(fixture, NOBODY));
    assert_true(knows(fixture, 1));
}

static void whom_changes_name_is_known(void **state)
{
    struct fixture *fixture = *state;
    known_users_begin(&fixture->known_users, fixture->publisher);
    /* The change comes between two slices: the second one may not have this user. */
    apply(fixture, (struct change){.kind = CHANGE_ASSIGNMENT, .user = 50, .role = 101, .scope = server});
    assert_int_equal(take(fixture, 1), KNOWN_USERS_TAKEN);
    known_users_complete(&fixture->known_users);
    apply(fixture, (struct change){.kind = CHANGE_ASSIGNMENT, .user = 51, .role = 101, .scope = server});
    apply(fixture, (struct change){.kind = CHANGE_OVERWRITE, .user = 52, .scope = channel});
    assert_true(knows(fixture, 50) && knows(fixture, 51) && knows(fixture, 52));
    assert_false(knows(fixture, NOBODY));
    apply(fixture, (struct change){.kind = CHANGE_OVERWRITE, .role = 100, .scope = channel});
    assert_false(knows(fixture, 0));
    apply(fixture, (struct change){.kind = CHANGE_OVERWRITE, .scope = channel}); /* of user 0, or of role 0 */
    assert_true(knows(fixture, 0));
}

/* A batch that the census has not heard of: nobody is a stranger until it has. */
static void a_census_behind_the_table_knows_everybody(void **state)
{
    struct fixture *fixture = *state;
    count_all(fixture);
    apply_untold(fixture, (struct change){.kind = CHANGE_ROLE_GRANT, .role = 100});
    assert_true(knows(fixture, NOBODY));
    known_users_applied(&fixture->known_users, fixture->publisher);
    assert_false(knows(fixture, NOBODY));
}

static void slices_of_another_history_do_not_count(void **state)
{
    struct fixture *fixture = *state;
    struct log_position ours = fixture->at;
    apply(fixture, (struct change){.kind = CHANGE_ROLE_GRANT, .role = 100});
    known_users_begin(&fixture->known_users, fixture->publisher);
    struct log_position at = fixture->at;
    fixture->at = ours; /* before the beginning: what changed then was not added */
    assert_int_equal(take(fixture, 1), KNOWN_USERS_FOREIGN);
    fixture->at = at;
    fixture->at.nonce++;
    assert_int_equal(take(fixture, 1), KNOWN_USERS_FOREIGN);
    fixture->at = at;
    fixture->at.store_id++;
    assert_int_equal(take(fixture, 1), KNOWN_USERS_FOREIGN);
    fixture->at = at;
    fixture->at.revision++;
    assert_int_equal(take(fixture, 1), KNOWN_USERS_EARLY);
    fixture->at = at;
    assert_int_equal(take(fixture, 1), KNOWN_USERS_TAKEN);
}

static void rebuild(struct fixture *fixture)
{
    struct catalogue catalogue;
    memory_catalogue(&fixture->policy, 1, &catalogue);
    assert_int_equal(publisher_rebuild(fixture->publisher, &fixture->at, 1000, &catalogue, NULL, NULL), 0);
}

static void a_rebuild_loses_the_census(void **state)
{
    struct fixture *fixture = *state;
    count_all(fixture);
    assert_int_equal(ask_store(fixture, NOBODY, server, SEND), 1);
    rebuild(fixture);
    assert_true(knows(fixture, NOBODY));
    assert_int_equal(take(fixture, 1), KNOWN_USERS_FOREIGN);
    known_users_applied(&fixture->known_users, fixture->publisher);
    assert_int_equal(fixture->known_users.state, KNOWN_USERS_NONE);
    count_all(fixture);
    assert_false(knows(fixture, NOBODY));
    assert_int_equal(ask_kept(fixture, NOBODY2, server, SEND), -1); /* nor is anything kept of before */
}

static void missed_changes_lose_the_census(void **state)
{
    struct fixture *fixture = *state;
    struct batch batch = {.now = 1000};
    count_all(fixture);
    batch.changes.count = HISTORY_SIZE + 1;
    batch.changes.items = calloc(batch.changes.count, sizeof *batch.changes.items);
    for (size_t i = 0; i < batch.changes.count; i++)
        batch.changes.items[i] = (struct change){.revision = ++fixture->at.revision,
                                                 .nonce = ++fixture->at.nonce,
                                                 .kind = CHANGE_ASSIGNMENT,
                                                 .user = i};
    batch.at = fixture->at;
    assert_int_equal(publisher_batch(fixture->publisher, &batch, SECOND, NULL), 0);
    batch_fini(&batch);
    known_users_applied(&fixture->known_users, fixture->publisher);
    assert_int_equal(fixture->known_users.state, KNOWN_USERS_NONE);
    assert_true(knows(fixture, UINT64_MAX));
}

static void too_many_users_leave_no_strangers(void **state)
{
    struct fixture *fixture = *state;
    uint64_t users[1100];
    for (uint64_t i = 0; i < 1100; i++)
        users[i] = i * 1000;
    known_users_begin(&fixture->known_users, fixture->publisher);
    assert_int_equal(known_users_take(&fixture->known_users, fixture->publisher, &fixture->at, users, 1100),
                     KNOWN_USERS_TAKEN);
    assert_int_equal(fixture->known_users.state, KNOWN_USERS_OVERFULL);
    known_users_complete(&fixture->known_users);
    assert_true(knows(fixture, NOBODY));
    /* One that outgrows its room is counted anew: many of its users may have gone. */
    known_users_begin(&fixture->known_users, fixture->publisher);
    assert_int_equal(known_users_take(&fixture->known_users, fixture->publisher, &fixture->at, users, 1000),
                     KNOWN_USERS_TAKEN);
    known_users_complete(&fixture->known_users);
    assert_false(knows(fixture, NOBODY));
    for (uint64_t user = 1; user <= 20; user++)
        apply(fixture,
              (struct change){.kind = CHANGE_ASSIGNMENT, .user = user, .role = 101, .scope = server});
    assert_int_equal(fixture->known_users.state, KNOWN_USERS_NONE);
    assert_true(knows(fixture, NOBODY));
}

/* ---- what is kept ------------------------------------------------------------------------------------------------ */

static void one_strangers_facts_serve_the_next(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(ask_store(fixture, NOBODY, channel, SEND), 1);
    count_all(fixture);
    assert_int_equal(ask_kept(fixture, NOBODY2, channel, SEND),
                     -1); /* it was no stranger's when it was read */
    assert_int_equal(ask_store(fixture, NOBODY, channel, SEND), 1);
    assert_int_equal(ask_kept(fixture, NOBODY2, channel, SEND), 1);
    assert_int_equal(ask_kept(fixture, NOBODY2, channel, EDIT), 0);
    assert_int_equal(ask_kept(fixture, 1, channel, EDIT), -1);
    assert_int_equal(fixture->counters.strangers_answered, 2);
    struct answer answer;
    assert_true(publisher_lookup(fixture->publisher, NOBODY2, channel, &answer));
    answer_fini(&answer);
}

static void a_stranger_may_own_the_place(void **state)
{
    struct fixture *fixture = *state;
    count_all(fixture);
    assert_int_equal(ask_store(fixture, NOBODY, channel, EDIT), 0);
    assert_int_equal(ask_kept(fixture, 42, channel, EDIT), 1);
    assert_int_equal(ask_kept(fixture, NOBODY2, channel, EDIT), 0);
    /* And is read first: what is kept then is not an owner's. */
    strangers_forget(&fixture->strangers, channel);
    assert_int_equal(ask_store(fixture, 42, channel, EDIT), 1);
    assert_int_equal(ask_kept(fixture, NOBODY, channel, EDIT), 0);
}

static void known_users_leave_nothing(void **state)
{
    struct fixture *fixture = *state;
    count_all(fixture);
    assert_int_equal(ask_store(fixture, 1, channel, EDIT), 1);
    assert_int_equal(ask_kept(fixture, NOBODY, channel, EDIT), -1);
}

/* A row that no trigger saw: the census does not know him, the facts do. */
static void rows_that_facts_show_are_not_kept(void **state)
{
    struct fixture *fixture = *state;
    count_all(fixture);
    memory_assign(&fixture->policy, 66, 101, server, FACTS_NEVER);
    assert_int_equal(ask_store(fixture, 66, channel, EDIT), 1);
    assert_int_equal(ask_kept(fixture, NOBODY, channel, EDIT), -1);
    memory_overwrite(&fixture->policy, channel, OVERWRITE_USER, 67, EDIT, true);
    assert_int_equal(ask_store(fixture, 67, channel, EDIT), 1);
    assert_int_equal(ask_kept(fixture, NOBODY, channel, EDIT), -1);
}

static void changes_outdate_what_is_kept(void **state)
{
    struct fixture *fixture = *state;
    count_all(fixture);
    assert_int_equal(ask_store(fixture, NOBODY, channel, EDIT), 0);
    memory_grant(&fixture->policy, 100, GRANT_ALLOW, EDIT);
    apply(fixture, (struct change){.kind = CHANGE_ROLE_GRANT, .role = 100});
    assert_int_equal(ask_kept(fixture, NOBODY2, channel, EDIT), -2);
    assert_int_equal(ask_kept(fixture, NOBODY2, channel, EDIT), -1); /* it was forgotten */
    assert_int_equal(ask_store(fixture, NOBODY2, channel, EDIT), 1);
    assert_int_equal(ask_kept(fixture, NOBODY, channel, EDIT), 1);
    memory_scope(&fixture->policy, server, global, &(uint64_t){NOBODY});
    apply(fixture, (struct change){.kind = CHANGE_SCOPE, .scope = server});
    assert_int_equal(ask_kept(fixture, NOBODY, channel, EDIT), -2);
}

/* Definitions that are kept are those of today, also when none is resident any more. */
static void kept_definitions_are_current(void **state)
{
    struct fixture *fixture = *state;
    count_all(fixture);
    assert_int_equal(ask_store(fixture, NOBODY, channel, EDIT), 0);
    assert_int_equal(publisher_retire_user(fixture->publisher, NOBODY), 1);
    assert_int_equal(ask_kept(fixture, NOBODY2, channel, SEND), 1);
    publisher_retire_user(fixture->publisher, NOBODY2);
    memory_grant(&fixture->policy, 100, GRANT_DENY, SEND);
    apply(fixture, (struct change){.kind = CHANGE_ROLE_GRANT, .role = 100});
    assert_int_equal(ask_kept(fixture, NOBODY2, channel, SEND), -2);
}

/* Unrelated changes, more than the history can look back over, leave it good: it is noted with each use. */
static void use_keeps_it_young(void **state)
{
    struct fixture *fixture = *state;
    count_all(fixture);
    assert_int_equal(ask_store(fixture, NOBODY, channel, SEND), 1);
    for (unsigned i = 0; i < 2 * HISTORY_SCAN; i++) {
        apply(fixture, (struct change){.kind = CHANGE_ASSIGNMENT, .user = 1, .role = 101, .scope = server});
        if (i % (HISTORY_SCAN / 2) == 0)
            assert_int_equal(ask_kept(fixture, NOBODY2, channel, SEND), 1);
    }
    assert_int_equal(ask_kept(fixture, NOBODY2, channel, SEND), 1);
}

/* The user got his first row, and lost it, between the question and the answer. */
static void a_first_row_in_between_is_seen(void **state)
{
    struct fixture *fixture = *state;
    struct facts facts;
    struct answer answer = {0};
    count_all(fixture);
    assert_int_equal(ask_store(fixture, NOBODY, channel, EDIT), 0);
    assert_true(strangers_facts(&fixture->strangers, NOBODY2, channel, &facts));
    apply(fixture, (struct change){.kind = CHANGE_ASSIGNMENT, .user = NOBODY2, .role = 101, .scope = server});
    assert_int_equal(publish_from(fixture, FETCH_KEPT, &facts, &answer), PUBLISHER_OUTDATED);
    facts_fini(&facts);
    assert_int_equal(ask_kept(fixture, NOBODY2, channel, EDIT), -1);
}

/* The log does not tell of this change, and somebody asked for it to be read again. */
static void invalidation_forgets_what_is_kept(void **state)
{
    struct fixture *fixture = *state;
    count_all(fixture);
    assert_int_equal(ask_store(fixture, NOBODY, channel, SEND), 1);
    memory_grant(&fixture->policy, 100, GRANT_DENY, SEND);
    assert_int_equal(ask_kept(fixture, NOBODY2, channel, SEND), 1);
    struct publisher_retiring retiring;
    uint64_t work = UINT64_MAX, retired = 0;
    publisher_retire_scope_begin(fixture->publisher, &retiring, server);
    assert_false(publisher_retire_scope_slice(fixture->publisher, &retiring, &work, &retired));
    assert_int_equal(ask_kept(fixture, NOBODY2, channel, SEND), -1);
    assert_int_equal(ask_store(fixture, NOBODY, channel, SEND), 0);
    assert_int_equal(ask_kept(fixture, NOBODY2, channel, SEND), 0);
    publisher_retire_role(fixture->publisher, 100);
    assert_int_equal(ask_kept(fixture, NOBODY2, channel, SEND), -1);
    assert_int_equal(ask_store(fixture, NOBODY, channel, SEND), 0);
    publisher_outdate_kept(fixture->publisher);
    assert_int_equal(ask_kept(fixture, NOBODY2, channel, SEND), -1);
    assert_int_equal(fixture->strangers.kept.count, 0);
}

static void absent_places_are_kept_too(void **state)
{
    struct fixture *fixture = *state;
    struct scope_key later = {200, 3};
    count_all(fixture);
    assert_int_equal(ask_store(fixture, NOBODY, later, SEND), 0);
    assert_int_equal(ask_kept(fixture, NOBODY2, later, SEND), 0);
    memory_scope(&fixture->policy, later, server, NULL);
    apply(fixture, (struct change){.kind = CHANGE_SCOPE, .scope = later});
    assert_int_equal(ask_kept(fixture, NOBODY2, later, SEND), -2);
    assert_int_equal(ask_store(fixture, NOBODY2, later, SEND), 1);
}

static void the_least_recently_used_goes_first(void **state)
{
    struct fixture *fixture = *state;
    count_all(fixture);
    for (uint64_t id = 0; id < 4096; id++)
        assert_int_equal(ask_store(fixture, NOBODY, (struct scope_key){1000 + id, 3}, SEND), 0);
    assert_int_equal(ask_kept(fixture, NOBODY2, (struct scope_key){1000, 3}, SEND), 0);
    assert_int_equal(ask_store(fixture, NOBODY, (struct scope_key){9000, 3}, SEND), 0);
    assert_int_equal(fixture->strangers.kept.count, 4096);
    assert_int_equal(ask_kept(fixture, NOBODY2, (struct scope_key){1000, 3}, SEND), 0);
    assert_int_equal(ask_kept(fixture, NOBODY2, (struct scope_key){1001, 3}, SEND), -1);
    assert_int_equal(ask_kept(fixture, NOBODY2, (struct scope_key){9000, 3}, SEND), 0);
}

static void bytes_are_bounded(void **state)
{
    struct fixture *fixture = *state;
    count_all(fixture);
    for (uint64_t role = 1000; role < 2000; role++)
        memory_overwrite(&fixture->policy, server, OVERWRITE_ROLE, role, SEND, false);
    for (uint64_t id = 0; id < 3000; id++) {
        struct facts facts;
        struct answer answer = {0};
        memory_facts(&fixture->policy, NOBODY, server, 1000, &facts);
        facts.revision = fixture->at.revision;
        facts.nonce = fixture->at.nonce;
        facts.generation = publisher_generation(fixture->publisher);
        facts.scope.id = facts.chain[1].key.id = 1000 + id;
        assert_int_equal(publish_from(fixture, FETCH_PRIMARY, &facts, &answer), PUBLISHER_FILLED);
        answer_fini(&answer);
        facts_fini(&facts);
    }
    assert_in_range(fixture->strangers.kept.bytes, 16u << 20, 32u << 20);
    for (uint64_t role = 2000; role < 12000; role++)
        memory_overwrite(&fixture->policy, server, OVERWRITE_ROLE, role, SEND, false);
    assert_int_equal(ask_store(fixture, NOBODY, server, EDIT), 0);
    assert_int_equal(ask_kept(fixture, NOBODY2, server, EDIT), -1); /* a quarter of a mebibyte is too much */
    strangers_fini(&fixture->strangers);
    assert_int_equal(fixture->strangers.kept.bytes, 0);
}

/* ---- kept facts, told in turns ----------------------------------------------------------------------------------- */

#define IN_A_ROW 100u

struct row {
    struct fixture *fixture;
    unsigned begun, told;
    bool goes_on; /* each that is told begins the next */
};

static void on_told(void *context, int code, const char *text, struct facts *facts,
                    const struct fetch_origin *origin);

static void begin_next(struct row *row)
{
    struct fetch *fetch;
    struct fetch_how how = {.lane = READ_LIST};
    if (row->begun++ < IN_A_ROW)
        assert_int_equal(fetch_begin(&fetch, row->fixture->fetches, NOBODY2, channel, how, on_told, row), 0);
}

static void on_told(void *context, int code, const char *text, struct facts *facts,
                    const struct fetch_origin *origin)
{
    struct row *row = context;
    (void)text;
    assert_int_equal(code, 0);
    assert_int_equal(origin->from, FETCH_KEPT);
    facts_fini(facts);
    row->told++;
    if (row->goes_on)
        begin_next(row);
}

static void turn(struct fixture *fixture)
{
    assert_int_equal(event_base_loop(fixture->base, EVLOOP_ONCE | EVLOOP_NONBLOCK), 0);
}

/* What is begun as others are told has the next turn: else a list would keep the loop until its end. */
static void what_is_kept_does_not_keep_the_loop(void **state)
{
    struct fixture *fixture = *state;
    struct row row = {.fixture = fixture, .goes_on = true};
    count_all(fixture);
    assert_int_equal(ask_store(fixture, NOBODY, channel, SEND), 1);
    begin_next(&row);
    unsigned turns = 0;
    for (; row.told < IN_A_ROW; turns++) {
        unsigned told = row.told;
        turn(fixture);
        assert_true(row.told <= told + 1);
    }
    assert_true(turns >= IN_A_ROW);
}

static void on_writable(evutil_socket_t descriptor, short what, void *context)
{
    (void)descriptor, (void)what;
    begin_next(context);
}

/* One comes in every turn, before those that are to be told in it. */
static void what_comes_does_not_put_it_off(void **state)
{
    struct fixture *fixture = *state;
    struct row row = {.fixture = fixture};
    int ends[2];
    count_all(fixture);
    assert_int_equal(ask_store(fixture, NOBODY, channel, SEND), 1);
    assert_int_equal(pipe(ends), 0);
    struct event *writable = event_new(fixture->base, ends[1], EV_WRITE | EV_PERSIST, on_writable, &row);
    assert_int_equal(event_add(writable, NULL), 0);
    for (unsigned i = 0; i < IN_A_ROW; i++)
        turn(fixture);
    assert_true(row.told >= IN_A_ROW - 2);
    event_free(writable);
    while (row.told < IN_A_ROW)
        turn(fixture);
    assert_int_equal(close(ends[0]) | close(ends[1]), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(everybody_is_known_until_all_are_counted),
        T(whom_changes_name_is_known),
        T(a_census_behind_the_table_knows_everybody),
        T(slices_of_another_history_do_not_count),
        T(a_rebuild_loses_the_census),
        T(missed_changes_lose_the_census),
        T(too_many_users_leave_no_strangers),
        T(one_strangers_facts_serve_the_next),
        T(a_stranger_may_own_the_place),
        T(known_users_leave_nothing),
        T(rows_that_facts_show_are_not_kept),
        T(changes_outdate_what_is_kept),
        T(kept_definitions_are_current),
        T(use_keeps_it_young),
        T(a_first_row_in_between_is_seen),
        T(invalidation_forgets_what_is_kept),
        T(absent_places_are_kept_too),
        T(the_least_recently_used_goes_first),
        T(bytes_are_bounded),
        T(what_is_kept_does_not_keep_the_loop),
        T(what_comes_does_not_put_it_off),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
