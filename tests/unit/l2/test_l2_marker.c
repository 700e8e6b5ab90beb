/* The marker's step: what each kind of change removes from L2 and tells the fleet, how many changes one step may have,
 * and how a host catches up that does not remember them. */
#include "proxy/base/clock.h"
#include "proxy/redis/subscriber.h"
#include "tests/support/l2_hosts.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HERE                                                                                                 \
    {                                                                                                        \
        1, 1                                                                                                 \
    } /* server:1 */

/* The message that was published last. */
static char told[65536];
static unsigned told_count;
static bool listening;

static void on_message(void *context, const char *bytes, size_t size)
{
    (void)context;
    assert_true(size < sizeof told);
    memcpy(told, bytes, size);
    told[size] = '\0';
    told_count++;
}

static void on_state(void *context, bool subscribed)
{
    (void)context;
    listening = subscribed;
}

static struct redis_subscriber *subscribe(struct world *world)
{
    struct redis_access access = {.url = world->server->url, .timeout_ms = 1000, .ping_ms = 10000};
    struct redis_subscriber_options options = {world->base, on_message, on_state,
                                               NULL,        &access,    "p:invalidate"};
    struct redis_subscriber *subscriber;
    struct failure failure;
    uint64_t begun = clock_ns();
    listening = false;
    assert_int_equal(redis_subscriber_new(&subscriber, &options, &failure), 0);
    while (!listening && clock_ns() - begun < WORLD_HANG_NS)
        (void)event_base_loop(world->base, EVLOOP_ONCE);
    assert_true(listening);
    return subscriber;
}

static void append(struct world *world, struct change row)
{
    row.revision = world->past.revision + 1;
    row.nonce = 1000 + row.revision;
    world_append_rows(&world->log, &row, 1);
    world->past.revision++;
}

/* The table and the marker come to where the store is, and what was published is heard. */
static void catch_up(struct world *world, struct host *host)
{
    uint64_t begun = clock_ns();
    unsigned before = told_count;
    host_apply_batch(host);
    host_remember_applied(host);
    publisher_renew(host->publisher, begun);
    l2_applied(host->l2);
    while (clock_ns() - begun < WORLD_HANG_NS &&
           (told_count == before || host->l2->marker.at.revision < world->past.revision))
        (void)event_base_loop(world->base, EVLOOP_NONBLOCK);
    world_until_answered(world);
    assert_int_equal(host->l2->marker.at.revision, world->past.revision);
    assert_true(told_count > before);
}

/* One command; EPOCH in it is the present one. */
static long command(struct host *host, const char *text)
{
    char whole[300], reply[256];
    const char *at = strstr(text, "EPOCH");
    assert_non_null(at);
    (void)snprintf(whole, sizeof whole, "%.*s%016llx%s", (int)(at - text), text,
                   (unsigned long long)host->l2->marker.epoch, at + 5);
    assert_true(redis_server_ask(host->world->server, whole, reply, sizeof reply));
    assert_true(reply[0] != '-');
    return strtol(reply, NULL, 10);
}

enum { USERS_ROWS = 1, ROWS_OF_0 = 2, PLACE = 4, PLAIN_PLACE = 8 };

static const struct {
    const char *put, *look;
} values[] = {
    {"HSET p:l2:1:EPOCH:{user:1} server:1 x server:2 x", "HEXISTS p:l2:1:EPOCH:{user:1} server:1"},
    {"HSET p:l2:1:EPOCH:{user:0} server:1 x server:2 x", "HEXISTS p:l2:1:EPOCH:{user:0} server:1"},
    {"HSET p:l2:1:EPOCH:{scope:server:1} plain 0", "EXISTS p:l2:1:EPOCH:{scope:server:1}"},
    {"HSET p:l2:1:EPOCH:{scope:server:1} plain 1", "EXISTS p:l2:1:EPOCH:{scope:server:1}"},
};

/* Whether the value goes when the change is followed. */
static bool goes(struct world *world, struct host *host, size_t value, struct change change)
{
    world_forget_values(world);
    (void)command(host, values[value].put);
    (void)command(host, "HSET p:l2:1:EPOCH:{scope:server:2} plain 1");
    (void)command(host, "HSET p:l2:1:EPOCH:{user:2} server:1 x");
    append(world, change);
    catch_up(world, host);
    assert_int_equal(command(host, "EXISTS p:l2:1:EPOCH:{scope:server:2}"), 1);
    assert_int_equal(command(host, "HEXISTS p:l2:1:EPOCH:{user:2} server:1"), 1);
    if (value < 2) { /* what else the user has */
        const char *others =
            value == 0 ? "HEXISTS p:l2:1:EPOCH:{user:1} server:2" : "HEXISTS p:l2:1:EPOCH:{user:0} server:2";
        assert_int_equal(command(host, others), 1);
    }
    return command(host, values[value].look) == 0;
}

