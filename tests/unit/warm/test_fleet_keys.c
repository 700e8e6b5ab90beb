/* Hot keys in a real Redis: what one host writes another one reads, in pieces and in its order; who has just begun
 * does not write over what others know; and whatever Redis does, a reading ends. */
#include "proxy/warm/fleet_keys.h"

#include "proxy/base/counters.h"
#include "proxy/keys/keys.h"
#include "proxy/warm/hot_value.h"
#include "tests/support/loop.h"
#include "tests/support/redis_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/event.h>

#define STORE    7u
#define KEYS     10000u /* three pieces */
#define MANY     300000u
#define EVERY_MS 50u
#define LONG_MS  5000u

struct host {
    struct event_base *base;
    struct redis *redis;
    struct keys *keys;
    struct fleet_keys *fleet;
    struct counters counters;
    unsigned connected, reads;
    struct hot_key *found;
    size_t count;
    bool good;
    uint64_t most; /* keys that are of use; 0: any number */
};

struct fixture {
    struct redis_server server;
    struct event_base *base;
    struct host hosts[2];
};

static uint64_t store_id(void *context)
{
    (void)context;
    return STORE;
}

static uint32_t types(void *context)
{
    (void)context;
    return 3;
}

static uint64_t most(void *context)
{
    const struct host *host = context;
    return host->most > 0 ? host->most : UINT64_MAX;
}

static void on_read(void *context, struct hot_key *keys, size_t count, bool good)
{
    struct host *host = context;
    free(host->found);
    host->found = keys;
    host->count = count;
    host->good = good;
    host->reads++;
}

static void on_state(void *context, bool connected)
{
    ((struct host *)context)->connected += connected;
}

static void open_host(struct fixture *fixture, struct host *host)
{
    struct failure failure;
    int descriptor;
    host->base = fixture->base;
    struct redis_access access = {.url = fixture->server.url, .timeout_ms = LONG_MS, .ping_ms = LONG_MS};
    struct redis_options redis = {.base = fixture->base, .state = on_state, .context = host, .access = &access};
    assert_int_equal(redis_new(&host->redis, &redis, &failure), 0);
    assert_true(loop_until(fixture->base, &host->connected, 1, LONG_MS));
    assert_int_equal(keys_memfd_new(&descriptor), 0);
    assert_int_equal(keys_open(&host->keys, descriptor, STORE), 0);
    (void)close(descriptor);
    struct fleet_keys_options options = {.base = fixture->base,
                                    .redis = host->redis,
                                    .keys = host->keys,
                                    .counters = &host->counters,
                                    .ports = {host, store_id, types, most, on_read},
                                    .prefix = "test:",
                                    .first_ms = EVERY_MS,
                                    .every_ms = EVERY_MS};
    assert_int_equal(fleet_keys_new(&host->fleet, &options), 0);
}

static void close_host(struct host *host)
{
    fleet_keys_free(host->fleet);
    redis_free(host->redis);
    keys_free(host->keys);
    free(host->found);
    memset(host, 0, sizeof *host);
}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    redis_server_start(&fixture->server, false, NULL);
    fixture->base = event_base_new();
    open_host(fixture, &fixture->hosts[0]);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    for (unsigned i = 0; i < 2; i++)
        if (fixture->hosts[i].redis != NULL)
            close_host(&fixture->hosts[i]);
    event_base_free(fixture->base);
    redis_server_stop(&fixture->server);
    free(fixture);
    return 0;
}

static void note(struct host *host, uint64_t count)
{
    for (uint64_t user = 1; user <= count; user++)
        keys_note(host->keys, user, (struct scope_key){user, 2}, (uint32_t)(1 + (count - user) * 4000 / count));
}

/* Until `host` has written so many keys since it began. */
static void wait_written(struct host *host, uint64_t wanted)
{
    for (unsigned i = 0; i < LONG_MS * LOOP_PATIENCE && host->counters.hot_keys_written < wanted; i++)
        loop_turn(host->base);
    assert_true(host->counters.hot_keys_written >= wanted);
}

static void read_all(struct host *host)
{
    unsigned before = host->reads;
    assert_int_equal(fleet_keys_read(host->fleet), 0);
    assert_true(loop_until(host->base, &host->reads, before + 1, LONG_MS));
}

