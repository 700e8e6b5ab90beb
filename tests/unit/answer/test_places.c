/* What is kept of places, one promise at a time: what it is completed to is what the store says, or it is not used.
 * Random histories are in test_strangers_property.c, and over real stores in store_cases_user.h. */
#include "proxy/answer/fetch.h"
#include "tests/support/memory_user.h"
#include "tests/unit/table/publisher_fixture.h"

#include <event2/event.h>

#define MEMBER 1u
#define OTHER  2u
#define NOBODY 77u

struct house {
    struct fixture *table; /* its revision is the store's */
    struct event_base *base;
    struct known_users known_users;
    struct strangers strangers;
    struct places places;
    struct fetches *fetches;
    int64_t now;
};

/* A read that is under way. */
struct under_way {
    struct store_place place;
    struct facts facts;
    struct fetch_origin origin;
};

static bool memory_is_short;

void *__wrap_malloc(size_t size);
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
    return memory_is_short ? NULL : __real_malloc(size);
}

/* Role 102 is everybody's and pins; role 101 edits, and the table has its definition. */
static int setup_house(void **state)
{
    struct house *house = calloc(1, sizeof *house);
    void *table;
    (void)setup(&table);
    house->table = table;
    house->now = 1000;
    memory_role(&house->table->policy, 101, "editor", server, false, true);
    memory_grant(&house->table->policy, 101, GRANT_ALLOW, EDIT);
    memory_role(&house->table->policy, 102, "everyone", server, true, true);
    memory_grant(&house->table->policy, 102, GRANT_ALLOW, PIN);
    memory_assign(&house->table->policy, MEMBER, 101, server, FACTS_NEVER);
    house->base = event_base_new();
    assert_int_equal(known_users_init(&house->known_users, 1000, 5), 0);
    strangers_init(&house->strangers, &house->known_users, house->table->publisher);
    places_init(&house->places, house->table->publisher);
    struct fetch_options fetches = {.base = house->base,
                                    .threads = 4,
                                    .strangers = &house->strangers,
                                    .places = &house->places,
                                    .publisher = house->table->publisher,
                                    .counters = &house->table->counters};
    assert_int_equal(fetches_new(&house->fetches, &fetches), 0);
    publisher_renew(house->table->publisher, 1);
    *state = house;
    return 0;
}

static int teardown_house(void **state)
{
    struct house *house = *state;
    void *table = house->table;
    fetches_free(house->fetches);
    event_base_free(house->base);
    places_fini(&house->places);
    strangers_fini(&house->strangers);
    known_users_fini(&house->known_users);
    (void)teardown(&table);
    free(house);
    return 0;
}

static struct fetch_origin origin_of(struct house *house)
{
    return (struct fetch_origin){.from = FETCH_PRIMARY, .begun_ns = SECOND, .time = places_now(&house->places)};
}

/* 1 allowed, 0 denied; -1: it is too early, -2: outdated. The facts are fini'd, unless they are early. */
static int publish(struct house *house, struct under_way *read, uint32_t bit)
{
    struct answer answer = {0};
    int result = -2;
    switch (fetch_publish(house->fetches, &read->facts, &read->origin, SECOND, &answer)) {
    case PUBLISHER_FILLED:
        result = bitmap_test(answer.any, bit);
        answer_fini(&answer);
        break;
    case PUBLISHER_EARLY:
        return -1;
    case PUBLISHER_OUTDATED:
        break;
    case PUBLISHER_FAILED:
        fail();
    }
    facts_fini(&read->facts);
    return result;
}

/* All of it is read. */
static void whole_read(struct house *house, uint64_t user, struct scope_key scope, struct under_way *read)
{
    read->origin = origin_of(house);
    read_facts(house->table, user, scope, &read->facts);
    read->facts.now = house->now;
}

static int ask_whole(struct house *house, uint64_t user, struct scope_key scope, uint32_t bit)
{
    struct under_way read;
    whole_read(house, user, scope, &read);
    return publish(house, &read, bit);
}

static bool is_kept(struct house *house, struct scope_key scope)
{
    struct store_place place;
    return places_find(&house->places, scope, &place);
}

/* The rows of the user are read; false: nothing is kept. */
static bool begin(struct house *house, uint64_t user, struct scope_key scope, struct under_way *read)
{
    read->origin = origin_of(house);
    if (!places_find(&house->places, scope, &read->place))
        return false;
    assert_int_equal(memory_read_user(&house->table->policy, &read->place, user, house->now, &read->facts),
                     1);
    read->facts.revision = house->table->revision;
    read->facts.nonce = 1;
    read->facts.generation = publisher_generation(house->table->publisher);
    return true;
}

