/* A descriptor that is provably ours. A process may close descriptors that are not its own (a daemonizer closes all
 * of them) and the numbers come back as other people's files; so a number alone is never believed: the device and
 * inode that we opened are remembered with it, and compared before it is written to, read from or closed. */
#ifndef PERMTAB_CLIENT_DESCRIPTOR_H
#define PERMTAB_CLIENT_DESCRIPTOR_H

#include <stdbool.h>
#include <stdint.h>

/* All zero is none. A copy made at any moment, as fork makes one, is none or whole: `number` is stored last and cleared
 * first. */
struct descriptor {
    uint32_t number; /* plus one; 0: none */
    uint64_t device, inode;
};

/* Takes over a descriptor that was just opened. One that is gone already (another thread closed it) becomes none. */
void descriptor_own(struct descriptor *descriptor, int number);
/* Forgets it without closing it. */
void descriptor_forget(struct descriptor *descriptor);
/* Its number while it is ours; -1 when there is none, or the number means something else by now. */
int descriptor_number(const struct descriptor *descriptor);
/* Closes it if it is ours, and forgets it in any case. May be called between fork and exec. */
void descriptor_close(struct descriptor *descriptor);

#endif
