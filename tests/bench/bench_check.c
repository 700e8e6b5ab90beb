/* Checks, of one world a run. Every contender is asked the same questions; what a contest's base answers or loads,
 * and how the others compare, is printed by measure.c.
 *
 *   dependent     the next question needs the last answer, as in a program that does something with it: latency
 *   independent   it does not, and the processor overlaps them: throughput
 *   hot           one user and few keys, all in the first cache
 *   view          many permissions of one user at one place: permtab_view_has
 *   batch         permtab_check_many against a loop of single checks over the same questions
 *   redis         GET over a Unix socket, the one contest with a wait in it
 *
 * permtab is measured through its public header, on a handle from permtab_open: lease, catalogue, clock, validation
 * and hit counter are all in it. The raw load reads one random cache line of the entry map through the same
 * mapping. */
#include "tests/bench/measure.h"
#include "tests/bench/rivals.h"
#include "tests/bench/world.h"
#include "tests/bench/world_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HOT_ENTRIES 4u
#define BATCH_MOST  1000u

struct bench {
    struct measure measure;
    struct world world;
    struct permtab *table;
    permtab_type type, folded_type;
    permtab_perm permissions[QUESTION_PERMISSIONS];
    struct permtab_view view;
    const struct permtab_shm_bucket *lines; /* of the entry map, in the client's mapping */
    uint64_t line_count;
    struct rival_sets sets;
    struct rival_hash hash;
    struct rival_lmdb *lmdb;
    struct rival_redis *redis;
    struct permtab_query queries[BATCH_MOST];
    enum permtab_decision decisions[BATCH_MOST];
};

struct bench_options {
    struct world_options world;
    const char *lmdb_folder, *redis_socket;
};

static uint64_t entries_of(const void *context)
{
    return ((const struct bench *)context)->world.options.entries;
}

/* So that no contender pays for calls that another is spared: question_walk inlines all of them or none. */
#define ASK static inline __attribute__((always_inline))

/* ---- one question, each in its own way ------------------------------------------------------------------------- */

ASK uint64_t ask_truth(void *context, const struct question *question)
{
    const struct bench *bench = context;
    uint32_t set = question_set(question->user, bench->world.options.sets);
    return (question_bits(set) >> question->permission) & 1u;
}

/* UNKNOWN becomes a sum that no truth has. */
static inline uint64_t value_of(enum permtab_decision decision)
{
    return (uint64_t)(int64_t)decision;
}

ASK uint64_t ask_peek(void *context, const struct question *question)
{
    struct bench *bench = context;
    return value_of(permtab_peek(bench->table, question->user, permtab_at(bench->type, question->scope),
                                 bench->permissions[question->permission]));
}

ASK uint64_t ask_check(void *context, const struct question *question)
{
    struct bench *bench = context;
    return value_of(permtab_check(bench->table, question->user, permtab_at(bench->type, question->scope),
                                  bench->permissions[question->permission]));
}

ASK uint64_t ask_folded(void *context, const struct question *question)
{
    struct bench *bench = context;
    return value_of(permtab_peek(bench->table, question->user,
                                 permtab_at(bench->folded_type, question->scope),
                                 bench->permissions[question->permission]));
}

ASK uint64_t ask_hash(void *context, const struct question *question)
{
    return rival_hash_ask(&((struct bench *)context)->hash, question);
}

ASK uint64_t ask_lmdb(void *context, const struct question *question)
{
    return rival_lmdb_ask(((struct bench *)context)->lmdb, question);
}

ASK uint64_t ask_redis(void *context, const struct question *question)
{
    return rival_redis_ask(((struct bench *)context)->redis, question);
}

ASK uint64_t ask_view_truth(void *context, const struct question *question)
{
    struct question same = *question;
    same.user = question_user(0);
    return ask_truth(context, &same);
}

ASK uint64_t ask_view(void *context, const struct question *question)
{
    const struct bench *bench = context;
    return value_of(permtab_view_has(&bench->view, bench->permissions[question->permission], false));
}

#define WALK(name, ask, entries, dependent)                                                                  \
    static uint64_t name(void *context, uint64_t seed, uint64_t count)                                       \
    {                                                                                                        \
        return question_walk(context, ask, entries, dependent, seed, count);                                 \
    }

