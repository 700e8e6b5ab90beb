/* Properties of the resolver on random policies. Each round prints its seed when it fails; PERMTAB_SEED runs that one
 * alone.
 *
 *   - inputs_build + resolve agree with the slow resolver, in both bitmaps, and own contains any
 *   - explain agrees with both
 *   - inputs are canonical: facts in another order, or with rows twice, give equal inputs with the same hash
 *   - a plain scope has the inputs of its parent
 *   - what an edit of roles does needs no new inputs, except after a change of inheritance with overwrites_seen
 *   - inputs_roles names every role whose edit matters */
#include "proxy/rights/explain.h"
#include "tests/support/random_policy.h"
#include "tests/support/slow_resolver.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ROUNDS    6000u
#define QUESTIONS 4u
#define MOST      128u /* permissions */

struct round {
    uint64_t seed;
    struct random random;
    struct memory_policy policy;
    struct catalogue catalogue;
    uint64_t user;
    struct scope_key scope;
    struct facts facts;
    struct inputs inputs;
    uint64_t bits[2][MOST / 64]; /* any, own */
};

#define REQUIRE(round, condition)                                                                            \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            fail_msg("PERMTAB_SEED=%" PRIu64 " user %" PRIu64 " scope %" PRIu32 ":%" PRIu64 ": %s",          \
                     (round)->seed, (round)->user, (round)->scope.type, (round)->scope.id, #condition);      \
    } while (0)

static void resolve_into(const struct catalogue *catalogue, const struct inputs *inputs,
                         struct role_list *roles, uint64_t bits[2][MOST / 64])
{
    memset(bits, 0, 2 * sizeof *bits);
    assert_return_code(resolve(catalogue, inputs, role_list_find, roles, bits[0], bits[1]), 0);
}

static void ask(struct round *round)
{
    round->user = random_user(&round->random);
    round->scope = random_scope(&round->random, &round->policy);
    memory_facts(&round->policy, round->user, round->scope, RANDOM_NOW, &round->facts);
    assert_return_code(
        inputs_build(&round->inputs, &round->facts, RANDOM_NOW, role_list_find, &round->facts.roles, NULL),
        0);
    resolve_into(&round->catalogue, &round->inputs, &round->facts.roles, round->bits);
}

static void ask_end(struct round *round)
{
    inputs_fini(&round->inputs);
    facts_fini(&round->facts);
}

/* ---- properties ------------------------------------------------------------------------------------------------ */

static void property_slow(struct round *round)
{
    bool any[MOST], own[MOST];
    slow_resolve(&round->policy, round->user, round->scope, RANDOM_NOW, any, own);
    for (uint32_t bit = 0; bit < round->catalogue.count; bit++) {
        REQUIRE(round, bitmap_test(round->bits[0], bit) == any[bit]);
        REQUIRE(round, bitmap_test(round->bits[1], bit) == own[bit]);
        REQUIRE(round, own[bit] || !any[bit]);
    }
    for (uint32_t bit = (uint32_t)round->catalogue.count; bit < round->catalogue.words * 64; bit++)
        REQUIRE(round, !bitmap_test(round->bits[0], bit) && !bitmap_test(round->bits[1], bit));
}

static void property_explain(struct round *round)
{
    for (uint32_t bit = 0; bit < round->catalogue.count; bit++) {
        for (int own = 0; own < 2; own++) {
            struct explanation explanation;
            assert_return_code(
                explain(&explanation, &round->catalogue, &round->facts, RANDOM_NOW, bit, own != 0), 0);
            REQUIRE(round, explanation.allowed == bitmap_test(round->bits[own], bit));
            REQUIRE(round, explanation.decisive < explanation.line_count);
            REQUIRE(round, explanation.deprecated == round->catalogue.permissions[bit].deprecated);
            explanation_fini(&explanation);
        }
    }
}

#define SHUFFLE(random, items, count)                                                                        \
    do {                                                                                                     \
        for (size_t at_ = (count); at_ > 1; at_--) {                                                         \
            size_t with_ = random_below(random, at_);                                                        \
            __typeof__(*(items)) kept_ = (items)[at_ - 1];                                                   \
            (items)[at_ - 1] = (items)[with_];                                                               \
            (items)[with_] = kept_;                                                                          \
        }                                                                                                    \
    } while (0)

