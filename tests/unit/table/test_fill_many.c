/* Many users of one place in one call: what it takes, and what it leaves alone. That nothing becomes wrong is for the
 * random histories of test_publisher_property.c. */
#include "proxy/table/landing.h"
#include "tests/support/memory_slice.h"
#include "tests/unit/table/grow_fixture.h"

#define MANY 300u

/* How often a kind was compared with what has changed, and how often inputs were built. */
static unsigned fences, builds;

enum publisher_outcome __real_fill_fence(struct publisher *publisher, struct facts *facts, uint64_t now_ns);
enum publisher_outcome __wrap_fill_fence(struct publisher *publisher, struct facts *facts, uint64_t now_ns);
enum publisher_outcome __wrap_fill_fence(struct publisher *publisher, struct facts *facts, uint64_t now_ns)
{
    fences++;
    return __real_fill_fence(publisher, facts, now_ns);
}

int __real_fill_build(struct facts *facts, int64_t now, struct role_sources *sources, struct inputs *inputs,
                      size_t *misplaced);
int __wrap_fill_build(struct facts *facts, int64_t now, struct role_sources *sources, struct inputs *inputs,
                      size_t *misplaced);
int __wrap_fill_build(struct facts *facts, int64_t now, struct role_sources *sources, struct inputs *inputs,
                      size_t *misplaced)
{
    builds++;
    return __real_fill_build(facts, now, sources, inputs, misplaced);
}

/* Users 1, 2, 3 … at the server, at the fixture's revision. */
static struct facts_slice *slice_of(struct fixture *fixture, size_t count)
{
    static uint64_t users[FACTS_SLICE_USERS_MAX];
    struct facts stamp = {.revision = fixture->revision,
                          .nonce = 1,
                          .now = 1000,
                          .generation = publisher_generation(fixture->publisher)};
    for (size_t i = 0; i < count; i++)
        users[i] = i + 1;
    struct facts_slice *slice = memory_slice(&fixture->policy, server, users, count, &stamp);
    assert_non_null(slice);
    return slice;
}

static enum publisher_outcome fill_some(struct fixture *fixture, struct facts_slice *slice, size_t from, size_t count,
                                        uint8_t *results)
{
    return publisher_fill_many(fixture->publisher, slice, from, count, SECOND, results);
}

static size_t results_that_are(const uint8_t *results, size_t count, enum slice_result result)
{
    size_t found = 0;
    for (size_t i = 0; i < count; i++)
        found += results[i] == result;
    return found;
}

static void kinds_pass_the_fence_and_users_do_not(void **state)
{
    struct fixture *fixture = *state;
    uint8_t results[MANY] = {0};
    struct facts_slice *slice = slice_of(fixture, MANY);
    assert_int_equal(slice->kind_count, 2); /* five members, and the others */
    struct table *next = begin(fixture);
    fences = builds = 0;
    assert_int_equal(fill_some(fixture, slice, 0, MANY, results), PUBLISHER_FILLED);
    assert_int_equal(results_that_are(results, MANY, SLICE_FILLED), MANY);
    assert_int_equal(fences, 2);
    assert_int_equal(builds, 4); /* in each table */
    for (uint64_t user = 1; user <= MANY; user++) {
        assert_int_equal(resident(fixture, user, server, SEND), user <= 5);
        assert_int_equal(resident_in(next, user, server, SEND), user <= 5);
    }
    assert_int_equal(fixture->counters.fills, MANY);
    facts_slice_free(slice);
}

static void who_has_a_result_is_left(void **state)
{
    struct fixture *fixture = *state;
    uint8_t results[MANY] = {0};
    struct facts_slice *slice = slice_of(fixture, MANY);
    facts_slice_set_alone(slice, 7);
    results[3] = SLICE_STRANGER;
    fill_well(fixture, 9, server);
    assert_int_equal(fill_some(fixture, slice, 2, 20, results), PUBLISHER_FILLED);
    assert_int_equal(results_that_are(results, 2, SLICE_OPEN), 2);
    assert_int_equal(results_that_are(results + 22, MANY - 22, SLICE_OPEN), MANY - 22);
    assert_int_equal(results[3], SLICE_STRANGER);
    assert_int_equal(resident(fixture, 4, server, SEND), -1);
    assert_int_equal(results[6], SLICE_ALONE);
    assert_int_equal(resident(fixture, 7, server, SEND), -1);
    assert_int_equal(results[8], SLICE_RESIDENT);
    assert_int_equal(results_that_are(results + 2, 20, SLICE_FILLED), 17);
    facts_slice_free(slice);
}

