/* Tags, as far as Redis answers something else than it should, or nothing. What they hold is in
 * test_invalidate_tags.c. */
#include "proxy/invalidate/tags.h"
#include "tests/support/redis_caller.h"

#include <stdio.h>
#include <string.h>

static const struct scope_types TYPES = {.count = 2, .names = {"global", "server"}};

struct heard {
    unsigned count;
    int code;
    char text[128], cursor[64];
    uint64_t changed, members;
    size_t texts;
};

static void on_tags(void *context, const struct tags_result *result)
{
    struct heard *heard = context;
    heard->count++;
    heard->code = result->code;
    heard->changed = result->changed;
    heard->members = result->members;
    heard->texts = result->code == 0 && result->texts != NULL ? redis_reply_count(result->texts) : 0;
    (void)snprintf(heard->text, sizeof heard->text, "%s", result->text);
    (void)snprintf(heard->cursor, sizeof heard->cursor, "%s",
                   result->code == 0 && result->cursor != NULL ? result->cursor : "");
}

enum question { ADD, LIST };

/* Asks the fake, which says `answer`; NULL: nothing. */
static struct heard ask_fake(struct redis_caller *caller, enum question question, const char *answer)
{
    struct tags_place place = {caller->redis, "p:", &TYPES};
    struct target user = {.kind = TARGET_USER, .id = 1};
    struct heard heard = {.code = 99};
    struct tags_call *call;
    unsigned before = caller->fake.commands;
    if (question == ADD)
        assert_int_equal(tags_add(&call, &place, "x", &user, 1, on_tags, &heard), 0);
    else
        assert_int_equal(tags_list(&call, &place, "x", "0", on_tags, &heard), 0);
    assert_true(loop_until(caller->base, &caller->fake.commands, before + 1, 5000));
    if (answer != NULL)
        fake_redis_say(&caller->fake, answer);
    assert_true(loop_until(caller->base, &heard.count, 1, 5000));
    return heard;
}

static void answers_are_looked_at(void **state)
{
    static const struct {
        enum question question;
        const char *answer;
        int code;
        const char *says;
    } cases[] = {
        {ADD, "*2\r\n:3\r\n:7\r\n", 0, ""},
        {ADD, "*2\r\n:-1\r\n:7\r\n", PERMTAB_E_LIMIT, "10000 tags already"},
        {ADD, "*2\r\n:-2\r\n:7\r\n", PERMTAB_E_LIMIT, "at most 100000 members"},
        {ADD, "*1\r\n:3\r\n", PERMTAB_E_PROTOCOL, "something else"},
        {ADD, "*2\r\n$1\r\nx\r\n:7\r\n", PERMTAB_E_PROTOCOL, "something else"},
        {ADD, "*2\r\n:3\r\n:-7\r\n", PERMTAB_E_PROTOCOL, "something else"},
        {ADD, ":3\r\n", PERMTAB_E_PROTOCOL, "something else"},
        {ADD, "-OOM no room\r\n", PERMTAB_E_REFUSED, "OOM no room"},
        {LIST, "*2\r\n$1\r\n5\r\n*1\r\n$1\r\na\r\n", 0, ""},
        {LIST, "*2\r\n$23\r\n12345678901234567890123\r\n*0\r\n", 0, ""},
        /* It would not fit where it is kept. */
        {LIST, "*2\r\n$24\r\n123456789012345678901234\r\n*0\r\n", PERMTAB_E_PROTOCOL, "something else"},
        {LIST, "*2\r\n$1\r\n5\r\n$1\r\na\r\n", PERMTAB_E_PROTOCOL, "something else"},
        {LIST, "*2\r\n*0\r\n*0\r\n", PERMTAB_E_PROTOCOL, "something else"},
        {LIST, "*1\r\n$1\r\n5\r\n", PERMTAB_E_PROTOCOL, "something else"},
        {LIST, "-WRONGTYPE it is a text\r\n", PERMTAB_E_REFUSED, "WRONGTYPE it is a text"},
    };
    struct redis_caller *caller = *state;
    CALLER_START(caller, caller->fake.url, 2000, 10000);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct heard heard = ask_fake(caller, cases[i].question, cases[i].answer);
        if (heard.code != cases[i].code || strstr(heard.text, cases[i].says) == NULL)
            fail_msg("case %zu: %d \"%s\"", i, heard.code, heard.text);
        if (i == 0)
            assert_true(heard.changed == 3 && heard.members == 7);
        if (cases[i].question == LIST && heard.code == 0)
            assert_int_equal(heard.cursor[0], i == 8 ? '5' : '1');
    }
}

