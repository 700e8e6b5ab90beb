/* The memfd of the keys. It stays writable, because each worker maps it anew: sealed is only its size, so that nobody
 * who has the descriptor can make a worker die of SIGBUS. For the same reason no page is touched that was not allocated
 * before. The size is that of the largest memory, and the pages come as it grows, so a small host pays for little. */
#include "proxy/keys/private.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010 /* Linux 5.1 */
#endif

#define SEALS      (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
#define BLOCK_SIZE 512u /* of st_blocks */

static int create(void)
{
    const unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    int descriptor = memfd_create("permtab-keys", flags | MFD_NOEXEC_SEAL);
    if (descriptor < 0 && errno == EINVAL) /* before Linux 6.3 */
        descriptor = memfd_create("permtab-keys", flags);
    return descriptor;
}

static off_t offset_of(uint32_t sets)
{
    return sets > 0 ? (off_t)KEYS_BYTES(sets) : 0;
}

/* Not posix_fallocate, which may write into what is there where the kernel cannot do it. No flag: all of it is within
 * the size, and gVisor knows none. */
int keys_allocate(int descriptor, uint32_t from, uint32_t to)
{
    int code;
    do
        code = fallocate(descriptor, 0, offset_of(from), offset_of(to) - offset_of(from));
    while (code < 0 && errno == EINTR);
    if (code == 0)
        return 0;
    return errno == ENOMEM || errno == ENOSPC ? PERMTAB_E_MEMORY : PERMTAB_E_SYSTEM;
}

bool keys_allocated(int descriptor, uint64_t sets)
{
    struct stat status;
    return sets <= KEYS_SETS_MAX && fstat(descriptor, &status) == 0 &&
           (uint64_t)status.st_blocks >= KEYS_BYTES(sets) / BLOCK_SIZE;
}

void keys_give_back(int descriptor, uint32_t from)
{
    const int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    (void)fallocate(descriptor, mode, offset_of(from), (off_t)KEYS_SIZE - offset_of(from));
}

/* A process that makes a file larger than it may is killed. */
static bool may_be_so_large(void)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_FSIZE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur >= KEYS_SIZE;
}

static int allocate_first(int descriptor)
{
    if (!may_be_so_large()) {
        errno = EFBIG;
        return PERMTAB_E_SYSTEM;
    }
    if (ftruncate(descriptor, (off_t)KEYS_SIZE) < 0)
        return PERMTAB_E_SYSTEM;
    return keys_allocate(descriptor, 0, KEYS_SETS_FIRST);
}

int keys_memfd_new(int *descriptor)
{
    int made = create();
    if (made < 0)
        return errno == ENOMEM ? PERMTAB_E_MEMORY : PERMTAB_E_SYSTEM;
    int code = allocate_first(made);
    if (code == 0 && fcntl(made, F_ADD_SEALS, SEALS) < 0)
        code = PERMTAB_E_SYSTEM;
    if (code < 0) {
        int saved = errno;
        (void)close(made);
        errno = saved;
        return code;
    }
    *descriptor = made;
    return 0;
}

bool keys_memfd_is_ours(int descriptor)
{
    struct stat status;
    int seals = fcntl(descriptor, F_GET_SEALS); /* of anything but a memfd: EINVAL */
    int mode = fcntl(descriptor, F_GETFL);
    if (seals < 0 || mode < 0 || fstat(descriptor, &status) < 0)
        return false;
    /* A seal against writing would make mmap fail; and it is none of ours. */
    return (seals & SEALS) == SEALS && (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) == 0 &&
           (mode & O_ACCMODE) == O_RDWR && S_ISREG(status.st_mode) && status.st_size == (off_t)KEYS_SIZE;
}
