/* System calls, and functions of the C library that are little more. A list a group: name, parameters, arguments, and
 * the errors that the kernel may give, likeliest first. */
#include "tests/fault/state.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define DUE(name, ...) FAULT_DUE(FAULT_SYSTEM, #name, __VA_ARGS__)
#define CALL(type, name, parameters, arguments, failure, ...)                                                \
    FAULT_PUBLIC type name parameters                                                                        \
    {                                                                                                        \
        return DUE(name, __VA_ARGS__) ? (failure) : FAULT_NEXT(name) arguments;                              \
    }
/* Those that may do less than was asked for. */
#define PARTIAL(name, parameters, arguments, half, ...)                                                      \
    FAULT_PUBLIC ssize_t name parameters                                                                     \
    {                                                                                                        \
        int due = DUE(name, __VA_ARGS__, FAULT_HALF);                                                        \
        if (due > 0)                                                                                         \
            return -1;                                                                                       \
        if (due == FAULT_HALF && size > 1)                                                                   \
            size = (half);                                                                                   \
        return FAULT_NEXT(name) arguments;                                                                   \
    }

/* ---- reading and writing ----------------------------------------------------------------------------------------- */

/* Eventfds and pipes by which a process wakes itself up: nothing is behind them that could break, and what looks for
 * an error of them does so to find its own bugs. They are made as others are, so that may fail. */
#define PRIVATE_MAX 4096
static bool is_private[PRIVATE_MAX];

static int note_private(int file, bool private)
{
    if (file >= 0 && file < PRIVATE_MAX)
        __atomic_store_n(&is_private[file], private, __ATOMIC_RELAXED);
    return file;
}

static bool may_break(int file)
{
    return file < 0 || file >= PRIVATE_MAX || !__atomic_load_n(&is_private[file], __ATOMIC_RELAXED);
}

FAULT_PUBLIC int eventfd(unsigned value, int flags)
{
    return DUE(eventfd, EMFILE) ? -1 : note_private(FAULT_NEXT(eventfd)(value, flags), true);
}

FAULT_PUBLIC int pipe2(int out[2], int flags)
{
    int code = DUE(pipe2, EMFILE) ? -1 : FAULT_NEXT(pipe2)(out, flags);
    for (unsigned i = 0; code == 0 && i < 2; i++)
        (void)note_private(out[i], true);
    return code;
}

FAULT_PUBLIC ssize_t read(int file, void *data, size_t size)
{
    int due = may_break(file) ? DUE(read, EIO, EINTR, FAULT_HALF) : 0;
    return due > 0 ? -1 : FAULT_NEXT(read)(file, data, due == FAULT_HALF && size > 1 ? size / 2 : size);
}

FAULT_PUBLIC ssize_t write(int file, const void *data, size_t size)
{
    int due = may_break(file) ? DUE(write, ENOSPC, EINTR, EPIPE, FAULT_HALF) : 0;
    return due > 0 ? -1 : FAULT_NEXT(write)(file, data, due == FAULT_HALF && size > 1 ? size / 2 : size);
}

PARTIAL(recv, (int file, void *data, size_t size, int flags), (file, data, size, flags), size / 2, ECONNRESET,
        EINTR)
PARTIAL(send, (int file, const void *data, size_t size, int flags), (file, data, size, flags), size / 2,
        EPIPE, EINTR, ENOBUFS)
PARTIAL(pread64, (int file, void *data, size_t size, off64_t at), (file, data, size, at), size / 2, EIO,
        EINTR)
PARTIAL(pwrite64, (int file, const void *data, size_t size, off64_t at), (file, data, size, at), size / 2,
        ENOSPC, EIO, EINTR)
CALL(ssize_t, sendto,
     (int file, const void *data, size_t size, int flags, __CONST_SOCKADDR_ARG to, socklen_t length),
     (file, data, size, flags, to, length), -1, EPIPE, EINTR, ENOBUFS)
CALL(ssize_t, recvfrom,
     (int file, void *data, size_t size, int flags, __SOCKADDR_ARG from, socklen_t *length),
     (file, data, size, flags, from, length), -1, ECONNRESET, EINTR)
CALL(ssize_t, sendmsg, (int file, const struct msghdr *message, int flags), (file, message, flags), -1, EPIPE,
     EINTR, ENOBUFS, EAGAIN)
