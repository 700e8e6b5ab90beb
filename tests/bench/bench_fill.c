/* A miss answered from L2, and from the store, beside a raw round trip over a Unix socket plus a raw GET of Redis; and
 * check_many of 100 misses, likewise. Interleaved, one of each a round.
 *
 * Users FIRST … have a role of their own at server:1. The warm half of them has been asked for on another host, so
 * their values are in L2; the cold half has not. Each user is asked for once here, so each is a miss of this host's
 * table.
 *
 *     bench_fill REDIS-SOCKET WARMED-SOCKET SOCKET FIRST COUNT [--rounds N]
 *
 * COUNT users: two in each round for the single checks, and two hundred for the lists. */
#include "client/permtab.h"
#include "tests/bench/measure.h"
#include "tests/bench/raw.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LIST 100u

enum contender_kind { RAW, FROM_L2, FROM_L3, LIST_L2, LIST_L3, CONTENDERS };
static const char *const names[CONTENDERS] = {"raw round trip + raw GET", "miss from L2",
                                              "miss from the store", "check_many of 100, L2",
                                              "check_many of 100, store"};

struct host {
    struct permtab *table;
    permtab_perm perm;
    permtab_scope scope;
};

struct bench {
    struct host warmed, asked;
    int echo, redis;
    uint64_t warm, cold; /* the next user of each half */
    int64_t *samples[CONTENDERS];
};

/* ---- raw --------------------------------------------------------------------------------------------------------- */

static int connect_redis(const char *path)
{
    static const char set[] =
        "*3\r\n$3\r\nSET\r\n$9\r\nbench:key\r\n$43\r\n0123456789012345678901234567890123456789012\r\n";
    char reply[5];
    int descriptor = raw_connect(path);
    raw_write(descriptor, set, sizeof set - 1);
    raw_read(descriptor, reply, sizeof reply);
    return descriptor;
}

static void raw(const struct bench *bench)
{
    static const char get[] = "*2\r\n$3\r\nGET\r\n$9\r\nbench:key\r\n";
    char value[5 + RAW_REPLY_SIZE + 2];
    raw_round_trip(bench->echo);
    raw_write(bench->redis, get, sizeof get - 1);
    raw_read(bench->redis, value, sizeof value);
}

/* ---- permtab ----------------------------------------------------------------------------------------------------- */

static void check_one(const struct host *host, uint64_t user)
{
    if (permtab_check(host->table, user, host->scope, host->perm) != PERMTAB_ALLOW)
        bench_die("user %llu is not allowed: %s", (unsigned long long)user,
                  permtab_strerror(permtab_why(host->table)));
}

static void check_list(const struct host *host, uint64_t first)
{
    struct permtab_query queries[LIST];
    enum permtab_decision decisions[LIST];
    memset(queries, 0, sizeof queries);
    for (unsigned i = 0; i < LIST; i++) {
        queries[i].user = first + i;
        queries[i].scope = host->scope;
        queries[i].perm = host->perm;
    }
    if (permtab_check_many(host->table, queries, LIST, decisions) < 0)
        bench_die("check_many: %s", permtab_strerror(permtab_why(host->table)));
    for (unsigned i = 0; i < LIST; i++)
        if (decisions[i] != PERMTAB_ALLOW)
            bench_die("user %llu of a list is not allowed", (unsigned long long)(first + i));
}

static uint64_t take(uint64_t *from, uint64_t count)
{
    uint64_t first = *from;
    *from += count;
    return first;
}

static void run(struct bench *bench, enum contender_kind kind)
{
    switch (kind) {
    case RAW:
        raw(bench);
        return;
    case FROM_L2:
        check_one(&bench->asked, take(&bench->warm, 1));
        return;
    case FROM_L3:
        check_one(&bench->asked, take(&bench->cold, 1));
        return;
    case LIST_L2:
        check_list(&bench->asked, take(&bench->warm, LIST));
        return;
    case LIST_L3:
        check_list(&bench->asked, take(&bench->cold, LIST));
        return;
    case CONTENDERS:
        return;
    }
}

static void open_host(struct host *host, const char *path)
{
    const struct permtab_options options = {.size = sizeof options, .check_ms = 10000, .server_uid = -1};
    permtab_type type;
    int code = permtab_open(&host->table, path, &options);
    if (code == 0)
        code = permtab_permission(host->table, "message.send", &host->perm);
    if (code == 0)
        code = permtab_scope_type(host->table, "server", &type);
    if (code < 0)
        bench_die("%s: %s", path, permtab_strerror(code));
    host->scope = permtab_at(type, 1);
}

static int compare(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return left < right ? -1 : left > right;
}

int main(int count, char **arguments)
{
    struct bench bench = {0};
    struct measure measure = {.rounds = 200};
    char *words[5];
    int word_count = 0;
    for (int i = 1; i < count; i++) {
        if (measure_option(&measure, count, arguments, &i))
            continue;
        if (word_count < 5)
            words[word_count] = arguments[i];
        word_count++;
    }
    if (word_count != 5)
        bench_die("usage: bench_fill REDIS-SOCKET WARMED-SOCKET SOCKET FIRST COUNT [--rounds N]");
    uint64_t first = measure_number(words[3]), half = measure_number(words[4]) / 2, rounds = measure.rounds;
    if (half < (rounds + 1) * (LIST + 1))
        bench_die("%u rounds take %llu users", measure.rounds,
                  (unsigned long long)(2 * (rounds + 1) * (LIST + 1)));
    open_host(&bench.warmed, words[1]);
    open_host(&bench.asked, words[2]);
    bench.redis = connect_redis(words[0]);
    (void)raw_echo_start(&bench.echo);
    bench.warm = first;
    bench.cold = first + half;
    for (uint64_t i = 0; i < (rounds + 1) * (LIST + 1); i++)
        check_one(&bench.warmed, first + i);
    (void)sleep(1); /* what was put has arrived */
    for (int kind = 0; kind < CONTENDERS; kind++) {
        bench.samples[kind] = bench_memory(rounds * sizeof(int64_t));
        run(&bench, (enum contender_kind)kind); /* once untimed: connections, roles */
    }
    for (uint64_t round = 0; round < rounds; round++) {
        for (int kind = 0; kind < CONTENDERS; kind++) {
            uint64_t begun = measure_now_ns();
            run(&bench, (enum contender_kind)kind);
            bench.samples[kind][round] = (int64_t)(measure_now_ns() - begun);
        }
    }
    for (int kind = 0; kind < CONTENDERS; kind++) {
        int64_t *samples = bench.samples[kind];
        qsort(samples, rounds, sizeof *samples, compare);
        printf(
            "{\"contest\": \"fill\", \"name\": \"%s\", \"rounds\": %u, \"p50_us\": %.1f, \"p99_us\": %.1f}\n",
            names[kind], measure.rounds, (double)samples[rounds / 2] / 1000,
            (double)samples[rounds * 99 / 100] / 1000);
    }
    permtab_close(bench.asked.table);
    permtab_close(bench.warmed.table);
    return 0;
}
