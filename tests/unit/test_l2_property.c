/* L2 against the truth. Some hosts share one Redis, each as far behind a store that changes at random as its polls happen to
 * be. Anything may come between two steps of anything: changes, polls, late puts, lost connections; Redis emptied, restored
 * from an older copy of itself, its marker and its values spoilt; the store's log trimmed, the store itself replaced by an
 * older backup that then goes another way; hosts started anew.
 *
 *   Whatever a look answers, and whatever it has left in the table, is what the slow resolver says of the policy at the
 *   revision of that host's table.
 *
 * A put at any revision or of another history, rows or scopes that stay, an advance from elsewhere, an epoch that is begun again, a
 * role that leaves its scope, roles believed without their definitions, a late put that is not judged again, values taken for
 * true at the table's revision, a token ignored: each was done to it once and failed here. Rarer ones (plain scopes that stay, an
 * advance of another history) are found by many histories, or by test_l2_scripts.py at once. */
#include "proxy/clock.h"
#include "tests/unit/l2_hosts.h"

#include <signal.h>

static void ask_redis(struct world *world, const char *command)
{
    char reply[256];
    assert_true(redis_server_ask(world->server, command, reply, sizeof reply));
    if (reply[0] == '-' && strncmp(reply, "-WRONGTYPE", 10) != 0) /* what was spoilt before */
        fail_msg("%s: %s", command, reply);
}

/* ---- what befalls Redis --------------------------------------------------------------------------------------------- */

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
    uint64_t drawn = draw(world, 40);
    if (drawn < 8) {
        ask_redis(world, "SAVE");
        world->dump_held = true;
    } else if (drawn < 16 && world->dump_held) {
        ask_redis(world, "DEBUG RELOAD NOSAVE");
        if (draw(world, 2) == 0)
            poll_store(&world->hosts[draw(world, HOSTS)]); /* before anybody has noticed */
    } else {
        ask_redis(world, spoilings[draw(world, sizeof spoilings / sizeof spoilings[0])]);
    }
}

/* ---- steps ---------------------------------------------------------------------------------------------------------- */

static void turn_until_quiet(struct world *world)
{
    size_t pending = 1;
    for (int i = 0; i < 200 && pending > 0; i++) {
        (void)event_base_loop(world->base, EVLOOP_NONBLOCK);
        pending = 0;
        for (unsigned host = 0; host < HOSTS; host++)
            pending += redis_pending(world->hosts[host].redis);
        if (pending > 0)
            (void)usleep(20);
    }
}

/* Some turns of the loop, or until Redis owes nobody a reply. */
static void turn(struct world *world)
{
    if (draw(world, 3) > 0) {
        turn_until_quiet(world);
        return;
    }
    for (uint64_t turns = 1 + draw(world, 3); turns > 0; turns--)
        (void)event_base_loop(world->base, EVLOOP_NONBLOCK);
}

static void restart_host(struct host *host)
{
    unsigned number = host->number;
    struct world *world = host->world;
    host_end(host);
    host_begin(world, number);
}

/* By an older backup; often it then comes to the same revision as before on another way, and one host knows of it. */
static void replace_store(struct world *world)
{
    uint64_t before = world->past.revision;
    restore_store(world);
    if (draw(world, 2) == 0)
        return;
    for (int i = 0; i < 100 && world->past.revision < before; i++)
        commit_something(world);
    poll_store(&world->hosts[draw(world, HOSTS)]);
}

static void befall_store(struct world *world)
{
    switch (draw(world, 6)) {
    case 0:
    case 1:
        replace_store(world);
        break;
    case 2:
        world->purged = world->past.revision - 1 - draw(world, world->past.revision > 5 ? 5 : 1);
        break;
    default:
        backup_store(world);
    }
}

static void hear(struct host *host)
{
    struct world *world = host->world;
    struct target target = {.kind = TARGET_USER, .id = changing_user(&world->past)};
    uint64_t revision = draw(world, world->past.revision + 3);
    l2_heard(host->l2, revision);
    if (draw(world, 4) == 0)
        (void)publish_hear(host->publish, &target, revision, clock_ns());
}

