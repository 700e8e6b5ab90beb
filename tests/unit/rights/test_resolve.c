/* The resolver at sizes that cases do not reach, and what is left of its interface: deep and wide inheritance, long
 * chains of requirements, inputs without roles, definitions that vanish. Time limits are wide: they tell linear from
 * quadratic on a slow machine, not fast from slow. */
#include "proxy/rights/explain.h"
#include "tests/support/memory_policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static const struct scope_key GLOBAL = {0};

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now); /* what others do on this machine is not counted */
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* One user, 7, who is asked about at global. */
struct world {
    struct memory_policy policy;
    struct catalogue catalogue;
    struct facts facts;
    struct inputs inputs;
    uint64_t *any, *own;
    double took;
};

static void world_resolve(struct world *world)
{
    memory_catalogue(&world->policy, 1, &world->catalogue);
    memory_facts(&world->policy, 7, GLOBAL, 0, &world->facts);
    world->any = calloc(world->catalogue.words, sizeof *world->any);
    world->own = calloc(world->catalogue.words, sizeof *world->own);
    assert_true(world->any != NULL && world->own != NULL);
    double begun = seconds();
    assert_return_code(
        inputs_build(&world->inputs, &world->facts, 0, role_list_find, &world->facts.roles, NULL), 0);
    assert_return_code(resolve(&world->catalogue, &world->inputs, role_list_find, &world->facts.roles,
                               world->any, world->own),
                       0);
    world->took = seconds() - begun;
}

static void world_fini(struct world *world)
{
    free(world->own);
    free(world->any);
    inputs_fini(&world->inputs);
    facts_fini(&world->facts);
    catalogue_fini(&world->catalogue);
    memory_policy_fini(&world->policy);
}

static void count_role(void *context, uint64_t role)
{
    (void)role;
    ++*(size_t *)context;
}

static void test_deep_inheritance(void **state)
{
    enum { DEPTH = 100000 };
    struct world world = {.took = 0};
    struct explanation explanation;
    size_t visited = 0;
    (void)state;
    memory_policy_init(&world.policy);
    uint32_t bit = memory_permission(&world.policy, "deep");
    for (uint64_t id = 1; id <= DEPTH; id++) {
        memory_role(&world.policy, id, "link", GLOBAL, false, true);
        memory_inherit(&world.policy, id, id % DEPTH + 1); /* the last one closes a circle */
    }
    memory_grant(&world.policy, DEPTH, GRANT_ALLOW, bit);
    memory_assign(&world.policy, 7, 1, GLOBAL, FACTS_NEVER);
    memory_overwrite(&world.policy, GLOBAL, OVERWRITE_ROLE, DEPTH - 1, bit, false);
    memory_overwrite(&world.policy, GLOBAL, OVERWRITE_ROLE, DEPTH, bit, true);
    world_resolve(&world);
    assert_true(bitmap_test(world.any, bit));
    assert_int_equal(world.inputs.overwrite_count, 2);
    assert_return_code(inputs_roles(&world.inputs, role_list_find, &world.facts.roles, count_role, &visited),
                       0);
    assert_int_equal(visited, DEPTH);
    assert_return_code(explain(&explanation, &world.catalogue, &world.facts, 0, bit, false), 0);
    assert_true(explanation.allowed);
    assert_non_null(strstr(explanation.lines[1], "inherited 1 → 2 → 3 → 4 → … 99992 more → 99997"));
    explanation_fini(&explanation);
    print_message("depth %d: %.1f ms\n", DEPTH, world.took * 1e3);
    assert_true(world.took < 5);
    world_fini(&world);
}

static void test_wide_inheritance(void **state)
{
    enum { ROLES = 10000, SIDES = 20 };
    struct world world = {.took = 0};
    (void)state;
    memory_policy_init(&world.policy);
    for (unsigned bit = 0; bit < 512; bit++) {
        char name[16];
        snprintf(name, sizeof name, "p%u", bit);
        memory_permission(&world.policy, name);
    }
    /* Every role inherits from twenty others and is assigned as well. */
    for (uint64_t id = 0; id < ROLES; id++) {
        memory_role(&world.policy, id, "knot", GLOBAL, false, true);
        for (uint64_t side = 1; side <= SIDES; side++)
            memory_inherit(&world.policy, id, (id * side + side) % ROLES);
        memory_grant(&world.policy, id, GRANT_ALLOW, (uint32_t)(id % 511));
        memory_assign(&world.policy, 7, id, GLOBAL, FACTS_NEVER);
    }
    world_resolve(&world);
    for (uint32_t bit = 0; bit < 512; bit++)
        assert_int_equal(bitmap_test(world.any, bit), bit != 511);
    print_message("%d roles, %d parents each: %.1f ms\n", ROLES, SIDES, world.took * 1e3);
    assert_true(world.took < 5);
    world_fini(&world);
}

