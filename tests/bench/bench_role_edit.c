/* A role edit, from the batch that brings it to the table in which it is true, with few and with many holders
 * resident. The promise is that the cost follows the number of permission sets (role combinations) that contain the
 * role, and not the number of users who hold it.
 *
 * Facts are made in memory, so no store takes part: what is timed is publisher_batch alone. Every user holds the
 * edited role and a combination of fourteen others; as many combinations as sets are wanted. */
#include "proxy/rights/resolve.h"
#include "proxy/table/batch.h"
#include "proxy/table/fill.h"
#include "proxy/table/publisher.h"
#include "tests/bench/measure.h"
#include "tests/support/memory_policy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EDITED       100u
#define OTHERS       14u
#define BIT          0u /* what the edit gives and takes */
#define BATCHES_MOST 4096u
#define SECOND       1000000000ull

static const struct scope_key global = {0, 0}, server = {1, 1};

/* One table with its holders. */
struct house {
    uint64_t holders;
    uint32_t sets;
    struct publisher *publisher;
    struct counters counters;
    struct role granting, plain; /* the two definitions that the edits alternate between */
    uint64_t revision;
    bool granted;
    struct batch *batches; /* prepared */
    uint64_t prepared;
    char name[48];
};

static void must(int code, const char *what)
{
    if (code < 0)
        bench_die("%s: error %d", what, code);
}

/* A server, the edited role, the others, and one user for each combination: user `combination` holds the roles whose
 * bits are set in it. */
static void make_policy(struct memory_policy *policy, uint32_t combinations)
{
    memory_policy_init(policy);
    for (uint32_t bit = 0; bit <= OTHERS; bit++) {
        char name[32];
        (void)snprintf(name, sizeof name, "bench.permission%u", bit);
        memory_permission(policy, name);
    }
    memory_scope(policy, server, global, NULL);
    memory_role(policy, EDITED, "edited", server, false, true);
    for (uint32_t other = 0; other < OTHERS; other++) {
        memory_role(policy, EDITED + 1 + other, "other", server, false, true);
        memory_grant(policy, EDITED + 1 + other, GRANT_ALLOW, 1 + other);
    }
    for (uint32_t user = 0; user < combinations; user++) {
        memory_assign(policy, user, EDITED, server, FACTS_NEVER);
        for (uint32_t other = 0; other < OTHERS; other++)
            if ((user >> other & 1u) != 0)
                memory_assign(policy, user, EDITED + 1 + other, server, FACTS_NEVER);
    }
}

/* One combination after the other, so that the facts of each are made once: the first holder brings the definitions
 * of its roles, and the table has them for the others. */
static void fill(struct house *house, struct memory_policy *policy)
{
    for (uint64_t combination = 0; combination < house->sets; combination++) {
        struct facts facts;
        memory_facts(policy, combination, server, 1000, &facts);
        facts.revision = 1;
        facts.nonce = 1;
        facts.generation = publisher_generation(house->publisher);
        for (uint64_t holder = combination; holder < house->holders; holder += house->sets) {
            struct answer answer = {0};
            facts.user = holder;
            if (publisher_fill(house->publisher, &facts, SECOND, &answer) != PUBLISHER_FILLED)
                bench_die("holder %llu was not filled", (unsigned long long)holder);
            answer_fini(&answer);
        }
        facts_fini(&facts);
    }
    if (house->counters.sets != house->sets)
        bench_die("%llu sets instead of %u", (unsigned long long)house->counters.sets, house->sets);
}

static void house_init(struct house *house, uint64_t holders, uint32_t sets)
{
    struct memory_policy policy;
    struct catalogue catalogue;
    struct log_position at = {7, 1, 1};
    const struct publisher_options options = {.permissions_max = 512,
                                              .entries = 2 * holders, /* hardly anybody is evicted */
                                              .sets = sets + 64,
                                              .folds = 16,
                                              .max_staleness_ns = 2 * SECOND};
    *house = (struct house){.holders = holders, .sets = sets, .revision = 1};
    (void)snprintf(house->name, sizeof house->name, "%llu holders in %u sets", (unsigned long long)holders,
                   sets);
    make_policy(&policy, sets);
    memory_catalogue(&policy, 512 / 64, &catalogue);
    must(publisher_new(&house->publisher, &options, &at, 1000, &catalogue, &house->counters, NULL),
         "publisher_new");
    fill(house, &policy);
    if (!memory_definition(&policy, EDITED, &house->plain))
        bench_die("no such role");
    memory_grant(&policy, EDITED, GRANT_ALLOW, BIT);
    if (!memory_definition(&policy, EDITED, &house->granting))
        bench_die("no such role");
    memory_policy_fini(&policy);
    house->batches = bench_memory(BATCHES_MOST * sizeof *house->batches);
}

