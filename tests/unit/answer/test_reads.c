/* Reads: who asks for one thing is read for at once, and by himself as long as there are threads; lists and the warm-up
 * are read for together, and leave threads free. The threads and the store are played. */
#include "proxy/answer/reads.h"

#include "proxy/base/clock.h"
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
    size_t rows;            /* of each facts */
    uint64_t slow_ns;       /* that each takes to be published */
    uint64_t read_ns;       /* that each takes to be read, or to fail */
    uint32_t levels;        /* of the places that the table knows, */
    uint64_t known_places;  /* of which the ids are below this; 0: all */
    int known;              /* what a read of a known place brings */
    unsigned known_calls;
    size_t known_together;  /* keys of the last one */
    uint64_t known_at;      /* the revision at which the place was believed */
    size_t known_too_many;  /* a read of more keys at a known place is refused; 0: none is */
    unsigned refused;
    unsigned looks;         /* at what the table knows of a place */
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
    uint64_t costs_ns;     /* of all of them */
    bool whole, refresh;   /* what is begun */
};

int __wrap_store_threads_submit(struct store_threads *pool, struct store_job *job);
int __wrap_store_snapshot(struct store *store, struct log_position *at, int64_t *now, struct failure *failure);
void __wrap_store_snapshot_end(struct store *store);
int __wrap_store_read_facts_many(struct store *store, const struct facts_key *keys, size_t count,
                                 struct facts *out, struct failure *failure);
int __wrap_store_read_facts_known(struct store *store, const struct store_place *place,
                                  const struct facts_key *keys, size_t count, struct facts *out,
                                  struct failure *failure);
uint64_t __wrap_publisher_generation(const struct publisher *publisher);
struct log_position __wrap_publisher_position(const struct publisher *publisher);
uint32_t __wrap_publisher_chain(const struct publisher *publisher, struct scope_key scope, struct scope_key *out);

static void wait_ns(uint64_t ns)
{
    uint64_t begun_ns = clock_ns();
    while (ns > 0 && clock_ns() - begun_ns < ns)
        ;
}

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
    wait_ns(fake.read_ns);
    if (fake.fails < 0)
        return failure_set(failure, fake.fails, "the store fails");
    if (fake.too_many > 0 && count > fake.too_many)
        return failure_set(failure, PERMTAB_E_LIMIT, "too many");
    for (size_t i = 0; i < count; i++)
        if (fake.too_much > 0 && keys[i].user == fake.too_much)
            return failure_set(failure, PERMTAB_E_LIMIT, "too much");
    for (size_t i = 0; i < count; i++)
        out[i] = (struct facts){.user = keys[i].user,
                                .default_count = fake.rows,
                                .defaults = calloc(fake.rows, sizeof *out->defaults)}; /* a leak would be seen */
    return 0;
}

int __wrap_store_read_facts_known(struct store *store, const struct store_place *place,
                                  const struct facts_key *keys, size_t count, struct facts *out,
                                  struct failure *failure)
{
    (void)store;
    fake.known_calls++;
    fake.known_together = count;
    fake.known_at = place->at.revision;
    assert_int_equal(place->levels, fake.levels);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(keys[i].scope_id, place->chain[place->levels - 1].id);
    if (fake.known < 0)
        return failure_set(failure, fake.known, "no");
    fake.refused += fake.known_too_many > 0 && count > fake.known_too_many;
    if (fake.known_too_many > 0 && count > fake.known_too_many)
        return failure_set(failure, PERMTAB_E_LIMIT, "too many");
    for (size_t i = 0; i < count && fake.known > 0; i++)
        out[i] = (struct facts){.user = keys[i].user, .without_roles = true};
    return fake.known;
}

struct log_position __wrap_publisher_position(const struct publisher *publisher)
{
    (void)publisher;
    return (struct log_position){77, 33, 3};
}

uint32_t __wrap_publisher_chain(const struct publisher *publisher, struct scope_key scope, struct scope_key *out)
{
    (void)publisher;
    fake.looks++;
    if (fake.levels == 0 || (fake.known_places > 0 && scope.id >= fake.known_places))
        return 0;
    out[fake.levels - 1] = scope;
    return fake.levels;
}

uint64_t __wrap_publisher_generation(const struct publisher *publisher)
{
    (void)publisher;
    return fake.generation;
}

static struct store store = {.store_id = 77};

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    memset(&fake, 0, sizeof fake);
    fake.generation = 5;
    fake.rows = 1;
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
    wait_ns(fake.slow_ns);
    fixture->cost_ns = source->cost_ns;
    fixture->costs_ns += source->cost_ns;
    fixture->last_code = code;
    fixture->failed += code < 0;
    if (code == 0) {
        assert_int_equal(source->store_id, 77);
        assert_int_equal(facts->generation, 5);
        fixture->users[fixture->told] = facts->user;
        facts_fini(facts);
    }
    fixture->told++;
}

static void with_threads(struct fixture *fixture, unsigned threads)
{
    struct reads_options options = {.base = fixture->base, .threads = threads, .counters = &fixture->counters};
    reads_free(fixture->reads);
    assert_int_equal(reads_new(&fixture->reads, &options), 0);
}

/* Each at one of so many places. */
static void begin_at(struct fixture *fixture, unsigned count, enum read_lane lane, unsigned places)
{
    for (unsigned i = 0; i < count; i++) {
        struct facts_key key = {.user = ++fixture->asked, .scope_id = i % places};
        struct read_how how = {.lane = lane, .whole = fixture->whole, .refresh = fixture->refresh};
        assert_int_equal(
            read_begin(&fixture->begun[fixture->asked], fixture->reads, &key, how, on_read, fixture), 0);
    }
}

static void turn(struct fixture *fixture)
{
    assert_true(event_base_loop(fixture->base, EVLOOP_NONBLOCK) >= 0);
}

static void begin(struct fixture *fixture, unsigned count, enum read_lane lane)
{
    begin_at(fixture, count, lane, 1);
    turn(fixture);
}

