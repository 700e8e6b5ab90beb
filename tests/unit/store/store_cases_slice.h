/* Cases about slices: whoever is of a kind has the facts that one read of that user alone has, and whoever must be read
 * alone is of none. */
#ifndef PERMTAB_TESTS_UNIT_STORE_STORE_CASES_SLICE_H
#define PERMTAB_TESTS_UNIT_STORE_STORE_CASES_SLICE_H

#include <stdatomic.h>

#include "proxy/rights/resolve.h"
#include "tests/support/random.h"
#include "tests/unit/store/store_cases_many.h"

#define SLICE_SIGN (1ull << 63)

/* Statements that the store has prepared, each of which it executes once. */
static atomic_uint statements;

struct sql_statement *__real_sql_prepare(struct sql *sql, const char *text, struct failure *failure);
struct sql_statement *__wrap_sql_prepare(struct sql *sql, const char *text, struct failure *failure);
struct sql_statement *__wrap_sql_prepare(struct sql *sql, const char *text, struct failure *out)
{
    statements++;
    return __real_sql_prepare(sql, text, out);
}

struct sql_statement *__real_sql_prepare_built(struct sql *sql, const char *text, struct failure *failure);
struct sql_statement *__wrap_sql_prepare_built(struct sql *sql, const char *text, struct failure *failure);
struct sql_statement *__wrap_sql_prepare_built(struct sql *sql, const char *text, struct failure *out)
{
    statements++;
    return __real_sql_prepare_built(sql, text, out);
}

/* ---- a policy ---------------------------------------------------------------------------------------------------- */

/* post:5000 in thread:1000 in channel:100 in server:5, and what is beside them. */
static const struct scope_key slice_places[] = {{0, 0}, {5, 1}, {100, 2}, {1000, 3}, {5000, 4}};
#define SLICE_PLACES (sizeof slice_places / sizeof *slice_places)

/* The rows of assignments that there are: few, so that there are few kinds. Some are of roles that belong elsewhere,
 * and some are elsewhere. */
static const struct slice_row {
    uint64_t role;
    struct scope_key scope;
} slice_rows[] = {
    {1, {0, 0}}, {1, {5, 1}}, {2, {5, 1}}, {2, {5000, 4}}, {3, {100, 2}}, {4, {1000, 3}}, {5, {5, 1}}, {2, {6, 1}},
};
#define SLICE_ROWS (sizeof slice_rows / sizeof *slice_rows)

/* A row that is there already is refused. */
static void slice_put(struct fixture *f, const char *text, const uint64_t *values, unsigned count)
{
    struct sql_statement *st = sql_prepare_built(f->writer, text, &failure);
    assert_non_null(st);
    for (unsigned i = 0; i < count; i++)
        sql_bind_u64(st, i + 1, values[i]);
    (void)!sql_step(st, &failure);
    sql_reset(st);
}

static void slice_assign(struct fixture *f, uint64_t user, const struct slice_row *row)
{
    slice_put(f, "INSERT INTO permtab_assignment VALUES (?, ?, ?, ?, NULL)",
              (uint64_t[]){user, row->role, row->scope.type, row->scope.id}, 4);
}

static void slice_policy(struct fixture *f)
{
    static const char *const texts[] = {
        "INSERT INTO permtab_permission (name, bit) VALUES ('a', 0), ('b', 1), ('c', 70)",
        "INSERT INTO permtab_scope VALUES (1, 5, 0, 0, 3), (1, 6, 0, 0, NULL), (2, 100, 1, 5, 9223372036854775807),"
        " (2, 101, 1, 5, 17), (3, 1000, 2, 100, NULL), (4, 5000, 3, 1000, 4000)",
        "INSERT INTO permtab_role VALUES (1, 'r', 0, 0, 0, 1), (2, 'r', 1, 5, 0, 1), (3, 'r', 2, 100, 0, 1),"
        " (4, 'r', 3, 1000, 0, 0), (5, 'r', 1, 6, 0, 1), (6, 'r', 1, 5, 1, 1), (7, 'r', 0, 0, 0, 1),"
        " (8, 'r', 4, 5000, 1, 1), (9, 'r', 2, 101, 1, 1)",
        "INSERT INTO permtab_role_parent VALUES (2, 1), (1, 7), (3, 1), (8, 7)",
        "INSERT INTO permtab_role_permission VALUES (1, 'a', 'allow'), (7, 'b', 'allow_own'), (2, 'c', 'allow'),"
        " (3, 'a', 'deny'), (6, 'b', 'allow'), (5, 'b', 'allow'), (8, 'a', 'allow')",
        "INSERT INTO permtab_overwrite VALUES (2, 100, 'role', 2, 'b', 'allow'), (2, 100, 'role', 6, 'b', 'deny'),"
        " (3, 1000, 'role', 1, 'c', 'allow'), (1, 5, 'role', 3, 'c', 'deny'), (2, 101, 'role', 2, 'a', 'deny')",
    };
    struct scope_types types = {.count = 5, .names = {"global", "server", "channel", "thread", "post"}};
    OK(store_sync_types(&f->store, &types, &failure));
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
        OK(run(f->writer, texts[i]));
}

