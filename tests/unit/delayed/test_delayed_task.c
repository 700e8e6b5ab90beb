/* Delayed tasks, their conditions, events and advice as values. */
#include "proxy/delayed/advice.h"
#include "proxy/delayed/delayed.h"
#include "proxy/delayed/task.h"
#include "proxy/rights/condition.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct scope_types types = {3, {"global", "server", "channel"}};

static void parse(struct delayed_task *task, const char *text)
{
    memset(task, 0, sizeof *task);
    assert_int_equal(delayed_targets_parse(&types, text, strlen(text), task), 0);
}

static void test_targets(void **state)
{
    struct delayed_task task;
    char text[DELAYED_TARGETS_SIZE];
    (void)state;
    parse(&task, "user:42 user:7@channel:9 pattern:user:4? tag:raid scope:server:1");
    assert_int_equal(task.count, 5);
    assert_string_equal(delayed_targets_format(&types, &task, text),
                        "user:42 user:7@channel:9 pattern:user:4? tag:raid scope:server:1");
    assert_int_equal(delayed_targets_parse(&types, "", 0, &task), PERMTAB_E_INVALID);
    assert_true(delayed_targets_parse(&types, "user:42 nonsense", 16, &task) < 0);
    assert_int_equal(delayed_targets_parse(&types, "scope:guild:1", 13, &task), PERMTAB_E_NO_SCOPE_TYPE);
    char many[DELAYED_TARGETS_MAX * 8 + 16];
    size_t size = 0;
    for (unsigned i = 0; i < DELAYED_TARGETS_MAX; i++)
        size += (size_t)snprintf(many + size, sizeof many - size, "user:%u ", 10 + i % 90);
    assert_int_equal(delayed_targets_parse(&types, many, size - 1, &task), 0);
    assert_int_equal(delayed_targets_parse(&types, strcat(many, "user:1"), size + 6, &task), PERMTAB_E_LIMIT);
}

static void assert_indexes(const char *targets, const char *reason, const char *expected)
{
    struct delayed_task task;
    parse(&task, targets);
    delayed_reason(task.reason, reason);
    char *indexes = delayed_indexes(&types, &task);
    assert_non_null(indexes);
    assert_string_equal(indexes, expected);
    free(indexes);
}

static void test_indexes(void **state)
{
    (void)state;
    assert_indexes("user:42", "", "user:42");
    assert_indexes("all", "", "");
    assert_indexes("poke", "why", "reason:why");
    assert_indexes("user:42@channel:9 user:42 scope:channel:9 user:4", "",
                   "user:42\nscope:channel:9\nuser:4");
    assert_indexes("role:7 tag:a pattern:user:* prefix:user:1", "raid\nover",
                   "role:7\ntag:a\npattern:user:*\nprefix:user:1\nreason:raid?over");
}

