/* Listening on a Unix socket.
 *
 * A path belongs to the process that holds a flock on PATH.lock. The lock goes away with the process, however that
 * ends, so a socket file without a held lock is stale and may be replaced. Two that start at once cannot both get
 * it. The lock file is removed at the end under the lock; a process that had opened it just before notices that its
 * file is no longer the one in the folder, and opens again.
 *
 * The listener_accept_fn decides what is done with a connection. */
#include "proxy/serve/listener.h"

#include "proxy/base/clock.h"
#include "proxy/base/log.h"
#include "proxy/base/timer.h"
#include "proxy/base/trouble.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG       1024
#define ACCEPT_A_TURN 64
#define PAUSE_MS      200

struct listener {
    struct event *event;
    struct event *pause; /* accepting goes on when it fires */
    listener_accept_fn accept;
    void *context;
    struct trouble trouble; /* with accepting */
    char *path;
    char *lock_path;
    int socket;
    int lock;
    dev_t device; /* of the socket file that we made */
    ino_t inode;
};

/* ---- the lock -------------------------------------------------------------------------------------------- */

/* 1: held; 0: the file was removed between open and lock, go round again. */
static int try_lock(struct listener *listener, struct failure *failure)
{
    struct stat held, there;
    int lock = open(listener->lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (lock < 0)
        return failure_set(failure, PERMTAB_E_SYSTEM, "%s: %s", listener->lock_path, strerror(errno));
    if (flock(lock, LOCK_EX | LOCK_NB) < 0) {
        int error = errno;
        (void)close(lock);
        if (error == EWOULDBLOCK)
            return failure_set(failure, PERMTAB_E_CONFLICT, "%s: another instance is serving it",
                               listener->path);
        return failure_set(failure, PERMTAB_E_SYSTEM, "%s: %s", listener->lock_path, strerror(error));
    }
    if (fstat(lock, &held) < 0 || lstat(listener->lock_path, &there) < 0 || held.st_ino != there.st_ino ||
        held.st_dev != there.st_dev) {
        (void)close(lock);
        return 0;
    }
    listener->lock = lock;
    return 1;
}

static int take_lock(struct listener *listener, struct failure *failure)
{
    for (int round = 0; round < 100; round++) {
        int code = try_lock(listener, failure);
        if (code != 0)
            return code < 0 ? code : 0;
    }
    return failure_set(failure, PERMTAB_E_CONFLICT, "%s: keeps changing", listener->lock_path);
}

/* ---- the socket file ------------------------------------------------------------------------------------- */

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

static bool somebody_listens(const struct sockaddr_un *address)
{
    int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (probe < 0)
        return false;
    int code = connect(probe, (const struct sockaddr *)address, sizeof *address);
    bool listens = code == 0 || errno == EAGAIN;
    (void)close(probe);
    return listens;
}

static int remove_stale(const struct listener *listener, const struct sockaddr_un *address,
                        struct failure *failure)
{
    struct stat status;
    if (lstat(listener->path, &status) < 0)
        return 0;
    if (!S_ISSOCK(status.st_mode))
        return failure_set(failure, PERMTAB_E_CONFLICT, "%s: is there and is not a socket", listener->path);
    /* Another program listens, without our lock. */
    if (somebody_listens(address))
        return failure_set(failure, PERMTAB_E_CONFLICT, "%s: something else is serving it", listener->path);
    if (unlink(listener->path) < 0)
        return failure_set(failure, PERMTAB_E_SYSTEM, "%s: %s", listener->path, strerror(errno));
    log_info("listener %s: replaced a stale socket file", listener->path);
    return 0;
}

static int bind_socket(struct listener *listener, uint32_t mode, struct failure *failure)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat status;
    if (strlen(listener->path) >= sizeof address.sun_path)
        return failure_set(failure, PERMTAB_E_INVALID, "%s: the path is too long", listener->path);
    memcpy(address.sun_path, listener->path, strlen(listener->path));
    int code = remove_stale(listener, &address, failure);
    if (code < 0)
        return code;
    listener->socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listener->socket < 0 || bind(listener->socket, (struct sockaddr *)&address, sizeof address) < 0)
        return failure_set(failure, PERMTAB_E_SYSTEM, "%s: %s", listener->path, strerror(errno));
    if (lstat(listener->path, &status) < 0)
        return failure_set(failure, PERMTAB_E_SYSTEM, "%s: %s", listener->path, strerror(errno));
    listener->device = status.st_dev;
    listener->inode = status.st_ino;
    /* The mode is set before listening: until then nobody can connect. */
    if (chmod(listener->path, (mode_t)mode) < 0 || listen(listener->socket, BACKLOG) < 0)
        return failure_set(failure, PERMTAB_E_SYSTEM, "%s: %s", listener->path, strerror(errno));
    return 0;
}