/* Lost connections come back after a while, which would be most of a history. */
static void reconnect(struct world *world)
{
    for (int i = 0; i < 200; i++) {
        unsigned connected = 0;
        for (unsigned host = 0; host < HOSTS; host++)
            connected += redis_connected(world->hosts[host].redis);
        if (connected == HOSTS)
            return;
        (void)event_base_loop(world->base, EVLOOP_NONBLOCK);
        (void)usleep(500);
    }
}

static void step(struct world *world)
{
    struct host *host = &world->hosts[draw(world, HOSTS)];
    uint64_t drawn = draw(world, 1000);
    if (host->woken && draw(world, 3) == 0)
        poll_store(host);
    if (drawn < 100)
        commit_something(world);
    else if (drawn < 180)
        poll_store(host);
    else if (drawn < 480)
        look(host);
    else if (drawn < 700)
        fill_end(host);
    else if (drawn < 950)
        turn(world);
    else if (drawn < 960)
        world->past.now += (int64_t)draw(world, 6);
    else if (drawn < 970)
        hear(host);
    else if (drawn < 980)
        step_job(world);
    else if (drawn < 982)
        restart_host(host);
    else if (drawn < 983)
        l2_flush(host->l2);
    else if (drawn < 984)
        reconnect(world);
    else if (drawn < 984 + world->redis_trouble)
        befall_redis(world);
    else if (drawn < 992 + world->store_trouble)
        befall_store(world);
}

/* All get what they wait for; then everybody agrees, and L2 serves again. */
static void settle(struct world *world)
{
    for (int i = 0; i < 2000 && world->looks > 0; i++) {
        (void)event_base_loop(world->base, EVLOOP_NONBLOCK);
        (void)usleep(500);
    }
    assert_int_equal(world->looks, 0);
}

static struct world *world_begin(uint64_t seed, struct redis_server *server)
{
    struct world *world = calloc(1, sizeof *world);
    assert_non_null(world);
    changing_begin(&world->past, seed);
    world->first = world->past.revision;
    world->server = server;
    world->base = event_base_new();
    world->one_token = draw(world, 8) > 0;
    world->redis_trouble = draw(world, 2) == 0 ? draw(world, 9) : 0;
    world->store_trouble = draw(world, 2) == 0 ? draw(world, 9) : 0;
    the_world = world;
    ask_redis(world, "FLUSHALL");
    for (unsigned i = 0; i < HOSTS; i++)
        host_begin(world, i);
    return world;
}

static void world_end(struct world *world, struct totals *totals)
{
    for (unsigned i = 0; i < HOSTS; i++)
        host_end(&world->hosts[i]);
    if (totals != NULL)
        *totals = world->totals;
    if (world->backup_held)
        memory_policy_fini(&world->backup);
    change_list_fini(&world->log);
    changing_fini(&world->past);
    event_base_free(world->base);
    free(world);
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
                  "%llu, logs read %llu, connections lost %llu\n",
                  (unsigned long long)totals.fills, (unsigned long long)totals.known,
                  (unsigned long long)totals.hits, (unsigned long long)totals.misses,
                  (unsigned long long)totals.outdated, (unsigned long long)totals.puts,
                  (unsigned long long)totals.refused, (unsigned long long)totals.advances,
                  (unsigned long long)totals.epochs, (unsigned long long)totals.waits,
                  (unsigned long long)totals.logs, (unsigned long long)totals.lost);
    /* The test is worth something only if all of this has happened. */
    if (seeds() >= 10) {
        assert_true(totals.hits > 800);
        assert_true(totals.puts > 800);
        assert_true(totals.outdated > 50);
        assert_true(totals.refused > 200);
        assert_true(totals.advances > 1000 && totals.advances < 50000);
        assert_true(totals.epochs > 50);
        assert_true(totals.logs > 50);
    }
}

/* A message that a revision has been reached, which it has not: by an invention, or because Redis was restored since. It may
 * not keep the marker from following, nor make this host ask without end. */
