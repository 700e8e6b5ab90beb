/* Many processes that ask about few users again and again, for the ordeals of tests/e2e/ordeal.py: each opens the
 * table for itself, compares every answer with what it must be, and counts in memory that all share.
 *
 *     e2e_crowd SOCKET PROCESSES PERIOD_US HOT      prints "running" when every process has opened the table
 *
 * User N is allowed message.send at server:1 when N is even and denied it when N is odd; each process asks about
 * users 1 to HOT, one every PERIOD_US: first permtab_peek, then permtab_check. Commands on stdin:
 *
 *     fill FIRST COUNT     asks about that many users by permtab_check_many; prints how many were answered
 *     report               prints the figures since the last report, "name=number" each
 *     end
 */
#include "tests/e2e/asker.h"
#include "tests/e2e/moments.h"
#include "tests/support/random.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCK    1000u
#define OPEN_MS  60000u
#define CHECK_MS 1000u  /* the library's own default */
#define FILL_MS  60000u /* a block of misses may take long */

/* The counts of one process. Only that process writes them. */
struct counts {
    uint64_t peeks, peek_unknown, checks, check_unknown, wrong;
    uint64_t longest_check_ns; /* since `report` was last changed, as are those below */
    uint64_t longest_blind_ns; /* the longest time between two peeks that were answered */
    uint64_t report;           /* the number of the report that these belong to */
    uint64_t segment;          /* the table that is attached, */
    uint64_t since_ns;         /* and since when */
    int64_t last_why;          /* of a check */
    uint64_t opened;
};

struct shared {
    uint64_t report; /* counts reports */
    uint64_t opened;
    struct counts counts[];
};

struct crowd {
    const char *socket;
    uint32_t processes, period_us, hot;
    struct shared *shared;
    pid_t *children;
};

static enum permtab_decision truth(uint64_t user)
{
    return user % 2 == 0 ? PERMTAB_ALLOW : PERMTAB_DENY;
}

/* ---- a process --------------------------------------------------------------------------------------------------- */

static void note_segment(struct counts *counts, const struct asker *asker, uint64_t now)
{
    uint64_t segment = permtab_geometry_of_(asker->table)->table.header->identity.segment_id;
    if (segment == counts->segment || segment == 0)
        return;
    __atomic_store_n(&counts->since_ns, now, __ATOMIC_RELAXED);
    __atomic_store_n(&counts->segment, segment, __ATOMIC_RELEASE);
}

static void raise_to(uint64_t *longest, uint64_t ns)
{
    if (ns > *longest)
        __atomic_store_n(longest, ns, __ATOMIC_RELAXED);
}

static void add_one(uint64_t *count)
{
    __atomic_store_n(count, *count + 1, __ATOMIC_RELAXED);
}

static void ask(struct counts *counts, const struct asker *asker, uint64_t user, uint64_t *seen_ns)
{
    uint64_t begun = now_ns();
    enum permtab_decision decision = permtab_peek(asker->table, user, permtab_at(asker->type, 1), asker->send);
    add_one(&counts->peeks);
    if (decision == PERMTAB_UNKNOWN) {
        add_one(&counts->peek_unknown);
    } else {
        raise_to(&counts->longest_blind_ns, begun - *seen_ns);
        *seen_ns = begun;
        if (decision != truth(user))
            add_one(&counts->wrong);
    }
    begun = now_ns();
    decision = permtab_check(asker->table, user, permtab_at(asker->type, 1), asker->send);
    uint64_t ended = now_ns();
    add_one(&counts->checks);
    raise_to(&counts->longest_check_ns, ended - begun);
    if (decision == PERMTAB_UNKNOWN) {
        counts->last_why = permtab_why(asker->table);
        add_one(&counts->check_unknown);
    } else if (decision != truth(user)) {
        add_one(&counts->wrong);
    }
    note_segment(counts, asker, ended);
}

static void live(const struct crowd *crowd, uint32_t number)
{
    struct counts *counts = &crowd->shared->counts[number];
    struct asker asker;
    struct random random = {number};
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    int code = asker_open(&asker, crowd->socket, "server", OPEN_MS, CHECK_MS);
    if (code < 0) {
        (void)fprintf(stderr, "crowd: process %u: %s\n", number, permtab_strerror(code));
        _exit(1);
    }
    (void)__atomic_add_fetch(&crowd->shared->opened, 1, __ATOMIC_RELAXED);
    /* Processes begin at different moments of the period, as workers do. */
    uint64_t due = now_ns() + random_below(&random, crowd->period_us * 1000ull + 1), seen = now_ns();
    for (;; due += crowd->period_us * 1000ull) {
        sleep_until(due);
        uint64_t report = __atomic_load_n(&crowd->shared->report, __ATOMIC_RELAXED);
        if (report != counts->report) {
            counts->longest_check_ns = counts->longest_blind_ns = 0;
            counts->report = report;
        }
        ask(counts, &asker, 1 + random_below(&random, crowd->hot), &seen);
        if (now_ns() > due + 1000000000u) /* a process that was stopped does not catch up */
            due = now_ns();
    }
}

/* ---- all of them ------------------------------------------------------------------------------------------------- */

static int begin(struct crowd *crowd)
{
    for (uint32_t number = 0; number < crowd->processes; number++) {
        pid_t child = fork();
        if (child == 0)
            live(crowd, number);
        if (child < 0) {
            perror("crowd: fork");
            return -1;
        }
        crowd->children[number] = child;
    }
    while (__atomic_load_n(&crowd->shared->opened, __ATOMIC_RELAXED) < crowd->processes) {
        if (waitpid(-1, NULL, WNOHANG) > 0)
            return -1;
        sleep_until(now_ns() + 2000000);
    }
    return 0;
}

