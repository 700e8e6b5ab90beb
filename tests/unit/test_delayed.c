/* The queue of delayed invalidations over a real Redis, with several hosts in one program: what they carry out is recorded
 * instead, and what they ask is answered by the test. At the end of each test Redis must hold nothing. */
#include "proxy/delayed.h"

#include "tests/support/redis_server.h"

#include <event2/event.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define HOSTS 4
#define USERS 20000

enum outcome { SUCCEED, FAIL, NEVER, SLOWLY };

struct host {
    struct redis *redis;
    struct delayed *delayed;
    struct counters counters;
    bool connected;
    unsigned carried_out;
};

struct world {
    struct redis_server server;
    struct event_base *base;
    struct host hosts[HOSTS];
    struct delayed_options options; /* of the next host */
    unsigned timeout_ms, ping_ms;   /* of the next host's connection */
    enum outcome outcome;
    int fail_code; /* of FAIL */
    unsigned slow_ms;
    struct pending_done *never;
    unsigned carried_out, wakes, asked;
    uint8_t users[USERS]; /* how often each was invalidated */
    char last_reason[128];
    int answer; /* code of what is asked */
    uint64_t bits;
    struct catalogue catalogue;
    struct store_position position;
    /* what the last call of each kind was told */
    unsigned replies;
    int code;
    char text[FAILURE_TEXT_SIZE];
    char id[DELAYED_ID_SIZE];
    char cursor[DELAYED_CURSOR_SIZE];
    uint64_t count;
    struct delayed_state state;
    size_t rows;
    char row_error[128], row_targets[128];
    bool row_taken;
    uint64_t row_attempts;
};

static struct world world;
static struct permission permissions[] = {{.bit = 0, .name = "message.send"},
                                          {.bit = 1, .name = "member.muted"}};

/* ---- instead of the parts it talks to ------------------------------------------------------------------------------ */

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
    if (world.outcome == FAIL)
        pending->done(pending->context, world.fail_code, "the test said so", &result);
    else
        pending->done(pending->context, 0, "", &result);
    free(pending);
}

int invalidation_start(struct invalidations *invalidations, const struct invalidation *what,
                       invalidation_done_fn done, void *context)
{
    struct host *host = (struct host *)invalidations;
    struct pending_done *pending = calloc(1, sizeof *pending);
    struct timeval delay = {world.outcome == SLOWLY ? world.slow_ms / 1000 : 0,
                            world.outcome == SLOWLY ? world.slow_ms % 1000 * 1000 : 0};
    assert_int_equal(what->source, INVALIDATION_DELAYED);
    for (size_t i = 0; i < what->count; i++) {
        if (what->targets[i].kind == TARGET_USER && what->targets[i].id < USERS)
            world.users[what->targets[i].id]++;
    }
    (void)snprintf(world.last_reason, sizeof world.last_reason, "%s", what->reason);
    world.carried_out++;
    host->carried_out++;
    pending->done = done;
    pending->context = context;
    if (world.outcome == NEVER) {
        pending->next = world.never;
        world.never = pending;
    } else {
        assert_int_equal(event_base_once(world.base, -1, EV_TIMEOUT, on_pending_done, pending, &delay), 0);
    }
    return 0;
}

void ask_start(struct asks *asks, struct ask_flow *flow, struct ask *ask)
{
    struct answer answer = {.any = &world.bits, .own = &world.bits, .words = 1};
    (void)asks, (void)flow;
    assert_int_equal(ask->question.user, 42);
    world.asked++;
    ask->done(ask, world.answer, "the test does not say", world.answer == 0 ? &answer : NULL);
}

void ask_cancel(struct ask *ask)
{
    (void)ask;
}

const struct catalogue *publish_catalogue(const struct publish *publish)
{
    (void)publish;
    return &world.catalogue;
}

struct store_position publish_position(const struct publish *publish)
{
    (void)publish;
    return world.position;
}

uint64_t publish_meaning(const struct publish *publish)
{
    (void)publish;
    return 1;
}

void feed_wake(struct feed *feed)
{
    (void)feed;
    world.wakes++;
}

/* ---- running ---------------------------------------------------------------------------------------------------------- */

static uint64_t clock_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void on_tick(evutil_socket_t descriptor, short what, void *context)
{
    (void)descriptor, (void)what, (void)context;
}

static bool run_while_below(const unsigned *value, unsigned wanted, unsigned ms)
{
    uint64_t end = clock_ms() + ms;
    struct timeval step = {.tv_usec = 1000};
    struct event *tick = event_new(world.base, -1, EV_PERSIST, on_tick, NULL);
    (void)event_add(tick, &step);
    while (*value < wanted && clock_ms() < end)
        (void)event_base_loop(world.base, EVLOOP_ONCE);
    event_free(tick);
    return *value >= wanted;
}

static void run_for(unsigned ms)
{
    static const unsigned never = 0;
    (void)run_while_below(&never, 1, ms);
}

/* One line of Redis as a number. */
static long ask_redis(const char *command)
{
    char text[256];
    assert_true(redis_server_ask(&world.server, command, text, sizeof text));
    return strtol(text, NULL, 10);
}

static bool run_until_empty(unsigned ms)
{
    uint64_t end = clock_ms() + ms;
    while (ask_redis("DBSIZE") != 0 && clock_ms() < end)
        run_for(20);
    return ask_redis("DBSIZE") == 0;
}

static void assert_empty(void)
{
    if (!run_until_empty(3000)) {
        char keys[4096];
        (void)redis_server_ask(&world.server, "KEYS *", keys, sizeof keys);
        fail_msg("Redis still holds %.1000s", keys);
    }
}

static void on_state(void *context, bool connected)
{
    struct host *host = context;
    host->connected = connected;
    if (host->delayed)
        delayed_connected(host->delayed, connected);
}

