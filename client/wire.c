/* MessagePack-RPC messages: packing them and taking them apart. The only file that knows msgpack-c; both the
 * client and the sidecar use it.
 *
 * A message is taken apart in two steps. wire_scan.c finds its end and counts its elements without
 * allocating; then the frame is copied and unpacked into one zone of exactly the size that the count calls
 * for: 24 bytes an element, and an element takes a byte at least, so never more than 25 times the frame. The
 * copy lets values outlive the caller's buffer.
 *
 * Framing is all that is judged here; which methods and keys there are is left to the callers. */
#include "client/wire.h"

#include <msgpack.h>
#include <stdlib.h>
#include <string.h>

/* ---- packing --------------------------------------------------------------------------------------------- */

void wire_buffer_init(struct wire_buffer *buffer)
{
    *buffer = (struct wire_buffer){0};
}

void wire_buffer_fini(struct wire_buffer *buffer)
{
    free(buffer->data);
    wire_buffer_init(buffer);
}

void wire_buffer_clear(struct wire_buffer *buffer)
{
    buffer->size = 0;
    buffer->failed = false;
}

static bool buffer_grow(struct wire_buffer *buffer, size_t needed)
{
    size_t capacity = buffer->capacity > 0 ? buffer->capacity : 256;
    while (capacity < needed)
        capacity *= 2;
    char *data = realloc(buffer->data, capacity);
    if (data == NULL)
        return false;
    buffer->data = data;
    buffer->capacity = capacity;
    return true;
}

/* msgpack-c's callback. */
static int buffer_write(void *context, const char *data, size_t size)
{
    struct wire_buffer *buffer = context;
    if (buffer->failed || size == 0)
        return buffer->failed ? -1 : 0;
    if (size > WIRE_FRAME_MAX - buffer->size ||
        (size > buffer->capacity - buffer->size && !buffer_grow(buffer, buffer->size + size))) {
        buffer->failed = true;
        return -1;
    }
    memcpy(buffer->data + buffer->size, data, size);
    buffer->size += size;
    return 0;
}

static msgpack_packer packer_of(struct wire_buffer *buffer)
{
    msgpack_packer packer;
    msgpack_packer_init(&packer, buffer, buffer_write);
    return packer;
}

void wire_map(struct wire_buffer *buffer, uint32_t pairs)
{
    msgpack_packer packer = packer_of(buffer);
    msgpack_pack_map(&packer, pairs);
}

void wire_array(struct wire_buffer *buffer, uint32_t items)
{
    msgpack_packer packer = packer_of(buffer);
    msgpack_pack_array(&packer, items);
}

void wire_strn(struct wire_buffer *buffer, const char *text, size_t size)
{
    msgpack_packer packer = packer_of(buffer);
    if (size > WIRE_FRAME_MAX) {
        buffer->failed = true;
        return;
    }
    msgpack_pack_str(&packer, size);
    msgpack_pack_str_body(&packer, text, size);
}

void wire_str(struct wire_buffer *buffer, const char *text)
{
    wire_strn(buffer, text, strlen(text));
}

void wire_u64(struct wire_buffer *buffer, uint64_t value)
{
    msgpack_packer packer = packer_of(buffer);
    msgpack_pack_uint64(&packer, value);
}

void wire_i64(struct wire_buffer *buffer, int64_t value)
{
    msgpack_packer packer = packer_of(buffer);
    msgpack_pack_int64(&packer, value);
}

void wire_bool(struct wire_buffer *buffer, bool value)
{
    msgpack_packer packer = packer_of(buffer);
    if (value)
        msgpack_pack_true(&packer);
    else
        msgpack_pack_false(&packer);
}

void wire_nil(struct wire_buffer *buffer)
{
    msgpack_packer packer = packer_of(buffer);
    msgpack_pack_nil(&packer);
}

void wire_request(struct wire_buffer *buffer, uint32_t id, const char *method, uint32_t fields)
{
    wire_array(buffer, 4);
    wire_u64(buffer, WIRE_REQUEST);
    wire_u64(buffer, id);
    wire_str(buffer, method);
    wire_array(buffer, 1);
    wire_map(buffer, fields);
}

void wire_reply(struct wire_buffer *buffer, uint32_t id, uint32_t fields)
{
    wire_array(buffer, 4);
    wire_u64(buffer, WIRE_RESPONSE);
    wire_u64(buffer, id);
    wire_nil(buffer);
    wire_map(buffer, fields);
}

