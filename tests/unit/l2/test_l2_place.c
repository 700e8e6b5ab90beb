/* Many users of one place at once: whom L2 has, who is left alone, and what becomes of a read when Redis, the marker or
 * its reader goes. That nothing becomes wrong is for test_l2_property.c. */
#include "tests/support/l2_hosts.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define FIRST 50u /* users without rows in the store: what L2 has of them is put here */
#define USERS 8u
#define MOST  64u /* of a read, at a place with up to eight levels */

struct fixture {
    struct world *world;
    struct host *host;
    struct scope_key place; /* not global, and its chain is whole */
    struct facts_slice *slice;
    struct l2_place *read;
    unsigned told;
    uint64_t epoch; /* of the last one that was told */
};

static void on_done(void *context, uint64_t epoch)
{
    struct fixture *fixture = context;
    fixture->told++;
    fixture->epoch = epoch;
}

/* The levels that the table says a place has; 0: those that it has. */
static uint32_t levels;

uint32_t __real_publisher_chain(const struct publisher *publisher, struct scope_key scope,
                                struct scope_key *out);
uint32_t __wrap_publisher_chain(const struct publisher *publisher, struct scope_key scope,
                                struct scope_key *out);
uint32_t __wrap_publisher_chain(const struct publisher *publisher, struct scope_key scope,
                                struct scope_key *out)
{
    return levels > 0 ? levels : __real_publisher_chain(publisher, scope, out);
}

/* ---- what is there ----------------------------------------------------------------------------------------------- */

/* The user has roles 1 to `roles` there, and what the place says. */
static void put(struct fixture *fixture, uint64_t user, size_t roles)
{
    struct facts facts;
    uint64_t epoch;
    host_read_rows(fixture->host, user, fixture->place, &facts, &epoch);
    free(facts.assignments);
    facts.assignments = calloc(roles + 1, sizeof *facts.assignments);
    facts.assignment_count = roles;
    for (size_t i = 0; i < roles; i++)
        facts.assignments[i] = (struct facts_assignment){
            .role = i + 1, .level = facts.chain_count - 1, .expires_at = FACTS_NEVER};
    l2_put(fixture->host->l2, &facts, epoch, 1 + user % 3, false);
}

static void put_all(struct fixture *fixture)
{
    world_forget_values(fixture->world);
    for (uint64_t user = FIRST; user < FIRST + USERS; user++)
        put(fixture, user, user % 3);
    world_until_answered(fixture->world);
}

static bool place_is_whole(struct world *world, struct scope_key place)
{
    struct facts facts;
    memory_facts(&world->past.policy, FIRST, place, world->past.now, &facts);
    bool whole = place.type > 0 && facts.chain_count > 1 && !facts.broken;
    facts_fini(&facts);
    return whole;
}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    fixture->world = world_begin(31, *state);
    fixture->host = &fixture->world->hosts[0];
    world_reconnect(fixture->world);
    world_until_answered(fixture->world);
    do
        fixture->place = changing_scope(&fixture->world->past);
    while (!place_is_whole(fixture->world, fixture->place));
    put_all(fixture);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    facts_slice_free(fixture->slice);
    *state = fixture->world->server;
    world_end(fixture->world, NULL);
    free(fixture);
    return 0;
}

static int begin_read(struct fixture *fixture)
{
    uint64_t users[USERS];
    for (size_t i = 0; i < USERS; i++)
        users[i] = FIRST + i;
    facts_slice_free(fixture->slice);
    assert_int_equal(facts_slice_new(&fixture->slice, fixture->place, users, USERS), 0);
    return l2_place_read(&fixture->read, fixture->host->l2, fixture->slice, on_done, fixture);
}

/* Reads all, and returns the epoch that was told. */
static uint64_t read_all(struct fixture *fixture)
{
    unsigned told = fixture->told;
    assert_int_equal(begin_read(fixture), 0);
    assert_int_equal(fixture->told, told); /* never from inside */
    world_until_answered(fixture->world);
    assert_int_equal(fixture->told, told + 1);
    return fixture->epoch;
}

static unsigned count_alone(const struct fixture *fixture)
{
    unsigned count = 0;
    for (size_t i = 0; i < USERS; i++)
        count += fixture->slice->kind_of[i] == FACTS_SLICE_ALONE;
    return count;
}

