/* L2 against the truth. Some hosts share one Redis, each as far behind a store that changes at random as its polls
 * happen to be. Anything may come between two steps of anything: changes, polls, late puts, lost connections; Redis
 * emptied, restored from an older copy of itself, its marker and its values spoilt; the store's log trimmed, the
 * store itself replaced by an older backup that then goes another way; hosts started anew.
 *
 *   Whatever a look answers, and whatever it has left in the table, is what the slow resolver says of the policy at the
 *   revision of that host's table.
 *
 * A put at any revision or of another history, rows or scopes that stay, an advance from elsewhere, an epoch that
 * is begun again, a role that leaves its scope, roles believed without their definitions, a late put that is not
 * judged again, values taken for true at the table's revision, a token ignored: each was done to it once and failed
 * here. Rarer ones (plain scopes that stay, an advance of another history) are found by many histories, or by
 * test_l2_scripts.py at once. */
#include "proxy/base/clock.h"
#include "proxy/table/retire.h"
#include "tests/support/l2_hosts.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- what befalls Redis ------------------------------------------------------------------------------------------ */

static const char *const spoilings[] = {
    "FLUSHALL",
    "DEL p:l2:1:marker",
    "SET p:l2:1:marker x",
    "HSET p:l2:1:marker store 0000000000000008",
    "HSET p:l2:1:marker revision 00000000000000099999",
    "HSET p:l2:1:marker nonce 12345678",
    "HSET p:l2:1:marker revision x",
    "HDEL p:l2:1:marker epoch",
    "EVAL \"local k = redis.call('RANDOMKEY') if k and not k:find('marker') then redis.call('DEL', k) end\" "
    "0",
    "EVAL \"local k = redis.call('RANDOMKEY') if k and k:find('scope:') then redis.call('HSET', k, 'value', "
    "'?') end\" 0",
    "EVAL \"local k = redis.call('RANDOMKEY') if k and k:find('scope:') then redis.call('HSET', k, 'parent', "
    "'x') end\" 0",
    "EVAL \"local k = redis.call('RANDOMKEY') if k and k:find('user:') then redis.call('HSET', k, "
    "'channel:100', '') "
    "end\" 0",
    "EVAL \"local k = redis.call('RANDOMKEY') if k and not k:find('marker') then redis.call('SET', k, 'x') "
    "end\" 0",
    "CLIENT KILL TYPE normal SKIPME yes",
};

static void befall_redis(struct world *world)
{
    uint64_t drawn = world_draw(world, 40);
    if (drawn < 8) {
        world_ask_redis(world, "SAVE");
        world->dump_held = true;
    } else if (drawn < 16 && world->dump_held) {
        world_ask_redis(world, "DEBUG RELOAD NOSAVE");
        if (world_draw(world, 2) == 0)
            host_poll(&world->hosts[world_draw(world, WORLD_HOSTS)]); /* before anybody has noticed */
    } else {
        world_ask_redis(world, spoilings[world_draw(world, sizeof spoilings / sizeof spoilings[0])]);
    }
}

/* ---- steps ------------------------------------------------------------------------------------------------------- */

/* Some turns of the loop, or until Redis owes nobody a reply. */
static void turn(struct world *world)
{
    if (world_draw(world, 3) > 0) {
        world_until_quiet(world);
        return;
    }
    for (uint64_t turns = 1 + world_draw(world, 3); turns > 0; turns--)
        (void)event_base_loop(world->base, EVLOOP_NONBLOCK);
}

/* Replaces the store by an older backup; often it then comes to the same revision as before on another way, and
 * one host knows of it. */
static void replace_store(struct world *world)
{
    uint64_t before = world->past.revision;
    world_restore_store(world);
    if (world_draw(world, 2) == 0)
        return;
    for (int i = 0; i < 100 && world->past.revision < before; i++)
        world_commit(world);
    host_poll(&world->hosts[world_draw(world, WORLD_HOSTS)]);
}

static void befall_store(struct world *world)
{
    switch (world_draw(world, 6)) {
    case 0:
    case 1:
        replace_store(world);
        break;
    case 2:
        world->purged = world->past.revision - 1 - world_draw(world, world->past.revision > 5 ? 5 : 1);
        break;
    default:
        world_backup_store(world);
    }
}

