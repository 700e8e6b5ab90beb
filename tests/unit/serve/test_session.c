/* A session as it begins. What clients do to it is for tests/e2e/. */
#include "proxy/serve/session.h"

#include "proxy/base/clock.h"

#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* Its time counts from when it came: else whoever connects for each question would go before all who stay. */
static void test_who_comes_was_not_served_long_ago(void **state)
{
    struct counters counters = {0};
    struct parts parts = {.base = event_base_new(), .counters = &counters};
    struct server server = {.parts = &parts};
    int ends[2];
    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    uint64_t before_ns = clock_ns();
    assert_int_equal(session_new(&server, ends[0]), 0);
    struct session *session = server.sessions;
    assert_in_range(session->flow.served_ns, before_ns, clock_ns());
    assert_int_equal(counters.clients, 1);
    session_free(session);
    (void)close(ends[0]);
    (void)close(ends[1]);
    event_base_free(parts.base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_who_comes_was_not_served_long_ago)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