/* A few rows for most, and for some what makes them be alone. */
static void slice_user(struct fixture *f, struct random *random, uint64_t user)
{
    for (uint64_t left = random_below(random, 4); left > 0; left--)
        slice_assign(f, user, &slice_rows[random_below(random, SLICE_ROWS)]);
    struct scope_key scope = slice_places[1 + random_below(random, SLICE_PLACES - 1)];
    if (random_below(random, 12) == 0)
        slice_put(f, "INSERT INTO permtab_overwrite VALUES (?, ?, 'user', ?, 'c', 'deny')",
                  (uint64_t[]){scope.type, scope.id, user}, 3);
    const struct slice_row *row = &slice_rows[random_below(random, SLICE_ROWS)];
    if (random_below(random, 12) == 0)
        slice_put(f, "INSERT INTO permtab_assignment VALUES (?, ?, ?, ?, 1000)",
                  (uint64_t[]){user, row->role, row->scope.type, row->scope.id}, 4);
}

static void slice_users(struct fixture *f, struct random *random, const uint64_t *users, size_t count)
{
    OK(sql_begin(f->writer, SQL_WRITE, &failure));
    for (size_t i = 0; i < count; i++)
        slice_user(f, random, users[i]);
    OK(sql_commit(f->writer, &failure));
}

static void slice_run_of(uint64_t *users, size_t count, uint64_t first, uint64_t step)
{
    for (size_t i = 0; i < count; i++)
        users[i] = first + i * step;
}

/* ---- the comparison ---------------------------------------------------------------------------------------------- */

static bool must_be_alone(const struct facts *facts)
{
    bool alone = false;
    for (size_t i = 0; i < facts->assignment_count; i++)
        alone |= facts->assignments[i].expires_at != FACTS_NEVER;
    for (size_t i = 0; i < facts->overwrite_count; i++)
        alone |= facts->overwrites[i].subject == OVERWRITE_USER;
    for (uint32_t level = 0; level < facts->chain_count; level++)
        alone |= facts->chain[level].has_owner && facts->chain[level].owner == facts->user;
    return alone;
}

static void bits_of(const struct catalogue *catalogue, struct facts *facts, uint64_t bits[4])
{
    struct inputs inputs;
    assert_int_equal(inputs_build(&inputs, facts, facts->now, role_list_find, &facts->roles, NULL), 0);
    assert_int_equal(resolve(catalogue, &inputs, role_list_find, &facts->roles, bits, bits + 2), 0);
    inputs_fini(&inputs);
}

struct slice_seen {
    size_t alone, without, kinds, allowed;
};

static void assert_as_one(struct facts_slice *slice, size_t index, const struct catalogue *catalogue,
                          struct facts *one, struct slice_seen *seen)
{
    uint64_t kind_bits[4], bits[4];
    assert_true(one->user == slice->users[index]);
    if (must_be_alone(one) != (slice->kind_of[index] == FACTS_SLICE_ALONE))
        fail_msg("user %llu at %u:%llu is of kind %u", (unsigned long long)one->user, one->scope.type,
                 (unsigned long long)one->scope.id, slice->kind_of[index]);
    seen->alone += must_be_alone(one);
    if (slice->kind_of[index] == FACTS_SLICE_ALONE)
        return;
    struct facts *kind = &slice->kinds[slice->kind_of[index]];
    kind->user = one->user;
    assert_same_facts(kind, one);
    bits_of(catalogue, kind, kind_bits);
    bits_of(catalogue, one, bits);
    assert_memory_equal(kind_bits, bits, sizeof bits);
    seen->without += one->assignment_count == 0;
    seen->allowed += (bits[0] | bits[1] | bits[2] | bits[3]) != 0;
}

