/* The one worker: its birth, its death, and the pause between two.
 *
 * A worker shares nothing with its master but listening sockets and the channel, and it is the only one that writes
 * its table. So after a death nothing is mended: another one begins from the store. */
#include "proxy/master/private.h"

#include "proxy/base/clock.h"
#include "proxy/base/log.h"
#include "proxy/master/channel.h"
#include "proxy/master/notify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAUSE_FIRST_NS  (100 * MS)
#define PAUSE_MOST_NS   (5000 * MS)
#define QUICK_NS        (1000 * MS) /* serving for less is dying quickly */
#define QUICK_DEATHS    5u          /* in a row, and only then there are pauses */
#define STOP_NS         (4000 * MS) /* the worker leaves its threads behind after 2 s */
#define SILENT_STARTS   10u         /* a start may be silent for so many times as long as a worker that serves */
#define EXTEND_NS       (30000 * MS) /* while it migrates the supervisor is to have this much longer, … */
#define EXTEND_EVERY_NS (2000 * MS)  /* … and is asked again after this */
#define HEARD_A_TURN    64u          /* messages: signals and the supervisor wait meanwhile */
#define HEARD_AT_LAST   4096u        /* of a dead worker: more than the channel holds */

/* ---- birth --------------------------------------------------------------------------------------------------- */

/* The new process' first acts, in this order: nobody may look into it; it dies with its master, even one that died
 * before this line; and it lets go of what is the master's alone, the locks above all, which end with the master. */
static void become_worker(struct master *master)
{
    if (prctl(PR_SET_DUMPABLE, 0) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != master->pid)
        _exit(EXIT_TRANSIENT);
    bound_socket_forget_lock(&master->socket);
    bound_socket_forget_lock(&master->ops_socket);
    (void)close(master->signals);
    (void)prctl(PR_SET_NAME, "permtabd-worker");
    /* A terminal and a supervisor send these to everybody: the master hears them, and tells. */
    (void)signal(SIGINT, SIG_IGN);
    (void)signal(SIGTERM, SIG_IGN);
    (void)signal(SIGHUP, SIG_IGN);
    (void)sigprocmask(SIG_SETMASK, &master->before, NULL);
}

/* Never returns. */
static void work(struct master *master, const int ends[2])
{
    struct worker_start start = {
        .config = master->config,
        .channel = ends[1],
        .socket = master->socket.descriptor,
        .ops_socket = master->ops_socket.descriptor,
        .keys = master->keys,
        .passed_on = master->socket.inherited,
        .number = master->begun,
        .watchdog_ms = master->watchdog_ns / MS,
    };
    become_worker(master);
    (void)close(ends[0]);
    memcpy(start.last_death, master->last_death, sizeof start.last_death);
    exit(master->options->work(master->options->context, &start));
}

/* Says how the start failed: to whoever started us, if that was the first one. */
static void did_not_begin(struct master *master, uint64_t now_ns, const char *what, struct failure *failure)
{
    if (!master->served) {
        master->done = true;
        master->status = EXIT_TRANSIENT;
        (void)failure_set(failure, PERMTAB_E_SYSTEM, "%s", what);
        return;
    }
    (void)trouble_happens(&master->dying, LOG_LEVEL_ERROR, now_ns, "permtabd: %s", what);
    pause_begins(&master->pause, now_ns, PAUSE_FIRST_NS, PAUSE_MOST_NS);
}

void master_begin_worker(struct master *master, uint64_t now_ns, struct failure *failure)
{
    char what[128];
    int ends[2];
    if (channel_pair(ends) < 0) {
        (void)snprintf(what, sizeof what, "no channel to a worker: %s", strerror(errno));
        did_not_begin(master, now_ns, what, failure);
        return;
    }
    master->begun++;
    (void)fflush(NULL); /* or it would be written twice */
    pid_t pid = fork();
    if (pid == 0)
        work(master, ends);
    (void)close(ends[1]);
    if (pid < 0) {
        (void)close(ends[0]);
        (void)snprintf(what, sizeof what, "no worker can be forked: %s", strerror(errno));
        did_not_begin(master, now_ns, what, failure);
        return;
    }
    master->worker = (struct child){.pid = pid, .channel = ends[0], .begun_ns = now_ns, .heard_ns = now_ns};
    if (master->begun > 1)
        log_info("permtabd: worker %d begins, number %" PRIu64, (int)pid, master->begun);
}