WALK(truth_dependent, ask_truth, entries_of(context), true)
WALK(truth_independent, ask_truth, entries_of(context), false)
WALK(truth_hot, ask_truth, HOT_ENTRIES, true)
WALK(truth_hot_independent, ask_truth, HOT_ENTRIES, false)
WALK(truth_view, ask_view_truth, 1, false)
WALK(truth_view_dependent, ask_view_truth, 1, true)
WALK(peek_dependent, ask_peek, entries_of(context), true)
WALK(peek_independent, ask_peek, entries_of(context), false)
WALK(peek_hot, ask_peek, HOT_ENTRIES, true)
WALK(peek_hot_independent, ask_peek, HOT_ENTRIES, false)
WALK(check_dependent, ask_check, entries_of(context), true)
WALK(check_hot, ask_check, HOT_ENTRIES, true)
WALK(folded_dependent, ask_folded, entries_of(context), true)
WALK(hash_dependent, ask_hash, entries_of(context), true)
WALK(hash_independent, ask_hash, entries_of(context), false)
WALK(hash_hot, ask_hash, HOT_ENTRIES, true)
WALK(hash_hot_independent, ask_hash, HOT_ENTRIES, false)
WALK(lmdb_dependent, ask_lmdb, entries_of(context), true)
WALK(redis_dependent, ask_redis, entries_of(context), true)
WALK(view_independent, ask_view, 1, false)
WALK(view_dependent, ask_view, 1, true)

/* ---- what is not a question -------------------------------------------------------------------------------------- */

/* One load of a random line, and the next line's number depends on it. */
static uint64_t raw_dependent(void *context, uint64_t seed, uint64_t count)
{
    const struct bench *bench = context;
    uint64_t sum = 0, walk = question_step(seed * 0x9e3779b97f4a7c15ull, 0);
    for (uint64_t done = 0; done < count; done++) {
        const struct permtab_shm_bucket *line = &bench->lines[((walk >> 32) * bench->line_count) >> 32];
        uint64_t loaded = permtab_shm_load32(&line->sequence) & 1u;
        sum += loaded;
        walk = question_step(walk, loaded);
    }
    return sum;
}

static uint64_t raw_independent(void *context, uint64_t seed, uint64_t count)
{
    const struct bench *bench = context;
    uint64_t sum = 0, walk = question_step(seed * 0x9e3779b97f4a7c15ull, 0);
    for (uint64_t done = 0; done < count; done++) {
        sum += permtab_shm_load32(&bench->lines[((walk >> 32) * bench->line_count) >> 32].sequence) & 1u;
        walk = question_step(walk, 0);
    }
    return sum;
}

/* The questions of a walk as queries of a batch. */
static uint64_t make_queries(struct bench *bench, uint64_t walk, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        struct question question = question_at(walk, entries_of(bench));
        bench->queries[i] = (struct permtab_query){.user = question.user,
                                                   .scope = permtab_at(bench->type, question.scope),
                                                   .perm = bench->permissions[question.permission]};
        walk = question_step(walk, 0);
    }
    return walk;
}

static uint64_t batches(struct bench *bench, uint64_t batch, uint64_t seed, uint64_t count)
{
    uint64_t sum = 0, walk = question_step(seed * 0x9e3779b97f4a7c15ull, 0);
    for (uint64_t done = 0; done < count; done += batch) {
        walk = make_queries(bench, walk, batch);
        int known = permtab_check_many(bench->table, bench->queries, batch, bench->decisions);
        sum += known == (int)batch ? 0 : UINT32_MAX;
        for (uint64_t i = 0; i < batch; i++)
            sum += value_of(bench->decisions[i]);
    }
    return sum;
}

static uint64_t many_100(void *context, uint64_t seed, uint64_t count)
{
    return batches(context, 100, seed, count);
}

static uint64_t many_1000(void *context, uint64_t seed, uint64_t count)
{
    return batches(context, 1000, seed, count);
}

/* The same work without permtab_check_many: the queries are made, then checked one by one. */
static uint64_t singles(void *context, uint64_t seed, uint64_t count)
{
    struct bench *bench = context;
    uint64_t sum = 0, walk = question_step(seed * 0x9e3779b97f4a7c15ull, 0);
    for (uint64_t done = 0; done < count; done += BATCH_MOST) {
        walk = make_queries(bench, walk, BATCH_MOST);
        for (uint64_t i = 0; i < BATCH_MOST; i++) {
            const struct permtab_query *query = &bench->queries[i];
            sum += value_of(permtab_check(bench->table, query->user, query->scope, query->perm));
        }
    }
    return sum;
}

