/* The configuration: one table (options.c) drives parsing, defaults, environment, `-t`, the printed configuration
 * and docs/CONFIGURATION.md. Names are those of conf/permtab.conf. */
#ifndef PERMTAB_CONFIG_CONFIG_H
#define PERMTAB_CONFIG_CONFIG_H

#include "proxy/base/failure.h"
#include "proxy/names/scope.h"

#include <stdbool.h>
#include <stdint.h>

struct config {
    char *store;               /* URL */
    char *store_password_file; /* or "" */
    char *store_password;      /* read from that file; never printed */
    bool store_migrate;        /* apply missing migrations at start, and mend the schema */
    uint32_t store_threads;    /* connections for fills and other reads */
    uint32_t store_write_threads;
    uint64_t write_timeout_ms, apply_timeout_ms;
    uint64_t store_timeout_ms;
    char *store_replica;       /* URL of a replica that fills may read from, or "" */
    char *redis;               /* URL, or "" for none */
    char *redis_password_file; /* or "" */
    char *redis_password;      /* read from that file; never printed */
    char *redis_prefix;
    uint64_t redis_timeout_ms;
    uint64_t redis_ping_ms;
    bool l2; /* keep in Redis, too, what was read from the store */
    uint64_t l2_ttl_ms;
    uint64_t strangers_max;        /* users that the filter of unknown users has room for; 0: no filter */
    uint32_t audit_entries;        /* a second; 0: no auditor */
    uint64_t invalidation_history; /* invalidations remembered */
    uint32_t cleanup_budget;       /* per cent of Redis' time that a clean-up may take */
    char *socket;
    char *ops_socket;
    uint32_t socket_mode; /* octal in the file, "0666" */
    struct scope_types scope_types;
    uint32_t permissions_max;
    uint64_t table_entries;
    uint64_t table_sets;
    uint64_t table_folds;
    uint64_t table_memory_max; /* bytes */
    double hit_rate_target;    /* below it the table grows */
    bool warm_at_start;        /* fill what was asked for before */
    uint64_t warm_interval_ms; /* and again each so long; 0: never */
    uint32_t warm_budget;      /* per cent of the store's time that reads of the warm-up may take */
    uint64_t poll_interval_ms;
    uint64_t max_staleness_ms;
    uint64_t change_retention_ms;
    uint64_t change_retention_rows;
    uint32_t clients_max;
    uint32_t client_requests_max; /* in flight, one client */
    uint64_t client_idle_ms;
    uint64_t request_timeout_ms;
    uint64_t stop_grace_ms;     /* how long the daemon goes on after SIGTERM */
    uint64_t worker_timeout_ms; /* a worker that is silent for so long is killed; 0: never */
    char *log_level;
};

/* Defaults, then the file (NULL: none), then PERMTAB_… of the environment; then checked as a whole. The failure
 * names file, line and option. PERMTAB_E_SYNTAX, _INVALID, _SYSTEM. */
int config_load(struct config *out, const char *path, struct failure *failure) PERMTAB_MUST_CHECK;
void config_fini(struct config *config);
/* Gives one option, which must exist, another value, as the file would. */
int config_set(struct config *config, const char *name, const char *text,
               struct failure *failure) PERMTAB_MUST_CHECK;
/* How a change of an option takes effect while the daemon runs. */
enum config_reload {
    CONFIG_WORKER, /* in a new worker */
    CONFIG_LIVE,   /* at once */
    CONFIG_FIXED,  /* not at all: the daemon must be restarted */
};
struct config_change {
    const char *name;
    enum config_reload reload;
    const char *before,
        *after; /* as config_set reads them; a secret that differs has its file's name twice */
};
typedef void (*config_change_fn)(void *context, const struct config_change *change);
/* Calls `changed` for each option whose value differs, in the order of the table. */
void config_compare(const struct config *before, const struct config *after, config_change_fn changed,
                    void *context);
/* Prints the effective configuration in the file's own syntax, secrets left out. */
void config_print(const struct config *config, void *stdio_file);

#endif
