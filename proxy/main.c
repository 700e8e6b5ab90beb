/* permtabd: the order of starting, serving, stopping. Every part is a struct of this one; nothing is global.
 *
 * What fails while starting ends the process with one line: exit code 2 when the configuration is to blame, 64 for the
 * command line, 1 for what may be different next time. */
#include "proxy/asks.h"
#include "proxy/audit.h"
#include "proxy/census_count.h"
#include "proxy/cleanup.h"
#include "proxy/config.h"
#include "proxy/counters.h"
#include "proxy/delayed.h"
#include "proxy/demo.h"
#include "proxy/feed.h"
#include "proxy/fill.h"
#include "proxy/invalidate_join.h"
#include "proxy/l2.h"
#include "proxy/lane.h"
#include "proxy/listener.h"
#include "proxy/log.h"
#include "proxy/notify.h"
#include "proxy/ops.h"
#include "proxy/publish.h"
#include "proxy/random.h"
#include "proxy/redis.h"
#include "proxy/server.h"
#include "proxy/store.h"
#include "proxy/subscriptions.h"
#include "proxy/watch.h"
#include "proxy/work.h"

#include <event2/event.h>
#include <event2/thread.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

enum { EXIT_FINE = 0, EXIT_TRANSIENT = 1, EXIT_CONFIGURATION = 2, EXIT_USAGE = 64 };

#define WORK_QUEUE_MAX   4096u
#define FILL_WAITING_MAX 65536u

static const int stop_signals[] = {SIGTERM, SIGINT};

struct arguments {
    const char *config_path;
    bool test, demo, migrate;
};

struct daemon {
    const char *config_path;
    struct config config;
    struct counters counters;
    struct demo *demo;
    struct event_base *base;
    struct event *signals[3];
    struct listener *listener, *ops_listener;
    bool listening; /* both */
    struct publish *publish;
    struct work *work;
    bool use_replica;
    struct work *replica; /* connections for fills alone; NULL without store_replica */
    struct feed *feed;
    struct census census;
    struct census_count *census_count; /* NULL: nobody is a stranger */
    struct strangers strangers;
    struct fetches *fetches;
    struct fills *fills;
    struct asks *asks;
    struct redis *redis; /* and what needs it: NULL when it is not configured */
    struct l2 *l2;
    struct lane *lane;
    struct cleanup *cleanup;
    struct delayed *delayed;
    struct invalidation_parts invalidation_parts;
    struct invalidations *invalidations; /* also without */
    struct histograms histograms;
    struct watch watch;
    struct subscriptions *subscriptions;
    struct audit *audit; /* NULL when off */
    struct server server;
    struct ops *ops;
};

/* ---- command line -------------------------------------------------------------------------------------------------- */

static void print_usage(FILE *out)
{
    (void)fputs(
        "usage: permtabd [-c FILE] [-t] [--demo] [--migrate] [--version] [--help]\n"
        "\n"
        "  -c FILE     read the configuration from FILE; without it, defaults and PERMTAB_… variables\n"
        "  -t          check the configuration, print it, and exit\n"
        "  --demo      serve a small community from a temporary folder\n"
        "  --migrate   bring the store's schema up to date, and exit\n"
        "  --version   print the version\n"
        "  --help      print this\n"
        "\n"
        "exit codes: 0 fine, 1 perhaps transient, 2 the configuration is wrong, 64 the command line is\n",
        out);
}

/* -1: go on; else the exit code. */
static int read_arguments(int count, char **words, struct arguments *out)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"test", no_argument, NULL, 't'},
        {"demo", no_argument, NULL, 'd'},
        {"migrate", no_argument, NULL, 'm'},
        {"version", no_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int option;
    while ((option = getopt_long(count, words, "c:th", options, NULL)) >= 0) {
        switch (option) {
        case 'c':
            out->config_path = optarg;
            break;
        case 't':
            out->test = true;
            break;
        case 'd':
            out->demo = true;
            break;
        case 'm':
            out->migrate = true;
            break;
        case 'v':
            (void)puts("permtabd " PERMTAB_VERSION);
            return EXIT_FINE;
        case 'h':
            print_usage(stdout);
            return EXIT_FINE;
        default: /* getopt has said what is wrong */
            return EXIT_USAGE;
        }
    }
    if (optind == count)
        return -1;
    (void)fprintf(stderr, "permtabd: unexpected argument \"%s\"; try --help\n", words[optind]);
    return EXIT_USAGE;
}

