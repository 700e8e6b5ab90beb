/* A host for tests of invalidation. */
#include "tests/support/invalidation_host.h"

#include "proxy/base/random.h"
#include "proxy/names/l2_keys.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the ports ---- */

static void wake(void *context)
{
    ((struct invalidation_host *)context)->wakes++;
}

static void rebuild(void *context)
{
    ((struct invalidation_host *)context)->rebuilds++;
}

static void tell(void *context, const struct target *targets, size_t count, const char *reason)
{
    struct invalidation_host *host = context;
    (void)targets;
    host->told += count;
    snprintf(host->told_reason, sizeof host->told_reason, "%s", reason);
}

static bool epoch(void *context, uint64_t *out)
{
    *out = HOST_EPOCH;
    return !((struct invalidation_host *)context)->epoch_unknown;
}

static void flush(void *context)
{
    ((struct invalidation_host *)context)->flushes++;
}

static int64_t sweep(void *context, const struct target *target, cleanup_done_fn done, void *job)
{
    struct invalidation_host *host = context;
    if (host->sweep_refusal < 0)
        return host->sweep_refusal;
    assert_null(host->sweep_done); /* one at a time */
    host->swept[host->swept_count++] = *target;
    host->sweep_done = done;
    host->sweep_context = job;
    return ++host->sweep_number;
}

static void sweep_forget(void *context, int64_t number)
{
    struct invalidation_host *host = context;
    host->forgotten = number;
    host->sweep_done = NULL;
}

void host_sweep_ends(struct invalidation_host *host, int code, uint64_t removed, const char *text)
{
    struct cleanup_status status = {.keys_removed = removed};
    cleanup_done_fn done = host->sweep_done;
    snprintf(status.text, sizeof status.text, "%s", text);
    host->sweep_done = NULL;
    done(host->sweep_context, code, &status);
}

/* ---- the frame ---- */

static void on_state(void *context, bool connected)
{
    ((struct invalidation_host *)context)->connected = connected;
}

static void on_subscribed(void *context, bool subscribed)
{
    ((struct invalidation_host *)context)->subscribed = subscribed;
}

static void on_message(void *context, const char *bytes, size_t size)
{
    struct invalidation_host *host = context;
    assert_true(size <= MESSAGE_SIZE_MAX && host->message_count < HOST_MESSAGES);
    memcpy(host->messages[host->message_count], bytes, size);
    host->messages[host->message_count++][size] = '\0';
}

void host_turn_for(struct invalidation_host *host, unsigned ms)
{
    loop_for(host->base, ms);
}

struct redis *host_connect_redis(struct invalidation_host *host)
{
    struct redis_access access = {.url = host->redis_server.url, .timeout_ms = 2000, .ping_ms = 2000};
    struct redis_options options = {host->base, on_state, host, &access};
    struct redis *redis;
    struct failure failure;
    host->connected = false;
    assert_return_code(redis_new(&redis, &options, &failure), 0);
    HOST_UNTIL(host, host->connected);
    return redis;
}

struct invalidations *host_invalidations(struct invalidation_host *host, struct redis *redis)
{
    struct invalidation_options options = {.base = host->base,
                                           .publisher = host->publisher,
                                           .redis = redis,
                                           .counters = &host->counters,
                                           .ports = host->ports,
                                           .prefix = HOST_PREFIX,
                                           .history_max = 100};
    struct invalidations *all;
    assert_return_code(random_id(&options.host_id), 0);
    assert_return_code(invalidations_new(&all, &options), 0);
    return all;
}

static int setup_local(void **state)
{
    struct invalidation_host *host = calloc(1, sizeof *host);
    memory_policy_init(&host->policy);
    memory_permission(&host->policy, "message.send");
    memory_scope(&host->policy, server, global, NULL);
    memory_scope(&host->policy, channel, server, NULL);
    memory_role(&host->policy, 100, "member", server, true, true);
    memory_grant(&host->policy, 100, GRANT_ALLOW, 0);
    memory_overwrite(&host->policy, channel, OVERWRITE_ROLE, 100, 0, false);
    host->publisher = memory_publisher(&host->policy, 10000, 10, &host->counters);
    host->base = event_base_new();
    host->ports =
        (struct invalidation_ports){.context = host, .wake = wake, .rebuild = rebuild, .tell = tell};
    *state = host;
    return 0;
}

int host_setup_alone(void **state)
{
    setup_local(state);
    struct invalidation_host *host = *state;
    host->all = host_invalidations(host, NULL);
    return 0;
}

int host_setup(void **state)
{
    setup_local(state);
    struct invalidation_host *host = *state;
    struct failure failure;
    redis_server_start(&host->redis_server, false, NULL);
    host->redis = host_connect_redis(host);
    struct redis_access access = {.url = host->redis_server.url, .timeout_ms = 2000, .ping_ms = 2000};
    struct redis_subscriber_options options = {host->base, on_message, on_subscribed,
                                               host,       &access,    HOST_PREFIX "invalidate"};
    assert_return_code(redis_subscriber_new(&host->subscriber, &options, &failure), 0);
    HOST_UNTIL(host, host->subscribed);
    host->ports = (struct invalidation_ports){host, wake, rebuild, tell, epoch, flush, sweep, sweep_forget};
    host->all = host_invalidations(host, host->redis);
    return 0;
}

