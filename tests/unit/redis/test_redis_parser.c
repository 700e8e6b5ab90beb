/* Replies out of bytes: what a server says is read as it was meant in whatever pieces it comes, and what no server
 * should say is an end, never a crash. */
#include "proxy/redis/parser.h"

#include "tests/support/random.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LIMIT (1024 * 1024)

/* A reply as text, to compare. */
static size_t print(const struct redis_reply *reply, char *out, size_t size)
{
    static const char signs[] = {[REDIS_NIL] = '_',
                                 [REDIS_TEXT] = '"',
                                 [REDIS_INTEGER] = ':',
                                 [REDIS_ARRAY] = '[',
                                 [REDIS_REFUSAL] = '!'};
    enum redis_kind kind = redis_reply_kind(reply);
    size_t used = 0, length;
    int64_t number;
    const char *text = redis_reply_text(reply, &length);
    out[used++] = signs[kind];
    if (text) {
        assert_int_equal(text[length], 0);
        memcpy(out + used, text, length);
        used += length;
    } else if (kind == REDIS_INTEGER && redis_reply_i64(reply, &number)) {
        used += (size_t)snprintf(out + used, size - used, "%" PRId64, number);
    }
    for (size_t i = 0; i < redis_reply_count(reply); i++)
        used += print(redis_reply_at(reply, i), out + used, size - used);
    if (kind == REDIS_ARRAY)
        out[used++] = ']';
    out[used] = 0;
    return used;
}

/* Feeds `bytes` in pieces of `piece`; prints every reply and appends ';'. The code of the end. */
static int parse(const char *bytes, size_t size, size_t piece, char *out, size_t out_size)
{
    struct redis_parser *parser = redis_parser_new(LIMIT);
    struct redis_reply *reply;
    size_t used = 0;
    int code = 0;
    out[0] = 0;
    for (size_t at = 0; at < size && code >= 0; at += piece) {
        code = redis_parser_feed(parser, bytes + at, size - at < piece ? size - at : piece);
        while (code >= 0 && (code = redis_parser_next(parser, &reply)) > 0) {
            used += print(reply, out + used, out_size - used);
            out[used++] = ';', out[used] = 0;
            redis_reply_free(reply);
        }
    }
    if (code < 0)
        assert_int_not_equal(strlen(redis_parser_trouble(parser)), 0);
    redis_parser_free(parser);
    return code;
}

static void test_reads_every_kind_in_every_piece(void **state)
{
    static const char bytes[] = "+OK\r\n-ERR no\r\n:-12\r\n$5\r\na\r\nbc\r\n$0\r\n\r\n$-1\r\n*-1\r\n*0\r\n"
                                "*3\r\n:1\r\n*2\r\n$1\r\nx\r\n$-1\r\n-E\r\n:9223372036854775807\r\n";
    static const char wanted[] = "\"OK;!ERR no;:-12;\"a\r\nbc;\";_;_;[];[:1[\"x_]!E];:9223372036854775807;";
    char out[512];
    (void)state;
    for (size_t piece = 1; piece < sizeof bytes; piece++) {
        assert_int_equal(parse(bytes, sizeof bytes - 1, piece, out, sizeof out), 0);
        assert_string_equal(out, wanted);
    }
}

static void test_refuses_what_is_no_reply(void **state)
{
    static const char *const cases[] = {
        "GET x\r\n",
        "HTTP/1.1 200 OK\r\n",
        "\r\n",
        ":x\r\n",
        ":\r\n",
        "$x\r\n",
        "$-2\r\n",
        "*-2\r\n",
        "*x\r\n",
        ":9223372036854775808\r\n",
        "$9223372036854775808\r\n",
        "*2147483648\r\n",
        /* RESP3, which hiredis reads from 1.0 on and nobody asked for. */
        "%1\r\n+a\r\n+b\r\n",
        ">2\r\n",
        ">0\r\n",
        "~1\r\n:1\r\n",
        "|1\r\n+a\r\n+b\r\n",
        "_\r\n",
        "#t\r\n",
        ",1.5\r\n",
        "(12345678901234567890\r\n",
        "=7\r\ntxt:abc\r\n",
        "*1\r\n#f\r\n",
        "*1\r\n,1.5\r\n",
        "*1\r\n_\r\n",
        /* Eight deep. */
        "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
        "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
    };
    char out[512];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int code = parse(cases[i], strlen(cases[i]), 1, out, sizeof out);
        if (code != PERMTAB_E_PROTOCOL && code != PERMTAB_E_LIMIT)
            fail_msg("%s: %d", cases[i], code);
        assert_string_equal(out, "");
    }
}

