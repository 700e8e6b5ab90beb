/* The segment: what it promises of its memory, what a reader refuses to attach to, what the header functions
 * do. */
#include "shm/segment.h"

#include "shm/order.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* qemu-user (tests/long/arm64.sh) says that it has done what it has not done. What it does not do is tried here, and
 * the cases that need it are skipped there alone: a kernel that refuses, or does it, is no reason. */

/* linux-user/mmap.c: all advice but MADV_DONTNEED, _WIPEONFORK and _KEEPONFORK returns 0 and does nothing. */
static bool advice_is_ignored(void)
{
    char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(page, MAP_FAILED);
    *(volatile char *)page = 'x';
    bool ignored = madvise(page, 4096, MADV_REMOVE) == 0 && *(volatile char *)page == 'x';
    munmap(page, 4096);
    return ignored;
}

static void skip_where_advice_is_ignored(void)
{
    if (!advice_is_ignored())
        return;
    print_message("advice is ignored here (qemu-user): nothing to be seen\n");
    skip();
}

static const struct segment_options small = {
    .permissions_max = 512, .entries = 1000, .sets = 20, .folds = 30, .targets = 5, .store_id = 77};

static void new_segment_is_whole_and_void(void **state)
{
    (void)state;
    struct segment segment;
    assert_int_equal(segment_new(&segment, &small), 0);
    assert_int_equal(segment.size, segment_size(&small));
    assert_int_equal(segment.size % PERMTAB_SHM_PAGE, 0);
    assert_int_equal(segment.header->beat.state, PERMTAB_SHM_VOID);
    assert_int_equal(segment.header->beat.lease_deadline, 0);
    assert_int_equal(segment.header->identity.store_id, 77);
    assert_true(segment.header->identity.segment_id != 0);
    assert_int_equal(segment.table.set_count, 21);
    assert_int_equal(segment.table.target_count, 6);
    for (uint32_t index = 0; index < segment.table.set_count; index++) {
        const void *set = segment.sets + (size_t)index * segment.table.set_stride;
        assert_int_equal(((const struct permtab_shm_set *)set)->sequence, 1);
    }
    assert_int_equal((uintptr_t)segment.table.map % PERMTAB_SHM_PAGE, 0);
    struct segment other;
    assert_int_equal(segment_new(&other, &small), 0);
    assert_true(other.header->identity.segment_id != segment.header->identity.segment_id);
    assert_true(other.header->identity.hash_seed != segment.header->identity.hash_seed);
    segment_free(&other);
    segment_free(&segment);
    assert_int_equal(segment.descriptor, -1);
}

static void bytes_an_entry(void **state)
{
    (void)state;
    for (uint64_t entries = 10000; entries <= 10000000; entries *= 10) {
        struct segment_options options = small;
        options.entries = entries;
        struct segment_options one = options;
        one.entries = 1;
        /* All that the entries cost, rounding to pages included. */
        assert_in_range(segment_size(&options) - segment_size(&one), 1, entries * 32u);
    }
}

static void options_are_limited(void **state)
{
    (void)state;
    struct segment segment;
    struct {
        struct segment_options options;
        int code;
    } bad[] = {
        {{.permissions_max = 0, .entries = 1, .sets = 1}, PERMTAB_E_INVALID},
        {{.permissions_max = 63, .entries = 1, .sets = 1}, PERMTAB_E_INVALID},
        {{.permissions_max = 100, .entries = 1, .sets = 1}, PERMTAB_E_INVALID},
        {{.permissions_max = 64, .entries = 0, .sets = 1}, PERMTAB_E_INVALID},
        {{.permissions_max = 64, .entries = 1, .sets = 0}, PERMTAB_E_INVALID},
        {{.permissions_max = 16448, .entries = 1, .sets = 1}, PERMTAB_E_LIMIT},
        {{.permissions_max = 64, .entries = UINT64_MAX, .sets = 1}, PERMTAB_E_LIMIT},
        {{.permissions_max = 64, .entries = 1ull << 32, .sets = 1}, PERMTAB_E_LIMIT},
        {{.permissions_max = 64, .entries = 1, .sets = 1u << 28}, PERMTAB_E_LIMIT},
        {{.permissions_max = 64, .entries = 1, .sets = 1, .targets = UINT32_MAX}, PERMTAB_E_LIMIT},
        {{.permissions_max = 64, .entries = 1, .sets = 1, .memory_max = 4096}, PERMTAB_E_LIMIT},
    };
    for (size_t at = 0; at < sizeof(bad) / sizeof(bad[0]); at++) {
        if (segment_new(&segment, &bad[at].options) != bad[at].code)
            fail_msg("options %zu", at);
        if (bad[at].options.memory_max == 0)
            assert_int_equal(segment_size(&bad[at].options), 0);
    }
    struct segment_options exact = small;
    exact.memory_max = segment_size(&small);
    assert_int_equal(segment_new(&segment, &exact), 0);
    segment_free(&segment);
    exact.memory_max--;
    assert_int_equal(segment_new(&segment, &exact), PERMTAB_E_LIMIT);
}