static void host_start(struct host *host)
{
    struct redis_options options = {
        .url = world.server.url, .timeout_ms = world.timeout_ms, .ping_ms = world.ping_ms};
    struct failure failure;
    memset(host, 0, sizeof *host);
    assert_int_equal(redis_new(&host->redis, world.base, &options, on_state, host, &failure), 0);
    struct delayed_options delayed = world.options;
    delayed.base = world.base;
    delayed.redis = host->redis;
    delayed.counters = &host->counters;
    delayed.invalidations = (struct invalidations *)host;
    delayed.prefix = "t:";
    assert_int_equal(delayed_new(&host->delayed, &delayed), 0);
    while (!host->connected)
        (void)event_base_loop(world.base, EVLOOP_ONCE);
}

static void host_stop(struct host *host)
{
    delayed_free(host->delayed);
    redis_free(host->redis);
    memset(host, 0, sizeof *host);
}

static void start_hosts(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        host_start(&world.hosts[i]);
}

static int setup(void **state)
{
    (void)state;
    struct redis_server server = world.server;
    memset(&world, 0, sizeof world);
    world.server = server;
    world.base = event_base_new();
    world.timeout_ms = world.ping_ms = 5000; /* the machine may be busy */
    world.catalogue = (struct catalogue){
        .permissions = permissions, .count = 2, .words = 1, .types = {3, {"global", "server", "channel"}}};
    world.fail_code = PERMTAB_E_STORE;
    world.position = (struct store_position){.store_id = 5, .revision = 100};
    world.options =
        (struct delayed_options){.tick_ms = 50, .a_second = 100000, .lease_ms = 600, .budget = 50};
    (void)ask_redis("FLUSHALL");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (unsigned i = 0; i < HOSTS; i++) {
        if (world.hosts[i].redis)
            host_stop(&world.hosts[i]);
    }
    while (world.never) { /* as invalidations_free does */
        struct pending_done *pending = world.never;
        world.never = pending->next;
        pending->done(pending->context, PERMTAB_E_REFUSED, "the end", NULL);
        free(pending);
    }
    run_for(1); /* what libevent has of those */
    event_base_free(world.base);
    return 0;
}

/* ---- calls ------------------------------------------------------------------------------------------------------------- */

static void take_code(int code, const char *text)
{
    world.code = code;
    (void)snprintf(world.text, sizeof world.text, "%s", text);
    world.replies++;
}

static void on_added(void *context, int code, const char *text, const struct delayed_task *task)
{
    (void)context;
    (void)snprintf(world.id, sizeof world.id, "%s", task->id);
    take_code(code, text);
}

static void fill_task(struct delayed_task *task, const char *targets, const char *reason)
{
    memset(task, 0, sizeof *task);
    assert_int_equal(delayed_targets_parse(&world.catalogue.types, targets, strlen(targets), task), 0);
    delayed_reason(task->reason, reason);
}

/* Through the first host, and waits. */
static void add_task(const struct delayed_task *task, uint64_t in_ms, uint64_t alive_ms)
{
    struct delayed_when when = {.due = in_ms, .alive = alive_ms};
    unsigned before = world.replies;
    assert_int_equal(delayed_add(world.hosts[0].delayed, task, &when, on_added, NULL), 0);
    assert_true(run_while_below(&world.replies, before + 1, 8000));
}

static void add(const char *targets, const char *reason, uint64_t in_ms)
{
    struct delayed_task task;
    fill_task(&task, targets, reason);
    add_task(&task, in_ms, 0);
    assert_int_equal(world.code, 0);
}

static void on_swept(void *context, int code, const char *text, uint64_t count, const char *cursor)
{
    (void)context;
    world.count += count;
    (void)snprintf(world.cursor, sizeof world.cursor, "%s", cursor);
    take_code(code, text);
}

/* To its end; the number of tasks. */
static uint64_t sweep(enum delayed_action action, const char *what)
{
    struct delayed_sweep sweep = {.action = action, .most = 1000};
    if (what[0])
        assert_int_equal(delayed_what_parse(&world.catalogue.types, what, &sweep.what), 0);
    world.count = 0;
    do {
        unsigned before = world.replies;
        assert_int_equal(delayed_sweep(world.hosts[0].delayed, &sweep, on_swept, NULL), 0);
        assert_true(run_while_below(&world.replies, before + 1, 5000));
        assert_int_equal(world.code, 0);
        (void)snprintf(sweep.cursor, sizeof sweep.cursor, "%s", world.cursor);
    } while (world.cursor[0]);
    return world.count;
}

static void on_looked(void *context, int code, const char *text, const struct delayed_state *state)
{
    (void)context;
    world.state = *state;
    take_code(code, text);
}

static void look(bool advise)
{
    unsigned before = world.replies;
    assert_int_equal(delayed_look(world.hosts[0].delayed, advise, on_looked, NULL), 0);
    assert_true(run_while_below(&world.replies, before + 1, 5000));
    assert_int_equal(world.code, 0);
}

static void on_listed(void *context, int code, const char *text, uint64_t now_ms,
                      const struct delayed_row *rows, size_t count)
{
    (void)context, (void)now_ms;
    world.rows = count;
    if (count > 0) {
        (void)snprintf(world.row_error, sizeof world.row_error, "%s", rows[0].error);
        (void)snprintf(world.row_targets, sizeof world.row_targets, "%s", rows[0].targets);
        world.row_taken = rows[0].taken;
        world.row_attempts = rows[0].attempts;
    }
    take_code(code, text);
}

static void list(void)
{
    unsigned before = world.replies;
    assert_int_equal(delayed_list(world.hosts[0].delayed, 50, on_listed, NULL), 0);
    assert_true(run_while_below(&world.replies, before + 1, 5000));
    assert_int_equal(world.code, 0);
}

