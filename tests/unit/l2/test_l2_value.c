/* Values of L2: facts of random policies taken apart and put together again are the same facts; and whatever stands
 * in Redis instead, a clean refusal. ASan and UBSan look on. */
#include "proxy/l2/value.h"
#include "tests/support/random_policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BITS 512u

/* ---- there and back ---------------------------------------------------------------------------------------------- */

static void take_level(const struct facts *from, uint32_t level, struct facts *to, uint64_t cost_us)
{
    struct wire_buffer scope, rows;
    uint64_t cost = 0;
    wire_buffer_init(&scope);
    wire_buffer_init(&rows);
    l2_value_pack_scope(&scope, from, level);
    l2_value_pack_rows(&rows, from, level, cost_us);
    assert_false(scope.failed || rows.failed);
    to->chain[level].key = from->chain[level].key;
    to->chain_count = level + 1;
    assert_int_equal(l2_value_take_scope(scope.data, scope.size, level, BITS, to), 0);
    assert_int_equal(l2_value_take_rows(rows.data, rows.size, level, BITS, to, &cost), 0);
    assert_int_equal(cost, cost_us);
    wire_buffer_fini(&scope);
    wire_buffer_fini(&rows);
}

/* Position of the next item of that level at or after `at`; the lists of `from` need not be in the order of levels. */
#define NEXT_OF(list, count, at, level)                                                                      \
    while ((at) < (count) && (list)[at].level != (level))                                                    \
    (at)++

static void assert_same_roles(const struct facts *a, const struct facts *b, uint32_t level)
{
    size_t i = 0, k = 0;
    for (;; i++, k++) {
        NEXT_OF(a->assignments, a->assignment_count, i, level);
        NEXT_OF(b->assignments, b->assignment_count, k, level);
        if (i == a->assignment_count || k == b->assignment_count)
            break;
        assert_int_equal(a->assignments[i].role, b->assignments[k].role);
        assert_int_equal(a->assignments[i].expires_at, b->assignments[k].expires_at);
    }
    assert_true(i == a->assignment_count && k == b->assignment_count);
    for (i = k = 0;; i++, k++) {
        NEXT_OF(a->defaults, a->default_count, i, level);
        NEXT_OF(b->defaults, b->default_count, k, level);
        if (i == a->default_count || k == b->default_count)
            break;
        assert_int_equal(a->defaults[i].role, b->defaults[k].role);
    }
    assert_true(i == a->default_count && k == b->default_count);
}

static uint64_t hash_of(const struct facts_overwrite *row)
{
    uint64_t hash =
        row->role * 0x9e3779b97f4a7c15ull + row->bit * 2 + row->allow + (row->subject ? 1u << 20 : 0);
    hash = (hash ^ (hash >> 29)) * 0xbf58476d1ce4e5b9ull;
    return hash ^ (hash >> 32);
}

/* Compares them as a set: rows of roles come before those of users afterwards. */
static void assert_same_overwrites(const struct facts *a, const struct facts *b, uint32_t level)
{
    uint64_t left = 0, right = 0;
    for (size_t i = 0; i < a->overwrite_count; i++)
        left += a->overwrites[i].level == level ? hash_of(&a->overwrites[i]) : 0;
    for (size_t i = 0; i < b->overwrite_count; i++)
        right += b->overwrites[i].level == level ? hash_of(&b->overwrites[i]) : 0;
    assert_int_equal(left, right);
}

static void assert_same(const struct facts *a, const struct facts *b)
{
    assert_int_equal(a->chain_count, b->chain_count);
    assert_int_equal(a->assignment_count, b->assignment_count);
    assert_int_equal(a->default_count, b->default_count);
    assert_int_equal(a->overwrite_count, b->overwrite_count);
    for (uint32_t level = 0; level < a->chain_count; level++) {
        assert_true(scope_equal(a->chain[level].key, b->chain[level].key));
        assert_int_equal(a->chain[level].has_owner, b->chain[level].has_owner);
        assert_true(!a->chain[level].has_owner || a->chain[level].owner == b->chain[level].owner);
        assert_int_equal(a->chain[level].plain, b->chain[level].plain);
        assert_same_roles(a, b, level);
        assert_same_overwrites(a, b, level);
    }
}

static void test_round_trip(void **state)
{
    struct random random = {.state = 42};
    size_t seen[4] = {0};
    (void)state;
    for (int i = 0; i < 2000; i++) {
        struct memory_policy policy;
        random_policy(&random, &policy);
        for (int k = 0; k < 10; k++) {
            struct facts from, to = {0};
            memory_facts(&policy, random_user(&random), random_scope(&random, &policy), RANDOM_NOW, &from);
            for (uint32_t level = 0; level < from.chain_count; level++)
                take_level(&from, level, &to, random_next(&random) >> random_below(&random, 64));
            assert_same(&from, &to);
            seen[0] += from.assignment_count;
            seen[1] += from.default_count;
            seen[2] += from.overwrite_count;
            seen[3] += from.chain_count > 1 && from.chain[1].has_owner;
            facts_fini(&from);
            facts_fini(&to);
        }
        memory_policy_fini(&policy);
    }
    for (int i = 0; i < 4; i++)
        assert_true(seen[i] > 100);
}

