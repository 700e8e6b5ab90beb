/* Whether another process has a mapping of ours: the kernel's own file, with a child that touches a page, and texts. */
#include "proxy/growth/held.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define SIZE (64u * 4096u)

static struct held_mapping look(const void *memory)
{
    struct held_mapping mapping = {(uintptr_t)memory, (uintptr_t)memory + SIZE, false, false};
    FILE *smaps = fopen("/proc/self/smaps", "re");
    assert_non_null(smaps);
    held_look(smaps, &mapping, 1);
    assert_int_equal(fclose(smaps), 0);
    return mapping;
}

/* A process that maps the memory, and touches a page of it; ends when `go_on` is closed. */
static pid_t another_process(int memory, const int *go_on, const int *ready)
{
    pid_t child = fork();
    if (child != 0)
        return child;
    char byte;
    (void)close(go_on[1]);
    const volatile char *mapping = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, memory, 0);
    byte = mapping[5 * 4096];
    if (write(ready[1], &byte, 1) == 1)
        (void)!read(go_on[0], &byte, 1);
    _exit(0);
}

static void a_mapping_of_another_process(void **state)
{
    int go_on[2], ready[2];
    char byte;
    (void)state;
    int memory = memfd_create("test", MFD_CLOEXEC);
    assert_int_equal(ftruncate(memory, SIZE), 0);
    char *mapping = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    assert_ptr_not_equal(mapping, MAP_FAILED);
    memset(mapping, 1, SIZE);
    /* The child inherits no page of it, or it would hold all of them itself. */
    assert_int_equal(madvise(mapping, SIZE, MADV_DONTFORK), 0);
    assert_true(look(mapping).looked);
    assert_false(look(mapping).held);
    assert_int_equal(pipe(go_on), 0);
    assert_int_equal(pipe(ready), 0);
    pid_t child = another_process(memory, go_on, ready);
    assert_true(child > 0);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_true(look(mapping).held);
    assert_int_equal(close(go_on[1]), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_true(look(mapping).looked);
    assert_false(look(mapping).held);
    (void)munmap(mapping, SIZE);
    assert_false(look(mapping).looked);
    (void)close(memory);
    (void)close(go_on[0]);
    (void)close(ready[0]);
    (void)close(ready[1]);
}

static void several_mappings(void **state)
{
    static char text[] = "00001000-00002000 rw-s 00000000 00:01 7  /memfd:a (deleted)\n"
                         "Size:   4 kB\nRss:    4 kB\nPss:    4 kB\nPss_Dirty:    1 kB\nSwapPss:   0 kB\n"
                         "00002000-00003000 rw-s 00001000 00:01 7  /memfd:a (deleted)\n"
                         "Size:   4 kB\nRss:    4 kB\nPss:    2 kB\nPss_Dirty:    0 kB\n"
                         "00003000-00004000 rw-s 00000000 00:01 8  /memfd:b (deleted)\n"
                         "Size:   4 kB\nRss:    4 kB\nPss:    4 kB\nPss_Dirty:    0 kB\n"
                         "00005000-00006000 r-xp 00000000 00:01 9  /lib/x\n"
                         "Size:   4 kB\nRss:    4 kB\nPss:    1 kB\nPss_Dirty:    0 kB\n";
    struct held_mapping mappings[] = {
        {0x1000, 0x3000, false, false}, {0x3000, 0x4000, false, false}, {0x7000, 0x8000, false, false}};
    (void)state;
    FILE *smaps = fmemopen(text, sizeof text - 1, "r");
    held_look(smaps, mappings, 3);
    (void)fclose(smaps);
    assert_true(mappings[0].looked);
    assert_true(mappings[0].held);
    assert_true(mappings[1].looked);
    assert_false(mappings[1].held);
    assert_false(mappings[2].looked);
    assert_false(mappings[2].held);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_mapping_of_another_process),
        cmocka_unit_test(several_mappings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