/* Many at once: so many calls are kept under way. */
static void add_many(unsigned count, uint64_t in_ms, unsigned scopes, unsigned reasons)
{
    struct delayed_task *task = calloc(1, sizeof *task);
    struct delayed_when when = {.due = in_ms};
    unsigned begun = 0, before = world.replies;
    while (world.replies - before < count) {
        while (begun < count && begun - (world.replies - before) < 500) {
            char targets[64], reason[32];
            (void)snprintf(targets, sizeof targets, "user:%u scope:server:%u", begun, begun % scopes);
            (void)snprintf(reason, sizeof reason, "reason %u", begun % reasons);
            fill_task(task, targets, reason);
            assert_int_equal(delayed_add(world.hosts[0].delayed, task, &when, on_added, NULL), 0);
            begun++;
        }
        unsigned now = world.replies;
        assert_true(run_while_below(&world.replies, now + 1, 5000));
        assert_int_equal(world.code, 0);
    }
    free(task);
}

/* ---- being carried out -------------------------------------------------------------------------------------------------- */

static void test_when_due(void **state)
{
    (void)state;
    start_hosts(1);
    uint64_t begun = clock_ms();
    add("user:42", "it ended", 400);
    assert_int_equal(strlen(world.id), 32);
    list();
    assert_int_equal(world.rows, 1);
    assert_string_equal(world.row_targets, "user:42");
    assert_false(world.row_taken);
    assert_true(run_while_below(&world.carried_out, 1, 3000));
    uint64_t took = clock_ms() - begun;
    assert_in_range(took, 395, 600);
    assert_string_equal(world.last_reason, "it ended");
    assert_empty();
    const struct counters *counters = &world.hosts[0].counters;
    assert_int_equal(counters->delayed_added, 1);
    assert_int_equal(counters->delayed_taken, 1);
    assert_int_equal(counters->delayed_done, 1);
    assert_int_equal(counters->delayed_late, 0);
    assert_int_equal(delayed_minute(world.hosts[0].delayed, DELAYED_done), 1);
}

/* Each by exactly one host, and all hosts take part. */
static void test_exactly_one_host(void **state)
{
    (void)state;
    world.options.lease_ms = 30000;
    start_hosts(HOSTS);
    add_many(2000, 1500, 10, 3);
    assert_true(run_while_below(&world.carried_out, 2000, 20000));
    run_for(300);
    assert_int_equal(world.carried_out, 2000);
    for (unsigned i = 0; i < 2000; i++)
        assert_int_equal(world.users[i], 1);
    unsigned busy = 0;
    for (unsigned i = 0; i < HOSTS; i++)
        busy += world.hosts[i].carried_out > 0;
    assert_true(busy > 1);
    assert_empty();
}

/* A host that takes tasks and dies, and one that is only slow. */
static void test_dead_host(void **state)
{
    (void)state;
    start_hosts(1);
    world.outcome = NEVER;
    add("user:1", "", 0);
    add("user:2", "", 0);
    assert_true(run_while_below(&world.carried_out, 2, 3000));
    list();
    assert_int_equal(world.rows, 2);
    assert_true(world.row_taken);
    host_stop(&world.hosts[0]);
    world.outcome = SUCCEED;
    host_start(&world.hosts[1]);
    run_for(200);
    assert_int_equal(world.carried_out, 2); /* the lease holds */
    assert_true(run_while_below(&world.carried_out, 4, 3000));
    assert_int_equal(world.users[1], 2);
    assert_int_equal(world.users[2], 2);
    assert_int_equal(world.hosts[1].counters.delayed_returned, 2);
    assert_empty();
}

static void test_slow_host_keeps_its_lease(void **state)
{
    (void)state;
    world.options.lease_ms = 1500;
    start_hosts(2);
    world.outcome = SLOWLY;
    world.slow_ms = 4000;
    add("user:1", "", 0);
    assert_true(run_while_below(&world.carried_out, 1, 3000));
    run_for(4300);
    assert_int_equal(world.carried_out, 1);
    assert_empty();
}

/* What a host says about a task whose lease it has lost is not heard. */
static void test_lost_lease(void **state)
{
    char text[64];
    (void)state;
    start_hosts(1);
    world.outcome = SLOWLY;
    world.slow_ms = 300;
    add("user:1", "", 0);
    assert_true(run_while_below(&world.carried_out, 1, 3000));
    char command[128];
    (void)snprintf(command, sizeof command, "HSET t:delayed:task:%s owner another:1", world.id);
    assert_int_equal(ask_redis(command), 0);
    run_for(400);
    assert_int_equal(ask_redis("ZCARD t:delayed:taken"), 1); /* the other's still */
    assert_int_equal(world.hosts[0].counters.delayed_done, 0);
    assert_true(redis_server_ask(&world.server, "SCARD t:delayed:by:user:1", text, sizeof text));
    assert_string_equal(text, "1");
    assert_true(run_while_below(&world.carried_out, 2, 3000)); /* the other does not renew it */
    world.outcome = FAIL;
    (void)snprintf(command, sizeof command, "HSET t:delayed:task:%s owner another:2", world.id);
    assert_int_equal(ask_redis(command), 0);
    run_for(400);
    assert_int_equal(ask_redis("ZCARD t:delayed:taken"), 1); /* nor is it put back under the other */
    assert_int_equal(world.hosts[0].counters.delayed_failed, 0);
    world.outcome = SUCCEED;
    assert_true(run_while_below(&world.carried_out, 3, 3000));
    assert_empty();
}

static void test_pace(void **state)
{
    (void)state;
    world.options.a_second = 100;
    start_hosts(1);
    add_many(300, 0, 1, 1);
    unsigned soon = world.carried_out; /* the first burst, and what the pace gave while adding */
    assert_true(soon < 200);
    run_for(500);
    assert_in_range(world.carried_out, soon + 20, soon + 130);
    look(false);
    assert_true(world.state.queued > 50);
    assert_int_equal(sweep(DELAYED_RUN, ""), 1000);
    assert_true(run_while_below(&world.carried_out, 300, 400));
    assert_empty();
}

