/* Names of keys, all in one place: the parts that sweep, invalidate and write keys must agree on them. */
#include "proxy/names/l2_keys.h"

#include <inttypes.h>
#include <stdio.h>

/* The longest key has two numbers, and the words between them. */
_Static_assert(L2_KEY_SIZE >= KEY_PREFIX_MAX + SCOPE_TEXT_SIZE + 64, "every key must fit");

char *l2_key_marker(char *out, const char *prefix)
{
    (void)snprintf(out, L2_KEY_SIZE, "%sl2:%d:marker", prefix, L2_FORMAT);
    return out;
}

char *l2_key_user(char *out, const char *prefix, uint64_t epoch, uint64_t user)
{
    (void)snprintf(out, L2_KEY_SIZE, "%sl2:%d:%016" PRIx64 ":{user:%" PRIu64 "}", prefix, L2_FORMAT, epoch,
                   user);
    return out;
}

char *l2_key_scope(char *out, const char *prefix, uint64_t epoch, const struct scope_types *types,
                   struct scope_key scope)
{
    char text[SCOPE_TEXT_SIZE];
    (void)snprintf(out, L2_KEY_SIZE, "%sl2:%d:%016" PRIx64 ":{scope:%s}", prefix, L2_FORMAT, epoch,
                   scope_format(types, scope, text));
    return out;
}
