/* Starting the parts. worker.c has their order and dependencies; this file has their sizes and options. */
#include "proxy/base/random.h"
#include "proxy/daemon/daemon.h"

#include "proxy/serve/methods/methods.h"

#include <event2/event.h>
#include <inttypes.h>
#include <string.h>

#define WORK_QUEUE_MAX 4096u

int daemon_start_listening(struct daemon *daemon, struct failure *failure)
{
    const struct config *config = &daemon->config;
    int code = ops_new(&daemon->ops, &daemon->server);
    if (code < 0)
        return failure_set(failure, code, "out of memory");
    struct listener_options clients = {.base = daemon->parts.base,
                                       .accept = server_accept,
                                       .context = &daemon->server,
                                       .socket = daemon->start->socket,
                                       .path = config->socket};
    struct listener_options ops = {.base = daemon->parts.base,
                                   .accept = ops_accept,
                                   .context = daemon->ops,
                                   .socket = daemon->start->ops_socket,
                                   .path = config->ops_socket};
    code = listener_new(&daemon->listener, &clients, failure);
    if (code == 0 && ops.socket >= 0)
        code = listener_new(&daemon->ops_listener, &ops, failure);
    return code;
}

static int start_threads(struct daemon *daemon, const struct sql_options *store, struct failure *failure)
{
    const struct config *config = &daemon->config;
    struct store_threads_options reads = {.base = daemon->parts.base,
                                          .name = "reads",
                                          .store = store,
                                          .threads = config->store_threads,
                                          .queue_max = WORK_QUEUE_MAX};
    struct writes_options writes = {.base = daemon->parts.base,
                                    .counters = &daemon->counters,
                                    .store = store,
                                    .threads = config->store_write_threads,
                                    .queue_max = WORK_QUEUE_MAX};
    int code = store_threads_new(&daemon->parts.pool, &reads);
    if (code == 0)
        code = writes_new(&daemon->parts.writes, &writes);
    return code < 0 ? failure_set(failure, code, "threads cannot be started") : 0;
}

int daemon_start_helpers(struct daemon *daemon, struct failure *failure)
{
    const struct config *config = &daemon->config;
    struct sql_options store = daemon_store_options(config);
    int code = start_threads(daemon, &store, failure);
    if (code < 0)
        return code;
    code = workshop_new(&daemon->parts.workshop, daemon->parts.base);
    if (code < 0)
        return failure_set(failure, code, "threads cannot be started");
    publisher_drop_to(daemon->parts.publisher, workshop_drop, daemon->parts.workshop);
    struct feed_options feed = {.base = daemon->parts.base,
                                .publisher = daemon->parts.publisher,
                                .workshop = daemon->parts.workshop,
                                .counters = &daemon->counters,
                                .news = daemon_on_news,
                                .context = daemon,
                                .store = &store,
                                .permissions_max = config->permissions_max,
                                .poll_interval_ms = config->poll_interval_ms,
                                .max_staleness_ms = config->max_staleness_ms,
                                .change_retention_ms = config->change_retention_ms,
                                .change_retention_rows = config->change_retention_rows};
    return feed_new(&daemon->parts.feed, &feed, failure);
}

int daemon_start_growth(struct daemon *daemon, struct failure *failure)
{
    const struct config *config = &daemon->config;
    struct growth_options growth = {.base = daemon->parts.base,
                                    .publisher = daemon->parts.publisher,
                                    .workshop = daemon->parts.workshop,
                                    .counters = &daemon->counters,
                                    .attached = daemon_attached,
                                    .context = daemon,
                                    .entries_min = daemon->room.entries,
                                    .sets_min = daemon->room.sets,
                                    .folds_min = daemon->room.folds,
                                    .keys = daemon->keys,
                                    .memory_max = config->table_memory_max,
                                    .hit_rate_target = config->hit_rate_target};
    int code = growth_new(&daemon->parts.growth, &growth);
    return code < 0 ? failure_set(failure, code, "the table's growth cannot be set up") : 0;
}

/* Connects L2, and messages to the fleet. Nothing waits for Redis: it may come and go. */
static int connect_redis(struct daemon *daemon, const struct redis_access *access, struct failure *failure)
{
    const struct config *config = &daemon->config;
    struct redis_options redis = {
        .base = daemon->parts.base, .state = daemon_on_redis, .context = daemon, .access = access};
    int code = redis_new(&daemon->parts.redis, &redis, failure);
    if (code < 0)
        return code;
    struct l2_options l2 = {.base = daemon->parts.base,
                            .redis = daemon->parts.redis,
                            .publisher = daemon->parts.publisher,
                            .feed = daemon->parts.feed,
                            .pool = daemon->parts.pool,
                            .counters = &daemon->counters,
                            .refresh = daemon_on_refresh,
                            .epoch = daemon_on_epoch,
                            .context = daemon,
                            .host_id = daemon->host_id,
                            .prefix = config->redis_prefix,
                            .timeout_ms = config->redis_timeout_ms,
                            .ttl_ms = config->l2_ttl_ms,
                            .values = config->l2};
    code = l2_new(&daemon->l2, &l2);
    struct cleanup_options cleanup = {.base = daemon->parts.base,
                                      .redis = daemon->parts.redis,
                                      .pool = daemon->parts.pool,
                                      .counters = &daemon->counters,
                                      .host_id = daemon->host_id,
                                      .prefix = config->redis_prefix,
                                      .types = &config->scope_types,
                                      .budget = config->cleanup_budget};
    if (code == 0)
        code = cleanup_new(&daemon->parts.cleanup, &cleanup);
    return code < 0 ? failure_set(failure, code, "out of memory") : 0;
}

