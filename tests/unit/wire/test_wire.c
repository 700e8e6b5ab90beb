/* client/wire/wire.c and client/wire/scan.c, with test_wire_value.c for what is inside a message: what is packed comes
 * back; what is cut, mutated or a lie costs one code and little memory. */
#include "client/wire/wire.h"

#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* A request with one of everything. */
static void pack_sample(struct wire_buffer *buffer)
{
    wire_request(buffer, 4000000000u, "check_many", 7);
    wire_str(buffer, "user");
    wire_u64(buffer, UINT64_MAX);
    wire_str(buffer, "owner");
    wire_str(buffer, "18446744073709551615");
    wire_str(buffer, "when");
    wire_i64(buffer, INT64_MIN);
    wire_str(buffer, "dry_run");
    wire_bool(buffer, true);
    wire_str(buffer, "nothing");
    wire_nil(buffer);
    wire_str(buffer, "queries");
    wire_array(buffer, 20);
    for (uint64_t i = 0; i < 20; i++) {
        wire_array(buffer, 2);
        wire_u64(buffer, i * 1000);
        wire_str(buffer, "a text that is longer than thirty-one bytes, so str8");
    }
    wire_str(buffer, "map");
    wire_map(buffer, 1);
    wire_u64(buffer, 5);
    wire_bool(buffer, false);
    assert_false(buffer->failed);
}

static void test_round_trip(void **state)
{
    (void)state;
    struct wire_buffer buffer;
    wire_buffer_init(&buffer);
    pack_sample(&buffer);
    size_t one = buffer.size;
    pack_sample(&buffer); /* a second one behind it must stay untouched */
    struct wire_message message;
    assert_int_equal(wire_take(buffer.data, buffer.size, &message), 1);
    assert_int_equal(message.size, one);
    memset(buffer.data, 0xc1, buffer.size); /* values do not point into the caller's bytes */
    assert_int_equal(message.kind, WIRE_REQUEST);
    assert_int_equal(message.id, 4000000000u);
    assert_string_equal(message.method, "check_many");
    uint64_t number = 0;
    int64_t when = 0;
    bool flag = false;
    char text[64];
    size_t count = 0;
    assert_true(wire_as_u64(wire_get(message.params, "user"), &number));
    assert_true(number == UINT64_MAX);
    number = 0;
    assert_true(wire_as_id(wire_get(message.params, "owner"), &number));
    assert_true(number == UINT64_MAX);
    assert_true(wire_as_i64(wire_get(message.params, "when"), &when));
    assert_true(when == INT64_MIN);
    assert_true(wire_as_bool(wire_get(message.params, "dry_run"), &flag));
    assert_true(flag);
    assert_true(wire_is_nil(wire_get(message.params, "nothing")));
    assert_true(wire_is_nil(wire_get(message.params, "absent")));
    const struct wire_value *queries = wire_get(message.params, "queries");
    assert_true(wire_as_array(queries, &count));
    assert_int_equal(count, 20);
    assert_true(wire_as_u64(wire_item(wire_item(queries, 19), 0), &number));
    assert_int_equal(number, 19000);
    assert_true(wire_as_text(wire_item(wire_item(queries, 19), 1), text, sizeof(text)));
    assert_string_equal(text, "a text that is longer than thirty-one bytes, so str8");
    assert_null(wire_item(queries, 20));
    const struct wire_value *map = wire_get(message.params, "map");
    assert_true(wire_as_map(map, &count));
    assert_int_equal(count, 1);
    assert_true(wire_as_u64(wire_key_at(map, 0), &number));
    assert_int_equal(number, 5);
    assert_true(wire_as_bool(wire_value_at(map, 0), &flag));
    assert_false(flag);
    assert_null(wire_key_at(map, 1));
    wire_message_fini(&message);
    wire_buffer_fini(&buffer);
}

