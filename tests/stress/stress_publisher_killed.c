/* The sidecar dies: after every single shared store of random histories through the whole publisher. A policy in memory
 * changes at random; batches are applied in slices, fills are published late, alone and many of a place together,
 * messages and invalidations retire, tables are rebuilt, and now and then the writer does die, and a successor begins
 * with a table of its own while the dead one's is still believed. At each store readers look at what a death just there
 * would leave: see publisher_witness.h. Every answer must be what the policy gave at some moment within the bound,
 * whole, and not older than the applied revision beside it.
 *
 *     stress_publisher_killed [--histories N] [--first N] [--steps N]
 *
 * A history is a child process, because its deaths leave behind what only the end of a process cleans up. */
#include "tests/stress/publisher_life.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* A history takes half a second, and ten times that under a sanitizer. */
enum { CPU_SECONDS = 60 };

struct settings {
    uint64_t histories, first, steps;
};

/* A table that has room for all; one with few sets and folds; one whose windows are full. */
static const struct life_size sizes[] = {
    {.name = "roomy", .entries = 200, .entries_max = 200, .sets = 120, .folds = 24},
    {.name = "cramped", .entries = 12, .entries_max = 12, .sets = 6, .folds = 2},
    {.name = "crowded", .entries = 8, .entries_max = 90, .sets = 40, .folds = 8},
};
#define SIZES (sizeof sizes / sizeof sizes[0])

static int settings_read(struct settings *out, int argc, char **argv)
{
    *out = (struct settings){.histories = 6, .first = 1, .steps = 300};
    for (int at = 1; at + 1 < argc; at += 2) {
        uint64_t value = strtoull(argv[at + 1], NULL, 10);
        if (strcmp(argv[at], "--histories") == 0)
            out->histories = value;
        else if (strcmp(argv[at], "--first") == 0)
            out->first = value;
        else if (strcmp(argv[at], "--steps") == 0)
            out->steps = value;
        else
            return -1;
    }
    return argc % 2 == 1 ? 0 : -1;
}

/* Returns whether nothing was wrong. */
static bool history(uint64_t number, uint64_t steps, struct life_report *report)
{
    const struct life_size *size = &sizes[number % SIZES];
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        /* What never ends is ended by a signal: after time of its own, not of a machine with much else to do. */
        (void)setrlimit(RLIMIT_CPU, &(struct rlimit){CPU_SECONDS, CPU_SECONDS});
        life_run(size, number * 7919, steps, report);
        _exit(0);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0) {
        (void)fprintf(stderr, "history %llu (%s) ended with status %x\n", (unsigned long long)number,
                      size->name, (unsigned)status);
        return false;
    }
    if (report->wrong != 0)
        (void)fprintf(stderr, "history %llu (%s): %llu wrong; the first: %s\n", (unsigned long long)number,
                      size->name, (unsigned long long)report->wrong, report->said);
    return report->wrong == 0;
}

static void add(struct life_report *total, const struct life_report *report)
{
    for (enum operation at = 0; at < OPERATION_COUNT; at++) {
        total->tally[at].stores += report->tally[at].stores;
        total->tally[at].answers += report->tally[at].answers;
        total->tally[at].older += report->tally[at].older;
        total->tally[at].misses += report->tally[at].misses;
        total->tally[at].busy += report->tally[at].busy;
    }
    total->slept += report->slept;
    total->deaths += report->deaths;
    total->together += report->together;
    total->wrong += report->wrong;
}

static void print(const struct life_report *total)
{
    (void)printf("%-16s %10s %12s %12s %12s %10s\n", "operation", "stores", "answers", "of before", "misses",
                 "busy");
    for (enum operation at = 0; at < OPERATION_COUNT; at++) {
        const struct witness_tally *tally = &total->tally[at];
        (void)printf("%-16s %10llu %12llu %12llu %12llu %10llu\n", operation_name(at),
                     (unsigned long long)tally->stores, (unsigned long long)tally->answers,
                     (unsigned long long)tally->older, (unsigned long long)tally->misses,
                     (unsigned long long)tally->busy);
    }
    (void)printf("%llu deaths with a successor; %llu answers of readers that were asleep meanwhile; %llu users "
                 "published together\n",
                 (unsigned long long)total->deaths, (unsigned long long)total->slept,
                 (unsigned long long)total->together);
}

/* The test is worth something only if each operation has happened, and answers were given meanwhile. */
static bool all_happened(const struct life_report *total)
{
    bool all = true;
    for (enum operation at = OPERATION_INSERT; at < OPERATION_COUNT; at++) {
        /* A rebuild ends the old table's lease first. */
        if (total->tally[at].answers != 0 || at == OPERATION_REBUILD)
            continue;
        (void)fprintf(stderr, "no answer was compared during this operation: %s\n", operation_name(at));
        all = false;
    }
    return all && total->deaths > 0 && total->slept > 0 && total->together > 0;
}

int main(int argc, char **argv)
{
    struct settings settings;
    struct life_report total = {.wrong = 0};
    uint64_t broken = 0;
    if (settings_read(&settings, argc, argv) < 0) {
        (void)fprintf(stderr, "usage: stress_publisher_killed [--histories N] [--first N] [--steps N]\n");
        return 64;
    }
    struct life_report *report =
        mmap(NULL, sizeof *report, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (report == MAP_FAILED)
        return 2;
    for (uint64_t at = 0; at < settings.histories; at++) {
        memset(report, 0, sizeof *report);
        broken += !history(settings.first + at, settings.steps, report);
        add(&total, report);
    }
    print(&total);
    (void)printf("%llu histories, %llu broken\n", (unsigned long long)settings.histories,
                 (unsigned long long)broken);
    if (broken == 0 && settings.histories >= 6 && !all_happened(&total))
        return 1;
    return broken != 0;
}
