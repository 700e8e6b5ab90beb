/* Targets: what can be invalidated, as text and as a value. The same words everywhere: permtabctl, the RPC,
 * messages of pub/sub, the delayed queue, history. Pure.
 *
 *     user:42                 one user, everywhere
 *     user:42@channel:9       one user at one place
 *     role:7                  the sets that hold a role
 *     scope:channel:9         everybody at and below a place
 *     tag:winter-raid         the targets that were tagged so (kept in Redis)
 *     prefix:user:42          every user or scope whose target text begins so: user:42, user:421 …
 *     pattern:user:4?         … matches the glob: * ? [a-c] [^a] \x
 *     all                     the whole table, and L2
 *     poke                    nothing; the store is polled at once */
#ifndef PERMTAB_NAMES_TARGET_H
#define PERMTAB_NAMES_TARGET_H

#include "proxy/names/scope.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum target_kind {
    TARGET_USER,
    TARGET_USER_AT,
    TARGET_ROLE,
    TARGET_SCOPE,
    TARGET_TAG,
    TARGET_PREFIX,
    TARGET_PATTERN,
    TARGET_ALL,
    TARGET_POKE,
};

#define TARGET_WORD_SIZE 96 /* of a tag, a prefix or a pattern, the zero included */
#define TARGET_TEXT_SIZE 128

struct target {
    enum target_kind kind;
    uint64_t id;            /* of the user or the role */
    struct scope_key scope; /* TARGET_SCOPE, TARGET_USER_AT */
    /* TARGET_TAG: letters, digits, . _ - ; TARGET_PREFIX, TARGET_PATTERN: no white space */
    char word[TARGET_WORD_SIZE];
};

/* `size` bytes of text. PERMTAB_E_INVALID; PERMTAB_E_NO_SCOPE_TYPE for a scope of an unknown type. */
int target_parse(const struct scope_types *types, const char *text, size_t size,
                 struct target *out) PERMTAB_MUST_CHECK;
/* Writes at most TARGET_TEXT_SIZE bytes and returns `out`. */
char *target_format(const struct scope_types *types, const struct target *target, char *out);
/* "user", "user@scope", "role" … */
const char *target_kind_name(enum target_kind kind);
/* Whether a TARGET_PREFIX or TARGET_PATTERN means a text such as "user:42" or "scope:channel:9". */
bool target_matches(const struct target *target, const char *text);
/* Glob as in Redis' stringmatchlen: * ? [abc] [a-c] [^a] \x. Bounded: no more than size(pattern) * size(text) steps. */
bool target_glob(const char *pattern, const char *text);

#endif
