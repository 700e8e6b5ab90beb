/* Tells whether a descriptor is still ours. Sockets and memfds are each on a file system of the kernel's own that
 * gives every object an inode number of its own, and counts on to 2^32 before it gives one again.
 *
 * Between the look and the system call that follows, another thread may still close the number and open something;
 * nothing in the kernel's interface closes that window, which is a few hundred nanoseconds before each call. */
#include "client/descriptor.h"

#include "shm/order.h"

#include <sys/stat.h>
#include <unistd.h>

void descriptor_own(struct descriptor *descriptor, int number)
{
    struct stat status;
    descriptor_forget(descriptor);
    if (number < 0 || fstat(number, &status) < 0)
        return;
    permtab_shm_store64(&descriptor->device, (uint64_t)status.st_dev);
    permtab_shm_store64(&descriptor->inode, (uint64_t)status.st_ino);
    permtab_shm_store32(&descriptor->number, (uint32_t)number + 1);
}

void descriptor_forget(struct descriptor *descriptor)
{
    permtab_shm_store32(&descriptor->number, 0);
}

int descriptor_number(const struct descriptor *descriptor)
{
    struct stat status;
    uint32_t number = permtab_shm_load32(&descriptor->number);
    if (number == 0 || fstat((int)number - 1, &status) < 0)
        return -1;
    bool same = (uint64_t)status.st_dev == permtab_shm_load64(&descriptor->device) &&
                (uint64_t)status.st_ino == permtab_shm_load64(&descriptor->inode);
    return same ? (int)number - 1 : -1;
}

void descriptor_close(struct descriptor *descriptor)
{
    int number = descriptor_number(descriptor);
    descriptor_forget(
        descriptor); /* before it is closed: a child must never close a number that means something else */
    if (number >= 0)
        close(number);
}
