/* A publisher that grows: next tables for it, and what it dropped. */
#ifndef PERMTAB_TESTS_UNIT_TABLE_GROW_FIXTURE_H
#define PERMTAB_TESTS_UNIT_TABLE_GROW_FIXTURE_H

#include "proxy/table/grow.h"
#include "tests/unit/table/publisher_fixture.h"

static struct {
    struct table *table[4];
    unsigned count;
} dropped;

static inline void on_drop(void *context, struct table *table)
{
    (void)context;
    assert_true(dropped.count < 4);
    dropped.table[dropped.count++] = table;
}

static inline void free_dropped(void)
{
    while (dropped.count > 0)
        table_free(dropped.table[--dropped.count]);
}

static inline int setup_growing(void **state)
{
    (void)setup(state);
    struct fixture *fixture = *state;
    publisher_drop_to(fixture->publisher, on_drop, NULL);
    return 0;
}

static inline int teardown_growing(void **state)
{
    (void)teardown(state);
    free_dropped();
    return 0;
}

static inline struct table *make(struct fixture *fixture, uint64_t entries, uint32_t sets)
{
    struct publisher_options options = fixture->publisher->table->options;
    struct table *fresh;
    options.entries = entries;
    options.sets = sets;
    assert_int_equal(table_new(&fresh, &options, 7), 0);
    return fresh;
}

static inline struct table *begin(struct fixture *fixture)
{
    struct table *fresh = make(fixture, 2000, 100);
    assert_int_equal(publisher_grow_begin(fixture->publisher, fresh), 0);
    return fresh;
}

static inline void finish(struct fixture *fixture)
{
    enum grow_outcome outcome;
    while ((outcome = publisher_grow_slice(fixture->publisher, SECOND, 100)) == GROW_MORE)
        ;
    assert_int_equal(outcome, GROW_DONE);
}

/* 1 allowed, 0 denied, -1 not resident: in that table. */
static inline int resident_in(const struct table *table, uint64_t user, struct scope_key scope, uint32_t bit)
{
    struct permtab_shm_look look;
    if (permtab_shm_look_once(&table->segment.table, user, scope.id, scope.type, &look) != PERMTAB_SHM_FOUND)
        return -1;
    return (int)(look.set->bits[bit / 64 * 2] >> (bit % 64) & 1);
}

static inline void fill_members(struct fixture *fixture)
{
    for (uint64_t user = 1; user <= 5; user++)
        fill_well(fixture, user, channel);
}

#endif