/* ---- the store, and the table from it -------------------------------------------------------------------------------- */

static struct sql_options store_options(const struct config *config)
{
    return (struct sql_options){
        .url = config->store,
        .password = config->store_password,
        .timeout_s = (uint32_t)(config->store_timeout_ms / 1000),
    };
}

static int migrate(const struct config *config, struct failure *failure)
{
    struct sql_options options = store_options(config);
    unsigned applied = 0;
    int code = store_migrate(&options, &applied, failure);
    if (code == 0 && applied > 0)
        log_info("store: applied %u migrations", applied);
    return code;
}

/* The first table: empty, with the catalogue of one snapshot. */
static int publish_first(struct daemon *daemon, struct store *store, struct failure *failure)
{
    const struct config *config = &daemon->config;
    struct publish_options options = {
        .permissions_max = config->permissions_max,
        .entries = config->table_entries,
        .sets = (uint32_t)config->table_sets,
        .folds = (uint32_t)config->table_folds,
        .memory_max = config->table_memory_max,
        .max_staleness_ns = config->max_staleness_ms * 1000000,
    };
    struct catalogue catalogue = {0};
    struct store_position at;
    int64_t now;
    int code = store_snapshot(store, &at, &now, failure);
    if (code < 0)
        return code;
    code = store_read_catalogue(store, config->permissions_max, &catalogue, failure);
    store_snapshot_end(store);
    if (code == 0)
        code = publish_new(&daemon->publish, &options, &at, now, &catalogue, &daemon->counters, failure);
    catalogue_fini(&catalogue);
    return code;
}

/* A replica is only as good as what it copies. */
static int look_at_replication(struct daemon *daemon, struct store *store, struct failure *failure)
{
    int rows = store_replicates_rows(store, failure);
    daemon->use_replica = rows > 0;
    if (rows == 0)
        log_warning(
            "store: store_replica is not used: the primary's binlog_format is STATEMENT, and a replica "
            "that runs statements again may come to other rows; set it to ROW");
    return rows < 0 ? rows : 0;
}

static int open_store(struct daemon *daemon, struct failure *failure)
{
    const struct config *config = &daemon->config;
    struct sql_options options = store_options(config);
    struct store store;
    int code = config->store_migrate ? migrate(config, failure) : 0;
    if (code == 0)
        code = store_open(&store, &options, failure);
    if (code < 0)
        return code;
    code = store_sync_types(&store, &config->scope_types, failure);
    if (code == 0 && daemon->demo)
        code = demo_fill_store(config, &store, failure);
    if (code == 0)
        code = publish_first(daemon, &store, failure);
    if (code == 0 && config->store_replica[0])
        code = look_at_replication(daemon, &store, failure);
    store_close(&store);
    return code;
}

/* ---- the loop ---------------------------------------------------------------------------------------------------- */

static void on_applied(void *context, uint64_t revision)
{
    struct daemon *daemon = context;
    if (daemon->census_count) /* first: those who are judged next may have rows now */
        census_count_applied(daemon->census_count);
    if (daemon->l2) /* the marker first: what fills put comes after it */
        l2_applied(daemon->l2);
    if (daemon->fills) /* not there yet while starting */
        fills_applied(daemon->fills, revision);
    audit_applied(daemon->audit);
    server_applied(&daemon->server);
}

static void on_redis(void *context, bool connected)
{
    struct daemon *daemon = context;
    if (daemon->l2)
        l2_connected(daemon->l2, connected);
    if (daemon->cleanup)
        cleanup_connected(daemon->cleanup, connected);
    if (daemon->delayed)
        delayed_connected(daemon->delayed, connected);
}

static void on_refresh(void *context, uint64_t user, struct scope_key scope)
{
    struct daemon *daemon = context;
    fill_refresh(daemon->fills, user, scope);
}

/* What the old one named is read by nobody any more. */
static void on_epoch(void *context)
{
    struct daemon *daemon = context;
    if (daemon->cleanup && cleanup_start(daemon->cleanup, CLEANUP_EPOCHS, NULL, NULL, NULL) < 0)
        log_info("l2: the keys of the last epoch are left to end with their time to live");
}

