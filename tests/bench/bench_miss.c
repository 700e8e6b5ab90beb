/* A miss: a check of a key that is not in the table, which permtabd reads from its store, resolves and publishes,
 * beside a raw round trip over a Unix socket with messages of the same size. The same in lists of a hundred: a
 * hundredth of each. Also the same check of a key that is resident, asked over the socket as a client with another
 * table layout would: what the sidecar costs without a store.
 *
 * Needs a running permtabd (the driver starts one over SQLite) whose policy allows "message.send" to everybody at
 * server:1.
 *
 * With --store URL a single miss is compared with what its one statement is made of: a prepared SELECT by primary key,
 * of the same user's assignment, on one connection to the same server. Users have role 2 at server:1 and are each asked
 * about once, from 1000000 on (miss.py). */
#include "client/permtab.h"
#include "proxy/store/sql.h"
#include "tests/bench/measure.h"
#include "tests/bench/raw.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define USAGE "usage: bench_miss SOCKET [--store URL] [--rounds N] [--slice-ms N] [--check-only]"

struct bench {
    struct measure measure;
    struct permtab *table, *remote; /* remote: without the shared memory */
    permtab_perm perm, remote_perm;
    permtab_scope scope, remote_scope;
    uint64_t next_user;
    struct sql *sql;
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

static uint64_t selects(void *context, uint64_t seed, uint64_t count)
{
    static const char text[] = "SELECT role_id FROM permtab_assignment"
                               " WHERE user_id = ? AND role_id = 2 AND scope_type = 1 AND scope_id = 1";
    const struct bench *bench = context;
    struct failure failure = {0};
    uint64_t found = 0;
    (void)seed;
    for (uint64_t done = 0; done < count; done++) {
        uint64_t role = 0;
        struct sql_statement *statement = sql_prepare(bench->sql, text, &failure);
        sql_bind_u64(statement, 1, bench->next_user + done);
        if (sql_number(statement, &role, &failure) < 0)
            bench_die("SQL: %s", failure.text);
        found += role == 2;
    }
    return found;
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
    int code = permtab_open_(table, path, &options, PERMTAB_VERSIONS_(layout));
    if (code == 0)
        code = permtab_permission(*table, "message.send", perm);
    if (code == 0)
        code = permtab_scope_type(*table, "server", &type);
    if (code < 0)
        bench_die("%s: %s", path, permtab_strerror(code));
    *scope = permtab_at(type, 1);
}

static void beside_a_select(struct bench *bench, const char *url)
{
    struct failure failure = {0};
    const struct sql_options options = {.url = url, .read_only = true};
    if (sql_connect(&bench->sql, &options, &failure) < 0)
        bench_die("%s", failure.text);
    struct contender contenders[] = {
        {.name = "prepared SELECT by key", .run = selects, .truth = everybody, .context = bench},
        {.name = "miss", .run = cold, .truth = everybody, .context = bench}};
    struct contest contest = {
        .title = "miss beside SQL", .world = "MariaDB", .waits = true, .contenders = contenders, .count = 2};
    measure_contest(&bench->measure, &contest);
    sql_close(bench->sql);
}

static void beside_a_round_trip(struct bench *bench, const char *path)
{
    open_one(&bench->remote, path, PERMTAB_SHM_LAYOUT + 1, &bench->remote_perm, &bench->remote_scope);
    pid_t echo = raw_echo_start(&bench->echo);
    struct contender contenders[] = {
        {.name = "raw round trip", .run = round_trips, .truth = everybody, .context = bench},
        {.name = "miss", .run = cold, .truth = everybody, .context = bench},
        {.name = "miss, in check_many of 100",
         .run = cold_list,
         .truth = everybody,
         .context = bench,
         .granule = LIST},
        {.name = "resident, over the socket",
         .run = resident_over_socket,
         .truth = everybody,
         .context = bench},
        {.name = "resident, from the table", .run = resident, .truth = everybody, .context = bench}};
    struct contest contest = {.title = "miss",
                              .world = "SQLite",
                              .waits = true,
                              .contenders = contenders,
                              .count = sizeof contenders / sizeof contenders[0]};
    measure_contest(&bench->measure, &contest);
    (void)close(bench->echo);
    (void)waitpid(echo, NULL, 0);
    permtab_close(bench->remote);
}

int main(int count, char **arguments)
{
    struct bench bench = {.measure = {.rounds = 9, .slice_ns = 50000000}, .next_user = 1000000};
    const char *path = NULL, *store = NULL;
    for (int i = 1; i < count; i++) {
        if (measure_option(&bench.measure, count, arguments, &i))
            continue;
        if (strcmp(arguments[i], "--store") == 0 && i + 1 < count)
            store = arguments[++i];
        else if (path != NULL || arguments[i][0] == '-')
            bench_die(USAGE);
        else
            path = arguments[i];
    }
    if (path == NULL)
        bench_die(USAGE);
    open_one(&bench.table, path, PERMTAB_SHM_LAYOUT, &bench.perm, &bench.scope);
    if (permtab_check(bench.table, 1, bench.scope, bench.perm) != PERMTAB_ALLOW)
        bench_die("user 1 is not allowed to send: %s", permtab_strerror(permtab_why(bench.table)));
    if (store != NULL)
        beside_a_select(&bench, store);
    else
        beside_a_round_trip(&bench, path);
    permtab_close(bench.table);
    return 0;
}
