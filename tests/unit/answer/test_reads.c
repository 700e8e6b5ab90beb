/* Reads: what a client waits for is read at once and alone, what the warm-up wants is read together, and leaves threads
 * free. The threads and the store are played. */
#include "proxy/answer/reads.h"

#include "proxy/table/publisher.h"

#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define READS   1000u
#define THREADS 4u

static struct {
    struct store_job *jobs[READS]; /* as they were submitted */
    unsigned submitted;
    int submit_code; /* what the pool says next */
    uint64_t generation;
    size_t together[READS]; /* how many keys each call of the store had */
    unsigned calls;
    size_t too_many;        /* a call for more keys than this is refused; 0: none is */
    uint64_t too_much;      /* the facts of this user are, by themselves */
    int fails;              /* with which code the store fails */
} fake;

struct fixture {
    struct event_base *base;
    struct counters counters;
    struct reads *reads;
    struct read *begun[READS];
    unsigned asked, told, failed;
    int last_code;
    uint64_t users[READS]; /* told of, in order */
    uint64_t cost_ns;      /* of the last one */
};

int __wrap_store_threads_submit(struct store_threads *pool, struct store_job *job);
int __wrap_store_snapshot(struct store *store, struct log_position *at, int64_t *now, struct failure *failure);
void __wrap_store_snapshot_end(struct store *store);
int __wrap_store_read_facts_many(struct store *store, const struct facts_key *keys, size_t count,
                                 struct facts *out, struct failure *failure);
uint64_t __wrap_publisher_generation(const struct publisher *publisher);

int __wrap_store_threads_submit(struct store_threads *pool, struct store_job *job)
{
    (void)pool;
    if (fake.submit_code < 0)
        return fake.submit_code;
    fake.jobs[fake.submitted++] = job;
    return 0;
}

int __wrap_store_snapshot(struct store *store, struct log_position *at, int64_t *now, struct failure *failure)
{
    (void)store, (void)failure;
    *at = (struct log_position){.store_id = 77};
    *now = 1;
    return 0;
}

void __wrap_store_snapshot_end(struct store *store)
{
    (void)store;
}

int __wrap_store_read_facts_many(struct store *store, const struct facts_key *keys, size_t count,
                                 struct facts *out, struct failure *failure)
{
    (void)store;
    fake.together[fake.calls++] = count;
    if (fake.fails < 0)
        return failure_set(failure, fake.fails, "the store fails");
    if (fake.too_many > 0 && count > fake.too_many)
        return failure_set(failure, PERMTAB_E_LIMIT, "too many");
    for (size_t i = 0; i < count; i++)
        if (fake.too_much > 0 && keys[i].user == fake.too_much)
            return failure_set(failure, PERMTAB_E_LIMIT, "too much");
    for (size_t i = 0; i < count; i++)
        out[i] = (struct facts){.user = keys[i].user,
                                .default_count = 1,
                                .defaults = calloc(1, sizeof *out->defaults)}; /* a leak would be seen */
    return 0;
}

uint64_t __wrap_publisher_generation(const struct publisher *publisher)
{
    (void)publisher;
    return fake.generation;
}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    memset(&fake, 0, sizeof fake);
    fake.generation = 5;
    fixture->base = event_base_new();
    struct reads_options options = {.base = fixture->base, .threads = THREADS, .counters = &fixture->counters};
    assert_int_equal(reads_new(&fixture->reads, &options), 0);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    reads_free(fixture->reads);
    event_base_free(fixture->base);
    free(fixture);
    return 0;
}

static void on_read(void *context, int code, const char *text, struct facts *facts,
                    const struct read_source *source)
{
    struct fixture *fixture = context;
    assert_non_null(text);
    fixture->last_code = code;
    fixture->failed += code < 0;
    if (code == 0) {
        assert_int_equal(source->store_id, 77);
        fixture->cost_ns = source->cost_ns;
        assert_int_equal(facts->generation, 5);
        fixture->users[fixture->told] = facts->user;
        facts_fini(facts);
    }
    fixture->told++;
}

/* Each at one of so many places. */
static void begin_at(struct fixture *fixture, unsigned count, bool gather, unsigned places)
{
    for (unsigned i = 0; i < count; i++) {
        struct facts_key key = {.user = ++fixture->asked, .scope_id = i % places};
        assert_int_equal(
            read_begin(&fixture->begun[fixture->asked], fixture->reads, &key, gather, on_read, fixture), 0);
    }
}

static void begin(struct fixture *fixture, unsigned count, bool gather)
{
    begin_at(fixture, count, gather, 1);
}

static void turn(struct fixture *fixture)
{
    assert_true(event_base_loop(fixture->base, EVLOOP_NONBLOCK) >= 0);
}

/* What a thread does with a job, and the loop after it. */
static void carry_out(unsigned job)
{
    static struct store store;
    struct failure failure = {0};
    (void)fake.jobs[job]->run(fake.jobs[job], &store, &failure);
    fake.jobs[job]->done(fake.jobs[job]);
}

static void a_client_is_read_for_at_once(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture, 3, false);
    assert_int_equal(fake.submitted, 3);
    assert_int_equal(fixture->told, 0);
    fake.generation = 6; /* the table is made anew: the stamp is older */
    for (unsigned i = 0; i < 3; i++)
        carry_out(i);
    assert_int_equal(fixture->told, 3);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(fake.together[i], 1);
    assert_int_equal(fixture->counters.store_reads, 3);
}

