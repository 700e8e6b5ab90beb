/* Measures the turns of the loop while the table grows from a thousand entries to as many as are asked for: fills, the
 * slices of growth, the hand-over, renewals, and the start and end of each table, which the workshop makes and frees
 * beside. Each by the thread's own processor time, and by the wall clock, which also counts what the kernel makes the
 * loop wait for.
 *
 * Facts are made in memory, so no store takes part: 1,000 sets, and a server for each hundred users. */
#include "proxy/base/clock.h"
#include "proxy/table/fill.h"
#include "proxy/table/grow.h"
#include "proxy/table/workshop.h"
#include "tests/bench/measure.h"
#include "tests/support/memory_policy.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SETS      1000u
#define A_TURN    1000u /* fills */
#define STALENESS 300000000ull
#define SECOND    1000000000ull

static const struct scope_key global = {0, 0}, server = {1, 1};

enum kind { FILLS, SLICES, BEGIN, RENEWALS, DROPS, KINDS };
static const char *const kind_names[KINDS] = {"1000 fills", "a slice of growth, the hand-over included",
                                              "growth begins", "a renewal", "a table is dropped"};

struct longest {
    uint64_t busy_ns, wall_ns;
};

struct house {
    struct event_base *base;
    struct workshop *workshop;
    struct publisher *publisher;
    struct counters counters;
    struct memory_policy policy;
    struct facts facts[SETS];
    struct longest longest[KINDS];
    uint64_t order;
    unsigned steps;
    uint64_t filled;
};

static void must(int code, const char *what)
{
    if (code < 0)
        bench_die("%s: error %d", what, code);
}

static uint64_t busy_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

static struct longest begin_turn(void)
{
    return (struct longest){busy_ns(), measure_now_ns()};
}

static void end_turn(struct house *house, enum kind kind, struct longest begun)
{
    struct longest *longest = &house->longest[kind];
    uint64_t busy = busy_ns() - begun.busy_ns, wall = measure_now_ns() - begun.wall_ns;
    longest->busy_ns = busy > longest->busy_ns ? busy : longest->busy_ns;
    longest->wall_ns = wall > longest->wall_ns ? wall : longest->wall_ns;
}

static void read_facts(struct house *house)
{
    for (uint64_t number = 0; number < SETS; number++) {
        struct facts *facts = &house->facts[number];
        memory_facts(&house->policy, 1 + number, server, 1000, facts);
        facts->revision = facts->nonce = 1;
        facts->generation = publisher_generation(house->publisher);
    }
}

static void drop(void *context, struct table *table)
{
    struct house *house = context;
    struct longest begun = begin_turn();
    workshop_free_table(house->workshop, table);
    end_turn(house, DROPS, begun);
}

static void house_init(struct house *house)
{
    struct catalogue catalogue;
    struct log_position at = {7, 1, 1};
    const struct publisher_options options = {
        .permissions_max = 512, .entries = 1000, .sets = 4096, .folds = 16384, .max_staleness_ns = STALENESS};
    memory_policy_init(&house->policy);
    memory_permission(&house->policy, "bench.permission");
    memory_scope(&house->policy, server, global, NULL);
    for (uint64_t number = 0; number < SETS; number++) {
        memory_role(&house->policy, 100 + number, "some", server, false, true);
        memory_grant(&house->policy, 100 + number, GRANT_ALLOW, 0);
        house->policy.roles.items[number].scope = global;
        memory_assign(&house->policy, 1 + number, 100 + number, global, FACTS_NEVER);
    }
    memory_catalogue(&house->policy, 512 / 64, &catalogue);
    must(publisher_new(&house->publisher, &options, &at, 1000, &catalogue, &house->counters, NULL),
         "publisher_new");
    house->base = event_base_new();
    must(workshop_new(&house->workshop, house->base), "workshop_new");
    publisher_drop_to(house->publisher, drop, house);
    read_facts(house);
}

