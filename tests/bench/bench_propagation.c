/* Commit to effect: how long after a change another host's workers feel it, beside what a message alone takes.
 *
 * Four contenders take turns, one operation each a round:
 *
 *   publish    PUBLISH on one raw connection until a raw subscriber has the message
 *   by hand    the same DELETE over SQL, autocommitted, and then that PUBLISH: what an application does without permtab
 *   api        `unassign` on one sidecar until a worker of another host is not allowed any more
 *   sql        the DELETE alone, over SQL, by nobody that permtab knows; until the same
 *
 * Prints one line of JSON for each: microseconds from before the first byte was sent (begin) and, where somebody
 * acknowledges, from the acknowledgement (ack; negative when the effect came first). A worker looks every LOOK_NS:
 * were it to look without end it would take the processor from those that are timed.
 *
 *     bench_propagation REDIS-SOCKET CHANNEL STORE-URL WRITER-SOCKET OBSERVER-SOCKET… [--rounds N | --driven]
 *
 * --driven: a line "NAME COUNT PAUSE-MS" of one of the four (by_hand) on standard input is answered by BEGIN,ACK in
 * nanoseconds of each of COUNT rounds, so that a driver can change the world between two lines (warm_propagation.py).
 * Before each of them, when all is as it was, nothing is done for the pause. Without Redis its socket and the channel
 * are "-".
 *
 * The policy has role 2 at server:1, which alone allows message.delete, and user 1 has it. */
#include "client/channel.h"
#include "client/peer.h"
#include "client/permtab.h"
#include "proxy/store/sql.h"
#include "tests/bench/measure.h"
#include "tests/bench/raw.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define USER        1
#define ROLE        2
#define PATIENCE_NS 10000000000ull
#define LOOK_NS     50000
#define OBSERVERS   64

enum contender_kind { BY_PUBLISH, BY_HAND, BY_API, BY_SQL, CONTENDERS };
static const char *const names[CONTENDERS] = {"publish", "by hand", "api", "sql"};

struct samples {
    int64_t *begin, *ack; /* ns until the effect */
    size_t count;
};

struct observer {
    struct permtab *table;
    permtab_perm perm;
    permtab_scope scope;
};

struct bench {
    int publisher, subscriber; /* -1: there is no Redis */
    const char *channel;
    struct sql *sql;
    struct channel writer;
    struct observer observers[OBSERVERS];
    size_t observer_count;
    uint64_t pause_ms; /* before what is timed */
    struct samples samples[CONTENDERS];

    pthread_mutex_t mutex;
    pthread_cond_t condition;
    struct observer *watched; /* NULL: nothing to do; under the mutex */
    uint64_t seen_ns;
};

/* ---- Redis, raw -------------------------------------------------------------------------------------------------- */

/* Reads until `wanted` was read. Messages of the sidecars come before it, and after it. */
static void read_until(int descriptor, const char *wanted)
{
    char text[65536];
    size_t size = 0, length = strlen(wanted);
    while (memmem(text, size, wanted, length) == NULL) {
        if (size > sizeof text / 2) { /* it may begin at the end of this */
            memmove(text, text + size - length, length);
            size = length;
        }
        ssize_t got = read(descriptor, text + size, sizeof text - size);
        if (got <= 0)
            bench_die("Redis has gone");
        size += (size_t)got;
    }
}

static void publish_and_hear(struct bench *bench, unsigned number)
{
    char command[256], message[64];
    (void)snprintf(message, sizeof message, "round-%06u", number);
    (void)snprintf(command, sizeof command, "*3\r\n$7\r\nPUBLISH\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n",
                   strlen(bench->channel), bench->channel, strlen(message), message);
    (void)snprintf(message + strlen(message), 3, "\r\n");
    raw_write(bench->publisher, command, strlen(command));
    read_until(bench->subscriber, message);
    read_until(bench->publisher, "\r\n");
}

/* ---- a worker of another host ------------------------------------------------------------------------------------ */

static enum permtab_decision look(const struct observer *observer)
{
    return permtab_peek(observer->table, USER, observer->scope, observer->perm);
}

static void *watch(void *context)
{
    struct bench *bench = context;
    const struct timespec pause = {0, LOOK_NS};
    (void)prctl(PR_SET_TIMERSLACK, 1);
    pthread_mutex_lock(&bench->mutex);
    for (;;) {
        while (bench->watched == NULL)
            pthread_cond_wait(&bench->condition, &bench->mutex);
        struct observer *observer = bench->watched;
        pthread_mutex_unlock(&bench->mutex);
        uint64_t begun = measure_now_ns();
        while (look(observer) == PERMTAB_ALLOW) {
            if (measure_now_ns() - begun > PATIENCE_NS)
                bench_die("a change was not felt within 10 s");
            (void)nanosleep(&pause, NULL);
        }
        pthread_mutex_lock(&bench->mutex);
        bench->seen_ns = measure_now_ns();
        bench->watched = NULL;
        pthread_cond_broadcast(&bench->condition);
    }
    return NULL;
}