/* The kind of a user says what L2 was given. */
static void assert_kind(struct fixture *fixture, uint64_t user)
{
    const struct facts_slice *slice = fixture->slice;
    assert_int_not_equal(slice->kind_of[user - FIRST], FACTS_SLICE_ALONE);
    const struct facts *kind = &slice->kinds[slice->kind_of[user - FIRST]];
    struct facts truth;
    memory_facts(&fixture->world->past.policy, user, fixture->place, 0, &truth);
    assert_int_equal(kind->chain_count, truth.chain_count);
    for (uint32_t level = 0; level < truth.chain_count; level++) {
        assert_true(scope_equal(kind->chain[level].key, truth.chain[level].key));
        assert_int_equal(kind->chain[level].has_owner, truth.chain[level].has_owner);
    }
    assert_int_equal(kind->default_count, truth.default_count);
    assert_int_equal(kind->overwrite_count, truth.overwrite_count);
    assert_int_equal(kind->assignment_count, user % 3);
    for (size_t i = 0; i < kind->assignment_count; i++) {
        assert_int_equal(kind->assignments[i].role, i + 1);
        assert_int_equal(kind->assignments[i].level, truth.chain_count - 1);
    }
    assert_true(kind->without_roles);
    assert_int_equal(kind->revision, fixture->world->past.revision);
    assert_int_equal(kind->nonce, world_nonce_at(fixture->world, kind->revision));
    facts_fini(&truth);
}

/* Those who have the same are of one kind. */
static void what_is_there_becomes_kinds(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(read_all(fixture), fixture->host->l2->marker.epoch);
    assert_int_not_equal(fixture->epoch, 0);
    assert_int_equal(count_alone(fixture), 0);
    assert_int_equal(fixture->slice->kind_count, 3);
    for (uint64_t user = FIRST; user < FIRST + USERS; user++)
        assert_kind(fixture, user);
    assert_true(l2_place_counts(fixture->host->l2, fixture->epoch));
    assert_int_equal(fixture->host->counters.l2_misses, 0);
}

/* Whoever wrote otherwise would have global answered by what is above it. */
static void global_is_never_plain(void **state)
{
    struct fixture *fixture = *state;
    struct facts facts;
    uint64_t epoch;
    world_forget_values(fixture->world);
    host_read_rows(fixture->host, FIRST, fixture->place, &facts, &epoch);
    facts.chain[0].plain = true;
    l2_put(fixture->host->l2, &facts, epoch, 1, false);
    world_until_answered(fixture->world);
    assert_int_not_equal(read_all(fixture), 0);
    assert_false(facts_slice_common(fixture->slice)->chain[0].plain);
}

/* What takes Redis and the loop their time is a value, and there is one for each level. */
static void fewer_of_a_deep_place(void **state)
{
    struct fixture *fixture = *state;
    for (levels = 1; levels <= SCOPE_CHAIN_MAX; levels++) {
        size_t most = l2_place_max(fixture->host->l2, fixture->place);
        assert_int_equal(most, levels <= 8 ? MOST : 8 * MOST / levels);
        assert_true(most >= 32); /* as many as make a run */
    }
    levels = 0;
}

/* ---- who is left alone ------------------------------------------------------------------------------------------- */

/* Does something to the key of one user: KEYS[1]. */
static void spoil(struct fixture *fixture, uint64_t user, const char *script)
{
    char command[400];
    (void)snprintf(
        command, sizeof command,
        "EVAL \"local k = redis.call('KEYS', 'p:*{user:%d}')[1] local f = redis.call('HKEYS', k)[1] %s\" 0",
        (int)user, script);
    world_ask_redis(fixture->world, command);
}

