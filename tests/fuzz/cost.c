/* The cost of an input, by what does not depend on the machine: clang's coverage counters, which count each region of
 * code exactly, and the sizes that malloc was asked for. */
#include "tests/fuzz/fuzz.h"

#include <inttypes.h>
#include <sanitizer/allocator_interface.h>
#include <stdio.h>

/* The linker's names for the ends of the section of counters. */
extern uint64_t __start___llvm_prf_cnts[], __stop___llvm_prf_cnts[];

/* libFuzzer runs inputs one after the other, and hooks have no context. */
static uint64_t bytes_asked;
static __thread bool counting;

static void on_malloc(const volatile void *address, size_t size)
{
    (void)address;
    if (counting)
        bytes_asked += size;
}

static void on_free(const volatile void *address)
{
    (void)address;
}

void cost_begin(void)
{
    static bool hooked;
    if (!hooked)
        must(__sanitizer_install_malloc_and_free_hooks(on_malloc, on_free) > 0);
    hooked = true;
    bytes_asked = 0;
    counting = true;
    memset(__start___llvm_prf_cnts, 0,
           (size_t)((char *)__stop___llvm_prf_cnts - (char *)__start___llvm_prf_cnts));
}

static uint64_t steps_taken(void)
{
    uint64_t steps = 0;
    for (const uint64_t *at = __start___llvm_prf_cnts; at < __stop___llvm_prf_cnts; at++)
        steps += *at;
    return steps;
}

/* size * log2(size), at least size. */
static uint64_t weight(size_t size)
{
    unsigned logarithm = size > 1 ? 64 - (unsigned)__builtin_clzll(size - 1) : 1;
    return (uint64_t)size * logarithm;
}

void cost_check(size_t size, const struct cost_limit *limit)
{
    uint64_t steps = steps_taken(), bytes = bytes_asked;
    uint64_t steps_most = limit->steps_fixed + limit->steps_each * weight(size);
    uint64_t bytes_most = limit->bytes_fixed + limit->bytes_each * weight(size);
    counting = false;
    if (getenv("PERMTAB_FUZZ_COST") != NULL)
        (void)fprintf(stderr, "cost: %zu bytes in, %" PRIu64 " steps, %" PRIu64 " bytes of memory\n", size,
                      steps, bytes);
    if (steps <= steps_most && bytes <= bytes_most)
        return;
    (void)fprintf(stderr,
                  "an input of %zu bytes cost %" PRIu64 " steps (at most %" PRIu64 ") and %" PRIu64
                  " bytes of memory (at most %" PRIu64 ")\n",
                  size, steps, steps_most, bytes, bytes_most);
    abort();
}