/* In the snapshot of the read. */
static struct slice_seen assert_as_each(struct fixture *f, struct facts_slice *slice)
{
    static struct facts facts[STORE_FACTS_MANY];
    struct slice_seen seen = {.kinds = slice->kind_count};
    struct catalogue catalogue;
    OK(store_read_catalogue(&f->store, 128, &catalogue, &failure));
    assert_true(slice->kind_count < FACTS_SLICE_KINDS_MAX);
    for (size_t at = 0, count; at < slice->count; at += count) {
        struct facts_key keys[STORE_FACTS_MANY];
        count = slice->count - at < STORE_FACTS_MANY ? slice->count - at : STORE_FACTS_MANY;
        for (size_t i = 0; i < count; i++)
            keys[i] = facts_key_of(slice->users[at + i], slice->scope);
        OK(store_read_facts_many(&f->store, keys, count, facts, &failure));
        for (size_t i = 0; i < count; i++) {
            assert_as_one(slice, at + i, &catalogue, &facts[i], &seen);
            facts_fini(&facts[i]);
        }
    }
    catalogue_fini(&catalogue);
    return seen;
}

/* Of one place; the slice is read twice. `listed` says how it is to be read, and is told to have been. */
static struct slice_seen slice_at(struct fixture *f, struct scope_key scope, const uint64_t *users, size_t count,
                                  bool begin_listed, bool end_listed, unsigned most)
{
    struct facts_slice *slice;
    struct slice_seen seen;
    struct log_position at;
    int64_t now;
    assert_int_equal(facts_slice_new(&slice, scope, users, count), 0);
    for (unsigned round = 0; round < 2; round++) {
        bool listed = begin_listed;
        OK(store_snapshot(&f->store, &at, &now, &failure));
        statements = 0;
        OK(store_read_slice(&f->store, slice, &listed, &failure));
        assert_in_range(statements, 2, most);
        assert_int_equal(listed, end_listed);
        assert_true(slice->kinds[0].revision == at.revision && slice->kinds[0].nonce == at.nonce);
        seen = assert_as_each(f, slice);
        store_snapshot_end(&f->store);
    }
    facts_slice_free(slice);
    return seen;
}

/* ---- cases ------------------------------------------------------------------------------------------------------- */

static uint64_t slice_ids[FACTS_SLICE_USERS_MAX];

static void test_slice_is_as_each(void **state)
{
    struct fixture *f = *state;
    struct random random = {.state = 20261201};
    slice_policy(f);
    slice_run_of(slice_ids, 4096, 0, 1);
    slice_users(f, &random, slice_ids, 4096);
    for (size_t i = 0; i < SLICE_PLACES; i++) {
        /* The chain, the rows, the roles and two levels of their parents. */
        struct slice_seen seen = slice_at(f, slice_places[i], slice_ids, 4096, false, false, 6);
        assert_true(seen.alone > (i > 0 ? 200 : 20) && seen.without > 500 && seen.kinds > (i > 0 ? 5 : 1));
        assert_true(seen.allowed > (i > 0 ? 1000 : 200));
    }
    assert_true(slice_at(f, slice_places[4], slice_ids, 4096, false, false, 6).kinds > 50);
    /* Named one by one, 512 in a statement. */
    (void)slice_at(f, slice_places[4], slice_ids, 4096, true, true, 5 + 8);
    (void)slice_at(f, slice_places[4], slice_ids, 513, true, true, 5 + 2);
    (void)slice_at(f, slice_places[2], slice_ids + 9, 64, false, true, 5 + 1);
    (void)slice_at(f, slice_places[2], slice_ids + 9, 65, false, false, 6);
    (void)slice_at(f, slice_places[3], slice_ids + 3, 1, false, true, 6);
    (void)slice_at(f, (struct scope_key){101, 2}, slice_ids, 200, false, false, 6);
    (void)slice_at(f, (struct scope_key){6, 1}, slice_ids, 200, false, false, 6);
    /* One of ten: with those between them there are too many rows. */
    slice_run_of(slice_ids, 300, 5, 10);
    (void)slice_at(f, slice_places[4], slice_ids, 300, false, true, 7 + 1);
}

