/* RESP2: arrays of bulk strings are what a subscription is made of; the other kinds are skipped by their line. */
#include "tests/e2e/proxy/resp.h"

#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 4
#define BULK_MAX  (64l * 1024 * 1024)

/* The line that begins at `bytes`, its end included; 0: not whole yet. */
static size_t line_size(const char *bytes, size_t size)
{
    const char *end = memchr(bytes, '\n', size);
    return end ? (size_t)(end - bytes) + 1 : 0;
}

/* The number of a head such as "$12\r\n"; false when it is none. */
static bool head_number(const char *bytes, size_t line, long *out)
{
    char text[24];
    char *end;
    if (line < 4 || line - 3 >= sizeof text || bytes[line - 2] != '\r')
        return false;
    memcpy(text, bytes + 1, line - 3);
    text[line - 3] = 0;
    *out = strtol(text, &end, 10);
    return *end == 0;
}

static ssize_t value_size(const char *bytes, size_t size, unsigned depth)
{
    long number;
    size_t at = line_size(bytes, size);
    if (size > 0 && !strchr("*$:+-", bytes[0]))
        return -1;
    if (at == 0 || bytes[0] == '+' || bytes[0] == '-' || bytes[0] == ':')
        return (ssize_t)at;
    if (!head_number(bytes, at, &number) || number < -1 || number > BULK_MAX || depth == DEPTH_MAX)
        return -1;
    if (bytes[0] == '$') {
        size_t whole = number < 0 ? at : at + (size_t)number + 2;
        return size < whole ? 0 : (ssize_t)whole;
    }
    for (long i = 0; i < number; i++) {
        ssize_t element = value_size(bytes + at, size - at, depth + 1);
        if (element <= 0)
            return element;
        at += (size_t)element;
    }
    return (ssize_t)at;
}

ssize_t resp_size(const char *bytes, size_t size)
{
    return value_size(bytes, size, 0);
}

bool resp_message(const char *bytes, size_t size, size_t *payload, size_t *length)
{
    static const char begin[] = "*3\r\n$7\r\nmessage\r\n";
    size_t at = sizeof begin - 1;
    long number;
    if (size < at || memcmp(bytes, begin, at) != 0)
        return false;
    ssize_t channel = resp_size(bytes + at, size - at);
    if (channel <= 0)
        return false;
    at += (size_t)channel;
    size_t line = line_size(bytes + at, size - at);
    if (line == 0 || bytes[at] != '$' || !head_number(bytes + at, line, &number) || number < 0)
        return false;
    *payload = at + line;
    *length = (size_t)number;
    return *payload + *length + 2 <= size;
}