static void extreme_options_work(void **state)
{
    (void)state;
    struct segment segment;
    struct segment_options least = {.permissions_max = 64, .entries = 1, .sets = 1};
    assert_int_equal(segment_new(&segment, &least), 0);
    segment_free(&segment);
    struct segment_options wide = {
        .permissions_max = PERMTAB_SHM_PERMISSIONS_MAX, .entries = 3000000, .sets = 3};
    assert_int_equal(segment_new(&segment, &wide), 0);
    assert_int_equal(segment.table.set_stride, 4160);
    assert_int_equal(segment.size % ((size_t)2 << 20), 0); /* big enough for huge pages */
    assert_int_equal((uintptr_t)segment.header % ((size_t)2 << 20), 0);
    segment_free(&segment);
}

#define NO_LIMIT 3

/* Runs in a child: a process without memory gets an error, not a signal. */
static int child_without_memory(void)
{
    struct rlimit limit = {64u << 20, 64u << 20};
    struct segment_options options = small;
    struct segment segment;
    options.entries = 10000000;
    if (setrlimit(RLIMIT_AS, &limit) < 0)
        return 2;
    /* qemu-user would limit itself, so it passes RLIMIT_AS, _DATA and _STACK over, and returns 0. */
    if (mmap(NULL, 128u << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) != MAP_FAILED)
        return NO_LIMIT;
    return segment_new(&segment, &options) == PERMTAB_E_MEMORY ? 0 : 1;
}