static void test_what(void **state)
{
    struct delayed_what what;
    (void)state;
    const struct {
        const char *text, *expected;
        enum delayed_what_kind kind;
    } good[] = {
        {"user:42", "user:42", DELAYED_INDEX},
        {"scope:server:1", "scope:server:1", DELAYED_INDEX},
        {"reason:a b", "reason:a b", DELAYED_INDEX},
        {"pattern:user:4?", "pattern:user:4?", DELAYED_INDEX},
        {"failing", "failing", DELAYED_INDEX},
        {"waiting", "waiting", DELAYED_INDEX},
        {"all", "all", DELAYED_ALL},
        {"0123456789abcdef0123456789abcdef", "0123456789abcdef0123456789abcdef", DELAYED_ONE},
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(delayed_what_parse(&types, good[i].text, &what), 0);
        assert_int_equal(what.kind, good[i].kind);
        assert_string_equal(what.text, good[i].expected);
    }
    const char *bad[] = {"",     "reason:", "user:42@channel:9",
                         "poke", "user:x",  "0123456789abcdef0123456789abcdeg"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_true(delayed_what_parse(&types, bad[i], &what) < 0);
}

static void test_schedule(void **state)
{
    struct delayed_task task = {0};
    struct failure failure;
    const uint64_t now = 1800000000000, day = 24ull * 3600 * 1000;
    (void)state;
    assert_int_equal(delayed_schedule(&task, &(struct delayed_when){false, 30000, 0}, now, &failure), 0);
    assert_true(task.due_ms == now + 30000 && task.expires_ms == task.due_ms + 7 * day);
    assert_int_equal(delayed_schedule(&task, &(struct delayed_when){true, now - 5, 1000}, now, &failure), 0);
    assert_true(task.due_ms == now && task.expires_ms == now + 1000);
    assert_int_equal(delayed_schedule(&task, &(struct delayed_when){false, 83 * day, 7 * day}, now, &failure),
                     0);
    const struct delayed_when late[] = {
        {false, 91 * day, 1},   {true, now + 91 * day, 1}, {false, 83 * day, 8 * day}, {false, 0, 91 * day},
        {false, UINT64_MAX, 1}, {true, UINT64_MAX, 1},     {false, 0, UINT64_MAX},
    };
    for (size_t i = 0; i < sizeof late / sizeof late[0]; i++)
        assert_int_equal(delayed_schedule(&task, &late[i], now, &failure), PERMTAB_E_LIMIT);
}

static void test_rests(void **state)
{
    (void)state;
    assert_int_equal(delayed_failed_ms(1), 1000);
    assert_int_equal(delayed_failed_ms(4), 8000);
    assert_int_equal(delayed_failed_ms(1000), 600000);
    assert_int_equal(delayed_waiting_ms(1), 250);
    assert_int_equal(delayed_waiting_ms(3), 1000);
    assert_int_equal(delayed_waiting_ms(70), 30000);
}

static void test_ids(void **state)
{
    char id[DELAYED_ID_SIZE];
    unsigned char random[16] = {0, 1, 0xab, 0xff};
    (void)state;
    delayed_id_format(random, id);
    assert_string_equal(id, "0001abff000000000000000000000000");
    assert_true(delayed_id_good(id));
    assert_false(delayed_id_good("0001abff00000000000000000000000"));
    assert_false(delayed_id_good("0001abff0000000000000000000000000"));
    assert_false(delayed_id_good("0001ABFF000000000000000000000000"));
}

/* ---- conditions -------------------------------------------------------------------------------------------------- */

/* message.send 0, message.delete 1, channel.view 2, gone.name 3 (deleted) */
static struct permission permissions[] = {
    {.bit = 0, .name = "message.send"},
    {.bit = 1, .name = "message.delete"},
    {.bit = 2, .name = "channel.view"},
    {.bit = 3, .name = "gone.name", .deleted = true},
};
static const struct catalogue catalogue = {.permissions = permissions, .count = 4, .words = 1};

static void test_condition_parse(void **state)
{
    struct condition condition;
    struct failure failure;
    (void)state;
    assert_int_equal(condition_parse(&types, "42 channel:9  message.send", &condition, &failure), 0);
    assert_true(condition.user == 42 && condition.scope.type == 2 && condition.scope.id == 9);
    condition_fini(&condition);
    assert_int_equal(condition_parse(&types, "  42 global message.send", &condition, &failure), 0);
    condition_fini(&condition);
    const struct {
        const char *text;
        int code;
        const char *says;
    } bad[] = {
        {"", PERMTAB_E_SYNTAX, "USER a decimal id"},
        {"42", PERMTAB_E_SYNTAX, "SCOPE as global or type:id"},
        {"42 channel:9", PERMTAB_E_SYNTAX, "wrong at byte 0"},
        {"x channel:9 message.send", PERMTAB_E_SYNTAX, "USER a decimal id"},
        {"42 channel message.send", PERMTAB_E_SYNTAX, "SCOPE as global or type:id"},
        {"42 guild:9 message.send", PERMTAB_E_NO_SCOPE_TYPE, "no scope type in \"guild:9\""},
        {"42 channel:9 message.send AND", PERMTAB_E_SYNTAX, "wrong at byte 16 of \"message.send AND\""},
        {"42 channel:9 message..send", PERMTAB_E_SYNTAX, "wrong at byte"},
        {"123456789012345678901234567890 global a", PERMTAB_E_SYNTAX, "USER a decimal id"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(condition_parse(&types, bad[i].text, &condition, &failure), bad[i].code);
        if (strstr(failure.text, bad[i].says) == NULL)
            fail_msg("\"%s\": \"%s\" does not say \"%s\"", bad[i].text, failure.text, bad[i].says);
    }
}

/* Words are copied into places of a fixed size. */
static void test_condition_long_words(void **state)
{
    struct condition condition;
    struct failure failure;
    char word[5000], text[5100];
    (void)state;
    memset(word, '1', sizeof word - 1);
    word[sizeof word - 1] = '\0';
    (void)snprintf(text, sizeof text, "%s global message.send", word);
    assert_int_equal(condition_parse(&types, text, &condition, &failure), PERMTAB_E_SYNTAX);
    (void)snprintf(text, sizeof text, "42 channel:%s message.send", word);
    assert_int_equal(condition_parse(&types, text, &condition, &failure), PERMTAB_E_SYNTAX);
}

static void test_condition_names(void **state)
{
    struct condition condition;
    struct failure failure;
    (void)state;
    assert_int_equal(condition_parse(&types, "1 global message.* AND NOT channel.view", &condition, &failure),
                     0);
    assert_int_equal(condition_check(&condition, &catalogue, &failure), 0);
    condition_fini(&condition);
    const char *missing[] = {"1 global message.sen", "1 global message.sends", "1 global gone.name",
                             "1 global channel.view OR thread.*"};
    for (size_t i = 0; i < sizeof missing / sizeof missing[0]; i++) {
        assert_int_equal(condition_parse(&types, missing[i], &condition, &failure), 0);
        assert_int_equal(condition_check(&condition, &catalogue, &failure), PERMTAB_E_NO_PERMISSION);
        condition_fini(&condition);
    }
}

static void test_condition_judge(void **state)
{
    const uint64_t bits = 1 | 4; /* message.send, channel.view */
    const struct {
        const char *expression;
        enum condition_verdict verdict;
    } cases[] = {
        {"message.send", CONDITION_HOLDS},
        {"message.delete", CONDITION_FAILS},
        {"NOT message.delete", CONDITION_HOLDS},
        {"message.send AND message.delete", CONDITION_FAILS},
        {"message.delete OR channel.view", CONDITION_HOLDS},
        {"message.*", CONDITION_HOLDS},
        {"ALL(message.*)", CONDITION_FAILS},
        {"ANY(message.delete, channel.*)", CONDITION_HOLDS},
        {"gone.name", CONDITION_UNKNOWN},
        {"NOT gone.name", CONDITION_UNKNOWN},
        {"gone.name OR message.send", CONDITION_HOLDS},
        {"gone.name AND message.send", CONDITION_UNKNOWN},
        {"gone.name AND message.delete", CONDITION_FAILS},
        {"message.delete AND gone.name", CONDITION_FAILS},
        {"message.send OR gone.name", CONDITION_HOLDS},
        {"message.send AND NOT (message.delete OR NOT channel.view)", CONDITION_HOLDS},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct condition condition;
        struct failure failure;
        char text[128];
        (void)snprintf(text, sizeof text, "1 global %s", cases[i].expression);
        assert_int_equal(condition_parse(&types, text, &condition, &failure), 0);
        if (condition_judge(&condition, &catalogue, &bits, 1) != cases[i].verdict)
            fail_msg("%s", cases[i].expression);
        condition_fini(&condition);
    }
}

/* A permission may be newer than the answer that is judged. */
static void test_condition_bits_beyond_the_answer(void **state)
{
    struct permission far[] = {{.bit = 64, .name = "far.off"}};
    const struct catalogue larger = {.permissions = far, .count = 1, .words = 2};
    const uint64_t bits[] = {UINT64_MAX, UINT64_MAX};
    struct condition condition;
    struct failure failure;
    (void)state;
    assert_int_equal(condition_parse(&types, "1 global far.off", &condition, &failure), 0);
    assert_int_equal(condition_judge(&condition, &larger, bits, 1), CONDITION_FAILS);
    assert_int_equal(condition_judge(&condition, &larger, bits, 2), CONDITION_HOLDS);
    condition_fini(&condition);
}

/* ---- events, advice ---------------------------------------------------------------------------------------------- */

static void test_event_names(void **state)
{
    (void)state;
    assert_string_equal(delayed_event_name(DELAYED_added), "added");
    assert_string_equal(delayed_event_name(DELAYED_cancelled), "cancelled");
}

static const struct delayed_advice *find_command(const struct delayed_advice *advice, size_t count,
                                                 const char *command)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(advice[i].command, command) == 0)
            return &advice[i];
    }
    return NULL;
}

