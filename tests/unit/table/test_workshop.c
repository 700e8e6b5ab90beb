/* The workshop: what is ordered comes, as large as there is room for; what is taken back does not. */
#include "proxy/table/table.h"
#include "proxy/table/workshop.h"
#include "tests/support/loop.h"

#include <errno.h>
#include <event2/event.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include <cmocka.h>

/* What is told of the making of tables, and lets it wait. */
static struct {
    sem_t begun, go_on;
    bool waits;
    const void *looked_at;
    bool was_mapped; /* looked_at, when the last table was begun */
} making;

static bool is_mapped(const void *page)
{
    unsigned char resident;
    return mincore((void *)(uintptr_t)page, 1, &resident) == 0;
}

int __real_table_new(struct table **out, const struct publisher_options *options, uint64_t store_id);
int __wrap_table_new(struct table **out, const struct publisher_options *options, uint64_t store_id);
int __wrap_table_new(struct table **out, const struct publisher_options *options, uint64_t store_id)
{
    making.was_mapped = making.looked_at != NULL && is_mapped(making.looked_at);
    if (making.waits) {
        making.waits = false;
        (void)sem_post(&making.begun);
        (void)sem_wait(&making.go_on);
    }
    return __real_table_new(out, options, store_id);
}

struct fixture {
    struct event_base *base;
    struct workshop *workshop;
    unsigned made;
    int code;
    struct table *tables[4];
};

static void on_made(void *context, int code, struct table *table)
{
    struct fixture *fixture = context;
    assert_true((code == 0) == (table != NULL));
    fixture->code = code;
    fixture->tables[fixture->made++] = table;
}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    fixture->base = event_base_new();
    assert_int_equal(workshop_new(&fixture->workshop, fixture->base), 0);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    for (unsigned i = 0; i < fixture->made; i++)
        table_free(fixture->tables[i]);
    workshop_free(fixture->workshop);
    event_base_free(fixture->base);
    free(fixture);
    return 0;
}

static struct workshop_order order_of(struct fixture *fixture, uint64_t entries)
{
    return (struct workshop_order){.options = {.permissions_max = 64,
                                               .entries = entries,
                                               .sets = 1000,
                                               .folds = 500,
                                               .max_staleness_ns = 2000000000},
                                   .store_id = 7,
                                   .made = on_made,
                                   .context = fixture};
}

static void wait_for(struct fixture *fixture, unsigned made)
{
    assert_true(loop_until(fixture->base, &fixture->made, made, 5000));
}

static void what_is_ordered_comes(void **state)
{
    struct fixture *fixture = *state;
    struct workshop_order order = order_of(fixture, 5000);
    assert_int_not_equal(workshop_order(fixture->workshop, &order), 0);
    order.options.entries = 3000;
    assert_int_not_equal(workshop_order(fixture->workshop, &order), 0);
    wait_for(fixture, 2);
    assert_int_equal(fixture->code, 0);
    assert_int_equal(fixture->tables[0]->entries_max, 5000);
    assert_int_equal(fixture->tables[1]->entries_max, 3000);
    assert_int_equal(fixture->tables[1]->segment.header->identity.store_id, 7);
    assert_int_equal(fixture->tables[1]->segment.header->beat.state, PERMTAB_SHM_VOID);
}

static void what_is_too_large_is_an_error(void **state)
{
    struct fixture *fixture = *state;
    struct workshop_order order = order_of(fixture, 100000);
    order.options.memory_max = 1000000;
    assert_int_not_equal(workshop_order(fixture->workshop, &order), 0);
    wait_for(fixture, 1);
    assert_int_equal(fixture->code, PERMTAB_E_LIMIT);
}

/* Half, and half again; never below what was said, and that much in any case. */
static void a_smaller_one_comes_when_that_will_do(void **state)
{
    struct fixture *fixture = *state;
    struct workshop_order order = order_of(fixture, 100000);
    order.options.memory_max = 2000000;
    order.least = (struct table_size){10000, 100, 100};
    assert_int_not_equal(workshop_order(fixture->workshop, &order), 0);
    order.options.memory_max = 1;
    assert_int_not_equal(workshop_order(fixture->workshop, &order), 0);
    wait_for(fixture, 2);
    assert_int_equal(fixture->tables[0]->entries_max, 50000);
    assert_int_equal(fixture->tables[0]->options.sets, 500);
    assert_int_equal(fixture->tables[0]->options.folds, 250);
    assert_int_equal(fixture->tables[1]->entries_max, 10000);
    assert_int_equal(fixture->tables[1]->options.sets, 100);
    assert_int_equal(fixture->tables[1]->options.folds, 100);
}

