/* Invalidation against a real Redis that is paused, killed and told to refuse, with a publisher in memory; the feed, L2 and the clean-up
 * are a few variables of this file. */
#include "proxy/clock.h"
#include "proxy/invalidate_history.h"
#include "proxy/invalidate_internal.h"
#include "proxy/l2_keys.h"
#include "proxy/redis_subscriber.h"
#include "proxy/tags.h"
#include "tests/support/memory_policy.h"
#include "tests/support/redis_server.h"

#include <event2/event.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SECOND   1000000000ull
#define PREFIX   "t:"
#define EPOCH    0xabcull
#define MESSAGES 200   /* that a test keeps */
#define CROWD    9000u /* users, whose entries are some slices */

static const struct scope_key global = {0, 0}, server = {1, 1}, channel = {9, 3};

struct fixture {
    struct redis_server redis_server;
    struct event_base *base;
    struct redis *redis;
    struct redis_subscriber *subscriber;
    struct memory_policy policy;
    struct publish *publish;
    struct counters counters;
    struct invalidations *all;
    struct invalidation_ports ports;
    bool connected, subscribed;

    /* Of the ports. */
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

    /* What was heard. */
    char messages[MESSAGES][MESSAGE_SIZE_MAX + 1];
    size_t message_count;

    /* Of the last that was done. */
    unsigned done;
    int code;
    char text[INVALIDATION_TEXT_SIZE];
    struct invalidation_result result;
    bool inside; /* invalidation_start */
    bool again;  /* start another from inside done */
};

/* ---- the ports ------------------------------------------------------------------------------------------------------------ */

static void wake(void *context)
{
    ((struct fixture *)context)->wakes++;
}

static void rebuild(void *context)
{
    ((struct fixture *)context)->rebuilds++;
}

static void tell(void *context, const struct target *targets, size_t count, const char *reason)
{
    struct fixture *f = context;
    (void)targets;
    f->told += count;
    snprintf(f->told_reason, sizeof f->told_reason, "%s", reason);
}

static bool epoch(void *context, uint64_t *out)
{
    *out = EPOCH;
    return !((struct fixture *)context)->epoch_unknown;
}

static void flush(void *context)
{
    ((struct fixture *)context)->flushes++;
}

static int64_t sweep(void *context, const struct target *target, cleanup_done_fn done, void *job)
{
    struct fixture *f = context;
    if (f->sweep_refusal < 0)
        return f->sweep_refusal;
    assert_null(f->sweep_done); /* one at a time */
    f->swept[f->swept_count++] = *target;
    f->sweep_done = done;
    f->sweep_context = job;
    return ++f->sweep_number;
}

static void sweep_forget(void *context, int64_t number)
{
    struct fixture *f = context;
    f->forgotten = number;
    f->sweep_done = NULL;
}

static void sweep_ends(struct fixture *f, int code, uint64_t removed, const char *text)
{
    struct cleanup_status status = {.keys_removed = removed};
    cleanup_done_fn done = f->sweep_done;
    snprintf(status.text, sizeof status.text, "%s", text);
    f->sweep_done = NULL;
    done(f->sweep_context, code, &status);
}

/* ---- the frame ------------------------------------------------------------------------------------------------------------ */

static void on_state(void *context, bool connected)
{
    ((struct fixture *)context)->connected = connected;
}

static void on_subscribed(void *context, bool subscribed)
{
    ((struct fixture *)context)->subscribed = subscribed;
}

static void on_message(void *context, const char *bytes, size_t size)
{
    struct fixture *f = context;
    assert_true(size <= MESSAGE_SIZE_MAX && f->message_count < MESSAGES);
    memcpy(f->messages[f->message_count], bytes, size);
    f->messages[f->message_count++][size] = '\0';
}

static void on_tick(evutil_socket_t descriptor, short what, void *context)
{
    (void)descriptor, (void)what, (void)context;
}

