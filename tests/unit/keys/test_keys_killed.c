/* The worker dies after its first, second, third … store into the keys, in the middle of opening, noting, wearing
 * away or forgetting. Whoever opens the memory next finds whole keys alone: a place is always twice its user, plus
 * one, and every user is below USERS. keys.c is built into this test with a hook after each store. */
#include "proxy/keys/private.h"

#include "tests/support/keys_hottest.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define STORE  9u
#define TYPES  3u
#define USERS  3000000u /* many times as many as there are slots, so that all sets are full soon */
#define DEATHS 120u
#define KEYS   120000u /* as far as it grows */
#define SLOTS  (KEYS * 3)

static uint64_t stores_left = UINT64_MAX, limit = KEYS;
static struct hot_key found[SLOTS];

void permtab_store_hook(void);
void permtab_store_hook(void)
{
    if (--stores_left == 0)
        (void)raise(SIGKILL);
}

static void note(struct keys *keys, uint64_t user)
{
    keys_note(keys, user, (struct scope_key){.id = 2 * user + 1, .type = (uint32_t)(user % TYPES)},
              user % 7 == 0 ? KEYS_SAMPLE : KEYS_FILL);
}

/* Lives until its store number `stores` after the memory was opened as often as `opens` says. */
static void live(int descriptor, uint64_t stores, uint64_t store_id)
{
    struct keys *keys;
    uint64_t user = stores * 7919;
    stores_left = stores;
    if (keys_open(&keys, descriptor, store_id) < 0)
        _exit(1);
    keys_set_limit(keys, limit);
    for (;;) {
        for (unsigned i = 0; i < 100000; i++, user += 104729)
            note(keys, user % USERS);
        (void)keys_hottest(keys, TYPES, found, SLOTS);
    }
}

static void die_after(int descriptor, uint64_t stores, uint64_t store_id)
{
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        live(descriptor, stores, store_id);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static size_t look(int descriptor)
{
    struct keys *keys;
    assert_int_equal(keys_open(&keys, descriptor, STORE), 0);
    static bool seen[USERS];
    size_t count = keys_hottest(keys, TYPES, found, SLOTS);
    memset(seen, 0, sizeof seen);
    for (size_t i = 0; i < count; i++) {
        assert_true(found[i].user < USERS && !seen[found[i].user]);
        seen[found[i].user] = true;
        assert_int_equal(found[i].scope.id, 2 * found[i].user + 1);
        assert_int_equal(found[i].scope.type, found[i].user % TYPES);
        assert_in_range(found[i].frequency, 1, KEYS_FREQUENCY_MAX);
    }
    keys_free(keys);
    return count;
}

static void test_dies_after_each_store(void **state)
{
    (void)state;
    int descriptor;
    assert_int_equal(keys_memfd_new(&descriptor), 0);
    die_after(descriptor, 3000000, STORE); /* now all sets are full */
    assert_true(look(descriptor) > KEYS);
    for (uint64_t stores = 1; stores <= DEATHS; stores++) {
        die_after(descriptor, stores, STORE);
        assert_true(look(descriptor) > KEYS);
    }
    (void)close(descriptor);
}

/* It finds keys of another store, and dies while it forgets them, or just after. */
static void test_dies_while_it_begins_anew(void **state)
{
    (void)state;
    static const uint64_t cleared = KEYS_SETS_FIRST * KEYS_WAYS,
                          deaths[] = {1,           2,           1000,         cleared,     cleared + 1,
                                      cleared + 2, cleared + 3, cleared + 35, cleared + 36, cleared + 44};
    int descriptor;
    assert_int_equal(keys_memfd_new(&descriptor), 0);
    for (size_t i = 0; i < sizeof deaths / sizeof deaths[0]; i++) {
        die_after(descriptor, 2 * SLOTS, STORE + 1);
        die_after(descriptor, deaths[i], STORE);
        assert_true(look(descriptor) < 4); /* none of the other store */
    }
    (void)close(descriptor);
}

/* There are more keys than a memory of its size should have, so nearly each note divides a set. No key is lost by
 * it, and none is there twice. */
static void test_dies_while_it_divides(void **state)
{
    (void)state;
    int descriptor;
    assert_int_equal(keys_memfd_new(&descriptor), 0);
    limit = 1;
    die_after(descriptor, 100000, STORE);
    size_t before = look(descriptor);
    limit = KEYS;
    for (uint64_t stores = 1; stores <= 2 * DEATHS; stores++) {
        die_after(descriptor, stores, STORE);
        size_t now = look(descriptor);
        assert_true(now + 1 >= before); /* it may die between forgetting one for another, and that one */
        before = now;
    }
    assert_true(keys_allocated(descriptor, KEYS_SETS_FIRST + 1));
    (void)close(descriptor);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dies_after_each_store),
        cmocka_unit_test(test_dies_while_it_begins_anew),
        cmocka_unit_test(test_dies_while_it_divides),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
