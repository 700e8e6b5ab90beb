/* Keys to bytes and back. */
#include "proxy/warm/hot_value.h"

#include <string.h>

#define WORDS 4u /* a key */

void hot_value_pack(struct wire_buffer *out, uint64_t store_id, const struct hot_key *keys, size_t count)
{
    wire_notify(out, "hot.keys", 3);
    wire_put_u64(out, "v", HOT_VALUE_VERSION);
    wire_put_u64(out, "store", store_id);
    wire_put_array(out, "keys", (uint32_t)(count * WORDS));
    for (size_t i = 0; i < count; i++) {
        wire_u64(out, keys[i].user);
        wire_u64(out, keys[i].scope.type);
        wire_u64(out, keys[i].scope.id);
        wire_u64(out, keys[i].frequency);
    }
}

static bool take_key(const struct wire_value *list, size_t at, uint32_t types, struct hot_key *out)
{
    uint64_t type, frequency;
    if (!wire_as_u64(wire_item(list, at), &out->user) || !wire_as_u64(wire_item(list, at + 1), &type) ||
        !wire_as_u64(wire_item(list, at + 2), &out->scope.id) || !wire_as_u64(wire_item(list, at + 3), &frequency))
        return false;
    if (type >= types || frequency == 0 || frequency > KEYS_FREQUENCY_MAX)
        return false;
    out->scope.type = (uint32_t)type;
    out->frequency = (uint32_t)frequency;
    return true;
}

static int64_t take_keys(const struct wire_value *map, uint64_t store_id, uint32_t types, struct hot_key *keys)
{
    const struct wire_value *list = wire_get(map, "keys");
    uint64_t version, store;
    size_t words;
    if (!wire_as_u64(wire_get(map, "v"), &version))
        return PERMTAB_E_PROTOCOL;
    if (version != HOT_VALUE_VERSION)
        return PERMTAB_E_LAYOUT;
    if (!wire_as_u64(wire_get(map, "store"), &store) || !wire_as_array(list, &words) || words % WORDS != 0 ||
        words / WORDS > HOT_VALUE_KEYS)
        return PERMTAB_E_PROTOCOL;
    if (store != store_id)
        return PERMTAB_E_CONFLICT;
    for (size_t i = 0; i < words / WORDS; i++)
        if (!take_key(list, i * WORDS, types, &keys[i]))
            return PERMTAB_E_PROTOCOL;
    return (int64_t)(words / WORDS);
}

int64_t hot_value_take(const char *data, size_t size, uint64_t store_id, uint32_t types, struct hot_key *keys)
{
    struct wire_message message;
    int code = size <= HOT_VALUE_MAX ? wire_take(data, size, &message) : PERMTAB_E_PROTOCOL;
    if (code <= 0)
        return code == PERMTAB_E_MEMORY ? code : PERMTAB_E_PROTOCOL;
    bool ours = message.kind == WIRE_NOTIFICATION && message.size == size && strcmp(message.method, "hot.keys") == 0;
    int64_t count = ours ? take_keys(message.params, store_id, types, keys) : PERMTAB_E_PROTOCOL;
    wire_message_fini(&message);
    return count;
}