static void each_change_removes_what_it_touches(void **state)
{
    static const struct {
        struct change change;
        unsigned removes;
        const char *names; /* in the message; NULL: nothing */
    } cases[] = {
        {{.kind = CHANGE_ASSIGNMENT, .user = 1, .role = 7, .scope = HERE},
         USERS_ROWS | PLAIN_PLACE,
         " user:1"},
        {{.kind = CHANGE_OVERWRITE, .user = 1, .scope = HERE}, USERS_ROWS | PLAIN_PLACE, " user:1"},
        {{.kind = CHANGE_OVERWRITE, .role = 7, .scope = HERE},
         ROWS_OF_0 | PLACE | PLAIN_PLACE,
         " scope:server:1"},
        {{.kind = CHANGE_SCOPE, .scope = HERE}, PLACE | PLAIN_PLACE, " scope:server:1"},
        {{.kind = CHANGE_ROLE, .role = 7, .scope = HERE}, PLACE | PLAIN_PLACE, NULL},
        {{.kind = CHANGE_ROLE_GRANT, .role = 7}, 0, NULL},
        {{.kind = CHANGE_ROLE_PARENT, .role = 7}, 0, NULL},
    };
    struct world *world = world_begin(24, *state);
    struct host *host = &world->hosts[0];
    world_reconnect(world);
    world_until_answered(world);
    struct redis_subscriber *subscriber = subscribe(world);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (size_t value = 0; value < sizeof values / sizeof *values; value++)
            if (goes(world, host, value, cases[i].change) != (cases[i].removes >> value & 1))
                fail_msg("case %zu: \"%s\"", i, values[value].put);
        if (cases[i].names ? strstr(told, cases[i].names) == NULL : strchr(told, ':') != NULL)
            fail_msg("case %zu was told as \"%s\"", i, told);
    }
    redis_subscriber_free(subscriber);
    world_end(world, NULL);
}

/* One script must not keep Redis busy for long. Its message names all that it brings. */
static void many_changes_take_many_steps(void **state)
{
    struct world *world = world_begin(25, *state);
    struct host *host = &world->hosts[0];
    world_reconnect(world);
    world_until_answered(world);
    struct redis_subscriber *subscriber = subscribe(world);
    for (unsigned i = 0; i < 1500; i++)
        append(world, (struct change){.kind = CHANGE_SCOPE, .scope = {100000 + i, 1}});
    unsigned before = told_count;
    catch_up(world, host);
    uint64_t begun = clock_ns();
    while (strstr(told, "scope:server:101499") == NULL && clock_ns() - begun < WORLD_HANG_NS)
        (void)event_base_loop(world->base, EVLOOP_NONBLOCK);
    assert_int_equal(told_count - before, 3); /* 512 at a time */
    assert_null(strstr(told, "scope:server:101023"));
    assert_non_null(strstr(told, "scope:server:101024"));
    redis_subscriber_free(subscriber);
    world_end(world, NULL);
}

/* ---- after a restart --------------------------------------------------------------------------------------------- */

/* Changes that nobody has brought into L2, and a host that was not there when they came. */
static void miss_some_changes(struct world *world, struct scope_key touched)
{
    for (unsigned i = 0; i < 5; i++)
        append(world, (struct change){.kind = CHANGE_SCOPE, .scope = {500 + i, 1}});
    append(world, (struct change){.kind = CHANGE_SCOPE, .scope = touched});
    host_restart(&world->hosts[0]);
    world_reconnect(world);
}

/* Goes on until the marker stands where the table does. The thread that reads the log fails now and then. */
static void pursue(struct world *world, struct host *host)
{
    uint64_t begun = clock_ns();
    while (!host->l2->marker.known || host->l2->marker.at.revision != world->past.revision ||
           host->l2->marker.at.nonce != world_nonce_at(world, world->past.revision)) {
        assert_true(clock_ns() - begun < WORLD_HANG_NS);
        publisher_renew(host->publisher, clock_ns());
        host->l2->marker.begun_ns = 0;
        l2_applied(host->l2);
        world_until_answered(world);
        world_step_job(world);
        world_until_answered(world);
    }
}

static struct host *host_with_a_value(struct world *world)
{
    struct host *host = &world->hosts[0];
    world_reconnect(world);
    world_until_answered(world);
    host_follow(host);
    world_until_answered(world);
    host_put(host, 1, nowhere, 1);
    world_until_answered(world);
    assert_int_equal(host->counters.l2_puts, 1);
    return host;
}

static enum l2_outcome outcome_of_a_look(struct world *world, struct host *host)
{
    enum l2_outcome outcome;
    assert_non_null(host_look_for(host, &outcome));
    world_until_answered(world);
    return outcome;
}

/* It reads the store's log from where the marker stands, and L2 is not lost. */
static void a_restart_costs_what_has_changed_alone(void **state)
{
    for (unsigned touched = 0; touched < 2; touched++) {
        struct world *world = world_begin(26, *state);
        struct host *host = host_with_a_value(world);
        uint64_t epoch = host->l2->marker.epoch;
        miss_some_changes(world, touched ? nowhere : (struct scope_key){700, 1});
        pursue(world, host);
        assert_int_equal(host->l2->marker.epoch, epoch);
        assert_int_equal(outcome_of_a_look(world, host), touched ? L2_MISSED : L2_ANSWERED);
        world_end(world, NULL);
    }
}

/* A marker of a revision that is in the log, and of another nonce, has come through something else. */
static void a_marker_of_another_history_is_not_followed(void **state)
{
    struct world *world = world_begin(27, *state);
    struct host *host = host_with_a_value(world);
    uint64_t epoch = host->l2->marker.epoch;
    world_ask_redis(world, "HSET p:l2:1:marker nonce 4711");
    miss_some_changes(world, (struct scope_key){700, 1});
    pursue(world, host);
    assert_int_not_equal(host->l2->marker.epoch, epoch);
    assert_int_equal(outcome_of_a_look(world, host), L2_MISSED);
    world_end(world, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_change_removes_what_it_touches),
        cmocka_unit_test(many_changes_take_many_steps),
        cmocka_unit_test(a_restart_costs_what_has_changed_alone),
        cmocka_unit_test(a_marker_of_another_history_is_not_followed),
    };
    if (!redis_server_installed())
        return 77;
    (void)signal(SIGPIPE, SIG_IGN); /* as the daemon: connections are killed here */
    return cmocka_run_group_tests(tests, world_start_redis, world_stop_redis);
}