/* ---- failing, waiting, ending --------------------------------------------------------------------------------------------- */

static void test_failing(void **state)
{
    (void)state;
    start_hosts(1);
    world.outcome = FAIL;
    add("user:1 scope:server:3", "trouble", 0);
    for (unsigned i = 1; i <= 3; i++) {
        assert_true(run_while_below(&world.carried_out, i, 3000));
        run_for(100);
        list();
        assert_int_equal(world.rows, 1);
        assert_false(world.row_taken);
        assert_string_equal(world.row_error, "the test said so");
        look(false);
        assert_int_equal(world.state.failing, i >= 3);
        run_for(200);
        assert_int_equal(world.carried_out, i); /* it rests for a second at least */
        if (i < 3)
            assert_int_equal(sweep(DELAYED_RUN, "scope:server:3"), 1);
    }
    assert_int_equal(world.hosts[0].counters.delayed_failed, 3);
    look(true);
    const struct delayed_advice *advice;
    assert_int_equal(delayed_advice(world.hosts[0].delayed, &advice), 1);
    assert_string_equal(advice[0].command, "delayed cancel failing");
    assert_ptr_not_equal(delayed_advised(world.hosts[0].delayed, advice[0].number), NULL);
    assert_null(delayed_advised(world.hosts[0].delayed, advice[0].number + 1));
    assert_int_equal(sweep(DELAYED_CANCEL, "failing"), 1);
    assert_empty();
}

/* A tag that has no members by then, a pattern that L2 cannot be swept for: to try again changes nothing. */
static void test_failures_for_good(void **state)
{
    const int codes[] = {PERMTAB_E_NOT_FOUND, PERMTAB_E_INVALID, PERMTAB_E_LIMIT};
    (void)state;
    start_hosts(1);
    world.outcome = FAIL;
    for (unsigned i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        world.fail_code = codes[i];
        add("tag:raid", "", 0);
        assert_true(run_while_below(&world.carried_out, i + 1, 3000));
        assert_empty();
    }
    assert_int_equal(world.hosts[0].counters.delayed_done, 3);
    assert_int_equal(world.hosts[0].counters.delayed_failed, 0);
}

static void test_fails_then_succeeds(void **state)
{
    (void)state;
    start_hosts(1);
    world.outcome = FAIL;
    add("user:1", "", 0);
    assert_true(run_while_below(&world.carried_out, 1, 3000));
    run_for(100);
    world.outcome = SUCCEED;
    assert_true(run_while_below(&world.carried_out, 2, 3000)); /* by itself, after a second */
    assert_empty();
}

static void test_given_up(void **state)
{
    char command[128];
    (void)state;
    start_hosts(1);
    world.outcome = FAIL;
    add("user:1", "", 60000);
    (void)snprintf(command, sizeof command, "HSET t:delayed:task:%s attempts %u", world.id,
                   DELAYED_ATTEMPTS_MAX);
    assert_int_equal(ask_redis(command), 1);
    assert_int_equal(sweep(DELAYED_RUN, world.id), 1);
    assert_empty();
    assert_int_equal(world.carried_out, 0);
    assert_int_equal(world.hosts[0].counters.delayed_expired, 1);
}

static void test_condition(void **state)
{
    struct delayed_task task;
    (void)state;
    start_hosts(1);
    fill_task(&task, "user:1", "");
    (void)snprintf(task.condition, sizeof task.condition, "42 channel:9 message.send AND NOT member.muted");
    world.bits = 3; /* muted */
    add_task(&task, 0, 0);
    assert_true(run_while_below(&world.asked, 2, 3000));
    assert_int_equal(world.carried_out, 0);
    run_for(30);
    list();
    assert_string_equal(world.row_error, "the condition does not hold");
    world.answer = PERMTAB_E_STALE; /* nobody can say */
    assert_true(run_while_below(&world.asked, 3, 3000));
    run_for(30);
    list();
    assert_string_equal(world.row_error, "the test does not say");
    assert_int_equal(world.row_attempts, 0); /* to look is no attempt */
    assert_int_equal(world.carried_out, 0);
    world.answer = 0;
    world.bits = 1;
    assert_true(run_while_below(&world.carried_out, 1, 5000));
    assert_empty();
    assert_int_equal(world.hosts[0].counters.delayed_waited, 3);
    assert_int_equal(world.hosts[0].counters.delayed_failed, 0);
}

static void test_revision(void **state)
{
    struct delayed_task task;
    (void)state;
    start_hosts(1);
    fill_task(&task, "user:1", "");
    task.has_revision = true;
    task.store_id = 5;
    task.revision = 101;
    add_task(&task, 0, 0);
    assert_true(run_while_below(&world.wakes, 2, 3000));
    assert_int_equal(world.carried_out, 0);
    world.position.revision = 101;
    assert_true(run_while_below(&world.carried_out, 1, 3000));
    task.store_id = 6; /* of another store: it will never be reached, nor is it needed */
    task.revision = 1000;
    add_task(&task, 0, 0);
    assert_true(run_while_below(&world.carried_out, 2, 3000));
    assert_empty();
}

static void test_expiry(void **state)
{
    struct delayed_task task;
    (void)state;
    start_hosts(1);
    fill_task(&task, "user:1 role:7 pattern:user:4? user:3@channel:9", "why");
    (void)snprintf(task.condition, sizeof task.condition, "42 global member.muted");
    add_task(&task, 0, 900);
    run_for(400);
    assert_true(world.asked >= 1);
    assert_true(ask_redis("DBSIZE") >= 7);
    assert_empty();
    assert_int_equal(world.carried_out, 0);
    assert_int_equal(world.hosts[0].counters.delayed_expired, 1);
}