static void what_one_writes_another_reads(void **state)
{
    struct fixture *fixture = *state;
    struct host *writer = &fixture->hosts[0], *reader = &fixture->hosts[1];
    note(writer, KEYS);
    size_t known = keys_known(writer->keys);
    wait_written(writer, known);
    open_host(fixture, reader);
    read_all(reader);
    assert_true(reader->good);
    assert_in_range(reader->count, known - known / 50, KEYS); /* the hand halves some meanwhile */
    for (size_t i = 0; i < reader->count; i++) {
        assert_true(reader->found[i].scope.type == 2 && reader->found[i].scope.id == reader->found[i].user);
        assert_true(i == 0 || keys_class(reader->found[i].frequency) >= keys_class(reader->found[i - 1].frequency));
    }
    assert_int_equal(reader->counters.hot_keys_read, reader->count);
    redis_server_says(&fixture->server, "HLEN test:hot:1", "3");
    char ttl[32];
    assert_true(redis_server_ask(&fixture->server, "PTTL test:hot:1", ttl, sizeof ttl));
    assert_true(atoi(ttl) > 1000000);
}

/* More than one command could carry. Each piece has its class at most as far ahead as its place says, and a host that
 * has no use for so many reads a part. What is left over of it later goes in commands of a few fields each. */
static void a_long_list(void **state)
{
    struct fixture *fixture = *state;
    struct host *writer = &fixture->hosts[0], *reader = &fixture->hosts[1];
    char pieces[32], expected[32];
    note(writer, MANY);
    size_t known = keys_known(writer->keys);
    wait_written(writer, known - known / 50);
    redis_server_says(&fixture->server, "SET test:hot:1:turn somebody", "");
    loop_for(fixture->base, 4 * EVERY_MS); /* a writing that is under way ends */
    open_host(fixture, reader);
    read_all(reader);
    assert_true(reader->good);
    assert_in_range(reader->count, MANY - MANY / 50, MANY);
    for (size_t i = 1; i < reader->count; i++)
        assert_true(keys_class(reader->found[i].frequency) >= keys_class(reader->found[i - 1].frequency));
    (void)snprintf(expected, sizeof expected, "%zu", (reader->count + HOT_VALUE_KEYS - 1) / HOT_VALUE_KEYS);
    assert_true(redis_server_ask(&fixture->server, "HLEN test:hot:1", pieces, sizeof pieces));
    assert_string_equal(pieces, expected);
    note(reader, HOT_VALUE_KEYS * 5 / 4); /* more than half of a piece, and far from half of all */
    redis_server_says(&fixture->server, "DEL test:hot:1:turn", "1");
    close_host(writer);
    loop_for(fixture->base, 10 * EVERY_MS);
    assert_int_equal(reader->counters.hot_keys_written, 0);
    redis_server_says(&fixture->server, "HLEN test:hot:1", expected);
    reader->most = 10000;
    read_all(reader);
    assert_in_range(reader->count, 10000, 10000 + HOT_VALUE_KEYS - 1);
    redis_server_says(&fixture->server, "PERSIST test:hot:1", "1"); /* or it would be kept for an hour */
    wait_written(reader, HOT_VALUE_KEYS + 1);
    redis_server_says(&fixture->server, "HLEN test:hot:1", "2");
}

/* What is left over of a longer list goes. */
static void a_shorter_list(void **state)
{
    struct fixture *fixture = *state;
    struct host *host = &fixture->hosts[0];
    note(host, KEYS);
    wait_written(host, 1);
    keys_belong_to(host->keys, STORE + 1); /* forgets them all */
    keys_belong_to(host->keys, STORE);
    redis_server_says(&fixture->server, "PERSIST test:hot:1", "1"); /* or it would be kept for an hour */
    note(host, 5);
    wait_written(host, host->counters.hot_keys_written + 1); /* may have been under way */
    wait_written(host, host->counters.hot_keys_written + 1);
    redis_server_says(&fixture->server, "HLEN test:hot:1", "1");
    read_all(host);
    assert_int_equal(host->count, 5);
}

/* Ten thousand are there; it knows five, and has not read those for itself, as without warm_at_start. */
static void who_has_just_begun_does_not_write(void **state)
{
    struct fixture *fixture = *state;
    struct host *writer = &fixture->hosts[0], *fresh = &fixture->hosts[1];
    note(writer, KEYS);
    wait_written(writer, 1);
    close_host(writer);
    open_host(fixture, fresh);
    note(fresh, 5);
    loop_for(fixture->base, 10 * EVERY_MS);
    assert_int_equal(fresh->counters.hot_keys_written, 0);
    redis_server_says(&fixture->server, "HLEN test:hot:1", "3");
    note(fresh, KEYS / 2 + KEYS / 10);
    wait_written(fresh, KEYS / 2);
}

