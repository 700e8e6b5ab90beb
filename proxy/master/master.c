/* The master's life: signals and the worker's messages, by poll, in one thread.
 *
 *     sockets and locks → fork → wait → { a death: fork again | SIGHUP: reload | SIGTERM: tell, wait, leave }
 *
 * It stays small because it must not die: it holds what outlives a worker, and nothing of what can go wrong (peers,
 * the store, the table) is here. */
#include "proxy/master/master.h"

#include "proxy/base/clock.h"
#include "proxy/base/log.h"
#include "proxy/keys/keys.h"
#include "proxy/master/notify.h"
#include "proxy/master/private.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define WAIT_FOR_OTHER_NS (5000 * MS) /* for an instance that ends to be gone */
#define LOOK_AGAIN_MS     20
#define DEAF_MOST         100u /* turns in a row in which signals cannot be read, before it gives up */
#define KEYS_NAME         "permtab-keys"
#define AFTER_GRACE_MS    5000u /* what a stop may take after stop_grace, for the supervisor */

/* ---- signals ------------------------------------------------------------------------------------------------- */

/* They are blocked and read, so that none is lost, process 1 of a container has them too, and handlers need no care. */
static int block_signals(struct master *master, struct failure *failure)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGHUP);
    (void)sigaddset(&set, SIGCHLD);
    (void)signal(SIGCHLD, SIG_DFL); /* if it was ignored, the kernel would collect our children */
    if (sigprocmask(SIG_BLOCK, &set, &master->before) == 0)
        master->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    /* What the worker is to have is not blocked for it, whoever started us blocked it. */
    (void)sigdelset(&master->before, SIGTERM);
    (void)sigdelset(&master->before, SIGINT);
    (void)sigdelset(&master->before, SIGHUP);
    (void)sigdelset(&master->before, SIGCHLD);
    return master->signals < 0 ? failure_set(failure, PERMTAB_E_SYSTEM, "signals: %s", strerror(errno)) : 0;
}

static void begin_stop(struct master *master, uint64_t now_ns, int number)
{
    char state[128];
    if (master->worker.pid == 0) {
        log_info("permtabd: stopping on signal %d; no worker is there", number);
        master->done = true;
        return;
    }
    master_stop_worker(master, now_ns, number);
    master->stopping = true;
    (void)snprintf(state, sizeof state, "STOPPING=1\nEXTEND_TIMEOUT_USEC=%" PRIu64,
                   (master->config->stop_grace_ms + AFTER_GRACE_MS) * 1000);
    notify_supervisor(state);
}

/* A master that hears no signals cannot be told to end, and poll says at once, for ever, that there is one to be read:
 * it ends, and whoever keeps it up begins one that hears. */
static void is_deaf(struct master *master, uint64_t now_ns, int error)
{
    if (++master->deaf_turns < DEAF_MOST)
        return;
    log_error("permtabd: signals cannot be read: %s; it ends", strerror(error));
    (void)close(master->signals);
    master->signals = -1;
    if (!master->stopping)
        begin_stop(master, now_ns, SIGTERM);
}

static void hear_signals(struct master *master, uint64_t now_ns)
{
    struct signalfd_siginfo info;
    ssize_t got;
    if (master->signals < 0)
        return;
    while ((got = read(master->signals, &info, sizeof info)) == (ssize_t)sizeof info) {
        switch (info.ssi_signo) {
        case SIGTERM:
        case SIGINT:
            begin_stop(master, now_ns, (int)info.ssi_signo);
            break;
        case SIGHUP:
            master->reload_wanted = true;
            break;
        default: /* SIGCHLD: master_reap looks anyway */
            break;
        }
    }
    if (got < 0 && errno != EAGAIN && errno != EINTR)
        is_deaf(master, now_ns, errno);
    else
        master->deaf_turns = 0;
}

/* ---- sockets ------------------------------------------------------------------------------------------------- */

/* Waits for a moment. True when it was told to stop. */
static bool told_to_stop(struct master *master, int ms)
{
    struct pollfd wait = {.fd = master->signals, .events = POLLIN};
    if (poll(&wait, 1, ms) > 0)
        hear_signals(master, clock_ns());
    return master->done;
}

/* Opens one socket. Whoever serves it may be about to end: a dying worker keeps its sockets for as long as the kernel
 * takes to free its memory. */
static int open_socket(struct master *master, struct bound_socket *out, const char *path,
                       struct failure *failure)
{
    uint64_t deadline = clock_ns() + WAIT_FOR_OTHER_NS;
    struct bound_socket_options options = {
        .path = path,
        .mode = master->config->socket_mode,
        .backlog = master_backlog(master->config),
        .inherited = &master->inherited,
    };
    for (bool said = false;; said = true) {
        bool busy;
        int code = bound_socket_open(out, &options, &busy, failure);
        if (code == 0 || !busy || clock_ns() >= deadline)
            return code;
        if (!said)
            log_info("permtabd: %s; waiting for it to end", failure->text);
        if (told_to_stop(master, LOOK_AGAIN_MS))
            return 0;
    }
}

/* ---- the keys ------------------------------------------------------------------------------------------------ */

/* Makes the memory in which workers note what is asked for, or takes what the supervisor has kept of the last instance.
 * Without one all works, and a new worker does not know what to read first. */