/* The largest numbers there are, and none at all. */
static void test_extremes(void **state)
{
    (void)state;
    struct facts_assignment assignments[] = {
        {UINT64_MAX, 0, INT64_MAX - 1}, {0, 0, FACTS_NEVER}, {1, 0, INT64_MIN}};
    struct facts_overwrite overwrites[] = {{0, OVERWRITE_ROLE, UINT64_MAX, BITS - 1, true},
                                           {0, OVERWRITE_USER, 0, BITS - 1, false}};
    struct facts_default defaults[] = {{UINT64_MAX, 0}};
    struct facts from = {.chain_count = 1,
                         .assignments = assignments,
                         .assignment_count = 3,
                         .defaults = defaults,
                         .default_count = 1,
                         .overwrites = overwrites,
                         .overwrite_count = 2};
    struct facts to = {0}, empty = {.chain_count = 1};
    from.chain[0].has_owner = true;
    from.chain[0].owner = UINT64_MAX;
    take_level(&from, 0, &to, UINT64_MAX);
    assert_same(&from, &to);
    facts_fini(&to);
    memset(&to, 0, sizeof to);
    take_level(&empty, 0, &to, 0);
    assert_same(&empty, &to);
    facts_fini(&to);
}

/* ---- what somebody else has written ------------------------------------------------------------------------------ */

struct sample {
    struct wire_buffer bytes;
    bool rows;
};

static int take(const struct sample *sample, const char *data, size_t size)
{
    struct facts facts = {.chain_count = 1};
    uint64_t cost;
    char *copy = malloc(size + 1); /* exactly as long, for ASan */
    assert_non_null(copy);
    copy = realloc(copy, size > 0 ? size : 1);
    assert_non_null(copy);
    memcpy(copy, data, size);
    int code = sample->rows ? l2_value_take_rows(copy, size, 0, BITS, &facts, &cost)
                            : l2_value_take_scope(copy, size, 0, BITS, &facts);
    assert_true(code == 0 || code == PERMTAB_E_PROTOCOL || code == PERMTAB_E_LAYOUT ||
                code == PERMTAB_E_MEMORY);
    for (size_t i = 0; i < facts.overwrite_count; i++)
        assert_true(facts.overwrites[i].bit < BITS);
    facts_fini(&facts);
    free(copy);
    return code;
}

/* A head with this version; the fields are the caller's. */
static void begin(struct sample *sample, bool rows, uint64_t version, uint32_t fields)
{
    wire_buffer_init(&sample->bytes);
    sample->rows = rows;
    wire_notify(&sample->bytes, rows ? "l2.rows" : "l2.scope", fields + 1);
    wire_str(&sample->bytes, "v");
    wire_u64(&sample->bytes, version);
}

static void end(struct sample *sample, int wanted)
{
    assert_false(sample->bytes.failed);
    assert_int_equal(take(sample, sample->bytes.data, sample->bytes.size), wanted);
    wire_buffer_fini(&sample->bytes);
}

static void list(struct sample *sample, const char *key, size_t count, uint64_t item)
{
    wire_str(&sample->bytes, key);
    wire_array(&sample->bytes, (uint32_t)count);
    for (size_t i = 0; i < count; i++)
        wire_u64(&sample->bytes, item);
}

/* `without`: a field that is left out, or NULL. */
static void rows_of(struct sample *sample, uint64_t version, const char *without, size_t roles,
                    size_t effects, uint64_t effect)
{
    begin(sample, true, version, without != NULL ? 2 : 3);
    if (without == NULL || strcmp(without, "cost") != 0) {
        wire_str(&sample->bytes, "cost");
        wire_u64(&sample->bytes, 1);
    }
    if (without == NULL || strcmp(without, "roles") != 0)
        list(sample, "roles", roles, 7);
    if (without == NULL || strcmp(without, "overwrites") != 0)
        list(sample, "overwrites", effects, effect);
}

static void scope_of(struct sample *sample, uint64_t version, const char *without, size_t overwrites,
                     uint64_t word)
{
    begin(sample, false, version, without != NULL ? 3 : 4);
    if (without == NULL || strcmp(without, "plain") != 0) {
        wire_str(&sample->bytes, "plain");
        wire_bool(&sample->bytes, true);
    }
    if (without == NULL || strcmp(without, "owner") != 0) {
        wire_str(&sample->bytes, "owner");
        wire_nil(&sample->bytes);
    }
    if (without == NULL || strcmp(without, "defaults") != 0)
        list(sample, "defaults", 2, 9);
    if (without == NULL || strcmp(without, "overwrites") != 0)
        list(sample, "overwrites", overwrites, word);
}