static bool complete(struct house *house, struct under_way *read)
{
    if (places_complete(&house->places, &read->place, read->origin.time, &read->facts))
        return true;
    facts_fini(&read->facts);
    return false;
}

/* As publish; -3: nothing is kept; -4: it does not fit. */
static int ask_kept(struct house *house, uint64_t user, struct scope_key scope, uint32_t bit)
{
    struct under_way read;
    if (!begin(house, user, scope, &read))
        return -3;
    return complete(house, &read) ? publish(house, &read, bit) : -4;
}

/* ---- what it is for ---------------------------------------------------------------------------------------------- */

static void others_are_completed(void **state)
{
    struct house *house = *state;
    memory_assign(&house->table->policy, NOBODY, 101, server, FACTS_NEVER);
    assert_int_equal(ask_kept(house, OTHER, channel, SEND), -3);
    assert_int_equal(ask_whole(house, MEMBER, channel, EDIT), 1);
    assert_int_equal(ask_kept(house, OTHER, channel, SEND), 1);
    assert_int_equal(ask_kept(house, OTHER, channel, EDIT), 0);
    assert_int_equal(ask_kept(house, OTHER, channel, PIN), 1);
    assert_int_equal(ask_kept(house, NOBODY, channel, EDIT), 1);
    assert_int_equal(ask_kept(house, NOBODY, channel, SEND), 0);
    assert_int_equal(ask_kept(house, OTHER, server, SEND), -3); /* another place */
}

/* Ends are judged by the clock of the read, and nothing that ends is kept. */
static void what_ends_is_not_kept(void **state)
{
    struct house *house = *state;
    memory_assign(&house->table->policy, OTHER, 101, server, 2000);
    memory_assign(&house->table->policy, NOBODY, 101, server, 2000);
    assert_int_equal(ask_whole(house, OTHER, channel, EDIT), 1);
    assert_int_equal(ask_kept(house, NOBODY, channel, EDIT), 1);
    house->now = 2000;
    assert_int_equal(ask_kept(house, NOBODY, channel, EDIT), 0);
    assert_int_equal(ask_kept(house, OTHER, channel, EDIT), 0);
}

/* ---- changes of the place ---------------------------------------------------------------------------------------- */

static void deny_pins(struct house *house)
{
    memory_overwrite(&house->table->policy, channel, OVERWRITE_ROLE, 102, PIN, false);
}

static const struct change denied = {.kind = CHANGE_OVERWRITE, .role = 102, .scope = {100, 3}};

/* The store is ahead: the user's rows are of after a change, the place of before. */
static void change_between_place_and_rows(void **state)
{
    struct house *house = *state;
    struct under_way read;
    assert_int_equal(ask_whole(house, MEMBER, channel, PIN), 1);
    deny_pins(house);
    house->table->revision = 2;
    assert_true(begin(house, OTHER, channel, &read));
    assert_true(complete(house, &read));
    assert_int_equal(publish(house, &read, PIN), -1);
    house->table->revision = 1;
    apply(house->table, denied);
    assert_int_equal(publish(house, &read, PIN), -2);
    assert_int_equal(ask_kept(house, OTHER, channel, PIN), -3);
    assert_int_equal(ask_whole(house, OTHER, channel, PIN), 0);
    assert_int_equal(ask_kept(house, 3, channel, PIN), 0);
}

/* The same, and another read has kept the place anew when the rows are there. */
static void kept_anew_meanwhile(void **state)
{
    struct house *house = *state;
    struct under_way read;
    assert_int_equal(ask_whole(house, MEMBER, channel, PIN), 1);
    assert_true(begin(house, OTHER, channel, &read)); /* of before */
    deny_pins(house);
    apply(house->table, denied);
    assert_int_equal(ask_whole(house, MEMBER, channel, PIN), 0);
    assert_true(complete(house, &read));
    assert_int_equal(publish(house, &read, PIN), -2);
    assert_int_equal(ask_kept(house, OTHER, channel, PIN), 0);
}

/* Changes of a user are no changes of the place, and do not end what is kept. */
static void a_user_changes_meanwhile(void **state)
{
    struct house *house = *state;
    struct under_way read;
    assert_int_equal(ask_whole(house, MEMBER, channel, EDIT), 1);
    memory_assign(&house->table->policy, OTHER, 101, server, FACTS_NEVER);
    house->table->revision = 2;
    assert_true(begin(house, OTHER, channel, &read));
    assert_true(complete(house, &read));
    house->table->revision = 1;
    apply(house->table,
          (struct change){.kind = CHANGE_ASSIGNMENT, .user = OTHER, .role = 101, .scope = server});
    assert_int_equal(publish(house, &read, EDIT), 1);
    assert_true(is_kept(house, channel));
}

