/* Contests: several ways to the same answer, timed side by side. Rounds are interleaved, so that what disturbs the
 * machine disturbs all of them; what is reported is the median, and how far the quartiles lie apart.
 *
 * A contest that waits for nobody is timed by the thread's own processor time, so that another program on the same
 * core does not count; one in which somebody waits for another process is timed by the wall clock, all of it. */
#ifndef PERMTAB_TESTS_BENCH_MEASURE_H
#define PERMTAB_TESTS_BENCH_MEASURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct contender {
    const char *name;
    /* Does `count` operations, beginning at `seed`, and returns the sum of their answers. */
    uint64_t (*run)(void *context, uint64_t seed, uint64_t count);
    /* `truth` says what `run` must return: tried before anything is timed. NULL: nothing to compare with. */
    uint64_t (*truth)(void *context, uint64_t seed, uint64_t count);
    /* Called before each `run`, outside of the timing. May be NULL. */
    void (*prepare)(void *context, uint64_t count);
    void *context;
    uint64_t granule; /* `count` is a multiple of it; 0 means 1 */
    uint64_t most;    /* operations in one round; 0: as many as fill the slice */
};

struct contest {
    const char *title;
    const char *world; /* which data */
    bool waits;        /* for another process */
    struct contender *contenders;
    size_t count;
    size_t base; /* whose time the others are divided by */
};

struct measure {
    uint32_t rounds;
    uint64_t slice_ns; /* about how long one contender runs in one round */
    bool check_only;   /* answers are compared, nothing is timed */
};

/* Prints one line of JSON for each contender. Ends the program when an answer is wrong. */
void measure_contest(const struct measure *measure, const struct contest *contest);
/* One line of JSON for a figure that is not a time. */
void measure_figure(const char *title, const char *world, const char *name, double value, const char *unit);

/* Options that all of the programs share: --rounds N, --slice-ms N, --check-only. True when `argument` was one of
 * them; *index is then the last one used up. */
bool measure_option(struct measure *measure, int count, char **arguments, int *index);
uint64_t measure_number(const char *text);

/* The precise monotonic clock. */
uint64_t measure_now_ns(void);
void bench_die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
void *bench_memory(size_t size);      /* zeroed; never NULL */
void *bench_huge_memory(size_t size); /* the same by huge pages where the kernel gives them */

#endif