static void what_is_taken_back_does_not_come(void **state)
{
    struct fixture *fixture = *state;
    struct workshop_order order = order_of(fixture, 200000);
    uint64_t numbers[4];
    for (size_t i = 0; i < 4; i++)
        numbers[i] = workshop_order(fixture->workshop, &order);
    workshop_cancel(fixture->workshop, numbers[2]); /* waits */
    workshop_cancel(fixture->workshop, numbers[0]); /* is being made, or waits, or was made */
    workshop_cancel(fixture->workshop, 0);
    workshop_cancel(fixture->workshop, numbers[3] + 1);
    wait_for(fixture, 2);
    loop_for(fixture->base, 50);
    assert_int_equal(fixture->made, 2);
    workshop_cancel(fixture->workshop, numbers[1]); /* came already */
    assert_int_equal(fixture->code, 0);
}

/* Made, and waiting for the loop to take it. */
static void what_was_made_can_be_taken_back(void **state)
{
    struct fixture *fixture = *state;
    struct workshop_order order = order_of(fixture, 1000);
    for (unsigned ms = 1; ms <= 64; ms *= 2) {
        const struct timespec pause = {0, (long)ms * 1000000};
        uint64_t number = workshop_order(fixture->workshop, &order);
        (void)nanosleep(&pause, NULL);
        workshop_cancel(fixture->workshop, number);
    }
    loop_for(fixture->base, 50);
    assert_int_equal(fixture->made, 0);
}

static void what_is_dropped_is_unmapped(void **state)
{
    struct fixture *fixture = *state;
    struct workshop_order order = order_of(fixture, 100000);
    assert_int_not_equal(workshop_order(fixture->workshop, &order), 0);
    wait_for(fixture, 1);
    const char *header = (void *)fixture->tables[0]->segment.header;
    size_t size = fixture->tables[0]->segment.size;
    fixture->made = 0;
    workshop_drop(fixture->workshop, fixture->tables[0]);
    workshop_free_table(fixture->workshop, NULL);
    for (unsigned tries = 0; is_mapped(header) && tries < 10000; tries++)
        (void)nanosleep(&(struct timespec){0, 1000000}, NULL);
    assert_false(is_mapped(header));
    assert_false(is_mapped(header + size - 4096));
}

/* The order is for the memory that is left without it. An order that is taken back while it is being made is one of
 * those. */
static void what_is_dropped_goes_before_orders(void **state)
{
    struct fixture *fixture = *state;
    struct workshop_order order = order_of(fixture, 100000);
    assert_int_not_equal(workshop_order(fixture->workshop, &order), 0);
    wait_for(fixture, 1);
    making.looked_at = fixture->tables[0]->segment.header;
    making.waits = true;
    fixture->made = 0;
    uint64_t number = workshop_order(fixture->workshop, &order);
    assert_int_equal(sem_wait(&making.begun), 0);
    assert_int_not_equal(workshop_order(fixture->workshop, &order), 0);
    workshop_drop(fixture->workshop, fixture->tables[0]);
    workshop_cancel(fixture->workshop, number);
    (void)sem_post(&making.go_on);
    wait_for(fixture, 1);
    assert_false(making.was_mapped);
    making.looked_at = NULL;
}

/* The sanitizer of leaks looks on. */
static void the_end_may_come_at_any_time(void **state)
{
    struct fixture *fixture = *state;
    struct workshop_order order = order_of(fixture, 50000);
    assert_int_not_equal(workshop_order(fixture->workshop, &order), 0);
    wait_for(fixture, 1);
    fixture->made = 0;
    for (size_t i = 0; i < 3; i++)
        assert_int_not_equal(workshop_order(fixture->workshop, &order), 0);
    workshop_drop(fixture->workshop, fixture->tables[0]);
}

int main(void)
{
    (void)sem_init(&making.begun, 0, 0);
    (void)sem_init(&making.go_on, 0, 0);
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(what_is_ordered_comes),
        T(what_is_too_large_is_an_error),
        T(a_smaller_one_comes_when_that_will_do),
        T(what_is_taken_back_does_not_come),
        T(what_was_made_can_be_taken_back),
        T(what_is_dropped_is_unmapped),
        T(what_is_dropped_goes_before_orders),
        T(the_end_may_come_at_any_time),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