static void test_slice_of_ids_about_the_sign(void **state)
{
    struct fixture *f = *state;
    struct random random = {.state = 20261202};
    slice_policy(f);
    slice_run_of(slice_ids, 500, SLICE_SIGN - 250, 1);
    slice_users(f, &random, slice_ids, 500);
    slice_run_of(slice_ids + 500, 300, UINT64_MAX - 299, 1);
    slice_users(f, &random, slice_ids + 500, 300);
    assert_true(slice_ids[799] == UINT64_MAX);
    for (size_t i = 1; i < SLICE_PLACES; i++) {
        (void)slice_at(f, slice_places[i], slice_ids, 250, false, false, 6);
        (void)slice_at(f, slice_places[i], slice_ids, 500, false, true, 6);
        (void)slice_at(f, slice_places[i], slice_ids + 250, 250, false, false, 6);
        (void)slice_at(f, slice_places[i], slice_ids + 250, 550, false, false, 6);
        assert_true(slice_at(f, slice_places[i], slice_ids, 800, false, true, 7).alone > 10);
    }
}

/* Sparse ids, and a read that is begun before others have written. */
static void test_slice_is_of_one_moment(void **state)
{
    struct fixture *f = *state;
    struct random random = {.state = 20261203};
    struct facts_slice *slice;
    struct log_position at;
    int64_t now;
    slice_policy(f);
    slice_run_of(slice_ids, 600, 77, 1000003);
    slice_users(f, &random, slice_ids, 600);
    (void)slice_at(f, slice_places[4], slice_ids, 600, false, false, 6);
    assert_int_equal(facts_slice_new(&slice, slice_places[4], slice_ids, 600), 0);
    for (unsigned round = 0; round < 2; round++) {
        bool listed = round == 1;
        OK(store_snapshot(&f->store, &at, &now, &failure));
        slice_users(f, &random, slice_ids, 100);
        slice_put(f, "DELETE FROM permtab_assignment WHERE user_id BETWEEN ? AND ?",
                  (uint64_t[]){slice_ids[100 * round], slice_ids[100 * round + 50]}, 2);
        OK(store_read_slice(&f->store, slice, &listed, &failure));
        (void)assert_as_each(f, slice);
        store_snapshot_end(&f->store);
    }
    facts_slice_free(slice);
}

static void slice_fails(struct fixture *f, struct facts_slice *slice, bool listed, int code, const char *part)
{
    struct log_position at;
    int64_t now;
    OK(store_snapshot(&f->store, &at, &now, &failure));
    FAILS(store_read_slice(&f->store, slice, &listed, &failure), code, part);
    store_snapshot_end(&f->store);
}

static void slice_succeeds(struct fixture *f, struct facts_slice *slice)
{
    struct log_position at;
    int64_t now;
    bool listed = false;
    OK(store_snapshot(&f->store, &at, &now, &failure));
    OK(store_read_slice(&f->store, slice, &listed, &failure));
    (void)assert_as_each(f, slice);
    store_snapshot_end(&f->store);
}

/* Two users with 1,200 roles each: too many rows, by whatever way. Without them it goes on. */
static void test_slice_with_too_many_rows(void **state)
{
    struct fixture *f = *state;
    struct facts_slice *slice;
    slice_policy(f);
    slice_run_of(slice_ids, 70, 100, 1);
    assert_int_equal(facts_slice_new(&slice, slice_places[1], slice_ids, 70), 0);
    OK(sql_begin(f->writer, SQL_WRITE, &failure));
    for (uint64_t role = 1000; role < 2200; role++) {
        slice_put(f, "INSERT INTO permtab_role VALUES (?, 'r', 1, 5, 0, 1)", &role, 1);
        for (uint64_t user = 100; user < 102; user++)
            slice_assign(f, user, &(struct slice_row){role, slice_places[1]});
    }
    OK(sql_commit(f->writer, &failure));
    slice_fails(f, slice, false, PERMTAB_E_LIMIT, "too many rows");
    slice_fails(f, slice, true, PERMTAB_E_LIMIT, "too many rows");
    OK(run(f->writer, "DELETE FROM permtab_assignment WHERE user_id = 101 OR role_id > 1031"));
    slice_succeeds(f, slice);
    facts_slice_free(slice);
}

