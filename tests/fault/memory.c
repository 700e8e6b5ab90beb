/* Allocations. What is freed was given by the next library, so free is left as it is. */
#include "tests/fault/state.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>

FAULT_PUBLIC void *malloc(size_t size)
{
    return FAULT_DUE(FAULT_MEMORY, "malloc", ENOMEM) ? NULL : FAULT_NEXT(malloc)(size);
}

FAULT_PUBLIC void *calloc(size_t count, size_t size)
{
    return FAULT_DUE(FAULT_MEMORY, "calloc", ENOMEM) ? NULL : FAULT_NEXT(calloc)(count, size);
}

FAULT_PUBLIC void *realloc(void *memory, size_t size)
{
    return FAULT_DUE(FAULT_MEMORY, "realloc", ENOMEM) ? NULL : FAULT_NEXT(realloc)(memory, size);
}

FAULT_PUBLIC void *reallocarray(void *memory, size_t count, size_t size)
{
    return FAULT_DUE(FAULT_MEMORY, "reallocarray", ENOMEM) ? NULL
                                                           : FAULT_NEXT(reallocarray)(memory, count, size);
}

FAULT_PUBLIC void *aligned_alloc(size_t alignment, size_t size)
{
    return FAULT_DUE(FAULT_MEMORY, "aligned_alloc", ENOMEM) ? NULL
                                                            : FAULT_NEXT(aligned_alloc)(alignment, size);
}

FAULT_PUBLIC int posix_memalign(void **out, size_t alignment, size_t size)
{
    return FAULT_DUE(FAULT_MEMORY, "posix_memalign", ENOMEM)
               ? ENOMEM
               : FAULT_NEXT(posix_memalign)(out, alignment, size);
}
