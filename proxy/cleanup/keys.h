/* Names of Redis' keys, as a clean-up reads them; cleanup.h has the globs that callers give. Pure. */
#ifndef PERMTAB_CLEANUP_KEYS_H
#define PERMTAB_CLEANUP_KEYS_H

#include "proxy/cleanup/cleanup.h"
#include "proxy/names/scope.h"

/* The glob that a scan of this kind matches; CLEANUP_PATTERN has its own. */
void cleanup_glob_of(char out[CLEANUP_PATTERN_SIZE], enum cleanup_kind kind, const char *prefix);

/* The user or the scope that a key's value belongs to. */
struct cleanup_owner {
    bool is_scope;
    uint64_t user;
    struct scope_key scope;
};
/* Reads the owner from the text in the key's braces. False when it is no user and no scope of a type that is known
 * here. */
bool cleanup_owner_parse(const struct scope_types *types, const char *key, size_t size,
                         struct cleanup_owner *out);

/* How many of `total` keys a scan has passed when it returned `cursor` (not 0). Redis counts cursors up in reversed
 * binary, so that the reversed cursor is the share of the table that is behind it, whatever the table's size. */
uint64_t cleanup_keys_passed(uint64_t cursor, uint64_t total);

#endif
