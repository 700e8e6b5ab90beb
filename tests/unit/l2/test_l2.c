/* L2, one promise at a time, between hosts that take their steps when the test says so. Values are in
 * test_l2_values.c, random histories in test_l2_property.c. */
#include "proxy/base/clock.h"
#include "proxy/table/private.h"
#include "tests/support/l2_hosts.h"

#include <signal.h>
#include <unistd.h>

/* A message that a revision has been reached, which it has not: by an invention, or because Redis was restored
 * since. It may not keep the marker from following, nor make this host ask without end. */
static void hearsay_of_the_marker(void **state)
{
    struct world *world = world_begin(7, *state);
    struct host *host = &world->hosts[0];
    uint64_t revision = world->past.revision;
    world_reconnect(world);
    world_until_quiet(world);
    assert_true(host->l2->marker.known);
    assert_int_equal(host->l2->marker.at.revision, revision);
    for (int round = 0; round < 3; round++) {
        uint64_t before = host->counters.l2_advances;
        do
            world_commit(world);
        while (world->past.revision == revision);
        revision = world->past.revision;
        l2_heard(host->l2, revision);
        host_poll(host);
        world_until_quiet(world);
        assert_true(host->counters.l2_advances - before <= 2);
    }
    /* Nobody else has spoken since: the next change finds out that there was nothing in it. */
    do
        world_commit(world);
    while (world->past.revision == revision);
    host_poll(host);
    world_until_quiet(world);
    assert_int_equal(host->l2->marker.at.revision, world->past.revision);
    assert_int_equal(host->counters.l2_marker_revision, world->past.revision);
    world_end(world, NULL);
}

/* A look that waits for a value of a revision that this table does not come to is told so soon, however many polls
 * come: the marker may be of a history that was lost, or this host may read a server that nobody writes to any more. */
static void on_late(void *context, enum l2_outcome outcome, const struct answer *answer)
{
    (void)answer;
    assert_int_equal(outcome, L2_MISSED);
    --*(unsigned *)context;
}

static void held_for_ever_by_nothing(void **state)
{
    struct world *world = world_begin(11, *state);
    unsigned held = 0;
    world_reconnect(world);
    world_until_answered(world);
    host_follow(&world->hosts[1]);
    world_until_answered(world);
    host_put(&world->hosts[1], 1, nowhere, 1);
    world_until_answered(world);
    held += l2_lookup_start(world->hosts[0].l2, 1, nowhere, 0, false, on_late, &held) != NULL;
    world_until_answered(world);
    assert_int_equal(held, 1);
    for (int polls = 0; polls < 3600 && held > 0; polls++) {
        l2_applied(world->hosts[0].l2);
        (void)event_base_loop(world->base, EVLOOP_NONBLOCK);
        (void)usleep(1000);
    }
    assert_int_equal(held, 0);
    world_end(world, NULL);
}

/* A key that stands in the marker's place and is no marker, or means the same and is written otherwise, is replaced,
 * and not asked about again and again. */
static void markers_that_are_none(void **state)
{
    static const char *const markers[] = {
        "HSET p:l2:1:marker store 0x00000000000007",
        "HSET p:l2:1:marker store +000000000000007",
        "EVAL \"redis.call('HSET', KEYS[1], 'revision', (redis.call('HGET', KEYS[1], 'revision'):gsub('^0+', "
        "'')))\" 1 p:l2:1:marker",
        "EVAL \"redis.call('HSET', KEYS[1], 'nonce', '0' .. redis.call('HGET', KEYS[1], 'nonce'))\" 1 "
        "p:l2:1:marker",
        "EVAL \"redis.call('HSET', KEYS[1], 'store', string.rep('a', 1000))\" 1 p:l2:1:marker",
        "EVAL \"redis.call('HSET', KEYS[1], 'revision', 'a\\\\0b')\" 1 p:l2:1:marker",
    };
    struct world *world = world_begin(12, *state);
    struct host *host = &world->hosts[0];
    world_reconnect(world);
    world_until_answered(world);
    for (size_t i = 0; i < sizeof markers / sizeof markers[0]; i++) {
        uint64_t scripts = host->counters.l2_advances, epochs = host->counters.l2_epochs;
        world_ask_redis(world, markers[i]);
        host_follow(host);
        world_until_answered(world);
        if (host->counters.l2_advances - scripts > 3 || host->counters.l2_epochs != epochs + 1 ||
            host->l2->marker.at.revision != world->past.revision)
            fail_msg("%s: %u scripts, %u epochs, marker at %u of %u", markers[i],
                     (unsigned)(host->counters.l2_advances - scripts),
                     (unsigned)(host->counters.l2_epochs - epochs), (unsigned)host->l2->marker.at.revision,
                     (unsigned)world->past.revision);
    }
    world_end(world, NULL);
}

