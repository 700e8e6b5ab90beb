/* A thread blocks every signal that can be blocked, and whoever starts it keeps the mask that it had. */
#include "proxy/base/thread.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void *note_mask(void *context)
{
    return pthread_sigmask(SIG_BLOCK, NULL, context) == 0 ? context : NULL;
}

static void signals_are_for_the_loop(void **state)
{
    static const int some[] = {SIGTERM, SIGINT, SIGHUP, SIGCHLD, SIGUSR1, SIGUSR2, SIGPIPE, SIGALRM};
    sigset_t seen, after;
    pthread_t thread;
    void *returned;
    (void)state;
    assert_int_equal(thread_start(&thread, note_mask, &seen), 0);
    assert_int_equal(pthread_join(thread, &returned), 0);
    assert_ptr_equal(returned, &seen);
    assert_int_equal(pthread_sigmask(SIG_BLOCK, NULL, &after), 0);
    for (size_t i = 0; i < sizeof some / sizeof some[0]; i++) {
        assert_int_equal(sigismember(&seen, some[i]), 1);
        assert_int_equal(sigismember(&after, some[i]), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signals_are_for_the_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