static void hearsay_of_the_marker(void **state)
{
    struct world *world = world_begin(7, *state);
    struct host *host = &world->hosts[0];
    uint64_t revision = world->past.revision;
    reconnect(world);
    turn_until_quiet(world);
    assert_true(host->l2->marker.known);
    assert_int_equal(host->l2->marker.at.revision, revision);
    for (int round = 0; round < 3; round++) {
        uint64_t before = host->counters.l2_advances;
        do
            commit_something(world);
        while (world->past.revision == revision);
        revision = world->past.revision;
        l2_heard(host->l2, revision);
        poll_store(host);
        turn_until_quiet(world);
        assert_true(host->counters.l2_advances - before <= 2);
    }
    /* Nobody else has spoken since: the next change finds out that there was nothing in it. */
    do
        commit_something(world);
    while (world->past.revision == revision);
    poll_store(host);
    turn_until_quiet(world);
    assert_int_equal(host->l2->marker.at.revision, world->past.revision);
    assert_int_equal(host->counters.l2_marker_revision, world->past.revision);
    world_end(world, NULL);
}

/* However long Redis takes. */
static void turn_until_answered(struct world *world)
{
    size_t pending = 1;
    for (int i = 0; i < 200 && pending > 0; i++) {
        turn_until_quiet(world);
        pending = 0;
        for (unsigned host = 0; host < HOSTS; host++)
            pending += redis_pending(world->hosts[host].redis);
    }
}

/* As poll_store, without a store that is perhaps replaced meanwhile. */
static void follow(struct host *host)
{
    uint64_t begun = clock_ns(), revision = host->world->past.revision;
    do
        commit_something(host->world);
    while (host->world->past.revision == revision);
    apply_batch(host);
    remember_applied(host);
    publish_renew(host->publish, begun);
    host->l2->marker.begun_ns = 0;
    l2_applied(host->l2);
}

static const struct scope_key nowhere = {999, 1}; /* what L2 says of it names no roles */

/* Whoever waits for a value of a revision that this table does not come to is told so soon, however many polls come: the marker
 * may be of a history that was lost, or this host may read a server that nobody writes to any more. */
static void on_late(void *context, enum l2_outcome outcome, const struct answer *answer)
{
    (void)answer;
    assert_int_equal(outcome, L2_MISSED);
    --*(unsigned *)context;
}

/* Reads for a user; *epoch: that of L2 meanwhile. */
static void read_nowhere(struct host *host, uint64_t user, struct facts *facts, uint64_t *epoch)
{
    struct world *world = host->world;
    assert_true(l2_epoch(host->l2, epoch));
    memory_facts(&world->past.policy, user, nowhere, world->past.now, facts);
    facts->revision = world->past.revision;
    facts->nonce = nonce_at(world, world->past.revision);
    facts->now = world->past.now;
}

static void publish_and_put(struct host *host, struct facts *facts, uint64_t epoch)
{
    struct answer answer = {0};
    assert_int_equal(publish_facts(host->publish, facts, clock_ns(), &answer), PUBLISH_FILLED);
    answer_fini(&answer);
    l2_put(host->l2, facts, epoch, 1, false);
}

static void put_ahead(struct host *host, uint64_t user)
{
    struct facts facts;
    uint64_t epoch;
    read_nowhere(host, user, &facts, &epoch);
    publish_and_put(host, &facts, epoch);
}

static void held_for_ever_by_nothing(void **state)
{
    struct world *world = world_begin(11, *state);
    unsigned held = 0;
    reconnect(world);
    turn_until_answered(world);
    follow(&world->hosts[1]);
    turn_until_answered(world);
    put_ahead(&world->hosts[1], 1);
    turn_until_answered(world);
    held += l2_look(world->hosts[0].l2, 1, nowhere, 0, on_late, &held) != NULL;
    turn_until_answered(world);
    assert_int_equal(held, 1);
    for (int polls = 0; polls < 300 && held > 0; polls++) {
        l2_applied(world->hosts[0].l2);
        (void)event_base_loop(world->base, EVLOOP_NONBLOCK);
        (void)usleep(1000);
    }
    assert_int_equal(held, 0);
    world_end(world, NULL);
}

