/* The lines of an explanation. Names come from the policy and end on a terminal, so only text in them is passed
 * through. */
#include "proxy/rights/explain_text.h"

#include "client/wire/text.h"
#include "proxy/base/array.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROLE_NAME_SHOWN 64 /* bytes */

void lines_add(struct lines *lines, bool decides, const char *format, ...)
{
    char text[2 * EXPLAIN_LINE_MAX], clean[EXPLAIN_LINE_MAX + 1];
    va_list arguments;
    assert(lines->count < EXPLAIN_LINES_MAX); /* explain.c limits each of its parts */
    if (lines->failed)
        return;
    int number = snprintf(text, sizeof text, "%zu. ", lines->count + 1);
    va_start(arguments, format);
    vsnprintf(text + number, sizeof text - (size_t)number, format, arguments);
    va_end(arguments);
    (void)text_clean_line(clean, sizeof clean, text, strlen(text));
    char **line = array_add(&lines->items, &lines->count, sizeof *line);
    if (line == NULL || (*line = strdup(clean)) == NULL)
        lines->failed = true;
    else if (decides)
        lines->decisive = lines->count - 1;
}

void lines_fini(struct lines *lines)
{
    for (size_t i = 0; i < lines->count; i++)
        free(lines->items[i]);
    free(lines->items);
    memset(lines, 0, sizeof *lines);
}

const char *role_format(uint64_t role, const struct role *definition, char text[ROLE_TEXT_SIZE])
{
    char clean[ROLE_NAME_SHOWN + 1];
    const char *name = definition == NULL ? NULL : definition->name;
    int used = snprintf(text, ROLE_TEXT_SIZE, "%" PRIu64, role);
    if (name == NULL || name[0] == '\0')
        return text;
    (void)text_clean_line(clean, sizeof clean, name, strlen(name));
    snprintf(text + used, ROLE_TEXT_SIZE - (size_t)used, " (%s)", clean);
    return text;
}

#define PATH_ENDS 4u /* roles shown at either end of a long path */

const char *path_format(const struct closure *closure, const struct reached *reached,
                        char text[PATH_TEXT_SIZE])
{
    uint64_t ends[2 * PATH_ENDS]; /* the last roles; behind them the first ones, in turn */
    size_t length = 0, used = 0;
    text[0] = '\0';
    if (reached->from == CLOSURE_HELD)
        return text;
    for (const struct reached *at = reached;; at = &closure->items[at->from]) {
        ends[length < PATH_ENDS ? length : PATH_ENDS + length % PATH_ENDS] = at->role;
        length++;
        if (at->from == CLOSURE_HELD)
            break;
    }
    for (size_t i = length; i-- > 0;) {
        bool first = i == length - 1;
        if (i >= PATH_ENDS && i + PATH_ENDS < length) { /* the middle */
            used +=
                (size_t)snprintf(text + used, PATH_TEXT_SIZE - used, " → … %zu more", length - 2 * PATH_ENDS);
            i = PATH_ENDS;
            continue;
        }
        used +=
            (size_t)snprintf(text + used, PATH_TEXT_SIZE - used, "%s%" PRIu64, first ? ", inherited " : " → ",
                             ends[i < PATH_ENDS ? i : PATH_ENDS + i % PATH_ENDS]);
    }
    return text;
}
