/* Timers that have room set without memory. */
#include "proxy/base/timer.h"

#include "shm/error.h"

#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define TIMERS 500

static bool no_memory;

static void *take(size_t size)
{
    return no_memory ? NULL : malloc(size);
}

static void *take_more(void *old, size_t size)
{
    return no_memory ? NULL : realloc(old, size);
}

static void on_time(evutil_socket_t descriptor, short what, void *context)
{
    int *fired = context;
    (void)descriptor, (void)what;
    ++*fired;
}

static void test_needs_no_memory_later(void **state)
{
    struct event_base *base = event_base_new();
    struct event *timers[TIMERS];
    int fired = 0;
    (void)state;
    assert_int_equal(timer_reserve(base, TIMERS), 0);
    for (int i = 0; i < TIMERS; i++)
        timers[i] = evtimer_new(base, on_time, &fired);
    no_memory = true;
    for (int i = 0; i < TIMERS; i++)
        assert_int_equal(timer_at_once(timers[i]), 0);
    no_memory = false;
    assert_int_equal(event_base_loop(base, 0), 1); /* none of those that made room is left */
    assert_int_equal(fired, TIMERS);
    for (int i = 0; i < TIMERS; i++)
        event_free(timers[i]);
    event_base_free(base);
}

static void test_says_that_there_is_none(void **state)
{
    struct event_base *base = event_base_new();
    (void)state;
    no_memory = true;
    assert_int_equal(timer_reserve(base, TIMERS), PERMTAB_E_MEMORY);
    no_memory = false;
    event_base_free(base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_needs_no_memory_later),
        cmocka_unit_test(test_says_that_there_is_none),
    };
    event_set_mem_functions(take, take_more, free);
    return cmocka_run_group_tests_name("timers and memory", tests, NULL, NULL);
}