/* Turns the loop until `condition`, or fails the test. */
#define UNTIL(f, condition)                                                                                  \
    do {                                                                                                     \
        struct timeval until_step_ = {.tv_usec = 2000};                                                      \
        uint64_t until_end_ = clock_ns() + 10 * SECOND;                                                      \
        while (!(condition)) {                                                                               \
            if (clock_ns() > until_end_)                                                                     \
                fail_msg("not within 10 s: %s", #condition);                                                 \
            (void)event_base_once((f)->base, -1, EV_TIMEOUT, on_tick, NULL, &until_step_);                   \
            (void)event_base_loop((f)->base, EVLOOP_ONCE);                                                   \
        }                                                                                                    \
    } while (0)

static void turn_for(struct fixture *f, unsigned ms)
{
    uint64_t end = clock_ns() + ms * 1000000ull;
    UNTIL(f, clock_ns() > end);
}

static struct redis *connect_redis(struct fixture *f)
{
    struct redis_options options = {.url = f->redis_server.url, .timeout_ms = 2000, .ping_ms = 2000};
    struct redis *redis;
    struct failure failure;
    f->connected = false;
    assert_return_code(redis_new(&redis, f->base, &options, on_state, f, &failure), 0);
    UNTIL(f, f->connected);
    return redis;
}

static struct invalidations *invalidations_over(struct fixture *f, struct redis *redis)
{
    struct invalidation_options options = {f->base, f->publish, redis, PREFIX, 100, &f->counters, f->ports};
    struct invalidations *all;
    assert_return_code(invalidations_new(&all, &options), 0);
    return all;
}

static int setup_local(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct publish_options options = {
        .permissions_max = 64, .entries = 10000, .sets = 100, .folds = 10, .max_staleness_ns = 2 * SECOND};
    struct store_position at = {7, 1, 1};
    struct catalogue catalogue;
    memory_policy_init(&f->policy);
    memory_permission(&f->policy, "message.send");
    memory_scope(&f->policy, server, global, NULL);
    memory_scope(&f->policy, channel, server, NULL);
    memory_role(&f->policy, 100, "member", server, true, true);
    memory_grant(&f->policy, 100, GRANT_ALLOW, 0);
    memory_overwrite(&f->policy, channel, OVERWRITE_ROLE, 100, 0, false);
    memory_catalogue(&f->policy, 1, &catalogue);
    assert_int_equal(publish_new(&f->publish, &options, &at, 1000, &catalogue, &f->counters, NULL), 0);
    f->base = event_base_new();
    f->ports = (struct invalidation_ports){.context = f, .wake = wake, .rebuild = rebuild, .tell = tell};
    *state = f;
    return 0;
}

static int setup_alone(void **state)
{
    setup_local(state);
    struct fixture *f = *state;
    f->all = invalidations_over(f, NULL);
    return 0;
}

static int setup(void **state)
{
    setup_local(state);
    struct fixture *f = *state;
    struct redis_subscriber_events events = {on_message, on_subscribed, f};
    struct failure failure;
    redis_server_start(&f->redis_server, false, NULL);
    f->redis = connect_redis(f);
    struct redis_options options = {.url = f->redis_server.url, .timeout_ms = 2000, .ping_ms = 2000};
    assert_return_code(
        redis_subscriber_new(&f->subscriber, f->base, &options, PREFIX "invalidate", &events, &failure), 0);
    UNTIL(f, f->subscribed);
    f->ports = (struct invalidation_ports){f, wake, rebuild, tell, epoch, flush, sweep, sweep_forget};
    f->all = invalidations_over(f, f->redis);
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    invalidations_free(f->all);
    if (f->subscriber != NULL)
        redis_subscriber_free(f->subscriber);
    if (f->redis != NULL)
        redis_free(f->redis);
    if (f->redis_server.pid != 0)
        redis_server_stop(&f->redis_server);
    publish_free(f->publish);
    memory_policy_fini(&f->policy);
    event_base_free(f->base);
    free(f);
    return 0;
}

/* ---- what tests say --------------------------------------------------------------------------------------------------------- */

static void fill(struct fixture *f, uint64_t user, struct scope_key scope)
{
    struct facts facts;
    struct answer answer = {0};
    memory_facts(&f->policy, user, scope, 1000, &facts);
    facts.revision = facts.nonce = 1;
    facts.now = 1000;
    assert_int_equal(publish_facts(f->publish, &facts, SECOND, &answer), PUBLISH_FILLED);
    facts_fini(&facts);
    answer_fini(&answer);
}

static bool resident(struct fixture *f, uint64_t user, struct scope_key scope)
{
    struct answer answer;
    if (!publish_lookup(f->publish, user, scope, &answer))
        return false;
    answer_fini(&answer);
    return true;
}

static const char *ask(struct fixture *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
static const char *ask(struct fixture *f, const char *format, ...)
{
    static char answer[65536]; /* of the last question */
    char command[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(command, sizeof command, format, arguments);
    va_end(arguments);
    assert_true(redis_server_ask(&f->redis_server, command, answer, sizeof answer));
    return answer;
}

static void put_user(struct fixture *f, uint64_t user)
{
    char key[L2_KEY_SIZE];
    l2_key_user(key, PREFIX, EPOCH, user);
    ask(f, "HSET %s channel:9 x server:1 y", key);
}

static bool has_user(struct fixture *f, uint64_t user)
{
    char key[L2_KEY_SIZE];
    return strcmp(ask(f, "EXISTS %s", l2_key_user(key, PREFIX, EPOCH, user)), "1") == 0;
}

static struct target target_of(const char *text)
{
    static const struct scope_types types = {.count = 4,
                                             .names = {"global", "server", "category", "channel"}};
    struct target target;
    assert_return_code(target_parse(&types, text, strlen(text), &target), 0);
    return target;
}

static void on_done(void *context, int code, const char *text, const struct invalidation_result *result)
{
    struct fixture *f = context;
    assert_false(f->inside);
    f->done++;
    f->code = code;
    snprintf(f->text, sizeof f->text, "%s", text);
    f->result = *result;
    if (f->again) {
        struct target user = target_of("user:77");
        struct invalidation what = {.targets = &user, .count = 1};
        f->again = false;
        assert_return_code(invalidation_start(f->all, &what, on_done, f), 0);
    }
}

static int start(struct fixture *f, const struct target *targets, size_t count, size_t batch)
{
    struct invalidation what = {.targets = targets, .count = count, .batch = batch, .reason = "a\treason"};
    f->inside = true;
    int code = invalidation_start(f->all, &what, on_done, f);
    f->inside = false;
    return code;
}

static void start_texts(struct fixture *f, const char *texts)
{
    struct target targets[32];
    size_t count = 0;
    char copy[512], *rest = copy, *word;
    snprintf(copy, sizeof copy, "%s", texts);
    while ((word = strsep(&rest, " ")) != NULL)
        targets[count++] = target_of(word);
    assert_return_code(start(f, targets, count, 0), 0);
}

static void invalidate(struct fixture *f, const char *texts)
{
    unsigned before = f->done;
    start_texts(f, texts);
    UNTIL(f, f->done > before);
}

static struct target *users(uint64_t first, size_t count)
{
    struct target *targets = calloc(count, sizeof *targets);
    for (size_t i = 0; i < count; i++)
        targets[i] = (struct target){.kind = TARGET_USER, .id = first + i};
    return targets;
}

static void hear(struct fixture *f, struct invalidations *all, const char *text)
{
    struct message message;
    (void)f;
    assert_return_code(message_parse(&publish_catalogue(f->publish)->types, text, strlen(text), &message), 0);
    invalidations_heard(all, &message);
    message_fini(&message);
}

/* ---- without Redis ------------------------------------------------------------------------------------------------------------ */

static void this_host_alone(void **state)
{
    struct fixture *f = *state;
    fill(f, 1, server);
    fill(f, 2, server);
    fill(f, 2, channel);
    fill(f, 3, channel);
    start_texts(f, "user:1 user:2@channel:9 scope:channel:9 poke");
    /* At once, before the loop turns. */
    assert_false(resident(f, 1, server));
    assert_false(resident(f, 2, channel));
    assert_false(resident(f, 3, channel));
    assert_true(resident(f, 2, server));
    assert_int_equal(f->done, 0);
    assert_int_equal(f->wakes, 1);
    assert_int_equal(f->told, 4); /* the poke as well: subscribers know what to make of it */
    assert_string_equal(f->told_reason, "a?reason");
    UNTIL(f, f->done == 1);
    assert_int_equal(f->code, 0);
    assert_int_equal(f->result.entries, 3);
    assert_int_equal(f->result.keys + f->result.failed, 0);
    assert_false(f->result.published);
    invalidate(f, "role:100");
    assert_int_equal(f->result.entries, 1);
    invalidate(f, "all");
    assert_int_equal(f->rebuilds, 1);
    struct target tag = target_of("tag:x");
    assert_int_equal(start(f, &tag, 1, 0), PERMTAB_E_UNREACHABLE);
}

static void patterns_in_slices(void **state)
{
    struct fixture *f = *state;
    for (uint64_t user = 1; user <= 3000; user++)
        fill(f, user, server);
    fill(f, 5, channel);
    start_texts(f, "prefix:user:20 pattern:user:1[0-4]");
    unsigned turns = 0;
    while (f->done == 0) {
        assert_int_equal(f->told, 0); /* before all of them are gone nobody is told */
        assert_true(turns++ < 1000);
        event_base_loop(f->base, EVLOOP_ONCE);
    }
    assert_int_equal(f->told, 2);
    assert_true(turns > 1); /* 5,000 entries are more than a slice */
    assert_int_equal(f->result.entries, 1 + 10 + 100 + 5);
    assert_false(resident(f, 20, server) || resident(f, 200, server) || resident(f, 2099, server) ||
                 resident(f, 14, server));
    assert_true(resident(f, 15, server) && resident(f, 120, server) && resident(f, 2100, server));
    invalidate(f, "pattern:scope:*:9");
    assert_int_equal(f->result.entries, 1);
    assert_false(resident(f, 5, channel));
    assert_true(resident(f, 5, server));
}

static void crowd(struct fixture *f)
{
    for (uint64_t user = 1; user <= CROWD; user++)
        fill(f, user, server);
}

static unsigned count_crowd(struct fixture *f)
{
    unsigned found = 0;
    for (uint64_t user = 1; user <= CROWD; user++)
        found += resident(f, user, server);
    return found;
}

static void a_large_scope_in_slices(void **state)
{
    struct fixture *f = *state;
    uint64_t next = CROWD + 1;
    unsigned turns = 0;
    crowd(f);
    start_texts(f, "scope:server:1");
    while (f->done == 0) {
        unsigned left = count_crowd(f);
        assert_true(left >= CROWD - (turns + 1) * PUBLISH_SLICE);
        if (left > 0)
            assert_int_equal(f->told, 0); /* who asks again is to get another answer */
        fill(f, next++, channel);         /* read before the invalidation, for all that is known here */
        event_base_loop(f->base, EVLOOP_ONCE);
        assert_true(turns++ < 100);
    }
    assert_true(turns >= CROWD / PUBLISH_SLICE);
    assert_int_equal(f->told, 1);
    assert_int_equal(count_crowd(f), 0);
    assert_in_range(f->result.entries, CROWD + CROWD / PUBLISH_SLICE - 1, CROWD + turns);
}

/* Who comes later does not wait for the whole of it. */
static void a_small_one_beside_a_large_one(void **state)
{
    struct fixture *f = *state;
    crowd(f);
    start_texts(f, "scope:server:1");
    fill(f, CROWD + 1, global);
    start_texts(f, "user:9001 scope:channel:9");
    UNTIL(f, f->done == 1);
    assert_false(resident(f, CROWD + 1, global));
    assert_true(count_crowd(f) > 0);
    start_texts(f, "scope:server:1"); /* the same again */
    UNTIL(f, f->done == 3);
    assert_int_equal(count_crowd(f), 0);
}

static void free_in_the_middle_of_a_scope(void **state)
{
    struct fixture *f = *state;
    crowd(f);
    start_texts(f, "scope:server:1");
    event_base_loop(f->base, EVLOOP_ONCE);
    assert_true(count_crowd(f) > 0);
    invalidations_free(f->all);
    f->all = NULL;
    assert_int_equal(f->done, 1);
    assert_int_equal(f->code, PERMTAB_E_REFUSED);
    event_base_loop(f->base, EVLOOP_NONBLOCK);
}

static void rebuild_while_matching(void **state)
{
    struct fixture *f = *state;
    struct store_position at = {7, 1, 1};
    struct catalogue catalogue;
    for (uint64_t user = 1; user <= 3000; user++)
        fill(f, user, server);
    start_texts(f, "prefix:user:");
    event_base_loop(f->base, EVLOOP_ONCE);
    assert_int_equal(f->done, 0);
    memory_catalogue(&f->policy, 1, &catalogue);
    assert_int_equal(publish_rebuild(f->publish, &at, 1000, &catalogue, NULL), 0);
    fill(f, 1, server);
    UNTIL(f, f->done == 1);
    assert_int_equal(f->code, 0);
    assert_true(resident(f, 1, server));
}

static void limits(void **state)
{
    struct fixture *f = *state;
    struct target *many = users(1, INVALIDATION_TARGETS_MAX + 1);
    assert_int_equal(start(f, many, 0, 0), PERMTAB_E_INVALID);
    assert_int_equal(start(f, many, INVALIDATION_TARGETS_MAX + 1, 0), PERMTAB_E_LIMIT);
    assert_int_equal(start(f, many, 1, INVALIDATION_BATCH_MAX + 1), PERMTAB_E_LIMIT);
    for (size_t i = 0; i <= INVALIDATION_GLOBS_MAX; i++)
        many[i] = target_of("prefix:user:1");
    assert_int_equal(start(f, many, INVALIDATION_GLOBS_MAX + 1, 0), PERMTAB_E_LIMIT);
    assert_return_code(start(f, many, INVALIDATION_GLOBS_MAX, 0), 0);
    for (size_t i = 1; i < JOBS_MAX; i++)
        assert_return_code(start(f, many + 20, 1, 0), 0);
    assert_int_equal(start(f, many + 20, 1, 0), PERMTAB_E_FULL);
    assert_int_equal(f->counters.invalidations_running, JOBS_MAX);
    assert_int_equal(f->counters.invalidations_refused, 5);
    UNTIL(f, f->done == JOBS_MAX);
    assert_int_equal(f->counters.invalidations_running, 0);
    assert_return_code(start(f, many + 20, INVALIDATION_TARGETS_MAX - 20, 0), 0);
    UNTIL(f, f->done == JOBS_MAX + 1);
    free(many);
}

static void another_from_done(void **state)
{
    struct fixture *f = *state;
    f->again = true;
    invalidate(f, "user:1");
    UNTIL(f, f->done == 2);
}

static void free_tells_who_waits(void **state)
{
    struct fixture *f = *state;
    f->again = true; /* whoever is told may not begin another */
    start_texts(f, "prefix:user:");
    struct invalidations *all = f->all;
    f->all = NULL;
    f->again = false;
    invalidations_free(all);
    assert_int_equal(f->done, 1);
    assert_int_equal(f->code, PERMTAB_E_REFUSED);
}

static void history_is_kept(void **state)
{
    struct fixture *f = *state;
    struct target *many = users(1000000, 100);
    fill(f, 1, server);
    invalidate(f, "user:1 role:5");
    assert_return_code(start(f, many, 100, 0), 0);
    UNTIL(f, f->done == 2);
    const struct invalidation_record *record =
        invalidation_history_before(invalidations_history(f->all), UINT64_MAX);
    assert_int_equal(record->targets, 100);
    assert_non_null(strstr(record->what, "user:1000000,user:1000001,"));
    assert_non_null(strstr(record->what, " more"));
    record = invalidation_history_before(invalidations_history(f->all), record->number);
    assert_string_equal(record->what, "user:1,role:5");
    assert_string_equal(record->reason, "a?reason");
    assert_int_equal(record->result.entries, 1);
    uint64_t minute, hour;
    invalidation_history_rate(invalidations_history(f->all), INVALIDATION_CLIENT, TARGET_USER,
                              clock_ns() / SECOND, &minute, &hour);
    assert_int_equal(minute, 101);
    assert_int_equal(f->counters.invalidations, 2);
    free(many);
}

/* ---- with Redis --------------------------------------------------------------------------------------------------------------- */

static void keys_go_and_others_hear(void **state)
{
    struct fixture *f = *state;
    char key[L2_KEY_SIZE], expected[256];
    for (uint64_t user = 1; user <= 4; user++)
        put_user(f, user);
    l2_key_scope(key, PREFIX, EPOCH, &publish_catalogue(f->publish)->types, channel);
    ask(f, "HSET %s a b", key);
    invalidate(f, "user:1 user:2@channel:9 scope:channel:9 role:100 user:3 user:999");
    assert_int_equal(f->code, 0);
    assert_int_equal(f->result.keys, 4);
    assert_true(f->result.published);
    assert_int_equal(f->result.retries + f->result.singles + f->result.failed, 0);
    assert_false(has_user(f, 1) || has_user(f, 3));
    assert_true(has_user(f, 2) && has_user(f, 4));
    l2_key_user(key, PREFIX, EPOCH, 2);
    assert_string_equal(ask(f, "HKEYS %s", key), "server:1");
    UNTIL(f, f->message_count == 1);
    snprintf(expected, sizeof expected,
             "permtab1 invalidate %016" PRIx64
             " 1 user:1 user:2@channel:9 scope:channel:9 role:100 user:3 user:999",
             f->all->self);
    assert_string_equal(f->messages[0], expected);
    assert_int_equal(f->counters.invalidation_keys, 4);
}

static unsigned calls(struct fixture *f, const char *command)
{
    char field[64];
    unsigned count = 0;
    snprintf(field, sizeof field, "cmdstat_%s:calls=", command);
    const char *at = strstr(ask(f, "INFO commandstats"), field);
    if (at != NULL)
        (void)sscanf(at + strlen(field), "%u", &count);
    return count;
}

static void batches_are_as_asked(void **state)
{
    struct fixture *f = *state;
    struct target *targets = users(1, 100);
    for (uint64_t user = 1; user <= 100; user++)
        put_user(f, user);
    ask(f, "CONFIG RESETSTAT");
    assert_return_code(start(f, targets, 100, 7), 0);
    UNTIL(f, f->done == 1);
    assert_int_equal(f->result.keys, 100);
    assert_int_equal(calls(f, "unlink"), 15);
    assert_int_equal(calls(f, "del"), 0);
    assert_string_equal(ask(f, "DBSIZE"), "0");
    free(targets);
}

static void long_lists_take_several_messages(void **state)
{
    struct fixture *f = *state;
    struct target *targets = users(UINT64_MAX - 1200, 1200);
    assert_return_code(start(f, targets, 1200, 0), 0);
    UNTIL(f, f->done == 1 && f->message_count == 3);
    size_t named = 0;
    for (size_t i = 0; i < 3; i++) {
        struct message message;
        assert_return_code(message_parse(&publish_catalogue(f->publish)->types, f->messages[i],
                                         strlen(f->messages[i]), &message),
                           0);
        assert_int_equal(message.number, i + 1);
        named += message.count;
        message_fini(&message);
    }
    assert_int_equal(named, 1200);
    free(targets);
}

/* One key that Redis will not remove does not keep the others. */
static void refused_batch_goes_one_by_one(void **state)
{
    struct fixture *f = *state;
    for (uint64_t user = 10; user <= 15; user++)
        put_user(f, user);
    put_user(f, 25);
    ask(f, "ACL SETUSER default resetkeys ~*{user:1?}");
    uint64_t begun = clock_ns();
    invalidate(f, "user:10 user:11 user:12 user:25 user:13 user:14 user:15");
    assert_int_equal(f->code, PERMTAB_E_REFUSED);
    assert_non_null(strstr(f->text, "NOPERM"));
    assert_int_equal(f->result.keys, 6);
    assert_int_equal(f->result.failed, 1);
    assert_int_equal(f->result.singles, 7);
    assert_int_equal(f->result.retries, 2 * (REDIS_RETRY_TRIES - 1));
    assert_true(f->result.published);
    /* 20 + 40 + 80 + 160 ms, twice. */
    assert_true(clock_ns() - begun >= 590000000ull);
    ask(f, "ACL SETUSER default allkeys");
    assert_true(has_user(f, 25));
    assert_false(has_user(f, 10) || has_user(f, 15));
}

static void trouble_that_passes_is_repeated(void **state)
{
    struct fixture *f = *state;
    put_user(f, 1);
    ask(f, "ACL SETUSER default resetkeys");
    start_texts(f, "user:1");
    turn_for(f, 50);
    ask(f, "ACL SETUSER default allkeys");
    UNTIL(f, f->done == 1);
    assert_int_equal(f->code, 0);
    assert_int_equal(f->result.keys, 1);
    assert_in_range(f->result.retries, 1, REDIS_RETRY_TRIES - 1);
    assert_int_equal(f->result.failed, 0);
}

static void redis_is_lost_in_the_middle(void **state)
{
    struct fixture *f = *state;
    struct target *targets = users(1, 2000);
    for (uint64_t user = 1; user <= 2000; user++)
        fill(f, user, server);
    redis_server_pause(&f->redis_server);
    assert_return_code(start(f, targets, 2000, 10), 0);
    UNTIL(f, !resident(f, 1, server) && !resident(f, 2000, server));
    turn_for(f, 30);
    redis_server_kill(&f->redis_server);
    UNTIL(f, f->done == 1);
    assert_int_equal(f->code, PERMTAB_E_UNREACHABLE);
    assert_int_equal(f->result.entries, 2000);
    assert_int_equal(f->result.keys, 0);
    assert_int_equal(f->result.failed, 2000);
    assert_false(f->result.published);
    assert_true(f->result.took_us < 3000000); /* not so long for each batch */
    redis_server_restart(&f->redis_server);
    UNTIL(f, f->connected);
    put_user(f, 1);
    invalidate(f, "user:1");
    assert_int_equal(f->result.keys, 1);
    assert_true(f->result.published);
    free(targets);
}

static void without_an_epoch_l2_is_left_alone(void **state)
{
    struct fixture *f = *state;
    put_user(f, 1);
    f->epoch_unknown = true;
    invalidate(f, "user:1");
    assert_int_equal(f->code, 0);
    assert_int_equal(f->result.keys + f->result.failed, 0);
    assert_true(f->result.published);
    assert_true(has_user(f, 1));
}

static void free_in_the_middle(void **state)
{
    struct fixture *f = *state;
    struct target *targets = users(1, 2000);
    redis_server_pause(&f->redis_server);
    assert_return_code(start(f, targets, 2000, 10), 0);
    start_texts(f, "pattern:user:* tag:x");
    turn_for(f, 20);
    struct invalidations *all = f->all;
    f->all = NULL;
    invalidations_free(all);
    assert_int_equal(f->done, 2);
    assert_int_equal(f->code, PERMTAB_E_REFUSED);
    assert_int_equal(f->forgotten, f->sweep_number);
    redis_server_resume(&f->redis_server);
    turn_for(f, 50); /* replies to nobody */
    free(targets);
}

static void all_is_a_new_table_and_a_new_epoch(void **state)
{
    struct fixture *f = *state;
    invalidate(f, "all");
    assert_int_equal(f->rebuilds, 1);
    assert_int_equal(f->flushes, 1);
    UNTIL(f, f->message_count == 1);
    assert_non_null(strstr(f->messages[0], " 1 all"));
}

static void patterns_are_swept_one_after_the_other(void **state)
{
    struct fixture *f = *state;
    fill(f, 42, server);
    start_texts(f, "prefix:user:42 pattern:scope:* user:1");
    UNTIL(f, f->sweep_done != NULL && !resident(f, 42, server));
    turn_for(f, 20);
    assert_int_equal(f->done, 0);
    assert_int_equal(f->swept_count, 1);
    sweep_ends(f, 0, 5, "");
    assert_int_equal(f->swept_count, 2);
    sweep_ends(f, PERMTAB_E_UNREACHABLE, 2, "it went away");
    assert_int_equal(f->done, 0); /* not from inside */
    UNTIL(f, f->done == 1);
    assert_int_equal(f->result.keys, 7);
    assert_int_equal(f->result.entries, 1);
    assert_int_equal(f->code, PERMTAB_E_UNREACHABLE);
    assert_non_null(strstr(f->text, "it went away"));
    f->sweep_refusal = PERMTAB_E_FULL;
    invalidate(f, "prefix:user:42");
    assert_int_equal(f->code, PERMTAB_E_FULL);
}

/* ---- tags ------------------------------------------------------------------------------------------------------------------------ */

static struct {
    unsigned done;
    int code;
    uint64_t changed, members;
    size_t texts;
} told;

static void on_tags(void *context, const struct tags_result *result)
{
    (void)context;
    told.done++;
    told.code = result->code;
    told.changed = result->changed;
    told.members = result->members;
    told.texts = redis_reply_count(result->texts);
}

static void change_tag(struct fixture *f, const char *name, const struct target *targets, size_t count,
                       bool add)
{
    struct tags_place place = {f->redis, PREFIX, &publish_catalogue(f->publish)->types};
    struct tags_call *call;
    unsigned before = told.done;
    assert_return_code((add ? tags_add : tags_remove)(&call, &place, name, targets, count, on_tags, NULL), 0);
    UNTIL(f, told.done > before);
}

static void tags_hold_what_was_added(void **state)
{
    struct fixture *f = *state;
    struct target *targets = users(1, TAG_CHANGE_MAX + 1);
    struct tags_place place = {f->redis, PREFIX, &publish_catalogue(f->publish)->types};
    struct tags_call *call;
    change_tag(f, "raid", targets, 3, true);
    assert_true(told.code == 0 && told.changed == 3 && told.members == 3);
    change_tag(f, "raid", targets + 1, 4, true);
    assert_true(told.code == 0 && told.changed == 2 && told.members == 5);
    change_tag(f, "other", targets, 1, true);
    assert_string_equal(ask(f, "SISMEMBER " PREFIX "tag:raid user:5"), "1");
    assert_string_equal(ask(f, "SCARD " PREFIX "tags"), "2");
    change_tag(f, "raid", targets, 2, false);
    assert_true(told.code == 0 && told.changed == 2 && told.members == 3);
    assert_return_code(tags_list(&call, &place, "raid", "0", on_tags, NULL), 0);
    tags_cancel(call);
    assert_return_code(tags_list(&call, &place, "raid", "0", on_tags, NULL), 0);
    unsigned before = told.done;
    UNTIL(f, told.done > before);
    assert_int_equal(told.texts, 3);
    turn_for(f, 20);
    assert_int_equal(told.done, before + 1);
    change_tag(f, "raid", NULL, 0, false);
    assert_true(told.code == 0 && told.changed == 3 && told.members == 0);
    change_tag(f, "other", targets, 1, false);
    assert_string_equal(ask(f, "DBSIZE"), "0");
    assert_int_equal(tags_add(&call, &place, "x", targets, TAG_CHANGE_MAX + 1, on_tags, NULL),
                     PERMTAB_E_LIMIT);
    free(targets);
}

static void tags_have_limits(void **state)
{
    struct fixture *f = *state;
    struct target *targets = users(5000000, 10);
    /* Beside what is there already. */
    ask(f, "EVAL \"for i=1,%u do redis.call('SADD','" PREFIX "tag:full','user:'..i) end\" 0",
        TAG_MEMBERS_MAX - 5);
    ask(f, "SADD " PREFIX "tags full");
    change_tag(f, "full", targets, 10, true);
    assert_int_equal(told.code, PERMTAB_E_LIMIT);
    change_tag(f, "full", targets, 5, true);
    assert_int_equal(told.code, 0);
    assert_int_equal(told.members, TAG_MEMBERS_MAX);
    change_tag(f, "full", targets, 5, true); /* they are in it */
    assert_int_equal(told.code, 0);
    ask(f, "EVAL \"for i=1,%u do redis.call('SADD','" PREFIX "tags','n'..i) end\" 0", TAGS_MAX - 1);
    change_tag(f, "one-more", targets, 1, true);
    assert_int_equal(told.code, PERMTAB_E_LIMIT);
    assert_string_equal(ask(f, "EXISTS " PREFIX "tag:one-more"), "0");
    free(targets);
}

static void tags_are_invalidated_in_slices(void **state)
{
    struct fixture *f = *state;
    struct target *targets = users(1, 1000);
    for (uint64_t user = 1; user <= 3000; user++)
        fill(f, user, server);
    fill(f, 3001, server);
    put_user(f, 2500);
    for (uint64_t first = 1; first <= 2001; first += 1000) {
        for (size_t i = 0; i < 1000; i++)
            targets[i].id = first + i;
        change_tag(f, "raid", targets, 1000, true);
    }
    ask(f, "CONFIG RESETSTAT");
    invalidate(f, "tag:raid user:3001");
    assert_int_equal(f->code, 0);
    assert_int_equal(f->result.entries, 3001);
    assert_int_equal(f->result.keys, 1);
    assert_true(f->result.published);
    assert_true(calls(f, "sscan") >= 4);
    UNTIL(f, f->message_count >= 6);
    for (size_t i = 0; i < f->message_count; i++)
        assert_null(strstr(f->messages[i], "tag:"));
    invalidate(f, "tag:nobody tag:raid");
    assert_int_equal(f->code, PERMTAB_E_NOT_FOUND);
    assert_int_equal(f->result.entries, 0);
    ask(f, "SADD " PREFIX "tag:odd nonsense all tag:raid user:3002");
    fill(f, 3002, server);
    invalidate(f, "tag:odd");
    assert_int_equal(f->code, PERMTAB_E_INVALID);
    assert_int_equal(f->rebuilds, 0);
    assert_false(resident(f, 3002, server));
    ask(f, "SET " PREFIX "tag:text user:1");
    invalidate(f, "tag:text tag:raid");
    assert_int_equal(f->code, PERMTAB_E_REFUSED);
    free(targets);
}

/* ---- what is heard ---------------------------------------------------------------------------------------------------------------- */

static void others_messages_are_this_hosts_affair(void **state)
{
    struct fixture *f = *state;
    fill(f, 1, server);
    fill(f, 2, server);
    put_user(f, 1);
    ask(f, "SADD " PREFIX "tag:x user:2");
    hear(f, f->all, "permtab1 invalidate 00000000000000aa 1 user:1 tag:x");
    assert_false(resident(f, 1, server));
    UNTIL(f, f->all->heard == 0);
    assert_true(resident(f, 2, server)); /* who invalidates a tag names its members */
    turn_for(f, 20);
    assert_true(has_user(f, 1));
    assert_int_equal(f->message_count, 0);
    assert_int_equal(f->counters.invalidations_heard, 1);
    assert_int_equal(f->counters.invalidations, 0);
    const struct invalidation_record *record =
        invalidation_history_before(invalidations_history(f->all), UINT64_MAX);
    assert_int_equal(record->source, INVALIDATION_MESSAGE);
    hear(f, f->all, "permtab1 invalidate 00000000000000aa 2 all");
    assert_int_equal(f->rebuilds, 1);
    turn_for(f, 20);
    assert_int_equal(f->flushes, 0);
    hear(f, f->all, "permtab1 invalidate 00000000000000aa 3 pattern:user:*");
    fill(f, 1, server);
    UNTIL(f, f->all->heard == 0);
    assert_false(resident(f, 1, server));
    assert_int_equal(f->swept_count, 0);
    hear(f, f->all, "permtab1 changed 0000000000000007 1 2 user:1");
    hear(f, f->all, "permtab1 written 0000000000000007 2 user:1");
    assert_int_equal(f->counters.invalidations_heard, 3);
}

static void own_messages_are_ignored(void **state)
{
    struct fixture *f = *state;
    char text[128];
    fill(f, 1, server);
    snprintf(text, sizeof text, "permtab1 invalidate %016" PRIx64 " 9 user:1", f->all->self);
    hear(f, f->all, text);
    assert_true(resident(f, 1, server));
    assert_int_equal(f->counters.invalidations_heard, 0);
}

static void gaps_wake_the_poll(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *text;
        unsigned gaps, wakes;
    } steps[] = {
        {"permtab1 invalidate 00000000000000aa 7 user:1", 0, 0}, /* the first one heard */
        {"permtab1 invalidate 00000000000000aa 8 user:1", 0, 0},
        {"permtab1 invalidate 00000000000000aa 8 user:1", 0, 0}, /* twice */
        {"permtab1 invalidate 00000000000000bb 1 user:1", 0, 0},
        {"permtab1 invalidate 00000000000000aa 11 user:1", 2, 1},
        {"permtab1 invalidate 00000000000000aa 9 user:1", 2, 1}, /* late */
        {"permtab1 invalidate 00000000000000aa 12 user:1", 2, 1},
        {"permtab1 invalidate 00000000000000bb 3 user:1", 3, 2},
    };
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        hear(f, f->all, steps[i].text);
        assert_int_equal(f->counters.invalidation_gaps, steps[i].gaps);
        assert_int_equal(f->wakes, steps[i].wakes);
    }
    /* Anybody may invent hosts: their number is bounded, and who speaks is remembered. */
    for (unsigned i = 0; i < 3 * ORIGINS_MAX; i++) {
        char text[128];
        snprintf(text, sizeof text, "permtab1 invalidate %016x 1 user:1", 0x1000 + i);
        hear(f, f->all, text);
        snprintf(text, sizeof text, "permtab1 invalidate 00000000000000aa %u user:1", 13 + i);
        hear(f, f->all, text);
    }
    assert_int_equal(f->counters.invalidation_gaps, 3);
    hear(f, f->all, "permtab1 invalidate 00000000000000aa 2000 user:1");
    assert_int_equal(f->wakes, 3);
}

static void plain_text_is_l2s_affair_too(void **state)
{
    struct fixture *f = *state;
    fill(f, 1, server);
    put_user(f, 1);
    hear(f, f->all, "user:1");
    assert_false(resident(f, 1, server));
    UNTIL(f, f->all->heard == 0);
    assert_false(has_user(f, 1));
    assert_int_equal(f->message_count, 0);
    /* A poke alone leaves no trace: who hears it polls. */
    hear(f, f->all, "poke");
    assert_int_equal(f->all->heard, 0);
    change_tag(f, "raid", (struct target[]){{.kind = TARGET_USER, .id = 2}}, 1, true);
    fill(f, 2, server);
    hear(f, f->all, "tag:raid");
    UNTIL(f, f->all->heard == 0);
    assert_false(resident(f, 2, server));
}

/* Every host hears a pattern and looks for it at home; one of them sweeps. */
static void one_host_sweeps(void **state)
{
    struct fixture *f = *state;
    struct redis *second_redis = connect_redis(f);
    struct invalidations *second = invalidations_over(f, second_redis);
    hear(f, f->all, "pattern:user:4*");
    hear(f, second, "pattern:user:4*");
    UNTIL(f, f->swept_count == 1);
    turn_for(f, 50);
    assert_int_equal(f->swept_count, 1);
    assert_int_equal(f->all->heard + second->heard, 1);
    sweep_ends(f, 0, 1, "");
    UNTIL(f, f->all->heard + second->heard == 0);
    hear(f, second, "pattern:user:5*"); /* another one */
    UNTIL(f, f->swept_count == 2);
    sweep_ends(f, 0, 1, "");
    hear(f, f->all, "all");
    hear(f, second, "all");
    UNTIL(f, f->all->heard + second->heard == 0);
    assert_int_equal(f->rebuilds, 2);
    assert_int_equal(f->flushes, 1);
    invalidations_free(second);
    redis_free(second_redis);
}

static void floods_are_bounded(void **state)
{
    struct fixture *f = *state;
    redis_server_pause(&f->redis_server); /* so that nothing ends */
    fill(f, CROWD, server);               /* whose set the others share */
    for (unsigned i = 0; i < HEARD_JOBS_MAX + 50; i++) {
        char text[64];
        snprintf(text, sizeof text, "user:%u", i);
        fill(f, i, server);
        hear(f, f->all, text);
    }
    assert_int_equal(f->all->heard, HEARD_JOBS_MAX);
    assert_int_equal(f->counters.invalidations_refused, 50);
    /* There is no room for a job, and the table is seen to all the same, in slices. */
    for (uint64_t user = HEARD_JOBS_MAX + 100; user < CROWD; user++)
        fill(f, user, server);
    hear(f, f->all, "user:9000 scope:server:1 user:9001");
    assert_true(resident(f, CROWD - 1, server));
    fill(f, CROWD + 1, channel);
    UNTIL(f, !retire_left(f->all));
    assert_false(resident(f, CROWD - 1, server) || resident(f, CROWD + 1, channel));
    for (unsigned i = 0; i < HEARD_JOBS_MAX + 50; i++)
        assert_false(resident(f, i, server));
    for (unsigned i = 0; i < SPILLED_MAX; i++)
        hear(f, f->all, "user:1");
    assert_int_equal(f->counters.invalidations_refused, 51 + SPILLED_MAX);
    hear(f, f->all, "user:1");
    assert_int_equal(f->counters.invalidations_refused, 51 + SPILLED_MAX + 2); /* not even that */
    start_texts(f, "user:1"); /* who asks here is not kept out by it */
    redis_server_resume(&f->redis_server);
    UNTIL(f, f->done == 1 && f->all->heard == 0);
}

int main(void)
{
    const struct CMUnitTest alone[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup_alone, teardown)
        T(this_host_alone),
        T(patterns_in_slices),
        T(a_large_scope_in_slices),
        T(a_small_one_beside_a_large_one),
        T(free_in_the_middle_of_a_scope),
        T(rebuild_while_matching),
        T(limits),
        T(another_from_done),
        T(free_tells_who_waits),
        T(history_is_kept),
#undef T
    };
    const struct CMUnitTest with_redis[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(keys_go_and_others_hear),
        T(batches_are_as_asked),
        T(long_lists_take_several_messages),
        T(refused_batch_goes_one_by_one),
        T(trouble_that_passes_is_repeated),
        T(redis_is_lost_in_the_middle),
        T(without_an_epoch_l2_is_left_alone),
        T(free_in_the_middle),
        T(all_is_a_new_table_and_a_new_epoch),
        T(patterns_are_swept_one_after_the_other),
        T(tags_hold_what_was_added),
        T(tags_have_limits),
        T(tags_are_invalidated_in_slices),
        T(others_messages_are_this_hosts_affair),
        T(own_messages_are_ignored),
        T(gaps_wake_the_poll),
        T(plain_text_is_l2s_affair_too),
        T(one_host_sweeps),
        T(floods_are_bounded),
#undef T
    };
    int failed = cmocka_run_group_tests(alone, NULL, NULL);
    if (!redis_server_installed())
        return failed != 0 ? failed : 77;
    return failed + cmocka_run_group_tests(with_redis, NULL, NULL);
}
