/* Which entries stay: hit rates of orders in which entries make room, on traces made here or read from a file. No time
 * is measured. docs/PERFORMANCE.md has the table that sieve.h's numbers were chosen by.
 *
 * "permtab" is the table itself, filled by table_put, with its sieve, which is told of one hit in so many, as the
 * sidecar is; "all" hears of each. Uses cost no tickets (use.h) but in the last three, which have clients.
 * The others are as in their papers: LRU, FIFO (which permtab was before), random, SIEVE (Zhang and others, NSDI 2024),
 * S3-FIFO (Yang and others, SOSP 2023: a tenth of the room for newcomers, ghosts for as many as the rest has). All
 * but permtab know their keys by a small number and no more. */
#include "proxy/table/private.h"
#include "tests/bench/measure.h"
#include "tests/bench/question.h"
#include "tests/support/memory_policy.h"
#include "tests/support/random.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOBODY UINT32_MAX

/* ---- traces ------------------------------------------------------------------------------------------------------ */

struct trace {
    const char *name;
    bool steady;    /* what is asked for most is the same all the time */
    uint32_t *keys; /* one after the other, as they are asked for */
    uint64_t length;
    uint32_t key_count; /* all keys are below */
    uint32_t room;
};

/* Ranks 0 … count - 1, of which rank r comes with a chance that goes by 1 / (r + 1)^exponent. */
struct zipf {
    double *sums;
    uint32_t count;
};

static void zipf_init(struct zipf *zipf, uint32_t count, double exponent)
{
    double sum = 0;
    zipf->sums = bench_memory(count * sizeof *zipf->sums);
    zipf->count = count;
    for (uint32_t rank = 0; rank < count; rank++)
        zipf->sums[rank] = sum += 1 / pow(rank + 1, exponent);
}