/* The auditor found this host's table wrong, and so perhaps what L2 has and what others were told from it. One user is
 * invalidated for the whole fleet; everything on this host and in L2 alone: the memory that is wrong may be this host's,
 * and the others have auditors of their own. */
static void on_difference(void *context, uint64_t user, bool everything)
{
    struct daemon *daemon = context;
    struct target target = {.kind = everything ? TARGET_ALL : TARGET_USER, .id = user};
    struct invalidation what = {
        .targets = &target, .count = 1, .reason = "audit", .source = INVALIDATION_AUDIT};
    strangers_distrust(&daemon->strangers);
    if (!everything && invalidation_start(daemon->invalidations, &what, NULL, NULL) == 0)
        return; /* which tells the subscribers, too */
    if (daemon->l2)
        l2_flush(daemon->l2);
    subscriptions_tell(daemon->subscriptions, &target, 1, "audit");
}

static void on_stop(evutil_socket_t number, short what, void *context)
{
    struct daemon *daemon = context;
    (void)what;
    log_info("permtabd: stopping on signal %d", (int)number);
    (void)event_base_loopbreak(daemon->base);
}

/* Of what can be configured only the log level may change while it runs, in this release. */
static void on_reload(evutil_socket_t number, short what, void *context)
{
    struct daemon *daemon = context;
    struct config config;
    struct failure failure;
    enum log_level level;
    (void)number, (void)what;
    if (config_load(&config, daemon->config_path, &failure) < 0) {
        log_error("permtabd: the configuration was not read again: %s", failure.text);
        return;
    }
    if (log_level_parse(config.log_level, &level) == 0)
        log_level_set(level);
    log_info("permtabd: log_level is %s now; every other option takes a restart", config.log_level);
    config_fini(&config);
}

static int watch_signals(struct daemon *daemon)
{
    (void)signal(SIGPIPE, SIG_IGN); /* a peer that has gone is an error of the write, not our end */
    for (size_t i = 0; i < 3; i++) {
        bool stop = i < sizeof stop_signals / sizeof stop_signals[0];
        daemon->signals[i] =
            evsignal_new(daemon->base, stop ? stop_signals[i] : SIGHUP, stop ? on_stop : on_reload, daemon);
        if (!daemon->signals[i] || event_add(daemon->signals[i], NULL) < 0)
            return PERMTAB_E_MEMORY;
    }
    return 0;
}

static int start_loop(struct daemon *daemon, struct failure *failure)
{
    daemon->base = evthread_use_pthreads() == 0 ? event_base_new() : NULL;
    if (!daemon->base || watch_signals(daemon) < 0)
        return failure_set(failure, PERMTAB_E_SYSTEM, "the event loop cannot be set up");
    return 0;
}

static int start_listening(struct daemon *daemon, struct failure *failure)
{
    const struct config *config = &daemon->config;
    int code = ops_new(&daemon->ops, &daemon->server);
    if (code < 0)
        return failure_set(failure, code, "out of memory");
    code = listener_new(&daemon->listener, daemon->base, config->socket, config->socket_mode, server_accept,
                        &daemon->server, failure);
    if (code == 0 && config->ops_socket[0])
        code = listener_new(&daemon->ops_listener, daemon->base, config->ops_socket, config->socket_mode,
                            ops_accept, daemon->ops, failure);
    return code;
}

/* Who is a stranger. It counts in the background, and until then everybody is known. */
static int start_census(struct daemon *daemon)
{
    struct random_source chance;
    uint64_t users_max = daemon->config.strangers_max;
    int code = random_source_init(&chance);
    if (code == 0)
        code = census_init(&daemon->census, users_max, random_source_next(&chance));
    if (code < 0)
        return code;
    strangers_init(&daemon->strangers, &daemon->census, daemon->publish);
    return census_count_new(&daemon->census_count, daemon->base, daemon->work, daemon->publish, daemon->feed,
                            &daemon->census, &daemon->counters);
}

