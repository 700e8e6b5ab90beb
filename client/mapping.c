/* Reading a table in, and putting it away, in pieces with pauses: each of these calls keeps every other thread of the
 * process from mapping or unmapping anything while it lasts.
 *
 * A mapping that was replaced is not unmapped: another thread may be reading it. Private zero pages are put in its
 * place, at the same addresses. One such call is atomic for readers: who reads a zero has come to the call's end, and
 * so reads zeroes in all of it. Between the calls there are both, and the order makes that harmless:
 *
 *   1. The entry map. An entry is found or it is not, and the sets are there still. When it is through, no entry is
 *      found any more, and a reader who has found one before looks at its word again, which is zero. So from here on
 *      it does not matter that a zeroed set has an even sequence and denies everything, that a zeroed fold lets its
 *      scope answer for itself, or that a zeroed target names global:0.
 *   2. Everything else, from front to back. A view does not look at the word again, but at the sequence of its set;
 *      that lies before the bits, so whoever reads zeroed bits finds the sequence zero, too, as it never is in use.
 *
 * The page in which the entry map begins may hold the end of what lies before it. Were it a part of the sets, its turn
 * would be in both steps; then all that is left goes in one call.
 *
 * When a call fails, the rest stays as it is, and the lease ends what readers believe. A child that was made in the
 * middle goes on from the beginning when it attaches the next time. */
#include "client/handle.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

/* The thread sanitizer takes an mmap for a write to all of its pages, and readers for racing with it, which here is
 * the point. Past its interceptor it sees nothing. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#include <sys/syscall.h>
#define mmap(address, size, protection, flags, descriptor, offset)                                           \
    ((void *)syscall(SYS_mmap, (void *)(address), (size_t)(size), (long)(protection), (long)(flags),         \
                     (long)(descriptor), (long)(offset)))
#endif
#endif

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14 */
#endif

#define PIECE    ((size_t)2 << 20)
#define PAUSE_NS 50000u
#define TRIES    16u

void mapping_sections(struct mapping *mapping, const struct permtab_shm_table *table)
{
    const char *address = mapping->address;
    mapping->map_begin = (size_t)((const char *)table->map - address);
    mapping->sets_end = (size_t)(table->sets - address) + (size_t)table->set_count * table->set_stride;
}

/* What is not read in now comes page by page, when it is read. */
void mapping_populate(const struct mapping *mapping)
{
    char *address = mapping->address;
    for (size_t at = 0; at < mapping->size; at += PIECE) {
        size_t size = mapping->size - at < PIECE ? mapping->size - at : PIECE;
        for (unsigned tries = 1; madvise(address + at, size, MADV_POPULATE_READ) < 0; tries++)
            if (tries == TRIES || (errno != EINTR && errno != EAGAIN))
                return;
        if (at / PIECE % 8 == 7)
            channel_pause(channel_clock_ns() + PAUSE_NS);
    }
}

static bool zero(const struct mapping *mapping, size_t begin, size_t end)
{
    return begin == end || mmap((char *)mapping->address + begin, end - begin, PROT_READ,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != MAP_FAILED;
}

/* From front to back. */
static bool zero_pieces(const struct mapping *mapping, size_t begin, size_t end)
{
    while (begin < end) {
        size_t next = end - begin < PIECE ? end : begin + PIECE;
        if (!zero(mapping, begin, next))
            return false;
        if (next < end)
            channel_pause(channel_clock_ns() + PAUSE_NS);
        begin = next;
    }
    return true;
}

void mapping_void(struct mapping *mapping)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), size = (mapping->size + page - 1) / page * page;
    size_t shared = mapping->map_begin / page * page; /* where the map's first page begins */
    size_t whole = (mapping->map_begin + page - 1) / page * page;
    bool good = zero_pieces(mapping, whole, size);
    if (mapping->sets_end > shared)
        good = good && zero(mapping, 0, whole);
    else
        good = good && zero(mapping, shared, whole) && zero_pieces(mapping, 0, shared);
    permtab_shm_store32_relaxed(&mapping->voided, good ? 1 : 0);
}