/* What a thread does with a job, and the loop after it. */
static void run_job(unsigned job)
{
    struct failure failure = {0};
    (void)fake.jobs[job]->run(fake.jobs[job], &store, &failure);
    fake.jobs[job]->done(fake.jobs[job]);
}

static void carry_out(struct fixture *fixture, unsigned job)
{
    run_job(job);
    turn(fixture);
}

/* All jobs from that one on, and those that come of them. */
static void carry_out_from(struct fixture *fixture, unsigned job)
{
    while (job < fake.submitted)
        carry_out(fixture, job++);
}

/* ---- clients that ask for one thing ------------------------------------------------------------------------------ */

static void a_client_is_read_for_at_once(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture, 3, READ_ONE);
    assert_int_equal(fake.submitted, 3);
    assert_int_equal(fixture->told, 0);
    fake.generation = 6; /* the table is made anew: the stamp is older */
    carry_out_from(fixture, 0);
    assert_int_equal(fixture->told, 3);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(fake.together[i], 1);
    assert_int_equal(fixture->counters.store_reads, 3);
}

/* A hundred clients that miss at the same time cost four reads. */
static void a_burst_shares_the_threads(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture, 100, READ_ONE);
    carry_out_from(fixture, 0);
    assert_int_equal(fixture->told, 100);
    assert_int_equal(fixture->counters.store_reads, THREADS);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(fake.together[i], 25);
}

/* What comes while all threads are busy goes together, in the order in which it came. */
static void who_waits_for_a_thread_shares_it(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture, THREADS, READ_ONE);
    begin(fixture, 70, READ_ONE);
    assert_int_equal(fake.submitted, THREADS);
    carry_out(fixture, 0);
    assert_int_equal(fake.submitted, THREADS + 1);
    carry_out_from(fixture, THREADS);
    assert_int_equal(fake.together[1], 64);
    assert_int_equal(fake.together[2], 6);
    for (unsigned i = 1; i <= 70; i++)
        assert_int_equal(fixture->users[i], THREADS + i);
    for (unsigned i = 1; i < THREADS; i++)
        carry_out(fixture, i);
}

/* A read that takes long keeps nobody but those that are in it. */
static void a_slow_read_keeps_one_thread(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture, 1, READ_ONE); /* the slow one */
    for (unsigned i = 0; i < 50; i++) {
        begin(fixture, 1, READ_ONE);
        assert_int_equal(fake.submitted, i + 2);
        carry_out(fixture, i + 1);
        assert_int_equal(fixture->told, i + 1);
    }
    carry_out(fixture, 0);
}

/* ---- lists ------------------------------------------------------------------------------------------------------- */

/* A list has the threads but one, and a client that comes then waits for none of it. */
static void a_list_leaves_a_thread(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture, 400, READ_LIST);
    assert_int_equal(fake.submitted, THREADS - 1);
    begin(fixture, 1, READ_ONE);
    assert_int_equal(fake.submitted, THREADS);
    carry_out(fixture, THREADS - 1);
    assert_int_equal(fixture->users[0], 401);
    /* Others ask now and then: a quarter of the threads. */
    carry_out(fixture, 0);
    carry_out(fixture, 1);
    assert_int_equal(fake.submitted, THREADS);
    carry_out(fixture, 2);
    assert_int_equal(fake.submitted, THREADS + 1);
    carry_out_from(fixture, THREADS);
    assert_int_equal(fixture->told, 401);
    assert_true(fixture->counters.store_reads <= 1 + (400 + 63) / 64);
}

/* So many wait that they are a crowd's: they have all threads but one beside somebody who asks now and then. */
static void a_crowd_has_all_threads_but_one(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture, 2, READ_ONE);
    begin(fixture, 1, READ_ONE);
    carry_out_from(fixture, 0);
    begin(fixture, 2 * READ_LIST_MAX, READ_LIST);
    assert_int_equal(fake.submitted, 3 + 1); /* a quarter */
    begin_at(fixture, READ_TOGETHER_MAX + 1, READ_LIST, 1); /* for those that are away, and one more than before */
    turn(fixture);
    assert_int_equal(fake.submitted, 3 + 2);
    begin(fixture, 3 * READ_TOGETHER_MAX, READ_LIST);
    assert_int_equal(fake.submitted, 3 + THREADS - 1);
    begin(fixture, 1, READ_ONE); /* has the last one */
    assert_int_equal(fake.submitted, 3 + THREADS);
    carry_out_from(fixture, 3);
    assert_int_equal(fixture->told, fixture->asked);
}

/* In equal shares; but few are not worth a thread. */
static void a_list_is_read_in_few_reads(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture, 99, READ_LIST);
    assert_int_equal(fake.submitted, THREADS - 1);
    carry_out_from(fixture, 0);
    for (unsigned i = 0; i < THREADS - 1; i++)
        assert_int_equal(fake.together[i], 33);
    begin(fixture, 10, READ_LIST);
    carry_out_from(fixture, THREADS - 1);
    assert_int_equal(fake.together[THREADS - 1], 10);
    assert_int_equal(fixture->told, 109);
}

/* ---- the warm-up ------------------------------------------------------------------------------------------------- */

static void what_is_gathered_goes_together(void **state)
{
    struct fixture *fixture = *state;
    begin_at(fixture, 200, READ_WARM, 1);
    assert_int_equal(fake.submitted, 0);
    turn(fixture);
    assert_int_equal(fake.submitted, THREADS - 1); /* one is for others */
    carry_out_from(fixture, 0);
    assert_int_equal(fixture->told, 200);
    assert_int_equal(fake.calls, 4);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(fake.together[i], 64); /* and no more, for the turn that publishes them */
    assert_int_equal(fake.together[3], 8);
    for (unsigned i = 0; i < 200; i++)
        assert_int_equal(fixture->users[i], i + 1);
    assert_true(reads_would_begin(fixture->reads, READ_WARM));
}

