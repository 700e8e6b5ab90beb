/* The master's state, for its own files. */
#ifndef PERMTAB_MASTER_PRIVATE_H
#define PERMTAB_MASTER_PRIVATE_H

#include "proxy/base/pause.h"
#include "proxy/base/trouble.h"
#include "proxy/master/inherited.h"
#include "proxy/master/master.h"
#include "proxy/master/sockets.h"

#include <signal.h>
#include <sys/types.h>

#define MS 1000000ull /* in nanoseconds */

/* The worker, as its master sees it. */
struct child {
    pid_t pid;                       /* 0: there is none */
    int channel;                     /* -1: it has closed its end */
    uint64_t begun_ns;               /* CLOCK_MONOTONIC */
    uint64_t heard_ns;               /* of its last message */
    uint64_t kill_ns;                /* it is killed when it is still there; 0: never */
    bool ready;                      /* it accepts clients */
    bool answers;                    /* and its table has had a lease */
    bool migrating;                  /* may take as long as it takes */
    uint64_t extend_ns;              /* while it migrates: when the supervisor is to be asked for more time */
    bool leaving;                    /* was told to make room for another */
    bool told;                       /* that it is to end */
    bool killed;                     /* by us */
    char failure[FAILURE_TEXT_SIZE]; /* why it could not start, as it said */
};

struct master {
    const struct master_options *options;
    struct config *config;
    pid_t pid;
    int signals;         /* signalfd; -1: given up */
    unsigned deaf_turns; /* in a row: it could not be read */
    sigset_t before;     /* the mask that we were started with, for the worker */
    struct inherited inherited;
    struct bound_socket socket, ops_socket;
    int keys;
    struct child worker;
    uint64_t begun;        /* workers, so far */
    bool served;           /* one of them was ready */
    unsigned quick_deaths; /* in a row: workers that served for less than a second */
    struct pause pause;    /* before the next worker */
    struct trouble dying;
    char last_death[WORKER_DEATH_SIZE];
    bool reload_wanted;
    bool has_previous;      /* the configuration is on trial: */
    struct config previous; /* the last one that served */
    bool stopping;
    bool done;
    int status;
    uint64_t turn_ns;                 /* begin of the last turn */
    uint64_t watchdog_ns, watched_ns; /* the supervisor wants to hear so often, 0: never; it heard then */
};

/* Connections that may wait at a socket. */
static inline uint32_t master_backlog(const struct config *config)
{
    return config->clients_max > 4096 ? config->clients_max : 4096;
}

/* ---- workers.c ------------------------------------------------------------------------------------------------ */

/* Forks a worker, or sets a pause before the next attempt. */
void master_begin_worker(struct master *master, uint64_t now_ns, struct failure *failure);
/* Reads what the worker has told, or some of it, when that is much: the rest is for the next turn. */
void master_hear_worker(struct master *master, uint64_t now_ns);
/* Collects all children that have ended, ours or such as process 1 is given. */
void master_reap(struct master *master, uint64_t now_ns, struct failure *failure);
/* Kills a worker that has not been heard for too long, and begins one when a pause is over. */
void master_watch_worker(struct master *master, uint64_t now_ns, struct failure *failure);
/* The longest time between two turns that is no reason to think that the master was away; 0: none is too long. */
uint64_t master_tick_ns(const struct master *master);
/* When master_watch_worker has to look again; UINT64_MAX: never. */
uint64_t master_worker_due(const struct master *master);
/* Whether the supervisor's watchdog is to know that the worker says nothing. */
bool master_worker_hangs(const struct master *master, uint64_t now_ns);
/* Tells the worker to end: for good, on a signal; or for another one. One that does not serve yet is killed when it is
 * told for the second time. */
void master_stop_worker(struct master *master, uint64_t now_ns, int signal);
void master_replace_worker(struct master *master, uint64_t now_ns);

/* ---- reload.c ------------------------------------------------------------------------------------------------- */

/* Loads the configuration again, if that is wanted and the worker is in no change. */
void master_reload(struct master *master, uint64_t now_ns, struct failure *failure);
/* With the configuration on trial checks are answered. */
void master_keep_configuration(struct master *master);
/* A worker died before it came to that: back to the one before. False when there is none. */
bool master_restore_configuration(struct master *master, const struct child *worker);

#endif