static void test_replies(void **state)
{
    (void)state;
    struct wire_buffer buffer;
    struct wire_message message;
    wire_buffer_init(&buffer);
    wire_reply(&buffer, 7, 1);
    wire_str(&buffer, "decision");
    wire_i64(&buffer, -1);
    assert_int_equal(wire_take(buffer.data, buffer.size, &message), 1);
    int64_t decision = 0;
    assert_int_equal(message.kind, WIRE_RESPONSE);
    assert_int_equal(message.error_code, 0);
    assert_true(wire_as_i64(wire_get(message.result, "decision"), &decision));
    assert_int_equal(decision, -1);
    wire_message_fini(&message);

    wire_buffer_clear(&buffer);
    wire_reply_error(&buffer, 8, PERMTAB_E_NO_PERMISSION, "no such permission: x");
    assert_int_equal(wire_take(buffer.data, buffer.size, &message), 1);
    assert_int_equal(message.id, 8);
    assert_int_equal(message.error_code, PERMTAB_E_NO_PERMISSION);
    assert_string_equal(message.error_text, "no such permission: x");
    assert_null(message.result);
    wire_message_fini(&message);

    wire_buffer_clear(&buffer);
    wire_notify(&buffer, "retired", 0);
    assert_int_equal(wire_take(buffer.data, buffer.size, &message), 1);
    assert_int_equal(message.kind, WIRE_NOTIFICATION);
    assert_string_equal(message.method, "retired");
    wire_message_fini(&message);
    wire_buffer_fini(&buffer);
}

static int take_bytes(const char *bytes, size_t size)
{
    /* A block of exactly this size, so that AddressSanitizer sees a byte too far. */
    char *copy = malloc(size > 0 ? size : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, size);
    struct wire_message message;
    int result = wire_take(copy, size, &message);
    if (result == 1)
        wire_message_fini(&message);
    free(copy);
    return result;
}

static void test_every_truncation(void **state)
{
    (void)state;
    struct wire_buffer buffer;
    wire_buffer_init(&buffer);
    pack_sample(&buffer);
    struct wire_scan scan;
    wire_scan_init(&scan);
    for (size_t size = 0; size < buffer.size; size++) {
        assert_int_equal(take_bytes(buffer.data, size), 0);
        assert_int_equal(wire_scan_more(&scan, buffer.data, size), 0);
    }
    assert_int_equal(take_bytes(buffer.data, buffer.size), 1);
    assert_int_equal(wire_scan_more(&scan, buffer.data, buffer.size), 1);
    assert_int_equal(scan.at, buffer.size);
    wire_buffer_fini(&buffer);
}

struct shape {
    const char *name;
    const char *bytes;
    size_t size;
    int expected;
};
#define BYTES(text) text, sizeof(text) - 1

