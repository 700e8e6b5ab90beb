/* Large memory, given out and taken back in pieces. The kernel holds one lock over a process's address space while it
 * allocates or unmaps pages: done in one go, 600 MB keep every other thread from mapping anything for a fifth of a
 * second. Between two pieces there is a pause, because the lock would be taken again at once otherwise.
 *
 * All of these take as long as the memory is large: for a thread that nobody waits for. */
#ifndef PERMTAB_SHM_PAGES_H
#define PERMTAB_SHM_PAGES_H

#include <stddef.h>

#define PAGES_PIECE ((size_t)2 << 20) /* a huge page */

/* Private memory, zeroed; pages are allocated when they are touched. NULL when there is none. */
void *pages_new(size_t count, size_t size);
/* Allocates the pages of such memory, for whoever will touch all of it soon and has no time then. Where that cannot be
 * done, they are allocated when they are touched. */
void pages_touch(void *memory, size_t count, size_t size);
/* The same two numbers. */
void pages_free(void *memory, size_t count, size_t size);

/* Allocates every page of a writable mapping. 0; or -1, and errno: EINVAL before Linux 5.14. */
int pages_populate(void *mapping, size_t size);
void pages_unmap(void *mapping, size_t size);

#endif
