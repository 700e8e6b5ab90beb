/* Cases about reads at a place that is known: the same as others, or none. */
#ifndef PERMTAB_TESTS_UNIT_STORE_STORE_CASES_KNOWN_H
#define PERMTAB_TESTS_UNIT_STORE_STORE_CASES_KNOWN_H

#include "tests/unit/store/store_cases_many.h"

#include <pthread.h>
#include <stdatomic.h>

/* What is true of a place now; the facts of user 0 there are read for it. */
static struct store_place known_place(struct fixture *f, struct scope_key scope)
{
    struct store_place place = {.levels = 0};
    struct facts facts;
    int64_t now;
    OK(store_snapshot(&f->store, &place.at, &now, &failure));
    OK(store_read_facts(&f->store, 0, scope, &facts, &failure));
    store_snapshot_end(&f->store);
    for (; place.levels < facts.chain_count; place.levels++)
        place.chain[place.levels] = facts.chain[place.levels].key;
    facts_fini(&facts);
    return place;
}

static void known_is_as_each(struct fixture *f, const struct facts_key *key, struct facts *known)
{
    struct log_position at;
    struct facts one;
    int64_t now;
    OK(store_snapshot(&f->store, &at, &now, &failure));
    OK(store_read_facts(&f->store, key->user, facts_key_scope(key), &one, &failure));
    store_snapshot_end(&f->store);
    assert_true(known->without_roles && !one.without_roles);
    assert_true(known->now > now - 60000000 && known->now <= now);
    one.now = known->now;
    role_list_fini(&one.roles);
    memset(&one.roles, 0, sizeof(one.roles));
    assert_same_facts(known, &one);
    facts_fini(&one);
    facts_fini(known);
}

static void test_known_are_as_each(void **state)
{
    struct fixture *f = *state;
    struct random random = {.state = 20261201};
    static struct facts facts[STORE_KNOWN_MANY];
    struct facts_key keys[STORE_KNOWN_MANY];
    many_policy(f, &random);
    for (unsigned round = 0; round < 60; round++) {
        struct scope_key scope = many_scope(&random);
        struct store_place place = known_place(f, scope);
        size_t count = 0, most = 1 + random_below(&random, round % 2 == 0 ? 2 : STORE_KNOWN_MANY);
        for (uint64_t user = random_below(&random, 3); count < most; user += 1 + random_below(&random, 3))
            keys[count++] = facts_key_of(user * 7 % 1009, scope); /* in no order */
        assert_int_equal(store_read_facts_known(&f->store, &place, keys, count, facts, &failure), 1);
        for (size_t i = 0; i < count; i++) {
            assert_true(facts[i].user == keys[i].user);
            known_is_as_each(f, &keys[i], &facts[i]);
        }
    }
}

static int known_read(struct fixture *f, const struct store_place *place, struct facts *out)
{
    struct facts_key key = facts_key_of(1, place->chain[place->levels - 1]);
    int code = store_read_facts_known(&f->store, place, &key, 1, out, &failure);
    OK(code);
    return code;
}

static void assert_not_as_believed(struct fixture *f, const struct store_place *place)
{
    struct facts facts;
    assert_int_equal(known_read(f, place, &facts), 0);
}

/* What is believed names where to look, and nothing else. */
static void test_known_was_not(void **state)
{
    struct fixture *f = *state;
    struct random random = {.state = 3};
    struct facts facts;
    many_policy(f, &random);
    struct store_place good = known_place(f, (struct scope_key){.type = 2, .id = 100}), place = good;
    assert_int_equal(good.levels, 3);
    place.at.nonce++;
    assert_not_as_believed(f, &place);
    place = good, place.at.revision++;
    assert_not_as_believed(f, &place);
    place = good, place.at.store_id++;
    assert_not_as_believed(f, &place);
    place = good, place.chain[1].id = 6; /* it hangs on another server */
    assert_not_as_believed(f, &place);
    place = good, place.chain[1] = good.chain[2], place.levels = 2;
    assert_not_as_believed(f, &place);
    place = good, place.chain[2].id = 9999; /* is not there */
    assert_not_as_believed(f, &place);
    place = good, place.levels = 1;
    place.chain[0] = good.chain[2]; /* has no root */
    assert_not_as_believed(f, &place);
    /* The log goes on: so far it is followed, and no further. */
    for (unsigned i = 0; i < 15; i++)
        many_sql(f, i % 2 == 0 ? "INSERT INTO permtab_assignment VALUES (999, 1, 0, 0, NULL)"
                               : "DELETE FROM permtab_assignment WHERE user_id = 999", 0, 0, 0, 0);
    assert_int_equal(known_read(f, &good, &facts), 1);
    assert_true(facts.revision == good.at.revision + 15);
    uint64_t nonce = 0;
    OK(store_nonce(&f->store, facts.revision, &nonce, &failure));
    assert_true(nonce == facts.nonce);
    facts_fini(&facts);
    many_sql(f, "DELETE FROM permtab_assignment WHERE user_id = 999", 0, 0, 0, 0);
    assert_not_as_believed(f, &good);
    /* The place is moved. */
    place = known_place(f, (struct scope_key){.type = 2, .id = 100});
    many_sql(f, "UPDATE permtab_scope SET parent_id = 6 WHERE type = 2 AND id = 100", 0, 0, 0, 0);
    assert_not_as_believed(f, &place);
    /* A row of the log is gone: what stood there, nobody knows. */
    place = known_place(f, (struct scope_key){.type = 2, .id = 100});
    for (unsigned i = 0; i < 3; i++)
        many_sql(f, "INSERT INTO permtab_assignment VALUES (%llu, 1, 0, 0, NULL)", 2000 + i, 0, 0, 0);
    drop_trigger(f, "change_delete");
    many_sql(f, "DELETE FROM permtab_change WHERE revision = %llu", place.at.revision + 2, 0, 0, 0);
    assert_not_as_believed(f, &place);
}