/* Each place takes statements of its own, and the first waits for the last. */
static void of_a_few_places(void **state)
{
    struct fixture *fixture = *state;
    begin_at(fixture, 64, READ_WARM, 64);
    turn(fixture);
    carry_out_from(fixture, 0);
    assert_int_equal(fake.calls, 4);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(fake.together[i], 16);
    assert_int_equal(fixture->told, 64);
}

/* Neither who asks for one thing nor a list waits for it, but for the one that is under way. */
static void the_warm_up_comes_last(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture, 400, READ_WARM);
    assert_int_equal(fake.submitted, THREADS - 1);
    assert_true(reads_would_begin(fixture->reads, READ_ONE));
    begin(fixture, 1, READ_ONE);
    assert_int_equal(fake.submitted, THREADS);
    assert_false(reads_would_begin(fixture->reads, READ_ONE));
    carry_out(fixture, THREADS - 1);
    assert_int_equal(fixture->users[0], 401);
    begin(fixture, 64, READ_LIST);
    assert_int_equal(fake.submitted, THREADS); /* the last thread is for one thing */
    carry_out(fixture, 0);
    assert_int_equal(fake.submitted, THREADS + 1);
    carry_out(fixture, THREADS);
    assert_int_equal(fixture->users[65], 402);
    assert_int_equal(fixture->told, 129);
    /* Others ask: a quarter. */
    carry_out(fixture, 1);
    assert_int_equal(fake.submitted, THREADS + 1);
    carry_out(fixture, 2);
    assert_int_equal(fake.submitted, THREADS + 2);
    carry_out_from(fixture, THREADS + 1);
    assert_int_equal(fixture->told, 465);
}

/* Lists do not keep it from going on for ever. */
static void a_list_leaves_the_warm_up_a_thread(void **state)
{
    struct fixture *fixture = *state;
    begin_at(fixture, 900, READ_LIST, 1);
    begin_at(fixture, 10, READ_WARM, 1);
    turn(fixture);
    assert_int_equal(fake.submitted, THREADS - 1); /* two and one */
    carry_out(fixture, 2);
    assert_int_equal(fixture->told, 10);
    assert_int_equal(fixture->users[0], 901);
    carry_out(fixture, 0);
    carry_out(fixture, 1);
    carry_out_from(fixture, 3);
    assert_int_equal(fixture->told, 910);
}

/* Lists that never end, and perhaps somebody who asks for one thing now and then: how many of their jobs end before the
 * first one of the warm-up does. */
static unsigned lists_before_the_warm_up(struct fixture *fixture, bool ones)
{
    unsigned lists = 0, job = 0;
    begin(fixture, 20, READ_LIST);
    begin(fixture, 5, READ_WARM);
    for (;;) {
        if (ones && job % 3 == 0)
            begin(fixture, 1, READ_ONE);
        begin(fixture, 20, READ_LIST);
        unsigned told = fixture->told;
        assert_true(job < fake.submitted && lists < 40);
        carry_out(fixture, job++);
        if (fixture->users[told] > 20 && fixture->users[told] <= 25)
            break;
        lists += fixture->told > told + 1;
    }
    carry_out_from(fixture, job);
    assert_int_equal(fixture->told, fixture->asked);
    return lists;
}

static void lists_without_end(void **state)
{
    struct fixture *fixture = *state;
    with_threads(fixture, 2);
    assert_int_equal(lists_before_the_warm_up(fixture, false), 17); /* it did not wait when the first one began */
}

static void lists_without_end_and_single_misses(void **state)
{
    struct fixture *fixture = *state;
    with_threads(fixture, 2);
    assert_in_range(lists_before_the_warm_up(fixture, true), 16, 17);
}

static void lists_without_end_and_one_thread(void **state)
{
    struct fixture *fixture = *state;
    with_threads(fixture, 1);
    assert_in_range(lists_before_the_warm_up(fixture, true), 16, 17);
}

/* Meanwhile it leaves as many threads to single misses as a list does, and the list goes on after it. */
static void the_place_of_a_list(void **state)
{
    struct fixture *fixture = *state;
    with_threads(fixture, 2);
    begin(fixture, 20, READ_LIST);
    begin(fixture, 100, READ_WARM);
    for (unsigned job = 0; job < 17; job++) {
        begin(fixture, 20, READ_LIST);
        carry_out(fixture, job);
    }
    begin(fixture, 20, READ_LIST);
    assert_int_equal(fake.submitted, 18);
    assert_true(reads_would_begin(fixture->reads, READ_ONE));
    carry_out(fixture, 17);
    assert_int_equal(fixture->users[fixture->told - 1], 84);
    assert_int_equal(fake.submitted, 19);
    carry_out(fixture, 18);
    assert_int_equal(fixture->users[fixture->told - 1], fixture->asked);
    carry_out_from(fixture, 19);
    assert_int_equal(fixture->told, fixture->asked);
}

/* Whoever asks for one thing finds a thread, however few there are, unless a list has come first. */
static void the_last_thread_is_not_for_the_warm_up(void **state)
{
    struct fixture *fixture = *state;
    with_threads(fixture, 2);
    begin(fixture, 1, READ_ONE);
    begin(fixture, 200, READ_WARM);
    assert_int_equal(fake.submitted, 1);
    carry_out(fixture, 0);
    assert_int_equal(fake.submitted, 2);
    begin(fixture, 10, READ_LIST);
    assert_int_equal(fake.submitted, 2); /* the other is the warm-up's */
    assert_true(reads_would_begin(fixture->reads, READ_ONE));
    carry_out(fixture, 1);
    assert_int_equal(fake.submitted, 3);
    carry_out(fixture, 2);
    assert_int_equal(fixture->users[fixture->told - 1], 211);
    begin(fixture, 1, READ_ONE);
    assert_int_equal(fake.submitted, 5);
    carry_out(fixture, 4);
    assert_int_equal(fixture->users[fixture->told - 1], 212);
    carry_out(fixture, 3);
    carry_out_from(fixture, 5);
    assert_int_equal(fixture->told, 212);
}

