/* Invalidation against a real Redis that is paused, killed and told to refuse: keys of L2 go, and the other hosts
 * hear of it. */
#include "proxy/names/l2_keys.h"
#include "tests/support/invalidation_host.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void keys_go_and_others_hear(void **state)
{
    struct invalidation_host *host = *state;
    char key[L2_KEY_SIZE], expected[256];
    for (uint64_t user = 1; user <= 4; user++)
        host_put_user(host, user);
    l2_key_scope(key, HOST_PREFIX, HOST_EPOCH, &publisher_catalogue(host->publisher)->types, channel);
    host_ask(host, "HSET %s a b", key);
    host_invalidate(host, "user:1 user:2@channel:9 scope:channel:9 role:100 user:3 user:999");
    assert_int_equal(host->code, 0);
    assert_int_equal(host->result.keys, 4);
    assert_true(host->result.published);
    assert_int_equal(host->result.retries + host->result.singles + host->result.failed, 0);
    assert_false(host_has_user(host, 1) || host_has_user(host, 3));
    assert_true(host_has_user(host, 2) && host_has_user(host, 4));
    l2_key_user(key, HOST_PREFIX, HOST_EPOCH, 2);
    assert_string_equal(host_ask(host, "HKEYS %s", key), "server:1");
    HOST_UNTIL(host, host->message_count == 1);
    snprintf(expected, sizeof expected,
             "permtab1 invalidate %016" PRIx64
             " 1 user:1 user:2@channel:9 scope:channel:9 role:100 user:3 user:999",
             host->all->options.host_id);
    assert_string_equal(host->messages[0], expected);
    assert_int_equal(host->counters.invalidation_keys, 4);
}

static void batches_are_as_asked(void **state)
{
    struct invalidation_host *host = *state;
    struct target *targets = host_users(1, 100);
    for (uint64_t user = 1; user <= 100; user++)
        host_put_user(host, user);
    host_ask(host, "CONFIG RESETSTAT");
    assert_return_code(host_start(host, targets, 100, 7), 0);
    HOST_UNTIL(host, host->done == 1);
    assert_int_equal(host->result.keys, 100);
    assert_int_equal(host_calls(host, "unlink"), 15);
    assert_int_equal(host_calls(host, "del"), 0);
    assert_string_equal(host_ask(host, "DBSIZE"), "0");
    free(targets);
}

static void long_lists_take_several_messages(void **state)
{
    struct invalidation_host *host = *state;
    struct target *targets = host_users(UINT64_MAX - 1200, 1200);
    assert_return_code(host_start(host, targets, 1200, 0), 0);
    HOST_UNTIL(host, host->done == 1 && host->message_count == 3);
    size_t named = 0;
    for (size_t i = 0; i < 3; i++) {
        struct message message;
        assert_return_code(message_parse(&publisher_catalogue(host->publisher)->types, host->messages[i],
                                         strlen(host->messages[i]), &message),
                           0);
        assert_int_equal(message.number, i + 1);
        named += message.count;
        message_fini(&message);
    }
    assert_int_equal(named, 1200);
    free(targets);
}

/* One key that Redis will not remove does not keep the others. */
static void refused_batch_goes_one_by_one(void **state)
{
    struct invalidation_host *host = *state;
    for (uint64_t user = 10; user <= 15; user++)
        host_put_user(host, user);
    host_put_user(host, 25);
    host_ask(host, "ACL SETUSER default resetkeys ~*{user:1?}");
    uint64_t begun = clock_ns();
    host_invalidate(host, "user:10 user:11 user:12 user:25 user:13 user:14 user:15");
    assert_int_equal(host->code, PERMTAB_E_REFUSED);
    assert_non_null(strstr(host->text, "NOPERM"));
    assert_int_equal(host->result.keys, 6);
    assert_int_equal(host->result.failed, 1);
    assert_int_equal(host->result.singles, 7);
    assert_int_equal(host->result.retries, 2 * (REDIS_RETRY_TRIES - 1));
    assert_true(host->result.published);
    /* 20 + 40 + 80 + 160 ms, twice. */
    assert_true(clock_ns() - begun >= 590000000ull);
    host_ask(host, "ACL SETUSER default allkeys");
    assert_true(host_has_user(host, 25));
    assert_false(host_has_user(host, 10) || host_has_user(host, 15));
}

static void trouble_that_passes_is_repeated(void **state)
{
    struct invalidation_host *host = *state;
    host_put_user(host, 1);
    host_ask(host, "ACL SETUSER default resetkeys");
    host_start_texts(host, "user:1");
    host_turn_for(host, 50);
    host_ask(host, "ACL SETUSER default allkeys");
    HOST_UNTIL(host, host->done == 1);
    assert_int_equal(host->code, 0);
    assert_int_equal(host->result.keys, 1);
    assert_in_range(host->result.retries, 1, REDIS_RETRY_TRIES - 1);
    assert_int_equal(host->result.failed, 0);
}