static void test_seven_deep_is_read(void **state)
{
    static const char bytes[] = "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n";
    char out[64];
    (void)state;
    assert_int_equal(parse(bytes, sizeof bytes - 1, sizeof bytes, out, sizeof out), 0);
    assert_string_equal(out, "[[[[[[[:1]]]]]]];");
}

static void test_a_reply_has_a_size(void **state)
{
    static char bytes[LIMIT + 64], out[LIMIT + 64];
    (void)state;
    memset(bytes, 'x', sizeof bytes);
    memcpy(bytes, "$9000000\r\n", 10); /* it never ends */
    assert_int_equal(parse(bytes, LIMIT, 16384, out, sizeof out), 0);
    assert_int_equal(parse(bytes, LIMIT + 1, 16384, out, sizeof out), PERMTAB_E_LIMIT);
    memcpy(bytes, "$9223372036854775807\r\n", 22);
    assert_int_equal(parse(bytes, 22, 16384, out, sizeof out), 0);
    assert_int_equal(parse(bytes, LIMIT + 1, 16384, out, sizeof out), PERMTAB_E_LIMIT);
    memcpy(bytes, "*900000\r\n", 9); /* many that are small */
    for (size_t at = 9; at + 5 <= sizeof bytes; at += 5)
        memcpy(bytes + at, "+aa\r\n", 5);
    assert_int_equal(parse(bytes, LIMIT + 1, 16384, out, sizeof out), PERMTAB_E_LIMIT);
}

/* It counts one reply: many in one stream may be more. */
static void test_many_replies_have_none(void **state)
{
    struct redis_parser *parser = redis_parser_new(64);
    struct redis_reply *reply;
    (void)state;
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(redis_parser_feed(parser, "$20\r\naaaaaaaaaaaaaaaaaaaa\r\n$2", 29), 0);
        assert_int_equal(redis_parser_next(parser, &reply), 1);
        redis_reply_free(reply);
        assert_int_equal(redis_parser_next(parser, &reply), 0);
        assert_int_equal(redis_parser_feed(parser, "\r\nbb\r\n", 6), 0);
        assert_int_equal(redis_parser_next(parser, &reply), 1);
        redis_reply_free(reply);
    }
    redis_parser_free(parser);
}

static void test_arrays_have_a_number_of_elements(void **state)
{
    static char out[64];
    (void)state;
    assert_int_equal(parse("*1000000\r\n", 10, 10, out, sizeof out), 0);
    assert_int_equal(parse("*1000001\r\n", 10, 10, out, sizeof out), PERMTAB_E_LIMIT);
    assert_int_equal(parse("*2000000000\r\n", 13, 13, out, sizeof out), PERMTAB_E_LIMIT);
    /* All of one reply together: else 7 levels of 10 bytes each would be 8 MB each time. */
    assert_int_equal(parse("*600000\r\n*400000\r\n", 18, 18, out, sizeof out), 0);
    assert_int_equal(parse("*600000\r\n*400001\r\n", 18, 18, out, sizeof out), PERMTAB_E_LIMIT);
    /* And each reply anew. */
    assert_int_equal(parse("*1\r\n:1\r\n*1000000\r\n", 18, 18, out, sizeof out), 0);
}

static void test_a_line_ends(void **state)
{
    static char bytes[REDIS_LINE_MAX + 64], out[REDIS_LINE_MAX + 64];
    (void)state;
    memset(bytes, '1', sizeof bytes);
    for (const char *sign = "+-:$*"; *sign; sign++) {
        bytes[0] = *sign;
        assert_int_equal(parse(bytes, REDIS_LINE_MAX - 1, 1000, out, sizeof out), 0);
        assert_int_equal(parse(bytes, REDIS_LINE_MAX + 2, 1000, out, sizeof out), PERMTAB_E_PROTOCOL);
    }
    bytes[0] = '+';
    memcpy(bytes + REDIS_LINE_MAX - 64, "\r\n", 2);
    assert_int_equal(parse(bytes, REDIS_LINE_MAX - 62, 1000, out, sizeof out), 0);
}

static void parse_one(const char *bytes, size_t size, struct redis_reply **out)
{
    struct redis_parser *parser = redis_parser_new(LIMIT);
    assert_int_equal(redis_parser_feed(parser, bytes, size), 0);
    assert_int_equal(redis_parser_next(parser, out), 1);
    redis_parser_free(parser);
}

