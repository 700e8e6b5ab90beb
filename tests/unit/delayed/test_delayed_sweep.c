/* The queue of delayed invalidations: commands over many, which cancel, hasten and replace. */
#include "tests/support/delayed_fleet.h"

#include <stdio.h>
#include <string.h>

static void test_cancel(void **state)
{
    char first[DELAYED_ID_SIZE];
    (void)state;
    fleet_start(1);
    fleet_add("user:42", "a", 60000);
    (void)snprintf(first, sizeof first, "%s", fleet.id);
    fleet_add("user:42 scope:server:1", "a", 60000);
    fleet_add("user:42@channel:9", "b", 60000);
    fleet_add("pattern:user:4?", "b", 60000);
    fleet_add("user:7 role:3", "", 60000);
    assert_int_equal(fleet_sweep(DELAYED_CANCEL, "user:8"), 0);
    assert_int_equal(fleet_sweep(DELAYED_CANCEL, first), 1);
    assert_int_equal(fleet_sweep(DELAYED_CANCEL, first), 0);
    assert_int_equal(fleet_sweep(DELAYED_CANCEL, "pattern:user:4?"), 1);
    assert_int_equal(fleet_sweep(DELAYED_CANCEL, "scope:channel:9"), 1);
    assert_int_equal(fleet_sweep(DELAYED_CANCEL, "reason:b"), 0);
    assert_int_equal(fleet_sweep(DELAYED_CANCEL, "user:42"), 1);
    assert_int_equal(fleet_ask("DBSIZE"), 4); /* queue, task, user, role */
    assert_int_equal(fleet_sweep(DELAYED_CANCEL, "role:3"), 1);
    assert_int_equal(fleet_ask("DBSIZE"), 0);
    assert_int_equal(fleet.hosts[0].counters.delayed_cancelled, 5);
}

/* Tasks with so many indexes that a page of them is more than a step may do. */
static void test_cancel_wide(void **state)
{
    char targets[1024];
    (void)state;
    fleet_start(1);
    for (unsigned i = 0; i < 150; i++) {
        size_t size = 0;
        for (unsigned j = 0; j < 20; j++)
            size += (size_t)snprintf(targets + size, sizeof targets - size, "%suser:%u", j > 0 ? " " : "",
                                     1000 * j + i);
        fleet_add(targets, "wide", 600000);
    }
    assert_int_equal(fleet_ask("DBSIZE"), 1 + 150 + 150 * 20 + 1);
    assert_int_equal(fleet_sweep(DELAYED_CANCEL, "reason:wide"), 150);
    fleet_assert_empty();
}

/* Tasks are cancelled also while they are being carried out. */
static void test_cancel_taken(void **state)
{
    (void)state;
    fleet_start(1);
    fleet.outcome = NEVER;
    fleet_add("user:1", "", 0);
    fleet_add("user:2", "", 60000);
    assert_true(fleet_until(&fleet.carried_out, 1, 3000));
    assert_int_equal(fleet_sweep(DELAYED_CANCEL, "all"), 2);
    assert_int_equal(fleet_ask("DBSIZE"), 0);
    fleet_run(800);
    assert_int_equal(fleet.carried_out, 1);
    assert_int_equal(fleet_ask("DBSIZE"), 0); /* no lease brings it back */
}

static void test_replace(void **state)
{
    struct delayed_task task;
    (void)state;
    fleet_start(1);
    for (unsigned i = 0; i < 300; i++)
        fleet_add("user:42", "again", 60000);
    fleet_add("user:42 user:43", "", 60000);
    fleet_fill_task(&task, "user:42", "");
    (void)snprintf(task.condition, sizeof task.condition, "42 global member.muted");
    fleet_add_task(&task, 60000, 0);
    fleet_look(true);
    const struct delayed_advice *advice;
    assert_int_equal(delayed_advice(fleet.hosts[0].delayed, &advice), 1);
    assert_string_equal(advice[0].command, "delayed replace user:42");
    assert_int_equal(fleet_sweep(DELAYED_REPLACE, "user:42"), 300);
    assert_true(fleet_until(&fleet.carried_out, 1, 3000));
    fleet_run(100);
    assert_int_equal(fleet.users[42], 1);
    assert_int_equal(fleet_ask("ZCARD t:delayed:queue"), 2); /* what names others, or has a condition */
    assert_int_equal(fleet_sweep(DELAYED_CANCEL, "all"), 2);
    fleet_assert_empty();
}

/* The one that stands for the others is not removed with them, however late it is carried out. */
static void test_replacement_stays(void **state)
{
    (void)state;
    fleet.options.a_second = 1;
    fleet_start(1);
    fleet_add_many(64, 0, 1, 1); /* all that the pace allows */
    assert_true(fleet_until(&fleet.carried_out, 64, 5000));
    memset(fleet.users, 0, sizeof fleet.users);
    fleet_add("user:42", "", 60000);
    fleet_add("user:42", "", 60000);
    assert_int_equal(fleet_sweep(DELAYED_REPLACE, "user:42"), 2);
    assert_true(fleet_sweep(DELAYED_RUN, "") > 0);
    assert_true(fleet_until(&fleet.carried_out, 65, 3000));
    assert_int_equal(fleet.users[42], 1);
    fleet_assert_empty();
}

static void test_bad_cursors(void **state)
{
    struct delayed_sweep sweep = {.action = DELAYED_CANCEL};
    const char *bad[] = {"x",
                         "-1",
                         "1:",
                         "1:0123456789abcdef0123456789abcdef",
                         "123456789012345678901",
                         "18446744073709551616"};
    (void)state;
    fleet_start(1);
    assert_int_equal(delayed_what_parse(&fleet.catalogue.types, "user:1", &sweep.what), 0);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        (void)snprintf(sweep.cursor, sizeof sweep.cursor, "%s", bad[i]);
        assert_int_equal(delayed_sweep(fleet.hosts[0].delayed, &sweep, fleet_on_swept, NULL),
                         PERMTAB_E_INVALID);
    }
    sweep = (struct delayed_sweep){.action = DELAYED_REPLACE};
    assert_int_equal(delayed_what_parse(&fleet.catalogue.types, "reason:a", &sweep.what), 0);
    assert_int_equal(delayed_sweep(fleet.hosts[0].delayed, &sweep, fleet_on_swept, NULL), PERMTAB_E_INVALID);
    assert_int_equal(delayed_what_parse(&fleet.catalogue.types, "all", &sweep.what), 0);
    assert_int_equal(delayed_sweep(fleet.hosts[0].delayed, &sweep, fleet_on_swept, NULL), PERMTAB_E_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FLEET_TEST(test_cancel),  FLEET_TEST(test_cancel_wide),       FLEET_TEST(test_cancel_taken),
        FLEET_TEST(test_replace), FLEET_TEST(test_replacement_stays), FLEET_TEST(test_bad_cursors),
    };
    if (!redis_server_installed())
        return 77;
    return cmocka_run_group_tests(tests, fleet_start_redis, fleet_stop_redis);
}