/* ---- what the log does not tell ---------------------------------------------------------------------------------- */

/* A host that has put something into L2 and finds it there. */
static struct host *host_with_a_value(struct world *world)
{
    enum l2_outcome outcome;
    struct host *host = &world->hosts[0];
    world_reconnect(world);
    world_until_answered(world);
    host_follow(host);
    world_until_answered(world);
    host_put(host, 1, nowhere, 1);
    world_until_answered(world);
    assert_non_null(host_look_for(host, &outcome));
    world_until_answered(world);
    assert_int_equal(outcome, L2_ANSWERED);
    return host;
}

/* Does what the feed does when it cannot believe the store, and then builds the table anew from it. */
static void distrust_and_rebuild(struct host *host)
{
    publisher_end_lease(host->publisher, STORE_NOT_BELIEVED);
    host_rebuild(host);
    publisher_renew(host->publisher, clock_ns());
}

/* The table is made anew while lookups are away: what they bring was read before, and the next one answers. */
static void lookups_that_a_rebuild_overtakes_have_missed(void **state)
{
    static const struct scope_key everywhere = {0, 0};
    struct world *world = world_begin(32, *state);
    struct host *host = host_with_a_value(world);
    enum l2_outcome absent, hit = L2_ANSWERED;
    host_put(host, 50, everywhere, 1);
    world_until_answered(world);
    redis_server_pause(*state);
    assert_non_null(host_look_for(host, &absent));
    assert_non_null(l2_lookup_start(host->l2, 50, everywhere, 0, false, host_on_looked, &hit));
    world_until_quiet(world); /* they go off */
    host_rebuild(host);
    host_put(host, 50, everywhere, 1); /* its roles are known here */
    redis_server_resume(*state);
    world_until_answered(world);
    assert_int_equal(absent, L2_MISSED);
    assert_int_equal(hit, L2_MISSED);
    assert_int_equal(host->counters.l2_outdated, 2);
    assert_non_null(host_look_for(host, &absent));
    world_until_answered(world);
    assert_int_equal(absent, L2_ANSWERED);
    world_end(world, NULL);
}

/* The warm-up fills from L2 as well. Who asks for the same meanwhile makes a miss of it. */
static void what_the_warm_up_finds_is_no_miss(void **state)
{
    static const struct scope_key everywhere = {0, 0};
    struct world *world = world_begin(33, *state);
    struct host *host = host_with_a_value(world);
    host_put(host, 50, everywhere, 1);
    host_put(host, 51, everywhere, 1); /* its definitions stay resident */
    world_until_answered(world);
    for (unsigned round = 0; round < 3; round++) {
        enum l2_outcome warmed = (enum l2_outcome)99, asked = (enum l2_outcome)99;
        uint64_t fills = host->counters.fills, known = host->counters.fills_known;
        assert_int_equal(publisher_retire_user_now(host->publisher, 50, clock_ns()), 1);
        if (round < 2)
            assert_non_null(l2_lookup_start(host->l2, 50, everywhere, 0, true, host_on_looked, &warmed));
        if (round > 0)
            assert_non_null(l2_lookup_start(host->l2, 50, everywhere, 0, false, host_on_looked, &asked));
        world_until_answered(world);
        assert_int_equal(host->counters.fills, fills + 1);
        assert_int_equal(host->counters.fills_known, known + (round > 0));
        assert_int_equal(warmed, round < 2 ? L2_ANSWERED : 99);
        assert_int_equal(asked, round > 0 ? L2_ANSWERED : 99);
    }
    world_end(world, NULL);
}

