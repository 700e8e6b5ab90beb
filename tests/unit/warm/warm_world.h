/* What the warm-up asks others for, played (--wrap, CMakeLists.txt): room and lease of the table, whether users are
 * counted, pages, and a clock. A test plays ask_start itself, and says when an ask is answered and a page read. */
#ifndef PERMTAB_TESTS_UNIT_WARM_WARM_WORLD_H
#define PERMTAB_TESTS_UNIT_WARM_WARM_WORLD_H

#include "proxy/answer/answer.h"
#include "proxy/base/counters.h"
#include "proxy/keys/keys.h"
#include "proxy/rights/catalogue.h"
#include "proxy/table/fill.h"
#include "proxy/table/publisher.h"
#include "proxy/warm/warm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/event.h>

#define SECOND   1000000000ull
#define A_MINUTE (60 * SECOND)
#define MEANING  9u /* of names */

static struct {
    struct catalogue catalogue;
    bool leased, counted;
    uint64_t room, entries; /* of the table */
    uint64_t spent_ns;      /* of all reads */
    uint64_t clock_offset_ns;
    struct ask *under_way[WARM_HANDS]; /* the oldest first */
    unsigned running;
    struct read_guest *page; /* under way */
    bool page_waits;         /* for a thread */
    unsigned pages;          /* that were read */
} world;

struct fixture {
    struct event_base *base;
    struct keys *keys; /* NULL: none are known */
    struct warm *warm;
    uint64_t entries; /* to which the table may grow */
    struct counters counters;
};

/* ---- what is played ---------------------------------------------------------------------------------------------- */

void __wrap_ask_cancel(struct ask *ask);
bool __wrap_answering_knows_users(const struct answering *answering);
uint64_t __wrap_answering_warm_ns(const struct answering *answering);
void __wrap_answering_guest_begin(struct answering *answering, struct read_guest *guest);
bool __wrap_read_guest_withdraw(struct read_guest *guest);
const struct catalogue *__wrap_publisher_catalogue(const struct publisher *publisher);
bool __wrap_publisher_leased(const struct publisher *publisher, uint64_t now_ns);
uint64_t __wrap_publisher_names_version(const struct publisher *publisher);
uint64_t __wrap_publisher_room(const struct publisher *publisher);
uint64_t __wrap_publisher_entries(const struct publisher *publisher);
uint64_t __wrap_store_users_first(const struct store *store);
int __real_clock_gettime(clockid_t clock, struct timespec *out);
int __wrap_clock_gettime(clockid_t clock, struct timespec *out);

void __wrap_ask_cancel(struct ask *ask)
{
    for (unsigned i = 0; i < world.running; i++)
        if (world.under_way[i] == ask)
            world.under_way[i] = world.under_way[--world.running];
}

bool __wrap_answering_knows_users(const struct answering *answering)
{
    (void)answering;
    return world.counted;
}

uint64_t __wrap_answering_warm_ns(const struct answering *answering)
{
    (void)answering;
    return world.spent_ns;
}

void __wrap_answering_guest_begin(struct answering *answering, struct read_guest *guest)
{
    (void)answering;
    assert_null(world.page);
    world.page = guest;
}

bool __wrap_read_guest_withdraw(struct read_guest *guest)
{
    assert_ptr_equal(guest, world.page);
    if (world.page_waits)
        world.page = NULL;
    return world.page_waits;
}

const struct catalogue *__wrap_publisher_catalogue(const struct publisher *publisher)
{
    (void)publisher;
    return &world.catalogue;
}

bool __wrap_publisher_leased(const struct publisher *publisher, uint64_t now_ns)
{
    (void)publisher, (void)now_ns;
    return world.leased;
}

uint64_t __wrap_publisher_names_version(const struct publisher *publisher)
{
    (void)publisher;
    return MEANING;
}

uint64_t __wrap_publisher_room(const struct publisher *publisher)
{
    (void)publisher;
    return world.room;
}

uint64_t __wrap_publisher_entries(const struct publisher *publisher)
{
    (void)publisher;
    return world.entries;
}

uint64_t __wrap_store_users_first(const struct store *store)
{
    (void)store;
    return 0;
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *out)
{
    int code = __real_clock_gettime(clock, out);
    uint64_t ns = (uint64_t)out->tv_sec * SECOND + (uint64_t)out->tv_nsec + world.clock_offset_ns;
    *out = (struct timespec){(time_t)(ns / SECOND), (long)(ns % SECOND)};
    return code;
}

/* ---- asks and pages ---------------------------------------------------------------------------------------------- */

static inline void add_ask(struct ask *ask)
{
    assert_int_equal(ask->question.meaning, MEANING);
    assert_true(world.running < WARM_HANDS);
    world.under_way[world.running++] = ask;
}

/* Takes one that is under way, to be answered. */
static inline struct ask *take_ask(unsigned at)
{
    struct ask *ask = world.under_way[at];
    memmove(&world.under_way[at], &world.under_way[at + 1], (--world.running - at) * sizeof world.under_way[0]);
    return ask;
}

/* The page is read, as a thread does. */
static inline void page_ends(void)
{
    struct failure failure = {0};
    struct read_guest *page = world.page;
    world.page = NULL;
    world.pages++;
    (void)page->run(page, (struct store *)(void *)&world, &failure);
    page->done(page);
}

/* ---- the fixture ------------------------------------------------------------------------------------------------- */

/* There is room for everybody. Of the keys none is known. */
static inline struct fixture *world_begin(bool with_keys)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    int descriptor;
    memset(&world, 0, sizeof world);
    world.catalogue.types = (struct scope_types){3, {"global", "server", "channel"}};
    world.leased = world.counted = true;
    world.room = 1000000;
    fixture->base = event_base_new();
    if (!with_keys)
        return fixture;
    assert_int_equal(keys_memfd_new(&descriptor), 0);
    assert_int_equal(keys_open(&fixture->keys, descriptor, 7), 0);
    (void)close(descriptor);
    return fixture;
}

static inline int teardown(void **state)
{
    struct fixture *fixture = *state;
    warm_free(fixture->warm);
    if (world.page != NULL) /* as store_threads_free does */
        page_ends();
    assert_int_equal(world.running, 0);
    event_base_free(fixture->base);
    keys_free(fixture->keys);
    free(fixture);
    return 0;
}

static inline struct warm_status job_at(struct fixture *fixture, size_t index)
{
    struct warm_status jobs[WARM_LIST_MAX];
    assert_true(index < warm_list(fixture->warm, jobs, WARM_LIST_MAX));
    return jobs[index];
}

#endif
