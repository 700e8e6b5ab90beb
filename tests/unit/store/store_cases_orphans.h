/* Cases about which users and scopes the store still has. */
#ifndef PERMTAB_TESTS_UNIT_STORE_STORE_CASES_ORPHANS_H
#define PERMTAB_TESTS_UNIT_STORE_STORE_CASES_ORPHANS_H

#include "proxy/store/orphans.h"
#include "tests/unit/store/store_cases_read.h"

static void test_users_present(void **state)
{
    struct fixture *f = *state;
    const uint64_t users[] = {7, 9, 8, UINT64_MAX, 1, 7};
    bool present[STORE_ORPHANS_MAX];
    some_policy(f);
    OK(run(f->writer, "INSERT INTO permtab_overwrite VALUES (2, 50, 'user', 9, 'a.b', 'deny')"));
    OK(store_users_present(&f->store, users, 6, present, &failure));
    assert_true(present[0] && present[1] && present[2] && present[5]);
    assert_false(present[3] || present[4]); /* role 1 has an overwrite, user 1 has none */
    OK(run(f->writer, "DELETE FROM permtab_assignment WHERE user_id = 7"));
    OK(store_users_present(&f->store, users, 6, present, &failure));
    assert_true(present[0]); /* by the overwrite alone */
    OK(run(f->writer, "DELETE FROM permtab_overwrite WHERE subject = 'user' AND subject_id = 7"));
    OK(store_users_present(&f->store, users, 6, present, &failure));
    assert_false(present[0] || present[5]);
    assert_true(present[1] && present[2]);
    OK(store_users_present(&f->store, users, 0, present, &failure));
}

static void test_full_list_of_users(void **state)
{
    struct fixture *f = *state;
    uint64_t users[STORE_ORPHANS_MAX];
    bool present[STORE_ORPHANS_MAX];
    some_policy(f);
    for (size_t i = 0; i < STORE_ORPHANS_MAX; i++)
        users[i] = UINT64_MAX - i;
    users[STORE_ORPHANS_MAX - 1] = 8;
    OK(store_users_present(&f->store, users, STORE_ORPHANS_MAX, present, &failure));
    for (size_t i = 0; i < STORE_ORPHANS_MAX; i++)
        assert_int_equal(present[i], i == STORE_ORPHANS_MAX - 1);
}

static void test_scopes_present(void **state)
{
    struct fixture *f = *state;
    const struct scope_key scopes[] = {
        {.type = 2, .id = 50}, {.type = 1, .id = 50}, {.type = 1, .id = 5},          {.type = 0, .id = 0},
        {.type = 2, .id = 5},  {.type = 2, .id = 51}, {.type = 2, .id = UINT64_MAX},
    };
    static const bool wanted[] = {true, false, true, true, false, true, false};
    bool present[7];
    some_policy(f);
    OK(store_scopes_present(&f->store, scopes, 7, present, &failure));
    for (size_t i = 0; i < 7; i++)
        assert_int_equal(present[i], wanted[i]);
    bound(f, "INSERT INTO permtab_scope VALUES (2, ?, 1, 5, NULL)", &scopes[6].id, 1);
    OK(store_scopes_present(&f->store, scopes, 7, present, &failure));
    assert_true(present[6]);
}

#endif
