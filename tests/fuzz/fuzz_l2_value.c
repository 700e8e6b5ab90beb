/* libFuzzer's entry for values of L2 and hot keys: whatever stands in Redis is refused, or becomes facts or keys within
 * their bounds, and what came of it can be written and read again to the same. The first byte says which of the three
 * kinds it is. */
#include "proxy/l2/value.h"
#include "proxy/warm/hot_value.h"
#include "tests/fuzz/fuzz.h"

#define BITS 512u

static int take(bool rows, const char *bytes, size_t size, struct facts *facts, uint64_t *cost_us)
{
    facts->chain_count = 1;
    return rows ? l2_value_take_rows(bytes, size, 0, BITS, facts, cost_us)
                : l2_value_take_scope(bytes, size, 0, BITS, facts);
}

static void compare(const struct facts *a, const struct facts *b)
{
    must(a->assignment_count == b->assignment_count && a->default_count == b->default_count &&
         a->overwrite_count == b->overwrite_count);
    must(a->chain[0].has_owner == b->chain[0].has_owner && a->chain[0].owner == b->chain[0].owner &&
         a->chain[0].plain == b->chain[0].plain);
    for (size_t i = 0; i < a->assignment_count; i++)
        must(a->assignments[i].role == b->assignments[i].role &&
             a->assignments[i].expires_at == b->assignments[i].expires_at);
    for (size_t i = 0; i < a->default_count; i++)
        must(a->defaults[i].role == b->defaults[i].role);
    for (size_t i = 0; i < a->overwrite_count; i++)
        must(a->overwrites[i].bit < BITS && a->overwrites[i].bit == b->overwrites[i].bit &&
             a->overwrites[i].allow == b->overwrites[i].allow &&
             a->overwrites[i].role == b->overwrites[i].role);
}

static void look(const uint8_t *data, size_t size)
{
    struct facts facts = {0}, again = {0};
    uint64_t cost_us = 0, cost_again = 0;
    bool rows = data[0] & 1;
    if (take(rows, (const char *)data + 1, size - 1, &facts, &cost_us) == 0) {
        struct wire_buffer buffer;
        wire_buffer_init(&buffer);
        if (rows)
            l2_value_pack_rows(&buffer, &facts, 0, cost_us);
        else
            l2_value_pack_scope(&buffer, &facts, 0);
        /* A value that was written in a longer form than ours gets shorter, never longer. */
        must(!buffer.failed && take(rows, buffer.data, buffer.size, &again, &cost_again) == 0);
        must(cost_us == cost_again);
        compare(&facts, &again);
        wire_buffer_fini(&buffer);
    }
    facts_fini(&facts);
    facts_fini(&again);
}

static void look_at_keys(const char *bytes, size_t size)
{
    static struct hot_key keys[HOT_VALUE_KEYS], again[HOT_VALUE_KEYS];
    int64_t count = hot_value_take(bytes, size, 7, 3, keys);
    if (count < 0)
        return;
    struct wire_buffer buffer;
    wire_buffer_init(&buffer);
    must(count <= (int64_t)HOT_VALUE_KEYS);
    hot_value_pack(&buffer, 7, keys, (size_t)count);
    must(!buffer.failed && buffer.size <= HOT_VALUE_MAX);
    must(hot_value_take(buffer.data, buffer.size, 7, 3, again) == count);
    for (int64_t i = 0; i < count; i++) {
        must(keys[i].scope.type < 3 && keys[i].frequency > 0 && keys[i].frequency <= KEYS_FREQUENCY_MAX);
        must(again[i].user == keys[i].user && scope_equal(again[i].scope, keys[i].scope));
    }
    wire_buffer_fini(&buffer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct cost_limit limit = {
        .steps_fixed = 2000, .steps_each = 40, .bytes_fixed = 5000, .bytes_each = 100};
    static const struct cost_limit keys_limit = {
        .steps_fixed = 2000, .steps_each = 120, .bytes_fixed = 5000, .bytes_each = 200}; /* four to a key */
    if (size == 0)
        return 0;
    cost_begin();
    if (data[0] & 2)
        look_at_keys((const char *)data + 1, size - 1);
    else
        look(data, size);
    cost_check(size, data[0] & 2 ? &keys_limit : &limit);
    return 0;
}