/* Waited for so often that somebody should look. */
static void test_waiting_index(void **state)
{
    struct delayed_task task;
    (void)state;
    start_hosts(1);
    fill_task(&task, "user:1", "");
    (void)snprintf(task.condition, sizeof task.condition, "42 global member.muted");
    add_task(&task, 0, 0);
    for (unsigned i = 1; i <= 10; i++) {
        assert_true(run_while_below(&world.asked, i, 3000));
        run_for(30);
        look(false);
        assert_int_equal(world.state.waiting, i >= 10);
        (void)sweep(DELAYED_RUN, "all");
    }
    assert_int_equal(sweep(DELAYED_CANCEL, "waiting"), 1);
    assert_empty();
}

/* ---- commands over many ------------------------------------------------------------------------------------------------- */

static void test_cancel(void **state)
{
    char first[DELAYED_ID_SIZE];
    (void)state;
    start_hosts(1);
    add("user:42", "a", 60000);
    (void)snprintf(first, sizeof first, "%s", world.id);
    add("user:42 scope:server:1", "a", 60000);
    add("user:42@channel:9", "b", 60000);
    add("pattern:user:4?", "b", 60000);
    add("user:7 role:3", "", 60000);
    assert_int_equal(sweep(DELAYED_CANCEL, "user:8"), 0);
    assert_int_equal(sweep(DELAYED_CANCEL, first), 1);
    assert_int_equal(sweep(DELAYED_CANCEL, first), 0);
    assert_int_equal(sweep(DELAYED_CANCEL, "pattern:user:4?"), 1);
    assert_int_equal(sweep(DELAYED_CANCEL, "scope:channel:9"), 1);
    assert_int_equal(sweep(DELAYED_CANCEL, "reason:b"), 0);
    assert_int_equal(sweep(DELAYED_CANCEL, "user:42"), 1);
    assert_int_equal(ask_redis("DBSIZE"), 4); /* queue, task, user, role */
    assert_int_equal(sweep(DELAYED_CANCEL, "role:3"), 1);
    assert_int_equal(ask_redis("DBSIZE"), 0);
    assert_int_equal(world.hosts[0].counters.delayed_cancelled, 5);
}

/* Tasks with so many indexes that a page of them is more than a step may do. */
static void test_cancel_wide(void **state)
{
    char targets[1024];
    (void)state;
    start_hosts(1);
    for (unsigned i = 0; i < 150; i++) {
        size_t size = 0;
        for (unsigned j = 0; j < 20; j++)
            size += (size_t)snprintf(targets + size, sizeof targets - size, "%suser:%u", j > 0 ? " " : "",
                                     1000 * j + i);
        add(targets, "wide", 600000);
    }
    assert_int_equal(ask_redis("DBSIZE"), 1 + 150 + 150 * 20 + 1);
    assert_int_equal(sweep(DELAYED_CANCEL, "reason:wide"), 150);
    assert_empty();
}

/* Also while they are being carried out. */
static void test_cancel_taken(void **state)
{
    (void)state;
    start_hosts(1);
    world.outcome = NEVER;
    add("user:1", "", 0);
    add("user:2", "", 60000);
    assert_true(run_while_below(&world.carried_out, 1, 3000));
    assert_int_equal(sweep(DELAYED_CANCEL, "all"), 2);
    assert_int_equal(ask_redis("DBSIZE"), 0);
    run_for(800);
    assert_int_equal(world.carried_out, 1);
    assert_int_equal(ask_redis("DBSIZE"), 0); /* no lease brings it back */
}

static void test_replace(void **state)
{
    struct delayed_task task;
    (void)state;
    start_hosts(1);
    for (unsigned i = 0; i < 300; i++)
        add("user:42", "again", 60000);
    add("user:42 user:43", "", 60000);
    fill_task(&task, "user:42", "");
    (void)snprintf(task.condition, sizeof task.condition, "42 global member.muted");
    add_task(&task, 60000, 0);
    look(true);
    const struct delayed_advice *advice;
    assert_int_equal(delayed_advice(world.hosts[0].delayed, &advice), 1);
    assert_string_equal(advice[0].command, "delayed replace user:42");
    assert_int_equal(sweep(DELAYED_REPLACE, "user:42"), 300);
    assert_true(run_while_below(&world.carried_out, 1, 3000));
    run_for(100);
    assert_int_equal(world.users[42], 1);
    assert_int_equal(ask_redis("ZCARD t:delayed:queue"), 2); /* what names others, or has a condition */
    assert_int_equal(sweep(DELAYED_CANCEL, "all"), 2);
    assert_empty();
}

/* The one that stands for the others is not removed with them, however late it is carried out. */
static void test_replacement_stays(void **state)
{
    (void)state;
    world.options.a_second = 1;
    start_hosts(1);
    add_many(64, 0, 1, 1); /* all that the pace allows */
    assert_true(run_while_below(&world.carried_out, 64, 5000));
    memset(world.users, 0, sizeof world.users);
    add("user:42", "", 60000);
    add("user:42", "", 60000);
    assert_int_equal(sweep(DELAYED_REPLACE, "user:42"), 2);
    assert_true(sweep(DELAYED_RUN, "") > 0);
    assert_true(run_while_below(&world.carried_out, 65, 3000));
    assert_int_equal(world.users[42], 1);
    assert_empty();
}

static void test_bad_cursors(void **state)
{
    struct delayed_sweep sweep = {.action = DELAYED_CANCEL};
    const char *bad[] = {"x",
                         "-1",
                         "1:",
                         "1:0123456789abcdef0123456789abcdef",
                         "123456789012345678901",
                         "18446744073709551616"};
    (void)state;
    start_hosts(1);
    assert_int_equal(delayed_what_parse(&world.catalogue.types, "user:1", &sweep.what), 0);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        (void)snprintf(sweep.cursor, sizeof sweep.cursor, "%s", bad[i]);
        assert_int_equal(delayed_sweep(world.hosts[0].delayed, &sweep, on_swept, NULL), PERMTAB_E_INVALID);
    }
    sweep = (struct delayed_sweep){.action = DELAYED_REPLACE};
    assert_int_equal(delayed_what_parse(&world.catalogue.types, "reason:a", &sweep.what), 0);
    assert_int_equal(delayed_sweep(world.hosts[0].delayed, &sweep, on_swept, NULL), PERMTAB_E_INVALID);
    assert_int_equal(delayed_what_parse(&world.catalogue.types, "all", &sweep.what), 0);
    assert_int_equal(delayed_sweep(world.hosts[0].delayed, &sweep, on_swept, NULL), PERMTAB_E_INVALID);
}

