/* The lane without Redis: what it does with the loop when much is retired for a message. What it makes of messages
 * is in tests/e2e/test_fleet.py. */
#include "proxy/invalidate/fleet.h"

#include "proxy/base/clock.h"
#include "proxy/redis/subscriber.h"
#include "proxy/table/fill.h"
#include "proxy/table/private.h"
#include "proxy/table/retire.h"
#include "tests/support/memory_policy.h"

#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SECOND  1000000000ull
#define CROWD   9000u
#define NOWHERE "unix:/nonexistent/permtab-redis.sock"

static const struct scope_key server = {1, 1}, other = {2, 1};

struct fixture {
    struct event_base *base;
    struct publisher *publisher;
    struct redis *redis;
    struct fleet *fleet;
    struct counters counters;
};

static struct redis_subscriber_options subscriber; /* the fleet's */

int __wrap_redis_subscriber_new(struct redis_subscriber **out, const struct redis_subscriber_options *options,
                                struct failure *failure);
int __real_redis_subscriber_new(struct redis_subscriber **out, const struct redis_subscriber_options *options,
                                struct failure *failure);
int __wrap_redis_subscriber_new(struct redis_subscriber **out, const struct redis_subscriber_options *options,
                                struct failure *failure)
{
    subscriber = *options;
    return __real_redis_subscriber_new(out, options, failure);
}

void __wrap_feed_wake(struct feed *feed);
void __wrap_feed_wake(struct feed *feed)
{
    (void)feed;
}

static void on_state(void *context, bool connected)
{
    (void)context, (void)connected;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct publisher_options options = {
        .permissions_max = 64, .entries = 20000, .sets = 10, .folds = 1, .max_staleness_ns = 2 * SECOND};
    struct redis_access access = {.url = NOWHERE, .timeout_ms = 2000, .ping_ms = 2000};
    struct log_position at = {7, 1, 1};
    struct memory_policy policy;
    struct catalogue catalogue;
    struct failure failure;
    memory_policy_init(&policy);
    memory_permission(&policy, "message.send");
    memory_catalogue(&policy, 1, &catalogue);
    memory_policy_fini(&policy);
    assert_int_equal(publisher_new(&f->publisher, &options, &at, 1000, &catalogue, &f->counters, NULL), 0);
    f->base = event_base_new();
    struct redis_options redis = {f->base, on_state, f, &access};
    assert_return_code(redis_new(&f->redis, &redis, &failure), 0);
    struct fleet_options fleet = {.base = f->base,
                                  .publisher = f->publisher,
                                  .redis = f->redis,
                                  .counters = &f->counters,
                                  .access = &access,
                                  .prefix = "t:"};
    assert_return_code(fleet_new(&f->fleet, &fleet, &failure), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    fleet_free(f->fleet);
    redis_free(f->redis);
    publisher_free(f->publisher);
    event_base_free(f->base);
    free(f);
    return 0;
}

/* Scopes that are not in the store. */
static void crowd(struct fixture *f, struct scope_key scope, uint64_t users)
{
    struct memory_policy policy;
    struct facts facts;
    memory_policy_init(&policy);
    memory_facts(&policy, 1, scope, 1000, &facts);
    facts.revision = facts.nonce = 1;
    facts.generation = publisher_generation(f->publisher);
    for (uint64_t user = 1; user <= users; user++) {
        struct answer answer = {0};
        facts.user = user;
        assert_int_equal(publisher_fill(f->publisher, &facts, SECOND, &answer), PUBLISHER_FILLED);
        answer_fini(&answer);
    }
    facts_fini(&facts);
    memory_policy_fini(&policy);
}

static void written(struct fixture *f, struct scope_key scope, uint64_t revision)
{
    struct target target = {.kind = TARGET_SCOPE, .scope = scope};
    fleet_announce(f->fleet, 7, revision, &target);
}

static void on_tick(evutil_socket_t descriptor, short what, void *context)
{
    (void)descriptor, (void)what, (void)context;
}

static void one_turn(struct fixture *f)
{
    struct timeval step = {.tv_usec = 0};
    (void)event_base_once(f->base, -1, EV_TIMEOUT, on_tick, NULL, &step);
    (void)event_base_loop(f->base, EVLOOP_ONCE);
}

static void a_large_scope_takes_many_turns(void **state)
{
    struct fixture *f = *state;
    unsigned turns = 1;
    crowd(f, server, CROWD);
    crowd(f, other, 10);
    written(f, server, 2);
    assert_in_range(f->counters.entries_retired, 1, PUBLISHER_SLICE); /* the first slice, at once */
    written(f, other, 3);
    written(f, server, 4);
    assert_in_range(f->counters.entries_retired, 1,
                    PUBLISHER_SLICE); /* a flood of them is no flood of slices */
    while (f->counters.entries > 0) {
        one_turn(f);
        turns++;
        assert_true(f->counters.entries_retired <= turns * PUBLISHER_SLICE);
        assert_true(turns < 1000);
    }
    assert_true(turns >= CROWD / PUBLISHER_SLICE);
    assert_int_equal(f->counters.entries_retired, CROWD + 10);
}

static void it_ends_in_the_middle(void **state)
{
    struct fixture *f = *state;
    crowd(f, server, CROWD);
    written(f, server, 2);
    one_turn(f);
    assert_true(f->counters.entries > 0);
    fleet_free(f->fleet);
    f->fleet = NULL;
    one_turn(f);
}

static uint64_t versions(const struct fixture *f)
{
    uint64_t kept = publisher_kept_version(f->publisher);
    assert_int_equal(publisher_places_version(f->publisher), kept);
    return kept;
}

/* What was not heard may have been about what is kept beside the table. */
static void what_was_not_heard_ends_what_is_kept(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *text;
        unsigned outdates;
    } steps[] = {
        {"permtab1 changed 0000000000000007 1 2 user:1", 0},
        {"permtab1 changed 0000000000000007 2 3 user:1", 0},
        {"permtab1 changed 0000000000000007 4 5 user:1", 1},
        {"permtab1 changed rubbish", 1},
        {"poke", 1},
    };
    uint64_t before = versions(f);
    subscriber.state(subscriber.context, true);
    assert_int_equal(versions(f), ++before);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        subscriber.message(subscriber.context, steps[i].text, strlen(steps[i].text));
        before += steps[i].outdates;
        assert_int_equal(versions(f), before);
    }
    subscriber.state(subscriber.context, false);
    assert_int_equal(versions(f), ++before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(a_large_scope_takes_many_turns),
        T(it_ends_in_the_middle),
        T(what_was_not_heard_ends_what_is_kept),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
