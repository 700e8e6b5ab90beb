/* Memory in pieces. Small arrays come from malloc, which sanitizers watch. */
#include "shm/pages.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define SMALL    ((size_t)256 << 10)
#define PAUSE_NS 50000

/* Whoever waits for the lock gets it meanwhile. */
static void rest(void)
{
    const struct timespec pause = {0, PAUSE_NS};
    (void)nanosleep(&pause, NULL);
}

static size_t piece_of(size_t left)
{
    return left < PAGES_PIECE ? left : PAGES_PIECE;
}

void *pages_new(size_t count, size_t size)
{
    if (size != 0 && count > SIZE_MAX / size)
        return NULL;
    if (count * size < SMALL)
        return calloc(count, size);
    void *memory = mmap(NULL, count * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory != MAP_FAILED ? memory : NULL;
}

void pages_touch(void *memory, size_t count, size_t size)
{
    if (memory != NULL && count * size >= SMALL)
        (void)pages_populate(memory, count * size);
}

void pages_free(void *memory, size_t count, size_t size)
{
    if (memory == NULL || count * size < SMALL)
        free(memory);
    else
        pages_unmap(memory, count * size);
}

int pages_populate(void *mapping, size_t size)
{
    for (size_t at = 0; at < size; at += PAGES_PIECE) {
        int outcome;
        do {
            outcome = madvise((char *)mapping + at, piece_of(size - at), MADV_POPULATE_WRITE);
        } while (outcome < 0 && errno == EINTR);
        if (outcome < 0)
            return -1;
        if (at + PAGES_PIECE < size)
            rest();
    }
    return 0;
}

/* From the end, so that the mapping is never more than one. */
void pages_unmap(void *mapping, size_t size)
{
    while (size > 0) {
        size_t piece = size % PAGES_PIECE != 0 ? size % PAGES_PIECE : PAGES_PIECE;
        size -= piece;
        (void)munmap((char *)mapping + size, piece);
        if (size > 0)
            rest();
    }
}
