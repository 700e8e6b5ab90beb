/* Values in L2: what is put, in what size, for how long, when it comes late, and when it is read again before it
 * ends. */
#include "proxy/table/retire.h"
#include "tests/support/l2_hosts.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- early refresh ----------------------------------------------------------------------------------------------- */

/* Returns what a host is reading from the store; NULL: nothing. */
static const struct facts *being_read(const struct host *host)
{
    for (size_t i = 0; i < HOST_FILLS; i++)
        if (host->fills[i].used)
            return &host->fills[i].facts;
    return NULL;
}

/* Counts how often looks at a value that took so long to read ask for it to be read again. `warms`: the warm-up's. */
static uint64_t refreshes_of_a_look(struct host *host, uint64_t cost_us, bool warms)
{
    static const struct scope_key everywhere = {0, 0};
    enum l2_outcome outcome = (enum l2_outcome)99;
    uint64_t refreshes = host->counters.l2_refreshes;
    world_forget_values(host->world);
    host_put(host, 1, everywhere, cost_us);
    world_until_answered(host->world);
    assert_int_equal(host->counters.l2_misses, 0);
    assert_non_null(l2_lookup_start(host->l2, 1, everywhere, 0, warms, host_on_looked, &outcome));
    world_until_answered(host->world);
    assert_int_equal(outcome, L2_ANSWERED); /* by what is there, in any case */
    return host->counters.l2_refreshes - refreshes;
}

/* A value that takes longer to read than it still lives is read again by the host that finds it; one that has nearly
 * all of its life before it, and is soon read, is not. Between those it is a matter of chance
 * (test_early_refresh.c). */
static void what_is_dear_is_refreshed_early(void **state)
{
    const uint64_t life_us = 60000 * 1000, a_thousand_years = 1000000 * life_us;
    struct world *world = world_begin(17, *state);
    struct host *host = &world->hosts[0];
    world_reconnect(world);
    world_until_answered(world);
    for (int i = 0; i < 20; i++)
        assert_int_equal(refreshes_of_a_look(host, life_us / 100, false), 0);
    assert_null(being_read(host));
    assert_int_equal(refreshes_of_a_look(host, 1000 * a_thousand_years, true), 0); /* nobody asks for it */
    assert_null(being_read(host));
    assert_int_equal(refreshes_of_a_look(host, 1000 * a_thousand_years, false), 1);
    assert_non_null(being_read(host));
    assert_int_equal(being_read(host)->user, 1);
    assert_int_equal(being_read(host)->scope.type, 0);
    world_end(world, NULL);
}

/* ---- lives of values --------------------------------------------------------------------------------------------- */

static bool has_rows(const struct facts *facts)
{
    size_t of_user = facts->assignment_count;
    for (size_t i = 0; i < facts->overwrite_count; i++)
        of_user += facts->overwrites[i].subject == OVERWRITE_USER;
    return of_user > 0;
}

/* Milliseconds that the one key of that kind has to live. */
static long life_of(struct world *world, const char *kind)
{
    char command[200], reply[256];
    (void)snprintf(command, sizeof command,
                   "EVAL \"return redis.call('PTTL', redis.call('KEYS', 'p:*{%s:*')[1])\" 0", kind);
    assert_true(redis_server_ask(world->server, command, reply, sizeof reply));
    return strtol(reply, NULL, 10);
}

/* Ids that nobody has, and places that are none, are asked for by whoever guesses: they do not stay as long as what
 * is there. */
static void strangers_and_absent_places_live_briefly(void **state)
{
    const long brief_ms = 30000, life_ms = 60000; /* of l2/put.c, of host_begin */
    struct world *world = world_begin(19, *state);
    struct host *host = &world->hosts[0];
    unsigned with_rows = 0, strangers = 0;
    world_reconnect(world);
    world_until_answered(world);
    for (int i = 0; i < 100; i++)
        host_follow(host); /* to begin with there are few rows */
    world_until_answered(world);
    for (int i = 0; i < 200; i++) {
        uint64_t user = changing_user(&world->past);
        struct scope_key scope = changing_scope(&world->past);
        struct facts facts;
        memory_facts(&world->past.policy, user, scope, world->past.now, &facts);
        bool known = has_rows(&facts), there = facts.chain_count > 0;
        facts_fini(&facts);
        if (!there)
            continue;
        world_forget_values(world);
        host_put(host, user, scope, 1);
        world_until_answered(world);
        assert_in_range(life_of(world, "user"), known ? brief_ms + 1 : 1, known ? life_ms : brief_ms);
        assert_in_range(life_of(world, "scope"), brief_ms + 1, life_ms);
        with_rows += known;
        strangers += !known;
    }
    assert_true(with_rows > 0 && strangers > 0);
    world_forget_values(world);
    host_put(host, 1, nowhere, 1);
    world_until_answered(world);
    assert_in_range(life_of(world, "scope"), 1, brief_ms);
    world_end(world, NULL);
}

