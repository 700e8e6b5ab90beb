/* A taken-over worker, and what it would try with the descriptors it was given: each attempt to change the
 * table's memory is made for real and must fail. Descriptor 3 is the segment, 4 the feedback memory, argv[1]
 * the sidecar's process id.
 *
 * Prints a line an attempt: "refused NAME: reason" or "SUCCEEDED NAME". Exits with the number that succeeded. */
#include "shm/layout.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define SEGMENT  3
#define FEEDBACK 4

struct intruder {
    int sidecar;
    off_t size; /* of the segment */
    unsigned succeeded;
};

static void report(struct intruder *intruder, const char *name, bool succeeded)
{
    if (succeeded) {
        printf("SUCCEEDED %s\n", name);
        intruder->succeeded++;
    } else {
        printf("refused %s: %s\n", name, strerror(errno));
    }
}

static bool map_writable(int descriptor)
{
    void *map = mmap(NULL, PERMTAB_SHM_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (map == MAP_FAILED)
        return false;
    (void)munmap(map, PERMTAB_SHM_PAGE);
    return true;
}

/* A mapping made readable and then made writable is the same thing by another door. */
static bool protect_writable(int descriptor)
{
    void *map = mmap(NULL, PERMTAB_SHM_PAGE, PROT_READ, MAP_SHARED, descriptor, 0);
    if (map == MAP_FAILED)
        return false;
    bool done = mprotect(map, PERMTAB_SHM_PAGE, PROT_READ | PROT_WRITE) == 0;
    int error = errno;
    (void)munmap(map, PERMTAB_SHM_PAGE);
    errno = error;
    return done;
}

/* Everything that changes memory or size, on one descriptor. */
static void attack_descriptor(struct intruder *intruder, const char *through, int descriptor)
{
    char name[128];
    const char byte = 0;
    struct iovec piece = {.iov_base = (void *)(uintptr_t)&byte, .iov_len = 1};
#define TRY(what, attempt)                                                                                   \
    do {                                                                                                     \
        (void)snprintf(name, sizeof name, "%s: %s", through, what);                                          \
        report(intruder, name, (attempt));                                                                   \
    } while (0)
    TRY("map writable", map_writable(descriptor));
    TRY("mprotect writable", protect_writable(descriptor));
    TRY("pwrite", pwrite(descriptor, &byte, 1, 0) == 1);
    TRY("pwritev", pwritev(descriptor, &piece, 1, 64) == 1);
    TRY("ftruncate to 0", ftruncate(descriptor, 0) == 0);
    TRY("ftruncate larger", ftruncate(descriptor, intruder->size + 4096) == 0);
    TRY("punch a hole", fallocate(descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) == 0);
    TRY("zero a range", fallocate(descriptor, FALLOC_FL_ZERO_RANGE, 0, 4096) == 0);
    TRY("collapse a range", fallocate(descriptor, FALLOC_FL_COLLAPSE_RANGE, 0, 4096) == 0);
    TRY("fallocate beyond the end", fallocate(descriptor, 0, intruder->size, 4096) == 0);
#undef TRY
}

static bool seals_can_be_added(int descriptor)
{
    return fcntl(descriptor, F_ADD_SEALS, F_SEAL_WRITE) == 0;
}

/* Reopens the segment by its name in /proc; a descriptor that can be had is attacked like the first. */
static void attack_path(struct intruder *intruder, const char *path)
{
    int descriptor = open(path, O_RDWR | O_CLOEXEC);
    if (descriptor < 0) {
        report(intruder, path, false);
        return;
    }
    attack_descriptor(intruder, path, descriptor);
    (void)close(descriptor);
}

static void attack_sidecar(struct intruder *intruder)
{
    char path[64];
    unsigned opened = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/mem", intruder->sidecar);
    int descriptor = open(path, O_RDWR | O_CLOEXEC);
    report(intruder, "open the sidecar's /proc/PID/mem for writing", descriptor >= 0);
    if (descriptor >= 0)
        (void)close(descriptor);
    errno = ENOENT;
    for (int number = 0; number < 256; number++) {
        (void)snprintf(path, sizeof path, "/proc/%d/fd/%d", intruder->sidecar, number);
        descriptor = open(path, O_RDWR | O_CLOEXEC);
        if (descriptor >= 0) {
            opened++;
            (void)close(descriptor);
        }
    }
    report(intruder, "open one of the sidecar's descriptors", opened > 0);
    char byte = 0;
    struct iovec local = {.iov_base = &byte, .iov_len = 1};
    struct iovec remote = {.iov_base = (void *)(uintptr_t)4096, .iov_len = 1};
    report(intruder, "process_vm_writev",
           process_vm_writev(intruder->sidecar, &local, 1, &remote, 1, 0) == 1 ||
               errno == EFAULT); /* EFAULT: it was let in */
}

int main(int argc, char **argv)
{
    struct intruder intruder = {.sidecar = argc > 1 ? atoi(argv[1]) : 0};
    struct stat status;
    if (fstat(SEGMENT, &status) != 0 || status.st_size < (off_t)PERMTAB_SHM_PAGE || intruder.sidecar <= 0) {
        (void)fprintf(stderr, "usage: e2e_hostile SIDECAR_PID 3<segment 4<feedback\n");
        return 64;
    }
    intruder.size = status.st_size;
    attack_descriptor(&intruder, "the descriptor it was given", SEGMENT);
    report(&intruder, "add the seal WRITE, which would fail the sidecar's next mapping",
           seals_can_be_added(SEGMENT));
    attack_path(&intruder, "/proc/self/fd/3");
    attack_sidecar(&intruder);
    /* Its own feedback memory it may write, but not shrink under the sidecar's pread. */
    report(&intruder, "shrink the feedback memory", ftruncate(FEEDBACK, 0) == 0);
    report(&intruder, "grow the feedback memory", ftruncate(FEEDBACK, 1 << 20) == 0);
    return intruder.succeeded > 100 ? 100 : (int)intruder.succeeded;
}
