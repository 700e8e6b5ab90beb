/* MessagePack-RPC on the sidecar's socket: packing and taking apart. Pure: bytes in, bytes out; no sockets, no clock.
 * Both sides use it; msgpack.h appears in wire.c alone. docs/PROTOCOL.md lists the methods.
 *
 *     request      [0, id, method, [params]]      params is one map
 *     response     [1, id, error, result]         error is nil or [code, text]
 *     notification [2, method, [params]]
 *
 * Values that L2 keeps in Redis are packed as notifications, too (proxy/l2/value.c): another frame is another format at
 * rest, and takes another L2_FORMAT (proxy/names/l2_keys.h). */
#ifndef PERMTAB_CLIENT_WIRE_WIRE_H
#define PERMTAB_CLIENT_WIRE_WIRE_H

#include "shm/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_PROTOCOL   1u
#define WIRE_FRAME_MAX  (1024u * 1024u)
#define WIRE_DEPTH_MAX  8u
#define WIRE_METHOD_MAX 32u

/* ---- packing ------------------------------------------------------------------------------------------------- */

/* A growing buffer; `failed` sticks when memory was short or WIRE_FRAME_MAX was passed, and packing goes on as
 * no-ops. */
struct wire_buffer {
    char *data;
    size_t size;
    size_t capacity;
    bool failed;
    bool answers; /* a reply or a notification: its texts are made fit to be shown (client/wire/text.h) */
};

void wire_buffer_init(struct wire_buffer *buffer);
void wire_buffer_fini(struct wire_buffer *buffer);
void wire_buffer_clear(struct wire_buffer *buffer); /* keeps the memory */

/* Heads; `fields` key-value pairs of params or result must follow: a wire_put function each, or wire_str for the key
 * and then one value. */
void wire_request(struct wire_buffer *buffer, uint64_t id, const char *method, uint32_t fields);
void wire_reply(struct wire_buffer *buffer, uint64_t id, uint32_t fields);
void wire_reply_error(struct wire_buffer *buffer, uint64_t id, int code,
                      const char *text); /* whole message */
void wire_notify(struct wire_buffer *buffer, const char *method, uint32_t fields);

void wire_map(struct wire_buffer *buffer, uint32_t pairs);
void wire_array(struct wire_buffer *buffer, uint32_t items);
void wire_str(struct wire_buffer *buffer, const char *text);
void wire_strn(struct wire_buffer *buffer, const char *text, size_t size);
void wire_u64(struct wire_buffer *buffer, uint64_t value);
void wire_i64(struct wire_buffer *buffer, int64_t value);
void wire_bool(struct wire_buffer *buffer, bool value);
void wire_nil(struct wire_buffer *buffer);

/* A pair of a map: the key and its value. `items` items must follow wire_put_array. */
void wire_put_str(struct wire_buffer *buffer, const char *key, const char *text);
void wire_put_u64(struct wire_buffer *buffer, const char *key, uint64_t value);
void wire_put_i64(struct wire_buffer *buffer, const char *key, int64_t value);
void wire_put_bool(struct wire_buffer *buffer, const char *key, bool value);
void wire_put_array(struct wire_buffer *buffer, const char *key, uint32_t items);

/* ---- taking apart -------------------------------------------------------------------------------------------- */

enum wire_kind { WIRE_REQUEST = 0, WIRE_RESPONSE = 1, WIRE_NOTIFICATION = 2 };

struct wire_value; /* borrowed from the message; valid until wire_message_fini */

/* The fault of a request that can be answered all the same, because its id is known. */
enum wire_fault { WIRE_FAULTLESS, WIRE_METHOD_NO_TEXT, WIRE_METHOD_TOO_LONG, WIRE_PARAMS_SHAPE };

struct wire_message {
    enum wire_kind kind;
    uint64_t id;
    /* requests and notifications; zero-terminated, "" when it can be none of ours */
    char method[WIRE_METHOD_MAX];
    /* requests and notifications: a map, or NULL when they are anything else */
    const struct wire_value *params;
    enum wire_fault fault;           /* requests */
    int error_code;                  /* responses: 0 when there is none */
    const char *error_text;          /* responses; zero-terminated copy */
    const struct wire_value *result; /* responses: a map, or NULL with an error */
    size_t size;                     /* bytes taken from the input */
    void *zone;                      /* private */
};

/* The state of a scan for the end of one message. It takes no memory and is kept between calls, so that a message
 * that arrives byte by byte costs its bytes and not their square. A session that reads in pieces keeps one beside
 * its buffer: init at the front of a message, `more` after each read with *all* bytes from that front on, wire_take
 * when it says 1. */
struct wire_scan {
    /* bytes of heads seen, and of what follows them; past the end of the data when that is cut short */
    size_t at;
    uint64_t pending; /* elements announced and not seen yet */
    size_t elements;
    uint32_t depth;
    uint32_t left[WIRE_DEPTH_MAX];
};

void wire_scan_init(struct wire_scan *scan);
/* 1: a whole message is there, scan->at bytes long; 0: more bytes are needed; PERMTAB_E_PROTOCOL, PERMTAB_E_LIMIT as
 * wire_take, at the byte that is wrong. Only the shape is judged. */
int wire_scan_more(struct wire_scan *scan, const char *data, size_t size) PERMTAB_MUST_CHECK;

/* Takes one message from the front of `data`. 1: *out is filled (fini it); 0: more bytes are needed;
 * PERMTAB_E_PROTOCOL: not MessagePack-RPC; PERMTAB_E_LIMIT: longer than WIRE_FRAME_MAX, deeper than WIRE_DEPTH_MAX,
 * or more elements than bytes. Never reads past `size`, never allocates more than about 32 times the frame. A
 * request with a known id is taken whatever its method and params are, and so is every notification: `fault`, and
 * NULL params, say what is wrong with them. */
int wire_take(const char *data, size_t size, struct wire_message *out) PERMTAB_MUST_CHECK;
void wire_message_fini(struct wire_message *message);

/* NULL when the map has no such key, or `map` is NULL or no map. */
const struct wire_value *wire_get(const struct wire_value *map, const char *key);
bool wire_is_nil(const struct wire_value *value); /* also true for NULL */
/* These return false when the value is missing, NULL or of another type. Many libraries have one type of number or
 * one of strings, so a floating-point number that is whole and cannot have been rounded (below 2^53; below 2^24
 * when it has 32 bits) is the integer that it says, and binary is text. */
bool wire_as_id(const struct wire_value *value, uint64_t *out); /* u64, or a string of decimal digits */
bool wire_as_u64(const struct wire_value *value, uint64_t *out);
bool wire_as_i64(const struct wire_value *value, int64_t *out);
/* A hint to add to the error when a number was refused: how to send it, or "". */
const char *wire_number_hint(const struct wire_value *value);
bool wire_as_bool(const struct wire_value *value, bool *out);
bool wire_as_str(const struct wire_value *value, const char **out, size_t *size); /* not zero-terminated */
/* Copies the text and adds a zero; false, too, when it does not fit or has a zero inside. */
bool wire_as_text(const struct wire_value *value, char *out, size_t size);
bool wire_as_array(const struct wire_value *value, size_t *count);
const struct wire_value *wire_item(const struct wire_value *array, size_t index);
bool wire_as_map(const struct wire_value *value, size_t *count);
/* Key and value of a map's pair number `index`. */
const struct wire_value *wire_key_at(const struct wire_value *map, size_t index);
const struct wire_value *wire_value_at(const struct wire_value *map, size_t index);

#endif
