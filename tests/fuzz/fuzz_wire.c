/* libFuzzer's entry for the wire: any bytes, as one message and in pieces. The two looks must agree, and
 * every value of a message that was taken must be readable. */
#include "client/wire/wire.h"
#include "tests/fuzz/fuzz.h"

/* A number is one thing however it is asked for, and whole when it is one. */
static void look_at_number(const struct wire_value *value)
{
    uint64_t u64, id;
    int64_t i64;
    bool is_unsigned = wire_as_u64(value, &u64), is_signed = wire_as_i64(value, &i64);
    if (is_unsigned && (!wire_as_id(value, &id) || id != u64))
        abort();
    if (is_unsigned && is_signed && (uint64_t)i64 != u64)
        abort();
    if (is_unsigned && !is_signed && u64 <= INT64_MAX)
        abort();
    if ((is_unsigned || is_signed) && wire_number_hint(value)[0] != '\0')
        abort();
}

/* A message says what it lacks, and nothing is there that it does not say to be. */
static void look_at_request(const struct wire_message *message)
{
    size_t pairs;
    bool map = wire_as_map(message->params, &pairs);
    if (map != (message->params != NULL) ||
        (message->fault == WIRE_FAULTLESS) != (map && message->method[0] != '\0'))
        abort();
    if (message->fault == WIRE_PARAMS_SHAPE && (map || message->method[0] == '\0'))
        abort();
    if (message->fault != WIRE_FAULTLESS && message->fault != WIRE_PARAMS_SHAPE && message->method[0] != '\0')
        abort();
}

/* Asks a value everything that can be asked, and what is inside it. */
static void walk(const struct wire_value *value, unsigned depth)
{
    bool flag;
    const char *text;
    char copy[16];
    size_t count;
    look_at_number(value);
    (void)wire_as_bool(value, &flag);
    (void)wire_as_text(value, copy, sizeof(copy));
    if (wire_as_str(value, &text, &count) && count > 0 && text[count - 1] == 1)
        (void)wire_get(value, "a");
    if (depth > WIRE_DEPTH_MAX)
        abort();
    if (wire_as_array(value, &count))
        for (size_t i = 0; i < count; i++)
            walk(wire_item(value, i), depth + 1);
    if (wire_as_map(value, &count)) {
        (void)wire_get(value, "user");
        for (size_t i = 0; i < count; i++) {
            walk(wire_key_at(value, i), depth + 1);
            walk(wire_value_at(value, i), depth + 1);
        }
    }
}

static void look(const uint8_t *data, size_t size)
{
    const char *bytes = (const char *)data;
    struct wire_scan scan;
    wire_scan_init(&scan);
    int pieces = 0;
    for (size_t seen = 0; seen <= size && pieces == 0; seen += 1 + seen / 8)
        pieces = wire_scan_more(&scan, bytes, seen);
    if (pieces == 0)
        pieces = wire_scan_more(&scan, bytes, size);
    struct wire_message message;
    int whole = wire_take(bytes, size, &message);
    if (whole != pieces && !(pieces == 1 && (whole == PERMTAB_E_PROTOCOL || whole == PERMTAB_E_MEMORY)))
        abort();
    if (whole == 1) {
        if (message.size != scan.at || message.size > size)
            abort();
        if (message.kind == WIRE_REQUEST)
            look_at_request(&message);
        walk(message.params, 0);
        walk(message.result, 0);
        wire_message_fini(&message);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct cost_limit limit = {
        .steps_fixed = 1000, .steps_each = 40, .bytes_fixed = 1000, .bytes_each = 40};
    cost_begin();
    look(data, size);
    cost_check(size, &limit);
    return 0;
}
