/* Messages as text and back; what is cut, too long or a lie. */
#include "proxy/names/message.h"

#include "tests/support/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct scope_types TYPES = {.count = 3, .names = {"global", "server", "channel"}};

static int parse(const char *text, struct message *out)
{
    return message_parse(&TYPES, text, strlen(text), out);
}

/* Reads `text`, and expects `again` when it is written. */
static struct message reads_and_writes(const char *text, const char *again)
{
    struct message message;
    assert_return_code(parse(text, &message), 0);
    char *written = message_format(&TYPES, &message);
    assert_non_null(written);
    assert_string_equal(written, again);
    free(written);
    return message;
}

static void test_plain(void **state)
{
    (void)state;
    struct message message =
        reads_and_writes(" user:42\tscope:channel:9  poke \r\n", "user:42 scope:channel:9 poke");
    assert_int_equal(message.kind, MESSAGE_PLAIN);
    assert_int_equal(message.count, 3);
    assert_int_equal(message.targets[1].kind, TARGET_SCOPE);
    message_fini(&message);
    assert_int_equal(message.count, 0);
    message = reads_and_writes("all", "all");
    message_fini(&message);
}

static void test_changed(void **state)
{
    (void)state;
    struct message message = reads_and_writes(
        "permtab1 changed 00000000000000Ff 00000000000000000007 18446744073709551615 user:1 scope:server:2",
        "permtab1 changed 00000000000000ff 7 18446744073709551615 user:1 scope:server:2");
    assert_int_equal(message.kind, MESSAGE_CHANGED);
    assert_int_equal(message.store_id, 255);
    assert_int_equal(message.from, 7);
    assert_true(message.to == UINT64_MAX);
    assert_int_equal(message.count, 2);
    message_fini(&message);
    message =
        reads_and_writes("permtab1 changed 00000000000000ff 7 7", "permtab1 changed 00000000000000ff 7 7");
    assert_int_equal(message.count, 0);
    message_fini(&message);
}

static void test_written_and_invalidate(void **state)
{
    (void)state;
    struct message message = reads_and_writes("permtab1 written 0123456789abcdef 12 user:1",
                                              "permtab1 written 0123456789abcdef 12 user:1");
    assert_int_equal(message.kind, MESSAGE_WRITTEN);
    assert_true(message.store_id == 0x0123456789abcdefull && message.to == 12 && message.count == 1);
    message_fini(&message);
    message = reads_and_writes("permtab1 invalidate fedcba9876543210 3 pattern:user:4? user:1@global",
                               "permtab1 invalidate fedcba9876543210 3 pattern:user:4? user:1@global");
    assert_int_equal(message.kind, MESSAGE_INVALIDATE);
    assert_true(message.origin == 0xfedcba9876543210ull && message.number == 3 && message.count == 2);
    message_fini(&message);
}

static void test_wrong_texts(void **state)
{
    static const char *const wrong[] = {
        "",
        " ",
        "hello",
        "user:1 hello",
        "user:1,user:2",
        "permtab1",
        "permtab1 ",
        "permtab1 poke",
        "permtab2 changed 00000000000000ff 1 2",
        "permtab1 changed",
        "permtab1 changed 00000000000000ff",
        "permtab1 changed 00000000000000ff 1",
        "permtab1 changed 0000000000000ff 1 2",
        "permtab1 changed 000000000000000ff 1 2",
        "permtab1 changed 00000000000000fg 1 2",
        "permtab1 changed 00000000000000ff 2 1",
        "permtab1 changed 00000000000000ff x 1",
        "permtab1 changed 00000000000000ff 1 -2",
        "permtab1 changed 00000000000000ff 1 18446744073709551616",
        "permtab1 changed 00000000000000ff 1 0000000000000000000000000000002",
        "permtab1 changed 00000000000000ff 1 2 nonsense",
        "permtab1 written 00000000000000ff 2",
        "permtab1 written 00000000000000ff user:1",
        "permtab1 invalidate 00000000000000ff 1",
        "permtab1 invalidate 00000000000000ff user:1",
    };
    struct message message = {.count = 77};
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (parse(wrong[i], &message) != PERMTAB_E_INVALID)
            fail_msg("\"%s\" was taken", wrong[i]);
    assert_int_equal(message_parse(&TYPES, "user:1\0user:2", 13, &message), PERMTAB_E_INVALID);
    assert_int_equal(message_parse(&TYPES, "permtab1 written 00000000000000ff 1\0 user:2", 43, &message),
                     PERMTAB_E_INVALID);
    assert_int_equal(parse("user:1 scope:guild:1", &message), PERMTAB_E_NO_SCOPE_TYPE);
    assert_int_equal(message.count, 77);
}

/* Every byte in the place of a digit, and numbers of every length. */
static void test_digits(void **state)
{
    struct message message;
    (void)state;
    for (int byte = 1; byte < 256; byte++) {
        char text[] = "permtab1 changed 00000000000000-0 1 2 user:1";
        *strchr(text, '-') = (char)byte;
        bool is_digit = strchr("0123456789abcdefABCDEF", byte) != NULL;
        if ((parse(text, &message) == 0) != is_digit)
            fail_msg("byte %d in a store's id", byte);
        if (!is_digit)
            continue;
        assert_int_equal(message.store_id, strtoull((char[]){(char)byte, '0', '\0'}, NULL, 16));
        message_fini(&message);
    }
    for (int length = 1; length < 60; length++) {
        char text[160];
        (void)snprintf(text, sizeof text, "permtab1 changed 00000000000000ff 1 %0*d user:1", length, 2);
        if ((parse(text, &message) == 0) != (length < 24))
            fail_msg("a revision of %d digits", length);
        if (length >= 24)
            continue;
        assert_int_equal(message.to, 2);
        message_fini(&message);
    }
}

