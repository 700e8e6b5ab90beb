/* Measures how long the loop is held when everything below one scope is retired: by a message, by an invalidation on
 * demand, by a batch of the feed, by a pattern, and when the table is made anew. While it is held no lease is renewed
 * and nobody who misses is answered.
 *
 * Facts are made in memory, so no store takes part. One server with a thousand channels that have overwrites, so
 * that each has entries of its own; every user is at ten of them, and they came one after the other. */
#include "proxy/table/batch.h"
#include "proxy/table/fill.h"
#include "proxy/table/grow.h"
#include "proxy/table/private.h"
#include "proxy/table/publisher.h"
#include "proxy/table/retire.h"
#include "proxy/table/table.h"
#include "tests/bench/measure.h"
#include "tests/support/memory_policy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CHANNELS 1000u
#define PLACES   10u /* of a user */
#define SECOND   1000000000ull
#define ROLE     100u

static const struct scope_key global = {0, 0}, server = {1, 1};

struct house {
    uint64_t entries;
    uint64_t revision;
    struct publisher *publisher;
    struct counters counters;
    struct memory_policy policy;
    struct facts facts[CHANNELS];
    struct publisher_scan scan;
    struct publisher_retiring retiring;
    struct batch batch;
    uint64_t turn;                 /* of the way that is being measured */
    struct table *fresh, *dropped; /* what the workshop makes and frees beside the loop */
};

static struct scope_key channel_of(uint64_t number)
{
    return (struct scope_key){1000 + number % CHANNELS, 3};
}

static void must(int code, const char *what)
{
    if (code < 0)
        bench_die("%s: error %d", what, code);
}

static void make_policy(struct memory_policy *policy)
{
    memory_policy_init(policy);
    memory_permission(policy, "bench.permission");
    memory_scope(policy, server, global, NULL);
    memory_role(policy, ROLE, "member", server, true, true);
    memory_grant(policy, ROLE, GRANT_ALLOW, 0);
    for (uint64_t number = 0; number < CHANNELS; number++) {
        memory_scope(policy, channel_of(number), server, NULL);
        memory_overwrite(policy, channel_of(number), OVERWRITE_ROLE, ROLE, 0, number % 2 == 0);
    }
}

static void read_facts(struct house *house)
{
    for (uint64_t number = 0; number < CHANNELS; number++) {
        struct facts *facts = &house->facts[number];
        memory_facts(&house->policy, 1, channel_of(number), 1000, facts);
        facts->nonce = 1;
        facts->generation = publisher_generation(house->publisher);
    }
}

static void fill(struct house *house)
{
    uint64_t users = house->entries / PLACES;
    for (uint64_t user = 1; user <= users; user++)
        for (uint64_t place = 0; place < PLACES; place++) {
            struct answer answer = {0};
            struct facts *facts = &house->facts[(user * 7919 + place * 101) % CHANNELS];
            facts->user = user;
            facts->revision = house->revision;
            if (publisher_fill(house->publisher, facts, SECOND, &answer) != PUBLISHER_FILLED)
                bench_die("user %llu was not filled", (unsigned long long)user);
            answer_fini(&answer);
        }
    if (house->counters.entries < house->entries - house->entries / 100)
        bench_die("%llu entries", (unsigned long long)house->counters.entries);
}

static void house_init(struct house *house, uint64_t entries)
{
    struct catalogue catalogue;
    struct log_position at = {7, 1, 1};
    const struct publisher_options options = {.permissions_max = 512,
                                              .entries = entries,
                                              .sets = 1000,
                                              .folds = 16,
                                              .max_staleness_ns = 2 * SECOND};
    *house = (struct house){.entries = entries, .revision = 1};
    make_policy(&house->policy);
    memory_catalogue(&house->policy, 512 / 64, &catalogue);
    must(publisher_new(&house->publisher, &options, &at, 1000, &catalogue, &house->counters, NULL),
         "publisher_new");
    read_facts(house);
}

static void house_fini(struct house *house)
{
    for (uint64_t number = 0; number < CHANNELS; number++)
        facts_fini(&house->facts[number]);
    publisher_free(house->publisher);
    memory_policy_fini(&house->policy);
}

/* ---- ways: each does one turn of the loop, and says whether there is another ------------------------------------- */

static bool by_message(struct house *house)
{
    struct target target = {.kind = TARGET_SCOPE, .scope = server};
    if (house->turn == 0)
        (void)publisher_hear(house->publisher, &target, house->revision + 1, SECOND);
    return publisher_hear_slice(house->publisher, SECOND, PUBLISHER_SLICE);
}