void wire_reply_error(struct wire_buffer *buffer, uint32_t id, int code, const char *text)
{
    wire_array(buffer, 4);
    wire_u64(buffer, WIRE_RESPONSE);
    wire_u64(buffer, id);
    wire_array(buffer, 2);
    wire_i64(buffer, code);
    wire_str(buffer, text);
    wire_nil(buffer);
}

void wire_notify(struct wire_buffer *buffer, const char *method, uint32_t fields)
{
    wire_array(buffer, 3);
    wire_u64(buffer, WIRE_NOTIFICATION);
    wire_str(buffer, method);
    wire_array(buffer, 1);
    wire_map(buffer, fields);
}

/* ---- taking apart ---------------------------------------------------------------------------------------- */

/* What wire_message.zone points to. */
struct held {
    msgpack_zone zone;
    char frame[]; /* strings point in here */
};

/* struct wire_value is msgpack_object by another name, so that msgpack.h stays in this file. */
static const msgpack_object *object_of(const struct wire_value *value)
{
    return (const msgpack_object *)(const void *)value;
}

static const struct wire_value *value_of(const msgpack_object *object)
{
    return (const struct wire_value *)(const void *)object;
}

/* What `[]` as params stands for. */
static const msgpack_object empty_map = {.type = MSGPACK_OBJECT_MAP};

static void held_free(struct held *held)
{
    if (held == NULL)
        return;
    msgpack_zone_destroy(&held->zone);
    free(held);
}

static int held_new(struct held **out, const char *frame, const struct wire_scan *scan, msgpack_object *root)
{
    struct held *held = malloc(sizeof(*held) + scan->at);
    if (held == NULL)
        return PERMTAB_E_MEMORY;
    memcpy(held->frame, frame, scan->at);
    /* Every element but the root lies in an array of its parent's; 64 bytes for alignment and for rounding.
     */
    if (!msgpack_zone_init(&held->zone, scan->elements * sizeof(msgpack_object) + 64)) {
        free(held);
        return PERMTAB_E_MEMORY;
    }
    size_t offset = 0;
    msgpack_unpack_return result = msgpack_unpack(held->frame, scan->at, &offset, &held->zone, root);
    if (result != MSGPACK_UNPACK_SUCCESS) {
        held_free(held);
        return result == MSGPACK_UNPACK_NOMEM_ERROR ? PERMTAB_E_MEMORY : PERMTAB_E_PROTOCOL;
    }
    *out = held;
    return 0;
}

static bool take_u32(const msgpack_object *object, uint32_t *out)
{
    uint64_t value;
    if (!wire_as_u64(value_of(object), &value) || value > UINT32_MAX)
        return false;
    *out = (uint32_t)value;
    return true;
}

static bool take_method(const msgpack_object *object, struct wire_message *out)
{
    return wire_as_text(value_of(object), out->method, sizeof(out->method)) && out->method[0] != '\0';
}

static bool take_params(const msgpack_object *object, struct wire_message *out)
{
    if (object->type != MSGPACK_OBJECT_ARRAY || object->via.array.size > 1)
        return false;
    const msgpack_object *map = object->via.array.size == 1 ? object->via.array.ptr : &empty_map;
    out->params = value_of(map);
    return map->type == MSGPACK_OBJECT_MAP;
}

/* [code, text]. The text gets its zero in our own copy of the frame, on the byte after it: that one is the
 * head of `result`, which has been taken apart already. */
static bool take_error(const msgpack_object *object, struct wire_message *out)
{
    int64_t code;
    if (object->type != MSGPACK_OBJECT_ARRAY || object->via.array.size != 2)
        return false;
    const msgpack_object *text = &object->via.array.ptr[1];
    if (!wire_as_i64(value_of(&object->via.array.ptr[0]), &code) || code >= 0 || code < INT32_MIN ||
        text->type != MSGPACK_OBJECT_STR)
        return false;
    out->error_code = (int)code;
    out->error_text = "";
    if (text->via.str.size > 0) {
        struct held *held = out->zone;
        char *start = held->frame + (text->via.str.ptr - held->frame);
        start[text->via.str.size] = '\0';
        out->error_text = start;
    }
    return true;
}

static bool take_response(const msgpack_object *items, struct wire_message *out)
{
    if (items[2].type != MSGPACK_OBJECT_NIL)
        return items[3].type == MSGPACK_OBJECT_NIL && take_error(&items[2], out);
    out->result = value_of(&items[3]);
    return items[3].type == MSGPACK_OBJECT_MAP;
}