static void who_is_named_by_a_change_is_alone(void **state)
{
    struct fixture *fixture = *state;
    uint8_t results[MANY] = {0};
    struct facts_slice *slice = slice_of(fixture, MANY);
    fixture->policy.assignments.items[0].user = 1000; /* member 1 is no member any more */
    memory_policy_touch(&fixture->policy);
    apply(fixture, (struct change){.kind = CHANGE_ASSIGNMENT, .user = 1, .role = 100, .scope = server});
    assert_int_equal(fill_some(fixture, slice, 0, MANY, results), PUBLISHER_FILLED);
    assert_int_equal(results[0], SLICE_ALONE);
    assert_int_equal(resident(fixture, 1, server, SEND), -1);
    assert_int_equal(results_that_are(results, MANY, SLICE_FILLED), MANY - 1);
    facts_slice_free(slice);
}

/* The history names them in no order, and each of them is to be found. */
static void many_who_are_named(void **state)
{
    struct fixture *fixture = *state;
    uint8_t results[MANY] = {0};
    bool named[MANY + 1] = {false};
    struct facts_slice *slice = slice_of(fixture, MANY);
    for (uint64_t i = 0; i < 64; i++) {
        uint64_t user = 1 + i * 37 % 128;
        named[user] = true;
        apply(fixture, (struct change){.kind = CHANGE_ASSIGNMENT, .user = user, .role = 100, .scope = server});
    }
    assert_int_equal(fill_some(fixture, slice, 0, MANY, results), PUBLISHER_FILLED);
    for (uint64_t user = 1; user <= MANY; user++)
        assert_int_equal(results[user - 1], named[user] ? SLICE_ALONE : SLICE_FILLED);
    assert_int_equal(results_that_are(results, MANY, SLICE_ALONE), 64);
    facts_slice_free(slice);
}

static void a_change_of_a_role_leaves_its_kinds_alone(void **state)
{
    struct fixture *fixture = *state;
    uint8_t results[MANY] = {0};
    struct facts_slice *slice = slice_of(fixture, MANY);
    apply(fixture, (struct change){.kind = CHANGE_ROLE_GRANT, .role = 100});
    assert_int_equal(fill_some(fixture, slice, 0, MANY, results), PUBLISHER_FILLED);
    assert_int_equal(results_that_are(results, 5, SLICE_ALONE), 5);
    assert_int_equal(results_that_are(results + 5, MANY - 5, SLICE_FILLED), MANY - 5);
    facts_slice_free(slice);
}

/* What L2 knows comes without definitions: those of the table count, or nobody is published who has such a role. */
static void without_definitions(void **state)
{
    struct fixture *fixture = *state;
    uint8_t results[MANY] = {0};
    struct facts_slice *slice = slice_of(fixture, MANY);
    for (size_t i = 0; i < slice->kind_count; i++) {
        role_list_fini(&slice->kinds[i].roles);
        slice->kinds[i].roles = (struct role_list){0};
        slice->kinds[i].without_roles = true;
    }
    struct table *next = begin(fixture);
    assert_int_equal(fill_some(fixture, slice, 0, MANY, results), PUBLISHER_FILLED);
    assert_int_equal(results_that_are(results, 5, SLICE_ALONE), 5);
    assert_int_equal(results_that_are(results + 5, MANY - 5, SLICE_FILLED), MANY - 5);
    assert_int_equal(resident(fixture, 1, server, SEND), -1);
    fill_well(fixture, 5, server); /* which brings the definition */
    memset(results, SLICE_OPEN, sizeof results);
    assert_int_equal(fill_some(fixture, slice, 0, 5, results), PUBLISHER_FILLED);
    assert_int_equal(results_that_are(results, 4, SLICE_FILLED), 4);
    for (uint64_t user = 1; user <= 5; user++) {
        assert_int_equal(resident(fixture, user, server, SEND), 1);
        assert_int_equal(resident_in(next, user, server, SEND), 1);
    }
    facts_slice_free(slice);
}

