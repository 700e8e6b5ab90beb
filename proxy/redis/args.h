/* The arguments of a command, built one after the other. Every argument is copied. `failed` sticks when memory was
 * short; redis_send then answers PERMTAB_E_MEMORY. */
#ifndef PERMTAB_REDIS_ARGS_H
#define PERMTAB_REDIS_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct redis_arg {
    size_t at, size; /* in bytes */
};

struct redis_args {
    char *bytes;
    size_t size, capacity;
    struct redis_arg *items;
    size_t count, item_capacity;
    bool failed;
};

void redis_args_init(struct redis_args *args);
void redis_args_fini(struct redis_args *args);
void redis_args_clear(struct redis_args *args); /* keeps the memory */

void redis_args_text(struct redis_args *args, const char *text);
void redis_args_bytes(struct redis_args *args, const void *data, size_t size);
void redis_args_u64(struct redis_args *args, uint64_t value);
/* As 20 decimal digits: Lua's numbers end at 2^53, and its comparison of texts follows the locale unless they are
 * digits of one length. */
void redis_args_revision(struct redis_args *args, uint64_t revision);
void redis_args_print(struct redis_args *args, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* As a command goes over the wire (RESP): writes at most redis_args_wire_max bytes, and returns how many. */
size_t redis_args_wire_max(const struct redis_args *args);
size_t redis_args_write(const struct redis_args *args, char *out);

#endif