/* Rows doubled and shuffled; overwrites too, although facts promise them sorted by level: inputs sort for
 * themselves. */
static void property_canonical(struct round *round)
{
    struct facts *facts = &round->facts;
    struct facts other = *facts;
    struct inputs inputs;
    other.assignment_count = 2 * facts->assignment_count;
    other.default_count = 2 * facts->default_count;
    other.overwrite_count = 2 * facts->overwrite_count;
    other.assignments = calloc(other.assignment_count + 1, sizeof *other.assignments);
    other.defaults = calloc(other.default_count + 1, sizeof *other.defaults);
    other.overwrites = calloc(other.overwrite_count + 1, sizeof *other.overwrites);
    assert_true(other.assignments != NULL && other.defaults != NULL && other.overwrites != NULL);
    for (size_t i = 0; i < other.assignment_count; i++)
        other.assignments[i] = facts->assignments[i / 2];
    for (size_t i = 0; i < other.default_count; i++)
        other.defaults[i] = facts->defaults[i / 2];
    for (size_t i = 0; i < other.overwrite_count; i++)
        other.overwrites[i] = facts->overwrites[i / 2];
    SHUFFLE(&round->random, other.assignments, other.assignment_count);
    SHUFFLE(&round->random, other.defaults, other.default_count);
    SHUFFLE(&round->random, other.overwrites, other.overwrite_count);
    assert_return_code(inputs_build(&inputs, &other, RANDOM_NOW, role_list_find, &other.roles, NULL), 0);
    REQUIRE(round, inputs_equal(&inputs, &round->inputs));
    REQUIRE(round, inputs_hash(&inputs) == inputs_hash(&round->inputs));
    REQUIRE(round, inputs.first_expiry == round->inputs.first_expiry);
    REQUIRE(round, inputs.overwrites_seen == round->inputs.overwrites_seen);
    inputs_fini(&inputs);
    free(other.overwrites);
    free(other.defaults);
    free(other.assignments);
}

static void property_plain(struct round *round)
{
    uint32_t levels = round->facts.chain_count;
    struct facts above;
    struct inputs inputs;
    if (levels < 2 || !round->facts.chain[levels - 1].plain)
        return;
    memory_facts(&round->policy, round->user, round->facts.chain[levels - 2].key, RANDOM_NOW, &above);
    assert_return_code(inputs_build(&inputs, &above, RANDOM_NOW, role_list_find, &above.roles, NULL), 0);
    REQUIRE(round, inputs_equal(&inputs, &round->inputs));
    inputs_fini(&inputs);
    facts_fini(&above);
}

struct visited {
    uint64_t roles[256];
    size_t count;
};

static void visit(void *context, uint64_t role)
{
    struct visited *visited = context;
    assert_true(visited->count < 256);
    for (size_t i = 0; i < visited->count; i++)
        assert_true(visited->roles[i] != role);
    visited->roles[visited->count++] = role;
}

static bool was_visited(const struct visited *visited, uint64_t role)
{
    for (size_t i = 0; i < visited->count; i++)
        if (visited->roles[i] == role)
            return true;
    return false;
}

static bool same_definition(const struct role *a, const struct role *b)
{
    return a != NULL && b != NULL && a->active == b->active && a->parent_count == b->parent_count &&
           a->grant_count == b->grant_count &&
           (a->parent_count == 0 ||
            memcmp(a->parents, b->parents, a->parent_count * sizeof *a->parents) == 0) &&
           (a->grant_count == 0 || memcmp(a->grants, b->grants, a->grant_count * sizeof *a->grants) == 0);
}

static bool visited_edited(const struct visited *visited, struct role_list *before, struct role_list *after)
{
    for (size_t i = 0; i < visited->count; i++) {
        const struct role *old = role_list_find(before, visited->roles[i]);
        const struct role *new = role_list_find(after, visited->roles[i]);
        if (old != new && !same_definition(old, new))
            return true;
    }
    return false;
}

/* Definitions change, who holds what does not: a set is rewritten from its old inputs and must come to what a fresh
 * read gives. And if no role that inputs_roles named was edited, nothing may have changed. */
