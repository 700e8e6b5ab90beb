/* Many processes that ask for different users at the same moment, for tests/e2e/ordeal.py and test_misses.py.
 *
 *     e2e_stampede SOCKET CLIENTS QUESTIONS PLACES HOW CHECK_MS CALM_US
 *
 * prints "waiting" when all processes are there. They wait at a gate, all at the same pipe. Commands on stdin:
 *
 *     open     all open the table at once; the figures when all have, "name=number" each
 *     ask      each asks for QUESTIONS users whom nobody else asks for, all at once; "asking" when all have begun, and
 *              the figures when all are done
 *     end
 *
 * HOW is single (one permtab_check after the other) or many (one permtab_check_many). Client N, from 0, asks for the
 * users N * QUESTIONS + 1 to (N + 1) * QUESTIONS. User U is asked about at channel 1 + U % PLACES, where message.send
 * is allowed when U / PLACES is even, and denied when it is odd.
 *
 * One more process is calm: from `open` on it asks for one user every CALM_US, in permtab_check, who comes after all
 * of these. Its figures are those before `ask`, and those until all were done. */
#include "tests/e2e/asker.h"
#include "tests/e2e/moments.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define OPEN_MS  5000u  /* the library's own default */
#define CALM_MAX 20000u /* questions of the calm client */

/* What one client did. Only that client writes it. */
struct client {
    uint64_t opened_ns, ended_ns;
    uint32_t unknown, wrong;
    int64_t why; /* of an UNKNOWN, or of a table that could not be opened */
};

struct calm_wait {
    uint64_t begun_ns, ended_ns;
};

struct shared {
    uint32_t at_gate, opened, failed, asking, ended, left; /* clients */
    uint32_t seen, least; /* when a quarter of them had all answers: how many there were, and of each client at least */
    uint64_t opened_ns; /* all */
    uint32_t calm_count, calm_unknown, calm_wrong;
    int64_t calm_why;
    struct calm_wait calm[CALM_MAX];
    struct client clients[];
};

struct stampede {
    const char *socket;
    uint32_t clients, questions, places, check_ms, calm_us;
    bool many;
    struct shared *shared;
    uint32_t *waits_us; /* of each question, client by client; of check_many one a client */
    int open_gate[2], ask_gate[2];
    pid_t *children; /* the last one is calm */
};

static enum permtab_decision truth(const struct stampede *stampede, uint64_t user)
{
    return user / stampede->places % 2 == 0 ? PERMTAB_ALLOW : PERMTAB_DENY;
}

static permtab_scope place_of(const struct stampede *stampede, const struct asker *asker, uint64_t user)
{
    return permtab_at(asker->type, 1 + user % stampede->places);
}

static uint32_t count(uint32_t *number)
{
    return __atomic_add_fetch(number, 1, __ATOMIC_RELAXED);
}

static uint32_t read_count(const uint32_t *number)
{
    return __atomic_load_n(number, __ATOMIC_ACQUIRE);
}

/* ---- a client ---------------------------------------------------------------------------------------------------- */

/* Until the other end of the pipe is closed, which everybody sees at once. */
static void wait_at(const int gate[2])
{
    char byte;
    while (read(gate[0], &byte, 1) < 0)
        ;
}

static void judge(const struct stampede *stampede, struct client *client, const struct asker *asker, uint64_t user,
                  enum permtab_decision decision)
{
    if (decision == PERMTAB_UNKNOWN) {
        client->unknown++;
        client->why = permtab_why(asker->table);
    } else if (decision != truth(stampede, user)) {
        client->wrong++;
    }
}

static void ask_single(const struct stampede *stampede, struct client *client, const struct asker *asker,
                       uint64_t first, uint32_t *waits_us)
{
    for (uint32_t i = 0; i < stampede->questions; i++) {
        uint64_t begun = now_ns();
        enum permtab_decision decision =
            permtab_check(asker->table, first + i, place_of(stampede, asker, first + i), asker->send);
        waits_us[i] = (uint32_t)((now_ns() - begun) / 1000);
        judge(stampede, client, asker, first + i, decision);
    }
}