static void somebody_waits_for_it_now(void **state)
{
    struct fixture *fixture = *state;
    begin_at(fixture, 200, READ_WARM, 1);
    read_hurry(fixture->begun[150], READ_ONE); /* while it waits */
    read_hurry(fixture->begun[150], READ_LIST);
    turn(fixture);
    carry_out(fixture, 0);
    assert_int_equal(fixture->told, 1);
    assert_int_equal(fixture->users[0], 150);
    read_hurry(fixture->begun[1], READ_ONE); /* it is away */
    carry_out_from(fixture, 1);
    assert_int_equal(fixture->told, 200);
}

/* ---- what the warm-up pays for ----------------------------------------------------------------------------------- */

/* What it alone waits for, also in vain. */
static void the_warm_up_pays(void **state)
{
    struct fixture *fixture = *state;
    fake.read_ns = 500000;
    begin(fixture, 3, READ_WARM);
    fake.fails = PERMTAB_E_STORE;
    carry_out(fixture, 0);
    fake.fails = 0;
    fake.too_many = 1;
    begin(fixture, 2, READ_WARM);
    carry_out_from(fixture, 1);
    assert_int_equal(fixture->told, 5);
    assert_int_equal(reads_warm_ns(fixture->reads), fixture->costs_ns);
    fixture->refresh = true;
    begin(fixture, 1, READ_WARM);
    read_cancel(fixture->begun[6]);
    begin(fixture, 1, READ_WARM);
    begin(fixture, 1, READ_LIST);
    fixture->refresh = false;
    uint64_t before_ns = fixture->costs_ns;
    begin(fixture, 1, READ_WARM);
    read_hurry(fixture->begun[9], READ_LIST);
    carry_out_from(fixture, 4);
    assert_int_equal(fixture->told, 8);
    assert_int_equal(reads_warm_ns(fixture->reads), before_ns);
}

/* What was cancelled, wherever it was then. */
static void the_warm_up_pays_for_what_it_leaves(void **state)
{
    struct fixture *fixture = *state;
    const struct reads *reads = fixture->reads;
    fake.read_ns = 500000;
    begin(fixture, 2, READ_WARM);
    read_cancel(fixture->begun[1]); /* while it is away */
    run_job(0);
    read_cancel(fixture->begun[2]); /* when it is there, and nobody has been told */
    turn(fixture);
    uint64_t paid_ns = reads_warm_ns(reads);
    assert_in_range(paid_ns + 1, fake.read_ns, UINT64_MAX);
    fake.too_many = 1;
    begin(fixture, 5, READ_WARM);
    read_cancel(fixture->begun[3]);
    fake.submit_code = PERMTAB_E_FULL;
    run_job(1);
    for (unsigned i = 4; i <= 6; i++)
        read_cancel(fixture->begun[i]); /* to be read again */
    assert_in_range(reads_warm_ns(reads) + 4 - paid_ns, fake.read_ns / 5 * 4, UINT64_MAX);
    read_hurry(fixture->begun[7], READ_ONE); /* is a client's now, who leaves, too */
    paid_ns = reads_warm_ns(reads);
    read_cancel(fixture->begun[7]);
    turn(fixture);
    assert_int_equal(reads_warm_ns(reads), paid_ns);
    assert_int_equal(fixture->told, 0);
}

/* ---- guests ------------------------------------------------------------------------------------------------------ */

static struct {
    struct read_guest guest;
    unsigned run, done;
} visit;

static int run_visit(struct read_guest *guest, struct store *with, struct failure *failure)
{
    assert_ptr_equal(guest, &visit.guest);
    assert_ptr_equal(with, &store);
    (void)failure;
    wait_ns(fake.read_ns);
    visit.run++;
    return 0;
}

static void visit_done(struct read_guest *guest)
{
    assert_ptr_equal(guest, &visit.guest);
    visit.done++;
}

static int run_another(struct read_guest *guest, struct store *with, struct failure *failure)
{
    (void)guest, (void)with, (void)failure;
    visit.run++;
    return 0;
}

static void another_done(struct read_guest *guest)
{
    (void)guest;
}

static void begin_visit(struct fixture *fixture)
{
    memset(&visit, 0, sizeof visit);
    visit.guest.run = run_visit;
    visit.guest.done = visit_done;
    read_guest_begin(fixture->reads, &visit.guest);
    turn(fixture);
}

/* It and the warm-up's reads have one thread of two, each after the other; the other thread is for a single miss. A
 * list, too, leaves that one alone. */
static void a_guest_takes_the_place_of_the_warm_up(void **state)
{
    struct fixture *fixture = *state;
    with_threads(fixture, 2);
    begin(fixture, 100, READ_WARM);
    begin_visit(fixture);
    assert_int_equal(fake.submitted, 1);
    carry_out(fixture, 0);
    assert_int_equal(fake.submitted, 2);
    assert_ptr_equal(fake.jobs[1], &visit.guest.job); /* before what is left of the reads */
    begin(fixture, 20, READ_LIST);
    assert_int_equal(fake.submitted, 2);
    assert_true(reads_would_begin(fixture->reads, READ_ONE));
    begin(fixture, 1, READ_ONE);
    assert_int_equal(fake.submitted, 3);
    carry_out(fixture, 2);
    assert_int_equal(fixture->users[64], 121);
    assert_int_equal(visit.done, 0);
    carry_out_from(fixture, 3);
    fake.read_ns = 500000;
    carry_out(fixture, 1);
    assert_true(visit.run == 1 && visit.done == 1);
    assert_int_equal(fixture->counters.store_reads, 4); /* it is one of them */
    assert_true(reads_warm_ns(fixture->reads) >= fake.read_ns);
    carry_out_from(fixture, 3);
    assert_int_equal(fixture->told, 121);
}