/* Rows went while a trigger was away, and the revision is as before. */
static void what_was_distrusted_is_forgotten(void **state)
{
    struct world *world = world_begin(13, *state);
    struct host *host = host_with_a_value(world);
    uint64_t epochs = host->counters.l2_epochs;
    enum l2_outcome outcome;
    distrust_and_rebuild(host);
    host->l2->marker.begun_ns = clock_ns(); /* one a second is for other reasons */
    l2_applied(host->l2);
    assert_null(host_look_for(host, &outcome)); /* not before it is forgotten */
    world_until_answered(world);
    assert_int_equal(host->counters.l2_epochs, epochs + 1);
    assert_non_null(host_look_for(host, &outcome));
    world_until_answered(world);
    assert_int_equal(outcome, L2_MISSED);
    l2_applied(host->l2); /* once is enough */
    world_until_answered(world);
    assert_int_equal(host->counters.l2_epochs, epochs + 1);
    world_end(world, NULL);
}

/* An epoch that was begun before that, and of which Redis has not told yet, does not count: between the two another
 * host may have put into it what it had read. */
static void what_was_distrusted_takes_an_epoch_of_its_own(void **state)
{
    struct world *world = world_begin(20, *state);
    struct host *host = host_with_a_value(world);
    uint64_t before = host->counters.l2_epochs, first = host->l2->marker.epoch;
    redis_server_pause(*state);
    l2_flush(host->l2);
    world_until_quiet(world); /* it goes off */
    distrust_and_rebuild(host);
    l2_applied(host->l2);
    redis_server_resume(*state);
    world_until_answered(world);
    assert_false(host->l2->marker.flush);
    assert_int_equal(host->counters.l2_epochs, before + 1);
    unsigned past = 0;
    for (unsigned i = 0; i < L2_EPOCHS_PAST; i++)
        past += host->l2->marker.past[i] != 0;
    assert_int_equal(past, 2); /* the first, and the one that did not count */
    assert_int_not_equal(host->l2->marker.epoch, first);
    world_end(world, NULL);
}

/* All hosts forget together what they find out together: the one that comes second does not wait a second. */
static void all_forget_at_once(void **state)
{
    struct world *world = world_begin(16, *state);
    enum l2_outcome outcome;
    (void)host_with_a_value(world);
    for (unsigned i = 0; i < WORLD_HOSTS; i++) {
        host_follow(&world->hosts[i]);
        world_until_answered(world);
    }
    for (unsigned i = 0; i < WORLD_HOSTS; i++)
        l2_flush(world->hosts[i].l2);
    world_until_answered(world);
    for (unsigned i = 0; i < WORLD_HOSTS; i++) {
        assert_int_equal(world->hosts[i].counters.l2_epochs > 0, true);
        assert_false(world->hosts[i].l2->marker.flush);
    }
    assert_non_null(host_look_for(&world->hosts[0], &outcome));
    world_until_answered(world);
    world_end(world, NULL);
}