static void watch_begin(struct bench *bench, struct observer *observer)
{
    const struct timespec settled = {0, 2000000};
    pthread_mutex_lock(&bench->mutex);
    bench->watched = observer;
    pthread_cond_broadcast(&bench->condition);
    pthread_mutex_unlock(&bench->mutex);
    (void)nanosleep(&settled, NULL); /* it is looking by now */
}

static uint64_t watch_end(struct bench *bench)
{
    pthread_mutex_lock(&bench->mutex);
    while (bench->watched != NULL)
        pthread_cond_wait(&bench->condition, &bench->mutex);
    uint64_t seen = bench->seen_ns;
    pthread_mutex_unlock(&bench->mutex);
    return seen;
}

/* ---- changes ----------------------------------------------------------------------------------------------------- */

static void call(struct bench *bench, const char *method)
{
    struct wire_message reply;
    struct wire_buffer *out = channel_request(&bench->writer, method, 3);
    wire_str(out, "user");
    wire_u64(out, USER);
    wire_str(out, "role");
    wire_u64(out, ROLE);
    wire_str(out, "scope");
    wire_str(out, "server:1");
    int code = channel_call(&bench->writer, -1, channel_clock_ns() + PATIENCE_NS, &reply);
    if (code < 0)
        bench_die("%s: %s", method, reply.error_code != 0 ? reply.error_text : permtab_strerror(code));
    wire_message_fini(&reply);
}

static void hello(struct channel *channel, const char *path)
{
    struct wire_message reply;
    uint64_t deadline = channel_clock_ns() + PATIENCE_NS;
    if (channel_open(channel, path, PEER_ANY, deadline) < 0)
        bench_die("%s: cannot connect", path);
    struct wire_buffer *out = channel_request(channel, "hello", 3);
    wire_str(out, "protocol");
    wire_u64(out, WIRE_PROTOCOL);
    wire_str(out, "layout");
    wire_u64(out, 0);
    wire_str(out, "client");
    wire_str(out, "bench");
    if (channel_call(channel, -1, deadline, &reply) < 0)
        bench_die("%s: hello is refused", path);
    wire_message_fini(&reply);
}

static void delete_by_sql(struct bench *bench)
{
    struct failure failure = {0};
    struct sql_statement *statement =
        sql_prepare(bench->sql, "DELETE FROM permtab_assignment WHERE user_id = ? AND role_id = ?", &failure);
    if (statement != NULL) {
        sql_bind_u64(statement, 1, USER);
        sql_bind_u64(statement, 2, ROLE);
    }
    if (statement == NULL || sql_step(statement, &failure) < 0)
        bench_die("SQL: %s", failure.text);
    sql_reset(statement);
}

/* The user is allowed again, and the observer's table has it. */
static void restore(struct bench *bench, const struct observer *observer)
{
    const struct timespec pause = {0, 1000000};
    uint64_t begun = measure_now_ns();
    call(bench, "assign");
    while (permtab_check(observer->table, USER, observer->scope, observer->perm) != PERMTAB_ALLOW ||
           look(observer) != PERMTAB_ALLOW) {
        if (measure_now_ns() - begun > PATIENCE_NS)
            bench_die("the user was not allowed again within 10 s");
        (void)nanosleep(&pause, NULL);
    }
}

static void round_of(struct bench *bench, enum contender_kind kind, unsigned number)
{
    struct observer *observer = &bench->observers[number % bench->observer_count];
    struct samples *samples = &bench->samples[kind];
    bool felt = kind == BY_API || kind == BY_SQL;
    restore(bench, observer);
    if (bench->pause_ms > 0)
        (void)usleep((useconds_t)bench->pause_ms * 1000);
    if (felt)
        watch_begin(bench, observer);
    uint64_t begun = measure_now_ns();
    switch (kind) {
    case BY_API:
        call(bench, "unassign");
        break;
    case BY_SQL:
    case BY_HAND:
        delete_by_sql(bench);
        break;
    case BY_PUBLISH:
    case CONTENDERS:
        break;
    }
    uint64_t acknowledged = measure_now_ns();
    if (!felt)
        publish_and_hear(bench, number);
    uint64_t seen = felt ? watch_end(bench) : measure_now_ns();
    samples->begin[samples->count] = (int64_t)(seen - begun);
    samples->ack[samples->count] = (int64_t)(seen - acknowledged);
    samples->count++;
}