static uint32_t zipf_draw(const struct zipf *zipf, struct random *random)
{
    double point = (double)(random_next(random) >> 11) * 0x1p-53 * zipf->sums[zipf->count - 1];
    uint32_t low = 0, high = zipf->count - 1;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (zipf->sums[middle] < point)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

enum trace_kind {
    STEADY,
    SCANS, /* a fifth of all, in stretches, are keys that come once */
    DRIFT, /* each 200 requests every rank goes to the next key */
    JUMPS, /* eight times in all the ranks go to other keys */
    CHURN, /* each 20 requests one key, as often asked for as any, gives its rank to a new one */
};

/* `keys` ranks; a trace has 20 requests for each. */
static void make_trace(struct trace *trace, enum trace_kind kind, double exponent, uint32_t ranks,
                       uint32_t room)
{
    struct zipf zipf;
    struct random random = {11};
    uint32_t *key_of = bench_memory(ranks * sizeof *key_of), next = ranks, offset = 0;
    zipf_init(&zipf, ranks, exponent);
    trace->length = 20ull * ranks;
    trace->keys = bench_memory(trace->length * sizeof *trace->keys);
    trace->room = room;
    for (uint32_t rank = 0; rank < ranks; rank++)
        key_of[rank] = rank;
    for (uint64_t i = 0; i < trace->length; i++) {
        if (kind == CHURN && i % 20 == 0)
            key_of[zipf_draw(&zipf, &random)] = next++;
        if (kind == DRIFT && i % 200 == 0)
            offset++;
        if (kind == JUMPS && i % (trace->length / 8) == 0)
            offset += ranks / 16;
        uint32_t key = key_of[(zipf_draw(&zipf, &random) + offset) % ranks];
        if (kind == SCANS && i % (ranks / 2) >= ranks / 5 * 2)
            key = next++;
        trace->keys[i] = key;
    }
    trace->key_count = next;
    free(key_of);
    free(zipf.sums);
}

/* A file of one number a line, each a key. */
static void read_trace(struct trace *trace, const char *path, uint32_t room)
{
    FILE *file = fopen(path, "re");
    unsigned long key;
    size_t capacity = 1u << 20;
    if (file == NULL)
        bench_die("%s: cannot be read", path);
    *trace = (struct trace){.name = "from a file", .keys = malloc(capacity * sizeof(uint32_t)), .room = room};
    while (trace->keys != NULL && fscanf(file, "%lu", &key) == 1) {
        if (key >= 1u << 28)
            bench_die("%s: %lu is too large for a key", path, key);
        if (trace->length == capacity)
            trace->keys = realloc(trace->keys, (capacity *= 2) * sizeof(uint32_t));
        if (trace->keys == NULL)
            bench_die("no memory");
        trace->keys[trace->length++] = (uint32_t)key;
        if (key >= trace->key_count)
            trace->key_count = (uint32_t)key + 1;
    }
    (void)fclose(file);
    if (trace->length == 0)
        bench_die("%s: no numbers", path);
}

/* ---- orders ------------------------------------------------------------------------------------------------------ */

#define CLIENTS_MAX 64u
#define TURN        1000u /* requests: a tenth of a second */

/* A cache, and what its kind needs of this. */
struct cache {
    const struct trace *trace;
    uint32_t sample, laps; /* permtab: told one hit in so many, good for so many laps */
    uint32_t count;
    uint64_t requests;
    uint64_t hits; /* of permtab, which chooses by them what it is told */
    struct random random;
    struct {
        uint32_t newer, older; /* lists, by key */
        uint8_t where, uses;
    } * keys;
    struct list {
        uint32_t newest, oldest, hand, count;
    } main, small, ghosts;
    uint32_t *places; /* random: keys by place */
    struct table *table;
    struct publisher publisher; /* the table, and tickets */
    struct use_share shares[CLIENTS_MAX];
    uint32_t clients; /* 0: uses cost nothing */
    struct scope_node *node;
    uint32_t set;
};

enum { AWAY, IN_MAIN, IN_SMALL, GHOST };

static void list_put(struct cache *cache, struct list *list, uint32_t key, uint8_t where)
{
    cache->keys[key].newer = NOBODY;
    cache->keys[key].older = list->newest;
    cache->keys[key].where = where;
    if (list->newest != NOBODY)
        cache->keys[list->newest].newer = key;
    else
        list->oldest = key;
    list->newest = key;
    list->count++;
}

static void list_take(struct cache *cache, struct list *list, uint32_t key)
{
    uint32_t newer = cache->keys[key].newer, older = cache->keys[key].older;
    if (list->hand == key)
        list->hand = newer;
    *(newer != NOBODY ? &cache->keys[newer].older : &list->newest) = older;
    *(older != NOBODY ? &cache->keys[older].newer : &list->oldest) = newer;
    cache->keys[key].where = AWAY;
    list->count--;
}

static bool ask_lru(struct cache *cache, uint32_t key)
{
    bool hit = cache->keys[key].where == IN_MAIN;
    if (hit)
        list_take(cache, &cache->main, key);
    else if (cache->main.count == cache->trace->room)
        list_take(cache, &cache->main, cache->main.oldest);
    list_put(cache, &cache->main, key, IN_MAIN);
    return hit;
}

static bool ask_fifo(struct cache *cache, uint32_t key)
{
    if (cache->keys[key].where == IN_MAIN)
        return true;
    if (cache->main.count == cache->trace->room)
        list_take(cache, &cache->main, cache->main.oldest);
    list_put(cache, &cache->main, key, IN_MAIN);
    return false;
}

static bool ask_random(struct cache *cache, uint32_t key)
{
    if (cache->keys[key].where == IN_MAIN)
        return true;
    uint32_t place = cache->count;
    if (cache->count == cache->trace->room) {
        place = (uint32_t)random_below(&cache->random, cache->count);
        cache->keys[cache->places[place]].where = AWAY;
    } else {
        cache->count++;
    }
    cache->places[place] = key;
    cache->keys[key].where = IN_MAIN;
    return false;
}

static bool ask_sieve(struct cache *cache, uint32_t key)
{
    struct list *list = &cache->main;
    if (cache->keys[key].where == IN_MAIN) {
        cache->keys[key].uses = 1;
        return true;
    }
    if (list->count == cache->trace->room) {
        uint32_t victim = list->hand != NOBODY ? list->hand : list->oldest;
        while (cache->keys[victim].uses > 0) {
            cache->keys[victim].uses = 0;
            victim = cache->keys[victim].newer != NOBODY ? cache->keys[victim].newer : list->oldest;
        }
        list->hand = victim;
        list_take(cache, list, victim);
    }
    list_put(cache, list, key, IN_MAIN);
    cache->keys[key].uses = 0;
    return false;
}

static void s3_leave_main(struct cache *cache)
{
    for (;;) {
        uint32_t oldest = cache->main.oldest;
        list_take(cache, &cache->main, oldest);
        if (cache->keys[oldest].uses == 0)
            return;
        cache->keys[oldest].uses--;
        list_put(cache, &cache->main, oldest, IN_MAIN);
    }
}

/* One makes room: of the newcomers when they have more than a tenth. */
static void s3_make_room(struct cache *cache)
{
    uint32_t room = cache->trace->room;
    while (cache->small.count > 0 && cache->small.count >= room / 10) {
        uint32_t oldest = cache->small.oldest;
        list_take(cache, &cache->small, oldest);
        if (cache->keys[oldest].uses <= 1) {
            if (cache->ghosts.count == room - room / 10)
                list_take(cache, &cache->ghosts, cache->ghosts.oldest);
            list_put(cache, &cache->ghosts, oldest, GHOST);
            return;
        }
        cache->keys[oldest].uses = 0;
        list_put(cache, &cache->main, oldest, IN_MAIN);
        if (cache->main.count > room - room / 10) {
            s3_leave_main(cache);
            return;
        }
    }
    s3_leave_main(cache);
}

static bool ask_s3_fifo(struct cache *cache, uint32_t key)
{
    uint8_t where = cache->keys[key].where;
    if (where == IN_MAIN || where == IN_SMALL) {
        cache->keys[key].uses += cache->keys[key].uses < 3;
        return true;
    }
    if (where == GHOST)
        list_take(cache, &cache->ghosts, key);
    if (cache->main.count + cache->small.count == cache->trace->room)
        s3_make_room(cache);
    cache->keys[key].uses = 0;
    list_put(cache, where == GHOST ? &cache->main : &cache->small, key, where == GHOST ? IN_MAIN : IN_SMALL);
    return false;
}

/* ---- permtab ----------------------------------------------------------------------------------------------------- */

static void begin_table(struct cache *cache)
{
    struct publisher_options options = {
        .permissions_max = 64, .entries = cache->trace->room, .sets = 16, .folds = 1, .max_staleness_ns = 1};
    struct memory_policy policy;
    struct catalogue catalogue;
    struct inputs inputs = {0};
    if (table_new(&cache->table, &options, 1) < 0)
        bench_die("no table");
    cache->table->map.hash_seed = cache->table->segment.table.hash_seed = 7; /* each time the same */
    cache->publisher.table = cache->table;
    struct role_sources sources = {&cache->table->sets, NULL, NULL};
    memory_policy_init(&policy);
    memory_catalogue(&policy, 1, &catalogue);
    cache->set = set_table_add(&sources, &catalogue, &inputs, 1);
    set_table_hold(&cache->table->sets, cache->set);
    cache->node = scope_tree_put(&cache->table->scopes, (struct scope_key){1, QUESTION_TYPE}, NULL);
    cache->node->pins++;
    if (cache->laps != 0)
        cache->table->entries.sieve.laps_of_a_use = (uint8_t)cache->laps;
    catalogue_fini(&catalogue);
    memory_policy_fini(&policy);
}

/* Uneven distances, as until_sample of client/count.c makes them. */
static bool is_told(struct cache *cache)
{
    return (++cache->hits * 0x9e3779b97f4a7c15ull) >> 32 < (1ull << 32) / cache->sample;
}

/* The first client tells of all hits. Each other one says in each turn that it uses what is asked for just then, which
 * is known or costs one ticket, and so has its part unspent. */
static void turn(struct cache *cache, struct map_key at)
{
    publisher_use_turn(&cache->publisher);
    for (uint32_t client = 0; client < cache->clients; client++)
        publisher_use_settle(&cache->publisher, &cache->shares[client]);
    publisher_use_grant(&cache->publisher);
    for (uint32_t client = 1; client < cache->clients; client++)
        (void)publisher_use(&cache->publisher, &cache->shares[client], at.key0,
                            (struct scope_key){at.key1, at.type});
}

static bool ask_permtab(struct cache *cache, uint32_t key)
{
    struct table *table = cache->table;
    struct map_key at = {question_user(key), cache->node->key.id, cache->node->key.type};
    uint32_t slot = map_writer_find(&table->map, at);
    if (++cache->requests % TURN == 0)
        turn(cache, at);
    if (slot == MAP_NO_SLOT) {
        if (!table_put(table, at.key0, cache->node, cache->set, ENTRY_POSITIVE, 1, NULL))
            bench_die("no room");
        return false;
    }
    if (!is_told(cache))
        return true;
    if (cache->clients > 0)
        (void)publisher_use(&cache->publisher, &cache->shares[0], at.key0, cache->node->key);
    else
        (void)sieve_use(&table->entries.sieve, slot);
    return true;
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

struct order {
    const char *name;
    bool (*ask)(struct cache *cache, uint32_t key);
    uint32_t sample, laps, clients;
};

static const struct order orders[] = {
    {"FIFO", ask_fifo, 0, 0, 0},
    {"random", ask_random, 0, 0, 0},
    {"LRU", ask_lru, 0, 0, 0},
    {"S3-FIFO", ask_s3_fifo, 0, 0, 0},
    {"SIEVE", ask_sieve, 0, 0, 0},
    {"permtab, all", ask_permtab, 1, 0, 0},
    {"permtab, 1 of 8", ask_permtab, 8, 0, 0},
    {"permtab, 1 of 16", ask_permtab, 16, 0, 0},
    {"permtab, 1 of 32", ask_permtab, 32, 0, 0},
    {"permtab, 1 of 64", ask_permtab, 64, 0, 0},
    {"permtab, 1 of 32, good for 1 lap", ask_permtab, 32, 1, 0},
    {"permtab, 1 of 32, good for 7", ask_permtab, 32, 7, 0},
    {"permtab, 1 of 32, one busy client of 1", ask_permtab, 32, 0, 1},
    {"permtab, 1 of 32, one busy client of 8", ask_permtab, 32, 0, 8},
    {"permtab, 1 of 32, one busy client of 64", ask_permtab, 32, 0, CLIENTS_MAX},
};
#define ORDERS (sizeof orders / sizeof orders[0])

/* The share of hits. The first quarter of a trace fills the cache and is not counted; one from a file is, as others
 * do it. */
static double run(const struct order *order, const struct trace *trace, uint64_t begin)
{
    const struct list empty = {NOBODY, NOBODY, NOBODY, 0};
    struct cache cache = {.trace = trace,
                          .sample = order->sample,
                          .laps = order->laps,
                          .clients = order->clients,
                          .random = {5}};
    uint64_t hits = 0;
    cache.main = cache.small = cache.ghosts = empty;
    cache.keys = bench_memory(trace->key_count * sizeof *cache.keys);
    cache.places = bench_memory(trace->room * sizeof *cache.places);
    if (order->ask == ask_permtab)
        begin_table(&cache);
    for (uint64_t i = 0; i < trace->length; i++)
        hits += order->ask(&cache, trace->keys[i]) && i >= begin;
    if (cache.table != NULL)
        table_free(cache.table);
    free(cache.keys);
    free(cache.places);
    return 100.0 * (double)hits / (double)(trace->length - begin);
}

static void report(const struct trace *trace, uint64_t begin)
{
    char world[64];
    (void)snprintf(world, sizeof world, "%s, room for %u", trace->name, trace->room);
    for (size_t i = 0; i < ORDERS; i++)
        measure_figure("hit rate", world, orders[i].name, run(&orders[i], trace, begin), "percent");
}

static void at_least(const char *what, double rate, double least)
{
    if (rate < least)
        bench_die("%s: %.2f %% of hits, and not %.2f", what, rate, least);
}

static const struct order *order_of(const char *name)
{
    for (size_t i = 0; i < ORDERS; i++)
        if (strcmp(orders[i].name, name) == 0)
            return &orders[i];
    bench_die("%s: no such order", name);
}

/* What must hold of any machine: the same trace gives the same rates. */
static void check(const struct trace *trace)
{
    uint64_t begin = trace->length / 4;
    double fifo = run(order_of("FIFO"), trace, begin), random = run(order_of("random"), trace, begin);
    if (trace->steady) { /* what is where makes no difference to who does not look */
        at_least("FIFO beside random", fifo, random - 1);
        at_least("random beside FIFO", random, fifo - 1);
    }
    at_least("LRU", run(order_of("LRU"), trace, begin), fifo);
    at_least("S3-FIFO", run(order_of("S3-FIFO"), trace, begin), fifo);
    at_least("permtab that hears of all", run(order_of("permtab, all"), trace, begin), fifo + 1);
    at_least("permtab that hears of some", run(order_of("permtab, 1 of 32"), trace, begin), fifo - 0.2);
}

int main(int count, char **arguments)
{
    struct measure measure = {.rounds = 1};
    uint32_t ranks = 50000, room = 0;
    const char *path = NULL;
    for (int i = 1; i < count; i++) {
        if (measure_option(&measure, count, arguments, &i))
            continue;
        if (i + 1 == count)
            bench_die("usage: bench_eviction [--keys N] [--trace FILE --room N] [--check-only]");
        if (strcmp(arguments[i], "--keys") == 0)
            ranks = (uint32_t)measure_number(arguments[++i]);
        else if (strcmp(arguments[i], "--room") == 0)
            room = (uint32_t)measure_number(arguments[++i]);
        else if (strcmp(arguments[i], "--trace") == 0)
            path = arguments[++i];
        else
            bench_die("%s: no such option", arguments[i]);
    }
    if (path != NULL && room >= 10) {
        struct trace trace;
        read_trace(&trace, path, room);
        report(&trace, 0);
        free(trace.keys);
        return 0;
    }
    if (path != NULL || ranks < 1000)
        bench_die("--trace needs --room, of 10 at least, and --keys is 1000 at least");
    static const struct {
        const char *name;
        enum trace_kind kind;
        double exponent;
        uint32_t part; /* of the keys, that there is room for */
    } traces[] = {
        {"Zipf 0.6", STEADY, 0.6, 10},       {"Zipf 0.8", STEADY, 0.8, 10},
        {"Zipf 1.0", STEADY, 1.0, 10},       {"Zipf 1.2", STEADY, 1.2, 10},
        {"Zipf 1.0", STEADY, 1.0, 100},      {"Zipf 1.0 and scans", SCANS, 1.0, 10},
        {"Zipf 1.0 that drifts", DRIFT, 1.0, 10}, {"Zipf 1.0 that jumps", JUMPS, 1.0, 10},
        {"Zipf 1.0 with new keys", CHURN, 1.0, 10},
    };
    for (size_t i = 0; i < sizeof traces / sizeof traces[0]; i++) {
        struct trace trace = {.name = traces[i].name, .steady = traces[i].kind == STEADY};
        make_trace(&trace, traces[i].kind, traces[i].exponent, ranks, ranks / traces[i].part);
        if (measure.check_only)
            check(&trace);
        else
            report(&trace, trace.length / 4);
        free(trace.keys);
    }
    return 0;
}
