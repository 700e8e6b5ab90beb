/* A reply of Redis as read by hiredis, without its header: only the files of redis/ include hiredis.h. */
#ifndef PERMTAB_REDIS_REPLY_H
#define PERMTAB_REDIS_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct redis_reply; /* borrowed from the connection for a callback */

enum redis_kind { REDIS_NIL, REDIS_TEXT, REDIS_INTEGER, REDIS_ARRAY, REDIS_REFUSAL };

/* The kind of a reply; NULL counts as nil. REDIS_TEXT: bulk and status replies; REDIS_REFUSAL: an error, with its
 * text. */
enum redis_kind redis_reply_kind(const struct redis_reply *reply);
/* Bytes of a text or a refusal, zero-terminated, possibly with zeros inside; NULL and 0 for anything else. `size`
 * may be NULL. */
const char *redis_reply_text(const struct redis_reply *reply, size_t *size);
/* False when it is neither an integer nor a text of decimal digits within int64. */
bool redis_reply_i64(const struct redis_reply *reply, int64_t *out);
/* False when it is not a text of decimal digits within uint64, nor an integer >= 0. */
bool redis_reply_u64(const struct redis_reply *reply, uint64_t *out);
size_t redis_reply_count(const struct redis_reply *reply); /* 0 when it is no array */
/* NULL when there is no such element. */
const struct redis_reply *redis_reply_at(const struct redis_reply *reply, size_t index);

#endif