static void test_advice(void **state)
{
    struct delayed_advice advice[DELAYED_ADVICE_MAX];
    struct delayed_state quiet = {
        .now_ms = 100000, .queued = 50, .overdue = 99, .has_first = true, .first_ms = 1};
    (void)state;
    assert_int_equal(delayed_advise(&quiet, advice), 0);
    struct delayed_state busy = {
        .now_ms = 100000,
        .queued = 9000000,
        .overdue = 5000,
        .has_first = true,
        .first_ms = 40000,
        .failing = 2,
        .waiting = 300,
        .largest_count = 5,
        .largest = {{"reason:it's over", 4000},
                    {"user:42", 150},
                    {"scope:server:1", 100},
                    {"user:7", 99},
                    {"failing", 5000}},
    };
    size_t count = delayed_advise(&busy, advice);
    const struct delayed_advice *run = find_command(advice, count, "delayed run --max 1000");
    assert_true(run && run->urgent && run->most == 1000 && run->what.text[0] == '\0');
    assert_non_null(strstr(advice[0].text, "5000 tasks are overdue, the first by 60 s"));
    const struct delayed_advice *failing = find_command(advice, count, "delayed cancel failing");
    assert_true(failing && failing->urgent && failing->action == DELAYED_CANCEL);
    const struct delayed_advice *waiting = find_command(advice, count, "delayed cancel waiting");
    assert_true(waiting && !waiting->urgent);
    assert_non_null(find_command(advice, count, "delayed run 'reason:it'\\''s over'"));
    assert_non_null(find_command(advice, count, "delayed cancel 'reason:it'\\''s over'"));
    const struct delayed_advice *user = find_command(advice, count, "delayed replace user:42");
    assert_true(user && user->action == DELAYED_REPLACE && !user->urgent);
    assert_string_equal(user->what.text, "user:42");
    assert_non_null(find_command(advice, count, "delayed replace scope:server:1"));
    assert_null(find_command(advice, count, "delayed replace user:7"));
    assert_null(find_command(advice, count, "delayed replace failing"));
    for (size_t i = 1; i < count; i++)
        assert_true(advice[i - 1].urgent >= advice[i].urgent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_targets),
        cmocka_unit_test(test_indexes),
        cmocka_unit_test(test_what),
        cmocka_unit_test(test_schedule),
        cmocka_unit_test(test_rests),
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_condition_parse),
        cmocka_unit_test(test_condition_long_words),
        cmocka_unit_test(test_condition_names),
        cmocka_unit_test(test_condition_judge),
        cmocka_unit_test(test_condition_bits_beyond_the_answer),
        cmocka_unit_test(test_event_names),
        cmocka_unit_test(test_advice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
