/* A connection for commands and what its callbacks were told. */
#include "tests/support/redis_caller.h"

#include <event2/event.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void caller_free_redis(struct redis_caller *caller)
{
    redis_free(caller->redis);
    caller->redis = NULL;
}

void caller_on_state(void *context, bool connected)
{
    struct redis_caller *caller = context;
    if (connected) {
        caller->ups++;
    } else {
        caller->downs++;
        (void)snprintf(caller->why, sizeof caller->why, "%s", redis_trouble(caller->redis));
    }
    assert_true(redis_connected(caller->redis) == connected);
    if (connected ? caller->free_in_up : caller->free_in_down)
        caller_free_redis(caller);
}

void caller_await_trouble(struct redis_caller *caller, const char *part)
{
    for (unsigned turns = 0; turns < 1000 * LOOP_PATIENCE; turns++) {
        if (strstr(redis_trouble(caller->redis), part))
            return;
        loop_turn(caller->base);
    }
    fail_msg("\"%s\" does not say \"%s\"", redis_trouble(caller->redis), part);
}

static void describe(const struct redis_reply *reply, char *out, size_t size)
{
    int64_t number;
    if (redis_reply_text(reply, NULL))
        (void)snprintf(out, size, "%s", redis_reply_text(reply, NULL));
    else if (redis_reply_i64(reply, &number))
        (void)snprintf(out, size, "%" PRId64, number);
    else
        (void)snprintf(out, size, "%s", redis_reply_kind(reply) == REDIS_ARRAY ? "array" : "nil");
}

void caller_on_done(void *context, enum redis_status status, const struct redis_reply *reply)
{
    struct redis_caller *caller = context;
    caller->told[status]++;
    assert_true((reply == NULL) == (status == REDIS_TIMEOUT || status == REDIS_LOST));
    describe(reply, caller->last, sizeof caller->last);
    size_t used = strlen(caller->order);
    if (used + 1 < sizeof caller->order)
        caller->order[used] = "oetl"[status];
    if (caller->free_in_done && caller->redis)
        caller_free_redis(caller);
    if (caller->again && status == REDIS_TIMEOUT)
        assert_int_equal(caller_ask(caller, "PING"), 0);
}

int caller_start(struct redis_caller *caller, const char *url, uint64_t timeout_ms, uint64_t ping_ms)
{
    struct failure failure = {0};
    struct redis_access access = {url, caller->server.password[0] ? caller->server.password : NULL,
                                  timeout_ms, ping_ms};
    struct redis_options options = {caller->base, caller_on_state, caller, &access};
    return redis_new(&caller->redis, &options, &failure);
}

int caller_ask(struct redis_caller *caller, const char *words)
{
    char copy[256], *rest = copy, *word;
    (void)snprintf(copy, sizeof copy, "%s", words);
    redis_args_clear(&caller->args);
    while ((word = strsep(&rest, " ")) != NULL)
        redis_args_text(&caller->args, word);
    return redis_send(caller->redis, &caller->args, caller_on_done, caller);
}

static int set_up(void **state)
{
    struct redis_caller *caller = calloc(1, sizeof *caller);
    assert_non_null(caller);
    caller->base = event_base_new();
    redis_args_init(&caller->args);
    *state = caller;
    return 0;
}

int caller_with_server(void **state)
{
    set_up(state);
    redis_server_start(&((struct redis_caller *)*state)->server, false, NULL);
    return 0;
}

int caller_with_locked_server(void **state)
{
    set_up(state);
    redis_server_start(&((struct redis_caller *)*state)->server, true, "open sesame");
    return 0;
}

int caller_with_fake(void **state)
{
    set_up(state);
    struct redis_caller *caller = *state;
    fake_redis_start(&caller->fake, caller->base);
    return 0;
}

int caller_tear_down(void **state)
{
    struct redis_caller *caller = *state;
    redis_free(caller->redis);
    if (caller->fake.listener)
        fake_redis_stop(&caller->fake);
    event_base_free(caller->base);
    redis_args_fini(&caller->args);
    if (caller->server.folder[0])
        redis_server_stop(&caller->server);
    free(caller);
    return 0;
}

int caller_run_script(struct redis_caller *caller, const char *key, const char *token)
{
    redis_args_clear(&caller->args);
    redis_args_text(&caller->args, key);
    redis_args_text(&caller->args, token);
    return redis_run(caller->redis, redis_script("lock_release"), 1, &caller->args, caller_on_done, caller);
}
