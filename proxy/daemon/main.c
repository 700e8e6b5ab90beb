/* permtabd: the order of starting, serving, stopping. Every part is a struct of this one; nothing is global.
 *
 * A failure while starting ends the process with one line: exit code 2 when the configuration is to blame, 64 for
 * the command line, 1 when the next start may succeed. */
#include "client/wire/standard.h"
#include "client/wire/text.h"
#include "proxy/base/log.h"
#include "proxy/daemon/daemon.h"
#include "proxy/daemon/notify.h"

#include <event2/event.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define STOP_SECONDS 2

enum { EXIT_FINE = 0, EXIT_TRANSIENT = 1, EXIT_CONFIGURATION = 2, EXIT_USAGE = 64 };

struct arguments {
    const char *config_path;
    bool test, demo, migrate;
};

/* ---- command line ------------------------------------------------------------------------------------------------ */

static void print_usage(FILE *out)
{
    (void)fputs(
        "usage: permtabd [-c FILE] [-t] [--demo] [--migrate] [--version] [--help]\n"
        "\n"
        "  -c FILE     read the configuration from FILE; without it, defaults and PERMTAB_… variables\n"
        "  -t          check the configuration, print it, and exit\n"
        "  --demo      serve a small community from a temporary folder\n"
        "  --migrate   bring the store's schema up to date, mend it, and exit\n"
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

/* Prints a failure as one line, whatever it quotes of a configuration or a server. */
static void complain(const struct failure *failure)
{
    char text[FAILURE_TEXT_SIZE];
    (void)text_clean_line(text, sizeof text, failure->text, strlen(failure->text));
    (void)fprintf(stderr, "permtabd: %s\n", text);
}

/* ---- starting and stopping --------------------------------------------------------------------------------------- */

static int start(struct daemon *daemon, struct failure *failure)
{
    int code;
    /* 1. Nobody of our uid may look into this process or write through /proc: before there is anything to write. */
    if (prctl(PR_SET_DUMPABLE, 0) < 0)
        return failure_set(failure, PERMTAB_E_SYSTEM, "PR_SET_DUMPABLE is refused");
    /* 2. Descriptors, before any is made: clients get what store, Redis and files leave. */
    if ((code = descriptors_init(&daemon->descriptors, &daemon->config, failure)) < 0)
        return code;
    /* 3. The loop, because sockets and threads report to it. It does not turn before everything is there. */
    if ((code = daemon_start_loop(daemon, failure)) < 0)
        return code;
    /* 4. The sockets, before the store: a second instance is refused before it has changed anything. Clients that
     *    connect now wait in the backlog. */
    if ((code = daemon_start_listening(daemon, failure)) < 0)
        return code;
    daemon->phase = DAEMON_STARTING;
    /* 5. The store and the table: the table needs the store's id, its revision and its catalogue. */
    if ((code = daemon_open_store(daemon, failure)) < 0)
        return code;
    /* 6. Threads and the feed, which writes into the table. Its first poll grants the first lease. */
    if ((code = daemon_start_helpers(daemon, failure)) < 0)
        return code;
    /* 7. Redis, with the parts that work there and for the fleet. */
    if ((code = daemon_start_redis(daemon, failure)) < 0)
        return code;
    /* 8. Questions and fills, which use Redis when it is there; the queue in Redis, which asks questions. */
    if ((code = daemon_start_answering(daemon, failure)) < 0 ||
        (code = daemon_start_delayed(daemon, failure)) < 0)
        return code;
    /* 9. The watching parts, the auditor and the subscriptions. They know all parts above; the sessions know them. */
    if ((code = daemon_start_watching(daemon, failure)) < 0)
        return code;
    /* 10. The sessions, which ask all parts above. */
    return daemon_start_serving(daemon, failure);
}

/* Ends the process when the stop takes too long: it waits for threads that wait for the store, perhaps for
 * store_timeout and longer. By then everything that others see of the end has been done, and a statement under way
 * may end as it does when a process is killed: the store keeps what was committed and nothing else. Nothing is
 * shared with the threads that are left behind, so nothing is taken from under them. */
static void *leave_in_time(void *context)
{
    struct timespec left = {.tv_sec = STOP_SECONDS};
    (void)context;
    while (nanosleep(&left, &left) < 0)
        continue;
    log_warning("permtabd: the store has not answered for %d s: what it was asked is left to it",
                STOP_SECONDS);
    _exit(EXIT_FINE);
}

static void leave_in_any_case(void)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, leave_in_time, NULL) == 0)
        (void)pthread_detach(thread);
}

