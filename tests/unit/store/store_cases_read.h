/* Cases about reading: facts, roles, the catalogue, what expired; ids above 2^63. */
#ifndef PERMTAB_TESTS_UNIT_STORE_STORE_CASES_READ_H
#define PERMTAB_TESTS_UNIT_STORE_STORE_CASES_READ_H

#include "tests/unit/store/store_fixture.h"

#define HUGE_ID 18446744073709551615ull

static void facts_of(struct fixture *f, uint64_t user, struct scope_key scope, struct facts *out)
{
    struct log_position at;
    int64_t now;
    OK(store_snapshot(&f->store, &at, &now, &failure));
    OK(store_read_facts(&f->store, user, scope, out, &failure));
    store_snapshot_end(&f->store);
    assert_true(now > 0 && out->now == now); /* what ended is judged by the snapshot's own clock */
    assert_true(out->revision == at.revision && out->nonce == at.nonce);
}

static void test_facts(void **state)
{
    struct fixture *f = *state;
    struct facts facts;
    some_policy(f);
    facts_of(f, 7, (struct scope_key){.type = 2, .id = 50}, &facts);
    assert_int_equal(facts.chain_count, 3);
    assert_int_equal(facts.chain[0].key.type, 0);
    assert_int_equal(facts.chain[1].key.id, 5);
    assert_true(facts.chain[2].has_owner);
    assert_int_equal(facts.chain[2].owner, 42);
    assert_int_equal(facts.assignment_count, 1);
    assert_int_equal(facts.assignments[0].role, 1);
    assert_int_equal(facts.assignments[0].level, 1);
    assert_true(facts.assignments[0].expires_at == FACTS_NEVER);
    assert_int_equal(facts.default_count, 1);
    assert_int_equal(facts.defaults[0].role, 2);
    assert_int_equal(facts.overwrite_count, 2); /* not user 8's */
    for (size_t i = 0; i < 2; i++) {
        const struct facts_overwrite *o = &facts.overwrites[i];
        assert_int_equal(o->level, 2);
        assert_int_equal(o->bit, o->subject == OVERWRITE_ROLE ? 0 : 1);
        assert_int_equal(o->allow, o->subject == OVERWRITE_USER);
        assert_int_equal(o->role, o->subject == OVERWRITE_ROLE ? 1 : 0);
    }
    assert_int_equal(facts.roles.count, 3);
    assert_int_equal(facts.roles.items[0].parent_count, 1);
    assert_int_equal(facts.roles.items[0].parents[0], 3);
    assert_string_equal(facts.roles.items[1].name, "two");
    assert_true(facts.roles.items[1].is_default);
    assert_int_equal(facts.roles.items[2].grant_count, 2);
    assert_int_equal(facts.roles.items[2].grants[0].bit, 1);
    assert_int_equal(facts.roles.items[2].grants[0].effect, GRANT_ALLOW_OWN);
    assert_int_equal(facts.roles.items[2].grants[1].bit, 64);
    assert_int_equal(facts.roles.items[2].grants[1].effect, GRANT_DENY);
    facts_fini(&facts);
    facts_of(f, 8, (struct scope_key){.type = 1, .id = 5}, &facts);
    assert_int_equal(facts.assignments[0].expires_at, 1000);
    facts_fini(&facts);
}

static bool plain(struct fixture *f, uint64_t channel)
{
    struct facts facts;
    facts_of(f, 1, (struct scope_key){.type = 2, .id = channel}, &facts);
    assert_int_equal(facts.chain_count, 3);
    assert_false(facts.chain[0].plain);
    bool is = facts.chain[2].plain;
    facts_fini(&facts);
    return is;
}

