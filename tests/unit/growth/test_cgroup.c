/* The memory that cgroups have left, out of folders that look like the kernel's: both versions, nested, in containers,
 * without limits, and with what no kernel writes. */
#include "proxy/growth/cgroup.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define MB (1ull << 20)

static int setup(void **state)
{
    char name[] = "/tmp/permtab-cgroup-XXXXXX";
    assert_non_null(mkdtemp(name));
    *state = strdup(name);
    return 0;
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *where)
{
    (void)status, (void)kind, (void)where;
    return remove(path);
}

static int teardown(void **state)
{
    (void)nftw(*state, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(*state);
    return 0;
}

/* Writes a file of the root, with its folders. */
static void put(const char *root, const char *name, const char *text)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s%s", root, name);
    for (char *slash = path + strlen(root) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = 0;
        (void)mkdir(path, 0700);
        *slash = '/';
    }
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static uint64_t left(const char *root)
{
    struct memory_left out;
    memory_left(root, &out);
    return out.cgroup;
}

/* Version 2, with the process in /a/b. */
static void put_unified(const char *root)
{
    put(root, "/proc/self/cgroup", "0::/a/b\n");
    put(root, "/proc/self/mountinfo",
        "22 28 0:21 / /proc rw,nosuid - proc proc rw\n"
        "35 24 0:30 / /sys/fs/cgroup rw,nosuid,nodev shared:9 - cgroup2 cgroup2 rw,nsdelegate\n");
    put(root, "/sys/fs/cgroup/a/b/memory.max", "max\n");
    put(root, "/sys/fs/cgroup/a/b/memory.current", "104857600\n");
    put(root, "/sys/fs/cgroup/a/memory.max", "max\n");
    put(root, "/sys/fs/cgroup/a/memory.current", "209715200\n");
}

static void nothing_there(void **state)
{
    struct memory_left out;
    memory_left(*state, &out);
    assert_true(out.cgroup == UINT64_MAX);
    assert_true(out.machine == UINT64_MAX);
}

static void unified_without_a_limit(void **state)
{
    put_unified(*state);
    assert_true(left(*state) == UINT64_MAX);
}

/* 1/16 of the limit is the margin, within 8 and 256 MB. */
static void unified(void **state)
{
    put_unified(*state);
    put(*state, "/sys/fs/cgroup/a/b/memory.max", "1073741824\n");
    assert_int_equal(left(*state), (1024 - 100 - 64) * MB);
    put(*state, "/sys/fs/cgroup/a/b/memory.max", "125829120\n");
    assert_int_equal(left(*state), (120 - 100 - 8) * MB);
    put(*state, "/sys/fs/cgroup/a/b/memory.max", "107374182400\n");
    assert_int_equal(left(*state), (102400 - 100 - 256) * MB);
    put(*state, "/sys/fs/cgroup/a/b/memory.max", "113246208\n"); /* the margin is all that is left */
    assert_int_equal(left(*state), 0);
    put(*state, "/sys/fs/cgroup/a/b/memory.max", "1048576\n");
    assert_int_equal(left(*state), 0);
}

static void the_lowest_limit_on_the_way_up_holds(void **state)
{
    put_unified(*state);
    put(*state, "/sys/fs/cgroup/a/b/memory.max", "1073741824\n");
    put(*state, "/sys/fs/cgroup/a/memory.max", "536870912\n");
    assert_int_equal(left(*state), (512 - 200 - 32) * MB);
    put(*state, "/sys/fs/cgroup/memory.max", "268435456\n"); /* at the mount point: a container's own */
    put(*state, "/sys/fs/cgroup/memory.current", "209715200\n");
    assert_int_equal(left(*state), (256 - 200 - 16) * MB);
    /* what is above the mount point is not ours to read */
    put(*state, "/sys/fs/memory.max", "1048576\n");
    assert_int_equal(left(*state), (256 - 200 - 16) * MB);
}

static void memory_high_is_a_limit(void **state)
{
    put_unified(*state);
    put(*state, "/sys/fs/cgroup/a/b/memory.max", "1073741824\n");
    put(*state, "/sys/fs/cgroup/a/b/memory.high", "268435456\n");
    assert_int_equal(left(*state), (256 - 100 - 16) * MB);
    put(*state, "/sys/fs/cgroup/a/b/memory.high", "max\n");
    assert_int_equal(left(*state), (1024 - 100 - 64) * MB);
}

/* Files that nobody used lately are given back, shared memory is not. */
static void idle_files_are_free(void **state)
{
    put_unified(*state);
    put(*state, "/sys/fs/cgroup/a/b/memory.max", "1073741824\n");
    put(*state, "/sys/fs/cgroup/a/b/memory.stat",
        "anon 10485760\nshmem 20971520\nactive_inactive_file 1\ninactive_file 52428800\n");
    assert_int_equal(left(*state), (1024 - 50 - 64) * MB);
    put(*state, "/sys/fs/cgroup/a/b/memory.stat", "inactive_file 999999999999\n");
    assert_int_equal(left(*state), (1024 - 64) * MB);
    put(*state, "/sys/fs/cgroup/a/b/memory.stat", "inactive_file many\n");
    assert_int_equal(left(*state), (1024 - 100 - 64) * MB);
}

/* What cannot be understood is a limit that has been reached. */
static void garbage(void **state)
{
    static const char *const texts[] = {
        "", "\n", "-1\n", "lots\n", "1g\n", "99999999999999999999999\n", "maximum\n"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        put_unified(*state);
        put(*state, "/sys/fs/cgroup/a/memory.max", texts[i]);
        assert_int_equal(left(*state), 0);
        put_unified(*state);
        put(*state, "/sys/fs/cgroup/a/memory.max", "1073741824\n");
        put(*state, "/sys/fs/cgroup/a/memory.current", texts[i]);
        assert_int_equal(left(*state), 0);
    }
    put_unified(*state);
    put(*state, "/proc/self/cgroup", "0\n:\n::\nmemory\n0::no/slash\n");
    assert_true(left(*state) == UINT64_MAX);
    put_unified(*state);
    put(*state, "/proc/self/mountinfo", "\n - \n1 2 - cgroup2\n/a/b - cgroup2 x\n");
    assert_true(left(*state) == UINT64_MAX);
}

/* Version 1: the memory controller among others, version 2 mounted beside it without one. */
static void put_legacy(const char *root)
{
    put(root, "/proc/self/cgroup", "12:cpu,cpuacct:/x\n5:hugetlb,memory:/a/b\n1:name=systemd:/y\n0::/z\n");
    put(root, "/proc/self/mountinfo",
        "30 23 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
        "31 23 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
        "32 23 0:28 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n");
    put(root, "/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "9223372036854771712\n");
    put(root, "/sys/fs/cgroup/memory/a/b/memory.usage_in_bytes", "104857600\n");
    put(root, "/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "1073741824\n");
    put(root, "/sys/fs/cgroup/memory/a/memory.usage_in_bytes", "209715200\n");
    put(root, "/sys/fs/cgroup/unified/z/cgroup.procs", "1\n");
}

static void legacy(void **state)
{
    put_legacy(*state);
    assert_int_equal(left(*state), (1024 - 200 - 64) * MB);
    put(*state, "/sys/fs/cgroup/memory/a/memory.stat",
        "inactive_file 1048576\ntotal_inactive_file 104857600\n");
    assert_int_equal(left(*state), (1024 - 100 - 64) * MB);
    put(*state, "/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "268435456\n");
    assert_int_equal(left(*state), (256 - 100 - 16) * MB);
    put(*state, "/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "nothing\n");
    assert_int_equal(left(*state), 0);
}

/* The mount point is the container's cgroup; /proc/self/cgroup has the path as the host sees it. */
static void in_a_container(void **state)
{
    put(*state, "/proc/self/cgroup", "5:memory:/docker/0123/inner\n");
    put(*state, "/proc/self/mountinfo",
        "32 23 0:28 /docker/0123 /sys/fs/cgroup/memory\\040x ro,relatime master:17 - cgroup cgroup "
        "rw,memory\n");
    put(*state, "/sys/fs/cgroup/memory x/memory.limit_in_bytes", "536870912\n");
    put(*state, "/sys/fs/cgroup/memory x/memory.usage_in_bytes", "104857600\n");
    assert_int_equal(left(*state), (512 - 100 - 32) * MB);
    put(*state, "/sys/fs/cgroup/memory x/inner/memory.limit_in_bytes", "268435456\n");
    put(*state, "/sys/fs/cgroup/memory x/inner/memory.usage_in_bytes", "104857600\n");
    assert_int_equal(left(*state), (256 - 100 - 16) * MB);
    /* a path that has nothing to do with the mount: the mount point is all there is */
    put(*state, "/proc/self/cgroup", "5:memory:/kubepods/4567\n");
    assert_int_equal(left(*state), (512 - 100 - 32) * MB);
    put(*state, "/proc/self/cgroup", "5:memory:/docker/01234\n");
    assert_int_equal(left(*state), (512 - 100 - 32) * MB);
}

static void the_machine(void **state)
{
    struct memory_left out;
    put(*state, "/proc/meminfo", "MemTotal:  1048576 kB\nMemFree:  1 kB\nMemAvailable:  524288 kB\n");
    memory_left(*state, &out);
    assert_int_equal(out.machine, (512 - 64) * MB);
    put(*state, "/proc/meminfo", "MemTotal:  1048576 kB\nMemAvailable:  1024 kB\n");
    memory_left(*state, &out);
    assert_int_equal(out.machine, 0);
    put(*state, "/proc/meminfo", "nothing\n");
    memory_left(*state, &out);
    assert_true(out.machine == UINT64_MAX);
}

/* This machine's own files are read, whatever they say. */
static void here(void **state)
{
    struct memory_left out;
    (void)state;
    memory_left("", &out);
    assert_true(out.machine != UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(nothing_there),
        T(unified_without_a_limit),
        T(unified),
        T(the_lowest_limit_on_the_way_up_holds),
        T(memory_high_is_a_limit),
        T(idle_files_are_free),
        T(garbage),
        T(legacy),
        T(in_a_container),
        T(the_machine),
        T(here),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
