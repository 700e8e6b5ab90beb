/* A failure with its place: filled where it is found, given more context on the way up. Plain text in a fixed
 * buffer, so that reporting "out of memory" needs none. It logs nothing: the function that handles the failure
 * does. */
#include "proxy/base/failure.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int failure_set(struct failure *failure, int code, const char *format, ...)
{
    if (failure == NULL)
        return code;
    failure->code = code;
    va_list arguments;
    va_start(arguments, format);
    if (vsnprintf(failure->text, sizeof failure->text, format, arguments) < 0)
        failure->text[0] = '\0';
    va_end(arguments);
    return code;
}

/* Adds as much of `more` as fits to text, which has `used` bytes. */
static void append(char text[FAILURE_TEXT_SIZE], size_t *used, const char *more)
{
    while (*more != '\0' && *used < FAILURE_TEXT_SIZE - 1)
        text[(*used)++] = *more++;
    text[*used] = '\0';
}

int failure_wrap(struct failure *failure, const char *format, ...)
{
    if (failure == NULL)
        return PERMTAB_E_INVALID; /* there is no code to return; a caller that needs it keeps it */
    char context[FAILURE_TEXT_SIZE];
    va_list arguments;
    va_start(arguments, format);
    if (vsnprintf(context, sizeof context, format, arguments) < 0)
        context[0] = '\0';
    va_end(arguments);

    /* A text that gets too long is cut at its end: the place matters more than the detail. */
    char text[FAILURE_TEXT_SIZE];
    size_t used = 0;
    append(text, &used, context);
    append(text, &used, ": ");
    append(text, &used, failure->text);
    memcpy(failure->text, text, used + 1);
    return failure->code;
}