static void test_plain_scopes(void **state)
{
    struct fixture *f = *state;
    static const char *const texts[][2] = {
        {"UPDATE permtab_scope SET owner = 0 WHERE id = 51",
         "UPDATE permtab_scope SET owner = NULL WHERE id = 51"},
        {"INSERT INTO permtab_assignment VALUES (99, 1, 2, 51, 1)",
         "DELETE FROM permtab_assignment WHERE user_id = 99"},
        {"INSERT INTO permtab_overwrite VALUES (2, 51, 'user', 9, 'e', 'deny')",
         "DELETE FROM permtab_overwrite WHERE subject_id = 9"},
        {"INSERT INTO permtab_role VALUES (99, '', 2, 51, 0, 0)", "DELETE FROM permtab_role WHERE id = 99"},
    };
    some_policy(f);
    assert_false(plain(f, 50));
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        assert_true(plain(f, 51));
        OK(run(f->writer, texts[i][0]));
        assert_false(plain(f, 51));
        OK(run(f->writer, texts[i][1]));
    }
    assert_true(plain(f, 51));
}

static void test_missing_scope_has_no_chain(void **state)
{
    struct fixture *f = *state;
    struct facts facts;
    some_policy(f);
    facts_of(f, 7, (struct scope_key){.type = 2, .id = 777}, &facts);
    assert_int_equal(facts.chain_count, 0);
    assert_int_equal(facts.assignment_count, 0);
    facts_fini(&facts);
    facts_of(f, 7, (struct scope_key){.type = 0, .id = 0}, &facts);
    assert_int_equal(facts.chain_count, 1);
    facts_fini(&facts);
}

/* Rows that the triggers refuse and that got in all the same are read as absent, and not followed for ever. */
static void test_broken_chain_has_no_chain(void **state)
{
    struct fixture *f = *state;
    struct facts facts;
    some_policy(f);
    OK(run(f->writer, "DROP TRIGGER permtab_scope_order_still"));
    if (!on_mysql(f))
        OK(run(f->writer, "DROP TRIGGER permtab_scope_needs_still"));
    OK(run(f->writer, "UPDATE permtab_scope SET parent_type = 2, parent_id = 51 WHERE id = 50"));
    OK(run(f->writer, "UPDATE permtab_scope SET parent_type = 2, parent_id = 50 WHERE id = 51"));
    facts_of(f, 7, (struct scope_key){.type = 2, .id = 50}, &facts);
    assert_int_equal(facts.chain_count, 0);
    facts_fini(&facts);
}

static void bound(struct fixture *f, const char *text, const uint64_t *values, unsigned count)
{
    struct sql_statement *st = sql_prepare_built(f->writer, text, &failure);
    assert_non_null(st);
    for (unsigned i = 0; i < count; i++)
        sql_bind_u64(st, i + 1, values[i]);
    OK(sql_step(st, &failure));
    sql_reset(st);
}

static void test_ids_above_the_sign(void **state)
{
    struct fixture *f = *state;
    struct facts facts;
    struct change_list list;
    struct log_position before = position(f), at;
    int64_t now;
    bound(f, "INSERT INTO permtab_scope VALUES (1, ?, 0, 0, ?)", (uint64_t[]){HUGE_ID, HUGE_ID - 1}, 2);
    bound(f, "INSERT INTO permtab_role VALUES (?, 'huge', 1, ?, 0, 1)", (uint64_t[]){HUGE_ID - 2, HUGE_ID},
          2);
    bound(f, "INSERT INTO permtab_assignment VALUES (?, ?, 1, ?, NULL)",
          (uint64_t[]){HUGE_ID - 3, HUGE_ID - 2, HUGE_ID}, 3);
    facts_of(f, HUGE_ID - 3, (struct scope_key){.type = 1, .id = HUGE_ID}, &facts);
    assert_int_equal(facts.chain_count, 2);
    assert_true(facts.chain[1].key.id == HUGE_ID && facts.chain[1].owner == HUGE_ID - 1);
    assert_int_equal(facts.assignment_count, 1);
    assert_true(facts.assignments[0].role == HUGE_ID - 2);
    assert_true(facts.roles.count == 1 && facts.roles.items[0].scope.id == HUGE_ID);
    facts_fini(&facts);
    OK(store_snapshot(&f->store, &at, &now, &failure));
    OK(store_read_changes(&f->store, before.revision, 10, &list, &failure));
    store_snapshot_end(&f->store);
    assert_int_equal(list.count, 3);
    assert_true(list.items[2].user == HUGE_ID - 3 && list.items[2].role == HUGE_ID - 2 &&
                list.items[2].scope.id == HUGE_ID);
    change_list_fini(&list);
}