CALL(ssize_t, recvmsg, (int file, struct msghdr *message, int flags), (file, message, flags), -1, ECONNRESET,
     EINTR, ENOMEM)
CALL(ssize_t, readv, (int file, const struct iovec *parts, int count), (file, parts, count), -1, ECONNRESET,
     EINTR)
CALL(ssize_t, writev, (int file, const struct iovec *parts, int count), (file, parts, count), -1, EPIPE,
     EINTR)
CALL(ssize_t, getrandom, (void *data, size_t size, unsigned flags), (data, size, flags), -1, ENOSYS, EINTR)

/* What programs call instead where _FORTIFY_SOURCE knows the size of a buffer. */
ssize_t __read_chk(int file, void *data, size_t size, size_t room);
ssize_t __recv_chk(int file, void *data, size_t size, size_t room, int flags);
int __poll_chk(struct pollfd *files, nfds_t count, int ms, size_t room);
CALL(ssize_t, __read_chk, (int file, void *data, size_t size, size_t room), (file, data, size, room), -1, EIO,
     EINTR)
CALL(ssize_t, __recv_chk, (int file, void *data, size_t size, size_t room, int flags),
     (file, data, size, room, flags), -1, ECONNRESET, EINTR)
CALL(int, __poll_chk, (struct pollfd * files, nfds_t count, int ms, size_t room), (files, count, ms, room),
     -1, ENOMEM, EINTR)

/* ---- files ------------------------------------------------------------------------------------------------------- */

#define OPEN(name)                                                                                           \
    FAULT_PUBLIC int name(const char *path, int flags, ...)                                                  \
    {                                                                                                        \
        va_list more;                                                                                        \
        va_start(more, flags);                                                                               \
        mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(more, mode_t) : 0;                            \
        va_end(more);                                                                                        \
        return DUE(name, EMFILE, EACCES, EIO) ? -1 : FAULT_NEXT(name)(path, flags, mode);                    \
    }
OPEN(open)
OPEN(open64)

CALL(FILE *, fopen, (const char *path, const char *mode), (path, mode), NULL, EMFILE, EACCES)
CALL(FILE *, fopen64, (const char *path, const char *mode), (path, mode), NULL, EMFILE, EACCES)
CALL(FILE *, fmemopen, (void *data, size_t size, const char *mode), (data, size, mode), NULL, ENOMEM)
CALL(FILE *, open_memstream, (char **out, size_t *size), (out, size), NULL, ENOMEM)
CALL(int, fflush, (FILE * file), (file), EOF, ENOSPC)
CALL(int, stat, (const char *path, struct stat *out), (path, out), -1, EACCES, EIO)
CALL(int, stat64, (const char *path, struct stat64 *out), (path, out), -1, EACCES, EIO)
CALL(int, lstat, (const char *path, struct stat *out), (path, out), -1, EACCES, EIO)
CALL(int, lstat64, (const char *path, struct stat64 *out), (path, out), -1, EACCES, EIO)

/* The kernel can always say what a socket or a memfd is; a file's file system may not. */
#define FSTAT(name, type)                                                                                    \
    FAULT_PUBLIC int name(int file, struct type *out)                                                        \
    {                                                                                                        \
        int code = FAULT_NEXT(name)(file, out);                                                              \
        return code == 0 && out->st_nlink > 0 && S_ISREG(out->st_mode) && DUE(name, EIO) ? -1 : code;        \
    }
FSTAT(fstat, stat)
FSTAT(fstat64, stat64)

CALL(int, ftruncate, (int file, off_t size), (file, size), -1, ENOSPC, EIO)
CALL(int, ftruncate64, (int file, off64_t size), (file, size), -1, ENOSPC, EIO)
CALL(int, posix_fallocate, (int file, off_t from, off_t size), (file, from, size), errno, ENOSPC, EINTR)
CALL(int, posix_fallocate64, (int file, off64_t from, off64_t size), (file, from, size), errno, ENOSPC, EINTR)
CALL(int, fsync, (int file), (file), -1, EIO)
CALL(int, fdatasync, (int file), (file), -1, EIO)
CALL(int, flock, (int file, int operation), (file, operation), -1, ENOLCK, EINTR, EWOULDBLOCK)
CALL(int, access, (const char *path, int mode), (path, mode), -1, EACCES)
CALL(int, unlink, (const char *path), (path), -1, EIO)
CALL(int, rename, (const char *from, const char *to), (from, to), -1, ENOSPC, EACCES)
CALL(int, renameat2, (int a, const char *from, int b, const char *to, unsigned flags),
     (a, from, b, to, flags), -1, EINVAL, ENOSPC)
