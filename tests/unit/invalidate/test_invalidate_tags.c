/* Tags: what they hold, how much, and that all of it is invalidated. */
#include "tests/support/invalidation_host.h"

#include <stdlib.h>
#include <string.h>

static void tags_hold_what_was_added(void **state)
{
    struct invalidation_host *host = *state;
    struct target *targets = host_users(1, TAG_CHANGE_MAX + 1);
    struct tags_place place = {host->redis, HOST_PREFIX, &publisher_catalogue(host->publisher)->types};
    struct tags_call *call;
    host_change_tag(host, "raid", targets, 3, true);
    assert_true(host->tag.code == 0 && host->tag.changed == 3 && host->tag.members == 3);
    host_change_tag(host, "raid", targets + 1, 4, true);
    assert_true(host->tag.code == 0 && host->tag.changed == 2 && host->tag.members == 5);
    host_change_tag(host, "other", targets, 1, true);
    assert_string_equal(host_ask(host, "SISMEMBER " HOST_PREFIX "tag:raid user:5"), "1");
    assert_string_equal(host_ask(host, "SCARD " HOST_PREFIX "tags"), "2");
    host_change_tag(host, "raid", targets, 2, false);
    assert_true(host->tag.code == 0 && host->tag.changed == 2 && host->tag.members == 3);
    assert_return_code(tags_list(&call, &place, "raid", "0", host_on_tags, host), 0);
    tags_cancel(call);
    assert_return_code(tags_list(&call, &place, "raid", "0", host_on_tags, host), 0);
    unsigned before = host->tag.done;
    HOST_UNTIL(host, host->tag.done > before);
    assert_int_equal(host->tag.texts, 3);
    host_turn_for(host, 20);
    assert_int_equal(host->tag.done, before + 1);
    host_change_tag(host, "raid", NULL, 0, false);
    assert_true(host->tag.code == 0 && host->tag.changed == 3 && host->tag.members == 0);
    host_change_tag(host, "other", targets, 1, false);
    assert_string_equal(host_ask(host, "DBSIZE"), "0");
    assert_int_equal(tags_add(&call, &place, "x", targets, TAG_CHANGE_MAX + 1, host_on_tags, host),
                     PERMTAB_E_LIMIT);
    free(targets);
}

static void tags_have_limits(void **state)
{
    struct invalidation_host *host = *state;
    struct target *targets = host_users(5000000, 10);
    /* These come beside what is there already. */
    host_ask(host, "EVAL \"for i=1,%u do redis.call('SADD','" HOST_PREFIX "tag:full','user:'..i) end\" 0",
             TAG_MEMBERS_MAX - 5);
    host_ask(host, "SADD " HOST_PREFIX "tags full");
    host_change_tag(host, "full", targets, 10, true);
    assert_int_equal(host->tag.code, PERMTAB_E_LIMIT);
    host_change_tag(host, "full", targets, 5, true);
    assert_int_equal(host->tag.code, 0);
    assert_int_equal(host->tag.members, TAG_MEMBERS_MAX);
    host_change_tag(host, "full", targets, 5, true); /* they are in it */
    assert_int_equal(host->tag.code, 0);
    host_ask(host, "EVAL \"for i=1,%u do redis.call('SADD','" HOST_PREFIX "tags','n'..i) end\" 0",
             TAGS_MAX - 1);
    host_change_tag(host, "one-more", targets, 1, true);
    assert_int_equal(host->tag.code, PERMTAB_E_LIMIT);
    assert_string_equal(host_ask(host, "EXISTS " HOST_PREFIX "tag:one-more"), "0");
    free(targets);
}

static void tags_are_invalidated_in_slices(void **state)
{
    struct invalidation_host *host = *state;
    struct target *targets = host_users(1, 1000);
    for (uint64_t user = 1; user <= 3000; user++)
        host_fill(host, user, server);
    host_fill(host, 3001, server);
    host_put_user(host, 2500);
    for (uint64_t first = 1; first <= 2001; first += 1000) {
        for (size_t i = 0; i < 1000; i++)
            targets[i].id = first + i;
        host_change_tag(host, "raid", targets, 1000, true);
    }
    host_ask(host, "CONFIG RESETSTAT");
    host_invalidate(host, "tag:raid user:3001");
    assert_int_equal(host->code, 0);
    assert_int_equal(host->result.entries, 3001);
    assert_int_equal(host->result.keys, 1);
    assert_true(host->result.published);
    assert_true(host_calls(host, "sscan") >= 4);
    HOST_UNTIL(host, host->message_count >= 6);
    for (size_t i = 0; i < host->message_count; i++)
        assert_null(strstr(host->messages[i], "tag:"));
    host_invalidate(host, "tag:nobody tag:raid");
    assert_int_equal(host->code, PERMTAB_E_NOT_FOUND);
    assert_int_equal(host->result.entries, 0);
    host_invalidate(host, "tag:nobody");
    assert_false(host->result.published); /* nobody was told of anything */
    host_ask(host, "SADD " HOST_PREFIX "tag:odd nonsense all tag:raid user:3002");
    host_fill(host, 3002, server);
    host_invalidate(host, "tag:odd");
    assert_int_equal(host->code, PERMTAB_E_INVALID);
    assert_int_equal(host->rebuilds, 0);
    assert_false(host_resident(host, 3002, server));
    host_ask(host, "SET " HOST_PREFIX "tag:text user:1");
    host_invalidate(host, "tag:text tag:raid");
    assert_int_equal(host->code, PERMTAB_E_REFUSED);
    free(targets);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, host_setup, host_teardown)
        T(tags_hold_what_was_added),
        T(tags_have_limits),
        T(tags_are_invalidated_in_slices),
#undef T
    };
    if (!redis_server_installed())
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