/* An overwrite of one's own is a row, too; and what is read again before it ends has a whole life before it. */
static void own_overwrites_live_long_and_a_refresh_lives_anew(void **state)
{
    static const struct scope_key everywhere = {0, 0};
    struct world *world = world_begin(28, *state);
    struct host *host = &world->hosts[0];
    struct facts facts;
    uint64_t epoch;
    world_reconnect(world);
    world_until_answered(world);
    for (int refresh = 0; refresh < 2; refresh++) {
        for (int again = 0; again < 2; again++) {
            host_read_rows(host, 50, everywhere, &facts, &epoch);
            assert_false(has_rows(&facts));
            free(facts.overwrites);
            facts.overwrites = calloc(1, sizeof *facts.overwrites);
            facts.overwrites[0].subject = OVERWRITE_USER;
            facts.overwrite_count = 1;
            l2_put(host->l2, &facts, epoch, 1, refresh && again);
            world_until_answered(world);
            if (again)
                continue;
            assert_in_range(life_of(world, "user"), 30001, 60000);
            world_ask_redis(world,
                            "EVAL \"redis.call('PEXPIRE', redis.call('KEYS', 'p:*{user:50}')[1], 20000)\" 0");
        }
        assert_in_range(life_of(world, "user"), refresh ? 30001 : 1, refresh ? 60000 : 20000);
        world_forget_values(world);
    }
    world_end(world, NULL);
}

/* The change that would mend a broken chain names a place of which the value says nothing. */
static void broken_chains_are_not_put(void **state)
{
    static const struct scope_key everywhere = {0, 0};
    struct world *world = world_begin(29, *state);
    struct host *host = &world->hosts[0];
    struct facts facts;
    uint64_t epoch;
    world_reconnect(world);
    world_until_answered(world);
    host_read_rows(host, 1, everywhere, &facts, &epoch);
    facts.broken = true;
    l2_put(host->l2, &facts, epoch, 1, false);
    world_until_answered(world);
    assert_int_equal(host->counters.l2_puts, 0);
    world_end(world, NULL);
}

/* ---- late puts --------------------------------------------------------------------------------------------------- */

/* The put of what this host has read is refused because another was quicker to see a change: it waits for
 * the table to get there. */
static struct host *host_with_a_late_put(struct world *world)
{
    struct host *late = &world->hosts[0], *quick = &world->hosts[1];
    struct facts facts;
    uint64_t epoch;
    world_reconnect(world);
    world_until_answered(world);
    host_read_rows(late, 1, nowhere, &facts, &epoch);
    host_follow(quick);
    world_until_answered(world);
    host_publish_and_put(late, &facts, epoch, 1);
    world_until_answered(world);
    assert_int_equal(late->counters.l2_puts_refused, 1);
    assert_int_equal(late->l2->late_count, 1);
    return late;
}

static void poll_and_turn(struct world *world, struct host *host)
{
    host_apply_batch(host);
    host_remember_applied(host);
    l2_applied(host->l2);
    world_until_answered(world);
}

static void a_late_put_that_is_still_true_is_kept(void **state)
{
    struct world *world = world_begin(20, *state);
    struct host *host = host_with_a_late_put(world);
    enum l2_outcome outcome;
    poll_and_turn(world, host);
    assert_int_equal(host->l2->late_count, 0);
    assert_int_equal(host->counters.l2_puts, 1);
    publisher_retire_user(host->publisher, 1);
    assert_non_null(host_look_for(host, &outcome));
    world_until_answered(world);
    assert_int_equal(outcome, L2_ANSWERED);
    world_end(world, NULL);
}

/* Here a change of its place came meanwhile, so the marker would not have kept it from being put. */
static void a_late_put_that_is_outdated_is_dropped(void **state)
{
    struct world *world = world_begin(21, *state);
    struct host *host = host_with_a_late_put(world);
    struct change row = {
        .kind = CHANGE_SCOPE, .scope = nowhere, .revision = world->past.revision + 1, .nonce = 99};
    world_append_rows(&world->log, &row, 1);
    world->past.revision++;
    poll_and_turn(world, host);
    assert_int_equal(host->l2->marker.at.revision, world->past.revision);
    assert_int_equal(host->l2->late_count, 0);
    assert_int_equal(host->counters.l2_puts, 0);
    assert_int_equal(host->counters.l2_puts_refused, 1); /* it was not even tried */
    world_end(world, NULL);
}

/* ---- bounds ------------------------------------------------------------------------------------------------------ */

static void what_is_too_large_is_not_put(void **state)
{
    static const struct scope_key everywhere = {0, 0};
    struct world *world = world_begin(22, *state);
    struct host *host = &world->hosts[0];
    struct facts facts;
    uint64_t epoch;
    world_reconnect(world);
    world_until_answered(world);
    for (size_t count = 1; count <= 100000; count *= 100000) {
        host_read_rows(host, 1, everywhere, &facts, &epoch);
        free(facts.assignments);
        facts.assignments = calloc(count, sizeof *facts.assignments);
        facts.assignment_count = count;
        for (size_t i = 0; i < count; i++)
            facts.assignments[i] = (struct facts_assignment){.role = i + 1, .expires_at = FACTS_NEVER};
        l2_put(host->l2, &facts, epoch, 1, false);
        world_until_answered(world);
        assert_int_equal(host->counters.l2_puts, 1);
        assert_int_equal(host->counters.l2_oversized, count > 1);
        assert_int_equal(host->l2->putting, 0);
    }
    world_end(world, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_dear_is_refreshed_early),
        cmocka_unit_test(strangers_and_absent_places_live_briefly),
        cmocka_unit_test(own_overwrites_live_long_and_a_refresh_lives_anew),
        cmocka_unit_test(broken_chains_are_not_put),
        cmocka_unit_test(a_late_put_that_is_still_true_is_kept),
        cmocka_unit_test(a_late_put_that_is_outdated_is_dropped),
        cmocka_unit_test(what_is_too_large_is_not_put),
    };
    if (!redis_server_installed())
        return 77;
    (void)signal(SIGPIPE, SIG_IGN); /* as the daemon: connections are killed here */
    return cmocka_run_group_tests(tests, world_start_redis, world_stop_redis);
}