/* Its users leave between two calls, and its definitions with it. */
static void a_set_that_is_gone_is_made_again(void **state)
{
    struct fixture *fixture = *state;
    uint8_t results[8] = {0};
    struct facts_slice *slice = slice_of(fixture, 8);
    assert_int_equal(fill_some(fixture, slice, 0, 3, results), PUBLISHER_FILLED);
    for (uint64_t user = 1; user <= 3; user++)
        publisher_retire_user(fixture->publisher, user);
    assert_null(set_table_role(&fixture->publisher->table->sets, 100));
    assert_int_equal(fill_some(fixture, slice, 3, 5, results), PUBLISHER_FILLED);
    assert_int_equal(results_that_are(results, 8, SLICE_FILLED), 8);
    for (uint64_t user = 4; user <= 8; user++)
        assert_int_equal(resident(fixture, user, server, SEND), user <= 5);
    facts_slice_free(slice);
}

static void no_set_is_held_afterwards(void **state)
{
    struct fixture *fixture = *state;
    uint8_t results[8] = {0};
    struct facts_slice *slice = slice_of(fixture, 8);
    struct table *next = begin(fixture);
    assert_int_equal(fill_some(fixture, slice, 0, 8, results), PUBLISHER_FILLED);
    for (uint64_t user = 1; user <= 8; user++)
        publisher_retire_user(fixture->publisher, user);
    assert_null(set_table_role(&fixture->publisher->table->sets, 100));
    assert_null(set_table_role(&next->sets, 100));
    assert_null(scope_tree_find(&next->scopes, server));
    facts_slice_free(slice);
}

static void say(struct fixture *fixture, struct heard_change said)
{
    said.revision = fixture->revision + 1;
    said.heard_ns = SECOND;
    heard_add(&fixture->publisher->heard, &said);
}

static void a_message_holds_back_whom_it_names(void **state)
{
    struct fixture *fixture = *state;
    uint8_t results[8] = {0};
    struct facts_slice *slice = slice_of(fixture, 8);
    say(fixture, (struct heard_change){.user = 2});
    assert_int_equal(fill_some(fixture, slice, 0, 8, results), PUBLISHER_FILLED);
    assert_int_equal(results[1], SLICE_ALONE);
    assert_int_equal(results_that_are(results, 8, SLICE_FILLED), 7);
    facts_slice_free(slice);
}

/* Whoever was held back for long is published one day in spite of messages. Others of the same kind are not, who have
 * not been held back. */
static void a_message_holds_back_who_was_not_before(void **state)
{
    struct fixture *fixture = *state;
    uint8_t results[8] = {0};
    struct facts_slice *slice = slice_of(fixture, 8);
    say(fixture, (struct heard_change){.of_scope = true, .scope = server});
    assert_int_equal(fill_some(fixture, slice, 0, 2, results), PUBLISHER_FILLED);
    fixture->publisher->confirmed_ns = 2 * SECOND;
    heard_settle(&fixture->publisher->heard, UINT64_MAX);
    say(fixture, (struct heard_change){.of_scope = true, .scope = server});
    assert_int_equal(publisher_fill_many(fixture->publisher, slice, 2, 6, 3 * SECOND, results), PUBLISHER_FILLED);
    assert_int_equal(results_that_are(results, 8, SLICE_ALONE), 8);
    facts_slice_free(slice);
}

static void a_message_that_was_read_holds_nobody_back(void **state)
{
    struct fixture *fixture = *state;
    uint8_t results[8] = {0};
    struct facts_slice *slice = slice_of(fixture, 8);
    heard_add(&fixture->publisher->heard, &(struct heard_change){.user = 2, .revision = fixture->revision});
    assert_int_equal(fill_some(fixture, slice, 0, 8, results), PUBLISHER_FILLED);
    assert_int_equal(results_that_are(results, 8, SLICE_FILLED), 8);
    facts_slice_free(slice);
}

