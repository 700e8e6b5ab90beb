/* Slices of facts: who is of which kind, and who of none. */
#include "proxy/rights/facts_slice.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define USERS 300u
#define ALONE FACTS_SLICE_ALONE

static const struct scope_key place = {5, 1};

/* ---- memory that runs out ---------------------------------------------------------------------------------------- */

/* Requests that are granted still; below 0: all are. */
static int granted = -1;

static bool refused(void)
{
    return granted >= 0 && granted-- == 0;
}

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
    return refused() ? NULL : __real_malloc(size);
}

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size)
{
    return refused() ? NULL : __real_calloc(count, size);
}

void *__real_array_add(void *items, size_t *count, size_t item_size);
void *__wrap_array_add(void *items, size_t *count, size_t item_size);
void *__wrap_array_add(void *items, size_t *count, size_t item_size)
{
    return refused() ? NULL : __real_array_add(items, count, item_size);
}

int __real_facts_copy(struct facts *out, const struct facts *from);
int __wrap_facts_copy(struct facts *out, const struct facts *from);
int __wrap_facts_copy(struct facts *out, const struct facts *from)
{
    return refused() ? PERMTAB_E_MEMORY : __real_facts_copy(out, from);
}

/* ---- the slice --------------------------------------------------------------------------------------------------- */

/* Users 10, 20, 30 … */
static uint64_t user(size_t index)
{
    return 10 * (index + 1);
}

static int setup(void **state)
{
    uint64_t users[USERS];
    for (size_t i = 0; i < USERS; i++)
        users[i] = user(i);
    granted = -1;
    return facts_slice_new((struct facts_slice **)state, place, users, USERS);
}

static int teardown(void **state)
{
    granted = -1;
    facts_slice_free(*state);
    return 0;
}

static void assign(struct facts_slice *slice, size_t index, uint64_t role, uint32_t level)
{
    assert_int_equal(facts_slice_assign(slice, user(index), role, level), 0);
}

static void common_chain(struct facts_slice *slice)
{
    struct facts *common = facts_slice_common(slice);
    common->revision = 9;
    common->scope = place;
    common->chain_count = 2;
    common->chain[1].key = place;
    common->defaults = malloc(sizeof *common->defaults);
    common->defaults[0] = (struct facts_default){.role = 77, .level = 1};
    common->default_count = 1;
}

static void assert_has(const struct facts_slice *slice, size_t index, size_t count, const uint64_t *roles)
{
    const struct facts *kind = &slice->kinds[slice->kind_of[index]];
    assert_true(slice->kind_of[index] < slice->kind_count);
    assert_int_equal(kind->assignment_count, count);
    for (size_t i = 0; i < count; i++)
        assert_true(kind->assignments[i].role == roles[i] && kind->assignments[i].expires_at == FACTS_NEVER);
}

static void who_has_the_same_is_of_one_kind(void **state)
{
    struct facts_slice *slice = *state;
    common_chain(slice);
    for (size_t i = 0; i < USERS; i++) {
        if (i % 3 > 0)
            assign(slice, i, 1, 0);
        if (i % 3 > 1)
            assign(slice, i, 2, 1);
    }
    assert_int_equal(facts_slice_finish(slice), 0);
    assert_int_equal(slice->kind_count, 3);
    for (size_t i = 0; i < USERS; i++) {
        const struct facts *kind = &slice->kinds[slice->kind_of[i]];
        assert_int_equal(slice->kind_of[i], i % 3);
        assert_has(slice, i, i % 3, (uint64_t[]){1, 2});
        for (size_t role = 0; role < kind->assignment_count; role++)
            assert_int_equal(kind->assignments[role].level, role);
        assert_int_equal(kind->revision, 9);
        assert_int_equal(kind->chain_count, 2);
        assert_int_equal(kind->default_count, 1);
        assert_int_equal(kind->defaults[0].role, 77);
    }
}

/* The same role at another level is another row. */
static void the_level_counts(void **state)
{
    struct facts_slice *slice = *state;
    assign(slice, 0, 1, 0);
    assign(slice, 1, 1, 1);
    assign(slice, 2, 1, 0);
    assert_int_equal(slice->kind_of[0], slice->kind_of[2]);
    assert_int_not_equal(slice->kind_of[0], slice->kind_of[1]);
    assert_int_equal(slice->kinds[slice->kind_of[1]].assignments[0].level, 1);
}

