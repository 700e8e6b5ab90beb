/* The listening sockets and their locks, which the master holds for all its workers: one instance only, a stale file
 * replaced, all removed at the end. */
#ifndef PERMTAB_MASTER_SOCKETS_H
#define PERMTAB_MASTER_SOCKETS_H

#include "proxy/base/failure.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct inherited;

/* One of them. All zeros with descriptors of -1 is none. */
struct bound_socket {
    char *path, *lock_path;
    int descriptor; /* listening, non-blocking */
    int lock;
    bool inherited; /* its file is not ours to remove */
    dev_t device;   /* of the socket file that we made */
    ino_t inode;
};

struct bound_socket_options {
    const char *path; /* copied */
    uint32_t mode;    /* of the socket's file, if it is made here */
    uint32_t backlog; /* connections that may wait */
    struct inherited *inherited;
};

/* Takes the lock; then takes the socket out of `inherited`, or binds one. On failure nothing is held.
 * PERMTAB_E_CONFLICT: the path is somebody else's, and *busy says whether that is an instance or another program that
 * serves it, which may be about to end. PERMTAB_E_SYSTEM, PERMTAB_E_MEMORY. */
int bound_socket_open(struct bound_socket *out, const struct bound_socket_options *options, bool *busy,
                      struct failure *failure) PERMTAB_MUST_CHECK;
/* Lets more or fewer connections wait. */
void bound_socket_resize(const struct bound_socket *bound, uint32_t backlog);
/* Stops listening and removes the file, unless it was inherited; the lock stays. Twice does nothing. */
void bound_socket_close(struct bound_socket *bound);
/* The same, and gives the lock up: the next instance may begin. */
void bound_socket_fini(struct bound_socket *bound);
/* In the worker: the lock is the master's alone, and ends with it. */
void bound_socket_forget_lock(struct bound_socket *bound);

#endif