static void silence_and_ends_are_told(void **state)
{
    struct redis_caller *caller = *state;
    struct heard heard;
    CALLER_START(caller, caller->fake.url, 200, 10000);
    heard = ask_fake(caller, ADD, NULL);
    assert_int_equal(heard.code, PERMTAB_E_TIMEOUT);
    assert_non_null(strstr(heard.text, "may have been carried out"));
    caller_free_redis(caller);
    CALLER_START(caller, caller->fake.url, 10000, 10000);
    struct tags_place place = {caller->redis, "p:", &TYPES};
    struct tags_call *call;
    memset(&heard, 0, sizeof heard);
    unsigned before = caller->fake.commands;
    assert_int_equal(tags_list(&call, &place, NULL, "0", on_tags, &heard), 0);
    assert_true(loop_until(caller->base, &caller->fake.commands, before + 1, 5000));
    fake_redis_drop(&caller->fake);
    assert_true(loop_until(caller->base, &heard.count, 1, 5000));
    assert_int_equal(heard.code, PERMTAB_E_UNREACHABLE);
    assert_non_null(strstr(heard.text, "may have been carried out"));
    assert_int_equal(tags_list(&call, &place, NULL, "0", on_tags, &heard), PERMTAB_E_UNREACHABLE);
    assert_null(call);
}

static void names_are_listed_and_one_change_has_a_bound(void **state)
{
    static struct target users[TAG_CHANGE_MAX + 1];
    struct redis_caller *caller = *state;
    CALLER_START(caller, caller->server.url, 5000, 10000);
    struct tags_place place = {caller->redis, "p:", &TYPES};
    struct heard heard = {0};
    struct tags_call *call;
    for (size_t i = 0; i <= TAG_CHANGE_MAX; i++)
        users[i] = (struct target){.kind = TARGET_USER, .id = i};
    assert_int_equal(tags_add(&call, &place, "raid", users, TAG_CHANGE_MAX + 1, on_tags, &heard),
                     PERMTAB_E_LIMIT);
    assert_int_equal(tags_remove(&call, &place, "raid", users, TAG_CHANGE_MAX + 1, on_tags, &heard),
                     PERMTAB_E_LIMIT);
    assert_int_equal(tags_add(&call, &place, "raid", users, TAG_CHANGE_MAX, on_tags, &heard), 0);
    assert_int_equal(tags_add(&call, &place, "other", users, 1, on_tags, &heard), 0);
    assert_int_equal(tags_remove(&call, &place, "raid", users, TAG_CHANGE_MAX - 1, on_tags, &heard), 0);
    assert_true(loop_until(caller->base, &heard.count, 3, 10000));
    assert_true(heard.code == 0 && heard.changed == TAG_CHANGE_MAX - 1 && heard.members == 1);
    assert_int_equal(tags_list(&call, &place, NULL, "0", on_tags, &heard), 0);
    assert_true(loop_until(caller->base, &heard.count, 4, 10000));
    assert_int_equal(heard.texts, 2);
    assert_string_equal(heard.cursor, "0");
}

/* Targets that would have to be looked for, or are tags again, are not kept under a name. */
static void only_some_kinds_are_held(void **state)
{
    (void)state;
    for (enum target_kind kind = 0; kind <= TARGET_POKE; kind++)
        assert_int_equal(tags_may_hold(kind), kind == TARGET_USER || kind == TARGET_USER_AT ||
                                                  kind == TARGET_ROLE || kind == TARGET_SCOPE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_some_kinds_are_held),
        WITH_FAKE(answers_are_looked_at),
        WITH_FAKE(silence_and_ends_are_told),
        WITH_SERVER(names_are_listed_and_one_change_has_a_bound),
    };
    if (!redis_server_installed())
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
