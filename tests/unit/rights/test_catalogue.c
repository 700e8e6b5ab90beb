/* Finding permissions by name and bit, copying roles. */
#include "proxy/rights/resolve.h"
#include "tests/support/memory_policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void check_all(const struct catalogue *catalogue)
{
    for (size_t i = 0; i < catalogue->count; i++) {
        assert_ptr_equal(catalogue_find(catalogue, catalogue->permissions[i].name),
                         &catalogue->permissions[i]);
        assert_ptr_equal(catalogue_at(catalogue, catalogue->permissions[i].bit), &catalogue->permissions[i]);
    }
    assert_null(catalogue_find(catalogue, "absent"));
    assert_null(catalogue_find(catalogue, ""));
    assert_null(catalogue_find(catalogue, "~"));
}

static void test_finding(void **state)
{
    struct memory_policy policy;
    struct catalogue catalogue;
    (void)state;
    memory_policy_init(&policy);
    for (unsigned i = 0; i < 100; i++) {
        char name[32];
        snprintf(name, sizeof name, "p%u.x", i * 37 % 100);
        memory_permission(&policy, name);
    }
    memory_catalogue(&policy, 1, &catalogue);
    check_all(&catalogue);
    free(catalogue.by_name); /* without an index it walks */
    catalogue.by_name = NULL;
    check_all(&catalogue);
    for (size_t i = 40; i < catalogue.count; i++) /* and a bit need not be the place in the list */
        catalogue.permissions[i].bit += (uint32_t)i;
    check_all(&catalogue);
    assert_null(catalogue_at(&catalogue, 79));
    assert_null(catalogue_at(&catalogue, UINT32_MAX));
    catalogue_fini(&catalogue);
    memory_policy_fini(&policy);
}

static void test_role_copy(void **state)
{
    struct memory_policy policy;
    struct role role, copy;
    (void)state;
    memory_policy_init(&policy);
    memory_role(&policy, 5, "five", (struct scope_key){.id = 3, .type = 1}, true, true);
    memory_inherit(&policy, 5, 6);
    memory_grant(&policy, 5, GRANT_DENY, 9);
    assert_true(memory_definition(&policy, 5, &role));
    assert_return_code(role_copy(&copy, &role), 0);
    role_fini(&role);
    assert_string_equal(copy.name, "five");
    assert_true(copy.id == 5 && copy.scope.id == 3 && copy.is_default && copy.active);
    assert_true(copy.parent_count == 1 && copy.parents[0] == 6);
    assert_true(copy.grant_count == 1 && copy.grants[0].bit == 9 && copy.grants[0].effect == GRANT_DENY);
    role_fini(&copy);
    struct role empty = {.id = 8};
    assert_return_code(role_copy(&copy, &empty), 0);
    assert_true(copy.id == 8 && copy.name == NULL && copy.parents == NULL && copy.grants == NULL);
    role_fini(&copy);
    memory_policy_fini(&policy);
}

static void test_role_list(void **state)
{
    struct role_list list = {0};
    (void)state;
    assert_null(role_list_find(&list, 1));
    for (uint64_t i = 0; i < 50; i++) {
        struct role *role = role_list_add(&list);
        assert_non_null(role);
        assert_true(role->id == 0 && role->parents == NULL);
        role->id = UINT64_MAX - i * 31 % 50;
    }
    role_list_sort(&list);
    for (uint64_t i = 0; i < 50; i++)
        assert_true(role_list_find(&list, UINT64_MAX - i)->id == UINT64_MAX - i);
    assert_null(role_list_find(&list, 7));
    role_list_fini(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_finding), cmocka_unit_test(test_role_copy),
                                       cmocka_unit_test(test_role_list)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