static void ask_many(const struct stampede *stampede, struct client *client, const struct asker *asker, uint64_t first,
                     uint32_t *waits_us)
{
    struct permtab_query *queries = calloc(stampede->questions, sizeof *queries);
    enum permtab_decision *decisions = calloc(stampede->questions, sizeof *decisions);
    if (queries == NULL || decisions == NULL)
        _exit(1);
    for (uint32_t i = 0; i < stampede->questions; i++)
        queries[i] = (struct permtab_query){first + i, 0, place_of(stampede, asker, first + i), asker->send, false};
    uint64_t begun = now_ns();
    int known = permtab_check_many(asker->table, queries, stampede->questions, decisions);
    waits_us[0] = (uint32_t)((now_ns() - begun) / 1000);
    for (uint32_t i = 0; i < stampede->questions; i++)
        judge(stampede, client, asker, first + i, known < 0 ? PERMTAB_UNKNOWN : decisions[i]);
    free(queries);
    free(decisions);
}

/* How far all clients are when a quarter of them is done: the table has what was answered. (The very first may have
 * been done before others had begun.) */
static void count_answers(const struct stampede *stampede, const struct asker *asker)
{
    struct shared *shared = stampede->shared;
    uint32_t least = UINT32_MAX, seen = 0;
    for (uint32_t client = 0; client < stampede->clients; client++) {
        uint32_t answered = 0;
        for (uint32_t i = 0; i < stampede->questions; i++) {
            uint64_t user = (uint64_t)client * stampede->questions + i + 1;
            answered += permtab_peek(asker->table, user, place_of(stampede, asker, user), asker->send) !=
                        PERMTAB_UNKNOWN;
        }
        seen += answered;
        least = answered < least ? answered : least;
    }
    shared->seen = seen;
    shared->least = least;
}

static void open_table(const struct stampede *stampede, struct asker *asker, struct client *client)
{
    struct shared *shared = stampede->shared;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    close(stampede->open_gate[1]);
    close(stampede->ask_gate[1]);
    (void)count(&shared->at_gate);
    wait_at(stampede->open_gate);
    int code = asker_open(asker, stampede->socket, "channel", OPEN_MS, stampede->check_ms);
    client->opened_ns = now_ns();
    client->why = code;
    (void)count(code < 0 ? &shared->failed : &shared->opened);
    if (code < 0)
        _exit(1);
}

static void live(const struct stampede *stampede, uint32_t number)
{
    struct shared *shared = stampede->shared;
    struct client *client = &shared->clients[number];
    struct asker asker;
    uint64_t first = (uint64_t)number * stampede->questions + 1;
    uint32_t *waits_us = stampede->waits_us + (size_t)number * stampede->questions;
    open_table(stampede, &asker, client);
    wait_at(stampede->ask_gate);
    (void)count(&shared->asking);
    (stampede->many ? ask_many : ask_single)(stampede, client, &asker, first, waits_us);
    client->ended_ns = now_ns();
    if (__atomic_add_fetch(&shared->ended, 1, __ATOMIC_ACQ_REL) == (stampede->clients + 3) / 4)
        count_answers(stampede, &asker);
    (void)__atomic_add_fetch(&shared->left, 1, __ATOMIC_RELEASE);
    permtab_close(asker.table);
    _exit(0);
}

static void live_calmly(const struct stampede *stampede)
{
    struct shared *shared = stampede->shared;
    struct client client = {0};
    struct asker asker;
    uint64_t user = (uint64_t)stampede->clients * stampede->questions + 1, due;
    open_table(stampede, &asker, &client);
    due = now_ns();
    for (uint32_t i = 0; i < CALM_MAX; i++, user++, due += stampede->calm_us * 1000ull) {
        sleep_until(due);
        shared->calm[i].begun_ns = now_ns();
        enum permtab_decision decision =
            permtab_check(asker.table, user, place_of(stampede, &asker, user), asker.send);
        shared->calm[i].ended_ns = now_ns();
        judge(stampede, &client, &asker, user, decision);
        shared->calm_unknown = client.unknown;
        shared->calm_wrong = client.wrong;
        shared->calm_why = client.why;
        __atomic_store_n(&shared->calm_count, i + 1, __ATOMIC_RELEASE);
        if (now_ns() > due) /* who was kept waiting does not catch up */
            due = now_ns();
    }
    for (;;)
        pause();
}

/* ---- all of them ------------------------------------------------------------------------------------------------- */