static void end(const struct crowd *crowd)
{
    for (uint32_t number = 0; number < crowd->processes; number++) {
        if (crowd->children[number] > 0) {
            (void)kill(crowd->children[number], SIGKILL);
            (void)waitpid(crowd->children[number], NULL, 0);
        }
    }
}

/* The newest table that somebody has, how many have it, and when the first and the last of them attached it. */
static void print_segments(const struct crowd *crowd)
{
    uint64_t newest = 0, newest_ns = 0, first = UINT64_MAX, last = 0;
    uint32_t have = 0;
    for (uint32_t number = 0; number < crowd->processes; number++) {
        const struct counts *counts = &crowd->shared->counts[number];
        uint64_t segment = __atomic_load_n(&counts->segment, __ATOMIC_ACQUIRE);
        if (counts->since_ns > newest_ns) {
            newest_ns = counts->since_ns;
            newest = segment;
        }
    }
    for (uint32_t number = 0; number < crowd->processes; number++) {
        const struct counts *counts = &crowd->shared->counts[number];
        if (counts->segment != newest)
            continue;
        have++;
        first = counts->since_ns < first ? counts->since_ns : first;
        last = counts->since_ns > last ? counts->since_ns : last;
    }
    printf(" segment=%" PRIu64 " attached=%u first_ns=%" PRIu64 " last_ns=%" PRIu64, newest, have, first,
           last);
}

static void report(const struct crowd *crowd, struct counts *before)
{
    struct counts sum = {0};
    for (uint32_t number = 0; number < crowd->processes; number++) {
        const struct counts *counts = &crowd->shared->counts[number];
        sum.peeks += counts->peeks;
        sum.peek_unknown += counts->peek_unknown;
        sum.checks += counts->checks;
        sum.check_unknown += counts->check_unknown;
        sum.wrong += counts->wrong;
        sum.last_why = counts->last_why < sum.last_why ? counts->last_why : sum.last_why;
        if (counts->report == crowd->shared->report) {
            raise_to(&sum.longest_check_ns, counts->longest_check_ns);
            raise_to(&sum.longest_blind_ns, counts->longest_blind_ns);
        }
    }
    printf("peeks=%" PRIu64 " peek_unknown=%" PRIu64 " checks=%" PRIu64 " check_unknown=%" PRIu64
           " wrong=%" PRIu64 " why=%" PRId64 " longest_check_us=%" PRIu64 " longest_blind_us=%" PRIu64,
           sum.peeks - before->peeks, sum.peek_unknown - before->peek_unknown, sum.checks - before->checks,
           sum.check_unknown - before->check_unknown, sum.wrong - before->wrong, sum.last_why,
           sum.longest_check_ns / 1000, sum.longest_blind_ns / 1000);
    print_segments(crowd);
    printf("\n");
    *before = sum;
    (void)__atomic_add_fetch(&crowd->shared->report, 1, __ATOMIC_RELAXED);
}

static void fill(struct asker *asker, uint64_t first, uint64_t count)
{
    static struct permtab_query queries[BLOCK];
    static enum permtab_decision decisions[BLOCK];
    uint64_t answered = 0;
    for (uint64_t done = 0; done < count; done += BLOCK) {
        uint32_t block = count - done < BLOCK ? (uint32_t)(count - done) : BLOCK;
        for (uint32_t i = 0; i < block; i++)
            queries[i] = (struct permtab_query){first + done + i, 0, permtab_at(asker->type, 1), asker->send, false};
        int known = permtab_check_many(asker->table, queries, block, decisions);
        answered += known > 0 ? (uint64_t)known : 0;
    }
    printf("%" PRIu64 "\n", answered);
}

static void obey(const struct crowd *crowd, struct asker *asker)
{
    struct counts before = {0};
    char line[256];
    while (fgets(line, sizeof line, stdin) != NULL && strcmp(line, "end\n") != 0) {
        uint64_t first, count;
        if (sscanf(line, "fill %" SCNu64 " %" SCNu64, &first, &count) == 2)
            fill(asker, first, count);
        else if (strcmp(line, "report\n") == 0)
            report(crowd, &before);
        else
            printf("error what is that?\n");
        (void)fflush(stdout);
    }
}

int main(int argc, char **argv)
{
    struct crowd crowd = {0};
    struct asker asker;
    if (argc == 5) {
        crowd.socket = argv[1];
        crowd.processes = (uint32_t)strtoul(argv[2], NULL, 10);
        crowd.period_us = (uint32_t)strtoul(argv[3], NULL, 10);
        crowd.hot = (uint32_t)strtoul(argv[4], NULL, 10);
    }
    if (crowd.processes == 0 || crowd.hot == 0 || crowd.period_us == 0) {
        (void)fprintf(stderr, "usage: e2e_crowd SOCKET PROCESSES PERIOD_US HOT\n");
        return 64;
    }
    size_t size = sizeof *crowd.shared + crowd.processes * sizeof crowd.shared->counts[0];
    crowd.shared = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    crowd.children = calloc(crowd.processes, sizeof *crowd.children);
    if (crowd.shared == MAP_FAILED || crowd.children == NULL || begin(&crowd) < 0 ||
        asker_open(&asker, crowd.socket, "server", OPEN_MS, FILL_MS) < 0) {
        end(&crowd);
        return 1;
    }
    (void)puts("running");
    (void)fflush(stdout);
    obey(&crowd, &asker);
    end(&crowd);
    permtab_close(asker.table);
    return 0;
}
