/* The master's sockets: one instance, stale files replaced, other people's files left alone, nothing left behind; and
 * those that were inherited. */
#include "proxy/master/sockets.h"

#include "proxy/master/inherited.h"

#include <errno.h>
#include <fcntl.h>
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
    char folder[64], path[96], lock[104];
    struct inherited inherited;
    bool busy; /* as the last opening said */
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    (void)snprintf(fixture->folder, sizeof fixture->folder, "/tmp/permtab-listener-XXXXXX");
    assert_non_null(mkdtemp(fixture->folder));
    (void)snprintf(fixture->path, sizeof fixture->path, "%s/s", fixture->folder);
    (void)snprintf(fixture->lock, sizeof fixture->lock, "%s/s.lock", fixture->folder);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    (void)unlink(fixture->path);
    (void)unlink(fixture->lock);
    int left = rmdir(fixture->folder);
    free(fixture);
    return left;
}

static int listen_here(struct fixture *fixture, struct bound_socket *out, struct failure *failure)
{
    struct bound_socket_options options = {
        .path = fixture->path, .mode = 0660, .backlog = 16, .inherited = &fixture->inherited};
    return bound_socket_open(out, &options, &fixture->busy, failure);
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

static int accept_here(const struct bound_socket *bound)
{
    return accept4(bound->descriptor, NULL, NULL, SOCK_CLOEXEC);
}

static void test_accepts_and_cleans_up(void **state)
{
    struct fixture *fixture = *state;
    struct bound_socket bound;
    struct failure failure;
    struct stat status;
    assert_int_equal(listen_here(fixture, &bound, &failure), 0);
    assert_int_equal(lstat(fixture->path, &status), 0);
    assert_true(S_ISSOCK(status.st_mode));
    assert_int_equal(status.st_mode & 0777, 0660);
    int client = connect_here(fixture);
    assert_true(client >= 0);
    int accepted = accept_here(&bound);
    assert_true(accepted >= 0);
    assert_int_equal(accept_here(&bound), -1);
    assert_int_equal(errno, EAGAIN);
    (void)close(accepted);
    (void)close(client);
    bound_socket_fini(&bound);
    assert_int_equal(lstat(fixture->path, &status), -1);
    assert_int_equal(lstat(fixture->lock, &status), -1);
}

static void test_second_instance(void **state)
{
    struct fixture *fixture = *state;
    struct bound_socket first, second;
    struct failure failure;
    char expected[256];
    assert_int_equal(listen_here(fixture, &first, &failure), 0);
    assert_int_equal(listen_here(fixture, &second, &failure), PERMTAB_E_CONFLICT);
    (void)snprintf(expected, sizeof expected, "%s: another instance is serving it, process %d", fixture->path,
                   (int)getpid());
    assert_string_equal(failure.text, expected);
    assert_true(fixture->busy);
    /* The refused one has taken nothing away. */
    int client = connect_here(fixture);
    assert_true(client >= 0);
    (void)close(client);
    bound_socket_fini(&first);
    assert_int_equal(listen_here(fixture, &second, &failure), 0);
    bound_socket_fini(&second);
}

/* A process that was killed leaves its socket and its lock file. */
static void test_after_a_kill(void **state)
{
    struct fixture *fixture = *state;
    struct bound_socket bound;
    struct failure failure;
    int ready[2], status;
    char byte;
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        byte = listen_here(fixture, &bound, &failure) == 0 ? 'y' : 'n';
        (void)!write(ready[1], &byte, 1);
        for (;;)
            (void)pause();
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(byte, 'y');
    assert_int_equal(listen_here(fixture, &bound, &failure), PERMTAB_E_CONFLICT);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(connect_here(fixture), -1);
    assert_int_equal(errno, ECONNREFUSED);
    assert_int_equal(listen_here(fixture, &bound, &failure), 0);
    int client = connect_here(fixture);
    assert_true(client >= 0);
    (void)close(client);
    bound_socket_fini(&bound);
    (void)close(ready[0]);
    (void)close(ready[1]);
}

static void test_not_a_socket(void **state)
{
    struct fixture *fixture = *state;
    struct bound_socket bound;
    struct failure failure;
    char expected[256];
    FILE *file = fopen(fixture->path, "w");
    assert_non_null(file);
    assert_true(fputs("precious", file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(listen_here(fixture, &bound, &failure), PERMTAB_E_CONFLICT);
    (void)snprintf(expected, sizeof expected, "%s: is there and is not a socket", fixture->path);
    assert_string_equal(failure.text, expected);
    assert_false(fixture->busy); /* waiting would not help */
    assert_int_equal(access(fixture->path, F_OK), 0);
}

/* Another program that knows nothing of our lock. */
static void test_somebody_else(void **state)
{
    struct fixture *fixture = *state;
    struct bound_socket bound;
    struct failure failure;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int other = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    memcpy(address.sun_path, fixture->path, strlen(fixture->path));
    assert_int_equal(bind(other, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(other, 5), 0);
    assert_int_equal(listen_here(fixture, &bound, &failure), PERMTAB_E_CONFLICT);
    assert_non_null(strstr(failure.text, ": something else is serving it, process "));
    assert_true(fixture->busy);
    int client = connect_here(fixture);
    assert_true(client >= 0);
    (void)close(client);
    (void)close(other);
}

/* A file that somebody put in place of ours is not ours to remove. */
static void test_replaced_meanwhile(void **state)
{
    struct fixture *fixture = *state;
    struct bound_socket bound;
    struct failure failure;
    assert_int_equal(listen_here(fixture, &bound, &failure), 0);
    assert_int_equal(unlink(fixture->path), 0);
    FILE *file = fopen(fixture->path, "w");
    assert_non_null(file);
    assert_int_equal(fclose(file), 0);
    bound_socket_fini(&bound);
    assert_int_equal(access(fixture->path, F_OK), 0);
}

static void test_no_folder(void **state)
{
    struct fixture *fixture = *state;
    struct bound_socket bound;
    struct failure failure;
    struct bound_socket_options options = {
        .path = "/nonexistent/s", .mode = 0666, .backlog = 16, .inherited = &fixture->inherited};
    assert_int_equal(bound_socket_open(&bound, &options, &fixture->busy, &failure), PERMTAB_E_SYSTEM);
    assert_string_equal(failure.text, "/nonexistent/s.lock: No such file or directory");
    assert_int_equal(bound.descriptor, -1);
}

/* The file goes when nobody is accepted any more; the lock stays until the end. */
static void test_closed_before_the_end(void **state)
{
    struct fixture *fixture = *state;
    struct bound_socket bound, second;
    struct failure failure;
    assert_int_equal(listen_here(fixture, &bound, &failure), 0);
    bound_socket_close(&bound);
    bound_socket_close(&bound);
    assert_int_equal(access(fixture->path, F_OK), -1);
    assert_int_equal(listen_here(fixture, &second, &failure), PERMTAB_E_CONFLICT);
    bound_socket_fini(&bound);
    assert_int_equal(listen_here(fixture, &second, &failure), 0);
    bound_socket_fini(&second);
}

/* A worker whose master has died still has the socket for a moment; the lock has gone with the master. */
static void test_a_dying_worker(void **state)
{
    struct fixture *fixture = *state;
    struct bound_socket bound;
    struct failure failure;
    int ready[2], status;
    char byte;
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        byte = listen_here(fixture, &bound, &failure) == 0 ? 'y' : 'n';
        bound_socket_forget_lock(&bound);
        (void)!write(ready[1], &byte, 1);
        for (;;)
            (void)pause();
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(byte, 'y');
    assert_int_equal(listen_here(fixture, &bound, &failure), PERMTAB_E_CONFLICT);
    assert_true(fixture->busy);
    assert_non_null(strstr(failure.text, "something else is serving it"));
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(listen_here(fixture, &bound, &failure), 0);
    bound_socket_fini(&bound);
    (void)close(ready[0]);
    (void)close(ready[1]);
}

/* ---- inherited ------------------------------------------------------------------------------------------------ */

/* Another one's listening socket at the path. */
static int listening_elsewhere(const struct fixture *fixture)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int other = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(other >= 0);
    memcpy(address.sun_path, fixture->path, strlen(fixture->path));
    assert_int_equal(bind(other, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(other, 5), 0);
    return other;
}

static void inherit(struct fixture *fixture, int descriptor, const char *name)
{
    unsigned at = fixture->inherited.count++;
    fixture->inherited.items[at].descriptor = descriptor;
    (void)snprintf(fixture->inherited.items[at].name, INHERITED_NAME_SIZE, "%s", name);
}

static void test_an_inherited_socket(void **state)
{
    struct fixture *fixture = *state;
    struct bound_socket bound;
    struct failure failure;
    int other = listening_elsewhere(fixture);
    int waiting = connect_here(fixture); /* before anybody serves */
    assert_true(waiting >= 0);
    inherit(fixture, other, "");
    assert_int_equal(listen_here(fixture, &bound, &failure), 0);
    assert_true(bound.inherited);
    assert_int_equal(bound.descriptor, other);
    assert_true(fcntl(other, F_GETFL) & O_NONBLOCK);
    assert_int_equal(inherited_refuse_rest(&fixture->inherited, &failure), 0);
    assert_int_equal(access(fixture->lock, F_OK), 0);
    int accepted = accept_here(&bound);
    assert_true(accepted >= 0);
    (void)close(accepted);
    (void)close(waiting);
    bound_socket_fini(&bound);
    /* It is its owner's to remove. */
    assert_int_equal(access(fixture->path, F_OK), 0);
    assert_int_equal(access(fixture->lock, F_OK), -1);
}

/* The lock counts for inherited sockets, too, and a refused instance does not lose what it inherited. */
static void test_an_inherited_socket_that_is_served(void **state)
{
    struct fixture *fixture = *state;
    struct bound_socket first, second;
    struct failure failure;
    int other = listening_elsewhere(fixture);
    inherit(fixture, dup(other), "");
    assert_int_equal(listen_here(fixture, &first, &failure), 0);
    inherit(fixture, other, "");
    assert_int_equal(listen_here(fixture, &second, &failure), PERMTAB_E_CONFLICT);
    assert_true(fixture->busy);
    bound_socket_fini(&first);
    assert_int_equal(listen_here(fixture, &second, &failure), 0);
    assert_int_equal(second.descriptor, other);
    bound_socket_fini(&second);
}

static void test_inherited_and_not_wanted(void **state)
{
    struct fixture *fixture = *state;
    struct failure failure;
    int ends[2], other = listening_elsewhere(fixture);
    char expected[256];
    assert_int_equal(pipe(ends), 0);
    inherit(fixture, ends[0], "permtab-keys");
    inherit(fixture, other, "");
    inherit(fixture, ends[1], "");
    assert_int_equal(inherited_socket(&fixture->inherited, "/elsewhere"), -1);
    assert_int_equal(inherited_named(&fixture->inherited, "permtab-keys"), ends[0]);
    assert_int_equal(inherited_named(&fixture->inherited, "permtab-keys"), -1);
    assert_int_equal(inherited_refuse_rest(&fixture->inherited, &failure), PERMTAB_E_INVALID);
    (void)snprintf(
        expected, sizeof expected,
        "LISTEN_FDS: descriptor %d is bound to \"%s\", which is neither socket nor ops_socket, or was "
        "passed twice",
        other, fixture->path);
    assert_string_equal(failure.text, expected);
    assert_int_equal(inherited_socket(&fixture->inherited, fixture->path), other);
    assert_int_equal(inherited_refuse_rest(&fixture->inherited, &failure), PERMTAB_E_INVALID);
    (void)snprintf(expected, sizeof expected, "LISTEN_FDS: descriptor %d is no listening Unix stream socket",
                   ends[1]);
    assert_string_equal(failure.text, expected);
    inherited_fini(&fixture->inherited);
    assert_int_equal(fcntl(ends[1], F_GETFD), -1);
    (void)close(ends[0]);
    (void)close(other);
}

static void set_environment(const char *pid, const char *fds, const char *names)
{
    assert_int_equal(setenv("LISTEN_PID", pid, 1), 0);
    assert_int_equal(setenv("LISTEN_FDS", fds, 1), 0);
    assert_int_equal(names ? setenv("LISTEN_FDNAMES", names, 1) : unsetenv("LISTEN_FDNAMES"), 0);
}

static void test_what_the_environment_says(void **state)
{
    struct inherited inherited;
    struct failure failure;
    char self[32];
    (void)state;
    (void)snprintf(self, sizeof self, "%d", (int)getpid());
    set_environment("1", "1", NULL); /* for another process */
    assert_int_equal(inherited_read(&inherited, &failure), 0);
    assert_int_equal(inherited.count, 0);
    assert_null(getenv("LISTEN_PID"));
    set_environment(self, "two", NULL);
    assert_int_equal(inherited_read(&inherited, &failure), PERMTAB_E_INVALID);
    assert_string_equal(failure.text, "LISTEN_FDS: \"two\" is no number");
    assert_null(getenv("LISTEN_FDS"));
    set_environment(self, "17", NULL);
    assert_int_equal(inherited_read(&inherited, &failure), PERMTAB_E_INVALID);
    assert_string_equal(failure.text, "LISTEN_FDS: 17 descriptors are more than 16");
    int third = open("/dev/null", O_RDONLY), fourth = open("/dev/null", O_RDONLY);
    assert_true(third >= 0 && fourth >= 0);
    if (third != 3 || fourth != 4) /* the test was started with more than three */
        skip();
    set_environment(self, "2", "one:permtab-keys");
    assert_int_equal(inherited_read(&inherited, &failure), 0);
    assert_int_equal(inherited.count, 2);
    assert_string_equal(inherited.items[0].name, "one");
    assert_true(fcntl(3, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(inherited_named(&inherited, "permtab-keys"), 4);
    (void)close(4);
    inherited_fini(&inherited);
    assert_int_equal(fcntl(3, F_GETFD), -1);
    set_environment(self, "1", NULL);
    assert_int_equal(inherited_read(&inherited, &failure), PERMTAB_E_INVALID);
    assert_string_equal(failure.text, "LISTEN_FDS: descriptor 3 is not open");
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
        cmocka_unit_test_setup_teardown(test_closed_before_the_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_dying_worker, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_inherited_socket, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_inherited_socket_that_is_served, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_inherited_and_not_wanted, set_up, tear_down),
        cmocka_unit_test(test_what_the_environment_says),
    };
    return cmocka_run_group_tests_name("sockets", tests, NULL, NULL);
}