static int begin(struct stampede *stampede)
{
    for (uint32_t number = 0; number <= stampede->clients; number++) {
        pid_t child = fork();
        if (child == 0 && number < stampede->clients)
            live(stampede, number);
        if (child == 0)
            live_calmly(stampede);
        if (child < 0) {
            perror("stampede: fork");
            return -1;
        }
        stampede->children[number] = child;
    }
    while (read_count(&stampede->shared->at_gate) <= stampede->clients)
        sleep_until(now_ns() + 1000000);
    return 0;
}

static void end(const struct stampede *stampede)
{
    for (uint32_t number = 0; number <= stampede->clients; number++) {
        if (stampede->children[number] > 0) {
            (void)kill(stampede->children[number], SIGKILL);
            (void)waitpid(stampede->children[number], NULL, 0);
        }
    }
}

static int compare(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

static uint64_t part_of(const uint64_t *sorted, size_t count, size_t percent)
{
    size_t at = count * percent / 100;
    return count == 0 ? 0 : sorted[at < count ? at : count - 1];
}

static void print_times(const char *name, uint64_t *times, size_t count)
{
    qsort(times, count, sizeof *times, compare);
    printf(" %s_count=%zu %s_min_us=%" PRIu64 " %s_p50_us=%" PRIu64 " %s_p99_us=%" PRIu64 " %s_max_us=%" PRIu64, name,
           count, name, part_of(times, count, 0), name, part_of(times, count, 50), name, part_of(times, count, 99),
           name, part_of(times, count, 100));
}

/* The calm client's waits that began in that time. */
static void print_calm(const struct stampede *stampede, const char *name, uint64_t from_ns, uint64_t until_ns,
                       uint64_t *times)
{
    const struct shared *shared = stampede->shared;
    uint32_t have = read_count(&shared->calm_count);
    size_t some = 0;
    for (uint32_t i = 0; i < have; i++)
        if (shared->calm[i].begun_ns >= from_ns && shared->calm[i].begun_ns < until_ns)
            times[some++] = (shared->calm[i].ended_ns - shared->calm[i].begun_ns) / 1000;
    print_times(name, times, some);
}

static void open_all(const struct stampede *stampede, uint64_t *times)
{
    struct shared *shared = stampede->shared;
    uint64_t begun = now_ns();
    size_t opened = 0;
    int64_t why = 0;
    close(stampede->open_gate[1]);
    while (read_count(&shared->opened) + read_count(&shared->failed) <= stampede->clients)
        sleep_until(now_ns() + 1000000);
    shared->opened_ns = now_ns();
    for (uint32_t number = 0; number < stampede->clients; number++) {
        const struct client *client = &shared->clients[number];
        if (client->why == 0)
            times[opened++] = (client->opened_ns - begun) / 1000;
        else
            why = client->why;
    }
    printf("failed=%" PRIu32 " why=%" PRId64, shared->failed, why);
    print_times("open", times, opened);
    printf("\n");
}

/* (sum)^2 / (n * sum of squares), in thousandths: 1000 when all took equally long. */
static uint64_t jain(const uint64_t *times, size_t count)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < count; i++) {
        sum += (double)times[i];
        squares += (double)times[i] * (double)times[i];
    }
    return squares > 0 ? (uint64_t)(1000 * sum * sum / ((double)count * squares)) : 1000;
}

static void print_clients(const struct stampede *stampede, uint64_t begun, uint64_t last, uint64_t *times)
{
    const struct shared *shared = stampede->shared;
    uint64_t unknown = 0, wrong = 0;
    int64_t why = 0;
    size_t waits = stampede->many ? 1 : stampede->questions;
    for (uint32_t number = 0; number < stampede->clients; number++) {
        const struct client *client = &shared->clients[number];
        unknown += client->unknown;
        wrong += client->wrong;
        why = client->why < why ? client->why : why;
        times[number] = (client->ended_ns - begun) / 1000;
    }
    printf("unknown=%" PRIu64 " wrong=%" PRIu64 " why=%" PRId64 " total_us=%" PRIu64 " jain=%" PRIu64, unknown, wrong,
           why, (last - begun) / 1000, jain(times, stampede->clients));
    print_times("client", times, stampede->clients);
    for (uint32_t number = 0; number < stampede->clients; number++)
        for (size_t i = 0; i < waits; i++)
            times[number * waits + i] = stampede->waits_us[(size_t)number * stampede->questions + i];
    print_times("wait", times, stampede->clients * waits);
    printf(" seen=%" PRIu32 " least=%" PRIu32, shared->seen, shared->least);
}

