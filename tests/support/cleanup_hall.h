/* A host, more or less, for tests of clean-ups: a Redis and a store of its own, and what was told of the last
 * clean-up. */
#ifndef PERMTAB_TESTS_SUPPORT_CLEANUP_HALL_H
#define PERMTAB_TESTS_SUPPORT_CLEANUP_HALL_H

#include "proxy/cleanup/private.h"
#include "tests/support/redis_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define HALL_PREFIX  "te[s]t*:" /* has to be escaped in globs */
#define HALL_PRESENT "00000000000000aa"
#define HALL_OLD     "00000000000000bb"
#define HALL_MS      1000000ull

struct hall_told {
    unsigned count;
    int code;
    struct cleanup_status status;
};

struct hall {
    struct redis_server server;
    struct fixture *store;
    struct event_base *base;
    struct redis *redis;
    struct store_threads *pool;
    struct scope_types types;
    struct counters counters;
    struct cleanup *cleanup;
    struct hall_told told;
    unsigned ups;
};

/* Each test gets a connected host, a store with a policy, and an L2 whose epoch is HALL_PRESENT. */
int hall_set_up(void **state);
int hall_tear_down(void **state);
#define HALL_TEST(name) cmocka_unit_test_setup_teardown(name, hall_set_up, hall_tear_down)

/* One statement for the store. */
void hall_run_sql(struct hall *hall, const char *text);

typedef bool (*hall_condition_fn)(struct hall *hall);

/* Runs the loop until the condition holds; false when it does not come to that. */
bool hall_until(struct hall *hall, hall_condition_fn holds);
void hall_run(struct hall *hall, unsigned ms);
bool hall_is_up(struct hall *hall);
/* Redis owes no reply. */
bool hall_is_idle(struct hall *hall);
/* Whether it was told of the clean-up's end. */
bool hall_is_told(struct hall *hall);
/* 300 keys, so that a clean-up that was slowed down is in the middle. */
bool hall_removed_some(struct hall *hall);

/* A value of L2, or whatever the key is. */
__attribute__((format(printf, 2, 3))) void hall_put(struct hall *hall, const char *format, ...);
/* Users from..from + count - 1 of an epoch, and waits. */
void hall_put_users(struct hall *hall, const char *epoch, unsigned from, unsigned count);
/* A reply's number; no error. */
long hall_ask(struct hall *hall, const char *command);
bool hall_exists(struct hall *hall, const char *key);
/* Counts the users under an epoch. */
unsigned hall_count_users(struct hall *hall, const char *epoch);
long hall_scripts_run(struct hall *hall);
void hall_set_marker(struct hall *hall, const char *epoch);

/* The clean-up of the host, when the one before has been freed. */
int hall_new_cleanup(struct hall *hall, struct cleanup **out, struct counters *counters);
int hall_start_cleanup(struct hall *hall);
/* A job whose end is told to hall->told; its number. */
uint64_t hall_start(struct hall *hall, enum cleanup_kind kind, const char *pattern);
/* Runs until it is told of the end, which must be `code`. */
void hall_run_to_end(struct hall *hall, int code);
/* Slow enough to be met in the middle: a slice takes some 50 us, so a second of an idle machine has about 200 of
 * them. */
void hall_slow_down(struct hall *hall);
/* The latest job. */
struct cleanup_status hall_latest(struct hall *hall);
/* Jobs that are to fill in a struct hall_told are given this. */
void hall_on_done(void *context, int code, const struct cleanup_status *status);

#endif