/* Where no user has an overwrite none is read. So the first that somebody has there ends what is kept, and what was
 * read before it is not learned. */
static void first_overwrite_of_a_user(void **state)
{
    struct house *house = *state;
    struct under_way read;
    struct change change = {.kind = CHANGE_OVERWRITE, .user = OTHER, .scope = channel};
    assert_int_equal(ask_whole(house, MEMBER, channel, SEND), 1);
    memory_overwrite(&house->table->policy, channel, OVERWRITE_USER, OTHER, SEND, false);
    house->table->revision = 2;
    assert_true(begin(house, OTHER, channel, &read));
    assert_true(complete(house, &read));
    house->table->revision = 1;
    apply(house->table, change);
    assert_int_equal(publish(house, &read, SEND), -2);
    assert_int_equal(ask_whole(house, OTHER, channel, SEND), 0);
    assert_int_equal(ask_kept(house, 3, channel, SEND), 1);
    whole_read(house, MEMBER, server, &read); /* nobody has one there */
    memory_overwrite(&house->table->policy, server, OVERWRITE_USER, 3, SEND, false);
    change = (struct change){.kind = CHANGE_OVERWRITE, .user = 3, .scope = server};
    apply(house->table, change);
    assert_int_equal(publish(house, &read, SEND), 1);
    assert_false(is_kept(house, server));
}

/* Nor is it plain any more when somebody has the first role there. */
static void first_assignment_at_a_plain_place(void **state)
{
    struct house *house = *state;
    struct under_way read;
    assert_int_equal(ask_whole(house, MEMBER, channel, EDIT), 1);
    memory_assign(&house->table->policy, OTHER, 101, channel, FACTS_NEVER);
    house->table->revision = 2;
    assert_true(begin(house, 3, channel, &read));
    assert_true(complete(house, &read));
    house->table->revision = 1;
    apply(house->table,
          (struct change){.kind = CHANGE_ASSIGNMENT, .user = OTHER, .role = 101, .scope = channel});
    assert_int_equal(publish(house, &read, EDIT), -2);
    assert_int_equal(ask_whole(house, 3, channel, EDIT), 0);
    assert_int_equal(ask_kept(house, OTHER, channel, EDIT), 1);
}

/* A place that is kept as plain has no assignments: one that is found says that it is not so. */
static void an_assignment_where_there_are_none(void **state)
{
    struct house *house = *state;
    assert_int_equal(ask_whole(house, MEMBER, channel, EDIT), 1);
    memory_assign(&house->table->policy, OTHER, 101, channel, FACTS_NEVER); /* the log does not tell */
    assert_int_equal(ask_kept(house, 3, channel, EDIT), 0);
    assert_int_equal(ask_kept(house, OTHER, channel, EDIT), -4);
    assert_false(is_kept(house, channel));
    assert_int_equal(ask_whole(house, OTHER, channel, EDIT), 1);
}

/* Where others have overwrites each one's own are looked for: somebody's change is theirs alone there. */
static void an_overwrite_where_others_have_some(void **state)
{
    struct house *house = *state;
    struct store_place place;
    struct facts facts;
    struct change change = {.kind = CHANGE_OVERWRITE, .user = OTHER, .scope = channel};
    memory_overwrite(&house->table->policy, channel, OVERWRITE_USER, 3, SEND, false);
    assert_int_equal(ask_whole(house, MEMBER, channel, SEND), 1);
    memory_overwrite(&house->table->policy, channel, OVERWRITE_USER, OTHER, SEND, false);
    apply(house->table, change);
    assert_true(places_find(&house->places, channel, &place));
    assert_int_equal(memory_read_user(&house->table->policy, &place, OTHER, house->now, &facts), 0);
    assert_int_equal(ask_kept(house, 4, channel, SEND), 1);
    deny_pins(house);
    apply(house->table, denied);
    assert_false(is_kept(house, channel));
}

/* ---- what no log tells ------------------------------------------------------------------------------------------- */

static void make_older(struct house *house, struct scope_key scope, uint64_t by_ns)
{
    uint64_t version = publisher_places_version(house->table->publisher);
    kept_find(&house->places.kept, scope, version)->place_read_ns -= by_ns;
}