/* How many questions the calm client has asked since then, and knows what became of them; waits for one at least. */
static uint32_t wait_for_calm(const struct shared *shared, uint64_t begun)
{
    uint32_t have, since = 0;
    while (since == 0) {
        sleep_until(now_ns() + 1000000);
        have = read_count(&shared->calm_count);
        for (uint32_t i = 0; i < have; i++)
            since += shared->calm[i].begun_ns >= begun;
    }
    return since;
}

static void ask_all(const struct stampede *stampede, uint64_t *times)
{
    const struct shared *shared = stampede->shared;
    uint64_t begun = now_ns(), last = 0;
    uint32_t most = read_count(&shared->opened) - 1; /* the calm one goes on */
    close(stampede->ask_gate[1]);
    while (read_count(&shared->asking) < most)
        sleep_until(now_ns() + 1000000);
    (void)puts("asking");
    (void)fflush(stdout);
    while (read_count(&shared->left) < most)
        sleep_until(now_ns() + 1000000);
    for (uint32_t number = 0; number < stampede->clients; number++)
        if (shared->clients[number].ended_ns > last)
            last = shared->clients[number].ended_ns;
    print_clients(stampede, begun, last, times);
    print_calm(stampede, "before", shared->opened_ns, begun, times);
    print_calm(stampede, "calm", begun, last, times);
    printf(" calm_since=%" PRIu32, wait_for_calm(shared, begun));
    printf(" calm_unknown=%" PRIu32 " calm_wrong=%" PRIu32 " calm_why=%" PRId64 "\n", shared->calm_unknown,
           shared->calm_wrong, shared->calm_why);
}

static void obey(const struct stampede *stampede, uint64_t *times)
{
    char line[64];
    while (fgets(line, sizeof line, stdin) != NULL && strcmp(line, "end\n") != 0) {
        if (strcmp(line, "open\n") == 0)
            open_all(stampede, times);
        else if (strcmp(line, "ask\n") == 0)
            ask_all(stampede, times);
        else
            printf("error what is that?\n");
        (void)fflush(stdout);
    }
}

static bool read_arguments(struct stampede *stampede, int argc, char **argv)
{
    if (argc != 8)
        return false;
    *stampede = (struct stampede){.socket = argv[1],
                                  .clients = (uint32_t)strtoul(argv[2], NULL, 10),
                                  .questions = (uint32_t)strtoul(argv[3], NULL, 10),
                                  .places = (uint32_t)strtoul(argv[4], NULL, 10),
                                  .many = strcmp(argv[5], "many") == 0,
                                  .check_ms = (uint32_t)strtoul(argv[6], NULL, 10),
                                  .calm_us = (uint32_t)strtoul(argv[7], NULL, 10)};
    return stampede->clients > 0 && stampede->questions > 0 && stampede->places > 0 && stampede->calm_us > 0;
}

static void *map_shared(size_t size)
{
    return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

int main(int argc, char **argv)
{
    struct stampede stampede;
    if (!read_arguments(&stampede, argc, argv)) {
        (void)fprintf(stderr, "usage: e2e_stampede SOCKET CLIENTS QUESTIONS PLACES single|many CHECK_MS CALM_US\n");
        return 64;
    }
    size_t answers = (size_t)stampede.clients * stampede.questions;
    stampede.shared = map_shared(sizeof *stampede.shared + stampede.clients * sizeof stampede.shared->clients[0]);
    stampede.waits_us = map_shared(answers * sizeof *stampede.waits_us);
    stampede.children = calloc((size_t)stampede.clients + 1, sizeof *stampede.children);
    uint64_t *times = calloc(answers > CALM_MAX ? answers : CALM_MAX, sizeof *times);
    if (stampede.shared == MAP_FAILED || stampede.waits_us == MAP_FAILED || stampede.children == NULL ||
        times == NULL || pipe(stampede.open_gate) < 0 || pipe(stampede.ask_gate) < 0 || begin(&stampede) < 0) {
        if (stampede.children != NULL)
            end(&stampede);
        return 1;
    }
    (void)puts("waiting");
    (void)fflush(stdout);
    obey(&stampede, times);
    end(&stampede);
    free(times);
    free(stampede.children);
    return 0;
}
