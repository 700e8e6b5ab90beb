/* Cases about many facts in one read: the same as one by one. */
#ifndef PERMTAB_TESTS_UNIT_STORE_STORE_CASES_MANY_H
#define PERMTAB_TESTS_UNIT_STORE_STORE_CASES_MANY_H

#include "tests/support/random.h"
#include "tests/unit/store/store_fixture.h"

#define MANY_USERS    40u
#define MANY_ROLES    12u
#define MANY_CHANNELS 12u

static void many_sql(struct fixture *f, const char *format, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    char text[256];
    snprintf(text, sizeof(text), format, (unsigned long long)a, (unsigned long long)b, (unsigned long long)c,
             (unsigned long long)d);
    (void)run(f->writer, text); /* a row that is there already is refused */
}

/* A server or one of its channels. */
static struct scope_key many_scope(struct random *random)
{
    uint64_t id = random_below(random, MANY_CHANNELS);
    return random_below(random, 3) == 0 ? (struct scope_key){.type = 1, .id = 5 + id % 2}
                                        : (struct scope_key){.type = 2, .id = 100 + id};
}

static void many_policy(struct fixture *f, struct random *random)
{
    OK(sql_begin(f->writer, SQL_WRITE, &failure));
    many_sql(f, "INSERT INTO permtab_permission (name, bit) VALUES ('a', 0), ('b', 1), ('c', 70)", 0, 0, 0, 0);
    many_sql(f, "INSERT INTO permtab_scope VALUES (1, 5, 0, 0, 3), (1, 6, 0, 0, NULL)", 0, 0, 0, 0);
    for (uint64_t i = 0; i < MANY_CHANNELS; i++)
        many_sql(f, "INSERT INTO permtab_scope VALUES (2, %llu, 1, %llu, NULLIF(%llu, 0))", 100 + i, 5 + i % 2,
                 random_below(random, 3), 0);
    for (uint64_t id = 1; id <= MANY_ROLES; id++) {
        struct scope_key scope = many_scope(random);
        many_sql(f, "INSERT INTO permtab_role VALUES (%llu, 'r', %llu, %llu, %llu, 1)", id, scope.type, scope.id,
                 random_below(random, 4) == 0);
    }
    for (unsigned i = 0; i < 15; i++) {
        many_sql(f, "INSERT INTO permtab_role_parent VALUES (%llu, %llu)", 1 + random_below(random, MANY_ROLES),
                 1 + random_below(random, MANY_ROLES), 0, 0);
        many_sql(f, "INSERT INTO permtab_role_permission VALUES (%llu, 'a', 'allow')",
                 1 + random_below(random, MANY_ROLES), 0, 0, 0);
    }
    for (unsigned i = 0; i < 120; i++) {
        struct scope_key scope = many_scope(random);
        many_sql(f, "INSERT INTO permtab_assignment VALUES (%llu, %llu, %llu, %llu, NULL)",
                 random_below(random, MANY_USERS), 1 + random_below(random, MANY_ROLES), scope.type, scope.id);
        scope = many_scope(random);
        many_sql(f, i % 3 == 0 ? "INSERT INTO permtab_overwrite VALUES (%llu, %llu, 'role', %llu, 'b', 'allow')"
                               : "INSERT INTO permtab_overwrite VALUES (%llu, %llu, 'user', %llu, 'c', 'deny')",
                 scope.type, scope.id, random_below(random, i % 3 == 0 ? MANY_ROLES : MANY_USERS), 0);
    }
    OK(sql_commit(f->writer, &failure));
}

static int assignment_compare(const void *a, const void *b)
{
    const struct facts_assignment *left = a, *right = b;
    return left->level != right->level ? (left->level < right->level ? -1 : 1)
                                       : (left->role > right->role) - (left->role < right->role);
}

static int default_compare(const void *a, const void *b)
{
    const struct facts_default *left = a, *right = b;
    return (left->role > right->role) - (left->role < right->role);
}

static int overwrite_compare(const void *a, const void *b)
{
    const struct facts_overwrite *left = a, *right = b;
    if (left->level != right->level)
        return left->level < right->level ? -1 : 1;
    if (left->subject != right->subject)
        return left->subject < right->subject ? -1 : 1;
    if (left->role != right->role)
        return left->role < right->role ? -1 : 1;
    return (left->bit > right->bit) - (left->bit < right->bit);
}

/* The rows of one level have no order. */
static void in_order(struct facts *facts)
{
    if (facts->assignment_count > 1)
        qsort(facts->assignments, facts->assignment_count, sizeof(*facts->assignments), assignment_compare);
    if (facts->default_count > 1)
        qsort(facts->defaults, facts->default_count, sizeof(*facts->defaults), default_compare);
    for (size_t i = 1; i < facts->overwrite_count; i++)
        assert_true(facts->overwrites[i - 1].level <= facts->overwrites[i].level);
    if (facts->overwrite_count > 1)
        qsort(facts->overwrites, facts->overwrite_count, sizeof(*facts->overwrites), overwrite_compare);
}

