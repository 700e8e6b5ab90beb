/* Facts to bytes and back. Anybody may have written the values in Redis: every number is checked before it becomes
 * a fact, and one that is not understood spoils the whole value. Whether a value is *true* is not judged here. */
#include "proxy/l2/value.h"

#include <stdlib.h>
#include <string.h>

/* ---- to bytes ---------------------------------------------------------------------------------------------------- */

static bool is_of(const struct facts_overwrite *overwrite, uint32_t level, enum overwrite_subject subject)
{
    return overwrite->level == level && overwrite->subject == subject;
}

static uint32_t count_overwrites(const struct facts *facts, uint32_t level, enum overwrite_subject subject)
{
    uint32_t count = 0;
    for (size_t i = 0; i < facts->overwrite_count; i++)
        count += is_of(&facts->overwrites[i], level, subject);
    return count;
}

static uint64_t effect_of(const struct facts_overwrite *overwrite)
{
    return (uint64_t)overwrite->bit * 2 + (overwrite->allow ? 1 : 0);
}

static void pack_defaults(struct wire_buffer *out, const struct facts *facts, uint32_t level)
{
    uint32_t count = 0;
    for (size_t i = 0; i < facts->default_count; i++)
        count += facts->defaults[i].level == level;
    wire_put_array(out, "defaults", count);
    for (size_t i = 0; i < facts->default_count; i++)
        if (facts->defaults[i].level == level)
            wire_u64(out, facts->defaults[i].role);
}

void l2_value_pack_scope(struct wire_buffer *out, const struct facts *facts, uint32_t level)
{
    const struct facts_scope *scope = &facts->chain[level];
    wire_notify(out, "l2.scope", 5);
    wire_put_u64(out, "v", L2_VALUE_VERSION);
    wire_put_bool(out, "plain", scope->plain);
    wire_str(out, "owner");
    if (scope->has_owner)
        wire_u64(out, scope->owner);
    else
        wire_nil(out);
    pack_defaults(out, facts, level);
    wire_put_array(out, "overwrites", 2 * count_overwrites(facts, level, OVERWRITE_ROLE));
    for (size_t i = 0; i < facts->overwrite_count; i++) {
        if (!is_of(&facts->overwrites[i], level, OVERWRITE_ROLE))
            continue;
        wire_u64(out, facts->overwrites[i].role);
        wire_u64(out, effect_of(&facts->overwrites[i]));
    }
}

static void pack_roles(struct wire_buffer *out, const struct facts *facts, uint32_t level)
{
    uint32_t count = 0;
    for (size_t i = 0; i < facts->assignment_count; i++)
        count += facts->assignments[i].level == level;
    wire_put_array(out, "roles", 2 * count);
    for (size_t i = 0; i < facts->assignment_count; i++) {
        const struct facts_assignment *assignment = &facts->assignments[i];
        if (assignment->level != level)
            continue;
        wire_u64(out, assignment->role);
        if (assignment->expires_at == FACTS_NEVER)
            wire_nil(out);
        else
            wire_i64(out, assignment->expires_at);
    }
}

void l2_value_pack_rows(struct wire_buffer *out, const struct facts *facts, uint32_t level, uint64_t cost_us)
{
    wire_notify(out, "l2.rows", 4);
    wire_put_u64(out, "v", L2_VALUE_VERSION);
    wire_put_u64(out, "cost", cost_us);
    pack_roles(out, facts, level);
    wire_put_array(out, "overwrites", count_overwrites(facts, level, OVERWRITE_USER));
    for (size_t i = 0; i < facts->overwrite_count; i++)
        if (is_of(&facts->overwrites[i], level, OVERWRITE_USER))
            wire_u64(out, effect_of(&facts->overwrites[i]));
}

/* ---- from bytes -------------------------------------------------------------------------------------------------- */

/* Room for `more` items after `count` in an array that has exactly `count`. */
static void *grow(void *items, size_t count, size_t more, size_t item_size)
{
    return realloc(items, (count + more) * item_size);
}

static const struct wire_value *list_of(const struct wire_value *map, const char *key, size_t *count)
{
    const struct wire_value *list = wire_get(map, key);
    *count = 0;
    return wire_as_array(list, count) ? list : NULL;
}

static int take_defaults(const struct wire_value *map, uint32_t level, struct facts *facts)
{
    size_t count;
    const struct wire_value *list = list_of(map, "defaults", &count);
    if (!list)
        return PERMTAB_E_PROTOCOL;
    if (count == 0)
        return 0;
    struct facts_default *items = grow(facts->defaults, facts->default_count, count, sizeof *items);
    if (!items)
        return PERMTAB_E_MEMORY;
    facts->defaults = items;
    for (size_t i = 0; i < count; i++) {
        struct facts_default *item = &items[facts->default_count];
        *item = (struct facts_default){.level = level};
        if (!wire_as_u64(wire_item(list, i), &item->role))
            return PERMTAB_E_PROTOCOL;
        facts->default_count++;
    }
    return 0;
}

