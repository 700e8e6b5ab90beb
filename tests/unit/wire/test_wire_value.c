/* client/wire/value.c: numbers and texts as other libraries send them, and what is neither. */
#include "client/wire/wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define BYTES(text) text, sizeof(text) - 1

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* One value, as a request's parameter "k"; its bytes. */
static const struct wire_value *param_of(struct wire_message *message, const char *bytes, size_t size)
{
    static char frame[256];
    static const char head[] = "\x94\x00\x01\xa1x\x91\x81\xa1k";
    memcpy(frame, head, sizeof(head) - 1);
    memcpy(frame + sizeof(head) - 1, bytes, size);
    assert_int_equal(wire_take(frame, sizeof(head) - 1 + size, message), 1);
    return wire_get(message->params, "k");
}

static const struct {
    const char *name;
    const char *bytes;
    size_t size;
    bool unsigned_good, signed_good;
    uint64_t value; /* as two's complement */
    const char *hint;
} numbers[] = {
    {"float64 0", BYTES("\xcb\0\0\0\0\0\0\0\0"), true, true, 0, ""},
    {"float64 -0", BYTES("\xcb\x80\0\0\0\0\0\0\0"), true, true, 0, ""},
    {"float64 42", BYTES("\xcb\x40\x45\0\0\0\0\0\0"), true, true, 42, ""},
    {"float64 -42", BYTES("\xcb\xc0\x45\0\0\0\0\0\0"), false, true, (uint64_t)-42, ""},
    {"float64 2^32", BYTES("\xcb\x41\xf0\0\0\0\0\0\0"), true, true, 1ull << 32, ""},
    {"float64 2^53 - 1", BYTES("\xcb\x43\x3f\xff\xff\xff\xff\xff\xff"), true, true, (1ull << 53) - 1, ""},
    {"float64 1 - 2^53", BYTES("\xcb\xc3\x3f\xff\xff\xff\xff\xff\xff"), false, true, -((1ull << 53) - 1), ""},
    {"float64 2^53", BYTES("\xcb\x43\x40\0\0\0\0\0\0"), false, false, 0, "rounded"},
    {"float64 -2^53", BYTES("\xcb\xc3\x40\0\0\0\0\0\0"), false, false, 0, "rounded"},
    {"float64 2^64", BYTES("\xcb\x43\xf0\0\0\0\0\0\0"), false, false, 0, "rounded"},
    {"float64 1.5", BYTES("\xcb\x3f\xf8\0\0\0\0\0\0"), false, false, 0, "fraction"},
    {"float64 2^-1074", BYTES("\xcb\0\0\0\0\0\0\0\x01"), false, false, 0, "fraction"},
    {"float64 infinity", BYTES("\xcb\x7f\xf0\0\0\0\0\0\0"), false, false, 0, "rounded"},
    {"float64 minus infinity", BYTES("\xcb\xff\xf0\0\0\0\0\0\0"), false, false, 0, "rounded"},
    {"float64 no number", BYTES("\xcb\x7f\xf8\0\0\0\0\0\0"), false, false, 0, "rounded"},
    {"float32 42", BYTES("\xca\x42\x28\0\0"), true, true, 42, ""},
    {"float32 2^24 - 1", BYTES("\xca\x4b\x7f\xff\xff"), true, true, (1u << 24) - 1, ""},
    {"float32 2^24", BYTES("\xca\x4b\x80\0\0"), false, false, 0, "rounded"},
    {"float32 0.5", BYTES("\xca\x3f\0\0\0"), false, false, 0, "fraction"},
    {"the largest integer", BYTES("\xcf\xff\xff\xff\xff\xff\xff\xff\xff"), true, false, UINT64_MAX, ""},
    {"int64 2^53 + 1", BYTES("\xd3\x00\x20\0\0\0\0\0\x01"), true, true, (1ull << 53) + 1, ""},
    {"int64 -1", BYTES("\xd3\xff\xff\xff\xff\xff\xff\xff\xff"), false, true, UINT64_MAX, ""},
    {"true", BYTES("\xc3"), false, false, 0, ""},
    {"nil", BYTES("\xc0"), false, false, 0, ""},
};

static void test_numbers(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        struct wire_message message;
        const struct wire_value *value = param_of(&message, numbers[i].bytes, numbers[i].size);
        uint64_t u64 = 0, id = 0;
        int64_t i64 = 0;
        const char *hint = wire_number_hint(value);
        if (wire_as_u64(value, &u64) != numbers[i].unsigned_good ||
            wire_as_id(value, &id) != numbers[i].unsigned_good ||
            wire_as_i64(value, &i64) != numbers[i].signed_good ||
            (numbers[i].unsigned_good && (u64 != numbers[i].value || id != numbers[i].value)) ||
            (numbers[i].signed_good && (uint64_t)i64 != numbers[i].value))
            fail_msg("%s", numbers[i].name);
        if (numbers[i].hint[0] == '\0' ? hint[0] != '\0' : strstr(hint, numbers[i].hint) == NULL)
            fail_msg("%s: the hint is \"%s\"", numbers[i].name, hint);
        wire_message_fini(&message);
    }
    assert_string_equal(wire_number_hint(NULL), "");
}

