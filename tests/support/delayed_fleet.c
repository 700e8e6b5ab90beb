/* Several hosts of one fleet in one program. What the queue asks other parts for is played here. */
#include "tests/support/delayed_fleet.h"

#include "proxy/base/random.h"
#include "proxy/table/fill.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct delayed_fleet fleet;

static struct permission permissions[] = {{.bit = 0, .name = "message.send"},
                                          {.bit = 1, .name = "member.muted"}};

/* ---- instead of the parts it talks to ---- */

int __wrap_invalidation_start(struct invalidations *invalidations, const struct invalidation *what,
                              invalidation_done_fn done, void *context);
void __wrap_ask_start(struct answering *answering, struct ask_flow *flow, struct ask *ask);
void __wrap_ask_cancel(struct ask *ask);
const struct catalogue *__wrap_publisher_catalogue(const struct publisher *publisher);
struct log_position __wrap_publisher_position(const struct publisher *publisher);
uint64_t __wrap_publisher_names_version(const struct publisher *publisher);
void __wrap_feed_wake(struct feed *feed);

struct pending_done {
    struct pending_done *next; /* of those that never end */
    invalidation_done_fn done;
    void *context;
};

static void on_pending_done(evutil_socket_t descriptor, short what, void *context)
{
    struct pending_done *pending = context;
    struct invalidation_result result = {0};
    (void)descriptor, (void)what;
    if (fleet.outcome == FAIL)
        pending->done(pending->context, fleet.fail_code, "the test said so", &result);
    else
        pending->done(pending->context, 0, "", &result);
    free(pending);
}

int __wrap_invalidation_start(struct invalidations *invalidations, const struct invalidation *what,
                              invalidation_done_fn done, void *context)
{
    struct host *host = (struct host *)invalidations;
    struct pending_done *pending = calloc(1, sizeof *pending);
    struct timeval delay = {fleet.outcome == SLOWLY ? fleet.slow_ms / 1000 : 0,
                            fleet.outcome == SLOWLY ? fleet.slow_ms % 1000 * 1000 : 0};
    assert_int_equal(what->source, INVALIDATION_DELAYED);
    for (size_t i = 0; i < what->count; i++) {
        if (what->targets[i].kind == TARGET_USER && what->targets[i].id < FLEET_USERS)
            fleet.users[what->targets[i].id]++;
    }
    (void)snprintf(fleet.last_reason, sizeof fleet.last_reason, "%s", what->reason);
    fleet.carried_out++;
    host->carried_out++;
    pending->done = done;
    pending->context = context;
    if (fleet.outcome == NEVER) {
        pending->next = fleet.never;
        fleet.never = pending;
    } else {
        assert_int_equal(event_base_once(fleet.base, -1, EV_TIMEOUT, on_pending_done, pending, &delay), 0);
    }
    return 0;
}

void __wrap_ask_start(struct answering *answering, struct ask_flow *flow, struct ask *ask)
{
    struct answer answer = {.any = &fleet.bits, .own = &fleet.bits, .words = 1};
    (void)answering, (void)flow;
    assert_int_equal(ask->question.user, 42);
    fleet.asked++;
    ask->done(ask, fleet.answer, "the test does not say", fleet.answer == 0 ? &answer : NULL);
}

void __wrap_ask_cancel(struct ask *ask)
{
    (void)ask;
}

const struct catalogue *__wrap_publisher_catalogue(const struct publisher *publisher)
{
    (void)publisher;
    return &fleet.catalogue;
}

struct log_position __wrap_publisher_position(const struct publisher *publisher)
{
    (void)publisher;
    return fleet.position;
}

uint64_t __wrap_publisher_names_version(const struct publisher *publisher)
{
    (void)publisher;
    return 1;
}

void __wrap_feed_wake(struct feed *feed)
{
    (void)feed;
    fleet.wakes++;
}

/* ---- running ---- */

bool fleet_until(const unsigned *value, unsigned wanted, unsigned ms)
{
    return loop_until(fleet.base, value, wanted, ms);
}

void fleet_run(unsigned ms)
{
    loop_for(fleet.base, ms);
}

long fleet_ask(const char *command)
{
    char text[256];
    assert_true(redis_server_ask(&fleet.server, command, text, sizeof text));
    return strtol(text, NULL, 10);
}