/* ---- nothing leaks --------------------------------------------------------------------------------------------------------- */

static void test_nothing_leaks(void **state)
{
    (void)state;
    start_hosts(1);
    add_many(USERS, 600000, 50, 7);
    look(true);
    assert_int_equal(world.state.queued, USERS);
    assert_true(world.state.largest_count > 0);
    assert_memory_equal(world.state.largest[0].index, "reason:reason ", 14);
    assert_in_range(world.state.largest[0].tasks, USERS / 7, USERS / 7 + 1);
    assert_int_equal(sweep(DELAYED_CANCEL, "user:77"), 1);
    assert_int_equal(sweep(DELAYED_CANCEL, "scope:server:3"), USERS / 50);
    assert_int_equal(sweep(DELAYED_CANCEL, "reason:reason 1"), 2800); /* some were on server:3 */
    uint64_t begun = clock_ms();
    uint64_t left = sweep(DELAYED_RUN, "all");
    while (world.carried_out < left && clock_ms() < begun + 60000)
        (void)run_while_below(&world.carried_out, (unsigned)left, 1000);
    assert_int_equal(world.carried_out, left);
    assert_empty();
    for (unsigned i = 0; i < USERS; i++)
        assert_true(world.users[i] <= 1);
}

/* Each key that Redis has; their number. */
static unsigned assert_keys_end(void)
{
    char keys[4096], *rest = keys;
    unsigned count = 0;
    assert_true(redis_server_ask(&world.server, "KEYS *", keys, sizeof keys));
    for (char *key; (key = strsep(&rest, " ")) != NULL; count++) {
        char command[256];
        (void)snprintf(command, sizeof command, "PTTL %s", key);
        assert_in_range(ask_redis(command), 80ull * 86400000, 91ull * 86400000);
    }
    return count;
}

/* Should nobody be left: every key ends by itself. */
static void test_every_key_ends(void **state)
{
    (void)state;
    start_hosts(1);
    world.outcome = NEVER;
    add("user:1 scope:server:1 pattern:user:1*", "x", 60000);
    add("user:2 tag:raid", "", 0);
    assert_true(run_while_below(&world.carried_out, 1, 3000));
    assert_int_equal(ask_redis("ZCARD t:delayed:taken"), 1);
    assert_int_equal(assert_keys_end(), 10);
    host_stop(&world.hosts[0]);
    world.outcome = FAIL;
    start_hosts(1);
    for (unsigned i = 2; i <= 3; i++) { /* returned by another host, then put back into `failing` */
        assert_true(run_while_below(&world.carried_out, i, 5000));
        run_for(50);
        if (i < 3)
            (void)sweep(DELAYED_RUN, "user:2");
    }
    assert_int_equal(assert_keys_end(), 10); /* `failing` in place of `taken` */
    (void)sweep(DELAYED_CANCEL, "all");
    assert_empty();
}

/* A hash that somebody deletes by hand leaves an id in the queue and in its indexes: both go when they are met. */
static void test_deleted_by_hand(void **state)
{
    char command[128];
    (void)state;
    start_hosts(1);
    add("user:1", "", 300);
    (void)snprintf(command, sizeof command, "DEL t:delayed:task:%s", world.id);
    assert_int_equal(ask_redis(command), 1);
    run_for(500);
    assert_int_equal(world.carried_out, 0);
    assert_int_equal(sweep(DELAYED_CANCEL, "user:1"), 0);
    assert_empty();
}

/* What somebody has put in a hash's place keeps nobody else waiting, and can be looked past and cancelled. */
static void test_replaced_by_hand(void **state)
{
    char command[128];
    (void)state;
    start_hosts(1);
    add("user:1", "", 300);
    (void)snprintf(command, sizeof command, "SET t:delayed:task:%s x", world.id);
    (void)ask_redis(command);
    add("user:2", "", 350);
    assert_true(run_while_below(&world.carried_out, 1, 5000));
    add("user:1", "", 60000);
    (void)snprintf(command, sizeof command, "SET t:delayed:task:%s x", world.id);
    (void)ask_redis(command);
    (void)sweep(DELAYED_CANCEL, "all");
    assert_int_equal(ask_redis("EXISTS t:delayed:queue t:delayed:taken"), 0);
}

/* An index of which somebody has made something else does not keep its tasks from ending. */
static void test_index_replaced_by_hand(void **state)
{
    (void)state;
    start_hosts(1);
    (void)ask_redis("SET t:delayed:by:user:1 x");
    add("user:1 user:2", "", 200);
    assert_true(run_while_below(&world.carried_out, 1, 5000));
    run_for(200);
    assert_int_equal(ask_redis("DBSIZE"), 1);
    add("user:1 user:2", "", 60000);
    assert_int_equal(sweep(DELAYED_CANCEL, "user:2"), 1);
    assert_int_equal(ask_redis("DEL t:delayed:by:user:1"), 1);
    assert_empty();
}

/* However many are due, and however long they take: others who want something invalidated have room, too. */
static void test_leaves_room_for_others(void **state)
{
    (void)state;
    start_hosts(1);
    world.outcome = NEVER;
    add_many(200, 0, 10, 1);
    run_for(500);
    assert_true(world.carried_out < INVALIDATION_JOBS_MAX);
    assert_true(world.carried_out >= INVALIDATION_JOBS_MAX / 2);
    assert_int_equal(sweep(DELAYED_CANCEL, "all"), 200);
}

