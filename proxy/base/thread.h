/* Threads beside the loop. */
#ifndef PERMTAB_BASE_THREAD_H
#define PERMTAB_BASE_THREAD_H

#include "shm/error.h"

#include <pthread.h>

/* Starts a thread that blocks all signals, which are for the loop. 0 or PERMTAB_E_SYSTEM. */
int thread_start(pthread_t *thread, void *(*run)(void *context), void *context) PERMTAB_MUST_CHECK;

#endif
