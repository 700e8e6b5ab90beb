/* Cases about reads of one user's rows at a place that is kept: with what is kept they are the same as a read of all,
 * whatever has changed in between, or they are not used. */
#ifndef PERMTAB_TESTS_UNIT_STORE_STORE_CASES_USER_H
#define PERMTAB_TESTS_UNIT_STORE_STORE_CASES_USER_H

#include "proxy/answer/places.h"
#include "proxy/table/batch.h"
#include "proxy/table/fill.h"
#include "proxy/table/publisher.h"
#include "tests/unit/store/store_cases_known.h"

/* A store, and a table that follows it and keeps places. */
struct kept_world {
    struct fixture *f;
    struct random random;
    struct publisher *publisher;
    struct counters counters;
    struct places places;
    unsigned completed, declined, outdated;
};

static void kept_new(struct kept_world *world, struct fixture *f, uint64_t seed)
{
    struct publisher_options options = {
        .permissions_max = 128, .entries = 100, .sets = 100, .folds = 10, .max_staleness_ns = 2000000000};
    struct catalogue catalogue;
    struct log_position at;
    int64_t now;
    *world = (struct kept_world){.f = f, .random = {.state = seed}};
    many_policy(f, &world->random);
    OK(store_snapshot(&f->store, &at, &now, &failure));
    OK(store_read_catalogue(&f->store, 128, &catalogue, &failure));
    store_snapshot_end(&f->store);
    OK(publisher_new(&world->publisher, &options, &at, now, &catalogue, &world->counters, &failure));
    places_init(&world->places, world->publisher);
}

static void kept_free(struct kept_world *world)
{
    places_fini(&world->places);
    publisher_free(world->publisher);
}

static void kept_apply(struct kept_world *world)
{
    struct store *store = &world->f->store;
    struct batch batch = {.now = 0};
    OK(store_snapshot(store, &batch.at, &batch.now, &failure));
    OK(store_read_changes(store, publisher_position(world->publisher).revision, 1000, &batch.changes,
                          &failure));
    store_snapshot_end(store);
    OK(publisher_batch(world->publisher, &batch, 1, &failure));
    batch_fini(&batch);
}

static void kept_change(struct kept_world *world)
{
    struct fixture *f = world->f;
    struct random *random = &world->random;
    struct scope_key scope = many_scope(random);
    uint64_t user = random_below(random, MANY_USERS), role = 1 + random_below(random, MANY_ROLES);
    switch (random_below(random, 9)) {
    case 0:
    case 1:
        many_sql(f, "INSERT INTO permtab_assignment VALUES (%llu, %llu, %llu, %llu, NULL)", user, role,
                 scope.type, scope.id);
        break;
    case 2:
        many_sql(f, "DELETE FROM permtab_assignment WHERE user_id = %llu", user, 0, 0, 0);
        break;
    case 3:
        many_sql(f, "INSERT INTO permtab_overwrite VALUES (%llu, %llu, 'user', %llu, 'c', 'deny')",
                 scope.type, scope.id, user, 0);
        break;
    case 4:
        many_sql(f, "INSERT INTO permtab_overwrite VALUES (%llu, %llu, 'role', %llu, 'b', 'allow')",
                 scope.type, scope.id, role, 0);
        break;
    case 5:
        many_sql(f, "DELETE FROM permtab_overwrite WHERE scope_type = %llu AND scope_id = %llu", scope.type,
                 scope.id, 0, 0);
        break;
    case 6:
        many_sql(f, "UPDATE permtab_role SET is_default = 1 - is_default WHERE id = %llu", role, 0, 0, 0);
        break;
    case 7:
        many_sql(f, "UPDATE permtab_scope SET owner = NULLIF(%llu, 0) WHERE type = %llu AND id = %llu",
                 random_below(random, 3), scope.type, scope.id, 0);
        break;
    case 8:
        many_sql(f, "UPDATE permtab_scope SET parent_id = %llu WHERE type = 2 AND id = %llu",
                 5 + random_below(random, 2), 100 + random_below(random, MANY_CHANNELS), 0, 0);
        break;
    }
}

/* Changes, some of which the table comes to know. */
static void kept_meanwhile(struct kept_world *world)
{
    while (random_below(&world->random, 3) == 0)
        kept_change(world);
    if (random_below(&world->random, 3) == 0)
        kept_apply(world);
}

static void kept_read(struct kept_world *world, uint64_t user, struct scope_key scope, struct facts *out)
{
    struct store *store = &world->f->store;
    struct log_position at;
    int64_t now;
    OK(store_snapshot(store, &at, &now, &failure));
    OK(store_read_facts(store, user, scope, out, &failure));
    store_snapshot_end(store);
    out->generation = publisher_generation(world->publisher);
}

/* The table is where the store is: what the fence lets pass is what the store says now. A scope that has become plain
 * may still be said not to be, and one where no user has an overwrite any more that somebody has. */
static void kept_judge(struct kept_world *world, struct facts *facts)
{
    struct facts now;
    kept_apply(world);
    if (!publisher_still_true(world->publisher, facts)) {
        world->outdated++;
        return;
    }
    kept_read(world, facts->user, facts->scope, &now);
    role_list_fini(&now.roles);
    memset(&now.roles, 0, sizeof(now.roles));
    facts_true_at(facts, now.revision, now.nonce);
    now.now = facts->now;
    for (uint32_t level = 0; level < now.chain_count; level++) {
        now.chain[level].plain = now.chain[level].plain && facts->chain[level].plain;
        now.chain[level].spares_users = now.chain[level].spares_users && facts->chain[level].spares_users;
    }
    assert_same_facts(facts, &now);
    facts_fini(&now);
    world->completed++;
}