/* Invalidation works without Redis, too; then it reaches this host alone. */
int daemon_start_redis(struct daemon *daemon, struct failure *failure)
{
    const struct config *config = &daemon->config;
    struct redis_access access = {.url = config->redis,
                                  .password = config->redis_password,
                                  .timeout_ms = config->redis_timeout_ms,
                                  .ping_ms = config->redis_ping_ms};
    int code = random_id(&daemon->host_id);
    if (code < 0)
        return failure_set(failure, code, "the kernel gives no random numbers");
    code = config->redis[0] ? connect_redis(daemon, &access, failure) : 0;
    if (code < 0)
        return code;
    struct invalidation_options invalidation = {.base = daemon->parts.base,
                                                .publisher = daemon->parts.publisher,
                                                .redis = daemon->parts.redis,
                                                .counters = &daemon->counters,
                                                .ports = daemon_invalidation_ports(daemon),
                                                .host_id = daemon->host_id,
                                                .prefix = config->redis_prefix,
                                                .history_max = (size_t)config->invalidation_history};
    code = invalidations_new(&daemon->parts.invalidations, &invalidation);
    if (code < 0)
        return failure_set(failure, code, "invalidation cannot be set up");
    if (!config->redis[0])
        return 0;
    struct fleet_options fleet = {.base = daemon->parts.base,
                                  .publisher = daemon->parts.publisher,
                                  .feed = daemon->parts.feed,
                                  .redis = daemon->parts.redis,
                                  .l2 = daemon->l2,
                                  .invalidations = daemon->parts.invalidations,
                                  .counters = &daemon->counters,
                                  .access = &access,
                                  .prefix = config->redis_prefix};
    return fleet_new(&daemon->parts.fleet, &fleet, failure);
}

static int start_replica(struct daemon *daemon)
{
    const struct config *config = &daemon->config;
    struct sql_options store = daemon_store_options(config);
    struct store_threads_options replica = {.base = daemon->parts.base,
                                            .name = "replica",
                                            .store = &store,
                                            .threads = config->store_threads,
                                            .queue_max = WORK_QUEUE_MAX};
    store.url = config->store_replica;
    store.read_only = true;
    return store_threads_new(&daemon->replica, &replica);
}

/* Starts questions, and the sources of the fills that they wait for: kept facts, the replica, the store. */
int daemon_start_answering(struct daemon *daemon, struct failure *failure)
{
    const struct config *config = &daemon->config;
    int code = daemon->use_replica ? start_replica(daemon) : 0;
    if (code < 0)
        return failure_set(failure, code, "threads cannot be started");
    struct answering_options options = {
        .base = daemon->parts.base,
        .publisher = daemon->parts.publisher,
        .feed = daemon->parts.feed,
        .l2 = daemon->l2,
        .primary = daemon->parts.pool,
        .replica = daemon->replica,
        .keys = daemon->keys,
        .counters = &daemon->counters,
        .threads = config->store_threads,
        .timeout_ms = config->request_timeout_ms,
        .strangers_max = config->strangers_max,
    };
    return answering_new(&daemon->parts.answering, &options, failure);
}

/* The queue of delayed invalidations, which is in Redis. */
int daemon_start_delayed(struct daemon *daemon, struct failure *failure)
{
    const struct config *config = &daemon->config;
    struct delayed_options options = {
        .base = daemon->parts.base,
        .redis = daemon->parts.redis,
        .publisher = daemon->parts.publisher,
        .feed = daemon->parts.feed,
        .answering = daemon->parts.answering,
        .invalidations = daemon->parts.invalidations,
        .counters = &daemon->counters,
        .host_id = daemon->host_id,
        .prefix = config->redis_prefix,
        .budget = config->cleanup_budget,
    };
    int code = daemon->parts.redis ? delayed_new(&daemon->parts.delayed, &options) : 0;
    return code < 0 ? failure_set(failure, code, "out of memory") : 0;
}

int daemon_start_watching(struct daemon *daemon, struct failure *failure)
{
    struct audit_options audit = {.base = daemon->parts.base,
                                  .pool = daemon->parts.pool,
                                  .publisher = daemon->parts.publisher,
                                  .feed = daemon->parts.feed,
                                  .counters = &daemon->counters,
                                  .found = daemon_on_difference,
                                  .context = daemon,
                                  .entries_a_second = daemon->config.audit_entries};
    int code = subscriptions_new(&daemon->parts.subscriptions, daemon->parts.publisher, &daemon->counters);
    if (code == 0 && audit.entries_a_second > 0)
        code = audit_new(&daemon->parts.audit, &audit);
    return code < 0 ? failure_set(failure, code, "out of memory") : 0;
}

int daemon_start_serving(struct daemon *daemon, struct failure *failure)
{
    daemon->parts.config = &daemon->config;
    daemon->parts.descriptors = &daemon->descriptors;
    daemon->parts.counters = &daemon->counters;
    daemon->parts.last_death = daemon->start->last_death;
    daemon->parts.histograms = &daemon->histograms;
    int code = server_init(&daemon->server, &daemon->parts, methods, method_count);
    return code < 0 ? failure_set(failure, code, "out of memory") : 0;
}