/* A host whose memory is damaged may doubt all the time. */
static void doubt_empties_l2_once_a_minute(void **state)
{
    struct world *world = world_begin(19, *state);
    struct host *host = host_with_a_value(world);
    uint64_t epochs = host->counters.l2_epochs;
    enum l2_outcome outcome;
    l2_flush_sparingly(host->l2);
    world_until_answered(world);
    assert_int_equal(host->counters.l2_epochs, epochs + 1);
    for (unsigned i = 0; i < 3; i++) {
        l2_flush_sparingly(host->l2);
        l2_applied(host->l2);
        world_until_answered(world);
        assert_null(host_look_for(host, &outcome)); /* it may be L2 that is wrong */
    }
    assert_int_equal(host->counters.l2_epochs, epochs + 1);
    assert_in_range(host->l2->marker.flush_ns, clock_ns() + 50000000000ull, clock_ns() + 60000000000ull);
    world_commit(world); /* the marker is kept going all the same */
    host_follow(host);
    world_until_answered(world);
    assert_int_equal(host->l2->marker.at.revision, world->past.revision);
    host->l2->marker.flush_ns = clock_ns(); /* the minute is over */
    l2_applied(host->l2);
    world_until_answered(world);
    assert_int_equal(host->counters.l2_epochs, epochs + 2);
    assert_non_null(host_look_for(host, &outcome));
    world_until_answered(world);
    l2_flush_sparingly(host->l2);
    l2_flush(host->l2); /* somebody wants it now */
    world_until_answered(world);
    assert_int_equal(host->counters.l2_epochs, epochs + 3);
    world_end(world, NULL);
}

/* An answer, or what waits to be put, from before the table was made anew at the same revision. */
static void what_was_under_way_is_not_believed(void **state)
{
    struct world *world = world_begin(14, *state);
    struct host *host = host_with_a_value(world);
    enum l2_outcome outcome;
    redis_server_pause(*state);
    assert_non_null(host_look_for(host, &outcome));
    world_until_quiet(world); /* it goes off */
    distrust_and_rebuild(host);
    redis_server_resume(*state);
    world_until_answered(world);
    assert_int_equal(outcome, L2_MISSED);
    world_end(world, NULL);
}

static enum l2_outcome looked_for(struct world *world, struct host *host)
{
    enum l2_outcome outcome;
    assert_non_null(host_look_for(host, &outcome));
    world_until_answered(world);
    return outcome;
}

/* The host that noticed ends before it can believe the store again, as one does that is started anew for not being
 * healthy. What it is when it comes back knows nothing of it, and finds revision and nonce as they were. */
static void what_was_distrusted_is_forgotten_over_a_restart(void **state)
{
    struct world *world = world_begin(18, *state);
    struct host *host = host_with_a_value(world);
    publisher_end_lease(host->publisher, STORE_NOT_BELIEVED);
    world_ask_redis(world, "CLIENT KILL TYPE normal SKIPME yes");
    world_until_quiet(world);
    l2_erase_if_distrusted(host->l2); /* and Redis is away just now */
    world_reconnect(world);
    for (int news = 0; news < 3; news++) {
        l2_erase_if_distrusted(host->l2);
        world_until_answered(world);
    }
    uint64_t scripts = host->counters.l2_advances;
    l2_erase_if_distrusted(host->l2); /* nothing is left to be done */
    assert_int_equal(redis_pending(host->redis), 0);
    assert_int_equal(host->counters.l2_advances, scripts);
    host_restart(host);
    world_reconnect(world);
    world_until_answered(world);
    assert_int_equal(looked_for(world, host), L2_MISSED);
    world_end(world, NULL);
}

static void assert_no_marker(struct world *world)
{
    char reply[64];
    assert_true(redis_server_ask(world->server, "EXISTS p:l2:1:marker", reply, sizeof reply));
    assert_string_equal(reply, "0");
}

/* Others know nothing of it yet: they have moved the marker since it was seen here, or begun one where there was
 * none. One that ends soon after has no time for many news. */