static void test_versions_and_fields(void **state)
{
    static const char *const of_rows[] = {"cost", "roles", "overwrites"};
    static const char *const of_scope[] = {"plain", "owner", "defaults", "overwrites"};
    struct sample sample;
    (void)state;
    rows_of(&sample, 1, NULL, 2, 1, 5);
    end(&sample, 0);
    rows_of(&sample, 2, NULL, 2, 1, 5);
    end(&sample, PERMTAB_E_LAYOUT);
    rows_of(&sample, UINT64_MAX, NULL, 2, 1, 5);
    end(&sample, PERMTAB_E_LAYOUT);
    scope_of(&sample, 1, NULL, 2, 5);
    end(&sample, 0);
    scope_of(&sample, 0, NULL, 2, 5);
    end(&sample, PERMTAB_E_LAYOUT);
    for (int i = 0; i < 3; i++) {
        rows_of(&sample, 1, of_rows[i], 2, 1, 5);
        end(&sample, PERMTAB_E_PROTOCOL);
    }
    for (int i = 0; i < 4; i++) {
        scope_of(&sample, 1, of_scope[i], 2, 5);
        end(&sample, PERMTAB_E_PROTOCOL);
    }
}

static void test_numbers_out_of_range(void **state)
{
    struct sample sample;
    (void)state;
    rows_of(&sample, 1, NULL, 2, 1, 2 * BITS - 1);
    end(&sample, 0);
    rows_of(&sample, 1, NULL, 2, 1, 2 * BITS);
    end(&sample, PERMTAB_E_PROTOCOL);
    rows_of(&sample, 1, NULL, 2, 1, UINT64_MAX);
    end(&sample, PERMTAB_E_PROTOCOL);
    rows_of(&sample, 1, NULL, 3, 0, 0); /* a role without an end */
    end(&sample, PERMTAB_E_PROTOCOL);
    scope_of(&sample, 1, NULL, 4, 2 * BITS - 1);
    end(&sample, 0);
    scope_of(&sample, 1, NULL, 4, 2 * BITS);
    end(&sample, PERMTAB_E_PROTOCOL);
    scope_of(&sample, 1, NULL, 3, 5); /* half a pair */
    end(&sample, PERMTAB_E_PROTOCOL);
    scope_of(&sample, 1, NULL, L2_VALUE_MAX, 5); /* larger than a value may be */
    end(&sample, PERMTAB_E_PROTOCOL);
}

/* Counts that the bytes do not bear out: array32 of 2^32 - 1 in place of an array. */
static void test_counts_that_lie(void **state)
{
    struct sample sample;
    (void)state;
    rows_of(&sample, 1, NULL, 2, 1, 5);
    for (size_t at = 0; at < sample.bytes.size; at++) {
        char lie[256];
        assert_true(sample.bytes.size + 4 < sizeof lie);
        memcpy(lie, sample.bytes.data, at);
        memcpy(lie + at, "\xdd\xff\xff\xff\xff", 5);
        memcpy(lie + at + 5, sample.bytes.data + at + 1, sample.bytes.size - at - 1);
        assert_true(take(&sample, lie, sample.bytes.size + 4) < 0);
    }
    wire_buffer_fini(&sample.bytes);
}

static void try_every_byte(const struct sample *sample)
{
    char *bytes = malloc(sample->bytes.size + 1);
    assert_non_null(bytes);
    memcpy(bytes, sample->bytes.data, sample->bytes.size);
    bytes[sample->bytes.size] = 0;
    assert_int_equal(take(sample, bytes, sample->bytes.size), 0);
    assert_true(take(sample, bytes, sample->bytes.size + 1) < 0); /* something behind it */
    for (size_t at = 0; at < sample->bytes.size; at++) {
        char right = bytes[at];
        assert_true(take(sample, bytes, at) < 0);
        for (int value = 0; value < 256; value++) {
            bytes[at] = (char)value;
            (void)take(sample, bytes, sample->bytes.size);
        }
        bytes[at] = right;
    }
    free(bytes);
}

static void test_every_byte(void **state)
{
    struct sample rows, scope, other;
    (void)state;
    rows_of(&rows, 1, NULL, 2, 1, 5);
    scope_of(&scope, 1, NULL, 2, 5);
    try_every_byte(&rows);
    try_every_byte(&scope);
    /* Each in the other's place. */
    other = rows;
    other.rows = false;
    assert_int_equal(take(&other, rows.bytes.data, rows.bytes.size), PERMTAB_E_PROTOCOL);
    other.rows = true;
    assert_int_equal(take(&other, scope.bytes.data, scope.bytes.size), PERMTAB_E_PROTOCOL);
    wire_buffer_fini(&rows.bytes);
    wire_buffer_fini(&scope.bytes);
}

static void test_noise(void **state)
{
    struct random random = {.state = 7};
    (void)state;
    for (int i = 0; i < 200000; i++) {
        char noise[64];
        struct sample sample = {.rows = i % 2 == 0};
        size_t size = random_below(&random, sizeof noise);
        for (size_t k = 0; k < size; k++)
            noise[k] = (char)random_next(&random);
        assert_true(take(&sample, noise, size) < 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_versions_and_fields),
        cmocka_unit_test(test_numbers_out_of_range),
        cmocka_unit_test(test_counts_that_lie),
        cmocka_unit_test(test_every_byte),
        cmocka_unit_test(test_noise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