static void memory_shortage_is_an_error(void **state)
{
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip(); /* the sanitizer's own address space passes any limit */
#endif
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(child_without_memory());
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == NO_LIMIT) {
        print_message("RLIMIT_AS is ignored here (qemu-user): memory cannot be made short\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* Blocks, and not mincore: that does not count pages which posix_fallocate has made and nobody has written. */
static void all_of_it_is_allocated(void **state)
{
    (void)state;
    struct segment segment;
    struct stat status;
    assert_int_equal(segment_new(&segment, &small), 0);
    assert_int_equal(fstat(segment.descriptor, &status), 0);
    assert_true((uint64_t)status.st_blocks * 512 >= segment.size);
    segment_free(&segment);
}

/* ---- seals ----------------------------------------------------------------------------------------------- */

static void seals_hold_against_the_descriptor(const struct segment *segment, int descriptor)
{
    char byte = 'x';
    assert_true(segment_sealed(descriptor));
    assert_ptr_equal(mmap(NULL, segment->size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0),
                     MAP_FAILED);
    assert_ptr_equal(mmap(NULL, segment->size, PROT_WRITE, MAP_SHARED, descriptor, 0), MAP_FAILED);
    assert_int_equal(pwrite(descriptor, &byte, 1, 0), -1);
    assert_int_equal(write(descriptor, &byte, 1), -1);
    assert_int_equal(ftruncate(descriptor, 0), -1);
    assert_int_equal(ftruncate(descriptor, (off_t)segment->size * 2), -1);
    assert_int_equal(fallocate(descriptor, 0, (off_t)segment->size, 4096), -1);
    assert_int_equal(fallocate(descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), -1);
    assert_int_equal(fcntl(descriptor, F_ADD_SEALS, 0), -1); /* and no seal can be added */
    void *reading = mmap(NULL, segment->size, PROT_READ, MAP_SHARED, descriptor, 0);
    assert_ptr_not_equal(reading, MAP_FAILED);
    assert_int_equal(mprotect(reading, segment->size, PROT_READ | PROT_WRITE), -1);
    if (!advice_is_ignored()) /* where it is, nothing is removed either */
        assert_int_not_equal(madvise(reading, segment->size, MADV_REMOVE), 0);
    struct permtab_shm_table table;
    assert_int_equal(segment_table_init(&table, reading, segment->size), 0);
    munmap(reading, segment->size);
}

static void nobody_writes_through_the_descriptor(void **state)
{
    (void)state;
    struct segment segment;
    char path[64];
    assert_int_equal(segment_new(&segment, &small), 0);
    seals_hold_against_the_descriptor(&segment, segment.descriptor);
    int copy = dup(segment.descriptor);
    seals_hold_against_the_descriptor(&segment, copy);
    close(copy);
    /* The same file opened anew, writable, by way of /proc. */
    snprintf(path, sizeof(path), "/proc/self/fd/%d", segment.descriptor);
    int again = open(path, O_RDWR | O_CLOEXEC);
    assert_true(again >= 0);
    seals_hold_against_the_descriptor(&segment, again);
    close(again);
    assert_int_equal(open(path, O_RDWR | O_TRUNC | O_CLOEXEC), -1);
    /* The mapping made before the seals still writes, and readers see it. */
    void *reading = mmap(NULL, segment.size, PROT_READ, MAP_SHARED, segment.descriptor, 0);
    segment_applied_writer(&segment, 12345);
    assert_int_equal(((const struct permtab_shm_header *)reading)->beat.applied_revision, 12345);
    munmap(reading, segment.size);
    segment_free(&segment);
}

static void lesser_seals_are_noticed(void **state)
{
    (void)state;
    const int all = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL;
    static const int missing[] = {F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_FUTURE_WRITE, F_SEAL_SEAL};
    for (size_t at = 0; at < 4; at++) {
        int descriptor = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        assert_int_equal(fcntl(descriptor, F_ADD_SEALS, all & ~missing[at]), 0);
        assert_false(segment_sealed(descriptor));
        close(descriptor);
    }
    int none = open("/dev/null", O_RDWR | O_CLOEXEC);
    assert_false(segment_sealed(none));
    close(none);
    assert_false(segment_sealed(-1));
}

static void helpers_do_not_inherit_it(void **state)
{
    (void)state;
    struct segment segment;
    int status;
    skip_where_advice_is_ignored();
    assert_int_equal(segment_new(&segment, &small), 0);
    pid_t child = fork();
    if (child == 0) {
        unsigned char resident;
        _exit(mincore(segment.header, PERMTAB_SHM_PAGE, &resident) < 0 && errno == ENOMEM ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_true(fcntl(segment.descriptor, F_GETFD) & FD_CLOEXEC);
    segment_free(&segment);
}

/* ---- what a reader refuses ------------------------------------------------------------------------------- */

struct forgery {
    const char *what;
    size_t offset;
    size_t width;
    uint64_t value;
    int code;
};

#define IDENTITY(field)                                                                                      \
    offsetof(struct permtab_shm_header, identity.field),                                                     \
        sizeof(((struct permtab_shm_header *)0)->identity.field)
#define GEOMETRY(field)                                                                                      \
    offsetof(struct permtab_shm_header, geometry.field),                                                     \
        sizeof(((struct permtab_shm_header *)0)->geometry.field)
#define NO PERMTAB_E_PROTOCOL

static const struct forgery forgeries[] = {
    {"magic zero", IDENTITY(magic), 0, NO},
    {"magic other", IDENTITY(magic), PERMTAB_SHM_MAGIC + 1, NO},
    {"layout zero", IDENTITY(layout), 0, PERMTAB_E_LAYOUT},
    {"layout later", IDENTITY(layout), PERMTAB_SHM_LAYOUT + 1, PERMTAB_E_LAYOUT},
    {"permissions zero", IDENTITY(permissions_max), 0, NO},
    {"permissions odd", IDENTITY(permissions_max), 500, NO},
    {"permissions other than the stride", IDENTITY(permissions_max), 1024, NO},
    {"permissions too many", IDENTITY(permissions_max), PERMTAB_SHM_PERMISSIONS_MAX + 64, NO},
    {"permissions most", IDENTITY(permissions_max), UINT32_MAX - 63, NO},
    {"segment id", IDENTITY(segment_id), 0, NO},
    {"size smaller", IDENTITY(size), 4096, NO},
    {"size zero", IDENTITY(size), 0, NO},
    {"size larger", IDENTITY(size), 1ull << 40, NO},
    {"names over the header", GEOMETRY(names_offset), 0, NO},
    {"names unaligned", GEOMETRY(names_offset), 4097, NO},
    {"names past the end", GEOMETRY(names_offset), 1ull << 40, NO},
    {"names wrap", GEOMETRY(names_offset), UINT64_MAX - 63, NO},
    {"sets over the names", GEOMETRY(sets_offset), 4096, NO},
    {"sets unaligned", GEOMETRY(sets_offset), 69632 + 8, NO},
    {"sets wrap", GEOMETRY(sets_offset), UINT64_MAX - 63, NO},
    {"targets over the sets", GEOMETRY(targets_offset), 4096, NO},
    {"targets wrap", GEOMETRY(targets_offset), UINT64_MAX - 63, NO},
    {"folds over the targets", GEOMETRY(folds_offset), 64, NO},
    {"folds wrap", GEOMETRY(folds_offset), UINT64_MAX - 63, NO},
    {"map over the folds", GEOMETRY(map_offset), 4096, NO},
    {"map past the end", GEOMETRY(map_offset), 1ull << 30, NO},
    {"map wraps", GEOMETRY(map_offset), UINT64_MAX - 63, NO},
    {"no sets", GEOMETRY(set_count), 0, NO},
    {"more sets than an index names", GEOMETRY(set_count), PERMTAB_SHM_INDEX_MASK + 2ull, NO},
    {"more sets than there is room for", GEOMETRY(set_count), 1000, NO},
    {"most sets", GEOMETRY(set_count), UINT32_MAX, NO},
    {"stride zero", GEOMETRY(set_stride), 0, NO},
    {"stride short", GEOMETRY(set_stride), 128, NO},
    {"stride unaligned", GEOMETRY(set_stride), 193, NO},
    {"stride most", GEOMETRY(set_stride), UINT32_MAX, NO},
    {"no targets", GEOMETRY(target_count), 0, NO},
    {"targets past the end", GEOMETRY(target_count), PERMTAB_SHM_INDEX_MASK, NO},
    {"most targets", GEOMETRY(target_count), UINT32_MAX, NO},
    {"no fold buckets", GEOMETRY(fold_buckets), 0, NO},
    {"fold buckets past the map", GEOMETRY(fold_buckets), 10000, NO},
    {"most fold buckets", GEOMETRY(fold_buckets), UINT32_MAX, NO},
    {"no map buckets", GEOMETRY(map_buckets), 0, NO},
    {"map buckets past the end", GEOMETRY(map_buckets), 10000, NO},
    {"most map buckets", GEOMETRY(map_buckets), UINT32_MAX, NO},
    {"too many types", GEOMETRY(type_count), PERMTAB_SHM_SCOPE_TYPES + 1, NO},
};

static void forge(char *copy, const struct forgery *forgery)
{
    if (forgery->width == 4) {
        uint32_t value = (uint32_t)forgery->value;
        memcpy(copy + forgery->offset, &value, 4);
    } else {
        memcpy(copy + forgery->offset, &forgery->value, 8);
    }
}

static void garbage_is_refused(void **state)
{
    (void)state;
    struct segment segment;
    struct permtab_shm_table table, untouched;
    assert_int_equal(segment_new(&segment, &small), 0);
    char *copy = aligned_alloc(4096, segment.size);
    memset(&untouched, 0x5a, sizeof(untouched));
    table = untouched;
    for (size_t at = 0; at < sizeof(forgeries) / sizeof(forgeries[0]); at++) {
        memcpy(copy, segment.header, segment.size);
        assert_int_equal(segment_table_init(&table, copy, segment.size), 0);
        table = untouched;
        forge(copy, &forgeries[at]);
        if (segment_table_init(&table, copy, segment.size) != forgeries[at].code)
            fail_msg("accepted, or refused with the wrong code: %s", forgeries[at].what);
        assert_memory_equal(&table, &untouched, sizeof(table));
    }
    memcpy(copy, segment.header, segment.size);
    assert_int_equal(segment_table_init(&table, NULL, segment.size), NO);
    assert_int_equal(segment_table_init(&table, copy, 0), NO);
    assert_int_equal(segment_table_init(&table, copy, 4095), NO);
    assert_int_equal(segment_table_init(&table, copy, segment.size - 4096), NO);
    assert_int_equal(segment_table_init(&table, copy + 8, segment.size), NO);
    memset(copy, 0, segment.size); /* the zero pages of a client that has let go */
    assert_int_equal(segment_table_init(&table, copy, segment.size), NO);
    memset(copy, 0xff, segment.size);
    assert_int_equal(segment_table_init(&table, copy, segment.size), NO);
    free(copy);
    segment_free(&segment);
}

/* Random geometry is either refused or entirely inside: then reading all of it must not fault. */
static void whatever_is_accepted_is_inside(void **state)
{
    (void)state;
    struct segment segment;
    struct permtab_shm_table table;
    assert_int_equal(segment_new(&segment, &small), 0);
    char *copy = aligned_alloc(4096, segment.size);
    unsigned accepted = 0;
    srand(1);
    for (int round = 0; round < 20000; round++) {
        memcpy(copy, segment.header, PERMTAB_SHM_PAGE);
        struct permtab_shm_geometry *geometry = &((struct permtab_shm_header *)(void *)copy)->geometry;
        uint64_t *offset = &geometry->names_offset + rand() % 5;
        uint32_t *count = &geometry->set_count + rand() % 5;
        *offset = rand() % 2 ? *offset : (uint64_t)rand() % (segment.size * 2) / 64 * 64;
        *count = (uint32_t)rand() % 2000;
        if (segment_table_init(&table, copy, segment.size) < 0)
            continue;
        accepted++;
        const char *end = copy + segment.size;
        assert_true(table.sets + (size_t)table.set_count * table.set_stride <= end);
        assert_true((const char *)(table.targets + table.target_count) <= end);
        assert_true((const char *)(table.folds + table.fold_buckets + PERMTAB_SHM_WINDOW - 1) <= end);
        assert_true((const char *)(table.map + table.map_buckets + PERMTAB_SHM_WINDOW - 1) <= end);
        assert_true((const char *)(table.names + table.permissions_max) <= end);
    }
    assert_true(accepted > 100);
    free(copy);
    segment_free(&segment);
}

/* ---- header ---------------------------------------------------------------------------------------------- */

static void names_and_types_are_written_once(void **state)
{
    (void)state;
    struct segment segment;
    char longest[PERMTAB_SHM_NAME_SIZE - 8];
    memset(longest, 'a', sizeof(longest));
    longest[sizeof(longest) - 1] = 0;
    assert_int_equal(segment_new(&segment, &small), 0);
    assert_int_equal(segment.table.names[3].length, 0);
    segment_name_set_writer(&segment, 3, "message.delete");
    segment_name_set_writer(&segment, 3, "message.delete");
    segment_name_set_writer(&segment, 511, longest);
    assert_int_equal(segment.table.names[3].length, 14);
    assert_string_equal(segment.table.names[3].text, "message.delete");
    assert_string_equal(segment.table.names[511].text, longest);
    assert_int_equal(segment.table.names[4].length, 0);
    segment_type_set_writer(&segment, 0, "global");
    segment_type_set_writer(&segment, 1, "a_scope_type_of_thirty_one_char");
    segment_type_set_writer(&segment, 0, "global");
    assert_int_equal(segment.header->geometry.type_count, 2);
    assert_string_equal(segment.header->type_names[0], "global");
    segment_catalogue_set_writer(&segment, 9);
    assert_int_equal(segment.header->beat.catalogue, 9);
    segment_free(&segment);
}

static void heartbeat_only_goes_forward(void **state)
{
    (void)state;
    struct segment segment;
    assert_int_equal(segment_new(&segment, &small), 0);
    segment_publish_writer(&segment);
    assert_int_equal(permtab_shm_beat_read(&segment.table).state, PERMTAB_SHM_LIVE);
    segment_lease_writer(&segment, 1000);
    segment_lease_writer(&segment, 900);
    assert_int_equal(permtab_shm_beat_read(&segment.table).lease_deadline, 1000);
    segment_applied_writer(&segment, 5);
    segment_applied_writer(&segment, 4);
    assert_int_equal(permtab_shm_beat_read(&segment.table).applied_revision, 5);
    segment_expiry_writer(&segment, 50);
    segment_expiry_writer(&segment, 40);
    assert_int_equal(segment.header->beat.expiry_applied, 50);
    segment_retire_writer(&segment);
    assert_int_equal(permtab_shm_beat_read(&segment.table).state, PERMTAB_SHM_RETIRED);
    segment_lease_writer(&segment, UINT64_MAX); /* a retired table is still kept true for a while */
    struct permtab_shm_moment moment = permtab_shm_beat_read(&segment.table);
    assert_true(permtab_shm_fresh(&moment));
    segment_disbelieve_writer(&segment);
    segment_lease_writer(&segment, UINT64_MAX);
    moment = permtab_shm_beat_read(&segment.table);
    assert_int_equal(moment.lease_deadline, 0);
    assert_false(permtab_shm_fresh(&moment));
    segment_free(&segment);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new_segment_is_whole_and_void),
        cmocka_unit_test(bytes_an_entry),
        cmocka_unit_test(options_are_limited),
        cmocka_unit_test(extreme_options_work),
        cmocka_unit_test(memory_shortage_is_an_error),
        cmocka_unit_test(all_of_it_is_allocated),
        cmocka_unit_test(nobody_writes_through_the_descriptor),
        cmocka_unit_test(lesser_seals_are_noticed),
        cmocka_unit_test(helpers_do_not_inherit_it),
        cmocka_unit_test(garbage_is_refused),
        cmocka_unit_test(whatever_is_accepted_is_inside),
        cmocka_unit_test(names_and_types_are_written_once),
        cmocka_unit_test(heartbeat_only_goes_forward),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