static const struct shape shapes[] = {
    {"nothing", BYTES(""), 0},
    {"an HTTP request", BYTES("GET / HTTP/1.1\r\n\r\n"), PERMTAB_E_PROTOCOL},
    {"zeroes", BYTES("\0\0\0\0"), PERMTAB_E_PROTOCOL},
    {"the byte that is never used", BYTES("\xc1"), PERMTAB_E_PROTOCOL},
    {"a map", BYTES("\x81\x01\x02"), PERMTAB_E_PROTOCOL},
    {"a map with four elements", BYTES("\x82\x00\x01\xa1x\x90"), PERMTAB_E_PROTOCOL},
    {"an array of two", BYTES("\x92\x00\x01"), PERMTAB_E_PROTOCOL},
    {"an array of five", BYTES("\x95\x00\x01\x01\x01\x01"), PERMTAB_E_PROTOCOL},
    {"an empty array", BYTES("\x90"), PERMTAB_E_PROTOCOL},
    {"array32 of four thousand million", BYTES("\xdd\xff\xff\xff\xff"), PERMTAB_E_PROTOCOL},
    {"request, params a lying array32", BYTES("\x94\x00\x01\xa1x\xdd\xff\xff\xff\xff"), PERMTAB_E_LIMIT},
    {"request, params a lying map32", BYTES("\x94\x00\x01\xa1x\x91\xdf\xff\xff\xff\xff"), PERMTAB_E_LIMIT},
    {"request, method of 4 GiB", BYTES("\x94\x00\x01\xdb\xff\xff\xff\xff"), PERMTAB_E_LIMIT},
    {"request, method of 1 MiB", BYTES("\x94\x00\x01\xdb\x00\x10\x00\x00"), PERMTAB_E_LIMIT},
    {"request, method of 65535, cut", BYTES("\x94\x00\x01\xda\xff\xff"), 0},
    {"request, bin of 4 GiB", BYTES("\x94\x00\x01\xc6\xff\xff\xff\xff"), PERMTAB_E_LIMIT},
    {"request, ext of 4 GiB", BYTES("\x94\x00\x01\xc9\xff\xff\xff\xff\x01"), PERMTAB_E_LIMIT},
    {"request without params", BYTES("\x94\x00\x01\xa1x\x90"), 1},
    {"request", BYTES("\x94\x00\x01\xa1x\x91\x80"), 1},
    {"request, array16 and map32 heads", BYTES("\xdc\x00\x04\x00\x01\xa1x\x91\xdf\x00\x00\x00\x00"), 1},
    {"request with an ext value", BYTES("\x94\x00\x01\xa1x\x91\x81\xa1k\xd4\x01\x02"), 1},
    {"request with an id that is text", BYTES("\x94\x00\xa1x\xa1x\x91\x80"), PERMTAB_E_PROTOCOL},
    {"request with nil as id", BYTES("\x94\x00\xc0\xa1x\x91\x80"), PERMTAB_E_PROTOCOL},
    {"request with an id that may have been rounded",
     BYTES("\x94\x00\xcb\x43\x40\x00\x00\x00\x00\x00\x00\xa1x\x91\x80"), PERMTAB_E_PROTOCOL},
    {"request with a negative id", BYTES("\x94\x00\xff\xa1x\x91\x80"), PERMTAB_E_PROTOCOL},
    {"kind 3", BYTES("\x94\x03\x01\xa1x\x91\x80"), PERMTAB_E_PROTOCOL},
    {"kind 2 with four elements", BYTES("\x94\x02\x01\xa1x\x91\x80"), PERMTAB_E_PROTOCOL},
    {"kind 0 with three elements and no id", BYTES("\x93\x00\xa1x\x91\x80"), PERMTAB_E_PROTOCOL},
    {"kind 2^32", BYTES("\x94\xcf\x00\x00\x00\x01\x00\x00\x00\x00\x01\xa1x\x91\x80"), PERMTAB_E_PROTOCOL},
    {"notification", BYTES("\x93\x02\xa1x\x91\x80"), 1},
    {"response with neither", BYTES("\x94\x01\x01\xc0\xc0"), PERMTAB_E_PROTOCOL},
    {"response with both", BYTES("\x94\x01\x01\x92\xff\xa1x\x80"), PERMTAB_E_PROTOCOL},
    {"response with a positive error", BYTES("\x94\x01\x01\x92\x05\xa1x\xc0"), PERMTAB_E_PROTOCOL},
    {"response with a bare text as error", BYTES("\x94\x01\x01\xa1x\xc0"), PERMTAB_E_PROTOCOL},
    {"response with an error", BYTES("\x94\x01\x01\x92\xff\xa0\xc0"), 1},
    {"eight deep", BYTES("\x94\x00\x01\xa1x\x91\x81\xa1k\x91\x91\x91\x91\x91\x05"), 1},
    {"nine deep", BYTES("\x94\x00\x01\xa1x\x91\x81\xa1k\x91\x91\x91\x91\x91\x91\x05"), PERMTAB_E_LIMIT},
    {"nine deep, the ninth empty", BYTES("\x94\x00\x01\xa1x\x91\x81\xa1k\x91\x91\x91\x91\x91\x90"),
     PERMTAB_E_LIMIT},
};

static void test_shapes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        int result = take_bytes(shapes[i].bytes, shapes[i].size);
        if (result != shapes[i].expected)
            fail_msg("%s: %d instead of %d", shapes[i].name, result, shapes[i].expected);
    }
}