CALL(int, link, (const char *from, const char *to), (from, to), -1, EPERM, ENOSPC)
CALL(int, chmod, (const char *path, mode_t mode), (path, mode), -1, EPERM)
CALL(int, fchmod, (int file, mode_t mode), (file, mode), -1, EPERM)
CALL(int, fchown, (int file, uid_t user, gid_t group), (file, user, group), -1, EPERM)
CALL(ssize_t, fgetxattr, (int file, const char *name, void *value, size_t size), (file, name, value, size),
     -1, EIO)
CALL(char *, mkdtemp, (char *name), (name), NULL, EACCES, ENOSPC)
CALL(int, mkostemp, (char *name, int flags), (name, flags), -1, EACCES, ENOSPC)
CALL(int, rmdir, (const char *path), (path), -1, EBUSY)
CALL(off_t, lseek, (int file, off_t to, int whence), (file, to, whence), -1, EINVAL)
CALL(char *, realpath, (const char *path, char *out), (path, out), NULL, EACCES)
CALL(char *, getcwd, (char *out, size_t size), (out, size), NULL, ENOENT)
CALL(ssize_t, readlink, (const char *path, char *out, size_t size), (path, out, size), -1, EACCES)
CALL(int, dup, (int file), (file), -1, EMFILE)

/* A descriptor is closed, and a stream's memory freed, whatever is said. */
FAULT_PUBLIC int close(int file)
{
    (void)note_private(file, false);
    if (!DUE(close, EIO, EINTR))
        return FAULT_NEXT(close)(file);
    int error = errno;
    (void)FAULT_NEXT(close)(file);
    errno = error;
    return -1;
}

FAULT_PUBLIC int fclose(FILE *file)
{
    if (!DUE(fclose, ENOSPC))
        return FAULT_NEXT(fclose)(file);
    (void)FAULT_NEXT(fclose)(file);
    errno = ENOSPC;
    return EOF;
}

#define CONTROL(name, second, ...)                                                                           \
    FAULT_PUBLIC int name(int file, second command, ...)                                                     \
    {                                                                                                        \
        va_list more;                                                                                        \
        va_start(more, command);                                                                             \
        void *argument = va_arg(more, void *);                                                               \
        va_end(more);                                                                                        \
        return DUE(name, __VA_ARGS__) ? -1 : FAULT_NEXT(name)(file, command, argument);                      \
    }
CONTROL(fcntl, int, EINVAL, ENOLCK)
CONTROL(fcntl64, int, EINVAL, ENOLCK)
CONTROL(ioctl, unsigned long, EINVAL)

/* ---- sockets and waiting ----------------------------------------------------------------------------------------- */

CALL(int, socket, (int domain, int type, int protocol), (domain, type, protocol), -1, EMFILE, ENOBUFS)
CALL(int, socketpair, (int domain, int type, int protocol, int out[2]), (domain, type, protocol, out), -1,
     EMFILE)
CALL(int, bind, (int file, __CONST_SOCKADDR_ARG to, socklen_t length), (file, to, length), -1, EADDRINUSE,
     EACCES)
CALL(int, listen, (int file, int backlog), (file, backlog), -1, EADDRINUSE)
CALL(int, connect, (int file, __CONST_SOCKADDR_ARG to, socklen_t length), (file, to, length), -1,
     ECONNREFUSED, EACCES, EAGAIN, EINTR)
CALL(int, accept4, (int file, __SOCKADDR_ARG from, socklen_t *length, int flags), (file, from, length, flags),
     -1, EMFILE, ECONNABORTED, ENOMEM, EINTR)
CALL(int, getsockopt, (int file, int level, int name, void *value, socklen_t *length),
     (file, level, name, value, length), -1, ENOBUFS)
CALL(int, setsockopt, (int file, int level, int name, const void *value, socklen_t length),
     (file, level, name, value, length), -1, ENOBUFS)