static void assert_same_roles(const struct role_list *left, const struct role_list *right)
{
    assert_int_equal(left->count, right->count);
    for (size_t i = 0; i < left->count; i++) {
        const struct role *a = &left->items[i], *b = &right->items[i];
        assert_true(i == 0 || left->items[i - 1].id < a->id);
        assert_true(a->id == b->id && scope_equal(a->scope, b->scope) && a->is_default == b->is_default);
        assert_string_equal(a->name, b->name);
        assert_int_equal(a->parent_count, b->parent_count);
        assert_int_equal(a->grant_count, b->grant_count);
        if (a->parent_count > 0)
            assert_memory_equal(a->parents, b->parents, a->parent_count * sizeof(*a->parents));
        for (size_t g = 0; g < a->grant_count; g++)
            assert_true(a->grants[g].bit == b->grants[g].bit && a->grants[g].effect == b->grants[g].effect);
    }
}

static void assert_same_facts(struct facts *left, struct facts *right)
{
    in_order(left);
    in_order(right);
    assert_true(left->revision == right->revision && left->nonce == right->nonce && left->now == right->now);
    assert_true(left->user == right->user && scope_equal(left->scope, right->scope));
    assert_int_equal(left->chain_count, right->chain_count);
    assert_int_equal(left->broken, right->broken);
    for (uint32_t i = 0; i < left->chain_count; i++) {
        const struct facts_scope *a = &left->chain[i], *b = &right->chain[i];
        assert_true(scope_equal(a->key, b->key) && a->has_owner == b->has_owner && a->owner == b->owner &&
                    a->plain == b->plain && a->spares_users == b->spares_users);
    }
    assert_int_equal(left->assignment_count, right->assignment_count);
    for (size_t i = 0; i < left->assignment_count; i++)
        assert_true(assignment_compare(&left->assignments[i], &right->assignments[i]) == 0 &&
                    left->assignments[i].expires_at == right->assignments[i].expires_at);
    assert_int_equal(left->default_count, right->default_count);
    for (size_t i = 0; i < left->default_count; i++)
        assert_true(left->defaults[i].role == right->defaults[i].role &&
                    left->defaults[i].level == right->defaults[i].level);
    assert_int_equal(left->overwrite_count, right->overwrite_count);
    for (size_t i = 0; i < left->overwrite_count; i++)
        assert_true(overwrite_compare(&left->overwrites[i], &right->overwrites[i]) == 0 &&
                    left->overwrites[i].allow == right->overwrites[i].allow);
    assert_same_roles(&left->roles, &right->roles);
}

/* Different keys, some of users without rows and places that are not there. */
static size_t many_keys(struct random *random, struct facts_key *keys, size_t most)
{
    size_t count = 0;
    while (count < most) {
        struct scope_key scope = many_scope(random);
        if (random_below(random, 20) == 0)
            scope.id += 1000;
        struct facts_key key = facts_key_of(random_below(random, 3 * MANY_USERS / 2), scope);
        size_t i = 0;
        while (i < count && memcmp(&keys[i], &key, sizeof(key)) != 0)
            i++;
        if (i < count)
            break; /* so there are any number of them */
        keys[count++] = key;
    }
    return count;
}

static void test_many_are_as_each(void **state)
{
    struct fixture *f = *state;
    struct random random = {.state = 20261130};
    static struct facts facts[STORE_FACTS_MANY];
    struct facts_key keys[STORE_FACTS_MANY];
    struct log_position at;
    int64_t now;
    size_t most = 0;
    many_policy(f, &random);
    for (unsigned round = 0; round < 60; round++) {
        size_t count = many_keys(&random, keys, STORE_FACTS_MANY);
        most = count > most ? count : most;
        OK(store_snapshot(&f->store, &at, &now, &failure));
        OK(store_read_facts_many(&f->store, keys, count, facts, &failure));
        for (size_t i = 0; i < count; i++) {
            struct facts one;
            OK(store_read_facts(&f->store, keys[i].user, facts_key_scope(&keys[i]), &one, &failure));
            assert_true(one.user == keys[i].user && scope_equal(one.scope, facts_key_scope(&keys[i])));
            assert_same_facts(&facts[i], &one);
            facts_fini(&one);
            facts_fini(&facts[i]);
        }
        store_snapshot_end(&f->store);
    }
    assert_true(most > 8); /* of more than one length of lists */
}