/* Requests that are taken although something about them is not as it should be: they have an id to be answered by. */
static const struct {
    const char *name;
    const char *bytes;
    size_t size;
    uint64_t id;
    enum wire_fault fault;
    const char *method;
} faults[] = {
    {"as it should be", BYTES("\x94\x00\x07\xa1x\x91\x80"), 7, WIRE_FAULTLESS, "x"},
    {"without params", BYTES("\x94\x00\x07\xa1x\x90"), 7, WIRE_FAULTLESS, "x"},
    {"an id of 2^32", BYTES("\x94\x00\xcf\x00\x00\x00\x01\x00\x00\x00\x00\xa1x\x91\x80"), 1ull << 32,
     WIRE_FAULTLESS, "x"},
    {"the largest id", BYTES("\x94\x00\xcf\xff\xff\xff\xff\xff\xff\xff\xff\xa1x\x91\x80"), UINT64_MAX,
     WIRE_FAULTLESS, "x"},
    {"an id of 2^32 as float64", BYTES("\x94\x00\xcb\x41\xf0\x00\x00\x00\x00\x00\x00\xa1x\x91\x80"),
     1ull << 32, WIRE_FAULTLESS, "x"},
    {"a kind as float64", BYTES("\x94\xcb\0\0\0\0\0\0\0\0\x07\xa1x\x91\x80"), 7, WIRE_FAULTLESS, "x"},
    {"a method as binary",
     BYTES("\x94\x00\x07\xc4\x05"
           "check\x91\x80"),
     7, WIRE_FAULTLESS, "check"},
    {"a method of 31",
     BYTES("\x94\x00\x07\xbf"
           "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\x91\x80"),
     7, WIRE_FAULTLESS, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"},
    {"a method of 32",
     BYTES("\x94\x00\x07\xd9\x20"
           "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\x91\x80"),
     7, WIRE_METHOD_TOO_LONG, ""},
    {"a binary method of 32",
     BYTES("\x94\x00\x07\xc4\x20"
           "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\x91\x80"),
     7, WIRE_METHOD_TOO_LONG, ""},
    {"no method", BYTES("\x94\x00\x07\xa0\x91\x80"), 7, WIRE_METHOD_NO_TEXT, ""},
    {"a zero in the method", BYTES("\x94\x00\x07\xa2x\0\x91\x80"), 7, WIRE_METHOD_NO_TEXT, ""},
    {"a number as method", BYTES("\x94\x00\x07\x05\x91\x80"), 7, WIRE_METHOD_NO_TEXT, ""},
    {"nil as method", BYTES("\x94\x00\x07\xc0\x91\x80"), 7, WIRE_METHOD_NO_TEXT, ""},
    {"a map as method", BYTES("\x94\x00\x07\x80\x91\x80"), 7, WIRE_METHOD_NO_TEXT, ""},
    {"an extension as method", BYTES("\x94\x00\x07\xd4\x01x\x91\x80"), 7, WIRE_METHOD_NO_TEXT, ""},
    {"params a map and not an array", BYTES("\x94\x00\x07\xa1x\x80"), 7, WIRE_PARAMS_SHAPE, "x"},
    {"params nil", BYTES("\x94\x00\x07\xa1x\xc0"), 7, WIRE_PARAMS_SHAPE, "x"},
    {"params text", BYTES("\x94\x00\x07\xa1x\xa1y"), 7, WIRE_PARAMS_SHAPE, "x"},
    {"params two maps", BYTES("\x94\x00\x07\xa1x\x92\x80\x80"), 7, WIRE_PARAMS_SHAPE, "x"},
    {"a number", BYTES("\x94\x00\x07\xa1x\x91\x05"), 7, WIRE_PARAMS_SHAPE, "x"},
    {"positional", BYTES("\x94\x00\x07\xa1x\x93\x05\xa1y\xa1z"), 7, WIRE_PARAMS_SHAPE, "x"},
    {"a list in the list", BYTES("\x94\x00\x07\xa1x\x91\x90"), 7, WIRE_PARAMS_SHAPE, "x"},
    {"nil in the list", BYTES("\x94\x00\x07\xa1x\x91\xc0"), 7, WIRE_PARAMS_SHAPE, "x"},
    {"no params at all", BYTES("\x93\x00\x07\xa1x"), 7, WIRE_PARAMS_SHAPE, "x"},
    {"both", BYTES("\x94\x00\x07\x05\x05"), 7, WIRE_METHOD_NO_TEXT, ""},
};

static void test_faults(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        struct wire_message message;
        if (wire_take(faults[i].bytes, faults[i].size, &message) != 1 || message.size != faults[i].size ||
            message.kind != WIRE_REQUEST || message.id != faults[i].id || message.fault != faults[i].fault ||
            strcmp(message.method, faults[i].method) != 0 ||
            (message.params == NULL) !=
                (message.fault == WIRE_PARAMS_SHAPE || i + 1 == sizeof(faults) / sizeof(faults[0])))
            fail_msg("%s", faults[i].name);
        assert_null(message.fault == WIRE_FAULTLESS ? NULL : wire_get(message.params, "x"));
        wire_message_fini(&message);
    }
}