/* Use does not make it younger. */
static void what_is_old_is_not_used(void **state)
{
    struct house *house = *state;
    struct under_way read;
    assert_int_equal(ask_whole(house, MEMBER, channel, PIN), 1);
    assert_true(begin(house, OTHER, channel, &read));
    make_older(house, channel, PLACES_AGE_NS - SECOND);
    assert_int_equal(ask_kept(house, OTHER, channel, PIN), 1);
    make_older(house, channel, SECOND);
    assert_false(complete(house, &read));
    assert_int_equal(ask_whole(house, MEMBER, channel, PIN), 1);
    make_older(house, channel, PLACES_AGE_NS);
    assert_int_equal(ask_kept(house, OTHER, channel, PIN), -3);
    assert_int_equal(ask_whole(house, OTHER, channel, PIN), 1);
    assert_int_equal(ask_kept(house, OTHER, channel, PIN), 1);
}

/* Two reads may bring what the log says is the same, and what is not. */
static void the_later_read_counts(void **state)
{
    struct house *house = *state;
    struct under_way before;
    whole_read(house, OTHER, channel, &before);
    before.origin.time.began_ns -= SECOND;
    assert_int_equal(ask_whole(house, MEMBER, channel, PIN), 1);
    make_older(house, channel, SECOND / 2);
    deny_pins(house); /* the log does not tell */
    assert_int_equal(ask_kept(house, OTHER, channel, PIN), 1);
    assert_int_equal(ask_whole(house, MEMBER, channel, PIN), 0);
    assert_int_equal(ask_kept(house, OTHER, channel, PIN), 0);
    assert_int_equal(publish(house, &before, PIN), 1);
    assert_int_equal(ask_kept(house, OTHER, channel, PIN), 0);
}

static void nothing_is_learned_where_all_is_to_be_read(void **state)
{
    struct house *house = *state;
    struct store_place place;
    house->places.idle = true;
    assert_int_equal(ask_whole(house, MEMBER, channel, SEND), 1);
    assert_false(places_find(&house->places, channel, &place));
}

static void by_user(struct house *house)
{
    (void)publisher_retire_user(house->table->publisher, OTHER);
}

static void by_user_at(struct house *house)
{
    (void)publisher_retire_user_at(house->table->publisher, OTHER, channel);
}

static void by_role(struct house *house)
{
    (void)publisher_retire_role(house->table->publisher, 102);
}

static void by_scope(struct house *house)
{
    struct publisher_retiring retiring;
    publisher_retire_scope_begin(house->table->publisher, &retiring, server);
}

static bool anybody(void *context, uint64_t user)
{
    (void)context, (void)user;
    return true;
}

static void by_pattern(struct house *house)
{
    struct publisher_match match = {.user = anybody};
    struct publisher_scan scan;
    publisher_scan_begin(house->table->publisher, &scan, &match);
}

static void by_all(struct house *house)
{
    publisher_outdate_kept(house->table->publisher);
}

static void by_rebuild(struct house *house)
{
    struct log_position at = publisher_position(house->table->publisher);
    struct catalogue catalogue;
    memory_catalogue(&house->table->policy, 1, &catalogue);
    assert_int_equal(publisher_rebuild(house->table->publisher, &at, 1000, &catalogue, NULL, NULL), 0);
}

/* Each of them ends what is kept, what is under way with it, and what could be learned from a read that began before:
 * rows may have changed, and the log does not tell. */
static void invalidations_end_it(void **state)
{
    static void (*const kinds[])(struct house *) = {by_user,    by_user_at, by_role,   by_scope,
                                                    by_pattern, by_all,     by_rebuild};
    struct house *house = *state;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct under_way first, second, third;
        assert_int_equal(ask_whole(house, MEMBER, channel, PIN), 1);
        assert_true(begin(house, OTHER, channel, &first));
        assert_true(begin(house, OTHER, channel, &second));
        assert_true(complete(house, &second));
        whole_read(house, 3, server, &third);
        kinds[i](house);
        assert_false(complete(house, &first));
        assert_int_equal(publish(house, &second, PIN), -2);
        assert_int_equal(publish(house, &third, PIN), kinds[i] == by_rebuild ? -2 : 1);
        assert_false(is_kept(house, server));
        assert_false(is_kept(house, channel));
    }
}

/* ---- who else learns from it ------------------------------------------------------------------------------------- */

static void count_all(struct house *house)
{
    struct log_position at = publisher_position(house->table->publisher);
    uint64_t users[] = {1, 2, 3, 4, 5};
    known_users_begin(&house->known_users, house->table->publisher);
    assert_int_equal(known_users_take(&house->known_users, house->table->publisher, &at, users, 5),
                     KNOWN_USERS_TAKEN);
    known_users_complete(&house->known_users);
}

