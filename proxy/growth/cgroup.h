/* How much memory the cgroups of this process, and the machine, have left. Versions 1 and 2, each cgroup of the way up
 * to the mount point, because each may have a limit of its own. Reads files of the kernel: microseconds to
 * milliseconds, so not on the loop. */
#ifndef PERMTAB_GROWTH_CGROUP_H
#define PERMTAB_GROWTH_CGROUP_H

#include <stdint.h>

struct memory_left {
    /* Bytes, a margin taken off; 0 when less than the margin is left. UINT64_MAX: there is no limit. A limit that
     * cannot be understood counts as 0. */
    uint64_t cgroup, machine;
};

/* `root` is "" but in tests: a folder with proc/ and what is mounted. */
void memory_left(const char *root, struct memory_left *out);

#endif
