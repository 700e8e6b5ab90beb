/* A marker that somebody else keeps, who is played here by HSET: replaced a few times, then left alone, and looked at
 * again. */
#include "proxy/base/clock.h"
#include "tests/support/l2_hosts.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CONTESTS 2
#define YIELD_MS 30
#define SHORTLY  2000 /* turns: enough for anything that will happen */

static unsigned long long rivals_epoch = 0x1000;

/* One host that follows the store's log; its marker stands. */
static struct host *begin(struct world *world)
{
    struct host *host = &world->hosts[0];
    world_reconnect(world);
    world_until_answered(world);
    for (unsigned i = 1; i < WORLD_HOSTS; i++)
        world->hosts[i].l2->closing = true; /* they take no part */
    host->l2->options.contests_max = CONTESTS;
    host->l2->options.yield_ms = YIELD_MS;
    return host;
}

/* A change is applied, and whatever follows from it. */
static void follow(struct world *world, struct host *host)
{
    struct change row = {.kind = CHANGE_ROLE_GRANT, .role = 7};
    uint64_t begun = clock_ns();
    row.revision = world->past.revision + 1;
    row.nonce = 1000 + row.revision;
    world_append_rows(&world->log, &row, 1);
    world->past.revision++;
    host_apply_batch(host);
    host_remember_applied(host);
    publisher_renew(host->publisher, begun);
    host->l2->marker.begun_ns = 0;
    l2_applied(host->l2);
    world_until_answered(world);
}

static void rival_writes(struct world *world, unsigned long long store, unsigned long long revision)
{
    char command[200];
    (void)snprintf(command, sizeof command,
                   "HSET p:l2:1:marker store %016llx revision %020llu nonce 5 epoch %016llx", store, revision,
                   rivals_epoch);
    world_ask_redis(world, command);
}

static void rival_takes(struct world *world, unsigned long long store, unsigned long long revision)
{
    rivals_epoch++;
    rival_writes(world, store, revision);
}

static bool is_ours(const struct world *world)
{
    char text[64], expected[24];
    assert_true(redis_server_ask(world->server, "HGET p:l2:1:marker store", text, sizeof text));
    (void)snprintf(expected, sizeof expected, "%016x", WORLD_STORE_ID);
    char epoch[64], rivals[24];
    assert_true(redis_server_ask(world->server, "HGET p:l2:1:marker epoch", epoch, sizeof epoch));
    (void)snprintf(rivals, sizeof rivals, "%016llx", rivals_epoch);
    return strcmp(text, expected) == 0 && strcmp(epoch, rivals) != 0;
}

static void until_ours(struct world *world, struct host *host)
{
    for (unsigned i = 0; i < SHORTLY && !is_ours(world); i++)
        follow(world, host);
    assert_true(is_ours(world));
}

static void until_yielded(struct world *world, struct host *host)
{
    for (unsigned i = 0; i < SHORTLY && !host->counters.l2_contested; i++)
        follow(world, host);
    assert_int_equal(host->counters.l2_contested, 1);
    assert_false(is_ours(world));
}

/* Taken CONTESTS times, and lost once more. */
static struct host *begin_and_yield(struct world *world, unsigned long long store)
{
    struct host *host = begin(world);
    until_ours(world, host);
    for (unsigned i = 0; i < CONTESTS; i++) {
        rival_takes(world, store, 900000);
        until_ours(world, host);
        assert_int_equal(host->counters.l2_contested, 0);
    }
    rival_takes(world, store, 900000);
    until_yielded(world, host);
    return host;
}

static void what_is_defended_is_left_alone(void **state)
{
    const struct scope_key somewhere = {1, 1};
    for (unsigned long long store = WORLD_STORE_ID; store <= 99; store += 99 - WORLD_STORE_ID) {
        struct world *world = world_begin(31, *state);
        struct host *host = begin_and_yield(world, store);
        uint64_t advances = host->counters.l2_advances, epochs = host->counters.l2_epochs;
        assert_false(host->l2->marker.known);
        assert_null(l2_lookup_start(host->l2, 1, somewhere, 0, false, NULL, NULL));
        host->l2->marker.yielding.until_ns = clock_ns() + WORLD_HANG_NS;
        for (unsigned i = 0; i < 50; i++)
            follow(world, host);
        assert_int_equal(host->counters.l2_advances, advances);
        assert_int_equal(host->counters.l2_epochs, epochs);
        assert_false(is_ours(world));
        world_end(world, NULL);
    }
}