static void what_was_distrusted_goes_whatever_others_do(void **state)
{
    struct world *world = world_begin(24, *state);
    struct host *host = host_with_a_value(world), *other = &world->hosts[1];
    host_follow(other);
    world_until_answered(world);
    publisher_end_lease(host->publisher, STORE_NOT_BELIEVED);
    l2_erase_if_distrusted(host->l2);
    world_until_answered(world);
    assert_no_marker(world);
    host_rebuild(host);
    publisher_renew(host->publisher, clock_ns());
    l2_applied(host->l2);
    world_until_answered(world);
    world_ask_redis(world, "DEL p:l2:1:marker");
    host->l2->marker.begun_ns = clock_ns(); /* so it does not begin one */
    assert_int_equal(looked_for(world, host), L2_MISSED);
    host_follow(other);
    world_until_answered(world);
    publisher_end_lease(host->publisher, STORE_NOT_BELIEVED);
    l2_erase_if_distrusted(host->l2);
    world_until_answered(world);
    assert_no_marker(world);
    world_end(world, NULL);
}

/* Nor is what was asked for before. */
static void what_is_to_be_forgotten_is_not_believed_meanwhile(void **state)
{
    struct world *world = world_begin(25, *state);
    struct host *host = host_with_a_value(world);
    enum l2_outcome outcome;
    l2_flush_sparingly(host->l2);
    world_until_answered(world);
    host_put(host, 1, nowhere, 1);
    world_until_answered(world);
    assert_int_equal(looked_for(world, host), L2_ANSWERED);
    assert_non_null(host_look_for(host, &outcome));
    l2_flush_sparingly(host->l2); /* in a minute */
    world_until_answered(world);
    assert_int_equal(outcome, L2_MISSED);
    world_end(world, NULL);
}

/* Redis was restored to before the epoch was begun, marker and all. */
static void an_epoch_that_is_past_does_not_come_back(void **state)
{
    struct world *world = world_begin(20, *state);
    struct host *host = host_with_a_value(world);
    world_ask_redis(world, "SAVE");
    distrust_and_rebuild(host);
    l2_applied(host->l2);
    world_until_answered(world);
    uint64_t epochs = host->counters.l2_epochs;
    host->l2->marker.begun_ns = 0;
    world_ask_redis(world, "DEBUG RELOAD NOSAVE");
    assert_int_equal(looked_for(world, host), L2_MISSED);
    assert_int_equal(host->counters.l2_epochs, epochs + 1);
    assert_int_equal(looked_for(world, host), L2_MISSED);
    host_put(host, 1, nowhere, 1);
    world_until_answered(world);
    assert_int_equal(looked_for(world, host), L2_ANSWERED);
    world_end(world, NULL);
}

/* The other host knows nothing of it yet, or was stopped meanwhile. The revision is as before, so nothing but the
 * epoch in which it began to read tells that it may have read the rows that are gone. */
static void what_another_host_read_before_is_not_put(void **state)
{
    struct world *world = world_begin(17, *state);
    struct host *host = host_with_a_value(world), *other = &world->hosts[1];
    struct facts facts;
    uint64_t before;
    host_apply_batch(other);
    publisher_renew(other->publisher, clock_ns());
    l2_applied(other->l2);
    world_until_answered(world);
    host_read_rows(other, 1, nowhere, &facts, &before);
    distrust_and_rebuild(host);
    l2_applied(host->l2);
    world_until_answered(world);
    host_publish_and_put(other, &facts, before, 1); /* the script finds it out */
    world_until_answered(world);
    assert_int_equal(looked_for(world, host), L2_MISSED);
    assert_int_equal(other->l2->late_count, 0); /* and does not try again */
    host_read_rows(other, 1, nowhere, &facts, &before);
    host_publish_and_put(other, &facts, before, 1);
    world_until_answered(world);
    assert_int_equal(looked_for(world, host), L2_ANSWERED);
    world_end(world, NULL);
}

