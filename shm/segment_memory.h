/* The memory of a segment: a memfd that is allocated, mapped writable once, and sealed. Private to shm/. */
#ifndef PERMTAB_SHM_SEGMENT_MEMORY_H
#define PERMTAB_SHM_SEGMENT_MEMORY_H

#include "shm/error.h"

#include <stdbool.h>
#include <stddef.h>

/* A mapping of this size or more is laid out for huge pages. */
#define SEGMENT_HUGE_PAGE ((size_t)2 << 20)

struct segment_memory {
    int descriptor;
    void *mapping; /* writable, zero, of `size` bytes, all of them allocated; not inherited by fork */
    size_t size;
};

/* `size` is a multiple of the page. PERMTAB_E_MEMORY, _SYSTEM (errno tells). Takes as long as it is large, and holds
 * up no other thread (pages.h); so does segment_memory_free. */
int segment_memory_new(struct segment_memory *out, size_t size) PERMTAB_MUST_CHECK;
/* Seals the memfd: from here on nobody can map it writable, write, resize or punch it; the mapping made before
 * stays writable. PERMTAB_E_SYSTEM. */
int segment_memory_seal(const struct segment_memory *memory) PERMTAB_MUST_CHECK;
/* Does the kernel map some of it by huge pages? */
bool segment_memory_is_huge(const struct segment_memory *memory);
void segment_memory_free(struct segment_memory *memory);

#endif