/* However long: it looks after each pause, finds that somebody else has moved the marker, and says nothing. */
static void while_the_other_lives_it_stays_out(void **state)
{
    struct world *world = world_begin(32, *state);
    struct host *host = begin_and_yield(world, WORLD_STORE_ID);
    uint64_t epochs = host->counters.l2_epochs, lines = host->l2->marker.contest.line_ns;
    world_ask_redis(world, "DEL p:l2:1:contests"); /* what Redis remembered is over */
    for (unsigned pause = 0; pause < 3; pause++) {
        uint64_t until_ns = host->l2->marker.yielding.until_ns;
        rival_writes(world, WORLD_STORE_ID, 900001 + pause);
        for (unsigned i = 0; i < SHORTLY && host->l2->marker.yielding.until_ns == until_ns; i++) {
            follow(world, host);
            (void)usleep(1000);
        }
        assert_true(host->l2->marker.yielding.until_ns > until_ns);
    }
    assert_int_equal(host->counters.l2_epochs, epochs);
    assert_int_equal(host->counters.l2_contested, 1);
    assert_int_equal(host->l2->marker.contest.line_ns, lines);
    assert_false(is_ours(world));
    world_end(world, NULL);
}

static void what_stood_still_is_taken(void **state)
{
    struct world *world = world_begin(33, *state);
    struct host *host = begin_and_yield(world, WORLD_STORE_ID);
    for (unsigned i = 0; i < 3 * YIELD_MS; i++) { /* Redis remembers still: not yet */
        follow(world, host);
        (void)usleep(1000);
    }
    assert_false(is_ours(world));
    world_ask_redis(world, "DEL p:l2:1:contests");
    for (unsigned i = 0; i < SHORTLY && !is_ours(world); i++) {
        follow(world, host);
        (void)usleep(1000);
    }
    until_ours(world, host);
    assert_int_equal(host->counters.l2_contested, 0);
    world_end(world, NULL);
}

static void what_is_gone_is_begun_anew(void **state)
{
    struct world *world = world_begin(34, *state);
    struct host *host = begin_and_yield(world, 99);
    world_ask_redis(world, "DEL p:l2:1:marker");
    for (unsigned i = 0; i < SHORTLY && !is_ours(world); i++) {
        follow(world, host);
        (void)usleep(1000);
    }
    assert_true(is_ours(world));
    for (unsigned i = 0; i < SHORTLY && host->counters.l2_contested; i++)
        follow(world, host);
    assert_int_equal(host->counters.l2_contested, 0);
    world_end(world, NULL);
}

/* A marker that is somewhere else each time one looks is of another history all the same. */
static void one_that_never_rests_is_found_out(void **state)
{
    struct world *world = world_begin(35, *state);
    struct host *host = begin(world);
    uint64_t epochs;
    until_ours(world, host);
    epochs = host->counters.l2_epochs;
    rival_takes(world, WORLD_STORE_ID, 900000);
    for (unsigned i = 1; i < 20 && host->counters.l2_epochs == epochs; i++) {
        rival_writes(world, WORLD_STORE_ID, 900000 + i);
        follow(world, host);
    }
    assert_int_equal(host->counters.l2_epochs, epochs + 1);
    world_end(world, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_defended_is_left_alone),
        cmocka_unit_test(while_the_other_lives_it_stays_out),
        cmocka_unit_test(what_stood_still_is_taken),
        cmocka_unit_test(what_is_gone_is_begun_anew),
        cmocka_unit_test(one_that_never_rests_is_found_out),
    };
    if (!redis_server_installed())
        return 77;
    return cmocka_run_group_tests(tests, world_start_redis, world_stop_redis);
}