/* The row that says "read everything again" (docs/SCHEMA.md), before a host that was away when it came. */
static void everything_is_read_again(void **state)
{
    struct world *world = world_begin(15, *state);
    struct host *host = host_with_a_value(world);
    uint64_t epochs = host->counters.l2_epochs;
    enum l2_outcome outcome;
    uint64_t revision = world->past.revision;
    do
        world_commit(world);
    while (world->past.revision == revision);
    struct change row = {.kind = CHANGE_STORE, .revision = world->past.revision + 1, .nonce = 99};
    world_append_rows(&world->log, &row, 1);
    world->past.revision++;
    host_rebuild(host); /* no distrust: the row is as good as any */
    publisher_renew(host->publisher, clock_ns());
    for (int i = 0; i < 200 && host->counters.l2_epochs == epochs; i++) {
        host->l2->marker.begun_ns = 0;
        l2_applied(host->l2);
        world_until_answered(world);
        world_step_job(world);
    }
    assert_int_equal(host->counters.l2_epochs, epochs + 1);
    assert_int_equal(host->l2->marker.at.revision, world->past.revision);
    assert_non_null(host_look_for(host, &outcome));
    world_until_answered(world);
    assert_int_equal(outcome, L2_MISSED);
    world_end(world, NULL);
}

/* Operators look at whether L2 is of use. */
static void a_marker_of_unknown_place_is_not_said_to_be_known(void **state)
{
    struct world *world = world_begin(23, *state);
    struct host *host = &world->hosts[0];
    uint64_t begun = clock_ns(), epoch;
    world_reconnect(world);
    world_until_answered(world);
    assert_int_equal(host->counters.l2_marker_known, 1);
    redis_server_pause(*state);
    host_follow(host);
    while (l2_epoch(host->l2, &epoch) &&
           clock_ns() - begun < WORLD_HANG_NS) /* until the script is given up */
        (void)event_base_loop(world->base, EVLOOP_ONCE);
    assert_int_equal(host->counters.l2_marker_known, 0);
    redis_server_resume(*state);
    world_reconnect(world);
    world_until_answered(world);
    host_follow(host);
    world_until_answered(world);
    assert_int_equal(host->counters.l2_marker_known, 1);
    world_ask_redis(world, "CLIENT KILL TYPE normal SKIPME yes");
    begun = clock_ns();
    while (redis_connected(host->redis) && clock_ns() - begun < WORLD_HANG_NS)
        (void)event_base_loop(world->base, EVLOOP_ONCE);
    assert_false(l2_epoch(host->l2, &epoch)); /* others may move it while this host is away */
    assert_int_equal(host->counters.l2_marker_known, 0);
    world_end(world, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hearsay_of_the_marker),
        cmocka_unit_test(held_for_ever_by_nothing),
        cmocka_unit_test(markers_that_are_none),
        cmocka_unit_test(what_the_warm_up_finds_is_no_miss),
        cmocka_unit_test(what_was_distrusted_is_forgotten),
        cmocka_unit_test(what_was_distrusted_takes_an_epoch_of_its_own),
        cmocka_unit_test(all_forget_at_once),
        cmocka_unit_test(what_was_under_way_is_not_believed),
        cmocka_unit_test(what_another_host_read_before_is_not_put),
        cmocka_unit_test(lookups_that_a_rebuild_overtakes_have_missed),
        cmocka_unit_test(what_was_distrusted_is_forgotten_over_a_restart),
        cmocka_unit_test(what_was_distrusted_goes_whatever_others_do),
        cmocka_unit_test(what_is_to_be_forgotten_is_not_believed_meanwhile),
        cmocka_unit_test(everything_is_read_again),
        cmocka_unit_test(doubt_empties_l2_once_a_minute),
        cmocka_unit_test(an_epoch_that_is_past_does_not_come_back),
        cmocka_unit_test(a_marker_of_unknown_place_is_not_said_to_be_known),
    };
    if (!redis_server_installed())
        return 77;
    (void)signal(SIGPIPE, SIG_IGN); /* as the daemon: connections are killed here */
    return cmocka_run_group_tests(tests, world_start_redis, world_stop_redis);
}
