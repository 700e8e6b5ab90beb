/* Values as msgpack-c has them, for wire.c and value.c alone. */
#ifndef PERMTAB_CLIENT_WIRE_PRIVATE_H
#define PERMTAB_CLIENT_WIRE_PRIVATE_H

#include "client/wire/wire.h"

#include <msgpack.h>

/* struct wire_value is msgpack_object by another name, so that msgpack.h stays here. */
static inline const msgpack_object *wire_object_of(const struct wire_value *value)
{
    return (const msgpack_object *)(const void *)value;
}

static inline const struct wire_value *wire_value_of(const msgpack_object *object)
{
    return (const struct wire_value *)(const void *)object;
}

/* Text and binary: Perl's library sends every string as binary. */
static inline bool wire_is_text(const msgpack_object *object)
{
    return object->type == MSGPACK_OBJECT_STR || object->type == MSGPACK_OBJECT_BIN;
}

#endif