/* A chain of roles deeper than one level a statement, a diamond, a cycle made by plain SQL, a missing id. */
static void test_roles_with_ancestors(void **state)
{
    struct fixture *f = *state;
    struct role_list roles;
    OK(sql_begin(f->writer, SQL_WRITE, &failure));
    for (uint64_t i = 1; i <= 700; i++)
        bound(f, "INSERT INTO permtab_role VALUES (?, '', 0, 0, 0, 1)", &i, 1);
    for (uint64_t i = 1; i < 30; i++)
        bound(f, "INSERT INTO permtab_role_parent VALUES (?, ?)", (uint64_t[]){i, i + 1}, 2);
    for (uint64_t i = 100; i <= 700; i++)
        bound(f, "INSERT INTO permtab_role_parent VALUES (30, ?)", &i, 1);
    OK(run(f->writer, "INSERT INTO permtab_role_parent VALUES (1, 30), (30, 1), (700, 15)"));
    OK(sql_commit(f->writer, &failure));
    uint64_t ids[] = {1, 9999, 1};
    OK(store_read_roles(&f->store, ids, 3, &roles, &failure));
    assert_int_equal(roles.count, 30 + 601);
    for (size_t i = 0; i < roles.count; i++)
        assert_int_equal(roles.items[i].id, i < 30 ? i + 1 : i + 70);
    assert_int_equal(roles.items[0].parent_count, 2);
    assert_int_equal(roles.items[29].parent_count, 602);
    assert_int_equal(roles.items[630].parents[0], 15);
    role_list_fini(&roles);
}

static void test_catalogue(void **state)
{
    struct fixture *f = *state;
    struct catalogue catalogue;
    some_policy(f);
    char text[3000] = "UPDATE permtab_permission SET grants_all = 1, deprecated = 1, description = '";
    memset(text + strlen(text), 'x', 2000);
    strcat(text, "' WHERE name = 'e'");
    OK(run(f->writer, text));
    OK(run(f->writer, "UPDATE permtab_permission SET deleted = 1 WHERE name = 'a.b'"));
    OK(store_read_catalogue(&f->store, 128, &catalogue, &failure));
    assert_int_equal(catalogue.words, 2);
    assert_int_equal(catalogue.count, 3);
    assert_true(catalogue.permissions[0].deleted && !catalogue.permissions[1].deleted);
    assert_int_equal(catalogue.permissions[1].requires_count, 2);
    assert_int_equal(catalogue.permissions[1].requires[1], 64);
    assert_true(catalogue.permissions[2].grants_all && catalogue.permissions[2].deprecated);
    assert_int_equal(strlen(catalogue.permissions[2].description), 2000);
    assert_string_equal(catalogue.types.names[2], "channel");
    catalogue_fini(&catalogue);
    FAILS(store_read_catalogue(&f->store, 64, &catalogue, &failure), PERMTAB_E_LIMIT,
          "permission e has bit 64");
}

static void test_expired(void **state)
{
    struct fixture *f = *state;
    struct change_list list;
    some_policy(f);
    OK(run(f->writer, "INSERT INTO permtab_assignment VALUES (9, 1, 2, 50, 2000), (10, 1, 2, 50, 2001)"));
    OK(store_read_expired(&f->store, 1000, 2000, 10, &list, &failure));
    assert_int_equal(list.count, 1);
    assert_int_equal(list.items[0].kind, CHANGE_ASSIGNMENT);
    assert_int_equal(list.items[0].user, 9);
    assert_int_equal(list.items[0].scope.id, 50);
    change_list_fini(&list);
    OK(store_read_expired(&f->store, INT64_MIN, INT64_MAX - 1, 3, &list, &failure));
    assert_int_equal(list.count, 3);
    change_list_fini(&list);
    FAILS(store_read_expired(&f->store, 0, 5000, 2, &list, &failure), PERMTAB_E_LIMIT, "more than 2");
}