static void hear(struct host *host)
{
    struct world *world = host->world;
    struct target target = {.kind = TARGET_USER, .id = changing_user(&world->past)};
    uint64_t revision = world_draw(world, world->past.revision + 3);
    l2_heard(host->l2, revision);
    if (world_draw(world, 4) == 0)
        (void)publisher_hear(host->publisher, &target, revision, clock_ns());
}

static void step(struct world *world)
{
    struct host *host = &world->hosts[world_draw(world, WORLD_HOSTS)];
    uint64_t drawn = world_draw(world, 1000);
    if (host->woken && world_draw(world, 3) == 0)
        host_poll(host);
    if (drawn < 100)
        world_commit(world);
    else if (drawn < 180)
        host_poll(host);
    else if (drawn < 380)
        host_look(host);
    else if (drawn < 480)
        host_look_at_place(host);
    else if (drawn < 700)
        host_fill_end(host);
    else if (drawn < 950)
        turn(world);
    else if (drawn < 960)
        world->past.now += (int64_t)world_draw(world, 6);
    else if (drawn < 970)
        hear(host);
    else if (drawn < 980)
        world_step_job(world);
    else if (drawn < 982)
        host_restart(host);
    else if (drawn < 983)
        l2_flush(host->l2);
    else if (drawn < 984)
        world_reconnect(world);
    else if (drawn < 984 + world->redis_trouble)
        befall_redis(world);
    else if (drawn < 992 + world->store_trouble)
        befall_store(world);
}

/* All get what they wait for; then everybody agrees, and L2 serves again. */
static void settle(struct world *world)
{
    for (int i = 0; i < 24000 && world->looks > 0; i++) {
        (void)event_base_loop(world->base, EVLOOP_NONBLOCK);
        (void)usleep(500);
    }
    assert_int_equal(world->looks, 0);
}

static void run(uint64_t seed, int steps, struct redis_server *server, struct totals *totals)
{
    struct world *world = world_begin(seed, server);
    world->totals = *totals;
    for (int i = 0; i < steps; i++)
        step(world);
    settle(world);
    world_end(world, totals);
}

/* PERMTAB_PROPERTY_SEEDS in the environment: how many histories. */
static uint64_t seeds(void)
{
    const char *wanted = getenv("PERMTAB_PROPERTY_SEEDS");
    return wanted != NULL ? strtoull(wanted, NULL, 10) : 10;
}

static void never_untrue(void **state)
{
    struct totals totals = {0};
    uint64_t first =
        getenv("PERMTAB_PROPERTY_FIRST") ? strtoull(getenv("PERMTAB_PROPERTY_FIRST"), NULL, 10) : 1;
    for (uint64_t seed = first; seed < first + seeds(); seed++) {
        if (getenv("PERMTAB_PROPERTY_VERBOSE"))
            print_message("seed %llu\n", (unsigned long long)seed);
        run(seed * 7919, 8000, *state, &totals);
    }
    print_message("fills %llu, %llu with a marker, hits %llu, misses %llu, outdated %llu, puts %llu, refused "
                  "%llu, advances %llu, epochs "
                  "%llu, lock waits "
                  "%llu, logs read %llu, connections lost %llu, found at places %llu\n",
                  (unsigned long long)totals.fills, (unsigned long long)totals.known,
                  (unsigned long long)totals.hits, (unsigned long long)totals.misses,
                  (unsigned long long)totals.outdated, (unsigned long long)totals.puts,
                  (unsigned long long)totals.refused, (unsigned long long)totals.advances,
                  (unsigned long long)totals.epochs, (unsigned long long)totals.waits,
                  (unsigned long long)totals.logs, (unsigned long long)totals.lost,
                  (unsigned long long)totals.places);
    /* The test is worth something only if all of this has happened. */
    if (seeds() >= 10) {
        assert_true(totals.hits > 800);
        assert_true(totals.puts > 800);
        assert_true(totals.outdated > 50);
        assert_true(totals.refused > 200);
        assert_true(totals.advances > 1000 && totals.advances < 50000);
        assert_true(totals.epochs > 50);
        assert_true(totals.logs > 50);
        assert_true(totals.places > 50);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(never_untrue)};
    if (!redis_server_installed())
        return 77;
    (void)signal(SIGPIPE, SIG_IGN); /* as the daemon: connections are killed here */
    return cmocka_run_group_tests(tests, world_start_redis, world_stop_redis);
}
