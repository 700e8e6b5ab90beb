/* The contents of a message: maps, lists, texts, and numbers in all the forms that libraries send them in. Nothing
 * here is an error: a value of another type is no answer to the question, and the callers decide what to say then. */
#include "client/wire/wire.h"

#include "client/wire/private.h"

#include <string.h>

/* One look at the text of a value serves both kinds of strings. */
_Static_assert(offsetof(msgpack_object, via.str.size) == offsetof(msgpack_object, via.bin.size) &&
                   offsetof(msgpack_object, via.str.ptr) == offsetof(msgpack_object, via.bin.ptr),
               "str and bin lie alike");

/* Doubles hold every whole number below this one and not all above it: there 2^53 + 1 arrives as 2^53. */
#define EXACT_64 9007199254740992.0
#define EXACT_32 16777216.0

static bool is_float(const msgpack_object *object)
{
    return object->type == MSGPACK_OBJECT_FLOAT32 || object->type == MSGPACK_OBJECT_FLOAT64;
}

/* NaN is false, too: no comparison with it is true. */
static bool within_exact(const msgpack_object *object)
{
    double limit = object->type == MSGPACK_OBJECT_FLOAT32 ? EXACT_32 : EXACT_64;
    return object->via.f64 > -limit && object->via.f64 < limit;
}

static bool exact_float(const msgpack_object *object, int64_t *out)
{
    if (!is_float(object) || !within_exact(object))
        return false;
    *out = (int64_t)object->via.f64;
    return (double)*out == object->via.f64;
}

static bool is_kind(const struct wire_value *value, msgpack_object_type type)
{
    return value != NULL && wire_object_of(value)->type == type;
}

const struct wire_value *wire_get(const struct wire_value *map, const char *key)
{
    if (!is_kind(map, MSGPACK_OBJECT_MAP))
        return NULL;
    size_t size = strlen(key);
    const msgpack_object_map *pairs = &wire_object_of(map)->via.map;
    for (uint32_t i = 0; i < pairs->size; i++) {
        const msgpack_object *name = &pairs->ptr[i].key;
        if (wire_is_text(name) && name->via.str.size == size && size > 0 &&
            memcmp(name->via.str.ptr, key, size) == 0)
            return wire_value_of(&pairs->ptr[i].val);
    }
    return NULL;
}

bool wire_is_nil(const struct wire_value *value)
{
    return value == NULL || wire_object_of(value)->type == MSGPACK_OBJECT_NIL;
}

bool wire_as_u64(const struct wire_value *value, uint64_t *out)
{
    int64_t whole;
    if (value != NULL && exact_float(wire_object_of(value), &whole) && whole >= 0) {
        *out = (uint64_t)whole;
        return true;
    }
    if (!is_kind(value, MSGPACK_OBJECT_POSITIVE_INTEGER))
        return false;
    *out = wire_object_of(value)->via.u64;
    return true;
}

bool wire_as_i64(const struct wire_value *value, int64_t *out)
{
    if (is_kind(value, MSGPACK_OBJECT_NEGATIVE_INTEGER)) {
        *out = wire_object_of(value)->via.i64;
        return true;
    }
    if (value != NULL && exact_float(wire_object_of(value), out))
        return true;
    uint64_t positive;
    if (!wire_as_u64(value, &positive) || positive > INT64_MAX)
        return false;
    *out = (int64_t)positive;
    return true;
}

const char *wire_number_hint(const struct wire_value *value)
{
    int64_t whole;
    if (value == NULL || !is_float(wire_object_of(value)) || exact_float(wire_object_of(value), &whole))
        return "";
    if (within_exact(wire_object_of(value)))
        return ", not a fraction";
    return "; this floating-point number may have been rounded: send the digits as text, or a 64-bit integer";
}

bool wire_as_id(const struct wire_value *value, uint64_t *out)
{
    const char *text;
    size_t size;
    uint64_t number = 0;
    if (wire_as_u64(value, out))
        return true;
    if (!wire_as_str(value, &text, &size) || size == 0 || size > 20)
        return false;
    for (size_t i = 0; i < size; i++) {
        if (text[i] < '0' || text[i] > '9' || __builtin_mul_overflow(number, 10u, &number) ||
            __builtin_add_overflow(number, (uint64_t)(text[i] - '0'), &number))
            return false;
    }
    *out = number;
    return true;
}

bool wire_as_bool(const struct wire_value *value, bool *out)
{
    if (!is_kind(value, MSGPACK_OBJECT_BOOLEAN))
        return false;
    *out = wire_object_of(value)->via.boolean;
    return true;
}

bool wire_as_str(const struct wire_value *value, const char **out, size_t *size)
{
    if (value == NULL || !wire_is_text(wire_object_of(value)))
        return false;
    *size = wire_object_of(value)->via.str.size;
    *out = *size > 0 ? wire_object_of(value)->via.str.ptr /* where that of `bin` is, too */
                     : ""; /* msgpack-c leaves the pointer of an empty string NULL */
    return true;
}

bool wire_as_text(const struct wire_value *value, char *out, size_t size)
{
    const char *text;
    size_t length;
    if (!wire_as_str(value, &text, &length) || length >= size)
        return false;
    if (length > 0 && memchr(text, '\0', length) != NULL)
        return false;
    if (length > 0)
        memcpy(out, text, length);
    out[length] = '\0';
    return true;
}

bool wire_as_array(const struct wire_value *value, size_t *count)
{
    if (!is_kind(value, MSGPACK_OBJECT_ARRAY))
        return false;
    *count = wire_object_of(value)->via.array.size;
    return true;
}

const struct wire_value *wire_item(const struct wire_value *array, size_t index)
{
    if (!is_kind(array, MSGPACK_OBJECT_ARRAY) || index >= wire_object_of(array)->via.array.size)
        return NULL;
    return wire_value_of(&wire_object_of(array)->via.array.ptr[index]);
}

bool wire_as_map(const struct wire_value *value, size_t *count)
{
    if (!is_kind(value, MSGPACK_OBJECT_MAP))
        return false;
    *count = wire_object_of(value)->via.map.size;
    return true;
}

const struct wire_value *wire_key_at(const struct wire_value *map, size_t index)
{
    if (!is_kind(map, MSGPACK_OBJECT_MAP) || index >= wire_object_of(map)->via.map.size)
        return NULL;
    return wire_value_of(&wire_object_of(map)->via.map.ptr[index].key);
}

const struct wire_value *wire_value_at(const struct wire_value *map, size_t index)
{
    if (!is_kind(map, MSGPACK_OBJECT_MAP) || index >= wire_object_of(map)->via.map.size)
        return NULL;
    return wire_value_of(&wire_object_of(map)->via.map.ptr[index].val);
}