/* The largest catalogue, in which each permission requires the next one, so that going round in order would clear one a
 * round. Then the same with the end of the chain there. */
static void long_requirements(bool granted)
{
    enum { LENGTH = PERMTAB_SHM_PERMISSIONS_MAX };
    struct world world = {.took = 0};
    struct explanation explanation;
    memory_policy_init(&world.policy);
    memory_role(&world.policy, 1, "role", GLOBAL, true, true);
    for (uint32_t bit = 0; bit < LENGTH; bit++) {
        char name[16];
        snprintf(name, sizeof name, "p%u", bit);
        if (bit + 1 < LENGTH)
            memory_requires(&world.policy, bit, bit + 1);
        if (granted || bit + 1 < LENGTH)
            memory_grant(&world.policy, 1, GRANT_ALLOW, bit);
        memory_permission(&world.policy, name);
    }
    world_resolve(&world);
    for (uint32_t bit = 0; bit < LENGTH; bit++)
        assert_int_equal(bitmap_test(world.own, bit), granted);
    print_message("%d requirements in a chain: %.1f ms\n", LENGTH, world.took * 1e3);
    assert_true(world.took < 0.3);
    assert_return_code(explain(&explanation, &world.catalogue, &world.facts, 0, 0, false), 0);
    assert_int_equal(explanation.allowed, granted);
    explanation_fini(&explanation);
    world_fini(&world);
}

static void test_long_requirements(void **state)
{
    (void)state;
    long_requirements(true);
    long_requirements(false);
}

/* Explanations of a policy with too much to tell stay within their limits. */
static void test_long_explanation(void **state)
{
    enum { ROLES = 3000 };
    struct world world = {.took = 0};
    struct explanation explanation;
    char name[101];
    (void)state;
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    memory_policy_init(&world.policy);
    uint32_t bit = memory_permission(&world.policy, name);
    world.policy.permissions.items[memory_permission(&world.policy, "admin")].grants_all = true;
    for (uint64_t id = 1; id <= ROLES; id++) {
        memory_role(&world.policy, UINT64_MAX - id,
                    "évil\n\x1b[31m name that goes on and on and on and on and on and on é", GLOBAL,
                    id % 2 == 0, true);
        memory_inherit(&world.policy, UINT64_MAX - id, UINT64_MAX - id - 1);
        memory_assign(&world.policy, 7, UINT64_MAX - id, GLOBAL, id % 3 == 0 ? -1 : 1 + (int64_t)id);
        for (enum grant_effect effect = GRANT_ALLOW; effect <= GRANT_DENY; effect++) {
            memory_grant(&world.policy, UINT64_MAX - id, effect, bit);
            memory_grant(&world.policy, UINT64_MAX - id, effect, bit + 1);
        }
        memory_overwrite(&world.policy, GLOBAL, OVERWRITE_ROLE, UINT64_MAX - id, bit, id % 5 < 2);
    }
    world_resolve(&world);
    assert_return_code(explain(&explanation, &world.catalogue, &world.facts, 0, bit, false), 0);
    assert_int_equal(explanation.allowed, bitmap_test(world.any, bit));
    assert_in_range(explanation.line_count, 10, 300);
    for (size_t i = 0; i < explanation.line_count; i++) {
        assert_in_range(strlen(explanation.lines[i]), 5, 400);
        assert_null(strpbrk(explanation.lines[i], "\n\x1b"));
        assert_int_equal(strtoul(explanation.lines[i], NULL, 10), i + 1);
    }
    explanation_fini(&explanation);
    world_fini(&world);
}

static void test_unknown_permission(void **state)
{
    struct world world = {.took = 0};
    struct explanation explanation;
    (void)state;
    memory_policy_init(&world.policy);
    memory_permission(&world.policy, "one");
    world_resolve(&world);
    assert_int_equal(explain(&explanation, &world.catalogue, &world.facts, 0, 1, false),
                     PERMTAB_E_NO_PERMISSION);
    assert_int_equal(explain(&explanation, &world.catalogue, &world.facts, 0, UINT32_MAX, false),
                     PERMTAB_E_NO_PERMISSION);
    world_fini(&world);
}