/* ---- one moment -------------------------------------------------------------------------------------------------- */

#define KNOWN_ROUNDS 400u

struct known_writer {
    struct sql_options options;
    atomic_uint done;
};

/* User 1 has either an assignment or an overwrite, and each transaction takes one and gives the other. */
static void *known_write(void *context)
{
    struct known_writer *writer = context;
    static const char *const texts[2][2] = {
        {"DELETE FROM permtab_assignment WHERE user_id = 1",
         "INSERT INTO permtab_overwrite VALUES (1, 5, 'user', 1, 'a', 'deny')"},
        {"DELETE FROM permtab_overwrite WHERE subject_id = 1 AND subject = 'user'",
         "INSERT INTO permtab_assignment VALUES (1, 50, 1, 5, NULL)"},
    };
    struct failure own = {0};
    struct sql *sql = NULL;
    int code = sql_connect(&sql, &writer->options, &own);
    for (unsigned i = 0; code == 0 && i < KNOWN_ROUNDS; i++) {
        code = sql_begin(sql, SQL_WRITE, &own);
        for (unsigned part = 0; code == 0 && part < 2; part++)
            code = sql_execute(sql, texts[i % 2][part], &own);
        code = code == 0 ? sql_commit(sql, &own) : code;
        atomic_fetch_add(&writer->done, code == 0);
    }
    sql_close(sql);
    atomic_store(&writer->done, code == 0 ? KNOWN_ROUNDS : UINT32_MAX);
    return NULL;
}

/* The revision that it says is the one whose rows it has, and all rows are of it. */
static void test_known_is_of_one_moment(void **state)
{
    struct fixture *f = *state;
    struct known_writer writer = {.options = f->options};
    pthread_t thread;
    struct facts facts;
    unsigned read = 0, moved = 0;
    run(f->writer, "INSERT INTO permtab_permission (name, bit) VALUES ('a', 0)");
    run(f->writer, "INSERT INTO permtab_scope VALUES (1, 5, 0, 0, 3)");
    run(f->writer, "INSERT INTO permtab_role VALUES (50, 'r', 1, 5, 0, 1)");
    run(f->writer, "INSERT INTO permtab_assignment VALUES (1, 50, 1, 5, NULL)");
    struct store_place place = known_place(f, (struct scope_key){.type = 1, .id = 5});
    uint64_t first = place.at.revision;
    assert_int_equal(pthread_create(&thread, NULL, known_write, &writer), 0);
    while (atomic_load(&writer.done) < KNOWN_ROUNDS) {
        if (known_read(f, &place, &facts) == 0) {
            place = known_place(f, place.chain[1]);
            continue;
        }
        uint64_t changes = facts.revision - first;
        read++;
        moved += facts.revision != place.at.revision;
        assert_true(changes % 2 == 0); /* no half of a transaction */
        assert_int_equal(facts.assignment_count, changes / 2 % 2 == 0);
        assert_int_equal(facts.overwrite_count, changes / 2 % 2 == 1);
        facts_fini(&facts);
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(atomic_load(&writer.done), KNOWN_ROUNDS);
    assert_true(read > 0 && moved > 0);
}

/* ---- bounds ------------------------------------------------------------------------------------------------------ */

#define DIGITS                                                                                               \
    "(SELECT 0 d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 UNION ALL"          \
    " SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9) "

/* A user with thousands of rows is read by himself, however he is read, and keeps nobody waiting. */
static void test_one_with_many_rows(void **state)
{
    struct fixture *f = *state;
    struct random random = {.state = 5};
    struct facts facts[2];
    struct facts_key keys[2] = {{1, 5, 1}, {2, 5, 1}};
    struct log_position at;
    int64_t now;
    many_policy(f, &random);
    OK(run(f->writer, "INSERT INTO permtab_role SELECT 10000 + a.d + 10 * b.d + 100 * c.d + 1000 * e.d, 'r', 1, 5, 0, 1"
                      " FROM " DIGITS "a, " DIGITS "b, " DIGITS "c, " DIGITS "e WHERE e.d < 5"));
    OK(run(f->writer, "INSERT INTO permtab_assignment SELECT 1, id, 1, 5, NULL FROM permtab_role WHERE id >= 10000"));
    OK(store_snapshot(&f->store, &at, &now, &failure));
    FAILS(store_read_facts_many(&f->store, keys, 2, facts, &failure), PERMTAB_E_LIMIT, "for one read");
    OK(store_read_facts_many(&f->store, keys, 1, facts, &failure));
    assert_true(facts[0].assignment_count >= 5000);
    facts_fini(&facts[0]);
    OK(store_read_facts_many(&f->store, &keys[1], 1, facts, &failure));
    facts_fini(&facts[0]);
    store_snapshot_end(&f->store);
    struct store_place place = known_place(f, (struct scope_key){.type = 1, .id = 5});
    FAILS(store_read_facts_known(&f->store, &place, keys, 2, facts, &failure), PERMTAB_E_LIMIT, "for one read");
    assert_int_equal(store_read_facts_known(&f->store, &place, keys, 1, facts, &failure), 1);
    assert_true(facts[0].assignment_count >= 5000);
    facts_fini(&facts[0]);
}

#endif