/* A place with so much that all have in common is read for each user by himself. */
static void test_many_with_too_much_in_common(void **state)
{
    struct fixture *f = *state;
    struct random random = {.state = 1};
    struct facts facts[2];
    struct facts_key keys[2] = {{1, 5, 1}, {2, 5, 1}};
    struct log_position at;
    int64_t now;
    many_policy(f, &random);
    OK(sql_begin(f->writer, SQL_WRITE, &failure));
    for (uint64_t role = 1000; role < 2025; role++) {
        many_sql(f, "INSERT INTO permtab_role VALUES (%llu, 'r', 1, 5, 0, 1)", role, 0, 0, 0);
        many_sql(f, "INSERT INTO permtab_overwrite VALUES (1, 5, 'role', %llu, 'a', 'deny')", role, 0, 0, 0);
    }
    OK(sql_commit(f->writer, &failure));
    OK(store_snapshot(&f->store, &at, &now, &failure));
    FAILS(store_read_facts_many(&f->store, keys, 2, facts, &failure), PERMTAB_E_LIMIT, "in common");
    OK(store_read_facts_many(&f->store, keys, 1, facts, &failure));
    assert_true(facts[0].overwrite_count >= 1025);
    facts_fini(&facts[0]);
    store_snapshot_end(&f->store);
}

/* Each gets copies of the definitions of a thousand default roles. */
static void test_many_with_too_many_roles(void **state)
{
    struct fixture *f = *state;
    struct random random = {.state = 2};
    static struct facts facts[STORE_FACTS_MANY];
    struct facts_key keys[STORE_FACTS_MANY];
    struct log_position at;
    int64_t now;
    many_policy(f, &random);
    OK(sql_begin(f->writer, SQL_WRITE, &failure));
    for (uint64_t role = 1000; role < 2000; role++)
        many_sql(f, "INSERT INTO permtab_role VALUES (%llu, 'r', 1, 5, 1, 1)", role, 0, 0, 0);
    OK(sql_commit(f->writer, &failure));
    for (uint64_t user = 0; user < STORE_FACTS_MANY; user++)
        keys[user] = (struct facts_key){user, 5, 1};
    OK(store_snapshot(&f->store, &at, &now, &failure));
    FAILS(store_read_facts_many(&f->store, keys, STORE_FACTS_MANY, facts, &failure), PERMTAB_E_LIMIT, "of roles");
    OK(store_read_facts_many(&f->store, keys, 2, facts, &failure));
    assert_true(facts[0].roles.count >= 1000 && facts[1].roles.count >= 1000);
    facts_fini(&facts[0]);
    facts_fini(&facts[1]);
    store_snapshot_end(&f->store);
}

/* A page of holders is what the rows say, in the order of users, and the next one goes on where it ended. */
static void assert_holders(struct fixture *f, const struct store_holders *of)
{
    static const char *const counts[] = {
        "SELECT COUNT(*) FROM permtab_assignment WHERE user_id = ?",
        "SELECT COUNT(*) FROM permtab_assignment WHERE role_id = ?",
        "SELECT COUNT(*) FROM permtab_assignment WHERE scope_type = 2 AND scope_id = ?",
    };
    struct facts_key keys[7];
    size_t count = 7, all = 0;
    uint64_t from = store_users_first(&f->store);
    bool more = true;
    while (more) {
        OK(store_read_holders(&f->store, of, from, keys, 7, &count, &failure));
        for (size_t i = 0; i < count; i++) {
            assert_true(of->which != STORE_HOLDERS_USER || keys[i].user == of->id);
            assert_true(of->which != STORE_HOLDERS_SCOPE || scope_equal(facts_key_scope(&keys[i]), of->scope));
            assert_true(i == 0 || keys[i - 1].user <= keys[i].user);
        }
        more = count == 7 && of->which != STORE_HOLDERS_USER && keys[0].user != keys[6].user;
        size_t kept = count;
        while (more && keys[kept - 1].user == keys[6].user) /* they come again with the next page */
            kept--;
        all += kept;
        from = count > 0 ? keys[count - 1].user : from;
    }
    struct sql_statement *st = sql_prepare(f->writer, counts[of->which], &failure);
    sql_bind_u64(st, 1, of->which == STORE_HOLDERS_SCOPE ? of->scope.id : of->id);
    assert_int_equal(sql_step(st, &failure), 1);
    uint64_t there = sql_column_u64(st, 0);
    sql_reset(st);
    assert_true(of->which == STORE_HOLDERS_USER ? all == (there < 7 ? there : 7) : all == there);
}

static void test_holders(void **state)
{
    struct fixture *f = *state;
    struct random random = {.state = 11};
    many_policy(f, &random);
    for (uint64_t id = 0; id < MANY_USERS; id++) {
        assert_holders(f, &(struct store_holders){.which = STORE_HOLDERS_USER, .id = id});
        assert_holders(f, &(struct store_holders){.which = STORE_HOLDERS_ROLE, .id = id});
        assert_holders(f, &(struct store_holders){.which = STORE_HOLDERS_SCOPE, .scope = {90 + id, 2}});
    }
}

#endif