/* None of 100,000 doubles around the bound, whatever the library made them of, is taken for a neighbour. */
static void test_floats_are_exact(void **state)
{
    (void)state;
    uint64_t seed = 88172645463325252ull;
    for (int round = 0; round < 100000; round++) {
        uint64_t sent = (1ull << 53) - 50000 + next_random(&seed) % 100000;
        double rounded = (double)sent;
        uint64_t bits, taken = 0;
        char bytes[9] = {(char)0xcb};
        struct wire_message message;
        memcpy(&bits, &rounded, sizeof(bits));
        for (size_t i = 0; i < 8; i++)
            bytes[1 + i] = (char)(bits >> (56 - 8 * i));
        bool good = wire_as_id(param_of(&message, bytes, sizeof(bytes)), &taken);
        assert_true(good == (sent < 1ull << 53));
        assert_true(!good || taken == sent);
        wire_message_fini(&message);
    }
}

/* A whole request with all strings as binary, keys included, as Perl's Data::MessagePack packs it. */
static void test_binary_is_text(void **state)
{
    (void)state;
    static const char bytes[] = "\x94\x00\x01\xc4\x05"
                                "check\x91\x83\xc4\x04"
                                "user\xc4\x02"
                                "42\xc4\x05"
                                "scope\xc4\x06"
                                "global\xc4\x00\xc4\x00";
    struct wire_message message;
    uint64_t id = 0;
    char text[16];
    size_t size = 1;
    const char *raw = NULL;
    assert_int_equal(wire_take(bytes, sizeof(bytes) - 1, &message), 1);
    assert_string_equal(message.method, "check");
    assert_true(wire_as_id(wire_get(message.params, "user"), &id));
    assert_int_equal(id, 42);
    assert_true(wire_as_text(wire_get(message.params, "scope"), text, sizeof(text)));
    assert_string_equal(text, "global");
    assert_true(wire_as_str(wire_value_at(message.params, 2), &raw, &size));
    assert_non_null(raw);
    assert_int_equal(size, 0);
    assert_null(wire_get(message.params, ""));
    assert_null(wire_get(message.params, "scop"));
    wire_message_fini(&message);
}

static void test_ids(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool good;
        uint64_t value;
    } ids[] = {
        {"0", true, 0},
        {"42", true, 42},
        {"18446744073709551615", true, UINT64_MAX},
        {"18446744073709551616", false, 0},
        {"99999999999999999999", false, 0},
        {"000000000000000000001", false, 0},
        {"", false, 0},
        {"-1", false, 0},
        {"+1", false, 0},
        {" 1", false, 0},
        {"1 ", false, 0},
        {"0x1", false, 0},
        {"1.0", false, 0},
    };
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        struct wire_buffer buffer;
        struct wire_message message;
        uint64_t value = 0;
        wire_buffer_init(&buffer);
        wire_notify(&buffer, "m", 1);
        wire_str(&buffer, "id");
        wire_str(&buffer, ids[i].text);
        assert_int_equal(wire_take(buffer.data, buffer.size, &message), 1);
        if (wire_as_id(wire_get(message.params, "id"), &value) != ids[i].good || value != ids[i].value)
            fail_msg("id \"%s\"", ids[i].text);
        wire_message_fini(&message);
        wire_buffer_fini(&buffer);
    }
}

/* Every question about a value of every wrong kind is answered with false. */
static void test_wrong_kinds(void **state)
{
    (void)state;
    static const char bytes[] = "\x93\x02\xa1m\x91\x88\xa1"
                                "a\xff\xa1"
                                "b\xa2x\0\xa1"
                                "c\xd4\x01x\xa1"
                                "d\xcb\x3f\xf8\0\0\0\0\0\0\xa1"
                                "e\xd6\xff\0\0\0\0\xa1"
                                "f\xcf\xff\xff\xff\xff\xff\xff\xff\xff\xa1"
                                "g\x90\xa1"
                                "h\x80";
    struct wire_message message;
    assert_int_equal(wire_take(bytes, sizeof(bytes) - 1, &message), 1);
    uint64_t u64;
    int64_t i64;
    bool flag;
    char text[8];
    size_t count;
    for (const char *name = "abcdefgh"; *name != '\0'; name++) {
        const char key[2] = {*name, '\0'};
        const struct wire_value *value = wire_get(message.params, key);
        assert_non_null(value);
        assert_true(wire_as_u64(value, &u64) == (*name == 'f'));
        assert_true(wire_as_i64(value, &i64) == (*name == 'a')); /* f is too large for it */
        assert_false(wire_as_bool(value, &flag));
        assert_false(wire_as_text(value, text, sizeof(text))); /* b has a zero inside */
        assert_true(wire_as_array(value, &count) == (*name == 'g'));
        assert_true(wire_as_map(value, &count) == (*name == 'h'));
        assert_null(wire_item(value, 0));
        assert_null(wire_get(value, "x"));
        assert_false(wire_is_nil(value));
    }
    wire_message_fini(&message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),        cmocka_unit_test(test_floats_are_exact),
        cmocka_unit_test(test_binary_is_text), cmocka_unit_test(test_ids),
        cmocka_unit_test(test_wrong_kinds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