/* Takes overwrites: of a scope, role and effect in turn; of a user, effects. */
static int take_overwrites(const struct wire_value *map, uint32_t level, uint32_t bits,
                           enum overwrite_subject subject, struct facts *facts)
{
    size_t count, words = subject == OVERWRITE_ROLE ? 2 : 1;
    const struct wire_value *list = list_of(map, "overwrites", &count);
    if (!list || count % words != 0)
        return PERMTAB_E_PROTOCOL;
    if (count == 0)
        return 0;
    struct facts_overwrite *items =
        grow(facts->overwrites, facts->overwrite_count, count / words, sizeof *items);
    if (!items)
        return PERMTAB_E_MEMORY;
    facts->overwrites = items;
    for (size_t i = 0; i < count; i += words) {
        struct facts_overwrite *item = &items[facts->overwrite_count];
        uint64_t effect;
        *item = (struct facts_overwrite){.level = level, .subject = subject};
        if (subject == OVERWRITE_ROLE && !wire_as_u64(wire_item(list, i), &item->role))
            return PERMTAB_E_PROTOCOL;
        if (!wire_as_u64(wire_item(list, i + words - 1), &effect) || effect / 2 >= bits)
            return PERMTAB_E_PROTOCOL;
        item->bit = (uint32_t)(effect / 2);
        item->allow = effect % 2 == 1;
        facts->overwrite_count++;
    }
    return 0;
}

static int take_roles(const struct wire_value *map, uint32_t level, struct facts *facts)
{
    size_t count;
    const struct wire_value *list = list_of(map, "roles", &count);
    if (!list || count % 2 != 0)
        return PERMTAB_E_PROTOCOL;
    if (count == 0)
        return 0;
    struct facts_assignment *items =
        grow(facts->assignments, facts->assignment_count, count / 2, sizeof *items);
    if (!items)
        return PERMTAB_E_MEMORY;
    facts->assignments = items;
    for (size_t i = 0; i < count; i += 2) {
        struct facts_assignment *item = &items[facts->assignment_count];
        const struct wire_value *until = wire_item(list, i + 1);
        *item = (struct facts_assignment){.level = level, .expires_at = FACTS_NEVER};
        if (!wire_as_u64(wire_item(list, i), &item->role) ||
            !(wire_is_nil(until) || wire_as_i64(until, &item->expires_at)))
            return PERMTAB_E_PROTOCOL;
        facts->assignment_count++;
    }
    return 0;
}

/* Opens a value: 0 with a message to fini, whose map has this version and which takes the whole of `data`. */
static int open_value(const char *data, size_t size, const char *name, struct wire_message *out)
{
    uint64_t version;
    int code = size <= L2_VALUE_MAX ? wire_take(data, size, out) : PERMTAB_E_PROTOCOL;
    if (code <= 0)
        return PERMTAB_E_PROTOCOL;
    if (out->kind != WIRE_NOTIFICATION || out->size != size || strcmp(out->method, name) != 0 ||
        !wire_as_u64(wire_get(out->params, "v"), &version))
        code = PERMTAB_E_PROTOCOL;
    else
        code = version == L2_VALUE_VERSION ? 0 : PERMTAB_E_LAYOUT;
    if (code < 0)
        wire_message_fini(out);
    return code;
}

int l2_value_take_scope(const char *data, size_t size, uint32_t level, uint32_t bits, struct facts *facts)
{
    struct wire_message message;
    struct facts_scope *scope = &facts->chain[level];
    int code = open_value(data, size, "l2.scope", &message);
    if (code < 0)
        return code;
    const struct wire_value *owner = wire_get(message.params, "owner");
    scope->has_owner = !wire_is_nil(owner);
    if (owner == NULL || (scope->has_owner && !wire_as_u64(owner, &scope->owner)) ||
        !wire_as_bool(wire_get(message.params, "plain"), &scope->plain))
        code = PERMTAB_E_PROTOCOL;
    if (code == 0)
        code = take_defaults(message.params, level, facts);
    if (code == 0)
        code = take_overwrites(message.params, level, bits, OVERWRITE_ROLE, facts);
    wire_message_fini(&message);
    return code;
}

int l2_value_take_rows(const char *data, size_t size, uint32_t level, uint32_t bits, struct facts *facts,
                       uint64_t *cost_us)
{
    struct wire_message message;
    int code = open_value(data, size, "l2.rows", &message);
    if (code < 0)
        return code;
    if (!wire_as_u64(wire_get(message.params, "cost"), cost_us))
        code = PERMTAB_E_PROTOCOL;
    if (code == 0)
        code = take_roles(message.params, level, facts);
    if (code == 0)
        code = take_overwrites(message.params, level, bits, OVERWRITE_USER, facts);
    wire_message_fini(&message);
    return code;
}