/* ---- Redis in trouble ----------------------------------------------------------------------------------------------------- */

static void test_limits(void **state)
{
    struct delayed_task task;
    (void)state;
    world.options.queue_max = 2;
    start_hosts(1);
    add("user:1", "", 60000);
    add("user:2", "", 60000);
    fill_task(&task, "user:3", "");
    add_task(&task, 0, 0);
    assert_int_equal(world.code, PERMTAB_E_FULL);
    add_task(&task, 91ull * 86400000, 0);
    assert_int_equal(world.code, PERMTAB_E_FULL);
    assert_int_equal(sweep(DELAYED_CANCEL, "user:1"), 1);
    add_task(&task, 91ull * 86400000, 0);
    assert_int_equal(world.code, PERMTAB_E_LIMIT);
    assert_int_equal(sweep(DELAYED_CANCEL, "all"), 1);
    assert_empty();
}

/* All of it or nothing: with no memory Redis refuses what would write, and the transaction with it. */
static void test_transaction(void **state)
{
    struct delayed_task task;
    (void)state;
    start_hosts(1);
    fill_task(&task, "user:3 scope:server:4", "x");
    (void)ask_redis("CONFIG SET maxmemory 1");
    add_task(&task, 0, 0);
    (void)ask_redis("CONFIG SET maxmemory 0");
    assert_int_equal(world.code, PERMTAB_E_REFUSED);
    assert_int_equal(ask_redis("DBSIZE"), 0);
    add("user:3", "", 0);
    assert_true(run_while_below(&world.carried_out, 1, 3000));
    assert_empty();
}

/* Added once, though Redis does not answer for longer than a command may take. */
static void test_paused(void **state)
{
    struct delayed_task task;
    struct delayed_when when = {.due = 60000};
    unsigned before = world.replies;
    (void)state;
    world.timeout_ms = 300;
    world.ping_ms = 500;
    start_hosts(1);
    fill_task(&task, "user:3", "");
    redis_server_pause(&world.server);
    assert_int_equal(delayed_add(world.hosts[0].delayed, &task, &when, on_added, NULL), 0);
    run_for(700);
    assert_int_equal(world.replies, before);
    redis_server_resume(&world.server);
    assert_true(run_while_below(&world.replies, before + 1, 5000));
    assert_int_equal(world.code, 0);
    run_for(300);
    assert_int_equal(ask_redis("ZCARD t:delayed:queue"), 1);
    assert_int_equal(sweep(DELAYED_CANCEL, "all"), 1);
    assert_empty();
}

/* Redis does not come back: the caller is told, with what it needs to repeat it. */
static void test_unsure(void **state)
{
    struct delayed_task task;
    struct delayed_when when = {0};
    unsigned before = world.replies;
    (void)state;
    world.timeout_ms = 300;
    world.ping_ms = 500;
    start_hosts(1);
    fill_task(&task, "user:3", "");
    redis_server_pause(&world.server);
    assert_int_equal(delayed_add(world.hosts[0].delayed, &task, &when, on_added, NULL), 0);
    run_for(20);
    redis_server_kill(&world.server);
    assert_true(run_while_below(&world.replies, before + 1, 3000));
    assert_int_equal(world.code, PERMTAB_E_UNREACHABLE);
    assert_int_equal(strlen(world.id), 32);
    redis_server_restart(&world.server);
}

/* A Redis without memory refuses what adds, and nothing that it has begun: a task may not be lost between two sets. */
static void test_no_memory(void **state)
{
    (void)state;
    world.options.lease_ms = 300;
    start_hosts(1);
    add("user:1 scope:server:1", "x", 200);
    (void)ask_redis("CONFIG SET maxmemory 1");
    assert_true(run_while_below(&world.carried_out, 1, 3000));
    assert_true(run_until_empty(3000));
    (void)ask_redis("CONFIG SET maxmemory 0");
    world.outcome = FAIL;
    add("user:2 scope:server:1", "x", 200);
    (void)ask_redis("CONFIG SET maxmemory 1");
    assert_true(
        run_while_below(&world.carried_out, 4, 5000)); /* it cannot be put back: its lease ends, each time */
    assert_int_equal(ask_redis("ZCARD t:delayed:queue") + ask_redis("ZCARD t:delayed:taken"), 1);
    world.outcome = SUCCEED;
    assert_true(run_until_empty(3000));
    (void)ask_redis("CONFIG SET maxmemory 0");
}

/* The same id again is one task. */
static void test_repeated(void **state)
{
    struct delayed_task task;
    (void)state;
    start_hosts(1);
    fill_task(&task, "user:3", "");
    (void)snprintf(task.id, sizeof task.id, "0123456789abcdef0123456789abcdef");
    for (unsigned i = 0; i < 3; i++)
        add_task(&task, 300, 0);
    assert_int_equal(ask_redis("ZCARD t:delayed:queue"), 1);
    assert_true(run_while_below(&world.carried_out, 1, 3000));
    run_for(200);
    assert_int_equal(world.carried_out, 1);
    assert_empty();
}