static void house_fini(struct house *house)
{
    free(house->batches);
    role_fini(&house->plain);
    role_fini(&house->granting);
    publisher_free(house->publisher);
}

/* The batches that a feed would bring: one change, the role's new definition. */
static void prepare(void *context, uint64_t count)
{
    struct house *house = context;
    for (uint64_t i = 0; i < count; i++) {
        struct batch *batch = &house->batches[i];
        *batch = (struct batch){.at = {7, ++house->revision, 1}, .now = 1000};
        house->granted = !house->granted;
        batch->changes.items = bench_memory(sizeof *batch->changes.items);
        batch->changes.count = 1;
        batch->changes.items[0] = (struct change){
            .kind = CHANGE_ROLE_GRANT, .role = EDITED, .revision = house->revision, .nonce = 1};
        struct role *role = role_list_add(&batch->roles);
        if (role == NULL || role_copy(role, house->granted ? &house->granting : &house->plain) < 0)
            bench_die("out of memory");
    }
    house->prepared = count;
}

static uint64_t edit(void *context, uint64_t seed, uint64_t count)
{
    struct house *house = context;
    (void)seed;
    if (house->prepared != count)
        bench_die("prepared %llu edits, asked for %llu", (unsigned long long)house->prepared,
                  (unsigned long long)count);
    for (uint64_t i = 0; i < count; i++) {
        must(publisher_batch(house->publisher, &house->batches[i], SECOND, NULL), "publisher_batch");
        batch_fini(&house->batches[i]);
    }
    return 0;
}

/* Looks after the edits: every holder of a sample has the permission or not, as the last edit said, and none was filled
 * again. A few in a million were never resident: their window was full. */
static void look(const struct house *house)
{
    uint64_t step = house->holders / 1000 + 1, evicted = house->counters.entries_evicted;
    if (house->counters.entries + evicted != house->holders || house->counters.entries_retired != 0 ||
        evicted > house->holders / 10000)
        bench_die("%s: %llu entries, %llu retired, %llu evicted", house->name,
                  (unsigned long long)house->counters.entries,
                  (unsigned long long)house->counters.entries_retired, (unsigned long long)evicted);
    for (uint64_t holder = 0; holder < house->holders; holder += step) {
        struct answer answer;
        if (!publisher_lookup(house->publisher, holder, server, &answer)) {
            if (evicted-- == 0)
                bench_die("%s: holder %llu is not resident", house->name, (unsigned long long)holder);
            continue;
        }
        uint64_t expected = holder % house->sets << 1 | (house->granted ? 1u : 0u);
        if (answer.any[0] != expected)
            bench_die("%s: holder %llu has %llx instead of %llx", house->name, (unsigned long long)holder,
                      (unsigned long long)answer.any[0], (unsigned long long)expected);
        answer_fini(&answer);
    }
}

/* Many holders against few, in the same number of sets. */
static void compare(const struct measure *measure, uint64_t few, uint64_t many, uint32_t sets)
{
    struct house houses[2];
    char world[64];
    uint64_t most = sets < 1000 ? BATCHES_MOST : 8;
    house_init(&houses[0], few, sets);
    house_init(&houses[1], many, sets);
    struct contender contenders[2] = {
        {.name = houses[0].name, .run = edit, .prepare = prepare, .context = &houses[0], .most = most},
        {.name = houses[1].name, .run = edit, .prepare = prepare, .context = &houses[1], .most = most}};
    (void)snprintf(world, sizeof world, "%u sets", sets);
    struct contest contest = {.title = "role edit", .world = world, .contenders = contenders, .count = 2};
    measure_contest(measure, &contest);
    for (size_t i = 0; i < 2; i++) {
        look(&houses[i]);
        house_fini(&houses[i]);
    }
}

int main(int count, char **arguments)
{
    struct measure measure = {.rounds = 9, .slice_ns = 20000000};
    uint64_t few = 1000, many = 1000000;
    for (int i = 1; i < count; i++) {
        if (measure_option(&measure, count, arguments, &i))
            continue;
        if (i + 1 < count && strcmp(arguments[i], "--few") == 0)
            few = measure_number(arguments[++i]);
        else if (i + 1 < count && strcmp(arguments[i], "--many") == 0)
            many = measure_number(arguments[++i]);
        else
            bench_die(
                "usage: bench_role_edit [--few N] [--many N] [--rounds N] [--slice-ms N] [--check-only]");
    }
    if (few < 100 || many < few)
        bench_die("few holders: at least 100; many: at least as many as few");
    compare(&measure, few, many, 1);
    compare(&measure, few, many, 100);
    if (many >= 100000) /* ten in each set, and a hundred */
        compare(&measure, 100000, many, 10000);
    return 0;
}