/* Where fills come from: what is kept, the replica, the store. */
static int start_fetching(struct daemon *daemon, struct failure *failure)
{
    const struct config *config = &daemon->config;
    int code = config->strangers_max > 0 ? start_census(daemon) : 0;
    if (code < 0)
        return failure_set(failure, code, "the filter of strangers_max = %" PRIu64 " users cannot be made",
                           config->strangers_max);
    if (daemon->use_replica) {
        struct sql_options options = store_options(config);
        options.url = config->store_replica;
        options.read_only = true;
        code = work_new(&daemon->replica, daemon->base, &options, config->store_threads, WORK_QUEUE_MAX);
    }
    struct fetch_options options = {
        .primary = daemon->work,
        .replica = daemon->replica,
        .replica_threads = config->store_threads,
        .strangers = daemon->census_count ? &daemon->strangers : NULL,
        .publish = daemon->publish,
        .counters = &daemon->counters,
    };
    if (code == 0)
        code = fetches_new(&daemon->fetches, daemon->base, &options);
    return code < 0 ? failure_set(failure, code, "reading for fills cannot be started") : 0;
}

static int start_helpers(struct daemon *daemon, struct failure *failure)
{
    const struct config *config = &daemon->config;
    struct sql_options options = store_options(config);
    int code = work_new(&daemon->work, daemon->base, &options, config->store_threads, WORK_QUEUE_MAX);
    if (code < 0)
        return failure_set(failure, code, "threads cannot be started");
    code = feed_new(&daemon->feed, daemon->base, config, &options, daemon->publish, &daemon->counters,
                    on_applied, daemon, failure);
    if (code < 0)
        return code;
    code = start_fetching(daemon, failure);
    if (code < 0)
        return code;
    code = fills_new(&daemon->fills, daemon->base, daemon->fetches, daemon->publish, daemon->feed,
                     &daemon->counters, config->request_timeout_ms, FILL_WAITING_MAX);
    /* As many fills at once as there are connections: more would only queue where nobody sorts them. */
    if (code == 0)
        code = asks_new(&daemon->asks, daemon->base, daemon->publish, daemon->feed, daemon->fills,
                        config->store_threads, config->request_timeout_ms);
    return code < 0 ? failure_set(failure, code, "out of memory") : 0;
}

/* A second level and a fast lane. Nothing waits for Redis: it may come and go. */
static int connect_redis(struct daemon *daemon, const struct redis_options *redis, struct failure *failure)
{
    const struct config *config = &daemon->config;
    struct l2_options l2 = {.prefix = config->redis_prefix,
                            .timeout_ms = config->redis_timeout_ms,
                            .ttl_ms = config->l2_ttl_ms,
                            .values = config->l2,
                            .refresh = on_refresh,
                            .epoch = on_epoch,
                            .context = daemon};
    int code = redis_new(&daemon->redis, daemon->base, redis, on_redis, daemon, failure);
    if (code < 0)
        return code;
    code = l2_new(&daemon->l2, daemon->base, &l2, daemon->redis, daemon->publish, daemon->feed, daemon->work,
                  &daemon->counters);
    if (code == 0)
        code = cleanup_new(&daemon->cleanup, daemon->base, daemon->redis, daemon->work, config,
                           &daemon->counters);
    return code < 0 ? failure_set(failure, code, "out of memory") : 0;
}

/* Invalidation works without Redis, too; then it is this host's affair alone. */
static int start_redis(struct daemon *daemon, struct failure *failure)
{
    const struct config *config = &daemon->config;
    struct redis_options redis = {.url = config->redis,
                                  .password = config->redis_password,
                                  .timeout_ms = config->redis_timeout_ms,
                                  .ping_ms = config->redis_ping_ms};
    int code = config->redis[0] ? connect_redis(daemon, &redis, failure) : 0;
    if (code < 0)
        return code;
    daemon->invalidation_parts =
        (struct invalidation_parts){config,     daemon->publish, daemon->feed,      daemon->redis,
                                    daemon->l2, daemon->cleanup, &daemon->counters, NULL};
    code = invalidations_join(&daemon->invalidations, daemon->base, &daemon->invalidation_parts);
    if (code < 0)
        return failure_set(failure, code, "invalidation cannot be set up");
    if (!config->redis[0])
        return 0;
    fills_use_l2(daemon->fills, daemon->l2);
    asks_use_l2(daemon->asks, daemon->l2);
    struct lane_parts parts = {daemon->publish, daemon->feed,          daemon->redis,
                               daemon->l2,      daemon->invalidations, &daemon->counters};
    return lane_new(&daemon->lane, daemon->base, &redis, config->redis_prefix, &parts, failure);
}

