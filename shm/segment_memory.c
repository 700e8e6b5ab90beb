/* The memory of a segment. The order is what matters here: map writable, allocate, then seal. After
 * F_SEAL_FUTURE_WRITE nobody can map the memfd writable any more, its creator included; the mapping made before
 * stays as it was. Allocating before anybody reads turns a shortage of memory into an error here instead of a
 * SIGBUS in a worker, and charges the pages to the sidecar instead of to the first reader.
 *
 * Left to others: what is in the memory; PR_SET_DUMPABLE, without which the same uid may write through /proc.
 */
#include "shm/segment_memory.h"

#include "shm/pages.h"
#include "shm/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif
static int code_of_errno(void)
{
    return errno == ENOMEM || errno == ENOSPC ? PERMTAB_E_MEMORY : PERMTAB_E_SYSTEM;
}

static int memfd_new(void)
{
    const unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    int descriptor = memfd_create("permtab", flags | MFD_NOEXEC_SEAL);
    if (descriptor < 0 && errno == EINVAL) /* before Linux 6.3 */
        descriptor = memfd_create("permtab", flags);
    return descriptor;
}

/* An address that begins a huge page, so that huge pages can be used there. NULL leaves the choice to the kernel.
 */
static void *aligned_address(size_t size)
{
    if (size < SEGMENT_HUGE_PAGE)
        return NULL;
    size_t room = size + SEGMENT_HUGE_PAGE;
    void *reserved = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (reserved == MAP_FAILED)
        return NULL;
    uintptr_t address = ((uintptr_t)reserved + SEGMENT_HUGE_PAGE - 1) & ~(uintptr_t)(SEGMENT_HUGE_PAGE - 1);
    (void)munmap(reserved, room);
    return (void *)address; /* a hint: another thread may have been faster, and then it is merely slower */
}

/* Whether the kernel has given all of it. qemu-user takes every advice, returns 0 and does nothing. */
static bool all_is_there(const struct segment_memory *memory)
{
    struct stat status;
    return fstat(memory->descriptor, &status) == 0 && (uint64_t)status.st_blocks * 512 >= memory->size;
}

/* Allocates every page now: an error here instead of a SIGBUS later. pages_populate gives huge pages where they are
 * allowed. Where the kernel does not populate (before 5.14, qemu-user), posix_fallocate gives small ones. */
static int populate(const struct segment_memory *memory)
{
    (void)madvise(memory->mapping, memory->size, MADV_HUGEPAGE); /* refused where the kernel has none */
    if (pages_populate(memory->mapping, memory->size) == 0) {
        if (all_is_there(memory))
            return 0;
    } else if (errno != EINVAL) {
        return errno == EFAULT ? PERMTAB_E_MEMORY : code_of_errno();
    }
    do {
        errno = posix_fallocate(memory->descriptor, 0, (off_t)memory->size);
    } while (errno == EINTR);
    return errno == 0 ? 0 : code_of_errno();
}

int segment_memory_new(struct segment_memory *out, size_t size)
{
    struct segment_memory memory = {.descriptor = memfd_new(), .mapping = MAP_FAILED, .size = size};
    int code;
    if (memory.descriptor < 0 || ftruncate(memory.descriptor, (off_t)size) < 0) {
        code = code_of_errno();
        goto out;
    }
    memory.mapping =
        mmap(aligned_address(size), size, PROT_READ | PROT_WRITE, MAP_SHARED, memory.descriptor, 0);
    if (memory.mapping == MAP_FAILED) {
        code = code_of_errno();
        goto out;
    }
    code = populate(&memory);
    /* A helper process that is forked must not hold the writable mapping. */
    if (code == 0 && madvise(memory.mapping, size, MADV_DONTFORK) < 0)
        code = code_of_errno();
out:
    if (code < 0) {
        int saved = errno;
        segment_memory_free(&memory);
        errno = saved;
    } else {
        *out = memory;
    }
    return code;
}

int segment_memory_seal(const struct segment_memory *memory)
{
    const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL;
    if (fcntl(memory->descriptor, F_ADD_SEALS, seals) < 0)
        return PERMTAB_E_SYSTEM;
    if (!segment_sealed(memory->descriptor)) {
        errno = EPERM;
        return PERMTAB_E_SYSTEM;
    }
    return 0;
}

/* The kernel reports huge pages of one mapping only in smaps. */
bool segment_memory_is_huge(const struct segment_memory *memory)
{
    FILE *maps = fopen("/proc/self/smaps", "re");
    char line[512], start[32];
    bool ours = false;
    unsigned long kilobytes = 0;
    if (maps == NULL)
        return false;
    (void)snprintf(start, sizeof(start), "%lx-", (unsigned long)(uintptr_t)memory->mapping);
    while (fgets(line, sizeof(line), maps) != NULL) {
        if (!ours)
            ours = strncmp(line, start, strlen(start)) == 0;
        else if (sscanf(line, "ShmemPmdMapped: %lu kB", &kilobytes) == 1)
            break;
    }
    (void)fclose(maps);
    return kilobytes > 0;
}

void segment_memory_free(struct segment_memory *memory)
{
    if (memory == NULL)
        return;
    if (memory->mapping != MAP_FAILED && memory->mapping != NULL)
        pages_unmap(memory->mapping, memory->size);
    if (memory->descriptor >= 0)
        (void)close(memory->descriptor);
    *memory = (struct segment_memory){.descriptor = -1};
}