/* Rows come in any order, of users and of roles: everybody has what the rows say. */
static void any_order_of_rows_will_do(void **state)
{
    struct facts_slice *slice = *state;
    for (size_t i = USERS; i-- > 0;)
        assign(slice, i, 1 + i % 2, 0);
    for (size_t i = 0; i < USERS; i += 7)
        assign(slice, i, 3, 0);
    for (size_t i = 0; i < USERS; i++)
        assign(slice, (i * 101) % USERS, 2 - ((i * 101) % USERS) % 2, 0);
    assert_int_equal(facts_slice_finish(slice), 0);
    for (size_t i = 0; i < USERS; i++) {
        uint64_t first = 1 + i % 2;
        uint64_t with[] = {first, 3, 3 - first}, without[] = {first, 3 - first};
        assert_has(slice, i, i % 7 == 0 ? 3 : 2, i % 7 == 0 ? with : without);
    }
}

static void who_is_not_asked_about_has_no_part(void **state)
{
    struct facts_slice *slice = *state;
    assign(slice, 4, 1, 0);
    for (uint64_t other = 0; other < user(USERS) + 20; other++) {
        if (other % 10 == 0 && other != 0 && other <= user(USERS - 1))
            continue;
        assert_int_equal(facts_slice_assign(slice, other, 1, 0), 0);
        assert_int_equal(facts_slice_assign(slice, other, 1000 + other, 0), 0);
        facts_slice_set_alone(slice, other);
    }
    assert_int_equal(facts_slice_assign(slice, UINT64_MAX, 1, 0), 0);
    facts_slice_set_alone(slice, UINT64_MAX);
    assert_int_equal(slice->kind_count, 2);
    for (size_t i = 0; i < USERS; i++)
        assert_int_equal(slice->kind_of[i], i == 4);
}

/* A row of another sort before, between and behind the others. */
static void who_has_more_than_roles_is_alone(void **state)
{
    struct facts_slice *slice = *state;
    facts_slice_set_alone(slice, user(0));
    for (uint64_t role = 1; role < 4; role++) {
        for (size_t i = 0; i < 4; i++)
            assign(slice, i, role, 0);
        if (role == 2)
            facts_slice_set_alone(slice, user(1));
    }
    facts_slice_set_alone(slice, user(2));
    facts_slice_set_alone(slice, user(2));
    assert_int_equal(facts_slice_finish(slice), 0);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(slice->kind_of[i], ALONE);
    assert_has(slice, 3, 3, (uint64_t[]){1, 2, 3});
    assert_has(slice, 4, 0, NULL);
}

static void an_owner_is_alone(void **state)
{
    struct facts_slice *slice = *state;
    common_chain(slice);
    struct facts *common = facts_slice_common(slice);
    common->chain[0].has_owner = common->chain[1].has_owner = true;
    common->chain[0].owner = user(5);
    common->chain[1].owner = user(6);
    common->chain[2].has_owner = true; /* beyond the chain: nobody's */
    common->chain[2].owner = user(7);
    assign(slice, 5, 1, 0);
    assert_int_equal(facts_slice_finish(slice), 0);
    for (size_t i = 0; i < USERS; i++)
        assert_int_equal(slice->kind_of[i] == ALONE, i == 5 || i == 6);
}

/* Kinds are as many as there is room for, and who would be of a further one is alone, for good. */
static void too_many_kinds(void **state)
{
    struct facts_slice *slice = *state;
    for (size_t i = 0; i < USERS; i++)
        assign(slice, i, 1000 + i, 0);
    assert_int_equal(slice->kind_count, FACTS_SLICE_KINDS_MAX);
    for (size_t i = 0; i < USERS; i++)
        assert_int_equal(slice->kind_of[i], i < FACTS_SLICE_KINDS_MAX - 1 ? i + 1 : ALONE);
    assign(slice, USERS - 1, 1000, 0);
    assert_int_equal(slice->kind_of[USERS - 1], ALONE);
    assign(slice, 0, 1, 0); /* to a further kind */
    assert_int_equal(slice->kind_of[0], ALONE);
    assert_int_equal(facts_slice_finish(slice), 0);
    assert_has(slice, 254, 1, (uint64_t[]){1254});
}