static void what_is_gathered_goes_together(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture, 200, true);
    assert_int_equal(fake.submitted, 0);
    turn(fixture);
    assert_int_equal(fake.submitted, THREADS - 1); /* one is for others */
    for (unsigned i = 0; i < fake.submitted; i++)
        carry_out(i);
    assert_int_equal(fixture->told, 200);
    assert_int_equal(fake.calls, 4);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(fake.together[i], 64); /* and no more, for the turn that publishes them */
    assert_int_equal(fake.together[3], 8);
    for (unsigned i = 0; i < 200; i++)
        assert_int_equal(fixture->users[i], i + 1);
    assert_true(reads_would_begin(fixture->reads));
}

/* Each place takes statements of its own, and the first waits for the last. */
static void of_a_few_places(void **state)
{
    struct fixture *fixture = *state;
    begin_at(fixture, 64, true, 64);
    turn(fixture);
    for (unsigned i = 0; i < fake.submitted; i++)
        carry_out(i);
    assert_int_equal(fake.calls, 4);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(fake.together[i], 16);
    assert_int_equal(fixture->told, 64);
}

static void threads_are_left_for_others(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture, 400, true);
    turn(fixture);
    assert_int_equal(fake.submitted, THREADS - 1);
    begin(fixture, 1, false);
    assert_int_equal(fake.submitted, THREADS);
    assert_false(reads_would_begin(fixture->reads));
    carry_out(THREADS - 1);
    assert_int_equal(fixture->users[0], 401);
    /* Somebody waits now and then: a quarter of the threads. */
    carry_out(0);
    carry_out(1);
    assert_int_equal(fake.submitted, THREADS);
    carry_out(2);
    assert_int_equal(fake.submitted, THREADS + 1);
    for (unsigned i = THREADS; i < fake.submitted; i++)
        carry_out(i);
    assert_int_equal(fixture->told, 401);
}

static void somebody_waits_for_it_now(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture, 200, true);
    read_hurry(fixture->begun[150]); /* while it waits */
    assert_int_equal(fake.submitted, 1);
    carry_out(0);
    assert_int_equal(fixture->told, 1);
    assert_int_equal(fixture->users[0], 150);
    turn(fixture);
    read_hurry(fixture->begun[1]); /* it is away */
    for (unsigned i = 1; i < fake.submitted; i++)
        carry_out(i);
    assert_int_equal(fixture->told, 200);
}

/* Together it is too much: each by itself, and one of them is too much even so. None is kept meanwhile. */
static void too_much_together(void **state)
{
    struct fixture *fixture = *state;
    fake.too_many = 1;
    fake.too_much = 3;
    begin(fixture, 5, true);
    turn(fixture);
    carry_out(0);
    assert_int_equal(fixture->told, 0);
    begin(fixture, 1, true); /* they go before it */
    for (unsigned i = 1; i < fake.submitted; i++) {
        carry_out(i);
        assert_int_equal(fixture->told, i);
    }
    assert_int_equal(fake.calls, 7);
    assert_int_equal(fixture->told, 6);
    assert_int_equal(fixture->failed, 1);
    assert_int_equal(fixture->users[5], 6);
}

static void a_failure_is_everybodys(void **state)
{
    struct fixture *fixture = *state;
    static struct store store;
    struct failure failure = {0};
    begin(fixture, 5, true);
    turn(fixture);
    assert_int_equal(fake.jobs[0]->run(fake.jobs[0], &store, &failure), 0);
    fake.fails = PERMTAB_E_STORE; /* it is run again, as after a connection that was lost */
    carry_out(0);
    assert_int_equal(fixture->told, 5);
    assert_int_equal(fixture->failed, 5);
    assert_int_equal(fixture->last_code, PERMTAB_E_STORE);
    begin(fixture, 1, false);
    (void)failure_set(&failure, PERMTAB_E_UNREACHABLE, "away");
    assert_int_equal(fake.jobs[1]->run(fake.jobs[1], NULL, &failure), PERMTAB_E_UNREACHABLE);
    fake.jobs[1]->done(fake.jobs[1]);
    assert_int_equal(fixture->last_code, PERMTAB_E_UNREACHABLE);
}

static void nobody_is_told_after_a_cancel(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture, 3, true);
    read_cancel(fixture->begun[1]); /* while it waits */
    turn(fixture);
    read_cancel(fixture->begun[3]); /* while it is away */
    carry_out(0);
    assert_int_equal(fixture->told, 1);
    assert_int_equal(fixture->users[0], 2);
}

static void a_full_queue(void **state)
{
    struct fixture *fixture = *state;
    struct facts_key key = {.user = 1};
    struct read *read;
    fake.submit_code = PERMTAB_E_FULL;
    assert_int_equal(read_begin(&read, fixture->reads, &key, false, on_read, fixture), PERMTAB_E_FULL);
    begin(fixture, 100, true);
    turn(fixture);
    read_hurry(fixture->begun[7]);
    assert_int_equal(fixture->told, 0);
    assert_int_equal(fixture->counters.store_reads, 0);
    fake.submit_code = 0;
    while (fake.submitted == 0) /* they are not forgotten, though nothing happens any more */
        assert_int_equal(event_base_loop(fixture->base, EVLOOP_ONCE), 0);
    for (unsigned i = 0; i < fake.submitted; i++)
        carry_out(i);
    assert_int_equal(fixture->told, 100);
    assert_int_equal(fixture->failed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(a_client_is_read_for_at_once), T(what_is_gathered_goes_together), T(of_a_few_places),
        T(threads_are_left_for_others),  T(somebody_waits_for_it_now),      T(too_much_together),
        T(a_failure_is_everybodys),      T(nobody_is_told_after_a_cancel),  T(a_full_queue),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
