/* A miss: a check of a key that is not in the table, which permtabd reads from its store, resolves and publishes,
 * beside a raw round trip over a Unix socket with messages of the same size. The same in lists of a hundred: a
 * hundredth of each. Also the same check of a key that is resident, asked over the socket as a client with another
 * table layout would: what the sidecar costs without a store.
 *
 * Needs a running permtabd (the driver starts one over SQLite) whose policy allows "message.send" to everybody at
 * server:1. */
#include "client/permtab.h"
#include "tests/bench/measure.h"
#include "tests/bench/raw.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct bench {
    struct measure measure;
    struct permtab *table, *remote; /* remote: without the shared memory */
    permtab_perm perm, remote_perm;
    permtab_scope scope, remote_scope;
    uint64_t next_user;
    int echo;
};

static uint64_t round_trips(void *context, uint64_t seed, uint64_t count)
{
    const struct bench *bench = context;
    (void)seed;
    for (uint64_t done = 0; done < count; done++)
        raw_round_trip(bench->echo);
    return count;
}

/* Every user is a new one: users need no row, and the default role answers. */
static uint64_t cold(void *context, uint64_t seed, uint64_t count)
{
    struct bench *bench = context;
    uint64_t allowed = 0;
    (void)seed;
    for (uint64_t done = 0; done < count; done++)
        allowed +=
            (uint64_t)(int64_t)permtab_check(bench->table, bench->next_user++, bench->scope, bench->perm);
    return allowed;
}

#define LIST 100u

static uint64_t cold_list(void *context, uint64_t seed, uint64_t count)
{
    struct bench *bench = context;
    struct permtab_query queries[LIST];
    enum permtab_decision decisions[LIST];
    uint64_t allowed = 0;
    (void)seed;
    for (uint64_t done = 0; done < count; done += LIST) {
        memset(queries, 0, sizeof queries);
        for (unsigned i = 0; i < LIST; i++) {
            queries[i].user = bench->next_user++;
            queries[i].scope = bench->scope;
            queries[i].perm = bench->perm;
        }
        if (permtab_check_many(bench->table, queries, LIST, decisions) < 0)
            bench_die("check_many: %s", permtab_strerror(permtab_why(bench->table)));
        for (unsigned i = 0; i < LIST; i++)
            allowed += decisions[i] == PERMTAB_ALLOW;
    }
    return allowed;
}

static uint64_t resident_over_socket(void *context, uint64_t seed, uint64_t count)
{
    struct bench *bench = context;
    uint64_t allowed = 0;
    (void)seed;
    for (uint64_t done = 0; done < count; done++)
        allowed +=
            (uint64_t)(int64_t)permtab_check(bench->remote, 1, bench->remote_scope, bench->remote_perm);
    return allowed;
}

static uint64_t resident(void *context, uint64_t seed, uint64_t count)
{
    struct bench *bench = context;
    uint64_t allowed = 0;
    (void)seed;
    for (uint64_t done = 0; done < count; done++)
        allowed += (uint64_t)(int64_t)permtab_check(bench->table, 1, bench->scope, bench->perm);
    return allowed;
}

static uint64_t everybody(void *context, uint64_t seed, uint64_t count)
{
    (void)context;
    (void)seed;
    return count;
}

static void open_one(struct permtab **table, const char *path, uint32_t layout, permtab_perm *perm,
                     permtab_scope *scope)
{
    const struct permtab_options options = {.size = sizeof options, .check_ms = 10000, .server_uid = -1};
    permtab_type type;
    int code = permtab_open_(table, path, &options, layout);
    if (code == 0)
        code = permtab_permission(*table, "message.send", perm);
    if (code == 0)
        code = permtab_scope_type(*table, "server", &type);
    if (code < 0)
        bench_die("%s: %s", path, permtab_strerror(code));
    *scope = permtab_at(type, 1);
}

int main(int count, char **arguments)
{
    struct bench bench = {.measure = {.rounds = 9, .slice_ns = 50000000}, .next_user = 1000000};
    const char *path = NULL;
    for (int i = 1; i < count; i++) {
        if (measure_option(&bench.measure, count, arguments, &i))
            continue;
        if (path != NULL || arguments[i][0] == '-')
            bench_die("usage: bench_miss SOCKET [--rounds N] [--slice-ms N] [--check-only]");
        path = arguments[i];
    }
    if (path == NULL)
        bench_die("usage: bench_miss SOCKET [--rounds N] [--slice-ms N] [--check-only]");
    open_one(&bench.table, path, PERMTAB_SHM_LAYOUT, &bench.perm, &bench.scope);
    open_one(&bench.remote, path, PERMTAB_SHM_LAYOUT + 1, &bench.remote_perm, &bench.remote_scope);
    if (permtab_check(bench.table, 1, bench.scope, bench.perm) != PERMTAB_ALLOW)
        bench_die("user 1 is not allowed to send: %s", permtab_strerror(permtab_why(bench.table)));
    pid_t echo = raw_echo_start(&bench.echo);
    struct contender contenders[] = {
        {.name = "raw round trip", .run = round_trips, .truth = everybody, .context = &bench},
        {.name = "miss", .run = cold, .truth = everybody, .context = &bench},
        {.name = "miss, in check_many of 100",
         .run = cold_list,
         .truth = everybody,
         .context = &bench,
         .granule = LIST},
        {.name = "resident, over the socket",
         .run = resident_over_socket,
         .truth = everybody,
         .context = &bench},
        {.name = "resident, from the table", .run = resident, .truth = everybody, .context = &bench}};
    struct contest contest = {.title = "miss",
                              .world = "SQLite",
                              .waits = true,
                              .contenders = contenders,
                              .count = sizeof contenders / sizeof contenders[0]};
    measure_contest(&bench.measure, &contest);
    (void)close(bench.echo);
    (void)waitpid(echo, NULL, 0);
    permtab_close(bench.remote);
    permtab_close(bench.table);
    return 0;
}