/* ---- what it tells ------------------------------------------------------------------------------------------- */

static void serves(struct master *master, uint64_t now_ns)
{
    bool first = !master->served;
    char state[64];
    master->worker.ready = master->served = true;
    master->worker.migrating = false;
    if (master->quick_deaths <= QUICK_DEATHS)
        pause_ends(&master->pause);
    trouble_ends(&master->dying, now_ns, "permtabd: a worker serves again");
    if (master->stopping)
        return;
    (void)snprintf(state, sizeof state, "READY=1\nSTATUS=Worker %d serves.", (int)master->worker.pid);
    notify_supervisor(state);
    if (first)
        master->options->serves(master->options->context, master->config);
}

static void hear(struct master *master, const struct channel_message *message, uint64_t now_ns)
{
    struct child *worker = &master->worker;
    worker->heard_ns = now_ns;
    switch (message->kind) {
    case CHANNEL_READY:
        serves(master, now_ns);
        break;
    case CHANNEL_ANSWERS:
        worker->answers = true;
        master_keep_configuration(master);
        break;
    case CHANNEL_BEAT:
        worker->migrating = false;
        break;
    case CHANNEL_MIGRATING:
        worker->migrating = worker->kill_ns == 0 || worker->told;
        worker->extend_ns = now_ns + EXTEND_EVERY_NS;
        break;
    case CHANNEL_FAILED:
        (void)snprintf(worker->failure, sizeof worker->failure, "%.500s", message->text);
        break;
    case CHANNEL_CLOSED:
        if (master->stopping) {
            bound_socket_close(&master->ops_socket);
            bound_socket_close(&master->socket);
        }
        break;
    default: /* garbage */
        break;
    }
}

/* A worker that writes without end, whatever is wrong with it, keeps its master from nothing else. */
static void hear_some(struct master *master, uint64_t now_ns, unsigned most)
{
    struct child *worker = &master->worker;
    struct channel_message message;
    int code = 1;
    for (unsigned heard = 0; heard < most && worker->channel >= 0 && code > 0; heard++) {
        code = channel_hear(worker->channel, &message);
        if (code > 0)
            hear(master, &message, now_ns);
    }
    if (worker->channel < 0 || code >= 0)
        return;
    /* It ends. If not, it has lost its mind. */
    (void)close(worker->channel);
    worker->channel = -1;
    worker->migrating = false;
    if (worker->kill_ns == 0)
        worker->kill_ns = now_ns + STOP_NS;
}

void master_hear_worker(struct master *master, uint64_t now_ns)
{
    hear_some(master, now_ns, HEARD_A_TURN);
}

/* ---- death --------------------------------------------------------------------------------------------------- */

