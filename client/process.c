/* A child must not use its parent's lock (a thread may hold it that is not there in the child), connection or
 * counters. All of them lie in one mapping of the handle, and three things empty it, because none of the three is
 * to be had everywhere:
 *
 *   1. MADV_WIPEONFORK: the kernel does, whoever forks. qemu-user says that it did and keeps the pages; gVisor refuses.
 *   2. pthread_atfork: libc does, when fork is libc's. It also closes the parent's connection in the child, so that the
 *      end of the parent is seen by the sidecar.
 *   3. the process id, which is compared at each entry to the slow path: for a clone past libc, where 1 is missing.
 *      Until then such a child counts hits as its parent's; it answers nothing from there.
 *
 * libc's handlers have no argument, so the list of handles is file-scope; so is the state of threads that use
 * several handles.
 *
 * An application's own handlers may run between ours, and may open and close handles: the thread that forks has the
 * lock then. */
#include "client/process.h"

#include "shm/order.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

/* The value of `process` in a page that is being emptied. */
#define EMPTYING UINT64_MAX

static struct {
    pthread_mutex_t lock; /* held across fork, so that a child finds a whole list */
    struct handle *first;
    bool watching;    /* the handlers are there */
    uint64_t forker;  /* the thread that is forking, which holds the lock; 0: none */
    uint32_t threads; /* that count */
} process_handles = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* A number of the calling thread; in a child it is the same as before the fork. */
static uint64_t this_thread(void)
{
    return (uint64_t)(uintptr_t)pthread_self();
}

static bool list_lock(void)
{
    if (permtab_shm_load64(&process_handles.forker) == this_thread())
        return false; /* it is ours already, and stays */
    pthread_mutex_lock(&process_handles.lock);
    return true;
}

static void list_unlock(bool locked)
{
    if (locked)
        pthread_mutex_unlock(&process_handles.lock);
}

static void before_fork(void)
{
    pthread_mutex_lock(&process_handles.lock);
    permtab_shm_store64(&process_handles.forker, this_thread());
}

static void in_parent(void)
{
    permtab_shm_store64(&process_handles.forker, 0);
    pthread_mutex_unlock(&process_handles.lock);
}

/* Runs in the only thread of a child. Calls nothing that a signal handler may not. */
static void in_child(void)
{
    for (struct handle *handle = process_handles.first; handle != NULL; handle = handle->process_next) {
        memset(handle->own, 0, sizeof(*handle->own));
        descriptor_close(&handle->inherited);
    }
    permtab_shm_store64(&process_handles.forker, 0);
    pthread_mutex_unlock(&process_handles.lock);
}

uint32_t process_ticket(void)
{
    return permtab_shm_ticket(&process_handles.threads);
}

int process_join(struct handle *handle)
{
    int code = 0;
    bool locked = list_lock();
    if (!process_handles.watching && pthread_atfork(before_fork, in_parent, in_child) != 0)
        code = PERMTAB_E_MEMORY;
    if (code == 0) {
        process_handles.watching = true;
        handle->process_next = process_handles.first;
        handle->process_link = &process_handles.first;
        if (handle->process_next != NULL)
            handle->process_next->process_link = &handle->process_next;
        process_handles.first = handle;
    }
    list_unlock(locked);
    return code;
}

void process_leave(struct handle *handle)
{
    if (handle->process_link == NULL)
        return;
    bool locked = list_lock();
    *handle->process_link = handle->process_next;
    if (handle->process_next != NULL)
        handle->process_next->process_link = handle->process_link;
    handle->process_link = NULL;
    list_unlock(locked);
}

void process_enter(struct handle *handle)
{
    struct own_page *own = handle->own;
    uint64_t self = (uint64_t)getpid();
    for (;;) {
        uint64_t seen = permtab_shm_load64(&own->process);
        if (seen == 0 || seen == self)
            return;
        if (seen != EMPTYING && permtab_shm_claim64(&own->process, seen, EMPTYING)) {
            size_t rest = offsetof(struct own_page, process) + sizeof(own->process);
            memset(own, 0, offsetof(struct own_page, process));
            memset((char *)own + rest, 0, sizeof(*own) - rest);
            permtab_shm_store64(&own->process, 0);
            return;
        }
        (void)sched_yield(); /* another thread of ours is at it */
    }
}