/* The queue of delayed invalidations, which is in Redis. */
static int start_delayed(struct daemon *daemon, struct failure *failure)
{
    const struct config *config = &daemon->config;
    struct delayed_options options = {
        .base = daemon->base,
        .redis = daemon->redis,
        .publish = daemon->publish,
        .feed = daemon->feed,
        .asks = daemon->asks,
        .invalidations = daemon->invalidations,
        .counters = &daemon->counters,
        .prefix = config->redis_prefix,
        .budget = config->cleanup_budget,
    };
    int code = daemon->redis ? delayed_new(&daemon->delayed, &options) : 0;
    return code < 0 ? failure_set(failure, code, "out of memory") : 0;
}

static int start_watching(struct daemon *daemon, struct failure *failure)
{
    uint32_t audits = daemon->config.audit_entries;
    int code = subscriptions_new(&daemon->subscriptions, daemon->publish, &daemon->counters);
    daemon->invalidation_parts.subscriptions = daemon->subscriptions;
    if (code == 0 && audits > 0)
        code = audit_new(&daemon->audit, daemon->base, audits, daemon->work, daemon->publish, daemon->feed,
                         &daemon->counters, on_difference, daemon);
    if (code < 0)
        return failure_set(failure, code, "out of memory");
    daemon->watch = (struct watch){.counters = &daemon->counters,
                                   .histograms = &daemon->histograms,
                                   .subscriptions = daemon->subscriptions};
    feed_watch(daemon->feed, watch_news, &daemon->watch);
    return 0;
}

static int start_serving(struct daemon *daemon, struct failure *failure)
{
    struct server *server = &daemon->server;
    server->base = daemon->base;
    server->config = &daemon->config;
    server->counters = &daemon->counters;
    server->publish = daemon->publish;
    server->feed = daemon->feed;
    server->work = daemon->work;
    server->asks = daemon->asks;
    server->ops = daemon->ops;
    server->redis = daemon->redis;
    server->l2 = daemon->l2;
    server->lane = daemon->lane;
    server->cleanup = daemon->cleanup;
    server->invalidations = daemon->invalidations;
    server->delayed = daemon->delayed;
    server->histograms = &daemon->histograms;
    server->subscriptions = daemon->subscriptions;
    server->audit = daemon->audit;
    return server_init(server) < 0 ? failure_set(failure, PERMTAB_E_MEMORY, "out of memory") : 0;
}

/* ---- starting and stopping ------------------------------------------------------------------------------------------ */

/* Two descriptors a client, and some for us. */
static void raise_descriptor_limit(const struct config *config)
{
    struct rlimit limit;
    rlim_t wanted = (rlim_t)config->clients_max * 2 + config->store_threads * 4 + 128;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= wanted)
        return;
    limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < wanted)
        log_warning("permtabd: %" PRIu64 " descriptors are allowed; clients_max = %" PRIu32
                    " may take %" PRIu64,
                    (uint64_t)limit.rlim_cur, config->clients_max, (uint64_t)wanted);
}

static int start(struct daemon *daemon, struct failure *failure)
{
    int code;
    /* 1. Nobody of our uid may look into this process or write through /proc: before there is anything to write. */
    if (prctl(PR_SET_DUMPABLE, 0) < 0)
        return failure_set(failure, PERMTAB_E_SYSTEM, "PR_SET_DUMPABLE is refused");
    raise_descriptor_limit(&daemon->config);
    /* 2. The loop, because sockets and threads report to it. It does not turn before everything is there. */
    if ((code = start_loop(daemon, failure)) < 0)
        return code;
    /* 3. The sockets, before the store: a second instance is refused before it has changed anything. Clients that
     *    connect now wait in the backlog. */
    if ((code = start_listening(daemon, failure)) < 0)
        return code;
    daemon->listening = true;
    /* 4. The store and the table: the table needs the store's id, its revision and its catalogue. */
    if ((code = open_store(daemon, failure)) < 0)
        return code;
    /* 5. Threads, the feed, fills: they write into the table. The feed's first poll grants the first lease. */
    if ((code = start_helpers(daemon, failure)) < 0)
        return code;
    /* 6. Redis, of which fills and questions make use when it is there, and what is done there. */
    if ((code = start_redis(daemon, failure)) < 0 || (code = start_delayed(daemon, failure)) < 0)
        return code;
    /* 7. What looks on: the auditor and those who are told. They know all of these, and the sessions know them. */
    if ((code = start_watching(daemon, failure)) < 0)
        return code;
    /* 8. The sessions, which ask all of these. */
    return start_serving(daemon, failure);
}

