/* Places in a document, as text. Only errors use this file, so it is not made to be fast. */
#include "proxy/document/place.h"

#include "proxy/base/printable.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void place_append(const struct policy_place *place, char *out, size_t size)
{
    size_t used;
    if (place == NULL)
        return;
    place_append(place->up, out, size);
    used = strlen(out);
    if (place->key == NULL)
        snprintf(out + used, size - used, "[%zu]", place->index);
    else
        snprintf(out + used, size - used, "%s%s", used > 0 ? "." : "", place->key);
}

int policy_place_fail(struct failure *failure, int code, const struct policy_place *place, const char *format,
                      ...)
{
    char where[POLICY_PLACE_SIZE] = "";
    char what[FAILURE_TEXT_SIZE - POLICY_PLACE_SIZE - 2];
    va_list arguments;
    va_start(arguments, format);
    if (vsnprintf(what, sizeof what, format, arguments) < 0)
        what[0] = '\0';
    va_end(arguments);
    place_append(place, where, sizeof where);
    if (where[0] == '\0')
        return failure_set(failure, code, "%s", what);
    return failure_set(failure, code, "%s: %s", where, what);
}

const char *policy_quote(char out[POLICY_QUOTED_SIZE], const char *text)
{
    size_t length = (size_t)snprintf(out, POLICY_QUOTED_SIZE, "%.60s", text);
    printable_line(out);
    if (text[length] == '\0')
        return out;
    while (length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80)
        length--; /* do not cut a character in two */
    memcpy(out + length, "...", 4);
    return out;
}