int host_teardown(void **state)
{
    struct invalidation_host *host = *state;
    invalidations_free(host->all);
    redis_subscriber_free(host->subscriber);
    redis_free(host->redis);
    if (host->redis_server.pid != 0)
        redis_server_stop(&host->redis_server);
    publisher_free(host->publisher);
    memory_policy_fini(&host->policy);
    event_base_free(host->base);
    free(host);
    return 0;
}

/* ---- what tests say ---- */

void host_fill(struct invalidation_host *host, uint64_t user, struct scope_key scope)
{
    memory_fill(host->publisher, &host->policy, 1, user, scope);
}

bool host_resident(struct invalidation_host *host, uint64_t user, struct scope_key scope)
{
    return memory_resident(host->publisher, user, scope);
}

const char *host_ask(struct invalidation_host *host, const char *format, ...)
{
    static char answer[65536]; /* of the last question */
    char command[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(command, sizeof command, format, arguments);
    va_end(arguments);
    assert_true(redis_server_ask(&host->redis_server, command, answer, sizeof answer));
    return answer;
}

void host_put_user(struct invalidation_host *host, uint64_t user)
{
    char key[L2_KEY_SIZE];
    l2_key_user(key, HOST_PREFIX, HOST_EPOCH, user);
    host_ask(host, "HSET %s channel:9 x server:1 y", key);
}

bool host_has_user(struct invalidation_host *host, uint64_t user)
{
    char key[L2_KEY_SIZE];
    return strcmp(host_ask(host, "EXISTS %s", l2_key_user(key, HOST_PREFIX, HOST_EPOCH, user)), "1") == 0;
}

struct target host_target(const char *text)
{
    static const struct scope_types types = {.count = 4,
                                             .names = {"global", "server", "category", "channel"}};
    struct target target;
    assert_return_code(target_parse(&types, text, strlen(text), &target), 0);
    return target;
}

static void on_done(void *context, int code, const char *text, const struct invalidation_result *result)
{
    struct invalidation_host *host = context;
    assert_false(host->inside);
    host->done++;
    host->code = code;
    snprintf(host->text, sizeof host->text, "%s", text);
    host->result = *result;
    if (host->again) {
        struct target user = host_target("user:77");
        struct invalidation what = {.targets = &user, .count = 1};
        host->again = false;
        assert_return_code(invalidation_start(host->all, &what, on_done, host), 0);
    }
}

int host_start(struct invalidation_host *host, const struct target *targets, size_t count, size_t batch)
{
    struct invalidation what = {.targets = targets, .count = count, .batch = batch, .reason = "a\treason"};
    host->inside = true;
    int code = invalidation_start(host->all, &what, on_done, host);
    host->inside = false;
    return code;
}

void host_start_texts(struct invalidation_host *host, const char *texts)
{
    struct target targets[32];
    size_t count = 0;
    char copy[512], *rest = copy, *word;
    snprintf(copy, sizeof copy, "%s", texts);
    while ((word = strsep(&rest, " ")) != NULL)
        targets[count++] = host_target(word);
    assert_return_code(host_start(host, targets, count, 0), 0);
}

void host_invalidate(struct invalidation_host *host, const char *texts)
{
    unsigned before = host->done;
    host_start_texts(host, texts);
    HOST_UNTIL(host, host->done > before);
}

struct target *host_users(uint64_t first, size_t count)
{
    struct target *targets = calloc(count, sizeof *targets);
    for (size_t i = 0; i < count; i++)
        targets[i] = (struct target){.kind = TARGET_USER, .id = first + i};
    return targets;
}

void host_hear(struct invalidation_host *host, struct invalidations *all, const char *text)
{
    struct message message;
    assert_return_code(
        message_parse(&publisher_catalogue(host->publisher)->types, text, strlen(text), &message), 0);
    invalidations_heard(all, &message);
    message_fini(&message);
}

unsigned host_calls(struct invalidation_host *host, const char *command)
{
    char field[64];
    unsigned count = 0;
    snprintf(field, sizeof field, "cmdstat_%s:calls=", command);
    const char *at = strstr(host_ask(host, "INFO commandstats"), field);
    if (at != NULL)
        (void)sscanf(at + strlen(field), "%u", &count);
    return count;
}

void host_on_tags(void *context, const struct tags_result *result)
{
    struct invalidation_host *host = context;
    host->tag.done++;
    host->tag.code = result->code;
    host->tag.changed = result->changed;
    host->tag.members = result->members;
    host->tag.texts = redis_reply_count(result->texts);
}

void host_change_tag(struct invalidation_host *host, const char *name, const struct target *targets,
                     size_t count, bool add)
{
    struct tags_place place = {host->redis, HOST_PREFIX, &publisher_catalogue(host->publisher)->types};
    struct tags_call *call;
    unsigned before = host->tag.done;
    assert_return_code(
        (add ? tags_add : tags_remove)(&call, &place, name, targets, count, host_on_tags, host), 0);
    HOST_UNTIL(host, host->tag.done > before);
}