/* ---- the whole --------------------------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return left < right ? -1 : left > right;
}

static double at(int64_t *values, size_t count, double part)
{
    size_t index = (size_t)((double)count * part);
    qsort(values, count, sizeof *values, compare);
    return (double)values[index < count ? index : count - 1] / 1000;
}

static void report(struct bench *bench)
{
    for (int kind = 0; kind < CONTENDERS; kind++) {
        struct samples *samples = &bench->samples[kind];
        printf("{\"contest\": \"propagation\", \"hosts\": %zu, \"name\": \"%s\", \"rounds\": %zu, "
               "\"begin_p50_us\": %.0f, "
               "\"begin_p99_us\": %.0f, \"ack_p50_us\": %.0f, \"ack_p99_us\": %.0f}\n",
               bench->observer_count + 1, names[kind], samples->count,
               at(samples->begin, samples->count, 0.5), at(samples->begin, samples->count, 0.99),
               at(samples->ack, samples->count, 0.5), at(samples->ack, samples->count, 0.99));
    }
}

static void open_observer(struct bench *bench, const char *path)
{
    struct permtab_options options = {
        .size = sizeof options, .open_ms = 10000, .check_ms = 5000, .server_uid = -1};
    struct observer *observer = &bench->observers[bench->observer_count];
    permtab_type type;
    if (bench->observer_count == OBSERVERS)
        bench_die("at most %d observers", OBSERVERS);
    int code = permtab_open(&observer->table, path, &options);
    if (code == 0)
        code = permtab_permission(observer->table, "message.delete", &observer->perm);
    if (code == 0)
        code = permtab_scope_type(observer->table, "server", &type);
    if (code < 0)
        bench_die("%s: %s", path, permtab_strerror(code));
    observer->scope = permtab_at(type, 1);
    bench->observer_count++;
}

static void connect_redis(struct bench *bench, const char *path, const char *channel)
{
    char command[256];
    bench->publisher = bench->subscriber = -1;
    bench->channel = channel;
    if (strcmp(path, "-") == 0)
        return;
    bench->publisher = raw_connect(path);
    bench->subscriber = raw_connect(path);
    (void)snprintf(command, sizeof command, "*2\r\n$9\r\nSUBSCRIBE\r\n$%zu\r\n%s\r\n", strlen(channel), channel);
    raw_write(bench->subscriber, command, strlen(command));
    read_until(bench->subscriber, ":1\r\n");
}

static void prepare(struct bench *bench, char **words, size_t rounds)
{
    struct failure failure = {0};
    struct sql_options options = {.url = words[2]};
    pthread_t thread;
    connect_redis(bench, words[0], words[1]);
    if (sql_connect(&bench->sql, &options, &failure) < 0)
        bench_die("%s", failure.text);
    hello(&bench->writer, words[3]);
    for (int kind = 0; kind < CONTENDERS; kind++) {
        bench->samples[kind].begin = bench_memory(rounds * sizeof(int64_t));
        bench->samples[kind].ack = bench_memory(rounds * sizeof(int64_t));
    }
    pthread_mutex_init(&bench->mutex, NULL);
    pthread_cond_init(&bench->condition, NULL);
    if (pthread_create(&thread, NULL, watch, bench) != 0)
        bench_die("no thread");
    (void)pthread_detach(thread);
}

static int kind_of(const char *name)
{
    static const char *const words[CONTENDERS] = {"publish", "by_hand", "api", "sql"};
    int kind = 0;
    while (kind < CONTENDERS && strcmp(words[kind], name) != 0)
        kind++;
    return kind;
}

/* Rounds as a driver wants them, until there are no more lines. `most` of them in a line. */
static void be_driven(struct bench *bench, size_t most)
{
    char name[16];
    uint64_t wanted;
    unsigned number = 0;
    while (scanf("%15s %" SCNu64 " %" SCNu64, name, &wanted, &bench->pause_ms) == 3) {
        int kind = kind_of(name);
        if (kind == CONTENDERS || (kind <= BY_HAND && bench->publisher < 0) || wanted == 0 || wanted > most ||
            bench->pause_ms > 1000)
            bench_die("not a contender, a number up to %zu and a pause: %s %" PRIu64 " %" PRIu64, most, name, wanted,
                      bench->pause_ms);
        struct samples *samples = &bench->samples[kind];
        samples->count = 0;
        while (samples->count < wanted)
            round_of(bench, (enum contender_kind)kind, number++);
        for (size_t i = 0; i < samples->count; i++)
            (void)printf("%lld,%lld%c", (long long)samples->begin[i], (long long)samples->ack[i],
                         i + 1 < samples->count ? ' ' : '\n');
        (void)fflush(stdout);
    }
}

int main(int count, char **arguments)
{
    static struct bench bench;
    struct measure measure = {.rounds = 200};
    char *words[OBSERVERS + 4];
    int word_count = 0;
    bool driven = false;
    for (int i = 1; i < count; i++) {
        if (strcmp(arguments[i], "--driven") == 0) {
            driven = true;
            continue;
        }
        if (measure_option(&measure, count, arguments, &i))
            continue;
        if (word_count == OBSERVERS + 4)
            bench_die("too many words");
        words[word_count++] = arguments[i];
    }
    if (word_count < 5)
        bench_die("usage: bench_propagation REDIS-SOCKET CHANNEL STORE-URL WRITER-SOCKET OBSERVER-SOCKET… "
                  "[--rounds N | --driven]");
    prepare(&bench, words, measure.rounds);
    for (int i = 4; i < word_count; i++)
        open_observer(&bench, words[i]);
    if (driven) {
        be_driven(&bench, measure.rounds);
        return 0;
    }
    for (unsigned number = 0; number < measure.rounds; number++)
        for (int kind = 0; kind < CONTENDERS; kind++)
            round_of(&bench, (enum contender_kind)kind, number);
    report(&bench);
    return 0; /* the thread that watches ends with the process */
}