/* One that is not as it should be costs nobody else anything; and it is there still, for who looks for it alone. */
static void one_is_spoilt(void **state)
{
    static const char *const scripts[] = {
        "redis.call('DEL', k)",
        "redis.call('HDEL', k, f)",
        "redis.call('HSET', k, f, '')",
        "redis.call('HSET', k, f, '?')",
        "redis.call('HSET', k, f, redis.call('HGET', k, f):sub(1, -2))",
        "redis.call('HSET', k, f, redis.call('HGET', k, f) .. 'x')",
        "redis.call('HSET', k, f, string.rep('x', 70000))",
        "redis.call('DEL', k) redis.call('SET', k, 'x')",
        "redis.call('DEL', k) redis.call('LPUSH', k, 'x')",
    };
    struct fixture *fixture = *state;
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
        uint64_t user = FIRST + i % USERS;
        put_all(fixture);
        spoil(fixture, user, scripts[i]);
        assert_int_not_equal(read_all(fixture), 0);
        assert_int_equal(count_alone(fixture), 1);
        for (uint64_t other = FIRST; other < FIRST + USERS; other++)
            if (other == user)
                assert_int_equal(fixture->slice->kind_of[user - FIRST], FACTS_SLICE_ALONE);
            else
                assert_kind(fixture, other);
    }
    assert_int_equal(fixture->host->counters.l2_corrupt, 0);
    assert_int_equal(fixture->host->counters.l2_misses, 0);
}

/* A role that ends, and an overwrite, are no kind's. */
static void who_has_more_than_roles(void **state)
{
    struct fixture *fixture = *state;
    struct facts facts;
    uint64_t epoch;
    for (unsigned overwrite = 0; overwrite < 2; overwrite++) {
        put_all(fixture);
        spoil(fixture, FIRST + 2, "redis.call('DEL', k)");
        host_read_rows(fixture->host, FIRST + 2, fixture->place, &facts, &epoch);
        free(facts.assignments);
        facts.assignments = calloc(1, sizeof *facts.assignments);
        facts.assignments[0] = (struct facts_assignment){.role = 1, .expires_at = 1000};
        facts.assignment_count = !overwrite;
        if (overwrite) {
            free(facts.overwrites);
            facts.overwrites = calloc(1, sizeof *facts.overwrites);
            facts.overwrites[0].subject = OVERWRITE_USER;
            facts.overwrite_count = 1;
        }
        l2_put(fixture->host->l2, &facts, epoch, 1, false);
        world_until_answered(fixture->world);
        assert_int_not_equal(read_all(fixture), 0);
        assert_int_equal(count_alone(fixture), 1);
        assert_int_equal(fixture->slice->kind_of[2], FACTS_SLICE_ALONE);
    }
}

/* What is known of all of them is one value. */
static void the_place_is_spoilt(void **state)
{
    static const char *const scripts[] = {
        "redis.call('DEL', k)",
        "redis.call('HDEL', k, 'parent')",
        "redis.call('HDEL', k, 'value')",
        "redis.call('HSET', k, 'parent', '-')",
        "redis.call('HSET', k, 'parent', 'server:4711')",
        "redis.call('HSET', k, 'value', '?')",
        "redis.call('HSET', k, 'value', string.rep('x', 70000))",
        "redis.call('DEL', k) redis.call('SET', k, 'x')",
    };
    struct fixture *fixture = *state;
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
        char command[400];
        put_all(fixture);
        (void)snprintf(command, sizeof command,
                       "EVAL \"for _, k in ipairs(redis.call('KEYS', 'p:*{scope:*}')) do %s end\" 0",
                       scripts[i]);
        world_ask_redis(fixture->world, command);
        assert_int_equal(read_all(fixture), 0);
    }
    put_all(fixture);
    assert_int_not_equal(read_all(fixture), 0);
}

/* ---- the marker -------------------------------------------------------------------------------------------------- */

static void the_marker_is_another(void **state)
{
    static const char *const commands[] = {"DEL p:l2:1:marker", "HSET p:l2:1:marker store 0000000000000008",
                                           "HSET p:l2:1:marker revision x",
                                           "HSET p:l2:1:marker epoch 0000000000000008"};
    struct fixture *fixture = *state;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        put_all(fixture);
        assert_int_not_equal(read_all(fixture), 0);
        world_ask_redis(fixture->world, commands[i]);
        assert_int_equal(read_all(fixture), 0);
        world_ask_redis(fixture->world, "FLUSHALL");
        fixture->host->l2->marker.begun_ns = 0;
        l2_marker_lose(fixture->host->l2);
        l2_applied(fixture->host->l2);
        world_until_answered(fixture->world);
    }
}

