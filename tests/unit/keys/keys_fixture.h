/* A memory of keys, and a look at what is in it. */
#ifndef PERMTAB_TESTS_UNIT_KEYS_KEYS_FIXTURE_H
#define PERMTAB_TESTS_UNIT_KEYS_KEYS_FIXTURE_H

#include "proxy/keys/private.h"
#include "tests/support/keys_hottest.h"
#include "tests/support/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define STORE 77u
#define TYPES 3u

#define SLOTS (KEYS_SETS_FIRST * KEYS_WAYS) /* of a memory that does not grow */

static struct hot_key found[SLOTS];

static inline int new_memory(void)
{
    int descriptor = -1;
    assert_int_equal(keys_memfd_new(&descriptor), 0);
    return descriptor;
}

static inline struct keys *opened(int descriptor)
{
    struct keys *keys;
    assert_int_equal(keys_open(&keys, descriptor, STORE), 0);
    keys_set_limit(keys, 1);
    return keys;
}

static inline void note(struct keys *keys, uint64_t user, uint64_t place, uint32_t weight)
{
    keys_note(keys, user, (struct scope_key){.id = place, .type = 2}, weight);
}

static inline size_t hottest(struct keys *keys)
{
    return keys_hottest(keys, TYPES, found, SLOTS);
}

static inline uint32_t frequency_of(struct keys *keys, uint64_t user, uint64_t place)
{
    size_t count = hottest(keys);
    for (size_t i = 0; i < count; i++)
        if (found[i].user == user && found[i].scope.id == place)
            return found[i].frequency;
    return 0;
}

static inline void *mapped(int descriptor)
{
    void *mapping = mmap(NULL, KEYS_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    assert_ptr_not_equal(mapping, MAP_FAILED);
    return mapping;
}

static inline struct keys_set *sets_of(void *mapping)
{
    return (struct keys_set *)(void *)((char *)mapping + KEYS_PAGE);
}

/* The first record that is in use: its set; *way. */
static inline struct keys_set *first_record(struct keys_set *sets, uint32_t *way)
{
    for (struct keys_set *set = sets; set < sets + KEYS_SETS_FIRST; set++)
        for (*way = 0; *way < KEYS_WAYS; ++*way)
            if (set->words[*way] != 0)
                return set;
    fail();
    return NULL;
}

#endif
