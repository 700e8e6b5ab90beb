/* MessagePack-RPC messages: packing them and taking them apart. With value.c the only file that knows msgpack-c;
 * both the client and the sidecar use it.
 *
 * A message is taken apart in two steps. scan.c finds its end and counts its elements without
 * allocating; then the frame is copied and unpacked into one zone of exactly the size that the count calls
 * for: 24 bytes an element, and an element takes a byte at least, so never more than 25 times the frame. The
 * copy lets values outlive the caller's buffer.
 *
 * Framing is all that is judged here; the callers know the methods and keys. They also answer a request whose
 * method or params have another form, because it has an id. */
#include "client/wire/wire.h"

#include "client/wire/private.h"
#include "client/wire/text.h"

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
    buffer->failed = buffer->answers = false;
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

static void pack_text(struct wire_buffer *buffer, const char *text, size_t size)
{
    msgpack_packer packer = packer_of(buffer);
    msgpack_pack_str(&packer, size);
    msgpack_pack_str_body(&packer, text, size);
}

/* The text of an answer is one line of UTF-8 that no terminal obeys, whatever a store, a server or another client
 * has put into it, because many a decoder gives the whole answer up otherwise. Requests go as they are, to be
 * refused as they are. */
static void pack_clean(struct wire_buffer *buffer, const char *text, size_t size)
{
    size_t room = size * (sizeof TEXT_REPLACEMENT - 1) + 1;
    char *clean = malloc(room);
    if (clean == NULL) {
        buffer->failed = true;
        return;
    }
    pack_text(buffer, clean, text_clean_line(clean, room, text, size));
    free(clean);
}

void wire_strn(struct wire_buffer *buffer, const char *text, size_t size)
{
    char trouble[TEXT_TROUBLE_SIZE];
    if (size > WIRE_FRAME_MAX)
        buffer->failed = true;
    else if (buffer->answers && !text_is_clean(text, size, false, trouble))
        pack_clean(buffer, text, size);
    else
        pack_text(buffer, text, size);
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

void wire_put_str(struct wire_buffer *buffer, const char *key, const char *text)
{
    wire_str(buffer, key);
    wire_str(buffer, text);
}

void wire_put_u64(struct wire_buffer *buffer, const char *key, uint64_t value)
{
    wire_str(buffer, key);
    wire_u64(buffer, value);
}

void wire_put_i64(struct wire_buffer *buffer, const char *key, int64_t value)
{
    wire_str(buffer, key);
    wire_i64(buffer, value);
}

void wire_put_bool(struct wire_buffer *buffer, const char *key, bool value)
{
    wire_str(buffer, key);
    wire_bool(buffer, value);
}

void wire_put_array(struct wire_buffer *buffer, const char *key, uint32_t items)
{
    wire_str(buffer, key);
    wire_array(buffer, items);
}

void wire_request(struct wire_buffer *buffer, uint64_t id, const char *method, uint32_t fields)
{
    wire_array(buffer, 4);
    wire_u64(buffer, WIRE_REQUEST);
    wire_u64(buffer, id);
    wire_str(buffer, method);
    wire_array(buffer, 1);
    wire_map(buffer, fields);
}

void wire_reply(struct wire_buffer *buffer, uint64_t id, uint32_t fields)
{
    buffer->answers = true;
    wire_array(buffer, 4);
    wire_u64(buffer, WIRE_RESPONSE);
    wire_u64(buffer, id);
    wire_nil(buffer);
    wire_map(buffer, fields);
}

void wire_reply_error(struct wire_buffer *buffer, uint64_t id, int code, const char *text)
{
    buffer->answers = true;
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
    buffer->answers = true;
    wire_array(buffer, 3);
    wire_u64(buffer, WIRE_NOTIFICATION);
    wire_str(buffer, method);
    wire_array(buffer, 1);
    wire_map(buffer, fields);
}

/* ---- taking apart ---------------------------------------------------------------------------------------- */

/* The object that wire_message.zone points to. */
struct held {
    msgpack_zone zone;
    char frame[]; /* strings point in here */
};

/* The params that `[]` stands for. */
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

/* A method name that is too long, or has a zero inside, can be none of ours, and is no reason to hang up. */
static enum wire_fault take_method(const msgpack_object *object, struct wire_message *out)
{
    if (wire_as_text(wire_value_of(object), out->method, sizeof(out->method)) && out->method[0] != '\0')
        return WIRE_FAULTLESS;
    bool too_long = wire_is_text(object) && object->via.str.size >= sizeof(out->method);
    out->method[0] = '\0';
    return too_long ? WIRE_METHOD_TOO_LONG : WIRE_METHOD_NO_TEXT;
}

static enum wire_fault take_params(const msgpack_object *object, struct wire_message *out)
{
    if (object->type != MSGPACK_OBJECT_ARRAY || object->via.array.size > 1)
        return WIRE_PARAMS_SHAPE;
    const msgpack_object *map = object->via.array.size == 1 ? object->via.array.ptr : &empty_map;
    if (map->type != MSGPACK_OBJECT_MAP)
        return WIRE_PARAMS_SHAPE;
    out->params = wire_value_of(map);
    return WIRE_FAULTLESS;
}

/* `params` NULL: they are missing. */
static void take_call(const msgpack_object *method, const msgpack_object *params, struct wire_message *out)
{
    enum wire_fault of_method = take_method(method, out);
    enum wire_fault of_params = params != NULL ? take_params(params, out) : WIRE_PARAMS_SHAPE;
    out->fault = of_method != WIRE_FAULTLESS ? of_method : of_params;
}

/* [code, text]. The text gets its zero in our own copy of the frame, on the byte behind it, which is the head of
 * `result` and has been taken apart already. */
static bool take_error(const msgpack_object *object, struct wire_message *out)
{
    int64_t code;
    if (object->type != MSGPACK_OBJECT_ARRAY || object->via.array.size != 2)
        return false;
    const msgpack_object *text = &object->via.array.ptr[1];
    if (!wire_as_i64(wire_value_of(&object->via.array.ptr[0]), &code) || code >= 0 || code < INT32_MIN ||
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
    out->result = wire_value_of(&items[3]);
    return items[3].type == MSGPACK_OBJECT_MAP;
}

static bool take_root(const msgpack_object *root, struct wire_message *out)
{
    uint64_t kind;
    const msgpack_object *items = root->via.array.ptr;
    if (root->type != MSGPACK_OBJECT_ARRAY || root->via.array.size < 3 ||
        !wire_as_u64(wire_value_of(&items[0]), &kind) || kind > WIRE_NOTIFICATION)
        return false;
    bool whole = root->via.array.size == 4;
    out->kind = (enum wire_kind)kind;
    if (kind == WIRE_NOTIFICATION) {
        take_call(&items[1], &items[2], out);
        return !whole;
    }
    if (root->via.array.size > 4 || !wire_as_u64(wire_value_of(&items[1]), &out->id))
        return false;
    if (kind == WIRE_RESPONSE)
        return whole && take_response(items, out);
    take_call(&items[2], whole ? &items[3] : NULL, out);
    return true;
}

int wire_take(const char *data, size_t size, struct wire_message *out)
{
    struct wire_scan scan;
    *out = (struct wire_message){0};
    wire_scan_init(&scan);
    int code = wire_scan_more(&scan, data, size);
    if (code <= 0)
        return code;
    struct held *held;
    msgpack_object root;
    code = held_new(&held, data, &scan, &root);
    if (code < 0)
        return code;
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
