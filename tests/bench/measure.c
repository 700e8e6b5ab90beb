/* Rounds, medians and the lines that the driver reads. A slice is long enough for the clock and short enough that a
 * round of all contenders falls into the same weather. The order turns by one each round. */
#include "tests/bench/measure.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define TRIAL 4000u /* operations compared with the truth */

void bench_die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vfprintf(stderr, format, arguments);
    va_end(arguments);
    (void)fputc('\n', stderr);
    exit(1);
}

void *bench_memory(size_t size)
{
    void *memory = calloc(1, size > 0 ? size : 1);
    if (memory == NULL)
        bench_die("out of memory");
    return memory;
}

void *bench_huge_memory(size_t size)
{
    void *memory;
    if (posix_memalign(&memory, (size_t)2 << 20, size) != 0)
        bench_die("out of memory");
    (void)madvise(memory, size, MADV_HUGEPAGE);
    memset(memory, 0, size);
    return memory;
}

static uint64_t clock_of(clockid_t clock)
{
    struct timespec now;
    (void)clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t measure_now_ns(void)
{
    return clock_of(CLOCK_MONOTONIC);
}

static uint64_t whole_granules(const struct contender *contender, uint64_t count)
{
    uint64_t granule = contender->granule > 0 ? contender->granule : 1;
    if (contender->most > 0 && count > contender->most)
        count = contender->most;
    count -= count % granule;
    return count > 0 ? count : granule;
}

static void check_truth(const struct contest *contest, const struct contender *contender)
{
    uint64_t count = whole_granules(contender, contender->truth != NULL ? TRIAL : 1);
    if (contender->prepare != NULL)
        contender->prepare(contender->context, count);
    uint64_t sum = contender->run(contender->context, 17, count);
    if (contender->truth == NULL)
        return;
    uint64_t truth = contender->truth(contender->context, 17, count);
    if (sum != truth)
        bench_die("%s (%s): %s answered %lld, the truth is %lld", contest->title, contest->world,
                  contender->name, (long long)sum, (long long)truth);
}

/* Nanoseconds of one run. The sum counts as used, so that the work is not optimised away. */
static double run_once(const struct contest *contest, const struct contender *contender, uint64_t seed,
                       uint64_t count)
{
    clockid_t clock = contest->waits ? CLOCK_MONOTONIC : CLOCK_THREAD_CPUTIME_ID;
    if (contender->prepare != NULL)
        contender->prepare(contender->context, count);
    uint64_t begun = clock_of(clock);
    uint64_t sum = contender->run(contender->context, seed, count);
    __asm__ __volatile__("" : : "r"(sum));
    return (double)(clock_of(clock) - begun);
}

/* Returns how many operations fill a slice; finding out is the warming up. */
static uint64_t calibrate(const struct contest *contest, const struct contender *contender,
                          const struct measure *measure)
{
    uint64_t count = whole_granules(contender, 64);
    for (;;) {
        double taken = run_once(contest, contender, count, count);
        uint64_t more = whole_granules(contender, count * 2);
        if (taken >= (double)measure->slice_ns * 0.7 || more == count)
            return count;
        count = more;
    }
}

static int compare_doubles(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

/* Sorts its copy; `part` 0.5 is the median. */
static double quantile(const double *values, uint32_t count, double part)
{
    double *sorted = bench_memory(count * sizeof *sorted);
    memcpy(sorted, values, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, compare_doubles);
    double place = part * (count - 1);
    uint32_t below = (uint32_t)place;
    double value = sorted[below];
    if (below + 1 < count)
        value += (place - below) * (sorted[below + 1] - sorted[below]);
    free(sorted);
    return value;
}

static void report(const struct contest *contest, uint32_t rounds, double *const *ns)
{
    double *ratio = bench_memory(rounds * sizeof *ratio);
    for (size_t i = 0; i < contest->count; i++) {
        for (uint32_t round = 0; round < rounds; round++)
            ratio[round] = ns[i][round] / ns[contest->base][round];
        printf("{\"contest\": \"%s\", \"world\": \"%s\", \"name\": \"%s\", \"base\": \"%s\", \"ns\": %.2f, "
               "\"ratio\": %.4f, \"ratio_low\": %.4f, \"ratio_high\": %.4f, \"rounds\": %u, \"clock\": "
               "\"%s\"}\n",
               contest->title, contest->world, contest->contenders[i].name,
               contest->contenders[contest->base].name, quantile(ns[i], rounds, 0.5),
               quantile(ratio, rounds, 0.5), quantile(ratio, rounds, 0.25), quantile(ratio, rounds, 0.75),
               rounds, contest->waits ? "wall" : "processor");
    }
    (void)fflush(stdout);
    free(ratio);
}

void measure_contest(const struct measure *measure, const struct contest *contest)
{
    double **ns = bench_memory(contest->count * sizeof *ns);
    uint64_t *operations = bench_memory(contest->count * sizeof *operations);
    for (size_t i = 0; i < contest->count; i++)
        check_truth(contest, &contest->contenders[i]);
    for (size_t i = 0; i < contest->count && !measure->check_only; i++) {
        ns[i] = bench_memory(measure->rounds * sizeof **ns);
        operations[i] = calibrate(contest, &contest->contenders[i], measure);
    }
    for (uint32_t round = 0; round < measure->rounds && !measure->check_only; round++)
        for (size_t turn = 0; turn < contest->count; turn++) {
            size_t i = (turn + round) % contest->count;
            uint64_t seed = 1000003u * (round + 1) + i;
            ns[i][round] =
                run_once(contest, &contest->contenders[i], seed, operations[i]) / (double)operations[i];
        }
    if (measure->check_only)
        printf("{\"contest\": \"%s\", \"world\": \"%s\", \"checked\": %zu}\n", contest->title, contest->world,
               contest->count);
    else
        report(contest, measure->rounds, ns);
    for (size_t i = 0; i < contest->count; i++)
        free(ns[i]);
    free(operations);
    free(ns);
}

void measure_figure(const char *title, const char *world, const char *name, double value, const char *unit)
{
    printf("{\"figure\": \"%s\", \"world\": \"%s\", \"name\": \"%s\", \"value\": %.4f, \"unit\": \"%s\"}\n",
           title, world, name, value, unit);
    (void)fflush(stdout);
}

uint64_t measure_number(const char *text)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || *text < '0' || *text > '9' || *end != '\0')
        bench_die("not a number: %s", text);
    return value;
}

bool measure_option(struct measure *measure, int count, char **arguments, int *index)
{
    const char *name = arguments[*index];
    if (strcmp(name, "--check-only") == 0) {
        measure->check_only = true;
        return true;
    }
    bool rounds = strcmp(name, "--rounds") == 0;
    if (!rounds && strcmp(name, "--slice-ms") != 0)
        return false;
    if (++*index >= count)
        bench_die("%s needs a number", name);
    uint64_t value = measure_number(arguments[*index]);
    if (value == 0 || value > 10000)
        bench_die("%s: 1 to 10000, not %s", name, arguments[*index]);
    if (rounds)
        measure->rounds = (uint32_t)value;
    else
        measure->slice_ns = value * 1000000u;
    return true;
}
