/* Several hosts of one fleet in one program, over one Redis, with the queue of delayed invalidations and nothing
 * else: what they carry out is recorded instead, and what they ask is answered by the test. One a program: `fleet`.
 * A test that uses it is linked as tests/CMakeLists.txt says. */
#ifndef PERMTAB_TESTS_SUPPORT_DELAYED_FLEET_H
#define PERMTAB_TESTS_SUPPORT_DELAYED_FLEET_H

#include "proxy/delayed/delayed.h"
#include "tests/support/loop.h"
#include "tests/support/redis_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define FLEET_HOSTS 4
#define FLEET_USERS 20000

/* The outcome of an invalidation that is carried out. */
enum outcome { SUCCEED, FAIL, NEVER, SLOWLY };

struct host {
    struct redis *redis;
    struct delayed *delayed;
    struct counters counters;
    bool connected;
    unsigned carried_out;
};

struct delayed_fleet {
    struct redis_server server;
    struct event_base *base;
    struct host hosts[FLEET_HOSTS];
    struct delayed_options options; /* of the next host */
    unsigned timeout_ms, ping_ms;   /* of the next host's connection */
    enum outcome outcome;
    int fail_code; /* of FAIL */
    unsigned slow_ms;
    struct pending_done *never;
    unsigned carried_out, wakes, asked;
    uint8_t users[FLEET_USERS]; /* how often each was invalidated */
    char last_reason[128];
    int answer; /* code of what is asked */
    uint64_t bits;
    struct catalogue catalogue;
    struct log_position position;
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

extern struct delayed_fleet fleet;

/* The group of tests has one Redis. */
int fleet_start_redis(void **state);
int fleet_stop_redis(void **state);
/* Each test begins with an empty Redis and no host. */
int fleet_setup(void **state);
int fleet_teardown(void **state);
#define FLEET_TEST(test) cmocka_unit_test_setup_teardown(test, fleet_setup, fleet_teardown)

/* Waits until it is connected. */
void fleet_start_host(struct host *host);
void fleet_stop_host(struct host *host);
/* The first `count`. */
void fleet_start(unsigned count);

/* loop_until and loop_for of the fleet's loop. */
bool fleet_until(const unsigned *value, unsigned wanted, unsigned ms);
void fleet_run(unsigned ms);

/* One line of Redis as a number. */
long fleet_ask(const char *command);
/* Whether Redis holds nothing any more, at once or after `ms` at most. */
bool fleet_until_empty(unsigned ms);
/* Every test ends with this: nothing leaks. What Redis has replied is counted. */
void fleet_assert_empty(void);

/* Calls are given these, to keep in `fleet` what they were told. */
void fleet_on_added(void *context, int code, const char *text, const struct delayed_task *task);
void fleet_on_swept(void *context, int code, const char *text, uint64_t count, const char *cursor);
void fleet_on_looked(void *context, int code, const char *text, const struct delayed_state *state);
void fleet_on_listed(void *context, int code, const char *text, uint64_t now_ms,
                     const struct delayed_row *rows, size_t count);

/* Calls through the first host. They wait for the reply. */
/* Fills in a task without id, condition and revision. */
void fleet_fill_task(struct delayed_task *task, const char *targets, const char *reason);
/* Leaves in fleet.code what came of it. */
void fleet_add_task(const struct delayed_task *task, uint64_t in_ms, uint64_t alive_ms);
/* Must succeed, as all below. */
void fleet_add(const char *targets, const char *reason, uint64_t in_ms);
/* Many at once: so many calls are kept under way. */
void fleet_add_many(unsigned count, uint64_t in_ms, unsigned scopes, unsigned reasons);
/* Sweeps to the end, and returns the number of tasks. */
uint64_t fleet_sweep(enum delayed_action action, const char *what);
void fleet_look(bool advise);
void fleet_list(void);

#endif