static void too_many_roles(void **state)
{
    struct facts_slice *slice = *state;
    for (uint64_t role = 0; role < 32; role++) {
        assign(slice, 0, role, 0);
        assign(slice, 1, role, 0);
    }
    assert_int_equal(slice->kinds[slice->kind_of[0]].assignment_count, 32);
    assign(slice, 0, 32, 0);
    assert_int_equal(slice->kind_of[0], ALONE);
    assert_int_equal(slice->kinds[slice->kind_of[1]].assignment_count, 32);
    assert_int_equal(slice->kind_count, 33);
}

static void it_is_cleared_and_used_again(void **state)
{
    struct facts_slice *slice = *state;
    for (unsigned round = 0; round < 3; round++) {
        common_chain(slice);
        facts_slice_common(slice)->chain[0].has_owner = round == 0;
        facts_slice_common(slice)->chain[0].owner = user(9);
        for (size_t i = 0; i < USERS; i++)
            assign(slice, i, round * 1000 + i % 250, 0);
        facts_slice_set_alone(slice, user(round));
        if (round != 1)
            assert_int_equal(facts_slice_finish(slice), 0);
        assert_int_equal(slice->kind_count, 251);
        for (size_t i = 0; i < USERS && round != 1; i++)
            if (i != round && (round != 0 || i != 9))
                assert_has(slice, i, 1, (uint64_t[]){round * 1000 + i % 250});
        facts_slice_clear(slice);
        const struct facts *common = facts_slice_common(slice);
        assert_int_equal(slice->kind_count, 1);
        assert_true(common->chain_count == 0 && common->default_count == 0 && common->assignment_count == 0 &&
                    common->revision == 0);
        for (size_t i = 0; i < USERS; i++)
            assert_int_equal(slice->kind_of[i], 0);
    }
}

static void one_user_is_enough(void **state)
{
    struct facts_slice *slice;
    (void)state;
    assert_int_equal(facts_slice_new(&slice, place, (uint64_t[]){UINT64_MAX}, 1), 0);
    assert_int_equal(facts_slice_assign(slice, UINT64_MAX, 1, 0), 0);
    assert_int_equal(facts_slice_assign(slice, 0, 2, 0), 0);
    assert_int_equal(facts_slice_finish(slice), 0);
    assert_has(slice, 0, 1, (uint64_t[]){1});
    facts_slice_free(slice);
    facts_slice_free(NULL);
}

static int fill(struct facts_slice *slice)
{
    for (size_t i = 0; i < 12; i++)
        for (uint64_t role = 0; role < i; role++)
            if (facts_slice_assign(slice, user(i), role, 0) < 0)
                return PERMTAB_E_MEMORY;
    return facts_slice_finish(slice);
}

/* Wherever memory runs out, what there is can be cleared and used again. */
static void memory_runs_out_anywhere(void **state)
{
    struct facts_slice *slice = *state;
    int code = PERMTAB_E_MEMORY, refusals = 0;
    for (int at = 0; code < 0; at++) {
        facts_slice_clear(slice);
        common_chain(slice);
        granted = at;
        code = fill(slice);
        granted = -1;
        assert_true(code == 0 || code == PERMTAB_E_MEMORY);
        refusals += code < 0;
    }
    assert_true(refusals > 60);
    assert_int_equal(slice->kind_count, 12);
    for (size_t i = 0; i < 12; i++)
        assert_has(slice, i, i, (uint64_t[]){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10});
}

static void there_is_no_memory_for_it(void **state)
{
    struct facts_slice *slice = NULL;
    uint64_t users[] = {1, 2};
    (void)state;
    for (granted = 0;; granted++) {
        int at = granted, code = facts_slice_new(&slice, place, users, 2);
        granted = at;
        if (code == 0)
            break;
        assert_int_equal(code, PERMTAB_E_MEMORY);
    }
    assert_int_equal(granted, 4);
    granted = -1;
    facts_slice_free(slice);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(who_has_the_same_is_of_one_kind),
        T(the_level_counts),
        T(any_order_of_rows_will_do),
        T(who_is_not_asked_about_has_no_part),
        T(who_has_more_than_roles_is_alone),
        T(an_owner_is_alone),
        T(too_many_kinds),
        T(too_many_roles),
        T(it_is_cleared_and_used_again),
        cmocka_unit_test(one_user_is_enough),
        T(memory_runs_out_anywhere),
        cmocka_unit_test(there_is_no_memory_for_it),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