static void property_rewrite(struct round *round, bool inheritance)
{
    struct memory_policy edited;
    struct facts facts;
    struct inputs fresh;
    struct visited visited = {.count = 0};
    uint64_t from_old[2][MOST / 64], from_fresh[2][MOST / 64];
    memory_policy_copy(&edited, &round->policy);
    random_role_edit(&round->random, &edited, inheritance);
    memory_facts(&edited, round->user, round->scope, RANDOM_NOW, &facts);
    assert_return_code(inputs_build(&fresh, &facts, RANDOM_NOW, role_list_find, &facts.roles, NULL), 0);
    resolve_into(&round->catalogue, &round->inputs, &facts.roles, from_old);
    resolve_into(&round->catalogue, &fresh, &facts.roles, from_fresh);
    if (!inheritance || !round->inputs.overwrites_seen) {
        REQUIRE(round, inputs_equal(&round->inputs, &fresh));
        REQUIRE(round, memcmp(from_old, from_fresh, sizeof from_old) == 0);
    }
    assert_return_code(inputs_roles(&round->inputs, role_list_find, &round->facts.roles, visit, &visited), 0);
    for (size_t i = 0; i < round->inputs.held_count; i++)
        REQUIRE(round, was_visited(&visited, round->inputs.held[i].role));
    if (!visited_edited(&visited, &round->facts.roles, &facts.roles)) {
        REQUIRE(round, inputs_equal(&round->inputs, &fresh));
        REQUIRE(round, memcmp(round->bits, from_fresh, sizeof from_fresh) == 0);
    }
    inputs_fini(&fresh);
    facts_fini(&facts);
    memory_policy_fini(&edited);
}

/* ---- rounds ---------------------------------------------------------------------------------------------------- */

/* Counts how often something was decided at all: a generator that only makes empty policies would prove nothing. */
struct tally {
    uint64_t questions, some_any, more_own, overwrites, everything, plain;
};

static void count(struct tally *tally, const struct round *round)
{
    bool any = false, more = false;
    for (uint32_t bit = 0; bit < round->catalogue.count; bit++) {
        any = any || bitmap_test(round->bits[0], bit);
        more = more || (bitmap_test(round->bits[1], bit) && !bitmap_test(round->bits[0], bit));
    }
    tally->questions++;
    tally->some_any += any;
    tally->more_own += more;
    tally->overwrites += round->inputs.overwrite_count > 0;
    tally->everything += round->inputs.owner;
    tally->plain += round->facts.chain_count > 1 && round->facts.chain[round->facts.chain_count - 1].plain;
}

static void run_round(uint64_t seed, struct tally *tally)
{
    struct round round = {.seed = seed, .random = {seed}};
    random_policy(&round.random, &round.policy);
    memory_catalogue(&round.policy, 1 + (uint32_t)random_below(&round.random, 2), &round.catalogue);
    assert_true(round.catalogue.words * 64 <= MOST);
    for (unsigned i = 0; i < QUESTIONS; i++) {
        ask(&round);
        property_slow(&round);
        property_explain(&round);
        property_canonical(&round);
        property_plain(&round);
        property_rewrite(&round, false);
        property_rewrite(&round, true);
        count(tally, &round);
        ask_end(&round);
    }
    catalogue_fini(&round.catalogue);
    memory_policy_fini(&round.policy);
}

static void test_random_policies(void **state)
{
    struct tally tally = {0};
    const char *only = getenv("PERMTAB_SEED");
    (void)state;
    if (only != NULL) {
        run_round(strtoull(only, NULL, 10), &tally);
        return;
    }
    for (uint64_t seed = 1; seed <= ROUNDS; seed++)
        run_round(seed, &tally);
    print_message("%" PRIu64 " questions: %" PRIu64 " allow something, %" PRIu64 " more for own, %" PRIu64
                  " overwritten, %" PRIu64 " owners, %" PRIu64 " plain\n",
                  tally.questions, tally.some_any, tally.more_own, tally.overwrites, tally.everything,
                  tally.plain);
    assert_true(tally.some_any > tally.questions / 4 && tally.more_own > tally.questions / 20);
    assert_true(tally.overwrites > tally.questions / 5 && tally.everything > tally.questions / 100);
    assert_true(tally.plain > tally.questions / 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_policies)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
