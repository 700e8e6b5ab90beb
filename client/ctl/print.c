/* All output of permtabctl goes through the functions of this file: a terminal obeys nothing in it, whatever the
 * names of a policy or a sidecar's sentences hold, and a failed write is seen at the end. Output is escaped always,
 * not for terminals alone: the text of a pipe ends on a terminal, too. */
#include "client/ctl/permtabctl.h"

#include "client/wire/text.h"

#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GROWTH 3 /* U+FFFD for a byte */

void *control_allocate(size_t size)
{
    void *memory = malloc(size);
    if (memory == NULL)
        _exit(control_fail(NULL, CONTROL_UNKNOWN, "out of memory"));
    return memory;
}

void control_say(const char *format, ...)
{
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, again);
    va_end(again);
    size_t size = length < 0 ? 0 : (size_t)length, room = size * GROWTH + 1;
    char *text = control_allocate(size + 1), *clean = control_allocate(room);
    (void)vsnprintf(text, size + 1, format, arguments);
    va_end(arguments);
    (void)fwrite(clean, 1, text_clean_lines(clean, room, text, size), stdout);
    free(clean);
    free(text);
}

/* Jansson escapes characters below U+0020 and passes the rest on. The rest occurs in strings alone, where \u says
 * the same. */
bool control_say_json(const json_t *value, size_t flags)
{
    char *text = value != NULL ? json_dumps(value, flags) : NULL;
    size_t size = text != NULL ? strlen(text) : 0;
    for (size_t at = 0; at < size;) {
        uint32_t character;
        size_t taken = text_next(text + at, size - at, &character);
        if (character < 0x7f || text_is_shown(character))
            (void)fwrite(text + at, 1, taken, stdout);
        else
            (void)fprintf(stdout, "\\u%04x", character == TEXT_NOT_UTF8 ? 0xfffdu : (unsigned)character);
        at += taken;
    }
    (void)fputc('\n', stdout);
    free(text);
    return text != NULL;
}

int control_print_json(const struct control *control, json_t *value, size_t flags)
{
    bool said = control_say_json(value, flags);
    json_decref(value);
    return said ? 0 : control_fail(control, CONTROL_FAILED, "cannot print the answer");
}

json_t *control_json(const struct wire_value *map)
{
    json_t *object = json_object();
    size_t count = 0;
    (void)wire_as_map(map, &count);
    for (size_t i = 0; i < count; i++) {
        char name[64], text[600];
        int64_t number;
        bool flag;
        const struct wire_value *value = wire_value_at(map, i);
        if (!wire_as_text(wire_key_at(map, i), name, sizeof(name)))
            continue;
        if (wire_as_i64(value, &number))
            (void)json_object_set_new(object, name, json_integer((json_int_t)number));
        else if (wire_as_bool(value, &flag))
            (void)json_object_set_new(object, name, json_boolean(flag));
        else if (wire_as_text(value, text, sizeof(text)))
            (void)json_object_set_new(object, name, json_string(text));
    }
    return object;
}

int control_fail(const struct control *control, int code, const char *format, ...)
{
    char text[1024], clean[sizeof(text) * GROWTH];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    (void)text_clean_line(clean, sizeof(clean), text, strlen(text));
    (void)fflush(stdout);
    if (control != NULL && control->command != NULL)
        (void)fprintf(stderr, "permtabctl: %s: %s\n", control->command, clean);
    else
        (void)fprintf(stderr, "permtabctl: %s\n", clean);
    return code;
}

bool control_output_gone(void)
{
    struct pollfd output = {.fd = STDOUT_FILENO};
    return poll(&output, 1, 0) > 0 && (output.revents & (POLLERR | POLLNVAL)) != 0;
}

bool control_output_is_terminal(void)
{
    return isatty(STDOUT_FILENO) == 1;
}

int control_finish(const struct control *control, int code)
{
    bool asks = control->command != NULL && strcmp(control->command, "check") == 0;
    bool failed = ferror(stdout) != 0;
    errno = 0;
    if (fclose(stdout) != 0)
        failed = true;
    if (!failed || (code != 0 && !asks) || code == CONTROL_USAGE)
        return code;
    /* A check returns CONTROL_UNKNOWN: 0 and 1 would be answers, which nobody has seen. */
    return control_fail(control, asks ? CONTROL_UNKNOWN : CONTROL_FAILED, "cannot write the output%s%s",
                        errno != 0 ? ": " : "", errno != 0 ? strerror(errno) : "");
}