/* Nobody waits for an answer to a notification, so nothing about one is wrong. */
static void test_any_notification(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
    } notifications[] = {
        {BYTES("\x93\x02\xa1x\x91\x07")},
        {BYTES("\x93\x02\xa1x\x90")},
        {BYTES("\x93\x02\xa1x\x92\x80\x80")},
        {BYTES("\x93\x02\xa1x\x80")},
        {BYTES("\x93\x02\xc0\xc0")},
        {BYTES("\x93\x02\x05\xa1y")},
        {BYTES("\x93\x02\xc4\x01x\x91\x80")},
        {BYTES("\x93\x02\xd9\x20"
               "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\x91\x80")},
    };
    for (size_t i = 0; i < sizeof(notifications) / sizeof(notifications[0]); i++) {
        struct wire_message message;
        assert_int_equal(wire_take(notifications[i].bytes, notifications[i].size, &message), 1);
        assert_int_equal(message.kind, WIRE_NOTIFICATION);
        assert_int_equal(message.size, notifications[i].size);
        wire_message_fini(&message);
    }
}

static void test_depth_bomb(void **state)
{
    (void)state;
    static char bomb[WIRE_FRAME_MAX];
    memset(bomb, 0x91, sizeof(bomb));
    bomb[0] = (char)0x94;
    assert_int_equal(take_bytes(bomb, sizeof(bomb)), PERMTAB_E_LIMIT);
    memset(bomb + 1, 0x94, sizeof(bomb) - 1);
    assert_int_equal(take_bytes(bomb, sizeof(bomb)), PERMTAB_E_LIMIT);
}

/* The largest frames there can be are taken; one byte more is not. */
static void test_frame_limit(void **state)
{
    (void)state;
    static char frame[WIRE_FRAME_MAX + 16];
    static const char head[] = "\x94\x00\x01\xa1x\x91\x81\xa1k\xc6";
    for (size_t extra = 0; extra < 2; extra++) {
        size_t body = WIRE_FRAME_MAX - (sizeof(head) - 1) - 4 + extra;
        memcpy(frame, head, sizeof(head) - 1);
        for (size_t i = 0; i < 4; i++)
            frame[sizeof(head) - 1 + i] = (char)(body >> (24 - 8 * i));
        assert_int_equal(take_bytes(frame, WIRE_FRAME_MAX + extra), extra == 0 ? 1 : PERMTAB_E_LIMIT);
    }
}

