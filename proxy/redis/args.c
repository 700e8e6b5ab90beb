/* The arguments of a command: one block of bytes and a list of places in it, so that a command of any length costs two
 * allocations that are used again. */
#include "proxy/redis/args.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_LINE_MAX 23 /* a sign, 20 digits, the end of the line */

void redis_args_init(struct redis_args *args)
{
    memset(args, 0, sizeof *args);
}

void redis_args_fini(struct redis_args *args)
{
    free(args->bytes);
    free(args->items);
    redis_args_init(args);
}

void redis_args_clear(struct redis_args *args)
{
    args->size = 0;
    args->count = 0;
    args->failed = false;
}

/* Room for `more` beyond `used` units of `unit` bytes. */
static bool grow(void **memory, size_t *capacity, size_t used, size_t more, size_t unit)
{
    if (*capacity - used >= more)
        return true;
    size_t wanted = *capacity < 16 ? 16 : *capacity;
    while (wanted - used < more) {
        if (wanted > SIZE_MAX / 2 / unit)
            return false;
        wanted *= 2;
    }
    void *grown = realloc(*memory, wanted * unit);
    if (!grown)
        return false;
    *memory = grown;
    *capacity = wanted;
    return true;
}

/* The place of a new argument of `size` bytes, or NULL. One byte more than that may be written. */
static char *add(struct redis_args *args, size_t size)
{
    void *bytes = args->bytes, *items = args->items;
    bool room = !args->failed && size < SIZE_MAX && grow(&bytes, &args->capacity, args->size, size + 1, 1);
    args->bytes = bytes;
    room = room && grow(&items, &args->item_capacity, args->count, 1, sizeof *args->items);
    args->items = items;
    if (!room) {
        args->failed = true;
        return NULL;
    }
    args->items[args->count++] = (struct redis_arg){.at = args->size, .size = size};
    args->size += size;
    return args->bytes + args->size - size;
}

void redis_args_bytes(struct redis_args *args, const void *data, size_t size)
{
    char *to = add(args, size);
    if (to && size > 0)
        memcpy(to, data, size);
}

void redis_args_text(struct redis_args *args, const char *text)
{
    redis_args_bytes(args, text, strlen(text));
}

void redis_args_u64(struct redis_args *args, uint64_t value)
{
    redis_args_print(args, "%" PRIu64, value);
}

void redis_args_revision(struct redis_args *args, uint64_t revision)
{
    redis_args_print(args, "%020" PRIu64, revision);
}

void redis_args_print(struct redis_args *args, const char *format, ...)
{
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int size = vsnprintf(NULL, 0, format, arguments);
    assert(size >= 0);
    char *to = add(args, (size_t)size);
    if (to)
        (void)vsnprintf(to, (size_t)size + 1, format, again);
    va_end(again);
    va_end(arguments);
}

/* The sign, the number, the end of the line. */
static char *put_number(char *to, char sign, size_t number)
{
    char digits[24];
    size_t count = 0;
    do {
        digits[count++] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    *to++ = sign;
    while (count > 0)
        *to++ = digits[--count];
    *to++ = '\r';
    *to++ = '\n';
    return to;
}

size_t redis_args_wire_max(const struct redis_args *args)
{
    return NUMBER_LINE_MAX + args->size + args->count * (NUMBER_LINE_MAX + 2);
}

size_t redis_args_write(const struct redis_args *args, char *out)
{
    char *to = put_number(out, '*', args->count);
    for (size_t i = 0; i < args->count; i++) {
        to = put_number(to, '$', args->items[i].size);
        memcpy(to, args->bytes + args->items[i].at, args->items[i].size);
        to += args->items[i].size;
        *to++ = '\r';
        *to++ = '\n';
    }
    return (size_t)(to - out);
}