static void redis_is_lost_in_the_middle(void **state)
{
    struct invalidation_host *host = *state;
    struct target *targets = host_users(1, 2000);
    for (uint64_t user = 1; user <= 2000; user++)
        host_fill(host, user, server);
    redis_server_pause(&host->redis_server);
    assert_return_code(host_start(host, targets, 2000, 10), 0);
    HOST_UNTIL(host, !host_resident(host, 1, server) && !host_resident(host, 2000, server));
    host_turn_for(host, 30);
    redis_server_kill(&host->redis_server);
    HOST_UNTIL(host, host->done == 1);
    assert_int_equal(host->code, PERMTAB_E_UNREACHABLE);
    assert_int_equal(host->result.entries, 2000);
    assert_int_equal(host->result.keys, 0);
    assert_int_equal(host->result.failed, 2000);
    assert_false(host->result.published);
    assert_true(host->result.took_us < 3000000); /* not so long for each batch */
    redis_server_restart(&host->redis_server);
    HOST_UNTIL(host, host->connected);
    host_put_user(host, 1);
    host_invalidate(host, "user:1");
    assert_int_equal(host->result.keys, 1);
    assert_true(host->result.published);
    free(targets);
}

/* Other hosts may know of one, and read what is left there: so it is no success. */
static void without_an_epoch_l2_is_left_alone(void **state)
{
    struct invalidation_host *host = *state;
    host_put_user(host, 1);
    host->epoch_unknown = true;
    host_invalidate(host, "user:1");
    assert_int_equal(host->code, PERMTAB_E_UNREACHABLE);
    assert_non_null(strstr(host->text, "marker"));
    assert_int_equal(host->result.keys, 0);
    assert_int_equal(host->result.failed, 1);
    assert_true(host->result.published);
    assert_true(host_has_user(host, 1));
}

static void free_in_the_middle(void **state)
{
    struct invalidation_host *host = *state;
    struct target *targets = host_users(1, 2000);
    redis_server_pause(&host->redis_server);
    assert_return_code(host_start(host, targets, 2000, 10), 0);
    host_start_texts(host, "pattern:user:* tag:x");
    host_turn_for(host, 20);
    struct invalidations *all = host->all;
    host->all = NULL;
    invalidations_free(all);
    assert_int_equal(host->done, 2);
    assert_int_equal(host->code, PERMTAB_E_REFUSED);
    assert_int_equal(host->forgotten, host->sweep_number);
    redis_server_resume(&host->redis_server);
    host_turn_for(host, 50); /* replies to nobody */
    free(targets);
}

static void all_is_a_new_table_and_a_new_epoch(void **state)
{
    struct invalidation_host *host = *state;
    host_invalidate(host, "all");
    assert_int_equal(host->rebuilds, 1);
    assert_int_equal(host->flushes, 1);
    HOST_UNTIL(host, host->message_count == 1);
    assert_non_null(strstr(host->messages[0], " 1 all"));
}

static void patterns_are_swept_one_after_the_other(void **state)
{
    struct invalidation_host *host = *state;
    host_fill(host, 42, server);
    host_start_texts(host, "prefix:user:42 pattern:scope:* user:1");
    HOST_UNTIL(host, host->sweep_done != NULL && !host_resident(host, 42, server));
    host_turn_for(host, 20);
    assert_int_equal(host->done, 0);
    assert_int_equal(host->swept_count, 1);
    host_sweep_ends(host, 0, 5, "");
    assert_int_equal(host->swept_count, 2);
    host_sweep_ends(host, PERMTAB_E_UNREACHABLE, 2, "it went away");
    assert_int_equal(host->done, 0); /* not from inside */
    HOST_UNTIL(host, host->done == 1);
    assert_int_equal(host->result.keys, 7);
    assert_int_equal(host->result.entries, 1);
    assert_int_equal(host->code, PERMTAB_E_UNREACHABLE);
    assert_non_null(strstr(host->text, "it went away"));
    host->sweep_refusal = PERMTAB_E_FULL;
    host_invalidate(host, "prefix:user:42");
    assert_int_equal(host->code, PERMTAB_E_FULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, host_setup, host_teardown)
        T(keys_go_and_others_hear),
        T(batches_are_as_asked),
        T(long_lists_take_several_messages),
        T(refused_batch_goes_one_by_one),
        T(trouble_that_passes_is_repeated),
        T(redis_is_lost_in_the_middle),
        T(without_an_epoch_l2_is_left_alone),
        T(free_in_the_middle),
        T(all_is_a_new_table_and_a_new_epoch),
        T(patterns_are_swept_one_after_the_other),
#undef T
    };
    if (!redis_server_installed())
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