bool fleet_until_empty(unsigned ms)
{
    uint64_t end = clock_ms() + ms * LOOP_PATIENCE;
    while (fleet_ask("DBSIZE") != 0 && clock_ms() < end)
        fleet_run(20);
    return fleet_ask("DBSIZE") == 0;
}

void fleet_assert_empty(void)
{
    if (!fleet_until_empty(3000)) {
        char keys[4096];
        (void)redis_server_ask(&fleet.server, "KEYS *", keys, sizeof keys);
        fail_msg("Redis still holds %.1000s", keys);
    }
    for (unsigned i = 0; i < FLEET_HOSTS; i++) /* Redis knows before they do, who count it */
        while (fleet.hosts[i].redis && redis_pending(fleet.hosts[i].redis) > 0)
            loop_turn(fleet.base);
}

static void on_state(void *context, bool connected)
{
    struct host *host = context;
    host->connected = connected;
    if (host->delayed)
        delayed_connected(host->delayed, connected);
}

void fleet_start_host(struct host *host)
{
    struct redis_access access = {
        .url = fleet.server.url, .timeout_ms = fleet.timeout_ms, .ping_ms = fleet.ping_ms};
    struct redis_options redis = {fleet.base, on_state, host, &access};
    struct failure failure;
    memset(host, 0, sizeof *host);
    assert_int_equal(redis_new(&host->redis, &redis, &failure), 0);
    struct delayed_options delayed = fleet.options;
    delayed.base = fleet.base;
    delayed.redis = host->redis;
    delayed.counters = &host->counters;
    delayed.invalidations = (struct invalidations *)host;
    delayed.prefix = "t:";
    assert_int_equal(random_id(&delayed.host_id), 0);
    assert_int_equal(delayed_new(&host->delayed, &delayed), 0);
    while (!host->connected)
        (void)event_base_loop(fleet.base, EVLOOP_ONCE);
}

void fleet_stop_host(struct host *host)
{
    delayed_free(host->delayed);
    redis_free(host->redis);
    memset(host, 0, sizeof *host);
}

void fleet_start(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        fleet_start_host(&fleet.hosts[i]);
}

int fleet_setup(void **state)
{
    (void)state;
    struct redis_server server = fleet.server;
    memset(&fleet, 0, sizeof fleet);
    fleet.server = server;
    fleet.base = event_base_new();
    fleet.timeout_ms = fleet.ping_ms = 5000; /* the machine may be busy */
    fleet.catalogue = (struct catalogue){
        .permissions = permissions, .count = 2, .words = 1, .types = {3, {"global", "server", "channel"}}};
    fleet.fail_code = PERMTAB_E_STORE;
    fleet.position = (struct log_position){.store_id = 5, .revision = 100};
    fleet.options =
        (struct delayed_options){.tick_ms = 50, .a_second = 100000, .lease_ms = 600, .budget = 50};
    (void)fleet_ask("FLUSHALL");
    return 0;
}

int fleet_teardown(void **state)
{
    (void)state;
    for (unsigned i = 0; i < FLEET_HOSTS; i++) {
        if (fleet.hosts[i].redis)
            fleet_stop_host(&fleet.hosts[i]);
    }
    while (fleet.never) { /* as invalidations_free does */
        struct pending_done *pending = fleet.never;
        fleet.never = pending->next;
        pending->done(pending->context, PERMTAB_E_REFUSED, "the end", NULL);
        free(pending);
    }
    fleet_run(1); /* what libevent has of those */
    event_base_free(fleet.base);
    return 0;
}

/* ---- calls ---- */

static void take_code(int code, const char *text)
{
    fleet.code = code;
    (void)snprintf(fleet.text, sizeof fleet.text, "%s", text);
    fleet.replies++;
}

void fleet_on_added(void *context, int code, const char *text, const struct delayed_task *task)
{
    (void)context;
    (void)snprintf(fleet.id, sizeof fleet.id, "%s", task->id);
    take_code(code, text);
}

void fleet_fill_task(struct delayed_task *task, const char *targets, const char *reason)
{
    memset(task, 0, sizeof *task);
    assert_int_equal(delayed_targets_parse(&fleet.catalogue.types, targets, strlen(targets), task), 0);
    delayed_reason(task->reason, reason);
}