/* What is kept of strangers comes from facts that were completed, too, and is true at the table's revision then. */
static void strangers_learn_what_is_true(void **state)
{
    struct house *house = *state;
    struct under_way read;
    struct facts facts;
    count_all(house);
    assert_int_equal(ask_whole(house, MEMBER, channel, PIN), 1);
    assert_int_equal(ask_kept(house, NOBODY, channel, PIN), 1);
    assert_true(strangers_facts(&house->strangers, NOBODY + 1, channel, &facts));
    assert_true(facts.place_revision == 0 && facts.revision == 1);
    facts_fini(&facts);
    strangers_forget(&house->strangers, channel);
    deny_pins(house);
    house->table->revision = 2;
    assert_true(begin(house, NOBODY, channel, &read));
    assert_true(complete(house, &read));
    house->table->revision = 1;
    apply(house->table, denied);
    known_users_applied(&house->known_users, house->table->publisher);
    assert_int_equal(publish(house, &read, PIN), -2);
    assert_false(strangers_facts(&house->strangers, NOBODY + 1, channel, &facts));
}

/* Facts of the same revision say that what is kept is still true only if it is. */
static void same_revision_is_not_the_same(void **state)
{
    struct house *house = *state;
    struct under_way read;
    struct facts facts;
    count_all(house);
    assert_int_equal(ask_whole(house, NOBODY, channel, PIN), 1);
    whole_read(house, NOBODY, channel, &read);
    memory_assign(&house->table->policy, OTHER, 101, channel, FACTS_NEVER);
    apply(house->table,
          (struct change){.kind = CHANGE_ASSIGNMENT, .user = OTHER, .role = 101, .scope = channel});
    known_users_applied(&house->known_users, house->table->publisher);
    for (uint32_t level = 0; level < read.facts.chain_count; level++)
        read.facts.chain[level].plain = false; /* as it is now */
    strangers_learn(&house->strangers, &read.facts);
    facts_fini(&read.facts);
    assert_true(strangers_facts(&house->strangers, NOBODY + 1, channel, &facts));
    assert_false(facts.chain[facts.chain_count - 1].plain);
    facts_fini(&facts);
}

/* Nor does an invalidation come too early for strangers: a read that began before it is not learned. */
static void strangers_do_not_learn_the_past(void **state)
{
    struct house *house = *state;
    struct under_way read;
    struct facts facts;
    count_all(house);
    whole_read(house, NOBODY, channel, &read);
    by_role(house);
    assert_int_equal(publish(house, &read, PIN), 1);
    assert_false(strangers_facts(&house->strangers, NOBODY + 1, channel, &facts));
}

/* ---- bounds ------------------------------------------------------------------------------------------------------ */

static void without_memory_it_is_read(void **state)
{
    struct house *house = *state;
    struct under_way read;
    deny_pins(house);
    assert_int_equal(ask_whole(house, MEMBER, channel, PIN), 0);
    assert_true(begin(house, OTHER, channel, &read));
    memory_is_short = true;
    bool done = complete(house, &read);
    memory_is_short = false;
    assert_false(done);
    whole_read(house, MEMBER, server, &read);
    memory_is_short = true;
    places_learn(&house->places, &read.facts, read.origin.time);
    memory_is_short = false;
    facts_fini(&read.facts);
    assert_false(is_kept(house, server));
    assert_int_equal(ask_kept(house, OTHER, channel, PIN), 0);
}

static void large_places_are_not_kept(void **state)
{
    struct house *house = *state;
    for (uint64_t role = 1000; role < 2025; role++)
        memory_overwrite(&house->table->policy, server, OVERWRITE_ROLE, role, PIN, false);
    assert_int_equal(ask_whole(house, MEMBER, channel, PIN), 1);
    assert_false(is_kept(house, channel));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup_house, teardown_house)
        T(others_are_completed),
        T(what_ends_is_not_kept),
        T(change_between_place_and_rows),
        T(kept_anew_meanwhile),
        T(a_user_changes_meanwhile),
        T(first_overwrite_of_a_user),
        T(first_assignment_at_a_plain_place),
        T(an_assignment_where_there_are_none),
        T(an_overwrite_where_others_have_some),
        T(what_is_old_is_not_used),
        T(the_later_read_counts),
        T(nothing_is_learned_where_all_is_to_be_read),
        T(invalidations_end_it),
        T(strangers_learn_what_is_true),
        T(same_revision_is_not_the_same),
        T(strangers_do_not_learn_the_past),
        T(without_memory_it_is_read),
        T(large_places_are_not_kept),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
