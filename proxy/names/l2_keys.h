/* The names of L2's keys. Pure.
 *
 *     PREFIXl2:1:marker                    hash: what L2 is true at (l2/l2.h)
 *     PREFIXl2:1:EPOCH:{user:42}           hash: one user's rows, a field a scope
 *     PREFIXl2:1:EPOCH:{scope:channel:9}   hash: what a scope has of its own
 *     PREFIXl2:1:lock:42:channel:9         who is reading that from the store just now; the scripts make it
 *
 * The 1 is the format of the values: another format has other keys, so releases can share a Redis. EPOCH is 16
 * hexadecimal digits; a flush makes another, and the keys of the old one are swept away later. The text in braces
 * is the one that target_matches looks at. */
#ifndef PERMTAB_NAMES_L2_KEYS_H
#define PERMTAB_NAMES_L2_KEYS_H

#include "proxy/names/scope.h"

#include <stddef.h>
#include <stdint.h>

#define L2_FORMAT      1
#define KEY_PREFIX_MAX 64  /* of redis_prefix, so that every key fits */
#define L2_KEY_SIZE    256 /* the zero included */

/* Each function writes into `out`, of L2_KEY_SIZE, and returns it. */
char *l2_key_marker(char *out, const char *prefix);
char *l2_key_user(char *out, const char *prefix, uint64_t epoch, uint64_t user);
char *l2_key_scope(char *out, const char *prefix, uint64_t epoch, const struct scope_types *types,
                   struct scope_key scope);

#endif
