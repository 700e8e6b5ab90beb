/* The master: holds the sockets, keeps one worker alive, talks to the supervisor, and to nobody else. It maps no table,
 * and what peers send never reaches it. */
#ifndef PERMTAB_MASTER_MASTER_H
#define PERMTAB_MASTER_MASTER_H

#include "proxy/base/failure.h"
#include "proxy/config/config.h"

#include <stdbool.h>
#include <stdint.h>

/* Exit codes, of the worker and of the daemon. */
enum { EXIT_FINE = 0, EXIT_TRANSIENT = 1, EXIT_CONFIGURATION = 2, EXIT_USAGE = 64 };

#define WORKER_DEATH_SIZE 320

/* What a worker is given: read in the new process, right after the fork. */
struct worker_start {
    struct config *config;  /* the process' own: the worker frees it */
    int channel;            /* to the master */
    int socket, ops_socket; /* listening; -1: there is none */
    int keys;               /* the memfd of the keys; -1: there is none */
    bool passed_on;         /* the sockets are inherited, so somebody will serve them after this daemon */
    uint64_t number;        /* 1: no worker was begun before */
    uint64_t watchdog_ms;   /* the supervisor wants to hear of the loop so often; 0: never */
    char last_death[WORKER_DEATH_SIZE]; /* how the last worker that was not told to end did end; or "" */
};

/* Serves until the master says stop, and returns an exit code. Runs in a process of its own. */
typedef int (*master_work_fn)(void *context, const struct worker_start *start);
/* Changes a configuration that was just loaded. */
typedef int (*master_adjust_fn)(void *context, struct config *config, struct failure *failure);
/* The first worker serves. In the master. */
typedef void (*master_serves_fn)(void *context, const struct config *config);

struct master_options {
    struct config *config; /* borrowed, and replaced in its place when it is loaded again */
    const char *config_path;
    master_work_fn work;
    master_adjust_fn adjust;
    master_serves_fn serves;
    void *context;
};

/* Serves until it is told to stop, and returns the exit code. `failure` says why when that is not 0 and no line of the
 * log has said it; else its code is 0. To be called by the process' only thread. */
int master_run(const struct master_options *options, struct failure *failure);

#endif