/* Rows with bits beyond the bitmaps: a catalogue read a moment later may know them, this one does not. */
static void test_bits_out_of_range(void **state)
{
    struct world world = {.took = 0};
    (void)state;
    memory_policy_init(&world.policy);
    uint32_t bit = memory_permission(&world.policy, "one");
    memory_role(&world.policy, 1, "role", GLOBAL, true, true);
    memory_grant(&world.policy, 1, GRANT_ALLOW, bit);
    memory_grant(&world.policy, 1, GRANT_ALLOW, 63);
    memory_grant(&world.policy, 1, GRANT_ALLOW, 64);
    memory_grant(&world.policy, 1, GRANT_DENY, UINT32_MAX);
    memory_overwrite(&world.policy, GLOBAL, OVERWRITE_USER, 7, 1000000, true);
    memory_overwrite(&world.policy, GLOBAL, OVERWRITE_USER, 7, 5, true);
    bit = memory_permission(&world.policy, "needy");
    memory_grant(&world.policy, 1, GRANT_ALLOW, bit);
    memory_requires(&world.policy, bit, 1000000);
    world_resolve(&world);
    assert_int_equal(world.any[0], 1);
    assert_int_equal(world.own[0], 1);
    struct explanation explanation;
    assert_return_code(explain(&explanation, &world.catalogue, &world.facts, 0, bit, false), 0);
    assert_false(explanation.allowed);
    assert_non_null(strstr(explanation.lines[explanation.decisive], "a permission that does not exist"));
    explanation_fini(&explanation);
    world_fini(&world);
}

/* Inputs outlive definitions: a role that has gone since grants nothing. */
static const struct role *find_nothing(void *context, uint64_t role)
{
    (void)context;
    (void)role;
    return NULL;
}

static void test_vanished_definition(void **state)
{
    struct world world = {.took = 0};
    size_t visited = 0;
    (void)state;
    memory_policy_init(&world.policy);
    uint32_t bit = memory_permission(&world.policy, "one");
    memory_role(&world.policy, 1, "role", GLOBAL, true, true);
    memory_grant(&world.policy, 1, GRANT_ALLOW, bit);
    memory_overwrite(&world.policy, GLOBAL, OVERWRITE_ROLE, 1, bit, true);
    world_resolve(&world);
    assert_true(bitmap_test(world.any, bit));
    assert_return_code(resolve(&world.catalogue, &world.inputs, find_nothing, NULL, world.any, world.own), 0);
    assert_false(bitmap_test(world.any, bit));
    assert_return_code(inputs_roles(&world.inputs, find_nothing, NULL, count_role, &visited), 0);
    assert_int_equal(visited, 1);
    world_fini(&world);
}

/* The parts of a set's identity, and what is none of them. */
static void test_identity(void **state)
{
    struct held_role held[] = {{.role = 1}, {.role = 2, .by_default = true}};
    struct input_overwrite row = {.level = 0, .subject = OVERWRITE_ROLE, .role = 1, .bit = 3, .allow = true};
    struct inputs one = {
        .exists = true, .held = held, .held_count = 2, .first_expiry = 5, .overwrites_seen = true};
    struct inputs other = one;
    (void)state;
    other.first_expiry = FACTS_NEVER;
    other.overwrites_seen = false;
    assert_true(inputs_equal(&one, &other));
    assert_true(inputs_hash(&one) == inputs_hash(&other));
    other.overwrites = &row;
    other.overwrite_count = 1;
    assert_false(inputs_equal(&one, &other));
    assert_true(inputs_hash(&one) != inputs_hash(&other));

    struct input_overwrite rows[] = {row, row, row, row, row};
    rows[0].level = 1;
    rows[1].subject = OVERWRITE_USER;
    rows[2].role = 2;
    rows[3].bit = 4;
    rows[4].allow = false;
    for (size_t i = 0; i < 5; i++) {
        struct inputs changed = other;
        changed.overwrites = &rows[i];
        assert_false(inputs_equal(&changed, &other));
        assert_true(inputs_hash(&changed) != inputs_hash(&other));
    }
    struct held_role default_held[] = {{.role = 1, .by_default = true}, {.role = 2, .by_default = true}};
    struct inputs changed = one;
    changed.held = default_held;
    assert_false(inputs_equal(&changed, &one));
    assert_true(inputs_hash(&changed) != inputs_hash(&one));
    struct inputs nowhere = {.exists = false}, owner = {.exists = true, .owner = true},
                  nobody = {.exists = true};
    assert_false(inputs_equal(&nowhere, &nobody) || inputs_equal(&owner, &nobody) ||
                 inputs_equal(&owner, &nowhere));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deep_inheritance),    cmocka_unit_test(test_wide_inheritance),
        cmocka_unit_test(test_long_requirements),   cmocka_unit_test(test_long_explanation),
        cmocka_unit_test(test_unknown_permission),  cmocka_unit_test(test_bits_out_of_range),
        cmocka_unit_test(test_vanished_definition), cmocka_unit_test(test_identity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
