/* The queue of delayed invalidations leaks nothing: with many tasks, with nobody left, with hands in its keys. */
#include "tests/support/delayed_fleet.h"

#include <stdio.h>
#include <string.h>

static void test_nothing_leaks(void **state)
{
    (void)state;
    fleet_start(1);
    fleet_add_many(FLEET_USERS, 600000, 50, 7);
    fleet_look(true);
    assert_int_equal(fleet.state.queued, FLEET_USERS);
    assert_true(fleet.state.largest_count > 0);
    assert_memory_equal(fleet.state.largest[0].index, "reason:reason ", 14);
    assert_in_range(fleet.state.largest[0].tasks, FLEET_USERS / 7, FLEET_USERS / 7 + 1);
    assert_int_equal(fleet_sweep(DELAYED_CANCEL, "user:77"), 1);
    assert_int_equal(fleet_sweep(DELAYED_CANCEL, "scope:server:3"), FLEET_USERS / 50);
    assert_int_equal(fleet_sweep(DELAYED_CANCEL, "reason:reason 1"), 2800); /* some were on server:3 */
    uint64_t begun = clock_ms();
    uint64_t left = fleet_sweep(DELAYED_RUN, "all");
    while (fleet.carried_out < left && clock_ms() < begun + 60000)
        (void)fleet_until(&fleet.carried_out, (unsigned)left, 1000);
    assert_int_equal(fleet.carried_out, left);
    fleet_assert_empty();
    for (unsigned i = 0; i < FLEET_USERS; i++)
        assert_true(fleet.users[i] <= 1);
}

/* Each key that Redis has; their number. */
static unsigned assert_keys_end(void)
{
    char keys[4096], *rest = keys;
    unsigned count = 0;
    assert_true(redis_server_ask(&fleet.server, "KEYS *", keys, sizeof keys));
    for (char *key; (key = strsep(&rest, " ")) != NULL; count++) {
        char command[256];
        (void)snprintf(command, sizeof command, "PTTL %s", key);
        assert_in_range(fleet_ask(command), 80ull * 86400000, 91ull * 86400000);
    }
    return count;
}

/* Should nobody be left: every key ends by itself. */
static void test_every_key_ends(void **state)
{
    (void)state;
    fleet_start(1);
    fleet.outcome = NEVER;
    fleet_add("user:1 scope:server:1 pattern:user:1*", "x", 60000);
    fleet_add("user:2 tag:raid", "", 0);
    assert_true(fleet_until(&fleet.carried_out, 1, 3000));
    assert_int_equal(fleet_ask("ZCARD t:delayed:taken"), 1);
    assert_int_equal(assert_keys_end(), 10);
    fleet_stop_host(&fleet.hosts[0]);
    fleet.outcome = FAIL;
    fleet_start(1);
    for (unsigned i = 2; i <= 3; i++) { /* returned by another host, then put back into `failing` */
        assert_true(fleet_until(&fleet.carried_out, i, 5000));
        fleet_run(50);
        if (i < 3)
            (void)fleet_sweep(DELAYED_RUN, "user:2");
    }
    assert_int_equal(assert_keys_end(), 10); /* `failing` in place of `taken` */
    (void)fleet_sweep(DELAYED_CANCEL, "all");
    fleet_assert_empty();
}

/* A hash that somebody deletes by hand leaves an id in the queue and in its indexes: both go when they are met. */
static void test_deleted_by_hand(void **state)
{
    char command[128];
    (void)state;
    fleet_start(1);
    fleet_add("user:1", "", 300);
    (void)snprintf(command, sizeof command, "DEL t:delayed:task:%s", fleet.id);
    assert_int_equal(fleet_ask(command), 1);
    fleet_run(500);
    assert_int_equal(fleet.carried_out, 0);
    assert_int_equal(fleet_sweep(DELAYED_CANCEL, "user:1"), 0);
    fleet_assert_empty();
}

/* A key that somebody has put in a hash's place keeps nobody else waiting, and can be looked past and cancelled. */
static void test_replaced_by_hand(void **state)
{
    char command[128];
    (void)state;
    fleet_start(1);
    fleet_add("user:1", "", 300);
    (void)snprintf(command, sizeof command, "SET t:delayed:task:%s x", fleet.id);
    (void)fleet_ask(command);
    fleet_add("user:2", "", 350);
    assert_true(fleet_until(&fleet.carried_out, 1, 5000));
    fleet_add("user:1", "", 60000);
    (void)snprintf(command, sizeof command, "SET t:delayed:task:%s x", fleet.id);
    (void)fleet_ask(command);
    (void)fleet_sweep(DELAYED_CANCEL, "all");
    assert_int_equal(fleet_ask("EXISTS t:delayed:queue t:delayed:taken"), 0);
}

/* An index of which somebody has made something else does not keep its tasks from ending. */
static void test_index_replaced_by_hand(void **state)
{
    (void)state;
    fleet_start(1);
    (void)fleet_ask("SET t:delayed:by:user:1 x");
    fleet_add("user:1 user:2", "", 200);
    assert_true(fleet_until(&fleet.carried_out, 1, 5000));
    fleet_run(200);
    assert_int_equal(fleet_ask("DBSIZE"), 1);
    fleet_add("user:1 user:2", "", 60000);
    assert_int_equal(fleet_sweep(DELAYED_CANCEL, "user:2"), 1);
    assert_int_equal(fleet_ask("DEL t:delayed:by:user:1"), 1);
    fleet_assert_empty();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FLEET_TEST(test_nothing_leaks),          FLEET_TEST(test_every_key_ends),
        FLEET_TEST(test_deleted_by_hand),        FLEET_TEST(test_replaced_by_hand),
        FLEET_TEST(test_index_replaced_by_hand),
    };
    if (!redis_server_installed())
        return 77;
    return cmocka_run_group_tests(tests, fleet_start_redis, fleet_stop_redis);
}