/* ---- contests ---------------------------------------------------------------------------------------------------- */

static void run(struct bench *bench, const char *title, bool waits, struct contender *contenders,
                size_t count)
{
    struct contest contest = {
        .title = title, .world = bench->world.text, .waits = waits, .contenders = contenders, .count = count};
    for (size_t i = 0; i < count; i++)
        contenders[i].context = bench;
    measure_contest(&bench->measure, &contest);
}

#define RUN(bench, title, waits, contenders)                                                                 \
    run(bench, title, waits, contenders, sizeof contenders / sizeof contenders[0])

static void run_random(struct bench *bench)
{
    struct contender dependent[] = {
        {.name = "raw load", .run = raw_dependent},
        {.name = "permtab_peek", .run = peek_dependent, .truth = truth_dependent},
        {.name = "permtab_check", .run = check_dependent, .truth = truth_dependent},
        {.name = "private hash", .run = hash_dependent, .truth = truth_dependent}};
    struct contender independent[] = {
        {.name = "raw load", .run = raw_independent},
        {.name = "permtab_peek", .run = peek_independent, .truth = truth_independent},
        {.name = "private hash", .run = hash_independent, .truth = truth_independent}};
    struct contender folded[] = {{.name = "raw load", .run = raw_dependent},
                                 {.name = "permtab_peek", .run = folded_dependent, .truth = truth_dependent}};
    if (bench->world.options.folded) {
        RUN(bench, "folded check", false, folded);
        return;
    }
    RUN(bench, "dependent check", false, dependent);
    RUN(bench, "independent check", false, independent);
}

static void run_rivals(struct bench *bench)
{
    struct contender lmdb[] = {{.name = "permtab_peek", .run = peek_dependent, .truth = truth_dependent},
                               {.name = "LMDB get", .run = lmdb_dependent, .truth = truth_dependent}};
    struct contender redis[] = {{.name = "permtab_peek", .run = peek_dependent, .truth = truth_dependent},
                                {.name = "Redis GET", .run = redis_dependent, .truth = truth_dependent}};
    if (bench->lmdb != NULL)
        RUN(bench, "LMDB", false, lmdb);
    if (bench->redis != NULL)
        RUN(bench, "Redis", true, redis);
}

static void run_near(struct bench *bench)
{
    struct contender hot[] = {{.name = "private hash", .run = hash_hot, .truth = truth_hot},
                              {.name = "permtab_peek", .run = peek_hot, .truth = truth_hot},
                              {.name = "permtab_check", .run = check_hot, .truth = truth_hot}};
    struct contender overlapped[] = {
        {.name = "private hash", .run = hash_hot_independent, .truth = truth_hot_independent},
        {.name = "permtab_peek", .run = peek_hot_independent, .truth = truth_hot_independent}};
    struct contender view[] = {
        {.name = "permtab_peek", .run = peek_hot_independent, .truth = truth_hot_independent},
        {.name = "permtab_view_has", .run = view_independent, .truth = truth_view},
        {.name = "permtab_view_has, dependent", .run = view_dependent, .truth = truth_view_dependent}};
    struct contender batch[] = {
        {.name = "single checks", .run = singles, .truth = truth_independent, .granule = BATCH_MOST},
        {.name = "check_many of 100", .run = many_100, .truth = truth_independent, .granule = 100},
        {.name = "check_many of 1000", .run = many_1000, .truth = truth_independent, .granule = 1000},
        {.name = "dependent checks", .run = peek_dependent, .truth = truth_dependent}};
    RUN(bench, "hot check", false, hot);
    RUN(bench, "hot check, independent", false, overlapped);
    RUN(bench, "view test", false, view);
    RUN(bench, "batch", false, batch);
}

/* ---- the world, and its end -------------------------------------------------------------------------------------- */

static void must(int code, const char *what)
{
    if (code < 0)
        bench_die("%s: %s", what, permtab_strerror(code));
}

