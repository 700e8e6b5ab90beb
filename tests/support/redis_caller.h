/* A connection for commands, to a real server or to a fake one, and what its callbacks were told. */
#ifndef PERMTAB_TESTS_SUPPORT_REDIS_CALLER_H
#define PERMTAB_TESTS_SUPPORT_REDIS_CALLER_H

#include "proxy/redis/redis.h"
#include "tests/support/fake_redis.h"
#include "tests/support/loop.h"
#include "tests/support/redis_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

struct redis_caller {
    struct redis_server server;
    struct fake_redis fake;
    struct event_base *base;
    struct redis *redis;
    struct redis_args args;
    unsigned ups, downs;
    char why[256];    /* redis_trouble when it was last lost: it may be connected again since */
    unsigned told[4]; /* by status */
    char last[256];   /* text of the last reply, or a word for it */
    char order[256];  /* a letter for each that was told, and for its status */
    bool free_in_done, free_in_up, free_in_down;
    bool again;      /* a command that timed out is sent again */
    uint64_t number; /* of the last reply, when each has to be one more */
};

/* Each test gets a server, one with a password and a port, or a fake; and no connection yet. */
int caller_with_server(void **state);
int caller_with_locked_server(void **state);
int caller_with_fake(void **state);
int caller_tear_down(void **state);
#define WITH_SERVER(test) cmocka_unit_test_setup_teardown(test, caller_with_server, caller_tear_down)
#define WITH_LOCKED_SERVER(test)                                                                             \
    cmocka_unit_test_setup_teardown(test, caller_with_locked_server, caller_tear_down)
#define WITH_FAKE(test) cmocka_unit_test_setup_teardown(test, caller_with_fake, caller_tear_down)

/* Connections and commands are given these, with the caller as context. */
void caller_on_state(void *context, bool connected);
void caller_on_done(void *context, enum redis_status status, const struct redis_reply *reply);

/* redis_new, with the server's password if it has one. */
int caller_start(struct redis_caller *caller, const char *url, uint64_t timeout_ms, uint64_t ping_ms);
/* The same, and waits until it is connected. */
#define CALLER_START(caller, url, timeout_ms, ping_ms)                                                       \
    do {                                                                                                     \
        assert_int_equal(caller_start(caller, url, timeout_ms, ping_ms), 0);                                 \
        if (!loop_until((caller)->base, &(caller)->ups, (caller)->ups + 1, 3000))                            \
            fail_msg("not connected: %s", redis_trouble((caller)->redis));                                   \
    } while (0)
void caller_free_redis(struct redis_caller *caller);
/* Waits until redis_trouble has `part` in it; the test fails when it never has. */
void caller_await_trouble(struct redis_caller *caller, const char *part);

/* Sends a command whose words are divided by blanks. */
int caller_ask(struct redis_caller *caller, const char *words);
/* Runs lock_release. */
int caller_run_script(struct redis_caller *caller, const char *key, const char *token);

#endif