/* What stands in the marker's place and is none, or means the same and is written otherwise, is replaced, and not asked about
 * again and again. */
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
    reconnect(world);
    turn_until_answered(world);
    for (size_t i = 0; i < sizeof markers / sizeof markers[0]; i++) {
        uint64_t scripts = host->counters.l2_advances, epochs = host->counters.l2_epochs;
        ask_redis(world, markers[i]);
        follow(host);
        turn_until_answered(world);
        if (host->counters.l2_advances - scripts > 3 || host->counters.l2_epochs != epochs + 1 ||
            host->l2->marker.at.revision != world->past.revision)
            fail_msg("%s: %u scripts, %u epochs, marker at %u of %u", markers[i],
                     (unsigned)(host->counters.l2_advances - scripts),
                     (unsigned)(host->counters.l2_epochs - epochs), (unsigned)host->l2->marker.at.revision,
                     (unsigned)world->past.revision);
    }
    world_end(world, NULL);
}

/* ---- what the log does not tell ------------------------------------------------------------------------------------- */

static void on_looked(void *context, enum l2_outcome outcome, const struct answer *answer)
{
    (void)answer;
    *(enum l2_outcome *)context = outcome;
}

static struct l2_look *look_for(struct host *host, enum l2_outcome *outcome)
{
    *outcome = (enum l2_outcome)99;
    return l2_look(host->l2, 1, nowhere, 0, on_looked, outcome);
}

/* A host that has put something into L2 and finds it there. */
static struct host *host_with_a_value(struct world *world)
{
    enum l2_outcome outcome;
    struct host *host = &world->hosts[0];
    reconnect(world);
    turn_until_answered(world);
    follow(host);
    turn_until_answered(world);
    put_ahead(host, 1);
    turn_until_answered(world);
    assert_non_null(look_for(host, &outcome));
    turn_until_answered(world);
    assert_int_equal(outcome, L2_ANSWERED);
    return host;
}

/* As the feed does when it cannot believe the store, and then builds the table anew from it. */
static void distrust_and_rebuild(struct host *host)
{
    publish_disbelieve(host->publish);
    rebuild(host);
    publish_renew(host->publish, clock_ns());
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
    assert_null(look_for(host, &outcome)); /* not before it is forgotten */
    turn_until_answered(world);
    assert_int_equal(host->counters.l2_epochs, epochs + 1);
    assert_non_null(look_for(host, &outcome));
    turn_until_answered(world);
    assert_int_equal(outcome, L2_MISSED);
    l2_applied(host->l2); /* once is enough */
    turn_until_answered(world);
    assert_int_equal(host->counters.l2_epochs, epochs + 1);
    world_end(world, NULL);
}

/* What all hosts find out together they forget together: whoever comes second does not wait a second. */
static void all_forget_at_once(void **state)
{
    struct world *world = world_begin(16, *state);
    enum l2_outcome outcome;
    (void)host_with_a_value(world);
    for (unsigned i = 0; i < HOSTS; i++) {
        follow(&world->hosts[i]);
        turn_until_answered(world);
    }
    for (unsigned i = 0; i < HOSTS; i++)
        l2_flush(world->hosts[i].l2);
    turn_until_answered(world);
    for (unsigned i = 0; i < HOSTS; i++) {
        assert_int_equal(world->hosts[i].counters.l2_epochs > 0, true);
        assert_false(world->hosts[i].l2->marker.flush);
    }
    assert_non_null(look_for(&world->hosts[0], &outcome));
    turn_until_answered(world);
    world_end(world, NULL);
}

/* An answer, or what waits to be put, from before the table was made anew at the same revision. */
static void what_was_under_way_is_not_believed(void **state)
{
    struct world *world = world_begin(14, *state);
    struct host *host = host_with_a_value(world);
    enum l2_outcome outcome;
    redis_server_pause(*state);
    assert_non_null(look_for(host, &outcome));
    turn_until_quiet(world); /* it goes off */
    distrust_and_rebuild(host);
    redis_server_resume(*state);
    turn_until_answered(world);
    assert_int_equal(outcome, L2_MISSED);
    world_end(world, NULL);
}

static enum l2_outcome looked_for(struct world *world, struct host *host)
{
    enum l2_outcome outcome;
    assert_non_null(look_for(host, &outcome));
    turn_until_answered(world);
    return outcome;
}

/* The host that noticed ends before it can believe the store again, as one does that is started anew for not being healthy. What it
 * is when it comes back knows nothing of it, and finds revision and nonce as they were. */