static void describe(const struct child *worker, int status, uint64_t now_ns, char out[WORKER_DEATH_SIZE])
{
    char how[64];
    uint64_t age_ms = (now_ns - worker->begun_ns) / MS;
    if (WIFSIGNALED(status))
        (void)snprintf(how, sizeof how, "signal %d, %s", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        (void)snprintf(how, sizeof how, "code %d", WEXITSTATUS(status));
    (void)snprintf(out, WORKER_DEATH_SIZE, "%s%s after %" PRIu64 ".%03" PRIu64 " s%s%.200s", how,
                   worker->killed ? " of its master" : "", age_ms / 1000, age_ms % 1000,
                   worker->ready ? "" : ", before it served", worker->failure[0] ? ": " : "");
    size_t used = strlen(out);
    (void)snprintf(out + used, WORKER_DEATH_SIZE - used, "%.200s", worker->failure);
}

static int code_of(int status)
{
    return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_TRANSIENT;
}

/* The first worker of all: what is wrong with it is wrong with the daemon. */
static void never_served(struct master *master, const struct child *worker, int status,
                         struct failure *failure)
{
    master->done = true;
    master->status = code_of(status) == EXIT_FINE ? EXIT_TRANSIENT : code_of(status);
    (void)failure_set(failure, PERMTAB_E_SYSTEM, "%s",
                      worker->failure[0] ? worker->failure : master->last_death);
}

/* Decides when the next one begins. */
static void begin_another(struct master *master, const struct child *worker, uint64_t now_ns,
                          struct failure *failure)
{
    bool quick = worker->ready && now_ns - worker->begun_ns < QUICK_NS;
    master->quick_deaths = quick ? master->quick_deaths + 1 : 0;
    if (worker->ready && !quick)
        pause_ends(&master->pause);
    if (worker->ready && master->quick_deaths <= QUICK_DEATHS) {
        log_error("permtabd: worker %d died: %s; another one begins", (int)worker->pid, master->last_death);
        master_begin_worker(master, now_ns, failure);
        return;
    }
    pause_begins(&master->pause, now_ns, PAUSE_FIRST_NS, PAUSE_MOST_NS);
    (void)trouble_happens(&master->dying, LOG_LEVEL_ERROR, now_ns,
                          "permtabd: worker died: %s; another one begins after a pause", master->last_death);
}

static void ended(struct master *master, int status, uint64_t now_ns, struct failure *failure)
{
    struct child worker = master->worker;
    char state[WORKER_DEATH_SIZE + 32];
    if (worker.channel >= 0)
        (void)close(worker.channel);
    master->worker = (struct child){.channel = -1};
    bool as_told = (master->stopping || worker.leaving) && WIFEXITED(status);
    if (!as_told || WEXITSTATUS(status) != EXIT_FINE)
        describe(&worker, status, now_ns, master->last_death);
    if (master->stopping) {
        master->done = true;
        master->status = code_of(status);
        if (master->last_death[0] && (!as_told || master->status != EXIT_FINE))
            log_error("permtabd: worker %d died while it was to stop: %s", (int)worker.pid,
                      master->last_death);
        return;
    }
    if (worker.leaving) {
        if (!as_told)
            log_warning("permtabd: worker %d died while it was to leave: %s", (int)worker.pid,
                        master->last_death);
        master_begin_worker(master, now_ns, failure);
        return;
    }
    if (!master->served) {
        never_served(master, &worker, status, failure);
        return;
    }
    (void)snprintf(state, sizeof state, "STATUS=A worker died: %s", master->last_death);
    notify_supervisor(state);
    if (!worker.answers && master_restore_configuration(master, &worker))
        master_begin_worker(master, now_ns, failure);
    else
        begin_another(master, &worker, now_ns, failure);
}

void master_reap(struct master *master, uint64_t now_ns, struct failure *failure)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid != master->worker.pid)
            continue;        /* an orphan that process 1 was given */
        now_ns = clock_ns(); /* it may have died in this turn: its age and the pause begin after that */
        hear_some(master, now_ns, HEARD_AT_LAST);
        ended(master, status, now_ns, failure);
    }
}

/* ---- watching ------------------------------------------------------------------------------------------------ */

static uint64_t earlier(uint64_t one, uint64_t other)
{
    return one < other ? one : other;
}

uint64_t master_tick_ns(const struct master *master)
{
    uint64_t patience_ns = master->config->worker_timeout_ms * MS / 4;
    uint64_t watchdog_ns = master->watchdog_ns / 8;
    if (patience_ns == 0 || watchdog_ns == 0)
        return patience_ns + watchdog_ns;
    return earlier(patience_ns, watchdog_ns);
}

/* When a worker that says nothing is given up; UINT64_MAX: never. */
static uint64_t silent_until(const struct master *master)
{
    const struct child *worker = &master->worker;
    uint64_t timeout_ns = master->config->worker_timeout_ms * MS;
    if (worker->pid == 0 || worker->killed || worker->migrating || timeout_ns == 0)
        return UINT64_MAX;
    return worker->heard_ns + (worker->ready ? timeout_ns : timeout_ns * SILENT_STARTS);
}

bool master_worker_hangs(const struct master *master, uint64_t now_ns)
{
    const struct child *worker = &master->worker;
    uint64_t patience_ns = master->watchdog_ns / 2;
    if (worker->pid == 0 || worker->migrating)
        return false;
    return now_ns - worker->heard_ns > (worker->ready ? patience_ns : patience_ns * SILENT_STARTS);
}