static void test_numbers(void **state)
{
    static const struct {
        const char *text;
        bool i64, u64;
        uint64_t value;
    } cases[] = {
        {"0", true, true, 0},
        {"00000000000000000042", true, true, 42},
        {"9223372036854775807", true, true, INT64_MAX},
        {"9223372036854775808", false, true, 1ull << 63},
        {"18446744073709551615", false, true, UINT64_MAX},
        {"18446744073709551616", false, false, 0},
        {"99999999999999999999", false, false, 0},
        {"-1", true, false, UINT64_MAX},
        {"-9223372036854775808", true, false, 1ull << 63},
        {"-9223372036854775809", false, false, 0},
        {"", false, false, 0},
        {"-", false, false, 0},
        {"+1", false, false, 0},
        {" 1", false, false, 0},
        {"1 ", false, false, 0},
        {"1.0", false, false, 0},
        {"0x1", false, false, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char bytes[64];
        struct redis_reply *reply;
        int64_t i64 = 0;
        uint64_t u64 = 0;
        int size = snprintf(bytes, sizeof bytes, "$%zu\r\n%s\r\n", strlen(cases[i].text), cases[i].text);
        parse_one(bytes, (size_t)size, &reply);
        if (redis_reply_i64(reply, &i64) != cases[i].i64 || redis_reply_u64(reply, &u64) != cases[i].u64)
            fail_msg("\"%s\"", cases[i].text);
        if (cases[i].i64)
            assert_true(i64 == (int64_t)cases[i].value);
        if (cases[i].u64)
            assert_true(u64 == cases[i].value);
        redis_reply_free(reply);
    }
}

static void test_what_is_something_else(void **state)
{
    struct redis_reply *reply;
    int64_t i64;
    uint64_t u64;
    size_t size = 7;
    (void)state;
    assert_int_equal(redis_reply_kind(NULL), REDIS_NIL);
    assert_null(redis_reply_text(NULL, &size));
    assert_int_equal(size, 0);
    assert_int_equal(redis_reply_count(NULL), 0);
    assert_null(redis_reply_at(NULL, 0));
    assert_false(redis_reply_i64(NULL, &i64));
    assert_false(redis_reply_u64(NULL, &u64));
    parse_one(":-5\r\n", 5, &reply);
    assert_true(redis_reply_i64(reply, &i64) && i64 == -5);
    assert_false(redis_reply_u64(reply, &u64));
    assert_null(redis_reply_text(reply, NULL));
    redis_reply_free(reply);
    parse_one("-12\r\n", 5, &reply); /* a refusal is no number */
    assert_false(redis_reply_i64(reply, &i64) || redis_reply_u64(reply, &u64));
    redis_reply_free(reply);
    parse_one("*1\r\n:1\r\n", 8, &reply);
    assert_non_null(redis_reply_at(reply, 0));
    assert_null(redis_reply_at(reply, 1));
    assert_null(redis_reply_text(reply, NULL));
    assert_false(redis_reply_i64(reply, &i64) || redis_reply_u64(reply, &u64));
    redis_reply_free(reply);
}

/* Bytes that are likely to mean something. */
static size_t babble(struct random *random, char *bytes, size_t size)
{
    static const char *const words[] = {"\r\n",   "*",           "$",          ":",       "+",      "-",
                                        "1",      "2",           "0",          "-1",      "OK",     "a",
                                        "*2\r\n", "$1\r\nx\r\n", ":7\r\n",     "*1\r\n",  "$3\r\n", "*-1\r\n",
                                        "\n",     "\r",          "9999999999", "$-1\r\n", "*0\r\n"};
    size_t used = 0;
    while (used + 16 < size) {
        if (random_chance(random, 3)) {
            bytes[used++] = (char)random_below(random, 256);
        } else {
            const char *word = words[random_below(random, sizeof words / sizeof *words)];
            memcpy(bytes + used, word, strlen(word));
            used += strlen(word);
        }
    }
    return used;
}

static void test_survives_anything(void **state)
{
    static char bytes[4096], out[65536], again[65536];
    struct random random = {20261121};
    (void)state;
    for (int round = 0; round < 20000; round++) {
        size_t size = babble(&random, bytes, 32 + random_below(&random, 400));
        int code = parse(bytes, size, size, out, sizeof out);
        /* The pieces make no difference. */
        assert_int_equal(parse(bytes, size, 1 + random_below(&random, 9), again, sizeof again), code);
        assert_string_equal(out, again);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_every_kind_in_every_piece),
        cmocka_unit_test(test_refuses_what_is_no_reply),
        cmocka_unit_test(test_seven_deep_is_read),
        cmocka_unit_test(test_a_reply_has_a_size),
        cmocka_unit_test(test_many_replies_have_none),
        cmocka_unit_test(test_arrays_have_a_number_of_elements),
        cmocka_unit_test(test_a_line_ends),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_what_is_something_else),
        cmocka_unit_test(test_survives_anything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
