/* Histograms of times: counts in buckets whose bounds are powers of two. One table drives how they are shown, as
 * the table of counters does. Plain data, kept by the loop's thread alone. */
#ifndef PERMTAB_BASE_HISTOGRAM_H
#define PERMTAB_BASE_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

#define HISTOGRAM_FIRST_BITS 7u  /* the first bucket ends at 2^7 = 128 µs */
#define HISTOGRAM_BOUNDS     20u /* the last one that ends, at 2^26 µs, 67 s ("64 s") */

struct histogram {
    uint64_t counts[HISTOGRAM_BOUNDS + 1]; /* not cumulative; the last: longer than every bound */
    uint64_t count;
    uint64_t sum_us;
    uint64_t max_us;
};

/* The upper bound of bucket `index`, microseconds, itself included. UINT64_MAX for the last. */
uint64_t histogram_bound(size_t index);
void histogram_add(struct histogram *histogram, uint64_t us);
/* A time that `percent` of all are not above: interpolated inside its bucket, and never above the longest seen. 0 of
 * nothing. */
uint64_t histogram_percentile(const struct histogram *histogram, unsigned percent);

/* X(name, help). Times in microseconds. */
#define HISTOGRAMS(X)                                                                                        \
    X(propagation, "from the statement that changed the store to its effect in this host's table")           \
    X(turns, "processor time of the event loop from one wait for events to the next")

struct histograms {
#define X(name, help) struct histogram name;
    HISTOGRAMS(X)
#undef X
};

struct histogram_description {
    const char *name;
    const char *help;
    size_t offset;
};
extern const struct histogram_description histogram_descriptions[];
extern const size_t histogram_description_count;

/* The histogram number `index` of the table. */
static inline const struct histogram *histogram_at(const struct histograms *histograms, size_t index)
{
    return (const struct histogram *)(const void *)((const char *)histograms +
                                                    histogram_descriptions[index].offset);
}

/* The figures that stand for a histogram where there is room for numbers alone: NAME_count, NAME_sum_us,
 * NAME_p50_us … */
#define HISTOGRAM_FIGURES 6u
struct histogram_figure {
    const char *suffix;
    uint64_t value;
};
void histogram_figures(const struct histogram *histogram, struct histogram_figure out[HISTOGRAM_FIGURES]);

#endif
