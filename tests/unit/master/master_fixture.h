/* A master in a process of its own, for it blocks signals and reads all children, and workers that are played: each is
 * told its number, and does what the test wants of that one. */
#ifndef PERMTAB_TESTS_UNIT_MASTER_MASTER_FIXTURE_H
#define PERMTAB_TESTS_UNIT_MASTER_MASTER_FIXTURE_H

#include "proxy/base/clock.h"
#include "proxy/master/channel.h"
#include "proxy/master/master.h"

#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define WORKERS_MAX 16
#define MS          1000000u

/* What master and workers have noted. */
struct notes {
    struct {
        uint64_t begun_ns, ended_ns;
        char last_death[WORKER_DEATH_SIZE];
        uint32_t audit_entries; /* of its configuration */
    } workers[WORKERS_MAX];
    uint64_t begun;
    char failure[FAILURE_TEXT_SIZE];
    unsigned fed; /* so often the supervisor's watchdog */
    unsigned asked; /* so often the supervisor for more time */
};

struct fixture {
    char folder[64], config[96];
    struct notes *notes;
    master_work_fn play;
    int supervisor; /* its socket */
};

static inline bool write_config(const struct fixture *fixture, const char *lines)
{
    FILE *file = fopen(fixture->config, "w");
    if (!file)
        return false;
    (void)fprintf(file, "socket = \"%s/s\"\nops_socket = \"\"\nstore = \"sqlite:%s/store\"\n%s\n",
                  fixture->folder, fixture->folder, lines);
    return fclose(file) == 0;
}

static inline int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    (void)snprintf(fixture->folder, sizeof fixture->folder, "/tmp/permtab-master-XXXXXX");
    assert_non_null(mkdtemp(fixture->folder));
    (void)snprintf(fixture->config, sizeof fixture->config, "%s/c", fixture->folder);
    assert_true(write_config(fixture, "worker_timeout = \"2s\""));
    fixture->notes =
        mmap(NULL, sizeof *fixture->notes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(fixture->notes, MAP_FAILED);
    *state = fixture;
    return 0;
}

static inline int tear_down(void **state)
{
    struct fixture *fixture = *state;
    (void)munmap(fixture->notes, sizeof *fixture->notes);
    (void)unlink(fixture->config);
    int left = rmdir(fixture->folder); /* fails when the master has left a socket or a lock behind */
    free(fixture);
    return left;
}

/* ---- both processes ---------------------------------------------------------------------------------------------- */

static inline int play(void *context, const struct worker_start *start)
{
    const struct fixture *fixture = context;
    struct notes *notes = fixture->notes;
    if (start->number > WORKERS_MAX)
        return EXIT_USAGE; /* there is no end to it */
    notes->begun = start->number;
    notes->workers[start->number - 1].begun_ns = clock_ns();
    memcpy(notes->workers[start->number - 1].last_death, start->last_death, WORKER_DEATH_SIZE);
    notes->workers[start->number - 1].audit_entries = start->config->audit_entries;
    int code = fixture->play(context, start);
    notes->workers[start->number - 1].ended_ns = clock_ns();
    _exit(code); /* the search for leaks at exit was seen to hang in a fork's child on a busy machine */
}

static inline int adjust(void *context, struct config *config, struct failure *failure)
{
    (void)context, (void)config, (void)failure;
    return 0;
}

static inline void serves(void *context, const struct config *config)
{
    (void)context, (void)config;
}

static inline int run_master(struct fixture *fixture)
{
    struct failure failure = {0};
    struct config config;
    struct master_options options = {.config = &config,
                                     .config_path = fixture->config,
                                     .work = play,
                                     .adjust = adjust,
                                     .serves = serves,
                                     .context = fixture};
    if (config_load(&config, fixture->config, &failure) < 0)
        return EXIT_USAGE;
    int code = master_run(&options, &failure);
    (void)snprintf(fixture->notes->failure, FAILURE_TEXT_SIZE, "%s", failure.code != 0 ? failure.text : "");
    config_fini(&config);
    return code;
}

/* Returns the master's exit code. */
static inline int run(struct fixture *fixture, master_work_fn how)
{
    int status;
    fixture->play = how;
    (void)fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)alarm(120); /* ends what hangs */
        _exit(run_master(fixture));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static inline void tell(const struct worker_start *start, enum channel_kind kind, const char *text)
{
    if (!channel_tell(start->channel, kind, text))
        _exit(EXIT_USAGE);
}

static inline void wait_for(const struct worker_start *start, enum channel_kind kind)
{
    struct channel_message message = {0};
    struct pollfd wait = {.fd = start->channel, .events = POLLIN};
    while (message.kind != (char)kind) {
        (void)poll(&wait, 1, -1);
        if (channel_hear(start->channel, &message) < 0)
            _exit(EXIT_USAGE);
    }
}

/* Serves and has the master told to stop; returns when it has said so. */
static inline void serve_to_the_end(const struct worker_start *start)
{
    tell(start, CHANNEL_READY, "");
    (void)kill(getppid(), SIGTERM);
    wait_for(start, CHANNEL_STOP);
}

static inline _Noreturn void hang(void)
{
    for (;;)
        (void)pause();
}

#endif
