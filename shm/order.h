/* Memory order. The only file with raw orders in it: every load and store of shared memory goes through a
 * helper here, and each helper names its pair and what breaks without it.
 *
 * The protocol is a sequence lock without fences. A fence orders accesses that the C11 model and the thread
 * sanitizer see as unrelated; here every access to a protected field is itself an acquire load or a release
 * store, so each pairing below is one that the model knows:
 *
 *   writer                                     reader
 *   W1  store relaxed   sequence = odd         R1  load acquire   sequence (odd: go round again)
 *   W2  store release   field                  R2  load acquire   field
 *   W3  store release   sequence = even        R3  load acquire   sequence again (moved: go round again)
 *
 * W1-W2/R2-R3: a reader that saw a new field (R2) synchronises with W2, so at R3 it sees the odd sequence or
 * a later one. Were W2 relaxed, R3 might still see the old even sequence and accept a mixture.
 * W3/R1: a reader that saw the even sequence sees every field written before it.
 * R2 acquire: else R3 might be done before R2.
 *
 * On x86 all of them are plain moves; on ARMv8 ldar/ldapr and stlr. The method is Boehm's ("Can Seqlocks Get
 * Along With Programming Language Memory Models?", MSPC 2012), section 4, the variant with acquire loads of
 * the data.
 *
 * The built-ins, not <stdatomic.h>: this file is compiled as C++ too. No access is wider than 64 bits:
 * 16-byte loads may become a compare-and-swap, which faults on a read-only page. */
#ifndef PERMTAB_SHM_ORDER_H
#define PERMTAB_SHM_ORDER_H

#include <stdint.h>

/* A test builds the writer with PERMTAB_STORE_HOOK and counts, or dies, after each shared store. */
#ifdef PERMTAB_STORE_HOOK
void permtab_store_hook(void);
#define PERMTAB_SHM_STORED() permtab_store_hook()
#else
#define PERMTAB_SHM_STORED() ((void)0)
#endif
/* A test builds the reader with PERMTAB_LOAD_HOOK and lets the writer go on after each of its loads. */
#ifdef PERMTAB_LOAD_HOOK
void permtab_load_hook(void);
#define PERMTAB_SHM_LOADED() permtab_load_hook()
#else
#define PERMTAB_SHM_LOADED() ((void)0)
#endif

/* Reader: R1, R2 and R3 above; and every header field. Every access that follows it in the program is done after
 * it. */
static inline uint32_t permtab_shm_load32(const uint32_t *from)
{
    uint32_t value = __atomic_load_n(from, __ATOMIC_ACQUIRE);
    PERMTAB_SHM_LOADED();
    return value;
}

static inline uint64_t permtab_shm_load64(const uint64_t *from)
{
    uint64_t value = __atomic_load_n(from, __ATOMIC_ACQUIRE);
    PERMTAB_SHM_LOADED();
    return value;
}

/* Orders nothing. For the writer's own reading of fields that it alone writes, and for a reader's look at a value
 * that a later acquire load validates anyway (a counter for statistics). */
static inline uint32_t permtab_shm_load32_relaxed(const uint32_t *from)
{
    return __atomic_load_n(from, __ATOMIC_RELAXED);
}

static inline uint64_t permtab_shm_load64_relaxed(const uint64_t *from)
{
    return __atomic_load_n(from, __ATOMIC_RELAXED);
}

/* Writer: W2 and W3 above; revocations; header fields. A reader that sees this store sees everything that the
 * writer stored before it. Pairs with permtab_shm_load32/64. */
static inline void permtab_shm_store32(uint32_t *to, uint32_t value)
{
    __atomic_store_n(to, value, __ATOMIC_RELEASE);
    PERMTAB_SHM_STORED();
}

static inline void permtab_shm_store64(uint64_t *to, uint64_t value)
{
    __atomic_store_n(to, value, __ATOMIC_RELEASE);
    PERMTAB_SHM_STORED();
}

/* Writer: W1 above. It may be relaxed because the W2 that follows is a release. A client's own counters use
 * it too: nobody draws a conclusion from them. */
static inline void permtab_shm_store32_relaxed(uint32_t *to, uint32_t value)
{
    __atomic_store_n(to, value, __ATOMIC_RELAXED);
    PERMTAB_SHM_STORED();
}

static inline void permtab_shm_store64_relaxed(uint64_t *to, uint64_t value)
{
    __atomic_store_n(to, value, __ATOMIC_RELAXED);
    PERMTAB_SHM_STORED();
}

/* Private memory, not the segment: a client swaps the pointer to its immutable view of a segment. Release, so that
 * a thread that loads the pointer sees the view as it was filled before; without it a thread could read a bound of
 * 0 or rubbish. */
static inline void *permtab_shm_load_pointer(void *const *from)
{
    return __atomic_load_n(from, __ATOMIC_ACQUIRE);
}

static inline void permtab_shm_store_pointer(void **to, void *value)
{
    __atomic_store_n(to, value, __ATOMIC_RELEASE);
}

/* Private memory: a number that no other thread gets. Orders nothing. */
static inline uint32_t permtab_shm_ticket(uint32_t *counter)
{
    return __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

/* Private memory: makes `from` into `to` for one thread alone. Acquire and release: the winner's accesses to the
 * guarded data stay between this call and its next store to `at`; without them another thread's store could land in
 * between. */
static inline int permtab_shm_claim64(uint64_t *at, uint64_t from, uint64_t to)
{
    return __atomic_compare_exchange_n(at, &from, to, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

/* Asks for a line that will be read soon. Orders nothing. The empty assembly keeps the call: gcc takes a function that
 * only prefetches for one without effect, and drops it. It names no operand, which would take a register. */
static inline void permtab_shm_fetch(const void *line)
{
    __builtin_prefetch(line, 0, 3);
    __asm__ __volatile__("");
}

/* Tells the core that this is a retry loop. Orders nothing. */
static inline void permtab_shm_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

#endif