static void more_changes_than_one_call_compares(void **state)
{
    struct fixture *fixture = *state;
    uint8_t results[8] = {0};
    struct facts_slice *slice = slice_of(fixture, 8);
    for (unsigned i = 0; i < 256; i++)
        apply(fixture, (struct change){.kind = CHANGE_ASSIGNMENT, .user = 100 + i, .role = 1, .scope = channel});
    assert_int_equal(fill_some(fixture, slice, 0, 4, results), PUBLISHER_FILLED);
    assert_int_equal(results_that_are(results, 4, SLICE_FILLED), 4);
    apply(fixture, (struct change){.kind = CHANGE_ASSIGNMENT, .user = 99, .role = 1, .scope = channel});
    fences = 0;
    assert_int_equal(fill_some(fixture, slice, 4, 4, results), PUBLISHER_OUTDATED);
    assert_int_equal(results_that_are(results, 8, SLICE_ALONE), 4);
    assert_int_equal(fences, 0);
    facts_slice_free(slice);
}

static void a_batch_with_much_in_it_is_waited_for(void **state)
{
    struct fixture *fixture = *state;
    uint8_t results[8] = {0};
    struct facts_slice *slice = slice_of(fixture, 8);
    struct batch batch = {.at = {7, fixture->revision + 257, 1}, .now = 1000};
    batch.changes.items = calloc(257, sizeof *batch.changes.items);
    batch.changes.count = 257;
    for (unsigned i = 0; i < 257; i++)
        batch.changes.items[i] = (struct change){.kind = CHANGE_ASSIGNMENT,
                                                 .user = 100 + i,
                                                 .role = 1,
                                                 .scope = channel,
                                                 .revision = fixture->revision + 1 + i,
                                                 .nonce = 1};
    assert_int_equal(publisher_batch_begin(fixture->publisher, &batch, NULL), 0);
    assert_int_equal(publisher_batch_slice(fixture->publisher, SECOND, 3, NULL), 1);
    assert_int_equal(fill_some(fixture, slice, 0, 8, results), PUBLISHER_EARLY);
    assert_int_equal(results_that_are(results, 8, SLICE_OPEN), 8);
    while (publisher_batch_slice(fixture->publisher, SECOND, 300, NULL) == 1)
        ;
    assert_int_equal(fill_some(fixture, slice, 0, 8, results), PUBLISHER_OUTDATED);
    batch_fini(&batch);
    facts_slice_free(slice);
}

/* Between two slices of a batch, which has retired what it names already. */
static void who_is_named_by_the_batch_that_is_applied_is_alone(void **state)
{
    struct fixture *fixture = *state;
    uint8_t results[8] = {0};
    struct facts_slice *slice = slice_of(fixture, 8);
    struct batch batch = {.at = {7, fixture->revision + 3, 1}, .now = 1000};
    struct change changes[3];
    for (unsigned i = 0; i < 3; i++)
        changes[i] = (struct change){.kind = CHANGE_ASSIGNMENT,
                                     .user = 2 + i,
                                     .role = 100,
                                     .scope = server,
                                     .revision = fixture->revision + 1 + i,
                                     .nonce = 1};
    batch.changes.items = changes;
    batch.changes.count = 3;
    assert_int_equal(publisher_batch_begin(fixture->publisher, &batch, NULL), 0);
    assert_int_equal(publisher_batch_slice(fixture->publisher, SECOND, 1, NULL), 1);
    assert_int_equal(fill_some(fixture, slice, 0, 8, results), PUBLISHER_FILLED);
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(results[i], i >= 1 && i <= 3 ? SLICE_ALONE : SLICE_FILLED);
    while (publisher_batch_slice(fixture->publisher, SECOND, 300, NULL) == 1)
        ;
    for (uint64_t user = 1; user <= 8; user++)
        assert_int_equal(resident(fixture, user, server, SEND), user >= 2 && user <= 4 ? -1 : user <= 5);
    facts_slice_free(slice);
}