/* In reverse, with readers first: whatever ends after the table was disbelieved cannot mislead anybody. */
static void stop(struct daemon *daemon)
{
    if (daemon->publish)
        publish_disbelieve(daemon->publish);
    listener_free(daemon->ops_listener);
    listener_free(daemon->listener);
    if (daemon->server.base)
        server_fini(&daemon->server);
    ops_free(daemon->ops);
    delayed_free(daemon->delayed); /* before all that it asks and waits for */
    asks_free(daemon->asks);
    audit_free(daemon->audit);
    if (daemon->fills)
        fills_free(daemon->fills);
    lane_free(daemon->lane); /* nothing is heard any more */
    invalidations_free(daemon->invalidations);
    cleanup_free(daemon->cleanup);
    work_free(daemon->work); /* calls back the last jobs, which know the feed and the counters */
    work_free(daemon->replica);
    fetches_free(daemon->fetches);
    strangers_fini(&daemon->strangers);
    census_count_free(daemon->census_count);
    census_fini(&daemon->census);
    if (daemon->redis)
        redis_free(daemon->redis); /* tells the others that their commands are lost */
    l2_free(daemon->l2);
    if (daemon->feed)
        feed_free(daemon->feed);
    subscriptions_free(daemon->subscriptions);
    if (daemon->publish)
        publish_free(daemon->publish);
    for (size_t i = 0; i < 3; i++) {
        if (daemon->signals[i])
            event_free(daemon->signals[i]);
    }
    if (daemon->base)
        event_base_free(daemon->base);
}

/* What the store or the table's size contradict is for the configuration to mend; a socket that another instance
 * serves may be free tomorrow. */
static int exit_code_of(const struct daemon *daemon, int code)
{
    bool contradicted = code == PERMTAB_E_CONFLICT || code == PERMTAB_E_LIMIT || code == PERMTAB_E_INVALID;
    return daemon->listening && contradicted ? EXIT_CONFIGURATION : EXIT_TRANSIENT;
}

static int serve(struct daemon *daemon, struct failure *failure)
{
    int code = start(daemon, failure);
    if (code == 0) {
        log_info("permtabd " PERMTAB_VERSION ": serving %s from revision %" PRIu64, daemon->config.socket,
                 publish_position(daemon->publish).revision);
        if (daemon->demo)
            demo_print(daemon->demo, &daemon->config, stdout);
        notify_supervisor("READY=1");
        if (event_base_dispatch(daemon->base) < 0)
            code = failure_set(failure, PERMTAB_E_SYSTEM, "the event loop broke off");
        notify_supervisor("STOPPING=1");
    }
    stop(daemon);
    return code;
}

/* What the arguments ask for; on failure `failure` says why. */
static int run(struct daemon *daemon, const struct arguments *arguments, struct failure *failure)
{
    int code;
    if (arguments->test) {
        config_print(&daemon->config, stdout);
        return 0;
    }
    if (arguments->demo && (code = demo_new(&daemon->demo, &daemon->config, failure)) < 0)
        return code;
    if (!arguments->migrate)
        return serve(daemon, failure);
    code = migrate(&daemon->config, failure);
    if (code == 0)
        (void)puts("permtabd: the schema is up to date");
    return code;
}

int main(int count, char **words)
{
    struct arguments arguments = {0};
    struct failure failure = {0};
    struct daemon daemon = {0};
    enum log_level level = LOG_LEVEL_INFO;
    int status = read_arguments(count, words, &arguments);
    if (status >= 0)
        return status;
    daemon.config_path = arguments.config_path;
    if (config_load(&daemon.config, arguments.config_path, &failure) < 0) {
        (void)fprintf(stderr, "permtabd: %s\n", failure.text);
        return EXIT_CONFIGURATION;
    }
    if (log_level_parse(daemon.config.log_level, &level) == 0)
        log_level_set(level);
    int code = run(&daemon, &arguments, &failure);
    if (code < 0)
        (void)fprintf(stderr, "permtabd: %s\n", failure.text);
    demo_free(daemon.demo);
    config_fini(&daemon.config);
    return code < 0 ? exit_code_of(&daemon, code) : EXIT_FINE;
}