static void take_keys(struct master *master)
{
    int kept = inherited_named(&master->inherited, KEYS_NAME);
    if (kept >= 0 && keys_memfd_is_ours(kept)) {
        master->keys = kept;
        return;
    }
    if (kept >= 0) {
        log_warning("permtabd: the stored keys are not ours: new ones are made");
        notify_supervisor("FDSTOREREMOVE=1\nFDNAME=" KEYS_NAME);
        (void)close(kept);
    }
    if (keys_memfd_new(&master->keys) < 0) {
        master->keys = -1;
        log_warning("permtabd: no memory for keys, so workers begin without: %s", strerror(errno));
        return;
    }
    notify_supervisor_store(KEYS_NAME, master->keys);
}

static int open_all(struct master *master, struct failure *failure)
{
    const struct config *config = master->config;
    int code = open_socket(master, &master->socket, config->socket, failure);
    if (code == 0 && config->ops_socket[0] && !master->done)
        code = open_socket(master, &master->ops_socket, config->ops_socket, failure);
    if (code == 0 && !master->done)
        take_keys(master);
    if (code == 0 && !master->done)
        code = inherited_refuse_rest(&master->inherited, failure);
    return code;
}

/* ---- the supervisor's watchdog ------------------------------------------------------------------------------- */

static uint64_t read_watchdog(void)
{
    const char *pid = getenv("WATCHDOG_PID"), *period = getenv("WATCHDOG_USEC");
    if (!period || (pid && strtol(pid, NULL, 10) != getpid()))
        return 0;
    uint64_t us = strtoull(period, NULL, 10);
    return us > UINT64_MAX / 1000 ? 0 : us * 1000;
}

/* Tells the supervisor that all is well. While no worker serves that means: the next one is under way, or its time has
 * not come. A loop that does not turn is kept from it, and a start that does not go on. */
static void feed_watchdog(struct master *master, uint64_t now_ns)
{
    if (master->watchdog_ns == 0 || now_ns < master->watched_ns + master->watchdog_ns / 2)
        return;
    master->watched_ns = now_ns;
    if (!master_worker_hangs(master, now_ns))
        notify_supervisor("WATCHDOG=1");
}

/* ---- the loop ------------------------------------------------------------------------------------------------ */

static int until(uint64_t due_ns, uint64_t now_ns)
{
    if (due_ns == UINT64_MAX)
        return -1;
    uint64_t ms = due_ns <= now_ns ? 0 : (due_ns - now_ns + MS - 1) / MS;
    return ms > INT32_MAX ? INT32_MAX : (int)ms;
}

static void wait_for_something(struct master *master)
{
    struct pollfd ears[] = {{.fd = master->signals, .events = POLLIN},
                            {.fd = master->worker.channel, .events = POLLIN}};
    uint64_t now_ns = clock_ns(), due = master_worker_due(master);
    if (master->signals < 0 && now_ns + LOOK_AGAIN_MS * MS < due) /* nothing wakes it when a worker has died */
        due = now_ns + LOOK_AGAIN_MS * MS;
    if (master->watchdog_ns != 0 && master->watched_ns + master->watchdog_ns / 2 < due)
        due = master->watched_ns + master->watchdog_ns / 2;
    (void)poll(ears, 2, until(due, now_ns));
}

static void turn(struct master *master, struct failure *failure)
{
    uint64_t now_ns = clock_ns();
    hear_signals(master, now_ns);
    master_hear_worker(master, now_ns);
    master_reap(master, now_ns, failure);
    if (!master->done)
        master_watch_worker(master, now_ns, failure);
    if (!master->done)
        master_reload(master, now_ns, failure);
    feed_watchdog(master, now_ns);
    master->turn_ns = now_ns;
}

int master_run(const struct master_options *options, struct failure *failure)
{
    struct master master = {.options = options,
                            .config = options->config,
                            .pid = getpid(),
                            .signals = -1,
                            .keys = -1,
                            .socket = {.descriptor = -1, .lock = -1},
                            .ops_socket = {.descriptor = -1, .lock = -1},
                            .worker = {.channel = -1},
                            .watchdog_ns = read_watchdog()};
    int code = PERMTAB_E_SYSTEM;
    failure->code = 0;
    /* 1. Nobody of our uid may look into this process, nor into a worker between its birth and its first act. */
    if (prctl(PR_SET_DUMPABLE, 0) < 0) {
        code = failure_set(failure, code, "PR_SET_DUMPABLE is refused");
        goto out;
    }
    /* 2. Signals, before there is anything to wait for. */
    if ((code = block_signals(&master, failure)) < 0 ||
        (code = inherited_read(&master.inherited, failure)) < 0)
        goto out;
    /* 3. The sockets, and what else was passed to us: a second instance is refused before it has changed anything.
     *    Clients that connect now wait in the backlog. */
    if ((code = open_all(&master, failure)) < 0)
        goto out;
    failure->code = 0; /* that of waiting for another instance */
    /* 4. The first worker. */
    master.turn_ns = clock_ns();
    if (!master.done)
        master_begin_worker(&master, master.turn_ns, failure);
    while (!master.done) {
        wait_for_something(&master);
        turn(&master, failure);
    }
    if (master.signals < 0) /* the log says why it ends */
        master.status = EXIT_TRANSIENT;
out:
    if (code < 0)
        master.status = code == PERMTAB_E_INVALID ? EXIT_CONFIGURATION : EXIT_TRANSIENT;
    bound_socket_fini(&master.ops_socket);
    bound_socket_fini(&master.socket);
    inherited_fini(&master.inherited);
    if (master.has_previous)
        config_fini(&master.previous);
    int descriptors[] = {master.keys, master.signals};
    for (size_t i = 0; i < sizeof descriptors / sizeof descriptors[0]; i++) {
        if (descriptors[i] >= 0)
            (void)close(descriptors[i]);
    }
    return master.status;
}