static void kept_round(struct kept_world *world)
{
    struct store_place place;
    struct facts facts;
    uint64_t user = random_below(&world->random, 3 * MANY_USERS / 2);
    struct scope_key scope = many_scope(&world->random);
    struct places_time time = places_now(&world->places);
    kept_meanwhile(world);
    if (!places_find(&world->places, scope, &place)) {
        kept_read(world, user, scope, &facts);
        kept_meanwhile(world);
        if (facts.revision <= publisher_position(world->publisher).revision &&
            publisher_still_true(world->publisher, &facts))
            places_learn(&world->places, &facts, time);
        facts_fini(&facts);
        return;
    }
    kept_meanwhile(world);
    int code = store_read_facts_user(&world->f->store, &place, user, &facts, &failure);
    OK(code);
    if (code == 0) {
        world->declined++;
        return;
    }
    facts.generation = publisher_generation(world->publisher);
    kept_meanwhile(world);
    if (places_complete(&world->places, &place, time, &facts))
        kept_judge(world, &facts);
    facts_fini(&facts);
}

static void test_user_and_kept_are_as_all(void **state)
{
    struct kept_world world;
    kept_new(&world, *state, 20261201);
    for (unsigned round = 0; round < 2500; round++)
        kept_round(&world);
    print_message("%u completed, %u outdated, %u declined\n", world.completed, world.outdated,
                  world.declined);
    assert_true(world.completed > 100 && world.outdated > 20 && world.declined > 10);
    kept_free(&world);
}

/* ---- what it does not read --------------------------------------------------------------------------------------- */

static int user_read(struct fixture *f, const struct store_place *place, struct facts *out)
{
    int code = store_read_facts_user(&f->store, place, 1, out, &failure);
    OK(code);
    return code;
}

static void assert_no_user(struct fixture *f, const struct store_place *place)
{
    struct facts facts;
    assert_int_equal(user_read(f, place, &facts), 0);
}

static void test_user_is_not_as_believed(void **state)
{
    struct fixture *f = *state;
    struct random random = {.state = 3};
    struct facts facts;
    uint64_t nonce = 0;
    many_policy(f, &random);
    many_sql(f, "DELETE FROM permtab_overwrite WHERE subject = 'user'", 0, 0, 0, 0);
    many_sql(f, "DELETE FROM permtab_assignment WHERE user_id = 1", 0, 0, 0, 0);
    OK(run(f->writer,
           "INSERT INTO permtab_assignment VALUES (1, 1, 1, 5, NULL), (1, 1, 0, 0, 9000000000000000)"));
    struct store_place good = known_place(f, (struct scope_key){.type = 2, .id = 100}), place = good;
    for (unsigned spares = 0; spares < 2; spares++) {
        good.spares_users = spares == 1;
        assert_int_equal(user_read(f, &good, &facts), 1);
        assert_true(facts.revision == good.at.revision && facts.nonce == good.at.nonce &&
                    facts.without_roles);
        assert_int_equal(facts.assignment_count, 2);
        for (size_t i = 0; i < 2; i++)
            assert_int_equal(facts.assignments[i].expires_at == FACTS_NEVER, facts.assignments[i].level == 1);
        facts_fini(&facts);
        place = good, place.at.nonce++;
        assert_no_user(f, &place);
        place = good, place.at.revision++;
        assert_no_user(f, &place);
        place = good, place.at.store_id++;
        assert_no_user(f, &place);
    }
    /* The log goes on: so far it is followed, and no further; rows are counted once. */
    for (unsigned i = 0; i < 15; i++)
        many_sql(f,
                 i % 2 == 0 ? "INSERT INTO permtab_assignment VALUES (999, 1, 0, 0, NULL)"
                            : "DELETE FROM permtab_assignment WHERE user_id = 999",
                 0, 0, 0, 0);
    assert_int_equal(user_read(f, &good, &facts), 1);
    assert_int_equal(facts.assignment_count, 2);
    assert_true(facts.revision == good.at.revision + 15);
    OK(store_nonce(&f->store, facts.revision, &nonce, &failure));
    assert_true(nonce == facts.nonce);
    facts_fini(&facts);
    many_sql(f, "DELETE FROM permtab_assignment WHERE user_id = 999", 0, 0, 0, 0);
    assert_no_user(f, &good);
    /* An overwrite, which is read only where there may be one. */
    many_sql(f, "INSERT INTO permtab_overwrite VALUES (1, 5, 'user', 1, 'a', 'deny')", 0, 0, 0, 0);
    good = known_place(f, good.chain[2]);
    assert_no_user(f, &good);
    many_sql(f, "DELETE FROM permtab_overwrite WHERE subject = 'user'", 0, 0, 0, 0);
    /* A row of the log is gone: what stood there, nobody knows. */
    good = known_place(f, good.chain[2]);
    for (unsigned i = 0; i < 3; i++)
        many_sql(f, "INSERT INTO permtab_assignment VALUES (%llu, 1, 0, 0, NULL)", 2000 + i, 0, 0, 0);
    drop_trigger(f, "change_delete");
    many_sql(f, "DELETE FROM permtab_change WHERE revision = %llu", good.at.revision + 2, 0, 0, 0);
    assert_no_user(f, &good);
    /* More rows than are sent. */
    OK(run(f->writer, "INSERT INTO permtab_role SELECT 10000 + a.d + 10 * b.d + 100 * c.d, 'r', 1, 5, 0, 1"
                      " FROM " DIGITS "a, " DIGITS "b, " DIGITS "c WHERE c.d < 3"));
    OK(run(f->writer,
           "INSERT INTO permtab_assignment SELECT 1, id, 1, 5, NULL FROM permtab_role WHERE id >= 10000"));
    good = known_place(f, good.chain[2]);
    assert_no_user(f, &good);
}

#endif