static void open_table(struct bench *bench)
{
    const struct permtab_options options = {.size = sizeof options, .check_ms = 5000, .server_uid = -1};
    must(permtab_open(&bench->table, bench->world.path, &options), "permtab_open");
    must(permtab_scope_type(bench->table, "server", &bench->type), "server");
    must(permtab_scope_type(bench->table, "channel", &bench->folded_type), "channel");
    for (uint32_t bit = 0; bit < QUESTION_PERMISSIONS; bit++) {
        char name[WORLD_NAME_SIZE];
        world_permission_name(bit, name);
        must(permtab_permission(bench->table, name, &bench->permissions[bit]), name);
    }
    const struct permtab_shm_table *table = &permtab_geometry_of_(bench->table)->table;
    bench->lines = table->map;
    bench->line_count = table->map_buckets;
    uint64_t user = question_user(0);
    must(permtab_view_get(bench->table, user, permtab_at(bench->type, question_scope(user)), &bench->view),
         "view");
}

static void report_world(struct bench *bench)
{
    unsigned long huge, all;
    const struct world *world = &bench->world;
    world_huge_pages(world->segment.header, &huge, &all);
    measure_figure("huge pages", world->text, "writer's mapping",
                   all > 0 ? 100.0 * (double)huge / (double)all : 0, "percent");
    world_huge_pages(permtab_geometry_of_(bench->table)->table.header, &huge, &all);
    measure_figure("bytes an entry", world->text, "entry map", world_entry_bytes(world), "bytes");
    measure_figure("huge pages", world->text, "reader's mapping",
                   all > 0 ? 100.0 * (double)huge / (double)all : 0, "percent");
}

static void bench_run(struct bench *bench, const struct bench_options *options)
{
    world_start(&bench->world, &options->world);
    open_table(bench);
    rival_sets_init(&bench->sets, options->world.sets);
    rival_hash_init(&bench->hash, options->world.entries, &bench->sets, bench->world.segment.huge_pages);
    if (options->lmdb_folder != NULL)
        bench->lmdb = rival_lmdb_new(options->lmdb_folder, options->world.entries, &bench->sets);
    if (options->redis_socket != NULL)
        bench->redis = rival_redis_new(options->redis_socket, options->world.entries, &bench->sets);
    run_random(bench);
    run_rivals(bench);
    if (!options->world.folded)
        run_near(bench);
    report_world(bench); /* last: by then the mapping is in use */
    if (bench->redis != NULL)
        rival_redis_free(bench->redis);
    if (bench->lmdb != NULL)
        rival_lmdb_free(bench->lmdb);
    rival_hash_fini(&bench->hash);
    rival_sets_fini(&bench->sets);
    permtab_close(bench->table);
    world_stop(&bench->world);
}

static const char *text_after(int count, char **arguments, int *index)
{
    if (*index + 1 >= count)
        bench_die("%s needs a value", arguments[*index]);
    return arguments[++*index];
}

int main(int count, char **arguments)
{
    struct bench_options options = {.world = {.entries = 10000, .sets = 1000}};
    struct bench *bench = bench_memory(sizeof *bench);
    bench->measure = (struct measure){.rounds = 9, .slice_ns = 20000000};
    for (int i = 1; i < count; i++) {
        if (measure_option(&bench->measure, count, arguments, &i))
            continue;
        if (strcmp(arguments[i], "--entries") == 0)
            options.world.entries = measure_number(text_after(count, arguments, &i));
        else if (strcmp(arguments[i], "--sets") == 0)
            options.world.sets = (uint32_t)measure_number(text_after(count, arguments, &i));
        else if (strcmp(arguments[i], "--folded") == 0)
            options.world.folded = true;
        else if (strcmp(arguments[i], "--lmdb") == 0)
            options.lmdb_folder = text_after(count, arguments, &i);
        else if (strcmp(arguments[i], "--redis") == 0)
            options.redis_socket = text_after(count, arguments, &i);
        else
            bench_die(
                "usage: bench_check [--entries N] [--sets N] [--folded] [--lmdb FOLDER] [--redis SOCKET] "
                "[--rounds N] [--slice-ms N] [--check-only]");
    }
    if (options.world.entries < HOT_ENTRIES || options.world.entries > UINT32_MAX || options.world.sets == 0)
        bench_die("entries: %u to %u; sets: at least 1", HOT_ENTRIES, UINT32_MAX);
    bench_run(bench, &options);
    free(bench);
    return 0;
}
