/* Hot keys as bytes, for Redis: names of what is worth reading, and nothing else. Anybody may have written them. Pure.
 * MessagePack in the frame of a notification of client/wire/wire.h, whose reader is bounded and made for hostile bytes:
 *
 *     [2, "hot.keys", [{v: 1, store: u64, keys: [user, scope type, scope id, frequency, …]}]] */
#ifndef PERMTAB_WARM_HOT_VALUE_H
#define PERMTAB_WARM_HOT_VALUE_H

#include "client/wire/wire.h"
#include "proxy/keys/keys.h"

#define HOT_VALUE_VERSION 1u
#define HOT_VALUE_KEYS    4096u   /* at most in one value */
#define HOT_VALUE_MAX     131072u /* bytes */

/* Appends a value of `count` keys, at most HOT_VALUE_KEYS. `out` fails like any wire_buffer. */
void hot_value_pack(struct wire_buffer *out, uint64_t store_id, const struct hot_key *keys, size_t count);
/* Reads a value into `keys`, of HOT_VALUE_KEYS, and returns how many there are. Scope types are below `types`, and
 * frequencies within their bounds. PERMTAB_E_PROTOCOL: not such a value, or a larger one; one key that is not
 * understood spoils it. PERMTAB_E_LAYOUT: of another version. PERMTAB_E_CONFLICT: of another store.
 * PERMTAB_E_MEMORY. */
int64_t hot_value_take(const char *data, size_t size, uint64_t store_id, uint32_t types,
                       struct hot_key *keys) PERMTAB_MUST_CHECK;

#endif