static void what_was_distrusted_is_forgotten_over_a_restart(void **state)
{
    struct world *world = world_begin(18, *state);
    struct host *host = host_with_a_value(world);
    publish_disbelieve(host->publish);
    ask_redis(world, "CLIENT KILL TYPE normal SKIPME yes");
    turn_until_quiet(world);
    l2_doubted(host->l2); /* and Redis is away just now */
    reconnect(world);
    for (int news = 0; news < 3; news++) {
        l2_doubted(host->l2);
        turn_until_answered(world);
    }
    uint64_t scripts = host->counters.l2_advances;
    l2_doubted(host->l2); /* nothing is left to be done */
    assert_int_equal(redis_pending(host->redis), 0);
    assert_int_equal(host->counters.l2_advances, scripts);
    restart_host(host);
    reconnect(world);
    turn_until_answered(world);
    assert_int_equal(looked_for(world, host), L2_MISSED);
    world_end(world, NULL);
}

/* By a host that knows nothing of it yet, or was stopped meanwhile. The revision is as before, so nothing but the epoch in which it
 * began to read tells that it may have read the rows that are gone. */
static void what_another_host_read_before_is_not_put(void **state)
{
    struct world *world = world_begin(17, *state);
    struct host *host = host_with_a_value(world), *other = &world->hosts[1];
    struct facts facts;
    uint64_t before;
    apply_batch(other);
    publish_renew(other->publish, clock_ns());
    l2_applied(other->l2);
    turn_until_answered(world);
    read_nowhere(other, 1, &facts, &before);
    distrust_and_rebuild(host);
    l2_applied(host->l2);
    turn_until_answered(world);
    publish_and_put(other, &facts, before); /* the script finds it out */
    turn_until_answered(world);
    assert_int_equal(looked_for(world, host), L2_MISSED);
    assert_int_equal(other->l2->late_count, 0); /* and does not try again */
    read_nowhere(other, 1, &facts, &before);
    publish_and_put(other, &facts, before);
    turn_until_answered(world);
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
        commit_something(world);
    while (world->past.revision == revision);
    struct change row = {.kind = CHANGE_STORE, .revision = world->past.revision + 1, .nonce = 99};
    append_rows(&world->log, &row, 1);
    world->past.revision++;
    rebuild(host); /* no distrust: the row is as good as any */
    publish_renew(host->publish, clock_ns());
    for (int i = 0; i < 200 && host->counters.l2_epochs == epochs; i++) {
        host->l2->marker.begun_ns = 0;
        l2_applied(host->l2);
        turn_until_answered(world);
        step_job(world);
    }
    assert_int_equal(host->counters.l2_epochs, epochs + 1);
    assert_int_equal(host->l2->marker.at.revision, world->past.revision);
    assert_non_null(look_for(host, &outcome));
    turn_until_answered(world);
    assert_int_equal(outcome, L2_MISSED);
    world_end(world, NULL);
}

static struct redis_server server;

static int start(void **state)
{
    redis_server_start(&server, false, NULL);
    *state = &server;
    return 0;
}

static int stop(void **state)
{
    char path[96];
    (void)state;
    (void)snprintf(path, sizeof path, "%s/dump.rdb", server.folder);
    (void)unlink(path);
    redis_server_stop(&server);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(hearsay_of_the_marker),
                                       cmocka_unit_test(held_for_ever_by_nothing),
                                       cmocka_unit_test(markers_that_are_none),
                                       cmocka_unit_test(what_was_distrusted_is_forgotten),
                                       cmocka_unit_test(all_forget_at_once),
                                       cmocka_unit_test(what_was_under_way_is_not_believed),
                                       cmocka_unit_test(what_another_host_read_before_is_not_put),
                                       cmocka_unit_test(what_was_distrusted_is_forgotten_over_a_restart),
                                       cmocka_unit_test(everything_is_read_again),
                                       cmocka_unit_test(never_untrue)};
    if (!redis_server_installed())
        return 77;
    (void)signal(SIGPIPE, SIG_IGN); /* as the daemon: connections are killed here */
    return cmocka_run_group_tests(tests, start, stop);
}
