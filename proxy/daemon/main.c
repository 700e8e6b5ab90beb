/* permtabd: the command line, and what it asks for. To serve is the master's affair (proxy/master/), and in a process
 * of its own the worker's (worker.c).
 *
 * A failure while starting ends the process with one line: exit code 2 when the configuration is to blame, 64 for
 * the command line, 1 when the next start may succeed. */
#include "client/wire/standard.h"
#include "client/wire/text.h"
#include "proxy/base/log.h"
#include "proxy/daemon/daemon.h"
#include "proxy/master/master.h"

#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

struct arguments {
    const char *config_path;
    bool test, demo, migrate;
};

struct program {
    struct arguments arguments;
    struct config config;
    struct demo *demo;
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
        "SIGTERM and SIGINT end it after stop_grace, a second one at once; SIGHUP reads the configuration again.\n"
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

/* ---- what it asks for -------------------------------------------------------------------------------------------- */

static int work(void *context, const struct worker_start *start)
{
    const struct program *program = context;
    return daemon_work(start, program->demo);
}

/* A configuration that was loaded again knows nothing of the demo's folder. */
static int adjust(void *context, struct config *config, struct failure *failure)
{
    const struct program *program = context;
    return program->demo ? demo_configure(program->demo, config, failure) : 0;
}

static void serves(void *context, const struct config *config)
{
    const struct program *program = context;
    if (program->demo)
        demo_print(program->demo, config, stdout);
}

static int serve(struct program *program, struct failure *failure)
{
    struct master_options options = {.config = &program->config,
                                     .config_path = program->arguments.config_path,
                                     .work = work,
                                     .adjust = adjust,
                                     .serves = serves,
                                     .context = program};
    if (program->arguments.demo && demo_new(&program->demo, &program->config, failure) < 0)
        return EXIT_TRANSIENT;
    return master_run(&options, failure);
}

static int migrate(const struct config *config, struct failure *failure)
{
    if (daemon_migrate(config, failure) < 0)
        return EXIT_TRANSIENT;
    (void)puts("permtabd: the schema is up to date");
    return EXIT_FINE;
}

/* Tables that nobody of ours knows count, too: those of workers that have died, which clients have not left yet. */
static void print_memory(const struct config *config)
{
    (void)printf("\n# Tables take up to %" PRIu64 " bytes of shared memory, and after the death of a worker twice that,"
                 "\n# %" PRIu64 " bytes, until clients have left its table.\n",
                 config->table_memory_max, 2 * config->table_memory_max);
}

static int test(const struct config *config, struct failure *failure)
{
    config_print(config, stdout);
    print_memory(config);
    descriptors_print(config, stdout);
    return descriptors_check(config, failure) < 0 ? EXIT_CONFIGURATION : EXIT_FINE;
}

/* Does what the arguments ask for; when the exit code is not 0, `failure` says why, or the log has said it. */
static int run(struct program *program, struct failure *failure)
{
    if (program->arguments.test)
        return test(&program->config, failure);
    if (program->arguments.migrate)
        return migrate(&program->config, failure);
    return serve(program, failure);
}

/* The program without the care for descriptors and output. */
static int live(int count, char **words)
{
    struct program program = {0};
    struct failure failure = {0};
    enum log_level level = LOG_LEVEL_INFO;
    int status = read_arguments(count, words, &program.arguments);
    if (status >= 0)
        return status;
    if (config_load(&program.config, program.arguments.config_path, &failure) < 0) {
        complain(&failure);
        return EXIT_CONFIGURATION;
    }
    if (log_level_parse(program.config.log_level, &level) == 0)
        log_level_set(level);
    status = run(&program, &failure);
    if (failure.code < 0)
        complain(&failure);
    demo_free(program.demo);
    config_fini(&program.config);
    return status;
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
