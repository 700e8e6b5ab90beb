/* Listening: one instance, stale files replaced, other people's files left alone, nothing left behind. */
#include "proxy/serve/listener.h"

#include <errno.h>
#include <event2/event.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    struct event_base *base;
    char folder[64], path[96], lock[104];
    int accepted;
};

static void on_accept(void *context, int descriptor)
{
    struct fixture *fixture = context;
    fixture->accepted++;
    (void)close(descriptor);
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    (void)snprintf(fixture->folder, sizeof fixture->folder, "/tmp/permtab-listener-XXXXXX");
    assert_non_null(mkdtemp(fixture->folder));
    (void)snprintf(fixture->path, sizeof fixture->path, "%s/s", fixture->folder);
    (void)snprintf(fixture->lock, sizeof fixture->lock, "%s/s.lock", fixture->folder);
    fixture->base = event_base_new();
    assert_non_null(fixture->base);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    event_base_free(fixture->base);
    (void)unlink(fixture->path);
    (void)unlink(fixture->lock);
    int left = rmdir(fixture->folder);
    free(fixture);
    return left;
}

static int listen_here(struct fixture *fixture, struct listener **out, struct failure *failure)
{
    struct listener_options options = {fixture->base, on_accept, fixture, fixture->path, 0660};
    return listener_new(out, &options, failure);
}

static int connect_here(const struct fixture *fixture)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(client >= 0);
    memcpy(address.sun_path, fixture->path, strlen(fixture->path));
    if (connect(client, (struct sockaddr *)&address, sizeof address) < 0) {
        (void)close(client);
        return -1;
    }
    return client;
}

static void test_accepts_and_cleans_up(void **state)
{
    struct fixture *fixture = *state;
    struct listener *listener;
    struct failure failure;
    struct stat status;
    assert_int_equal(listen_here(fixture, &listener, &failure), 0);
    assert_int_equal(lstat(fixture->path, &status), 0);
    assert_true(S_ISSOCK(status.st_mode));
    assert_int_equal(status.st_mode & 0777, 0660);
    int client = connect_here(fixture);
    assert_true(client >= 0);
    (void)event_base_loop(fixture->base, EVLOOP_ONCE);
    assert_int_equal(fixture->accepted, 1);
    (void)close(client);
    listener_free(listener);
    assert_int_equal(lstat(fixture->path, &status), -1);
    assert_int_equal(lstat(fixture->lock, &status), -1);
}

static void test_second_instance(void **state)
{
    struct fixture *fixture = *state;
    struct listener *first, *second;
    struct failure failure;
    char expected[256];
    assert_int_equal(listen_here(fixture, &first, &failure), 0);
    assert_int_equal(listen_here(fixture, &second, &failure), PERMTAB_E_CONFLICT);
    (void)snprintf(expected, sizeof expected, "%s: another instance is serving it", fixture->path);
    assert_string_equal(failure.text, expected);
    /* The refused one has taken nothing away. */
    int client = connect_here(fixture);
    assert_true(client >= 0);
    (void)close(client);
    listener_free(first);
    assert_int_equal(listen_here(fixture, &second, &failure), 0);
    listener_free(second);
}

/* A process that was killed leaves its socket and its lock file. */
static void test_after_a_kill(void **state)
{
    struct fixture *fixture = *state;
    struct listener *listener;
    struct failure failure;
    int ready[2], status;
    char byte;
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        byte = listen_here(fixture, &listener, &failure) == 0 ? 'y' : 'n';
        (void)!write(ready[1], &byte, 1);
        for (;;)
            (void)pause();
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(byte, 'y');
    assert_int_equal(listen_here(fixture, &listener, &failure), PERMTAB_E_CONFLICT);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(connect_here(fixture), -1);
    assert_int_equal(errno, ECONNREFUSED);
    assert_int_equal(listen_here(fixture, &listener, &failure), 0);
    int client = connect_here(fixture);
    assert_true(client >= 0);
    (void)close(client);
    listener_free(listener);
    (void)close(ready[0]);
    (void)close(ready[1]);
}

static void test_not_a_socket(void **state)
{
    struct fixture *fixture = *state;
    struct listener *listener;
    struct failure failure;
    char expected[256];
    FILE *file = fopen(fixture->path, "w");
    assert_non_null(file);
    assert_true(fputs("precious", file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(listen_here(fixture, &listener, &failure), PERMTAB_E_CONFLICT);
    (void)snprintf(expected, sizeof expected, "%s: is there and is not a socket", fixture->path);
    assert_string_equal(failure.text, expected);
    assert_int_equal(access(fixture->path, F_OK), 0);
}

/* Another program that knows nothing of our lock. */
static void test_somebody_else(void **state)
{
    struct fixture *fixture = *state;
    struct listener *listener;
    struct failure failure;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int other = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    memcpy(address.sun_path, fixture->path, strlen(fixture->path));
    assert_int_equal(bind(other, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(other, 5), 0);
    assert_int_equal(listen_here(fixture, &listener, &failure), PERMTAB_E_CONFLICT);
    assert_non_null(strstr(failure.text, ": something else is serving it"));
    int client = connect_here(fixture);
    assert_true(client >= 0);
    (void)close(client);
    (void)close(other);
}

/* A file that somebody put in place of ours is not ours to remove. */
static void test_replaced_meanwhile(void **state)
{
    struct fixture *fixture = *state;
    struct listener *listener;
    struct failure failure;
    assert_int_equal(listen_here(fixture, &listener, &failure), 0);
    assert_int_equal(unlink(fixture->path), 0);
    FILE *file = fopen(fixture->path, "w");
    assert_non_null(file);
    assert_int_equal(fclose(file), 0);
    listener_free(listener);
    assert_int_equal(access(fixture->path, F_OK), 0);
}

static void test_no_folder(void **state)
{
    struct fixture *fixture = *state;
    struct listener *listener;
    struct failure failure;
    struct listener_options options = {fixture->base, on_accept, fixture, "/nonexistent/s", 0666};
    assert_int_equal(listener_new(&listener, &options, &failure), PERMTAB_E_SYSTEM);
    assert_string_equal(failure.text, "/nonexistent/s.lock: No such file or directory");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_accepts_and_cleans_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_second_instance, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_after_a_kill, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_not_a_socket, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_somebody_else, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_replaced_meanwhile, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_folder, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("listener", tests, NULL, NULL);
}