/* What nobody has written for an hour, any host may replace. */
static void an_old_list(void **state)
{
    struct fixture *fixture = *state;
    struct host *writer = &fixture->hosts[0], *fresh = &fixture->hosts[1];
    note(writer, KEYS);
    wait_written(writer, 1);
    close_host(writer);
    open_host(fixture, fresh);
    note(fresh, 5);
    redis_server_says(&fixture->server, "PEXPIRE test:hot:1 601300000", "1"); /* of 604,800,000 */
    loop_for(fixture->base, 4 * EVERY_MS);
    assert_int_equal(fresh->counters.hot_keys_written, 0);
    redis_server_says(&fixture->server, "PEXPIRE test:hot:1 601100000", "1");
    wait_written(fresh, 5);
    redis_server_says(&fixture->server, "HLEN test:hot:1", "1");
}

/* One in each while: the turn is in Redis. */
static void hosts_take_turns(void **state)
{
    struct fixture *fixture = *state;
    note(&fixture->hosts[0], 10);
    redis_server_says(&fixture->server, "SET test:hot:1:turn somebody", "OK");
    loop_for(fixture->base, 10 * EVERY_MS);
    assert_int_equal(fixture->hosts[0].counters.hot_keys_written, 0);
    redis_server_says(&fixture->server, "DEL test:hot:1:turn", "1");
    wait_written(&fixture->hosts[0], 10);
    redis_server_says(&fixture->server, "KEYS *", "test:hot:1");
}

static void what_is_not_understood(void **state)
{
    struct fixture *fixture = *state;
    struct host *host = &fixture->hosts[0];
    read_all(host);
    assert_true(host->good && host->count == 0); /* nothing is there */
    note(host, KEYS);
    wait_written(host, 1);
    redis_server_says(&fixture->server, "SET test:hot:1:turn somebody", "");
    loop_for(fixture->base, 4 * EVERY_MS);
    redis_server_says(&fixture->server, "HSET test:hot:1 1 rubbish", "0");
    read_all(host);
    assert_true(host->good);
    assert_in_range(host->count, KEYS - HOT_VALUE_KEYS - KEYS / 50, KEYS - HOT_VALUE_KEYS);
    assert_int_equal(host->counters.hot_keys_bad, 1);
    redis_server_says(&fixture->server, "DEL test:hot:1", "1");
    redis_server_says(&fixture->server, "SET test:hot:1 text", "OK");
    read_all(host);
    assert_false(host->good);
    assert_int_equal(host->count, 0);
    redis_server_says(&fixture->server, "DEL test:hot:1:turn", "1");
    loop_for(fixture->base, 4 * EVERY_MS); /* writing is refused */
    redis_server_says(&fixture->server, "GET test:hot:1", "text");
}

static void redis_goes_away(void **state)
{
    struct fixture *fixture = *state;
    struct host *host = &fixture->hosts[0];
    note(host, KEYS);
    redis_server_pause(&fixture->server);
    assert_int_equal(fleet_keys_read(host->fleet), 0);
    loop_for(fixture->base, 2 * EVERY_MS);
    redis_server_kill(&fixture->server);
    assert_true(loop_until(fixture->base, &host->reads, 1, LONG_MS));
    assert_false(host->good);
    loop_for(fixture->base, 2 * EVERY_MS);
    assert_int_equal(fleet_keys_read(host->fleet), PERMTAB_E_UNREACHABLE);
    redis_server_restart(&fixture->server);
    assert_true(loop_until(fixture->base, &host->connected, 2, LONG_MS));
    wait_written(host, 1);
}

/* The warm-up ends while a reading or a writing is under way. */
static void nobody_waits_any_more(void **state)
{
    struct fixture *fixture = *state;
    struct host *host = &fixture->hosts[0];
    note(host, KEYS);
    redis_server_pause(&fixture->server);
    assert_int_equal(fleet_keys_read(host->fleet), 0);
    loop_for(fixture->base, 2 * EVERY_MS);
    fleet_keys_leave(host->fleet);
    assert_int_equal(fleet_keys_read(host->fleet), 0);
    fleet_keys_free(host->fleet);
    host->fleet = NULL;
    redis_server_resume(&fixture->server);
    loop_for(fixture->base, 2 * EVERY_MS);
    assert_int_equal(host->reads, 0);
}

int main(void)
{
    if (!redis_server_installed())
        return 77;
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(what_one_writes_another_reads), T(a_long_list),
        T(a_shorter_list),                T(who_has_just_begun_does_not_write),
        T(an_old_list),                   T(hosts_take_turns),       T(what_is_not_understood),
        T(redis_goes_away),               T(nobody_waits_any_more),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