static void test_snapshot_is_one_moment(void **state)
{
    struct fixture *f = *state;
    struct log_position at;
    struct facts facts;
    int64_t now;
    some_policy(f);
    position(f);
    OK(store_snapshot(&f->store, &at, &now, &failure));
    for (unsigned i = 0; i < 50; i++)
        OK(run(f->writer, i % 2 ? "INSERT INTO permtab_assignment VALUES (7, 3, 0, 0, NULL)"
                                : "DELETE FROM permtab_assignment WHERE user_id = 7"));
    OK(store_read_facts(&f->store, 7, (struct scope_key){.type = 1, .id = 5}, &facts, &failure));
    assert_int_equal(facts.assignment_count, 1);
    assert_int_equal(facts.assignments[0].role, 1);
    facts_fini(&facts);
    store_snapshot_end(&f->store);
    assert_int_equal(position(f).revision, at.revision + 50);
    assert_int_equal(position(f).revision, number(f->writer, "SELECT revision FROM permtab_counter"));
}

/* Ids of all users with rows, in slices of `limit`, as text. */
static const char *users_of(struct fixture *f, enum store_users which, size_t limit, char *out, size_t size)
{
    uint64_t users[16], from = store_users_first(&f->store);
    size_t count = limit, length = 0;
    out[0] = '\0';
    while (count == limit) {
        OK(store_read_users(&f->store, which, from, users, limit, &count, &failure));
        for (size_t i = 0; i < count; i++)
            length += (size_t)snprintf(out + length, size - length, "%llu ", (unsigned long long)users[i]);
        if (count == limit && users[count - 1] + 1 == store_users_first(&f->store))
            break;
        from = count > 0 ? users[count - 1] + 1 : from;
    }
    return out;
}

static void test_users_in_slices(void **state)
{
    struct fixture *f = *state;
    bool mysql = on_mysql(f);
    char text[256];
    some_policy(f);
    OK(run(f->writer,
           mysql ? "INSERT INTO permtab_assignment VALUES (18446744073709551615, 1, 1, 5, NULL),"
                   " (9223372036854775808, 1, 1, 5, NULL), (0, 1, 1, 5, NULL), (7, 2, 1, 5, NULL)"
                 : "INSERT INTO permtab_assignment VALUES (-1, 1, 1, 5, NULL),"
                   " (-9223372036854775807 - 1, 1, 1, 5, NULL), (0, 1, 1, 5, NULL), (7, 2, 1, 5, NULL)"));
    /* A user with more rows than a slice comes as often as the slice has room. */
    assert_string_equal(users_of(f, STORE_USERS_ASSIGNED, 16, text, sizeof(text)),
                        mysql ? "0 7 7 8 9223372036854775808 18446744073709551615 "
                              : "9223372036854775808 18446744073709551615 0 7 7 8 ");
    assert_string_equal(users_of(f, STORE_USERS_ASSIGNED, 1, text, sizeof(text)),
                        mysql ? "0 7 8 9223372036854775808 18446744073709551615 "
                              : "9223372036854775808 18446744073709551615 0 7 8 ");
    assert_string_equal(users_of(f, STORE_USERS_OVERWRITTEN, 2, text, sizeof(text)), "7 8 ");
    OK(run(f->writer,
           mysql ? "INSERT INTO permtab_overwrite VALUES (2, 50, 'user', 9223372036854775807, 'e', 'deny'),"
                   " (2, 50, 'user', 18446744073709551615, 'e', 'deny')"
                 : "INSERT INTO permtab_overwrite VALUES (2, 50, 'user', 9223372036854775807, 'e', 'deny'),"
                   " (2, 50, 'user', -1, 'e', 'deny')"));
    assert_string_equal(users_of(f, STORE_USERS_OVERWRITTEN, 1, text, sizeof(text)),
                        mysql ? "7 8 9223372036854775807 18446744073709551615 "
                              : "18446744073709551615 7 8 9223372036854775807 ");
}

#endif