/* A frame full of one-byte elements is the worst case for memory. */
static void test_memory_bound(void **state)
{
    (void)state;
    static char frame[WIRE_FRAME_MAX];
    static const char head[] = "\x94\x00\x01\xa1x\x91\x81\xa1k\xdd";
    uint32_t items = (uint32_t)(sizeof(frame) - (sizeof(head) - 1) - 4);
    memcpy(frame, head, sizeof(head) - 1);
    for (size_t i = 0; i < 4; i++)
        frame[sizeof(head) - 1 + i] = (char)(items >> (24 - 8 * i));
    struct mallinfo2 before = mallinfo2();
    struct wire_message message;
    assert_int_equal(wire_take(frame, sizeof(frame), &message), 1);
    struct mallinfo2 after = mallinfo2();
    size_t took = after.uordblks + after.hblkhd - before.uordblks - before.hblkhd;
    assert_true(took <= 32 * sizeof(frame)); /* 0 under AddressSanitizer, which replaces malloc */
    size_t count = 0;
    assert_true(wire_as_array(wire_get(message.params, "k"), &count));
    assert_int_equal(count, items);
    wire_message_fini(&message);
}

/* A changed byte, whatever it makes of the sample, gives one code and no memory error, and a scan that got its
 * bytes one by one comes to the same end. */
static void test_mutations(void **state)
{
    (void)state;
    uint64_t seed = 88172645463325252ull;
    struct wire_buffer buffer;
    wire_buffer_init(&buffer);
    pack_sample(&buffer);
    char *copy = malloc(buffer.size);
    assert_non_null(copy);
    for (int round = 0; round < 20000; round++) {
        memcpy(copy, buffer.data, buffer.size);
        uint64_t changes = 1 + next_random(&seed) % 4;
        for (uint64_t i = 0; i < changes; i++)
            copy[next_random(&seed) % (round % 2 == 0 ? 24 : buffer.size)] = (char)next_random(&seed);
        int whole = take_bytes(copy, buffer.size);
        assert_true(whole == 1 || whole == 0 || whole == PERMTAB_E_PROTOCOL || whole == PERMTAB_E_LIMIT);
        struct wire_scan scan;
        wire_scan_init(&scan);
        int piece = 0;
        for (size_t size = 0; size <= buffer.size && piece == 0; size++)
            piece = wire_scan_more(&scan, copy, size);
        assert_true(piece == whole || (piece == 1 && whole == PERMTAB_E_PROTOCOL));
    }
    free(copy);
    wire_buffer_fini(&buffer);
}

/* Byte by byte through a frame of a million elements: quadratic cost would take hours. */
static void test_pieces_cost_their_bytes(void **state)
{
    (void)state;
    static char frame[WIRE_FRAME_MAX];
    static const char head[] = "\x94\x00\x01\xa1x\x91\x81\xa1k\xdd\x00\x0f\xff\xf2";
    memcpy(frame, head, sizeof(head) - 1);
    struct wire_scan scan;
    wire_scan_init(&scan);
    for (size_t size = 0; size < sizeof(frame); size++)
        assert_int_equal(wire_scan_more(&scan, frame, size), 0);
    assert_int_equal(wire_scan_more(&scan, frame, sizeof(frame)), 1);
}

/* A buffer that grew too long says so once and for all, and the next clear heals it. */
static void test_buffer_limit(void **state)
{
    (void)state;
    struct wire_buffer buffer;
    wire_buffer_init(&buffer);
    while (!buffer.failed && buffer.size <= WIRE_FRAME_MAX)
        wire_str(&buffer, "sixty-four bytes of text, sixty-four bytes of text, sixty-four..");
    assert_true(buffer.failed);
    assert_true(buffer.size <= WIRE_FRAME_MAX);
    wire_u64(&buffer, 1);
    assert_true(buffer.failed);
    wire_buffer_clear(&buffer);
    wire_u64(&buffer, 1);
    assert_false(buffer.failed);
    assert_int_equal(buffer.size, 1);
    wire_buffer_fini(&buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_replies),
        cmocka_unit_test(test_every_truncation),
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_any_notification),
        cmocka_unit_test(test_depth_bomb),
        cmocka_unit_test(test_frame_limit),
        cmocka_unit_test(test_memory_bound),
        cmocka_unit_test(test_mutations),
        cmocka_unit_test(test_pieces_cost_their_bytes),
        cmocka_unit_test(test_buffer_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