void fleet_add_task(const struct delayed_task *task, uint64_t in_ms, uint64_t alive_ms)
{
    struct delayed_when when = {.due = in_ms, .alive = alive_ms};
    unsigned before = fleet.replies;
    assert_int_equal(delayed_add(fleet.hosts[0].delayed, task, &when, fleet_on_added, NULL), 0);
    assert_true(fleet_until(&fleet.replies, before + 1, 8000));
}

void fleet_add(const char *targets, const char *reason, uint64_t in_ms)
{
    struct delayed_task task;
    fleet_fill_task(&task, targets, reason);
    fleet_add_task(&task, in_ms, 0);
    assert_int_equal(fleet.code, 0);
}

void fleet_on_swept(void *context, int code, const char *text, uint64_t count, const char *cursor)
{
    (void)context;
    fleet.count += count;
    (void)snprintf(fleet.cursor, sizeof fleet.cursor, "%s", cursor);
    take_code(code, text);
}

uint64_t fleet_sweep(enum delayed_action action, const char *what)
{
    struct delayed_sweep sweep = {.action = action, .most = 1000};
    if (what[0])
        assert_int_equal(delayed_what_parse(&fleet.catalogue.types, what, &sweep.what), 0);
    fleet.count = 0;
    do {
        unsigned before = fleet.replies;
        assert_int_equal(delayed_sweep(fleet.hosts[0].delayed, &sweep, fleet_on_swept, NULL), 0);
        assert_true(fleet_until(&fleet.replies, before + 1, 5000));
        assert_int_equal(fleet.code, 0);
        (void)snprintf(sweep.cursor, sizeof sweep.cursor, "%s", fleet.cursor);
    } while (fleet.cursor[0]);
    return fleet.count;
}

void fleet_on_looked(void *context, int code, const char *text, const struct delayed_state *state)
{
    (void)context;
    fleet.state = *state;
    take_code(code, text);
}

void fleet_look(bool advise)
{
    unsigned before = fleet.replies;
    assert_int_equal(delayed_look(fleet.hosts[0].delayed, advise, fleet_on_looked, NULL), 0);
    assert_true(fleet_until(&fleet.replies, before + 1, 5000));
    assert_int_equal(fleet.code, 0);
}

void fleet_on_listed(void *context, int code, const char *text, uint64_t now_ms,
                     const struct delayed_row *rows, size_t count)
{
    (void)context, (void)now_ms;
    fleet.rows = count;
    if (count > 0) {
        (void)snprintf(fleet.row_error, sizeof fleet.row_error, "%s", rows[0].error);
        (void)snprintf(fleet.row_targets, sizeof fleet.row_targets, "%s", rows[0].targets);
        fleet.row_taken = rows[0].taken;
        fleet.row_attempts = rows[0].attempts;
    }
    take_code(code, text);
}

void fleet_list(void)
{
    unsigned before = fleet.replies;
    assert_int_equal(delayed_list(fleet.hosts[0].delayed, 50, fleet_on_listed, NULL), 0);
    assert_true(fleet_until(&fleet.replies, before + 1, 5000));
    assert_int_equal(fleet.code, 0);
}

void fleet_add_many(unsigned count, uint64_t in_ms, unsigned scopes, unsigned reasons)
{
    struct delayed_task *task = calloc(1, sizeof *task);
    struct delayed_when when = {.due = in_ms};
    unsigned begun = 0, before = fleet.replies;
    while (fleet.replies - before < count) {
        while (begun < count && begun - (fleet.replies - before) < 500) {
            char targets[64], reason[32];
            (void)snprintf(targets, sizeof targets, "user:%u scope:server:%u", begun, begun % scopes);
            (void)snprintf(reason, sizeof reason, "reason %u", begun % reasons);
            fleet_fill_task(task, targets, reason);
            assert_int_equal(delayed_add(fleet.hosts[0].delayed, task, &when, fleet_on_added, NULL), 0);
            begun++;
        }
        unsigned now = fleet.replies;
        assert_true(fleet_until(&fleet.replies, now + 1, 5000));
        assert_int_equal(fleet.code, 0);
    }
    free(task);
}

int fleet_start_redis(void **state)
{
    (void)state;
    redis_server_start(&fleet.server, false, NULL);
    return 0;
}

int fleet_stop_redis(void **state)
{
    (void)state;
    redis_server_stop(&fleet.server);
    return 0;
}
