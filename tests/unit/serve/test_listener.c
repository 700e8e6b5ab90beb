/* Accepting: every connection is handed over, and nobody is accepted afterwards. */
#include "proxy/serve/listener.h"

#include <errno.h>
#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define CLIENTS 100 /* more than one turn takes */

static bool no_descriptors, no_memory;

int __real_accept4(int descriptor, struct sockaddr *address, socklen_t *size, int flags);
int __wrap_accept4(int descriptor, struct sockaddr *address, socklen_t *size, int flags);
int __wrap_accept4(int descriptor, struct sockaddr *address, socklen_t *size, int flags)
{
    errno = EMFILE;
    return no_descriptors ? -1 : __real_accept4(descriptor, address, size, flags);
}

/* Visible: the linker takes the calls inside libevent's own shared libraries for calls of it, too. */
__attribute__((visibility("default"))) int __real_event_add(struct event *event, const struct timeval *delay);
__attribute__((visibility("default"))) int __wrap_event_add(struct event *event, const struct timeval *delay);
int __wrap_event_add(struct event *event, const struct timeval *delay)
{
    if (no_memory && !delay) {
        no_memory = false;
        return -1;
    }
    return __real_event_add(event, delay);
}

static void on_accept(void *context, int descriptor)
{
    int *accepted = context;
    ++*accepted;
    (void)close(descriptor);
}

/* A listening socket without a name: the kernel gives an abstract one. */
static int listening(struct sockaddr_un *address, socklen_t *size)
{
    int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    sa_family_t family = AF_UNIX;
    assert_true(descriptor >= 0);
    assert_int_equal(bind(descriptor, (const struct sockaddr *)&family, sizeof family), 0);
    assert_int_equal(listen(descriptor, CLIENTS), 0);
    assert_int_equal(getsockname(descriptor, (struct sockaddr *)address, size), 0);
    return descriptor;
}

static void test_accepts_all(void **state)
{
    struct event_base *base = event_base_new();
    struct listener *listener;
    struct failure failure;
    struct sockaddr_un address;
    socklen_t size = sizeof address;
    int accepted = 0, clients[CLIENTS];
    (void)state;
    assert_non_null(base);
    struct listener_options options = {base, on_accept, &accepted, listening(&address, &size), "here"};
    assert_int_equal(listener_new(&listener, &options, &failure), 0);
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_true(clients[i] >= 0);
        assert_int_equal(connect(clients[i], (struct sockaddr *)&address, size), 0);
    }
    (void)event_base_loop(base, EVLOOP_NONBLOCK);
    assert_int_equal(accepted, 0); /* they wait */
    assert_int_equal(listener_begin(listener), 0);
    for (int turns = 0; turns < CLIENTS && accepted < CLIENTS; turns++)
        (void)event_base_loop(base, EVLOOP_ONCE);
    assert_int_equal(accepted, CLIENTS);
    listener_free(listener);
    assert_int_equal(connect(clients[0], (struct sockaddr *)&address, size), -1);
    for (int i = 0; i < CLIENTS; i++)
        (void)close(clients[i]);
    event_base_free(base);
}

/* A listener that paused goes on, although it cannot at first. */
static void test_goes_on_after_a_pause(void **state)
{
    struct event_base *base = event_base_new();
    struct listener *listener;
    struct failure failure;
    struct sockaddr_un address;
    socklen_t size = sizeof address;
    int accepted = 0, client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)state;
    struct listener_options options = {base, on_accept, &accepted, listening(&address, &size), "here"};
    assert_int_equal(listener_new(&listener, &options, &failure), 0);
    assert_int_equal(listener_begin(listener), 0);
    assert_int_equal(connect(client, (struct sockaddr *)&address, size), 0);
    no_descriptors = no_memory = true;
    (void)event_base_loop(base, EVLOOP_ONCE);
    assert_int_equal(accepted, 0);
    no_descriptors = false;
    /* The loop has an end when nothing is set any more. */
    while (accepted == 0 && event_base_loop(base, EVLOOP_ONCE) == 0)
        ;
    assert_false(no_memory);
    assert_int_equal(accepted, 1);
    listener_free(listener);
    (void)close(client);
    event_base_free(base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepts_all),
        cmocka_unit_test(test_goes_on_after_a_pause),
    };
    return cmocka_run_group_tests_name("listener", tests, NULL, NULL);
}