/* ---- accepting ------------------------------------------------------------------------------------------- */

static void on_resume(evutil_socket_t descriptor, short what, void *context)
{
    struct listener *listener = context;
    (void)descriptor, (void)what;
    (void)event_add(listener->event, NULL);
}

/* Out of descriptors or memory: the connection stays in the backlog, and asking again at once would spin. */
static void pause_accepting(struct listener *listener)
{
    (void)trouble_happens(&listener->trouble, LOG_LEVEL_WARNING, clock_ns(),
                          "listener %s: cannot accept: %s; pausing", listener->path, strerror(errno));
    (void)event_del(listener->event);
    (void)timer_in_ms(listener->pause, PAUSE_MS);
}

static void on_connection(evutil_socket_t descriptor, short what, void *context)
{
    struct listener *listener = context;
    (void)what;
    for (int i = 0; i < ACCEPT_A_TURN; i++) {
        int connection = accept4(descriptor, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (connection >= 0) {
            if (trouble_lasts(&listener->trouble))
                trouble_ends(&listener->trouble, clock_ns(), "listener: accepts again");
            listener->accept(listener->context, connection);
            continue;
        }
        if (errno == EINTR || errno == ECONNABORTED)
            continue;
        if (errno != EAGAIN && errno != EWOULDBLOCK)
            pause_accepting(listener);
        return;
    }
}

int listener_new(struct listener **out, const struct listener_options *options, struct failure *failure)
{
    const char *path = options->path;
    int code = PERMTAB_E_MEMORY;
    struct listener *listener = calloc(1, sizeof *listener);
    if (!listener)
        goto out;
    listener->accept = options->accept;
    listener->context = options->context;
    listener->socket = listener->lock = -1;
    listener->path = strdup(path);
    if (!listener->path || asprintf(&listener->lock_path, "%s.lock", path) < 0) {
        listener->lock_path = NULL; /* asprintf leaves anything there */
        goto out;
    }
    warn_of_folder(path);
    code = take_lock(listener, failure);
    if (code < 0)
        goto out;
    code = bind_socket(listener, options->mode, failure);
    if (code < 0)
        goto out;
    code = PERMTAB_E_MEMORY;
    listener->event =
        event_new(options->base, listener->socket, EV_READ | EV_PERSIST, on_connection, listener);
    listener->pause = evtimer_new(options->base, on_resume, listener);
    if (listener->event && listener->pause && event_add(listener->event, NULL) == 0)
        code = 0;
out:
    if (code == PERMTAB_E_MEMORY)
        (void)failure_set(failure, code, "%s: out of memory", path);
    if (code < 0) {
        listener_free(listener);
        listener = NULL;
    }
    *out = listener;
    return code;
}

void listener_free(struct listener *listener)
{
    struct stat status;
    if (!listener)
        return;
    if (listener->pause)
        event_free(listener->pause);
    if (listener->event)
        event_free(listener->event);
    /* Only the socket file that we made is removed: somebody may have put another there. */
    if (listener->inode != 0 && lstat(listener->path, &status) == 0 && status.st_ino == listener->inode &&
        status.st_dev == listener->device)
        (void)unlink(listener->path);
    if (listener->socket >= 0)
        (void)close(listener->socket);
    if (listener->lock >= 0) {
        (void)unlink(listener->lock_path);
        (void)close(listener->lock);
    }
    free(listener->lock_path);
    free(listener->path);
    free(listener);
}