/* Guests without end leave every other job to the lane's reads. */
static void guests_and_reads_take_turns(void **state)
{
    struct fixture *fixture = *state;
    struct read_guest other = {.run = run_another, .done = another_done};
    with_threads(fixture, 2);
    begin_visit(fixture);
    read_guest_begin(fixture->reads, &other);
    begin(fixture, 10, READ_WARM);
    assert_int_equal(fake.submitted, 1);
    carry_out(fixture, 0);
    carry_out(fixture, 1);
    assert_int_equal(fixture->told, 10); /* before the second guest, who has waited for longer */
    carry_out(fixture, 2);
    assert_int_equal(visit.run, 2);
    assert_int_equal(fake.submitted, 3);
}

/* And reads without end leave every other one to guests. What others ask for meanwhile is nobody's turn. */
static void reads_and_guests_take_turns(void **state)
{
    struct fixture *fixture = *state;
    struct read_guest other = {.run = run_another, .done = another_done};
    with_threads(fixture, 2);
    begin_visit(fixture);
    read_guest_begin(fixture->reads, &other);
    begin(fixture, 200, READ_WARM);
    begin(fixture, 1, READ_ONE);
    carry_out(fixture, 1);
    carry_out(fixture, 0);
    carry_out(fixture, 2);
    assert_int_equal(fake.together[1], 64); /* some of the reads, and most of them wait on */
    assert_int_equal(fake.submitted, 4);
    assert_ptr_equal(fake.jobs[3], &other.job);
    carry_out_from(fixture, 3);
    assert_int_equal(fixture->told, 201);
}

/* With one thread the warm-up waits until nobody has asked for one thing a while, and then begins by itself. */
static void the_only_thread_comes_free(void **state)
{
    struct fixture *fixture = *state;
    with_threads(fixture, 1);
    begin(fixture, 1, READ_ONE);
    begin(fixture, 1, READ_ONE);
    begin_visit(fixture);
    carry_out(fixture, 0);
    carry_out(fixture, 1);
    assert_int_equal(fixture->told, 2);
    assert_int_equal(fake.submitted, 2);
    while (fake.submitted == 2)
        assert_int_equal(event_base_loop(fixture->base, EVLOOP_ONCE), 0);
    carry_out(fixture, 2);
    assert_int_equal(visit.done, 1);
}

static void a_guest_leaves(void **state)
{
    struct fixture *fixture = *state;
    fake.submit_code = PERMTAB_E_FULL;
    begin_visit(fixture);
    assert_true(read_guest_withdraw(&visit.guest)); /* it waits */
    begin_visit(fixture);
    fake.submit_code = 0;
    while (fake.submitted == 0) /* it is not forgotten */
        assert_int_equal(event_base_loop(fixture->base, EVLOOP_ONCE), 0);
    assert_false(read_guest_withdraw(&visit.guest)); /* it is away */
    carry_out(fixture, 0);
    assert_int_equal(visit.done, 1);
}

/* ---- too much ---------------------------------------------------------------------------------------------------- */

/* One of them is too much: the others are read without it, and those that are far from it do not wait for it. */
static void one_is_too_much(void **state)
{
    struct fixture *fixture = *state;
    fake.too_much = 3;
    fake.too_many = 1000;
    begin(fixture, 64, READ_LIST);
    begin(fixture, 64 * THREADS, READ_LIST);
    unsigned reads = 0;
    for (; fixture->told < 64 * (THREADS + 1); reads++)
        carry_out(fixture, reads);
    assert_int_equal(fixture->failed, 1);
    assert_true(reads < 35);
    for (size_t i = 0; i < fake.calls; i++)
        assert_true(fake.together[i] <= 64);
}

/* Together it is too much: each by itself, and one of them is too much even so. None is kept meanwhile. What was read
 * in vain is counted. */
static void too_much_together(void **state)
{
    struct fixture *fixture = *state;
    fake.too_many = 1;
    fake.too_much = 3;
    fake.read_ns = 500000;
    begin(fixture, 5, READ_WARM);
    carry_out(fixture, 0);
    assert_int_equal(fixture->told, 0);
    begin(fixture, 1, READ_WARM);
    carry_out_from(fixture, 1);
    assert_int_equal(fixture->told, 6);
    assert_int_equal(fixture->failed, 1);
    assert_true(fixture->costs_ns + 100 >= fake.calls * fake.read_ns); /* some are rounded down */
}

/* A client has joined it while it was away: it does not wait behind those that nobody waits for. */
static void one_is_hurried_that_is_too_much(void **state)
{
    struct fixture *fixture = *state;
    fake.too_many = 1;
    begin(fixture, 2, READ_WARM);
    read_hurry(fixture->begun[2], READ_ONE);
    carry_out(fixture, 0);
    carry_out(fixture, 1);
    assert_int_equal(fixture->told, 1);
    assert_int_equal(fixture->users[0], 2);
    carry_out_from(fixture, 2);
    assert_int_equal(fixture->told, 2);
    assert_int_equal(fixture->failed, 0);
}

/* As a client's facts are read again by halves, a burst that comes then goes by itself. */
static void halves_take_nobody_in(void **state)
{
    struct fixture *fixture = *state;
    fake.too_many = 16;
    begin(fixture, THREADS, READ_ONE);
    begin(fixture, 64, READ_ONE);
    for (unsigned i = 0; i < THREADS; i++)
        carry_out(fixture, i);
    carry_out_from(fixture, THREADS);
    assert_int_equal(fixture->failed, 0);
    assert_int_equal(fixture->told, 64 + THREADS);
    for (unsigned i = THREADS + 1; i < fake.calls; i++)
        assert_true(fake.together[i] <= 32);
}

/* ---- places that are known --------------------------------------------------------------------------------------- */

