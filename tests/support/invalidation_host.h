/* A host for tests of invalidation: a publisher in memory, perhaps a real Redis and a subscription to it; the feed,
 * L2 and the clean-up are a few variables. The policy: server:1 and channel:9 below it, and role 100, which
 * everybody has. */
#ifndef PERMTAB_TESTS_SUPPORT_INVALIDATION_HOST_H
#define PERMTAB_TESTS_SUPPORT_INVALIDATION_HOST_H

#include "proxy/base/clock.h"
#include "proxy/invalidate/private.h"
#include "proxy/invalidate/tags.h"
#include "proxy/redis/subscriber.h"
#include "tests/support/loop.h"
#include "tests/support/memory_publisher.h"
#include "tests/support/redis_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define SECOND        1000000000ull
#define HOST_PREFIX   "t:"
#define HOST_EPOCH    0xabcull
#define HOST_MESSAGES 200 /* that a test keeps */

static const struct scope_key global = {0, 0}, server = {1, 1}, channel = {9, 3};

struct invalidation_host {
    struct redis_server redis_server;
    struct event_base *base;
    struct redis *redis;
    struct redis_subscriber *subscriber;
    struct memory_policy policy;
    struct publisher *publisher;
    struct counters counters;
    struct invalidations *all;
    struct invalidation_ports ports;
    bool connected, subscribed;

    /* The ports leave this. */
    unsigned wakes, rebuilds, flushes;
    size_t told; /* targets, of subscribers */
    char told_reason[INVALIDATION_REASON_SIZE];
    bool epoch_unknown;
    struct target swept[32];
    size_t swept_count;
    cleanup_done_fn sweep_done;
    void *sweep_context;
    int64_t sweep_number, forgotten;
    int sweep_refusal;

    /* Messages that were heard. */
    char messages[HOST_MESSAGES][MESSAGE_SIZE_MAX + 1];
    size_t message_count;

    /* The last invalidation that was done. */
    unsigned done;
    int code;
    char text[INVALIDATION_TEXT_SIZE];
    struct invalidation_result result;
    bool inside; /* invalidation_start */
    bool again;  /* start another from inside done */

    /* The last change of a tag, or list of one. */
    struct {
        unsigned done;
        int code;
        uint64_t changed, members;
        size_t texts;
    } tag;
};

/* Each test begins with a Redis, or alone. */
int host_setup(void **state);
int host_setup_alone(void **state);
int host_teardown(void **state);

/* Turns the loop until `condition`, or fails the test. */
#define HOST_UNTIL(host, condition)                                                                          \
    do {                                                                                                     \
        uint64_t until_end_ = clock_ns() + 10 * SECOND;                                                      \
        while (!(condition)) {                                                                               \
            if (clock_ns() > until_end_)                                                                     \
                fail_msg("not within 10 s: %s", #condition);                                                 \
            loop_turn((host)->base);                                                                         \
        }                                                                                                    \
    } while (0)
void host_turn_for(struct invalidation_host *host, unsigned ms);

/* Another host over the same Redis and publisher gets a connection, and its invalidations. */
struct redis *host_connect_redis(struct invalidation_host *host);
struct invalidations *host_invalidations(struct invalidation_host *host, struct redis *redis);

/* The user's entry at the scope, and whether there is one. */
void host_fill(struct invalidation_host *host, uint64_t user, struct scope_key scope);
bool host_resident(struct invalidation_host *host, uint64_t user, struct scope_key scope);

/* redis_server_ask; the answer is that of the last question. */
const char *host_ask(struct invalidation_host *host, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Counts how often Redis has carried out a command since CONFIG RESETSTAT. */
unsigned host_calls(struct invalidation_host *host, const char *command);
/* The user's values in L2, and whether there are any. */
void host_put_user(struct invalidation_host *host, uint64_t user);
bool host_has_user(struct invalidation_host *host, uint64_t user);

/* invalidation_start, whose end goes into host->done and so on: from targets, from words. */
int host_start(struct invalidation_host *host, const struct target *targets, size_t count, size_t batch);
void host_start_texts(struct invalidation_host *host, const char *texts);
/* The same, and waits for the end. */
void host_invalidate(struct invalidation_host *host, const char *texts);
struct target host_target(const char *text);
/* Users one after the other, to be freed. */
struct target *host_users(uint64_t first, size_t count);
/* A message comes in. */
void host_hear(struct invalidation_host *host, struct invalidations *all, const char *text);
/* The clean-up ends that a pattern has begun. */
void host_sweep_ends(struct invalidation_host *host, int code, uint64_t removed, const char *text);

/* Tags are given this, with the host as context. */
void host_on_tags(void *context, const struct tags_result *result);
/* Adds targets to a tag or removes them (none: all), and waits. */
void host_change_tag(struct invalidation_host *host, const char *name, const struct target *targets,
                     size_t count, bool add);

#endif
