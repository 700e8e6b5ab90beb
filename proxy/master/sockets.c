/* Binding a Unix socket, once.
 *
 * A path belongs to the process that holds a flock on PATH.lock. The lock goes away with the process, however that
 * ends, so a socket file without a held lock is stale and may be replaced. Two that start at once cannot both get
 * it. The lock file is removed at the end under the lock; a process that had opened it just before notices that its
 * file is no longer the one in the folder, and opens again.
 *
 * A socket that was inherited has the lock, too: two instances that take from one backlog would be two truths. */
#include "proxy/master/sockets.h"

#include "proxy/base/log.h"
#include "proxy/master/inherited.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- the address --------------------------------------------------------------------------------------------- */

static int address_of(const char *path, struct sockaddr_un *out, struct failure *failure)
{
    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof out->sun_path)
        return failure_set(failure, PERMTAB_E_INVALID, "%s: the path is too long", path);
    memcpy(out->sun_path, path, strlen(path));
    return 0;
}

/* Whether a connection is taken there. *pid: who called listen, 0 when that cannot be told. */
static bool somebody_listens(const char *path, pid_t *pid)
{
    struct sockaddr_un address;
    struct ucred peer = {0};
    socklen_t size = sizeof peer;
    *pid = 0;
    if (address_of(path, &address, NULL) < 0)
        return false;
    int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (probe < 0)
        return false;
    int code = connect(probe, (const struct sockaddr *)&address, sizeof address);
    bool listens = code == 0 || errno == EAGAIN;
    if (code == 0 && getsockopt(probe, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0)
        *pid = peer.pid;
    (void)close(probe);
    return listens;
}

/* Names the process that serves the path, when the kernel tells. */
static int conflict(const char *path, const char *who, bool *busy, struct failure *failure)
{
    char number[32] = "";
    pid_t pid;
    *busy = true;
    if (somebody_listens(path, &pid) && pid > 0)
        (void)snprintf(number, sizeof number, ", process %d", (int)pid);
    return failure_set(failure, PERMTAB_E_CONFLICT, "%s: %s is serving it%s", path, who, number);
}

/* ---- the lock ------------------------------------------------------------------------------------------------ */

/* 1: held; 0: the file was removed between open and lock, go round again. */
static int try_lock(struct bound_socket *bound, bool *busy, struct failure *failure)
{
    struct stat held, there;
    int lock = open(bound->lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (lock < 0)
        return failure_set(failure, PERMTAB_E_SYSTEM, "%s: %s", bound->lock_path, strerror(errno));
    if (flock(lock, LOCK_EX | LOCK_NB) < 0) {
        int error = errno;
        (void)close(lock);
        if (error == EWOULDBLOCK)
            return conflict(bound->path, "another instance", busy, failure);
        return failure_set(failure, PERMTAB_E_SYSTEM, "%s: %s", bound->lock_path, strerror(error));
    }
    if (fstat(lock, &held) < 0 || lstat(bound->lock_path, &there) < 0 || held.st_ino != there.st_ino ||
        held.st_dev != there.st_dev) {
        (void)close(lock);
        return 0;
    }
    bound->lock = lock;
    return 1;
}

static int take_lock(struct bound_socket *bound, bool *busy, struct failure *failure)
{
    for (int round = 0; round < 100; round++) {
        int code = try_lock(bound, busy, failure);
        if (code != 0)
            return code < 0 ? code : 0;
    }
    return failure_set(failure, PERMTAB_E_CONFLICT, "%s: keeps changing", bound->lock_path);
}

/* ---- the socket file ----------------------------------------------------------------------------------------- */

/* Warns of a folder that others may write to: they could put a socket of their own there. */
static void warn_of_folder(const char *path)
{
    char folder[256];
    struct stat status;
    const char *slash = strrchr(path, '/');
    int length = slash ? (int)(slash - path) : 0;
    (void)snprintf(folder, sizeof folder, "%.*s", length ? length : 1, length ? path : slash ? "/" : ".");
    if (stat(folder, &status) < 0)
        return; /* bind reports the error */
    if ((status.st_mode & (S_IWGRP | S_IWOTH)) && !(status.st_mode & S_ISVTX))
        log_warning("listener %s: its folder can be written by others, who could replace the socket", path);
    else if (status.st_uid != 0 && status.st_uid != geteuid())
        log_warning("listener %s: its folder belongs to uid %u, who could replace the socket", path,
                    (unsigned)status.st_uid);
}

static int remove_stale(const struct bound_socket *bound, bool *busy, struct failure *failure)
{
    struct stat status;
    pid_t pid;
    if (lstat(bound->path, &status) < 0)
        return 0;
    if (!S_ISSOCK(status.st_mode))
        return failure_set(failure, PERMTAB_E_CONFLICT, "%s: is there and is not a socket", bound->path);
    /* Another program listens, without our lock; or a worker whose master has just died. */
    if (somebody_listens(bound->path, &pid))
        return conflict(bound->path, "something else", busy, failure);
    if (unlink(bound->path) < 0)
        return failure_set(failure, PERMTAB_E_SYSTEM, "%s: %s", bound->path, strerror(errno));
    log_info("listener %s: replaced a stale socket file", bound->path);
    return 0;
}

static int bind_here(struct bound_socket *bound, const struct bound_socket_options *options, bool *busy,
                     struct failure *failure)
{
    struct sockaddr_un address;
    struct stat status;
    int code = address_of(bound->path, &address, failure);
    if (code == 0)
        code = remove_stale(bound, busy, failure);
    if (code < 0)
        return code;
    bound->descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (bound->descriptor < 0 || bind(bound->descriptor, (struct sockaddr *)&address, sizeof address) < 0)
        return failure_set(failure, PERMTAB_E_SYSTEM, "%s: %s", bound->path, strerror(errno));
    if (lstat(bound->path, &status) < 0)
        return failure_set(failure, PERMTAB_E_SYSTEM, "%s: %s", bound->path, strerror(errno));
    bound->device = status.st_dev;
    bound->inode = status.st_ino;
    /* The mode is set before listening: until then nobody can connect. */
    if (chmod(bound->path, (mode_t)options->mode) < 0)
        return failure_set(failure, PERMTAB_E_SYSTEM, "%s: %s", bound->path, strerror(errno));
    return 0;
}

/* Listens. For an inherited socket that is a second time: connections that wait stay, and peers see our uid and pid
 * from now on instead of those of whoever made the socket. */
static int begin_listening(const struct bound_socket *bound, uint32_t backlog, struct failure *failure)
{
    if (listen(bound->descriptor, backlog > INT32_MAX ? INT32_MAX : (int)backlog) < 0)
        return failure_set(failure, PERMTAB_E_SYSTEM, "%s: %s", bound->path, strerror(errno));
    return 0;
}

static int take_or_bind(struct bound_socket *bound, const struct bound_socket_options *options, bool *busy,
                        struct failure *failure)
{
    struct stat status;
    bound->descriptor = inherited_socket(options->inherited, bound->path);
    bound->inherited = bound->descriptor >= 0;
    if (!bound->inherited)
        return bind_here(bound, options, busy, failure);
    if (lstat(bound->path, &status) < 0 || !S_ISSOCK(status.st_mode))
        log_warning("listener %s: the socket was inherited, and its file is not there: nobody can connect",
                    bound->path);
    return 0;
}

int bound_socket_open(struct bound_socket *out, const struct bound_socket_options *options, bool *busy,
                      struct failure *failure)
{
    int code;
    *busy = false;
    *out = (struct bound_socket){.descriptor = -1, .lock = -1, .path = strdup(options->path)};
    if (!out->path || asprintf(&out->lock_path, "%s.lock", options->path) < 0) {
        out->lock_path = NULL; /* asprintf leaves anything there */
        code = failure_set(failure, PERMTAB_E_MEMORY, "%s: out of memory", options->path);
        goto out;
    }
    warn_of_folder(out->path);
    code = take_lock(out, busy, failure);
    if (code == 0)
        code = take_or_bind(out, options, busy, failure);
    if (code == 0)
        code = begin_listening(out, options->backlog, failure);
out:
    if (code < 0)
        bound_socket_fini(out);
    return code;
}

void bound_socket_resize(const struct bound_socket *bound, uint32_t backlog)
{
    if (bound->descriptor >= 0)
        (void)begin_listening(bound, backlog, NULL);
}

void bound_socket_close(struct bound_socket *bound)
{
    struct stat status;
    if (bound->descriptor < 0)
        return;
    /* Only the socket file that we made is removed: somebody may have put another there. */
    if (bound->inode != 0 && lstat(bound->path, &status) == 0 && status.st_ino == bound->inode &&
        status.st_dev == bound->device)
        (void)unlink(bound->path);
    (void)close(bound->descriptor);
    bound->descriptor = -1;
}

void bound_socket_fini(struct bound_socket *bound)
{
    bound_socket_close(bound);
    if (bound->lock >= 0) {
        (void)unlink(bound->lock_path);
        (void)close(bound->lock);
    }
    free(bound->lock_path);
    free(bound->path);
    *bound = (struct bound_socket){.descriptor = -1, .lock = -1};
}

void bound_socket_forget_lock(struct bound_socket *bound)
{
    if (bound->lock >= 0)
        (void)close(bound->lock);
    bound->lock = -1;
}