static void fill_one(struct house *house, uint64_t number)
{
    struct answer answer = {0};
    struct facts *facts = &house->facts[number % SETS];
    facts->user = 1 + number;
    facts->scope.id = facts->chain[1].key.id = 1 + number / 100;
    facts->chain[1].plain = false;
    if (publisher_fill(house->publisher, facts, clock_ns(), &answer) != PUBLISHER_FILLED)
        bench_die("user %llu was not filled", (unsigned long long)number);
    answer_fini(&answer);
}

static void on_made(void *context, int code, struct table *table)
{
    struct house *house = context;
    must(code, "a larger table");
    struct longest begun = begin_turn();
    must(publisher_grow_begin(house->publisher, table), "publisher_grow_begin");
    end_turn(house, BEGIN, begun);
    house->order = 0;
}

static void grow(struct house *house, bool full)
{
    struct workshop_order order = {.options = publisher_next_options(house->publisher),
                                   .store_id = 7,
                                   .made = on_made,
                                   .context = house};
    if (publisher_growing(house->publisher)) {
        struct longest begun = begin_turn();
        enum grow_outcome outcome = publisher_grow_slice(house->publisher, clock_ns(), PUBLISHER_SLICE);
        end_turn(house, SLICES, begun);
        house->steps += outcome == GROW_DONE;
        if (outcome == GROW_ENDED)
            bench_die("growth ended");
    } else if (publisher_retired_segment(house->publisher) != 0) {
        publisher_retired_release(house->publisher);
    } else if (full && house->order == 0) {
        house->order = workshop_order(house->workshop, &order);
    }
}

static void turn(struct house *house, uint64_t entries)
{
    struct longest begun = begin_turn();
    bool full = house->filled + A_TURN >= publisher_capacity(house->publisher);
    for (unsigned i = 0; i < A_TURN && !full && house->filled < entries; i++)
        fill_one(house, house->filled++);
    end_turn(house, FILLS, begun);
    if (full && publisher_capacity(house->publisher) == 1000 && house->filled < 900)
        fill_one(house, house->filled++);
    begun = begin_turn();
    publisher_renew(house->publisher, clock_ns());
    end_turn(house, RENEWALS, begun);
    (void)event_base_loop(house->base, EVLOOP_NONBLOCK);
    grow(house, full);
}

static void report(struct house *house, uint64_t entries)
{
    char world[64];
    (void)snprintf(world, sizeof world, "1000 to %llu entries", (unsigned long long)entries);
    for (size_t kind = 0; kind < KINDS; kind++) {
        measure_figure("longest turn, processor time", world, kind_names[kind],
                       (double)house->longest[kind].busy_ns / 1e6, "ms");
        measure_figure("longest turn, wall clock", world, kind_names[kind],
                       (double)house->longest[kind].wall_ns / 1e6, "ms");
    }
    const struct permtab_shm_table *view = &publisher_segment(house->publisher)->table;
    measure_figure("steps", world, "", house->steps, "tables");
    measure_figure("bytes an entry", world, "entry map",
                   64.0 * view->map_buckets / (double)publisher_entries(house->publisher), "bytes");
    measure_figure("bytes an entry", world, "segment and private indexes",
                   (double)publisher_memory(house->publisher) / (double)publisher_entries(house->publisher),
                   "bytes");
    measure_figure("evicted", world, "", (double)house->counters.entries_evicted, "entries");
}

int main(int count, char **arguments)
{
    struct measure measure = {0};
    static struct house house;
    uint64_t entries = 10000000;
    for (int i = 1; i < count; i++) {
        if (measure_option(&measure, count, arguments, &i))
            continue;
        if (strcmp(arguments[i], "--entries") != 0 || i + 1 == count)
            bench_die("usage: bench_grow [--entries N]");
        entries = measure_number(arguments[++i]);
    }
    house_init(&house);
    while (house.filled < entries || publisher_growing(house.publisher))
        turn(&house, entries);
    if (!measure.check_only)
        report(&house, entries);
    for (size_t i = 0; i < SETS; i++)
        facts_fini(&house.facts[i]);
    publisher_free(house.publisher);
    workshop_free(house.workshop);
    event_base_free(house.base);
    memory_policy_fini(&house.policy);
    return 0;
}