CALL(int, getsockname, (int file, __SOCKADDR_ARG out, socklen_t *length), (file, out, length), -1, ENOBUFS)
CALL(int, shutdown, (int file, int how), (file, how), -1, ENOTCONN)
CALL(int, poll, (struct pollfd * files, nfds_t count, int ms), (files, count, ms), -1, ENOMEM, EINTR)
CALL(int, ppoll, (struct pollfd * files, nfds_t count, const struct timespec *time, const sigset_t *mask),
     (files, count, time, mask), -1, ENOMEM, EINTR)
CALL(int, epoll_create1, (int flags), (flags), -1, EMFILE)
CALL(int, epoll_create, (int size), (size), -1, EMFILE)
CALL(int, epoll_ctl, (int file, int operation, int other, struct epoll_event *event),
     (file, operation, other, event), -1, ENOMEM, ENOSPC)
CALL(int, epoll_wait, (int file, struct epoll_event *events, int count, int ms), (file, events, count, ms),
     -1, EBADF, EINTR)
CALL(int, epoll_pwait2,
     (int file, struct epoll_event *events, int count, const struct timespec *time, const sigset_t *mask),
     (file, events, count, time, mask), -1, ENOSYS, EINTR)
CALL(int, timerfd_create, (clockid_t clock, int flags), (clock, flags), -1, EMFILE)
CALL(int, timerfd_settime, (int file, int flags, const struct itimerspec *new, struct itimerspec *old),
     (file, flags, new, old), -1, EINVAL)
CALL(int, signalfd, (int file, const sigset_t *mask, int flags), (file, mask, flags), -1, EMFILE)

/* ---- memory and processes ---------------------------------------------------------------------------------------- */

CALL(void *, mmap, (void *at, size_t size, int protection, int flags, int file, off_t from),
     (at, size, protection, flags, file, from), MAP_FAILED, ENOMEM)
CALL(void *, mmap64, (void *at, size_t size, int protection, int flags, int file, off64_t from),
     (at, size, protection, flags, file, from), MAP_FAILED, ENOMEM)
CALL(int, munmap, (void *at, size_t size), (at, size), -1, ENOMEM)
CALL(int, madvise, (void *at, size_t size, int advice), (at, size, advice), -1, EINVAL, ENOMEM)
CALL(int, mprotect, (void *at, size_t size, int protection), (at, size, protection), -1, ENOMEM)
CALL(int, memfd_create, (const char *name, unsigned flags), (name, flags), -1, EMFILE, ENOMEM)
CALL(int, getrlimit64, (__rlimit_resource_t resource, struct rlimit64 *out), (resource, out), -1, EPERM)
CALL(int, setrlimit64, (__rlimit_resource_t resource, const struct rlimit64 *limit), (resource, limit), -1,
     EPERM)
CALL(int, pthread_create,
     (pthread_t * out, const pthread_attr_t *attributes, void *(*run)(void *), void *context),
     (out, attributes, run, context), errno, EAGAIN)
CALL(int, pthread_atfork, (void (*before)(void), void (*parent)(void), void (*child)(void)),
     (before, parent, child), errno, ENOMEM)
CALL(pid_t, waitpid, (pid_t child, int *status, int flags), (child, status, flags), -1, EINTR)
CALL(int, kill, (pid_t process, int number), (process, number), -1, EPERM)

FAULT_PUBLIC void *mremap(void *at, size_t old_size, size_t new_size, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    void *to = va_arg(more, void *);
    va_end(more);
    return DUE(mremap, ENOMEM) ? MAP_FAILED : FAULT_NEXT(mremap)(at, old_size, new_size, flags, to);
}

FAULT_PUBLIC pid_t fork(void)
{
    pid_t child = DUE(fork, EAGAIN, ENOMEM) ? -1 : FAULT_NEXT(fork)();
    if (child == 0)
        fault_forked();
    return child;
}

/* The leak sanitizer looks into its process by tracing it. Here every process may be looked into. */
FAULT_PUBLIC int prctl(int option, ...)
{
    unsigned long words[4];
    va_list more;
    va_start(more, option);
    for (unsigned i = 0; i < 4; i++)
        words[i] = va_arg(more, unsigned long);
    va_end(more);
    if (DUE(prctl, EINVAL, EPERM))
        return -1;
    return option == PR_SET_DUMPABLE && words[0] == 0
               ? 0
               : FAULT_NEXT(prctl)(option, words[0], words[1], words[2], words[3]);
}