/* One statement for all of them; where that is not enough, a snapshot in the same job. */
static void users_of_a_known_place(void **state)
{
    struct fixture *fixture = *state;
    fake.levels = 2;
    fake.known = 1;
    begin(fixture, 20, READ_LIST);
    carry_out_from(fixture, 0);
    assert_int_equal(fixture->told, 20);
    assert_int_equal(fake.calls, 0);
    assert_int_equal(fake.known_calls, 2);
    assert_int_equal(fake.known_at, 33);
    fake.known = 0;
    begin(fixture, 1, READ_ONE);
    carry_out_from(fixture, 2);
    assert_int_equal(fake.known_calls, 3);
    assert_int_equal(fake.known_together, 1);
    assert_int_equal(fake.calls, 1);
    fake.known = PERMTAB_E_STORE;
    begin(fixture, 1, READ_ONE);
    carry_out_from(fixture, 3);
    assert_int_equal(fixture->last_code, PERMTAB_E_STORE);
    assert_int_equal(fake.calls, 1);
    fake.known = PERMTAB_E_LIMIT; /* together */
    begin(fixture, 2, READ_LIST);
    carry_out(fixture, 4);
    fake.known = 1;
    carry_out_from(fixture, 5);
    assert_int_equal(fixture->failed, 1);
    assert_int_equal(fixture->told, 24);
}

/* Each place has a statement, and so a job, of its own, in the order of those who have waited longest. */
static void known_places_are_read_each_by_itself(void **state)
{
    struct fixture *fixture = *state;
    fake.levels = 2;
    fake.known = 1;
    begin_at(fixture, 64, READ_LIST, 4);
    turn(fixture);
    carry_out_from(fixture, 0);
    assert_int_equal(fake.calls, 0);
    assert_int_equal(fake.known_calls, 4);
    assert_int_equal(fixture->told, 64);
    for (unsigned i = 0; i < 64; i++)
        assert_int_equal(fixture->users[i], 1 + 4 * (i % 16) + i / 16);
    begin_at(fixture, 100, READ_LIST, 100); /* however many they are, nobody is forgotten */
    turn(fixture);
    carry_out_from(fixture, 4);
    assert_int_equal(fake.known_calls, 104);
    assert_int_equal(fixture->told, 164);
}

/* Of lists as many go together as one statement reads; of the others as many as of places that are not known. */
static void a_list_is_read_widely_at_a_known_place(void **state)
{
    struct fixture *fixture = *state;
    with_threads(fixture, 2);
    fake.levels = 2;
    fake.known = 1;
    begin(fixture, 500, READ_LIST);
    carry_out_from(fixture, 0);
    assert_int_equal(fixture->told, 500);
    assert_int_equal(fake.known_calls, (500 + READ_LIST_MAX - 1) / READ_LIST_MAX);
    begin(fixture, 130, READ_WARM);
    carry_out_from(fixture, fake.known_calls);
    assert_int_equal(fixture->told, 630);
    assert_int_equal(fake.known_calls, 3 + 3);
    fake.known = 0; /* the place has moved */
    begin(fixture, 150, READ_LIST);
    carry_out_from(fixture, 6);
    assert_int_equal(fixture->told, 780);
    assert_int_equal(fake.known_calls, 7);
    assert_int_equal(fake.calls, 3); /* in one snapshot, as many at a time as the store can */
    assert_int_equal(fake.together[0], READ_TOGETHER_MAX);
    assert_int_equal(fake.together[2], 150 - 2 * READ_TOGETHER_MAX);
}

/* The second part of what is read in one snapshot fails: the first is freed, and nobody has its facts. */
static void a_part_of_a_wide_read_fails(void **state)
{
    struct fixture *fixture = *state;
    with_threads(fixture, 2);
    fake.levels = 2;
    fake.too_much = READ_TOGETHER_MAX + 10;
    begin(fixture, 150, READ_LIST);
    carry_out_from(fixture, 0);
    assert_int_equal(fixture->told, 150);
    assert_int_equal(fixture->failed, 1); /* and that one only */
}

/* A list that was too much goes by fewer at once from then on, and by more again when it was not. */
static void lists_find_their_width(void **state)
{
    struct fixture *fixture = *state;
    with_threads(fixture, 2);
    fake.levels = 2;
    fake.known = 1;
    fake.known_too_many = 100;
    begin(fixture, 192, READ_LIST);
    carry_out_from(fixture, 0);
    assert_int_equal(fixture->told, 192);
    assert_int_equal(fake.known_calls, 1 + 2); /* nobody is read alone */
    begin(fixture, 780, READ_LIST);
    carry_out_from(fixture, fake.known_calls);
    assert_int_equal(fixture->told, 972);
    assert_in_range(fake.refused, 2, 4); /* and not one of every three */
    assert_int_equal(fixture->failed, 0);
    fake.known_too_many = 0;
    for (unsigned round = 0; round < 12; round++) {
        fixture->asked = fixture->told = 0;
        begin(fixture, 400, READ_LIST);
        carry_out_from(fixture, fake.known_calls);
    }
    assert_int_equal(fake.known_together, 400 - 2 * READ_LIST_MAX);
    unsigned calls = fake.known_calls;
    fake.known_too_many = 20; /* they are halved as often as it takes to be as few as of other lanes, and then twice */
    begin(fixture, READ_LIST_MAX, READ_LIST);
    carry_out_from(fixture, fake.known_calls);
    assert_in_range(fake.known_calls - calls, 1, 48);
}

/* What others bring says nothing of that: jobs of the warm-up, and those of places that are not known. */
static void others_do_not_make_lists_wider(void **state)
{
    struct fixture *fixture = *state;
    with_threads(fixture, 2);
    fake.levels = 2;
    fake.known = 1;
    fake.known_too_many = 20;
    begin(fixture, READ_LIST_MAX, READ_LIST);
    carry_out_from(fixture, 0); /* as few as of others are wide from now on */
    fake.known_too_many = READ_TOGETHER_MAX;
    unsigned from = fake.submitted;
    begin(fixture, 2 * READ_TOGETHER_MAX, READ_WARM);
    carry_out_from(fixture, from);
    fixture->whole = true;
    from = fake.submitted;
    begin(fixture, 2 * READ_TOGETHER_MAX, READ_LIST);
    carry_out_from(fixture, from);
    fixture->whole = false;
    from = fake.submitted;
    unsigned refused = fake.refused;
    begin(fixture, READ_TOGETHER_MAX + 8, READ_LIST);
    carry_out_from(fixture, from);
    assert_int_equal(fake.refused, refused);
    assert_int_equal(fixture->told, fixture->asked);
}

