/* Timers ask the loop for the right times, microsecond by microsecond. */
#include "proxy/base/timer.h"

#include "shm/error.h"

#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* Visible: the linker takes the calls inside libevent's own shared libraries for calls of it, too. */
__attribute__((visibility("default"))) int __wrap_event_add(struct event *event, const struct timeval *delay);

static struct timeval asked;
static int answer;

int __wrap_event_add(struct event *event, const struct timeval *delay)
{
    assert_null(event);
    asked = *delay;
    return answer;
}

static void expect(long seconds, long microseconds)
{
    assert_int_equal(asked.tv_sec, seconds);
    assert_int_equal(asked.tv_usec, microseconds);
}

static void test_units(void **state)
{
    (void)state;
    assert_int_equal(timer_in_us(NULL, 12345678), 0);
    expect(12, 345678);
    assert_int_equal(timer_in_ms(NULL, 61007), 0);
    expect(61, 7000);
    assert_int_equal(timer_in_ns(NULL, 3000004000), 0);
    expect(3, 4);
    assert_int_equal(timer_at_once(NULL), 0);
    expect(0, 0);
}

static void test_nanoseconds_are_rounded_up(void **state)
{
    (void)state;
    (void)timer_in_ns(NULL, 1);
    expect(0, 1);
    (void)timer_in_ns(NULL, 1000);
    expect(0, 1);
    (void)timer_in_ns(NULL, 999999001);
    expect(1, 0);
    (void)timer_in_ns(NULL, UINT64_MAX);
    expect(18446744073, 709552);
}

/* A time of Redis, which anybody may have written there. */
static void test_milliseconds_do_not_overflow(void **state)
{
    (void)state;
    (void)timer_in_ms(NULL, UINT64_MAX / 1000 + 1);
    expect(18446744073709, 551615);
    (void)timer_in_ms(NULL, UINT64_MAX);
    expect(18446744073709, 551615);
}

static void test_no_memory(void **state)
{
    (void)state;
    answer = -1;
    assert_int_equal(timer_at_once(NULL), PERMTAB_E_MEMORY);
    answer = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_units),
        cmocka_unit_test(test_nanoseconds_are_rounded_up),
        cmocka_unit_test(test_milliseconds_do_not_overflow),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