uint64_t master_worker_due(const struct master *master)
{
    const struct child *worker = &master->worker;
    if (worker->pid == 0)
        return master->pause.until_ns;
    uint64_t due = silent_until(master), tick_ns = master_tick_ns(master);
    if (tick_ns != 0)
        due = earlier(due, master->turn_ns + tick_ns);
    if (worker->migrating)
        due = earlier(due, worker->extend_ns);
    return worker->kill_ns != 0 && !worker->killed && !worker->migrating ? earlier(due, worker->kill_ns)
                                                                         : due;
}

/* A supervisor gives a start, and a stop, so much time and no more, unless it is asked for more in time. */
static void ask_for_time(struct child *worker, uint64_t now_ns)
{
    char state[64];
    if (!worker->migrating || now_ns < worker->extend_ns)
        return;
    worker->extend_ns = now_ns + EXTEND_EVERY_NS;
    (void)snprintf(state, sizeof state, "EXTEND_TIMEOUT_USEC=%llu", EXTEND_NS / 1000);
    notify_supervisor(state);
}

static void kill_worker(struct master *master, const char *why)
{
    log_error("permtabd: worker %d is killed: %s", (int)master->worker.pid, why);
    master->worker.killed = true;
    (void)kill(master->worker.pid, SIGKILL);
}

void master_watch_worker(struct master *master, uint64_t now_ns, struct failure *failure)
{
    struct child *worker = &master->worker;
    /* A master that was stopped, or not given a processor, cannot say that nobody has spoken meanwhile. */
    if (master_tick_ns(master) != 0 && now_ns - master->turn_ns > 2 * master_tick_ns(master))
        worker->heard_ns = now_ns;
    if (worker->pid == 0) {
        if (!pause_lasts(&master->pause, now_ns) && !master->done)
            master_begin_worker(master, now_ns, failure);
        return;
    }
    if (worker->killed)
        return;
    ask_for_time(worker, now_ns);
    if (now_ns >= silent_until(master))
        kill_worker(master, worker->ready ? "its loop has not turned for worker_timeout"
                                          : "its start has not gone on for ten times worker_timeout");
    else if (worker->kill_ns != 0 && now_ns >= worker->kill_ns && !worker->migrating)
        kill_worker(master, "it was to end, and did not");
}

/* ---- telling it ---------------------------------------------------------------------------------------------- */

/* Tells it to end. A worker that was stopped (SIGSTOP) hears it, too. One that cannot be told is not waited for, also
 * when it says that it migrates. */
static void tell_to_end(struct master *master, enum channel_kind kind, const char *text)
{
    struct child *worker = &master->worker;
    if (worker->channel >= 0 && channel_tell(worker->channel, kind, text))
        worker->told = true;
    if (!worker->told)
        worker->migrating = false;
    (void)kill(worker->pid, SIGCONT);
}

void master_stop_worker(struct master *master, uint64_t now_ns, int signal)
{
    struct child *worker = &master->worker;
    char number[16];
    bool graceful = worker->ready && !worker->leaving && !master->stopping;
    if (master->stopping && !worker->ready) {
        if (!worker->killed)
            kill_worker(master, "it was told twice to end, and did not serve yet");
        return;
    }
    if (worker->migrating)
        log_info("permtabd: stopping on signal %d when the store's schema is what it has to be; a second signal "
                 "ends it at once",
                 signal);
    (void)snprintf(number, sizeof number, "%d", signal);
    worker->kill_ns = now_ns + STOP_NS + (graceful ? master->config->stop_grace_ms * MS : 0);
    tell_to_end(master, CHANNEL_STOP, number);
    if (!worker->ready) /* it hears it when it has started, and has nobody to be gracious to */
        tell_to_end(master, CHANNEL_STOP, number);
}

void master_replace_worker(struct master *master, uint64_t now_ns)
{
    master->worker.leaving = true;
    master->worker.kill_ns = now_ns + STOP_NS;
    tell_to_end(master, CHANNEL_LEAVE, "");
}