/* A role more than a kind may have. */
static void test_slice_with_many_roles_of_one(void **state)
{
    struct fixture *f = *state;
    struct facts_slice *slice;
    struct log_position at;
    int64_t now;
    bool listed = false;
    slice_policy(f);
    slice_run_of(slice_ids, 70, 100, 1);
    assert_int_equal(facts_slice_new(&slice, slice_places[1], slice_ids, 70), 0);
    for (uint64_t role = 1000; role < 1033; role++) {
        slice_put(f, "INSERT INTO permtab_role VALUES (?, 'r', 1, 5, 0, 1)", &role, 1);
        slice_assign(f, 100, &(struct slice_row){role, slice_places[1]});
        if (role < 1032)
            slice_assign(f, 101, &(struct slice_row){role, slice_places[1]});
    }
    OK(store_snapshot(&f->store, &at, &now, &failure));
    OK(store_read_slice(&f->store, slice, &listed, &failure));
    store_snapshot_end(&f->store);
    assert_int_equal(slice->kind_of[0], FACTS_SLICE_ALONE);
    assert_int_equal(slice->kinds[slice->kind_of[1]].assignment_count, 32);
    assert_int_equal(slice->kind_of[2], 0);
    facts_slice_free(slice);
}

static void test_slice_with_too_much_in_common(void **state)
{
    struct fixture *f = *state;
    struct facts_slice *slice;
    slice_policy(f);
    slice_run_of(slice_ids, 300, 0, 1);
    assert_int_equal(facts_slice_new(&slice, slice_places[1], slice_ids, 300), 0);
    OK(sql_begin(f->writer, SQL_WRITE, &failure));
    for (uint64_t role = 1000; role < 2025; role++) {
        slice_put(f, "INSERT INTO permtab_role VALUES (?, 'r', 1, 5, 0, 1)", &role, 1);
        slice_put(f, "INSERT INTO permtab_overwrite VALUES (1, 5, 'role', ?, 'a', 'deny')", &role, 1);
    }
    OK(sql_commit(f->writer, &failure));
    slice_fails(f, slice, false, PERMTAB_E_LIMIT, "in common");
    slice_fails(f, slice, true, PERMTAB_E_LIMIT, "in common");
    OK(run(f->writer, "DELETE FROM permtab_overwrite WHERE subject_id >= 1100"));
    slice_succeeds(f, slice);
    facts_slice_free(slice);
}

static void test_slice_of_no_place(void **state)
{
    struct fixture *f = *state;
    struct facts_slice *missing, *broken;
    slice_policy(f);
    slice_run_of(slice_ids, 100, 0, 1);
    assert_int_equal(facts_slice_new(&missing, (struct scope_key){102, 2}, slice_ids, 100), 0);
    assert_int_equal(facts_slice_new(&broken, (struct scope_key){101, 2}, slice_ids, 100), 0);
    slice_fails(f, missing, false, PERMTAB_E_NOT_FOUND, "no such scope");
    slice_succeeds(f, broken);
    OK(run(f->writer, "DROP TRIGGER permtab_scope_order_still"));
    if (!on_mysql(f))
        OK(run(f->writer, "DROP TRIGGER permtab_scope_needs_still"));
    OK(run(f->writer, "UPDATE permtab_scope SET parent_type = 2, parent_id = 101 WHERE id = 101"));
    slice_fails(f, broken, true, PERMTAB_E_NOT_FOUND, "no such scope");
    OK(run(f->writer, "UPDATE permtab_scope SET parent_type = 1, parent_id = 5 WHERE id = 101"));
    slice_succeeds(f, broken);
    OK(run(f->writer, "INSERT INTO permtab_scope VALUES (2, 102, 1, 6, NULL)"));
    slice_succeeds(f, missing);
    facts_slice_free(missing);
    facts_slice_free(broken);
}

#endif
