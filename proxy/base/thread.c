/* A thread inherits the mask of the one that starts it, so the mask is right from its first instruction. */
#include "proxy/base/thread.h"

#include <signal.h>

int thread_start(pthread_t *thread, void *(*run)(void *context), void *context)
{
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int outcome = pthread_create(thread, NULL, run, context);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return outcome == 0 ? 0 : PERMTAB_E_SYSTEM;
}
