/* A place in a policy document, for errors: "roles[3].allow[1]". It is a chain of steps on the stack, so that it
 * costs nothing until there is an error. */
#ifndef PERMTAB_DOCUMENT_PLACE_H
#define PERMTAB_DOCUMENT_PLACE_H

#include "proxy/base/failure.h"

#include <stddef.h>

/* One step: a key, or when key is NULL an index. The outermost step has no `up`. */
struct policy_place {
    const struct policy_place *up;
    const char *key;
    size_t index;
};

#define POLICY_PLACE_SIZE  160
#define POLICY_QUOTED_SIZE 72

/* Sets "place: message" and returns the code. */
int policy_place_fail(struct failure *failure, int code, const struct policy_place *place, const char *format,
                      ...) __attribute__((format(printf, 4, 5)));
/* Text from outside, fit for one line of an error: cut at 60 bytes, control characters as '?'. Returns `out`. */
const char *policy_quote(char out[POLICY_QUOTED_SIZE], const char *text);

#endif