/* What was read before L2 was forgotten counts no more, neither meanwhile nor afterwards. */
static void l2_is_forgotten(void **state)
{
    struct fixture *fixture = *state;
    struct l2 *l2 = fixture->host->l2;
    uint64_t epoch = read_all(fixture);
    assert_true(l2_place_counts(l2, epoch));
    assert_int_equal(l2_place_max(l2, fixture->place), MOST);
    l2->marker.begun_ns = 0;
    assert_int_equal(begin_read(fixture), 0);
    l2_flush(l2); /* while one is away */
    assert_false(l2_place_counts(l2, epoch));
    assert_int_equal(l2_place_max(l2, fixture->place), 0);
    assert_int_equal(l2_place_read(&fixture->read, l2, fixture->slice, on_done, fixture),
                     PERMTAB_E_UNREACHABLE);
    world_until_answered(fixture->world);
    assert_int_equal(fixture->told, 2);
    assert_int_equal(fixture->epoch, 0);
    assert_int_equal(l2_place_max(l2, fixture->place), MOST);
    assert_false(l2_place_counts(l2, epoch));
}

/* ---- trouble ----------------------------------------------------------------------------------------------------- */

static void redis_goes_away(void **state)
{
    struct fixture *fixture = *state;
    redis_server_pause(fixture->world->server);
    assert_int_equal(begin_read(fixture), 0);
    world_until_quiet(fixture->world);
    assert_int_equal(fixture->told, 0);
    redis_server_resume(fixture->world->server);
    world_ask_redis(fixture->world, "CLIENT KILL TYPE normal SKIPME yes");
    world_until_answered(fixture->world);
    assert_int_equal(fixture->told, 1);
    assert_true(fixture->epoch == 0 || fixture->epoch == fixture->host->l2->marker.epoch);
    world_ask_redis(fixture->world, "CLIENT KILL TYPE normal SKIPME yes");
    while (redis_connected(fixture->host->redis))
        world_until_quiet(fixture->world);
    assert_int_equal(l2_place_max(fixture->host->l2, fixture->place), 0);
    assert_int_equal(begin_read(fixture), PERMTAB_E_UNREACHABLE);
    world_reconnect(fixture->world);
    world_until_answered(fixture->world);
    assert_int_not_equal(read_all(fixture), 0);
}

/* A read is one look, however many users it is of: five that fail are enough, and four are not. */
static void it_is_one_look_to_the_breaker(void **state)
{
    struct fixture *fixture = *state;
    struct l2 *l2 = fixture->host->l2;
    world_ask_redis(fixture->world, "ACL SETUSER default -hmget");
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(l2_place_max(l2, fixture->place), MOST);
        assert_int_equal(read_all(fixture), 0);
        assert_int_equal(fixture->host->counters.l2_errors, i + 1);
    }
    assert_int_equal(l2_place_max(l2, fixture->place), 0);
    assert_int_equal(fixture->host->counters.l2_breaker_open, 1);
    world_ask_redis(fixture->world, "ACL SETUSER default +hmget");
}

static void nobody_wants_it(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(begin_read(fixture), 0);
    l2_place_leave(fixture->read);
    facts_slice_free(fixture->slice);
    fixture->slice = NULL;
    world_until_answered(fixture->world);
    assert_int_equal(fixture->told, 0);
}

/* The last thing that happens: world_end frees the connection and L2. A leak would be seen. */
static void it_ends_at_any_time(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(begin_read(fixture), 0);
    l2_place_leave(fixture->read);
    assert_int_equal(begin_read(fixture), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(what_is_there_becomes_kinds),
        T(global_is_never_plain),
        T(fewer_of_a_deep_place),
        T(one_is_spoilt),
        T(who_has_more_than_roles),
        T(the_place_is_spoilt),
        T(the_marker_is_another),
        T(l2_is_forgotten),
        T(redis_goes_away),
        T(it_is_one_look_to_the_breaker),
        T(nobody_wants_it),
        T(it_ends_at_any_time),
#undef T
    };
    if (!redis_server_installed())
        return 77;
    (void)signal(SIGPIPE, SIG_IGN); /* as the daemon: connections are killed here */
    return cmocka_run_group_tests(tests, world_start_redis, world_stop_redis);
}