/* Stops the parts in reverse, with readers first: a part that ends after the lease cannot mislead anybody. */
static void stop(struct daemon *daemon, bool served)
{
    if (daemon->parts.publisher)
        publisher_end_lease(daemon->parts.publisher, OWN_FAULT);
    listener_free(daemon->ops_listener);
    listener_free(daemon->listener);
    server_fini(&daemon->server);
    if (served && !daemon->demo) /* otherwise an exit code, or a folder to be removed, comes after it */
        leave_in_any_case();
    ops_free(daemon->ops);
    delayed_free(daemon->parts.delayed); /* before all that it asks and waits for */
    answering_end(daemon->parts.answering);
    audit_free(daemon->parts.audit);
    invalidations_free(daemon->parts.invalidations);
    cleanup_free(daemon->parts.cleanup);
    writes_free(daemon->parts.writes);
    /* Calls back the last jobs, which know the feed, the fleet and the counters. */
    store_threads_free(daemon->parts.pool);
    store_threads_free(daemon->replica);
    fleet_free(daemon->parts.fleet); /* a write that has just ended was announced over it */
    answering_free(daemon->parts.answering);
    redis_free(daemon->parts.redis); /* tells the others that their commands are lost */
    l2_free(daemon->l2);
    feed_free(daemon->parts.feed);
    subscriptions_free(daemon->parts.subscriptions);
    publisher_free(daemon->parts.publisher);
    for (size_t i = 0; i < 3; i++) {
        if (daemon->signals[i])
            event_free(daemon->signals[i]);
    }
    if (daemon->grace)
        event_free(daemon->grace);
    if (daemon->parts.base)
        event_base_free(daemon->parts.base);
}

/* The exit code for a failure. One that the store or the table's size cause is mended in the configuration; a
 * socket that another instance serves may be free at the next start. */
static int exit_code_of(const struct daemon *daemon, int code)
{
    bool contradicted = code == PERMTAB_E_CONFLICT || code == PERMTAB_E_LIMIT || code == PERMTAB_E_INVALID;
    switch (daemon->phase) {
    case DAEMON_PREPARING: /* a limit is that of descriptors */
        return code == PERMTAB_E_LIMIT ? EXIT_CONFIGURATION : EXIT_TRANSIENT;
    case DAEMON_STARTING:
        return contradicted ? EXIT_CONFIGURATION : EXIT_TRANSIENT;
    }
    return EXIT_TRANSIENT;
}

static int serve(struct daemon *daemon, struct failure *failure)
{
    int code = start(daemon, failure);
    if (code == 0) {
        log_info("permtabd " PERMTAB_VERSION ": serving %s from revision %" PRIu64, daemon->config.socket,
                 publisher_position(daemon->parts.publisher).revision);
        if (daemon->demo)
            demo_print(daemon->demo, &daemon->config, stdout);
        notify_supervisor("READY=1");
        if (event_base_dispatch(daemon->parts.base) < 0)
            code = failure_set(failure, PERMTAB_E_SYSTEM, "the event loop broke off");
        notify_supervisor("STOPPING=1");
    }
    stop(daemon, code == 0);
    return code;
}

/* Does what the arguments ask for; on failure `failure` says why. */
static int run(struct daemon *daemon, const struct arguments *arguments, struct failure *failure)
{
    int code;
    if (arguments->test) {
        config_print(&daemon->config, stdout);
        descriptors_print(&daemon->config, stdout);
        return descriptors_check(&daemon->config, failure);
    }
    if (arguments->demo && (code = demo_new(&daemon->demo, &daemon->config, failure)) < 0)
        return code;
    if (!arguments->migrate)
        return serve(daemon, failure);
    code = daemon_migrate(&daemon->config, failure);
    if (code == 0)
        (void)puts("permtabd: the schema is up to date");
    return code;
}

/* The program without the care for descriptors and output. */
static int live(int count, char **words)
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
        complain(&failure);
        return EXIT_CONFIGURATION;
    }
    if (log_level_parse(daemon.config.log_level, &level) == 0)
        log_level_set(level);
    int code = run(&daemon, &arguments, &failure);
    if (code < 0)
        complain(&failure);
    demo_free(daemon.demo);
    config_fini(&daemon.config);
    return code < 0 ? exit_code_of(&daemon, code) : EXIT_FINE;
}

/* Output that could not be written is a failure, whatever else went well. */
static int finish(int status)
{
    bool failed = ferror(stdout) != 0;
    if (fclose(stdout) != 0)
        failed = true;
    if (!failed)
        return status;
    (void)fprintf(stderr, "permtabd: cannot write the output\n");
    return status == EXIT_FINE ? EXIT_TRANSIENT : status;
}

int main(int count, char **words)
{
    char name[] = "permtabd";
    /* 1. Before a socket or the store can become standard error, into which the log is written. */
    if (!standard_hold())
        return EXIT_TRANSIENT;
    /* 2. SIGPIPE off: a peer, or a reader of our output, that has gone is an error of the write, and not our end. */
    (void)signal(SIGPIPE, SIG_IGN);
    if (count > 0)
        words[0] = name; /* getopt's messages begin with it, whatever path the program was started by */
    return finish(live(count, words));
}