/* … also with other targets, and after it has failed: nothing of what it was before is left. */
static void test_repeated_otherwise(void **state)
{
    struct delayed_task task;
    (void)state;
    start_hosts(1);
    fill_task(&task, "user:3 scope:server:1", "first");
    (void)snprintf(task.id, sizeof task.id, "0123456789abcdef0123456789abcdef");
    (void)snprintf(task.condition, sizeof task.condition, "42 server:1 message.send");
    add_task(&task, 60000, 0);
    fill_task(&task, "user:4", "");
    (void)snprintf(task.id, sizeof task.id, "0123456789abcdef0123456789abcdef");
    world.outcome = FAIL;
    add_task(&task, 0, 0);
    assert_int_equal(ask_redis("EXISTS t:delayed:by:user:3 t:delayed:by:scope:server:1"), 0);
    assert_int_equal(ask_redis("EXISTS t:delayed:by:reason:first"), 0);
    for (unsigned i = 1; i <= 3; i++) {
        assert_true(run_while_below(&world.carried_out, i, 3000));
        run_for(100);
        if (i < 3)
            assert_int_equal(sweep(DELAYED_RUN, "user:4"), 1);
    }
    assert_int_equal(world.asked, 0); /* the condition is gone */
    assert_int_equal(ask_redis("SCARD t:delayed:by:failing"), 1);
    world.outcome = SUCCEED;
    add_task(&task, 0, 0);
    assert_true(run_while_below(&world.carried_out, 4, 3000));
    assert_empty();
}

static void test_emptied(void **state)
{
    struct delayed_task task;
    struct delayed_when when = {0};
    (void)state;
    world.timeout_ms = 300;
    world.ping_ms = 500;
    start_hosts(2);
    add("user:1", "", 300);
    redis_server_kill(&world.server);
    run_for(100);
    fill_task(&task, "user:3", "");
    assert_int_equal(delayed_add(world.hosts[0].delayed, &task, &when, on_added, NULL),
                     PERMTAB_E_UNREACHABLE);
    redis_server_restart(&world.server);
    uint64_t end = clock_ms() + 8000;
    while (!(redis_connected(world.hosts[0].redis) && redis_connected(world.hosts[1].redis)) &&
           clock_ms() < end)
        run_for(20);
    assert_int_equal(world.carried_out, 0); /* what Redis forgot is forgotten */
    add("user:2", "", 0);
    assert_true(run_while_below(&world.carried_out, 1, 3000));
    assert_int_equal(world.users[2], 1);
    assert_empty();
}

/* Redis is gone while a host carries something out: another does it again later. */
static void test_lost_while_busy(void **state)
{
    (void)state;
    world.timeout_ms = 300;
    world.ping_ms = 500;
    start_hosts(1);
    world.outcome = SLOWLY;
    world.slow_ms = 500;
    add("user:1", "", 0);
    assert_true(run_while_below(&world.carried_out, 1, 3000));
    redis_server_pause(&world.server);
    run_for(1500);
    redis_server_resume(&world.server);
    world.outcome = SUCCEED;
    assert_true(run_until_empty(6000));
    assert_true(world.users[1] >= 1);
}

/* Freed with everything under way: who waits is told. */
static void test_freed(void **state)
{
    struct delayed_task task;
    struct delayed_when when = {.due = 60000};
    struct delayed_sweep sweep = {.action = DELAYED_CANCEL, .what = {DELAYED_ALL, "all"}};
    (void)state;
    start_hosts(1);
    world.outcome = SLOWLY;
    world.slow_ms = 100;
    add("user:1", "", 0);
    add_many(1000, 60000, 3, 3);
    assert_true(run_while_below(&world.carried_out, 1, 3000));
    redis_server_pause(&world.server);
    unsigned before = world.replies;
    fill_task(&task, "user:3", "");
    assert_int_equal(delayed_add(world.hosts[0].delayed, &task, &when, on_added, NULL), 0);
    assert_int_equal(delayed_list(world.hosts[0].delayed, 50, on_listed, NULL), 0);
    assert_int_equal(delayed_look(world.hosts[0].delayed, true, on_looked, NULL), 0);
    assert_int_equal(delayed_sweep(world.hosts[0].delayed, &sweep, on_swept, NULL), 0);
    host_stop(&world.hosts[0]);
    assert_int_equal(world.replies, before + 4);
    assert_int_equal(world.code, PERMTAB_E_UNREACHABLE);
    redis_server_resume(&world.server);
    run_for(300); /* the invalidation ends after all */
    host_start(&world.hosts[0]);
    world.options.budget = 1;
    assert_int_equal(delayed_sweep(world.hosts[0].delayed, &sweep, on_swept, NULL), 0);
    run_for(20); /* pausing between two steps */
    host_stop(&world.hosts[0]);
    assert_int_equal(world.replies, before + 5);
    host_start(&world.hosts[0]);
    world.code = 0;
    sweep = (struct delayed_sweep){0};
    (void)ask_redis("FLUSHALL");
}

static int group_setup(void **state)
{
    (void)state;
    redis_server_start(&world.server, false, NULL);
    return 0;
}

static int group_teardown(void **state)
{
    (void)state;
    redis_server_stop(&world.server);
    return 0;
}

#define ONE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ONE(test_when_due),
        ONE(test_exactly_one_host),
        ONE(test_dead_host),
        ONE(test_slow_host_keeps_its_lease),
        ONE(test_lost_lease),
        ONE(test_pace),
        ONE(test_failing),
        ONE(test_fails_then_succeeds),
        ONE(test_failures_for_good),
        ONE(test_given_up),
        ONE(test_condition),
        ONE(test_revision),
        ONE(test_expiry),
        ONE(test_waiting_index),
        ONE(test_cancel),
        ONE(test_cancel_wide),
        ONE(test_cancel_taken),
        ONE(test_replace),
        ONE(test_replacement_stays),
        ONE(test_bad_cursors),
        ONE(test_nothing_leaks),
        ONE(test_every_key_ends),
        ONE(test_deleted_by_hand),
        ONE(test_replaced_by_hand),
        ONE(test_limits),
        ONE(test_transaction),
        ONE(test_paused),
        ONE(test_unsure),
        ONE(test_no_memory),
        ONE(test_repeated),
        ONE(test_emptied),
        ONE(test_lost_while_busy),
        ONE(test_freed),
        ONE(test_repeated_otherwise),
        ONE(test_index_replaced_by_hand),
        ONE(test_leaves_room_for_others),
    };
    if (!redis_server_installed())
        return 77;
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
