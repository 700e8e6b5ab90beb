/* The master's look at one worker, at moments that the test chooses: no clock decides here. */
#include "proxy/master/private.h"

#include "proxy/master/channel.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define NOW_NS (1000000 * MS)

struct fixture {
    char folder[64], path[96];
    struct config config;
    struct master_options options;
    struct master master;
    int end; /* the worker's, of the channel */
};

static int adjust(void *context, struct config *config, struct failure *failure)
{
    (void)context, (void)config, (void)failure;
    return 0;
}

static void write_config(const struct fixture *fixture, const char *worker_timeout)
{
    FILE *file = fopen(fixture->path, "w");
    assert_non_null(file);
    (void)fprintf(file, "ops_socket = \"\"\nstore = \"sqlite:%s/store\"\nworker_timeout = \"%s\"\n",
                  fixture->folder, worker_timeout);
    assert_int_equal(fclose(file), 0);
}

/* A process that does nothing: it may be killed. */
static pid_t begin_idler(void)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        for (;;)
            (void)pause();
    }
    return pid;
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    struct failure failure;
    int ends[2];
    assert_non_null(fixture);
    (void)snprintf(fixture->folder, sizeof fixture->folder, "/tmp/permtab-workers-XXXXXX");
    assert_non_null(mkdtemp(fixture->folder));
    (void)snprintf(fixture->path, sizeof fixture->path, "%s/c", fixture->folder);
    write_config(fixture, "60s");
    assert_int_equal(config_load(&fixture->config, fixture->path, &failure), 0);
    assert_int_equal(channel_pair(ends), 0);
    fixture->end = ends[1];
    fixture->options = (struct master_options){
        .config = &fixture->config, .config_path = fixture->path, .adjust = adjust};
    fixture->master = (struct master){
        .options = &fixture->options,
        .config = &fixture->config,
        .signals = -1,
        .keys = -1,
        .socket = {.descriptor = -1, .lock = -1},
        .ops_socket = {.descriptor = -1, .lock = -1},
        .worker = {.pid = begin_idler(), .channel = ends[0], .ready = true, .heard_ns = NOW_NS},
        .served = true,
        .turn_ns = NOW_NS,
    };
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    if (fixture->master.worker.pid > 0) {
        (void)kill(fixture->master.worker.pid, SIGKILL);
        (void)waitpid(fixture->master.worker.pid, NULL, 0);
    }
    if (fixture->master.worker.channel >= 0)
        (void)close(fixture->master.worker.channel);
    (void)close(fixture->end);
    config_fini(&fixture->config);
    (void)unlink(fixture->path);
    int left = rmdir(fixture->folder);
    free(fixture);
    return left;
}

/* A worker that tells without end has some of it heard in a turn, and the master goes on. */
static void test_one_turn_hears_so_much(void **state)
{
    struct fixture *fixture = *state;
    struct channel_message message;
    unsigned told = 0, left = 0;
    while (channel_tell(fixture->end, CHANNEL_BEAT, ""))
        told++;
    assert_true(told > 100);
    master_hear_worker(&fixture->master, NOW_NS);
    while (channel_hear(fixture->master.worker.channel, &message) > 0)
        left++;
    assert_in_range(left, 1, told - 1);
}

/* What it said before it died is heard to the end, however much that is: the reason comes last. */
static void test_last_words(void **state)
{
    struct fixture *fixture = *state;
    struct failure failure = {0};
    struct master *master = &fixture->master;
    for (unsigned i = 0; i < 100; i++)
        assert_true(channel_tell(fixture->end, CHANNEL_BEAT, ""));
    assert_true(channel_tell(fixture->end, CHANNEL_FAILED, "the store is away"));
    (void)kill(master->worker.pid, SIGKILL);
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)master->worker.pid, &info, WEXITED | WNOWAIT), 0);
    master->worker.ready = false;
    master_reap(master, NOW_NS, &failure);
    assert_int_equal(master->worker.pid, 0);
    assert_non_null(strstr(master->last_death, "the store is away"));
}

/* worker_timeout is shorter now than the time since the last beat, which was in order when it came. */
static void test_shorter_patience_counts_from_the_reload(void **state)
{
    struct fixture *fixture = *state;
    struct failure failure = {0};
    struct master *master = &fixture->master;
    uint64_t later_ns = NOW_NS + 10000 * MS;
    write_config(fixture, "4s");
    master->reload_wanted = true;
    master->turn_ns = later_ns;
    master_reload(master, later_ns, &failure);
    assert_int_equal(fixture->config.worker_timeout_ms, 4000);
    master_watch_worker(master, later_ns + MS, &failure);
    assert_false(master->worker.killed);
    master->turn_ns = later_ns + 3999 * MS;
    master_watch_worker(master, master->turn_ns, &failure);
    assert_false(master->worker.killed);
    master->turn_ns = later_ns + 4000 * MS;
    master_watch_worker(master, master->turn_ns, &failure);
    assert_true(master->worker.killed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_one_turn_hears_so_much, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_last_words, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_shorter_patience_counts_from_the_reload, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("workers", tests, NULL, NULL);
}