static bool take_root(const msgpack_object *root, struct wire_message *out)
{
    uint32_t kind;
    const msgpack_object *items = root->via.array.ptr;
    if (root->type != MSGPACK_OBJECT_ARRAY || root->via.array.size < 3 || !take_u32(&items[0], &kind))
        return false;
    out->kind = (enum wire_kind)kind;
    if (root->via.array.size == 3)
        return kind == WIRE_NOTIFICATION && take_method(&items[1], out) && take_params(&items[2], out);
    if (root->via.array.size != 4 || !take_u32(&items[1], &out->id))
        return false;
    if (kind == WIRE_REQUEST)
        return take_method(&items[2], out) && take_params(&items[3], out);
    return kind == WIRE_RESPONSE && take_response(items, out);
}

int wire_take(const char *data, size_t size, struct wire_message *out)
{
    struct wire_scan scan;
    *out = (struct wire_message){0};
    wire_scan_init(&scan);
    int result = wire_scan_more(&scan, data, size);
    if (result <= 0)
        return result;
    struct held *held;
    msgpack_object root;
    result = held_new(&held, data, &scan, &root);
    if (result < 0)
        return result;
    out->zone = held;
    out->size = scan.at;
    if (!take_root(&root, out)) {
        wire_message_fini(out);
        return PERMTAB_E_PROTOCOL;
    }
    return 1;
}

void wire_message_fini(struct wire_message *message)
{
    held_free(message->zone);
    *message = (struct wire_message){0};
}

/* ---- values ---------------------------------------------------------------------------------------------- */

static bool is_kind(const struct wire_value *value, msgpack_object_type type)
{
    return value != NULL && object_of(value)->type == type;
}

const struct wire_value *wire_get(const struct wire_value *map, const char *key)
{
    if (!is_kind(map, MSGPACK_OBJECT_MAP))
        return NULL;
    size_t size = strlen(key);
    const msgpack_object_map *pairs = &object_of(map)->via.map;
    for (uint32_t i = 0; i < pairs->size; i++) {
        const msgpack_object *name = &pairs->ptr[i].key;
        if (name->type == MSGPACK_OBJECT_STR && name->via.str.size == size && size > 0 &&
            memcmp(name->via.str.ptr, key, size) == 0)
            return value_of(&pairs->ptr[i].val);
    }
    return NULL;
}

bool wire_is_nil(const struct wire_value *value)
{
    return value == NULL || object_of(value)->type == MSGPACK_OBJECT_NIL;
}

bool wire_as_u64(const struct wire_value *value, uint64_t *out)
{
    if (!is_kind(value, MSGPACK_OBJECT_POSITIVE_INTEGER))
        return false;
    *out = object_of(value)->via.u64;
    return true;
}

bool wire_as_i64(const struct wire_value *value, int64_t *out)
{
    if (is_kind(value, MSGPACK_OBJECT_NEGATIVE_INTEGER)) {
        *out = object_of(value)->via.i64;
        return true;
    }
    uint64_t positive;
    if (!wire_as_u64(value, &positive) || positive > INT64_MAX)
        return false;
    *out = (int64_t)positive;
    return true;
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
    *out = object_of(value)->via.boolean;
    return true;
}

bool wire_as_str(const struct wire_value *value, const char **out, size_t *size)
{
    if (!is_kind(value, MSGPACK_OBJECT_STR))
        return false;
    *size = object_of(value)->via.str.size;
    *out = *size > 0 ? object_of(value)->via.str.ptr
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
    *count = object_of(value)->via.array.size;
    return true;
}

const struct wire_value *wire_item(const struct wire_value *array, size_t index)
{
    if (!is_kind(array, MSGPACK_OBJECT_ARRAY) || index >= object_of(array)->via.array.size)
        return NULL;
    return value_of(&object_of(array)->via.array.ptr[index]);
}

bool wire_as_map(const struct wire_value *value, size_t *count)
{
    if (!is_kind(value, MSGPACK_OBJECT_MAP))
        return false;
    *count = object_of(value)->via.map.size;
    return true;
}

const struct wire_value *wire_key_at(const struct wire_value *map, size_t index)
{
    if (!is_kind(map, MSGPACK_OBJECT_MAP) || index >= object_of(map)->via.map.size)
        return NULL;
    return value_of(&object_of(map)->via.map.ptr[index].key);
}

const struct wire_value *wire_value_at(const struct wire_value *map, size_t index)
{
    if (!is_kind(map, MSGPACK_OBJECT_MAP) || index >= object_of(map)->via.map.size)
        return NULL;
    return value_of(&object_of(map)->via.map.ptr[index].val);
}
