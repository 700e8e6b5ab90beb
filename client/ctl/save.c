/* permtabctl export FILE: a document into the file, device or FIFO of that name.
 *
 *     nothing                      written beside, then linked to the name, unless somebody was quicker
 *     a regular file               written beside with its mode and owner, then renamed over it: all of it or nothing
 *     one that a copy would not    written in place, once there is room: it has other names, an owner or rights that
 *     be the same as               this user cannot give, or a folder that takes no new files
 *     a device, a FIFO             written to
 *
 * Symbolic links are followed to their targets, and a name of our own standard output is written as that. Nothing
 * but a regular file is ever renamed over. */
#include "client/ctl/permtabctl.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define COPY_SIZE 65536u

static bool write_all(int descriptor, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t count = write(descriptor, data, size);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return false;
        data += count;
        size -= (size_t)count;
    }
    return true;
}

bool control_copy(int from, int to)
{
    char data[COPY_SIZE];
    for (;;) {
        ssize_t count = read(from, data, sizeof(data));
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return count == 0;
        if (!write_all(to, data, (size_t)count))
            return false;
    }
}

/* Closes; errno is that of the first failure. */
static bool close_well(int descriptor, bool good)
{
    int error = errno;
    bool closed = close(descriptor) == 0;
    if (!good)
        errno = error;
    return good && closed;
}

/* Allocates room first, so that a full disk is seen while the old text is whole. */
static bool write_in_place(int document, int file, const struct stat *old)
{
    struct stat status;
    if (fstat(document, &status) < 0)
        return false;
    int error = status.st_size > old->st_size ? posix_fallocate(file, 0, status.st_size) : 0;
    /* After any other error the copy is tried: it is not known yet whether there is room. */
    if (error == ENOSPC || error == EDQUOT || error == EFBIG || error == EIO) {
        /* When it fails the file is longer than it was, and the old text is still whole. */
        if (ftruncate(file, old->st_size) == 0)
            errno = error;
        return false;
    }
    return control_copy(document, file) && ftruncate(file, status.st_size) == 0 && fsync(file) == 0;
}

/* A new file beside `path`, with a name that is nobody's; `name` gets it. Private until it is given its mode. */
static int create_beside(const char *path, char name[PATH_MAX])
{
    if (snprintf(name, PATH_MAX, "%s.XXXXXX", path) >= PATH_MAX) {
        errno = ENAMETOOLONG;
        return -1;
    }
    return mkostemp(name, O_CLOEXEC);
}

/* Whether a copy may be renamed over the file, or would lose something: other names, rights beyond the mode, an
 * owner. */
static bool can_replace(int file, const struct stat *old, int copy)
{
    return old->st_nlink == 1 && fgetxattr(file, "system.posix_acl_access", NULL, 0) <= 0 &&
           fchown(copy, old->st_uid, old->st_gid) == 0 && fchmod(copy, old->st_mode & 07777) == 0;
}

/* Whether the file at `path` is still the one that was opened. */
static bool is_still(const char *path, const struct stat *old)
{
    struct stat status;
    return lstat(path, &status) == 0 && S_ISREG(status.st_mode) && status.st_dev == old->st_dev &&
           status.st_ino == old->st_ino;
}

static bool save_over(int document, int file, const struct stat *old, const char *name)
{
    char path[PATH_MAX], beside[PATH_MAX];
    int copy = realpath(name, path) != NULL && is_still(path, old) ? create_beside(path, beside) : -1;
    if (copy < 0)
        return write_in_place(document, file, old);
    if (!can_replace(file, old, copy)) {
        (void)close(copy);
        (void)unlink(beside);
        return write_in_place(document, file, old);
    }
    bool good = control_copy(document, copy) && fsync(copy) == 0;
    good = close_well(copy, good);
    if (good && is_still(path, old) && rename(beside, path) == 0)
        return true;
    int error = good && !is_still(path, old) ? EBUSY : errno;
    (void)unlink(beside);
    errno = error;
    return false;
}

/* The path that a chain of links ends at, where no file is. The kernel follows the links in folders. */
static bool follow(const char *name, char path[PATH_MAX])
{
    char link[PATH_MAX];
    ssize_t length = readlink(name, link, sizeof(link) - 1);
    if (length < 0)
        return snprintf(path, PATH_MAX, "%s", name) < PATH_MAX;
    link[length] = '\0';
    const char *slash = link[0] == '/' ? NULL : strrchr(name, '/');
    int folder = slash != NULL ? (int)(slash - name) + 1 : 0;
    return snprintf(path, PATH_MAX, "%.*s%s", folder, name, link) < PATH_MAX;
}

/* The mode that a shell's > would give. umask can be read only by setting it; that is safe because there is one
 * thread. */
static mode_t new_mode(void)
{
    mode_t mask = umask(0);
    (void)umask(mask);
    return 0666 & ~mask;
}

static bool save_new(int document, const char *name)
{
    char path[PATH_MAX], next[PATH_MAX], beside[PATH_MAX];
    struct stat status;
    if (!follow(name, path))
        return false;
    for (int links = 0; links < 40 && lstat(path, &status) == 0 && S_ISLNK(status.st_mode); links++) {
        if (!follow(path, next))
            return false;
        memcpy(path, next, sizeof(path));
    }
    int file = create_beside(path, beside);
    if (file < 0)
        return false;
    bool good = control_copy(document, file) && fchmod(file, new_mode()) == 0 && fsync(file) == 0;
    good = close_well(file, good);
    good = good && renameat2(AT_FDCWD, beside, AT_FDCWD, path, RENAME_NOREPLACE) == 0;
    if (!good && errno == EINVAL) /* a file system that cannot; link refuses what is there too */
        good = link(beside, path) == 0 && unlink(beside) == 0;
    int error = errno;
    if (!good)
        (void)unlink(beside);
    errno = error;
    return good;
}

static bool is_standard_output(const struct stat *status)
{
    struct stat output;
    return fstat(STDOUT_FILENO, &output) == 0 && output.st_dev == status->st_dev &&
           output.st_ino == status->st_ino;
}

bool control_save(int document, const char *name)
{
    struct stat status;
    int file = open(name, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    if (file < 0)
        return errno == ENOENT && save_new(document, name);
    bool good = fstat(file, &status) == 0;
    if (good && is_standard_output(&status))
        good = control_copy(document, STDOUT_FILENO);
    else if (good && S_ISREG(status.st_mode))
        good = save_over(document, file, &status, name);
    else
        good = good && control_copy(document, file);
    return close_well(file, good);
}
