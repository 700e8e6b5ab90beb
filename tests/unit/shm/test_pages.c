/* Large memory goes and comes in pieces, with a pause between two of them. */
#include "shm/pages.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define MB ((size_t)1 << 20)

static struct {
    unsigned pieces, pauses;
    size_t largest, all;
    unsigned refuse_from; /* the piece that is refused; 0: none */
} seen;

static void note(size_t size)
{
    seen.pieces++;
    seen.all += size;
    if (size > seen.largest)
        seen.largest = size;
}

int __real_madvise(void *from, size_t size, int advice);
int __wrap_madvise(void *from, size_t size, int advice);
int __wrap_madvise(void *from, size_t size, int advice)
{
    note(size);
    if (seen.refuse_from != 0 && seen.pieces >= seen.refuse_from) {
        errno = ENOMEM;
        return -1;
    }
    return __real_madvise(from, size, advice);
}

int __real_munmap(void *from, size_t size);
int __wrap_munmap(void *from, size_t size);
int __wrap_munmap(void *from, size_t size)
{
    note(size);
    return __real_munmap(from, size);
}

int __wrap_nanosleep(const struct timespec *wanted, struct timespec *left);
int __wrap_nanosleep(const struct timespec *wanted, struct timespec *left)
{
    (void)left;
    assert_true(wanted->tv_nsec >= 10000);
    seen.pauses++;
    return 0;
}

static bool is_mapped(const void *page)
{
    unsigned char resident;
    return mincore((void *)(uintptr_t)page, 1, &resident) == 0;
}

static void begin(void)
{
    memset(&seen, 0, sizeof seen);
}

static void large_memory_is_zeroed_and_unmapped_in_pieces(void **state)
{
    const size_t count = 5 * MB / 8 + 1; /* a little more than five */
    (void)state;
    begin();
    uint64_t *memory = pages_new(count, 8);
    assert_non_null(memory);
    for (size_t i = 0; i < count; i += 100)
        assert_int_equal(memory[i], 0);
    memory[count - 1] = 1;
    assert_int_equal(seen.pieces, 0);
    pages_free(memory, count, 8);
    assert_int_equal(seen.pieces, 3);
    assert_int_equal(seen.pauses, 2);
    assert_true(seen.largest <= PAGES_PIECE);
    assert_int_equal(seen.all, count * 8);
    assert_false(is_mapped(memory));
    assert_false(is_mapped((char *)memory + 4 * MB));
}

static void memory_can_be_touched_beforehand(void **state)
{
    (void)state;
    begin();
    char *memory = pages_new(3 * MB, 1);
    pages_touch(memory, 3 * MB, 1);
    assert_true(seen.pieces >= 1); /* 1 before Linux 5.14 */
    assert_true(seen.largest <= PAGES_PIECE);
    assert_int_equal(memory[3 * MB - 1], 0);
    pages_free(memory, 3 * MB, 1);
    begin();
    memory = pages_new(1000, 1);
    pages_touch(memory, 1000, 1);
    pages_touch(NULL, 3 * MB, 1);
    assert_int_equal(seen.pieces, 0);
    pages_free(memory, 1000, 1);
}

static void small_memory_needs_no_pages(void **state)
{
    (void)state;
    begin();
    uint64_t *memory = pages_new(1000, 8);
    assert_non_null(memory);
    assert_int_equal(memory[999], 0);
    pages_free(memory, 1000, 8);
    assert_int_equal(seen.pieces, 0);
}

static void no_number_is_too_large_to_be_refused(void **state)
{
    (void)state;
    assert_null(pages_new(SIZE_MAX / 4, 8));
    assert_null(pages_new(SIZE_MAX / 16, 8)); /* more than there are addresses */
    pages_free(NULL, 1000, 1000000);
}

static char *map(size_t size)
{
    char *mapping = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(mapping != MAP_FAILED);
    return mapping;
}

static void every_page_is_allocated(void **state)
{
    const size_t size = 7 * MB;
    char *mapping = map(size);
    unsigned char resident[7 * 256] = {0};
    (void)state;
    begin();
    if (pages_populate(mapping, size) < 0) {
        assert_int_equal(errno, EINVAL); /* before Linux 5.14 */
        skip();
    }
    assert_int_equal(seen.pieces, 4);
    assert_int_equal(seen.pauses, 3);
    assert_int_equal(seen.largest, PAGES_PIECE);
    if (sysconf(_SC_PAGESIZE) == 4096) {
        assert_int_equal(mincore(mapping, size, resident), 0);
        for (size_t i = 0; i < sizeof resident; i++)
            assert_int_equal(resident[i] & 1, 1);
    }
    begin();
    pages_unmap(mapping, size);
    assert_int_equal(seen.pieces, 4);
    assert_int_equal(seen.pauses, 3);
    assert_false(is_mapped(mapping));
}

static void a_refusal_ends_it(void **state)
{
    char *mapping = map(6 * MB);
    (void)state;
    begin();
    seen.refuse_from = 2;
    assert_int_equal(pages_populate(mapping, 6 * MB), -1);
    assert_int_equal(errno, ENOMEM);
    assert_int_equal(seen.pieces, 2);
    begin();
    pages_unmap(mapping, 6 * MB);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(large_memory_is_zeroed_and_unmapped_in_pieces),
        cmocka_unit_test(memory_can_be_touched_beforehand),
        cmocka_unit_test(small_memory_needs_no_pages),
        cmocka_unit_test(no_number_is_too_large_to_be_refused),
        cmocka_unit_test(every_page_is_allocated),
        cmocka_unit_test(a_refusal_ends_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
