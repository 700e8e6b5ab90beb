/* Putting a table away under its readers: whatever has been replaced by zero pages, nobody gets an answer that was not
 * in it. Here it allows everything to everybody. */
#include "client/handle.h"
#include "shm/map.h"
#include "shm/segment.h"
#include "shm/set.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define PERMISSIONS PERMTAB_SHM_PERMISSIONS_MAX /* so a set is longer than a page */
#define SETS        3000u
#define USERS       60000u
#define TYPE        1u

static unsigned busy; /* how many more calls the kernel has no room for */

int __real_madvise(void *address, size_t size, int advice);
int __wrap_madvise(void *address, size_t size, int advice);
int __wrap_madvise(void *address, size_t size, int advice)
{
    if (busy == 0)
        return __real_madvise(address, size, advice);
    busy--;
    errno = EAGAIN;
    return -1;
}

struct world {
    struct segment segment;
    struct map map;
    struct set_pool sets;
    struct mapping mapping;
    struct permtab_shm_table table; /* of the mapping */
    bool stop;
    uint64_t found, held;
};

static void fill(struct world *world)
{
    static uint64_t ones[PERMISSIONS / 64];
    uint32_t set[SETS];
    memset(ones, 0xff, sizeof(ones));
    for (unsigned i = 0; i < SETS; i++) {
        set[i] = set_take_writer(&world->sets, 1);
        set_write_writer(&world->segment, set[i], ones, ones);
        set_open_writer(&world->segment, set[i]);
    }
    for (uint64_t user = 0; user < USERS; user++) {
        struct map_key key = {.key0 = user, .key1 = user * 3, .type = TYPE};
        uint32_t slot = map_writer_vacancy(&world->map, key);
        assert_int_not_equal(slot, MAP_NO_SLOT);
        map_insert_writer(&world->map, slot, key, set[user % SETS]);
    }
}

static int set_up(void **state)
{
    const struct segment_options options = {.permissions_max = PERMISSIONS,
                                            .entries = 300000,
                                            .sets = SETS,
                                            .folds = 8,
                                            .targets = 4,
                                            .store_id = 1};
    struct world *world = calloc(1, sizeof(*world));
    assert_non_null(world);
    assert_int_equal(segment_new(&world->segment, &options), 0);
    assert_int_equal(set_pool_init(&world->sets, &world->segment), 0);
    world->map = (struct map){.buckets = world->segment.map,
                              .home_count = world->segment.table.map_buckets,
                              .hash_seed = world->segment.table.hash_seed};
    fill(world);
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    set_pool_fini(&world->sets);
    segment_free(&world->segment);
    free(world);
    return 0;
}

static void map_it(struct world *world)
{
    size_t size = world->segment.size;
    void *address = mmap(NULL, size, PROT_READ, MAP_SHARED, world->segment.descriptor, 0);
    assert_true(address != MAP_FAILED);
    assert_int_equal(segment_table_init(&world->table, address, size), 0);
    world->mapping = (struct mapping){.address = address, .size = size};
    mapping_sections(&world->mapping, &world->table);
}

static bool stopped(const struct world *world)
{
    return __atomic_load_n(&world->stop, __ATOMIC_RELAXED);
}

/* Checks, as permtab_check does. Returns how many answers were DENY. */
static void *check_all(void *context)
{
    struct world *world = context;
    uintptr_t wrong = 0;
    for (uint64_t user = 0; !stopped(world); user = (user + 7919) % USERS) {
        bool allowed = false;
        if (permtab_shm_check(&world->table, user, user * 3, TYPE, PERMISSIONS - 1, false, &allowed) ==
            PERMTAB_SHM_FOUND) {
            wrong += !allowed;
            __atomic_fetch_add(&world->found, 1, __ATOMIC_RELAXED);
        }
    }
    return (void *)wrong;
}

/* Views of all sets, as permtab_view_has looks at them. */
static void *view_all(void *context)
{
    struct world *world = context;
    static __thread struct permtab_shm_look looks[SETS];
    uintptr_t wrong = 0;
    for (uint64_t user = 0; user < SETS; user++)
        if (permtab_shm_look(&world->table, user, user * 3, TYPE, &looks[user]) != PERMTAB_SHM_FOUND)
            looks[user].set = NULL;
    __atomic_fetch_add(&world->held, 1, __ATOMIC_RELAXED);
    for (unsigned i = 0; !stopped(world); i = (i + 1) % SETS) {
        const struct permtab_shm_set *set = looks[i].set;
        if (set == NULL)
            continue;
        bool allowed = permtab_shm_bit(set, PERMISSIONS - 1, false);
        if (permtab_shm_load64(&set->sequence) == looks[i].set_sequence)
            wrong += !allowed;
    }
    return (void *)wrong;
}

static void assert_zero(const struct mapping *mapping)
{
    const uint64_t *words = mapping->address;
    for (size_t i = 0; i < mapping->size / 8; i++)
        if (words[i] != 0)
            fail_msg("byte %zu is not zero", i * 8);
}

static void test_readers_see_nothing_that_was_not_there(void **state)
{
    struct world *world = *state;
    for (unsigned round = 0; round < 6; round++) {
        pthread_t threads[4];
        uintptr_t wrong = 0;
        map_it(world);
        mapping_populate(&world->mapping);
        world->stop = false;
        world->found = world->held = 0;
        for (unsigned i = 0; i < 4; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, i % 2 == 0 ? check_all : view_all, world), 0);
        while (__atomic_load_n(&world->found, __ATOMIC_RELAXED) < 1000 ||
               __atomic_load_n(&world->held, __ATOMIC_RELAXED) < 2)
            sched_yield();
        mapping_void(&world->mapping);
        __atomic_store_n(&world->stop, true, __ATOMIC_RELAXED);
        for (unsigned i = 0; i < 4; i++) {
            void *result;
            assert_int_equal(pthread_join(threads[i], &result), 0);
            wrong += (uintptr_t)result;
        }
        assert_int_equal(wrong, 0);
        assert_int_equal(world->mapping.voided, 1);
        assert_zero(&world->mapping);
        munmap(world->mapping.address, world->mapping.size);
    }
}

/* A kernel that has no room just now, and says so for ever: the table is read as it is. */
static void test_populating_ends(void **state)
{
    struct world *world = *state;
    map_it(world);
    busy = 1000;
    mapping_populate(&world->mapping);
    assert_true(busy > 900 && busy < 1000);
    busy = 3;
    mapping_populate(&world->mapping);
    assert_int_equal(busy, 0); /* it was tried again */
    munmap(world->mapping.address, world->mapping.size);
}

/* Sections that share pages in every way: all of it is zero in the end. */
static void test_shared_pages(void **state)
{
    struct world *world = *state;
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    map_it(world);
    const size_t base = ((size_t)(world->table.sets - (char *)world->mapping.address) / page + 5) * page;
    munmap(world->mapping.address, world->mapping.size);
    const size_t begins[][2] = {{base, base},
                                {base, base - 100},
                                {base + 800, base},
                                {base + 800, base + 800},
                                {base + 800, base - 5000},
                                {100, 50}};
    for (size_t i = 0; i < sizeof(begins) / sizeof(begins[0]); i++) {
        map_it(world);
        world->mapping.map_begin = begins[i][0];
        world->mapping.sets_end = begins[i][1];
        mapping_void(&world->mapping);
        assert_int_equal(world->mapping.voided, 1);
        assert_zero(&world->mapping);
        munmap(world->mapping.address, world->mapping.size);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_readers_see_nothing_that_was_not_there, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_populating_ends, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_shared_pages, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