/* Ninety kinds of a place with a hundred overwrites: 256 changes are compared with some of them. */
static void one_call_compares_no_more_than_it_may(void **state)
{
    struct fixture *fixture = *state;
    uint8_t results[MANY] = {0};
    for (uint64_t role = 1000; role < 1100; role++) /* of roles that nobody has */
        memory_overwrite(&fixture->policy, server, OVERWRITE_ROLE, role, PIN, true);
    for (uint64_t role = 200; role < 290; role++) {
        memory_role(&fixture->policy, role, "one's own", server, false, true);
        memory_assign(&fixture->policy, role, role, server, FACTS_NEVER);
    }
    struct facts_slice *few = slice_of(fixture, MANY), *many = slice_of(fixture, MANY);
    assert_int_equal(few->kind_count, 2 + 90);
    assert_int_equal(fill_some(fixture, few, 0, MANY, results), PUBLISHER_FILLED);
    size_t filled = results_that_are(results, MANY, SLICE_FILLED);
    for (uint64_t user = 1; user <= MANY; user++)
        publisher_retire_user(fixture->publisher, user);
    memset(results, 0, sizeof results);
    for (unsigned i = 0; i < 256; i++)
        apply(fixture, (struct change){.kind = CHANGE_ROLE_GRANT, .role = 9000 + i});
    fences = 0;
    assert_int_equal(fill_some(fixture, many, 0, MANY, results), PUBLISHER_FILLED);
    assert_int_equal(filled, MANY); /* without changes there is no reason to stop */
    assert_in_range(fences, 2000000 / 110 / 259, 2000000 / 101 / 259);
    filled = results_that_are(results, MANY, SLICE_FILLED);
    assert_int_equal(filled + results_that_are(results, MANY, SLICE_ALONE), MANY);
    facts_slice_free(few);
    facts_slice_free(many);
}

static void nobody_makes_room(void **state)
{
    struct fixture *fixture = *state;
    uint8_t results[8] = {0};
    struct facts_slice *slice = slice_of(fixture, 8);
    fixture->publisher->table->entries_max = 5;
    assert_int_equal(fill_some(fixture, slice, 0, 8, results), PUBLISHER_FILLED);
    assert_int_equal(results_that_are(results, 5, SLICE_FILLED), 5);
    assert_int_equal(results_that_are(results + 5, 3, SLICE_NO_ROOM), 3);
    assert_int_equal(fixture->counters.entries_evicted, 0);
    facts_slice_free(slice);
}

static void ahead_of_the_table_it_waits(void **state)
{
    struct fixture *fixture = *state;
    uint8_t results[8] = {0};
    fixture->revision++;
    struct facts_slice *slice = slice_of(fixture, 8);
    fixture->revision--;
    assert_int_equal(fill_some(fixture, slice, 0, 8, results), PUBLISHER_EARLY);
    apply(fixture, (struct change){.kind = CHANGE_ASSIGNMENT, .user = 3, .role = 100, .scope = server});
    assert_int_equal(fill_some(fixture, slice, 0, 8, results), PUBLISHER_FILLED);
    assert_int_equal(results_that_are(results, 8, SLICE_FILLED), 8);
    facts_slice_free(slice);
}

static void of_another_generation_it_is_outdated(void **state)
{
    struct fixture *fixture = *state;
    uint8_t results[8] = {0};
    struct facts_slice *slice = slice_of(fixture, 8);
    memory_slice_stamp(slice, publisher_generation(fixture->publisher) - 1);
    assert_int_equal(fill_some(fixture, slice, 0, 4, results), PUBLISHER_OUTDATED);
    assert_int_equal(results_that_are(results, 8, SLICE_ALONE), 4);
    assert_int_equal(results_that_are(results, 8, SLICE_OPEN), 4);
    facts_slice_free(slice);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup_growing, teardown_growing)
        T(kinds_pass_the_fence_and_users_do_not),
        T(who_has_a_result_is_left),
        T(who_is_named_by_a_change_is_alone),
        T(many_who_are_named),
        T(a_change_of_a_role_leaves_its_kinds_alone),
        T(without_definitions),
        T(a_set_that_is_gone_is_made_again),
        T(no_set_is_held_afterwards),
        T(a_message_holds_back_whom_it_names),
        T(a_message_holds_back_who_was_not_before),
        T(a_message_that_was_read_holds_nobody_back),
        T(more_changes_than_one_call_compares),
        T(a_batch_with_much_in_it_is_waited_for),
        T(who_is_named_by_the_batch_that_is_applied_is_alone),
        T(one_call_compares_no_more_than_it_may),
        T(nobody_makes_room),
        T(ahead_of_the_table_it_waits),
        T(of_another_generation_it_is_outdated),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