static bool on_demand(struct house *house)
{
    uint64_t work = PUBLISHER_SLICE, retired = 0;
    if (house->turn == 0)
        publisher_retire_scope_begin(house->publisher, &house->retiring, server);
    return publisher_retire_scope_slice(house->publisher, &house->retiring, &work, &retired);
}

static void begin_batch(struct house *house)
{
    struct change change = {.kind = CHANGE_SCOPE, .scope = server, .revision = ++house->revision, .nonce = 1};
    house->batch = (struct batch){.at = {7, house->revision, 1}, .now = 1000};
    house->batch.changes.items = bench_memory(sizeof change);
    house->batch.changes.items[0] = change;
    house->batch.changes.count = 1;
    must(publisher_batch_begin(house->publisher, &house->batch, NULL), "publisher_batch_begin");
}

static bool by_batch(struct house *house)
{
    if (house->turn == 0)
        begin_batch(house);
    int code = publisher_batch_slice(house->publisher, SECOND, PUBLISHER_SLICE, NULL);
    must(code, "publisher_batch_slice");
    if (code == 0)
        batch_fini(&house->batch);
    return code > 0;
}

static bool any_scope(void *context, struct scope_key scope)
{
    (void)context;
    return scope.type == 3;
}

static bool by_pattern(struct house *house)
{
    struct publisher_match match = {.scope = any_scope};
    uint64_t retired = 0;
    if (house->turn == 0)
        publisher_scan_begin(house->publisher, &house->scan, &match);
    return publisher_scan_slice(house->publisher, &house->scan, PUBLISHER_SLICE, &match, &retired);
}

static bool by_role(struct house *house)
{
    if (house->turn == 0)
        (void)publisher_retire_role(house->publisher, ROLE);
    publisher_renew(house->publisher, SECOND);
    return house->counters.entries > 0;
}

static void drop(void *context, struct table *table)
{
    ((struct house *)context)->dropped = table;
}

static void prepare_rebuild(struct house *house)
{
    struct publisher_options options = house->publisher->table->options;
    must(table_new(&house->fresh, &options, 7), "table_new");
    publisher_drop_to(house->publisher, drop, house);
}

static bool by_rebuild(struct house *house)
{
    struct catalogue catalogue;
    struct log_position at = {7, ++house->revision, 1};
    memory_catalogue(&house->policy, 512 / 64, &catalogue);
    must(publisher_rebuild(house->publisher, &at, 1000, &catalogue, house->fresh, NULL), "publisher_rebuild");
    return false;
}

static uint64_t busy_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

/* `check_only` looks at nothing but whether something is left. */
static void measure_way(const struct measure *measure, struct house *house, const char *name,
                        bool (*turn)(struct house *house))
{
    uint64_t longest = 0, sum = 0;
    bool more = true;
    char world[64], text[64];
    publisher_renew(house->publisher, 2 * SECOND); /* what messages said is settled */
    fill(house);
    (void)snprintf(world, sizeof world, "%llu entries", (unsigned long long)house->entries);
    if (turn == by_rebuild)
        prepare_rebuild(house);
    for (house->turn = 0; more; house->turn++) {
        uint64_t before = busy_ns();
        more = turn(house);
        uint64_t took = busy_ns() - before;
        longest = took > longest ? took : longest;
        sum += took;
    }
    table_free(house->dropped);
    house->dropped = NULL;
    publisher_renew(house->publisher, 2 * SECOND); /* counts */
    if (house->counters.entries > 0)
        bench_die("%s left %llu entries", name, (unsigned long long)house->counters.entries);
    if (measure->check_only)
        return;
    (void)snprintf(text, sizeof text, "%s: longest turn", name);
    measure_figure("retire", world, text, (double)longest / 1e6, "ms");
    (void)snprintf(text, sizeof text, "%s: all %llu turns", name, (unsigned long long)house->turn);
    measure_figure("retire", world, text, (double)sum / 1e6, "ms");
    (void)fflush(stdout);
}

static void measure_all(const struct measure *measure, uint64_t entries)
{
    struct house *house = bench_memory(sizeof *house);
    house_init(house, entries);
    measure_way(measure, house, "message", by_message);
    measure_way(measure, house, "on demand", on_demand);
    measure_way(measure, house, "batch", by_batch);
    measure_way(measure, house, "pattern", by_pattern);
    measure_way(measure, house, "role", by_role);
    measure_way(measure, house, "all", by_rebuild);
    house_fini(house);
    free(house);
}

int main(int count, char **arguments)
{
    struct measure measure = {.rounds = 1};
    if (count < 2)
        bench_die("usage: bench_retire [--check-only] ENTRIES…");
    for (int i = 1; i < count; i++)
        if (!measure_option(&measure, count, arguments, &i))
            measure_all(&measure, measure_number(arguments[i]));
    return 0;
}