/* However many wait: a job looks at those that it takes, and at few others. */
static void a_job_does_not_look_at_all(void **state)
{
    struct fixture *fixture = *state;
    static struct read *many[8000];
    fake.levels = 2;
    fake.known = 1;
    fake.known_places = 1000;
    for (unsigned i = 0; i < 8000; i++) { /* one place in a hundred is not known */
        struct facts_key key = {.user = 1 + i, .scope_id = i % 100 == 0 ? 5000 + i : i % 10};
        struct read_how list = {.lane = READ_LIST};
        assert_int_equal(read_begin(&many[i], fixture->reads, &key, list, on_read, fixture), 0);
    }
    turn(fixture); /* three jobs: one of those that are not known, and two of the first places that are */
    assert_int_equal(fake.submitted, THREADS - 1);
    assert_in_range(fake.looks, 1, 300);
    for (unsigned i = 0; i < 8000; i++)
        read_cancel(many[i]);
    carry_out_from(fixture, 0);
    assert_int_equal(fixture->told, 0);
}

/* Who asks for one thing, and many do so without end, on all threads: a list is read all the same. */
static void single_misses_without_end(void **state)
{
    struct fixture *fixture = *state;
    unsigned next = 0, lists = 0;
    begin(fixture, THREADS, READ_ONE);
    begin(fixture, 1, READ_LIST);
    begin(fixture, 1, READ_WARM);
    uint64_t list = fixture->asked - 1, warm = fixture->asked;
    begin(fixture, 10, READ_ONE);
    while (read_waits(fixture->begun[list]) && next < 100) {
        begin(fixture, 5, READ_ONE);
        carry_out(fixture, next++);
    }
    assert_in_range(next, 1, 16 + THREADS);
    lists = next;
    while (read_waits(fixture->begun[warm]) && fixture->asked < READS - 10) {
        begin(fixture, 3, READ_ONE);
        carry_out(fixture, next++);
    }
    assert_in_range(next, lists, 256 + THREADS);
    carry_out_from(fixture, next);
    assert_int_equal(fixture->told, fixture->asked);
}

/* Places that are not known, and what is to be read whole, are read in a snapshot; what is not, is not. */
static void what_is_read_in_a_snapshot(void **state)
{
    struct fixture *fixture = *state;
    fake.levels = 2;
    fake.known = 1;
    fake.known_places = 2;
    begin_at(fixture, 20, READ_LIST, 4);
    turn(fixture);
    carry_out_from(fixture, 0);
    assert_int_equal(fake.calls, 1);
    assert_int_equal(fake.together[0], 10);
    assert_int_equal(fake.known_calls, 2);
    fixture->whole = true;
    begin_at(fixture, 3, READ_WARM, 1);
    fixture->whole = false;
    begin_at(fixture, 3, READ_WARM, 1);
    turn(fixture);
    carry_out_from(fixture, 3);
    assert_int_equal(fake.calls, 2);
    assert_int_equal(fake.together[1], 3);
    assert_int_equal(fake.known_calls, 3);
    assert_int_equal(fake.known_together, 3);
    assert_int_equal(fixture->told, 26);
}

/* ---- turns ------------------------------------------------------------------------------------------------------- */

/* A job brings more than a turn of the loop may publish. Its thread goes on meanwhile. */
static void what_came_is_told_in_turns(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture, 400, READ_LIST);
    fake.slow_ns = 200000;
    run_job(0);
    assert_int_equal(fixture->told, 0);
    assert_int_equal(fake.submitted, THREADS);
    assert_int_equal(event_base_loop(fixture->base, EVLOOP_ONCE), 0);
    assert_in_range(fixture->told, 1, 6);
    read_cancel(fixture->begun[64]); /* while it waits to be told of */
    while (fixture->told < 63)
        assert_int_equal(event_base_loop(fixture->base, EVLOOP_ONCE), 0);
    fake.slow_ns = 0;
    carry_out_from(fixture, 1);
    assert_int_equal(fixture->told, 399);
}

/* Everybody waits for a turn of the loop, and nobody for the warm-up. */
static void the_warm_up_has_short_turns(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture, 64, READ_WARM);
    fake.slow_ns = 200000;
    run_job(0);
    assert_int_equal(event_base_loop(fixture->base, EVLOOP_ONCE), 0);
    assert_in_range(fixture->told, 1, 2);
    while (fixture->told < 64)
        assert_int_equal(event_base_loop(fixture->base, EVLOOP_ONCE), 0);
}

/* What a client waits for does not wait until all is told of that the warm-up has read. */
static void a_client_is_told_first(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture, 128, READ_WARM);
    assert_in_range(fake.submitted, 2, 3);
    unsigned warm = fake.submitted;
    fake.slow_ns = 200000;
    run_job(0);
    run_job(1);
    assert_int_equal(event_base_loop(fixture->base, EVLOOP_ONCE), 0);
    unsigned before = fixture->told;
    assert_in_range(before, 1, 2);
    begin_at(fixture, 1, READ_ONE, 1);
    while (fake.submitted == warm)
        assert_int_equal(event_base_loop(fixture->base, EVLOOP_ONCE), 0);
    before = fixture->told;
    run_job(warm);
    assert_int_equal(event_base_loop(fixture->base, EVLOOP_ONCE), 0);
    assert_true(fixture->told > before);
    assert_int_equal(fixture->users[before], 129);
    while (fixture->told < 129)
        assert_int_equal(event_base_loop(fixture->base, EVLOOP_ONCE), 0);
    for (unsigned i = before + 1; i < 129; i++)
        assert_int_equal(fixture->users[i], i); /* and the others in their order */
}

