/* Whether two targets are the same; only tests compare them. */
#ifndef PERMTAB_TESTS_SUPPORT_TARGET_EQUAL_H
#define PERMTAB_TESTS_SUPPORT_TARGET_EQUAL_H

#include "proxy/names/target.h"

#include <string.h>

static inline bool target_equal(const struct target *a, const struct target *b)
{
    if (a->kind != b->kind)
        return false;
    switch (a->kind) {
    case TARGET_USER:
    case TARGET_ROLE:
        return a->id == b->id;
    case TARGET_USER_AT:
        return a->id == b->id && scope_equal(a->scope, b->scope);
    case TARGET_SCOPE:
        return scope_equal(a->scope, b->scope);
    case TARGET_TAG:
    case TARGET_PREFIX:
    case TARGET_PATTERN:
        return strcmp(a->word, b->word) == 0;
    case TARGET_ALL:
    case TARGET_POKE:
        return true;
    }
    return false;
}

#endif