static void test_reading_limits(void **state)
{
    size_t size = MESSAGE_SIZE_MAX + 1;
    char *text = malloc(size + 1);
    struct message message;
    (void)state;
    memset(text, ' ', size);
    memcpy(text, "poke", 4);
    assert_int_equal(message_parse(&TYPES, text, size, &message), PERMTAB_E_LIMIT);
    assert_return_code(message_parse(&TYPES, text, size - 1, &message), 0);
    message_fini(&message);
    for (size_t i = 0; i <= MESSAGE_TARGETS_MAX; i++)
        memcpy(text + i * 5, "poke ", 5);
    assert_int_equal(message_parse(&TYPES, text, 5 * (MESSAGE_TARGETS_MAX + 1), &message), PERMTAB_E_LIMIT);
    assert_return_code(message_parse(&TYPES, text, 5 * MESSAGE_TARGETS_MAX, &message), 0);
    assert_int_equal(message.count, MESSAGE_TARGETS_MAX);
    message_fini(&message);
    free(text);
}

static char *format_many(enum message_kind kind, size_t count, size_t word)
{
    struct target *targets = calloc(count + 1, sizeof *targets);
    for (size_t i = 0; i < count; i++) {
        targets[i].kind = TARGET_PREFIX;
        memset(targets[i].word, 'x', word);
    }
    struct message message = {.kind = kind, .from = 1, .to = 2, .targets = targets, .count = count};
    char *text = message_format(&TYPES, &message);
    free(targets);
    return text;
}

static void test_writing_limits(void **state)
{
    static const enum message_kind kinds[] = {MESSAGE_PLAIN, MESSAGE_WRITTEN, MESSAGE_INVALIDATE};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        assert_null(format_many(kinds[i], 0, 0));
        assert_null(format_many(kinds[i], MESSAGE_TARGETS_MAX + 1, 1));
        assert_null(format_many(kinds[i], 1000, 90));
        free(format_many(kinds[i], 500, 90));
    }
    char *text = format_many(MESSAGE_CHANGED, 1000, 90);
    assert_string_equal(text, "permtab1 changed 0000000000000000 1 2");
    free(text);
}

/* 636 targets of 102 bytes, a blank between each, and one of 28 fill a message to the last byte. */
static void test_writing_to_the_last_byte(void **state)
{
    static struct target targets[637];
    struct message message = {.kind = MESSAGE_PLAIN, .targets = targets, .count = 637}, back;
    (void)state;
    for (size_t i = 0; i < 637; i++) {
        targets[i].kind = TARGET_PREFIX;
        memset(targets[i].word, 'x', i < 636 ? 95 : 21);
    }
    char *text = message_format(&TYPES, &message);
    assert_non_null(text);
    assert_int_equal(strlen(text), MESSAGE_SIZE_MAX);
    assert_return_code(parse(text, &back), 0);
    assert_int_equal(back.count, 637);
    message_fini(&back);
    free(text);
    targets[636].word[21] = 'x';
    assert_null(message_format(&TYPES, &message));
}

/* Others may send anything: nothing is read behind its end, and what was read can be written. */
static void test_mutations(void **state)
{
    static const char sample[] =
        "permtab1 changed 00000000000000ff 7 9 user:1@channel:3 scope:server:2 pattern:[a-c]* all";
    struct random random = {7};
    uint64_t taken = 0;
    (void)state;
    for (int round = 0; round < 100000; round++) {
        size_t size = random_next(&random) % sizeof sample;
        char *bytes = malloc(size + 1); /* on the heap, so that a read too far is seen */
        memcpy(bytes, sample, size);
        if (size > 0 && round % 3 != 0)
            bytes[random_next(&random) % size] = (char)random_next(&random);
        struct message message;
        if (message_parse(&TYPES, bytes, size, &message) == 0) {
            char *text = message_format(&TYPES, &message);
            assert_non_null(text);
            free(text);
            message_fini(&message);
            taken++;
        }
        free(bytes);
    }
    assert_true(taken > 1000);
}

static void test_channel(void **state)
{
    (void)state;
    char longest[KEY_PREFIX_MAX + 1] = "", name[MESSAGE_CHANNEL_SIZE];
    memset(longest, 'p', KEY_PREFIX_MAX);
    assert_string_equal(message_channel(name, "permtab:"), "permtab:invalidate");
    assert_string_equal(message_channel(name, longest) + KEY_PREFIX_MAX, "invalidate");
}

static void test_pokes(void **state)
{
    (void)state;
    static const char *const texts[] = {"user:1", "poke", "user:1 poke", "all"};
    for (size_t i = 0; i < 4; i++) {
        struct message message;
        assert_int_equal(message_parse(&TYPES, texts[i], strlen(texts[i]), &message), 0);
        assert_int_equal(message_pokes(&message), i == 1 || i == 2);
        message_fini(&message);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_channel),
        cmocka_unit_test(test_pokes),
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_changed),
        cmocka_unit_test(test_written_and_invalidate),
        cmocka_unit_test(test_wrong_texts),
        cmocka_unit_test(test_digits),
        cmocka_unit_test(test_reading_limits),
        cmocka_unit_test(test_writing_limits),
        cmocka_unit_test(test_writing_to_the_last_byte),
        cmocka_unit_test(test_mutations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