/* Facts that have been read and not been told of take memory, so no more are read meanwhile. */
static void what_is_not_told_has_a_bound(void **state)
{
    struct fixture *fixture = *state;
    fake.rows = (1u << 20) / sizeof(struct facts_default);
    begin(fixture, 400, READ_LIST);
    run_job(0);
    assert_int_equal(fake.submitted, THREADS - 1);
    assert_false(reads_would_begin(fixture->reads, READ_ONE));
    fake.rows = 1;
    turn(fixture);
    assert_int_equal(fixture->told, 64);
    assert_int_equal(fake.submitted, THREADS);
    carry_out_from(fixture, 1);
    assert_int_equal(fixture->told, 400);
}

/* ---- failures ---------------------------------------------------------------------------------------------------- */

static void a_failure_is_everybodys(void **state)
{
    struct fixture *fixture = *state;
    struct failure failure = {0};
    begin(fixture, 5, READ_WARM);
    assert_int_equal(fake.jobs[0]->run(fake.jobs[0], &store, &failure), 0);
    fake.fails = PERMTAB_E_STORE; /* it is run again, as after a connection that was lost */
    fake.read_ns = 500000;
    carry_out(fixture, 0);
    assert_int_equal(fixture->told, 5);
    assert_int_equal(fixture->failed, 5);
    assert_true(fixture->cost_ns >= fake.read_ns / 5); /* a share of it */
    assert_int_equal(fixture->last_code, PERMTAB_E_STORE);
    begin(fixture, 1, READ_ONE);
    (void)failure_set(&failure, PERMTAB_E_UNREACHABLE, "away");
    assert_int_equal(fake.jobs[1]->run(fake.jobs[1], NULL, &failure), PERMTAB_E_UNREACHABLE);
    fake.jobs[1]->done(fake.jobs[1]);
    turn(fixture);
    assert_int_equal(fixture->last_code, PERMTAB_E_UNREACHABLE);
}

static void nobody_is_told_after_a_cancel(void **state)
{
    struct fixture *fixture = *state;
    begin_at(fixture, 3, READ_WARM, 1);
    read_cancel(fixture->begun[1]); /* while it waits */
    turn(fixture);
    read_cancel(fixture->begun[3]); /* while it is away */
    carry_out(fixture, 0);
    assert_int_equal(fixture->told, 1);
    assert_int_equal(fixture->users[0], 2);
    begin(fixture, 1, READ_ONE);
    assert_false(read_waits(fixture->begun[4]));
    run_job(1);
    read_cancel(fixture->begun[4]); /* the loop ends, too, before anybody is told */
    assert_int_equal(fixture->told, 1);
}

static void a_full_queue(void **state)
{
    struct fixture *fixture = *state;
    struct facts_key key = {.user = 1};
    struct read *read;
    struct read_how list = {.lane = READ_LIST};
    fake.submit_code = PERMTAB_E_FULL;
    begin(fixture, 100, READ_WARM);
    read_hurry(fixture->begun[7], READ_ONE);
    turn(fixture);
    assert_true(read_waits(fixture->begun[7]));
    assert_int_equal(fixture->told, 0);
    assert_int_equal(fixture->counters.store_reads, 0);
    fake.submit_code = 0;
    while (fake.submitted == 0) /* they are not forgotten, though nothing happens any more */
        assert_int_equal(event_base_loop(fixture->base, EVLOOP_ONCE), 0);
    carry_out_from(fixture, 0);
    assert_int_equal(fixture->told, 100);
    assert_int_equal(fixture->failed, 0);
    /* As many as ask.c may begin, and others. */
    enum { MOST = THREADS * READ_TOGETHER_MAX + READ_QUEUED_MAX + 4096 };
    static struct read *many[MOST];
    for (unsigned i = 0; i < MOST; i++)
        assert_int_equal(read_begin(&many[i], fixture->reads, &key, list, on_read, fixture), 0);
    assert_int_equal(read_begin(&read, fixture->reads, &key, list, on_read, fixture), PERMTAB_E_FULL);
    for (unsigned i = 0; i < MOST; i++)
        read_cancel(many[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(a_client_is_read_for_at_once),       T(a_burst_shares_the_threads),
        T(who_waits_for_a_thread_shares_it),   T(a_slow_read_keeps_one_thread),
        T(a_list_leaves_a_thread),             T(a_list_is_read_in_few_reads),
        T(a_crowd_has_all_threads_but_one),
        T(what_is_gathered_goes_together),     T(of_a_few_places),
        T(the_warm_up_comes_last),             T(a_list_leaves_the_warm_up_a_thread),
        T(the_last_thread_is_not_for_the_warm_up),
        T(somebody_waits_for_it_now),          T(one_is_too_much),
        T(too_much_together),                  T(halves_take_nobody_in),
        T(one_is_hurried_that_is_too_much),
        T(what_came_is_told_in_turns),         T(what_is_not_told_has_a_bound),
        T(the_warm_up_has_short_turns),        T(a_client_is_told_first),
        T(a_failure_is_everybodys),            T(nobody_is_told_after_a_cancel),
        T(a_full_queue),                       T(users_of_a_known_place),
        T(what_is_read_in_a_snapshot),         T(a_guest_takes_the_place_of_the_warm_up),
        T(lists_without_end),                  T(lists_without_end_and_single_misses),
        T(lists_without_end_and_one_thread),   T(the_place_of_a_list),
        T(guests_and_reads_take_turns),        T(the_only_thread_comes_free),
        T(reads_and_guests_take_turns),
        T(a_guest_leaves),                     T(the_warm_up_pays),
        T(the_warm_up_pays_for_what_it_leaves),
        T(known_places_are_read_each_by_itself), T(a_list_is_read_widely_at_a_known_place),
        T(a_part_of_a_wide_read_fails),        T(lists_find_their_width),
        T(others_do_not_make_lists_wider),
        T(a_job_does_not_look_at_all),         T(single_misses_without_end),
#undef T
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
